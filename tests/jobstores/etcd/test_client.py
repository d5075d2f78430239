"""The client of an etcd that answers as it should not, and in a child of its process."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from schedcore.jobstores.etcd import EtcdClient, EtcdError
from tests.jobstores.etcd.forks import in_child
from tests.jobstores.etcd.peer import Peer

HELLO = b"\x12\5token"  # the answer that gives a token


@contextmanager
def server(serve: Callable[[Peer], None]) -> Iterator[int]:
    """The port of one that does this with each connection, one after the other, until that was closed."""
    failed: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def run() -> None:
            while True:
                try:
                    theirs, _ = door.accept()
                except OSError:
                    return
                with theirs:
                    theirs.settimeout(60)
                    try:
                        serve(Peer(theirs))
                    except BaseException as error:  # noqa: BLE001  # told below
                        failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield door.getsockname()[1]
        finally:
            door.shutdown(socket.SHUT_RDWR)
            thread.join()
    if failed:
        raise failed[0]


def next_asked(peer: Peer) -> int | None:
    """The next stream, or None if the connection was closed."""
    while not peer.asked:
        with suppress(ConnectionError):
            if peer.take():
                continue
        return None
    return peer.asked.pop(0)


@contextmanager
def client(port: int, **options: str) -> Iterator[EtcdClient]:
    made = EtcdClient("127.0.0.1", port, timeout=60, **options)
    try:
        yield made
    finally:
        made.close()


def test_a_token_that_could_not_be_renewed_is_asked_for_again() -> None:
    """Without one the server says to everything that it does not know who asks."""
    tokens = 0

    def serve(peer: Peer) -> None:
        nonlocal tokens
        while (stream := next_asked(peer)) is not None:
            if peer.headers[stream][":path"].endswith("Authenticate"):
                tokens += 1
                if tokens == 2:
                    peer.answer(stream, b"", "14", grpc_message="etcdserver: no leader")
                else:
                    peer.answer(stream, HELLO)
            elif "token" not in peer.headers[stream]:
                peer.answer(stream, b"", "3", grpc_message="etcdserver: user name is empty")
            elif tokens == 1:
                peer.answer(stream, b"", "16", grpc_message="etcdserver: invalid auth token")
            else:
                peer.answer(stream, b"")

    with server(serve) as port, client(port, user="app", password="secret") as asking:
        with pytest.raises(EtcdError, match="no leader"):
            asking.call("KV/Range", {"key": b"a"})
        assert not asking.call("KV/Range", {"key": b"a"}).kvs
    assert tokens == 3


@pytest.mark.parametrize("options", [{}, {"user": "app", "password": "secret"}])
def test_an_answer_that_is_another_message(options: dict[str, str]) -> None:
    said = [b"\xff\xff\xff"]

    def serve(peer: Peer) -> None:
        while (stream := next_asked(peer)) is not None:
            peer.answer(stream, said.pop() if said else HELLO if b"app" in peer.bodies[stream] else b"")

    with server(serve) as port, client(port, **options) as asking:
        with pytest.raises(ConnectionError, match="not an answer of etcd"):
            asking.call("KV/Range", {"key": b"a"})
        # Over another connection.
        assert not asking.call("KV/Range", {"key": b"a"}).kvs


def test_a_child_that_is_forked_while_a_thread_asks() -> None:
    """Of that thread nothing is in the child but what it held."""
    asked, forked = threading.Event(), threading.Event()

    def serve(peer: Peer) -> None:
        stream = next_asked(peer)
        assert stream is not None
        asked.set()
        assert forked.wait(60)
        peer.answer(stream, b"")
        peer.wait_until_closed()

    def ask() -> None:
        assert not asking.call("KV/Range", {"key": b"a"}).kvs

    with server(serve) as port, client(port) as asking:
        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(60)
        child = in_child(asking.close)
        assert os.waitpid(child, 0)[1] == 0
        forked.set()
        thread.join()


@pytest.mark.parametrize("closes", [False, True])
def test_a_signal_handler_that_asks_in_the_midst_of_a_call(closes: bool) -> None:
    """It is told that it cannot, where it would wait for itself."""
    refused: list[str] = []

    def serve(peer: Peer) -> None:
        stream = next_asked(peer)
        assert stream is not None
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        assert handled.wait(60)
        with suppress(ConnectionError):
            peer.answer(stream, b"")
        peer.wait_until_closed()

    def handle(*_: object) -> None:
        try:
            asking.call("KV/Range", {"key": b"a"})
        except ConnectionError as error:
            refused.append(str(error))
        if closes:
            asking.close()
        handled.set()

    handled = threading.Event()
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with server(serve) as port, client(port) as asking:
            if closes:
                with pytest.raises(OSError, match=r"Bad file descriptor|closed before an answer came"):
                    asking.call("KV/Range", {"key": b"a"})
            else:
                assert not asking.call("KV/Range", {"key": b"a"}).kvs
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(refused) == 1
    assert "interrupted another call in its own thread" in refused[0]

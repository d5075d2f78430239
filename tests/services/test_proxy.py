"""The relay does to connections what it is told, and leaves nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.services import Proxy

# Seconds. Nothing is waited for that long unless something is broken.
PATIENCE_S = 60.0
# Seconds in which nothing must come through.
SILENCE_S = 0.05


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says back what it is told, until told nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads: list[threading.Thread] = []

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(PATIENCE_S)
                while chunk := connection.recv(1 << 16):
                    connection.sendall(chunk)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threads.append(threading.Thread(target=serve, args=(listening.accept()[0],)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join(PATIENCE_S)
        for thread in threads:
            thread.join(PATIENCE_S)


def connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    connection.settimeout(PATIENCE_S)
    return connection


def said(connection: socket.socket, what: bytes) -> bytes:
    connection.sendall(what)
    return heard(connection, len(what))


def heard(connection: socket.socket, count: int) -> bytes:
    answer = b""
    while len(answer) < count and (chunk := connection.recv(1 << 16)):
        answer += chunk
    return answer


def test_it_passes_on_what_is_said_in_both_directions_and_its_end(echo: int) -> None:
    with Proxy(echo) as proxy, connected(proxy.port) as one, connected(proxy.port) as other:
        assert said(one, b"one") == b"one"
        assert said(other, b"x" * 1_000_000) == b"x" * 1_000_000
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""


def test_stalled_it_keeps_what_is_said_until_it_flows_again(echo: int) -> None:
    with Proxy(echo) as proxy, connected(proxy.port) as old:
        assert said(old, b"before") == b"before"
        proxy.stall()
        with connected(proxy.port) as new:
            for connection in (old, new):
                connection.sendall(b"meanwhile")
                connection.settimeout(SILENCE_S)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
            proxy.accept()
            for connection in (old, new):
                connection.settimeout(PATIENCE_S)
                assert heard(connection, 9) == b"meanwhile"


def test_refusing_it_cuts_what_there_is_and_lets_nobody_in(echo: int) -> None:
    with Proxy(echo) as proxy, connected(proxy.port) as old:
        assert said(old, b"before") == b"before"
        port = proxy.port
        proxy.refuse()
        proxy.refuse()
        assert is_cut(old)
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                connected(port)
        proxy.accept()
        assert proxy.port == port
        with connected(port) as new:
            assert said(new, b"after") == b"after"


def test_cut_it_lets_new_connections_in(echo: int) -> None:
    with Proxy(echo) as proxy, connected(proxy.port) as old:
        assert said(old, b"before") == b"before"
        proxy.cut()
        assert is_cut(old)
        with connected(proxy.port) as new:
            assert said(new, b"after") == b"after"


def test_where_the_server_is_down_connections_end() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with Proxy(nobody.getsockname()[1]) as proxy, socket.socket() as one:
            one.settimeout(PATIENCE_S)
            # The reset may come before the system has said that the connection was made.
            with contextlib.suppress(ConnectionResetError):
                one.connect(("127.0.0.1", proxy.port))
                assert is_cut(one)


def test_it_may_be_closed_in_each_state_and_twice(echo: int) -> None:
    for state in ("accept", "refuse", "stall", "cut"):
        proxy = Proxy(echo)
        with connected(proxy.port):
            getattr(proxy, state)()
            proxy.close()
            proxy.close()
        with pytest.raises(ConnectionRefusedError):
            connected(proxy.port)


def is_cut(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True

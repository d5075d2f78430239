"""How kazoo's thread waits for its sockets: as with its own handler."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from kazoo.handlers.threading import SequentialThreadingHandler  # type: ignore[import-untyped]

from schedcore.jobstores._zookeeper_handler import PollingHandler
from schedcore.jobstores.zookeeper import ZooKeeperJobStore

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[PollingHandler, SequentialThreadingHandler])
def handler(request: pytest.FixtureRequest) -> SequentialThreadingHandler:
    return request.param()


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_ready(handler: SequentialThreadingHandler, pair: Pair) -> None:
    one, other = pair
    assert handler.select([one], [], [], 0.01) == ([], [], [])
    assert handler.select([one], [], [], 0) == ([], [], [])
    assert handler.select([one], [other], []) == ([], [other], [])
    other.send(b"x")
    assert handler.select([one, other], [], [], 20.0) == ([one], [], [])
    assert handler.select([one], [other], []) == ([one], [other], [])


def test_what_cannot_take_more_is_waited_for(handler: SequentialThreadingHandler, pair: Pair) -> None:
    one, _ = pair
    one.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            one.send(b"x" * 65_536)
    assert handler.select([], [one], [], 0.01) == ([], [], [])


def test_kazoos_thread_can_be_told_of_many_calls() -> None:
    reading, writing = PollingHandler().create_socket_pair()
    with reading, writing:
        os.set_blocking(writing.fileno(), False)
        assert [writing.send(b"\0") for _ in range(10_000)] == [1] * 10_000
        assert reading.recv(1) == b"\0"


def test_one_whose_other_end_has_gone_is_ready(handler: SequentialThreadingHandler, pair: Pair) -> None:
    one, other = pair
    other.close()
    assert handler.select([one], [], [], 20.0) == ([one], [], [])
    assert handler.select([], [one], [], 20.0) == ([], [one], [])


def test_one_that_is_closed(pair: Pair) -> None:
    """Kazoo's own raises what ends its thread for good."""
    one, other = pair
    number = one.detach()
    with pytest.raises(OSError, match="a socket is closed"):
        PollingHandler().select([one], [], [], 20.0)
    twin = socket.socket(fileno=number)
    with socket.socket(fileno=os.dup(number)) as closed_elsewhere:
        twin.close()
        os.close(closed_elsewhere.fileno())
        with pytest.raises(OSError, match="was closed elsewhere"):
            PollingHandler().select([other, closed_elsewhere], [], [], 20.0)
        closed_elsewhere.detach()


def test_a_handler_of_the_users_is_theirs() -> None:
    mine = SequentialThreadingHandler()
    assert ZooKeeperJobStore(handler=mine)._client.handler is mine
    assert type(ZooKeeperJobStore()._client.handler) is PollingHandler

"""Connections that are cut in the middle of decisions: whatever was written until then, each fire time is on record once."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from schedcore.testing._store_bench import Bench
from tests.jobstores.decided import check_decided_again
from tests.jobstores.every.places import Kind, Place
from tests.services import Proxy


class Line(Proxy):
    """Cuts all connections in the place of what is sent by whoever counts; ``answers``: by the server, else to it."""

    def __init__(self, target: int, *, answers: bool) -> None:
        self.left: float = math.inf
        self.is_cut = False
        self._counts_answers = answers
        super().__init__(target)

    async def _pass(self, source: socket.socket, sink: socket.socket, *, answers: bool) -> None:
        while chunk := await self._loop.sock_recv(source, 1 << 16):
            if answers is self._counts_answers:
                self.left -= 1
                if self.left == -1:
                    self.is_cut = True
                    for flow in self._flows:
                        flow.cancel()
                    await asyncio.sleep(math.inf)
            await self._loop.sock_sendall(sink, chunk)


@pytest.mark.slow
@pytest.mark.parametrize("answers", [False, True], ids=["not made", "not answered"])
def test_what_was_decided_is_decided_otherwise(kind: Kind, tmp_path: Path, answers: bool) -> None:
    port = kind.place(tmp_path).port
    if port is None:
        pytest.skip("there is no connection to a server that could be cut")
    with Line(port, answers=answers) as line:

        @contextmanager
        def cut(number: float) -> Iterator[Line]:
            line.is_cut, line.left = False, number
            yield line
            line.left = math.inf

        number = 0
        while _is_decided_again(kind.place(tmp_path), cut, number):
            number += 1
        assert number > 5


def _is_decided_again(place: Place, cut: Callable[[float], AbstractContextManager[Line]], number: int) -> bool:
    with cut(math.inf) as line:
        port = line.port
    bench = Bench(lambda folder: place.store_by_way_of(port), "")
    try:
        return check_decided_again(bench, cut, number, dies=False, ends=True)
    except AssertionError as error:
        error.add_note(f"the connection was cut in the place of part {number}")
        raise
    finally:
        bench.close()

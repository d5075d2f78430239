"""Threads that run jobs let the event loop go first; how little it then waits is measured in ``tests/adapters``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from schedcore.schedulers import _right_of_way
from schedcore.schedulers._right_of_way import RightOfWay

PATIENCE_S = 30.0


class Worker:
    """A thread that gives way once."""

    def __init__(self, way: RightOfWay) -> None:
        self.over = threading.Event()

        def run() -> None:
            way.give()
            self.over.set()

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def ended(self) -> bool:
        came = self.over.wait(PATIENCE_S)
        self._thread.join()
        return came


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda seconds: monkeypatch.setattr(_right_of_way, "LIMIT_S", seconds)


def behind() -> RightOfWay:
    """That of a loop which was asked for a step a while ago."""
    way = RightOfWay()
    way.asked()
    until_s = time.monotonic() + _right_of_way.BEHIND_S
    while time.monotonic() <= until_s:
        pass
    return way


def test_nobody_waits_when_nothing_is_asked_for(limit: Callable[[float], None]) -> None:
    limit(PATIENCE_S * 10)
    way = RightOfWay()
    assert Worker(way).ended()
    way.asked()
    way.made()
    assert Worker(way).ended()


def test_all_wait_until_the_step_is_made(limit: Callable[[float], None]) -> None:
    limit(PATIENCE_S * 10)
    way = behind()
    workers = [Worker(way) for _ in range(5)]
    try:
        assert not any(worker.over.wait(0.01) for worker in workers)
    finally:
        way.made()
    assert all(worker.ended() for worker in workers)


def test_a_loop_that_is_held_up_is_waited_for_once(limit: Callable[[float], None]) -> None:
    limit(0.001)
    way = behind()
    assert Worker(way).ended()
    limit(PATIENCE_S * 10)
    assert Worker(way).ended()
    # When it has come round, the next step is waited for again.
    way.made()
    way.asked()
    until_s = time.monotonic() + _right_of_way.BEHIND_S
    while time.monotonic() <= until_s:
        pass
    worker = Worker(way)
    assert not worker.over.wait(0.01)
    way.made()
    assert worker.ended()

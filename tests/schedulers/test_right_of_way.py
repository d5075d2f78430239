"""Threads that run jobs let the event loop go first; how little it then waits is measured in ``tests/adapters``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from schedcore.schedulers import _right_of_way
from schedcore.schedulers._right_of_way import RightOfWay

PATIENCE_S = 60.0


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


class Loop:
    """Stands for one that is asked for steps."""

    def __init__(self) -> None:
        self.asked = False
        self.way = RightOfWay(lambda: self.asked)

    def ask(self) -> None:
        """Ask it for a step, and let some time pass."""
        self.way.begin()
        self.asked = True
        until_s = time.monotonic() + _right_of_way.BEHIND_S
        while time.monotonic() <= until_s:
            pass

    def make_step(self) -> None:
        self.way.begin()
        self.asked = False
        self.way.end()


def test_nobody_waits_when_nothing_is_asked_for(limit: Callable[[float], None]) -> None:
    limit(PATIENCE_S * 10)
    loop = Loop()
    assert Worker(loop.way).ended()
    loop.ask()
    loop.make_step()
    assert Worker(loop.way).ended()


def test_all_wait_until_the_step_is_made(limit: Callable[[float], None]) -> None:
    limit(PATIENCE_S * 10)
    loop = Loop()
    loop.ask()
    workers = [Worker(loop.way) for _ in range(5)]
    try:
        assert not any(worker.over.wait(0.01) for worker in workers)
    finally:
        loop.make_step()
    assert all(worker.ended() for worker in workers)


def test_a_loop_that_is_held_up_is_waited_for_less_and_less(limit: Callable[[float], None]) -> None:
    limit(0.001)
    loop = Loop()
    loop.ask()
    pauses_s = []
    for _ in range(5):
        began_s = time.monotonic()
        assert Worker(loop.way).ended()
        pauses_s.append(loop.way._pause_s)
        assert loop.way._behind_at_s >= began_s + pauses_s[-1]
        # As if that time had passed.
        loop.way._behind_at_s = 0.0
    assert pauses_s == sorted(set(pauses_s))
    assert pauses_s[-1] > 10 * _right_of_way.BEHIND_S
    # When it has come round, all is as before.
    loop.make_step()
    loop.ask()
    limit(PATIENCE_S * 10)
    worker = Worker(loop.way)
    try:
        assert not worker.over.wait(0.01)
    finally:
        loop.make_step()
    assert worker.ended()

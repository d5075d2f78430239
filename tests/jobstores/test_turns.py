"""Turns at a job store: a scheduler's steps come first, others come in between, and signal handlers find what they need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from schedcore.clock import Now
from schedcore.engine import Claim
from schedcore.jobstores import _turns
from schedcore.jobstores._turns import Turns, in_step
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Run
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing._suite import Aside
from tests.interrupting import Interrupted, disturbed

LIMIT_S = 30.0


def wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.001)


def somebody_is_next(turns: Turns) -> bool:
    if turns._next.acquire(blocking=False):
        turns._next.release()
        return False
    return True


class TestOrder:
    def test_a_step_goes_before_all_who_wait(self) -> None:
        turns = Turns()
        order: list[str] = []

        def go(who: str) -> None:
            with turns.take():
                order.append(who)

        with turns.take():
            others = [Aside(go, f"other {number}") for number in range(8)]
            step = Aside(in_step, lambda: go("step"))
            wait_until(lambda: somebody_is_next(turns))
        for aside in (step, *others):
            aside.result()
        assert order[0] == "step"
        assert len(order) == 9

    def test_others_have_their_turns_between_two_of_a_step(self) -> None:
        turns = Turns()
        order: list[str] = []
        over = threading.Event()

        def add() -> None:
            while not over.is_set():
                with turns.take():
                    order.append("other")

        def step() -> None:
            for _ in range(20):
                with turns.take():
                    order.append("step")
                    wait_until(lambda: somebody_is_next(turns))

        others = [Aside(add) for _ in range(4)]
        try:
            in_step(step)
        finally:
            over.set()
        for aside in others:
            aside.result()
        first = order.index("step")
        assert "step step" not in " ".join(order[first:])

    def test_what_is_taken_is_kept_from_others(self) -> None:
        turns = Turns()
        within: list[int] = []
        most = 0

        def go() -> None:
            nonlocal most
            for _ in range(50):
                with turns.take(), turns.take():
                    within.append(0)
                    most = max(most, len(within))
                    time.sleep(0)
                    within.pop()

        asides = [Aside(go), Aside(go), Aside(in_step, go), Aside(in_step, go)]
        for aside in asides:
            aside.result()
        assert most == 1

    def test_if_free_does_not_wait(self) -> None:
        turns = Turns()

        def look() -> bool:
            with turns.take_if_free() as taken:
                return taken

        with turns.take():
            assert not Aside(look).result()
        assert Aside(look).result()
        assert Aside(look).result()  # it was given back

    def test_others_wait_for_who_has_a_turn_and_for_who_is_next(self) -> None:
        turns = Turns()
        ask = turns.awaited_here

        assert not ask()
        with turns.take():
            assert ask()
            assert not Aside(ask).result()
        for lock in (turns._others, turns._next, turns._turn):
            with lock:
                assert ask()
                assert not Aside(ask).result()
        assert not ask()


class TestInterrupted:
    """At each point of a turn, in the place of a signal handler."""

    @staticmethod
    def _at_each_point(turns: Turns, intrude: Callable[[], object], within: str) -> int:
        def take() -> None:
            with turns.take():
                pass

        def is_free(lock: Any) -> bool:
            if not lock.acquire(blocking=False):
                return False
            lock.release()
            return True

        at = 0
        more = True
        while more:
            at += 1
            with suppress(Interrupted):
                more = disturbed(take, intrude, at, within)
            for lock in (turns._others, turns._next, turns._turn):
                assert Aside(is_free, lock).result(), f"point {at} left it locked"
        return at - 1

    @pytest.mark.parametrize("within", ["_turns.py", ""], ids=["in the module", "anywhere"])
    def test_a_handler_that_raises_leaves_nothing_locked(self, within: str) -> None:
        def intrude() -> None:
            raise Interrupted

        for make in (lambda call: call(), in_step):
            assert make(lambda: self._at_each_point(Turns(), intrude, within)) > 5

    @pytest.mark.parametrize("first", [False, True])
    def test_a_handler_has_a_turn_of_its_own(self, first: bool) -> None:
        turns = Turns()
        had = 0

        def take() -> None:
            nonlocal had
            with turns.take():
                had += 1

        points = self._at_each_point(turns, (lambda: in_step(take)) if first else take, "_turns.py")
        assert had == points > 5


class NotingStore(MemoryJobStore):
    """Does I/O, as it says, and notes which calls were a step's."""

    traits = StoreTraits(blocking=True, durable=False)

    def __init__(self) -> None:
        super().__init__()
        self.of_steps: set[tuple[str, bool]] = set()

    def _note(self, name: str) -> None:
        self.of_steps.add((name, _turns._in_step.get()))

    def fire(self, now: Now, limit: int, executors: Any) -> tuple[list[Run], list[Claim]]:
        self._note("fire")
        return super().fire(now, limit, executors)

    def finish(self, finishes: Any) -> None:
        self._note("finish")
        super().finish(finishes)

    def add_entries(self, entries: Any, skipped: Any = ()) -> None:
        self._note("add")
        super().add_entries(entries, skipped)


def test_a_schedulers_steps_are_steps_and_calls_are_not() -> None:
    store = NotingStore()
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
    ran = threading.Event()
    asked: list[bool] = []

    def job() -> None:
        asked.append(_turns._in_step.get())
        ran.set()

    scheduler.start()
    try:
        scheduler.add_job(job)
        assert ran.wait(LIMIT_S)
        wait_until(lambda: any(run.finished_us is not None for run in scheduler.get_runs()))
    finally:
        scheduler.shutdown()
    assert asked == [False]
    assert {("fire", True), ("finish", True), ("add", False)} <= store.of_steps
    assert ("fire", False) not in store.of_steps
    assert ("add", True) not in store.of_steps

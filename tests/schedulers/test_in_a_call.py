"""A signal handler that shuts a scheduler down, or raises, in the midst of a call into a job store, made by the same thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing._suite import Aside, until
from tests.interrupting import Interrupted, disturbed

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy, which the extra 'sqlalchemy' brings")

LIMIT_S = 30.0


def in_sqlite(folder: Path) -> tuple[BackgroundScheduler, Any]:
    """A scheduler that was not started, and its job store."""
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    store = SQLAlchemyJobStore(f"sqlite:///{folder}/jobs.sqlite")
    return BackgroundScheduler(jobstores={"default": store}, timezone="UTC"), store


@contextmanager
def on_signal(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_shutdown_does_not_wait_for_the_call_that_it_interrupts(tmp_path: Path) -> None:
    """A step of the scheduler waited for that call, the shutdown for the step, and the call for the handler."""
    scheduler, store = in_sqlite(tmp_path)
    returned: list[Any] = []
    add = store._sql.add

    def add_and_signal(cursor: Any, rows: Any) -> None:
        add(cursor, rows)
        pump = scheduler._pumps["default"]
        pump.touched = True
        scheduler._ask()
        until(lambda: pump.busy, "no step is made")
        signal.raise_signal(signal.SIGUSR1)

    scheduler.start()
    closed = scheduler._closed
    store._sql.add = add_and_signal
    try:
        with on_signal(lambda *_: returned.append((scheduler.shutdown(), closed.is_set()))):
            scheduler.add_job("time:time", "interval", hours=1, id="added")
        assert returned == [([], False)]
        assert closed.wait(LIMIT_S)
    finally:
        scheduler.shutdown()
    assert not scheduler.running


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_a_store_of_ones_own_says_that_it_is_in_a_call() -> None:
    class Locked(MemoryJobStore):
        """Has its callers wait for each other."""

        traits = StoreTraits(blocking=True, durable=False)

        def __init__(self) -> None:
            super().__init__()
            self.turn: Any = threading.RLock()

        def awaited_here(self) -> bool:
            return bool(self.turn._is_owned())

        def fire(self, *args: Any) -> Any:
            with self.turn:
                return super().fire(*args)

        def add_entries(self, *args: Any) -> None:
            with self.turn:
                super().add_entries(*args)
                scheduler.wakeup()
                until(lambda: scheduler._pumps["default"].busy, "no step is made")
                signal.raise_signal(signal.SIGUSR1)

    returned: list[Any] = []
    scheduler = BackgroundScheduler(jobstores={"default": Locked()}, timezone="UTC")
    scheduler.start()
    closed = scheduler._closed
    with on_signal(lambda *_: returned.append((scheduler.shutdown(), closed.is_set()))):
        scheduler.add_job("time:time", "interval", hours=1, id="added")
    assert returned == [([], False)]
    assert closed.wait(LIMIT_S)


def test_a_store_that_does_not_say_whether_it_is_in_a_call_is_closed_all_the_same() -> None:
    closed: list[str] = []

    class Silent(MemoryJobStore):
        def awaited_here(self) -> bool:
            raise OSError("no answer")

        def shutdown(self) -> None:
            closed.append("closed")

    scheduler = BackgroundScheduler(jobstores={"default": Silent()}, timezone="UTC")
    scheduler.start()
    assert scheduler.shutdown() == []
    assert closed == ["closed"]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_shutdown_does_not_wait_for_who_waits_for_a_turn(tmp_path: Path) -> None:
    """Who waits for the call of a step that is under way comes before the next call of that step."""
    scheduler, store = in_sqlite(tmp_path)
    turns = store._database.turns
    returned: list[Any] = []
    here = threading.get_ident()
    stepping, signalled = threading.Event(), threading.Event()
    fire: Any = store.fire

    def slow_fire(*args: Any) -> Any:
        with turns.take():
            stepping.set()
            assert signalled.wait(LIMIT_S)
        return fire(*args)

    def somebody_is_next() -> bool:
        free: bool = turns._next.acquire(blocking=False)
        if free:
            turns._next.release()
        return not free

    def interrupt() -> None:
        until(somebody_is_next, "nobody waits for a turn")
        signal.pthread_kill(here, signal.SIGUSR1)

    def shut_down(*_: object) -> None:
        signalled.set()
        returned.append((scheduler.shutdown(), closed.is_set()))

    scheduler.start()
    closed = scheduler._closed
    try:
        with on_signal(shut_down):
            scheduler.add_job("time:time", "interval", hours=1, id="added")
            store.fire = slow_fire
            scheduler.wakeup()
            assert stepping.wait(LIMIT_S)
            aside = Aside(interrupt)
            scheduler.remove_job("added")
        aside.result()
        assert returned == [([], False)]
        assert closed.wait(LIMIT_S)
    finally:
        signalled.set()
        scheduler.shutdown()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_shutdown_does_not_wait_for_who_hands_over_what_was_put_off(tmp_path: Path) -> None:
    scheduler, _ = in_sqlite(tmp_path)
    returned: list[Any] = []
    flush = scheduler._jobs.flush
    here = threading.get_ident()

    def flush_and_signal(pump: Any, others_code: bool = True) -> Any:
        if threading.get_ident() == here and not returned:
            scheduler.wakeup()
            until(lambda: pump.busy, "no step is made")
            signal.raise_signal(signal.SIGUSR1)
        return flush(pump, others_code)

    scheduler.start()
    closed = scheduler._closed
    scheduler._jobs.flush = flush_and_signal  # type: ignore[method-assign]
    try:
        with on_signal(lambda *_: returned.append((scheduler.shutdown(), closed.is_set()))):
            scheduler.get_jobs()
        assert returned == [([], False)]
        assert closed.wait(LIMIT_S)
    finally:
        scheduler.shutdown()


def test_a_handler_that_raises_leaves_the_scheduler_its_steps(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise Interrupted

    def is_free(lock: Any) -> bool:
        free: bool = lock.acquire(blocking=False)
        if free:
            lock.release()
        return free

    scheduler, _ = in_sqlite(tmp_path)
    scheduler.start(paused=True)
    try:
        pump = scheduler._pumps["default"]
        until(lambda: pump.tried.is_set() and not pump.busy, "the first step is not over")
        at = 0
        more = True
        while more:
            at += 1
            with suppress(Interrupted):
                more = disturbed(scheduler.get_jobs, interrupt, at, "_pump.py")
            assert Aside(is_free, pump._turn).result(), f"point {at} left it locked"
    finally:
        scheduler.shutdown()
    assert at > 5

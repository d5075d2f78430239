"""A shutdown, or a pause, that comes while ``start``, ``add_jobstore`` or ``add_executor`` is under way: in another thread, in a
signal handler of the same one, or in what is being started.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.errors import ConfigurationError, SchedulerAlreadyRunningError
from schedcore.events import (
    EVENT_JOB_BROKEN,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_SCHEDULER_SHUTDOWN,
    EVENT_SCHEDULER_STARTED,
)
from schedcore.executors.base import RunExecutor
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.jobstores.base import StoreHost
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.schedulers.base import BaseScheduler
from schedcore.schedulers.blocking import BlockingScheduler
from schedcore.testing import VirtualScheduler
from schedcore.testing._store_bench import make_entry
from schedcore.testing._suite import Aside, until
from schedcore.wakeup import Wakeup

LIMIT_S = 60.0
Meanwhile = Callable[[], object]
Way = Callable[[BaseScheduler], None]
Add = Callable[[BaseScheduler, list[str], Meanwhile], None]


class Store(MemoryJobStore):
    """Notes when it is open; something else happens while it is opened."""

    def __init__(self, log: list[str], name: str, meanwhile: Meanwhile = lambda: None) -> None:
        super().__init__()
        self._log, self._name, self._meanwhile = log, name, meanwhile

    def start(self, scheduler: StoreHost, alias: str) -> None:
        super().start(scheduler, alias)
        self._meanwhile()
        self._log.append(f"{self._name} is open")

    def shutdown(self) -> None:
        self._log.append(f"{self._name} is closed")


class Threads(ThreadPoolExecutor):
    """Notes when it is open; something else happens while it is started."""

    def __init__(self, log: list[str], name: str, meanwhile: Meanwhile = lambda: None) -> None:
        super().__init__()
        self._log, self._name, self._meanwhile = log, name, meanwhile

    def start(self, scheduler: Any, alias: str) -> None:
        self._meanwhile()
        super().start(scheduler, alias)
        self._log.append(f"{self._name} is open")

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Any]:
        self._log.append(f"{self._name} is closed")
        return super().shutdown(wait, timeout)


def a_store(scheduler: BaseScheduler, log: list[str], meanwhile: Meanwhile) -> None:
    scheduler.add_jobstore(Store(log, "it", meanwhile), "added")


def an_executor(scheduler: BaseScheduler, log: list[str], meanwhile: Meanwhile) -> None:
    scheduler.add_executor(Threads(log, "it", meanwhile), "added")


def in_this_thread(scheduler: BaseScheduler) -> None:
    scheduler.shutdown()


def by_a_signal(scheduler: BaseScheduler) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: scheduler.shutdown())
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def by_another_thread(scheduler: BaseScheduler) -> None:
    """Which waits for the end of the start, or would."""
    Aside(scheduler.shutdown)
    until(lambda: not scheduler.running, "it was not shut down")


WAYS = [
    in_this_thread,
    pytest.param(by_a_signal, marks=pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal here")),
    by_another_thread,
]
KINDS = [a_store, an_executor]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [BackgroundScheduler, BlockingScheduler])
def test_what_was_being_opened_is_closed(kind: type[BaseScheduler], way: Way) -> None:
    """It was left open, and so was what was opened after it; that it had started was told after its end."""
    log: list[str] = []
    scheduler: Any = kind(
        jobstores={
            "default": Store(log, "first", lambda: way(scheduler)),
            "other": Store(log, "other"),
        },
        timezone="UTC",
    )
    scheduler.add_listener(lambda _: log.append("told of the start"), EVENT_SCHEDULER_STARTED)
    scheduler.add_listener(lambda _: log.append("told of the end"), EVENT_SCHEDULER_SHUTDOWN)
    scheduler.start()
    scheduler.shutdown()
    assert scheduler._closed.wait(LIMIT_S)
    assert log == ["first is open", "told of the start", "first is closed", "told of the end"]
    assert not scheduler.running


@pytest.mark.parametrize("way", WAYS[:2])
def test_what_was_being_opened_is_closed_in_virtual_time(way: Way) -> None:
    test_what_was_being_opened_is_closed(VirtualScheduler, way)


@pytest.mark.parametrize("way", WAYS)
def test_executors_are_shut_down_after_they_were_started(way: Way) -> None:
    log: list[str] = []
    scheduler: Any = BackgroundScheduler(
        executors={"default": Threads(log, "first", lambda: way(scheduler))},
        jobstores={"default": Store(log, "store")},
        timezone="UTC",
    )
    scheduler.start()
    scheduler.shutdown()
    assert scheduler._closed.wait(LIMIT_S)
    assert log == ["first is open", "first is closed"]


def test_a_start_that_fails_after_a_shutdown_leaves_nothing_open() -> None:
    log: list[str] = []

    def fail() -> None:
        scheduler.shutdown()
        raise OSError("no such server")

    scheduler = BackgroundScheduler(
        jobstores={"first": Store(log, "first"), "second": Store(log, "second", fail)}, timezone="UTC"
    )
    with pytest.raises(OSError, match="no such server"):
        scheduler.start()
    assert scheduler._closed.wait(LIMIT_S)
    assert log == ["first is open", "first is closed"]
    log.clear()
    scheduler.remove_jobstore("second")
    scheduler.start()
    scheduler.shutdown()
    assert log == ["first is open", "first is closed"]


def test_what_was_promised_to_a_store_that_is_not_opened_any_more_is_in_it() -> None:
    """One that is refused kept the others out of it."""
    log: list[str] = []
    other = Store(log, "other")
    other.add_entries([make_entry("taken")])
    scheduler = BackgroundScheduler(
        jobstores={"default": Store(log, "first", lambda: scheduler.shutdown()), "other": other}, timezone="UTC"
    )
    for job_id in ("taken", "promised"):
        scheduler.add_job(print, "interval", hours=1, id=job_id, jobstore="other")
    scheduler.start()
    assert scheduler._closed.wait(LIMIT_S)
    assert log == ["first is open", "first is closed", "other is open", "other is closed"]
    assert other.get_entry("promised") is not None


def test_on_an_event_loop() -> None:
    log: list[str] = []

    async def main() -> None:
        scheduler: Any = AsyncIOScheduler(
            jobstores={"default": Store(log, "first", lambda: scheduler.shutdown()), "other": Store(log, "other")},
            timezone="UTC",
        )
        scheduler.start()
        await scheduler.shutdown()

    asyncio.run(main())
    assert log == ["first is open", "first is closed"]


def test_a_pause_while_it_starts_holds() -> None:
    """It was paused by its state, and fired."""
    ran = threading.Event()
    scheduler = VirtualScheduler(jobstores={"default": Store([], "store", lambda: scheduler.pause())})
    scheduler.add_job(ran.set, "interval", seconds=1)
    scheduler.start()
    scheduler.advance(10)
    assert not ran.is_set()
    scheduler.resume()
    scheduler.advance(10)
    assert ran.is_set()
    scheduler.shutdown()


@pytest.mark.parametrize("add", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_added_meanwhile_is_closed(way: Way, add: Add) -> None:
    """A store was left open, and ``add_jobstore`` raised."""
    log: list[str] = []
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.start()
    closed = scheduler._closed
    add(scheduler, log, lambda: way(scheduler))
    assert closed.wait(LIMIT_S)
    assert log == ["it is open", "it is closed"]


@pytest.mark.parametrize("add", KINDS)
def test_who_adds_another_one_under_the_same_alias_meanwhile_is_refused(add: Add) -> None:
    """Both were opened, and one store stayed so."""
    log: list[str] = []

    def again() -> None:
        with pytest.raises(ConfigurationError, match=r"an? .+ with the alias 'added' exists already; remove it first"):
            Aside(add, scheduler, log, lambda: None).result(LIMIT_S)

    def fail() -> None:
        raise OSError("no such server")

    with BackgroundScheduler(timezone="UTC") as scheduler:
        with pytest.raises(OSError, match="no such server"):
            add(scheduler, log, fail)
        add(scheduler, log, again)
        assert log == ["it is open"]
    assert log == ["it is open", "it is closed"]


@pytest.mark.parametrize("add", KINDS)
def test_what_is_added_to_a_start_that_fails_is_closed(add: Add) -> None:
    """It was left open, and the next start failed with that."""
    log: list[str] = []

    def fail() -> None:
        add(scheduler, log, lambda: None)
        raise OSError("no such server")

    scheduler = BackgroundScheduler(jobstores={"default": Store(log, "default", fail)}, timezone="UTC")
    with pytest.raises(OSError, match="no such server"):
        scheduler.start()
    assert log == ["it is open", "it is closed"]
    scheduler.remove_jobstore("default")
    log.clear()
    with scheduler:
        assert log == ["it is open"]
    assert log == ["it is open", "it is closed"]


@pytest.mark.parametrize("add", KINDS)
def test_a_start_that_fails_waits_for_what_others_add(add: Add) -> None:
    """It was opened behind its back, and the next start failed with that."""
    log: list[str] = []
    opens = threading.Event()
    others: list[Aside[None]] = []

    def hang() -> None:
        opens.set()
        until(lambda: not scheduler.running, "the start goes on")

    def fail() -> None:
        others.append(Aside(add, scheduler, log, hang))
        assert opens.wait(LIMIT_S)
        raise OSError("no such server")

    scheduler = BackgroundScheduler(jobstores={"default": Store(log, "default", fail)}, timezone="UTC")
    with pytest.raises(OSError, match="no such server"):
        Aside(scheduler.start).result(LIMIT_S)
    others[0].result()
    assert log == ["it is open", "it is closed"]


def test_an_executor_that_is_added_is_given_no_runs_before_it_has_started() -> None:
    """It refused them, and they failed."""
    told: list[int] = []

    def meanwhile() -> None:
        scheduler.add_job(str, id="job", executor="added")
        until(lambda: told, "it was not due")

    with BackgroundScheduler(timezone="UTC") as scheduler:
        scheduler.add_listener(
            lambda event: told.append(event.code), EVENT_JOB_BROKEN | EVENT_JOB_ERROR | EVENT_JOB_EXECUTED
        )
        an_executor(scheduler, [], meanwhile)
        until(lambda: len(told) > 1, "it did not run")
    assert told == [EVENT_JOB_BROKEN, EVENT_JOB_EXECUTED]


def test_a_shutdown_while_a_start_that_failed_is_undone_does_not_wait_for_that() -> None:
    """A signal handler's, in the same thread: it waited for ever."""

    class Closing(Store):
        """Shuts the scheduler down as it is closed."""

        def shutdown(self) -> None:
            super().shutdown()
            scheduler.shutdown()

    def fail() -> None:
        raise OSError("no such server")

    log: list[str] = []
    scheduler = BackgroundScheduler(
        jobstores={"first": Closing(log, "first"), "second": Store(log, "second", fail)}, timezone="UTC"
    )
    with pytest.raises(OSError, match="no such server"):
        Aside(scheduler.start).result(LIMIT_S)
    assert log == ["first is open", "first is closed"]
    assert not scheduler.running


def test_nobody_begins_another_life_before_its_thread_is_there() -> None:
    """The thread of the first one then ran the loop of the second, which had two, and one of them never ended."""

    class Slow(BackgroundScheduler):
        """Others have time before its thread is started."""

        def _run(self) -> None:
            if not others:
                others.append(Aside(again))
                others[0].thread.join(0.2)  # which is to wait
            super()._run()

    def again() -> None:
        scheduler.shutdown()
        scheduler.start()

    others: list[Aside[None]] = []
    scheduler = Slow(timezone="UTC")
    scheduler.add_listener(lambda _: lives.append(scheduler._closed), EVENT_SCHEDULER_STARTED)
    lives: list[threading.Event] = []
    scheduler.start()
    others[0].result(LIMIT_S)
    assert scheduler.running
    assert [thread.name for thread in threading.enumerate()].count("schedcore-scheduler") == 1
    Aside(scheduler.shutdown).result(LIMIT_S)
    assert len(lives) == 2


def test_a_store_that_is_added_while_it_starts_is_opened_once() -> None:
    log: list[str] = []

    class Adding(ThreadPoolExecutor):
        """A job store is added as it is started."""

        def start(self, host: Any, alias: str) -> None:
            super().start(host, alias)
            Aside(scheduler.add_jobstore, Store(log, "added"), "added").result()

    scheduler = BackgroundScheduler(executors={"default": Adding()}, timezone="UTC")
    scheduler.start()
    scheduler.shutdown()
    assert log == ["added is open", "added is closed"]


def test_a_store_that_is_added_disturbs_nobody_who_goes_through_them() -> None:
    """``remove_job`` raised that a dictionary changed its size."""
    scheduler = BackgroundScheduler(jobstores={"first": MemoryJobStore()}, timezone="UTC")
    for _ in scheduler._pumps:
        scheduler.add_jobstore(MemoryJobStore(), "second")
        scheduler.start()
    scheduler.shutdown()


@pytest.mark.parametrize("add", KINDS)
def test_jobs_are_cut_in_time_while_something_hangs_that_is_being_added(add: Add) -> None:
    """An executor was shut down before it had started, and stayed open."""
    log: list[str] = []
    began, opens, goes_on = threading.Event(), threading.Event(), threading.Event()

    class Jobs(RunExecutor):
        """Notes the end of what is cut."""

        def submit(self, runs: Any) -> None:
            self.runs = list(runs)
            began.set()

        def live_runs(self) -> Any:
            return []

        def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Any]:
            log.append("jobs are cut")
            return []

    def hang() -> None:
        opens.set()
        assert goes_on.wait(LIMIT_S)

    scheduler = BackgroundScheduler(executors={"default": Jobs()}, timezone="UTC")
    scheduler.start()
    closed = scheduler._closed
    scheduler.add_job(print)
    assert began.wait(LIMIT_S)
    adding = Aside(add, scheduler, log, hang)
    try:
        assert opens.wait(LIMIT_S)
        stopping = Aside(scheduler.shutdown, True, 0.05)
        until(lambda: log, "jobs are not cut")
        assert log == ["jobs are cut"]
    finally:
        goes_on.set()
    adding.result()
    stopping.result()
    assert closed.wait(LIMIT_S)
    assert log == ["jobs are cut", "it is open", "it is closed"]


def test_who_starts_it_in_the_midst_of_a_start_comes_too_late() -> None:
    """A signal handler of the same thread, for which a lock is none: there were two lives at once."""

    class Midst(BackgroundScheduler):
        """Is started again as its wakeup is made."""

        def _create_wakeup(self) -> Wakeup:
            with pytest.raises(SchedulerAlreadyRunningError):
                self.start()
            return super()._create_wakeup()

    scheduler = Midst(timezone="UTC")
    for _ in range(2):
        scheduler.start()
        scheduler.shutdown()

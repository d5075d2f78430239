"""Starting where and when it cannot be, and again after the end: the errors say what to do."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.errors import (
    ConfigurationError,
    SchedulerAlreadyRunningError,
    SchedulerNotRunningError,
    SchedulerStartError,
)
from schedcore.events import EVENT_SCHEDULER_SHUTDOWN, EVENT_SCHEDULER_STARTED, SchedulerEvent
from schedcore.run import RunState
from schedcore.schedulers import _program
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.schedulers.blocking import BlockingScheduler

# Seconds. Longer than anything here takes.
PATIENCE_S = 60.0
FAR = datetime(2099, 1, 1, tzinfo=UTC)


def work() -> None:
    """A job."""


def test_who_hears_of_the_end_may_start_it_again() -> None:
    heard: list[int] = []
    ran = threading.Event()
    scheduler = BackgroundScheduler(timezone="UTC")

    def again(event: SchedulerEvent) -> None:
        heard.append(event.code)
        if heard.count(EVENT_SCHEDULER_SHUTDOWN) == 1 and event.code == EVENT_SCHEDULER_SHUTDOWN:
            scheduler.start()
            scheduler.add_job(ran.set)

    scheduler.add_listener(again, EVENT_SCHEDULER_STARTED | EVENT_SCHEDULER_SHUTDOWN)
    scheduler.start()
    assert scheduler.shutdown() == []
    assert ran.wait(PATIENCE_S)
    assert scheduler.running
    assert scheduler.shutdown() == []
    assert heard == [EVENT_SCHEDULER_STARTED, EVENT_SCHEDULER_SHUTDOWN] * 2


def test_a_thread_that_waits_for_the_news_of_the_end_may_start_it_again() -> None:
    for _ in range(30):
        scheduler = BackgroundScheduler(timezone="UTC")
        ended = threading.Event()
        failures: list[Exception] = []

        def start_again(scheduler: BackgroundScheduler, ended: threading.Event, failures: list[Exception]) -> None:
            assert ended.wait(PATIENCE_S)
            try:
                scheduler.start()
            except SchedulerAlreadyRunningError as error:
                failures.append(error)

        thread = threading.Thread(target=start_again, args=(scheduler, ended, failures))
        thread.start()
        scheduler.add_listener(lambda event, ended=ended: ended.set(), EVENT_SCHEDULER_SHUTDOWN)  # type: ignore[misc]
        scheduler.start()
        scheduler.shutdown()
        thread.join()
        assert failures == []
        assert scheduler.running
        scheduler.shutdown()


def test_the_end_was_told_when_shutdown_returns() -> None:
    for wait in (True, False):
        heard: list[int] = []
        scheduler = BackgroundScheduler(timezone="UTC")
        scheduler.add_listener(lambda event, heard=heard: heard.append(event.code), EVENT_SCHEDULER_SHUTDOWN)  # type: ignore[misc]
        scheduler.start()
        scheduler.shutdown(wait=wait)
        scheduler.shutdown()
        assert heard == [EVENT_SCHEDULER_SHUTDOWN]


def test_a_listener_that_hears_of_the_end_may_shut_down_once_more() -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    results: list[object] = []
    scheduler.add_listener(lambda event: results.append(scheduler.shutdown()), EVENT_SCHEDULER_SHUTDOWN)
    scheduler.start()
    scheduler.shutdown()
    assert results == [[]]


def test_start_of_the_blocking_scheduler_returns_although_it_is_started_again() -> None:
    scheduler = BlockingScheduler(timezone="UTC")
    started = threading.Event()
    lives: list[int] = []

    def again(event: SchedulerEvent) -> None:
        lives.append(event.code)
        if len(lives) == 1:
            thread.start()

    thread = threading.Thread(target=scheduler.start)
    scheduler.add_listener(again, EVENT_SCHEDULER_SHUTDOWN)
    scheduler.add_listener(lambda event: started.set(), EVENT_SCHEDULER_STARTED)
    scheduler.add_job(lambda: scheduler.shutdown(wait=False))
    scheduler.start()
    assert len(lives) == 1
    assert started.wait(PATIENCE_S)
    scheduler.add_job(lambda: scheduler.shutdown(wait=False))
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


# --- a loop that was closed under it ---------------------------------------------------------------------------------


@pytest.fixture
def left_behind() -> Iterator[AsyncIOScheduler]:
    """A scheduler whose loop was closed without a shutdown."""
    scheduler = AsyncIOScheduler(timezone="UTC")

    async def main() -> None:
        scheduler.start()
        scheduler.add_job(work, "date", run_date=FAR, id="a")

    # As programs do that know nothing of ``asyncio.run``, which says that it ends the loop.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    yield scheduler
    scheduler.shutdown()
    assert scheduler._closed.wait(PATIENCE_S)


CALLS: dict[str, Callable[[AsyncIOScheduler], object]] = {
    "add_job": lambda scheduler: scheduler.add_job(work),
    "add_jobs": lambda scheduler: scheduler.add_jobs([{"func": work}]),
    "modify_job": lambda scheduler: scheduler.modify_job("a", name="x"),
    "reschedule_job": lambda scheduler: scheduler.reschedule_job("a", trigger="interval", seconds=1),
    "pause_job": lambda scheduler: scheduler.pause_job("a"),
    "resume_job": lambda scheduler: scheduler.resume_job("a"),
    "repair_job": lambda scheduler: scheduler.repair_job("a"),
    "remove_job": lambda scheduler: scheduler.remove_job("a"),
    "remove_all_jobs": lambda scheduler: scheduler.remove_all_jobs(),
    "pause": lambda scheduler: scheduler.pause(),
    "resume": lambda scheduler: scheduler.resume(),
    "wakeup": lambda scheduler: scheduler.wakeup(),
    "call": lambda scheduler: scheduler.call(scheduler.get_jobs),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_calls_that_nobody_would_carry_out_are_refused(
    left_behind: AsyncIOScheduler, call: Callable[[AsyncIOScheduler], object]
) -> None:
    with pytest.raises(SchedulerNotRunningError, match=r"was closed, .* call shutdown\(\), and start\(\) it again"):
        call(left_behind)
    assert [job.id for job in left_behind.get_jobs()] == ["a"]


def test_start_says_that_its_loop_was_closed(left_behind: AsyncIOScheduler) -> None:
    async def start() -> None:
        with pytest.raises(SchedulerAlreadyRunningError, match=r"not shut down before the event loop .* was closed"):
            left_behind.start()
        await left_behind.shutdown()
        left_behind.start()
        assert left_behind.running
        left_behind.modify_job("a", name="again")
        await left_behind.shutdown()

    asyncio.run(start())


@pytest.mark.asyncio
async def test_start_belongs_into_the_thread_of_a_loop_that_runs() -> None:
    loop = asyncio.get_running_loop()
    scheduler = AsyncIOScheduler(event_loop=loop)
    with pytest.raises(
        SchedulerStartError, match=r"runs in another thread.*loop\.call_soon_threadsafe\(scheduler\.start\)"
    ):
        await asyncio.to_thread(scheduler.start)
    ran = asyncio.Event()

    async def job() -> None:
        ran.set()

    scheduler.add_job(job)
    await asyncio.to_thread(lambda: loop.call_soon_threadsafe(scheduler.start))
    async with asyncio.timeout(PATIENCE_S):
        await ran.wait()
    await scheduler.shutdown()


def test_a_listener_that_would_end_the_program_does_not_end_the_start() -> None:
    # Before the loop runs nobody can tell that this is its thread; listeners are called elsewhere all the same.
    here = threading.get_ident()
    heard: list[int] = []

    def leave(event: SchedulerEvent) -> None:
        heard.append(threading.get_ident())
        raise SystemExit(1)

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not heard:
                await asyncio.sleep(0.002)
        await scheduler.shutdown()

    loop = asyncio.new_event_loop()
    scheduler = AsyncIOScheduler(event_loop=loop)
    scheduler.add_listener(leave, EVENT_SCHEDULER_STARTED)
    scheduler.start()
    loop.run_until_complete(main())
    loop.close()
    assert here not in heard


@pytest.mark.asyncio
async def test_a_limit_that_is_none_stops_nothing() -> None:
    async with AsyncIOScheduler() as scheduler:
        with pytest.raises(
            ConfigurationError, match="timeout must be a number of seconds, or None for no limit, not '5'"
        ):
            scheduler.shutdown(timeout="5")  # type: ignore[arg-type]
        assert scheduler.running


def test_a_start_for_which_there_is_no_thread_can_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = threading.Event()
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(ran.set)

    def none_to_give(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_to_give)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            scheduler.start()
    assert not scheduler.running
    scheduler.start()
    try:
        assert ran.wait(PATIENCE_S)
    finally:
        scheduler.shutdown()


@pytest.mark.parametrize("cls", [BackgroundScheduler, BlockingScheduler])
def test_ctrl_c_as_it_starts_leaves_it_stopped(cls: type[BackgroundScheduler | BlockingScheduler]) -> None:
    def interrupt(event: SchedulerEvent) -> None:
        raise KeyboardInterrupt

    scheduler = cls(timezone="UTC")
    scheduler.add_job(work, "date", run_date=FAR)
    scheduler.add_listener(interrupt, EVENT_SCHEDULER_STARTED)
    with pytest.raises(KeyboardInterrupt):
        scheduler.start()
    assert not scheduler.running


_begun, _release = threading.Event(), threading.Event()


def held() -> None:
    _begun.set()
    assert _release.wait(PATIENCE_S)


@pytest.mark.parametrize("timeout", [None, PATIENCE_S])
@pytest.mark.parametrize("store", ["memory", "sqlalchemy"])
def test_ctrl_c_ends_the_wait_for_a_shutdown_and_not_the_shutdown(
    tmp_path: Path, store: str, timeout: float | None
) -> None:
    options = {"type": store}
    if store == "sqlalchemy":
        pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
        options["url"] = f"sqlite:///{tmp_path}/jobs.sqlite"
    _begun.clear()
    _release.clear()
    here = threading.get_ident()

    class Interrupts(logging.Handler):
        interrupted = False

        def emit(self, record: logging.LogRecord) -> None:
            # It waits for the job from now on.
            if record.getMessage().startswith("shutting down, while") and not self.interrupted:
                self.interrupted = True
                threading.Timer(0.01, signal.pthread_kill, (here, signal.SIGINT)).start()

    logger = logging.Logger("closing")
    logger.addHandler(Interrupts())
    scheduler = BackgroundScheduler(timezone="UTC", jobstores={"default": options}, logger=logger)
    scheduler.start()
    scheduler.add_job(held, id="held")
    assert _begun.wait(PATIENCE_S)
    with pytest.raises(KeyboardInterrupt):
        scheduler.shutdown(timeout=timeout)
    assert scheduler not in _program.started, "the end of the program would wait for it"
    with pytest.raises(SchedulerAlreadyRunningError, match="still shutting down"):
        scheduler.start()
    _release.set()
    assert scheduler.shutdown() == []
    scheduler.start()
    try:
        assert [(run.job_id, run.state) for run in scheduler.get_runs()] == [("held", RunState.SUCCEEDED)]
    finally:
        scheduler.shutdown()

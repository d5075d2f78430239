"""On an event loop nothing waits for a job store that does I/O, and no user's code but the jobs runs there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta

import pytest
import pytest_asyncio

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.errors import ConflictingIdError, InvalidTriggerError, JobLookupError, UnknownOptionError
from schedcore.events import EVENT_ALL, EVENT_JOB_ADDED, EVENT_JOB_BROKEN, EVENT_SCHEDULER_FAILED, SchedulerEvent
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.calendars import Predicate
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.interval import IntervalTrigger
from tests.far_store import FAR, FarStore, made_here

pytestmark = pytest.mark.asyncio


@pytest.fixture
def store() -> FarStore:
    return FarStore()


@pytest_asyncio.fixture
async def scheduler(store: FarStore) -> AsyncIterator[AsyncIOScheduler]:
    scheduler = AsyncIOScheduler(jobstores={"default": store}, timezone="UTC")
    scheduler.start()
    await scheduler.call(lambda: None)
    yield scheduler
    store.gate.set()
    store.failing = None
    await scheduler.shutdown()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


def work() -> None:
    """A job."""


class Theirs(BaseTrigger):
    """A third party's trigger that notes who asks it."""

    def __init__(self) -> None:
        self.askers: list[int] = []

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        self.askers.append(threading.get_ident())
        return (previous_fire_time or now) + timedelta(milliseconds=5)


# --- changes ---------------------------------------------------------------------------------------------------------


async def test_changes_are_made_elsewhere_and_in_order(scheduler: AsyncIOScheduler, store: FarStore) -> None:
    store.gate.clear()
    job = scheduler.add_job(work, id="a", **FAR)
    assert job.pending
    assert job.next_run_time == datetime(2099, 1, 1, tzinfo=UTC)
    store.gate.set()
    await until(lambda: not job.pending)
    store.gate.clear()
    scheduler.modify_job("a", name="other")
    scheduler.pause_job("a")
    scheduler.reschedule_job("a", trigger="date", run_date="2098-01-01T00:00:00Z")
    scheduler.modify_job("a", args=())
    store.gate.set()
    found = await scheduler.call(scheduler.get_job, "a")
    assert found is not None
    assert (found.name, found.next_run_time) == ("other", datetime(2098, 1, 1, tzinfo=UTC))
    scheduler.remove_job("a")
    assert await scheduler.call(scheduler.get_job, "a") is None
    assert made_here(store) == []


async def test_a_handle_of_a_change_is_read_when_it_is_looked_at(scheduler: AsyncIOScheduler, store: FarStore) -> None:
    await scheduler.call(scheduler.add_job, work, id="a", **FAR)
    handle = scheduler.modify_job("a", name="other")
    assert handle.id == "a"
    assert handle == scheduler.pause_job("a")
    assert hash(handle) == hash(handle)
    assert made_here(store) == []
    assert await scheduler.call(lambda: (handle.name, handle.next_run_time)) == ("other", None)
    resumed = scheduler.resume_job("a")
    assert resumed is not None
    assert await scheduler.call(lambda: resumed.next_run_time) == datetime(2099, 1, 1, tzinfo=UTC)


async def test_a_handle_changes_its_job(scheduler: AsyncIOScheduler, store: FarStore) -> None:
    job = await scheduler.call(scheduler.add_job, work, id="a", **FAR)
    job.modify(name="other")
    job.pause()
    job.resume()
    job.reschedule("date", run_date="2098-01-01T00:00:00Z")
    assert made_here(store) == []
    found = await scheduler.call(scheduler.get_job, "a")
    assert found is not None
    assert found.next_run_time is not None
    assert (found.name, found.next_run_time.year) == ("other", 2098)
    job.remove()
    assert await scheduler.call(scheduler.get_jobs) == []


async def test_a_job_that_waits_for_its_store_can_be_changed_and_removed(
    scheduler: AsyncIOScheduler, store: FarStore
) -> None:
    store.gate.clear()
    # A cycle is under way, so that what is added now waits.
    scheduler.add_job(work, id="first", **FAR)
    await until(lambda: scheduler._pumps["default"].busy)
    scheduler.add_job(work, id="a", **FAR)
    scheduler.add_job(work, id="b", **FAR)
    with pytest.raises(ConflictingIdError):
        scheduler.add_job(work, id="a", **FAR)
    scheduler.add_job(work, id="a", name="again", replace_existing=True, **FAR)
    scheduler.reschedule_job("a", trigger="date", run_date="2098-01-01T00:00:00Z")
    scheduler.remove_job("b")
    store.gate.set()
    jobs = await scheduler.call(scheduler.get_jobs)
    assert [(job.id, job.name) for job in jobs] == [("a", "again"), ("first", "work")]
    assert jobs[0].next_run_time == datetime(2098, 1, 1, tzinfo=UTC)
    assert made_here(store) == []


@pytest.mark.parametrize("replace", [True, False])
async def test_removing_what_waits_removes_what_is_stored(
    scheduler: AsyncIOScheduler, store: FarStore, replace: bool
) -> None:
    await scheduler.call(scheduler.add_job, work, id="a", name="old", **FAR)
    scheduler.add_job(work, id="a", name="new", replace_existing=replace, **FAR)
    scheduler.remove_job("a")
    assert await scheduler.call(scheduler.get_jobs) == []
    assert made_here(store) == []


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_a_job_that_is_removed_while_its_write_fails_stays_removed(
    scheduler: AsyncIOScheduler, store: FarStore, elsewhere: bool
) -> None:
    store.gated = "add_entries"
    store.gate.clear()
    scheduler.add_job(work, id="a", **FAR)
    scheduler.add_job(work, id="b", **FAR)
    scheduler.add_job(work, id="c", **FAR)
    await until(lambda: store.calls and store.calls[-1][0] == "add_entries")
    store.failing = ConnectionError("down")
    if elsewhere:
        removing = asyncio.create_task(asyncio.to_thread(scheduler.remove_job, "a"))
    else:
        scheduler.remove_job("a")
    scheduler.modify_job("b", name="changed")
    store.gate.set()
    await until(lambda: not scheduler.health()["default"].ok)
    store.failing = None
    if elsewhere:
        with contextlib.suppress(ConnectionError):
            await removing
    await until(lambda: scheduler.health()["default"].ok)
    jobs = await scheduler.call(scheduler.get_jobs)
    assert [(job.id, job.name) for job in jobs] == [("b", "changed"), ("c", "work")]


async def test_what_is_changed_and_removed_while_it_is_written(scheduler: AsyncIOScheduler, store: FarStore) -> None:
    store.gated = "add_entries"
    store.gate.clear()
    for job_id in "abc":
        scheduler.add_job(work, id=job_id, **FAR)
    await until(lambda: store.calls and store.calls[-1][0] == "add_entries")
    scheduler.remove_job("a")
    scheduler.modify_job("b", name="changed")
    store.gate.set()
    jobs = await scheduler.call(scheduler.get_jobs)
    assert [(job.id, job.name) for job in jobs] == [("b", "changed"), ("c", "work")]
    assert made_here(store) == []


async def test_a_thread_finds_done_what_was_put_off_before(scheduler: AsyncIOScheduler) -> None:
    await scheduler.call(scheduler.add_job, work, id="a", name="old", **FAR)
    scheduler.remove_job("a")
    await asyncio.to_thread(scheduler.add_job, work, id="a", name="new", **FAR)
    scheduler.modify_job("a", name="newer")
    await asyncio.to_thread(scheduler.modify_job, "a", name="newest")
    jobs = await scheduler.call(scheduler.get_jobs)
    assert [(job.id, job.name) for job in jobs] == [("a", "newest")]


async def test_remove_all_jobs(scheduler: AsyncIOScheduler, store: FarStore) -> None:
    await scheduler.call(scheduler.add_job, work, id="a", **FAR)
    scheduler.add_job(work, id="b", **FAR)
    scheduler.remove_all_jobs()
    assert await scheduler.call(scheduler.get_jobs) == []
    assert made_here(store) == []


async def test_what_can_be_seen_at_once_is_said_at_once(scheduler: AsyncIOScheduler) -> None:
    with pytest.raises(UnknownOptionError):
        scheduler.modify_job("a", nmae="x")
    with pytest.raises(InvalidTriggerError):
        scheduler.reschedule_job("a", trigger="cron", day=31, month=2)
    with pytest.raises(InvalidTriggerError):
        scheduler.add_job(work, "cron", day=31, month=2)
    with pytest.raises(InvalidTriggerError):
        scheduler.modify_job("a", trigger=None)


async def test_what_is_found_later_is_logged_and_an_event(
    scheduler: AsyncIOScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[SchedulerEvent] = []
    scheduler.add_listener(events.append, EVENT_SCHEDULER_FAILED | EVENT_JOB_BROKEN)
    await scheduler.call(scheduler.add_job, work, id="a", **FAR)
    with caplog.at_level(logging.ERROR):
        scheduler.remove_job("nobody")
        scheduler.add_job(work, id="a", **FAR)
        await until(lambda: len(events) == 2)
    assert "remove_job('nobody') was put off, and failed" in caplog.text
    assert "job 'a' cannot be added" in caplog.text
    assert sorted(event.code for event in events) == sorted([EVENT_SCHEDULER_FAILED, EVENT_JOB_BROKEN])


async def test_call_raises_what_the_call_raises(scheduler: AsyncIOScheduler) -> None:
    await scheduler.call(scheduler.add_job, work, id="a", **FAR)
    with pytest.raises(ConflictingIdError):
        await scheduler.call(scheduler.add_job, work, id="a", **FAR)
    with pytest.raises(JobLookupError):
        await scheduler.call(scheduler.remove_job, "nobody")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await scheduler.call(next, iter(()))


async def test_an_order_survives_a_store_that_is_down(scheduler: AsyncIOScheduler, store: FarStore) -> None:
    await scheduler.call(scheduler.add_job, work, id="a", **FAR)
    store.failing = ConnectionError("down")
    scheduler.modify_job("a", name="other")
    scheduler.add_job(work, id="b", **FAR)
    await until(lambda: not scheduler.health()["default"].ok)
    store.failing = None
    await until(lambda: scheduler.health()["default"].ok)
    jobs = await scheduler.call(scheduler.get_jobs)
    assert [(job.id, job.name) for job in jobs] == [("a", "other"), ("b", "work")]


async def test_what_was_put_off_is_done_before_the_end(store: FarStore) -> None:
    scheduler = AsyncIOScheduler(jobstores={"default": store}, timezone="UTC")
    scheduler.start()
    await scheduler.call(scheduler.add_job, work, id="a", **FAR)
    scheduler.remove_job("a")
    scheduler.add_job(work, id="b", **FAR)
    await scheduler.shutdown()
    assert [entry.job.id for entry in store.list_entries()] == ["b"]
    assert made_here(store) == ["list_entries"]


async def test_jobs_reach_a_store_that_was_not_open_yet(store: FarStore) -> None:
    scheduler = AsyncIOScheduler(jobstores={"default": store}, timezone="UTC")
    scheduler.add_job(work, id="a", **FAR)
    scheduler.start()
    scheduler.add_job(work, id="b", **FAR)
    await scheduler.shutdown()
    assert {entry.job.id for entry in store.list_entries()} == {"a", "b"}


async def test_a_store_that_hangs_does_not_hold_who_waits_beyond_the_limit(
    scheduler: AsyncIOScheduler, store: FarStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.gate.clear()
    scheduler.add_job(work, id="a", **FAR)
    begun_s = time.monotonic()
    assert await scheduler.shutdown(timeout=0.05) == []
    assert await scheduler.shutdown(timeout=0.05) == []
    assert time.monotonic() - begun_s < 20
    assert "nobody waits for it any more" in caplog.text
    store.gate.set()
    await until(scheduler._closed.is_set)
    assert [entry.job.id for entry in store.list_entries()] == ["a"]


async def test_a_second_shutdown_waits_as_long_as_it_says() -> None:
    done = asyncio.Event()
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await done.wait()

    scheduler = AsyncIOScheduler(timezone="UTC")
    scheduler.start()
    scheduler.add_job(wait)
    await begun.wait()
    first = scheduler.shutdown()
    assert await scheduler.shutdown(timeout=0.01) == []
    assert not first.done()
    done.set()
    assert await first == []


# --- reading ---------------------------------------------------------------------------------------------------------


async def test_reading_on_the_loop_sees_what_was_put_off_and_warns_once(
    scheduler: AsyncIOScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    await scheduler.call(scheduler.add_job, work, id="a", **FAR)
    scheduler.modify_job("a", name="other")
    found = scheduler.get_job("a")
    assert found is not None
    assert found.name == "other"
    scheduler.print_jobs(out=io.StringIO())
    assert scheduler.get_runs() == []
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "get_job() waits for job store 'default', and the event loop with it" in warnings[0]


async def test_reading_elsewhere_does_not_warn(scheduler: AsyncIOScheduler, caplog: pytest.LogCaptureFixture) -> None:
    assert await scheduler.call(scheduler.get_jobs) == []
    assert await asyncio.to_thread(scheduler.get_jobs) == []
    assert caplog.records == []


# --- stores, listeners and triggers -----------------------------------------------------------------------------------


async def test_stores_are_added_and_removed_elsewhere(scheduler: AsyncIOScheduler) -> None:
    second = FarStore()
    scheduler.add_jobstore(second, "second")
    scheduler.add_job(work, id="a", jobstore="second", **FAR)
    job = await scheduler.call(scheduler.get_job, "a", "second")
    assert job is not None
    await until(lambda: not job.pending)
    scheduler.modify_job("a", "second", name="other")
    scheduler.remove_jobstore("second")
    await until(lambda: second.calls[-1][0] == "shutdown")
    assert made_here(second) == []
    assert second.list_entries()[0].job.name == "other"


async def test_an_executor_that_was_missing_mends_jobs_elsewhere(scheduler: AsyncIOScheduler, store: FarStore) -> None:
    broken: list[SchedulerEvent] = []
    scheduler.add_listener(broken.append, EVENT_JOB_BROKEN)
    done = threading.Event()
    scheduler.add_job(done.set, executor="later")
    await until(lambda: broken)
    scheduler.add_executor(ThreadPoolExecutor(1), "later")
    await until(done.is_set)
    assert made_here(store) == []


async def test_listeners_are_called_elsewhere(scheduler: AsyncIOScheduler) -> None:
    heard: list[tuple[int, int]] = []
    scheduler.add_listener(lambda event: heard.append((event.code, threading.get_ident())), EVENT_ALL)
    scheduler.add_job(work, id="a", **FAR)
    scheduler.add_jobstore(MemoryJobStore(), "memory")
    scheduler.add_job(work, jobstore="memory", **FAR)
    scheduler.pause()
    scheduler.resume()
    await until(lambda: [code for code, _ in heard].count(EVENT_JOB_ADDED) == 2)
    scheduler.remove_all_jobs()
    await until(lambda: len(heard) >= 6)
    assert threading.get_ident() not in {thread for _, thread in heard}


async def test_a_users_trigger_is_asked_elsewhere() -> None:
    times = 0
    ours = 0

    async def tick() -> None:
        nonlocal times
        times += 1

    async def plain() -> None:
        nonlocal ours
        ours += 1

    trigger = Theirs()
    asked: list[int] = []

    def closed(day: date) -> bool:
        asked.append(threading.get_ident())
        return False

    async with AsyncIOScheduler(timezone="UTC") as scheduler:
        scheduler.add_job(tick, trigger)
        scheduler.add_job(tick, IntervalTrigger(seconds=0.005).excluding(Predicate(closed)))
        scheduler.add_job(plain, "interval", seconds=0.005)
        here = len(trigger.askers)
        asked.clear()
        await until(lambda: times > 10 and ours > 5)
    assert threading.get_ident() not in trigger.askers[here:]
    assert threading.get_ident() not in asked


async def test_what_is_searched_for_is_searched_for_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    search = AndTrigger.next_us

    def watched(trigger: AndTrigger, after_us: int) -> int | None:
        asked.append(threading.get_ident())
        return search(trigger, after_us)

    monkeypatch.setattr(AndTrigger, "next_us", watched)
    times = 0

    async def tick() -> None:
        nonlocal times
        times += 1

    both = AndTrigger([IntervalTrigger(seconds=0.005), IntervalTrigger(seconds=0.01)])
    async with AsyncIOScheduler(timezone="UTC") as scheduler:
        scheduler.add_job(tick, OrTrigger([both, IntervalTrigger(hours=1)]))
        asked.clear()
        await until(lambda: times > 5)
    assert asked
    assert threading.get_ident() not in asked


async def test_a_users_trigger_that_raises_sets_its_job_aside() -> None:
    class Failing(Theirs):
        def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
            if previous_fire_time is not None:
                raise ValueError("no idea")
            return now

    broken: list[SchedulerEvent] = []
    async with AsyncIOScheduler(timezone="UTC") as scheduler:
        scheduler.add_listener(broken.append, EVENT_JOB_BROKEN)
        job = scheduler.add_job(work, Failing())
        await until(lambda: broken)
        assert job.reason is not None
        assert "no idea" in job.reason

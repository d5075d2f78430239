"""A job store that does what it is asked for, or does not, and is not heard of then: it happens all the same, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.engine import Claim, decide
from schedcore.errors import ConflictingIdError, JobStoreError
from schedcore.events import (
    EVENT_JOB_ADDED,
    EVENT_JOB_BROKEN,
    EVENT_JOB_REMOVED,
    EVENT_SCHEDULER_FAILED,
    SchedulerEvent,
)
from schedcore.jobstores.base import JobStore
from schedcore.run import Finish, Run, RunState, SkipReason
from schedcore.schedulers._write_back import WriteBack
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.testing._store_bench import T0 as T0_US
from schedcore.testing._store_bench import finish_of, make_entry, now_at
from schedcore.triggers.base import BaseTrigger
from tests.far_store import FAR, FarStore

Make = Callable[..., VirtualScheduler]

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


def nothing(_: object = None) -> None:
    pass


def other(_: object = None) -> None:
    pass


def unanswered(store: JobStore, method: str, *, made: bool = True, times: int = 1) -> None:
    """The next calls of a method are made, or not, and not answered."""
    original = getattr(store, method)
    left = times

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        lost, left = left > 0, left - 1
        if lost and not made:
            raise JobStoreError("default", "not made", transient=True)
        result = original(*args, **kwargs)
        if lost:
            raise JobStoreError("default", "not answered", transient=True)
        return result

    setattr(store, method, call)


# --- jobs that wait for their store -----------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [True, False])
def test_a_start_is_made_again(virtual: Make, tmp_path: Path, made: bool) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    store = SQLAlchemyJobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    unanswered(store, "add_entries", made=made)
    scheduler = virtual(started=False, jobstores={"default": store}, start=T0)
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "interval", seconds=10, id="a", args=["x"])
    scheduler.add_job(nothing, "interval", seconds=10, id="b")
    with pytest.raises(JobStoreError):
        scheduler.start()
    scheduler.modify_job("b", name="later")
    scheduler.start()
    scheduler.advance(30)
    assert [(job.id, job.name) for job in scheduler.get_jobs()] == [("a", "nothing"), ("b", "later")]
    for job_id in ("a", "b"):
        times = log.executed(job_id)
        assert len(times) in (3, 4)
        assert len(set(times)) == len(times)
    assert sorted(event.job_id for event in log.of(EVENT_JOB_ADDED)) == ["a", "b"]


@pytest.mark.parametrize("different", [{"name": "a", "func": other}, {"args": ["y"]}, {"seconds": 20}])
def test_a_job_of_somebody_elses_is_none_of_ours(virtual: Make, tmp_path: Path, different: dict[str, Any]) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    job: dict[str, Any] = {"func": nothing, "trigger": "interval", "seconds": 10, "args": ["x"], "id": "a"}
    before = virtual(started=False, jobstores={"default": SQLAlchemyJobStore(url)}, start=T0)
    before.add_job(**{**job, **different})
    before.start()
    before.shutdown()
    store = SQLAlchemyJobStore(url)
    unanswered(store, "add_entries", made=False)
    scheduler = virtual(started=False, jobstores={"default": store}, start=T0)
    scheduler.add_job(**job)
    with pytest.raises(JobStoreError):
        scheduler.start()
    with pytest.raises(ConflictingIdError):
        scheduler.start()


def test_a_job_of_somebody_elses_that_is_just_alike_is_refused_at_each_start(virtual: Make, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    job: dict[str, Any] = {"func": nothing, "trigger": "cron", "minute": 30, "args": ["x"], "id": "a"}
    before = virtual(started=False, jobstores={"default": SQLAlchemyJobStore(url)}, start=T0)
    before.add_job(**job)
    before.start()
    before.shutdown()
    scheduler = virtual(started=False, jobstores={"default": SQLAlchemyJobStore(url)}, start=T0)
    scheduler.add_job(**job)
    for _ in range(3):
        with pytest.raises(ConflictingIdError):
            scheduler.start()


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("made", [True, False])
def test_a_start_is_made_a_third_time(virtual: Make, tmp_path: Path, made: bool, changed: bool) -> None:
    """The second one, at other fire times, was not answered either: it had found what the first one had added."""
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    store = SQLAlchemyJobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    scheduler = virtual(started=False, jobstores={"default": store}, start=T0)
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "interval", seconds=10, id="a")
    for method, is_made in (("add_entries", True), ("replace_entry", made)):
        unanswered(store, method, made=is_made)
        with pytest.raises(JobStoreError):
            scheduler.start()
        scheduler.clock.step(25)
        if changed:
            scheduler.modify_job("a", name=f"changed after {method}")
    scheduler.start()
    scheduler.advance(30)
    assert [job.name for job in scheduler.get_jobs()] == ["changed after replace_entry" if changed else "nothing"]
    times = log.executed("a")
    assert len(times) >= 3
    assert len(set(times)) == len(times)


def test_a_job_that_another_scheduler_has_run_since_is_still_ours(virtual: Make, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    store = SQLAlchemyJobStore(url)
    scheduler = virtual(started=False, jobstores={"default": store}, start=T0)
    scheduler.add_job(nothing, "interval", seconds=10, id="a")
    unanswered(store, "add_entries")
    with pytest.raises(JobStoreError):
        scheduler.start()
    other = virtual(jobstores={"default": SQLAlchemyJobStore(url)}, start=T0)
    other.advance(25)
    other.shutdown()
    scheduler.clock.step(25)
    log = EventLog(scheduler)
    scheduler.start()
    scheduler.advance(10)
    # Where the other one left it.
    assert log.executed("a") == [T0 + timedelta(seconds=30)]


class Every(BaseTrigger):
    """A user's trigger, which does not say what it is equal to."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return (previous_fire_time or now) + timedelta(seconds=10)


def test_a_job_with_a_users_trigger_is_added_by_the_next_start(virtual: Make, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    store = SQLAlchemyJobStore(f"sqlite:///{tmp_path}/jobs.sqlite", serializer="pickle")
    scheduler = virtual(started=False, jobstores={"default": store}, start=T0)
    scheduler.add_job(nothing, Every(), id="a")
    unanswered(store, "add_entries")
    with pytest.raises(JobStoreError):
        scheduler.start()
    scheduler.start()
    assert [job.id for job in scheduler.get_jobs()] == ["a"]


class Loop:
    """A scheduler on a loop that runs, over a store that is far."""

    def __init__(self) -> None:
        self.store = FarStore()
        self.scheduler = AsyncIOScheduler(
            jobstores={"default": self.store}, timezone="UTC", jobstore_retry_interval=0.01
        )
        self.events: list[SchedulerEvent] = []

    async def __aenter__(self) -> Loop:
        self.scheduler.start()
        await self.scheduler.call(self.scheduler.add_job, nothing, id="there", **FAR)
        told = EVENT_JOB_ADDED | EVENT_JOB_REMOVED | EVENT_JOB_BROKEN | EVENT_SCHEDULER_FAILED
        self.scheduler.add_listener(self.events.append, told)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.scheduler.shutdown()

    async def wait_for(self, *codes: int) -> None:
        """Exactly these events."""
        async with asyncio.timeout(60):
            while len(self.events) < len(codes) or self.scheduler._pumps["default"].has_put_off:
                await asyncio.sleep(0.002)
        await self.scheduler.call(lambda: None)
        assert [event.code for event in self.events] == list(codes), self.events


@pytest.mark.asyncio
async def test_a_job_that_was_added_on_a_loop_is_not_refused_because_it_is_there() -> None:
    async with Loop() as loop:
        unanswered(loop.store, "add_entries")
        loop.scheduler.add_job(nothing, id="a", **FAR)
        loop.scheduler.add_job(nothing, id="b", **FAR)
        await loop.wait_for(EVENT_JOB_ADDED, EVENT_JOB_ADDED)
        jobs = await loop.scheduler.call(loop.scheduler.get_jobs)
        assert [job.id for job in jobs] == ["a", "b", "there"]


# --- changes that were put off ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("made", [True, False])
async def test_a_job_is_changed_though_one_answer_is_lost(made: bool) -> None:
    async with Loop() as loop:
        unanswered(loop.store, "replace_entry", made=made)
        loop.scheduler.modify_job("there", name="changed")
        jobs = await loop.scheduler.call(loop.scheduler.get_jobs)
        assert [job.name for job in jobs] == ["changed"]
        assert not loop.events


@pytest.mark.asyncio
@pytest.mark.parametrize("made", [True, False])
async def test_a_job_is_removed_though_one_answer_is_lost(made: bool) -> None:
    async with Loop() as loop:
        unanswered(loop.store, "remove_job", made=made)
        loop.scheduler.remove_job("there")
        await loop.wait_for(EVENT_JOB_REMOVED)
        assert await loop.scheduler.call(loop.scheduler.get_jobs) == []


@pytest.mark.asyncio
async def test_a_change_that_always_fails_holds_nothing_up() -> None:
    async with Loop() as loop:
        unanswered(loop.store, "replace_entry", made=False, times=1000)
        loop.scheduler.modify_job("there", name="changed")
        loop.scheduler.add_job(nothing, id="a", **FAR)
        await loop.wait_for(EVENT_SCHEDULER_FAILED, EVENT_JOB_ADDED)


# --- the schedule after the clock was corrected -------------------------------------------------------------------------


def set_back(virtual: Make, store: FarStore) -> tuple[VirtualScheduler, EventLog]:
    """One that has run two jobs, each at half past twelve, when its clock is set back by a day."""
    scheduler = virtual(start=T0, jobstores={"default": store})
    log = EventLog(scheduler)
    for job_id in ("a", "b"):
        scheduler.add_job(nothing, "cron", minute=30, id=job_id)
    scheduler.advance(3600)
    scheduler.clock.step(-86400)
    return scheduler, log


@pytest.mark.parametrize("method", ["list_entries", "replace_entry"])
@pytest.mark.parametrize("made", [True, False])
def test_a_correction_is_made_again(virtual: Make, method: str, made: bool) -> None:
    store = FarStore()
    scheduler, log = set_back(virtual, store)
    unanswered(store, method, made=made)
    scheduler.advance(3600)
    for job_id in ("a", "b"):
        at = T0 + timedelta(minutes=30)
        assert log.executed(job_id) == [at, at + timedelta(hours=1) - timedelta(days=1)]
    assert not log.of(EVENT_JOB_BROKEN)


@pytest.mark.parametrize("change", ["changed", "removed"])
def test_a_job_that_somebody_changes_while_a_correction_is_made(virtual: Make, change: str) -> None:
    """It is looked at again: where it stood it would not have run for a day."""
    store = FarStore()
    scheduler, log = set_back(virtual, store)
    listed, left = store.list_entries, [True]

    def list_entries(*args: Any, **kwargs: Any) -> Any:
        entries = listed(*args, **kwargs)
        if left:
            left.clear()
            if change == "removed":
                store.remove_job("a")
            else:
                assert store.replace_entry(entries[0], entries[0]._replace(job=entries[0].job._replace(name="other")))
        return entries

    store.list_entries = list_entries  # type: ignore[method-assign]
    scheduler.advance(3600)
    at = T0 + timedelta(minutes=30)
    again = [at, at + timedelta(hours=1) - timedelta(days=1)]
    assert log.executed("a") == (again if change == "changed" else again[:1])
    assert log.executed("b") == again
    assert not left
    assert not log.of(EVENT_JOB_BROKEN)


@pytest.mark.parametrize("method", ["list_entries", "replace_entry"])
@pytest.mark.parametrize("made", [True, False])
def test_a_clock_that_went_back_while_it_was_down_is_looked_at_again(
    virtual: Make, tmp_path: Path, method: str, made: bool
) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    before = virtual(start=T0, jobstores={"default": SQLAlchemyJobStore(url)})
    for job_id in ("a", "b"):
        before.add_job(nothing, "interval", seconds=10, id=job_id)
    before.advance(60)
    before.shutdown()
    store = SQLAlchemyJobStore(url)
    unanswered(store, method, made=made)
    scheduler = virtual(started=False, start=T0 - timedelta(hours=5), jobstores={"default": store})
    log = EventLog(scheduler)
    scheduler.start()
    scheduler.advance(60)
    for job_id in ("a", "b"):
        assert len(log.executed(job_id)) in (5, 6, 7), job_id
    assert not log.of(EVENT_JOB_BROKEN)


# --- what ended -------------------------------------------------------------------------------------------------------


def test_what_was_taken_back_is_told_later() -> None:
    told: list[list[Run]] = []

    class Store(FarStore):
        def withdraw(self, runs: Any) -> None:
            told.append(list(runs))

    store, back = Store(), WriteBack()
    store.start(VirtualScheduler(), "default")
    store.add_entries([make_entry("a"), make_entry("b")])
    claims: list[Claim] = store.acquire(now_at(T0_US), 9)
    ended, taken = store.commit([decide(claim, T0_US) for claim in claims], T0_US).runs
    unanswered(store, "finish", made=False)
    back.finished.append(finish_of(ended))
    back.finished.append(Finish(taken, RunState.SKIPPED, None, T0_US, SkipReason.SHUTDOWN))
    with pytest.raises(JobStoreError):
        back.write(store, [])
    assert back
    back.write(store, [])
    assert told == [[taken]]
    assert not back
    store.shutdown()


@pytest.mark.parametrize("error", [JobStoreError("default", "away"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_that_runs_began_is_told_again_whatever_the_store_raised(error: BaseException) -> None:
    """After what only a ``BaseException`` is, that was lost: killed meanwhile, a run would have been taken for one not begun."""

    class Store(FarStore):
        def started(self, runs: Any) -> None:
            told.append(list(runs))
            if len(told) == 1:
                raise error

    told: list[list[Any]] = []
    store, back = Store(), WriteBack()
    store.start(VirtualScheduler(), "default")
    store.add_entries([make_entry("a")])
    (run,) = store.commit([decide(claim, T0_US) for claim in store.acquire(now_at(T0_US), 9)], T0_US).runs
    back.begun.append((run, T0_US))
    with pytest.raises(type(error)):
        back.write(store, [])
    back.write(store, [])
    assert told == [[(run, T0_US)]] * 2
    assert not back
    store.shutdown()

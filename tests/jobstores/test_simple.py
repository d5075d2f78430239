"""Third parties' job stores of the 3.x kind, in a whole scheduler; and the state of a job's handle, which they pickle.

The conformance suite runs on two more of them.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest

from schedcore.clock import Now
from schedcore.errors import ConflictingIdError, JobLookupError, TransientJobError, UsageError
from schedcore.events import EVENT_JOB_BROKEN
from schedcore.job import Job, JobEntry, JobState
from schedcore.jobstores.base import BaseJobStore
from schedcore.jobstores.simple import SimpleStore
from schedcore.run import RunState
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.testing.store_suite import work
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.interval import IntervalTrigger

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class RowStore(BaseJobStore):
    """Keeps rows of id, time stamp and pickled state, as stores for 3.x are commonly written; ``rows`` may be shared."""

    def __init__(self, rows: dict[str, tuple[float | None, bytes]] | None = None) -> None:
        self.rows = {} if rows is None else rows
        self.closed = 0

    def shutdown(self) -> None:
        self.closed += 1

    def lookup_job(self, job_id: str) -> Job | None:
        return self._load(job_id) if job_id in self.rows else None

    def get_due_jobs(self, now: datetime) -> list[Job]:
        return [self._load(job_id) for at, job_id in self._sorted() if at is not None and at <= now.timestamp()]

    def get_next_run_time(self) -> datetime | None:
        times = [at for at, _ in self._sorted() if at is not None]
        return datetime.fromtimestamp(times[0], UTC) if times else None

    def get_all_jobs(self) -> list[Job]:
        return [self._load(job_id) for _, job_id in self._sorted()]

    def add_job(self, job: Job) -> None:
        if job.id in self.rows:
            raise ConflictingIdError(job.id)
        self.rows[job.id] = self._row(job)

    def update_job(self, job: Job) -> None:
        if job.id not in self.rows:
            raise JobLookupError(job.id)
        self.rows[job.id] = self._row(job)

    def remove_job(self, job_id: str) -> None:
        if job_id not in self.rows:
            raise JobLookupError(job_id)
        del self.rows[job_id]

    def remove_all_jobs(self) -> None:
        self.rows.clear()

    def _sorted(self) -> list[tuple[float | None, str]]:
        return sorted(((row[0], job_id) for job_id, row in self.rows.items()), key=lambda item: (item[0] is None, item))

    def _row(self, job: Job) -> tuple[float | None, bytes]:
        at = job.next_run_time
        return None if at is None else at.timestamp(), pickle.dumps(job.__getstate__())

    def _load(self, job_id: str) -> Job:
        job = Job.__new__(Job)
        job.__setstate__(pickle.loads(self.rows[job_id][1]))
        job._scheduler = self._scheduler
        job._jobstore_alias = self._alias
        return job


class EveryThird(BaseTrigger):
    """A third party's trigger, as 3.x has them."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        if previous_fire_time is not None:
            return previous_fire_time + timedelta(seconds=3)
        return now + timedelta(seconds=3)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EveryThird)

    def __hash__(self) -> int:
        return 3


EveryThird.__module__ = "schedcore_test_third"


Make = Callable[[BaseJobStore], VirtualScheduler]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Schedulers over such a store, started; each begins where virtual time begins."""
    module = ModuleType("schedcore_test_third")
    module.EveryThird = EveryThird  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made: list[VirtualScheduler] = []

    def make(store: BaseJobStore) -> VirtualScheduler:
        scheduler = VirtualScheduler(start=T0, timezone="UTC", jobstores={"default": store})
        made.append(scheduler)
        scheduler.start()
        return scheduler

    yield make
    for scheduler in made:
        scheduler.shutdown()


class TestInAScheduler:
    def test_jobs_run_change_and_end(self, make: Make) -> None:
        store = RowStore()
        scheduler = make(store)
        log = EventLog(scheduler)
        scheduler.add_job(work, "interval", seconds=10, id="often", args=[1])
        scheduler.add_job(work, "date", run_date=T0 + timedelta(seconds=15), id="once")
        scheduler.add_job(work, EveryThird(), id="third")
        scheduler.advance(31)
        assert (len(log.executed("often")), len(log.executed("once")), len(log.executed("third"))) == (3, 1, 10)
        assert sorted(store.rows) == ["often", "third"]
        job = scheduler.get_job("often")
        assert job is not None
        job.modify(args=[2], name="changed")
        assert job.next_run_time == T0 + timedelta(seconds=40)
        scheduler.pause_job("third")
        scheduler.advance(10)
        assert (len(log.executed("often")), len(log.executed("third"))) == (4, 10)
        scheduler.resume_job("third")
        scheduler.advance(4)
        assert len(log.executed("third")) == 11
        assert [record.state for record in scheduler.get_runs("often")] == [RunState.SUCCEEDED] * 4
        scheduler.remove_all_jobs()
        assert store.rows == {}

    def test_a_restart(self, make: Make) -> None:
        first = RowStore()
        scheduler = make(first)
        scheduler.add_job(
            work, "interval", seconds=10, id="a", args=[1], kwargs={"k": 2}, coalesce=False, max_catchup=3, jitter=2
        )
        scheduler.add_job(work, EveryThird(), id="third", misfire_grace_time=1.5, max_instances=4, recovery="lost")
        scheduler.add_job(work, "interval", seconds=10, id="paused", next_run_time=None)
        before = [job._entry for job in scheduler.get_jobs()]
        scheduler.shutdown()
        assert first.closed >= 1
        scheduler = make(RowStore(first.rows))
        after = [job._entry for job in scheduler.get_jobs()]
        assert [tuple(entry.job)[:3] + tuple(entry.job)[4:] for entry in after] == [
            tuple(entry.job)[:3] + tuple(entry.job)[4:] for entry in before
        ], "but for the text of the function"
        assert [entry[1:] for entry in after] == [entry[1:] for entry in before]

    def test_a_job_that_no_text_names(self, make: Make) -> None:
        scheduler = make(RowStore())
        with pytest.raises(TransientJobError, match="a lambda has no name"):
            scheduler.add_job(lambda: None, "interval", seconds=1)
        assert scheduler.get_jobs() == []

    def test_a_missing_function(self, make: Make) -> None:
        store = RowStore()
        scheduler = make(store)
        scheduler.add_job(work, "interval", seconds=10, id="a")
        at, state = store.rows["a"]
        changed = {**pickle.loads(state), "func": "schedcore_nowhere:f"}
        store.rows["a"] = at, pickle.dumps(changed)
        log = EventLog(scheduler)
        scheduler.advance(35)
        broken = [event for event in log.events if event.code == EVENT_JOB_BROKEN]
        assert [(event.job_id, "schedcore_nowhere" in event.reason) for event in broken] == [("a", True)]
        (job,) = scheduler.get_jobs()
        assert (job.state, job.func, job.next_run_time) == (JobState.BROKEN, None, None)
        scheduler.shutdown()
        state = store.rows["a"][1]
        store.rows["a"] = None, pickle.dumps({**pickle.loads(state), "func": "schedcore.testing.store_suite:work"})
        scheduler = make(RowStore(store.rows))
        (job,) = scheduler.get_jobs()
        assert (job.state, job.next_run_time) == (JobState.ACTIVE, T0 + timedelta(seconds=10))

    def test_a_store_that_fails(self, make: Make) -> None:
        class Failing(RowStore):
            fails = False

            def update_job(self, job: Job) -> None:
                if self.fails:
                    self.fails = False
                    raise ConnectionError("gone")
                super().update_job(job)

        store = Failing()
        scheduler = make(store)
        log = EventLog(scheduler)
        scheduler.add_job(work, "interval", seconds=10, id="a")
        scheduler.add_job(work, "interval", seconds=10, id="b")
        store.fails = True
        scheduler.advance(35)
        for job_id in "ab":
            assert log.executed(job_id) == [T0 + timedelta(seconds=n) for n in (10, 20, 30)]


class TestCommitting:
    def test_a_batch_that_fails_in_the_middle_is_read_back(self, make: Make) -> None:
        class Failing(RowStore):
            def update_job(self, job: Job) -> None:
                if job.id == "b":
                    raise ConnectionError("gone")
                super().update_job(job)

        from schedcore.engine import decide

        scheduler = make(Failing())
        scheduler.pause()
        for job_id in "abc":
            scheduler.add_job(work, "interval", seconds=10, id=job_id)
        store = scheduler._pumps["default"].store
        now_us = round(T0.timestamp() * 1e6) + 10_000_000
        decisions = [decide(claim, now_us) for claim in store.acquire(Now(now_us, now_us), 9)]
        with pytest.raises(ConnectionError):
            store.commit(decisions, now_us)
        assert [run.job.id for run in store.recover([]).runs] == ["a"], "it moved on, so it runs"
        assert sorted(claim.job.id for claim in store.acquire(Now(now_us, now_us), 9)) == ["b", "c"]

    def test_a_job_that_the_store_lost(self, make: Make) -> None:
        from schedcore.engine import decide

        inner = RowStore()
        scheduler = make(inner)
        scheduler.pause()
        scheduler.add_job(work, "interval", seconds=10, id="a")
        store = scheduler._pumps["default"].store
        now_us = round(T0.timestamp() * 1e6) + 10_000_000
        decisions = [decide(claim, now_us) for claim in store.acquire(Now(now_us, now_us), 9)]
        inner.rows.clear()
        committed = store.commit(decisions, now_us)
        assert (committed.runs, committed.dropped) == ([], decisions)


class TestHandles:
    """What a store sees of a job."""

    def handle(self, **parts: Any) -> Job:
        scheduler = VirtualScheduler(start=T0, timezone="UTC")
        return scheduler.add_job(work, "interval", seconds=10, id="a", **parts)

    def test_the_state_is_that_of_3x(self) -> None:
        state = self.handle(args=[1], kwargs={"k": 2}, misfire_grace_time=1.5).__getstate__()
        assert {key: state[key] for key in list(state)[:12]} == {
            "version": 1,
            "id": "a",
            "func": "schedcore.testing.store_suite:work",
            "trigger": IntervalTrigger(seconds=10, start_date=T0 + timedelta(seconds=10), timezone="UTC"),
            "executor": "default",
            "args": (1,),
            "kwargs": {"k": 2},
            "name": "work",
            "misfire_grace_time": 1.5,
            "coalesce": True,
            "max_instances": 1,
            "next_run_time": None,
        }

    def test_a_state_of_3x_is_enough(self) -> None:
        state = self.handle().__getstate__()
        for key in ("fire_us", "max_catchup", "recovery", "reason"):
            del state[key]
        state["next_run_time"] = T0
        job = Job.__new__(Job)
        job.__setstate__(state)
        assert (job.state, job.next_run_time, job.func, job.pending) == (JobState.ACTIVE, T0, work, False)
        assert job._entry.fire_us == round(T0.timestamp() * 1e6)

    def test_of_another_version(self) -> None:
        with pytest.raises(ValueError, match="the state of a job has version 2; this release reads 1"):
            Job.__new__(Job).__setstate__({"version": 2})

    def test_a_bound_method(self) -> None:
        items = [1, 2]
        scheduler = VirtualScheduler(start=T0, timezone="UTC")
        job = scheduler.add_job(items.append, "interval", seconds=10, args=[3])
        again: Job = pickle.loads(pickle.dumps(job))
        assert (again.func, again.args) == (list.append, ([1, 2], 3))

    def test_without_a_scheduler_it_can_be_read(self) -> None:
        job: Job = pickle.loads(pickle.dumps(self.handle()))
        assert (job.id, job.name, job.executor) == ("a", "work", "default")
        assert "work" in str(job)
        with pytest.raises(UsageError, match="this handle on job 'a' belongs to no scheduler; ask one for the job"):
            job.pause()


def test_what_stores_of_3x_call_of_their_base(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    class NullsFirst(RowStore):
        def get_all_jobs(self) -> list[Job]:
            jobs = super().get_all_jobs()
            jobs.sort(key=lambda job: job.next_run_time is not None)
            self._fix_paused_jobs_sorting(jobs)
            self._logger.warning("%d jobs", len(jobs))
            return jobs

    store = NullsFirst()
    scheduler = make(store)
    scheduler.pause()
    scheduler.add_job(work, "interval", seconds=10, id="paused", next_run_time=None)
    scheduler.add_job(work, "interval", seconds=30, id="late")
    scheduler.add_job(work, "interval", seconds=20, id="early")
    assert [job.id for job in store.get_all_jobs()] == ["early", "late", "paused"]
    assert caplog.record_tuples[-1][::2] == ("schedcore.jobstores.default", "3 jobs")


def test_the_wrapper_shows_what_it_wraps() -> None:
    assert repr(SimpleStore(RowStore())) == "<RowStore>"


def test_only_the_entry_matters_when_nothing_was_read(make: Make) -> None:
    """A caller may compare with an entry that it made itself."""
    scheduler = make(RowStore())
    scheduler.pause()
    job = scheduler.add_job(work, "interval", seconds=10, id="a")
    store = scheduler._pumps["default"].store
    old = job._entry
    same = JobEntry(old.job._replace(func_ref="schedcore.testing.store_suite:work"), *old[1:])
    assert store.replace_entry(old, old._replace(reason="x")) is False, "its text is another"
    assert store.replace_entry(same, same) is True

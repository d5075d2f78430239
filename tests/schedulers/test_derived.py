"""Classes that are derived from job stores and executors of ours, as programs derive them from those of 3.x."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schedcore.errors import ConfigurationError
from schedcore.executors.debug import DebugExecutor
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.job import Job
from schedcore.jobstores.base import JobStore
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.jobstores.simple import SimpleStore
from schedcore.testing import VirtualScheduler
from schedcore.testing.store_suite import check_store, store_behaviours, work

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Logging(MemoryJobStore):
    """Writes down what is done with jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str]] = []

    def add_job(self, job: Job) -> None:
        self.calls.append(("add", job.name))
        super().add_job(job)

    def update_job(self, job: Job) -> None:
        self.calls.append(("update", job.name))
        super().update_job(job)

    def remove_job(self, job_id: str) -> None:
        self.calls.append(("remove", job_id))
        super().remove_job(job_id)


class Even(MemoryJobStore):
    """Leaves jobs to others whose id is odd."""

    def get_due_jobs(self, now: datetime) -> list[Job]:
        return [job for job in super().get_due_jobs(now) if int(job.id) % 2 == 0]

    def get_next_run_time(self) -> datetime | None:
        times = [job.next_run_time for job in self.get_all_jobs() if int(job.id) % 2 == 0]
        return min((at for at in times if at is not None), default=None)


class Added(MemoryJobStore):
    """Derived for what is called, and of use for programs, too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def add_entries(self, entries: Any, skipped: Any = ()) -> None:
        self.calls += [entry.job.id for entry in entries]
        super().add_entries(entries, skipped)

    def get_all_jobs(self) -> list[Job]:
        return super().get_all_jobs()[:1]


def scheduler_with(store: JobStore) -> VirtualScheduler:
    scheduler = VirtualScheduler(start=T0, timezone="UTC", jobstores={"default": store})
    scheduler.start()
    return scheduler


def test_a_store_in_memory_that_has_its_own_methods_of_3x_is_asked_by_them() -> None:
    store = Logging()
    scheduler = scheduler_with(store)
    try:
        scheduler.add_job(work, "interval", seconds=10, id="a", name="A")
        scheduler.modify_job("a", name="B")
        scheduler.advance(10)
        assert [(job.name, job.next_run_time) for job in scheduler.get_jobs()] == [("B", T0.replace(second=20))]
        assert len(scheduler.get_runs()) == 1
        scheduler.remove_job("a")
    finally:
        scheduler.shutdown()
    # The second update is the one of the run.
    assert store.calls == [("add", "A"), ("update", "B"), ("update", "B"), ("remove", "a")]


def test_what_such_a_store_says_is_due_runs() -> None:
    scheduler = scheduler_with(Even())
    try:
        for name in "1234":
            scheduler.add_job(work, "interval", seconds=10, id=name)
        scheduler.advance(10)
        assert sorted(record.job_id for record in scheduler.get_runs()) == ["2", "4"]
    finally:
        scheduler.shutdown()


@pytest.mark.parametrize(("name", "left_out"), store_behaviours(SimpleStore.traits))
def test_conformance_of_such_a_store(name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    assert check_store(lambda folder: SimpleStore(Logging()), SimpleStore.traits, only=name) == [name]


def test_one_that_is_derived_for_what_is_called_is_left_as_it_is() -> None:
    store = Added()
    scheduler = scheduler_with(store)
    try:
        for name in "ab":
            scheduler.add_job(work, "interval", seconds=10, id=name)
        assert store.calls == ["a", "b"]
        assert len(scheduler.get_jobs()) == 2
    finally:
        scheduler.shutdown()


def test_a_durable_store_with_methods_that_are_not_called_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    class Filtered(SQLAlchemyJobStore):
        def get_due_jobs(self, now: datetime) -> list[Job]:
            raise AssertionError

        def add_job(self, job: Job) -> None:
            raise AssertionError

    with pytest.raises(
        ConfigurationError, match=r"Filtered has its own add_job\(\), get_due_jobs\(\), which is not called"
    ):
        VirtualScheduler(jobstores={"default": Filtered(f"sqlite:///{tmp_path}/jobs")})


class Submits(ThreadPoolExecutor):
    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        raise AssertionError


class Reports(DebugExecutor):
    def _run_job_success(self, job_id: str, events: list[Any]) -> None:
        raise AssertionError


def add(make: Callable[[], Any]) -> None:
    VirtualScheduler().add_executor(make(), "other")


def configure(make: Callable[[], Any]) -> None:
    VirtualScheduler(executors={"default": make()})


@pytest.mark.parametrize("give", [add, configure])
@pytest.mark.parametrize(("make", "name"), [(Submits, "_do_submit_job"), (Reports, "_run_job_success")])
def test_an_executor_with_methods_that_are_not_called_is_refused(
    make: Callable[[], Any], name: str, give: Callable[[Callable[[], Any]], None]
) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"has its own {name}\(\), which is not called .* derive from BaseExecutor"
    ):
        give(make)


def test_an_executor_that_is_derived_for_what_is_called_is_taken() -> None:
    class Counts(DebugExecutor):
        runs = 0

        def submit(self, runs: Any) -> None:
            self.runs += len(runs)
            super().submit(runs)

        def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
            super()._do_submit_job(job, run_times)

    executor = Counts()
    scheduler = VirtualScheduler(start=T0, executors={"default": executor})
    scheduler.start()
    try:
        scheduler.add_job(work, "interval", seconds=10)
        scheduler.advance(10)
        assert executor.runs == 1
    finally:
        scheduler.shutdown()

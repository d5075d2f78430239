"""Many jobs in one step: ``BaseScheduler.add_jobs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schedcore.errors import ConfigurationError, ConflictingIdError, JobArgumentsError, SerializationError
from schedcore.events import EVENT_JOB_ADDED
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.testing.store_suite import work

STORES = ["memory", pytest.param("sqlalchemy", id="sqlite")]


def make(store: str, folder: Path) -> VirtualScheduler:
    options: dict[str, Any] = {"type": store}
    if store == "sqlalchemy":
        pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")
        options["url"] = f"sqlite:///{folder}/jobs.sqlite"
    return VirtualScheduler(start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": options})


def jobs(*ids: str, **more: Any) -> list[dict[str, Any]]:
    return [{"func": work, "trigger": "interval", "seconds": 10, "id": job_id, **more} for job_id in ids]


@pytest.mark.parametrize("store", STORES)
class TestAddJobs:
    def test_they_run(self, store: str, tmp_path: Path) -> None:
        scheduler = make(store, tmp_path)
        log = EventLog(scheduler)
        scheduler.start()
        try:
            handles = scheduler.add_jobs([*jobs("a", "b"), {"func": work, "args": [1], "id": "c", "max_instances": 2}])
            assert [job.id for job in handles] == ["a", "b", "c"]
            assert handles[2].max_instances == 2
            scheduler.advance(15)
            assert [len(log.executed(job_id)) for job_id in "abc"] == [1, 1, 1]
            assert [event.job_id for event in log.events if event.code == EVENT_JOB_ADDED] == ["a", "b", "c"]
        finally:
            scheduler.shutdown()

    @pytest.mark.parametrize("started", [False, True])
    @pytest.mark.parametrize(
        ("bad", "error"),
        [
            (jobs("new", "a"), ConflictingIdError),
            (jobs("twin", "twin"), ConflictingIdError),
            ([*jobs("new"), {"func": work, "kwargs": 5, "id": "x"}], JobArgumentsError),
            ([*jobs("new"), *jobs("x", replace_existing=True)], ConfigurationError),
            ([*jobs("new"), *jobs("x", jobstore="other")], ConfigurationError),
            ([*jobs("new"), work], ConfigurationError),
        ],
    )
    def test_all_or_none(
        self, store: str, tmp_path: Path, started: bool, bad: list[Any], error: type[Exception]
    ) -> None:
        scheduler = make(store, tmp_path)
        scheduler.add_jobs(jobs("a"))
        if started:
            scheduler.start(paused=True)
        try:
            with pytest.raises(error):
                scheduler.add_jobs(bad)
            assert [job.id for job in scheduler.get_jobs()] == ["a"]
        finally:
            if started:
                scheduler.shutdown()

    def test_none(self, store: str, tmp_path: Path) -> None:
        assert make(store, tmp_path).add_jobs([]) == []


def test_which_one_it_was(tmp_path: Path) -> None:
    with pytest.raises(JobArgumentsError) as caught:
        make("memory", tmp_path).add_jobs([*jobs("a", "b"), {"func": work, "args": 5}])
    assert caught.value.__notes__ == ["in the jobs of add_jobs this is number 2 (from 0)"]


def test_an_argument_that_the_store_cannot_hold(tmp_path: Path) -> None:
    scheduler = make("sqlalchemy", tmp_path)
    with pytest.raises(SerializationError):
        scheduler.add_jobs([*jobs("a"), *jobs("b", args=[object()])])
    assert scheduler.get_jobs() == []

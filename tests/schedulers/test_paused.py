"""What passes while a job is paused is on record, in one line, when its schedule goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schedcore.errors import InvalidTriggerError
from schedcore.events import EVENT_JOB_SKIPPED
from schedcore.job import JobState
from schedcore.run import RunState
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.triggers.interval import IntervalTrigger

T0 = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[[], tuple[VirtualScheduler, EventLog]]


def nothing() -> None:
    pass


@pytest.fixture(params=["memory", "sqlalchemy"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    store: dict[str, Any] = {"type": request.param}
    if request.param == "sqlalchemy":
        pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
        store["url"] = f"sqlite:///{tmp_path}/jobs.sqlite"

    def made() -> tuple[VirtualScheduler, EventLog]:
        scheduler = VirtualScheduler(start=T0, jobstores={"default": store})
        log = EventLog(scheduler)
        scheduler.start()
        return scheduler, log

    return made


def skipped(scheduler: VirtualScheduler) -> list[tuple[str | None, int, int]]:
    found = [record for record in scheduler.get_runs() if record.state is RunState.SKIPPED]
    start_us = int(T0.timestamp()) * 1_000_000
    return [(record.reason, record.times, (record.fire_us - start_us) // 1_000_000) for record in found]


def test_one_record_for_all_that_was_missed(make: Make) -> None:
    scheduler, log = make()
    job = scheduler.add_job(nothing, "interval", seconds=10, id="x")
    scheduler.advance(25)
    job.pause()
    assert (job.state, job.next_run_time) == (JobState.PAUSED, None)
    scheduler.advance(3600)
    assert skipped(scheduler) == []
    job.resume()
    assert job.next_run_time == T0 + timedelta(seconds=3630)
    assert skipped(scheduler) == [("paused", 360, 30)]
    (event,) = log.of(EVENT_JOB_SKIPPED)
    assert (event.reason, event.count, event.first_run_time) == ("paused", 360, T0 + timedelta(seconds=30))
    scheduler.shutdown()


def test_nothing_was_missed_nothing_is_said(make: Make) -> None:
    scheduler, log = make()
    job = scheduler.add_job(nothing, "interval", seconds=10, id="x")
    job.pause()
    job.modify(name="other")
    scheduler.advance(5)
    job.resume()
    assert skipped(scheduler) == log.of(EVENT_JOB_SKIPPED) == []
    assert job.next_run_time == T0 + timedelta(seconds=10)
    scheduler.shutdown()


def test_added_paused_it_has_missed_nothing(make: Make) -> None:
    scheduler, _ = make()
    job = scheduler.add_job(nothing, "interval", seconds=10, id="x", next_run_time=None)
    scheduler.advance(100)
    job.resume()
    assert skipped(scheduler) == []
    scheduler.shutdown()


def test_another_schedule_ends_the_pause_too(make: Make) -> None:
    scheduler, _ = make()
    job = scheduler.add_job(nothing, "interval", seconds=10, id="x")
    job.pause()
    scheduler.advance(100)
    job.reschedule("interval", seconds=60)
    assert skipped(scheduler) == [("paused", 10, 10)]
    scheduler.shutdown()


def test_a_job_whose_trigger_cannot_answer_is_not_removed_where_it_is_resumed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that ended without an answer is no end of the schedule."""
    scheduler, _ = make()
    scheduler.add_job(nothing, "interval", hours=1, id="a").pause()

    def first_us(self: IntervalTrigger, from_us: int) -> int | None:
        raise InvalidTriggerError("these triggers did not meet, where the search ended")

    with monkeypatch.context() as patch:
        patch.setattr(IntervalTrigger, "first_us", first_us)
        with pytest.raises(InvalidTriggerError, match="where the search ended"):
            scheduler.resume_job("a")
    assert [job.state for job in scheduler.get_jobs()] == [JobState.PAUSED]
    scheduler.resume_job("a")
    assert [job.state for job in scheduler.get_jobs()] == [JobState.ACTIVE]
    scheduler.shutdown()

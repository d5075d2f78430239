"""Saying what happened is no reason to stop: a report that raises costs neither runs nor the loop."""

from __future__ import annotations

from typing import Any

import pytest

from schedcore.events import EVENT_JOB_EXECUTED
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.testing import EventLog, VirtualScheduler


class BlockingStore(MemoryJobStore):
    traits = StoreTraits(blocking=True, durable=False)


def nothing() -> None:
    pass


@pytest.mark.parametrize("kind", [MemoryJobStore, BlockingStore])
@pytest.mark.parametrize("report", ["submitted", "ended", "skipped", "store_recovered"])
def test_a_report_that_raises(kind: type[MemoryJobStore], report: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = VirtualScheduler(jobstores={"default": kind(), "other": MemoryJobStore()})
    log = EventLog(scheduler)
    scheduler.start()
    reports = scheduler._reports
    original = getattr(reports, report)
    failures = [RuntimeError("no words")] * 2

    def fails(*args: Any, **kwargs: Any) -> None:
        if failures:
            raise failures.pop()
        original(*args, **kwargs)

    monkeypatch.setattr(reports, report, fails)
    scheduler.add_job(nothing, "interval", seconds=10, id="x")
    scheduler.add_job(nothing, "interval", seconds=10, id="y", jobstore="other")
    scheduler.advance(35)
    # Asleep for five fire times: a skip to report.
    scheduler.clock.suspend(50)
    scheduler.advance(65)
    ran = {job_id: {e.run_id for e in log.of(EVENT_JOB_EXECUTED) if e.job_id == job_id} for job_id in ("x", "y")}
    for job_id in ("x", "y"):
        records = scheduler.get_runs(job_id)
        done = {record.id for record in records if record.state == "succeeded"}
        assert len(done) >= 9, (job_id, report)
        assert len(done) == len([record for record in records if record.state == "succeeded"])
        # An event may be the one that could not be made; a run may not.
        assert len(done - ran[job_id]) <= 4
    job = scheduler.get_job("x")
    assert job is not None
    assert job.next_run_time is not None
    scheduler.shutdown()

"""What a handle shows of a job whose store does I/O: the job as it was last read, and never a guess."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.testing import VirtualScheduler

Make = Callable[..., VirtualScheduler]

LATER = datetime(2100, 1, 1, tzinfo=UTC)


class FarStore(MemoryJobStore):
    """Like a database: called where it may block, and never just to look."""

    traits = StoreTraits(blocking=True, durable=True)


def nothing() -> None:
    pass


def test_a_pending_jobs_handle_learns_where_it_stands_when_it_is_stored(virtual: Make) -> None:
    scheduler = virtual(started=False, jobstores={"default": FarStore()})
    first = scheduler.add_job(nothing, "interval", minutes=2, id="first")
    second = scheduler.add_job(nothing, "interval", minutes=2, id="second")
    [listed, _] = scheduler.get_jobs()
    second.modify(name="renamed")
    assert [job.pending for job in (first, second, listed)] == [True] * 3
    assert first.next_run_time is None
    scheduler.start()
    due = datetime(2026, 1, 1, 0, 2, tzinfo=UTC)
    assert [job.pending for job in (first, second, listed)] == [False] * 3
    assert [job.next_run_time for job in (first, second, listed)] == [due] * 3
    assert second.name == "renamed"
    assert str(first) == "nothing (trigger: interval[0:02:00], next run at: 2026-01-01 00:02:00 UTC)"


def test_it_shows_what_the_job_keeps_that_was_there_before(virtual: Make) -> None:
    store = FarStore()
    scheduler = virtual(jobstores={"default": store})
    scheduler.add_job(nothing, "interval", minutes=2, id="x")
    scheduler.shutdown()
    scheduler.clock.advance(60)
    job = scheduler.add_job(nothing, "interval", minutes=2, id="x", replace_existing=True)
    scheduler.start()
    assert job.next_run_time == datetime(2026, 1, 1, 0, 2, tzinfo=UTC)
    scheduler.clock.advance(1)
    changed = job.reschedule("interval", minutes=5)
    assert changed.next_run_time == job.next_run_time == datetime(2026, 1, 1, 0, 6, 1, tzinfo=UTC)


def test_on_a_loop_it_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> Any:
        scheduler = AsyncIOScheduler(jobstores={"default": FarStore()}, timezone="UTC")
        job = scheduler.add_job(nothing, "date", run_date=LATER)
        async with scheduler, asyncio.timeout(60):
            while job.pending:
                await asyncio.sleep(0.002)
            return job.next_run_time

    assert asyncio.run(main()) == LATER
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []

"""The schedulers and executors in virtual time themselves."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from schedcore.errors import (
    ConfigurationError,
)
from schedcore.testing import EventLog, VirtualExecutor, VirtualScheduler
from tests.schedulers.simple import T0, Make, nothing, seconds


class TestVirtualTime:
    def test_run_until(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", hours=1, id="x")
        scheduler.run_until("2026-01-01T02:30:00Z")
        scheduler.run_until(datetime(2026, 1, 1, 4, 0, tzinfo=timezone(timedelta(hours=1))))
        assert len(log.executed("x")) == 3
        with pytest.raises(ConfigurationError, match="time only passes forward"):
            scheduler.run_until(T0)

    def test_run_until_idle_gives_up(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(5)})
        scheduler.add_job(nothing, "interval", seconds=3, max_instances=9)
        scheduler.run_until_idle()
        scheduler.advance(3)
        with pytest.raises(TimeoutError, match=r"after 600 virtual seconds the scheduler is still at work"):
            scheduler.run_until_idle(limit=600)

    def test_an_executor_by_hand(self, virtual: Make) -> None:
        executor = VirtualExecutor(manual=True)
        scheduler = virtual(executors={"default": executor})
        log = EventLog(scheduler)
        seen: list[int] = []
        for n in range(4):
            scheduler.add_job(seen.append, "date", run_date=seconds(1), args=[n], id=f"{n}")
        with pytest.raises(LookupError, match="no run waits to be begun"):
            executor.begin()
        scheduler.advance(1)
        assert [run.job.id for run in executor.waiting] == ["0", "1", "2", "3"]
        executor.call()
        executor.begin()
        executor.end(retval="one")
        executor.end(error=ValueError("two"))
        scheduler.advance(0)
        assert seen == [0]
        assert [log.names(f"{n}")[-1] for n in range(4)] == [
            "JOB_EXECUTED",
            "JOB_EXECUTED",
            "JOB_ERROR",
            "JOB_SUBMITTED",
        ]
        scheduler.shutdown()
        assert seen == [0, 3]

    def test_the_same_every_time(self) -> None:
        told = []
        for _ in range(2):
            scheduler = VirtualScheduler()
            log = EventLog(scheduler)
            scheduler.start()
            for n in range(20):
                scheduler.add_job(nothing, "interval", minutes=1 + n, jitter=30, id=f"{n}")
            scheduler.advance(3600)
            scheduler.shutdown()
            told.append([*zip(log.instants_us, map(repr, log.events), strict=True)])
        assert told[0] == told[1]

    def test_a_date_is_midnight_in_the_scheduler_s_zone(self, virtual: Make) -> None:
        scheduler = virtual(timezone="Asia/Tokyo")
        job = scheduler.add_job(nothing, "date", run_date=date(2026, 1, 5))
        assert job.next_run_time == datetime(2026, 1, 4, 15, tzinfo=UTC)

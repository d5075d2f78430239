"""What becomes of fire times: misfire, coalescing, overlap, pausing; in virtual time."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime, timedelta
from typing import Any

import pytest

from schedcore.clock import Now
from schedcore.engine import Claim
from schedcore.events import (
    EVENT_JOB_BROKEN,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    EVENT_JOB_SKIPPED,
    EVENT_JOB_STARTED,
)
from schedcore.executors.debug import DebugExecutor
from schedcore.job import JobState
from schedcore.jobstores.base import Due
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Run, RunState, current_run
from schedcore.testing import EventLog, VirtualClock, VirtualExecutor, VirtualScheduler
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.cron import CronTrigger
from tests.schedulers.simple import T0, Make, nothing, seconds


def test_a_year_of_a_daily_job_over_both_changes_of_the_clocks(virtual: Make) -> None:
    scheduler = virtual(timezone="Europe/Berlin")
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "cron", hour=2, minute=30, id="x")
    scheduler.advance(365 * 86400)
    ran = log.executed("x")
    assert len(ran) == 365
    assert len({at.date() for at in ran}) == 365
    assert log.skips() == []


class CountingStore(MemoryJobStore):
    """Counts how often it is asked what is due next."""

    asked = 0

    def next_due(self) -> Due:
        self.asked += 1
        return super().next_due()


def test_what_is_due_next_is_asked_for_when_it_may_have_changed(virtual: Make) -> None:
    """Not when runs merely began or ended: where many end one by one, each would cost a query."""
    store, executor = CountingStore(), VirtualExecutor(manual=True)
    scheduler = virtual(jobstores={"default": store}, executors={"default": executor})
    for number in range(3):
        scheduler.add_job(nothing, "interval", hours=1, id=str(number))
    scheduler.advance(3600)
    assert len(executor.waiting) == 3
    asked = store.asked
    for _ in range(3):
        executor.begin()
        scheduler.advance(1)
        executor.end()
        scheduler.advance(1)
    assert len(scheduler.get_runs()) == 3
    assert {record.state for record in scheduler.get_runs()} == {RunState.SUCCEEDED}
    assert store.asked == asked
    scheduler.add_job(nothing, "interval", minutes=1, id="soon")
    scheduler.advance(60)
    assert [run.job.id for run in executor.waiting] == ["soon"]
    scheduler.advance(3600)
    assert {run.job.id for run in executor.waiting} == {"0", "1", "2", "soon"}


class TestTheWayOfARun:
    def test_events_in_order_each_with_the_run_and_its_time(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(1)})
        log = EventLog(scheduler)
        scheduler.add_job(lambda: 7, "interval", seconds=10, id="x")
        scheduler.advance(21.5)
        assert log.names("x") == ["JOB_ADDED", *(["JOB_SUBMITTED", "JOB_STARTED", "JOB_EXECUTED"] * 2)]
        sent, began, ended = log.events[-3:]
        assert sent.run_ids == [began.run_id] == [ended.run_id] == ["x@2026-01-01T00:00:20Z#1"]
        assert sent.scheduled_run_times == [began.scheduled_run_time] == [ended.scheduled_run_time] == [seconds(20)]
        assert (sent.jobstore, began.jobstore, ended.jobstore) == ("default",) * 3
        assert ended.retval == 7

    def test_a_run_is_on_record(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(1)})
        scheduler.add_job(lambda: "done", "interval", seconds=10, id="x")
        scheduler.advance(21.5)
        latest, earliest = scheduler.get_runs("x")
        assert latest.id == "x@2026-01-01T00:00:20Z#1"
        assert (latest.state, latest.result, latest.duration_s) == (RunState.SUCCEEDED, "'done'", 1.0)
        assert (latest.scheduled_at, latest.started_at, latest.finished_at) == (seconds(20), seconds(20), seconds(21))
        assert earliest.id == "x@2026-01-01T00:00:10Z#1"
        assert scheduler.get_runs("y") == []

    def test_the_record_of_a_skip_has_no_beginning(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(15)})
        scheduler.add_job(lambda: "done", "interval", seconds=10, id="x")
        scheduler.advance(21.5)
        (skip,) = [record for record in scheduler.get_runs("x") if record.state is RunState.SKIPPED]
        assert (skip.scheduled_at, skip.started_at) == (seconds(20), None)

    def test_the_job_knows_its_run(self, virtual: Make) -> None:
        scheduler = virtual()
        seen: list[str] = []

        def job() -> None:
            run = current_run.get()
            assert run is not None
            seen.append(run.id)

        scheduler.add_job(job, id="x", next_run_time=seconds(1))
        scheduler.advance(1)
        assert seen == ["x@2026-01-01T00:00:01Z#1"]
        assert current_run.get() is None

    def test_a_job_that_raises_fails_its_run_only(self, virtual: Make, caplog: pytest.LogCaptureFixture) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(lambda: 1 // 0, "interval", seconds=10, id="bad", name="divides")
        scheduler.add_job(nothing, "interval", seconds=10, id="good")
        scheduler.advance(30)
        errors = log.of(EVENT_JOB_ERROR, "bad")
        assert len(errors) == 3
        assert isinstance(errors[0].exception, ZeroDivisionError)
        assert "1 // 0" in errors[0].traceback
        assert errors[0].exception.__traceback__ is None
        assert errors[0].run_id == "bad@2026-01-01T00:00:10Z#1"
        assert len(log.executed("good")) == 3
        assert "job 'bad' ('divides') failed: ZeroDivisionError: integer division or modulo by zero" in caplog.text
        assert "1 // 0" in caplog.text
        [record] = scheduler.get_runs("bad", failed=True, limit=1)
        assert record.state is RunState.FAILED
        assert record.error == "ZeroDivisionError: integer division or modulo by zero"

    def test_a_schedule_that_ends_takes_its_job_with_it(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, end_date=seconds(25), id="x")
        scheduler.advance(100)
        assert log.executed("x") == [seconds(10), seconds(20)]
        assert scheduler.get_jobs() == []
        assert log.names("x")[-1] == "JOB_EXECUTED"
        assert "JOB_REMOVED" in log.names("x")

    def test_jobs_that_are_due_together_keep_their_order(self, virtual: Make) -> None:
        scheduler = virtual()
        seen: list[int] = []
        for n in range(50):
            scheduler.add_job(seen.append, "date", run_date=seconds(10), args=[n])
        scheduler.advance(10)
        assert seen == list(range(50))

    def test_more_due_jobs_than_one_batch_holds(self, virtual: Make) -> None:
        scheduler = virtual()
        seen: list[int] = []
        for n in range(2000):
            scheduler.add_job(seen.append, "date", run_date=seconds(10), args=[n])
        scheduler.advance(10)
        assert seen == list(range(2000))
        assert scheduler.get_jobs() == []

    def test_a_job_may_add_change_and_remove_jobs(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)

        def job() -> None:
            scheduler.add_job(nothing, id="now")
            scheduler.add_job(nothing, "date", run_date=seconds(15), id="later")
            scheduler.remove_job("doomed")
            scheduler.reschedule_job("self", trigger="interval", minutes=1)

        scheduler.add_job(job, "interval", seconds=10, id="self")
        scheduler.add_job(nothing, "date", run_date=seconds(12), id="doomed")
        scheduler.advance(20)
        assert log.executed("self") == [seconds(10)]
        assert log.executed("now") == [seconds(10)]
        assert log.executed("later") == [seconds(15)]
        assert log.executed("doomed") == []
        job_handle = scheduler.get_job("self")
        assert job_handle is not None
        assert job_handle.next_run_time == seconds(70)

    def test_a_job_that_removes_itself_is_over_when_it_is_over(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(lambda: scheduler.remove_job("x"), "interval", seconds=10, id="x")
        scheduler.advance(60)
        assert log.executed("x") == [seconds(10)]

    def test_two_executors(self, virtual: Make) -> None:
        slow = VirtualExecutor(5)
        scheduler = virtual(executors={"slow": slow})
        log = EventLog(scheduler, EVENT_JOB_EXECUTED)
        scheduler.add_job(nothing, "interval", seconds=10, id="s", executor="slow")
        scheduler.add_job(nothing, "interval", seconds=10, id="q")
        scheduler.advance(12)
        assert [event.job_id for event in log.events] == ["q"]
        assert [run.job.id for run in slow.running] == ["s"]
        scheduler.advance(3)
        assert [event.job_id for event in log.events] == ["q", "s"]

    def test_the_debug_executor_runs_in_the_scheduler_s_thread(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": DebugExecutor()})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x")
        scheduler.advance(10)
        assert log.names("x") == ["JOB_ADDED", "JOB_SUBMITTED", "JOB_STARTED", "JOB_EXECUTED"]


class TestBacklog:
    """Nine minutes in which nobody looked, with an interval of a minute."""

    def away(self, virtual: Make, **options: Any) -> tuple[VirtualScheduler, EventLog]:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", minutes=1, id="x", **options)
        scheduler.clock.suspend(9 * 60 + 30)
        scheduler.advance(30)
        return scheduler, log

    def test_coalesced_by_default_into_one_run_for_the_last(self, virtual: Make) -> None:
        _, log = self.away(virtual)
        assert log.executed("x") == [seconds(600)]
        [skip] = log.of(EVENT_JOB_SKIPPED)
        assert (skip.reason, skip.count) == ("coalesced", 9)
        assert (skip.first_run_time, skip.scheduled_run_time) == (seconds(60), seconds(540))
        assert skip.job_id == "x"

    def test_one_run_each_when_asked_one_after_the_other(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(2)})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", minutes=1, id="x", coalesce=False)
        scheduler.clock.suspend(9 * 60 + 30)
        scheduler.advance(30)
        live: list[int] = []
        for _ in range(200):
            live.append(len([run for executor in scheduler._executors.values() for run in executor.live_runs()]))  # type: ignore[attr-defined]
            scheduler.advance(0.1)
        assert max(live) == 1, "max_instances holds within the backlog, too"
        assert log.executed("x") == [seconds(60 * k) for k in range(1, 11)]
        assert log.skips() == []
        assert len({run.id for run in scheduler.get_runs("x")}) == 10

    def test_with_more_instances_several_at_a_time(self, virtual: Make) -> None:
        executor = VirtualExecutor(2)
        scheduler = virtual(executors={"default": executor})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", minutes=1, id="x", coalesce=False, max_instances=4)
        scheduler.clock.suspend(9 * 60 + 30)
        scheduler.advance(30)
        assert len(executor.live_runs()) == 4
        scheduler.advance(6)
        assert log.executed("x") == [seconds(60 * k) for k in range(1, 11)]

    def test_runs_that_are_live_already_count_within_a_backlog(self, virtual: Make) -> None:
        executor = VirtualExecutor(90)
        scheduler = virtual(executors={"default": executor})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", minutes=1, id="x", coalesce=False, max_instances=3)
        scheduler.advance(130)
        assert len(executor.live_runs()) == 2
        scheduler.clock.suspend(300)
        live = 0
        for _ in range(600):
            scheduler.advance(1)
            live = max(live, len(executor.live_runs()))
        assert live == 3
        assert log.skips("x")
        assert sorted(set(log.executed("x"))) == log.executed("x")

    def test_what_was_missed_while_the_store_was_away_is_made_behind_the_run_before_it(self, virtual: Make) -> None:
        """That run is handed over when the store comes back, and is live when the backlog is decided about."""

        class Away(MemoryJobStore):
            """Does not answer for 27 seconds, once."""

            away_s = 27.0

            def fire(self, now: Now, limit: int, executors: Container[str]) -> tuple[list[Run], list[Claim]]:
                fired = super().fire(now, limit, executors)
                if fired[0]:
                    self.away_s, away_s = 0.0, self.away_s
                    scheduler.clock.suspend(away_s)
                return fired

        executor = VirtualExecutor(0.1)
        scheduler = virtual(executors={"default": executor}, jobstores={"default": Away()})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=1, id="x", coalesce=False)
        live = 0
        for _ in range(100):
            scheduler.advance(0.1)
            live = max(live, len(executor.live_runs()))
        assert live == 1
        made = log.executed("x")
        assert made[:28] == [seconds(k) for k in range(1, 29)]
        assert [("overlap", 1)] * len(log.skips("x")) == log.skips("x"), "and what comes meanwhile is told one by one"
        assert len(log.skips("x")) < 5
        assert scheduler.health()["default"].ok

    def test_the_fire_times_that_come_while_a_backlog_is_worked_off(self, virtual: Make) -> None:
        """The runs of a backlog count as live: by the overlap rule what falls due behind them is skipped, and on record."""
        scheduler = virtual(executors={"default": VirtualExecutor(20)})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", minutes=1, id="x", coalesce=False)
        scheduler.clock.suspend(9 * 60 + 30)
        scheduler.advance(30 + 10 * 20)
        assert log.executed("x") == [seconds(60 * k) for k in range(1, 11)]
        assert log.skips("x") == [("overlap", 1)] * 3
        scheduler.advance(180)
        assert log.executed("x")[10:] == [seconds(60 * k) for k in (14, 15, 16)]

    def test_no_more_than_max_catchup(self, virtual: Make) -> None:
        _, log = self.away(virtual, coalesce=False, max_catchup=3)
        assert log.executed("x") == [seconds(60), seconds(120), seconds(180)]
        [skip] = log.of(EVENT_JOB_SKIPPED)
        assert (skip.reason, skip.count) == ("catchup limit", 7)
        assert (skip.first_run_time, skip.scheduled_run_time) == (seconds(240), seconds(600))

    def test_grace_time(self, virtual: Make) -> None:
        _, log = self.away(virtual, coalesce=False, misfire_grace_time=150)
        assert log.executed("x") == [seconds(480), seconds(540), seconds(600)]
        [missed] = log.of(EVENT_JOB_MISSED)
        assert (missed.reason, missed.count, missed.scheduled_run_time) == ("misfired", 7, seconds(420))

    def test_skips_are_on_record(self, virtual: Make) -> None:
        scheduler, _ = self.away(virtual)
        ran, skipped = scheduler.get_runs("x")
        assert ran.state is RunState.SUCCEEDED
        assert (skipped.state, skipped.reason, skipped.times) == (RunState.SKIPPED, "coalesced", 9)

    def test_taken_back_at_shutdown(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(20)})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", minutes=1, id="x", coalesce=False)
        scheduler.clock.suspend(9 * 60 + 30)
        scheduler.advance(30)
        scheduler.shutdown()
        assert log.executed("x") == [seconds(60)]
        assert log.skips("x") == [("shutdown", 1)] * 9


class TestOverlap:
    def test_a_run_that_would_exceed_max_instances_is_skipped(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(25)})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x")
        scheduler.advance(60)
        assert log.executed("x") == [seconds(10)]
        assert [event.scheduled_run_times for event in log.of(EVENT_JOB_MAX_INSTANCES)] == [
            [seconds(20)],
            [seconds(30)],
            [seconds(50)],
            [seconds(60)],
        ]
        assert log.skips("x") == [("overlap", 1)] * 4
        scheduler.advance(5)
        assert log.executed("x") == [seconds(10), seconds(40)]

    def test_max_instances_runs_at_a_time(self, virtual: Make) -> None:
        executor = VirtualExecutor(25)
        scheduler = virtual(executors={"default": executor})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x", max_instances=3)
        scheduler.advance(120)
        assert len(log.executed("x")) == 9
        assert log.skips("x") == []

    def test_a_run_that_ends_when_the_next_is_due(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(10)})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x")
        scheduler.advance(200)
        ran = len(log.executed("x"))
        skipped = sum(count for _, count in log.skips("x"))
        assert ran + skipped in (19, 20)
        assert ran >= 9

    def test_a_run_that_never_ends_blocks_its_own_job_only(self, virtual: Make) -> None:
        executor = VirtualExecutor(manual=True)
        scheduler = virtual(executors={"stuck": executor})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x", executor="stuck")
        scheduler.add_job(nothing, "interval", seconds=10, id="y")
        scheduler.advance(100)
        assert len(log.skips("x")) == 9
        assert len(log.executed("y")) == 10
        executor.end(error=RuntimeError("its process died"))
        scheduler.advance(10)
        assert len(log.of(EVENT_JOB_ERROR, "x")) == 1
        assert [run.fire_us for run in executor.waiting], "the count is back at nothing: it runs again"

    def test_runs_of_a_removed_job_go_on(self, virtual: Make) -> None:
        executor = VirtualExecutor(manual=True)
        scheduler = virtual(executors={"default": executor})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x")
        scheduler.advance(10)
        scheduler.remove_job("x")
        executor.call()
        scheduler.advance(1)
        assert log.executed("x") == [seconds(10)]

    def test_runs_of_an_earlier_job_with_the_same_id_count(self, virtual: Make) -> None:
        executor = VirtualExecutor(manual=True)
        scheduler = virtual(executors={"default": executor})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x")
        scheduler.add_job(nothing, "date", run_date=seconds(10), id="y")
        scheduler.advance(10)
        scheduler.remove_job("x")
        for job_id in "xy":
            scheduler.add_job(nothing, "interval", seconds=10, id=job_id, replace_existing=True)
        scheduler.advance(10)
        assert [run.id for run in executor.waiting] == ["x@2026-01-01T00:00:10Z#1", "y@2026-01-01T00:00:10Z#1"]
        assert [len(log.skips(job_id)) for job_id in "xy"] == [1, 1]
        executor.end()
        executor.end()
        scheduler.advance(10)
        assert [run.id for run in executor.waiting] == ["x@2026-01-01T00:00:30Z#1", "y@2026-01-01T00:00:30Z#1"]


class TestPausing:
    def test_nothing_fires_while_paused_and_one_run_makes_up(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x")
        scheduler.advance(20)
        scheduler.pause()
        assert scheduler.running
        scheduler.pause()
        scheduler.advance(60)
        assert log.executed("x") == [seconds(10), seconds(20)]
        scheduler.resume()
        scheduler.resume()
        scheduler.advance(0)
        assert log.executed("x") == [seconds(10), seconds(20), seconds(80)]
        assert log.skips("x") == [("coalesced", 5)]
        assert [name for name in log.names() if name.startswith("SCHEDULER")] == [
            "SCHEDULER_PAUSED",
            "SCHEDULER_RESUMED",
        ]

    def test_started_paused(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        log = EventLog(scheduler)
        scheduler.add_job(nothing, id="x")
        scheduler.start(paused=True)
        scheduler.advance(100)
        assert log.executed() == []
        [job] = scheduler.get_jobs()
        assert not job.pending
        scheduler.resume()
        scheduler.advance(0)
        assert log.executed() == [T0]

    def test_live_runs_go_on(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(5)})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, id="x")
        scheduler.advance(1)
        scheduler.pause()
        scheduler.advance(10)
        assert log.executed("x") == [T0]

    def test_a_backlog_handed_over_before_the_pause_does_not_begin_in_it(self, virtual: Make) -> None:
        """The runs of one backlog follow each other; those that have not begun when the scheduler is paused wait."""
        scheduler = virtual(executors={"default": VirtualExecutor(5)})
        log = EventLog(scheduler, EVENT_JOB_STARTED)
        scheduler.add_job(nothing, "interval", minutes=1, id="x", coalesce=False)
        scheduler.clock.suspend(230)
        scheduler.advance(30)
        assert len(log.events) == 1
        scheduler.pause()
        scheduler.advance(100)
        assert len(log.events) == 1
        scheduler.resume()
        scheduler.advance(30)
        assert len(log.events) >= 4

    def test_a_paused_job(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        job = scheduler.add_job(nothing, "interval", seconds=10, id="x")
        scheduler.advance(20)
        job.pause()
        assert job.next_run_time is None
        assert job.state is JobState.PAUSED
        scheduler.advance(45)
        assert len(log.executed("x")) == 2
        resumed = job.resume()
        assert resumed is job
        assert job.next_run_time == seconds(70)
        scheduler.advance(5)
        assert log.executed("x")[2:] == [seconds(70)]

    def test_resuming_a_job_whose_schedule_has_ended_removes_it(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        job = scheduler.add_job(nothing, "interval", seconds=10, end_date=seconds(60), id="x")
        scheduler.pause_job("x")
        scheduler.advance(100)
        assert scheduler.resume_job("x") is None
        assert scheduler.get_job("x") is None
        assert log.names("x")[-1] == "JOB_REMOVED"
        with pytest.raises(KeyError, match="no job by the id of 'x' was found"):
            job.resume()


class Stuck(BaseTrigger):
    """Answers one instant for ever."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return seconds(10)

    def __str__(self) -> str:
        return "stuck"


class Late(BaseTrigger):
    """A trigger of the old kind that fires every ten seconds and raises from the fourth fire time on."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        if previous_fire_time is None:
            return seconds(10)
        if previous_fire_time >= seconds(40):
            raise RuntimeError("the rule is broken")
        return previous_fire_time + timedelta(seconds=10)


class TestBrokenTriggers:
    def test_one_that_stands_still_is_set_aside_and_the_others_go_on(
        self, virtual: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        job = scheduler.add_job(nothing, Stuck(), id="stuck")
        scheduler.add_job(nothing, "interval", seconds=10, id="good")
        scheduler.advance(60)
        assert log.executed("stuck") == [seconds(10)]
        assert len(log.executed("good")) == 6
        [broken] = log.of(EVENT_JOB_BROKEN)
        assert broken.job_id == "stuck"
        assert "its trigger does not advance" in broken.reason
        assert "job 'stuck' is set aside: its trigger does not advance" in caplog.text
        assert job.state is JobState.BROKEN
        assert job.reason == broken.reason
        assert job.next_run_time is None
        assert "broken: its trigger does not advance" in str(job)

    def test_one_that_raises_keeps_its_job_for_repair(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        job = scheduler.add_job(nothing, Late(), id="late")
        scheduler.advance(100)
        assert log.executed("late") == [seconds(10 * k) for k in range(1, 5)]
        [broken] = log.of(EVENT_JOB_BROKEN)
        assert broken.reason == "its trigger raised RuntimeError: the rule is broken"
        assert isinstance(broken.exception, RuntimeError)
        job.reschedule("interval", seconds=10)
        assert job.state is JobState.ACTIVE
        assert job.reason is None
        scheduler.advance(10)
        assert log.executed("late")[4:] == [seconds(110)]

    def test_one_that_raises_as_the_clock_is_corrected(self, virtual: Make) -> None:
        class Moody(CronTrigger):
            angry = False

            def next_us(self, after_us: int) -> int | None:
                if Moody.angry:
                    raise RuntimeError("not today")
                return super().next_us(after_us)

        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, Moody(minute="*/10", timezone="UTC"), id="moody")
        scheduler.add_job(nothing, "cron", minute="*/10", id="good")
        scheduler.advance(30)
        Moody.angry = True
        scheduler.clock.step(-86400)
        scheduler.advance(30)
        Moody.angry = False
        assert [event.job_id for event in log.of(EVENT_JOB_BROKEN)] == ["moody"]
        scheduler.advance(600)
        assert log.executed("good")[1:] == [T0 + timedelta(days=-1, minutes=10)]


class TestSeveral:
    def test_on_one_clock(self) -> None:
        clock = VirtualClock("2026-01-01T00:00:00Z")
        seen: list[str] = []
        schedulers = [VirtualScheduler(clock=clock) for _ in range(3)]
        for n, scheduler in enumerate(schedulers):
            scheduler.start()
            scheduler.add_job(seen.append, "interval", seconds=10 + n, args=[f"{n}"])
        clock.advance(12)
        for scheduler in schedulers:
            scheduler.shutdown()
        assert seen == ["0", "1", "2"]

    def test_shutting_one_down_leaves_the_others(self) -> None:
        clock = VirtualClock()
        first, second = VirtualScheduler(clock=clock), VirtualScheduler(clock=clock)
        seen: list[str] = []
        for name, scheduler in (("first", first), ("second", second)):
            scheduler.start()
            scheduler.add_job(seen.append, "interval", seconds=10, args=[name])
        clock.advance(10)
        first.shutdown()
        clock.advance(10)
        second.shutdown()
        assert seen == ["first", "second", "second"]

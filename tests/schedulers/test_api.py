"""The scheduler's states and parts, and what it lists; in virtual time."""

from __future__ import annotations

import copy
import io
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from schedcore.clock import SystemClock
from schedcore.errors import (
    ConfigurationError,
    InvalidTriggerError,
    SchedulerAlreadyRunningError,
    SchedulerNotRunningError,
    UnknownAliasError,
    UnknownPluginError,
)
from schedcore.events import EVENT_ALL, EVENT_JOB_EXECUTED
from schedcore.job import Job, JobState
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.base import STATE_PAUSED, STATE_RUNNING, STATE_STOPPED
from schedcore.testing import EventLog, VirtualClock, VirtualExecutor, VirtualScheduler
from schedcore.triggers.cron import CronTrigger
from tests.schedulers.simple import Make, nothing, seconds


class TestStates:
    @pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_there_is_one_of_each(self, virtual: Make, make: Callable[[object], object]) -> None:
        with pytest.raises(
            TypeError, match=r"^a scheduler cannot be pickled or copied; a job that needs one takes it from"
        ):
            make(virtual())

    def test_the_way_of_a_scheduler(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        states = [scheduler.state]
        scheduler.start(paused=True)
        states.append(scheduler.state)
        scheduler.resume()
        states.append(scheduler.state)
        scheduler.pause()
        states.append(scheduler.state)
        scheduler.shutdown()
        states.append(scheduler.state)
        assert states == [STATE_STOPPED, STATE_PAUSED, STATE_RUNNING, STATE_PAUSED, STATE_STOPPED] == [0, 2, 1, 2, 0]

    def test_started_twice(self, virtual: Make) -> None:
        scheduler = virtual()
        with pytest.raises(SchedulerAlreadyRunningError, match="the scheduler is already running; shut it down first"):
            scheduler.start()
        with pytest.raises(SchedulerAlreadyRunningError, match="configure it before start"):
            scheduler.configure(timezone="UTC")

    @pytest.mark.parametrize("call", ["pause", "resume", "wakeup"])
    def test_what_needs_a_running_scheduler(self, virtual: Make, call: str) -> None:
        scheduler = virtual(started=False)
        with pytest.raises(SchedulerNotRunningError, match="the scheduler is not running"):
            getattr(scheduler, call)()

    def test_shutdown_before_start_and_twice_is_harmless(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        log = EventLog(scheduler)
        assert scheduler.shutdown() == []
        scheduler.start()
        scheduler.shutdown()
        scheduler.shutdown()
        scheduler.shutdown(wait=False)
        assert log.names() == ["SCHEDULER_STARTED", "SCHEDULER_SHUTDOWN"]

    def test_nothing_fires_after_shutdown(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=1)
        scheduler.advance(3.5)
        scheduler.shutdown()
        told = len(log.events)
        scheduler.advance(1000)
        assert len(log.events) == told

    def test_start_again_after_shutdown(self, virtual: Make) -> None:
        store = MemoryJobStore()
        scheduler = virtual(jobstores={"default": store})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x")
        scheduler.advance(15)
        scheduler.shutdown()
        scheduler.advance(30)
        scheduler.start()
        scheduler.advance(10)
        assert log.executed("x") == [seconds(10), seconds(40), seconds(50)]
        assert log.skips("x") == [("coalesced", 2)]

    def test_from_a_job(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        returned: list[object] = []

        def stop() -> None:
            returned.append(scheduler.shutdown())
            returned.append(scheduler.running)

        scheduler.add_job(stop, "interval", seconds=10, id="stop")
        scheduler.add_job(nothing, "interval", seconds=11, id="after")
        scheduler.advance(60)
        assert returned == [[], False]
        assert log.executed() == [seconds(10)]
        assert log.names()[-1] == "SCHEDULER_SHUTDOWN"
        assert not scheduler.running

    def test_from_a_listener(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_listener(lambda event: scheduler.shutdown(), EVENT_JOB_EXECUTED)
        scheduler.add_job(nothing, "interval", seconds=10, id="x")
        scheduler.advance(60)
        assert log.executed() == [seconds(10)]
        assert log.names()[-1] == "SCHEDULER_SHUTDOWN"

    def test_waiting_carries_out_what_was_submitted(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(30, max_workers=1)})
        log = EventLog(scheduler)
        for n in range(3):
            scheduler.add_job(nothing, "date", run_date=seconds(10), id=f"{n}")
        scheduler.advance(10)
        assert scheduler.shutdown() == []
        assert scheduler.clock.now() == seconds(100)
        assert [event.job_id for event in log.of(EVENT_JOB_EXECUTED)] == ["0", "1", "2"]
        assert log.names()[-1] == "SCHEDULER_SHUTDOWN"

    def test_not_waiting_takes_back_what_has_not_begun(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(30, max_workers=1)})
        log = EventLog(scheduler)
        for n in range(3):
            scheduler.add_job(nothing, "date", run_date=seconds(10), id=f"{n}")
        scheduler.advance(10)
        scheduler.shutdown(wait=False)
        assert scheduler.clock.now() == seconds(10)
        assert "SCHEDULER_SHUTDOWN" not in log.names()
        scheduler.advance(60)
        assert [event.job_id for event in log.of(EVENT_JOB_EXECUTED)] == ["0"]
        assert log.skips() == [("shutdown", 1), ("shutdown", 1)]
        assert log.names()[-1] == "SCHEDULER_SHUTDOWN"

    def test_a_timeout_cuts_what_is_not_over(self, virtual: Make) -> None:
        scheduler = virtual(executors={"default": VirtualExecutor(30)})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "date", run_date=seconds(10), id="x")
        scheduler.advance(10)
        [cut] = scheduler.shutdown(timeout=5)
        assert cut.id == "x@2026-01-01T00:00:10Z#1"
        assert scheduler.clock.now() == seconds(15)
        assert log.names("x")[-1] == "JOB_ERROR"

    def test_start_that_fails_leaves_it_stopped(self, virtual: Make) -> None:
        class Down(MemoryJobStore):
            down = True
            closed = 0

            def start(self, scheduler: Any, alias: str) -> None:
                if self.down:
                    raise OSError("no route to host")
                super().start(scheduler, alias)

            def shutdown(self) -> None:
                self.closed += 1

        good, bad = MemoryJobStore(), Down()
        scheduler = virtual(started=False, jobstores={"default": good, "other": bad})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=10, id="x", jobstore="other")
        with pytest.raises(OSError, match="no route to host"):
            scheduler.start()
        assert not scheduler.running
        assert log.names() == []
        bad.down = False
        scheduler.start()
        scheduler.advance(10)
        assert log.executed("x") == [seconds(10)]


class TestListing:
    @pytest.mark.parametrize("limit", [0, -1, 1.5, True, "10", None])
    def test_a_limit_that_is_no_number_of_runs(self, virtual: Make, limit: Any) -> None:
        with pytest.raises(
            ConfigurationError, match="limit must be a whole number from 1 up, not " + re.escape(repr(limit))
        ):
            virtual().get_runs(limit=limit)

    def test_an_alias_that_no_job_store_has(self, virtual: Make) -> None:
        with pytest.raises(UnknownAliasError, match=r"no job store has the alias 'defualt'; did you mean 'default'\?"):
            virtual().get_runs(jobstore="defualt")

    @pytest.mark.parametrize("trigger", ["interval", CronTrigger(hour=5), "* * * * *"])
    def test_a_trigger_in_the_place_of_a_job_store(self, virtual: Make, trigger: Any) -> None:
        """It was said that no trigger is named."""
        scheduler = virtual()
        scheduler.add_job(print, "interval", hours=1, id="a")
        with pytest.raises(UnknownAliasError, match=re.escape(f"if this is a trigger, name it: trigger={trigger!r}")):
            scheduler.reschedule_job("a", trigger, minutes=5)

    def test_by_next_run_time_then_those_without(self, virtual: Make) -> None:
        scheduler = virtual(jobstores={"other": MemoryJobStore()})
        scheduler.add_job(nothing, "interval", seconds=30, id="c")
        scheduler.add_job(nothing, "interval", seconds=10, id="a", jobstore="other")
        scheduler.add_job(nothing, "interval", seconds=10, id="z", next_run_time=None)
        scheduler.add_job(nothing, "interval", seconds=20, id="b")
        assert [job.id for job in scheduler.get_jobs()] == ["a", "b", "c", "z"]
        assert [job.id for job in scheduler.get_jobs("other")] == ["a"]
        assert scheduler.get_jobs(pending=True) == []

    def test_get_job_looks_in_all_stores_or_one(self, virtual: Make) -> None:
        scheduler = virtual(jobstores={"other": MemoryJobStore()})
        scheduler.add_job(nothing, "interval", seconds=30, id="x", jobstore="other")
        found = scheduler.get_job("x")
        assert isinstance(found, Job)
        assert found.jobstore == "other"
        assert scheduler.get_job("x", "default") is None
        found.modify(name="there")
        assert scheduler.get_job("x", "other").name == "there"  # type: ignore[union-attr]

    def test_print_jobs(self, virtual: Make) -> None:
        scheduler = virtual(started=False, jobstores={"other": MemoryJobStore()})

        def printed(**options: Any) -> list[str]:
            out = io.StringIO()
            scheduler.print_jobs(out=out, **options)
            return out.getvalue().splitlines()

        assert printed() == ["No pending jobs"]
        scheduler.add_job(nothing, "interval", seconds=30, name="mine")
        assert printed() == ["Pending jobs:", "    mine (trigger: interval[0:00:30], pending)"]
        scheduler.start()
        assert printed() == [
            "Jobstore default:",
            "    mine (trigger: interval[0:00:30], next run at: 2026-01-01 00:00:30 UTC)",
            "Jobstore other:",
            "    No scheduled jobs",
        ]
        assert printed(jobstore="other") == ["Jobstore other:", "    No scheduled jobs"]

    def test_print_jobs_to_standard_output(self, virtual: Make, capsys: pytest.CaptureFixture[str]) -> None:
        virtual().print_jobs()
        assert capsys.readouterr().out == "Jobstore default:\n    No scheduled jobs\n"


class TestParts:
    def test_executors_come_and_go(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_executor("debug", "d")
        with pytest.raises(ConfigurationError, match="an executor with the alias 'd' exists already; remove it first"):
            scheduler.add_executor("debug", "d")
        with pytest.raises(ConfigurationError, match="alias must be a text of at least one character, not 3"):
            scheduler.add_executor("debug", 3)  # type: ignore[arg-type]
        scheduler.add_job(nothing, "interval", seconds=10, executor="d", id="x")
        scheduler.advance(10)
        assert log.executed("x") == [seconds(10)]
        scheduler.remove_executor("d")
        with pytest.raises(LookupError, match="no executor has the alias 'd'; known: default"):
            scheduler.remove_executor("d")
        assert [name for name in log.names() if "EXECUTOR" in name] == ["EXECUTOR_ADDED", "EXECUTOR_REMOVED"]
        scheduler.advance(10)
        assert scheduler.get_job("x").state is JobState.BROKEN  # type: ignore[union-attr]

    def test_job_stores_come_and_go(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        store = MemoryJobStore()
        scheduler.add_jobstore(store, "m")
        with pytest.raises(ConfigurationError, match="a job store with the alias 'm' exists already; remove it first"):
            scheduler.add_jobstore("memory", "m")
        with pytest.raises(ConfigurationError, match="alias must be a text of at least one character, not 3"):
            scheduler.add_jobstore("memory", 3)  # type: ignore[arg-type]
        scheduler.add_job(nothing, "interval", seconds=10, jobstore="m", id="x")
        scheduler.advance(10)
        scheduler.remove_jobstore("m")
        scheduler.advance(30)
        assert log.executed("x") == [seconds(10)]
        with pytest.raises(LookupError, match="no job store has the alias 'm'; known: default"):
            scheduler.remove_jobstore("m")
        scheduler.add_jobstore(store, "m")
        scheduler.advance(5)
        assert log.executed("x") == [seconds(10), seconds(40)]
        assert [name for name in log.names() if "JOBSTORE" in name] == [
            "JOBSTORE_ADDED",
            "JOBSTORE_REMOVED",
            "JOBSTORE_ADDED",
        ]

    def test_runs_that_are_live_when_their_store_is_removed(self, virtual: Make) -> None:
        executor = VirtualExecutor(5)
        scheduler = virtual(executors={"default": executor})
        log = EventLog(scheduler)
        store = MemoryJobStore()
        scheduler.add_jobstore(store, "m")
        scheduler.add_job(nothing, "interval", seconds=10, jobstore="m", id="x")
        scheduler.advance(12)
        scheduler.remove_jobstore("m")
        scheduler.advance(10)
        assert log.executed("x") == [seconds(10)], "it went on, and its end was told"
        scheduler.add_jobstore(store, "m")
        scheduler.advance(10)
        assert log.executed("x") == [seconds(10), seconds(20)], "it is neither made again nor live for ever"
        assert ("overlap", 1) not in log.skips("x")[:1]

    def test_a_backlog_that_waits_when_its_store_is_removed_is_not_begun(self, virtual: Make) -> None:
        executor = VirtualExecutor(5)
        scheduler = virtual(executors={"default": executor})
        log = EventLog(scheduler)
        scheduler.add_jobstore("memory", "m")
        scheduler.add_job(nothing, "interval", seconds=10, jobstore="m", id="x", coalesce=False)
        scheduler.clock.suspend(50)
        scheduler.advance(12)
        assert len(executor.live_runs()) == 1
        scheduler.remove_jobstore("m")
        scheduler.advance(60)
        assert len(log.executed("x")) == 1
        assert executor.live_runs() == []

    def test_an_executor_that_does_not_start_is_not_added(self, virtual: Make) -> None:
        class Down(VirtualExecutor):
            def start(self, scheduler: Any, alias: str) -> None:
                raise OSError("no more threads")

        scheduler = virtual()
        with pytest.raises(OSError, match="no more threads"):
            scheduler.add_executor(Down(), "x")
        scheduler.add_executor(VirtualExecutor(), "x")

    @pytest.mark.parametrize(
        ("call", "text"),
        [
            (lambda s: s.add_executor(MemoryJobStore(), "x"), "executors.x: <MemoryJobStore> is not an executor"),
            (
                lambda s: s.add_jobstore(VirtualExecutor(), "x"),
                "is not a job store (a subclass of schedcore.jobstores.base.BaseJobStore)",
            ),
            (
                lambda s: s.add_executor(VirtualExecutor(), "x", workers=3),
                "options (workers) go with a plug-in alias, not with an instance",
            ),
            (lambda s: s.add_executor("threadpool", "x", workers=3), "workers"),
            (lambda s: s.add_jobstore("memroy", "x"), "did you mean 'memory'?"),
            (lambda s: s.add_listener(5), "callback must be callable, not 5"),
            (lambda s: s.add_listener(print, 0), "mask must be a union of EVENT_… codes, not 0"),
            (lambda s: s.add_listener(print, EVENT_ALL + 1), "mask must be a union of EVENT_… codes"),
            (lambda s: s.configure(time_zone="UTC"), "unknown scheduler option 'time_zone'; did you mean 'timezone'?"),
            (lambda s: VirtualScheduler(job_defaults={"colaesce": True}), "did you mean"),
            (
                lambda s: VirtualScheduler(clock=SystemClock()),
                "clock must be a VirtualClock, not <schedcore.clock.SystemClock",
            ),
            (lambda s: VirtualScheduler(clock=0), "clock=0: must be a clock, which has wall_us() and monotonic_s()"),
            (lambda s: VirtualScheduler(clock=int), "must be a clock, which has wall_us() and monotonic_s()"),
            (lambda s: VirtualScheduler(timezone="Mars/Olympus"), "Mars/Olympus"),
        ],
    )
    def test_refused(self, virtual: Make, call: Callable[[VirtualScheduler], object], text: str) -> None:
        scheduler = virtual(started=False)
        with pytest.raises((ConfigurationError, InvalidTriggerError, UnknownPluginError), match=re.escape(text)):
            call(scheduler)

    def test_the_clock_can_be_shared_and_stays_over_configure(self, virtual: Make) -> None:
        clock = VirtualClock("2030-01-01T00:00:00Z")
        scheduler = virtual(started=False, clock=clock)
        scheduler.configure(timezone="Europe/Berlin")
        assert scheduler.clock is clock
        scheduler.start()
        assert scheduler.clock.now() == datetime(2030, 1, 1, tzinfo=UTC)

    def test_a_virtual_executor_needs_virtual_time(self) -> None:
        from schedcore.schedulers.background import BackgroundScheduler

        scheduler = BackgroundScheduler(executors={"default": VirtualExecutor()})
        with pytest.raises(ConfigurationError, match="a virtual executor needs a scheduler in virtual time"):
            scheduler.start()
        assert not scheduler.running

    def test_health(self, virtual: Make) -> None:
        scheduler = virtual()
        health = scheduler.health()["default"]
        assert (health.ok, health.error) == (True, None)

"""Changing jobs that were added; in virtual time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from schedcore.errors import (
    ConfigurationError,
    InvalidTriggerError,
    JobArgumentsError,
    JobLookupError,
    ReferenceLookupError,
    UnknownOptionError,
)
from schedcore.job import JobState
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.testing import EventLog, VirtualExecutor
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.interval import IntervalTrigger
from tests.schedulers.simple import T0, Make, nothing, seconds, takes


class TestChanging:
    def test_modify(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        job = scheduler.add_job(takes, "interval", args=[1], id="x", seconds=10)
        same = job.modify(args=(), kwargs={"a": 7}, name="mine", coalesce=False, misfire_grace_time=3)
        assert same is job
        assert (job.args, job.kwargs, job.name, job.coalesce, job.misfire_grace_time) == (
            (),
            {"a": 7},
            "mine",
            False,
            3,
        )
        assert job.next_run_time == seconds(10)
        assert log.names("x") == ["JOB_ADDED", "JOB_MODIFIED"]
        scheduler.modify_job("x", func=nothing, kwargs={})
        assert job.func is nothing

    def test_modify_trigger_recomputes(self, virtual: Make) -> None:
        scheduler = virtual()
        job = scheduler.add_job(nothing, "date", run_date="2099-01-01", id="x")
        job.modify(trigger=CronTrigger(minute="*/10", timezone="UTC"))
        assert job.next_run_time == T0
        scheduler.advance(60)
        job.reschedule("interval", seconds=90)
        assert job.next_run_time == seconds(150)

    def test_modify_next_run_time(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        job = scheduler.add_job(nothing, "interval", hours=1, id="x")
        job.modify(next_run_time=seconds(5))
        scheduler.advance(5)
        assert log.executed("x") == [seconds(5)]
        assert job.next_run_time == T0 + timedelta(hours=1)
        job.modify(next_run_time=None)
        assert job.state is JobState.PAUSED

    def test_a_changed_executor(self, virtual: Make) -> None:
        other = VirtualExecutor(manual=True)
        scheduler = virtual(executors={"other": other})
        job = scheduler.add_job(nothing, "interval", seconds=10, id="x")
        job.modify(executor="other")
        scheduler.advance(10)
        assert [run.job.id for run in other.waiting] == ["x"]

    def test_a_paused_job_stays_paused_when_its_trigger_changes_but_not_when_it_is_rescheduled(
        self, virtual: Make
    ) -> None:
        scheduler = virtual()
        job = scheduler.add_job(nothing, "interval", seconds=10, id="x")
        job.pause()
        job.modify(trigger=IntervalTrigger(seconds=20))
        assert job.state is JobState.PAUSED
        job.reschedule("interval", seconds=30)
        assert (job.state, job.next_run_time) == (JobState.ACTIVE, seconds(30))

    @pytest.mark.parametrize(
        ("changes", "error", "text"),
        [
            (
                {"id": "y"},
                JobArgumentsError,
                "the id of a job cannot be changed; remove the job and add it under the other id",
            ),
            ({"nam": "y"}, UnknownOptionError, "unknown job option 'nam'; did you mean 'name'?"),
            ({"args": [1, 2, 3, 4]}, JobArgumentsError, "positional"),
            ({"max_instances": 0}, ConfigurationError, "max_instances must be a whole number from 1 up"),
            ({"next_run_time": "soon"}, InvalidTriggerError, "next_run_time"),
            ({"trigger": 5}, InvalidTriggerError, "trigger must be an alias"),
            ({"func": "os:no_such"}, ReferenceLookupError, "no_such"),
        ],
    )
    @pytest.mark.parametrize("started", [True, False], ids=["running", "pending"])
    def test_a_bad_change_changes_nothing(
        self, virtual: Make, changes: dict[str, Any], error: type[Exception], text: str, started: bool
    ) -> None:
        scheduler = virtual(started=started)
        job = scheduler.add_job(takes, "interval", args=[1], id="x", seconds=10)
        log = EventLog(scheduler)
        with pytest.raises(error, match=re.escape(text)):
            job.modify(**changes)
        assert (job.id, job.name, job.args, job.max_instances) == ("x", "takes", (1,), 1)
        assert log.names() == []

    @pytest.mark.parametrize(
        "call",
        [
            lambda scheduler: scheduler.modify_job("nobody", name="x"),
            lambda scheduler: scheduler.reschedule_job("nobody", trigger="interval", seconds=1),
            lambda scheduler: scheduler.pause_job("nobody"),
            lambda scheduler: scheduler.resume_job("nobody"),
            lambda scheduler: scheduler.remove_job("nobody"),
        ],
    )
    @pytest.mark.parametrize("started", [True, False])
    def test_an_unknown_job(self, virtual: Make, call: Callable[[Any], object], started: bool) -> None:
        scheduler = virtual(started=started)
        with pytest.raises(JobLookupError, match="no job by the id of 'nobody' was found"):
            call(scheduler)
        assert scheduler.get_job("nobody") is None

    def test_remove(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        job = scheduler.add_job(nothing, "interval", seconds=10, id="x")
        job.remove()
        scheduler.advance(30)
        assert log.names("x") == ["JOB_ADDED", "JOB_REMOVED"]
        with pytest.raises(JobLookupError):
            job.remove()

    def test_remove_all(self, virtual: Make) -> None:
        scheduler = virtual(jobstores={"other": MemoryJobStore()})
        log = EventLog(scheduler)
        for store in ("default", "other"):
            scheduler.add_job(nothing, "interval", seconds=10, jobstore=store)
        scheduler.remove_all_jobs("other")
        assert [job.jobstore for job in scheduler.get_jobs()] == ["default"]
        scheduler.remove_all_jobs()
        assert scheduler.get_jobs() == []
        assert log.names()[-2:] == ["ALL_JOBS_REMOVED", "ALL_JOBS_REMOVED"]
        assert [event.alias for event in log.events[-2:]] == ["other", None]
        scheduler.advance(60)
        assert log.executed() == []

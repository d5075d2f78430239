"""The calls of the API: what they do, and what they say when they are wrong; in virtual time."""

from __future__ import annotations

import copy
import io
import pickle
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schedcore.clock import SystemClock
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    InvalidTriggerError,
    JobArgumentsError,
    JobLookupError,
    ReferenceLookupError,
    SchedulerAlreadyRunningError,
    SchedulerNotRunningError,
    UnknownAliasError,
    UnknownOptionError,
    UnknownPluginError,
)
from schedcore.events import EVENT_ALL, EVENT_JOB_BROKEN, EVENT_JOB_EXECUTED
from schedcore.job import Job, JobState
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.base import STATE_PAUSED, STATE_RUNNING, STATE_STOPPED
from schedcore.testing import EventLog, VirtualClock, VirtualExecutor, VirtualScheduler
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

Make = Callable[..., VirtualScheduler]

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def seconds(n: float) -> datetime:
    return T0 + timedelta(seconds=n)


def nothing() -> None:
    pass


def takes(a: int, b: int = 2, *, c: int = 3) -> None:
    pass


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


class TestPending:
    def test_listed_changed_removed_and_placed_at_start(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        log = EventLog(scheduler)
        kept = scheduler.add_job(nothing, "interval", seconds=10, id="kept")
        scheduler.add_job(nothing, "interval", seconds=10, id="gone")
        assert (kept.pending, kept.next_run_time) == (True, None)
        assert str(kept) == "nothing (trigger: interval[0:00:10], pending)"
        assert [job.id for job in scheduler.get_jobs()] == ["kept", "gone"]
        assert [job.id for job in scheduler.get_jobs(pending=True)] == ["kept", "gone"]
        assert scheduler.get_jobs(pending=False) == []
        scheduler.remove_job("gone")
        kept.modify(name="mine", max_instances=2)
        scheduler.get_job("kept").reschedule("interval", seconds=20)  # type: ignore[union-attr]
        assert scheduler.get_job("gone") is None
        scheduler.start()
        assert (kept.pending, kept.name, kept.max_instances, kept.next_run_time) == (False, "mine", 2, seconds(20))
        assert log.names("kept")[-1] == "JOB_ADDED"
        assert "gone" not in [getattr(event, "job_id", None) for event in log.events[1:]]

    def test_first_run_time_is_computed_at_start(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        job = scheduler.add_job(nothing, "cron", minute="*/10", id="x")
        scheduler.clock.advance(3700)
        scheduler.start()
        assert job.next_run_time == seconds(4200)

    def test_paused_and_resumed_before_start(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        paused = scheduler.add_job(nothing, "interval", seconds=10, id="paused")
        both = scheduler.add_job(nothing, "interval", seconds=10, id="both")
        paused.pause()
        both.pause()
        both.resume()
        scheduler.start()
        assert paused.next_run_time is None
        assert paused.state is JobState.PAUSED
        assert both.next_run_time == seconds(10)

    @pytest.mark.parametrize(
        "moment",
        [
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        ],
    )
    def test_a_next_run_time_that_is_no_time_in_other_zones_is_refused(self, virtual: Make, moment: datetime) -> None:
        scheduler = virtual()
        with pytest.raises(InvalidTriggerError, match=r"next_run_time: .* instant that can be scheduled; give"):
            scheduler.add_job(nothing, "interval", hours=1, next_run_time=moment)
        assert scheduler.get_jobs() == []

    def test_a_next_run_time_survives_a_change_of_something_else(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        job = scheduler.add_job(nothing, "interval", seconds=10, id="x", next_run_time=seconds(3))
        job.modify(name="other")
        paused = scheduler.add_job(nothing, "interval", seconds=10, id="y", next_run_time=None)
        paused.modify(name="other")
        scheduler.start()
        assert job.next_run_time == seconds(3)
        assert paused.next_run_time is None

    def test_the_same_id_twice(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        scheduler.add_job(nothing, "interval", seconds=10, id="x")
        with pytest.raises(
            ConflictingIdError, match=re.escape("job id 'x' is taken; give another id, or replace_existing=True")
        ):
            scheduler.add_job(nothing, "interval", seconds=20, id="x")
        scheduler.add_job(nothing, "interval", seconds=30, id="x", replace_existing=True)
        assert len(scheduler.get_jobs()) == 1
        scheduler.start()
        [job] = scheduler.get_jobs()
        assert job.next_run_time == seconds(30)

    def test_a_job_that_ended_before_start_is_dropped_and_said(
        self, virtual: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        scheduler = virtual(started=False)
        scheduler.add_job(nothing, "interval", seconds=10, start_date=T0, end_date=seconds(60), id="x")
        scheduler.clock.advance(3600)
        scheduler.start()
        assert scheduler.get_jobs() == []
        assert "job 'x' is dropped: this trigger never fires" in caplog.text

    def test_jobs_for_a_store_that_is_not_there(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        scheduler.add_job(nothing, "interval", hours=1, jobstore="mongo")
        with pytest.raises(LookupError, match="no job store has the alias 'mongo'; known: default"):
            scheduler.start()
        assert not scheduler.running
        scheduler.add_jobstore("memory", "mongo")
        scheduler.start()
        assert [job.jobstore for job in scheduler.get_jobs()] == ["mongo"]

    def test_pending_jobs_can_all_be_removed(self, virtual: Make) -> None:
        scheduler = virtual(started=False)
        scheduler.add_job(nothing, "interval", seconds=10)
        scheduler.add_job(nothing, "interval", seconds=10, jobstore="other")
        scheduler.remove_all_jobs("other")
        assert len(scheduler.get_jobs()) == 1
        scheduler.remove_all_jobs()
        assert scheduler.get_jobs() == []


class TestAddJob:
    def test_without_a_trigger_it_runs_now_once(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        job = scheduler.add_job(nothing)
        assert re.fullmatch("[0-9a-f]{32}", job.id)
        assert job.name == "nothing"
        scheduler.run_until_idle()
        assert log.names(job.id) == ["JOB_ADDED", "JOB_REMOVED", "JOB_SUBMITTED", "JOB_STARTED", "JOB_EXECUTED"]
        assert scheduler.get_jobs() == []

    def test_what_a_job_shows(self, virtual: Make) -> None:
        scheduler = virtual(timezone="Europe/Berlin")
        job = scheduler.add_job(takes, "interval", (1,), {"c": 4}, "x", "mine", 30, False, 2, hours=1)
        assert (job.id, job.name, job.func, job.args, job.kwargs) == ("x", "mine", takes, (1,), {"c": 4})
        assert (job.misfire_grace_time, job.coalesce, job.max_instances, job.executor) == (30, False, 2, "default")
        assert isinstance(job.trigger, IntervalTrigger)
        assert (job.pending, job.jobstore, job.state, job.reason) == (False, "default", JobState.ACTIVE, None)
        at = job.next_run_time
        assert at == T0 + timedelta(hours=1)
        assert at.tzinfo == ZoneInfo("Europe/Berlin")
        assert repr(job) == "<Job (id=x name=mine)>"
        assert str(job) == "mine (trigger: interval[1:00:00], next run at: 2026-01-01 02:00:00 CET)"
        assert job == scheduler.get_job("x")
        assert {job} == {scheduler.get_job("x")}
        assert job != scheduler.add_job(nothing)
        assert job != "x"

    def test_func_by_text(self, virtual: Make) -> None:
        scheduler = virtual()
        job = scheduler.add_job("os.path:join", "interval", hours=1, args=["a"])
        assert job.func_ref == "os.path:join"
        assert job.func is __import__("os").path.join
        assert scheduler.add_job(len, args=[[]]).func_ref == "builtins:len"
        assert scheduler.add_job(lambda: None).func_ref is None

    def test_trigger_instances_and_aliases(self, virtual: Make) -> None:
        scheduler = virtual()
        by_alias = scheduler.add_job(nothing, "cron", hour=3)
        by_instance = scheduler.add_job(nothing, CronTrigger(hour=3, timezone="UTC"))
        assert by_alias.trigger == by_instance.trigger
        dated = scheduler.add_job(nothing, DateTrigger(run_date=seconds(60)))
        assert dated.next_run_time == seconds(60)

    def test_a_zone_of_the_trigger_s_own(self, virtual: Make) -> None:
        scheduler = virtual(timezone="Europe/Berlin")
        job = scheduler.add_job(nothing, "cron", hour=3, timezone="Asia/Tokyo")
        assert job.next_run_time == datetime(2026, 1, 1, 18, tzinfo=UTC)
        assert scheduler.add_job(nothing, "cron", hour=3).next_run_time == datetime(2026, 1, 1, 2, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("value", "at"),
        [
            (datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2026, 1, 2, 3, tzinfo=UTC)),
            (datetime(2026, 1, 2, 3), datetime(2026, 1, 2, 2, tzinfo=UTC)),  # noqa: DTZ001
            ("2026-01-02 03:00", datetime(2026, 1, 2, 2, tzinfo=UTC)),
            ("2026-01-02T03:00:00+05:00", datetime(2026, 1, 1, 22, tzinfo=UTC)),
        ],
    )
    def test_next_run_time(self, virtual: Make, value: Any, at: datetime) -> None:
        scheduler = virtual(timezone="Europe/Berlin")
        log = EventLog(scheduler)
        job = scheduler.add_job(nothing, "interval", days=7, id="x", next_run_time=value)
        assert job.next_run_time == at
        scheduler.advance(2 * 86400)
        assert log.executed("x") == [at]
        assert job.next_run_time == T0 + timedelta(days=7)

    def test_a_next_run_time_in_the_past_runs_now(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", hours=1, id="x", next_run_time=seconds(-10))
        scheduler.advance(0)
        assert log.executed("x") == [seconds(-10)]

    def test_next_run_time_none_adds_it_paused(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        job = scheduler.add_job(nothing, "interval", seconds=10, id="x", next_run_time=None)
        scheduler.advance(65)
        assert log.executed("x") == []
        assert job.next_run_time is None
        assert str(job).endswith("paused)")
        job.resume()
        scheduler.advance(10)
        assert log.executed("x") == [seconds(70)]

    def test_job_defaults(self, virtual: Make) -> None:
        scheduler = virtual(job_defaults={"coalesce": False, "max_instances": 3, "misfire_grace_time": 5})
        job = scheduler.add_job(nothing, "interval", hours=1)
        assert (job.coalesce, job.max_instances, job.misfire_grace_time) == (False, 3, 5)
        other = scheduler.add_job(nothing, "interval", hours=1, coalesce=True, misfire_grace_time=None)
        assert (other.coalesce, other.max_instances, other.misfire_grace_time) == (True, 3, None)

    def test_scheduled_job(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)

        @scheduler.scheduled_job("interval", id="x", seconds=10)
        def mine() -> int:
            return 5

        assert mine() == 5
        scheduler.advance(10)
        assert log.executed("x") == [seconds(10)]

        @scheduler.scheduled_job("interval", id="x", seconds=20)
        def again() -> None:
            pass

        assert len(scheduler.get_jobs()) == 1
        assert scheduler.get_jobs()[0].name.endswith("again")

    def test_a_job_nearer_than_what_is_armed_wakes_the_scheduler(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "date", run_date=seconds(1000), id="far")
        scheduler.advance(10)
        scheduler.add_job(nothing, "date", run_date=seconds(11), id="near")
        scheduler.advance(1)
        assert log.executed() == [seconds(11)]


class Odd(BaseTrigger):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


BAD_JOBS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"func": takes}, JobArgumentsError, "'a'"),
    ({"func": takes, "args": [1], "kwargs": {"d": 1}}, JobArgumentsError, "'d'"),
    (
        {"func": takes, "args": "12"},
        JobArgumentsError,
        "args must be a list or another iterable of arguments, not '12'",
    ),
    ({"func": takes, "args": 1}, JobArgumentsError, "args must be a list or another iterable of arguments, not 1"),
    ({"kwargs": [1]}, JobArgumentsError, "kwargs must be a dict or another mapping, not [1]"),
    ({"func": 17}, JobArgumentsError, 'func must be a callable or text such as "package.module:name", not 17'),
    ({"func": "os:no_such"}, ReferenceLookupError, "no_such"),
    ({"func": "os:name"}, JobArgumentsError, "which cannot be called"),
    ({"id": ""}, JobArgumentsError, "id must be a text of at least one character, not ''"),
    ({"id": 7}, JobArgumentsError, "id must be a text of at least one character, not 7"),
    ({"name": ""}, JobArgumentsError, "name must be a text of at least one character, not ''"),
    ({"trigger": "intervall"}, UnknownPluginError, "did you mean 'interval'?"),
    (
        {"trigger": 5},
        InvalidTriggerError,
        "trigger must be an alias such as 'interval', a trigger instance or None, not 5",
    ),
    ({"trigger": "interval"}, InvalidTriggerError, "must add up to more than zero"),
    (
        {"trigger": "interval", "second": 5},
        UnknownOptionError,
        "unknown interval trigger option 'second'; did you mean 'seconds'?",
    ),
    ({"seconds": 5}, UnknownOptionError, "no trigger is named: name one, such as 'interval'"),
    (
        {"trigger": "interval", "seconds": 5, "replace_exsisting": True},
        UnknownOptionError,
        "unknown interval trigger option 'replace_exsisting'; did you mean 'replace_existing'?",
    ),
    ({"trigger": IntervalTrigger, "seconds": 5}, InvalidTriggerError, "this trigger is a class"),
    (
        {"trigger": IntervalTrigger(seconds=5), "seconds": 5},
        InvalidTriggerError,
        "'seconds': arguments for a trigger go with its alias; this trigger is an instance already",
    ),
    ({"trigger": "cron", "hour": 25}, InvalidTriggerError, "hour"),
    ({"trigger": "interval", "hours": 1, "timezone": "Europe/Berlim"}, InvalidTriggerError, "Europe/Berlim"),
    (
        {"trigger": "interval", "seconds": 5, "start_date": "2020-01-01", "end_date": "2021-01-01"},
        InvalidTriggerError,
        "this trigger never fires",
    ),
    ({"next_run_time": 5}, ConfigurationError, "next_run_time must be a datetime, ISO 8601 text or None, not 5"),
    ({"next_run_time": "soon"}, InvalidTriggerError, "next_run_time"),
    (
        {"misfire_grace_time": 0},
        ConfigurationError,
        "misfire_grace_time must be a positive number of seconds, or None for no limit, not 0",
    ),
    ({"misfire_grace_time": "5"}, ConfigurationError, "misfire_grace_time must be a positive number of seconds"),
    ({"max_instances": 0}, ConfigurationError, "max_instances must be a whole number from 1 up, not 0"),
    ({"max_instances": True}, ConfigurationError, "max_instances must be a whole number from 1 up, not True"),
    ({"max_catchup": 1.5}, ConfigurationError, "max_catchup must be a whole number from 1 up, not 1.5"),
    ({"recovery": "maybe"}, ConfigurationError, "recovery must be 'rerun' or 'lost', not 'maybe'"),
    ({"trigger": Odd(None)}, InvalidTriggerError, "this trigger never fires"),
    ({"trigger": Odd("tomorrow")}, TypeError, "returned 'tomorrow', not a datetime or None"),
    ({"trigger": Odd(datetime(2030, 1, 1))}, ValueError, "a naive datetime names no instant"),  # noqa: DTZ001
    ({"trigger": Odd(RuntimeError("no rule"))}, RuntimeError, "no rule"),
]


@pytest.mark.parametrize("started", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    BAD_JOBS,
    ids=[re.sub(" at 0x[0-9a-f]+", "", str(row[0]))[:60] for row in BAD_JOBS],
)
def test_a_bad_job_is_refused_at_once_and_nothing_is_added(
    virtual: Make, arguments: dict[str, Any], error: type[Exception], text: str, started: bool
) -> None:
    scheduler = virtual(started=started)
    log = EventLog(scheduler)
    with pytest.raises(error, match=re.escape(text)):
        scheduler.add_job(**{"func": nothing, **arguments})
    assert scheduler.get_jobs() == []
    assert log.names() == []


def test_a_job_for_a_store_that_is_not_there(virtual: Make) -> None:
    scheduler = virtual()
    with pytest.raises(LookupError, match="no job store has the alias 'defualt'; did you mean 'default'"):
        scheduler.add_job(nothing, jobstore="defualt")
    with pytest.raises(LookupError, match="no job store has the alias 'x'; known: default"):
        scheduler.get_jobs("x")
    with pytest.raises(LookupError, match="no job store has the alias 'x'"):
        scheduler.remove_job("j", "x")


def test_a_job_whose_executor_is_missing_is_set_aside_until_it_comes(virtual: Make) -> None:
    scheduler = virtual()
    log = EventLog(scheduler)
    job = scheduler.add_job(nothing, "interval", seconds=10, id="x", executor="gpu")
    scheduler.add_job(nothing, "interval", seconds=10, id="good")
    scheduler.advance(30)
    assert len(log.executed("good")) == 3
    [broken] = log.of(EVENT_JOB_BROKEN)
    assert (broken.job_id, broken.reason) == ("x", "its executor 'gpu' is missing")
    assert [(found.id, found.state) for found in scheduler.get_jobs()] == [
        ("good", JobState.ACTIVE),
        ("x", JobState.BROKEN),
    ]
    scheduler.add_executor(VirtualExecutor(), "gpu")
    scheduler.advance(0)
    assert log.executed("x") == [seconds(30)]
    assert log.skips("x") == [("coalesced", 2)]
    assert job.state is JobState.ACTIVE


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


class TestIdentity:
    """A job that is registered again at start-up is the same job."""

    def test_an_unchanged_trigger_keeps_time_and_phase(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", minutes=1, id="x")
        scheduler.advance(40)
        job = scheduler.add_job(takes, "interval", minutes=1, id="x", args=[1], replace_existing=True)
        assert job.next_run_time == seconds(60)
        assert job.func is takes
        assert log.names("x") == ["JOB_ADDED", "JOB_MODIFIED"]
        scheduler.advance(80)
        assert log.executed("x") == [seconds(60), seconds(120)]

    def test_an_overdue_run_is_made(self, virtual: Make) -> None:
        store = MemoryJobStore()
        scheduler = virtual(jobstores={"default": store})
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "cron", minute=0, id="x")
        scheduler.advance(60)
        scheduler.shutdown()
        scheduler.clock.advance(3600)
        scheduler.add_job(nothing, "cron", minute=0, id="x", replace_existing=True)
        scheduler.start()
        scheduler.advance(0)
        assert log.executed("x") == [T0, T0 + timedelta(hours=1)]

    def test_ten_restarts_in_an_hour(self, virtual: Make) -> None:
        store = MemoryJobStore()
        scheduler = virtual(started=False, jobstores={"default": store})
        log = EventLog(scheduler)
        for _ in range(30):
            scheduler.add_job(nothing, "interval", minutes=60, id="x", replace_existing=True)
            scheduler.start()
            scheduler.advance(350)
            scheduler.shutdown()
            scheduler.clock.advance(10)
        assert log.executed("x") == [T0 + timedelta(hours=1), T0 + timedelta(hours=2)]

    def test_a_changed_trigger_is_computed_afresh(self, virtual: Make) -> None:
        scheduler = virtual()
        scheduler.add_job(nothing, "interval", minutes=60, id="x")
        scheduler.advance(600)
        job = scheduler.add_job(nothing, "interval", minutes=30, id="x", replace_existing=True)
        assert job.next_run_time == seconds(600 + 1800)

    def test_a_next_run_time_that_is_named_wins(self, virtual: Make) -> None:
        scheduler = virtual()
        scheduler.add_job(nothing, "interval", minutes=60, id="x")
        job = scheduler.add_job(
            nothing, "interval", minutes=60, id="x", next_run_time=seconds(5), replace_existing=True
        )
        assert job.next_run_time == seconds(5)

    def test_a_paused_job_stays_paused(self, virtual: Make) -> None:
        scheduler = virtual()
        scheduler.add_job(nothing, "interval", minutes=60, id="x").pause()
        job = scheduler.add_job(nothing, "interval", minutes=60, id="x", replace_existing=True)
        assert job.state is JobState.PAUSED
        assert job.next_run_time is None

    def test_twice_without_replace(self, virtual: Make) -> None:
        scheduler = virtual()
        scheduler.add_job(nothing, "interval", minutes=60, id="x")
        with pytest.raises(ConflictingIdError, match="job id 'x' is taken"):
            scheduler.add_job(nothing, "interval", minutes=60, id="x")
        with pytest.raises(KeyError):
            scheduler.add_job(nothing, "interval", minutes=60, id="x")

    def test_replacing_what_is_not_there_adds_it(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", minutes=60, id="x", replace_existing=True)
        assert log.names("x") == ["JOB_ADDED"]


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
            (lambda s: s.add_jobstore(VirtualExecutor(), "x"), "is not a job store (a subclass of BaseJobStore)"),
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

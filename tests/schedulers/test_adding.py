"""Adding jobs: before the start and after it, what is refused and what it says, and which job it is; in virtual time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    InvalidTriggerError,
    JobArgumentsError,
    NeverFiresError,
    ReferenceLookupError,
    UnknownOptionError,
    UnknownPluginError,
)
from schedcore.events import EVENT_JOB_BROKEN
from schedcore.job import JobState
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.testing import EventLog, VirtualExecutor
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger
from tests.schedulers.simple import T0, Make, nothing, seconds, takes


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
        scheduler.add_job(nothing, "interval", hours=1, id="report", jobstore="mongo")
        with pytest.raises(
            LookupError, match=r"no job store has the alias 'mongo'; known: default \(job 'report' names it\)"
        ):
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
    ({"func": None}, JobArgumentsError, "not None; give the function itself, without calling it"),
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
    ({"seconds": 5}, UnknownOptionError, "no trigger is named: name one, such as trigger='interval'"),
    ({"minutes": 5}, UnknownOptionError, "no trigger is named: name one, such as trigger='interval'"),
    ({"minute": 5}, UnknownOptionError, "no trigger is named: name one, such as trigger='cron'"),
    (
        {"trigger": "* * * * *"},
        UnknownPluginError,
        "there is no trigger '* * * * *'; crontab text is for CronTrigger.from_crontab",
    ),
    (
        {"trigger": "@daily"},
        UnknownPluginError,
        "there is no trigger '@daily'; crontab text is for CronTrigger.from_crontab",
    ),
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
        NeverFiresError,
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
    ({"trigger": Odd(None)}, NeverFiresError, "this trigger never fires"),
    ({"trigger": Odd("tomorrow")}, TypeError, "returned 'tomorrow', not a datetime or None"),
    (
        {"trigger": Odd(datetime(2030, 1, 1))},  # noqa: DTZ001
        ValueError,
        "Odd.get_next_fire_time returned datetime.datetime(2030, 1, 1, 0, 0), which names no instant without a time zone",
    ),
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


def test_an_executor_that_is_missing_is_told_when_a_job_names_it(
    virtual: Make, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = virtual(started=False, executors={"processes": VirtualExecutor()})
    scheduler.add_job(nothing, "interval", days=30, executor="proceses")
    scheduler.add_job(nothing, "interval", days=30, executor="proceses")
    scheduler.add_job(nothing, "interval", days=30, executor="later")
    scheduler.add_executor(VirtualExecutor(), "later")
    assert not caplog.messages  # an executor may be added until the start
    scheduler.start()
    aside = "jobs that name it are set aside when they are due, until there is one"
    assert caplog.messages == [f"no executor has the alias 'proceses'; did you mean 'processes'? ({aside})"]
    caplog.clear()
    scheduler.add_job(nothing, "interval", days=30, executor="gpu")
    scheduler.add_job(nothing, "interval", days=30, executor="gpu", coalesce=False)
    scheduler.add_job(nothing, "interval", days=30, executor="processes")
    assert caplog.messages == [f"no executor has the alias 'gpu'; known: default, later, processes ({aside})"]


def test_an_executor_that_is_missing_is_told_when_a_change_names_it(
    virtual: Make, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = virtual(started=False)
    job = scheduler.add_job(nothing, "interval", days=30, id="x")
    job.modify(executor="early")
    assert not caplog.messages
    scheduler.start()
    aside = "jobs that name it are set aside when they are due, until there is one"
    assert caplog.messages == [f"no executor has the alias 'early'; known: default ({aside})"]
    caplog.clear()
    scheduler.modify_job("x", executor="gpu")
    scheduler.modify_job("x", executor="gpu", name="other")
    scheduler.add_job(nothing, "interval", days=30, executor="gpu")
    scheduler.modify_job("x", executor="default")
    scheduler.repair_job("x", executor="defualt")
    assert caplog.messages == [
        f"no executor has the alias 'gpu'; known: default ({aside})",
        f"no executor has the alias 'defualt'; did you mean 'default'? ({aside})",
    ]
    with pytest.raises(ConfigurationError, match="executor"):
        scheduler.modify_job("x", executor=5)
    assert scheduler.modify_job("x", name="same").executor == "defualt"


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

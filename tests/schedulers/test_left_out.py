"""What a schedule leaves out is on record with its reason: what a calendar excludes, and local times that do not exist.

Also what comes before the first fire time of a job: when it is added, resumed, or given another schedule.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schedcore.errors import InvalidTriggerError, JobStoreError
from schedcore.events import EVENT_JOB_ADDED, EVENT_JOB_SKIPPED
from schedcore.job import JobState
from schedcore.run import RunState
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import Weekdays
from schedcore.triggers.combining import AndTrigger
from schedcore.triggers.cron import CronTrigger

FRIDAY = datetime(2026, 11, 20, 12, tzinfo=UTC)
WEEKEND = Weekdays("sat", "sun")
NEVER = CronTrigger(year=2020, timezone="UTC")
WORKDAYS = CronTrigger(hour=9, timezone="UTC").excluding(WEEKEND)
Make = Callable[..., tuple[VirtualScheduler, EventLog]]
Found = tuple[str | None, int, str]


def nothing() -> None:
    pass


@pytest.fixture(params=["memory", "sqlalchemy"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    store: dict[str, Any] = {"type": request.param}
    if request.param == "sqlalchemy":
        pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
        store["url"] = f"sqlite:///{tmp_path}/jobs.sqlite"

    def made(start: datetime = FRIDAY) -> tuple[VirtualScheduler, EventLog]:
        scheduler = VirtualScheduler(start=start, jobstores={"default": store})
        return scheduler, EventLog(scheduler)

    return made


def skipped(scheduler: VirtualScheduler) -> list[Found]:
    """Reason, number and first instant of each record of fire times without a run, the first one first."""
    records = sorted(record for record in scheduler.get_runs() if record.state is RunState.SKIPPED)
    return [(r.reason, r.times, f"{datetime.fromtimestamp(r.fire_us / 1e6, UTC):%Y-%m-%dT%H:%M:%S}") for r in records]


THE_WEEKEND = ("excluded", 2, "2026-11-21T09:00:00")
THE_NEXT = ("excluded", 2, "2026-11-28T09:00:00")


@pytest.mark.parametrize("when", ["before start", "after start", "replacing", "several"])
def test_what_is_excluded_before_the_first_run_is_on_record(make: Make, when: str) -> None:
    scheduler, log = make()
    if when != "before start":
        scheduler.start()
    if when == "several":
        scheduler.add_jobs([{"func": nothing, "trigger": WORKDAYS, "id": "x"}])
    else:
        scheduler.add_job(nothing, WORKDAYS, id="x", replace_existing=when == "replacing")
    if when == "before start":
        scheduler.start()
    scheduler.advance(1)
    assert skipped(scheduler) == [THE_WEEKEND]
    (event,) = log.of(EVENT_JOB_SKIPPED)
    codes = [each.code for each in log.of(EVENT_JOB_ADDED | EVENT_JOB_SKIPPED)]
    assert codes == [EVENT_JOB_ADDED, EVENT_JOB_SKIPPED]
    assert (event.job_id, event.reason, event.count) == ("x", "excluded", 2)
    scheduler.advance(2 * 86400)
    assert skipped(scheduler) == [THE_WEEKEND]  # once
    scheduler.advance(86400)
    assert [run.state for run in scheduler.get_runs("x")] == [RunState.SUCCEEDED, RunState.SKIPPED]
    scheduler.shutdown()


KILLED = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from schedcore.events import EVENT_JOB_ADDED
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.triggers.calendars import Dates
from schedcore.triggers.cron import CronTrigger

def kill(event=None):
    os.kill(os.getpid(), signal.SIGKILL)

today = datetime.now(UTC).date()
trigger = CronTrigger(hour="*", timezone="UTC").excluding(Dates((today, today + timedelta(days=9))))
scheduler = BackgroundScheduler(jobstores={"default": {"type": "sqlalchemy", "url": sys.argv[1]}})
if sys.argv[2] == "running":
    scheduler.start()
    scheduler.add_job("builtins:int", trigger, id="x")
elif sys.argv[2] == "replacing":
    scheduler.start()
    scheduler.add_job("builtins:int", "interval", days=30, id="x")
    scheduler.add_job("builtins:int", trigger, id="x", replace_existing=True)
else:
    scheduler.add_listener(kill, EVENT_JOB_ADDED)
    scheduler.add_job("builtins:int", trigger, id="x")
    scheduler.start()
kill()
"""


@pytest.mark.parametrize("when", ["running", "replacing", "waiting"])
def test_a_job_that_is_there_after_a_kill_has_its_record(when: str, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, url, when], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, b"")
    scheduler = VirtualScheduler(start=datetime.now(UTC), jobstores={"default": {"type": "sqlalchemy", "url": url}})
    scheduler.start(paused=True)
    assert scheduler.get_job("x") is not None
    ((reason, times, _),) = skipped(scheduler)
    assert reason == "excluded"
    assert 9 * 24 <= times <= 10 * 24
    scheduler.shutdown()


def test_nothing_is_excluded_nothing_is_said(make: Make) -> None:
    scheduler, log = make()
    scheduler.start()
    scheduler.add_job(nothing, CronTrigger(hour=15, timezone="UTC").excluding(WEEKEND), id="x")
    scheduler.add_job(nothing, WORKDAYS, id="named", next_run_time=FRIDAY + timedelta(days=9))
    scheduler.add_job(nothing, WORKDAYS, id="paused", next_run_time=None)
    scheduler.advance(1)
    assert skipped(scheduler) == log.of(EVENT_JOB_SKIPPED) == []
    scheduler.shutdown()


def test_added_again_it_is_not_told_again(make: Make) -> None:
    scheduler, _ = make()
    scheduler.start()
    scheduler.add_job(nothing, WORKDAYS, id="x", replace_existing=True)
    scheduler.advance(60)
    scheduler.add_job(nothing, WORKDAYS, id="x", replace_existing=True)
    scheduler.advance(60)
    assert skipped(scheduler) == [THE_WEEKEND]
    scheduler.shutdown()


def test_what_is_excluded_while_a_job_is_paused_is_told_when_it_goes_on(make: Make) -> None:
    scheduler, _ = make()
    scheduler.start()
    job = scheduler.add_job(nothing, WORKDAYS, id="x")
    scheduler.advance(1)
    job.pause()
    scheduler.advance(8 * 86400)
    assert job.state is JobState.PAUSED
    job.resume()
    assert skipped(scheduler) == [THE_WEEKEND, ("paused", 5, "2026-11-23T09:00:00"), THE_NEXT]
    scheduler.shutdown()


def test_another_schedule_tells_what_it_leaves_out(make: Make) -> None:
    scheduler, _ = make()
    scheduler.start()
    job = scheduler.add_job(nothing, "interval", days=30, id="x")
    job.reschedule(WORKDAYS)
    scheduler.advance(1)
    assert skipped(scheduler) == [THE_WEEKEND]
    job.modify(name="other")
    scheduler.advance(1)
    assert skipped(scheduler) == [THE_WEEKEND]
    scheduler.shutdown()


@pytest.mark.parametrize("how", ["added", "another schedule", "added while paused"])
def test_a_shutdown_right_after_loses_no_record(tmp_path: Path, how: str) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    store = {"type": "sqlalchemy", "url": f"sqlite:///{tmp_path}/jobs.sqlite"}
    scheduler = VirtualScheduler(start=FRIDAY, jobstores={"default": store})
    scheduler.start(paused=how == "added while paused")
    if how == "another schedule":
        scheduler.add_job(nothing, "interval", days=30, id="x").reschedule(WORKDAYS)
    else:
        scheduler.add_job(nothing, WORKDAYS, id="x")
    scheduler.shutdown()
    scheduler = VirtualScheduler(start=FRIDAY + timedelta(hours=1), jobstores={"default": dict(store)})
    scheduler.start()
    scheduler.advance(60)
    assert skipped(scheduler) == [THE_WEEKEND]
    scheduler.shutdown()


def test_a_job_that_is_refused_or_gone_is_not_told_of(make: Make) -> None:
    scheduler, log = make()
    scheduler.start()
    scheduler.add_job(nothing, WORKDAYS, id="x")
    scheduler.remove_job("x")
    scheduler.advance(3600)
    assert log.of(EVENT_JOB_SKIPPED) == []
    scheduler.shutdown()


@pytest.mark.parametrize("started", [False, True])
def test_a_job_of_the_same_id_is_told_of_as_well(make: Make, started: bool) -> None:
    """In another job store, or in the place of the first: each has its record, and each record is told."""
    scheduler, log = make()
    scheduler.add_jobstore("memory", "other")
    if started:
        scheduler.start()
    scheduler.add_job(nothing, WORKDAYS, id="x")
    scheduler.add_job(nothing, WORKDAYS, id="x", jobstore="other")
    if not started:
        scheduler.start()
    scheduler.advance(1)
    assert sorted(event.jobstore for event in log.of(EVENT_JOB_SKIPPED)) == ["default", "other"]
    log.clear()
    for hour in (9, 10):
        trigger = CronTrigger(hour=hour, timezone="UTC").excluding(WEEKEND)
        scheduler.add_job(nothing, trigger, id="y", replace_existing=True)
    scheduler.advance(1)
    assert len(scheduler.get_runs("y")) == 2
    assert [event.first_run_time.hour for event in log.of(EVENT_JOB_SKIPPED)] == [9, 10]
    scheduler.shutdown()


@pytest.mark.parametrize("way", ["one", "several", "replacing"])
def test_nothing_is_kept_of_jobs_that_are_refused(make: Make, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept until it is told is bounded by that: it is of jobs that are added, or wait for their store."""
    scheduler, log = make()
    scheduler.start()
    store = scheduler._pumps["default"].store

    def refuse(*args: Any) -> None:
        raise JobStoreError("default", "it is full")

    def add() -> None:
        if way == "several":
            scheduler.add_jobs([{"func": nothing, "trigger": WORKDAYS} for _ in range(3)])
        else:
            scheduler.add_job(nothing, WORKDAYS, id="x", replace_existing=way == "replacing")

    with monkeypatch.context() as patched:
        patched.setattr(store, "add_entries", refuse)
        with pytest.raises(JobStoreError):
            add()
    with pytest.raises(InvalidTriggerError):
        scheduler.add_jobs([{"func": nothing, "trigger": trigger} for trigger in (WORKDAYS, NEVER)])
    assert not scheduler._jobs._left_out.untold
    scheduler.advance(3600)
    assert log.of(EVENT_JOB_SKIPPED) == []
    scheduler.shutdown()


@pytest.mark.slow
def test_of_many_jobs_added_at_once_each_has_its_record(make: Make) -> None:
    scheduler, log = make()
    scheduler.start()
    count = 10_001  # the first one of so many had none
    scheduler.add_jobs([{"func": nothing, "trigger": WORKDAYS, "id": str(number)} for number in range(count)])
    scheduler.advance(1)
    assert len(log.of(EVENT_JOB_SKIPPED)) == count
    if scheduler._pumps["default"].store.traits.durable:  # the other keeps a thousand records
        assert [record.reason for record in scheduler.get_runs("0")] == ["excluded"]
    scheduler.shutdown()


NIGHT = datetime(2026, 3, 27, 12, tzinfo=UTC)  # the clocks go forward on 29 March
AT_NIGHT = {
    "cron": CronTrigger(hour=2, minute="0,30", timezone="Europe/Berlin", dst="literal"),
    "calendarinterval": CalendarIntervalTrigger(
        days=1, hour=2, minute=30, start_date="2026-03-01", timezone="Europe/Berlin"
    ),
    "excluding": CronTrigger(hour=2, minute=30, timezone="Europe/Berlin", dst="literal").excluding(Weekdays("fri")),
}


@pytest.mark.parametrize("kind", AT_NIGHT)
def test_a_time_that_the_clocks_jump_over_is_on_record(make: Make, kind: str) -> None:
    scheduler, log = make(NIGHT)
    scheduler.start()
    scheduler.add_job(nothing, AT_NIGHT[kind], id="x")
    scheduler.advance(4 * 86400)
    times = 2 if kind == "cron" else 1
    assert skipped(scheduler) == [("gap", times, "2026-03-29T01:00:00")]
    (event,) = log.of(EVENT_JOB_SKIPPED)
    codes = [each.code for each in log.of(EVENT_JOB_ADDED | EVENT_JOB_SKIPPED)]
    assert codes == [EVENT_JOB_ADDED, EVENT_JOB_SKIPPED]
    assert (event.reason, event.count) == ("gap", times)
    scheduler.shutdown()


def test_the_first_time_that_a_job_would_run_may_be_jumped_over(make: Make) -> None:
    scheduler, _ = make(datetime(2026, 3, 28, 12, tzinfo=UTC))
    scheduler.add_job(nothing, AT_NIGHT["cron"], id="x")
    scheduler.start()
    scheduler.advance(60)
    assert skipped(scheduler) == [("gap", 2, "2026-03-29T01:00:00")]
    scheduler.shutdown()


def test_a_job_that_never_meets_is_told_of_the_tolerance() -> None:
    scheduler = VirtualScheduler(start=FRIDAY)
    never = [CronTrigger(minute=0, timezone="UTC"), CronTrigger(minute=30, timezone="UTC")]
    with pytest.raises(InvalidTriggerError, match=r"never fires.*the same instant.*tolerance="):
        scheduler.add_job(nothing, AndTrigger(never))
    with pytest.raises(InvalidTriggerError, match="never fires") as raised:
        scheduler.add_job(nothing, AndTrigger(never, tolerance=60))
    assert "tolerance=" not in str(raised.value).partition(";")[2]

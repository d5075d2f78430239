"""Cases that users of schedulers reported, one test for each: the clock (K), long waits (O), restarts and registration (R), and
of the parsing and search rows those that need a scheduler (S12, S22, S25). The rows about triggers are in ``tests/triggers``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.events import EVENT_JOB_EXECUTED, EVENT_JOB_SUBMITTED
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.triggers import _zones
from schedcore.triggers.cron import CronTrigger
from schedcore.wakeup import MAX_WAIT_S

Make = Callable[..., VirtualScheduler]
T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Capped(VirtualScheduler):
    """Really wakes every ``MAX_WAIT_S`` seconds, as schedulers in real time do."""

    _max_wait_s = MAX_WAIT_S


def nothing() -> None:
    pass


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def capped(**options: Any) -> tuple[VirtualScheduler, EventLog]:
    scheduler = Capped(start=T0, **options)
    log = EventLog(scheduler)
    scheduler.start()
    return scheduler, log


def run_ids(log: EventLog) -> list[str]:
    return [run_id for event in log.of(EVENT_JOB_SUBMITTED) for run_id in event.run_ids]


# -- K: the clock ----------------------------------------------------------------------------------------------------------


def test_K1_two_minutes_back() -> None:
    """Was: silent for two minutes. An interval goes on; cron repeats no fire time, and is back when the clock has caught up."""
    scheduler, log = capped()
    scheduler.add_job(nothing, "interval", seconds=10, id="interval")
    scheduler.add_job(nothing, "cron", second="*/10", id="cron")
    scheduler.advance(605)
    log.clear()
    scheduler.clock.step(-120)
    scheduler.advance(120)
    assert len(log.executed("interval")) in (11, 12)
    scheduler.advance(60)
    cron = log.executed("cron")
    assert len(cron) >= 5
    assert cron[0] > at(600)
    assert len(set(run_ids(log))) == len(run_ids(log))
    scheduler.shutdown()


def test_K2_a_year_back() -> None:
    """Was: never again."""
    scheduler, log = capped()
    for seconds in (1, 2, 3):
        scheduler.add_job(nothing, "interval", seconds=seconds, id=str(seconds))
    scheduler.advance(60)
    log.clear()
    scheduler.clock.step(-365 * 86400)
    scheduler.advance(60)
    assert [len(log.executed(str(seconds))) for seconds in (1, 2, 3)] == [60, 30, 20]
    scheduler.shutdown()


@pytest.mark.parametrize("case", ["K3: ten years on", "K4: to the year 2200", "K5: from 1970 to now"])
def test_K3_K4_K5_far_on_is_one_run(case: str) -> None:
    """Was: memory and CPU ran away, or a hang."""
    start = datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC) if "K5" in case else T0
    to = {"K3": T0 + timedelta(days=3653), "K4": datetime(2200, 1, 1, tzinfo=UTC), "K5": T0}[case[:2]]
    scheduler = Capped(start=start)
    log = EventLog(scheduler)
    scheduler.start()
    scheduler.add_job(nothing, "interval", seconds=1, id="x")
    scheduler.advance(10.5)
    log.clear()
    scheduler.clock.step((to - scheduler.clock.now()).total_seconds())
    scheduler.advance(10)
    assert 10 <= len(log.executed("x")) <= 11
    assert len(log.skips()) <= 1
    scheduler.shutdown()


def test_K6_the_clock_is_set_every_hour() -> None:
    """Was: one run in four of an interval of 900 s was missing, with ntpdate every hour."""
    scheduler, log = capped()
    scheduler.add_job(nothing, "interval", seconds=900, id="x")
    for number in range(48):
        scheduler.advance(3600)
        scheduler.clock.step(-3 if number % 2 else 2)
    ran = log.executed("x")
    assert ran == [at(900 * number) for number in range(1, len(ran) + 1)]
    assert len(ran) in (191, 192)
    assert log.skips() == []
    scheduler.shutdown()


def test_K7_suspended_over_a_due_time() -> None:
    """Was: it slept on after the machine woke up. It is due at the next wake, which is never farther away than the cap."""
    scheduler, log = capped()
    scheduler.add_job(nothing, "date", run_date=at(3600), id="x")
    scheduler.advance(3000)
    scheduler.clock.suspend(3600)
    awake_s = scheduler.clock.monotonic_s()
    while not log.executed("x"):
        scheduler.advance(1)
    assert scheduler.clock.monotonic_s() - awake_s <= MAX_WAIT_S + 1
    assert log.executed("x") == [at(3600)]
    scheduler.shutdown()


def test_K8_a_clock_of_coarse_resolution() -> None:
    """Was: the next fire time was now, in an endless loop. ``now`` is a fire time here, and again at the next look."""
    trigger = CronTrigger(second="*", timezone="UTC")
    now_us = from_datetime(T0)
    assert trigger.first_us(now_us) == now_us
    assert trigger.next_us(now_us) == now_us + 1_000_000
    scheduler, log = capped()
    scheduler.add_job(nothing, trigger, id="x")
    for _ in range(5):
        scheduler.advance(0)
    assert log.executed("x") == [T0]
    scheduler.shutdown()


# -- O: long waits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [60, 366, 36525], ids=["O1: 60 days", "O2: to 1 January", "O1: 100 years"])
def test_O1_O2_a_wait_is_capped_and_armed_again(days: int) -> None:
    """Was: an OverflowError beyond 24.8 days (Qt) and 49.7 days (a thread's wait)."""
    scheduler, _ = capped()
    scheduler.add_job(nothing, "date", run_date=T0 + timedelta(days=days))
    wakeup = scheduler.virtual_wakeup
    assert wakeup is not None
    for _ in range(20):
        assert wakeup.armed_s == MAX_WAIT_S
        scheduler.clock.run_next()
    scheduler.shutdown()


def test_O2_an_empty_scheduler_waits() -> None:
    scheduler, log = capped()
    scheduler.advance(3600)
    scheduler.add_job(nothing, "interval", seconds=5, id="x")
    scheduler.advance(5)
    assert log.executed("x") == [at(3605)]
    scheduler.shutdown()


def test_O3_the_cap_of_a_wait_is_not_shown_as_the_next_run(caplog: pytest.LogCaptureFixture) -> None:
    """Was: the log named a wake-up at 49.7 days for a job that is due in 90, and alarmed its users."""
    caplog.set_level(logging.DEBUG)
    scheduler, log = capped()
    job = scheduler.add_job(nothing, "interval", days=90, id="x")
    scheduler.advance(3 * MAX_WAIT_S)
    assert job.next_run_time == T0 + timedelta(days=90)
    assert log.executed("x") == []
    shown = [at(MAX_WAIT_S * number) for number in range(1, 5)]
    for record in caplog.records:
        assert not any(f"{wake:%H:%M:%S}" in record.getMessage() for wake in shown)
    scheduler.shutdown()


# -- R: restarts and registration --------------------------------------------------------------------------------------------


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, Any]:
    pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")
    return {"default": {"type": "sqlalchemy", "url": f"sqlite:///{tmp_path}/jobs.sqlite"}}


def opened(stores: dict[str, Any], start: datetime) -> tuple[VirtualScheduler, EventLog]:
    scheduler = VirtualScheduler(start=start, jobstores=stores)
    return scheduler, EventLog(scheduler)


def test_R1_an_overdue_run_and_the_phase_survive_a_restart(stores: dict[str, Any]) -> None:
    """Was: with replace_existing the overdue run was lost, and the phase was that of the start."""
    scheduler, _ = opened(stores, T0)
    scheduler.add_job(nothing, "interval", minutes=1, id="x", replace_existing=True)
    scheduler.start()
    scheduler.advance(30)
    scheduler.shutdown()
    scheduler, log = opened(stores, at(95))
    scheduler.add_job(nothing, "interval", minutes=1, id="x", replace_existing=True)
    scheduler.start()
    scheduler.advance(60)
    assert log.executed("x") == [at(60), at(120)]
    scheduler.shutdown()


def test_R2_an_overdue_job_that_is_registered_unchanged_runs_now(stores: dict[str, Any]) -> None:
    """Was: the next run was an hour later."""
    scheduler, _ = opened(stores, T0)
    scheduler.add_job(nothing, "interval", hours=1, id="x")
    scheduler.start()
    scheduler.advance(60)
    scheduler.shutdown()
    scheduler, log = opened(stores, at(3605))
    scheduler.start()
    scheduler.add_job(nothing, "interval", hours=1, id="x", replace_existing=True)
    scheduler.advance(1)
    assert log.executed("x") == [at(3600)]
    scheduler.shutdown()


def test_R3_without_an_id_there_is_one_job_and_not_one_for_each_start(stores: dict[str, Any]) -> None:
    for number in range(3):
        scheduler, _ = opened(stores, at(number))
        scheduler.add_job(nothing, "interval", hours=1)
        scheduler.start()
        assert len(scheduler.get_jobs()) == 1
        scheduler.shutdown()


def test_R4_another_trigger_gives_another_next_run_time() -> None:
    scheduler, _ = capped()
    job = scheduler.add_job(nothing, "interval", hours=5)
    job.modify(trigger=CronTrigger(minute=30, timezone="UTC"))
    assert job.next_run_time == at(1800)
    scheduler.shutdown()


def test_R5_the_same_id_twice_before_start_is_one_job() -> None:
    scheduler = VirtualScheduler(start=T0)
    scheduler.add_job(nothing, "interval", hours=1, id="x", replace_existing=True)
    scheduler.add_job(nothing, "interval", hours=2, id="x", replace_existing=True)
    assert [job.id for job in scheduler.get_jobs()] == ["x"]
    scheduler.start()
    assert [job.next_run_time for job in scheduler.get_jobs()] == [at(7200)]
    scheduler.shutdown()


def test_R6_a_listener_that_takes_54_seconds_makes_nobody_miss_a_run() -> None:
    """Was: the next wake-up was computed from the time before the work, and the second job's run was missed."""
    scheduler, log = capped()
    scheduler.add_listener(
        lambda event: scheduler.clock.advance(54) if event.job_id == "a" else None, EVENT_JOB_SUBMITTED
    )
    scheduler.add_job(nothing, "date", run_date=at(10), id="a")
    scheduler.add_job(nothing, "interval", seconds=20, id="b")
    scheduler.advance(121)
    assert log.executed("a") == [at(10)]
    ran = log.executed("b")
    assert {at(80), at(100), at(120)} <= set(ran)
    assert sum(count for _, count in log.skips("b")) + len(ran) == 6  # what fell due meanwhile is accounted for
    scheduler.shutdown()


# -- S12, S22, S25 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crontab", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6 *", "* * */20 * 1L"])
def test_S12_what_never_comes_is_refused_when_it_is_added(crontab: str) -> None:
    trigger = CronTrigger.from_crontab(crontab, "UTC")
    scheduler, _ = capped()
    waiting = VirtualScheduler(start=T0)
    for each in (scheduler, waiting):
        with pytest.raises(InvalidTriggerError, match="this trigger never fires"):
            each.add_job(nothing, trigger, id="x")
        assert each.get_jobs() == []
    scheduler.shutdown()


def test_S22_restarted_within_the_minute_a_fire_time_runs_once(stores: dict[str, Any]) -> None:
    """Was: sent twice."""
    ran: list[datetime] = []
    for second in (0, 20, 40, 59, 61):
        scheduler, log = opened(stores, at(second))
        scheduler.add_job(nothing, "cron", minute="*", id="x", timezone="UTC", replace_existing=True)
        scheduler.start()
        scheduler.advance(0.5)
        ran += [event.scheduled_run_time for event in log.of(EVENT_JOB_EXECUTED)]
        scheduler.shutdown()
    assert ran == [T0, at(60)]


def test_S25_the_zone_of_the_machine_changes_while_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Was: the old zone for runs and the new one for catch-up. Here it is the zone with which the trigger was made, for both."""
    monkeypatch.setattr(_zones, "_local", ZoneInfo("Europe/Berlin"))
    scheduler, log = capped()
    trigger = CronTrigger(hour=9)
    scheduler.add_job(nothing, trigger, id="x")
    scheduler.advance(86400)
    monkeypatch.setattr(_zones, "_local", ZoneInfo("America/New_York"))
    scheduler.advance(86400)
    nine = [datetime(2026, 1, day, 8, tzinfo=UTC) for day in (1, 2, 3, 4, 5)]
    assert log.executed("x") == nine[:2]
    scheduler.clock.suspend(3 * 86400)  # to be caught up with
    scheduler.advance(MAX_WAIT_S)
    assert log.executed("x") == [*nine[:2], nine[4]]
    assert log.skips("x") == [("coalesced", 2)]
    assert trigger == CronTrigger(hour=9, timezone="Europe/Berlin")
    scheduler.shutdown()

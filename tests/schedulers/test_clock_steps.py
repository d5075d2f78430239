"""Clocks that are set, machines that sleep, waits that are long: the rules of ``schedcore.clock``, on a whole scheduler.

A step is noticed at the next wake, and a scheduler wakes every ``MAX_WAIT_S`` at the latest: that is the bound on recovery.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import pytest

from schedcore.clock import from_datetime
from schedcore.events import EVENT_CLOCK_STEPPED, EVENT_JOB_SUBMITTED
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.wakeup import MAX_WAIT_S, MIN_GAP_S

Make = Callable[..., VirtualScheduler]

START = "2026-01-01T00:00:00Z"
T0 = datetime(2026, 1, 1, tzinfo=UTC)
STEPS_S = {"-1 year": -365 * 86400, "-2 min": -120, "+1 h": 3600, "+10 years": 3653 * 86400}


class Capped(VirtualScheduler):
    """Really wakes every ``MAX_WAIT_S`` seconds, as schedulers in real time do."""

    _max_wait_s = MAX_WAIT_S


class Faithful(Capped):
    """Keeps to the shortest time between two looks, too."""

    _min_gap_s = MIN_GAP_S


def nothing() -> None:
    pass


def run_ids(log: EventLog) -> list[str]:
    return [run_id for event in log.of(EVENT_JOB_SUBMITTED) for run_id in event.run_ids]


@pytest.mark.parametrize("step", STEPS_S)
@pytest.mark.parametrize("cls", [VirtualScheduler, Faithful])
def test_a_step(cls: type[VirtualScheduler], step: str) -> None:
    scheduler = cls(start=START)
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "interval", seconds=10, id="interval")
    scheduler.add_job(nothing, "cron", second="*/10", id="cron")
    scheduler.start()
    scheduler.advance(605)
    log.clear()
    step_s = STEPS_S[step]
    scheduler.clock.step(step_s)
    stepped_s = scheduler.clock.monotonic_s()
    scheduler.advance(600)
    scheduler.shutdown()

    # It is told, once, in words and within the bound.
    [event] = log.of(EVENT_CLOCK_STEPPED)
    assert ("set back by" if step_s < 0 else "set forward by") in event.message
    assert f"{abs(step_s):.3f} s" in event.message
    told_us = log.instants_us[log.events.index(event)]
    after_us = told_us - (from_datetime(T0) + round((605 + step_s) * 1e6))
    assert 0 <= after_us <= MAX_WAIT_S * 1e6
    assert stepped_s == 605

    # No fire time twice.
    ids = run_ids(log)
    assert len(ids) == len(set(ids))

    # Intervals follow elapsed time: their cadence goes on through a step back; one run makes up for what a step forward passed.
    interval = log.of(EVENT_JOB_SUBMITTED, "interval")
    assert 59 <= len(interval) <= 61
    # Calendar jobs follow the wall: after a correction (three hours and more) at once, else when the wall is past what has run.
    cron = log.of(EVENT_JOB_SUBMITTED, "cron")
    if step == "-2 min":
        assert len(cron) == 48, "the two minutes that are there twice run once"
        assert cron[0].scheduled_run_times == [T0 + timedelta(seconds=610)]
    else:
        assert 57 <= len(cron) <= 61
    skips = log.skips()
    if step_s < 0:
        assert skips == []
    else:
        missed = dict.fromkeys(("interval", "cron"), step_s // 10)
        for job_id, count in missed.items():
            [(reason, times)] = log.skips(job_id)
            assert reason == "coalesced"
            assert abs(times - count) <= 4


def test_without_idle_wakes_all_is_as_with_them() -> None:
    """Virtual time leaves out wakes in which nothing is to be seen: what is told, and when, is the same."""
    told = []
    for cls in (VirtualScheduler, Capped):
        scheduler = cls(start=START, timezone="Europe/Berlin")
        log = EventLog(scheduler)
        scheduler.start()
        scheduler.add_job(nothing, "interval", minutes=7, id="a")
        scheduler.add_job(nothing, "cron", minute="*/5", id="b", jitter=60)
        for step_s in (-100, 4000, -20000, 50000, -1):
            scheduler.advance(1000)
            scheduler.clock.step(step_s)
            scheduler.advance(777)
            scheduler.clock.suspend(5000)
        scheduler.shutdown()
        told.append(
            [(at_us, repr(event), *run_ids(log)) for at_us, event in zip(log.instants_us, log.events, strict=True)]
        )
    assert told[0] == told[1]


def test_intervals_keep_their_phase_and_rhythm_through_a_step_back(virtual: Make) -> None:
    scheduler = virtual()
    log = EventLog(scheduler)
    start_s = scheduler.clock.monotonic_s()
    seen: list[float] = []
    scheduler.add_job(lambda: seen.append(scheduler.clock.monotonic_s()), "interval", seconds=10)
    scheduler.advance(25)
    scheduler.clock.step(-365 * 86400)
    scheduler.advance(100)
    assert seen == [start_s + 10 * k for k in range(1, 13)]
    fired = [at for event in log.of(EVENT_JOB_SUBMITTED) for at in event.scheduled_run_times]
    assert fired == [T0 + timedelta(seconds=10 * k) for k in range(1, 13)]


@pytest.mark.parametrize("seconds", [1, 2, 3])
def test_a_year_back_does_not_silence_short_intervals(virtual: Make, seconds: int) -> None:
    scheduler = virtual()
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "interval", seconds=seconds, id="x")
    scheduler.advance(60)
    scheduler.clock.step(-365 * 86400)
    scheduler.advance(60)
    assert len(log.executed("x")) == 120 // seconds


def test_a_job_added_after_a_step_back_fires_in_time(virtual: Make) -> None:
    scheduler = virtual()
    scheduler.advance(45)
    scheduler.clock.step(-7200)
    scheduler.advance(45)
    added_s = scheduler.clock.monotonic_s()
    seen: list[float] = []
    scheduler.add_job(lambda: seen.append(scheduler.clock.monotonic_s() - added_s), "interval", seconds=10)
    scheduler.add_job(lambda: seen.append(scheduler.clock.monotonic_s() - added_s - 100))
    named = scheduler.clock.now() + timedelta(seconds=15)
    scheduler.add_job(
        lambda: seen.append(scheduler.clock.monotonic_s() - added_s + 100), "interval", hours=1, next_run_time=named
    )
    scheduler.advance(20)
    assert seen == [-100.0, 10.0, 115.0, 20.0]


def test_less_than_three_hours_back_repeats_no_calendar_fire_time(virtual: Make) -> None:
    scheduler = virtual()
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "cron", minute=0, id="hourly")
    scheduler.advance(3 * 3600 + 10)
    scheduler.clock.step(-2 * 3600)
    scheduler.advance(4 * 3600)
    assert log.executed("hourly") == [T0 + timedelta(hours=h) for h in (0, 1, 2, 3, 4, 5)]


def test_three_hours_back_is_a_correction_and_the_new_time_is_used(virtual: Make) -> None:
    scheduler = virtual()
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "cron", minute=30, id="hourly")
    scheduler.advance(4 * 3600)
    before = log.executed("hourly")
    scheduler.clock.step(-30 * 86400)
    scheduler.advance(3600)
    after = log.executed("hourly")[len(before) :]
    assert after == [T0 - timedelta(days=30) + timedelta(hours=4, minutes=30)]


def test_hourly_small_corrections_lose_nothing(virtual: Make) -> None:
    """As ntpdate from cron does it: interval 900 s, the clock set by seconds every hour."""
    scheduler = virtual()
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "interval", seconds=900, id="x")
    for n in range(48):
        scheduler.advance(3600)
        scheduler.clock.step(-3 if n % 2 else 2)
    ran = log.executed("x")
    assert ran == [T0 + timedelta(seconds=900 * k) for k in range(1, len(ran) + 1)]
    assert len(ran) in (191, 192)


@pytest.mark.parametrize("seconds", [5, 60])
def test_a_board_that_boots_in_1970(virtual: Make, seconds: int) -> None:
    scheduler = virtual(start="1970-01-01T00:00:10Z")
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "interval", seconds=seconds, id="x")
    scheduler.add_job(nothing, "cron", second=0, id="minutely")
    scheduler.advance(10)
    log.clear()
    start_s = process_time()
    scheduler.clock.step((T0 - scheduler.clock.now()).total_seconds())
    scheduler.advance(120)
    assert process_time() - start_s < 1
    assert 120 // seconds <= len(log.executed("x")) <= 120 // seconds + 2
    assert 2 <= len(log.executed("minutely")) <= 4
    assert all(reason == "coalesced" for reason, _ in log.skips())


def test_to_the_year_2200_is_one_run(virtual: Make) -> None:
    scheduler = virtual()
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "interval", seconds=1, id="x")
    scheduler.advance(10.5)
    scheduler.clock.step((datetime(2200, 1, 1, tzinfo=UTC) - scheduler.clock.now()).total_seconds())
    log.clear()
    scheduler.advance(10)
    assert 10 <= len(log.executed("x")) <= 11


def test_a_date_that_was_put_off_stays_so_when_the_clock_is_corrected(virtual: Make) -> None:
    scheduler = virtual()
    log = EventLog(scheduler)
    scheduler.add_job(nothing, "date", run_date=T0 + timedelta(hours=1), id="x")
    put_off = T0 + timedelta(days=2)
    job = scheduler.modify_job("x", next_run_time=put_off)
    scheduler.advance(2 * 3600)
    scheduler.clock.step(-86400)
    scheduler.advance(MAX_WAIT_S)
    assert job.next_run_time == put_off
    scheduler.advance(86400)
    assert log.executed("x") == []
    scheduler.advance(2 * 86400)
    assert len(log.executed("x")) == 1


class TestSuspend:
    def test_eight_hours_are_made_up_for_by_one_run_each(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", minutes=1, id="interval")
        scheduler.add_job(nothing, "cron", minute="*/10", id="cron")
        scheduler.advance(90)
        log.clear()
        scheduler.clock.suspend(8 * 3600)
        resumed_us = scheduler.clock.wall_us()
        scheduler.advance(MAX_WAIT_S)
        assert max(log.submitted_s("interval", resumed_us)) <= MAX_WAIT_S
        assert log.executed("interval") == [T0 + timedelta(hours=8, minutes=2)]
        assert log.skips("interval") == [("coalesced", 480)]
        assert log.executed("cron") == [T0 + timedelta(hours=8)]
        assert log.skips("cron") == [("coalesced", 47)]
        assert len(log.of(EVENT_CLOCK_STEPPED)) == 1

    def test_a_due_time_within_the_sleep_is_late_and_not_lost(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "date", run_date=T0 + timedelta(hours=1), id="x")
        scheduler.advance(3000)
        scheduler.clock.suspend(3600)
        scheduler.advance(MAX_WAIT_S)
        assert log.executed("x") == [T0 + timedelta(hours=1)]

    def test_with_a_grace_time_it_is_missed(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "cron", hour=1, id="x", misfire_grace_time=600)
        scheduler.clock.suspend(3 * 3600)
        scheduler.advance(MAX_WAIT_S)
        assert log.executed("x") == []
        assert log.skips("x") == [("misfired", 1)]


class TestLongWaits:
    @pytest.mark.parametrize("days", [60, 90, 36525])
    def test_a_job_far_away_fires_at_its_instant(self, virtual: Make, days: int) -> None:
        scheduler = virtual()
        seen: list[datetime] = []
        scheduler.add_job(lambda: seen.append(scheduler.clock.now()), "date", run_date=T0 + timedelta(days=days))
        scheduler.run_until(T0 + timedelta(days=days, seconds=1))
        assert seen == [T0 + timedelta(days=days)]

    def test_no_wait_is_longer_than_the_cap(self) -> None:
        scheduler = Capped(start=START)
        scheduler.add_job(nothing, "date", run_date=T0 + timedelta(days=36525))
        scheduler.start()
        waits: list[float | None] = []
        for _ in range(100):
            assert scheduler.virtual_wakeup is not None
            waits.append(scheduler.virtual_wakeup.armed_s)
            scheduler.clock.run_next()
        scheduler.shutdown()
        assert set(waits) == {MAX_WAIT_S}

    def test_an_empty_scheduler_waits_and_wakes_for_what_comes(self, virtual: Make) -> None:
        scheduler = virtual()
        scheduler.advance(10 * 365 * 86400)
        seen: list[float] = []
        added_s = scheduler.clock.monotonic_s()
        scheduler.add_job(lambda: seen.append(scheduler.clock.monotonic_s() - added_s), "interval", seconds=5)
        scheduler.advance(5)
        assert seen == [5]


class TestCadence:
    @pytest.mark.parametrize("cls", [VirtualScheduler, Faithful])
    def test_20_hz_for_a_minute_is_1200_fires_on_the_grid(self, cls: type[VirtualScheduler]) -> None:
        scheduler = cls(start=START)
        scheduler.start()
        start_us = scheduler.clock.wall_us()
        ran_us: list[int] = []
        log = EventLog(scheduler)
        scheduler.add_job(lambda: ran_us.append(scheduler.clock.wall_us() - start_us), "interval", seconds=0.05, id="x")
        scheduler.advance(60.02)
        scheduler.shutdown()
        assert len(ran_us) == 1200
        assert log.executed("x") == [T0 + timedelta(milliseconds=50 * k) for k in range(1, 1201)]
        late_us = [at_us - 50_000 * k for k, at_us in enumerate(ran_us, 1)]
        assert min(late_us) >= 0
        assert max(late_us) <= 5_000

    def test_a_clock_of_coarse_resolution_does_not_fire_twice(self) -> None:
        class Coarse(VirtualScheduler):
            pass

        scheduler = Coarse(start=START)
        clock: Any = scheduler.clock
        exact_us = clock.wall_us
        clock.wall_us = lambda: exact_us() // 15_625 * 15_625
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "cron", second="*", id="x")
        scheduler.start()
        scheduler.advance(60.02)
        scheduler.shutdown()
        assert log.executed("x") == [T0 + timedelta(seconds=k) for k in range(61)]

    def test_a_thousand_runs_with_jitter_stay_on_their_grid(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=60, jitter=10, id="x")
        scheduler.advance(60 * 1000 + 10)
        assert log.executed("x") == [T0 + timedelta(seconds=60 * k) for k in range(1, 1001)]
        at_s = log.submitted_s("x", from_datetime(T0))
        delays = [at - 60 * k for k, at in enumerate(at_s, 1)]
        assert min(delays) >= 0
        assert max(delays) <= 10.002
        assert 4.5 < sum(delays) / 1000 < 5.5

    def test_jitter_longer_than_the_period_loses_no_run(self, virtual: Make) -> None:
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "cron", second="*/10", jitter=15, id="x", next_run_time=T0)
        scheduler.advance(99)
        scheduler.advance(11)
        assert len(log.executed("x")) >= 10
        assert log.skips() == []

    def test_slow_listeners_and_stores_delay_nothing_but_themselves(self, virtual: Make) -> None:
        """A listener that keeps the loop busy for 54 s: what fell due meanwhile is late and not lost."""
        scheduler = virtual()
        log = EventLog(scheduler)
        scheduler.add_listener(
            lambda event: scheduler.clock.advance(54) if event.job_id == "a" else None, EVENT_JOB_SUBMITTED
        )
        scheduler.add_job(nothing, "date", run_date=T0 + timedelta(seconds=10), id="a")
        scheduler.add_job(nothing, "date", run_date=T0 + timedelta(seconds=40), id="b")
        scheduler.advance(120)
        assert log.executed() == [T0 + timedelta(seconds=10), T0 + timedelta(seconds=40)]


@pytest.mark.parametrize("jobstores", [{}, {"default": {"type": "memory"}}])
@pytest.mark.parametrize("wait_s", [1, 29, 31, 40, 3600])
def test_what_is_added_to_an_idle_scheduler_runs_also_beyond_the_longest_wait(wait_s: int, jobstores: Any) -> None:
    scheduler = Capped(start=START, jobstores=jobstores)
    log = EventLog(scheduler)
    scheduler.start()
    scheduler.advance(100)
    at = T0 + timedelta(seconds=100 + wait_s)
    scheduler.add_job(nothing, "date", run_date=at, id="date")
    scheduler.add_job(nothing, "interval", seconds=wait_s, id="interval")
    scheduler.advance(wait_s + 1)
    assert sorted(event.job_id for event in log.of(EVENT_JOB_SUBMITTED))[:2] == ["date", "interval"]

"""A durable store that is opened again under another clock, or with other zone data, than those it was used with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schedcore.events import EVENT_JOB_EXECUTED
from schedcore.jobstores.base import JobStore
from schedcore.schedulers import _notes
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.triggers import _zone_data

pytest.importorskip("sqlalchemy", reason="needs the extra sqlalchemy")

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


def nothing() -> None:
    pass


class World:
    """One database file, and schedulers that use it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/jobs.sqlite"

    def open(self, at: datetime) -> tuple[VirtualScheduler, EventLog]:
        stores: dict[str, Any] = {"default": {"type": "sqlalchemy", "url": self.url}}
        scheduler = VirtualScheduler(start=at, jobstores=stores)
        return scheduler, EventLog(scheduler)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def times(log: EventLog, job_id: str) -> list[datetime]:
    return [event.scheduled_run_time for event in log.of(EVENT_JOB_EXECUTED) if event.job_id == job_id]


def used_for_ten_minutes(world: World) -> None:
    scheduler, log = world.open(T0)
    scheduler.add_job(nothing, "interval", seconds=10, id="interval")
    scheduler.add_job(nothing, "cron", second="*/10", id="cron", timezone="UTC")
    scheduler.start()
    scheduler.advance(600)
    assert len(times(log, "interval")) == 60
    scheduler.shutdown()


@pytest.mark.parametrize("back", [timedelta(hours=5), timedelta(days=365)])
def test_a_clock_that_was_corrected_while_it_was_down(world: World, back: timedelta) -> None:
    used_for_ten_minutes(world)
    scheduler, log = world.open(T0 - back)
    scheduler.start()
    scheduler.advance(60)
    for job_id in ("interval", "cron"):
        got = times(log, job_id)
        assert len(got) in (6, 7), job_id
        assert got == sorted(set(got))
        assert all(T0 - back - timedelta(seconds=10) <= at <= T0 - back + timedelta(seconds=60) for at in got)
    scheduler.shutdown()


@pytest.mark.parametrize("back", [timedelta(hours=5), timedelta(days=365)])
def test_a_clock_that_was_set_back_while_it_was_up(world: World, back: timedelta) -> None:
    scheduler, _ = world.open(T0)
    scheduler.add_job(nothing, "interval", seconds=10, id="interval")
    scheduler.start()
    scheduler.advance(60)
    scheduler.clock.step(-back.total_seconds())
    scheduler.advance(60)
    scheduler.shutdown()
    # Another process knows nothing of the timeline on which the interval went on.
    now = T0 + timedelta(seconds=120) - back
    scheduler, log = world.open(now)
    scheduler.start()
    scheduler.advance(60)
    got = times(log, "interval")
    assert len(got) in (6, 7)
    assert got == sorted(set(got))
    assert all(now - timedelta(seconds=10) <= at <= now + timedelta(seconds=60) for at in got)
    scheduler.shutdown()


def test_a_small_step_back_while_it_was_down_repeats_nothing(world: World) -> None:
    used_for_ten_minutes(world)
    scheduler, log = world.open(T0 + timedelta(minutes=8))
    scheduler.start()
    scheduler.advance(240)
    for job_id in ("interval", "cron"):
        assert times(log, job_id) == [T0 + timedelta(seconds=600 + 10 * k) for k in range(1, 13)], job_id
    scheduler.shutdown()


def test_without_a_step_nothing_is_looked_at_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    used_for_ten_minutes(world)

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("it looked at every job")

    monkeypatch.setattr(_notes, "rearrange", never)
    scheduler, log = world.open(T0 + timedelta(minutes=10))
    scheduler.start()
    scheduler.advance(10)
    assert times(log, "interval") == [T0 + timedelta(seconds=610)]
    scheduler.shutdown()


def store_an_hour_later(scheduler: VirtualScheduler) -> None:
    """The job ``cron`` as it would stand in the store if the old zone data had Berlin an hour off."""
    store: JobStore = scheduler._pumps["default"].store
    entry = store.get_entry("cron")
    assert entry is not None
    assert entry.fire_us is not None
    wrong_us = entry.fire_us + 3_600_000_000
    assert store.replace_entry(entry, entry._replace(fire_us=wrong_us, due_us=wrong_us))


def test_other_zone_data_move_what_is_not_yet_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_notes, "release", lambda: "2026a")
    scheduler, log = world.open(T0)
    scheduler.add_job(nothing, "cron", hour=18, id="cron", timezone="Europe/Berlin")
    scheduler.add_job(nothing, "date", run_date=T0 + timedelta(hours=5), id="date")
    scheduler.start()
    scheduler.advance(1)
    store_an_hour_later(scheduler)
    scheduler.shutdown()

    scheduler, _ = world.open(T0 + timedelta(minutes=1))
    scheduler.start()
    scheduler.advance(1)
    job = scheduler.get_job("cron")
    assert job is not None
    assert job.next_run_time == T0 + timedelta(hours=6), "it looked again although nothing had changed"
    scheduler.shutdown()

    monkeypatch.setattr(_notes, "release", lambda: "2026b")
    scheduler, log = world.open(T0 + timedelta(minutes=2))
    scheduler.start()
    scheduler.advance(1)
    job = scheduler.get_job("cron")
    assert job is not None
    assert job.next_run_time == T0 + timedelta(hours=5)
    scheduler.advance(6 * 3600)
    assert times(log, "cron") == times(log, "date") == [T0 + timedelta(hours=5)]
    scheduler.shutdown()


def test_what_was_added_since_the_store_was_opened_needs_no_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[JobStore] = []
    monkeypatch.setattr(_notes, "rearrange", lambda store, *_, **more: looks.append(store))
    scheduler, log = world.open(T0)
    scheduler.start(paused=True)
    scheduler.add_job(nothing, "cron", hour=18, id="cron", timezone="Europe/Berlin")
    scheduler.resume()
    scheduler.advance(6 * 3600)
    assert len(times(log, "cron")) == 1
    scheduler.shutdown()
    assert looks == []


@pytest.mark.parametrize("noted", [False, True])
@pytest.mark.parametrize(("today", "hours"), [("2026a", 6), ("2026b", 5)])
def test_what_a_paused_scheduler_has_added_is_moved_too(
    world: World, monkeypatch: pytest.MonkeyPatch, today: str, hours: int, noted: bool
) -> None:
    monkeypatch.setattr(_zone_data, "_version_of", lambda key: "2026a")
    monkeypatch.setattr(_notes, "release", lambda: "2026a" if noted else None)
    scheduler, _ = world.open(T0)
    scheduler.start(paused=True)
    scheduler.add_job(nothing, "cron", hour=18, id="cron", timezone="Europe/Berlin")
    store_an_hour_later(scheduler)
    scheduler.shutdown()

    # If nothing was noted of the zone data in the store, the trigger has them with it.
    monkeypatch.setattr(_zone_data, "_version_of", lambda key: today)
    monkeypatch.setattr(_notes, "release", lambda: today)
    scheduler, _ = world.open(T0 + timedelta(minutes=1))
    scheduler.start()
    scheduler.advance(1)
    job = scheduler.get_job("cron")
    assert job is not None
    assert job.next_run_time == T0 + timedelta(hours=hours)
    scheduler.shutdown()


def test_what_the_user_has_put_off_stays_where_zone_data_have_nothing_to_say(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_notes, "release", lambda: "2026a")
    scheduler, _ = world.open(T0)
    scheduler.start()
    scheduler.add_job(nothing, "date", run_date="2026-01-01 14:00", timezone="Europe/Berlin", id="date")
    scheduler.add_job(nothing, "cron", hour=18, timezone="UTC", id="utc")
    put_off = T0 + timedelta(hours=8)
    for job_id in ("date", "utc"):
        scheduler.modify_job(job_id, next_run_time=put_off)
    scheduler.shutdown()

    monkeypatch.setattr(_notes, "release", lambda: "2026b")
    scheduler, log = world.open(T0 + timedelta(hours=3))
    scheduler.start()
    scheduler.advance(1)
    assert [job.next_run_time for job in scheduler.get_jobs()] == [put_off, put_off]
    assert log.of(EVENT_JOB_EXECUTED) == []
    scheduler.shutdown()

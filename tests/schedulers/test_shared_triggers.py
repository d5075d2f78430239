"""Jobs with the same schedule share what their options make, and nobody can tell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schedcore import plugins
from schedcore.errors import InvalidTriggerError, UnknownOptionError, UnknownPluginError
from schedcore.job import Job
from schedcore.testing import VirtualScheduler
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.interval import IntervalTrigger

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def nothing() -> None:
    pass


@pytest.fixture
def scheduler() -> Iterator[VirtualScheduler]:
    made = VirtualScheduler(start=T0, timezone="UTC")
    made.start()
    yield made
    made.shutdown()


def add(scheduler: VirtualScheduler, trigger: str, **options: Any) -> Job:
    return scheduler.add_job(nothing, trigger, **options)


def test_each_job_begins_when_it_was_added(scheduler: VirtualScheduler) -> None:
    first = add(scheduler, "interval", seconds=10)
    scheduler.advance(4)
    second = add(scheduler, "interval", seconds=10)
    assert first.next_run_time == T0 + timedelta(seconds=10)
    assert second.next_run_time == T0 + timedelta(seconds=14)
    assert add(scheduler, "date").trigger != add(scheduler, "cron", hour=3).trigger


def test_one_object_serves_a_calendar_rule(scheduler: VirtualScheduler) -> None:
    assert add(scheduler, "cron", hour=3).trigger is add(scheduler, "cron", hour=3).trigger
    assert add(scheduler, "cron", hour=3).trigger != add(scheduler, "cron", hour=3, timezone="Europe/Berlin").trigger
    assert add(scheduler, "cron", hour=3).trigger != add(scheduler, "cron", minute=3).trigger


def test_values_that_are_equal_and_not_the_same_are_told_apart(scheduler: VirtualScheduler) -> None:
    zone = ZoneInfo("Europe/Berlin")
    twice = datetime.fromisoformat("2026-10-25T02:30:00")
    jobs = [add(scheduler, "interval", hours=1, start_date=twice.replace(fold=fold), timezone=zone) for fold in (0, 1)]
    starts = [job.next_run_time.astimezone(UTC).hour for job in jobs if job.next_run_time is not None]
    assert starts == [0, 1]
    add(scheduler, "interval", seconds=10, jitter=1)
    with pytest.raises(InvalidTriggerError):
        add(scheduler, "interval", seconds=10, jitter="x")


def test_what_was_wrong_once_is_wrong_again(scheduler: VirtualScheduler) -> None:
    for _ in range(2):
        with pytest.raises(InvalidTriggerError, match="more than zero"):
            add(scheduler, "interval", seconds=0)
        with pytest.raises(UnknownOptionError, match="secnods"):
            add(scheduler, "interval", secnods=1)
        with pytest.raises(UnknownPluginError):
            add(scheduler, "intervall", seconds=1)


class Counted(BaseTrigger):
    """Somebody's trigger, which may keep what it likes."""

    made = 0

    def __init__(self, timezone: object, every: int) -> None:
        Counted.made += 1

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return T0 + timedelta(days=1) if previous_fire_time is None else None


def test_a_third_partys_trigger_is_made_for_each_job(
    scheduler: VirtualScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plugins._loaded[plugins.TRIGGERS], "counted", Counted)
    one, other = (add(scheduler, "counted", every=5).trigger for _ in range(2))
    assert one is not other
    assert Counted.made == 2
    scheduler.add_jobs([{"func": nothing, "trigger": "counted", "every": 5}] * 2)
    assert Counted.made == 4


def test_jobs_that_are_added_together_begin_together(scheduler: VirtualScheduler) -> None:
    words = {"trigger": "interval", "seconds": 10}
    first, second, slower, calendar = (
        job.trigger
        for job in scheduler.add_jobs(
            [{"func": nothing, **options} for options in (words, words, {**words, "seconds": 11}, {"trigger": "cron"})]
        )
    )
    assert first is second
    assert len({first, slower, calendar}) == 3
    scheduler.advance(4)
    (later,) = scheduler.add_jobs([{"func": nothing, **words}])
    assert later.next_run_time == T0 + timedelta(seconds=14)


def test_in_a_batch_equal_values_are_told_apart_too(scheduler: VirtualScheduler) -> None:
    twice = datetime.fromisoformat("2026-10-25T02:30:00")
    zone = ZoneInfo("Europe/Berlin")
    words = {"func": nothing, "trigger": "interval", "hours": 1, "timezone": zone}
    jobs = scheduler.add_jobs({**words, "start_date": twice.replace(fold=fold)} for fold in (0, 1))
    assert [job.next_run_time.astimezone(UTC).hour for job in jobs if job.next_run_time is not None] == [0, 1]
    with pytest.raises(InvalidTriggerError):
        scheduler.add_jobs({"func": nothing, "trigger": "interval", "seconds": 1, "jitter": it} for it in (1, "x"))


def test_an_interval_knows_its_first_fire_time_only_where_it_is_counted_from_now() -> None:
    trigger = IntervalTrigger(seconds=10, timezone="UTC").anchored(5_000_000)
    assert trigger.begin_us() == 15_000_000 == trigger.first_us(5_000_000)
    assert IntervalTrigger(seconds=10, start_date=T0).begin_us() is None
    assert IntervalTrigger(seconds=10, end_date=T0 + timedelta(days=1)).anchored(0).begin_us() is None
    assert IntervalTrigger(days=3_650_000, timezone="UTC").begin_us() is None


def test_what_is_bound_to_now_is_as_frozen_as_what_was_made() -> None:
    made = IntervalTrigger(seconds=10, jitter=2, timezone="Europe/Berlin")
    bound = made.anchored(5_000_000)
    assert type(bound) is IntervalTrigger
    assert bound.__getstate__() == {**made.__getstate__(), "start_us": 15_000_000}
    with pytest.raises(AttributeError, match="interval_us cannot be set"):
        bound.interval_us = 1
    with pytest.raises(AttributeError, match="interval_us cannot be deleted"):
        del bound.interval_us

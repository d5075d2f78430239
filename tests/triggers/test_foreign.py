"""A trigger says whether asking it runs code of a user's, however deep that is: event loops keep it at a distance then."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers import foreign as module
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger
from schedcore.triggers.calendars import BusinessDayTrigger, Moments, Predicate, Weekdays
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.foreign import as_grid
from schedcore.triggers.interval import IntervalTrigger


class Theirs(BaseTrigger):
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return (previous_fire_time or now) + timedelta(hours=1)

    def __repr__(self) -> str:
        return "theirs"


def _first_of_month(day: date) -> bool:
    return day.day == 1


CRON = CronTrigger(hour=7, timezone="UTC")
EVERY_HOUR = IntervalTrigger(hours=1, start_date="2026-01-01", timezone="UTC")
WEEKEND = Weekdays("sat", "sun")


@pytest.mark.parametrize(
    ("trigger", "foreign"),
    [
        (CRON, False),
        (EVERY_HOUR, False),
        (AndTrigger([CRON, EVERY_HOUR]), False),
        (CRON.excluding(WEEKEND), False),
        (CRON.excluding(~WEEKEND | WEEKEND), False),
        (BusinessDayTrigger(1, timezone="UTC"), False),
        (Theirs(), True),
        (OrTrigger([CRON, AndTrigger([EVERY_HOUR, Theirs()])]), True),
        (CRON.excluding(Predicate(_first_of_month)), True),
        (CRON.excluding(WEEKEND | ~Predicate(_first_of_month)), True),
        (CRON.excluding(Moments(lambda when: when.hour == 7)), True),
        (OrTrigger([CRON, EVERY_HOUR.excluding(Predicate(_first_of_month))]), True),
        (BusinessDayTrigger(1, Predicate(_first_of_month), timezone="UTC"), True),
    ],
    ids=str,
)
def test_what_runs_code_of_a_users(trigger: BaseTrigger, foreign: bool) -> None:
    grid: EngineTrigger = as_grid(trigger)
    assert grid.foreign is foreign


@pytest.mark.parametrize(
    ("trigger", "searches"),
    [
        (CRON, False),
        (EVERY_HOUR, False),
        (OrTrigger([CRON, EVERY_HOUR]), False),
        (AndTrigger([CRON, EVERY_HOUR]), True),
        (OrTrigger([CRON, AndTrigger([CRON, EVERY_HOUR])]), True),
        (CRON.excluding(WEEKEND), True),
        (BusinessDayTrigger(1, timezone="UTC"), True),
    ],
    ids=str,
)
def test_what_searches(trigger: BaseTrigger, searches: bool) -> None:
    assert as_grid(trigger).searches is searches


class Answers(BaseTrigger):
    def __init__(self, answer: datetime) -> None:
        self.answer = answer

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
    ],
    ids=str,
)
def test_a_time_that_no_zone_can_show_is_refused(answer: datetime) -> None:
    with pytest.raises(
        InvalidTriggerError, match=r"Answers\.get_next_fire_time returned .*None is for a schedule that"
    ):
        as_grid(Answers(answer)).first_us(0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> BaseTrigger:
    """A trigger each call of which takes 0.1 seconds."""
    time_s = 0.0

    class Slow(Theirs):
        def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
            nonlocal time_s
            time_s += 0.1
            assert time_s < 100
            return super().get_next_fire_time(previous_fire_time, now)

    monkeypatch.setattr(module, "monotonic", lambda: time_s)
    return Slow()


def test_a_backlog_of_one_whose_calls_take_long_is_cut_short(
    slow: BaseTrigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    after_us, last_us, upto_us, next_us = (from_datetime(start + timedelta(hours=hours)) for hours in (0, 3, 500, 501))
    assert as_grid(slow).backlog(after_us, upto_us) == Backlog(3, last_us, next_us + 1)
    monkeypatch.setattr(module, "WALK_S", 0.0)
    assert as_grid(slow).backlog(after_us, upto_us).times == 1


def test_so_is_what_is_searched_with_its_help(slow: BaseTrigger) -> None:
    after_us = from_datetime(datetime(2026, 1, 1, 0, 30, tzinfo=UTC))
    assert AndTrigger([slow, CRON], tolerance=3600).next_us(after_us) is not None
    with pytest.raises(InvalidTriggerError, match="did not meet"):
        AndTrigger([slow, CRON]).next_us(after_us)
    with pytest.raises(InvalidTriggerError, match="no fire time was found"):
        as_grid(slow).excluding(Predicate(lambda day: True)).next_us(after_us)

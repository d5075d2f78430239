"""Attributes by which programs for 3.x read triggers, to show them or to write them down."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest

from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.combining import AndTrigger, BaseCombiningTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def given(trigger: CronTrigger) -> dict[str, str]:
    """As wrappers write a schedule down, to make it again by keywords."""
    return {field.name: str(field) for field in trigger.fields if not field.is_default}


def test_the_fields_of_the_keyword_form() -> None:
    trigger = CronTrigger(month="jan-mar", day="1st mon, 15", timezone="UTC")
    assert [(field.name, str(field), field.is_default) for field in trigger.fields] == [
        ("year", "*", True),
        ("month", "jan-mar", False),
        ("day", "1st mon, 15", False),
        ("week", "*", True),
        ("day_of_week", "*", True),
        ("hour", "0", True),
        ("minute", "0", True),
        ("second", "0", True),
    ]
    assert tuple(field.name for field in trigger.fields) == CronTrigger.FIELD_NAMES
    assert trigger.fields[CronTrigger.FIELD_NAMES.index("day")].expressions == ["1st mon", "15"]
    assert CronTrigger(**given(trigger), timezone="UTC") == trigger  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "dialect", "fields"),
    [
        ("*/5 0 1-15 * *", "unix", {"minute": "*/5", "hour": "0", "day": "1-15", "month": "*", "day_of_week": "*"}),
        ("0 22 * * 0", "unix", {"minute": "0", "hour": "22", "day": "*", "month": "*", "day_of_week": "sun"}),
        (
            "0 22 * * 7,1-2",
            "unix",
            {"minute": "0", "hour": "22", "day": "*", "month": "*", "day_of_week": "mon,tue,sun"},
        ),
        ("0 22 * * mon-fri", "unix", {"minute": "0", "hour": "22", "day": "*", "month": "*", "day_of_week": "mon-fri"}),
        # Every other day of a week that begins on Sunday.
        (
            "0 0 * * */2",
            "unix",
            {"minute": "0", "hour": "0", "day": "*", "month": "*", "day_of_week": "tue,thu,sat,sun"},
        ),
        ("@weekly", "unix", {"minute": "0", "hour": "0", "day": "*", "month": "*", "day_of_week": "sun"}),
        (
            "30 0 0 ? * 2",
            "quartz",
            {"second": "30", "minute": "0", "hour": "0", "day": "*", "month": "*", "day_of_week": "mon"},
        ),
        ("0 22 * * 0", "apscheduler3", {"minute": "0", "hour": "22", "day": "*", "month": "*", "day_of_week": "0"}),
    ],
)
def test_the_fields_of_crontab_text_mean_the_same_as_keywords(text: str, dialect: str, fields: dict[str, str]) -> None:
    trigger = CronTrigger.from_crontab(text, "UTC", dialect=dialect)
    assert given(trigger) == fields
    assert len(trigger.fields) == 8
    assert CronTrigger(**fields, timezone="UTC").rule._replace(wildcard=False) == trigger.rule._replace(wildcard=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["0 0 * * 5#2", "0 0 * * 5L", "0 0 * * H(1-5)"])
def test_what_keywords_do_not_have_is_shown_as_it_was_written(text: str) -> None:
    assert given(CronTrigger.from_crontab(text, "UTC"))["day_of_week"] == text.split()[-1]


def test_the_length_of_an_interval() -> None:
    trigger = IntervalTrigger(hours=2, seconds=0.5, timezone="UTC")
    assert (trigger.interval_length, trigger.interval) == (7200.5, timedelta(seconds=7200.5))


def test_the_parts_of_a_calendar_interval() -> None:
    trigger = CalendarIntervalTrigger(years=1, months=2, weeks=3, days=4, start_date="2026-01-01", timezone="UTC")
    assert (trigger.years, trigger.months, trigger.weeks, trigger.days) == (1, 2, 3, 4)


@pytest.mark.parametrize(("jitter", "shown"), [(120, "120"), (0.5, "0.5"), (1.0, "1"), (0, "None")])
def test_whole_seconds_of_jitter_are_an_int(jitter: float, shown: str) -> None:
    assert repr(IntervalTrigger(hours=1, timezone="UTC", jitter=jitter).jitter) == shown


class Last(BaseCombiningTrigger):
    """Fires when the latest of its triggers does."""

    __slots__ = ()

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        times = [trigger.get_next_fire_time(previous_fire_time, now) for trigger in self.triggers]
        known = [at for at in times if at is not None]
        return self._apply_jitter(max(known), self.jitter, now) if len(known) == len(times) else None


class Theirs(BaseTrigger):
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return now + timedelta(hours=3)


def test_a_combination_of_a_third_party() -> None:
    first, second = DateTrigger(T0 + timedelta(hours=1)), DateTrigger(T0 + timedelta(hours=2))
    trigger = Last([first, second])
    assert (trigger.triggers, trigger.jitter) == ([first, second], None)
    assert trigger.get_next_fire_time(None, T0) == T0 + timedelta(hours=2)
    assert repr(trigger) == f"Last([{first!r}, {second!r}])"
    late = Last([*trigger.triggers, Theirs()], jitter=60)
    again: Last = pickle.loads(pickle.dumps(late))
    assert (again.triggers[:2], type(again.triggers[2]), again.jitter) == ([first, second], Theirs, 60)
    assert repr(again).endswith(", jitter=60)")


def test_ours_are_taken_for_combinations() -> None:
    hourly = IntervalTrigger(hours=1, timezone="UTC")
    assert all(isinstance(kind([hourly]), BaseCombiningTrigger) for kind in (AndTrigger, OrTrigger))
    assert not issubclass(IntervalTrigger, BaseCombiningTrigger)


def test_jitter_that_a_third_partys_trigger_adds_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    trigger, at = Theirs(), T0 + timedelta(seconds=1)
    assert trigger._apply_jitter(None, 5, T0) is None
    assert (trigger._apply_jitter(at, None, T0), trigger._apply_jitter(at, 0, T0)) == (at, at)
    # A bound for each end: which delay there is between them is left to chance.
    monkeypatch.setattr("random.uniform", lambda low, high: low)
    assert trigger._apply_jitter(at, 50, T0) == at
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    assert trigger._apply_jitter(at, 50, T0) == at + timedelta(seconds=50)

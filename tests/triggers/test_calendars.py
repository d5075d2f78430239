"""Calendars: what is closed, what is left out or moved, and business days."""

from __future__ import annotations

import builtins
import calendar as months
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import thread_time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedcore import plugins
from schedcore.clock import from_datetime, to_datetime
from schedcore.engine import Claim, decide
from schedcore.errors import InvalidTriggerError, MissingExtraError
from schedcore.events import EVENT_JOB_SKIPPED
from schedcore.job import NO_KWARGS, JobPolicy, JobRecord
from schedcore.run import Skip, SkipReason
from schedcore.testing import VirtualScheduler
from schedcore.triggers import calendars
from schedcore.triggers._effort import EFFORT, MOST_STEPS
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger, Excluded
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import (
    AllOf,
    AnyOf,
    BusinessDayTrigger,
    Calendar,
    Dates,
    Excluding,
    Holidays,
    Moments,
    Not,
    Predicate,
    Span,
    Times,
    Weekdays,
    _excluding,
    _holidays,
)
from schedcore.triggers.combining import OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger
from schedcore.triggers.rrule import RRuleTrigger

library: Any = pytest.importorskip(
    "holidays", reason="the library of holidays is not installed; the extra 'holidays' brings it"
)

calm = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
BERLIN = "Europe/Berlin"
WEEKEND = Weekdays("sat", "sun")


def is_first_of_month(day: date) -> bool:
    return day.day == 1


def is_odd_minute(moment: datetime) -> bool:
    return moment.minute % 2 == 1


def us(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text))


def walk(trigger: EngineTrigger, after: str, number: int, zone: str = "UTC") -> list[str]:
    answers: list[str] = []
    at_us: int | None = us(after) - 1
    while at_us is not None and len(answers) < number:
        at_us = trigger.next_us(at_us)
        answers.append(
            "never" if at_us is None else to_datetime(at_us).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M")
        )
    return answers


class Old(BaseTrigger):
    """A third party's trigger, with the one method of 3.x: every full hour."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        at = from_datetime(now) - 1 if previous_fire_time is None else from_datetime(previous_fire_time)
        return to_datetime((at // 3_600_000_000 + 1) * 3_600_000_000)


# -- calendars ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "yes", "no"),
    [
        (Dates("2026-12-24", date(2026, 12, 31)), ["2026-12-24", "2026-12-31T23:59"], ["2026-12-25", "2027-12-24"]),
        (
            Dates(("2026-08-01", "2026-08-03")),
            ["2026-08-01", "2026-08-02", "2026-08-03T23:59:59"],
            ["2026-07-31", "2026-08-04"],
        ),
        (Weekdays("sat", "Sunday"), ["2026-11-21", "2026-11-22"], ["2026-11-20", "2026-11-23"]),
        (Weekdays(0), ["2026-11-23"], ["2026-11-22", "2026-11-24"]),
        (
            Times("22:00", "06:00"),
            ["2026-11-21T22:00", "2026-11-21T05:59:59"],
            ["2026-11-21T06:00", "2026-11-21T21:59:59"],
        ),
        (
            Times(time(12), time(13, 30)),
            ["2026-11-21T12:00", "2026-11-21T13:29:59"],
            ["2026-11-21T13:30", "2026-11-21T11:59"],
        ),
        (Times("22:00", "24:00"), ["2026-11-21T23:59:59"], ["2026-11-21T00:00"]),
        (Predicate(is_first_of_month), ["2026-11-01T12:00"], ["2026-11-02"]),
        (Moments(is_odd_minute), ["2026-11-01T12:01:59"], ["2026-11-01T12:02"]),
        (WEEKEND | Dates("2026-11-23"), ["2026-11-21", "2026-11-23"], ["2026-11-24"]),
        (WEEKEND & Times("00:00", "12:00"), ["2026-11-21T11:59"], ["2026-11-21T12:00", "2026-11-23T11:00"]),
        (~WEEKEND, ["2026-11-23"], ["2026-11-22"]),
        (~(WEEKEND | Times("20:00", "08:00")), ["2026-11-23T12:00"], ["2026-11-22T12:00", "2026-11-23T07:59"]),
        (Holidays("DE", "BY"), ["2026-01-06", "2026-12-25"], ["2026-01-07", "2026-12-24"]),
        (Holidays("DE"), ["2026-12-25"], ["2026-01-06"]),
    ],
    ids=str,
)
def test_what_is_closed(closed: Calendar, yes: list[str], no: list[str]) -> None:
    for text in yes:
        assert closed.is_closed(datetime.fromisoformat(text)), text
    for text in no:
        assert not closed.is_closed(datetime.fromisoformat(text)), text
    assert closed.is_closed(datetime.fromisoformat(yes[0]).date()) or "T" in yes[0]


CALENDARS: list[Calendar] = [
    Dates("2026-12-24", ("2026-12-27", "2026-12-31")),
    WEEKEND,
    Times("22:00", "06:00:30"),
    Holidays("DE", "BY"),
    Predicate(is_first_of_month),
    Moments(is_odd_minute),
    WEEKEND | Holidays("US") | Dates("2026-12-24"),
    (WEEKEND | Dates("2026-12-24")) & Times("00:00", "12:00"),
    ~(WEEKEND | Times("20:00", "08:00")),
]


@pytest.mark.parametrize("closed", CALENDARS, ids=str)
def test_calendars_round_trip(closed: Calendar) -> None:
    packed = calendars.pack_calendar(closed)
    restored = calendars.unpack_calendar(packed if isinstance(closed, Predicate) else json.loads(json.dumps(packed)))
    for copy in (pickle.loads(pickle.dumps(closed)), restored):
        assert copy == closed
        assert hash(copy) == hash(closed)
        assert (str(copy), repr(copy)) == (str(closed), repr(closed))
    if not isinstance(closed, Predicate):
        assert eval(repr(closed)) == closed
    assert all(closed != other for other in CALENDARS if other is not closed)
    assert closed != str(closed)
    with pytest.raises(AttributeError, match="calendars are values"):
        closed.kind = "x"  # type: ignore[misc]
    assert not hasattr(closed, "__dict__")


def test_calendars_flatten_and_cancel() -> None:
    one, two, three = WEEKEND, Dates("2026-12-24"), Times("22:00", "06:00")
    assert one | two | three == AnyOf(one, two, three)
    assert one & (two & three) == AllOf(one, two, three)
    assert ~~one is one
    assert isinstance(~one, Not)
    assert (one | two).by_day
    assert not (one | three).by_day
    assert Moments(is_odd_minute) != Moments(is_first_of_month)
    with pytest.raises(TypeError):
        one | 5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dates(), "give at least one date"),
        (lambda: Dates("24.12.2026"), "'24.12.2026' is not a date"),
        (lambda: Dates(datetime(2026, 1, 1, tzinfo=UTC)), "is of type datetime; give dates"),
        (lambda: Dates(("2026-02-01", "2026-01-01")), "2026-01-01 is before 2026-02-01"),
        (lambda: Dates(("2026-01-05",)), "dates: ('2026-01-05',) is no pair; give the first and the last of some days"),  # type: ignore[arg-type]
        (lambda: Dates(["2026-01-05"]), "is of type list; give dates, or pairs (first, last) of them"),  # type: ignore[arg-type]
        (lambda: Weekdays("sut"), "'sut' is no day of the week; give each by itself, as 'sat', 'sun'"),
        (lambda: Weekdays("sat-sun"), "'sat-sun' is no day of the week; give each by itself, as 'sat', 'sun'"),
        (lambda: Weekdays(7), "7 is no day of the week; give each by itself, as 'sat', 'sun', or from 0 (Monday) to 6"),
        (lambda: Weekdays(), "give at least one day, and leave one open"),
        (lambda: Weekdays(0, 1, 2, 3, 4, 5, 6), "leave one open"),
        (lambda: Times("22", "25:00"), "'25:00' is not a time of day"),
        (lambda: Times("22:00", "22:00"), "is nothing, or all day"),
        (lambda: Times(time(1, 2, 3, 4), "22:00"), "in whole seconds"),
        (lambda: Holidays("XX"), "no holidays are known of 'XX'"),
        (lambda: Holidays("DE", "BYX"), "did you mean 'BY'"),
        (lambda: Predicate(5), "5 cannot be called"),  # type: ignore[arg-type]
        (lambda: AnyOf(), "give at least one calendar"),
        (lambda: AnyOf("x"), "'x' is no calendar"),  # type: ignore[arg-type]
        (lambda: Not("x"), "'x' is no calendar"),  # type: ignore[arg-type]
        (lambda: CronTrigger(hour=1).excluding("x"), "'x' is no calendar; give one such as Weekdays('sat', 'sun')"),  # type: ignore[arg-type]
        (lambda: CronTrigger(hour=1).excluding(WEEKEND, "nxt"), "did you mean 'next'"),  # type: ignore[arg-type]
        (lambda: CronTrigger(hour=1).excluding(Times("1:00", "02:00"), "next"), "'1:00' is not a time of day"),
        (lambda: CronTrigger(hour=1).excluding(Times("01:00", "02:00"), "next"), "does not close whole days"),
        (lambda: Excluding(5, WEEKEND), "5 is no trigger"),  # type: ignore[arg-type]
        (lambda: BusinessDayTrigger(0), "0 is no business day"),
        (lambda: BusinessDayTrigger(32), "32 is not a whole number from -31 to 31"),
        (lambda: BusinessDayTrigger(1, Times("01:00", "02:00")), "does not close whole days"),
        (lambda: BusinessDayTrigger(1, "sat"), "calendar: 'sat' is no calendar; give one such as"),  # type: ignore[arg-type]
        (lambda: BusinessDayTrigger(1, months=5), "months: 5 is no list of months; give"),  # type: ignore[arg-type]
        (lambda: BusinessDayTrigger(1, months="5"), "months: '5' is no list of months; give"),  # type: ignore[arg-type]
        (lambda: BusinessDayTrigger(1, months=[1, "a"]), "months: 'a' is not a whole number"),  # type: ignore[list-item]
        (lambda: BusinessDayTrigger(1, months=[13]), "13 is not a whole number from 1 to 12"),
        (lambda: BusinessDayTrigger(1, months=[]), "0 is not a whole number from 1 to 12"),
        (lambda: BusinessDayTrigger(1, hour=24), "hour: 24"),
    ],
)
def test_wrong_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        make()
    assert message in str(caught.value)


def test_without_the_library_of_holidays_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "holidays":
            raise ModuleNotFoundError("No module named 'holidays'", name="holidays")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    _holidays._holidays.cache_clear()
    with pytest.raises(MissingExtraError, match=r"schedcore\[holidays\]"):
        Holidays("DE")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"version": 2, "kind": "weekdays", "days": [5]}, "version 2; this release reads 1"),
        ({"version": 1, "kind": "moon"}, "is not the record of a calendar"),
        ({"version": 1, "kind": "weekdays"}, "the state of a calendar \\(weekdays\\) is wrong: KeyError"),
        ("weekend", "is not the record of a calendar"),
    ],
    ids=str,
)
def test_wrong_states_of_calendars(state: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calendars.unpack_calendar(state)


def test_a_calendar_of_ones_own() -> None:
    class FullMoon(Calendar):
        __slots__ = ()

        @property
        def by_day(self) -> bool:
            return True

        def span(self, local_s: int) -> Span:
            day = local_s // 86400
            return Span(day % 29 == 0, day * 86400, (day + 1) * 86400)

        def _data(self) -> dict[str, Any]:
            return {}

        def _restore(self, data: Any) -> None:
            pass

        def describe(self) -> str:
            return "full moon"

    trigger = CronTrigger(hour=9, timezone="UTC").excluding(FullMoon())
    assert walk(trigger, "1970-01-01T00:00Z", 2) == ["01-02 09:00", "01-03 09:00"]
    assert trigger.__getstate__()["calendar"] == FullMoon()


# -- leaving out -------------------------------------------------------------------------------------------------------


ROWS: dict[str, tuple[Callable[[], EngineTrigger], str, str, list[str]]] = {
    "not-at-the-weekend": (
        lambda: CronTrigger(hour=9, timezone=BERLIN).excluding(WEEKEND),
        BERLIN,
        "2026-11-20T00:00Z",
        ["11-20 09:00", "11-23 09:00", "11-24 09:00"],
    ),
    "next-business-day": (
        lambda: CronTrigger(day=1, hour=9, timezone=BERLIN).excluding(WEEKEND | Holidays("DE"), roll="next"),
        BERLIN,
        "2026-01-01T00:00Z",
        ["01-02 09:00", "02-02 09:00", "03-02 09:00", "04-01 09:00", "05-04 09:00"],
    ),
    "previous-business-day": (
        lambda: CronTrigger(day="last", hour=9, timezone=BERLIN).excluding(WEEKEND, roll="previous"),
        BERLIN,
        "2026-01-01T00:00Z",
        ["01-30 09:00", "02-27 09:00", "03-31 09:00"],
    ),
    "several-fall-together": (
        lambda: CronTrigger(hour="9,17", timezone="UTC").excluding(WEEKEND, roll="next"),
        "UTC",
        "2026-11-20T17:00Z",
        ["11-20 17:00", "11-23 09:00", "11-23 17:00", "11-24 09:00"],
    ),
    "moved-among-others": (
        lambda: OrTrigger(
            [
                CronTrigger(day_of_week="sat", hour=10, timezone="UTC"),
                CronTrigger(day_of_week="mon", hour=9, timezone="UTC"),
            ]
        ).excluding(WEEKEND, roll="next"),
        "UTC",
        "2026-11-20T17:00Z",
        ["11-23 09:00", "11-23 10:00", "11-30 09:00"],
    ),
    "moved-onto-the-end-of-a-gap": (
        lambda: CronTrigger(day_of_week="sat", hour=2, minute=30, timezone=BERLIN).excluding(
            Weekdays("sat"), roll="next"
        ),
        BERLIN,
        "2024-03-30T00:00Z",
        ["03-31 03:00", "04-07 02:30"],
    ),
    "every-2-minutes-within-a-window": (
        lambda: IntervalTrigger(minutes=2, start_date="2026-11-20", timezone=BERLIN).excluding(
            ~Times("07:00", "22:00")
        ),
        BERLIN,
        "2026-11-20T20:56Z",
        ["11-20 21:56", "11-20 21:58", "11-21 07:00", "11-21 07:02"],
    ),
    "a-window-that-the-clocks-show-twice": (
        lambda: IntervalTrigger(minutes=30, start_date="2024-10-27", timezone=BERLIN).excluding(
            Times("02:15", "02:45")
        ),
        BERLIN,
        "2024-10-27T00:00Z",
        ["10-27 02:00", "10-27 02:00", "10-27 03:00"],
    ),
    "a-window-whose-start-the-clocks-jump-over": (
        lambda: IntervalTrigger(minutes=30, start_date="2024-03-31", timezone=BERLIN).excluding(
            Times("02:15", "03:15")
        ),
        BERLIN,
        "2024-03-31T00:30Z",
        ["03-31 01:30", "03-31 03:30", "03-31 04:00"],
    ),
    "moments": (
        lambda: IntervalTrigger(minutes=1, start_date="2026-11-20", timezone="UTC").excluding(Moments(is_odd_minute)),
        "UTC",
        "2026-11-20T00:01Z",
        ["11-20 00:02", "11-20 00:04"],
    ),
    "a-third-partys": (
        lambda: Old().excluding(~Times("12:00", "14:00")),
        "UTC",
        "2026-11-20T00:01Z",
        ["11-20 12:00", "11-20 13:00", "11-21 12:00"],
    ),
    "a-date-that-is-excluded": (
        lambda: DateTrigger("2026-11-21T12:00Z").excluding(WEEKEND),
        "UTC",
        "2026-11-20T00:01Z",
        ["never"],
    ),
    "nested": (
        lambda: CronTrigger(hour=9, timezone="UTC").excluding(WEEKEND).excluding(Dates("2026-11-23")),
        "UTC",
        "2026-11-20T10:00Z",
        ["11-24 09:00"],
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_table(row: str) -> None:
    make, zone, after, answers = ROWS[row]
    assert walk(make(), after, len(answers), zone) == answers


def test_the_calendar_may_speak_of_another_zone() -> None:
    trigger = Excluding(
        IntervalTrigger(hours=1, start_date="2026-11-20", timezone="UTC"), WEEKEND, timezone="Asia/Tokyo"
    )
    assert walk(trigger, "2026-11-20T14:00Z", 2) == ["11-20 14:00", "11-22 15:00"]
    assert trigger.timezone == ZoneInfo("Asia/Tokyo")
    assert trigger.elapsed


def test_a_schedule_that_is_closed_for_ever_says_so() -> None:
    never = CronTrigger(month=12, day=25, timezone=BERLIN).excluding(Holidays("DE"))
    with pytest.raises(InvalidTriggerError, match="all fire times from 2026-12-24 to 2101-12-24 are excluded"):
        never.next_us(us("2026-11-20T00:00Z"))
    every_second = IntervalTrigger(seconds=1, start_date="2026-01-01", timezone="UTC")
    for calendar in (AnyOf(WEEKEND, ~WEEKEND), Times("06:00", "05:00") | Times("05:00", "06:00")):
        assert every_second.excluding(calendar).next_us(0) is None  # known from the calendar alone
    with pytest.raises(InvalidTriggerError, match="no business day is within 366 days"):
        CronTrigger(hour=1, timezone="UTC").excluding(AnyOf(WEEKEND, ~WEEKEND), roll="next").next_us(0)
    with pytest.raises(InvalidTriggerError, match="are excluded"):
        VirtualScheduler().add_job(print, never)


def test_a_year_of_excluded_minutes_is_one_short_question() -> None:
    trigger = IntervalTrigger(minutes=1, start_date="2024-01-01", timezone=BERLIN).excluding(
        WEEKEND | Times("18:00", "08:00") | Holidays("DE")
    )
    start_us, end_us = us("2023-12-31T23:00Z"), us("2024-12-31T23:00Z")
    trigger.backlog(start_us - 1, end_us - 1)
    started_s = thread_time()
    backlog = trigger.backlog(start_us - 1, end_us - 1)
    excluded = trigger.excluded(start_us - 1, end_us)
    assert thread_time() - started_s < 1
    assert excluded is not None
    assert backlog.times + excluded.times == 366 * 1440
    assert backlog.times == 253 * 600  # of 262 weekdays, nine are holidays
    assert backlog.last_us == us("2024-12-31T17:59+01:00")
    assert backlog.next_us == us("2025-01-02T08:00+01:00")
    assert (excluded.first_us, excluded.last_us) == (start_us, end_us - 60_000_000)


def test_what_a_rule_has_excluded_is_counted_though_it_has_to_be_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_excluding, "_MOST_COUNTED", 4000)
    minutely = RRuleTrigger("FREQ=MINUTELY", dtstart="2026-01-01T00:00:00", timezone="UTC")
    trigger = minutely.excluding(WEEKEND)
    friday, monday = us("2026-01-02T23:59Z"), us("2026-01-05T00:00Z")
    assert trigger.excluded(friday, monday) == Excluded(2880, friday + 60_000_000, monday - 60_000_000)
    # Of a longer stretch the first part.
    start, end = us("2026-02-01T00:00Z"), us("2027-02-01T00:00Z")
    found = minutely.excluding(Dates(("2026-02-01", "2027-01-31"))).excluded(start - 1, end)
    assert found == Excluded(4_000, start, start + 3_999 * 60_000_000)


def test_what_is_longer_than_that_is_a_lower_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_excluding, "MAX_SPANS", 100)
    trigger = IntervalTrigger(minutes=1, start_date="2024-01-01", timezone="UTC").excluding(Times("18:00", "08:00"))
    start_us, end_us = us("2024-01-01T00:00Z"), us("2025-01-01T00:00Z")
    backlog = trigger.backlog(start_us - 1, end_us)
    assert 50 * 600 - 600 <= backlog.times <= 366 * 600
    assert (backlog.last_us, backlog.next_us) == (us("2024-12-31T17:59Z"), us("2025-01-01T08:00Z"))
    rolled = CronTrigger(hour="*", minute="*", timezone="UTC").excluding(WEEKEND, roll="next")
    short = rolled.backlog(start_us - 1, end_us)
    assert short.times == 1000
    assert short.last_us is not None
    assert short.next_us == short.last_us + 60_000_000
    with pytest.raises(LookupError):
        rolled.last_us(end_us)


TRIGGERS: list[Any] = [
    CronTrigger(hour=9, timezone=BERLIN).excluding(WEEKEND | Holidays("DE", "BY")),
    CronTrigger(day=1, timezone=BERLIN, jitter=3).excluding(WEEKEND, roll="next"),
    Excluding(
        IntervalTrigger(minutes=2, start_date="2026-01-01", timezone="UTC"), Times("22:00", "06:00"), timezone=BERLIN
    ),
    BusinessDayTrigger(4, WEEKEND | Dates("2026-12-24"), hour=9, timezone=BERLIN),
    BusinessDayTrigger(
        -1, months=[3, 6, 9, 12], start_date="2026-01-01", end_date="2027-01-01", timezone="UTC", jitter=2.5
    ),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_triggers_round_trip(trigger: Excluding | BusinessDayTrigger) -> None:
    restored = type(trigger).__new__(type(trigger))
    restored.__setstate__(json.loads(json.dumps(trigger.__getstate__())))
    for copy in (eval(repr(trigger)), pickle.loads(pickle.dumps(trigger)), restored):
        assert copy == trigger
        assert hash(copy) == hash(trigger)
        assert (str(copy), repr(copy)) == (str(trigger), repr(trigger))
        assert (copy.jitter_us, copy.timezone, copy.end_us) == (trigger.jitter_us, trigger.timezone, trigger.end_us)
    assert restored.__getstate__() == trigger.__getstate__()
    assert restored.same_rule(trigger)
    assert trigger != str(trigger)
    with pytest.raises(AttributeError, match="triggers are values"):
        trigger.calendar = WEEKEND
    assert plugins.alias_of(plugins.TRIGGERS, type(trigger)) in ("excluding", "businessday")
    state = trigger.__getstate__()
    with pytest.raises(ValueError, match="version 1; this release reads 3"):
        restored.__setstate__(state | {"version": 1})
    del state["calendar"]
    with pytest.raises(ValueError, match="lacks 'calendar'"):
        restored.__setstate__(state)


@pytest.mark.parametrize("trigger", [TRIGGERS[0], TRIGGERS[3]], ids=str)
def test_a_state_of_other_zone_data_says_so(trigger: Excluding | BusinessDayTrigger) -> None:
    restored = type(trigger).__new__(type(trigger))
    restored.__setstate__(trigger.__getstate__())
    assert not restored.zone_data_changed
    restored.__setstate__(trigger.__getstate__() | {"zone_data": "1999z"})
    assert restored.zone_data_changed


def test_why_it_does_not_fire() -> None:
    trigger = CronTrigger(hour=9, timezone="UTC").excluding(WEEKEND)
    assert trigger.why_not(us("2026-11-21T09:00Z")) == [
        "2026-11-21 09:00:00 is closed and is left out: Saturday, Sunday"
    ]
    assert trigger.why_not(us("2026-11-21T10:00Z")) == []
    assert trigger.why_not(us("2026-11-20T09:00Z")) == []
    moved = CronTrigger(hour=9, timezone="UTC").excluding(WEEKEND, "next")
    assert "is moved to the next open day" in moved.why_not(us("2026-11-21T09:00Z"))[0]


def test_words() -> None:
    assert TRIGGERS[0].describe() == "at 09:00, except Saturday, Sunday or holidays in DE (BY)"
    assert TRIGGERS[1].describe() == (
        "at 00:00 on day 1 of the month, on the next business day where that is closed: Saturday, Sunday"
    )
    assert TRIGGERS[3].describe() == (
        "at 09:00 on the 4th business day of the month (closed: Saturday, Sunday or 2026-12-24)"
    )
    assert TRIGGERS[4].describe() == (
        "at 00:00 on the last business day of the month in month 3, 6, 9, 12 (closed: Saturday, Sunday) "
        "from 2026-01-01 00:00:00 until 2027-01-01 00:00:00"
    )


def test_binding_goes_through() -> None:
    floating = IntervalTrigger(minutes=5, timezone="UTC").excluding(WEEKEND)
    bound = floating.anchored(us("2026-11-23T00:00:30Z"))
    assert walk(bound, "2026-11-23T00:00Z", 1) == ["11-23 00:05"]
    assert bound.same_rule(floating)
    assert bound != floating
    assert not bound.same_rule(IntervalTrigger(minutes=5, timezone="UTC").excluding(Weekdays("sun")))
    fixed = TRIGGERS[0]
    assert fixed.anchored(5) is fixed
    assert fixed.seeded("job") is fixed
    assert fixed.trigger == CronTrigger(hour=9, timezone=BERLIN)


# -- business days -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 4, 15, 22, 23, -1, -3])
@pytest.mark.parametrize("free", [WEEKEND, WEEKEND | Holidays("DE", "BY"), WEEKEND | Holidays("US")], ids=str)
def test_the_nth_business_day_over_ten_years(nth: int, free: Calendar) -> None:
    """Against the list of all days, month by month."""
    expected = []
    for year in range(2020, 2030):
        for month in range(1, 13):
            days = [date(year, month, day) for day in range(1, months.monthrange(year, month)[1] + 1)]
            listed = [day for day in days if not free.is_closed(day)]
            if abs(nth) <= len(listed):
                day = listed[nth - 1] if nth > 0 else listed[nth]
                expected.append(from_datetime(datetime(day.year, day.month, day.day, 9, tzinfo=ZoneInfo(BERLIN))))
    trigger = BusinessDayTrigger(nth, free, hour=9, timezone=BERLIN)
    found = []
    at_us = trigger.next_us(us("2020-01-01T00:00+01:00") - 1)
    while at_us is not None and at_us < us("2030-01-01T00:00+01:00"):
        found.append(at_us)
        assert trigger.last_us(at_us) == at_us
        at_us = trigger.next_us(at_us)
    assert found == expected
    assert trigger.backlog(us("2020-01-01T00:00+01:00") - 1, us("2030-01-01T00:00+01:00")) == Backlog(
        len(expected), expected[-1], at_us
    )
    assert trigger.last_us(expected[5] - 1) == expected[4]


@pytest.mark.parametrize("nth", [1, 2, 3, -1, -2, -3])
@pytest.mark.parametrize("named", [None, (1, 2, 11)])
def test_the_nth_holiday_of_a_month(nth: int, named: tuple[int, ...] | None) -> None:
    """Most months have fewer, and some years none."""
    known = library.country_holidays("US")
    trigger = BusinessDayTrigger(nth, ~Holidays("US"), months=named, hour=9, timezone="UTC")
    expected = []
    for year in range(2020, 2060):
        for month in named or range(1, 13):
            length = months.monthrange(year, month)[1]
            days = [date(year, month, day) for day in range(1, length + 1) if date(year, month, day) in known]
            if len(days) >= abs(nth):
                expected.append(us(f"{days[nth - (nth > 0)]}T09:00Z"))
    assert len(expected) >= 5
    found: list[int] = []
    at_us = us("2020-01-01T00:00Z")
    while len(found) < len(expected):
        next_us = trigger.next_us(at_us)
        assert next_us is not None
        if found:
            assert trigger.last_us(next_us - 1) == found[-1]
        found.append(next_us)
        at_us = next_us
    assert found == expected


@pytest.mark.parametrize("at", ["2026-01-01T00:00Z", "2099-12-30T00:00Z", "2150-01-01T00:00Z", "9000-01-01T00:00Z"])
def test_a_search_ends_with_what_is_known_of_holidays(at: str) -> None:
    """Steps are counted, and not time. It is no "never": another release of the library may know more."""
    daily = CronTrigger.from_crontab("*/5 * 29 2 *", timezone=BERLIN)
    for closed in (~Holidays("DE"), ~(Holidays("DE") & Weekdays("mon")), ~Holidays("DE") | Times("10:00", "09:00")):
        for trigger in (daily.excluding(closed), BusinessDayTrigger(3, ~(Holidays("GB") & Holidays("DE")), months=[2])):
            EFFORT.left = MOST_STEPS
            with pytest.raises(InvalidTriggerError, match=r"are excluded|no month within 100 years"):
                trigger.next_us(us(at))
            assert MOST_STEPS - EFFORT.left < 1000


def test_several_threads_may_ask_for_holidays_at_once() -> None:
    """The library works out a year when it is first asked of it, and others went over what it had meanwhile."""
    years = range(1990, 2090)
    _holidays._in_year.cache_clear()
    _holidays._holidays.cache_clear()
    calendar = Holidays("US")
    first = [(date(year, 1, 1) - date(1970, 1, 1)).days for year in years]
    found: list[list[int]] = [[] for _ in range(4)]
    together = threading.Barrier(len(found), timeout=60)

    def ask(number: int) -> None:
        together.wait()
        found[number] = [calendar.closed_days(day, 365) for day in first]

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(found))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    known = library.country_holidays("US", years=years)
    expected = [
        sum(1 << place for place in range(365) if date(year, 1, 1) + timedelta(days=place) in known) for year in years
    ]
    assert found == [expected] * len(found)


@pytest.mark.parametrize(
    "calendar",
    [
        Holidays("US"),
        ~Holidays("GB"),
        Dates("2026-01-05", ("2026-02-27", "2026-03-02"), ("2026-03-01", "2026-03-09")),
        Holidays("DE") | Dates(("2027-05-01", "2028-05-01")) & WEEKEND,
    ],
    ids=str,
)
def test_a_span_is_a_stretch_of_days_of_one_kind(calendar: Calendar) -> None:
    first = (date(2024, 11, 1) - date(1970, 1, 1)).days
    count = 2000
    closed = calendar.closed_days(first, count)
    longest = 0
    for day in range(first, first + count):
        span = calendar.span(day * 86_400 + 5)
        assert span.since_s <= day * 86_400 < (day + 1) * 86_400 <= span.until_s
        low, high = max(span.since_s // 86_400 - first, 0), min(span.until_s // 86_400 - first, count)
        whole = (1 << high - low) - 1
        assert closed >> low & whole == (whole if span.closed else 0)
        longest = max(longest, high - low)
    assert longest > 30


def test_holidays_are_unknown_in_long_spans() -> None:
    known = library.country_holidays("DE")
    day_s = 86_400
    first, until = ((date(year, 1, 1) - date(1970, 1, 1)).days for year in (known.start_year, known.end_year + 1))
    calendar = Holidays("DE")
    assert calendar.known_until == until
    assert ((~calendar & WEEKEND) | Dates("2026-01-01")).known_until == until
    assert (WEEKEND | Times("10:00", "09:00")).known_until is None
    assert calendar.span(until * day_s) == Span(False, until * day_s, (until + 21_915) * day_s)
    assert calendar.span(first * day_s - 1) == Span(False, (first - 1 - 21_915) * day_s, first * day_s)
    assert calendar.span(first * day_s) == Span(True, first * day_s, (first + 1) * day_s)  # New Year's Day


def test_business_days_end() -> None:
    trigger = TRIGGERS[4]
    assert walk(trigger, "2020-01-01T00:00Z", 5) == [
        "03-31 00:00",
        "06-30 00:00",
        "09-30 00:00",
        "12-31 00:00",
        "never",
    ]
    assert trigger.last_us(us("2026-01-15T00:00Z")) is None
    assert trigger.last_us(us("2025-01-15T00:00Z")) is None
    assert BusinessDayTrigger(28, timezone="UTC").next_us(0) is None
    with pytest.raises(InvalidTriggerError, match="no month within 100 years has such a day"):
        BusinessDayTrigger(2, ~Predicate(is_first_of_month), timezone="UTC").next_us(us("2026-01-01T00:00Z"))
    assert walk(BusinessDayTrigger(1, timezone="UTC"), "9999-12-15T00:00Z", 1) == ["never"]


# -- in the engine -----------------------------------------------------------------------------------------------------


def claim(trigger: EngineTrigger, fire_us: int, policy: JobPolicy | None = None) -> Claim:
    job = JobRecord("j", "j", print, None, (), NO_KWARGS, trigger, policy or JobPolicy())
    return Claim(job, fire_us, fire_us, 0, None)


def test_excluded_times_are_told_with_the_run_before_them() -> None:
    trigger = CronTrigger(hour="9,17", timezone="UTC").excluding(WEEKEND)
    friday_us, monday_us = us("2026-11-20T17:00Z"), us("2026-11-23T09:00Z")
    answer = decide(claim(trigger, friday_us), friday_us)
    assert answer.fires == (friday_us,)
    assert answer.next_us == monday_us
    assert answer.skips == (Skip(SkipReason.EXCLUDED, us("2026-11-21T09:00Z"), us("2026-11-22T17:00Z"), 4),)
    assert decide(claim(trigger, monday_us), monday_us).skips == ()


def test_excluded_times_in_a_backlog_are_one_skip() -> None:
    trigger = CronTrigger(hour=9, timezone="UTC").excluding(WEEKEND)
    first_us, now_us = us("2026-11-02T09:00Z"), us("2026-11-20T12:00Z")
    for policy in (JobPolicy(), JobPolicy(coalesce=False), JobPolicy(misfire_grace_us=3_600_000_000 * 4)):
        answer = decide(claim(trigger, first_us, policy), now_us)
        by_reason = {skip.reason: skip for skip in answer.skips}
        assert by_reason[SkipReason.EXCLUDED] == Skip(
            SkipReason.EXCLUDED, us("2026-11-07T09:00Z"), us("2026-11-22T09:00Z"), 6
        )
        told = len(answer.fires) + sum(skip.times for skip in answer.skips)
        assert told == 15 + 6
        assert answer.next_us == us("2026-11-23T09:00Z")


def test_what_is_excluded_after_the_last_run_is_told_up_to_the_end() -> None:
    trigger = CronTrigger(hour=9, timezone="UTC", end_date="2026-11-22T12:00Z").excluding(WEEKEND)
    friday_us = us("2026-11-20T09:00Z")
    answer = decide(claim(trigger, friday_us), friday_us)
    assert answer.next_us is None
    assert [skip.times for skip in answer.skips] == [2]
    assert decide(claim(DateTrigger("2026-11-20T09:00Z").excluding(WEEKEND), friday_us), friday_us).skips == ()


def test_late_or_overlapping_runs_are_told_beside_what_is_excluded() -> None:
    trigger = CronTrigger(hour=9, timezone="UTC").excluding(WEEKEND)
    friday_us = us("2026-11-20T09:00Z")
    late = decide(claim(trigger, friday_us, JobPolicy(misfire_grace_us=1)), friday_us + 10)
    assert [(skip.reason, skip.times) for skip in late.skips] == [(SkipReason.MISFIRED, 1), (SkipReason.EXCLUDED, 2)]
    busy = decide(claim(trigger, friday_us)._replace(live=1), friday_us)
    assert [(skip.reason, skip.times) for skip in busy.skips] == [(SkipReason.OVERLAP, 1), (SkipReason.EXCLUDED, 2)]


def test_a_predicate_that_raises_sets_its_job_aside() -> None:
    def broken(day: date) -> bool:
        raise RuntimeError("no list of holidays")

    trigger = CronTrigger(hour=9, timezone="UTC").excluding(Predicate(broken))
    friday_us = us("2026-11-20T09:00Z")
    answer = decide(claim(trigger, friday_us), friday_us)
    assert answer.fires == (friday_us,)
    assert answer.broken == "its trigger raised RuntimeError: no list of holidays"


def test_several_triggers_tell_what_each_excludes() -> None:
    trigger = OrTrigger(
        [
            CronTrigger(hour=9, timezone="UTC").excluding(Weekdays("sat")),
            CronTrigger(hour=10, timezone="UTC").excluding(WEEKEND),
            CronTrigger(hour=11, day_of_week="mon", timezone="UTC"),
        ]
    )
    assert trigger.excludes
    assert trigger.excluded(us("2026-11-20T12:00Z"), us("2026-11-23T00:00Z")) == Excluded(
        3, us("2026-11-21T09:00Z"), us("2026-11-22T10:00Z")
    )
    assert trigger.excluded(us("2026-11-17T12:00Z"), us("2026-11-19T00:00Z")) is None
    old = Old().excluding(Weekdays("sat"))
    assert old.excluded(us("2026-11-20T12:00Z"), us("2026-11-23T00:00Z")) == Excluded(
        24, us("2026-11-21T00:00Z"), us("2026-11-21T23:00Z")
    )


def test_a_year_in_a_scheduler_accounts_for_every_day() -> None:
    scheduler = VirtualScheduler(start="2026-01-01T00:00:00Z", timezone=BERLIN)
    times: list[datetime] = []
    free = WEEKEND | Holidays("DE")
    scheduler.add_job(
        lambda: times.append(scheduler.clock.now()), CronTrigger(hour=9, timezone=BERLIN).excluding(free), id="daily"
    )
    scheduler.start()
    scheduler.run_until("2027-01-01T00:00:00+01:00")
    scheduler.shutdown()
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]
    assert [at.astimezone(ZoneInfo(BERLIN)).date() for at in times] == [day for day in days if not free.is_closed(day)]


# -- against a slow oracle, written apart ------------------------------------------------------------------------------


START = datetime(2024, 3, 28, tzinfo=UTC)
MINUTES = 4 * 1440

parts: st.SearchStrategy[tuple[Calendar, Callable[[datetime], bool]]] = st.one_of(
    st.frozensets(st.integers(0, 6), min_size=1, max_size=6).map(
        lambda days: (Weekdays(*days), lambda local: local.weekday() in days)
    ),
    st.tuples(st.integers(0, 95), st.integers(0, 95))
    .filter(lambda pair: pair[0] != pair[1])
    .map(
        lambda pair: (
            Times(time(pair[0] // 4, pair[0] % 4 * 15), time(pair[1] // 4, pair[1] % 4 * 15)),
            lambda local: (
                (local.hour * 4 + local.minute // 15 - pair[0]) % 96 < (pair[1] - pair[0]) % 96  # quarters of an hour
            ),
        )
    ),
    st.just((Moments(is_odd_minute), is_odd_minute)),
    st.dates(date(2024, 3, 28), date(2024, 4, 3)).map(lambda day: (Dates(day), lambda local: local.date() == day)),
)
mixed = st.recursive(
    parts,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(
            lambda two: (two[0][0] | two[1][0], lambda local: two[0][1](local) or two[1][1](local))
        ),
        st.tuples(inner, inner).map(
            lambda two: (two[0][0] & two[1][0], lambda local: two[0][1](local) and two[1][1](local))
        ),
        inner.map(lambda one: (~one[0], lambda local: not one[1](local))),
    ),
    max_leaves=4,
)


@calm
@given(
    made=mixed, step=st.sampled_from([3, 7, 30, 60, 1440]), zone=st.sampled_from([BERLIN, "UTC", "America/New_York"])
)
def test_what_is_left_out_is_what_a_scan_leaves_out(made: Any, step: int, zone: str) -> None:
    closed, predicate = made
    trigger = IntervalTrigger(minutes=step, start_date=START, timezone=zone).excluding(closed)
    start_us, end_us = from_datetime(START), from_datetime(START) + MINUTES * 60_000_000
    every = [start_us + number * 60_000_000 for number in range(0, MINUTES, step)]
    gone = {at_us for at_us in every if predicate(to_datetime(at_us).astimezone(ZoneInfo(zone)).replace(tzinfo=None))}
    expected = [at_us for at_us in every if at_us not in gone]
    found = []
    at_us: int | None = start_us - 1
    for _ in range(len(expected)):
        assert at_us is not None
        at_us = trigger.next_us(at_us)
        assert at_us is not None
        found.append(at_us)
    assert found == expected
    excluded = trigger.excluded(start_us - 1, end_us)
    assert excluded == (Excluded(len(gone), min(gone), max(gone)) if gone else None)
    for number in range(0, len(expected), 61):
        assert trigger.next_us(expected[number] - 1) == expected[number]
        if number and step < 1440:
            assert trigger.last_us(expected[number] - 1) == expected[number - 1]
            upto = trigger.backlog(start_us - 1, expected[number])
            assert (upto.times, upto.last_us) == (number + 1, expected[number])


@calm
@given(
    hours=st.frozensets(st.integers(0, 23), min_size=1, max_size=4),
    days=st.frozensets(st.integers(0, 6), min_size=1, max_size=7),
    free=st.frozensets(st.integers(0, 6), min_size=1, max_size=6),
    dates=st.frozensets(st.dates(date(2024, 10, 1), date(2024, 11, 15)), max_size=8),
    forward=st.booleans(),
)
def test_moved_runs_are_where_a_list_moves_them(
    hours: frozenset[int], days: frozenset[int], free: frozenset[int], dates: frozenset[date], forward: bool
) -> None:
    zone = ZoneInfo(BERLIN)
    closed = AnyOf(Weekdays(*free), *(Dates(day) for day in dates))
    at_hours, on_days = (",".join(map(str, sorted(values))) for values in (hours, days))
    trigger = CronTrigger(minute=30, hour=at_hours, day_of_week=on_days, timezone=BERLIN).excluding(
        closed, roll="next" if forward else "previous"
    )
    expected = set()
    for number in range(-60, 120):
        source = date(2024, 10, 1) + timedelta(days=number)
        if source.weekday() not in days:
            continue
        target = source
        while target.weekday() in free or target in dates:
            target += timedelta(days=1 if forward else -1)
        for hour in hours:
            at = datetime(target.year, target.month, target.day, hour, 30, tzinfo=zone)
            if target == date(2024, 3, 31) and hour == 2:
                continue
            expected.add(from_datetime(at))
    at_us = trigger.next_us(us("2024-10-10T00:00+02:00"))
    limit_us = us("2024-11-10T00:00+01:00")
    found = []
    while at_us is not None and at_us < limit_us:
        found.append(at_us)
        following = trigger.next_us(at_us)
        assert following is not None
        assert following > at_us
        assert trigger.next_us((at_us + following) // 2) == following
        at_us = following
    assert found == sorted(at_us for at_us in expected if us("2024-10-10T00:00+02:00") < at_us < limit_us)


MOVABLE: list[EngineTrigger] = [
    CronTrigger(hour="5,9", minute=15, timezone=BERLIN),
    CronTrigger.from_crontab("30 12 1,15 * mon", BERLIN),
    RRuleTrigger("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TU,SU;BYHOUR=8,20", dtstart="2023-05-29T00:00:00", timezone=BERLIN),
    RRuleTrigger("FREQ=MINUTELY;INTERVAL=1007;BYMONTHDAY=1,2,3", dtstart="2023-05-29T00:00:00", timezone="UTC"),
    CalendarIntervalTrigger(days=3, hour=23, minute=59, start_date="2023-01-01", timezone=BERLIN),
    IntervalTrigger(minutes=1007, start_date="2023-01-01T00:00:01Z", timezone="UTC"),
]


@calm
@given(
    trigger=st.sampled_from(MOVABLE),
    first=st.dates(date(2024, 1, 1), date(2024, 3, 1)),
    length=st.integers(0, 300),
    free=st.frozensets(st.integers(0, 6), max_size=3),
    forward=st.booleans(),
    data=st.data(),
)
def test_the_runs_of_months_are_moved_to_one_day(
    trigger: EngineTrigger, first: date, length: int, free: frozenset[int], forward: bool, data: st.DataObject
) -> None:
    """A closure may be as long as it likes: of the days that are moved to the first open one, each is looked at."""
    last = first + timedelta(days=length)
    closed: Calendar = Dates((first, last))
    if free:
        closed |= Weekdays(*free)
    zone = trigger.timezone
    expected = set()
    start_us, end_us = us("2023-10-01T00:00Z"), us("2025-03-01T00:00Z")
    at_us = trigger.next_us(start_us)
    while at_us is not None and at_us < end_us:
        local = to_datetime(at_us).astimezone(zone)
        day = local.date()
        while first <= day <= last or day.weekday() in free:
            day += timedelta(days=1 if forward else -1)
        expected.add(from_datetime(datetime.combine(day, local.time(), zone)))
        at_us = trigger.next_us(at_us)
    times = sorted(expected)
    moved = trigger.excluding(closed, "next" if forward else "previous")
    asked_us = data.draw(
        st.one_of(
            st.integers(us("2023-12-01T00:00Z"), us("2024-12-31T00:00Z")),
            st.sampled_from([at_us for at_us in times if us("2023-12-01T00:00Z") < at_us < us("2024-12-31T00:00Z")]),
        )
    )
    later = [at_us for at_us in times if at_us > asked_us][:3]
    for expected_us in later:
        answer_us = moved.next_us(asked_us)
        assert answer_us == expected_us
        asked_us = answer_us


def test_runs_moved_to_a_day_on_which_an_hour_is_shown_twice() -> None:
    seconds = CronTrigger(second="*", day_of_week="sat", timezone="Europe/Berlin").excluding(Weekdays("sat"), "next")
    assert seconds.next_us(us("2026-10-25T00:59:58Z")) == us("2026-10-25T00:59:59Z")
    # Each runs the first time that its wall time is shown; from 2 to 3 the second hour has none.
    for asked in ("2026-10-25T00:59:59Z", "2026-10-25T01:00:00Z", "2026-10-25T01:59:59Z"):
        assert seconds.next_us(us(asked)) == us("2026-10-25T02:00:00Z")
    # 55 minutes apart, and so at an earlier wall time when the hour is shown again: there it runs first.
    start, step = us("2026-10-24T22:10Z"), 55 * 60_000_000
    every = Excluding(
        IntervalTrigger(minutes=55, start_date="2026-10-24T22:10Z"), Weekdays("sun"), "next", timezone="Europe/Berlin"
    )
    runs = [start + step * number for number in range(60)]
    moved = []
    for run_us in runs:
        shown = to_datetime(run_us).astimezone(ZoneInfo("Europe/Berlin"))
        if shown.date() == date(2026, 10, 25):
            moved.append(from_datetime(shown.replace(day=26, fold=0)))
    assert moved != sorted(moved)
    expected = sorted({*moved, *(run_us for run_us in runs if run_us >= us("2026-10-25T23:00Z"))})
    at_us = us("2026-10-25T00:00Z")
    for expected_us in expected[:40]:
        found_us = every.next_us(at_us)
        assert found_us == expected_us
        at_us = found_us


def test_years_without_an_open_day_are_an_error_only_to_a_run_that_falls_into_them() -> None:
    closed = Dates(("2026-01-01", "2027-12-31"))
    far = CronTrigger(year=2030, hour=9, timezone="UTC")
    for roll in ("next", "previous"):
        assert far.excluding(closed, roll).next_us(us("2026-03-01T00:00Z")) == us("2030-01-01T09:00Z")
    # All that are left are moved to a day that is over, or there is none left.
    spring = CronTrigger(year=2026, month="1-5", hour=9, timezone="UTC")
    assert spring.excluding(closed, "previous").next_us(us("2026-03-01T00:00Z")) is None
    assert spring.excluding(closed, "next").next_us(us("2026-06-01T00:00Z")) is None
    with pytest.raises(InvalidTriggerError, match="no business day is within 366 days of 2026-03-01"):
        spring.excluding(closed, "next").next_us(us("2026-03-01T00:00Z"))
    with pytest.raises(InvalidTriggerError, match="no business day is within 366 days of 2027-06-01"):
        CronTrigger(year=2027, month=6, timezone="UTC").excluding(closed, "previous").next_us(us("2026-03-01T00:00Z"))


def test_a_calendar_interval_can_be_moved() -> None:
    trigger = CalendarIntervalTrigger(months=1, hour=8, start_date="2026-01-31", timezone="UTC", overflow="clamp")
    assert walk(trigger.excluding(WEEKEND, "previous"), "2026-01-01T00:00Z", 3) == [
        "01-30 08:00",
        "02-27 08:00",
        "03-31 08:00",
    ]


def test_the_module_imports_no_heavy_module() -> None:
    heavy = ["asyncio", "dataclasses", "inspect", "dateutil", "holidays", "tzlocal"]
    code = f"import sys, schedcore.triggers.calendars; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("store", ["memory", "sqlalchemy"])
def test_a_record_of_what_was_left_out_is_kept(store: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"type": store}
    if store == "sqlalchemy":
        pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")
        options["url"] = f"sqlite:///{tmp_path / 'jobs.db'}"
    scheduler = VirtualScheduler(start="2026-11-19T00:00:00Z", jobstores={"default": options})
    told: list[tuple[str, str, str, int]] = []

    def listen(event: Any) -> None:
        told.append((event.reason, f"{event.first_run_time:%a %H}", f"{event.scheduled_run_time:%a %H}", event.count))

    scheduler.add_listener(listen, EVENT_JOB_SKIPPED)
    scheduler.add_job("builtins:int", CronTrigger(hour="9,17", timezone="UTC").excluding(WEEKEND), id="j")
    scheduler.start()
    scheduler.run_until("2026-12-01T00:00:00Z")
    scheduler.shutdown()
    assert told == [("excluded", "Sat 09", "Sun 17", 4)] * 2


@pytest.mark.parametrize("country", ["US", "DE", "GB"])
def test_holidays_are_those_of_the_library(country: str) -> None:
    """Each day of some years; New Year's Day of 2022 is observed on the last day of 2021 in the US."""
    known = library.country_holidays(country)
    calendar = Holidays(country)
    days = [date(2020, 1, 1) + timedelta(days=number) for number in range(8 * 365)]
    expected = [day in known for day in days]
    assert [calendar.is_closed(day) for day in days] == expected
    assert calendar.is_closed(date(2021, 12, 31)) == (country == "US")
    first = days[0].toordinal() - date(1970, 1, 1).toordinal()
    closed = calendar.closed_days(first, len(days))
    assert [bool(closed >> place & 1) for place in range(len(days))] == expected


@pytest.mark.parametrize(
    "calendar",
    [
        Weekdays("sat", "sun"),
        Dates("2026-01-05", ("2026-02-27", "2026-03-02")),
        Weekdays("mon") | Dates("2026-01-01"),
        ~Weekdays("mon") & Dates(("2025-12-20", "2026-01-10")),
        ~(Weekdays("wed") | ~Weekdays("thu")),
        Weekdays("fri") | Predicate(is_first_of_month),
    ],
    ids=str,
)
def test_closed_days_are_those_that_are_closed(calendar: Calendar) -> None:
    first = date(2025, 12, 1).toordinal() - date(1970, 1, 1).toordinal()
    for start, count in ((first, 100), (first + 3, 31), (first + 40, 1), (first, 366)):
        closed = calendar.closed_days(start, count)
        days = [date(1970, 1, 1) + timedelta(days=start + place) for place in range(count)]
        assert [bool(closed >> place & 1) for place in range(count)] == [calendar.is_closed(day) for day in days]
        assert closed >> count == 0

"""Calendar intervals: the same wall time every n days, weeks, months or years."""

from __future__ import annotations

import calendar
import json
import pickle
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from time import thread_time
from typing import Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedcore import plugins
from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._local import civil, day_number
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger

calm = settings(deadline=None, derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
Dst = Literal["skip", "shift", "cron"]
Overflow = Literal["skip", "clamp"]


def shown(at_us: int | None, key: str) -> str:
    return (
        "never"
        if at_us is None
        else to_datetime(at_us).astimezone(ZoneInfo(key)).isoformat(sep=" ", timespec="minutes")
    )


def walk(trigger: CalendarIntervalTrigger, key: str, number: int, after: str = "1970-01-01T00:00Z") -> list[str]:
    answers, at_us = [], from_datetime(datetime.fromisoformat(after))
    for _ in range(number):
        answer_us = trigger.next_us(at_us)
        answers.append(shown(answer_us, key))
        if answer_us is None:
            break
        at_us = answer_us
    return answers


@pytest.mark.parametrize(
    ("arguments", "key", "after", "answers"),
    [
        pytest.param(
            {"days": 7, "hour": 16, "start_date": "2019-03-26"},
            "Europe/Brussels",
            None,
            ["2019-03-26 16:00+01:00", "2019-04-02 16:00+02:00"],
            id="I1-wall-time-kept",
        ),
        pytest.param(
            {"days": 1, "hour": 2, "minute": 30, "start_date": "2024-03-30"},
            "Europe/Berlin",
            None,
            ["2024-03-30 02:30+01:00", "2024-04-01 02:30+02:00"],
            id="I2-skip",
        ),
        pytest.param(
            {"days": 1, "hour": 2, "minute": 30, "start_date": "2024-03-30", "dst": "shift"},
            "Europe/Berlin",
            None,
            ["2024-03-30 02:30+01:00", "2024-03-31 03:30+02:00", "2024-04-01 02:30+02:00"],
            id="I2-shift",
        ),
        pytest.param(
            {"days": 1, "hour": 2, "minute": 30, "start_date": "2024-03-30", "dst": "cron"},
            "Europe/Berlin",
            None,
            ["2024-03-30 02:30+01:00", "2024-03-31 03:00+02:00", "2024-04-01 02:30+02:00"],
            id="I2-as-cron",
        ),
        pytest.param(
            {"days": 1, "hour": 23, "minute": 30, "start_date": "2024-03-29"},
            "America/Nuuk",
            None,
            ["2024-03-29 23:30-02:00", "2024-03-31 23:30-01:00", "2024-04-01 23:30-01:00"],
            id="I5-only-the-day-of-the-gap-is-left-out",
        ),
        pytest.param(
            {"days": 1, "hour": 2, "minute": 30, "start_date": "2025-03-01"},
            "Europe/Amsterdam",
            "2025-04-01 02:00+02:00",
            ["2025-04-01 02:30+02:00"],
            id="I6-two-days-after-the-gap",
        ),
        pytest.param(
            {"days": 1, "hour": 1, "minute": 30, "start_date": "2025-03-30"},
            "Europe/London",
            None,
            ["2025-03-31 01:30+01:00", "2025-04-01 01:30+01:00"],
            id="I7-start-in-a-gap-skip",
        ),
        pytest.param(
            {"days": 1, "hour": 1, "minute": 30, "start_date": "2025-03-30", "dst": "shift"},
            "Europe/London",
            None,
            ["2025-03-30 02:30+01:00", "2025-03-31 01:30+01:00"],
            id="I7-start-in-a-gap-shift-and-I8-nothing-carried-over",
        ),
        pytest.param(
            {"days": 1, "hour": 2, "minute": 30, "start_date": "2024-03-30", "dst": "shift"},
            "Europe/Berlin",
            "2024-10-26 00:00+02:00",
            ["2024-10-26 02:30+02:00", "2024-10-27 02:30+02:00", "2024-10-28 02:30+01:00"],
            id="I9-once-every-calendar-day",
        ),
        pytest.param(
            {"months": 1, "start_date": "2023-01-31"},
            "UTC",
            None,
            ["2023-01-31 00:00+00:00", "2023-03-31 00:00+00:00", "2023-05-31 00:00+00:00"],
            id="I10-the-31st-skip",
        ),
        pytest.param(
            {"months": 1, "start_date": "2024-01-31", "overflow": "clamp"},
            "UTC",
            "2024-02-01 00:00+00:00",
            ["2024-02-29 00:00+00:00", "2024-03-31 00:00+00:00", "2024-04-30 00:00+00:00"],
            id="I10-the-31st-clamp",
        ),
        pytest.param(
            {"years": 1, "start_date": "2024-02-29"},
            "UTC",
            None,
            ["2024-02-29 00:00+00:00", "2028-02-29 00:00+00:00"],
            id="I10-leap-day-skip",
        ),
        pytest.param(
            {"years": 1, "start_date": "2024-02-29", "overflow": "clamp"},
            "UTC",
            None,
            [
                "2024-02-29 00:00+00:00",
                "2025-02-28 00:00+00:00",
                "2026-02-28 00:00+00:00",
                "2027-02-28 00:00+00:00",
                "2028-02-29 00:00+00:00",
            ],
            id="I10-leap-day-clamp-comes-back",
        ),
        pytest.param(
            {"days": 1, "hour": 3, "start_date": "2023-04-28"},
            "Asia/Kolkata",
            "2023-04-28 23:15+02:00",
            ["2023-04-29 03:00+05:30"],
            id="I12-a-zone-that-is-not-the-hosts",
        ),
        pytest.param(
            {"weeks": 2, "days": 1, "start_date": "2024-02-20"},
            "UTC",
            None,
            ["2024-02-20 00:00+00:00", "2024-03-06 00:00+00:00", "2024-03-21 00:00+00:00"],
            id="I13-utc-is-plain-date-arithmetic",
        ),
        pytest.param(
            {"days": 1, "hour": 9, "start_date": "2011-12-29", "dst": "shift"},
            "Pacific/Apia",
            None,
            ["2011-12-29 09:00-10:00", "2011-12-31 09:00+14:00", "2012-01-01 09:00+14:00"],
            id="a-day-that-does-not-exist-is-moved-onto-the-next",
        ),
        pytest.param(
            {"months": 1, "days": 3, "start_date": "2023-01-31"},
            "UTC",
            None,
            ["2023-01-31 00:00+00:00", "2023-04-06 00:00+00:00"],
            id="months-first-then-days",
        ),
        pytest.param(
            {"days": 1, "hour": 9, "start_date": "2024-01-01 12:00", "end_date": "2024-01-03"},
            "Europe/Berlin",
            None,
            ["2024-01-02 09:00+01:00", "2024-01-03 09:00+01:00", "never"],
            id="a-start-with-a-time-is-a-bound-and-an-end-date-is-a-whole-day",
        ),
        pytest.param(
            {"years": 100, "start_date": "2000-02-29"},
            "UTC",
            "2000-03-01 00:00+00:00",
            ["2400-02-29 00:00+00:00"],
            id="dates-that-are-centuries-apart",
        ),
    ],
)
def test_table(arguments: dict[str, Any], key: str, after: str | None, answers: list[str]) -> None:
    trigger = CalendarIntervalTrigger(timezone=key, **arguments)
    assert walk(trigger, key, len(answers), after or "1970-01-01T00:00Z") == answers


@pytest.mark.parametrize(
    ("arguments", "field", "message"),
    [
        ({}, "days", "the interval is nothing; give at least one of years, months, weeks and days"),
        ({"days": -1}, "days", "days: -1 is not a whole number"),
        ({"days": 1.5}, "days", "days: 1.5 is not a whole number"),
        ({"months": "1"}, "months", "months: '1' is not a whole number"),
        ({"years": True}, "years", "years: True is not a whole number"),
        ({"days": 1, "hour": 24}, "hour", "hour: 24 is not a whole number from 0 to 23"),
        ({"days": 1, "minute": 60}, "minute", "minute: 60 is not a whole number from 0 to 59"),
        ({"days": 1, "second": None}, "second", "second: None is not a whole number from 0 to 59"),
        ({"months": 1, "overflow": "clmp"}, "overflow", "did you mean 'clamp'?"),
        ({"days": 1, "dst": "shft"}, "dst", "did you mean 'shift'?"),
        ({"days": 1, "timezone": "Europe/Berln"}, "timezone", "did you mean 'Europe/Berlin'?"),
        ({"days": 1, "start_date": "noon"}, "start_date", "start_date: 'noon' is not a date"),
        ({"days": 1, "end_date": 5}, "end_date", "end_date: 5 is of type int"),
        ({"days": 1, "jitter": -1}, "jitter", "jitter: -1 cannot be used"),
        (
            {"days": 1, "start_date": "2025-02-01", "end_date": "2025-01-01"},
            "end_date",
            "this would never fire: no date from 2025-02-01 on is left until 2025-01-01",
        ),
    ],
    ids=str,
)
def test_wrong_arguments(arguments: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        CalendarIntervalTrigger(**arguments)
    assert message in str(caught.value)
    assert caught.value.field == field


def test_a_start_that_was_left_out_is_the_schedulers_today() -> None:
    trigger = CalendarIntervalTrigger(days=3, hour=6, timezone="Asia/Tokyo", jitter=3, end_date="2040-01-01")
    now = datetime(2031, 5, 5, 18, 0, tzinfo=UTC)  # the 6th in Tokyo
    bound = trigger.anchored(from_datetime(now))
    assert bound.start_date == date(2031, 5, 6)
    assert (bound.end_us, bound.jitter_us, bound.timezone) == (trigger.end_us, 3_000_000, trigger.timezone)
    assert bound.same_rule(trigger)
    assert walk(bound, "Asia/Tokyo", 2, now.isoformat()) == ["2031-05-06 06:00+09:00", "2031-05-09 06:00+09:00"]
    given_start = CalendarIntervalTrigger(days=3, start_date="2024-01-01", timezone="Asia/Tokyo")
    assert given_start.anchored(5) is given_start
    assert not given_start.same_rule(trigger)
    assert not trigger.same_rule(given_start)
    assert not trigger.same_rule(CalendarIntervalTrigger(days=3, hour=7, timezone="Asia/Tokyo", jitter=3))
    assert trigger.same_rule(pickle.loads(pickle.dumps(bound)))


TRIGGERS = [
    CalendarIntervalTrigger(days=1),
    CalendarIntervalTrigger(
        months=1, hour=2, minute=30, start_date="2024-01-31", timezone="Europe/Berlin", overflow="clamp"
    ),
    CalendarIntervalTrigger(
        years=1, weeks=2, second=7, start_date="2024-02-29T10:00", timezone="America/Nuuk", jitter=2.5, dst="shift"
    ),
    CalendarIntervalTrigger(
        days=2, start_date=date(2024, 1, 1), end_date=date(2025, 1, 1), timezone="UTC+05:30", dst="cron"
    ),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_round_trips(trigger: CalendarIntervalTrigger) -> None:
    restored = CalendarIntervalTrigger.__new__(CalendarIntervalTrigger)
    restored.__setstate__(json.loads(json.dumps(trigger.__getstate__())))
    for copy in (eval(repr(trigger)), pickle.loads(pickle.dumps(trigger)), restored):
        assert copy == trigger
        assert hash(copy) == hash(trigger)
        assert (str(copy), repr(copy)) == (str(trigger), repr(trigger))
    assert restored.__getstate__() == trigger.__getstate__()
    assert restored.same_rule(trigger)
    assert trigger != str(trigger)
    assert not trigger.same_rule(str(trigger))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "lacks 'time'"),
        ({"version": 9}, "version 9; this release reads 3"),
        ({"interval": [0, 0, 0, 0]}, "an interval of nothing"),
        ({"overflow": "x"}, "a rule that this release does not know"),
        ({"time_s": 86400}, "for time_s, which is no whole number from 0 to 86399"),
        ({"timezone": "Mars/Base"}, "no zone is called 'Mars/Base'"),
        ({"start_day": 10**30}, "for start_day, which is no whole number"),
        ({"interval": [0, 10**30, 0, 0]}, "dates beyond the years 1 to 9999"),
        ({"from_us": 10**30}, "for from_us, which is no whole number"),
        ({"end_us": -(10**30)}, "for end_us, which is no whole number"),
    ],
)
def test_wrong_states(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CalendarIntervalTrigger.__new__(CalendarIntervalTrigger).__setstate__(TRIGGERS[0].__getstate__() | change)
    state = TRIGGERS[0].__getstate__()
    del state["start_day"]
    with pytest.raises(ValueError, match="lacks 'start_day'"):
        CalendarIntervalTrigger.__new__(CalendarIntervalTrigger).__setstate__(state)


def test_a_trigger_is_a_value() -> None:
    trigger = TRIGGERS[2]
    with pytest.raises(AttributeError, match="triggers are values: overflow cannot be set; make a new Cal"):
        trigger.overflow = "clamp"
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del trigger.timezone
    assert not hasattr(trigger, "__dict__")
    assert (trigger.jitter, trigger.end_date, trigger.start_date) == (2.5, None, date(2024, 2, 29))
    assert plugins.load(plugins.TRIGGERS, "calendarinterval") is CalendarIntervalTrigger
    with pytest.raises(TypeError):
        CalendarIntervalTrigger(1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("trigger", "words", "text"),
    [
        (TRIGGERS[0], "every day at 00:00", "calendarinterval[1 days at 00:00]"),
        (TRIGGERS[1], "every month at 02:30 from 2024-01-31", "calendarinterval[1 months at 02:30]"),
        (
            TRIGGERS[2],
            "every 1 year 2 weeks at 00:00:07 from 2024-02-29",
            "calendarinterval[1 years, 2 weeks at 00:00:07]",
        ),
        (
            TRIGGERS[3],
            "every 2 days at 00:00 from 2024-01-01 until 2025-01-01 23:59:59",
            "calendarinterval[2 days at 00:00]",
        ),
    ],
)
def test_words(trigger: CalendarIntervalTrigger, words: str, text: str) -> None:
    assert trigger.describe() == words
    assert str(trigger) == text


def test_bounds() -> None:
    trigger = CalendarIntervalTrigger(days=1, start_date="2024-01-01", timezone="UTC")
    assert trigger.next_us(2**70) is None
    assert trigger.next_us(-(2**70)) == from_datetime(datetime(2024, 1, 1, tzinfo=UTC))
    assert trigger.last_us(-(2**70)) is None
    last_us = trigger.last_us(2**70)
    assert last_us is not None
    assert to_datetime(last_us).date() == date(9999, 12, 30)
    assert trigger.count_us(-(2**70), 2**70) == (date(9999, 12, 30) - date(2024, 1, 1)).days + 1


def test_a_century_of_missed_days_is_one_short_question() -> None:
    trigger = CalendarIntervalTrigger(days=1, hour=2, minute=30, start_date="1970-01-01", timezone="Europe/Berlin")
    upto_us = from_datetime(datetime(2070, 1, 1, tzinfo=UTC))
    trigger.backlog(0, upto_us)  # the zone's changes are found once
    started_s = thread_time()
    assert trigger.backlog(0, upto_us).times > 36_000
    assert thread_time() - started_s < 0.5


# -- against a slow oracle, written apart ------------------------------------------------------------------------------------


def moved(start: date, k: int, months: int, days: int, overflow: Overflow) -> date | None:
    years, index = divmod(start.month - 1 + k * months, 12)
    year, month, day = start.year + years, index + 1, start.day
    length = calendar.monthrange(year, month)[1]
    if day > length:
        if overflow == "skip":
            return None
        day = length
    return date(year, month, day) + timedelta(days=k * days)


def instant(day: date, second: int, zone: ZoneInfo, dst: Dst) -> datetime | None:
    local = datetime(day.year, day.month, day.day) + timedelta(seconds=second)  # noqa: DTZ001
    there = local.replace(tzinfo=zone).astimezone(UTC)
    if there.astimezone(zone).replace(tzinfo=None) == local:
        return there
    if dst == "skip":
        return None
    if dst == "shift":
        return there
    # Minute by minute back from an instant that is after the jump.
    at = there.replace(second=0)
    while (at - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None) > local:
        at -= timedelta(minutes=1)
    return at


def oracle(
    start: date, months: int, days: int, second: int, key: str, overflow: Overflow, dst: Dst, until: date
) -> list[int]:
    fires: set[int] = set()
    k = 0
    while True:
        day = moved(start, k, months, days, overflow)
        k += 1
        if day is None:
            continue
        if day > until:
            return sorted(fires)
        at = instant(day, second, ZoneInfo(key), dst)
        if at is not None:
            fires.add(from_datetime(at))


KEYS = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Nuuk",
    "Africa/Cairo",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Apia",
    "Asia/Kolkata",
)
starts = st.dates(date(2005, 1, 1), date(2015, 1, 1)) | st.sampled_from([date(2012, 2, 29), date(2008, 1, 31)])
steps = st.tuples(st.sampled_from([0, 1, 2, 5, 12, 48]), st.sampled_from([0, 1, 2, 7, 30])).filter(any)
seconds = st.integers(0, 1439).map(lambda minute: 60 * minute) | st.sampled_from([0, 1800, 7200, 9000, 84600])
dsts: st.SearchStrategy[Dst] = st.sampled_from(("skip", "shift", "cron"))
overflows: st.SearchStrategy[Overflow] = st.sampled_from(("skip", "clamp"))


@calm
@given(
    start=starts,
    step=steps,
    second=seconds,
    key=st.sampled_from(KEYS),
    overflow=overflows,
    dst=dsts,
    probes=st.lists(st.integers(0, 3800 * 86400 * 1_000_000), min_size=2, max_size=4),
)
def test_the_dates_are_what_a_calendar_says(
    start: date, step: tuple[int, int], second: int, key: str, overflow: Overflow, dst: Dst, probes: list[int]
) -> None:
    months, days = step
    expected = oracle(start, months, days, second, key, overflow, dst, start + timedelta(days=4000))
    trigger = CalendarIntervalTrigger(
        months=months,
        days=days,
        hour=second // 3600,
        minute=second % 3600 // 60,
        start_date=start,
        timezone=key,
        overflow=overflow,
        dst=dst,
    )
    zero_us = from_datetime(datetime(start.year, start.month, start.day, tzinfo=UTC)) - 86_400_000_000
    found = []
    at_us: int | None = trigger.next_us(zero_us)
    end_us = expected[-1]
    while at_us is not None and at_us <= end_us:
        found.append(at_us)
        assert trigger.last_us(at_us) == at_us
        following = trigger.next_us(at_us)
        assert following is None or following > at_us
        at_us = following
    assert found == expected
    for one_us in probes:
        for other_us in probes:
            low_us, high_us = zero_us + one_us, zero_us + other_us
            high_us = min(high_us, end_us)
            inside = [fire for fire in expected if low_us < fire <= high_us]
            assert trigger.count_us(low_us, high_us) == len(inside)
            upto = [fire for fire in expected if fire <= high_us]
            assert trigger.last_us(high_us) == (upto[-1] if upto else None)
            later = [fire for fire in expected if fire > low_us]
            if later:
                assert trigger.next_us(low_us) == later[0]
                assert trigger.next_us((low_us + later[0]) // 2) == later[0]


@calm
@given(
    start=starts | st.sampled_from([date(1900, 3, 31), date(2300, 1, 30)]),
    step=steps,
    second=seconds,
    key=st.sampled_from(KEYS),
    overflow=overflows,
    dst=dsts,
    from_year=st.integers(1, 9000),
    years=st.integers(150, 9000),
    odd_us=st.integers(0, 366 * 86_400_000_000),
)
def test_a_count_of_centuries_is_the_sum_of_those_of_decades(
    start: date,
    step: tuple[int, int],
    second: int,
    key: str,
    overflow: Overflow,
    dst: Dst,
    from_year: int,
    years: int,
    odd_us: int,
) -> None:
    """The dates of a long span that clocks jump over are counted in sets of days, those of a short one as they come."""
    months, days = step
    trigger = CalendarIntervalTrigger(
        months=months,
        days=days,
        hour=second // 3600,
        minute=second % 3600 // 60,
        start_date=start,
        timezone=key,
        overflow=overflow,
        dst=dst,
    )
    upto_year = min(from_year + years, 9998)
    bounds = [*range(from_year, upto_year, 70), upto_year]
    instants = [from_datetime(datetime(year, 1, 1, tzinfo=UTC)) + odd_us for year in bounds]
    whole = trigger.count_us(instants[0], instants[-1])
    assert whole == sum(trigger.count_us(low, high) for low, high in pairwise(instants))
    expected_us = trigger.last_us(instants[-1])
    if expected_us is not None and expected_us > instants[0]:
        assert trigger.count_us(instants[0], expected_us - 1) == whole - 1
    upto = trigger.backlog(instants[0], instants[-1])
    assert upto.times == whole


@calm
@given(day=st.integers(-719_162, 2_932_896))
def test_day_numbers(day: int) -> None:
    known = date(1970, 1, 1) + timedelta(days=day)
    assert civil(day) == (known.year, known.month, known.day)
    assert day_number(*civil(day)) == day


def test_a_state_of_other_zone_data_says_so() -> None:
    state = TRIGGERS[1].__getstate__()
    restored = CalendarIntervalTrigger.__new__(CalendarIntervalTrigger)
    restored.__setstate__(state)
    assert not restored.zone_data_changed
    restored.__setstate__(state | {"zone_data": "1999z"})
    assert restored.zone_data_changed


def test_the_module_imports_no_heavy_module() -> None:
    heavy = ["asyncio", "dataclasses", "inspect", "dateutil", "holidays", "tzlocal"]
    code = f"import sys, schedcore.triggers.calendarinterval; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
def test_the_dates_of_every_zone(part: int) -> None:
    """Three years of each zone, from another start for each, under each rule for clock changes."""
    for number, key in enumerate(sorted(available_timezones())[part::4]):
        start = date(1970 + number * 7 % 64, 1 + number % 12, 1 + number % 31 % 28)
        second = (0, 1800, 3600, 7200, 9000, 84600)[number % 6]
        for dst in ("skip", "shift", "cron"):
            expected = oracle(start, 0, 1, second, key, "skip", dst, start + timedelta(days=1100))
            trigger = CalendarIntervalTrigger(
                days=1, hour=second // 3600, minute=second % 3600 // 60, start_date=start, timezone=key, dst=dst
            )
            found = []
            at_us = trigger.next_us(expected[0] - 1)
            while at_us is not None and at_us <= expected[-1]:
                found.append(at_us)
                at_us = trigger.next_us(at_us)
            assert found == expected, (key, start, second, dst)
            assert trigger.count_us(expected[0] - 1, expected[-1]) == len(expected), (key, start, second, dst)

"""What is known of triggers without asking them: where they fire at most, in sets of days and in boxes."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._bits import first_multiple
from schedcore.triggers._boxes import Box, around, near, outermost, times_near
from schedcore.triggers._clocks import clocks_of
from schedcore.triggers._days import (
    ALL_DAYS,
    CHUNK,
    FIRST_DAY,
    CommonDays,
    Days,
    EitherDays,
    OtherDays,
    RangeDays,
    Smeared,
    next_common,
    next_point,
)
from schedcore.triggers._effort import MOST_STEPS
from schedcore.triggers._finder import Finder, _windows_of, look
from schedcore.triggers._local import civil, day_number, month_length
from schedcore.triggers._meet import MAX_LEAPS
from schedcore.triggers._open_days import NthDays
from schedcore.triggers._step_days import DayLattice, MonthSteps
from schedcore.triggers._where import boxes_of
from schedcore.triggers._year_days import days_of_plan
from schedcore.triggers._zone_days import InEffect, Shown
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import BusinessDayTrigger, Dates, Holidays, Predicate, Times, Weekdays
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.cron._dst import Offsets
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

calm = settings(deadline=None, derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
DAY_US = 86_400_000_000
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Antarctica/Troll"]
WEEKEND = Weekdays("sat", "sun")
zones = st.sampled_from(ZONES)
DST: Any = st.sampled_from(["skip", "shift", "cron"])


def cron(text: str, zone: str, dst: Any) -> EngineTrigger:
    return CronTrigger.from_crontab(text, zone, dst=dst)


def step(zone: str, hour: int, dst: Any, units: dict[str, Any]) -> EngineTrigger:
    return CalendarIntervalTrigger(hour=hour, minute=30, start_date="2024-01-31", timezone=zone, dst=dst, **units)


crons = st.builds(
    cron,
    st.sampled_from(
        ["30 2 * * *", "0 0 29 2 *", "*/7 1-3 * * sun", "15,45 0 1,15 * *", "0 3 * * mon#5", "59 23 L * *"]
    ),
    zones,
    st.sampled_from(["cron", "literal"]),
)
steps = st.builds(
    step,
    zones,
    st.integers(0, 23),
    DST,
    st.sampled_from([{"days": 1}, {"days": 45}, {"months": 1}, {"months": 7}, {"weeks": 3}, {"months": 2, "days": 5}]),
)


def interval(seconds: float, zone: str) -> EngineTrigger:
    return IntervalTrigger(seconds=seconds, start_date="2024-01-01T05:00:01Z", timezone=zone)


intervals = st.builds(interval, st.sampled_from([7.000001, 61, 3600, 86400, 86401, 604800, 3_196_801]), zones)
slow_intervals = st.builds(interval, st.sampled_from([86400, 86401, 90_001, 604800, 3_196_801, 86400.000001]), zones)


def recurrence(rule: str, zone: str) -> EngineTrigger:
    from schedcore.triggers.rrule import RRuleTrigger

    return RRuleTrigger(rule, dtstart=datetime(2023, 5, 31, 2, 30), timezone=zone)  # noqa: DTZ001


# Without python-dateutil, which the extra 'rrule' brings, all but rules.
HAS_RULES = importlib.util.find_spec("dateutil") is not None
rules = st.builds(
    recurrence,
    st.sampled_from(
        [
            "FREQ=YEARLY;INTERVAL=3",
            "FREQ=MONTHLY;BYDAY=-1FR",
            "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=-2",
            "FREQ=YEARLY;BYDAY=20MO",
            "FREQ=YEARLY;BYWEEKNO=53",
            "FREQ=WEEKLY;INTERVAL=3;BYDAY=TU,SU;WKST=SU",
            "FREQ=DAILY;INTERVAL=11;BYMONTH=2,7",
            "FREQ=HOURLY;INTERVAL=31",
            "FREQ=MINUTELY;INTERVAL=1441",
            "FREQ=YEARLY;BYYEARDAY=-1,60",
        ]
    ),
    zones,
)


def is_seventh(day: date) -> bool:
    return day.day % 7 == 0


CLOSED = [
    WEEKEND,
    WEEKEND | Dates("2026-12-24"),
    Dates(("2025-12-20", "2026-11-30"), "2029-02-28"),
    Weekdays("mon", "tue", "wed", "fri", "sat", "sun"),
    WEEKEND | Predicate(is_seventh),  # of which days it is not known
    ~Weekdays("fri"),
]
business = st.builds(
    lambda nth, closed, zone: BusinessDayTrigger(nth, closed, hour=2, minute=30, timezone=zone),
    st.sampled_from([1, 4, -1, -20, 23]),
    st.sampled_from(CLOSED),
    zones,
)
simple = crons | steps | intervals | rules if HAS_RULES else crons | steps | intervals
excluding = st.builds(
    lambda trigger, calendar: trigger.excluding(calendar),
    simple,
    st.sampled_from(
        [WEEKEND, ~Times("07:00", "22:00"), Times("20:00", "24:00") & WEEKEND, ~Dates(("2026-01-01", "2031-01-01"))]
    ),
)
rolling: Any = st.builds(
    lambda trigger, closed, roll: trigger.excluding(closed, roll),
    crons | steps | slow_intervals | business,
    st.sampled_from(CLOSED),
    st.sampled_from(["next", "previous"]),
)
excluding |= rolling
either = st.lists(simple | excluding, min_size=2, max_size=3).map(OrTrigger)


def check_boxes_have_fire_times(trigger: EngineTrigger, asked: datetime) -> None:
    """The first fire times after an instant, as the trigger tells them, are in its boxes."""
    finder = Finder(boxes_of(trigger))
    at_us = from_datetime(asked)
    for _ in range(4):
        try:
            found_us = trigger.next_us(at_us)
        except InvalidTriggerError:  # no open day within a year
            return
        if found_us is None:
            return
        assert finder.at_or_after(found_us, [10_000]) == found_us
        at_us = found_us


@calm
@given(
    trigger=simple | business | excluding | either,
    asked=st.datetimes(datetime(2000, 1, 2), datetime(2700, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_no_fire_time_is_outside_of_the_boxes(trigger: EngineTrigger, asked: datetime) -> None:
    check_boxes_have_fire_times(trigger, asked)


@calm
@given(
    trigger=crons
    | steps
    | st.builds(
        cron,
        st.sampled_from(["30 23 * * *", "*/20 0 * * *", "45 23 * 3 sat,sun"]),
        st.sampled_from(["America/Scoresbysund", "Pacific/Apia"]),
        st.sampled_from(["cron", "literal"]),
    ),
    closed=st.sampled_from(CLOSED),
    moved=st.sampled_from(CLOSED),
    roll=st.sampled_from(["next", "previous"]),
    asked=st.datetimes(datetime(2008, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_nor_of_open_days_that_is_moved(
    trigger: EngineTrigger, closed: Any, moved: Any, roll: Any, asked: datetime
) -> None:
    """Also where clocks jump over midnight, so that what is due on a closed day runs on an open one."""
    both = trigger.excluding(closed).excluding(moved, roll)
    check_boxes_have_fire_times(both, asked)


def leapt(one: EngineTrigger, other: EngineTrigger, at_us: int, end_us: int) -> int | None:
    """The first instant that both name, by asking one after the other."""
    for _ in range(3000):
        one_us = one.next_us(at_us)
        other_us = None if one_us is None else other.next_us(one_us - 1)
        if other_us is None or other_us > end_us:
            return None
        if other_us == one_us:
            return one_us
        at_us = other_us - 1
    raise InvalidTriggerError("too long")


@calm
@given(one=simple | excluding, other=simple | excluding, asked=st.integers(0, 40 * 365))
def test_a_meeting_is_where_both_fire(one: EngineTrigger, other: EngineTrigger, asked: int) -> None:
    """The search, beside leaps from one to the other that know nothing of boxes."""
    start_us = from_datetime(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=asked))
    end_us = start_us + 3 * 365 * 86_400_000_000
    try:
        expected = leapt(one, other, start_us, end_us)
        found_us = AndTrigger([one, other]).next_us(start_us)
    except InvalidTriggerError:  # a calendar that is closed for 50 years, or leaps that do not suffice
        return
    same_zone = isinstance(one, CronTrigger) and isinstance(other, CronTrigger) and one.timezone == other.timezone
    if same_zone and expected != found_us:
        return  # what a gap swallowed of both is no meeting
    assert found_us == expected or (expected is None and (found_us is None or found_us > end_us))


def test_boxes_share_what_both_have() -> None:
    day_us = 86_400_000_000
    daily = Box(day_us, 9 * 3_600_000_000)
    assert daily.shared(Box(7 * day_us, 3 * day_us)) is None
    both = daily.shared(Box(7 * 3_600_000_000, 2 * 3_600_000_000))
    assert both is not None
    assert (both.period_us, both.offset_us, both.minutes) == (7 * day_us, 9 * 3_600_000_000, 1 << 540)
    assert daily.shared(Box(minutes=1)) is None
    assert daily.shared(Box(from_us=5, upto_us=4)) is None


def test_sets_of_days() -> None:
    today = day_number(2026, 1, 1)

    def first(days: Any, count: int) -> list[str]:
        found, day = [], today
        for _ in range(count):
            found_day = next_common((days,), day)
            if found_day is None:
                break
            found.append(date(*civil(found_day)).isoformat())
            day = found_day + 1
        return found

    assert first(DayLattice(100, day_number(2026, 2, 1)), 2) == ["2026-02-01", "2026-05-12"]
    assert first(DayLattice(1_000_000, day_number(2026, 2, 1)), 2) == ["2026-02-01", "4763-12-30"]
    assert first(MonthSteps(7, 12 * 2026, lambda length: 1 << 30 if length == 31 else 0), 3) == [
        "2026-01-31",
        "2026-08-31",
        "2027-03-31",
    ]
    assert first(MonthSteps(13, 12 * 2026, lambda length: 1 << length - 1), 3) == [
        "2026-01-31",
        "2027-02-28",
        "2028-03-31",
    ]
    assert first(RangeDays([(today + 3, today + 4), (today + 4, today + 5)]), 9) == [
        "2026-01-04",
        "2026-01-05",
        "2026-01-06",
    ]
    leap = days_of_plan(CronTrigger.from_crontab("0 0 29 2 mon", "UTC", dialect="apscheduler3")._plan)
    assert all(date.fromisoformat(text).weekday() == 0 for text in first(leap, 5))
    assert next_common((leap, DayLattice(7, today)), today) is None
    summer = InEffect(Shown(Offsets(ZoneInfo("Europe/Berlin"))), 7200)
    assert first(summer, 1) == ["2026-03-29"]
    assert next_common((summer,), day_number(2026, 10, 26)) == day_number(2027, 3, 28)


@pytest.mark.parametrize(
    ("offset", "minutes", "days"),
    [  # the clocks of Berlin change at 01:00 in UTC; 02:30 in the gap would be 01:30 by those of the winter
        (7200, (0, 59), "2026-03-30 2026-10-25"),
        (7200, (60, 1439), "2026-03-29 2026-10-24"),
        (7200, (59, 60), "2026-03-29 2026-10-25"),
        (3600, (0, 59), "2026-10-26 2027-03-28"),
        (3600, (60, 60), "2026-10-25 2027-03-28"),
        (3600, (90, 119), "2026-10-25 2027-03-28"),
        (3600, (120, 1439), "2026-10-25 2027-03-27"),
    ],
)
def test_the_days_on_which_an_offset_holds_at_some_minutes(offset: int, minutes: tuple[int, int], days: str) -> None:
    clocks = clocks_of(ZoneInfo("Europe/Berlin"))
    assert clocks is not None
    sets = clocks.in_effect(offset, 1 << minutes[0] | 1 << minutes[1])
    first, last = (day_number(*map(int, day.split("-"))) for day in days.split())
    assert next_common(sets, first - 60) == first
    assert next_common((OtherDays(sets[0]),), first) == last + 1


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    nth=st.sampled_from([1, 2, 20, 23, 31, -1, -2, -20, -31]),
    months=st.sampled_from([tuple(range(1, 13)), (2,), (1, 6), (12,)]),
    weekdays=st.sets(st.integers(0, 6)),
    first_closed=st.integers(0, 800),
    closed=st.integers(0, 70),
    unknown=st.sets(st.integers(0, 1000), max_size=40),
)
def test_the_nth_open_days_of_months(
    nth: int, months: tuple[int, ...], weekdays: set[int], first_closed: int, closed: int, unknown: set[int]
) -> None:
    """Those of the first years, and the last month of the chunk, beside the days of each month counted one by one."""
    first = FIRST_DAY + first_closed
    never: list[Days] = [RangeDays([(first, first + closed)])]
    never += [DayLattice(7, FIRST_DAY + each) for each in sorted(weekdays)]
    maybe = RangeDays([(FIRST_DAY + each, FIRST_DAY + each) for each in {*unknown, 5}])
    may_open = OtherDays(EitherDays(never))
    found = NthDays(nth, months, may_open, EitherDays([*never, maybe])).chunk(0)
    opened, certain = may_open.chunk(0), may_open.chunk(0) & ~maybe.chunk(0)
    for year, month in [*((year, month) for year in (2000, 2001, 2002) for month in range(1, 13)), (2399, 12)]:
        start = day_number(year, month, 1) - FIRST_DAY
        days = list(range(start, start + month_length(year, month)))[:: 1 if nth > 0 else -1]
        may = [day for day in days if opened >> day & 1]
        must = [day for day in days if certain >> day & 1]
        number = abs(nth) - 1
        expected: set[int] = set()
        if month in months and number < len(may):
            upto = may.index(must[number]) if number < len(must) else len(may)
            expected = {*may[number : upto + 1]}
        assert {day for day in days if found >> day & 1} == expected


def by_looking(zone: ZoneInfo) -> Offsets:
    offsets = Offsets(zone)
    offsets.periodic = False  # neither the file nor the calendar is believed
    return offsets


def check_transitions(name: str) -> None:
    zone = ZoneInfo(name)
    from_s, until_s = -1_500_000_000, 4_102_444_800 + 30 * 366 * 86400
    assert list(Offsets(zone).spans(from_s, until_s)) == list(by_looking(zone).spans(from_s, until_s))


@pytest.mark.parametrize("name", [*ZONES[1:], "Africa/Casablanca", "Pacific/Apia", "America/Nuuk", "Asia/Tokyo"])
def test_the_transitions_of_a_zones_file_are_those_that_zoneinfo_shows(name: str) -> None:
    check_transitions(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(available_timezones()))
def test_the_transitions_of_all_zones(name: str) -> None:
    check_transitions(name)


def test_a_file_that_is_another_one_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    from schedcore.triggers.cron import _dst

    zone = ZoneInfo("Europe/Berlin")
    expected = list(by_looking(zone).spans(0, 1_800_000_000))
    for wrong in (None, [(1_000_000_000, 0)]):
        monkeypatch.setattr(_dst, "read_transitions", lambda key, wrong=wrong: wrong)
        assert list(Offsets(zone).spans(0, 1_800_000_000)) == expected


@settings(deadline=None, derandomize=True, max_examples=500)
@given(st.integers(1, 200), st.integers(0, 300), st.data())
def test_the_first_multiple_in_a_window(modulus: int, step: int, data: st.DataObject) -> None:
    low = data.draw(st.integers(0, modulus - 1))
    high = data.draw(st.integers(low, modulus - 1))
    expected = next((times for times in range(modulus) if low <= times * step % modulus <= high), None)
    assert first_multiple(step, modulus, low, high) == expected


HALF_HOUR_US = 1_800_000_000


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    half_hours=st.integers(49, 10_000),
    odd_us=st.sampled_from([0, 0, 1, -1, 1_000_000, 754_000_000]),
    low=st.integers(0, 47),
    wide_us=st.sampled_from([0, 1, 60_000_000, HALF_HOUR_US, 5 * HALF_HOUR_US, 48 * HALF_HOUR_US]),
    days=st.tuples(st.sampled_from([1, 2, 7, 30, 400, 5000]), st.integers(0, 5000)),
    at=st.integers(0, CHUNK * DAY_US - 1),
)
def test_the_first_point_of_a_lattice_on_some_days_at_some_time_of_them(
    half_hours: int, odd_us: int, low: int, wide_us: int, days: tuple[int, int], at: int
) -> None:
    """It is the one that is found by trying all of them; a look may end before it, and never behind it."""
    period_us, low_us = half_hours * HALF_HOUR_US + odd_us, low * HALF_HOUR_US
    high_us = min(low_us + wide_us, DAY_US - 1)
    sets, begin_us, end_us = (DayLattice(*days),), FIRST_DAY * DAY_US, (FIRST_DAY + CHUNK) * DAY_US
    text = sets[0].chunk(0).to_bytes(CHUNK // 8 + 1, "little")

    def matches(at_us: int) -> bool:
        day = at_us // DAY_US - FIRST_DAY
        return low_us <= at_us % DAY_US <= high_us and bool(text[day >> 3] >> (day & 7) & 1)

    at_us = begin_us + at
    first_us = next((each_us for each_us in range(at_us, end_us, period_us) if matches(each_us)), end_us)
    while at_us < first_us:
        found_us, _ = next_point(sets, at_us, period_us, low_us, high_us)
        assert at_us < found_us
        assert found_us <= first_us or first_us == end_us
        assert found_us >= end_us or (found_us - at_us) % period_us == 0
        at_us = found_us
    if first_us < end_us:
        assert next_point(sets, first_us, period_us, low_us, high_us)[0] == first_us


@pytest.mark.parametrize(
    ("days", "window", "answer"),
    [(1, ("04:00", "05:00"), "2250-09-13T04:00Z"), (37, ("07:00", "22:00"), "2753-04-12T07:00Z")],
)
def test_an_interval_that_drifts_into_a_window_is_found_by_arithmetic(
    days: int, window: tuple[str, str], answer: str
) -> None:
    """A second more each time, it comes to the window after 82,069 and 7,180 times: that many were walked for the answers."""
    interval = IntervalTrigger(days=days, seconds=1, start_date="2024-01-01T05:00:01Z")
    trigger = interval.excluding(~Times(*window))
    start_us = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
    answer_us = from_datetime(datetime.fromisoformat(answer))
    assert trigger.next_us(start_us) == answer_us
    steps = [1000]
    assert Finder(boxes_of(trigger)).at_or_after(start_us, steps) == answer_us
    assert steps[0] > 990


def test_a_tolerance_between_intervals_is_found_by_arithmetic() -> None:
    one, other = (
        IntervalTrigger(seconds=seconds, start_date=f"2024-01-01T0{hour}:00:00Z")
        for seconds, hour in ((86401, 5), (90001, 7))
    )
    trigger = AndTrigger([one, other], tolerance=1)
    start_us = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
    at_us = start_us
    while True:  # a walk
        following_us = one.next_us(at_us)
        assert following_us is not None
        at_us = following_us
        near_us = other.next_us(at_us - 1_000_001)
        if near_us is not None and near_us <= at_us + 1_000_000:
            break
    budget = [100]
    assert trigger._meeting().next_us(start_us, budget) == at_us
    assert budget[0] > 80


def test_a_search_that_is_lost_is_lost_once() -> None:
    """Who asks the same again is told the same, and nothing is searched for."""
    asked = []

    class Odd(BaseTrigger):
        def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
            at = now if previous_fire_time is None else previous_fire_time
            asked.append(at)
            return at.replace(microsecond=0) + timedelta(seconds=2 - at.second % 2)

    trigger = AndTrigger([CronTrigger(second="1-59/2", timezone="UTC"), Odd()])
    start = datetime(2026, 1, 1, 0, 0, 0, 100_000, tzinfo=UTC)
    for _ in range(3):
        with pytest.raises(InvalidTriggerError, match="did not meet"):
            trigger.get_next_fire_time(None, start)
    once = len(asked)
    with pytest.raises(InvalidTriggerError, match="did not meet"):
        trigger.get_next_fire_time(None, start + timedelta(milliseconds=400))
    assert len(asked) == once


@pytest.mark.parametrize("seconds", [(7, 3601, 3_196_801), (60, 90_001, 1_000_003), (1, 86_399, 5_000_011)], ids=str)
def test_intervals_that_are_rarely_near_each_other(seconds: tuple[int, int, int]) -> None:
    """Centuries apart: every point of the rarest is tried here."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    trigger = AndTrigger([IntervalTrigger(seconds=each, start_date=start) for each in seconds], tolerance=1)
    often, other, rare = seconds
    start_us = from_datetime(start)
    expected = [
        start_us + near * 1_000_000
        for at in range(rare, (LAST_US - start_us) // 1_000_000, rare)
        if (at + 2) % other <= 4  # no farther from each other than twice the tolerance
        for near in (at - 1, at, at + 1)
        if near % often == 0 and min(near % other, -near % other) <= 1
    ]
    at_us = start_us + 2_000_000
    for expected_us in expected[:3]:
        found_us = trigger.next_us(at_us)
        assert found_us == expected_us
        at_us = found_us
    if len(expected) < 3:
        assert trigger.next_us(at_us) is None


def test_searches_within_a_search_are_bounded_together() -> None:
    """Each meeting of the inner two takes some 2,000 questions, and the outer search would ask for thousands of them."""
    asked = 0

    class Every(BaseTrigger):
        def __init__(self, seconds: int, offset: int = 0) -> None:
            self.seconds, self.offset = seconds, offset

        def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
            nonlocal asked
            asked += 1
            at_s = from_datetime(previous_fire_time or now) // 1_000_000
            return datetime.fromtimestamp(at_s + self.seconds - (at_s - self.offset) % self.seconds, UTC)

    inner = AndTrigger([Every(997), Every(1009)], tolerance=0.000001)
    found = inner.get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC))
    assert found is not None
    assert int(found.timestamp()) % (997 * 1009) == 0
    assert asked > 500
    asked = 0
    with pytest.raises(InvalidTriggerError, match="where the search ended"):
        AndTrigger([inner, Every(997 * 1009, 30)]).get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC))
    assert MAX_LEAPS < asked < 1.1 * MOST_STEPS


@pytest.mark.parametrize("met", [False, True])
def test_a_run_that_is_moved_into_a_gap_is_at_its_end(met: bool) -> None:
    """Saturday 28 March 2026 ends at 23:00 in Nuuk: what is moved from Sunday to 23:30 of that day runs on Sunday at 00:00."""
    trigger: EngineTrigger = CronTrigger(hour=23, minute=30, timezone="America/Nuuk", dst="literal")
    if met:  # by a rule of the wall clock, and by something else
        trigger = AndTrigger([trigger, CronTrigger(minute=30, timezone="UTC")])
    moved = trigger.excluding(Weekdays("sun"), "previous").excluding(~Weekdays("sun"))
    found_us = moved.next_us(from_datetime(datetime(2026, 1, 1, tzinfo=UTC)))
    assert found_us == from_datetime(datetime(2026, 3, 29, 1, tzinfo=UTC))


def test_a_schedule_that_is_always_closed_is_searched_once() -> None:
    pytest.importorskip("holidays", reason="needs the extra holidays")
    trigger = CronTrigger(month=12, day=25, timezone="UTC").excluding(Holidays("DE"))
    start_us = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidTriggerError, match="are excluded") as first:
        trigger.next_us(start_us)
    looked: list[int] = []
    child = trigger._child

    class Watched:
        searches = child.searches

        def next_us(self, after_us: int) -> int | None:
            looked.append(after_us)
            return child.next_us(after_us)

    object.__setattr__(trigger, "_child", Watched())
    with pytest.raises(InvalidTriggerError) as again:
        trigger.next_us(start_us + 86_400_000_000)
    assert (str(again.value), len(looked) < 10) == (str(first.value), True)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    minutes=st.sets(st.integers(0, 1439), min_size=1, max_size=4),
    seconds=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    distance=st.sampled_from([1, 7, 59, 60, 61, 119, 3599, 3600, 3661, 43_200, 86_399, 86_400]),
    data=st.data(),
)
def test_what_is_near_to_some_times_of_the_day(
    minutes: set[int], seconds: set[int], distance: int, data: st.DataObject
) -> None:
    times = [60 * minute + second for minute in minutes for second in seconds]
    asked = data.draw(st.sampled_from(times)) + data.draw(
        st.sampled_from([0, distance, -distance, distance + 1, -distance - 1])
        | st.integers(-distance - 100, distance + 100)
    )
    day, second = divmod(asked, 86_400)
    near = times_near(sum(1 << each for each in minutes), sum(1 << each for each in seconds), distance)
    found = any(
        these >> second % 60 & 1 and mask >> second // 60 & 1 and least <= day <= most
        for these, mask, least, most in near
    )
    assert found == any(abs(asked - each) <= distance for each in times)


DAY_SETS = (DayLattice(7, 3), DayLattice(7, 3, 5), DayLattice(2, 1))
some_boxes = st.builds(
    lambda *each, **fields: Box(*each, **fields),
    st.sampled_from([60_000_000, 120_000_000]),
    minutes=st.sampled_from([0b0110, 0b0111, 0b1110, 0b10000]),
    seconds=st.sampled_from([0b1, 0b11, 0b110]),
    days=st.lists(st.sampled_from(DAY_SETS), unique=True).map(tuple),
    from_us=st.sampled_from([FIRST_US, from_datetime(datetime(2026, 1, 3, tzinfo=UTC))]),
    vague=st.booleans(),
)


def instants_of(boxes: Sequence[Box]) -> list[int]:
    """Those of the first days of 2026, and of their first minutes and seconds."""
    start_us = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
    instants = [
        start_us + 86_400_000_000 * day + 60_000_000 * minute + 1_000_000 * second
        for day in range(7)
        for minute in range(5)
        for second in range(3)
    ]
    return [at_us for at_us in instants if any(look(box, at_us, [10], until_us=at_us) == at_us for box in boxes)]


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(some_boxes, max_size=12))
def test_fewer_boxes_have_the_same_instants(boxes: list[Box]) -> None:
    fewer = outermost(boxes)
    assert len(fewer) <= len(boxes)
    assert any(box.vague for box in boxes) == any(box.vague for box in fewer)
    assert instants_of(fewer) == instants_of(boxes)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(some_boxes, max_size=12))
def test_one_box_around_others_has_all_their_instants(boxes: list[Box]) -> None:
    whole = around(boxes)
    assert len(whole) == min(len(boxes), 1)
    assert all(box.vague for box in whole) or not any(box.vague for box in boxes)
    assert {*instants_of(boxes)} <= {*instants_of(whole)}


def test_what_is_in_another_box_is_not_looked_into() -> None:
    whole = Box(minutes=0b11, days=DAY_SETS[:1])
    part = Box(minutes=0b01, days=DAY_SETS[:2])
    assert outermost([part, whole]) == (whole,)
    assert set(outermost([part._replace(vague=True), whole])) == {part._replace(vague=True), whole}
    assert set(outermost([part._replace(minutes=0b100), whole])) == {part._replace(minutes=0b100), whole}


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    period=st.sampled_from([7, 14, 21, 63, 100, 7 * 53, 9 * 773, 146_097, 400_000]),
    other=st.sampled_from([1, 6, 9, 35]),
    days=st.sets(st.integers(0, 500_000), min_size=1, max_size=3),
    least=st.integers(-9, 9),
    width=st.integers(0, 9),
    chunk=st.integers(1, 19),
)
def test_no_chunk_has_days_that_never_come(
    period: int, other: int, days: set[int], least: int, width: int, chunk: int
) -> None:
    lattices = DayLattice(period, *days), DayLattice(other, 4)
    moved = Smeared(lattices, least, least + width)
    inner = ALL_DAYS >> 40 << 20  # what comes over from the chunks beside it is not known of each
    for each in (*lattices, CommonDays(lattices), moved, CommonDays((moved, *lattices))):
        assert not each.chunk(chunk) & inner & ~each.ever()
    weekly = DayLattice(7 * other, 3), DayLattice(7, 5)
    assert not CommonDays(weekly).ever()


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    hours=st.sets(st.integers(0, 23), min_size=1),
    minutes=st.sets(st.integers(0, 59), min_size=1),
    odd=st.sets(st.integers(0, 1439), max_size=2),
    seconds=st.sets(st.integers(0, 59), min_size=1),
    data=st.data(),
)
def test_windows_hold_all_times_that_they_are_of(
    hours: set[int], minutes: set[int], odd: set[int], seconds: set[int], data: st.DataObject
) -> None:
    each = {60 * hour + minute for hour in hours for minute in minutes} | odd
    sets = _windows_of(sum(1 << minute for minute in each), sum(1 << second for second in seconds))
    minute, second = data.draw(
        st.tuples(st.sampled_from(sorted(each)), st.sampled_from(sorted(seconds)))
        | st.tuples(st.integers(0, 1439), st.integers(0, 59))
    )
    at_us = (60 * minute + second) * 1_000_000 + data.draw(st.sampled_from([0, 999_999]))
    held = all(
        any((at_us - begin_us) % turn_us <= width_us for turn_us, begin_us, width_us in windows) for windows in sets
    )
    if minute in each and second in seconds:
        assert held
    elif len(each) * len(seconds) < 40:  # of more, something else that has all of them may be known
        assert not held


@pytest.mark.parametrize("days", [1.5, 3, 39])
def test_a_tolerance_of_days_is_exact_to_the_minute(days: float) -> None:
    """Both are on days that are near enough, and at times of them that are not: each year was tried, until all came round."""
    first = CronTrigger(month=3, day=1, hour=5, timezone="UTC")
    distance_s = round(days * 86_400)
    after_s = 5 * 3600 + distance_s
    for second, meets in ((after_s, True), (after_s + 120, False)):
        hour, minute = second % 86_400 // 3600, second // 60 % 60
        month, day = divmod(second // 86_400, 31)
        other = CronTrigger(month=3 + month, day=1 + day, hour=hour, minute=minute, timezone="UTC")
        found_us = within(AndTrigger([first, other], tolerance=distance_s), 2026, 10)
        assert found_us == (from_datetime(datetime(2026, 3, 1, 5, tzinfo=UTC)) if meets else None)


def test_days_that_may_be_holidays_are_not_tried_for_ever() -> None:
    """No first open day is among the last ones; of each month in which holidays are not known yet, each day was tried."""
    pytest.importorskip("holidays", reason="needs the extra holidays")
    last = BusinessDayTrigger(-20, Weekdays("mon", "sun"), hour=17, timezone="UTC")
    first = BusinessDayTrigger(1, Holidays("GB"), hour=16, timezone="Etc/GMT-1")
    assert within(AndTrigger([last, first], tolerance=3600), 2026, 50) is None


def test_what_is_far_away_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    yearly = BusinessDayTrigger(1, months=[12], timezone="UTC")
    hourly = IntervalTrigger(hours=1, start_date="2025-12-10T00:00:00Z")
    asked: list[int] = []
    search = BusinessDayTrigger._search_us

    def searched(self: BusinessDayTrigger, after_us: int) -> int | None:
        asked.append(after_us)
        return search(self, after_us)

    monkeypatch.setattr(BusinessDayTrigger, "_search_us", searched)
    either = OrTrigger([yearly, hourly])
    start_us = at_us = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
    for _ in range(100):
        next_us = either.next_us(at_us)
        assert next_us == at_us + 3_600_000_000
        at_us = next_us
    assert asked == [start_us]
    assert either.next_us(start_us - 1) == start_us  # what came before is asked for again
    assert yearly.next_us(at_us) == yearly.next_us(start_us) == from_datetime(datetime(2026, 12, 1, tzinfo=UTC))
    assert asked == [start_us, start_us - 1]


def test_a_time_that_bysetpos_does_not_pick_is_no_fire_time() -> None:
    """The interval comes to the same times of each Monday, of which the rule has but the last one: the other was tried."""
    pytest.importorskip("dateutil", reason="needs the extra rrule")
    from schedcore.triggers.rrule import RRuleTrigger

    rule = RRuleTrigger(
        "FREQ=MONTHLY;BYDAY=MO;BYHOUR=0;BYMINUTE=0,59;BYSETPOS=-1", dtstart="2023-05-29T00:00:00", timezone="UTC"
    )
    for start, meets in (("2023-05-29T00:00:00Z", False), ("2023-05-29T00:59:00Z", True)):
        weekly = IntervalTrigger(weeks=1, start_date=start)
        assert (within(AndTrigger([weekly, rule], tolerance=1), 2026, 20) is not None) is meets


def within(trigger: EngineTrigger, year: int, leaps: int) -> int | None:
    """The answer of a search that may take no more leaps."""
    assert isinstance(trigger, AndTrigger)
    return trigger._meeting().next_us(from_datetime(datetime(year, 1, 1, tzinfo=UTC)), [leaps])


def test_a_tolerance_is_exact_to_the_second() -> None:
    """Their minutes are side by side, and they are a minute apart: this was walked until the search ended."""
    one = CronTrigger.from_crontab("0,11,12,19,50 1,11,21,22 L 2 *", "Antarctica/Troll")
    other = CronTrigger.from_crontab("18 0,11,15,21,23 * 2 *", "Africa/Cairo", dst="literal")
    assert within(AndTrigger([one, other], tolerance=1), 2026, 60) is None
    assert within(AndTrigger([one, other], tolerance=60), 2026, 60) is not None


def test_what_is_moved_does_not_come_round_with_the_calendar() -> None:
    """The interval comes to other days in each 400 years: from 2041 on it was said never to meet the others again."""
    interval = IntervalTrigger(days=37, seconds=1, start_date="2010-07-11T19:07:51Z")
    moved = interval.excluding(Dates(("2026-01-01", "2040-12-31"), "2026-04-12"), "next")
    nights = CronTrigger(
        month=12, day="last", day_of_week="sat,sun", hour=2, second="*", timezone="America/Nuuk", dst="literal"
    )
    found_us = AndTrigger([moved, nights]).next_us(from_datetime(datetime(2041, 7, 31, 23, tzinfo=UTC)))
    assert found_us is not None
    assert interval.next_us(found_us - 1) == nights.next_us(found_us - 1) == found_us
    assert found_us > from_datetime(datetime(2441, 8, 1, tzinfo=UTC))


def rule(text: str, start: str) -> EngineTrigger:
    pytest.importorskip("dateutil", reason="needs the extra rrule")
    from schedcore.triggers.rrule import RRuleTrigger

    return RRuleTrigger(text, dtstart=start, timezone="UTC")


class Twice(BaseTrigger):
    """A third party's trigger with two runs, of which nothing is known but what it answers."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        runs = [datetime(2030, 1, 1, 0, 0, 30, tzinfo=UTC), datetime(2700, 1, 1, 9, tzinfo=UTC)]
        return next((run for run in runs if run >= now and run != previous_fire_time), None)


YEARLY = "RRULE:FREQ=YEARLY;COUNT=2"
LATE = DateTrigger("2700-01-01T09:00:00Z")
NINE = CronTrigger(hour=9, timezone="Europe/London")
LEAP_TUESDAY = CronTrigger(month=2, day=29, day_of_week="tue", hour=9, timezone="Europe/London")


@pytest.mark.parametrize(
    ("make", "cron_rule", "found"),
    [
        (
            lambda: OrTrigger([DateTrigger(f"20{year}-01-01T00:00:30Z") for year in range(30, 40)] + [LATE]),
            NINE,
            "2700-01-01T09:00Z",
        ),
        (
            lambda: OrTrigger([rule(YEARLY, "2024-01-01T00:00:30"), rule("RRULE:FREQ=DAILY", "2700-01-01T09:00:00")]),
            NINE,
            "2700-01-01T09:00Z",
        ),
        (
            lambda: rule(f"{YEARLY}\nRDATE:20300101T000030,27000101T090000", "2024-01-01T00:00:30"),
            NINE,
            "2700-01-01T09:00Z",
        ),
        (
            lambda: rule("RRULE:FREQ=DAILY;INTERVAL=1000\nRDATE:20300101T000030", "2024-01-01T09:00:00"),
            LEAP_TUESDAY,
            "3516-02-29T09:00Z",
        ),
        (Twice, NINE, "2700-01-01T09:00Z"),
    ],
    ids=["dates", "rules", "added dates", "rule and date", "third party"],
)
def test_what_comes_once_does_not_come_round_with_the_calendar(
    make: Callable[[], BaseTrigger], cron_rule: CronTrigger, found: str
) -> None:
    """400 years after its first run it was said never to meet the others again."""
    found_us = AndTrigger([make(), cron_rule]).next_us(from_datetime(datetime(2026, 1, 1, tzinfo=UTC)))
    assert found_us == from_datetime(datetime.fromisoformat(found))


@pytest.mark.parametrize(("hours", "seconds", "comes_round"), [(1, 0, True), (1, 1, False), (25, 1, False)])
def test_boxes_know_whether_all_comes_round_after_400_years(hours: int, seconds: int, comes_round: bool) -> None:
    boxes = boxes_of(IntervalTrigger(hours=hours, seconds=seconds, start_date="2024-01-01T05:00:00Z"))
    whole_year = Dates(("2026-01-01", "2026-12-31"))
    moved = IntervalTrigger(hours=hours, seconds=seconds, start_date="2024-01-01T05:00:00Z").excluding(
        whole_year, "next"
    )
    assert Finder(boxes).periodic is comes_round
    assert Finder(near(boxes, 3_600_000_000)).periodic is comes_round
    assert comes_round or not Finder(boxes_of(moved)).periodic


def test_what_hardly_drifts_never_comes_near_whatever_drifts_beside_it() -> None:
    """A microsecond a day: the search went from window to window of the other interval until it was given up."""
    daily = IntervalTrigger(days=1, seconds=0.000001, start_date="2025-03-14T12:07:34Z")
    hours = CronTrigger.from_crontab("56 */6 31W 2,4,6,9,11 sun#5", "Europe/Berlin", dst="literal")
    other = IntervalTrigger(minutes=1, seconds=1, start_date="2021-01-19T14:07:31Z")
    assert within(AndTrigger([daily, hours, other], tolerance=1), 2041, 60) is None


def test_clocks_that_change_at_the_same_instant_agree_within_a_tolerance() -> None:
    daily = CalendarIntervalTrigger(
        days=1, hour=18, minute=58, start_date="2024-01-31", timezone="Europe/Dublin", dst="shift"
    )
    later = CronTrigger.from_crontab("* */19 30 * *", "Europe/London", dst="literal")
    assert within(AndTrigger([daily, later], tolerance=60), 2026, 10) is None
    assert within(AndTrigger([daily, later], tolerance=120), 2026, 10) is not None


@pytest.mark.skipif(not HAS_RULES, reason="needs the extra rrule")
def test_the_interval_of_a_rule_meets_others_by_arithmetic() -> None:
    """Every 13 hours and 40 minutes, and once in 54 days: they are never at the same second."""
    from schedcore.triggers.rrule import RRuleTrigger

    rule = RRuleTrigger("FREQ=MINUTELY;INTERVAL=820", dtstart="2023-05-31T02:30:00", timezone="Africa/Cairo")
    never = IntervalTrigger(seconds=4_700_240, start_date="2024-01-01T05:00:00Z")
    assert within(AndTrigger([rule, never]), 2026, 1) is None


@pytest.mark.skipif(not HAS_RULES, reason="needs the extra rrule")
@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=HOURLY;INTERVAL=7;BYMONTH=2,4;BYMONTHDAY=-1",
        "FREQ=DAILY;BYMONTH=1,2,3;BYDAY=SA,SU;BYSETPOS=-1;BYHOUR=23",
        "FREQ=MINUTELY;INTERVAL=100;BYMONTHDAY=29",
    ],
)
def test_a_rule_that_is_taken_away_whole_has_no_instance(rule: str) -> None:
    from schedcore.triggers.rrule import RRuleTrigger

    taken = re.sub(r"INTERVAL=\d+", "INTERVAL=1", rule)
    trigger = RRuleTrigger(f"RRULE:{rule}\nEXRULE:{taken}", dtstart="2023-05-29T00:00:00", timezone="UTC")
    assert trigger.next_us(from_datetime(datetime(2026, 1, 1, tzinfo=UTC))) is None
    kept = RRuleTrigger(f"RRULE:{taken}\nEXRULE:{rule}", dtstart="2023-05-29T00:00:00", timezone="UTC")
    assert (kept.next_us(from_datetime(datetime(2026, 1, 1, tzinfo=UTC))) is None) == (taken == rule)


def is_one_of_the_first(day: date) -> bool:
    return day < date(1, 1, 3)


def test_calendars_are_asked_of_dates_alone() -> None:
    """Before the first two days of all there is one of no year that a date can have."""
    trigger = CronTrigger(hour=3, timezone="UTC").excluding(Predicate(is_one_of_the_first), "next")
    assert trigger.next_us(FIRST_US - 1) == from_datetime(datetime(1, 1, 3, 3, tzinfo=UTC))


def test_a_lattice_that_passes_before_the_times_of_all_days_is_no_walk() -> None:
    """Every day at 11:07 and a microsecond more each time, which comes near to 16:00 in some millions of years."""
    drifting = IntervalTrigger(days=1, seconds=0.000001, start_date="2012-07-16T11:07:24Z")
    mondays = CronTrigger(day="5th mon", hour=3, second="*", timezone="Australia/Lord_Howe")
    assert within(AndTrigger([drifting, mondays], tolerance=60), 2026, 1) is None


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Apia", "America/New_York"])
def test_what_is_always_closed_is_never_and_no_search(zone: str) -> None:
    """Also where the days of UTC are others: those beside the last one of 400 years are known, too."""
    always = Weekdays("mon", "fri", "sun") | Weekdays("tue", "wed", "thu", "sat") | Dates(("2026-01-01", "2027-12-31"))
    trigger = CronTrigger(hour=3, timezone=zone).excluding(always)
    for year in (2026, 2399, 9000):
        assert trigger.next_us(from_datetime(datetime(year, 1, 1, tzinfo=UTC))) is None


def test_days_in_steps_of_weeks_are_never_near_to_a_sunday() -> None:
    """On Wednesdays, which no last Sunday of a month is within two days of."""
    weeks = CalendarIntervalTrigger(weeks=31, hour=11, start_date="2024-01-31", timezone="America/New_York")
    sundays = CronTrigger(day="last sun", hour=3, second="*", timezone="Europe/London")
    assert within(AndTrigger([weeks, sundays], tolerance=2 * 86_400), 2026, 1500) is None

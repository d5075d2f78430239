"""How far questions search: in steps, which are the same on every machine, of some 2 us each, and in lines of Python.

How long it takes is measured by ``python -m benchmarks triggers``, on the same schedules.
"""

from __future__ import annotations

import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._effort import EFFORT, MOST_STEPS
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import BusinessDayTrigger, Dates, Holidays, Weekdays
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.interval import IntervalTrigger
from tests.effort import lines_run

# Behind everything else: what is tested is the schedcore that is installed.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks._schedules import ASKED, KINDS, forget

DAY_US = 86_400_000_000
# By kind: how many of a thousand may end without an answer, and the steps that 98 of a hundred, and all, stay within.
BOUNDS = {
    "cron": (0, 0, 0),
    "interval": (0, 0, 0),
    "calendarinterval": (0, 0, 0),
    "rrule": (0, 30, 150),
    "businessday": (17, 150, 400),
    "excluding": (60, 180, 500),
    "and": (0, 80, 500),
    "and_near": (1, 120, 500),
    "nested": (20, 250, 5000),
}


def check(kind: str, count: int, share: float) -> None:
    make, (most_lost, most_steps, worst_steps) = KINDS[kind], BOUNDS[kind]
    random = Random(f"searches of {kind}")
    taken: list[int] = []
    lost = 0
    while len(taken) < count:
        trigger_seed, asked = random.random(), random.choice(ASKED)
        try:
            trigger = make(Random(trigger_seed))
        except InvalidTriggerError:  # refused when it is made
            continue
        EFFORT.left = MOST_STEPS
        try:
            trigger.next_us(int(datetime.fromisoformat(asked).timestamp()) * 1_000_000)
        except InvalidTriggerError:
            lost += 1
        taken.append(MOST_STEPS - EFFORT.left)
    assert lost <= most_lost * count / 1000 + 2
    assert sorted(taken)[int(count * share)] <= most_steps
    assert max(taken) <= worst_steps


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_question_takes_few_steps(kind: str) -> None:
    check(kind, 50, 0.9)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_so_do_two_thousand(kind: str) -> None:
    check(kind, 2000, 0.98)


# By kind: the lines that nine of ten first questions, and all, stay within.
LINES = {
    "cron": (1000, 2200),
    "interval": (10, 10),
    "calendarinterval": (300, 600),
    "rrule": (3200, 6000),
    "businessday": (3700, 6500),
    "excluding": (4500, 8800),
    "and": (5400, 13_500),
    "and_near": (9500, 40_000),
    "nested": (11_500, 29_000),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", LINES)
def test_all_that_a_first_question_works_out_takes_few_lines(kind: str) -> None:
    """That is most of it: the days of 400 years, and boxes for each offset of a zone. Steps count the search alone."""
    for extra, module in (("rrule", "dateutil"), ("holidays", "holidays")):
        pytest.importorskip(module, reason=f"needs the extra {extra}, of which some of the schedules are")
    random = Random(f"lines of {kind}")
    taken: list[int] = []

    def ask() -> None:
        try:
            trigger.next_us(asked_us)
        except InvalidTriggerError:
            return

    while len(taken) < 200:
        trigger_seed, asked = random.random(), random.choice(ASKED)
        asked_us = from_datetime(datetime.fromisoformat(asked))
        try:
            trigger = KINDS[kind](Random(trigger_seed))
        except InvalidTriggerError:  # refused when it is made
            continue
        ask()  # what is worked out once for its zones
        forget()
        trigger = KINDS[kind](Random(trigger_seed))
        taken.append(lines_run(ask))
    assert sorted(taken)[180] <= LINES[kind][0]
    assert max(taken) <= LINES[kind][1]


def check_each(trigger: EngineTrigger, asked: str, answers: list[str | None], most_steps: int) -> None:
    """Each answer is the next question."""
    at_us: int | None = from_datetime(datetime.fromisoformat(asked))
    for answer in answers:
        assert at_us is not None
        EFFORT.left = MOST_STEPS
        at_us = trigger.next_us(at_us)
        assert at_us == (None if answer is None else from_datetime(datetime.fromisoformat(answer)))
        assert MOST_STEPS - EFFORT.left <= most_steps


def test_a_rule_that_an_interval_is_near_once_in_a_thousand_years() -> None:
    """The days on which a window of some minutes comes to the hours of a rule are known, and were tried one after the other."""
    pytest.importorskip("dateutil", reason="needs the extra rrule")
    from schedcore.triggers.rrule import RRuleTrigger

    mondays = RRuleTrigger(
        "FREQ=HOURLY;INTERVAL=31;BYMONTH=2,4;BYDAY=MO", dtstart="2024-01-31T02:30", timezone="Europe/Berlin", dst="cron"
    )
    interval = IntervalTrigger(days=43, hours=13, minutes=53, seconds=38, start_date="2020-04-13T17:07:50Z")
    answers = ["8602-04-19T09:30Z", "9721-02-10T20:30Z", None]
    check_each(AndTrigger([mondays, interval], tolerance=60), "2400-01-01T00:00Z", answers, 300)


def test_runs_that_few_instances_of_a_rule_are_near() -> None:
    """One run of the interval in 930 is near an instance of any day, and one in 50 is on a day of the rule: these were tried."""
    pytest.importorskip("dateutil", reason="needs the extra rrule")
    from schedcore.triggers.rrule import RRuleTrigger

    mondays = RRuleTrigger(
        "FREQ=HOURLY;INTERVAL=31;BYMONTH=2,4;BYDAY=MO",
        dtstart="2024-01-31T02:30",
        timezone="America/Scoresbysund",
        dst="cron",
    )
    interval = IntervalTrigger(days=43, hours=13, minutes=53, seconds=38, start_date="2014-04-10T11:07:18Z")
    answers = ["2983-02-10T05:29:58Z", None]
    check_each(AndTrigger([interval, mondays], tolerance=60), "2399-12-30T01:00Z", answers, 500)


def test_intervals_that_are_near_once_in_some_centuries() -> None:
    """What is within an hour of an interval of odd seconds is at any time of the day: 15 parts of it were searched."""
    one = IntervalTrigger(days=65, hours=16, minutes=6, seconds=57, start_date="2030-07-16T22:07:56Z")
    daily = IntervalTrigger(days=1, hours=1, seconds=1, start_date="2020-05-15T19:07:56Z")
    other = IntervalTrigger(days=73, hours=20, minutes=46, seconds=6, start_date="2013-02-15T21:07:39Z")
    trigger = AndTrigger([one, daily, other], tolerance=3600)
    answers: list[str | None] = ["6771-10-02T12:32:29Z", "7651-11-19T11:32:44Z", "7762-02-07T02:33:05Z"]
    check_each(trigger, "2030-01-01T00:00Z", answers, 400)


def test_runs_of_an_interval_that_comes_to_a_time_of_the_day_a_few_times_in_ten_years() -> None:
    """Of its runs on days of the rule, one in ten is near that time: all of them were tried."""
    fridays = CronTrigger.from_crontab("18 20 31W * friL", "Europe/Berlin")
    interval = IntervalTrigger(days=99, hours=14, minutes=29, seconds=16, start_date="2020-04-13T17:07:50Z")
    answers: list[str | None] = ["2100-09-24T19:01:30Z", "2113-10-27T18:26:18Z", "2470-03-31T17:57:50Z"]
    check_each(AndTrigger([interval, fridays], tolerance=3600), "2041-07-31T23:00Z", answers, 40)


def test_a_business_day_is_not_moved_by_holidays_that_nobody_knows_yet() -> None:
    """The second one of a month was tried on the 29th of each month in which a holiday may come to be."""
    for extra, module in (("rrule", "dateutil"), ("holidays", "holidays")):
        pytest.importorskip(module, reason=f"needs the extra {extra}")
    from schedcore.triggers.rrule import RRuleTrigger

    rule = RRuleTrigger(
        "FREQ=MINUTELY;INTERVAL=7;BYMONTHDAY=29,30", dtstart="2023-05-29", timezone="America/Scoresbysund"
    )
    second = BusinessDayTrigger(2, Holidays("GB"), hour=7, timezone="Europe/London")
    check_each(AndTrigger([rule, second], tolerance=3600), "2026-01-01T00:00Z", [None], 100)


@pytest.mark.parametrize(("months", "days"), [(1201, 1), (3001, 2), (11_999, 1), (1, 100_000)])
def test_months_and_days_that_take_millennia_to_come_round(months: int, days: int) -> None:
    """All dates of such a round were worked out at once, which took seconds and hundreds of megabytes."""
    dates = CalendarIntervalTrigger(months=months, days=days, hour=9, start_date="2024-01-31", timezone="UTC")
    mondays = AndTrigger([dates, CronTrigger(day_of_week="mon", hour=9, timezone="UTC")])
    asked_us = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
    at_us, walked_us = dates.next_us(asked_us), []
    while at_us is not None:
        if at_us // DAY_US % 7 == 4:  # 1970-01-01 was a Thursday
            walked_us.append(at_us)
        at_us = dates.next_us(at_us)
    found_us = []
    tracemalloc.start()
    try:
        at_us = mondays.next_us(asked_us)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    while at_us is not None:
        found_us.append(at_us)
        at_us = mondays.next_us(at_us)
    assert found_us == walked_us


@pytest.mark.parametrize("roll", [None, "next"])
def test_a_rule_with_added_dates_fires_on_known_days(roll: Any) -> None:
    """Nothing was known of where it fires, and each run was asked for until the search ended."""
    pytest.importorskip("dateutil", reason="needs the extra rrule")
    from schedcore.triggers.rrule import RRuleTrigger

    dated: EngineTrigger = RRuleTrigger(
        "RRULE:FREQ=DAILY;INTERVAL=3\nRDATE:20290117T033000,20261118T030000,20290524T030000",
        dtstart="2024-05-07T03:00",
        timezone="Europe/Berlin",
    )
    if roll is not None:
        dated = dated.excluding(Dates("2031-01-01"), roll)
    early = CalendarIntervalTrigger(weeks=2, hour=4, start_date="2020-05-28", timezone="Europe/Berlin")
    check_each(AndTrigger([dated, early]), "2026-01-01T00:00Z", [None], 1500)
    half_past = CronTrigger(minute=30, timezone="Asia/Tokyo")
    check_each(AndTrigger([dated, half_past]), "2026-01-01T00:00Z", ["2029-01-17T02:30Z", None], 1500)


def test_a_run_that_is_open_is_found_without_knowing_where_others_are() -> None:
    """The days on which the rule comes to each of its times were worked out first, which took 20 ms."""
    for extra, module in (("rrule", "dateutil"), ("holidays", "holidays")):
        pytest.importorskip(module, reason=f"needs the extra {extra}")
    from schedcore.triggers.rrule import RRuleTrigger

    rule = RRuleTrigger(
        "FREQ=MINUTELY;INTERVAL=12142;BYSECOND=24,33,52,32", dtstart="2025-06-24T06:30", timezone="Europe/London"
    )
    trigger = rule.excluding(Holidays("DE"))
    asked_us = from_datetime(datetime(2041, 2, 17, tzinfo=UTC))
    assert lines_run(lambda: trigger.next_us(asked_us)) < 10_000
    assert trigger.next_us(asked_us) == rule.next_us(asked_us)


def test_runs_of_each_millisecond_after_a_year_of_closed_days() -> None:
    """Those of 365 closed days come to the first open one at the same times, and were asked for day by day for each run."""
    closed = Dates(("2025-01-01", "2025-12-31"))
    trigger = IntervalTrigger(seconds=0.001, start_date="2024-01-01T00:00:00Z").excluding(closed, "next")
    either = OrTrigger([trigger.trigger, CronTrigger(month=7, timezone="UTC")]).excluding(closed, "next")
    answers: list[str | None] = [f"2026-01-01T00:00:00.00{number}Z" for number in range(1, 5)]
    check_each(either, "2026-01-01T00:00Z", answers, 500)


def test_what_is_moved_from_open_days_comes_from_no_others() -> None:
    """Runs of Fridays are moved in 2026 alone; later each Thursday was tried, since one of any day may be moved there."""
    some = CronTrigger(hour=10, minute="*", second=28, timezone="Africa/Cairo").excluding(
        ~Weekdays("mon", "fri", "sat")
    )
    moved = some.excluding(Dates(("2026-01-01", "2026-12-31")) & Weekdays("fri"), "previous")
    thursdays = moved.excluding(~Weekdays("thu"))
    check_each(thursdays, "2026-12-17T09:00Z", ["2026-12-24T08:00:28Z", "2026-12-24T08:01:28Z"], 500)
    for asked in ("2026-12-24T09:00Z", "2041-08-01T00:00Z"):
        check_each(thursdays, asked, [None], 500)


def test_what_never_falls_together_is_known_without_all_boxes() -> None:
    """Each part has boxes for the offsets of its zone, and each two of these had days of their own to be worked out."""
    last = CronTrigger.from_crontab("*/5 1-4 * * monL", "Europe/Berlin")
    first = CronTrigger.from_crontab("*/7 1-4 1-20 * *", "America/New_York")
    any_day = CronTrigger.from_crontab("*/11 8-20 * * *", "Australia/Lord_Howe")
    meeting = AndTrigger([last, first, any_day], tolerance=3600)._meeting()
    assert meeting.next_us(from_datetime(datetime.fromisoformat("2026-01-01T00:00Z"))) is None
    assert meeting._known_finder is None
    assert not meeting.boxes()
    assert meeting._known_finder is None


def test_a_part_that_fails_where_none_can_meet_is_no_error() -> None:
    """04:00 in UTC is in the outline of both, at one time of the year each; what is asked there has ended in an error."""
    pytest.importorskip("holidays", reason="needs the extra holidays")
    once = CalendarIntervalTrigger(years=100, hour=2, minute=13, start_date="2024-02-29", timezone="UTC")
    lost = once.excluding(~Holidays("GB"))
    asked_us = from_datetime(datetime.fromisoformat("2126-01-01T00:00Z"))
    with pytest.raises(InvalidTriggerError, match="excluded, and the search ended there"):
        lost.next_us(asked_us)
    either = OrTrigger([lost, CronTrigger(hour=5, timezone="Europe/Berlin")])
    assert AndTrigger([either, CronTrigger(hour=5, timezone="Europe/London")]).next_us(asked_us) is None


def test_a_time_beside_the_change_of_clocks_is_no_candidate_on_each_such_day() -> None:
    """On those days both offsets hold: 02:03 was tried by the one that does not at that time, twice a year for 400 years."""
    daily = CalendarIntervalTrigger(days=1, hour=2, minute=3, start_date="2020-05-30", timezone="Asia/Gaza")
    early = CronTrigger(hour="*/14", minute="4,11,17,38,41,58", second="*/16", timezone="Asia/Gaza", dst="literal")
    check_each(AndTrigger([daily, early], tolerance=3600), "2026-03-29T00:00Z", [None], 100)


def test_what_is_closed_is_refused_before_others_are_near() -> None:
    """Each meeting on a closed day was searched for to its end, with all that the first trigger is moved from and to."""
    first = CronTrigger.from_crontab("* */19 29 2,4,6,9,11 mon#1", "UTC", dst="literal").excluding(
        Dates(("2026-01-01", "2026-12-31")), "previous"
    )
    interval = IntervalTrigger(days=37, seconds=1, start_date="2027-03-13T20:07:10Z").excluding(
        Weekdays("mon", "tue", "wed", "thu", "sat"), "next"
    )
    trigger = AndTrigger([first, interval], tolerance=3600).excluding(Weekdays("mon", "sat"))
    check_each(trigger, "2399-12-30T01:00Z", ["3449-06-29T00:00Z"], 8000)

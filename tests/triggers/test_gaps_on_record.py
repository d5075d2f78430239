"""``swallowed``: the local times that do not exist, against a list of all local times and what zoneinfo says of each."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schedcore.clock import from_datetime
from schedcore.engine import Claim, decide, omitted, plain_next
from schedcore.job import JobPolicy, JobRecord
from schedcore.run import Skip, SkipReason
from schedcore.triggers.base import EngineTrigger, Swallowed
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import Times, Weekdays
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.interval import IntervalTrigger

pytest.importorskip("dateutil", reason="recurrence rules need python-dateutil, which the extra 'rrule' brings")

from schedcore.triggers.rrule import RRuleTrigger

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia", "Antarctica/Troll")
DAY = 86_400_000_000


def us(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text))


def exists(local: datetime, zone: ZoneInfo) -> bool:
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


def missing(zone_name: str, first: date, last: date, times: list[tuple[int, int]]) -> int:
    """How many of some times of each day do not exist."""
    zone = ZoneInfo(zone_name)
    days = [first + timedelta(days=number) for number in range((last - first).days)]
    moments = [datetime(d.year, d.month, d.day, hour, minute) for d in days for hour, minute in times]  # noqa: DTZ001
    return sum(not exists(moment, zone) for moment in moments)


FIRST, LAST = date(2005, 1, 2), date(2025, 1, 2)
SPAN = us("2005-01-02T12:00Z"), us("2025-01-01T12:00Z")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("hours", ["0", "2", "0,2,3", "0-2", "23"])
def test_cron_tells_the_times_that_do_not_exist(zone: str, hours: str) -> None:
    trigger = CronTrigger(hour=hours, minute="0,15,30", timezone=zone, dst="literal")
    parts = [part.partition("-") for part in hours.split(",")]
    named = [hour for low, _, high in parts for hour in range(int(low), int(high or low) + 1)]
    expected = missing(zone, FIRST, LAST, [(hour, minute) for hour in named for minute in (0, 15, 30)])
    found = trigger.swallowed(*SPAN)
    assert sum(each.times for each in found) == expected
    # It is what ``changes`` tells one by one.
    changes = [change for change in trigger.changes(*SPAN, limit=10_000) if change.kind == "gap: skipped"]
    assert len(changes) == expected
    assert {from_datetime(change.at) for change in changes} == {each.at_us for each in found}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("hour", [0, 2, 23])
def test_calendar_intervals_and_recurrence_rules_tell_the_same(zone: str, hour: int) -> None:
    expected = missing(zone, FIRST, LAST, [(hour, 15)])
    daily = CalendarIntervalTrigger(days=1, hour=hour, minute=15, start_date="2000-01-01", timezone=zone)
    rule = RRuleTrigger(f"FREQ=DAILY;BYHOUR={hour};BYMINUTE=15;BYSECOND=0", dtstart="2000-01-01", timezone=zone)
    assert sum(each.times for each in daily.swallowed(*SPAN)) == expected
    if zone != "Africa/Cairo":  # of so many gaps the first ones
        assert rule.swallowed(*SPAN) == daily.swallowed(*SPAN)[: len(rule.swallowed(*SPAN))]


def test_months_that_lack_the_day_are_told_at_their_end() -> None:
    monthly = CalendarIntervalTrigger(months=1, hour=9, start_date="2026-01-31", timezone="Europe/Berlin")
    found = monthly.swallowed(us("2026-01-31T12:00Z"), us("2026-12-31T12:00Z"))
    ends = ["2026-02-28T23:00Z", "2026-04-30T22:00Z", "2026-06-30T22:00Z", "2026-09-30T22:00Z", "2026-11-30T23:00Z"]
    assert found == [Swallowed(us(end), 1) for end in ends]
    clamped = CalendarIntervalTrigger(
        months=1, hour=9, start_date="2026-01-31", timezone="Europe/Berlin", overflow="clamp"
    )
    assert clamped.swallowed(us("2026-01-31T12:00Z"), us("2026-12-31T12:00Z")) == []
    leap = CalendarIntervalTrigger(years=1, hour=9, start_date="2024-02-29", timezone="UTC")
    assert [each.times for each in leap.swallowed(us("2024-03-01T00:00Z"), us("2032-03-01T00:00Z"))] == [1] * 6


NIGHTLY = CronTrigger(hour=2, minute=30, timezone="Europe/Berlin", dst="literal")
NEXT_DAY = CronTrigger(hour=2, minute=30, timezone="Europe/Berlin")
BEFORE, AFTER = us("2026-03-28T01:30Z"), us("2026-03-30T00:30Z")
JUMP = us("2026-03-29T01:00Z")


@pytest.mark.parametrize(
    ("trigger", "told"),
    [
        (NIGHTLY, True),
        (NEXT_DAY, False),  # it runs at the end of the gap
        (CronTrigger.from_crontab("*/5 2 * * *", timezone="Europe/Berlin"), True),
        (
            CronTrigger.from_crontab("30 * * * *", timezone="Europe/Berlin", dst="literal"),
            False,
        ),  # in every hour there is
        (NIGHTLY.excluding(Weekdays("sat")), True),
        (NIGHTLY.excluding(Weekdays("sun")), False),  # it was closed anyway
        (NIGHTLY.excluding(Times("03:00", "04:00")), True),
        (OrTrigger([NIGHTLY, IntervalTrigger(days=300, start_date="2020-01-01", timezone="UTC")]), True),
        (OrTrigger([NEXT_DAY, IntervalTrigger(days=300, start_date="2020-01-01", timezone="UTC")]), False),
        (AndTrigger([NIGHTLY, CronTrigger(day="*", hour=2, minute=30, timezone="Europe/Berlin", dst="literal")]), True),
        (AndTrigger([NIGHTLY, NEXT_DAY]), False),
        (IntervalTrigger(hours=1, start_date="2020-01-01", timezone="Europe/Berlin"), False),
        (CalendarIntervalTrigger(days=1, hour=2, minute=30, start_date="2026-01-01", timezone="Europe/Berlin"), True),
        (
            CalendarIntervalTrigger(
                days=1, hour=2, minute=30, start_date="2026-01-01", timezone="Europe/Berlin", dst="cron"
            ),
            False,
        ),
        (
            RRuleTrigger("FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0", dtstart="2026-01-01", timezone="Europe/Berlin"),
            True,
        ),
    ],
    ids=str,
)
def test_who_tells_of_a_gap(trigger: EngineTrigger, told: bool) -> None:
    skips = omitted(trigger, BEFORE, AFTER) if trigger.omits else ()
    gaps = [skip for skip in skips if skip.reason is SkipReason.GAP]
    assert [gap.first_us for gap in gaps] == ([JUMP] if told else [])
    if gaps:
        # Each gap belongs to one span between fire times, wherever the line is drawn.
        assert omitted(trigger, BEFORE, JUMP - 1) == omitted(trigger, JUMP, AFTER) == ()


def claim(trigger: EngineTrigger, fire_us: int, **policy: object) -> Claim:
    job = JobRecord("x", "x", None, None, (), {}, trigger, JobPolicy()._replace(**policy))  # type: ignore[arg-type]
    return Claim(job, fire_us, fire_us, 0, None)


def test_a_gap_is_told_with_the_run_before_it() -> None:
    answer = decide(claim(NIGHTLY, BEFORE), BEFORE)
    assert (answer.fires, answer.next_us) == ((BEFORE,), AFTER)
    assert answer.skips == (Skip(SkipReason.GAP, JUMP, JUMP, 1),)
    assert decide(claim(NIGHTLY, AFTER), AFTER).skips == ()
    # Stores that decide for themselves leave that one to the engine, and no other.
    job = claim(NIGHTLY, BEFORE).job
    assert plain_next(job, BEFORE, BEFORE, 0, BEFORE) is None
    assert plain_next(job, AFTER, AFTER, 0, AFTER) == AFTER + DAY


def test_the_gaps_of_a_backlog_are_one_skip() -> None:
    later = us("2028-06-01T00:30Z")
    answer = decide(claim(NIGHTLY, BEFORE), later)
    last = us("2028-03-26T01:00Z")
    assert answer.skips[-1] == Skip(SkipReason.GAP, JUMP, last, 3)


def test_a_gap_is_not_on_record_where_something_else_may_be() -> None:
    # A run at the end of the gap, which may be skipped for another reason.
    trigger = CronTrigger(hour="2,3", timezone="Europe/Berlin", dst="literal")
    before = us("2026-03-28T02:00Z")
    answer = decide(claim(trigger, before), before)
    assert (answer.next_us, answer.skips) == (JUMP, (Skip(SkipReason.GAP, JUMP - 1, JUMP - 1, 1),))


@pytest.mark.parametrize(
    ("dst", "kind", "at"),
    [("skip", "gap: skipped", "01:00"), ("cron", "gap: moved", "01:00"), ("shift", "gap: moved", "01:30")],
)
def test_a_calendar_interval_can_be_asked_why(dst: Any, kind: str, at: str) -> None:
    trigger = CalendarIntervalTrigger(
        days=1, hour=2, minute=30, start_date="2026-01-01", timezone="Europe/Berlin", dst=dst
    )
    first, twice, second, again = trigger.changes(us("2026-01-01T00:00Z"), us("2028-01-01T00:00Z"))
    assert (first.kind, first.at) == (kind, datetime.fromisoformat(f"2026-03-29T{at}Z"))
    assert second.local.isoformat() == "2027-03-28T02:30:00"
    assert "02:30:00 does not exist on 2026-03-29" in first.reason
    second_time = us("2026-10-25T01:30Z")
    assert (twice.kind, from_datetime(twice.at)) == ("overlap: first only", second_time)
    assert (again.kind, again.local) == (twice.kind, datetime(2027, 10, 31, 2, 30))  # noqa: DTZ001 - the wall clock's
    assert trigger.next_us(second_time - 3_600_000_001) == second_time - 3_600_000_000
    assert trigger.next_us(second_time - 1) != second_time
    assert trigger.changes(second_time - 1, second_time) == [twice]
    assert trigger.changes(us("2026-03-30T00:00Z"), second_time - 1) == []
    assert trigger.changes(second_time, us("2027-03-01T00:00Z")) == []
    told = trigger.explain(now=datetime(2026, 1, 1, tzinfo=UTC), at="2026-03-29T02:30")
    assert told.answer is not None
    assert told.answer.reasons == (first.reason,)
    assert {"gap", "overlap"} <= {finding.code for finding in told.lint}


def test_nothing_is_looked_for_where_clocks_stand_still() -> None:
    trigger = CronTrigger(hour=2, timezone="UTC", dst="literal")
    assert trigger.swallowed(us("2000-01-01T00:00Z"), us("2030-01-01T00:00Z")) == []
    assert not CronTrigger(minute="*/5", timezone="Europe/Berlin").omits
    assert not CronTrigger(hour=7, timezone="Europe/Berlin").omits

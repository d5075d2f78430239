"""The search: far years, bounds, bounded time, and big numbers of missed fire times."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest

from schedcore.clock import from_datetime, to_datetime
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.cron._dst import Offsets
from schedcore.triggers.cron._rule import CronRule
from schedcore.triggers.cron._search import Plan, plan_for
from tests.effort import lines_run

_2024_US = from_datetime(datetime(2024, 1, 1, tzinfo=UTC))
_YEAR_US = 365 * 86_400_000_000


WORST: list[dict[str, Any]] = [
    {"month": 2, "day": 29},
    {"month": 2, "day": "5th mon"},
    {"month": 2, "day": 30},
    {"month": 2, "day": 29, "week": 1},
    {"month": 1, "day": 4, "week": 53},
    {"month": 12, "day": 31, "week": 53, "day_of_week": "mon"},
    {"year": "1971-9999/4", "month": 2, "day": 29},
    {"year": "1970-9999/7", "month": 2, "day": "5th sun"},
    {"year": 9999, "month": 12, "day": 31},
    {"year": 1970},
    {"day": 31, "month": "4,6,9,11"},
    {"month": 3, "day": "last sun", "hour": 2, "minute": 30, "dst": "literal"},
    {"year": "1970-9999", "month": 3, "day": "last sun", "hour": 2, "minute": 30, "dst": "literal"},
    {"month": 3, "day": "last sun", "hour": 2, "minute": 30},
]


@pytest.mark.parametrize("fields", WORST, ids=str)
def test_any_search_is_short(fields: dict[str, Any]) -> None:
    trigger = CronTrigger(timezone="Europe/Berlin", **fields)
    for search in (trigger.next_us, trigger.last_us):
        # From an empty plan and an empty table of the zone.
        object.__setattr__(trigger, "_plan", Plan(trigger._plan.rule))
        object.__setattr__(trigger, "_offsets", Offsets(trigger.timezone))
        assert lines_run(lambda: search(_2024_US)) < 14_000, search.__name__  # noqa: B023


@pytest.mark.parametrize("dst", ["cron", "literal"])
@pytest.mark.parametrize(
    ("fields", "never"),
    [
        ({"month": 2, "day": 30}, True),
        ({"day": 31, "month": "4,6,9,11"}, True),
        ({"month": 2, "day": 29, "week": 1}, True),
        ({"year": "2021-2023", "month": 2, "day": 29}, True),
        ({"month": 2, "day": 29}, False),
    ],
    ids=str,
)
def test_never(fields: dict[str, Any], never: bool, dst: Literal["cron", "literal"]) -> None:
    trigger = CronTrigger(timezone="America/New_York", dst=dst, **fields)
    for at_us in (FIRST_US - 1, 0, _2024_US, LAST_US, 2 * LAST_US):
        answers = (trigger.next_us(at_us), trigger.last_us(at_us))
        if never:
            assert answers == (None, None)
            assert trigger.count_us(at_us, 2 * LAST_US) == 0
    assert (trigger.describe() == "never") == never


def test_a_time_that_every_gap_swallows_never_comes_by_the_literal_rule() -> None:
    fields: dict[str, Any] = {"month": 3, "day": "last sun", "hour": 2, "minute": 30, "timezone": "Europe/Berlin"}
    literal = CronTrigger(year="1997-9999", dst="literal", **fields)
    assert literal.next_us(_2024_US) is None
    assert literal.last_us(_2024_US) is None
    answer = CronTrigger(**fields).next_us(_2024_US)
    assert answer == from_datetime(datetime(2024, 3, 31, 1, tzinfo=UTC))


def test_far_years() -> None:
    trigger = CronTrigger(month=2, day=29, timezone="UTC")
    assert trigger.next_us(from_datetime(datetime(2096, 3, 1, tzinfo=UTC))) == from_datetime(
        datetime(2104, 2, 29, tzinfo=UTC)
    )
    assert trigger.last_us(from_datetime(datetime(2104, 2, 28, tzinfo=UTC))) == from_datetime(
        datetime(2096, 2, 29, tzinfo=UTC)
    )
    assert trigger.next_us(from_datetime(datetime(1895, 1, 1, tzinfo=UTC))) == from_datetime(
        datetime(1896, 2, 29, tzinfo=UTC)
    )
    assert trigger.next_us(from_datetime(datetime(9996, 3, 1, tzinfo=UTC))) is None


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Niue", "Europe/Berlin"])
def test_the_ends_of_time(zone: str) -> None:
    trigger = CronTrigger.from_crontab("* * * * *", zone)
    for at_us in (-(2**70), FIRST_US - 1, FIRST_US):
        answer_us = trigger.next_us(at_us)
        assert answer_us is not None
        assert FIRST_US <= answer_us <= FIRST_US + 60_000_000
        assert to_datetime(answer_us).astimezone(trigger.timezone).year == 1
    for at_us in (LAST_US, LAST_US + 1, 2**70):
        assert trigger.next_us(at_us) is None
        last_us = trigger.last_us(at_us)
        assert last_us is not None
        assert LAST_US - 60_000_000 < last_us <= LAST_US
        assert to_datetime(last_us).astimezone(trigger.timezone).year == 9999
    assert trigger.last_us(FIRST_US - 1) is None


def test_start_and_end_are_inclusive() -> None:
    start, end = "2024-05-01T10:00:00+00:00", "2024-05-01T12:00:00+00:00"
    trigger = CronTrigger(minute=0, start_date=start, end_date=end, timezone="Europe/Berlin")
    start_us, end_us = (from_datetime(datetime.fromisoformat(text)) for text in (start, end))
    hour_us = 3_600_000_000
    assert trigger.next_us(0) == start_us
    assert trigger.next_us(start_us) == start_us + hour_us
    assert trigger.next_us(end_us - 1) == end_us
    assert trigger.next_us(end_us) is None
    assert trigger.last_us(start_us - 1) is None
    assert trigger.last_us(start_us) == start_us
    assert trigger.last_us(end_us + 99 * hour_us) == end_us
    assert trigger.count_us(0, LAST_US) == 3
    assert trigger.count_us(start_us, end_us) == 2
    assert trigger.count_us(end_us, end_us + hour_us) == 0
    assert trigger.count_us(end_us, start_us) == 0


def test_a_start_off_the_second() -> None:
    trigger = CronTrigger(
        second="*", start_date="2024-05-01T10:00:00.5", end_date="2024-05-01T10:00:02.5", timezone="UTC"
    )
    base_us = from_datetime(datetime(2024, 5, 1, 10, tzinfo=UTC))
    assert [trigger.next_us(0), trigger.next_us(base_us + 1_000_000), trigger.next_us(base_us + 2_000_000)] == [
        base_us + 1_000_000,
        base_us + 2_000_000,
        None,
    ]
    assert trigger.count_us(0, LAST_US) == 2
    assert trigger.last_us(base_us + 999_999) is None


def test_a_start_date_in_another_zone() -> None:
    start = datetime(2009, 9, 26, 10, 16, tzinfo=ZoneInfo("America/Chicago"))
    trigger = CronTrigger(hour=11, minute="*/5", start_date=start, timezone="America/New_York")
    assert trigger.get_next_fire_time(None, datetime(2009, 9, 1, tzinfo=UTC)) == datetime(
        2009, 9, 26, 11, 20, tzinfo=ZoneInfo("America/New_York")
    )


def test_answers_are_in_the_zone_of_the_trigger() -> None:
    trigger = CronTrigger(hour=5, timezone="Asia/Tokyo")
    answer = trigger.get_next_fire_time(None, datetime(2024, 1, 1, tzinfo=UTC))
    assert answer is not None
    assert answer.tzinfo is trigger.timezone
    with pytest.raises(ValueError, match="naive"):
        trigger.get_next_fire_time(None, datetime(2024, 1, 1))  # noqa: DTZ001


def test_the_first_fire_time_may_be_now() -> None:
    trigger = CronTrigger(hour=5, timezone="UTC")
    now = datetime(2024, 1, 1, 5, tzinfo=UTC)
    assert trigger.get_next_fire_time(None, now) == now
    assert trigger.get_next_fire_time(now, now) == now + timedelta(days=1)


@pytest.mark.parametrize("crontab", ["* * * * *", "30 2 * * *", "*/5 9-17 * * 1-5", "0 0 13 * 5"])
@pytest.mark.parametrize("dst", ["cron", "literal"])
def test_counting_centuries(crontab: str, dst: Literal["cron", "literal"]) -> None:
    """Sums over parts: the shortcut for spans of more than 800 years must give what the parts do."""
    trigger = CronTrigger.from_crontab(crontab, "America/Chicago", dst=dst)
    points = [from_datetime(datetime(year, 7, 3, 12, 34, tzinfo=UTC)) for year in (1950, 2090, 2500, 3100, 3333, 4100)]
    parts = [trigger.count_us(first, second) for first, second in itertools.pairwise(points)]
    assert trigger.count_us(points[0], points[-1]) == sum(parts)
    assert all(parts)


@pytest.mark.parametrize("year", ["1970-9999", "*/2", "2096-9000/5", "2000-3000,3002,4000-9999", "2094-2113,9998,9999"])
@pytest.mark.parametrize(
    ("crontab", "zone", "dst"),
    [
        ("0 0 1 1 *", "Pacific/Auckland", "cron"),
        ("59 23 31 12 *", "America/New_York", "cron"),
        ("30 2 * * 0", "America/New_York", "literal"),
        ("*/7 * 29 2 *", "Pacific/Auckland", "literal"),
    ],
)
def test_counting_named_years(year: str, crontab: str, zone: str, dst: Literal["cron", "literal"]) -> None:
    """Year by year in UTC, so that no shortcut is taken, and what local time has at their ends is in the next one."""
    trigger = CronTrigger.from_crontab(f"{crontab} {year}", zone, dst=dst, year=True)
    points = [from_datetime(datetime(each, 1, 1, tzinfo=UTC)) for each in range(2090, 10_000)]
    assert trigger.count_us(points[0], points[-1]) == sum(
        itertools.starmap(trigger.count_us, itertools.pairwise(points))
    )


@pytest.mark.parametrize("year", ["1970-9999", "1970-9999/2"])
def test_named_years_are_counted_by_their_kinds(year: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one by one: a year with summer time takes 10 us."""
    asked = 0
    inner = Plan.count

    def count(self: Plan, from_s: int, until_s: int) -> int:
        nonlocal asked
        asked += 1
        return inner(self, from_s, until_s)

    monkeypatch.setattr(Plan, "count", count)
    trigger = CronTrigger(year=year, hour=2, minute=30, timezone="Europe/Berlin")
    first = trigger.count_us(FIRST_US, LAST_US)
    of_the_first, asked = asked, 0
    assert trigger.count_us(FIRST_US, LAST_US - 1) == first
    assert 0 < asked < of_the_first < 1500


def test_a_year_of_missed_minutes_is_counted_at_once() -> None:
    for zone in ("UTC", "Europe/Berlin"):
        trigger = CronTrigger.from_crontab("* * * * *", zone)
        assert trigger.count_us(_2024_US, _2024_US + _YEAR_US) == 365 * 1440
        assert lines_run(lambda: trigger.backlog(_2024_US, _2024_US + _YEAR_US)) < 1000  # noqa: B023


def test_clock_jumps_cost_nothing() -> None:
    """From 1970 to now, ten years on, to 2200: one question each, whatever was missed."""
    trigger = CronTrigger(second="*", timezone="Europe/Berlin")
    for target in (datetime(2036, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)):
        target_us = from_datetime(target)
        backlog = trigger.backlog(0, target_us)
        assert backlog.last_us == target_us
        assert backlog.next_us == target_us + 1_000_000
        assert trigger.count_us(0, target_us) == target_us // 1_000_000
        assert lines_run(lambda: trigger.backlog(0, target_us)) < 50_000  # noqa: B023


def test_the_calendar_of_every_kind_of_year() -> None:
    """Days, weekdays and ISO weeks of the plan's years against the standard library's."""
    everything: dict[str, Any] = plan_for(CronTrigger(second=0, timezone="UTC").rule).rule._asdict()
    everything |= {"seconds": 1, "minutes": 1, "hours": 1}
    years = [*range(1890, 1912), *range(1995, 2045), *range(2095, 2106)]
    cases: list[tuple[dict[str, Any], Callable[[date], bool]]] = [
        ({"weeks": 1 << 53}, lambda day: day.isocalendar().week == 53),
        ({"weeks": 1 << 52}, lambda day: day.isocalendar().week == 52),
        ({"weeks": 1 << 1 | 1 << 10}, lambda day: day.isocalendar().week in (1, 10)),
        ({"weekdays": 1 << 6}, lambda day: day.weekday() == 6),
        ({"days": 0, "last_day": True}, lambda day: (day + timedelta(1)).day == 1),
        (
            {"days": 0, "last_weekdays": 1 << 2},
            lambda day: day.weekday() == 2 and (day + timedelta(7)).month != day.month,
        ),
        ({"days": 0, "nth_weekdays": 1 << 7 * 4 + 3}, lambda day: day.weekday() == 3 and day.day > 28),
        ({"days": 0, "nth_weekdays": 1 << 7 * 1 + 4}, lambda day: day.weekday() == 4 and 8 <= day.day <= 14),
    ]
    for change, matches in cases:
        plan = Plan(CronRule(**(everything | change)))
        for year in years:
            first = (date(year, 1, 1) - date(1970, 1, 1)).days
            expected = [day for day in range(first, first + 366) if matches(date(1970, 1, 1) + timedelta(day))]
            found, local_s = [], first * 86400
            while True:
                answer = plan.at_or_after(local_s)
                assert answer is not None
                if answer >= (first + 366) * 86400:
                    break
                found.append(answer // 86400)
                local_s = answer + 1
            assert found == expected, (year, change)


class OneGap(tzinfo):
    """A zone class of a user's own: an hour is skipped at 2014-03-09 07:00 UTC."""

    __hash__ = None  # type: ignore[assignment]

    def utcoffset(self, dt: datetime | None) -> timedelta:
        assert dt is not None
        return timedelta(hours=-5) + self.dst(dt)

    def dst(self, dt: datetime | None) -> timedelta:
        assert dt is not None
        return timedelta(hours=int(dt.replace(tzinfo=None) >= datetime(2014, 3, 9, 2)))  # noqa: DTZ001

    def tzname(self, dt: datetime | None) -> str:
        return "XXT"


def test_a_zone_class_of_the_users_own() -> None:
    zone = OneGap()
    trigger = CronTrigger.from_crontab("2 0 * * 1-5", zone)
    friday = datetime(2014, 3, 7, 12, tzinfo=zone)
    assert trigger.get_next_fire_time(None, friday) == datetime(2014, 3, 10, 0, 2, tzinfo=zone)
    gap = CronTrigger.from_crontab("30 2 * * *", zone)
    assert gap.get_next_fire_time(None, datetime(2014, 3, 9, tzinfo=zone)) == datetime(2014, 3, 9, 3, tzinfo=zone)


def test_triggers_share_what_they_have_in_common() -> None:
    one, other = (CronTrigger.from_crontab("5 4 * * *", "Europe/Berlin") for _ in range(2))
    assert one._plan is other._plan
    assert one._offsets is other._offsets


def test_tables_do_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedcore.triggers.cron._dst._TABLE_LIMIT", 50)
    monkeypatch.setattr("schedcore.triggers.cron._search._TABLE_LIMIT", 5)
    trigger = CronTrigger(month=2, day=29, timezone="Europe/Berlin")
    object.__setattr__(trigger, "_plan", Plan(trigger._plan.rule))
    object.__setattr__(trigger, "_offsets", Offsets(trigger.timezone))
    fire_us: int | None = 0
    for _ in range(100):
        assert fire_us is not None
        fire_us = trigger.next_us(fire_us)
        trigger.count_us(0, _YEAR_US * 5)
    assert len(trigger._offsets) <= 50
    assert len(trigger._offsets._chunks) <= 50
    assert len(trigger._plan._later) <= 5


def test_questions_beyond_the_last_year_leave_the_years_before_as_they_are() -> None:
    trigger = CronTrigger(month="3", day="last sun", hour="2", minute="30", timezone="Europe/Berlin", dst="literal")
    object.__setattr__(trigger, "_offsets", Offsets(trigger.timezone))
    assert len(list(trigger._offsets.spans(0, 1))) == 1  # it has read the zone's file
    for years in range(400):  # every kind of year
        asked_us = 2 * LAST_US + years * _YEAR_US
        assert trigger.next_us(asked_us) is None
        trigger.last_us(asked_us)
    assert trigger.next_us(_2024_US) is None, "a time in the gap"

"""Cron against a slow oracle that was written apart: a scan of UTC minutes through zoneinfo.

The oracle knows a schedule as sets of numbers, the wall clock as what zoneinfo shows, and the two rules for clock changes as
sentences: "literal" fires when the wall clock shows a time of the schedule; "cron" fires when the wall clock reaches or passes
a time that it has not reached before. It shares no code with the search.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.cron._dst import Offsets

Dst = Literal["cron", "literal"]
_MINUTE = timedelta(minutes=1)
_HOUR_US = 3_600_000_000

settings.register_profile("triggers", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
calm = settings(settings.get_profile("triggers"), max_examples=150)


@dataclass(frozen=True)
class Schedule:
    """A crontab schedule as sets; None is ``*``."""

    minutes: frozenset[int] | None
    hours: frozenset[int] | None
    days: frozenset[int] | None = None
    months: frozenset[int] | None = None
    weekdays: frozenset[int] | None = None  # 0 is Sunday

    @property
    def crontab(self) -> str:
        fields = (self.minutes, self.hours, self.days, self.months, self.weekdays)
        return " ".join("*" if field is None else ",".join(map(str, sorted(field))) for field in fields)

    def has(self, local: datetime) -> bool:
        if self.minutes is not None and local.minute not in self.minutes:
            return False
        if self.hours is not None and local.hour not in self.hours:
            return False
        if self.months is not None and local.month not in self.months:
            return False
        weekday = local.isoweekday() % 7
        if self.days is not None and self.weekdays is not None:
            return local.day in self.days or weekday in self.weekdays
        if self.days is not None:
            return local.day in self.days
        return self.weekdays is None or weekday in self.weekdays


@lru_cache(maxsize=1)
def wall_clock(zone: ZoneInfo, start: datetime, minutes: int) -> list[tuple[int, datetime]]:
    """What a clock on the wall shows at each minute, from a day before ``start``: (minutes since ``start``, local time)."""
    instants = ((number, start + number * _MINUTE) for number in range(-1500, minutes))
    return [(number, instant.astimezone(zone).replace(tzinfo=None)) for number, instant in instants]


def oracle(schedule: Schedule, zone: ZoneInfo, start: datetime, minutes: int, dst: Dst) -> list[int]:
    """The fire times in the minutes from ``start`` on, minute by minute."""
    fires: list[int] = []
    literal = dst == "literal" or schedule.minutes is None or schedule.hours is None
    reached: datetime | None = None
    # A day ahead, to know what the wall clock has shown before.
    for number, local in wall_clock(zone, start, minutes):
        if literal:
            due = schedule.has(local)
        elif reached is None or local <= reached:
            due = reached is None and schedule.has(local)
        else:
            passed = (local - timedelta(minutes=back) for back in range(int((local - reached) / _MINUTE)))
            due = any(schedule.has(minute) for minute in passed)
        reached = local if reached is None else max(reached, local)
        if due and number >= 0:
            fires.append(from_datetime(start + number * _MINUTE))
    return fires


def walked(trigger: CronTrigger, start_us: int, end_us: int) -> list[int]:
    fires: list[int] = []
    fire_us = trigger.next_us(start_us - 1)
    while fire_us is not None and fire_us < end_us:
        fires.append(fire_us)
        fire_us = trigger.next_us(fire_us)
    return fires


@cache
def transitions(key: str) -> tuple[datetime, ...]:
    """The instants from 1970 to 2037 at which a zone changes its offset by whole minutes; seen from day to day."""
    zone = ZoneInfo(key)
    found = []

    def offset(at: datetime) -> timedelta:
        shown = at.astimezone(zone).utcoffset()
        assert shown is not None
        return shown

    for day in range(0, 68 * 366, 3):
        low = datetime(1970, 1, 3, tzinfo=UTC) + timedelta(days=day)
        high = low + timedelta(days=3)
        if high.year > 2037:
            break
        if offset(low) == offset(high):
            continue
        before = offset(low)
        while high - low > _MINUTE:
            middle = low + (high - low) // 2 // _MINUTE * _MINUTE
            low, high = (middle, high) if offset(middle) == before else (low, middle)
        if offset(high - _MINUTE) % _MINUTE == offset(high) % _MINUTE == timedelta(0):
            found.append(high)
    return tuple(found)


@cache
def distinct_transitions() -> list[tuple[str, datetime]]:
    """One zone for each thing that clocks have done: the same offsets at the same instants within four days are the same."""
    seen: dict[tuple[tuple[datetime, timedelta | None, timedelta | None], ...], tuple[str, datetime]] = {}
    for key in sorted(available_timezones()):
        zone, known = ZoneInfo(key), transitions(key)
        for index, at in enumerate(known):
            near = [other for other in known[max(0, index - 3) : index + 4] if abs(other - at) <= timedelta(days=4)]
            second = timedelta(seconds=1)
            did = [
                (other, (other - second).astimezone(zone).utcoffset(), other.astimezone(zone).utcoffset())
                for other in near
            ]
            seen.setdefault(tuple(did), (key, at))
    return list(seen.values())


ZONES = (
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Nuuk",
    "America/Havana",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Tehran",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
)


def numbers(low: int, high: int, most: int) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.integers(low, high), min_size=1, max_size=most)


# Hours and minutes near those at which clocks change, so that schedules meet the changes.
schedules = st.builds(
    Schedule,
    minutes=st.none() | numbers(0, 59, 3) | st.sampled_from([frozenset({0}), frozenset({0, 30}), frozenset({15, 45})]),
    hours=st.none() | numbers(0, 23, 3) | numbers(0, 4, 4) | st.just(frozenset(range(24))),
    days=st.none() | st.none() | numbers(1, 31, 20),
    months=st.none() | st.none() | numbers(1, 12, 11),
    weekdays=st.none() | st.none() | numbers(0, 6, 4),
)
RULES: tuple[Dst, ...] = ("cron", "literal")
rules: st.SearchStrategy[Dst] = st.sampled_from(RULES)


def check(schedule: Schedule, key: str, transition: datetime, lead: timedelta, dst: Dst) -> None:
    """Two days around a transition: next, last and count, each against the oracle."""
    zone = ZoneInfo(key)
    start = transition - lead
    minutes = 2 * 1440
    trigger = CronTrigger.from_crontab(schedule.crontab, key, dst=dst)
    expected = oracle(schedule, zone, start, minutes, dst)
    start_us, end_us = from_datetime(start), from_datetime(start + minutes * _MINUTE)
    found = walked(trigger, start_us, end_us)
    assert found == expected, f"{schedule.crontab!r} {key} {dst} from {start}"
    assert trigger.count_us(start_us - 1, end_us - 1) == len(expected)
    for fire_us in found[:3] + found[-3:]:
        assert trigger.last_us(fire_us) == fire_us
        shown = to_datetime(fire_us).astimezone(zone)
        # Never a local time that does not exist: it comes back from UTC as it went.
        assert shown.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == shown.replace(tzinfo=None)
    for first_us, second_us in itertools.pairwise(found[:4] + found[-4:]):
        if second_us > first_us:
            assert trigger.last_us(second_us - 1) == (
                first_us if second_us in found[:4] else found[found.index(second_us) - 1]
            )


@settings(calm, max_examples=400)
@given(
    schedule=schedules,
    key=st.sampled_from(ZONES),
    number=st.integers(0, 10_000),
    lead=st.integers(0, 2000).map(lambda minutes: timedelta(minutes=minutes)),
    dst=rules,
)
def test_around_transitions_cron_is_what_the_wall_clock_shows(
    schedule: Schedule, key: str, number: int, lead: timedelta, dst: Dst
) -> None:
    known = transitions(key)
    check(schedule, key, known[number % len(known)], lead, dst)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(8))
def test_every_transition_of_every_zone(part: int) -> None:
    """All zones of the tz database from 1970 to 2037. What several zones did alike is checked in the first of them.

    ``SCHEDCORE_EVERY=n`` thins them out to every n-th, for those in a hurry.
    """
    every = int(os.environ.get("SCHEDCORE_EVERY", "1"))
    probes = [
        Schedule(frozenset({30}), frozenset({0, 1, 2, 3, 23})),
        Schedule(frozenset({0}), frozenset({0})),
        Schedule(frozenset({0, 15, 45}), None),
    ]
    distinct = distinct_transitions()
    assert len(distinct) > 1000
    for number, (key, transition) in enumerate(distinct[part :: 8 * every]):
        for schedule in probes:
            for dst in RULES:
                check(schedule, key, transition, timedelta(minutes=700 + number % 600), dst)


def check_offsets(key: str) -> None:
    """The table of a zone's offsets against zoneinfo, every 12 hours from 1970 to 2099."""
    zone = ZoneInfo(key)
    start, end = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    spans = Offsets(zone).spans(int(start.timestamp()), int(end.timestamp()))
    step_s, at_s = 43_200, int(start.timestamp())
    for start_s, end_s, offset_s in spans:
        assert datetime.fromtimestamp(start_s, zone).utcoffset() == timedelta(seconds=offset_s)
        while at_s < end_s:
            assert datetime.fromtimestamp(at_s, zone).utcoffset() == timedelta(seconds=offset_s), (key, at_s)
            at_s += step_s
        assert datetime.fromtimestamp(end_s - 1, zone).utcoffset() == timedelta(seconds=offset_s)
    assert at_s >= int(end.timestamp())


@pytest.mark.parametrize(
    "key", ["Europe/Berlin", "Africa/Casablanca", "Asia/Gaza", "America/Noronha", "America/Boa_Vista"]
)
def test_no_transition_is_overlooked(key: str) -> None:
    check_offsets(key)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(8))
def test_no_transition_of_any_zone_is_overlooked(part: int) -> None:
    for key in sorted(available_timezones())[part::8]:
        check_offsets(key)


instants = st.integers(
    from_datetime(datetime(1970, 1, 1, tzinfo=UTC)), from_datetime(datetime(2037, 12, 31, tzinfo=UTC))
)


@st.composite
def keyword_triggers(draw: st.DrawFn) -> CronTrigger:
    """Triggers of the keyword form, with seconds, weeks and named days."""

    def some(low: int, high: int) -> st.SearchStrategy[str | None]:
        listed = numbers(low, high, 4).map(lambda values: ",".join(map(str, sorted(values))))
        stepped = st.tuples(st.integers(low, high), st.integers(1, 5)).map(lambda pair: f"{pair[0]}/{pair[1]}")
        wrapped = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda pair: f"{pair[0]}-{pair[1]}")
        return st.none() | st.just("*") | listed | stepped | wrapped

    day = some(1, 31) | st.sampled_from(["last", "2nd fri", "last sun", "5th mon, 1", "1st tue,3rd tue,last"])
    return CronTrigger(
        year=draw(st.none() | st.sampled_from(["*", "2024-2030", "1990/3", "2036"])),
        month=draw(some(1, 12)),
        day=draw(day),
        week=draw(st.none() | st.none() | some(1, 53)),
        day_of_week=draw(some(0, 6)),
        hour=draw(some(0, 23)),
        minute=draw(some(0, 59)),
        second=draw(some(0, 59)),
        timezone=draw(st.sampled_from(ZONES)),
        dst=draw(rules),
        start_date=draw(st.none() | instants.map(to_datetime)),
        jitter=draw(st.none() | st.integers(1, 60)),
    )


@calm
@given(trigger=keyword_triggers(), at_us=instants)
def test_next_last_and_count_agree(trigger: CronTrigger, at_us: int) -> None:
    fires = [at_us]
    for _ in range(6):
        following = trigger.next_us(fires[-1])
        assert following == trigger.next_us(fires[-1])
        if following is None:
            break
        assert following > fires[-1]
        assert trigger.next_us((fires[-1] + following) // 2) == following
        assert trigger.next_us(following - 1) == following
        fires.append(following)
    for number, fire_us in enumerate(fires[1:], 1):
        assert trigger.last_us(fire_us) == fire_us
        assert trigger.count_us(at_us, fire_us) == number
        assert trigger.count_us(at_us, fire_us - 1) == number - 1
        before_us = trigger.last_us(fire_us - 1)
        assert before_us == (fires[number - 1] if number > 1 else trigger.last_us(at_us))
        backlog = trigger.backlog(at_us, fire_us)
        assert tuple(backlog) == (number, fire_us, trigger.next_us(fire_us))


@calm
@given(trigger=keyword_triggers(), first_us=instants, second_us=instants)
def test_next_is_monotone_and_counts_add_up(trigger: CronTrigger, first_us: int, second_us: int) -> None:
    first_us, second_us = sorted((first_us, second_us))
    one, other = trigger.next_us(first_us), trigger.next_us(second_us)
    assert other is None or (one is not None and one <= other)
    middle_us = (first_us + second_us) // 2
    total = trigger.count_us(first_us, second_us)
    assert total == trigger.count_us(first_us, middle_us) + trigger.count_us(middle_us, second_us)
    assert total >= 0
    assert (total > 0) == (one is not None and one <= second_us)


@calm
@given(trigger=keyword_triggers())
def test_text_round_trips(trigger: CronTrigger) -> None:
    again = CronTrigger.from_str(
        str(trigger), trigger.timezone, start_date=trigger.start_date, jitter=trigger.jitter, dst=trigger.dst
    )
    assert again == trigger
    assert str(again) == str(trigger)
    assert eval(repr(trigger)) == trigger
    restored = CronTrigger.__new__(CronTrigger)
    restored.__setstate__(trigger.__getstate__())
    assert restored == trigger
    assert restored.describe() == trigger.describe()


@calm
@given(schedule=schedules, dst=rules)
def test_crontab_text_round_trips(schedule: Schedule, dst: Dst) -> None:
    trigger = CronTrigger.from_crontab(schedule.crontab, "Europe/Berlin", dst=dst)
    assert str(trigger) == schedule.crontab
    assert CronTrigger.from_str(str(trigger), "Europe/Berlin", dst=dst) == trigger
    assert eval(repr(trigger)) == trigger


_JUNK = "!\"#$%&'()+.:;<=>?@[\\]^_`{|}~éß½"


def inserted(text: str, junk: str) -> Iterator[str]:
    for place in range(len(text) + 1):
        yield text[:place] + junk + text[place:]


@calm
@given(schedule=schedules, junk=st.sampled_from(_JUNK))
def test_any_junk_is_an_error_that_points_at_it(schedule: Schedule, junk: str) -> None:
    for text in inserted(schedule.crontab, junk):
        with pytest.raises(ValueError, match="column") as caught:
            CronTrigger.from_crontab(text, "UTC")
        column = getattr(caught.value, "column", None)
        assert column is not None
        assert 1 <= column <= len(text) + 1


@calm
@given(text=st.text("0123456789*/,-@ abcdefjmnrstuvwy\t", max_size=25))
def test_reading_is_total(text: str) -> None:
    """Any text is a schedule or a typed error; nothing else comes out."""
    try:
        trigger = CronTrigger.from_crontab(text, "UTC")
    except InvalidTriggerError:
        return
    assert CronTrigger.from_str(str(trigger), "UTC") == trigger
    trigger.describe()
    trigger.next_us(0)

"""Every kind of trigger has the properties of a trigger, and the fire times that a scan of the clock finds.

The scan is written apart from the triggers: it looks at each minute of UTC in a few days around a change of the clocks, and
at what zoneinfo says the wall clock shows then. A kind of trigger is a function that draws one, and says in which of the minutes
it fires. By default a sample with a fixed seed; ``-m slow`` goes through all zones of the tz database.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import pytest

from schedcore.clock import from_datetime
from schedcore.engine import dispatch_us
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import BusinessDayTrigger, Weekdays
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger
from schedcore.triggers.jitter import Jitter

MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS = 5  # of a scan; the clocks change in the middle
MARGIN = 4 * 1440  # minutes
SAMPLE = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Antarctica/Troll",
    "America/Nuuk",
    "UTC",
)
SEED = 20261121

Rule = Literal["skip", "cron", "shift", "literal"]
Local = tuple[datetime, datetime]  # an instant, and what the wall clock shows (naive)


class Scan:
    """The minutes of a few days, and what the wall clock shows in each of them."""

    def __init__(self, zone: str, start: datetime) -> None:
        self.zone = zone
        self.start = start
        self.end = start + timedelta(days=DAYS)
        there = ZoneInfo(zone)
        minutes = int((self.end - start) / MINUTE)
        # Days more on both sides, for what moves over the edges: past up to three closed days.
        self.shown: list[Local] = []
        for number in range(-MARGIN, minutes + MARGIN):
            at = start + number * MINUTE
            self.shown.append((at, at.astimezone(there).replace(tzinfo=None)))

    def first_showing(self, local: datetime) -> datetime | None:
        """The first instant at which the wall clock shows a local time or a later one."""
        return next((at for at, there in self.shown if there >= local), None)

    def fires(self, names: Callable[[datetime], bool], rule: Rule) -> set[datetime]:
        """The instants at which a schedule fires that names local times."""
        found: set[datetime] = set()
        before = seen = self.shown[0][1] - MINUTE
        for at, local in self.shown:
            if rule == "literal":
                if names(local):
                    found.add(at)
                continue
            if local > seen:
                swallowed = [seen + number * MINUTE for number in range(1, int((local - seen) / MINUTE))]
                if names(local) or (rule == "cron" and any(map(names, swallowed))):
                    found.add(at)
                if rule == "shift":
                    found |= {at + (each - before - MINUTE) for each in swallowed if names(each)}
                seen = local
            before = local
        return found

    def within(self, instants: Iterable[datetime]) -> list[datetime]:
        return sorted(at for at in set(instants) if self.start < at <= self.end)


Made = tuple[EngineTrigger, Iterable[datetime]]
Kind = Callable[[Random, Scan], Made]


def some(random: Random, low: int, high: int, most: int) -> list[int]:
    return sorted(random.sample(range(low, high), random.randint(1, most)))


def a_date(random: Random, scan: Scan) -> Made:
    at = scan.start + random.randint(-100, 8000) * MINUTE
    return DateTrigger(at, timezone=scan.zone), [at]


def an_interval(random: Random, scan: Scan) -> Made:
    step, lead = random.choice([1, 7, 45, 90, 1440, 1441]), random.randint(0, 5000)
    start = scan.start - lead * MINUTE
    trigger = IntervalTrigger(minutes=step, start_date=start, timezone=scan.zone)
    return trigger, itertools.takewhile(
        lambda at: at <= scan.end, (start + n * step * MINUTE for n in itertools.count())
    )


def a_cron(dialect: str) -> Kind:
    def made(random: Random, scan: Scan) -> Made:
        minutes, hours, days = some(random, 0, 60, 3), some(random, 0, 24, 3), some(random, 0, 7, 6)
        if random.random() < 0.5:
            hours = sorted({*hours, 0, 2})  # where clocks change
        first = {"unix": 1, "quartz": 2, "apscheduler3": 0}[dialect]  # Monday
        weekdays = ",".join(str((day + first) % 7 or (7 if dialect == "quartz" else 0)) for day in days)
        numbers = [",".join(map(str, values)) for values in (minutes, hours)]
        text = f"0 {' '.join(numbers)} ? * {weekdays}" if dialect == "quartz" else f"{' '.join(numbers)} * * {weekdays}"
        dst: Any = random.choice(["cron", "literal"])
        trigger = CronTrigger.from_crontab(text, scan.zone, dialect=dialect, dst=dst)

        def names(local: datetime) -> bool:
            return local.minute in minutes and local.hour in hours and local.weekday() in days

        return trigger, scan.fires(names, dst)

    return made


def of_days(random: Random, scan: Scan) -> tuple[date, int, int, int]:
    """A start, and every how many days at what time of day."""
    start = scan.start.date() - timedelta(days=random.randint(3, 400))
    return (
        start,
        random.choice([1, 1, 2, 3]),
        random.choice([0, 1, 2, 3, 23, random.randint(0, 23)]),
        random.randint(0, 59),
    )


def named(start: date, days: int, hour: int, minute: int) -> Callable[[datetime], bool]:
    return lambda local: (local.hour, local.minute) == (hour, minute) and (local.date() - start).days % days == 0


def a_calendar_interval(random: Random, scan: Scan) -> Made:
    start, days, hour, minute = of_days(random, scan)
    dst: Any = random.choice(["skip", "cron", "shift"])
    trigger = CalendarIntervalTrigger(
        days=days, hour=hour, minute=minute, start_date=start, timezone=scan.zone, dst=dst
    )
    return trigger, scan.fires(named(start, days, hour, minute), dst)


def a_recurrence_rule(random: Random, scan: Scan) -> Made:
    from schedcore.triggers.rrule import RRuleTrigger

    start, days, hour, minute = of_days(random, scan)
    dst: Any = random.choice(["skip", "cron"])
    rule = f"FREQ=DAILY;INTERVAL={days};BYHOUR={hour};BYMINUTE={minute};BYSECOND=0"
    trigger = RRuleTrigger(rule, dtstart=start, timezone=scan.zone, dst=dst)
    return trigger, scan.fires(named(start, days, hour, minute), dst)


def a_frequent_recurrence_rule(random: Random, scan: Scan) -> Made:
    from schedcore.triggers.rrule import RRuleTrigger

    start, _, _, minute = of_days(random, scan)
    hours = some(random, 0, 24, 5)
    rule = f"FREQ=HOURLY;BYHOUR={','.join(map(str, hours))};BYMINUTE={minute};BYSECOND=0"
    trigger = RRuleTrigger(rule, dtstart=start, timezone=scan.zone)
    return trigger, scan.fires(lambda local: local.hour in hours and local.minute == minute, "skip")


def closed_days(random: Random) -> frozenset[int]:
    return frozenset(random.sample(range(7), random.randint(1, 3)))


def a_business_day(random: Random, scan: Scan) -> Made:
    closed, number = closed_days(random), random.choice([1, 2, 15, -1, -3])
    hour, minute = random.choice([0, 2, 9, 23]), random.randint(0, 59)
    trigger = BusinessDayTrigger(number, Weekdays(*closed), hour=hour, minute=minute, timezone=scan.zone)

    @lru_cache(maxsize=64)
    def day_of(year: int, month: int) -> date | None:
        first = date(year, month, 1)
        days = [first + timedelta(days=each) for each in range(31)]
        open_days = [day for day in days if day.month == month and day.weekday() not in closed]
        return open_days[number - 1 if number > 0 else number]

    def names(local: datetime) -> bool:
        return (local.hour, local.minute) == (hour, minute) and local.date() == day_of(local.year, local.month)

    return trigger, scan.fires(names, "cron")


def excluding(roll: Literal["skip", "next", "previous"]) -> Kind:
    def made(random: Random, scan: Scan) -> Made:
        trigger, instants = random.choice([a_cron("unix"), a_calendar_interval])(random, scan)
        closed = closed_days(random)
        there = ZoneInfo(scan.zone)
        found = set()
        for at in instants:
            local = at.astimezone(there).replace(tzinfo=None)
            if local.weekday() not in closed:
                found.add(at)
            elif roll != "skip":
                step = timedelta(days=1 if roll == "next" else -1)
                while local.weekday() in closed:
                    local += step
                moved = scan.first_showing(local)
                if moved is not None:
                    found.add(moved)
        return trigger.excluding(Weekdays(*closed), roll), found

    return made


def several(cls: type[AndTrigger | OrTrigger]) -> Kind:
    def made(random: Random, scan: Scan) -> Made:
        kinds = [a_cron("unix"), an_interval, a_calendar_interval, excluding("skip")]
        parts = [random.choice(kinds)(random, scan) for _ in range(random.randint(1, 3))]
        if cls is AndTrigger and random.random() < 0.7:
            parts[1:] = [an_interval(random, scan) for _ in parts[1:]]
        sets = [set(instants) for _, instants in parts]
        together = set.intersection(*sets) if cls is AndTrigger else set.union(*sets)
        return cls([trigger for trigger, _ in parts]), together

    return made


def jittered(random: Random, scan: Scan) -> Made:
    trigger, instants = an_interval(random, scan)
    assert isinstance(trigger, IntervalTrigger)
    amount = Jitter(random.choice([30, 100_000]), random.choice(["random", "hashed"]))
    return IntervalTrigger(
        seconds=trigger.interval_us // 1_000_000, start_date=trigger.start_date, timezone=scan.zone, jitter=amount
    ), instants


KINDS: dict[str, Kind] = {
    "date": a_date,
    "interval": an_interval,
    "cron, unix": a_cron("unix"),
    "cron, quartz": a_cron("quartz"),
    "cron, apscheduler3": a_cron("apscheduler3"),
    "calendarinterval": a_calendar_interval,
    "and": several(AndTrigger),
    "or": several(OrTrigger),
    "excluding, skip": excluding("skip"),
    "excluding, next": excluding("next"),
    "excluding, previous": excluding("previous"),
    "businessday": a_business_day,
    "jitter": jittered,
}
if importlib.util.find_spec("dateutil") is not None:
    KINDS |= {"rrule": a_recurrence_rule, "rrule, hourly": a_frequent_recurrence_rule}


@lru_cache(maxsize=1024)
def changes(zone: str) -> list[datetime]:
    """The days on which the clocks of a zone change, from 1973 (the last offset with seconds ended in 1972) to 2037."""
    there = ZoneInfo(zone)
    days = [datetime(1973, 1, 3, tzinfo=UTC) + timedelta(days=number) for number in range(23_700)]
    offsets = [day.astimezone(there).utcoffset() for day in days]
    found = [day for day, one, other in zip(days, offsets, offsets[1:], strict=False) if one != other]
    return [day for day in found if all((each or timedelta()) % MINUTE == timedelta() for each in set(offsets))]


def scans(random: Random, zones: Iterable[str], each: int) -> Iterator[Scan]:
    for zone in zones:
        days = changes(zone) or [datetime(2026, 3, 1, tzinfo=UTC)]
        for day in random.sample(days, min(each, len(days))):
            yield Scan(zone, day - timedelta(days=DAYS // 2, minutes=random.randint(0, 1440)))


def us(at: datetime) -> int:
    return from_datetime(at)


def check(kind: str, random: Random, scan: Scan) -> None:
    trigger, instants = KINDS[kind](random, scan)
    expected = [us(at) for at in scan.within(instants)]
    start_us, end_us = us(scan.start), us(scan.end)
    where = (kind, scan.zone, scan.start, trigger)
    found: list[int] = []
    at_us = trigger.next_us(start_us)
    while at_us is not None and at_us <= end_us and len(found) <= len(expected):
        assert at_us > (found[-1] if found else start_us), where
        found.append(at_us)
        at_us = trigger.next_us(at_us)
    # What comes after the scan is not known to it, and a rolled run may come from beyond its edges.
    assert found == expected, where
    # Backlogs agree with it.
    backlog = trigger.backlog(start_us, end_us)
    assert backlog.last_us == (expected[-1] if expected else None), where
    if len(expected) < 1000:
        assert backlog.times == len(expected), where
    assert backlog.next_us == trigger.next_us(end_us), where
    # Independent of the instant at which one asks, repeatable and monotone.
    bounds = [start_us, *expected]
    for one_us, other_us in random.sample(list(itertools.pairwise(bounds)), min(10, len(bounds) - 1)):
        for asked_us in (one_us, other_us - 1, random.randrange(one_us, other_us)):
            assert trigger.next_us(asked_us) == other_us == trigger.next_us(asked_us), where
        if trigger.jitter_us:
            due_us = dispatch_us(trigger, other_us, random.random, "job")
            assert other_us <= due_us < (trigger.next_us(other_us) or due_us + 1), where


# Where there may be a meeting is known from then on; before, a search may be given up.
MEETINGS_ARE_FOUND_FROM = datetime(2000, 1, 10, tzinfo=UTC)


def check_all(random: Random, zones: Iterable[str]) -> None:
    """To scan takes longest, so that one scan serves all kinds of triggers."""
    for scan in scans(random, zones, 2):
        for kind in KINDS:
            if kind != "and" or scan.start > MEETINGS_ARE_FOUND_FROM:
                check(kind, random, scan)


@pytest.mark.parametrize("zone", SAMPLE)
def test_a_scan_finds_what_the_triggers_answer(zone: str) -> None:
    check_all(Random(f"{SEED} {zone}"), [zone])


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(8))
def test_a_scan_finds_it_in_all_zones(part: int) -> None:
    check_all(Random(f"{SEED} {part}, wide"), sorted(available_timezones() - {"localtime"})[part::8])


def test_all_kinds_of_triggers_are_here() -> None:
    from schedcore import plugins

    aliases = {kind.partition(",")[0] for kind in KINDS} | {"rrule"}
    assert set(plugins.known(plugins.TRIGGERS)) <= aliases

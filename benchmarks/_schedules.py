"""Schedules at random, of all kinds and nested, as odd as the interfaces allow: what the slowest search is looked for among."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from random import Random
from typing import Any

__all__ = ["ASKED", "KINDS", "forget"]

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "America/New_York",
    "America/Scoresbysund",
    "America/Nuuk",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Antarctica/Troll",
    "Pacific/Apia",
)
#: Instants from which the next fire time is asked for, as ISO 8601 text.
ASKED = ("2026-01-01T00:00Z", "2026-03-29T00:00Z", "2041-07-31T23:00Z", "2399-12-30T01:00Z", "9000-01-01T00:00Z")
# What is worked out once for each zone, or once in a process, stays.
_STAYS = {
    "clocks_of",
    "held_together",
    "_shared_offsets",
    "_zone",
    "_kinds_of_years",
    "_month_table",
    "_month_starts",
    "_reaching",
    "_holidays",
    "_in_year",
    "_all_easters",
}


def forget() -> None:
    """Empty what the triggers remember, so that the next question is a first one."""
    for name in [name for name in sys.modules if name.startswith("schedcore.triggers")]:
        for each in vars(sys.modules[name]).values():
            if hasattr(each, "cache_clear") and each.__name__ not in _STAYS:
                each.cache_clear()


def _field(random: Random, low: int, high: int) -> str:
    kind = random.randrange(4)
    if kind == 0:
        return "*"
    if kind == 1:
        return str(random.randint(low, high))
    if kind == 2:
        return f"*/{random.randint(2, max(2, high))}"
    return ",".join(map(str, sorted(random.sample(range(low, high + 1), random.randint(1, min(6, high - low))))))


def cron(random: Random) -> Any:
    """A cron schedule, as crontab text or by keywords."""
    from schedcore.triggers.cron import CronTrigger

    zone = random.choice(ZONES)
    dst: Any = random.choice(["cron", "literal"])
    if random.random() < 0.6:
        day = random.choice(["*", _field(random, 1, 31), "29", "30", "31", "L", "L-3", "L-29", "1W", "15W", "31W"])
        weekday = random.choice(
            ["*", _field(random, 0, 6), f"mon#{random.randint(1, 5)}", "sun#5", "friL", "mon,tue#5"]
        )
        month = random.choice(["*", "2", _field(random, 1, 12), "2,4,6,9,11"])
        text = f"{_field(random, 0, 59)} {_field(random, 0, 23)} {day} {month} {weekday}"
        return CronTrigger.from_crontab(text, zone, dst=dst)
    fields: dict[str, Any] = {"hour": "3"}
    for name, low, high in (("month", 1, 12), ("week", 1, 53), ("hour", 0, 23), ("minute", 0, 59), ("second", 0, 59)):
        if random.random() < 0.4:
            fields[name] = _field(random, low, high)
    if random.random() < 0.5:
        fields["day"] = random.choice([_field(random, 1, 31), "last", "5th mon", "last sun", "29", "31"])
    return CronTrigger(**fields, timezone=zone, dst=dst)


def interval(random: Random) -> Any:
    """An interval, many of them out of step with the day."""
    from schedcore.triggers.interval import IntervalTrigger

    usual = (1, 7, 60, 61, 3600, 3601, 86_400, 86_401, 90_001, 604_800, 3_196_801, 0.001, 86_400.000001)
    day = f"20{random.randint(10, 30)}-0{random.randint(1, 9)}-1{random.randint(0, 9)}"
    start = f"{day}T{random.randint(10, 23)}:07:{random.randint(10, 59)}Z"
    return IntervalTrigger(seconds=random.choice([*usual, random.randint(1, 10**7)]), start_date=start)


def calendar_interval(random: Random) -> Any:
    """A calendar interval in one unit or in two."""
    from schedcore.triggers.calendarinterval import CalendarIntervalTrigger

    units: dict[str, Any] = random.choice(
        [
            {"days": random.choice([1, 2, 3, 7, 45, 100, random.randint(1, 3000)])},
            {"months": random.choice([1, 2, 5, 7, 12, 13, random.randint(1, 200)])},
            {"years": random.choice([1, 3, 4, 7, 100])},
            {"weeks": random.randint(1, 60)},
            {"years": 1, "days": 1},
        ]
    )
    return CalendarIntervalTrigger(
        **units,
        hour=random.randrange(24),
        minute=random.randrange(60),
        start_date=random.choice(["2024-01-31", "2024-02-29", "2020-05-30", "2023-03-26"]),
        timezone=random.choice(ZONES),
        dst=random.choice(["skip", "shift", "cron"]),
        overflow=random.choice(["skip", "clamp"]),
    )


def recurrence(random: Random) -> Any:
    """A recurrence rule; many have no instance."""
    from schedcore.triggers.rrule import RRuleTrigger

    freq = random.choice(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"])
    numbered = ["MO", "5MO", "-5SU", "MO,TU"] if freq in ("YEARLY", "MONTHLY") else ["MO", "SA,SU", "TU,TH"]
    parts: dict[str, list[Any]] = {
        "INTERVAL": [2, 3, 5, 7, 13, 31, 100, 400, 1000, random.randint(1, 10_000)],
        "BYMONTH": ["2", "2,4", "1,2,3", "11"],
        "BYMONTHDAY": ["29", "30", "31", "-1", "-31", "1,15"],
        "BYDAY": numbered,
        "BYHOUR": ["2", "0,12", "23"],
        "BYMINUTE": ["30", "0,59"],
    }
    if freq == "YEARLY":
        parts |= {"BYWEEKNO": ["53", "1", "20"], "BYEASTER": ["0", "-2", "100"]}
    if freq != "DAILY":
        parts["BYYEARDAY"] = ["366", "-1", "60,366", "100"]
    found = [f"FREQ={freq}"]
    found += [
        f"{key}={random.choice(values)}"
        for key, values in parts.items()
        if random.random() < (0.5 if key == "INTERVAL" else 0.3)
    ]
    if random.random() < 0.2 and any(part.startswith("BY") for part in found):
        found.append(f"BYSETPOS={random.choice(['1', '-1', '5', '2,-2'])}")
    return RRuleTrigger(
        ";".join(found),
        dtstart=random.choice(["2024-01-31T02:30:00", "2023-05-29T00:00:00", "2024-02-29T09:00:00"]),
        timezone=random.choice(ZONES),
        dst=random.choice(["skip", "cron"]),
    )


def _calendar(random: Random, by_day: bool, depth: int = 0) -> Any:
    from schedcore.triggers.calendars import Dates, Holidays, Times, Weekdays

    kind = random.random()
    if depth < 2 and kind < 0.3:
        one, other = (_calendar(random, by_day, depth + 1) for _ in range(2))
        return one | other if random.random() < 0.5 else one & other
    if depth < 2 and kind < 0.4:
        return ~_calendar(random, by_day, depth + 1)
    if kind < 0.6 or (kind > 0.9 and by_day):
        return Weekdays(*random.sample(range(7), random.randint(1, 6)))
    if kind < 0.8:
        years: tuple[Any, ...] = (
            ("2026-01-01", f"{random.choice([2026, 2027, 2040])}-12-31"),
            f"2026-0{random.randint(1, 9)}-12",
        )
        return Dates(*random.sample(years, random.randint(1, 2)))
    if kind < 0.9 and find_spec("holidays") is not None:
        return Holidays(random.choice(["DE", "US", "GB"]))
    return (
        Weekdays("sat", "sun")
        if by_day
        else Times(random.choice(["22:00", "07:00", "13:07"]), random.choice(["06:00", "12:00", "23:59"]))
    )


def business_day(random: Random) -> Any:
    """The n-th business day of a month, of which some months, or all, have not so many."""
    from schedcore.triggers.calendars import BusinessDayTrigger

    return BusinessDayTrigger(
        random.choice([1, 2, 4, 20, 23, -1, -20, -23, 31]),
        _calendar(random, True),
        months=random.choice([None, (2,), (1, 6)]),
        hour=random.randrange(24),
        timezone=random.choice(ZONES),
    )


def single(random: Random) -> Any:
    """A schedule that is not made of others."""
    makers: list[Callable[[Random], Any]] = [cron, cron, interval, calendar_interval, business_day]
    if find_spec("dateutil") is not None:
        makers.append(recurrence)
    return random.choice(makers)(random)


def excluding(random: Random) -> Any:
    """A schedule without the closed times of a calendar, or with its runs on open days."""
    roll: Any = random.choice(["skip", "skip", "next", "previous"])
    return single(random).excluding(_calendar(random, roll != "skip"), roll)


def together(random: Random) -> Any:
    """When two fire at the same instant; for most, never."""
    from schedcore.triggers.combining import AndTrigger

    return AndTrigger([single(random), single(random)])


def near(random: Random) -> Any:
    """When two fire at about the same time."""
    from schedcore.triggers.combining import AndTrigger

    return AndTrigger([single(random), single(random)], tolerance=random.choice([1, 60, 3600, 259_200]))


def nested(random: Random, depth: int = 0) -> Any:
    """Combinations of combinations."""
    from schedcore.triggers.combining import AndTrigger, OrTrigger

    kind = random.random()
    if depth == 3 or (depth and kind < 0.3):
        return single(random)
    if kind < 0.6:
        children = [nested(random, depth + 1) for _ in range(random.randint(2, 3))]
        return AndTrigger(children, tolerance=random.choice([0, 0, 1, 3600]))
    if kind < 0.75:
        return OrTrigger([nested(random, depth + 1) for _ in range(random.randint(2, 3))])
    roll: Any = random.choice(["skip", "skip", "next", "previous"])
    return nested(random, depth + 1).excluding(_calendar(random, roll != "skip"), roll)


#: By name, what makes a schedule; those of recurrence rules where python-dateutil is installed.
KINDS: dict[str, Callable[[Random], Any]] = {
    "cron": cron,
    "interval": interval,
    "calendarinterval": calendar_interval,
    "businessday": business_day,
    "excluding": excluding,
    "and": together,
    "and_near": near,
    "nested": nested,
}
if find_spec("dateutil") is not None:
    KINDS["rrule"] = recurrence

"""What the jobs of these tests are made of: functions of every kind, values of every type, triggers of every class."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from schedcore.executors.command import run_command
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import (
    BusinessDayTrigger,
    Calendar,
    Dates,
    Holidays,
    Moments,
    Predicate,
    Times,
    Weekdays,
)
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger
from schedcore.triggers.jitter import Jitter

__all__ = [
    "FUNCTIONS",
    "PICKLED_FUNCTIONS",
    "TYPES",
    "VALUES",
    "Colour",
    "EverySecondMinute",
    "EveryThirdMinute",
    "Order",
    "Right",
    "fire_times",
    "ran",
    "replacement",
    "shown",
    "triggers",
    "work",
]

BERLIN = "Europe/Berlin"

#: What the jobs left that ran in this process.
ran: list[tuple[Any, ...]] = []


# --- functions --------------------------------------------------------------------------------------------------------


def work(*args: Any, **kwargs: Any) -> None:
    ran.append(args)


def replacement(*args: Any, **kwargs: Any) -> None:
    """Another function for a job."""
    ran.append(("replacement", *args))


async def coroutine(*args: Any, **kwargs: Any) -> None: ...


class Holder:
    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Holder({self.number})"

    def method(self, *args: Any) -> int:
        return self.number

    @classmethod
    def of_class(cls, *args: Any) -> None: ...

    @staticmethod
    def static(*args: Any) -> None: ...


#: Callables that text names, with arguments for them.
FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "a function": (work, (1,)),
    "text": (f"{__name__}:work", (1,)),
    "a coroutine function": (coroutine, (1,)),
    "a class method": (Holder.of_class, (1,)),
    "a static method": (Holder.static, (1,)),
    "a class": (Holder, (1,)),
    "a builtin": (print, ("text",)),
    "a command": (run_command, ("true",)),
}
#: Callables that take along an object, which data cannot hold.
PICKLED_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "a method of an object": (Holder(7).method, (1,)),
    "an object among the arguments": (work, (Holder(8),)),
}


# --- values -----------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"


class Right(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Order:
    number: int
    at: datetime
    items: tuple[Decimal, ...] = ()
    notes: dict[str, list[Colour]] = field(default_factory=dict)


#: The classes that have to be registered.
TYPES = (Colour, Right, Order, Path, PurePosixPath)

VALUES: Mapping[str, tuple[Any, ...]] = {
    "plain": (None, True, False, 0, -1, 2**63, -(2**100), 1.5, -0.0, float("inf"), float("-inf"), "", "ü\0🚀\n"),
    "containers": ([], [[1]], {}, {"a": {"b": [None]}}, {1: "one", (2,): "two"}, {"$tuple": [1]}),
    "datetime": (
        datetime(2026, 3, 29, 1, 59, 59, 999_999),  # noqa: DTZ001  # a naive one, too
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo(BERLIN)),
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo(BERLIN)),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30), "NST")),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    ),
    "date": (date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31)),
    "time": (time(), time(23, 59, 59, 999_999), time(2, 30, fold=1, tzinfo=ZoneInfo(BERLIN)), time(1, tzinfo=UTC)),
    "timedelta": (timedelta(), timedelta(days=-1, microseconds=1), timedelta.max, timedelta.min),
    "Decimal": (Decimal("1.10"), Decimal("-0"), Decimal("1E+400"), Decimal("NaN"), Decimal("-Infinity")),
    "UUID": (UUID(int=0), UUID("12345678-1234-5678-1234-567812345678")),
    "bytes": (b"", b"\0\xff\x80\x04", bytes(range(256))),
    "tuple": ((), (1,), ((1, (2,)), [(3,)])),
    "set": (set(), {1, "a", (2,)}, {frozenset({1})}),
    "frozenset": (frozenset(), frozenset({1.5, b"x", Decimal("2.5")})),
    "Enum": (Colour.RED, [Colour.GREEN], {Colour.RED: Colour.GREEN}, Right.READ, Right.READ | Right.WRITE),
    "dataclass": (
        Order(1, datetime(2026, 1, 1, tzinfo=UTC)),
        Order(2, datetime(2026, 1, 1, tzinfo=ZoneInfo(BERLIN)), (Decimal("1.50"),), {"a": [Colour.RED]}),
    ),
    "Path": (Path("/var/lib/größe"), Path(), PurePosixPath("a/b c")),
}


def shown(value: Any) -> str:
    """A value and its type as text, which is the same in each process: sets have an order of their own in each."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return f"{kind}({', '.join(f'{shown(key)}: {shown(item)}' for key, item in value.items())})"
    if isinstance(value, list | tuple):
        return f"{kind}({', '.join(map(shown, value))})"
    if isinstance(value, set | frozenset):
        return f"{kind}({', '.join(sorted(map(shown, value)))})"
    if isinstance(value, datetime | time) and value.tzinfo is not None:
        return f"{kind}({value!r}, {value.tzinfo!r}, {value.tzname()}, fold={value.fold})"
    return f"{kind}({value!r})"


# --- triggers ---------------------------------------------------------------------------------------------------------


class EverySecondMinute:
    """A trigger of somebody else's: an object with the one method."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        if previous_fire_time is None:
            return now.replace(second=self.offset, microsecond=0) + timedelta(minutes=1)
        return previous_fire_time + timedelta(minutes=2)

    def __repr__(self) -> str:
        return f"EverySecondMinute({self.offset})"


class EveryThirdMinute(BaseTrigger):
    """A trigger as they are written for 3.x."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __getstate__(self) -> dict[str, int]:
        return {"version": 1, "offset": self.offset}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.offset = state["offset"]

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        at = now if previous_fire_time is None else max(now, previous_fire_time + timedelta(seconds=1))
        return at.replace(minute=at.minute // 3 * 3, second=self.offset, microsecond=0) + timedelta(minutes=3)

    def __repr__(self) -> str:
        return f"EveryThirdMinute({self.offset})"


def closed_in_august(day: date) -> bool:
    return day.month == 8


def closed_at_noon(at: datetime) -> bool:
    return at.hour == 12


def triggers() -> dict[str, BaseTrigger]:
    """Of every class that has an alias, and of every way to make one."""
    hashed = Jitter(20, "hashed")
    weekend: Calendar = Weekdays("sat", "sun")
    nine = CronTrigger(hour=9, timezone=BERLIN, jitter=hashed)
    crontab = CronTrigger.from_crontab
    found: dict[str, BaseTrigger] = {
        "date": DateTrigger("2026-03-29 03:30:00", timezone=BERLIN),
        "interval": IntervalTrigger(
            seconds=0.1, start_date="2026-01-01", end_date="2027-01-01", timezone="Asia/Kolkata", jitter=0.05
        ),
        "interval, hashed": IntervalTrigger(hours=1, start_date="2026-01-01T00:00:00+05:30", jitter=hashed),
        "interval, without a start": IntervalTrigger(hours=7, timezone="America/New_York"),
        "cron": CronTrigger(hour="2-3", minute="*/30", timezone=BERLIN),
        "cron, fields": CronTrigger(
            year="2026-2030", month="mar,oct", day="last sun", hour="1-3", second="*/20", timezone=BERLIN, jitter=3
        ),
        "cron, week": CronTrigger(week="*/2", day_of_week="fri", end_date="2090-01-01", timezone="Australia/Lord_Howe"),
        "cron, literal": CronTrigger(hour=2, minute=30, timezone=BERLIN, dst="literal"),
        "cron, unix": crontab("*/15 0-6 13 * fri", "America/New_York"),
        "cron, macro": crontab("@weekly", "Africa/Cairo"),
        "cron, unix with L, W and #": crontab("0 12 15W,L * fri#2", BERLIN),
        "cron, seconds and years": crontab("*/10 0 0 1 1 * 2026-2099", "UTC", seconds=True, year=True),
        "cron, H": crontab("H H(0-7) * * *", BERLIN),
        "cron, H with a seed": crontab("H * * * *", BERLIN, seed="another name"),
        "cron, quartz": crontab("0 0/15 8-10 ? * MON-FRI 2026-2030", BERLIN, dialect="quartz"),
        "cron, apscheduler3": crontab("30 2 1-7 * 0", "America/Nuuk", dialect="apscheduler3"),
        "calendarinterval": CalendarIntervalTrigger(months=1, hour=2, start_date="2026-01-31", timezone=BERLIN),
        "calendarinterval, shifted": CalendarIntervalTrigger(
            days=1, hour=2, minute=30, start_date="2026-03-20", timezone=BERLIN, dst="shift", jitter=hashed
        ),
        "and": AndTrigger(
            [nine, IntervalTrigger(hours=1, start_date="2026-01-01", timezone=BERLIN)], tolerance=1, jitter=hashed
        ),
        "or": OrTrigger(
            [nine, AndTrigger([nine, CronTrigger(day=1, timezone=BERLIN)]), DateTrigger("2026-02-02", BERLIN)]
        ),
        "excluding": OrTrigger([nine.excluding(weekend | ~Times("07:00", "22:00")), nine]).excluding(
            Dates("2026-12-24")
        ),
        "excluding, rolling on": nine.excluding(weekend, roll="next"),
        "excluding, rolling back": CronTrigger(day=1, hour=9, timezone=BERLIN).excluding(weekend, roll="previous"),
        "excluding, functions": CronTrigger(hour="9,12", timezone=BERLIN).excluding(
            Predicate(closed_in_august) | Moments(closed_at_noon)
        ),
        "businessday": BusinessDayTrigger(-1, weekend, hour=9, timezone=BERLIN, jitter=hashed),
    }
    if find_spec("dateutil") is not None:
        from schedcore.triggers.rrule import RRuleTrigger

        found["rrule"] = RRuleTrigger("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9", dtstart="2026-01-01", timezone=BERLIN)
        found["rrule, a set"] = RRuleTrigger(
            "DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY;COUNT=300\nEXDATE;TZID=Europe/Berlin:20260103T090000"
        )
    if find_spec("holidays") is not None:
        free = Holidays("DE", "BY") | weekend
        found["excluding, holidays"] = nine.excluding(free, roll="next")
        found["businessday, holidays"] = BusinessDayTrigger(4, free, hour=9, timezone=BERLIN)
    return found


def fire_times(trigger: Any, at_us: int, job_id: str, dispatch: Callable[..., int]) -> list[tuple[int, int]]:
    """The first 100 fire times from an instant on, and when each is dispatched where that is not left to chance."""
    found: list[tuple[int, int]] = []
    fire_us = trigger.first_us(at_us)
    while fire_us is not None and len(found) < 100:
        found.append((fire_us, dispatch(trigger, fire_us, None, job_id)))
        fire_us = trigger.next_us(fire_us)
    return found

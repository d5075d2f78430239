"""The states of APScheduler 3.x triggers (versions 1 and 2), read by what their parts are called.

What comes in is what unpickling gave: dictionaries with datetimes, zones, a timedelta, and for cron a list of field objects,
of which only ``name`` and the text count. Whatever class the fields are of, nothing of it is needed but these two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from schedcore.triggers._zones import to_instant, to_jitter, to_zone

__all__ = [
    "OLD_CLASSES",
    "OLD_VERSIONS",
    "Common",
    "Dated",
    "calendar_interval",
    "common",
    "cron_fields",
    "interval_us",
    "run_date",
]

OLD_VERSIONS = (1, 2)
#: Our aliases for the names that combined triggers keep of the classes of their children.
OLD_CLASSES = {
    "apscheduler.triggers.calendarinterval:CalendarIntervalTrigger": "calendarinterval",
    "apscheduler.triggers.combining:AndTrigger": "and",
    "apscheduler.triggers.combining:OrTrigger": "or",
    "apscheduler.triggers.cron:CronTrigger": "cron",
    "apscheduler.triggers.date:DateTrigger": "date",
    "apscheduler.triggers.interval:IntervalTrigger": "interval",
}

_MICROSECOND = timedelta(microseconds=1)


class Common(NamedTuple):
    """What the states have in common."""

    zone: tzinfo
    start_us: int | None
    end_us: int | None
    jitter_us: int


def common(state: Mapping[str, Any]) -> Common:
    """Raises ``ValueError`` naming what is wrong, and ``KeyError`` for what is missing."""
    start, end = state["start_date"], state["end_date"]
    zone = state["timezone"]
    if zone is None:
        # Zones that cannot be pickled were left to the dates.
        zone = next((each.tzinfo for each in (start, end) if isinstance(each, datetime) and each.tzinfo), None)
    zone = to_zone(zone)
    return Common(
        zone,
        None if start is None else to_instant(start, zone, "start_date"),
        None if end is None else to_instant(end, zone, "end_date"),
        to_jitter(state.get("jitter")),
    )


def interval_us(state: Mapping[str, Any]) -> int:
    """Microseconds between two fire times. Raises ``ValueError``, ``KeyError``."""
    interval = state["interval"] if "interval" in state else state["interval_length"]
    if isinstance(interval, int | float) and not isinstance(interval, bool):
        interval = timedelta(seconds=interval)
    if not isinstance(interval, timedelta):
        raise ValueError(f"the interval is of type {type(interval).__name__}")
    found = interval // _MICROSECOND
    if found <= 0:
        raise ValueError(f"the interval is {found} microseconds")
    return found


class Dated(NamedTuple):
    """A calendar interval: years, months, weeks and days; hour, minute and second; first and last date."""

    units: tuple[int, int, int, int]
    time: tuple[int, int, int]
    start: date
    end: date | None
    zone: tzinfo
    jitter_us: int


def calendar_interval(state: Mapping[str, Any]) -> Dated:
    """What a calendar interval is made of. Raises ``ValueError``, ``KeyError``."""
    years, months, weeks, days = (int(each) for each in state["interval"])
    hour, minute, second = (int(each) for each in state["time"])
    return Dated(
        (years, months, weeks, days),
        (hour, minute, second),
        _date(state["start_date"]),
        None if state["end_date"] is None else _date(state["end_date"]),
        to_zone(state["timezone"]),
        to_jitter(state.get("jitter")),
    )


def _date(value: object) -> date:
    if not isinstance(value, date):
        raise ValueError(f"{value!r} is no date")
    return value.date() if isinstance(value, datetime) else value


def run_date(state: Mapping[str, Any]) -> tuple[tzinfo, int]:
    """The zone and the instant of a date trigger. Raises ``ValueError``, ``KeyError``."""
    value: date | datetime | str = state["run_date"]
    zone = to_zone(value.tzinfo if isinstance(value, datetime) else state.get("timezone"))
    return zone, to_instant(value, zone, "run_date")


def cron_fields(
    state: Mapping[str, Any], names: tuple[str, ...]
) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    """The texts of the fields in the order of ``names``: all of them, and those alone that the user gave.

    Raises ``ValueError``, ``KeyError``.
    """
    fields = state["fields"]
    items: Iterable[Any] = fields.items() if isinstance(fields, Mapping) else fields
    found: dict[str, str] = {}
    given: dict[str, str] = {}
    for item in items:
        name, text, default = _field(item)
        if name not in names:
            raise ValueError(f"there is an unknown field {name!r}")
        if name in found:
            raise ValueError(f"the field {name} is there twice")
        found[name] = text
        if not default:
            given[name] = text
    return tuple(found.get(name) for name in names), tuple(given.get(name) for name in names)


def _field(item: Any) -> tuple[str, str, bool]:
    """Name, text and whether it was left out, of a field in one of the forms that it may have."""
    if isinstance(item, Mapping):
        name, default = item["name"], item.get("is_default")
        text = item["text"] if "text" in item else ",".join(str(part) for part in item["expressions"])
    elif isinstance(item, tuple | list) and len(item) == 2:
        (name, text), default = item, False
        if not isinstance(text, str) and isinstance(text, Iterable):
            text = ",".join(str(part) for part in text)
    else:
        name, text, default = getattr(item, "name", None), str(item), getattr(item, "is_default", False)
    if not isinstance(name, str):
        raise ValueError(f"{item!r} is no field of a cron trigger")
    return name, str(text), bool(default)

"""Calendars of dates and of days of the week."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from schedcore.errors import InvalidTriggerError
from schedcore.triggers._days import Days, OtherDays, RangeDays
from schedcore.triggers._local import DAY_S, civil, day_number
from schedcore.triggers._step_days import DayLattice
from schedcore.triggers.calendars._calendar import FAR_DAYS, Daily, LocalSet, Span

__all__ = ["Dates", "Weekdays", "iso"]

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Dates(Daily):
    """Closed on certain dates: dates or ISO 8601 text, or pairs of them for all days from the first to the last."""

    __slots__ = ("_ranges",)
    kind = "dates"
    _ranges: tuple[tuple[int, int], ...]

    def __init__(self, *dates: date | str | tuple[date | str, date | str]) -> None:
        ranges = []
        for each in dates:
            if isinstance(each, tuple) and len(each) != 2:
                raise InvalidTriggerError(
                    f"dates: {each!r} is no pair; give the first and the last of some days, or each date by itself",
                    field="dates",
                )
            first, last = each if isinstance(each, tuple) else (each, each)
            pair = _to_day(first), _to_day(last)
            if pair[1] < pair[0]:
                raise InvalidTriggerError(f"dates: {last!s} is before {first!s}", field="dates")
            ranges.append(pair)
        if not ranges:
            raise InvalidTriggerError("dates: give at least one date", field="dates")
        object.__setattr__(self, "_ranges", tuple(sorted(set(ranges))))

    def sets(self, closed: bool, unsure: bool = True) -> tuple[LocalSet, ...]:
        return (LocalSet((_ranges_of(self._ranges, closed),)),)

    def span(self, local_s: int) -> Span:
        day = local_s // DAY_S
        since, until = day - FAR_DAYS, day + FAR_DAYS
        for first, last in self._ranges:
            if first <= day <= last:
                return Span(True, first * DAY_S, (last + 1) * DAY_S)
            if last < day:
                since = max(since, last + 1)
            else:
                until = min(until, first)
        return Span(False, since * DAY_S, until * DAY_S)

    def _closes(self, day: int) -> bool:
        return self.span(day * DAY_S).closed

    def closed_days(self, first: int, count: int) -> int:
        found = 0
        for since, upto in self._ranges:
            low, high = max(since - first, 0), min(upto + 1 - first, count)
            if low < high:
                found |= (1 << high) - (1 << low)
        return found

    def describe(self) -> str:
        return ", ".join(
            iso(first) if first == last else f"{iso(first)} to {iso(last)}" for first, last in self._ranges
        )

    def __repr__(self) -> str:
        parts = (repr(iso(first)) if first == last else repr((iso(first), iso(last))) for first, last in self._ranges)
        return f"Dates({', '.join(parts)})"

    def _data(self) -> dict[str, Any]:
        return {"ranges": [list(pair) for pair in self._ranges]}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_ranges", tuple((int(first), int(last)) for first, last in data["ranges"]))


class Weekdays(Daily):
    """Closed on certain days of the week: English names, or numbers from 0 (Monday) to 6 (Sunday)."""

    __slots__ = ("_days",)
    kind = "weekdays"
    _days: tuple[int, ...]

    def __init__(self, *days: str | int) -> None:
        numbers = set()
        for day in days:
            if isinstance(day, str) and day.strip().lower()[:3] in _WEEKDAYS:
                name = day.strip().lower()
                number = _WEEKDAYS.index(name[:3])
                if _DAY_NAMES[number].lower().startswith(name):
                    numbers.add(number)
                    continue
            elif isinstance(day, int) and not isinstance(day, bool) and 0 <= day <= 6:
                numbers.add(day)
                continue
            raise InvalidTriggerError(
                f"weekdays: {day!r} is no day of the week; give each by itself, as 'sat', 'sun', or from 0 (Monday) to 6",
                field="weekdays",
            )
        if not 0 < len(numbers) < 7:
            raise InvalidTriggerError("weekdays: give at least one day, and leave one open", field="weekdays")
        object.__setattr__(self, "_days", tuple(sorted(numbers)))

    def sets(self, closed: bool, unsure: bool = True) -> tuple[LocalSet, ...]:
        return (LocalSet((_weekdays(tuple(day for day in range(7) if (day in self._days) is closed)),)),)

    def _closes(self, day: int) -> bool:
        return (day + 3) % 7 in self._days

    def closed_days(self, first: int, count: int) -> int:
        found = sum(1 << (day - first - 3) % 7 for day in self._days)
        width = 7
        while width < count:
            found |= found << width
            width *= 2
        return found & (1 << count) - 1

    def describe(self) -> str:
        return ", ".join(_DAY_NAMES[day] for day in self._days)

    def __repr__(self) -> str:
        return f"Weekdays({', '.join(repr(_WEEKDAYS[day]) for day in self._days)})"

    def _data(self) -> dict[str, Any]:
        return {"days": list(self._days)}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_days", tuple(int(day) for day in data["days"]))


def _to_day(value: object) -> int:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value.strip())
        except ValueError:
            raise InvalidTriggerError(
                f"dates: {value!r} is not a date; write ISO 8601 text such as '2026-12-24'", field="dates"
            ) from None
    if not isinstance(value, date) or isinstance(value, datetime):
        raise InvalidTriggerError(
            f"dates: {value!r} is of type {type(value).__name__}; give dates, or pairs (first, last) of them",
            field="dates",
        )
    return day_number(value.year, value.month, value.day)


def iso(day: int) -> str:
    return date(*civil(day)).isoformat()


@lru_cache(maxsize=256)
def _ranges_of(ranges: tuple[tuple[int, int], ...], inside: bool) -> Days:
    return RangeDays(ranges) if inside else OtherDays(_ranges_of(ranges, True))


@lru_cache(maxsize=127)
def _weekdays(days: tuple[int, ...]) -> Days:
    return DayLattice(7, *(day + 4 for day in days))

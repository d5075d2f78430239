"""Calendars made of calendars, and how calendars are stored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import and_, or_
from typing import Any, ClassVar

from schedcore.errors import InvalidTriggerError
from schedcore.triggers.calendars._calendar import Calendar, LocalSet, Span, to_calendar
from schedcore.triggers.calendars._days import Dates, Weekdays
from schedcore.triggers.calendars._functions import Moments, Predicate
from schedcore.triggers.calendars._holidays import Holidays
from schedcore.triggers.calendars._windows import Times

__all__ = ["AllOf", "AnyOf", "Not", "pack_calendar", "unpack_calendar"]

# Sets by which a calendar is known; of more, nothing is.
_MANY = 16


class _Several(Calendar):
    """A combination of calendars."""

    __slots__ = ("calendars",)
    calendars: tuple[Calendar, ...]
    _word: ClassVar[str]

    def __init__(self, *calendars: Calendar) -> None:
        parts: list[Calendar] = []
        for each in calendars:
            to_calendar(each, "calendars")
            parts.extend(each.calendars if isinstance(each, _Several) and type(each) is type(self) else (each,))
        if not parts:
            raise InvalidTriggerError("calendars: give at least one calendar", field="calendars")
        object.__setattr__(self, "calendars", tuple(parts))

    @property
    def foreign(self) -> bool:
        return any(each.foreign for each in self.calendars)

    @property
    def by_day(self) -> bool:
        return all(each.by_day for each in self.calendars)

    @property
    def known_until(self) -> int | None:  # type: ignore[override]
        return min((each.known_until for each in self.calendars if each.known_until is not None), default=None)

    def _united(self, closed: bool, unsure: bool) -> tuple[LocalSet, ...]:
        found = tuple({each: None for calendar in self.calendars for each in calendar.sets(closed, unsure)})
        return found if len(found) <= _MANY else (LocalSet(),)

    def _common(self, closed: bool, unsure: bool) -> tuple[LocalSet, ...]:
        found: tuple[LocalSet, ...] = (LocalSet(),)
        for calendar in self.calendars:
            sets = calendar.sets(closed, unsure)
            if len(sets) * len(found) <= _MANY:
                found = tuple(
                    LocalSet(one.days + other.days, one.minutes & other.minutes)
                    for one in found
                    for other in sets
                    if one.minutes & other.minutes
                )
        return found

    def _combine(self, local_s: int, decides: bool) -> Span:
        """``decides``: the answer of one part that is that of the whole, whatever the others say."""
        since_s, until_s = [], []
        for each in self.calendars:
            closed, since, until = each.span(local_s)
            if closed is decides:
                return Span(decides, since, until)
            since_s.append(since)
            until_s.append(until)
        return Span(not decides, max(since_s), min(until_s))

    def describe(self) -> str:
        return self._word.join(
            f"({each.describe()})" if isinstance(each, _Several) else each.describe() for each in self.calendars
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.calendars))})"

    def _data(self) -> dict[str, Any]:
        return {"calendars": [pack_calendar(each) for each in self.calendars]}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "calendars", tuple(unpack_calendar(each) for each in data["calendars"]))


class AnyOf(_Several):
    """Closed when any of several calendars is: ``a | b``."""

    __slots__ = ()
    kind = "any"
    _word = " or "

    def closed_days(self, first: int, count: int) -> int:
        return reduce(or_, (each.closed_days(first, count) for each in self.calendars))

    def span(self, local_s: int) -> Span:
        return self._combine(local_s, True)

    def sets(self, closed: bool, unsure: bool = True) -> tuple[LocalSet, ...]:
        return self._united(True, unsure) if closed else self._common(False, unsure)


class AllOf(_Several):
    """Closed when all of several calendars are: ``a & b``."""

    __slots__ = ()
    kind = "all"
    _word = " and "

    def closed_days(self, first: int, count: int) -> int:
        return reduce(and_, (each.closed_days(first, count) for each in self.calendars))

    def span(self, local_s: int) -> Span:
        return self._combine(local_s, False)

    def sets(self, closed: bool, unsure: bool = True) -> tuple[LocalSet, ...]:
        return self._common(True, unsure) if closed else self._united(False, unsure)


class Not(Calendar):
    """Closed when another calendar is open: ``~a``."""

    __slots__ = ("calendar",)
    kind = "not"
    calendar: Calendar

    def __init__(self, calendar: Calendar) -> None:
        object.__setattr__(self, "calendar", to_calendar(calendar))

    @property
    def foreign(self) -> bool:
        return self.calendar.foreign

    @property
    def by_day(self) -> bool:
        return self.calendar.by_day

    @property
    def known_until(self) -> int | None:  # type: ignore[override]
        return self.calendar.known_until

    def span(self, local_s: int) -> Span:
        closed, since_s, until_s = self.calendar.span(local_s)
        return Span(not closed, since_s, until_s)

    def closed_days(self, first: int, count: int) -> int:
        return (1 << count) - 1 ^ self.calendar.closed_days(first, count)

    def sets(self, closed: bool, unsure: bool = True) -> tuple[LocalSet, ...]:
        return self.calendar.sets(not closed, unsure)

    def __invert__(self) -> Calendar:
        return self.calendar

    def describe(self) -> str:
        return f"all but ({self.calendar.describe()})"

    def __repr__(self) -> str:
        return f"Not({self.calendar!r})"

    def _data(self) -> dict[str, Any]:
        return {"calendar": pack_calendar(self.calendar)}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "calendar", unpack_calendar(data["calendar"]))


_KINDS: dict[str, type[Calendar]] = {
    str(each.kind): each for each in (Dates, Weekdays, Times, Holidays, Predicate, Moments, AnyOf, AllOf, Not)
}


def pack_calendar(calendar: Calendar) -> Any:
    """A calendar as plain data; one of a class that is not known here as it is."""
    return calendar.__getstate__() if _KINDS.get(str(calendar.kind)) is type(calendar) else calendar


def unpack_calendar(packed: Any) -> Calendar:
    """The calendar that ``pack_calendar`` packed. Raises ``ValueError`` for what is none."""
    if isinstance(packed, Calendar):
        return packed
    if not isinstance(packed, Mapping) or packed.get("kind") not in _KINDS:
        raise ValueError(f"{packed!r} is not the record of a calendar")
    cls = _KINDS[packed["kind"]]
    calendar = cls.__new__(cls)
    calendar.__setstate__(dict(packed))
    return calendar

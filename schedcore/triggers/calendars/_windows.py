"""Calendars of times of day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time
from typing import Any

from schedcore.errors import InvalidTriggerError
from schedcore.triggers._boxes import ANY_MINUTE
from schedcore.triggers._local import DAY_S, clock
from schedcore.triggers.calendars._calendar import Calendar, LocalSet, Span

__all__ = ["Times"]


class Times(Calendar):
    """Closed at a time of day: from ``start`` (inclusive) to ``end`` (exclusive), over midnight when ``end`` is not later.

    Both are ``datetime.time`` or text such as ``"22:00"``; ``"24:00"`` is the end of the day.
    """

    __slots__ = ("_end_s", "_start_s")
    kind = "times"
    _start_s: int
    _end_s: int

    def __init__(self, start: time | str, end: time | str) -> None:
        start_s, end_s = _to_seconds(start, "start"), _to_seconds(end, "end")
        if start_s % DAY_S == end_s % DAY_S:
            raise InvalidTriggerError(f"times: from {start!s} to {end!s} is nothing, or all day", field="times")
        object.__setattr__(self, "_start_s", start_s)
        object.__setattr__(self, "_end_s", end_s)

    @property
    def by_day(self) -> bool:
        return False

    def sets(self, closed: bool, unsure: bool = True) -> tuple[LocalSet, ...]:
        start_s, end_s = (self._start_s, self._end_s) if closed else (self._end_s, self._start_s)
        start_s, end_s = start_s % DAY_S, end_s or DAY_S
        first, last = start_s // 60, (end_s - 1) // 60  # minutes that are closed, or open, in part at least
        upto_last, before_first = (2 << last) - 1, (1 << first) - 1
        in_one = start_s < end_s
        return (LocalSet((), upto_last & ~before_first if in_one else upto_last | ANY_MINUTE & ~before_first),)

    def span(self, local_s: int) -> Span:
        midnight_s = local_s - local_s % DAY_S
        second = local_s - midnight_s
        start_s, end_s = self._start_s, self._end_s
        wraps = end_s < start_s
        low_s, high_s = (end_s, start_s) if wraps else (start_s, end_s)
        if low_s <= second < high_s:
            return Span(not wraps, midnight_s + low_s, midnight_s + high_s)
        if second < low_s:
            return Span(wraps, midnight_s - DAY_S + high_s, midnight_s + low_s)
        return Span(wraps, midnight_s + high_s, midnight_s + DAY_S + low_s)

    def describe(self) -> str:
        return f"{clock(self._start_s)} to {clock(self._end_s)}"

    def __repr__(self) -> str:
        return f"Times({clock(self._start_s)!r}, {clock(self._end_s)!r})"

    def _data(self) -> dict[str, Any]:
        return {"start_s": self._start_s, "end_s": self._end_s}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_start_s", int(data["start_s"]))
        object.__setattr__(self, "_end_s", int(data["end_s"]))


def _to_seconds(value: object, field: str) -> int:
    if isinstance(value, str):
        text = value.strip()
        if text == "24:00":
            return DAY_S
        try:
            value = time.fromisoformat(text)
        except ValueError:
            raise InvalidTriggerError(
                f"{field}: {text!r} is not a time of day; write it as '22:00' or '22:00:30'", field=field
            ) from None
    if not isinstance(value, time) or value.tzinfo is not None or value.microsecond:
        raise InvalidTriggerError(
            f"{field}: {value!r} cannot be used; give a time of day in whole seconds, without a zone", field=field
        )
    return value.hour * 3600 + value.minute * 60 + value.second

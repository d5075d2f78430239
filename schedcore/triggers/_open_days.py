"""Days that go by which days are open and which are closed, as sets (``_days``)."""

from __future__ import annotations

from functools import lru_cache, reduce
from itertools import accumulate
from operator import or_

from schedcore.triggers._bits import bits_at
from schedcore.triggers._days import (
    ALL_DAYS,
    CHUNK,
    EVERY_CHUNK,
    NO_CHUNK,
    CommonDays,
    Days,
    Smeared,
    repeating_from,
)
from schedcore.triggers._local import month_length
from schedcore.triggers._year_days import of_kinds

__all__ = ["NthDays", "RolledDays"]

# The bytes with their bits in the other order.
_BACKWARD = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class NthDays(Days):
    """The n-th open day of some months (n below 0: from the end), where it is known which days may be open and which closed.

    It is looked for in every other month at once: a one that is added to the closed days at the beginning of a month comes out
    at the first day that is not closed, and one that comes out of the month is lost in the next.
    """

    __slots__ = ("_closed", "_months", "_nth", "_opened")

    def __init__(self, nth: int, months: tuple[int, ...], opened: Days, closed: Days) -> None:
        self._nth, self._months, self._opened, self._closed = nth, months, opened, closed
        self.repeats = repeating_from((opened, closed))

    def make(self, chunk: int) -> int:
        nth, months, forward = abs(self._nth), self._months, self._nth > 0
        opened = self._opened.chunk(chunk)
        certain = opened & ~self._closed.chunk(chunk)
        known = certain == opened
        if not forward:
            opened = _backward(opened)
            certain = opened if known else _backward(certain)
        found = 0
        for odd, (starts, ends) in enumerate(_other_months(forward)):
            if not any(month % 2 == odd for month in months):
                continue
            days = ends - starts
            first = _nth_of_each(nth, opened, starts, days)
            if known:
                found |= first
            else:
                # From the n-th that may be open to the n-th that must be, if there is one.
                last = _nth_of_each(nth, certain, starts, days)
                found |= opened & days & ends - first & ~(ends - (last << 1))
        if not forward:
            found = _backward(found)
        return found if len(months) == 12 else found & of_kinds(lambda year: _days_of_months(year, months))


def _nth_of_each(nth: int, days: int, starts: int, whole: int) -> int:
    """The n-th of some days in each of some months. ``whole``: all days of these months; ``starts``: the first ones."""
    days &= whole
    passed = whole ^ days
    found = 0
    for _ in range(nth):
        found = passed + starts & days
        passed |= found
    return found


@lru_cache(maxsize=2)
def _other_months(forward: bool) -> list[tuple[int, int]]:
    """Of the even months of a chunk, and of the odd ones, the first days and those after the last. Backward: of days in the
    other order.
    """
    if not forward:
        return [(_backward(ends >> 1), _backward(starts) << 1) for starts, ends in _other_months(True)]
    odd = of_kinds(lambda year: bits_at([start for start, _ in _months_of(year)[::2]]))
    even = of_kinds(lambda year: bits_at([start for start, _ in _months_of(year)[1::2]]))
    return [(even, odd ^ 1 | 1 << CHUNK), (odd, even)]


def _backward(days: int) -> int:
    """The days of a chunk in the other order."""
    text = days.to_bytes(CHUNK // 8 + 1, "little").translate(_BACKWARD)
    return int.from_bytes(text, "big") >> -CHUNK % 8


def _days_of_months(year: int, months: tuple[int, ...]) -> int:
    """The days of some months of a year: bit 0 is 1 January."""
    return reduce(
        or_,
        [(1 << length) - 1 << start for month, (start, length) in enumerate(_months_of(year), 1) if month in months],
    )


def _months_of(year: int) -> list[tuple[int, int]]:
    """The first days of the months of a year, and their lengths; 0 is 1 January."""
    lengths = [month_length(year, month) for month in range(1, 13)]
    return list(zip(accumulate(lengths, initial=0), lengths, strict=False))


class RolledDays(Days):
    """The days to which others are moved where they are closed: the next open one, or the previous one.

    ``sources``: days; ``opened`` and ``closed``: those that may be open, and those that may be closed, be it one and the same.
    ``most``: no day is moved farther.
    """

    __slots__ = ("_closed", "_most", "_opened", "_sources", "forward")

    def __init__(self, sources: Days, opened: Days, closed: Days, most: int, *, forward: bool) -> None:
        self._sources, self._opened, self._closed = sources, opened, closed
        self._most, self.forward = most, forward
        repeats = repeating_from((sources, opened, closed))
        self.repeats = repeats if repeats <= 1 else min(repeats + 1, NO_CHUNK)

    def make(self, chunk: int) -> int:
        most = self._most
        reached, closed = (self._beyond(days, chunk) for days in (self._sources, self._closed))
        # A day leads to the one beside it where it may be closed; so do two, four, … closed days in a row.
        by = 1
        while by <= most and closed:
            if self.forward:
                reached |= (reached & closed) << by
                closed &= closed >> by
            else:
                reached |= (reached & closed) >> by
                closed &= closed << by
            by *= 2
        return (reached >> most if self.forward else reached) & self._opened.chunk(chunk)

    @property
    def reach(self) -> int:
        """How many days a day is moved at the most: as many as may be closed in a row."""
        return _longest_run(self._closed, self._most)

    @property
    def targets(self) -> Days:
        """The days to which others may be moved: open ones beside closed ones."""
        beside = (1, 1) if self.forward else (-1, -1)
        return CommonDays((self._opened, Smeared((self._closed,), *beside)))

    @property
    def knows_the_first(self) -> bool:
        """Whether it is known which days before the first chunk are closed, from which some of it may be reached."""
        return self._closed.repeats == EVERY_CHUNK or not self.forward or not self._closed.chunk(0) & 1

    def _beyond(self, days: Days, chunk: int) -> int:
        """The days of a chunk, and those of the one beside it from which they are reached."""
        here, most = days.chunk(chunk), self._most
        if not self.forward:
            after = days.chunk(chunk + 1) & (1 << most) - 1
            return here | after << CHUNK
        before = here
        if days.repeats != EVERY_CHUNK:
            # Chunks that repeat have what comes over from the first one in each.
            before = ALL_DAYS if not chunk else here | days.chunk(0) if days.repeats == 1 else days.chunk(chunk - 1)
        return here << most | before >> CHUNK - most


@lru_cache(maxsize=256)
def _longest_run(days: Days, most: int) -> int:
    """How many days of a set are in a row at the most; ``most``, where they are as many or it is not known."""
    if days.repeats > 1:
        return most
    rest = days.chunk(0) | (days.chunk(1) & (1 << most) - 1) << CHUNK
    if days.repeats:
        rest |= (days.chunk(1) | (days.chunk(1) & (1 << most) - 1) << CHUNK) << CHUNK + most
    if not rest:
        return 0
    # First by doubling, as long as there are so many in a row, and then by halves.
    found = 1
    while found < most and (longer := rest & rest >> found):
        rest, found = longer, 2 * found
    by = found
    while by := by // 2:
        if longer := rest & rest >> by:
            rest, found = longer, found + by
    return min(found, most)

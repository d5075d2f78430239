"""Days that go by which days are open and which are closed, as sets (``_days``)."""

from __future__ import annotations

from functools import lru_cache, partial, reduce
from itertools import accumulate
from operator import or_

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
from schedcore.triggers._year_days import of_kinds, year_length

__all__ = ["NthDays", "RolledDays"]


class NthDays(Days):
    """The n-th open day of some months (n below 0: from the end), where it is known which days may be open and which closed."""

    __slots__ = ("_closed", "_months", "_nth", "_opened")

    def __init__(self, nth: int, months: tuple[int, ...], opened: Days, closed: Days) -> None:
        self._nth, self._months, self._opened, self._closed = nth, months, opened, closed
        self.repeats = repeating_from((opened, closed))

    def make(self, chunk: int) -> int:
        opened = self._opened.chunk(chunk) & _of_months(self._months)
        if not opened:
            return 0
        certain = opened & ~self._closed.chunk(chunk)
        number, forward = abs(self._nth) - 1, self._nth > 0
        found, more = _with_so_many_before(number, opened, forward)
        if certain == opened:
            return opened & found
        # From the n-th that may be open to the n-th that must be, if there is one.
        found = opened & (found | more)
        return found & ~_with_so_many_before(number, certain, forward)[1] if found else 0


def _with_so_many_before(number: int, days: int, forward: bool) -> tuple[int, int]:
    """The days of a chunk that have a number of some days before them in their month, and those that have more; or after them.

    All are counted at once, in binary: a number for each day, of which every bit is an integer with a bit for each day. First
    each counts the day before it, then that and what the day before it counted, then what these two and the two before them
    did, …
    """
    width = number.bit_length()
    reaching = _reaching(forward)
    count: list[int] = []
    carry = (days << 1 if forward else days >> 1) & reaching[0]
    beyond = 0  # where it is more than the bits of the number can say
    for by, inside in zip((1, 2, 4, 8, 16), reaching, strict=True):
        if len(count) < width:
            count.append(carry)
        else:
            beyond |= carry
        carry = 0
        for place, here in enumerate(count):
            there = (here << by if forward else here >> by) & inside
            odd = here ^ there
            count[place] = odd ^ carry
            carry = here & there | odd & carry
        if beyond:
            beyond |= (beyond << by if forward else beyond >> by) & inside
    more = beyond | carry
    same = ALL_DAYS & ~more
    for place in reversed(range(len(count))):
        if number >> place & 1:
            same &= count[place]
        else:
            more |= same & count[place]
            same &= ~count[place]
    return same, more


@lru_cache(maxsize=2)
def _reaching(forward: bool) -> list[int]:
    """The days of a chunk that have at least 1, 2, 4, 8 and 16 days of their month before them; or after them."""
    return [of_kinds(partial(_with_days_before, by, forward)) for by in (1, 2, 4, 8, 16)]


def _with_days_before(by: int, forward: bool, year: int) -> int:
    days = [(1 << length - by) - 1 << start for start, length in _months_of(year)]
    return reduce(or_, days) << (by if forward else 0)


@lru_cache(maxsize=16)
def _of_months(months: tuple[int, ...]) -> int:
    """The days of some months of a chunk."""
    if len(months) == 12:
        return ALL_DAYS
    days = {length: _days_of_months(2000 if length == 366 else 2001, months) for length in (365, 366)}
    return of_kinds(lambda year: days[year_length(year)])


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

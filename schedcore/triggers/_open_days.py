"""Days that go by which days are open and which are closed, as sets (``_days``)."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

from schedcore.triggers._days import (
    ALL_DAYS,
    CHUNK,
    EVERY_CHUNK,
    FIRST_DAY,
    NO_CHUNK,
    CommonDays,
    Days,
    Smeared,
    repeating_from,
)
from schedcore.triggers._local import month_length
from schedcore.triggers._year_days import FIRST_YEAR, YEARS, joined, of_kinds, year_length
from schedcore.triggers.cron._search import first_day

__all__ = ["NthDays", "RolledDays"]

# One day a week, for longer than a year.
_EVERY_WEEK = sum(1 << day for day in range(0, 378, 7))


class NthDays(Days):
    """The n-th open day of some months (n below 0: from the end), where it is known which days may be open and which closed."""

    __slots__ = ("_closed", "_of_year", "_opened")

    def __init__(self, nth: int, months: tuple[int, ...], opened: Days, closed: Days) -> None:
        self._opened, self._closed = opened, closed

        @lru_cache(maxsize=256)
        def of_year(length: int, opened: int, closed: int) -> int:
            found = start = 0
            for month in range(1, 13):
                days = month_length(2000 if length == 366 else 2001, month)
                if month in months:
                    whole = (1 << days) - 1
                    found |= _nth_of(nth, opened >> start & whole, closed >> start & whole) << start
                start += days
            return found

        self._of_year = of_year
        self.repeats = repeating_from((opened, closed))

    def make(self, chunk: int) -> int:
        opened, closed = self._opened.chunk(chunk), self._closed.chunk(chunk)
        # From a day on they are the same each week, where all goes by the kind of year.
        since = max(_weekly_from(opened), _weekly_from(closed))
        lengths = []
        years = range(FIRST_YEAR + YEARS * chunk, FIRST_YEAR + YEARS * (chunk + 1))
        place = 0
        for year in years:
            if place >= since:
                break
            lengths.append(year_length(year))
            place += lengths[-1]
        found = 0
        if place < CHUNK:
            weekly = [_EVERY_WEEK * (days >> CHUNK - 7) for days in (opened, closed)]

            def days_of(year: int) -> int:
                length, first = year_length(year), (first_day(year) - FIRST_DAY) % 7
                return self._of_year(length, *(days >> first & (1 << length) - 1 for days in weekly))

            found = of_kinds(days_of) >> place << place
        opened_years = _cut(opened, lengths)
        closed_years = opened_years if closed == opened else _cut(closed, lengths)
        of_years = map(self._of_year, lengths, opened_years, closed_years)
        return found | joined(list(zip(accumulate(lengths, initial=0), of_years, strict=False)))


def _nth_of(nth: int, opened: int, closed: int) -> int:
    """The days of a month that may be its n-th open one: from the n-th that may be open to the n-th that must be, if there is."""
    number = abs(nth)
    if opened.bit_count() < number:
        return 0
    certain = opened & ~closed
    if certain == opened:
        return 1 << _place(opened, nth)
    first = _place(opened, nth)
    last = _place(certain, nth) if certain.bit_count() >= number else 31 if nth > 0 else 0
    low, high = (first, last) if nth > 0 else (last, first)
    return opened & (2 << high) - (1 << low)


def _place(days: int, nth: int) -> int:
    """The place of the n-th bit, or the n-th from the end."""
    if nth < 0:
        nth += days.bit_count() + 1
    for _ in range(nth - 1):
        days &= days - 1
    return (days & -days).bit_length() - 1


def _weekly_from(days: int) -> int:
    """From which place on the days of a chunk are the same each week, at the latest; a chunk has 20,871 weeks."""
    return ((days ^ days >> 7) & ALL_DAYS >> 7).bit_length()


def _cut(days: int, lengths: list[int]) -> list[int]:
    """The bits of years, one after the other, as one integer each. (A shift of all of them takes a microsecond.)"""
    whole = days.to_bytes(CHUNK // 8 + 1, "little")
    found, place = [], 0
    for length in lengths:
        year = int.from_bytes(whole[place >> 3 : (place + length + 7) >> 3], "little")
        found.append(year >> (place & 7) & (1 << length) - 1)
        place += length
    return found


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

"""Days that come every so many days or months, as sets (``_days``)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from math import gcd

from schedcore.triggers._bits import bits_at, first_multiple, set_bits
from schedcore.triggers._days import ALL_DAYS, CHUNK, EVERY_CHUNK, FIRST_DAY, LAST_CHUNK, NO_CHUNK, Days
from schedcore.triggers._local import DAY_S, civil, month_length
from schedcore.triggers._year_days import FIRST_YEAR, YEARS, of_kinds, year_length

__all__ = ["CrossedDays", "DateSteps", "DayLattice", "MonthSteps", "day_lattice", "days_every"]

_DAY_US = DAY_S * 1_000_000
# Days of a chunk that are tried one by one.
_TRIED = 1000


class DayLattice(Days):
    """Some days, and those that are a multiple of ``period`` days from one of them."""

    __slots__ = ("_cycle", "_days", "_period")

    def __init__(self, period: int, *days: int) -> None:
        self._period, self._days = period, sorted({(day - FIRST_DAY) % period for day in days})
        # Chunks that are so many apart are alike.
        self._cycle = period // gcd(period, CHUNK)
        self.repeats = EVERY_CHUNK if self._cycle == 1 else NO_CHUNK

    def like(self, chunk: int) -> int:
        return chunk % self._cycle

    def make(self, chunk: int) -> int:
        period = self._period
        first = chunk * CHUNK % period  # the first day of the chunk
        if period > CHUNK:
            found: list[int] = []
            for start in range(-first, CHUNK, period):
                low, high = bisect_left(self._days, -start), bisect_left(self._days, CHUNK - start)
                found += [start + day for day in self._days[low:high]]
            return bits_at(found)
        return _repeated(sorted((day - first) % period for day in self._days), period)

    def ever(self) -> int:
        # Chunks begin at all places of the period that are so many days apart.
        step = gcd(self._period, CHUNK)
        return ALL_DAYS if step == 1 else _repeated(sorted({day % step for day in self._days}), step)


@lru_cache(maxsize=256)
def day_lattice(period: int, *days: int) -> DayLattice:
    return DayLattice(period, *days)


def _repeated(days: list[int], period: int) -> int:
    """Some days of a chunk, and those that are a multiple of a period later."""
    found = bits_at(days)
    while period < CHUNK:
        found |= found << period
        period *= 2
    return found & ALL_DAYS


class CrossedDays(Days):
    """The days on which a lattice has a point in a stretch of the day: ``low_us`` to ``high_us``, from when the day begins.

    Those that other sets leave are tried one by one; where these are many they are taken to be such days.
    """

    __slots__ = ("_high_us", "_low_us", "_offset_us", "_period_us")

    repeats = NO_CHUNK

    def __init__(self, period_us: int, offset_us: int, low_us: int, high_us: int) -> None:
        self._period_us, self._offset_us, self._low_us, self._high_us = period_us, offset_us, low_us, high_us

    def make(self, chunk: int) -> int:
        return ALL_DAYS

    def within(self, days: int, chunk: int) -> int:
        if days.bit_count() > _TRIED:
            return days
        period_us, wide_us = self._period_us, self._high_us - self._low_us
        left_us = (self._offset_us - self._low_us - (FIRST_DAY + chunk * CHUNK) * _DAY_US) % period_us
        if left_us > wide_us:
            # What hardly drifts may come to no day of the chunk.
            first = first_multiple(-_DAY_US, period_us, period_us - left_us, period_us - left_us + wide_us)
            if first is None or first >= CHUNK:
                return 0
        # The same in steps that divide both the day and the period: smaller numbers, in half the time.
        step_us = gcd(period_us, _DAY_US)
        period, each = period_us // step_us, _DAY_US // step_us % (period_us // step_us)
        left, rest_us = divmod(left_us, step_us)
        wide = (wide_us - rest_us) // step_us
        return bits_at([day for day in _listed(days) if (left - day * each) % period <= wide])


@lru_cache(maxsize=8)
def _listed(days: int) -> list[int]:
    """The places of some days: those that repeat are the same for one chunk after the other."""
    return set_bits(days)


@lru_cache(maxsize=1)
def _month_table() -> tuple[list[int], list[int]]:
    """The first days of the months of a chunk, counted from its beginning, and their lengths."""
    lengths = [month_length(year, month) for year in range(FIRST_YEAR, FIRST_YEAR + YEARS) for month in range(1, 13)]
    return list(accumulate(lengths, initial=0))[:-1], lengths


@lru_cache(maxsize=1)
def _month_starts() -> dict[int, int]:
    """The first days of the months of a chunk, by their length."""
    table = list(zip(*_month_table(), strict=True))
    return {each: bits_at([start for start, length in table if length == each]) for each in (28, 29, 30, 31)}


class MonthSteps(Days):
    """Some days of every ``months``-th month, one of which is ``month`` (months since the year 0). ``days_of``: from the length
    of the month to its days; bit 0 is the first.
    """

    __slots__ = ("_cycle", "_days_of", "_month", "_months", "_of_kind")

    def __init__(self, months: int, month: int, days_of: Callable[[int], int]) -> None:
        self._months, self._month, self._days_of = months, month, days_of
        # Chunks that are so many apart are alike.
        self._cycle = months // gcd(months, 12 * YEARS)
        self.repeats = EVERY_CHUNK if self._cycle == 1 else NO_CHUNK

        @lru_cache(maxsize=256)
        def of_kind(leap: bool, phase: int) -> int:
            found = start = 0
            for index in range(12):
                length = month_length(2000 if leap else 2001, index + 1)
                if (phase + index) % months == 0:
                    found |= days_of(length) << start
                start += length
            return found

        self._of_kind = of_kind

    def like(self, chunk: int) -> int:
        return chunk % self._cycle

    def make(self, chunk: int) -> int:
        months = self._months
        if 12 % months == 0:
            return of_kinds(lambda year: self._of_kind(year_length(year) == 366, (12 * year - self._month) % months))
        first = (self._month - 12 * (FIRST_YEAR + YEARS * chunk)) % months
        starts = bits_at(_month_table()[0][first::months])
        of_days: dict[int, int] = {}  # by what matches in a month, where those of which it does begin
        for length, begin in _month_starts().items():
            days = self._days_of(length)
            of_days[days] = of_days.get(days, 0) | starts & begin
        return sum(days * begin for days, begin in of_days.items() if days)


class DateSteps(Days):
    """Every ``months`` months and ``days`` days from a date on: the month and the day each counted from there. A day that a month
    lacks is left out, or with ``clamp`` its last one.
    """

    __slots__ = ("_clamp", "_days", "_made", "_months", "_start")

    repeats = NO_CHUNK

    def __init__(self, months: int, days: int, start: int, clamp: bool) -> None:
        self._months, self._days, self._start, self._clamp = months, days, start, clamp
        self._made: tuple[int, int] | None = None

    def make(self, chunk: int) -> int:
        if self._made is None:
            self._made = self._round()
        dates, after = self._made
        since = FIRST_DAY + CHUNK * chunk - self._start
        found = 0
        for number in range(max(since // after, 0), (since + CHUNK - 1) // after + 1):
            later = number * after - since
            found |= dates << later if later > 0 else dates >> -later
        return found & ALL_DAYS

    def _round(self) -> tuple[int, int]:
        """The dates up to when the months come to the same one of a chunk, counted from the start; and after how many days they
        do, and all comes again. No more than there are until the end of time: a round may take millions of years.
        """
        months = self._months
        common = gcd(months, 12 * YEARS)
        end = FIRST_DAY + CHUNK * (LAST_CHUNK + 1) - self._start
        steps = min(12 * YEARS // common, end // (28 * months + self._days) + 1)
        starts, lengths = _month_table()
        year, month, day = civil(self._start)
        chunk, place = divmod(12 * (year - FIRST_YEAR) + month - 1, 12 * YEARS)
        later = FIRST_DAY + CHUNK * chunk - self._start - 1  # from the start to the day before the first of the chunk
        number = 0
        found: list[int] = []
        while number < steps:
            some = slice(place, place + months * (steps - number), months)
            for start, length in zip(starts[some], lengths[some], strict=True):
                if day <= length or self._clamp:
                    found.append(later + start + min(day, length) + number * self._days)
                number += 1
            place += -(-(12 * YEARS - place) // months) * months - 12 * YEARS
            later += CHUNK
        after = min((CHUNK * months + 12 * YEARS * self._days) // common, end)
        return bits_at([place for place in found if place < after]), after


@lru_cache(maxsize=256)
def days_every(months: int, days: int, start: int, clamp: bool) -> Days:
    """The days that come every so many months, or days, or both, counted from one of them. ``clamp`` as in ``DateSteps``."""
    if not months:
        return day_lattice(days, start)
    if days:
        return DateSteps(months, days, start, clamp)
    year, month, day = civil(start)
    return MonthSteps(
        months, 12 * year + month - 1, lambda length: 1 << min(day, length) - 1 if clamp or day <= length else 0
    )

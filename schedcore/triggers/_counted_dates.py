"""Dates that are counted from a start: the k-th is the start moved by k times so many months, then by k times so many days.

Nothing is carried over from one to the next: the day that a short month lacks is left out, or is the last one of that month, and
the next date is counted from the start again. There are no clocks in here.

Theory of operation. Date k is a few integer operations away from k, and k from a date.
"""

from __future__ import annotations

from math import gcd

from schedcore.triggers._days import Days
from schedcore.triggers._local import civil, day_number, month_length
from schedcore.triggers._step_days import days_every

__all__ = ["CountedDates"]

# Days in a month, on average over the 400 years after which the calendar repeats.
_MONTH_DAYS = 146097 / 4800


class CountedDates:
    """The dates, by their number k; those before the start have negative ones.

    :param start: the day number of date 0.
    :param months, days: from one to the next, in sum at least a day.
    :param clamp: whether a day that a month lacks is its last one, or is left out.
    """

    __slots__ = ("clamp", "days", "months", "start")

    def __init__(self, start: int, months: int, days: int, clamp: bool) -> None:
        self.start, self.months, self.days, self.clamp = start, months, days, clamp

    def day(self, k: int) -> int | None:
        """The day number of date k, or None when there is no such day."""
        if not self.months:
            return self.start + k * self.days
        year, month, day = self._in_month(k)
        if day > 28:
            length = month_length(year, month)
            if day > length:
                if not self.clamp:
                    return None
                day = length
        return day_number(year, month, day) + k * self.days

    def place(self, k: int) -> int:
        """The day number of date k, clamped: an increasing function of k without holes."""
        if not self.months:
            return self.start + k * self.days
        year, month, day = self._in_month(k)
        return day_number(year, month, min(day, month_length(year, month))) + k * self.days

    def number(self, day: int) -> int:
        """The last k whose date is not later than ``day``; a date that does not exist counts as the end of its month."""
        since = day - self.start
        if not self.months:
            return since // self.days
        k = int(since // (self.months * _MONTH_DAYS + self.days))
        while self.place(k) > day:
            k -= 1
        while self.place(k + 1) <= day:
            k += 1
        return k

    def has_holes(self) -> bool:
        """Whether there are dates that do not exist."""
        return bool(self.months) and not self.clamp and civil(self.start)[2] > 28

    def missing(self, first: int, end: int) -> int:
        """How many of the dates in [first, end) do not exist because their month is too short."""
        if not self.has_holes():
            return 0
        year, month, day = civil(self.start)
        # Dates repeat after 12 months; with 29 February after 400 years.
        cycle = 4800 if day == 29 else 12
        cycle //= gcd(cycle, self.months)

        def lacks(k: int) -> bool:
            years, index = divmod(month - 1 + k * self.months, 12)
            return day > month_length(year + years, index + 1)

        cycles, rest = divmod(end - first, cycle)
        total = cycles * sum(map(lacks, range(cycle))) if cycles else 0
        return total + sum(map(lacks, range(end - rest, end)))

    def as_days(self) -> Days:
        """All of them as a set, those before the start as well."""
        return days_every(self.months, self.days, self.start, self.clamp)

    def _in_month(self, k: int) -> tuple[int, int, int]:
        """Year, month and day of date k before days are added; a day that the month may lack."""
        year, month, day = civil(self.start)
        years, month = divmod(month - 1 + k * self.months, 12)
        return year + years, month + 1, day

"""Days of rules of the calendar, as sets (``_days``): those that are known year by year."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import gcd

from schedcore.triggers._days import CHUNK, EVERY_CHUNK, FIRST_DAY, NO_CHUNK, Days
from schedcore.triggers.cron._search import Plan, first_day

__all__ = [
    "FIRST_YEAR",
    "YEARS",
    "PlanDays",
    "SomeYears",
    "YearDays",
    "days_of_plan",
    "of_kinds",
    "of_years",
    "year_length",
]

#: The first year of chunk 0, and the years of a chunk.
FIRST_YEAR = 2000
YEARS = 400


class YearDays(Days):
    """Days that are known year by year: bit 0 is 1 January. Years of one kind (see ``cron._search``) are alike."""

    __slots__ = ("_days_of",)

    repeats = EVERY_CHUNK

    def __init__(self, days_of: Callable[[int], int]) -> None:
        self._days_of = days_of

    def make(self, chunk: int) -> int:
        return of_kinds(self._days_of)


class SomeYears(Days):
    """Days of every ``interval``-th year, one of which is ``year``, known year by year."""

    __slots__ = ("_cycle", "_days_of", "_interval", "_year")

    def __init__(self, days_of: Callable[[int], int], interval: int, year: int) -> None:
        self._days_of, self._interval, self._year = days_of, interval, year
        # Chunks that are so many apart are alike.
        self._cycle = interval // gcd(interval, YEARS)
        self.repeats = EVERY_CHUNK if self._cycle == 1 else NO_CHUNK

    def like(self, chunk: int) -> int:
        return chunk % self._cycle

    def make(self, chunk: int) -> int:
        first = FIRST_YEAR + YEARS * chunk
        years = range(first + (self._year - first) % self._interval, first + YEARS, self._interval)
        return of_years(self._days_of, years, chunk)


class PlanDays(Days):
    """The local days of a cron rule."""

    __slots__ = ("_plan",)

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.repeats = EVERY_CHUNK
        if plan.years is not None:
            last = plan.years[-1] if plan.years else FIRST_YEAR
            self.repeats = min(max((last - FIRST_YEAR) // YEARS + 1, 1), NO_CHUNK)

    def make(self, chunk: int) -> int:
        years, days_of = self._plan.years, self._plan.days_of
        if years is None:
            return of_kinds(days_of)
        first = FIRST_YEAR + YEARS * chunk
        return of_years(days_of, years[bisect_left(years, first) : bisect_left(years, first + YEARS)], chunk)


def days_of_plan(plan: Plan) -> Days:
    """The local days of a cron rule, made once for each."""
    found: Days | None = plan.day_set
    if found is None:
        found = plan.day_set = PlanDays(plan)
    return found


@lru_cache(maxsize=1)
def _kinds_of_years() -> tuple[list[int], list[tuple[int, int, int]]]:
    """A year of each kind; and how the years of a chunk are put together from them, two by two: pairs of numbers, and how many
    days the second is later than the first. What is put together once is used wherever it comes again, which is why it takes
    some two hundred steps and not 400.
    """
    kinds: dict[tuple[int, int, int, int], int] = {}
    years: list[int] = []
    row: list[int] = []
    for year in range(FIRST_YEAR, FIRST_YEAR + YEARS):
        kind = first_day(year) % 7, year_length(year - 1), year_length(year), year_length(year + 1)
        if kind not in kinds:
            kinds[kind] = len(years)
            years.append(year)
        row.append(kinds[kind])
    lengths = [year_length(year) for year in years]
    known: dict[tuple[int, int], int] = {}
    steps: list[tuple[int, int, int]] = []
    while len(row) > 1:
        above = []
        for one, other in zip(row[::2], row[1::2], strict=False):
            if (one, other) not in known:
                known[one, other] = len(lengths)
                steps.append((one, other, lengths[one]))
                lengths.append(lengths[one] + lengths[other])
            above.append(known[one, other])
        row = above + row[len(row) & ~1 :]
    return years, steps


def of_kinds(days_of: Callable[[int], int]) -> int:
    """The days of a chunk, of a rule that goes by the kind of year."""
    years, steps = _kinds_of_years()
    found = [days_of(year) for year in years]
    for one, other, later in steps:
        found.append(found[one] | found[other] << later)
    return found[-1]


def of_years(days_of: Callable[[int], int], years: Sequence[int], chunk: int) -> int:
    """The days of some years of a chunk."""
    start = FIRST_DAY + CHUNK * chunk
    return _joined([(first_day(year) - start, days_of(year)) for year in years])


def _joined(parts: list[tuple[int, int]]) -> int:
    """The bits of parts in order, put together two by two; a part is its place and its bits."""
    if not parts:
        return 0
    while len(parts) > 1:
        parts = [
            (place, one | other << later - place)
            for (place, one), (later, other) in zip(parts[::2], parts[1::2], strict=False)
        ] + parts[len(parts) & ~1 :]
    return parts[0][1] << parts[0][0]


def year_length(year: int) -> int:
    return 366 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 365

"""Sets of days as integers: one bit for each day of 400 years, after which the Gregorian calendar repeats.

What several sets have in common is one ``&`` of 18 kB, which takes half a microsecond. So whether a weekday in Tokyo and
a date in New York ever fall together is not searched for: it is looked up. A chunk is 146,097 days; chunk 0 begins on
2000-01-01. A set may hold more days than its rule names, never fewer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import gcd

from schedcore.triggers._bits import bits_at, first_multiple, set_bits, widened
from schedcore.triggers._local import DAY_S, civil, month_length
from schedcore.triggers.cron._dst import Offsets
from schedcore.triggers.cron._search import Plan, first_day

__all__ = [
    "ALL_DAYS",
    "CHUNK",
    "EVERY_CHUNK",
    "FIRST_DAY",
    "LAST_CHUNK",
    "NO_CHUNK",
    "Changes",
    "CommonDays",
    "CrossedDays",
    "DayLattice",
    "DateSteps",
    "Days",
    "EitherDays",
    "InEffect",
    "Jumps",
    "MonthSteps",
    "NthDays",
    "OtherDays",
    "PlanDays",
    "RangeDays",
    "RolledDays",
    "Shown",
    "Smeared",
    "SomeYears",
    "YearDays",
    "common_days",
    "days_between",
    "days_of_plan",
    "next_common",
    "set_bits",
    "repeating_from",
    "together",
]

#: Days in a chunk, and all of them as bits.
CHUNK = 146_097
ALL_DAYS = (1 << CHUNK) - 1
#: The day number of the first day of chunk 0, 2000-01-01.
FIRST_DAY = 10_957
#: The last chunk ends with the year 9999.
LAST_CHUNK = 19
#: From which chunk on the others are like it: all of them, or none.
EVERY_CHUNK, NO_CHUNK = 0, LAST_CHUNK + 1
_DAY_US = DAY_S * 1_000_000
_FIRST_YEAR = 2000
_YEARS = 400
# One day a week, for longer than a year.
_EVERY_WEEK = sum(1 << day for day in range(0, 378, 7))
# Chunks kept, of 18 kB each.
_KEPT = 512
# Days of a chunk that are tried one by one.
_TRIED = 1000


class Days(ABC):
    """A set of days. Compared by identity."""

    __slots__ = ("repeats",)

    #: From this chunk on, all are the same.
    repeats: int

    @abstractmethod
    def make(self, chunk: int) -> int:
        """The days of a chunk as bits, computed afresh."""

    def chunk(self, chunk: int) -> int:
        """The days of a chunk as bits."""
        return _chunk(self, min(chunk, self.repeats))

    def within(self, days: int, chunk: int) -> int:
        """Those of some days of a chunk that are in the set."""
        return days & self.chunk(chunk)

    def shifted(self, by: int) -> Days:
        """The set of the days that are so many days later."""
        return _shifted(self, by) if by else self


@lru_cache(maxsize=_KEPT)
def _shifted(days: Days, by: int) -> Days:
    return Smeared((days,), by, by)


@lru_cache(maxsize=_KEPT)
def _chunk(days: Days, chunk: int) -> int:
    return days.make(chunk)


@lru_cache(maxsize=_KEPT)
def common_days(sets: tuple[Days, ...], chunk: int) -> int:
    """What several sets have in common in a chunk; all days for none."""
    steady, others, _ = _sorted_out(sets)
    # What repeats is the same for all chunks but the first.
    found = common_days(steady, min(chunk, 1)) if others and steady else ALL_DAYS
    for each in others or steady:
        if not found:  # the others need not be made
            break
        found = each.within(found, chunk)
    return found


@lru_cache(maxsize=4 * _KEPT)
def _sorted_out(sets: tuple[Days, ...]) -> tuple[tuple[Days, ...], tuple[Days, ...], int]:
    """The sets that repeat from the second chunk on, the others, and from which chunk on all of them do."""
    others = tuple([each for each in sets if each.repeats > 1])
    steady = tuple([each for each in sets if each.repeats <= 1]) if others else sets
    return steady, others, repeating_from(sets)


def repeating_from(sets: Sequence[Days]) -> int:
    """From which chunk on what they have in common is always the same."""
    return max([each.repeats for each in sets], default=EVERY_CHUNK)


@lru_cache(maxsize=8 * _KEPT)
def _first_common(sets: tuple[Days, ...], chunk: int) -> int | None:
    """The place of the first day that several sets have in common in a chunk."""
    days = common_days(sets, chunk)
    return (days & -days).bit_length() - 1 if days else None


@lru_cache(maxsize=_KEPT)
def _common_text(sets: tuple[Days, ...], chunk: int) -> bytes:
    """What several sets have in common in a chunk, eight days to a byte, or none at all: to look at some of them costs no copy
    of all.
    """
    days = common_days(sets, chunk)
    return days.to_bytes(CHUNK // 8 + 1, "little") if days else b""


def next_common(sets: tuple[Days, ...], day: int, until: int | None = None) -> int | None:
    """The first day from one on that all of several sets have; None when there is none.

    ``until``: no day after this one is asked for; the answer may be one at which there is nothing.
    """
    repeats = _sorted_out(sets)[2]
    chunk, place = divmod(day - FIRST_DAY, CHUNK)
    whole = not place
    while True:
        like = chunk if chunk < repeats else repeats
        soonest = _first_common(sets, like)
        if soonest is not None and soonest >= place:
            return FIRST_DAY + chunk * CHUNK + soonest
        if soonest is not None:
            text = _common_text(sets, like)
            first, rest = place >> 3, place & 7
            found = int.from_bytes(text[first : first + 64], "little") >> rest  # the near ones, and then all
            if not found:
                found = int.from_bytes(text[first:], "little") >> rest
            if found:
                return FIRST_DAY + chunk * CHUNK + place + (found & -found).bit_length() - 1
        if chunk >= LAST_CHUNK or (whole and chunk >= repeats):
            return None
        chunk, place, whole = chunk + 1, 0, True
        if until is not None and FIRST_DAY + chunk * CHUNK > until:
            return FIRST_DAY + chunk * CHUNK


def days_between(sets: tuple[Days, ...], first: int, last: int) -> int:
    """The days from one to another, not many, that all of several sets have: bit 0 is the first."""
    repeats = repeating_from(sets)
    chunk, place = divmod(first - FIRST_DAY, CHUNK)
    found = common_days(sets, min(chunk, repeats)) >> place
    if place + last - first >= CHUNK:
        found |= common_days(sets, min(chunk + 1, repeats)) << CHUNK - place
    return found & (2 << last - first) - 1


class Smeared(Days):
    """The days that are ``least`` to ``most`` days later than one that several sets have in common."""

    __slots__ = ("_least", "_most", "_sets")

    def __init__(self, sets: tuple[Days, ...], least: int, most: int) -> None:
        self._sets, self._least, self._most = sets, least, most
        repeats = repeating_from(sets)
        self.repeats = repeats if repeats <= 1 else min(repeats + 1, NO_CHUNK)

    def make(self, chunk: int) -> int:
        here = before = after = common_days(self._sets, chunk)
        repeats = repeating_from(self._sets)
        if repeats != EVERY_CHUNK:
            # What comes over from the chunks beside it is a few days, for which those that have no like are not made.
            # Those that repeat have what comes over from the first one in each.
            before = here | common_days(self._sets, 0) if chunk > 0 and repeats == 1 else ALL_DAYS
            after = common_days(self._sets, 1) if chunk >= 0 and repeats == 1 else ALL_DAYS
        earlier, later = max(-self._least, 0), max(self._most, 0)
        found = here << later
        if earlier:
            found |= (after & (1 << earlier) - 1) << CHUNK + later
        if later:
            found |= before >> CHUNK - later
        return widened(found, self._most - self._least) >> later - self._least & ALL_DAYS


class CommonDays(Days):
    """The days that several sets have in common."""

    __slots__ = ("_sets",)

    def __init__(self, sets: Sequence[Days]) -> None:
        self._sets = tuple(sets)
        self.repeats = repeating_from(self._sets)

    def make(self, chunk: int) -> int:
        return common_days(self._sets, chunk)


@lru_cache(maxsize=256)
def together(sets: tuple[Days, ...]) -> Days | None:
    """One set of what several have in common; None for all days."""
    return CommonDays(sets) if len(sets) > 1 else sets[0] if sets else None


class EitherDays(Days):
    """The days of any of several sets."""

    __slots__ = ("_sets",)

    def __init__(self, sets: Sequence[Days]) -> None:
        self._sets = tuple(sets)
        self.repeats = repeating_from(self._sets)

    def make(self, chunk: int) -> int:
        found = 0
        for each in self._sets:
            found |= each.chunk(chunk)
        return found


class OtherDays(Days):
    """The days that are not in a set, which must hold no more than its rule names."""

    __slots__ = ("_days",)

    def __init__(self, days: Days) -> None:
        self._days = days
        self.repeats = days.repeats

    def make(self, chunk: int) -> int:
        return ALL_DAYS ^ self._days.chunk(chunk)


class RangeDays(Days):
    """The days of some ranges, first and last."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._ranges: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            _extend(self._ranges, first, last)
        self.repeats = min(max((self._ranges[-1][1] - FIRST_DAY) // CHUNK + 1, 1), NO_CHUNK)

    def make(self, chunk: int) -> int:
        return _filled(self._ranges, FIRST_DAY + chunk * CHUNK)


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


class DayLattice(Days):
    """Some days, and those that are a multiple of ``period`` days from one of them."""

    __slots__ = ("_cycle", "_days", "_period")

    def __init__(self, period: int, *days: int) -> None:
        self._period, self._days = period, sorted({(day - FIRST_DAY) % period for day in days})
        # Chunks that are so many apart are alike.
        self._cycle = period // gcd(period, CHUNK)
        self.repeats = EVERY_CHUNK if self._cycle == 1 else NO_CHUNK

    def chunk(self, chunk: int) -> int:
        return _chunk(self, chunk % self._cycle)

    def make(self, chunk: int) -> int:
        period = self._period
        first = chunk * CHUNK % period  # the first day of the chunk
        if period > CHUNK:
            found: list[int] = []
            for start in range(-first, CHUNK, period):
                low, high = bisect_left(self._days, -start), bisect_left(self._days, CHUNK - start)
                found += [start + day for day in self._days[low:high]]
            return bits_at(found)
        days = bits_at(sorted((day - first) % period for day in self._days))
        while period < CHUNK:
            days |= days << period
            period *= 2
        return days & ALL_DAYS


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
        return bits_at([day for day in _listed(days) if (left_us - day * _DAY_US) % period_us <= wide_us])


@lru_cache(maxsize=8)
def _listed(days: int) -> list[int]:
    """The places of some days: those that repeat are the same for one chunk after the other."""
    return set_bits(days)


class YearDays(Days):
    """Days that are known year by year: bit 0 is 1 January. Years of one kind (see ``cron._search``) are alike."""

    __slots__ = ("_days_of",)

    repeats = EVERY_CHUNK

    def __init__(self, days_of: Callable[[int], int]) -> None:
        self._days_of = days_of

    def make(self, chunk: int) -> int:
        return _of_kinds(self._days_of)


class SomeYears(Days):
    """Days of every ``interval``-th year, one of which is ``year``, known year by year."""

    __slots__ = ("_cycle", "_days_of", "_interval", "_year")

    def __init__(self, days_of: Callable[[int], int], interval: int, year: int) -> None:
        self._days_of, self._interval, self._year = days_of, interval, year
        # Chunks that are so many apart are alike.
        self._cycle = interval // gcd(interval, _YEARS)
        self.repeats = EVERY_CHUNK if self._cycle == 1 else NO_CHUNK

    def chunk(self, chunk: int) -> int:
        return _chunk(self, chunk % self._cycle)

    def make(self, chunk: int) -> int:
        first = _FIRST_YEAR + _YEARS * chunk
        years = range(first + (self._year - first) % self._interval, first + _YEARS, self._interval)
        return _of_years(self._days_of, years, chunk)


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
        years = range(_FIRST_YEAR + _YEARS * chunk, _FIRST_YEAR + _YEARS * (chunk + 1))
        place = 0
        for year in years:
            if place >= since:
                break
            lengths.append(_length(year))
            place += lengths[-1]
        found = 0
        if place < CHUNK:
            weekly = [_EVERY_WEEK * (days >> CHUNK - 7) for days in (opened, closed)]

            def days_of(year: int) -> int:
                length, first = _length(year), (first_day(year) - FIRST_DAY) % 7
                return self._of_year(length, *(days >> first & (1 << length) - 1 for days in weekly))

            found = _of_kinds(days_of) >> place << place
        opened_years = _cut(opened, lengths)
        closed_years = opened_years if closed == opened else _cut(closed, lengths)
        of_years = map(self._of_year, lengths, opened_years, closed_years)
        return found | _joined(list(zip(accumulate(lengths, initial=0), of_years, strict=False)))


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


class PlanDays(Days):
    """The local days of a cron rule."""

    __slots__ = ("_plan",)

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.repeats = EVERY_CHUNK
        if plan.years is not None:
            last = plan.years[-1] if plan.years else _FIRST_YEAR
            self.repeats = min(max((last - _FIRST_YEAR) // _YEARS + 1, 1), NO_CHUNK)

    def make(self, chunk: int) -> int:
        years, days_of = self._plan.years, self._plan.days_of
        if years is None:
            return _of_kinds(days_of)
        first = _FIRST_YEAR + _YEARS * chunk
        return _of_years(days_of, years[bisect_left(years, first) : bisect_left(years, first + _YEARS)], chunk)


@lru_cache(maxsize=1)
def _kinds_of_years() -> tuple[list[int], list[tuple[int, int, int]]]:
    """A year of each kind; and how the years of a chunk are put together from them, two by two: pairs of numbers, and how many
    days the second is later than the first. What is put together once is used wherever it comes again, which is why it takes
    some two hundred steps and not 400.
    """
    kinds: dict[tuple[int, int, int, int], int] = {}
    years: list[int] = []
    row: list[int] = []
    for year in range(_FIRST_YEAR, _FIRST_YEAR + _YEARS):
        kind = first_day(year) % 7, _length(year - 1), _length(year), _length(year + 1)
        if kind not in kinds:
            kinds[kind] = len(years)
            years.append(year)
        row.append(kinds[kind])
    lengths = [_length(year) for year in years]
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


def _of_kinds(days_of: Callable[[int], int]) -> int:
    """The days of a chunk, of a rule that goes by the kind of year."""
    years, steps = _kinds_of_years()
    found = [days_of(year) for year in years]
    for one, other, later in steps:
        found.append(found[one] | found[other] << later)
    return found[-1]


def _of_years(days_of: Callable[[int], int], years: Sequence[int], chunk: int) -> int:
    """The days of some years of a chunk."""
    start = FIRST_DAY + CHUNK * chunk
    return _joined([(first_day(year) - start, days_of(year)) for year in years])


def _weekly_from(days: int) -> int:
    """From which place on the days of a chunk are the same each week, at the latest; a chunk has 20,871 weeks."""
    return ((days ^ days >> 7) & ALL_DAYS >> 7).bit_length()


def days_of_plan(plan: Plan) -> Days:
    """The local days of a cron rule, made once for each."""
    found: Days | None = plan.day_set
    if found is None:
        found = plan.day_set = PlanDays(plan)
    return found


@lru_cache(maxsize=1)
def _month_table() -> tuple[list[int], list[int]]:
    """The first days of the months of a chunk, counted from its beginning, and their lengths."""
    lengths = [month_length(year, month) for year in range(_FIRST_YEAR, _FIRST_YEAR + _YEARS) for month in range(1, 13)]
    return list(accumulate(lengths, initial=0))[:-1], lengths


class MonthSteps(Days):
    """Some days of every ``months``-th month, one of which is ``month`` (months since the year 0). ``days_of``: from the length
    of the month to its days; bit 0 is the first.
    """

    __slots__ = ("_cycle", "_days_of", "_month", "_months", "_of_kind")

    def __init__(self, months: int, month: int, days_of: Callable[[int], int]) -> None:
        self._months, self._month, self._days_of = months, month, days_of
        # Chunks that are so many apart are alike.
        self._cycle = months // gcd(months, 12 * _YEARS)
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

    def chunk(self, chunk: int) -> int:
        return _chunk(self, chunk % self._cycle)

    def make(self, chunk: int) -> int:
        months = self._months
        if 12 % months == 0:
            return _of_kinds(lambda year: self._of_kind(_length(year) == 366, (12 * year - self._month) % months))
        starts, lengths = _month_table()
        first = (self._month - 12 * (_FIRST_YEAR + _YEARS * chunk)) % months
        days = {length: self._days_of(length) for length in (28, 29, 30, 31)}
        return _joined(
            [(start, days[length]) for start, length in zip(starts[first::months], lengths[first::months], strict=True)]
        )


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
        do, and all comes again.
        """
        months = self._months
        rounds = months // gcd(months, 12 * _YEARS)
        steps = 12 * _YEARS * rounds // months
        starts, lengths = _month_table()
        year, month, day = civil(self._start)
        chunk, place = divmod(12 * (year - _FIRST_YEAR) + month - 1, 12 * _YEARS)
        later = FIRST_DAY + CHUNK * chunk - self._start - 1  # from the start to the day before the first of the chunk
        number = 0
        found: list[int] = []
        while number < steps:
            for start, length in zip(starts[place::months], lengths[place::months], strict=True):
                if day <= length or self._clamp:
                    found.append(later + start + min(day, length) + number * self._days)
                number += 1
            place += -(-(12 * _YEARS - place) // months) * months - 12 * _YEARS
            later += CHUNK
        after = CHUNK * rounds + steps * self._days
        return bits_at([place for place in found if place < after]), after


class Shown:
    """What the clocks of a zone show, chunk by chunk; kept, because each offset asks for it."""

    __slots__ = ("_chunks", "_offsets")

    def __init__(self, offsets: Offsets) -> None:
        self._offsets = offsets
        self._chunks: dict[int, list[tuple[int, int, int]]] = {}

    def spans(self, chunk: int) -> list[tuple[int, int, int]]:
        """From a day before a chunk on until it ends: from, until and the offset; seconds."""
        found = self._chunks.get(chunk)
        if found is None:
            first_s = (FIRST_DAY + chunk * CHUNK) * DAY_S
            found = self._chunks[chunk] = list(self._offsets.spans(first_s - DAY_S, first_s + CHUNK * DAY_S))
        return found


class _OfAZone(Days):
    """Days that go by a zone's clocks: they take longest to make, are few, and are kept as long as the zone is."""

    __slots__ = ("_kept", "_shown")

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._kept: dict[int, int] = {}
        self.repeats = 1

    def chunk(self, chunk: int) -> int:
        chunk = min(chunk, self.repeats)
        found = self._kept.get(chunk)
        if found is None:
            found = self._kept[chunk] = self.make(chunk)
        return found


class InEffect(_OfAZone):
    """The days of UTC on which an offset of a zone holds for some time, or held until the clocks jumped that day."""

    __slots__ = ("_offset",)

    def __init__(self, shown: Shown, offset: int) -> None:
        super().__init__(shown)
        self._offset = offset

    def make(self, chunk: int) -> int:
        ranges: list[tuple[int, int]] = []
        before, end_s = 1 << 20, 0
        for start_s, until_s, offset in self._shown.spans(chunk):
            if before == self._offset < offset:
                # What the clocks jump over may be read with the offset before it.
                _extend(ranges, end_s // DAY_S, (end_s + offset - before - 1) // DAY_S)
            if offset == self._offset:
                _extend(ranges, start_s // DAY_S, (until_s - 1) // DAY_S)
            before, end_s = offset, until_s
        return _filled(ranges, FIRST_DAY + chunk * CHUNK)


class Jumps(_OfAZone):
    """The days of UTC on which the clocks of a zone jump forward."""

    __slots__ = ()

    def make(self, chunk: int) -> int:
        spans = self._shown.spans(chunk)
        ranges: list[tuple[int, int]] = []
        for (_, end_s, before), (_, _, after) in pairwise(spans):
            if after > before:
                _extend(ranges, end_s // DAY_S, end_s // DAY_S)
        return _filled(ranges, FIRST_DAY + chunk * CHUNK)


class Changes(_OfAZone):
    """The days of UTC on which the clocks of a zone change."""

    __slots__ = ()

    def make(self, chunk: int) -> int:
        ranges: list[tuple[int, int]] = []
        for _, end_s, _ in self._shown.spans(chunk)[:-1]:
            _extend(ranges, end_s // DAY_S, end_s // DAY_S)
        return _filled(ranges, FIRST_DAY + chunk * CHUNK)


def _extend(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    """Add days to a list of ranges that comes in order."""
    if ranges and first <= ranges[-1][1] + 1:
        ranges[-1] = ranges[-1][0], max(last, ranges[-1][1])
    else:
        ranges.append((first, last))


def _filled(ranges: Sequence[tuple[int, int]], first_day: int) -> int:
    """The bits of ranges of days that do not touch: their ends are set, and what is between them filled."""
    ends = bytearray(CHUNK // 8 + 2)
    for first, last in ranges:
        for day in (first - first_day, last + 1 - first_day):
            place = min(max(day, 0), CHUNK)
            ends[place >> 3] ^= 1 << (place & 7)
    found = int.from_bytes(ends, "little")
    width = 1
    while width < CHUNK:
        found ^= found << width
        width *= 2
    return found & ALL_DAYS


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


def _cut(days: int, lengths: list[int]) -> list[int]:
    """The bits of years, one after the other, as one integer each. (A shift of all of them takes a microsecond.)"""
    whole = days.to_bytes(CHUNK // 8 + 1, "little")
    found, place = [], 0
    for length in lengths:
        year = int.from_bytes(whole[place >> 3 : (place + length + 7) >> 3], "little")
        found.append(year >> (place & 7) & (1 << length) - 1)
        place += length
    return found


def _length(year: int) -> int:
    return 366 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 365

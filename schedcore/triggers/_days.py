"""Sets of days as integers: one bit for each day of 400 years, after which the Gregorian calendar repeats.

What several sets have in common is one ``&`` of 18 kB, which takes half a microsecond. So whether a weekday in Tokyo and
a date in New York ever fall together is not searched for: it is looked up. A chunk is 146,097 days; chunk 0 begins on
2000-01-01. A set may hold more days than its rule names, never fewer.

Here is what sets are, and what is made of other sets. The days of rules of the calendar are in ``_year_days``, those that come
every so many days or months in ``_step_days``, those of the clocks of zones in ``_zone_days``, and those that go by what is
open and closed in ``_open_days``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

from schedcore.triggers._bits import bits_at, first_multiple, lowest, set_bits, widened
from schedcore.triggers._local import DAY_S

__all__ = [
    "ALL_DAYS",
    "CHUNK",
    "EVERY_CHUNK",
    "FIRST_DAY",
    "LAST_CHUNK",
    "NO_CHUNK",
    "CommonDays",
    "Days",
    "EitherDays",
    "OtherDays",
    "RangeDays",
    "Smeared",
    "common_days",
    "days_between",
    "extend",
    "filled",
    "next_common",
    "next_point",
    "repeating_from",
    "smeared",
    "set_bits",
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
# Chunks kept, of 18 kB each.
_KEPT = 512
# Days of a chunk that are looked at first: to find the first of all takes as long as there are days, and it is near most often.
_STRETCH = 8192
_NEAR = (1 << _STRETCH) - 1
# Points of a lattice that are tried in a row.
_POINTS = 512
_DAY_US = DAY_S * 1_000_000


class Days(ABC):
    """A set of days. Compared by identity."""

    __slots__ = ("repeats",)

    #: From this chunk on, all are the same.
    repeats: int
    #: Whether the clocks of a zone alone say which days these are.
    of_clocks = False

    @abstractmethod
    def make(self, chunk: int) -> int:
        """The days of a chunk as bits, computed afresh."""

    def chunk(self, chunk: int) -> int:
        """The days of a chunk as bits."""
        return _chunk(self, self.like(chunk))

    def like(self, chunk: int) -> int:
        """The chunk that stands for all that are the same as this one."""
        return min(chunk, self.repeats)

    def ever(self) -> int:
        """The days that any chunk after the first one has, and maybe more: without any of them, no chunk need be looked at."""
        return self.chunk(0) | self.chunk(1) if self.repeats <= 1 else ALL_DAYS

    def within(self, days: int, chunk: int) -> int:
        """Those of some days of a chunk that are in the set."""
        return days & self.chunk(chunk)

    def shifted(self, by: int) -> Days:
        """The set of the days that are so many days later."""
        return smeared((self,), by, by)[0]


@lru_cache(maxsize=2 * _KEPT)
def smeared(sets: tuple[Days, ...], least: int, most: int) -> tuple[Days, ...]:
    """The days that are ``least`` to ``most`` days later than one that several sets have in common; one set for all who ask."""
    return (Smeared(sets, least, most),) if sets and (least or most) else sets


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
    return lowest(days & _NEAR or days) if days else None


@lru_cache(maxsize=4 * _KEPT)
def _stretch(sets: tuple[Days, ...], chunk: int, number: int) -> int:
    """What several sets have in common in a part of a chunk: to look at it costs no copy of all."""
    return common_days(sets, chunk) >> number * _STRETCH & _NEAR


@lru_cache(maxsize=_KEPT)
def _ever(sets: tuple[Days, ...]) -> int:
    """The days that any chunk has of all of several sets, and maybe more."""
    steady, others, _ = _sorted_out(sets)
    found = ALL_DAYS
    for each in (*steady, *others):
        if not found:
            break
        found &= each.ever()
    return found


@lru_cache(maxsize=_KEPT)
def _common_text(sets: tuple[Days, ...], chunk: int) -> bytes:
    """What several sets have in common in a chunk, eight days to a byte, or none at all: for looks at many places of it."""
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
        if soonest is not None:
            start = FIRST_DAY + chunk * CHUNK
            if soonest >= place:
                return start + soonest
            near = _stretch(sets, like, place // _STRETCH) >> place % _STRETCH
            if near:
                return start + place + lowest(near)
            beyond = (place // _STRETCH + 1) * _STRETCH
            rest = common_days(sets, like) >> beyond
            if rest:
                return start + beyond + lowest(rest & _NEAR or rest)
        if chunk >= LAST_CHUNK or (whole and chunk >= repeats) or (chunk >= 0 and repeats > 1 and not _ever(sets)):
            return None
        chunk, place, whole = chunk + 1, 0, True
        if until is not None and FIRST_DAY + chunk * CHUNK > until:
            return FIRST_DAY + chunk * CHUNK


def next_point(sets: tuple[Days, ...], at_us: int, period_us: int, low_us: int, high_us: int) -> tuple[int, int]:
    """The first point of a lattice, from one on, that is in a stretch of the day, ``low_us`` to ``high_us``, and on a day that
    all of several sets have; or a later instant up to which there is none, where it is far. And how many were tried. The lattice
    is coarser than a day.
    """
    chunk = (at_us // _DAY_US - FIRST_DAY) // CHUNK
    begin_us = (FIRST_DAY + chunk * CHUNK) * _DAY_US
    text = _common_text(sets, min(chunk, _sorted_out(sets)[2]))
    wide_us = high_us - low_us
    place_us = (at_us - low_us) % _DAY_US
    times: int | None = 0
    if place_us > wide_us:
        times = first_multiple(period_us, _DAY_US, _DAY_US - place_us, _DAY_US - place_us + wide_us)
    if times is None or not text:
        return begin_us + CHUNK * _DAY_US, 0
    day, place_us = divmod(at_us + times * period_us - begin_us - low_us, _DAY_US)
    (up, rise_us), (down, fall_us) = _returns(period_us, wide_us)
    both, least_us = up + down, wide_us - rise_us
    tried = 0
    while tried < _POINTS and day < CHUNK and not text[day >> 3] >> (day & 7) & 1:
        tried += 1
        if place_us <= least_us:
            day += up
            place_us += rise_us
        elif place_us >= fall_us:
            day += down
            place_us -= fall_us
        else:
            day += both
            place_us += rise_us - fall_us
    return begin_us + day * _DAY_US + low_us + place_us, tried


@lru_cache(maxsize=256)
def _returns(period_us: int, wide_us: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """How a lattice comes again to a stretch of the day, at a later place of it and at an earlier one: after how many days, and
    how much later or earlier. From where either leads out of the stretch it comes again after both: there is no shorter way.
    """
    turn_us = period_us % _DAY_US
    back_us = _DAY_US - turn_us
    times: int | None = 0 if turn_us <= wide_us else first_multiple(turn_us, _DAY_US, back_us, back_us + wide_us)
    assert times is not None
    times += 1
    rise_us = times * turn_us % _DAY_US
    up = (times * period_us - rise_us) // _DAY_US, rise_us
    times = 0 if back_us <= wide_us else first_multiple(back_us, _DAY_US, turn_us + 1, turn_us + wide_us)
    if times is None or not rise_us:
        return up, (0, wide_us + 1)  # nothing is so far from the beginning of the stretch
    times += 1
    fall_us = times * back_us % _DAY_US
    return up, ((times * period_us + fall_us) // _DAY_US, fall_us)


def days_between(sets: tuple[Days, ...], first: int, last: int) -> int:
    """The days from one to another, not many, that all of several sets have: bit 0 is the first."""
    repeats = repeating_from(sets)
    chunk, place = divmod(first - FIRST_DAY, CHUNK)
    found = common_days(sets, min(chunk, repeats)) >> place
    if place + last - first >= CHUNK:
        found |= common_days(sets, min(chunk + 1, repeats)) << CHUNK - place
    return found & (2 << last - first) - 1


class CommonDays(Days):
    """The days that several sets have in common."""

    __slots__ = ("_sets",)

    def __init__(self, sets: Sequence[Days]) -> None:
        self._sets = tuple(sets)
        self.repeats = repeating_from(self._sets)

    def make(self, chunk: int) -> int:
        return common_days(self._sets, chunk)

    def ever(self) -> int:
        return _ever(self._sets)


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
        return self._moved(here, before, after)

    def ever(self) -> int:
        found = _ever(self._sets)
        return self._moved(found, found, found)

    def _moved(self, here: int, before: int, after: int) -> int:
        """``before`` and ``after``: the days of the chunks beside the one that is here."""
        least, most = self._least, self._most
        found = here
        if least < 0:
            found |= (after & (1 << -least) - 1) << CHUNK
        if most > 0:
            found = found << most | before >> CHUNK - most
        found = widened(found, most - least)
        by = max(most, 0) - least  # places that what is widened is too high
        return (found >> by if by else found) & ALL_DAYS


class RangeDays(Days):
    """The days of some ranges, first and last."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._ranges: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            extend(self._ranges, first, last)
        self.repeats = min(max((self._ranges[-1][1] - FIRST_DAY) // CHUNK + 1, 1), NO_CHUNK)

    def make(self, chunk: int) -> int:
        return filled(self._ranges, FIRST_DAY + chunk * CHUNK)


def extend(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    """Add days to a list of ranges that comes in order."""
    if ranges and first <= ranges[-1][1] + 1:
        ranges[-1] = ranges[-1][0], max(last, ranges[-1][1])
    else:
        ranges.append((first, last))


def filled(ranges: Sequence[tuple[int, int]], first_day: int) -> int:
    """The bits of ranges of days that come in order and do not overlap, counted from a first day."""
    starts: list[int] = []
    ends: list[int] = []
    for first, last in ranges:
        low, high = max(first - first_day, 0), min(last + 1 - first_day, CHUNK)
        if low < high:
            starts.append(low)
            ends.append(high)
    # Each range is a power of two less another one.
    return bits_at(ends) - bits_at(starts)

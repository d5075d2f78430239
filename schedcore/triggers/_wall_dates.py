"""Counted dates at a time of day: what the clocks of a zone make of them.

Each date has one instant, the first at which the wall clock shows the time of day; ``Gap`` says what becomes of a time that the
clocks jump over.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from functools import lru_cache

from schedcore.triggers._counted_dates import CountedDates
from schedcore.triggers._days import CHUNK, FIRST_DAY, Days
from schedcore.triggers._local import DAY_S, Gap, gaps, is_fixed, offset_at, overlaps, wall_instant
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.cron._changes import ClockChange, jumped_over, shown_twice
from schedcore.triggers.cron._dst import Offsets, offsets_for

__all__ = ["WallDates", "local_day"]

_SECOND_US = 1_000_000
# Seconds. In a longer span the dates that clocks swallow are counted by sets of days (150 years).
_LONG_S = 54_787 * DAY_S
# The day number of 2100-01-01, from which on the clocks of a zone do the same each year.
_STABLE_DAY = 47_482


class WallDates:
    """Dates at a time of day, in seconds, on the wall clock of a zone."""

    __slots__ = ("dates", "gap", "offsets", "time_s", "zone")

    def __init__(self, dates: CountedDates, time_s: int, zone: tzinfo, gap: Gap) -> None:
        self.dates, self.time_s, self.zone, self.gap = dates, time_s, zone, gap
        self.offsets = offsets_for(zone)

    def instant_us(self, k: int) -> int | None:
        """The instant of date k, or None when the date or its time of day does not exist."""
        day = self.dates.day(k)
        if day is None:
            return None
        at_s = wall_instant(self.offsets, day * DAY_S + self.time_s, self.gap)
        return None if at_s is None else at_s * _SECOND_US

    def near(self, at_us: int) -> int:
        """A k whose instant is ``at_us`` or earlier, and at most a few dates before it."""
        return self.dates.number(local_day(self.offsets, at_us)) - 2

    def before_us(self, k: int) -> int:
        """Earlier than any instant from k on."""
        return (self.dates.place(k) - 2) * DAY_S * _SECOND_US

    def beyond(self, at_us: int) -> int:
        """The first k, from 0 on, whose instant is later than ``at_us``; one without a time goes by where it would be."""
        k = max(self.near(at_us), 0)
        gap = self.gap if self.gap != "skip" else "cron"
        while True:
            instant_s = wall_instant(self.offsets, self.dates.place(k) * DAY_S + self.time_s, gap)
            assert instant_s is not None
            if instant_s * _SECOND_US > at_us:
                return k
            k += 1

    def over_us(self, k: int) -> int:
        """When date k, which has no instant, is over: the clocks have jumped, or the month has ended."""
        day = self.dates.day(k)
        local_s = (self.dates.place(k) + 1) * DAY_S if day is None else day * DAY_S + self.time_s
        at_s = wall_instant(self.offsets, local_s, "cron")
        assert at_s is not None
        return at_s * _SECOND_US

    # -- what the clocks do --------------------------------------------------------------------------------------------

    def in_gaps(self, after_us: int, upto_us: int) -> list[int]:
        """The dates whose time of day the clocks jump over, and a few days around the span."""
        from_s, until_s = after_us // _SECOND_US - 3 * DAY_S, upto_us // _SECOND_US + 3 * DAY_S
        return [k for gap in gaps(self.offsets, from_s, until_s) for k, _ in self._within(*gap)]

    def changes(self, after_us: int, upto_us: int) -> Iterator[ClockChange]:
        """What the clocks jump over, and what they show twice, in (``after_us``, ``upto_us``]."""
        for k in self.in_gaps(after_us, upto_us):
            run_us = self.instant_us(k)
            at_us = self.over_us(k) if run_us is None else run_us
            if after_us < at_us <= upto_us:
                day = self.dates.day(k)
                assert day is not None  # it has a time of day that is jumped over
                yield jumped_over(day * DAY_S + self.time_s, at_us, self.zone, self.gap)
        from_s, until_s = after_us // _SECOND_US - DAY_S, upto_us // _SECOND_US + 1
        for cut_s, old, new in overlaps(self.offsets, from_s, until_s):
            for _, day in self._within(cut_s + new, cut_s + old):
                local_s = day * DAY_S + self.time_s
                if after_us < (local_s - new) * _SECOND_US <= upto_us:
                    yield shown_twice(local_s, (cut_s, old, new), self.zone)

    def swallowed(self, first: int, end: int, after_us: int, upto_us: int) -> int:
        """How many of the dates in [first, end), which are those of a span, have no instant of their own because clocks jump: it
        is skipped, or moved onto another one.
        """
        if is_fixed(self.zone):
            return 0
        total = 0
        from_s, until_s = after_us // _SECOND_US - 3 * DAY_S, upto_us // _SECOND_US + 3 * DAY_S
        before = until_s // DAY_S + 3  # the first day of those that are not looked at one by one
        if until_s - from_s > _LONG_S and self.offsets.periodic:
            before = FIRST_DAY if self.gap == "skip" else _STABLE_DAY  # and no clocks jump over a day any more
            until_s = min(until_s, (before + 3) * DAY_S)
            if self.gap == "skip":
                total += self._jumped_over(max(self.dates.place(first), before), self.dates.place(end - 1))
        for low_s, high_s in gaps(self.offsets, from_s, until_s):
            if self.gap != "skip" and high_s - low_s < DAY_S:
                continue  # it is moved, and not as far as to the next one
            for k, day in self._within(low_s, high_s):
                if not first <= k < end or day >= before:
                    continue
                if self.gap == "skip" or (k + 1 < end and self.instant_us(k) == self.instant_us(k + 1)):
                    total += 1
        return total

    def _jumped_over(self, first: int, last: int) -> int:
        """How many dates, from one day to another, have a time of day that the clocks jump over: counted in sets of days."""
        total = 0
        dates, jumped = self.dates.as_days(), _jumped_days(self.zone, self.time_s)
        for chunk in range((first - FIRST_DAY) // CHUNK, (last - FIRST_DAY) // CHUNK + 1):
            found = jumped.within(dates.chunk(chunk), chunk)
            start = FIRST_DAY + chunk * CHUNK
            if first > start:
                found = found >> first - start << first - start
            if last < start + CHUNK - 1:
                found &= (2 << last - start) - 1
            total += found.bit_count()
        return total

    def _within(self, from_s: int, until_s: int) -> Iterator[tuple[int, int]]:
        """Number and day of the dates whose time of day is in a span of local time."""
        for day in _days_at(self.time_s, from_s, until_s):
            k = self.dates.number(day)
            if k >= 0 and self.dates.day(k) == day:
                yield k, day


class _JumpedDays(Days):
    """The local days on which the clocks of a zone jump over a time of day."""

    __slots__ = ("_offsets", "_time_s")

    repeats = 1  # the rules of the tz database do not change after 2100

    def __init__(self, offsets: Offsets, time_s: int) -> None:
        self._offsets, self._time_s = offsets, time_s

    def make(self, chunk: int) -> int:
        start = FIRST_DAY + chunk * CHUNK
        found = bytearray(CHUNK // 8 + 1)
        for low_s, high_s in gaps(self._offsets, (start - 3) * DAY_S, (start + CHUNK + 3) * DAY_S):
            for day in _days_at(self._time_s, low_s, high_s):
                if start <= day < start + CHUNK:
                    found[day - start >> 3] |= 1 << (day - start & 7)
        return int.from_bytes(found, "little")


@lru_cache(maxsize=64)
def _jumped_days(zone: tzinfo, time_s: int) -> Days:
    return _JumpedDays(offsets_for(zone), time_s)


def _days_at(time_s: int, from_s: int, until_s: int) -> range:
    """The days whose time of day is in a span of local time."""
    return range(-((time_s - from_s) // DAY_S), (until_s - 1 - time_s) // DAY_S + 1)


def local_day(offsets: Offsets, at_us: int) -> int:
    """The day number that the wall clock shows at an instant."""
    at_s = min(max(at_us, FIRST_US), LAST_US) // _SECOND_US
    return (at_s + offset_at(offsets, at_s)[2]) // DAY_S

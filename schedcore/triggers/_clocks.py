"""What the clocks of a zone do, as far as it can be known for all years to come."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import tzinfo
from functools import lru_cache, reduce
from typing import NamedTuple

from schedcore.triggers._bits import lowest
from schedcore.triggers._days import FIRST_DAY, Days
from schedcore.triggers._local import DAY_S, gaps, is_fixed
from schedcore.triggers._zone_days import Changes, Jumps, Shown
from schedcore.triggers.cron._dst import offsets_for

__all__ = ["Clocks", "clocks_of", "held_together"]

# The offsets of a zone are looked up in these years; the rules of the tz database do not change after them.
_KNOWN_FROM_S, _KNOWN_UNTIL_S = FIRST_DAY * DAY_S, 4_102_444_800  # 2000 to 2100
# 400 years later everything has come round.
_ROUND_S = _KNOWN_UNTIL_S + 146_097 * DAY_S


class Clocks(NamedTuple):
    """What the clocks of a zone do: its offsets and their days; its gaps as (first local second, end, instant of the jump), all
    counted from the day of UTC of the jump, each once.
    """

    offsets: tuple[int, ...]
    #: What the clocks show; None where there is but one offset.
    shown: Shown | None
    gaps: tuple[tuple[int, int, int], ...]
    jumps: Days | None
    #: When the clocks change, forward or back: minutes of the day of UTC, and days.
    change_minutes: int
    change_days: Days | None
    #: The seconds of the day of UTC at which an offset begins or ends to be read, in order; with 0 and DAY_S.
    bounds_s: tuple[int, ...]

    def in_effect(self, offset: int, minutes: int) -> tuple[Days, ...]:
        """The days of UTC on which an offset holds between the first and the last of some minutes of the day; none: all days."""
        if self.shown is None:
            return ()
        # As far as nothing changes it is the same stretch of the day: there are few of them.
        low_s = self.bounds_s[bisect_right(self.bounds_s, 60 * lowest(minutes)) - 1]
        high_s = self.bounds_s[bisect_left(self.bounds_s, 60 * minutes.bit_length())] - 1
        return (self.shown.in_effect(offset, low_s, high_s),)


@lru_cache(maxsize=64)
def clocks_of(zone: tzinfo) -> Clocks | None:
    """None when nothing can be known of a zone's future."""
    table = offsets_for(zone)
    if not table.periodic:
        return None
    if is_fixed(zone):
        offset = zone.utcoffset(None)
        assert offset is not None
        return Clocks((offset.days * DAY_S + offset.seconds,), None, (), None, 0, None, (0, DAY_S))
    pieces = list(table.spans(_KNOWN_FROM_S, _KNOWN_UNTIL_S))
    starts = {start_s + offset: start_s for start_s, _, offset in pieces}
    jumps: dict[tuple[int, int, int], None] = {}
    for low_s, high_s in gaps(table, _KNOWN_FROM_S, _KNOWN_UNTIL_S):
        day_s = starts[high_s] // DAY_S * DAY_S
        jumps[low_s - day_s, high_s - day_s, starts[high_s] - day_s] = None
    offsets = tuple({offset: None for _, _, offset in pieces})
    shown = Shown(table)
    minutes = reduce(lambda mask, piece: mask | 1 << piece[0] % DAY_S // 60, pieces[1:], 0)
    bounds_s = {piece[0] % DAY_S for piece in pieces[1:]} | {
        (at_s + high_s - low_s) % DAY_S for low_s, high_s, at_s in jumps
    }
    return Clocks(
        offsets,
        shown if len(offsets) > 1 else None,
        tuple(jumps),
        Jumps(shown) if jumps else None,
        minutes,
        Changes(shown) if minutes else None,
        tuple(sorted({*bounds_s, 0, DAY_S})),
    )


@lru_cache(maxsize=256)
def held_together(one: tzinfo, other: tzinfo) -> frozenset[tuple[int, int]]:
    """The pairs of offsets of two zones that ever hold at the same instant. Where clocks change at the same instant, those
    before and after do not, though both hold on that day.
    """
    here, there = (offsets_for(zone).spans(_KNOWN_FROM_S, _ROUND_S) for zone in (one, other))
    found = set()
    (_, end_s, offset), (_, other_end_s, other_offset) = next(here), next(there)
    while True:
        found.add((offset, other_offset))
        if end_s == other_end_s == _ROUND_S:
            return frozenset(found)
        at_s = min(end_s, other_end_s)
        if end_s == at_s:
            _, end_s, offset = next(here)
        if other_end_s == at_s:
            _, other_end_s, other_offset = next(there)

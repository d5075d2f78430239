"""Local time for rules that speak of days: day numbers, and the instant of a wall time.

Local time is an integer: seconds since 1970-01-01 00:00:00 on the wall clock, as if every day had 86,400 of them. A
day number counts days from 1970-01-01. Neither is limited to the years of datetime.
"""

from __future__ import annotations

from datetime import timezone as fixed_zone
from datetime import tzinfo
from itertools import pairwise
from typing import Literal

from schedcore.triggers.cron._dst import BLOCK_S, Offsets

__all__ = [
    "DAY_S",
    "Gap",
    "civil",
    "clock",
    "day_number",
    "gaps",
    "is_fixed",
    "month_length",
    "offset_at",
    "overlaps",
    "wall_instant",
]

DAY_S = 86400
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

#: What becomes of a wall time that does not exist because clocks jump over it. ``skip``: it does not happen; ``shift``: it
#: happens as much later as the jump is wide (02:30 becomes 03:30); ``cron``: it happens at the end of the jump (03:00).
Gap = Literal["skip", "shift", "cron"]


def day_number(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date of the Gregorian calendar. The day may lie outside of the month."""
    # A year that begins in March has its leap day at the end.
    year -= month < 3
    months = (153 * ((month + 9) % 12) + 2) // 5
    return 365 * year + year // 4 - year // 100 + year // 400 + months + day - 719_469


def civil(day: int) -> tuple[int, int, int]:
    """Year, month and day of a day number."""
    era, of_era = divmod(day + 719_468, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    return (
        era * 400 + year + (month >= 10),
        month + 3 if month < 10 else month - 9,
        of_year - (153 * month + 2) // 5 + 1,
    )


def month_length(year: int, month: int) -> int:
    """How many days a month has."""
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _LENGTHS[month - 1]


def clock(time_s: int) -> str:
    """A time of day for people: ``02:30``, and ``02:30:15`` where it has seconds."""
    hours, rest = divmod(time_s, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours:02}:{minutes:02}" + (f":{seconds:02}" if seconds else "")


def is_fixed(zone: tzinfo) -> bool:
    """Whether the clocks of a zone are known never to change."""
    return type(zone) is fixed_zone


def offset_at(offsets: Offsets, at_s: int) -> tuple[int, int, int]:
    """The piece of the time line in which an instant lies: from, until (exclusive) and the offset; all in seconds."""
    for piece in offsets.pieces(at_s):
        if at_s < piece[1]:
            return piece
    raise AssertionError("a block holds all of its instants")


def wall_instant(offsets: Offsets, local_s: int, gap: Gap) -> int | None:
    """The first instant at which the wall clock shows a local time; where it never does, what ``gap`` says."""
    found = offsets[local_s // BLOCK_S]
    if found.__class__ is int:
        return local_s - found
    before = 0
    for start_s, end_s, offset in offsets.pieces(local_s):
        if local_s < start_s + offset:
            return None if gap == "skip" else start_s if gap == "cron" else local_s - before
        if local_s < end_s + offset:
            return local_s - offset
        before = offset
    raise AssertionError("a block holds all of its local times")


def gaps(offsets: Offsets, from_s: int, until_s: int) -> list[tuple[int, int]]:
    """The local times [from, until) that clocks jump over in a span of instants. Takes time in proportion to its length."""
    found: list[tuple[int, int]] = []
    shown_s: int | None = None
    for start_s, end_s, offset in offsets.spans(from_s, until_s):
        # After going back, the clocks may jump over what they have shown before.
        if shown_s is not None and start_s + offset > shown_s:
            found.append((shown_s, start_s + offset))
        shown_s = end_s + offset if shown_s is None else max(shown_s, end_s + offset)
    return found


def overlaps(offsets: Offsets, from_s: int, until_s: int) -> list[tuple[int, int, int]]:
    """Where clocks go back in a span of instants: when they do so, and the offsets before and after. Takes time likewise.

    The local times from the instant plus the later offset up to the instant plus the earlier one are shown twice.
    """
    return [(cut_s, old, new) for (_, cut_s, old), (_, _, new) in pairwise(offsets.spans(from_s, until_s)) if new < old]

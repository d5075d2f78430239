"""What the clocks of a zone do to a schedule: which of its local times are skipped, moved or doubled, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

from schedcore.clock import to_datetime
from schedcore.triggers.cron._dst import Offsets, shown_before
from schedcore.triggers.cron._search import Plan

__all__ = ["ClockChange", "clock_changes", "jumped_over", "shown_twice"]

_DAY_S = 86400
# Seconds. No search goes further than this (100 years).
_FURTHEST_S = 36525 * _DAY_S
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the wall clock's

Kind = Literal["gap: skipped", "gap: moved", "overlap: first only", "overlap: twice"]


class ClockChange(NamedTuple):
    """What became of one local time of a schedule when the clocks changed."""

    #: The time of the schedule, as the wall clock would show it: naive.
    local: datetime
    kind: Kind
    #: When the clocks change (a gap), or when the time comes again (an overlap): aware, in the zone of the trigger. A time
    #: that is moved runs then.
    at: datetime
    #: All of it in a sentence.
    reason: str


def clock_changes(
    plan: Plan, offsets: Offsets, zone: tzinfo, once: bool, why: str, from_s: int, until_s: int
) -> Iterator[ClockChange]:
    """The changes in [``from_s``, ``until_s``), by the instant of ``ClockChange.at``, in order.

    ``once``: whether each local time happens once; ``why``: why it does not, for the reasons.
    """
    until_s = min(until_s, from_s + _FURTHEST_S)
    if until_s <= from_s:
        return
    start_s = from_s - 2 * _DAY_S  # an overlap may have begun before
    shown_s = shown_before(offsets.pieces(start_s), start_s)
    last: tuple[int, int] | None = None
    for begin_s, end_s, offset in offsets.spans(start_s, until_s):
        if last is not None:
            last_s, old = last
            if offset > old:
                if begin_s >= from_s:
                    low_s = max(begin_s + old, shown_s) if once else begin_s + old
                    yield from _gap(plan, zone, once, why, (low_s, begin_s, old, offset))
            else:
                # The times that come again in this piece, and that the one before it had.
                low_s = max(begin_s + offset, last_s + old, from_s + offset)
                high_s = min(begin_s + old, end_s + offset)
                yield from _overlap(plan, zone, once, why, (low_s, high_s, begin_s, old, offset))
        shown_s = max(shown_s, end_s + offset)
        last = begin_s, offset


def jumped_over(local_s: int, at_us: int, zone: tzinfo, dst: str) -> ClockChange:
    """What became of a local time over which the clocks of a zone jump: left out where ``dst`` is ``"skip"``, else moved to
    ``at_us``.
    """
    local, at = _local(local_s), to_datetime(at_us).astimezone(zone)
    reason = f"{local:%H:%M:%S} does not exist on {local:%Y-%m-%d} in {zone}, where the clocks go forward; "
    if dst == "skip":
        return ClockChange(local, "gap: skipped", at, f"{reason}it does not run that day, because dst is 'skip'")
    return ClockChange(local, "gap: moved", at, f"{reason}it runs at {at:%H:%M:%S}, because dst is {dst!r}")


def _times(plan: Plan, low_s: int, high_s: int) -> Iterator[int]:
    local_s = plan.at_or_after(low_s)
    while local_s is not None and local_s < high_s:
        yield local_s
        local_s = plan.at_or_after(local_s + 1)


def _gap(plan: Plan, zone: tzinfo, once: bool, why: str, gap: tuple[int, int, int, int]) -> Iterator[ClockChange]:
    low_s, at_s, old, new = gap
    at = to_datetime(at_s * 1_000_000).astimezone(zone)
    for local_s in _times(plan, low_s, at_s + new):
        local = _local(local_s)
        first, then = _two(_local(at_s + old), _local(at_s + new))
        reason = (
            f"{_time(local)} does not exist on {local:%Y-%m-%d} in {zone}, where the clocks go from {first} to {then}; "
        )
        if once:
            yield ClockChange(local, "gap: moved", at, f"{reason}it runs at {then}, the first time after the gap")
        else:
            yield ClockChange(local, "gap: skipped", at, f"{reason}it does not run that day, because {why}")


def _overlap(
    plan: Plan, zone: tzinfo, once: bool, why: str, overlap: tuple[int, int, int, int, int]
) -> Iterator[ClockChange]:
    low_s, high_s, at_s, old, new = overlap
    for local_s in _times(plan, low_s, high_s):
        yield shown_twice(local_s, (at_s, old, new), zone, None if once else why)


def shown_twice(local_s: int, back: tuple[int, int, int], zone: tzinfo, why: str | None = None) -> ClockChange:
    """What became of a local time that the clocks of a zone show twice: it runs the first time only, or both times because of
    ``why``. ``back``: when they go back, and the offsets before and after.
    """
    at_s, old, new = back
    local = _local(local_s)
    again = to_datetime((local_s - new) * 1_000_000).astimezone(zone)
    first, then = _two(_local(at_s + old), _local(at_s + new))
    one, other = f"{_time(local)}{_offset(old)}", f"{_time(local)}{_offset(new)}"
    reason = (
        f"{_time(local)} comes twice on {local:%Y-%m-%d} in {zone}, where the clocks go from {first} back to {then}; "
    )
    if why is None:
        return ClockChange(local, "overlap: first only", again, f"{reason}it runs at {one}, and not again at {other}")
    return ClockChange(local, "overlap: twice", again, f"{reason}it runs at {one} and at {other}, because {why}")


def _local(local_s: int) -> datetime:
    return _EPOCH + timedelta(seconds=local_s)


def _time(local: datetime) -> str:
    return f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"


def _two(one: datetime, other: datetime) -> tuple[str, str]:
    """Two local times as people say them: with their dates when these differ."""
    if one.date() == other.date():
        return _time(one), _time(other)
    return f"{one:%Y-%m-%d} {_time(one)}", f"{other:%Y-%m-%d} {_time(other)}"


def _offset(offset_s: int) -> str:
    sign, size = ("-", -offset_s) if offset_s < 0 else ("+", offset_s)
    return f"{sign}{size // 3600:02}:{size % 3600 // 60:02}" + (f":{size % 60:02}" if size % 60 else "")

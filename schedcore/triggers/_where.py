"""Where a trigger can fire at most, known without asking it.

A *box* is a set of instants that are on a lattice ``offset + k * period``, in some minutes of the UTC day, in some seconds of the
minute, and on some days. Of every trigger of ours it is known, whatever its zone's clocks do, that it fires in one of a few
boxes: a cron rule has one for each offset of its zone, with the days on which that offset holds, and one for the ends of the
gaps that swallow its times. What two triggers have in common lies in what two of their boxes have in common, which is found
by arithmetic: Chinese remainders for the lattices, ``&`` for the rest. Where nothing is left there is nothing to search, and what
is left is so near to the truth that nearly all that is found in it is a fire time.

A box may hold more instants than the trigger has fire times, never fewer. All this is about the years from 2000 on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from functools import lru_cache, reduce
from math import gcd
from typing import NamedTuple

from schedcore.triggers._bits import every, first_multiple, lowest, runs, widened
from schedcore.triggers._days import (
    CHUNK,
    FIRST_DAY,
    Changes,
    CrossedDays,
    DateSteps,
    DayLattice,
    Days,
    EitherDays,
    InEffect,
    Jumps,
    MonthSteps,
    RolledDays,
    Shown,
    Smeared,
    common_days,
    days_of_plan,
    next_common,
    repeating_from,
)
from schedcore.triggers._local import DAY_S, Gap, civil, gaps, is_fixed
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.cron._dst import offsets_for
from schedcore.triggers.cron._trigger import CronTrigger, _Unseeded
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

__all__ = [
    "ANYWHERE",
    "ANY_MINUTE",
    "ANY_SECOND",
    "KNOWN_US",
    "Box",
    "Finder",
    "WallRule",
    "boxes_of",
    "either",
    "local_boxes",
    "local_span_boxes",
    "moved_boxes",
    "moved_rules",
    "look",
    "near",
    "shared",
    "wall_rules",
]

_SECOND_US = 1_000_000
_MINUTE_US = 60_000_000
_DAY_US = DAY_S * _SECOND_US
#: All minutes of the day, and all seconds of the minute, as bits.
ANY_MINUTE = (1 << 1440) - 1
ANY_SECOND = (1 << 60) - 1
#: From here on the boxes hold.
KNOWN_US = FIRST_DAY * _DAY_US
# The offsets of a zone are looked up in these years; the rules of the tz database do not change after them.
_KNOWN_FROM_S, _KNOWN_UNTIL_S = FIRST_DAY * DAY_S, 4_102_444_800  # 2000 to 2100
# 400 years later everything has come round.
_ROUND_S = _KNOWN_UNTIL_S + 146_097 * DAY_S
# Boxes of one set; of more less is known: those of one of two triggers, or one box that holds all.
_MANY = 256
# Times of the day that a lattice is tried against, each for the days on which it comes to it.
_MOST_TIMES = 128
# Windows of the day that a lattice is tried against at once.
_MOST_WINDOWS = 48
# Moves of a lattice to other days of which each is looked at by itself.
_MOVES = 12
# No run is moved farther by a calendar (366 days, and one for the clocks).
_MOVED_US = 367 * _DAY_US
# Days; a tolerance that is longer leaves nothing of what is known about days.
_FAR_DAYS = 40


class Box(NamedTuple):
    """A set of instants; see the module."""

    period_us: int = 1
    offset_us: int = 0
    minutes: int = ANY_MINUTE
    seconds: int = ANY_SECOND
    days: tuple[Days, ...] = ()  #: those that all of these sets have
    from_us: int = FIRST_US
    upto_us: int = LAST_US
    #: Which offset holds in which zones: two boxes that contradict each other have nothing in common.
    clocks: tuple[tuple[tzinfo, int], ...] = ()
    #: Windows that come again and again: period, offset of the beginning, and width (end inclusive), in microseconds.
    windows: tuple[tuple[int, int, int], ...] = ()

    def shared(self, other: Box) -> Box | None:
        """What two boxes have in common; None when it is known to be nothing."""
        minutes = self.minutes & other.minutes
        seconds = self.seconds & other.seconds
        if not minutes or not seconds:
            return None
        lattice = _joint_lattice(self.period_us, self.offset_us, other.period_us, other.offset_us)
        if lattice is None:
            return None
        period_us, offset_us, minutes_on, seconds_on = lattice
        minutes &= minutes_on
        seconds &= seconds_on
        from_us, upto_us = max(self.from_us, other.from_us), min(self.upto_us, other.upto_us)
        if not minutes or not seconds or from_us > upto_us:
            return None
        clocks = self.clocks
        if other.clocks and other.clocks != clocks:
            together = _joint_clocks(clocks, other.clocks)
            if together is None:
                return None
            clocks = together
        days = self.days + tuple(each for each in other.days if each not in self.days)
        windows = self.windows + tuple(each for each in other.windows if each not in self.windows)
        return Box(period_us, offset_us, minutes, seconds, days, from_us, upto_us, clocks, windows)

    @property
    def periodic(self) -> bool:
        """Whether all repeats with the calendar after 400 years, from the second of them on."""
        return not self.windows and CHUNK * _DAY_US % self.period_us == 0 and repeating_from(self.days) <= 1


_EVERY_DAY = DayLattice(1, 0)
#: Nothing is known.
ANYWHERE = (Box(),)


@lru_cache(maxsize=1024)
def _joint_lattice(
    period_us: int, offset_us: int, other_period_us: int, other_offset_us: int
) -> tuple[int, int, int, int] | None:
    """The lattice of what two have in common, and the minutes of the day and seconds of the minute that hold points of it."""
    step = gcd(period_us, other_period_us)
    apart = other_offset_us - offset_us
    if apart % step:
        return None
    ratio = other_period_us // step
    times = apart // step * pow(period_us // step, -1, ratio) % ratio if ratio > 1 else 0
    joint_us = period_us * ratio
    first_us = (offset_us + period_us * times) % joint_us
    minutes, seconds = (
        _minutes_on(gcd(joint_us, _DAY_US), first_us),
        _seconds_on(gcd(joint_us, _MINUTE_US), first_us),
    )
    return joint_us, first_us, minutes, seconds


@lru_cache(maxsize=1024)
def _joint_clocks(
    clocks: tuple[tuple[tzinfo, int], ...], others: tuple[tuple[tzinfo, int], ...]
) -> tuple[tuple[tzinfo, int], ...] | None:
    """Which offset holds in which zones of two boxes; None where that is never so."""
    for zone, offset in others:
        held = next((each for there, each in clocks if there is zone), None)
        if held is None:
            if any((each, offset) not in _held_together(there, zone) for there, each in clocks):
                return None
            clocks += ((zone, offset),)
        elif held != offset:
            return None
    return clocks


def _minutes_on(step_us: int, offset_us: int) -> int:
    """The minutes of the day that hold points of a lattice whose step divides the day."""
    return ANY_MINUTE if step_us <= _MINUTE_US else _places(step_us, offset_us % step_us, _DAY_US, _MINUTE_US)


def _seconds_on(step_us: int, offset_us: int) -> int:
    return ANY_SECOND if step_us <= _SECOND_US else _places(step_us, offset_us % step_us, _MINUTE_US, _SECOND_US)


@lru_cache(maxsize=512)
def _places(step_us: int, first_us: int, whole_us: int, unit_us: int) -> int:
    if step_us % unit_us == 0:
        return every(step_us // unit_us, first_us // unit_us, whole_us // unit_us)
    return reduce(lambda mask, at_us: mask | 1 << at_us // unit_us, range(first_us, whole_us, step_us), 0)


def shared(one: Sequence[Box], other: Sequence[Box]) -> tuple[Box, ...]:
    """What two sets of boxes have in common; none: nothing."""
    found = [both for a in one for b in other if (both := a.shared(b)) is not None]
    return tuple(found) if len(found) <= _MANY else tuple(one)


def either(sets: Iterable[Sequence[Box]]) -> tuple[Box, ...]:
    """All boxes of several sets, of which there are not too many."""
    found = [box for boxes in sets for box in boxes]
    return tuple(found) if len(found) <= _MANY else (reduce(_around, found),)


def _around(one: Box, other: Box) -> Box:
    """A box that holds two."""
    step = gcd(one.period_us, other.period_us, one.offset_us - other.offset_us)
    return Box(
        step,
        one.offset_us % step,
        one.minutes | other.minutes,
        one.seconds | other.seconds,
        (),
        min(one.from_us, other.from_us),
        max(one.upto_us, other.upto_us),
    )


def near(boxes: Sequence[Box], distance_us: int) -> tuple[Box, ...]:
    """Boxes of all that is no farther away than a distance."""
    found = []
    days = -(-distance_us // _DAY_US)
    for box in boxes:
        windows: tuple[tuple[int, int, int], ...] = ()
        if box.period_us > 2 * distance_us + 1 and box.period_us % _DAY_US:
            windows = ((box.period_us, (box.offset_us - distance_us) % box.period_us, 2 * distance_us),)
        times = [(ANY_SECOND, ANY_MINUTE, -days, days)]
        clocks = box.clocks if days == 1 else ()
        changes = 0
        if days == 1:
            times = _times_near(box.minutes, box.seconds, -(-distance_us // _SECOND_US))
            # Near to a change of the clocks, other offsets hold than there.
            changes = _around_changes(tuple(zone for zone, _ in clocks), -(-distance_us // _MINUTE_US))
        for seconds, minutes, least, most in times:
            sets = _day_sets(box)
            if sets and (least or most):
                sets = (Smeared(sets, least, most),) if max(-least, most) <= _FAR_DAYS else ()
            one = Box(
                minutes=minutes,
                seconds=seconds,
                days=sets,
                from_us=box.from_us - distance_us,
                upto_us=box.upto_us + distance_us,
                clocks=clocks,
                windows=windows,
            )
            found.append(one)
            if minutes & changes:
                changing = _change_days(tuple(zone for zone, _ in clocks))
                found.append(one._replace(minutes=minutes & changes, days=(*sets, changing), clocks=()))
    return tuple(found)


@lru_cache(maxsize=64)
def _around_changes(zones: tuple[tzinfo, ...], distance: int) -> int:
    """The minutes of the day of UTC that are no farther than some minutes from a change of the clocks of some zones."""
    mask = 0
    for zone in zones:
        clocks = _clocks(zone)
        assert clocks is not None
        mask |= clocks.change_minutes
    wide = widened(mask << 1440 - distance, 2 * distance)
    return (wide | wide >> 1440 | wide >> 2880) & ANY_MINUTE


@lru_cache(maxsize=64)
def _change_days(zones: tuple[tzinfo, ...]) -> Days:
    """The days of such changes, and those beside them."""
    days = [clocks.change_days for zone in zones if (clocks := _clocks(zone)) is not None]
    return Smeared((EitherDays([each for each in days if each is not None]),), -1, 1)


@lru_cache(maxsize=256)
def _times_near(minutes: int, seconds: int, distance_s: int) -> list[tuple[int, int, int, int]]:
    """All that is no farther from some times of the day than a distance: seconds of the minute, minutes of the day, and on the
    days that are from so many to so many days later.
    """
    whole, rest = divmod(distance_s, 60)
    low, high = lowest(seconds), seconds.bit_length() - 1
    # By how many minutes they are later, and at which seconds of the minute.
    later: list[tuple[int, int, int]] = []
    if whole:
        later.append((1 - whole, whole - 1, ANY_SECOND))
        after = (2 << high + rest) - 1
        before = (1 << 120) - (1 << max(60 + low - rest, 0))
        later += [(each, each, after >> 60 * (each - whole) & ANY_SECOND) for each in (whole, whole + 1)]
        later += [(each, each, before >> 60 * (each + whole + 1) & ANY_SECOND) for each in (-whole - 1, -whole)]
    else:
        reached = widened(seconds << 60 - rest, 2 * rest)
        later += [(each, each, reached >> 60 * (each + 1) & ANY_SECOND) for each in (-1, 0, 1)]
    days = (whole + 1) // 1440 + 1
    masks: dict[int, int] = {}
    for least, most, these in later:
        if these:
            masks[these] = masks.get(these, 0) | widened(minutes << 1440 * days + least, most - least)
    found: list[tuple[int, int, int, int]] = []
    for these, mask in masks.items():
        for day in range(-days, days + 1):
            part = mask >> 1440 * (day + days) & ANY_MINUTE
            if part and found and found[-1][:2] == (these, part) and found[-1][3] == day - 1:
                found[-1] = these, part, found[-1][2], day
            elif part:
                found.append((these, part, day, day))
    return found


def _turned(minutes: int, by: int) -> int:
    """The minutes of the day, later by so many minutes."""
    by %= 1440
    return (minutes << by | minutes >> 1440 - by) & ANY_MINUTE


# --- from the wall clock to UTC -------------------------------------------------------------------------------------------


class _Clocks(NamedTuple):
    """What the clocks of a zone do: its offsets and their days; its gaps as (first local second, end, instant of the jump), all
    counted from the day of UTC of the jump, each once.
    """

    offsets: tuple[int, ...]
    in_effect: tuple[Days, ...]  # none where there is but one offset
    gaps: tuple[tuple[int, int, int], ...]
    jumps: Days | None
    #: When the clocks change, forward or back: minutes of the day of UTC, and days.
    change_minutes: int
    change_days: Days | None


@lru_cache(maxsize=64)
def _clocks(zone: tzinfo) -> _Clocks | None:
    """None when nothing can be known of a zone's future."""
    table = offsets_for(zone)
    if not table.periodic:
        return None
    if is_fixed(zone):
        offset = zone.utcoffset(None)
        assert offset is not None
        return _Clocks((offset.days * DAY_S + offset.seconds,), (), (), None, 0, None)
    pieces = list(table.spans(_KNOWN_FROM_S, _KNOWN_UNTIL_S))
    starts = {start_s + offset: start_s for start_s, _, offset in pieces}
    jumps: dict[tuple[int, int, int], None] = {}
    for low_s, high_s in gaps(table, _KNOWN_FROM_S, _KNOWN_UNTIL_S):
        day_s = starts[high_s] // DAY_S * DAY_S
        jumps[low_s - day_s, high_s - day_s, starts[high_s] - day_s] = None
    offsets = tuple({offset: None for _, _, offset in pieces})
    shown = Shown(table)
    in_effect = tuple(InEffect(shown, offset) for offset in offsets) if len(offsets) > 1 else ()
    minutes = reduce(lambda mask, piece: mask | 1 << piece[0] % DAY_S // 60, pieces[1:], 0)
    return _Clocks(
        offsets, in_effect, tuple(jumps), Jumps(shown) if jumps else None, minutes, Changes(shown) if minutes else None
    )


@lru_cache(maxsize=256)
def _held_together(one: tzinfo, other: tzinfo) -> frozenset[tuple[int, int]]:
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


def local_span_boxes(zone: tzinfo, minutes: int, days: Days | None) -> tuple[Box, ...]:
    """The boxes of all of some minutes of some local days, fractions of seconds included."""
    return tuple(box._replace(period_us=1, offset_us=0) for box in local_boxes(zone, minutes, ANY_SECOND, days))


def local_boxes(
    zone: tzinfo,
    minutes: int,
    seconds: int,
    days: Days | None = None,
    *,
    moved: bool = False,
    shifted: bool = False,
    lattice: tuple[int, int] = (1, 0),
) -> tuple[Box, ...]:
    """The boxes of a rule that names minutes of the local day (1,440 bits), seconds of the minute (60 bits) and local days.

    ``moved``: whether it runs at the end of a gap what the gap swallowed; ``shifted``: whether as much later as the gap is wide.
    ``lattice``: period and offset, in local seconds, of a lattice that has all its times.
    """
    try:
        return _local_boxes(zone, minutes, seconds, days, moved, shifted, lattice)
    except TypeError:  # a zone class of the user's own that cannot be hashed
        return (Box(_SECOND_US),)


@lru_cache(maxsize=512)
def _local_boxes(
    zone: tzinfo,
    minutes: int,
    seconds: int,
    days: Days | None,
    moved: bool,
    shifted: bool,
    lattice: tuple[int, int],
) -> tuple[Box, ...]:
    clocks = _clocks(zone)
    if clocks is None:
        return (Box(_SECOND_US),)
    found = []
    after_jumps = 0
    for low_s, high_s, at_s in clocks.gaps if shifted else ():
        after_jumps |= _turned((1 << min(-(-(high_s - low_s) // 60), 1440)) - 1, at_s % DAY_S // 60)
    for number, offset in enumerate(clocks.offsets):
        holds = clocks.in_effect[number : number + 1]
        held = ((zone, offset),) if holds else ()
        earlier, odd = divmod(offset, 60)
        # A second of the local minute before ``odd`` belongs to the minute of UTC before.
        for back, these in (
            (earlier, seconds >> odd),
            (earlier + 1, (seconds & (1 << odd) - 1) << 60 - odd),
        ):
            if not these:
                continue
            places = minutes << 4320 - back
            least = -back // 1440
            for later in (least, least + 1):
                mask = places >> 1440 * (later + 3) & ANY_MINUTE
                if mask:
                    sets = holds if days is None else (*holds, days.shifted(later))
                    period_us, offset_us = _lattice(mask, these)
                    box = Box(period_us, offset_us, mask, these, sets, clocks=held)
                    if lattice[0] > 1:
                        on_us = Box(lattice[0] * _SECOND_US, (lattice[1] - offset) % lattice[0] * _SECOND_US)
                        both = box.shared(on_us)
                        if both is None:
                            continue
                        box = both
                    found.append(box)
                    if shifted and clocks.jumps is not None and box.minutes & after_jumps:
                        # What is read with the offset before the jump comes right after it.
                        days_after = Smeared((clocks.jumps,), 0, 1)
                        found.append(
                            box._replace(minutes=box.minutes & after_jumps, days=(*sets, days_after), clocks=())
                        )
    if moved and clocks.jumps is not None:
        mask = ends = 0
        later_by: set[int] = set()  # days from the local one of what is swallowed to that of the jump
        for low_s, high_s, at_s in clocks.gaps:
            if _overlaps(minutes, low_s, high_s):
                mask |= 1 << at_s % DAY_S // 60
                ends |= 1 << at_s % 60
                later_by |= {at_s // DAY_S - low_s // DAY_S, at_s // DAY_S - (high_s - 1) // DAY_S}
        if mask:
            sets = (clocks.jumps,)
            if days is not None:
                sets = (clocks.jumps, Smeared((days,), min(later_by), max(later_by)))
            period_us, offset_us = _lattice(mask, ends)
            found.append(Box(period_us, offset_us, mask, ends, sets))
    return either((found,))


def _overlaps(minutes: int, low_s: int, high_s: int) -> bool:
    """Whether some minutes of the day are among those of a stretch of local time."""
    width = min(-(-(high_s - low_s) // 60) + 1, 1440)
    return bool(_turned(minutes, -(low_s // 60)) & (1 << width) - 1)


class WallRule(NamedTuple):
    """Minutes of the local day, seconds of the minute and local days, of which all runs are, but for those in gaps."""

    minutes: int
    seconds: int
    days: Days
    #: What becomes of a run whose time the clocks jump over.
    gap: Gap
    from_us: int = FIRST_US
    upto_us: int = LAST_US


def wall_rules(trigger: EngineTrigger, zone: tzinfo) -> Sequence[WallRule] | None:
    """The rules by the wall clock of a zone whose runs are all that a trigger has at the most; None for what is not of such
    rules. A trigger tells its own (``_wall_rules``).
    """
    if not same_zone(trigger.timezone, zone):
        return None
    own: Callable[[], Sequence[WallRule] | None] | None = getattr(trigger, "_wall_rules", None)
    if own is not None:
        return own()
    if type(trigger) is CronTrigger and not isinstance(trigger._plan, _Unseeded):
        plan = trigger._plan
        days = days_of_plan(plan)
        gap: Gap = "cron" if trigger._once else "skip"
        return [WallRule(plan._minutes, plan._seconds, days, gap, trigger._from_us, trigger._upto_us)]
    if type(trigger) is CalendarIntervalTrigger:
        minute, second = divmod(trigger._time_s, 60)
        from_us = (trigger._start_day - 2) * _DAY_US
        return [WallRule(1 << minute, 1 << second, _dates_of(trigger), trigger.dst, from_us, trigger._upto_us)]
    return None


def moved_rules(trigger: EngineTrigger, zone: tzinfo, roll: Callable[[Days], RolledDays]) -> Sequence[WallRule] | None:
    """The rules of a trigger each of whose runs may be moved to another day, at the same wall time; None where it has none."""
    rules, clocks = wall_rules(trigger, zone), _clocks(zone)
    if rules is None or clocks is None:
        return None
    found = []
    for rule in rules:
        from_us, upto_us = rule.from_us - _MOVED_US, min(rule.upto_us + _MOVED_US, LAST_US)
        found.append(WallRule(rule.minutes, rule.seconds, roll(rule.days), "cron", from_us, upto_us))
        if rule.gap == "skip" or clocks.jumps is None:
            continue
        days = Smeared((clocks.jumps,), -2, 2)
        for low_s, high_s, _ in clocks.gaps:
            if _overlaps(rule.minutes, low_s, high_s):
                # A run that is moved out of a gap has another wall time, and may be of another day.
                minutes, seconds = 1 << high_s // 60 % 1440, 1 << high_s % 60
                if rule.gap == "shift":
                    minutes, seconds = _turned(rule.minutes, (high_s - low_s) // 60), ANY_SECOND
                found.append(WallRule(minutes, seconds, roll(days), "cron", from_us, upto_us))
    return found


def moved_boxes(
    trigger: EngineTrigger, zone: tzinfo, roll: Callable[[Days], RolledDays], opened: Callable[[], Sequence[Box]]
) -> tuple[Box, ...]:
    """The boxes of a trigger each of whose runs may be moved to another day, at the same wall time. ``zone``: whose wall clock
    that is; ``roll``: from local days to those that runs of these may be moved to, or stay on; ``opened``: the boxes of these.
    """
    clocks = _clocks(zone)
    if clocks is None or any(offset % 60 for offset in clocks.offsets):
        return ANYWHERE
    any_of: Callable[[], Sequence[EngineTrigger]] | None = getattr(trigger, "_any_of", None)
    if any_of is not None:
        return either(moved_boxes(child, zone, roll, opened) for child in any_of())
    rules = moved_rules(trigger, zone, roll)
    if rules is not None:
        return either(
            _within(local_boxes(zone, rule.minutes, rule.seconds, rule.days, moved=True), rule.from_us, rule.upto_us)
            for rule in rules
        )
    boxes = boxes_of(trigger)
    rolled = roll(_EVERY_DAY)
    found = _moved(boxes, clocks, rolled) if rolled.reach <= _FAR_DAYS else None
    found = shared(_anyday(boxes, clocks) if found is None or len(found) > _MOVES else found, opened())
    if boxes and clocks.jumps is not None:
        # It may be moved into a gap, and so to its end, be that of a day that is closed.
        minutes = reduce(lambda mask, gap: mask | 1 << gap[2] % DAY_S // 60, clocks.gaps, 0)
        seconds = reduce(lambda mask, gap: mask | 1 << gap[2] % 60, clocks.gaps, 0)
        found += (Box(minutes=minutes, seconds=seconds, days=(clocks.jumps,)),)
    return found


def _moved(boxes: Sequence[Box], clocks: _Clocks, rolled: RolledDays) -> tuple[Box, ...]:
    """Boxes of all that has the same wall time as something in other boxes, no more days from it than runs are moved."""
    by_days = range(rolled.reach + 1) if rolled.forward else range(-rolled.reach, 1)
    by_s = {0, *(one - other for one in clocks.offsets for other in clocks.offsets)}
    beside = len(by_s) > 1  # on another day of UTC, because the clocks changed
    from_us, upto_us = (by_days[0] - beside) * _DAY_US, (by_days[-1] + beside) * _DAY_US
    found = []
    for box in boxes:
        period_us, sets = box.period_us, _day_sets(box)
        if period_us > _DAY_US and _drifts(period_us) and len(by_days) * len(by_s) <= _MOVES:
            # Where it is depends on the day from which it comes.
            for days, seconds in ((each, by) for each in by_days for by in (by_s if each else (0,))):
                later_us = days * _DAY_US + seconds * _SECOND_US
                found.append(
                    box._replace(
                        offset_us=(box.offset_us + later_us) % period_us,
                        minutes=_turned(box.minutes, seconds // 60),
                        days=(Smeared(sets, days - beside, days + beside),) if sets else (),
                        from_us=box.from_us + from_us,
                        upto_us=box.upto_us + upto_us,
                        clocks=(),
                        windows=tuple(
                            (each_us, begin_us + later_us, wide_us) for each_us, begin_us, wide_us in box.windows
                        ),
                    )
                )
            continue
        step_us = gcd(period_us, _DAY_US, *(seconds * _SECOND_US for seconds in by_s))
        found.append(
            Box(
                step_us,
                box.offset_us % step_us,
                reduce(lambda mask, seconds: mask | _turned(box.minutes, seconds // 60), by_s, 0),
                box.seconds,
                (Smeared(sets, by_days[0] - beside, by_days[-1] + beside),) if sets else (),
                box.from_us + from_us,
                box.upto_us + upto_us,
            )
        )
    if boxes and not rolled.knows_the_first:
        found.append(Box(upto_us=KNOWN_US + (_FAR_DAYS + 1) * _DAY_US))
    return tuple(found)


def _anyday(boxes: Sequence[Box], clocks: _Clocks) -> tuple[Box, ...]:
    """Boxes of all that has the same wall time as something in other boxes, be it on another day."""
    if not boxes:
        return ()
    inside = reduce(lambda mask, box: mask | box.minutes, boxes, 0)
    mask = 0
    for by in {one - other for one in clocks.offsets for other in clocks.offsets}:
        mask |= _turned(inside, by // 60)
    seconds = reduce(lambda mask, box: mask | box.seconds, boxes, 0)
    finest_us = gcd(*(box.period_us for box in boxes), *(box.offset_us for box in boxes))
    period_us, offset_us = _lattice(mask, seconds) if finest_us % _SECOND_US == 0 else (1, 0)
    return (Box(period_us, offset_us, mask, seconds),)


@lru_cache(maxsize=512)
def _lattice(minutes: int, seconds: int) -> tuple[int, int]:
    """The coarsest lattice that has all these minutes of the day and seconds of the minute."""
    first = 60 * lowest(minutes) + lowest(seconds)
    step = DAY_S
    for mask, unit, whole in ((minutes, 60, 1440), (seconds, 1, 60)):
        least = lowest(mask)
        # What is not on the lattice so far makes it finer; a few times, since it becomes at least twice as fine each time.
        while rest := mask & ~every(max(step // unit, 1), least, whole):
            step = gcd(step, (lowest(rest) - least) * unit)
    return step * _SECOND_US, first % step * _SECOND_US


# --- what a trigger is ----------------------------------------------------------------------------------------------------


def boxes_of(trigger: EngineTrigger) -> tuple[Box, ...]:
    """The boxes in which a trigger fires; none: never. A trigger that says nothing of them (``_boxes``) fires anywhere."""
    own: Callable[[], tuple[Box, ...]] | None = getattr(trigger, "_boxes", None)
    if own is not None:
        return own()
    if type(trigger) is IntervalTrigger:
        return (_interval_box(trigger.interval_us, trigger._start_us, trigger.end_us),)
    if type(trigger) is CronTrigger and not isinstance(trigger._plan, _Unseeded):
        plan = trigger._plan
        days = None if plan.every_day else days_of_plan(plan)
        found = local_boxes(trigger.timezone, plan._minutes, plan._seconds, days, moved=trigger._once)
        return _within(found, trigger._from_us, trigger._upto_us)
    if type(trigger) is CalendarIntervalTrigger:
        minute, second = divmod(trigger._time_s, 60)
        found = local_boxes(
            trigger.timezone,
            1 << minute,
            1 << second,
            _dates_of(trigger),
            moved=trigger.dst == "cron",
            shifted=trigger.dst == "shift",
            lattice=(1, 0)
            if trigger._months
            else (trigger._days * DAY_S, (trigger._start_day * DAY_S + trigger._time_s) % (trigger._days * DAY_S)),
        )
        return _within(found, (trigger._start_day - 2) * _DAY_US, trigger._upto_us)
    if type(trigger) is DateTrigger:
        return (Box(from_us=trigger.run_us, upto_us=trigger.run_us),)
    return ANYWHERE


def _within(boxes: Sequence[Box], from_us: int, upto_us: int) -> tuple[Box, ...]:
    return tuple(box._replace(from_us=max(box.from_us, from_us), upto_us=min(box.upto_us, upto_us)) for box in boxes)


def _interval_box(period_us: int, start_us: int, end_us: int | None) -> Box:
    minutes = _minutes_on(gcd(period_us, _DAY_US), start_us)
    seconds = _seconds_on(gcd(period_us, _MINUTE_US), start_us)
    upto_us = LAST_US if end_us is None else end_us
    return Box(period_us, start_us % period_us, minutes, seconds, (), start_us, upto_us)


def _dates_of(trigger: CalendarIntervalTrigger) -> Days:
    return _dates(trigger._months, trigger._days, trigger._start_day, trigger.overflow == "clamp")


@lru_cache(maxsize=256)
def _dates(months: int, days: int, start_day: int, clamp: bool) -> Days:
    """The dates that come every so many months, or days, or both."""
    if not months:
        return _day_lattice(days, start_day)
    if days:
        return DateSteps(months, days, start_day, clamp)
    year, month, day = civil(start_day)
    return MonthSteps(
        months, 12 * year + month - 1, lambda length: 1 << min(day, length) - 1 if clamp or day <= length else 0
    )


# --- looking into boxes ---------------------------------------------------------------------------------------------------


class Finder:
    """Looks for instants in boxes. What it remembers of the last look only saves time; safe to share between threads."""

    __slots__ = ("_known", "boxes", "periodic")

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.boxes = tuple(boxes)
        #: Whether all of them repeat after 400 years.
        self.periodic = all(box.periodic for box in self.boxes)
        # For each box a question and its answer, which holds for all questions in between.
        self._known: list[tuple[int, int | None]] = [(LAST_US + 1, None)] * len(self.boxes)

    def is_empty(self) -> bool:
        """Whether it is known that there is nothing in the boxes, which is looked for only where all their days repeat."""
        return all(_is_empty(box) for box in self.boxes)

    def at_or_after(self, at_us: int, steps: list[int]) -> int | None:
        """The first instant of the boxes that is not before ``at_us``, or one that is earlier than it but not before ``at_us``.

        None: there is none. ``steps``: those that are left, counted down in place. When they are used up, or a box was not looked
        into any farther because of what another one has, the answer is how far the look came, which may be an instant of no box.
        """
        # First no farther than to the end of a chunk of days: what one box has there saves a look at the others beyond.
        near_us = (FIRST_DAY + ((at_us // _DAY_US - FIRST_DAY) // CHUNK + 1) * CHUNK) * _DAY_US - 1
        best: int | None = None
        answers: list[int | None] = []
        for number, box in enumerate(self.boxes):
            asked_us, answer_us = self._known[number]
            if at_us < asked_us or (answer_us is not None and answer_us < at_us):
                answer_us = look(box, at_us, steps, until_us=near_us if best is None else min(best, near_us))
                self._known[number] = at_us, answer_us
            answers.append(answer_us)
            if answer_us is not None and (best is None or answer_us < best):
                best = answer_us
        if best is None or best <= near_us:
            return best
        best = None
        for number, (box, answer_us) in enumerate(zip(self.boxes, answers, strict=True)):
            if answer_us is None:
                continue
            found_us = look(box, answer_us, steps, until_us=best)
            self._known[number] = at_us, found_us
            if found_us is not None and (best is None or found_us < best):
                best = found_us
        return best


def _is_empty(box: Box) -> bool:
    """Whether it is known that there is no day in a box, which is looked for only where all its days repeat."""
    last = repeating_from(_day_sets(box))
    return last <= 1 and not any(common_days(_day_sets(box), chunk) for chunk in range(last + 1))


def _day_sets(box: Box) -> tuple[Days, ...]:
    """The sets of days of a box, with those of its lattice."""
    if box.period_us % _DAY_US == 0 and box.period_us > _DAY_US:
        return (*box.days, _day_lattice(box.period_us // _DAY_US, box.offset_us // _DAY_US))
    return box.days


@lru_cache(maxsize=256)
def _day_lattice(period: int, *days: int) -> DayLattice:
    return DayLattice(period, *days)


@lru_cache(maxsize=512)
def _met_days(
    period_us: int, offset_us: int, minutes: int, seconds: int, windows: tuple[tuple[int, int, int], ...]
) -> tuple[tuple[Days, ...], tuple[Days, ...], bool]:
    """The days on which a lattice, and windows that come again and again, come to some times of the day: sets that are small,
    sets to be asked last, about the days that others leave, and whether the small ones have all that there is to know.
    """
    step_us = gcd(period_us, _DAY_US)
    times = _times_on(step_us, offset_us % step_us, minutes, seconds)
    low_us = _MINUTE_US * lowest(minutes) + _SECOND_US * lowest(seconds)
    high_us = _MINUTE_US * (minutes.bit_length() - 1) + _SECOND_US * seconds.bit_length() - 1
    small: list[Days] = []
    last: list[Days] = []
    known = True
    for each_us, begin_us, width_us in ((period_us, offset_us, 0), *windows):
        if _DAY_US % each_us == 0 or (each_us % _DAY_US == 0 and not width_us):
            continue
        step_us = gcd(each_us, _DAY_US)
        period = each_us // step_us  # days after which all comes again
        wide_us = high_us - low_us + width_us
        if times is not None and len(times) * (width_us // step_us + 1) <= _MOST_TIMES:
            # day * _DAY_US + time is to be from begin_us + k * each_us to width_us later
            inverse = pow(_DAY_US // step_us, -1, period) if period > 1 else 0
            days = {
                (begin_us - time_us + after_us) // step_us * inverse % period
                for time_us in times
                for after_us in range((time_us - begin_us) % step_us, width_us + 1, step_us)
            }
            if 2 * len(days) < period:
                small.append(_day_lattice(period, *sorted(days)))
        elif wide_us < each_us:
            last.append(CrossedDays(each_us, begin_us, low_us - width_us, high_us))
            known = False
        else:
            known = False
    return tuple(small), tuple(last), known


def _times_on(step_us: int, first_us: int, minutes: int, seconds: int) -> list[int] | None:
    """The times of the day of some minutes and seconds that are on a lattice whose step divides the day; None: too many."""
    in_a_minute = min(_MINUTE_US // step_us + 1, seconds.bit_count() * (_SECOND_US // step_us + 1))
    if minutes.bit_count() * in_a_minute > _MOST_TIMES:
        return None
    return [
        at_us
        for low, high in runs(minutes)
        for minute_us in range(_MINUTE_US * low, _MINUTE_US * high, _MINUTE_US)
        for at_us in range(minute_us + (first_us - minute_us) % step_us, minute_us + _MINUTE_US, step_us)
        if seconds >> at_us % _MINUTE_US // _SECOND_US & 1
    ]


@lru_cache(maxsize=256)
def _windows_of(minutes: int, seconds: int) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """Some minutes of the day and seconds of the minute as windows; none where they are too many, or all there are."""
    if minutes == ANY_MINUTE and seconds == ANY_SECOND:
        return ()
    if (minutes & ~(minutes << 1)).bit_count() > _MOST_WINDOWS:
        return ()
    spans = runs(seconds)
    stretches = runs(minutes)
    if seconds == ANY_SECOND or minutes.bit_count() * len(spans) > _MOST_WINDOWS:
        found = [(low * _MINUTE_US, high * _MINUTE_US) for low, high in stretches]
    else:
        found = [
            (minute * _MINUTE_US + a * _SECOND_US, minute * _MINUTE_US + b * _SECOND_US)
            for low, high in stretches
            for minute in range(low, high)
            for a, b in spans
        ]
    if len(found) > _MOST_WINDOWS:
        return ()
    return (tuple((_DAY_US, low_us, high_us - low_us - 1) for low_us, high_us in found),)


def _until_all(wanted: Sequence[Sequence[tuple[int, int, int]]], at_us: int, step_us: int) -> int | None:
    """In how many steps there may be a time that is in one of the windows of each set: 0, now; None, never.

    It is the least number for the first set that is missed.
    """
    for windows in wanted:
        least: int | None = None
        for period_us, offset_us, width_us in windows:
            place_us = (at_us - offset_us) % period_us
            if place_us <= width_us:
                least = 0
                break
            left_us = period_us - place_us
            times = first_multiple(step_us, period_us, left_us, left_us + width_us)
            if times is not None and (least is None or times < least):
                least = times
        if least != 0:
            return least
    return 0


def _drifts(period_us: int) -> bool:
    """Whether what comes again and again comes at other times each day."""
    return period_us > _MINUTE_US and bool(period_us % _DAY_US and _DAY_US % period_us)


def _until_overlap(period_us: int, width_us: int, windows: Sequence[tuple[int, int, int]], begin_us: int) -> int | None:
    """In how many periods a stretch that begins at an instant overlaps one of some windows: 0, now; None, never."""
    least: int | None = None
    for of_us, offset_us, wide_us in windows:
        wide_us += width_us
        if wide_us >= of_us:
            return 0
        # The stretch begins at most its width before the window.
        place_us = (begin_us - offset_us + width_us) % of_us
        if place_us <= wide_us:
            return 0
        left_us = of_us - place_us
        times = first_multiple(period_us, of_us, left_us, left_us + wide_us)
        if times is not None and (least is None or times < least):
            least = times
    return least


def look(
    box: Box, at_us: int, steps: list[int], known_from: int = FIRST_DAY, until_us: int | None = None
) -> int | None:
    """The first instant of a box that is not before another; or how far the look came when its steps were used up, or when it
    was past ``until_us``.

    ``known_from``: the day from which the days of the box are known.
    """
    period_us, offset_us, minutes, seconds, _, from_us, upto_us, _, windows = box
    upto_us = min(upto_us, LAST_US)
    sets = _day_sets(box)
    at_us = max(at_us, from_us)
    first_us = _MINUTE_US * lowest(minutes) + _SECOND_US * lowest(seconds)
    wanted: tuple[tuple[tuple[int, int, int], ...], ...] = tuple((window,) for window in windows)
    small, last, known = _met_days(period_us, offset_us, minutes, seconds, windows)
    sets = (*small, *sets, *last)
    # What comes to other times each day is not stepped along, which may take years of days.
    times_of_day = () if known else _windows_of(minutes, seconds)
    drifting = next((window for window in windows if _drifts(window[0])), None) if times_of_day else None
    if times_of_day and _drifts(period_us):
        wanted += times_of_day
    until_day = None if until_us is None else until_us // _DAY_US
    there = None  # a day that the sets have
    while True:
        at_us += (offset_us - at_us) % period_us
        if at_us > upto_us:
            return None
        steps[0] -= 1
        if steps[0] < 0 or (until_us is not None and at_us > until_us):
            return at_us
        day, rest_us = divmod(at_us, _DAY_US)
        if sets and day != there and day >= known_from:
            there = next_common(sets, day, until_day)
            if there is None:
                return None
            if there > day:
                # A lattice that comes to other times each day may pass before the first time of this one.
                at_us = there * _DAY_US + (0 if wanted else first_us)
                continue
        if drifting is not None:
            begin_us = at_us - (at_us - drifting[1]) % drifting[0]
            turns = _until_overlap(drifting[0], drifting[2], times_of_day[0], begin_us)
            if turns is None:
                return None
            if turns:
                at_us = begin_us + turns * drifting[0]
                continue
        if wanted:
            times = _until_all(wanted, at_us, period_us)
            if times is None:
                return None
            if times:
                at_us += times * period_us
                continue
        minute, rest_us = divmod(rest_us, _MINUTE_US)
        later = minutes >> minute
        if later & 1:
            more = seconds >> rest_us // _SECOND_US
            if more & 1:
                return at_us
            if more:
                at_us += _SECOND_US * lowest(more) - rest_us % _SECOND_US
                continue
            later ^= 1
        if later:
            at_us = day * _DAY_US + _MINUTE_US * (minute + lowest(later)) + _SECOND_US * lowest(seconds)
        else:
            at_us = (day + 1) * _DAY_US
            if not sets:
                at_us += first_us

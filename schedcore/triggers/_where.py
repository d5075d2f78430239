"""Where a trigger can fire at most, known without asking it.

Of every trigger of ours it is known, whatever its zone's clocks do, that it fires in one of a few boxes (``_boxes``): a cron
rule has one for each offset of its zone, with the days on which that offset holds, and one for the ends of the gaps that swallow
its times. What two triggers have in common lies in what two of their boxes have in common. Where nothing is left there is nothing
to search, and what is left is so near to the truth that nearly all that is found in it is a fire time.

A box may hold more instants than the trigger has fire times, never fewer. All this is about the years from 2000 on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from functools import lru_cache, reduce
from math import gcd
from typing import NamedTuple

from schedcore.triggers._boxes import (
    ANY_MINUTE,
    ANY_SECOND,
    ANYWHERE,
    FAR_DAYS,
    KNOWN_US,
    Box,
    day_sets,
    either,
    lattice_of,
    minutes_on,
    seconds_on,
    shared,
    turned,
)
from schedcore.triggers._clocks import Clocks, clocks_of
from schedcore.triggers._days import CommonDays, Days, EitherDays, Smeared, smeared
from schedcore.triggers._finder import drifts
from schedcore.triggers._local import DAY_S, Gap
from schedcore.triggers._open_days import RolledDays
from schedcore.triggers._step_days import DayLattice
from schedcore.triggers._year_days import days_of_plan
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.cron._trigger import CronTrigger, _Unseeded
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

__all__ = [
    "WallRule",
    "bounded",
    "boxes_of",
    "local_boxes",
    "local_span_boxes",
    "moved_boxes",
    "moved_rules",
    "wall_rules",
]

_SECOND_US = 1_000_000
_MINUTE_US = 60_000_000
_DAY_US = DAY_S * _SECOND_US
# Moves of a lattice to other days of which each is looked at by itself.
_MOVES = 12
# No run is moved farther by a calendar (366 days, and one for the clocks).
_MOVED_US = 367 * _DAY_US
_EVERY_DAY = DayLattice(1, 0)


# --- from the wall clock to UTC -------------------------------------------------------------------------------------------


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
    clocks = clocks_of(zone)
    if clocks is None:
        return (Box(_SECOND_US),)
    found = []
    after_jumps = 0
    for low_s, high_s, at_s in clocks.gaps if shifted else ():
        after_jumps |= turned((1 << min(-(-(high_s - low_s) // 60), 1440)) - 1, at_s % DAY_S // 60)
    for offset in clocks.offsets:
        held = ((zone, offset),) if clocks.shown is not None else ()
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
                    holds = clocks.in_effect(offset, mask)
                    sets = holds if days is None else (*holds, days.shifted(later))
                    period_us, offset_us = lattice_of(mask, these)
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
                        days_after = smeared((clocks.jumps,), 0, 1)
                        found.append(
                            box._replace(minutes=box.minutes & after_jumps, days=(*sets, *days_after), clocks=())
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
            period_us, offset_us = lattice_of(mask, ends)
            found.append(Box(period_us, offset_us, mask, ends, sets))
    return either((found,))


def _overlaps(minutes: int, low_s: int, high_s: int) -> bool:
    """Whether some minutes of the day are among those of a stretch of local time."""
    width = min(-(-(high_s - low_s) // 60) + 1, 1440)
    return bool(turned(minutes, -(low_s // 60)) & (1 << width) - 1)


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
        dates, time_s = trigger._wall.dates, trigger._wall.time_s
        minute, second = divmod(time_s, 60)
        from_us = (dates.start - 2) * _DAY_US
        return [WallRule(1 << minute, 1 << second, dates.as_days(), trigger.dst, from_us, trigger._upto_us)]
    return None


def moved_rules(trigger: EngineTrigger, zone: tzinfo, roll: Callable[[Days], RolledDays]) -> Sequence[WallRule] | None:
    """The rules of a trigger each of whose runs may be moved to another day, at the same wall time; None where it has none."""
    rules, clocks = wall_rules(trigger, zone), clocks_of(zone)
    if rules is None or clocks is None:
        return None
    found = []
    for rule in rules:
        from_us, upto_us = rule.from_us - _MOVED_US, min(rule.upto_us + _MOVED_US, LAST_US)
        found.append(WallRule(rule.minutes, rule.seconds, roll(rule.days), "cron", from_us, upto_us))
        if rule.gap == "skip" or clocks.jumps is None:
            continue
        days = CommonDays((Smeared((clocks.jumps,), -2, 2), Smeared((rule.days,), -1, 2)))
        for low_s, high_s, _ in clocks.gaps:
            if _overlaps(rule.minutes, low_s, high_s):
                # A run that is moved out of a gap has another wall time, and may be of another day.
                minutes, seconds = 1 << high_s // 60 % 1440, 1 << high_s % 60
                if rule.gap == "shift":
                    minutes, seconds = turned(rule.minutes, (high_s - low_s) // 60), ANY_SECOND
                found.append(WallRule(minutes, seconds, roll(days), "cron", from_us, upto_us))
    return found


def moved_boxes(
    trigger: EngineTrigger, zone: tzinfo, roll: Callable[[Days], RolledDays], opened: Callable[[], Sequence[Box]]
) -> tuple[Box, ...]:
    """The boxes of a trigger each of whose runs may be moved to another day, at the same wall time. ``zone``: whose wall clock
    that is; ``roll``: from local days to those that runs of these may be moved to, or stay on; ``opened``: the boxes of these.
    """
    clocks = clocks_of(zone)
    if clocks is None or any(offset % 60 for offset in clocks.offsets):
        return ANYWHERE
    any_of: Callable[[], Sequence[EngineTrigger]] | None = getattr(trigger, "_any_of", None)
    if any_of is not None:
        return either(moved_boxes(child, zone, roll, opened) for child in any_of())
    rules = moved_rules(trigger, zone, roll)
    if rules is not None:
        return either(
            bounded(local_boxes(zone, rule.minutes, rule.seconds, rule.days, moved=True), rule.from_us, rule.upto_us)
            for rule in rules
        )
    boxes = boxes_of(trigger)
    rolled = roll(_EVERY_DAY)
    moved = _moved(boxes, clocks, rolled) if rolled.reach <= FAR_DAYS else None
    if moved is None or len(moved) > _MOVES:
        moved = _anyday(boxes, clocks)
    # What stays is on an open day, and what is moved on an open day beside a closed one.
    found = shared(boxes, opened()) + shared(moved, local_span_boxes(zone, ANY_MINUTE, rolled.targets))
    if boxes and clocks.jumps is not None:
        # It may be moved into a gap, and so to its end, be that of a day that is closed.
        minutes = reduce(lambda mask, gap: mask | 1 << gap[2] % DAY_S // 60, clocks.gaps, 0)
        seconds = reduce(lambda mask, gap: mask | 1 << gap[2] % 60, clocks.gaps, 0)
        sources = [Smeared(day_sets(box), -1, 1) for box in boxes if day_sets(box)]
        reached = rolled if len(sources) < len(boxes) else roll(EitherDays(sources))
        found += (Box(minutes=minutes, seconds=seconds, days=(clocks.jumps, Smeared((reached,), -1, 2))),)
    return found


def _moved(boxes: Sequence[Box], clocks: Clocks, rolled: RolledDays) -> tuple[Box, ...]:
    """Boxes of all that has the same wall time as something in other boxes, as many days from it as runs are moved."""
    by_days = range(1, rolled.reach + 1) if rolled.forward else range(-rolled.reach, 0)
    if not by_days:
        return ()
    by_s = {0, *(one - other for one in clocks.offsets for other in clocks.offsets)}
    beside = len(by_s) > 1  # on another day of UTC, because the clocks changed
    from_us, upto_us = (by_days[0] - beside) * _DAY_US, (by_days[-1] + beside) * _DAY_US
    found = []
    for box in boxes:
        period_us, sets = box.period_us, day_sets(box)
        if drifts(period_us) and len(by_days) * len(by_s) <= _MOVES:
            # Where it is depends on the day from which it comes.
            for days, seconds in ((each, by) for each in by_days for by in by_s):
                later_us = days * _DAY_US + seconds * _SECOND_US
                found.append(
                    box._replace(
                        offset_us=(box.offset_us + later_us) % period_us,
                        minutes=turned(box.minutes, seconds // 60),
                        days=smeared(sets, days - beside, days + beside),
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
                reduce(lambda mask, seconds: mask | turned(box.minutes, seconds // 60), by_s, 0),
                box.seconds,
                smeared(sets, by_days[0] - beside, by_days[-1] + beside),
                box.from_us + from_us,
                box.upto_us + upto_us,
                vague=not box.periodic,
            )
        )
    if boxes and not rolled.knows_the_first:
        found.append(Box(upto_us=KNOWN_US + (FAR_DAYS + 1) * _DAY_US))
    return tuple(found)


def _anyday(boxes: Sequence[Box], clocks: Clocks) -> tuple[Box, ...]:
    """Boxes of all that has the same wall time as something in other boxes, be it on another day."""
    if not boxes:
        return ()
    inside = reduce(lambda mask, box: mask | box.minutes, boxes, 0)
    mask = 0
    for by in {one - other for one in clocks.offsets for other in clocks.offsets}:
        mask |= turned(inside, by // 60)
    seconds = reduce(lambda mask, box: mask | box.seconds, boxes, 0)
    period_us, offset_us = lattice_of(mask, seconds)
    # It is moved by whole seconds.
    first_us = boxes[0].offset_us
    step_us = gcd(_SECOND_US, *(box.period_us for box in boxes), *(box.offset_us - first_us for box in boxes))
    if step_us < _SECOND_US or first_us % _SECOND_US:
        period_us, offset_us = step_us, first_us % step_us
    return (Box(period_us, offset_us, mask, seconds, vague=not all(box.periodic for box in boxes)),)


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
        return bounded(found, trigger._from_us, trigger._upto_us)
    if type(trigger) is CalendarIntervalTrigger:
        dates, time_s = trigger._wall.dates, trigger._wall.time_s
        minute, second = divmod(time_s, 60)
        found = local_boxes(
            trigger.timezone,
            1 << minute,
            1 << second,
            dates.as_days(),
            moved=trigger.dst == "cron",
            shifted=trigger.dst == "shift",
            lattice=(1, 0)
            if dates.months
            else (dates.days * DAY_S, (dates.start * DAY_S + time_s) % (dates.days * DAY_S)),
        )
        return bounded(found, (dates.start - 2) * _DAY_US, trigger._upto_us)
    if type(trigger) is DateTrigger:
        return (Box(from_us=trigger.run_us, upto_us=trigger.run_us),)
    return ANYWHERE


def bounded(boxes: tuple[Box, ...], from_us: int, upto_us: int) -> tuple[Box, ...]:
    """The boxes from one instant to another."""
    if from_us <= FIRST_US and upto_us >= LAST_US:
        return boxes
    return tuple(box._replace(from_us=max(box.from_us, from_us), upto_us=min(box.upto_us, upto_us)) for box in boxes)


def _interval_box(period_us: int, start_us: int, end_us: int | None) -> Box:
    minutes = minutes_on(gcd(period_us, _DAY_US), start_us)
    seconds = seconds_on(gcd(period_us, _MINUTE_US), start_us)
    upto_us = LAST_US if end_us is None else end_us
    return Box(period_us, start_us % period_us, minutes, seconds, (), start_us, upto_us)

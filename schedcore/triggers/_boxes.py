"""Sets of instants by arithmetic.

A *box* is a set of instants that are on a lattice ``offset + k * period``, in some minutes of the UTC day, in some seconds of the
minute, and on some days. What two of them have in common is a box: Chinese remainders for the lattices, ``&`` for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from functools import lru_cache, reduce
from math import gcd
from operator import or_
from typing import NamedTuple

from schedcore.triggers._bits import every, lowest, widened
from schedcore.triggers._clocks import clocks_of, held_together
from schedcore.triggers._days import (
    CHUNK,
    FIRST_DAY,
    CommonDays,
    Days,
    EitherDays,
    Smeared,
    common_days,
    repeating_from,
    smeared,
)
from schedcore.triggers._local import DAY_S
from schedcore.triggers._step_days import day_lattice
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = [
    "ANYWHERE",
    "ANY_MINUTE",
    "ANY_SECOND",
    "FAR_DAYS",
    "KNOWN_US",
    "REPEATS_US",
    "Box",
    "around",
    "day_sets",
    "either",
    "is_empty",
    "lattice_of",
    "minutes_on",
    "near",
    "outermost",
    "seconds_on",
    "shared",
    "times_near",
    "turned",
]

_SECOND_US = 1_000_000
_MINUTE_US = 60_000_000
_DAY_US = DAY_S * _SECOND_US
#: All minutes of the day, and all seconds of the minute, as bits.
ANY_MINUTE = (1 << 1440) - 1
ANY_SECOND = (1 << 60) - 1
#: From here on the boxes hold.
KNOWN_US = FIRST_DAY * _DAY_US
#: From here on what repeats with the calendar does so, every 400 years.
REPEATS_US = KNOWN_US + CHUNK * _DAY_US
# Boxes of one set; of more less is known: those of one of two triggers with a box that holds those of the other.
_MANY = 256
#: Days; of what is farther away nothing is known by days.
FAR_DAYS = 40


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
    #: Whether it holds something of which less is known than that it does not repeat with the calendar.
    vague: bool = False

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
        vague = self.vague or other.vague
        return Box(period_us, offset_us, minutes, seconds, days, from_us, upto_us, clocks, windows, vague)

    @property
    def periodic(self) -> bool:
        """Whether all repeats with the calendar after 400 years, from the second of them on."""
        return (
            not self.vague
            and not self.windows
            and self.from_us <= REPEATS_US
            and CHUNK * _DAY_US % self.period_us == 0
            and repeating_from(self.days) <= 1
        )


#: Nothing is known.
ANYWHERE = (Box(vague=True),)


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
        minutes_on(gcd(joint_us, _DAY_US), first_us),
        seconds_on(gcd(joint_us, _MINUTE_US), first_us),
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
            if any((each, offset) not in held_together(there, zone) for there, each in clocks):
                return None
            clocks += ((zone, offset),)
        elif held != offset:
            return None
    return clocks


def minutes_on(step_us: int, offset_us: int) -> int:
    """The minutes of the day that hold points of a lattice whose step divides the day."""
    return ANY_MINUTE if step_us <= _MINUTE_US else _places(step_us, offset_us % step_us, _DAY_US, _MINUTE_US)


def seconds_on(step_us: int, offset_us: int) -> int:
    return ANY_SECOND if step_us <= _SECOND_US else _places(step_us, offset_us % step_us, _MINUTE_US, _SECOND_US)


@lru_cache(maxsize=512)
def _places(step_us: int, first_us: int, whole_us: int, unit_us: int) -> int:
    if step_us % unit_us == 0:
        return every(step_us // unit_us, first_us // unit_us, whole_us // unit_us)
    return reduce(lambda mask, at_us: mask | 1 << at_us // unit_us, range(first_us, whole_us, step_us), 0)


def shared(one: Sequence[Box], other: Sequence[Box]) -> tuple[Box, ...]:
    """What two sets of boxes have in common; none: nothing."""
    found: list[Box] = []
    for a in one:
        found += [
            both for b in other if a.minutes & b.minutes and a.seconds & b.seconds and (both := a.shared(b)) is not None
        ]
        if len(found) > _MANY:
            return shared(one, around(other)) if len(other) > 1 else tuple(one)
    return tuple(found)


def either(sets: Iterable[Sequence[Box]]) -> tuple[Box, ...]:
    """All boxes of several sets, of which there are not too many."""
    found = [box for boxes in sets for box in boxes]
    return tuple(found) if len(found) <= _MANY else around(found)


def around(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """One box that holds all of several, whatever clocks these are by; none for none."""
    if len(boxes) < 2:
        return tuple(boxes)
    first_us = boxes[0].offset_us
    step = gcd(*(box.period_us for box in boxes), *(box.offset_us - first_us for box in boxes))
    sets = list({tuple([each for each in day_sets(box) if not each.of_clocks]): None for box in boxes})
    sets = [each for each in sets if not any(set(other) < set(each) for other in sets)]  # it is in the other one
    return (
        Box(
            step,
            first_us % step,
            reduce(or_, (box.minutes for box in boxes)),
            reduce(or_, (box.seconds for box in boxes)),
            () if () in sets else (EitherDays([CommonDays(each) for each in sets]),),
            min(box.from_us for box in boxes),
            max(box.upto_us for box in boxes),
            vague=not all(box.periodic for box in boxes),
        ),
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
        if 1 < days <= FAR_DAYS and not windows:
            # To the minute: of more than a day the seconds are not worth five times as many boxes, and where there are windows
            # the minutes are not.
            times = times_near(box.minutes, ANY_SECOND, -(-distance_us // _MINUTE_US) * 60)
        elif days == 1:
            times = times_near(box.minutes, box.seconds, -(-distance_us // _SECOND_US))
            # Near to a change of the clocks, other offsets hold than there.
            changes = _around_changes(tuple(zone for zone, _ in clocks), -(-distance_us // _MINUTE_US))
        for seconds, minutes, least, most in times:
            sets = smeared(day_sets(box), least, most) if max(-least, most) <= FAR_DAYS else ()
            one = Box(
                minutes=minutes,
                seconds=seconds,
                days=sets,
                from_us=box.from_us - distance_us,
                upto_us=box.upto_us + distance_us,
                clocks=clocks,
                windows=windows,
                vague=not box.periodic,
            )
            found.append(one)
            if minutes & changes:
                changing = _change_days(tuple(zone for zone, _ in clocks))
                found.append(one._replace(minutes=minutes & changes, days=(*sets, changing), clocks=()))
    return _united(found)


def _united(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """The same in fewer boxes: those that differ in nothing but the minutes, or the seconds, are one."""
    if len(boxes) < 2:
        return tuple(boxes)
    minutes: dict[Box, int] = {}
    for box in boxes:
        alike = box._replace(minutes=0)
        minutes[alike] = minutes.get(alike, 0) | box.minutes
    seconds: dict[Box, int] = {}
    for alike, mask in minutes.items():
        box = alike._replace(minutes=mask, seconds=0)
        seconds[box] = seconds.get(box, 0) | alike.seconds
    return tuple([box._replace(seconds=mask) for box, mask in seconds.items()])


def outermost(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """The same instants in fewer boxes, of which it is not known any more which clocks they are by."""
    if len(boxes) < 2:
        return tuple(boxes)
    found = _united([box._replace(clocks=()) if box.clocks else box for box in boxes])
    alike: dict[tuple[object, ...], list[Box]] = {}
    for box in found:
        alike.setdefault((box.period_us, box.offset_us, box.windows, frozenset(box.days)), []).append(box)
    return tuple([box for box in found if not _is_in_another(box, alike)])


def _is_in_another(box: Box, alike: dict[tuple[object, ...], list[Box]]) -> bool:
    """Whether one that has the same days but for one set of them has all of a box."""
    days = frozenset(box.days)
    return any(
        not box.minutes & ~other.minutes
        and not box.seconds & ~other.seconds
        and other.from_us <= box.from_us
        and other.upto_us >= box.upto_us
        and other.vague >= box.vague
        for each in days
        for other in alike.get((box.period_us, box.offset_us, box.windows, days - {each}), ())
    )


@lru_cache(maxsize=64)
def _around_changes(zones: tuple[tzinfo, ...], distance: int) -> int:
    """The minutes of the day of UTC that are no farther than some minutes from a change of the clocks of some zones."""
    mask = 0
    for zone in zones:
        clocks = clocks_of(zone)
        assert clocks is not None
        mask |= clocks.change_minutes
    wide = widened(mask << 1440 - distance, 2 * distance)
    return (wide | wide >> 1440 | wide >> 2880) & ANY_MINUTE


@lru_cache(maxsize=64)
def _change_days(zones: tuple[tzinfo, ...]) -> Days:
    """The days of such changes, and those beside them."""
    days = [clocks.change_days for zone in zones if (clocks := clocks_of(zone)) is not None]
    return Smeared((EitherDays([each for each in days if each is not None]),), -1, 1)


@lru_cache(maxsize=256)
def times_near(minutes: int, seconds: int, distance_s: int) -> list[tuple[int, int, int, int]]:
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


def turned(minutes: int, by: int) -> int:
    """The minutes of the day, later by so many minutes."""
    by %= 1440
    return (minutes << by | minutes >> 1440 - by) & ANY_MINUTE


@lru_cache(maxsize=512)
def lattice_of(minutes: int, seconds: int) -> tuple[int, int]:
    """The coarsest lattice that has all these minutes of the day and seconds of the minute."""
    first = 60 * lowest(minutes) + lowest(seconds)
    step = DAY_S
    for mask, unit, whole in ((minutes, 60, 1440), (seconds, 1, 60)):
        least = lowest(mask)
        # What is not on the lattice so far makes it finer; a few times, since it becomes at least twice as fine each time.
        while rest := mask & ~every(max(step // unit, 1), least, whole):
            step = gcd(step, (lowest(rest) - least) * unit)
    return step * _SECOND_US, first % step * _SECOND_US


def is_empty(box: Box) -> bool:
    """Whether it is known that there is no day in a box, which is looked for only where all its days repeat."""
    last = repeating_from(day_sets(box))
    return last <= 1 and not any(common_days(day_sets(box), chunk) for chunk in range(last + 1))


def day_sets(box: Box) -> tuple[Days, ...]:
    """The sets of days of a box, with those of its lattice."""
    if box.period_us % _DAY_US == 0 and box.period_us > _DAY_US:
        return (*box.days, day_lattice(box.period_us // _DAY_US, box.offset_us // _DAY_US))
    return box.days

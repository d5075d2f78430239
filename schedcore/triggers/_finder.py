"""Looking for the next instant of boxes: from day to day by sets of days, and within them by arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from math import gcd

from schedcore.triggers._bits import every, first_multiple, lowest, runs
from schedcore.triggers._boxes import ANY_MINUTE, ANY_SECOND, Box, day_sets, is_empty, outermost
from schedcore.triggers._days import CHUNK, FIRST_DAY, Days, next_common, next_point
from schedcore.triggers._local import DAY_S
from schedcore.triggers._step_days import CrossedDays, day_lattice
from schedcore.triggers._zones import LAST_US

__all__ = ["Finder", "drifts", "look"]

_SECOND_US = 1_000_000
_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_DAY_US = DAY_S * _SECOND_US
# Times of the day that are looked at one by one, and times at which a lattice or a window comes to them, each with its days.
_MOST_TIMES, _MOST_MET = 512, 2048
# Points of a lattice that are tried in the time of a step.
_POINTS_OF_A_STEP = 16
# A lattice that is coarser has few points, also where it hardly drifts: they are tried, and not days.
_RARE_US = 60 * _DAY_US
# Windows of which a lattice comes to one in so many are few.
_SCARCE = 64
# Windows of the day that a lattice is tried against at once.
_MOST_WINDOWS = 48


class Finder:
    """Looks for instants in boxes. What it remembers of the last look only saves time; safe to share between threads."""

    __slots__ = ("_known", "_looked", "boxes", "periodic")

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.boxes = tuple(boxes)
        #: Whether all of them repeat after 400 years.
        self.periodic = all(box.periodic for box in self.boxes)
        # Those that have all others; and for each a question and its answer, which holds for all questions in between.
        self._looked = outermost(self.boxes)
        self._known: list[tuple[int, int | None]] = [(LAST_US + 1, None)] * len(self._looked)

    def is_empty(self) -> bool:
        """Whether it is known that there is nothing in the boxes, which is looked for only where all their days repeat."""
        return all(is_empty(box) for box in self.boxes)

    def at_or_after(self, at_us: int, steps: list[int]) -> int | None:
        """The first instant of the boxes that is not before ``at_us``, or one that is earlier than it but not before ``at_us``.

        None: there is none. ``steps``: those that are left, counted down in place. When they are used up, or a box was not looked
        into any farther because of what another one has, the answer is how far the look came, which may be an instant of no box.
        """
        # First no farther than to the end of a chunk of days, and then of more and more of them: what one box has there saves a
        # look at the others beyond.
        chunk = (at_us // _DAY_US - FIRST_DAY) // CHUNK
        chunks = 1
        answers: list[int | None] = [at_us] * len(self._looked)
        while True:
            near_us = (FIRST_DAY + (chunk + chunks) * CHUNK) * _DAY_US - 1
            best: int | None = None
            for number, box in enumerate(self._looked):
                from_us = answers[number]
                if from_us is None:
                    continue
                asked_us, answer_us = self._known[number]
                if at_us < asked_us or (answer_us is not None and answer_us < from_us) or chunks > 1:
                    answer_us = look(box, from_us, steps, until_us=near_us if best is None else min(best, near_us))
                    self._known[number] = at_us, answer_us
                answers[number] = answer_us
                if answer_us is not None and (best is None or answer_us < best):
                    best = answer_us
            if best is None or best <= near_us:
                return best
            chunks *= 2


@lru_cache(maxsize=512)
def _met_days(
    period_us: int, offset_us: int, minutes: int, seconds: int, windows: tuple[tuple[int, int, int], ...]
) -> tuple[tuple[Days, ...], tuple[Days, ...], bool]:
    """The days on which a lattice, and windows that come again and again, come to some times of the day: sets that are small,
    sets to be asked last, about the days that others leave, and whether the small ones have all that there is to know.
    """
    on_us = gcd(period_us, _DAY_US)
    low_us = _MINUTE_US * lowest(minutes) + _SECOND_US * lowest(seconds)
    high_us = _MINUTE_US * (minutes.bit_length() - 1) + _SECOND_US * seconds.bit_length() - 1
    small: list[Days] = []
    last: list[Days] = []
    known = True
    for each_us, begin_us, width_us in ((period_us, offset_us, 0), *windows):
        if _DAY_US % each_us == 0 or (each_us % _DAY_US == 0 and not width_us):
            continue
        times = _times_on(on_us, offset_us % on_us, minutes, seconds)
        step_us = gcd(each_us, _DAY_US)
        period = each_us // step_us  # days after which all comes again
        wide_us = high_us - low_us + width_us
        if times is not None and len(times) * (width_us // step_us + 1) <= _MOST_MET:
            # day * _DAY_US + time is to be from begin_us + k * each_us to width_us later
            inverse = pow(_DAY_US // step_us, -1, period) if period > 1 else 0
            whole, rest_us = divmod(width_us, step_us)
            turns = [divmod(time_us - begin_us, step_us) for time_us in times]
            days = {(number - turn) * inverse % period for turn, _ in turns for number in range(whole)}
            days |= {(whole - turn) * inverse % period for turn, later_us in turns if later_us <= rest_us}
            if 2 * len(days) < period:
                small.append(day_lattice(period, *sorted(days)))
        elif wide_us < each_us:
            last.append(CrossedDays(each_us, begin_us, low_us - width_us, high_us))
            known = False
        else:
            known = False
    return tuple(small), tuple(last), known


@lru_cache(maxsize=64)
def _times_on(step_us: int, first_us: int, minutes: int, seconds: int) -> list[int] | None:
    """The times of the day of some minutes and seconds that are on a lattice whose step divides the day; None: too many."""
    in_a_minute, in_seconds = -(-_MINUTE_US // step_us), seconds.bit_count() * -(-_SECOND_US // step_us)
    if minutes.bit_count() * min(in_a_minute, in_seconds) > _MOST_TIMES:
        return None
    stretches = [(low * _MINUTE_US, high * _MINUTE_US) for low, high in runs(minutes)]
    if in_a_minute > in_seconds:
        in_each = runs(seconds)
        stretches = [
            (minute_us + low * _SECOND_US, minute_us + high * _SECOND_US)
            for begin_us, end_us in stretches
            for minute_us in range(begin_us, end_us, _MINUTE_US)
            for low, high in in_each
        ]
    return [
        at_us
        for begin_us, end_us in stretches
        for at_us in range(begin_us + (first_us - begin_us) % step_us, end_us, step_us)
        if seconds >> at_us // _SECOND_US % 60 & 1
    ]


@lru_cache(maxsize=256)
def _windows_of(minutes: int, seconds: int) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """Some minutes of the day and seconds of the minute as windows, in sets each of which is to be met; none for what has too
    many windows, or all there are.
    """
    found = []
    whole = 1440
    for part in (2, 2, 2, 2, 2, 3, 3, 5):  # those that are the same each hour are windows of the hour
        part_of = whole // part
        if minutes == every(part_of, 0, 1440) * (minutes & (1 << part_of) - 1):
            whole = part_of
    if len(runs(minutes & (1 << whole) - 1)) > _MOST_WINDOWS:  # what they are in any hour
        whole = 60
        minutes = reduce(lambda mask, hour: mask | minutes >> 60 * hour, range(24), 0) & (1 << 60) - 1
    if minutes != ANY_MINUTE:
        stretches = [(low * 60, high * 60) for low, high in runs(minutes & (1 << whole) - 1)]
        in_each = [(low, high) for low, high in runs(seconds)]
        if seconds != ANY_SECOND and sum(high - low for low, high in stretches) // 60 * len(in_each) <= _MOST_WINDOWS:
            stretches = [
                (at + low, at + high)
                for first, last in stretches
                for at in range(first, last, 60)
                for low, high in in_each
            ]
            seconds = ANY_SECOND
        found.append((60 * whole, stretches))
    if seconds != ANY_SECOND:
        found.append((60, runs(seconds)))
    return tuple(
        tuple((turn * _SECOND_US, low * _SECOND_US, (high - low) * _SECOND_US - 1) for low, high in stretches)
        for turn, stretches in found
        if len(stretches) <= _MOST_WINDOWS
    )


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


def drifts(period_us: int) -> bool:
    """Whether what comes again and again comes at other times each day."""
    return period_us > _MINUTE_US and bool(period_us % _DAY_US and _DAY_US % period_us)


def look(
    box: Box, at_us: int, steps: list[int], known_from: int = FIRST_DAY, until_us: int | None = None
) -> int | None:
    """The first instant of a box that is not before another; or how far the look came when its steps were used up, or when it
    was past ``until_us``.

    ``known_from``: the day from which the days of the box are known.
    """
    period_us, offset_us, minutes, seconds, _, from_us, upto_us, _, windows, _ = box
    upto_us = min(upto_us, LAST_US)
    sets = day_sets(box)
    at_us = max(at_us, from_us)
    first_us = _MINUTE_US * lowest(minutes) + _SECOND_US * lowest(seconds)
    last_us = _MINUTE_US * (minutes.bit_length() - 1) + _SECOND_US * seconds.bit_length() - 1
    wanted: tuple[tuple[tuple[int, int, int], ...], ...] = tuple((window,) for window in windows)
    small, last, known = _met_days(period_us, offset_us, minutes, seconds, windows)
    rare = period_us > _RARE_US
    # What comes to other times each day is not stepped along, which may take years of days.
    times_of_day = () if known else _windows_of(minutes, seconds)
    rarest = max(windows, default=(0, 0, 0))
    # What comes less often than the lattice is asked first whether it comes to the other windows, and to the times of the day:
    # it begins in them, or at most its width before.
    crossed: list[list[tuple[int, int, int]]] = []
    if rarest[0] > period_us:
        others: list[tuple[tuple[int, int, int], ...]] = [(window,) for window in windows if window != rarest]
        others += times_of_day[:1] if drifts(rarest[0]) else ()
        crossed = [[(each_us, at - rarest[2], wide + rarest[2]) for each_us, at, wide in each] for each in others]
    # Windows that few of its points are in come before days.
    scarce = wanted
    if crossed or period_us <= _DAY_US or not any(_SCARCE * width_us < each_us for each_us, _, width_us in windows):
        scarce = ()
    sets = (*small, *sets) if rare or scarce else (*small, *sets, *last)
    if times_of_day and drifts(period_us):
        wanted += times_of_day
    until_day = None if until_us is None else until_us // _DAY_US
    # Points that are at other times each are tried one by one: there are fewer of them than days.
    sparse = rare or (period_us > 2 * _DAY_US and _HOUR_US < period_us % _DAY_US < _DAY_US - _HOUR_US)
    there = None  # a day that the sets have
    while True:
        at_us += (offset_us - at_us) % period_us
        if at_us > upto_us:
            return None
        steps[0] -= 1
        if steps[0] < 0 or (until_us is not None and at_us > until_us):
            return at_us
        if scarce:
            times = _until_all(scarce, at_us, period_us)
            if times is None:
                return None
            if times:
                at_us += times * period_us
                continue
        day, rest_us = divmod(at_us, _DAY_US)
        if sets and day != there and day >= known_from:
            there = next_common(sets, day, until_day)
            if there is None:
                return None
            if there > day:
                # A lattice that comes to other times each day may pass before the first time of this one.
                at_us = there * _DAY_US + (0 if wanted else first_us)
                if sparse and not scarce:
                    before_us = at_us + (offset_us - at_us) % period_us
                    at_us, tried = next_point(sets, before_us, period_us, first_us, last_us)
                    steps[0] -= tried // _POINTS_OF_A_STEP
                continue
        if crossed:
            begin_us = at_us - (at_us - rarest[1]) % rarest[0]
            turns = _until_all(crossed, begin_us, rarest[0])
            if turns is None:
                return None
            if turns:
                at_us = begin_us + turns * rarest[0]
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

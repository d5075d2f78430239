"""The instances of one recurrence rule, in local time, found without walking from its start.

dateutil reads a rule, and says what is wrong with it. A rule by the day, the week, the month or the year is a set of days, looked
up 400 years at a time (``_days``), and times of the day; ``BYSETPOS`` counts them in one period after the other. A rule by the
hour, minute or second is a box (``_boxes``) of local time. ``COUNT`` is turned into the date of the last instance once.
That there is nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from math import gcd
from typing import TypeVar

from schedcore.errors import InvalidTriggerError, MissingExtraError
from schedcore.triggers._boxes import Box, either
from schedcore.triggers._days import (
    CommonDays,
    Days,
    OtherDays,
    RangeDays,
    days_between,
    next_common,
    set_bits,
    together,
)
from schedcore.triggers._effort import EFFORT
from schedcore.triggers._finder import look
from schedcore.triggers._local import DAY_S, Gap, civil, day_number, month_length
from schedcore.triggers._rrule_days import days_of_rule, most_in_a_period, named_days, picked_days, times_of_rule
from schedcore.triggers._rrule_text import FREQUENCIES, parsed, to_s
from schedcore.triggers._where import WallRule, bounded, local_boxes
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = ["Rule"]

# COUNT of a rule: its instances are walked once, at some 5 us each.
_MAX_COUNT = 20_000
_SECOND_US = 1_000_000
_DAY_US = DAY_S * _SECOND_US
# Steps of one look into a box, of some microseconds each.
_MAX_STEPS = 5000
# The days of a rule are known from the year 1 on, up to the year 9999.
_ANY_DAY = day_number(1, 1, 1)
_LAST_S = day_number(10_000, 1, 1) * DAY_S - 1
# Lattices that a rule by the hour or the minute is; of more times in one of them a coarser one is made.
_MOST_LATTICES = 4
_HOUR = (1 << 60) - 1
# Minute 0 of each hour of the day.
_EVERY_HOUR = sum(1 << minute for minute in range(0, 1440, 60))
_DAILY = FREQUENCIES.index("DAILY")
_Time = TypeVar("_Time")


class Rule:
    """One RRULE, in local time, that can be looked at anywhere without walking to there.

    Immutable but for what it remembers of the last look, to save time; safe to share between threads.
    """

    __slots__ = (
        "_boxes",
        "_counted",
        "_freq",
        "_given",
        "_interval",
        "_minutes",
        "_never_after_s",
        "_positions",
        "_seconds",
        "_start_s",
        "_times",
        "_until_s",
        "_week_start",
        "days",
    )

    #: Sets of local days, all of which have the day of an instance.
    days: tuple[Days, ...]
    #: Those that have all the days that ``BYSETPOS`` counts.
    _counted: tuple[Days, ...]

    def __init__(self, text: str, start: datetime) -> None:
        try:
            from dateutil import rrule as library
        except ModuleNotFoundError as error:
            raise MissingExtraError("the trigger 'rrule'", "rrule") from error
        given = dict(part.partition("=")[::2] for part in text.split(";"))
        count = int(given.pop("COUNT", 0))
        if count > _MAX_COUNT:
            raise InvalidTriggerError(
                f"RRULE: COUNT is {count}, and at most {_MAX_COUNT} can be counted", field="RRULE"
            )
        until = given.pop("UNTIL", None)
        try:
            # It knows what may stand in a rule, and says what may not.
            library.rrulestr(";".join(f"{key}={value}" for key, value in given.items()), dtstart=start)
            freq = FREQUENCIES.index(given["FREQ"])
            interval = int(given.get("INTERVAL", 1))
            self.days = days_of_rule(given, freq, interval, start)
            named = named_days(given, freq, start)
            self._minutes, self._seconds = times_of_rule(given, freq, start)
            positions = {int(each) for each in given["BYSETPOS"].split(",")} if "BYSETPOS" in given else None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            reason = str(error)
            if "empty set" in reason:  # that is how dateutil says it
                reason = f"by its INTERVAL from {start} on it never comes to what its BYHOUR, BYMINUTE or BYSECOND name"
            raise InvalidTriggerError(f"RRULE: {text!r} cannot be used: {reason}", field="RRULE") from error
        self._times = set_bits(self._minutes), set_bits(self._seconds)
        self._freq = freq
        self._interval = interval
        self._given = given
        self._positions = positions
        self._counted = self.days
        if positions is not None and freq < _DAILY - 1 and "BYEASTER" not in given:
            picked = picked_days(named, freq, positions, len(self._times[0]) * len(self._times[1]))
            self.days = (picked, *self.days)  # where it is empty the others need not be made
        self._week_start = ("MO", "TU", "WE", "TH", "FR", "SA", "SU").index(given.get("WKST", "MO")[:2])
        self._start_s = to_s(start)
        self._boxes = self._of_frequent(interval) if freq > _DAILY else ()
        self._never_after_s = _LAST_S
        if not self._minutes or not self._seconds or self._is_beyond(named):
            self._never_after_s = self._start_s - 1
        self._until_s = _LAST_S if until is None else to_s(parsed(until))
        if count:
            at_s = self._start_s - 1
            for _ in range(count):
                following_s = self.after(at_s)
                if following_s is None:
                    break
                at_s = following_s
            self._until_s = at_s

    def after(self, local_s: int) -> int | None:
        """The first instance later than a local second, or None."""
        local_s = max(local_s, self._start_s - 1)
        if local_s >= self._until_s or local_s >= self._never_after_s:
            return None
        with EFFORT:
            at_s = self._in_boxes(local_s + 1) if self._freq > _DAILY else self._on_days(local_s + 1)
        if at_s is None or at_s > _LAST_S:
            self._never_after_s = min(self._never_after_s, local_s)
            return None
        return at_s if at_s <= self._until_s else None

    def _of_frequent(self, interval: int) -> tuple[Box, ...]:
        """A rule by the hour, the minute or the second, as boxes of local time: several where ``BYSETPOS`` picks some of the
        times of an hour.
        """
        unit_us = (3600, 60, 1)[self._freq - _DAILY - 1] * _SECOND_US
        start_us = self._start_s * _SECOND_US
        period_us = unit_us * interval
        minutes, seconds = self._minutes, self._seconds
        if not minutes or not seconds:
            return ()
        lattices = self._lattices()
        if not lattices:
            return ()
        windows: tuple[tuple[int, int, int], ...] = ()
        if lattices[0][0] * _SECOND_US < period_us:  # an hour or a minute to which it comes may have several instances
            windows = ((period_us, start_us // unit_us * unit_us % period_us, unit_us - 1),)
        wanted = [(minutes, seconds)] * len(lattices)
        if self._positions is not None:
            wanted = [
                (
                    minutes & _EVERY_HOUR << minute if unit_us == 3600 * _SECOND_US else minutes,
                    1 << second if unit_us > _SECOND_US else seconds,
                )
                for minute, second in self._times_of_unit()
            ]
            lattices = lattices if len(lattices) > 1 else lattices * len(wanted)
        found = []
        for (step, first), (ours, these) in zip(lattices, wanted, strict=True):
            # Of the times that the rule names, those that its lattice comes to.
            box = Box(step * _SECOND_US, first * _SECOND_US).shared(Box(minutes=ours, seconds=these, from_us=start_us))
            if box is not None:
                found.append(box._replace(days=self.days, windows=windows))
        return tuple(found)

    def _times_of_unit(self) -> list[tuple[int, int]]:
        """The minute and the second of the instances in an hour, or in a minute: one is like the other."""
        hourly, secondly = self._freq == _DAILY + 1, self._freq == _DAILY + 3
        minutes = set_bits(self._minutes >> 60 * (_lowest(self._minutes) // 60) & _HOUR) if hourly else [0]
        times = [(minute, second) for minute in minutes for second in ([0] if secondly else self._times[1])]
        return times if self._positions is None else _picked(times, self._positions)

    def _in_boxes(self, from_s: int) -> int | None:
        found: list[int] = []
        for box in self._boxes:
            steps = [_MAX_STEPS]
            at_us = look(box, from_s * _SECOND_US, steps, _ANY_DAY)
            EFFORT.spend(2 * (_MAX_STEPS - steps[0]), self)
            if steps[0] < 0:
                raise InvalidTriggerError(
                    f"no instance was found, and none was shown to be missing: {self}", field="RRULE"
                )
            if at_us is not None:
                found.append(at_us // _SECOND_US)
        return min(found, default=None)

    def _on_days(self, from_s: int) -> int | None:
        """The first instance from a local second on, of a rule by the day, the week, the month or the year."""
        day, second = divmod(from_s, DAY_S)
        last_day = self._until_s // DAY_S
        if self._positions is None:
            minute, second = divmod(second, 60)
            there = next_common(self.days, day)
            if there == day:
                if self._minutes >> minute & 1 and self._seconds >> second:
                    return from_s + _lowest(self._seconds >> second)
                later = self._minutes >> minute + 1
                if later:
                    return day * DAY_S + 60 * (minute + 1 + _lowest(later)) + _lowest(self._seconds)
                there = next_common(self.days, day + 1)
            return None if there is None else there * DAY_S + 60 * _lowest(self._minutes) + _lowest(self._seconds)
        first, _ = self._period(day)
        while True:
            there = next_common(self.days, first)
            if there is None or there > last_day:
                return None
            EFFORT.spend(6, self)
            first, last = self._period(there)
            days = [first + place for place in set_bits(days_between(self._counted, first, last))]
            minutes, seconds = self._times
            for at in _picked(range(len(days) * len(minutes) * len(seconds)), self._positions):
                place, number = divmod(at, len(minutes) * len(seconds))
                at_s = days[place] * DAY_S + 60 * minutes[number // len(seconds)] + seconds[number % len(seconds)]
                if at_s >= from_s:
                    return at_s
            first = last + 1

    def _period(self, day: int) -> tuple[int, int]:
        """The first and the last day of the year, the month or the week of a day; ``BYSETPOS`` counts there."""
        if self._freq == _DAILY:
            return day, day
        if self._freq == _DAILY - 1:
            first = day - (day + 3 - self._week_start) % 7
            return first, first + 6
        year, month, _ = civil(day)
        if self._freq == 0:
            return day_number(year, 1, 1), day_number(year, 12, 31)
        return day_number(year, month, 1), day_number(year, month, month_length(year, month))

    def leave_out(self, other: Rule) -> None:
        """Never come to the days of another rule with the same start, if it has all times of the day of this one: what ``EXRULE``
        takes away is not walked over then.
        """
        own, theirs = ({key: text for key, text in each._given.items() if key != "INTERVAL"} for each in (self, other))
        if own == theirs and self._interval % other._interval == 0 and self._until_s <= other._until_s:
            self._never_after_s = self._start_s - 1
        if (
            self._positions is None
            and other._positions is None
            and (other._freq <= _DAILY or other._interval == 1)
            and not self._minutes & ~other._minutes
            and not self._seconds & ~other._seconds
        ):
            taken = other.days
            if other._until_s != _LAST_S:  # of its last day, some times may come after its end
                first, last = other._start_s // DAY_S, other._until_s // DAY_S
                taken += (RangeDays([(first, max(last, first) - 1)]),)
            self.days += (OtherDays(CommonDays(taken)),)
            self._boxes = tuple(box._replace(days=self.days) for box in self._boxes)

    def __str__(self) -> str:
        return ";".join(f"{key}={value}" for key, value in self._given.items())

    def boxes(self, zone: tzinfo, moved: bool) -> tuple[Box, ...]:
        """Where it fires at most, on the wall clock of a zone."""
        days = together(self.days)
        minutes, seconds = self._picked_times()
        found = either(
            local_boxes(zone, minutes, seconds, days, moved=moved, lattice=lattice) for lattice in self._lattices()
        )
        return bounded(found, *self._span_us())

    def wall_rule(self, gap: Gap) -> WallRule:
        """Its times and days."""
        return WallRule(*self._picked_times(), CommonDays(self.days), gap, *self._span_us())

    def _span_us(self) -> tuple[int, int]:
        """No instance is earlier or later, whatever the zone."""
        from_us, upto_us = (
            (at_s // DAY_S + days) * _DAY_US for at_s, days in ((self._start_s, -2), (self._until_s, 3))
        )
        return max(from_us, FIRST_US), min(upto_us, LAST_US)

    def _picked_times(self) -> tuple[int, int]:
        """The minutes of the day and the seconds of the minute in which it has instances: ``BYSETPOS`` may pick the first or the
        last time of days each of which has several.
        """
        if self._positions is None or self._freq > _DAILY or not self._minutes or not self._seconds:
            return self._minutes, self._seconds
        minutes, seconds = self._times
        picked = {(position - (position > 0)) % (len(minutes) * len(seconds)) for position in self._positions}
        return (
            sum({1 << minutes[number // len(seconds)] for number in picked}),
            sum({1 << seconds[number % len(seconds)] for number in picked}),
        )

    def _lattices(self) -> tuple[tuple[int, int], ...]:
        """Lattices that have all instances: period and offset, in local seconds. One for each time of an hour or a minute; where
        these are many, one for all.
        """
        if self._freq <= _DAILY or not self._minutes or not self._seconds:
            return ((1, 0),)
        unit = (3600, 60, 1)[self._freq - _DAILY - 1]
        period = unit * self._interval
        start_s = self._start_s // unit * unit
        times = [60 * minute + second for minute, second in self._times_of_unit()]
        if len(times) <= _MOST_LATTICES:
            return tuple((period, (start_s + time) % period) for time in times)
        step = gcd(period, *(time - times[0] for time in times))
        return ((step, (start_s + times[0]) % step),)

    def _is_beyond(self, named: tuple[Days, ...]) -> bool:
        """Whether ``BYSETPOS`` asks for more than a period can have."""
        least = min(map(abs, self._positions or (1,)))
        return least > 1 and least > most_in_a_period(self._given, self._freq, named)


def _picked(times: Sequence[_Time], positions: Iterable[int]) -> list[_Time]:
    """Those of the times, in order, that are in some positions, from 1 up or from -1 down."""
    places = {position - 1 if position > 0 else len(times) + position for position in positions}
    return [times[place] for place in sorted(places) if 0 <= place < len(times)]


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1

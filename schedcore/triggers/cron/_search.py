"""The search: the first, the last and the number of a rule's local times in a span, in closed form.

Local time is an integer here: seconds since 1970-01-01 00:00:00 on the wall clock, as if every day had 86,400
of them. No datetime is made. What the clocks of a zone do to a local time is no business of this module (see
``_dst``).

A year is one integer with a bit for each of its days, so that "the next day" is a shift and a look at the
lowest bit, and "how many days" a count of bits. All that the calendar does to a rule depends on three things:
the weekday of 1 January, whether the year is a leap year and (for ISO weeks) whether the one before was. That
makes at most 28 kinds of years, each computed once. The kinds repeat after 400 years, which is where a search
for a day that never comes ends. The minutes of a day are one integer of 1,440 bits in the same manner.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from schedcore.triggers._bits import set_bits
from schedcore.triggers.cron._rule import LAST_YEAR, CronRule

__all__ = ["Plan", "first_day", "plan_for", "year_of"]

_DAY_S = 86400
# Years. The Gregorian calendar repeats after this many, weekdays and ISO weeks included.
_CYCLE = 400
_CYCLE_DAYS = 146097
# Years kept in the table of "the next year that has days"; it is emptied when full.
_TABLE_LIMIT = 1024
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# Every seventh day, for as long as a year may be.
_EVERY_7TH = sum(1 << day for day in range(0, 371, 7))
# Weekdays as bits.
_MONDAY, _FRIDAY, _MONDAY_TO_FRIDAY, _ANY_WEEKDAY = 0x01, 0x10, 0x1F, 0x7F

# The first day of a year, the first day of the next, its matching days as bits, the year.
_Year = tuple[int, int, int, int]
# Days of a year, bit 0 is 1 January: those of the rule's months; those that match as days, and those that match as weekdays
# of the month, each as days with the weekdays on which they do. So all that depends on the year is on which weekday it begins.
_Dates = tuple[int, tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]


def first_day(year: int) -> int:
    """Days from 1970-01-01 to 1 January of the year."""
    return 365 * (year - 1970) + (year - 1969) // 4 - (year - 1901) // 100 + (year - 1601) // 400


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def year_of(day: int) -> int:
    """The year of a day number."""
    year = 1970 + day * _CYCLE // _CYCLE_DAYS
    if day < first_day(year):
        return year - 1
    return year + 1 if day >= first_day(year + 1) else year


class Plan:
    """A rule made ready for searching. Immutable but for tables that only save time; safe to share between
    threads."""

    __slots__ = (
        "_cycle_days",
        "_dates",
        "_first_s",
        "_kinds",
        "_last_s",
        "_later",
        "_low_second",
        "_minutes",
        "_per_day",
        "_seconds",
        "_year",
        "_years",
        "day_set",
        "rule",
    )

    def __init__(self, rule: CronRule) -> None:
        self.rule = rule
        #: For whoever works with the days of the rule as a whole (``schedcore.triggers._year_days``); made when first asked for.
        self.day_set: Any = None
        minutes = 0
        for hour in range(24):
            if rule.hours >> hour & 1:
                minutes |= rule.minutes << 60 * hour
        self._minutes = minutes
        self._seconds = rule.seconds
        self._low_second = _lowest(rule.seconds)
        self._first_s = 60 * _lowest(minutes) + self._low_second
        self._last_s = 60 * (minutes.bit_length() - 1) + rule.seconds.bit_length() - 1
        self._per_day = minutes.bit_count() * rule.seconds.bit_count()
        self._kinds: dict[int, int] = {}
        self._dates: dict[bool, _Dates] = {}
        self._later: dict[int, _Year | None] = {}
        self._cycle_days: int | None = None
        self._years: list[int] | None = None
        if rule.years is not None:
            named = (year for year, bit in enumerate(reversed(f"{rule.years:b}")) if bit == "1")
            self._years = [year for year in named if self._days_of(year, first_day(year))]
        self._year: _Year = (0, 0, 0, 1970)  # none yet

    @property
    def years(self) -> list[int] | None:
        """The years that the rule names and that have matching days, in order; None where it names none."""
        return self._years

    def spans(self, from_s: int, until_s: int) -> list[tuple[int, int]]:
        """The stretches of years that the rule names and that have matching days, as local seconds, end exclusive, in so far as
        they are near a span; all of time where it names none.
        """
        if self._years is None:
            return [(first_day(1) * _DAY_S, first_day(LAST_YEAR + 2) * _DAY_S)]
        found: list[tuple[int, int]] = []
        first = bisect_left(self._years, year_of(from_s // _DAY_S))
        for year in self._years[first : bisect_right(self._years, year_of(until_s // _DAY_S))]:
            start_s, end_s = first_day(year) * _DAY_S, first_day(year + 1) * _DAY_S
            if found and found[-1][1] == start_s:
                found[-1] = found[-1][0], end_s
            else:
                found.append((start_s, end_s))
        return found

    @property
    def every_day(self) -> bool:
        """Whether it is known at a glance that each day matches."""
        rule = self.rule
        return (
            rule.years is None
            and rule.weeks is None
            and rule.months == 0x1FFE
            and rule.days == 0xFFFFFFFE
            and rule.weekdays == 0x7F
        )

    def at_or_after(self, local_s: int) -> int | None:
        """The first matching local second that is not before ``local_s``, or None."""
        day, second = divmod(local_s, _DAY_S)
        first, end, mask, year = self._year
        if not first <= day < end:
            first, end, mask, year = self._year = self._enter(year_of(day))
        days = mask >> (day - first)
        if days & 1:
            minute, second = divmod(second, 60)
            minutes = self._minutes >> minute
            if minutes & 1:
                seconds = self._seconds >> second
                if seconds:
                    return day * _DAY_S + 60 * minute + second + (seconds & -seconds).bit_length() - 1
                minutes ^= 1
            if minutes:
                minute += (minutes & -minutes).bit_length() - 1
                return day * _DAY_S + 60 * minute + self._low_second
            days ^= 1
        if days:
            return (day + (days & -days).bit_length() - 1) * _DAY_S + self._first_s
        later = self._later_year(year)
        if later is None:
            return None
        self._year = later
        first, _, mask, _ = later
        return (first + _lowest(mask)) * _DAY_S + self._first_s

    def at_or_before(self, local_s: int) -> int | None:
        """The last matching local second that is not after ``local_s``, or None."""
        day, second = divmod(local_s, _DAY_S)
        first, _, mask, year = self._enter(year_of(day))
        days = mask & (2 << (day - first)) - 1
        if days >> (day - first):
            minute, second = divmod(second, 60)
            minutes = self._minutes & (2 << minute) - 1
            if minutes >> minute:
                seconds = self._seconds & (2 << second) - 1
                if seconds:
                    return day * _DAY_S + 60 * minute + seconds.bit_length() - 1
                minutes ^= 1 << minute
            if minutes:
                return day * _DAY_S + 60 * (minutes.bit_length() - 1) + self._seconds.bit_length() - 1
            days ^= 1 << (day - first)
        if days:
            return (first + days.bit_length() - 1) * _DAY_S + self._last_s
        earlier = self._earlier_year(year)
        if earlier is None:
            return None
        first, _, mask, _ = earlier
        return (first + mask.bit_length() - 1) * _DAY_S + self._last_s

    def count(self, from_s: int, until_s: int) -> int:
        """The number of matching local seconds in [``from_s``, ``until_s``)."""
        if until_s <= from_s:
            return 0
        from_day, from_second = divmod(from_s, _DAY_S)
        until_day, until_second = divmod(until_s, _DAY_S)
        total = self._count_days(from_day, until_day) * self._per_day
        if from_second and self._has_day(from_day):
            total -= self._before(from_second)
        if until_second and self._has_day(until_day):
            total += self._before(until_second)
        return total

    def _before(self, second: int) -> int:
        """How many times of a matching day lie before a second of the day."""
        minute, second = divmod(second, 60)
        total = (self._minutes & (1 << minute) - 1).bit_count() * self._seconds.bit_count()
        if self._minutes >> minute & 1:
            total += (self._seconds & (1 << second) - 1).bit_count()
        return total

    def _has_day(self, day: int) -> bool:
        first, end, mask, _ = self._year
        if not first <= day < end:
            first, end, mask, _ = self._enter(year_of(day))
        return bool(mask >> (day - first) & 1)

    def _count_days(self, from_day: int, until_day: int) -> int:
        """The number of matching days in [``from_day``, ``until_day``)."""
        first, end, mask, year = self._enter(year_of(from_day))
        days = mask >> (from_day - first)
        if until_day <= end:
            return (days & (1 << (until_day - from_day)) - 1).bit_count()
        total = days.bit_count()
        last_year = year_of(until_day)
        if self._years is None:
            cycles, rest = divmod(last_year - year - 1, _CYCLE)
            if cycles:
                total += cycles * self._days_in_a_cycle()
            between = range(last_year - rest, last_year)
        else:
            between = self._years[bisect_right(self._years, year) : bisect_left(self._years, last_year)]  # type: ignore[assignment]
        for middle in between:
            total += self._days_of(middle, first_day(middle)).bit_count()
        first, _, mask, _ = self._enter(last_year)
        return total + (mask & (1 << (until_day - first)) - 1).bit_count()

    def _days_in_a_cycle(self) -> int:
        if self._cycle_days is None:
            self._cycle_days = sum(
                self._days_of(year, first_day(year)).bit_count() for year in range(2000, 2000 + _CYCLE)
            )
        return self._cycle_days

    def _enter(self, year: int) -> _Year:
        first = first_day(year)
        if self._years is not None:
            place = bisect_left(self._years, year)
            if place == len(self._years) or self._years[place] != year:
                return first, first + 365 + _is_leap(year), 0, year
        return first, first + 365 + _is_leap(year), self._days_of(year, first), year

    def _later_year(self, year: int) -> _Year | None:
        """The next year after this one that has matching days."""
        try:
            return self._later[year]
        except KeyError:
            pass
        found = None
        if self._years is not None:
            place = bisect_right(self._years, year)
            if place < len(self._years):
                found = self._enter(self._years[place])
        elif self._has_days():
            for later in range(year + 1, min(year + _CYCLE, LAST_YEAR) + 1):
                if self._days_of(later, first_day(later)):
                    found = self._enter(later)
                    break
        if len(self._later) >= _TABLE_LIMIT:
            self._later.clear()
        self._later[year] = found
        return found

    def _earlier_year(self, year: int) -> _Year | None:
        """The last year before this one that has matching days."""
        if self._years is not None:
            place = bisect_left(self._years, year)
            return self._enter(self._years[place - 1]) if place else None
        if not self._has_days():
            return None
        for earlier in range(year - 1, max(year - _CYCLE, 1) - 1, -1):
            if self._days_of(earlier, first_day(earlier)):
                return self._enter(earlier)
        return None

    def _has_days(self) -> bool:
        """Whether any year has matching days: all kinds of years are among 28 in a row."""
        return any(self._days_of(year, first_day(year)) for year in range(2001, 2029))

    def days_of(self, year: int) -> int:
        """The matching days of a year: bit 0 is 1 January."""
        return self._enter(year)[2]

    def _days_of(self, year: int, first_day: int) -> int:
        """The matching days of a year, whether or not the rule names the year: bit 0 is 1 January."""
        weekday = (first_day + 3) % 7
        leap = _is_leap(year)
        kind = 4 * weekday + 2 * leap
        if self.rule.weeks is not None:
            kind += _is_leap(year - 1)
        days = self._kinds.get(kind)
        if days is None:
            dates = self._dates.get(leap)
            if dates is None:
                dates = self._dates[leap] = _dates_of(self.rule, leap)
            days = self._kinds[kind] = _matching_days(self.rule, weekday, leap, bool(kind & 1), dates)
        return days


def _dates_of(rule: CronRule, leap: bool) -> _Dates:
    """What a rule says of the days of a year of one length; see ``_Dates``."""
    # By the length of a month, where such months of the rule begin: what matches in each times that is what matches in all.
    starts: dict[int, int] = {}
    start = 0
    for month, length in enumerate(_LENGTHS, 1):
        if month == 2 and leap:
            length = 29
        if rule.months >> month & 1:
            starts[length] = starts.get(length, 0) | 1 << start
        start += length
    of_months = 0
    by_day: dict[int, int] = {}
    by_name: dict[int, int] = {}
    for length, begin in starts.items():
        of_months |= ((1 << length) - 1) * begin
        for sets, of_month in ((by_day, _by_day(rule, length)), (by_name, _by_name(rule, length))):
            for weekdays, days in of_month:
                sets[weekdays] = sets.get(weekdays, 0) | days * begin
    return of_months, tuple(by_day.items()), tuple(by_name.items())


def _by_day(rule: CronRule, length: int) -> Iterator[tuple[int, int]]:
    """The days of a month by which a rule tells its days, with the weekdays on which they match; bit 0 is the first.

    Nearest to the 15th is that day from Monday to Friday, a Friday the 14th, or a Monday the 16th.
    """
    whole, last = (1 << length) - 1, length - 1
    days = rule.days >> 1 & whole | rule.last_day << last
    for before in set_bits(rule.before_last & whole):
        days |= 1 << last - before
    yield _ANY_WEEKDAY, days
    yield from _named_days(rule.nth_weekdays, rule.last_weekdays, length)
    nearest = rule.nearest >> 1 & whole
    for before in set_bits(rule.nearest_before_last & whole):
        nearest |= 1 << last - before
    if nearest:
        yield _MONDAY_TO_FRIDAY, nearest
        # Never in another month: from a Saturday the 1st to Monday the 3rd, and likewise from a Sunday that is the last day.
        yield _FRIDAY, nearest >> 1 | (nearest >> last) << last - 2
        yield _MONDAY, (nearest << 1 | (nearest & 1) << 2) & whole


def _by_name(rule: CronRule, length: int) -> Iterator[tuple[int, int]]:
    """Likewise the days by which it tells its weekdays, where these are named."""
    return _named_days(rule.named_weekdays & (1 << 35) - 1, rule.named_weekdays >> 35, length)


def _named_days(nth_weekdays: int, last_weekdays: int, length: int) -> Iterator[tuple[int, int]]:
    """The days on which "the 2nd Friday" and "the last Sunday" of a month of some length may be, with these weekdays."""
    for bit in set_bits(nth_weekdays):
        nth, weekday = divmod(bit, 7)
        yield 1 << weekday, 0x7F << 7 * nth & (1 << length) - 1
    if last_weekdays:
        yield last_weekdays, 0x7F << length - 7


def _on(weekdays: int, weekday: int) -> int:
    """The days of a year whose 1 January is a weekday that are on some weekdays (bits, 0: Monday)."""
    return ((weekdays >> weekday | weekdays << 7 - weekday) & _ANY_WEEKDAY) * _EVERY_7TH


def _matching_days(rule: CronRule, weekday: int, leap: bool, after_leap: bool, dates: _Dates) -> int:
    """A year's matching days, from the weekday of its 1 January (0: Monday), its length and that of the year
    before."""
    of_months, by_day, by_name = dates
    matching = 0
    for weekdays, days in by_day:
        matching |= days & _on(weekdays, weekday)
    by_weekday = _on(rule.weekdays, weekday) & of_months
    for weekdays, days in by_name:
        by_weekday |= days & _on(weekdays, weekday)
    matching = matching | by_weekday if rule.either else matching & by_weekday
    if rule.weeks is not None:
        matching &= _days_of_weeks(rule.weeks, weekday, leap, after_leap)
    return matching


def _days_of_weeks(weeks: int, weekday: int, leap: bool, after_leap: bool) -> int:
    """The days of a year that lie in ISO 8601 weeks: week 1 has the year's first Thursday; bit 0 is 1
    January."""
    monday = -weekday if weekday <= 3 else 7 - weekday  # of week 1, as a day of the year
    count = _weeks_in(weekday, leap)
    # One week ahead, so that no day is lost.
    days = (_days_in_weeks(weeks & (2 << count) - 2) << 7 + monday) >> 7
    if weeks >> 1 & 1:  # the days after the last week are in week 1 of the next year
        days |= 0x7F << (monday + 7 * count + 7)
    before = _weeks_in((weekday - 365 - after_leap) % 7, after_leap)
    if weeks >> before & 1 and monday > 0:  # those before week 1 are in the last week of the year before
        days |= ((1 << monday) - 1) << 7
    return days >> 7 & (1 << 365 + leap) - 1


@lru_cache(maxsize=256)
def _days_in_weeks(weeks: int) -> int:
    """The seven days of each of some weeks: bits 0 to 6 are week 0."""
    return sum(0x7F << 7 * week for week in set_bits(weeks))


def _weeks_in(weekday: int, leap: bool) -> int:
    return 53 if weekday == 3 or (leap and weekday == 2) else 52


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


@lru_cache(maxsize=1024)
def plan_for(rule: CronRule) -> Plan:
    """The plan of a rule, shared by all triggers that have the rule."""
    return Plan(rule)

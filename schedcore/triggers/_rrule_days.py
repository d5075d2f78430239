"""The local days on which a recurrence rule may have an instance, by arithmetic and not by walking.

A rule whose interval never meets a day that it allows (every 4 years from an odd one, on 29 February) has no instance at
all, which dateutil finds out by trying each year up to 9999. Here each part of the rule is a set of days, and "never" is
that they have none in common. For a rule by the day or longer these are just its days, but for what ``BYSETPOS`` leaves out of
them; one by the hour, the minute or the second has some that its interval does not come to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache, reduce
from math import gcd

from schedcore.triggers._bits import every, set_bits
from schedcore.triggers._days import ALL_DAYS, CHUNK, EVERY_CHUNK, FIRST_DAY, NO_CHUNK, Days, common_days
from schedcore.triggers._local import civil, day_number, month_length
from schedcore.triggers._step_days import DayLattice, MonthSteps
from schedcore.triggers._year_days import SomeYears, YearDays, days_of_plan
from schedcore.triggers.cron._rule import CronRule
from schedcore.triggers.cron._search import plan_for

__all__ = ["days_of_rule", "most_in_a_period", "named_days", "picked_days", "times_of_rule"]

_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_BYDAY = re.compile(r"([+-]?\d+)?(MO|TU|WE|TH|FR|SA|SU)|(MO|TU|WE|TH|FR|SA|SU)\(([+-]?\d+)\)")
_ALL_DAYS, _ALL_WEEKDAYS, _ALL_MONTHS = 0xFFFFFFFE, 0x7F, 0x1FFE
# Times of the day that are tried for those that the interval comes to; of more, nothing is known.
_TIMES = 1500
# The years of which dateutil tells Easter.
_EASTER_KNOWN_FROM, _EASTER_KNOWN_UPTO = 1583, 9999
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_YEARLY, _MONTHLY, _WEEKLY, _DAILY, _HOURLY, _MINUTELY, _SECONDLY = range(7)


def days_of_rule(given: Mapping[str, str], freq: int, interval: int, start: datetime) -> tuple[Days, ...]:
    """Sets of days; an instance is on a day that all of them have.

    ``given``: the parts of the rule by their names in upper case; ``freq``: 0 (yearly) to 6 (secondly).
    """
    found = (*named_days(given, freq, start), *_reached(given, freq, interval, start))
    # Those of Easter last: to know them takes longest, and less where few years are left.
    return tuple(sorted(found, key=lambda each: type(each) is _EasterDays))


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def named_days(given: Mapping[str, str], freq: int, start: datetime) -> tuple[Days, ...]:
    """Sets of days, all of which have those that the rule names, or takes from its start."""
    months = (
        sum({1 << month for month in _numbers(given["BYMONTH"]) if 1 <= month <= 12}) if "BYMONTH" in given else None
    )
    month_days = _numbers(given["BYMONTHDAY"]) if "BYMONTHDAY" in given else []
    byday = given.get("BYDAY") or given.get("BYWEEKDAY") or ""
    if not month_days and not byday and not given.keys() & {"BYWEEKNO", "BYYEARDAY", "BYEASTER"}:
        if freq <= _MONTHLY:
            month_days = [start.day]
            if freq == _YEARLY and months is None:
                months = 1 << start.month
        elif freq == _WEEKLY:
            byday = _WEEKDAYS[start.weekday()]
    months = _ALL_MONTHS if months is None else months
    found: list[Days] = []
    if months != _ALL_MONTHS or month_days:
        days = sum({1 << day for day in month_days if 0 < day <= 31}) if month_days else _ALL_DAYS
        before = sum({1 << -day - 1 for day in month_days if -31 <= day < 0})
        found.append(_rule(days, months, last_day=bool(before & 1), before_last=before & ~1))
    if byday:
        # Each day of the list stands for itself, as the RFC has it; dateutil wants days of both kinds where there are both.
        named: list[tuple[int, int]] = []
        for match in _BYDAY.finditer(byday):
            number = int(match.group(1) or match.group(4) or 0)
            named.append((number if freq <= _MONTHLY else 0, _WEEKDAYS.index(match.group(2) or match.group(3))))
        if any(number for number, _ in named):
            found.append(_nth_days(tuple(named), freq == _MONTHLY or "BYMONTH" in given))
        else:
            weekdays = sum({1 << weekday for _, weekday in named})
            found.append(_rule(_ALL_DAYS, _ALL_MONTHS, weekdays=weekdays))
    if "BYWEEKNO" in given:
        weeks = tuple(week for week in _numbers(given["BYWEEKNO"]) if 1 <= abs(week) <= 53)
        found.append(_week_days(weeks, _WEEKDAYS.index(given.get("WKST", "MO")[:2])))
    if "BYYEARDAY" in given:
        found.append(_year_days(tuple(_numbers(given["BYYEARDAY"]))))
    if "BYEASTER" in given:
        found.extend(_easter_days(tuple(_numbers(given["BYEASTER"]))))
    return tuple(found)


def _rule(
    days: int,
    months: int,
    *,
    last_day: bool = False,
    before_last: int = 0,
    weekdays: int = _ALL_WEEKDAYS,
) -> Days:
    rule = CronRule(1, 1, 1, days, last_day, 0, 0, months, weekdays, False, None, None, False, before_last)
    return days_of_plan(plan_for(rule))


@lru_cache(maxsize=64)
def _year_days(numbers: tuple[int, ...]) -> Days:
    def days_of(year: int) -> int:
        length = day_number(year + 1, 1, 1) - day_number(year, 1, 1)
        places = {number - 1 if number > 0 else length + number for number in numbers}
        return sum(1 << place for place in places if 0 <= place < length)

    return YearDays(days_of)


@lru_cache(maxsize=64)
def _week_days(numbers: tuple[int, ...], week_start: int) -> Days:
    """The days of some weeks of the year, counted from the end below 0: week 1 is the first that has four days in the year."""

    def weeks_in(first: int, leap: bool) -> int:
        return 53 if first == 3 or (leap and first == 2) else 52

    @lru_cache(maxsize=42)
    def of_kind(first: int, leap: bool, after_leap: bool, before_leap: bool) -> int:
        """``first``: 1 January as a day of its week, from 0."""
        begin = -first if first <= 3 else 7 - first  # of week 1, as a day of the year
        count = weeks_in(first, leap)
        found = 0  # one week ahead, so that no shift is negative
        for week in {number if number > 0 else count + 1 + number for number in numbers}:
            if 1 <= week <= count:
                found |= 0x7F << begin + 7 * week
        after = weeks_in((first + 365 + leap) % 7, before_leap)
        if 1 in numbers or -after in numbers:  # the days after the last week are in week 1 of the next year
            found |= 0x7F << begin + 7 * count + 7
        before = weeks_in((first - 365 - after_leap) % 7, after_leap)
        if begin > 0 and (
            before in numbers or -1 in numbers
        ):  # those before week 1 are in the last week of the year before
            found |= (1 << begin) - 1 << 7
        return found >> 7 & (1 << 365 + leap) - 1

    def days_of(year: int) -> int:
        first = (day_number(year, 1, 1) + 3 - week_start) % 7
        return of_kind(first, *(month_length(each, 2) == 29 for each in (year, year - 1, year + 1)))

    return YearDays(days_of)


class _EasterDays(Days):
    """The days so many days after Easter, those of the year of it and some of others. To know one takes a microsecond, so that
    years in which it makes no difference are not looked at.
    """

    __slots__ = ("_offsets",)

    repeats = NO_CHUNK

    def __init__(self, offsets: tuple[int, ...]) -> None:
        self._offsets = offsets

    def make(self, chunk: int) -> int:
        return self.within(ALL_DAYS, chunk)

    def within(self, days: int, chunk: int) -> int:
        if days.bit_count() < 400:
            start = FIRST_DAY + CHUNK * chunk
            easters = _easters(chunk, {civil(start + day - by)[0] for day in set_bits(days) for by in self._offsets})
        else:
            easters = _all_easters(chunk)
        return days & reduce(lambda mask, by: mask | (easters << by if by > 0 else easters >> -by), self._offsets, 0)


def _easters(chunk: int, years: Iterable[int]) -> int:
    """The Easter Sundays of some years, as far as they are in a chunk of days."""
    from dateutil.easter import easter

    found = bytearray(CHUNK // 8 + 1)
    for year in years:
        if _EASTER_KNOWN_FROM <= year <= _EASTER_KNOWN_UPTO:
            place = easter(year).toordinal() - _EPOCH_ORDINAL - FIRST_DAY - CHUNK * chunk
            if 0 <= place < CHUNK:
                found[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(found, "little")


@lru_cache(maxsize=32)
def _all_easters(chunk: int) -> int:
    first = 2000 + 400 * chunk
    return _easters(chunk, range(first, first + 400))


@lru_cache(maxsize=64)
def _easter_days(offsets: tuple[int, ...]) -> tuple[Days, ...]:
    """The days so many days after Easter, and before them what is known of them by the kind of year: Easter is a Sunday from
    22 March to 25 April. What is of another year than its Easter is not among these.
    """

    def days_of(year: int) -> int:
        start, length = day_number(year, 1, 1), 337 + month_length(year, 2)
        first = day_number(year, 3, 22) - start
        first += (3 - start - first) % 7  # day 3 was a Sunday
        found = 0
        for day in range(first, day_number(year, 4, 25) - start + 1, 7):
            for offset in offsets:
                if 0 <= day + offset < length:
                    found |= 1 << day + offset
        return found

    return YearDays(days_of), _EasterDays(offsets)


@lru_cache(maxsize=64)
def _nth_days(named: tuple[tuple[int, int], ...], of_month: bool) -> Days:
    """The n-th of a weekday, counted from the beginning or the end (n below 0), of each month or of the year; all for n = 0."""

    @lru_cache(maxsize=14)
    def of_kind(leap: bool, first: int) -> int:
        found = start = 0
        lengths = [month_length(2000 if leap else 2001, month) for month in range(1, 13)]
        for length in lengths if of_month else (sum(lengths),):
            for number, weekday in named:
                places = range((weekday - first - start) % 7, length, 7)
                if not number:
                    found |= sum(1 << start + place for place in places)
                elif 0 < number <= len(places):
                    found |= 1 << start + places[number - 1]
                elif -len(places) <= number < 0:
                    found |= 1 << start + places[number]
            start += length
        return found

    return YearDays(lambda year: of_kind(month_length(year, 2) == 29, (day_number(year, 1, 1) + 3) % 7))


def _reached(given: Mapping[str, str], freq: int, interval: int, start: datetime) -> Sequence[Days]:
    """The days that the interval comes to, counted from the start."""
    today = day_number(start.year, start.month, start.day)
    if freq == _YEARLY:
        return (_years(interval, start.year),) if interval > 1 else ()
    if freq == _MONTHLY:
        return (_months(interval, 12 * start.year + start.month - 1),) if interval > 1 else ()
    if freq == _WEEKLY:
        monday = today - (start.weekday() - _WEEKDAYS.index(given.get("WKST", "MO")[:2])) % 7
        return (DayLattice(7 * interval, *range(monday, monday + 7)),) if interval > 1 else ()
    if freq == _DAILY:
        return (DayLattice(interval, today),) if interval > 1 else ()
    of_day = (24, 1440, 86400)[freq - _HOURLY]
    since = (start.hour, 60 * start.hour + start.minute, 3600 * start.hour + 60 * start.minute + start.second)
    return _times(given, freq, interval, of_day * today + since[freq - _HOURLY], of_day)


def _times(given: Mapping[str, str], freq: int, interval: int, first: int, of_day: int) -> Sequence[Days]:
    """The days that have a time of day that is named and that the interval comes to."""
    hours = _numbers(given["BYHOUR"]) if "BYHOUR" in given else range(24)
    minutes = _numbers(given["BYMINUTE"]) if "BYMINUTE" in given else range(60)
    seconds = _numbers(given["BYSECOND"]) if "BYSECOND" in given else range(60)
    step = gcd(interval, of_day)
    if step == 1 and interval == 1:
        return ()
    times: Sequence[int]
    if freq == _HOURLY:
        times = list(hours)
    elif len(hours) * len(minutes) * (len(seconds) if freq == _SECONDLY else 1) > _TIMES:
        return ()
    elif freq == _MINUTELY:
        times = [60 * hour + minute for hour in hours for minute in minutes]
    else:
        times = [3600 * hour + 60 * minute + second for hour in hours for minute in minutes for second in seconds]
    period = interval // step
    # of_day * day + time is to be first + k * interval
    inverse = pow(of_day // step, -1, period) if period > 1 else 0
    residues = {(first - time) // step * inverse % period for time in times if (first - time) % step == 0}
    return () if residues and period == 1 else (DayLattice(period, *residues),)


@lru_cache(maxsize=256)
def _years(interval: int, year: int) -> Days:
    return SomeYears(lambda each: (1 << 337 + month_length(each, 2)) - 1, interval, year)


@lru_cache(maxsize=256)
def _months(interval: int, month: int) -> Days:
    return MonthSteps(interval, month, lambda length: (1 << length) - 1)


def picked_days(named: tuple[Days, ...], freq: int, positions: Collection[int], times: int) -> Days:
    """The days that ``BYSETPOS`` picks out of those that a rule by the year or the month names, all of which go by the kind of
    year. ``times``: instances of each day.
    """
    common = common_days(named, EVERY_CHUNK)

    @lru_cache(maxsize=256)
    def of_period(named: int) -> int:
        days = set_bits(named)
        found = 0
        for position in positions:
            number = (position - 1) // times if position > 0 else len(days) + position // times
            if 0 <= number < len(days):
                found |= 1 << days[number]
        return found

    def days_of(year: int) -> int:
        found, place = 0, 0
        lengths = [month_length(year, month) for month in range(1, 13)]
        whole = common >> day_number(year, 1, 1) - FIRST_DAY & (1 << sum(lengths)) - 1
        for length in lengths if freq == _MONTHLY else (sum(lengths),):
            found |= of_period(whole >> place & (1 << length) - 1) << place
            place += length
        return found

    return YearDays(days_of)


def most_in_a_period(given: Mapping[str, str], freq: int, sets: tuple[Days, ...]) -> int:
    """How many instances a year, a month or a week of the rule has at the most, which ``BYSETPOS`` counts. ``sets``: the days
    that it names, of which those that do not come round after 400 years are not needed for a bound.
    """
    times = 1
    for place, key in ((_DAILY, "BYHOUR"), (_HOURLY, "BYMINUTE"), (_MINUTELY, "BYSECOND")):
        if key in given and freq <= place:  # else it restricts the periods, or is that of the start
            times *= len(_numbers(given[key]))
    if freq > _WEEKLY:
        return times
    if freq < _WEEKLY:  # of others than these, ``picked_days`` knows
        return times * (len(_numbers(given["BYEASTER"])) if "BYEASTER" in given else 366)
    common = common_days(tuple(each for each in sets if each.repeats == EVERY_CHUNK), EVERY_CHUNK)
    # The first day of a chunk is a Saturday. What each week has is counted in bits of three weights, all weeks at once.
    first = (_WEEKDAYS.index(given.get("WKST", "MO")[:2]) - 5) % 7
    weeks = every(7, 0, CHUNK)
    ones = twos = fours = 0
    for day in range(7):
        found = common >> first + day & weeks
        ones, found = ones ^ found, ones & found
        twos, found = twos ^ found, twos & found
        fours |= found
    most = 0
    for weight, counted in ((4, fours), (2, twos), (1, ones)):
        if weeks & counted:  # of those that have most so far
            weeks &= counted
            most += weight
    return times * most


def times_of_rule(given: Mapping[str, str], freq: int, start: datetime) -> tuple[int, int]:
    """The minutes of the day (1,440 bits) and the seconds of the minute (60 bits) that the rule allows."""

    def numbers(key: str, place: int, own: int, most: int) -> Sequence[int]:
        return _numbers(given[key]) if key in given else [own] if freq <= place else range(most)

    minutes = 0
    for hour in numbers("BYHOUR", _DAILY, start.hour, 24):
        for minute in numbers("BYMINUTE", _HOURLY, start.minute, 60):
            minutes |= 1 << 60 * hour + minute
    return minutes, sum({1 << second for second in numbers("BYSECOND", _MINUTELY, start.second, 60)})

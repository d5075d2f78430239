"""The n-th business day of each month."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, tzinfo
from functools import lru_cache
from typing import Any, Never

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._boxes import Box
from schedcore.triggers._days import Days, next_common
from schedcore.triggers._effort import EFFORT
from schedcore.triggers._local import DAY_S, civil, clock, day_number, month_length
from schedcore.triggers._open_days import NthDays
from schedcore.triggers._stored import bound_in, check_version, is_other_release, jitter_in, number_in, zone_stamp
from schedcore.triggers._where import WallRule, bounded, local_boxes
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone, to_instant, to_jitter, to_zone, zone_state
from schedcore.triggers.base import Backlog, unknown_option
from schedcore.triggers.calendars._calendar import SOON, Calendar, LocalSet, days_of, to_calendar
from schedcore.triggers.calendars._combining import pack_calendar, unpack_calendar
from schedcore.triggers.calendars._days import Weekdays
from schedcore.triggers.calendars._zoned import SECOND_US, Zoned
from schedcore.triggers.cron._dst import offsets_for
from schedcore.triggers.cron._search import first_day

__all__ = ["BusinessDayTrigger"]

# Years that are searched for a month that has an n-th business day, and of which the runs of a backlog are counted.
_YEARS_LIMIT = 100
# Steps of a search (``_effort``) for the open days of a month, and of a year.
_MONTH_STEPS, _YEAR_STEPS = 4, 4
# Months that are looked at one by one, and years after them, before it pays to know which years have such a day. A calendar of a
# user's own is asked for no more days than it has to be.
_FEW, _FEW_YEARS = 13, 16
# Of so late a year no holidays are known.
_FAR_YEAR = 9000
_STATE_VERSION = 3  # as that of the other triggers


class BusinessDayTrigger(Zoned):
    """Fires on the n-th open day of each month: ``BusinessDayTrigger(4, Weekdays("sat", "sun"), hour=9)``.

    :param nth: 1 for the first open day of the month, 2 for the second, …; -1 for the last, -2 for the one before.
    :param calendar: what is closed; it must close whole days. None: Saturdays and Sundays.
    :param months: the months in which it fires, 1 to 12; None: all of them.
    :param hour, minute, second: the wall time.
    :param start_date, end_date: no fire time is earlier, or later (a date, a datetime or ISO 8601 text).
    :param timezone: a zone's name or any ``tzinfo``; None: the machine's own.
    :param jitter: seconds; upper bound of the random delay that the scheduler adds to each run.
    :raises InvalidTriggerError: naming the argument that cannot be used.

    A month that has fewer open days is left out. A time that the clocks jump over runs at the end of the jump.
    """

    __slots__ = (
        "_from_us",
        "_offsets",
        "_time_s",
        "_upto_us",
        "calendar",
        "end_us",
        "jitter_us",
        "months",
        "nth",
        "timezone",
        "zone_data_changed",
    )

    timezone: tzinfo
    jitter_us: int
    end_us: int | None
    nth: int
    calendar: Calendar
    months: tuple[int, ...]
    _time_s: int
    _from_us: int
    _upto_us: int

    def __init__(
        self,
        nth: int,
        calendar: Calendar | None = None,
        *,
        months: Iterable[int] | None = None,
        hour: int = 0,
        minute: int = 0,
        second: int = 0,
        start_date: date | datetime | str | None = None,
        end_date: date | datetime | str | None = None,
        timezone: str | tzinfo | None = None,
        jitter: float | None = None,
        **others: Never,
    ) -> None:
        if others:
            raise unknown_option(type(self), others)
        calendar = Weekdays("sat", "sun") if calendar is None else to_calendar(calendar)
        _check_whole("nth", nth, -31, 31)
        if not nth:
            raise InvalidTriggerError("nth: 0 is no business day; the first is 1, the last -1", field="nth")
        if not calendar.by_day:
            raise InvalidTriggerError(f"calendar: {calendar!r} does not close whole days", field="calendar")
        named = tuple(range(1, 13)) if months is None else _named(months)
        for name, value, most in (("hour", hour, 23), ("minute", minute, 59), ("second", second, 59)):
            _check_whole(name, value, 0, most)
        zone = to_zone(timezone)
        self._fill(
            nth,
            calendar,
            named,
            hour * 3600 + minute * 60 + second,
            None if start_date is None else to_instant(start_date, zone, "start_date"),
            None if end_date is None else to_instant(end_date, zone, "end_date"),
            zone,
            0 if jitter is None else to_jitter(jitter),
        )

    def _fill(
        self,
        nth: int,
        calendar: Calendar,
        months: tuple[int, ...],
        time_s: int,
        start_us: int | None,
        end_us: int | None,
        zone: tzinfo,
        jitter_us: int,
    ) -> None:
        put = object.__setattr__
        put(self, "nth", nth)
        put(self, "calendar", calendar)
        put(self, "months", months)
        put(self, "_time_s", time_s)
        put(self, "_from_us", FIRST_US if start_us is None else start_us)
        put(self, "_upto_us", LAST_US if end_us is None else min(end_us, LAST_US))
        put(self, "end_us", end_us)
        put(self, "timezone", zone)
        put(self, "_offsets", offsets_for(zone))
        put(self, "jitter_us", jitter_us)
        put(self, "zone_data_changed", False)
        put(self, "_found", (LAST_US + 1, None))

    @property
    def foreign(self) -> bool:  # type: ignore[override]
        """Whether asking its calendar runs code of a user's."""
        return self.calendar.foreign

    def _in_month(self, month: int) -> int | None:
        """The fire time in a month (months since year 0), or None."""
        year, index = divmod(month, 12)
        if index + 1 not in self.months or not 1 <= year <= 9999:
            return None
        first, length = day_number(year, index + 1, 1), month_length(year, index + 1)
        EFFORT.spend(_MONTH_STEPS, self)
        place = _nth_bit(self.nth, (1 << length) - 1 ^ self.calendar.closed_days(first, length))
        return None if place is None else self._wall((first + place) * DAY_S + self._time_s)

    def _in_year(self, year: int) -> list[int]:
        """The fire times of a year, in order."""
        EFFORT.spend(_YEAR_STEPS, self)
        first = first_day(year)
        length = first_day(year + 1) - first
        opened = (1 << length) - 1 ^ self.calendar.closed_days(first, length)
        found = [
            self._wall((first + place) * DAY_S + self._time_s)
            for place in _nth_of_months(self.nth, self.months, length, opened)
        ]
        return [at_us for at_us in found if at_us is not None]

    def _times_from(self, month: int) -> Iterator[int]:
        """The fire times from a month on: of one month after the other, and then one year after the other, until some have been
        looked at in vain; then of the years of which it is not known without asking the calendar that they have none.
        """
        for each in range(month, month + _FEW):
            at_us = self._in_month(each)
            if at_us is not None:
                yield at_us
        days = (self._days(unsure=True),)
        following, index = divmod(month + _FEW, 12)
        day: int | None = day_number(following, index + 1, 1)
        if not self.foreign:
            for year in range(following, following + _FEW_YEARS):
                yield from self._in_year(year)
            day = first_day(following + _FEW_YEARS)
        while day is not None and (day := next_common(days, day)) is not None:
            year = civil(day)[0]
            if year > month // 12 + _YEARS_LIMIT:
                break
            yield from self._in_year(year)
            day = first_day(year + 1)
        if day is None:
            # It is no "never" where what is not known yet may be such a day.
            until = self.calendar.known_until
            soon = None if until is None else next_common(days, until)
            if until is None or soon is None or soon >= until + SOON:
                return
        raise InvalidTriggerError(f"no month within {_YEARS_LIMIT} years has such a day: {self}", field="nth")

    def _days(self, unsure: bool | None = None) -> Days:
        """The local days on which it fires at most; ``unsure``: whether what nobody knows yet may be open or closed, which makes
        a difference to others only where it may be closed for good for want of knowledge.
        """
        if unsure is None:
            unsure = self.calendar.known_until is not None and (self.foreign or not self._in_year(_FAR_YEAR))
        opened, closed = (self.calendar.sets(closed, unsure) for closed in (False, True))
        return _nth_days(self.nth, self.months, opened, closed)

    def _boxes(self) -> tuple[Box, ...]:
        minute, second = divmod(self._time_s, 60)
        found = local_boxes(self.timezone, 1 << minute, 1 << second, self._days(), moved=True)
        return bounded(found, self._from_us, self._upto_us)

    def _wall_rules(self) -> Sequence[WallRule]:
        minute, second = divmod(self._time_s, 60)
        return [WallRule(1 << minute, 1 << second, self._days(), "cron", self._from_us, self._upto_us)]

    def _month_of(self, at_us: int) -> int:
        year, month, _ = civil(self._shown(at_us)[0] // DAY_S)
        return 12 * year + month - 1

    def _search_us(self, after_us: int) -> int | None:
        after_us = max(after_us, self._from_us - 1)
        if after_us >= self._upto_us:
            return None
        at_us = next((each for each in self._times_from(self._month_of(after_us)) if each > after_us), None)
        return at_us if at_us is not None and at_us <= self._upto_us else None

    def last_us(self, upto_us: int) -> int | None:
        """The last fire time not later than ``upto_us``."""
        upto_us = min(upto_us, self._upto_us)
        if upto_us < self._from_us:
            return None
        last = self._month_of(upto_us) // 12
        with EFFORT:
            for year in range(last, max(last - _YEARS_LIMIT, 0), -1):
                for at_us in reversed(self._in_year(year)):
                    if at_us <= upto_us:
                        return at_us if at_us >= self._from_us else None
        return None

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        low_us, high_us = max(after_us, self._from_us - 1), min(upto_us, self._upto_us)
        if low_us >= high_us:
            return Backlog(0, None, self.next_us(upto_us))
        first, last = self._month_of(low_us) // 12, self._month_of(high_us) // 12
        # Of more years than these the count is a lower bound.
        years = range(first, min(last, first + _YEARS_LIMIT) + 1)
        times = [at_us for year in years for at_us in self._in_year(year) if low_us < at_us <= high_us]
        last_us = times[-1] if times else None
        known_us = upto_us if years[-1] == last else after_us if last_us is None else last_us
        return Backlog(len(times), last_us, self.next_us(known_us))

    def why_not(self, at_us: int) -> list[str]:
        """The reasons for which it does not fire at an instant."""
        local_s = self._shown(at_us)[0]
        year, month, _ = civil(local_s // DAY_S)
        found = []
        if at_us < self._from_us:
            found.append("it is before the start")
        if at_us > self._upto_us:
            found.append("it is after the end")
        if month not in self.months:
            found.append(f"month {month} is none of its months")
        elif not found:
            fire_us = self._in_month(12 * year + month - 1)
            day = None if fire_us is None else to_datetime(fire_us).astimezone(self.timezone).date()
            if day is None:
                found.append("this month has no such day")
            elif day_number(day.year, day.month, day.day) != local_s // DAY_S:
                found.append(f"in this month its day is {day}")
        if local_s % DAY_S != self._time_s or at_us % SECOND_US:
            found.append(f"its time of day is {clock(self._time_s)}")
        return found

    def _rule(self) -> tuple[object, ...]:
        return (
            self.nth,
            self.calendar,
            self.months,
            self._time_s,
            self._from_us,
            self.end_us,
            self.jitter_us,
        )

    def describe(self) -> str:
        number = abs(self.nth)
        suffix = {1: "st", 2: "nd", 3: "rd"}.get(number if number < 20 else number % 10, "th")
        which = f"{number}{suffix}" if self.nth > 0 else "last" if number == 1 else f"{number}{suffix} last"
        text = f"at {clock(self._time_s)} on the {which} business day of the month"
        if len(self.months) < 12:
            text += f" in month {', '.join(map(str, self.months))}"
        text += f" (closed: {self.calendar.describe()})"
        if self._from_us != FIRST_US:
            text += f" from {to_datetime(self._from_us).astimezone(self.timezone):%Y-%m-%d %H:%M:%S}"
        if self.end_us is not None:
            text += f" until {to_datetime(self.end_us).astimezone(self.timezone):%Y-%m-%d %H:%M:%S}"
        return text

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._rule() == other._rule() and same_zone(self.timezone, other.timezone)

    def __hash__(self) -> int:
        return hash((BusinessDayTrigger, self.nth, self.calendar, self._time_s))

    def __str__(self) -> str:
        return f"businessday[{self.nth} at {clock(self._time_s)}, closed: {self.calendar}]"

    def __repr__(self) -> str:
        parts = [repr(self.nth), repr(self.calendar)]
        if len(self.months) < 12:
            parts.append(f"months={list(self.months)!r}")
        clock = (("hour", self._time_s // 3600), ("minute", self._time_s // 60 % 60), ("second", self._time_s % 60))
        parts.extend(f"{name}={value}" for name, value in clock if value)
        for name, at_us in (("start_date", self._from_us), ("end_date", self.end_us)):
            if at_us is not None and at_us != FIRST_US:
                parts.append(f"{name}={to_datetime(at_us).astimezone(self.timezone).isoformat()!r}")
        parts.append(f"timezone={zone_state(self.timezone)!r}")
        if self.jitter_us:
            parts.append(f"jitter={self.jitter!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "nth": self.nth,
            "calendar": pack_calendar(self.calendar),
            "months": list(self.months),
            "time_s": self._time_s,
            "start_us": None if self._from_us == FIRST_US else self._from_us,
            "end_us": self.end_us,
            "timezone": zone_state(self.timezone),
            "jitter_us": self.jitter_us,
            **zone_stamp(self.timezone),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_version(state, _STATE_VERSION, "a business day trigger")
        try:
            nth, months = number_in(state, "nth", -31, 31), tuple(int(each) for each in state["months"])
            if not nth or not months:
                raise ValueError("the state of a business day trigger has a rule that this release does not know")
            self._fill(
                nth,
                unpack_calendar(state["calendar"]),
                months,
                number_in(state, "time_s", 0, DAY_S - 1),
                bound_in(state, "start_us"),
                bound_in(state),
                to_zone(state["timezone"]),
                jitter_in(state),
            )
            object.__setattr__(self, "zone_data_changed", is_other_release(state, self.timezone))
        except KeyError as error:
            raise ValueError(f"the state of a business day trigger lacks {error}") from None


@lru_cache(maxsize=64)
def _nth_days(nth: int, months: tuple[int, ...], opened: tuple[LocalSet, ...], closed: tuple[LocalSet, ...]) -> Days:
    return NthDays(nth, months, days_of(opened), days_of(closed))


@lru_cache(maxsize=4096)
def _nth_of_months(nth: int, months: tuple[int, ...], length: int, opened: int) -> tuple[int, ...]:
    """The n-th open day of some months of a year of so many days."""
    found = []
    start = 0
    for month in range(1, 13):
        days = month_length(2000 if length == 366 else 2001, month)
        if month in months:
            place = _nth_bit(nth, opened >> start & (1 << days) - 1)
            if place is not None:
                found.append(start + place)
        start += days
    return tuple(found)


def _nth_bit(nth: int, mask: int) -> int | None:
    """The place of the n-th bit of a mask, from the highest down for n below 0; None where it has fewer."""
    count = mask.bit_count()
    if count < abs(nth):
        return None
    for _ in range(nth - 1 if nth > 0 else count + nth):
        mask &= mask - 1
    return (mask & -mask).bit_length() - 1


def _named(months: object) -> tuple[int, ...]:
    if isinstance(months, str) or not isinstance(months, Iterable):
        raise InvalidTriggerError(
            f"months: {months!r} is no list of months; give numbers from 1 to 12, such as [1, 7]", field="months"
        )
    named = tuple(months)
    for month in named or (0,):
        _check_whole("months", month, 1, 12)
    return tuple(sorted(set(named)))


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidTriggerError(f"{name}: {value!r} is not a whole number from {least} to {most}", field=name)

"""The same wall time every n days, weeks, months or years: ``calendarinterval``.

The fire times belong to dates, and the dates are counted from the start: the k-th is the start moved by k times the
years and months, then by k times the weeks and days. Nothing is carried over from one to the next, neither an hour that a
change of the clocks moved nor a day that a short month lacked. Each date has one fire time, the first instant at which the
wall clock shows the time of day. Two rules say what happens when there is no such date or no such time:

``overflow`` for a day that the month lacks (the 31st, 29 February): ``"skip"`` leaves it out, ``"clamp"`` takes the
last day of the month.

``dst`` for a time that the clocks jump over: ``"skip"`` leaves it out, ``"shift"`` moves it by as much as the clocks
jump (02:30 becomes 03:30, as elapsed time has it), ``"cron"`` takes the first instant after the jump, as cron does.

Theory of operation. Which dates there are is known to ``_counted_dates``, and what the clocks make of them to ``_wall_dates``.
From k to an instant and back is a few integer operations, so that "next" and "last" look at two or three dates wherever they
are asked. A count is a difference of two k, less the dates that do not exist and those that clocks swallow.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import MAXYEAR, date, datetime, tzinfo
from itertools import takewhile
from time import time_ns
from typing import Any, ClassVar, Literal, Never, Self

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError, did_you_mean
from schedcore.triggers import _old_states
from schedcore.triggers._counted_dates import CountedDates
from schedcore.triggers._local import DAY_S, Gap, civil, clock, day_number, is_fixed, wall_instant
from schedcore.triggers._stored import bound_in, check_version, is_other_release, jitter_in, number_in, zone_stamp
from schedcore.triggers._wall_dates import WallDates, local_day
from schedcore.triggers._zones import (
    FIRST_US,
    LAST_US,
    iso_text,
    same_zone,
    to_instant,
    to_jitter,
    to_zone,
    zone_state,
)
from schedcore.triggers.base import BaseTrigger, Frozen, GridTrigger, Swallowed, unknown_option
from schedcore.triggers.cron._changes import ClockChange
from schedcore.triggers.cron._dst import is_still, offsets_for

__all__ = ["CalendarIntervalTrigger"]

_STATE_VERSION = 3  # 1 and 2 are those of APScheduler 3.x
_SECOND_US = 1_000_000
_DST = ("skip", "shift", "cron")
_OVERFLOW = ("skip", "clamp")
_UNITS = ("years", "months", "weeks", "days")
# Months, weeks or days of one interval: more than there are in 9999 years.
_MOST_UNITS = 4_000_000
_FIRST_DATE, _LAST_DATE = day_number(1, 1, 1), day_number(MAXYEAR, 12, 31)
# How many dates are looked at one by one before the closed forms pay.
_FEW = 24
# How many dates are looked at for those that do not exist (100 years of months).
_MAX_DATES = 1200
# Microseconds. How far ahead changes of the clocks are looked for (100 years).
_FURTHEST_US = 36525 * DAY_S * _SECOND_US


class CalendarIntervalTrigger(Frozen, GridTrigger):
    """Fires at ``hour:minute:second`` on ``start_date`` and every ``years``, ``months``, ``weeks`` and ``days`` after it.

    :param years, months, weeks, days: whole numbers, 0 or more, not all 0.
    :param hour, minute, second: the wall time.
    :param start_date: the date that the others are counted from (a date, a datetime or ISO 8601 text). With a time of day,
        no fire time is earlier than that instant. None: today, which is the scheduler's own today from the moment
        that the job is added.
    :param end_date: no fire time is later. A date includes its whole day. None: no end.
    :param timezone: a zone's name or any ``tzinfo``; None: the zone of ``start_date``, else the machine's own.
    :param jitter: seconds; upper bound of the random delay that the scheduler adds to each run, off the grid.
    :param overflow: ``"skip"`` or ``"clamp"``: what happens to a day that a month does not have.
    :param dst: ``"skip"``, ``"shift"`` or ``"cron"``: what happens to a time that the clocks jump over.
    :raises InvalidTriggerError: naming the argument that cannot be used.
    """

    __slots__ = (
        "_floating",
        "_from_us",
        "_units",
        "_upto_us",
        "_wall",
        "dst",
        "end_us",
        "jitter_us",
        "overflow",
        "timezone",
        "zone_data_changed",
    )

    plain: ClassVar[bool] = True

    timezone: tzinfo
    #: Microseconds.
    jitter_us: int
    end_us: int | None
    overflow: Literal["skip", "clamp"]
    dst: Gap
    _units: tuple[int, int, int, int]  # years, months, weeks, days, as they were given
    _wall: WallDates
    _from_us: int | None  # no fire time is earlier; None: the start is a date
    _upto_us: int
    _floating: bool  # whether the user left the start out

    def __init__(
        self,
        *,
        years: int = 0,
        months: int = 0,
        weeks: int = 0,
        days: int = 0,
        hour: int = 0,
        minute: int = 0,
        second: int = 0,
        start_date: date | datetime | str | None = None,
        end_date: date | datetime | str | None = None,
        timezone: str | tzinfo | None = None,
        jitter: float | None = None,
        overflow: Literal["skip", "clamp"] = "skip",
        dst: Gap = "skip",
        **others: Never,
    ) -> None:
        if others:
            raise unknown_option(type(self), others)
        units = (years, months, weeks, days)
        for name, value in zip(_UNITS, units, strict=True):
            _check(name, value, MAXYEAR if name == "years" else _MOST_UNITS)
        if not any(units):
            raise InvalidTriggerError(
                "the interval is nothing; give at least one of years, months, weeks and days", field="days"
            )
        for name, value, most in (("hour", hour, 23), ("minute", minute, 59), ("second", second, 59)):
            _check(name, value, most)
        if overflow not in _OVERFLOW:
            raise InvalidTriggerError(
                f"overflow: {overflow!r} is no rule for days that a month lacks{did_you_mean(str(overflow), _OVERFLOW)}; write "
                f"'skip' (leave it out) or 'clamp' (the last day of the month)",
                field="overflow",
            )
        if dst not in _DST:
            raise InvalidTriggerError(
                f"dst: {dst!r} is no rule for clock changes{did_you_mean(str(dst), _DST)}; write 'skip' (a time that does not "
                f"exist is left out), 'shift' (it moves by the width of the jump) or 'cron' (it moves to the end of the jump)",
                field="dst",
            )
        if timezone is None and isinstance(start_date, datetime):
            timezone = start_date.tzinfo
        zone = to_zone(timezone)
        offsets = offsets_for(zone)
        from_us: int | None = None
        floating = start_date is None
        if start_date is None:
            start_day = local_day(offsets, time_ns() // 1000)
        else:
            plain = _plain_date(start_date)
            if plain is not None:
                start_day = day_number(plain.year, plain.month, plain.day)
            else:
                from_us = to_instant(start_date, zone, "start_date")
                start_day = local_day(offsets, from_us)
        end_us: int | None = None
        if end_date is not None:
            plain = _plain_date(end_date)
            if plain is None:
                end_us = to_instant(end_date, zone, "end_date")
            else:
                next_s = wall_instant(offsets, (day_number(plain.year, plain.month, plain.day) + 1) * DAY_S, "cron")
                assert next_s is not None
                end_us = min(next_s * _SECOND_US - 1, LAST_US)
        self._fill(
            units,
            hour * 3600 + minute * 60 + second,
            start_day,
            from_us,
            end_us,
            floating,
            zone,
            0 if jitter is None else to_jitter(jitter),
            overflow,
            dst,
        )
        if not floating and self.next_us(FIRST_US - 1) is None:
            raise InvalidTriggerError(
                f"this would never fire: no date from {start_date!s} on is left"
                + (f" until {end_date!s}" if end_date is not None else ""),
                field="start_date" if end_date is None else "end_date",
            )

    def _fill(
        self,
        units: tuple[int, int, int, int],
        time_s: int,
        start_day: int,
        from_us: int | None,
        end_us: int | None,
        floating: bool,
        zone: tzinfo,
        jitter_us: int,
        overflow: str,
        dst: Gap,
    ) -> None:
        put = object.__setattr__
        put(self, "_units", units)
        years, months, weeks, days = units
        dates = CountedDates(start_day, 12 * years + months, 7 * weeks + days, overflow == "clamp")
        put(self, "_wall", WallDates(dates, time_s, zone, dst))
        put(self, "_from_us", from_us)
        put(self, "_upto_us", LAST_US if end_us is None else min(end_us, LAST_US))
        put(self, "end_us", end_us)
        put(self, "_floating", floating)
        put(self, "timezone", zone)
        put(self, "jitter_us", jitter_us)
        put(self, "overflow", overflow)
        put(self, "dst", dst)
        put(self, "zone_data_changed", False)

    @property
    def years(self) -> int:
        """So many years, as they were given, lie between two dates; and the months, weeks and days that follow."""
        return self._units[0]

    @property
    def months(self) -> int:
        """Months, as they were given."""
        return self._units[1]

    @property
    def weeks(self) -> int:
        """Weeks, as they were given."""
        return self._units[2]

    @property
    def days(self) -> int:
        """Days, as they were given."""
        return self._units[3]

    @property
    def start_date(self) -> date:
        """The date that the others are counted from."""
        return date(*civil(self._wall.dates.start))

    @property
    def end_date(self) -> datetime | None:
        """The last instant at which it may fire, aware, in the trigger's zone; None when there is no end."""
        return None if self.end_us is None else to_datetime(self.end_us).astimezone(self.timezone)

    # -- the three questions -------------------------------------------------------------------------------------------

    def next_us(self, after_us: int) -> int | None:
        after_us = max(after_us, FIRST_US - 1 if self._from_us is None else self._from_us - 1)
        upto_us = self._upto_us
        if after_us >= upto_us:
            return None
        wall = self._wall
        k = max(wall.near(after_us), 0)
        while True:
            answer_us = wall.instant_us(k)
            if answer_us is not None and answer_us > after_us:
                return answer_us if answer_us <= upto_us else None
            k += 1
            # Dates that do not exist come in a row (29 February: eight years, and at worst some hundred).
            if answer_us is None and wall.before_us(k) > upto_us:
                return None

    def last_us(self, upto_us: int) -> int | None:
        upto_us = min(upto_us, self._upto_us)
        from_us = FIRST_US if self._from_us is None else self._from_us
        if upto_us < from_us:
            return None
        wall = self._wall
        k = wall.near(upto_us) + 4
        while k >= 0:
            answer_us = wall.instant_us(k)
            if answer_us is not None and answer_us <= upto_us:
                return answer_us if answer_us >= from_us else None
            k -= 1
        return None

    def count_us(self, after_us: int, upto_us: int) -> int:
        after_us = max(after_us, FIRST_US - 1 if self._from_us is None else self._from_us - 1)
        upto_us = min(upto_us, self._upto_us)
        if after_us >= upto_us:
            return 0
        # The first k whose fire time is later than each bound, were there no holes.
        wall = self._wall
        first, end = wall.beyond(after_us), wall.beyond(upto_us)
        if end <= first:
            return 0
        if end - first <= _FEW:
            return len({at_us for at_us in map(wall.instant_us, range(first, end)) if at_us is not None})
        return end - first - wall.dates.missing(first, end) - wall.swallowed(first, end, after_us, upto_us)

    @property
    def omits(self) -> bool:  # type: ignore[override]
        """Whether there may be no such date or time, and nothing runs in its place."""
        return self._wall.dates.has_holes() or (self.dst == "skip" and not is_fixed(self.timezone))

    def swallowed(self, after_us: int, upto_us: int) -> list[Swallowed]:
        after_us = max(after_us, FIRST_US - 1 if self._from_us is None else self._from_us - 1)
        upto_us = min(upto_us, self._upto_us)
        if after_us >= upto_us:
            return []
        wall = self._wall
        lacking: Iterable[int]
        if wall.dates.has_holes():
            k = max(wall.near(after_us), 0)
            lacking = takewhile(lambda each: wall.before_us(each) <= upto_us, range(k, k + _MAX_DATES))
        elif self.dst == "skip" and not is_still(wall.offsets, after_us // _SECOND_US, upto_us // _SECOND_US):
            lacking = wall.in_gaps(after_us, upto_us)
        else:
            return []
        overs = (wall.over_us(k) for k in lacking if wall.instant_us(k) is None)
        return [Swallowed(over_us, 1) for over_us in overs if after_us < over_us <= upto_us]

    def changes(self, after_us: int, upto_us: int, limit: int = 100) -> list[ClockChange]:
        """The times that do not come as they are written, because the clocks jump over them, or show them twice: the first
        ``limit`` of those in (``after_us``, ``upto_us``], and at most those of 100 years. By the instant of the jump; one that is
        moved, of its run; one that comes twice, of the second time.
        """
        after_us = max(after_us, FIRST_US - 1 if self._from_us is None else self._from_us - 1)
        upto_us = min(upto_us, self._upto_us, after_us + _FURTHEST_US)
        if after_us >= upto_us:
            return []
        return sorted(self._wall.changes(after_us, upto_us), key=lambda change: change.at)[:limit]

    def why_not(self, at_us: int) -> list[str]:
        """The reasons for which it does not fire at an instant; none where only a change of the clocks is one."""
        at = to_datetime(at_us).astimezone(self.timezone)
        day = day_number(at.year, at.month, at.day)
        dates = self._wall.dates
        found = []
        if day < dates.start or (self._from_us is not None and at_us < self._from_us):
            found.append("it is before the start")
        elif dates.day(dates.number(day)) != day:
            found.append(f"{at:%Y-%m-%d} is none of its dates, {self._every()} from {self.start_date}")
        if at_us > self._upto_us:
            found.append("it is after the end")
        if at.hour * 3600 + at.minute * 60 + at.second != self._wall.time_s or at.microsecond:
            found.append(f"its time of day is {clock(self._wall.time_s)}")
        return found

    # -- being a value ---------------------------------------------------------------------------------------------------

    def anchored(self, now_us: int) -> Self:
        if not self._floating:
            return self
        bound = self._blank()
        bound._fill(
            self._units,
            self._wall.time_s,
            local_day(self._wall.offsets, now_us),
            None,
            self.end_us,
            True,
            self.timezone,
            self.jitter_us,
            self.overflow,
            self.dst,
        )
        return bound

    def _rule(self) -> tuple[object, ...]:
        dates = self._wall.dates
        return (dates.months, dates.days, self._wall.time_s, self.end_us, self.jitter_us, self.overflow, self.dst)

    def _start(self) -> tuple[int, int | None]:
        return self._wall.dates.start, self._from_us

    def same_rule(self, other: BaseTrigger) -> bool:
        if type(other) is not type(self):
            return False
        return (
            self._rule() == other._rule()
            and ((self._floating and other._floating) or self._start() == other._start())
            and same_zone(self.timezone, other.timezone)
        )

    def describe(self) -> str:
        text = f"{self._every()} at {clock(self._wall.time_s)}"
        if not self._floating:
            text += f" from {self.start_date}"
        end = self.end_date
        return text if end is None else f"{text} until {end:%Y-%m-%d %H:%M:%S}"

    def _every(self) -> str:
        parts = [(name, value) for name, value in zip(_UNITS, self._units, strict=True) if value]
        if len(parts) == 1 and parts[0][1] == 1:
            return f"every {parts[0][0].removesuffix('s')}"
        return "every " + " ".join(f"{value} {name.removesuffix('s') if value == 1 else name}" for name, value in parts)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (
            self._rule() == other._rule()
            and self._start() == other._start()
            and same_zone(self.timezone, other.timezone)
        )

    def __hash__(self) -> int:
        return hash((CalendarIntervalTrigger, self._rule(), self._start()))

    def __str__(self) -> str:
        units = ", ".join(f"{value} {name}" for name, value in zip(_UNITS, self._units, strict=True) if value)
        return f"calendarinterval[{units} at {clock(self._wall.time_s)}]"

    def __repr__(self) -> str:
        parts = [f"{name}={value}" for name, value in zip(_UNITS, self._units, strict=True) if value]
        hours, rest = divmod(self._wall.time_s, 3600)
        time_of_day = (("hour", hours), ("minute", rest // 60), ("second", rest % 60))
        parts.extend(f"{name}={value}" for name, value in time_of_day if value)
        if self._from_us is None:
            start = self.start_date.isoformat()
        else:
            start = to_datetime(self._from_us).astimezone(self.timezone).isoformat()
        parts.append(f"start_date={start!r}")
        if self.end_date is not None:
            parts.append(f"end_date={self.end_date.isoformat()!r}")
        parts.append(f"timezone={zone_state(self.timezone)!r}")
        if self.jitter_us:
            parts.append(f"jitter={self.jitter!r}")
        if self.overflow != "skip":
            parts.append(f"overflow={self.overflow!r}")
        if self.dst != "skip":
            parts.append(f"dst={self.dst!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "timezone": zone_state(self.timezone),
            "interval": list(self._units),
            "time_s": self._wall.time_s,
            "start_day": self._wall.dates.start,
            "from_us": self._from_us,
            "end_us": self.end_us,
            "floating": self._floating,
            "jitter_us": self.jitter_us,
            "overflow": self.overflow,
            "dst": self.dst,
            **zone_stamp(self.timezone),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        old = state.get("version") in _old_states.OLD_VERSIONS
        if not old:
            check_version(state, _STATE_VERSION, "a calendar interval trigger")
        try:
            if old:
                self._set_old_state(state)
                return
            years, months, weeks, days = (int(value) for value in state["interval"])
            if min(years, months, weeks, days) < 0 or not (years or months or weeks or days):
                raise ValueError("the state of a calendar interval trigger has an interval of nothing")
            # A row that somebody altered must not send the loader or the search off the calendar.
            if max(months, weeks, days) > _MOST_UNITS or years > MAXYEAR:
                raise ValueError("the state of a calendar interval trigger has dates beyond the years 1 to 9999")
            if state["overflow"] not in _OVERFLOW or state["dst"] not in _DST:
                raise ValueError("the state of a calendar interval trigger has a rule that this release does not know")
            self._fill(
                (years, months, weeks, days),
                number_in(state, "time_s", 0, DAY_S - 1),
                number_in(state, "start_day", _FIRST_DATE, _LAST_DATE),
                bound_in(state, "from_us"),
                bound_in(state),
                bool(state["floating"]),
                to_zone(state["timezone"]),
                jitter_in(state),
                state["overflow"],
                state["dst"],
            )
            object.__setattr__(self, "zone_data_changed", is_other_release(state, self.timezone))
        except KeyError as error:
            raise ValueError(f"the state of a calendar interval trigger lacks {error}") from None

    def _set_old_state(self, state: dict[str, Any]) -> None:
        """3.x left out the days and the times that do not exist, and so do its triggers here."""
        found = _old_states.calendar_interval(state)
        years, months, weeks, days = found.units
        hour, minute, second = found.time
        made = type(self)(
            years=years,
            months=months,
            weeks=weeks,
            days=days,
            hour=hour,
            minute=minute,
            second=second,
            start_date=found.start,
            end_date=found.end,
            timezone=found.zone,
        )
        self._fill(
            made._units,
            made._wall.time_s,
            made._wall.dates.start,
            None,
            made.end_us,
            False,
            found.zone,
            found.jitter_us,
            "skip",
            "skip",
        )


def _check(name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidTriggerError(f"{name}: {value!r} is not a whole number from 0 to {most}", field=name)


def _plain_date(value: object) -> date | None:
    """The date that was given without a time of day, or None."""
    if isinstance(value, datetime):
        return None
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(iso_text(value))
        except ValueError:
            return None
    return None

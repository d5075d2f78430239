"""Recurrence rules of iCalendar (RFC 5545): ``rrule``, by python-dateutil (extra ``rrule``).

A rule speaks of the wall clock of the trigger's zone: its local times are found by dateutil, and turned into instants
here. A local time that clocks show twice happens the first time. One that does not exist is left out, which is what the
RFC asks for ("such recurrence instances MUST be ignored"), unless ``dst="cron"`` asks for a run at the end of the jump.

The text may be a rule alone (``FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17``) or the lines of an event: ``DTSTART``, ``RRULE``, ``RDATE``,
``EXDATE``, ``EXRULE``, with ``TZID`` or ``Z``. As in dateutil, ``DTSTART`` is a fire time only when the rule names it.

Theory of operation. dateutil reads a rule, and says what is wrong with it; it walks one from its start, so it is not asked
for instances. A rule by the day, the week, the month or the year is a set of days, looked up 400 years at a time (``_days``), and
times of the day; ``BYSETPOS`` counts them in one period after the other. A rule by the hour, minute or second is a
box (``_boxes``) of local time. ``COUNT`` is turned into the date of the last instance once. That there is nothing is remembered.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from math import gcd
from time import time_ns
from typing import Any, Literal, NamedTuple, Self, TypeVar

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError, MissingExtraError, did_you_mean
from schedcore.triggers._boxes import ANYWHERE, Box, either
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
from schedcore.triggers._local import (
    DAY_S,
    Gap,
    civil,
    day_number,
    gaps,
    is_fixed,
    month_length,
    offset_at,
    wall_instant,
)
from schedcore.triggers._rrule_days import days_of_rule, most_in_a_period, named_days, picked_days, times_of_rule
from schedcore.triggers._values import check_version, is_other_release, zone_stamp
from schedcore.triggers._where import WallRule, local_boxes
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone, to_instant, to_jitter, to_zone, zone_state
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger, Frozen, Swallowed
from schedcore.triggers.cron._dst import Offsets, is_still, offsets_for

__all__ = ["MAX_COUNT", "RRuleTrigger"]

# COUNT of a rule: its instances are walked once, at some 5 us each.
MAX_COUNT = 20_000
# Fire times of one backlog that are walked; beyond that its count is a lower bound.
_MAX_WALK = 1000
# Gaps of one span that are looked into.
_MAX_GAPS = 20
# EXDATEs and EXRULEs in a row that may take a fire time away.
_MAX_TAKEN = 5000
# Steps of a search (``_effort``) for each of them.
_TAKEN_STEPS = 8
_STATE_VERSION = 3  # as that of the other triggers
_SECOND_US = 1_000_000
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the wall clock's
# Steps of one look into a box, of some microseconds each.
_MAX_STEPS = 5000
# The days of a rule are known from the year 1 on, up to the year 9999.
_ANY_DAY = day_number(1, 1, 1)
_LAST_S = day_number(10_000, 1, 1) * DAY_S - 1
# Minute 0 of each hour of the day.
# Lattices that a rule by the hour or the minute is; of more times in one of them a coarser one is made.
_MOST_LATTICES = 4
_HOUR = (1 << 60) - 1
_EVERY_HOUR = sum(1 << minute for minute in range(0, 1440, 60))
_DST = ("skip", "cron")
_NAMES = ("DTSTART", "RRULE", "RDATE", "EXDATE", "EXRULE")
_FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
_DAILY = _FREQUENCIES.index("DAILY")
_KEYS = (
    "FREQ",
    "UNTIL",
    "COUNT",
    "INTERVAL",
    "BYSECOND",
    "BYMINUTE",
    "BYHOUR",
    "BYDAY",
    "BYWEEKDAY",
    "BYMONTHDAY",
    "BYYEARDAY",
    "BYWEEKNO",
    "BYMONTH",
    "BYSETPOS",
    "BYEASTER",
    "WKST",
)
_Time = TypeVar("_Time")
# What goes beyond it dateutil leaves out, without a word.
_RANGES = {"BYMONTH": 12, "BYMONTHDAY": 31, "BYYEARDAY": 366, "BYWEEKNO": 53}
_NUMBER = re.compile(r"[+-]?\d{1,15}", re.ASCII)
# More digits than the years have seconds would do no good.
_WHOLE = re.compile(r"0*[1-9]\d{0,14}", re.ASCII)
_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?")


class RRuleTrigger(Frozen, EngineTrigger):
    """Fires as a recurrence rule of RFC 5545 says.

    :param rule: its text, or a ``dateutil.rrule.rrule``.
    :param dtstart: the start that intervals are counted from, and from which the rule takes what it does not name (a date, a
        datetime or ISO 8601 text, local without an offset). None: that of the text, else now.
    :param timezone: a zone's name or any ``tzinfo``; None: that of ``dtstart`` or ``DTSTART``, else the machine's own.
    :param end_date: no fire time is later.
    :param jitter: seconds; upper bound of the random delay that the scheduler adds to each run.
    :param dst: what happens to a local time that clocks jump over: ``"skip"``, it is left out; ``"cron"``, it runs at the end of
        the jump.
    :raises InvalidTriggerError: naming what is not understood.
    """

    __slots__ = (
        "_floating",
        "_lines",
        "_offsets",
        "_rules",
        "_start_s",
        "dst",
        "end_us",
        "jitter_us",
        "timezone",
        "zone_data_changed",
    )

    searches = True

    timezone: tzinfo
    jitter_us: int
    end_us: int | None
    dst: Literal["skip", "cron"]
    _start_s: int  # local
    _floating: bool  # whether the user left the start out
    _lines: tuple[str, ...]  # without DTSTART, all in local time
    _rules: _Rules
    _offsets: Offsets

    def __init__(
        self,
        rule: Any,
        *,
        dtstart: date | datetime | str | None = None,
        timezone: str | tzinfo | None = None,
        end_date: date | datetime | str | None = None,
        jitter: float | None = None,
        dst: Literal["skip", "cron"] = "skip",
    ) -> None:
        lines = _split(_as_text(rule))
        stated = next((line for line in lines if line.name == "DTSTART"), None)
        if timezone is None:
            if isinstance(dtstart, datetime) and dtstart.tzinfo is not None:
                timezone = dtstart.tzinfo
            elif dtstart is None and stated is not None:
                timezone = stated.zone()
            if timezone is None:
                timezone = getattr(getattr(rule, "_dtstart", None), "tzinfo", None)
        zone = to_zone(timezone)
        offsets = offsets_for(zone)
        floating = False
        if dtstart is not None:
            start_s = _local(offsets, to_instant(dtstart, zone, "dtstart"))
        elif stated is not None:
            start_s = _to_s(stated.moments(zone)[0])
        else:
            start_s, floating = _local(offsets, time_ns() // 1000), True
        end_us = None if end_date is None else to_instant(end_date, zone, "end_date")
        self._fill(
            tuple(line.localized(zone) for line in lines if line.name != "DTSTART"),
            start_s,
            floating,
            zone,
            end_us,
            0 if jitter is None else to_jitter(jitter),
            dst,
        )

    def _fill(
        self,
        lines: tuple[str, ...],
        start_s: int,
        floating: bool,
        zone: tzinfo,
        end_us: int | None,
        jitter_us: int,
        dst: str,
    ) -> None:
        if dst not in _DST:
            raise InvalidTriggerError(
                f"dst: {dst!r} is no rule for clock changes{did_you_mean(str(dst), _DST)}; write 'skip' or 'cron'",
                field="dst",
            )
        put = object.__setattr__
        put(self, "_lines", lines)
        put(self, "_start_s", start_s)
        put(self, "_floating", floating)
        put(self, "_rules", _Rules(lines, _EPOCH + timedelta(seconds=start_s)))
        put(self, "timezone", zone)
        put(self, "_offsets", offsets_for(zone))
        put(self, "end_us", end_us)
        put(self, "jitter_us", jitter_us)
        put(self, "dst", dst)
        put(self, "zone_data_changed", False)

    @property
    def dtstart(self) -> datetime:
        """The start that intervals are counted from: naive, on the wall clock of the trigger's zone."""
        return _EPOCH + timedelta(seconds=self._start_s)

    @property
    def rule(self) -> str:
        """The rule as text, in local time, without its start."""
        return "\n".join(self._lines)

    def next_us(self, after_us: int) -> int | None:
        limit_us = LAST_US if self.end_us is None else min(self.end_us, LAST_US)
        if after_us >= limit_us:
            return None
        after_us = max(after_us, FIRST_US)
        after_s = after_us // _SECOND_US
        # In an overlap the wall clock goes back, and what it showed before has happened.
        local_s: int | None = after_s + offset_at(self._offsets, after_s)[2]
        with EFFORT:
            while True:
                assert local_s is not None
                local_s = self._rules.after(local_s)
                if local_s is None:
                    return None
                at_s = wall_instant(self._offsets, local_s, self.dst)
                if at_s is not None and at_s * _SECOND_US > after_us:
                    return at_s * _SECOND_US if at_s * _SECOND_US <= limit_us else None
                if local_s - 3 * DAY_S > limit_us // _SECOND_US:
                    return None

    def _boxes(self) -> tuple[Box, ...]:
        return self._rules.boxes(self.timezone, self.dst == "cron")

    def _wall_rules(self) -> Sequence[WallRule] | None:
        return self._rules.wall_rules(self.dst)

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        times, last_us, at_us = 0, None, after_us
        while times < _MAX_WALK:
            next_us = self.next_us(at_us)
            if next_us is None or next_us > upto_us:
                return Backlog(times, last_us, next_us)
            times, last_us, at_us = times + 1, next_us, next_us
        # The count is a lower bound from here on.
        return Backlog(times, last_us, self.next_us(upto_us))

    @property
    def omits(self) -> bool:  # type: ignore[override]
        """Whether the clocks may jump over one of its times, and nothing runs in its place."""
        return self.dst == "skip" and not is_fixed(self.timezone)

    def swallowed(self, after_us: int, upto_us: int) -> list[Swallowed]:
        limit_us = LAST_US if self.end_us is None else min(self.end_us, LAST_US)
        from_s, upto_s = max(after_us, FIRST_US) // _SECOND_US, min(upto_us, limit_us) // _SECOND_US
        if not self.omits or upto_s <= from_s or is_still(self._offsets, from_s, upto_s):
            return []
        found = []
        for low_s, high_s in gaps(self._offsets, from_s, upto_s + 1)[:_MAX_GAPS]:
            at_s = wall_instant(self._offsets, low_s, "cron")
            assert at_s is not None
            times, local_s = 0, self._rules.after(low_s - 1)
            while local_s is not None and local_s < high_s and times < _MAX_WALK:
                times, local_s = times + 1, self._rules.after(local_s)
            if times and after_us < at_s * _SECOND_US:
                found.append(Swallowed(at_s * _SECOND_US, times))
        return found

    # -- being a value -------------------------------------------------------------------------------------------------

    def anchored(self, now_us: int) -> Self:
        if not self._floating:
            return self
        bound = object.__new__(type(self))
        start_s = _local(self._offsets, now_us)
        bound._fill(self._lines, start_s, True, self.timezone, self.end_us, self.jitter_us, self.dst)
        return bound

    def _rule_key(self) -> tuple[object, ...]:
        return (self._lines, self.end_us, self.jitter_us, self.dst)

    def same_rule(self, other: BaseTrigger) -> bool:
        return (
            isinstance(other, RRuleTrigger)
            and self._rule_key() == other._rule_key()
            and ((self._floating and other._floating) or self._start_s == other._start_s)
            and same_zone(self.timezone, other.timezone)
        )

    def describe(self) -> str:
        text = f"by the rule {'; '.join(self._lines)}"
        if not self._floating:
            text += f" from {self.dtstart}"
        if self.end_us is not None:
            text += f" until {to_datetime(self.end_us).astimezone(self.timezone):%Y-%m-%d %H:%M:%S}"
        return text

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (
            self._rule_key() == other._rule_key()
            and self._start_s == other._start_s
            and same_zone(self.timezone, other.timezone)
        )

    def __hash__(self) -> int:
        return hash((RRuleTrigger, self._lines, self._start_s))

    def __str__(self) -> str:
        return f"rrule[{'; '.join(self._lines)}]"

    def __repr__(self) -> str:
        parts = [repr(self.rule), f"dtstart={self.dtstart.isoformat()!r}"]
        if self.end_us is not None:
            parts.append(f"end_date={to_datetime(self.end_us).astimezone(self.timezone).isoformat()!r}")
        parts.append(f"timezone={zone_state(self.timezone)!r}")
        if self.jitter_us:
            parts.append(f"jitter={self.jitter!r}")
        if self.dst != "skip":
            parts.append(f"dst={self.dst!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "lines": list(self._lines),
            "dtstart": self.dtstart.isoformat(),
            "floating": self._floating,
            "timezone": zone_state(self.timezone),
            "end_us": self.end_us,
            "jitter_us": self.jitter_us,
            "dst": self.dst,
            **zone_stamp(self.timezone),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_version(state, _STATE_VERSION, "a rrule trigger")
        try:
            self._fill(
                tuple(str(line) for line in state["lines"]),
                _to_s(datetime.fromisoformat(state["dtstart"])),
                bool(state["floating"]),
                to_zone(state["timezone"]),
                state["end_us"],
                int(state["jitter_us"]),
                state["dst"],
            )
            object.__setattr__(self, "zone_data_changed", is_other_release(state, self.timezone))
        except KeyError as error:
            raise ValueError(f"the state of a rrule trigger lacks {error}") from None


# --- text ------------------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    """A line of an event: ``EXDATE;TZID=Europe/Berlin:20260101T090000``."""

    name: str
    params: Mapping[str, str]
    value: str

    def zone(self) -> str | None:
        """The zone that the line names; None: it is local."""
        return "UTC" if self.value.upper().endswith("Z") else self.params.get("TZID")

    def moments(self, zone: tzinfo) -> list[datetime]:
        """The values of a line of dates, as naive local times of a zone."""
        return [_moment(text, self.params.get("TZID"), zone, self.name) for text in self.value.split(",")]

    def localized(self, zone: tzinfo) -> str:
        """The line in local time."""
        if self.name in ("RDATE", "EXDATE"):
            return f"{self.name}:" + ",".join(map(_written, self.moments(zone)))
        parts = []
        for part in self.value.split(";"):
            key, _, value = part.partition("=")
            if key == "UNTIL":
                until = _moment(value, None, zone, "UNTIL")
                if "T" not in value:  # the whole day
                    until += timedelta(days=1) - _SECOND
                part = f"UNTIL={_written(until)}"
            parts.append(part)
        return f"{self.name}:{';'.join(parts)}"


def _moment(text: str, key: str | None, zone: tzinfo, name: str) -> datetime:
    match = _MOMENT.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        numbers = [int(group or 0) for group in match.groups()[:6]]
        moment = datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001 - the zone follows
    except ValueError:
        raise InvalidTriggerError(
            f"{name}: {text!r} is not a date of RFC 5545, such as 20260329T023000 or 20260329T013000Z", field=name
        ) from None
    there = UTC if match.group(7) else None if key is None else to_zone(key)
    if there is None or same_zone(there, zone):
        return moment
    try:
        return moment.replace(tzinfo=there).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        late = name == "UNTIL" and moment.year > 1
        raise InvalidTriggerError(
            f"{name}: {text!r} is a time of {there} for which clocks in {zone} show none of the years 1 to 9999; "
            + ("leave it out for a rule without an end" if late else "give one a day nearer to today"),
            field=name,
        ) from None


def _as_text(rule: object) -> str:
    if isinstance(rule, str):
        return rule
    text = str(rule)
    if not re.search(r"(?m)^RRULE:", text):
        raise InvalidTriggerError(
            f"rule: {rule!r} is of type {type(rule).__name__}; give the text of a rule, or a dateutil.rrule.rrule",
            field="rule",
        )
    start: Any = getattr(rule, "_dtstart", None)
    if isinstance(start, datetime) and start.tzinfo is not None:
        # dateutil writes the wall time of an aware start without its zone, and UNTIL likewise.
        until: Any = getattr(rule, "_until", None)
        if until is not None:
            text = re.sub(r"UNTIL=\w+", f"UNTIL={until.astimezone(UTC):%Y%m%dT%H%M%SZ}", text)
    return text


def _split(text: str) -> list[_Line]:
    """The lines of a text, unfolded. Raises ``InvalidTriggerError`` for one that is not understood."""
    lines = []
    for row in re.sub(r"\r?\n[ \t]", "", text).upper().splitlines():
        if not row.strip():
            continue
        head, colon, value = row.strip().rpartition(":") if "TZID" not in row else row.strip().partition(":")
        if not colon:
            head, value = "RRULE", row.strip()
        name, *params = head.split(";")
        if name not in _NAMES:
            raise InvalidTriggerError(f"rule: {name!r} is not understood{did_you_mean(name, _NAMES)}", field="rule")
        given = dict(param.partition("=")[::2] for param in params)
        unknown = [key for key in given if key not in ("TZID", "VALUE")]
        if unknown:
            raise InvalidTriggerError(f"{name}: the parameter {unknown[0]!r} is not understood", field=name)
        if "TZID" in given:
            given["TZID"] = _as_written(given["TZID"], text)
        if name in ("RRULE", "EXRULE"):
            _check_rule(name, value)
        lines.append(_Line(name, given, value))
    if not any(line.name in ("RRULE", "RDATE") for line in lines):
        raise InvalidTriggerError(
            "rule: there is no RRULE in it; write for example 'FREQ=WEEKLY;BYDAY=MO,FR'", field="rule"
        )
    return lines


def _as_written(key: str, text: str) -> str:
    """The name of a zone as the text has it: names of zones are not of one case."""
    found = re.search(re.escape(key), text, re.IGNORECASE)
    return found.group() if found else key


def _check_rule(name: str, value: str) -> None:
    seen: dict[str, str] = {}
    for part in value.split(";"):
        key, equals, content = part.partition("=")
        if key not in _KEYS:
            raise InvalidTriggerError(f"{name}: {key!r} is not understood{did_you_mean(key, _KEYS)}", field=name)
        if not equals or not content or key in seen:
            what = "is there twice" if key in seen else "has no value"
            raise InvalidTriggerError(f"{name}: {key} {what}", field=name)
        seen[key] = content
    if seen.get("FREQ") not in _FREQUENCIES:
        raise InvalidTriggerError(
            f"{name}: FREQ is {seen.get('FREQ', 'missing')!s}; it is one of {', '.join(_FREQUENCIES)}", field=name
        )
    if "COUNT" in seen and "UNTIL" in seen:
        raise InvalidTriggerError(f"{name}: COUNT and UNTIL exclude each other", field=name)
    for key, most in _RANGES.items():
        for number in seen.get(key, "").split(","):
            if not _NUMBER.fullmatch(number):
                continue  # dateutil says what is wrong with it
            value = int(number)
            if not 1 <= (value if key == "BYMONTH" else abs(value)) <= most:
                raise InvalidTriggerError(
                    f"{name}: {key} has {number}, and goes from 1 to {most}"
                    + ("" if key == "BYMONTH" else f", or from -1 to -{most} counted from the end"),
                    field=name,
                )
    for key in ("COUNT", "INTERVAL"):
        if key in seen and not _WHOLE.fullmatch(seen[key]):
            raise InvalidTriggerError(f"{name}: {key} is {seen[key]!r}, and not a whole number from 1 up", field=name)


def _written(local: datetime) -> str:
    """As ``_parsed`` reads it. strftime writes the year 30 with two digits."""
    return re.sub("[-:]", "", local.isoformat())


def _parsed(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S")  # noqa: DTZ007 - the wall clock's


def _to_s(local: datetime) -> int:
    return (local - _EPOCH) // _SECOND


def _local(offsets: Offsets, at_us: int) -> int:
    at_s = min(max(at_us, FIRST_US), LAST_US) // _SECOND_US
    return at_s + offset_at(offsets, at_s)[2]


# --- rules -----------------------------------------------------------------------------------------------------------


class _Rule:
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
        if count > MAX_COUNT:
            raise InvalidTriggerError(f"RRULE: COUNT is {count}, and at most {MAX_COUNT} can be counted", field="RRULE")
        until = given.pop("UNTIL", None)
        try:
            # It knows what may stand in a rule, and says what may not.
            library.rrulestr(";".join(f"{key}={value}" for key, value in given.items()), dtstart=start)
            freq = _FREQUENCIES.index(given["FREQ"])
            interval = int(given.get("INTERVAL", 1))
            self.days = days_of_rule(given, freq, interval, start)
            named = named_days(given, freq, start)
            self._minutes, self._seconds = times_of_rule(given, freq, start)
            positions = {int(each) for each in given["BYSETPOS"].split(",")} if "BYSETPOS" in given else None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise InvalidTriggerError(f"RRULE: {text!r} cannot be used: {error}", field="RRULE") from error
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
        self._start_s = _to_s(start)
        self._boxes = self._of_frequent(interval) if freq > _DAILY else ()
        self._never_after_s = _LAST_S
        if not self._minutes or not self._seconds or self._is_beyond(named):
            self._never_after_s = self._start_s - 1
        self._until_s = _LAST_S if until is None else _to_s(_parsed(until))
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

    def leave_out(self, other: _Rule) -> None:
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
        return either(
            local_boxes(zone, self._minutes, self._seconds, days, moved=moved, lattice=lattice)
            for lattice in self._lattices()
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


class _Rules:
    """All lines of an event together: what RRULE and RDATE name, without what EXRULE and EXDATE do."""

    __slots__ = ("_dates", "_not_dates", "_not_rules", "_rules")

    def __init__(self, lines: Sequence[str], start: datetime) -> None:
        rules: dict[str, list[_Rule]] = {"RRULE": [], "EXRULE": []}
        dates: dict[str, list[int]] = {"RDATE": [], "EXDATE": []}  # local seconds
        for line in lines:
            name, _, value = line.partition(":")
            if name in rules:
                rules[name].append(_Rule(value, start))
            else:
                dates[name].extend(_to_s(_parsed(text)) for text in value.split(","))
        self._rules, self._not_rules = rules["RRULE"], rules["EXRULE"]
        for rule in self._rules:
            for other in self._not_rules:
                rule.leave_out(other)
        self._dates, self._not_dates = sorted(dates["RDATE"]), frozenset(dates["EXDATE"])

    def __str__(self) -> str:
        return ", ".join(map(str, self._rules))

    def boxes(self, zone: tzinfo, moved: bool) -> tuple[Box, ...]:
        """Where they fire at most, on the wall clock of a zone."""
        return ANYWHERE if self._dates else either(rule.boxes(zone, moved) for rule in self._rules)

    def wall_rules(self, gap: Gap) -> Sequence[WallRule] | None:
        """The times and days of the rules; None where single dates are added to them."""
        if self._dates:
            return None
        return [WallRule(rule._minutes, rule._seconds, CommonDays(rule.days), gap) for rule in self._rules]

    def after(self, local_s: int) -> int | None:
        """The first local second later than another, or None."""
        for _ in range(_MAX_TAKEN):
            EFFORT.spend(_TAKEN_STEPS, self)
            found = [at_s for rule in self._rules if (at_s := rule.after(local_s)) is not None]
            if self._dates and local_s < self._dates[-1]:
                found.append(self._dates[bisect_right(self._dates, local_s)])
            if not found:
                return None
            local_s = min(found)
            if local_s not in self._not_dates and not any(
                rule.after(local_s - 1) == local_s for rule in self._not_rules
            ):
                return local_s
        raise InvalidTriggerError(
            f"all of the {_MAX_TAKEN} local times up to {_EPOCH + timedelta(seconds=local_s)} are taken away by EXRULE or "
            f"EXDATE",
            field="rule",
        )

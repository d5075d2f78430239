"""Every so often, in elapsed time: ``interval``.

The fire times are the grid ``start + k * interval`` (k = 0, 1, 2, …), exact to the microsecond and counted
in elapsed time: every 24 hours is every 24 hours, also when the clocks change. For "the same wall time
every n days" there is ``calendarinterval``. When the user gives no start it is one interval from now.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo
from time import time_ns
from typing import Any, ClassVar, Never, Self

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers import _old_states, _zones
from schedcore.triggers._stored import bound_in, check_version, jitter_in, number_in
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone, to_instant, to_jitter, to_zone, zone_state
from schedcore.triggers.base import BaseTrigger, Frozen, GridTrigger, unknown_option

__all__ = ["IntervalTrigger"]

_STATE_VERSION = 3  # 1 and 2 are those of APScheduler 3.x

_UNIT_US = {
    "weeks": 604_800_000_000,
    "days": 86_400_000_000,
    "hours": 3_600_000_000,
    "minutes": 60_000_000,
    "seconds": 1_000_000,
}

# One int object for each interval in use, since many jobs have the same; no more than this many are kept.
_SHARED_LIMIT = 1024
_shared: dict[int, int] = {}
# The same by whole seconds.
_of_seconds: dict[int, int] = {}


# The last answer of any interval as a datetime, its instant, the zone, until when its clocks are known to stand still, and the
# interval as a number and as a time: where the answer is the next question it need not be converted, which is most of the work.
_Answer = tuple[datetime | None, int, tzinfo | None, int, int, timedelta]
_answered: _Answer = (None, 0, None, 0, 0, timedelta(0))
# Longer intervals leave the time within which clocks are known to stand still too soon.
_SHORT_US = 86_400_000_000


class IntervalTrigger(Frozen, GridTrigger):
    """Fires at ``start_date`` and every ``weeks + days + hours + minutes + seconds`` after it, in elapsed
    time.

    :param weeks, days, hours, minutes, seconds: the interval; whole numbers or fractions, in sum at least a
        microsecond.
    :param start_date: the first fire time (a date, a datetime or ISO 8601 text; without an offset it is
        local time in ``timezone``). None: one interval from now, which is the scheduler's own now from the
        moment that the job is added.
    :param end_date: no fire time is later than this (it may be equal). None: no end.
    :param timezone: a zone's name or any ``tzinfo``; None: the zone of ``start_date``, else the machine's
    own.
    :param jitter: seconds; upper bound of the random delay that the scheduler adds to each run, off the grid.
    :raises InvalidTriggerError: for an interval of zero or less, a date that is none or that does not
        exist, an unknown zone.
    """

    __slots__ = ("_floating", "_start_us", "end_us", "interval_us", "jitter_us", "timezone")

    elapsed: ClassVar[bool] = True
    plain: ClassVar[bool] = True

    timezone: tzinfo
    #: Microseconds.
    interval_us: int
    jitter_us: int
    end_us: int | None
    _start_us: int
    _floating: bool | None  # whether the user left the start out; None: a state of 3.x does not say

    def __init__(
        self,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        start_date: date | datetime | str | None = None,
        end_date: date | datetime | str | None = None,
        timezone: str | tzinfo | None = None,
        jitter: float | None = None,
        **others: Never,
    ) -> None:
        if others:
            raise unknown_option(type(self), others)
        try:
            # In steps: a list or a text, which can be multiplied as well, meets a number before it fills the memory.
            total = (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds
        except TypeError:
            total = 0.0
        interval_us = _of_seconds.get(total) if type(total) is int else None
        if interval_us is None:
            interval_us = _interval(total, weeks, days, hours, minutes, seconds)
        if timezone is None and isinstance(start_date, datetime):
            timezone = start_date.tzinfo
        recent = _zones.recent
        zone = recent if timezone is recent else to_zone(timezone)
        floating = start_date is None
        start_us = time_ns() // 1000 + interval_us if start_date is None else to_instant(start_date, zone, "start_date")
        end_us = None
        if end_date is not None:
            end_us = to_instant(end_date, zone, "end_date")
            if not floating and end_us < start_us:
                raise InvalidTriggerError(
                    f"end_date: {end_date!s} is before the start_date {start_date!s}: it would never fire",
                    field="end_date",
                )
        self._fill(interval_us, zone, start_us, end_us, floating, 0 if jitter is None else to_jitter(jitter))

    def _fill(
        self, interval_us: int, zone: tzinfo, start_us: int, end_us: int | None, floating: bool | None, jitter_us: int
    ) -> None:
        _set_interval(self, interval_us)
        _set_zone(self, zone)
        _set_start(self, start_us)
        _set_end(self, end_us)
        _set_floating(self, floating)
        _set_jitter(self, jitter_us)

    @property
    def interval(self) -> timedelta:
        """The time between two fire times."""
        return timedelta(microseconds=self.interval_us)

    @property
    def interval_length(self) -> float:
        """The same in seconds."""
        return self.interval_us / 1e6

    @property
    def start_date(self) -> datetime:
        """The first fire time, aware, in the trigger's zone."""
        return to_datetime(min(self._start_us, LAST_US)).astimezone(self.timezone)

    @property
    def end_date(self) -> datetime | None:
        """The end that was given, aware, in the trigger's zone; None when there is none."""
        return None if self.end_us is None else to_datetime(self.end_us).astimezone(self.timezone)

    def next_us(self, after_us: int) -> int | None:
        past_us = after_us - self._start_us
        if past_us < 0:
            answer_us = self._start_us
        else:
            interval_us = self.interval_us
            answer_us = after_us + interval_us - past_us % interval_us
        end_us = self.end_us
        return answer_us if answer_us <= (LAST_US if end_us is None else end_us) else None

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        global _answered
        interval_us = self.interval_us
        answered, answered_us, zone, still_until_us, step_us, step = _answered
        if (
            previous_fire_time is not None
            and previous_fire_time is answered
            and zone is self.timezone
            and step_us == interval_us
        ):
            past_us = answered_us - self._start_us
            if past_us >= 0 and not past_us % interval_us:
                next_us = answered_us + interval_us
                end_us = self.end_us
                if next_us < still_until_us and (end_us is None or next_us <= end_us):
                    answer = previous_fire_time + step
                    _answered = answer, next_us, zone, still_until_us, step_us, step
                    return answer
        found = super().get_next_fire_time(previous_fire_time, now)
        if found is not None and interval_us < _SHORT_US:
            _answered = _remembered(found, self.timezone, interval_us)
        return found

    def begin_us(self) -> int | None:
        if self._floating and self.end_us is None and self._start_us <= LAST_US:
            return self._start_us
        return None

    def last_us(self, upto_us: int) -> int | None:
        upto_us = min(upto_us, LAST_US if self.end_us is None else self.end_us)
        past_us = upto_us - self._start_us
        return None if past_us < 0 else upto_us - past_us % self.interval_us

    def count_us(self, after_us: int, upto_us: int) -> int:
        upto_us = min(upto_us, LAST_US if self.end_us is None else self.end_us)
        before = max((after_us - self._start_us) // self.interval_us, -1)
        upto = max((upto_us - self._start_us) // self.interval_us, -1)
        return upto - before if upto > before else 0

    def anchored(self, now_us: int) -> Self:
        if not self._floating:
            return self
        start_us = now_us + self.interval_us
        if type(self) is not IntervalTrigger:
            derived = self._blank()
            derived._fill(self.interval_us, self.timezone, start_us, self.end_us, True, self.jitter_us)
            return derived
        # One is made for each job that is added.
        bound: Self = object.__new__(_Unfrozen)  # type: ignore[assignment]
        bound.interval_us = self.interval_us
        bound.timezone = self.timezone
        bound._start_us = start_us
        bound.end_us = self.end_us
        bound._floating = True
        bound.jitter_us = self.jitter_us
        bound.__class__ = IntervalTrigger  # type: ignore[assignment]
        return bound

    def same_rule(self, other: BaseTrigger) -> bool:
        if type(other) is not type(self):
            return False
        return (
            self.interval_us == other.interval_us
            and self.end_us == other.end_us
            and self.jitter_us == other.jitter_us
            and ((self._floating is not False and other._floating is not False) or self._start_us == other._start_us)
            and same_zone(self.timezone, other.timezone)
        )

    def describe(self) -> str:
        text = f"every {_length(self.interval_us)}"
        if not self._floating:
            text += f" from {self.start_date:%Y-%m-%d %H:%M:%S}"
        end = self.end_date
        return text if end is None else f"{text} until {end:%Y-%m-%d %H:%M:%S}"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (
            self.interval_us == other.interval_us
            and self._start_us == other._start_us
            and self.end_us == other.end_us
            and self.jitter_us == other.jitter_us
            and same_zone(self.timezone, other.timezone)
        )

    def __hash__(self) -> int:
        return hash((IntervalTrigger, self.interval_us, self._start_us, self.end_us))

    def __str__(self) -> str:
        return f"interval[{self.interval}]"

    def __repr__(self) -> str:
        parts = [f"{unit}={amount}" for unit, amount in _parts(self.interval_us)]
        parts.append(f"start_date={self.start_date.isoformat()!r}")
        if self.end_date is not None:
            parts.append(f"end_date={self.end_date.isoformat()!r}")
        parts.append(f"timezone={zone_state(self.timezone)!r}")
        if self.jitter_us:
            parts.append(f"jitter={self.jitter!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "timezone": zone_state(self.timezone),
            "interval_us": self.interval_us,
            "start_us": self._start_us,
            "end_us": self.end_us,
            "jitter_us": self.jitter_us,
            "floating": self._floating,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        try:
            if state.get("version") in _old_states.OLD_VERSIONS:
                self._set_old_state(state)
                return
            check_version(state, _STATE_VERSION, "an interval trigger")
            interval_us = number_in(state, "interval_us", 1, LAST_US - FIRST_US)
            self._fill(
                _shared.get(interval_us, interval_us),
                to_zone(state["timezone"]),
                # One that was left out is an interval from now, which may be later than any fire time.
                number_in(state, "start_us", FIRST_US, 2 * LAST_US),
                bound_in(state),
                None if state["floating"] is None else bool(state["floating"]),
                jitter_in(state),
            )
        except KeyError as error:
            raise ValueError(f"the state of an interval trigger lacks {error}") from None

    def _set_old_state(self, state: dict[str, Any]) -> None:
        interval_us = _old_states.interval_us(state)
        old = _old_states.common(state)
        if old.start_us is None:
            raise ValueError("the state of an interval trigger has no start_date")
        interval_us = _shared.get(interval_us, interval_us)
        self._fill(interval_us, old.zone, old.start_us, old.end_us, None, old.jitter_us)


class _Unfrozen(IntervalTrigger):
    """One in the making: its attributes are set as any object's, in a fifth of the time, and then it is frozen by its class."""

    __slots__ = ()
    __setattr__ = object.__setattr__  # type: ignore[assignment]
    __delattr__ = object.__delattr__  # type: ignore[assignment]  # Python has one place for both


# Frozen, yet cheap to make: the slots' own setters go past __setattr__ at half the cost of that of object.
_set_interval = IntervalTrigger.__dict__["interval_us"].__set__
_set_zone = IntervalTrigger.__dict__["timezone"].__set__
_set_start = IntervalTrigger.__dict__["_start_us"].__set__
_set_end = IntervalTrigger.__dict__["end_us"].__set__
_set_floating = IntervalTrigger.__dict__["_floating"].__set__
_set_jitter = IntervalTrigger.__dict__["jitter_us"].__set__


def _remembered(answer: datetime, zone: tzinfo, interval_us: int) -> _Answer:
    from schedcore.triggers.cron._dst import BLOCK_S, offsets_for

    at_us = from_datetime(answer)
    block = at_us // 1_000_000 // BLOCK_S
    # In a block that has one offset no clock changes, nor on the day after it.
    still_until_us = (block + 1) * BLOCK_S * 1_000_000 if isinstance(offsets_for(zone)[block], int) else at_us
    return answer, at_us, zone, still_until_us, interval_us, timedelta(microseconds=interval_us)


def _interval(total: float, weeks: object, days: object, hours: object, minutes: object, seconds: object) -> int:
    """The sum in microseconds, checked, and remembered for the next trigger that has it."""
    whole = isinstance(total, int) and 0 < total < 300_000_000_000
    interval_us = int(total) * 1_000_000 if whole else _sum(weeks, days, hours, minutes, seconds)
    # setdefault, not a lookup: two threads must not both think theirs is the shared one.
    if interval_us in _shared or len(_shared) < _SHARED_LIMIT:
        interval_us = _shared.setdefault(interval_us, interval_us)
        if whole:
            _of_seconds[int(total)] = interval_us
    return interval_us


def _sum(weeks: object, days: object, hours: object, minutes: object, seconds: object) -> int:
    """The sum in microseconds of whatever was given. Raises ``InvalidTriggerError``."""
    interval_us = 0
    for (name, unit_us), value in zip(_UNIT_US.items(), (weeks, days, hours, minutes, seconds), strict=True):
        try:
            interval_us += round((value + 0) * unit_us)  # type: ignore[operator]  # a list and a text can be multiplied, too
        except (TypeError, ValueError, OverflowError):
            raise InvalidTriggerError(
                f"{name}: {value!r} is not a finite number; give one such as 5 or 0.5", field=name
            ) from None
    if interval_us <= 0:
        raise InvalidTriggerError(
            f"the interval is {interval_us / 1e6:g} seconds; weeks, days, hours, minutes and seconds must add up "
            f"to more than zero",
            field="seconds",
        )
    if interval_us > LAST_US - FIRST_US:
        raise InvalidTriggerError("the interval is longer than 9,990 years", field="seconds")
    return interval_us


def _parts(interval_us: int) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    for unit, unit_us in _UNIT_US.items():
        if unit == "weeks":
            continue
        if unit == "seconds":
            whole, fraction = divmod(interval_us, unit_us)
            amount = f"{whole}.{fraction:06}".rstrip("0") if fraction else str(whole)
        else:
            whole, interval_us = divmod(interval_us, unit_us)
            amount = str(whole)
        if amount != "0":
            parts.append((unit, amount))
    return parts


def _length(interval_us: int) -> str:
    """A length in words: ``5 minutes``, ``day``, ``1 hour 30 minutes``."""
    parts = _parts(interval_us)
    if len(parts) == 1 and parts[0][1] == "1":
        return parts[0][0].removesuffix("s")
    return " ".join(f"{amount} {unit.removesuffix('s') if amount == '1' else unit}" for unit, amount in parts)

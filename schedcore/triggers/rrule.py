"""Recurrence rules of iCalendar (RFC 5545): ``rrule``, by python-dateutil (extra ``rrule``).

A rule speaks of the wall clock of the trigger's zone: its local times are found by dateutil, and turned into instants
here. A local time that clocks show twice happens the first time. One that does not exist is left out, which is what the
RFC asks for ("such recurrence instances MUST be ignored"), unless ``dst="cron"`` asks for a run at the end of the jump.

The text may be a rule alone (``FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17``) or the lines of an event: ``DTSTART``, ``RRULE``, ``RDATE``,
``EXDATE``, ``EXRULE``, with ``TZID`` or ``Z``. As in dateutil, ``DTSTART`` is a fire time only when the rule names it.

Theory of operation. The text is read, and turned into local time, by ``_rrule_text``; the instances of one rule are found by
``_rrule_instances``, and those of all lines together by ``_rrule_event``. Here they become instants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from itertools import islice
from time import time_ns
from typing import Any, Literal, Never, Self

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError, did_you_mean
from schedcore.triggers._boxes import Box
from schedcore.triggers._effort import EFFORT
from schedcore.triggers._local import DAY_S, clock, gaps, is_fixed, offset_at, overlaps, wall_instant
from schedcore.triggers._rrule_event import Rules
from schedcore.triggers._rrule_text import EPOCH, as_text, aware_start, split, to_s
from schedcore.triggers._stored import bound_in, check_version, is_other_release, jitter_in, zone_stamp
from schedcore.triggers._where import WallRule
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone, to_instant, to_jitter, to_zone, zone_state
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger, Frozen, Swallowed, unknown_option
from schedcore.triggers.cron._changes import ClockChange, jumped_over, shown_twice
from schedcore.triggers.cron._dst import Offsets, is_still, offsets_for

__all__ = ["RRuleTrigger"]

# Fire times of one backlog that are walked; beyond that its count is a lower bound.
_MAX_WALK = 1000
# Times of a day that are named where another one was asked about.
_TIMES_SHOWN = 3
# Gaps of one span that are looked into.
_MAX_GAPS = 20
_STATE_VERSION = 3  # as that of the other triggers
_SECOND_US = 1_000_000
_DST = ("skip", "cron")


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
    _rules: Rules
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
        **others: Never,
    ) -> None:
        if others:
            raise unknown_option(type(self), others)
        lines = split(as_text(rule))
        stated = next((line for line in lines if line.name == "DTSTART"), None)
        if dtstart is None:
            dtstart = aware_start(rule)  # its text has the wall time alone
        if timezone is None:
            if isinstance(dtstart, datetime) and dtstart.tzinfo is not None:
                timezone = dtstart.tzinfo
            elif dtstart is None and stated is not None:
                timezone = stated.zone()
        zone = to_zone(timezone)
        offsets = offsets_for(zone)
        floating = False
        if dtstart is not None:
            start_s = _local(offsets, to_instant(dtstart, zone, "dtstart"))
        elif stated is not None:
            start_s = to_s(stated.moments(zone)[0])
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

    @staticmethod
    def names_zone(arguments: Mapping[str, Any]) -> bool:
        """Whether the rule of some arguments says itself which zone it is of, so that a scheduler's own is not to be added."""
        rule = arguments.get("rule")
        if arguments.get("dtstart") is not None:
            return False
        if aware_start(rule) is not None:
            return True
        try:
            return any(line.name == "DTSTART" and line.zone() is not None for line in split(as_text(rule)))
        except InvalidTriggerError:  # which the constructor says
            return False

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
        put(self, "_rules", Rules(lines, EPOCH + timedelta(seconds=start_s)))
        put(self, "timezone", zone)
        put(self, "_offsets", offsets_for(zone))
        put(self, "end_us", end_us)
        put(self, "jitter_us", jitter_us)
        put(self, "dst", dst)
        put(self, "zone_data_changed", False)

    @property
    def dtstart(self) -> datetime:
        """The start that intervals are counted from: naive, on the wall clock of the trigger's zone."""
        return EPOCH + timedelta(seconds=self._start_s)

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

    def _wall_rules(self) -> Sequence[WallRule]:
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
        if not self.omits:
            return []
        return [Swallowed(at_us, len(times)) for at_us, times in self._jumped_over(after_us, upto_us) if times]

    def changes(self, after_us: int, upto_us: int, limit: int = 100) -> list[ClockChange]:
        """The times that do not come as they are written, because the clocks jump over them, or show them twice: the first
        ``limit`` of those in (``after_us``, ``upto_us``], by the instant of the jump, or of the second time. Of a span that is
        too long the first part.
        """
        found: list[ClockChange] = []
        for at_us, times in self._jumped_over(after_us, upto_us):
            found += [jumped_over(local_s, at_us, self.timezone, self.dst) for local_s in times]
        found += self._shown_twice(after_us, upto_us)
        return sorted(found, key=lambda change: change.at)[:limit]

    def _shown_twice(self, after_us: int, upto_us: int) -> Iterator[ClockChange]:
        """The local times of the rule that come twice, by the second time."""
        limit_us = LAST_US if self.end_us is None else min(self.end_us, LAST_US)
        from_s, upto_s = max(after_us, FIRST_US) // _SECOND_US, min(upto_us, limit_us) // _SECOND_US
        if upto_s <= from_s or is_still(self._offsets, from_s - DAY_S, upto_s):
            return
        for cut_s, old, new in overlaps(self._offsets, from_s - DAY_S, upto_s + 1)[:_MAX_GAPS]:
            for local_s in self._times(max(cut_s + new, from_s + new), min(cut_s + old, upto_s + new + 1)):
                if after_us < (local_s - new) * _SECOND_US:
                    yield shown_twice(local_s, (cut_s, old, new), self.timezone)

    def _times(self, from_s: int, until_s: int) -> Iterator[int]:
        """The first of the local times of the rule in a span."""
        local_s = self._rules.after(from_s - 1)
        for _ in range(_MAX_WALK):
            if local_s is None or local_s >= until_s:
                return
            yield local_s
            local_s = self._rules.after(local_s)

    def _jumped_over(self, after_us: int, upto_us: int) -> Iterator[tuple[int, list[int]]]:
        """The instants at which the clocks jump, and the local times of the rule that they jump over."""
        limit_us = LAST_US if self.end_us is None else min(self.end_us, LAST_US)
        from_s, upto_s = max(after_us, FIRST_US) // _SECOND_US, min(upto_us, limit_us) // _SECOND_US
        if upto_s <= from_s or is_still(self._offsets, from_s, upto_s):
            return
        for low_s, high_s in gaps(self._offsets, from_s, upto_s + 1)[:_MAX_GAPS]:
            at_s = wall_instant(self._offsets, low_s, "cron")
            assert at_s is not None
            if after_us < at_s * _SECOND_US:
                yield at_s * _SECOND_US, list(self._times(low_s, high_s))

    def why_not(self, at_us: int) -> list[str]:
        """The reasons for which it does not fire at an instant; none where only a change of the clocks is one."""
        from schedcore.triggers.explain import shown

        found = []
        local_s = _local(self._offsets, at_us)
        if local_s < self._start_s:
            found.append(f"it is before the start, {self.dtstart}")
        if self.end_us is not None and at_us > self.end_us:
            found.append(f"it is after the end, {shown(to_datetime(self.end_us).astimezone(self.timezone))}")
        if at_us % _SECOND_US:
            found.append("a rule fires at whole seconds")
        if not found and next(self._times(local_s, local_s + 1), None) is None:
            midnight_s = local_s // DAY_S * DAY_S
            day = (EPOCH + timedelta(seconds=midnight_s)).date()
            times = list(islice(self._times(midnight_s, midnight_s + DAY_S), _TIMES_SHOWN + 1))
            names = ", ".join(clock(time_s - midnight_s) for time_s in times[:_TIMES_SHOWN])
            more = " and others" if len(times) > _TIMES_SHOWN else ""
            found.append(f"the rule names {names or 'no time'}{more} on {day}")
        return found

    # -- being a value -------------------------------------------------------------------------------------------------

    def anchored(self, now_us: int) -> Self:
        if not self._floating:
            return self
        bound = self._blank()
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
                to_s(datetime.fromisoformat(state["dtstart"])),
                bool(state["floating"]),
                to_zone(state["timezone"]),
                bound_in(state),
                jitter_in(state),
                state["dst"],
            )
            object.__setattr__(self, "zone_data_changed", is_other_release(state, self.timezone))
        except KeyError as error:
            raise ValueError(f"the state of a rrule trigger lacks {error}") from None


def _local(offsets: Offsets, at_us: int) -> int:
    at_s = min(max(at_us, FIRST_US), LAST_US) // _SECOND_US
    return at_s + offset_at(offsets, at_s)[2]

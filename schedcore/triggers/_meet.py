"""When several triggers fire at the same instant: the search behind ``and``.

Theory of operation. The search leaps: each child is asked for its first fire time from a candidate on, the latest answer is
the next candidate, and when all answer the candidate itself it is a meeting. Three things make it short, and let it say
"never" because that is so and not because it gave up:

* **What merges is merged.** Cron rules of one zone become one rule, with the days, hours, minutes and seconds that all of
  them have; intervals become one interval (Chinese remainders, exact to the microsecond). What is left of ``minute=0`` and
  ``minute=30``, or of two intervals that are out of step, is nothing.
* **Traces.** Of every trigger it is known, without asking, that it fires at most at the points of some lattice
  ``offset + k * period`` and in some minutes of the UTC day, whatever its zone's clocks do. Lattices and minutes that have
  nothing in common prove "never"; what they have in common is where the search lands.
* **The calendar repeats** after 400 years. Where all children go by it, a meeting that has not come until then never comes.

Cron rules of one zone meet by their local times: both must name the time that the wall clock shows. Rules that run after a gap
what the gap swallowed (see ``dst``) do not meet because two different times were swallowed together.

A search that can neither find nor prove ends after ``MAX_LEAPS`` and raises: the job is then set aside with that reason,
rather than dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from functools import lru_cache, reduce
from math import gcd
from typing import NamedTuple

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._local import DAY_S, gaps, is_fixed
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone
from schedcore.triggers.base import EngineTrigger, GridTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.cron._dst import offsets_for
from schedcore.triggers.cron._search import Plan
from schedcore.triggers.cron._trigger import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

__all__ = ["ANY_MINUTE", "MAX_LEAPS", "Meeting", "Trace", "join", "trace_of"]

# Leaps of one search. Each asks one trigger, at some 2 us; the worst search thus takes half a second. They suffice for two
# weekdays that never fall together, over the 400 years after which the calendar repeats.
MAX_LEAPS = 150_000

_SECOND_US = 1_000_000
_MINUTE_US = 60_000_000
_DAY_US = DAY_S * _SECOND_US
#: All minutes of the day, as bits.
ANY_MINUTE = (1 << 1440) - 1
# The offsets of a zone are looked up in these years; the rules of the tz database do not change after them.
_KNOWN_FROM_S, _KNOWN_UNTIL_S = 0, 4_102_444_800  # 1970 to 2100
# From here on, 400 years and a few days later everything that follows the calendar has come round.
_CYCLE_US = (146_097 + 8) * _DAY_US


class Trace(NamedTuple):
    """Where a trigger can fire at most: at ``offset_us + k * period_us``, in these minutes of the UTC day, and from 1970 on."""

    period_us: int = 1
    offset_us: int = 0
    minutes: int = ANY_MINUTE
    #: Whether what it does repeats with the calendar after 400 years.
    periodic: bool = False

    def shared(self, other: Trace) -> Trace | None:
        """Where both can fire; None when there is no such instant."""
        step = gcd(self.period_us, other.period_us)
        apart = other.offset_us - self.offset_us
        minutes = self.minutes & other.minutes
        if apart % step or not minutes:
            return None
        ratio = other.period_us // step
        times = apart // step * pow(self.period_us // step, -1, ratio) % ratio if ratio > 1 else 0
        period = self.period_us * ratio
        shared = Trace(
            period, (self.offset_us + self.period_us * times) % period, minutes, self.periodic and other.periodic
        )
        return shared._replace(minutes=minutes & _minutes_of(period, shared.offset_us)) if period > 1 else shared

    def joined(self, other: Trace) -> Trace:
        """Where one of both can fire."""
        step = gcd(self.period_us, other.period_us, self.offset_us - other.offset_us)
        return Trace(step, self.offset_us % step, self.minutes | other.minutes, self.periodic and other.periodic)

    def at_or_after(self, at_us: int) -> int | None:
        """The first instant of the trace that is not before ``at_us``, or a later one that is; None: there is none."""
        period_us, offset_us, minutes, _ = self
        if not minutes:
            return None
        while True:
            at_us += (offset_us - at_us) % period_us
            day, rest_us = divmod(at_us, _DAY_US)
            later = minutes >> rest_us // _MINUTE_US
            if later & 1:
                return at_us
            if later:
                minute = rest_us // _MINUTE_US + (later & -later).bit_length() - 1
            else:
                day, minute = day + 1, (minutes & -minutes).bit_length() - 1
            if at_us > LAST_US:
                return None
            at_us = day * _DAY_US + minute * _MINUTE_US


def _minutes_of(period_us: int, offset_us: int) -> int:
    """The minutes of the day that hold points of a lattice."""
    step = gcd(period_us, _DAY_US)
    if step <= _MINUTE_US:
        return ANY_MINUTE
    first = offset_us % step
    return reduce(lambda mask, at_us: mask | 1 << at_us // _MINUTE_US, range(first, _DAY_US, step), 0)


class _Clocks(NamedTuple):
    """What the clocks of a zone do: its offsets, and its gaps as (first local second, end, instant of the jump)."""

    offsets: tuple[int, ...]
    gaps: tuple[tuple[int, int, int], ...]


@lru_cache(maxsize=64)
def _clocks(zone: tzinfo) -> _Clocks | None:
    """None when nothing can be known of a zone's future."""
    table = offsets_for(zone)
    if not table.periodic:
        return None
    if is_fixed(zone):
        offset = zone.utcoffset(None)
        assert offset is not None
        return _Clocks((offset.days * DAY_S + offset.seconds,), ())
    pieces = list(table.spans(_KNOWN_FROM_S, _KNOWN_UNTIL_S))
    starts = {start_s + offset: start_s for start_s, _, offset in pieces}
    jumps = tuple((low_s, high_s, starts[high_s]) for low_s, high_s in gaps(table, _KNOWN_FROM_S, _KNOWN_UNTIL_S))
    return _Clocks(tuple({offset for _, _, offset in pieces}), jumps)


def _local_trace(zone: tzinfo, minutes: int, seconds: int, moved: bool, shifted: bool, periodic: bool) -> Trace:
    """The trace of a rule that names minutes of the local day (1,440 bits) and seconds of the minute (60 bits)."""
    clocks = _clocks(zone)
    if clocks is None or not minutes or not seconds:
        return Trace(_SECOND_US)
    first = 60 * _lowest(minutes) + _lowest(seconds)
    step = DAY_S
    for minute in range(1440):
        if minutes >> minute & 1:
            step = gcd(step, 60 * minute + _lowest(seconds) - first)
    for second in range(60):
        if seconds >> second & 1:
            step = gcd(step, second - _lowest(seconds))
    point = first - clocks.offsets[0]
    mask = 0
    for offset in clocks.offsets:
        step = gcd(step, offset - clocks.offsets[0])
        whole, rest = divmod(-offset, 60)
        mask |= _turned(minutes, whole) | (_turned(minutes, whole + 1) if rest else 0)
    for low_s, high_s, at_s in clocks.gaps if moved or shifted else ():
        width = min(-(-(high_s - low_s) // 60) + 1, 1440)
        swallowed = _turned(minutes, -(low_s // 60)) & (1 << width) - 1
        if swallowed and moved:
            step = gcd(step, at_s - point)
            mask |= 1 << at_s % DAY_S // 60
        # Shifted by the width of the gap: read with the offset before it, which is one of the offsets.
    return Trace(step * _SECOND_US, point % step * _SECOND_US, mask, periodic)


def _turned(minutes: int, by: int) -> int:
    """The minutes of the day, later by so many minutes."""
    by %= 1440
    return (minutes << by | minutes >> 1440 - by) & ANY_MINUTE


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def trace_of(trigger: EngineTrigger) -> Trace | None:
    """Where a trigger can fire at most; None: never."""
    own = getattr(trigger, "_trace", None)
    if own is not None:
        found: Trace | None = own()
        return found
    if type(trigger) is IntervalTrigger:
        period_us = trigger.interval_us
        periodic = 146_097 * _DAY_US % period_us == 0
        return Trace(period_us, trigger._start_us % period_us, _minutes_of(period_us, trigger._start_us), periodic)
    if type(trigger) is CronTrigger:
        if not _is_plain(trigger._plan):
            return Trace(_SECOND_US)
        plan = trigger._plan
        return _local_trace(trigger.timezone, plan._minutes, plan._seconds, trigger._once, False, True)
    if type(trigger) is CalendarIntervalTrigger:
        time_s = trigger._time_s
        comes_round = (trigger._months and not trigger._days and 4800 % trigger._months == 0) or (
            not trigger._months and 146_097 % trigger._days == 0
        )
        dst = trigger.dst
        return _local_trace(
            trigger.timezone, 1 << time_s // 60, 1 << time_s % 60, dst == "cron", dst == "shift", bool(comes_round)
        )
    if type(trigger) is DateTrigger:
        return Trace(1, 0, 1 << trigger.run_us % _DAY_US // _MINUTE_US, True)
    return Trace()


def _is_plain(plan: Plan) -> bool:
    return type(plan) is Plan or type(plan) is _JointPlan


class _JointPlan(Plan):
    """The plan of the times that several plans have in common."""

    __slots__ = ("_plans",)

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = plans
        super().__init__(plans[0].rule)
        self._minutes = reduce(lambda mask, plan: mask & plan._minutes, plans, ANY_MINUTE)
        self._seconds = reduce(lambda mask, plan: mask & plan._seconds, plans, (1 << 60) - 1)
        self._low_second = _lowest(self._seconds)
        self._first_s = 60 * _lowest(self._minutes) + self._low_second
        self._last_s = 60 * (self._minutes.bit_length() - 1) + self._seconds.bit_length() - 1
        self._per_day = self._minutes.bit_count() * self._seconds.bit_count()
        named = [set(plan._years) for plan in plans if plan._years is not None]
        if named:
            years = set.intersection(*named)
            self._years = sorted(year for year in years if self._days_of(year, _first_day(year)))
        self._later = {}
        self._year = self._enter(1970)

    def _days_of(self, year: int, first_day: int) -> int:
        return reduce(lambda mask, plan: mask & plan._days_of(year, first_day), self._plans, (1 << 366) - 1)


def _first_day(year: int) -> int:
    from schedcore.triggers._local import day_number

    return day_number(year, 1, 1)


def _merge_cron(triggers: Sequence[CronTrigger], once: bool) -> CronTrigger | None:
    """One trigger for the times that rules of one zone have in common; None when they have none."""
    first = triggers[0]
    plan: Plan = first._plan
    if len(triggers) > 1:
        plan = _JointPlan([trigger._plan for trigger in triggers])
        if not plan._minutes or not plan._seconds or plan.at_or_after(-1_000_000_000) is None:
            return None
    merged = object.__new__(CronTrigger)
    put = object.__setattr__
    put(merged, "_plan", plan)
    put(merged, "_once", once)
    put(merged, "_offsets", first._offsets)
    put(merged, "timezone", first.timezone)
    put(merged, "_from_us", max(trigger._from_us for trigger in triggers))
    put(merged, "_upto_us", min(trigger._upto_us for trigger in triggers))
    put(merged, "end_us", None)
    return merged


def _merge_intervals(triggers: Sequence[IntervalTrigger]) -> IntervalTrigger | None:
    """One interval for the instants that several have in common; None when they have none."""
    trace: Trace | None = Trace()
    for trigger in triggers:
        period_us = trigger.interval_us
        trace = trace and trace.shared(Trace(period_us, trigger._start_us % period_us))
    if trace is None:
        return None
    start_us = max(trigger._start_us for trigger in triggers)
    start_us += (trace.offset_us - start_us) % trace.period_us
    end_us = min((trigger.end_us for trigger in triggers if trigger.end_us is not None), default=None)
    merged = object.__new__(IntervalTrigger)
    state = {"timezone": "UTC", "start_us": start_us, "end_us": end_us, "jitter_us": 0, "floating": False}
    merged.__setstate__(state | {"version": 3, "interval_us": trace.period_us})
    return merged


class Meeting:
    """The search for the instants at which all of several triggers fire. Immutable, and safe to share between threads.

    With a tolerance it is the fire times of the first trigger from which each other one has a fire time no farther away.
    """

    __slots__ = ("_names", "_never", "_parts", "_tolerance_us", "_trace", "exact")

    #: The one trigger that fires when all do, where there is such a one: it answers in closed form.
    exact: GridTrigger | None

    def __init__(self, triggers: Sequence[EngineTrigger], tolerance_us: int = 0) -> None:
        self._tolerance_us = tolerance_us
        self._names = ", ".join(map(str, triggers))
        self._never = False
        self.exact = None
        traces = [trace_of(trigger) for trigger in triggers]
        self._trace: Trace | None = None
        if tolerance_us:
            self._parts = tuple(triggers)
            self._never = any(
                trace is None or traces[0] is None or _apart_us(traces[0], trace) > tolerance_us for trace in traces
            )
            return
        parts = _merged(triggers)
        self._never = parts is None
        self._parts = tuple(parts or ())
        for part in self._parts:
            trace = trace_of(part)
            self._trace = trace if self._trace is None or trace is None else self._trace.shared(trace)
            if self._trace is None:
                self._never = True
                break
        if len(self._parts) == 1 and isinstance(self._parts[0], GridTrigger):
            self.exact = self._parts[0]

    def trace(self) -> Trace | None:
        """Where they can meet at most; None: nowhere."""
        if self._never:
            return None
        return self._trace if not self._tolerance_us else trace_of(self._parts[0])

    def next_us(self, after_us: int, budget: list[int] | None = None) -> int | None:
        """The first meeting later than ``after_us``, or None when there is none.

        ``budget``: leaps that are left, counted down in place. Raises ``InvalidTriggerError`` when they are used up.
        """
        if self._never:
            return None
        budget = [MAX_LEAPS] if budget is None else budget
        after_us = max(after_us, FIRST_US - 1)
        if self._tolerance_us:
            return self._next_near(after_us, budget)
        trace = self._trace if after_us >= 0 else None
        limit_us = LAST_US
        if trace is not None and trace.periodic:
            limit_us = max(after_us, _KNOWN_UNTIL_S * _SECOND_US) + _CYCLE_US
        at_us: int | None = after_us + 1
        while True:
            if trace is not None and at_us is not None:
                at_us = trace.at_or_after(at_us)
            for part in self._parts:
                if at_us is None or at_us > LAST_US:
                    return None
                answer_us = part.next_us(at_us - 1)
                budget[0] -= 1
                if answer_us != at_us:
                    at_us = answer_us
                    break
            else:
                return at_us
            if at_us is None or (at_us > limit_us and self._begun(at_us)):
                return None
            if budget[0] <= 0:
                raise self._lost(after_us, at_us)

    def _begun(self, at_us: int) -> bool:
        """Whether a cycle of the calendar has passed since all parts began."""
        return all((part.next_us(FIRST_US - 1) or 0) + _CYCLE_US < at_us for part in self._parts)

    def _next_near(self, after_us: int, budget: list[int]) -> int | None:
        first, *others = self._parts
        near_us = self._tolerance_us
        at_us = first.next_us(after_us)
        while at_us is not None:
            for other in others:
                answer_us = other.next_us(at_us - near_us - 1)
                budget[0] -= 1
                if answer_us is None:
                    return None
                if answer_us > at_us + near_us:
                    if budget[0] <= 0:
                        raise self._lost(after_us, at_us)
                    at_us = first.next_us(answer_us - near_us - 1)
                    break
            else:
                return at_us
        return None

    def last_us(self, upto_us: int, floor_us: int) -> int | None:
        """The last meeting in (``floor_us``, ``upto_us``], or None when there is none.

        Raises ``LookupError`` when it cannot be found: a part cannot be asked backwards, or the search is too long.
        """
        grids = [part for part in self._parts if hasattr(part, "last_us")]
        if len(grids) < len(self._parts):
            raise LookupError
        if self._never:
            return None
        near_us = self._tolerance_us
        first, *others = grids
        at_us: int | None = first.last_us(upto_us)
        for _ in range(MAX_LEAPS):
            if at_us is None or at_us <= floor_us:
                return None
            for other in others:
                answer_us = other.last_us(at_us + near_us)
                if answer_us is None or answer_us < at_us - near_us:
                    back_us = floor_us if answer_us is None else answer_us + near_us
                    at_us = first.last_us(back_us)
                    break
            else:
                return at_us
        raise LookupError

    def _lost(self, after_us: int, at_us: int) -> InvalidTriggerError:
        return InvalidTriggerError(
            f"these triggers did not meet between {_shown(after_us)} and {_shown(at_us)}, where the search ended: {self._names}; "
            f"give them a start in common, or a tolerance",
            field="triggers",
        )


def _apart_us(one: Trace, other: Trace) -> int:
    """The least distance between two lattices."""
    step = gcd(one.period_us, other.period_us)
    rest = (one.offset_us - other.offset_us) % step
    return min(rest, step - rest)


def _merged(triggers: Sequence[EngineTrigger]) -> list[EngineTrigger] | None:
    """Fewer triggers that meet when these do; None: they never do."""
    intervals = [trigger for trigger in triggers if type(trigger) is IntervalTrigger]
    crons = [trigger for trigger in triggers if type(trigger) is CronTrigger and _is_plain(trigger._plan)]
    merged: list[EngineTrigger] = [
        trigger for trigger in triggers if not any(trigger is each for each in (*intervals, *crons))
    ]
    if intervals:
        interval = _merge_intervals(intervals)
        if interval is None:
            return None
        merged.append(interval)
    while crons:
        zone = crons[0].timezone
        here = [trigger for trigger in crons if same_zone(trigger.timezone, zone)]
        crons = [trigger for trigger in crons if not same_zone(trigger.timezone, zone)]
        literal = [trigger for trigger in here if not trigger._once]
        joint = _merge_cron(here, len(literal) < len(here))
        if joint is None:
            return None
        merged.append(joint)
        if literal and len(literal) < len(here):
            # The joint rule runs after a gap what the gap swallowed; those that follow real time have no run there.
            strict = _merge_cron(literal, False)
            assert strict is not None
            merged.append(strict)
    return merged


def _shown(at_us: int) -> str:
    return to_datetime(min(max(at_us, FIRST_US), LAST_US)).strftime("%Y-%m-%d %H:%M:%SZ")


def join(traces: Iterable[Trace | None]) -> Trace | None:
    """Where any of several triggers can fire."""
    known = [trace for trace in traces if trace is not None]
    return reduce(Trace.joined, known) if known else None

"""Triggers made of triggers: ``and`` fires when all of them do, ``or`` when any of them does.

Both are defined on sets of instants. Each child has its own fire times, which do not depend on those of the others nor on
when anybody asked: ``or`` is their union (an instant that several children name is one fire time), ``and`` is what they
have in common. Combinations may be nested, and children may be triggers of any kind.

``and`` asks for the very same instant. Two rules that come about at the same time, but not at the same microsecond, need a
``tolerance``; to have a rule hold within a window ("every 2 minutes from 7:00 to 22:00") exclude the time outside of the
window with a calendar (``schedcore.triggers.calendars``). Children that can never meet are told from those that
have not met yet wherever that can be known (``schedcore.triggers._meet``).

Counts are exact for ``or`` of any six triggers that answer in closed form, and for ``and`` of cron rules in one zone and of
intervals. A backlog of another combination is walked for ``MAX_STEPS`` fire times; beyond that its count is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import tzinfo
from itertools import combinations
from math import prod
from time import time_ns
from typing import Any, Never, Self

from schedcore.errors import InvalidTriggerError
from schedcore.triggers._boxes import KNOWN_US, Box, either
from schedcore.triggers._meet import MAX_LEAPS, Meeting, last_of, meeting_of
from schedcore.triggers._old_states import OLD_VERSIONS
from schedcore.triggers._stored import check_version, jitter_in, number_in
from schedcore.triggers._values import pack_trigger, to_triggers, unpack_trigger
from schedcore.triggers._where import boxes_of
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone, to_jitter, to_zone, zone_state
from schedcore.triggers.base import (
    Backlog,
    BaseTrigger,
    EngineTrigger,
    Excluded,
    Frozen,
    GridTrigger,
    Swallowed,
    unknown_option,
)
from schedcore.triggers.foreign import MAX_STEPS, ForeignTrigger
from schedcore.triggers.jitter import from_jitter_us

__all__ = ["AndTrigger", "BaseCombiningTrigger", "OrTrigger", "bare"]

_STATE_VERSION = 3  # 1 and 2 are those of APScheduler 3.x
# Children of an ``or`` whose union is counted exactly: 2**6 sets are looked at.
_COUNTED = 6


class BaseCombiningTrigger(BaseTrigger):
    """The base of a third party's combination, which has the one method of 3.x. ``isinstance`` takes ``and`` and ``or`` for one.

    :param triggers: the triggers. :param jitter: seconds; what it means is the derived class's own affair.
    :raises InvalidTriggerError: for what is no trigger.
    """

    __slots__ = ("jitter", "triggers")

    triggers: list[BaseTrigger]
    jitter: float | None

    def __init__(self, triggers: Iterable[BaseTrigger], jitter: float | None = None) -> None:
        self._hold(to_triggers(triggers), jitter)

    def _hold(self, children: Iterable[EngineTrigger], jitter: float | None) -> None:
        self.triggers = [_plain(child) for child in children]
        self.jitter = jitter

    def __getstate__(self) -> dict[str, Any]:
        packed = [pack_trigger(child) for child in to_triggers(self.triggers)]
        return {"version": _STATE_VERSION, "triggers": packed, "jitter": self.jitter}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._hold([unpack_trigger(each) for each in state["triggers"]], state.get("jitter"))

    def __repr__(self) -> str:
        jitter = "" if self.jitter is None else f", jitter={self.jitter!r}"
        return f"{type(self).__name__}({self.triggers!r}{jitter})"


@BaseCombiningTrigger.register
class _Combination(Frozen, EngineTrigger):
    """What ``and`` and ``or`` share: children, and being a value."""

    __slots__ = ("_children", "_jitter_us", "_solver", "end_us", "jitter_us", "timezone")

    timezone: tzinfo
    #: Microseconds.
    jitter_us: int
    end_us: int | None
    _children: tuple[EngineTrigger, ...]
    _jitter_us: int | None  # as it was given
    _solver: Any  # what is worked out when the first question comes

    def _fill(self, children: tuple[EngineTrigger, ...], zone: tzinfo, jitter_us: int | None) -> None:
        put = object.__setattr__
        put(self, "_children", children)
        put(self, "timezone", zone)
        put(self, "_jitter_us", jitter_us)
        put(
            self, "jitter_us", max((child.jitter_us for child in children), key=abs) if jitter_us is None else jitter_us
        )
        put(self, "end_us", self._end(child.end_us for child in children))
        put(self, "_solver", None)

    def _end(self, ends: Iterable[int | None]) -> int | None:
        raise NotImplementedError

    def _with(self, children: tuple[EngineTrigger, ...]) -> Self:
        """The same combination of other children; itself when they are the same."""
        if all(new is old for new, old in zip(children, self._children, strict=True)):
            return self
        made = self._blank()
        made._fill(children, self.timezone, self._jitter_us)
        return made

    def _bare(self) -> EngineTrigger:
        """The same of what the children would be if no calendar left anything out."""
        return self._with(tuple(bare(child) for child in self._children))

    @property
    def triggers(self) -> list[BaseTrigger]:
        """The triggers that are combined."""
        return [_plain(child) for child in self._children]

    @property
    def elapsed(self) -> bool:  # type: ignore[override]
        """Whether all that is combined follows elapsed time."""
        return all(child.elapsed for child in self._children)

    @property
    def zone_data_changed(self) -> bool:  # type: ignore[override]
        """Whether that is so of any of the triggers."""
        return any(child.zone_data_changed for child in self._children)

    @property
    def foreign(self) -> bool:  # type: ignore[override]
        """Whether that is so of any of the triggers."""
        return any(child.foreign for child in self._children)

    @property
    def searches(self) -> bool:  # type: ignore[override]
        """Whether that is so of any of the triggers."""
        return any(child.searches for child in self._children)

    @property
    def omits(self) -> bool:  # type: ignore[override]
        """Whether any of the triggers leaves something out."""
        return any(child.omits for child in self._children)

    def anchored(self, now_us: int) -> Self:
        return self._with(tuple(child.anchored(now_us) for child in self._children))

    def seeded(self, job_id: str) -> Self:
        """This combination with what its children pick by the id of their job picked."""
        return self._with(tuple(child.seeded(job_id) for child in self._children))

    def same_rule(self, other: BaseTrigger) -> bool:
        return (
            isinstance(other, _Combination)
            and type(other) is type(self)
            and len(other._children) == len(self._children)
            and all(one.same_rule(two) for one, two in zip(self._children, other._children, strict=True))
            and self._rule() == other._rule()
            and same_zone(self.timezone, other.timezone)
        )

    def _rule(self) -> tuple[object, ...]:
        return (self._jitter_us,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Combination) or type(other) is not type(self):
            return NotImplemented
        return (
            self._children == other._children
            and self._rule() == other._rule()
            and same_zone(self.timezone, other.timezone)
        )

    def __hash__(self) -> int:
        return hash((type(self), self._children))

    def __repr__(self) -> str:
        parts = [repr(list(self._children)), *self._options()]
        if self._jitter_us is not None:
            parts.append(f"jitter={from_jitter_us(self._jitter_us) or 0!r}")
        if not same_zone(self.timezone, self._children[0].timezone):
            parts.append(f"timezone={zone_state(self.timezone)!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _options(self) -> list[str]:
        return []

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "triggers": [pack_trigger(child) for child in self._children],
            "timezone": zone_state(self.timezone),
            "jitter_us": self._jitter_us,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        old = state.get("version") in OLD_VERSIONS
        if not old:
            check_version(state, _STATE_VERSION, f"a {type(self).__name__}")
        try:
            packed = state["triggers"]
            if not isinstance(packed, list) or not packed:
                raise ValueError(f"the state of a {type(self).__name__} has no triggers")
            if old:
                children = tuple(unpack_trigger(each) for each in packed)
                jitter = state.get("jitter")
                self._fill(children, children[0].timezone, None if jitter is None else to_jitter(jitter))
                return
            self._fill(
                tuple(unpack_trigger(each) for each in packed),
                to_zone(state["timezone"]),
                None if state["jitter_us"] is None else jitter_in(state),
            )
        except KeyError as error:
            raise ValueError(f"the state of a {type(self).__name__} lacks {error}") from None


def _plain(child: EngineTrigger) -> BaseTrigger:
    """The trigger that the user gave."""
    return child.inner if isinstance(child, ForeignTrigger) else child


class AndTrigger(_Combination):
    """Fires when all of ``triggers`` fire at the same time.

    :param triggers: the triggers. Starts that they left out are one and the same now.
    :param jitter: seconds; upper bound of the random delay that the scheduler adds to each run. None: the largest of the
        triggers' own.
    :param tolerance: seconds. With more than 0 it fires when the *first* of the triggers does and each of the others has a
        fire time that is no farther away from that.
    :param timezone: the zone in which answers are shown; None: that of the first trigger.
    :raises InvalidTriggerError: for what is no trigger, and a negative tolerance.

    When it can be shown that they never meet, there is no fire time (and ``add_job`` says so). When the search for the next
    one neither finds nor proves anything within its bounds it raises ``InvalidTriggerError``, and the job is set aside.
    """

    __slots__ = ("_tolerance_us",)

    searches = True

    _tolerance_us: int

    def __init__(
        self,
        triggers: Iterable[BaseTrigger],
        jitter: float | None = None,
        *,
        tolerance: float = 0,
        timezone: str | tzinfo | None = None,
        **others: Never,
    ) -> None:
        if others:
            raise unknown_option(type(self), others)
        children = _together(to_triggers(triggers))
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < 1e9:
            raise InvalidTriggerError(
                f"tolerance: {tolerance!r} cannot be used; give seconds, 0 or more", field="tolerance"
            )
        object.__setattr__(self, "_tolerance_us", round(tolerance * 1_000_000))
        zone = children[0].timezone if timezone is None else to_zone(timezone)
        self._fill(children, zone, None if jitter is None else to_jitter(jitter))

    def _with(self, children: tuple[EngineTrigger, ...]) -> Self:
        made = super()._with(children)
        if made is not self:
            object.__setattr__(made, "_tolerance_us", self._tolerance_us)
        return made

    def _end(self, ends: Iterable[int | None]) -> int | None:
        return min((end_us for end_us in ends if end_us is not None), default=None)

    @property
    def tolerance(self) -> float:
        """Seconds by which the fire times of the triggers may differ from those of the first."""
        return self._tolerance_us / 1e6

    def _meeting(self) -> Meeting:
        solver: Meeting | None = self._solver
        if solver is None:
            solver = meeting_of(self._children, self._tolerance_us)
            object.__setattr__(self, "_solver", solver)
        return solver

    def _boxes(self) -> tuple[Box, ...]:
        return self._meeting().boxes()

    def _all_of(self) -> tuple[EngineTrigger, ...] | None:
        return None if self._tolerance_us else self._children

    def _with_first(self, make: Callable[[EngineTrigger], EngineTrigger]) -> EngineTrigger | None:
        """The same with something else made of the first trigger; None where that is merged with others."""
        return self._with((make(self._children[0]), *self._children[1:])) if self._tolerance_us else None

    def next_us(self, after_us: int) -> int | None:
        return self._meeting().next_us(after_us)

    def last_us(self, upto_us: int) -> int | None:
        """The last fire time not later than ``upto_us``."""
        meeting = self._meeting()
        return meeting.exact.last_us(upto_us) if meeting.exact else last_of(meeting.next_us, upto_us)

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        meeting = self._meeting()
        if meeting.exact is not None:
            return meeting.exact.backlog(after_us, upto_us)
        budget = [MAX_LEAPS]
        times, last_us, at_us = 0, None, after_us
        while times < MAX_STEPS and (budget[0] > 0 or not times):
            next_us = meeting.next_us(at_us, budget if times else None)
            if next_us is None or next_us > upto_us:
                return Backlog(times, last_us, next_us)
            times, last_us, at_us = times + 1, next_us, next_us
        try:
            last_us = last_of(lambda from_us: meeting.next_us(from_us, budget), upto_us, at_us) or last_us
        except InvalidTriggerError:
            # What lies beyond is left for the next decision.
            return Backlog(times, last_us, meeting.next_us(at_us))
        return Backlog(times + (last_us != at_us), last_us, meeting.next_us(upto_us))

    @property
    def excludes(self) -> bool:  # type: ignore[override]
        """Whether any of the triggers leaves fire times out."""
        return any(child.excludes for child in self._children)

    def swallowed(self, after_us: int, upto_us: int) -> list[Swallowed]:
        """The times that all have in common and that do not exist, where they are cron rules of one zone."""
        exact = self._meeting().exact
        return [] if exact is None else exact.swallowed(after_us, upto_us)

    def excluded(self, after_us: int, before_us: int) -> Excluded | None:
        """Where all would meet if no calendar left anything out, and do not."""
        if not self.excludes:
            return None
        whole = self._bare()
        at_us = after_us
        own_us = self.next_us(after_us)
        found: list[int] = []
        for _ in range(MAX_STEPS):
            next_us = whole.next_us(at_us)
            if next_us is None or next_us >= before_us:
                break
            at_us = next_us
            if own_us is not None and own_us < at_us:
                own_us = self.next_us(at_us - 1)
            if at_us != own_us:
                found.append(at_us)
        return Excluded(len(found), found[0], found[-1]) if found else None

    def describe(self) -> str:
        words = " and ".join(f"({child.describe()})" for child in self._children)
        return f"when all meet{f' within {self.tolerance:g} seconds' if self._tolerance_us else ''}: {words}"

    def _rule(self) -> tuple[object, ...]:
        return (self._jitter_us, self._tolerance_us)

    def _options(self) -> list[str]:
        return [f"tolerance={self.tolerance!r}"] if self._tolerance_us else []

    def __str__(self) -> str:
        return f"and[{', '.join(map(str, self._children))}]"

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"tolerance_us": self._tolerance_us}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "_tolerance_us", number_in({"tolerance_us": 0, **state}, "tolerance_us", 0, 10**15))
        super().__setstate__(state)


class OrTrigger(_Combination):
    """Fires when any of ``triggers`` does.

    :param triggers: the triggers. Starts that they left out are one and the same now.
    :param jitter: seconds; upper bound of the random delay that the scheduler adds to each run. None: the largest of the
        triggers' own.
    :param timezone: the zone in which answers are shown; None: that of the first trigger.
    :raises InvalidTriggerError: for what is no trigger.
    """

    __slots__ = ("_known",)

    #: Of each child a question and its answer, which holds for all questions in between: most are asked again long before it.
    _known: list[tuple[int, int | None]]

    def __init__(
        self,
        triggers: Iterable[BaseTrigger],
        jitter: float | None = None,
        *,
        timezone: str | tzinfo | None = None,
        **others: Never,
    ) -> None:
        if others:
            raise unknown_option(type(self), others)
        children = _together(to_triggers(triggers))
        zone = children[0].timezone if timezone is None else to_zone(timezone)
        self._fill(children, zone, None if jitter is None else to_jitter(jitter))

    def _fill(self, children: tuple[EngineTrigger, ...], zone: tzinfo, jitter_us: int | None) -> None:
        super()._fill(children, zone, jitter_us)
        object.__setattr__(self, "_known", [(LAST_US + 1, None)] * len(children))

    def _end(self, ends: Iterable[int | None]) -> int | None:
        known = list(ends)
        return max(end_us for end_us in known if end_us is not None) if None not in known else None

    def _boxes(self) -> tuple[Box, ...]:
        return either(boxes_of(child) for child in self._children)

    def _any_of(self) -> tuple[EngineTrigger, ...]:
        return self._children

    def next_us(self, after_us: int) -> int | None:
        known = self._known
        best_us: int | None = None
        for number, child in enumerate(self._children):
            asked_us, answer_us = known[number]
            if after_us < asked_us or (answer_us is not None and answer_us <= after_us):
                answer_us = child.next_us(after_us)
                if not child.foreign:
                    known[number] = after_us, answer_us
            if answer_us is not None and (best_us is None or answer_us < best_us):
                best_us = answer_us
        return best_us

    def first_us(self, at_us: int) -> int | None:
        answer_us = self.next_us(at_us - 1)
        if answer_us is None:
            # Nothing but dates that have passed: the last of them is late, and not never.
            late = (child.first_us(at_us) for child in self._children)
            answer_us = max((late_us for late_us in late if late_us is not None), default=None)
        return answer_us

    def last_us(self, upto_us: int) -> int | None:
        """The last fire time not later than ``upto_us``. Raises ``LookupError`` where that cannot be found."""
        answers = []
        for child in self._children:
            ask: Callable[[int], int | None] | None = getattr(child, "last_us", None)
            if ask is None:
                raise LookupError
            answers.append(ask(upto_us))
        return max((answer_us for answer_us in answers if answer_us is not None), default=None)

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        exact = self._exact(after_us)
        if exact is not None:
            times = sum(sign * grid.count_us(after_us, upto_us) for sign, grid in exact)
            return Backlog(times, self.last_us(upto_us) if times else None, self.next_us(upto_us))
        answers = [child.next_us(after_us) for child in self._children]
        times, last_us = 0, None
        while times < MAX_STEPS:
            next_us = _least(answers)
            if next_us is None or next_us > upto_us:
                return Backlog(times, last_us, next_us)
            times, last_us = times + 1, next_us
            for number, child in enumerate(self._children):
                if answers[number] == next_us:
                    later_us = child.next_us(next_us)
                    if later_us is not None and later_us <= next_us:
                        return Backlog(times, last_us, later_us)
                    answers[number] = later_us
        assert last_us is not None
        backlogs = [child.backlog(last_us, upto_us) for child in self._children]
        times += max(backlog.times for backlog in backlogs)
        last_us = max(last_us, *(backlog.last_us or last_us for backlog in backlogs))
        next_us = self.next_us(upto_us)
        if next_us is None or next_us <= last_us:
            next_us = self.next_us(last_us)
        return Backlog(times, last_us, next_us)

    @property
    def excludes(self) -> bool:  # type: ignore[override]
        """Whether any of the triggers leaves fire times out."""
        return any(child.excludes for child in self._children)

    def swallowed(self, after_us: int, upto_us: int) -> list[Swallowed]:
        return [each for child in self._children if child.omits for each in child.swallowed(after_us, upto_us)]

    def excluded(self, after_us: int, before_us: int) -> Excluded | None:
        found = [child.excluded(after_us, before_us) for child in self._children if child.excludes]
        known = [each for each in found if each is not None]
        if not known:
            return None
        return Excluded(
            sum(each.times for each in known),
            min(each.first_us for each in known),
            max(each.last_us for each in known),
        )

    def _exact(self, after_us: int) -> tuple[tuple[int, GridTrigger], ...] | None:
        """Grids whose counts, each with its sign, add up to that of the union from an instant on; None: there are none such."""
        solver: tuple[int, tuple[tuple[int, GridTrigger], ...]] | None = self._solver
        if solver is None:
            solver = _signed(self._children)
            object.__setattr__(self, "_solver", solver)
        known_us, grids = solver
        return grids if grids and after_us >= known_us else None

    def describe(self) -> str:
        return " and also ".join(child.describe() for child in self._children)

    def __str__(self) -> str:
        return f"or[{', '.join(map(str, self._children))}]"


def _signed(children: tuple[EngineTrigger, ...]) -> tuple[int, tuple[tuple[int, GridTrigger], ...]]:
    """Inclusion and exclusion, where every set of the children meets in a grid or never: from when on that is known, and the
    grids; none, where it is not.
    """
    if len(children) > _COUNTED or not all(isinstance(child, GridTrigger) for child in children):
        return FIRST_US, ()
    known_us = FIRST_US - 1
    found: list[tuple[int, GridTrigger]] = [(1, child) for child in children if isinstance(child, GridTrigger)]
    for size in range(2, len(children) + 1):
        for some in combinations(children, size):
            meeting = meeting_of(some)
            if meeting.exact is not None:
                found.append((prod([-1] * (size - 1)), meeting.exact))
            elif meeting.boxes():
                return FIRST_US, ()
            elif not meeting.never:
                known_us = KNOWN_US
    return known_us, tuple(found)


def bare(trigger: EngineTrigger) -> EngineTrigger:
    """The trigger that a calendar's exclusions were taken from; itself where there are none."""
    own: Callable[[], EngineTrigger] | None = getattr(trigger, "_bare", None)
    return trigger if own is None or not trigger.excludes else own()


def _together(children: tuple[EngineTrigger, ...]) -> tuple[EngineTrigger, ...]:
    """The children, with the starts that they left out bound to one and the same now."""
    now_us = time_ns() // 1000
    return tuple(child.anchored(now_us) for child in children)


def _least(answers: Iterable[int | None]) -> int | None:
    return min((answer_us for answer_us in answers if answer_us is not None), default=None)

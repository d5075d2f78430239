"""Gives a third party's trigger, which has the one method of 3.x, the two answers of an ``EngineTrigger``, in bounded time.

The answers are found by walking, at most ``MAX_STEPS`` calls at a time, and no new one after ``WALK_S``; a backlog longer than
that is cut short by asking for the first fire time at or after the end of it. Counts of such a backlog are then a lower bound,
which is what can be known.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from time import monotonic
from typing import Any

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._effort import EFFORT, MOST_STEPS
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger

__all__ = ["MAX_STEPS", "ForeignTrigger", "as_grid"]

# Calls into a third party's trigger that one decision may make. At some 2 us a call this is 2 ms of its time.
MAX_STEPS = 1000
# Seconds. What a trigger whose calls take long may keep the other jobs waiting: one that asks a database, or thinks. None that
# computes comes near to it, so that what is answered does not depend on the machine.
WALK_S = 0.25
# Steps of a search (``_effort``) that a second in a call stands for: all calls of one question to an ``and``, or to an exclusion,
# have five seconds.
_STEPS_PER_S = MOST_STEPS // 5


def as_grid(trigger: BaseTrigger) -> EngineTrigger:
    """The trigger itself when it answers in closed form, else a wrapper that walks it."""
    return trigger if isinstance(trigger, EngineTrigger) else ForeignTrigger(trigger)


class ForeignTrigger(EngineTrigger):
    """A ``EngineTrigger`` made of any object with ``get_next_fire_time(previous, now)``. Errors of that method pass through."""

    __slots__ = ("inner", "timezone")
    foreign = True

    def __init__(self, inner: BaseTrigger) -> None:
        self.inner = inner
        zone = getattr(inner, "timezone", None)
        self.timezone = zone if isinstance(zone, tzinfo) else UTC

    def _ask(self, previous: datetime | None, now: datetime) -> int | None:
        begin_s = monotonic()
        answer = self.inner.get_next_fire_time(previous, now)
        EFFORT.left -= int((monotonic() - begin_s) * _STEPS_PER_S)
        if answer is None:
            return None
        if not isinstance(answer, datetime):
            raise TypeError(
                f"{type(self.inner).__name__}.get_next_fire_time returned {answer!r}, not a datetime or None"
            )
        answer_us = from_datetime(answer)
        if not FIRST_US <= answer_us <= LAST_US:  # it could be shown in no zone, and not even in UTC
            raise InvalidTriggerError(
                f"{type(self.inner).__name__}.get_next_fire_time returned {answer!r}; what can be scheduled goes from "
                f"0001-01-03 to 9999-12-30 00:00 UTC, and None is for a schedule that has ended",
                field="trigger",
            )
        return answer_us

    def _zoned(self, instant_us: int) -> datetime:
        return to_datetime(instant_us).astimezone(self.timezone)

    def first_us(self, at_us: int) -> int | None:
        """The first fire time of a new schedule, not earlier than ``at_us`` where the trigger keeps to its contract."""
        return self._ask(None, self._zoned(at_us))

    def next_us(self, after_us: int) -> int | None:
        previous = self._zoned(after_us)
        return self._ask(previous, previous)

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        last_us: int | None = None
        at_us = after_us
        count, until_s = 0, monotonic() + WALK_S
        while count < MAX_STEPS and (monotonic() < until_s or not count):
            next_us = self.next_us(at_us)
            if next_us is None or next_us > upto_us or next_us <= at_us:
                return Backlog(count, last_us, next_us)
            last_us = at_us = next_us
            count += 1
        beyond_us = self.first_us(upto_us + 1)
        if beyond_us is None or beyond_us <= upto_us:
            # The trigger does not skip when asked to; the rest of the backlog is left for the next decision.
            beyond_us = self.next_us(at_us)
        return Backlog(count, last_us, beyond_us)

    def anchored(self, now_us: int) -> ForeignTrigger:
        inner = self.inner.anchored(now_us) if isinstance(self.inner, BaseTrigger) else self.inner
        return self if inner is self.inner else ForeignTrigger(inner)

    def seeded(self, job_id: str) -> ForeignTrigger:
        inner = self.inner.seeded(job_id) if isinstance(self.inner, BaseTrigger) else self.inner
        return self if inner is self.inner else ForeignTrigger(inner)

    def same_rule(self, other: BaseTrigger) -> bool:
        theirs = other.inner if isinstance(other, ForeignTrigger) else other
        return type(theirs) is type(self.inner) and bool(self.inner == theirs or _state(self.inner) == _state(theirs))

    def describe(self) -> str:
        return str(self.inner)

    def __eq__(self, other: object) -> bool:
        return self.inner == other.inner if isinstance(other, ForeignTrigger) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.inner)

    def __repr__(self) -> str:
        return repr(self.inner)

    def __str__(self) -> str:
        return str(self.inner)

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self.inner}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["inner"])  # type: ignore[misc]


def _state(trigger: BaseTrigger) -> object:
    """What distinguishes two triggers of one class that define no equality; a fresh object when nothing can be known."""
    getstate = getattr(trigger, "__getstate__", None)
    state = getstate() if getstate is not None else None
    return state if state is not None else object()

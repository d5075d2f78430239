"""Gives a third party's trigger, which has the one method of 3.x, the two answers of an ``EngineTrigger``, in bounded time.

A backlog is found by walking, at most ``MAX_STEPS`` calls at a time; one longer than that is cut short by asking for the first
fire time at or after the end of it. Counts of such a backlog are then a lower bound, which is what can be known.

Nobody can say how long a call takes, and while it lasts the other jobs of its store wait. So what one decision waits for calls
of users' code, however many triggers and calendars have some, is bounded by ``PATIENCE``: once it is used up a backlog is not
walked any farther, and ``schedcore.engine`` makes do with the next fire time, which is one question more, or two.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from math import inf
from threading import local
from time import monotonic
from typing import Any

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._effort import EFFORT, MOST_STEPS
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger

__all__ = ["MAX_STEPS", "PATIENCE", "WALK_S", "ForeignTrigger", "OutOfPatienceError", "as_grid", "call"]

# Calls into a third party's trigger that one decision may make. At some 2 us a call this is 2 ms of its time.
MAX_STEPS = 1000
# Seconds. What a walk may wait for triggers whose calls take long: one that asks a database, or thinks. None that computes comes
# near to it, so that what is answered does not depend on the machine.
WALK_S = 0.25
# Steps of a search (``_effort``) that a second in a call stands for: all calls of one question to an ``and``, or to an exclusion,
# have five seconds.
_STEPS_PER_S = MOST_STEPS // 5
# Seconds. A call that takes less is quicker repeated than kept: a walk of ``MAX_STEPS`` of them is not cut short.
_SLOW_S = WALK_S / MAX_STEPS
_UNKNOWN = object()


class OutOfPatienceError(Exception):
    """A backlog was not walked to its end because the calls took too long."""


class _Patience(local):
    """``with PATIENCE:`` is a decision, within which users' code that is slow is asked the same once, and ``PATIENCE.walk()`` a
    part of it that can be done without. One for each thread.
    """

    depth = 0
    #: Seconds that calls of users' code have taken since the decision began.
    waited_s = 0.0
    #: How many they may take before there are no more of them.
    limit_s = inf

    def __init__(self) -> None:
        self.answers: dict[Hashable, Any] = {}

    def __enter__(self) -> None:
        if not self.depth:
            self.waited_s = 0.0
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1
        if not self.depth:
            self.answers.clear()

    @contextmanager
    def walk(self, limit_s: float = WALK_S) -> Iterator[None]:
        """``limit_s``: seconds since the decision began, from which on ``OutOfPatienceError`` comes from within."""
        with self:
            before, self.limit_s = self.limit_s, limit_s
            try:
                yield
            finally:
                self.limit_s = before


PATIENCE = _Patience()


def call(question: Hashable, function: Callable[..., Any], *args: Any) -> Any:
    """Call a user's code, and keep the time. ``question``: what is asked, and of whom."""
    answer = PATIENCE.answers.get(question, _UNKNOWN)
    if answer is not _UNKNOWN:
        return answer
    if PATIENCE.waited_s >= PATIENCE.limit_s:
        raise OutOfPatienceError
    # What it asks itself, perhaps by a call to the scheduler, is its own affair.
    limit_s, PATIENCE.limit_s = PATIENCE.limit_s, inf
    begin_s = monotonic()
    try:
        answer = function(*args)
    finally:
        took_s = monotonic() - begin_s
        PATIENCE.limit_s = limit_s
        PATIENCE.waited_s += took_s
        EFFORT.left -= int(took_s * _STEPS_PER_S)
    if PATIENCE.depth and took_s >= _SLOW_S:
        PATIENCE.answers[question] = answer
    return answer


def as_grid(trigger: BaseTrigger) -> EngineTrigger:
    """The trigger itself when it answers in closed form, else a wrapper that walks it."""
    return trigger if isinstance(trigger, EngineTrigger) and _is_grid(type(trigger)) else ForeignTrigger(trigger)


@lru_cache(maxsize=256)
def _is_grid(kind: type) -> bool:
    """Whether ``next_us`` is what a class answers: not where one of ours was derived from, and answers otherwise in datetimes."""
    return "next_us" in next(
        vars(each) for each in kind.__mro__ if {"next_us", "get_next_fire_time"} & vars(each).keys()
    )


class ForeignTrigger(EngineTrigger):
    """A ``EngineTrigger`` made of any object with ``get_next_fire_time(previous, now)``. Errors of that method pass through."""

    __slots__ = ("end_us", "inner", "jitter_us", "timezone")
    foreign = True

    def __init__(self, inner: BaseTrigger) -> None:
        self.inner = inner
        zone = getattr(inner, "timezone", None)
        self.timezone = zone if isinstance(zone, tzinfo) else UTC
        self.jitter_us = getattr(inner, "jitter_us", 0)
        self.end_us = getattr(inner, "end_us", None)

    @property
    def elapsed(self) -> bool:  # type: ignore[override]
        """Whether that is so of the object."""
        return bool(getattr(self.inner, "elapsed", False))

    @property
    def zone_data_changed(self) -> bool:  # type: ignore[override]
        """Whether that is so of the object."""
        return bool(getattr(self.inner, "zone_data_changed", False))

    def _ask(self, previous_us: int | None, now_us: int) -> int | None:
        question = id(self.inner), previous_us, now_us
        now = self._zoned(now_us)
        previous = None if previous_us is None else now
        answer = call(question, self.inner.get_next_fire_time, previous, now)
        if answer is None:
            return None
        if not isinstance(answer, datetime):
            raise TypeError(
                f"{type(self.inner).__name__}.get_next_fire_time returned {answer!r}, not a datetime or None"
            )
        if answer.tzinfo is None:
            raise ValueError(
                f"{type(self.inner).__name__}.get_next_fire_time returned {answer!r}, which names no instant without a time zone"
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
        return self._ask(None, at_us)

    def next_us(self, after_us: int) -> int | None:
        answer_us = self._ask(after_us, after_us)
        if answer_us is not None and answer_us <= after_us and EFFORT.depth:
            # A search would go round in circles until it is out of steps, and could not say because of whom.
            raise InvalidTriggerError(
                f"{self} does not advance: asked for the fire time after {self._zoned(after_us)} it answered "
                f"{self._zoned(answer_us)}",
                field="trigger",
            )
        return answer_us

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        last_us: int | None = None
        at_us = after_us
        count = 0
        while count < MAX_STEPS:
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
        return self._with(self.inner.anchored(now_us) if isinstance(self.inner, BaseTrigger) else self.inner)

    def seeded(self, job_id: str) -> ForeignTrigger:
        return self._with(self.inner.seeded(job_id) if isinstance(self.inner, BaseTrigger) else self.inner)

    def _with(self, inner: BaseTrigger) -> ForeignTrigger:
        return self if inner is self.inner else ForeignTrigger(inner)

    def same_rule(self, other: BaseTrigger) -> bool:
        theirs = other.inner if isinstance(other, ForeignTrigger) else other
        if type(theirs) is not type(self.inner):
            return False
        same = self.inner.same_rule(theirs) if isinstance(self.inner, BaseTrigger) else self.inner == theirs
        return bool(same) or _state(self.inner) == _state(theirs)

    def describe(self) -> str:
        return self.inner.describe() if isinstance(self.inner, BaseTrigger) else str(self.inner)

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

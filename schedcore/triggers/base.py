"""What a trigger is: time in, a strictly later time out, or "never".

There are two levels. ``BaseTrigger`` is the one method of APScheduler 3.x, in aware datetimes: all that a third party has to
write. ``GridTrigger`` adds what lets a scheduler's work depend on the runs it makes rather than on those it missed: next,
last and count in closed form, in integer microseconds since the epoch. Every built-in trigger is a ``GridTrigger``.

Triggers are values: frozen after construction, comparable, hashable, picklable, and they know no scheduler. They read no
clock, but for a start that the user left out, which is "now" at construction until ``anchored`` binds it to the
scheduler's own clock. Jitter is not part of the grid: the scheduler adds it to the instant of dispatch (``jitter_us``), so
it can neither drift nor double a fire time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime, tzinfo
from typing import Any, ClassVar, Self

from schedcore.clock import from_datetime, to_datetime

__all__ = ["BaseTrigger", "GridTrigger"]


class BaseTrigger(ABC):
    """Answers when a job fires next. Called from the scheduler's worker; it must return at once and keep no hidden state."""

    __slots__ = ()

    #: Whether the fire times follow elapsed time (``interval``) rather than the calendar; see ``schedcore.clock``.
    elapsed: ClassVar[bool] = False
    #: Microseconds. Upper bound of the random delay that the scheduler adds to each dispatch; 0 for none.
    jitter_us: int = 0

    @abstractmethod
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The next fire time, aware, or None when there is none and never will be.

        ``previous_fire_time`` is the last one that was returned, or None at first; the answer must be later than it. With None,
        it is the first fire time at or after ``now``.
        """

    def anchored(self, now_us: int) -> Self:
        """This trigger with a start that the user left out bound to ``now_us``; the trigger itself when nothing was left out."""
        return self

    def same_rule(self, other: BaseTrigger) -> bool:
        """Whether the user asked for the same schedule: equality, but for a start that was left out on either side.

        It decides whether a job that is registered again at start-up keeps its next run time and its phase.
        """
        return self == other

    def describe(self) -> str:
        """The schedule in words, for people ("every 5 minutes"). Default: ``str(trigger)``."""
        return str(self)


class GridTrigger(BaseTrigger):
    """A trigger whose fire times form a fixed grid that can be asked in closed form.

    For any instants *a* < *b*: ``next_us(a)`` is the first fire time > *a*; ``last_us(b)`` the last one <= *b*; ``count_us(a, b)``
    the number in the half-open (*a*, *b*]. All three are pure, raise nothing for any instant that datetime can express, and take
    bounded time that does not depend on *b* - *a*.
    """

    __slots__ = ()

    #: The zone in which answers are given (never None on an instance).
    timezone: tzinfo

    @abstractmethod
    def next_us(self, after_us: int) -> int | None:
        """The first fire time strictly later than ``after_us``, or None when there is none."""

    @abstractmethod
    def last_us(self, upto_us: int) -> int | None:
        """The last fire time not later than ``upto_us``, or None when there is none."""

    @abstractmethod
    def count_us(self, after_us: int, upto_us: int) -> int:
        """How many fire times lie in (``after_us``, ``upto_us``]; 0 when the span is empty."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        after_us = from_datetime(now) - 1 if previous_fire_time is None else from_datetime(previous_fire_time)
        answer_us = self.next_us(after_us)
        return None if answer_us is None else to_datetime(answer_us).astimezone(self.timezone)

    @abstractmethod
    def __getstate__(self) -> dict[str, Any]:
        """The versioned state as plain data: text, numbers, booleans, None, lists, dicts and aware datetimes.

        It serves pickle and the data-only serializers alike, and ``__setstate__`` must accept it and every earlier version.
        """

    @abstractmethod
    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from ``__getstate__``; raises ``ValueError`` naming what is wrong."""

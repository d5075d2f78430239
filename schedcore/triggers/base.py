"""What a trigger is: time in, a strictly later time out, or "never".

There are three levels. ``BaseTrigger`` is the one method of APScheduler 3.x, in aware datetimes: all that a third party has
to write. ``EngineTrigger`` is what the engine asks, in integer microseconds since the epoch: the next fire time, and a whole
backlog at once. ``GridTrigger`` answers both in closed form, so that a scheduler's work depends on the runs it makes and not
on those it missed. Every built-in trigger is a ``GridTrigger``; a third party's is wrapped (``schedcore.triggers.foreign``).

Triggers are values: frozen after construction, comparable, hashable, picklable, and they know no scheduler. They read no
clock, but for a start that the user left out, which is "now" at construction until ``anchored`` binds it to the
scheduler's own clock. Jitter is not part of the grid: the scheduler adds it to the instant of dispatch (``jitter_us``), so
it can neither drift nor double a fire time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from datetime import timezone as fixed_zone
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, NoReturn, Self, SupportsIndex

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import UnknownOptionError
from schedcore.triggers.jitter import from_jitter_us

if TYPE_CHECKING:
    from schedcore.triggers.calendars import Calendar, Excluding
    from schedcore.triggers.explain import Explanation

__all__ = [
    "Backlog",
    "BaseTrigger",
    "EngineTrigger",
    "Excluded",
    "Frozen",
    "GridTrigger",
    "Swallowed",
    "names_zone",
    "unknown_option",
]


# Microseconds (2038). From 1970 up to here a float of seconds is so near to an instant that it gives back the microsecond.
_FLOAT_US = 2**31 * 1_000_000
_from_timestamp = datetime.fromtimestamp
# The last answer of any trigger as a datetime, and its instant: it saves time where the answer is the next question, which is
# how triggers are asked in datetimes.
_answered: tuple[datetime | None, int] = (None, 0)


class Backlog(NamedTuple):
    """The fire times in a span (after, upto]: how many, the last of them, and the first one beyond the span."""

    times: int
    last_us: int | None
    next_us: int | None


class Excluded(NamedTuple):
    """Fire times that a calendar rules out: how many, the first and the last of them."""

    times: int
    first_us: int
    last_us: int


class Swallowed(NamedTuple):
    """Local times of a schedule that do not exist: how many, and the instant at which they would have been over: when the clocks
    jump over them, or at the end of the month that lacks the day.
    """

    at_us: int
    times: int


def unknown_option(cls: type, given: Iterable[str]) -> UnknownOptionError:
    """What to raise for arguments that a trigger does not have: it is about the first of them.

    Type checkers find them before: their type is ``Never``.
    """
    from inspect import Parameter, signature

    known = [name for name, one in signature(cls).parameters.items() if one.kind is not Parameter.VAR_KEYWORD]
    return UnknownOptionError(next(iter(given)), known, cls.__name__)


def names_zone(cls: type, arguments: Mapping[str, Any]) -> bool:
    """Whether arguments for a trigger class say which zone it is of; if not, whoever makes it gives its own as ``timezone``."""
    if "timezone" in arguments:
        return True
    own: Callable[[Mapping[str, Any]], bool] | None = getattr(cls, "names_zone", None)  # it may be anybody's class
    return own is not None and own(arguments)


class Frozen:
    """A value whose attributes are set once, by ``object.__setattr__``, while it is made. A class that is derived from one of
    ours may have more of them, and sets those as any class does; they go with it when it is copied, pickled or bound.
    """

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        if _is_added(type(self), name):
            object.__setattr__(self, name, value)
            return
        kind = "triggers" if isinstance(self, BaseTrigger) else "calendars"
        raise AttributeError(f"{kind} are values: {name} cannot be set; make a new {type(self).__name__}")

    def __delattr__(self, name: str) -> NoReturn:
        kind = "triggers" if isinstance(self, BaseTrigger) else "calendars"
        raise AttributeError(f"{kind} are values: {name} cannot be deleted")

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        added = self._added()
        if not added or type(self).__reduce__ is not object.__reduce__:
            return super().__reduce_ex__(protocol)
        return _remade, (type(self), self.__getstate__(), added)

    def _blank(self) -> Self:
        """One of its class that has yet to be filled, with what a derived class has added to this one."""
        made = object.__new__(type(self))
        for name, value in self._added().items():
            object.__setattr__(made, name, value)
        return made

    def _added(self) -> dict[str, Any]:
        kind = type(self)
        if kind.__module__.startswith("schedcore."):
            return {}
        state = object.__getstate__(self)  # of what is in ``__dict__``, or a pair of that and of what is in slots
        parts = state if isinstance(state, tuple) else (state,)
        return {name: value for part in parts for name, value in (part or {}).items() if _is_added(kind, name)}


def _is_added(kind: type, name: str) -> bool:
    """Whether a class that is derived from one of ours has an attribute beyond those that ours have."""
    ours = [vars(each) for each in kind.__mro__ if each.__module__.startswith("schedcore.")]
    theirs = [vars(each) for each in kind.__mro__[:-1] if not each.__module__.startswith("schedcore.")]
    return not any(name in each for each in ours) and any(name in each or "__dict__" in each for each in theirs)


def _remade(kind: type[Frozen], state: Any, added: dict[str, Any]) -> Frozen:
    """A value of a derived class, from its state and what the class has added."""
    made = object.__new__(kind)
    for name, value in added.items():
        object.__setattr__(made, name, value)
    made.__setstate__(state)  # type: ignore[attr-defined]  # triggers and calendars have it
    return made


class BaseTrigger(ABC):
    """Answers when a job fires next. Called from the scheduler's worker; it must return at once and keep no hidden state."""

    __slots__ = ()

    #: Whether the fire times follow elapsed time (``interval``) rather than the calendar; see ``schedcore.clock``.
    elapsed: ClassVar[bool] = False
    #: Whether it is ours: asking it when it fires next runs no code of a user's, takes microseconds and raises nothing.
    plain: ClassVar[bool] = False
    #: Microseconds. Upper bound of the delay that the scheduler adds to each dispatch, negative when it is not random but made
    #: of the job's id and the fire time; 0 for none.
    jitter_us: int = 0
    #: Whether the trigger was restored from a state that was written with another release of the zone's rules: what was
    #: computed from it then, such as a stored next fire time, has to be computed again.
    zone_data_changed: bool = False

    @abstractmethod
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The next fire time, aware, or None when there is none and never will be.

        ``previous_fire_time`` is the last one that was returned, or None at first; the answer must be later than it. With None,
        it is the first fire time at or after ``now``.
        """

    def _apply_jitter(self, next_fire_time: datetime | None, jitter: float | None, now: datetime) -> datetime | None:
        """A fire time that is later by up to ``jitter`` seconds, at random, for third parties' triggers that call this as those
        of 3.x do. The delay belongs to their fire times then; ours leave it to the scheduler.
        """
        if next_fire_time is None or not jitter:
            return next_fire_time
        from random import uniform

        return next_fire_time + timedelta(seconds=uniform(0, jitter))

    @staticmethod
    def names_zone(arguments: Mapping[str, Any]) -> bool:
        """Whether arguments of the class say in another way than by ``timezone`` which zone the trigger is of."""
        return False

    def anchored(self, now_us: int) -> Self:
        """This trigger with a start that the user left out bound to ``now_us``; the trigger itself when nothing was left out."""
        return self

    def seeded(self, job_id: str) -> Self:
        """This trigger with what depends on the job (``H`` of a crontab text) bound to ``job_id``; the trigger itself when
        nothing does, or when it was bound before.
        """
        return self

    def same_rule(self, other: BaseTrigger) -> bool:
        """Whether the user asked for the same schedule: equality, but for a start that was left out on both sides.

        It decides whether a job that is registered again at start-up keeps its next run time and its phase.
        """
        return self == other

    def explain(
        self,
        *,
        now: datetime | None = None,
        count: int = 5,
        at: date | datetime | str | None = None,
        zone_guessed: bool = False,
    ) -> Explanation:
        """The schedule in words, its next fire times, whether and why it fires ``at`` an instant, and what may surprise;
        see ``schedcore.triggers.explain``.
        """
        from schedcore.triggers.explain import explain

        return explain(self, now=now, count=count, at=at, zone_guessed=zone_guessed)

    def describe(self) -> str:
        """The schedule in words, for people ("every 5 minutes"). Default: ``str(trigger)``."""
        return str(self)

    def excluding(self, calendar: Calendar, roll: Literal["skip", "next", "previous"] = "skip") -> Excluding:
        """This trigger without its fire times in the closed time of a calendar, or with those moved to another day.

        Raises ``InvalidTriggerError`` for what is no calendar, and one that cannot move days.
        """
        from schedcore.triggers.calendars import Excluding

        return Excluding(self, calendar, roll)


class EngineTrigger(BaseTrigger):
    """What the engine asks of a trigger. Both questions are pure and take bounded time."""

    __slots__ = ()

    #: The zone in which answers are given to people.
    timezone: tzinfo
    #: No fire time, and no jittered dispatch, lies beyond this instant; None: no end.
    end_us: int | None = None
    #: Whether it has one fire time, the same whenever it is asked (``date``).
    single: ClassVar[bool] = False
    #: Whether ``excluded`` has something to tell.
    excludes: bool = False
    #: Whether ``excluded`` or ``swallowed`` has something to tell.
    omits: bool = False
    #: Whether asking it runs code of a user's (a third party's trigger, a calendar made of a function): kept off event loops.
    foreign: bool = False
    #: Whether its answers are searched for, which may take longer than a millisecond: kept off event loops.
    searches: bool = False

    @property
    def follows_zone_data(self) -> bool:
        """Whether a next fire time that was stored with other zone data may be another one now."""
        return not (self.plain and isinstance(self.timezone, fixed_zone))

    @property
    def jitter(self) -> float | None:
        """The longest delay that the scheduler adds to a run, in seconds; None for none."""
        return from_jitter_us(self.jitter_us)

    @abstractmethod
    def next_us(self, after_us: int) -> int | None:
        """The first fire time strictly later than ``after_us``, or None when there is none."""

    def first_us(self, at_us: int) -> int | None:
        """The first fire time of a schedule that begins at ``at_us``: that instant or later; ``date`` alone may
        answer an earlier one.
        """
        return self.next_us(at_us - 1)

    def begin_us(self) -> int | None:
        """The first fire time where it is counted from a start that the user left out, so that nobody has to look at the clock
        right after that was bound to it; else None.
        """
        return None

    @abstractmethod
    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        """The fire times in (``after_us``, ``upto_us``], counted and not listed."""

    def excluded(self, after_us: int, before_us: int) -> Excluded | None:
        """The fire times between two instants, both exclusive, that the schedule names and a calendar rules out; None: none.

        Counted and not listed; of a span that is too long the first part.
        """
        return None

    def swallowed(self, after_us: int, upto_us: int) -> list[Swallowed]:
        """The local times that the schedule names and that do not exist, so that they have no fire time: those that were over in
        (``after_us``, ``upto_us``], one entry for each instant. Of a span that is too long the first part.
        """
        return []

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        global _answered
        if previous_fire_time is None:
            answer_us = self.first_us(from_datetime(now))
        else:
            answered, answered_us = _answered
            answer_us = self.next_us(
                answered_us if previous_fire_time is answered else from_datetime(previous_fire_time)
            )
        if answer_us is None:
            return None
        if 0 <= answer_us < _FLOAT_US:
            answer = _from_timestamp(answer_us / 1e6, self.timezone)
        else:
            answer = to_datetime(answer_us).astimezone(self.timezone)
        _answered = answer, answer_us
        return answer


class GridTrigger(EngineTrigger):
    """A trigger whose fire times form a fixed grid that can be asked in closed form.

    For any instants *a* < *b*: ``next_us(a)`` is the first fire time > *a*; ``last_us(b)`` the last one <= *b*;
    ``count_us(a, b)`` the number in the half-open (*a*, *b*]. All three are pure, raise nothing for any instant that
    datetime can express, and take bounded time that does not depend on *b* - *a*.
    """

    __slots__ = ()

    @abstractmethod
    def last_us(self, upto_us: int) -> int | None:
        """The last fire time not later than ``upto_us``, or None when there is none."""

    @abstractmethod
    def count_us(self, after_us: int, upto_us: int) -> int:
        """How many fire times lie in (``after_us``, ``upto_us``]; 0 when the span is empty."""

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        times = self.count_us(after_us, upto_us)
        return Backlog(times, self.last_us(upto_us) if times else None, self.next_us(upto_us))

    @abstractmethod
    def __getstate__(self) -> dict[str, Any]:
        """The versioned state as plain data: text, numbers, booleans, None, lists, dicts and aware datetimes.

        It serves pickle and the data-only serializers alike, and ``__setstate__`` must accept it and every earlier version.
        """

    @abstractmethod
    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from ``__getstate__``; raises ``ValueError`` naming what is wrong."""

"""What a calendar is: it says which local times are closed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from schedcore.errors import InvalidTriggerError
from schedcore.triggers._boxes import ANY_MINUTE
from schedcore.triggers._days import CommonDays, Days, EitherDays
from schedcore.triggers._local import DAY_S
from schedcore.triggers._stored import check_version
from schedcore.triggers.base import Frozen

__all__ = ["EPOCH", "FAR_DAYS", "SOON", "Calendar", "Daily", "LocalSet", "Span", "days_of", "to_calendar"]

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the wall clock's
#: Where a calendar has no more to say, a span says so of this many days at once (60 years).
FAR_DAYS = 21_915
#: Days. So soon after the last days that are known, what is open or closed may be so because nobody knows better: for 28 years,
#: in which every date comes on each day of the week.
SOON = 10_227


class Span(NamedTuple):
    """Whether a local time is closed, and around it a stretch [since, until) of which the same holds; local seconds."""

    closed: bool
    since_s: int
    until_s: int


class LocalSet(NamedTuple):
    """Minutes of the local day (1,440 bits), on the local days that all of some sets have."""

    days: tuple[Days, ...] = ()
    minutes: int = ANY_MINUTE


def days_of(sets: Sequence[LocalSet]) -> Days:
    """The days of any of these sets."""
    return EitherDays([CommonDays(each.days) for each in sets])


class Calendar(Frozen):
    """Says which local times are closed. A subclass has a ``span``, and is frozen, comparable and hashable."""

    __slots__ = ()

    #: What the state of this kind of calendar is called; None for classes of other people, which only pickle can store.
    kind: ClassVar[str | None] = None
    #: The first day of which it is not known any more what is closed; None: there is none.
    known_until: int | None = None

    @property
    def foreign(self) -> bool:
        """Whether asking it runs code of a user's."""
        return self.kind is None

    @property
    @abstractmethod
    def by_day(self) -> bool:
        """Whether each day is closed or open as a whole."""

    @abstractmethod
    def span(self, local_s: int) -> Span:
        """The span of a local time (seconds since 1970-01-01 00:00 on the wall clock). Pure, and fast."""

    def closed_days(self, first: int, count: int) -> int:
        """Which of some days in a row are closed, as bits; of a calendar that closes whole days."""
        return sum(1 << place for place in range(count) if self.span((first + place) * DAY_S).closed)

    def sets(self, closed: bool, unsure: bool = True) -> tuple[LocalSet, ...]:
        """Where it is closed at most, or open at most: any of these sets. All of time, where nothing is known.

        ``unsure``: whether what nobody knows yet may be either, and is not as ``span`` has it.
        """
        return (LocalSet(),)

    def is_closed(self, when: date | datetime) -> bool:
        """Whether a date (its midnight) or the wall time of a datetime is closed."""
        local = datetime(when.year, when.month, when.day)  # noqa: DTZ001 - the wall clock's
        if isinstance(when, datetime):
            local = when.replace(tzinfo=None)
        return self.span((local - EPOCH) // timedelta(seconds=1)).closed

    @abstractmethod
    def _data(self) -> dict[str, Any]:
        """What the calendar is made of, as plain data."""

    @abstractmethod
    def _restore(self, data: Mapping[str, Any]) -> None:
        """Set the attributes from what ``_data`` gave."""

    def __or__(self, other: Calendar) -> Calendar:
        from schedcore.triggers.calendars._combining import AnyOf

        return AnyOf(self, other) if isinstance(other, Calendar) else NotImplemented

    def __and__(self, other: Calendar) -> Calendar:
        from schedcore.triggers.calendars._combining import AllOf

        return AllOf(self, other) if isinstance(other, Calendar) else NotImplemented

    def __invert__(self) -> Calendar:
        from schedcore.triggers.calendars._combining import Not

        return Not(self)

    def __eq__(self, other: object) -> bool:
        return (
            self._key() == other._key() if isinstance(other, Calendar) and type(other) is type(self) else NotImplemented
        )

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def _key(self) -> Any:
        names = (name for cls in type(self).__mro__ for name in getattr(cls, "__slots__", ()))
        return tuple(getattr(self, name) for name in names)

    def __str__(self) -> str:
        return self.describe()

    @abstractmethod
    def describe(self) -> str:
        """What is closed, in words."""

    def __getstate__(self) -> dict[str, Any]:
        return {"version": 1, "kind": self.kind, **self._data()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_version(state, 1, "a calendar")
        try:
            self._restore(state)
        except (KeyError, TypeError) as error:
            raise ValueError(f"the state of a calendar ({self.kind}) is wrong: {error!r}") from None


def to_calendar(value: object, field: str = "calendar") -> Calendar:
    """A calendar that was given. Raises ``InvalidTriggerError`` for what is none."""
    if not isinstance(value, Calendar):
        raise InvalidTriggerError(
            f"{field}: {value!r} is no calendar; give one such as Weekdays('sat', 'sun')", field=field
        )
    return value


class Daily(Calendar):
    """A calendar that closes whole days."""

    __slots__ = ()

    @property
    def by_day(self) -> bool:
        return True

    def span(self, local_s: int) -> Span:
        day = local_s // DAY_S
        return Span(self._closes(day), day * DAY_S, (day + 1) * DAY_S)

    @abstractmethod
    def _closes(self, day: int) -> bool:
        """Whether a day (days since 1970-01-01) is closed."""

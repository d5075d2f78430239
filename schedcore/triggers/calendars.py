"""Calendars: time in which nothing runs, and what becomes of fire times that fall into it.

A calendar says of each local time whether it is *closed*. Calendars are values, and combine: ``a | b`` is closed when either
is, ``a & b`` when both are, ``~a`` when ``a`` is not::

    free = Weekdays("sat", "sun") | Holidays("DE", "BY") | Dates("2026-12-24", "2026-12-31")
    CronTrigger(hour=9).excluding(free)                   # not on those days; each time left out is on record
    CronTrigger(day=1, hour=9).excluding(free, roll="next")   # on the next business day instead
    IntervalTrigger(minutes=2).excluding(~Times("07:00", "22:00"))   # within a window only
    BusinessDayTrigger(4, free, hour=9)                   # on the 4th business day of each month

Local time is that of the trigger's zone, unless ``Excluding`` is given another one.

Theory of operation. A calendar answers with a span: closed or open, since when and until when at least. ``Excluding`` leaps
over closed spans and counts by whole spans, so that a year of excluded minutes is some hundred questions and not half a
million. A time of day that clocks show twice is closed both times. Every search ends: after ``MAX_SPANS`` spans, or 50
years in which everything was closed, it raises, and the job is set aside with that reason.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple, Self

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError, MissingExtraError, did_you_mean
from schedcore.triggers._local import DAY_S, Gap, civil, day_number, month_length, offset_at, wall_instant
from schedcore.triggers._values import (
    Frozen,
    check_version,
    is_other_release,
    pack_trigger,
    to_trigger,
    unpack_trigger,
    zone_stamp,
)
from schedcore.triggers._where import ANYWHERE, Box, boxes_of
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone, to_instant, to_jitter, to_zone, zone_state
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger, Excluded, GridTrigger
from schedcore.triggers.cron._dst import Offsets, offsets_for
from schedcore.triggers.foreign import MAX_STEPS, ForeignTrigger
from schedcore.triggers.jitter import from_jitter_us

__all__ = [
    "MAX_SPANS",
    "AllOf",
    "AnyOf",
    "BusinessDayTrigger",
    "Calendar",
    "Dates",
    "Excluding",
    "Holidays",
    "Moments",
    "Not",
    "Predicate",
    "Span",
    "Times",
    "Weekdays",
    "pack_calendar",
    "unpack_calendar",
]

# Spans that one question may look at. The costliest calendar takes some 10 us for one.
MAX_SPANS = 4000
# Microseconds. A schedule that is closed for so long never runs (50 years; holidays are not known much farther).
_FURTHEST_US = 18_263 * DAY_S * 1_000_000
# Days. No business day is farther from the day that is moved onto it.
_ROLL_LIMIT = 366
# Months that are searched for one that has an n-th business day.
_MONTHS_LIMIT = 1200
_SECOND_US = 1_000_000
_STATE_VERSION = 3  # as that of the other triggers
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the wall clock's
_ROLLS = ("skip", "next", "previous")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Roll = Literal["skip", "next", "previous"]


class Span(NamedTuple):
    """Whether a local time is closed, and around it a stretch [since, until) of which the same holds; local seconds."""

    closed: bool
    since_s: int
    until_s: int


# --- calendars -------------------------------------------------------------------------------------------------------


class Calendar(Frozen):
    """Says which local times are closed. A subclass has a ``span``, and is frozen, comparable and hashable."""

    __slots__ = ()

    #: What the state of this kind of calendar is called; None for classes of other people, which only pickle can store.
    kind: ClassVar[str | None] = None

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

    def is_closed(self, when: date | datetime) -> bool:
        """Whether a date (its midnight) or the wall time of a datetime is closed."""
        local = datetime(when.year, when.month, when.day)  # noqa: DTZ001 - the wall clock's
        if isinstance(when, datetime):
            local = when.replace(tzinfo=None)
        return self.span((local - _EPOCH) // timedelta(seconds=1)).closed

    @abstractmethod
    def _data(self) -> dict[str, Any]:
        """What the calendar is made of, as plain data."""

    @abstractmethod
    def _restore(self, data: Mapping[str, Any]) -> None:
        """Set the attributes from what ``_data`` gave."""

    def __or__(self, other: Calendar) -> Calendar:
        return AnyOf(self, other) if isinstance(other, Calendar) else NotImplemented

    def __and__(self, other: Calendar) -> Calendar:
        return AllOf(self, other) if isinstance(other, Calendar) else NotImplemented

    def __invert__(self) -> Calendar:
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


class _Daily(Calendar):
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


class Dates(_Daily):
    """Closed on certain dates: dates or ISO 8601 text, or pairs of them for all days from the first to the last."""

    __slots__ = ("_ranges",)
    kind = "dates"
    _ranges: tuple[tuple[int, int], ...]

    def __init__(self, *dates: date | str | tuple[date | str, date | str]) -> None:
        ranges = []
        for each in dates:
            first, last = each if isinstance(each, tuple) else (each, each)
            pair = _to_day(first), _to_day(last)
            if pair[1] < pair[0]:
                raise InvalidTriggerError(f"dates: {last!s} is before {first!s}", field="dates")
            ranges.append(pair)
        if not ranges:
            raise InvalidTriggerError("dates: give at least one date", field="dates")
        object.__setattr__(self, "_ranges", tuple(sorted(set(ranges))))

    def _closes(self, day: int) -> bool:
        return any(first <= day <= last for first, last in self._ranges)

    def describe(self) -> str:
        return ", ".join(
            _iso(first) if first == last else f"{_iso(first)} to {_iso(last)}" for first, last in self._ranges
        )

    def __repr__(self) -> str:
        parts = (
            repr(_iso(first)) if first == last else repr((_iso(first), _iso(last))) for first, last in self._ranges
        )
        return f"Dates({', '.join(parts)})"

    def _data(self) -> dict[str, Any]:
        return {"ranges": [list(pair) for pair in self._ranges]}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_ranges", tuple((int(first), int(last)) for first, last in data["ranges"]))


class Weekdays(_Daily):
    """Closed on certain days of the week: English names, or numbers from 0 (Monday) to 6 (Sunday)."""

    __slots__ = ("_days",)
    kind = "weekdays"
    _days: tuple[int, ...]

    def __init__(self, *days: str | int) -> None:
        numbers = set()
        for day in days:
            if isinstance(day, str) and day.strip().lower()[:3] in _WEEKDAYS:
                name = day.strip().lower()
                number = _WEEKDAYS.index(name[:3])
                if _DAY_NAMES[number].lower().startswith(name):
                    numbers.add(number)
                    continue
            elif isinstance(day, int) and not isinstance(day, bool) and 0 <= day <= 6:
                numbers.add(day)
                continue
            raise InvalidTriggerError(
                f"weekdays: {day!r} is no day of the week{did_you_mean(str(day).lower(), _WEEKDAYS)}", field="weekdays"
            )
        if not 0 < len(numbers) < 7:
            raise InvalidTriggerError("weekdays: give at least one day, and leave one open", field="weekdays")
        object.__setattr__(self, "_days", tuple(sorted(numbers)))

    def _closes(self, day: int) -> bool:
        return (day + 3) % 7 in self._days

    def describe(self) -> str:
        return ", ".join(_DAY_NAMES[day] for day in self._days)

    def __repr__(self) -> str:
        return f"Weekdays({', '.join(repr(_WEEKDAYS[day]) for day in self._days)})"

    def _data(self) -> dict[str, Any]:
        return {"days": list(self._days)}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_days", tuple(int(day) for day in data["days"]))


class Times(Calendar):
    """Closed at a time of day: from ``start`` (inclusive) to ``end`` (exclusive), over midnight when ``end`` is not later.

    Both are ``datetime.time`` or text such as ``"22:00"``; ``"24:00"`` is the end of the day.
    """

    __slots__ = ("_end_s", "_start_s")
    kind = "times"
    _start_s: int
    _end_s: int

    def __init__(self, start: time | str, end: time | str) -> None:
        start_s, end_s = _to_seconds(start, "start"), _to_seconds(end, "end")
        if start_s % DAY_S == end_s % DAY_S:
            raise InvalidTriggerError(f"times: from {start!s} to {end!s} is nothing, or all day", field="times")
        object.__setattr__(self, "_start_s", start_s)
        object.__setattr__(self, "_end_s", end_s)

    @property
    def by_day(self) -> bool:
        return False

    def span(self, local_s: int) -> Span:
        midnight_s = local_s - local_s % DAY_S
        second = local_s - midnight_s
        start_s, end_s = self._start_s, self._end_s
        wraps = end_s < start_s
        low_s, high_s = (end_s, start_s) if wraps else (start_s, end_s)
        if low_s <= second < high_s:
            return Span(not wraps, midnight_s + low_s, midnight_s + high_s)
        if second < low_s:
            return Span(wraps, midnight_s - DAY_S + high_s, midnight_s + low_s)
        return Span(wraps, midnight_s + high_s, midnight_s + DAY_S + low_s)

    def describe(self) -> str:
        return f"{_clock(self._start_s)} to {_clock(self._end_s)}"

    def __repr__(self) -> str:
        return f"Times({_clock(self._start_s)!r}, {_clock(self._end_s)!r})"

    def _data(self) -> dict[str, Any]:
        return {"start_s": self._start_s, "end_s": self._end_s}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_start_s", int(data["start_s"]))
        object.__setattr__(self, "_end_s", int(data["end_s"]))


class Holidays(_Daily):
    """Closed on the public holidays of a country, as the ``holidays`` library knows them (extra ``holidays``).

    :param country: its ISO 3166-1 code, for example ``"DE"``.
    :param subdivision: a part of it that has holidays of its own, for example ``"BY"``.
    """

    __slots__ = ("country", "subdivision")
    kind = "holidays"
    country: str
    subdivision: str | None

    def __init__(self, country: str, subdivision: str | None = None) -> None:
        object.__setattr__(self, "country", country)
        object.__setattr__(self, "subdivision", subdivision)
        _holidays(country, subdivision)

    def _closes(self, day: int) -> bool:
        return date(*civil(day)) in _holidays(self.country, self.subdivision)

    def describe(self) -> str:
        return f"holidays in {self.country}{f' ({self.subdivision})' if self.subdivision else ''}"

    def __repr__(self) -> str:
        return f"Holidays({self.country!r}{f', {self.subdivision!r}' if self.subdivision else ''})"

    def _data(self) -> dict[str, Any]:
        return {"country": self.country, "subdivision": self.subdivision}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "country", data["country"])
        object.__setattr__(self, "subdivision", data["subdivision"])


@lru_cache(maxsize=64)
def _holidays(country: str, subdivision: str | None) -> Any:
    try:
        import holidays
    except ModuleNotFoundError as error:
        raise MissingExtraError("a calendar of holidays", "holidays") from error
    try:
        return holidays.country_holidays(country, subdiv=subdivision)
    except (NotImplementedError, TypeError, AttributeError) as error:
        known = holidays.list_supported_countries()
        if country in known:
            raise InvalidTriggerError(
                f"subdivision: no part of {country} with holidays of its own is called "
                f"{subdivision!r}{did_you_mean(str(subdivision), known[country])}",
                field="subdivision",
            ) from error
        raise InvalidTriggerError(
            f"country: no holidays are known of {country!r}; give an ISO 3166-1 code such as 'DE'", field="country"
        ) from error


class Predicate(_Daily):
    """Closed on the dates of which a function of yours says so: ``Predicate(is_quarter_end)``.

    The function takes a ``datetime.date`` and must give the same answer whenever it is asked. Durable stores need one that
    text can name (defined at the top level of a module), or text ``"module:name"``.
    """

    __slots__ = ("function",)
    kind: ClassVar[str | None] = "predicate"
    foreign = True
    function: Callable[[Any], object]

    def __init__(self, function: Callable[[Any], object] | str) -> None:
        object.__setattr__(self, "function", _to_function(function))

    def _closes(self, day: int) -> bool:
        return bool(self.function(date(*civil(day))))

    def describe(self) -> str:
        return f"whatever {_name_of(self.function)} says"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_ref_or_repr(self.function)!r})"

    def _data(self) -> dict[str, Any]:
        from schedcore.references import ref_of

        return {"function": ref_of(self.function)}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "function", _to_function(data["function"]))

    def __reduce__(self) -> tuple[Any, ...]:
        # pickle may be able to store what text cannot name.
        return type(self), (self.function,)


class Moments(Predicate):
    """Closed at the wall times of which a function of yours says so: it takes a naive ``datetime``, to the second.

    Nothing can be known of the time between two questions, so each excluded fire time is asked for; use ``Predicate`` for
    what goes by the day.
    """

    __slots__ = ()
    kind = "moments"

    @property
    def by_day(self) -> bool:
        return False

    def span(self, local_s: int) -> Span:
        return Span(bool(self.function(_EPOCH + timedelta(seconds=local_s))), local_s, local_s + 1)


class _Several(Calendar):
    """A combination of calendars."""

    __slots__ = ("calendars",)
    calendars: tuple[Calendar, ...]
    _word: ClassVar[str]

    def __init__(self, *calendars: Calendar) -> None:
        parts: list[Calendar] = []
        for each in calendars:
            if not isinstance(each, Calendar):
                raise InvalidTriggerError(f"calendars: {each!r} is no calendar", field="calendars")
            parts.extend(each.calendars if isinstance(each, _Several) and type(each) is type(self) else (each,))
        if not parts:
            raise InvalidTriggerError("calendars: give at least one calendar", field="calendars")
        object.__setattr__(self, "calendars", tuple(parts))

    @property
    def foreign(self) -> bool:
        return any(each.foreign for each in self.calendars)

    @property
    def by_day(self) -> bool:
        return all(each.by_day for each in self.calendars)

    def _combine(self, local_s: int, decides: bool) -> Span:
        """``decides``: the answer of one part that is that of the whole, whatever the others say."""
        since_s, until_s = [], []
        for each in self.calendars:
            closed, since, until = each.span(local_s)
            if closed is decides:
                return Span(decides, since, until)
            since_s.append(since)
            until_s.append(until)
        return Span(not decides, max(since_s), min(until_s))

    def describe(self) -> str:
        return self._word.join(
            f"({each.describe()})" if isinstance(each, _Several) else each.describe() for each in self.calendars
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.calendars))})"

    def _data(self) -> dict[str, Any]:
        return {"calendars": [pack_calendar(each) for each in self.calendars]}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "calendars", tuple(unpack_calendar(each) for each in data["calendars"]))


class AnyOf(_Several):
    """Closed when any of several calendars is: ``a | b``."""

    __slots__ = ()
    kind = "any"
    _word = " or "

    def span(self, local_s: int) -> Span:
        return self._combine(local_s, True)


class AllOf(_Several):
    """Closed when all of several calendars are: ``a & b``."""

    __slots__ = ()
    kind = "all"
    _word = " and "

    def span(self, local_s: int) -> Span:
        return self._combine(local_s, False)


class Not(Calendar):
    """Closed when another calendar is open: ``~a``."""

    __slots__ = ("calendar",)
    kind = "not"
    calendar: Calendar

    def __init__(self, calendar: Calendar) -> None:
        if not isinstance(calendar, Calendar):
            raise InvalidTriggerError(f"calendar: {calendar!r} is no calendar", field="calendar")
        object.__setattr__(self, "calendar", calendar)

    @property
    def foreign(self) -> bool:
        return self.calendar.foreign

    @property
    def by_day(self) -> bool:
        return self.calendar.by_day

    def span(self, local_s: int) -> Span:
        closed, since_s, until_s = self.calendar.span(local_s)
        return Span(not closed, since_s, until_s)

    def __invert__(self) -> Calendar:
        return self.calendar

    def describe(self) -> str:
        return f"all but ({self.calendar.describe()})"

    def __repr__(self) -> str:
        return f"Not({self.calendar!r})"

    def _data(self) -> dict[str, Any]:
        return {"calendar": pack_calendar(self.calendar)}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "calendar", unpack_calendar(data["calendar"]))


_KINDS: dict[str, type[Calendar]] = {
    str(each.kind): each for each in (Dates, Weekdays, Times, Holidays, Predicate, Moments, AnyOf, AllOf, Not)
}


def pack_calendar(calendar: Calendar) -> Any:
    """A calendar as plain data; one of a class that is not known here as it is."""
    return calendar.__getstate__() if _KINDS.get(str(calendar.kind)) is type(calendar) else calendar


def unpack_calendar(packed: Any) -> Calendar:
    """The calendar that ``pack_calendar`` packed. Raises ``ValueError`` for what is none."""
    if isinstance(packed, Calendar):
        return packed
    if not isinstance(packed, Mapping) or packed.get("kind") not in _KINDS:
        raise ValueError(f"{packed!r} is not the record of a calendar")
    cls = _KINDS[packed["kind"]]
    calendar = cls.__new__(cls)
    calendar.__setstate__(dict(packed))
    return calendar


# --- triggers --------------------------------------------------------------------------------------------------------


class _Zoned(Frozen, EngineTrigger):
    """What the triggers of this module share: a zone whose wall clock they go by."""

    __slots__ = ()

    _offsets: Offsets

    def _shown(self, at_us: int) -> tuple[int, int, int]:
        """The local second of an instant, and the instants [from, until) in which the same offset holds; seconds."""
        at_s = min(max(at_us, FIRST_US), LAST_US) // _SECOND_US
        start_s, end_s, offset = offset_at(self._offsets, at_s)
        return at_s + offset, start_s, end_s

    def _wall(self, local_s: int, gap: Gap = "cron") -> int | None:
        """The instant, in microseconds, at which the wall clock first shows a local second."""
        at_s = wall_instant(self._offsets, local_s, gap)
        return None if at_s is None else at_s * _SECOND_US


class Excluding(_Zoned):
    """Another trigger's fire times, but for those in the closed time of a calendar.

    :param trigger: the trigger; one of any kind.
    :param calendar: what is closed.
    :param roll: what becomes of a fire time on a closed day. ``"skip"``: it is left out, and on record as excluded.
        ``"next"`` or ``"previous"``: it runs at the same time of the next or previous open day (once, when several fall
        together); this needs a calendar that closes whole days.
    :param timezone: whose wall clock the calendar speaks of; None: that of the trigger.
    :raises InvalidTriggerError: naming the argument that cannot be used.
    """

    __slots__ = (
        "_child",
        "_offsets",
        "_zone",
        "calendar",
        "end_us",
        "jitter_us",
        "roll",
        "timezone",
        "zone_data_changed",
    )

    timezone: tzinfo
    jitter_us: int
    end_us: int | None
    calendar: Calendar
    roll: Roll
    _child: EngineTrigger
    _zone: tzinfo

    def __init__(
        self,
        trigger: BaseTrigger,
        calendar: Calendar,
        roll: Roll = "skip",
        *,
        timezone: str | tzinfo | None = None,
    ) -> None:
        child = to_trigger(trigger)
        if not isinstance(calendar, Calendar):
            raise InvalidTriggerError(f"calendar: {calendar!r} is no calendar", field="calendar")
        if roll not in _ROLLS:
            raise InvalidTriggerError(
                f"roll: {roll!r} is no rule for excluded times{did_you_mean(str(roll), _ROLLS)}; write 'skip', 'next' or "
                f"'previous'",
                field="roll",
            )
        if roll != "skip" and not calendar.by_day:
            raise InvalidTriggerError(
                f"roll: {roll!r} moves a run to another day, and this calendar does not close whole days: {calendar}",
                field="roll",
            )
        self._fill(child, calendar, roll, child.timezone if timezone is None else to_zone(timezone))

    def _fill(self, child: EngineTrigger, calendar: Calendar, roll: str, zone: tzinfo) -> None:
        put = object.__setattr__
        put(self, "_child", child)
        put(self, "calendar", calendar)
        put(self, "roll", roll)
        put(self, "timezone", zone)
        put(self, "_zone", zone)
        put(self, "_offsets", offsets_for(zone))
        put(self, "jitter_us", child.jitter_us)
        put(self, "end_us", child.end_us)
        put(self, "zone_data_changed", child.zone_data_changed)

    @property
    def foreign(self) -> bool:  # type: ignore[override]
        """Whether that is so of the trigger or the calendar."""
        return self._child.foreign or self.calendar.foreign

    @property
    def trigger(self) -> BaseTrigger:
        """The trigger whose fire times these are."""
        child = self._child
        return child.inner if isinstance(child, ForeignTrigger) else child

    @property
    def elapsed(self) -> bool:  # type: ignore[override]
        """Whether the trigger follows elapsed time."""
        return self._child.elapsed

    def _boxes(self) -> tuple[Box, ...]:
        return boxes_of(self._child) if self.roll == "skip" else ANYWHERE

    # -- left out ------------------------------------------------------------------------------------------------------

    def _closed_until(self, at_us: int) -> tuple[bool, int, int]:
        """Whether an instant is closed, and the instants [since, until) around it of which the same is known; us."""
        local_s, start_s, end_s = self._shown(at_us)
        offset = local_s - at_us // _SECOND_US
        closed, since_s, until_s = self.calendar.span(local_s)
        # A change of the clocks ends what is known, because local time goes on elsewhere.
        return closed, max(since_s - offset, start_s) * _SECOND_US, min(until_s - offset, end_s) * _SECOND_US

    def next_us(self, after_us: int) -> int | None:
        if self.roll != "skip":
            return self._next_rolled(after_us)
        first_us = at_us = self._child.next_us(after_us)
        for _ in range(MAX_SPANS):
            if at_us is None or at_us <= after_us:
                return at_us
            closed, _, until_us = self._closed_until(at_us)
            if not closed:
                return at_us
            if first_us is not None and at_us - first_us > _FURTHEST_US:
                break
            at_us = self._child.next_us(max(until_us - 1, at_us))
        raise InvalidTriggerError(
            f"all fire times from {_day_of(first_us)} to {_day_of(at_us)} are excluded, and the search ended there: {self}",
            field="calendar",
        )

    def last_us(self, upto_us: int) -> int | None:
        """The last fire time not later than ``upto_us``. Raises ``LookupError`` where that cannot be found."""
        ask: Callable[[int], int | None] | None = getattr(self._child, "last_us", None)
        if ask is None or self.roll != "skip":
            raise LookupError
        at_us = ask(upto_us)
        for _ in range(MAX_SPANS):
            if at_us is None:
                return None
            closed, since_us, _ = self._closed_until(at_us)
            if not closed:
                return at_us
            at_us = ask(since_us - 1)
        raise LookupError

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        child = self._child
        times, last_us, at_us = 0, None, after_us
        if self.roll == "skip" and isinstance(child, GridTrigger):
            for _ in range(MAX_SPANS):
                next_us = child.next_us(at_us)
                if next_us is None or next_us > upto_us:
                    return Backlog(times, last_us, None if next_us is None else self.next_us(upto_us))
                closed, _, until_us = self._closed_until(next_us)
                end_us = min(max(until_us - 1, next_us), upto_us)
                if not closed:
                    times += child.count_us(at_us, end_us)
                    last_us = child.last_us(end_us)
                at_us = end_us
        else:
            for _ in range(MAX_STEPS):
                next_us = self.next_us(at_us)
                if next_us is None or next_us > upto_us or next_us <= at_us:
                    return Backlog(times, last_us, next_us)
                times, last_us, at_us = times + 1, next_us, next_us
        # The count is a lower bound from here on.
        try:
            beyond_us = self.last_us(upto_us)
        except LookupError:
            return Backlog(times, last_us, self.next_us(at_us))
        if beyond_us is not None and beyond_us > at_us:
            times, last_us = times + 1, beyond_us
        return Backlog(times, last_us, self.next_us(upto_us))

    @property
    def excludes(self) -> bool:  # type: ignore[override]
        """Whether it leaves fire times out, rather than moving them."""
        return self.roll == "skip"

    def excluded(self, after_us: int, before_us: int) -> Excluded | None:
        if self.roll != "skip":
            return None
        child = self._child
        times, first_us, last_us = 0, 0, 0
        at_us = after_us
        for _ in range(MAX_SPANS):
            next_us = child.next_us(at_us)
            if next_us is None or next_us >= before_us or next_us <= at_us:
                break
            closed, _, until_us = self._closed_until(next_us)
            end_us = min(max(until_us - 1, next_us), before_us - 1)
            if closed:
                first_us = first_us if times else next_us
                if isinstance(child, GridTrigger):
                    times += child.count_us(at_us, end_us)
                    last_us = child.last_us(end_us) or next_us
                else:
                    backlog = child.backlog(at_us, end_us)
                    times += backlog.times
                    last_us = backlog.last_us or next_us
            at_us = end_us
        return Excluded(times, first_us, last_us) if times else None

    def why_not(self, at_us: int) -> list[str]:
        """Why it does not fire at an instant at which the trigger would."""
        local_s = self._shown(at_us)[0]
        if self._child.next_us(at_us - 1) != at_us or not self.calendar.span(local_s).closed:
            return []
        what = "is left out" if self.roll == "skip" else f"is moved to the {self.roll} open day"
        return [f"{_EPOCH + timedelta(seconds=local_s)} is closed and {what}: {self.calendar.describe()}"]

    # -- moved to another day ------------------------------------------------------------------------------------------

    def _open(self, day: int) -> bool:
        return not self.calendar.span(day * DAY_S).closed

    def _open_day(self, day: int, step: int) -> int:
        """The first open day from ``day`` on, forward or back."""
        for _ in range(_ROLL_LIMIT):
            if self._open(day):
                return day
            day += step
        raise InvalidTriggerError(
            f"no business day is within {_ROLL_LIMIT} days of {_iso(day - step * _ROLL_LIMIT)}: {self}",
            field="calendar",
        )

    def _next_rolled(self, after_us: int) -> int | None:
        forward = self.roll == "next"
        day = self._open_day(self._shown(after_us)[0] // DAY_S, 1)
        for _ in range(MAX_SPANS):
            # Runs of this day, and those that are moved to it: the closed days before it, or after it, until an open one.
            answer_us = self._on_day(day, day, after_us)
            source = day
            for _ in range(_ROLL_LIMIT):
                source += -1 if forward else 1
                if self._open(source):
                    break
                moved_us = self._on_day(day, source, after_us)
                if moved_us is not None and (answer_us is None or moved_us < answer_us):
                    answer_us = moved_us
            if answer_us is not None:
                return answer_us
            end_us = self._wall(((day if forward else source - 1) + 1) * DAY_S)
            assert end_us is not None
            at_us = self._child.next_us(end_us - 1)
            if at_us is None:
                return None
            following = self._shown(at_us)[0] // DAY_S
            day = max(self._open_day(following, 1 if forward else -1), day + 1)
        raise InvalidTriggerError(f"no fire time was found after {_day_of(after_us)}: {self}", field="calendar")

    def _on_day(self, day: int, source: int, after_us: int) -> int | None:
        """The first run later than ``after_us`` that is moved from one day to another, or that stays on its day."""
        moved_s = (day - source) * DAY_S
        # On the source's day, from the time of day on that is not later than after_us on the other.
        local_s = max(self._shown(after_us)[0] - moved_s, source * DAY_S)
        end_us = self._wall((source + 1) * DAY_S)
        from_us = self._wall(local_s)
        assert from_us is not None
        assert end_us is not None
        if not moved_s:
            at_us = self._child.next_us(max(after_us, (self._wall(source * DAY_S) or after_us) - 1))
            return at_us if at_us is not None and at_us < end_us else None
        # The time of day may come twice on the source's day; a run is moved to its first.
        at_us = self._child.next_us(min(from_us, end_us) - 1)
        for _ in range(MAX_STEPS):
            if at_us is None or at_us >= end_us:
                return None
            there_us = self._wall(self._shown(at_us)[0] + moved_s)
            assert there_us is not None
            there_us += at_us % _SECOND_US
            if there_us > after_us:
                return there_us
            at_us = self._child.next_us(at_us)
        return None

    # -- being a value -------------------------------------------------------------------------------------------------

    def _with(self, child: EngineTrigger) -> Self:
        if child is self._child:
            return self
        made = object.__new__(type(self))
        made._fill(child, self.calendar, self.roll, self.timezone)
        return made

    def first_us(self, at_us: int) -> int | None:
        first_us = self._child.first_us(at_us)
        if first_us is not None and first_us < at_us and self.roll == "skip":
            # A date that has passed, which is late and not never; unless it was excluded.
            return self.next_us(first_us - 1)
        return self.next_us(at_us - 1)

    def anchored(self, now_us: int) -> Self:
        return self._with(self._child.anchored(now_us))

    def seeded(self, job_id: str) -> Self:
        return self._with(self._child.seeded(job_id))

    def same_rule(self, other: BaseTrigger) -> bool:
        return (
            isinstance(other, Excluding)
            and self._child.same_rule(other._child)
            and (self.calendar, self.roll) == (other.calendar, other.roll)
            and same_zone(self.timezone, other.timezone)
        )

    def describe(self) -> str:
        if self.roll == "skip":
            return f"{self._child.describe()}, except {self.calendar.describe()}"
        return f"{self._child.describe()}, on the {self.roll} business day where that is closed: {self.calendar.describe()}"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (
            self._child == other._child
            and (self.calendar, self.roll) == (other.calendar, other.roll)
            and same_zone(self.timezone, other.timezone)
        )

    def __hash__(self) -> int:
        return hash((Excluding, self._child, self.calendar, self.roll))

    def __str__(self) -> str:
        return f"excluding[{self._child}, {self.calendar}{'' if self.roll == 'skip' else f', {self.roll}'}]"

    def __repr__(self) -> str:
        parts = [repr(self._child), repr(self.calendar)]
        if self.roll != "skip":
            parts.append(f"roll={self.roll!r}")
        if not same_zone(self.timezone, self._child.timezone):
            parts.append(f"timezone={zone_state(self.timezone)!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "trigger": pack_trigger(self._child),
            "calendar": pack_calendar(self.calendar),
            "roll": self.roll,
            "timezone": zone_state(self.timezone),
            **zone_stamp(self.timezone),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_version(state, _STATE_VERSION, "an excluding trigger")
        try:
            if state["roll"] not in _ROLLS:
                raise ValueError(f"the state of an excluding trigger has the unknown rule {state['roll']!r}")
            self._fill(
                unpack_trigger(state["trigger"]),
                unpack_calendar(state["calendar"]),
                state["roll"],
                to_zone(state["timezone"]),
            )
            if is_other_release(state, self.timezone):
                object.__setattr__(self, "zone_data_changed", True)
        except KeyError as error:
            raise ValueError(f"the state of an excluding trigger lacks {error}") from None


class BusinessDayTrigger(_Zoned):
    """Fires on the n-th open day of each month: ``BusinessDayTrigger(4, Weekdays("sat", "sun"), hour=9)``.

    :param nth: 1 for the first open day of the month, 2 for the second, …; -1 for the last, -2 for the one before.
    :param calendar: what is closed; it must close whole days. None: Saturdays and Sundays.
    :param months: the months in which it fires, 1 to 12; None: all of them.
    :param hour, minute, second: the wall time.
    :param start_date, end_date: no fire time is earlier, or later (a date, a datetime or ISO 8601 text).
    :param timezone: a zone's name or any ``tzinfo``; None: the machine's own.
    :param jitter: seconds; upper bound of the random delay that the scheduler adds to each run.
    :raises InvalidTriggerError: naming the argument that cannot be used.

    A month that has fewer open days is left out. A time that the clocks jump over runs at the end of the jump.
    """

    __slots__ = (
        "_from_us",
        "_offsets",
        "_time_s",
        "_upto_us",
        "calendar",
        "end_us",
        "jitter_us",
        "months",
        "nth",
        "timezone",
        "zone_data_changed",
    )

    timezone: tzinfo
    jitter_us: int
    end_us: int | None
    nth: int
    calendar: Calendar
    months: tuple[int, ...]
    _time_s: int
    _from_us: int
    _upto_us: int

    def __init__(
        self,
        nth: int,
        calendar: Calendar | None = None,
        *,
        months: Iterable[int] | None = None,
        hour: int = 0,
        minute: int = 0,
        second: int = 0,
        start_date: date | datetime | str | None = None,
        end_date: date | datetime | str | None = None,
        timezone: str | tzinfo | None = None,
        jitter: float | None = None,
    ) -> None:
        calendar = Weekdays("sat", "sun") if calendar is None else calendar
        _check_whole("nth", nth, -31, 31)
        if not nth:
            raise InvalidTriggerError("nth: 0 is no business day; the first is 1, the last -1", field="nth")
        if not isinstance(calendar, Calendar) or not calendar.by_day:
            raise InvalidTriggerError(f"calendar: {calendar!r} does not close whole days", field="calendar")
        named = tuple(sorted(set(range(1, 13) if months is None else months)))
        for month in named or (0,):
            _check_whole("months", month, 1, 12)
        for name, value, most in (("hour", hour, 23), ("minute", minute, 59), ("second", second, 59)):
            _check_whole(name, value, 0, most)
        zone = to_zone(timezone)
        self._fill(
            nth,
            calendar,
            named,
            hour * 3600 + minute * 60 + second,
            None if start_date is None else to_instant(start_date, zone, "start_date"),
            None if end_date is None else to_instant(end_date, zone, "end_date"),
            zone,
            0 if jitter is None else to_jitter(jitter),
        )

    def _fill(
        self,
        nth: int,
        calendar: Calendar,
        months: tuple[int, ...],
        time_s: int,
        start_us: int | None,
        end_us: int | None,
        zone: tzinfo,
        jitter_us: int,
    ) -> None:
        put = object.__setattr__
        put(self, "nth", nth)
        put(self, "calendar", calendar)
        put(self, "months", months)
        put(self, "_time_s", time_s)
        put(self, "_from_us", FIRST_US if start_us is None else start_us)
        put(self, "_upto_us", LAST_US if end_us is None else min(end_us, LAST_US))
        put(self, "end_us", end_us)
        put(self, "timezone", zone)
        put(self, "_offsets", offsets_for(zone))
        put(self, "jitter_us", jitter_us)
        put(self, "zone_data_changed", False)

    @property
    def foreign(self) -> bool:  # type: ignore[override]
        """Whether asking its calendar runs code of a user's."""
        return self.calendar.foreign

    @property
    def jitter(self) -> float | None:
        """Seconds, or None."""
        return from_jitter_us(self.jitter_us)

    def _in_month(self, month: int) -> int | None:
        """The fire time in a month (months since year 0), or None."""
        year, index = divmod(month, 12)
        if index + 1 not in self.months or not 1 <= year <= 9999:
            return None
        first, length = day_number(year, index + 1, 1), month_length(year, index + 1)
        days = range(first, first + length) if self.nth > 0 else range(first + length - 1, first - 1, -1)
        left = abs(self.nth)
        for day in days:
            if not self.calendar.span(day * DAY_S).closed:
                left -= 1
                if not left:
                    return self._wall(day * DAY_S + self._time_s)
        return None

    def _month_of(self, at_us: int) -> int:
        year, month, _ = civil(self._shown(at_us)[0] // DAY_S)
        return 12 * year + month - 1

    def next_us(self, after_us: int) -> int | None:
        after_us = max(after_us, self._from_us - 1)
        if after_us >= self._upto_us:
            return None
        month = self._month_of(after_us)
        # The first of a month may run later than the end of a gap in the month before.
        for each in range(month, month + _MONTHS_LIMIT):
            at_us = self._in_month(each)
            if at_us is not None and at_us > after_us:
                return at_us if at_us <= self._upto_us else None
            if each // 12 > 9999:
                return None
        raise InvalidTriggerError(f"no month within 100 years has such a day: {self}", field="nth")

    def last_us(self, upto_us: int) -> int | None:
        """The last fire time not later than ``upto_us``."""
        upto_us = min(upto_us, self._upto_us)
        if upto_us < self._from_us:
            return None
        month = self._month_of(upto_us)
        for each in range(month, month - _MONTHS_LIMIT, -1):
            at_us = self._in_month(each)
            if at_us is not None and at_us <= upto_us:
                return at_us if at_us >= self._from_us else None
        return None

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        times, last_us, at_us = 0, None, after_us
        for _ in range(_MONTHS_LIMIT):
            next_us = self.next_us(at_us)
            if next_us is None or next_us > upto_us:
                return Backlog(times, last_us, next_us)
            times, last_us, at_us = times + 1, next_us, next_us
        return Backlog(times, last_us, self.next_us(at_us))

    def _rule(self) -> tuple[object, ...]:
        return (
            self.nth,
            self.calendar,
            self.months,
            self._time_s,
            self._from_us,
            self.end_us,
            self.jitter_us,
        )

    def describe(self) -> str:
        number = abs(self.nth)
        suffix = {1: "st", 2: "nd", 3: "rd"}.get(number if number < 20 else number % 10, "th")
        which = f"{number}{suffix}" if self.nth > 0 else "last" if number == 1 else f"{number}{suffix} last"
        text = f"at {_clock(self._time_s)} on the {which} business day of the month"
        if len(self.months) < 12:
            text += f" in month {', '.join(map(str, self.months))}"
        text += f" (closed: {self.calendar.describe()})"
        if self._from_us != FIRST_US:
            text += f" from {to_datetime(self._from_us).astimezone(self.timezone):%Y-%m-%d %H:%M:%S}"
        if self.end_us is not None:
            text += f" until {to_datetime(self.end_us).astimezone(self.timezone):%Y-%m-%d %H:%M:%S}"
        return text

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._rule() == other._rule() and same_zone(self.timezone, other.timezone)

    def __hash__(self) -> int:
        return hash((BusinessDayTrigger, self.nth, self.calendar, self._time_s))

    def __str__(self) -> str:
        return f"businessday[{self.nth} at {_clock(self._time_s)}, closed: {self.calendar}]"

    def __repr__(self) -> str:
        parts = [repr(self.nth), repr(self.calendar)]
        if len(self.months) < 12:
            parts.append(f"months={list(self.months)!r}")
        clock = (("hour", self._time_s // 3600), ("minute", self._time_s // 60 % 60), ("second", self._time_s % 60))
        parts.extend(f"{name}={value}" for name, value in clock if value)
        for name, at_us in (("start_date", self._from_us), ("end_date", self.end_us)):
            if at_us is not None and at_us != FIRST_US:
                parts.append(f"{name}={to_datetime(at_us).astimezone(self.timezone).isoformat()!r}")
        parts.append(f"timezone={zone_state(self.timezone)!r}")
        if self.jitter_us:
            parts.append(f"jitter={self.jitter!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "nth": self.nth,
            "calendar": pack_calendar(self.calendar),
            "months": list(self.months),
            "time_s": self._time_s,
            "start_us": None if self._from_us == FIRST_US else self._from_us,
            "end_us": self.end_us,
            "timezone": zone_state(self.timezone),
            "jitter_us": self.jitter_us,
            **zone_stamp(self.timezone),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_version(state, _STATE_VERSION, "a business day trigger")
        try:
            nth, time_s, months = int(state["nth"]), int(state["time_s"]), tuple(int(each) for each in state["months"])
            if not nth or not 0 <= time_s < DAY_S or not months:
                raise ValueError("the state of a business day trigger has a rule that this release does not know")
            self._fill(
                nth,
                unpack_calendar(state["calendar"]),
                months,
                time_s,
                state["start_us"],
                state["end_us"],
                to_zone(state["timezone"]),
                int(state["jitter_us"]),
            )
            object.__setattr__(self, "zone_data_changed", is_other_release(state, self.timezone))
        except KeyError as error:
            raise ValueError(f"the state of a business day trigger lacks {error}") from None


# --- reading arguments -----------------------------------------------------------------------------------------------


def _to_day(value: object) -> int:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value.strip())
        except ValueError:
            raise InvalidTriggerError(
                f"dates: {value!r} is not a date; write ISO 8601 text such as '2026-12-24'", field="dates"
            ) from None
    if not isinstance(value, date) or isinstance(value, datetime):
        raise InvalidTriggerError(f"dates: {value!r} is of type {type(value).__name__}; give dates", field="dates")
    return day_number(value.year, value.month, value.day)


def _to_seconds(value: object, field: str) -> int:
    if isinstance(value, str):
        text = value.strip()
        if text == "24:00":
            return DAY_S
        try:
            value = time.fromisoformat(text)
        except ValueError:
            raise InvalidTriggerError(
                f"{field}: {text!r} is not a time of day; write it as '22:00' or '22:00:30'", field=field
            ) from None
    if not isinstance(value, time) or value.tzinfo is not None or value.microsecond:
        raise InvalidTriggerError(
            f"{field}: {value!r} cannot be used; give a time of day in whole seconds, without a zone", field=field
        )
    return value.hour * 3600 + value.minute * 60 + value.second


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidTriggerError(f"{name}: {value!r} is not a whole number from {least} to {most}", field=name)


def _to_function(function: Callable[..., object] | str) -> Callable[[Any], object]:
    found: Any = function
    if isinstance(function, str):
        from schedcore.references import resolve

        found = resolve(function)
    if not callable(found):
        raise InvalidTriggerError(f"function: {function!r} cannot be called", field="function")
    return found  # type: ignore[no-any-return]


def _name_of(function: Callable[..., object]) -> str:
    from schedcore.references import callable_name

    return callable_name(function)


def _ref_or_repr(function: Callable[..., object]) -> str:
    from schedcore.references import ref_of

    try:
        return ref_of(function)
    except ValueError:
        return repr(function)


def _clock(second: int) -> str:
    hours, rest = divmod(second, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours:02}:{minutes:02}" + (f":{seconds:02}" if seconds else "")


def _iso(day: int) -> str:
    return date(*civil(day)).isoformat()


def _day_of(at_us: int | None) -> str:
    return "the end of time" if at_us is None else f"{to_datetime(min(max(at_us, FIRST_US), LAST_US)):%Y-%m-%d}"

"""The trigger ``cron``: a schedule by the wall clock of a zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, tzinfo
from datetime import timezone as fixed_zone
from typing import Any, ClassVar, Literal, Never, NoReturn, Self

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError, did_you_mean
from schedcore.triggers import _old_states, _zones
from schedcore.triggers._stored import bound_in, check_version, is_other_release, jitter_in, zone_stamp
from schedcore.triggers._zones import FIRST_US, LAST_US, same_zone, to_instant, to_jitter, to_zone, zone_state
from schedcore.triggers.base import Frozen, GridTrigger, Swallowed, unknown_option
from schedcore.triggers.cron._changes import ClockChange, clock_changes
from schedcore.triggers.cron._dialects import DIALECTS, KEYWORDS, Crontab, has_hash, parse_keywords, read
from schedcore.triggers.cron._dst import (
    BLOCK_S,
    Offsets,
    count,
    is_still,
    jumps,
    last_upto,
    literal_next,
    offsets_for,
    once_next,
)
from schedcore.triggers.cron._rule import CronRule
from schedcore.triggers.cron._search import Plan, plan_for
from schedcore.triggers.cron._shown import CronField, fields_of
from schedcore.triggers.cron._words import in_words

__all__ = ["CronTrigger"]

_STATE_VERSION = 3  # 1 and 2 are those of APScheduler 3.x
_SECOND_US = 1_000_000
_ALL_HOURS = (1 << 24) - 1
# Seconds. What the clocks swallow is looked for in so long a time (100 years).
_FURTHEST_S = 36525 * 86400
_DST = ("cron", "literal")
_BLANK = re.compile(r"\s")
_SHOWN = re.compile(r"cron\[(.*)\]", re.DOTALL)
_SHOWN_FIELD = re.compile(r"(\w+)='([^']*)'(?:, |$)")

# The fields of the keyword form as they were written; the other form is a ``Crontab``.
_Keywords = tuple[str | None, ...]


class _Unseeded(Plan):
    """Stands for the plan of a schedule with ``H`` whose seed is not known yet: it knows no times."""

    __slots__ = ("_text",)

    def __init__(self, text: str, rule: CronRule) -> None:
        super().__init__(rule)
        self._text = text

    def _refuse(self) -> NoReturn:
        raise InvalidTriggerError(
            f"crontab {self._text!r}: 'H' stands for a number that a seed picks; give seed=, or add the job to a scheduler, "
            f"which takes the job's id",
            field="seed",
        )

    def spans(self, from_s: int, until_s: int) -> list[tuple[int, int]]:
        self._refuse()

    def at_or_after(self, local_s: int) -> int | None:
        self._refuse()

    def at_or_before(self, local_s: int) -> int | None:
        self._refuse()

    def count(self, from_s: int, until_s: int) -> int:
        self._refuse()


class CronTrigger(Frozen, GridTrigger):
    """Fires when the wall clock of ``timezone`` shows one of the schedule's times.

    Each field is a number or text: ``*``, ``*/a``, ``a-b``, ``a-b/c``, ``a/c``, and lists of them with
    commas; a range may wrap round (``hour="22-2"``). Months and weekdays may be named in English. A field
    that is left out means ``*`` when it is more significant than the least significant field given, else its
    minimum; ``week`` and ``day_of_week`` then mean ``*``. Without any field all do. Crontab text: ``from_crontab``.

    :param year: 1970 to 9999. :param month: 1 to 12, or names. :param day: day of the month, 1 to 31; also
    ``last``, ``2nd fri``, ``last sun``. :param week: ISO 8601 week, 1 to 53. :param day_of_week: 0 (Monday)
    to 6 (Sunday), or names. A day must match all the fields given. :param hour: 0 to 23. :param minute: 0 to
    59. :param second: 0 to 59. :param start_date: no fire time is earlier (a date, a datetime or ISO 8601
    text; without an offset it is local time). :param end_date: no fire time is later. :param timezone: a
    zone's name or any ``tzinfo``; None: the zone of ``start_date`` or ``end_date`` where that is a datetime
    with one, else the machine's own. :param jitter: seconds; upper bound of the random delay that the
    scheduler adds to each run, off the grid. :param dst: what happens when the clocks change. ``"cron"``, as
    Debian's cron(8): a fixed time in a gap runs at the first instant after it, one in an overlap runs the
    first time only; a schedule whose minute or hour begins with ``*`` follows real time. ``"literal"``: a
    time in a gap does not run, one in an overlap runs twice. :raises InvalidTriggerError: naming the field
    and the column of what is not understood.
    """

    __slots__ = (
        "_from_us",
        "_offsets",
        "_once",
        "_plan",
        "_source",
        "_upto_us",
        "dst",
        "end_us",
        "jitter_us",
        "omits",
        "timezone",
        "zone_data_changed",
    )

    plain: ClassVar[bool] = True
    #: The names of ``fields``, in their order: that of the arguments.
    FIELD_NAMES: ClassVar[tuple[str, ...]] = KEYWORDS

    timezone: tzinfo
    #: Microseconds.
    jitter_us: int
    end_us: int | None
    dst: Literal["cron", "literal"]
    #: Whether the clocks may jump over one of its times, and nothing runs in its place. Not where it runs in every hour.
    omits: bool
    _source: _Keywords | Crontab
    _plan: Plan
    _offsets: Offsets
    _once: bool  # whether each local time happens once (see _dst)
    _from_us: int  # the bounds that hold
    _upto_us: int

    def __init__(
        self,
        year: int | str | None = None,
        month: int | str | None = None,
        day: int | str | None = None,
        week: int | str | None = None,
        day_of_week: int | str | None = None,
        hour: int | str | None = None,
        minute: int | str | None = None,
        second: int | str | None = None,
        start_date: date | datetime | str | None = None,
        end_date: date | datetime | str | None = None,
        timezone: str | tzinfo | None = None,
        jitter: float | None = None,
        dst: Literal["cron", "literal"] = "cron",
        **others: Never,
    ) -> None:
        if others:
            raise unknown_option(type(self), others)
        given = (year, month, day, week, day_of_week, hour, minute, second)
        source = tuple(_text(name, value) for name, value in zip(KEYWORDS, given, strict=True))
        self._build(source, start_date, end_date, timezone, jitter, dst)

    @classmethod
    def from_crontab(
        cls,
        expr: str,
        timezone: str | tzinfo | None = None,
        *,
        start_date: date | datetime | str | None = None,
        end_date: date | datetime | str | None = None,
        jitter: float | None = None,
        dst: Literal["cron", "literal"] = "cron",
        dialect: str = "unix",
        seconds: bool = False,
        year: bool = False,
        seed: str | None = None,
    ) -> Self:
        """A trigger from crontab text, by default as crontab(5) reads it: ``30 7 * * mon-fri``, ``@daily``.

        0 and 7 are Sunday, and when neither day field begins with ``*`` a day matches when either does.

        :param expr: minute, hour, day of the month, month, day of the week; or @hourly, @daily, @midnight,
        @weekly, @monthly, @yearly, @annually. :param dialect: how the text is read. ``"unix"`` is crontab(5)
        (and ``L``, ``15W``, ``fri#2``, ``friL``); ``"quartz"`` has seconds first, ``?``, 1 for Sunday and
        perhaps a year; ``"apscheduler3"`` has 0 for Monday, and both day fields must match. :param seconds:
        whether a field of seconds comes first (``unix``). :param year: whether a field of years comes last
        (``unix``). :param seed: what picks the numbers that ``H`` stands for, for example the id of the job.
        None: the scheduler takes the id of the job; until then the trigger knows no times. :raises
        InvalidTriggerError: naming the field and the column of what is not understood.

        The other parameters are those of the class.
        """
        if not isinstance(expr, str):
            raise InvalidTriggerError(
                f"crontab: {expr!r} is of type {type(expr).__name__}; give text such as '30 7 * * mon-fri'",
                field="crontab",
            )
        if not isinstance(dialect, str) or dialect not in DIALECTS:
            raise InvalidTriggerError(
                f"dialect: no crontab dialect is called {dialect!r}{did_you_mean(str(dialect), DIALECTS)}",
                field="dialect",
            )
        if seed is not None and not isinstance(seed, str):
            raise InvalidTriggerError(
                f"seed: {seed!r} is of type {type(seed).__name__}; give text, such as the id of the job", field="seed"
            )
        given = Crontab(dialect, expr, bool(seconds), bool(year), "" if seed is None else seed)
        read(given)  # for an error's column in the text as given
        source = given._replace(text=" ".join(expr.split()), seed=seed if has_hash(given) else None)
        self = cls._unread(timezone)
        self._build(source, start_date, end_date, timezone, jitter, dst)
        return self

    @classmethod
    def from_str(
        cls,
        text: str,
        timezone: str | tzinfo | None = None,
        *,
        start_date: date | datetime | str | None = None,
        end_date: date | datetime | str | None = None,
        jitter: float | None = None,
        dst: Literal["cron", "literal"] = "cron",
        dialect: str = "unix",
        seconds: bool = False,
        year: bool = False,
        seed: str | None = None,
    ) -> Self:
        """A trigger from what ``str(trigger)`` shows: crontab text, or ``cron[hour='7', minute='30']``.

        :raises InvalidTriggerError: for text that neither form understands.
        """
        shown = _SHOWN.fullmatch(text)
        if shown is None:
            return cls.from_crontab(
                text,
                timezone,
                start_date=start_date,
                end_date=end_date,
                jitter=jitter,
                dst=dst,
                dialect=dialect,
                seconds=seconds,
                year=year,
                seed=seed,
            )
        fields: dict[str, str] = {}
        at = 0
        inner = shown.group(1)
        while at < len(inner):
            match = _SHOWN_FIELD.match(inner, at)
            if match is None or match.group(1) not in KEYWORDS or match.group(1) in fields:
                raise InvalidTriggerError(
                    f"{text!r}, column {at + 6}: this is not understood; write name='value' with a comma between, "
                    f"each once, of {', '.join(KEYWORDS)}",
                    field="cron",
                    column=at + 6,
                )
            fields[match.group(1)] = match.group(2)
            at = match.end()
        self = cls._unread(timezone)
        self._build(tuple(fields.get(name) for name in KEYWORDS), start_date, end_date, timezone, jitter, dst)
        return self

    @classmethod
    def _unread(cls, timezone: str | tzinfo | None) -> Self:
        """One that has no schedule yet. What the ``__init__`` of a derived class does is done, as by ``from_crontab`` of 3.x."""
        plain = cls.__init__ is CronTrigger.__init__
        return cls.__new__(cls) if plain else cls(timezone=timezone)

    def _build(
        self,
        source: _Keywords | Crontab,
        start_date: date | datetime | str | None,
        end_date: date | datetime | str | None,
        timezone: str | tzinfo | None,
        jitter: float | None,
        dst: str,
    ) -> None:
        if timezone is None:
            for bound in (start_date, end_date):
                if isinstance(bound, datetime) and bound.tzinfo is not None:
                    timezone = bound.tzinfo
                    break
        recent = _zones.recent
        zone = recent if timezone is recent else to_zone(timezone)
        start_us = None if start_date is None else to_instant(start_date, zone, "start_date")
        end_us = None if end_date is None else to_instant(end_date, zone, "end_date")
        if start_us is not None and end_us is not None and end_us < start_us:
            raise InvalidTriggerError(
                f"end_date: {end_date!s} is before the start_date {start_date!s}: it would never fire", field="end_date"
            )
        self._fill(source, zone, start_us, end_us, 0 if jitter is None else to_jitter(jitter), dst)

    def _fill(
        self,
        source: _Keywords | Crontab,
        zone: tzinfo,
        start_us: int | None,
        end_us: int | None,
        jitter_us: int,
        dst: str,
    ) -> None:
        if dst not in _DST:
            raise InvalidTriggerError(
                f"dst: {dst!r} is no rule for clock changes{did_you_mean(str(dst), _DST)}; write 'cron' (each time happens "
                f"once) or 'literal' (as the wall clock shows it)",
                field="dst",
            )
        rule = _read(source)
        put = object.__setattr__
        put(self, "_source", source)
        put(self, "timezone", zone)
        plan = plan_for(rule._replace(wildcard=False))
        if isinstance(source, Crontab) and source.seed is None and has_hash(source):
            plan = _Unseeded(source.text, plan.rule)
        put(self, "_plan", plan)
        put(self, "_once", dst == "cron" and not rule.wildcard and rule.seconds.bit_count() == 1)
        put(self, "omits", not self._once and rule.hours != _ALL_HOURS and type(zone) is not fixed_zone)
        put(self, "_offsets", offsets_for(zone))
        put(self, "_from_us", FIRST_US if start_us is None else start_us)
        put(self, "_upto_us", LAST_US if end_us is None else end_us)
        put(self, "end_us", end_us)
        put(self, "jitter_us", jitter_us)
        put(self, "dst", dst)
        put(self, "zone_data_changed", False)

    @property
    def start_date(self) -> datetime | None:
        """The start that was given, aware, in the trigger's zone; None when there is none."""
        return None if self._from_us == FIRST_US else to_datetime(self._from_us).astimezone(self.timezone)

    @property
    def end_date(self) -> datetime | None:
        """The end that was given, aware, in the trigger's zone; None when there is none."""
        return None if self.end_us is None else to_datetime(self.end_us).astimezone(self.timezone)

    @property
    def rule(self) -> CronRule:
        """What the schedule means, however it was written."""
        return _read(self._source)

    @property
    def fields(self) -> list[CronField]:
        """The schedule in the fields of the keyword form, the most significant first, also where it was left out.

        Of crontab text, weekdays that are numbers there are named, because the numbers of the keyword form are others.
        That either of two day fields will do is not said here, but by ``rule``.
        """
        return fields_of(self._source, self._plan.rule)

    @property
    def source(self) -> tuple[str | None, ...] | Crontab:
        """The schedule as it was written: the fields of the keyword form in their order, or a crontab text."""
        return self._source

    @property
    def dialect(self) -> str | None:
        """The dialect of a crontab text; None for the keyword form."""
        return self._source.dialect if isinstance(self._source, Crontab) else None

    @property
    def once(self) -> bool:
        """Whether each local time happens once when the clocks change; if not, the schedule follows real time."""
        return self._once

    def seeded(self, job_id: str) -> Self:
        if type(self._plan) is not _Unseeded:
            return self
        assert isinstance(self._source, Crontab)
        bound = self._blank()
        start_us = None if self._from_us == FIRST_US else self._from_us
        bound._fill(self._source._replace(seed=job_id), self.timezone, start_us, self.end_us, self.jitter_us, self.dst)
        return bound

    def next_us(self, after_us: int) -> int | None:
        if after_us < self._from_us:
            after_us = self._from_us - 1
        from_s = after_us // _SECOND_US + 1
        offsets = self._offsets
        offset = offsets[from_s // BLOCK_S]
        if offset.__class__ is int:
            local_s = self._plan.at_or_after(from_s + offset)
            if local_s is None:
                return None
            offset = offsets[local_s // BLOCK_S]
            if offset.__class__ is int:
                answer_us = (local_s - offset) * _SECOND_US
                return answer_us if answer_us <= self._upto_us else None
        answer_s = (once_next if self._once else literal_next)(self._plan, offsets, from_s)
        if answer_s is None or answer_s * _SECOND_US > self._upto_us:
            return None
        return answer_s * _SECOND_US

    def last_us(self, upto_us: int) -> int | None:
        answer_s = last_upto(self._plan, self._offsets, min(upto_us, self._upto_us) // _SECOND_US, self._once)
        if answer_s is None or answer_s * _SECOND_US < self._from_us:
            return None
        return answer_s * _SECOND_US

    def count_us(self, after_us: int, upto_us: int) -> int:
        from_s = max(after_us, self._from_us - 1) // _SECOND_US + 1
        until_s = min(upto_us, self._upto_us) // _SECOND_US + 1
        return count(self._plan, self._offsets, from_s, until_s, self._once)

    def swallowed(self, after_us: int, upto_us: int) -> list[Swallowed]:
        from_s = max(after_us, self._from_us - 1) // _SECOND_US + 1
        upto_s = min(upto_us, self._upto_us) // _SECOND_US
        upto_s = min(upto_s, from_s + _FURTHEST_S)
        if not self.omits or upto_s < from_s or is_still(self._offsets, from_s, upto_s):
            return []
        found = []
        for at_s, low_s, high_s in jumps(self._offsets, from_s, upto_s):
            times = self._plan.count(low_s, high_s)
            if times:
                found.append(Swallowed(at_s * _SECOND_US, times))
        return found

    def changes(self, after_us: int, upto_us: int, limit: int = 100) -> list[ClockChange]:
        """The schedule's local times that do not come as they are written, because the clocks change: the first ``limit`` of
        those in (``after_us``, ``upto_us``], and at most those of 100 years.
        """
        found: list[ClockChange] = []
        for change in self._changes(after_us, upto_us):
            if len(found) >= limit:
                break
            found.append(change)
        return found

    def _changes(self, after_us: int, upto_us: int) -> Iterator[ClockChange]:
        from_s = max(after_us, self._from_us - 1) // _SECOND_US + 1
        until_s = min(upto_us, self._upto_us) // _SECOND_US + 1
        if self.dst == "literal":
            why = "dst is 'literal'"
        elif self.rule.wildcard:
            why = "a schedule whose minute or hour begins with '*' follows real time"
        else:
            why = "a schedule with several seconds follows real time"
        return clock_changes(self._plan, self._offsets, self.timezone, self._once, why, from_s, until_s)

    def describe(self) -> str:
        text = f"{self} (H: by the id of the job)" if type(self._plan) is _Unseeded else in_words(self._plan.rule)
        if self.start_date is not None:
            text += f" from {self.start_date:%Y-%m-%d %H:%M:%S}"
        if self.end_date is not None:
            text += f" until {self.end_date:%Y-%m-%d %H:%M:%S}"
        return text

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (
            self._plan.rule == other._plan.rule
            and type(self._plan) is type(other._plan)
            and self._once == other._once
            and self.dst == other.dst
            and self._from_us == other._from_us
            and self.end_us == other.end_us
            and self.jitter_us == other.jitter_us
            and same_zone(self.timezone, other.timezone)
        )

    def __hash__(self) -> int:
        return hash((CronTrigger, self._plan.rule, self._from_us, self.end_us))

    def __str__(self) -> str:
        if isinstance(self._source, Crontab):
            return self._source.text
        return f"cron[{', '.join(self._fields())}]"

    def __repr__(self) -> str:
        source = self._source
        if isinstance(source, Crontab):
            call = f"{type(self).__name__}.from_crontab"
            parts = [repr(source.text)]
            if source.dialect != "unix":
                parts.append(f"dialect={source.dialect!r}")
            parts.extend(f"{name}=True" for name in ("seconds", "year") if getattr(source, name))
            if source.seed is not None:
                parts.append(f"seed={source.seed!r}")
        else:
            call, parts = type(self).__name__, self._fields()
        if self.start_date is not None:
            parts.append(f"start_date={self.start_date.isoformat()!r}")
        if self.end_date is not None:
            parts.append(f"end_date={self.end_date.isoformat()!r}")
        parts.append(f"timezone={zone_state(self.timezone)!r}")
        if self.jitter_us:
            parts.append(f"jitter={self.jitter!r}")
        if self.dst != "cron":
            parts.append(f"dst={self.dst!r}")
        return f"{call}({', '.join(parts)})"

    def _fields(self) -> list[str]:
        return [f"{name}={value!r}" for name, value in zip(KEYWORDS, self._source, strict=True) if value is not None]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "version": _STATE_VERSION,
            "timezone": zone_state(self.timezone),
            "start_us": None if self._from_us == FIRST_US else self._from_us,
            "end_us": self.end_us,
            "jitter_us": self.jitter_us,
            "dst": self.dst,
        }
        source = self._source
        if isinstance(source, Crontab):
            state |= {"dialect": source.dialect, "crontab": source.text, "seconds": source.seconds, "year": source.year}
            if source.seed is not None:
                state["seed"] = source.seed
        else:
            state["fields"] = {name: text for name, text in zip(KEYWORDS, source, strict=True) if text is not None}
        return state | zone_stamp(self.timezone)

    def __setstate__(self, state: dict[str, Any]) -> None:
        try:
            if state.get("version") in _old_states.OLD_VERSIONS:
                self._set_old_state(state)
                return
            check_version(state, _STATE_VERSION, "a cron trigger")
            source: _Keywords | Crontab
            if "crontab" in state:
                source = Crontab(state["dialect"], state["crontab"], state["seconds"], state["year"], state.get("seed"))
                if source.dialect not in DIALECTS:
                    raise ValueError(f"the state of a cron trigger names the unknown dialect {source.dialect!r}")
            else:
                fields = dict(state["fields"])
                source = tuple(fields.pop(name, None) for name in KEYWORDS)
                if fields:
                    raise ValueError(f"the state of a cron trigger has an unknown field {next(iter(fields))!r}")
            self._fill(
                source,
                to_zone(state["timezone"]),
                bound_in(state, "start_us"),
                bound_in(state),
                jitter_in(state),
                state["dst"],
            )
            object.__setattr__(self, "zone_data_changed", is_other_release(state, self.timezone))
        except KeyError as error:
            raise ValueError(f"the state of a cron trigger lacks {error}") from None

    def _set_old_state(self, state: dict[str, Any]) -> None:
        """3.x took the wall clock literally, so that is what its triggers go on doing."""
        whole, given = _old_states.cron_fields(state, KEYWORDS)
        # What a field that was left out means depends on the others, so it is written out where that would differ.
        source = given if parse_keywords(*given) == parse_keywords(*whole) else whole
        old = _old_states.common(state)
        self._fill(source, old.zone, old.start_us, old.end_us, old.jitter_us, "literal")


def _read(source: _Keywords | Crontab) -> CronRule:
    if not isinstance(source, Crontab):
        return parse_keywords(*source)
    if source.seed is None:
        # While the seed is not known the text is checked with another one.
        source = source._replace(seed="")
    return read(source)


def _text(name: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value.strip():
        # So that it can be shown and read again; columns stay.
        return value if value.isprintable() else _BLANK.sub(" ", value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    what = "is empty" if isinstance(value, str) else f"is of type {type(value).__name__}"
    raise InvalidTriggerError(
        f"{name}: {value!r} {what}; give a number or text such as '*', '1-5', '*/15' or '1,2', or leave it out",
        field=name,
    )

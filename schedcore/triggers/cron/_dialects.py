"""The ways to write a schedule. Each is a function from text to a ``CronRule``; nothing after it knows which
was used.

``unix`` is crontab(5) as Debian has it: five fields (minute, hour, day of the month, month, day of the week),
names by their first three letters, 0 and 7 for Sunday, ``@daily`` and its like, and "if both fields are
restricted (i.e., do not contain the "*" character), the command will be run when either field matches the
current time". As in Debian's implementation, a field counts as unrestricted when it begins with ``*``, also
with a step. What ``_extensions`` adds is an error in crontab(5), so no crontab changes its meaning by it.

``quartz`` is the form of the scheduler of that name: seconds first, years last where there are any, 1 to 7 for
Sunday to Saturday, and ``?`` in that one of the two day fields that restricts nothing (``*`` is taken for it).
``0/15`` counts as ``*/15`` among seconds, minutes and hours, where that form says that they are the same.

``apscheduler3`` is what ``from_crontab`` of APScheduler 3.x means: five fields, 0 for Monday, both day fields must
match.

The keyword form is that of APScheduler 3.x: one argument for each field, 0 for Monday, ``2nd fri`` and
``last`` among the days, both day fields must match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from schedcore.errors import InvalidTriggerError, did_you_mean
from schedcore.triggers.cron._extensions import CrontabParser, DayParser, WeekdayParser, as_days
from schedcore.triggers.cron._fields import MONTH_NAMES, WEEKDAY_NAMES, FieldParser, FieldSpec
from schedcore.triggers.cron._rule import FIRST_YEAR, LAST_YEAR, CronRule

__all__ = [
    "DIALECTS",
    "KEYWORDS",
    "MACROS",
    "Crontab",
    "field_texts",
    "has_hash",
    "keyword_texts",
    "parse_crontab",
    "parse_keywords",
    "read",
]


class Crontab(NamedTuple):
    """A schedule as it was written in a dialect."""

    dialect: str
    text: str
    #: Whether a field of seconds comes first, and one of years last (``unix``).
    seconds: bool = False
    year: bool = False
    #: What picks the numbers that ``H`` stands for; None when the text has none, or while it is not known.
    seed: str | None = None


#: crontab(5)'s names for common schedules.
MACROS: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_UNIX_WEEKDAYS = {name: (number + 1) % 7 for name, number in WEEKDAY_NAMES.items()}
_UNIX_SECOND = FieldSpec("second", 0, 59, cycle=60)
_UNIX = (
    FieldSpec("minute", 0, 59, cycle=60),
    FieldSpec("hour", 0, 23, cycle=24),
    FieldSpec("day", 1, 31, cycle=31),
    FieldSpec("month", 1, 12, MONTH_NAMES, cycle=12),
    FieldSpec("day_of_week", 0, 7, _UNIX_WEEKDAYS, cycle=7, hint=" (0 and 7 are Sunday)"),
)
_UNIX_YEAR = FieldSpec("year", FIRST_YEAR, LAST_YEAR)

_QUARTZ_WEEKDAYS = {name: (number + 1) % 7 + 1 for name, number in WEEKDAY_NAMES.items()}
_QUARTZ = (
    _UNIX_SECOND,
    *_UNIX[:4],
    FieldSpec("day_of_week", 1, 7, _QUARTZ_WEEKDAYS, cycle=7, hint=" (1 is Sunday in quartz)"),
)
_SATURDAY = 5
_ALL_DAYS = 0xFFFFFFFE
_ALL_WEEKDAYS = 0x7F

# From the most to the least significant: what a field that was left out means depends on it.
_KEYWORD_SPECS = (
    FieldSpec("year", FIRST_YEAR, LAST_YEAR, strict_step=True, blanks=True),
    FieldSpec("month", 1, 12, MONTH_NAMES, cycle=12, strict_step=True, blanks=True),
    FieldSpec("day", 1, 31, cycle=31, strict_step=True, blanks=True),
    FieldSpec("week", 1, 53, cycle=53, strict_step=True, blanks=True),
    FieldSpec(
        "day_of_week",
        0,
        6,
        WEEKDAY_NAMES,
        cycle=7,
        strict_step=True,
        blanks=True,
        hint=" (0 is Monday here; better write names such as sun, or use from_crontab for crontab's numbers)",
    ),
    FieldSpec("hour", 0, 23, cycle=24, strict_step=True, blanks=True),
    FieldSpec("minute", 0, 59, cycle=60, strict_step=True, blanks=True),
    FieldSpec("second", 0, 59, cycle=60, strict_step=True, blanks=True),
)
#: The names of the keyword form's fields, the most significant first.
KEYWORDS = tuple(spec.name for spec in _KEYWORD_SPECS)

# The five fields of a crontab with the values of the keyword form; a blank ends a field here.
_APSCHEDULER3 = tuple(
    next(spec for spec in _KEYWORD_SPECS if spec.name == name)._replace(blanks=False)
    for name in ("minute", "hour", "day", "month", "day_of_week")
)

_WORD = re.compile(r"\S+")
_HASH = re.compile(r"(?<![a-z])h(?![a-z])", re.IGNORECASE)


class _DayParser(FieldParser):
    """Adds ``last``, ``last fri`` and ``2nd fri`` to the days of the month."""

    _ORDINALS: Final = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5}

    def __init__(self, spec: FieldSpec, text: str, column: int = 1, shown: str | None = None) -> None:
        super().__init__(spec, text, column, shown)
        self.last_day = False
        self.nth_weekdays = 0
        self.last_weekdays = 0

    def element(self) -> None:
        start = self._next
        word = self.peek()
        if word == "last":
            self.take()
            blank = self.peek().isspace()
            self._skip_blanks()
            if self.peek() in ("", ","):
                self.last_day = True
            else:
                self.last_weekdays |= 1 << self._weekday("last", blank)
            return
        if word.isdigit():
            self.take()
            suffix = self.peek()
            if suffix.isalpha():
                nth = self._ORDINALS.get(word + suffix)
                if nth is None:
                    raise self.error(
                        f"'{word}{suffix}' is not understood; write 1st, 2nd, 3rd, 4th, 5th or last", start
                    )
                self.take()
                blank = self.peek().isspace()
                self._skip_blanks()
                self.nth_weekdays |= 1 << (7 * (nth - 1) + self._weekday(word + suffix, blank))
                return
            self._next = start
        elif word.isalpha():
            if word in WEEKDAY_NAMES:
                raise self.error(
                    f"which {word} of the month? write '1st {word}' or 'last {word}', or use day_of_week={word!r}"
                )
            raise self.error(f"{self.written()!r} is not understood; {self.usage()}")
        super().element()

    def _weekday(self, ordinal: str, blank: bool) -> int:
        word = self.peek()
        if word not in WEEKDAY_NAMES or not blank:
            raise self.error(f"{ordinal!r} needs a blank and a weekday's name after it, such as '{ordinal} fri'")
        self.take()
        return WEEKDAY_NAMES[word]

    def usage(self) -> str:
        return f"{super().usage()}; or '2nd fri', 'last sun', 'last'"


@lru_cache(maxsize=1024)
def parse_crontab(text: str, *, seconds: bool = False, year: bool = False, seed: str | None = None) -> CronRule:
    """Read a schedule as crontab(5) writes it: five fields, or a name such as ``@daily``.

    :param text: the schedule alone, without the command.
    :param seconds: whether a field of seconds comes first.
    :param year: whether a field of years comes last.
    :param seed: what picks the numbers that ``H`` stands for.
    :raises InvalidTriggerError: naming the field and the column of the first thing that is not understood.
    """
    words = _words(text)
    if words and words[0][0].startswith("@"):
        return parse_crontab(_macro(text, words))
    specs = _unix_specs(seconds, year)
    if seconds or year:
        more = ""
    elif len(words) > len(specs):
        more = "; seconds before them or years after them have to be asked for (options seconds, year), or written as keywords"
    else:
        more = " (or @hourly, @daily, @weekly, @monthly, @yearly)"
    _check_number(text, words, specs, 0, more)
    return _assemble(_parse_fields(text, words, specs, seed, monday=1), either=True)


@lru_cache(maxsize=1024)
def _parse_quartz(text: str, *, seconds: bool = False, year: bool = False, seed: str | None = None) -> CronRule:
    _refuse_options(
        "quartz", "it always has seconds first, and years last when there is a seventh field", seconds, year
    )
    words = _words(text)
    _check_number(text, words, (*_QUARTZ, _UNIX_YEAR), 1, "")
    specs = (*_QUARTZ, _UNIX_YEAR)[: len(words)]
    (day, day_column), (weekday, weekday_column) = words[3], words[5]
    if day == "?" == weekday:
        raise _quartz_days(text, weekday_column, "only one of the two day fields can be '?'; write * in the other")
    if not {day, weekday} & {"?", "*"}:
        raise _quartz_days(text, day_column, "quartz restricts one of the two day fields; write ? in the other")
    plain = [
        (("*" if number in (3, 5) and word == "?" else word), column) for number, (word, column) in enumerate(words)
    ]
    fields = _parse_fields(text, plain, specs, seed, monday=2, alone=_SATURDAY)
    for name in ("second", "minute", "hour"):
        fields[name].star = fields[name].star or fields[name].text.startswith("0/")
    return _assemble(fields, either=False)


def _crontab_error(text: str, column: int, message: str) -> InvalidTriggerError:
    return InvalidTriggerError(f"crontab {text!r}, column {column}: {message}", field="crontab", column=column)


def _quartz_days(text: str, column: int, message: str) -> InvalidTriggerError:
    return InvalidTriggerError(f"day of {text!r}, column {column}: {message}", field="day", column=column)


@lru_cache(maxsize=1024)
def _parse_apscheduler3(text: str, *, seconds: bool = False, year: bool = False, seed: str | None = None) -> CronRule:
    _refuse_options("apscheduler3", "it always has five fields", seconds, year)
    words = _words(text)
    _check_number(text, words, _APSCHEDULER3, 0, "")
    parsers: dict[str, FieldParser] = {}
    for spec, (word, column) in zip(_APSCHEDULER3, words, strict=True):
        parser = parsers[spec.name] = (_DayParser if spec.name == "day" else FieldParser)(spec, word, column, text)
        parser.parse()
    return _keyword_rule(parsers)


def _words(text: str) -> list[tuple[str, int]]:
    """The fields of a crontab text and their columns."""
    return [(match.group(), match.start() + 1) for match in _WORD.finditer(text)]


def _unix_specs(seconds: bool, year: bool) -> tuple[FieldSpec, ...]:
    return (*((_UNIX_SECOND,) if seconds else ()), *_UNIX, *((_UNIX_YEAR,) if year else ()))


def _refuse_options(dialect: str, why: str, seconds: bool, year: bool) -> None:
    for name, value in (("seconds", seconds), ("year", year)):
        if value:
            raise InvalidTriggerError(f"{name}: leave it out with the dialect {dialect!r}: {why}", field=name)


def _check_number(
    text: str, words: Sequence[tuple[str, int]], specs: Sequence[FieldSpec], optional: int, more: str
) -> None:
    """Raise ``InvalidTriggerError`` when there are too many fields or too few; the last ``optional`` may be missing."""
    if len(specs) - optional <= len(words) <= len(specs):
        return
    if text.upper().startswith(("FREQ=", "RRULE:")):
        raise _crontab_error(text, 1, "this is a recurrence rule, which the trigger 'rrule' takes")
    if text.lstrip().upper().startswith(("TZ=", "CRON_TZ=")):
        raise _crontab_error(text, words[0][1], "the time zone is no part of a schedule; give it as timezone")
    names = ", ".join(spec.name for spec in specs[: len(specs) - optional])
    names += "".join(f" and perhaps {spec.name}" for spec in specs[len(specs) - optional :])
    number = f"{len(specs) - optional}" + (f" or {len(specs)}" if optional else "")
    if len(words) > len(specs):
        column = words[len(specs)][1]
        what = f"there are {len(words)} fields, from here on too many"
    else:
        column = len(text.rstrip()) + 1
        there = "is 1 field" if len(words) == 1 else f"are {len(words)} fields"
        what = f"there {there}, so {specs[len(words)].name} is missing"
    raise _crontab_error(text, column, f"{what}; write {number}: {names}{more}")


def _parse_fields(
    text: str,
    words: Sequence[tuple[str, int]],
    specs: Sequence[FieldSpec],
    seed: str | None,
    monday: int,
    alone: int | None = None,
) -> dict[str, FieldParser]:
    fields: dict[str, FieldParser] = {}
    for spec, (word, column) in zip(specs, words, strict=True):
        parser: FieldParser
        if spec.name == "day":
            parser = DayParser(spec, word, column, text, seed)
        elif spec.name == "day_of_week":
            parser = WeekdayParser(spec, word, column, text, seed, monday, alone)
        else:
            parser = CrontabParser(spec, word, column, text, seed)
        parser.parse()
        fields[spec.name] = parser
    return fields


def _assemble(fields: dict[str, FieldParser], either: bool) -> CronRule:
    """The rule of parsed fields. ``either``: whether two restricted day fields mean either (else both must match)."""
    day, weekday = fields["day"], fields["day_of_week"]
    assert isinstance(day, DayParser)
    assert isinstance(weekday, WeekdayParser)
    either = either and not day.star and not weekday.star
    nth, last, plain, days, named = weekday.nth_weekdays, weekday.last_weekdays, weekday.weekdays, day.mask, 0
    # What stands in a list beside all days, as in ``*,15W``, adds none.
    special = days != _ALL_DAYS
    if nth or last:
        # Where they can, named weekdays stand among the days of the month, so that one meaning has one form.
        if either:
            either, plain = bool(plain), plain or _ALL_WEEKDAYS
        elif days == _ALL_DAYS:
            days, nth, plain = 0, as_days(plain, nth), _ALL_WEEKDAYS
        else:
            nth, last, named = 0, 0, nth | last << 35
    return CronRule(
        seconds=fields["second"].mask if "second" in fields else 1,
        minutes=fields["minute"].mask,
        hours=fields["hour"].mask,
        days=days,
        last_day=special and day.last_day,
        nth_weekdays=nth,
        last_weekdays=last,
        months=fields["month"].mask,
        weekdays=plain,
        either=either,
        weeks=None,
        years=_all_or(fields["year"]) if "year" in fields else None,
        wildcard=fields["minute"].star or fields["hour"].star,
        before_last=day.before_last if special else 0,
        nearest=day.nearest if special else 0,
        nearest_before_last=day.nearest_before_last if special else 0,
        named_weekdays=named,
    )


class _Reader(Protocol):
    def __call__(self, text: str, /, *, seconds: bool, year: bool, seed: str | None) -> CronRule: ...


#: The crontab dialects by name.
DIALECTS: Mapping[str, _Reader] = {
    "unix": parse_crontab,
    "quartz": _parse_quartz,
    "apscheduler3": _parse_apscheduler3,
}


def read(source: Crontab) -> CronRule:
    """The rule of a text. Raises ``InvalidTriggerError``."""
    return DIALECTS[source.dialect](source.text, seconds=source.seconds, year=source.year, seed=source.seed)


def has_hash(source: Crontab) -> bool:
    """Whether a text that can be read needs a seed."""
    return source.dialect != "apscheduler3" and _HASH.search(source.text) is not None


def field_texts(source: Crontab) -> dict[str, str]:
    """The fields of a text that can be read, by name; those of a name such as ``@daily`` are written out."""
    text = MACROS.get(source.text.lower(), source.text) if source.dialect == "unix" else source.text
    specs = {
        "unix": _unix_specs(source.seconds, source.year),
        "quartz": (*_QUARTZ, _UNIX_YEAR),
        "apscheduler3": _APSCHEDULER3,
    }[source.dialect]
    return {spec.name: word for spec, word in zip(specs, text.split(), strict=False)}


def _macro(text: str, words: list[tuple[str, int]]) -> str:
    name, column = words[0]
    if name.lower() == "@reboot":
        raise _crontab_error(
            text,
            column,
            "'@reboot' names no time; it means once, when cron starts; add the job with "
            "trigger 'date' and no run_date to run it when the scheduler starts",
        )
    if name.lower() == "@every":
        raise _crontab_error(
            text,
            column,
            "'@every' is no time on a clock; what is to come every so often is a job with trigger 'interval'",
        )
    if name.lower() not in MACROS:
        raise _crontab_error(text, column, f"no schedule is called {name!r}{did_you_mean(name, MACROS)}")
    if len(words) > 1:
        raise _crontab_error(text, words[1][1], f"nothing may follow {name}")
    return MACROS[name.lower()]


@lru_cache(maxsize=1024)
def parse_keywords(*fields: str | None) -> CronRule:
    """Read the fields of the keyword form, in the order of ``KEYWORDS``; None for one that was left out.

    :raises InvalidTriggerError: naming the field and the column of the first thing that is not understood.
    """
    parsers: dict[str, FieldParser] = {}
    for spec, text in zip(_KEYWORD_SPECS, keyword_texts(fields).values(), strict=True):
        parser = parsers[spec.name] = (_DayParser if spec.name == "day" else FieldParser)(spec, text)
        try:
            parser.parse()
        except InvalidTriggerError as error:
            if not _is_crontab(text):
                raise
            raise InvalidTriggerError(
                f"{error}; crontab text is for CronTrigger.from_crontab", field=error.field, column=error.column
            ) from None
    return _keyword_rule(parsers)


def keyword_texts(fields: Sequence[str | None]) -> dict[str, str]:
    """The fields of the keyword form by name; one that was left out as what it means then."""
    given = [number for number, text in enumerate(fields) if text is not None]
    least = given[-1] if given else len(fields)
    texts = {}
    for number, (spec, text) in enumerate(zip(_KEYWORD_SPECS, fields, strict=True)):
        if text is None:
            text = "*" if number < least or spec.name in ("year", "week", "day_of_week") else str(spec.low)
        texts[spec.name] = text
    return texts


def _is_crontab(text: str) -> bool:
    try:
        parse_crontab(text, seed="")
    except InvalidTriggerError:
        return False
    return True


def _keyword_rule(parsers: Mapping[str, FieldParser]) -> CronRule:
    """The rule of the fields of the keyword form; a crontab has no seconds, weeks and years."""
    day = parsers["day"]
    assert isinstance(day, _DayParser)
    return CronRule(
        seconds=parsers["second"].mask if "second" in parsers else 1,
        minutes=parsers["minute"].mask,
        hours=parsers["hour"].mask,
        days=day.mask,
        last_day=day.last_day,
        nth_weekdays=day.nth_weekdays,
        last_weekdays=day.last_weekdays,
        months=parsers["month"].mask,
        weekdays=parsers["day_of_week"].mask,
        either=False,
        weeks=_all_or(parsers["week"]) if "week" in parsers else None,
        years=_all_or(parsers["year"]) if "year" in parsers else None,
        wildcard=parsers["minute"].star or parsers["hour"].star,
    )


def _all_or(parser: FieldParser) -> int | None:
    """The field's values, or None for all: a year outside of the field's range belongs to ``*`` too."""
    return None if parser.text.strip() == "*" else parser.mask

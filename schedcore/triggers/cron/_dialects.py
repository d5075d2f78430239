"""The ways to write a schedule. Each is a function from text to a ``CronRule``; nothing after it knows which
was used.

``unix`` is crontab(5) as Debian has it: five fields (minute, hour, day of the month, month, day of the week),
names by their first three letters, 0 and 7 for Sunday, ``@daily`` and its like, and "if both fields are
restricted (i.e., do not contain the "*" character), the command will be run when either field matches the
current time". As in Debian's implementation, a field counts as unrestricted when it begins with ``*``, also
with a step.

The keyword form is that of APScheduler 3.x: one argument for each field, 0 for Monday, ``2nd fri`` and
``last`` among the days, both day fields must match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Protocol

from schedcore.errors import InvalidTriggerError, did_you_mean
from schedcore.triggers.cron._fields import MONTH_NAMES, WEEKDAY_NAMES, FieldParser, FieldSpec
from schedcore.triggers.cron._rule import FIRST_YEAR, LAST_YEAR, CronRule

__all__ = ["DIALECTS", "KEYWORDS", "MACROS", "parse_crontab", "parse_keywords", "split_crontab"]

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

_WORD = re.compile(r"\S+")


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
def parse_crontab(text: str, *, seconds: bool = False, year: bool = False) -> CronRule:
    """Read a schedule as crontab(5) writes it: five fields, or a name such as ``@daily``.

    :param text: the schedule alone, without the command.
    :param seconds: whether a field of seconds comes first.
    :param year: whether a field of years comes last.
    :raises InvalidTriggerError: naming the field and the column of the first thing that is not understood.
    """
    words = [(match.group(), match.start() + 1) for match in _WORD.finditer(text)]
    if words and words[0][0].startswith("@"):
        return parse_crontab(_macro(text, words))
    specs = (
        *((_UNIX_SECOND,) if seconds else ()),
        *_UNIX,
        *((_UNIX_YEAR,) if year else ()),
    )
    if len(words) != len(specs):
        names = ", ".join(spec.name for spec in specs)
        if len(words) > len(specs):
            column = words[len(specs)][1]
            what = f"there are {len(words)} fields, from column {column} on too many"
        else:
            column = len(text.rstrip()) + 1
            what = f"there are {len(words)} fields, so {specs[len(words)].name} is missing"
        raise InvalidTriggerError(
            f"crontab {text!r}: {what}; write {len(specs)}: {names}"
            + ("" if seconds or year else " (or @hourly, @daily, @weekly, @monthly, @yearly)"),
            field="crontab",
            column=column,
        )
    fields: dict[str, FieldParser] = {}
    for spec, (word, column) in zip(specs, words, strict=True):
        parser = fields[spec.name] = FieldParser(spec, word, column, text)
        parser.parse()
    day, weekday = fields["day"], fields["day_of_week"]
    sundays_first = weekday.mask
    return CronRule(
        seconds=fields["second"].mask if seconds else 1,
        minutes=fields["minute"].mask,
        hours=fields["hour"].mask,
        days=day.mask,
        last_day=False,
        nth_weekdays=0,
        last_weekdays=0,
        months=fields["month"].mask,
        weekdays=sundays_first >> 1 | (sundays_first & 1) << 6,
        either=not day.star and not weekday.star,
        weeks=None,
        years=_all_or(fields["year"]) if year else None,
        wildcard=fields["minute"].star or fields["hour"].star,
    )


class _Reader(Protocol):
    def __call__(self, text: str, /, *, seconds: bool, year: bool) -> CronRule: ...


#: The crontab dialects by name.
DIALECTS: Mapping[str, _Reader] = {"unix": parse_crontab}


def _macro(text: str, words: list[tuple[str, int]]) -> str:
    name, column = words[0]
    if len(words) > 1:
        raise InvalidTriggerError(
            f"crontab {text!r}, column {words[1][1]}: nothing may follow {name}", field="crontab", column=words[1][1]
        )
    if name.lower() == "@reboot":
        raise InvalidTriggerError(
            "crontab '@reboot' names no time: it means once, when cron starts; add the job with trigger 'date' and "
            "no run_date to run it when the scheduler starts",
            field="crontab",
            column=column,
        )
    try:
        return MACROS[name.lower()]
    except KeyError:
        raise InvalidTriggerError(
            f"crontab {text!r}, column {column}: no schedule is called {name!r}{did_you_mean(name, MACROS)}",
            field="crontab",
            column=column,
        ) from None


def split_crontab(line: str) -> tuple[str, str]:
    """Divide a crontab line into its schedule and what follows (the command; in the system form, user and
    command).

    Columns in errors of ``parse_crontab(schedule)`` are columns of the line. A line that is too short for a
    schedule and something after it gives ``(line, "")``.
    """
    words = list(_WORD.finditer(line))
    count = 1 if words and words[0].group().startswith("@") else len(_UNIX)
    if len(words) <= count:
        return line.rstrip(), ""
    return line[: words[count - 1].end()], line[words[count].start() :]


@lru_cache(maxsize=1024)
def parse_keywords(*fields: str | None) -> CronRule:
    """Read the fields of the keyword form, in the order of ``KEYWORDS``; None for one that was left out.

    :raises InvalidTriggerError: naming the field and the column of the first thing that is not understood.
    """
    given = [number for number, text in enumerate(fields) if text is not None]
    least = given[-1] if given else -1
    parsers: dict[str, FieldParser] = {}
    for number, (spec, text) in enumerate(zip(_KEYWORD_SPECS, fields, strict=True)):
        if text is None:
            text = "*" if number < least or spec.name in ("year", "week", "day_of_week") else str(spec.low)
        parser = parsers[spec.name] = (_DayParser if spec.name == "day" else FieldParser)(spec, text)
        parser.parse()
    day = parsers["day"]
    assert isinstance(day, _DayParser)
    return CronRule(
        seconds=parsers["second"].mask,
        minutes=parsers["minute"].mask,
        hours=parsers["hour"].mask,
        days=day.mask,
        last_day=day.last_day,
        nth_weekdays=day.nth_weekdays,
        last_weekdays=day.last_weekdays,
        months=parsers["month"].mask,
        weekdays=parsers["day_of_week"].mask,
        either=False,
        weeks=_all_or(parsers["week"]),
        years=_all_or(parsers["year"]),
        wildcard=parsers["minute"].star or parsers["hour"].star,
    )


def _all_or(parser: FieldParser) -> int | None:
    """The field's values, or None for all: a year outside of the field's range belongs to ``*`` too."""
    return None if parser.text.strip() == "*" else parser.mask

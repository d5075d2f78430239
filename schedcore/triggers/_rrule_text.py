"""The text of recurrence rules: the lines of an event (RFC 5545), read, checked and turned into local time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from schedcore.errors import InvalidTriggerError, did_you_mean
from schedcore.triggers._zones import same_zone, to_zone

__all__ = ["EPOCH", "FREQUENCIES", "Line", "as_text", "aware_start", "parsed", "split", "to_s"]

#: The wall clock's.
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
_SECOND = timedelta(seconds=1)
_NAMES = ("DTSTART", "RRULE", "RDATE", "EXDATE", "EXRULE")
_KEYS = (
    "FREQ",
    "UNTIL",
    "COUNT",
    "INTERVAL",
    "BYSECOND",
    "BYMINUTE",
    "BYHOUR",
    "BYDAY",
    "BYWEEKDAY",
    "BYMONTHDAY",
    "BYYEARDAY",
    "BYWEEKNO",
    "BYMONTH",
    "BYSETPOS",
    "BYEASTER",
    "WKST",
)
# What goes beyond it dateutil leaves out, without a word.
_RANGES = {"BYMONTH": 12, "BYMONTHDAY": 31, "BYYEARDAY": 366, "BYWEEKNO": 53}
_NUMBER = re.compile(r"[+-]?\d{1,15}", re.ASCII)
# More digits than the years have seconds would do no good.
_WHOLE = re.compile(r"0*[1-9]\d{0,14}", re.ASCII)
_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?")


class Line(NamedTuple):
    """A line of an event: ``EXDATE;TZID=Europe/Berlin:20260101T090000``."""

    name: str
    params: Mapping[str, str]
    value: str

    def zone(self) -> str | None:
        """The zone that the line names; None: it is local."""
        return "UTC" if self.value.upper().endswith("Z") else self.params.get("TZID")

    def moments(self, zone: tzinfo) -> list[datetime]:
        """The values of a line of dates, as naive local times of a zone."""
        return [_moment(text, self.params.get("TZID"), zone, self.name) for text in self.value.split(",")]

    def localized(self, zone: tzinfo) -> str:
        """The line in local time."""
        if self.name in ("RDATE", "EXDATE"):
            return f"{self.name}:" + ",".join(map(_written, self.moments(zone)))
        parts = []
        for part in self.value.split(";"):
            key, _, value = part.partition("=")
            if key == "UNTIL":
                until = _moment(value, None, zone, "UNTIL")
                if "T" not in value:  # the whole day
                    until += timedelta(days=1) - _SECOND
                part = f"UNTIL={_written(until)}"
            parts.append(part)
        return f"{self.name}:{';'.join(parts)}"


def _moment(text: str, key: str | None, zone: tzinfo, name: str) -> datetime:
    match = _MOMENT.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        numbers = [int(group or 0) for group in match.groups()[:6]]
        moment = datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001 - the zone follows
    except ValueError:
        raise InvalidTriggerError(
            f"{name}: {text!r} is not a date of RFC 5545, such as 20260329T023000 or 20260329T013000Z", field=name
        ) from None
    there = UTC if match.group(7) else None if key is None else to_zone(key)
    if there is None or same_zone(there, zone):
        return moment
    try:
        return moment.replace(tzinfo=there).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        late = name == "UNTIL" and moment.year > 1
        raise InvalidTriggerError(
            f"{name}: {text!r} is a time of {there} for which clocks in {zone} show none of the years 1 to 9999; "
            + ("leave it out for a rule without an end" if late else "give one a day nearer to today"),
            field=name,
        ) from None


def as_text(rule: object) -> str:
    if isinstance(rule, str):
        return rule
    text = str(rule)
    if not re.search(r"(?m)^RRULE:", text):
        raise InvalidTriggerError(
            f"rule: {rule!r} is of type {type(rule).__name__}; give the text of a rule, or a dateutil.rrule.rrule",
            field="rule",
        )
    if aware_start(rule) is not None:
        # dateutil writes the wall time of an aware start without its zone, and UNTIL likewise.
        until: Any = getattr(rule, "_until", None)
        if until is not None:
            text = re.sub(r"UNTIL=\w+", f"UNTIL={until.astimezone(UTC):%Y%m%dT%H%M%SZ}", text)
    return text


def aware_start(rule: object) -> datetime | None:
    """The start of a rule of dateutil where it has a zone."""
    start: Any = getattr(rule, "_dtstart", None)
    return start if isinstance(start, datetime) and start.tzinfo is not None else None


def split(text: str) -> list[Line]:
    """The lines of a text, unfolded. Raises ``InvalidTriggerError`` for one that is not understood."""
    lines: list[Line] = []
    for row in re.sub(r"\r?\n[ \t]", "", text).upper().splitlines():
        if not row.strip():
            continue
        head, colon, value = row.strip().rpartition(":") if "TZID" not in row else row.strip().partition(":")
        if not colon:
            head, value = "RRULE", row.strip()
        name, *params = head.split(";")
        if name not in _NAMES:
            raise InvalidTriggerError(f"rule: {name!r} is not understood{did_you_mean(name, _NAMES)}", field="rule")
        given = dict(param.partition("=")[::2] for param in params)
        unknown = [key for key in given if key not in ("TZID", "VALUE")]
        if unknown:
            raise InvalidTriggerError(f"{name}: the parameter {unknown[0]!r} is not understood", field=name)
        if "TZID" in given:
            given["TZID"] = _as_written(given["TZID"], text)
        if name in ("RRULE", "EXRULE"):
            _check_rule(name, value)
        if name == "DTSTART" and any(line.name == name for line in lines):
            raise InvalidTriggerError("DTSTART is there twice", field=name)
        lines.append(Line(name, given, value))
    if not any(line.name in ("RRULE", "RDATE") for line in lines):
        raise InvalidTriggerError(
            "rule: there is no RRULE in it; write for example 'FREQ=WEEKLY;BYDAY=MO,FR'", field="rule"
        )
    return lines


def _as_written(key: str, text: str) -> str:
    """The name of a zone as the text has it: names of zones are not of one case."""
    found = re.search(re.escape(key), text, re.IGNORECASE)
    return found.group() if found else key


def _check_rule(name: str, value: str) -> None:
    seen: dict[str, str] = {}
    for part in value.split(";"):
        key, equals, content = part.partition("=")
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS) if equals else "; write parts such as FREQ=DAILY, with ';' between them"
            raise InvalidTriggerError(f"{name}: {key!r} is not understood{hint}", field=name)
        if not equals or not content or key in seen:
            what = "is there twice" if key in seen else "has no value"
            raise InvalidTriggerError(f"{name}: {key} {what}", field=name)
        seen[key] = content
    if seen.get("FREQ") not in FREQUENCIES:
        raise InvalidTriggerError(
            f"{name}: FREQ is {seen.get('FREQ', 'missing')!s}; it is one of {', '.join(FREQUENCIES)}", field=name
        )
    if "COUNT" in seen and "UNTIL" in seen:
        raise InvalidTriggerError(f"{name}: COUNT and UNTIL exclude each other", field=name)
    if seen["FREQ"] not in ("MONTHLY", "YEARLY"):
        # Without a month or a year there is no first of it (RFC 5545, 3.3.10), and dateutil leaves the number out.
        numbered = re.search(
            r"[+-]?\d+[A-Z]+|[A-Z]+\([^,]*", ",".join(seen.get(key, "") for key in ("BYDAY", "BYWEEKDAY"))
        )
        if numbered:
            raise InvalidTriggerError(
                f"{name}: BYDAY has {numbered.group()}; days are numbered where FREQ is MONTHLY or YEARLY", field=name
            )
    for key, most in _RANGES.items():
        for number in seen.get(key, "").split(","):
            if not _NUMBER.fullmatch(number):
                continue  # dateutil says what is wrong with it
            size = int(number) if key == "BYMONTH" else abs(int(number))
            if not 1 <= size <= most:
                raise InvalidTriggerError(
                    f"{name}: {key} has {number}, and goes from 1 to {most}"
                    + ("" if key == "BYMONTH" else f", or from -1 to -{most} counted from the end"),
                    field=name,
                )
    for key in ("COUNT", "INTERVAL"):
        if key in seen and not _WHOLE.fullmatch(seen[key]):
            raise InvalidTriggerError(f"{name}: {key} is {seen[key]!r}, and not a whole number from 1 up", field=name)


def _written(local: datetime) -> str:
    """As ``parsed`` reads it. strftime writes the year 30 with two digits."""
    return re.sub("[-:]", "", local.isoformat())


def parsed(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S")  # noqa: DTZ007 - the wall clock's


def to_s(local: datetime) -> int:
    return (local - EPOCH) // _SECOND

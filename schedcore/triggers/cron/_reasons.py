"""Why a cron schedule does not fire at an instant, and what its text would mean in other dialects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from schedcore.clock import to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers.cron._dialects import KEYWORDS, Crontab, field_texts, keyword_texts, parse_keywords, read
from schedcore.triggers.cron._fields import MONTHS, WEEKDAYS
from schedcore.triggers.cron._rule import CronRule
from schedcore.triggers.cron._search import plan_for
from schedcore.triggers.cron._words import in_words

if TYPE_CHECKING:
    from schedcore.triggers.cron._trigger import CronTrigger

__all__ = ["long_steps", "not_at", "readings"]

# A number that is a value of its field: neither a step nor "which one of the month".
_NUMBER = re.compile(r"(?<![/#\d])\d")
_HASH = re.compile(r"(?<![a-z])h(?![a-z])", re.IGNORECASE)
_STEPPED = re.compile(r"(?:\*|(\d+)-(\d+))/(\d+)")
# How many values there are, and what each of them is.
_VALUES = {
    "second": (60, "second"),
    "minute": (60, "minute"),
    "hour": (24, "hour"),
    "day": (31, "day"),
    "month": (12, "month"),
    "day_of_week": (7, "day"),
}


def not_at(trigger: CronTrigger, at_us: int) -> list[str]:
    """The reasons for which a trigger does not fire at an instant, each a sentence without its full stop."""
    reasons = []
    start, end = trigger.start_date, trigger.end_date
    at = to_datetime(at_us)
    if start is not None and at < start:
        reasons.append(f"it is before the start, {start.isoformat(sep=' ')}")
    if end is not None and at > end:
        reasons.append(f"it is after the end, {end.isoformat(sep=' ')}")
    local = at.astimezone(trigger.timezone)
    if local.microsecond:
        reasons.append("cron fires at whole seconds")
    reasons += _mismatches(trigger, local)
    # It may be a time of the schedule that comes for the second time, or one that a gap has moved elsewhere.
    return (
        reasons or [change.reason for change in trigger.changes(at_us - 1, at_us)] or ["it is none of the fire times"]
    )


def _mismatches(trigger: CronTrigger, local: datetime) -> Iterator[str]:
    """The fields that the wall clock does not match."""
    source = trigger.source
    wrong: dict[str, str] = {}
    minute = local.replace(tzinfo=None, second=0, microsecond=0)
    minute_s = (minute - datetime(1970, 1, 1)).days * 86400 + minute.hour * 3600 + minute.minute * 60  # noqa: DTZ001
    texts = field_texts(source) if isinstance(source, Crontab) else keyword_texts(source)
    for name, text in texts.items():
        rule = _alone(source, name, text)
        if name != "second" and plan_for(rule._replace(seconds=1)).at_or_after(minute_s) != minute_s:
            wrong[name] = f"{_value(name, local)} is not in {text}{_hashed(name, text, rule)}"
    if not trigger.rule.seconds >> local.second & 1:
        where = f"in {texts['second']}" if "second" in texts else "0, when the schedule fires"
        wrong["second"] = f"second {local.second} is not {where}"
    days = {"day", "day_of_week"}
    if trigger.rule.either or _means_either(source, texts):
        # Either will do, so one alone is no reason.
        if not days <= wrong.keys():
            for name in days:
                wrong.pop(name, None)
        else:
            wrong["day"] += f", and {wrong.pop('day_of_week')} (either would do)"
    for name in KEYWORDS:
        if name in wrong:
            yield wrong[name]


def _means_either(source: object, texts: dict[str, str]) -> bool:
    unix = isinstance(source, Crontab) and source.dialect == "unix"
    return unix and not any(texts[name].startswith(("*", "H/", "h/")) for name in ("day", "day_of_week"))


def _alone(source: Crontab | tuple[str | None, ...], name: str, text: str) -> CronRule:
    """The rule of a schedule in which only one field restricts anything."""
    if not isinstance(source, Crontab):
        return parse_keywords(*(text if each == name else "*" for each in KEYWORDS))
    # A name such as @daily is the fields that it stands for.
    words = [text if each == name else "*" for each in field_texts(source)]
    return read(source._replace(text=" ".join(words)))


def _value(name: str, local: datetime) -> str:
    if name == "month":
        return MONTHS[local.month - 1]
    if name == "day_of_week":
        return f"{WEEKDAYS[local.weekday()]} {local:%Y-%m-%d}"
    if name == "week":
        return f"ISO week {local.isocalendar().week}"
    return f"{name} {getattr(local, name)}"


def _hashed(name: str, text: str, rule: CronRule) -> str:
    """What ``H`` is in this trigger."""
    masks = {"minute": rule.minutes, "hour": rule.hours, "day": rule.days, "month": rule.months}
    mask = masks.get(name, 0)
    if not mask or not _HASH.search(text):
        return ""
    return f" (here {','.join(str(n) for n in range(mask.bit_length()) if mask >> n & 1)})"


# --- other readings -------------------------------------------------------------------------------------------------


def long_steps(trigger: CronTrigger) -> Iterator[str]:
    """What goes through a range in a step that is longer than it, as cron takes it: a sentence for each."""
    source = trigger.source
    if not isinstance(source, Crontab):
        return  # the keyword form refuses it
    for name, text in field_texts(source).items():
        if name not in _VALUES:
            continue
        values, unit = _VALUES[name]
        for element in text.split(","):
            stepped = _STEPPED.fullmatch(element)
            if stepped is None:
                continue
            first, last, step = stepped.groups()
            width = values - 1 if first is None else (int(last) - int(first)) % values
            if int(step) > width:
                yield (
                    f"{element} is the first {unit} of the range alone, because the step is longer than that; what is to "
                    f"come every {int(step)} {unit}s is an interval"
                )


def readings(trigger: CronTrigger) -> Iterator[tuple[str, str]]:
    """What means another thing in another dialect: a code and a sentence for each."""
    source = trigger.source
    if isinstance(source, Crontab) and source.text.startswith("@"):
        return  # no numbers, and no other dialect has such names
    texts = field_texts(source) if isinstance(source, Crontab) else keyword_texts(source)
    here = source.dialect if isinstance(source, Crontab) else "the keyword form"
    weekday = texts["day_of_week"]
    if _NUMBER.search(weekday) and not _HASH.search(weekday):
        found = {dialect: _weekdays(dialect, weekday) for dialect in ("unix", "quartz", "apscheduler3")}
        if not isinstance(source, Crontab):
            found = {here: found["apscheduler3"], **found}
        if len(set(found.values())) > 1:
            others = ", ".join(f"{words} in {dialect}" for dialect, words in found.items() if dialect != here)
            yield (
                "weekday-number",
                f"weekday {weekday} is {found[here]} in {here}, but {others}; names such as mon mean the same everywhere",
            )
    if isinstance(source, Crontab) and source.dialect in ("unix", "apscheduler3"):
        days = texts["day"], weekday
        other = "apscheduler3" if source.dialect == "unix" else "unix"
        restricted = not any(text.startswith(("*", "H/", "h/")) for text in days)
        if restricted and _is_valid(other, f"0 0 {days[0]} * {days[1]}"):
            mine, theirs = "either of them matches", "both match"
            if source.dialect == "apscheduler3":
                mine, theirs = "both of them match", "either matches"
            yield (
                "either-day",
                f"day {days[0]} and weekday {days[1]} are both restricted: in {source.dialect} a day counts when {mine}, in "
                f"{other} when {theirs}",
            )


def _is_valid(dialect: str, text: str) -> bool:
    try:
        read(Crontab(dialect, text))
    except InvalidTriggerError:
        return False
    return True


def _weekdays(dialect: str, text: str) -> str:
    try:
        rule = read(Crontab(dialect, f"0 0 0 ? * {text}" if dialect == "quartz" else f"0 0 * * {text}"))
    except InvalidTriggerError:
        return "not valid"
    return in_words(rule).removeprefix("at 00:00").removeprefix(" on ") or "every day"

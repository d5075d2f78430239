"""A rule in words: "every 5 minutes", "at 02:30 on Monday", "at 09:00 on the 2nd Friday in January"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schedcore.triggers.cron._fields import MONTHS, WEEKDAYS
from schedcore.triggers.cron._rule import CronRule
from schedcore.triggers.cron._search import plan_for

__all__ = ["in_words"]

_NTH = ("1st", "2nd", "3rd", "4th", "5th")
# Fixed times of a day are listed up to this many; beyond it minutes and hours are told apart.
_LISTED = 6


def in_words(rule: CronRule) -> str:
    """The schedule for people, in English. What never comes is "never"."""
    if plan_for(rule).at_or_after(0) is None:
        return "never"
    return " ".join(part for part in (_times(rule), _dates(rule)) if part)


def _times(rule: CronRule) -> str:
    hours, minutes, seconds = _bits(rule.hours), _bits(rule.minutes), _bits(rule.seconds)
    exact = len(seconds) == 1
    if exact and len(hours) * len(minutes) <= _LISTED and len(hours) != 24:
        tail = f":{seconds[0]:02}" if seconds[0] else ""
        return "at " + _and([f"{hour:02}:{minute:02}{tail}" for hour in hours for minute in minutes])
    parts = []
    minute_words = _every(minutes, 60, "minute")
    if not exact:
        second_words = _every(seconds, 60, "second") or f"at second {_and(_runs(seconds))}"
        parts.append(second_words)
        if minute_words != "every minute":
            parts.append(f"of minute {_and(_runs(minutes))}")
        elif not second_words.startswith("every"):
            parts.append("of every minute")
    else:
        hour_words = _every(hours, 24, "hour")
        if minutes == [0] and hour_words:
            parts.append(hour_words)
        elif minute_words:
            parts.append(minute_words)
        else:
            parts.append(f"at minute {_and(_runs(minutes))}" + (" of every hour" if len(hours) == 24 else ""))
        if seconds[0]:
            parts.append(f"at second {seconds[0]}")
        if hour_words and minutes == [0]:
            return " ".join(parts)
    if len(hours) < 24:
        step = _every(hours, 24, "hour")
        parts.append(f"of {step.replace('every', 'every', 1)}" if step else f"of hour {_and(_runs(hours))}")
    return " ".join(parts)


def _dates(rule: CronRule) -> str:
    parts = []
    by_day = _days(rule)
    weekdays = _bits(rule.weekdays)
    by_weekday = "" if len(weekdays) == 7 else _weekdays(weekdays)
    if rule.either:
        # With either, a kind of day that restricts nothing makes every day match.
        if by_day and by_weekday:
            parts.append(f"on {by_day} or on {by_weekday}")
    elif by_day and by_weekday:
        parts.append(f"on {by_day} if it is a {_and(WEEKDAYS[each] for each in weekdays)}".replace(" and ", " or "))
    elif by_day or by_weekday:
        parts.append(f"on {by_day or by_weekday}")
    months = _bits(rule.months)
    if len(months) < 12:
        parts.append("in " + _and(_named_runs(months, MONTHS, 1)))
    if rule.weeks is not None:
        parts.append(f"in ISO week {_and(_runs(_bits(rule.weeks)))}")
    if rule.years is not None:
        parts.append(f"in {_and(_runs(_bits(rule.years)))}")
    return " ".join(parts)


def _days(rule: CronRule) -> str:
    if rule.all_days:
        return ""
    parts = []
    numbers = _bits(rule.days)
    if numbers:
        parts.append(f"day {_and(_runs(numbers))} of the month")
    for bit in _bits(rule.nth_weekdays):
        nth, weekday = divmod(bit, 7)
        parts.append(f"the {_NTH[nth]} {WEEKDAYS[weekday]}")
    parts.extend(f"the last {WEEKDAYS[weekday]}" for weekday in _bits(rule.last_weekdays))
    if rule.last_day:
        parts.append("the last day of the month")
    return _and(parts)


def _weekdays(numbers: Sequence[int]) -> str:
    return _and(_named_runs(numbers, WEEKDAYS, 0))


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def _every(numbers: Sequence[int], cycle: int, unit: str) -> str:
    """``every minute``, ``every 5 minutes``; nothing when the numbers are not evenly spread over the whole
    cycle."""
    if len(numbers) == cycle:
        return f"every {unit}"
    if len(numbers) > 1 and numbers[0] == 0:
        step = numbers[1]
        if cycle % step == 0 and list(numbers) == list(range(0, cycle, step)):
            return f"every {step} {unit}s"
    return ""


def _spans(numbers: Sequence[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return spans


def _runs(numbers: Sequence[int]) -> list[str]:
    """Numbers as text; three and more in a row as a range."""
    texts: list[str] = []
    for first, last in _spans(numbers):
        if last - first < 2:
            texts.extend(str(number) for number in range(first, last + 1))
        else:
            texts.append(f"{first}-{last}")
    return texts


def _named_runs(numbers: Sequence[int], names: Sequence[str], base: int) -> list[str]:
    texts: list[str] = []
    for first, last in _spans(numbers):
        if last - first < 2:
            texts.extend(names[number - base] for number in range(first, last + 1))
        else:
            texts.append(f"{names[first - base]} to {names[last - base]}")
    return texts


def _and(parts: Iterable[str]) -> str:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]

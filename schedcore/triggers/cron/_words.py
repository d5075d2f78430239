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
    if len(seconds) == 1 and len(hours) * len(minutes) <= _LISTED:
        tail = f":{seconds[0]:02}" if seconds[0] else ""
        return "at " + _and(f"{hour:02}:{minute:02}{tail}" for hour in hours for minute in minutes)
    whole_hours = minutes == [0] and seconds == [0]
    if whole_hours:
        return _every(hours, "hour", 24) or f"every hour{_between(hours, '00')}"
    parts = []
    if seconds != [0]:
        parts.append(_every(seconds, "second", 60) or f"at second {_and(_runs(seconds))}")
    if not (len(minutes) == 60 and parts and parts[0].startswith("every")):
        every_minute = _every(minutes, "minute", 60)
        if not parts:
            parts.append(every_minute or f"at minute {_and(_runs(minutes))}")
        else:
            each_minute = _each(minutes, "minute", 60)
            parts.append(f"of {each_minute or 'minute ' + _and(_runs(minutes))}")
        if len(hours) == 24 and not every_minute:
            parts.append("of every hour")
    if len(hours) < 24:
        each_hour = _each(hours, "hour", 24)
        parts.append(f"of {each_hour}" if each_hour else _between(hours, "59").strip())
    return " ".join(parts)


def _between(hours: Sequence[int], last_minute: str) -> str:
    spans = _spans(hours)
    if len(spans) == 1:
        return f" from {spans[0][0]:02}:00 to {spans[0][1]:02}:{last_minute}"
    return f" in hour {_and(_runs(hours))}"


def _dates(rule: CronRule) -> str:
    parts = []
    by_day = _days(rule)
    weekdays = _bits(rule.weekdays)
    named = _named_days(rule.named_weekdays & (1 << 35) - 1, rule.named_weekdays >> 35)
    names = ([] if len(weekdays) == 7 else _named_runs(weekdays, WEEKDAYS, 0)) + named
    if rule.either:
        # With either, a kind of day that restricts nothing makes every day match.
        if by_day and names:
            parts.append(f"on {by_day} or on {_and(names)}")
    elif by_day and names:
        plain = [WEEKDAYS[each] for each in weekdays if len(weekdays) < 7]
        article = "a " if plain else ""
        parts.append(f"on {by_day} if it is {article}{_and(plain + named, 'or')}")
    elif by_day or names:
        parts.append(f"on {by_day or _and(names)}")
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
    parts.extend(_named_days(rule.nth_weekdays, rule.last_weekdays))
    near = [f"day {day}" for day in _bits(rule.nearest)]
    near += [_before_last(days) for days in _bits(rule.nearest_before_last) if days]
    if near:
        parts.append(f"the weekday (Monday to Friday) nearest to {_and(near)} of the month")
    parts.extend(f"{_before_last(days)} of the month" for days in reversed(_bits(rule.before_last)))
    if rule.nearest_before_last & 1:
        parts.append("the last weekday (Monday to Friday) of the month")
    if rule.last_day:
        parts.append("the last day of the month")
    return _and(parts)


def _before_last(days: int) -> str:
    if days == 1:
        return "the day before the last day"
    suffix = "th" if days in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(days % 10, "th")
    return f"the {days}{suffix} day before the last day"


def _named_days(nth_weekdays: int, last_weekdays: int) -> list[str]:
    parts = []
    for weekday in range(7):
        if all(nth_weekdays >> 7 * nth + weekday & 1 for nth in range(5)):
            parts.append(f"every {WEEKDAYS[weekday]}")
            nth_weekdays &= ~sum(1 << 7 * nth + weekday for nth in range(5))
    for bit in _bits(nth_weekdays):
        nth, weekday = divmod(bit, 7)
        parts.append(f"the {_NTH[nth]} {WEEKDAYS[weekday]}")
    parts.extend(f"the last {WEEKDAYS[weekday]}" for weekday in _bits(last_weekdays))
    return parts


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def _every(numbers: Sequence[int], unit: str, cycle: int) -> str:
    """``every minute``, ``every 5 minutes``; nothing when the numbers are not evenly spread over the whole
    cycle."""
    if len(numbers) == cycle:
        return f"every {unit}"
    if len(numbers) > 1 and numbers[0] == 0:
        step = numbers[1]
        if cycle % step == 0 and list(numbers) == list(range(0, cycle, step)):
            return f"every {step} {unit}s"
    return ""


def _each(numbers: Sequence[int], unit: str, cycle: int) -> str:
    """``every minute``, ``every 5th minute``; nothing when the numbers are not evenly spread over the whole cycle."""
    if not _every(numbers, unit, cycle) or len(numbers) == cycle:
        return _every(numbers, unit, cycle)
    step = numbers[1]
    return f"every {step}{ {2: 'nd', 3: 'rd'}.get(step, 'th') } {unit}"


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


def _and(parts: Iterable[str], word: str = "and") -> str:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"

"""All lines of an event together: what its rules and dates name, in local time, without what others of them take away."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

from schedcore.errors import InvalidTriggerError
from schedcore.triggers._boxes import Box, either
from schedcore.triggers._days import RangeDays
from schedcore.triggers._effort import EFFORT
from schedcore.triggers._local import DAY_S, Gap
from schedcore.triggers._rrule_instances import Rule
from schedcore.triggers._rrule_text import EPOCH, parsed, to_s
from schedcore.triggers._where import WallRule, local_boxes

__all__ = ["Rules"]

# EXDATEs and EXRULEs in a row that may take a fire time away.
_MAX_TAKEN = 5000
# Steps of a search (``_effort``) for each of them.
_TAKEN_STEPS = 8


class Rules:
    """All lines of an event together: what RRULE and RDATE name, without what EXRULE and EXDATE do."""

    __slots__ = ("_dates", "_days", "_not_dates", "_not_rules", "_rules")

    def __init__(self, lines: Sequence[str], start: datetime) -> None:
        rules: dict[str, list[Rule]] = {"RRULE": [], "EXRULE": []}
        dates: dict[str, list[int]] = {"RDATE": [], "EXDATE": []}  # local seconds
        for line in lines:
            name, _, value = line.partition(":")
            if name in rules:
                rules[name].append(Rule(value, start))
            else:
                dates[name].extend(to_s(parsed(text)) for text in value.split(","))
        self._rules, self._not_rules = rules["RRULE"], rules["EXRULE"]
        for rule in self._rules:
            for other in self._not_rules:
                rule.leave_out(other)
        self._dates, self._not_dates = sorted(dates["RDATE"]), frozenset(dates["EXDATE"])
        self._days = RangeDays([(at_s // DAY_S, at_s // DAY_S) for at_s in self._dates]) if self._dates else None

    def __str__(self) -> str:
        return ", ".join(map(str, self._rules))

    def boxes(self, zone: tzinfo, moved: bool) -> tuple[Box, ...]:
        """Where they fire at most, on the wall clock of a zone."""
        found = [rule.boxes(zone, moved) for rule in self._rules]
        if self._days is not None:
            found.append(local_boxes(zone, *self._times(), self._days, moved=moved))
        return either(found)

    def wall_rules(self, gap: Gap) -> Sequence[WallRule]:
        """The times and days of the rules, and of the single dates."""
        found = [rule.wall_rule(gap) for rule in self._rules]
        if self._days is not None:
            found.append(WallRule(*self._times(), self._days, gap))
        return found

    def _times(self) -> tuple[int, int]:
        """The minutes of the day and the seconds of the minute of the single dates."""
        minutes = {1 << at_s % DAY_S // 60 for at_s in self._dates}
        return sum(minutes), sum({1 << at_s % 60 for at_s in self._dates})

    def after(self, local_s: int) -> int | None:
        """The first local second later than another, or None."""
        for _ in range(_MAX_TAKEN):
            EFFORT.spend(_TAKEN_STEPS, self)
            found = [at_s for rule in self._rules if (at_s := rule.after(local_s)) is not None]
            if self._dates and local_s < self._dates[-1]:
                found.append(self._dates[bisect_right(self._dates, local_s)])
            if not found:
                return None
            local_s = min(found)
            if local_s not in self._not_dates and not any(
                rule.after(local_s - 1) == local_s for rule in self._not_rules
            ):
                return local_s
        raise InvalidTriggerError(
            f"all of the {_MAX_TAKEN} local times up to {EPOCH + timedelta(seconds=local_s)} are taken away by EXRULE or "
            f"EXDATE",
            field="rule",
        )

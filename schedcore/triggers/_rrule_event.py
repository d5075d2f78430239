"""All lines of an event together: what its rules and dates name, in local time, without what others of them take away."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

from schedcore.errors import InvalidTriggerError
from schedcore.triggers._boxes import ANYWHERE, Box, either
from schedcore.triggers._effort import EFFORT
from schedcore.triggers._local import Gap
from schedcore.triggers._rrule_instances import Rule
from schedcore.triggers._rrule_text import EPOCH, parsed, to_s
from schedcore.triggers._where import WallRule

__all__ = ["Rules"]

# EXDATEs and EXRULEs in a row that may take a fire time away.
_MAX_TAKEN = 5000
# Steps of a search (``_effort``) for each of them.
_TAKEN_STEPS = 8


class Rules:
    """All lines of an event together: what RRULE and RDATE name, without what EXRULE and EXDATE do."""

    __slots__ = ("_dates", "_not_dates", "_not_rules", "_rules")

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

    def __str__(self) -> str:
        return ", ".join(map(str, self._rules))

    def boxes(self, zone: tzinfo, moved: bool) -> tuple[Box, ...]:
        """Where they fire at most, on the wall clock of a zone."""
        return ANYWHERE if self._dates else either(rule.boxes(zone, moved) for rule in self._rules)

    def wall_rules(self, gap: Gap) -> Sequence[WallRule] | None:
        """The times and days of the rules; None where single dates are added to them."""
        if self._dates:
            return None
        return [rule.wall_rule(gap) for rule in self._rules]

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

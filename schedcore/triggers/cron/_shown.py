"""A schedule in its fields, for programs that show it or write it down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from schedcore.triggers.cron._dialects import KEYWORDS, Crontab, field_texts, keyword_texts
from schedcore.triggers.cron._fields import WEEKDAYS
from schedcore.triggers.cron._rule import CronRule

__all__ = ["CronField", "fields_of"]

# Crontab text whose weekdays are numbers and no more than that: no ``fri#2``, ``5L`` or ``H``.
_NUMBERS = re.compile(r"(?=.*\d)(?!.*[#h])(?!.*\dL)", re.IGNORECASE)


class CronField(NamedTuple):
    """A field of a schedule; ``str()`` of it is its text."""

    name: str
    text: str
    #: Whether it was left out.
    is_default: bool

    @property
    def expressions(self) -> list[str]:
        """The parts of a list with commas."""
        return [part.strip() for part in self.text.split(",")]

    def __str__(self) -> str:
        return self.text


def fields_of(source: Sequence[str | None] | Crontab, rule: CronRule) -> list[CronField]:
    """The fields of the keyword form, in its order, of a schedule as it was written and what it means."""
    if not isinstance(source, Crontab):
        texts = keyword_texts(source)
        return [CronField(name, texts[name], given is None) for name, given in zip(KEYWORDS, source, strict=True)]
    texts = {name: "*" if text == "?" else text for name, text in field_texts(source).items()}
    weekday = texts["day_of_week"]
    if source.dialect != "apscheduler3" and _NUMBERS.match(weekday):
        texts["day_of_week"] = ",".join(
            name[:3].lower() for day, name in enumerate(WEEKDAYS) if rule.weekdays >> day & 1
        )
    defaults = {"second": "0"}
    return [
        CronField(name, texts.get(name, defaults.get(name, "*")), is_default=name not in texts) for name in KEYWORDS
    ]

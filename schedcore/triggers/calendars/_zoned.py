"""What the triggers that ask a calendar share."""

from __future__ import annotations

from abc import abstractmethod

from schedcore.triggers._effort import EFFORT
from schedcore.triggers._local import Gap, offset_at, wall_instant
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.base import EngineTrigger, Frozen
from schedcore.triggers.cron._dst import Offsets

__all__ = ["SECOND_US", "Zoned"]

SECOND_US = 1_000_000


class Zoned(Frozen, EngineTrigger):
    """What the triggers of this module share: a zone whose wall clock they go by."""

    __slots__ = ("_found",)

    searches = True

    _offsets: Offsets
    #: A question and its answer, which holds for all questions in between: a search in which others take part asks many of them.
    _found: tuple[int, int | None]

    def next_us(self, after_us: int) -> int | None:
        asked_us, answer_us = self._found
        if after_us < asked_us or (answer_us is not None and answer_us <= after_us):
            with EFFORT:
                answer_us = self._search_us(after_us)
            if not self.foreign:
                object.__setattr__(self, "_found", (after_us, answer_us))
        return answer_us

    @abstractmethod
    def _search_us(self, after_us: int) -> int | None:
        """The first fire time later than ``after_us``, or None."""

    def _shown(self, at_us: int) -> tuple[int, int, int]:
        """The local second of an instant, and the instants [from, until) in which the same offset holds; seconds."""
        at_s = min(max(at_us, FIRST_US), LAST_US) // SECOND_US
        start_s, end_s, offset = offset_at(self._offsets, at_s)
        return at_s + offset, start_s, end_s

    def _wall(self, local_s: int, gap: Gap = "cron") -> int | None:
        """The instant, in microseconds, at which the wall clock first shows a local second."""
        at_s = wall_instant(self._offsets, local_s, gap)
        return None if at_s is None else at_s * SECOND_US

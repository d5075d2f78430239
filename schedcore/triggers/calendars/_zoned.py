"""What the triggers that ask a calendar share."""

from __future__ import annotations

from schedcore.triggers._local import Gap, offset_at, wall_instant
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.base import EngineTrigger, Frozen
from schedcore.triggers.cron._dst import Offsets

__all__ = ["SECOND_US", "Zoned"]

SECOND_US = 1_000_000


class Zoned(Frozen, EngineTrigger):
    """What the triggers of this module share: a zone whose wall clock they go by."""

    __slots__ = ()

    searches = True

    _offsets: Offsets

    def _shown(self, at_us: int) -> tuple[int, int, int]:
        """The local second of an instant, and the instants [from, until) in which the same offset holds; seconds."""
        at_s = min(max(at_us, FIRST_US), LAST_US) // SECOND_US
        start_s, end_s, offset = offset_at(self._offsets, at_s)
        return at_s + offset, start_s, end_s

    def _wall(self, local_s: int, gap: Gap = "cron") -> int | None:
        """The instant, in microseconds, at which the wall clock first shows a local second."""
        at_s = wall_instant(self._offsets, local_s, gap)
        return None if at_s is None else at_s * SECOND_US

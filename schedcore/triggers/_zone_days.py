"""Days that go by the clocks of a zone, as sets (``_days``)."""

from __future__ import annotations

from itertools import pairwise

from schedcore.triggers._days import CHUNK, FIRST_DAY, Days, extend, filled
from schedcore.triggers._local import DAY_S
from schedcore.triggers.cron._dst import Offsets

__all__ = ["Changes", "InEffect", "Jumps", "Shown"]


class Shown:
    """What the clocks of a zone show, chunk by chunk; kept, because each offset asks for it."""

    __slots__ = ("_chunks", "_in_effect", "_offsets")

    def __init__(self, offsets: Offsets) -> None:
        self._offsets = offsets
        self._chunks: dict[int, list[tuple[int, int, int]]] = {}
        self._in_effect: dict[tuple[int, int, int], InEffect] = {}

    def spans(self, chunk: int) -> list[tuple[int, int, int]]:
        """From a day before a chunk on until it ends: from, until and the offset; seconds."""
        found = self._chunks.get(chunk)
        if found is None:
            first_s = (FIRST_DAY + chunk * CHUNK) * DAY_S
            found = self._chunks[chunk] = list(self._offsets.spans(first_s - DAY_S, first_s + CHUNK * DAY_S))
        return found

    def in_effect(self, offset: int, low_s: int, high_s: int) -> InEffect:
        """The days on which an offset holds at a stretch of the day; one set for all who ask."""
        found = self._in_effect.get((offset, low_s, high_s))
        if found is None:
            found = self._in_effect[offset, low_s, high_s] = InEffect(self, offset, low_s, high_s)
        return found


class _OfAZone(Days):
    """Days that go by a zone's clocks: they take longest to make, are few, and are kept as long as the zone is."""

    __slots__ = ("_kept", "_shown")

    of_clocks = True

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._kept: dict[int, int] = {}
        self.repeats = 1

    def chunk(self, chunk: int) -> int:
        chunk = self.like(chunk)
        found = self._kept.get(chunk)
        if found is None:
            found = self._kept[chunk] = self.make(chunk)
        return found


class InEffect(_OfAZone):
    """The days of UTC on which an offset of a zone holds for some time from one second of the day to another, or would, had the
    clocks not jumped.
    """

    __slots__ = ("_high_s", "_low_s", "_offset")

    def __init__(self, shown: Shown, offset: int, low_s: int = 0, high_s: int = DAY_S - 1) -> None:
        super().__init__(shown)
        self._offset, self._low_s, self._high_s = offset, low_s, high_s

    def make(self, chunk: int) -> int:
        ranges: list[tuple[int, int]] = []
        spans = self._shown.spans(chunk)
        for (start_s, until_s, offset), (_, _, after) in pairwise([*spans, spans[-1]]):
            if offset == self._offset:
                # What the clocks jump over may be read with the offset before it.
                until_s += max(after - offset, 0)
                first, last = -((self._high_s - start_s) // DAY_S), (until_s - 1 - self._low_s) // DAY_S
                if first <= last:
                    extend(ranges, first, last)
        return filled(ranges, FIRST_DAY + chunk * CHUNK)


class Jumps(_OfAZone):
    """The days of UTC on which the clocks of a zone jump forward."""

    __slots__ = ()

    def make(self, chunk: int) -> int:
        spans = self._shown.spans(chunk)
        ranges: list[tuple[int, int]] = []
        for (_, end_s, before), (_, _, after) in pairwise(spans):
            if after > before:
                extend(ranges, end_s // DAY_S, end_s // DAY_S)
        return filled(ranges, FIRST_DAY + chunk * CHUNK)


class Changes(_OfAZone):
    """The days of UTC on which the clocks of a zone change."""

    __slots__ = ()

    def make(self, chunk: int) -> int:
        ranges: list[tuple[int, int]] = []
        for _, end_s, _ in self._shown.spans(chunk)[:-1]:
            extend(ranges, end_s // DAY_S, end_s // DAY_S)
        return filled(ranges, FIRST_DAY + chunk * CHUNK)

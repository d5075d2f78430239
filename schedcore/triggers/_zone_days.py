"""Days that go by the clocks of a zone, as sets (``_days``)."""

from __future__ import annotations

from itertools import pairwise

from schedcore.triggers._days import CHUNK, FIRST_DAY, Days, extend, filled
from schedcore.triggers._local import DAY_S
from schedcore.triggers.cron._dst import Offsets

__all__ = ["Changes", "InEffect", "Jumps", "Shown"]


class Shown:
    """What the clocks of a zone show, chunk by chunk; kept, because each offset asks for it."""

    __slots__ = ("_chunks", "_offsets")

    def __init__(self, offsets: Offsets) -> None:
        self._offsets = offsets
        self._chunks: dict[int, list[tuple[int, int, int]]] = {}

    def spans(self, chunk: int) -> list[tuple[int, int, int]]:
        """From a day before a chunk on until it ends: from, until and the offset; seconds."""
        found = self._chunks.get(chunk)
        if found is None:
            first_s = (FIRST_DAY + chunk * CHUNK) * DAY_S
            found = self._chunks[chunk] = list(self._offsets.spans(first_s - DAY_S, first_s + CHUNK * DAY_S))
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
    """The days of UTC on which an offset of a zone holds for some time, or held until the clocks jumped that day."""

    __slots__ = ("_offset",)

    def __init__(self, shown: Shown, offset: int) -> None:
        super().__init__(shown)
        self._offset = offset

    def make(self, chunk: int) -> int:
        ranges: list[tuple[int, int]] = []
        before, end_s = 1 << 20, 0
        for start_s, until_s, offset in self._shown.spans(chunk):
            if before == self._offset < offset:
                # What the clocks jump over may be read with the offset before it.
                extend(ranges, end_s // DAY_S, (end_s + offset - before - 1) // DAY_S)
            if offset == self._offset:
                extend(ranges, start_s // DAY_S, (until_s - 1) // DAY_S)
            before, end_s = offset, until_s
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

"""The runs of a pool, by number: those that are queued, and all that are live."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from schedcore.run import Run

__all__ = ["RunQueue"]


class RunQueue:
    """What frameworks' own pools of runs share (``schedcore.executors.pool.RunPool``).

    Whoever takes a number from ``_queue`` begins that run, or takes it back. In ``_live`` it is until just before it is reported.
    """

    def __init__(self) -> None:
        self._live: dict[int, Run] = {}
        self._queue: deque[int] = deque()
        self._next = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def live(self) -> list[Run]:
        """The runs that were taken and are not over, in order of submission. From any thread."""
        return list(self._live.copy().values())

    def _put(self, runs: Sequence[Run]) -> None:
        first = self._next
        self._next = first + len(runs)
        numbers = range(first, self._next)
        self._live.update(zip(numbers, runs, strict=True))
        self._queue.extend(numbers)

    def _take_back(self) -> list[Run]:
        """Take what is queued out, in order: one by one, because the next may be begun at any moment."""
        runs: list[Run] = []
        while self._queue:
            try:
                number = self._queue.popleft()
            except IndexError:
                break
            runs.append(self._live.pop(number))
        return runs

"""How far one question may search.

Triggers ask each other: an exclusion asks an ``and``, which asks a recurrence rule. Were each of them bounded by itself, the
bounds would multiply. So the outermost search of a thread has a number of steps for all that is asked within it, and each step
is taken from there. A step stands for some 2 us; what takes longer counts as several.
"""

from __future__ import annotations

from threading import local

from schedcore.errors import InvalidTriggerError

__all__ = ["EFFORT", "MOST_STEPS"]

#: Steps of one question and of all that it asks.
MOST_STEPS = 30_000


class _Effort(local):
    """``with EFFORT:`` is a search; the outermost one begins with ``MOST_STEPS``. One for each thread."""

    depth = 0
    #: Steps that the search under way has left.
    left = 0

    def __enter__(self) -> None:
        if not self.depth:
            self.left = MOST_STEPS
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1

    def spend(self, steps: int, searched: object) -> None:
        """Take steps of the search that is under way. Raises ``InvalidTriggerError`` when there are none left."""
        self.left -= steps
        if self.left < 0 < self.depth:
            raise InvalidTriggerError(
                f"no fire time was found, and none was shown to be missing, when the search ended: {searched}",
                field="trigger",
            )


EFFORT = _Effort()

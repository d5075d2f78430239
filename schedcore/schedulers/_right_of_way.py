"""The event loop goes before threads that run jobs.

A loop that has something to do needs the interpreter first, and threads that compute pass it round among themselves, five
milliseconds each: ten of them keep a loop waiting for fifty each time, however little it has to do. So a worker looks, between
two runs, whether the scheduler was asked for a step and has not made it for a while. Then it waits until that is made, but no
longer than ``LIMIT_S``: a loop that does not come round in that time is held up by something else. Then the workers go on,
and wait again after a while that becomes longer each time.

A loop may lose the interpreter at any point of a step, and as it rings: nothing here depends on a step being over at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

__all__ = ["BEHIND_S", "LIMIT_S", "RightOfWay"]

# Seconds. A loop that is let alone makes its step within one or two milliseconds. This is for how long Python leaves a thread
# the interpreter when others ask for it.
BEHIND_S = 0.005
# Seconds. The longest that a worker waits for the loop.
LIMIT_S = 0.02


class RightOfWay:
    """Whether a loop is kept waiting with a step. ``is_asked``: whether it was asked for one. Any method from any thread."""

    __slots__ = ("_behind_at_s", "_is_asked", "_made", "_pause_s", "_waited_for")

    def __init__(self, is_asked: Callable[[], bool]) -> None:
        self._is_asked = is_asked
        # When a step that is asked for, or being made, has taken too long.
        self._behind_at_s = 0.0
        self._pause_s = BEHIND_S
        self._waited_for = False
        self._made = threading.Event()

    def begin(self) -> None:
        """A step is about to be asked for, or to be made."""
        self._behind_at_s = monotonic() + BEHIND_S

    def end(self) -> None:
        """A step is made."""
        self._pause_s = BEHIND_S
        if self._waited_for:
            self._waited_for = False
            self._made.set()

    def give(self) -> None:
        """Wait for the loop if it is kept waiting."""
        at_s = self._behind_at_s
        if monotonic() < at_s or not self._is_asked():
            return
        self._made.clear()
        self._waited_for = True
        # It may have been made between the look and the waiting.
        if self._behind_at_s == at_s and not self._made.wait(LIMIT_S) and self._behind_at_s == at_s:
            self._pause_s *= 2
            self._behind_at_s = monotonic() + self._pause_s

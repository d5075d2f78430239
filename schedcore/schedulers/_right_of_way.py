"""The event loop goes before threads that run jobs.

A loop that has something to do needs the interpreter first, and threads that compute pass it round among themselves, five
milliseconds each: ten of them keep a loop waiting for fifty, however little it has to do. So a worker looks, between two runs,
whether the scheduler was asked for a step and has not made it for a while. Then it waits until that is made; but no longer than
``LIMIT_S``: a loop that does not come round in that time is held up by something else, and nobody waits for this step again.
"""

from __future__ import annotations

import threading
from time import monotonic

__all__ = ["BEHIND_S", "LIMIT_S", "RightOfWay"]

# Seconds. A loop that is let alone makes its step within one or two milliseconds. This is for how long Python leaves a thread
# the interpreter when others ask for it.
BEHIND_S = 0.005
# Seconds. The longest that a worker waits for the loop.
LIMIT_S = 0.05

# No step is asked for.
_NEVER_S = float("inf")


class RightOfWay:
    """Since when a loop has been asked for a step. Any method from any thread."""

    __slots__ = ("_asked_s", "_made", "_waited_for", "_waited_in_vain_s")

    def __init__(self) -> None:
        self._asked_s = _NEVER_S
        self._waited_in_vain_s = 0.0
        self._waited_for = False
        self._made = threading.Event()

    def asked(self) -> None:
        """A step is asked for."""
        if self._asked_s == _NEVER_S:
            self._asked_s = monotonic()

    def made(self) -> None:
        """The step is being made."""
        self._asked_s = _NEVER_S
        if self._waited_for:
            self._waited_for = False
            self._made.set()

    def give(self) -> None:
        """Wait for the loop if it is kept waiting."""
        asked_s = self._asked_s
        if monotonic() - asked_s < BEHIND_S or asked_s == self._waited_in_vain_s:
            return
        self._made.clear()
        self._waited_for = True
        # It may have been made between the look and the waiting.
        if self._asked_s == asked_s and not self._made.wait(LIMIT_S):
            self._waited_in_vain_s = asked_s

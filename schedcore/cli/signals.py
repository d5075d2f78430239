"""What asks ``schedcore run`` to end, and wakes the main thread, which waits for it.

The main thread sleeps on a ``Bell``, a socket that signal handlers and listeners write a byte to: that is safe inside a signal
handler, where a lock is not.

Who asks once may send several signals: ``timeout`` sends SIGTERM twice, systemd SIGHUP too, and of a terminal that is closed come
SIGHUPs of its shell and of the kernel. Those that come together count once.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
from collections.abc import Iterator
from time import monotonic
from types import FrameType
from typing import Any

from schedcore.executors.command import kill_running

__all__ = ["FORCED", "Bell", "Signals"]

#: The exit code after a second signal: that of a shell for what Ctrl-C ended.
FORCED = 130
# Seconds. SIGTERM and SIGHUP so soon after one of them are the same request.
_TOGETHER_S = 1.0

# Signals that programs send; the others are keys that somebody presses.
_OF_PROGRAMS = frozenset(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
# What a terminal is told to show its first screen and its cursor again.
_RESTORE = b"\x1b[?1049l\x1b[?25h"


class Bell:
    """Wakes the main thread. ``ring`` may be called anywhere, signal handlers included.

    The kernel may hand a signal to any thread; Python's handler then runs in the main thread, once that is awake. So the bell
    is also rung from the C level (``signal.set_wakeup_fd``).
    """

    def __init__(self) -> None:
        self._ears, self._clapper = socket.socketpair()
        self._ears.setblocking(False)
        self._clapper.setblocking(False)

    @property
    def clapper(self) -> int:
        """A file descriptor: a byte written to it rings."""
        return self._clapper.fileno()

    def ring(self) -> None:
        # BlockingIOError: it is ringing already. OSError: it is closed, and nobody waits any more.
        with contextlib.suppress(OSError):
            self._clapper.send(b"\0")

    def wait(self, timeout_s: float) -> None:
        """Until it rings, or for ``timeout_s``."""
        import select

        select.select([self._ears], [], [], max(0.0, timeout_s))
        with contextlib.suppress(BlockingIOError):
            while len(self._ears.recv(4096)) == 4096:
                pass

    def close(self) -> None:
        self._ears.close()
        self._clapper.close()


class Signals:
    """Counts the signals that ask for the end."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self.count = 0
        self.on_screen = False
        self._terminated_s = -math.inf  # monotonic; of the latest that no key was pressed for

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in _OF_PROGRAMS:
            before_s, self._terminated_s = self._terminated_s, monotonic()
            if self._terminated_s - before_s < _TOGETHER_S:
                return
        self.count += 1
        if self.count > 2:
            kill_running()
            if self.on_screen:
                os.write(1, _RESTORE)
            os._exit(FORCED)

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Meanwhile. One that was ignored (``nohup``) stays so."""
        before: dict[int, Any] = {}
        wakeup_fd = signal.set_wakeup_fd(self._bell.clapper, warn_on_full_buffer=False)
        try:
            for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, self._handle)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup_fd)

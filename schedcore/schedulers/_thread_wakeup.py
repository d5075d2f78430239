"""The wakeup of schedulers that have a thread to themselves: it waits on one lock, and runs blocking calls in threads
of its own.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from schedcore.schedulers._calls import CallPool, call_pool
from schedcore.wakeup import Done, outcome_of, timer_slack_s

__all__ = ["ThreadWakeup"]

# Seconds. Python runs signal handlers in the main thread only, between two of its steps: a signal that comes in the instant
# before the wait begins does not cut it short. Ctrl-C is answered within this all the same.
_MAIN_THREAD_WAIT_S = 1.0

# Seconds. In a longer wait than this processor and caches turn to other things, and the way from the timer to a job takes several
# times as long. So the first look is made a little early: it finds nothing due yet, and has all at hand for the one that counts.
_LONG_WAIT_S = 0.02
_EARLY_S = 0.00025

# Threads for blocking calls. One call of each job store is under way at a time, so this bounds the stores that can wait at once.
_MAX_CALLERS = 16

_logger = logging.getLogger("schedcore.scheduler")


class ThreadWakeup:
    """See ``schedcore.wakeup.Wakeup``. ``run`` is the loop; the thread that calls it is the framework's thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        # Held while there is nothing to do: waiting is acquiring it, waking is releasing it. A condition costs twice as much.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._calls: deque[Callable[[], None]] = deque()
        self._deadline_s: float | None = None
        self._callback: Callable[[], None] | None = None
        self._callers: CallPool | None = None
        # Asked here, of the thread that starts the loop's, which inherits it (prctl(2)). Reading a file lets other threads run: a
        # loop that stopped there would be in its first steps when `start` returns, and uWSGI, which loads an application and then
        # forks without Python's lock, would have workers that wait for it for ever.
        self._slack_s = timer_slack_s()
        self._stopping = False

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        if delay_s > _LONG_WAIT_S:
            delay_s -= _EARLY_S
        self._deadline_s = monotonic() + delay_s
        self._callback = callback

    def disarm(self) -> None:
        self._deadline_s = None
        self._callback = None

    def call_soon(self, callback: Callable[[], None]) -> None:
        if self._stopping:
            raise RuntimeError("the scheduler's loop has ended")
        self._calls.append(callback)
        self._ring()

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        callers = self._callers
        if callers is None:
            self._callers = callers = call_pool(_MAX_CALLERS, f"{self._name}-io")
        callers.submit([lambda: self._call(call, done)])

    def _call(self, call: Callable[[], Any], done: Done) -> None:
        result, error = outcome_of(call)
        try:
            self.call_soon(lambda: done(result, error))
        except RuntimeError:
            # The loop has ended meanwhile, and nobody waits for the result any more.
            pass

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            # It rings already: whoever waits will look at everything.
            pass

    def run(self) -> None:
        """Run until ``stop``. What a callback raises is logged; what would end the program passes through."""
        calls = self._calls
        longest_s = _MAIN_THREAD_WAIT_S if threading.current_thread() is threading.main_thread() else None
        slack_s = self._slack_s
        while not self._stopping:
            deadline_s = self._deadline_s
            if not calls:
                delay_s = longest_s if deadline_s is None else deadline_s - monotonic()
                if delay_s is None:
                    self._bell.acquire()
                elif delay_s > 0:
                    if delay_s > slack_s:
                        delay_s -= slack_s  # what ends too soon by it is waited for again
                    self._bell.acquire(timeout=delay_s if longest_s is None else min(delay_s, longest_s))
            for _ in range(len(calls)):
                self._make(calls.popleft())
            deadline_s = self._deadline_s
            if deadline_s is not None and deadline_s <= monotonic() and not self._stopping:
                callback = self._callback
                self.disarm()
                if callback is not None:
                    self._make(callback)

    def _make(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            _logger.exception("%r failed in the scheduler's thread", call)

    def stop(self) -> None:
        """End ``run`` soon. From any thread."""
        self._stopping = True
        self._ring()

    def close(self, timeout_s: float) -> bool:
        """End the threads of blocking calls; False when one is still in a call after ``timeout_s``."""
        callers = self._callers
        if callers is None:
            return True
        callers.close()
        return callers.join(timeout_s)

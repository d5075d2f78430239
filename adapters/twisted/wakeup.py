"""The wakeup on a Twisted reactor: its timers, its calls from threads, its thread pool for what blocks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.python import threadable

from schedcore.wakeup import Done, outcome_of

__all__ = ["TwistedWakeup", "call_in_reactor", "is_over", "is_running_here", "was_stopped"]

_in_io_thread: Callable[[], bool] = threadable.isInIOThread


def was_stopped(reactor: Any) -> bool:
    """Whether ``reactor.stop`` was called, after which no reactor runs again."""
    # Twisted says in public only whether it runs; one that does not may be about to.
    return bool(getattr(reactor, "_startedBefore", False))


def is_over(reactor: Any) -> bool:
    """Whether a reactor will not call back any more: it was stopped, or the program ends and has left it standing."""
    return not reactor.running and (was_stopped(reactor) or not threading.main_thread().is_alive())


def is_running_here(reactor: Any) -> bool:
    """Whether a reactor runs in the calling thread."""
    return bool(reactor.running) and _in_io_thread()


def call_in_reactor(reactor: Any, call: Callable[[], object]) -> bool:
    """Have a call made in the reactor's thread. From any thread. False when that is gone."""
    if is_over(reactor):
        return False
    reactor.callFromThread(call)
    return True


class TwistedWakeup:
    """See ``schedcore.wakeup.Wakeup``."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timer: Any = None
        self._calls: deque[Callable[[], None]] = deque()

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.disarm()
        self._timer = self._reactor.callLater(delay_s, self._fire, callback)

    def _fire(self, callback: Callable[[], None]) -> None:
        self._timer = None
        callback()

    def disarm(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def call_soon(self, callback: Callable[[], None]) -> None:
        if is_over(self._reactor):
            raise RuntimeError("the reactor was stopped")
        # A queue of its own keeps the order: the reactor on asyncio's loop makes timers of such calls.
        self._calls.append(callback)
        try:
            self._reactor.callFromThread(self._call_next)
        except OSError as error:
            # It has been stopped this instant, and what wakes it up is closed.
            raise RuntimeError("the reactor was stopped") from error

    def _call_next(self) -> None:
        self._calls.popleft()()

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        def report(succeeded: bool, result: Any) -> None:
            if not succeeded:
                result = (None, RuntimeError(f"the call ended with {result.value!r}"))
            self._reactor.callFromThread(done, *result)

        self._reactor.getThreadPool().callInThreadWithCallback(report, outcome_of, call)

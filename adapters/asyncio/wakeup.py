"""The wakeup on an asyncio loop: its timers, its thread-safe callbacks, its default executor for what blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

from schedcore.wakeup import Done, outcome_of, timer_slack_s

__all__ = ["AsyncIOWakeup", "finish_future", "is_over", "is_running_here", "is_the_programs"]


def is_over(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop will not run any more: it is closed, or the program ends and has left it standing."""
    return loop.is_closed() or not (loop.is_running() or threading.main_thread().is_alive())


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop runs in the calling thread."""
    return asyncio._get_running_loop() is loop


def is_the_programs(error: BaseException) -> bool:
    """Whether an exception that came up in a job may be Ctrl-C, which belongs to the program."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def finish_future(future: asyncio.Future[Any]) -> Done:
    """What gives a future its result, unless whoever awaits it has given up."""

    def finish(result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    return finish


class AsyncIOWakeup:
    """See ``schedcore.wakeup.Wakeup``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.Handle | None = None
        self._slack_s = timer_slack_s()
        # A loop calls in a copy of the context of who asks for the call, and here that may be a job.
        self._context = Context()
        # Strong references, because a loop keeps weak ones only.
        self._calls: set[asyncio.Future[Any]] = set()

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if delay_s > self._slack_s:
            delay_s -= self._slack_s
        if delay_s > 0:
            self._timer = self._loop.call_later(delay_s, callback, context=self._context)
        else:
            # The timer heap is not needed, and callbacks that are ready go first.
            self._timer = self._loop.call_soon(callback, context=self._context)

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(callback, context=self._context)

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        def report(future: asyncio.Future[Any]) -> None:
            self._calls.discard(future)
            if future.cancelled():
                done(None, RuntimeError("the event loop was closed during the call"))
                return
            error = future.exception()
            if error is None:
                done(*future.result())
            else:
                # Not of the call, but of the executor that was to make it.
                done(None, error if isinstance(error, Exception) else RuntimeError(f"the call ended with {error!r}"))

        future = self._in_thread(partial(outcome_of, call))
        self._calls.add(future)
        future.add_done_callback(report, context=self._context)

    def _in_thread(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        return self._loop.run_in_executor(None, call)

"""The wakeup on a Tornado ``IOLoop``: its timeouts, its callbacks, and threads of its own for what blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any

from tornado.ioloop import IOLoop

from schedcore.adapters.asyncio.wakeup import AsyncIOWakeup
from schedcore.wakeup import Done

__all__ = ["TornadoWakeup", "asyncio_loop_of"]


def asyncio_loop_of(io_loop: IOLoop) -> asyncio.AbstractEventLoop:
    """The asyncio loop that every ``IOLoop`` is a face of."""
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    return loop


class TornadoWakeup(AsyncIOWakeup):
    """See ``schedcore.wakeup.Wakeup``. ``close`` lets its threads go."""

    def __init__(self, io_loop: IOLoop) -> None:
        super().__init__(asyncio_loop_of(io_loop))
        self._io_loop = io_loop
        self._timeout: object | None = None
        # Not the loop's own executor: that is never closed, and what the application has running there may fill it.
        self._threads = ThreadPoolExecutor(thread_name_prefix="schedcore-blocking")

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.disarm()
        self._timeout = Context().run(self._io_loop.call_later, delay_s, callback)

    def disarm(self) -> None:
        if self._timeout is not None:
            self._io_loop.remove_timeout(self._timeout)
            self._timeout = None

    def call_soon(self, callback: Callable[[], None]) -> None:
        # ``add_callback`` passes over a loop that is closed.
        if self._loop.is_closed():
            raise RuntimeError("the IOLoop is closed")
        # It calls in a copy of the context of who asks, and that may be a job.
        Context().run(self._io_loop.add_callback, callback)

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        try:
            super().run_blocking(call, done)
        except RuntimeError as error:
            # The scheduler has ended since it was asked for.
            done(None, error)

    def _in_thread(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        return self._io_loop.run_in_executor(self._threads, call)

    def close(self) -> None:
        """Take no more blocking calls; the threads end with those that they are in. From any thread."""
        self._threads.shutdown(wait=False)

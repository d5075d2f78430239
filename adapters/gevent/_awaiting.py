"""What a job returns and is not over: a greenlet, an ``AsyncResult``, an awaitable of asyncio's; and its value in the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from gevent import Greenlet, GreenletExit
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from schedcore.adapters.gevent.places import in_thread
from schedcore.executors.base import settle

__all__ = ["GRACE_S", "Awaiting"]

# Seconds. A job that does not let itself be ended is not waited for longer.
GRACE_S = 1.0


class Awaiting:
    """Waits, in the greenlets of jobs, for what they have returned. ``max_threads``: for asyncio's, and for who asks for them."""

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._awaited: set[Any] = set()
        self._threads: ThreadPool | None = None

    def __contains__(self, greenlet: object) -> bool:
        return greenlet in self._awaited

    def value_of(self, retval: Any) -> Any:
        """The value of what a job returned. Raises what it came to; killed, it passes that on."""
        if isinstance(retval, (Greenlet, AsyncResult)):
            self._awaited.add(retval)
            try:
                value = retval.get()
            except GreenletExit:
                if isinstance(retval, Greenlet):
                    retval.kill(block=False)
                raise
            finally:
                self._awaited.discard(retval)
            if isinstance(value, GreenletExit):
                raise RuntimeError("the greenlet that the job returned was killed")
            return value
        return settle(retval, self._await_in_thread)

    def _await_in_thread(self, awaitable: Any) -> Any:
        running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

        async def value() -> Any:
            task = asyncio.current_task()
            assert task is not None
            running.append((task.get_loop(), task))
            return await awaitable

        # The context is the run's; a greenlet starts with an empty one.
        call = partial(copy_context().run, lambda: asyncio.run(value()))
        waiting = Greenlet.spawn(in_thread, self.threads, call)
        try:
            result, error = waiting.get()
        except GreenletExit:
            for loop, task in running:
                with suppress(RuntimeError):  # it has ended just now
                    loop.call_soon_threadsafe(task.cancel)
            waiting.join(GRACE_S)
            raise
        if error is not None:
            raise error
        return result

    @property
    def threads(self) -> ThreadPool:
        """Real threads for jobs, to be asked for in a greenlet. Not the hub's own: jobs that take long would leave none for name
        look-ups and job stores.
        """
        if self._threads is None:
            self._threads = ThreadPool(self._max_threads)
        return self._threads

    def close(self) -> None:
        """Nothing runs any more: let go of the threads. In the hub's thread; twice is harmless."""
        threads = self._threads
        self.forget()
        if threads is not None:
            threads.kill()

    def forget(self) -> None:
        """After a fork, in the child: the threads are the parent's."""
        self._threads = None

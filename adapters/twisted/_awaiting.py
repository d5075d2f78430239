"""Awaitables that plain functions return in a thread: they mean the reactor, and are awaited there."""

from __future__ import annotations

import logging
from concurrent.futures import Future, wait
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from schedcore.adapters.twisted.wakeup import call_in_reactor, is_over
from schedcore.executors.loop import LOOK_S
from schedcore.run import Run

__all__ = ["Awaiting", "as_twisted"]


def as_twisted(awaitable: Any) -> Any:
    """What a coroutine can await that Twisted drives."""
    # asyncio's futures say so of themselves. They end where Twisted runs on asyncio's loop.
    if getattr(type(awaitable), "_asyncio_future_blocking", None) is None:
        return awaitable
    return Deferred.fromFuture(awaitable)


class Awaiting:
    """Awaits what functions have returned in threads."""

    def __init__(self, reactor: Any, logger: logging.Logger) -> None:
        self._reactor = reactor
        self._logger = logger
        # What is not over. Reactor's thread only.
        self._followed: set[Deferred[Any]] = set()
        self._warned: set[str] = set()

    def value(self, run: Run, awaitable: Any) -> Any:
        """What it gives, or raises. In the thread of the run's job."""
        name = run.job.func_ref or run.job.name
        if isinstance(awaitable, Deferred) and name not in self._warned:
            self._warned.add(name)
            self._logger.warning(
                "%s returned a Deferred in a worker thread, where most of Twisted must not be used; its value is waited for, but "
                "decorate it with schedcore.adapters.twisted.in_reactor, or add its job with executor='reactor' (this is said "
                "once)",
                name,
            )
        if is_over(self._reactor):
            raise RuntimeError("the reactor was stopped before the awaitable that the job returned")
        future: Future[Any] = Future()
        self._reactor.callFromThread(self._follow, awaitable, future)
        while not wait([future], LOOK_S).done:
            if is_over(self._reactor):
                raise RuntimeError("the reactor was stopped before the awaitable that the job returned was over")
        return future.result()

    def _follow(self, awaitable: Any, future: Future[Any]) -> None:
        async def value() -> Any:
            return await awaitable

        def over(result: Any) -> None:
            self._followed.discard(deferred)
            if isinstance(result, Failure):
                future.set_exception(result.value)
            else:
                future.set_result(result)

        awaitable = as_twisted(awaitable)
        deferred = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(value())
        self._followed.add(deferred)
        deferred.addBoth(over)

    def cancel(self) -> bool:
        """Cancel what is not over, soon. False when there is nothing to cancel, or no reactor to do it."""
        return bool(self._followed) and call_in_reactor(self._reactor, self._cancel_followed)

    def _cancel_followed(self) -> None:
        for deferred in list(self._followed):
            deferred.cancel()

"""Where a call that may need a job store is made, so that nobody but its caller waits for it.

A greenlet has it made in a real thread of gevent's, and waits for the answer, or the exception, while others run. The hub itself
cannot wait: what it calls finds the rules of ``LoopScheduler``. A real thread waits as threads do; in a patched program it has a
greenlet make the call (``patched``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, Protocol, TypeVar

from gevent import spawn
from gevent.event import Event
from gevent.hub import Hub

from schedcore.adapters.gevent.patched import Turns, made_in_greenlet
from schedcore.adapters.gevent.places import in_thread, is_patched, is_thread_of
from schedcore.adapters.gevent.wakeup import GeventWakeup
from schedcore.wakeup import Done

__all__ = ["StoreCalls", "Stores", "waiting"]

P = ParamSpec("P")
T = TypeVar("T")


def waiting(method: Callable[P, T]) -> Callable[P, T]:
    """A method of the scheduler's that waits for job stores where and as it may: for the one named by ``jobstore``, or all."""
    parameters = list(signature(method).parameters.values())[1:]
    position, default = next(
        ((index, parameter.default) for index, parameter in enumerate(parameters) if parameter.name == "jobstore"),
        (len(parameters), None),
    )

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        alias: Any = args[position] if position < len(args) else kwargs.get("jobstore", default)
        return self._make_call(lambda: method(self, *args, **kwargs), alias)

    return call  # type: ignore[return-value]


class Stores(Protocol):
    """What is asked of the scheduler."""

    @property
    def running(self) -> bool:
        """Whether it is."""

    def _blocking_stores(self, jobstore: str | None) -> list[str]: ...
    def _is_opening(self, jobstore: str | None) -> bool: ...
    def _may_wait(self) -> bool: ...
    def _spawn(self, call: Callable[[], None]) -> bool: ...


class StoreCalls:
    """See the module's docstring. To be made for each start, with the hub of that."""

    def __init__(self, scheduler: Stores, hub: Hub) -> None:
        self._scheduler = scheduler
        self._hub = hub
        self._turns = Turns()
        # A job store's pump has made a step.
        self._stepped = Event()

    def make(self, call: Callable[[], Any], jobstore: str | None) -> Any:
        """Make a call that may need this job store (None: all), where and when it may be made."""
        scheduler = self._scheduler
        if not scheduler.running:
            return call()
        if scheduler._may_wait() and scheduler._blocking_stores(jobstore):
            # Those that could not be opened are tried again, and nobody waits for that.
            while scheduler.running and scheduler._is_opening(jobstore):
                self._stepped.wait()
                self._stepped.clear()
            return self.in_thread(call, jobstore)
        if is_patched() and not is_thread_of(self._hub) and not self._turns.has_here():
            return made_in_greenlet(self._hub, scheduler._spawn, lambda: self.make(call, jobstore))
        return call()

    def in_thread(self, call: Callable[[], Any], jobstore: str | None) -> Any:
        """Make a call in a real thread; the calling greenlet waits for it."""
        if is_patched():
            stores = self._scheduler._blocking_stores(jobstore)
            # In a greenlet of its own, because the turn is over when the call is, whether or not its caller waits for that.
            result, error = spawn(self._turns.make, self._hub, copy_context().run, call, stores).get()
        else:
            result, error = in_thread(self._hub.threadpool, call)
        if error is not None:
            raise error
        return result

    def make_step(self, wakeup: GeventWakeup, call: Callable[[], Any], done: Done, stores: Iterable[str]) -> None:
        """Make a pump's call, as ``Wakeup.run_blocking``."""

        def told(result: Any, error: Exception | None) -> None:
            done(result, error)
            self._stepped.set()

        if is_patched():
            wakeup.run_waiting(lambda: self._turns.make(self._hub, Context().run, call, stores), told)
        else:
            wakeup.run_blocking(call, told)

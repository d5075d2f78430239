"""Where a call that may need a job store is made, so that nobody but its caller waits for it.

A greenlet has it made in a real thread of gevent's, and waits for the answer, or the exception, while others run. The hub itself
cannot wait: what it calls finds the rules of ``LoopScheduler``. A real thread waits as threads do; in a patched program it takes
turns with the others (``patched``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from inspect import signature
from typing import Any, ParamSpec, Protocol, TypeVar

from gevent.event import Event
from gevent.hub import Hub

from schedcore.adapters.gevent.patched import Turns
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


class _OfStore(Protocol):
    """What belongs to a job store."""

    @property
    def alias(self) -> str:
        """The store's."""


class Stores(Protocol):
    """What is asked of the scheduler."""

    @property
    def running(self) -> bool:
        """Whether it is."""

    def _pumps_of(self, jobstore: str | None) -> Sequence[_OfStore]: ...
    def _blocking_stores(self, jobstore: str | None) -> list[str]: ...
    def _is_opening(self, jobstore: str | None) -> bool: ...
    def _may_wait(self) -> bool: ...


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
        return call() if is_thread_of(self._hub) else self._make_here(call, jobstore)

    def in_thread(self, call: Callable[[], Any], jobstore: str | None) -> Any:
        """Make a call in a real thread; the calling greenlet waits for it."""
        result, error = in_thread(self._hub.threadpool, partial(self._make_here, call, jobstore))
        if error is not None:
            raise error
        return result

    def _make_here(self, call: Callable[[], Any], jobstore: str | None) -> Any:
        """Make a call in this thread, a real one."""
        if not is_patched():
            return call()
        # Also at those that do no I/O: where users have triggers of their own, threads come to ask them.
        return self._turns.make(call, [pump.alias for pump in self._scheduler._pumps_of(jobstore)])

    def make_step(self, wakeup: GeventWakeup, call: Callable[[], Any], done: Done, jobstore: str) -> None:
        """Make a pump's call, as ``Wakeup.run_blocking``."""

        def told(result: Any, error: Exception | None) -> None:
            done(result, error)
            self._stepped.set()

        wakeup.run_blocking(partial(self._make_here, call, jobstore), told)

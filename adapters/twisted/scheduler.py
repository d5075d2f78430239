"""The scheduler that lives on a Twisted reactor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar

from twisted.internet.defer import Deferred

from schedcore import config
from schedcore.adapters.twisted.executor import TwistedExecutor
from schedcore.adapters.twisted.wakeup import TwistedWakeup, is_over, is_running_here, was_stopped
from schedcore.errors import SchedulerStartError
from schedcore.executors.base import BaseExecutor
from schedcore.run import Run
from schedcore.schedulers.loop import LoopScheduler
from schedcore.wakeup import MAX_WAIT_S, Done, Wakeup

__all__ = ["TwistedScheduler"]

P = ParamSpec("P")
T = TypeVar("T")

# Seconds. What closing takes when the jobs' time is up.
_GRACE_S = 3.0
# Seconds. Differences below this between two looks at the reactor's clock are drift, not a step.
_STEP_S = 0.5


class TwistedScheduler(LoopScheduler):
    """Option ``reactor``: the reactor to live on; without it, the one that is installed when ``start`` is called.

    Option ``stop_timeout`` (s, 10; None: no limit): a reactor that is stopped shuts the scheduler down first, and waits so long
    for the jobs that run before it cancels them.

    ``async with TwistedScheduler() as scheduler:`` starts it in a coroutine and, at the end, waits for what runs.

    The executor ``reactor`` runs any function in the reactor's thread; see ``TwistedExecutor``.
    """

    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {
        **LoopScheduler._extra_options,
        "reactor": config.as_is,
    }
    _reactor: Any = None
    #: What ``addSystemEventTrigger`` gave; None when there is none, or it has gone off.
    _trigger: Any = None
    _watch_ends: threading.Event | None = None

    if TYPE_CHECKING:

        def shutdown(self, wait: bool = True, timeout: float | None = None) -> Deferred[list[Run]]: ...

        def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]: ...

    @property
    def reactor(self) -> Any:
        """The reactor it lives on, or is configured to; None before ``start``."""
        return self._config.extra.get("reactor") if self._reactor is None else self._reactor

    def _create_wakeup(self) -> Wakeup:
        reactor: Any = self._config.extra.get("reactor")
        if reactor is None:
            # Only now, because the first import installs the default one.
            from twisted.internet import reactor
        for name in ("callLater", "callFromThread", "getThreadPool", "addSystemEventTrigger", "running"):
            if not hasattr(reactor, name):
                raise SchedulerStartError(
                    f"reactor must be a Twisted reactor, not {reactor!r}, which has no {name!r} (for virtual time there is "
                    f"schedcore.adapters.twisted.testing.VirtualReactor)"
                )
        if was_stopped(reactor):
            raise SchedulerStartError(
                "the reactor was stopped, and a reactor runs only once; start the scheduler before reactor.run(), or from a "
                "callback of a reactor that runs"
            )
        if reactor.running and not is_running_here(reactor):
            raise SchedulerStartError(
                "the reactor runs in another thread, and start() belongs there; call reactor.callFromThread(scheduler.start)"
            )
        self._reactor = reactor
        self._executors.setdefault("reactor", TwistedExecutor(in_reactor=True))
        return TwistedWakeup(reactor)

    def _create_default_executor(self) -> BaseExecutor:
        return TwistedExecutor()

    def _on_loop(self) -> bool:
        return self._reactor is not None and is_running_here(self._reactor)

    def _is_loop_alive(self) -> bool:
        return self._reactor is not None and not is_over(self._reactor)

    def _is_loop_closed(self) -> bool:
        return not self._is_loop_alive()

    def _make_waiter(self) -> tuple[Deferred[Any], Done]:
        # Whoever gives up waiting cancels it, and the result that comes after that is passed over.
        deferred: Deferred[Any] = Deferred()

        def finish(result: Any, error: Exception | None) -> None:
            if error is None:
                deferred.callback(result)
            else:
                deferred.errback(error)

        return deferred, finish

    # -- the reactor stops ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._trigger = self._reactor.addSystemEventTrigger("before", "shutdown", self._reactor_stops)
        self._watch_ends = threading.Event()
        threading.Thread(
            target=self._watch_clock, args=(self._watch_ends,), name="schedcore-clock", daemon=True
        ).start()
        super()._run()

    def _reactor_stops(self) -> Deferred[Any]:
        """Before a reactor stops it waits for what this returns."""
        self._trigger = None
        timeout_s = self._stop_timeout_s
        closed: Deferred[Any] = self.shutdown(timeout=timeout_s)
        if timeout_s is not None:
            # An earlier shutdown without a limit may be under way.
            closed.addTimeout(timeout_s + _GRACE_S, self._reactor, onTimeoutCancel=lambda *_: None)
        return closed

    def _release_wakeup(self) -> None:
        if self._watch_ends is not None:
            self._watch_ends.set()
        if self._trigger is not None:
            self._call_soon(self._remove_trigger)

    def _remove_trigger(self) -> None:
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._reactor.removeSystemEventTrigger(trigger)

    # -- the clock is set ----------------------------------------------------------------------------------------------------

    def _watch_clock(self, ends: threading.Event) -> None:
        """In a thread: have the timer set anew when the clock was set back.

        A reactor's timers follow the wall clock (``time.time``): one that is to go off in 30 s does so an hour late when the
        clock is set back an hour. A thread's wait does not, and what a thread calls reaches the reactor.
        """
        seconds, monotonic_s = self._reactor.seconds, self.clock.monotonic_s
        ahead_s = seconds() - monotonic_s()
        while not ends.wait(min(self._max_wait_s, MAX_WAIT_S)):
            now_s = seconds() - monotonic_s()
            if now_s < ahead_s - _STEP_S:
                self._call_soon(self._tick)
            ahead_s = now_s

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._reactor = self._trigger = self._watch_ends = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, reason: type[BaseException] | None, *exc_info: object) -> None:
        await self._leave(reason)

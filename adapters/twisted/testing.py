"""For tests: reactors in virtual time, and reactors of their own.

``VirtualReactor`` is Twisted's ``Clock`` with threads and a wall clock, so that a scheduler can live on it::

    reactor = VirtualReactor("2026-01-01T00:00:00Z")
    scheduler = VirtualTwistedScheduler(reactor=reactor)
    scheduler.add_job(report, "cron", hour=6)
    scheduler.start()
    reactor.advance(365 * 86400)                  # 365 reports, each at its instant
    reactor.wait(scheduler.shutdown())

``ReactorThread`` runs a real reactor in a thread, for as long as a ``with`` statement takes. Any number of them may be made
in a process, one after another: it is not the installed one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any, ClassVar, Self, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python import threadable
from twisted.python.failure import Failure

from schedcore import config
from schedcore.adapters.twisted.scheduler import TwistedScheduler
from schedcore.errors import ConfigurationError
from schedcore.testing.time import DEFAULT_START, VirtualClock

__all__ = ["ReactorThread", "VirtualReactor", "VirtualTwistedScheduler"]

T = TypeVar("T")

# Seconds of real time. How long anything may take that should happen at once.
PATIENCE_S = 30.0


class VirtualReactor(MemoryReactorClock):
    """A reactor whose time you move. ``start``: what the wall clock shows at first, aware or as text with an offset.

    It is a ``schedcore.clock.Clock``, too. What is given to its thread pool is called by ``advance``, in its thread.
    """

    def __init__(self, start: datetime | str = DEFAULT_START) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._start_us = VirtualClock(start).wall_us()
        self._calls: deque[Callable[[], object]] = deque()
        self._asked = threading.Condition()
        self._pool = _HerePool(self)

    def wall_us(self) -> int:
        """What the wall clock shows, in microseconds since the epoch."""
        return self._start_us + round(self.rightNow * 1e6)

    def monotonic_s(self) -> float:
        """Seconds of virtual time."""
        return float(self.rightNow)

    def callFromThread(self, call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Have ``advance`` or ``wait`` call. From any thread."""
        with self._asked:
            self._calls.append(lambda: call(*args, **kwargs))
            self._asked.notify_all()

    def getThreadPool(self) -> _HerePool:
        """What stands for a thread pool."""
        return self._pool

    def advance(self, amount: float = 0.0) -> None:
        """Let ``amount`` seconds pass; what falls due in them is called at its instant."""
        end_s = self.rightNow + amount
        self._call_asked()
        while self.calls and (due_s := min(call.getTime() for call in self.calls)) <= end_s:
            self.rightNow = max(self.rightNow, due_s)
            super().advance(0)
            self._call_asked()
        self.rightNow = end_s

    def wait(self, deferred: Deferred[T]) -> T:
        """The result of a Deferred that needs no more time to pass, waited for. Raises what it fails with."""
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        while not results:
            self.advance()
            with self._asked:
                if not results and not self._asked.wait_for(lambda: bool(self._calls), PATIENCE_S):
                    raise TimeoutError(f"{deferred!r} has no result; does it need time to pass?")
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def _call_asked(self) -> None:
        while self._calls:
            self._calls.popleft()()


class _HerePool:
    """Stands for ``twisted.python.threadpool.ThreadPool``."""

    max = 10
    joined = False

    def __init__(self, reactor: VirtualReactor) -> None:
        self._reactor = reactor

    def callInThread(self, call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self._reactor.callFromThread(call, *args, **kwargs)

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], object], call: Callable[..., object], *args: Any, **kwargs: Any
    ) -> None:
        def make() -> None:
            try:
                result: object = call(*args, **kwargs)
            except BaseException:  # noqa: BLE001  # as the pool that it stands for
                done(False, Failure())  # type: ignore[no-untyped-call]
            else:
                done(True, result)

        self._reactor.callFromThread(make)


class VirtualTwistedScheduler(TwistedScheduler):
    """A ``TwistedScheduler`` on a ``VirtualReactor``, whose clock it takes. Events are delivered at once."""

    # Seconds. Longer than any calendar: nothing but ``advance`` moves the clock.
    _max_wait_s: ClassVar[float] = 4e11
    _min_gap_s: ClassVar[float] = 0.0
    _closed_at_exit: ClassVar[bool] = False
    _tells_in_thread: ClassVar[bool] = False

    def _configure(self, settings: config.SchedulerConfig) -> None:
        reactor = settings.extra.get("reactor")
        if not isinstance(reactor, VirtualReactor):
            raise ConfigurationError(f"reactor must be a VirtualReactor, not {reactor!r}")
        extra: Mapping[str, Any] = {"clock": reactor, **settings.extra}
        super()._configure(settings._replace(extra=dict(extra)))


class ReactorThread:
    """A reactor that runs in a thread. ``make`` gives it; without it, one that works on every system."""

    def __init__(self, make: Callable[[], Any] | None = None) -> None:
        if make is None:
            from twisted.internet.selectreactor import SelectReactor

            make = SelectReactor
        self.reactor: Any = make()
        self._io_thread: Any = None
        self._thread = threading.Thread(target=self._run, name="reactor")
        self._closed = False

    def start(self) -> Self:
        """Run it; returns when it does."""
        self._io_thread = threadable.ioThread
        running = threading.Event()
        self.reactor.callWhenRunning(running.set)
        self._thread.start()
        if not running.wait(PATIENCE_S):
            raise TimeoutError("the reactor does not run")
        return self

    def _run(self) -> None:
        self.reactor.run(installSignalHandlers=False)

    def call(self, call: Callable[..., T], *args: Any) -> T:
        """Make a call in the reactor's thread; returns what it returns, raises what it raises."""
        future: Future[T] = Future()

        def make() -> None:
            try:
                future.set_result(call(*args))
            except BaseException as error:  # noqa: BLE001  # it is handed to who asked for the call
                future.set_exception(error)

        self.reactor.callFromThread(make)
        return future.result(PATIENCE_S)

    def result(self, call: Callable[..., Any], *args: Any) -> Any:
        """``call``, and wait for the Deferred or coroutine that it returns."""
        future: Future[Any] = Future()

        def over(result: Any) -> None:
            if isinstance(result, Failure):
                future.set_exception(result.value)
            else:
                future.set_result(result)

        self.reactor.callFromThread(lambda: maybeDeferred(call, *args).addBoth(over))
        return future.result(PATIENCE_S)

    def stop(self) -> None:
        """Stop the reactor, wait for its end, and let go of all that it holds. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        if self._thread.ident is not None:
            if self._thread.is_alive():
                self.reactor.callFromThread(self._stop)
            self._thread.join(PATIENCE_S)
            if self._thread.is_alive():
                raise TimeoutError("the reactor does not stop")
            # Which thread is the reactor's is told to all of Twisted, and another one may be running.
            threadable.ioThread = self._io_thread
        for reader in list(self.reactor._internalReaders):
            self.reactor.removeReader(reader)
            reader.connectionLost(None)
        close = getattr(getattr(self.reactor, "_poller", None), "close", None)
        if close is not None:
            close()

    def _stop(self) -> None:
        if self.reactor.running:
            self.reactor.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

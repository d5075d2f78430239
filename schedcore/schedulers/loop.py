"""The scheduler that lives on somebody else's event loop: what is the same on asyncio, Tornado, Twisted, gevent and Qt.

What differs from a scheduler with a thread of its own is that the thread is not the scheduler's: whatever it waits for
there, the whole program waits for.

* Job stores that do I/O are called in the framework's worker threads. ``start`` returns before they are open; one that cannot
  be opened is an event and is tried again.
* A call *on the loop* that changes jobs in such a store (``add_job``, ``modify_job``, ``remove_job``, …) is checked and noted,
  and made by a worker thread, in order. What is found wrong only there, such as an id that is taken, is logged and an
  event. ``call`` makes any call in a worker thread and gives what the framework awaits: its result, or what it raises.
* A call on the loop that has to answer from such a store (``get_job``, ``get_jobs``, ``get_runs``) waits for it, because
  it cannot do otherwise, and warns once: ``await scheduler.call(scheduler.get_jobs)`` does not wait on the loop.
* Listeners are called in a thread of the scheduler's. Triggers and calendars that are a user's code are asked in a worker thread:
  a call on the loop that needs their answer is put off as if the store did I/O, and what follows it is made after it.
* Threads that run jobs let the loop go first when it is kept waiting (``_right_of_way``).
* ``shutdown`` returns what the framework awaits; that gives the runs that were cut short.
* A ``with`` statement that is left as the program is being stopped gives the jobs that run some time (``stop_timeout``), and
  whoever stops it once more does not wait for them.

An adapter supplies a ``Wakeup``, a default executor, whether a thread is the loop's, and what its users wait with.
``docs/write-an-adapter`` makes one for Trio.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any, ClassVar, ParamSpec

from schedcore import config
from schedcore.errors import SchedulerNotRunningError
from schedcore.jobstores.base import JobStore
from schedcore.locks import ShortLock
from schedcore.run import Run
from schedcore.schedulers._calls import Teller
from schedcore.schedulers._closing import close, limit_of
from schedcore.schedulers._right_of_way import RightOfWay
from schedcore.schedulers.base import CLOSING_S, STILL_CLOSING, BaseScheduler
from schedcore.wakeup import MAX_WAIT_S, Done

__all__ = ["STOP_TIMEOUT_S", "LoopScheduler", "Teller", "close", "is_stopping", "limit_of"]

P = ParamSpec("P")

# Seconds. How long jobs may go on, unless it is said, when their program is being stopped.
STOP_TIMEOUT_S = 10.0


def _as_timeout(value: object) -> float | None:
    return None if value is None else config.as_number(value)


class LoopScheduler(BaseScheduler):
    """See the module's docstring. ``start`` is called in the loop's thread.

    Option ``stop_timeout`` (s, 10; None: no limit): how long the jobs that run may go on, before they are cancelled, when a
    ``with`` statement is left because the program is being stopped (Ctrl-C). What has not begun by then does not begin.
    """

    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {
        **BaseScheduler._extra_options,
        "stop_timeout": _as_timeout,
    }
    _opens_stores_in_start: ClassVar[bool] = False
    #: Whether the loop has called it yet, so that it is known to run.
    _begun = False

    @abstractmethod
    def _on_loop(self) -> bool:
        """Whether the calling thread runs an event loop, so that waiting in it would hold up the program."""

    @abstractmethod
    def _is_loop_alive(self) -> bool:
        """Whether the loop still calls back what it was given."""

    @abstractmethod
    def _make_waiter(self) -> tuple[Any, Done]:
        """What the framework awaits, unfinished, and what finishes it: called once, with a result or an exception, in the
        loop's thread, or before the waiter is handed out.

        From any thread, also when the scheduler does not run.
        """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._waiters: list[Done] = []
        self._limits: list[threading.Timer] = []
        self._waiters_lock = ShortLock()
        # Calls that wait until the job stores are open.
        self._early: list[tuple[Callable[[], Any], Done]] = []
        self._right_of_way = RightOfWay(lambda: self._ticker.asked)
        super().__init__(*args, **options)

    def _must_not_listen(self) -> bool:
        # Whoever starts it before the loop runs is in the thread that is to run it.
        return self._on_loop() or (not self._begun and threading.get_ident() == self._thread_id)

    def _begin(self) -> None:
        self._begun = True
        super()._begin()

    def _run(self) -> None:
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.call_soon(self._begin)

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> Any:
        """Stop; what is returned is what the framework awaits, and gives the runs that were cut short.

        Nothing fires from the call on, whether anybody waits or not. See ``BaseScheduler.shutdown`` for ``wait`` and
        ``timeout`` (s). Inside a job of this scheduler's there is nothing to wait for, because the job would wait for itself.
        """
        timeout = limit_of(timeout)
        inside = self._in_own_job()
        first = self._begin_shutdown()
        patience_s = self._patience_s(timeout, first)
        if first:
            self._disarm()
            self._close_elsewhere(wait, timeout)
        if not wait or inside:
            waiter, finish = self._make_waiter()
            finish([], None)
            return waiter
        return self._wait_for_end(patience_s)

    @property
    def _stop_timeout_s(self) -> float | None:
        timeout_s: Any = self._config.extra.get("stop_timeout", STOP_TIMEOUT_S)
        return None if timeout_s is None else float(timeout_s)

    def _leave(self, reason: type[BaseException] | None) -> Any:
        """Shut down where a ``with`` statement is left, for this reason; gives what the framework awaits."""
        if not is_stopping(reason):
            return self.shutdown()
        timeout_s = self._stop_timeout_s
        if self._has_live_runs():
            limit = "as long as they take" if timeout_s is None else f"{timeout_s:g} s"
            self._reports.logger.warning(
                "stopping: the jobs that run have %s to end; whoever stops again (Ctrl-C) does not wait for them", limit
            )
        self.shutdown(wait=False, timeout=timeout_s)
        return self._wait_for_end(None if timeout_s is None else timeout_s + CLOSING_S)

    def _wait_for_end(self, limit_s: float | None = None) -> Any:
        """What the framework awaits until all is closed, or so many seconds; it gives the runs that were cut."""
        waiter, finish = self._make_waiter()
        with self._waiters_lock:
            if not self._closed.is_set():
                self._waiters.append(finish)
                if limit_s is not None:
                    timer = threading.Timer(limit_s, self._wait_no_longer, (finish,))
                    timer.daemon = True
                    timer.start()
                    self._limits.append(timer)
                return waiter
        finish(list(self._cut), None)
        return waiter

    def _tell_of_end(self, told: Done) -> bool:
        """Have ``told`` called as a waiter is finished, when all is closed. False when it is closed already."""
        with self._waiters_lock:
            if self._closed.is_set():
                return False
            self._waiters.append(told)
            return True

    def _tell_without_loop(self, waiters: list[Done], cut: list[Run]) -> None:
        """All is closed, and so is the loop in whose thread the waiters were to be finished."""

    def _waits_for_itself(self) -> bool:
        """Whether the caller is one that closing waits for: a job, a listener, who starts it, or who closes."""
        return (
            self._in_own_job()
            or self._reports.delivers_here()
            or self._openings.here()
            or threading.get_ident() == self._closing_id
        )

    def _blocking_stores(self, jobstore: str | None) -> list[str]:
        """The aliases of the job stores, of this one or of all, that do I/O."""
        return [pump.alias for pump in self._pumps_of(jobstore) if pump.store.traits.blocking]

    def _is_opening(self, jobstore: str | None) -> bool:
        """Whether one of these is to be opened for the first time: it is not open, and it is not known that it cannot be."""
        return any(
            pump.store.traits.blocking and not pump.opened and pump.health.ok for pump in self._pumps_of(jobstore)
        )

    def _wait_no_longer(self, finish: Done) -> None:
        with self._waiters_lock:
            if finish not in self._waiters:
                return
            self._waiters.remove(finish)
        self._reports.logger.warning(STILL_CLOSING)
        self._call_soon(partial(finish, list(self._cut), None))

    def call(self, call: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
        """Make a call that may wait, such as one of this scheduler's, in a worker thread of the framework's.

        Returns what the framework awaits, which gives what ``call`` returns or raises. What was put off before it is done before
        it. Raises ``SchedulerNotRunningError``.
        """
        self._check_loop()
        wakeup = self._wakeup
        if wakeup is None or not self.running:
            raise SchedulerNotRunningError()
        waiter, finish = self._make_waiter()
        work = partial(self._after_orders, partial(call, *args, **kwargs))
        if self._in_loop_thread():
            self._call_elsewhere(work, finish)
        else:
            wakeup.call_soon(partial(self._call_elsewhere, work, finish))
        return waiter

    def _call_elsewhere(self, work: Callable[[], Any], finish: Done) -> None:
        """Have a worker thread make a call that reads job stores: once they are open, unless that takes too long."""
        wakeup = self._wakeup
        if wakeup is None:
            finish(None, SchedulerNotRunningError())
        elif not self._is_opening(None):
            wakeup.run_blocking(work, finish)
        else:
            self._early.append((work, finish))
            if len(self._early) == 1:
                # One thread waits for them all: if each waited in one of its own, none would be left to open the job stores.
                wakeup.run_blocking(self._wait_until_open, self._call_early)

    def _call_early(self, result: None, error: Exception | None) -> None:
        early, self._early = self._early, []
        wakeup = self._wakeup
        for work, finish in early:
            if wakeup is None:
                finish(None, SchedulerNotRunningError())
            else:
                wakeup.run_blocking(work, finish)

    def _wait_until_open(self) -> None:
        """In a worker thread: wait until each job store is open, or known not to open."""
        end_s = monotonic() + MAX_WAIT_S
        for pump in self._pumps_of(None):
            if pump.store.traits.blocking:
                pump.tried.wait(max(0.0, end_s - monotonic()))

    @property
    def give_way(self) -> Callable[[], None]:
        """For executors, to be called in their threads between two runs: lets the event loop go first when it is kept waiting."""
        return self._right_of_way.give

    def _ask(self) -> None:
        if not self._ticker.asked:
            self._right_of_way.begin()
        super()._ask()

    def _tick(self) -> None:
        self._right_of_way.begin()
        super()._tick()
        self._right_of_way.end()

    def _after_orders(self, call: Callable[[], Any]) -> Any:
        self._catch_up(None)
        return call()

    def _in_loop_thread(self) -> bool:
        return threading.get_ident() == self._thread_id

    def _disarm(self) -> None:
        wakeup = self._wakeup
        if wakeup is not None:
            self._call_soon(wakeup.disarm)

    def _shut_store(self, alias: str, shut: Callable[[], None]) -> None:
        wakeup = self._wakeup
        if wakeup is None or not self._on_loop():
            shut()
            return

        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                self._reports.store_failed(alias, error, None)

        wakeup.run_blocking(shut, done)

    def _may_open_here(self, store: JobStore) -> bool:
        return not store.traits.blocking or not self._on_loop()

    def _ended(self) -> None:
        wakeup, cut = self._wakeup, self._cut
        self._begun = False
        super()._ended()
        with self._waiters_lock:
            waiters, self._waiters = self._waiters, []
            limits, self._limits = self._limits, []
        for limit in limits:
            limit.cancel()
        if waiters:
            try:
                if wakeup is not None:
                    wakeup.call_soon(partial(_finish_all, waiters, list(cut)))
            except RuntimeError:
                self._tell_without_loop(waiters, list(cut))

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._begun = False
        self._waiters_lock = ShortLock()
        self._waiters = []
        self._limits = []
        self._early = []


def is_stopping(reason: type[BaseException] | None) -> bool:
    """Whether the program is being stopped, when a ``with`` statement is left for this reason: Ctrl-C, or a task is cancelled."""
    return reason is not None and not issubclass(reason, Exception)


def _finish_all(waiters: list[Done], cut: list[Run]) -> None:
    for finish in waiters:
        finish(cut, None)

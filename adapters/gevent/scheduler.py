"""The scheduler that lives on a gevent hub.

Greenlets can wait, so nothing is put off here: a call that needs a job store that does I/O is made in a real thread of gevent's,
and the greenlet that calls waits for its answer while others run (``store_calls``). With or without monkey patching: what is
different in a program that is patched is in ``patched``; what a hub has to offer to any scheduler is in ``_hub``.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any, Self

from gevent import GreenletExit
from gevent.event import AsyncResult
from gevent.hub import Hub, getcurrent

from schedcore.adapters.gevent.executor import GeventExecutor
from schedcore.adapters.gevent.patched import import_early
from schedcore.adapters.gevent.places import Gate, hub_here, is_alive, is_patched, is_thread_of, sleep_in_thread
from schedcore.adapters.gevent.store_calls import StoreCalls, StoreCallsScheduler
from schedcore.adapters.gevent.wakeup import GeventWakeup
from schedcore.executors.base import BaseExecutor
from schedcore.run import Run
from schedcore.schedulers.loop import is_stopping
from schedcore.wakeup import Done, Wakeup

__all__ = ["GeventScheduler"]


class GeventScheduler(StoreCallsScheduler):
    """Lives on the hub of the thread that calls ``start``.

    ``with GeventScheduler() as scheduler:`` starts it and, at the end, waits for what runs.
    """

    _made: GeventWakeup | None = None

    def start(self, paused: bool = False) -> None:
        """As ``LoopScheduler.start``, in a greenlet or in the main thread."""
        with ExitStack() as undo:
            undo.callback(self._close_made)
            super().start(paused)
            undo.pop_all()

    def _close_made(self) -> None:
        """After a start that failed: a wakeup that is not in use would keep its hub alive for ever."""
        made = self._made
        if made is not None and self._wakeup is not made:
            made.close()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> AsyncResult[list[Run]]:
        """Stop; returns an ``AsyncResult`` whose ``get()`` gives the runs that were cut short.

        ``wait=True``: a greenlet waits until all is closed, while others run, and a real thread likewise; the result is there
        then. The hub itself, a listener and a job of this scheduler do not wait. ``wait=False``: nobody does, and the result
        comes when all is closed. See ``BaseScheduler.shutdown`` for the rest.
        """
        hub = self._hub
        inside = self._waits_for_itself()
        result: AsyncResult[Any] = super().shutdown(wait, timeout)
        if not wait:
            result = self._wait_for_end()
        elif hub is not None and not inside:
            self._wait_here(hub, result)
        return result

    def _wait_here(self, hub: Hub, result: AsyncResult[Any]) -> None:
        if self._may_wait():
            result.wait()
        elif not is_thread_of(hub) or not is_alive(hub):
            self._wait_in_thread(hub, result)

    def _wait_in_thread(self, hub: Hub, result: AsyncResult[Any]) -> None:
        gate = Gate(hub)
        if self._tell_of_end(lambda cut, error: gate.open()):
            gate.wait()
        # Either the hub is just about to tell the result, or it is gone, and the closing thread will.
        while not result.ready():
            self._close_after_hub()
            sleep_in_thread(0.001)

    def _in_own_job(self) -> bool:
        # A greenlet that a job returned is part of the job, and does not inherit its context.
        here = getcurrent()
        return super()._in_own_job() or any(
            isinstance(executor, GeventExecutor) and executor.waits_for(here) for executor in self._all_executors()
        )

    def _create_wakeup(self) -> Wakeup:
        self._hub = hub_here("the scheduler")
        self._store_calls = StoreCalls(self, self._hub)
        if is_patched():
            import_early()
            _ = self.timezone
        self._made = GeventWakeup(self._hub)
        return self._made

    def _create_default_executor(self) -> BaseExecutor:
        return GeventExecutor()

    def _wait_closed(self) -> None:
        if self._may_wait():
            self._wait_for_end().wait()
        else:
            while not self._closed.is_set():
                self._close_after_hub()
                sleep_in_thread(0.002)

    def _tell_without_loop(self, waiters: list[Done], cut: list[Run]) -> None:
        # Whoever waits here may be a real thread, whose hub it was not.
        for finish in waiters:
            finish(cut, None)

    def _ended(self) -> None:
        wakeup = self._wakeup
        super()._ended()
        if isinstance(wakeup, GeventWakeup):
            with suppress(RuntimeError):
                wakeup.call_soon(wakeup.close)

    def _after_fork_in_child(self) -> None:
        wakeup = self._wakeup
        executors = self._all_executors()
        super()._after_fork_in_child()
        if isinstance(wakeup, GeventWakeup):
            wakeup.forget()
        for executor in executors:
            if isinstance(executor, GeventExecutor):
                executor.forget()
        self._hub = self._store_calls = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, reason: type[BaseException] | None, *exc_info: object) -> None:
        hub = self._hub
        try:
            leaving = self._leave(reason)
            if hub is not None:
                self._wait_here(hub, leaving)
        except (KeyboardInterrupt, GreenletExit):
            if is_stopping(reason):
                self._abandon()
            raise

"""The scheduler that lives on a gevent hub.

Greenlets can wait, so nothing is put off here: a call that needs a job store that does I/O is made in a real thread of gevent's,
and the greenlet that calls waits for its answer while others run (``store_calls``). With or without monkey patching: what is
different in a program that is patched is in ``patched``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from gevent import GreenletExit, spawn
from gevent.event import AsyncResult
from gevent.hub import Hub, getcurrent

from schedcore.adapters.gevent.executor import GeventExecutor
from schedcore.adapters.gevent.patched import GreenletTeller, import_early
from schedcore.adapters.gevent.places import (
    Gate,
    hub_here,
    is_alive,
    is_patched,
    is_running,
    is_thread_of,
    may_wait,
    sleep_in_thread,
)
from schedcore.adapters.gevent.store_calls import StoreCalls, waiting
from schedcore.adapters.gevent.wakeup import GeventWakeup
from schedcore.executors.base import BaseExecutor
from schedcore.job import JobEntry
from schedcore.jobstores.base import BaseJobStore, JobStore
from schedcore.run import Run
from schedcore.schedulers.loop import LoopScheduler, Teller, close, is_stopping
from schedcore.wakeup import MAX_WAIT_S, Done, Wakeup

__all__ = ["GeventScheduler"]


class GeventScheduler(LoopScheduler):
    """Lives on the hub of the thread that calls ``start``.

    ``with GeventScheduler() as scheduler:`` starts it and, at the end, waits for what runs.
    """

    _hub: Hub | None = None
    _made: GeventWakeup | None = None
    _store_calls: StoreCalls | None = None

    if TYPE_CHECKING:

        def call(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> AsyncResult[Any]: ...

    @property
    def hub(self) -> Hub | None:
        """The hub it lives on; None before ``start``."""
        return self._hub

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

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> AsyncResult[Any]:
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

    add_job = waiting(LoopScheduler.add_job)
    add_jobs = waiting(LoopScheduler.add_jobs)
    get_job = waiting(LoopScheduler.get_job)
    get_jobs = waiting(LoopScheduler.get_jobs)
    get_runs = waiting(LoopScheduler.get_runs)
    modify_job = waiting(LoopScheduler.modify_job)
    reschedule_job = waiting(LoopScheduler.reschedule_job)
    resume_job = waiting(LoopScheduler.resume_job)
    repair_job = waiting(LoopScheduler.repair_job)
    remove_job = waiting(LoopScheduler.remove_job)
    remove_all_jobs = waiting(LoopScheduler.remove_all_jobs)
    export_jobs = waiting(LoopScheduler.export_jobs)
    import_jobs = waiting(LoopScheduler.import_jobs)

    def _read(self, alias: str, job_id: str) -> JobEntry:
        return self._make_call(partial(super()._read, alias, job_id), alias)  # type: ignore[no-any-return]

    def add_jobstore(self, jobstore: BaseJobStore | str, alias: str = "default", **options: Any) -> None:
        """As ``BaseScheduler.add_jobstore``; a greenlet waits for one that does I/O, and has what it raises."""
        add = partial(super().add_jobstore, jobstore, alias, **options)
        calls = self._store_calls
        if calls is not None and self.running and self._may_wait():
            calls.in_thread(add, alias)
        else:
            add()

    def remove_jobstore(self, alias: str, shutdown: bool = True) -> None:
        """As ``BaseScheduler.remove_jobstore``; a greenlet waits for one that does I/O."""
        self._make_call(partial(super().remove_jobstore, alias, shutdown), alias)

    def _in_own_job(self) -> bool:
        # A greenlet that a job returned is part of the job, and does not inherit its context.
        here = getcurrent()
        return super()._in_own_job() or any(
            isinstance(executor, GeventExecutor) and executor.waits_for(here) for executor in self._all_executors()
        )

    def _may_wait(self) -> bool:
        """Whether the caller is a greenlet that may wait while others run, and is not one of the scheduler's own."""
        hub, wakeup = self._hub, self._wakeup
        if hub is None or not is_alive(hub) or not may_wait(hub):
            return False
        return not (isinstance(wakeup, GeventWakeup) and wakeup.serves_here())

    def _make_call(self, call: Callable[[], Any], jobstore: str | None) -> Any:
        calls = self._store_calls
        return call() if calls is None else calls.make(call, jobstore)

    def _wait_until_open(self) -> None:
        if not is_patched():
            super()._wait_until_open()
            return
        # What it would wait for is gevent's, and this is a real thread.
        end_s = monotonic() + MAX_WAIT_S
        while self.running and self._is_opening(None) and monotonic() < end_s:
            sleep_in_thread(0.002)

    def _after_orders(self, call: Callable[[], Any]) -> Any:
        # Patched, each call of the scheduler's takes its turn, and sees to it itself.
        return call() if is_patched() else super()._after_orders(call)

    # -- what the framework has to offer ----------------------------------------------------------------------------------

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

    def _on_loop(self) -> bool:
        return self._hub is not None and is_thread_of(self._hub)

    def _in_loop_thread(self) -> bool:
        return self._on_loop()

    def _is_loop_alive(self) -> bool:
        hub = self._hub
        if hub is None or not is_running(hub):
            return False
        # Who waits in the hub's own thread for the hub, and not the way gevent waits, waits for ever.
        return is_patched() or not is_thread_of(hub)

    def _is_loop_closed(self) -> bool:
        return self._hub is not None and not is_alive(self._hub)

    def _make_waiter(self) -> tuple[AsyncResult[Any], Done]:
        result: AsyncResult[Any] = AsyncResult()

        def finish(value: Any, error: Exception | None) -> None:
            if error is None:
                result.set(value)
            else:
                result.set_exception(error)

        return result, finish

    def _must_not_listen(self) -> bool:
        # Patched, listeners belong in a greenlet of the hub: real threads may use next to nothing of what they are made with.
        return self._on_loop() or is_patched()

    def _make_teller(self, name: str) -> Teller:
        return GreenletTeller(self._call_soon, name) if is_patched() else super()._make_teller(name)

    def _run_blocking(self, call: Callable[[], Any], done: Done, jobstore: str) -> None:
        calls, wakeup = self._store_calls, self._wakeup
        if calls is not None and isinstance(wakeup, GeventWakeup):
            calls.make_step(wakeup, call, done, jobstore)
        else:
            super()._run_blocking(call, done, jobstore)

    def _in_background(self, call: Callable[[], None]) -> None:
        def begin() -> None:
            spawn(call)

        if not is_patched():
            super()._in_background(call)
        elif not self._call_soon(begin):
            call()

    def _close_store(self, alias: str, store: JobStore, close: Callable[[], None]) -> None:
        calls = self._store_calls
        if calls is not None and store.traits.blocking and self._may_wait():
            calls.in_thread(close, alias)
        else:
            close()

    def _wait_closed(self) -> None:
        if self._may_wait():
            self._wait_for_end().wait()
        else:
            while not self._closed.is_set():
                self._close_after_hub()
                sleep_in_thread(0.002)

    def _close_after_hub(self) -> None:
        """Patched, the closing is a greenlet of the hub's, and may have gone with it: then it is made here."""
        hub = self._hub
        if is_patched() and not self._closed.is_set() and hub is not None and not is_running(hub):
            close(self, False, None)

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

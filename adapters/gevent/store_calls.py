"""Where a call that may need a job store is made, so that nobody but its caller waits for it.

A greenlet has it made in a real thread of gevent's, and waits for the answer, or the exception, while others run. The hub itself
cannot wait: what it calls finds the rules of ``LoopScheduler``. A real thread waits as threads do; in a patched program it takes
turns with the others (``patched``), and the store itself is called in a thread of its own (``store_thread``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from gevent.event import Event
from gevent.hub import Hub

from schedcore.adapters.gevent._hub import HubScheduler
from schedcore.adapters.gevent.patched import PatchedScheduler, Turns
from schedcore.adapters.gevent.places import in_thread, is_patched, is_thread_of
from schedcore.adapters.gevent.store_thread import in_store_thread, placed
from schedcore.adapters.gevent.wakeup import GeventWakeup
from schedcore.job import JobEntry
from schedcore.jobstores.base import BaseJobStore, JobStore
from schedcore.schedulers.loop import LoopScheduler
from schedcore.wakeup import Done

__all__ = ["StoreCalls", "StoreCallsScheduler", "waiting"]

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


class StoreCalls:
    """See the module's docstring. To be made for each start, with the hub of that."""

    def __init__(self, scheduler: HubScheduler, hub: Hub) -> None:
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
        # What a store calls (a user's code, as it is loaded) has the turn of whoever called the store.
        if not is_patched() or in_store_thread():
            return call()
        # Also at those that do no I/O: where users have triggers of their own, threads come to ask them.
        return self._turns.make(call, [pump.alias for pump in self._scheduler._pumps_of(jobstore)])

    def make_step(self, wakeup: GeventWakeup, call: Callable[[], Any], done: Done, jobstore: str) -> None:
        """Make a pump's call, as ``Wakeup.run_blocking``."""

        def told(result: Any, error: Exception | None) -> None:
            done(result, error)
            self._stepped.set()

        wakeup.run_blocking(partial(self._make_here, call, jobstore), told)


class StoreCallsScheduler(PatchedScheduler):
    """The calls of the scheduler's that may need a job store."""

    _store_calls: StoreCalls | None = None

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

    def _make_call(self, call: Callable[[], Any], jobstore: str | None) -> Any:
        calls = self._store_calls
        return call() if calls is None else calls.make(call, jobstore)

    def _run_blocking(self, call: Callable[[], Any], done: Done, jobstore: str) -> None:
        calls, wakeup = self._store_calls, self._wakeup
        if calls is not None and isinstance(wakeup, GeventWakeup):
            calls.make_step(wakeup, call, done, jobstore)
        else:
            super()._run_blocking(call, done, jobstore)

    def _placed(self, store: JobStore) -> JobStore:
        return placed(store)

    def _close_store(self, alias: str, store: JobStore, close: Callable[[], None]) -> None:
        calls = self._store_calls
        if calls is not None and store.traits.blocking and self._may_wait():
            calls.in_thread(close, alias)
        else:
            close()

"""The second half of stopping: it takes as long as the jobs do.

The order matters. What is being started comes to its end first, so that nothing is opened behind this, and what the scheduler's
thread and the stores have under way, so that no run appears later; then the executors drain, whose outcomes go into the stores;
then the stores are closed, listeners are told, and the loop ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from schedcore.errors import ConfigurationError, contained
from schedcore.executors.base import BaseExecutor, RunExecutor
from schedcore.jobstores.base import JobStore
from schedcore.run import Run
from schedcore.schedulers._pump import Pump
from schedcore.schedulers._runs import live_runs

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = [
    "close",
    "close_behind",
    "close_stores",
    "limit_of",
    "quiesce",
    "stop_executor",
    "stop_executors",
    "tell_what_runs",
]

# So many jobs the log names; the number of all is beside them.
_SOME = 5


def limit_of(timeout: float | None) -> float | None:
    """What is given as the ``timeout`` of a shutdown, in seconds; None also for longer than anybody can wait.

    Raises ``ConfigurationError`` before anything is stopped.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout != timeout:
        raise ConfigurationError(f"timeout must be a number of seconds, or None for no limit, not {timeout!r}")
    return None if timeout > threading.TIMEOUT_MAX / 2 else timeout


def close(scheduler: BaseScheduler, wait: bool, timeout: float | None) -> None:
    """The second half of stopping; see ``BaseScheduler.shutdown``. Blocks; not to be called in the scheduler's thread.

    Does nothing where another thread is about it, or it has been done. In the main thread, where a signal handler may have raised
    them, ``KeyboardInterrupt`` and ``SystemExit`` leave it undone: see ``close_behind``.
    """
    monotonic_s = scheduler.clock.monotonic_s
    deadline_s = None if timeout is None else monotonic_s() + timeout

    def left() -> float | None:
        return None if deadline_s is None else max(0.0, deadline_s - monotonic_s())

    with scheduler._lock:
        if not _is_to_be_closed_here(scheduler):
            return
        scheduler._closing_id = threading.get_ident()
    try:
        _close_all(scheduler, wait, left)
    except BaseException as error:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        _end(scheduler)
        raise
    _end(scheduler)


def _is_to_be_closed_here(scheduler: BaseScheduler) -> bool:
    """Whether it was shut down, and neither is closed nor has another thread begun to. With the scheduler's lock."""
    return (
        not scheduler.running
        and not scheduler._closed.is_set()
        and scheduler._closing_id in (None, threading.get_ident())
    )


def close_behind(scheduler: BaseScheduler) -> None:
    """Have another thread close it where the calling one was to, and Ctrl-C has ended that."""
    with scheduler._lock:
        if not _is_to_be_closed_here(scheduler):
            return
        scheduler._closing_id = None
    try:
        scheduler._in_background(partial(close, scheduler, True, None))
    except RuntimeError:
        # There are no more threads at the end of a program, and nobody is to wait for ever.
        _end(scheduler)


def _end(scheduler: BaseScheduler) -> None:
    scheduler._reports.logger.info("scheduler has been shut down")
    scheduler._reports.stop()
    scheduler._ended()


def _close_all(scheduler: BaseScheduler, wait: bool, left: Callable[[], float | None]) -> None:
    """``left``: the time (s) that there is yet."""
    scheduler._openings.wait(left())
    pumps = list(scheduler._pumps.values())
    scheduler._quiesce(pumps, left())
    for pump in pumps:
        scheduler._runs.take_back(pump.handover.take_waiting())
    tell_what_runs(scheduler, logging.INFO, "shutting down")
    executors = scheduler._all_executors()
    for executor in executors:
        scheduler._cut += stop_executor(scheduler, executor, wait, left())
    if not wait:
        for executor in executors:
            scheduler._cut += stop_executor(scheduler, executor, True, left())
    # What hangs as it is opened is not left open, though the jobs were cut in time.
    scheduler._openings.wait(None)
    stop_executors(scheduler, [executor for executor in scheduler._all_executors() if executor not in executors])
    pumps = list(scheduler._pumps.values())
    scheduler._quiesce(pumps, left())
    for pump in pumps:
        pump.closed = True
        scheduler._close_store(pump.alias, pump.store, partial(_close_store, scheduler, pump))


def tell_what_runs(scheduler: BaseScheduler, level: int, what: str) -> None:
    """A shutdown that does not end is a job that does not: whoever looks at the log is to see which."""
    live: list[str] = []
    for executor in scheduler._all_executors():
        try:
            live += [run.job.id for run in live_runs(executor)]
        except BaseException as error:  # an executor is anybody's code, and all are shut down
            scheduler._reports.logger.error("executor %r did not say what it runs", executor, exc_info=contained(error))
    if live:
        some = ", ".join(repr(job_id) for job_id in live[:_SOME]) + (", …" if len(live) > _SOME else "")
        scheduler._reports.logger.log(level, "%s, while %d run(s) are under way: %s", what, len(live), some)


def stop_executor(scheduler: BaseScheduler, executor: BaseExecutor, wait: bool, timeout: float | None) -> list[Run]:
    try:
        if isinstance(executor, RunExecutor):
            return executor.shutdown(wait, timeout)
        executor.shutdown(wait)
    except BaseException as error:  # the others are shut down all the same
        scheduler._reports.logger.error("executor %r failed to shut down", executor, exc_info=contained(error))
    return []


def stop_executors(scheduler: BaseScheduler, executors: Iterable[BaseExecutor]) -> None:
    """Those that were to be used, and are not: wait for each."""
    for executor in executors:
        stop_executor(scheduler, executor, True, None)


def close_stores(scheduler: BaseScheduler, stores: Iterable[JobStore]) -> None:
    """Those that were to be used, and are not: nothing was written into them."""
    for store in stores:
        try:
            store.shutdown()
        except BaseException as error:  # the others are closed all the same
            scheduler._reports.logger.error("job store %r failed to shut down", store, exc_info=contained(error))


def _close_store(scheduler: BaseScheduler, pump: Pump) -> None:
    try:
        if not pump.opened and pump.alias in scheduler._promised:
            # It was to be opened soon, and jobs were to be in it.
            pump.store.start(scheduler, pump.alias)
            pump.opened = True
        if pump.opened:
            pump.settle()
    except BaseException as error:  # noqa: BLE001  # the other stores are closed all the same
        scheduler._reports.store_failed(pump.alias, contained(error), None)
    try:
        if pump.opened:
            pump.store.shutdown()
    except BaseException as error:  # noqa: BLE001  # the other stores are closed all the same
        scheduler._reports.store_failed(pump.alias, contained(error), None)


def quiesce(scheduler: BaseScheduler, pumps: list[Pump], timeout: float | None) -> None:
    """Wait until the scheduler's thread has done what was under way, and no cycle of a store is."""
    deadline_s = None if timeout is None else scheduler.clock.monotonic_s() + timeout
    while True:
        passed = threading.Event()
        if not scheduler._is_loop_alive() or not scheduler._call_soon(passed.set):
            return
        while not passed.wait(1.0):
            if not scheduler._is_loop_alive() or (
                deadline_s is not None and scheduler.clock.monotonic_s() > deadline_s
            ):
                return
        if not any(pump.busy for pump in pumps):
            return
        if deadline_s is not None and scheduler.clock.monotonic_s() > deadline_s:
            return
        threading.Event().wait(0.001)

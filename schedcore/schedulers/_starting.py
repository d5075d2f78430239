"""What ``start`` does. It is all or nothing: what fails leaves the scheduler as it was before."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from schedcore._forks import notice_fork
from schedcore.clock import Timeline
from schedcore.errors import SchedulerAlreadyRunningError, SchedulerStartError
from schedcore.events import EVENT_SCHEDULER_STARTED, SchedulerEvent
from schedcore.executors.base import BaseExecutor
from schedcore.job import JobEntry
from schedcore.jobstores.base import JobStore
from schedcore.locks import make_event
from schedcore.schedulers import _program
from schedcore.schedulers._closing import close_stores, stop_executors
from schedcore.schedulers._components import begin, no_such_alias
from schedcore.schedulers._pump import Pump

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["STATE_PAUSED", "STATE_RUNNING", "STATE_STOPPED", "start", "undo_start"]

STATE_STOPPED = 0
STATE_RUNNING = 1
STATE_PAUSED = 2


def start(scheduler: BaseScheduler, paused: bool) -> None:
    """See ``BaseScheduler.start``."""
    started: list[BaseExecutor] = []
    opened: list[JobStore] = []
    with ExitStack() as undo:
        with scheduler._openings.one():
            executors, pumps = _take_up(scheduler, paused)
            undo.callback(_undo, scheduler, scheduler._closed, executors, started, opened)
            if scheduler._closed_at_exit:
                _program.started.add(scheduler)
            for alias, executor in executors.items():
                begin(executor, scheduler, alias, started)
            _open(scheduler, pumps, opened)
            # The system may have no thread to give. Until it has, nobody may begin another life.
            live = scheduler._run()
        if live is not None:
            live()  # a Ctrl-C ends it
        undo.pop_all()


def _open(scheduler: BaseScheduler, pumps: list[Pump], opened: list[JobStore]) -> None:
    """What comes between the executors and the scheduler's thread. Whoever shuts it down meanwhile closes all this behind it."""
    added: list[tuple[str, list[JobEntry]]] = []
    for pump in pumps:
        if scheduler._state == STATE_STOPPED:
            break
        if scheduler._opens_stores_in_start or not pump.store.traits.blocking:
            begin(pump.store, scheduler, pump.alias, opened)
            pump.opened = True
            added.append((pump.alias, pump.write_changes(not scheduler._opens_stores_in_start)))
    if scheduler._tells_in_thread:
        scheduler._reports.start()
    scheduler._reports.logger.info("scheduler started")
    scheduler._definitions.tell_missing()
    with scheduler._lock:
        # It may have been paused, or shut down, meanwhile.
        scheduler._dispatches = scheduler._state == STATE_RUNNING
    scheduler._reports.bus.publish(SchedulerEvent(EVENT_SCHEDULER_STARTED))
    for alias, entries in added:
        scheduler._reports.added(alias, entries)


def _take_up(scheduler: BaseScheduler, paused: bool) -> tuple[dict[str, BaseExecutor], list[Pump]]:
    """Check that it can be started, and by nobody else from now on; what is to be started with it. Whoever adds more sees that it
    runs, and starts that.
    """
    notice_fork()
    with scheduler._lock:
        if scheduler._forked:
            raise SchedulerStartError(
                "this scheduler was running when its process was forked, and its executors and job stores belong to "
                "the parent; make a new scheduler in the child"
            )
        if scheduler.running:
            if scheduler._is_loop_closed():
                raise SchedulerAlreadyRunningError(
                    "the scheduler was not shut down before the event loop that it lived on was closed; call shutdown(), and "
                    "then start() it again"
                )
            raise SchedulerAlreadyRunningError()
        if not scheduler._may_start:
            raise SchedulerAlreadyRunningError(
                "the scheduler is still shutting down; wait for the end of shutdown() before it is started again"
            )
        # At once: a signal handler that starts it comes before this, or too late.
        scheduler._may_start = False
        with ExitStack() as undo:
            undo.callback(setattr, scheduler, "_may_start", True)
            _begin_life(scheduler, paused)
            undo.pop_all()
        return dict(scheduler._executors), list(scheduler._pumps.values())


def _begin_life(scheduler: BaseScheduler, paused: bool) -> None:
    """Make what each start has anew. With the scheduler's lock."""
    stores = {*scheduler._pumps, "default"}
    for alias in scheduler._jobs.waiting.aliases:
        if alias not in stores:
            waiting = scheduler._jobs.waiting.all(alias)
            if waiting:  # and nobody has removed it meanwhile
                raise no_such_alias("job store", alias, stores, f" (job {waiting[0][1].job.id!r} names it)")
    wakeup = scheduler._create_wakeup()
    if "default" not in scheduler._executors:
        scheduler._executors["default"] = scheduler._create_default_executor()
    if "default" not in scheduler._pumps:
        from schedcore.jobstores.memory import MemoryJobStore

        scheduler._pumps = {**scheduler._pumps, "default": Pump(scheduler, "default", MemoryJobStore())}
    scheduler._wakeup = wakeup
    if not scheduler._opens_stores_in_start:
        # The thread of the loop, also where that does not run yet.
        scheduler._thread_id = threading.get_ident()
    scheduler._timeline = Timeline(scheduler._timeline.clock)
    scheduler._pumps = {
        alias: Pump(scheduler, alias, scheduler._placed(pump.store)) for alias, pump in scheduler._pumps.items()
    }
    scheduler._look_who_is_told()
    scheduler._closed = make_event()
    scheduler._closing_id = None
    scheduler._shutting = set()
    scheduler._cut = []
    scheduler._ticker.reset()
    scheduler._state = STATE_PAUSED if paused else STATE_RUNNING


def _undo(
    scheduler: BaseScheduler,
    life: threading.Event,
    executors: dict[str, BaseExecutor],
    started: list[BaseExecutor],
    opened: list[JobStore],
) -> None:
    """Undo what was started, of these executors and by others, unless it has been shut down since (that closes all of it), and
    perhaps lives again.
    """
    try:
        # A signal handler that shuts it down meanwhile does not wait for what this is to do.
        with scheduler._openings.one():
            if scheduler._closed is life and scheduler._begin_shutdown():
                # What others were adding meanwhile was started, because it ran.
                scheduler._openings.wait(None)
                ours = executors.values()
                started += [executor for executor in scheduler._executors.values() if executor not in ours]
                opened += [pump.store for pump in scheduler._pumps.values() if pump.opened and pump.store not in opened]
                scheduler._undo_start(started, opened)
                scheduler._may_start = True
                scheduler._closed.set()
    except BaseException:
        # Ctrl-C has come here, too.
        if scheduler._closed is life and not scheduler.running:
            scheduler._abandon()
        raise


def undo_start(scheduler: BaseScheduler, started: list[BaseExecutor], opened: list[JobStore]) -> None:
    """It could not start: be as before."""
    scheduler._state = STATE_STOPPED
    scheduler._dispatches = False
    _program.started.discard(scheduler)
    stop_executors(scheduler, started)
    close_stores(scheduler, opened)
    scheduler._reports.stop()
    scheduler._release_wakeup()
    scheduler._wakeup = None
    scheduler._thread_id = None

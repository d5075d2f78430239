"""The scheduler: everything that users call, the same in all seven. What a subclass supplies is in ``_hooks``.

What is called here is done elsewhere, each part by a module of its own:

* ``_definition``: what the arguments of ``add_job`` mean; ``_jobs``: jobs in a store, and those that wait for it
  (``_waiting``), with what is left out before their next runs (``_left_out``); ``_changes``: what users change in them, also
  where nobody may wait (``_orders``); ``_listing``, ``_exchange``: what they read.
* ``_starting``, ``_closing``: starting, and the second half of stopping, which waits for what is being started
  (``_openings``); ``_program``: the end of the program, and forks.
* ``_components``: executors and job stores, made, added and removed.
* ``_ticker``: the scheduler's thread, which has each store's pump make its steps (``_pump``), and how others ring for it. What a
  step is about: ``_write_back``, ``_orders``, ``_notes`` with ``_rearrange``, and ``_health`` when it fails.
* ``_runs``: what goes to the executors and comes back, of one job no more at a time than it may (``_handover``);
  ``_reports``: the log and the listeners.

Theory of operation. *The scheduler's thread* is the thread of the wakeup. ``Ticker.tick`` runs there: it looks at the
clocks, lets each job store's pump make a step, and arms the wakeup for the next one. Everybody else, any
thread, only leaves word: a job added, a run ended, and rings (``_ask``). The one lock guards the maps of executors,
job stores and pending jobs; no store, trigger, listener or executor is called while it is held, so that any of them
may call back.

Stopping has two halves. ``_begin_shutdown`` is immediate: from then on nothing is claimed and nothing fires.
``close`` takes as long as the jobs do: executors drain, outcomes are written, stores are closed, the loop ends.
``shutdown(wait=True)`` waits for the second half; where waiting would wait for itself (inside a job, a listener, the
scheduler's thread) a thread of its own does it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from functools import partial
from typing import IO, Any, NoReturn, TypeVar

from schedcore import config
from schedcore._forks import notice_fork
from schedcore.clock import Clock, SystemClock, Timeline
from schedcore.errors import (
    ConfigurationError,
    JobLookupError,
    SchedcoreError,
    SchedulerAlreadyRunningError,
    SchedulerNotRunningError,
)
from schedcore.events import (
    EVENT_ALL,
    EVENT_JOB_STARTED,
    EVENT_SCHEDULER_PAUSED,
    EVENT_SCHEDULER_RESUMED,
    EVENT_SCHEDULER_SHUTDOWN,
    Listener,
    SchedulerEvent,
)
from schedcore.executors.base import BaseExecutor, RunExecutor
from schedcore.job import Job, JobEntry, JobRecord, JobState
from schedcore.jobstores.base import BaseJobStore, JobStore
from schedcore.locks import ShortLock, make_event
from schedcore.run import Finish, Run, RunRecord, current_run
from schedcore.schedulers import _components, _listing, _program, _starting
from schedcore.schedulers._changes import Changes
from schedcore.schedulers._closing import close, close_behind, limit_of, quiesce, stop_executor
from schedcore.schedulers._definition import UNSET, Batch, Definitions, NextRun, Unset, make_trigger
from schedcore.schedulers._health import StoreHealth
from schedcore.schedulers._hooks import SchedulerHooks
from schedcore.schedulers._jobs import Jobs
from schedcore.schedulers._openings import Openings
from schedcore.schedulers._program import register_exit_hook
from schedcore.schedulers._pump import Pump
from schedcore.schedulers._reports import Reports
from schedcore.schedulers._runs import Runs, live_runs
from schedcore.schedulers._starting import STATE_PAUSED, STATE_RUNNING, STATE_STOPPED
from schedcore.schedulers._ticker import Ticker
from schedcore.triggers.base import BaseTrigger
from schedcore.wakeup import Done, Wakeup

__all__ = [
    "CLOSING_S",
    "STATE_PAUSED",
    "STATE_RUNNING",
    "STATE_STOPPED",
    "STILL_CLOSING",
    "BaseScheduler",
    "register_exit_hook",
]

F = TypeVar("F", bound=Callable[..., Any])

# Seconds. After a shutdown's time is up, what was cut is told, and the outcomes are written; who waits is given so long for it.
CLOSING_S = 2.0
STILL_CLOSING = (
    "a job store or a job did not end in time; the scheduler goes on closing, and nobody waits for it any more"
)


class BaseScheduler(SchedulerHooks):
    """The whole API. See ``docs`` for a guide; a running scheduler accepts every call from any thread.

    ``gconfig``, ``options``: the configuration; the three ways of writing it are in ``schedcore.config``.
    """

    _forked = False
    #: For executors, from any thread: the job's code is about to be called. (No method: it is called for each run.)
    run_started: Callable[[Run], None]
    #: For executors, from any thread: the run is over.
    run_finished: Callable[[Finish], None]
    #: For executors, from any thread: the run goes to another process.
    run_sent: Callable[[Run], None]

    def __init__(self, gconfig: Mapping[str, Any] | None = None, **options: Any) -> None:
        self._lock = ShortLock()
        self._state = STATE_STOPPED
        self._dispatches = False
        self._executors: dict[str, BaseExecutor] = {}
        self._retired: list[BaseExecutor] = []  # removed and shut down; their runs may go on
        self._pumps: dict[str, Pump] = {}
        self._jobs = Jobs(self)
        self._changes = Changes(self)
        self._runs = Runs(self)
        self.run_started = self._runs.started
        self.run_finished = self._runs.finished
        self.run_sent = self._runs.sent
        self._ticker = Ticker(self)
        self._reports = Reports(self._must_not_listen, self._make_teller)
        self._openings = Openings()
        self._wakeup: Wakeup | None = None
        self._thread_id: int | None = None
        self._closing_id: int | None = None
        # The threads in the midst of a shutdown that may be the one that closes.
        self._shutting: set[int] = set()
        # Of the life that it has or had last: each start makes a new one.
        self._closed = make_event()
        self._closed.set()
        self._may_start = True
        self._cut: list[Run] = []
        # When the shutdown that closes cuts what runs, by the monotonic clock; None: never.
        self._cut_at_s: float | None = None
        self._promised: frozenset[str] = frozenset()
        self._config = config.SchedulerConfig()
        self._configure(config.parse(gconfig, "schedcore.", options, extra=self._extra_options))

    def __reduce__(self) -> NoReturn:
        """There is one of each: a copy would fire the same jobs, and its threads are nowhere else."""
        raise TypeError(
            "a scheduler cannot be pickled or copied; a job that needs one takes it from a module of your program, "
            "and not from its arguments or from the object that its method belongs to"
        )

    # -- configuration --------------------------------------------------------------------------------------------------

    def configure(self, gconfig: Mapping[str, Any] | None = None, prefix: str = "schedcore.", **options: Any) -> None:
        """Configure a stopped scheduler afresh. Raises ``SchedulerAlreadyRunningError``, ``UnknownOptionError``,
        ``ConfigurationError``.
        """
        if self.running:
            raise SchedulerAlreadyRunningError("the scheduler is running; configure it before start()")
        self._configure(config.parse(gconfig, prefix, options, extra=self._extra_options))

    def _configure(self, settings: config.SchedulerConfig) -> None:
        executors = _components.make_executors(settings.executors)
        stores = _components.make_stores(settings.jobstores)
        self._config = settings
        if settings.logger is not None:
            self._reports.logger = settings.logger
        clock: Any = settings.extra.get("clock") or SystemClock()
        self._timeline = Timeline(clock)
        self._timezone: tzinfo | None = settings.timezone
        self._retry_interval_s = float(settings.jobstore_retry_interval)
        self._definitions = Definitions(self, settings.job_defaults._asdict())
        self._executors = executors
        self._pumps = {alias: Pump(self, alias, store) for alias, store in stores.items()}

    @property
    def timezone(self) -> tzinfo:
        """The zone for triggers that name none: as configured, else the machine's own. Raises ``InvalidTriggerError``
        if it has none.
        """
        zone = self._timezone
        if zone is None:
            from schedcore.triggers._zones import local_zone

            self._timezone = zone = local_zone()
        return zone

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        return self._timeline.clock

    # -- for subclasses to call, or to add to ------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Look at what is due. In the scheduler's thread."""
        self._ticker.tick()

    def _ask(self) -> None:
        """Have the scheduler's thread look at things soon. From any thread."""
        self._ticker.ask()

    def _call_soon(self, callback: Callable[[], None]) -> bool:
        """Call in the scheduler's thread; False when that is gone. From any thread."""
        return self._ticker.call_soon(callback)

    def _run_blocking(self, call: Callable[[], Any], done: Done, jobstore: str) -> None:
        """Make a call into a job store beside the scheduler's thread, and ``done`` in it."""
        wakeup = self._wakeup
        if wakeup is None:
            done(None, SchedulerNotRunningError())
        else:
            wakeup.run_blocking(call, done)

    # -- starting and stopping ---------------------------------------------------------------------------------------------

    def start(self, paused: bool = False) -> None:
        """Start executors and job stores, hand over the pending jobs and begin to fire (``paused``: begin with ``resume``).

        Raises ``SchedulerAlreadyRunningError``; ``SchedulerStartError`` where it cannot run here; and, but for
        schedulers that live on an event loop, what a job store raises as it is opened (on a loop this is logged, an
        event, and tried again).
        """
        _starting.start(self, paused)

    def _undo_start(self, started: list[BaseExecutor], opened: list[JobStore]) -> None:
        """It could not start: be as before."""
        _starting.undo_start(self, started, opened)

    def _begin(self) -> None:
        """The first thing that runs in the scheduler's thread."""
        if self._state != STATE_STOPPED:
            self._thread_id = threading.get_ident()
            self._tick()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> Any:
        """Stop. When this has been called, nothing fires any more.

        ``wait=True`` returns when the runs that were submitted are over and everything is closed; ``wait=False``
        returns at once: runs that have not begun are taken back (a durable store submits them again at the next
        start), those that have go on, and what is open is closed behind them. ``timeout`` (s) bounds the wait: what
        is not over by then is cancelled where that is possible, and a store that hangs is waited for two seconds more.

        May be called before start, twice, from a job, from a listener and from any thread; from inside a job it does not wait for
        itself. Returns the runs that were cut short. Schedulers on an event loop return an awaitable of them.
        """
        notice_fork()
        timeout = limit_of(timeout)
        # Those of this life: a listener that hears of its end may begin another.
        closed, cut, shutting = self._closed, self._cut, self._shutting
        here = threading.get_ident()
        inside, again = self._inside(), here in shutting
        try:
            try:
                # A signal handler that comes from here on does not wait for what this call is to do.
                shutting.add(here)
                first = self._begin_shutdown()
                patience_s = self._patience_s(timeout, first)
                if first:
                    # With a limit, so that a job store that hangs does not hold whoever called beyond it.
                    if inside or not wait or timeout is not None:
                        self._close_elsewhere(wait, timeout)
                    else:
                        close(self, wait, timeout)
            finally:
                if not again:
                    shutting.discard(here)
            if not wait or self._inside():
                return []
            if not closed.wait(patience_s):
                self._reports.logger.warning(STILL_CLOSING)
            return list(cut)
        except (KeyboardInterrupt, SystemExit):
            # In the midst of another call of the same thread that is left to it.
            if not again and self._closed is closed and not self.running:
                self._abandon()
            raise

    def _patience_s(self, timeout: float | None, first: bool) -> float | None:
        """How long (s) a caller of ``shutdown`` waits: one whose ``timeout`` lasts until runs are cut, also for that."""
        if timeout is None:
            if first:
                self._cut_at_s = None
            return None
        ends_s = self.clock.monotonic_s() + timeout
        if first:
            self._cut_at_s = ends_s
        return timeout + CLOSING_S if self._cut_at_s is not None and ends_s >= self._cut_at_s else timeout

    def _inside(self) -> bool:
        """Whether the calling thread is one that closing waits for."""
        here = threading.get_ident()
        # The thread that closes tells listeners of the shutdown, and they may ask for another one.
        return (
            here in (self._thread_id, self._closing_id)
            or here in self._shutting
            # What is being started is closed behind it.
            or self._openings.here()
            or self._reports.delivers_here()
            or self._in_own_job()
            # A signal handler that came in the midst of a call: the store is not closed before that ends.
            or any(pump.awaited_here() for pump in list(self._pumps.values()))
        )

    def _in_own_job(self) -> bool:
        """Whether the caller is a job of this scheduler that is not over."""
        run = current_run.get()
        if run is None:
            return False
        # Another scheduler's job, or what a job has left running and outlives it, may wait.
        executors = self._all_executors()
        return not all(isinstance(executor, RunExecutor) for executor in executors) or any(
            live is run for executor in executors for live in live_runs(executor)
        )

    def _all_executors(self) -> list[BaseExecutor]:
        """Those that take runs, and those that were removed and may have some yet."""
        return [*self._executors.values(), *self._retired]

    def _has_live_runs(self) -> bool:
        """Whether any executor has runs that are not over."""
        return any(live_runs(executor) for executor in self._all_executors())

    def _begin_shutdown(self) -> bool:
        """Stop firing; True for the one caller that has to close."""
        notice_fork()
        with self._lock:
            if self._state == STATE_STOPPED:
                return False
            self._state = STATE_STOPPED
            self._dispatches = False
            # What waits for its store now was promised to be in it; what is added from now on waits for the next start.
            self._promised = frozenset(self._jobs.waiting.aliases)
            for pump in self._pumps.values():
                # Nobody is to wait for a first cycle that does not come.
                pump.tried.set()
            return True

    def _close_elsewhere(self, wait: bool, timeout: float | None) -> None:
        if not wait:
            # Now, and not in a moment: what has not begun when this returns does not begin.
            for executor in self._all_executors():
                self._cut += stop_executor(self, executor, False, None)
        self._in_background(partial(close, self, True, timeout))

    def _quiesce(self, pumps: list[Pump], timeout: float | None) -> None:
        quiesce(self, pumps, timeout)

    def _ended(self) -> None:
        """All is closed: listeners are told, and then those who wait."""
        _program.started.discard(self)
        closed = self._closed
        # Before that thread ends: its number may be given to the next one, which has to wait like any other.
        self._thread_id = None
        self._release_wakeup()
        self._wakeup = None
        self._retired = []
        with self._lock:
            # Whoever hears of the end may start it again at once, and the end comes before that start.
            self._reports.bus.queue(SchedulerEvent(EVENT_SCHEDULER_SHUTDOWN))
            self._may_start = True
        try:
            self._reports.bus.flush()
        finally:
            # Also when Ctrl-C or a listener's sys.exit() ends the main thread in it: others may wait.
            closed.set()
            with self._lock:
                if self._closed is closed:
                    self._closing_id = None

    def _abandon(self) -> None:
        """Nobody waits any more for the end of what was shut down, the end of the program included. What is open is closed all
        the same when the jobs are over, and it may be started again then.
        """
        _program.started.discard(self)
        close_behind(self)

    def pause(self) -> None:
        """Stop firing until ``resume``; live runs go on. Raises ``SchedulerNotRunningError``."""
        if self._switch(STATE_PAUSED):
            self._reports.logger.info("scheduler paused")
            self._reports.bus.publish(SchedulerEvent(EVENT_SCHEDULER_PAUSED))

    def resume(self) -> None:
        """Fire again; what fell due meanwhile is late, by the misfire rule. Raises ``SchedulerNotRunningError``."""
        if self._switch(STATE_RUNNING):
            self._reports.logger.info("scheduler resumed")
            self._reports.bus.publish(SchedulerEvent(EVENT_SCHEDULER_RESUMED))
            self.wakeup()

    def _switch(self, state: int) -> bool:
        """Go over to running or paused; False when that is the state already. Raises ``SchedulerNotRunningError``."""
        self._check_loop()
        with self._lock:
            if self._state == STATE_STOPPED:
                raise SchedulerNotRunningError()
            if self._state == state:
                return False
            self._state = state
            self._dispatches = state == STATE_RUNNING
            return True

    @property
    def running(self) -> bool:
        """Whether it was started and not shut down; a paused one is running, and one whose ``start`` has begun."""
        notice_fork()
        return self._state != STATE_STOPPED

    @property
    def state(self) -> int:
        """``STATE_STOPPED``, ``STATE_RUNNING`` or ``STATE_PAUSED``."""
        notice_fork()
        return self._state

    def wakeup(self) -> None:
        """Look at once whether anything is due. Raises ``SchedulerNotRunningError``."""
        self._check_loop()
        if self._state == STATE_STOPPED:
            raise SchedulerNotRunningError()
        for pump in list(self._pumps.values()):
            pump.touched = True
        self._ask()

    def health(self) -> dict[str, StoreHealth]:
        """How each job store does, by alias."""
        return {alias: pump.health.told for alias, pump in list(self._pumps.items())}

    # -- executors and job stores --------------------------------------------------------------------------------------------

    def add_executor(self, executor: BaseExecutor | str, alias: str = "default", **options: Any) -> None:
        """Add an executor: an instance, or a plug-in alias with its options. Jobs that were set aside for want of it come back.

        Raises ``ConfigurationError`` when the alias is taken.
        """
        _components.add_executor(self, executor, alias, options)

    def remove_executor(self, alias: str, shutdown: bool = True) -> None:
        """Remove an executor and shut it down without waiting; what it runs goes on. ``LookupError`` when there is none."""
        _components.remove_executor(self, alias, shutdown)

    def add_jobstore(self, jobstore: BaseJobStore | str, alias: str = "default", **options: Any) -> None:
        """Add a job store: an instance, or a plug-in alias with its options. On a running scheduler it is opened at
        once, in this thread; but on an event loop, one that does I/O is opened by a worker thread, soon.

        Raises ``ConfigurationError`` when the alias is taken, and what the store raises.
        """
        _components.add_jobstore(self, jobstore, alias, options)

    def remove_jobstore(self, alias: str, shutdown: bool = True) -> None:
        """Remove a job store; its jobs stay in it. Raises ``LookupError`` when there is none."""
        _components.remove_jobstore(self, alias, shutdown)

    # -- listeners ---------------------------------------------------------------------------------------------------------

    def add_listener(self, callback: Listener, mask: int = EVENT_ALL) -> None:
        """Call ``callback(event)`` for events whose code is in ``mask``; where and when is in ``schedcore.events``."""
        if not callable(callback):
            raise ConfigurationError(f"callback must be callable, not {callback!r}")
        if isinstance(mask, bool) or not isinstance(mask, int) or not 0 < mask <= EVENT_ALL:
            raise ConfigurationError(f"mask must be a union of EVENT_… codes, not {mask!r}")
        self._reports.bus.add(callback, mask)
        self._look_who_is_told()

    def remove_listener(self, callback: Listener) -> None:
        """Call it no more; one that is not known is passed over."""
        self._reports.bus.remove(callback)
        self._look_who_is_told()

    def _look_who_is_told(self) -> None:
        durable = any(pump.store.traits.durable for pump in self._pumps.values())
        reports = self._reports
        self._runs.tells_start = durable or reports.tells_all or reports.bus.wants(EVENT_JOB_STARTED)

    # -- jobs --------------------------------------------------------------------------------------------------------------

    def add_job(
        self,
        func: Callable[..., Any] | str,
        trigger: BaseTrigger | str | None = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        id: str | None = None,
        name: str | None = None,
        misfire_grace_time: float | Unset | None = UNSET,
        coalesce: bool | Unset = UNSET,
        max_instances: int | Unset = UNSET,
        next_run_time: datetime | str | Unset | None = UNSET,
        jobstore: str = "default",
        executor: str = "default",
        replace_existing: bool = False,
        *,
        max_catchup: int | Unset = UNSET,
        recovery: str | Unset = UNSET,
        **trigger_args: Any,
    ) -> Job:
        """Schedule a job and return a handle on it.

        ``func``: a callable, or text such as ``"package.module:name"``. ``trigger``: an alias with its arguments in
        ``trigger_args``, an instance, or None for once, now. ``misfire_grace_time``: seconds, or None for "however
        late". ``next_run_time``: an instant for the next run, or None to add it paused. ``replace_existing``: update
        the job that has this ``id``; if its trigger is unchanged it keeps its next run time and phase. An ``id`` that
        is left out is a random one; but for jobs that are added to a durable store before ``start`` it is made of the
        function, its arguments and the trigger, so that the next start finds the job instead of adding a copy.
        On an event loop a job for a store that does I/O is ``pending`` until a worker thread has stored it.
        ``max_catchup``, ``recovery``: see ``schedcore.job.JobPolicy``. What is left out comes from ``job_defaults``.

        Raises at once for what cannot work: ``JobArgumentsError``, ``InvalidTriggerError`` (also when the trigger never fires),
        ``ReferenceLookupError``, ``UnknownOptionError``, ``ConflictingIdError``, ``TransientJobError``, ``ConfigurationError``.
        """
        options = (misfire_grace_time, coalesce, max_instances, max_catchup, recovery)
        grid = make_trigger(trigger, trigger_args, self._timezone or self.timezone, self._timeline)
        record = self._definitions.define(func, grid, args, kwargs, id, name, options, jobstore, executor)
        next_run = self._definitions.next_run(next_run_time)
        return self._jobs.add(record, next_run, jobstore, replace_existing, id is not None)

    def add_jobs(self, jobs: Iterable[Mapping[str, Any]]) -> list[Job]:
        """Add many jobs to one job store in one step, all or none. Each mapping has the arguments of ``add_job``. Jobs whose
        triggers are an alias with the same words and whole numbers begin together.

        Raises what ``add_job`` raises, with a note of which one it was, and then no job is added. ``replace_existing`` has no
        place here: jobs that are there already are changed one by one, by ``add_job``.
        """
        found: list[tuple[JobRecord, NextRun, bool]] = []
        jobstore: str | None = None
        batch = Batch(self)
        for number, arguments in enumerate(jobs):
            try:
                if type(arguments) is not dict and not isinstance(arguments, Mapping):
                    raise ConfigurationError(f"a job must be a mapping of the arguments of add_job, not {arguments!r}")
                record, next_run, its = batch.define(**arguments)
                if jobstore not in (None, its):
                    raise ConfigurationError(f"jobs for {its!r} and for {jobstore!r}: add_jobs adds to one job store")
            except Exception as error:
                error.add_note(f"in the jobs of add_jobs this is number {number} (from 0)")
                raise
            jobstore = its
            found.append((record, next_run, arguments.get("id") is not None))
        return [] if jobstore is None else self._jobs.add_all(found, jobstore)

    def scheduled_job(
        self,
        trigger: BaseTrigger | str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        id: str | None = None,
        name: str | None = None,
        misfire_grace_time: float | Unset | None = UNSET,
        coalesce: bool | Unset = UNSET,
        max_instances: int | Unset = UNSET,
        next_run_time: datetime | str | Unset | None = UNSET,
        jobstore: str = "default",
        executor: str = "default",
        **trigger_args: Any,
    ) -> Callable[[F], F]:
        """A decorator that adds the function as a job (``replace_existing=True``) and returns it unchanged. See ``add_job``."""

        def decorate(func: F) -> F:
            self.add_job(
                func,
                trigger,
                args,
                kwargs,
                id,
                name,
                misfire_grace_time,
                coalesce,
                max_instances,
                next_run_time,
                jobstore,
                executor,
                True,
                **trigger_args,
            )
            return func

        return decorate

    def get_job(self, job_id: str, jobstore: str | None = None) -> Job | None:
        """The job with this id, in one job store or the first that has it; None when unknown."""
        self._catch_up(jobstore, "get_job")
        try:
            return self._jobs.find(job_id, jobstore)[1]
        except JobLookupError:
            return None

    def get_jobs(self, jobstore: str | None = None, pending: bool | None = None) -> list[Job]:
        """All jobs, of one job store or all, by next run time, those without one last. ``pending``: only those that
        are, or are not.
        """
        return _listing.get_jobs(self, jobstore, pending)

    def get_runs(
        self, job_id: str | None = None, jobstore: str | None = None, *, failed: bool = False, limit: int = 100
    ) -> list[RunRecord]:
        """Run records, latest fire time first, up to ``limit``: of one job or all, of one job store or all."""
        return _listing.get_runs(self, job_id, jobstore, failed, limit)

    def modify_job(self, job_id: str, jobstore: str | None = None, **changes: Any) -> Job:
        """Change a job; the names are those of ``add_job``. A new trigger gives a new next run time;
        ``next_run_time=None`` pauses.
        """
        return self._changes.modify(job_id, jobstore, changes)

    def reschedule_job(
        self,
        job_id: str,
        jobstore: str | None = None,
        trigger: BaseTrigger | str | None = None,
        **trigger_args: Any,
    ) -> Job:
        """Give a job another trigger and compute its next run time afresh; a paused job goes on."""
        return self._changes.reschedule(job_id, jobstore, trigger, trigger_args)

    def pause_job(self, job_id: str, jobstore: str | None = None) -> Job:
        """Suspend a job's schedule until ``resume_job``."""
        return self.modify_job(job_id, jobstore, next_run_time=None)

    def resume_job(self, job_id: str, jobstore: str | None = None) -> Job | None:
        """Take a job's schedule up again from now; None, and the job is removed, when the schedule has ended meanwhile."""
        return self._changes.resume(job_id, jobstore)

    def repair_job(
        self, job_id: str, jobstore: str | None = None, func: Callable[..., Any] | str | None = None, **changes: Any
    ) -> Job:
        """Have a job that was set aside go on where it stood, once what was missing is there again.

        ``func`` and ``changes`` (as in ``modify_job``) put something else in the place of what cannot be loaded; without
        them its record is loaded again as it is. Its payload and its history stay. Raises ``JobLookupError``, and
        ``BrokenJobError`` while it still cannot be loaded. A job that was not set aside is only changed.
        """
        if func is not None:
            changes["func"] = func
        return self._changes.repair(job_id, jobstore, changes)

    def remove_job(self, job_id: str, jobstore: str | None = None) -> None:
        """Remove a job; its live runs go on. Raises ``JobLookupError``."""
        # Jobs are removed by the thousand, and most often where nothing is ever put off.
        if self._opens_stores_in_start or not self._changes.remove_later(job_id, jobstore):
            self._jobs.remove(job_id, jobstore)

    def remove_all_jobs(self, jobstore: str | None = None) -> None:
        """Remove all jobs of one job store or all."""
        self._changes.remove_all(jobstore)

    def print_jobs(self, jobstore: str | None = None, out: IO[str] | None = None) -> None:
        """Write a list of the jobs to ``out`` (standard output)."""
        _listing.print_jobs(self, jobstore, sys.stdout if out is None else out)

    def export_jobs(
        self, outfile: str | os.PathLike[str] | IO[str], jobstore: str | None = None, *, partial: bool = False
    ) -> list[tuple[Job, SchedcoreError]]:
        """Write the jobs to a file (a path or a text file) as JSON that ``import_jobs`` reads.

        One that cannot be written is an error, and then nothing is: ``TransientJobError`` for a callable that text cannot name,
        ``SerializationError`` for arguments that are not data, ``BrokenJobError`` for a record that cannot be read.
        ``partial``: the others are written, and these are returned, each with its error, logged, and named in the file.
        """
        from schedcore.schedulers import _exchange

        return _exchange.export_jobs(self, outfile, jobstore, partial)

    def import_jobs(self, infile: str | os.PathLike[str] | IO[str], jobstore: str = "default") -> None:
        """Add the jobs of a file that ``export_jobs`` wrote. All or none: raises before anything is added."""
        from schedcore.schedulers import _exchange

        _exchange.import_jobs(self, infile, jobstore)

    # -- for handles, and for the modules of this package ------------------------------------------------------------------

    def _pumps_of(self, jobstore: str | None) -> list[Pump]:
        return [pump for alias, pump in list(self._pumps.items()) if jobstore in (None, alias)]

    def _no_such_store(self, alias: str) -> KeyError:
        return _components.no_such_alias("job store", alias, self._pumps)

    def _check_store(self, jobstore: str | None) -> None:
        """Raise ``LookupError`` where no job store has this alias and no job waits for such a one, and ``ConfigurationError``
        for what is none.
        """
        if jobstore is None:
            return
        _components.check_alias("jobstore", jobstore)
        if jobstore not in self._pumps and jobstore not in self._jobs.waiting.aliases:
            raise self._no_such_store(jobstore)

    def _check_loop(self) -> None:
        """Raise ``SchedulerNotRunningError`` where nothing that is asked for would ever be done."""
        if self.running and self._is_loop_closed():
            raise SchedulerNotRunningError(
                "the event loop that the scheduler lived on was closed, and the scheduler was not shut down before; call "
                "shutdown(), and start() it again on a loop that runs"
            )

    def _catch_up(self, jobstore: str | None, what: str | None = None) -> None:
        """Before stores are read: do what was put off. ``what`` is the call that reads, which warns if it is made on a loop."""
        self._changes.catch_up(jobstore, what)

    def _peek(self, alias: str, job_id: str) -> JobEntry | None:
        return self._jobs.peek(alias, job_id)

    def _is_pending(self, alias: str, job_id: str) -> bool:
        return self._jobs.waiting.has(alias, job_id)

    def _read(self, alias: str, job_id: str) -> JobEntry:
        self._catch_up(alias, "get_job")
        try:
            return self._jobs.find(job_id, alias)[1]._entry
        except JobLookupError:
            return self._jobs.find(job_id, None)[1]._entry

    # -- reports, from executors -------------------------------------------------------------------------------------------

    def job_handle(self, run: Run) -> Job:
        """For executors of the 3.x kind: the handle on the job of a run."""
        return Job(self, run.alias, JobEntry(run.job, JobState.ACTIVE, run.fire_us, run.fire_us))

    # -- forks -------------------------------------------------------------------------------------------------------------

    def _after_fork_in_child(self) -> None:
        """The child has none of our threads: its copy is stopped, and touches nothing that it shares with the parent."""
        self._forked = True
        self._lock = ShortLock()
        self._state = STATE_STOPPED
        self._dispatches = False
        self._wakeup = None
        self._thread_id = self._closing_id = None
        self._shutting = set()
        self._openings.forget_threads()
        self._reports.forget_threads()
        self._jobs.waiting.forget_threads()
        self._closed = make_event()
        self._closed.set()

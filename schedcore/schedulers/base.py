"""The scheduler: everything that is the same in all seven.

A subclass supplies a wakeup, a default executor and, where its framework awaits, the form in which ``shutdown`` is waited for.

Theory of operation. *The scheduler's thread* is the thread of the wakeup. ``_tick`` runs there: it looks at the
clocks, lets each job store's pump (``_pump``) make a step, and arms the wakeup for the next one. Everybody else, any
thread, only leaves word: a job added, a run ended, and rings (``_ask``). The one lock guards the maps of executors,
job stores and pending jobs; no store, trigger, listener or executor is called while it is held, so that any of them
may call back.

Stopping has two halves. ``_begin_shutdown`` is immediate: from then on nothing is claimed and nothing fires.
``_close`` takes as long as the jobs do: executors drain, outcomes are written, stores are closed, the loop ends.
``shutdown(wait=True)`` waits for the second half; where waiting would wait for itself (inside a job, a listener, the
scheduler's thread) a thread of its own does it.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, tzinfo
from functools import partial
from random import random
from typing import IO, Any, ClassVar, TypeVar

from schedcore import config, plugins
from schedcore._locks import ShortLock
from schedcore.clock import CORRECTION_US, Clock, SystemClock, Timeline
from schedcore.errors import (
    BrokenJobError,
    ConfigurationError,
    InvalidTriggerError,
    JobLookupError,
    SchedulerAlreadyRunningError,
    SchedulerNotRunningError,
    SchedulerStartError,
    UsageError,
    did_you_mean,
)
from schedcore.events import (
    EVENT_ALL,
    EVENT_ALL_JOBS_REMOVED,
    EVENT_EXECUTOR_ADDED,
    EVENT_EXECUTOR_REMOVED,
    EVENT_JOB_ADDED,
    EVENT_JOB_REMOVED,
    EVENT_JOB_STARTED,
    EVENT_JOBSTORE_ADDED,
    EVENT_JOBSTORE_REMOVED,
    EVENT_SCHEDULER_PAUSED,
    EVENT_SCHEDULER_RESUMED,
    EVENT_SCHEDULER_STARTED,
    JobEvent,
    Listener,
    SchedulerEvent,
)
from schedcore.executors.base import BaseExecutor, RunExecutor, failed
from schedcore.job import Job, JobEntry, JobPolicy, JobRecord, JobState, UnreadJob
from schedcore.jobstores.base import BaseJobStore, JobStore
from schedcore.run import Finish, Run, RunRecord, RunState, SkipReason, current_run
from schedcore.schedulers._calls import Teller, call_pool
from schedcore.schedulers._closing import close, quiesce, stop_executor
from schedcore.schedulers._definition import (
    UNSET,
    Unset,
    change_record,
    check_changes,
    instant_of,
    make_record,
    make_trigger,
    policy_with,
    seeded,
)
from schedcore.schedulers._jobs import Jobs, Pending
from schedcore.schedulers._orders import Order
from schedcore.schedulers._pump import Pump, StoreHealth
from schedcore.schedulers._reports import Reports
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.wakeup import MAX_WAIT_S, MIN_GAP_S, Done, Wakeup

__all__ = [
    "CLOSING_S",
    "STATE_PAUSED",
    "STATE_RUNNING",
    "STATE_STOPPED",
    "STILL_CLOSING",
    "BaseScheduler",
    "register_exit_hook",
]

STATE_STOPPED = 0
STATE_RUNNING = 1
STATE_PAUSED = 2

F = TypeVar("F", bound=Callable[..., Any])

# The options of ``add_job`` that go into a job's policy, and their values where none is given.
_OPTIONS = ("misfire_grace_time", "coalesce", "max_instances", "max_catchup", "recovery")
_Options = tuple[float | Unset | None, bool | Unset, int | Unset, int | Unset, str | Unset]
_NO_OPTIONS: _Options = (UNSET, UNSET, UNSET, UNSET, UNSET)

# Microseconds. Stands for "nothing is armed": later than every instant that datetime can express.
_NEVER_US = 1 << 62
# Seconds. After a shutdown's time is up, what was cut is told, and the outcomes are written; who waits is given so long for it.
CLOSING_S = 2.0
STILL_CLOSING = (
    "a job store or a job did not end in time; the scheduler goes on closing, and nobody waits for it any more"
)
# Seconds until it is tried again to arm a wakeup that refuses again and again.
ARM_RETRY_S = 1.0


class BaseScheduler(ABC):
    """The whole API. See ``docs`` for a guide; a running scheduler accepts every call from any thread.

    ``gconfig``, ``options``: the configuration; the three ways of writing it are in ``schedcore.config``.
    """

    #: Options of the subclass, each with its conversion.
    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {"clock": config.as_is}
    #: Whether ``start`` itself opens the job stores, and raises what they raise. Not where it runs on somebody's event loop:
    #: there, neither stores that do I/O nor a user's triggers are called.
    _opens_stores_in_start: ClassVar[bool] = True
    #: Seconds. The longest single wait; longer only where steps of the clock are told without it (virtual time).
    _max_wait_s: ClassVar[float] = MAX_WAIT_S
    #: Seconds. The shortest time between two looks at what is due; none in virtual time, where nobody waits for it.
    _min_gap_s: ClassVar[float] = MIN_GAP_S
    #: Whether the end of the program closes it and waits for the jobs that run.
    _closed_at_exit: ClassVar[bool] = True
    _forked = False
    _warned_of_waiting = False
    #: Whether run events are delivered by a thread of their own; else where they arise.
    _tells_in_thread: ClassVar[bool] = True
    #: Where jitter comes from: floats in [0, 1).
    _random: Callable[[], float] = staticmethod(random)

    def __init__(self, gconfig: Mapping[str, Any] | None = None, **options: Any) -> None:
        self._lock = ShortLock()
        self._state = STATE_STOPPED
        self._dispatches = False
        self._executors: dict[str, BaseExecutor] = {}
        self._retired: list[BaseExecutor] = []  # removed and shut down; their runs may go on
        self._pumps: dict[str, Pump] = {}
        self._removed: dict[str, Pump] = {}
        self._jobs = Jobs(self)
        self._reports = Reports(self._must_not_listen, self._make_teller)
        self._wakeup: Wakeup | None = None
        self._thread_id: int | None = None
        self._closing_id: int | None = None
        self._asked = False
        # When the next tick is armed for, on the wall clock and on the monotonic one.
        self._armed_us = _NEVER_US
        self._armed_s = 0.0
        self._arm_failures = 0
        self._last_tick_s = 0.0
        self._closed = threading.Event()
        self._closed.set()
        self._cut: list[Run] = []
        self._policies: dict[str, JobPolicy] = {}
        self._promised: frozenset[str] = frozenset()
        # Whether anybody wants to know that a run began: a listener, or a durable store.
        self._tells_start = False
        self._config = config.SchedulerConfig()
        self._configure(config.parse(gconfig, "schedcore.", options, extra=self._extra_options))

    # -- configuration --------------------------------------------------------------------------------------------------

    def configure(self, gconfig: Mapping[str, Any] | None = None, prefix: str = "schedcore.", **options: Any) -> None:
        """Configure a stopped scheduler afresh. Raises ``SchedulerAlreadyRunningError``, ``UnknownOptionError``,
        ``ConfigurationError``.
        """
        if self._state != STATE_STOPPED:
            raise SchedulerAlreadyRunningError("the scheduler is running; configure it before start()")
        self._configure(config.parse(gconfig, prefix, options, extra=self._extra_options))

    def _configure(self, settings: config.SchedulerConfig) -> None:
        executors = {alias: config.build(spec, plugins.EXECUTORS) for alias, spec in settings.executors.items()}
        jobstores = {alias: config.build(spec, plugins.JOBSTORES) for alias, spec in settings.jobstores.items()}
        for alias, executor in executors.items():
            _check_component(executor, BaseExecutor, f"executors.{alias}", "an executor")
        for alias, jobstore in jobstores.items():
            _check_component(jobstore, BaseJobStore, f"jobstores.{alias}", "a job store")
        self._config = settings
        if settings.logger is not None:
            self._reports.logger = settings.logger
        clock: Any = settings.extra.get("clock") or SystemClock()
        self._timeline = Timeline(clock)
        self._timezone: tzinfo | None = settings.timezone
        self._retry_interval_s = float(settings.jobstore_retry_interval)
        defaults = settings.job_defaults
        self._default_policy = policy_with(JobPolicy(), defaults._asdict())
        self._policies = {}
        self._executors = executors
        self._pumps = {}
        for alias, jobstore in jobstores.items():
            self._pumps[alias] = Pump(self, alias, _as_job_store(jobstore))

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

    # -- for subclasses --------------------------------------------------------------------------------------------------

    @abstractmethod
    def _create_wakeup(self) -> Wakeup:
        """The wakeup to live on. Called at start, in the thread that starts; raises ``SchedulerStartError``."""

    @abstractmethod
    def _run(self) -> None:
        """Called at the end of ``start``: make the wakeup call ``_begin`` in the scheduler's thread (and run it, if
        that blocks).
        """

    def _release_wakeup(self) -> None:  # noqa: B027  # a framework may have nothing to let go of
        """Called last, when all is closed: let go of what ``_create_wakeup`` and ``_run`` made."""

    def _on_loop(self) -> bool:
        """Whether the calling thread runs an event loop, so that waiting in it would hold up the program."""
        return False

    def _must_not_listen(self) -> bool:
        """Whether the calling thread must not call listeners itself."""
        return self._on_loop()

    def _make_teller(self, name: str) -> Teller:
        """What calls listeners elsewhere, one event at a time; ``name``: how its thread is to be called."""
        return call_pool(1, name)

    def _in_background(self, call: Callable[[], None]) -> None:
        """Make a call that waits for jobs and job stores, beside all else. Raises ``RuntimeError`` when it cannot be made."""
        # A daemon, because it is the exit hook that waits for it, unless it was told not to.
        threading.Thread(target=call, name="schedcore-closing", daemon=True).start()

    def _wait_closed(self) -> None:
        """At the end of the program: wait until all is closed."""
        self._closed.wait()

    def _shut_store(self, pump: Pump, shut: Callable[[], None]) -> None:
        """Let go of a job store that was removed, where that may wait."""
        shut()

    def _close_store(self, store: JobStore, close: Callable[[], None]) -> None:
        """Write the last into a job store and close it. Called where ``_in_background`` calls."""
        close()

    def _may_open_here(self, store: JobStore) -> bool:
        """Whether a job store that is added may be opened in the calling thread."""
        return True

    def _create_default_executor(self) -> BaseExecutor:
        """The executor under the alias ``default`` when none was given."""
        from schedcore.executors.pool import ThreadPoolExecutor

        return ThreadPoolExecutor()

    # -- starting and stopping ---------------------------------------------------------------------------------------------

    def start(self, paused: bool = False) -> None:
        """Start executors and job stores, hand over the pending jobs and begin to fire (``paused``: begin with ``resume``).

        Raises ``SchedulerAlreadyRunningError``; ``SchedulerStartError`` where it cannot run here; and, but for
        schedulers that live on an event loop, what a job store raises as it is opened (on a loop this is logged, an
        event, and tried again).
        """
        with self._lock:
            if self._forked:
                raise SchedulerStartError(
                    "this scheduler was running when its process was forked, and its executors and job stores belong to "
                    "the parent; make a new scheduler in the child"
                )
            if self._state != STATE_STOPPED:
                raise SchedulerAlreadyRunningError()
            if not self._closed.is_set():
                raise SchedulerAlreadyRunningError(
                    "the scheduler is still shutting down; wait for the end of shutdown() before it is started again"
                )
            stores = {*self._pumps, "default"}
            for alias in self._jobs.aliases:
                if alias not in stores:
                    raise _lookup_error("job store", alias, stores)
            wakeup = self._create_wakeup()
            if "default" not in self._executors:
                self._executors["default"] = self._create_default_executor()
            if "default" not in self._pumps:
                from schedcore.jobstores.memory import MemoryJobStore

                self._pumps["default"] = Pump(self, "default", MemoryJobStore())
            self._wakeup = wakeup
            self._timeline = Timeline(self._timeline.clock)
            self._pumps = {alias: Pump(self, alias, pump.store) for alias, pump in self._pumps.items()}
            self._look_who_is_told()
            self._closed.clear()
            self._cut = []
            self._asked = False
            self._armed_us = _NEVER_US
            self._state = STATE_PAUSED if paused else STATE_RUNNING
        started: list[BaseExecutor] = []
        opened: list[JobStore] = []
        added: list[tuple[str, list[JobEntry]]] = []
        with ExitStack() as undo:
            undo.callback(self._undo_start, started, opened)
            for alias, executor in list(self._executors.items()):
                executor.start(self, alias)
                started.append(executor)
            for pump in list(self._pumps.values()):
                if self._opens_stores_in_start or not pump.store.traits.blocking:
                    pump.store.start(self, pump.alias)
                    opened.append(pump.store)
                    pump.opened = True
                    added.append((pump.alias, self._jobs.flush(pump)))
            undo.pop_all()
        if self._closed_at_exit:
            _running.add(self)
        if self._tells_in_thread:
            self._reports.start()
        self._reports.logger.info("scheduler started")
        self._dispatches = not paused
        self._reports.bus.publish(SchedulerEvent(EVENT_SCHEDULER_STARTED))
        for alias, entries in added:
            self._reports.added(alias, entries)
        self._run()

    def _undo_start(self, started: list[BaseExecutor], opened: list[JobStore]) -> None:
        """It could not start: be as before."""
        self._state = STATE_STOPPED
        for executor in started:
            stop_executor(self, executor, True, None)
        for store in opened:
            try:
                store.shutdown()
            except Exception:
                self._reports.logger.exception("job store %r failed to shut down", store)
        self._release_wakeup()
        self._wakeup = None
        self._closed.set()

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
        first = self._begin_shutdown()
        if first:
            # With a limit, so that a job store that hangs does not hold whoever called beyond it.
            if self._inside() or not wait or timeout is not None:
                self._close_elsewhere(wait, timeout)
            else:
                close(self, wait, timeout)
        if wait and not self._inside():
            if timeout is not None and first:
                timeout += CLOSING_S
            if not self._closed.wait(timeout):
                self._reports.logger.warning(STILL_CLOSING)
            return list(self._cut)
        return []

    def _inside(self) -> bool:
        """Whether the calling thread is one that closing waits for."""
        here = threading.get_ident()
        # The thread that closes tells listeners of the shutdown, and they may ask for another one.
        return here in (self._thread_id, self._closing_id) or self._reports.delivers_here() or self._in_own_job()

    def _in_own_job(self) -> bool:
        """Whether the caller is a job of this scheduler that is not over."""
        run = current_run.get()
        if run is None:
            return False
        # Another scheduler's job, or what a job has left running and outlives it, may wait.
        executors = self._all_executors()
        return not all(isinstance(executor, RunExecutor) for executor in executors) or any(
            live is run for executor in executors for live in _live_runs(executor)
        )

    def _all_executors(self) -> list[BaseExecutor]:
        """Those that take runs, and those that were removed and may have some yet."""
        return [*self._executors.values(), *self._retired]

    def _has_live_runs(self) -> bool:
        """Whether any executor has runs that are not over."""
        return any(_live_runs(executor) for executor in self._all_executors())

    def _begin_shutdown(self) -> bool:
        """Stop firing; True for the one caller that has to close."""
        with self._lock:
            if self._state == STATE_STOPPED:
                return False
            self._state = STATE_STOPPED
            self._dispatches = False
            # What waits for its store now was promised to be in it; what is added from now on waits for the next start.
            self._promised = frozenset(self._jobs.aliases)
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
        """All is closed."""
        _running.discard(self)
        # Before that thread ends: its number may be given to the next one, which has to wait like any other.
        self._thread_id = None
        self._release_wakeup()
        self._wakeup = None
        self._retired = []
        self._closing_id = None
        self._closed.set()

    def _abandon(self) -> None:
        """Nobody waits for it any more, the end of the program included."""
        _running.discard(self)

    def _is_loop_alive(self) -> bool:
        """Whether the wakeup still calls back what it was given."""
        return True

    def _take_back(self, runs: list[Run]) -> None:
        """Runs that were never handed to an executor are over before they began."""
        now_us = self.clock.wall_us()
        for run in runs:
            self.run_finished(Finish(run, RunState.CANCELLED, None, now_us))

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
        """Whether it was started and not shut down; a paused one is running."""
        return self._state != STATE_STOPPED

    @property
    def state(self) -> int:
        """``STATE_STOPPED``, ``STATE_RUNNING`` or ``STATE_PAUSED``."""
        return self._state

    def wakeup(self) -> None:
        """Look at once whether anything is due. Raises ``SchedulerNotRunningError``."""
        if self._state == STATE_STOPPED:
            raise SchedulerNotRunningError()
        for pump in list(self._pumps.values()):
            pump.touched = True
        self._ask()

    def health(self) -> dict[str, StoreHealth]:
        """How each job store does, by alias."""
        return {alias: pump.health for alias, pump in list(self._pumps.items())}

    # -- executors and job stores --------------------------------------------------------------------------------------------

    def add_executor(self, executor: BaseExecutor | str, alias: str = "default", **options: Any) -> None:
        """Add an executor: an instance, or a plug-in alias with its options. Jobs that were set aside for want of it come back.

        Raises ``ConfigurationError`` when the alias is taken.
        """
        made = self._make_component(executor, options, "executors", alias, plugins.EXECUTORS)
        _check_component(made, BaseExecutor, f"executors.{alias}", "an executor")
        with self._lock:
            if alias in self._executors:
                raise ConfigurationError(f"an executor with the alias {alias!r} exists already; remove it first")
            self._executors[alias] = made
            running = self._state != STATE_STOPPED
        if running:
            with ExitStack() as undo:
                undo.callback(self._executors.pop, alias)
                made.start(self, alias)
                undo.pop_all()
        self._reports.bus.publish(SchedulerEvent(EVENT_EXECUTOR_ADDED, alias))
        if running:
            self._jobs.mend(alias)

    def remove_executor(self, alias: str, shutdown: bool = True) -> None:
        """Remove an executor and shut it down without waiting; what it runs goes on. ``LookupError`` when there is none."""
        with self._lock:
            if alias not in self._executors:
                raise _lookup_error("executor", alias, self._executors)
            executor = self._executors.pop(alias)
            if shutdown and self._state != STATE_STOPPED:
                self._retired = [one for one in self._retired if _live_runs(one)] + [executor]
        if shutdown:
            stop_executor(self, executor, False, None)
        self._reports.bus.publish(SchedulerEvent(EVENT_EXECUTOR_REMOVED, alias))

    def add_jobstore(self, jobstore: BaseJobStore | str, alias: str = "default", **options: Any) -> None:
        """Add a job store: an instance, or a plug-in alias with its options. On a running scheduler it is opened at
        once, in this thread; but on an event loop, one that does I/O is opened by a worker thread, soon.

        Raises ``ConfigurationError`` when the alias is taken, and what the store raises.
        """
        made = self._make_component(jobstore, options, "jobstores", alias, plugins.JOBSTORES)
        _check_component(made, BaseJobStore, f"jobstores.{alias}", "a job store")
        pump = Pump(self, alias, _as_job_store(made))
        with self._lock:
            if alias in self._pumps:
                raise ConfigurationError(f"a job store with the alias {alias!r} exists already; remove it first")
            running = self._state != STATE_STOPPED
            if not running:
                self._pumps[alias] = pump
        if running:
            if self._may_open_here(pump.store):
                pump.store.start(self, alias)
                pump.opened = True
            with self._lock:
                self._pumps = {**self._pumps, alias: pump}
                self._look_who_is_told()
        self._reports.bus.publish(SchedulerEvent(EVENT_JOBSTORE_ADDED, alias))
        if running:
            self.wakeup()

    def remove_jobstore(self, alias: str, shutdown: bool = True) -> None:
        """Remove a job store; its jobs stay in it. Raises ``LookupError`` when there is none."""
        with self._lock:
            if alias not in self._pumps:
                raise _lookup_error("job store", alias, self._pumps)
            pumps = dict(self._pumps)
            pump = pumps.pop(alias)
            self._pumps = pumps
        pump.closed = True
        self._removed[alias] = pump
        self._take_back(pump.take_waiting())

        def shut() -> None:
            if not pump.busy:
                pump.settle()
            if shutdown:
                pump.store.shutdown()

        if pump.opened:
            if pump.store.traits.blocking:
                self._shut_store(pump, shut)
            else:
                shut()
        self._reports.bus.publish(SchedulerEvent(EVENT_JOBSTORE_REMOVED, alias))

    @staticmethod
    def _make_component(component: Any, options: Mapping[str, Any], section: str, alias: str, group: str) -> Any:
        option = f"{section}.{alias}"
        if isinstance(component, str):
            return config.build(config.component({"type": component, **options}, option), group)
        if options:
            names = ", ".join(options)
            raise ConfigurationError(f"{option}: options ({names}) go with a plug-in alias, not with an instance")
        return component

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
        self._tells_start = durable or self._reports.bus.wants(EVENT_JOB_STARTED)

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
        record, next_run = self._define(
            func, trigger, args, kwargs, id, name, options, next_run_time, jobstore, executor, trigger_args
        )
        if self._state == STATE_STOPPED:
            return self._jobs.add_pending(record, next_run, jobstore, replace_existing, given_id=id is not None)
        pump = self._pumps.get(jobstore)
        if pump is None:
            raise self._no_such_store(jobstore)
        record = seeded(record)
        if not pump.opened or (pump.store.traits.blocking and self._on_loop()):
            entry = self._jobs.placed(record, next_run, None)
            self._jobs.put_down(jobstore, Pending(record, next_run, replace_existing, entry))
            return Job(self, jobstore, entry, pending=True)
        if not self._opens_stores_in_start:
            self._make_way(jobstore)
        if replace_existing:
            entry, code = self._jobs.store(pump, Pending(record, next_run, True), self._timeline.now())
        else:
            entry, code = self._jobs.placed(record, next_run, None), EVENT_JOB_ADDED
            pump.store.add_entries((entry,))
        if self._reports.bus.mask & code:
            self._reports.bus.publish(JobEvent(code, entry.job.id, jobstore))
        if entry.due_us is not None:
            self._touch(pump, entry.due_us, record.trigger)
        return Job(self, jobstore, entry)

    def _define(
        self,
        func: Callable[..., Any] | str,
        trigger: BaseTrigger | str | None,
        args: Iterable[Any] | None,
        kwargs: Mapping[str, Any] | None,
        id: str | None,
        name: str | None,
        options: _Options,
        next_run_time: datetime | str | Unset | None,
        jobstore: str,
        executor: str,
        trigger_args: dict[str, Any],
    ) -> tuple[JobRecord, Any]:
        """What the arguments of ``add_job`` say: the job, and its next run (UNSET, None or an instant). Raises what that does."""
        grid = make_trigger(trigger, trigger_args, self._timezone or self.timezone, self._timeline)
        policy = self._policies.get(executor) if isinstance(executor, str) else None
        if policy is None:
            policy = policy_with(self._default_policy, {"executor": executor})
            self._policies[executor] = policy
        if options != _NO_OPTIONS:
            named = zip(_OPTIONS, options, strict=True)
            policy = policy_with(policy, {key: value for key, value in named if value is not UNSET})
        record = make_record(func, grid, args, kwargs, id, name, policy)
        next_run = next_run_time
        if next_run_time is UNSET or next_run_time is None:
            pass
        elif isinstance(next_run_time, (datetime, str)):
            next_run = instant_of(next_run_time, self.timezone, "next_run_time")  # type: ignore[assignment]
        else:
            raise ConfigurationError(f"next_run_time must be a datetime, ISO 8601 text or None, not {next_run_time!r}")
        if not isinstance(jobstore, str):
            raise ConfigurationError(f"jobstore must be the alias of a job store (text), not {jobstore!r}")
        return record, next_run

    def add_jobs(self, jobs: Iterable[Mapping[str, Any]]) -> list[Job]:
        """Add many jobs to one job store in one step, all or none. Each mapping has the arguments of ``add_job``.

        Raises what ``add_job`` raises, with a note of which one it was, and then no job is added. ``replace_existing`` has no
        place here: jobs that are there already are changed one by one, by ``add_job``.
        """
        found: list[tuple[JobRecord, Any, bool]] = []
        jobstore: str | None = None
        for number, arguments in enumerate(jobs):
            try:
                record, next_run, its = self._definition(**arguments)
                if jobstore not in (None, its):
                    raise ConfigurationError(f"jobs for {its!r} and for {jobstore!r}: add_jobs adds to one job store")
            except Exception as error:
                error.add_note(f"in the jobs of add_jobs this is number {number} (from 0)")
                raise
            jobstore = its
            found.append((record, next_run, arguments.get("id") is not None))
        if jobstore is None:
            return []
        if self._state == STATE_STOPPED:
            with self._jobs.all_or_none(jobstore):
                return [
                    self._jobs.add_pending(record, next_run, jobstore, False, given_id=given)
                    for record, next_run, given in found
                ]
        pump = self._pumps.get(jobstore)
        if pump is None:
            raise self._no_such_store(jobstore)
        now = self._timeline.now()
        placed = [(record, next_run) for record, next_run in ((seeded(r), n) for r, n, _ in found)]
        entries = [self._jobs.placed(record, next_run, now) for record, next_run in placed]
        if not pump.opened or (pump.store.traits.blocking and self._on_loop()):
            with self._jobs.all_or_none(jobstore):
                for (record, next_run), entry in zip(placed, entries, strict=True):
                    self._jobs.put_down(jobstore, Pending(record, next_run, False, entry))
            return [Job(self, jobstore, entry, pending=True) for entry in entries]
        pump.store.add_entries(entries)
        self._reports.added(jobstore, entries)
        pump.touched = True
        self._ask()
        return [Job(self, jobstore, entry) for entry in entries]

    def _definition(
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
    ) -> tuple[JobRecord, Any, str]:
        """``_define`` with the names and defaults of ``add_job``; and the job store."""
        if replace_existing:
            raise ConfigurationError("replace_existing: add_jobs only adds; add_job updates a job that is there")
        options = (misfire_grace_time, coalesce, max_instances, max_catchup, recovery)
        record, next_run = self._define(
            func, trigger, args, kwargs, id, name, options, next_run_time, jobstore, executor, trigger_args
        )
        return record, next_run, jobstore

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
        if pending is not True:
            self._catch_up(jobstore, "get_jobs")
        jobs: list[Job] = []
        if pending is not False:
            jobs += self._jobs.pending(jobstore)
        if pending is not True and self._state != STATE_STOPPED:
            entries = [
                (entry, alias)
                for alias, pump in list(self._pumps.items())
                if jobstore in (None, alias) and pump.opened
                for entry in pump.store.list_entries()
            ]
            entries.sort(key=lambda item: (item[0].due_us is None, item[0].due_us or 0, item[0].job.id))
            jobs += [Job(self, alias, entry) for entry, alias in entries]
        if jobstore is not None and jobstore not in self._pumps and jobstore not in self._jobs.aliases:
            raise self._no_such_store(jobstore)
        return jobs

    def get_runs(
        self, job_id: str | None = None, jobstore: str | None = None, *, failed: bool = False, limit: int = 100
    ) -> list[RunRecord]:
        """Run records, latest fire time first: of one job or all, of one job store or all."""
        if jobstore is not None and jobstore not in self._pumps:
            raise self._no_such_store(jobstore)
        self._catch_up(jobstore, "get_runs")
        records = [
            record
            for alias, pump in list(self._pumps.items())
            if jobstore in (None, alias) and pump.opened
            for record in pump.store.runs(job_id, failed=failed, limit=limit)
        ]
        records.sort(key=lambda record: record.fire_us, reverse=True)
        return records[:limit]

    def modify_job(self, job_id: str, jobstore: str | None = None, **changes: Any) -> Job:
        """Change a job; the names are those of ``add_job``. A new trigger gives a new next run time;
        ``next_run_time=None`` pauses.
        """
        now = self._timeline.now()
        trigger = changes.pop("trigger", UNSET)
        grid: EngineTrigger | None = None
        if trigger is None:
            raise InvalidTriggerError("trigger cannot be None here; to stop a job for a while, pause it")
        if trigger is not UNSET:
            grid = make_trigger(trigger, {}, self.timezone, self._timeline)
        next_run = changes.pop("next_run_time", UNSET)
        if next_run is not UNSET and next_run is not None:
            next_run = instant_of(next_run, self.timezone, "next_run_time")
        check_changes(changes)
        if grid is not None and next_run is UNSET:
            self._jobs.check_fires(grid.seeded(job_id), now)

        def change(entry: JobEntry) -> JobEntry:
            record = change_record(entry.job, changes)
            if grid is not None:
                record = seeded(record._replace(trigger=grid))
            if next_run is UNSET and grid is None:
                return entry._replace(job=record)
            if next_run is UNSET and entry.state is JobState.PAUSED:
                return JobEntry(record, JobState.PAUSED)
            if next_run is None:
                # Where it stands is kept, so that ``resume`` can tell what it missed.
                return JobEntry(record, JobState.PAUSED, entry.fire_us if grid is None else None)
            return self._jobs.placed(record, next_run, now)

        return self._change(job_id, jobstore, "modify_job", change)

    def reschedule_job(
        self,
        job_id: str,
        jobstore: str | None = None,
        trigger: BaseTrigger | str | None = None,
        **trigger_args: Any,
    ) -> Job:
        """Give a job another trigger and compute its next run time afresh; a paused job goes on."""
        grid = make_trigger(trigger, trigger_args, self.timezone, self._timeline)
        now = self._timeline.now()
        self._jobs.check_fires(grid.seeded(job_id), now)

        def change(entry: JobEntry) -> JobEntry:
            return self._jobs.placed(seeded(entry.job._replace(trigger=grid)), UNSET, now)

        return self._change(job_id, jobstore, "reschedule_job", change)

    def pause_job(self, job_id: str, jobstore: str | None = None) -> Job:
        """Suspend a job's schedule until ``resume_job``."""
        return self.modify_job(job_id, jobstore, next_run_time=None)

    def resume_job(self, job_id: str, jobstore: str | None = None) -> Job | None:
        """Take a job's schedule up again from now; None, and the job is removed, when the schedule has ended meanwhile."""
        now = self._timeline.now()

        def change(entry: JobEntry) -> JobEntry:
            return self._jobs.placed(entry.job, UNSET, now)

        def resume(pump: Pump) -> None:
            try:
                self._jobs.change_stored(pump, job_id, change)
            except InvalidTriggerError:
                self._remove_stored(pump, job_id)

        if self._must_put_off(job_id, jobstore):
            return self._put_off(job_id, jobstore, "resume_job", resume)
        if not self._opens_stores_in_start:
            self._make_way(jobstore)
        alias, job = self._jobs.find(job_id, jobstore)
        try:
            return self._jobs.change(alias, job, change)
        except InvalidTriggerError:
            self.remove_job(job_id, alias)
            return None

    def repair_job(
        self, job_id: str, jobstore: str | None = None, func: Callable[..., Any] | str | None = None, **changes: Any
    ) -> Job:
        """Have a job that was set aside go on where it stood, once what was missing is there again.

        ``func`` and ``changes`` (as in ``modify_job``) put something else in the place of what cannot be loaded; without
        them its record is loaded again as it is. Its payload and its history stay. Raises ``JobLookupError``, and
        ``BrokenJobError`` while it still cannot be loaded. A job that was not set aside is only changed.
        """
        importlib.invalidate_caches()
        if func is not None:
            changes["func"] = func
        grid: EngineTrigger | None = None
        if "trigger" in changes:
            grid = make_trigger(changes.pop("trigger"), {}, self.timezone, self._timeline)
        check_changes(changes)
        now = self._timeline.now()

        def change(entry: JobEntry) -> JobEntry:
            if entry.job.func is None and "func" not in changes:
                raise BrokenJobError(job_id, entry.reason or "its function is not known")
            record = change_record(entry.job, changes)
            if grid is not None:
                return self._jobs.placed(seeded(record._replace(trigger=grid)), UNSET, now)
            if entry.state is not JobState.BROKEN:
                return entry._replace(job=record)
            if entry.fire_us is None:
                return self._jobs.placed(record, UNSET, now)
            return JobEntry(record, JobState.ACTIVE, entry.fire_us, entry.fire_us)

        return self._change(job_id, jobstore, "repair_job", change)

    def remove_job(self, job_id: str, jobstore: str | None = None) -> None:
        """Remove a job; its live runs go on. Raises ``JobLookupError``."""
        if self._must_put_off(job_id, jobstore):
            self._put_off(job_id, jobstore, "remove_job", lambda pump: self._remove_stored(pump, job_id))
            return
        if not self._opens_stores_in_start:
            self._make_way(jobstore)
        alias = self._jobs.remove(job_id, jobstore)
        if self._reports.bus.mask & EVENT_JOB_REMOVED:
            self._report_removed(alias, job_id)

    def _remove_stored(self, pump: Pump, job_id: str) -> None:
        pump.store.remove_job(job_id)
        self._report_removed(pump.alias, job_id)

    def _report_removed(self, alias: str, job_id: str) -> None:
        if self._reports.bus.wants(EVENT_JOB_REMOVED):
            self._reports.bus.publish(JobEvent(EVENT_JOB_REMOVED, job_id, alias))

    def remove_all_jobs(self, jobstore: str | None = None) -> None:
        """Remove all jobs of one job store or all."""
        if jobstore is not None and jobstore not in self._pumps and jobstore not in self._jobs.aliases:
            raise self._no_such_store(jobstore)
        self._jobs.drop_pending(jobstore)
        if self._state != STATE_STOPPED:
            for alias, pump in list(self._pumps.items()):
                if jobstore not in (None, alias) or not pump.opened:
                    continue
                if pump.store.traits.blocking and self._on_loop():
                    pump.put_off(Order("remove_all_jobs", pump.store.remove_all_jobs))
                else:
                    pump.store.remove_all_jobs()
        self._reports.bus.publish(SchedulerEvent(EVENT_ALL_JOBS_REMOVED, jobstore))

    def print_jobs(self, jobstore: str | None = None, out: IO[str] | None = None) -> None:
        """Write a list of the jobs to ``out`` (standard output)."""
        stream = sys.stdout if out is None else out
        jobs = self.get_jobs(jobstore)
        aliases = sorted({*self._pumps, *self._jobs.aliases}) if jobstore is None else [jobstore]
        if any(job.pending for job in jobs):
            print("Pending jobs:", file=stream)
            for job in jobs:
                if job.pending:
                    print(f"    {job}", file=stream)
        for alias in aliases:
            if self._state == STATE_STOPPED:
                break
            print(f"Jobstore {alias}:", file=stream)
            mine = [job for job in jobs if job.jobstore == alias and not job.pending]
            for job in mine:
                print(f"    {job}", file=stream)
            if not mine:
                print("    No scheduled jobs", file=stream)
        if self._state == STATE_STOPPED and not jobs:
            print("No pending jobs", file=stream)

    def export_jobs(self, outfile: str | os.PathLike[str] | IO[str], jobstore: str | None = None) -> None:
        """Write the jobs to a file (a path or a text file) as JSON that ``import_jobs`` reads."""
        from schedcore.schedulers import _exchange

        _exchange.export_jobs(self, outfile, jobstore)

    def import_jobs(self, infile: str | os.PathLike[str] | IO[str], jobstore: str = "default") -> None:
        """Add the jobs of a file that ``export_jobs`` wrote. All or none: raises before anything is added."""
        from schedcore.schedulers import _exchange

        _exchange.import_jobs(self, infile, jobstore)

    # -- where nobody may wait for a store ----------------------------------------------------------------------------------

    def _must_put_off(self, job_id: str, jobstore: str | None) -> bool:
        """Whether a change of this job needs a store that does I/O, and the caller is on an event loop."""
        if self._state == STATE_STOPPED or not self._on_loop() or self._jobs.is_waiting(job_id, jobstore):
            return False
        pumps = self._pumps_of(jobstore)
        if not any(pump.store.traits.blocking for pump in pumps):
            return False
        quick = (pump for pump in pumps if pump.opened and not pump.store.traits.blocking)
        return all(pump.store.get_entry(job_id) is None for pump in quick)

    def _put_off(self, job_id: str, jobstore: str | None, what: str, make: Callable[[Pump], object]) -> Job:
        """Have a worker thread make this change in the store that has the job; returns a handle that reads the job when it is
        looked at.
        """
        pumps = [pump for pump in self._pumps_of(jobstore) if pump.store.traits.blocking]

        def make_where_it_is() -> None:
            for pump in pumps:
                try:
                    make(pump)
                except JobLookupError:
                    continue
                return
            raise JobLookupError(job_id)

        pumps[0].put_off(Order(f"{what}({job_id!r})", make_where_it_is))
        return UnreadJob(self, pumps[0].alias, job_id)

    def _change(self, job_id: str, jobstore: str | None, what: str, change: Callable[[JobEntry], JobEntry]) -> Job:
        if self._must_put_off(job_id, jobstore):
            return self._put_off(job_id, jobstore, what, lambda pump: self._jobs.change_stored(pump, job_id, change))
        if not self._opens_stores_in_start:
            self._make_way(jobstore)
        alias, job = self._jobs.find(job_id, jobstore)
        return self._jobs.change(alias, job, change)

    def _pumps_of(self, jobstore: str | None) -> list[Pump]:
        return [pump for alias, pump in list(self._pumps.items()) if jobstore in (None, alias)]

    def _make_way(self, jobstore: str | None) -> None:
        """Before a thread that may wait changes jobs: what was put off before is done first."""
        for pump in self._pumps.values():
            if pump.orders and pump.opened and jobstore in (None, pump.alias) and self._state != STATE_STOPPED:
                if self._on_loop():
                    return  # it changes what waits, which needs nothing of the store
                pump.catch_up()

    def _catch_up(self, jobstore: str | None, what: str | None = None) -> None:
        """Before stores are read: do what was put off. ``what`` is the call that reads, which warns if it is made on a loop."""
        if self._state == STATE_STOPPED:
            return
        for pump in self._pumps_of(jobstore):
            if what is None and pump.store.traits.blocking:
                # In a worker thread: what is asked for now is asked of an open store, unless it cannot be opened.
                pump.tried.wait(MAX_WAIT_S)
            if pump.opened and pump.store.traits.blocking:
                if what is not None and not self._warned_of_waiting and self._on_loop():
                    self._warned_of_waiting = True
                    self._reports.logger.warning(
                        "%s() waits for job store %r, and the event loop with it; scheduler.call(scheduler.%s) waits in a "
                        "worker thread and returns what your framework awaits (this is said once)",
                        what,
                        pump.alias,
                        what,
                    )
                pump.catch_up()

    # -- finding and changing ---------------------------------------------------------------------------------------------

    def _no_such_store(self, alias: str) -> KeyError:
        return _lookup_error("job store", alias, self._pumps)

    # -- for handles -----------------------------------------------------------------------------------------------------

    def _peek(self, alias: str, job_id: str) -> JobEntry | None:
        return self._jobs.peek(alias, job_id)

    def _is_pending(self, alias: str, job_id: str) -> bool:
        return self._jobs.is_pending(alias, job_id)

    def _read(self, alias: str, job_id: str) -> JobEntry:
        self._catch_up(alias, "get_job")
        try:
            return self._jobs.find(job_id, alias)[1]._entry
        except JobLookupError:
            return self._jobs.find(job_id, None)[1]._entry

    # -- the scheduler's thread ----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._state == STATE_STOPPED and self._closed.is_set():
            return
        self._asked = False
        now, step_us = self._timeline.look()
        if step_us:
            self._clock_stepped(step_us)
        mono_s = self.clock.monotonic_s()
        for pump in self._pumps.values():
            try:
                pump.tick(now, mono_s)
            except Exception as error:
                self._reports.logger.exception("job store %r: a step failed", pump.alias)
                pump.failed(error)
        self._last_tick_s = self.clock.monotonic_s()
        self._rearm()

    def _rearm(self) -> None:
        wakeup = self._wakeup
        if wakeup is None:
            return
        now = self._timeline.now()
        mono_s = self.clock.monotonic_s()
        delay_s = self._max_wait_s
        more = False
        for pump in self._pumps.values():
            its_s = pump.delay_s(now, mono_s)
            if its_s is not None and its_s < delay_s:
                delay_s = its_s
            more = more or pump.has_more
        if self._asked:
            # Somebody waits for a look at things, and this may take the place of the timer that was to give it (``_soon``).
            delay_s = min(delay_s, self._min_gap_s)
        if more:
            delay_s = 0.0
        elif delay_s < self._min_gap_s:
            # What falls due within a millisecond of the last tick is dispatched together.
            delay_s = max(delay_s, min(self._min_gap_s, self._last_tick_s + self._min_gap_s - mono_s))
        self._armed_us = now.wall_us + int(delay_s * 1e6)
        self._armed_s = mono_s + delay_s
        self._arm(wakeup, delay_s)

    def _arm(self, wakeup: Wakeup, delay_s: float) -> None:
        try:
            wakeup.arm(delay_s, self._tick)
        except Exception as error:  # noqa: BLE001  # a framework's side may be anybody's code
            self._armed_us = _NEVER_US
            self._armed_s = float("inf")
            self._reports.wakeup_failed("arm", error)
            self._arm_failures += 1
            if self._arm_failures == 1 and self._call_soon(self._rearm):
                return
            # Again and again: a thread of its own asks, so that neither the schedule stops nor the loop spins.
            timer = threading.Timer(ARM_RETRY_S, self._call_soon, (self._rearm,))
            timer.daemon = True
            timer.start()
        else:
            self._arm_failures = 0

    def _clock_stepped(self, step_us: int) -> None:
        self._reports.clock_stepped(step_us)
        if step_us <= -CORRECTION_US:
            for pump in self._pumps.values():
                pump.correct()

    def _touch(self, pump: Pump, due_us: int, trigger: EngineTrigger) -> None:
        """Something in this store is due at ``due_us`` now: wake up in time for it."""
        pump.touched = True
        if trigger.elapsed:
            due_us -= self._timeline.ahead_us
        if due_us < self._armed_us and self._wakeup is not None and not self._asked:
            self._ask()

    def _ask(self) -> None:
        """Have the scheduler's thread look at things soon. From any thread."""
        if self._asked:
            return
        self._asked = True
        if not self._call_soon(self._soon):
            self._asked = False

    def _soon(self) -> None:
        wakeup = self._wakeup
        if wakeup is None:
            return
        mono_s = self.clock.monotonic_s()
        wait_s = self._last_tick_s + self._min_gap_s - mono_s
        if wait_s <= 0 or wait_s > self._min_gap_s:
            self._tick()
        elif mono_s + wait_s < self._armed_s:
            self._armed_us = 0
            self._armed_s = mono_s + wait_s
            self._arm(wakeup, wait_s)

    def _call_soon(self, callback: Callable[[], None]) -> bool:
        """Call in the scheduler's thread; False when that is gone."""
        wakeup = self._wakeup
        if wakeup is None:
            return False
        for last in (False, True):
            try:
                wakeup.call_soon(callback)
            except RuntimeError as error:
                self._reports.logger.debug("the scheduler's loop is gone: %s", error)
                return False
            except Exception as error:  # noqa: BLE001  # a framework's side may be anybody's code
                self._reports.wakeup_failed("call_soon", error)
                if last:
                    return False
            else:
                return True
        return False

    def _run_blocking(self, call: Callable[[], Any], done: Done, jobstore: str) -> None:
        wakeup = self._wakeup
        if wakeup is None:
            done(None, SchedulerNotRunningError())
        else:
            wakeup.run_blocking(call, done)

    def _submit(self, runs: list[Run]) -> None:
        """Hand runs to their executors, in order, each executor's as one batch."""
        if self._state == STATE_STOPPED:
            self._take_back(runs)
            return
        self._reports.submitted(runs)
        batches: dict[str, list[Run]] = {}
        for run in runs:
            alias = run.job.policy.executor
            batch = batches.get(alias)
            if batch is None:
                batches[alias] = [run]
            else:
                batch.append(run)
        for alias, batch in batches.items():
            executor = self._executors.get(alias)
            try:
                if executor is None:
                    raise LookupError(f"the executor {alias!r} is missing")
                executor.submit(batch)
            except Exception as error:
                if self._state == STATE_STOPPED:
                    # It was closed since.
                    self._take_back(batch)
                    continue
                self._reports.logger.exception("executor %r refused %d runs", alias, len(batch))
                now_us = self.clock.wall_us()
                for run in batch:
                    self.run_finished(failed(run, None, now_us, error))

    # -- reports, from pumps and executors ---------------------------------------------------------------------------------

    def run_started(self, run: Run) -> None:
        """For executors: the job's code is about to be called. From any thread."""
        if not self._tells_start:
            return
        pump = self._pumps.get(run.alias)
        if pump is not None and pump.store.traits.durable:
            pump.begun.append((run, self.clock.wall_us()))
            self._ask()
        self._reports.started(run)

    def run_finished(self, finish: Finish) -> None:
        """For executors: the run is over. From any thread."""
        pump = self._pumps.get(finish[0][1])
        if pump is None:
            self._finished_without_store(finish)
            return
        if not self._state and finish.state is RunState.CANCELLED and finish.started_us is None:
            finish = finish._replace(state=RunState.SKIPPED, retval=SkipReason.SHUTDOWN)
        pump.finished.append(finish)
        if not self._asked:
            self._ask()

    def _finished_without_store(self, finish: Finish) -> None:
        """Its store was removed meanwhile. One that is closed learns of the end when it is opened again, by its ``recover``."""
        pump = self._removed.get(finish.run.alias)
        if pump is not None and not pump.store.traits.blocking:
            try:
                pump.store.finish([finish])
            except Exception as error:  # noqa: BLE001  # a store may be anybody's code
                self._reports.store_failed(pump.alias, error, None)
        self._reports.ended([finish])

    def job_handle(self, run: Run) -> Job:
        """For executors of the 3.x kind: the handle on the job of a run."""
        return Job(self, run.alias, JobEntry(run.job, JobState.ACTIVE, run.fire_us, run.fire_us))

    def _known_runs(self, pump: Pump) -> list[Run]:
        """The live runs of a store that this scheduler has in hand."""
        runs = [run for waiting in pump._waiting.copy().values() for run in list(waiting)]
        for executor in self._all_executors():
            runs += [run for run in _live_runs(executor) if run.alias == pump.alias]
        runs += [finish.run for finish in [*pump.finished, *pump._unwritten]]
        return runs

    # -- forks -------------------------------------------------------------------------------------------------------------

    def _after_fork_in_child(self) -> None:
        """The child has none of our threads: its copy is stopped, and touches nothing that it shares with the parent."""
        self._forked = True
        self._lock = ShortLock()
        self._state = STATE_STOPPED
        self._dispatches = False
        self._wakeup = None
        self._thread_id = self._closing_id = None
        self._reports.forget_threads()
        self._jobs.forget_threads()
        self._closed = threading.Event()
        self._closed.set()


#: Schedulers that are running, for the exit and fork hooks.
_running: weakref.WeakSet[BaseScheduler] = weakref.WeakSet()


def _live_runs(executor: BaseExecutor) -> list[Run]:
    if isinstance(executor, RunExecutor):
        return executor.live_runs()
    return [run for runs in executor._submitted.copy().values() for run in list(runs)]


def _lookup_error(what: str, alias: str, known: Iterable[str]) -> KeyError:
    return _LookupError(f"no {what} has the alias {alias!r}{did_you_mean(str(alias), known)}")


class _LookupError(UsageError, KeyError):
    """An alias that nothing has."""

    __str__ = Exception.__str__


def _check_component(component: object, base: type, option: str, what: str) -> None:
    if not isinstance(component, base):
        raise ConfigurationError(f"{option}: {component!r} is not {what} (a subclass of {base.__name__})")


def _as_job_store(store: BaseJobStore) -> JobStore:
    if isinstance(store, JobStore):
        return store
    from schedcore.jobstores.simple import SimpleStore

    return SimpleStore(store)


def _at_exit() -> None:
    """The program ends with schedulers running: stop firing, wait for the jobs that run, write what became of them."""
    schedulers = list(_running)
    for scheduler in schedulers:
        try:
            scheduler.shutdown(wait=False)
        except RuntimeError:
            # Its loop is gone, or no thread can be started any more.
            logging.getLogger("schedcore.scheduler").debug("closing in the main thread", exc_info=True)
            close(scheduler, False, None)
    for scheduler in schedulers:
        scheduler._wait_closed()


def _after_fork_in_child() -> None:
    for scheduler in list(_running):
        scheduler._after_fork_in_child()
    _running.clear()


def register_exit_hook() -> None:
    """Have the schedulers that run closed at the end of the program, before what is registered with ``atexit`` by now.

    For frameworks that let go of their own things there.
    """
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)


register_exit_hook()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

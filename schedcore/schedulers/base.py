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
import logging
import os
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from random import random
from typing import IO, Any, ClassVar, NamedTuple, TypeVar

from schedcore import config, plugins
from schedcore.clock import CORRECTION_US, Clock, Now, SystemClock, Timeline, to_datetime
from schedcore.engine import dispatch_us, first_fire
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    InvalidTriggerError,
    JobLookupError,
    SchedulerAlreadyRunningError,
    SchedulerNotRunningError,
    UsageError,
    did_you_mean,
)
from schedcore.events import (
    EVENT_ALL,
    EVENT_ALL_JOBS_REMOVED,
    EVENT_CLOCK_STEPPED,
    EVENT_EXECUTOR_ADDED,
    EVENT_EXECUTOR_REMOVED,
    EVENT_JOB_ADDED,
    EVENT_JOB_BROKEN,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_LOST,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    EVENT_JOB_MODIFIED,
    EVENT_JOB_REMOVED,
    EVENT_JOB_SKIPPED,
    EVENT_JOB_STARTED,
    EVENT_JOB_SUBMITTED,
    EVENT_JOBSTORE_ADDED,
    EVENT_JOBSTORE_FAILED,
    EVENT_JOBSTORE_RECOVERED,
    EVENT_JOBSTORE_REMOVED,
    EVENT_SCHEDULER_PAUSED,
    EVENT_SCHEDULER_RESUMED,
    EVENT_SCHEDULER_SHUTDOWN,
    EVENT_SCHEDULER_STARTED,
    EventBus,
    JobBrokenEvent,
    JobEvent,
    JobExecutionEvent,
    JobSkippedEvent,
    JobSubmissionEvent,
    Listener,
    SchedulerEvent,
    SchedulerFailureEvent,
)
from schedcore.executors.base import BaseExecutor, RunExecutor, failed
from schedcore.job import Job, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores.base import BaseJobStore, JobStore
from schedcore.run import Finish, Run, RunRecord, RunState, Skip, SkipReason, current_run
from schedcore.schedulers._calls import CallPool, call_pool
from schedcore.schedulers._definition import (
    UNSET,
    Unset,
    change_record,
    instant_of,
    make_record,
    make_trigger,
    policy_with,
    stable_id,
)
from schedcore.schedulers._pump import Pump, StoreHealth
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.wakeup import MAX_WAIT_S, MIN_GAP_S, Done, Wakeup

__all__ = ["STATE_PAUSED", "STATE_RUNNING", "STATE_STOPPED", "BaseScheduler"]

STATE_STOPPED = 0
STATE_RUNNING = 1
STATE_PAUSED = 2

F = TypeVar("F", bound=Callable[..., Any])

# Microseconds. Stands for "nothing is armed": later than every instant that datetime can express.
_NEVER_US = 1 << 62


class _Pending(NamedTuple):
    """A job that waits for its store to be opened."""

    job: JobRecord
    next_run: Any  #: UNSET, None or an instant in microseconds
    replace: bool


class BaseScheduler(ABC):
    """The whole API. See ``docs`` for a guide; a running scheduler accepts every call from any thread.

    ``gconfig``, ``options``: the configuration; the three ways of writing it are in ``schedcore.config``.
    """

    #: Options of the subclass, each with its conversion.
    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {"clock": config.as_is}
    #: Whether ``start`` itself opens the job stores, and raises what they raise. Not where it runs on somebody's event loop.
    _opens_stores_in_start: ClassVar[bool] = True
    #: Seconds. The longest single wait; longer only where steps of the clock are told without it (virtual time).
    _max_wait_s: ClassVar[float] = MAX_WAIT_S
    #: Seconds. The shortest time between two looks at what is due; none in virtual time, where nobody waits for it.
    _min_gap_s: ClassVar[float] = MIN_GAP_S
    #: Whether the end of the program closes it and waits for the jobs that run.
    _closed_at_exit: ClassVar[bool] = True
    #: Where jitter comes from: floats in [0, 1).
    _random: Callable[[], float] = staticmethod(random)

    def __init__(self, gconfig: Mapping[str, Any] | None = None, **options: Any) -> None:
        self._lock = threading.RLock()
        self._state = STATE_STOPPED
        self._dispatches = False
        self._executors: dict[str, BaseExecutor] = {}
        self._pumps: dict[str, Pump] = {}
        self._pending: dict[str, dict[str, _Pending]] = {}
        self._bus = EventBus(lambda: self._logger)
        self._teller: CallPool | None = None
        self._logger: Any = logging.getLogger("schedcore.scheduler")
        self._wakeup: Wakeup | None = None
        self._thread_id: int | None = None
        self._asked = False
        # When the next tick is armed for, on the wall clock and on the monotonic one.
        self._armed_us = _NEVER_US
        self._armed_s = 0.0
        self._last_tick_s = 0.0
        self._closed = threading.Event()
        self._closed.set()
        self._cut: list[Run] = []
        self._policies: dict[str, JobPolicy] = {}
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
            self._logger = settings.logger
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
            if self._state != STATE_STOPPED or not self._closed.is_set():
                raise SchedulerAlreadyRunningError()
            wakeup = self._create_wakeup()
            if "default" not in self._executors:
                self._executors["default"] = self._create_default_executor()
            if "default" not in self._pumps:
                from schedcore.jobstores.memory import MemoryJobStore

                self._pumps["default"] = Pump(self, "default", MemoryJobStore())
            for alias in self._pending:
                if alias not in self._pumps:
                    raise self._no_such_store(alias)
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
        try:
            for alias, executor in list(self._executors.items()):
                executor.start(self, alias)
                started.append(executor)
            for pump in list(self._pumps.values()):
                if self._opens_stores_in_start or not pump.store.traits.blocking:
                    pump.store.start(self, pump.alias)
                    opened.append(pump.store)
                    pump.opened = True
                    self._flush_pending(pump)
        except Exception:
            self._state = STATE_STOPPED
            for executor in started:
                executor.shutdown(True)
            for store in opened:
                store.shutdown()
            self._release_wakeup()
            self._wakeup = None
            self._closed.set()
            raise
        if self._closed_at_exit:
            _running.add(self)
        self._bus.use_helper(self._tell_later)
        self._logger.info("scheduler started")
        self._dispatches = not paused
        self._bus.publish(SchedulerEvent(EVENT_SCHEDULER_STARTED))
        for alias, pump in self._pumps.items():
            if pump.opened:
                self._report_added(alias, None)
        self._run()

    def _begin(self) -> None:
        """The first thing that runs in the scheduler's thread."""
        self._thread_id = threading.get_ident()
        if self._state != STATE_STOPPED:
            self._tick()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> Any:
        """Stop. When this has been called, nothing fires any more.

        ``wait=True`` returns when the runs that were submitted are over and everything is closed; ``wait=False``
        returns at once: runs that have not begun are taken back (a durable store submits them again at the next
        start), those that have go on, and what is open is closed behind them. ``timeout`` (s) bounds the wait: what
        is not over by then is cancelled where that is possible.

        May be called before start, twice, from a job, from a listener and from any thread; from inside a job it does not wait for
        itself. Returns the runs that were cut short. Schedulers on an event loop return an awaitable of them.
        """
        first = self._begin_shutdown()
        if first:
            if self._inside() or not wait:
                self._close_elsewhere(wait, timeout)
            else:
                self._close(wait, timeout)
        if wait and not self._inside():
            self._closed.wait(timeout)
            return list(self._cut)
        return []

    def _inside(self) -> bool:
        """Whether the calling thread is one that ``_close`` waits for."""
        if current_run.get() is not None or threading.get_ident() == self._thread_id:
            return True
        return threading.current_thread().name.startswith(f"{_TELLER}-{id(self):x}")

    def _begin_shutdown(self) -> bool:
        """Stop firing; True for the one caller that has to close."""
        with self._lock:
            if self._state == STATE_STOPPED:
                return False
            self._state = STATE_STOPPED
            self._dispatches = False
            return True

    def _close_elsewhere(self, wait: bool, timeout: float | None) -> None:
        threading.Thread(target=self._close, args=(wait, timeout), name="schedcore-closing").start()

    def _close(self, wait: bool, timeout: float | None) -> None:
        """The second half of stopping. Blocks; not in the scheduler's thread."""
        monotonic_s = self.clock.monotonic_s
        deadline_s = None if timeout is None else monotonic_s() + timeout

        def left() -> float | None:
            return None if deadline_s is None else max(0.0, deadline_s - monotonic_s())

        pumps = list(self._pumps.values())
        try:
            self._quiesce(pumps, left())
            for pump in pumps:
                self._take_back(pump.take_waiting())
            for executor in list(self._executors.values()):
                self._cut += self._stop_executor(executor, wait, left())
            if not wait:
                for executor in list(self._executors.values()):
                    self._cut += self._stop_executor(executor, True, left())
            self._quiesce(pumps, left())
            for pump in pumps:
                pump.closed = True
                self._close_store(pump)
        finally:
            self._logger.info("scheduler has been shut down")
            self._bus.use_helper(None)
            teller, self._teller = self._teller, None
            if teller is not None:
                teller.close()
                teller.join(5.0)
            self._bus.publish(SchedulerEvent(EVENT_SCHEDULER_SHUTDOWN))
            _running.discard(self)
            self._release_wakeup()
            self._wakeup = None
            self._thread_id = None
            self._closed.set()

    def _stop_executor(self, executor: BaseExecutor, wait: bool, timeout: float | None) -> list[Run]:
        try:
            if isinstance(executor, RunExecutor):
                return executor.shutdown(wait, timeout)
            executor.shutdown(wait)
        except Exception:
            self._logger.exception("executor %r failed to shut down", executor)
        return []

    def _close_store(self, pump: Pump) -> None:
        try:
            if pump.opened:
                pump.settle()
        except Exception as error:  # noqa: BLE001  # the other stores are closed all the same
            self._store_failed(pump.alias, error, None)
        try:
            if pump.opened:
                pump.store.shutdown()
        except Exception as error:  # noqa: BLE001  # the other stores are closed all the same
            self._store_failed(pump.alias, error, None)

    def _quiesce(self, pumps: list[Pump], timeout: float | None) -> None:
        """Wait until the scheduler's thread has done what was under way, and no cycle of a store is."""
        deadline_s = None if timeout is None else self.clock.monotonic_s() + timeout
        while True:
            passed = threading.Event()
            if not self._call_soon(passed.set):
                return
            while not passed.wait(1.0):
                if not self._is_loop_alive() or (deadline_s is not None and self.clock.monotonic_s() > deadline_s):
                    return
            if not any(pump.busy for pump in pumps):
                return
            if deadline_s is not None and self.clock.monotonic_s() > deadline_s:
                return
            threading.Event().wait(0.001)

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
        with self._lock:
            if self._state == STATE_STOPPED:
                raise SchedulerNotRunningError()
            if self._state == STATE_PAUSED:
                return
            self._state = STATE_PAUSED
            self._dispatches = False
        self._logger.info("scheduler paused")
        self._bus.publish(SchedulerEvent(EVENT_SCHEDULER_PAUSED))

    def resume(self) -> None:
        """Fire again; what fell due meanwhile is late, by the misfire rule. Raises ``SchedulerNotRunningError``."""
        with self._lock:
            if self._state == STATE_STOPPED:
                raise SchedulerNotRunningError()
            if self._state == STATE_RUNNING:
                return
            self._state = STATE_RUNNING
            self._dispatches = True
        self._logger.info("scheduler resumed")
        self._bus.publish(SchedulerEvent(EVENT_SCHEDULER_RESUMED))
        self.wakeup()

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
            made.start(self, alias)
        self._bus.publish(SchedulerEvent(EVENT_EXECUTOR_ADDED, alias))
        if running:
            self._mend(alias)

    def remove_executor(self, alias: str, shutdown: bool = True) -> None:
        """Remove an executor, and shut it down without waiting. Raises ``LookupError`` when there is none."""
        with self._lock:
            if alias not in self._executors:
                raise _lookup_error("executor", alias, self._executors)
            executor = self._executors.pop(alias)
        if shutdown:
            self._stop_executor(executor, False, None)
        self._bus.publish(SchedulerEvent(EVENT_EXECUTOR_REMOVED, alias))

    def add_jobstore(self, jobstore: BaseJobStore | str, alias: str = "default", **options: Any) -> None:
        """Add a job store: an instance, or a plug-in alias with its options. On a running scheduler it is opened at
        once, in this thread.

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
            pump.store.start(self, alias)
            pump.opened = True
            with self._lock:
                self._pumps = {**self._pumps, alias: pump}
                self._look_who_is_told()
        self._bus.publish(SchedulerEvent(EVENT_JOBSTORE_ADDED, alias))
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
        if shutdown and pump.opened:
            pump.store.shutdown()
        self._bus.publish(SchedulerEvent(EVENT_JOBSTORE_REMOVED, alias))

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
        self._bus.add(callback, mask)
        self._look_who_is_told()

    def remove_listener(self, callback: Listener) -> None:
        """Call it no more; one that is not known is passed over."""
        self._bus.remove(callback)
        self._look_who_is_told()

    def _look_who_is_told(self) -> None:
        durable = any(pump.store.traits.durable for pump in self._pumps.values())
        self._tells_start = durable or self._bus.wants(EVENT_JOB_STARTED)

    def _tell_later(self, deliver: Callable[[], None]) -> None:
        teller = self._teller
        if teller is None:
            with self._lock:
                teller = self._teller
                if teller is None:
                    teller = call_pool(1, f"{_TELLER}-{id(self):x}")
                    self._teller = teller
        try:
            teller.submit([deliver])
        except RuntimeError:
            # It was closed since: who closes it delivers what is left.
            pass

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
        ``max_catchup``, ``recovery``: see ``schedcore.job.JobPolicy``. What is left out comes from ``job_defaults``.

        Raises at once for what cannot work: ``JobArgumentsError``, ``InvalidTriggerError`` (also when the trigger never fires),
        ``ReferenceLookupError``, ``UnknownOptionError``, ``ConflictingIdError``, ``TransientJobError``, ``ConfigurationError``.
        """
        grid = make_trigger(trigger, trigger_args, self._timezone or self.timezone, self._timeline)
        now = self._timeline.now()
        policy = self._policies.get(executor)
        if policy is None:
            policy = policy_with(self._default_policy, {"executor": executor})
            self._policies[executor] = policy
        if (
            misfire_grace_time is not UNSET
            or coalesce is not UNSET
            or max_instances is not UNSET
            or max_catchup is not UNSET
            or recovery is not UNSET
        ):
            options = {
                "misfire_grace_time": misfire_grace_time,
                "coalesce": coalesce,
                "max_instances": max_instances,
                "max_catchup": max_catchup,
                "recovery": recovery,
            }
            policy = policy_with(policy, {key: value for key, value in options.items() if value is not UNSET})
        record = make_record(func, grid, args, kwargs, id, name, policy)
        next_run = next_run_time
        if isinstance(next_run_time, (datetime, str)):
            next_run = instant_of(next_run_time, self.timezone, "next_run_time")  # type: ignore[assignment]
        elif next_run_time is not None and next_run_time is not UNSET:
            raise ConfigurationError(f"next_run_time must be a datetime, ISO 8601 text or None, not {next_run_time!r}")
        if self._state == STATE_STOPPED:
            return self._add_pending(record, next_run, jobstore, replace_existing, given_id=id is not None)
        pump = self._pumps.get(jobstore)
        if pump is None:
            raise self._no_such_store(jobstore)
        if not pump.opened:
            return self._add_pending(record, next_run, jobstore, replace_existing, given_id=id is not None)
        if replace_existing:
            entry, code = self._store_job(pump, _Pending(record, next_run, True), now)
        else:
            entry, code = self._placed(record, next_run, now), EVENT_JOB_ADDED
            pump.store.add_entries((entry,))
        if self._bus.mask & code:
            self._bus.publish(JobEvent(code, entry.job.id, jobstore))
        due_us = entry.due_us
        if due_us is not None and (due_us < self._armed_us or grid.elapsed):
            self._touch(pump, due_us, grid)
        return Job(self, jobstore, entry)

    def _add_pending(self, record: JobRecord, next_run: Any, alias: str, replace: bool, *, given_id: bool) -> Job:
        if next_run is UNSET and first_fire(record.trigger, self._timeline.now().wall_us) is None:
            raise _never(record.trigger)
        with self._lock:
            jobs = self._pending.setdefault(alias, {})
            pump = self._pumps.get(alias)
            if not given_id and pump is not None and pump.store.traits.durable:
                # Start-up code runs at every start; under a random id each start would leave one more copy.
                record = record._replace(id=stable_id(record, jobs))
                replace = True
            if record.id in jobs and not replace:
                raise ConflictingIdError(record.id)
            jobs[record.id] = _Pending(record, next_run, replace)
        if self._state != STATE_STOPPED and pump is not None:
            pump.touched = True
            self._ask()
        return Job(self, alias, JobEntry(record, JobState.ACTIVE), pending=True)

    def _store_job(self, pump: Pump, pending: _Pending, now: Now) -> tuple[JobEntry, int]:
        """Put a job into an open store; returns what was stored and the code of the event that it makes."""
        job = pending.job
        if pending.replace:
            while True:
                old = pump.store.get_entry(job.id)
                if old is None:
                    break
                new = self._merged(old, pending, now)
                try:
                    if pump.store.replace_entry(old, new):
                        return new, EVENT_JOB_MODIFIED
                except JobLookupError:
                    break
        entry = self._placed(job, pending.next_run, now)
        pump.store.add_entries((entry,))
        return entry, EVENT_JOB_ADDED

    def _placed(self, job: JobRecord, next_run: Any, now: Now) -> JobEntry:
        """A job with its first fire time: as ``next_run`` says (an instant; None: paused), else (UNSET) as its trigger does."""
        if next_run is None:
            return JobEntry(job, JobState.PAUSED)
        trigger = job.trigger
        if next_run is not UNSET:
            if trigger.elapsed:
                # The user speaks of the wall clock; such a trigger is judged on the timeline that never goes back.
                next_run += now.steady_us - now.wall_us
            return JobEntry(job, JobState.ACTIVE, next_run, next_run)
        fire_us = first_fire(trigger, now.steady_us if trigger.elapsed else now.wall_us)
        if fire_us is None:
            raise _never(trigger)
        if trigger.jitter_us:
            return JobEntry(job, JobState.ACTIVE, fire_us, dispatch_us(trigger, fire_us, self._random))
        return JobEntry(job, JobState.ACTIVE, fire_us, fire_us)

    def _merged(self, old: JobEntry, pending: _Pending, now: Now) -> JobEntry:
        """A job registered again: with an unchanged trigger it keeps its place in the schedule."""
        if (
            pending.next_run is UNSET
            and old.job.trigger.same_rule(pending.job.trigger)
            and (old.fire_us is not None or old.state is JobState.PAUSED)
        ):
            job = pending.job._replace(trigger=old.job.trigger)
            if old.state is JobState.BROKEN:
                return JobEntry(job, JobState.ACTIVE, old.fire_us, old.fire_us)
            return JobEntry(job, old.state, old.fire_us, old.due_us)
        return self._placed(pending.job, pending.next_run, now)

    def _flush_pending(self, pump: Pump) -> list[JobEntry]:
        """Hand a store its pending jobs. In ``start``, or in a cycle. What one job raises stops the others only in ``start``."""
        if not self._pending.get(pump.alias):
            return []
        with self._lock:
            waiting = self._pending.pop(pump.alias, {})
        now = self._timeline.now()
        added: list[JobEntry] = []
        fresh: list[JobEntry] = []
        starting = not self._dispatches and self._thread_id is None and self._opens_stores_in_start
        try:
            for pending in waiting.values():
                try:
                    if pending.replace:
                        entry, code = self._store_job(pump, pending, now)
                        if code == EVENT_JOB_ADDED:
                            added.append(entry)
                    else:
                        fresh.append(self._placed(pending.job, pending.next_run, now))
                except InvalidTriggerError as error:
                    # It had a fire time when it was added, and has none now that it is started: its schedule is over.
                    self._logger.warning("job %r is dropped: %s", pending.job.id, error)
                except UsageError as error:
                    if starting:
                        raise
                    self._job_refused(pump.alias, pending.job.id, error)
            if fresh:
                try:
                    pump.store.add_entries(fresh)
                    added += fresh
                except UsageError:
                    if starting:
                        raise
                    added += self._add_one_by_one(pump, fresh)
        except Exception:
            with self._lock:
                self._pending[pump.alias] = {**waiting, **self._pending.get(pump.alias, {})}
            raise
        return added

    def _add_one_by_one(self, pump: Pump, entries: list[JobEntry]) -> list[JobEntry]:
        added: list[JobEntry] = []
        for entry in entries:
            try:
                pump.store.add_entries([entry])
                added.append(entry)
            except UsageError as error:
                self._job_refused(pump.alias, entry.job.id, error)
        return added

    def _job_refused(self, alias: str, job_id: str, error: UsageError) -> None:
        self._logger.error("job %r cannot be added to job store %r: %s", job_id, alias, error)
        self._bus.post(JobBrokenEvent(job_id, alias, str(error), error))

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
        try:
            return self._find(job_id, jobstore)[1]
        except JobLookupError:
            return None

    def get_jobs(self, jobstore: str | None = None, pending: bool | None = None) -> list[Job]:
        """All jobs, of one job store or all, by next run time, those without one last. ``pending``: only those that
        are, or are not.
        """
        jobs: list[Job] = []
        if pending is not False:
            with self._lock:
                jobs += [
                    Job(self, alias, JobEntry(item.job, JobState.ACTIVE), pending=True)
                    for alias, items in self._pending.items()
                    if jobstore in (None, alias)
                    for item in items.values()
                ]
        if pending is not True and self._state != STATE_STOPPED:
            entries = [
                (entry, alias)
                for alias, pump in list(self._pumps.items())
                if jobstore in (None, alias) and pump.opened
                for entry in pump.store.list_entries()
            ]
            entries.sort(key=lambda item: (item[0].due_us is None, item[0].due_us or 0, item[0].job.id))
            jobs += [Job(self, alias, entry) for entry, alias in entries]
        if jobstore is not None and jobstore not in self._pumps and jobstore not in self._pending:
            raise self._no_such_store(jobstore)
        return jobs

    def get_runs(
        self, job_id: str | None = None, jobstore: str | None = None, *, failed: bool = False, limit: int = 100
    ) -> list[RunRecord]:
        """Run records, latest fire time first: of one job or all, of one job store or all."""
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
        alias, job = self._find(job_id, jobstore)
        now = self._timeline.now()
        trigger = changes.pop("trigger", None)
        grid: EngineTrigger | None = None
        if trigger is not None:
            grid = make_trigger(trigger, {}, self.timezone, self._timeline)
        next_run = changes.pop("next_run_time", UNSET)
        if next_run is not UNSET and next_run is not None:
            next_run = instant_of(next_run, self.timezone, "next_run_time")

        def change(entry: JobEntry) -> JobEntry:
            record = change_record(entry.job, changes)
            if grid is not None:
                record = record._replace(trigger=grid)
            if next_run is UNSET and grid is None:
                return entry._replace(job=record)
            if next_run is UNSET and entry.state is JobState.PAUSED:
                return JobEntry(record, JobState.PAUSED)
            return self._placed(record, next_run, now)

        return self._change(alias, job, change)

    def reschedule_job(
        self,
        job_id: str,
        jobstore: str | None = None,
        trigger: BaseTrigger | str | None = None,
        **trigger_args: Any,
    ) -> Job:
        """Give a job another trigger and compute its next run time afresh; a paused job goes on."""
        alias, job = self._find(job_id, jobstore)
        grid = make_trigger(trigger, trigger_args, self.timezone, self._timeline)
        now = self._timeline.now()

        def change(entry: JobEntry) -> JobEntry:
            return self._placed(entry.job._replace(trigger=grid), UNSET, now)

        return self._change(alias, job, change)

    def pause_job(self, job_id: str, jobstore: str | None = None) -> Job:
        """Suspend a job's schedule until ``resume_job``."""
        return self.modify_job(job_id, jobstore, next_run_time=None)

    def resume_job(self, job_id: str, jobstore: str | None = None) -> Job | None:
        """Take a job's schedule up again from now; None, and the job is removed, when the schedule has ended meanwhile."""
        alias, job = self._find(job_id, jobstore)
        now = self._timeline.now()

        def change(entry: JobEntry) -> JobEntry:
            return self._placed(entry.job, UNSET, now)

        try:
            return self._change(alias, job, change)
        except InvalidTriggerError:
            self.remove_job(job_id, alias)
            return None

    def remove_job(self, job_id: str, jobstore: str | None = None) -> None:
        """Remove a job; its live runs go on. Raises ``JobLookupError``."""
        alias = self._remove(job_id, jobstore)
        if self._bus.wants(EVENT_JOB_REMOVED):
            self._bus.publish(JobEvent(EVENT_JOB_REMOVED, job_id, alias))

    def remove_all_jobs(self, jobstore: str | None = None) -> None:
        """Remove all jobs of one job store or all."""
        with self._lock:
            for alias in list(self._pending):
                if jobstore in (None, alias):
                    del self._pending[alias]
        if self._state != STATE_STOPPED:
            for alias, pump in list(self._pumps.items()):
                if jobstore in (None, alias) and pump.opened:
                    pump.store.remove_all_jobs()
        self._bus.publish(SchedulerEvent(EVENT_ALL_JOBS_REMOVED, jobstore))

    def print_jobs(self, jobstore: str | None = None, out: IO[str] | None = None) -> None:
        """Write a list of the jobs to ``out`` (standard output)."""
        stream = sys.stdout if out is None else out
        jobs = self.get_jobs(jobstore)
        aliases = sorted({*self._pumps, *self._pending}) if jobstore is None else [jobstore]
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

    def _remove(self, job_id: str, jobstore: str | None) -> str:
        """Remove a job where it is found first; returns the alias of that store."""
        if self._pending:
            for alias in list(self._pending):
                if jobstore in (None, alias) and self._drop_pending(alias, job_id):
                    return alias
        if jobstore is not None and jobstore not in self._pumps:
            raise self._no_such_store(jobstore)
        if self._state != STATE_STOPPED:
            for alias, pump in self._pumps.items():
                if jobstore in (None, alias) and pump.opened:
                    try:
                        pump.store.remove_job(job_id)
                    except JobLookupError:
                        continue
                    return alias
        raise JobLookupError(job_id)

    # -- finding and changing ---------------------------------------------------------------------------------------------

    def _find(self, job_id: str, jobstore: str | None) -> tuple[str, Job]:
        with self._lock:
            for alias, items in self._pending.items():
                if jobstore in (None, alias) and job_id in items:
                    entry = JobEntry(items[job_id].job, JobState.ACTIVE)
                    return alias, Job(self, alias, entry, pending=True)
            if jobstore is not None and jobstore not in self._pumps and jobstore not in self._pending:
                raise self._no_such_store(jobstore)
        if self._state != STATE_STOPPED:
            for alias, pump in list(self._pumps.items()):
                if jobstore in (None, alias) and pump.opened:
                    found = pump.store.get_entry(job_id)
                    if found is not None:
                        return alias, Job(self, alias, found)
        raise JobLookupError(job_id)

    def _change(self, alias: str, job: Job, change: Callable[[JobEntry], JobEntry]) -> Job:
        with self._lock:
            pending = self._pending.get(alias, {}).get(job.id)
            if pending is not None:
                entry = JobEntry(pending.job, JobState.ACTIVE)
                new = change(entry)
                next_run: Any = pending.next_run
                if new.state is JobState.PAUSED:
                    next_run = None
                elif new.due_us is not None:
                    # Computed now, it would be stale at start; only what the user named stays.
                    first_us = first_fire(new.job.trigger, self._timeline.now().wall_us)
                    next_run = UNSET if new.due_us == first_us else new.due_us
                self._pending[alias][job.id] = pending._replace(job=new.job, next_run=next_run)
                return Job(self, alias, JobEntry(new.job, JobState.ACTIVE), pending=True)
        pump = self._pumps[alias]
        while True:
            old = pump.store.get_entry(job.id)
            if old is None:
                raise JobLookupError(job.id)
            new = change(old)
            if pump.store.replace_entry(old, new):
                break
        if self._bus.wants(EVENT_JOB_MODIFIED):
            self._bus.publish(JobEvent(EVENT_JOB_MODIFIED, job.id, alias))
        if new.due_us is not None:
            self._touch(pump, new.due_us, new.job.trigger)
        return Job(self, alias, new)

    def _drop_pending(self, alias: str, job_id: str) -> bool:
        with self._lock:
            items = self._pending.get(alias)
            return items is not None and items.pop(job_id, None) is not None

    def _is_pending(self, alias: str, job_id: str) -> bool:
        return job_id in self._pending.get(alias, {})

    def _peek(self, alias: str, job_id: str) -> JobEntry | None:
        """The job as it is now, where looking costs no I/O; else None."""
        pump = self._pumps.get(alias)
        if pump is None or pump.store.traits.blocking or not pump.opened or self._state == STATE_STOPPED:
            return None
        return pump.store.get_entry(job_id)

    def _no_such_store(self, alias: str) -> KeyError:
        return _lookup_error("job store", alias, self._pumps)

    def _mend(self, executor: str) -> None:
        """Jobs that were set aside because this executor was missing go on where they stood."""
        for alias, pump in list(self._pumps.items()):
            if not pump.opened:
                continue
            for entry in pump.store.list_entries():
                if (
                    entry.state is JobState.BROKEN
                    and entry.job.policy.executor == executor
                    and entry.fire_us is not None
                    and entry.job.func is not None
                ):
                    new = JobEntry(entry.job, JobState.ACTIVE, entry.fire_us, entry.fire_us)
                    if pump.store.replace_entry(entry, new):
                        self._bus.post(JobEvent(EVENT_JOB_MODIFIED, entry.job.id, alias))
            pump.touched = True
        self._ask()

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
            pump.tick(now, mono_s)
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
        if more:
            delay_s = 0.0
        elif delay_s < self._min_gap_s:
            # What falls due within a millisecond of the last tick is dispatched together.
            delay_s = max(delay_s, min(self._min_gap_s, self._last_tick_s + self._min_gap_s - mono_s))
        self._armed_us = now.wall_us + int(delay_s * 1e6)
        self._armed_s = mono_s + delay_s
        wakeup.arm(delay_s, self._tick)

    def _clock_stepped(self, step_us: int) -> None:
        message = f"the clock was set {'forward' if step_us > 0 else 'back'} by {abs(step_us) / 1e6:.3f} s, or the machine slept"
        if step_us < 0:
            message = f"the clock was set back by {-step_us / 1e6:.3f} s"
        self._logger.warning("%s", message)
        self._bus.post(SchedulerFailureEvent(EVENT_CLOCK_STEPPED, None, message))
        if step_us <= -CORRECTION_US:
            for pump in self._pumps.values():
                pump.correct()

    def _touch(self, pump: Pump, due_us: int, trigger: EngineTrigger) -> None:
        """Something in this store is due at ``due_us`` now: wake up in time for it."""
        pump.touched = True
        if self._wakeup is None or self._asked:
            return
        ahead_us = 0
        if trigger.elapsed:
            now = self._timeline.now()
            ahead_us = now.steady_us - now.wall_us
        if due_us - ahead_us < self._armed_us:
            self._ask()

    def _ask(self) -> None:
        """Have the scheduler's thread look at things soon. From any thread."""
        if self._asked:
            return
        self._asked = True
        self._call_soon(self._soon)

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
            wakeup.arm(wait_s, self._tick)

    def _call_soon(self, callback: Callable[[], None]) -> bool:
        """Call in the scheduler's thread; False when that is gone."""
        wakeup = self._wakeup
        if wakeup is None:
            return False
        try:
            wakeup.call_soon(callback)
        except RuntimeError as error:
            self._logger.debug("the scheduler's loop is gone: %s", error)
            return False
        return True

    def _run_blocking(self, call: Callable[[], Any], done: Done) -> None:
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
        if self._bus.mask & EVENT_JOB_SUBMITTED:
            for run in runs:
                self._bus.post(
                    JobSubmissionEvent(EVENT_JOB_SUBMITTED, run.job.id, run.alias, [run.scheduled_at], [run.id])
                )
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
                self._logger.exception("executor %r refused %d runs", alias, len(batch))
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
        if self._bus.mask & EVENT_JOB_STARTED:
            self._bus.post(JobExecutionEvent(EVENT_JOB_STARTED, run.job.id, run.alias, run.scheduled_at, run_id=run.id))

    def run_finished(self, finish: Finish) -> None:
        """For executors: the run is over. From any thread."""
        pump = self._pumps.get(finish[0][1])
        if pump is None:
            return
        if finish.state is RunState.CANCELLED and finish.started_us is None and self._state == STATE_STOPPED:
            finish = finish._replace(state=RunState.SKIPPED, retval=SkipReason.SHUTDOWN)
        pump.finished.append(finish)
        if not self._asked:
            self._ask()

    def job_handle(self, run: Run) -> Job:
        """For executors of the 3.x kind: the handle on the job of a run."""
        return Job(self, run.alias, JobEntry(run.job, JobState.ACTIVE, run.fire_us, run.fire_us))

    def _report_ended(self, ended: list[Finish]) -> None:
        mask = self._bus.mask
        for run, state, started_us, finished_us, retval, exception, traceback in ended:
            if state is RunState.SUCCEEDED:
                if mask & EVENT_JOB_EXECUTED:
                    self._bus.post(
                        JobExecutionEvent(
                            EVENT_JOB_EXECUTED,
                            run.job.id,
                            run.alias,
                            run.scheduled_at,
                            retval,
                            run_id=run.id,
                            started_us=started_us,
                            finished_us=finished_us,
                        )
                    )
                continue
            if state is RunState.SKIPPED:
                if mask & EVENT_JOB_SKIPPED:
                    at = run.scheduled_at
                    self._bus.post(
                        JobSkippedEvent(EVENT_JOB_SKIPPED, run.job.id, run.alias, str(SkipReason.SHUTDOWN), at, at, 1)
                    )
                continue
            if state is RunState.FAILED:
                self._logger.error("job %r failed: %s", run.job.name, exception, extra={"run_id": run.id})
                if traceback:
                    self._logger.debug("%s", traceback)
            else:
                self._logger.warning("run %s was %s", run.id, state)
            if mask & EVENT_JOB_ERROR:
                self._bus.post(
                    JobExecutionEvent(
                        EVENT_JOB_ERROR,
                        run.job.id,
                        run.alias,
                        run.scheduled_at,
                        None,
                        exception,
                        traceback,
                        run_id=run.id,
                        started_us=started_us,
                        finished_us=finished_us,
                    )
                )

    def _report_skip(self, alias: str, job: JobRecord, skip: Skip) -> None:
        reason, first_us, last_us, times = skip
        zone = job.trigger.timezone
        first = to_datetime(first_us).astimezone(zone)
        last = to_datetime(last_us).astimezone(zone)
        if reason is SkipReason.MISFIRED:
            self._logger.warning("%d run(s) of job %r misfired, up to %s", times, job.name, last)
        elif reason is SkipReason.OVERLAP:
            self._logger.warning(
                "job %r is still running: %d run(s) skipped (max_instances=%d)",
                job.name,
                times,
                job.policy.max_instances,
            )
        else:
            self._logger.info("%d run(s) of job %r skipped up to %s: %s", times, job.name, last, reason)
        if reason is SkipReason.OVERLAP and self._bus.wants(EVENT_JOB_MAX_INSTANCES):
            self._bus.post(JobSubmissionEvent(EVENT_JOB_MAX_INSTANCES, job.id, alias, [last]))
        code = EVENT_JOB_MISSED if reason is SkipReason.MISFIRED else EVENT_JOB_SKIPPED
        if self._bus.wants(code):
            self._bus.post(JobSkippedEvent(code, job.id, alias, str(reason), first, last, times))

    def _report_broken(self, alias: str, job_id: str, reason: str, error: Exception | None) -> None:
        self._logger.error("job %r is set aside: %s", job_id, reason)
        if self._bus.wants(EVENT_JOB_BROKEN):
            self._bus.post(JobBrokenEvent(job_id, alias, reason, error))

    def _report_trigger_failure(self, alias: str, entry: JobEntry, error: Exception) -> None:
        self._report_broken(alias, entry.job.id, f"its trigger raised {type(error).__name__}: {error}", error)

    def _report_lost(self, alias: str, record: RunRecord) -> None:
        self._logger.warning("run %s was lost: %s", record.id, record.reason)
        if self._bus.wants(EVENT_JOB_LOST):
            event = JobExecutionEvent(
                EVENT_JOB_LOST, record.job_id, alias, to_datetime(record.fire_us), run_id=record.id
            )
            self._bus.post(event)

    def _report_removed(self, alias: str, job_id: str) -> None:
        if self._bus.wants(EVENT_JOB_REMOVED):
            self._bus.post(JobEvent(EVENT_JOB_REMOVED, job_id, alias))

    def _report_added(self, alias: str, entries: list[JobEntry] | None) -> None:
        if not self._bus.wants(EVENT_JOB_ADDED):
            return
        if entries is None:
            pump = self._pumps[alias]
            entries = pump.store.list_entries() if not pump.store.traits.durable else []
        for entry in entries:
            self._bus.post(JobEvent(EVENT_JOB_ADDED, entry.job.id, alias))

    def _store_failed(self, alias: str, error: Exception, retry_s: float | None) -> None:
        again = "" if retry_s is None else f"; next attempt in {retry_s:.1f} s"
        self._logger.error("job store %r failed: %s: %s%s", alias, type(error).__name__, error, again)
        if self._bus.wants(EVENT_JOBSTORE_FAILED):
            self._bus.post(SchedulerFailureEvent(EVENT_JOBSTORE_FAILED, alias, str(error), error))

    def _store_recovered(self, alias: str) -> None:
        self._logger.info("job store %r works again", alias)
        if self._bus.wants(EVENT_JOBSTORE_RECOVERED):
            self._bus.post(SchedulerFailureEvent(EVENT_JOBSTORE_RECOVERED, alias, "the job store works again"))

    def _known_runs(self, pump: Pump) -> list[Run]:
        """The live runs of a store that this scheduler has in hand."""
        runs = [run for waiting in pump._waiting.copy().values() for run in list(waiting)]
        for executor in list(self._executors.values()):
            if isinstance(executor, RunExecutor):
                runs += [run for run in executor.live_runs() if run.alias == pump.alias]
            else:
                runs += [run for items in executor._submitted.copy().values() for run in list(items)]
        runs += [finish.run for finish in [*pump.finished, *pump._unwritten]]
        return runs

    # -- forks -------------------------------------------------------------------------------------------------------------

    def _after_fork_in_child(self) -> None:
        """The child has none of our threads: its copy is stopped, and touches nothing that it shares with the parent."""
        self._lock = threading.RLock()
        self._state = STATE_STOPPED
        self._dispatches = False
        self._wakeup = None
        self._thread_id = None
        self._teller = None
        self._bus.use_helper(None)
        self._closed = threading.Event()
        self._closed.set()


_TELLER = "schedcore-events"

#: Schedulers that are running, for the exit and fork hooks.
_running: weakref.WeakSet[BaseScheduler] = weakref.WeakSet()


def _never(trigger: EngineTrigger) -> InvalidTriggerError:
    return InvalidTriggerError(f"this trigger never fires: {trigger}; check its dates and fields, and its end_date")


def _lookup_error(what: str, alias: str, known: Iterable[str]) -> KeyError:
    return _LookupError(f"no {what} has the alias {alias!r}{did_you_mean(alias, known)}")


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
            # Its loop is gone, or no thread can be started any more: there is nothing left to close it with.
            logging.getLogger("schedcore.scheduler").debug("cannot close at exit", exc_info=True)
    for scheduler in schedulers:
        scheduler._closed.wait()


def _after_fork_in_child() -> None:
    for scheduler in list(_running):
        scheduler._after_fork_in_child()
    _running.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

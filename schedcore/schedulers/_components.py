"""Executors and job stores: made from the configuration, added to a scheduler and removed from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from threading import get_ident
from typing import TYPE_CHECKING, Any

from schedcore import config, plugins
from schedcore.errors import ConfigurationError, UnknownAliasError, did_you_mean
from schedcore.events import (
    EVENT_EXECUTOR_ADDED,
    EVENT_EXECUTOR_REMOVED,
    EVENT_JOBSTORE_ADDED,
    EVENT_JOBSTORE_REMOVED,
    SchedulerEvent,
)
from schedcore.executors.base import BaseExecutor
from schedcore.jobstores.base import BaseJobStore, JobStore
from schedcore.schedulers._closing import stop_executor
from schedcore.schedulers._derived import as_job_store, check_executor
from schedcore.schedulers._pump import Pump
from schedcore.schedulers._runs import live_runs

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = [
    "add_executor",
    "add_jobstore",
    "make_executors",
    "make_stores",
    "no_such_alias",
    "remove_executor",
    "remove_jobstore",
]


# Seconds for a cycle of a job store that is removed meanwhile: its server may have gone.
_QUIESCE_S = 30.0


def make_executors(specs: Mapping[str, Any]) -> dict[str, BaseExecutor]:
    """The executors of a configuration, by alias. Raises ``ConfigurationError``."""
    executors = {alias: config.build(spec, plugins.EXECUTORS) for alias, spec in specs.items()}
    for alias, executor in executors.items():
        _check(executor, BaseExecutor, f"executors.{alias}", "an executor")
        check_executor(executor)
    return executors


def make_stores(specs: Mapping[str, Any]) -> dict[str, JobStore]:
    """The job stores of a configuration, by alias. Raises ``ConfigurationError``."""
    stores = {alias: config.build(spec, plugins.JOBSTORES) for alias, spec in specs.items()}
    for alias, store in stores.items():
        _check(store, BaseJobStore, f"jobstores.{alias}", "a job store")
    return {alias: as_job_store(store) for alias, store in stores.items()}


def add_executor(
    scheduler: BaseScheduler, executor: BaseExecutor | str, alias: str, options: Mapping[str, Any]
) -> None:
    _check_alias(alias)
    made = _make(executor, options, "executors", alias, plugins.EXECUTORS)
    _check(made, BaseExecutor, f"executors.{alias}", "an executor")
    check_executor(made)
    with scheduler._openings.one():
        with scheduler._lock:
            if alias in scheduler._executors:
                raise ConfigurationError(f"an executor with the alias {alias!r} exists already; remove it first")
            scheduler._executors[alias] = made
            running = scheduler.running
        if running:
            with ExitStack() as undo:
                undo.callback(scheduler._executors.pop, alias)
                made.start(scheduler, alias)
                undo.pop_all()
    scheduler._reports.bus.publish(SchedulerEvent(EVENT_EXECUTOR_ADDED, alias))
    if running:
        scheduler._jobs.mend(alias)


def remove_executor(scheduler: BaseScheduler, alias: str, shutdown: bool) -> None:
    with scheduler._lock:
        if alias not in scheduler._executors:
            raise no_such_alias("executor", alias, scheduler._executors)
        executor = scheduler._executors.pop(alias)
        if shutdown and scheduler.running:
            scheduler._retired = [one for one in scheduler._retired if live_runs(one)] + [executor]
    if shutdown:
        stop_executor(scheduler, executor, False, None)
    scheduler._reports.bus.publish(SchedulerEvent(EVENT_EXECUTOR_REMOVED, alias))


def add_jobstore(
    scheduler: BaseScheduler, jobstore: BaseJobStore | str, alias: str, options: Mapping[str, Any]
) -> None:
    _check_alias(alias)
    made = _make(jobstore, options, "jobstores", alias, plugins.JOBSTORES)
    _check(made, BaseJobStore, f"jobstores.{alias}", "a job store")
    pump = Pump(scheduler, alias, scheduler._placed(as_job_store(made)))
    with scheduler._openings.one():
        with scheduler._lock:
            if alias in scheduler._pumps:
                raise ConfigurationError(f"a job store with the alias {alias!r} exists already; remove it first")
            running = scheduler.running
            if not running:
                # Others may be going through them.
                scheduler._pumps = {**scheduler._pumps, alias: pump}
        if running:
            if scheduler._may_open_here(pump.store):
                pump.store.start(scheduler, alias)
                pump.opened = True
            with scheduler._lock:
                scheduler._pumps = {**scheduler._pumps, alias: pump}
                scheduler._look_who_is_told()
    scheduler._reports.bus.publish(SchedulerEvent(EVENT_JOBSTORE_ADDED, alias))
    if running:
        scheduler._check_loop()
        scheduler._ask()


def remove_jobstore(scheduler: BaseScheduler, alias: str, shutdown: bool) -> None:
    with scheduler._lock:
        if alias not in scheduler._pumps:
            raise no_such_alias("job store", alias, scheduler._pumps)
        pumps = dict(scheduler._pumps)
        pump = pumps.pop(alias)
        scheduler._pumps = pumps
    pump.closed = True
    scheduler._runs.removed[alias] = pump
    scheduler._runs.take_back(pump.handover.take_waiting())

    def shut() -> None:
        if pump.busy and get_ident() != scheduler._thread_id:
            # A cycle that is under way ends first: with what it has in hand, outcomes would be lost.
            scheduler._quiesce([pump], _QUIESCE_S)
        if not pump.busy:
            pump.settle()
        if shutdown:
            pump.store.shutdown()

    if pump.opened:
        if pump.store.traits.blocking:
            scheduler._shut_store(pump.alias, shut)
        else:
            shut()
    scheduler._reports.bus.publish(SchedulerEvent(EVENT_JOBSTORE_REMOVED, alias))


def _make(component: Any, options: Mapping[str, Any], section: str, alias: str, group: str) -> Any:
    option = f"{section}.{alias}"
    if isinstance(component, str):
        return config.build(config.component({"type": component, **options}, option), group)
    if options:
        names = ", ".join(options)
        raise ConfigurationError(f"{option}: options ({names}) go with a plug-in alias, not with an instance")
    return component


def _check(component: object, base: type, option: str, what: str) -> None:
    if not isinstance(component, base):
        raise ConfigurationError(f"{option}: {component!r} is not {what} (a subclass of {base.__name__})")


def _check_alias(alias: object) -> None:
    if not isinstance(alias, str) or not alias:
        raise ConfigurationError(f"alias must be a text of at least one character, not {alias!r}")


def no_such_alias(what: str, alias: str, known: Iterable[str]) -> KeyError:
    """What is raised where no executor or job store has an alias."""
    return UnknownAliasError(f"no {what} has the alias {alias!r}{did_you_mean(str(alias), known)}")

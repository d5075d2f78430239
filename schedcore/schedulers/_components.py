"""Executors and job stores: made from the configuration, added to a scheduler and removed from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
from schedcore.schedulers._closing import close_stores, stop_executor, stop_executors
from schedcore.schedulers._derived import as_job_store, check_executor
from schedcore.schedulers._pump import Pump
from schedcore.schedulers._runs import live_runs

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = [
    "add_executor",
    "add_jobstore",
    "begin",
    "check_alias",
    "make_executors",
    "make_stores",
    "no_such_alias",
    "remove_executor",
    "remove_jobstore",
]


# Seconds for a cycle of a job store that is removed meanwhile: its server may have gone.
_QUIESCE_S = 30.0

# What is added.
_EXECUTOR = "an executor"
_STORE = "a job store"


def make_executors(specs: Mapping[str, Any]) -> dict[str, BaseExecutor]:
    """The executors of a configuration, by alias. Raises ``ConfigurationError``."""
    executors = {alias: config.build(spec, plugins.EXECUTORS) for alias, spec in specs.items()}
    for alias, executor in executors.items():
        _check(executor, BaseExecutor, f"executors.{alias}", _EXECUTOR)
        check_executor(executor)
    return executors


def make_stores(specs: Mapping[str, Any]) -> dict[str, JobStore]:
    """The job stores of a configuration, by alias. Raises ``ConfigurationError``."""
    stores = {alias: config.build(spec, plugins.JOBSTORES) for alias, spec in specs.items()}
    for alias, store in stores.items():
        _check(store, BaseJobStore, f"jobstores.{alias}", _STORE)
    return {alias: as_job_store(store) for alias, store in stores.items()}


def add_executor(
    scheduler: BaseScheduler, executor: BaseExecutor | str, alias: str, options: Mapping[str, Any]
) -> None:
    check_alias("alias", alias)
    made = _make(executor, options, "executors", alias, plugins.EXECUTORS)
    _check(made, BaseExecutor, f"executors.{alias}", _EXECUTOR)
    check_executor(made)
    started: list[BaseExecutor] = []
    with scheduler._openings.one(), _reserved(scheduler, _EXECUTOR, alias), ExitStack() as undo:
        undo.callback(stop_executors, scheduler, started)
        undo.callback(scheduler._executors.pop, alias, None)
        with scheduler._lock:
            running = scheduler.running
            if not running:
                scheduler._executors[alias] = made
        if running:
            begin(made, scheduler, alias, started)
            # Not before: it would refuse runs.
            scheduler._executors[alias] = made
        undo.pop_all()
    scheduler._reports.bus.publish(SchedulerEvent(EVENT_EXECUTOR_ADDED, alias))
    if running:
        scheduler._jobs.mend(alias)


@contextmanager
def _reserved(scheduler: BaseScheduler, what: str, alias: str) -> Iterator[None]:
    """Keep others from adding one under the same alias meanwhile. ``ConfigurationError`` where there is one, or is to be."""
    added, mine = scheduler._openings.added, (what, alias)
    with ExitStack() as undo:
        with scheduler._lock:
            if mine in added or alias in (scheduler._executors if what == _EXECUTOR else scheduler._pumps):
                raise ConfigurationError(f"{what} with the alias {alias!r} exists already; remove it first")
            undo.callback(added.discard, mine)
            added.add(mine)
        yield


def _take_out(scheduler: BaseScheduler, alias: str) -> Pump | None:
    """Forget a job store, and give its pump. Others may be going through them."""
    with scheduler._lock:
        pumps = dict(scheduler._pumps)
        pump = pumps.pop(alias, None)
        scheduler._pumps = pumps
        return pump


def begin(one: BaseExecutor | JobStore, scheduler: BaseScheduler, alias: str, begun: list[Any]) -> None:
    """Start an executor or a job store. It is the last of ``begun`` but where its start raised: Ctrl-C may come when it is
    started already, or half.
    """
    begun.append(one)
    try:
        one.start(scheduler, alias)
    except Exception:
        begun.pop()
        raise


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
    check_alias("alias", alias)
    made = _make(jobstore, options, "jobstores", alias, plugins.JOBSTORES)
    _check(made, BaseJobStore, f"jobstores.{alias}", _STORE)
    pump = Pump(scheduler, alias, scheduler._placed(as_job_store(made)))
    opened: list[JobStore] = []
    with scheduler._openings.one(), _reserved(scheduler, _STORE, alias), ExitStack() as undo:
        undo.callback(close_stores, scheduler, opened)
        undo.callback(_take_out, scheduler, alias)
        with scheduler._lock:
            running = scheduler.running
            if not running:
                # Others may be going through them.
                scheduler._pumps = {**scheduler._pumps, alias: pump}
        if running:
            if scheduler._may_open_here(pump.store):
                begin(pump.store, scheduler, alias, opened)
                pump.opened = True
            with scheduler._lock:
                scheduler._pumps = {**scheduler._pumps, alias: pump}
                scheduler._look_who_is_told()
        undo.pop_all()
    scheduler._reports.bus.publish(SchedulerEvent(EVENT_JOBSTORE_ADDED, alias))
    if running:
        scheduler._check_loop()
        scheduler._ask()


def remove_jobstore(scheduler: BaseScheduler, alias: str, shutdown: bool) -> None:
    pump = _take_out(scheduler, alias)
    if pump is None:
        raise no_such_alias("job store", alias, scheduler._pumps)
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
        # In full: one of APScheduler's is a subclass of a class of that name, too.
        raise ConfigurationError(
            f"{option}: {component!r} is not {what} (a subclass of {base.__module__}.{base.__name__})"
        )


def check_alias(argument: str, alias: object) -> None:
    """Raise ``ConfigurationError`` for what cannot be an alias, with the name of the argument that it was given as."""
    if not isinstance(alias, str) or not alias:
        raise ConfigurationError(f"{argument} must be a text of at least one character, not {alias!r}")


def no_such_alias(what: str, alias: str, known: Iterable[str], who: str = "") -> KeyError:
    """What is raised where no executor or job store has an alias; ``who`` says at last where it comes from."""
    return UnknownAliasError(f"no {what} has the alias {alias!r}{did_you_mean(str(alias), known)}{who}")

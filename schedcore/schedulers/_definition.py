"""Turns what a caller says of a job into its definition, and checks it: at once, and before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import datetime, tzinfo
from enum import Enum
from functools import lru_cache
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from schedcore import plugins
from schedcore.clock import Timeline, from_datetime
from schedcore.errors import (
    ConfigurationError,
    InvalidTriggerError,
    JobArgumentsError,
    UnknownOptionError,
    did_you_mean,
)
from schedcore.job import NO_KWARGS, JobPolicy, JobRecord
from schedcore.references import callable_name, resolve
from schedcore.signatures import check_arguments
from schedcore.triggers.base import BaseTrigger, EngineTrigger, names_zone
from schedcore.triggers.foreign import as_grid

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = [
    "CHANGES",
    "UNSET",
    "Batch",
    "Definitions",
    "Options",
    "NextRun",
    "Unset",
    "change_record",
    "check_changes",
    "instant_of",
    "make_record",
    "make_trigger",
    "policy_with",
    "seeded",
    "stable_id",
]


# Seconds. Longer than all the time that datetime can express.
_LONGEST_GRACE_S = 1e12


class Unset(Enum):
    """The default of an argument that was left out, where None means something."""

    UNSET = "unset"

    # It is looked up five times for each job that is added, and an Enum's own is a Python function.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return "<unset>"


UNSET: Final = Unset.UNSET
#: Where a job is placed in its schedule: at an instant in microseconds, nowhere as it is paused (None), or as its trigger says.
NextRun = int | Unset | None

#: What ``modify_job`` can change.
CHANGES = (
    "args",
    "coalesce",
    "executor",
    "func",
    "kwargs",
    "max_catchup",
    "max_instances",
    "misfire_grace_time",
    "name",
    "next_run_time",
    "recovery",
    "trigger",
)

# The options of ``add_job`` that go into a job's policy, and their values where none is given.
_OPTIONS = ("misfire_grace_time", "coalesce", "max_instances", "max_catchup", "recovery")
Options = tuple[float | Unset | None, bool | Unset, int | Unset, int | Unset, str | Unset]
_NO_OPTIONS: Options = (UNSET, UNSET, UNSET, UNSET, UNSET)

# The types of options by which a trigger is shared.
_SHARED_VALUES = frozenset({int, str})
# Classes with an alias that answer in closed form: to ask the abstract class about each trigger takes longer.
_grids: set[type] = set()

_new = tuple.__new__
_new_id: Callable[[], str] = lambda: os.urandom(16).hex()  # noqa: E731


class Definitions:
    """Makes the definitions of a scheduler's jobs, with its time zone, its clock and its job defaults."""

    def __init__(self, scheduler: BaseScheduler, job_defaults: Mapping[str, Any]) -> None:
        self._scheduler = scheduler
        self.default_policy = policy_with(JobPolicy(), job_defaults)
        # By executor: those of jobs that have no options of their own.
        self._policies: dict[str, JobPolicy] = {}

    def define(
        self,
        func: Callable[..., Any] | str,
        grid: EngineTrigger,
        args: Iterable[Any] | None,
        kwargs: Mapping[str, Any] | None,
        id: str | None,
        name: str | None,
        options: Options,
        jobstore: str,
        executor: str,
    ) -> JobRecord:
        """The job of which the arguments of ``add_job`` speak. Raises what that does."""
        policy = self.policy_of(executor)
        if options != _NO_OPTIONS:
            try:
                policy = _policy(policy, *options)
            except TypeError:  # a list, or what else has no hash: it is told by name
                policy = _policy.__wrapped__(policy, *options)
        if not isinstance(jobstore, str):
            raise ConfigurationError(f"jobstore must be the alias of a job store (text), not {jobstore!r}")
        return make_record(func, grid, args, kwargs, id, name, policy)

    def policy_of(self, executor: str) -> JobPolicy:
        """That of jobs on this executor that have no options of their own. An alias that no executor has is logged when it is
        named first; before the start, there. Raises ``ConfigurationError``.
        """
        policy = self._policies.get(executor) if isinstance(executor, str) else None
        if policy is None:
            policy = policy_with(self.default_policy, {"executor": executor})
            self._policies[executor] = policy
            if self._scheduler.running:
                self.tell_missing(executor)
        return policy

    def tell_missing(self, *executors: str) -> None:
        """Log which of these executors, or of those that jobs have named so far, there are not. One that is misspelt would
        otherwise be found out when the job is due, which may be in a month; one may be added later, though.
        """
        present = self._scheduler._executors
        for alias in executors or list(self._policies):
            if alias not in present:
                self._scheduler._reports.logger.warning(
                    "no executor has the alias %r%s (jobs that name it are set aside when they are due, until there is one)",
                    alias,
                    did_you_mean(alias, present),
                )

    def next_run(self, next_run_time: datetime | str | Unset | None) -> NextRun:
        """The next run that ``add_job`` is given: UNSET, None or an instant. Raises what that does."""
        if next_run_time is UNSET or next_run_time is None:
            return next_run_time
        if isinstance(next_run_time, (datetime, str)):
            return instant_of(next_run_time, self._scheduler.timezone, "next_run_time")
        raise ConfigurationError(f"next_run_time must be a datetime, ISO 8601 text or None, not {next_run_time!r}")


class Batch:
    """Defines jobs that are added together. Triggers of theirs that are said in the same words are one, so that it is made, and
    stored, once; and one time at which several of them are to run is read once.
    """

    def __init__(self, scheduler: BaseScheduler) -> None:
        self._scheduler = scheduler
        self._definitions = scheduler._definitions
        self._next_run_time: datetime | str | Unset | None = UNSET
        self._next_run: NextRun = UNSET
        self._triggers: dict[tuple[Any, ...], EngineTrigger] = {}

    def define(
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
    ) -> tuple[JobRecord, NextRun, str]:
        """``Definitions.define`` with the names and defaults of ``add_job``; and the job store."""
        if replace_existing:
            raise ConfigurationError("replace_existing: add_jobs only adds; add_job updates a job that is there")
        grid = self._make_trigger(trigger, trigger_args)
        options = (misfire_grace_time, coalesce, max_instances, max_catchup, recovery)
        record = self._definitions.define(func, grid, args, kwargs, id, name, options, jobstore, executor)
        if next_run_time is not self._next_run_time:
            self._next_run = self._definitions.next_run(next_run_time)
            self._next_run_time = next_run_time
        return record, self._next_run, jobstore

    def _make_trigger(self, trigger: BaseTrigger | str | None, trigger_args: dict[str, Any]) -> EngineTrigger:
        # See ``_find_shared``; here also one that begins now.
        key: tuple[Any, ...] | None = None
        if type(trigger) is str and _SHARED_VALUES.issuperset(map(type, trigger_args.values())):
            key = trigger, *trigger_args.items()
            known = self._triggers.get(key)
            if known is not None:
                return known
        scheduler = self._scheduler
        grid = make_trigger(trigger, trigger_args, scheduler._timezone or scheduler.timezone, scheduler._timeline)
        if key is not None and grid.plain:
            self._triggers[key] = grid
        return grid


def make_trigger(
    trigger: BaseTrigger | str | None, trigger_args: dict[str, Any], timezone: tzinfo, timeline: Timeline
) -> EngineTrigger:
    """A trigger from an instance, an alias with its arguments, or None (once, now), bound to now where it left its start out."""
    named = trigger
    if trigger is None:
        trigger = "date"
    if isinstance(trigger, str):
        shared = _find_shared(trigger, trigger_args, timezone)
        if shared is not None:
            return _anchored(shared, timeline)
        cls = plugins.load(plugins.TRIGGERS, trigger)
        if not names_zone(cls, trigger_args):
            trigger_args["timezone"] = timezone
        try:
            made = cls(**trigger_args)
        except TypeError as error:
            raise _bad_trigger_args(named, trigger, cls, trigger_args, error) from error
        kind = type(made)
        if kind not in _grids:
            made = as_grid(made)
            if type(made) is kind:
                _grids.add(kind)
        # Made this instant, it is bound to the system's now already.
        return made if timeline.is_system else _anchored(made, timeline)
    if trigger_args:
        names = ", ".join(repr(name) for name in trigger_args)
        what = "a class" if isinstance(trigger, type) else "an instance already"
        raise InvalidTriggerError(
            f"{names}: arguments for a trigger go with its alias; this trigger is {what} ({trigger!r})"
        )
    if isinstance(trigger, type) or not callable(getattr(trigger, "get_next_fire_time", None)):
        raise InvalidTriggerError(
            f"trigger must be an alias such as 'interval', a trigger instance or None, not {trigger!r}"
        )
    return _anchored(as_grid(trigger), timeline)


def _find_shared(alias: str, options: Mapping[str, Any], timezone: tzinfo) -> EngineTrigger | None:
    """The trigger that these options make, one for all jobs that have it, as a trigger is a value; None if it must be made.

    A cron expression takes 5 us to read, and thousands of jobs share a handful of schedules. Only for numbers and text: other
    values may be equal and not the same, as local times are that occur twice.
    """
    for value in options.values():
        if type(value) not in _SHARED_VALUES:
            return None
    try:
        return _shared_trigger(alias, timezone, tuple(options.items()))
    except TypeError:  # what is wrong is told where it is made
        return None


@lru_cache(maxsize=256)
def _shared_trigger(alias: str, timezone: tzinfo, options: tuple[tuple[str, int | str], ...]) -> EngineTrigger | None:
    cls = plugins.load(plugins.TRIGGERS, alias)
    if not getattr(cls, "plain", False):  # somebody else's
        return None
    return as_grid(cls(**{"timezone": timezone, **dict(options)}))


def _anchored(trigger: EngineTrigger, timeline: Timeline) -> EngineTrigger:
    wall_us = timeline.clock.wall_us()
    return trigger.anchored(wall_us + timeline.ahead_us if trigger.elapsed else wall_us)


def _bad_trigger_args(named: Any, alias: str, cls: type, given: dict[str, Any], error: TypeError) -> Exception:
    from difflib import get_close_matches
    from inspect import Parameter, signature

    known = [name for name, one in signature(cls).parameters.items() if one.kind is not Parameter.VAR_KEYWORD]
    for name in given:
        if name not in known:
            if name == "timezone":
                continue
            # What is no argument of the call is taken for one of the trigger's.
            near = get_close_matches(name, [*known, *signature(Batch.define).parameters], n=1)
            if named is None:
                fits = _trigger_with(name)
                if fits is not None or not near:
                    unknown = UnknownOptionError(name, (), f"{alias} trigger")
                    unknown.args = (
                        f"{unknown}; no trigger is named: name one, such as trigger={fits or 'interval'!r}",
                    )
                    return unknown
            return UnknownOptionError(name, near or known, f"{alias} trigger")
    return InvalidTriggerError(f"{alias} trigger: {error}")


def _trigger_with(option: str) -> str | None:
    """The alias of a trigger that has an option."""
    from inspect import signature

    for alias in ("interval", "cron", "calendarinterval"):
        if option in signature(plugins.load(plugins.TRIGGERS, alias)).parameters:
            return alias
    return None


@lru_cache(maxsize=256, typed=True)
def _policy(policy: JobPolicy, *options: Any) -> JobPolicy:
    """``policy`` with the options of a job. Thousands of jobs have the same; ``typed``, because True is no 1."""
    named = zip(_OPTIONS, options, strict=True)
    return policy_with(policy, {name: value for name, value in named if value is not UNSET})


def policy_with(policy: JobPolicy, changes: Mapping[str, Any]) -> JobPolicy:
    """``policy`` with job options replaced. Raises ``ConfigurationError`` naming the option that is wrong."""
    fields: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "misfire_grace_time":
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value <= _LONGEST_GRACE_S):
                raise ConfigurationError(
                    f"misfire_grace_time must be a positive number of seconds, or None for no limit, not {value!r}"
                )
            fields["misfire_grace_us"] = None if value is None else max(1, round(value * 1_000_000))
        elif name in ("max_instances", "max_catchup"):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name} must be a whole number from 1 up, not {value!r}")
            fields[name] = value
        elif name == "coalesce":
            if not isinstance(value, bool):
                raise ConfigurationError(f"coalesce must be True or False, not {value!r}")
            fields[name] = value
        elif name == "recovery":
            if value not in ("rerun", "lost"):
                raise ConfigurationError(f"recovery must be 'rerun' or 'lost', not {value!r}")
            fields[name] = value
        elif name == "executor":
            if not isinstance(value, str):
                raise ConfigurationError(f"executor must be the alias of an executor (text), not {value!r}")
            fields[name] = value
    return policy._replace(**fields).intern() if fields else policy


def _check_args(args: Iterable[Any] | None) -> tuple[Any, ...]:
    if args is None:
        return ()
    if isinstance(args, (Mapping, Set)):
        what = "arguments by name go into kwargs" if isinstance(args, Mapping) else "a set has no order"
        raise JobArgumentsError(f"args must be a list or another iterable of arguments, not {args!r}; {what}")
    if isinstance(args, (str, bytes)) or not isinstance(args, Iterable):
        raise JobArgumentsError(f"args must be a list or another iterable of arguments, not {args!r}")
    return tuple(args)


def _check_kwargs(kwargs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not kwargs:
        if kwargs is None or isinstance(kwargs, Mapping):
            return NO_KWARGS
    elif isinstance(kwargs, Mapping):
        return dict(kwargs)
    raise JobArgumentsError(f"kwargs must be a dict or another mapping, not {kwargs!r}")


def _check_func(func: Callable[..., Any] | str) -> tuple[Callable[..., Any], str | None]:
    if isinstance(func, str):
        found = resolve(func)
        if not callable(found):
            raise JobArgumentsError(f"func: {func!r} leads to {found!r}, which cannot be called")
        return found, func
    if not callable(func):
        raise JobArgumentsError(
            f'func must be a callable or text such as "package.module:name", not {func!r}; '
            "give the function itself, without calling it"
        )
    return func, None


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise JobArgumentsError(f"{name} must be a text of at least one character, not {value!r}")
    return value


def make_record(
    func: Callable[..., Any] | str,
    trigger: EngineTrigger,
    args: Iterable[Any] | None,
    kwargs: Mapping[str, Any] | None,
    id: str | None,
    name: str | None,
    policy: JobPolicy,
) -> JobRecord:
    """A job's definition. Raises the usage errors of its parts; an ``id`` that was left out is a random one of 32 hex digits."""
    # Checks are made here, and called only for what is not as usual: jobs are added by the thousand.
    target: Callable[..., Any]
    ref: str | None
    if type(func) is FunctionType:
        target, ref, called = func, None, func.__qualname__
    else:
        target, ref = _check_func(func)
        called = callable_name(target)
    positional = () if args is None else _check_args(args)
    keywords = NO_KWARGS if kwargs is None else _check_kwargs(kwargs)
    check_arguments(target, positional, keywords)
    # A named tuple's own constructor is a Python function, and a call more.
    return _new(
        JobRecord,
        (
            _new_id() if id is None else id if type(id) is str and id else _check_text("id", id),
            called if name is None else _check_text("name", name),
            target,
            ref,
            positional,
            keywords,
            trigger,
            policy,
        ),
    )


def stable_id(job: JobRecord) -> str:
    """An id that is the same at every start: the function, and a digest of its arguments and trigger."""
    from hashlib import sha256

    what = repr((job.args, sorted(job.kwargs.items()), job.trigger.describe()))
    return f"{job.name}-{sha256(what.encode('utf-8', 'backslashreplace')).hexdigest()[:12]}"


def seeded(job: JobRecord) -> JobRecord:
    """``job`` with what its trigger draws from the job's id bound to it, once that is settled."""
    trigger = job.trigger.seeded(job.id)
    return job if trigger is job.trigger else job._replace(trigger=trigger)


def change_record(job: JobRecord, changes: Mapping[str, Any]) -> JobRecord:
    """``job`` with ``changes`` (names of ``CHANGES`` but for trigger and next_run_time), checked as when it was added."""
    fields: dict[str, Any] = {}
    if "func" in changes:
        fields["func"], fields["func_ref"] = _check_func(changes["func"])
    if "args" in changes:
        fields["args"] = _check_args(changes["args"])
    if "kwargs" in changes:
        fields["kwargs"] = _check_kwargs(changes["kwargs"])
    if "name" in changes:
        fields["name"] = _check_text("name", changes["name"])
    check_changes(changes)
    policy = policy_with(job.policy, changes)
    if policy is not job.policy:
        fields["policy"] = policy
    changed = job._replace(**fields) if fields else job
    if changed.func is not None and not {"func", "args", "kwargs"}.isdisjoint(fields):
        check_arguments(changed.func, changed.args, changed.kwargs)
    return changed


def check_changes(changes: Mapping[str, Any]) -> None:
    """Raise ``UnknownOptionError`` for what cannot be changed."""
    if "id" in changes:
        raise JobArgumentsError("the id of a job cannot be changed; remove the job and add it under the other id")
    for name in changes:
        if name not in CHANGES:
            raise UnknownOptionError(name, CHANGES, "job")


def instant_of(value: Any, timezone: tzinfo, name: str) -> int:
    """Microseconds of a date, datetime or ISO 8601 text; naive ones are local time in ``timezone``."""
    if isinstance(value, datetime) and 1 < value.year < 9999 and value.utcoffset() is not None:
        return from_datetime(value)  # what most give, in a tenth of the time
    from schedcore.triggers._zones import to_instant

    return to_instant(value, timezone, name)

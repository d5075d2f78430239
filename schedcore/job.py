"""What a job is.

``JobRecord`` is the definition (what, when, how): a frozen value that engine, stores and executors deal in. Where a job
stands in its schedule (``JobEntry``: next fire time, state) is kept apart from it, because the definition changes when a user
changes it and the position at every run. ``Job``, which users hold, is a handle with the attributes and methods of
APScheduler 3.x over both.

The position has two instants. ``fire_us`` is the fire time, a point of the trigger's grid and the identity of the run to come;
``due_us`` is when it is dispatched: the same, but for jitter or a ``next_run_time`` that the user set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import TransientJobError, UsageError
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.triggers.foreign import ForeignTrigger, as_grid

__all__ = [
    "NO_KWARGS",
    "Arrival",
    "Job",
    "JobEntry",
    "JobKeeper",
    "JobPolicy",
    "JobRecord",
    "JobState",
    "UnreadJob",
    "func_ref_of",
]

NO_KWARGS: Mapping[str, Any] = {}

_STATE_VERSION = 1  # of a handle's state, as in 3.x


class JobState(StrEnum):
    """Where a stored job stands. Jobs not yet handed to a store are *pending* and have no state."""

    ACTIVE = "active"  #: it has a next fire time
    PAUSED = "paused"  #: it waits for ``resume``
    ENDED = "ended"  #: its schedule is over, and its last runs are still live; not listed
    BROKEN = "broken"  #: it is set aside, with a reason, until that is mended


class JobPolicy(NamedTuple):
    """How a job runs. Equal policies are one shared object (``intern``): a hundred thousand jobs have a handful of them."""

    executor: str = "default"
    misfire_grace_us: int | None = None  #: skip a run that is later than this; None: run however late
    coalesce: bool = True  #: one run for a backlog, rather than one for each missed fire time
    max_instances: int = 1  #: live runs at a time
    max_catchup: int = 1000  #: runs made of one backlog when not coalescing
    #: What becomes of a run that had begun, or may have, when its process died: ``"rerun"``, once if it had begun and up to three
    #: attempts in all; or ``"lost"``, closed at that: such a job runs at most once.
    recovery: str = "rerun"

    def intern(self) -> JobPolicy:
        """The one that all jobs of such a policy share. From any thread."""
        return _policies.setdefault(self, self)

    @property
    def misfire_grace_time(self) -> float | None:
        """Seconds, as an int where it is whole; None: no limit."""
        grace_us = self.misfire_grace_us
        if grace_us is None:
            return None
        return grace_us // 1_000_000 if grace_us % 1_000_000 == 0 else grace_us / 1e6


_policies: dict[JobPolicy, JobPolicy] = {}


class JobRecord(NamedTuple):
    """The definition of a job. ``func_ref`` is None until something needs the text; ``func`` is None in a broken job only."""

    id: str
    name: str
    func: Callable[..., Any] | None
    func_ref: str | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    trigger: EngineTrigger
    policy: JobPolicy


def func_ref_of(job: JobRecord) -> str | None:
    """``"module:qualname"`` of a job's callable, or None where text cannot name it."""
    if job.func_ref is None and job.func is not None:
        from schedcore.references import ref_of

        try:
            return ref_of(job.func)
        except ValueError:
            return None
    return job.func_ref


class JobEntry(NamedTuple):
    """A job and where it stands: what stores keep, and what listing returns."""

    job: JobRecord
    state: JobState
    fire_us: int | None = None
    due_us: int | None = None
    reason: str | None = None  #: why it is broken
    paused: bool = False  #: whether it was paused, when it is broken


class Arrival:
    """Tells the handles on a pending job where that stands, once it is in its store."""

    __slots__ = ("entry", "sent")

    def __init__(self) -> None:
        self.entry: JobEntry | None = None
        #: What the store was given, and did not refuse: one of these may be there.
        self.sent: tuple[JobRecord, ...] = ()


class JobKeeper(Protocol):
    """What a handle needs of its scheduler."""

    def _peek(self, alias: str, job_id: str) -> JobEntry | None:
        """The job as it is now, where looking costs no I/O; else None."""

    def _is_pending(self, alias: str, job_id: str) -> bool:
        """Whether it waits for its store to be opened."""

    def _read(self, alias: str, job_id: str) -> JobEntry:
        """The job as it is now, waiting for its store. Raises ``JobLookupError``."""

    def modify_job(self, job_id: str, jobstore: str | None = None, **changes: Any) -> Job:
        """See ``BaseScheduler.modify_job``; the others likewise."""

    def reschedule_job(
        self,
        job_id: str,
        jobstore: str | None = None,
        trigger: BaseTrigger | str | None = None,
        **trigger_args: Any,
    ) -> Job: ...

    def pause_job(self, job_id: str, jobstore: str | None = None) -> Job: ...

    def resume_job(self, job_id: str, jobstore: str | None = None) -> Job | None: ...

    def remove_job(self, job_id: str, jobstore: str | None = None) -> None: ...


class Job:
    """A handle on a job. Reading it never blocks; changing it goes through the scheduler, from any thread.

    What it shows is the job as last read: ``add_job``, ``get_job`` and ``get_jobs`` return fresh handles, the
    changing methods refresh their own, and where the store is in memory each look is fresh.
    """

    __slots__ = ("__weakref__", "_entry", "_jobstore_alias", "_pending", "_scheduler")

    # The names of the last two are those of 3.x: job stores of third parties set them on the jobs that they load.
    _scheduler: JobKeeper | None
    _jobstore_alias: str

    def __init__(self, scheduler: JobKeeper, alias: str, entry: JobEntry, pending: Arrival | None = None) -> None:
        self._scheduler = scheduler
        self._jobstore_alias = alias
        self._entry = entry
        self._pending = pending

    def _look(self) -> JobEntry:
        scheduler = self._scheduler
        if self._pending is not None and self._pending.entry is not None:
            self._entry = self._pending.entry
            self._pending = None
        fresh = None if scheduler is None else scheduler._peek(self._jobstore_alias, self._entry.job.id)
        if fresh is not None:
            self._entry = fresh
        return self._entry

    @property
    def _owner(self) -> JobKeeper:
        if self._scheduler is None:
            raise UsageError(
                f"this handle on job {self.id!r} belongs to no scheduler; ask one for the job with get_job()"
            )
        return self._scheduler

    @property
    def id(self) -> str:
        """The id, unique in its job store."""
        return self._entry.job.id

    @property
    def name(self) -> str:
        """A description for people."""
        return self._look().job.name

    @property
    def func(self) -> Callable[..., Any] | None:
        """The callable; None when the job is broken because it cannot be found."""
        return self._look().job.func

    @property
    def func_ref(self) -> str | None:
        """``"module:qualname"`` of the callable, or None where text cannot name it."""
        return func_ref_of(self._look().job)

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments of the callable."""
        return self._look().job.args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the callable (a copy)."""
        return dict(self._look().job.kwargs)

    @property
    def trigger(self) -> BaseTrigger:
        """The trigger that gives the fire times."""
        return _plain(self._look().job.trigger)

    @property
    def executor(self) -> str:
        """Alias of the executor."""
        return self._look().job.policy.executor

    @property
    def coalesce(self) -> bool:
        """Whether a backlog becomes one run."""
        return self._look().job.policy.coalesce

    @property
    def misfire_grace_time(self) -> float | None:
        """Seconds a run may be late before it is skipped; None: run however late."""
        return self._look().job.policy.misfire_grace_time

    @property
    def max_instances(self) -> int:
        """How many runs of this job may be live at a time."""
        return self._look().job.policy.max_instances

    @property
    def next_run_time(self) -> datetime | None:
        """When it runs next, aware, in the trigger's zone; None while it is paused, broken or finished, and before start."""
        entry = self._look()
        if entry.due_us is None:
            return None
        return to_datetime(entry.due_us).astimezone(entry.job.trigger.timezone)

    @property
    def state(self) -> JobState:
        """Where it stands."""
        return self._look().state

    @property
    def reason(self) -> str | None:
        """Why it is set aside, when it is."""
        return self._look().reason

    @property
    def pending(self) -> bool:
        """Whether it waits for the scheduler to start before it is handed to its job store."""
        return self._pending is not None and self._owner._is_pending(self._jobstore_alias, self.id)

    @property
    def jobstore(self) -> str:
        """Alias of the job store."""
        return self._jobstore_alias

    def modify(self, **changes: Any) -> Job:
        """Change attributes (``name``, ``func``, ``args``, ``kwargs``, ``trigger``, ``executor``, ``next_run_time``
        and the job options).
        """
        self._take(self._owner.modify_job(self.id, self._jobstore_alias, **changes))
        return self

    def reschedule(self, trigger: BaseTrigger | str, **trigger_args: Any) -> Job:
        """Give it another trigger; its next run time is computed afresh."""
        self._take(self._owner.reschedule_job(self.id, self._jobstore_alias, trigger, **trigger_args))
        return self

    def pause(self) -> Job:
        """Suspend its schedule until ``resume``."""
        self._take(self._owner.pause_job(self.id, self._jobstore_alias))
        return self

    def resume(self) -> Job | None:
        """Take the schedule up again; None, and the job is removed, when the schedule has ended meanwhile."""
        fresh = self._owner.resume_job(self.id, self._jobstore_alias)
        if fresh is None:
            return None
        self._take(fresh)
        return self

    def remove(self) -> None:
        """Remove it from its job store. Live runs go on to their end."""
        self._owner.remove_job(self.id, self._jobstore_alias)

    def __getstate__(self) -> dict[str, Any]:
        """The state of 3.x, for job stores of third parties that pickle it, and what is needed beyond that to lose nothing.

        Raises ``TransientJobError`` when text cannot name the callable.
        """
        job, _, fire_us, due_us, reason, _ = self._entry
        policy = job.policy
        ref, args = job.func_ref, job.args
        if ref is None and job.func is not None:
            from schedcore.references import UnnameableCallableError, ref_of, unbind

            try:
                ref = ref_of(job.func)
            except UnnameableCallableError as error:
                raise TransientJobError(job.id, error.reason) from error
            args = (*unbind(job.func)[1], *args)
        return {
            "version": _STATE_VERSION,
            "id": job.id,
            "func": ref,
            "trigger": _plain(job.trigger),
            "executor": policy.executor,
            "args": args,
            "kwargs": dict(job.kwargs),
            "name": job.name,
            "misfire_grace_time": policy.misfire_grace_time,
            "coalesce": policy.coalesce,
            "max_instances": policy.max_instances,
            "next_run_time": None if due_us is None else to_datetime(due_us).astimezone(job.trigger.timezone),
            # Not in 3.x:
            "fire_us": fire_us,
            "max_catchup": policy.max_catchup,
            "recovery": policy.recovery,
            "reason": reason,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A handle from ``__getstate__``, of this class or of 3.x. A callable that is not there makes the job a broken one."""
        version = state.get("version", _STATE_VERSION)
        if version != _STATE_VERSION:
            raise ValueError(f"the state of a job has version {version!r}; this release reads {_STATE_VERSION}")
        from schedcore.references import resolve

        func, reason = None, state.get("reason")
        ref: str | None = state["func"]
        try:
            func = resolve(ref) if ref is not None else None
        except LookupError as error:
            reason = str(error)
        grace_s = state["misfire_grace_time"]
        default = JobPolicy()
        policy = JobPolicy(
            state["executor"],
            None if grace_s is None else round(grace_s * 1_000_000),
            bool(state["coalesce"]),
            state["max_instances"],
            state.get("max_catchup", default.max_catchup),
            state.get("recovery", default.recovery),
        ).intern()
        record = JobRecord(
            state["id"],
            state["name"],
            func,
            ref,
            tuple(state["args"]),
            dict(state["kwargs"]),
            as_grid(state["trigger"]),
            policy,
        )
        next_run_time = state["next_run_time"]
        due_us = None if next_run_time is None else from_datetime(next_run_time)
        job_state = JobState.ACTIVE if due_us is not None else JobState.PAUSED
        if func is None or reason is not None:
            job_state = JobState.BROKEN
        self._entry = JobEntry(record, job_state, state.get("fire_us", due_us), due_us, reason)
        self._pending = None
        self._scheduler = None
        self._jobstore_alias = ""

    def _take(self, fresh: Job) -> None:
        if not isinstance(fresh, UnreadJob):
            self._entry = fresh._entry
            self._pending = fresh._pending

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, Job) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._entry.job.id)

    def __repr__(self) -> str:
        return f"<Job (id={self.id} name={self.name})>"

    def __str__(self) -> str:
        entry = self._look()
        if self.pending:
            when = "pending"
        elif entry.due_us is not None:
            when = f"next run at: {self.next_run_time:%Y-%m-%d %H:%M:%S %Z}"
        else:
            when = str(entry.state) if entry.reason is None else f"{entry.state}: {entry.reason}"
        return f"{entry.job.name} (trigger: {self.trigger}, {when})"


class UnreadJob(Job):
    """A handle on a job that was changed where nobody may wait for its store: it is read when it is looked at."""

    __slots__ = ("_job_id",)

    def __init__(self, scheduler: JobKeeper, alias: str, job_id: str) -> None:
        self._scheduler = scheduler
        self._jobstore_alias = alias
        self._job_id = job_id
        self._pending = None

    @property
    def id(self) -> str:
        return self._job_id

    def __getattr__(self, name: str) -> JobEntry:
        # Called while the slot is empty.
        if name != "_entry":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._entry = entry = self._owner._read(self._jobstore_alias, self._job_id)
        return entry

    def __hash__(self) -> int:
        return hash(self._job_id)


def _plain(trigger: EngineTrigger) -> BaseTrigger:
    """The trigger that the user gave."""
    return trigger.inner if isinstance(trigger, ForeignTrigger) else trigger

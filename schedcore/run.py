"""What a run is: one fire time of a job, carried out, or not, and then for a reason.

A ``Run`` is what an executor is given. A ``RunRecord`` is what a store keeps of it. Its states only go forward: submitted,
running, and one of the others, which are final. A run that was submitted may be submitted again, by a scheduler that takes
over.

Run ids are made of the job's id, the fire time and the attempt. They are thus the same on whichever process the run is carried
out, and a job may use its run id as an idempotency key.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from schedcore._beginning import beginning
from schedcore.clock import to_datetime
from schedcore.job import JobRecord

__all__ = [
    "LIVE_STATES",
    "Finish",
    "Run",
    "RunRecord",
    "RunState",
    "Skip",
    "SkipReason",
    "current_run",
    "result_text",
    "run_id",
    "skip_record",
]


class RunState(StrEnum):
    """The states of a run record."""

    SUBMITTED = "submitted"  #: on record and handed to an executor; not known to have begun
    RUNNING = "running"  #: begun
    SUCCEEDED = "succeeded"
    FAILED = "failed"  #: it raised, or its process died
    CANCELLED = "cancelled"  #: cut short at shutdown or on request
    LOST = "lost"  #: its scheduler died before its end was on record
    SKIPPED = "skipped"  #: it never ran; the reason says why


LIVE_STATES = frozenset({RunState.SUBMITTED, RunState.RUNNING})


class SkipReason(StrEnum):
    """Why fire times passed without a run."""

    MISFIRED = "misfired"  #: later than ``misfire_grace_time``
    COALESCED = "coalesced"  #: a later run stands for them
    CATCHUP_LIMIT = "catchup limit"  #: the backlog was longer than ``max_catchup``
    OVERLAP = "overlap"  #: ``max_instances`` runs were live
    EXCLUDED = "excluded"  #: a calendar rules them out
    GAP = "gap"  #: their local time does not exist: the clocks jump over it, or the month lacks the day
    PAUSED = "paused"  #: the job was paused
    SHUTDOWN = "shutdown"  #: the scheduler was shut down first, and its store does not outlive it


class Skip(NamedTuple):
    """Fire times that pass without a run, as one record: ``times`` of them from ``first_us`` to ``last_us``.

    At least so many, where a trigger cannot count without walking and there are more than it walks over ("Bounds" in the
    documentation of triggers says which).
    """

    reason: SkipReason
    first_us: int
    last_us: int
    times: int


class Run(NamedTuple):
    """One run, on its way from the store to an executor and back. ``token`` belongs to the store: its claim and fence."""

    job: JobRecord
    alias: str  #: of the job store
    fire_us: int
    attempt: int
    token: Any

    @property
    def id(self) -> str:
        """See ``run_id``."""
        return run_id(self.job.id, self.fire_us, self.attempt)

    @property
    def scheduled_at(self) -> datetime:
        """The fire time, aware, in the trigger's zone."""
        return to_datetime(self.fire_us).astimezone(self.job.trigger.timezone)


class Finish(NamedTuple):
    """The end of a run, as the executor reports it: instants in microseconds, the exception, and its traceback as text."""

    run: Run
    state: RunState
    started_us: int | None
    finished_us: int
    retval: Any = None
    exception: Exception | None = None
    traceback: str | None = None


class RunRecord(NamedTuple):
    """What a store knows of a run, or of fire times that were skipped. Instants are microseconds since the epoch, and None for
    what it did not come to.
    """

    job_id: str
    fire_us: int
    attempt: int
    state: RunState
    reason: str | None = None  #: why it was skipped, lost or cancelled
    times: int = 1  #: fire times that this record stands for; at least so many, as in ``Skip``
    until_us: int | None = None  #: the last of them, when there are several
    submitted_us: int | None = None
    started_us: int | None = None
    finished_us: int | None = None
    error: str | None = None  #: the exception in one line
    traceback: str | None = None
    result: str | None = None  #: ``repr`` of the return value, cut at 1,000 characters; None for None
    output: str | None = None  #: of a command
    exit_code: int | None = None  #: of a command

    @property
    def id(self) -> str:
        """See ``run_id``."""
        return run_id(self.job_id, self.fire_us, self.attempt)

    @property
    def scheduled_at(self) -> datetime:
        """The fire time, or the first of several that were skipped: aware, in UTC."""
        return to_datetime(self.fire_us)

    @property
    def started_at(self) -> datetime | None:
        """When the job was called, aware, in UTC; None unless it was."""
        return None if self.started_us is None else to_datetime(self.started_us)

    @property
    def finished_at(self) -> datetime | None:
        """When the run was over, aware, in UTC; None unless it is."""
        return None if self.finished_us is None else to_datetime(self.finished_us)

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None unless it has both."""
        if self.started_us is None or self.finished_us is None:
            return None
        return (self.finished_us - self.started_us) / 1e6


def run_id(job_id: str, fire_us: int, attempt: int) -> str:
    """The id of a run, for example ``backup@2026-03-29T01:00:00Z#1``."""
    at = to_datetime(fire_us).astimezone(UTC)
    text = at.isoformat(timespec="microseconds" if at.microsecond else "seconds").replace("+00:00", "Z")
    return f"{job_id}@{text}#{attempt}"


#: The run that the code asking belongs to; None outside a job. Set by every executor around the job.
current_run: ContextVar[Run | None] = ContextVar("schedcore_current_run", default=None)


def result_text(value: object, limit: int = 1000) -> str | None:
    """``repr`` of what a job returned, cut; None for None. A ``repr`` that raises is told as such."""
    if value is None:
        return None
    start = value
    try:
        start = beginning(value, limit)
        text = repr(start)
    except Exception as error:  # noqa: BLE001  # a repr is anybody's code
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if start is value and len(text) <= limit else text[: limit - 1] + "…"


def skip_record(job_id: str, skip: Skip, now_us: int) -> RunRecord:
    """The record of fire times that pass without a run, decided at ``now_us``. Its attempt is 0: nothing was tried."""
    return RunRecord(
        job_id,
        skip.first_us,
        0,
        RunState.SKIPPED,
        reason=skip.reason,
        times=skip.times,
        until_us=skip.last_us,
        finished_us=now_us,
    )

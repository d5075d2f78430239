"""What a row of the SQL store says, and what a row may say.

SQLite keeps any value in any column, whatever its type, so that a row may say anything. What no scheduler could have
written must neither run nor keep the others from being read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schedcore.job import JobEntry, JobState
from schedcore.jobstores._journal import RunKey
from schedcore.jobstores._outcome import Outcome
from schedcore.jobstores._payload import Loaded
from schedcore.run import RunRecord, RunState
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = ["DAMAGED", "entry", "finish_row", "instant", "is_text", "run_record", "skip_row", "text"]

#: Why a job is set aside whose instants are none.
DAMAGED = "its place in the schedule is damaged; give it a trigger or a next run time"

_STATES = {str(state): state for state in JobState}
_RUN_STATES = {str(state): state for state in RunState}
# What is listed as failed.
_FAILED = (RunState.FAILED, RunState.LOST)


def instant(value: Any) -> int | None:
    """An instant as triggers give them; None for anything else."""
    return value if type(value) is int and FIRST_US <= value <= LAST_US else None


def text(value: Any) -> str | None:
    """Text, whatever is in its place; None for none."""
    if value is None or type(value) is str:
        return value
    return value.decode("utf-8", "replace") if type(value) is bytes else str(value)


def is_text(job_id: str) -> bool:
    """Whether a database can hold it; what it cannot hold is nobody's id."""
    if not isinstance(job_id, str) or "\0" in job_id:
        return False
    return job_id.isascii() or not any("\ud800" <= c <= "\udfff" for c in job_id)


def entry(row: Sequence[Any], loaded: Loaded) -> JobEntry:
    """A job as it is on record: a row of ``Statements.entry``, and its definition."""
    _, _, state, fire_us, due_us, reason = row
    if instant(fire_us) != fire_us or instant(due_us) != due_us:
        return JobEntry(loaded.record, JobState.BROKEN, instant(fire_us), instant(due_us), DAMAGED)
    if loaded.reason is not None:
        # What keeps it from being loaded now, though something else may have been the reason why it was set aside.
        paused = state == JobState.PAUSED
        return JobEntry(loaded.record, JobState.BROKEN, fire_us, due_us, loaded.reason, paused)
    return JobEntry(loaded.record, _STATES.get(state, JobState.BROKEN), fire_us, due_us, text(reason))


def run_record(row: Sequence[Any]) -> RunRecord | None:
    """A run as it is on record; None for a row that is none."""
    job_id, fire_us, attempt, state, reason, times, until, submitted, started, finished, *rest = row
    error, traceback, result, output, exit_code = rest
    known = _RUN_STATES.get(state)
    if instant(fire_us) is None or type(attempt) is not int or known is None:
        return None
    return RunRecord(
        text(job_id) or "",
        fire_us,
        attempt,
        known,
        text(reason),
        times if type(times) is int else 1,
        instant(until),
        instant(submitted),
        instant(started),
        instant(finished),
        text(error),
        text(traceback),
        text(result),
        text(output),
        exit_code if type(exit_code) is int else None,
    )


def finish_row(
    state: RunState, started_us: int | None, finished_us: int, what: Outcome, key: RunKey
) -> tuple[Any, ...]:
    """The parameters of ``Statements.finish``."""
    failed = 1 if state in _FAILED else None
    return str(state), failed, started_us, finished_us, *what, *key


def skip_row(uid: int, record: RunRecord) -> tuple[Any, ...]:
    """The parameters of ``Statements.skip``."""
    _, fire_us, attempt, _, reason, times, until_us, _, _, finished_us, *_ = record
    return uid, fire_us, attempt, reason, times, until_us, finished_us

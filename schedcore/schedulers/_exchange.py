"""Jobs as a text file: ``export_jobs`` and ``import_jobs``.

The file is JSON, whatever the job stores' serializers are::

    {"schedcore_jobs": 1,
     "jobs": [{"id": text, "state": "active", "paused" or "pending", "fire_us": …, "due_us": …, "job": {…}}]}

where ``job`` is the record that stores keep (``schedcore.jobstores._payload``). It holds definitions and places in the schedule:
an imported job goes on from its next run time, late if that has passed, and can be edited like any other. What it ran, and what
is running, stays where it was.
"""

from __future__ import annotations

import json
import os
from typing import IO, TYPE_CHECKING, Any

from schedcore.errors import BrokenJobError, ConfigurationError, ConflictingIdError, FileSyntaxError, SchedcoreError
from schedcore.job import Job, JobEntry, JobRecord, JobState
from schedcore.jobstores._payload import decode, encode
from schedcore.schedulers._definition import UNSET, NextRun
from schedcore.serializers import Serializer
from schedcore.serializers.json import JSONSerializer
from schedcore.serializers.signed import SignedSerializer

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["export_jobs", "import_jobs"]

_MARK = "schedcore_jobs"
_VERSION = 1
# How many jobs that cannot be read are named after the first.
_NAMED = 10
_PENDING = "pending"  # it had not been handed to its store, and its first run time was still to be computed


def export_jobs(
    scheduler: BaseScheduler, outfile: str | os.PathLike[str] | IO[str], jobstore: str | None, partial: bool
) -> list[tuple[Job, SchedcoreError]]:
    """Write the jobs of one job store, or all. See ``BaseScheduler.export_jobs``."""
    scheduler._catch_up(jobstore, "export_jobs")
    items: list[dict[str, Any]] = []
    left_out: list[tuple[Job, SchedcoreError]] = []
    for job in scheduler.get_jobs(jobstore):
        try:
            items.append(_export(scheduler, job))
        except SchedcoreError as error:
            left_out.append((job, error))
    if left_out and not partial:
        ids = ", ".join(repr(job.id) for job, _ in left_out)
        _, first = left_out[0]
        first.add_note(f"Nothing was written. With partial=True all jobs are but {ids}")
        raise first
    data: dict[str, Any] = {_MARK: _VERSION, "jobs": items}
    if left_out:
        # For who reads the file later. Nothing else does.
        data["left_out"] = [{"id": job.id, "reason": str(reason)} for job, reason in left_out]
    text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
    if isinstance(outfile, str | os.PathLike):
        with open(outfile, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        outfile.write(text)
    for job, reason in left_out:
        scheduler._reports.logger.warning("export_jobs() left out a job of job store %r: %s", job.jobstore, reason)
    return left_out


def _export(scheduler: BaseScheduler, job: Job) -> dict[str, Any]:
    entry = job._entry
    state: str = entry.state
    fire_us, due_us = entry.fire_us, entry.due_us
    if job.pending:
        waiting = scheduler._jobs.waiting.get(job.jobstore, job.id)
        next_run: NextRun = UNSET if waiting is None else waiting.next_run
        if next_run is UNSET:
            state = _PENDING
        elif next_run is None:
            state = JobState.PAUSED
        else:
            fire_us = due_us = next_run
    elif entry.state is JobState.BROKEN:
        # Where it is imported nothing may be wrong with it.
        state, due_us = (_PENDING, None) if fire_us is None else (JobState.ACTIVE, fire_us)
    payload = encode(_serializer(scheduler, job.jobstore), entry.job)
    definition = json.loads(payload)
    # It is said once, beside it, where whoever edits the file finds it.
    del definition["d"]["id"]
    return {"id": job.id, "state": str(state), "fire_us": fire_us, "due_us": due_us, "job": definition}


def import_jobs(scheduler: BaseScheduler, infile: str | os.PathLike[str] | IO[str], jobstore: str) -> None:
    """Add the jobs of a file to a job store: all, or, when it raises, none.

    Raises ``FileSyntaxError``, ``BrokenJobError`` (a function or trigger that is not here: the first, with a note of the others),
    ``ConflictingIdError``, and what the store raises.
    """
    if isinstance(infile, str | os.PathLike):
        name = os.fspath(infile)
        with open(infile, encoding="utf-8") as file:
            text = file.read()
    else:
        name = str(getattr(infile, "name", "<file>"))
        text = infile.read()
    items = _parse(name, text)
    serializer = _serializer(scheduler, jobstore)
    entries: list[tuple[JobRecord, NextRun, NextRun]] = []
    broken: list[BrokenJobError] = []
    for item in items:
        try:
            entries.append(_import(name, item, serializer))
        except BrokenJobError as error:
            broken.append(error)
    if broken:
        raise _all_of(broken)
    seen: set[str] = set()
    for record, _, _ in entries:
        if record.id in seen:
            raise ConflictingIdError(record.id)
        seen.add(record.id)
    pump = scheduler._pumps.get(jobstore)
    if not scheduler.running or (pump is not None and not pump.opened):
        scheduler._jobs.add_pending([(record, fire_us, True) for record, fire_us, _ in entries], jobstore, False)
        return
    if pump is None:
        raise scheduler._no_such_store(jobstore)
    scheduler._jobs.add_placed(
        [(record, due_us, _entry(record, fire_us, due_us)) for record, fire_us, due_us in entries], pump
    )


def _all_of(broken: list[BrokenJobError]) -> BrokenJobError:
    """The first of these errors, with a note of the others: whoever mends what is missing wants to know of all of it."""
    first, *others = broken
    if others:
        named = [f"{error.job_id!r} ({error.reason})" for error in others[:_NAMED]]
        left = len(others) - len(named)
        first.add_note("Nor can these be read: " + ", ".join(named) + (f", and {left} more" if left else ""))
    return first


def _entry(record: JobRecord, fire_us: Any, due_us: Any) -> JobEntry | None:
    """Where an imported job stands; None where that is to be computed."""
    if due_us is UNSET or due_us is None:
        return None
    return JobEntry(record, JobState.ACTIVE, fire_us, due_us)


def _parse(name: str, text: str) -> list[Any]:
    if not isinstance(text, str):
        raise ConfigurationError("infile: open the file in text mode")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileSyntaxError(name, error.lineno, error.colno, f"not JSON: {error.msg}") from error
    except RecursionError as error:
        raise FileSyntaxError(name, 1, 0, "nested too deeply") from error
    if type(data) is not dict or _MARK not in data:
        raise FileSyntaxError(name, 1, 0, "not a file that export_jobs wrote")
    if data[_MARK] != _VERSION:
        raise FileSyntaxError(name, 1, 0, f"the file has version {data[_MARK]!r}, and this release reads {_VERSION}")
    items = data.get("jobs")
    if type(items) is not list:
        raise FileSyntaxError(name, 1, 0, "there is no list of jobs in it")
    return items


def _import(name: str, item: Any, serializer: Serializer) -> tuple[JobRecord, NextRun, NextRun]:
    """The job of one item, its fire time and when it is due: instants, or None for a paused job, or UNSET to compute them."""
    job_id = item.get("id") if type(item) is dict else None
    if type(job_id) is not str or not job_id:
        raise FileSyntaxError(name, 1, 0, "an entry of the list is not a job")
    loaded = decode(serializer, job_id, json.dumps(item.get("job")).encode())
    if loaded.reason is not None:
        raise BrokenJobError(job_id, loaded.reason)
    state, fire_us, due_us = item.get("state"), item.get("fire_us"), item.get("due_us")
    if state == JobState.ACTIVE and type(fire_us) is int and type(due_us) is int:
        return loaded.record, fire_us, due_us
    if state == JobState.PAUSED:
        return loaded.record, None, None
    if state == _PENDING:
        return loaded.record, UNSET, UNSET
    raise FileSyntaxError(name, 1, 0, f"the state of job {job_id!r} cannot be {state!r} at {fire_us!r}")


def _serializer(scheduler: BaseScheduler, alias: str) -> Serializer:
    """JSON, with the classes that are registered for the job store, if any are."""
    pump = scheduler._pumps.get(alias)
    codec = getattr(pump.store, "codec", None) if pump is not None else None
    mine = None if codec is None else codec.serializer
    if isinstance(mine, SignedSerializer):
        mine = mine.inner
    return mine if isinstance(mine, JSONSerializer) else JSONSerializer()

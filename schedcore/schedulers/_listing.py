"""What users read: the jobs and the runs of a scheduler, from those that wait and from all its job stores."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from schedcore.errors import ConfigurationError
from schedcore.job import Job
from schedcore.run import RunRecord

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["get_jobs", "get_runs", "print_jobs"]


def get_jobs(scheduler: BaseScheduler, jobstore: str | None, pending: bool | None) -> list[Job]:
    """See ``BaseScheduler.get_jobs``."""
    if pending is not True:
        scheduler._catch_up(jobstore, "get_jobs")
    jobs: list[Job] = []
    if pending is not False:
        jobs += scheduler._jobs.pending(jobstore)
    # One that waits is what replaces that in the store, or was stored just now.
    waiting = {(job.jobstore, job.id) for job in jobs}
    if pending is not True and scheduler.running:
        entries = [
            (entry, alias)
            for alias, pump in list(scheduler._pumps.items())
            if jobstore in (None, alias) and pump.opened
            for entry in pump.store.list_entries()
        ]
        entries.sort(key=lambda item: (item[0].due_us is None, item[0].due_us or 0, item[0].job.id))
        jobs += [Job(scheduler, alias, entry) for entry, alias in entries if (alias, entry.job.id) not in waiting]
    scheduler._check_store(jobstore)
    return jobs


def get_runs(
    scheduler: BaseScheduler, job_id: str | None, jobstore: str | None, failed: bool, limit: int
) -> list[RunRecord]:
    """See ``BaseScheduler.get_runs``."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigurationError(f"limit must be a whole number from 1 up, not {limit!r}")
    scheduler._check_store(jobstore)
    scheduler._catch_up(jobstore, "get_runs")
    records = [
        record
        for alias, pump in list(scheduler._pumps.items())
        if jobstore in (None, alias) and pump.opened
        for record in pump.store.runs(job_id, failed=failed, limit=limit)
    ]
    records.sort(key=lambda record: record.fire_us, reverse=True)
    return records[:limit]


def print_jobs(scheduler: BaseScheduler, jobstore: str | None, stream: IO[str]) -> None:
    """See ``BaseScheduler.print_jobs``."""
    jobs = scheduler.get_jobs(jobstore)
    aliases = sorted({*scheduler._pumps, *scheduler._jobs.waiting.aliases}) if jobstore is None else [jobstore]
    if any(job.pending for job in jobs):
        print("Pending jobs:", file=stream)
        for job in jobs:
            if job.pending:
                print(f"    {job}", file=stream)
    for alias in aliases:
        if not scheduler.running:
            break
        print(f"Jobstore {alias}:", file=stream)
        mine = [job for job in jobs if job.jobstore == alias and not job.pending]
        for job in mine:
            print(f"    {job}", file=stream)
        if not mine:
            print("    No scheduled jobs", file=stream)
    if not scheduler.running and not jobs:
        print("No pending jobs", file=stream)

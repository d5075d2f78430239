"""A third party's job store, as they are written for 3.x."""

from __future__ import annotations

from datetime import datetime

from schedcore.clock import from_datetime
from schedcore.errors import ConflictingIdError, JobLookupError
from schedcore.job import Job
from schedcore.jobstores.base import BaseJobStore

__all__ = ["DictStore"]


class DictStore(BaseJobStore):
    """Keeps the handles themselves: what somebody writes who has read the ten methods."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def lookup_job(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def get_due_jobs(self, now: datetime) -> list[Job]:
        return [job for job in self.get_all_jobs() if job.next_run_time is not None and job.next_run_time <= now]

    def get_next_run_time(self) -> datetime | None:
        times = [job.next_run_time for job in self._jobs.values() if job.next_run_time is not None]
        return min(times, default=None)

    def get_all_jobs(self) -> list[Job]:
        def order(job: Job) -> tuple[bool, int]:
            at = job.next_run_time
            return at is None, 0 if at is None else from_datetime(at)

        return sorted(self._jobs.values(), key=order)

    def add_job(self, job: Job) -> None:
        if job.id in self._jobs:
            raise ConflictingIdError(job.id)
        self._jobs[job.id] = job

    def update_job(self, job: Job) -> None:
        if job.id not in self._jobs:
            raise JobLookupError(job.id)
        self._jobs[job.id] = job

    def remove_job(self, job_id: str) -> None:
        if self._jobs.pop(job_id, None) is None:
            raise JobLookupError(job_id)

    def remove_all_jobs(self) -> None:
        self._jobs.clear()

"""The jobs that wait to be handed to their job store: for the start, for the store to be opened, or for its next cycle.

Nothing that is anybody's code is called here, because the lock is held: not a trigger, nor a store, nor a listener. What takes
longer is prepared outside, and put in if nothing has changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from schedcore.errors import ConflictingIdError
from schedcore.job import Arrival, JobEntry, JobRecord
from schedcore.locks import ShortLock
from schedcore.schedulers._definition import NextRun

__all__ = ["Pending", "Waiting"]


class Pending(NamedTuple):
    """A job that waits for its store."""

    job: JobRecord
    next_run: NextRun
    replace: bool
    arrival: Arrival  #: for its handles
    entry: JobEntry | None = None  #: where it stands in its schedule, once the scheduler runs


class Waiting:
    """See the module's docstring. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = ShortLock()
        self._jobs: dict[str, dict[str, Pending]] = {}
        #: Empty where nothing waits: the same for whoever asks often, as a call takes five times as long.
        self.by_store: Mapping[str, Mapping[str, Pending]] = self._jobs

    def forget_threads(self) -> None:
        """After a fork, in the child: whoever held the lock is not there."""
        self._lock = ShortLock()

    @property
    def aliases(self) -> list[str]:
        """The job stores that jobs wait for."""
        return [alias for alias, jobs in list(self._jobs.items()) if jobs]

    def any_for(self, alias: str) -> bool:
        """Whether any job waits for this store."""
        return bool(self._jobs.get(alias))

    def any_to_ask(self, alias: str) -> bool:
        """Whether any of those for this store has a trigger that is a user's own."""
        with self._lock:
            return any(item.job.trigger.foreign for item in self._jobs.get(alias, {}).values())

    def has(self, alias: str, job_id: str) -> bool:
        """Whether this job waits for this store."""
        return job_id in self._jobs.get(alias, {})

    def get(self, alias: str, job_id: str) -> Pending | None:
        """The job with this id that waits for this store."""
        with self._lock:
            return self._jobs.get(alias, {}).get(job_id)

    def find(self, job_id: str, alias: str | None) -> tuple[str, Pending] | None:
        """The job with this id, and the store that it waits for: this one or any."""
        with self._lock:
            for its, jobs in self._jobs.items():
                if alias in (None, its) and job_id in jobs:
                    return its, jobs[job_id]
        return None

    def all(self, alias: str | None) -> list[tuple[str, Pending]]:
        """All that wait for one store, or any; each with its store."""
        with self._lock:
            return [(its, item) for its, jobs in self._jobs.items() if alias in (None, its) for item in jobs.values()]

    def free_ids(self, alias: str, stable: Mapping[int, str]) -> dict[int, str]:
        """These ids, numbered where that of another job is the same."""
        ids: dict[int, str] = {}
        with self._lock:
            jobs = self._jobs.get(alias, {})
            mine: set[str] = set()
            for key, base in stable.items():
                job_id, number = base, 1
                while job_id in jobs or job_id in mine:
                    number += 1
                    job_id = f"{base}-{number}"
                mine.add(job_id)
                ids[key] = job_id
        return ids

    def put(self, alias: str, waiting: Sequence[Pending], free: Container[str] = ()) -> bool:
        """Have jobs wait, all or none. False when somebody has taken one of the ids that were ``free``.

        Raises ``ConflictingIdError``.
        """
        with self._lock:
            jobs = self._jobs.get(alias, {})
            mine: set[str] = set()
            for item in waiting:
                job_id = item.job.id
                if job_id in jobs or job_id in mine:
                    if job_id in free:
                        return False
                    if not item.replace:
                        raise ConflictingIdError(job_id)
                mine.add(job_id)
            for item in waiting:
                self._jobs.setdefault(alias, {})[item.job.id] = item
        return True

    def replace(self, alias: str, old: Pending, new: Pending) -> bool:
        """Put a job in the place of what it was; False when that is not there any more."""
        with self._lock:
            jobs = self._jobs.get(alias, {})
            if jobs.get(old.job.id) is not old:
                return False
            jobs[old.job.id] = new
            return True

    def drop(self, alias: str, job_id: str) -> bool:
        """Forget a job; whether there was one."""
        with self._lock:
            jobs = self._jobs.get(alias)
            return jobs is not None and jobs.pop(job_id, None) is not None

    def drop_all(self, alias: str | None) -> None:
        """Forget all that wait for one store, or any."""
        with self._lock:
            for its in list(self._jobs):
                if alias in (None, its):
                    del self._jobs[its]

    def stored(self, alias: str, stored: Mapping[str, Pending]) -> set[str]:
        """These were stored. One that was changed meanwhile goes on waiting; returned are those that were removed meanwhile."""
        gone: set[str] = set()
        with self._lock:
            jobs = self._jobs.get(alias, {})
            for job_id, pending in stored.items():
                now = jobs.get(job_id)
                if now is pending:
                    del jobs[job_id]
                elif now is None:
                    gone.add(job_id)
                else:
                    jobs[job_id] = now._replace(replace=True)
            if not jobs:
                self._jobs.pop(alias, None)
        return gone

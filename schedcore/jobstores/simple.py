"""Makes a third party's job store of the 3.x kind (ten methods over ``Job`` handles) work as one of ours.

Such a store knows jobs and nothing of runs. What is missing is kept here, in memory: which jobs are claimed, which runs are
live, and a bounded history. So the store belongs to one scheduler, jobs are read and written one by one, and after a crash it is
not known what ran: a job's next run time moves on before its run is submitted, so that no fire time is run twice.

Whatever is handed to the store is a ``Job`` handle: a store may keep it, or pickle its ``__getstate__()`` and make another one
with ``Job.__new__`` and ``__setstate__``, setting ``_scheduler`` and ``_jobstore_alias``. One call is made at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import count
from typing import Any, cast

from schedcore.clock import Now, from_datetime, to_datetime
from schedcore.engine import Claim, Decision
from schedcore.errors import ConflictingIdError, JobLookupError
from schedcore.job import Job, JobEntry, JobState
from schedcore.jobstores._outcome import ended_record
from schedcore.jobstores._payload import StoredRecord
from schedcore.jobstores._turns import Turns
from schedcore.jobstores.base import BaseJobStore, Committed, Due, JobStore, Recovered, StoreHost, StoreTraits
from schedcore.run import Finish, Run, RunRecord, RunState, skip_record

__all__ = ["SimpleStore"]


class SimpleStore(JobStore):
    """A third party's store, with what it lacks. ``history``: how many run records are kept, over all jobs."""

    # It may do I/O; and what it keeps outlives the process, but the runs do not.
    traits = StoreTraits(blocking=True, durable=False)

    def __init__(self, store: BaseJobStore, history: int = 1000) -> None:
        self._store = store
        self._turns = Turns()
        self._history: deque[RunRecord] = deque(maxlen=history)
        self._numbers = count(1)
        self._now = Now(0, 0)
        self._reset()

    def _reset(self) -> None:
        # Which state of a job was read: a number for each change that went through here. Jobs that were not changed have 0.
        self._versions: dict[str, int] = {}
        self._claimed: dict[str, int] = {}  # job id: its version then
        self._live: dict[str, dict[tuple[int, int], Run]] = {}

    def start(self, scheduler: StoreHost, alias: str) -> None:
        with self._turns.take():
            super().start(scheduler, alias)
            self._reset()
            self._store.start(scheduler, alias)
            for entry in self._all():
                if entry.state is JobState.BROKEN and entry.job.func is not None and entry.fire_us is not None:
                    # It was set aside, and what was missing is there again.
                    self._update(entry._replace(state=JobState.ACTIVE, due_us=entry.fire_us, reason=None))

    def shutdown(self) -> None:
        with self._turns.take():
            self._store.shutdown()

    def awaited_here(self) -> bool:
        return self._turns.awaited_here()

    def __repr__(self) -> str:
        return repr(self._store)

    # -- jobs -----------------------------------------------------------------------------------------------------------

    def _job(self, entry: JobEntry) -> Job:
        """The handle that is given to the store. Nobody else has it: the store may keep it."""
        return Job(cast(Any, self._scheduler), self._alias, entry)

    def _read(self, job: Job) -> JobEntry:
        """What a handle says that came from the store."""
        entry = job._entry
        record = StoredRecord(*entry.job)
        record.version = self._versions.get(record.id, 0) + 1
        if record.func is None and entry.state is not JobState.BROKEN:
            paused = entry.state is JobState.PAUSED
            return JobEntry(record, JobState.BROKEN, entry.fire_us, entry.due_us, "its function is not known", paused)
        return entry._replace(job=record)

    def _all(self) -> list[JobEntry]:
        return [self._read(job) for job in self._store.get_all_jobs()]

    def _update(self, entry: JobEntry) -> None:
        self._store.update_job(self._job(entry))
        self._versions[entry.job.id] = next(self._numbers)

    def add_entries(self, entries: Sequence[JobEntry], skipped: Sequence[RunRecord] = ()) -> None:
        with self._turns.take():
            seen: set[str] = set()
            for entry in entries:
                if entry.job.id in seen:
                    raise ConflictingIdError(entry.job.id)
                seen.add(entry.job.id)
            added: list[str] = []
            try:
                for entry in entries:
                    self._store.add_job(self._job(entry))
                    added.append(entry.job.id)
                    self._versions[entry.job.id] = next(self._numbers)
            except Exception:
                for job_id in added:
                    self._store.remove_job(job_id)
                raise
            self._history.extend(skipped)

    def get_entry(self, job_id: str) -> JobEntry | None:
        with self._turns.take():
            job = self._store.lookup_job(job_id)
            return None if job is None else self._read(job)

    def list_entries(self, after: JobEntry | None = None, limit: int | None = None) -> list[JobEntry]:
        with self._turns.take():
            entries = self._all()
        entries.sort(key=_listing_order)
        if after is not None:
            last = _listing_order(after)
            entries = [entry for entry in entries if _listing_order(entry) > last]
        return entries if limit is None else entries[:limit]

    def replace_entry(self, old: JobEntry, new: JobEntry, skipped: Sequence[RunRecord] = ()) -> bool:
        job_id = old.job.id
        with self._turns.take():
            now = self.get_entry(job_id)
            if now is None:
                raise JobLookupError(job_id)
            if (now.fire_us, now.due_us) != (old.fire_us, old.due_us):
                return False
            if isinstance(old.job, StoredRecord) and old.job.version:
                if old.job.version != cast(StoredRecord, now.job).version:
                    return False
            elif tuple(old.job) != tuple(now.job):
                return False
            if new.state is not JobState.ACTIVE:
                new = new._replace(due_us=None)
            self._update(new)
            self._history.extend(skipped)
            self._claimed.pop(job_id, None)
            return True

    def remove_job(self, job_id: str) -> None:
        with self._turns.take():
            self._store.remove_job(job_id)
            self._claimed.pop(job_id, None)
            self._versions.pop(job_id, None)

    def remove_all_jobs(self) -> None:
        with self._turns.take():
            self._store.remove_all_jobs()
            self._claimed.clear()
            self._versions.clear()

    # -- the way of a run -----------------------------------------------------------------------------------------------

    def acquire(self, now: Now, limit: int) -> list[Claim]:
        claims: list[Claim] = []
        with self._turns.take():
            self._now = now
            for job in self._store.get_due_jobs(to_datetime(now.steady_us)):
                entry = self._read(job)
                record = cast(StoredRecord, entry.job)
                job_id = record.id
                if entry.fire_us is None or entry.due_us is None or job_id in self._claimed:
                    continue
                if entry.due_us > (now.steady_us if record.trigger.elapsed else now.wall_us):
                    continue
                self._claimed[job_id] = record.version
                live = len(self._live.get(job_id, ()))
                reason = entry.reason or "its function is not known" if entry.state is JobState.BROKEN else None
                claims.append(Claim(record, entry.fire_us, entry.due_us, live, record.version, reason))
                if len(claims) == limit:
                    break
        return claims

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        runs: list[Run] = []
        dropped: list[Decision] = []
        with self._turns.take():
            for decision in decisions:
                job = decision.claim.job
                if self._claimed.get(job.id) != decision.claim.token or not self._move_on(decision):
                    dropped.append(decision)
                    continue
                del self._claimed[job.id]
                for fire_us in decision.fires:
                    run = Run(job, self._alias, fire_us, 1, None)
                    runs.append(run)
                    self._live.setdefault(job.id, {})[fire_us, 1] = run
                self._history.extend(skip_record(job.id, skip, now_us) for skip in decision.skips)
        return Committed(runs, dropped)

    def _move_on(self, decision: Decision) -> bool:
        """Write what becomes of the job; False when it is gone."""
        claim, fires, skips, next_us, due_us, broken, _ = decision
        job = claim.job
        try:
            if broken is not None:
                # What was decided is done with. If nothing was, it is where the job goes on when it is mended.
                fire_us = None if fires or skips else claim.fire_us
                self._update(JobEntry(job, JobState.BROKEN, fire_us, None, broken))
            elif next_us is None:
                self._store.remove_job(job.id)
                self._versions.pop(job.id, None)
            else:
                self._update(JobEntry(job, JobState.ACTIVE, next_us, due_us))
        except JobLookupError:
            self._claimed.pop(job.id, None)
            return False
        return True

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        """Nothing to keep: what began here ends here."""

    def finish(self, finishes: Sequence[Finish]) -> None:
        with self._turns.take():
            for finish in finishes:
                run = finish.run
                job_id = run.job.id
                live = self._live.get(job_id)
                if live is None or live.pop((run.fire_us, run.attempt), None) is None:
                    continue
                if not live:
                    del self._live[job_id]
                self._history.append(ended_record(finish))

    def next_due(self) -> Due:
        with self._turns.take():
            if self._now.wall_us == self._now.steady_us and not self._claimed:
                earliest = self._store.get_next_run_time()
                return Due(None if earliest is None else from_datetime(earliest), None)
            # The store cannot tell the timelines apart, nor leave out what is claimed: all its jobs have to be looked at.
            return Due(self._earliest(elapsed=False), self._earliest(elapsed=True))

    def _earliest(self, *, elapsed: bool) -> int | None:
        due = [
            entry.due_us
            for entry in self._all()
            if entry.due_us is not None and entry.job.id not in self._claimed and entry.job.trigger.elapsed is elapsed
        ]
        return min(due, default=None)

    def recover(self, known: Collection[Run]) -> Recovered:
        with self._turns.take():
            self._claimed.clear()
            mine = {(run.job.id, run.fire_us, run.attempt) for run in known}
            live = [run for runs in self._live.values() for run in runs.values()]
            return Recovered([run for run in live if (run.job.id, run.fire_us, run.attempt) not in mine], [])

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        with self._turns.take():
            records = [
                RunRecord(run.job.id, run.fire_us, run.attempt, RunState.SUBMITTED)
                for runs in self._live.values()
                for run in runs.values()
            ]
            records += reversed(self._history)
        found = [
            record
            for record in records
            if (job_id is None or record.job_id == job_id)
            and (not failed or record.state in (RunState.FAILED, RunState.LOST))
        ]
        found.sort(key=lambda record: record.fire_us, reverse=True)
        return found[:limit]

    # -- the ten methods of 3.x are the store's own -----------------------------------------------------------------------

    def get_due_jobs(self, now: datetime) -> list[Job]:
        with self._turns.take():
            return self._store.get_due_jobs(now)

    def get_next_run_time(self) -> datetime | None:
        with self._turns.take():
            return self._store.get_next_run_time()


def _listing_order(entry: JobEntry) -> tuple[bool, int, str]:
    return (entry.due_us is None, entry.due_us or 0, entry.job.id)

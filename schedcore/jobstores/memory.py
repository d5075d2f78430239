"""Jobs in memory: a heap of instants for each timeline, and indexes by id and by instant.

No operation is linear in the number of jobs: what changes gets a new place in its heap, and the old place is passed
over when it comes up (and swept out when such places outnumber the others, so that the heap stays within twice the
jobs). A place is one integer, the key: the dispatch instant above a serial number, so that jobs that are due together
keep their order. Whose place it is says ``_places``, and a key that is not in there is an old one.

No job has an object of its own here beside its record. ``_jobs`` has its key, which is its instant too; ``_places`` has the
record, or, where more is to be said (a fire time that is not the instant of dispatch), the entry. A job that has no place,
because it is paused, broken or claimed, has its entry in ``_jobs``. (Of 100,000 jobs, each object that the garbage
collector has to visit costs 0.3 us a job while they are added.)

A run's token is the serial number of its decision, so that the run of a job that was removed does not equal that of
another which came under its id. A claim's fence is the entry that it put into ``_jobs``: it holds as long as that is there,
and any change puts something else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Container, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

from schedcore._locks import ShortLock
from schedcore.clock import Now
from schedcore.engine import Claim, Decision, plain_next
from schedcore.errors import ConfigurationError, ConflictingIdError, JobLookupError
from schedcore.job import JobEntry, JobRecord, JobState
from schedcore.jobstores._outcome import outcome
from schedcore.jobstores.base import Committed, Due, JobStore, Recovered, StoreTraits
from schedcore.run import Finish, Run, RunRecord, RunState, skip_record

__all__ = ["MemoryJobStore"]

# So many that serial numbers never start again: no two keys are equal. The integers take no more room than with half of it.
_SERIAL_BITS = 60
# Removed jobs between two looks whether old places outnumber the jobs.
_SWEEP_EVERY = 32
# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__
# Looking a member of an enumeration up costs as much as a call.
_ACTIVE = JobState.ACTIVE

_Heap = list[int]
# What is kept of a finished run: its record, or, where it neither raised nor returned anything, what it was reported with.
_Past = RunRecord | Finish


class MemoryJobStore(JobStore):
    """Keeps jobs until the process ends. ``history``: how many run records are kept, over all jobs."""

    traits = StoreTraits(blocking=False, durable=False)

    def __init__(self, history: int = 1000) -> None:
        if isinstance(history, bool) or not isinstance(history, int) or history < 0:
            raise ConfigurationError(f"history must be a number of run records (0 or more), not {history!r}")
        self._lock = ShortLock()
        self._jobs: dict[str, int | JobEntry] = {}  # the keys of those in a heap, the entries of others
        self._wall: _Heap = []
        self._steady: _Heap = []
        self._places: dict[int, JobRecord | JobEntry] = {}  # by key, what is in a heap
        self._serial = 0
        self._removed = 0  # jobs, counted as far as ``_SWEEP_EVERY``
        self._claimed: list[JobEntry] = []
        self._live: dict[str, list[Run]] = {}  # by job, if it has any
        self._orphans: dict[str, list[Run]] = {}  # by job, the live runs of jobs that are gone
        self._history: deque[_Past] = deque(maxlen=history)

    # -- jobs -----------------------------------------------------------------------------------------------------------

    def add_entries(self, entries: Sequence[JobEntry]) -> None:
        with self._lock:
            jobs = self._jobs
            if len(entries) > 1:
                seen: set[str] = set()
                for entry in entries:
                    job_id = entry.job.id
                    if job_id in jobs or job_id in seen:
                        raise ConflictingIdError(job_id)
                    seen.add(job_id)
            for entry in entries:
                job, state, fire_us, due_us, reason = entry
                job_id = job.id
                if job_id in jobs:
                    raise ConflictingIdError(job_id)
                if due_us is None:
                    jobs[job_id] = entry
                    continue
                # As in ``_put``, without the call: jobs are added by the thousand.
                self._serial = serial = self._serial + 1
                jobs[job_id] = key = (due_us << _SERIAL_BITS) | serial
                plain = due_us == fire_us and state is _ACTIVE and reason is None
                self._places[key] = job if plain else entry
                heappush(self._steady if job.trigger.elapsed else self._wall, key)

    def _put(self, entry: JobEntry) -> None:
        """Give a job, which is in no heap, its place."""
        job, state, fire_us, due_us, reason = entry
        if due_us is None:
            self._jobs[job.id] = entry
            return
        self._serial = serial = self._serial + 1
        self._jobs[job.id] = key = (due_us << _SERIAL_BITS) | serial
        plain = due_us == fire_us and state is _ACTIVE and reason is None
        self._places[key] = job if plain else entry
        heappush(self._steady if job.trigger.elapsed else self._wall, key)

    def get_entry(self, job_id: str) -> JobEntry | None:
        with self._lock:
            found = self._jobs.get(job_id)
            return None if found is None else self._view(found)

    def _view(self, found: int | JobEntry) -> JobEntry:
        if not isinstance(found, int):
            return found
        item = self._places[found]
        if isinstance(item, JobEntry):
            return item
        due_us = found >> _SERIAL_BITS
        return JobEntry(item, _ACTIVE, due_us, due_us)

    def list_entries(self, after: JobEntry | None = None, limit: int | None = None) -> list[JobEntry]:
        with self._lock:
            views = [self._view(entry) for entry in self._jobs.values()]
        views.sort(key=_listing_order)
        if after is not None:
            last = _listing_order(after)
            views = [view for view in views if _listing_order(view) > last]
        return views if limit is None else views[:limit]

    def replace_entry(self, old: JobEntry, new: JobEntry, skipped: Sequence[RunRecord] = ()) -> bool:
        job_id = old.job.id
        with self._lock:
            found = self._jobs.get(job_id)
            if found is None:
                raise JobLookupError(job_id)
            entry = self._view(found)
            if entry.job is not old.job or entry.fire_us != old.fire_us or entry.due_us != old.due_us:
                return False
            if isinstance(found, int):
                del self._places[found]
            self._put(new)
            self._history.extend(skipped)
            if len(self._wall) + len(self._steady) > 2 * len(self._jobs) + 64:
                self._sweep()
            return True

    def remove_job(self, job_id: str) -> None:
        with self._lock:
            jobs = self._jobs
            found = jobs.pop(job_id, None)
            if found is None:
                raise JobLookupError(job_id)
            if type(found) is int:
                del self._places[found]
            if self._live:
                self._orphan(job_id)
            self._removed = removed = (self._removed + 1) % _SWEEP_EVERY
            if not removed and len(self._wall) + len(self._steady) > 2 * len(jobs) + 64:
                self._sweep()

    def _orphan(self, job_id: str) -> None:
        """The runs of a job that is gone go on."""
        runs = self._live.pop(job_id, None)
        if runs is not None:
            self._orphans.setdefault(job_id, []).extend(runs)

    def _count_live(self, job_id: str) -> int:
        """The runs that are live under this id; another job may have come under it since they began."""
        return len(self._live.get(job_id, ())) + len(self._orphans.get(job_id, ()))

    def _take_orphan(self, run: Run) -> bool:
        job_id = run.job.id
        runs = self._orphans.get(job_id, [])
        if run not in runs:
            return False
        runs.remove(run)
        if not runs:
            del self._orphans[job_id]
        return True

    def remove_all_jobs(self) -> None:
        with self._lock:
            for job_id in list(self._live):
                self._orphan(job_id)
            self._jobs.clear()
            self._places.clear()
            self._wall.clear()
            self._steady.clear()

    def _sweep(self) -> None:
        """Drop old places, once they outnumber the jobs: amortised, a constant for each change."""
        places = self._places
        for heap in (self._wall, self._steady):
            heap[:] = [key for key in heap if key in places]
            heapify(heap)

    # -- the way of a run -----------------------------------------------------------------------------------------------

    def acquire(self, now: Now, limit: int) -> list[Claim]:
        return self.fire(now, limit, ())[1]

    def fire(self, now: Now, limit: int, executors: Container[str]) -> tuple[list[Run], list[Claim]]:
        runs: list[Run] = []
        claims: list[Claim] = []
        alias = self._alias
        with self._lock:
            serial = self._serial
            jobs = self._jobs
            places = self._places
            lives = self._live
            orphans = self._orphans
            for heap, now_us in ((self._steady, now.steady_us), (self._wall, now.wall_us)):
                limit_key = (now_us + 1) << _SERIAL_BITS
                while heap and heap[0] < limit_key and len(runs) + len(claims) < limit:
                    key = heap[0]
                    item = places.get(key)
                    if item is None:
                        heappop(heap)
                        continue
                    fire_us: Any
                    due_us: Any
                    if isinstance(item, JobEntry):
                        job, _, fire_us, due_us, _ = entry = item
                    else:
                        job = item
                        fire_us = due_us = key >> _SERIAL_BITS
                        entry = None
                    job_id = job.id
                    live = lives.get(job_id)
                    count = 0 if live is None and not orphans else self._count_live(job_id)
                    if job.policy.executor in executors:
                        next_us = plain_next(job, fire_us, due_us, count, now_us)
                        if next_us is not None:
                            del places[key]
                            serial += 1
                            jobs[job_id] = key = (next_us << _SERIAL_BITS) | serial
                            places[key] = job
                            # One sift of the heap instead of two.
                            heapreplace(heap, key)
                            run = _new(Run, (job, alias, fire_us, 1, serial))
                            if live is None:
                                lives[job_id] = [run]
                            else:
                                live.append(run)
                            runs.append(run)
                            continue
                    heappop(heap)
                    del places[key]
                    if entry is None:
                        entry = JobEntry(job, _ACTIVE, fire_us, due_us)
                    jobs[job_id] = entry
                    claims.append(Claim(job, fire_us, due_us, count, entry))
            self._serial = serial
            self._claimed += [claim.token for claim in claims]
        if len(claims) > 1 and claims[0].job.trigger.elapsed != claims[-1].job.trigger.elapsed:
            claims.sort(key=_claim_order)
        return runs, claims

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        runs: list[Run] = []
        dropped: list[Decision] = []
        plain = True
        alias = self._alias
        with self._lock:
            jobs = self._jobs
            lives = self._live
            for decision in decisions:
                claim, fires, skips, next_us, due_us, broken, _ = decision
                job = claim.job
                job_id = job.id
                # Changed since, or changed and then claimed again by somebody else.
                if jobs.get(job_id) is not claim.token:
                    dropped.append(decision)
                    plain = False
                    continue
                self._serial = serial = self._serial + 1
                for fire_us in fires:
                    run = Run(job, alias, fire_us, 1, serial)
                    runs.append(run)
                    live = lives.get(job_id)
                    if live is None:
                        lives[job_id] = [run]
                    else:
                        live.append(run)
                if next_us is not None and due_us is not None:
                    self._put(JobEntry(job, _ACTIVE, next_us, due_us))
                elif broken is not None:
                    plain = False
                    kept_us = None if fires or skips else claim.fire_us
                    jobs[job_id] = JobEntry(job, JobState.BROKEN, kept_us, None, broken)
                else:
                    plain = False
                    del jobs[job_id]
                    self._orphan(job_id)
                if len(fires) != 1:
                    plain = False
                if skips:
                    plain = False
                    for skip in skips:
                        self._history.append(skip_record(job_id, skip, now_us))
            self._claimed = [entry for entry in self._claimed if jobs.get(entry.job.id) is entry]
        return Committed(runs, dropped, plain)

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        """Nothing to keep: what began here ends here."""

    def finish(self, finishes: Sequence[Finish]) -> None:
        history = self._history
        keep = history.maxlen != 0
        with self._lock:
            lives = self._live
            for finish in finishes:
                run, state, started_us, finished_us, retval, exception, _ = finish
                job_id = run.job.id
                live = lives.get(job_id)
                if live is not None and run in live:
                    if len(live) == 1:
                        del lives[job_id]
                    else:
                        live.remove(run)
                elif not self._take_orphan(run):
                    continue  # it was told before
                if not keep:
                    continue
                if exception is None and retval is None:
                    history.append(finish)
                    continue
                reason, error, trace, result, output, exit_code = outcome(finish)
                history.append(
                    RunRecord(
                        job_id,
                        run.fire_us,
                        run.attempt,
                        state,
                        reason,
                        started_us=started_us,
                        finished_us=finished_us,
                        error=error,
                        traceback=trace,
                        result=result,
                        output=output,
                        exit_code=exit_code,
                    )
                )

    def next_due(self) -> Due:
        with self._lock:
            return Due(self._peek(self._wall), self._peek(self._steady))

    def _peek(self, heap: _Heap) -> int | None:
        places = self._places
        while heap:
            if heap[0] in places:
                return heap[0] >> _SERIAL_BITS
            heappop(heap)
        return None

    def recover(self, known: Collection[Run]) -> Recovered:
        """Put back what was claimed and never committed, and give again the runs that nobody knows of."""
        held = {id(run) for run in known}
        with self._lock:
            runs = [run for live in self._live.values() for run in live if id(run) not in held]
            # Whoever is not known has nobody to report its end.
            orphans = [run for runs in self._orphans.values() for run in runs if id(run) not in held]
            for run in orphans:
                self._take_orphan(run)
            for entry in self._claimed:
                if self._jobs.get(entry.job.id) is entry:
                    self._put(entry)
            self._claimed = []
        return Recovered(runs, [])

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        with self._lock:
            past = list(self._history)
            live = [run for runs in self._live.values() for run in runs]
        records = [RunRecord(run.job.id, run.fire_us, run.attempt, RunState.SUBMITTED) for run in live]
        for item in reversed(past):
            if isinstance(item, RunRecord):
                records.append(item)
            else:
                run, state, started_us, finished_us, *_ = item
                records.append(
                    RunRecord(
                        run.job.id,
                        run.fire_us,
                        run.attempt,
                        state,
                        started_us=started_us,
                        finished_us=finished_us,
                    )
                )
        found = [
            record
            for record in records
            if (job_id is None or record.job_id == job_id)
            and (not failed or record.state in (RunState.FAILED, RunState.LOST))
        ]
        found.sort(key=_fire_time, reverse=True)
        return found[:limit]


def _listing_order(entry: JobEntry) -> tuple[bool, int, str]:
    return (entry.due_us is None, entry.due_us or 0, entry.job.id)


def _fire_time(record: RunRecord) -> int:
    return record.fire_us


def _claim_order(claim: Claim) -> int:
    return claim.due_us

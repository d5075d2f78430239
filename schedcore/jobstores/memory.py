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

The lock keeps other threads out, and not what Python runs in the midst of whatever a thread does: signal handlers, which may
raise, and destructors, and either may change jobs. It runs them where something is called, or made that the garbage collector
visits. So what a change is made of is made ready first, and then put down without a call in between, if the job is still what
it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Container, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

from schedcore.clock import Now
from schedcore.engine import Claim, Decision, plain_next
from schedcore.errors import ConfigurationError, ConflictingIdError, JobLookupError
from schedcore.job import JobEntry, JobRecord, JobState
from schedcore.jobstores._outcome import ended_record
from schedcore.jobstores.base import Committed, Due, JobStore, Recovered, StoreTraits
from schedcore.locks import ShortLock
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

    def awaited_here(self) -> bool:
        lock: Any = self._lock
        return bool(lock._is_owned())

    # -- jobs -----------------------------------------------------------------------------------------------------------

    def add_entries(self, entries: Sequence[JobEntry], skipped: Sequence[RunRecord] = ()) -> None:
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
                job, state, fire_us, due_us, reason, _ = entry
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
            if skipped:
                self._history.extend(skipped)

    def _turn(self, job: JobRecord, old: Any, new: JobEntry | None, runs: list[Run]) -> bool:
        """Make a job what it is from now on (None: gone), and its ``runs`` live. False when it is not ``old``, which is what
        ``_jobs`` had for it, any more.
        """
        job_id = job.id
        jobs, places, lives = self._jobs, self._places, self._live
        place = old if isinstance(old, int) else None
        if new is not None and new.due_us is not None:
            self._serial = serial = self._serial + 1
            key = (new.due_us << _SERIAL_BITS) | serial
            # First: until it is somebody's, it is as good as an old place.
            heappush(self._steady if job.trigger.elapsed else self._wall, key)
        if jobs is not self._jobs or job_id not in jobs or jobs[job_id] is not old:
            return False
        if place is not None:
            del places[place]
        if new is None:
            del jobs[job_id]
        elif new.due_us is None:
            jobs[job_id] = new
        else:
            jobs[job_id] = key
            plain = new.due_us == new.fire_us and new.state is _ACTIVE and new.reason is None
            places[key] = new.job if plain else new
        if runs:
            if job_id in lives:
                lives[job_id] += runs
            else:
                lives[job_id] = runs
        return True

    def get_entry(self, job_id: str) -> JobEntry | None:
        with self._lock:
            return self._view(job_id)

    def _view(self, job_id: str) -> JobEntry | None:
        while True:
            found = self._jobs.get(job_id)
            if not isinstance(found, int):
                return found
            item = self._places.get(found)
            if isinstance(item, JobEntry):
                return item
            if item is not None:
                due_us = found >> _SERIAL_BITS
                return JobEntry(item, _ACTIVE, due_us, due_us)

    def list_entries(self, after: JobEntry | None = None, limit: int | None = None) -> list[JobEntry]:
        with self._lock:
            views = [view for job_id in list(self._jobs) if (view := self._view(job_id)) is not None]
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
            entry = self._view(job_id)
            if entry is None or entry.job is not old.job:
                return False
            if entry.fire_us != old.fire_us or entry.due_us != old.due_us or not self._turn(new.job, found, new, []):
                return False
            self._history.extend(skipped)
            if len(self._wall) + len(self._steady) > 2 * len(self._jobs) + 64:
                self._sweep()
            return True

    def remove_job(self, job_id: str) -> None:
        with self._lock:
            jobs = self._jobs
            try:
                found: Any = jobs[job_id]
            except KeyError:
                raise JobLookupError(job_id) from None
            del jobs[job_id]
            if found.__class__ is int:  # not by a call
                del self._places[found]
            if self._live:
                self._orphan(job_id)
            self._removed = removed = (self._removed + 1) % _SWEEP_EVERY
            if not removed and len(self._wall) + len(self._steady) > 2 * len(jobs) + 64:
                self._sweep()

    def _orphan(self, job_id: str) -> None:
        """The runs of a job that is gone go on."""
        lives, orphans = self._live, self._orphans
        if job_id in lives:
            if job_id in orphans:
                orphans[job_id] += lives[job_id]
            else:
                orphans[job_id] = lives[job_id]
            del lives[job_id]

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
        # They are let go of at the end: what goes with them may have destructors.
        gone: Any = (self._jobs, self._places)
        with self._lock:
            for job_id in list(self._live):
                self._orphan(job_id)
            self._jobs, self._places, self._wall, self._steady = {}, {}, [], []
        del gone

    def _sweep(self) -> None:
        """Drop old places, once they outnumber the jobs: amortised, a constant for each change."""
        places = self._places
        for heap in (self._wall, self._steady):
            heap[:] = filter(places.__contains__, heap)
            heapify(heap)

    # -- the way of a run -----------------------------------------------------------------------------------------------

    def acquire(self, now: Now, limit: int) -> list[Claim]:
        return self.fire(now, limit, ())[1]

    def fire(self, now: Now, limit: int, executors: Container[str]) -> tuple[list[Run], list[Claim]]:
        runs: list[Run] = []
        claims: list[Claim] = []
        alias = self._alias
        with self._lock:
            jobs = self._jobs
            places = self._places
            lives = self._live
            orphans = self._orphans
            claimed = self._claimed
            for heap, now_us in ((self._steady, now.steady_us), (self._wall, now.wall_us)):
                limit_key = (now_us + 1) << _SERIAL_BITS
                while len(runs) + len(claims) < limit and heap and heap[0] < limit_key:
                    key = heap[0]
                    if key not in places:
                        heappop(heap)
                        continue
                    item = places[key]
                    fire_us: Any
                    due_us: Any
                    if isinstance(item, JobEntry):
                        job, _, fire_us, due_us, _, _ = entry = item
                    else:
                        job = item
                        fire_us = due_us = key >> _SERIAL_BITS
                        entry = None
                    job_id = job.id
                    live = lives.get(job_id)
                    count = 0 if live is None and not orphans else self._count_live(job_id)
                    next_us = None
                    if job.policy.executor in executors:
                        next_us = plain_next(job, fire_us, due_us, count, now_us)
                    if next_us is not None:
                        self._serial = serial = self._serial + 1
                        run = _new(Run, (job, alias, fire_us, 1, serial))
                        alone = [run]
                        if not heap or heap[0] != key or key not in self._places:
                            break  # what comes first is another one now; the next step begins with it
                        del places[key]
                        jobs[job_id] = key = (next_us << _SERIAL_BITS) | serial
                        places[key] = job
                        if live is None:
                            lives[job_id] = alone
                        else:
                            live += alone
                        # One sift of the heap instead of two.
                        heapreplace(heap, key)
                        runs.append(run)
                        continue
                    if entry is None:
                        entry = JobEntry(job, _ACTIVE, fire_us, due_us)
                    claim = Claim(job, fire_us, due_us, count, entry)
                    mine = [entry]
                    if not heap or heap[0] != key or key not in self._places:
                        break
                    del places[key]
                    jobs[job_id] = entry
                    claimed += mine
                    heappop(heap)
                    claims.append(claim)
        if len(claims) > 1 and claims[0].job.trigger.elapsed != claims[-1].job.trigger.elapsed:
            claims.sort(key=_claim_order)
        return runs, claims

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        runs: list[Run] = []
        dropped: list[Decision] = []
        plain = True
        alias = self._alias
        with self._lock:
            for decision in decisions:
                claim, fires, skips, next_us, due_us, broken, _ = decision
                job = claim.job
                job_id = job.id
                self._serial = serial = self._serial + 1
                its: list[Run] = []
                for fire_us in fires:
                    its.append(_new(Run, (job, alias, fire_us, 1, serial)))
                new: JobEntry | None = None
                if next_us is not None and due_us is not None:
                    new = JobEntry(job, _ACTIVE, next_us, due_us)
                else:
                    plain = False
                    if broken is not None:
                        new = JobEntry(job, JobState.BROKEN, None if fires or skips else claim.fire_us, None, broken)
                # Changed since, or changed and then claimed again by somebody else.
                if not self._turn(job, claim.token, new, its):
                    dropped.append(decision)
                    plain = False
                    continue
                runs += its
                if new is None:
                    self._orphan(job_id)
                if len(fires) != 1:
                    plain = False
                if skips:
                    plain = False
                    for skip in skips:
                        self._history.append(skip_record(job_id, skip, now_us))
            self._claimed = [entry for entry in self._claimed if self._jobs.get(entry.job.id) is entry]
        return Committed(runs, dropped, plain)

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        """Nothing to keep: what began here ends here."""

    def finish(self, finishes: Sequence[Finish]) -> None:
        history = self._history
        keep = history.maxlen != 0
        pasts: Sequence[_Past] = finishes
        if keep:
            # Before the lock is taken: the text of what a job returned or raised is made by anybody's code.
            pasts = [finish if finish[4] is None and finish[5] is None else ended_record(finish) for finish in finishes]
        with self._lock:
            lives = self._live
            for finish, past in zip(finishes, pasts, strict=True):
                run = finish[0]
                job_id = run.job.id
                alone = [run]
                if job_id in lives and run in lives[job_id]:
                    if lives[job_id] == alone:
                        del lives[job_id]
                    else:
                        lives[job_id].remove(run)
                elif not self._take_orphan(run):
                    continue  # it was told before
                if keep:
                    history.append(past)

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
            runs = [run for live in list(self._live.values()) for run in live if id(run) not in held]
            # Whoever is not known has nobody to report its end.
            orphans = [run for runs in list(self._orphans.values()) for run in runs if id(run) not in held]
            for run in orphans:
                self._take_orphan(run)
            for entry in self._claimed:
                self._turn(entry.job, entry, entry, [])
            self._claimed = []
        return Recovered(runs, [])

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        with self._lock:
            past = list(self._history)
            # Those of a job that is gone, a single run's for example, go on like others.
            live = [run for lives in (self._live, self._orphans) for runs in list(lives.values()) for run in runs]
        records = [RunRecord(run.job.id, run.fire_us, run.attempt, RunState.SUBMITTED) for run in live]
        for item in reversed(past):
            records.append(item if isinstance(item, RunRecord) else ended_record(item))
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

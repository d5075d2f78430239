"""Jobs in memory: a heap for each timeline and an index by id.

No operation is linear in the number of jobs: what changes gets a new place in its heap, and the old place is passed
over when it comes up (and swept out when such places outnumber the others, so that the heap stays within twice the
jobs). Heap items are pairs (key, entry). The key is one integer, the dispatch instant above a serial number: pairs
never compare entries, jobs that are due together keep their order, and an item is valid while it holds the entry's
own key.

The fence of a claim is the entry's key too: a claim sets it to ``_CLAIMED``, and any change in between to something else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Container, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

from schedcore.clock import Now
from schedcore.engine import Claim, Decision, plain_next
from schedcore.errors import ConfigurationError, ConflictingIdError, JobLookupError
from schedcore.job import JobEntry, JobRecord, JobState
from schedcore.jobstores._outcome import outcome
from schedcore.jobstores.base import Committed, Due, JobStore, Recovered, StoreTraits
from schedcore.run import Finish, Run, RunRecord, RunState, skip_record

__all__ = ["MemoryJobStore"]

_SERIAL_BITS = 24
_SERIAL_MASK = (1 << _SERIAL_BITS) - 1
# Keys that no heap item has: below every instant since the epoch, and told apart by value.
_UNSCHEDULED = -1
_CLAIMED = -2
_GONE = -3

# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__

_Heap = list[tuple[int, "_Entry"]]
# What is kept of a finished run: its record, or, where it neither raised nor returned anything, what it was reported with.
_Past = RunRecord | Finish


class _Entry:
    """One job, mutable, guarded by the store's lock. ``live`` holds its live runs, or None when there are none."""

    __slots__ = ("due_us", "fire_us", "job", "key", "live", "state")

    def __init__(self, job: JobRecord, state: JobState, fire_us: int | None, due_us: int | None) -> None:
        self.job = job
        self.state = state
        self.fire_us = fire_us
        self.due_us = due_us
        self.key = _UNSCHEDULED
        self.live: list[Run] | None = None

    def __lt__(self, other: _Entry) -> bool:
        # Reached only if two serial numbers, 16 million apart, meet at one instant.
        return False


class MemoryJobStore(JobStore):
    """Keeps jobs until the process ends. ``history``: how many run records are kept, over all jobs."""

    traits = StoreTraits(blocking=False, durable=False)

    def __init__(self, history: int = 1000) -> None:
        if isinstance(history, bool) or not isinstance(history, int) or history < 0:
            raise ConfigurationError(f"history must be a number of run records (0 or more), not {history!r}")
        self._lock = threading.Lock()
        self._jobs: dict[str, _Entry] = {}
        self._wall: _Heap = []
        self._steady: _Heap = []
        self._serial = 0
        self._reasons: dict[str, str] = {}
        self._claimed: list[_Entry] = []
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
            for job, state, fire_us, due_us, reason in entries:
                if job.id in jobs:
                    raise ConflictingIdError(job.id)
                jobs[job.id] = kept = _Entry(job, state, fire_us, due_us)
                if due_us is not None:
                    # As in ``_push``, without the call: jobs are added by the thousand.
                    self._serial = serial = (self._serial + 1) & _SERIAL_MASK
                    kept.key = key = (due_us << _SERIAL_BITS) | serial
                    heappush(self._steady if job.trigger.elapsed else self._wall, (key, kept))
                if reason is not None:
                    self._reasons[job.id] = reason

    def _push(self, entry: _Entry, due_us: int) -> None:
        self._serial = serial = (self._serial + 1) & _SERIAL_MASK
        entry.key = key = (due_us << _SERIAL_BITS) | serial
        heappush(self._steady if entry.job.trigger.elapsed else self._wall, (key, entry))

    def get_entry(self, job_id: str) -> JobEntry | None:
        with self._lock:
            entry = self._jobs.get(job_id)
            return None if entry is None else self._view(entry)

    def _view(self, entry: _Entry) -> JobEntry:
        reason = self._reasons.get(entry.job.id) if self._reasons else None
        return JobEntry(entry.job, entry.state, entry.fire_us, entry.due_us, reason)

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
            entry = self._jobs.get(job_id)
            if entry is None:
                raise JobLookupError(job_id)
            if entry.job is not old.job or entry.fire_us != old.fire_us or entry.due_us != old.due_us:
                return False
            entry.job, entry.state, entry.fire_us, entry.due_us, reason = new
            if reason is None:
                self._reasons.pop(job_id, None)
            else:
                self._reasons[job_id] = reason
            if new.due_us is None:
                entry.key = _UNSCHEDULED
            else:
                self._push(entry, new.due_us)
            self._history.extend(skipped)
            self._sweep()
            return True

    def remove_job(self, job_id: str) -> None:
        with self._lock:
            entry = self._jobs.pop(job_id, None)
            if entry is None:
                raise JobLookupError(job_id)
            entry.key = _GONE
            if self._reasons:
                self._reasons.pop(job_id, None)
            self._sweep()

    def remove_all_jobs(self) -> None:
        with self._lock:
            for entry in self._jobs.values():
                entry.key = _GONE
            self._jobs.clear()
            self._reasons.clear()
            self._wall.clear()
            self._steady.clear()

    def _sweep(self) -> None:
        """Drop outdated heap items once they outnumber the jobs: amortised, a constant for each change."""
        if len(self._wall) + len(self._steady) > 2 * len(self._jobs) + 64:
            for heap in (self._wall, self._steady):
                heap[:] = [item for item in heap if item[1].key == item[0]]
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
            for heap, now_us in ((self._steady, now.steady_us), (self._wall, now.wall_us)):
                limit_key = (now_us + 1) << _SERIAL_BITS
                while heap and heap[0][0] < limit_key and len(runs) + len(claims) < limit:
                    key, entry = heap[0]
                    if entry.key != key:
                        heappop(heap)
                        continue
                    job = entry.job
                    if job.policy.executor in executors:
                        live = entry.live
                        fire_us: Any = entry.fire_us
                        due_us: Any = entry.due_us
                        next_us = plain_next(job, fire_us, due_us, 0 if live is None else len(live), now_us)
                        if next_us is not None:
                            # One sift of the heap instead of two.
                            serial = (serial + 1) & _SERIAL_MASK
                            entry.key = key = (next_us << _SERIAL_BITS) | serial
                            heapreplace(heap, (key, entry))
                            entry.fire_us = entry.due_us = next_us
                            run = _new(Run, (job, alias, fire_us, 1, entry))
                            if live is None:
                                entry.live = [run]
                            else:
                                live.append(run)
                            runs.append(run)
                            continue
                    heappop(heap)
                    entry.key = _CLAIMED
                    fire_us, due_us = entry.fire_us, entry.due_us
                    claims.append(Claim(job, fire_us, due_us, 0 if entry.live is None else len(entry.live), entry))
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
            for decision in decisions:
                claim, fires, skips, next_us, due_us, broken, _ = decision
                entry: _Entry = claim.token
                # Changed since, or changed and then claimed again by somebody else.
                if entry.key != _CLAIMED or claim[0] is not entry.job or claim[1] != entry.fire_us:
                    dropped.append(decision)
                    plain = False
                    continue
                job = entry.job
                if next_us is not None and due_us is not None:
                    entry.fire_us = next_us
                    entry.due_us = due_us
                    self._push(entry, due_us)
                elif broken is not None:
                    plain = False
                    entry.state = JobState.BROKEN
                    entry.fire_us = None if fires or skips else claim.fire_us
                    entry.due_us = None
                    entry.key = _UNSCHEDULED
                    self._reasons[job.id] = broken
                else:
                    plain = False
                    del self._jobs[job.id]
                    entry.state = JobState.ENDED
                    entry.key = _GONE
                if len(fires) != 1:
                    plain = False
                for fire_us in fires:
                    run = Run(job, alias, fire_us, 1, entry)
                    runs.append(run)
                    live = entry.live
                    if live is None:
                        entry.live = [run]
                    else:
                        live.append(run)
                if skips:
                    plain = False
                    for skip in skips:
                        self._history.append(skip_record(job.id, skip, now_us))
            self._claimed = [entry for entry in self._claimed if entry.key == _CLAIMED]
        return Committed(runs, dropped, plain)

    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        """Nothing to keep: what began here ends here."""

    def finish(self, finishes: Sequence[Finish]) -> None:
        history = self._history
        keep = history.maxlen != 0
        with self._lock:
            for finish in finishes:
                run, state, started_us, finished_us, retval, exception, _ = finish
                entry: _Entry = run.token
                live = entry.live
                if live is None:
                    continue  # it was told before
                if live[0] is run and len(live) == 1:
                    entry.live = None
                elif run in live:
                    live.remove(run)
                    if not live:
                        entry.live = None
                else:
                    continue
                if not keep:
                    continue
                if exception is None and retval is None:
                    history.append(finish)
                    continue
                reason, error, trace, result, output, exit_code = outcome(finish)
                history.append(
                    RunRecord(
                        run.job.id,
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
            return Due(_peek(self._wall), _peek(self._steady))

    def recover(self, known: Collection[Run]) -> Recovered:
        """Put back what was claimed and never committed, and give again the runs that nobody knows of."""
        held = {id(run) for run in known}
        with self._lock:
            runs = [run for entry in self._jobs.values() for run in entry.live or () if id(run) not in held]
            for entry in self._claimed:
                if entry.key == _CLAIMED and entry.due_us is not None:
                    self._push(entry, entry.due_us)
            self._claimed = []
        return Recovered(runs, [])

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        with self._lock:
            past = list(self._history)
            live = [run for entry in self._jobs.values() if entry.live for run in entry.live]
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


def _peek(heap: _Heap) -> int | None:
    while heap:
        key, entry = heap[0]
        if entry.key == key:
            return key >> _SERIAL_BITS
        heappop(heap)
    return None

"""A random walk: the same operations on a store and on the one in memory, which must agree on everything after each of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

from schedcore.clock import Now
from schedcore.engine import Claim, Decision, decide
from schedcore.errors import ConflictingIdError, JobLookupError
from schedcore.job import JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores.base import JobStore
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Finish, Run, RunRecord, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import VirtualClock
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

__all__ = ["walk", "work"]

# Microseconds: 2026-01-01T00:00:00Z, and a second.
T0 = 1_767_225_600_000_000
SECOND = 1_000_000
IDS = [f"{name}{number}" for name in ("a", "B/b", "ü %", "c d") for number in range(5)]


def work(*_: Any) -> None:
    """The function of the jobs. It is never called."""


class _Walk:
    def __init__(self, make: Callable[[], JobStore], seed: int) -> None:
        self.random = Random(seed)
        self.scheduler = BackgroundScheduler(clock=VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)), timezone="UTC")
        self.make = make
        self.memory = MemoryJobStore(history=100_000)
        self.memory.start(self.scheduler, "default")
        self.store = self.open()
        self.now_us = T0
        self.claims: list[tuple[Claim, Claim]] = []
        self.live: list[tuple[Run, Run]] = []
        self.instant = 0

    def open(self) -> JobStore:
        store = self.make()
        store.start(self.scheduler, "default")
        return store

    # --- what jobs are made of ---

    def some_instant(self) -> int:
        """Later than all that were decided about, and no other job's, so that the order of what is due is one."""
        self.instant += 1
        return self.now_us + self.random.choice((1, 30, 90, 4000, 10**8)) * SECOND + self.instant

    def some_entry(self, job_id: str) -> JobEntry:
        at_us = self.some_instant()
        trigger: EngineTrigger = self.random.choice(
            (
                IntervalTrigger(seconds=7, start_date="2026-01-01T00:00:00+00:00"),
                IntervalTrigger(seconds=1, start_date="2026-01-01T00:00:00+00:00"),
                CronTrigger(second="*/20", timezone="UTC"),
                DateTrigger("2026-01-01T00:00:00+00:00"),
            )
        )
        policy = JobPolicy(
            coalesce=self.random.random() < 0.5,
            max_instances=self.random.choice((1, 3)),
            max_catchup=5,
            misfire_grace_us=self.random.choice((None, 5 * SECOND)),
        )
        job = JobRecord(job_id, "name", work, None, (self.random.randrange(9),), {}, trigger, policy.intern())
        if self.random.random() < 0.2:
            return JobEntry(job, JobState.PAUSED)
        return JobEntry(job, JobState.ACTIVE, at_us, at_us)

    # --- the steps ---

    def both(self, call: Callable[[JobStore], Any]) -> Any:
        """What both of them give, or raise."""

        def outcome(store: JobStore) -> Any:
            try:
                return call(store)
            except (ConflictingIdError, JobLookupError) as error:
                return type(error)

        mine, theirs = outcome(self.store), outcome(self.memory)
        assert mine == theirs, f"{mine} is not {theirs}"
        return mine

    def add(self) -> None:
        entries = [self.some_entry(job_id) for job_id in self.random.sample(IDS, self.random.randint(1, 3))]
        self.both(lambda store: store.add_entries(entries))

    def remove(self) -> None:
        job_id = self.random.choice(IDS)
        self.both(lambda store: store.remove_job(job_id))

    def remove_all(self) -> None:
        if self.random.random() < 0.1:
            self.both(lambda store: store.remove_all_jobs())

    def change(self) -> None:
        job_id = self.random.choice(IDS)
        way = self.random.choice(("args", "move", "pause", "outdated"))
        at_us = self.some_instant()

        def change(store: JobStore) -> Any:
            old = store.get_entry(job_id)
            if old is None:
                return None
            if way == "args":
                new = old._replace(job=old.job._replace(args=(*old.job.args[:3], "new")))
            elif way == "pause":
                new = JobEntry(old.job, JobState.PAUSED)
            else:
                new = JobEntry(old.job, JobState.ACTIVE, at_us, at_us)
            done = store.replace_entry(old, new)
            if way == "outdated":
                return done, store.replace_entry(old, old)
            return done

        self.both(change)

    def claim(self) -> None:
        self.now_us += self.random.choice((0, 1, 3, 20, 61)) * SECOND
        now = Now(self.now_us, self.now_us)
        limit = self.random.choice((1, 3, 50))
        mine, theirs = self.store.acquire(now, limit), self.memory.acquire(now, limit)
        # On which timeline it looks first is not said.
        if limit < 50 and {claim.job.id for claim in mine} != {claim.job.id for claim in theirs}:
            self.recover()
            return
        found = {claim.job.id: claim for claim in theirs}
        assert sorted(claim.job.id for claim in mine) == sorted(found)
        for claim in mine:
            other = found[claim.job.id]
            assert (claim.fire_us, claim.due_us, claim.live) == (other.fire_us, other.due_us, other.live)
            self.claims.append((claim, other))

    def commit(self) -> None:
        pairs, self.claims = self.claims, []
        broken = {pair[0].job.id for pair in pairs if self.random.random() < 0.1}
        some: list[list[Decision]] = [
            [
                Decision(claim, (), (), None, None, "broken") if claim.job.id in broken else decide(claim, self.now_us)
                for claim in claims
            ]
            for claims in ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        ]
        mine, theirs = self.store.commit(some[0], self.now_us), self.memory.commit(some[1], self.now_us)
        assert [(run.job.id, run.fire_us, run.attempt) for run in mine.runs] == [
            (run.job.id, run.fire_us, run.attempt) for run in theirs.runs
        ]
        assert [decision.claim.job.id for decision in mine.dropped] == [d.claim.job.id for d in theirs.dropped]
        self.live += zip(mine.runs, theirs.runs, strict=True)

    def begin(self) -> None:
        some = [(mine, self.now_us) for mine, _ in self.live if self.random.random() < 0.3]
        self.store.started(some)

    def finish(self) -> None:
        self.random.shuffle(self.live)
        count = self.random.randint(0, len(self.live))
        ended, self.live = self.live[:count], self.live[count:]
        states = [
            self.random.choice((RunState.SUCCEEDED, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED))
            for _ in ended
        ]
        for store, which in ((self.store, 0), (self.memory, 1)):
            store.finish(
                [
                    Finish(pair[which], state, pair[which].fire_us + 1, pair[which].fire_us + 2, str(state))
                    for pair, state in zip(ended, states, strict=True)
                ]
            )

    def recover(self) -> None:
        self.claims = []
        for store, which in ((self.store, 0), (self.memory, 1)):
            recovered = store.recover([pair[which] for pair in self.live])
            assert (recovered.runs, recovered.lost) == ([], [])

    def reopen(self) -> None:
        self.store.shutdown()
        self.store = self.open()
        # What was set aside and can be loaded goes on.
        for entry in self.memory.list_entries():
            if entry.state is JobState.BROKEN and entry.fire_us is not None:
                self.memory.replace_entry(entry, JobEntry(entry.job, JobState.ACTIVE, entry.fire_us, entry.fire_us))
        self.recover()

    # --- what must agree ---

    def compare(self) -> None:
        size = self.random.choice((None, 1, 3, 7))

        def listing(store: JobStore) -> list[Any]:
            entries: list[JobEntry] = []
            while page := store.list_entries(entries[-1] if entries else None, size):
                entries += page
                if size is None:
                    break
            return [(e.job.id, e.job.args, e.job.trigger, e.state, e.fire_us, e.due_us, e.reason) for e in entries]

        self.both(listing)
        self.both(lambda store: store.next_due())
        job_id = self.random.choice((None, *IDS))
        failed = self.random.random() < 0.3

        def records(store: JobStore) -> list[Any]:
            found = store.runs(job_id, failed=failed, limit=100_000)
            return sorted(
                _told(record) for record in found if record.state not in (RunState.SUBMITTED, RunState.RUNNING)
            )

        self.both(records)


def _told(record: RunRecord) -> tuple[Any, ...]:
    """What memory keeps of a run, too."""
    fields = record._asdict()
    names = ("job_id", "fire_us", "attempt", "state", "reason", "times", "until_us", "finished_us", "result")
    return tuple(str(fields[name]) for name in names)


def walk(make: Callable[[], JobStore], seed: int, steps: int = 120) -> None:
    """Walk so many steps. ``make`` gives stores over one place, the first of them empty; one is open at a time."""
    walk = _Walk(make, seed)
    ways = {
        walk.add: 5,
        walk.remove: 2,
        walk.remove_all: 1,
        walk.change: 5,
        walk.claim: 6,
        walk.commit: 6,
        walk.begin: 2,
        walk.finish: 4,
        walk.recover: 1,
        walk.reopen: 1,
    }
    try:
        for number in range(steps):
            (way,) = walk.random.choices(list(ways), list(ways.values()))
            try:
                way()
                walk.compare()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, step {number} ({way.__name__}): {error}") from error
    finally:
        walk.store.shutdown()
        walk.memory.shutdown()

"""What the behaviours of job stores share: one store at a time over one folder, and what jobs and runs are made of."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from schedcore.clock import Now
from schedcore.engine import Claim, Decision, decide
from schedcore.job import NO_KWARGS, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores.base import BaseJobStore, JobStore, StoreTraits
from schedcore.jobstores.simple import SimpleStore
from schedcore.run import Finish, Run, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing._suite import Suite
from schedcore.testing.time import VirtualClock
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.interval import IntervalTrigger

__all__ = [
    "MINUTE",
    "T0",
    "Bench",
    "Held",
    "Make",
    "behaviour",
    "bench_for",
    "check_same",
    "decisions_on",
    "earliest_due",
    "entry_of",
    "finish_of",
    "job_id_of",
    "make_entry",
    "make_record",
    "now_at",
    "check_raises",
    "run_due",
    "suite",
]

#: Microseconds: 2026-01-01T00:00:00Z, when the suite's time begins, and a minute.
T0 = 1_767_225_600_000_000
MINUTE = 60_000_000

Make = Callable[[str], BaseJobStore]


class Held(NamedTuple):
    """What a store is held to: by its traits, and by what is said of it besides."""

    traits: StoreTraits
    keeps_jobs: bool  #: whether its jobs outlive it (``traits.durable`` speaks of its runs, too)
    lacks: Mapping[str, str]  #: name of a behaviour -> why this store cannot have it


suite: Suite[Bench, Held] = Suite(
    "a job store",
    {
        "jobs": (lambda held: held.keeps_jobs, "its jobs do not outlive it"),
        "runs": (lambda held: held.traits.durable, "its runs do not outlive it"),
        "journal": (lambda held: held.traits.journals, "it has no journal"),
    },
)
behaviour = suite.behaviour


class Bench:
    """One store at a time over one folder."""

    def __init__(self, make: Make, folder: str) -> None:
        self._make = make
        self._folder = folder
        self._scheduler = BackgroundScheduler(
            clock=VirtualClock(start=datetime(2026, 1, 1, tzinfo=UTC)), timezone="UTC"
        )
        self._store: JobStore | None = None

    def open(self) -> JobStore:
        """A started store over what the last one left."""
        self.close()
        made = self._make(self._folder)
        assert isinstance(made, BaseJobStore), f"make() gives {made!r}, which is no job store (no BaseJobStore)"
        # One of the 3.x kind is used as a scheduler uses it.
        store = made if isinstance(made, JobStore) else SimpleStore(made)
        self._store = store
        store.start(self._scheduler, "default")
        return store

    def close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.shutdown()
            store.shutdown()  # twice is harmless


@contextmanager
def bench_for(make: Make) -> Iterator[Bench]:
    """A bench over a folder of its own, whose store is closed when it is left."""
    with tempfile.TemporaryDirectory(prefix="schedcore-check-") as folder:
        bench = Bench(make, folder)
        try:
            yield bench
        finally:
            bench.close()


def make_record(
    job_id: str = "job",
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NO_KWARGS,
    trigger: EngineTrigger | None = None,
    func: Callable[..., Any] | None = None,
    name: str | None = None,
    **policy: Any,
) -> JobRecord:
    """A job that runs each minute and does nothing, but for what is said."""
    if func is None:
        # Stored jobs name it by the module where users find it, which imports this one.
        from schedcore.testing.store_suite import work as func
    if trigger is None:
        trigger = IntervalTrigger(minutes=1, start_date="2026-01-01T00:00:00+00:00", timezone="UTC")
    return JobRecord(job_id, name or job_id, func, None, args, kwargs, trigger, JobPolicy(**policy).intern())


def make_entry(job_id: str = "job", fire_us: int | None = T0, due_us: int | None = None, **parts: Any) -> JobEntry:
    """An active job that is due at an instant; None: a paused one."""
    state = JobState.PAUSED if fire_us is None else JobState.ACTIVE
    return JobEntry(make_record(job_id, **parts), state, fire_us, fire_us if due_us is None else due_us)


def now_at(instant_us: int) -> Now:
    """Both timelines at an instant."""
    return Now(instant_us, instant_us)


def decisions_on(claims: Sequence[Claim], now_us: int) -> list[Decision]:
    """What is decided about claims."""
    return [decide(claim, now_us) for claim in claims]


def run_due(store: JobStore, now_us: int, limit: int = 1000) -> list[Run]:
    """Claim, decide and commit what is due."""
    claims = store.acquire(now_at(now_us), limit)
    committed = store.commit(decisions_on(claims, now_us), now_us)
    assert not committed.dropped, f"decisions were dropped for no reason: {committed.dropped}"
    return committed.runs


def finish_of(run: Run, state: RunState = RunState.SUCCEEDED, **outcome: Any) -> Finish:
    """How a run ended."""
    return Finish(run, state, run.fire_us + 1000, run.fire_us + 5000, **outcome)


def job_id_of(run: Run) -> str:
    """To sort runs by."""
    return run.job.id


def earliest_due(store: JobStore) -> int | None:
    """The next dispatch, on whichever timeline: while they agree, a store need not tell them apart."""
    return min((due for due in store.next_due() if due is not None), default=None)


def entry_of(store: JobStore, job_id: str = "job") -> JobEntry:
    """A job that is there."""
    entry = store.get_entry(job_id)
    assert entry is not None, f"there is no job {job_id!r}"
    return entry


def check_same(found: JobEntry, entry: JobEntry) -> None:
    """The same job at the same place, down to the types of its arguments."""
    job, wanted = found.job, entry.job
    assert job.func is wanted.func, f"the function is {job.func}, not {wanted.func}"
    for field in ("id", "name", "args", "trigger", "policy"):
        mine, theirs = getattr(job, field), getattr(wanted, field)
        assert mine == theirs, f"{field} is {mine!r}, not {theirs!r}"
    assert repr(job.args) == repr(wanted.args), f"args are {job.args!r}, not {wanted.args!r}"
    assert dict(job.kwargs) == dict(wanted.kwargs), f"kwargs are {job.kwargs!r}, not {wanted.kwargs!r}"
    assert found[1:] == entry[1:], f"the place is {found[1:]}, not {entry[1:]}"


def check_raises(kind: type[Exception], call: Callable[[], object]) -> Exception:
    """The error of a kind that a call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"it should raise {kind.__name__}")

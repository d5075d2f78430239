"""No lock keeps signal handlers and destructors out of a step of the store: they may change jobs in its midst, or raise."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from schedcore.clock import Now
from schedcore.engine import decide
from schedcore.errors import JobLookupError
from schedcore.job import NO_KWARGS, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores import memory
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Finish, Run, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing._suite import until
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger
from tests.interrupting import Interrupted, disturbed

EVERY_10_S = IntervalTrigger(seconds=10, start_date="1970-01-01T00:00:00", timezone="UTC")
ONCE = DateTrigger("1970-01-01T00:00:01", timezone="UTC")
NOW = Now(2_000_000, 2_000_000)
LATER = Now(100_000_000, 100_000_000)


def nothing() -> None:
    pass


def entry(
    job_id: str, due_us: int | None, trigger: EngineTrigger = EVERY_10_S, *, fire_us: int | None = None
) -> JobEntry:
    record = JobRecord(job_id, "n", nothing, None, (), NO_KWARGS, trigger, JobPolicy(max_instances=2))
    state = JobState.PAUSED if due_us is None else JobState.ACTIVE
    return JobEntry(record, state, due_us if fire_us is None else fire_us, due_us)


def filled() -> MemoryJobStore:
    """Jobs of every kind, two live runs, and so many old places that they are swept out soon."""
    store = MemoryJobStore()
    store.add_entries([entry("running", 1), entry("orphan", 1)])
    store.fire(NOW, 10, {"default"})
    store.remove_job("orphan")
    store.add_entries(
        [
            entry("a", 1_000_000),
            entry("b", 2_000_000),
            entry("jittered", 1_500_000, fire_us=1_000_000),
            entry("once", 1_000_000, ONCE),
            entry("twice", 1_000_001, ONCE, fire_us=1_000_000),
            entry("paused", None),
        ]
    )
    for due_us in range(80):
        replace(store, "b", 2_000_000 - due_us)
    return store


def replace(store: MemoryJobStore, job_id: str, due_us: int) -> None:
    old = store.get_entry(job_id)
    if old is not None:
        store.replace_entry(old, old._replace(fire_us=due_us, due_us=due_us))


def fire(store: MemoryJobStore) -> None:
    _, claims = store.fire(NOW, 100, {"default"})
    store.commit([decide(claim, NOW.wall_us) for claim in claims], NOW.wall_us)


def sweep(store: MemoryJobStore) -> None:
    for due_us in range(8):
        replace(store, "a", 1_000_000 - due_us)


def end(store: MemoryJobStore) -> None:
    store.finish([Finish(run, RunState.SUCCEEDED, 1, 2) for run in live(store)])


def live(store: MemoryJobStore) -> list[Run]:
    return [run for runs in (*store._live.values(), *store._orphans.values()) for run in runs]


STEPS: dict[str, Callable[[MemoryJobStore], Any]] = {
    "add": lambda store: store.add_entries([entry("new", 1_000_000)]),
    "add_many": lambda store: store.add_entries([entry("new", 1_000_000), entry("newer", None), entry("newest", 5)]),
    "replace": lambda store: replace(store, "a", 1_700_000),
    "sweep": sweep,
    "remove": lambda store: store.remove_job("a"),
    "remove_all": lambda store: store.remove_all_jobs(),
    "get": lambda store: store.get_entry("a"),
    "list": lambda store: store.list_entries(),
    "fire": fire,
    "end": end,
    "next_due": lambda store: store.next_due(),
    "recover": lambda store: (store.acquire(NOW, 100), store.recover(live(store))),
    "runs": lambda store: store.runs(),
}


def interrupt(store: MemoryJobStore) -> None:
    raise Interrupted


INTRUSIONS: dict[str, Callable[[MemoryJobStore], Any]] = {
    "raises": interrupt,
    "adds": lambda store: store.add_entries([entry("intruder", 5)]),
    "removes": lambda store: store.remove_job("a"),
    "removes_all": lambda store: store.remove_all_jobs(),
    "replaces": lambda store: replace(store, "a", 10),
    "sweeps": sweep,
}


@pytest.mark.parametrize("intrusion", INTRUSIONS)
@pytest.mark.parametrize("step", STEPS)
def test_an_intruder_loses_no_job_and_doubles_none(step: str, intrusion: str) -> None:
    for at in range(1, 10_000):
        store = filled()
        # What the intruder removes may be what the step was to change.
        with suppress(Interrupted, JobLookupError):
            if not disturbed(lambda: STEPS[step](store), lambda: INTRUSIONS[intrusion](store), at):  # noqa: B023  # called in here
                break
        listed = store.list_entries()
        assert len({each.job.id for each in listed}) == len(listed)
        if intrusion == "removes_all":
            assert not {each.job.id for each in listed} & {"a", "b", "jittered", "paused", "running"}, at
        store.recover(live(store))
        runs, claims = store.fire(LATER, 100, {"default"})
        fired = [run.job.id for run in runs] + [claim.job.id for claim in claims]
        due = [each.job.id for each in store.list_entries() if each.state is JobState.ACTIVE]
        assert sorted(fired) == sorted(due), at
    assert at > 1


def test_a_shutdown_does_not_wait_for_the_call_that_its_handler_interrupts() -> None:
    """The scheduler's thread waited for that call, the shutdown for that thread, and the call for the handler."""
    here = threading.get_ident()
    returned: list[Any] = []

    def is_waited_for() -> bool:
        """Whether the scheduler's thread is in the store, at whichever call of a step."""
        frame = sys._current_frames().get(scheduler._thread_id or 0)
        while frame is not None and frame.f_code.co_filename != memory.__file__:
            frame = frame.f_back
        return frame is not None

    class Interrupting(MemoryJobStore):
        def _view(self, job_id: str) -> JobEntry | None:
            if threading.get_ident() == here and not returned:
                scheduler.wakeup()
                until(is_waited_for, "no step is made")
                returned.append((scheduler.shutdown(), closed.is_set()))
            return super()._view(job_id)

    scheduler = BackgroundScheduler(jobstores={"default": Interrupting()}, timezone="UTC")
    scheduler.start()
    closed = scheduler._closed
    try:
        scheduler.add_job(nothing, "interval", hours=1, id="a")
        assert [job.id for job in scheduler.get_jobs()] == ["a"]
    finally:
        scheduler.shutdown()
    assert returned == [([], False)]
    assert closed.is_set()

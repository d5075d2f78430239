"""The places of jobs in memory: what is due together keeps its order, and an old place is nobody's."""

from __future__ import annotations

from random import Random

import pytest

from schedcore.clock import Now
from schedcore.engine import decide
from schedcore.errors import ConflictingIdError, JobLookupError
from schedcore.job import NO_KWARGS, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores.base import Due
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Finish, Run, RunState
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

EVERY_10_S = IntervalTrigger(seconds=10, start_date="1970-01-01T00:00:00", timezone="UTC")
DEFAULT = {"default"}


def nothing() -> None:
    pass


def entry(job_id: str, due_us: int | None, *, fire_us: int | None = None, at: EngineTrigger = EVERY_10_S) -> JobEntry:
    record = JobRecord(job_id, "n", nothing, None, (), NO_KWARGS, at, JobPolicy(max_instances=2))
    state = JobState.PAUSED if due_us is None else JobState.ACTIVE
    return JobEntry(record, state, due_us if fire_us is None else fire_us, due_us)


def store_of(*entries: JobEntry) -> MemoryJobStore:
    store = MemoryJobStore()
    for each in entries:
        store.add_entries((each,))
    return store


def at(wall_us: int) -> Now:
    return Now(wall_us, wall_us)


def fire(store: MemoryJobStore, wall_us: int) -> list[str]:
    runs, claims = store.fire(at(wall_us), 1000, DEFAULT)
    assert not claims
    return [run.job.id for run in runs]


def end(store: MemoryJobStore, run: Run) -> None:
    store.finish([Finish(run, RunState.SUCCEEDED, 1, 2)])


def test_jobs_that_are_due_together_keep_their_order_at_every_turn() -> None:
    names = [f"j{i}" for i in range(50)]
    Random(1).shuffle(names)
    store = store_of(*(entry(name, 0) for name in names))
    assert fire(store, 0) == names
    assert fire(store, 10_000_000) == names
    store = MemoryJobStore()
    store.add_entries([entry(name, 5) for name in names])
    assert [claim.job.id for claim in store.acquire(at(5), 1000)] == names


@pytest.mark.parametrize("due_us", [-3, -2, -1, 0, 1])
def test_instants_around_the_epoch_are_as_good_as_others(due_us: int) -> None:
    store = store_of(entry("a", due_us), entry("b", due_us))
    assert store.next_due() == Due(None, due_us)
    assert store.fire(at(due_us - 1), 10, DEFAULT) == ([], [])
    assert fire(store, due_us) == ["a", "b"]


def test_an_old_place_is_passed_over() -> None:
    store = store_of(entry("earlier", 50), entry("later", 20), entry("gone", 10), entry("stays", 30))
    for job_id, due_us in (("earlier", 5), ("later", 60)):
        old = store.get_entry(job_id)
        assert old is not None
        assert store.replace_entry(old, old._replace(fire_us=due_us, due_us=due_us))
    store.remove_job("gone")
    assert store.next_due() == Due(None, 5)
    assert fire(store, 40) == ["earlier", "stays"]
    assert fire(store, 60) == ["later"]
    with pytest.raises(JobLookupError):
        store.remove_job("gone")


def test_a_job_that_comes_back_under_its_id_has_its_own_place_alone() -> None:
    store = store_of(entry("a", 10))
    store.remove_job("a")
    store.add_entries([entry("a", 20)])
    assert store.next_due() == Due(None, 20)
    assert fire(store, 15) == []
    assert fire(store, 20) == ["a"]
    with pytest.raises(ConflictingIdError):
        store.add_entries([entry("b", 1), entry("a", 1)])
    assert store.get_entry("b") is None


def test_old_places_do_not_pile_up() -> None:
    store = store_of(*(entry(f"j{i}", 1000) for i in range(10)))
    for due_us in range(10_000, 0, -1):
        old = store.get_entry("j3")
        assert old is not None
        assert store.replace_entry(old, old._replace(fire_us=due_us, due_us=due_us))
    assert len(store._steady) < 100
    assert len(store._places) == 10
    for i in range(10):
        store.remove_job(f"j{i}")
    assert not store._places


def test_what_is_more_than_a_place_is_kept() -> None:
    jittered = entry("jittered", 15, fire_us=10)
    paused = entry("paused", None)
    store = store_of(jittered, paused, entry("plain", 20))
    assert store.get_entry("jittered") == jittered
    assert store.get_entry("paused") == paused
    assert [each.job.id for each in store.list_entries()] == ["jittered", "plain", "paused"]
    assert fire(store, 12) == []
    (run,), _ = store.fire(at(15), 10, DEFAULT)
    assert run.fire_us == 10
    assert store.get_entry("jittered") == entry("jittered", 10_000_000)


def test_a_claim_is_outdated_by_any_change() -> None:
    store = store_of(entry("a", 10), entry("b", 10), entry("c", 10), entry("d", 10))
    claims = store.acquire(at(10), 10)
    old = store.get_entry("a")
    assert old is not None
    assert old.fire_us == 10
    assert store.replace_entry(old, old)  # not even a different one
    store.remove_job("b")
    store.remove_job("c")
    store.add_entries([entry("c", 10)])
    committed = store.commit([decide(claim, 10) for claim in claims], 10)
    assert [run.job.id for run in committed.runs] == ["d"]
    assert [decision.claim.job.id for decision in committed.dropped] == ["a", "b", "c"]
    assert fire(store, 10) == ["a", "c"]


def test_what_was_claimed_and_not_committed_is_put_back_once() -> None:
    store = store_of(entry("a", 10), entry("b", 15, fire_us=10))
    store.acquire(at(20), 10)
    assert store.next_due() == Due(None, None)
    store.recover([])
    store.recover([])
    assert fire(store, 20) == ["a", "b"]
    assert fire(store, 20) == []


def test_a_run_whose_job_was_removed_goes_on_and_is_recorded() -> None:
    store = store_of(entry("a", 10))
    (old,), _ = store.fire(at(10), 10, DEFAULT)
    store.remove_job("a")
    assert [record.state for record in store.runs()] == [RunState.SUBMITTED]
    store.add_entries([entry("a", 10)])
    (new,), _ = store.fire(at(10), 10, DEFAULT)
    assert old != new
    end(store, old)
    assert [record.state for record in store.runs()] == [RunState.SUBMITTED, RunState.SUCCEEDED]
    end(store, old)  # it was told before
    assert len(store.runs()) == 2
    end(store, new)
    assert [record.state for record in store.runs()] == [RunState.SUCCEEDED, RunState.SUCCEEDED]


def test_the_text_of_a_result_is_made_without_the_lock() -> None:
    store = store_of(entry("a", 10))
    (run,), _ = store.fire(at(10), 10, DEFAULT)
    locked = []

    class Result:
        def __repr__(self) -> str:
            locked.append(store.awaited_here())
            return "a result"

    store.finish([Finish(run, RunState.SUCCEEDED, 1, 2, Result())])
    assert [record.result for record in store.runs()] == ["a result"]
    assert locked == [False]


def test_the_last_run_of_a_job_that_has_ended_is_recorded() -> None:
    once = DateTrigger("1970-01-01T00:00:01", timezone="UTC")
    store = store_of(entry("once", 1_000_000, at=once))
    now = at(2_000_000)
    _, claims = store.fire(now, 10, DEFAULT)
    (run,) = store.commit([decide(claim, now.wall_us) for claim in claims], now.wall_us).runs
    assert store.get_entry("once") is None
    end(store, run)
    assert [record.state for record in store.runs("once")] == [RunState.SUCCEEDED]


def test_runs_that_nobody_will_end_are_not_kept() -> None:
    store = store_of(entry("a", 10), entry("b", 10))
    (first, second), _ = store.fire(at(10), 10, DEFAULT)
    store.remove_all_jobs()
    assert store.recover([first]).runs == []
    end(store, second)
    end(store, first)
    assert [record.job_id for record in store.runs()] == ["a"]
    assert not store._orphans

"""Firing in one step: the same as claiming, deciding and committing, for whatever is due."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from schedcore.clock import Now
from schedcore.engine import decide
from schedcore.job import NO_KWARGS, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Run
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

SECOND_US = 1_000_000


def nothing() -> None:
    pass


triggers: st.SearchStrategy[EngineTrigger] = st.one_of(
    st.builds(
        lambda seconds, end, jitter: IntervalTrigger(
            seconds=seconds,
            start_date="1970-01-01T00:00:01",
            end_date=None if end is None else f"1970-01-01T00:00:{end:02}",
            timezone="UTC",
            jitter=jitter,
        ),
        st.integers(1, 9),
        st.none() | st.integers(2, 30),
        st.none() | st.just(2),
    ),
    st.builds(lambda second: CronTrigger(second=f"*/{second}", timezone="UTC"), st.integers(1, 20)),
    st.builds(lambda second: DateTrigger(f"1970-01-01T00:00:{second:02}", timezone="UTC"), st.integers(1, 40)),
)
policies = st.builds(
    JobPolicy,
    executor=st.sampled_from(["default", "missing"]),
    misfire_grace_us=st.none() | st.integers(1, 5 * SECOND_US),
    coalesce=st.booleans(),
    max_instances=st.integers(1, 2),
)
looks = st.lists(st.tuples(st.integers(0, 40 * SECOND_US), st.integers(1, 4), st.booleans()), max_size=8)


def store_of(jobs: list[tuple[EngineTrigger, JobPolicy]]) -> MemoryJobStore:
    store = MemoryJobStore()
    entries = []
    for number, (trigger, policy) in enumerate(jobs):
        record = JobRecord(f"j{number}", "n", nothing, None, (), NO_KWARGS, trigger, policy)
        fire_us = trigger.first_us(0)
        assert fire_us is not None
        entries.append(JobEntry(record, JobState.ACTIVE, fire_us, fire_us))
    store.add_entries(entries)
    return store


def keys(runs: list[Run]) -> list[tuple[str, int, int]]:
    return sorted((run.job.id, run.fire_us, run.attempt) for run in runs)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.tuples(triggers, policies), min_size=1, max_size=6), looks)
def test_one_step_is_the_same_as_three(
    jobs: list[tuple[EngineTrigger, JobPolicy]], times: list[tuple[int, int, bool]]
) -> None:
    one, three = store_of(jobs), store_of(jobs)
    executors = {"default"}
    live: dict[str, list[tuple[Run, Run]]] = {}
    for wall_us, _, ends in sorted(times):
        now = Now(wall_us, wall_us)
        runs, claims = one.fire(now, 100, executors)
        decided = [decide(claim, wall_us) for claim in claims]
        runs = runs + one.commit(decided, wall_us).runs
        others = three.commit([decide(claim, wall_us) for claim in three.acquire(now, 100)], wall_us).runs
        assert keys(runs) == keys(others)
        assert one.next_due() == three.next_due()
        by_key = {(run.job.id, run.fire_us): run for run in others}
        for run in runs:
            live.setdefault(run.job.id, []).append((run, by_key[run.job.id, run.fire_us]))
        if ends:
            for pairs in live.values():
                for store, finished in ((one, [a for a, _ in pairs]), (three, [b for _, b in pairs])):
                    store.finish([cast(Any, (run, "succeeded", 0, 0, None, None, None)) for run in finished])
            live.clear()
        listed = [(e.job.id, e.state, e.fire_us, e.due_us) for e in one.list_entries()]
        assert listed == [(e.job.id, e.state, e.fire_us, e.due_us) for e in three.list_entries()]


def test_a_batch_is_bounded_whichever_way_its_jobs_go() -> None:
    plain = (IntervalTrigger(seconds=60, start_date="1970-01-01T00:00:01", timezone="UTC"), JobPolicy())
    once = (DateTrigger("1970-01-01T00:00:01", timezone="UTC"), JobPolicy())
    store = store_of([plain, once] * 10)
    now = Now(2 * SECOND_US, 2 * SECOND_US)
    runs, claims = store.fire(now, 7, {"default"})
    assert len(runs) + len(claims) == 7


def test_a_run_that_nobody_heard_of_is_given_again() -> None:
    trigger = IntervalTrigger(seconds=60, start_date="1970-01-01T00:00:01", timezone="UTC")
    store = store_of([(trigger, JobPolicy())])
    now = Now(SECOND_US, SECOND_US)
    (run,), _ = store.fire(now, 7, {"default"})
    assert store.recover([run]).runs == []
    assert store.recover([]).runs == [run]

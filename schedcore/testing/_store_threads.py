"""Behaviours of job stores: many threads at once."""

from __future__ import annotations

from collections.abc import Callable

from schedcore.run import Run, RunRecord, RunState
from schedcore.testing._store_bench import (
    T0,
    Bench,
    behaviour,
    decisions_on,
    entry_of,
    finish_of,
    make_entry,
    make_record,
    now_at,
)
from schedcore.testing._suite import Aside

__all__: list[str] = []


def _in_threads(count: int, call: Callable[[int], None]) -> None:
    asides = [Aside(call, number) for number in range(count)]
    for aside in asides:
        aside.result()


@behaviour("is exact when many threads add, change, remove and list")
def _threads(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("shared", None, args=(0,))])

    def call(number: int) -> None:
        for turn in range(10):
            mine = [f"{number}-{turn}-{part}" for part in range(3)]
            store.add_entries([make_entry(job_id) for job_id in mine])
            store.remove_job(mine[1])
            entry = entry_of(store, mine[2])
            assert store.replace_entry(entry, entry._replace(fire_us=T0 + 1, due_us=T0 + 1)), "nobody else changed it"
            while True:
                shared = entry_of(store, "shared")
                if store.replace_entry(shared, shared._replace(job=make_record("shared", (shared.job.args[0] + 1,)))):
                    break
            assert len(store.list_entries()) >= 2 * (turn + 1), "jobs are missing"

    _in_threads(6, call)
    found = {entry.job.id: entry.fire_us for entry in store.list_entries()}
    wanted = {f"{n}-{turn}-{part}": T0 + part // 2 for n in range(6) for turn in range(10) for part in (0, 2)}
    assert found == {**wanted, "shared": None}, "the final set is another"
    assert entry_of(store, "shared").job.args == (60,), f"changes were lost: {entry_of(store, 'shared').job.args}"


@behaviour("claims each job once, whichever thread asks")
def _claims_in_threads(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry(f"{number}") for number in range(200)])
    found: list[list[Run]] = []

    def call(number: int) -> None:
        while claims := store.acquire(now_at(T0), 7):
            committed = store.commit(decisions_on(claims, T0), T0)
            assert not committed.dropped, "two threads had the same claim"
            store.finish([finish_of(run) for run in committed.runs])
            found.append(committed.runs)

    _in_threads(4, call)
    ran = sorted(run.job.id for runs in found for run in runs)
    assert ran == sorted(str(number) for number in range(200)), "some ran twice, or not at all"
    records: list[RunRecord] = store.runs(limit=1000)
    assert [record.state for record in records] == [RunState.SUCCEEDED] * 200, "some are not on record"

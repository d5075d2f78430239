"""A scheduler's own steps in the midst of threads that add jobs all the time: the same on every job store."""

from __future__ import annotations

import statistics
import threading
from itertools import count

import pytest

from schedcore.jobstores._turns import in_step
from schedcore.testing._store_bench import MINUTE, T0, finish_of, make_entry, run_due
from schedcore.testing._suite import Aside, until
from tests.jobstores.conftest import Start
from tests.jobstores.every.places import Place

# Threads that add, and steps made meanwhile, of three calls each. In a queue each call would wait for as many jobs as there are
# threads.
ADDING = 16
STEPS = 9


@pytest.mark.slow
def test_a_step_waits_for_hardly_any_of_those_who_add(place: Place, start: Start) -> None:
    store = start(place.store())
    store.add_entries([make_entry("due")])
    over = threading.Event()
    added: list[str] = []

    def add(thread: int) -> None:
        for number in count():
            if over.is_set():
                break
            entry = make_entry(f"{thread}-{number}", None)
            store.add_entries([entry])
            added.append(entry.job.id)

    waited: list[int] = []

    def step() -> None:
        for number in range(STEPS):
            before = len(added)
            runs = run_due(store, T0 + number * MINUTE)
            store.finish([finish_of(run) for run in runs])
            assert len(runs) == 1
            waited.append(len(added) - before)

    asides = [Aside(add, thread) for thread in range(ADDING)]
    try:
        until(lambda: len(added) > 2 * ADDING, "nothing is added")
        in_step(step)
    finally:
        over.set()
        for aside in asides:
            aside.result()
    # For each call the job that is being added, one that came before the call, and what was counted late.
    assert statistics.median(waited) <= ADDING, waited
    assert sorted(entry.job.id for entry in store.list_entries()) == sorted([*added, "due"])

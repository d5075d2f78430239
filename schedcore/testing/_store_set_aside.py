"""Behaviours of job stores: what cannot be loaded is set aside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from schedcore.job import JobState
from schedcore.testing._store_bench import (
    MINUTE,
    T0,
    Bench,
    behaviour,
    check_same,
    decisions_on,
    entry_of,
    make_entry,
    now_at,
)

__all__: list[str] = []


@contextmanager
def _module(name: str) -> Iterator[ModuleType]:
    """A module that is there inside the ``with`` statement, and gone after it."""
    module = ModuleType(name)

    def task() -> None: ...

    task.__module__, task.__qualname__ = name, "task"
    module.task = task  # type: ignore[attr-defined]
    sys.modules[name] = module
    try:
        yield module
    finally:
        sys.modules.pop(name, None)


@behaviour("sets aside what cannot be loaded, deletes nothing, and takes it back when its code is there", "jobs")
def _not_loadable(bench: Bench) -> None:
    name = "schedcore_check_missing"
    with _module(name) as module:
        store = bench.open()
        entries = [
            make_entry("a", func=module.task, args=(1,)),
            make_entry("b", T0 + 2 * MINUTE, func=module.task),
            make_entry("ok"),
        ]
        store.add_entries(entries)
    store = bench.open()
    for _ in range(2):
        listed = {entry.job.id: entry for entry in store.list_entries()}
        assert sorted(listed) == ["a", "b", "ok"], f"it lists {sorted(listed)}"
        for job_id in ("a", "b"):
            entry = entry_of(store, job_id)
            assert (entry.state, entry.job.func) == (JobState.BROKEN, None), f"it gives {entry}"
            assert name in str(entry.reason), f"the reason is {entry.reason!r}"
            assert entry.job.func_ref == f"{name}:task", f"its function is {entry.job.func_ref!r}"
    claims = store.acquire(now_at(T0), 9)
    broken = [(claim.job.id, claim.broken is not None and name in claim.broken) for claim in claims]
    assert sorted(broken) == [("a", True), ("ok", False)], f"it claims {broken}"
    runs = store.commit(decisions_on(claims, T0), T0).runs
    assert [run.job.id for run in runs] == ["ok"], "it runs what it cannot load"
    assert entry_of(store, "a").fire_us == T0, "its fire time is lost"
    assert store.acquire(now_at(T0), 9) == [], "it is claimed again and again"
    store = bench.open()
    assert [entry.job.id for entry in store.list_entries()] == ["ok", "b", "a"], "a restart lost one"
    with _module(name) as module:
        store = bench.open()
        check_same(entry_of(store, "a"), entries[0]._replace(job=entries[0].job._replace(func=module.task)))
        check_same(entry_of(store, "b"), entries[1]._replace(job=entries[1].job._replace(func=module.task)))
        assert [claim.job.id for claim in store.acquire(now_at(T0), 9)] == ["a"], "what was due is not any more"

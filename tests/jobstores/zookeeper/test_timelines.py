"""Places in time in ZooKeeper: the buckets in which they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schedcore.clock import Now
from schedcore.jobstores.base import JobStore
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from tests.jobstores.load import scheduler_on, start_paused, work

Make = Callable[..., ZooKeeperJobStore]


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_who_looks_sees_what_its_owner_moves_on_meanwhile(
    make: Make, start: Callable[[JobStore], JobStore], level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a bucket that was not there when buckets were listed, from one that others are still in."""
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    for name in "ab":
        scheduler.add_job(work, "cron", hour=7, id=name, next_run_time="2099-01-01T00:00:00Z")
    reader = start(make(read_only=True))
    assert isinstance(reader, ZooKeeperJobStore)
    children, listed = reader._children, [0]

    def list_then_move(paths: list[str]) -> list[list[str]]:
        found = children(paths)
        if paths[0].startswith(f"{reader._path}/wall"):
            if listed[0] == level:
                scheduler.modify_job("a", next_run_time="2099-03-01T00:00:00Z")
            listed[0] += 1
        return found

    monkeypatch.setattr(reader, "_children", list_then_move)
    assert [entry.job.id for entry in reader.list_entries()] == ["b", "a"]
    assert listed[0] > level
    scheduler.shutdown()


def test_a_due_query_lists_what_is_due(make: Make, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many jobs come later, and however far they lie apart."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="due", next_run_time="2026-01-01T00:00:00Z")
    entry = store.get_entry("due")
    assert entry is not None
    assert entry.fire_us is not None
    later = [entry.fire_us + (number + 1) * 7_000_000_000 for number in range(1000)]
    store.add_entries(
        [
            entry._replace(job=entry.job._replace(id=str(at_us)), fire_us=at_us, due_us=at_us)
            for number, at_us in enumerate(later)
        ]
    )
    listed: list[str] = []
    children = store._children

    def look(paths: list[str]) -> list[list[str]]:
        found = children(paths)
        listed.extend(name for names in found for name in names)
        return found

    monkeypatch.setattr(store, "_children", look)
    now = Now(entry.fire_us, entry.fire_us)
    assert [claim.job.id for claim in store.acquire(now, 1000)] == ["due"]
    # The buckets of 81 days, those of 13 days in which it begins, and what is in the second.
    assert len(listed) < 300
    listed.clear()
    assert store.next_due() == (None, later[0])
    assert len(listed) < 600
    scheduler.shutdown()

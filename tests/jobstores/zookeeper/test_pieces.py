"""Large definitions in ZooKeeper, which takes a megabyte in one request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from kazoo.exceptions import ConnectionLoss  # type: ignore[import-untyped]

from schedcore.errors import ConflictingIdError, JobStoreError, SerializationError
from schedcore.job import Job, JobState
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from schedcore.schedulers.background import BackgroundScheduler
from tests.jobstores.load import scheduler_on, start_paused
from tests.jobstores.zookeeper.inside import InZooKeeper

Make = Callable[..., ZooKeeperJobStore]


def one(scheduler: BackgroundScheduler, job_id: str) -> Job:
    job = scheduler.get_job(job_id)
    assert job is not None
    return job


def test_what_is_too_large_is_refused_when_it_is_added(make: Make) -> None:
    scheduler = scheduler_on(make())
    scheduler.start()
    with pytest.raises(SerializationError, match=r"has 8,000,\d+ bytes, and ZooKeeper takes 8,000,000"):
        scheduler.add_job("builtins:print", "date", ["x" * 8_000_000], run_date="2099-01-01", id="large")
    job = scheduler.add_job("builtins:len", "date", ["x" * 7_999_000], run_date="2099-01-01", id="fits")
    with pytest.raises(SerializationError, match="ZooKeeper takes"):
        job.modify(args=["x" * 8_000_000])
    assert scheduler.get_job("large") is None
    scheduler.shutdown()


def test_large_definitions_are_kept_in_pieces(make: Make, inside: InZooKeeper) -> None:
    scheduler = scheduler_on(make())
    start_paused(scheduler)

    def add(name: str, size: int) -> None:
        scheduler.add_job("builtins:len", "interval", ["x" * size], hours=1, id=name, replace_existing=True)

    for size, pieces in ((400_000, 0), (1_700_000, 4), (700_000, 2), (10, 0), (1_200_000, 3)):
        add("a", size)
        assert (inside.count("payloads"), inside.count("pieces")) == (size > 500, pieces)
        assert len(one(scheduler, "a").args[0]) == size
    scheduler.add_jobs([{"func": "builtins:len", "args": ["y" * 600_000], "id": f"b{number}"} for number in range(3)])
    assert (inside.count("payloads"), inside.count("pieces")) == (4, 3 + 6)
    with pytest.raises(ConflictingIdError):
        scheduler.add_jobs([{"func": "builtins:len", "args": ["y" * 600_000], "id": name} for name in ("c", "b1")])
    assert (inside.count("payloads"), inside.count("pieces")) == (4, 3 + 6)
    scheduler.shutdown()
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    assert [len(one(scheduler, name).args[0]) for name in ("a", "b2")] == [1_200_000, 600_000]
    scheduler.remove_job("a")
    assert inside.count("pieces") == 6
    scheduler.remove_all_jobs()
    assert (inside.count("payloads"), inside.count("pieces")) == (0, 0)
    scheduler.shutdown()


@pytest.mark.parametrize("there", [False, True])
def test_who_dies_while_it_writes_pieces_leaves_what_was_there(
    make: Make, inside: InZooKeeper, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = ZooKeeperJobStore._apply
    sent = limit = 0

    def die(*some: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent > limit:
            raise ConnectionLoss("away")
        return apply(*some)

    def add(text: str) -> None:
        scheduler.add_job("builtins:len", "interval", [text], hours=1, id="a", replace_existing=True)

    scheduler = scheduler_on(make())
    start_paused(scheduler)
    if there:
        add("x" * 600_000)
    kept = 2 if there else 0
    written: set[int] = set()
    while True:
        sent = 0
        with monkeypatch.context() as dying:
            dying.setattr(ZooKeeperJobStore, "_apply", die)
            dying.setattr(ZooKeeperJobStore, "_send", lambda *_: None)
            with suppress(JobStoreError):
                add("y" * 1_200_000)
            if sent <= limit:
                break
            written.add(inside.count("pieces"))
            scheduler.shutdown()
        scheduler = scheduler_on(make())
        start_paused(scheduler)
        assert [job.args for job in scheduler.get_jobs()] == ([("x" * 600_000,)] if there else [])
        assert (inside.count("payloads"), inside.count("pieces"), inside.count("adding")) == (there, kept, 0)
        limit += 1
    # It did die between the pieces.
    assert written >= {kept, kept + 1, kept + 2, kept + 3}
    assert one(scheduler, "a").args == ("y" * 1_200_000,)
    assert (inside.count("pieces"), inside.count("adding")) == (3, 0)
    scheduler.shutdown()


@pytest.mark.parametrize("what", ["gone", "many", "none", "strange"])
def test_pieces_that_are_not_there_leave_a_job_broken(make: Make, inside: InZooKeeper, what: str) -> None:
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    scheduler.add_job("builtins:len", "interval", ["x" * 1_200_000], hours=1, id="a")
    scheduler.shutdown()
    path = f"{inside.store._path}/payloads"
    (name,) = inside.client.get_children(path)
    value = inside.client.get(f"{path}/{name}")[0]
    if what == "gone":
        inside.client.delete(
            f"{inside.store._path}/pieces/{inside.client.get_children(f'{inside.store._path}/pieces')[0]}"
        )
    else:
        start = value.rpartition(b" ")[0]
        inside.client.set(f"{path}/{name}", start + {"many": b" 99999999", "none": b"", "strange": b" \xff"}[what])
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    assert [job.state for job in scheduler.get_jobs()] == [JobState.BROKEN]
    scheduler.remove_job("a")
    assert (inside.count("payloads"), inside.count("pieces")) == (0, 0)
    scheduler.shutdown()

"""Set aside, never deleted: a job whose code is gone waits for it, with its place and its history."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the durable store needs SQLAlchemy, which the extra 'sqlalchemy' brings")

from schedcore.errors import BrokenJobError, JobLookupError, ReferenceNotAllowedError, SerializationError
from schedcore.events import EVENT_JOB_BROKEN
from schedcore.job import JobState
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.triggers.interval import IntervalTrigger

NAME = "module_that_comes_and_goes"
KEY = "a key that is long enough"


def replacement() -> None:
    """Another function for the job."""


class World:
    """A database, and a module that is there or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "jobs.sqlite"
        self.clock = "2026-01-01T00:00:00Z"

    def put_module(self) -> None:
        (self.folder / f"{NAME}.py").write_text("def work(*args): ...\n")
        sys.modules.pop(NAME, None)

    def remove_module(self) -> None:
        (self.folder / f"{NAME}.py").unlink()
        sys.modules.pop(NAME, None)

    def scheduler(self, start: str, **options: Any) -> VirtualScheduler:
        store = SQLAlchemyJobStore(f"sqlite:///{self.database}", **options)
        return VirtualScheduler(start=start, timezone="UTC", jobstores={"default": store})

    def rows(self) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.database)
        try:
            return connection.execute("SELECT id, payload FROM schedcore_jobs").fetchall()
        finally:
            connection.close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield World(tmp_path)
    sys.modules.pop(NAME, None)


def test_a_module_goes_and_comes_back(world: World) -> None:
    world.put_module()
    with_module = world.scheduler("2026-01-01T00:00:00Z")
    with_module.start()
    with_module.add_job(f"{NAME}:work", "interval", hours=1, id="a", args=["x"])
    with_module.advance(2 * 3600 + 60)
    with_module.shutdown()
    rows = world.rows()
    world.remove_module()
    without = world.scheduler("2026-01-01T02:10:00Z")
    log = EventLog(without)
    without.start()
    without.advance(3 * 3600)
    (job,) = without.get_jobs()
    assert job.state is JobState.BROKEN
    assert job.reason is not None
    assert NAME in job.reason
    assert len(log.of(EVENT_JOB_BROKEN)) == 1
    assert [str(run.state) for run in without.get_runs("a")] == ["succeeded", "succeeded"]
    assert world.rows() == rows
    without.shutdown()
    assert world.rows() == rows
    world.put_module()
    again = world.scheduler("2026-01-01T05:20:00Z")
    again.start()
    (job,) = again.get_jobs()
    assert (job.state, job.args) == (JobState.ACTIVE, ("x",))
    again.advance(1)
    runs = again.get_runs("a")
    # The backlog of the hours without it is one run, by the misfire rule.
    assert [str(run.state) for run in runs].count("succeeded") == 3
    again.shutdown()
    assert [row[0] for row in world.rows()] == ["a"]


@pytest.fixture
def broken(world: World) -> Iterator[VirtualScheduler]:
    world.put_module()
    first = world.scheduler("2026-01-01T00:00:00Z")
    first.start()
    first.add_job(f"{NAME}:work", "interval", hours=1, id="a")
    first.shutdown()
    world.remove_module()
    scheduler = world.scheduler("2026-01-01T00:30:00Z")
    scheduler.start()
    scheduler.advance(3600)
    yield scheduler
    scheduler.shutdown()


def test_repair_when_the_code_is_back(world: World, broken: VirtualScheduler) -> None:
    with pytest.raises(BrokenJobError, match=NAME):
        broken.repair_job("a")
    world.put_module()
    job = broken.repair_job("a")
    assert job.state is JobState.ACTIVE
    broken.advance(1)
    assert [str(run.state) for run in broken.get_runs("a")] == ["succeeded"]


def test_repair_with_another_function(broken: VirtualScheduler) -> None:
    job = broken.repair_job("a", func=replacement)
    assert (job.state, job.func) == (JobState.ACTIVE, replacement)
    broken.advance(1)
    assert [str(run.state) for run in broken.get_runs("a")] == ["succeeded"]


def test_repair_with_another_trigger(broken: VirtualScheduler) -> None:
    job = broken.repair_job("a", func=replacement, trigger="cron")
    assert job.next_run_time is not None
    assert broken.get_runs("a") == []


def test_repair_of_what_is_not_broken_or_not_there(broken: VirtualScheduler) -> None:
    due = broken.add_job(replacement, "interval", hours=1, id="well").next_run_time
    assert broken.repair_job("well", name="other").name == "other"
    assert broken.repair_job("well").next_run_time == due
    with pytest.raises(JobLookupError):
        broken.repair_job("nobody")


def test_a_change_of_a_job_that_is_broken_now_leaves_it_where_it_stands(world: World) -> None:
    """As when all records are signed anew while a module is missing."""
    world.put_module()
    first = world.scheduler("2026-01-01T00:00:00Z")
    first.start()
    for name in ("paused", "due"):
        first.add_job(f"{NAME}:work", "interval", hours=1, id=name)
    first.pause_job("paused")
    first.shutdown()
    world.remove_module()
    without = world.scheduler("2026-01-01T00:30:00Z")
    log = EventLog(without)
    without.start()
    for job in without.get_jobs():
        assert job.state is JobState.BROKEN
        assert job.modify(name=f"new {job.name}").name.startswith("new ")
    without.advance(3600)
    assert [event.job_id for event in log.of(EVENT_JOB_BROKEN)] == ["due"]
    without.modify_job("paused", trigger=IntervalTrigger(minutes=30))
    without.shutdown()
    world.put_module()
    again = world.scheduler("2026-01-01T01:45:00Z")
    again.start()
    assert {job.id: job.state for job in again.get_jobs()} == {"due": JobState.ACTIVE, "paused": JobState.PAUSED}
    again.advance(1)
    assert [run.job_id for run in again.get_runs()] == ["due"]
    again.shutdown()


def test_a_job_that_cannot_be_read_is_not_removed_where_it_is_resumed(world: World) -> None:
    """Its trigger is not known; that of one whose schedule has ended is, and has no more fire times."""
    with_key = world.scheduler("2026-01-01T00:00:00Z", signing_key=KEY)
    with_key.start()
    with_key.add_job(replacement, "interval", hours=1, id="a")
    with_key.shutdown()
    rows = world.rows()
    without = world.scheduler("2026-01-01T00:30:00Z")
    without.start()
    without.pause_job("a")
    with pytest.raises(BrokenJobError, match="its record is signed"):
        without.resume_job("a")
    without.shutdown()
    assert world.rows() == rows
    again = world.scheduler("2026-01-01T00:40:00Z", signing_key=KEY)
    again.start()
    assert [job.state for job in again.get_jobs()] == [JobState.PAUSED]
    assert again.resume_job("a") is not None
    again.shutdown()


# --- signatures and references ---------------------------------------------------------------------------------------


def test_what_is_not_allowed_is_refused_when_it_is_added(world: World) -> None:
    scheduler = world.scheduler("2026-01-01T00:00:00Z", allowed_refs=[f"{NAME}:*"])
    world.put_module()
    for running in (False, True):
        if running:
            scheduler.start()
        scheduler.add_job(f"{NAME}:work", "interval", hours=1, id=f"good{running}")
        with pytest.raises(ReferenceNotAllowedError, match="os:getcwd"):
            scheduler.add_job("os:getcwd", "interval", hours=1)
        with pytest.raises(SerializationError, match=r"args\[0\]\['x'\]"):
            scheduler.add_job(f"{NAME}:work", "interval", hours=1, args=[{"x": object()}])
    assert len(scheduler.get_jobs()) == 2
    scheduler.shutdown()


def test_what_is_not_allowed_any_more_is_set_aside(world: World) -> None:
    world.put_module()
    first = world.scheduler("2026-01-01T00:00:00Z")
    first.start()
    first.add_job(f"{NAME}:work", "interval", hours=1, id="a")
    first.shutdown()
    sys.modules.pop(NAME)
    second = world.scheduler("2026-01-01T02:00:00Z", allowed_refs=["myapp:*"])
    second.start()
    second.advance(60)
    (job,) = second.get_jobs()
    assert job.state is JobState.BROKEN
    assert "allowed_refs: myapp:*" in str(job.reason)
    assert NAME not in sys.modules
    second.shutdown()


@pytest.mark.parametrize("change", ["payload", "id", "unsigned"])
def test_a_record_that_somebody_else_wrote_is_set_aside(world: World, change: str) -> None:
    first = world.scheduler("2026-01-01T00:00:00Z", signing_key=None if change == "unsigned" else KEY)
    first.start()
    first.add_job(replacement, "interval", hours=1, id="a", args=[])
    first.add_job(replacement, "interval", hours=1, id="b", name="b")
    first.shutdown()
    connection = sqlite3.connect(world.database)
    if change == "payload":
        connection.execute("UPDATE schedcore_jobs SET payload = payload || x'20' WHERE id = 'a'")
    elif change == "id":
        connection.execute(
            "UPDATE schedcore_jobs SET payload = (SELECT payload FROM schedcore_jobs WHERE id = 'b') WHERE id = 'a'"
        )
    connection.commit()
    connection.close()
    second = world.scheduler("2026-01-01T00:30:00Z", signing_key=["a newer key of the same kind", KEY])
    second.start()
    second.advance(3600)
    jobs = {job.id: job for job in second.get_jobs()}
    assert jobs["a"].state is JobState.BROKEN
    if change != "unsigned":
        assert jobs["b"].state is JobState.ACTIVE
        assert [str(run.state) for run in second.get_runs("b")] == ["succeeded"]
    assert second.get_runs("a") == []
    second.shutdown()


def test_a_signed_record_needs_the_key(world: World) -> None:
    first = world.scheduler("2026-01-01T00:00:00Z", signing_key=KEY)
    first.start()
    first.add_job(replacement, "interval", hours=1, id="a")
    first.shutdown()
    second = world.scheduler("2026-01-01T00:30:00Z")
    second.start()
    second.advance(3600)
    (job,) = second.get_jobs()
    assert "it is signed" in str(job.reason) or "record is signed" in str(job.reason)
    second.shutdown()

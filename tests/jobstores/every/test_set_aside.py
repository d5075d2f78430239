"""Set aside, never deleted: what cannot be loaded is listed with the reason, left as it is, and goes on when it can be."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schedcore.clock import from_datetime
from schedcore.errors import BrokenJobError
from schedcore.events import EVENT_JOB_BROKEN
from schedcore.job import JobState
from schedcore.run import RunState
from schedcore.serializers import JSONSerializer
from schedcore.serializers.signed import SignedSerializer
from schedcore.testing import EventLog, VirtualExecutor, VirtualScheduler
from schedcore.triggers.interval import IntervalTrigger
from tests.jobstores.every import material
from tests.jobstores.every.places import START, Place

KEY = "a key that is long enough"
AWAY, RENAMED = "schedcore_module_that_goes", "schedcore_module_that_changes"
HERE = material.__name__

# Job, and what is to be said of it.
REASONS = {
    "module": f"there is no module {AWAY!r}",
    "function": f"module {RENAMED!r} has no attribute 'work'; did you mean 'works'?",
    "version": "its record has version 99, and this release reads 1",
    "signature": "its signature is wrong",
    "not allowed": f"'{HERE}:replacement' is none of the references that this job store may hold",
    "executor": "its executor 'other' is missing",
}


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


class World:
    """A place with a job for each thing that can go wrong, and one for which nothing does."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.running: list[VirtualScheduler] = []

    def write(self, module: str, text: str | None) -> None:
        path = self.folder / f"{module}.py"
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        sys.modules.pop(module, None)

    def boot(self, hours: float, *, healthy: bool) -> tuple[VirtualScheduler, EventLog]:
        """The next process, so many hours after the start of the first."""
        self.stop()
        executors = {"default": VirtualExecutor()} | ({"other": VirtualExecutor()} if healthy else {})
        refs = [f"{AWAY}:*", f"{RENAMED}:*", f"{HERE}:work"] + [f"{HERE}:replacement"] * healthy
        store = self.place.store(signing_key=KEY, allowed_refs=refs)
        scheduler = VirtualScheduler(start=at(hours), timezone="UTC", jobstores={"default": store}, executors=executors)
        log = EventLog(scheduler)
        self.running.append(scheduler)
        scheduler.start()
        return scheduler, log

    def stop(self) -> None:
        while self.running:
            self.running.pop().shutdown()


def told(log: EventLog) -> list[str]:
    return sorted(event.job_id for event in log.of(EVENT_JOB_BROKEN))


def jobs_of(scheduler: VirtualScheduler) -> dict[str, Any]:
    return {job.id: job for job in scheduler.get_jobs()}


@pytest.fixture
def world(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two hours after its jobs were added, when each of them has run twice and the process has ended."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    world = World(place, folder)
    for module in (AWAY, RENAMED):
        world.write(module, "def work(*args): ...\n")
    try:
        scheduler, _ = world.boot(0, healthy=True)
        functions = {"module": f"{AWAY}:work", "function": f"{RENAMED}:work", "not allowed": material.replacement}
        for name in ("good", *REASONS):
            executor = "other" if name == "executor" else "default"
            func: Any = functions.get(name, material.work)
            scheduler.add_job(func, "interval", hours=1, id=name, args=[name], executor=executor)
        scheduler.advance(2 * 3600 + 60)
        assert sum(run.state is RunState.SUCCEEDED for run in scheduler.get_runs(limit=1000)) == 2 * len(functions) + 8
        world.stop()
        yield world
    finally:
        world.stop()
        for module in (AWAY, RENAMED):
            sys.modules.pop(module, None)


def damage(world: World) -> Callable[[], None]:
    """Let everything go wrong that can; returns what mends it."""
    world.write(AWAY, None)
    world.write(RENAMED, "def works(*args): ...\n")
    serializer = SignedSerializer(JSONSerializer(), KEY)
    before = {name: payload for name, payload in world.place.payloads().items() if name in ("version", "signature")}
    world.place.put_payloads(
        {
            "version": serializer.dumps({**serializer.loads(before["version"]), "v": 99}),
            "signature": before["signature"][:-1] + bytes([before["signature"][-1] ^ 1]),
        }
    )

    def mend() -> None:
        for module in (AWAY, RENAMED):
            world.write(module, "def work(*args): ...\n")
        world.place.put_payloads(before)

    return mend


@pytest.mark.timeout(180)
def test_what_cannot_be_loaded_waits_until_it_can(world: World) -> None:
    mend = damage(world)
    payloads = world.place.payloads()
    assert sorted(payloads) == sorted(["good", *REASONS])
    # Twice: it is told once, in whichever process. What only an executor is missing for can be loaded, and is told by each.
    for hours, news in ((2.5, sorted(REASONS)), (5.5, ["executor"])):
        scheduler, log = world.boot(hours, healthy=False)
        scheduler.advance(2 * 3600)
        for _ in range(2):
            jobs = jobs_of(scheduler)
            assert {name for name, job in jobs.items() if job.state is JobState.BROKEN} == set(REASONS)
            for name, reason in REASONS.items():
                assert reason in str(jobs[name].reason), name
                assert jobs[name].next_run_time is None
        assert told(log) == news
        assert set(log.executed()) == set(log.executed("good")) != set()
        for name in REASONS:
            assert [run.state for run in scheduler.get_runs(name)] == [RunState.SUCCEEDED] * 2, name
        # A due query has nothing to do with them any more.
        store = scheduler._pumps["default"].store
        assert min(due for due in store.next_due() if due is not None) == from_datetime(at(int(hours) + 3))
        world.stop()
        assert world.place.payloads() == payloads
    mend()
    scheduler, log = world.boot(8.25, healthy=True)
    jobs = jobs_of(scheduler)
    for name in REASONS:
        assert (jobs[name].state, jobs[name].args, jobs[name].trigger.interval) == (
            JobState.ACTIVE,
            (name,),
            timedelta(hours=1),
        )
    scheduler.advance(3600)
    for name in REASONS:
        # What was missed is one run by the misfire rule, and then it is on its grid again.
        assert log.executed(name) == [at(8), at(9)], name
        records = scheduler.get_runs(name)
        assert sum(run.times for run in records) == 9, "each fire time is on record"
        assert sum(run.state is RunState.SUCCEEDED for run in records) == 4, "the history is there"
    assert told(log) == []
    assert world.place.ids() == sorted(["good", *REASONS])


@pytest.mark.timeout(180)
def test_the_reason_is_what_is_wrong_now(world: World) -> None:
    """Who has put the module back is not told any more that it is missing, but what its function is called."""
    damage(world)
    scheduler, _ = world.boot(2.5, healthy=False)
    scheduler.advance(3600)
    assert REASONS["module"] in str(jobs_of(scheduler)["module"].reason)
    world.write(AWAY, "def works(*args): ...\n")
    wanted = f"module {AWAY!r} has no attribute 'work'; did you mean 'works'?"
    assert wanted in str(jobs_of(scheduler)["module"].reason)
    scheduler, log = world.boot(3.75, healthy=False)
    assert wanted in str(jobs_of(scheduler)["module"].reason)
    assert "module" not in told(log)


@pytest.mark.timeout(180)
def test_on_request(world: World) -> None:
    damage(world)
    scheduler, log = world.boot(2.5, healthy=False)
    scheduler.advance(3600)
    payload = world.place.payloads()["version"]
    for name in ("module", "function", "version", "signature", "not allowed"):
        with pytest.raises(BrokenJobError):
            scheduler.repair_job(name)
    assert world.place.payloads()["version"] == payload
    world.write(RENAMED, "def work(*args): ...\n")
    assert scheduler.repair_job("function").state is JobState.ACTIVE
    job = scheduler.repair_job("module", func=material.work)
    assert (job.state, job.func, job.args) == (JobState.ACTIVE, material.work, ("module",))
    scheduler.add_executor(VirtualExecutor(), "other")
    assert scheduler.repair_job("executor").state is JobState.ACTIVE
    scheduler.advance(1)
    for name in ("function", "module", "executor"):
        assert log.executed(name) == [at(3)], name
        assert [run.state for run in scheduler.get_runs(name)] == [RunState.SUCCEEDED] * 3, "the history is there"
    assert [name for name, job in jobs_of(scheduler).items() if job.state is JobState.BROKEN] == [
        name for name in sorted(REASONS) if name not in ("function", "module", "executor")
    ]


@pytest.mark.timeout(180)
def test_what_was_paused_is_paused_when_it_is_repaired(world: World) -> None:
    scheduler, _ = world.boot(2.25, healthy=True)
    for name in ("module", "function", "version"):
        scheduler.pause_job(name)
    world.stop()
    damage(world)
    scheduler, log = world.boot(5.5, healthy=False)
    assert {jobs_of(scheduler)[name].state for name in ("module", "function", "version")} == {JobState.BROKEN}
    repaired = scheduler.repair_job("module", func=material.work)
    again = scheduler.add_job(material.work, "interval", hours=1, id="function", replace_existing=True)
    moved = scheduler.repair_job("version", func=material.work, trigger=IntervalTrigger(hours=2))
    for job in (repaired, again, moved):
        assert (job.state, job.next_run_time) == (JobState.PAUSED, None), job.id
    scheduler.advance(3600)
    assert set(log.executed()) == set(log.executed("good"))
    scheduler.resume_job("module")
    scheduler.advance(3600)
    assert log.executed("module") == [at(7)]
    [skipped] = [run for run in scheduler.get_runs("module") if run.state is RunState.SKIPPED]
    assert (skipped.fire_us, skipped.times) == (from_datetime(at(3)), 4), "what passed meanwhile is on record"


@pytest.mark.timeout(180)
def test_reading_never_writes(world: World) -> None:
    damage(world)
    scheduler, _ = world.boot(2.5, healthy=False)
    scheduler.advance(1800)  # all that is due is set aside
    scheduler.pause()
    for _ in range(2):
        before = world.place.content()
        assert before
        assert len(scheduler.get_jobs()) == 1 + len(REASONS)
        for name in ("good", "nobody", *REASONS):
            scheduler.get_job(name)
            scheduler.get_runs(name)
        scheduler.get_runs(failed=True)
        scheduler.print_jobs(out=io.StringIO())
        scheduler.health()
        store = scheduler._pumps["default"].store
        store.list_entries(store.list_entries(None, 1)[0], 2)
        store.get_all_jobs()
        store.get_due_jobs(at(100))
        store.lookup_job("module")
        store.next_due()
        store.get_note("anything")
        assert world.place.content() == before
        # The second time nothing is set aside yet.
        world.stop()
        scheduler, _ = world.boot(3.5, healthy=False)
        scheduler.pause()


@pytest.mark.timeout(180)
def test_a_module_is_removed_and_put_back(world: World) -> None:
    """Start, list, stop: the same number of rows throughout, and the job goes on where it was."""
    count = len(world.place.ids())
    scheduler, _ = world.boot(2.25, healthy=True)
    wanted = jobs_of(scheduler)["module"].next_run_time
    assert wanted == at(3)
    world.stop()
    world.write(AWAY, None)
    scheduler, _ = world.boot(2.5, healthy=True)
    assert jobs_of(scheduler)["module"].state is JobState.BROKEN
    assert len(world.place.ids()) == count
    world.stop()
    assert len(world.place.ids()) == count
    world.write(AWAY, "def work(*args): ...\n")
    scheduler, log = world.boot(2.75, healthy=True)
    assert len(world.place.ids()) == count
    job = jobs_of(scheduler)["module"]
    assert (job.state, job.next_run_time) == (JobState.ACTIVE, wanted)
    assert [run.state for run in scheduler.get_runs("module")] == [RunState.SUCCEEDED] * 2
    scheduler.advance(3600)
    assert log.executed("module") == [wanted]
    assert len(world.place.ids()) == count


@pytest.mark.timeout(180)
def test_the_command_lists_what_is_set_aside(world: World, tmp_path: Path) -> None:
    """Also while a scheduler has it, and changing nothing."""
    pytest.importorskip("typer", reason="the command line needs typer, which the extra 'cli' brings")
    damage(world)
    scheduler, _ = world.boot(2.5, healthy=False)
    scheduler.advance(3600)
    scheduler.pause()
    settings = {**world.place.options, "signing_key": KEY}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    # A schedule has a job; this one is in no store yet.
    text = "\n".join(
        ["[jobstores.default]", *lines, "", "[[jobs]]", 'id = "new"', 'command = "true"', 'cron = "@daily"', ""]
    )
    (tmp_path / "jobs.toml").write_text(text)
    before = world.place.content()
    done = subprocess.run(
        [sys.executable, "-m", "schedcore", "jobs", "--broken", "--json", "jobs.toml"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {job["id"]: job for job in json.loads(done.stdout)}
    assert sorted(found) == sorted(REASONS)
    for name, reason in REASONS.items():
        assert (found[name]["state"], found[name]["next_run"]) == ("broken", None)
        assert reason in found[name]["reason"], name
        assert found[name]["last_run"]["state"] == "succeeded"
    assert world.place.content() == before

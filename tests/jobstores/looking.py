"""``schedcore jobs`` and ``schedcore runs`` on a store on a server: also while a scheduler has it, and changing nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schedcore.cli.stores import Reader, to_read
from schedcore.errors import JobStoreError
from schedcore.events import EVENT_JOB_ERROR
from schedcore.job import JobEntry
from schedcore.jobstores.base import JobStore
from schedcore.testing import EventLog
from tests.jobstores.load import scheduler_on, work

__all__ = ["look_at", "say"]

# Seconds for a process that takes half of one on a machine that has nothing else to do.
DEADLINE_S = 60.0
MODULE = "schedcore_looked_at"


def say(*arguments: str, code: int = 0) -> str:
    """What the command prints: to its error output where it is to fail, else to its standard output, and then to that alone."""
    command = [sys.executable, "-m", "schedcore", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    if code == 0:
        assert done.stderr == ""
    return done.stdout if code == 0 else done.stderr


def look_at(make: Callable[[], JobStore], url: str, contents: Callable[[], Any], folder: Path) -> None:
    """``make``: stores over one place, where nothing is; ``url``: the same for the command; ``contents``: all that is there."""
    assert "there is nothing of schedcore's" in say("jobs", url, code=1)
    assert not contents()
    code = folder / f"{MODULE}.py"
    code.write_text("def job(): ...\n")
    scheduler = scheduler_on(make())
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", seconds=0.05, id="often")
    scheduler.add_job("builtins:int", id="fails", args=["x"], next_run_time=None, trigger="interval", hours=1)
    scheduler.add_job(f"{MODULE}:job", "cron", hour=7, id="daily", name="Every morning")
    log.wait_for(lambda log: len(log.executed("often")) > 2)

    # Somebody has it, and goes on.
    with Reader(*to_read(url, None)) as reader:
        seen = reader.runs("often", limit=1)[0].fire_us
        assert {entry.job.id for entry in reader.jobs()} == {"often", "fails", "daily"}
        end_s = time.monotonic() + DEADLINE_S
        while reader.runs("often", limit=1)[0].fire_us == seen:
            assert time.monotonic() < end_s
    jobs = {job["id"]: job for job in json.loads(say("jobs", url, "--json"))}
    assert {name: job["state"] for name, job in jobs.items()} == {
        "often": "active",
        "fails": "paused",
        "daily": "active",
    }
    assert (jobs["daily"]["func"], jobs["daily"]["name"]) == (f"{MODULE}:job", "Every morning")
    # On a busy machine the run before is still going.
    assert jobs["often"]["last_run"]["state"] in ("submitted", "running", "succeeded", "skipped")
    ran = len(log.executed("often"))
    log.wait_for(lambda log: len(log.executed("often")) > ran + 2)
    scheduler.resume_job("fails")
    scheduler.modify_job("fails", next_run_time="2026-01-01T00:00:00Z")
    log.wait_for(lambda log: bool(log.of(EVENT_JOB_ERROR, "fails")))
    scheduler.pause_job("often")
    scheduler.shutdown()

    # Nobody has it, and nothing changes, whatever is asked; what a job would run is not even imported.
    code.unlink()
    sys.modules.pop(MODULE, None)
    before = contents()
    (failed,) = json.loads(say("runs", url, "--json", "--failed"))
    assert (failed["job"], failed["state"]) == ("fails", "failed")
    with Reader(*to_read(url, None)) as reader:
        assert {record.job_id for record in reader.runs(limit=1000)} == {"often", "fails"}
        store = reader._open
        assert store.get_entry("daily") is not None
        page = store.list_entries(None, 2)
        assert len({entry.job.id for entry in (*page, *store.list_entries(page[-1], 2))}) == 3
        assert store.next_due() != (None, None)
        assert store.get_note("x") is None
        _refuses(store, page[0])
    assert MODULE not in sys.modules
    assert contents() == before

    # And who has looked is in nobody's way.
    scheduler = scheduler_on(make())
    scheduler.start(paused=True)
    assert {job.id for job in scheduler.get_jobs()} == {"often", "fails", "daily"}
    scheduler.shutdown()


def _refuses(store: JobStore, entry: JobEntry) -> None:
    changes: list[Callable[[], object]] = [
        lambda: store.add_entries([entry._replace(job=entry.job._replace(id="new", func=work, func_ref=None))]),
        lambda: store.replace_entry(entry, entry._replace(fire_us=1, due_us=1)),
        lambda: store.remove_job(entry.job.id),
        store.remove_all_jobs,
        lambda: store.recover([]),
        lambda: store.put_note("x", "y"),
    ]
    for change in changes:
        with pytest.raises(JobStoreError, match="opened for reading only"):
            change()

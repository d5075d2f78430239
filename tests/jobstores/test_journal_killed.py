"""The journal beside an SQLite file, when its process is really killed in the middle of things."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

from schedcore.jobstores.sqlalchemy import open_reader
from schedcore.run import RunState

boots = pytest.mark.skipif(
    not os.path.exists("/proc/sys/kernel/random/boot_id"),
    reason="the system has no name for a boot: no journal is whole",
)


APP = """
import asyncio, os, sys
from datetime import UTC, datetime
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore, open_reader
from schedcore.run import current_run

URL, LOG, KIND = sys.argv[1:4]
trace = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def job():
    os.write(trace, f"{current_run.get().id}\\n".encode())

async def coroutine():
    job()

def scheduler():
    options = {"jobstores": {"default": SQLAlchemyJobStore(URL, history=100)}, "timezone": "UTC"}
    if KIND == "asyncio":
        from schedcore.adapters.asyncio import AsyncIOScheduler
        return AsyncIOScheduler(**options)
    from schedcore.schedulers.background import BackgroundScheduler
    kind = {"threads": "threadpool", "processes": "processpool"}[KIND]
    return BackgroundScheduler(**options, executors={"default": {"type": kind, "max_workers": 4}})

async def main():
    import app
    one = scheduler()
    if len(sys.argv) > 4:
        func = app.coroutine if KIND == "asyncio" else app.job
        jobs = [
            {"func": func, "trigger": "date", "run_date": datetime(2026, 1, 1, tzinfo=UTC), "id": f"{recovery}-{number}",
             "recovery": recovery}
            for number in range(int(sys.argv[4])) for recovery in ("rerun", "lost")
        ]
        one.start(paused=True)
        await asyncio.to_thread(one.add_jobs, jobs)
        one.resume()
    else:
        one.start()
    while not (one.state and one._pumps["default"].tried.is_set()):
        await asyncio.sleep(0.01)
    def going_on():
        return one.get_jobs() or any(run.finished_us is None for run in one.get_runs(limit=100_000))
    while await asyncio.to_thread(going_on):
        await asyncio.sleep(0.05)
    closing = one.shutdown()
    if KIND == "asyncio":
        await closing

if __name__ == "__main__":
    asyncio.run(main())
"""
KILLS = 8
# Jobs of each kind, and how many runs may be in the middle of their work when they are killed.
BURSTS = {"threads": (2500, 4), "asyncio": (2500, 1), "processes": (600, 4)}


@pytest.mark.slow
@boots
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", BURSTS)
def test_killed_in_a_burst(tmp_path: Path, kind: str) -> None:
    """Thousands of runs within a second, and killed in the midst of them: each is made once, but for those that were cut."""
    count, workers = BURSTS[kind]
    (tmp_path / "app.py").write_text(APP)
    url, log = f"sqlite:///{tmp_path}/jobs.sqlite", tmp_path / "log"
    log.touch()
    draw = random.Random(11)

    def boot(*more: str) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(tmp_path), *sys.path])
        command = [sys.executable, "app.py", url, str(log), kind, *more]
        return subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths})

    total = 2 * count * len("rerun-1000@2026-01-01T00:00:00Z#1\n")
    kills = 0
    for _ in range(KILLS):
        more = draw.randrange(1, total // (KILLS + 4))
        until = log.stat().st_size + more
        with boot(*([] if kills else [str(count)])) as process:
            while log.stat().st_size < until and process.poll() is None:
                time.sleep(0.0005)
            process.kill()
        if process.returncode == 0:  # on a busy machine much is made from when it is to be killed until it is
            break
        kills += 1
    assert kills, "it ended by itself: there was nothing to kill"
    with boot() as process:
        assert process.wait(120) == 0
    made = Counter(log.read_text().split())
    with open_reader(url) as reader:
        records = {record.id: record for record in reader.runs(limit=1_000_000)}
    cut = {run_id for run_id, record in records.items() if record.state is RunState.LOST}
    assert len(cut) <= kills * workers, "more than were in the middle of their work"
    if kind != "processes":
        assert {records[run_id].reason for run_id in cut} <= {
            "its scheduler died in the middle of it",
            "its scheduler died in the middle of it; it is run again",
        }
    for run_id, record in records.items():
        assert made[run_id] <= 1, f"{run_id} was made twice"
        if run_id not in cut:
            assert record.state is RunState.SUCCEEDED
            assert made[run_id] == 1, f"{run_id} was not made"
    assert set(made) <= set(records)
    first = {record.job_id for record in records.values() if record.attempt == 1}
    assert first == {f"{recovery}-{number}" for recovery in ("rerun", "lost") for number in range(count)}
    for run_id, record in records.items():
        if record.attempt > 1:
            assert f"{run_id[:-1]}{record.attempt - 1}" in cut, "run again, and nothing had happened to it"
            assert not record.job_id.startswith("lost")
    for run_id in cut:
        again = f"{run_id[:-1]}{records[run_id].attempt + 1}"
        if run_id.startswith("rerun") and records[run_id].attempt == 1:
            assert again in records, "it is run again"


SUICIDE = """
import os, signal, sys, threading
from datetime import UTC, datetime
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from schedcore.schedulers.background import BackgroundScheduler

def job(name):
    os.write(trace, f"{name}\\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)

def fine():
    os.write(trace, b"fine\\n")

if __name__ == "__main__":
    import app
    app.trace = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(sys.argv[1])}, timezone="UTC",
        executors={"default": {"type": "threadpool", "max_workers": 1}},
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    if len(sys.argv) > 3:
        for number, recovery in enumerate(("rerun", "lost")):
            scheduler.add_job(app.job, "date", run_date=at, args=[recovery], id=f"{number}", recovery=recovery)
        scheduler.add_job(app.fine, "date", run_date=at, id="2")
    scheduler.start()
    while scheduler.get_jobs() or any(run.finished_us is None for run in scheduler.get_runs()):
        threading.Event().wait(0.02)
    scheduler.shutdown()
"""


@pytest.mark.slow
@boots
@pytest.mark.timeout(120)
def test_a_job_that_kills_its_process_does_so_once_more(tmp_path: Path) -> None:
    """And not at all where its job wants none twice; what was behind it in the queue is made once."""
    (tmp_path / "app.py").write_text(SUICIDE)
    log = tmp_path / "log"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    codes: list[int] = []
    while 0 not in codes:
        more = [] if codes else ["first"]
        command = [sys.executable, "app.py", f"sqlite:///{tmp_path}/jobs.sqlite", str(log), *more]
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, timeout=60, check=False)
        codes.append(done.returncode)
        assert len(codes) < 6
    assert Counter(log.read_text().split()) == {"rerun": 2, "lost": 1, "fine": 1}
    assert codes == [-9, -9, -9, 0]

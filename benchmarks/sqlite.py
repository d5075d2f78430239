"""A durable store: 2,000 jobs in an SQLite file are due at one instant.

The clock runs from ``resume()`` until the last job has run, its outcome and next time are in the file, and the scheduler is shut
down with the file closed. schedcore writes a record of each run (APScheduler keeps none). ``bare`` makes the same statements
through the driver, in batches of a thousand and in the same journal mode, on tables of the same columns and indexes: it reads
what is due, writes the next times and the runs, runs the jobs, and writes the outcomes.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import tempfile
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time, time

from benchmarks._meters import Tally, background_scheduler
from benchmarks._plan import Case, Figures, Target

__all__ = ["CASES", "TARGETS"]

_BATCH = 1_000
_HOUR_US = 3_600_000_000

# Jobs in a durable store are found by name: the function of the module, and what it counts on.
_tally = Tally(0)


def job() -> None:
    """What is run."""
    _tally.hit()


def sqlite(subject: str, n: int) -> Figures:
    """Run and record ``n`` due jobs."""
    global _tally
    _tally = Tally(n)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobs.sqlite")
        if subject == "bare":
            return _bare(path, n)
        store = import_module(f"{subject}.jobstores.sqlalchemy").SQLAlchemyJobStore(url=f"sqlite:///{path}")
        scheduler = background_scheduler(subject, jobstores={"default": store})
        now = datetime.now(UTC)
        for i in range(n):
            scheduler.add_job(job, "interval", seconds=3600, id=str(i), next_run_time=now, misfire_grace_time=None)
        scheduler.start(paused=True)
        gc.collect()
        cpu_s = process_time()
        start_s = perf_counter()
        scheduler.resume()
        _tally.wait()
        scheduler.shutdown()
        return _figures(n, start_s, cpu_s)


def _figures(n: int, start_s: float, cpu_s: float) -> Figures:
    return {
        "run_us": (_tally.last_s - start_s) / n * 1e6,
        "recorded_us": (perf_counter() - start_s) / n * 1e6,
        "cpu_us": (process_time() - cpu_s) / n * 1e6,
    }


# As many columns, keys and indexes as the store of schedcore has.
_SCHEMA = """
CREATE TABLE jobs (uid INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, former_id TEXT, payload BLOB,
                   version INTEGER NOT NULL, fence INTEGER NOT NULL, state TEXT NOT NULL, elapsed INTEGER NOT NULL,
                   fire_us INTEGER, due_us INTEGER, reason TEXT);
CREATE INDEX jobs_due ON jobs (elapsed, due_us, id);
CREATE TABLE runs (job_uid INTEGER NOT NULL, fire_us INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL,
                   reason TEXT, times INTEGER NOT NULL, until_us INTEGER, submitted_us INTEGER, started_us INTEGER,
                   finished_us INTEGER, error TEXT, traceback TEXT, result TEXT, output TEXT, exit_code INTEGER,
                   PRIMARY KEY (fire_us, job_uid, attempt)) WITHOUT ROWID;
CREATE INDEX runs_live ON runs (job_uid) WHERE finished_us IS NULL;
CREATE INDEX runs_job ON runs (job_uid, fire_us);
CREATE INDEX runs_failed ON runs (fire_us) WHERE state IN ('failed', 'lost');
"""


def _bare(path: Path, n: int) -> Figures:
    definition = json.dumps({"func": f"{job.__module__}:{job.__qualname__}", "args": [], "seconds": 3600})
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=NORMAL")
    base.executescript(_SCHEMA)
    now_us = int(time() * 1e6)
    base.execute("BEGIN IMMEDIATE")
    base.executemany(
        "INSERT INTO jobs (id, payload, version, fence, state, elapsed, fire_us, due_us)"
        " VALUES (?, ?, 1, 1, 'active', 1, ?, ?)",
        [(str(i), definition, now_us, now_us) for i in range(n)],
    )
    base.execute("COMMIT")
    gc.collect()
    cpu_s = process_time()
    start_s = perf_counter()
    while _bare_batch(base):
        pass
    base.close()
    return _figures(n, start_s, cpu_s)


def _bare_batch(base: sqlite3.Connection) -> bool:
    """One batch, in a transaction before it runs and one after; False when nothing was due."""
    now_us = int(time() * 1e6)
    base.execute("BEGIN IMMEDIATE")
    due = base.execute(
        "SELECT uid, fence, fire_us, payload FROM jobs WHERE elapsed = 1 AND due_us <= ? ORDER BY due_us LIMIT ?",
        (now_us, _BATCH),
    ).fetchall()
    base.executemany(
        "UPDATE jobs SET fire_us = ?, due_us = ?, fence = fence + 1 WHERE uid = ? AND fence = ?",
        [(fire_us + _HOUR_US, fire_us + _HOUR_US, uid, fence) for uid, fence, fire_us, _ in due],
    )
    base.executemany(
        "INSERT INTO runs (job_uid, fire_us, attempt, state, times, submitted_us) VALUES (?, ?, 1, 'submitted', 1, ?)",
        [(uid, fire_us, now_us) for uid, _, fire_us, _ in due],
    )
    base.execute("COMMIT")
    if not due:
        return False
    ended = []
    for uid, _, fire_us, definition in due:
        json.loads(definition)
        started_us = int(time() * 1e6)
        job()
        ended.append(("succeeded", started_us, int(time() * 1e6), uid, fire_us))
    base.execute("BEGIN IMMEDIATE")
    base.executemany(
        "UPDATE runs SET state = ?, started_us = ?, finished_us = ?"
        " WHERE job_uid = ? AND fire_us = ? AND attempt = 1 AND finished_us IS NULL",
        ended,
    )
    base.execute("COMMIT")
    return True


CASES = (Case("sqlite", "due jobs in SQLite, run and recorded", sqlite, (2_000,), (2_000,)),)

TARGETS = (
    Target(
        "SQLite, 2,000 due: run and recorded", "sqlite", 2_000, "recorded_us", "faster", 25, "apscheduler", "cpu_us"
    ),
    Target("SQLite, 2,000 due: run and recorded", "sqlite", 2_000, "recorded_us", "faster", 0.4, "bare", "cpu_us"),
)

"""A durable store: 2,000 jobs in an SQLite file are due at one instant.

The clock runs from ``resume()`` until the last job has run, its outcome and next time are in the file, and the scheduler is shut
down with the file closed. schedcore writes a record of each run (APScheduler keeps none). ``bare`` makes the same statements
through the driver, in batches of a thousand and in the same journal mode: it reads what is due, claims it, writes the runs
and the next times, runs the jobs, and writes the outcomes.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time, time
from typing import Any

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


_SCHEMA = """
CREATE TABLE jobs (id TEXT PRIMARY KEY, state TEXT NOT NULL, fire_us INTEGER, due_us INTEGER, live INTEGER NOT NULL,
                   fence INTEGER NOT NULL, owner TEXT, lease_us INTEGER, definition TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX jobs_due ON jobs (due_us);
CREATE TABLE runs (job_id TEXT NOT NULL, fire_us INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL,
                   fence INTEGER NOT NULL, submitted_us INTEGER, started_us INTEGER, finished_us INTEGER, error TEXT,
                   result TEXT, PRIMARY KEY (job_id, fire_us, attempt)) WITHOUT ROWID;
CREATE INDEX runs_state ON runs (state);
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
        "INSERT INTO jobs VALUES (?, 'active', ?, ?, 0, 0, NULL, NULL, ?)",
        [(str(i), now_us, now_us, definition) for i in range(n)],
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
    """One batch, in three transactions; False when nothing was due."""
    now_us = int(time() * 1e6)
    base.execute("BEGIN IMMEDIATE")
    due = base.execute(
        "SELECT id, fire_us, fence, definition FROM jobs WHERE due_us <= ? AND owner IS NULL ORDER BY due_us LIMIT ?",
        (now_us, _BATCH),
    ).fetchall()
    _many(
        base,
        "UPDATE jobs SET owner = 'me', lease_us = ?, fence = fence + 1 WHERE id = ?",
        [(now_us + 30_000_000, row[0]) for row in due],
    )
    base.execute("COMMIT")
    if not due:
        return False
    base.execute("BEGIN IMMEDIATE")
    _many(
        base,
        "INSERT INTO runs VALUES (?, ?, 1, 'submitted', ?, ?, NULL, NULL, NULL, NULL)",
        [(id, fire_us, fence + 1, now_us) for id, fire_us, fence, _ in due],
    )
    _many(
        base,
        "UPDATE jobs SET fire_us = ?, due_us = ?, live = live + 1, owner = NULL, lease_us = NULL"
        " WHERE id = ? AND fence = ?",
        [(fire_us + _HOUR_US, fire_us + _HOUR_US, id, fence + 1) for id, fire_us, fence, _ in due],
    )
    base.execute("COMMIT")
    ended = []
    for id, fire_us, fence, definition in due:
        json.loads(definition)
        started_us = int(time() * 1e6)
        job()
        ended.append((started_us, int(time() * 1e6), id, fire_us, fence + 1))
    base.execute("BEGIN IMMEDIATE")
    _many(
        base,
        "UPDATE runs SET state = 'succeeded', started_us = ?, finished_us = ?"
        " WHERE job_id = ? AND fire_us = ? AND attempt = 1 AND fence = ?",
        ended,
    )
    _many(base, "UPDATE jobs SET live = live - 1 WHERE id = ?", [(row[2],) for row in ended])
    base.execute("COMMIT")
    return True


def _many(base: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    base.executemany(statement, rows)


CASES = (Case("sqlite", "due jobs in SQLite, run and recorded", sqlite, (2_000,), (2_000,)),)

TARGETS = (
    Target("SQLite, 2,000 due: run and recorded", "sqlite", 2_000, "recorded_us", "faster", 25, "apscheduler"),
    Target("SQLite, 2,000 due: run and recorded", "sqlite", 2_000, "recorded_us", "faster", 0.4, "bare"),
)

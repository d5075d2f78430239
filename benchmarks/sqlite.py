"""A durable store: 2,000 jobs in an SQLite file are due at one instant; and as many are added.

What is run is said in ``_durable``; at the end the file is closed. ``bare`` makes the same statements through the driver, in
batches of a thousand and in the same journal mode, on tables of the same columns and indexes: it reads what is due, writes the
next times and the runs, runs the jobs, and writes the outcomes.
"""

from __future__ import annotations

import sqlite3
import tempfile
from functools import partial
from importlib import import_module
from pathlib import Path
from time import time
from typing import Any

from benchmarks import _durable
from benchmarks._durable import (
    BATCH,
    DEFINITION,
    HOUR_US,
    Began,
    add_cases,
    add_targets,
    begin,
    run_bare,
    run_due,
    run_targets,
)
from benchmarks._plan import Case, Figures

__all__ = ["CASES", "TARGETS"]


def sqlite(subject: str, n: int) -> Figures:
    """Run and record ``n`` due jobs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobs.sqlite")
        return run_due(subject, n, partial(_store, subject, path), partial(_bare, path, n))


def add(_: str, bulk: bool, subject: str, n: int) -> Figures:
    """Add ``n`` jobs."""
    with tempfile.TemporaryDirectory() as folder:
        return _durable.add(subject, _store(subject, Path(folder, "jobs.sqlite")), n, bulk=bulk)


def _store(subject: str, path: Path) -> Any:
    return import_module(f"{subject}.jobstores.sqlalchemy").SQLAlchemyJobStore(url=f"sqlite:///{path}")


# As many columns, keys and indexes as the store of schedcore has.
_SCHEMA = """
CREATE TABLE jobs (uid INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, former_id TEXT, payload BLOB);
CREATE TABLE schedule (uid INTEGER PRIMARY KEY, id TEXT NOT NULL, version INTEGER NOT NULL, fence INTEGER NOT NULL,
                       state TEXT NOT NULL, elapsed INTEGER NOT NULL, fire_us INTEGER, due_us INTEGER, reason TEXT);
CREATE INDEX schedule_due ON schedule (elapsed, due_us, id);
CREATE TABLE runs (job_uid INTEGER NOT NULL, fire_us INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL,
                   reason TEXT, times INTEGER NOT NULL, until_us INTEGER, submitted_us INTEGER, started_us INTEGER,
                   finished_us INTEGER, error TEXT, traceback TEXT, result TEXT, output TEXT, exit_code INTEGER,
                   failed INTEGER,
                   PRIMARY KEY (fire_us, job_uid, attempt)) WITHOUT ROWID;
CREATE INDEX runs_job ON runs (job_uid, fire_us);
CREATE INDEX runs_failed ON runs (failed, fire_us) WHERE failed = 1;
"""


def _bare(path: Path, n: int) -> Began:
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=NORMAL")
    base.executescript(_SCHEMA)
    now_us = int(time() * 1e6)
    base.execute("BEGIN IMMEDIATE")
    base.executemany("INSERT INTO jobs (id, payload) VALUES (?, ?)", [(str(i), DEFINITION.decode()) for i in range(n)])
    base.execute(
        "INSERT INTO schedule (uid, id, version, fence, state, elapsed, fire_us, due_us)"
        " SELECT uid, id, 1, 1, 'active', 1, ?, ? FROM jobs",
        (now_us, now_us),
    )
    base.execute("COMMIT")
    began = begin()
    while _bare_batch(base):
        pass
    base.close()
    return began


def _bare_batch(base: sqlite3.Connection) -> bool:
    """One batch, in a transaction before it runs and one after; False when nothing was due."""
    now_us = int(time() * 1e6)
    base.execute("BEGIN IMMEDIATE")
    due = base.execute(
        "SELECT uid, fence, fire_us, payload FROM schedule JOIN jobs USING (uid)"
        " WHERE elapsed = 1 AND due_us <= ? ORDER BY due_us LIMIT ?",
        (now_us, BATCH),
    ).fetchall()
    base.executemany(
        "UPDATE schedule SET fire_us = ?, due_us = ?, fence = fence + 1 WHERE uid = ? AND fence = ?",
        [(fire_us + HOUR_US, fire_us + HOUR_US, uid, fence) for uid, fence, fire_us, _ in due],
    )
    base.executemany(
        "INSERT INTO runs (job_uid, fire_us, attempt, state, times, submitted_us) VALUES (?, ?, 1, 'submitted', 1, ?)",
        [(uid, fire_us, now_us) for uid, _, fire_us, _ in due],
    )
    base.execute("COMMIT")
    if not due:
        return False
    ended = [
        ("succeeded", *times, uid, fire_us)
        for (uid, _, fire_us, _), times in zip(due, run_bare(row[3] for row in due), strict=True)
    ]
    base.execute("BEGIN IMMEDIATE")
    base.executemany(
        "UPDATE runs SET state = ?, started_us = ?, finished_us = ?"
        " WHERE job_uid = ? AND fire_us = ? AND attempt = 1 AND finished_us IS NULL",
        ended,
    )
    base.execute("COMMIT")
    return True


CASES = (
    Case(
        "sqlite", "due jobs in SQLite, run and recorded", sqlite, (2_000,), (2_000,), repeats=15, on_one_processor=True
    ),
    *add_cases({"sqlite": "SQLite"}, add),
)

TARGETS = (*run_targets("sqlite", "SQLite", 30), *add_targets("sqlite", "SQLite"))

"""Durable stores on servers: PostgreSQL and MariaDB, each started for the measurement (``tests/services``); and SQLite again.
Redis and MongoDB are measured by ``documents``, ZooKeeper and etcd by ``keyed``.

What is run and added is said in ``_durable``. ``bare`` makes the same statements through the same driver, a thousand rows at
once, on tables of the same columns and indexes.

*overdue*, *one due*: a scheduler starts on 10,000 stored jobs, of which all, or one, should have run before. The clock runs from
the making of the store and the scheduler until the first of them runs. Both libraries have the same server by turns, and each
time a copy of what they once stored there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from time import process_time, time
from typing import Any

from benchmarks import _durable, documents, keyed, sqlite
from benchmarks._durable import BATCH, DEFINITION, HOUR_US, Began, begin, expect, jobs, place, put, run_bare
from benchmarks._meters import background_scheduler
from benchmarks._plan import LIBRARIES, Case, Figures, Target

__all__ = ["CASES", "REQUIREMENTS", "TARGETS"]

REQUIREMENTS = ("psycopg[binary]>=3.1.18", "PyMySQL>=1.1", *documents.REQUIREMENTS, *keyed.REQUIREMENTS)


@contextmanager
def _url(name: str) -> Iterator[str]:
    """Of an empty database on a server of this measurement's own."""
    with place(name) as where:
        yield where.url.replace("postgresql:", "postgresql+psycopg:")


def _store(subject: str, url: str) -> Any:
    return import_module(f"{subject}.jobstores.sqlalchemy").SQLAlchemyJobStore(url=url)


def run(name: str, subject: str, n: int) -> Figures:
    """Run and record ``n`` due jobs."""
    with _url(name) as url:
        return _durable.run_due(subject, n, partial(_store, subject, url), partial(_BARE[name], url, n))


def add(name: str, bulk: bool, subject: str, n: int) -> Figures:
    """Add ``n`` jobs."""
    with _url(name) as url:
        return _durable.add(subject, _store(subject, url), n, bulk=bulk)


# --- the same work without a scheduler ----------------------------------------------------------------------------------


# As many columns, keys and indexes as the store of schedcore has.
_JOBS = (
    """CREATE TABLE jobs (uid {serial} PRIMARY KEY, id VARCHAR(255) UNIQUE, former_id VARCHAR(255), payload {blob})"""
)
_SCHEDULE = """CREATE TABLE schedule (uid BIGINT PRIMARY KEY, id VARCHAR(255) NOT NULL, version INTEGER NOT NULL,
fence BIGINT NOT NULL, state VARCHAR(16) NOT NULL, elapsed SMALLINT NOT NULL, fire_us BIGINT, due_us BIGINT, reason TEXT)
{more}"""
_RUNS = """CREATE TABLE runs (fire_us BIGINT NOT NULL, job_uid BIGINT NOT NULL, attempt INTEGER NOT NULL,
state VARCHAR(16) NOT NULL, reason TEXT, times BIGINT NOT NULL, until_us BIGINT, submitted_us BIGINT, started_us BIGINT,
finished_us BIGINT, error TEXT, traceback TEXT, result TEXT, output TEXT, exit_code INTEGER, failed SMALLINT,
PRIMARY KEY (fire_us, job_uid, attempt)) {more}"""
_INDEXES = (
    "CREATE INDEX schedule_due ON schedule (elapsed, due_us, id)",
    "CREATE INDEX runs_job ON runs (job_uid, fire_us)",
)
_PARTIAL = (
    "CREATE INDEX jobs_former ON jobs (former_id) WHERE former_id IS NOT NULL",
    "CREATE INDEX runs_failed ON runs (failed, fire_us) WHERE failed = 1",
)
_PLAIN = ("CREATE INDEX jobs_former ON jobs (former_id)", "CREATE INDEX runs_failed ON runs (failed, fire_us)")
_DUE = (
    "SELECT uid, fence, fire_us, payload FROM schedule JOIN jobs USING (uid) WHERE elapsed = 1 AND due_us <= %s "
    f"ORDER BY due_us LIMIT {BATCH}"
)
_ADD = "INSERT INTO jobs (id, payload) VALUES (%s, %s)"
_PLACE = (
    "INSERT INTO schedule (uid, id, version, fence, state, elapsed, fire_us, due_us) "
    "SELECT uid, id, 1, 1, 'active', 1, %s, %s FROM jobs"
)

#: What is due; the statements that move, submit and finish rows of it.
Batch = tuple[Callable[[Any, list[Any]], None], Callable[[Any, list[Any]], None], Callable[[Any, list[Any]], None]]


def _bare_runs(connection: Any, batch: Batch) -> Began:
    """The same work without a scheduler; when it began, by both clocks."""
    move, submit, finish = batch
    began = begin()
    cursor = connection.cursor()
    while True:
        now_us = int(time() * 1e6)
        cursor.execute("BEGIN")
        cursor.execute(_DUE, (now_us,))
        due = cursor.fetchall()
        if due:
            move(cursor, [(fire_us + HOUR_US, fire_us + HOUR_US, uid, fence) for uid, fence, fire_us, _ in due])
            submit(cursor, [(uid, fire_us, now_us) for uid, _, fire_us, _ in due])
        cursor.execute("COMMIT")
        if not due:
            break
        ended = [
            (*times, uid, fire_us)
            for (uid, _, fire_us, _), times in zip(due, run_bare(row[3] for row in due), strict=True)
        ]
        cursor.execute("BEGIN")
        finish(cursor, ended)
        cursor.execute("COMMIT")
    connection.close()
    return began


def _add(cursor: Any, n: int) -> None:
    """Put so many jobs in the tables."""
    cursor.executemany(_ADD, [(str(i), DEFINITION) for i in range(n)])
    cursor.execute(_PLACE, [int(time() * 1e6)] * 2)


def _postgresql(url: str, n: int) -> Began:
    import psycopg

    connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
    room = "WITH (fillfactor = 45)"
    tables = _JOBS.format(serial="BIGSERIAL", blob="BYTEA"), _SCHEDULE.format(more=room), _RUNS.format(more=room)
    for text in (*tables, *_INDEXES, *_PARTIAL):
        connection.execute(text)
    with connection.transaction(), connection.cursor() as cursor:
        _add(cursor, n)

    def statement(text: str, columns: int) -> Callable[[Any, list[Any]], None]:
        names = ", ".join("abcd"[:columns])
        text = text.format(rows=f"unnest({', '.join(['%s::bigint[]'] * columns)}) AS d ({names})")

        def send(cursor: Any, rows: list[Any]) -> None:
            cursor.execute(text, ["{" + ",".join(map(str, column)) + "}" for column in zip(*rows, strict=True)])

        return send

    move = "UPDATE schedule SET fire_us = a, due_us = b, fence = fence + 1 FROM {rows} WHERE uid = c AND fence = d"
    submit = (
        "INSERT INTO runs (job_uid, fire_us, attempt, state, times, submitted_us) "
        "SELECT a, b, 1, 'submitted', 1, c FROM {rows}"
    )
    finish = (
        "UPDATE runs SET state = 'succeeded', started_us = a, finished_us = b FROM {rows} "
        "WHERE job_uid = c AND fire_us = d AND attempt = 1 AND finished_us IS NULL"
    )
    return _bare_runs(connection, (statement(move, 4), statement(submit, 3), statement(finish, 4)))


def _mariadb(url: str, n: int) -> Began:
    import pymysql
    from sqlalchemy import make_url

    place = make_url(url)
    connection = pymysql.connect(
        host=place.host, port=place.port or 0, user=place.username, database=place.database, autocommit=True
    )
    with connection.cursor() as cursor:
        jobs_table = _JOBS.format(serial="BIGINT AUTO_INCREMENT", blob="LONGBLOB")
        runs_table = _RUNS.format(more="ROW_FORMAT=REDUNDANT")
        for text in (jobs_table, _SCHEDULE.format(more=""), runs_table, *_INDEXES, *_PLAIN):
            cursor.execute(text)
        cursor.execute("BEGIN")
        _add(cursor, n)
        cursor.execute("COMMIT")

    def statement(text: str) -> Callable[[Any, list[Any]], None]:
        columns = ", ".join(f"{'abcd'[i]} BIGINT PATH '$[{i}]'" for i in range(4))
        text = text.format(rows=f"JSON_TABLE(%s, '$[*]' COLUMNS ({columns})) AS d")

        def send(cursor: Any, rows: list[Any]) -> None:
            cursor.execute(text, (json.dumps(rows),))

        return send

    move = "UPDATE schedule JOIN {rows} SET fire_us = a, due_us = b, fence = fence + 1 WHERE uid = c AND fence = d"
    finish = (
        "UPDATE runs JOIN {rows} SET state = 'succeeded', started_us = a, finished_us = b "
        "WHERE job_uid = c AND fire_us = d AND attempt = 1 AND finished_us IS NULL"
    )

    def submit(cursor: Any, rows: list[Any]) -> None:
        values = ",".join(["(%d, %d, 1, 'submitted', 1, %d)" % row for row in rows])  # noqa: UP031  # the fastest way
        cursor.execute(f"INSERT INTO runs (job_uid, fire_us, attempt, state, times, submitted_us) VALUES {values}")

    return _bare_runs(connection, (statement(move), submit, statement(finish)))


_BARE = {"postgresql": _postgresql, "mariadb": _mariadb}


# --- restart -------------------------------------------------------------------------------------------------------------


def _database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return url.rpartition("/")[0] + "/" + name


def _administer(url: str, *statements: str) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


@contextmanager
def stored(one: bool, n: int) -> Iterator[str]:
    """A server with a database for each library, named after it, in which so many jobs are stored; its URL."""
    with _url("postgresql") as url:
        for subject in LIBRARIES:
            _administer(url, f"CREATE DATABASE {subject}")
            place_of_jobs = _database(url, subject)
            scheduler = background_scheduler(subject, jobstores={"default": _store(subject, place_of_jobs)})
            scheduler.start(paused=True)
            now = datetime.now(UTC)
            wanted = jobs(n, now + timedelta(days=1) if one else now)
            wanted[n // 2]["next_run_time"] = now
            put(subject, scheduler, wanted)
            # Before the shutdown, in which APScheduler would handle what is due.
            scheduler.remove_jobstore("default")
            scheduler.shutdown()
            # What the server does by itself within a minute.
            _administer(place_of_jobs, "VACUUM ANALYZE")
        yield url


# What a start imports, in part only when it is used.
_COMMON = "schedulers.background", "jobstores.sqlalchemy", "executors.pool", "triggers.interval"
_MODULES = {
    "schedcore": (*_COMMON, "jobstores._sql_postgresql", "serializers.json"),
    "apscheduler": _COMMON,
}


def restart(subject: str, n: int, url: str) -> Figures:
    """Start on the ``n`` stored jobs: on a copy of them, because they do not stay as they are."""
    first = expect(1)
    copy = f"{subject}_{os.getpid()}"
    # When the clock begins to run, the writes of the copying are over, and so is what the server does for the first session of a
    # database that it has made: for ten milliseconds it lists its tables.
    _administer(url, f"CREATE DATABASE {copy} TEMPLATE {subject}")
    _administer(_database(url, copy), "CHECKPOINT")
    # What importing costs is measured by ``imports``. (The driver is there since the copying.)
    for module in _MODULES[subject]:
        import_module(f"{subject}.{module}")
    began = begin()
    scheduler = background_scheduler(subject, jobstores={"default": _store(subject, _database(url, copy))})
    scheduler.start()
    first.wait()
    figures = {"first_ms": (first.first_s - began.wall_s) * 1e3, "cpu_ms": (process_time() - began.cpu_s) * 1e3}
    scheduler.shutdown()
    return figures


_TEXTS = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}

CASES = (
    *_durable.cases(_TEXTS, run, add),
    *(Case(f"postgresql {way}", f"first run of stored jobs in PostgreSQL, {way}", restart, (10_000,), (10_000,), LIBRARIES,
           repeats=15, timeout_s=300.0, share=partial(stored, way == "one due")) for way in ("overdue", "one due")),
    *sqlite.CASES,
    *documents.CASES,
    *keyed.CASES,
)  # fmt: skip


def _targets() -> Iterator[Target]:
    for name, faster in (("postgresql", 12), ("mariadb", 10)):
        yield from _durable.targets(name, _TEXTS[name], faster)
    for way, limit in (("overdue", 6), ("one due", 1)):
        told = f"PostgreSQL, restart with 10,000 jobs, {way}: first run"
        yield Target(told, f"postgresql {way}", 10_000, "first_ms", "faster", limit, "apscheduler", "cpu_ms")


TARGETS = (*_targets(), *sqlite.TARGETS, *documents.TARGETS, *keyed.TARGETS)

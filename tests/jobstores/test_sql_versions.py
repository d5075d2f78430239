"""Tables of earlier versions become those of this one, with all that is in them, wherever the change of them is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

import sqlalchemy as sa

from schedcore.clock import Now
from schedcore.errors import ConflictingIdError, JobStoreError
from schedcore.jobstores.sqlalchemy import SCHEMA_VERSION, SQLAlchemyJobStore
from schedcore.run import RunState
from tests.jobstores.sql_servers import MINUTE, T0, Start, entry, run_due
from tests.services import Service
from tests.services.fixtures import mariadb, postgresql

__all__ = ["mariadb", "postgresql"]

# What each release has made, word for word. In braces is what a kind of database has in its own way.
_JOBS = """CREATE TABLE schedcore_jobs (uid {serial}, id VARCHAR(255){exact}, former_id VARCHAR(255){exact}, payload {blob},
version INTEGER NOT NULL, fence BIGINT NOT NULL, state VARCHAR(16) NOT NULL, elapsed SMALLINT NOT NULL, fire_us BIGINT,
due_us BIGINT, reason {text}, UNIQUE (id)){engine}"""
_RUNS = """CREATE TABLE schedcore_jobs_runs (fire_us BIGINT NOT NULL, job_uid BIGINT NOT NULL, attempt INTEGER NOT NULL,
state VARCHAR(16) NOT NULL, reason {text}, times BIGINT NOT NULL, until_us BIGINT, submitted_us BIGINT, started_us BIGINT,
finished_us BIGINT, error {text}, traceback {text}, result {text}, output {text}, exit_code INTEGER,{kind}
PRIMARY KEY (fire_us, job_uid, attempt)){engine}{format}"""
_META = (
    "CREATE TABLE schedcore_jobs_meta (name VARCHAR(64) NOT NULL, value {text} NOT NULL, PRIMARY KEY (name)){engine}"
)
_DUE = "CREATE INDEX schedcore_jobs_due ON schedcore_jobs (elapsed, due_us, id)"
_FORMER = "CREATE INDEX schedcore_jobs_former ON schedcore_jobs (former_id){former}"
_BY_JOB = "CREATE INDEX schedcore_jobs_runs_job ON schedcore_jobs_runs (job_uid, fire_us)"
_LIVE = "CREATE INDEX schedcore_jobs_runs_live ON schedcore_jobs_runs (job_uid) WHERE finished_us IS NULL"
_FAILED = "CREATE INDEX schedcore_jobs_runs_failed ON schedcore_jobs_runs (fire_us) WHERE state IN ('failed', 'lost')"
_KIND = "CREATE INDEX schedcore_jobs_runs_kind ON schedcore_jobs_runs (kind, fire_us)"

_TABLES = _JOBS, _RUNS, _META, _DUE, _FORMER, _BY_JOB
_PARTIAL = {"text": "TEXT", "kind": "", "engine": "", "former": " WHERE former_id IS NOT NULL"}
#: By the kind of database: what version 1 was made with, and what stands for the words in braces.
_VERSION_1: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "sqlite": (
        (*_TABLES, _LIVE, _FAILED),
        {
            **_PARTIAL,
            "serial": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
            "exact": "",
            "blob": "BLOB",
            "format": " WITHOUT ROWID",
        },
    ),
    "postgresql": (
        (*_TABLES, _LIVE, _FAILED),
        {**_PARTIAL, "serial": "BIGSERIAL PRIMARY KEY", "exact": ' COLLATE "C"', "blob": "BYTEA", "format": ""},
    ),
    "mysql": (
        (*_TABLES, _KIND),
        {
            "serial": "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
            "exact": " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
            "blob": "LONGBLOB",
            "text": "MEDIUMTEXT",
            "engine": " ENGINE=InnoDB CHARSET=utf8mb4",
            "format": " ROW_FORMAT=REDUNDANT",
            "former": "",
            "kind": " kind SMALLINT GENERATED ALWAYS AS (CASE WHEN finished_us IS NULL THEN 1 "
            "WHEN state IN ('failed', 'lost') THEN 2 ELSE 0 END) STORED,",
        },
    ),
}

# Of each run: job, fire time in minutes, attempt, state, submitted, started, finished.
_RECORDS: list[tuple[Any, ...]] = [
    (1, -4, 1, "skipped", None, None, 5),
    (1, -3, 1, "failed", 1, 2, 3),
    (2, -3, 1, "lost", 1, 2, 3),
    (1, -2, 1, "succeeded", 1, 2, 3),
    (1, 0, 1, "running", 1, 2, None),
    (3, -1, 1, "running", 1, 2, None),
]


class Places:
    """Empty databases of one kind, each with an engine of its own."""

    def __init__(self, server: Service | None, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._engines: list[sa.Engine] = []

    def make(self) -> sa.Engine:
        if self._server is None:
            url = f"sqlite:///{self._folder}/{len(self._engines)}.sqlite"
        else:
            url = self._server.fresh().url.replace("postgresql:", "postgresql+psycopg:")
        engine = sa.create_engine(url)
        self._engines.append(engine)
        return engine

    def close(self) -> None:
        for engine in self._engines:
            engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    server = None
    if request.param != "sqlite":
        server = request.getfixturevalue(request.param)
        pytest.importorskip({"postgresql": "psycopg", "mariadb": "pymysql"}[request.param])
    places = Places(server, tmp_path)
    yield places
    places.close()


def make_version_1(engine: sa.Engine) -> None:
    """Tables as the first version made them: a job with a history that has a run going on, and a job that is gone; one that has
    ended while its last run goes on, one that is paused, and one that is broken.
    """
    statements, words = _VERSION_1[engine.dialect.name]
    codec = SQLAlchemyJobStore("sqlite://").codec
    of = {job_id: codec.encode(entry(job_id).job) for job_id in ("job", "over", "paused")}
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.format(**words))
        connection.execute(
            sa.text(
                "INSERT INTO schedcore_jobs (id, former_id, payload, version, fence, state, elapsed, fire_us, due_us, reason) "
                "VALUES (:id, :former, :payload, 1, 9, :state, 0, :at_us, :due_us, :reason)"
            ),
            [
                dict(zip(("id", "former", "payload", "state", "at_us", "due_us", "reason"), row, strict=True))
                for row in (
                    ("job", None, of["job"], "active", T0 + MINUTE, T0 + MINUTE, None),
                    (None, "gone", None, "gone", None, None, None),
                    (None, "over", of["over"], "ended", None, None, None),
                    ("paused", None, of["paused"], "paused", None, None, None),
                    ("broken", None, b"x", "broken", T0 + MINUTE, None, "no such module"),
                )
            ],
        )
        connection.execute(
            sa.text(
                "INSERT INTO schedcore_jobs_runs (job_uid, fire_us, attempt, state, times, submitted_us, started_us, "
                "finished_us) VALUES (:uid, :fire_us, :attempt, :state, 1, :submitted, :started, :finished)"
            ),
            [
                {
                    "uid": uid,
                    "fire_us": T0 + minutes * MINUTE,
                    "attempt": attempt,
                    "state": state,
                    "submitted": submitted,
                    "started": started,
                    "finished": finished,
                }
                for uid, minutes, attempt, state, submitted, started, finished in _RECORDS
            ],
        )
        connection.exec_driver_sql("INSERT INTO schedcore_jobs_meta (name, value) VALUES ('schema', '1')")


def shape(engine: sa.Engine, name: str) -> dict[str, Any]:
    """What the tables of one name are like, but for their names."""
    found = {}
    for suffix in ("", "_schedule", "_runs", "_meta"):
        table = sa.Table(name + suffix, sa.MetaData(), autoload_with=engine)
        columns = {(column.name, str(column.type), column.nullable) for column in table.columns}
        indexes = {(str(index.name).removeprefix(name), *index.columns.keys()) for index in table.indexes}
        found[suffix] = columns, indexes - {("id", "id")}, table.primary_key.columns.keys()
    return found


def check(engine: sa.Engine, start: Start) -> None:
    """All is there, and goes on."""
    store = start(SQLAlchemyJobStore(engine=engine))
    with engine.connect() as connection:
        version = connection.exec_driver_sql("SELECT value FROM schedcore_jobs_meta WHERE name = 'schema'").scalar()
    assert version == str(SCHEMA_VERSION)
    names = {1: "job", 2: "gone", 3: "over"}
    expected = sorted((T0 + row[1] * MINUTE, names[row[0]], row[3]) for row in _RECORDS)
    assert sorted((r.fire_us, r.job_id, str(r.state)) for r in store.runs()) == expected
    failed = [(r.job_id, str(r.state)) for r in store.runs(failed=True)]
    assert sorted(failed) == [("gone", "lost"), ("job", "failed")]
    assert [(e.job.id, str(e.state), e.fire_us, e.due_us) for e in store.list_entries()] == [
        ("job", "active", T0 + MINUTE, T0 + MINUTE),
        ("broken", "broken", T0 + MINUTE, None),
        ("paused", "paused", None, None),
    ]
    with pytest.raises(ConflictingIdError):
        store.add_entries([entry("paused")])
    # What was going on when its scheduler died is found: it counts, and is run again.
    (claim,) = store.acquire(Now(T0 + MINUTE, T0 + MINUTE), 9)
    assert claim.live == 1
    recovered = store.recover([])
    assert [(run.job.id, run.fire_us, run.attempt) for run in recovered.runs] == [
        ("over", T0 - MINUTE, 2),
        ("job", T0, 2),
    ]
    assert [(r.fire_us, r.state) for r in recovered.lost] == [(T0 - MINUTE, RunState.LOST), (T0, RunState.LOST)]
    assert len(store.runs(failed=True)) == 4
    assert run_due(store, T0 + MINUTE) == []  # it overlaps
    store.shutdown()
    start(SQLAlchemyJobStore(engine=engine, tablename="fresh")).shutdown()
    assert shape(engine, "schedcore_jobs") == shape(engine, "fresh")


def test_tables_of_version_1(places: Places, start: Start) -> None:
    engine = places.make()
    make_version_1(engine)
    check(engine, start)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_wherever_the_change_is_interrupted(places: Places, start: Start) -> None:
    """After each of its statements, on tables that nobody has changed yet; and then by the next scheduler likewise."""
    for number in count(1):
        engine = places.make()
        make_version_1(engine)
        if not _interrupt(engine, start, number):
            break
        _interrupt(engine, start, 1)
        check(engine, start)
    assert number > 5


def _interrupt(engine: sa.Engine, start: Start, number: int) -> bool:
    """Start a scheduler that dies after it has made so many statements that change something; whether it did."""
    made = 0

    def die(connection: Any, cursor: Any, statement: str, *rest: object) -> None:
        nonlocal made
        if statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "SHOW")):
            return
        made += 1
        if made == number:
            raise OSError("interrupted")

    sa.event.listen(engine, "after_cursor_execute", die)
    try:
        start(SQLAlchemyJobStore(engine=engine)).shutdown()
    except JobStoreError as error:
        if "interrupted" not in str(error):
            raise
        return True
    finally:
        sa.event.remove(engine, "after_cursor_execute", die)
    return False

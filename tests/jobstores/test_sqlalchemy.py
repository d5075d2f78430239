"""The SQL store: its options and errors, who may open it, what it keeps, and what its statements cost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from schedcore.clock import Now
from schedcore.engine import Claim, Decision, decide
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    JobLookupError,
    JobStoreError,
    JobStoreInUseError,
    SerializationError,
)
from schedcore.events import EVENT_JOB_BROKEN, EVENT_JOBSTORE_FAILED
from schedcore.job import JobEntry, JobState
from schedcore.jobstores import _sql_definitions, _sql_options, _sql_runs, _sql_schema
from schedcore.jobstores._payload import Codec
from schedcore.jobstores._sql_sqlite import SQLite
from schedcore.jobstores.base import JobStore
from schedcore.jobstores.sqlalchemy import SCHEMA_VERSION, SQLAlchemyJobStore, open_reader
from schedcore.run import Finish, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog, VirtualClock, VirtualScheduler
from schedcore.testing.store_suite import work
from tests.jobstores.sql_servers import (
    MINUTE,
    T0,
    Start,
    check_a_table_that_is_gone,
    check_that_live_runs_are_found,
    entry,
    run_due,
)

DAY = 86_400_000_000


def query(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        with connection:
            return connection.execute(statement, parameters).fetchall()
    finally:
        connection.close()


def close(store: JobStore) -> JobStore:
    store.shutdown()
    return store


# --- options --------------------------------------------------------------------------------------------------------------


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, r"needs either url= \(such as 'sqlite:///jobs.sqlite'\) or engine="),
            ({"url": "sqlite://", "engine": "a:b"}, "needs either url="),
            (
                {"url": "jobs.sqlite"},
                "url='jobs.sqlite' is not a database URL; write for example 'sqlite:///jobs.sqlite'",
            ),
            (
                {"url": "oracle://host/db"},
                "no job store on 'oracle'; there is one on: sqlite, postgresql, mysql, mariadb",
            ),
            ({"url": "sqlite://", "timeout": 0}, "timeout must be a number of seconds above 0, or None, not 0"),
            ({"url": "sqlite://", "tablename": ""}, "tablename must be text"),
            ({"url": "sqlite://", "tablename": "a\0b"}, "tablename must be text"),
            ({"url": "sqlite://", "tableschema": 5}, "tableschema must be text"),
            ({"url": "sqlite://", "metadata": 5}, "metadata must be an sqlalchemy.MetaData"),
            ({"url": "sqlite://", "engine_options": 5}, "engine_options must be a dictionary"),
            ({"url": "sqlite://", "engine_options": {"echo": "x"}}, "the engine cannot be made: "),
            ({"url": "postgresql://host:port/db"}, "is not a database URL"),
            ({"url": "postgresql//me:secret@host/db"}, r"url='postgresql//me:\*\*\*@host/db' is not a database URL"),
            ({"url": "postgresql://me:secret@host:port/db"}, r"url='postgresql://me:\*\*\*@host:port/db' is not a"),
            ({"url": "sqlite://", "history": 0}, "history must be a number of run records from 1 up, not 0"),
            ({"url": "sqlite://", "history": True}, "history must be a number of run records from 1 up, not True"),
            (
                {"url": "sqlite://", "history_age": -1},
                "history_age must be a number of seconds above 0, or None, not -1",
            ),
            ({"url": "sqlite://", "serializer": "yaml"}, "serializer='yaml': there is no such serializer"),
            ({"url": "sqlite://", "pickle_protocol": 4}, 'pickle_protocol goes with serializer="pickle"'),
            ({"url": "sqlite://", "engine_options": {"no_such": 1}}, "the engine cannot be made: .*no_such"),
            ({"engine": 42}, "engine must be an engine of sqlalchemy.create_engine"),
            ({"engine": "sqlalchemy:create_engine"}, "engine must be an engine of sqlalchemy.create_engine"),
        ],
        ids=str,
    )
    def test_bad(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            SQLAlchemyJobStore(**options)

    def test_from_a_configuration(self, tmp_path: Path) -> None:
        scheduler = BackgroundScheduler(
            {
                "schedcore.jobstores.default.type": "sqlalchemy",
                "schedcore.jobstores.default.url": f"sqlite:///{tmp_path}/jobs.sqlite",
                "schedcore.jobstores.default.history": "7",
                "schedcore.jobstores.default.history_age": "3600",
            }
        )
        store = scheduler._pumps["default"].store
        assert isinstance(store, SQLAlchemyJobStore)
        assert (store._runs.history, store._runs.history_age_us) == (7, 3_600_000_000)

    def test_pickle(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url, serializer="pickle", pickle_protocol=2))
        store.add_entries([entry()._replace(job=entry().job._replace(args=(object,)))])
        ((payload,),) = query(url, "SELECT payload FROM schedcore_jobs")
        assert payload[:2] == b"\x80\x02"
        found = store.get_entry("job")
        assert found is not None
        assert found.job.args == (object,)

    def test_tables(self, url: str, start: Start) -> None:
        metadata = sa.MetaData()
        start(SQLAlchemyJobStore(url, tablename="my jobs", metadata=metadata)).add_entries([entry()])
        assert sorted(metadata.tables) == ["my jobs", "my jobs_meta", "my jobs_runs", "my jobs_schedule"]
        assert query(url, 'SELECT id FROM "my jobs"') == [("job",)]

    def test_a_schema(self, tmp_path: Path, start: Start) -> None:
        engine = sa.create_engine(f"sqlite:///{tmp_path}/main.sqlite")
        sa.event.listen(engine, "connect", lambda c, _: c.execute(f"ATTACH '{tmp_path}/other.sqlite' AS other").close())
        try:
            store = start(SQLAlchemyJobStore(engine=engine, tableschema="other"))
            store.add_entries([entry()])
            assert len(run_due(store, T0)) == 1
            assert query(f"sqlite:///{tmp_path}/other.sqlite", "SELECT id FROM schedcore_jobs") == [("job",)]
            assert (tmp_path / "other.sqlite.lock").exists()
        finally:
            close(store)
            engine.dispose()


class TestEngines:
    """An engine of the user's is used as it is, and never disposed of."""

    @pytest.fixture
    def engine(self, url: str) -> Iterator[sa.Engine]:
        engine = sa.create_engine(url)
        yield engine
        engine.dispose()

    def test_a_users_engine(self, engine: sa.Engine, start: Start, url: str) -> None:
        pool = engine.pool
        store = start(SQLAlchemyJobStore(engine=engine))
        store.add_entries([entry()])
        assert len(run_due(store, T0)) == 1
        assert [record.state for record in store.runs()] == [RunState.SUCCEEDED]
        store.shutdown()
        assert engine.pool is pool
        with engine.begin() as connection:  # its own transactions are those it had
            connection.execute(sa.text("UPDATE schedcore_jobs_schedule SET reason = 'x'"))
            connection.rollback()
        assert query(url, "SELECT reason FROM schedcore_jobs_schedule") == [(None,)]
        assert query(url, "PRAGMA journal_mode") == [("delete",)]

    def test_by_reference(self, engine: sa.Engine, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_sql_options, "resolve", {"app.db:engine": engine}.__getitem__)
        start(SQLAlchemyJobStore(engine="app.db:engine")).add_entries([entry()])

    def test_in_memory(self, start: Start) -> None:
        with pytest.raises(
            ConfigurationError, match="each thread would see another one; make the engine with poolclass=StaticPool"
        ):
            SQLAlchemyJobStore(engine=sa.create_engine("sqlite://"))
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        try:
            store = start(SQLAlchemyJobStore(engine=engine))
            assert not store.traits.durable
            store.add_entries([entry()])
            assert len(run_due(store, T0)) == 1
            close(store)
        finally:
            engine.dispose()

    def test_memory_is_no_durable_store(self) -> None:
        for url in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"):
            assert not SQLAlchemyJobStore(url).traits.durable
        assert SQLAlchemyJobStore("sqlite:///x.sqlite").traits.durable


# --- opening --------------------------------------------------------------------------------------------------------------


class TestOpening:
    def test_a_folder_that_is_not_there(self, tmp_path: Path, start: Start) -> None:
        with pytest.raises(
            JobStoreError, match=r"the folder '.*/nowhere' does not exist; create it, or give another path"
        ) as caught:
            start(SQLAlchemyJobStore(f"sqlite:///{tmp_path}/nowhere/jobs.sqlite"))
        assert str(caught.value).startswith("job store 'default': cannot open the database: ")
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert not caught.value.transient

    def test_a_folder(self, tmp_path: Path, start: Start) -> None:
        with pytest.raises(JobStoreError, match="is a folder; give the path of a file"):
            start(SQLAlchemyJobStore(f"sqlite:///{tmp_path}"))

    def test_no_database(self, tmp_path: Path, start: Start) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("These are notes. " * 100)
        with pytest.raises(
            JobStoreError, match=r"notes.txt' is not an SQLite database; give another path, or move that file away"
        ):
            start(SQLAlchemyJobStore(f"sqlite:///{path}"))
        assert path.read_text().startswith("These are notes.")

    def test_a_damaged_database(self, url: str, start: Start) -> None:
        close(start(SQLAlchemyJobStore(url)))
        path = Path(url.removeprefix("sqlite:///"))
        head = path.read_bytes()[:4096]
        path.write_bytes(head + b"\xa5" * 20_000)
        for read_only in (False, True):
            with pytest.raises(JobStoreError, match=r"jobs\.sqlite' is damaged .*; put a copy back .* to begin anew"):
                start(SQLAlchemyJobStore(url, read_only=read_only))

    def test_a_file_that_cannot_be_written(self, url: str, start: Start) -> None:
        close(start(SQLAlchemyJobStore(url)))
        path = url.removeprefix("sqlite:///")
        with pytest.raises(JobStoreError, match=r"cannot be written .*; may this user write it and its folder\?"):
            start(SQLAlchemyJobStore(f"sqlite:///file:{path}?mode=ro&uri=true"))

    def test_a_lock_file_that_cannot_be_made(self, url: str, start: Start) -> None:
        Path(url.removeprefix("sqlite:///") + ".lock").mkdir()
        with pytest.raises(
            JobStoreError, match=r"the lock file .*jobs\.sqlite\.lock cannot be opened: .*; may this user write there\?"
        ):
            start(SQLAlchemyJobStore(url))

    def test_tables_of_a_newer_release(self, url: str, start: Start) -> None:
        close(start(SQLAlchemyJobStore(url)))
        query(url, "UPDATE schedcore_jobs_meta SET value = '99' WHERE name = 'schema'")
        for store in (SQLAlchemyJobStore(url), SQLAlchemyJobStore(url, read_only=True)):
            with pytest.raises(
                JobStoreError,
                match=f"have the schema version 99, and this release of schedcore reads {SCHEMA_VERSION}; use the release",
            ):
                start(store)
        query(url, "UPDATE schedcore_jobs_meta SET value = ? WHERE name = 'schema'", str(SCHEMA_VERSION))
        start(SQLAlchemyJobStore(url))

    def test_tables_of_an_older_release(self, url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are changed by a scheduler that opens them, step by step, and not by who looks."""
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry()])
        run_due(store, T0)
        close(store)

        def add_a_column(name: str) -> _sql_schema.Step:
            def step(connection: sa.Connection, tables: _sql_schema.Tables) -> None:
                connection.exec_driver_sql(f"ALTER TABLE schedcore_jobs ADD COLUMN {name} INTEGER")

            return step

        def fail(connection: sa.Connection, tables: _sql_schema.Tables) -> None:
            connection.exec_driver_sql("ALTER TABLE schedcore_jobs ADD COLUMN half INTEGER")
            raise OSError("interrupted")

        version = "SELECT value FROM schedcore_jobs_meta WHERE name = 'schema'"
        now, later, latest = (SCHEMA_VERSION + more for more in range(3))
        monkeypatch.setattr(_sql_schema, "SCHEMA_VERSION", latest)
        monkeypatch.setattr(_sql_schema, "_UPGRADES", {now: add_a_column("first"), later: fail})
        with pytest.raises(
            JobStoreError, match=f"version {now}, of an older release of schedcore; a scheduler that opens"
        ):
            open_reader(url)
        with pytest.raises(
            JobStoreError, match=f"cannot change the tables to the schema version {latest}: interrupted"
        ):
            start(SQLAlchemyJobStore(url))
        assert query(url, version) == [(str(later),)]
        monkeypatch.setattr(_sql_schema, "_UPGRADES", {later: add_a_column("second")})
        store = start(SQLAlchemyJobStore(url))
        assert query(url, version) == [(str(latest),)]
        columns = [row[1] for row in query(url, "PRAGMA table_info(schedcore_jobs)")]
        assert ("first" in columns, "second" in columns, "half" in columns) == (True, True, False)
        assert len(store.runs("job")) == 1
        assert len(run_due(store, T0 + MINUTE)) == 1
        close(store)
        monkeypatch.setattr(_sql_schema, "SCHEMA_VERSION", 99)
        with pytest.raises(
            JobStoreError, match=f"have the schema version {latest}, and this release of schedcore reads 99"
        ):
            start(SQLAlchemyJobStore(url))

    def test_a_table_of_somebody_else(self, url: str, start: Start) -> None:
        query(url, "CREATE TABLE schedcore_jobs (id TEXT)")
        with pytest.raises(
            JobStoreError, match="there is a table 'schedcore_jobs' that schedcore did not make; give another tablename"
        ):
            start(SQLAlchemyJobStore(url))
        assert query(url, "SELECT name FROM sqlite_master") == [("schedcore_jobs",)]

    def test_tables_that_the_users_metadata_made(self, url: str, start: Start) -> None:
        engine, metadata = sa.create_engine(url), sa.MetaData()
        store = SQLAlchemyJobStore(engine=engine, metadata=metadata)
        metadata.create_all(engine)
        start(store).add_entries([entry()])
        assert len(run_due(store, T0)) == 1
        close(store)
        engine.dispose()
        assert len(start(SQLAlchemyJobStore(url)).list_entries()) == 1

    def test_a_table_of_somebody_else_in_the_metadata(self, url: str) -> None:
        metadata = sa.MetaData()
        sa.Table("schedcore_jobs", metadata, sa.Column("id", sa.Text))
        with pytest.raises(ConfigurationError, match="metadata: it has a table 'schedcore_jobs' with other columns"):
            SQLAlchemyJobStore(url, metadata=metadata)

    def test_a_database_that_others_use_too(self, url: str, start: Start) -> None:
        query(url, "CREATE TABLE theirs (id TEXT)")
        start(SQLAlchemyJobStore(url)).add_entries([entry()])

    def test_each_failed_start_leaves_it_closed(self, tmp_path: Path, start: Start) -> None:
        store = SQLAlchemyJobStore(f"sqlite:///{tmp_path}/later/jobs.sqlite")
        with pytest.raises(JobStoreError):
            start(store)
        (tmp_path / "later").mkdir()
        start(store).add_entries([entry()])

    def test_calls_on_a_closed_store(self, url: str, start: Start) -> None:
        store = SQLAlchemyJobStore(url)
        for call in (store.list_entries, store.next_due, lambda: store.add_entries([entry()])):
            with pytest.raises(JobStoreError, match=r"it is not open; start\(\) opens it"):
                call()
        close(start(store))
        with pytest.raises(JobStoreError, match="it is not open"):
            store.list_entries()

    def test_starting_again_after_a_shutdown(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry()])
        close(store)
        start(store)
        assert store.get_entry("job") is not None

    def test_without_sqlalchemy(self) -> None:
        code = (
            "import sys; sys.modules['sqlalchemy'] = None\n"
            "from schedcore import plugins\n"
            "from schedcore.errors import MissingExtraError\n"
            "try: plugins.load(plugins.JOBSTORES, 'sqlalchemy')\n"
            "except MissingExtraError as error: print(error.extra, '|', error)\n"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout == (
            "sqlalchemy | the job store 'sqlalchemy' needs an optional dependency; install it with: "
            "pip install 'schedcore[sqlalchemy]'\n"
        )


class TestOneOwner:
    def test_a_second_one_is_refused(self, url: str, start: Start) -> None:
        first = start(SQLAlchemyJobStore(url))
        first.add_entries([entry()])
        with pytest.raises(JobStoreInUseError) as caught:
            start(SQLAlchemyJobStore(url))
        text = str(caught.value)
        assert f"jobs.sqlite' is in use by another scheduler (process {os.getpid()} on " in text
        assert "stop that one, or give this one a database of its own" in text
        assert len(first.list_entries()) == 1
        close(first)
        assert len(start(SQLAlchemyJobStore(url)).list_entries()) == 1

    def test_under_another_name(self, tmp_path: Path, url: str, start: Start) -> None:
        start(SQLAlchemyJobStore(url))
        (tmp_path / "link.sqlite").symlink_to(tmp_path / "jobs.sqlite")
        with pytest.raises(JobStoreInUseError):
            start(SQLAlchemyJobStore(f"sqlite:///{tmp_path}/link.sqlite"))
        with pytest.raises(JobStoreInUseError):
            start(SQLAlchemyJobStore(f"sqlite:///{os.path.relpath(tmp_path)}/jobs.sqlite"))

    def test_under_a_second_name_of_the_file(self, tmp_path: Path, url: str, start: Start) -> None:
        """SQLite has a log for each name, and would damage it."""
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry()])
        os.link(tmp_path / "jobs.sqlite", tmp_path / "link.sqlite")
        for name in ("jobs", "link"):
            for read_only in (False, True):
                with pytest.raises(JobStoreError, match=rf"{name}\.sqlite' has other names \(hard links\)"):
                    start(SQLAlchemyJobStore(f"sqlite:///{tmp_path}/{name}.sqlite", read_only=read_only))
        assert os.listdir(tmp_path).count("link.sqlite-wal") == 0
        os.unlink(tmp_path / "link.sqlite")
        assert len(run_due(store, T0)) == 1
        with open_reader(url) as reader:
            assert len(reader.runs()) == 1

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {"tablename": "SchedCore_Jobs"}),
            ({"tablename": "mine"}, {"tablename": "MINE"}),
            ({"tableschema": "MAIN"}, {"tableschema": "main"}),
            ({}, {"tableschema": "Main"}),
        ],
    )
    def test_tables_whose_name_is_written_otherwise(
        self, url: str, start: Start, one: dict[str, Any], other: dict[str, Any]
    ) -> None:
        """To SQLite they are the same."""
        start(SQLAlchemyJobStore(url, **one)).add_entries([entry()])
        with pytest.raises(JobStoreInUseError, match="is in use by another scheduler"):
            start(SQLAlchemyJobStore(url, **other))

    def test_tables_whose_names_sqlite_tells_apart(self, url: str, start: Start) -> None:
        start(SQLAlchemyJobStore(url, tablename="jöbs")).add_entries([entry()])
        assert start(SQLAlchemyJobStore(url, tablename="jÖbs")).list_entries() == []

    def test_the_same_object_for_two_schedulers(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        with pytest.raises(JobStoreInUseError, match="give each scheduler a job store of its own"):
            start(store)
        assert store.list_entries() == []

    def test_two_sets_of_tables_in_one_file(self, url: str, start: Start) -> None:
        one, other = start(SQLAlchemyJobStore(url)), start(SQLAlchemyJobStore(url, tablename="others"))
        one.add_entries([entry("a")])
        other.add_entries([entry("a"), entry("b")])
        assert (len(run_due(one, T0)), len(run_due(other, T0))) == (1, 2)

    def test_another_process(self, url: str, start: Start) -> None:
        code = (
            "import sys\n"
            "from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore\n"
            "from schedcore.schedulers.background import BackgroundScheduler\n"
            "store = SQLAlchemyJobStore(sys.argv[1]); store.start(BackgroundScheduler(timezone='UTC'), 'x')\n"
            "print('open', flush=True); sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            with pytest.raises(JobStoreInUseError, match=f"process {process.pid} on "):
                start(SQLAlchemyJobStore(url))
            process.kill()  # whatever it could have tidied up stays
            process.wait()
        start(SQLAlchemyJobStore(url))

    def test_a_scheduler_says_so_at_start(self, url: str, start: Start) -> None:
        start(SQLAlchemyJobStore(url))
        scheduler = BackgroundScheduler(jobstores={"default": SQLAlchemyJobStore(url)}, timezone="UTC")
        with pytest.raises(JobStoreInUseError):
            scheduler.start()
        assert not scheduler.running


class TestReading:
    def test_while_another_owns_it(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("a"), entry("b", None)])
        run_due(store, T0)
        with open_reader(url) as reader:
            assert [(e.job.id, e.state, e.due_us) for e in reader.list_entries()] == [
                ("a", JobState.ACTIVE, T0 + MINUTE),
                ("b", JobState.PAUSED, None),
            ]
            assert [record.state for record in reader.runs("a")] == [RunState.SUCCEEDED]
            found = reader.get_entry("a")
            assert found is not None
            assert (found.job.func, found.job.func_ref) == (None, "schedcore.testing.store_suite:work")
            run_due(store, T0 + MINUTE)
            assert len(reader.runs()) == 2
            calls: list[Callable[[], object]] = [
                lambda: reader.add_entries([entry("c")]),
                lambda: reader.remove_job("a"),
                reader.remove_all_jobs,
            ]
            for call in calls:
                with pytest.raises(JobStoreError, match="it was opened for reading only"):
                    call()
        assert len(store.list_entries()) == 2

    def test_nothing_is_written(self, url: str, start: Start, tmp_path: Path) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry()])
        query(url, "UPDATE schedcore_jobs SET payload = 'x'")
        close(store)
        before = query(url, "SELECT * FROM schedcore_jobs"), query(url, "SELECT * FROM schedcore_jobs_meta")
        with open_reader(url) as reader:
            assert [e.state for e in reader.list_entries()] == [JobState.BROKEN]
        assert (query(url, "SELECT * FROM schedcore_jobs"), query(url, "SELECT * FROM schedcore_jobs_meta")) == before

    def test_no_function_is_imported(self, url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        store = start(SQLAlchemyJobStore(url))
        job = entry().job._replace(func=None, func_ref="schedcore_nowhere:f")
        store.add_entries([entry()._replace(job=job)])
        with open_reader(url) as reader:
            (found,) = reader.list_entries()
        assert (found.state, found.job.func_ref) == (JobState.ACTIVE, "schedcore_nowhere:f")

    def test_no_database(self, tmp_path: Path) -> None:
        with pytest.raises(JobStoreError, match=r"there is no database '.*/jobs.sqlite'; is it the right path\?"):
            open_reader(f"sqlite:///{tmp_path}/jobs.sqlite")
        assert os.listdir(tmp_path) == []

    def test_a_database_of_somebody_else(self, url: str) -> None:
        query(url, "CREATE TABLE theirs (id TEXT)")
        with pytest.raises(JobStoreError, match=r"the database has no tables of schedcore; is it the right one\?"):
            open_reader(url)
        assert query(url, "SELECT name FROM sqlite_master") == [("theirs",)]

    def test_through_a_started_store(self, url: str, start: Start) -> None:
        close(start(SQLAlchemyJobStore(url)))
        reader = start(SQLAlchemyJobStore(url, read_only=True))
        assert [job.id for job in reader.get_all_jobs()] == []


# --- failures -------------------------------------------------------------------------------------------------------------


class TestFailures:
    def test_the_file_is_gone_bad(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry()])
        query(url, "DROP TABLE schedcore_jobs_schedule")
        with pytest.raises(JobStoreError, match="cannot look for due jobs: no such table") as caught:
            store.acquire(Now(T0, T0), 1)
        assert (caught.value.alias, caught.value.transient) == ("default", False)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)

    def test_a_database_that_is_locked(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url, timeout=0.001))
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(
                JobStoreError, match="cannot add jobs: another process keeps the database locked"
            ) as caught:
                store.add_entries([entry()])
            assert caught.value.transient
            assert store.list_entries() == []  # readers do not wait
            other.execute("ROLLBACK")
            store.add_entries([entry()])
        finally:
            other.close()

    def test_a_failed_commit_changes_nothing(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("a"), entry("b")])
        claims = store.acquire(Now(T0, T0), 9)
        good, bad = (decide(claim, T0) for claim in claims)
        with pytest.raises(JobStoreError, match="cannot record runs"):
            store.commit([good, bad._replace(next_us=None, broken=object())], T0)  # type: ignore[arg-type]
        assert store.runs() == []
        assert store.recover([]) == ([], [])
        assert len(run_due(store, T0)) == 2

    def test_ids_that_no_database_holds(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        for job_id in ("\ud800", "a\0b"):
            with pytest.raises(SerializationError, match="has characters that a database cannot hold") as caught:
                store.add_entries([entry("good"), entry(job_id)])
            assert caught.value.path == "id"
            assert store.get_entry(job_id) is None
            assert store.runs(job_id) == []
            with pytest.raises(JobLookupError):
                store.remove_job(job_id)
        assert store.list_entries() == []

    def test_the_scheduler_goes_on(self, url: str) -> None:
        store = SQLAlchemyJobStore(url)
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": store, "other": {"type": "memory"}}
        )
        log = EventLog(scheduler)
        scheduler.start()
        try:
            scheduler.add_job(work, "interval", seconds=10, id="a")
            scheduler.add_job(work, "interval", seconds=10, id="b", jobstore="other")
            scheduler.advance(15)
            query(url, "ALTER TABLE schedcore_jobs_schedule RENAME TO hidden")
            scheduler.advance(60)
            assert any(event.code == EVENT_JOBSTORE_FAILED and event.alias == "default" for event in log.events)
            assert (len(log.executed("a")), len(log.executed("b"))) == (1, 7)
            assert not scheduler.health()["default"].ok
            query(url, "ALTER TABLE hidden RENAME TO schedcore_jobs_schedule")
            scheduler.advance(20)
            assert scheduler.health()["default"].ok
            records = scheduler.get_runs("a")
            assert sum(record.times for record in records) == 9, "each fire time is run or skipped, with a reason"
        finally:
            scheduler.shutdown()


# --- what is set aside ----------------------------------------------------------------------------------------------------


class TestSetAside:
    def test_a_damaged_record(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("bad"), entry("good")])
        close(store)
        query(url, "UPDATE schedcore_jobs SET payload = x'8004' WHERE id = 'bad'")
        start(store)
        for _ in range(2):
            found = store.get_entry("bad")
            assert found is not None
            assert (found.state, found.job.name) == (JobState.BROKEN, "bad")
            assert str(found.reason).startswith("its record cannot be read: ")
        assert [run.job.id for run in run_due(store, T0)] == ["good"]
        assert query(url, "SELECT payload FROM schedcore_jobs WHERE id = 'bad'") == [(b"\x80\x04",)]
        place = query(url, "SELECT state, fire_us, due_us FROM schedcore_jobs_schedule WHERE id = 'bad'")
        assert place == [("broken", T0, None)]

    def test_a_damaged_row(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry(name) for name in ("bad", "good", "odd", "text", "utf-8")])
        query(url, "UPDATE schedcore_jobs SET payload = CAST(x'ff' AS TEXT) WHERE id = 'utf-8'")
        query(url, "UPDATE schedcore_jobs_schedule SET reason = CAST(x'ff' AS TEXT) WHERE id = 'utf-8'")
        query(url, "UPDATE schedcore_jobs SET payload = 'x' WHERE id = 'text'")
        query(url, "UPDATE schedcore_jobs_schedule SET version = 2")  # what is in memory is not what is stored
        query(url, "UPDATE schedcore_jobs_schedule SET fire_us = NULL WHERE id = 'bad'")
        query(url, "UPDATE schedcore_jobs_schedule SET state = 'odd', due_us = 'odd' WHERE id = 'odd'")
        assert len(store.list_entries()) == 5
        claims = {claim.job.id: claim.broken for claim in store.acquire(Now(T0, T0), 9)}
        assert claims.pop("good") is None
        assert sorted(claims) == ["bad", "text", "utf-8"]
        assert all(claims.values())
        store.recover([])
        assert [run.job.id for run in run_due(store, T0)] == ["good"]
        assert [e.job.id for e in store.list_entries() if e.state is JobState.BROKEN] == ["bad", "odd", "text", "utf-8"]

    @pytest.mark.parametrize(
        "damage",
        [
            "fire_us = 'odd'",
            "fire_us = NULL",
            "fire_us = -4611686018427387904",
            "fire_us = 4611686018427387904",
            "due_us = 1.5",
            "due_us = 'odd'",
            "due_us = x'ff'",
            "due_us = 4611686018427387904",
            "due_us = -4611686018427387904",
            "fence = 'odd'",
            "fence = x'ff'",
        ],
    )
    def test_a_damaged_place_in_the_schedule(self, url: str, damage: str) -> None:
        """SQLite keeps anything in any column. It stops neither the others nor the list, and can be mended."""
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": SQLAlchemyJobStore(url)}
        )
        log = EventLog(scheduler)
        scheduler.start()
        try:
            for job_id in ("bad", "good"):
                scheduler.add_job(work, "interval", seconds=10, id=job_id)
            query(url, f"UPDATE schedcore_jobs_schedule SET {damage} WHERE id = 'bad'")
            scheduler.advance(35)
            assert len(log.executed("good")) == 3
            assert log.executed("bad") == []
            bad, good = sorted(scheduler.get_jobs(), key=lambda job: job.id)
            assert (bad.state, bad.next_run_time, good.state) == (JobState.BROKEN, None, JobState.ACTIVE)
            bad.reschedule("interval", seconds=10)
            scheduler.advance(35)
            assert len(log.executed("bad")) == 3
        finally:
            scheduler.shutdown()

    @pytest.mark.parametrize("state", ["submitted", "running", "succeeded", "odd"])
    @pytest.mark.parametrize(
        "key", ["'odd', 1", "-4611686018427387904, 1", "4611686018427387904, 1", "1.5, 1", "5, 'odd'"]
    )
    def test_a_damaged_run(self, url: str, state: str, key: str) -> None:
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": SQLAlchemyJobStore(url)}
        )
        log = EventLog(scheduler)
        scheduler.start(paused=True)
        scheduler.add_job(work, "interval", seconds=10, id="job")
        scheduler.shutdown()
        ended = "'odd'" if state == "succeeded" else "NULL"
        query(
            url,
            "INSERT INTO schedcore_jobs_runs (job_uid, fire_us, attempt, state, times, started_us, finished_us, error) "
            f"SELECT uid, {key}, '{state}', 'odd', 'odd', {ended}, x'ff' FROM schedcore_jobs",
        )
        scheduler.start()
        try:
            scheduler.advance(35)
            assert len(log.executed("job")) == 3, "it does not count as a live run"
            assert [run.fire_us for run in scheduler.get_runs(limit=3)] == [T0 + n * 10_000_000 for n in (3, 2, 1)]
            assert scheduler.get_runs("job", limit=1)[0].fire_us == T0 + 30_000_000
        finally:
            scheduler.shutdown()

    def test_an_id_and_texts_that_are_no_text(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("bad")])
        run_due(store, T0)
        query(url, "UPDATE schedcore_jobs SET id = x'ff'")
        query(url, "UPDATE schedcore_jobs_schedule SET id = x'ff', reason = x'ff', state = 'paused', version = 2")
        query(url, "UPDATE schedcore_jobs_runs SET output = x'ff', reason = 5, exit_code = 'odd', times = 'odd'")
        (found,) = store.list_entries()
        assert (found.job.id, found.reason) == ("\ufffd", "its record is that of another job, 'bad'")
        (run,) = store.runs()
        assert (run.job_id, run.reason, run.output, run.exit_code, run.times) == ("\ufffd", "5", "\ufffd", None, 1)

    def test_texts_that_are_too_long_are_not_fetched_whole(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("a")])
        run_due(store, T0)
        query(url, "UPDATE schedcore_jobs_runs SET output = printf('%.*c', 3000000, 'o')")
        query(url, "UPDATE schedcore_jobs_schedule SET reason = printf('%.*c', 3000000, 'r')")
        (run,) = store.runs("a")
        (listed,) = store.list_entries()
        assert [len(text or "") for text in (run.output, listed.reason)] == [2**20, 2**20]

    def test_pausing_it_keeps_its_record(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("bad")])
        query(url, "UPDATE schedcore_jobs SET payload = x'8004'")
        query(url, "UPDATE schedcore_jobs_schedule SET version = 2")
        found = store.get_entry("bad")
        assert found is not None
        assert store.replace_entry(found, JobEntry(found.job, JobState.PAUSED))
        assert query(url, "SELECT payload FROM schedcore_jobs") == [(b"\x80\x04",)]
        assert query(url, "SELECT state FROM schedcore_jobs_schedule") == [("paused",)]

    def test_jobs_that_somebody_has_deleted(self, url: str, start: Start) -> None:
        """With a statement that knows nothing of their places: they are gone, and in nobody's way."""
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("due"), entry("broken"), entry("kept")])
        claims = [claim for claim in store.acquire(Now(T0, T0), 9) if claim.job.id == "broken"]
        store.commit([Decision(claims[0], (), (), None, None, "its executor is missing")], T0)
        close(store)
        query(url, "DELETE FROM schedcore_jobs WHERE id <> 'kept'")
        start(store)
        assert [e.job.id for e in store.list_entries()] == ["kept"]
        assert store.get_entry("due") is None
        assert [run.job.id for run in run_due(store, T0)] == ["kept"]
        assert min(due for due in store.next_due() if due is not None) == T0 + MINUTE
        store.add_entries([entry("due"), entry("broken")])
        assert len(run_due(store, T0)) == 2

    def test_is_told_once(self, url: str) -> None:
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": SQLAlchemyJobStore(url)}
        )
        log = EventLog(scheduler)
        scheduler.start()
        try:
            scheduler.add_job(work, "interval", seconds=10, id="a")
            scheduler.add_job(work, "interval", seconds=10, id="b")
            query(url, "UPDATE schedcore_jobs SET payload = 'x' WHERE id = 'a'")
            query(url, "UPDATE schedcore_jobs_schedule SET version = 2 WHERE id = 'a'")
            scheduler.advance(100)
            broken = [event for event in log.events if event.code == EVENT_JOB_BROKEN]
            assert [(event.job_id, event.reason.partition(":")[0]) for event in broken] == [
                ("a", "its record cannot be read")
            ]
            assert len(log.executed("b")) == 10
            job = scheduler.get_job("a")
            assert job is not None
            assert job.state is JobState.BROKEN
        finally:
            scheduler.shutdown()

    def test_registering_it_again_mends_it(self, url: str) -> None:
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": SQLAlchemyJobStore(url)}
        )
        scheduler.start()
        try:
            scheduler.add_job(work, "interval", seconds=10, id="a")
            query(url, "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:work', 'store_suite:gone')")
            query(url, "UPDATE schedcore_jobs_schedule SET version = 2")
            scheduler.advance(15)
            job = scheduler.get_job("a")
            assert job is not None
            assert (job.state, job.func_ref) == (JobState.BROKEN, "schedcore.testing.store_suite:gone")
            job = scheduler.add_job(work, "interval", seconds=10, id="a", replace_existing=True)
            scheduler.advance(1)
            assert [record.fire_us for record in scheduler.get_runs("a")] == [T0 + 10_000_000], "what was due has run"
        finally:
            scheduler.shutdown()

    def test_a_missing_executor_that_is_there_at_the_next_start(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry(executor="special")])
        claims = store.acquire(Now(T0, T0), 9)
        store.commit([Decision(claims[0], (), (), None, None, "its executor 'special' is missing")], T0)
        assert store.next_due() == (None, None)
        close(store)
        start(store)
        found = store.get_entry("job")
        assert found is not None
        assert (found.state, found.due_us, found.reason) == (JobState.ACTIVE, T0, None)

    @pytest.mark.parametrize("opened_again", [True, False])
    def test_live_runs_wait_for_their_job(self, url: str, start: Start, opened_again: bool) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry()])
        run_due(store, T0, finish=False)
        close(store)
        query(url, "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:work', 'store_suite:gone')")
        start(store)
        assert store.recover([]) == ([], [])
        assert [record.state for record in store.runs()] == [RunState.SUBMITTED]
        if opened_again:
            close(store)
        query(url, "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:gone', 'store_suite:work')")
        if opened_again:
            start(store)
        assert [run.id for run in store.recover([]).runs] == ["job@2026-01-01T00:00:00Z#2"], "it may have begun"


# --- what is kept ---------------------------------------------------------------------------------------------------------


class TestHistory:
    def test_the_latest_of_each_job(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url, history=10))
        store.add_entries([entry("often"), entry("seldom", T0 + 100 * MINUTE)])
        for number in range(200):
            run_due(store, T0 + number * MINUTE)
        kept = [record.fire_us for record in store.runs("often", limit=1000)]
        assert 10 <= len(kept) <= 10 + _sql_runs._PRUNE_EVERY + 1
        assert kept == [T0 + number * MINUTE for number in range(199, 199 - len(kept), -1)], "the latest ones"

    @pytest.mark.parametrize("history", [sys.maxsize, 10**30])
    def test_all_of_it_where_more_is_to_be_kept_than_a_database_can_count(
        self, url: str, start: Start, history: int
    ) -> None:
        store = start(SQLAlchemyJobStore(url, history=history))
        store.add_entries([entry()])
        for number in range(2 * _sql_runs._PRUNE_EVERY):
            run_due(store, T0 + number * MINUTE)
        assert len(store.runs("job", limit=1000)) == 2 * _sql_runs._PRUNE_EVERY

    def test_live_runs_are_never_deleted(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url, history=1, history_age=1))
        store.add_entries([entry(max_instances=1000)])
        (first,) = run_due(store, T0, finish=False)
        for number in range(1, 100):
            run_due(store, T0 + number * MINUTE)
        run_due(store, T0 + 100 * DAY)
        states = [record.state for record in store.runs(limit=1000)]
        assert states.count(RunState.SUBMITTED) == 1
        store.finish([Finish(first, RunState.SUCCEEDED, T0, T0 + 1)])
        assert RunState.SUBMITTED not in [record.state for record in store.runs(limit=1000)]

    def test_none_that_is_too_old(self, url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_sql_runs, "_PRUNE_ROWS", 30)
        store = start(SQLAlchemyJobStore(url, history_age=86400))
        store.add_entries([entry(f"{number}") for number in range(100)])
        run_due(store, T0)
        for number in range(100):
            store.remove_job(f"{number}")
        store.add_entries([entry("later", T0 + 2 * DAY)])
        for number in range(4):
            run_due(store, T0 + 2 * DAY + number * MINUTE)
        assert {record.job_id for record in store.runs(limit=1000)} == {"later"}
        assert query(url, "SELECT count(*) FROM schedcore_jobs") == [(1,)], (
            "the names of removed jobs go with their last run"
        )

    def test_a_late_run_is_not_old(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url, history_age=86400))
        store.add_entries([entry()])
        run_due(store, T0 + 90 * DAY)
        run_due(store, T0 + 90 * DAY + 2 * MINUTE)
        kept = store.runs()
        assert len(kept) == 4, "a run for a fire time of long ago, and the one after it, each with what was coalesced"

    def test_what_is_over_leaves_no_payload(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("removed"), entry("never ran", None), entry("ran out")])
        claims = {claim.job.id: claim for claim in store.acquire(Now(T0, T0), 9)}
        decisions = [decide(claims["removed"], T0), decide(claims["ran out"], T0)._replace(next_us=None, due_us=None)]
        runs = store.commit(decisions, T0).runs
        store.remove_job("removed")
        store.remove_job("never ran")
        rows = "SELECT former_id, payload IS NULL FROM schedcore_jobs ORDER BY 1"
        assert query(url, rows) == [("ran out", 0), ("removed", 1)]
        assert query(url, "SELECT count(*) FROM schedcore_jobs_schedule") == [(0,)]
        store.finish([Finish(run, RunState.SUCCEEDED, T0, T0) for run in runs])
        assert query(url, rows) == [("ran out", 1), ("removed", 1)]


def test_live_runs_are_found(url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def noted() -> int:
        ((value,),) = query(url, "SELECT value FROM schedcore_jobs_meta WHERE name = 'live_from'")
        return int(value)

    check_that_live_runs_are_found(url, start, noted, monkeypatch)


@pytest.mark.parametrize("noted", ["?", "", "9" * 99, "-" + "9" * 99])
def test_a_note_of_live_runs_that_is_damaged(url: str, start: Start, noted: str) -> None:
    """What is live is looked for among all runs then."""
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry()])
    run_due(store, T0, finish=False)
    close(store)
    query(url, "INSERT INTO schedcore_jobs_meta (name, value) VALUES ('live_from', ?)", noted)
    store = start(SQLAlchemyJobStore(url))
    assert len(store.recover([]).lost) == 1


@pytest.mark.parametrize("which", ["submit", "finish_well"])
def test_what_is_live_when_it_is_not_learnt_what_was_written(
    url: str, start: Start, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    store = start(SQLAlchemyJobStore(url))
    assert isinstance(store, SQLAlchemyJobStore)
    store.add_entries([entry("job", max_instances=9)])
    first = run_due(store, T0, finish=False)
    write = getattr(store._sql, which)

    def fail(cursor: Any, rows: Any) -> None:
        write(cursor, rows)
        cursor.connection.commit()
        raise OSError("the connection is lost")

    monkeypatch.setattr(store._sql, which, fail)

    def step() -> None:
        if which == "submit":
            run_due(store, T0 + MINUTE)
        else:
            store.finish([Finish(run, RunState.SUCCEEDED, T0, T0) for run in first])

    with pytest.raises(JobStoreError, match="the connection is lost"):
        step()
    store._runs.claimed.clear()
    (claim,) = store.acquire(Now(T0 + 2 * MINUTE, T0 + 2 * MINUTE), 9)
    assert claim.live == (2 if which == "submit" else 0)


def test_the_traceback_of_a_deep_recursion_is_cut(url: str, start: Start) -> None:
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry()])
    (run,) = run_due(store, T0, finish=False)
    text = "first line\n" + "x\n" * 100_000 + "last line"
    error = ValueError("y" * 10_000)
    store.finish([Finish(run, RunState.FAILED, T0, T0, None, error, text)])
    (record,) = store.runs()
    assert record.traceback is not None
    assert record.error is not None
    assert (len(record.error), len(record.traceback) < 21_000) == (1000, True)
    assert record.traceback.startswith("first line")
    assert record.traceback.endswith("last line")


def test_an_exception_that_cannot_be_shown(url: str, start: Start) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry()])
    (run,) = run_due(store, T0, finish=False)
    store.finish([Finish(run, RunState.FAILED, T0, T0, None, Unprintable(), None)])
    assert store.runs()[0].error == "Unprintable (it cannot be shown: its text raised RuntimeError)"


# --- cost -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("due", (T0, T0, 100)),
        ("next_due", (1, 1)),
        ("left", (T0 + 5, "")),
        ("let_go_all", ()),
        ("live", (T0 + 5,)),
        ("prune", (1, 1, 10)),
        ("old", (T0, T0, 10)),
        ("entry", ("a",)),
    ],
)
def test_no_statement_on_the_way_of_a_run_looks_at_all_rows(
    url: str, start: Start, statement: str, parameters: tuple[object, ...]
) -> None:
    store = start(SQLAlchemyJobStore(url))
    assert isinstance(store, SQLAlchemyJobStore)
    store.add_entries([entry(str(number), T0 + number) for number in range(50)])
    run_due(store, T0 + 10)
    text = getattr(store._sql, statement, SQLite.prune).format(runs=store._database.names.runs)
    plan = [row[3] for row in query(url, f"EXPLAIN QUERY PLAN {text}", *parameters)]
    derived = ("SCAN a", "SCAN b", "SCAN d")
    scans = [step for step in plan if step.startswith("SCAN") and "USING" not in step and step not in derived]
    assert not scans, plan


@pytest.mark.parametrize("key", [(False, False), (False, True)])
def test_the_latest_runs_are_found_without_sorting(url: str, start: Start, key: tuple[bool, bool]) -> None:
    store = start(SQLAlchemyJobStore(url))
    assert isinstance(store, SQLAlchemyJobStore)
    plan = [row[3] for row in query(url, f"EXPLAIN QUERY PLAN {store._sql.runs[key]}", 10)]
    assert not any("TEMP B-TREE" in step for step in plan), plan


def _tick(ticks: Iterator[int]) -> None:
    next(ticks)


@pytest.mark.parametrize("way", ["scheduled", "scheduled_after", "idle", "idle_after"])
def test_a_page_costs_what_is_on_it(url: str, start: Start, way: str) -> None:
    """However many jobs there are, and though many are due at the same instant."""
    store = start(SQLAlchemyJobStore(url))
    assert isinstance(store, SQLAlchemyJobStore)
    statement = getattr(store._sql, way).replace("\0", "50")
    parameters = {
        "scheduled": (), "scheduled_after": (T0, "5", T0) * 2, "idle": (), "idle_after": ("p5",) * store._sql.idle_ranges
    }  # fmt: skip
    steps = []
    for size in (500, 5000):
        store.add_entries([entry(str(number), T0) for number in range(size // 10, size)])
        store.add_entries([entry(f"p{number}", None) for number in range(size // 10, size)])
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            ticks = count()
            connection.set_progress_handler(partial(_tick, ticks), 10)
            assert len(connection.execute(statement, parameters[way]).fetchall()) == 50
        finally:
            connection.close()
        steps.append(next(ticks))
    assert steps[1] < 1.5 * steps[0], steps


def test_pages_of_rows_that_are_damaged(url: str, start: Start) -> None:
    """Each is listed once, wherever one page ends and the next begins."""
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry(str(number), T0 + number // 2 if number % 3 else None) for number in range(30)])
    query(url, "UPDATE schedcore_jobs_schedule SET due_us = 'odd' WHERE id IN ('4', '5')")
    query(url, "UPDATE schedcore_jobs_schedule SET due_us = -9e18 WHERE id = '14'")
    query(url, "UPDATE schedcore_jobs_schedule SET elapsed = 'odd' WHERE id IN ('16', '17')")
    query(url, "UPDATE schedcore_jobs_schedule SET elapsed = -1 WHERE id = '20'")
    whole = [e.job.id for e in store.list_entries()]
    assert sorted(whole) == sorted(str(number) for number in range(30))
    for size in (1, 2, 7):
        pages: list[str] = []
        last: JobEntry | None = None
        while page := store.list_entries(last, size):
            last = page[-1]
            pages += [e.job.id for e in page]
            assert len(pages) <= 30
        assert pages == whole


def test_payloads_are_read_once(url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def decode(codec: Codec, job_id: str, *rest: Any, **options: Any) -> Any:
        read.append(job_id)
        return _decode(codec, job_id, *rest, **options)

    _decode = Codec.decode
    monkeypatch.setattr(Codec, "decode", decode)
    monkeypatch.setattr(_sql_definitions, "_KEPT", 3)
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry(name) for name in "abc"])
    run_due(store, T0)
    assert read == [], "what was just written need not be read back"
    close(store)
    start(store)
    for number in range(1, 3):
        run_due(store, T0 + number * MINUTE)
    assert sorted(read) == ["a", "b", "c"]
    found = store.get_entry("a")
    assert found is not None
    assert store.replace_entry(found, found._replace(job=found.job._replace(args=(1,))))
    assert [run.job.args for run in run_due(store, T0 + 3 * MINUTE) if run.job.id == "a"] == [(1,)]
    assert sorted(read) == ["a", "a", "b", "c"]
    store.add_entries([entry(str(number), T0 + 4 * MINUTE) for number in range(10)])
    run_due(store, T0 + 4 * MINUTE)
    assert isinstance(store, SQLAlchemyJobStore)
    assert len(store._definitions.kept) == 3


def test_arguments_are_those_that_were_stored(url: str, start: Start) -> None:
    """Whatever the caller does with them later."""
    store = start(SQLAlchemyJobStore(url))
    numbers = [1]
    store.add_entries([entry()._replace(job=entry().job._replace(args=(numbers,)))])
    numbers.append(2)
    assert run_due(store, T0)[0].job.args == ([1],)


def test_a_batch_in_which_not_all_is_as_it_was(url: str, start: Start, clock: VirtualClock) -> None:
    """A fence that moved and a fire time that ran, in one batch: the rest of it is committed."""
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry(name) for name in "abcd"])
    run_due(store, T0)
    ran = store.get_entry("a")
    assert ran is not None
    store.replace_entry(ran, ran._replace(fire_us=T0, due_us=T0))
    claims = store.acquire(Now(T0 + MINUTE, T0 + MINUTE), 9)
    query(url, "UPDATE schedcore_jobs_schedule SET fence = fence + 1 WHERE id = 'b'")
    decisions = [decide(claim, T0) if claim.job.id == "a" else decide(claim, T0 + MINUTE) for claim in claims]
    committed = store.commit(decisions, T0 + MINUTE)
    assert sorted(run.job.id for run in committed.runs) == ["c", "d"]
    assert [decision.claim.job.id for decision in committed.dropped] == ["b"]
    assert sorted((r.job_id, r.fire_us) for r in store.runs() if r.state is RunState.SUBMITTED) == [
        ("c", T0 + MINUTE),
        ("d", T0 + MINUTE),
    ]


def test_a_first_conflict_is_the_one_that_is_told(url: str, start: Start) -> None:
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry(str(number)) for number in range(1200)])
    with pytest.raises(ConflictingIdError, match="job id '777' is taken"):
        store.add_entries([entry("new"), *(entry(str(number)) for number in range(777, 1200))])


def test_now_without_a_scheduler(url: str) -> None:
    store = SQLAlchemyJobStore(url)
    store._open()
    try:
        store.add_entries([entry(recovery="lost")])
        runs = run_due(store, T0, finish=False)
        store.started([(runs[0], T0)])
        (lost,) = store.recover([]).lost
        assert lost.finished_us is not None
        assert abs(lost.finished_us / 1e6 - datetime.now(UTC).timestamp()) < 60
    finally:
        store.shutdown()


def test_what_is_known_of_other_databases_is_not_loaded() -> None:
    # A third of the time that a store on PostgreSQL took until its first run.
    code = (
        "import sys; from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore; SQLAlchemyJobStore('sqlite://');"
        "print(*(name for name in ('sqlite', 'postgresql', 'mysql') if f'sqlalchemy.dialects.{name}' in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["sqlite"]


def test_a_store_that_is_removed_while_it_works_learns_what_ended(url: str) -> None:
    """A run ends while a cycle is under way, which would write that only the next time."""
    live, looks = threading.Event(), threading.Event()
    removed = threading.Event()

    class Slow(SQLAlchemyJobStore):
        """Looks for due jobs until it is about to be removed, if a run is live."""

        def acquire(self, now: Now, limit: int) -> list[Claim]:
            if live.is_set():
                looks.set()
                for _ in range(30_000):
                    if pump.closed or removed.is_set():
                        break
                    time.sleep(0.001)
            return super().acquire(now, limit)

    scheduler = BackgroundScheduler(jobstores={"default": Slow(url)}, timezone="UTC")
    log = EventLog(scheduler)
    scheduler.start()
    pump = scheduler._pumps["default"]
    try:
        scheduler.add_job(_wait_here, "date", id="x")
        assert _begun.wait(60)
        live.set()
        scheduler.wakeup()
        assert looks.wait(60)
        _end.set()
        for _ in range(30_000):
            if pump.finished:
                break
            time.sleep(0.001)
        scheduler.remove_jobstore("default")
    finally:
        _end.set()
        removed.set()
        scheduler.shutdown()
    assert log.of(EVENT_JOBSTORE_FAILED) == []
    with open_reader(url) as reader:
        assert [record.state for record in reader.runs("x")] == [RunState.SUCCEEDED]


def test_a_table_that_is_gone(url: str) -> None:
    engine = sa.create_engine(url, connect_args={"timeout": 60})
    try:
        check_a_table_that_is_gone(url, engine)
    finally:
        engine.dispose()


_begun, _end = threading.Event(), threading.Event()


def _wait_here() -> None:
    _begun.set()
    _end.wait(60)

"""Opening an SQL store: what may be there already, who may have it, and who only looks."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from schedcore.errors import (
    ConfigurationError,
    JobStoreError,
    JobStoreInUseError,
)
from schedcore.job import JobState
from schedcore.jobstores import _sql_schema
from schedcore.jobstores._sql_backend import ask_questions, put_off_questions
from schedcore.jobstores._sql_tables import Tables
from schedcore.jobstores._sql_upgrade import Step
from schedcore.jobstores.sqlalchemy import SCHEMA_VERSION, SQLAlchemyJobStore, open_reader
from schedcore.run import RunState
from schedcore.schedulers.background import BackgroundScheduler
from tests.jobstores.sql_servers import (
    MINUTE,
    T0,
    Start,
    entry,
    run_due,
)
from tests.jobstores.sqlite import close, query


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

        def add_a_column(name: str) -> Step:
            def step(connection: sa.Connection, tables: Tables) -> None:
                connection.exec_driver_sql(f"ALTER TABLE schedcore_jobs ADD COLUMN {name} INTEGER")

            return step

        def fail(connection: sa.Connection, tables: Tables) -> None:
            connection.exec_driver_sql("ALTER TABLE schedcore_jobs ADD COLUMN half INTEGER")
            raise OSError("interrupted")

        version = "SELECT value FROM schedcore_jobs_meta WHERE name = 'schema'"
        now, later, latest = (SCHEMA_VERSION + more for more in range(3))
        monkeypatch.setattr(_sql_schema, "SCHEMA_VERSION", latest)
        monkeypatch.setattr(_sql_schema, "UPGRADES", {now: add_a_column("first"), later: fail})
        with pytest.raises(
            JobStoreError, match=f"version {now}, of an older release of schedcore; a scheduler that opens"
        ):
            open_reader(url)
        with pytest.raises(
            JobStoreError, match=f"cannot change the tables to the schema version {latest}: interrupted"
        ):
            start(SQLAlchemyJobStore(url))
        assert query(url, version) == [(str(later),)]
        monkeypatch.setattr(_sql_schema, "UPGRADES", {later: add_a_column("second")})
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
        assert 'see "Prefork servers" in the documentation (docs/prefork.md)' in text
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

    @pytest.mark.parametrize("name", ["t" * 200, "ü" * 100, "{}", "a%b?", "a'b\"c"])
    def test_names_of_tables(self, url: str, start: Start, name: str) -> None:
        for number in range(2):
            store = start(SQLAlchemyJobStore(url, tablename=name))
            assert len(store.list_entries()) == number
            store.add_entries([entry(f"{number}")])
            store.shutdown()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "t" * 201,
                r"tablename may have 200 bytes in SQLite, because other names are made of it; 't{40}…' has 201",
            ),
            ("ü" * 101, "has 202"),
            ("a/b", "tablename must not have any of .*, which 'a/b' has"),
            ("<id>", "tablename must not have any of .*, which '<id>' has"),
        ],
    )
    def test_names_that_tables_cannot_have(self, url: str, name: str, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            SQLAlchemyJobStore(url, tablename=name)

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


def test_two_threads_have_the_questions_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = sa.create_engine("sqlite://", poolclass=NullPool)
    put_off_questions(engine)
    both = threading.Barrier(2)
    monkeypatch.setattr(type(engine.dialect), "initialize", lambda self, connection: both.wait(10))

    def ask() -> None:
        with engine.connect() as connection:
            ask_questions(connection)

    with ThreadPoolExecutor(2) as threads:
        for asked in [threads.submit(ask), threads.submit(ask)]:
            asked.result()

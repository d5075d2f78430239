"""The SQL store on PostgreSQL: what it promises on every server, and what is particular."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'postgresql' is not installed")
pytest.importorskip("psycopg", reason="the extra 'postgresql' is not installed")

import psycopg
import sqlalchemy as sa

from schedcore.clock import Now
from schedcore.errors import ConfigurationError, JobStoreError, JobStoreInUseError
from schedcore.jobstores._sql_backend import Batch
from schedcore.jobstores._sql_postgresql import _Many
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from schedcore.run import Finish, RunState
from tests.jobstores.sql_servers import MINUTE, T0, ServerTests, Start, entry, run_due
from tests.services import Place, PostgreSQL
from tests.services.fixtures import postgresql

__all__ = ["postgresql"]


def _fail(*_: object) -> None:
    raise AssertionError("asked for payloads")


class TestPostgreSQL(ServerTests):
    me = "SELECT pg_backend_pid()"
    end_session = "SELECT pg_terminate_backend({})"
    make_schema = 'CREATE SCHEMA "other place"'
    longest_names = "t" * 50, "ü" * 25
    no_database = 'database "nowhere" does not exist'
    other_driver = "postgresql+pg8000://host/database", "to PostgreSQL through the driver 'psycopg', not 'pg8000'"

    @pytest.fixture
    def server(self, postgresql: PostgreSQL) -> PostgreSQL:
        return postgresql

    def with_driver(self, url: str) -> str:
        return url.replace("postgresql:", "postgresql+psycopg:")

    def scans(self, connection: sa.Connection, text: str, parameters: Sequence[Any], *, latest: bool) -> list[str]:
        connection.exec_driver_sql("ANALYZE")
        plan = connection.exec_driver_sql(f"EXPLAIN {text}", parameters).scalars().all()
        # All jobs may be read for the latest runs, to which their ids are looked up.
        table = "schedcore_jobs_runs" if latest else "schedcore_jobs(_runs|_schedule)?"
        return [line for line in plan if re.search(f"Seq Scan on {table}( |$)", line)]

    def test_time_limits_that_the_user_gives(self, place: Place, start: Start) -> None:
        options = {"connect_args": {"options": "-c statement_timeout=90s"}}
        store = start(SQLAlchemyJobStore(place.url, engine_options=options))
        assert isinstance(store, SQLAlchemyJobStore)
        with store._database.reading("look") as cursor:
            assert cursor.execute("SHOW statement_timeout").fetchone() == ("90s",)
        with (
            pytest.raises(JobStoreError, match="statement timeout") as caught,
            store._database.reading("sleep") as cursor,
        ):
            # Only here: on a busy machine anything may take that long.
            cursor.execute("SET LOCAL statement_timeout = 50; SELECT pg_sleep(90)")
        assert caught.value.transient
        assert store.list_entries() == []

    @pytest.mark.parametrize(
        "options",
        [{"isolation_level": "SERIALIZABLE"}, {"execution_options": {"isolation_level": "SERIALIZABLE"}}],
        ids=["engine", "each statement"],
    )
    @pytest.mark.parametrize("given", [False, True])
    def test_an_isolation_level_of_the_users_own(
        self, place: Place, start: Start, options: dict[str, Any], given: bool
    ) -> None:
        """Transactions begin when the store says so. Only the first one of them did."""
        url = self.with_driver(place.url)
        engine = sa.create_engine(url, **options)
        try:
            store = start(
                SQLAlchemyJobStore(engine=engine) if given else SQLAlchemyJobStore(url, engine_options=options)
            )
            store.add_entries([entry("a"), entry("b")])
            assert len(run_due(store, T0)) == 2
            assert [e.job.id for e in store.list_entries()] == ["a", "b"]
            store.remove_all_jobs()
            assert [record.state for record in store.runs()] == [RunState.SUCCEEDED] * 2
            store.shutdown()
        finally:
            engine.dispose()

    def test_rows_that_were_copied_without_their_sequence(self, place: Place, engine: sa.Engine, start: Start) -> None:
        """What is taken then is the number that the database gives, and not the id of the job."""
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry("a")])
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT setval(pg_get_serial_sequence('schedcore_jobs', 'uid'), 1, false)")
        with pytest.raises(JobStoreError, match=r"Key \(uid\)=\(1\) already exists"):
            store.add_entries([entry("b")])
        assert [e.job.id for e in store.list_entries()] == ["a"]

    def test_ends_of_runs_change_no_index(self, place: Place, start: Start) -> None:
        """Each is written beside what the run was, where there is room for it, and where the indexes point to anyway."""
        store = start(SQLAlchemyJobStore(place.url))
        assert isinstance(store, SQLAlchemyJobStore)
        store.add_entries([entry(str(number)) for number in range(500)])
        runs = run_due(store, T0, finish=False)
        ends = [(T0, T0 + 1, run.token, run.fire_us, run.attempt) for run in runs]
        with store._database.writing("record how runs ended") as cursor:
            assert store._sql.finish_well(cursor, ends) == 500
            cursor.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'schedcore_jobs_runs'"
            )
            assert cursor.fetchall() == [(500, 500)]

    def test_plans_are_made_for_the_rows_that_are_given(self, place: Place, start: Start) -> None:
        """One that was made for any number of rows took a thousand by a thousand."""
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry()])
        for number in range(20):
            run_due(store, T0 + number * MINUTE)
        assert isinstance(store, SQLAlchemyJobStore)
        ownership = store._database.ownership
        assert ownership is not None
        assert ownership.connection is not None
        plans = ownership.connection.exec_driver_sql(
            "SELECT statement, generic_plans FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%%'"
        ).all()
        assert [text for text, generic in plans if generic] == []
        assert len(plans) >= 2  # the moves of jobs and the ends of runs are there
        # Of each there was one, for which a plan is made sooner without arrays.
        assert [text for text, _ in plans if "unnest" in text] == []

    def test_the_first_look_after_a_start_brings_the_payloads(
        self, place: Place, engine: sa.Engine, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry(str(number), T0 + number * MINUTE) for number in range(3000)])
        store.shutdown()
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "DELETE FROM schedcore_jobs WHERE id = '1'"
            )  # by whoever did not know of its place
            connection.exec_driver_sql("UPDATE schedcore_jobs SET payload = 'none of ours' WHERE id = '2'")
        store = start(SQLAlchemyJobStore(place.url))
        assert isinstance(store, SQLAlchemyJobStore)
        with monkeypatch.context() as patch:
            patch.setattr(type(store._database.backend), "by_keys", _fail)
            claims = store.acquire(Now(T0 + 3 * MINUTE, T0 + 3 * MINUTE), 3)
            # What is in memory is not read again; what is not is asked for by itself.
            with pytest.raises(AssertionError, match="asked for payloads"):
                store.acquire(Now(T0 + 4 * MINUTE, T0 + 4 * MINUTE), 3)
        assert [(claim.job.id, claim.broken is None) for claim in claims] == [("0", True), ("2", False)]
        assert store._sql.due_with_payloads is not None
        with engine.connect() as connection:
            assert self.scans(connection, store._sql.due_with_payloads, (T0, 16, T0, 16, 16), latest=False) == []

    def test_a_database_whose_sessions_are_read_only_unless_they_say_otherwise(
        self, place: Place, engine: sa.Engine, start: Start
    ) -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {place.name} SET default_transaction_read_only = on")
            connection.commit()
        engine.dispose()
        for store in (SQLAlchemyJobStore(place.url), SQLAlchemyJobStore(engine=engine, tablename="of_users")):
            start(store)
            store.add_entries([entry("one")])  # by itself, without a transaction that says what it does
            store.add_entries([entry("two"), entry("three")])
            assert len(run_due(store, T0)) == 3

    def test_tables_that_are_found_along_another_search_path(
        self, place: Place, engine: sa.Engine, start: Start
    ) -> None:
        """They have one lock, in whichever schema a session would make new ones."""
        with engine.begin() as connection:
            connection.exec_driver_sql('CREATE SCHEMA "My own"')
        options = {"connect_args": {"options": '-c search_path="My\\ own",public'}}
        first = start(SQLAlchemyJobStore(place.url))
        first.add_entries([entry()])
        with pytest.raises(JobStoreInUseError):
            start(SQLAlchemyJobStore(place.url, engine_options=options))
        first.shutdown()
        second = start(SQLAlchemyJobStore(place.url, engine_options=options))
        assert len(second.list_entries()) == 1
        with pytest.raises(JobStoreInUseError):
            start(SQLAlchemyJobStore(place.url, tableschema="public"))
        other = start(SQLAlchemyJobStore(place.url, tableschema="My own"))
        assert other.list_entries() == []

    @pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
    def test_databases_of_other_encodings(self, postgresql: PostgreSQL, start: Start, encoding: str) -> None:
        place = postgresql.fresh()
        name = f"{place.name}_{encoding.lower()}"
        with psycopg.connect(place.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'")
        store = SQLAlchemyJobStore(place.url.replace(place.name, name))
        if encoding == "LATIN1":
            with pytest.raises(ConfigurationError, match="url: the database has the encoding LATIN1"):
                start(store)
            return
        start(store).add_entries([entry("äöü漢")])
        (run,) = run_due(store, T0, finish=False)
        store.finish([Finish(run, RunState.SUCCEEDED, T0, T0 + 1, retval="漢字")])
        assert [e.job.id for e in store.list_entries()] == ["äöü漢"]
        assert [record.result for record in store.runs()] == ["'漢字'"]

    def test_an_engine_whose_encoding_does_not_hold_all_text(self, place: Place, start: Start) -> None:
        engine = sa.create_engine(self.with_driver(f"{place.url}?client_encoding=latin1"))
        try:
            with pytest.raises(ConfigurationError, match="engine: its connections have the encoding LATIN1"):
                start(SQLAlchemyJobStore(engine=engine))
        finally:
            engine.dispose()


@pytest.mark.parametrize(
    ("module", "url", "extra"), [("psycopg", "postgresql://h/d", "postgresql"), ("pymysql", "mysql://h/d", "mysql")]
)
def test_without_the_driver(module: str, url: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from schedcore.errors import MissingExtraError\n"
        "from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore\n"
        f"try: SQLAlchemyJobStore({url!r})\n"
        "except MissingExtraError as error: print(error.extra, '|', error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.startswith(f"{extra} | the job store on ")
    assert found.stdout.endswith(f"pip install 'schedcore[{extra}]'\n")


def test_two_threads_put_one_statement_together_at_once() -> None:
    """Each added its columns to those of the other, and no row had so many."""

    class Meanwhile(Batch):
        """Another thread has put it together as this one begins to."""

        @property
        def names(self) -> list[str]:
            if others:
                others.pop()._look()
            return super().names

    many = _Many(Meanwhile("delete", "jobs", ("uid int",), where="uid = <uid>"))
    others = [many]
    many._look()
    assert len(many._columns) == 1

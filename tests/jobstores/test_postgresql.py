"""The SQL store on PostgreSQL: what it promises on every server, and what is particular."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'postgresql' is not installed")
pytest.importorskip("psycopg", reason="the extra 'postgresql' is not installed")

import sqlalchemy as sa

from schedcore.errors import ConfigurationError, JobStoreError
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from tests.jobstores.sql_servers import T0, ServerTests, Start, entry, run_due
from tests.services import Place, PostgreSQL
from tests.services.fixtures import postgresql

__all__ = ["postgresql"]


class TestPostgreSQL(ServerTests):
    me = "SELECT pg_backend_pid()"
    end_session = "SELECT pg_terminate_backend({})"
    make_schema = 'CREATE SCHEMA "other place"'

    @pytest.fixture
    def server(self, postgresql: PostgreSQL) -> PostgreSQL:
        return postgresql

    def with_driver(self, url: str) -> str:
        return url.replace("postgresql:", "postgresql+psycopg:")

    @pytest.mark.parametrize("level", ["SERIALIZABLE", "AUTOCOMMIT"])
    def test_whatever_the_isolation_level_is(self, place: Place, start: Start, level: Any) -> None:
        engine = sa.create_engine(self.with_driver(place.url), isolation_level=level)
        try:
            with engine.connect() as connection:
                before = connection.get_isolation_level()
            store = start(SQLAlchemyJobStore(engine=engine))
            store.add_entries([entry()])
            assert len(run_due(store, T0)) == 1
            with engine.connect() as connection:
                assert connection.get_isolation_level() == before
            store.shutdown()
        finally:
            engine.dispose()

    @pytest.mark.parametrize(
        ("statement", "parameters"),
        [
            ("due", (T0, 100, T0, 100, 100)),
            ("live_counts", ()),
            ("next_due", (1, 1)),
            ("left", ()),
            ("scheduled", ()),
            ("scheduled_after", (T0 + 2700, "2700", T0 + 2700) * 2),
            ("idle", ()),
            ("idle_after", ("1",) * 2),
            ("let_go_all", ()),
            ("live", ()),
            ("old", (T0 - 1000, T0, 10)),
            ("entry", ("77",)),
        ],
    )
    def test_no_statement_on_the_way_of_a_run_looks_at_all_rows(
        self, place: Place, engine: sa.Engine, start: Start, statement: str, parameters: tuple[object, ...]
    ) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        assert isinstance(store, SQLAlchemyJobStore)
        store.add_entries([entry(str(number), T0 + number) for number in range(3000)])
        run_due(store, T0 + 2500)
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            text = getattr(store._sql, statement).replace("\0", "100")
            plan = connection.exec_driver_sql(f"EXPLAIN {text}", parameters).scalars().all()
        scans = [line for line in plan if re.search("Seq Scan on schedcore_jobs(_runs)?( |$)", line)]
        assert not scans, plan

    @pytest.mark.parametrize("key", [(False, False), (False, True)])
    def test_the_latest_runs_are_found_without_sorting(
        self, place: Place, engine: sa.Engine, start: Start, key: tuple[bool, bool]
    ) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        assert isinstance(store, SQLAlchemyJobStore)
        store.add_entries([entry(str(number), T0 + number) for number in range(3000)])
        run_due(store, T0 + 2500)
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            plan = connection.exec_driver_sql(f"EXPLAIN {store._sql.runs[key]}", (10,)).scalars().all()
        assert not [line for line in plan if "Seq Scan on schedcore_jobs_runs" in line], "\n".join(plan)

    def test_what_time_does_not_mend(self, place: Place, start: Start) -> None:
        with pytest.raises(JobStoreError, match='database "nowhere" does not exist') as caught:
            start(SQLAlchemyJobStore(place.url.replace(place.name, "nowhere")))
        assert not caught.value.transient

    def test_time_limits_that_the_user_gives(self, place: Place, start: Start) -> None:
        options = {"connect_args": {"options": "-c statement_timeout=50"}}
        store = start(SQLAlchemyJobStore(place.url, engine_options=options))
        assert isinstance(store, SQLAlchemyJobStore)
        with (
            pytest.raises(JobStoreError, match="statement timeout") as caught,
            store._database.reading("sleep") as cursor,
        ):
            cursor.execute("SELECT pg_sleep(5)")
        assert caught.value.transient
        assert store.list_entries() == []


def test_another_driver() -> None:
    with pytest.raises(ConfigurationError, match="to PostgreSQL through the driver 'psycopg', not 'pg8000'"):
        SQLAlchemyJobStore("postgresql+pg8000://host/database")


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

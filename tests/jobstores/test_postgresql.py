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

import sqlalchemy as sa

from schedcore.errors import JobStoreError
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from tests.jobstores.sql_servers import ServerTests, Start
from tests.services import Place, PostgreSQL
from tests.services.fixtures import postgresql

__all__ = ["postgresql"]


class TestPostgreSQL(ServerTests):
    me = "SELECT pg_backend_pid()"
    end_session = "SELECT pg_terminate_backend({})"
    make_schema = 'CREATE SCHEMA "other place"'
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
        table = "schedcore_jobs_runs" if latest else "schedcore_jobs(_runs)?"
        return [line for line in plan if re.search(f"Seq Scan on {table}( |$)", line)]

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

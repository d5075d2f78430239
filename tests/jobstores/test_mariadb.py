"""The SQL store on MariaDB: what it promises on every server, and what is particular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'mysql' is not installed")
pytest.importorskip("pymysql", reason="the extra 'mysql' is not installed")

import sqlalchemy as sa

from schedcore.errors import ConfigurationError
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from tests.jobstores.sql_servers import T0, ServerTests, Start, entry, run_due
from tests.services import MariaDB, Place
from tests.services.fixtures import mariadb

__all__ = ["mariadb"]


class TestMariaDB(ServerTests):
    me = "SELECT CONNECTION_ID()"
    end_session = "KILL {}"
    make_schema = "CREATE DATABASE `other place`"
    no_database = "Unknown database 'nowhere'"
    other_driver = (
        "mysql+mysqldb://host/database",
        "to MariaDB and MySQL through the driver 'pymysql', not 'mysqldb'",
    )

    @pytest.fixture
    def server(self, mariadb: MariaDB) -> MariaDB:
        return mariadb

    def with_driver(self, url: str) -> str:
        return url

    def scans(self, connection: sa.Connection, text: str, parameters: Sequence[Any], *, latest: bool) -> list[str]:
        connection.exec_driver_sql("ANALYZE TABLE schedcore_jobs, schedcore_jobs_runs")
        plan = connection.exec_driver_sql(f"EXPLAIN {text}", parameters).mappings().all()
        return [
            str(step)
            for step in plan
            if (step["type"] == "ALL" and not str(step["table"]).startswith("<"))
            or (latest and "filesort" in str(step))
        ]

    @pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mariadb+pymysql"])
    def test_every_way_to_write_the_url(self, place: Place, start: Start, scheme: str) -> None:
        store = start(SQLAlchemyJobStore(place.url.replace("mysql+pymysql", scheme)))
        store.add_entries([entry()])
        assert len(run_due(store, T0)) == 1

    def test_an_encoding_that_cannot_hold_all_text(self, place: Place, start: Start) -> None:
        engine = sa.create_engine(f"{place.url}?charset=latin1")
        try:
            with pytest.raises(ConfigurationError, match=r"its connections have the character set 'latin1'.*utf8mb4"):
                start(SQLAlchemyJobStore(engine=engine))
        finally:
            engine.dispose()

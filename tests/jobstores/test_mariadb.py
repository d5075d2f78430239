"""The SQL store on MariaDB: what it promises on every server, and what is particular."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'mysql' is not installed")
pytest.importorskip("pymysql", reason="the extra 'mysql' is not installed")

import sqlalchemy as sa

from schedcore.errors import ConfigurationError, JobStoreError
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from tests.jobstores.sql_servers import T0, ServerTests, Start, entry, run_due
from tests.services import MariaDB, Place
from tests.services.fixtures import mariadb

__all__ = ["mariadb"]


class TestMariaDB(ServerTests):
    me = "SELECT CONNECTION_ID()"
    end_session = "KILL {}"
    make_schema = "CREATE DATABASE `other place`"

    @pytest.fixture
    def server(self, mariadb: MariaDB) -> MariaDB:
        return mariadb

    def with_driver(self, url: str) -> str:
        return url

    @pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mariadb+pymysql"])
    def test_every_way_to_write_the_url(self, place: Place, start: Start, scheme: str) -> None:
        store = start(SQLAlchemyJobStore(place.url.replace("mysql+pymysql", scheme)))
        store.add_entries([entry()])
        assert len(run_due(store, T0)) == 1

    @pytest.mark.parametrize("level", ["SERIALIZABLE", "READ COMMITTED", "AUTOCOMMIT"])
    def test_whatever_the_isolation_level_is(self, place: Place, start: Start, level: str) -> None:
        engine = sa.create_engine(place.url, isolation_level=level)
        try:
            store = start(SQLAlchemyJobStore(engine=engine))
            store.add_entries([entry()])
            assert len(run_due(store, T0)) == 1
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
            ("runs", (10,)),
            ("failed", (10,)),
        ],
    )
    def test_no_statement_on_the_way_of_a_run_looks_at_all_rows(
        self, place: Place, engine: sa.Engine, start: Start, statement: str, parameters: tuple[object, ...]
    ) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        assert isinstance(store, SQLAlchemyJobStore)
        store.add_entries([entry(str(number), T0 + number) for number in range(3000)])
        run_due(store, T0 + 2500)
        texts = {"runs": store._sql.runs[False, False], "failed": store._sql.runs[False, True]}
        text = texts.get(statement) or getattr(store._sql, statement).replace("\0", "100")
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE TABLE schedcore_jobs, schedcore_jobs_runs")
            plan = connection.exec_driver_sql(f"EXPLAIN {text}", parameters).mappings().all()
        scans = [step for step in plan if step["type"] == "ALL" and not str(step["table"]).startswith("<")]
        assert not scans, plan
        if statement in texts:
            assert "filesort" not in str(plan), plan

    def test_what_time_does_not_mend(self, place: Place, start: Start) -> None:
        with pytest.raises(JobStoreError, match="Unknown database 'nowhere'") as caught:
            start(SQLAlchemyJobStore(place.url.replace(place.name, "nowhere")))
        assert not caught.value.transient

    def test_an_encoding_that_cannot_hold_all_text(self, place: Place, start: Start) -> None:
        engine = sa.create_engine(f"{place.url}?charset=latin1")
        try:
            with pytest.raises(ConfigurationError, match=r"its connections have the character set 'latin1'.*utf8mb4"):
                start(SQLAlchemyJobStore(engine=engine))
        finally:
            engine.dispose()


def test_another_driver() -> None:
    with pytest.raises(ConfigurationError, match="to MariaDB and MySQL through the driver 'pymysql', not 'mysqldb'"):
        SQLAlchemyJobStore("mysql+mysqldb://host/database")

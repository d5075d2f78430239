"""The SQL store on MariaDB: what it promises on every server, and what is particular."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'mysql' is not installed")
pytest.importorskip("pymysql", reason="the extra 'mysql' is not installed")

import pymysql
import sqlalchemy as sa

from schedcore.clock import Now
from schedcore.errors import ConfigurationError
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore, open_reader
from tests.jobstores.sql_servers import MINUTE, T0, ServerTests, Start, entry, run_due
from tests.services import MariaDB, Place
from tests.services.fixtures import mariadb

__all__ = ["mariadb"]


class TestMariaDB(ServerTests):
    me = "SELECT CONNECTION_ID()"
    end_session = "KILL {}"
    make_schema = "CREATE DATABASE `other place`"
    longest_names = "t" * 51, "ü" * 51
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
        connection.exec_driver_sql("ANALYZE TABLE schedcore_jobs, schedcore_jobs_schedule, schedcore_jobs_runs")
        plan = connection.exec_driver_sql(f"EXPLAIN {text}", parameters).mappings().all()
        return [
            str(step)
            for step in plan
            if (step["type"] == "ALL" and not str(step["table"]).startswith("<"))
            or (latest and "filesort" in str(step))
        ]

    def test_rows_of_runs_have_room_for_how_they_end(self, place: Place, engine: sa.Engine, start: Start) -> None:
        """Whoever makes the tables."""
        metadata = sa.MetaData()
        SQLAlchemyJobStore(engine=engine, tablename="theirs", metadata=metadata)
        metadata.create_all(engine)
        start(SQLAlchemyJobStore(place.url, tablename="ours"))
        with engine.connect() as connection:
            formats = connection.exec_driver_sql(
                "SELECT table_name, row_format FROM information_schema.tables WHERE table_schema = DATABASE()"
            )
            found = {str(name): str(kind) for name, kind in formats}
        assert found["ours_runs"] == found["theirs_runs"] == "Redundant"
        assert found["ours"] == found["theirs"] == "Dynamic"

    def test_due_jobs_come_in_one_text_of_any_length(self, place: Place, engine: sa.Engine, start: Start) -> None:
        short = {"connect_args": {"init_command": "SET SESSION group_concat_max_len = 1024"}}
        store = start(SQLAlchemyJobStore(place.url, engine_options=short))
        store.add_entries([entry(str(number), T0 + number) for number in range(3000)])
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE schedcore_jobs_schedule SET fire_us = NULL WHERE id = '7'")
        claims = store.acquire(Now(T0 + MINUTE, T0 + MINUTE), 2000)
        assert [claim.due_us for claim in claims] == [T0 + number for number in range(2000)]
        assert [claim.job.id for claim in claims if claim.broken is not None] == ["7"]
        assert len(store.acquire(Now(T0 + MINUTE, T0 + MINUTE), 2000)) == 1000
        assert store.acquire(Now(T0 + MINUTE, T0 + MINUTE), 2000) == []

    @pytest.mark.parametrize("step", [1, 7])
    def test_each_job_has_its_own_place(self, place: Place, engine: sa.Engine, start: Start, step: int) -> None:
        """However many statements add them, and whatever the numbers are that the server gives, as those of a cluster do."""
        steps = {"connect_args": {"init_command": f"SET SESSION auto_increment_increment = {step}"}}
        store = start(SQLAlchemyJobStore(place.url, engine_options=steps))
        store.add_entries([entry("first")])
        large = [
            entry(f"large {n}")._replace(job=entry(f"large {n}").job._replace(args=("x" * 900_000,))) for n in range(7)
        ]
        store.add_entries([*large[:3], *(entry(str(number)) for number in range(4500)), *large[3:]])
        store.add_entries([entry("last")])
        with engine.connect() as connection:
            pairs = connection.exec_driver_sql(
                "SELECT j.id, s.id FROM schedcore_jobs j JOIN schedcore_jobs_schedule s USING (uid)"
            ).all()
            uids = connection.exec_driver_sql("SELECT uid FROM schedcore_jobs ORDER BY uid LIMIT 2").scalars().all()
        assert len(pairs) == 4509
        assert [pair for pair in pairs if pair[0] != pair[1]] == []
        assert uids[1] - uids[0] == step

    @pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mariadb+pymysql"])
    def test_every_way_to_write_the_url(self, place: Place, start: Start, scheme: str) -> None:
        store = start(SQLAlchemyJobStore(place.url.replace("mysql+pymysql", scheme)))
        store.add_entries([entry()])
        assert len(run_due(store, T0)) == 1

    def test_an_encoding_that_cannot_hold_all_text(self, place: Place, start: Start) -> None:
        url = f"{place.url}?charset=latin1"
        engine = sa.create_engine(url)
        try:
            for store, said in ((SQLAlchemyJobStore(engine=engine), "engine"), (SQLAlchemyJobStore(url), "url")):
                with pytest.raises(
                    ConfigurationError, match=f"{said}: its connections have the character set 'latin1'"
                ):
                    start(store)
        finally:
            engine.dispose()

    @pytest.mark.parametrize(
        ("setting", "value", "of_users"),
        [
            ("sql_safe_updates", 1, True),
            ("sql_select_limit", 1, True),
            ("tx_read_only", 1, True),
            ("max_join_size", 1, False),
            ("completion_type", 1, False),
            ("completion_type", 2, False),
        ],
    )
    def test_sessions_that_are_set_up_for_people(
        self, place: Place, engine: sa.Engine, start: Start, setting: str, value: int, of_users: bool
    ) -> None:
        """By the server, as it does for all. On an engine of the user's, what it reads with is left as it is."""
        with engine.connect() as connection:
            before = connection.exec_driver_sql(f"SELECT @@GLOBAL.{setting}").scalar()
            connection.exec_driver_sql(f"SET GLOBAL {setting} = {value}")
        engine.dispose()
        try:
            for options in ({"url": place.url}, {"engine": engine}) if of_users else ({"url": place.url},):
                name = f"of_{next(iter(options))}"
                store = start(SQLAlchemyJobStore(tablename=name, **options))
                store.add_entries([entry(str(number)) for number in range(3)])
                store.add_entries([entry("one")])
                assert len(run_due(store, T0)) == 4
                with open_reader(tablename=name, **options) as reader:
                    assert len(reader.list_entries()) == len(reader.runs()) == 4
                store.remove_all_jobs()
                store.shutdown()
        finally:
            with contextlib.closing(pymysql.connect(host=place.host, port=place.port, user=place.user)) as other:
                other.cursor().execute(f"SET GLOBAL {setting} = %s", (before,))

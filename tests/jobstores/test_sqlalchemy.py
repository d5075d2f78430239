"""The SQL store: its options, the engines it is given, its failures, and what it does with many jobs at once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from schedcore.clock import Now
from schedcore.engine import Claim, decide
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    JobLookupError,
    JobStoreError,
    SerializationError,
)
from schedcore.events import EVENT_JOBSTORE_FAILED
from schedcore.jobstores import _sql_options
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore, open_reader
from schedcore.run import RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog, VirtualClock, VirtualScheduler
from schedcore.testing.store_suite import work
from tests.jobstores.sql_servers import (
    MINUTE,
    T0,
    Start,
    check_a_table_that_is_gone,
    entry,
    run_due,
)
from tests.jobstores.sqlite import close, query

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


# --- jobs and their runs --------------------------------------------------------------------------------------------------


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
            if pump.write_back.finished:
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

"""What the SQL store promises on every server: the tests that PostgreSQL and MariaDB share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schedcore.clock import Now
from schedcore.engine import Decision, decide
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    JobStoreError,
    JobStoreInUseError,
    SerializationError,
)
from schedcore.events import EVENT_JOBSTORE_FAILED, EVENT_JOBSTORE_RECOVERED
from schedcore.job import NO_KWARGS, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores import _sql_runs, _sql_schema, _sql_server
from schedcore.jobstores._sql_tables import Tables
from schedcore.jobstores.base import JobStore
from schedcore.jobstores.sqlalchemy import SCHEMA_VERSION, SQLAlchemyJobStore, open_reader
from schedcore.run import Finish, Run, RunState
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.testing.store_suite import work
from schedcore.triggers.interval import IntervalTrigger
from tests.jobstores import away
from tests.jobstores.load import Load, scheduler_on
from tests.jobstores.owned import check_says_it_again
from tests.services import Place, Proxy, Service

__all__ = ["ServerTests", "check_a_table_that_is_gone", "check_that_live_runs_are_found"]

Start = Callable[[JobStore], JobStore]

T0 = 1_767_225_600_000_000
MINUTE = 60_000_000

# A process with a scheduler; each run leaves a line.
_PROGRAM = """
import sys
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from schedcore.schedulers.background import BackgroundScheduler
url, log = sys.argv[1:]
scheduler = BackgroundScheduler(
    jobstores={"default": SQLAlchemyJobStore(url, history=100_000)}, timezone="UTC", jobstore_retry_interval=0.5
)
scheduler.start(paused=True)
if not scheduler.get_jobs():
    scheduler.add_jobs(
        {"func": "tests.jobstores.sql_servers:note", "args": [log], "trigger": "interval", "seconds": 0.1, "id": f"job{n}",
         "coalesce": False, "max_instances": 100_000, "max_catchup": 100_000}
        for n in range(10)
    )
scheduler.resume()
print("running", flush=True)
sys.stdin.read()
scheduler.shutdown()
"""


def note(path: str) -> None:
    """A job that leaves a line behind."""
    with open(path, "a") as file:
        file.write("x\n")


def entry(job_id: str = "job", fire_us: int | None = T0, **policy: Any) -> JobEntry:
    trigger = IntervalTrigger(minutes=1, start_date="2026-01-01T00:00:00+00:00", timezone="UTC")
    record = JobRecord(job_id, job_id, work, None, (), NO_KWARGS, trigger, JobPolicy(**policy).intern())
    return JobEntry(record, JobState.PAUSED if fire_us is None else JobState.ACTIVE, fire_us, fire_us)


def run_due(store: JobStore, now_us: int, *, finish: bool = True) -> list[Run]:
    claims = store.acquire(Now(now_us, now_us), 10_000)
    runs = store.commit([decide(claim, now_us) for claim in claims], now_us).runs
    if finish:
        store.finish([Finish(run, RunState.SUCCEEDED, now_us, now_us + 1) for run in runs])
    return runs


def check_a_table_that_is_gone(url: str, engine: sa.Engine) -> None:
    """It is told, and nothing more is needed than to put it back. A scheduler that is started makes it."""

    def sql(text: str) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(text)

    scheduler = scheduler_on(SQLAlchemyJobStore(url))
    log = EventLog(scheduler)
    scheduler.start()
    try:
        scheduler.add_job(work, "interval", seconds=0.05, id="job")
        log.wait_for(lambda log: bool(log.executed("job")), timeout=60)
        sql("ALTER TABLE schedcore_jobs_runs RENAME TO away")
        log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_FAILED)), timeout=60)
        assert "it goes on when the table is back" in str(scheduler.health()["default"].error)
        sql("ALTER TABLE away RENAME TO schedcore_jobs_runs")
        log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_RECOVERED)), timeout=60)
        ran = len(log.executed("job"))
        log.wait_for(lambda log: len(log.executed("job")) > ran, timeout=60)
    finally:
        scheduler.shutdown()
    lost: tuple[tuple[str, list[tuple[str, JobState]]], ...] = (
        ("schedcore_jobs_runs", [("job", JobState.ACTIVE)]),
        ("schedcore_jobs_schedule", [("job", JobState.BROKEN)]),
        ("schedcore_jobs", []),
    )
    for table, jobs in lost:
        sql(f"DROP TABLE {table}")
        scheduler = scheduler_on(SQLAlchemyJobStore(url))
        scheduler.start(paused=True)
        try:
            assert [(job.id, job.state) for job in scheduler.get_jobs()] == jobs
            assert scheduler.get_runs("job") == []
        finally:
            scheduler.shutdown()


def check_that_live_runs_are_found(url: str, start: Start, noted: Callable[[], int], monkeypatch: Any) -> None:
    """However much ran since, and wherever their fire times lie. It is noted from where on they have to be looked for."""
    monkeypatch.setattr(_sql_runs, "_LOOKED_AT", 3)

    def live() -> list[tuple[str, int]]:
        return sorted((record.job_id, record.fire_us) for record in store.runs() if record.finished_us is None)

    def reopen() -> JobStore:
        store.shutdown()
        return start(SQLAlchemyJobStore(url))

    def keep_up(minutes: int) -> None:
        """Only one job's runs end, but each minute."""
        for _ in range(minutes):
            now_us = T0 + MINUTE * ran[0]
            claims = store.acquire(Now(now_us, now_us), 9)
            decisions = [decide(claim, now_us) for claim in claims if claim.job.id == "often"]
            (run,) = store.commit(decisions, T0).runs
            store.finish([Finish(run, RunState.SUCCEEDED, T0, T0 + 1)])
            ran[0] += 1

    ran = [0]
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry("often"), entry("long", T0 + 5 * MINUTE), entry("late", T0 - 9 * MINUTE)])
    keep_up(5)
    assert noted() >= T0 + MINUTE, "nothing is live, and it is not noted anew"
    # One goes on while others end.
    claims = store.acquire(Now(T0 + 5 * MINUTE, T0 + 5 * MINUTE), 9)
    (long,) = store.commit([decide(claim, claim.fire_us) for claim in claims if claim.job.id == "long"], T0).runs
    store.recover([long])
    keep_up(9)
    assert noted() == long.fire_us == T0 + 5 * MINUTE, "nothing else is live"
    # One whose time was long ago.
    store.recover([long])
    (claim,) = [claim for claim in store.acquire(Now(T0, T0), 9) if claim.job.id == "late"]
    (late,) = store.commit([decide(claim, claim.fire_us)], T0).runs
    assert noted() == late.fire_us == T0 - 9 * MINUTE
    store.recover([long, late])
    keep_up(9)
    assert noted() == late.fire_us, "it is live"
    for run in (long, late):
        store.started([(run, T0)])
    both = [("late", late.fire_us), ("long", long.fire_us)]
    assert live() == both
    store = reopen()
    assert sorted((record.job_id, record.fire_us) for record in store.recover([]).lost) == both
    assert live() == both, "both are run again"
    again = [Run(run.job, run.alias, run.fire_us, 2, run.token) for run in (long, late)]
    store.finish([Finish(run, RunState.SUCCEEDED, T0, T0 + 1) for run in again])
    assert live() == []
    store = reopen()
    assert store.recover([]) == ([], [])
    keep_up(4)
    assert noted() >= T0 + 23 * MINUTE, "they have ended"


@pytest.mark.timeout(180)
class ServerTests:
    #: The query that names this connection to the server, and the statement that ends another one.
    me: str
    end_session: str
    #: The statement that makes a schema, and what it is to be called.
    make_schema: str
    longest_names: tuple[str, ...]  # of tables; in characters of one byte and of several
    #: What is said of a database that is not there; and a URL with a driver that the store does not know, and what is said of it.
    no_database: str
    other_driver: tuple[str, str]

    @pytest.fixture
    def server(self) -> Service:
        raise NotImplementedError

    @pytest.fixture
    def place(self, server: Service) -> Place:
        return server.fresh()

    @pytest.fixture
    def engine(self, place: Place) -> Iterator[sa.Engine]:
        """One of the user's own."""
        engine = sa.create_engine(self.with_driver(place.url), pool_size=2, max_overflow=0, pool_timeout=20)
        yield engine
        engine.dispose()

    def with_driver(self, url: str) -> str:
        raise NotImplementedError

    def scans(self, connection: sa.Connection, text: str, parameters: Sequence[Any], *, latest: bool) -> list[str]:
        """The parts of the plan for a query that look at all rows, or, of the ``latest`` runs, sort them."""
        raise NotImplementedError

    # -- opening ---------------------------------------------------------------------------------------------------------

    def test_a_second_scheduler_is_refused(self, place: Place, start: Start) -> None:
        first = start(SQLAlchemyJobStore(place.url))
        first.add_entries([entry()])
        with pytest.raises(JobStoreInUseError) as caught:
            start(SQLAlchemyJobStore(place.url))
        assert f"is in use by another scheduler (process {os.getpid()} on " in str(caught.value)
        other = start(SQLAlchemyJobStore(place.url, tablename="others"))
        other.add_entries([entry()])
        first.shutdown()
        assert len(start(SQLAlchemyJobStore(place.url)).list_entries()) == 1

    def test_a_scheduler_that_was_killed_lets_go(self, place: Place, start: Start, tmp_path: Path) -> None:
        with self.process(place.url, tmp_path / "log") as process:
            with pytest.raises(JobStoreInUseError, match=f"process {process.pid} on "):
                start(SQLAlchemyJobStore(place.url))
            process.kill()
            process.wait()
        store = start(SQLAlchemyJobStore(place.url))
        assert len(store.list_entries()) == 10

    def test_a_reader_beside_a_scheduler(self, place: Place, start: Start) -> None:
        with pytest.raises(JobStoreError, match="the database has no tables of schedcore"):
            open_reader(place.url)
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry("a"), entry("b", None)])
        run_due(store, T0)
        with open_reader(place.url) as reader:
            assert [(e.job.id, e.state) for e in reader.list_entries()] == [
                ("a", JobState.ACTIVE),
                ("b", JobState.PAUSED),
            ]
            assert [record.state for record in reader.runs("a")] == [RunState.SUCCEEDED]
            run_due(store, T0 + MINUTE)
            assert len(reader.runs()) == 2
            with pytest.raises(JobStoreError, match="it was opened for reading only"):
                reader.remove_job("a")
        assert len(store.list_entries()) == 2

    def test_the_command_line_reads_it(self, place: Place, start: Start) -> None:
        pytest.importorskip("typer", reason="the extra 'cli' is not installed")
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry("a job")])
        run_due(store, T0)
        for command, wanted in (("jobs", "a job"), ("runs", "succeeded")):
            done = subprocess.run(
                [sys.executable, "-m", "schedcore", command, place.url, "--json"],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert wanted in done.stdout, (done.stdout, done.stderr)

    def test_a_schema_a_table_and_metadata(self, engine: sa.Engine, start: Start) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(self.make_schema)
        metadata = sa.MetaData()
        store = start(
            SQLAlchemyJobStore(engine=engine, tablename="my jobs", metadata=metadata, tableschema="other place")
        )
        store.add_entries([entry()])
        assert len(run_due(store, T0)) == 1
        assert len(store.runs("job")) == 1
        store.remove_job("job")
        assert sorted(metadata.tables) == [f"other place.my jobs{part}" for part in ("", "_meta", "_runs", "_schedule")]
        assert sa.inspect(engine).has_table("my jobs_runs", "other place")
        store.shutdown()
        with engine.begin() as connection:
            metadata.drop_all(connection)
            connection.exec_driver_sql(self.make_schema.replace("CREATE", "DROP"))

    def test_tables_that_the_users_metadata_made(self, engine: sa.Engine, start: Start) -> None:
        metadata = sa.MetaData()
        sa.Table("theirs", metadata, sa.Column("id", sa.Integer, primary_key=True))
        store = SQLAlchemyJobStore(engine=engine, metadata=metadata)
        metadata.create_all(engine)
        start(store).add_entries([entry()])
        assert len(run_due(store, T0)) == 1
        store.shutdown()
        assert len(start(SQLAlchemyJobStore(engine=engine)).list_entries()) == 1

    @pytest.mark.parametrize("made", [1, 2, 3, 4])
    def test_a_start_that_was_interrupted_while_it_made_the_tables(
        self, engine: sa.Engine, start: Start, made: int
    ) -> None:
        """Where each statement that makes something stands, whatever becomes of the next one."""
        metadata = sa.MetaData()
        store = SQLAlchemyJobStore(engine=engine, metadata=metadata)
        tables = list(metadata.tables.values())
        with engine.begin() as connection:
            for table in tables[:made]:
                connection.execute(sa.schema.CreateTable(table))
        start(store).add_entries([entry()])
        assert len(run_due(store, T0)) == 1
        for table in tables:
            found = {index["name"] for index in sa.inspect(engine).get_indexes(table.name)}
            assert found >= {index.name for index in table.indexes}

    def test_the_schema_is_that_of_the_metadata(self, engine: sa.Engine, start: Start) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(self.make_schema)
        metadata = sa.MetaData(schema="other place")
        for _ in range(2):
            store = start(SQLAlchemyJobStore(engine=engine, metadata=metadata))
            assert len(store.list_entries()) == 0
            store.shutdown()
        assert sa.inspect(engine).has_table("schedcore_jobs_runs", "other place")
        with engine.begin() as connection:
            metadata.drop_all(connection)
            connection.exec_driver_sql(self.make_schema.replace("CREATE", "DROP"))

    @pytest.mark.parametrize("name", ["a%b", "{jobs}", "a?"])
    def test_names_that_cannot_be(self, place: Place, name: str) -> None:
        with pytest.raises(ConfigurationError, match="tablename must not have any of"):
            SQLAlchemyJobStore(place.url, tablename=name)

    def test_the_longest_names(self, place: Place, start: Start) -> None:
        for name in self.longest_names:
            # Nor may it be taken for one that begins likewise.
            for tablename in (name, name[:-1]):
                store = start(SQLAlchemyJobStore(place.url, tablename=tablename))
                assert store.list_entries() == []
                store.add_entries([entry()])
                store.shutdown()
            with pytest.raises(ConfigurationError, match=r"tablename may have \d+ \w+ in .*, because .* has "):
                SQLAlchemyJobStore(place.url, tablename=f"{name}t")

    def test_sqlalchemy_asks_the_server_only_where_tables_are_made(
        self, place: Place, start: Start, monkeypatch: Any
    ) -> None:
        """Its questions about the server, one after the other, held up the first run after a start."""
        start(SQLAlchemyJobStore(place.url)).shutdown()
        store = SQLAlchemyJobStore(place.url)
        asked = []
        dialect = type(store._database.engine.dialect)
        initialize = dialect.initialize

        def ask(self: Any, connection: sa.Connection) -> None:
            asked.append(connection)
            initialize(self, connection)

        monkeypatch.setattr(dialect, "initialize", ask)
        start(store)
        store.add_entries([entry()])
        assert len(run_due(store, T0)) == 1
        assert asked == []
        start(SQLAlchemyJobStore(place.url, tablename="more_jobs"))
        assert len(asked) == 1

    def test_tables_of_another_release(self, place: Place, engine: sa.Engine, start: Start, monkeypatch: Any) -> None:
        start(SQLAlchemyJobStore(place.url)).shutdown()
        now = SCHEMA_VERSION

        def version(number: str | None = None) -> str:
            with engine.begin() as connection:
                if number is not None:
                    connection.exec_driver_sql(
                        f"UPDATE schedcore_jobs_meta SET value = '{number}' WHERE name = 'schema'"
                    )
                found = connection.exec_driver_sql(
                    "SELECT value FROM schedcore_jobs_meta WHERE name = 'schema'"
                ).scalar()
            return str(found)

        version("99")
        with pytest.raises(
            JobStoreError, match=f"have the schema version 99, and this release of schedcore reads {now}"
        ):
            start(SQLAlchemyJobStore(place.url))
        version(str(now))

        def step(connection: sa.Connection, tables: Tables) -> None:
            connection.exec_driver_sql("ALTER TABLE schedcore_jobs ADD COLUMN more INTEGER")

        monkeypatch.setattr(_sql_schema, "UPGRADES", {now: step})
        monkeypatch.setattr(_sql_schema, "SCHEMA_VERSION", now + 1)
        with pytest.raises(
            JobStoreError, match=f"version {now}, of an older release of schedcore; a scheduler that opens"
        ):
            open_reader(place.url)
        start(SQLAlchemyJobStore(place.url)).add_entries([entry()])
        assert version() == str(now + 1)
        assert "more" in [column["name"] for column in sa.inspect(engine).get_columns("schedcore_jobs")]

    # -- the user's engines ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("level", ["SERIALIZABLE", "READ COMMITTED", "AUTOCOMMIT"])
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

    def test_what_time_does_not_mend(self, place: Place, start: Start) -> None:
        with pytest.raises(JobStoreError, match=self.no_database) as caught:
            start(SQLAlchemyJobStore(place.url.replace(place.name, "nowhere")))
        assert not caught.value.transient

    def test_another_driver(self) -> None:
        url, said = self.other_driver
        with pytest.raises(ConfigurationError, match=said):
            SQLAlchemyJobStore(url)

    @pytest.mark.parametrize(
        ("statement", "parameters"),
        [
            ("due", (T0, 100, T0, 100, 100)),
            ("next_due", (1, 1)),
            ("left", (T0 + 2490, "")),
            ("scheduled", ()),
            ("scheduled_after", (T0 + 2700, "2700", T0 + 2700) * 2),
            ("idle", ()),
            ("idle_after", ("1",) * 2),
            ("let_go_all", ()),
            ("live", (T0 + 2490,)),
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
        latest = {"runs": store._sql.runs[False, False], "failed": store._sql.runs[False, True]}
        text = latest.get(statement) or getattr(store._sql, statement).replace("\0", "100")
        with engine.connect() as connection:
            assert self.scans(connection, text, parameters, latest=statement in latest) == []

    def test_a_users_engine_is_left_as_it_was(self, engine: sa.Engine, start: Start) -> None:
        pool = engine.pool
        with engine.connect() as connection:
            before = connection.get_isolation_level(), connection.connection.dbapi_connection
        store = start(SQLAlchemyJobStore(engine=engine))
        store.add_entries([entry()])
        assert len(run_due(store, T0)) == 1
        assert [record.state for record in store.runs()] == [RunState.SUCCEEDED]
        with engine.connect() as one, engine.connect() as two:  # the lock takes no place in the pool
            assert one.get_isolation_level() == two.get_isolation_level() == before[0]
            one.exec_driver_sql("UPDATE schedcore_jobs_schedule SET reason = 'x'")
            one.rollback()
            assert two.exec_driver_sql("SELECT reason FROM schedcore_jobs_schedule").scalar() is None
        store.shutdown()
        assert engine.pool is pool
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1

    # -- what is kept ----------------------------------------------------------------------------------------------------

    def test_ids_that_are_nearly_the_same(self, place: Place, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        ids = ["a", "A", "á", "a\u0301", "a ", " a", "ß", "ss", "x" * 255, "ü" * 255, "🚀" * 255, "\\", "'", '"', "%s"]
        store.add_entries([entry(job_id) for job_id in ids])
        assert [e.job.id for e in store.list_entries()] == sorted(ids)
        assert [run.job.id for run in sorted(run_due(store, T0), key=lambda run: run.job.id)] == sorted(ids)
        for job_id in ids:
            assert [record.job_id for record in store.runs(job_id)] == [job_id]
            with pytest.raises(ConflictingIdError):
                store.add_entries([entry(job_id)])
            store.remove_job(job_id)
        with pytest.raises(SerializationError, match=r"has 256 characters; in .* it may have 255"):
            store.check(entry("x" * 256).job)

    @pytest.mark.parametrize("ids", [["new", "second", "first"], ["new", "second", "second"]])
    def test_one_of_many_ids_is_taken(self, place: Place, start: Start, ids: list[str]) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry("first"), entry("third")])
        if "first" in ids:
            store.add_entries([entry("second"), entry("fourth")])
        with pytest.raises(ConflictingIdError, match="job id 'second' is taken"):
            store.add_entries([entry(job_id) for job_id in ids])
        assert store.get_entry("new") is None
        store.add_entries([entry("new"), entry("last")])
        assert store.get_entry("new") is not None

    def test_text_that_the_database_refuses(self, place: Place, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry("a"), entry("b")])
        assert store.get_entry("a\0") is None
        assert store.runs("a\0") == []
        one, two = store.acquire(Now(T0, T0), 9)
        reason = 'NUL \0, half \udc80, "quote", {brace}, back\\slash, NULL, %s, ü🚀'
        store.commit([Decision(one, (), (), None, None, reason), decide(two, T0)._replace(next_us=None)], T0)
        found = store.get_entry(one.job.id)
        assert found is not None
        assert found.reason == reason.replace("\0", "\ufffd").replace("\udc80", "?")

    def test_texts_that_are_too_long_are_not_fetched_whole(self, place: Place, engine: sa.Engine, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry("a")])
        run_due(store, T0)
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE schedcore_jobs_runs SET output = repeat('o', 3000000), error = output")
            connection.exec_driver_sql("UPDATE schedcore_jobs_schedule SET reason = repeat('r', 3000000)")
        (run,) = store.runs("a")
        (listed,) = store.list_entries()
        assert [len(text or "") for text in (run.output, listed.reason)] == [2**20, 2**20]

    def test_numbers_at_the_end_of_their_range(self, place: Place, engine: sa.Engine) -> None:
        """One such row, which somebody else must have written, fails neither what is done with others nor the next start."""
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": SQLAlchemyJobStore(place.url)}
        )
        log = EventLog(scheduler)
        scheduler.start()
        for job_id in ("good", "least", "most", "broken"):
            scheduler.add_job(work, "interval", seconds=10, id=job_id)
        scheduler.shutdown()
        changes = {
            "least": f"fence = {-(2**63)}, version = {-(2**31)}",
            "most": f"fence = {2**63 - 1}, version = {2**31 - 1}",
            "broken": f"fence = {2**63 - 1}, version = {2**31 - 1}, state = 'broken', due_us = NULL",
        }
        with engine.begin() as connection:
            for job_id, change in changes.items():
                connection.exec_driver_sql(f"UPDATE schedcore_jobs_schedule SET {change} WHERE id = '{job_id}'")
        scheduler.start()
        try:
            scheduler.advance(35)
            assert scheduler.health()["default"].ok
            for job_id in ("good", *changes):
                assert len(log.executed(job_id)) == 3, job_id
                scheduler.reschedule_job(job_id, trigger="interval", seconds=20)
            scheduler.remove_all_jobs()
        finally:
            scheduler.shutdown()

    def test_outcomes_of_many_runs_at_once(self, place: Place, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry(f"{number:03}") for number in range(300)])
        runs = run_due(store, T0, finish=False)
        text = 'a "b" \\ {c} \n NULL null \\n ü🚀'
        store.finish(
            [
                Finish(run, RunState.FAILED, T0, T0 + 1, None, ValueError(text), text * 1000)
                if number % 2
                else Finish(run, RunState.SUCCEEDED, T0, T0 + 1, None if number % 4 else text)
                for number, run in enumerate(runs)
            ]
        )
        records = {record.job_id: record for record in store.runs(limit=1000)}
        for number, run in enumerate(runs):
            record = records[run.job.id]
            assert record.state is (RunState.FAILED if number % 2 else RunState.SUCCEEDED)
            assert record.error == (f"ValueError: {text}" if number % 2 else None)
            assert (record.traceback or "")[:50] == (text * 2)[:50] * (number % 2)
            assert record.result == (repr(text) if number % 4 == 0 else None)
        assert len(store.runs(failed=True, limit=1000)) == 150

    def test_a_batch_with_a_fire_time_that_ran(self, place: Place, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry(name) for name in "abc"])
        run_due(store, T0)
        ran = store.get_entry("a")
        assert ran is not None
        store.replace_entry(ran, ran._replace(fire_us=T0, due_us=T0))
        claims = store.acquire(Now(T0 + MINUTE, T0 + MINUTE), 9)
        now_us = {"a": T0, "b": T0 + MINUTE, "c": T0 + MINUTE}
        committed = store.commit([decide(claim, now_us[claim.job.id]) for claim in claims], T0 + MINUTE)
        assert sorted(run.job.id for run in committed.runs) == ["b", "c"]
        assert [record.job_id for record in store.runs() if record.state is RunState.SUBMITTED] == ["c", "b"]
        # It goes on with the next one.
        assert [(run.job.id, run.fire_us) for run in run_due(store, T0 + MINUTE)] == [("a", T0 + MINUTE)]

    def test_histories_are_cut(self, place: Place, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url, history=10))
        store.add_entries([entry("often"), entry("too"), entry("seldom", T0 + 300 * MINUTE)])
        for number in range(100):
            run_due(store, T0 + number * MINUTE)
        for job_id in ("often", "too"):
            kept = [record.fire_us for record in store.runs(job_id, limit=1000)]
            assert 10 <= len(kept) <= 10 + _sql_runs._PRUNE_EVERY + 1
            assert kept == [T0 + number * MINUTE for number in range(99, 99 - len(kept), -1)]
        old = start(SQLAlchemyJobStore(place.url, tablename="aged", history_age=3600))
        old.add_entries([entry("early")])
        run_due(old, T0)
        old.remove_job("early")
        old.add_entries([entry("later", T0 + 2000 * MINUTE)])
        run_due(old, T0 + 2000 * MINUTE)
        run_due(old, T0 + 2002 * MINUTE)
        assert {record.job_id for record in old.runs()} == {"later"}

    # -- the lock --------------------------------------------------------------------------------------------------------

    def end_lock(self, store: SQLAlchemyJobStore, engine: sa.Engine) -> None:
        """Have the server end the session that holds the lock."""
        ownership = store._database.ownership
        assert isinstance(ownership, _sql_server.ServerLock)
        assert ownership.connection is not None
        number = ownership.connection.exec_driver_sql(self.me).scalar()
        with engine.connect() as connection:
            connection.exec_driver_sql(self.end_session.format(number))
            connection.rollback()
        # The end is on its way.
        for _ in range(6000):
            if ownership.connection is None or ownership._says_something(ownership.connection):
                return
            time.sleep(0.01)
        raise AssertionError("the session has not ended")

    def test_a_lost_lock_is_taken_again(self, place: Place, engine: sa.Engine, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        assert isinstance(store, SQLAlchemyJobStore)
        store.add_entries([entry()])
        self.end_lock(store, engine)
        assert len(run_due(store, T0)) == 1
        with pytest.raises(JobStoreInUseError):
            start(SQLAlchemyJobStore(place.url))

    def test_who_lost_the_lock_to_another_writes_no_more(self, place: Place, engine: sa.Engine, start: Start) -> None:
        store, other = start(SQLAlchemyJobStore(place.url)), SQLAlchemyJobStore(place.url)
        assert isinstance(store, SQLAlchemyJobStore)
        store.add_entries([entry()])
        claims = store.acquire(Now(T0, T0), 9)
        self.end_lock(store, engine)
        start(other)
        for _ in range(2):
            with pytest.raises(JobStoreInUseError, match="in use by another scheduler"):
                store.commit([decide(claim, T0) for claim in claims], T0)
        assert len(run_due(other, T0)) == 1
        other.shutdown()
        # That one has gone. What this one decided meanwhile does not hold, and it is told to look again.
        with pytest.raises(JobStoreError, match="another scheduler has used the database meanwhile") as caught:
            store.commit([decide(claim, T0) for claim in claims], T0)
        assert caught.value.transient
        check_says_it_again(store, Now(T0, T0))
        assert store.recover([]) == ([], [])
        assert store.commit([decide(claim, T0) for claim in claims], T0).runs == []
        assert [run.fire_us for run in run_due(store, T0 + MINUTE)] == [T0 + MINUTE]

    def test_tables_that_another_release_had_meanwhile_are_not_changed_any_more(
        self, place: Place, engine: sa.Engine, start: Start
    ) -> None:
        """The lock was lost, and whoever had it has gone again, but for the tables that it changed."""
        store = start(SQLAlchemyJobStore(place.url))
        assert isinstance(store, SQLAlchemyJobStore)
        store.add_entries([entry()])
        versions = "UPDATE schedcore_jobs_meta SET value = '99' WHERE name = 'schema'"
        with engine.begin() as connection:
            connection.exec_driver_sql(versions)
        self.end_lock(store, engine)
        with pytest.raises(JobStoreError, match="schema version 99"):
            store.add_entries([entry("other")])
        with pytest.raises(JobStoreError, match="schema version 99"):
            store.remove_job("job")
        with engine.begin() as connection:
            connection.exec_driver_sql(versions.replace("99", str(_sql_schema.SCHEMA_VERSION)))
        # The lock was not kept either.
        after = start(SQLAlchemyJobStore(place.url))
        assert [e.job.id for e in after.list_entries()] == ["job"]

    def test_a_transaction_that_another_term_overtook(self, place: Place, start: Start, monkeypatch: Any) -> None:
        """The lock was lost and nobody noticed: what is in the database says so in time."""
        store, other = start(SQLAlchemyJobStore(place.url)), SQLAlchemyJobStore(place.url)
        store.add_entries([entry()])
        monkeypatch.setattr(_sql_server.ServerLock, "holds", lambda self: True)
        monkeypatch.setattr(_sql_server.ServerLock, "take", lambda self: True)
        start(other)
        with pytest.raises(JobStoreError, match="another scheduler has used the database meanwhile"):
            store.remove_job("job")
        assert other.get_entry("job") is not None

    def test_what_was_being_written_is_lost_with_the_lock(self, place: Place, engine: sa.Engine, start: Start) -> None:
        store, other = start(SQLAlchemyJobStore(place.url)), SQLAlchemyJobStore(place.url)
        assert isinstance(store, SQLAlchemyJobStore)
        store.add_entries([entry("kept"), entry("removed")])

        def write() -> None:
            with store._database.writing("remove jobs") as cursor:
                cursor.execute("DELETE FROM schedcore_jobs WHERE id = 'kept'")
                self.end_lock(store, engine)
                start(other)
                other.remove_job("removed")

        with pytest.raises(JobStoreError) as caught:
            write()
        assert caught.value.transient
        assert [e.job.id for e in other.list_entries()] == ["kept"]

    # -- what goes wrong -------------------------------------------------------------------------------------------------

    def test_errors_are_ours(self, place: Place, engine: sa.Engine, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE schedcore_jobs_schedule RENAME TO hidden")
        with pytest.raises(JobStoreError, match="job store 'default': cannot look for due jobs: ") as caught:
            store.acquire(Now(T0, T0), 1)
        assert not caught.value.transient
        assert isinstance(caught.value.__cause__, engine.dialect.loaded_dbapi.Error)
        with Proxy(place.port) as proxy:
            proxy.refuse()
            with pytest.raises(JobStoreError) as caught:
                start(SQLAlchemyJobStore(place.by_way_of(proxy.port).url))
        assert caught.value.transient

    def test_a_row_that_is_locked(self, place: Place, engine: sa.Engine, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url, timeout=1.5))
        store.add_entries([entry("a"), entry("b")])
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT * FROM schedcore_jobs_schedule FOR UPDATE").all()
            with pytest.raises(JobStoreError, match="cannot record runs: ") as caught:
                run_due(store, T0)
            assert caught.value.transient
        store.recover([])
        assert len(run_due(store, T0)) == 2

    def test_a_deadlock_is_transient(self, place: Place, engine: sa.Engine, start: Start) -> None:
        store = start(SQLAlchemyJobStore(place.url))
        assert isinstance(store, SQLAlchemyJobStore)
        number = {"postgresql": "40P01", "mysql": 1213, "mariadb": 1213}[engine.dialect.name]
        kind = engine.dialect.loaded_dbapi.OperationalError
        error = kind(number, "deadlock")
        if engine.dialect.name == "postgresql":
            error = type("Deadlock", (kind,), {"sqlstate": number})("deadlock")
        assert store._database.backend.explain(error, engine.url)[1]

    def test_pooled_connections_that_were_lost(self, server: Service, place: Place, start: Start) -> None:
        """The next call after the server was restarted works at once."""
        store = start(SQLAlchemyJobStore(place.url))
        store.add_entries([entry("a")])
        server.restart()
        store.add_entries([entry("b")])
        assert len(store.list_entries()) == 2
        server.restart()
        assert len(run_due(store, T0)) == 2

    def test_a_server_that_gives_no_answer(
        self, server: Service, place: Place, engine: sa.Engine, start: Start
    ) -> None:
        stores: list[JobStore] = [
            SQLAlchemyJobStore(place.url, timeout=2.0),
            SQLAlchemyJobStore(engine=engine, tablename="of_users", timeout=2.0),
        ]
        for store in stores:
            start(store).add_entries([entry()])
            store.list_entries()
        server.pause()
        try:
            for store in stores:
                begun_s = time.monotonic()
                with pytest.raises(JobStoreError) as caught:
                    store.list_entries()
                assert caught.value.transient
                assert time.monotonic() - begun_s < 20
        finally:
            server.resume()
        for store in stores:
            assert len(store.list_entries()) == 1

    @pytest.mark.slow
    def test_the_server_is_killed_and_comes_back(self, server: Service, place: Place) -> None:
        away.is_killed(server, SQLAlchemyJobStore(place.url))

    @pytest.mark.slow
    def test_the_server_stops_for_a_while(self, server: Service, place: Place) -> None:
        # Longer than any limit on a call, and several attempts.
        away.stops(server, SQLAlchemyJobStore(place.url, timeout=1.0), 10.0)

    def test_a_start_is_not_answered(self, place: Place) -> None:
        with Proxy(place.port) as proxy:
            away.starts_unanswered(proxy, SQLAlchemyJobStore(place.by_way_of(proxy.port).url))

    @pytest.mark.slow
    def test_connections_are_cut_and_refused(self, place: Place) -> None:
        with Proxy(place.port) as proxy:
            load = Load(SQLAlchemyJobStore(place.by_way_of(proxy.port).url))
            for _ in range(5):
                load.wait_for_more(50)
                proxy.cut()
            proxy.refuse()
            load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_FAILED)), timeout=60)
            proxy.accept()
            load.wait_for_more()
            load.check()

    def test_a_minute_without_connections(self, place: Place) -> None:
        """Of virtual time: what was due meanwhile runs afterwards, each fire time once."""
        with Proxy(place.port) as proxy:
            store = SQLAlchemyJobStore(place.by_way_of(proxy.port).url)
            scheduler = VirtualScheduler(start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": store})
            log = EventLog(scheduler)
            scheduler.start()
            try:
                options: dict[str, Any] = {"coalesce": False, "max_instances": 100, "misfire_grace_time": None}
                scheduler.add_job(work, "interval", seconds=1, id="job", **options)
                scheduler.advance(5)
                ran = len(log.executed("job"))
                assert ran >= 4
                proxy.refuse()
                scheduler.advance(60)
                health = scheduler.health()["default"]
                assert not health.ok
                assert health.since_us - T0 in range(5_000_000, 7_000_001)
                assert len(log.executed("job")) <= ran + 1
                proxy.accept()
                scheduler.advance(20)
                assert scheduler.health()["default"].ok
                fired = log.executed("job")
            finally:
                scheduler.shutdown()
        assert {(after - before).total_seconds() for before, after in pairwise(sorted(fired))} == {1.0}
        assert len(fired) in range(84, 87)

    @pytest.mark.slow
    def test_processes_and_servers_that_are_killed(self, server: Service, place: Place, tmp_path: Path) -> None:
        """Nothing is lost, and nothing runs twice but what was interrupted, of which there is a record."""
        log = tmp_path / "log"
        unsure = 0
        for round_ in range(4):
            with self.process(place.url, log) as process:
                self.wait_for_lines(log, 150)
                if round_ % 2:
                    server.kill()
                    time.sleep(0.3)
                    server.start()
                    self.wait_for_lines(log, 150)
                if round_ < 3:
                    process.send_signal(signal.SIGKILL)
                else:
                    assert process.stdin is not None
                    process.stdin.close()
                process.wait(60)
            with open_reader(place.url) as reader:
                records = reader.runs(limit=1_000_000)
            # Each of these may have run already, which nobody was told any more.
            unsure += sum(record.state is RunState.SUBMITTED for record in records)
        lost = [record for record in records if record.state is RunState.LOST]
        done = [record for record in records if record.state is RunState.SUCCEEDED]
        open_ = [record for record in records if record.finished_us is None]
        assert len(lost) + len(done) + len(open_) == len(records), Counter(record.state for record in records)
        times = Counter((record.job_id, record.fire_us) for record in done)
        assert max(times.values()) == 1
        for number in range(10):
            fires = sorted({record.fire_us for record in records if record.job_id == f"job{number}"})
            assert {after - before for before, after in pairwise(fires)} == {100_000}, "a fire time is missing"
        assert {(r.job_id, r.fire_us) for r in lost} <= set(times) | {(r.job_id, r.fire_us) for r in open_}
        lines = len(log.read_text().splitlines())
        assert len(done) <= lines <= len(records) + unsure, (len(done), len(lost), len(open_), lines, unsure)

    def wait_for_lines(self, path: Path, more: int) -> None:
        def lines() -> int:
            return path.stat().st_size // 2 if path.exists() else 0

        target, end_s = lines() + more, time.monotonic() + 60
        while lines() < target:
            assert time.monotonic() < end_s, f"{lines()} of {target} runs"
            time.sleep(0.02)

    def process(self, url: str, log: Path) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, url, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        return process

    def test_live_runs_are_found(self, place: Place, engine: sa.Engine, start: Start, monkeypatch: Any) -> None:
        def noted() -> int:
            with engine.connect() as connection:
                found = "SELECT value FROM schedcore_jobs_meta WHERE name = 'live_from'"
                return int(connection.exec_driver_sql(found).scalar_one())

        check_that_live_runs_are_found(place.url, start, noted, monkeypatch)

    def test_a_table_that_is_gone(self, place: Place, engine: sa.Engine) -> None:
        check_a_table_that_is_gone(place.url, engine)

    # -- restarts --------------------------------------------------------------------------------------------------------

    def test_a_restart_keeps_jobs_and_history(self, place: Place) -> None:
        scheduler = scheduler_on(SQLAlchemyJobStore(place.url))
        scheduler.start(paused=True)
        scheduler.add_job(work, "interval", hours=1, id="job", name="A name")
        next_run = scheduler.get_job("job").next_run_time  # type: ignore[union-attr]
        scheduler.shutdown()
        scheduler = scheduler_on(SQLAlchemyJobStore(place.url))
        scheduler.start(paused=True)
        try:
            job = scheduler.get_job("job")
            assert job is not None
            assert (job.name, job.next_run_time) == ("A name", next_run)
        finally:
            scheduler.shutdown()

    def test_a_module_that_is_removed_and_put_back(
        self, place: Place, engine: sa.Engine, start: Start, tmp_path: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        code = tmp_path / "schedcore_a_module.py"

        def count() -> Any:
            with engine.connect() as connection:
                return connection.exec_driver_sql("SELECT count(*) FROM schedcore_jobs").scalar()

        def forget() -> None:
            sys.modules.pop("schedcore_a_module", None)

        code.write_text("def f(): ...\n")
        store = start(SQLAlchemyJobStore(place.url))
        job = entry("theirs").job._replace(func=None, func_ref="schedcore_a_module:f")
        store.add_entries([entry("theirs")._replace(job=job), entry("ours")])
        assert len(run_due(store, T0)) == 2
        store.shutdown()
        code.unlink()
        forget()
        store = start(SQLAlchemyJobStore(place.url))
        assert {e.job.id: e.state for e in store.list_entries()} == {"theirs": JobState.BROKEN, "ours": JobState.ACTIVE}
        assert [run.job.id for run in run_due(store, T0 + MINUTE)] == ["ours"]
        assert count() == 2
        store.shutdown()
        code.write_text("def f(): ...\n")
        forget()
        store = start(SQLAlchemyJobStore(place.url))
        found = store.get_entry("theirs")
        assert found is not None
        assert (found.state, found.fire_us) == (JobState.ACTIVE, T0 + MINUTE)
        assert len(store.runs("theirs")) == 1
        assert [run.job.id for run in run_due(store, T0 + MINUTE)] == ["theirs"]
        assert count() == 2
        forget()

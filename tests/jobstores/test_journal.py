"""The journal beside an SQLite file: what a process that is killed had begun and ended is known."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

import sqlalchemy as sa

from schedcore.clock import Now, from_datetime
from schedcore.engine import decide
from schedcore.executors.base import BaseExecutor
from schedcore.job import NO_KWARGS, Job, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores import _journal
from schedcore.jobstores._journal import look
from schedcore.jobstores._sql_journal import Journal
from schedcore.jobstores.base import Recovered, RunJournal
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from schedcore.run import Finish, Run, RunRecord, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog
from schedcore.testing.store_suite import work
from schedcore.triggers.date import DateTrigger

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T0_US = from_datetime(T0)
boots = pytest.mark.skipif(
    not os.path.exists("/proc/sys/kernel/random/boot_id"),
    reason="the system has no name for a boot: no journal is whole",
)


def end_of(run: Run, state: RunState = RunState.SUCCEEDED, **parts: Any) -> Finish:
    return Finish(run, state, T0_US + 1, T0_US + 2, **parts)


class Database:
    """A database in a folder; ``killed`` is what a kill would leave of it now, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scheduler = BackgroundScheduler(timezone="UTC")
        self.store: SQLAlchemyJobStore | None = None

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/jobs.sqlite"

    def open(self, **options: Any) -> SQLAlchemyJobStore:
        self.close()
        self.store = SQLAlchemyJobStore(self.url, **options)
        self.store.start(self.scheduler, "default")
        return self.store

    def close(self) -> None:
        if self.store is not None:
            self.store.shutdown()
        self.store = None

    def killed(self) -> Database:
        copy = self.folder.with_name(self.folder.name + "+")
        shutil.copytree(self.folder, copy)
        self.close()
        return Database(copy)

    @property
    def journal(self) -> Path:
        """The one that there is."""
        (path,) = self.folder.glob("jobs.sqlite.runs*")
        return path


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    (tmp_path / "a").mkdir()
    database = Database(tmp_path / "a")
    yield database
    database.close()


def submit(store: SQLAlchemyJobStore, *names: str, recovery: str = "rerun") -> dict[str, Run]:
    """Runs on record, by the id of their jobs, one each."""
    trigger = DateTrigger(T0)
    policy = JobPolicy(recovery=recovery).intern()
    records = [JobRecord(name, name, work, None, (), NO_KWARGS, trigger, policy) for name in names]
    store.add_entries([JobEntry(record, JobState.ACTIVE, T0_US, T0_US) for record in records])
    claims = store.acquire(Now(T0_US, T0_US), 1000)
    runs = store.commit([decide(claim, T0_US) for claim in claims], T0_US).runs
    return {run.job.id: run for run in runs}


def told(store: SQLAlchemyJobStore) -> RunJournal:
    journal = store.journal
    assert journal is not None
    return journal


def has_journal(store: SQLAlchemyJobStore) -> bool:
    return store.journal is not None


def outcomes(recovered: Recovered) -> tuple[dict[str, int], set[str]]:
    """The attempts that are made, by job, and the jobs of which a run is closed as lost."""
    return {run.job.id: run.attempt for run in recovered.runs}, {record.job_id for record in recovered.lost}


def records(store: SQLAlchemyJobStore) -> dict[tuple[str, int], RunRecord]:
    return {(record.job_id, record.attempt): record for record in store.runs()}


@boots
class TestKilled:
    @pytest.mark.parametrize("recovery", ["rerun", "lost"])
    def test_each_run_is_known(self, database: Database, recovery: str) -> None:
        store = database.open()
        runs = submit(store, "ended", "failed", "began", "waits", recovery=recovery)
        journal = told(store)
        for name in ("ended", "failed", "began"):
            journal.begun(runs[name], T0_US + 1)
        journal.ended(end_of(runs["ended"], retval=7))
        journal.ended(end_of(runs["failed"], RunState.FAILED, exception=ValueError("no"), traceback="where"))
        store = database.killed().open()
        found = records(store)
        assert {name: record.state for (name, _), record in found.items()} == {
            "ended": RunState.SUCCEEDED,
            "failed": RunState.FAILED,
            "began": RunState.RUNNING,
            "waits": RunState.SUBMITTED,
        }
        assert (found["ended", 1].result, found["ended", 1].started_us) == ("7", T0_US + 1)
        assert (found["failed", 1].error, found["failed", 1].traceback) == ("ValueError: no", "where")
        made, lost = outcomes(store.recover([]))
        assert made == ({"began": 2, "waits": 1} if recovery == "rerun" else {"waits": 1})
        assert lost == {"began"}
        assert outcomes(store.recover([]))[1] == set(), "it loses one twice"
        store.shutdown()

    def test_what_the_store_was_told_is_not_told_again(self, database: Database) -> None:
        store = database.open()
        run = submit(store, "job")["job"]
        journal = told(store)
        journal.begun(run, T0_US + 1)
        journal.ended(end_of(run, RunState.CANCELLED))
        store.finish([end_of(run)])
        store = database.killed().open()
        assert [record.state for record in store.runs()] == [RunState.SUCCEEDED]
        assert store.recover([]) == ([], [])
        store.shutdown()

    def test_a_job_that_has_ended_is_over(self, database: Database) -> None:
        store = database.open()
        run = submit(store, "job")["job"]
        told(store).ended(end_of(run))
        again = database.killed()
        store = again.open()
        assert store.recover([]) == ([], [])
        with store._database.reading("look") as cursor:
            cursor.execute("SELECT former_id, payload FROM schedcore_jobs")
            assert cursor.fetchall() == [("job", None)]
        again.close()

    def test_killed_again_before_it_recovers(self, database: Database) -> None:
        store = database.open()
        runs = submit(store, "began", "waits", recovery="lost")
        told(store).begun(runs["began"], T0_US)
        for _ in range(3):
            database = database.killed()
            store = database.open()
        assert outcomes(store.recover([])) == ({"waits": 1}, {"began"})
        database.close()

    @pytest.mark.parametrize("damaged", [True, False])
    def test_doubt_is_not_forgotten(self, database: Database, caplog: pytest.LogCaptureFixture, damaged: bool) -> None:
        """It is doubted until it was recovered, however often it is killed before that; and not any more after it."""
        submit(database.open(), "job")
        database = database.killed()
        if damaged:
            with database.journal.open("r+b") as file:
                file.truncate(1000)
        else:
            database.journal.unlink()
        with caplog.at_level(logging.WARNING, "schedcore.jobstores"):
            for _ in range(3):
                database.open()
                database = database.killed()
        assert ("does not tell all that began" in caplog.text) is damaged
        store = database.open()
        assert not has_journal(store), "it would say that nothing has begun"
        assert outcomes(store.recover([])) == ({"job": 2}, {"job"})
        assert told(store).mark() == (0, 0)
        for _ in range(3):
            database = database.killed()
            assert outcomes(database.open().recover([])) == ({"job": 2}, set())
        database.close()

    def test_doubt_waits_for_a_job_to_be_mended(self, database: Database) -> None:
        submit(database.open(), "job")
        database = database.killed()
        database.journal.unlink()
        store = database.open()
        with store._database.writing("alter") as cursor:
            cursor.execute(
                "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:work', 'store_suite:gone')"
            )
        for _ in range(2):
            assert store.recover([]) == ([], [])
            database = database.killed()
            store = database.open()
        with store._database.writing("alter") as cursor:
            cursor.execute(
                "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:gone', 'store_suite:work')"
            )
        assert outcomes(store.recover([])) == ({"job": 2}, {"job"})
        database.close()

    def test_doubt_that_waits_is_not_all_that_is_told_of_the_next_scheduler(self, database: Database) -> None:
        """What a journal leaves in doubt may wait for its job to be mended; meanwhile others begin."""
        store = database.open()
        told(store).sent(submit(store, "sent", recovery="lost")["sent"])
        database = database.killed()
        store = database.open()
        rename = "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:{}', 'store_suite:{}')"
        with store._database.writing("alter") as cursor:
            cursor.execute(rename.format("work", "gone"))
        assert store.recover([]) == ([], [])
        runs = submit(store, "began", "waits", recovery="lost")
        told(store).forget(told(store).mark())
        told(store).begun(runs["began"], T0_US)
        database = database.killed()
        store = database.open()
        with store._database.writing("alter") as cursor:
            cursor.execute(rename.format("gone", "work"))
        assert outcomes(store.recover([])) == ({"waits": 1}, {"sent", "began"})
        database.close()

    def test_the_journal_of_another_time(self, database: Database) -> None:
        """One that was put back, or is another database's, says nothing."""
        store = database.open()
        runs = submit(store, "job")
        told(store).ended(end_of(runs["job"]))
        shutil.copy(database.journal, database.folder.parent / "old")
        store.finish([end_of(runs["job"], RunState.FAILED)])
        database = database.killed()
        submit(database.open(), "other")
        database = database.killed()
        shutil.copy(database.folder.parent / "old", database.journal)
        store = database.open()
        assert outcomes(store.recover([])) == ({"other": 2}, {"other"})
        database.close()

    @pytest.mark.parametrize("committed", [True, False])
    def test_killed_while_there_are_two(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, committed: bool
    ) -> None:
        """The new one is made, the database means it, the last one is removed: between these steps one of them is right."""
        store = database.open()
        runs = submit(store, "began", "waits", recovery="lost")
        told(store).begun(runs["began"], T0_US)
        database = database.killed()
        moment = database.folder.with_name("moment")
        name = "use" if committed else "begin"
        step = getattr(Journal, name)

        def killed(journal: Journal, *arguments: Any) -> None:
            if not committed:
                step(journal, *arguments)
            shutil.copytree(database.folder, moment)
            if committed:
                step(journal, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Journal, name, killed)
            database.open()
        database.close()
        database = Database(moment)
        assert len(list(moment.glob("*.runs*"))) == 2
        store = database.open()
        assert database.journal.exists()
        assert outcomes(store.recover([])) == ({"waits": 1}, {"began"})
        database.close()

    def test_no_room_for_a_journal(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in ("jobs.sqlite.runs", "jobs.sqlite.runs2"):
            (database.folder / name).mkdir()
        with caplog.at_level(logging.WARNING, "schedcore.jobstores"):
            store = database.open()
        assert store.journal is None
        assert "there is no journal, and after a crash it is not known which of its last runs began" in caplog.text
        submit(store, "job")
        database = database.killed()
        for name in ("jobs.sqlite.runs", "jobs.sqlite.runs2"):
            (database.folder / name).rmdir()
        assert outcomes(database.open().recover([])) == ({"job": 2}, {"job"})
        database.close()

    def test_files_of_others_under_its_names(self, database: Database, caplog: pytest.LogCaptureFixture) -> None:
        one, two = (database.folder / name for name in ("jobs.sqlite.runs", "jobs.sqlite.runs2"))
        one.write_bytes(b"one")
        assert has_journal(database.open())
        assert two.exists()
        database.close()
        two.write_bytes(b"two")
        with caplog.at_level(logging.WARNING, "schedcore.jobstores"):
            assert not has_journal(database.open())
        assert "there is a file that is no journal" in caplog.text
        assert (one.read_bytes(), two.read_bytes()) == (b"one", b"two")

    @pytest.mark.parametrize(
        "text",
        [
            r'[null, "\ud800", "a\u0000b", "\udfff", null, 3]',
            r'[null, null, null, "x", null, 99999999999]',
            r"[null, 1, null, null, null, null]",
            "[]",
            "{}",
            '"abcdef"',
            "7" * 5000,
            "[" * 5000,
        ],
    )
    def test_a_hostile_outcome(self, database: Database, text: str) -> None:
        """It keeps nobody from opening the database, and nothing is made of it but text."""
        store = database.open()
        run = submit(store, "job")["job"]
        told(store).begun(run, T0_US)
        database = database.killed()
        with database.journal.open("r+b") as file:
            file.seek(_journal._HEAD_SIZE)
            kind = 3 | len(text) << 16  # an end
            body = struct.pack("QQqqqqq", 0, kind, run.token, T0_US, 1, T0_US, T0_US)
            checksum = crc32(text.encode(), crc32(body))
            file.write(body + checksum.to_bytes(8, "little") + text.encode())
        store = database.open()
        (record,) = store.runs()
        if record.finished_us is not None:
            assert (record.error, record.traceback, record.result) == ("?", "a\ufffdb", "?")
        else:
            assert record.state is RunState.SUBMITTED
            assert outcomes(store.recover([])) == ({"job": 2}, {"job"}), "it may have begun"
        database.close()

    def test_what_may_have_been_sent(self, database: Database) -> None:
        store = database.open()
        runs = submit(store, "sent", "waits", recovery="lost")
        told(store).sent(runs["sent"])
        database = database.killed()
        store = database.open()
        assert outcomes(store.recover([])) == ({"waits": 1}, {"sent"})
        assert "may or may not have begun" in str(records(store)["sent", 1].reason)
        database.close()

    def test_an_engine_of_the_users(self, database: Database) -> None:
        engine = sa.create_engine(database.url)
        store = SQLAlchemyJobStore(engine=engine)
        store.start(database.scheduler, "default")
        runs = submit(store, "began", "waits", recovery="lost")
        told(store).begun(runs["began"], T0_US)
        killed = database.killed()
        store.shutdown()
        engine.dispose()
        assert outcomes(killed.open().recover([])) == ({"waits": 1}, {"began"})
        killed.close()

    def test_two_stores_in_one_file(self, database: Database) -> None:
        first = database.open()
        second = SQLAlchemyJobStore(database.url, tablename="others")
        second.start(database.scheduler, "others")
        told(first).begun(submit(first, "job")["job"], T0_US)
        told(second).ended(end_of(submit(second, "job")["job"]))
        killed = database.killed()
        second.shutdown()
        store = killed.open()
        assert [record.state for record in store.runs()] == [RunState.RUNNING]
        store = killed.open(tablename="others")
        assert [record.state for record in store.runs()] == [RunState.SUCCEEDED]
        killed.close()


def test_a_database_in_memory_has_none(database: Database) -> None:
    store = SQLAlchemyJobStore("sqlite://")
    store.start(database.scheduler, "default")
    assert store.journal is None
    store.shutdown()


class Old(BaseExecutor):
    """As for 3.x: it does not say that a run begins."""

    def __init__(self) -> None:
        self.has_one = threading.Event()

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        self.has_one.set()


@boots
def test_an_executor_that_does_not_tell(database: Database) -> None:
    """Of what it was given, or anybody was since, it is not known whether it began."""
    store = SQLAlchemyJobStore(database.url)
    old = Old()
    scheduler = BackgroundScheduler(jobstores={"default": store}, executors={"old": old}, timezone="UTC")
    log = EventLog(scheduler)
    scheduler.start()
    try:
        for executor, complete in (("default", True), ("old", False), ("default", False)):
            scheduler.add_job(work, "date", run_date=T0, executor=executor)
            if executor == "old":
                assert old.has_one.wait(60)
            else:
                log.wait_for(lambda log: bool(log.executed()))
            found = look(str(database.journal))
            assert found is not None
            assert found.complete is complete
            log.events.clear()
    finally:
        scheduler.shutdown()

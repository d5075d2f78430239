"""The journal beside an SQLite file: what a process that is killed had begun and ended is known."""

from __future__ import annotations

import errno
import logging
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
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
from schedcore.jobstores._journal import JournalFile, look
from schedcore.jobstores._outcome import NOTHING, outcome
from schedcore.jobstores._sql_journal import Journal
from schedcore.jobstores.base import Recovered, RunJournal
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore, open_reader
from schedcore.run import Finish, Run, RunRecord, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog
from schedcore.testing.stores import work
from schedcore.triggers.date import DateTrigger

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T0_US = from_datetime(T0)
TOKEN = "0123456789abcdef" * 2
posix = pytest.mark.skipif(os.name != "posix", reason="files of this kind, and forks, are things of POSIX")
boots = pytest.mark.skipif(
    not os.path.exists("/proc/sys/kernel/random/boot_id"),
    reason="the system has no name for a boot: no journal is whole",
)


def run_of(number: int, attempt: int = 1, fire_us: int = T0_US) -> Run:
    job: Any = None
    return Run(job, "default", fire_us, attempt, number)


def end_of(run: Run, state: RunState = RunState.SUCCEEDED, **parts: Any) -> Finish:
    return Finish(run, state, T0_US + 1, T0_US + 2, **parts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.runs"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_journal, "SIZE", 32 * 1024)


@pytest.fixture
def journal(path: Path) -> Iterator[JournalFile]:
    journal = JournalFile(str(path), TOKEN)
    yield journal
    journal.close()


# --- the file ---------------------------------------------------------------------------------------------------------------


@boots
class TestFile:
    def test_an_empty_one(self, journal: JournalFile, path: Path) -> None:
        assert look(str(path)) == (TOKEN, True, set(), {}, {})

    def test_what_began_and_what_ended(self, journal: JournalFile, path: Path) -> None:
        journal.sent(run_of(1))
        journal.begun(run_of(2), T0_US)
        journal.begun(run_of(-3, 2), T0_US + 7)
        journal.ended(end_of(run_of(2)))
        journal.ended(Finish(run_of(4), RunState.CANCELLED, None, T0_US))
        # It was taken back before it began.
        journal.ended(Finish(run_of(5), RunState.SKIPPED, None, T0_US))
        found = look(str(path))
        assert found is not None
        assert found.complete
        assert found.sent == {(1, T0_US, 1)}
        assert found.begun == {(2, T0_US, 1): T0_US, (-3, T0_US, 2): T0_US + 7}
        assert found.ended == {
            (2, T0_US, 1): (RunState.SUCCEEDED, T0_US + 1, T0_US + 2, NOTHING),
            (4, T0_US, 1): (RunState.CANCELLED, None, T0_US, NOTHING),
        }

    @pytest.mark.parametrize("retval", [7, "größe", 1.5, True, b"\0", "x" * 1000], ids=repr)
    def test_a_plain_result(self, journal: JournalFile, path: Path, retval: object) -> None:
        finish = end_of(run_of(1), retval=retval)
        journal.ended(finish)
        journal.begun(run_of(2), T0_US)
        found = look(str(path))
        assert found is not None
        assert found.ended[1, T0_US, 1].outcome == outcome(finish)
        assert list(found.begun) == [(2, T0_US, 1)], "what follows a text is found"

    def test_code_that_is_not_the_jobs_is_not_called(self, journal: JournalFile, path: Path) -> None:
        class Odd(int):
            def __repr__(self) -> str:
                raise AssertionError("its repr is called where the job ended")

        for number, retval in enumerate([Odd(), [Odd()], "x" * 1001, 2**5000]):
            journal.ended(end_of(run_of(number), retval=retval))
        found = look(str(path))
        assert found is not None
        assert {end.outcome.result for end in found.ended.values()} == {
            "(the process was killed before it was recorded)"
        }

    def test_a_failure(self, journal: JournalFile, path: Path) -> None:
        finish = end_of(run_of(1), RunState.FAILED, exception=ValueError("größe"), traceback="Traceback\n" * 100)
        journal.ended(finish)
        long = end_of(run_of(2), RunState.FAILED, exception=ValueError("ü" * 5000), traceback="ü" * 50_000)
        journal.ended(long)
        found = look(str(path))
        assert found is not None
        assert found.complete
        assert found.ended[1, T0_US, 1].outcome == outcome(finish)
        shortened = found.ended[2, T0_US, 1].outcome
        assert shortened.traceback is None
        assert str(shortened.error).startswith("ValueError: üüü")

    def test_round_and_round(self, journal: JournalFile, path: Path) -> None:
        """Places are used again; what is no longer needed is not found, and what is needed is, wherever it lies."""
        draw = random.Random(7)
        waiting: dict[int, str] = {}
        laps = 0
        for number in range(60_000):
            journal.begun(run_of(number), T0_US)
            text = "y" * draw.choice([0, 1, 7, 8, 100, 900])
            journal.ended(end_of(run_of(number), retval=text or None))
            waiting[number] = text
            if number % 997 == 0:
                journal.forget(journal.mark())
                waiting.clear()
                laps = journal.mark()[0] // _journal.SIZE
            if number % 9973 == 5000:
                found = look(str(path))
                assert found is not None
                assert found.complete
                assert [key[0] for key in found.begun] == list(waiting)
                assert {key[0]: end.outcome.result for key, end in found.ended.items()} == {
                    number: repr(text) if text else None for number, text in waiting.items()
                }
        assert laps > 3

    def test_many_threads(self, journal: JournalFile, path: Path) -> None:
        """They begin and end runs, while another one forgets what the database is told."""
        count, threads = 3000, 8
        over = threading.Event()

        def write(first: int) -> None:
            for number in range(first, first + count):
                run = run_of(number)
                journal.begun(run, T0_US)
                journal.ended(end_of(run, retval=number))

        def forget() -> None:
            while not over.is_set():
                journal.forget(journal.mark())

        writers = [threading.Thread(target=write, args=(number * count,)) for number in range(threads)]
        forgetting = threading.Thread(target=forget)
        for thread in (*writers, forgetting):
            thread.start()
        for thread in writers:
            thread.join()
        over.set()
        forgetting.join()
        mark = journal.mark()
        for number in range(100):
            journal.begun(run_of(-number), T0_US)
        found = look(str(path))
        assert found is not None
        assert found.complete, "a record was written over another"
        journal.forget(mark)
        found = look(str(path))
        assert found is not None
        assert found.complete
        assert list(found.begun) == [(-number, T0_US, 1) for number in range(100)]

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no such signal")
    def test_a_signals_handler_comes_in_between(self, journal: JournalFile, path: Path) -> None:
        """It may shut a scheduler down, and so report runs, in the midst of a report."""
        came: list[int] = []

        def handle(*_: object) -> None:
            came.append(len(came))
            journal.begun(run_of(-len(came)), T0_US)

        before = signal.signal(signal.SIGVTALRM, handle)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0002, 0.0002)
        made: list[int] = []
        try:
            while len(came) < 200:
                made.append(len(made))
                journal.begun(run_of(len(made)), T0_US)
                if len(made) % 5000 == 0:
                    journal.forget(journal.mark())
                    made.clear()
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        found = look(str(path))
        assert found is not None
        assert found.complete, "a record was written over another"
        assert {(number + 1, T0_US, 1) for number in made} <= found.begun.keys()

    def test_one_that_is_full_says_so(self, journal: JournalFile, path: Path) -> None:
        for number in range(100_000):
            journal.begun(run_of(number), T0_US)
        found = look(str(path))
        assert found is not None
        assert not found.complete
        assert 30_000 < len(found.begun) < 40_000
        mark = journal.mark()
        journal.begun(run_of(0, 2), T0_US)  # is missing, too, and later than the mark
        journal.forget(mark)
        found = look(str(path))
        assert found is not None
        assert not found.complete
        assert found.begun == {}
        journal.forget(journal.mark())
        journal.begun(run_of(0, 3), T0_US)
        assert look(str(path)) == (TOKEN, True, set(), {(0, T0_US, 3): T0_US}, {})

    @pytest.mark.parametrize("odd", [2**70, "1", None], ids=repr)
    def test_a_number_that_is_none(self, journal: JournalFile, path: Path, odd: Any) -> None:
        journal.begun(run_of(odd), T0_US)
        found = look(str(path))
        assert found is not None
        assert not found.complete
        journal.ended(end_of(run_of(odd)))
        journal.forget(journal.mark())
        journal.begun(run_of(1), T0_US)
        assert look(str(path)) == (TOKEN, True, set(), {(1, T0_US, 1): T0_US}, {})

    def test_what_was_sent_is_remembered_until_it_begins(self, journal: JournalFile, path: Path) -> None:
        for number in (1, 2, 3):
            journal.sent(run_of(number))
        journal.forget(journal.mark())
        journal.begun(run_of(2), T0_US)
        journal.ended(end_of(run_of(3)))
        journal.forget(journal.mark())
        journal.forget(journal.mark())
        assert look(str(path)) == (TOKEN, True, {(1, T0_US, 1)}, {}, {})

    def test_runs_of_which_nobody_tells(self, journal: JournalFile, path: Path) -> None:
        journal.not_told()
        for _ in range(2):
            found = look(str(path))
            assert found is not None
            assert not found.complete
            journal.forget(journal.mark())

    def test_after_a_reboot(self, journal: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        journal.begun(run_of(1), T0_US)
        monkeypatch.setattr(_journal, "_boot", lambda: b"another")
        assert look(str(path)) == (TOKEN, False, set(), {(1, T0_US, 1): T0_US}, {})
        monkeypatch.setattr(_journal, "_boot", lambda: b"")
        assert look(str(path)) == (TOKEN, False, set(), {(1, T0_US, 1): T0_US}, {})

    def test_half_a_record(self, journal: JournalFile, path: Path) -> None:
        """A process is killed while it writes: the other records are there, and what it was about to do was not done."""
        journal.begun(run_of(1), T0_US)
        before = path.read_bytes()
        journal.ended(end_of(run_of(1), retval="done"))
        after = path.read_bytes()
        size = journal.mark()[0] - _journal._RUN_SIZE
        place = _journal._HEAD_SIZE + _journal._RUN_SIZE
        for half in range(0, size + 1, 4):
            path.write_bytes(before[:place] + after[place : place + half] + before[place + half :])
            found = look(str(path))
            assert found is not None
            assert found.complete
            assert list(found.begun) == [(1, T0_US, 1)]
        found = look(str(path))
        assert found is not None
        assert list(found.ended) == [(1, T0_US, 1)], "all of it is there, and only the number that says so is not"

    def test_what_was_not_kept_is_noticed(self, small: None, journal: JournalFile, path: Path) -> None:
        """Parts of the file are empty, or it is too short: what is then missing is not said not to have happened."""
        for number in range(50):
            journal.begun(run_of(number), T0_US)
            journal.ended(end_of(run_of(number), retval="x" * 10 * number))
        whole = path.read_bytes()
        end = _journal._HEAD_SIZE + journal.mark()[0]
        for size in (64, 512, 4096):
            for place in range(_journal._HEAD_SIZE // size * size, end, size):
                first = max(place, _journal._HEAD_SIZE)
                if whole[first : place + size].strip(b"\0"):
                    path.write_bytes(whole[:first] + bytes(place + size - first) + whole[place + size :])
                    found = look(str(path))
                    assert found is not None
                    assert not found.complete, f"{size} bytes at {place}"
        for length in range(_journal._HEAD_SIZE, end, 100):
            path.write_bytes(whole[:length])
            found = look(str(path))
            assert found is not None
            assert not found.complete

    def test_altered_bytes_are_not_believed(self, small: None, journal: JournalFile, path: Path) -> None:
        """Whatever was altered, what is read is what was written, up to there; and that there was more is known."""
        for number in range(20):
            journal.begun(run_of(number), T0_US + number)
            journal.ended(end_of(run_of(number), retval="x" * number))
        whole = path.read_bytes()
        truth = look(str(path))
        assert truth is not None
        assert truth.complete
        draw = random.Random(3)
        for _ in range(2000):
            damaged = bytearray(whole)
            for _ in range(draw.choice([1, 1, 8, 100])):
                damaged[_journal._HEAD_SIZE + draw.randrange(journal.mark()[0])] = draw.randrange(256)
            path.write_bytes(damaged)
            found = look(str(path))
            assert found is not None
            assert found.begun.items() <= truth.begun.items()
            assert found.ended.items() <= truth.ended.items()
            if found.complete:
                assert (found.begun, found.ended) == (truth.begun, truth.ended)

    def test_each_altered_bit_is_noticed(self, small: None, journal: JournalFile, path: Path) -> None:
        journal.begun(run_of(1), T0_US)
        journal.ended(end_of(run_of(1), retval="eight ch"))
        journal.sent(run_of(2))
        whole = bytearray(path.read_bytes())
        end = _journal._HEAD_SIZE + journal.mark()[0]
        padding = 0
        for at in range(_journal._HEAD_SIZE, end):
            for bit in range(8):
                whole[at] ^= 1 << bit
                path.write_bytes(whole)
                found = look(str(path))
                assert found is not None
                padding += found.complete
                whole[at] ^= 1 << bit
        assert padding < 8 * 8, "but for what fills the last piece of a text"

    def test_one_of_another_version(self, journal: JournalFile, path: Path) -> None:
        """It is none, so that what it had is in doubt, and it makes room for the next."""
        journal.begun(run_of(1), T0_US)
        data = bytearray(path.read_bytes())
        data[: len(_journal._MAGIC)] = b"schedcore runs 1"
        path.write_bytes(data)
        assert look(str(path)) is None
        JournalFile(str(path), TOKEN).close()
        assert not path.exists()

    def test_any_garbage(self, journal: JournalFile, path: Path) -> None:
        journal.begun(run_of(1), T0_US)
        head = path.read_bytes()[: _journal._HEAD_SIZE]
        draw = random.Random(5)
        path.write_bytes(b"")
        assert look(str(path)) is None
        for length in (1, 127, 128, 129, 1000, 100_000, _journal.SIZE * 3):
            path.write_bytes(draw.randbytes(length))
            assert look(str(path)) is None
            path.write_bytes(head + draw.randbytes(length))
            found = look(str(path))
            assert found is not None
            assert not found.complete
        numbers = struct.pack("QQQ", 2**64 - 8, 2**64 - 1, 0)
        path.write_bytes(head[: _journal._WRITTEN] + numbers + bytes(8 + _journal.SIZE))
        found = look(str(path))
        assert found is not None
        assert not found.complete
        # A text of brackets, as deep as it is long.
        deep = b"[" * 40_000
        kind = 3 | len(deep) << 16
        record = struct.pack("QQqqqqqQ", 0, kind, 1, T0_US, 1, T0_US, T0_US, 0) + deep
        path.write_bytes(head + record + bytes(_journal.SIZE - len(record)))
        found = look(str(path))
        assert found is not None
        assert (found.complete, found.ended) == (False, {})

    @posix
    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        for name in ("pipe", "loop", ".", "missing"):
            assert look(str(tmp_path / name)) is None
        assert look(os.devnull) is None

    def test_it_goes_when_all_is_in_the_database(self, path: Path) -> None:
        journal = JournalFile(str(path), TOKEN)
        journal.begun(run_of(1), T0_US)
        journal.forget(journal.mark())
        journal.close()
        journal.close()
        assert not path.exists()
        # A run that was cut off and ends later.
        journal.ended(end_of(run_of(1)))
        journal.forget(journal.mark())
        journal = JournalFile(str(path), TOKEN)
        journal.begun(run_of(1), T0_US)
        journal.close()
        assert path.exists()

    @posix
    def test_a_forked_child_leaves_it_alone(self, journal: JournalFile, path: Path) -> None:
        journal.begun(run_of(1), T0_US)
        before = path.read_bytes()
        pid = os.fork()
        if not pid:
            try:
                journal.ended(end_of(run_of(1)))
                journal.not_told()
                journal.forget(journal.mark())
                journal.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert path.read_bytes() == before

    def test_a_file_that_is_no_journal_stays(self, path: Path) -> None:
        path.write_bytes(b"mine")
        with pytest.raises(FileExistsError, match="no journal"):
            JournalFile(str(path), TOKEN)
        assert path.read_bytes() == b"mine"
        # Killed when it was just made.
        path.write_bytes(b"")
        JournalFile(str(path), TOKEN).close()
        assert not path.exists()

    def test_no_room_for_it(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match="No space"):
                JournalFile(str(path), TOKEN)
        assert not path.exists()


# --- beside a database --------------------------------------------------------------------------------------------------------


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
            cursor.execute("SELECT state, payload FROM schedcore_jobs")
            assert cursor.fetchall() == [("gone", None)]
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
            cursor.execute("UPDATE schedcore_jobs SET payload = replace(payload, 'stores:work', 'stores:gone')")
        for _ in range(2):
            assert store.recover([]) == ([], [])
            database = database.killed()
            store = database.open()
        with store._database.writing("alter") as cursor:
            cursor.execute("UPDATE schedcore_jobs SET payload = replace(payload, 'stores:gone', 'stores:work')")
        assert outcomes(store.recover([])) == ({"job": 2}, {"job"})
        database.close()

    def test_doubt_that_waits_is_not_all_that_is_told_of_the_next_scheduler(self, database: Database) -> None:
        """What a journal leaves in doubt may wait for its job to be mended; meanwhile others begin."""
        store = database.open()
        told(store).sent(submit(store, "sent", recovery="lost")["sent"])
        database = database.killed()
        store = database.open()
        rename = "UPDATE schedcore_jobs SET payload = replace(payload, 'stores:{}', 'stores:{}')"
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


# --- kill -9 ------------------------------------------------------------------------------------------------------------------

APP = """
import asyncio, os, sys
from datetime import UTC, datetime
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore, open_reader
from schedcore.run import current_run

URL, LOG, KIND = sys.argv[1:4]
trace = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def job():
    os.write(trace, f"{current_run.get().id}\\n".encode())

async def coroutine():
    job()

def scheduler():
    options = {"jobstores": {"default": SQLAlchemyJobStore(URL, history=100)}, "timezone": "UTC"}
    if KIND == "asyncio":
        from schedcore.adapters.asyncio import AsyncIOScheduler
        return AsyncIOScheduler(**options)
    from schedcore.schedulers.background import BackgroundScheduler
    kind = {"threads": "threadpool", "processes": "processpool"}[KIND]
    return BackgroundScheduler(**options, executors={"default": {"type": kind, "max_workers": 4}})

async def main():
    import app
    one = scheduler()
    if len(sys.argv) > 4:
        func = app.coroutine if KIND == "asyncio" else app.job
        jobs = [
            {"func": func, "trigger": "date", "run_date": datetime(2026, 1, 1, tzinfo=UTC), "id": f"{recovery}-{number}",
             "recovery": recovery}
            for number in range(int(sys.argv[4])) for recovery in ("rerun", "lost")
        ]
        one.start(paused=True)
        await asyncio.to_thread(one.add_jobs, jobs)
        one.resume()
    else:
        one.start()
    while not (one.state and one._pumps["default"].tried.is_set()):
        await asyncio.sleep(0.01)
    def going_on():
        return one.get_jobs() or any(run.finished_us is None for run in one.get_runs(limit=100_000))
    while await asyncio.to_thread(going_on):
        await asyncio.sleep(0.05)
    closing = one.shutdown()
    if KIND == "asyncio":
        await closing

if __name__ == "__main__":
    asyncio.run(main())
"""
KILLS = 8
# Jobs of each kind, and how many runs may be in the middle of their work when they are killed.
BURSTS = {"threads": (2500, 4), "asyncio": (2500, 1), "processes": (600, 4)}


@pytest.mark.slow
@boots
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", BURSTS)
def test_killed_in_a_burst(tmp_path: Path, kind: str) -> None:
    """Thousands of runs within a second, and killed in the midst of them: each is made once, but for those that were cut."""
    count, workers = BURSTS[kind]
    (tmp_path / "app.py").write_text(APP)
    url, log = f"sqlite:///{tmp_path}/jobs.sqlite", tmp_path / "log"
    log.touch()
    draw = random.Random(11)

    def boot(*more: str) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(tmp_path), *sys.path])
        command = [sys.executable, "app.py", url, str(log), kind, *more]
        return subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths})

    total = 2 * count * len("rerun-1000@2026-01-01T00:00:00Z#1\n")
    kills = 0
    for _ in range(KILLS):
        more = draw.randrange(1, total // (KILLS + 4))
        until = log.stat().st_size + more
        with boot(*([] if kills else [str(count)])) as process:
            while log.stat().st_size < until and process.poll() is None:
                time.sleep(0.0005)
            process.kill()
        if process.returncode == 0:  # on a busy machine much is made from when it is to be killed until it is
            break
        kills += 1
    assert kills, "it ended by itself: there was nothing to kill"
    with boot() as process:
        assert process.wait(120) == 0
    made = Counter(log.read_text().split())
    with open_reader(url) as reader:
        records = {record.id: record for record in reader.runs(limit=1_000_000)}
    cut = {run_id for run_id, record in records.items() if record.state is RunState.LOST}
    assert len(cut) <= kills * workers, "more than were in the middle of their work"
    if kind != "processes":
        assert {records[run_id].reason for run_id in cut} <= {
            "its scheduler died in the middle of it",
            "its scheduler died in the middle of it; it is run again",
        }
    for run_id, record in records.items():
        assert made[run_id] <= 1, f"{run_id} was made twice"
        if run_id not in cut:
            assert record.state is RunState.SUCCEEDED
            assert made[run_id] == 1, f"{run_id} was not made"
    assert set(made) <= set(records)
    first = {record.job_id for record in records.values() if record.attempt == 1}
    assert first == {f"{recovery}-{number}" for recovery in ("rerun", "lost") for number in range(count)}
    for run_id, record in records.items():
        if record.attempt > 1:
            assert f"{run_id[:-1]}{record.attempt - 1}" in cut, "run again, and nothing had happened to it"
            assert not record.job_id.startswith("lost")
    for run_id in cut:
        again = f"{run_id[:-1]}{records[run_id].attempt + 1}"
        if run_id.startswith("rerun") and records[run_id].attempt == 1:
            assert again in records, "it is run again"


SUICIDE = """
import os, signal, sys, threading
from datetime import UTC, datetime
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from schedcore.schedulers.background import BackgroundScheduler

def job(name):
    os.write(trace, f"{name}\\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)

def fine():
    os.write(trace, b"fine\\n")

if __name__ == "__main__":
    import app
    app.trace = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(sys.argv[1])}, timezone="UTC",
        executors={"default": {"type": "threadpool", "max_workers": 1}},
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    if len(sys.argv) > 3:
        for number, recovery in enumerate(("rerun", "lost")):
            scheduler.add_job(app.job, "date", run_date=at, args=[recovery], id=f"{number}", recovery=recovery)
        scheduler.add_job(app.fine, "date", run_date=at, id="2")
    scheduler.start()
    while scheduler.get_jobs() or any(run.finished_us is None for run in scheduler.get_runs()):
        threading.Event().wait(0.02)
    scheduler.shutdown()
"""


@pytest.mark.slow
@boots
@pytest.mark.timeout(120)
def test_a_job_that_kills_its_process_does_so_once_more(tmp_path: Path) -> None:
    """And not at all where its job wants none twice; what was behind it in the queue is made once."""
    (tmp_path / "app.py").write_text(SUICIDE)
    log = tmp_path / "log"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    codes: list[int] = []
    while 0 not in codes:
        more = [] if codes else ["first"]
        command = [sys.executable, "app.py", f"sqlite:///{tmp_path}/jobs.sqlite", str(log), *more]
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, timeout=60, check=False)
        codes.append(done.returncode)
        assert len(codes) < 6
    assert Counter(log.read_text().split()) == {"rerun": 2, "lost": 1, "fine": 1}
    assert codes == [-9, -9, -9, 0]

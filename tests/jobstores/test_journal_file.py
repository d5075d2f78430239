"""The file of a journal: what was written to it is read again, whatever it went through."""

from __future__ import annotations

import errno
import os
import random
import signal
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schedcore.clock import from_datetime
from schedcore.jobstores import _journal
from schedcore.jobstores._journal import JournalFile, look
from schedcore.jobstores._outcome import NOTHING, outcome
from schedcore.run import Finish, Run, RunState

T0_US = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
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
    def test_who_finds_another_thread_at_a_record_does_not_wait_for_the_lock(
        self, journal: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else it would have the lock before the interpreter, and threads would change places at each record."""
        at_it, go_on, paused = threading.Event(), threading.Event(), threading.Event()

        def crc32(*parts: Any) -> int:
            if not at_it.is_set():
                at_it.set()
                assert go_on.wait(30)
            return zlib.crc32(*parts)

        def pause(pause_s: float) -> float:
            paused.set()
            time.sleep(0.001)
            return pause_s

        monkeypatch.setattr(_journal, "crc32", crc32)
        monkeypatch.setattr(_journal, "_pause", pause)
        writers = [threading.Thread(target=journal.begun, args=(run_of(number), T0_US)) for number in range(2)]
        try:
            writers[0].start()
            assert at_it.wait(30)
            writers[1].start()
            assert paused.wait(30)
            mark = journal._written
        finally:
            go_on.set()
            for writer in writers:
                writer.join()
        assert mark == journal._written / 2, "the second was at it before the first was done"
        found = look(str(path))
        assert found is not None
        assert set(found.begun) == {(0, T0_US, 1), (1, T0_US, 1)}

    def test_who_never_comes_to_an_end_is_not_waited_for_for_ever(
        self, journal: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []

        def pause(pause_s: float) -> float:
            pauses.append(pause_s)
            return pause_s * 1.5

        monkeypatch.setattr(_journal, "_pause", pause)
        journal._writer = -1  # what a handler leaves that raises just before the lock is taken
        journal.begun(run_of(1), T0_US)
        assert 0 < sum(pauses) < 0.5
        journal.begun(run_of(2), T0_US)
        found = look(str(path))
        assert found is not None
        assert set(found.begun) == {(1, T0_US, 1), (2, T0_US, 1)}

    def test_a_signals_handler_does_not_wait_for_its_own_thread(
        self, journal: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []
        inside: list[Run] = [run_of(2)]

        def crc32(*parts: Any) -> int:
            while inside:
                journal.begun(inside.pop(), T0_US)
            return zlib.crc32(*parts)

        monkeypatch.setattr(_journal, "crc32", crc32)
        monkeypatch.setattr(_journal, "_pause", pauses.append)
        journal.begun(run_of(1), T0_US)
        assert not pauses
        found = look(str(path))
        assert found is not None
        assert set(found.begun) == {(1, T0_US, 1), (2, T0_US, 1)}

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

"""A journal of runs beside a database: what began and what ended since the database was told last.

Beginnings and ends are written to a store in batches, some milliseconds after the fact. What is put here is in a file, mapped
into memory: it is there as soon as it is written, and a process that is killed takes nothing of it away. Whoever opens the store
next reads it first. It costs a microsecond or two, and neither waits for a disk nor lets go of the interpreter: it is no call
into a store, and is made on event loops too. (When such memory reaches the disk is the kernel's business. SQLite keeps the index
of its log in a file of this kind, in the same folder.)

**Layout.** A head: whose it is (a ``token``, which the database has too, and the boot of the machine), and three numbers, each
written in one piece: how far it is written, from where it is needed, and whether something is missing. Then a ring of records.
The numbers only grow; a place in the ring is the remainder. Each record has its place in front and a checksum behind it, so that
neither half a record nor one of an earlier round is taken for one, nor what a disk or another program has damaged. (It costs a
quarter of a microsecond, and keeps out accidents, not somebody who may write here.)

**When it cannot be relied on.** Without its file, with another token, after a reboot (the kernel may have kept any part of it to
itself), when something in it is damaged, or was left out because it was full: what it says is true all the same, if it can be
read; but what it does not say may have happened. (Where the system has no name for a boot, it is so each time.)

**Hostile files.** No more is read than the file ought to have. What is read is data, and each value is looked at.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import stat
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from os import getpid
from threading import get_ident
from time import sleep
from types import BuiltinFunctionType
from typing import Any, NamedTuple
from zlib import crc32

from schedcore.jobstores._outcome import NOTHING, Outcome, outcome, storable
from schedcore.locks import ShortLock
from schedcore.run import LIVE_STATES, Finish, Run, RunState
from schedcore.triggers._zones import FIRST_US, LAST_US

__all__ = ["Ended", "Found", "JournalFile", "RunKey", "knows_boots", "look", "remove"]

#: Of a run in an SQL store: uid of the job, fire time, attempt.
RunKey = tuple[int, int, int]

# Bytes. Some 20,000 runs that began and ended between two batches.
SIZE = 2 * 1024 * 1024
_KIND = b"schedcore runs "  # of any version
_MAGIC = _KIND + b"2"
_HEAD = struct.Struct("<16s32s40sI4x")
_WRITTEN, _NEEDED, _MISSING = 96, 104, 112  # the places of the numbers
_NAMED = 88  # bytes that the head's checksum is of
_HEAD_SIZE = 128
# A record has its place in front, then what it is, and the key of the run; behind that its checksum. In the order of bytes of the
# machine, whose journal it is alone.
_RUN = struct.Struct("QQqqqq")  # … and an instant
_END = struct.Struct("QQqqqqq")  # … beginning and end; behind the checksum comes text, whose length is with what it is
_NUMBER = struct.Struct("Q")
_RUN_SIZE, _END_SIZE = _RUN.size + 8, _END.size + 8  # with the checksum
_pack_run, _pack_end = _RUN.pack, _END.pack
_SENT, _BEGUN, _ENDED, _WRAP = range(1, 5)
# Of an outcome: bytes, above which the long texts are left out.
_LONGEST = 48 * 1024
# Of a plain value: characters, and bits, of which the text is made at once.
_SHORT = 1000
_NOT_KEPT = "(the process was killed before it was recorded)"
_NONE_US = -(2**63)

# Seconds of a pause, the first one and one that is too long: then the lock is waited for. Where gevent has replaced the call for
# that, which would let greenlets go on, there is no pause.
_PAUSE_S = 0.00005
_LONGEST_PAUSE_S = 0.05 if isinstance(sleep, BuiltinFunctionType) else 0.0

_STATES: list[RunState] = [state for state in RunState if state not in LIVE_STATES and state is not RunState.SKIPPED]
_NUMBERS: dict[RunState, int] = {state: number for number, state in enumerate(_STATES)}
_SUCCEEDED = RunState.SUCCEEDED
_ENDED_WELL = _ENDED | _NUMBERS[_SUCCEEDED] << 8


class Ended(NamedTuple):
    """How a run ended."""

    state: RunState
    started_us: int | None
    finished_us: int
    outcome: Outcome


class Found(NamedTuple):
    """What a journal says. ``complete``: what it does not say did not happen."""

    token: str
    complete: bool
    sent: set[RunKey]  #: went to where nobody tells at once that they begin
    begun: dict[RunKey, int]
    ended: dict[RunKey, Ended]


def _pause(pause_s: float) -> float:
    """Let other threads go on for so many seconds; how many the next time."""
    sleep(pause_s)
    return pause_s * 1.5


@cache
def _boot() -> bytes:
    """A name for this boot of the machine; empty: there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read(40).strip()
    except OSError:
        return b""


def knows_boots() -> bool:
    """Whether a journal can be relied on here: whether it is known that the machine was not started since."""
    return bool(_boot())


class JournalFile:
    """A journal that is being written: a ``RunJournal``. ``mark`` and ``forget`` are the same thread's, one after the other."""

    def __init__(self, path: str, token: str) -> None:
        """Make the file. Raises ``OSError``."""
        self._path = path
        self._pid = getpid()
        # Taken again by the thread that has it when a signal's handler reports a run.
        self._lock = ShortLock()
        # The thread that is at a record, or about to be. Others look again after a pause. One that waited for the lock itself
        # would be given it before the interpreter, and whoever has that would soon wait for the lock in turn: once they had met,
        # threads changed places at each record, which took the processor longer than the runs.
        self._writer: int | None = None
        self._written = 0
        self._needed = 0
        self._misses = 0  # what could not be told, since all was
        self._untold = False  # whether that will not come to an end
        self._sent: dict[tuple[int, int, Any], Run] = {}
        remove(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        head = _HEAD.pack(_MAGIC, token.encode("ascii"), _boot(), 0)
        head = _HEAD.pack(*_HEAD.unpack(head)[:3], crc32(head[:_NAMED]))
        with ExitStack() as undo:
            descriptor = os.open(path, flags, 0o600)  # it has what jobs raised and returned
            undo.callback(os.unlink, path)
            try:
                # At once, so that it is known for what it is though the process is killed here.
                left = _HEAD_SIZE + SIZE - os.write(descriptor, head)
                # Written, not just made so long: a place on a full disk must not be missed when it is written to.
                while left:
                    left -= os.write(descriptor, bytes(min(left, 256 * 1024)))
                self._map: mmap.mmap | None = mmap.mmap(descriptor, _HEAD_SIZE + SIZE)
            finally:
                os.close(descriptor)
            undo.pop_all()

    # -- on the way of a run ---------------------------------------------------------------------------------------------

    def sent(self, run: Run) -> None:
        self._sent[run[2:]] = run
        self._put_run(_SENT, run, 0)

    def begun(self, run: Run, at_us: int) -> None:
        self._put_run(_BEGUN, run, at_us)
        if self._sent:
            self._sent.pop(run[2:], None)

    def _put_run(self, kind: int, run: Run, at_us: int) -> None:
        _, _, fire_us, attempt, uid = run
        self._put(_pack_run, _RUN_SIZE, (kind, uid, fire_us, attempt, at_us))

    def ended(self, finish: Finish) -> None:
        (_, _, fire_us, attempt, uid), state, started_us, finished_us, retval, _, _ = finish
        if retval is None and state is _SUCCEEDED:  # most are so
            kind, text = _ENDED_WELL, b""
        else:
            number = _NUMBERS.get(state)
            if number is None:
                return
            what = _outcome_here(finish)
            text = b"" if what is NOTHING else _text_of(what)
            kind = _ENDED | number << 8 | len(text) << 16
        if started_us is None:
            started_us = _NONE_US
        self._put(_pack_end, _END_SIZE, (kind, uid, fire_us, attempt, started_us, finished_us), text)
        if self._sent:
            self._sent.pop(finish.run[2:], None)

    def _put(self, pack: Callable[..., bytes], size: int, values: tuple[int, ...], text: bytes = b"") -> None:
        """Write a record; ``size``: its bytes without the text."""
        me = get_ident()
        pause_s = _PAUSE_S
        while self._writer not in (None, me) and pause_s < _LONGEST_PAUSE_S:
            pause_s = _pause(pause_s)
        # Between the look and this nothing is called, so that no other thread comes in between. If one did, there is the lock.
        self._writer = me
        try:
            with self._lock:
                ring = self._map
                start = self._reserve(ring, size + (len(text) + 7 & ~7))
                if ring is None or start is None:
                    return
                at = _HEAD_SIZE + start % SIZE
                try:
                    body = pack(start, *values)
                except struct.error:
                    self._miss()
                else:
                    checksum = crc32(body)
                    if text:
                        checksum = crc32(text, checksum)
                        ring[at + size : at + size + len(text)] = text
                    ring[at : at + size] = body + checksum.to_bytes(8, "little")
                _NUMBER.pack_into(ring, _WRITTEN, self._written)
        finally:
            self._writer = None

    def not_told(self) -> None:
        with self._lock:
            self._untold = True
            self._miss()

    def _reserve(self, ring: mmap.mmap | None, size: int) -> int | None:
        """A place for a record; None: there is none."""
        if ring is None or getpid() != self._pid:  # it is closed, or its parent's
            return None
        while True:
            before = start = self._written
            if start % SIZE + size > SIZE:  # it is to lie in one piece
                start += SIZE - start % SIZE
            end = start + size
            if end - self._needed > SIZE:
                self._miss()
                return None
            # Nothing is called in these lines: no signal's handler comes in between and takes the same place.
            if self._written == before:
                self._written = end
                break
        if start != before and SIZE - before % SIZE >= _NUMBER.size * 2:
            _NUMBER.pack_into(ring, _HEAD_SIZE + before % SIZE + 8, _WRAP)
            _NUMBER.pack_into(ring, _HEAD_SIZE + before % SIZE, before)
        return start

    def _miss(self) -> None:
        """Something cannot be told: it is not there any more, or a number, in a row that nobody of us wrote, is too large."""
        self._misses += 1
        self._tell_missing(1)

    def _tell_missing(self, number: int) -> None:
        ring = self._map
        if ring is not None and getpid() == self._pid:
            _NUMBER.pack_into(ring, _MISSING, number)

    # -- what the database has been told ---------------------------------------------------------------------------------

    def mark(self) -> tuple[int, int]:
        with self._lock:
            return self._written, self._misses

    def forget(self, mark: tuple[int, int]) -> None:
        written, misses = mark
        if self._sent:
            # The database is not told of these before they begin.
            for run in list(self._sent.copy().values()):
                self._put_run(_SENT, run, 0)
        with self._lock:
            ring = self._map
            if ring is None or getpid() != self._pid:
                return
            if written > self._needed:
                self._needed = written
                _NUMBER.pack_into(ring, _NEEDED, written)
            if misses and misses == self._misses and not self._untold:
                self._misses = 0
                self._tell_missing(0)

    def close(self) -> None:
        """Let go of the file; it goes when all of it is in the database."""
        with self._lock:
            ring, self._map = self._map, None
            if ring is None:
                return
            ring.close()
            if self._needed == self._written and not self._misses and getpid() == self._pid:
                with suppress(OSError):
                    os.unlink(self._path)


def _outcome_here(finish: Finish) -> Outcome:
    """What is kept of how a run ended, where no code but the job's may be called: of a value that is not plain, that there was
    one. (An exception has shown its text already, when the run ended.)
    """
    retval = finish.retval
    if retval is not None:
        kind = type(retval)
        plain = kind in (bool, float) or (kind is int and retval.bit_length() <= _SHORT)
        if not plain and not (kind in (str, bytes) and len(retval) <= _SHORT):
            return NOTHING._replace(result=_NOT_KEPT)
    return outcome(finish)


def _text_of(what: Outcome) -> bytes:
    text = json.dumps(what).encode()
    if len(text) > _LONGEST:
        error = None if what.error is None else what.error[:_SHORT]
        result = None if what.result is None else what.result[:_SHORT]
        text = json.dumps(what._replace(error=error, traceback=None, result=result, output=None)).encode()
    return text


# -- reading -------------------------------------------------------------------------------------------------------------------


def look(path: str) -> Found | None:
    """What is in a file; None: it is no journal, or not there, or cannot be read. Raises nothing."""
    try:
        data = memoryview(_beginning(path, _HEAD_SIZE + SIZE))
    except OSError:
        return None
    if len(data) < _HEAD_SIZE:
        return None
    magic, token, boot, checksum = _HEAD.unpack_from(data)
    if magic != _MAGIC or checksum != crc32(data[:_NAMED]):
        return None
    boot = boot.rstrip(b"\0")
    found = Found(token.decode("latin-1"), bool(boot) and boot == _boot(), set(), {}, {})
    written, needed, missing = struct.unpack_from("QQQ", data, _WRITTEN)
    whole = not missing and len(data) == _HEAD_SIZE + SIZE and needed <= written <= needed + SIZE
    return found._replace(complete=_read(data, needed, written, found) and whole and found.complete)


def remove(path: str) -> None:
    """Remove a journal, if it is there. Raises ``OSError``, also for what is none: it is somebody's who calls a file so."""
    with suppress(FileNotFoundError):
        if _beginning(path, len(_KIND)) not in (_KIND, b""):
            raise FileExistsError(errno.EEXIST, "there is a file that is no journal", path)
        os.unlink(path)


def _beginning(path: str, size: int) -> bytes:
    """What a file begins with. Raises ``OSError``, also for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileExistsError(errno.EEXIST, "there is something that is no file", path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(size)
    finally:
        os.close(descriptor)


def _read(data: memoryview, needed: int, written: int, found: Found) -> bool:
    """Read the records from one number to another, into ``found``; whether all are there."""
    start, limit = needed, needed + SIZE
    while start < limit:
        at = start % SIZE
        if SIZE - at < _NUMBER.size * 2:  # too short for any record
            start += SIZE - at
            continue
        place = _HEAD_SIZE + at
        if place + _NUMBER.size * 2 > len(data):
            break
        named, kind = struct.unpack_from("QQ", data, place)
        if named != start:
            break
        if kind == _WRAP:
            start += SIZE - at
            continue
        length = _take(data[place : place + SIZE - at], kind, found)
        if length is None:
            break
        start += length
    # The last record may be there before the number that says so.
    return start >= written


def _take(record: memoryview, kind: int, found: Found) -> int | None:
    """Understand a record, which others follow; its length, or None for what is half there, or nobody of us wrote."""
    if kind in (_SENT, _BEGUN) and len(record) >= _RUN_SIZE:
        _, _, uid, fire_us, attempt, at_us = _RUN.unpack_from(record)
        if not _is_whole(record, _RUN.size) or (kind == _BEGUN and not _is_instant(at_us)):
            return None
        key = uid, fire_us, attempt
        if kind == _SENT:
            found.sent.add(key)
        else:
            found.begun[key] = at_us
        return _RUN_SIZE
    if kind & 0xFF == _ENDED and len(record) >= _END_SIZE:
        _, _, uid, fire_us, attempt, started_us, finished_us = _END.unpack_from(record)
        number, length = kind >> 8 & 0xFF, kind >> 16
        text = record[_END_SIZE : _END_SIZE + length]
        if length > _LONGEST or not _is_whole(record, _END.size, text):
            return None
        what = _outcome_of(text)
        if what is None or number >= len(_STATES) or not _is_instant(finished_us):
            return None
        if started_us != _NONE_US and not _is_instant(started_us):
            return None
        started = None if started_us == _NONE_US else started_us
        found.ended[uid, fire_us, attempt] = Ended(_STATES[number], started, finished_us, what)
        return _END_SIZE + (length + 7 & ~7)
    return None


def _is_whole(record: memoryview, size: int, text: memoryview | bytes = b"") -> bool:
    return crc32(text, crc32(record[:size])) == int.from_bytes(record[size : size + 8], "little")


def _is_instant(value: int) -> bool:
    return FIRST_US <= value <= LAST_US


def _outcome_of(text: memoryview) -> Outcome | None:
    if not text:
        return NOTHING
    try:
        *texts, exit_code = json.loads(bytes(text))
        reason, error, traceback, result, output = map(storable, texts)
    except Exception:  # noqa: BLE001  # whatever an altered record provokes
        return None
    if not all(value is None or type(value) is str for value in (reason, error, traceback, result, output)):
        return None
    if exit_code is not None and not (type(exit_code) is int and -(2**31) <= exit_code < 2**31):
        return None
    return Outcome(reason, error, traceback, result, output, exit_code)

"""The definitions of jobs in the SQL store: read from their payloads once, and kept, so that a due job costs no look at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from schedcore.job import JobEntry, JobRecord
from schedcore.jobstores._kept import Kept
from schedcore.jobstores._payload import SOON_US, Codec, Loaded, Oversized, StoredRecord, as_read_back, is_value
from schedcore.jobstores._sql_backend import Backend
from schedcore.jobstores._sql_rows import text
from schedcore.jobstores._sql_statements import Statements

__all__ = ["Definitions"]

# Payloads that are asked for first, and then four times as many each time, as long as they have so many bytes: beside what is
# made of them there are for a moment the bytes, and what the driver was sent, which may be twice as long.
_FIRST = 16
_AT_ONCE = 16_000_000

# A new job, and the bytes of its payload.
Fresh = tuple[JobRecord, int]


class Definitions:
    """What jobs are, by their number (``uid``) and version. Threads may call it several at a time."""

    def __init__(self, codec: Codec, backend: Backend, sql: Statements, *, import_func: bool) -> None:
        self.codec = codec
        #: Those that are in memory.
        self.kept: Kept[int] = Kept()
        self._backend = backend
        self._sql = sql
        self._import_func = import_func

    def load(self, cursor: Any, wanted: Iterable[tuple[int, int]]) -> dict[int, Loaded]:
        """The definitions of jobs, by uid and version, from memory or from their payloads."""
        kept = self.kept.records
        found: dict[int, Loaded] = {}
        missing: list[int] = []
        for uid, version in wanted:
            record = kept.get(uid)
            if record is not None and record.version == version:
                found[uid] = Loaded(record, None)
            else:
                missing.append(uid)
        first, count = 0, _FIRST
        while first < len(missing):
            rows = self._backend.by_keys(cursor, self._sql.payloads, missing[first : first + count])
            found.update(self.read(rows))
            first += count
            size = sum([len(row[3]) for row in rows if row[3] is not None])
            count *= 4
            if size:
                count = max(1, min(count, _AT_ONCE * len(rows) // size))
        return found

    def read(self, rows: Iterable[Sequence[Any]]) -> dict[int, Loaded]:
        """The definitions in rows that were fetched: uid, version, the job's id, payload and its size."""
        found: dict[int, Loaded] = {}
        for uid, version, job_id, payload, size in rows:
            if payload is None and size is not None:
                payload = Oversized(size)
            loaded = self.codec.decode(text(job_id) or "", payload, import_func=self._import_func)
            record = loaded.record
            record.uid, record.version = uid, version
            found[uid] = loaded
            if loaded.reason is None:
                self.kept.put(uid, record, size or 0)
        return found

    def worth_keeping(self, entries: Iterable[JobEntry], payloads: Iterable[bytes], now_us: int) -> dict[str, Fresh]:
        """Of new jobs those that are due soon and need not be read back once they are stored, as far as there is room, by id."""
        room, room_bytes = self.kept.room()
        soon_us = now_us + SOON_US
        fresh: dict[str, Fresh] = {}
        for (job, _, _, due_us, _, _), payload in zip(entries, payloads, strict=True):
            if due_us is None or due_us > soon_us or not is_value(job):
                continue
            room_bytes -= len(payload)
            if len(fresh) >= room or room_bytes < 0:
                break
            fresh[job.id] = job, len(payload)
        return fresh

    def keep(self, fresh: dict[str, Fresh], uids: Sequence[tuple[int, str]]) -> None:
        """Those are stored now. Only after the commit: another thread may be looking already."""
        refs: dict[int, str] = {}
        for uid, job_id in uids:
            job, size = fresh[job_id]
            self.kept.put(uid, as_read_back(job, uid, refs), size)

    def is_same(self, cursor: Any, uid: int, version: int, job: JobRecord) -> bool:
        """Whether a row's definition is still the one that ``job`` was read from."""
        if isinstance(job, StoredRecord) and job.version:
            return (job.uid, job.version) == (uid, version)
        cursor.execute(self._sql.payload, (uid,))
        return bool(cursor.fetchone()[0] == self.codec.encode(job))

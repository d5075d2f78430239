"""Run records in Redis: under which keys they are, how they are listed, and how old ones go.

A record's key is made of the job's id, the fire time, the attempt and the job's uid, in this order, so that one sorted set has
those of each job together and by time, in the order of its members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schedcore.jobstores._documents_doc import unpack_record
from schedcore.jobstores._redis_owner import OwnedKeys
from schedcore.run import RunRecord, RunState

__all__ = ["FAILED", "RECORD_BYTES", "History", "read_text", "record_key"]

FAILED = frozenset({RunState.FAILED, RunState.LOST})
# Records looked at in one go for a page of history.
_PAGE = 500
#: Bytes of a run record at most: its texts are far shorter, each by itself. What is longer is none of ours.
RECORD_BYTES = 1024 * 1024
# Added to fire times, all of which have as many digits then: as texts they have their order.
_DIGITS = 4 * 10**17


def record_key(job_id: str, uid: str, fire_us: int, attempt: int) -> str:
    """The key of a record. (No id of a job has a NUL.)"""
    return f"{job_id}\0{fire_us + _DIGITS}:{attempt}:{uid}"


def read_text(text: object) -> RunRecord | None:
    """A record as the script ``GET`` gave it; None for what is none."""
    return unpack_record(text) if isinstance(text, bytes) else None


class History(OwnedKeys):
    """The hash ``…:runs`` of the records, and what they are found by."""

    _get: Any  #: the script ``GET``

    def _name_history(self) -> None:
        self._runs_key = f"{self._jobs_key}:runs"
        self._by_time_key = f"{self._runs_key}:by_time"
        self._by_job_key = f"{self._runs_key}:by_job"
        self._failed_key = f"{self._runs_key}:failed"
        # In the order of the scripts.
        self._history_keys = [self._runs_key, self._by_time_key, self._by_job_key, self._failed_key]

    def _recorded(self, job_id: str, keys: Sequence[tuple[str, int]], attempt: int = 1) -> set[tuple[str, int]]:
        found = self._redis.hmget(self._runs_key, [record_key(job_id, uid, fire_us, attempt) for uid, fire_us in keys])
        return {key for key, record in zip(keys, found, strict=True) if record is not None}

    def _delete_records(self, before_us: int, limit: int) -> int:
        old = self._redis.zrangebyscore(self._by_time_key, "-inf", f"({before_us}", 0, limit)
        if old:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hdel(self._runs_key, *old)
            # Last where they are found, so that nothing is left that was not deleted everywhere.
            for key in (self._by_job_key, self._failed_key, self._by_time_key):
                pipeline.zrem(key, *old)
            pipeline.execute()
        return len(old)

    def _fetch_history(self, job_id: str | None, failed: bool, limit: int) -> list[RunRecord]:
        if job_id is not None:
            limit = min(limit, self._history_limit)
        found: list[RunRecord] = []
        first = 0
        while len(found) < limit:
            keys = self._latest(job_id, failed, first)
            if not keys:
                break
            first += len(keys)
            for text in self._get(keys=[self._runs_key], args=[RECORD_BYTES, *keys]):
                record = read_text(text)
                if record is not None and not (failed and record.state not in FAILED):
                    found.append(record)
        return found[:limit]

    def _latest(self, job_id: str | None, failed: bool, first: int) -> list[bytes]:
        """The keys of a page of records, latest fire time first."""
        keys: list[bytes]
        if job_id is None:
            by = self._failed_key if failed else self._by_time_key
            keys = self._redis.zrange(by, first, first + _PAGE - 1, desc=True)
        else:
            name = job_id.encode()
            keys = self._redis.zrevrangebylex(self._by_job_key, b"(%b\1" % name, b"[%b\0" % name, first, _PAGE)
        return keys

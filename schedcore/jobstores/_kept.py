"""The definitions that a job store keeps in memory, so that a due job costs no look at its payload.

There are so many at most, and their payloads have so many bytes together: whoever has thousands of jobs with a megabyte of
arguments has not all of them in memory. The one that has been there longest goes first.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from schedcore.jobstores._payload import StoredRecord
from schedcore.locks import ShortLock

__all__ = ["Kept"]

#: Definitions that are kept, and bytes that all of their payloads have.
MOST = 10_000
MOST_BYTES = 32_000_000

K = TypeVar("K")


class Kept(Generic[K]):
    """Definitions by what their store knows them by. From any thread.

    A signal handler may use it in the midst of any use, and may raise. Python lets it where a function is called or returns: so
    nothing is called between a change of what is kept and of what is counted, nor between a look and what is done about it.
    """

    __slots__ = ("_bytes", "_lock", "records")

    def __init__(self) -> None:
        #: Those that are kept, to be looked at and not to be changed.
        self.records: dict[K, StoredRecord] = {}
        self._bytes = 0
        self._lock = ShortLock()

    def put(self, key: K, record: StoredRecord, size: int) -> None:
        """Keep a definition whose payload has so many bytes."""
        with self._lock:
            if key in self.records:
                self._bytes -= self.records[key].size
            record.size = size
            self.records[key] = record
            self._bytes += size
            # The last one stays, however large it is: it may be the only job there is, and run each second.
            while len(self.records) > 1 and (len(self.records) > MOST or self._bytes > MOST_BYTES):
                for earliest in self.records:
                    self._bytes -= self.records[earliest].size
                    del self.records[earliest]
                    break

    def room(self) -> tuple[int, int]:
        """How many more definitions, and bytes, there is room for."""
        return MOST - len(self.records), MOST_BYTES - self._bytes

    def drop(self, key: K) -> None:
        """Forget one of them, if it is there."""
        with self._lock:
            if key in self.records:
                self._bytes -= self.records[key].size
                del self.records[key]

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._bytes = 0
            self.records.clear()

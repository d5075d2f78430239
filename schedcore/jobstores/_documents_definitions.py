"""The definitions of jobs in a store of documents: read from their payloads once, so that a due job costs no look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from schedcore.job import JobRecord
from schedcore.jobstores._documents_doc import Doc, Past
from schedcore.jobstores._kept import Kept
from schedcore.jobstores._payload import Codec, Loaded, Oversized, as_read_back, is_value

__all__ = ["Definitions"]

_new = tuple.__new__  # half the cost of a NamedTuple's own constructor


class Definitions:
    """What the jobs of documents are. ``fetch``: the payloads of documents that were fetched without, by id."""

    def __init__(
        self,
        codec: Codec,
        fetch: Callable[[Sequence[Doc]], Mapping[str, bytes | Oversized | None]],
        *,
        import_func: bool,
    ) -> None:
        self._codec = codec
        self._fetch = fetch
        self._import_func = import_func
        self._kept: Kept[str] = Kept()  # by uid

    def load(self, docs: Sequence[Doc]) -> dict[str, Loaded]:
        """The definitions of documents by id, from memory or from their payloads."""
        kept = self._kept.records
        found: dict[str, Loaded] = {}
        missing: list[Doc] = []
        for doc in docs:
            job_id = doc[0]
            record = kept.get(doc[2])
            # Somebody may have copied a document under another id.
            if record is not None and record.version == doc[3] and record[0] == job_id:
                found[job_id] = _new(Loaded, (record, None))
            else:
                missing.append(doc)
        bare = [doc for doc in missing if doc.payload is None]
        payloads = self._fetch(bare) if bare else {}
        for doc in missing:
            payload = payloads.get(doc.id) if doc.payload is None else doc.payload
            loaded = self._codec.decode(doc.id, payload, import_func=self._import_func)
            loaded.record.uid, loaded.record.version = doc.uid, doc.version
            found[doc.id] = loaded
            if loaded.reason is None:
                self._kept.put(doc.uid, loaded.record, len(payload) if isinstance(payload, bytes) else 0)
        return found

    def load_past(self, job_id: str, past: Past) -> Loaded | None:
        """The definition of a job that is over; None for one that was removed."""
        return None if past.payload is None else self._codec.decode(job_id, past.payload)

    def keep(self, added: Iterable[tuple[Doc, JobRecord]]) -> None:
        """Of jobs that were just added most definitions need not be read back."""
        refs: dict[int, str] = {}
        room, room_bytes = self._kept.room()
        for doc, job in added:
            size = len(doc.payload) if isinstance(doc.payload, bytes) else 0
            if room > 0 and size <= room_bytes and is_value(job):
                self._kept.put(doc.uid, as_read_back(job, doc.uid, refs), size)
                room, room_bytes = room - 1, room_bytes - size

    def forget(self, uid: str) -> None:
        """A job was changed or removed."""
        self._kept.drop(uid)

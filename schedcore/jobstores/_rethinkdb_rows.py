"""The rows of RethinkDB: what is written in them, and what is read of them.

What is read is picked on the server, by name and type, so that rows which were altered cost no more than others, and nothing
comes that the driver cannot decode.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from rethinkdb import r  # type: ignore[import-untyped, unused-ignore]

from schedcore.job import JobState
from schedcore.jobstores._documents_decided import decided, pack_decided, record_key
from schedcore.jobstores._documents_doc import Change, pack_record
from schedcore.jobstores._rethinkdb_terms import field, number, revision, text
from schedcore.run import RunRecord, RunState

__all__ = [
    "ANY_LENGTH",
    "Row",
    "is_ours",
    "job_row",
    "key_of",
    "length_of",
    "picked",
    "picked_whole",
    "placed",
    "record_row",
    "without_decided",
]

Row = dict[str, Any]

#: Longer than anything is.
ANY_LENGTH = 1 << 40
_FAILED = frozenset({RunState.FAILED, RunState.LOST})


def key_of(text: str) -> str:
    """The key of what has a name of any length: keys end at 127 characters."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


# -- written ---------------------------------------------------------------------------------------------------------------


def job_row(change: Change, token: str, *, anew: bool) -> Row:
    """A document. ``token``: of the batch that writes it. ``anew``: of an id that is taken; its revision fits none that was read
    before.
    """
    doc = change.doc
    row = {
        "id": key_of(doc.id),
        "job": doc.id,
        "rev": secrets.randbits(40) + 1 if anew else doc.revision,
        "doc": doc.pack(),
        "elapsed": doc.elapsed,
    }
    if doc.uid:
        row |= {"idle": doc.id} if doc.due_us is None else {"due_us": doc.due_us}
    if doc.live or doc.past:
        row["alive"] = True
    if doc.uid and doc.state is JobState.BROKEN:
        row["broken"] = True
    if isinstance(doc.payload, bytes) and not change.keeps_payload:
        row["payload"] = r.binary(doc.payload)
    if records := decided([change]):
        row["decided"] = {"w": token, "records": pack_decided(records), "gone": doc.empty}
    return row


def without_decided(row: Any) -> Any:
    """A document whose records of decisions were moved; null, which deletes it, if nothing else is in it."""
    return r.branch(row["decided"]["gone"].default(False).eq(True), None, row.without("decided"))


def record_row(uid: str, record: RunRecord, token: str) -> Row:
    """A run that is over, or fire times that were skipped. ``token``: of the batch that writes it."""
    row: Row = {
        "id": record_key(uid, record),
        "w": token,
        "key": key_of(record.job_id),
        "job": record.job_id,
        "fire_us": record.fire_us,
        "attempt": record.attempt,
        "record": pack_record(record),
    }
    if record.state in _FAILED:
        row["failed"] = True
    return row


def length_of(row: Row) -> int:
    """About the bytes that a row takes in a query."""
    payload = row.get("payload")
    binary = 0 if payload is None else len(payload.base64_data)
    records = len(row["decided"]["records"]) if "decided" in row else 0
    return 1000 + binary + records + sum(len(value) for value in row.values() if isinstance(value, str))


# -- read ------------------------------------------------------------------------------------------------------------------


def placed(row: Any, most: int) -> Row:
    """Of a job's row, whose it is, and where in time. ``most``: characters of a text."""
    return {"id": text(row, "id"), "job": text(row, "job", most=most), "due_us": number(row, "due_us")}


def picked(row: Any, most: int) -> Row:
    """All that is read of a job's row, but for the payload."""
    return {
        **placed(row, most),
        "rev": revision(row),
        "doc": text(row, "doc", most=most),
        "elapsed": field(row, "elapsed").eq(True),
        "decided": field(row, "decided").ne(None),
    }


def picked_whole(row: Any, most: int, most_bytes: int) -> Row:
    """The same with the payload; of one that is too large to be read, its size."""

    def payload(value: Any) -> Any:
        size = value.count()
        return r.branch(value.type_of().ne("PTYPE<BINARY>"), None, size.le(most_bytes), value, size)

    return {**picked(row, most), "payload": field(row, "payload").do(payload)}


def is_ours(row: Mapping[str, Any]) -> bool:
    """Whether a row is under its job's key: one under another is nobody's."""
    return bool(row["id"] == key_of(row["job"]))

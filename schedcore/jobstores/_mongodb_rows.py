"""The documents of MongoDB's collections: what is written in them, and what is read of them."""

from __future__ import annotations

from typing import Any, TypeGuard

from bson import Int64

from schedcore.job import JobState
from schedcore.jobstores._documents_decided import record_key
from schedcore.jobstores._documents_doc import DAMAGED, Doc, unpack_doc
from schedcore.jobstores._outcome import storable
from schedcore.run import RunRecord, RunState

__all__ = [
    "IS_DUE",
    "IS_TEXT",
    "JOB_FIELDS",
    "PAYLOAD_BYTES",
    "RECORD_FIELDS",
    "SHORT_RECORD",
    "Row",
    "fitting",
    "is_revision",
    "job_fields",
    "plain",
    "read_job",
    "record_row",
]

Row = dict[str, Any]

RECORD_FIELDS = RunRecord._fields[1:]
_FAILED = frozenset({RunState.FAILED, RunState.LOST})
# What is written with 64 bits, however small it is: one type makes an order.
_INSTANTS = frozenset(name for name in RunRecord._fields if name.endswith("_us"))

_LEAST_US = -(1 << 62)
#: Due at some time: what is not a whole number is nobody's due time.
IS_DUE: Row = {"$gte": Int64(_LEAST_US), "$type": [16, 18]}
#: No job has an id of another kind. Left among the others, such rows would stand for the earliest of them.
IS_TEXT: Row = {"$type": "string"}


# -- written ---------------------------------------------------------------------------------------------------------------

# A document may have 16 MiB, of which what is not a definition needs few.
_DOCUMENT_BYTES = 15 * 1024 * 1024
#: Of a definition. When the job is over, its document has it as text, twice as long, until its last runs are over too.
PAYLOAD_BYTES = 7 * 1024 * 1024


def fitting(doc: Doc, *, keeps_payload: bool) -> Doc:
    """A document as it can be written: the definitions of earlier jobs are left out that have no room beside the job's own, and
    their runs are not made again.
    """
    if not doc.past:
        return doc
    own = len(doc.payload) if isinstance(doc.payload, bytes) else PAYLOAD_BYTES if keeps_payload and doc.uid else 0
    if own + sum(2 * len(one.payload) for one in doc.past if one.payload is not None) <= _DOCUMENT_BYTES:
        return doc
    return doc._replace(past=tuple(one._replace(payload=None) for one in doc.past))


def job_fields(doc: Doc, token: str) -> Row:
    """A document, but for its payload and its revision: as text, what it is found by, and the token of the batch that writes it.
    A server takes its time for each field.
    """
    due_us = doc.due_us
    return {
        "doc": doc.pack(),
        "elapsed": doc.elapsed,
        "due_us": None if due_us is None else Int64(due_us),
        "state": str(doc.state) if doc.uid else "",
        "w": token,
    }


def record_row(uid: str, record: RunRecord) -> Row:
    """A record: of what it does not say there is no field."""
    row: Row = {
        name: Int64(value) if name in _INSTANTS else value
        for name, value in zip(RECORD_FIELDS, record[1:], strict=True)
        if value is not None
    }
    row |= {"_id": record_key(uid, record), "job": record.job_id, "state": str(record.state)}
    if record.reason is not None:
        row["reason"] = storable(str(record.reason))
    if record.state in _FAILED:
        row["failed"] = True
    return row


# -- read ------------------------------------------------------------------------------------------------------------------

#: What is fetched of a job, but for its payload.
JOB_FIELDS = {"rev": 1, "doc": 1, "elapsed": 1, "due_us": 1, "decided.w": 1}


def is_revision(value: object) -> TypeGuard[int]:
    # True is 1 here, and not for the server.
    return isinstance(value, int) and value is not True and 0 < value < 1 << 62


def read_job(row: Row) -> Doc:
    """A document. Where it does not say what it is found by, it becomes a broken job in the place where it is found."""
    job_id, revision, payload = row["_id"], row.get("rev"), row.get("payload")
    elapsed, due_us = row.get("elapsed"), row.get("due_us")
    text = row.get("doc")
    doc = unpack_doc(
        job_id,
        int(revision) if is_revision(revision) else 0,
        text if type(text) is str else "",
        payload if type(payload) is bytes else None,
    )
    place = None
    if type(elapsed) is bool and isinstance(due_us, int) and not isinstance(due_us, bool) and due_us >= _LEAST_US:
        place = int(due_us)
    if place != doc.due_us or (place is not None and elapsed is not doc.elapsed):
        return doc._replace(state=JobState.BROKEN, due_us=place, reason=doc.reason or DAMAGED)
    return doc


# Characters of a text that are fetched. Ours are far shorter; a row that somebody else wrote may hold any.
_LONGEST_TEXT = 2**20


def _short(name: str) -> Row:
    """A field as far as it is fetched: a number or nothing, the beginning of a text. Nothing else is in a record of ours.

    Which it is follows from the order of BSON: what is less than all texts is a number or nothing, and what is less than all
    objects besides, a text.
    """
    field = f"${name}"
    text = {"$cond": [{"$lt": [field, {"$literal": {}}]}, {"$substrCP": [field, 0, _LONGEST_TEXT]}, None]}
    return {"$cond": [{"$lt": [field, ""]}, field, text]}


#: What is fetched of a record.
SHORT_RECORD = {name: _short(name) for name in ("job", *RECORD_FIELDS)}


def plain(value: Any) -> Any:
    """What BSON gave, with whole numbers of Python's own type. Its depth is limited by the driver."""
    if type(value) is Int64:
        return int(value)
    if type(value) is list:
        return [plain(item) for item in value]
    if type(value) is dict:
        return {name: plain(item) for name, item in value.items()}
    return value

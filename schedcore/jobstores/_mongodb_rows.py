"""The documents of MongoDB's collections: what is written in them, and what is read of them."""

from __future__ import annotations

from typing import Any

from bson import Int64

from schedcore.jobstores._documents_doc import Doc
from schedcore.jobstores._outcome import storable
from schedcore.run import RunRecord, RunState

__all__ = ["RECORD_FIELDS", "SHORT_RECORD", "Row", "job_fields", "plain", "record_key", "record_row"]

Row = dict[str, Any]

RECORD_FIELDS = RunRecord._fields[1:]
_FAILED = frozenset({RunState.FAILED, RunState.LOST})
# What is written with 64 bits, however small it is: one type makes an order.
_INSTANTS = frozenset(name for name in (*Doc._fields, *RunRecord._fields) if name.endswith("_us"))


# -- written ---------------------------------------------------------------------------------------------------------------


def job_fields(doc: Doc) -> Row:
    """A document, but for its payload, its revision and who wrote it."""
    return {
        name: Int64(value) if name in _INSTANTS and value is not None else value
        for name, value in {**doc.fields(), "reason": storable(doc.reason)}.items()
    }


def record_key(uid: str, record: RunRecord) -> str:
    """The id of a record."""
    return f"{uid}:{record.fire_us}:{record.attempt}"


def record_row(uid: str, record: RunRecord, token: str) -> Row:
    """A record, of a batch's token: of what it does not say there is no field."""
    row: Row = {
        name: Int64(value) if name in _INSTANTS else value
        for name, value in zip(RECORD_FIELDS, record[1:], strict=True)
        if value is not None
    }
    row |= {"_id": record_key(uid, record), "w": token, "job": record.job_id, "state": str(record.state)}
    if record.reason is not None:
        row["reason"] = storable(str(record.reason))
    if record.state in _FAILED:
        row["failed"] = True
    return row


# -- read ------------------------------------------------------------------------------------------------------------------

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

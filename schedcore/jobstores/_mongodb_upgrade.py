"""Collections of MongoDB that an older release wrote, and how they become those of this one.

Version 1 had a field for each value of a document, a list of the batches that wrote it last, and an index for lists. The new
version is noted before anything is changed, so that no older release opens the collections any more, and beside it that they
are not done with, so that who is interrupted begins again: a document that was changed is not looked at a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bson import Int64
from pymongo import UpdateOne
from pymongo.collection import Collection

from schedcore.jobstores._chunks import CHUNK
from schedcore.jobstores._documents_doc import DAMAGED, read_doc
from schedcore.jobstores._mongodb_collections import SCHEMA_VERSION
from schedcore.jobstores._mongodb_rows import IS_TEXT, Row, is_revision, job_fields, plain

__all__ = ["is_done", "upgrade"]

_OLD_FIELDS: Row = dict.fromkeys(("v", "uid", "version", "fire_us", "reason", "last_us", "live", "past"), "")


def is_done(schema: Row) -> bool:
    """Whether all that is there is of this version."""
    return schema.get("version") == SCHEMA_VERSION and "unfinished" not in schema


def upgrade(jobs: Collection[Row], meta: Collection[Row], check_owner: Callable[[], None]) -> None:
    """Bring what is there to this version, which may be nothing. What was damaged is left as it is, and is damaged still."""
    meta.update_one({"_id": "schema"}, {"$set": {"version": SCHEMA_VERSION, "unfinished": True}}, upsert=True)
    ids: dict[str, Any] = dict(IS_TEXT)
    while rows := list(
        jobs.find({"_id": ids, "v": 1, "doc": {"$exists": False}}, {"payload": 0}).sort("_id", 1).limit(CHUNK)
    ):
        check_owner()
        changes = [change for row in rows if (change := _changed(row)) is not None]
        if changes:
            jobs.bulk_write(changes, ordered=False)
        ids["$gt"] = rows[-1]["_id"]
    if "page" in jobs.index_information():
        jobs.drop_index("page")
    meta.update_one({"_id": "schema"}, {"$unset": {"unfinished": ""}})


def _changed(row: Row) -> UpdateOne | None:
    """A new revision, so that no write of the older release fits that is still under way."""
    revision = row.get("rev")
    if not is_revision(revision):
        return None
    doc = read_doc(row["_id"], int(revision), plain(row), None)
    if doc.reason == DAMAGED and row.get("reason") != DAMAGED:
        return None
    fields = {**job_fields(doc, ""), "rev": Int64(revision + 1)}
    return UpdateOne({"_id": row["_id"], "rev": revision}, {"$set": fields, "$unset": _OLD_FIELDS})

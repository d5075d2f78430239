"""Run records in MongoDB: written, counted, cut and listed."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from bson import Int64
from pymongo import errors as mongo_errors

from schedcore.jobstores._documents_decided import Records, unpack_decided, with_decided
from schedcore.jobstores._documents_doc import Change, read_record
from schedcore.jobstores._mongodb_client import only_duplicates
from schedcore.jobstores._mongodb_collections import LATEST_FIRST
from schedcore.jobstores._mongodb_owner import OwnedCollections
from schedcore.jobstores._mongodb_rows import IS_TEXT, RECORD_FIELDS, SHORT_RECORD, Row, plain, record_row
from schedcore.run import RunRecord

__all__ = ["History"]

# Jobs whose number of records is kept in mind.
_COUNTED = 10_000
# Seconds from one look for records that are too many to the next: many jobs are counted as quickly as a few.
_CUT_EVERY_S = 1.0


class History(OwnedCollections):
    """The collection ``jobs_runs``."""

    def _reset(self) -> None:
        super()._reset()
        # How many more records jobs have than are kept.
        self._beyond: dict[str, int] = {}
        # Jobs that are to be counted, and when that may be (monotonic).
        self._many: set[str] = set()
        self._cut_at_s = 0.0

    def _take_over(self) -> None:
        super()._take_over()
        # Whether documents may have records that were not moved.
        self._unmoved = True

    def _write_records(self, records: Records) -> set[str]:
        """The keys of the records that were not there."""
        if not records:
            return set()
        rows = [record_row(uid, record) for uid, record in records]
        keys = [row["_id"] for row in rows]
        there: set[int] = set()
        try:
            self._history.insert_many(rows, ordered=False)
        except mongo_errors.BulkWriteError as error:
            there = only_duplicates(error)
        return {key for number, key in enumerate(keys) if number not in there}

    def _move(self, tokens: Sequence[str], records: Records) -> None:
        """Have records no longer in their documents. ``tokens``: of the batches that wrote them there."""
        self._write_records(records)
        self._jobs.update_many({"decided.w": {"$in": list(tokens)}}, {"$unset": {"decided": ""}})

    def _move_what_is_left(self) -> None:
        """Move what writes have left in documents that did not come to their end, whoever made them."""
        left = self._left({})
        if left:
            self._move([token for token, _ in left], [one for _, records in left for one in records])
        self._unmoved = False

    def _left(self, wanted: Row) -> list[tuple[str, Records]]:
        """What is left in such documents: the token of the batch that wrote it, and records."""
        rows = self._jobs.find({"decided.w": IS_TEXT, **wanted}, {"decided": 1})
        found = [row["decided"] for row in rows if type(row["decided"]) is dict]
        return [(one["w"], unpack_decided(one.get("records"))) for one in found]

    def _recorded(self, job_id: str, keys: Sequence[tuple[str, int]], attempt: int = 1) -> set[tuple[str, int]]:
        ids = {f"{uid}:{fire_us}:{attempt}": (uid, fire_us) for uid, fire_us in keys}
        found = self._history.find({"_id": {"$in": list(ids)}}, {"_id": 1})
        return {ids[row["_id"]] for row in found}

    def _cut(self, changes: Sequence[Change]) -> None:
        """Delete the oldest records of jobs that have a tenth more of them than they should.

        A job's are counted when a tenth of what is kept may be too many. After the start of a process nobody knows: then it is
        done at random, so that those of a job which never runs often enough are counted too, and not those of all jobs at once.
        """
        beyond, keep, many = self._beyond, self._history_limit, self._many
        often = keep // 10 + 1
        for change in changes:
            if change.records:
                job_id = change.doc.id
                if job_id not in beyond:
                    if len(beyond) >= _COUNTED:
                        del beyond[next(iter(beyond))]
                    beyond[job_id] = random.randrange(often)
                beyond[job_id] += len(change.records)
                if beyond[job_id] >= often:
                    many.add(job_id)
        if not many or time.monotonic() < self._cut_at_s:
            return
        group: Row = {"_id": "$job", "count": {"$sum": 1}}
        counts = {
            row["_id"]: row["count"]
            for row in self._history.aggregate([{"$match": {"job": {"$in": list(many)}}}, {"$group": group}])
        }
        old: list[Any] = []
        for job_id in many:
            beyond[job_id] = counts.get(job_id, 0) - keep
            if beyond[job_id] > 0:
                rows = (
                    self._history.find({"job": job_id}, {"_id": 1}).sort([("fire_us", -1), ("attempt", -1)]).skip(keep)
                )
                old += [row["_id"] for row in rows]
                beyond[job_id] = 0
        if old:
            self._history.delete_many({"_id": {"$in": old}})
        many.clear()
        self._cut_at_s = time.monotonic() + _CUT_EVERY_S

    def _delete_records(self, before_us: int, limit: int) -> int:
        old = self._history.find({"fire_us": {"$lt": Int64(before_us)}}, {"_id": 1}).sort("fire_us", 1).limit(limit)
        ids = [row["_id"] for row in old]
        if ids:
            self._history.delete_many({"_id": {"$in": ids}})
        return len(ids)

    def _fetch_history(self, job_id: str | None, failed: bool, limit: int) -> list[RunRecord]:
        wanted: Row = {}
        if failed:
            wanted["failed"] = True
        if job_id is not None:
            wanted["job"] = job_id
            limit = min(limit, self._history_limit)
        if limit < 1:
            return []
        # These first: none is missed that is moved in between.
        left = self._left({} if job_id is None else {"_id": job_id})
        unmoved = [one for _, records in left for one in records]
        first: list[Row] = [{"$match": wanted}, {"$sort": dict(LATEST_FIRST)}, {"$limit": limit}]
        rows = self._history.aggregate([*first, {"$project": SHORT_RECORD}])
        records = [
            (row["_id"], read_record([row.get("job"), *(plain(row.get(name)) for name in RECORD_FIELDS)]))
            for row in rows
            if type(row["_id"]) is str  # what others write may have anything there
        ]
        return with_decided([(key, record) for key, record in records if record is not None], unmoved, failed, limit)

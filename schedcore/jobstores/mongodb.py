"""Jobs in MongoDB (5.0 or later), through pymongo. What is kept, and why a run is made once, is in ``_documents``.

**Collections**, all of them named after the first. ``jobs``: a document for each job id. ``jobs_runs``: one for each record of
a run that is over, or of fire times that were skipped (``_mongodb_history``); its id is made of the job's uid, the fire time
and the attempt. ``jobs_meta``: schema version, notes, and who has the store open. Indexes and version are in
``_mongodb_collections``, the way from an older version in ``_mongodb_upgrade``, what is in a document in ``_mongodb_rows``, and
the driver's errors in ``_mongodb_client``.

**Writing.** No transaction is needed, so that a single server without replica set will do: what has to change together is in
one document, which MongoDB writes atomically. A write names the revision that it replaces. A batch is one unordered bulk write,
or several of at least 500 documents, two of them under way at once; the server tells how many documents matched, not which. Each
document therefore keeps the token of the batch that wrote it last (``w``): when some did not match, the tokens are read back.
Records of runs that ended are written before the document, and taken back if that is refused; those of decisions are written in
it, and moved (``_documents_decided``). Deleting is a write like any other, to an empty document, which is then deleted by its
token. A job that takes an id anew begins with a revision of its own, so that nobody's outdated one fits. A write that was not
answered may be made later, by a server that was busy or stopped: before such documents are read again their revisions grow, after
which it fits no more.

Jobs added together are refused together. Where a write of theirs fails, what the others added is taken back before anything is
read again; but a process that dies, or closes the store, before that leaves them.

**The owner** is a document with a name, the time of its last renewal and their number (``_mongodb_owner``). The time is set by
the server (``$currentDate``), and judged by the server's clock; who takes it compares name and number. A thread renews it,
three times in each lease. For half a lease it is one's own without being looked at, so that a write is one command; then a
write renews it first. The half is over when either clock says so, because the wall clock goes on while a machine sleeps. A
process that is paused in front of its write for longer than a lease may still make it after somebody else took over, and so may
one whose server's clock was set forward, until its thread is told: documents that the new owner has written since refuse it,
and what it decides about the others is on record, so no fire time is decided about twice. How often anybody took the store is
counted, so that who takes it again knows whether somebody else may have had it meanwhile: then what was claimed is dropped, and
what is live is another scheduler's.

**What is acknowledged** is on the disks of a majority (``w="majority"``, ``j=True``) and is read as such, unless the client
says otherwise. Reads go to the primary.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from schedcore.errors import ConfigurationError, JobStoreError, MissingExtraError
from schedcore.jobstores._chunks import CHUNK, chunks
from schedcore.jobstores._documents_decided import decided, ended, pack_decided, record_key
from schedcore.jobstores._documents_doc import Change, Doc, is_text
from schedcore.jobstores._lanes import in_two_lanes
from schedcore.jobstores._owner import OwnNames, Renewal
from schedcore.jobstores.base import StoreTraits
from schedcore.serializers.base import Serializer

try:
    from bson import Int64
    from pymongo import InsertOne, MongoClient, UpdateOne
    from pymongo import errors as mongo_errors

    from schedcore.jobstores._mongodb_client import (
        client_of_users,
        explained,
        make_client,
        only_duplicates,
        with_timeouts,
    )
    from schedcore.jobstores._mongodb_collections import EARLIEST_FIRST, SCHEMA_VERSION
    from schedcore.jobstores._mongodb_history import History
    from schedcore.jobstores._mongodb_rows import (
        IS_DUE,
        IS_TEXT,
        JOB_FIELDS,
        PAYLOAD_BYTES,
        Row,
        fitting,
        is_revision,
        job_fields,
        read_job,
    )
    from schedcore.jobstores._mongodb_upgrade import is_done, upgrade
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'mongodb'", "mongodb") from error

__all__ = ["SCHEMA_VERSION", "MongoDBJobStore"]

# Of a batch, at most: each is on the disks before it is answered, which takes as long for few documents as for many.
_PIECES = 8
# On one of the two timelines.
_ON_A_TIMELINE: Row = {"elapsed": {"$in": [False, True]}, "due_us": IS_DUE}
# That there is a job, and not only what is left of one.
_IS_A_JOB: Row = {"state": {"$ne": ""}, "_id": IS_TEXT}


def _named(ids: Sequence[str]) -> Iterable[Row]:
    """Which documents: so many at a time that a command has room for them, however many were added together."""
    return ({"_id": {"$in": some}} for some in chunks(ids))


def _new_token() -> str:
    """For a batch: 64 random bits as hexadecimal digits."""
    return os.urandom(8).hex()


class MongoDBJobStore(History):
    """Keeps jobs and runs in a MongoDB database.

    :param database: the name of the database.
    :param collection: the name of the collection of jobs, and what the names of the others begin with.
    :param client: a ``pymongo.MongoClient``, or text such as ``"module:name"`` that leads to one, in the place of
        ``connect_args``. It is never closed, and waits for an answer as long as it was made to: give it a ``socketTimeoutMS``.
    :param connect_args: arguments for ``pymongo.MongoClient``: ``host`` (a name or a URI), ``port``, ``username``, … Without them
        it is the server on this machine. ``serverSelectionTimeoutMS``, ``connectTimeoutMS`` and ``socketTimeoutMS`` are 10 s
        unless given.

    ``serializer``, ``pickle_protocol``, ``signing_key``, ``allowed_refs``, ``history``, ``history_age`` and ``read_only`` are as
    for ``SQLAlchemyJobStore``.
    """

    traits = StoreTraits(blocking=True, durable=True)
    _writes_at_once: ClassVar[bool] = False
    _keeper: ClassVar[str] = "MongoDB"
    _payload_limit: ClassVar[int | None] = PAYLOAD_BYTES

    def __init__(
        self,
        database: str = "schedcore",
        collection: str = "jobs",
        client: MongoClient[Any] | str | None = None,
        pickle_protocol: int | None = None,
        *,
        serializer: str | Serializer = "json",
        signing_key: bytes | str | Sequence[bytes | str] | None = None,
        allowed_refs: Iterable[str] | None = None,
        history: int = 100,
        history_age: float | None = 30 * 86400.0,
        read_only: bool = False,
        **connect_args: Any,
    ) -> None:
        super().__init__(
            serializer=serializer,
            pickle_protocol=pickle_protocol,
            signing_key=signing_key,
            allowed_refs=allowed_refs,
            history=history,
            history_age=history_age,
            read_only=read_only,
        )
        for name, value in (("database", database), ("collection", collection)):
            if not value or not is_text(value):
                raise ConfigurationError(f"{name} must be text, not {value!r}")
        self._database = database
        self._collection = collection
        self._connect_args = with_timeouts(connect_args)
        self._given = None if client is None else client_of_users(client, connect_args)
        probe = make_client(self._connect_args) if self._given is None else self._given
        try:
            self._use(probe)
        except ConfigurationError:
            raise
        except (mongo_errors.PyMongoError, TypeError, ValueError) as error:
            raise ConfigurationError(f"there can be no such database or collection: {error}") from error
        finally:
            if self._given is None:
                probe.close()
        self._names_of_mine = OwnNames()
        self._new_name()

    def _reset(self) -> None:
        super()._reset()
        # What stands where a whole number should, in documents that were altered: their revision counts as 0.
        self._odd: dict[str, Any] = {}
        # Ids of documents whose last write may have been made, or be made yet.
        self._doubtful: set[str] = set()
        # What was to be added together and failed, with its token: some of it may be there.
        self._halfway: tuple[Sequence[Change], str] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (database={self._database!r}, collection={self._collection!r})>"

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._new_name()
        schema = self._connect()
        # All that was there may have gone while a scheduler had it open, the version too: what it then wrote is ours.
        ours = [{"doc": IS_TEXT, "w": IS_TEXT}, {"uid": IS_TEXT, "w": {"$exists": True}}]
        if schema is None and self._jobs.find_one({"$nor": ours}, {"_id": 1}) is not None:
            raise JobStoreError(
                self._alias,
                f"the collection {self._collection!r} is there, and was not written by schedcore; give another one",
            )
        self._take()
        if schema is None or not is_done(schema):
            upgrade(self._jobs, self._meta, self._check_owner)
        self._make_indexes()
        self._settle()
        self._jobs.delete_many({"alive": {"$type": "string"}, "decided": {"$exists": False}})
        self._renewal = Renewal(self._renew, self._alias)

    def _open_to_read(self) -> None:
        schema = self._connect()
        if schema is None:
            raise self._nothing_there(f"in {self._database}.{self._collection}")
        if not is_done(schema):
            raise JobStoreError(
                self._alias,
                f"the collection {self._collection!r} is of an older release of schedcore; a scheduler that opens it changes it "
                f"to schema version {SCHEMA_VERSION}",
            )

    def _begin_use(self) -> None:
        super()._begin_use()
        if self._halfway is not None:
            changes, token = self._halfway
            done = self._written_by(token, [change.doc.id for change in changes])
            self._undo([change for change in changes if change.doc.id in done], token)
            self._halfway = None

    def _settle(self) -> None:
        """Before anything is read back: let no write find its revision any more whose answer did not come, and move the records
        that are left in documents.
        """
        if self._doubtful:
            for these in _named(list(self._doubtful)):
                self._jobs.update_many({**these, "rev": {"$type": [16, 18]}}, {"$inc": {"rev": 1}})
            self._doubtful.clear()
        if self._unmoved and not self._read_only:
            self._move_what_is_left()

    def _close(self) -> None:
        self._leave()
        if self._given is None:
            self._client.close()

    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        return explained(error)

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _docs_of(self, rows: Iterable[Row]) -> list[Doc]:
        """Rows as documents. Those whose id is no text are nobody's: no job has such an id."""
        return [self._doc(row) for row in rows if type(row["_id"]) is str]

    def _doc(self, row: Row) -> Doc:
        job_id, revision = row["_id"], row.get("rev")
        if is_revision(revision):
            self._odd.pop(job_id, None)
        else:
            self._odd[job_id] = revision
        if "decided" in row:
            self._unmoved = True
        return read_job(row)

    def _fetch(self, ids: Sequence[str]) -> Mapping[str, Doc]:
        if not ids:
            return {}
        self._settle()
        for job_id in ids:
            self._odd.pop(job_id, None)
        # In one answer, as below: by itself a server gives 101 first, and the others when it is asked again.
        found = self._jobs.find({"_id": {"$in": list(ids)}}, {**JOB_FIELDS, "payload": 1}).batch_size(len(ids))
        return {doc.id: doc for doc in self._docs_of(found)}

    def _fetch_due(self, elapsed: bool, upto_us: int, limit: int) -> Sequence[Doc]:
        self._settle()
        due = {"elapsed": elapsed, "due_us": {"$lte": Int64(upto_us)}, "_id": IS_TEXT}
        found = self._jobs.find(due, JOB_FIELDS).sort(EARLIEST_FIRST).limit(limit).batch_size(limit)
        return self._docs_of(found)

    def _fetch_earliest(self, elapsed: bool, limit: int) -> Sequence[tuple[int, str]]:
        due = {"elapsed": elapsed, "due_us": IS_DUE, "_id": IS_TEXT}
        found = self._jobs.find(due, {"due_us": 1}).sort(EARLIEST_FIRST).limit(limit)
        return [
            (int(row["due_us"]), row["_id"])
            for row in found
            if isinstance(row["due_us"], int) and type(row["_id"]) is str
        ]

    def _fetch_page(self, after: tuple[int | None, str] | None, limit: int | None) -> Sequence[Doc]:
        docs: list[Doc] = []
        if after is None or after[0] is not None:
            wanted: Row = {**_ON_A_TIMELINE, **_IS_A_JOB}
            if after is not None and after[0] is not None:
                at = Int64(after[0])
                wanted["due_us"] = {**IS_DUE, "$gte": at}
                wanted["$or"] = [{"due_us": {"$gt": at}}, {"_id": {"$gt": after[1]}}]
            docs = self._docs_of(self._jobs.find(wanted, JOB_FIELDS).sort(EARLIEST_FIRST).limit(limit or 0))
            if limit is not None and len(docs) >= limit:
                return docs
            after = None
        wanted = {"$nor": [_ON_A_TIMELINE], **_IS_A_JOB}
        if after is not None:
            wanted["_id"] = {**IS_TEXT, "$gt": after[1]}
        left = 0 if limit is None else limit - len(docs)
        return docs + self._docs_of(self._jobs.find(wanted, JOB_FIELDS).sort("_id", 1).limit(left))

    def _fetch_live(self) -> Sequence[Doc]:
        self._settle()
        return self._docs_of(self._jobs.find({"alive": True}, JOB_FIELDS))

    def _fetch_broken(self) -> Sequence[Doc]:
        return self._docs_of(self._jobs.find({"state": "broken"}, JOB_FIELDS))

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change], together: bool) -> Sequence[bool]:
        if not changes:
            return []
        self._settle()
        self._check_owner()
        token = _new_token()
        recorded = self._write_records(ended(changes))
        self._unmoved = bool(decided(changes))
        try:
            written = self._write_docs(changes, token)
            if not all(written):
                refused = [change for change, done in zip(changes, written, strict=True) if not done]
                keys = recorded & {record_key(uid, record) for change in refused for uid, record in change.records}
                if keys:
                    self._history.delete_many({"_id": {"$in": list(keys)}})
                if together:
                    self._undo([change for change, done in zip(changes, written, strict=True) if done], token)
                    return written
        except BaseException:
            if together and len(changes) > 1:
                self._halfway = changes, token
            raise
        if self._unmoved:
            self._move([token], decided([change for change, done in zip(changes, written, strict=True) if done]))
            self._unmoved = False
        self._jobs_deleted(changes, token)
        self._cut(changes)
        return written

    def _refuses_in_one_step(self, ids: Sequence[str]) -> bool:
        # What is known to be odd is replaced, as long as nobody looks again.
        return super()._refuses_in_one_step(ids) and self._odd.keys().isdisjoint(ids)

    def _write_docs(self, changes: Sequence[Change], token: str) -> list[bool]:
        # The revision of an id that is taken anew fits none that was read before.
        first = Int64(int.from_bytes(os.urandom(5), "big") + 1)
        ids = [change.doc.id for change in changes]
        self._doubtful.update(ids)
        size = max(CHUNK, -(-len(changes) // _PIECES))
        written = sum(in_two_lanes(lambda piece: self._send(piece, token, first), chunks(changes, size)))
        self._doubtful.difference_update(ids)
        if written == len(changes):
            return [True] * len(changes)
        done = self._written_by(token, ids)
        return [job_id in done for job_id in ids]

    def _written_by(self, token: str, ids: Sequence[str]) -> set[str]:
        """Those of documents that a batch was the last to write."""
        return {row["_id"] for these in _named(ids) for row in self._jobs.find({**these, "w": token}, {"_id": 1})}

    def _send(self, changes: Sequence[Change], token: str, first: Int64) -> int:
        """Write documents, new ones with the revision ``first``; how many were, or 0 if it is not known. From two threads."""
        new: list[Row] = []
        updates: list[UpdateOne] = []
        for change in changes:
            old, doc, its_records, keeps_payload = change
            fields = job_fields(fitting(doc, keeps_payload=keeps_payload), token)
            unset: Row = {}
            if doc.empty:
                fields["alive"] = token
            elif doc.live or doc.past:
                fields["alive"] = True
            else:
                unset["alive"] = ""
            if doc.payload is None and not keeps_payload:
                unset["payload"] = ""
            elif not keeps_payload:
                fields["payload"] = doc.payload
            if its_records and (records := decided([change])):
                fields["decided"] = {"w": token, "records": pack_decided(records)}
            if not old and doc.id not in self._odd:
                fields["_id"], fields["rev"] = doc.id, first
                new.append(fields)
                continue
            fields["rev"] = Int64(doc.revision)
            update: Row = {"$set": fields}
            if unset:
                update["$unset"] = unset
            expected = Int64(old) if old else {"$eq": self._odd[doc.id]}
            updates.append(UpdateOne({"_id": doc.id, "rev": expected}, update))
        try:
            if updates:
                result = self._jobs.bulk_write([*map(InsertOne, new), *updates], ordered=False)
                return result.matched_count + result.inserted_count
            # As a bulk write of one it takes the driver a quarter longer.
            if len(new) == 1:
                self._jobs.insert_one(new[0])
            else:
                self._jobs.insert_many(new, ordered=False)
            return len(new)
        except mongo_errors.DuplicateKeyError:
            return 0
        except mongo_errors.BulkWriteError as error:
            only_duplicates(error)
            return 0

    def _jobs_deleted(self, changes: Sequence[Change], token: str) -> None:
        """Delete what this batch has emptied."""
        empty = [change.doc.id for change in changes if change.doc.empty]
        if empty:
            self._jobs.delete_many({"_id": {"$in": empty}, "alive": token})

    def _undo(self, changes: Sequence[Change], token: str) -> None:
        """Take back jobs that were added together with one that could not be."""
        for these in _named([change.doc.id for change in changes if not change.doc.past]):
            self._jobs.delete_many({**these, "w": token})
        self._jobs.update_many({"decided.w": token}, {"$unset": {"decided": ""}})
        for change in changes:
            if change.doc.past:
                doc = Doc(change.doc.id, change.doc.revision + 1, past=change.doc.past)
                self._write_docs([Change(change.doc.revision, doc)], _new_token())

    # -- notes --------------------------------------------------------------------------------------------------------------

    def _fetch_note(self, name: str) -> str | None:
        found = self._meta.find_one({"_id": f"note: {name}"})
        value = None if found is None else found.get("value")
        return value if isinstance(value, str) else None

    def _write_note(self, name: str, value: str) -> None:
        self._meta.update_one({"_id": f"note: {name}"}, {"$set": {"value": value}}, upsert=True)

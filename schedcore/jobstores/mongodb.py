"""Jobs in MongoDB (5.0 or later), through pymongo. What is kept, and why a run is made once, is in ``_documents``.

**Collections**, all of them named after the first. ``jobs``: a document for each job id. ``jobs_runs``: one for each record of a
run that is over, or of fire times that were skipped; its id is made of the job's uid, the fire time and the attempt.
``jobs_meta``: schema version, notes, and who has the store open.

**Writing.** No transaction is needed, so that a single server without replica set will do: what has to change together is in one
document, which MongoDB writes atomically. A write names the revision that it replaces. A batch is one unordered bulk write, of
which the server tells how many documents matched, not which. Each document therefore keeps the tokens of the batches that
wrote it last (``w``): when some did not match, the tokens are read back. Records are written before the document, and taken
back if that is refused. Deleting is a write like any other, to an empty document, which is then deleted by its token. A job that
takes an id anew begins with a revision of its own, so that nobody's outdated one fits. A write that was not answered may be
made later, by a server that was busy or stopped: before such documents are read again their revisions grow, after which it
fits no more.

Jobs added together are refused together; but a process that dies between two documents leaves the ones before.

**The owner** is a document with a name, the time of its last renewal and their number. The time is set by the server
(``$currentDate``), and judged by the server's clock; who takes it compares name and number. A thread renews it, three times in
each lease. For half a lease it is one's own without being looked at, so that a write is one command; then a write renews it
first. The half is over when either clock says so, because the wall clock goes on while a machine sleeps. A process that is
paused in front of its write for longer than a lease may still make it after somebody else took over, and so may one whose
server's clock was set forward, until its thread is told: documents that the new owner has written since refuse it, and what it
decides about the others is on record, so no fire time is decided about twice.

**What is acknowledged** is on the disks of a majority (``w="majority"``, ``j=True``) and is read as such, unless the client says
otherwise. Reads go to the primary.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from schedcore.errors import ConfigurationError, JobStoreError, JobStoreInUseError, MissingExtraError, error_text
from schedcore.jobstores._clients import given_client
from schedcore.jobstores._documents import DocumentStore
from schedcore.jobstores._documents_doc import Change, Doc, read_doc, read_record
from schedcore.jobstores._outcome import storable
from schedcore.jobstores._owner import LEASE_S, Owner, Renewal, in_use, is_gone
from schedcore.jobstores.base import StoreTraits
from schedcore.run import RunRecord, RunState
from schedcore.serializers.base import Serializer

try:
    import pymongo
    from bson import CodecOptions, Int64
    from bson.errors import BSONError
    from pymongo import IndexModel, InsertOne, MongoClient, ReadPreference, UpdateOne, WriteConcern
    from pymongo import errors as mongo_errors
    from pymongo.collection import Collection
    from pymongo.read_concern import ReadConcern
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'mongodb'", "mongodb") from error

__all__ = ["SCHEMA_VERSION", "MongoDBJobStore"]

SCHEMA_VERSION = 1

_Row = dict[str, Any]

# Milliseconds. A server that does not answer for so long is away.
_TIMEOUT_MS = 10_000
# Seconds for letting go of the store, which ends by itself.
_RELEASE_S = 2.0
# Batches that a document remembers having been written by.
_TOKENS = 8
_DUPLICATE = 11000
_FAILED = frozenset({RunState.FAILED, RunState.LOST})
# Jobs whose number of records is kept in mind.
_COUNTED = 10_000
# Server errors that pass: not primary, shutting down, interrupted, too busy, out of time.
_PASSING = frozenset(
    {6, 7, 24, 50, 89, 91, 112, 134, 189, 202, 262, 317, 358, 384, 9001, 10107, 11600, 11602, 13388, 13435, 13436}
)
_LEAST_US = -(1 << 62)
# Due at some time: what is not a whole number is nobody's due time.
_IS_DUE: _Row = {"$gte": Int64(_LEAST_US), "$type": [16, 18]}
# No job has an id of another kind. Left among the others, such rows would stand for the earliest of them.
_IS_TEXT: _Row = {"$type": "string"}
_NOT_BULKY: _Row = {"payload": 0}
_RENEWED: _Row = {"$currentDate": {"at": True}, "$inc": {"renewals": 1}}
# When a lease was renewed that was not.
_NEVER = (-math.inf, -math.inf)
_EARLIEST_FIRST = [("due_us", 1), ("_id", 1)]
_LATEST_FIRST = [("fire_us", -1), ("job", -1), ("attempt", -1)]
_RECORD_FIELDS = RunRecord._fields[1:]
# Characters of a text that are fetched. Ours are far shorter; a row that somebody else wrote may hold any.
_LONGEST_TEXT = 2**20


def _short(name: str) -> _Row:
    """A field as far as it is fetched: a number or nothing, the beginning of a text. Nothing else is in a record of ours.

    Which it is follows from the order of BSON: what is less than all texts is a number or nothing, and what is less than all
    objects besides, a text.
    """
    field = f"${name}"
    text = {"$cond": [{"$lt": [field, {"$literal": {}}]}, {"$substrCP": [field, 0, _LONGEST_TEXT]}, None]}
    return {"$cond": [{"$lt": [field, ""]}, field, text]}


_SHORT_RECORD = {name: _short(name) for name in ("job", *_RECORD_FIELDS)}
# What is written with 64 bits, however small it is: one type makes an order.
_INSTANTS = frozenset(name for name in (*Doc._fields, *RunRecord._fields) if name.endswith("_us"))


class MongoDBJobStore(DocumentStore):
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
    # A document may have 16 MiB; what is not the payload needs some of them.
    _payload_limit: ClassVar[int | None] = 15 * 1024 * 1024

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
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"{name} must be text, not {value!r}")
        self._database = database
        self._collection = collection
        self._connect_args = _with_timeouts(connect_args)
        self._given = None if client is None else _given_client(client, connect_args)
        probe = _make_client(self._connect_args) if self._given is None else self._given
        try:
            self._use(probe)
        except ConfigurationError:
            raise
        except (mongo_errors.PyMongoError, TypeError, ValueError) as error:
            raise ConfigurationError(f"there can be no such database or collection: {error}") from error
        finally:
            if self._given is None:
                probe.close()
        self._owner = Owner()
        self._renewal: Renewal | None = None
        self._renewed = _NEVER

    def _use(self, client: MongoClient[Any]) -> None:
        """Collections of a client's, with what this store needs them to do, whatever the client's own options are."""
        concern = client.write_concern
        if not concern.acknowledged:
            raise ConfigurationError(
                "client: its writes are not acknowledged (w=0); a job store has to know what is written"
            )
        if concern.is_server_default:
            concern = WriteConcern("majority", wtimeout=_TIMEOUT_MS, j=True)
        majority = concern.document.get("w") == "majority"
        database = client.get_database(
            self._database,
            CodecOptions(unicode_decode_error_handler="replace"),
            ReadPreference.PRIMARY,
            concern,
            # What was not acknowledged by a majority could not be read back.
            ReadConcern("majority" if majority else "local"),
        )
        self._client = client
        self._jobs: Collection[_Row] = database[self._collection]
        self._history: Collection[_Row] = database[f"{self._collection}_runs"]
        self._meta: Collection[_Row] = database[f"{self._collection}_meta"]

    def _reset(self) -> None:
        super()._reset()
        # What stands where a whole number should, in documents that were altered: their revision counts as 0.
        self._odd: dict[str, Any] = {}
        # How many more records jobs have than are kept.
        self._beyond: dict[str, int] = {}
        # Ids of documents whose last write may have been made, or be made yet.
        self._doubtful: set[str] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (database={self._database!r}, collection={self._collection!r})>"

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._owner = Owner()
        there = self._connect()
        # All that was there may have gone while a scheduler had it open, the version too: what it then wrote is ours.
        if (
            not there
            and self._jobs.find_one({"$nor": [{"uid": _IS_TEXT, "w": {"$exists": True}}]}, {"_id": 1}) is not None
        ):
            raise JobStoreError(
                self._alias,
                f"the collection {self._collection!r} is there, and was not written by schedcore; give another one",
            )
        self._take()
        if not there:
            self._meta.update_one({"_id": "schema"}, {"$set": {"version": SCHEMA_VERSION}}, upsert=True)
        self._make_indexes()
        self._jobs.delete_many({"alive": {"$type": "string"}})
        self._renewal = Renewal(self._renew, self._alias)

    def _open_to_read(self) -> None:
        if not self._connect():
            raise self._nothing_there(f"in {self._database}.{self._collection}")

    def _connect(self) -> bool:
        """Whether there are collections of ours. Raises for those of another version."""
        if self._given is None:
            self._use(_make_client(self._connect_args))
        found = self._meta.find_one({"_id": "schema"})
        version = None if found is None else found.get("version")
        if found is not None and version != SCHEMA_VERSION:
            raise JobStoreError(
                self._alias,
                f"the collection {self._collection!r} has schema version {version!r}, and this release reads {SCHEMA_VERSION}",
            )
        return found is not None

    def _make_indexes(self) -> None:
        self._jobs.create_indexes(
            [
                IndexModel([("elapsed", 1), ("due_us", 1), ("_id", 1)], name="due"),
                IndexModel([("due_us", 1), ("_id", 1)], name="page"),
                IndexModel([("alive", 1)], name="alive", sparse=True),
                IndexModel([("state", 1)], name="broken", partialFilterExpression={"state": "broken"}),
            ]
        )
        self._history.create_indexes(
            [
                IndexModel([("job", 1), ("fire_us", -1), ("attempt", -1)], name="job"),
                IndexModel(_LATEST_FIRST, name="fire"),
                IndexModel([("failed", 1), *_LATEST_FIRST], name="failed", partialFilterExpression={"failed": True}),
            ]
        )

    def _take(self) -> None:
        mine = self._owner.text
        # The server's clock, and the only one that judges.
        self._meta.update_one({"_id": "clock"}, {"$currentDate": {"at": True}}, upsert=True)
        for _ in range(3):
            sent = _clocks()
            clock = self._meta.find_one({"_id": "clock"}) or {}
            holder = self._meta.find_one({"_id": "owner"})
            if holder is None:
                try:
                    self._meta.insert_one({"_id": "owner", "name": mine})
                except mongo_errors.DuplicateKeyError:
                    continue
                holder = {"name": mine}
                self._take_over()
                if self._renewal is not None:
                    self._make_indexes()  # they may have gone as well
            name, at = holder.get("name"), holder.get("at")
            if name != mine:
                try:
                    over = (clock["at"] - at).total_seconds() > LEASE_S
                except (KeyError, TypeError):
                    over = True
                if not (over or is_gone(str(name))):
                    raise self._in_use(name)
            seen = {"_id": "owner", "name": {"$eq": name}, "renewals": {"$eq": holder.get("renewals")}}
            if self._meta.update_one(seen, {"$set": {"name": mine}, **_RENEWED}).matched_count:
                self._renewed = sent
                if name != mine:
                    self._take_over()
                return
        holder = self._meta.find_one({"_id": "owner"}) or {}
        raise self._in_use(holder.get("name"))

    def _renew(self) -> None:
        sent = _clocks()
        mine = {"_id": "owner", "name": self._owner.text}
        if self._meta.update_one(mine, _RENEWED).matched_count:
            self._renewed = sent
        else:
            self._renewed = _NEVER
            self._take()

    def _check_owner(self) -> None:
        """Renew a lease that is half over. Raises if somebody else has taken the store."""
        if any(not 0 <= now - then < LEASE_S / 2 for now, then in zip(_clocks(), self._renewed, strict=True)):
            self._renew()

    def _settle(self) -> None:
        """Before anything is read back: let no write find its revision any more whose answer did not come."""
        if self._doubtful:
            wanted = {"_id": {"$in": list(self._doubtful)}, "rev": {"$type": [16, 18]}}
            self._jobs.update_many(wanted, {"$inc": {"rev": 1}})
            self._doubtful.clear()

    def _in_use(self, holder: object) -> JobStoreInUseError:
        place = f"in {self._database}.{self._collection}"
        return in_use(place, str(holder), "a collection", f"lease ends within {LEASE_S:.0f} s")

    def _close(self) -> None:
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()
        if not self._read_only:
            try:
                with pymongo.timeout(_RELEASE_S):
                    self._meta.delete_one({"_id": "owner", "name": self._owner.text})
            except mongo_errors.PyMongoError:
                pass  # it ends by itself
        if self._given is None:
            self._client.close()

    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        if isinstance(error, BSONError):
            return error_text(error), False
        if not isinstance(error, mongo_errors.PyMongoError):
            return None
        transient = isinstance(
            error,
            mongo_errors.ConnectionFailure | mongo_errors.ExecutionTimeout | mongo_errors.WTimeoutError,
        )
        if isinstance(error, mongo_errors.OperationFailure):
            details = error.details or {}
            codes = {error.code, *(one.get("code") for one in details.get("writeErrors", ()))}
            codes -= {None, 65, _DUPLICATE}  # 65: a bulk write, whose errors follow
            # What was not acknowledged in time by so many servers as it should be may have been written.
            transient |= bool(details.get("writeConcernErrors")) and not codes
            transient |= bool(codes) and codes <= _PASSING
            transient |= error.has_error_label("RetryableWriteError")
        return error_text(error), transient

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _docs_of(self, rows: Iterable[_Row]) -> list[Doc]:
        """Rows as documents. Those whose id is no text are nobody's: no job has such an id."""
        return [self._doc(row) for row in rows if type(row["_id"]) is str]

    def _doc(self, row: _Row) -> Doc:
        job_id, revision, written = row["_id"], row.get("rev"), row.get("w")
        # True is 1 here, and not for the server.
        if isinstance(revision, int) and revision is not True and 0 < revision < 1 << 62 and type(written) is list:
            revision = int(revision)
            self._odd.pop(job_id, None)
        else:
            self._odd[job_id] = revision
            revision = 0
        payload = row.pop("payload", None)
        return read_doc(job_id, revision, _plain(row), payload if type(payload) is bytes else None)

    def _fetch(self, ids: Sequence[str]) -> Mapping[str, Doc]:
        if not ids:
            return {}
        self._settle()
        for job_id in ids:
            self._odd.pop(job_id, None)
        # In one answer, as below: by itself a server gives 101 first, and the others when it is asked again.
        found = self._jobs.find({"_id": {"$in": list(ids)}}).batch_size(len(ids))
        return {doc.id: doc for doc in self._docs_of(found)}

    def _fetch_due(self, elapsed: bool, upto_us: int, limit: int) -> Sequence[Doc]:
        self._settle()
        due = {"elapsed": elapsed, "due_us": {"$lte": Int64(upto_us)}, "_id": _IS_TEXT}
        found = self._jobs.find(due, _NOT_BULKY).sort(_EARLIEST_FIRST).limit(limit).batch_size(limit)
        return self._docs_of(found)

    def _fetch_earliest(self, elapsed: bool, limit: int) -> Sequence[tuple[int, str]]:
        due = {"elapsed": elapsed, "due_us": _IS_DUE, "_id": _IS_TEXT}
        found = self._jobs.find(due, {"due_us": 1}).sort(_EARLIEST_FIRST).limit(limit)
        return [
            (int(row["due_us"]), row["_id"])
            for row in found
            if isinstance(row["due_us"], int) and type(row["_id"]) is str
        ]

    def _fetch_page(self, after: tuple[int | None, str] | None, limit: int | None) -> Sequence[Doc]:
        docs: list[Doc] = []
        if after is None or after[0] is not None:
            wanted: _Row = {"due_us": _IS_DUE, "uid": {"$ne": ""}, "_id": _IS_TEXT}
            if after is not None and after[0] is not None:
                at = Int64(after[0])
                wanted["$or"] = [{"due_us": {"$gt": at}}, {"due_us": at, "_id": {"$gt": after[1]}}]
            docs = self._docs_of(self._jobs.find(wanted, _NOT_BULKY).sort(_EARLIEST_FIRST).limit(limit or 0))
            if limit is not None and len(docs) >= limit:
                return docs
            after = None
        wanted = {"$nor": [{"due_us": _IS_DUE}], "uid": {"$ne": ""}, "_id": _IS_TEXT}
        if after is not None:
            wanted["_id"] = {"$gt": after[1]}
        left = 0 if limit is None else limit - len(docs)
        return docs + self._docs_of(self._jobs.find(wanted, _NOT_BULKY).sort("_id", 1).limit(left))

    def _fetch_live(self) -> Sequence[Doc]:
        self._settle()
        return self._docs_of(self._jobs.find({"alive": True}, _NOT_BULKY))

    def _fetch_broken(self) -> Sequence[Doc]:
        return self._docs_of(self._jobs.find({"state": "broken"}, _NOT_BULKY))

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change], together: bool) -> Sequence[bool]:
        if not changes:
            return []
        self._settle()
        self._check_owner()
        token = secrets.token_hex(8)
        self._write_records(changes, token)
        written = self._write_docs(changes, token)
        if not all(written):
            refused = [change for change, done in zip(changes, written, strict=True) if not done]
            keys = [_key(uid, record) for change in refused for uid, record in change.records]
            if keys:
                self._history.delete_many({"_id": {"$in": keys}, "w": token})
            if together:
                self._undo([change for change, done in zip(changes, written, strict=True) if done], token)
                return written
        self._jobs_deleted(changes, token)
        self._cut(changes)
        return written

    def _refuses_in_one_step(self, ids: Sequence[str]) -> bool:
        # What is known to be odd is replaced, as long as nobody looks again.
        return super()._refuses_in_one_step(ids) and self._odd.keys().isdisjoint(ids)

    def _write_docs(self, changes: Sequence[Change], token: str) -> list[bool]:
        requests: list[InsertOne[_Row] | UpdateOne] = []
        new: _Row | None = None
        for change in changes:
            old, doc, _, keeps_payload = change
            fields = doc.fields()
            fields["reason"] = storable(doc.reason)
            unset: _Row = {}
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
            fields = {
                name: Int64(value) if name.endswith("_us") and value is not None else value
                for name, value in fields.items()
            }
            if not old and doc.id not in self._odd:
                # The revision of an id that is taken anew fits none that was read before.
                first = Int64(secrets.randbits(40) + 1)
                new = {"_id": doc.id, "rev": first, "w": [token], **fields}
                requests.append(InsertOne(new))
                continue
            fields["rev"] = Int64(doc.revision)
            update: _Row = {"$set": fields}
            if unset:
                update["$unset"] = unset
            if old:
                update["$push"] = {"w": {"$each": [token], "$slice": -_TOKENS}}
                requests.append(UpdateOne({"_id": doc.id, "rev": Int64(old)}, update))
            else:
                fields["w"] = [token]
                requests.append(UpdateOne({"_id": doc.id, "rev": {"$eq": self._odd[doc.id]}}, update))
        ids = [change.doc.id for change in changes]
        self._doubtful.update(ids)
        try:
            if new is not None and len(changes) == 1:
                # As a bulk write of one it takes the driver a quarter longer.
                self._jobs.insert_one(new)
                self._doubtful.clear()
                return [True]
            result = self._jobs.bulk_write(requests, ordered=False)
            self._doubtful.clear()
            if result.matched_count + result.inserted_count == len(changes):
                return [True] * len(changes)
        except mongo_errors.DuplicateKeyError:
            self._doubtful.clear()
        except mongo_errors.BulkWriteError as error:
            _only_duplicates(error)
            self._doubtful.clear()
        found = self._jobs.find({"_id": {"$in": ids}, "w": token}, {"_id": 1})
        done = {row["_id"] for row in found}
        return [job_id in done for job_id in ids]

    def _jobs_deleted(self, changes: Sequence[Change], token: str) -> None:
        """Delete what this batch has emptied."""
        empty = [change.doc.id for change in changes if change.doc.empty]
        if empty:
            self._jobs.delete_many({"_id": {"$in": empty}, "alive": token})

    def _undo(self, changes: Sequence[Change], token: str) -> None:
        """Take back jobs that were added together with one that could not be."""
        new = [change.doc.id for change in changes if not change.doc.past]
        self._jobs.delete_many({"_id": {"$in": new}, "w": token})
        for change in changes:
            if change.doc.past:
                doc = Doc(change.doc.id, change.doc.revision + 1, past=change.doc.past)
                self._write_docs([Change(change.doc.revision, doc)], secrets.token_hex(8))

    def _write_records(self, changes: Sequence[Change], token: str) -> None:
        rows = [_row(uid, record, token) for change in changes for uid, record in change.records]
        if rows:
            try:
                self._history.insert_many(rows, ordered=False)
            except mongo_errors.BulkWriteError as error:
                _only_duplicates(error)

    def _recorded(self, job_id: str, keys: Sequence[tuple[str, int]], attempt: int = 1) -> set[tuple[str, int]]:
        ids = {f"{uid}:{fire_us}:{attempt}": (uid, fire_us) for uid, fire_us in keys}
        found = self._history.find({"_id": {"$in": list(ids)}}, {"_id": 1})
        return {ids[row["_id"]] for row in found}

    # -- history and notes --------------------------------------------------------------------------------------------------

    def _cut(self, changes: Sequence[Change]) -> None:
        """Delete the oldest records of jobs that have a tenth more of them than they should.

        A job's are counted when a tenth of what is kept may be too many. After the start of a process nobody knows: then it is
        done at random, so that those of a job which never runs often enough are counted too, and not those of all jobs at once.
        """
        beyond, keep = self._beyond, self._history_limit
        often = keep // 10 + 1
        many: list[str] = []
        for change in changes:
            if change.records:
                job_id = change.doc.id
                if job_id not in beyond:
                    if len(beyond) >= _COUNTED:
                        del beyond[next(iter(beyond))]
                    beyond[job_id] = random.randrange(often)
                beyond[job_id] += len(change.records)
                if beyond[job_id] >= often:
                    many.append(job_id)
        if not many:
            return
        group: _Row = {"_id": "$job", "count": {"$sum": 1}}
        counts = {
            row["_id"]: row["count"]
            for row in self._history.aggregate([{"$match": {"job": {"$in": many}}}, {"$group": group}])
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

    def _delete_records(self, before_us: int, limit: int) -> int:
        old = self._history.find({"fire_us": {"$lt": Int64(before_us)}}, {"_id": 1}).sort("fire_us", 1).limit(limit)
        ids = [row["_id"] for row in old]
        if ids:
            self._history.delete_many({"_id": {"$in": ids}})
        return len(ids)

    def _fetch_history(self, job_id: str | None, failed: bool, limit: int) -> list[RunRecord]:
        wanted: _Row = {}
        if failed:
            wanted["failed"] = True
        if job_id is not None:
            wanted["job"] = job_id
            limit = min(limit, self._history_limit)
        if limit < 1:
            return []
        first: list[_Row] = [{"$match": wanted}, {"$sort": dict(_LATEST_FIRST)}, {"$limit": limit}]
        rows = self._history.aggregate([*first, {"$project": _SHORT_RECORD}])
        records = [read_record([row.get("job"), *(_plain(row.get(name)) for name in _RECORD_FIELDS)]) for row in rows]
        return [record for record in records if record is not None]

    def _fetch_note(self, name: str) -> str | None:
        found = self._meta.find_one({"_id": f"note: {name}"})
        value = None if found is None else found.get("value")
        return value if isinstance(value, str) else None

    def _write_note(self, name: str, value: str) -> None:
        self._meta.update_one({"_id": f"note: {name}"}, {"$set": {"value": value}}, upsert=True)


def _key(uid: str, record: RunRecord) -> str:
    return f"{uid}:{record.fire_us}:{record.attempt}"


def _row(uid: str, record: RunRecord, token: str) -> _Row:
    """A record as it is written: of what it does not say there is no field."""
    row: _Row = {
        name: Int64(value) if name in _INSTANTS else value
        for name, value in zip(_RECORD_FIELDS, record[1:], strict=True)
        if value is not None
    }
    row |= {"_id": _key(uid, record), "w": token, "job": record.job_id, "state": str(record.state)}
    if record.reason is not None:
        row["reason"] = storable(str(record.reason))
    if record.state in _FAILED:
        row["failed"] = True
    return row


def _plain(value: Any) -> Any:
    """What BSON gave, with whole numbers of Python's own type. Its depth is limited by the driver."""
    if type(value) is Int64:
        return int(value)
    if type(value) is list:
        return [_plain(item) for item in value]
    if type(value) is dict:
        return {name: _plain(item) for name, item in value.items()}
    return value


def _only_duplicates(error: mongo_errors.BulkWriteError) -> None:
    """Raise it again unless all that went wrong is that something was there."""
    details = error.details or {}
    if details.get("writeConcernErrors") or any(
        one.get("code") != _DUPLICATE for one in details.get("writeErrors", ())
    ):
        raise error


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()


def _with_timeouts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the timeouts that neither they nor the URI among them say."""
    host = options.get("host")
    uri = " ".join(host if isinstance(host, list) else [str(host)]).lower()
    said = {name.lower() for name in options}
    timeouts = {
        name: _TIMEOUT_MS
        for name in ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS")
        if name.lower() not in said and name.lower() not in uri
    }
    return {**timeouts, **options}


def _make_client(options: Mapping[str, Any]) -> MongoClient[Any]:
    # Nothing is opened before something is asked.
    try:
        return MongoClient(**{**options, "connect": False})
    except (TypeError, ValueError, mongo_errors.PyMongoError) as error:
        raise ConfigurationError(f"the MongoDB client cannot be made: {error}") from error


def _given_client(client: MongoClient[Any] | str, options: Mapping[str, Any]) -> MongoClient[Any]:
    wanted = "a pymongo.MongoClient (not an asynchronous one)"
    found: MongoClient[Any] = given_client(client, options, lambda it: isinstance(it, MongoClient), wanted)
    return found

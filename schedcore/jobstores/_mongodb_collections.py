"""The collections of MongoDB: what the driver is to do for them, their indexes, and their version."""

from __future__ import annotations

from typing import Any

from bson import CodecOptions
from pymongo import IndexModel, MongoClient, ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern

from schedcore.errors import ConfigurationError, JobStoreError
from schedcore.jobstores._documents import DocumentStore
from schedcore.jobstores._mongodb_client import TIMEOUT_MS, make_client
from schedcore.jobstores._mongodb_rows import Row

__all__ = ["EARLIEST_FIRST", "LATEST_FIRST", "SCHEMA_VERSION", "Collections"]

SCHEMA_VERSION = 2

#: Orders that indexes have; the first among the jobs whose ``elapsed`` is the same.
EARLIEST_FIRST = [("due_us", 1), ("_id", 1)]
LATEST_FIRST = [("fire_us", -1), ("job", -1), ("attempt", -1)]


class Collections(DocumentStore):
    """``jobs``, ``jobs_runs`` and ``jobs_meta``, of a client of the user's or of one that is made when they are opened."""

    _database: str
    _collection: str
    _given: MongoClient[Any] | None
    _connect_args: dict[str, Any]

    def _use(self, client: MongoClient[Any]) -> None:
        """Collections of a client's, with what this store needs them to do, whatever the client's own options are."""
        concern = client.write_concern
        if not concern.acknowledged:
            raise ConfigurationError(
                "client: its writes are not acknowledged (w=0); a job store has to know what is written"
            )
        if concern.is_server_default:
            concern = WriteConcern("majority", wtimeout=TIMEOUT_MS, j=True)
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
        self._jobs: Collection[Row] = database[self._collection]
        self._history: Collection[Row] = database[f"{self._collection}_runs"]
        self._meta: Collection[Row] = database[f"{self._collection}_meta"]

    def _connect(self) -> Row | None:
        """What is said of the version of the collections, if they are there. Raises for those of a newer one."""
        if self._given is None:
            self._use(make_client(self._connect_args))
        return self._check_version()

    def _check_version(self) -> Row | None:
        found = self._meta.find_one({"_id": "schema"})
        version = None if found is None else found.get("version")
        if found is not None and version not in (1, SCHEMA_VERSION):
            raise JobStoreError(
                self._alias,
                f"the collection {self._collection!r} has schema version {version!r}, and this release reads {SCHEMA_VERSION}",
            )
        return found

    def _make_indexes(self) -> None:
        # A page of both timelines is read from "due" as well: the server merges what it has for each ``elapsed``.
        self._jobs.create_indexes(
            [
                IndexModel([("elapsed", 1), ("due_us", 1), ("_id", 1)], name="due"),
                IndexModel([("alive", 1)], name="alive", sparse=True),
                IndexModel([("state", 1)], name="broken", partialFilterExpression={"state": "broken"}),
                IndexModel([("decided.w", 1)], name="decided", sparse=True),
            ]
        )
        self._history.create_indexes(
            [
                IndexModel([("job", 1), ("fire_us", -1), ("attempt", -1)], name="job"),
                IndexModel(LATEST_FIRST, name="fire"),
                IndexModel([("failed", 1), *LATEST_FIRST], name="failed", partialFilterExpression={"failed": True}),
            ]
        )

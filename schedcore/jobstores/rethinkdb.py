"""Jobs in RethinkDB (2.4 or later), through its official driver. What is kept, and why a run is made once, is in ``_documents``.

**No server has run this yet**: it is written against the driver, and tested with an evaluator of the terms that it sends.

**Tables**, all of them named after the first. ``jobs``: a row for each job id, whose key is a hash of it, because keys end at
127 characters; the document as text, its revision, and the fields that indexes are made of. ``jobs_runs``: a row for each
record (``_rethinkdb_history``). ``jobs_meta``: schema version, notes, and who has the store open. They are made and checked in
``_rethinkdb_tables``; their rows are in ``_rethinkdb_rows``. A number has 53 bits: due times after the year 2255 are rounded in
indexes, and exact in the text. An index has the rows that have all of its fields.

**Writing.** RethinkDB writes a row atomically, and nothing more than a row. A write names the revision that it replaces, inside
the function of ``replace`` or of ``insert`` (``_rethinkdb_terms``), and the server says which rows it has changed. A batch is
one query, which begins with a look at the owner. Records of runs that ended are written before the document, and taken back if
that is refused; those of decisions are written in it, and moved (``_documents_decided``). A job that takes an id anew begins
with a revision of its own, so that nobody's outdated one fits. A write that was not answered may be made later: before such
rows are read again their revisions grow, after which it fits no more.

Jobs added together are refused together; but a process that dies between two rows leaves the ones before.

**The owner** is a row with a name and the end of its lease, compared and written in one step, by the server's clock
(``_rethinkdb_owner``). A batch that was under way when somebody else took over may still write: rows that the new owner has
written since refuse it, and what it decides about the others is on record, so no fire time is decided about twice.

**What is acknowledged** is on the disks of a majority, as tables are made, and read as such (``read_mode="majority"``).

**Waiting.** Nothing waits for a server without end, which the driver does (``_rethinkdb_connection``).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from schedcore.errors import ConfigurationError, JobStoreError, MissingExtraError, error_text
from schedcore.job import JobState
from schedcore.jobstores._documents_decided import decided, ended, record_key
from schedcore.jobstores._documents_doc import Change, Doc, unpack_doc
from schedcore.jobstores._owner import OwnNames, Renewal
from schedcore.jobstores._payload import Oversized
from schedcore.jobstores.base import StoreTraits
from schedcore.serializers.base import Serializer

try:
    from rethinkdb import errors as reql_errors  # type: ignore[import-untyped, unused-ignore]
    from rethinkdb import r  # type: ignore[import-untyped, unused-ignore]

    from schedcore.jobstores._rethinkdb_connection import Line, checked, given_connection
    from schedcore.jobstores._rethinkdb_history import History
    from schedcore.jobstores._rethinkdb_rows import (
        ANY_LENGTH,
        Row,
        is_ours,
        job_row,
        key_of,
        length_of,
        picked,
        picked_whole,
        placed,
    )
    from schedcore.jobstores._rethinkdb_tables import SCHEMA_VERSION
    from schedcore.jobstores._rethinkdb_terms import TEXT_LENGTH, inserted, replaced, text
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'rethinkdb'", "rethinkdb") from error

__all__ = ["SCHEMA_VERSION", "RethinkDBJobStore"]

# Seconds for letting go of the store, which ends by itself.
_RELEASE_S = 2.0
# Of a definition.
_PAYLOAD_BYTES = 10 * 1024 * 1024
# Of the characters of a document so many are payloads, twice as long, of earlier jobs whose runs are live still.
_PAST_PAYLOADS = 4
# Instants lie between them; what is no number, and no instant either, does not.
_LEAST_US, _TOP_US = -(1 << 62), 1 << 62
_DAMAGED = "its place in the schedule was altered; give it a trigger or a next run time"
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class RethinkDBJobStore(History):
    """Keeps jobs and runs in a RethinkDB database. No server has run it yet: see the module's docstring.

    :param database: the name of the database, which is made if it is not there.
    :param table: the name of the table of jobs, and what the names of the others begin with.
    :param client: a connection, as ``r.connect()`` gives it, or text such as ``"module:name"`` that leads to one, in the place
        of ``connect_args``. It is used by this store alone while that is open, opened again when it was cut or did not answer,
        and not closed in the end. Its ``timeout`` is how long it waits for an answer, too.
    :param connect_args: arguments for ``r.connect()``: ``host``, ``port``, ``user``, ``password``, ``ssl``, ``url``, … Without
        them it is the server on this machine. ``timeout``, for connections and for answers, is 10 s unless given.

    ``serializer``, ``pickle_protocol``, ``signing_key``, ``allowed_refs``, ``history``, ``history_age`` and ``read_only`` are as
    for ``SQLAlchemyJobStore``.
    """

    traits = StoreTraits(blocking=True, durable=True)
    _writes_at_once: ClassVar[bool] = False
    _keeper: ClassVar[str] = "RethinkDB"
    _payload_limit: ClassVar[int | None] = _PAYLOAD_BYTES

    def __init__(
        self,
        database: str = "schedcore",
        table: str = "jobs",
        client: Any = None,
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
        for name, value in (("database", database), ("table", table)):
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                raise ConfigurationError(f"{name} must be a name of letters, digits, - and _, not {value!r}")
        given = None if client is None else given_connection(client, connect_args)
        self._name_tables(database, table, Line(given, checked(connect_args)))
        self._names_of_mine = OwnNames()
        self._new_name()
        self._renewal = None
        self._had_by_others = False

    def _reset(self) -> None:
        super()._reset()
        # What stands where a revision should, in rows that were altered: their revision counts as 0.
        self._odd: dict[str, Any] = {}
        # Keys of rows whose last write may have been made, or be made yet.
        self._doubtful: set[str] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (database={self._database!r}, table={self._table!r})>"

    # -- opening and closing ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._new_name()
        self._had_by_others = False
        self._make_tables()
        there = self._is_there()
        if not there and not self._line.ask(self._read_jobs.is_empty()):
            raise JobStoreError(
                self._alias,
                f"the table {self._table!r} is there, and was not written by schedcore; give another one",
            )
        self._take()
        self._make_indexes()
        if not there:
            self._insert(self._meta, [{"id": "schema", "version": SCHEMA_VERSION}], conflict="replace")
        self._renewal = Renewal(self._take, self._alias)

    def _open_to_read(self) -> None:
        if not self._have_tables():
            raise self._nothing_there(f"in {self._database}.{self._table}")

    def _close(self) -> None:
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()
        self._line.close(None if self._read_only else self._leaving(), _RELEASE_S)

    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        if not isinstance(error, reql_errors.ReqlError | OSError):
            return None
        away = isinstance(error, reql_errors.ReqlDriverError | reql_errors.ReqlAvailabilityError | OSError)
        return error_text(error), away and not isinstance(error, reql_errors.ReqlAuthError)

    def _settle(self) -> None:
        """Before anything is read back: let no write find its revision any more whose answer did not come, and move the records
        that are left in documents.
        """
        if self._doubtful:
            rows = self._jobs.get_all(*self._doubtful).filter(lambda row: row["rev"].type_of().eq("NUMBER"))
            self._check(self._line.ask(rows.update(lambda row: {"rev": row["rev"].add(1)})))
            self._doubtful.clear()
        if self._unmoved and not self._read_only:
            self._move_what_is_left()

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _docs_of(self, rows: Any, *, payload: bool = False) -> list[Doc]:
        """Rows of a query as documents. One under another key than its job's is nobody's."""
        pick = self._picked_whole if payload else self._picked
        return [self._doc(row) for row in self._line.ask(rows.map(lambda row: pick(row))) if is_ours(row)]

    @property
    def _doc_length(self) -> int:
        most = self.codec.max_bytes
        return ANY_LENGTH if most is None else TEXT_LENGTH + _PAST_PAYLOADS * most

    def _placed(self, row: Any) -> Row:
        return placed(row, self._doc_length)

    def _picked(self, row: Any) -> Row:
        return picked(row, self._doc_length)

    def _picked_whole(self, row: Any) -> Row:
        return picked_whole(row, self._doc_length, self.codec.max_bytes or ANY_LENGTH)

    def _doc(self, row: Mapping[str, Any]) -> Doc:
        job_id, revision, payload = row["job"], row["rev"], row.get("payload")
        if isinstance(revision, int | float) and 0 < revision < 1 << 52 and revision == int(revision):
            revision = int(revision)
            self._odd.pop(job_id, None)
        else:
            self._odd[job_id] = revision
            revision = 0
        if row["decided"]:
            self._unmoved = True
        if payload is not None and not isinstance(payload, bytes):
            payload = Oversized(int(payload))
        doc = unpack_doc(job_id, revision, row["doc"], payload)
        # Indexes are what it is found by: they and the text say the same.
        due_us = row["due_us"]
        place = None if doc.due_us is None else float(doc.due_us)
        if place != due_us or (place is not None and doc.elapsed is not row["elapsed"]):
            due_us = None if due_us is None else int(due_us)
            return doc._replace(state=JobState.BROKEN, due_us=due_us, reason=doc.reason or _DAMAGED)
        return doc

    def _fetch(self, ids: Sequence[str]) -> Mapping[str, Doc]:
        if not ids:
            return {}
        self._settle()
        for job_id in ids:
            self._odd.pop(job_id, None)
        rows = self._read_jobs.get_all(*[key_of(job_id) for job_id in ids])
        return {doc.id: doc for doc in self._docs_of(rows, payload=True)}

    def _first(self, limit: int, rows_of: Any, pick: Callable[[Any], Row]) -> list[Row]:
        """What is picked of the first rows that are ours, however many others are among them."""
        count = limit
        while True:
            rows = self._line.ask(rows_of.limit(count).map(lambda row: pick(row)))
            ours = [row for row in rows if is_ours(row)]
            if len(ours) >= limit or len(rows) < count:
                return ours[:limit]
            count *= 2

    def _due(self, elapsed: bool, upto_us: int) -> Any:
        due = self._read_jobs.between([elapsed, _LEAST_US], [elapsed, upto_us, r.maxval], index="due")
        return due.order_by(index="due")

    def _fetch_due(self, elapsed: bool, upto_us: int, limit: int) -> Sequence[Doc]:
        self._settle()
        docs = [self._doc(row) for row in self._first(limit, self._due(elapsed, upto_us), self._picked)]
        # What was altered has no due time, and is set aside.
        docs = [doc._replace(due_us=None) if doc.state is JobState.BROKEN else doc for doc in docs]
        return [doc for doc in docs if doc.due_us is None or doc.due_us <= upto_us]

    def _fetch_earliest(self, elapsed: bool, limit: int) -> Sequence[tuple[int, str]]:
        rows = self._first(limit, self._due(elapsed, _TOP_US), self._placed)
        return [(int(row["due_us"]), row["job"]) for row in rows]

    def _fetch_page(self, after: tuple[int | None, str] | None, limit: int | None) -> Sequence[Doc]:
        docs: list[Doc] = []
        if after is None or after[0] is not None:
            first = [_LEAST_US] if after is None else [after[0], after[1]]
            docs = self._page_of("page", first, [_TOP_US], limit)
            if limit is not None and len(docs) >= limit:
                return docs
            after = None
        left = None if limit is None else limit - len(docs)
        return docs + self._page_of("idle", r.minval if after is None else after[1], r.maxval, left)

    def _page_of(self, index: str, first: Any, last: Any, limit: int | None) -> list[Doc]:
        rows = self._read_jobs.between(first, last, index=index, left_bound="open").order_by(index=index)
        if limit is None:
            return self._docs_of(rows)
        return [self._doc(row) for row in self._first(limit, rows, self._picked)]

    def _fetch_live(self) -> Sequence[Doc]:
        self._settle()
        return self._docs_of(self._read_jobs.get_all(True, index="alive"))

    def _fetch_broken(self) -> Sequence[Doc]:
        self._settle()
        return self._docs_of(self._read_jobs.get_all(True, index="broken"))

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change], together: bool) -> Sequence[bool]:
        if not changes:
            return []
        self._settle()
        token = secrets.token_hex(8)
        self._write_records(ended(changes), token)
        self._unmoved = bool(decided(changes))
        written = self._write_docs(changes, token)
        if not all(written):
            refused = [change for change, done in zip(changes, written, strict=True) if not done]
            keys = [record_key(uid, record) for change in refused for uid, record in change.records]
            if keys:
                self._check(self._line.ask(self._runs.get_all(*keys).filter({"w": token}).delete()))
            if together:
                self._undo([change for change, done in zip(changes, written, strict=True) if done])
                return written
        if self._unmoved:
            self._move(token, decided([change for change, done in zip(changes, written, strict=True) if done]))
            self._unmoved = False
        self._cut(change.doc.id for change in changes if change.records)
        return written

    def _refuses_in_one_step(self, ids: Sequence[str]) -> bool:
        # What is known to be odd is replaced, as long as nobody looks again.
        return super()._refuses_in_one_step(ids) and self._odd.keys().isdisjoint(ids)

    def _write_docs(self, changes: Sequence[Change], token: str) -> list[bool]:
        written: list[bool] = []
        some: list[tuple[Change, Row | None]] = []
        size = 0
        for change in changes:
            anew = not change.old and change.doc.id not in self._odd
            gone = change.doc.empty and not decided([change])
            row = None if gone else job_row(change, token, anew=anew)
            length = 0 if row is None else length_of(row)
            if some and size + length > self._query_bytes:
                written += self._write_some(some)
                some, size = [], 0
            some.append((change, row))
            size += length
        return written + self._write_some(some)

    def _write_some(self, changes: Sequence[tuple[Change, Row | None]]) -> list[bool]:
        """Write rows in one query; whether each was."""
        new: list[Row] = []
        others: dict[str, Row] = {}
        for (old, doc, _, keeps_payload), row in changes:
            if old or doc.id in self._odd:
                expected = old or self._odd[doc.id]
                others[key_of(doc.id)] = {"old": expected, "new": row, "keeps": keeps_payload}
            elif row is not None:
                new.append(row)
        keys = [key_of(change.doc.id) for change, _ in changes]
        self._doubtful.update(keys)
        parts = ([inserted(self._jobs, new)] if new else []) + ([replaced(self._jobs, others)] if others else [])
        results = self._if_mine(parts)
        for result in results:
            self._check(result)
        self._doubtful.difference_update(keys)
        added = set(results[0]["keys"]) if new else set()
        changed = set(results[-1]["keys"]) if others else set()
        return [
            key in (changed if change.old or change.doc.id in self._odd else added)
            for key, (change, _) in zip(keys, changes, strict=True)
        ]

    def _undo(self, changes: Sequence[Change]) -> None:
        """Take back jobs that were added together with one that could not be."""
        self._unmoved = False  # what is taken back is not to be moved before
        docs = self._fetch([change.doc.id for change in changes])
        mine = {change.doc.id: change.doc.uid for change in changes}
        self._write_docs(
            [
                Change(doc.revision, Doc(doc.id, doc.revision + 1, past=doc.past))
                for doc in docs.values()
                if doc.uid == mine[doc.id]
            ],
            secrets.token_hex(8),
        )

    # -- notes --------------------------------------------------------------------------------------------------------------

    def _fetch_note(self, name: str) -> str | None:
        found: str | None = self._line.ask(text(self._read_meta.get(key_of(f"note: {name}")), "value", None))
        return found

    def _write_note(self, name: str, value: str) -> None:
        row = {"id": key_of(f"note: {name}"), "name": name, "value": value}
        self._insert(self._meta, [row], conflict="replace")

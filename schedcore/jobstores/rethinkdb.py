"""Jobs in RethinkDB (2.4 or later), through its official driver. What is kept, and why a run is made once, is in ``_documents``.

**No server has run this yet**: it is written against the driver, and tested with an evaluator of the terms that it sends.

**Tables**, all of them named after the first. ``jobs``: a row for each job id, whose key is a hash of it, because keys end at
127 characters; the document as text, its revision, and the fields that indexes are made of. ``jobs_runs``: a row for each
record. ``jobs_meta``: schema version, notes, and who has the store open. A number has 53 bits: due times after the year
2255 are rounded in indexes, and exact in the text. An index has the rows that have all of its fields.

**Writing.** RethinkDB writes a row atomically, and nothing more than a row. A write names the revision that it replaces,
inside the function of ``replace`` or of ``insert``, and the server says which rows it has changed. A batch is one query, which
begins with a look at the owner. Records are written before the document, and taken back if that is refused. A job that takes
an id anew begins with a revision of its own, so that nobody's outdated one fits. A write that was not answered may be made
later: before such rows are read again their revisions grow, after which it fits no more.

Jobs added together are refused together; but a process that dies between two rows leaves the ones before.

**The owner** is a row with a name and the end of its lease, compared and written in one step, by the server's clock. A batch
that was under way when somebody else took over may still write: rows that the new owner has written since refuse it, and
what it decides about the others is on record, so no fire time is decided about twice.

**What is acknowledged** is on the disks of a majority, as tables are made, and read as such (``read_mode="majority"``).

**What is read** is picked on the server, by name and type, so that rows which were altered cost no more than others, and
nothing comes that the driver cannot decode.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from schedcore.errors import (
    ConfigurationError,
    JobStoreError,
    JobStoreInUseError,
    MissingExtraError,
    did_you_mean,
    error_text,
)
from schedcore.job import JobState
from schedcore.jobstores._clients import given_client
from schedcore.jobstores._documents import DocumentStore
from schedcore.jobstores._documents_doc import Change, Doc, pack_record, unpack_doc, unpack_record
from schedcore.jobstores._owner import LEASE_S, Owner, Renewal, in_use, is_gone
from schedcore.jobstores._payload import Oversized
from schedcore.jobstores.base import StoreTraits
from schedcore.run import RunRecord, RunState
from schedcore.serializers.base import Serializer

try:
    from rethinkdb import errors as reql_errors  # type: ignore[import-untyped, unused-ignore]
    from rethinkdb import net, r  # type: ignore[import-untyped, unused-ignore]
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store 'rethinkdb'", "rethinkdb") from error

__all__ = ["SCHEMA_VERSION", "RethinkDBJobStore"]

SCHEMA_VERSION = 1

_Row = dict[str, Any]

# Seconds. A server that does not answer for so long is away.
_TIMEOUT_S = 10
# Seconds for letting go of the store, which ends by itself.
_RELEASE_S = 2.0
_FAILED = frozenset({RunState.FAILED, RunState.LOST})
# Bytes of rows in one query, of which a server takes 64 MB.
_QUERY_BYTES = 16_000_000
# Of a definition.
_PAYLOAD_BYTES = 10 * 1024 * 1024
# Characters of a text at most, such as a run record: who wrote a longer one was not us.
_TEXT_LENGTH = 1024 * 1024
# The same of a document: what it says itself, and so many payloads, twice as long, of earlier jobs whose runs are live still.
_PAST_PAYLOADS = 4
_ANY_LENGTH = 1 << 40
# Jobs whose number of records is kept in mind.
_COUNTED = 10_000
# Instants lie between them; what is no number, and no instant either, does not.
_LEAST_US, _TOP_US = -(1 << 62), 1 << 62
_DAMAGED = "its place in the schedule was altered; give it a trigger or a next run time"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_OPTIONS = frozenset({"host", "port", "db", "auth_key", "user", "password", "timeout", "ssl", "url"})


class _Socket(net.SocketWrapper):  # type: ignore[misc, unused-ignore]
    """The driver's leaves a socket open whose other side has gone, and writes that to the error output."""

    _socket: Any

    def close(self) -> None:
        raw, self._socket = self._socket, None
        if raw is not None:
            raw.close()


class _Instance(net.ConnectionInstance):  # type: ignore[misc, unused-ignore]
    def connect(self, timeout: float) -> Any:
        self._socket = _Socket(self, timeout)
        return self._parent


class _Connection(net.Connection):  # type: ignore[misc, unused-ignore]
    """The driver's, whatever event loop it was told to use elsewhere in this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Instance, *args, **kwargs)


def _raw(connection: Any) -> Any:
    """A connection's socket; None: it has none."""
    instance = connection._instance
    wrapper = None if instance is None else instance._socket
    return None if wrapper is None else wrapper._socket


def _is_open(raw: Any) -> bool:
    """Whether a socket on which no answer is awaited is as it should be: open, and with nothing to read."""
    if raw is None:
        return False
    if isinstance(raw, ssl.SSLSocket):
        return True  # it cannot be looked at without reading
    try:
        raw.setblocking(False)
        raw.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _hang_up(connection: Any) -> None:
    """Close a connection, whatever state it is in. The driver can open it again."""
    raw = _raw(connection)
    if raw is not None:
        connection._instance._socket._socket = None
        raw.close()
    connection._instance = None


def _ask(connection: Any, term: Any, timeout_s: float) -> Any:
    """The result of a term: a value, or a list of rows. Raises what the driver raises.

    The driver's own way to ask waits for an answer without end.
    """
    raw = _raw(connection)
    end_s = time.monotonic() + timeout_s
    token = connection._new_token()
    query = net.Query(net.pQuery.START, token, term, {})
    rows: list[Any] = []
    try:
        while True:
            raw.settimeout(timeout_s)
            raw.sendall(query.serialize())
            said, length = struct.unpack("<qL", _receive(raw, 12, end_s))
            answer = net.Response(said, _receive(raw, length, end_s))
            if said != token:
                raise reql_errors.ReqlDriverError("the server answered something that was not asked")
            if answer.type == net.pResponse.SUCCESS_ATOM:
                return answer.data[0]
            if answer.type not in (net.pResponse.SUCCESS_SEQUENCE, net.pResponse.SUCCESS_PARTIAL):
                failure = answer.make_error(query)
                # Or its text would hold the whole query, with the definitions of jobs.
                failure.frames = None
                raise failure
            rows += answer.data
            if answer.type == net.pResponse.SUCCESS_SEQUENCE:
                return rows
            query = net.Query(net.pQuery.CONTINUE, token, None, None)
            end_s = time.monotonic() + timeout_s
    except TimeoutError as timed_out:
        raise reql_errors.ReqlTimeoutError from timed_out


def _receive(raw: Any, length: int, end_s: float) -> bytes:
    parts: list[bytes] = []
    while length:
        raw.settimeout(max(0.001, end_s - time.monotonic()))
        part = raw.recv(min(length, 1 << 20))
        if not part:
            raise reql_errors.ReqlDriverError("the server closed the connection")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


class RethinkDBJobStore(DocumentStore):
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
        self._database = database
        self._table = table
        self._given = None if client is None else _given_client(client, connect_args)
        self._connect_args = _checked(connect_args)
        self._connection: Any = self._given
        # One asks at a time: the store, or the thread that renews the lease.
        self._wire = threading.RLock()
        self._owner = Owner()
        self._renewal: Renewal | None = None
        place = r.db(database)
        self._jobs = place.table(table)
        self._runs = place.table(f"{table}_runs")
        self._meta = place.table(f"{table}_meta")
        self._read_jobs = place.table(table, read_mode="majority")
        self._read_runs = place.table(f"{table}_runs", read_mode="majority")
        self._read_meta = place.table(f"{table}_meta", read_mode="majority")

    def _reset(self) -> None:
        super()._reset()
        # What stands where a revision should, in rows that were altered: their revision counts as 0.
        self._odd: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        # Keys of rows whose last write may have been made, or be made yet.
        self._doubtful: set[str] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (database={self._database!r}, table={self._table!r})>"

    # -- the connection ---------------------------------------------------------------------------------------------------

    def _run(self, term: Any) -> Any:
        with self._wire:
            connection = self._connected()
            return self._asked(connection, term, connection.connect_timeout)

    def _connected(self) -> Any:
        connection = self._connection
        if connection is None:
            connection = self._connection = net.make_connection(_Connection, **self._connect_args)
        elif not _is_open(_raw(connection)):
            # It was cut while nobody used it.
            _hang_up(connection)
            connection.reconnect(noreply_wait=False)
        return connection

    def _asked(self, connection: Any, term: Any, timeout_s: float) -> Any:
        try:
            return _ask(connection, term, timeout_s)
        except reql_errors.ReqlRuntimeError:
            raise
        except BaseException:
            # What comes now may be the answer to this.
            _hang_up(connection)
            raise

    # -- opening and closing ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._owner = Owner()
        place = r.db(self._database)
        self._make(self._database, r.db_list(), r.db_create(self._database))
        for suffix in ("", "_runs", "_meta"):
            name = self._table + suffix
            self._make(name, place.table_list(), place.table_create(name))
            # Also one that somebody else has just made.
            self._run(place.table(name).wait(timeout=_TIMEOUT_S))
        there = self._is_there()
        if not there and not self._run(self._read_jobs.is_empty()):
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
        place = r.db(self._database)
        if (
            self._database not in self._run(r.db_list())
            or f"{self._table}_meta" not in self._run(place.table_list())
            or not self._is_there()
        ):
            raise self._nothing_there(f"in {self._database}.{self._table}")

    def _is_there(self) -> bool:
        """Whether there are tables of ours. Raises for those of another version."""
        schema = self._read_meta.get("schema")
        there, version = self._run(r.expr([schema.ne(None), _number(schema, "version")]))
        if there and version != SCHEMA_VERSION:
            raise JobStoreError(
                self._alias,
                f"the table {self._table!r} has schema version {version!r}, and this release reads {SCHEMA_VERSION}",
            )
        return bool(there)

    def _make(self, name: str, listing: Any, making: Any) -> None:
        """Make what is not there."""
        if name in self._run(listing):
            return
        try:
            self._run(making)
        except reql_errors.ReqlOpFailedError:
            # Mostly: somebody else was faster.
            if name not in self._run(listing):
                raise

    def _make_indexes(self) -> None:
        row = r.row
        of_jobs: dict[str, Any] = {
            "due": [row["elapsed"], row["due_us"], row["job"]],
            "page": [row["due_us"], row["job"]],
            "idle": row["idle"],
            "alive": row["alive"],
            "broken": row["broken"],
        }
        of_runs: dict[str, Any] = {
            "job": [row["key"], row["fire_us"], row["attempt"]],
            "fire": [row["fire_us"], row["job"], row["attempt"]],
            "failed": [row["failed"], row["fire_us"], row["job"], row["attempt"]],
        }
        for table, indexes in ((self._jobs, of_jobs), (self._runs, of_runs)):
            for name, function in indexes.items():
                self._make(name, table.index_list(), table.index_create(name, function))
            self._run(table.index_wait(*indexes).map(lambda status: status["index"]))

    def _take(self) -> None:
        mine = self._owner.text
        gone = ""
        for _ in range(2):
            self._check(self._run(self._taking(mine, gone)))
            name = self._holder()
            if name == mine:
                return
            if not is_gone(name):
                break
            gone = name
        raise self._in_use(name)

    def _taking(self, mine: str, gone: str) -> Any:
        """Write the owner's row if it may be taken, by the server's clock. A row that nobody of us wrote is nobody's."""

        def take_at(now: Any) -> Any:
            new = {"id": "owner", "name": mine, "until": now.add(LEASE_S)}

            def take(row: Any) -> Any:
                name, until = _field(row, "name"), _field(row, "until")
                over = r.branch(until.type_of().eq("PTYPE<TIME>"), until.lt(now), True)
                return r.branch(name.eq(mine), new, name.eq(gone), new, over, new, row)

            return self._meta.get("owner").replace(take)

        # Bound to a variable, it is a constant for the function of the write, which has to be one of its row alone.
        return r.now().do(take_at)

    def _holder(self) -> str:
        return str(self._run(_text(self._read_meta.get("owner"), "name")))

    def _in_use(self, holder: str) -> JobStoreInUseError:
        return in_use(f"in {self._database}.{self._table}", holder, "a table", f"lease ends within {LEASE_S:.0f} s")

    def _close(self) -> None:
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()
        with self._wire:
            connection = self._connection
            if connection is None:
                return
            mine = self._owner.text

            def leave(row: Any) -> Any:
                return r.branch(_field(row, "name").eq(mine), None, row)

            try:
                if not self._read_only and _is_open(_raw(connection)):
                    term = self._meta.get("owner").replace(leave)
                    self._asked(connection, term, min(_RELEASE_S, connection.connect_timeout))
            except (reql_errors.ReqlError, OSError):
                pass  # it ends by itself
            if self._given is None:
                _hang_up(connection)
                self._connection = None

    def _explain(self, error: Exception) -> tuple[str, bool] | None:
        if not isinstance(error, reql_errors.ReqlError | OSError):
            return None
        away = isinstance(error, reql_errors.ReqlDriverError | reql_errors.ReqlAvailabilityError | OSError)
        return error_text(error), away and not isinstance(error, reql_errors.ReqlAuthError)

    def _check(self, result: Mapping[str, Any]) -> None:
        """Raise if a write was not made: a server says so in its result."""
        if result.get("errors"):
            raise JobStoreError(self._alias, f"a write failed: {result.get('first_error')}", transient=True)

    def _settle(self) -> None:
        """Before anything is read back: let no write find its revision any more whose answer did not come."""
        if self._doubtful:
            rows = self._jobs.get_all(*self._doubtful).filter(lambda row: row["rev"].type_of().eq("NUMBER"))
            self._check(self._run(rows.update(lambda row: {"rev": row["rev"].add(1)})))
            self._doubtful.clear()

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _docs_of(self, rows: Any, *, payload: bool = False) -> list[Doc]:
        """Rows of a query as documents. One under another key than its job's is nobody's."""
        pick = self._picked_whole if payload else self._picked
        return [self._doc(row) for row in self._run(rows.map(lambda row: pick(row))) if _is_ours(row)]

    @property
    def _doc_length(self) -> int:
        most = self.codec.max_bytes
        return _ANY_LENGTH if most is None else _TEXT_LENGTH + _PAST_PAYLOADS * most

    def _placed(self, row: Any) -> _Row:
        """Of a job's row, whose it is, and where in time."""
        return {
            "id": _text(row, "id"),
            "job": _text(row, "job", most=self._doc_length),
            "due_us": _number(row, "due_us"),
        }

    def _picked(self, row: Any) -> _Row:
        """All that is read of a job's row, but for the payload."""
        return {
            **self._placed(row),
            "rev": _revision(row),
            "doc": _text(row, "doc", most=self._doc_length),
            "elapsed": _field(row, "elapsed").eq(True),
        }

    def _picked_whole(self, row: Any) -> _Row:
        """The same with the payload; of one that is too large to be read, its size."""
        most = self.codec.max_bytes or _ANY_LENGTH

        def payload(value: Any) -> Any:
            size = value.count()
            return r.branch(value.type_of().ne("PTYPE<BINARY>"), None, size.le(most), value, size)

        return {**self._picked(row), "payload": _field(row, "payload").do(payload)}

    def _doc(self, row: Mapping[str, Any]) -> Doc:
        job_id, revision, payload = row["job"], row["rev"], row.get("payload")
        if isinstance(revision, int | float) and 0 < revision < 1 << 52 and revision == int(revision):
            revision = int(revision)
            self._odd.pop(job_id, None)
        else:
            self._odd[job_id] = revision
            revision = 0
        if payload is not None and not isinstance(payload, bytes):
            payload = Oversized(int(payload))
        doc = unpack_doc(job_id, revision, row["doc"], payload)
        # Indexes are what it is found by: they and the text say the same.
        due_us = row["due_us"]
        placed = None if doc.due_us is None else float(doc.due_us)
        if placed != due_us or (placed is not None and doc.elapsed is not row["elapsed"]):
            due_us = None if due_us is None else int(due_us)
            return doc._replace(state=JobState.BROKEN, due_us=due_us, reason=doc.reason or _DAMAGED)
        return doc

    def _fetch(self, ids: Sequence[str]) -> Mapping[str, Doc]:
        if not ids:
            return {}
        self._settle()
        for job_id in ids:
            self._odd.pop(job_id, None)
        rows = self._read_jobs.get_all(*[_key(job_id) for job_id in ids])
        return {doc.id: doc for doc in self._docs_of(rows, payload=True)}

    def _first(self, limit: int, rows_of: Any, pick: Callable[[Any], _Row]) -> list[_Row]:
        """What is picked of the first rows that are ours, however many others are among them."""
        count = limit
        while True:
            rows = self._run(rows_of.limit(count).map(lambda row: pick(row)))
            ours = [row for row in rows if _is_ours(row)]
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
        self._write_records(changes, token)
        written = self._write_docs(changes)
        if not all(written):
            refused = [change for change, done in zip(changes, written, strict=True) if not done]
            keys = [_record_key(uid, record) for change in refused for uid, record in change.records]
            if keys:
                self._check(self._run(self._runs.get_all(*keys).filter({"w": token}).delete()))
            if together:
                self._undo([change for change, done in zip(changes, written, strict=True) if done])
                return written
        self._cut(change.doc.id for change in changes if change.records)
        return written

    def _refuses_in_one_step(self, ids: Sequence[str]) -> bool:
        # What is known to be odd is replaced, as long as nobody looks again.
        return super()._refuses_in_one_step(ids) and self._odd.keys().isdisjoint(ids)

    def _write_docs(self, changes: Sequence[Change]) -> list[bool]:
        written: list[bool] = []
        some: list[tuple[Change, _Row | None]] = []
        size = 0
        for change in changes:
            row = None if change.doc.empty else self._row(change)
            length = 0 if row is None else _length(row)
            if some and size + length > _QUERY_BYTES:
                written += self._write_some(some)
                some, size = [], 0
            some.append((change, row))
            size += length
        return written + self._write_some(some)

    def _write_some(self, changes: Sequence[tuple[Change, _Row | None]]) -> list[bool]:
        """Write rows in one query; whether each was."""
        new: list[_Row] = []
        others: dict[str, _Row] = {}
        for (old, doc, _, keeps_payload), row in changes:
            if old or doc.id in self._odd:
                expected = old or self._odd[doc.id]
                others[_key(doc.id)] = {"old": expected, "new": row, "keeps": keeps_payload}
            elif row is not None:
                new.append(row)
        keys = [_key(change.doc.id) for change, _ in changes]
        self._doubtful.update(keys)
        parts = ([_inserted(self._jobs, new)] if new else []) + ([_replaced(self._jobs, others)] if others else [])
        results = self._if_mine(parts)
        for result in results:
            self._check(result)
        self._doubtful.difference_update(keys)
        inserted = set(results[0]["keys"]) if new else set()
        replaced = set(results[-1]["keys"]) if others else set()
        return [
            key in (replaced if change.old or change.doc.id in self._odd else inserted)
            for key, (change, _) in zip(keys, changes, strict=True)
        ]

    def _if_mine(self, parts: Sequence[Any]) -> list[_Row]:
        """Do it if this is still the owner; a name that is gone altogether is taken again."""
        for _ in range(2):
            mine = _field(self._read_meta.get("owner"), "name").eq(self._owner.text)
            results = self._run(r.branch(mine, list(parts), None))
            if results is not None:
                return list(results)
            self._take()
        raise self._in_use(self._holder())

    def _row(self, change: Change) -> _Row:
        doc = change.doc
        # The revision of an id that is taken anew fits none that was read before.
        anew = not change.old and doc.id not in self._odd
        row = {
            "id": _key(doc.id),
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
        return row

    def _undo(self, changes: Sequence[Change]) -> None:
        """Take back jobs that were added together with one that could not be."""
        docs = self._fetch([change.doc.id for change in changes])
        mine = {change.doc.id: change.doc.uid for change in changes}
        self._write_docs(
            [
                Change(doc.revision, Doc(doc.id, doc.revision + 1, past=doc.past))
                for doc in docs.values()
                if doc.uid == mine[doc.id]
            ]
        )

    def _write_records(self, changes: Sequence[Change], token: str) -> None:
        rows: list[_Row] = []
        for change in changes:
            for uid, record in change.records:
                row = {
                    "id": _record_key(uid, record),
                    "w": token,
                    "key": _key(record.job_id),
                    "job": record.job_id,
                    "fire_us": record.fire_us,
                    "attempt": record.attempt,
                    "record": pack_record(record),
                }
                if record.state in _FAILED:
                    row["failed"] = True
                rows.append(row)
                if record.job_id in self._counts:
                    self._counts[record.job_id] += 1
        self._insert(self._runs, rows, conflict=lambda key, old, new: old)

    def _insert(self, table: Any, rows: Sequence[_Row], conflict: Any) -> None:
        some: list[_Row] = []
        size = 0
        for row in rows:
            if some and size + _length(row) > _QUERY_BYTES:
                self._check(self._run(table.insert(some, conflict=conflict)))
                some, size = [], 0
            some.append(row)
            size += _length(row)
        if some:
            self._check(self._run(table.insert(some, conflict=conflict)))

    def _recorded(self, job_id: str, keys: Sequence[tuple[str, int]], attempt: int = 1) -> set[tuple[str, int]]:
        if not keys:
            return set()
        ids = {f"{uid}:{fire_us}:{attempt}": (uid, fire_us) for uid, fire_us in keys}
        return {ids[key] for key in self._run(self._read_runs.get_all(*ids).map(lambda row: row["id"]))}

    # -- history and notes --------------------------------------------------------------------------------------------------

    def _of_job(self, table: Any, job_id: str) -> Any:
        key = _key(job_id)
        return table.between([key, r.minval], [key, r.maxval], index="job")

    def _cut(self, jobs: Iterable[str]) -> None:
        """Delete the oldest records of jobs that have a tenth more of them than they should."""
        ids, counts = list(jobs), self._counts
        unknown = [job_id for job_id in ids if job_id not in counts]
        if unknown:
            if len(counts) + len(unknown) > _COUNTED:
                counts.clear()
                unknown = ids
            found = self._run(r.expr([self._of_job(self._read_runs, job_id).count() for job_id in unknown]))
            counts.update(zip(unknown, map(int, found), strict=True))
        keep = self._history_limit
        for job_id in ids:
            if counts[job_id] > keep + keep // 10:
                old = self._of_job(self._runs, job_id).order_by(index=r.desc("job")).skip(keep)
                self._check(self._run(old.delete()))
                counts[job_id] = keep

    def _delete_records(self, before_us: int, limit: int) -> int:
        old = self._runs.between(r.minval, [before_us], index="fire").order_by(index="fire").limit(limit)
        self._counts.clear()
        result = self._run(old.delete())
        self._check(result)
        return int(result["deleted"])

    def _fetch_history(self, job_id: str | None, failed: bool, limit: int) -> list[RunRecord]:
        if limit < 1:
            return []
        if job_id is not None:
            rows = self._of_job(self._read_runs, job_id).order_by(index=r.desc("job"))
            if failed:
                rows = rows.filter({"failed": True})
            limit = min(limit, self._history_limit)
        elif failed:
            rows = self._read_runs.between([True, r.minval], [True, r.maxval], index="failed")
            rows = rows.order_by(index=r.desc("failed"))
        else:
            rows = self._read_runs.order_by(index=r.desc("fire"))
        records = [unpack_record(text) for text in self._run(rows.limit(limit).map(lambda row: _text(row, "record")))]
        return [record for record in records if record is not None]

    def _fetch_note(self, name: str) -> str | None:
        found: str | None = self._run(_text(self._read_meta.get(_key(f"note: {name}")), "value", None))
        return found

    def _write_note(self, name: str, value: str) -> None:
        row = {"id": _key(f"note: {name}"), "name": name, "value": value}
        self._insert(self._meta, [row], conflict="replace")


# -- terms ------------------------------------------------------------------------------------------------------------------


def _field(row: Any, name: str) -> Any:
    """A field; null if it, or the row, is not there."""
    return row[name].default(None)


def _text(row: Any, name: str, other: str | None = "", most: int = _TEXT_LENGTH) -> Any:
    """A field that is text, and not endless; else the other."""

    def text(value: Any) -> Any:
        return r.branch(value.type_of().ne("STRING"), other, value.count().le(most), value, other)

    return _field(row, name).do(text)


def _number(row: Any, name: str) -> Any:
    """A field that is a number; else null."""
    return _field(row, name).do(lambda value: r.branch(value.type_of().eq("NUMBER"), value, None))


def _revision(row: Any) -> Any:
    """A row's revision; of one that was altered, what stands there, as text."""
    return _field(row, "rev").do(lambda value: r.branch(value.type_of().eq("NUMBER"), value, value.to_json_string()))


def _inserted(table: Any, rows: Sequence[_Row]) -> Any:
    """Insert rows where none are; the keys of those that were."""
    result = table.insert(rows, conflict=lambda key, old, new: old, return_changes=True)
    return result.do(lambda result: _told(result, "new_val"))


def _replaced(table: Any, changes: Mapping[str, _Row]) -> Any:
    """Replace or delete rows whose revision is the old one; the keys of those that were."""

    def replace(changes: Any) -> Any:
        def change(row: Any) -> Any:
            wanted = changes[row["id"]]
            new = wanted["new"]
            made = r.branch(new.eq(None), None, wanted["keeps"], row.pluck("payload").merge(new), new)
            return r.branch(_revision(row).eq(wanted["old"]), made, row)

        result = table.get_all(*keys).replace(change, return_changes=True)
        return result.do(lambda result: _told(result, "old_val"))

    keys = list(changes)
    # Bound to a variable, it is evaluated once, and not for each row.
    return r.expr(dict(changes)).do(replace)


def _told(result: Any, which: str) -> Any:
    """What is to be known of a write's result: the keys of the rows that it changed, not the rows."""
    return {
        "errors": result["errors"],
        "first_error": _field(result, "first_error"),
        "keys": result["changes"].default([]).map(lambda change: change[which]["id"]),
    }


def _is_ours(row: Mapping[str, Any]) -> bool:
    return bool(row["id"] == _key(row["job"]))


def _length(row: _Row) -> int:
    """About the bytes that a row takes in a query."""
    payload = row.get("payload")
    binary = 0 if payload is None else len(payload.base64_data)
    return 1000 + binary + sum(len(value) for value in row.values() if isinstance(value, str))


def _key(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _record_key(uid: str, record: RunRecord) -> str:
    return f"{uid}:{record.fire_us}:{record.attempt}"


# -- options ----------------------------------------------------------------------------------------------------------------


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a connection, with a timeout wherever it is said."""
    for name in options:
        if name not in _OPTIONS:
            raise ConfigurationError(
                f"a RethinkDB connection has no option {name!r}{did_you_mean(name, sorted(_OPTIONS))}"
            )
    checked: dict[str, Any] = {"timeout": _TIMEOUT_S, **options}
    try:
        checked["timeout"] = float(checked["timeout"])
        if checked.get("port") is not None:
            checked["port"] = int(checked["port"])
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the RethinkDB connection cannot be made: {error}") from error
    if not checked["timeout"] > 0:
        raise ConfigurationError(f"timeout must be a number of seconds above 0, not {options['timeout']!r}")
    url = checked.get("url")
    if url and not parse_qs(urlsplit(url).query).get("timeout"):
        # The driver takes it from there alone, in whole seconds.
        checked["url"] = f"{url}{'&' if '?' in url else '?'}timeout={math.ceil(checked['timeout'])}"
    return checked


def _given_client(client: Any, options: Mapping[str, Any]) -> Any:
    wanted = "a connection of r.connect() (not an asynchronous one)"
    return given_client(client, options, lambda it: type(it) is net.DefaultConnection, wanted)

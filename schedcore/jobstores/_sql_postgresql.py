"""PostgreSQL through psycopg 3, for the SQL store.

A statement on many rows takes each of its columns as one array (``unnest``), or, of what is set to the same in all of them, that
value. The arrays are written as text, which costs a tenth of what the driver needs to look at each element.

The owner of the tables holds an advisory lock of a session of its own; the server gives it back when that session ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from schedcore.errors import MissingExtraError
from schedcore.jobstores._chunks import chunks
from schedcore.jobstores._sql_backend import Backend, Batch, Check, Many, Names, Ownership
from schedcore.jobstores._sql_server import ServerLock

try:
    import psycopg
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store on PostgreSQL", "postgresql") from error

__all__ = ["PostgreSQL"]

# Rows in one statement, and characters of values after which there is another one.
_ROWS = 5_000
_TEXT = 8_000_000
# Milliseconds that a statement waits for a lock, at most.
_LOCK_MS = 10_000

_CASTS = {"int": "bigint", "text": "text", "word": "text", "bytes": "bytea"}

# Those that hold every text.
_ENCODINGS = ("UTF8", "SQL_ASCII")

# Classes of SQLSTATE (and single ones) that a later try may not meet again: the connection; a conflict of transactions; the
# server's resources; interventions, a shutdown and timeouts among them; its system's errors.
_TRANSIENT = ("08", "40", "53", "57", "58", "55P03", "25P03", "25006", "23505")
_LOST = ("08", "57P01", "57P02", "57P03", "57P05", "25P03")
# What a server says before there is a connection has no code. These are nothing that time mends.
_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "is not permitted to log in")


class PostgreSQL(Backend):
    title = "PostgreSQL"
    longest_name = 63 - len("_schedule_due")
    dialects = ("postgresql",)
    driver = "psycopg"
    example = "postgresql+psycopg://user:password@host/database"
    due_with_payloads = True

    # -- engines ---------------------------------------------------------------------------------------------------------

    def connect_args(self, timeout_s: float) -> dict[str, Any]:
        ms = int(timeout_s * 1000)
        settings = {
            "statement_timeout": ms,
            "lock_timeout": min(ms, _LOCK_MS),
            "idle_in_transaction_session_timeout": 2 * ms,
        }
        return {
            "connect_timeout": max(2, min(10, int(timeout_s))),
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "application_name": "schedcore",
            # Whatever the database's own encoding is, which a session has by default.
            "client_encoding": "utf8",
        }

    def engine_args(self) -> dict[str, Any]:
        # Nothing here is of the type hstore, for which SQLAlchemy would ask the server.
        return {"isolation_level": "AUTOCOMMIT", "use_native_hstore": False}

    def given_engine(self, engine: sa.Engine) -> sa.Engine:
        # The same pool; but on connections that this store checks out, transactions begin when the store says so.
        return super().given_engine(engine).execution_options(isolation_level="AUTOCOMMIT")

    # -- tables ----------------------------------------------------------------------------------------------------------

    @property
    def key_type(self) -> sa.types.TypeEngine[Any]:
        # A database's own collation may call different ids equal, and has an order of its own.
        return sa.Unicode(255, collation="C")

    # -- statements ------------------------------------------------------------------------------------------------------

    def many(self, batch: Batch) -> Many:
        return _Many(batch).run

    def add_one(self, job: Batch, place: Batch) -> Callable[[Any, Sequence[Any]], int | None] | None:
        values = place.fill(place.values, lambda name: name if name == "uid" else "%s")
        text = (
            f"WITH j AS ({job.single('%s')} ON CONFLICT (id) DO NOTHING RETURNING uid) "
            f"INSERT INTO {place.table} ({place.into}) SELECT {values} FROM j RETURNING uid"
        )

        def run(cursor: Any, row: Sequence[Any]) -> int | None:
            cursor.execute(text, (*row[:2], row[0], *row[2:]))
            found = cursor.fetchone()
            return None if found is None else int(found[0])

        return run

    def by_keys(self, cursor: Any, statement: str, keys: Sequence[Any]) -> list[Any]:
        if not keys:
            return []
        ints = type(keys[0]) is int
        kind, write = ("bigint", _ints) if ints else ("text", _texts)
        text = statement.replace("IN (\0)", f"= ANY(%s::{kind}[])")
        found: list[Any] = []
        for some in chunks(keys, _ROWS):
            cursor.execute(text, (write(some),))
            found += cursor.fetchall()
        return found

    def cut(self, cursor: Any, names: Names, uids: Sequence[int], keep: int) -> None:
        # The subquery stands in the list: for each job it reads the index on its runs, and no more of it than it has to.
        cursor.execute(
            f"WITH d AS (SELECT p_uid, (SELECT fire_us FROM {names.runs} WHERE job_uid = p_uid "
            f"ORDER BY fire_us DESC LIMIT 1 OFFSET %s) AS least FROM unnest(%s::bigint[]) AS u (p_uid)) "
            f"DELETE FROM {names.runs} USING d WHERE job_uid = p_uid AND fire_us < least AND finished_us IS NOT NULL",
            (keep, _ints(uids)),
        )

    # -- transactions ----------------------------------------------------------------------------------------------------

    def begin_read(self, cursor: Any) -> None:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    def begin_write(self, cursor: Any, term: str | None, *, lasting: bool = True) -> str | None:
        # READ COMMITTED, whatever the default: an update that waited for another one compares the fence with what that one left.
        begin = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE"
        rest = "" if lasting else "; SET LOCAL synchronous_commit = off"
        if term is None:
            cursor.execute(f"{begin}{rest}", prepare=False)
            return None
        # All in one message.
        cursor.execute(f"{begin}; {term} FOR SHARE{rest}", prepare=False)
        cursor.nextset()
        row = cursor.fetchone()
        return None if row is None else str(row[0])

    def descriptor(self, connection: Any) -> int | None:
        with suppress(Exception):
            return int(connection.fileno())
        return None

    # -- errors ----------------------------------------------------------------------------------------------------------

    def explain(self, error: BaseException, url: sa.URL) -> tuple[str, bool]:
        code = getattr(error, "sqlstate", None)
        text = " ".join(str(error).split()) or type(error).__name__
        if code:
            return f"{text} (SQLSTATE {code})", code.startswith(_TRANSIENT)
        # Of the driver's own errors, this one is about the connection.
        if isinstance(error, psycopg.OperationalError):
            return text, not any(words in text for words in _REFUSALS)
        return text, False

    def is_lost(self, error: BaseException) -> bool:
        code = getattr(error, "sqlstate", None)
        if code:
            return bool(code.startswith(_LOST))
        return isinstance(error, psycopg.OperationalError)

    def misses_table(self, error: BaseException) -> bool:
        return isinstance(error, psycopg.errors.UndefinedTable)

    def refuse(self, driver: Any) -> str | None:
        of_server, of_session = (driver.info.parameter_status(f"{side}_encoding") for side in ("server", "client"))
        if of_server not in _ENCODINGS:
            return f"the database has the encoding {of_server}, which does not hold every text; it has to be UTF8"
        if of_session not in _ENCODINGS:
            return f"its connections have the encoding {of_session}, which does not hold every text; it has to be UTF8"
        return None

    # -- one owner -------------------------------------------------------------------------------------------------------

    def ownership(self, engine: sa.Engine, place: Collection[str], watch: Any, check: Check) -> Ownership:
        schema, table = place
        return _AdvisoryLock(engine, self, schema, table, watch, check)


class _AdvisoryLock(ServerLock):
    """``pg_try_advisory_lock``, which the server gives back when the session ends."""

    def try_to_lock(self, cursor: Any, schema: str, table: str) -> bool:
        # Also where the engine has an isolation level of its own, transactions begin when the store says so.
        cursor.connection.autocommit = True
        # Nothing to say for weeks is nothing unusual; and a machine that is gone must not keep the lock for hours. A plan for any
        # number of rows may be one for few: a thousand then took thirty times as long. Advisory locks belong to a database and
        # have numbers. This one is of the tables that the session finds, which need not be where it would make new ones.
        cursor.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(concat_ws('.', 'schedcore', "
            "coalesce(quote_ident(nullif(%s, '')), (pg_identify_object('pg_class'::regclass, "
            "to_regclass(quote_ident(%s)), 0)).schema, quote_ident(current_schema()), ''), "
            "quote_ident(%s)), 0)), "
            "count(set_config(name, value, false)) FROM (VALUES ('idle_session_timeout', '0'), "
            "('default_transaction_read_only', 'off'), "
            "('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'), "
            "('plan_cache_mode', 'force_custom_plan')) AS s (name, value) "
            "WHERE current_setting(name, true) IS NOT NULL",
            (schema, table, table),
        )
        return bool(cursor.fetchone()[0])

    def still_has(self, cursor: Any) -> bool:
        cursor.execute("SELECT 1")  # the lock is the session's, and this is the session
        return True


class _Many:
    """A statement on many rows. It is put together at its first run: a start makes few of them."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._sized: list[int] = []
        self._columns: list[tuple[str, Callable[[Any], str], bool, bool]] = []
        self._texts: dict[tuple[str, ...], str] = {}

    def _look(self) -> None:
        batch = self._batch
        columns: list[tuple[str, Callable[[Any], str], bool, bool]] = []
        self._sized = [number for number, kind in enumerate(batch.types) if kind == "bytes"]
        for number, (name, kind) in enumerate(zip(batch.names, batch.types, strict=True)):
            in_array = kind == "bytes"
            # What a row is found by stays with the rows: told what all of them have, the server may look them up one by one. So
            # does the first column of rows to be inserted: there are as many of them as there are rows.
            stays = in_array or f"<{name}>" in batch.where or (batch.kind.startswith("insert") and not number)
            columns.append((name, _WRITERS[kind], stays, in_array))
        # At once: another thread may be here as well.
        self._columns = columns

    def run(self, cursor: Any, rows: Sequence[Sequence[Any]]) -> int:
        """See ``Many``."""
        if not self._columns:
            self._look()
        changed = 0
        for some in _parts(rows, self._sized):
            values: dict[str, str | None] = {}
            shared: list[str] = []
            single = len(some) == 1
            for (name, write, stays, in_array), column in zip(self._columns, zip(*some, strict=True), strict=True):
                first = column[0]
                # For a single row the server has a plan sooner without arrays.
                if in_array if single else stays or column.count(first) != len(column):
                    values[name] = write(column)
                else:
                    values[name] = None if first is None else str(first)
                    shared.append(name)
            key = tuple(shared)
            text = self._texts.get(key)
            if text is None:
                text = self._texts[key] = _statement(self._batch, key)
            cursor.execute(text, values)
            changed += cursor.rowcount
        return changed


def _statement(batch: Batch, shared: Collection[str]) -> str:
    """The statement on rows of which each has the same value in some columns; in all of them, where there is one row."""
    put, arrays, columns = {}, [], []
    for name, kind in zip(batch.names, batch.types, strict=True):
        cast = f"%({name})s::{_CASTS[kind]}"
        if name in shared:
            put[name] = cast
        else:
            put[name] = f"d.p_{name}"
            arrays.append(f"{cast}[]")
            columns.append(f"p_{name}")
    rows_of = f" {{}} unnest({', '.join(arrays)}) AS d ({', '.join(columns)})" if arrays else ""
    values, where = (batch.fill(part, put.__getitem__) for part in (batch.values, batch.where))
    if batch.kind == "update":
        return f"UPDATE {batch.table} SET {values}{rows_of.format('FROM')} WHERE {where}"
    if batch.kind == "delete":
        return f"DELETE FROM {batch.table}{rows_of.format('USING')} WHERE {where}"
    conflict = " ON CONFLICT DO NOTHING" if batch.kind == "insert new" else ""
    return f"INSERT INTO {batch.table} ({batch.into}) SELECT {values}{rows_of.format('FROM')}{conflict}"


def _parts(rows: Sequence[Sequence[Any]], sized: list[int]) -> list[Sequence[Sequence[Any]]]:
    """Rows in parts that are not too many, and, where they have columns of any size, not too large."""
    if not sized:
        return chunks(rows, _ROWS)
    parts: list[Sequence[Sequence[Any]]] = []
    first = size = 0
    for number, row in enumerate(rows):
        more = sum(2 * len(row[column]) for column in sized)
        if number > first and (size + more > _TEXT or number - first >= _ROWS):
            parts.append(rows[first:number])
            first, size = number, 0
        size += more
    return [*parts, rows[first:]]


def _ints(values: Sequence[int | None]) -> str:
    if None in values:
        return "{" + ",".join(["NULL" if value is None else str(int(value)) for value in values]) + "}"
    return "{" + ",".join(map(str, values)) + "}"


def _texts(values: Sequence[str | None]) -> str:
    first = values[0]
    if values.count(first) == len(values):
        return "{" + ",".join([_text(first)] * len(values)) + "}"
    return "{" + ",".join(map(_text, values)) + "}"


def _text(value: str | None) -> str:
    if value is None:
        return "NULL"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bytes(values: Sequence[bytes]) -> str:
    return '{"' + '","'.join(["\\\\x" + value.hex() for value in values]) + '"}'


_WRITERS: dict[str, Callable[[Any], str]] = {"int": _ints, "text": _texts, "word": _texts, "bytes": _bytes}

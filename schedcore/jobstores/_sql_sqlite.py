"""SQLite, for the SQL store: a file, with a lock file beside it.

A database in memory is its connection, so that there can be only one of these.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from schedcore.errors import ConfigurationError, FailureError
from schedcore.jobstores._chunks import chunks
from schedcore.jobstores._journal import knows_boots
from schedcore.jobstores._sql_backend import Backend, Batch, Check, Many, Names, Ownership

__all__ = ["SQLite"]

# Milliseconds that a statement waits for another process that writes to the same database.
_BUSY_MS = 10_000
# Rows that one INSERT puts in, in half the time of one for each. More gain nothing, and SQLite takes 999 parameters at least.
_ROWS = 50
# Bytes of their payloads, beyond which there is one for each: a connection keeps the values of the statements that it made last.
_LARGE = 1_000_000

# A table in a statement: its schema, and its name.
_in_statements = re.compile(r'((?:"(?:[^"]|"")*"|[^".]+)\.)?(.*)', re.DOTALL).fullmatch


class _DatabaseLock:
    """Keeps a second scheduler off an SQLite database, by an exclusive lock on a file beside it.

    The lock is SQLite's own, on an empty database that is never written: it works wherever SQLite does, two schedulers of one
    process exclude each other too, a forked child does not inherit it, and it ends with the process, however that ends. The
    file stays: deleting it would let a third process lock a new file while a second one waits for the old.

    It holds for as long as the database is the file that was locked. One that is deleted, moved or replaced goes on existing for
    who has it open, so that all that is written would be lost, and nobody would notice. Nor is the file that took its place
    opened: the log of the old one still lies beside it, and SQLite would write that into it.
    """

    def __init__(self, path: str, database: str) -> None:
        self._path = path
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # which one the database was

    @property
    def connection(self) -> None:
        """SQLite's lock is on a file of its own."""
        return None

    def take(self) -> bool:
        path = self._path
        if not path:  # in memory: there is nobody else
            return True
        if self._connection is not None:
            raise FailureError(self._what_happened())
        try:
            connection = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
            with ExitStack() as undo:
                undo.callback(connection.close)
                connection.execute("BEGIN EXCLUSIVE")
                undo.pop_all()
        except sqlite3.Error as error:
            code = error.sqlite_errorname
            if code.partition("_")[2] in ("BUSY", "LOCKED"):
                return False
            advice = "" if code.startswith("SQLITE_FULL") else "; may this user write there?"
            raise FailureError(f"the lock file {path} cannot be opened: {error}{advice}") from error
        self._connection = connection
        return True

    def holds(self) -> bool:
        if self._connection is None:
            return True
        found = self._find()
        if self._file is None:
            # It is asked first when the tables have been made, or seen.
            self._file = found
        return found == self._file

    def _find(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._database)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _what_happened(self) -> str:
        path = self._database
        what = "is not there any more" if self._find() is None else "is another file now"
        return (
            f"the database {path} {what}: it was deleted, moved or replaced while it was in use, and what this scheduler has "
            f"open would be lost. Nothing is read or written until the file is back; to go on with another one, stop the "
            f"scheduler, remove {path}-wal and {path}-shm, and start it again"
        )

    def release(self) -> None:
        connection, self._connection = self._connection, None
        self._file = None
        if connection is not None:
            connection.close()


class SQLite(Backend):
    title = "SQLite"
    dialects = ("sqlite",)
    driver = "pysqlite"
    example = "sqlite:///jobs.sqlite"
    placeholder = "?"
    insert_new = "INSERT OR IGNORE"
    # Text that is not UTF-8 would be an error of the driver for all of them.
    payload = "CAST(payload AS BLOB)"
    # Of a blob this is in the head of the row. Text, which only others put there, is read for it before SQLite 3.43.
    payload_size = (
        "octet_length(payload)"
        if sqlite3.sqlite_version_info >= (3, 43)
        else "CASE typeof(payload) WHEN 'blob' THEN length(payload) ELSE length(CAST(payload AS BLOB)) END"
    )
    for_update = ""
    reads_to_write = True
    untyped = True
    longest_id = None
    # It is part of the names of files, of which most systems let one have 255 bytes.
    longest_name = 200
    not_in_names = "/\\<>"
    timeout_s = _BUSY_MS / 1000
    remote = False

    def own_engine(
        self, url: sa.URL, options: Mapping[str, Any] | None, timeout_s: float, *, read_only: bool
    ) -> sa.Engine:
        arguments: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", **(options or {})}
        if not self.is_durable(url):
            arguments.setdefault("poolclass", StaticPool)
            arguments["connect_args"] = {"check_same_thread": False, **arguments.get("connect_args", {})}
        engine = self.make_engine(url, arguments)
        busy_ms = int(timeout_s * 1000)
        sa.event.listen(engine, "connect", _reader(busy_ms) if read_only else _writer(busy_ms))
        return engine

    def given_engine(self, engine: sa.Engine) -> sa.Engine:
        if not self.is_durable(engine.url) and not isinstance(engine.pool, StaticPool):
            raise ConfigurationError(
                "engine: a database in memory belongs to one connection, and each thread would see another one; "
                "make the engine with poolclass=StaticPool and connect_args={'check_same_thread': False}"
            )
        # The same pool; but on connections that this store checks out, transactions begin when the store says so.
        return engine.execution_options(isolation_level="AUTOCOMMIT")

    def is_durable(self, url: sa.URL) -> bool:
        database = url.database or ""
        return not (
            not database or ":memory:" in database or "mode=memory" in database or url.query.get("mode") == "memory"
        )

    def many(self, batch: Batch) -> Many:
        run_each = super().many(batch)
        if not batch.kind.startswith("insert"):
            return run_each
        # After an error everything is rolled back. A statement that could be taken back by itself copies each page that it is
        # about to change, of a large index one for each row, into a temporary file, for which there may be no place.
        verb = "INSERT OR FAIL" if batch.kind == "insert" else self.insert_new
        head = f"{verb} INTO {batch.table} ({batch.into}) VALUES "
        text = head + ", ".join([batch.fill(f"({batch.values})", lambda name: self.placeholder)] * _ROWS)
        schema, name = _schema_and_name(batch.table)
        triggers = f"SELECT 1 FROM {schema}sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE"
        sized = [number for number, kind in enumerate(batch.types) if kind == "bytes"]

        def run(cursor: Any, rows: Sequence[Sequence[Any]]) -> int:
            full = len(rows) - len(rows) % _ROWS
            # That verb would be the one of what a user's triggers insert, too.
            if full and cursor.execute(triggers, (name,)).fetchone() is not None:
                full = 0
            inserted = 0
            for some in chunks(rows[:full], _ROWS):
                if sum([len(row[number]) for number in sized for row in some]) > _LARGE:
                    inserted += run_each(cursor, some)
                else:
                    cursor.execute(text, list(chain.from_iterable(some)))
                    inserted += cursor.rowcount
            return inserted + run_each(cursor, rows[full:])

        return run

    def due(self, timeline: str) -> str:
        return f"{timeline % 0} UNION ALL {timeline % 1} ORDER BY due_us LIMIT ?"

    def due_rows(self, wall_us: int, steady_us: int, limit: int) -> tuple[int, ...]:
        return wall_us, steady_us, limit

    prune = (
        "DELETE FROM {runs} WHERE job_uid = ? AND finished_us IS NOT NULL AND fire_us < (SELECT fire_us FROM {runs} "
        "WHERE job_uid = ? ORDER BY fire_us DESC LIMIT 1 OFFSET ?)"
    )

    def cut(self, cursor: Any, names: Names, uids: Sequence[int], keep: int) -> None:
        cursor.executemany(self.prune.format(runs=names.runs), [(uid, uid, keep) for uid in uids])

    def begin_read(self, cursor: Any) -> None:
        cursor.execute("BEGIN")

    def begin_write(self, cursor: Any, term: str | None, *, lasting: bool = True) -> str | None:
        cursor.execute("BEGIN IMMEDIATE")
        return None

    def explain(self, error: BaseException, url: sa.URL) -> tuple[str, bool]:
        code = getattr(error, "sqlite_errorname", "") or ""
        database = url.database or ""
        if code.startswith("SQLITE_NOTADB"):
            return f"{database!r} is not an SQLite database; give another path, or move that file away", False
        if code.startswith("SQLITE_CORRUPT"):
            return (
                f"{database!r} is damaged ({error}); put a copy back in its place, or move it away to begin anew",
                False,
            )
        if code.startswith("SQLITE_CANTOPEN"):
            folder = os.path.dirname(os.path.abspath(database))
            if not os.path.isdir(folder):
                return f"the folder {folder!r} does not exist; create it, or give another path", False
            return f"{database!r} cannot be opened ({error}); may this user read and write it and its folder?", True
        if code.startswith("SQLITE_READONLY"):
            return f"{database!r} cannot be written ({error}); may this user write it and its folder?", False
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return f"another process keeps the database locked ({error})", True
        if code.startswith("SQLITE_FULL"):
            return f"the disk is full ({error})", True
        if code.startswith("SQLITE_IOERR"):
            return f"{database!r} cannot be read or written ({error}); is its disk full, or failing?", True
        return str(error), code.startswith(("SQLITE_NOMEM", "SQLITE_PROTOCOL"))

    def misses_table(self, error: BaseException) -> bool:
        return str(error).startswith("no such table: ")

    def before_opening(self, engine: sa.Engine, *, read_only: bool, owned: bool) -> str | None:
        database = engine.url.database
        plain = self.is_durable(engine.url) and "uri" not in engine.url.query
        if database and plain and os.path.exists(database) and not os.path.isfile(database):
            # SQLite would wait at a pipe for somebody else, and files would be made beside a device.
            what = "a folder" if os.path.isdir(database) else "no file"
            return f"{database!r} is {what}; give the path of a file"
        # A reader's connection would make an empty file.
        if read_only and owned and database and plain and not os.path.exists(database):
            return f"there is no database {os.path.abspath(database)!r}; is it the right path?"
        if database and plain and os.path.isfile(database) and os.stat(database).st_nlink > 1:
            # What was written under one name and not yet copied into the file stays unseen under the others, and is written over.
            return (
                f"{os.path.abspath(database)!r} has other names (hard links), and SQLite keeps a log for each, which damages a "
                f"database that is used under two of them; remove the other names, or make copies of them"
            )
        return None

    def ownership(self, engine: sa.Engine, place: Collection[str], watch: Any, check: Check) -> Ownership:
        return _DatabaseLock(_beside(engine, place, "lock"), _path(engine, place))

    @property
    def journals(self) -> bool:
        return knows_boots()

    def journal(self, engine: sa.Engine, place: Collection[str]) -> str:
        return _beside(engine, place, "runs")


def _beside(engine: sa.Engine, place: Collection[str], suffix: str) -> str:
    """The path of a file beside the database; empty: it is in memory."""
    _, name = place
    table = _folded(name)
    path = _path(engine, place)
    # Job stores with tables of their own may share a file.
    own = "" if table == "schedcore_jobs" else f".{table}"
    return f"{path}{own}.{suffix}" if path else ""


def _path(engine: sa.Engine, place: Collection[str]) -> str:
    """The path of the database; empty: it is in memory."""
    schema, _ = place
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("PRAGMA database_list").fetchall()
    wanted = _folded(schema or "main")
    path = next((str(row[2] or "") for row in rows if _folded(row[1]) == wanted), "")
    return os.path.realpath(path) if path else ""


def _schema_and_name(table: str) -> tuple[str, str]:
    """Of a table as statements have it: its schema with a point, which may be missing, and its name without quotation marks."""
    found = _in_statements(table)
    assert found is not None  # anything is a name
    schema, name = found.groups("")
    return schema, name[1:-1].replace('""', '"') if name.startswith('"') else name


def _folded(name: str) -> str:
    """A name as SQLite compares it: capital letters are small ones, but for those that ASCII does not have."""
    return name.encode().lower().decode()


def _writer(busy_ms: int) -> Callable[[Any, object], None]:
    # synchronous=NORMAL: in WAL mode a commit survives the process, and only a power cut may take the last ones.
    # A page that changes in each batch is copied back from the log once for several (checkpoint: 16 MB), and stays in memory.
    return _pragmas(
        f"busy_timeout={busy_ms}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "wal_autocheckpoint=4000",
        "cache_size=-16000",
    )


def _reader(busy_ms: int) -> Callable[[Any, object], None]:
    return _pragmas(f"busy_timeout={busy_ms}", "query_only=1")


def _pragmas(*settings: str) -> Callable[[Any, object], None]:
    def prepare(connection: Any, record: object) -> None:
        with ExitStack() as undo:
            undo.callback(connection.close)  # nobody else will
            # A row whose text is damaged must not make all the others unreadable.
            connection.text_factory = _lenient
            for setting in settings:
                connection.execute(f"PRAGMA {setting}").close()
            undo.pop_all()

    return prepare


def _lenient(text: bytes) -> str:
    return text.decode("utf-8", "replace")

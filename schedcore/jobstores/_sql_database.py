"""The database of an SQL store while it is open: one scheduler's, in transactions whose errors are ours.

**One writes at a time**, under ``lock``. Readers have a lock and a connection of their own, so that nobody who looks waits for
a commit.

**Terms.** A lock keeps other schedulers off (``Ownership``). On a server it can be lost while this scheduler lives; so each
time that it is taken a new *term* is noted in the database, which each transaction that writes reads first. One that finds
another's term changes nothing, and a new term begins.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from schedcore.errors import ConfigurationError, FailureError, JobStoreError, JobStoreInUseError
from schedcore.jobstores._sql_backend import Backend, Names, Ownership
from schedcore.jobstores._sql_schema import check_tables, make_tables
from schedcore.jobstores._sql_server import Watch, discard
from schedcore.jobstores._sql_statements import Statements

__all__ = ["Database"]

#: Told, in the first transaction of a term, with its cursor.
Beginning = Callable[[Any], None]


class Database:
    """See the module's docstring."""

    def __init__(
        self,
        backend: Backend,
        engine: sa.Engine,
        timeout_s: float,
        tables: tuple[sa.MetaData, str, str | None],
        *,
        owned: bool,
        read_only: bool,
        max_bytes: int | None,
    ) -> None:
        self.backend = backend
        self.engine = engine
        self.read_only = read_only
        self.tables = make_tables(backend, *tables)
        self.names = Names(*map(engine.dialect.identifier_preparer.format_table, self.tables))
        self.sql = Statements(backend, self.names, max_bytes)
        self.watch = Watch(backend, timeout_s)
        self.alias = ""
        self.is_open = False
        self.ownership: Ownership | None = None
        self.lock = threading.RLock()
        self.read_lock = self.lock if isinstance(engine.pool, StaticPool) else threading.RLock()
        self._owned = owned  # the engine is ours to dispose of
        self._errors_of = (sa.exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error, OSError)
        self._term: str | None = None
        self._beginning: Beginning = lambda cursor: None

    # -- opening and closing ---------------------------------------------------------------------------------------------

    def open(self, alias: str, beginning: Beginning) -> None:
        """Open it, keep others off it and create what is missing. Raises ``JobStoreInUseError`` and ``JobStoreError``."""
        self.alias = alias
        self._beginning = beginning
        self.is_open = True
        with ExitStack() as undo:
            undo.callback(self.close)
            self._open()
            undo.pop_all()

    def _open(self) -> None:
        missing = self.backend.before_opening(self.engine, read_only=self.read_only, owned=self._owned)
        if missing is not None:
            raise JobStoreError(self.alias, missing)
        if self.backend.remote:
            self.watch.start()
            if not self._owned:
                with self.connected("open the database") as connection:
                    refused = self.backend.refuse(connection.connection)
                if refused is not None:
                    raise ConfigurationError(f"engine: {refused}")
        if self.read_only:
            check_tables(self, create=False)
            return
        jobs = self.tables[0]
        with self.errors("open the database"):
            self.ownership = self.backend.ownership(self.engine, (jobs.schema or "", jobs.name), self.watch)
            self._take()
        check_tables(self, create=True)
        self._begin_term()

    def close(self) -> None:
        """Let go of what was opened. May be called twice."""
        with self.lock, self.read_lock:
            self.is_open = False
            self.watch.stop()
            self._term = None
            ownership, self.ownership = self.ownership, None
            if self._owned:
                self.engine.dispose()
            if ownership is not None:
                ownership.release()

    # -- whose it is -----------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        assert self.ownership is not None
        try:
            taken = self.ownership.take()
        except FailureError as error:
            raise JobStoreError(self.alias, str(error)) from error.__cause__
        if not taken:
            raise JobStoreInUseError(
                f"the database {self._place()} is in use by another scheduler ({self._owner()}); stop that one, or give this "
                f"one a database of its own. Others can look at it meanwhile: schedcore.jobstores.sqlalchemy.open_reader"
            )

    def _place(self) -> str:
        """The database, for people."""
        url = self.engine.url
        if self.backend.remote:
            return repr(url.set(query={}).render_as_string())
        return repr(os.path.realpath(url.database or ""))

    def _owner(self) -> str:
        try:
            with self.reading("look for the owner") as cursor:
                cursor.execute(self.sql.meta, ("owner",))
                row = cursor.fetchone()
        except JobStoreError:
            row = None
        return str(row[0]) if row is not None else "unknown"

    def _begin_term(self) -> None:
        """Note in the database whose it is now. What another scheduler has begun meanwhile ends first, and is its last."""
        self._term = None
        term = secrets.token_hex(8)
        since = datetime.now(UTC).isoformat(" ", "seconds")
        owner = f"process {os.getpid()} on {socket.gethostname()}, since {since}"
        notes = {"owner": owner, "term": term} if self.backend.remote else {"owner": owner}
        with self.transaction("open the database", write=True) as cursor:
            for name, value in notes.items():
                self.note(cursor, name, value)
            self._beginning(cursor)
        if self.backend.remote:
            self._term = term

    def _hold(self) -> None:
        """Look whether the database is still this scheduler's, and take it again if the lock was lost and nobody else has it."""
        ownership = self.ownership
        if ownership is not None and not ownership.holds():
            with self.errors("take the lock on the database again"):
                self._take()

    def _is_over(self) -> NoReturn:
        """Another scheduler has had the database since this one last changed it."""
        assert self.ownership is not None
        self.ownership.release()
        with self.errors("take the lock on the database again"):
            self._take()
        # That one has gone again.
        self._begin_term()
        raise JobStoreError(
            self.alias,
            "its lock was lost, and another scheduler has used the database meanwhile; it is looked at afresh",
            transient=True,
        )

    def note(self, cursor: Any, name: str, value: str) -> None:
        """Put a value in the table of meta data."""
        cursor.execute(self.sql.drop_meta, (name,))
        cursor.execute(self.sql.put_meta, (name, value))

    # -- transactions ------------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, doing: str) -> Iterator[Any]:
        """A cursor in a transaction that writes, committed at the end. One at a time."""
        if self.read_only:
            raise JobStoreError(self.alias, "it was opened for reading only")
        with self.lock:
            self._hold()
            with self.transaction(doing, write=True) as cursor:
                yield cursor

    @contextmanager
    def reading(self, doing: str) -> Iterator[Any]:
        """A cursor in a transaction that reads one state of the database."""
        with self.read_lock, self.transaction(doing, write=False) as cursor:
            yield cursor

    @contextmanager
    def transaction(self, doing: str, *, write: bool) -> Iterator[Any]:
        """A cursor in a transaction, for who has the lock that it needs."""
        if not self.is_open:
            raise JobStoreError(self.alias, "it is not open; start() opens it, shutdown() closes it")
        backend = self.backend
        with self.errors(doing):
            for last in (False, True):
                with self.engine.connect() as connection:
                    driver = connection.connection
                    with self.watch.over(driver) as call:
                        cursor = driver.cursor()
                        term = None
                        try:
                            if write:
                                term = backend.begin_write(cursor, self.sql.term if self._term else None)
                            else:
                                backend.begin_read(cursor)
                        except self._errors_of as error:
                            # A connection of the pool's that was lost while nobody used it: nothing was done on it yet.
                            cursor.close()
                            discard(connection)
                            if last or not backend.is_lost(error) or (call is not None and call.cut):
                                raise
                            continue
                        with closing(cursor), ExitStack() as undo:
                            undo.callback(self._roll_back, connection)
                            if self._term is None or not write or term == self._term:
                                yield cursor
                                if write:
                                    driver.commit()
                                else:
                                    driver.rollback()
                                undo.pop_all()
                                return
                    break
            self._is_over()

    def _roll_back(self, connection: sa.Connection) -> None:
        """End a transaction that is to change nothing, whatever is left of its connection."""
        try:
            connection.connection.rollback()
        except self._errors_of:
            discard(connection)

    @contextmanager
    def connected(self, doing: str) -> Iterator[sa.Connection]:
        """A connection of SQLAlchemy's, for what is not done on the way of a run."""
        with self.errors(doing), self.engine.connect() as connection, self.watch.over(connection.connection):
            yield connection

    @contextmanager
    def changing_tables(self, doing: str) -> Iterator[sa.Connection]:
        """A transaction in which tables are made or changed. (MariaDB and MySQL end it at each such statement.)"""
        with self.lock, self.connected(doing) as connection:
            cursor = connection.connection.cursor()
            try:
                self.backend.begin_write(cursor, None)
            finally:
                cursor.close()
            with ExitStack() as undo:
                undo.callback(connection.connection.rollback)
                yield connection
                connection.connection.commit()
                undo.pop_all()

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Errors of the driver and of SQLAlchemy become ours."""
        try:
            yield
        except self._errors_of as error:
            cause = getattr(error, "orig", None) or error
            message, transient = self.backend.explain(cause, self.engine.url)
            transient = transient or isinstance(error, sa.exc.TimeoutError | OSError)
            raise JobStoreError(self.alias, f"cannot {doing}: {message}", transient=transient) from cause

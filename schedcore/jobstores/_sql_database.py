"""The database of an SQL store while it is open: one scheduler's, in transactions on its connections (``_sql_connections``).

**One writes at a time**, by ``turns``, and on a server through the connection that holds the scheduler's lock on the tables.
Readers have turns and a connection of their own, so that nobody who looks waits for a commit.

**Terms.** A lock keeps other schedulers off (``Ownership``). On a server it can be lost while this scheduler lives; so each
time that it is taken a new *term* is noted in the database, which each transaction that writes reads first. One that finds
another's term changes nothing, and a new term begins.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NoReturn

import sqlalchemy as sa

from schedcore.errors import ConfigurationError, FailureError, JobStoreError, JobStoreInUseError
from schedcore.jobstores._owner import TAKING_TURNS
from schedcore.jobstores._sql_backend import Backend, Names
from schedcore.jobstores._sql_connections import Connections
from schedcore.jobstores._sql_schema import check_tables, create_tables
from schedcore.jobstores._sql_statements import Statements

__all__ = ["Database"]

#: Told, in the first transaction of a term, with its cursor.
Beginning = Callable[[Any], None]


class Database(Connections):
    """See the module's docstring."""

    def __init__(
        self,
        backend: Backend,
        engine: sa.Engine,
        timeout_s: float,
        place: tuple[sa.MetaData | None, str, str | None],
        *,
        owned: bool,
        read_only: bool,
        max_bytes: int | None,
    ) -> None:
        super().__init__(backend, engine, timeout_s, place)
        self.read_only = read_only
        self.names = Names(*map(self.quoted, ("", "_schedule", "_runs", "_meta")))
        self.sql = Statements(backend, self.names, max_bytes)
        self.is_open = False
        #: Where there is a journal of runs beside the tables; empty: nowhere.
        self.journal_path = ""
        #: The table of meta data, where nobody else changes it; None: it has to be asked.
        self.meta: dict[str, str] | None = None
        #: Whether another scheduler has had it meanwhile, and what that left has not been recovered.
        self.to_recover = False
        self._owned = owned  # the engine is ours to dispose of
        #: What the driver raises for a key that is there already.
        self.key_taken: type[Exception] = engine.dialect.loaded_dbapi.IntegrityError
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
        if self.read_only:
            if self.backend.remote:
                with self.errors("open the database"), self.connection(owner=False) as connection:
                    self._check_connection(connection)
            self._check_tables(create=False)
            return
        with self.errors("open the database"):
            place = self._schema or "", self._table
            self.journal_path = self.backend.journal(self.engine, place)
            self.ownership = self.backend.ownership(self.engine, place, self.watch, self._check_connection)
            self._take()
        self._check_tables(create=True)
        try:
            self._begin_term()
        except JobStoreError as error:
            if not self.backend.misses_table(error.__cause__ or error):
                raise
            # What says that the tables are there is, and one of them is not.
            create_tables(self)
            self._begin_term()
        if self.backend.remote and self.meta is None:
            self.read_meta()  # the tables were made just now

    def _check_connection(self, connection: sa.Connection) -> None:
        refused = self.backend.refuse(connection.connection.dbapi_connection)
        if refused is not None:
            raise ConfigurationError(f"{'url' if self._owned else 'engine'}: {refused}")

    def _check_tables(self, *, create: bool) -> None:
        noted: Mapping[str, str] = {}
        if self.backend.remote:
            # Nearly always they are there. Asking what there is costs several times as much.
            with suppress(JobStoreError):
                noted = self.read_meta()
        check_tables(self, noted.get("schema"), create=create)

    def close(self) -> None:
        """Let go of what was opened. May be called twice."""
        with self.turns.take(), self.read_turns.take():
            self.is_open = False
            self.watch.stop()
            self._term = None
            self.to_recover = False
            self.meta = None
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
                f"one a database of its own. {TAKING_TURNS}. Others can look at it meanwhile: "
                f"schedcore.jobstores.sqlalchemy.open_reader"
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
        # Should it be lost with the server, so is the connection; then the term is another one, and all this is done again.
        with self._transaction("open the database", write=True, lasting=False) as cursor:
            self.put_meta(cursor, notes)
            self._beginning(cursor)
        if self.backend.remote:
            self._term = term

    def _hold(self) -> None:
        """Look whether the database is still this scheduler's, and take it again if the lock was lost and nobody else has it."""
        ownership = self.ownership
        if ownership is not None and not ownership.holds():
            self.meta = None
            with self.errors("take the lock on the database again"):
                self._take()
                if self.backend.remote:
                    with ExitStack() as undo:
                        undo.callback(ownership.release)
                        self._check_tables(create=False)  # whoever had it meanwhile may have been of another release
                        undo.pop_all()

    def _is_over(self) -> NoReturn:
        """Another scheduler has had the database since this one last changed it."""
        assert self.ownership is not None
        self.ownership.release()
        self._hold()
        # That one has gone again.
        self._begin_term()
        self.to_recover = True
        self.look_afresh()

    def look_afresh(self) -> NoReturn:
        """Another scheduler has had the database: who decides what runs has to recover first."""
        raise JobStoreError(
            self.alias,
            "its lock was lost, and another scheduler has used the database meanwhile; it is looked at afresh",
            transient=True,
        )

    def read_meta(self) -> dict[str, str]:
        """The table of meta data; kept by who owns the tables. Raises ``JobStoreError`` also where there is none."""
        with self.looking("read the tables") as cursor:
            cursor.execute(self.sql.all_meta)
            found = {str(name): str(value) for name, value in cursor.fetchall()}
        if self.ownership is not None:
            self.meta = found
        return found

    def put_meta(self, cursor: Any, values: Mapping[str, str]) -> None:
        """Put values in the table of meta data, by their names."""
        row = f"({self.backend.placeholder}, {self.backend.placeholder})"
        pairs = [text for pair in values.items() for text in pair]
        cursor.execute(self.sql.put_meta.replace("\0", ", ".join([row] * len(values))), pairs)

    # -- transactions ------------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, doing: str, *, single: bool = False, lasting: bool = True) -> Iterator[Any]:
        """A cursor in a transaction that writes, committed at the end. One at a time.

        ``single``: for what does no harm to another scheduler's term. On a server it has to be a transaction by itself.
        Without ``lasting`` it may be gone, and nothing but it, when the server's machine crashes at once.
        """
        if self.read_only:
            raise JobStoreError(self.alias, "it was opened for reading only")
        with self.turns.take(), self._transaction(doing, write=True, bare=single, lasting=lasting) as cursor:
            yield cursor

    @contextmanager
    def looking(self, doing: str) -> Iterator[Any]:
        """A cursor to look with at what is to be changed next. Who has it is the only one who may write meanwhile."""
        with self.turns.take(), self._transaction(doing, write=False, bare=True, owner=True) as cursor:
            yield cursor

    @contextmanager
    def reading(self, doing: str) -> Iterator[Any]:
        """A cursor in a transaction that reads one state of the database."""
        with self.read_turns.take(), self._transaction(doing, write=False) as cursor:
            yield cursor

    @contextmanager
    def _transaction(
        self, doing: str, *, write: bool, bare: bool = False, owner: bool | None = None, lasting: bool = True
    ) -> Iterator[Any]:
        """A cursor in a transaction. ``owner``: on the lock's connection, if there is one; ``bare``: each statement by itself."""
        if not self.is_open:
            raise JobStoreError(self.alias, "it is not open; start() opens it, shutdown() closes it")
        owner = write if owner is None else owner
        with self.errors(doing):
            for last in (False, True):
                if owner or not self.backend.remote:
                    self._hold()
                with self.connection(owner=owner) as connection:
                    driver = connection.connection
                    alone = bare and self.ownership is not None and connection is self.ownership.connection
                    with self.watch.over(driver) as call, ExitStack() as undo:
                        undo.callback(self.roll_back, connection)
                        cursor = driver.cursor()
                        undo.callback(cursor.close)
                        term = self._term
                        try:
                            if alone:
                                pass
                            elif write:
                                asked = None if term is None else self.sql.term
                                term = self.backend.begin_write(cursor, asked, lasting=lasting)
                            else:
                                self.backend.begin_read(cursor)
                        except self.errors_of as error:
                            # A connection that was lost while nobody used it: nothing was done on it yet.
                            undo.pop_all()
                            cursor.close()
                            self.give_up(connection)
                            if last or not self.backend.is_lost(error) or (call is not None and call.cut):
                                raise
                            continue
                        if term == self._term:
                            yield cursor
                            if alone:
                                pass
                            elif write:
                                driver.commit()
                            else:
                                driver.rollback()
                            undo.pop_all()
                            cursor.close()
                            return
                    break
            self._is_over()

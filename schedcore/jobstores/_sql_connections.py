"""The connections of an SQL store: with errors that are ours, calls that end, and tables that are made and changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from schedcore.errors import JobStoreError
from schedcore.jobstores._sql_backend import Backend, Ownership, ask_questions
from schedcore.jobstores._sql_server import Watch, discard
from schedcore.jobstores._sql_tables import Tables, make_tables
from schedcore.jobstores._turns import Turns

__all__ = ["Connections"]


class Connections:
    """Those of an engine, and the one that has the lock on the tables (``ownership``), if there is one.

    ``place``: the metadata of users to which the tables are to belong, their name and their schema.
    """

    def __init__(
        self, backend: Backend, engine: sa.Engine, timeout_s: float, place: tuple[sa.MetaData | None, str, str | None]
    ) -> None:
        self.backend = backend
        self.engine = engine
        self.alias = ""
        metadata, self._table, self._schema = place
        self._metadata = sa.MetaData() if metadata is None else metadata
        if metadata is not None:
            make_tables(backend, metadata, self._table, self._schema)  # they belong to it from now on
        self.watch = Watch(backend, timeout_s)
        self.ownership: Ownership | None = None
        self.turns = Turns()
        self.read_turns = self.turns if isinstance(engine.pool, StaticPool) else Turns()
        #: What is raised where a connection is used.
        self.errors_of = (sa.exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error, OSError)

    @cached_property
    def tables(self) -> Tables:
        """Nearly always they are there, and SQLAlchemy need not be told what they are like."""
        return make_tables(self.backend, self._metadata, self._table, self._schema)

    def quoted(self, suffix: str) -> str:
        preparer = self.engine.dialect.identifier_preparer
        schema = "" if self._schema is None else preparer.quote_schema(self._schema) + "."
        return schema + preparer.quote(self._table + suffix)

    @contextmanager
    def connection(self, *, owner: bool) -> Iterator[sa.Connection]:
        """The lock's connection, or, where it has none and for others than the owner, one of the pool's."""
        connection = self.ownership.connection if owner and self.ownership is not None else None
        if connection is not None:
            yield connection
            return
        with self.engine.connect() as connection:
            yield connection

    def roll_back(self, connection: sa.Connection) -> None:
        """End a transaction that is to change nothing, whatever is left of its connection."""
        try:
            connection.connection.rollback()
        except self.errors_of:
            self.give_up(connection)

    def give_up(self, connection: sa.Connection) -> None:
        """A connection is lost, and with it the lock if that was its."""
        if self.ownership is not None and connection is self.ownership.connection:
            self.ownership.release()
        else:
            discard(connection)

    @contextmanager
    def connected(self, doing: str) -> Iterator[sa.Connection]:
        """A connection of SQLAlchemy's, for what is not done on the way of a run."""
        with self.errors(doing), self.engine.connect() as connection, self.watch.over(connection.connection):
            ask_questions(connection)
            yield connection

    @contextmanager
    def changing_tables(self, doing: str) -> Iterator[sa.Connection]:
        """A transaction in which tables are made or changed. (MariaDB and MySQL end it at each such statement.)"""
        with (
            self.turns.take(),
            self.errors(doing),
            # Who has the lock may write, whatever the pool's connections are set to.
            self.connection(owner=True) as connection,
            self.watch.over(connection.connection),
        ):
            ask_questions(connection)
            cursor = connection.connection.cursor()
            try:
                self.backend.begin_write(cursor, None)
            finally:
                cursor.close()
            with ExitStack() as undo:
                # SQLAlchemy's own transaction began with the first statement.
                undo.callback(connection.rollback)
                yield connection
                connection.commit()
                undo.pop_all()

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Errors of the driver and of SQLAlchemy become ours."""
        try:
            yield
        except self.errors_of as error:
            cause = getattr(error, "orig", None) or error
            message, transient = self.backend.explain(cause, self.engine.url)
            transient = transient or isinstance(error, sa.exc.TimeoutError | OSError)
            if self.backend.misses_table(cause):
                message += "; it goes on when the table is back, and a scheduler that is started makes one"
            raise JobStoreError(self.alias, f"cannot {doing}: {message}", transient=transient) from cause

"""The tables of RethinkDB: which there are, with which indexes, and of which version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rethinkdb import errors as reql_errors  # type: ignore[import-untyped, unused-ignore]
from rethinkdb import r  # type: ignore[import-untyped, unused-ignore]

from schedcore.errors import JobStoreError
from schedcore.jobstores._documents import DocumentStore
from schedcore.jobstores._rethinkdb_connection import TIMEOUT_S, Line
from schedcore.jobstores._rethinkdb_rows import Row, length_of
from schedcore.jobstores._rethinkdb_terms import number

__all__ = ["SCHEMA_VERSION", "Tables"]

SCHEMA_VERSION = 1


class Tables(DocumentStore):
    """``jobs``, ``jobs_runs`` and ``jobs_meta``, as they are written; and as they are read, which is what a majority has."""

    #: Bytes of rows in one query, of which a server takes 64 MB.
    _query_bytes: ClassVar[int] = 16_000_000

    def _name_tables(self, database: str, table: str, line: Line) -> None:
        self._database = database
        self._table = table
        self._line = line
        place = r.db(database)
        self._jobs = place.table(table)
        self._runs = place.table(f"{table}_runs")
        self._meta = place.table(f"{table}_meta")
        self._read_jobs = place.table(table, read_mode="majority")
        self._read_runs = place.table(f"{table}_runs", read_mode="majority")
        self._read_meta = place.table(f"{table}_meta", read_mode="majority")

    def _make_tables(self) -> None:
        place = r.db(self._database)
        self._make(self._database, r.db_list(), r.db_create(self._database))
        for suffix in ("", "_runs", "_meta"):
            name = self._table + suffix
            self._make(name, place.table_list(), place.table_create(name))
            # Also one that somebody else has just made.
            self._line.ask(place.table(name).wait(timeout=TIMEOUT_S))

    def _have_tables(self) -> bool:
        """Whether there are tables of ours, for who makes none."""
        return (
            self._database in self._line.ask(r.db_list())
            and f"{self._table}_meta" in self._line.ask(r.db(self._database).table_list())
            and self._is_there()
        )

    def _is_there(self) -> bool:
        """Whether there are tables of ours. Raises for those of another version."""
        schema = self._read_meta.get("schema")
        there, version = self._line.ask(r.expr([schema.ne(None), number(schema, "version")]))
        if there and version != SCHEMA_VERSION:
            raise JobStoreError(
                self._alias,
                f"the table {self._table!r} has schema version {version!r}, and this release reads {SCHEMA_VERSION}",
            )
        return bool(there)

    def _make(self, name: str, listing: Any, making: Any) -> None:
        """Make what is not there."""
        if name in self._line.ask(listing):
            return
        try:
            self._line.ask(making)
        except reql_errors.ReqlOpFailedError:
            # Mostly: somebody else was faster.
            if name not in self._line.ask(listing):
                raise

    def _make_indexes(self) -> None:
        row = r.row
        of_jobs: dict[str, Any] = {
            "due": [row["elapsed"], row["due_us"], row["job"]],
            "page": [row["due_us"], row["job"]],
            "idle": row["idle"],
            "alive": row["alive"],
            "broken": row["broken"],
            "decided": row["decided"]["w"],
        }
        of_runs: dict[str, Any] = {
            "job": [row["key"], row["fire_us"], row["attempt"]],
            "fire": [row["fire_us"], row["job"], row["attempt"]],
            "failed": [row["failed"], row["fire_us"], row["job"], row["attempt"]],
        }
        for table, indexes in ((self._jobs, of_jobs), (self._runs, of_runs)):
            for name, function in indexes.items():
                self._make(name, table.index_list(), table.index_create(name, function))
            self._line.ask(table.index_wait(*indexes).map(lambda status: status["index"]))

    def _check(self, result: Mapping[str, Any]) -> None:
        """Raise if a write was not made: a server says so in its result."""
        if result.get("errors"):
            raise JobStoreError(self._alias, f"a write failed: {result.get('first_error')}", transient=True)

    def _insert(self, table: Any, rows: Sequence[Row], conflict: Any) -> None:
        some: list[Row] = []
        size = 0
        for row in rows:
            if some and size + length_of(row) > self._query_bytes:
                self._check(self._line.ask(table.insert(some, conflict=conflict)))
                some, size = [], 0
            some.append(row)
            size += length_of(row)
        if some:
            self._check(self._line.ask(table.insert(some, conflict=conflict)))

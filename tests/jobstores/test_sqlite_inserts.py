"""SQLite is given rows to insert some at once: all arrive, as each would by itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

from schedcore.jobstores._sql_backend import Batch
from schedcore.jobstores._sql_sqlite import SQLite

ROWS = Batch("insert", "numbers", ("number int", "word text"), "<number>, 'same', <word>", into="number, kind, word")
NEW_ROWS = Batch("insert new", ROWS.table, ROWS.columns, ROWS.values, into=ROWS.into)


def _rows(count: int) -> list[tuple[int, str]]:
    return [(number, f"word {number}") for number in range(count)]


def _table(connection: sqlite3.Connection) -> sqlite3.Cursor:
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, kind TEXT, word TEXT)")
    return cursor


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100, 120])
def test_each_row_arrives_and_is_counted(count: int) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        cursor = _table(connection)
        assert SQLite().many(ROWS)(cursor, _rows(count)) == count
        cursor.execute("SELECT number, kind, word FROM numbers ORDER BY number")
        assert cursor.fetchall() == [(number, "same", word) for number, word in _rows(count)]


@pytest.mark.parametrize("taken", [0, 49, 50, 99, 110])
def test_a_key_that_is_taken_fails_all_of_them_or_is_passed_over(taken: int) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        cursor = _table(connection)
        cursor.execute("INSERT INTO numbers VALUES (?, 'other', 'first')", (taken,))
        cursor.execute("BEGIN")
        with pytest.raises(sqlite3.IntegrityError):
            SQLite().many(ROWS)(cursor, _rows(120))
        connection.rollback()
        assert SQLite().many(NEW_ROWS)(cursor, _rows(120)) == 119
        cursor.execute("SELECT word FROM numbers WHERE number = ?", (taken,))
        assert cursor.fetchall() == [("first",)]


def test_a_thousand_rows_take_twenty_statements() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        cursor = _table(connection)
        told: list[str] = []
        connection.set_trace_callback(told.append)
        assert SQLite().many(ROWS)(cursor, _rows(1000)) == 1000
        assert sum(text.startswith("INSERT") for text in told) == 20

"""SQLite is given rows to insert some at once: all arrive, as each would by itself."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

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


def test_large_payloads_are_inserted_one_by_one() -> None:
    """A connection keeps the values of the statements that it made last, which is no more than one payload then."""
    payloads = Batch("insert", "numbers", ("number int", "word bytes"), "<number>, 'same', <word>", into=ROWS.into)
    with closing(sqlite3.connect(":memory:")) as connection:
        cursor = _table(connection)
        told: list[str] = []
        rows = [(number, bytes(100_000 if number < 50 else 100)) for number in range(120)]
        connection.set_trace_callback(told.append)
        assert SQLite().many(payloads)(cursor, rows) == 120
        connection.set_trace_callback(None)
        assert sum(text.startswith("INSERT") for text in told) == 50 + 1 + 20
        cursor.execute("SELECT number, word FROM numbers ORDER BY number")
        assert cursor.fetchall() == rows


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are listed in /proc/self/fd")
def test_no_temporary_file_is_opened(tmp_path: Path) -> None:
    """There may be no place for one, as in a container that may write its database's folder alone."""

    def files() -> set[str]:
        found = set()
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # it is the one by which they were listed
                found.add(os.readlink(f"/proc/self/fd/{number}"))
        return found

    with closing(sqlite3.connect(tmp_path / "numbers", isolation_level=None)) as connection:
        cursor = _table(connection)
        cursor.execute("CREATE UNIQUE INDEX words ON numbers (word)")
        rows = [(number, f"{number * 7919 % 10_007} {'x' * 200}") for number in range(4000)]
        insert = SQLite().many(ROWS)
        cursor.execute("BEGIN")
        insert(cursor, rows[:3000])
        cursor.execute("COMMIT")
        cursor.execute("BEGIN")
        before = files()
        insert(cursor, rows[3000:])
        assert not [name for name in files() - before if not name.startswith(str(tmp_path))]
        cursor.execute("COMMIT")


@pytest.mark.parametrize("table", ["numbers", '"a ""b"""', "other.numbers", 'other."a.b"', '"x.y"'])
def test_what_a_trigger_of_the_users_inserts_goes_by_its_own_rule(table: str, tmp_path: Path) -> None:
    into_it = Batch("insert", table, ROWS.columns, ROWS.values, into=ROWS.into)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        cursor = connection.cursor()
        cursor.execute("ATTACH ':memory:' AS other")
        schema, name = ("other.", table[6:]) if table.startswith("other.") else ("", table)
        cursor.execute(f"CREATE TABLE {table} (number INTEGER PRIMARY KEY, kind TEXT, word TEXT)")
        cursor.execute(f"CREATE TABLE {schema}latest (kind TEXT PRIMARY KEY, number INT)")
        cursor.execute(
            f"CREATE TRIGGER {schema}note AFTER INSERT ON {name} "
            "BEGIN INSERT OR REPLACE INTO latest VALUES (new.kind, new.number); END"
        )
        assert SQLite().many(into_it)(cursor, _rows(120)) == 120
        cursor.execute(f"SELECT kind, number FROM {schema}latest")
        assert cursor.fetchall() == [("same", 119)]

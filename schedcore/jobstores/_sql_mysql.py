"""MariaDB (10.6 and later) and MySQL (8.0 and later) through PyMySQL, for the SQL store.

A statement on many rows takes what differs in them as one JSON text (``JSON_TABLE``), and has the numbers that they share, as
often an instant is, in its text; an INSERT has them as lists of values, and on MariaDB so has what takes numbers alone, for a
fifth less. (MySQL writes them in another way.) Those are written into the statement here, as numbers and hexadecimal digits,
because the driver would look at each one of them.

What is due comes as one text, too: of many rows the driver reads each by itself, in Python, for five times as long.

The owner of the tables holds a lock of a session of its own (``GET_LOCK``); the server gives it back when that session ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.ext.compiler import compiles

from schedcore.errors import MissingExtraError
from schedcore.jobstores._chunks import chunks
from schedcore.jobstores._sql_backend import Backend, Batch, Check, Many, Names, Ownership
from schedcore.jobstores._sql_server import ServerLock

try:
    import pymysql
except ImportError as error:  # pragma: no cover  # covered by a test in another process
    raise MissingExtraError("the job store on MariaDB and MySQL", "mysql") from error

__all__ = ["MySQL"]

# Rows in one statement, and characters after which there is another one: the least that a server may be set to accept is 16 MB.
_ROWS = 2_000
_TEXT = 4_000_000
# Characters that an id has in a statement, at most, with what else is written of a row beside the payload.
_ID = 1_000
# Due jobs in one answer: some 4 MB, of the same 16.
_DUE = 50_000
# Bytes of a page, unless the server was set up with others.
_PAGE = 16_384
# Seconds that a statement waits for a lock, at most.
_LOCK_S = 10
# Seconds that the session which has the lock may say nothing: the longest that every server takes.
_SILENT_S = 2_147_483
_ALL_ROWS = 18446744073709551615
# What a server may be set to, for people who type: no UPDATE without a key, no more than so many rows, no query of many
# rows, and another transaction, or the end of the session, after each one.
_PLAIN = (
    f"SESSION sql_safe_updates = 0, SESSION sql_select_limit = {_ALL_ROWS}, SESSION sql_big_selects = 1, "
    f"SESSION completion_type = 0"
)

# Whether nothing in a text has to be written in another way, whatever the server's rules for escapes are.
_is_plain = re.compile(r"[\w .:/-]*", re.ASCII).fullmatch
# A list of numbers in JSON as a row of VALUES.
_ROUND = str.maketrans("[]", "()")

# Long text costs a table on the disk for the time of the statement.
_TYPES = {"int": "BIGINT", "text": "LONGTEXT", "word": "VARCHAR(16)"}

# Error numbers that a later try may not meet again. The connection: 1040 (too many), 1053, 1077 to 1079, 1152 to 1161, 1184,
# 1927, 2002, 2003, 2006, 2013, 2055, 3169, 4031; conflicts: 1020, 1062, 1205, 1213, 1412; resources: 1021, 1037, 1041, 1114,
# 1203, 1226; interventions: 1290 and 1836 (it is read-only: another server has taken over), 1317, 1969, 3024.
_LOST = {1053, 1077, 1078, 1079, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 1927}
_LOST |= {0, 2002, 2003, 2006, 2013, 2055, 3169, 4031}
_TRANSIENT = {1020, 1062, 1205, 1213, 1412, 1021, 1037, 1040, 1041, 1114, 1203, 1226, 1290, 1836, 1317, 1969, 3024}
_TRANSIENT |= _LOST - {1153}


class _ExactText(sa.types.UserDefinedType[str]):
    """255 characters, compared one by one, and spaces at the end count."""

    cache_ok = True


@compiles(_ExactText)
def _exact_text(kind: _ExactText, compiler: Any, **_: Any) -> str:
    collation = "utf8mb4_nopad_bin" if getattr(compiler.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return f"VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {collation}"


class MySQL(Backend):
    title = "MariaDB and MySQL"
    longest_name = 64 - len("_schedule_due")
    dialects = ("mysql", "mariadb")
    driver = "pymysql"
    example = "mysql+pymysql://user:password@host/database"
    insert_new = "INSERT IGNORE"
    put_meta = "REPLACE INTO {meta} (name, value) VALUES \0"
    # The table of runs has the order, and the index; the optimizer may begin with that of jobs and sort.
    first_table = "STRAIGHT_JOIN"

    # -- engines ---------------------------------------------------------------------------------------------------------

    def connect_args(self, timeout_s: float) -> dict[str, Any]:
        lock_s = max(1, min(int(timeout_s), _LOCK_S))
        return {
            "charset": "utf8mb4",
            "connect_timeout": max(2, min(10, int(timeout_s))),
            "read_timeout": timeout_s,
            "write_timeout": timeout_s,
            "init_command": (
                f"SET SESSION innodb_lock_wait_timeout = {lock_s}, SESSION lock_wait_timeout = {lock_s}, {_PLAIN}"
            ),
        }

    # -- tables ----------------------------------------------------------------------------------------------------------

    def name_length(self, name: str) -> tuple[int, str]:
        return len(name), "characters"

    @property
    def key_type(self) -> sa.types.TypeEngine[Any]:
        return _ExactText()

    @property
    def text_type(self) -> sa.types.TypeEngine[Any]:
        return MEDIUMTEXT()

    def run_listeners(self) -> list[tuple[str, Callable[..., None]]]:
        return [("before_create", _make_room)]

    # -- statements ------------------------------------------------------------------------------------------------------

    def due(self, timeline: str) -> str:
        row = "'[', uid, ',', fence, ',', version, ',', coalesce(fire_us, 'null'), ',', due_us, ']'"
        return f"SELECT group_concat({row}) FROM ({super().due(timeline)}) AS due"

    def due_rows(self, wall_us: int, steady_us: int, limit: int) -> tuple[int, ...]:
        return super().due_rows(wall_us, steady_us, min(limit, _DUE))

    def fetch_due(self, cursor: Any) -> Sequence[Sequence[Any]]:
        (rows,) = cursor.fetchone()
        found: Sequence[Sequence[Any]] = json.loads(f"[{rows or ''}]")
        return found

    def many(self, batch: Batch) -> Many:
        verb = self.insert_new if batch.kind == "insert new" else "INSERT"
        insert = _insert(batch, verb) if batch.kind.startswith("insert") else None
        numbers = set(batch.types) == {"int"}

        def run(cursor: Any, rows: Sequence[Sequence[Any]]) -> int:
            changed = 0
            as_values = "MariaDB" in cursor.connection.server_version
            if insert is not None and not (as_values and numbers):
                return insert(cursor, rows)
            for some in chunks(rows, _ROWS):
                changed += cursor.execute(*_change(batch, some, verb, as_values=as_values))
            return changed

        return run

    def add(self, job: Batch, place: Batch, uids: str) -> Callable[[Any, Sequence[Sequence[Any]]], None]:
        add_jobs, add_places = _insert(job, "INSERT"), _insert(place, "INSERT")

        def run(cursor: Any, rows: Sequence[Sequence[Any]]) -> None:
            cursor.execute("SELECT @@auto_increment_increment")
            (step,) = cursor.fetchone()
            for some in _in_single_statements(rows):
                add_jobs(cursor, [row[:2] for row in some])
                # The numbers that InnoDB gives to the rows of one such statement follow each other.
                first = cursor.lastrowid
                add_places(cursor, [(first + n * step, row[0], *row[2:]) for n, row in enumerate(some)])

        return run

    def add_one(self, job: Batch, place: Batch) -> Callable[[Any, Sequence[Any]], int | None] | None:
        add_job, add_place = _insert(job, self.insert_new), _insert(place, "INSERT")

        def run(cursor: Any, row: Sequence[Any]) -> int | None:
            cursor.execute("START TRANSACTION")
            number = int(cursor.lastrowid) if add_job(cursor, [row[:2]]) else None
            if number is not None:
                add_place(cursor, [(number, row[0], *row[2:])])
            cursor.execute("COMMIT")
            return number

        return run

    def by_keys(self, cursor: Any, statement: str, keys: Sequence[Any]) -> list[Any]:
        found: list[Any] = []
        for some in chunks(keys, _ROWS):
            write = str if type(some[0]) is int else cursor.connection.escape
            # The list is the last of each statement's conditions, and with a limit of its own it has no other one.
            cursor.execute(statement.replace("(\0)", f"({','.join(map(write, some))}) LIMIT {_ALL_ROWS}"))
            found += cursor.fetchall()
        return found

    def cut(self, cursor: Any, names: Names, uids: Sequence[int], keep: int) -> None:
        # A DELETE cannot read its own table: first where to cut, then the cut.
        latest = (
            f"SELECT job_uid, fire_us FROM {names.runs} WHERE job_uid = %d ORDER BY fire_us DESC LIMIT {int(keep)}, 1"
        )
        cursor.execute(" UNION ALL ".join([f"({latest % uid})" for uid in uids]))
        found = cursor.fetchall()
        if found:
            ranges = " OR ".join([f"(job_uid = {int(uid)} AND fire_us < {int(fire_us)})" for uid, fire_us in found])
            cursor.execute(f"DELETE FROM {names.runs} WHERE ({ranges}) AND finished_us IS NOT NULL")

    # -- transactions ----------------------------------------------------------------------------------------------------

    def begin_read(self, cursor: Any) -> None:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def begin_write(self, cursor: Any, term: str | None, *, lasting: bool = True) -> str | None:
        cursor.execute("START TRANSACTION")
        if term is None:
            return None
        cursor.execute(f"{term} LOCK IN SHARE MODE")
        row = cursor.fetchone()
        return None if row is None else str(row[0])

    def descriptor(self, connection: Any) -> int | None:
        with suppress(Exception):
            return int(connection._sock.fileno())
        return None

    # -- errors ----------------------------------------------------------------------------------------------------------

    def explain(self, error: BaseException, url: sa.URL) -> tuple[str, bool]:
        number, text = _number_and_text(error)
        return f"{text} (error {number})" if number else text, number in _TRANSIENT

    def is_lost(self, error: BaseException) -> bool:
        return _number_and_text(error)[0] in _LOST

    def misses_table(self, error: BaseException) -> bool:
        return _number_and_text(error)[0] == 1146

    def refuse(self, driver: Any) -> str | None:
        charset = getattr(driver, "charset", None)
        if charset in (None, "utf8mb4"):
            return None
        return (
            f"its connections have the character set {charset!r}, which does not hold every text; write ?charset=utf8mb4 "
            f"at the end of the URL"
        )

    # -- one owner -------------------------------------------------------------------------------------------------------

    def ownership(self, engine: sa.Engine, place: Collection[str], watch: Any, check: Check) -> Ownership:
        schema, table = place
        return _UserLock(engine, self, schema, table, watch, check)


class _UserLock(ServerLock):
    """``GET_LOCK``, which the server gives back when the session ends."""

    def try_to_lock(self, cursor: Any, schema: str, table: str) -> bool:
        settings = f"wait_timeout = {_SILENT_S}, SESSION autocommit = 1, SESSION group_concat_max_len = {4 * _TEXT}"
        cursor.execute(f"SET SESSION {settings}, {_PLAIN}")
        # Whatever the default: what is read is what an update sees, and no gaps between rows are locked.
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
        if not schema:
            cursor.execute("SELECT DATABASE()")
            schema = cursor.fetchone()[0] or ""
        # Such locks are the whole server's, and their names have 64 characters.
        self._name = "schedcore." + blake2b(f"{schema}\0{table}".encode(), digest_size=16).hexdigest()
        cursor.execute("SELECT GET_LOCK(%s, 0)", (self._name,))
        return bool(cursor.fetchone()[0] == 1)

    def still_has(self, cursor: Any) -> bool:
        cursor.execute("SELECT IS_USED_LOCK(%s) = CONNECTION_ID()", (self._name,))
        return bool(cursor.fetchone()[0] == 1)


def _make_room(table: sa.Table, bind: Any, **_: Any) -> None:
    """Have the table of runs, which is about to be made, give its rows the room that they will need.

    In this format a number that is NULL has its room. In the others a row grows when its run ends, which moves what is beside it:
    a batch of such changes takes a quarter longer. Long texts take more of a row, for which smaller pages have no room.
    """
    # The other kinds of ``bind`` only write down what they would do; and the tables may be made elsewhere, too.
    if isinstance(bind, sa.Connection) and bind.dialect.name in MySQL.dialects:
        usual = int(bind.exec_driver_sql("SELECT @@innodb_page_size").scalar_one()) >= _PAGE
        table.kwargs[f"{bind.dialect.name}_row_format"] = "REDUNDANT" if usual else "DEFAULT"


def _number_and_text(error: BaseException) -> tuple[int | None, str]:
    arguments = error.args
    number = arguments[0] if isinstance(error, pymysql.Error) and arguments else None
    if not isinstance(number, int):
        number = None
    text = str(arguments[1]) if len(arguments) > 1 else str(error)
    if number == 0 and not text:
        text = "the connection is closed"
    return number, text or type(error).__name__


def _json(rows: Sequence[Sequence[Any]]) -> str:
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def _change(batch: Batch, rows: Sequence[Sequence[Any]], verb: str, *, as_values: bool) -> tuple[str, tuple[str, ...]]:
    """A change of many rows, and its parameters. ``verb``: that of an INSERT; ``as_values``: numbers may be rows of VALUES."""
    put: dict[str, str] = {}  # in the place of each value
    different: list[tuple[str, str, tuple[Any, ...]]] = []
    for name, kind, column in zip(batch.names, batch.types, zip(*rows, strict=True), strict=True):
        first = column[0]
        if kind == "int" and column.count(first) == len(column):
            put[name] = "NULL" if first is None else str(first)
        else:
            put[name] = f"d.p_{name}"
            different.append((f"p_{name}", kind, column))
    values, where = (batch.fill(part, put.__getitem__) for part in (batch.values, batch.where))
    table = batch.table
    parameters: tuple[str, ...] = ()
    rows_of = "(SELECT 1)"
    if different:
        few = list(zip(*(column for _, _, column in different), strict=True))
        if as_values and all(kind == "int" for _, kind, _ in different):
            # The names of the columns are those of the first row.
            named = zip(few[0], different, strict=True)
            first_row = ", ".join(f"{'NULL' if value is None else value} AS {name}" for value, (name, _, _) in named)
            rest = _json(few[1:])[1:-1].translate(_ROUND)
            rows_of = f"(SELECT {first_row} UNION ALL VALUES {rest})"
        else:
            columns = (f"{name} {_TYPES[kind]} PATH '$[{number}]'" for number, (name, kind, _) in enumerate(different))
            rows_of = f"JSON_TABLE(%s, '$[*]' COLUMNS ({', '.join(columns)}))"
            parameters = (_json(few),)
        # What is the same in all rows finds many in the table: not for each of them the others are read.
        table = f"{rows_of} AS d STRAIGHT_JOIN {table}"
    if batch.kind.startswith("insert"):
        return f"{verb} INTO {batch.table} ({batch.into}) SELECT {values} FROM {rows_of} AS d", parameters
    if batch.kind == "update":
        return f"UPDATE {table} SET {values} WHERE {where}", parameters
    return f"DELETE {batch.table} FROM {table} WHERE {where}", parameters


def _insert(batch: Batch, verb: str) -> Many:
    """One INSERT for many rows."""
    head = f"{verb} INTO {batch.table} ({batch.into}) VALUES "
    numbers = all(kind == "int" for kind in batch.types)
    row = Batch.fill("(" + batch.values.replace("%", "%%") + ")", lambda name: "%d" if numbers else "%s")
    kinds = batch.types

    def run(cursor: Any, rows: Sequence[Sequence[Any]]) -> int:
        if numbers:
            values = [row % tuple(some) for some in rows]
        else:
            escape = cursor.connection.escape
            columns = [
                _literals(kind, column, escape) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)
            ]
            values = [row % some for some in zip(*columns, strict=True)]
        changed = 0
        for some in _parts(values):
            changed += cursor.execute(head + ",".join(some))
        return changed

    return run


def _in_single_statements(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """Rows of ids and payloads in parts for each of which one INSERT is enough."""
    first = size = 0
    for number, row in enumerate(rows):
        more = 2 * len(row[1]) + _ID
        if number > first and (size + more > _TEXT or number - first >= _ROWS):
            yield rows[first:number]
            first, size = number, 0
        size += more
    yield rows[first:]


def _literals(kind: str, values: tuple[Any, ...], escape: Callable[[Any], str]) -> list[str]:
    """The values of a column, written out."""
    if kind == "bytes":
        return [_hexadecimal(value) for value in values]
    first = values[0]
    if values.count(first) == len(values):  # as most states and reasons are
        return ["NULL" if first is None else escape(first)] * len(values)
    # As most ids are: the driver would look at each by itself, for ten times as long.
    if kind != "int" and None not in values and _is_plain("".join(values)):
        return [f"'{value}'" for value in values]
    # What the driver would make of a number, too, at a tenth of the cost.
    return ["NULL" if value is None else str(value) if type(value) is int else escape(value) for value in values]


def _hexadecimal(value: bytes) -> str:
    # Whatever the connection's encoding and the server's rules for escapes are.
    return f"x'{value.hex()}'"


def _parts(values: list[str]) -> list[list[str]]:
    """Rows of values in parts that are not too long."""
    parts: list[list[str]] = []
    first = size = 0
    for number, value in enumerate(values):
        if number > first and (size + len(value) > _TEXT or number - first >= _ROWS):
            parts.append(values[first:number])
            first, size = number, 0
        size += len(value)
    return [*parts, values[first:]]

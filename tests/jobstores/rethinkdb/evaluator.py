"""An evaluator of the ReQL terms that the RethinkDB store sends. **It is test code, and not RethinkDB.**

It answers the official driver over its protocol, with the handshake, so that the driver's part is real. It was written from the
documentation of the terms and of the limits ("ReQL data types", "Using secondary indexes", "Limitations", "Consistency
guarantees", "Writing RethinkDB drivers"), and ``test_evaluator.py`` holds it to their examples. Where a server may be kind, it is
not: tables and indexes are not ready before they were waited for, rows that are not ordered come in no order that
anybody counts on, answers come in batches. A term, an option or an argument that it does not know fails the test.

What it cannot show is whether a real server agrees, nor anything about clusters: each query is carried out alone.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import hashlib
import hmac
import inspect
import json
import re
import socket
import socketserver
import struct
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from rethinkdb import ql2_pb2  # type: ignore[import-untyped, unused-ignore]

__all__ = ["Evaluator", "EvaluatorServer", "Failure", "Table", "Unknown"]

_TYPES = ql2_pb2.Term.TermType
_NAMES = {value: name for name, value in vars(_TYPES).items() if isinstance(value, int)}
_ERRORS = ql2_pb2.Response.ErrorType
_RESPONSES = ql2_pb2.Response.ResponseType
_QUERIES = ql2_pb2.Query.QueryType

# How values of several types are ordered: by the names of their types.
_TYPE_ORDER = (
    "MINVAL",
    "ARRAY",
    "BOOL",
    "NULL",
    "NUMBER",
    "OBJECT",
    "PTYPE<BINARY>",
    "PTYPE<TIME>",
    "STRING",
    "MAXVAL",
)
_OF_KEYS = ("ARRAY", "BOOL", "NUMBER", "PTYPE<BINARY>", "PTYPE<TIME>", "STRING")
_META = {"DB_CREATE", "DB_LIST", "TABLE_CREATE", "TABLE_LIST", "INDEX_CREATE", "INDEX_LIST"}
_WRITES = {"INSERT", "UPDATE", "REPLACE", "DELETE"}
_STREAM_OPERATIONS = {"MAP", "FILTER", *_WRITES}
# What makes the function of a write, or of an index, one of more than its row.
_NOT_DETERMINISTIC = {"TABLE", "NOW", *_META, *_WRITES}

# Rows in one answer, elements of an array, bytes of a query, and characters of a primary key.
BATCH = 300
ARRAY_LIMIT = 100_000
QUERY_LIMIT = 64 * 1024 * 1024
KEY_LIMIT = 127

Row = dict[str, Any]


class Failure(Exception):
    """What a server answers with an error."""

    def __init__(self, message: str, kind: int = _ERRORS.QUERY_LOGIC) -> None:
        super().__init__(message)
        self.kind = kind


class Unknown(Exception):
    """Something that the evaluator does not know: a server may do anything there."""


class _Bound(NamedTuple):
    name: str


class _Function(NamedTuple):
    arity: int
    body: Any
    call: Callable[..., Any]


# What most values are.
_KINDS: dict[type, str] = {
    list: "ARRAY",
    bool: "BOOL",
    type(None): "NULL",
    int: "NUMBER",
    float: "NUMBER",
    str: "STRING",
}


def type_of(value: Any) -> str:
    name = _KINDS.get(type(value))
    if name is not None:
        return name
    if isinstance(value, _Bound):
        return value.name
    if isinstance(value, Stream):
        return value.kind
    if isinstance(value, One):
        return "NULL" if value.row is None else "SELECTION<OBJECT>"
    if isinstance(value, _Function):
        return "FUNCTION"
    kind = value.get("$reql_type$")
    return "OBJECT" if kind is None else f"PTYPE<{kind}>"


def order(value: Any) -> tuple[Any, ...]:
    """A key for sorting values as a server does: by the name of the type, then by value, text by its bytes."""
    name = type_of(value)
    rank = _TYPE_ORDER.index(name)
    if name == "ARRAY":
        return rank, tuple(order(item) for item in value)
    if name == "OBJECT":
        return rank, tuple((key.encode(), order(value[key])) for key in sorted(value))
    if name == "PTYPE<TIME>":
        return rank, value["epoch_time"]
    if name == "PTYPE<BINARY>":
        return rank, base64.b64decode(value["data"])
    if name == "STRING":
        return rank, value.encode("utf-8", "surrogatepass")
    return (rank,) if isinstance(value, _Bound) else (rank, value)


def merged(left: Row, right: Row) -> Row:
    """Objects merge with what they contain."""
    found = dict(left)
    for name, value in right.items():
        old = found.get(name)
        inner = type_of(old) == type_of(value) == "OBJECT"
        found[name] = merged(old, value) if inner and isinstance(old, dict) else value
    return found


class Index:
    """The rows of a table that a function gives something for."""

    def __init__(self, function: Callable[[Row], Any]) -> None:
        self.function = function
        self.ready = False
        self.values: dict[Any, Any] = {}
        self._sorted: list[tuple[Any, Any]] | None = None

    def put(self, key: Any, row: Row) -> None:
        self.drop(key)
        try:
            value = self.function(row)
        except Failure:
            return  # a row for which the function fails is not in the index
        if _is_key(value):
            self.values[key] = order(value)

    def drop(self, key: Any) -> None:
        self.values.pop(key, None)
        self._sorted = None

    def sorted(self) -> list[tuple[Any, Any]]:
        """Values and primary keys, in order."""
        if self._sorted is None:
            self._sorted = sorted(((value, key) for key, value in self.values.items()), key=_placed)
        return self._sorted


def _placed(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """Where a value and a primary key come: by the key where values are equal."""
    value, key = pair
    return value, order(key) if isinstance(key, str) else key


def _is_key(value: Any) -> bool:
    """Whether a value can be in an index: nulls and objects cannot, nor arrays with such."""
    return type_of(value) in _OF_KEYS and (not isinstance(value, list) or all(_is_key(item) for item in value))


class Table:
    """Rows by primary key."""

    def __init__(self) -> None:
        self.rows: dict[Any, Row] = {}
        self.indexes: dict[str, Index] = {}
        self.ready = False

    def put(self, row: Row) -> None:
        key = _hashable(row["id"])
        self.rows[key] = row
        for index in self.indexes.values():
            index.put(key, row)

    def drop(self, key: Any) -> None:
        self.rows.pop(_hashable(key), None)
        for index in self.indexes.values():
            index.drop(_hashable(key))

    def alter(self, key: str, **fields: Any) -> None:
        """As somebody else would."""
        self.put({**self.rows[_hashable(key)], **fields})


def _hashable(key: Any) -> Any:
    """Two keys are one if they are ordered alike; text, which most are, stands for itself."""
    return key if isinstance(key, str) else order(key)


class Stream:
    """Rows, or other values, one after another. Of a table, a part of it (``TABLE_SLICE``), a selection, or of none."""

    def __init__(self, kind: str, items: Sequence[Any], table: Table | None = None, by: str | None = None) -> None:
        self.kind = kind
        self.items = items
        self.table = table
        #: The index that they were found by.
        self.by = by


class One:
    """One row of a table, or where it would be."""

    def __init__(self, table: Table, key: Any) -> None:
        self.table = table
        self.key = key

    @property
    def row(self) -> Row | None:
        return self.table.rows.get(_hashable(self.key))


def terms(term: Any) -> Iterator[tuple[str, list[Any], Row]]:
    """A term and all terms inside it: name, arguments, options."""
    if isinstance(term, dict):
        for part in term.values():
            yield from terms(part)
    if not isinstance(term, list):
        return
    arguments = term[1] if len(term) > 1 else []
    options = term[2] if len(term) > 2 else {}
    name = _NAMES[term[0]]
    yield name, arguments, options
    if name == "FUNC":
        arguments = arguments[1:]  # the numbers of its parameters
    if name != "DATUM":
        for part in (*arguments, *options.values()):
            yield from terms(part)


class Evaluator:
    """Databases in memory, and the terms that read and write them."""

    def __init__(self) -> None:
        self.databases: dict[str, dict[str, Table]] = {}
        self.lock = threading.Lock()
        #: Seconds that its clock is ahead.
        self.ahead_s = 0.0
        #: Rows of streams that were mapped, which is how the store reads.
        self.rows_read = 0
        self._methods: dict[int, Callable[..., Any]] = {
            number: getattr(self, f"do_{name.lower()}")
            for number, name in _NAMES.items()
            if hasattr(self, f"do_{name.lower()}")
        }

    def run(self, query: Any) -> Any:
        """The result of a query: a value, or a stream."""
        with self.lock:
            self.now_s = round(time.time() + self.ahead_s, 3)
            self.check(query)
            found = self.eval(query, {})
            if isinstance(found, _Bound | _Function):
                raise Failure(f"a {type_of(found)} cannot be sent")
            return self.datum(found) if isinstance(found, One) else found

    def check(self, query: Any) -> None:
        """What is refused before anything is carried out."""
        for name, arguments, options in terms(query):
            if not hasattr(self, f"do_{name.lower()}"):
                raise Unknown(f"the term {name}")
            try:
                _signature(name).bind(self, {}, *arguments, **options)
            except TypeError as error:
                raise Unknown(f"arguments of the term {name}: {error}") from error
            if name in _STREAM_OPERATIONS:
                for inner, _, _ in terms([_TYPES.MAKE_ARRAY, [*arguments[1:], *options.values()]]):
                    if inner in _META or inner in _WRITES:
                        raise Failure("Cannot nest writes or meta ops in stream operations.  Use FOR_EACH instead.")
            if name == "BRANCH" and len(arguments) % 2 == 0:
                raise Failure("Cannot call `branch` term with an even number of arguments.")

    def eval(self, term: Any, names: dict[Any, Any]) -> Any:
        kind = type(term)
        if kind is list:
            method = self._methods[term[0]]
            if len(term) == 2:
                return method(names, *term[1])
            return method(names, *term[1], **term[2]) if len(term) > 2 else method(names)
        if kind is dict:
            if "$reql_type$" in term:
                return self.pseudo_type(term)
            return {name: self.datum(self.eval(part, names)) for name, part in term.items()}
        return _number(term) if kind is int else term

    def pseudo_type(self, value: Row) -> Row:
        if value["$reql_type$"] == "BINARY":
            try:
                base64.b64decode(value["data"], validate=True)
            except (KeyError, TypeError, binascii.Error) as error:
                raise Failure(f"Invalid binary pseudotype: {error}") from error
        elif value["$reql_type$"] != "TIME":
            raise Unknown(f"the pseudotype {value['$reql_type$']}")
        return value

    def datum(self, found: Any, *kinds: str) -> Any:
        """A value that can be a part of others; of one of these types."""
        if type(found) not in _KINDS:
            if isinstance(found, One):
                found = found.row
            elif isinstance(found, Stream | _Function):
                raise Failure(f"Expected type DATUM but found {type_of(found)}.")
        if kinds and type_of(found) not in kinds:
            kind = _ERRORS.NON_EXISTENCE if found is None else _ERRORS.QUERY_LOGIC
            raise Failure(f"Expected type {' or '.join(kinds)} but found {type_of(found)}.", kind)
        return found

    def get(self, term: Any, names: dict[Any, Any], *kinds: str) -> Any:
        return self.datum(self.eval(term, names), *kinds)

    def array(self, items: list[Any]) -> list[Any]:
        if len(items) > ARRAY_LIMIT:
            raise Failure(f"Array over size limit `{ARRAY_LIMIT}`.", _ERRORS.RESOURCE_LIMIT)
        return items

    def holds(self, term: Any, names: Any) -> bool:
        """Everything but false and null does."""
        found = self.get(term, names)
        return found is not None and found is not False

    # --- values ---

    def do_make_array(self, names: Any, *items: Any) -> Any:
        return self.array([self.get(item, names) for item in items])

    def do_minval(self, names: Any) -> Any:
        return _Bound("MINVAL")

    def do_maxval(self, names: Any) -> Any:
        return _Bound("MAXVAL")

    def do_now(self, names: Any) -> Any:
        return {"$reql_type$": "TIME", "epoch_time": self.now_s, "timezone": "+00:00"}

    def do_epoch_time(self, names: Any, at: Any) -> Any:
        return {"$reql_type$": "TIME", "epoch_time": round(self.get(at, names, "NUMBER"), 3), "timezone": "+00:00"}

    def do_add(self, names: Any, left: Any, right: Any) -> Any:
        first = self.get(left, names, "NUMBER", "STRING", "PTYPE<TIME>")
        second = self.get(right, names, "STRING" if isinstance(first, str) else "NUMBER")
        if isinstance(first, dict):
            return {**first, "epoch_time": round(first["epoch_time"] + second, 3)}
        return first + second if isinstance(first, str) else _number(first + second)

    def do_eq(self, names: Any, left: Any, right: Any) -> Any:
        return order(self.get(left, names)) == order(self.get(right, names))

    def do_ne(self, names: Any, left: Any, right: Any) -> Any:
        return not self.do_eq(names, left, right)

    def do_lt(self, names: Any, left: Any, right: Any) -> Any:
        return order(self.get(left, names)) < order(self.get(right, names))

    def do_le(self, names: Any, left: Any, right: Any) -> Any:
        return order(self.get(left, names)) <= order(self.get(right, names))

    def do_type_of(self, names: Any, value: Any) -> Any:
        return type_of(self.eval(value, names))

    def do_to_json_string(self, names: Any, value: Any) -> Any:
        return json.dumps(self.get(value, names), separators=(",", ":"), sort_keys=True)

    def do_branch(self, names: Any, *parts: Any) -> Any:
        for at in range(0, len(parts) - 1, 2):
            if self.holds(parts[at], names):
                return self.eval(parts[at + 1], names)
        return self.eval(parts[-1], names)

    def do_default(self, names: Any, value: Any, default: Any) -> Any:
        try:
            found = self.get(value, names)
        except Failure as failure:
            if failure.kind != _ERRORS.NON_EXISTENCE:
                raise
            found = None
        return self.get(default, names) if found is None else found

    def do_funcall(self, names: Any, function: Any, *values: Any) -> Any:
        called = self.function(function, names, len(values))
        return called(*[self.get(value, names) for value in values])

    def do_func(self, names: Any, parameters: Any, body: Any) -> Any:
        _, numbers = parameters

        def call(*values: Any) -> Any:
            return self.eval(body, {**names, **dict(zip(numbers, values, strict=True)), "row": values[0]})

        return _Function(len(numbers), body, call)

    def do_var(self, names: Any, number: Any) -> Any:
        return names[number]

    def do_implicit_var(self, names: Any) -> Any:
        return names["row"]

    def function(self, term: Any, names: Any, arity: int = 1, *, of_its_row: bool = False) -> Callable[..., Any]:
        """A function of so many values; ``of_its_row``: and of nothing else."""
        found = self.eval(term, names)
        if not isinstance(found, _Function):
            raise Failure(f"Expected type FUNCTION but found {type_of(found)}.")
        if found.arity != arity:
            raise Failure(f"Expected function with {arity} arguments but found function with {found.arity}.")
        if of_its_row and any(name in _NOT_DETERMINISTIC for name, _, _ in terms(found.body)):
            raise Failure("Could not prove function deterministic.  Maybe you want to use the non_atomic flag?")
        return found.call

    def do_bracket(self, names: Any, value: Any, field: Any) -> Any:
        name = self.get(field, names)
        if not isinstance(name, str):
            raise Unknown("what is at a place")
        row = self.get(value, names, "OBJECT")
        if name not in row:
            raise Failure(f"No attribute `{name}` in object.", _ERRORS.NON_EXISTENCE)
        return row[name]

    def do_merge(self, names: Any, left: Any, right: Any) -> Any:
        return merged(self.get(left, names, "OBJECT"), self.get(right, names, "OBJECT"))

    def do_pluck(self, names: Any, value: Any, *fields: Any) -> Any:
        row = self.get(value, names, "OBJECT")
        return {name: row[name] for name in fields if name in row}

    def do_without(self, names: Any, value: Any, *fields: Any) -> Any:
        row = self.get(value, names, "OBJECT")
        return {name: value for name, value in row.items() if name not in fields}

    def do_count(self, names: Any, value: Any) -> Any:
        found = self.eval(value, names)
        if isinstance(found, Stream):
            self.check_ready(found)
            return len(found.items)
        found = self.datum(found, "ARRAY", "OBJECT", "STRING", "PTYPE<BINARY>")
        return len(base64.b64decode(found["data"])) if type_of(found) == "PTYPE<BINARY>" else len(found)

    def do_is_empty(self, names: Any, value: Any) -> Any:
        return not self.stream(value, names).items

    def do_map(self, names: Any, rows: Any, function: Any) -> Any:
        found, change = self.eval(rows, names), self.function(function, names)
        if isinstance(found, Stream):
            # Only as far as it is asked for: a server does no more at once either.
            return Stream("STREAM", _Mapped(found.items, lambda item: self.mapped(change, item)))
        return self.array([self.datum(change(item)) for item in self.datum(found, "ARRAY")])

    def mapped(self, change: Callable[..., Any], item: Any) -> Any:
        self.rows_read += 1
        return self.datum(change(item))

    # --- databases, tables and indexes ---

    def do_db(self, names: Any, name: str) -> Any:
        if name not in self.databases:
            raise Failure(f"Database `{name}` does not exist.", _ERRORS.OP_FAILED)
        return self.databases[name]

    def do_db_list(self, names: Any) -> Any:
        return ["rethinkdb", "test", *self.databases]

    def do_db_create(self, names: Any, name: str) -> Any:
        self.name(name)
        if name in self.databases:
            raise Failure(f"Database `{name}` already exists.", _ERRORS.OP_FAILED)
        self.databases[name] = {}
        return {"dbs_created": 1}

    def do_table_list(self, names: Any, database: Any) -> Any:
        return list(self.eval(database, names))

    def do_table_create(self, names: Any, database: Any, name: str) -> Any:
        self.name(name)
        tables = self.eval(database, names)
        if name in tables:
            raise Failure(f"Table `{name}` already exists.", _ERRORS.OP_FAILED)
        tables[name] = Table()
        return {"tables_created": 1}

    def name(self, name: str) -> None:
        if not re.fullmatch("[A-Za-z0-9_-]+", name):
            raise Failure(f"Name `{name}` invalid (Use A-Z, a-z, 0-9, _ and - only).")

    def do_table(self, names: Any, database: Any, name: str, *, read_mode: str = "single") -> Any:
        if read_mode not in ("single", "majority", "outdated"):
            raise Failure(f"Read mode `{read_mode}` unrecognized.")
        table = self.eval(database, names).get(name)
        if table is None:
            raise Failure(f"Table `{name}` does not exist.", _ERRORS.OP_FAILED)
        # Rows come in no order: not in that in which they were written, for one.
        return Stream("TABLE", _Backwards(table), table)

    def table(self, term: Any, names: Any, *, waits: bool = False) -> Table:
        stream = self.eval(term, names)
        if not isinstance(stream, Stream) or stream.kind != "TABLE" or stream.table is None:
            raise Failure(f"Expected type TABLE but found {type_of(stream)}.")
        if not waits:
            self.check_ready(stream)
        return stream.table

    def do_wait(self, names: Any, table: Any, *, wait_for: str = "ready_for_writes", timeout: Any = 0) -> Any:
        if wait_for not in ("ready_for_reads", "ready_for_writes", "all_replicas_ready"):
            raise Unknown(f"waiting for {wait_for}")
        self.table(table, names, waits=True).ready = True
        return {"ready": 1}

    def do_index_list(self, names: Any, table: Any) -> Any:
        return sorted(self.table(table, names).indexes)

    def do_index_create(self, names: Any, table: Any, name: str, function: Any) -> Any:
        target = self.table(table, names)
        if name in target.indexes or name == "id":
            raise Failure(f"Index `{name}` already exists on table.", _ERRORS.OP_FAILED)
        call = self.function(function, names, of_its_row=True)
        index = target.indexes[name] = Index(lambda row: self.datum(call(row)))
        for key, row in target.rows.items():
            index.put(key, row)
        return {"created": 1}

    def do_index_wait(self, names: Any, table: Any, *wanted: str) -> Any:
        indexes = self.table(table, names).indexes
        for name in wanted or indexes:
            self.index(indexes, name, waits=True).ready = True
        return [{"index": name, "ready": True} for name in wanted or indexes]

    def index(self, indexes: dict[str, Index], name: str, *, waits: bool = False) -> Index:
        if name not in indexes:
            raise Failure(f"Index `{name}` was not found on table.", _ERRORS.OP_FAILED)
        if not (indexes[name].ready or waits):
            raise Failure(f"Index `{name}` was accessed before its construction was finished.", _ERRORS.OP_FAILED)
        return indexes[name]

    # --- rows ---

    def stream(self, term: Any, names: Any, *kinds: str) -> Stream:
        found = self.eval(term, names)
        if not isinstance(found, Stream) or (kinds and found.kind not in kinds):
            raise Failure(f"Expected type {' or '.join(kinds) or 'SEQUENCE'} but found {type_of(found)}.")
        self.check_ready(found)
        return found

    def check_ready(self, stream: Stream) -> None:
        if stream.table is not None and not stream.table.ready:
            raise Failure("Cannot perform read: primary replica for shard is not available.", _ERRORS.OP_FAILED)

    def of_table(self, stream: Stream) -> Table:
        assert stream.table is not None
        return stream.table

    def do_get(self, names: Any, table: Any, key: Any) -> Any:
        return One(self.table(table, names), self.key(self.get(key, names)))

    def key(self, key: Any) -> Any:
        if not _is_key(key):
            raise Failure(
                f"Primary keys must be a number, string, bool, pseudotype or array (got type {type_of(key)})."
            )
        if isinstance(key, str) and len(key.encode()) > KEY_LIMIT:
            raise Failure(f"Primary key too long (max {KEY_LIMIT} characters): {key}")
        if isinstance(key, str) and "\0" in key:
            raise Failure("Primary keys cannot contain `\\u0000`.")
        return key

    def do_get_all(self, names: Any, table: Any, *keys: Any, index: str | None = None) -> Any:
        target = self.table(table, names)
        wanted = [self.get(key, names) for key in keys]
        for key in wanted:
            if not _is_key(key):
                raise Failure(f"Keys cannot be {type_of(key)}.", _ERRORS.NON_EXISTENCE if key is None else _ERRORS.USER)
        if index is None:
            rows = [target.rows[_hashable(self.key(key))] for key in wanted if _hashable(key) in target.rows]
        else:
            values = self.index(target.indexes, index).values
            sought = [order(key) for key in wanted]
            rows = [target.rows[key] for key, value in values.items() if value in sought]
        return Stream("SELECTION<STREAM>", rows[::-1], target)

    def do_between(
        self,
        names: Any,
        rows: Any,
        low: Any,
        high: Any,
        *,
        index: str,
        left_bound: str = "closed",
        right_bound: str = "open",
    ) -> Any:
        table = self.table(rows, names)
        found = self.index(table.indexes, index).sorted()
        first, last = (order(self.bound(self.eval(bound, names))) for bound in (low, high))
        bisect = {"closed": (bisect_left, bisect_right), "open": (bisect_right, bisect_left)}

        def value(pair: tuple[Any, Any]) -> Any:
            return pair[0]

        start = bisect[left_bound][0](found, first, key=value)
        end = bisect[right_bound][1](found, last, key=value)
        # Not ordered yet.
        return Stream("TABLE_SLICE", [table.rows[key] for _, key in found[start:end]][::-1], table, index)

    def bound(self, value: Any) -> Any:
        """The end of a range: what an index can have, and minval and maxval in the place of anything."""
        for part in value if isinstance(value, list) else [value]:
            if not (isinstance(part, _Bound) or _is_key(part)):
                raise Failure(f"Keys cannot be {type_of(part)}.")
        return value

    def do_asc(self, names: Any, name: str) -> Any:
        raise Failure("ASC may only be used as an argument to ORDER_BY.")

    def do_desc(self, names: Any, name: str) -> Any:
        raise Failure("DESC may only be used as an argument to ORDER_BY.")

    def do_order_by(self, names: Any, rows: Any, *, index: Any) -> Any:
        stream = self.stream(rows, names)
        if stream.kind not in ("TABLE", "TABLE_SLICE"):
            raise Failure("Indexed order_by can only be performed on a TABLE or TABLE_SLICE.")
        falling = isinstance(index, list)
        if falling and index[0] not in (_TYPES.ASC, _TYPES.DESC):
            raise Unknown(f"an order by {index}")
        name = index[1][0] if falling else index
        falling = falling and index[0] == _TYPES.DESC
        if stream.by not in (None, name):
            raise Failure(f"Cannot order by index `{name}` after calling BETWEEN on index `{stream.by}`.")
        table = self.of_table(stream)
        values = self.index(table.indexes, name).values
        keys = {_hashable(row["id"]) for row in stream.items} & values.keys()
        pairs = sorted(((values[key], key) for key in keys), key=_placed, reverse=falling)
        return Stream("TABLE_SLICE", [table.rows[key] for _, key in pairs], table, name)

    def part(self, stream: Stream, items: Sequence[Any]) -> Stream:
        """Some of a stream's items: of a table's they are a selection, which can be written."""
        return Stream("STREAM" if stream.table is None else "SELECTION<STREAM>", items, stream.table)

    def do_limit(self, names: Any, rows: Any, count: Any) -> Any:
        stream = self.stream(rows, names)
        return self.part(stream, stream.items[: self.whole(count, names)])

    def do_skip(self, names: Any, rows: Any, count: Any) -> Any:
        stream = self.stream(rows, names)
        return self.part(stream, stream.items[self.whole(count, names) :])

    def whole(self, count: Any, names: Any) -> int:
        found = self.get(count, names, "NUMBER")
        if found != int(found) or found < 0:
            raise Failure(f"LIMIT takes a non-negative argument (got {found})")
        return int(found)

    def do_filter(self, names: Any, rows: Any, wanted: Any) -> Any:
        stream, test = self.stream(rows, names), self.eval(wanted, names)

        def fits(row: Row) -> bool:
            try:
                if isinstance(test, _Function):
                    return self.datum(test.call(row)) not in (None, False)
                return all(name in row and order(row[name]) == order(test[name]) for name in test)
            except Failure as failure:
                if failure.kind != _ERRORS.NON_EXISTENCE:
                    raise
                return False  # rows without a field that is asked for are left out

        return self.part(stream, [row for row in stream.items if fits(row)])

    # --- writing ---

    def written(
        self, targets: Sequence[tuple[Table, Any, Callable[[Row | None], Row | None]]], return_changes: Any
    ) -> Row:
        """Write rows one by one; each write sees the row as it is, and stands for itself."""
        if return_changes not in (False, True, "always"):
            raise Failure(f"Invalid return_changes value `{return_changes}`.")
        result: Row = dict.fromkeys(("deleted", "errors", "inserted", "replaced", "skipped", "unchanged"), 0)
        changes: list[Row] = []
        for table, key, change in targets:
            old = table.rows.get(_hashable(key))
            told: Row = {"old_val": old, "new_val": old}
            try:
                new = change(old)
                if new is not None:
                    self.check_row(key, new)
            except Failure as failure:
                result["errors"] += 1
                result.setdefault("first_error", str(failure))
                told["error"] = str(failure)
            else:
                told["new_val"] = new
                what = self.outcome(old, new)
                result[what] += 1
                if what in ("inserted", "replaced", "deleted"):
                    table.drop(key) if new is None else table.put(new)
                    changes += [told] if return_changes is True else []
            changes += [told] if return_changes == "always" else []
        if return_changes is not False:
            result["changes"] = self.array(changes)
        return result

    def outcome(self, old: Row | None, new: Row | None) -> str:
        if new is None:
            return "skipped" if old is None else "deleted"
        if old is None:
            return "inserted"
        return "unchanged" if order(old) == order(new) else "replaced"

    def check_row(self, key: Any, row: Any) -> None:
        if type_of(row) != "OBJECT":
            raise Failure(f"Inserted value must be an OBJECT (got {type_of(row)}).")
        if "id" not in row:
            raise Failure("Inserted object must have primary key `id`.")
        if order(row["id"]) != order(key):
            raise Failure("Primary key `id` cannot be changed.")
        self.key(key)
        self.check_value(row)

    def check_value(self, value: Any) -> None:
        if isinstance(value, _Bound):
            raise Failure("`r.minval` and `r.maxval` cannot be written to disk.")
        if isinstance(value, list) and len(value) > ARRAY_LIMIT:
            raise Failure("Array too large for disk writes (limit 100,000 elements).")
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for part in parts:
            self.check_value(part)

    def selected(self, term: Any, names: Any) -> list[tuple[Table, Any]]:
        """The places of the rows of a selection."""
        found = self.eval(term, names)
        if isinstance(found, One):
            return [(found.table, found.key)]
        if not isinstance(found, Stream) or found.table is None:
            raise Failure(f"Expected type SELECTION but found {type_of(found)}.")
        table = found.table
        return [(table, row["id"]) for row in found.items]

    def do_replace(self, names: Any, target: Any, function: Any, *, return_changes: Any = False) -> Any:
        call = self.function(function, names, of_its_row=True)
        return self.written(
            [(table, key, lambda old: self.datum(call(old))) for table, key in self.selected(target, names)],
            return_changes,
        )

    def do_update(self, names: Any, target: Any, function: Any, *, return_changes: Any = False) -> Any:
        call = self.function(function, names, of_its_row=True)

        def change(old: Row | None) -> Row | None:
            new = None if old is None else self.datum(call(old))
            return old if old is None or new is None else merged(old, new)

        return self.written([(*place, change) for place in self.selected(target, names)], return_changes)

    def do_delete(self, names: Any, target: Any, *, return_changes: Any = False) -> Any:
        return self.written([(*place, lambda old: None) for place in self.selected(target, names)], return_changes)

    def do_insert(
        self, names: Any, table: Any, rows: Any, *, conflict: Any = "error", return_changes: Any = False
    ) -> Any:
        target = self.table(table, names)
        found = self.get(rows, names, "ARRAY", "OBJECT")
        if isinstance(conflict, str):
            if conflict not in ("error", "replace", "update"):
                raise Failure(f"Conflict option `{conflict}` unrecognized.")
            resolve = None
        else:
            resolve = self.function(conflict, names, 3, of_its_row=True)

        def change(old: Row | None, new: Row) -> Row | None:
            if old is None or conflict == "replace":
                return new
            if conflict == "update":
                return merged(old, new)
            if resolve is None:
                raise Failure("Duplicate primary key `id`.")
            solved: Row | None = self.datum(resolve(new["id"], old, new))
            return solved

        places = []
        for new in found if isinstance(found, list) else [found]:
            if "id" not in new:
                raise Unknown("generated keys")
            places.append((target, new["id"], lambda old, new=new: change(old, new)))
        return self.written(places, return_changes)


class _Backwards(Sequence[Row]):
    """The rows of a table, in an order of no meaning, without copying them."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table.rows)

    def __getitem__(self, at: Any) -> Any:
        return list(self.table.rows.values())[::-1][at]

    def __iter__(self) -> Iterator[Row]:
        return iter(list(self.table.rows.values())[::-1])


class _Mapped(Sequence[Any]):
    """What a function makes of each of some items, when it is asked for."""

    def __init__(self, items: Sequence[Any], change: Callable[[Any], Any]) -> None:
        self.items = items
        self.change = change

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, at: Any) -> Any:
        return _Mapped(self.items[at], self.change) if isinstance(at, slice) else self.change(self.items[at])


@functools.cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(getattr(Evaluator, f"do_{name.lower()}"))


def _number(value: Any) -> Any:
    """As a double keeps it."""
    if type(value) is int:
        return int(float(value))
    return value


class _Handler(socketserver.StreamRequestHandler):
    server: EvaluatorServer
    disable_nagle_algorithm = True

    def handle(self) -> None:
        # Items of each query that were not asked for yet.
        self.left: dict[int, Sequence[Any]] = {}
        with contextlib.suppress(ConnectionError, EOFError):
            if not self.greet():
                return
            while True:
                token, length = struct.unpack("<QL", self.read(12))
                query = self.read(length)
                if length > QUERY_LIMIT:
                    answer = {"t": _RESPONSES.CLIENT_ERROR, "r": ["Query size greater than maximum (64 MB)."], "b": []}
                else:
                    answer = self.answer(token, json.loads(query))
                text = json.dumps(answer).encode()
                self.wfile.write(struct.pack("<QL", token, len(text)) + text)
                del query, answer, text  # which may be large, and the next one may not come soon

    def read(self, length: int) -> bytes:
        found = self.rfile.read(length)
        if len(found) < length:
            raise EOFError
        return found

    def text(self) -> Any:
        found = b""
        while not found.endswith(b"\0"):
            found += self.read(1)
        return json.loads(found[:-1])

    def say(self, **values: Any) -> None:
        self.wfile.write(json.dumps({"success": True, **values}).encode() + b"\0")

    def greet(self) -> bool:
        """The handshake of version 1.0: SCRAM-SHA-256. Whether the password was right."""
        assert struct.unpack("<L", self.read(4))[0] == ql2_pb2.VersionDummy.Version.V1_0
        client_first = self.text()["authentication"].removeprefix("n,,")
        nonce = client_first.partition(",r=")[2] + "server"
        server_first = f"r={nonce},s={base64.b64encode(b'salt').decode()},i=1"
        self.say(min_protocol_version=0, max_protocol_version=0, server_version="evaluator")
        self.say(authentication=server_first)
        client_last, _, proof = self.text()["authentication"].partition(",p=")
        salted = hashlib.pbkdf2_hmac("sha256", self.server.password.encode(), b"salt", 1)
        said = f"{client_first},{server_first},{client_last}".encode()
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), said, "sha256")
        if bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True)) != client_key:
            self.say(success=False, error="Wrong password", error_code=12)
            return False
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.say(authentication=f"v={base64.b64encode(hmac.digest(server_key, said, 'sha256')).decode()}")
        return True

    def answer(self, token: int, query: Any) -> Any:
        if query[0] == _QUERIES.CONTINUE:
            if token not in self.left:
                return {"t": _RESPONSES.CLIENT_ERROR, "r": [f"Token {token} not in stream cache."], "b": []}
            return self.told(lambda: self.batch(token, self.left.pop(token)), query)
        assert query[0] == _QUERIES.START
        self.server.asked(query[1])
        return self.told(lambda: self.result(token, self.server.evaluator.run(query[1])), query)

    def told(self, answer: Callable[[], Any], query: Any) -> Any:
        try:
            return answer()
        except Failure as failure:
            return {"t": _RESPONSES.RUNTIME_ERROR, "e": failure.kind, "r": [str(failure)], "b": []}
        except Exception as error:
            self.server.unknown.append(f"{type(error).__name__}: {error} in {str(query)[:500]}")
            raise ConnectionError from error

    def result(self, token: int, found: Any) -> Any:
        if isinstance(found, Stream):
            return self.batch(token, found.items)
        return {"t": _RESPONSES.SUCCESS_ATOM, "r": [found]}

    def batch(self, token: int, items: Sequence[Any]) -> Any:
        if len(items) <= BATCH:
            return {"t": _RESPONSES.SUCCESS_SEQUENCE, "r": list(items)}
        self.left[token] = items[BATCH:]
        return {"t": _RESPONSES.SUCCESS_PARTIAL, "r": list(items[:BATCH])}


class EvaluatorServer(socketserver.ThreadingTCPServer):
    """The evaluator on a port of this machine."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, evaluator: Evaluator, password: str = "") -> None:
        self.evaluator = evaluator
        self.password = password
        #: Called with each query before it is carried out; if it raises ``ConnectionError``, the query is not answered.
        self.asked: Callable[[Any], None] = lambda query: None
        #: What was asked that the evaluator does not know.
        self.unknown: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port: int = self.server_address[1]
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="evaluator")
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def stop(self) -> None:
        """Cut all connections and end."""
        self.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

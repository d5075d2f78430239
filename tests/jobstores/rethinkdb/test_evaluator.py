"""The evaluator does what the documentation of ReQL says of the terms that the store uses, as far as it uses them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rethinkdb import ast, r  # type: ignore[import-untyped, unused-ignore]

from tests.jobstores.rethinkdb.evaluator import KEY_LIMIT, Evaluator, Failure, Stream, Table, Unknown

ROW = r.row
t = r.db("d").table("t")
ROWS: list[dict[str, Any]] = [
    {"id": "1", "a": 1, "b": "x"},
    {"id": "2", "a": 1, "b": "y"},
    {"id": "3", "a": 2, "b": "x"},
    {"id": "4", "a": None, "b": "x"},
    {"id": "5", "a": {"o": 1}, "b": "x"},
    {"id": "6", "b": "x"},
    {"id": "7", "a": True, "b": "x"},
    {"id": "8", "a": "text", "b": "x"},
    {"id": "9", "a": [2], "b": "x"},
]


@pytest.fixture
def evaluator() -> Evaluator:
    """With a table, its rows and its indexes."""
    found = Evaluator()
    ask(found, r.db_create("d"))
    ask(found, r.db("d").table_create("t"))
    ask(found, t.wait())
    ask(found, t.insert(ROWS))
    ask(found, t.index_create("a", ROW["a"]))
    ask(found, t.index_create("ab", [ROW["a"], ROW["b"]]))
    ask(found, t.index_wait())
    return found


def ask(evaluator: Evaluator, term: Any) -> Any:
    found = evaluator.run(json.loads(ast.ReQLEncoder().encode(r.expr(term))))
    return list(found.items) if isinstance(found, Stream) else found


def ids(evaluator: Evaluator, rows: Any) -> list[str]:
    return [row["id"] for row in ask(evaluator, rows)]


def rows_of(evaluator: Evaluator) -> Table:
    return evaluator.databases["d"]["t"]


# --- values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "value"),
    [
        # "If that argument returns None or a non-existence error is thrown, default returns its second argument."
        (r.expr(None).default(2), 2),
        (r.expr(1).default(2), 1),
        (r.expr({})["b"].default(2), 2),
        (r.expr({"b": None})["b"].default(2), 2),
        (r.expr(None)["b"].default(2), 2),
        ((r.expr(None) + 5).default(2), 2),
        (r.expr(False).default(2), False),
        # "any value but False or None"
        (r.branch(True, 1, 2), 1),
        (r.branch(None, 1, 2), 2),
        (r.branch(0, 1, 2), 1),
        (r.branch("", 1, 2), 1),
        (r.branch(False, 1, None, 2, 3), 3),
        (r.branch(True, 1, r.expr({})["x"], r.expr({})["x"], r.expr({})["x"]), 1),
        # Sorting order: arrays, booleans, null, numbers, objects, binary objects, times, strings.
        (r.expr([9]).lt(False), True),
        (r.expr(True).lt(None), True),
        (r.expr(None).lt(-1), True),
        (r.expr(9).lt({}), True),
        (r.expr({}).lt(r.binary(b"")), True),
        (r.binary(b"z").lt(r.now()), True),
        (r.now().lt(""), True),
        (r.expr([1]).lt([1, 0]), True),
        (r.expr([1, 9]).lt([2]), True),
        (r.expr("Z").lt("a"), True),
        (r.expr("z").lt("é"), True),
        (r.expr("\uffff").lt("\U00010000"), True),
        (r.expr(1).eq(1.0), True),
        (r.expr({"a": 1, "b": 2}).eq({"b": 2, "a": 1}), True),
        # Integers beyond 53 bits are rounded.
        (r.expr(2**53 + 1), 2**53),
        (r.expr(2**53 + 1).eq(2**53), True),
        (r.expr(2**53).add(1), 2**53),
        # Merging is recursive.
        (r.expr({"a": {"b": 1}, "c": 1}).merge({"a": {"d": 2}}), {"a": {"b": 1, "d": 2}, "c": 1}),
        (r.expr({"a": {"b": 1}}).merge({"a": 2}), {"a": 2}),
        (r.expr({"a": 1, "b": 2}).pluck("a", "x"), {"a": 1}),
        (r.expr({"a": 1, "b": 2}).without("a", "x"), {"b": 2}),
        (r.expr("こんにちは").count(), 5),
        (r.binary(b"\0\1\2").count(), 3),
        (r.expr([1, 2]).count(), 2),
        (r.expr("foo").type_of(), "STRING"),
        (r.expr(None).type_of(), "NULL"),
        (r.binary(b"").type_of(), "PTYPE<BINARY>"),
        (r.now().type_of(), "PTYPE<TIME>"),
        (r.expr({"a": [1, "x", None]}).to_json_string(), '{"a":[1,"x",null]}'),
        (r.expr([1, 2]).map(lambda x: x + 1), [2, 3]),
        (r.expr(2).do(lambda x: x + x), 4),
        (r.expr({"a": 1}).do(lambda x: x[r.expr("a")]), 1),
        # "so multiple instances of r.now() will always return the same time inside a query"
        (r.now().eq(r.now()), True),
        (r.now().lt(r.now() + 1), True),
        (r.epoch_time(0).lt(r.now()), True),
    ],
    ids=str,
)
def test_values(evaluator: Evaluator, term: Any, value: Any) -> None:
    assert ask(evaluator, term) == value


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (r.expr({"a": 1})["b"], "No attribute `b`"),
        (r.expr("a")["b"].default(1), "Expected type OBJECT but found STRING"),
        (r.expr("a").add(1), "Expected type STRING but found NUMBER"),
        (r.expr(1).add("a"), "Expected type NUMBER but found STRING"),
        (r.expr([0] * 100_001), "Array over size limit `100000`"),
        (r.minval, "cannot be sent"),
        (r.expr([1]).map(t.insert({"id": "x"})), "Cannot nest writes"),
        (r.expr([1]).map(lambda x: t.get("1").delete()), "Cannot nest writes"),
        (r.branch(t, 1, 2), "Expected type DATUM but found TABLE"),
        (r.expr([1, 2]).delete(), "Expected type SELECTION"),
        (r.db("x").table("t"), "Database `x` does not exist"),
        (r.db("d").table("x"), "Table `x` does not exist"),
        (r.db_create("d"), "Database `d` already exists"),
        (r.db("d").table_create("t"), "Table `t` already exists"),
        (r.db_create("a b"), "invalid"),
        (t.index_create("a", ROW["a"]), "Index `a` already exists"),
        (t.get_all(1, index="x"), "Index `x` was not found"),
        (t.get_all(None, index="a"), "Keys cannot be NULL"),
        (t.order_by(index="x"), "Index `x` was not found"),
        (t.between(1, 2, index="a").order_by(index="ab"), "Cannot order by index `ab` after calling BETWEEN on"),
        (t.get_all(1, index="a").order_by(index="a"), "Indexed order_by can only be performed on a TABLE"),
        (t.get("x" * 128), "Primary key too long"),
        (t.get(None), "Primary keys must be"),
        # "This flag is required to perform non-deterministic updates, such as those that read another table"
        (t.get("1").update(lambda row: {"n": t.count()}), "Could not prove function deterministic"),
        (t.get("1").replace(lambda row: r.branch(t.is_empty(), row, None)), "Could not prove function deterministic"),
        (t.insert({"id": "1"}, conflict=lambda key, old, new: t.get("1")), "Could not prove function deterministic"),
        (t.insert({"id": "1"}, conflict=lambda old, new: old), "Expected function with 3 arguments"),
        (t.insert({"id": "1"}, conflict="wrong"), "Conflict option `wrong` unrecognized"),
        (t.insert({"id": "1"}, return_changes="wrong"), "Invalid return_changes"),
    ],
    ids=lambda part: str(part)[:60],
)
def test_errors(evaluator: Evaluator, term: Any, message: str) -> None:
    with pytest.raises(Failure, match=message):
        ask(evaluator, term)


@pytest.mark.parametrize(
    "term",
    [
        r.expr([1]).reduce(lambda a, b: a),
        t.insert({"id": "x"}, durability="soft"),
        t.get("1").update({"a": 1}, non_atomic=True),
        t.order_by("a"),
        t.insert({"a": 1}),
        r.expr([1])[0],
    ],
    ids=str,
)
def test_what_it_does_not_know_is_no_answer(evaluator: Evaluator, term: Any) -> None:
    with pytest.raises(Unknown):
        ask(evaluator, term)


# --- indexes -------------------------------------------------------------------------------------------------------------


def test_null_objects_and_missing_fields_are_in_no_index(evaluator: Evaluator) -> None:
    # Arrays before booleans before numbers before text.
    assert ids(evaluator, t.order_by(index="a")) == ["9", "7", "1", "2", "3", "8"]
    assert ids(evaluator, t.order_by(index=r.desc("a"))) == ["8", "3", "2", "1", "7", "9"]
    assert ids(evaluator, t.between(r.minval, r.maxval, index="a").order_by(index="a")) == [
        "9",
        "7",
        "1",
        "2",
        "3",
        "8",
    ]
    assert ids(evaluator, t.order_by(index="ab")) == ["9", "7", "1", "2", "3", "8"]
    assert ask(evaluator, t.count()) == 9


@pytest.mark.parametrize(
    ("low", "high", "bounds", "found"),
    [
        (1, 2, {}, ["1", "2"]),
        (1, 2, {"right_bound": "closed"}, ["1", "2", "3"]),
        (1, 2, {"left_bound": "open"}, []),
        (1, r.maxval, {"left_bound": "open"}, ["3", "8"]),
        (r.minval, 1, {}, ["9", "7"]),
        (0, 9, {}, ["1", "2", "3"]),
    ],
)
def test_between(evaluator: Evaluator, low: Any, high: Any, bounds: dict[str, str], found: list[str]) -> None:
    assert ids(evaluator, t.between(low, high, index="a", **bounds).order_by(index="a")) == found


@pytest.mark.parametrize(
    ("low", "high", "bounds", "found"),
    [
        ([1, r.minval], [1, r.maxval], {}, ["1", "2"]),
        ([1], [2], {}, ["1", "2"]),
        ([1, "x"], r.maxval, {"left_bound": "open"}, ["2", "3", "8"]),
        ([1, "x"], [2, "x"], {}, ["1", "2"]),
        ([1, "x"], [2, "x"], {"right_bound": "closed"}, ["1", "2", "3"]),
    ],
)
def test_between_of_compound_indexes(
    evaluator: Evaluator, low: Any, high: Any, bounds: dict[str, str], found: list[str]
) -> None:
    assert ids(evaluator, t.between(low, high, index="ab", **bounds).order_by(index="ab")) == found


def test_get_all(evaluator: Evaluator) -> None:
    assert sorted(ids(evaluator, t.get_all("1", "3", "x"))) == ["1", "3"]
    assert sorted(ids(evaluator, t.get_all(1, index="a"))) == ["1", "2"]
    assert sorted(ids(evaluator, t.get_all(True, index="a"))) == ["7"]
    assert ids(evaluator, t.get_all(1, 2, index="a").filter({"b": "y"})) == ["2"]
    assert ids(evaluator, t.get_all()) == []
    # Rows without a field that a filter asks for are left out, not an error.
    assert ids(evaluator, t.filter(lambda row: row["a"].eq(2))) == ["3"]


def test_neither_tables_nor_indexes_are_used_before_they_are_ready(evaluator: Evaluator) -> None:
    other = r.db("d").table("other")
    ask(evaluator, r.db("d").table_create("other"))
    for term in (other.count(), other.get("1"), other.insert({"id": "1"}), other.index_list()):
        with pytest.raises(Failure, match="not available"):
            ask(evaluator, term)
    ask(evaluator, other.wait())
    ask(evaluator, other.index_create("x", ROW["x"]))
    with pytest.raises(Failure, match="before its construction was finished"):
        ask(evaluator, other.get_all(1, index="x"))
    ask(evaluator, other.index_wait("x"))
    assert ask(evaluator, other.get_all(1, index="x")) == []


# --- writing -------------------------------------------------------------------------------------------------------------


def told(result: dict[str, Any]) -> dict[str, Any]:
    """What is not 0 in the result of a write."""
    return {name: value for name, value in result.items() if value != 0}


def test_insert(evaluator: Evaluator) -> None:
    there, new = {"id": "1", "b": 5}, {"id": "n"}
    assert told(ask(evaluator, t.insert(new))) == {"inserted": 1}
    result = ask(evaluator, t.insert([there, {"id": "m"}]))
    assert told(result) == {"inserted": 1, "errors": 1, "first_error": "Duplicate primary key `id`."}
    assert told(ask(evaluator, t.insert(there, conflict="update"))) == {"replaced": 1}
    assert ask(evaluator, t.get("1")) == {"id": "1", "a": 1, "b": 5}
    assert told(ask(evaluator, t.insert(there, conflict="replace"))) == {"replaced": 1}
    assert told(ask(evaluator, t.insert(there, conflict="replace"))) == {"unchanged": 1}
    assert ask(evaluator, t.get("1")) == there
    # A function has the last word; null deletes the row.
    assert told(ask(evaluator, t.insert({"id": "1", "b": 6}, conflict=lambda key, old, new: old))) == {"unchanged": 1}
    assert told(ask(evaluator, t.insert({"id": "1"}, conflict=lambda key, old, new: None))) == {"deleted": 1}
    assert told(ask(evaluator, t.insert({"id": "1"}, conflict=lambda key, old, new: None))) == {"inserted": 1}
    result = ask(evaluator, t.insert({"id": "1"}, conflict=lambda key, old, new: 2))
    assert (result["errors"], result["first_error"]) == (1, "Inserted value must be an OBJECT (got NUMBER).")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "x" * (KEY_LIMIT + 1)}, "Primary key too long (max 127 characters)"),
        ({"id": "é" * KEY_LIMIT}, "Primary key too long (max 127 characters)"),
        ({"id": "a\0"}, "Primary keys cannot contain"),
        ({"id": None}, "Primary keys must be"),
        ({"id": {}}, "Primary keys must be"),
        ({"id": "x", "a": r.minval}, "`r.minval` and `r.maxval` cannot be written"),
    ],
    ids=lambda part: str(part)[:30],
)
def test_rows_that_cannot_be(evaluator: Evaluator, row: dict[str, Any], message: str) -> None:
    result = ask(evaluator, t.insert([row, {"id": "x" * KEY_LIMIT}]))
    # An error of one row is in the result, and leaves the others.
    assert (result["errors"], result["inserted"]) == (1, 1)
    assert result["first_error"].startswith(message)


def test_replace(evaluator: Evaluator) -> None:
    assert told(ask(evaluator, t.get("n").replace(lambda row: {"id": "n"}))) == {"inserted": 1}
    assert told(ask(evaluator, t.get("n").replace(lambda row: row))) == {"unchanged": 1}
    assert told(ask(evaluator, t.get("n").replace(lambda row: row.merge({"a": 1})))) == {"replaced": 1}
    assert told(ask(evaluator, t.get("n").replace(lambda row: None))) == {"deleted": 1}
    assert told(ask(evaluator, t.get("n").replace(lambda row: None))) == {"skipped": 1}
    for function, message in (
        (lambda row: {"id": "other"}, "Primary key `id` cannot be changed."),
        (lambda row: {"a": 1}, "Inserted object must have primary key `id`."),
        (lambda row: row["none"], "No attribute `none` in object."),
    ):
        result = ask(evaluator, t.get("1").replace(function))
        assert told(result) == {"errors": 1, "first_error": message}
    assert ask(evaluator, t.get("1")) == ROWS[0]
    # What a variable stands for is constant for the function; a row that changed meanwhile is seen as it is.
    some = t.get_all("1", "2", "x")
    wanted = {"1": {"id": "1", "new": True}, "2": None, "x": {"id": "x"}}
    result = ask(
        evaluator, r.expr(wanted).do(lambda wanted: some.replace(lambda row: wanted[row["id"]], return_changes=True))
    )
    assert {name: result[name] for name in ("replaced", "deleted", "inserted")} == {
        "replaced": 1,
        "deleted": 1,
        "inserted": 0,
    }
    assert sorted(change["old_val"]["id"] for change in result["changes"]) == ["1", "2"]
    assert ask(evaluator, t.get("x")) is None


def test_update_and_delete(evaluator: Evaluator) -> None:
    assert told(ask(evaluator, t.get("1").update(lambda row: {"a": row["a"] + 1}))) == {"replaced": 1}
    assert told(ask(evaluator, t.get("1").update(lambda row: None))) == {"unchanged": 1}
    assert told(ask(evaluator, t.get("none").update(lambda row: {"a": 1}))) == {"skipped": 1}
    some = t.get_all("1", "6").filter(lambda row: row["a"].type_of().eq("NUMBER"))
    assert told(ask(evaluator, some.update(lambda row: {"a": row["a"].add(1)}))) == {"replaced": 1}
    assert ask(evaluator, t.get("1")["a"]) == 3
    # Indexes follow, also in the same query.
    assert ids(evaluator, t.get_all(3, index="a")) == ["1"]
    ordered = t.order_by(index=r.desc("a"))
    assert told(ask(evaluator, ordered.skip(2).limit(1).delete())) == {"deleted": 1}
    assert ids(evaluator, t.order_by(index=r.desc("a"))) == ["8", "1", "2", "7", "9"]


def test_changes_are_told_on_request(evaluator: Evaluator) -> None:
    rows = [{"id": "1", "b": "new"}, {"id": "n"}]

    def changes(**options: Any) -> list[tuple[Any, Any]] | None:
        result = ask(evaluator, t.insert(rows, conflict=lambda key, old, new: old, **options))
        told = result.get("changes")
        return told and [(change["old_val"], change["new_val"]) for change in told]

    assert changes(return_changes="always") == [(ROWS[0], ROWS[0]), (None, {"id": "n"})]
    ask(evaluator, t.get("n").delete())
    assert changes(return_changes=True) == [(None, {"id": "n"})]
    assert changes(return_changes=True) == []
    assert changes() is None
    (change,) = ask(evaluator, t.get("n").delete(return_changes=True))["changes"]
    assert change == {"old_val": {"id": "n"}, "new_val": None}


def test_of_many_writes_in_one_query_each_is_carried_out(evaluator: Evaluator) -> None:
    results = ask(evaluator, r.expr([t.insert({"id": "n"}), t.get("n").delete(), t.get("n").delete()]))
    assert [told(result) for result in results] == [{"inserted": 1}, {"deleted": 1}, {"skipped": 1}]
    # Only of the branch that is taken.
    assert ask(evaluator, r.branch(t.get("n").eq(None), 5, [t.get("1").delete()])) == 5
    assert "1" in rows_of(evaluator).rows

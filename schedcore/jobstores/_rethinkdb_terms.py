"""What RethinkDB is asked: parts of terms, which are carried out on the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rethinkdb import r  # type: ignore[import-untyped, unused-ignore]

__all__ = ["TEXT_LENGTH", "field", "inserted", "number", "replaced", "revision", "text"]

_Row = dict[str, Any]

#: Characters of a text at most, such as a run record: who wrote a longer one was not us.
TEXT_LENGTH = 1024 * 1024


def field(row: Any, name: str) -> Any:
    """A field; null if it, or the row, is not there."""
    return row[name].default(None)


def text(row: Any, name: str, other: str | None = "", most: int = TEXT_LENGTH) -> Any:
    """A field that is text, and not endless; else the other."""

    def pick(value: Any) -> Any:
        return r.branch(value.type_of().ne("STRING"), other, value.count().le(most), value, other)

    return field(row, name).do(pick)


def number(row: Any, name: str) -> Any:
    """A field that is a number; else null."""
    return field(row, name).do(lambda value: r.branch(value.type_of().eq("NUMBER"), value, None))


def revision(row: Any) -> Any:
    """A row's revision; of one that was altered, what stands there, as text."""
    return field(row, "rev").do(lambda value: r.branch(value.type_of().eq("NUMBER"), value, value.to_json_string()))


def inserted(table: Any, rows: Sequence[_Row]) -> Any:
    """Insert rows where none are; the keys of those that were."""
    result = table.insert(rows, conflict=lambda key, old, new: old, return_changes=True)
    return result.do(lambda result: _told(result, "new_val"))


def replaced(table: Any, changes: Mapping[str, _Row]) -> Any:
    """Replace or delete rows whose revision is the old one; the keys of those that were."""

    def replace(changes: Any) -> Any:
        def change(row: Any) -> Any:
            wanted = changes[row["id"]]
            new = wanted["new"]
            made = r.branch(new.eq(None), None, wanted["keeps"], row.pluck("payload").merge(new), new)
            return r.branch(revision(row).eq(wanted["old"]), made, row)

        result = table.get_all(*keys).replace(change, return_changes=True)
        return result.do(lambda result: _told(result, "old_val"))

    keys = list(changes)
    # Bound to a variable, it is evaluated once, and not for each row.
    return r.expr(dict(changes)).do(replace)


def _told(result: Any, which: str) -> Any:
    """What is to be known of a write's result: the keys of the rows that it changed, not the rows."""
    return {
        "errors": result["errors"],
        "first_error": field(result, "first_error"),
        "keys": result["changes"].default([]).map(lambda change: change[which]["id"]),
    }

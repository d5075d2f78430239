"""What the SQL store costs: what its statements look at, what is read once, and what is not loaded."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")


from schedcore.jobstores import _kept, _sql_definitions
from schedcore.jobstores._payload import Codec
from schedcore.jobstores._sql_sqlite import SQLite
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from tests.jobstores.sql_servers import (
    MINUTE,
    T0,
    Start,
    entry,
    run_due,
)
from tests.jobstores.sqlite import close, query


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("due", (T0, T0, 100)),
        ("next_due", (1, 1)),
        ("left", (T0 + 5, "")),
        ("let_go_all", ()),
        ("live", (T0 + 5,)),
        ("prune", (1, 1, 10)),
        ("old", (T0, T0, 10)),
        ("entry", ("a",)),
    ],
)
def test_no_statement_on_the_way_of_a_run_looks_at_all_rows(
    url: str, start: Start, statement: str, parameters: tuple[object, ...]
) -> None:
    store = start(SQLAlchemyJobStore(url))
    assert isinstance(store, SQLAlchemyJobStore)
    store.add_entries([entry(str(number), T0 + number) for number in range(50)])
    run_due(store, T0 + 10)
    text = getattr(store._sql, statement, SQLite.prune).format(runs=store._database.names.runs)
    plan = [row[3] for row in query(url, f"EXPLAIN QUERY PLAN {text}", *parameters)]
    derived = ("SCAN a", "SCAN b", "SCAN d")
    scans = [step for step in plan if step.startswith("SCAN") and "USING" not in step and step not in derived]
    assert not scans, plan


@pytest.mark.parametrize("key", [(False, False), (False, True)])
def test_the_latest_runs_are_found_without_sorting(url: str, start: Start, key: tuple[bool, bool]) -> None:
    store = start(SQLAlchemyJobStore(url))
    assert isinstance(store, SQLAlchemyJobStore)
    plan = [row[3] for row in query(url, f"EXPLAIN QUERY PLAN {store._sql.runs[key]}", 10)]
    assert not any("TEMP B-TREE" in step for step in plan), plan


def _tick(ticks: Iterator[int]) -> None:
    next(ticks)


@pytest.mark.parametrize("way", ["scheduled", "scheduled_after", "idle", "idle_after"])
def test_a_page_costs_what_is_on_it(url: str, start: Start, way: str) -> None:
    """However many jobs there are, and though many are due at the same instant."""
    store = start(SQLAlchemyJobStore(url))
    assert isinstance(store, SQLAlchemyJobStore)
    statement = getattr(store._sql, way).replace("\0", "50")
    parameters = {
        "scheduled": (), "scheduled_after": (T0, "5", T0) * 2, "idle": (), "idle_after": ("p5",) * store._sql.idle_ranges
    }  # fmt: skip
    steps = []
    for size in (500, 5000):
        store.add_entries([entry(str(number), T0) for number in range(size // 10, size)])
        store.add_entries([entry(f"p{number}", None) for number in range(size // 10, size)])
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            ticks = count()
            connection.set_progress_handler(partial(_tick, ticks), 10)
            assert len(connection.execute(statement, parameters[way]).fetchall()) == 50
        finally:
            connection.close()
        steps.append(next(ticks))
    assert steps[1] < 1.5 * steps[0], steps


def test_payloads_are_read_once(url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def decode(codec: Codec, job_id: str, *rest: Any, **options: Any) -> Any:
        read.append(job_id)
        return _decode(codec, job_id, *rest, **options)

    _decode = Codec.decode
    monkeypatch.setattr(Codec, "decode", decode)
    monkeypatch.setattr(_kept, "MOST", 3)
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry(name) for name in "abc"])
    run_due(store, T0)
    assert read == [], "what was just written need not be read back"
    close(store)
    start(store)
    for number in range(1, 3):
        run_due(store, T0 + number * MINUTE)
    assert sorted(read) == ["a", "b", "c"]
    found = store.get_entry("a")
    assert found is not None
    assert store.replace_entry(found, found._replace(job=found.job._replace(args=(1,))))
    assert [run.job.args for run in run_due(store, T0 + 3 * MINUTE) if run.job.id == "a"] == [(1,)]
    assert sorted(read) == ["a", "a", "b", "c"]
    store.add_entries([entry(str(number), T0 + 4 * MINUTE) for number in range(10)])
    run_due(store, T0 + 4 * MINUTE)
    assert isinstance(store, SQLAlchemyJobStore)
    assert len(store._definitions.kept.records) == 3


def test_what_is_known_of_other_databases_is_not_loaded() -> None:
    # A third of the time that a store on PostgreSQL took until its first run.
    code = (
        "import sys; from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore; SQLAlchemyJobStore('sqlite://');"
        "print(*(name for name in ('sqlite', 'postgresql', 'mysql') if f'sqlalchemy.dialects.{name}' in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["sqlite"]


def test_large_payloads_are_not_asked_for_all_at_once(url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand of a megabyte each took four gigabytes for a moment, where what is made of them takes one."""
    store = start(SQLAlchemyJobStore(url))
    assert isinstance(store, SQLAlchemyJobStore)
    large = entry()._replace(job=entry().job._replace(args=("x" * 1000,)))
    store.add_entries([large._replace(job=large.job._replace(id=str(number))) for number in range(100)])
    store.add_entries([entry(f"small {number}") for number in range(300)])
    close(store)
    start(store)
    asked: list[int] = []
    by_keys = SQLite.by_keys

    def counted(backend: SQLite, cursor: Any, statement: str, keys: Any) -> Any:
        asked.append(len(keys))
        return by_keys(backend, cursor, statement, keys)

    monkeypatch.setattr(SQLite, "by_keys", counted)
    monkeypatch.setattr(_sql_definitions, "_AT_ONCE", 20_000)
    assert len(store.list_entries()) == 400
    assert sum(asked) == 400
    assert asked[0] == 16
    assert max(asked[1:6]) < 20
    assert max(asked) > 32

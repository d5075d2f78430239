"""What an SQL store keeps of runs: their histories, what is live, and how they ended."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")


from schedcore.clock import Now
from schedcore.engine import decide
from schedcore.errors import (
    JobStoreError,
)
from schedcore.jobstores import _sql_runs
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from schedcore.run import Finish, RunState
from tests.jobstores.sql_servers import (
    MINUTE,
    T0,
    Start,
    check_that_live_runs_are_found,
    entry,
    run_due,
)
from tests.jobstores.sqlite import close, query

DAY = 86_400_000_000


class TestHistory:
    def test_the_latest_of_each_job(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url, history=10))
        store.add_entries([entry("often"), entry("seldom", T0 + 100 * MINUTE)])
        for number in range(200):
            run_due(store, T0 + number * MINUTE)
        kept = [record.fire_us for record in store.runs("often", limit=1000)]
        assert 10 <= len(kept) <= 10 + _sql_runs._PRUNE_EVERY + 1
        assert kept == [T0 + number * MINUTE for number in range(199, 199 - len(kept), -1)], "the latest ones"

    @pytest.mark.parametrize("history", [sys.maxsize, 10**30])
    def test_all_of_it_where_more_is_to_be_kept_than_a_database_can_count(
        self, url: str, start: Start, history: int
    ) -> None:
        store = start(SQLAlchemyJobStore(url, history=history))
        store.add_entries([entry()])
        for number in range(2 * _sql_runs._PRUNE_EVERY):
            run_due(store, T0 + number * MINUTE)
        assert len(store.runs("job", limit=1000)) == 2 * _sql_runs._PRUNE_EVERY

    def test_live_runs_are_never_deleted(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url, history=1, history_age=1))
        store.add_entries([entry(max_instances=1000)])
        (first,) = run_due(store, T0, finish=False)
        for number in range(1, 100):
            run_due(store, T0 + number * MINUTE)
        run_due(store, T0 + 100 * DAY)
        states = [record.state for record in store.runs(limit=1000)]
        assert states.count(RunState.SUBMITTED) == 1
        store.finish([Finish(first, RunState.SUCCEEDED, T0, T0 + 1)])
        assert RunState.SUBMITTED not in [record.state for record in store.runs(limit=1000)]

    def test_none_that_is_too_old(self, url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_sql_runs, "_PRUNE_ROWS", 30)
        store = start(SQLAlchemyJobStore(url, history_age=86400))
        store.add_entries([entry(f"{number}") for number in range(100)])
        run_due(store, T0)
        for number in range(100):
            store.remove_job(f"{number}")
        store.add_entries([entry("later", T0 + 2 * DAY)])
        for number in range(4):
            run_due(store, T0 + 2 * DAY + number * MINUTE)
        assert {record.job_id for record in store.runs(limit=1000)} == {"later"}
        assert query(url, "SELECT count(*) FROM schedcore_jobs") == [(1,)], (
            "the names of removed jobs go with their last run"
        )

    def test_a_late_run_is_not_old(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url, history_age=86400))
        store.add_entries([entry()])
        run_due(store, T0 + 90 * DAY)
        run_due(store, T0 + 90 * DAY + 2 * MINUTE)
        kept = store.runs()
        assert len(kept) == 4, "a run for a fire time of long ago, and the one after it, each with what was coalesced"

    def test_what_is_over_leaves_no_payload(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("removed"), entry("never ran", None), entry("ran out")])
        claims = {claim.job.id: claim for claim in store.acquire(Now(T0, T0), 9)}
        decisions = [decide(claims["removed"], T0), decide(claims["ran out"], T0)._replace(next_us=None, due_us=None)]
        runs = store.commit(decisions, T0).runs
        store.remove_job("removed")
        store.remove_job("never ran")
        rows = "SELECT former_id, payload IS NULL FROM schedcore_jobs ORDER BY 1"
        assert query(url, rows) == [("ran out", 0), ("removed", 1)]
        assert query(url, "SELECT count(*) FROM schedcore_jobs_schedule") == [(0,)]
        store.finish([Finish(run, RunState.SUCCEEDED, T0, T0) for run in runs])
        assert query(url, rows) == [("ran out", 1), ("removed", 1)]


def test_live_runs_are_found(url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def noted() -> int:
        ((value,),) = query(url, "SELECT value FROM schedcore_jobs_meta WHERE name = 'live_from'")
        return int(value)

    check_that_live_runs_are_found(url, start, noted, monkeypatch)


@pytest.mark.parametrize("noted", ["?", "", "9" * 99, "-" + "9" * 99])
def test_a_note_of_live_runs_that_is_damaged(url: str, start: Start, noted: str) -> None:
    """What is live is looked for among all runs then."""
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry()])
    run_due(store, T0, finish=False)
    close(store)
    query(url, "INSERT INTO schedcore_jobs_meta (name, value) VALUES ('live_from', ?)", noted)
    store = start(SQLAlchemyJobStore(url))
    assert len(store.recover([]).lost) == 1


@pytest.mark.parametrize("which", ["submit", "finish_well"])
def test_what_is_live_when_it_is_not_learnt_what_was_written(
    url: str, start: Start, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    store = start(SQLAlchemyJobStore(url))
    assert isinstance(store, SQLAlchemyJobStore)
    store.add_entries([entry("job", max_instances=9)])
    first = run_due(store, T0, finish=False)
    write = getattr(store._sql, which)

    def fail(cursor: Any, rows: Any) -> None:
        write(cursor, rows)
        cursor.connection.commit()
        raise OSError("the connection is lost")

    monkeypatch.setattr(store._sql, which, fail)

    def step() -> None:
        if which == "submit":
            run_due(store, T0 + MINUTE)
        else:
            store.finish([Finish(run, RunState.SUCCEEDED, T0, T0) for run in first])

    with pytest.raises(JobStoreError, match="the connection is lost"):
        step()
    store._runs.claimed.clear()
    (claim,) = store.acquire(Now(T0 + 2 * MINUTE, T0 + 2 * MINUTE), 9)
    assert claim.live == (2 if which == "submit" else 0)


def test_the_traceback_of_a_deep_recursion_is_cut(url: str, start: Start) -> None:
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry()])
    (run,) = run_due(store, T0, finish=False)
    text = "first line\n" + "x\n" * 100_000 + "last line"
    error = ValueError("y" * 10_000)
    store.finish([Finish(run, RunState.FAILED, T0, T0, None, error, text)])
    (record,) = store.runs()
    assert record.traceback is not None
    assert record.error is not None
    assert (len(record.error), len(record.traceback) < 21_000) == (1000, True)
    assert record.traceback.startswith("first line")
    assert record.traceback.endswith("last line")


def test_an_exception_that_cannot_be_shown(url: str, start: Start) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry()])
    (run,) = run_due(store, T0, finish=False)
    store.finish([Finish(run, RunState.FAILED, T0, T0, None, Unprintable(), None)])
    assert store.runs()[0].error == "Unprintable (it cannot be shown: its text raised RuntimeError)"

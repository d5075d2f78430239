"""What is particular to jobs in RethinkDB: what is sent, who owns them, whose client it is, and which write was made.

All of it with the evaluator: no server has run this store yet.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from rethinkdb import errors, net, r  # type: ignore[import-untyped, unused-ignore]

from schedcore.clock import Now
from schedcore.engine import decide
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    JobStoreError,
    JobStoreInUseError,
    SerializationError,
)
from schedcore.events import EVENT_JOB_ERROR
from schedcore.job import JobEntry, JobState
from schedcore.jobstores._documents import DocumentStore
from schedcore.jobstores._documents_doc import Change, Doc
from schedcore.jobstores._rethinkdb_rows import key_of
from schedcore.jobstores.base import JobStore
from schedcore.jobstores.rethinkdb import RethinkDBJobStore
from schedcore.run import Finish, RunRecord, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog
from schedcore.testing._store_bench import Bench
from tests.jobstores.decided import check_decided_again, check_left_in_documents, check_strange
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.jobstores.owned import OTHER, OwnedTests, check_left_by_another, run_and_remove_all
from tests.jobstores.rethinkdb.conftest import Make
from tests.jobstores.rethinkdb.evaluator import Evaluator, EvaluatorServer, Table, terms

shared: Any = None

DUE = "2026-01-01T00:00:00Z"


def table(store: RethinkDBJobStore, server: EvaluatorServer, suffix: str = "") -> Table:
    return server.evaluator.databases[store._database][store._table + suffix]


@contextmanager
def asking(server: EvaluatorServer) -> Iterator[list[Any]]:
    """The queries that are asked meanwhile."""
    queries: list[Any] = []
    server.asked = queries.append
    try:
        yield queries
    finally:
        server.asked = lambda query: None


def state_of(scheduler: BackgroundScheduler, job_id: str) -> JobState | None:
    return next((job.state for job in scheduler.get_jobs() if job.id == job_id), None)


def now() -> Now:
    now_us = int(time.time() * 1e6)
    return Now(now_us, now_us)


class InRethinkDB:
    def __init__(self, store: RethinkDBJobStore, server: EvaluatorServer) -> None:
        self._meta = partial(table, store, server, "_meta")

    def owner(self) -> str | None:
        found = self._meta().rows.get("owner")
        return None if found is None else str(found["name"])

    def put_owner(self, text: str) -> None:
        self._meta().alter("owner", name=text)


class TestRethinkDB(OwnedTests):
    store = RethinkDBJobStore
    alias = library = "rethinkdb"
    refused = errors.ReqlDriverError

    @pytest.fixture
    def inside(self, make: Make, server: EvaluatorServer) -> InRethinkDB:
        return InRethinkDB(make(), server)

    def elsewhere(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"table": "other"}

    def test_by_alias_and_as_text(self, arguments: dict[str, Any]) -> None:
        super().test_by_alias_and_as_text({**arguments, "timeout": 20})


# --- what is sent ------------------------------------------------------------------------------------------------------


def test_a_due_query_reads_what_is_due_and_no_payloads(
    make: Make, server: EvaluatorServer, start: Callable[[JobStore], JobStore]
) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_jobs(
        [{"func": work, "trigger": "date", "run_date": "2099-01-01", "id": f"later{n}"} for n in range(500)]
    )
    scheduler.add_jobs(
        [{"func": work, "trigger": "cron", "minute": 0, "next_run_time": DUE, "id": f"due{n}"} for n in range(7)]
    )
    scheduler.shutdown()
    # By itself: a scheduler looks at its store, too.
    start(store)
    server.evaluator.rows_read = 0
    with asking(server) as queries:
        assert len(store._fetch_due(False, now().wall_us, 5)) == 5
        assert server.evaluator.rows_read == 5
        assert len(store._fetch_due(False, now().wall_us, 50)) == 7
        assert server.evaluator.rows_read == 5 + 7
        store.next_due()
        assert server.evaluator.rows_read == 5 + 7 + 1
    assert "payload" not in json.dumps(queries)
    for query in queries:
        options = {name: options for name, _, options in terms(query)}
        assert options["BETWEEN"] == {"index": "due"}
        assert options["ORDER_BY"] == {"index": "due"}
        assert options["TABLE"] == {"read_mode": "majority"}
        assert "LIMIT" in options


def test_a_batch_is_one_query_in_which_each_row_is_compared(make: Make, server: EvaluatorServer) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    with asking(server) as queries:
        scheduler.add_jobs([{"func": work, "trigger": "date", "run_date": "2099-01-01", "id": name} for name in "abc"])
    writes = [query for query in queries if query[0] == 65]
    assert [[name for name, *_ in terms(query)].count("INSERT") for query in writes] == [1]
    docs = store._fetch(list("abc"))
    changes = [Change(doc.revision, doc._replace(revision=doc.revision + 1), (), True) for doc in docs.values()]
    with asking(server) as queries:
        assert store._write(changes, False) == [True] * 3
    # Beside what the scheduler asks.
    (write,) = [query for query in queries if query[0] == 65]
    assert [name for name, *_ in terms(write)].count("REPLACE") == 1
    assert store._write(changes, False) == [False] * 3
    scheduler.shutdown()


def test_large_batches_are_several_queries(
    make: Make, server: EvaluatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RethinkDBJobStore, "_query_bytes", 20_000)
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    jobs = [
        {"func": "builtins:print", "args": ["x" * 6_000], "trigger": "date", "run_date": "2099-01-01", "id": f"{n}"}
        for n in range(9)
    ]
    with asking(server) as queries:
        scheduler.add_jobs(jobs)
    writes = [query for query in queries if query[0] == 65]
    assert len(writes) > 2
    assert all(len(json.dumps(query)) < 30_000 for query in writes)
    assert len(scheduler.get_jobs()) == 9
    with pytest.raises(ConflictingIdError):
        scheduler.add_jobs([{**job, "id": f"{n}new" if n != 8 else "8"} for n, job in enumerate(jobs)])
    assert len(table(store, server).rows) == 9
    scheduler.shutdown()


def test_ids_of_any_length_are_kept(make: Make) -> None:
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    names = ["x", "x" * 5_000, "x" * 4_999 + "y", "é" * 128]
    for name in names:
        scheduler.add_job(work, "date", run_date="2099-01-01", id=name)
        scheduler.add_job(work, "date", run_date="2099-01-01", id=f"{name}p").pause()
    assert [job.id for job in scheduler.get_jobs()] == [*sorted(names), *sorted(f"{name}p" for name in names)]
    for name in names:
        scheduler.remove_job(name)
    assert len(scheduler.get_jobs()) == len(names)
    scheduler.shutdown()


# --- who owns it -------------------------------------------------------------------------------------------------------


def test_of_two_that_open_a_new_store_at_once_one_has_it(make: Make) -> None:
    for attempt in range(5):
        schedulers = [scheduler_on(make(table=f"jobs{attempt}")) for _ in range(2)]
        refused: list[Exception] = []
        barrier = threading.Barrier(2)

        def open_it(
            scheduler: BackgroundScheduler, barrier: threading.Barrier = barrier, refused: list[Any] = refused
        ) -> None:
            barrier.wait(30)
            try:
                scheduler.start()
            except JobStoreInUseError as error:
                refused.append(error)

        threads = [threading.Thread(target=open_it, args=(scheduler,)) for scheduler in schedulers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(refused) == 1
        assert sorted(scheduler.running for scheduler in schedulers) == [False, True]
        for scheduler in schedulers:
            if scheduler.running:
                scheduler.shutdown()


def test_a_lease_of_somebody_elses_ends(make: Make, server: EvaluatorServer) -> None:
    store = make()
    first = scheduler_on(store)
    first.start()
    meta = table(store, server, "_meta")
    meta.alter("owner", name=OTHER)
    first.shutdown()
    second = scheduler_on(make())
    with pytest.raises(JobStoreInUseError):
        second.start()
    server.evaluator.ahead_s = 31.0
    second.start()
    server.evaluator.ahead_s = 0.0
    second.shutdown()
    assert "owner" not in meta.rows


def test_a_lease_ends_though_the_servers_clock_was_set_back(make: Make, server: EvaluatorServer) -> None:
    """An hour would be added to it; an owner that lives renews it."""
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.shutdown()
    meta = table(store, server, "_meta")
    now_s = time.time()
    meta.put(
        {
            "id": "owner",
            "name": OTHER,
            "until": {"$reql_type$": "TIME", "epoch_time": now_s + 3600, "timezone": "+00:00"},
        }
    )
    with pytest.raises(JobStoreInUseError, match="lease ends within 30 s"):
        scheduler.start()
    assert meta.rows["owner"]["name"] == OTHER
    assert now_s < meta.rows["owner"]["until"]["epoch_time"] < now_s + 100


def test_a_lease_that_ran_out_and_was_not_taken_goes_on(make: Make, server: EvaluatorServer) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    meta = table(store, server, "_meta")
    meta.drop("owner")
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    before = meta.rows["owner"]["until"]["epoch_time"]
    server.evaluator.ahead_s = 3600.0
    store._take()
    assert meta.rows["owner"]["until"]["epoch_time"] > before + 3500
    scheduler.shutdown()


def test_tables_that_another_release_had_meanwhile_are_not_written_any_more(
    make: Make, server: EvaluatorServer
) -> None:
    """Its scheduler was paused for longer than a lease, and the other one is over when it goes on."""
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    before = table(store, server).rows[key_of("a")]["doc"]
    meta = table(store, server, "_meta")
    meta.alter("schema", version=99)
    meta.drop("owner")
    for _ in range(2):
        with pytest.raises(JobStoreError, match="schema version 99, and this release reads 1"):
            scheduler.remove_job("a")
    assert table(store, server).rows[key_of("a")]["doc"] == before
    assert "owner" not in meta.rows
    scheduler.shutdown()


@pytest.mark.parametrize("noticed_by", ["the write", "the thread that renews"])
def test_what_somebody_else_has_left_meanwhile_is_not_taken_for_ones_own(
    make: Make, server: EvaluatorServer, noticed_by: str
) -> None:
    """A process was paused for longer than its lease; another one made a run of which nobody knows whether it began, and died."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    for name in "ab":
        scheduler.add_job(work, "interval", hours=1, id=name, next_run_time="2026-01-01T00:00:00Z", recovery="lost")
    scheduler.shutdown()
    store.start(scheduler, "default")
    assert store.recover([]) == ([], [])
    at = now()
    claims = store.acquire(at, 9)
    meta = table(store, server, "_meta")
    meta.drop("owner")
    other = make()
    other.start(scheduler, "default")
    (run,) = other.commit([decide(other.acquire(at, 1)[0], at.wall_us)], at.wall_us).runs
    left = {**meta.rows["owner"], "name": OTHER}
    other.shutdown()
    meta.put(left)
    server.evaluator.ahead_s = 3600.0
    if noticed_by == "the thread that renews":
        store._take()
    check_left_by_another(store, at, claims, run)
    store.shutdown()


def test_a_start_that_comes_late_does_not_keep_its_own_object_off(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one was made meanwhile, and is over: others wait for the end of the lease."""
    store = make()
    scheduler = scheduler_on(store)
    take, late = store._taking, list[Any]()

    def hold(mine: str, gone: str) -> Any:
        late.append(take(mine, gone))
        raise errors.ReqlTimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(store, "_taking", hold)
        with pytest.raises(JobStoreError, match="failed to open the store"):
            scheduler.start()
    scheduler.start()
    scheduler.shutdown()
    (taking,) = late
    store._line.ask(taking)
    store._line.close(None, 1.0)
    with pytest.raises(JobStoreInUseError):
        scheduler_on(make()).start()
    scheduler.start()
    scheduler.shutdown()


@pytest.mark.parametrize("row", [{}, {"name": 5}, {"name": "x", "until": "soon"}, {"until": None}], ids=str)
def test_an_owner_that_nobody_of_us_wrote_is_none(make: Make, server: EvaluatorServer, row: dict[str, Any]) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.shutdown()
    table(store, server, "_meta").put({"id": "owner", **row})
    scheduler.start()
    scheduler.shutdown()


# --- clients -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def client(server: EvaluatorServer) -> Iterator[Any]:
    """A connection of the user's."""
    global shared
    shared = net.make_connection(net.DefaultConnection, host="127.0.0.1", port=server.port, db="theirs", timeout=5)
    try:
        yield shared
    finally:
        shared.close(noreply_wait=False)
        shared = None


def test_a_client_of_the_users_is_not_closed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__))
    for given in (client, f"{__name__}:shared"):
        scheduler = scheduler_on(RethinkDBJobStore("users", client=given))
        scheduler.start()
        scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a", replace_existing=True)
        scheduler.shutdown()
        assert client.is_open()
        assert "users" in r.db_list().run(client)


def test_a_loop_that_the_driver_was_told_of_elsewhere_is_not_used(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r, "connection_type", None)
    scheduler = scheduler_on(make())
    scheduler.start()
    scheduler.shutdown()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hots": "x"}, "no option 'hots'; did you mean 'host'"),
        ({"port": "x"}, "the RethinkDB connection cannot be made: .*'x'"),
        ({"timeout": 0}, "timeout must be"),
        ({"timeout": "soon"}, "the RethinkDB connection cannot be made: .*'soon'"),
        ({"client": 5}, "must be a connection of"),
        ({"client": 5, "host": "x"}, r"\(host\) do not go with client="),
        ({"database": ""}, "database must be a name"),
        ({"database": "a.b"}, "database must be a name"),
        ({"table": "a b"}, "table must be a name"),
        ({"history": 0}, "history must be"),
        ({"history_age": -1}, "history_age must be"),
        ({"signing_key": "short"}, "at least 16 bytes"),
        ({"allowed_refs": ["x"]}, "is no pattern"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RethinkDBJobStore(**options)


@pytest.mark.parametrize(
    ("url", "options", "timeout_s"),
    [("", {}, 10), ("", {"timeout": 2.5}, 3), ("?timeout=7", {}, 7), ("?auth_key=", {"timeout": 4}, 4)],
)
def test_a_url_and_its_timeout(server: EvaluatorServer, url: str, options: dict[str, Any], timeout_s: float) -> None:
    store = RethinkDBJobStore("by_url", url=f"rethinkdb://admin@127.0.0.1:{server.port}{url}", **options)
    scheduler = scheduler_on(store)
    scheduler.start()
    assert store._line.connection.connect_timeout == timeout_s
    scheduler.shutdown()


def test_a_wrong_password_does_not_pass_by_itself() -> None:
    server = EvaluatorServer(Evaluator(), password="right")
    try:
        with pytest.raises(JobStoreError, match=r"ReqlAuthError.*Wrong password") as caught:
            scheduler_on(RethinkDBJobStore(host="127.0.0.1", port=server.port, password="wrong")).start()
        assert not caught.value.transient
        scheduler = scheduler_on(RethinkDBJobStore(host="127.0.0.1", port=server.port, password="right"))
        scheduler.start()
        scheduler.shutdown()
    finally:
        server.stop()


# --- what is there -----------------------------------------------------------------------------------------------------


def test_a_table_of_somebody_elses_and_of_another_version(make: Make, server: EvaluatorServer) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.shutdown()
    meta = table(store, server, "_meta")
    for version in (99, "1", None):
        meta.alter("schema", version=version)
        with pytest.raises(JobStoreError, match=r"has schema version (99|None), and this release reads 1"):
            scheduler_on(make()).start()
    meta.drop("schema")
    table(store, server).put({"id": "x"})
    with pytest.raises(JobStoreError, match="was not written by schedcore"):
        scheduler_on(make()).start()


NESTED: list[Any] = []
for _ in range(400):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "change",
    [
        {"doc": "x"},
        {"doc": None},
        {"doc": NESTED},
        {"doc": "[" * 100_000},
        {"doc": {"$reql_type$": "TIME", "epoch_time": 1e15, "timezone": "+00:00"}},
        {"rev": "x"},
        {"rev": None},
        {"rev": -1},
        {"rev": 1.5},
        {"rev": 2**60},
        {"rev": [1, {"a": None}]},
        {"rev": {"$reql_type$": "TIME", "epoch_time": 1e15, "timezone": "+00:00"}},
        {"due_us": -5},
        {"elapsed": True},
        {"elapsed": "x"},
        {"idle": "bad"},
        {"broken": True},
        {"payload": "text"},
        {"payload": NESTED},
        {"payload": {"$reql_type$": "BINARY", "data": "gARLAS4="}},
        {"payload": {"$reql_type$": "BINARY", "data": "A" * 20_000_000}},
        {"w": {"$reql_type$": "TIME", "epoch_time": 1e15, "timezone": "+00:00"}},
    ],
    ids=lambda change: str(change)[:50],
)
def test_a_row_that_nobody_of_us_wrote(make: Make, server: EvaluatorServer, change: dict[str, Any]) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.add_job(work, "interval", hours=1, id="bad")
    log = EventLog(scheduler)
    rows = table(store, server)
    rows.alter(key_of("bad"), **{"due_us": 0, **change})
    payload = rows.rows[key_of("bad")]["payload"]
    scheduler.add_job(work, "interval", seconds=0.05, id="good")
    log.wait_for(lambda log: len(log.executed("good")) > 2)
    states = {job.id: job.state for job in scheduler.get_jobs()}
    assert states["good"] is JobState.ACTIVE
    if rows.rows[key_of("bad")]["elapsed"] is False:
        # Its index said that it was due, and its text did not.
        log.wait_for(lambda log: state_of(scheduler, "bad") is JobState.BROKEN)
    assert rows.rows[key_of("bad")]["payload"] == payload
    scheduler.remove_job("bad")
    assert key_of("bad") not in rows.rows
    scheduler.shutdown()


def test_what_was_set_aside_is_mended(make: Make, server: EvaluatorServer) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="bad")
    table(store, server).alter(key_of("bad"), due_us=0)
    scheduler.wakeup()
    log.wait_for(lambda log: state_of(scheduler, "bad") is JobState.BROKEN)
    scheduler.reschedule_job("bad", trigger="interval", seconds=0.05)
    log.wait_for(lambda log: len(log.executed("bad")) > 1)
    scheduler.shutdown()


def test_strange_rows_are_in_nobodys_way(make: Make, server: EvaluatorServer) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="a", next_run_time=DUE)
    scheduler.add_job(work, "interval", hours=1, id="b", next_run_time=DUE).pause()
    rows = table(store, server)
    jobs: list[Any] = ["a", "", 5, None, ["x"], {"a": 1}, "b", "strange"] * 5
    for number, job in enumerate(jobs):
        strange = {"job": job, "elapsed": False, "due_us": number % 3, "idle": "a", "alive": True, "broken": True}
        rows.put({"id": f"strange{number}" if number % 2 else number, **strange})
    places: list[Any] = [True, [], "x", None]
    for number, due in enumerate(places):
        rows.put({"id": f"due{number}", "job": "x", "elapsed": False, "due_us": due, "doc": "", "rev": 1})
    (claim,) = store.acquire(now(), 1)
    assert claim.job.id == "a"
    assert store.next_due() == (None, None)
    (run,) = store.commit([decide(claim, now().wall_us)], now().wall_us).runs
    store.finish([Finish(run, RunState.SUCCEEDED, run.fire_us, run.fire_us)])
    assert [entry.job.id for entry in store.list_entries()] == ["a", "b"]
    page = store.list_entries(None, 1)
    assert [entry.job.id for entry in page] == ["a"]
    page = store.list_entries(page[-1], 1)
    assert [entry.job.id for entry in page] == ["b"]
    assert store.list_entries(page[-1], 1) == []
    scheduler.shutdown()
    start_paused(scheduler)
    scheduler.remove_all_jobs()
    assert len(rows.rows) == 44
    scheduler.shutdown()


def test_strange_records_and_notes_are_passed_over(make: Make, server: EvaluatorServer) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    record = RunRecord("a", 5, 1, RunState.FAILED)
    store._write_records([("uid", record)], "w")
    runs = table(store, server, "_runs")
    far = {"$reql_type$": "TIME", "epoch_time": 1e15, "timezone": "+00:00"}
    for number, text in enumerate((None, 5, "[" * 100_000, "{}", NESTED, far)):
        place = {"key": key_of("a"), "job": "a", "fire_us": number, "attempt": 1, "failed": True}
        runs.put({"id": f"x{number}", **place, "record": text})
    for failed in (False, True):
        assert store.runs("a", failed=failed) == store.runs(failed=failed) == [record]
    store.put_note("n", "text")
    assert store.get_note("n") == "text"
    for value in (far, NESTED, None):
        table(store, server, "_meta").alter(key_of("note: n"), value=value)
        assert store.get_note("n") is None
    assert store.get_note("none") is None
    scheduler.shutdown()


def test_what_was_decided_and_not_moved_counts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    check_left_in_documents(make, lambda store: store._left(), monkeypatch)


def test_what_was_not_decided_by_us_is_passed_over(make: Make, server: EvaluatorServer) -> None:
    store = make()
    check_strange(store, lambda value: table(store, server).alter(key_of("a"), decided=value))


def test_a_job_that_is_too_large(make: Make) -> None:
    with pytest.raises(SerializationError, match="takes 10,485,760"):
        scheduler_on(make()).add_job("builtins:print", "date", run_date="2099-01-01", args=["x" * 11_000_000])


def test_a_job_that_is_as_large_as_can_be(make: Make) -> None:
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    jobs = [
        {"func": "builtins:len", "args": ["x" * 10_000_000], "trigger": "date", "run_date": DUE, "id": name}
        for name in "ab"
    ]
    scheduler.add_jobs(jobs)
    assert [len(job.args[0]) for job in scheduler.get_jobs()] == [10_000_000] * 2
    scheduler.shutdown()


def test_histories_are_cut(make: Make, server: EvaluatorServer) -> None:
    store = make(history=5, history_age=3600.0)
    scheduler = scheduler_on(store)
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", seconds=0.02, id="a")
    scheduler.add_job("builtins:int", "interval", ["x"], seconds=0.02, id="fails")
    log.wait_for(lambda log: len(log.executed("a")) > 12 and len(log.of(EVENT_JOB_ERROR, "fails")) > 5)
    scheduler.shutdown()
    start_paused(scheduler)
    # A run that was under way at the shutdown is live, and no part of the history.
    assert len(store._fetch_history("a", False, 99)) == len(store._fetch_history("fails", False, 99)) == 5
    assert {record.state for record in store._fetch_history("fails", True, 99)} == {RunState.FAILED}
    runs = table(store, server, "_runs").rows
    assert len(runs) == 10
    later = int((time.time() + 7200) * 1e6)
    assert [store._delete_records(later, 7) for _ in range(3)] == [7, 3, 0]
    assert not runs
    scheduler.shutdown()


def test_nothing_is_left_of_jobs_that_are_gone(make: Make, server: EvaluatorServer) -> None:
    store = make()
    run_and_remove_all(scheduler_on(store))
    assert not table(store, server).rows
    assert "owner" not in table(store, server, "_meta").rows


# --- which write was made ----------------------------------------------------------------------------------------------


def test_each_write_of_a_batch_is_told_apart(make: Make, server: EvaluatorServer) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    for name in "abcdef":
        scheduler.add_job(work, "date", run_date="2099-01-01", id=name)
    docs = store._fetch(list("abcdef"))
    rows = table(store, server)
    # Somebody else changed some of them, and removed one.
    for name in "bd":
        rows.alter(key_of(name), rev=docs[name].revision + 1)
    rows.drop(key_of("f"))
    record = RunRecord("x", 0, 1, RunState.FAILED)

    def change(name: str, uid: str | None = None) -> Change:
        doc = docs[name]
        new = doc._replace(revision=doc.revision + 1) if uid is None else Doc(doc.id, doc.revision + 1)
        return Change(doc.revision, new, ((f"of {name}", record),), keeps_payload=True)

    changes = [change("a"), change("b"), change("c", ""), change("d", ""), change("f")]
    new = [Change(0, Doc("new", 1, "uid")), Change(0, Doc("e", 1, "uid"))]
    assert store._write([*changes, *new], False) == [True, False, True, False, False, True, False]
    by_job = {row["job"]: row for row in rows.rows.values()}
    assert sorted(by_job) == ["a", "b", "d", "e", "new"]
    assert by_job["a"]["rev"] == docs["a"].revision + 1
    assert "payload" in by_job["a"]
    assert sorted(table(store, server, "_runs").rows) == ["of a:0:1", "of c:0:1"]
    # Together: none, and nothing of it is left.
    assert store._write([Change(0, Doc("g", 1, "uid")), Change(0, Doc("a", 1, "uid"))], True) == [True, False]
    assert key_of("g") not in rows.rows
    scheduler.shutdown()


def test_an_id_that_is_taken_anew_fits_nobody_who_knew_the_old_one(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    old = store._fetch(["a"])["a"]
    scheduler.remove_job("a")
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert store._write([Change(old.revision, old._replace(revision=old.revision + 1))], False) == [False]
    scheduler.shutdown()


def test_a_decision_made_from_an_outdated_row_changes_nothing(make: Make, server: EvaluatorServer) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="a", next_run_time=DUE)
    now_us = now().wall_us
    (claim,) = store.acquire(now(), 10)
    table(store, server).alter(key_of("a"), rev=1)
    committed = store.commit([decide(claim, now_us)], now_us)
    assert committed.runs == []
    assert [decision.claim.job.id for decision in committed.dropped] == ["a"]
    (claim,) = store.acquire(now(), 10)
    assert len(store.commit([decide(claim, now_us)], now_us).runs) == 1
    scheduler.shutdown()


@pytest.mark.parametrize("heard", [False, True], ids=["comes late", "was made"])
def test_a_write_that_was_not_answered_is_made_once(make: Make, server: EvaluatorServer, heard: bool) -> None:
    store = make()
    scheduler = scheduler_on(store)
    # Nothing of the scheduler's own must come between the claim and the commit.
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="a", next_run_time=DUE)
    now_us = now().wall_us
    (claim,) = store.acquire(now(), 10)
    late: list[Any] = []

    def unanswered(query: Any) -> None:
        if query[0] == 65:  # a batch of writes
            late.append(query)
            if heard:
                server.evaluator.run(query)
            raise ConnectionError

    server.asked = unanswered
    try:
        with pytest.raises(JobStoreError, match="the server closed the connection") as caught:
            store.commit([decide(claim, now_us)], now_us)
    finally:
        server.asked = lambda query: None
    assert caught.value.transient
    recovered = store.recover([])
    assert [run.job.id for run in recovered.runs] == (["a"] if heard else [])
    (result,) = server.evaluator.run(late[0])
    assert result["keys"] == []
    claims = store.acquire(now(), 10)
    assert len(store.commit([decide(claim, now_us) for claim in claims], now_us).runs) == (0 if heard else 1)
    assert len(store.runs("a")) == 1
    scheduler.shutdown()


class Line:
    """The way to the server. The query of a number is cut; ``late``: made when so many others were."""

    def __init__(self, server: EvaluatorServer, number: float, *, made: bool = False, late: int | None = None) -> None:
        self.left = number
        self.is_cut = False
        self._server = server
        self._made = made
        self._late = late
        self._waiting: list[Any] = []

    def asked(self, query: Any) -> None:
        self.left -= 1
        if self.left == -1:
            self.is_cut = True
            if self._late is not None:
                self._waiting.append(query)
            elif self._made:
                self._server.evaluator.run(query)
            raise ConnectionError
        if self._late is not None and self.left == -1 - self._late:
            self.arrive()

    def arrive(self) -> None:
        while self._waiting:
            self._server.evaluator.run(self._waiting.pop())


WAYS: dict[str, dict[str, Any]] = {
    "not made": {},
    "not answered": {"made": True},
    **{f"made after {late} more": {"late": late} for late in (1, 2, 3)},
    "died before": {"dies": True},
    "died after": {"dies": True, "made": True},
}


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize(
    "way", [way if way in ("not made", "died after") else pytest.param(way, marks=pytest.mark.slow) for way in WAYS]
)
def test_what_was_decided_is_decided_otherwise(make: Make, server: EvaluatorServer, way: str, ends: bool) -> None:
    options = dict(WAYS[way])
    dies = options.pop("dies", False)

    @contextmanager
    def cut(number: float) -> Iterator[Line]:
        line = Line(server, number, **options)
        server.asked = line.asked
        try:
            yield line
            line.arrive()
        finally:
            server.asked = lambda query: None

    def make_store(folder: str) -> RethinkDBJobStore:
        store = make(table=f"jobs{number}")
        tables = server.evaluator.databases.get(store._database, {})
        if f"jobs{number}_meta" in tables:
            tables[f"jobs{number}_meta"].drop("owner")  # who died did not let go, and its lease has ended
        return store

    number = 0
    while True:
        bench = Bench(make_store, "")
        try:
            if not check_decided_again(bench, cut, number, dies=dies, ends=ends):
                break
        except AssertionError as error:
            error.add_note(f"the query {number} was cut")
            raise
        finally:
            bench.close()
        number += 1
    assert number > 20


@pytest.mark.parametrize("term", ["INSERT", "REPLACE", "UPDATE", "DELETE"])
def test_a_server_that_refuses_a_write_is_believed(
    make: Make, server: EvaluatorServer, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="a")
    doc = store._fetch(["a"])["a"]
    method = getattr(server.evaluator, f"do_{term.lower()}")

    def refuse(*arguments: Any, **options: Any) -> Any:
        return {**method(*arguments, **options), "errors": 1, "first_error": "no disk", "changes": []}

    number = next(number for number, name in _term_names() if name == term)
    store._doubtful.add(key_of("a"))
    calls: dict[str, Callable[[], Any]] = {
        "INSERT": lambda: store.put_note("n", "x"),
        "REPLACE": lambda: store._write([Change(doc.revision, doc._replace(revision=doc.revision + 1))], False),
        "UPDATE": store._settle,
        "DELETE": lambda: store._delete_records(5, 5),
    }
    monkeypatch.setitem(server.evaluator._methods, number, refuse)
    with pytest.raises(JobStoreError, match="a write failed: no disk"):
        calls[term]()
    monkeypatch.undo()
    scheduler.shutdown()


def _term_names() -> list[tuple[int, str]]:
    from rethinkdb import ql2_pb2  # type: ignore[import-untyped, unused-ignore]

    return [(value, name) for name, value in vars(ql2_pb2.Term.TermType).items() if isinstance(value, int)]


# --- answers and errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [b"", b"\0" * 5, struct.pack("<QL", 0, 100) + b'{"t":'], ids=["none", "head", "body"])
def test_an_answer_that_ends_in_the_middle_is_waited_for_no_longer_than_said(
    make: Make, server: EvaluatorServer, monkeypatch: pytest.MonkeyPatch, part: bytes
) -> None:
    store = make(timeout=1.0)
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    raw, other = socket.socketpair()
    with raw, other:
        other.sendall(part)
        mine = store._line.connection._instance._socket._socket
        monkeypatch.setattr("schedcore.jobstores._rethinkdb_connection._is_open", lambda raw: True)
        store._line.connection._instance._socket._socket = raw
        with pytest.raises(JobStoreError, match="timed out") as caught:
            store.list_entries()
        assert caught.value.transient
        assert raw.fileno() == -1
        mine.close()
    monkeypatch.undo()
    assert store.list_entries() == []
    scheduler.shutdown()


def test_an_answer_to_something_else_is_none(make: Make, server: EvaluatorServer) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    raw, other = socket.socketpair()
    with raw, other:
        answer = b'{"t":1,"r":[5]}'
        connection = store._line.connection
        mine, connection._instance._socket._socket = connection._instance._socket._socket, raw
        other.sendall(struct.pack("<QL", 12345, len(answer)) + answer)
        with pytest.raises(errors.ReqlDriverError, match="not asked"):
            store._line.ask_on(connection, r.expr(1), 5.0)
        mine.close()
    assert store.list_entries() == []
    scheduler.shutdown()


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (errors.ReqlTimeoutError(), True),
        (errors.ReqlDriverError("Connection is closed."), True),
        (ConnectionResetError("x"), True),
        (errors.ReqlOpFailedError("lost"), True),
        (errors.ReqlOpIndeterminateError("lost"), True),
        (errors.ReqlAuthError("wrong password"), False),
        (errors.ReqlPermissionError("no"), False),
        (errors.ReqlQueryLogicError("no"), False),
        (errors.ReqlNonExistenceError("no"), False),
        (errors.ReqlResourceLimitError("no"), False),
        (errors.ReqlInternalError("no"), False),
    ],
    ids=lambda part: type(part).__name__,
)
def test_which_errors_may_pass(error: Exception, transient: bool) -> None:
    said = RethinkDBJobStore()._explain(error)
    assert said is not None
    assert said[1] is transient


def test_what_is_no_error_of_the_drivers_is_not_explained() -> None:
    assert RethinkDBJobStore()._explain(KeyError("x")) is None


def test_what_an_error_says_holds_nothing_of_jobs(make: Make, server: EvaluatorServer) -> None:
    store: DocumentStore = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    server.evaluator.databases.clear()
    with pytest.raises(JobStoreError, match="does not exist") as caught:
        scheduler.add_job("builtins:print", "date", ["secret"], run_date="2099-01-01", id="a")
    cause = caught.value.__cause__
    assert isinstance(cause, errors.ReqlOpFailedError)
    assert "secret" not in str(cause) + repr(cause) + str(caught.value)
    scheduler.shutdown()


def test_a_job_entry_survives_what_numbers_do_not(make: Make) -> None:
    """Beyond 53 bits indexes are rounded, and what they find is not."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    late_us = 250_000_000_000_000_001
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    entry = store.get_entry("a")
    assert entry is not None
    store.add_entries(
        [JobEntry(entry.job._replace(id=f"late{n}"), JobState.ACTIVE, late_us + n, late_us + n) for n in range(3)]
    )
    assert [(e.job.id, e.due_us) for e in store.list_entries(entry)] == [(f"late{n}", late_us + n) for n in range(3)]
    assert store._fetch_due(False, late_us - 1, 10)[-1].id == "a"
    assert [doc.id for doc in store._fetch_due(False, late_us, 10)] == ["a", "late0"]
    scheduler.shutdown()

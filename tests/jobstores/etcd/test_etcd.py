"""What is particular to jobs in etcd: who owns them, whose client it is, and a server that goes away."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import ConnectionFailedError, ConnectionTimeoutError, Etcd3Exception

from schedcore.clock import Now
from schedcore.engine import decide
from schedcore.errors import (
    ConfigurationError,
    JobStoreError,
    JobStoreInUseError,
    SerializationError,
)
from schedcore.jobstores._keyed_keys import Named, Op, Step, Timed
from schedcore.jobstores.etcd import EtcdJobStore, _end, _text
from schedcore.run import Finish, RunState
from schedcore.testing import EventLog
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.jobstores.owned import OTHER, KeyedTests, check_emptied
from tests.services import Etcd, Proxy

Make = Callable[..., EtcdJobStore]

shared: Any = None


def value_of(store: EtcdJobStore, key: bytes) -> bytes | None:
    with store._calling:
        found = store._client.get(key)
    return found[0] if found else None


def count(store: EtcdJobStore, kind: str) -> int:
    """Keys that begin with this."""
    with store._calling:
        return len(store._client.get_prefix(f"{store._path}/{kind}/"))


class InEtcd:
    def __init__(self, store: EtcdJobStore) -> None:
        self.store = store

    def owner(self) -> str | None:
        found = value_of(self.store, self.store._owner_key)
        return None if found is None else found.decode()

    def put_owner(self, text: str) -> None:
        with self.store._calling:
            self.store._client.put(self.store._owner_key, text, self.store._client.lease(30))

    def keep_owner(self, text: str) -> None:
        with self.store._calling:
            self.store._client.put(self.store._owner_key, text)

    def put_version(self, text: str) -> None:
        with self.store._calling:
            self.store._client.put(self.store._schema_key, text)

    def drop_owner(self) -> None:
        with self.store._calling:
            ((_, found),) = self.store._client.get(self.store._owner_key, metadata=True)
        self.store._post("/lease/revoke", {"ID": found["lease"]})
        assert self.owner() is None

    def document(self, job_id: str) -> bytes | None:
        return value_of(self.store, f"{self.store._path}/jobs/{job_id}".encode())

    def put_document(self, job_id: str, value: bytes) -> None:
        with self.store._calling:
            self.store._client.put(f"{self.store._path}/jobs/{job_id}", value)

    def count(self, kind: str) -> int:
        return count(self.store, kind)


class TestEtcd(KeyedTests):
    store = EtcdJobStore
    alias, library = "etcd", "etcd3gw"
    refused = ConnectionFailedError
    ask = "_post"
    gone = ConnectionFailedError("away")
    batch, last_part = 500, 4
    at_once, kept = 300, 200

    @pytest.fixture
    def inside(self, make: Make) -> Iterator[InEtcd]:
        inside = InEtcd(make())
        yield inside
        inside.store._client.session.close()

    def elsewhere(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"path": f"{arguments['path']}er"}


# --- who owns it -------------------------------------------------------------------------------------------------------


def test_the_lease_of_one_that_was_killed_elsewhere_ends(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedcore.jobstores.etcd.LEASE_S", 1.0)
    store = make()
    lease = store._client.lease(1)
    store._client.put(store._owner_key, OTHER, lease=lease)
    scheduler = scheduler_on(store)
    with pytest.raises(JobStoreInUseError, match="its lease ends within 1 s"):
        scheduler.start()
    end_s = time.monotonic() + 20
    while value_of(store, store._owner_key) is not None:
        assert time.monotonic() < end_s
        time.sleep(0.05)
    scheduler.start()
    scheduler.shutdown()


def test_a_lease_that_ran_out_and_was_not_taken_goes_on(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    store._post("/lease/revoke", {"ID": store._lease})
    assert value_of(store, store._owner_key) is None
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert value_of(store, store._owner_key) == store._owner.encode()
    store._post("/lease/revoke", {"ID": store._lease})
    end_s = time.monotonic() + 20
    # A cycle of the scheduler's may take it as well, under another name of the same store's.
    while value_of(store, store._owner_key) != store._owner.encode():
        assert time.monotonic() < end_s
        store._renew()
    scheduler.shutdown()
    assert value_of(store, store._owner_key) is None
    store._client.session.close()


def test_a_name_that_somebody_put_back_is_no_hindrance(make: Make) -> None:
    """As when a copy of the server is put in its place."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    name = store._owner
    store._post("/kv/put", {"key": _text(store._owner_key), "value": _text(name.encode()), "lease": store._lease})
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert store._owner != name
    assert value_of(store, store._owner_key) == store._owner.encode()
    assert [job.id for job in scheduler.get_jobs()] == ["a"]
    scheduler.shutdown()


def test_a_store_that_was_emptied_meanwhile_can_be_opened_again(make: Make) -> None:
    def empty(store: EtcdJobStore) -> None:
        everything = {"key": _text(store._prefix), "range_end": _text(_end(store._prefix))}
        store._post("/kv/deleterange", everything)

    check_emptied(make, empty)


# --- clients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closes", [False, True])
def test_a_client_of_the_users_is_closed_on_request(etcd: Etcd, closes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    global shared
    place = etcd.fresh()
    shared = Etcd3Client(host=place.host, port=place.port)
    closed: list[str] = []
    close = shared.session.close
    monkeypatch.setattr(shared.session, "close", lambda: closed.append("closed"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__))
    try:
        for client in (shared, f"{__name__}:shared"):
            store = EtcdJobStore(f"/{place.name}", client, closes)
            assert (store._client.timeout, shared.timeout) == (10.0, None)
            scheduler = scheduler_on(store)
            scheduler.start()
            scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a", replace_existing=True)
            scheduler.shutdown()
        assert closed == ["closed"] * (2 if closes else 0)
    finally:
        close()
        shared = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hots": "x"}, "the etcd client cannot be made: .*hots"),
        ({"client": 5}, "must be an etcd3gw.Etcd3Client"),
        ({"client": Etcd3Client(), "host": "x"}, r"\(host\) do not go with client="),
        ({"path": ""}, "path must be text"),
        ({"path": "/"}, "path must be text"),
        ({"path": "/a\ud800"}, "path must be text"),
        ({"history": 0}, "history must be"),
        ({"history_age": -1}, "history_age must be"),
        ({"signing_key": "short"}, "at least 16 bytes"),
        ({"allowed_refs": ["x"]}, "is no pattern"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EtcdJobStore(**options)


@pytest.mark.parametrize(
    ("options", "environment", "plain"),
    [
        ({}, {}, True),
        ({}, {"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}, True),
        ({}, {"http_proxy": "http://127.0.0.1:9"}, False),
        ({}, {"NETRC": "netrc"}, False),
        ({"protocol": "https"}, {}, False),
        ({"session": requests.Session()}, {}, False),
    ],
)
def test_only_what_needs_no_more_goes_the_short_way(
    options: dict[str, Any],
    environment: dict[str, str],
    plain: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proxies, passwords, certificates and sessions of the user's are matters of requests'."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    session = EtcdJobStore(host="127.0.0.1", **options)._client.session
    assert (type(session) is not requests.Session) is plain
    assert session.proxies.get("http") == environment.get("http_proxy") or plain
    assert session.auth == (("me", "secret") if "NETRC" in environment else None)
    session.close()


# --- what is there -----------------------------------------------------------------------------------------------------


def test_keys_of_somebody_elses_and_of_another_version(make: Make) -> None:
    store = make()
    store._client.put(f"{store._path}/jobs/x", "\x80\x04")
    with pytest.raises(JobStoreError, match="that were not written by schedcore"):
        scheduler_on(make()).start()
    store._client.put(f"{store._path}/schema", "99")
    with pytest.raises(JobStoreError, match="schema version b'99', and this release reads 1"):
        scheduler_on(make()).start()
    store._client.session.close()


def test_strange_keys_are_passed_over(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.shutdown()
    for key in (b"wall/x", b"wall/000000000000000000/nobody", b"wall/1/x", b"live/\xff", b"broken/\xff\xfe", b"idle/x"):
        store._client.put(store._prefix + key, b"\xff")
    for key in (b"history/000000000000000000/1-x", b"failed/000000000000000000/1-x", b"runs/good"):
        store._client.put(store._prefix + key, b"[[1,")
    scheduler = scheduler_on(make())
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", seconds=0.05, id="good")
    log.wait_for(lambda log: len(log.executed("good")) > 2)
    assert [job.id for job in scheduler.get_jobs()] == ["good"]
    assert {record.job_id for record in scheduler.get_runs()} == {"good"}
    # A place in the schedule that leads nowhere is not looked at again and again.
    assert value_of(store, store._prefix + b"wall/000000000000000000/nobody") is None
    scheduler.shutdown()
    store._client.session.close()


def test_a_run_costs_two_requests(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of the records that its job has comes with the answer to the first one, those of a namesake included."""
    times = [f"2026-01-01T0{hour}:00:00Z" for hour in range(2)]
    for time_text in times:
        # Another store each time, which knows nothing of what the first one recorded.
        store = make(history_age=None)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(work, "interval", hours=1, id="a", next_run_time=time_text)
        now_us = int(time.time() * 1e6)
        claims = store.acquire(Now(now_us, now_us), 9)
        asked: list[str] = []
        ask = store._post

        def note(path: str, body: Any, ask: Any = ask, asked: list[str] = asked) -> Any:
            asked.append(path)
            return ask(path, body)

        monkeypatch.setattr(store, "_post", note)
        runs = store.commit([decide(claim, now_us) for claim in claims], now_us).runs
        store.finish([Finish(run, RunState.SUCCEEDED, now_us, now_us) for run in runs])
        assert asked == ["/kv/txn", "/kv/txn"]
        scheduler.remove_job("a")
        assert len(store.runs("a")) == len(store.runs()) == 1 + times.index(time_text)
        scheduler.shutdown()


def test_what_is_too_large_is_refused_when_it_is_added(make: Make) -> None:
    scheduler = scheduler_on(make())
    scheduler.start()
    with pytest.raises(SerializationError, match=r"has 1,500,\d+ bytes, and etcd takes 1,400,000"):
        scheduler.add_job("builtins:print", "date", ["x" * 1_500_000], run_date="2099-01-01", id="large")
    scheduler.add_job("builtins:print", "date", ["x" * 1_390_000], run_date="2026-01-01", id="fits")
    assert scheduler.get_job("large") is None
    scheduler.shutdown()


# --- a server that goes away -------------------------------------------------------------------------------------------


def test_a_write_that_comes_late_is_refused(etcd: Etcd) -> None:
    """It timed out here and waits on its way: by the time that it comes the store has been taken anew."""
    place = etcd.fresh()
    with Proxy(place.port) as proxy:
        store = EtcdJobStore(f"/{place.name}", host=place.host, port=proxy.port, timeout=0.5)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        late = store._owner, store._owner_revision
        step = Step("a", 0, b"{}", (Op("create", Named("idle", "a")), Op("create", Timed("wall", 1, "a"))))
        proxy.stall()
        with pytest.raises(JobStoreError, match="failed to write") as caught, store._using("write"):
            store._carry_out([step])
        assert caught.value.transient
        assert isinstance(caught.value.__cause__, ConnectionTimeoutError)
        proxy.cut()
        proxy.accept()
        assert store.get_entry("a") is None
        mine = store._owner, store._owner_revision
        assert store._owner != late[0]
        # Now it comes.
        store._owner, store._owner_revision = late
        with pytest.raises(JobStoreInUseError):
            store._apply([step], False)
        store._owner, store._owner_revision = mine
        assert count(store, "idle") == 0
        scheduler.shutdown()


def test_a_connection_that_the_server_closed_meanwhile_is_made_again(etcd: Etcd) -> None:
    place = etcd.fresh()
    with Proxy(place.port) as proxy:
        store = EtcdJobStore(f"/{place.name}", host=place.host, port=proxy.port)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        for _ in range(3):
            proxy.cut()
            assert store.get_entry("a") is None
        scheduler.shutdown()


def test_an_answer_that_came_too_late_is_not_taken_for_another(etcd: Etcd) -> None:
    place = etcd.fresh()
    with Proxy(place.port) as proxy:
        store = EtcdJobStore(f"/{place.name}", host=place.host, port=proxy.port, timeout=0.5)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        proxy.stall()
        with pytest.raises(JobStoreError, match="ConnectionTimeoutError"):
            store.get_entry("a")
        proxy.accept()
        assert store.get_entry("a") is None
        scheduler.shutdown()


@pytest.mark.parametrize(
    ("error", "said", "transient"),
    [
        (Etcd3Exception('{"error":"etcdserver: request is too large","code":3}'), "request is too large", False),
        (Etcd3Exception('{"message":"etcdserver: mvcc: database space exceeded"}'), "database space exceeded", True),
        (ConnectionTimeoutError("no answer"), "ConnectionTimeoutError: no answer", True),
        (ConnectionResetError("reset"), "reset", True),
        (Etcd3Exception(), "Etcd3Exception", False),
    ],
)
def test_what_errors_say(make: Make, error: Exception, said: str, transient: bool) -> None:
    explained = make()._explain(error)
    assert explained is not None
    assert said in explained[0]
    assert explained[1] is transient
    assert make()._explain(KeyError("x")) is None


# --- two at once ---------------------------------------------------------------------------------------------------------


def test_one_that_somebody_else_wrote_keeps_no_other_from_being_written(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    for name in ("a", "b", "c"):
        scheduler.add_job(work, "interval", hours=1, id=name, next_run_time="2026-01-01T00:00:00Z")
    now_us = int(time.time() * 1e6)
    claims = store.acquire(Now(now_us, now_us), 10)
    key = store._prefix + b"jobs/b"
    # Through the store, whose own calls come from other threads.
    store._post("/kv/put", {"key": _text(key), "value": _text(value_of(store, key) or b"")})
    committed = store.commit([decide(claim, now_us) for claim in claims], now_us)
    assert sorted(run.job.id for run in committed.runs) == ["a", "c"]
    assert [decision.claim.job.id for decision in committed.dropped] == ["b"]
    scheduler.shutdown()

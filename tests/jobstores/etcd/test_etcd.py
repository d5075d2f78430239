"""What is particular to jobs in etcd: who owns them, whose client it is, and a server that goes away."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from schedcore.clock import Now
from schedcore.engine import Claim, decide
from schedcore.errors import (
    ConfigurationError,
    JobStoreError,
    JobStoreInUseError,
    SerializationError,
)
from schedcore.jobstores._keyed_keys import Named, Op, Step, Timed
from schedcore.jobstores.etcd import EtcdClient, EtcdError, EtcdJobStore, _end
from schedcore.run import Finish, RunState
from schedcore.testing import EventLog
from tests.jobstores.etcd.forks import in_child
from tests.jobstores.load import at_rest, scheduler_on, start_paused, work
from tests.jobstores.owned import OTHER, KeyedTests, LateTests, check_emptied
from tests.services import Etcd, Proxy

Make = Callable[..., EtcdJobStore]

shared: Any = None


def value_of(store: EtcdJobStore, key: bytes) -> bytes | None:
    found = store._range(key)
    return found[0].value if found else None


def put(store: EtcdJobStore, key: bytes, value: bytes, lease: int = 0) -> None:
    store._ask("KV/Put", {"key": key, "value": value, "lease": lease})


def lease_of(store: EtcdJobStore, seconds: int) -> int:
    """A lease of somebody else's."""
    granted: int = store._ask("Lease/LeaseGrant", {"TTL": seconds}).ID
    return granted


def count(store: EtcdJobStore, kind: str) -> int:
    """Keys that begin with this."""
    prefix = f"{store._path}/{kind}/".encode()
    return len(store._range(prefix, _end(prefix), keys_only=True))


class InEtcd:
    def __init__(self, store: EtcdJobStore) -> None:
        self.store = store

    def owner(self) -> str | None:
        found = value_of(self.store, self.store._owner_key)
        return None if found is None else found.decode()

    def put_owner(self, text: str) -> None:
        put(self.store, self.store._owner_key, text.encode(), lease_of(self.store, 30))

    def keep_owner(self, text: str) -> None:
        put(self.store, self.store._owner_key, text.encode())

    def put_version(self, text: str) -> None:
        put(self.store, self.store._schema_key, text.encode())

    def drop_owner(self) -> None:
        (found,) = self.store._range(self.store._owner_key)
        self.store._ask("Lease/LeaseRevoke", {"ID": found.lease})
        assert self.owner() is None

    def document(self, job_id: str) -> bytes | None:
        return value_of(self.store, f"{self.store._path}/jobs/{job_id}".encode())

    def put_document(self, job_id: str, value: bytes) -> None:
        put(self.store, f"{self.store._path}/jobs/{job_id}".encode(), value)

    def count(self, kind: str) -> int:
        return count(self.store, kind)

    def delete_places(self, job_id: str) -> None:
        for kind in ("wall", "elapsed", "idle"):
            prefix = f"{self.store._path}/{kind}/".encode()
            for found in self.store._range(prefix, _end(prefix), keys_only=True):
                if found.key.endswith(f"/{job_id}".encode()):
                    self.store._ask("KV/DeleteRange", {"key": found.key})


class TestEtcd(LateTests, KeyedTests):
    store = EtcdJobStore
    alias, library = "etcd", "h2"
    refused = ConnectionRefusedError
    ask = "_ask"
    gone = ConnectionError("away")
    batch, last_part = 500, 4
    at_once, kept = 300, 200

    @pytest.fixture
    def inside(self, make: Make) -> Iterator[InEtcd]:
        inside = InEtcd(make())
        yield inside
        inside.store._client.close()

    def elsewhere(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"path": f"{arguments['path']}er"}

    @contextmanager
    def held(self, store: Any) -> Iterator[list[Callable[[], object]]]:
        ask = store._transaction
        late: list[Callable[[], object]] = []

        def arrive(call: Sequence[Any]) -> None:
            ask(*call)
            if not store._opened:
                store._client.close()

        def hold(*call: Any) -> Any:
            if not any("lease" in request.get("request_put", ()) for request in call[1]):
                return ask(*call)
            late.append(partial(arrive, call))
            raise TimeoutError("no answer came")

        store._transaction = hold
        try:
            yield late
        finally:
            del store._transaction


# --- who owns it -------------------------------------------------------------------------------------------------------


def test_the_lease_of_one_that_was_killed_elsewhere_ends(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedcore.jobstores.etcd.LEASE_S", 1.0)
    store = make()
    scheduler = scheduler_on(store)

    def refused() -> str:
        put(store, store._owner_key, OTHER.encode(), lease_of(store, 1))
        try:
            scheduler.start()
        except JobStoreInUseError as error:
            return str(error)
        # This process stood still for longer than the lease.
        scheduler.shutdown()
        return ""

    assert "its lease ends within 1 s" in next(filter(None, (refused() for _ in range(30))), "")
    end_s = time.monotonic() + 60
    while value_of(store, store._owner_key) is not None:
        assert time.monotonic() < end_s
        time.sleep(0.05)
    scheduler.start()
    scheduler.shutdown()


def test_a_lease_that_ran_out_and_was_not_taken_goes_on(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    store._ask("Lease/LeaseRevoke", {"ID": store._lease})
    assert value_of(store, store._owner_key) is None
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert value_of(store, store._owner_key) == store._owner.encode()
    store._ask("Lease/LeaseRevoke", {"ID": store._lease})
    end_s = time.monotonic() + 60
    # A cycle of the scheduler's may take it as well, under another name of the same store's.
    while value_of(store, store._owner_key) != store._owner.encode():
        assert time.monotonic() < end_s
        store._renew()
    scheduler.shutdown()
    assert value_of(store, store._owner_key) is None
    store._client.close()


def test_a_name_that_somebody_put_back_is_no_hindrance(make: Make) -> None:
    """As when a copy of the server is put in its place."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    name = store._owner
    put(store, store._owner_key, name.encode(), store._lease)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert store._owner != name
    assert value_of(store, store._owner_key) == store._owner.encode()
    assert [job.id for job in scheduler.get_jobs()] == ["a"]
    scheduler.shutdown()


def test_a_store_that_was_emptied_meanwhile_can_be_opened_again(make: Make) -> None:
    def empty(store: EtcdJobStore) -> None:
        store._ask("KV/DeleteRange", {"key": store._prefix, "range_end": _end(store._prefix)})

    check_emptied(make, empty)


# --- clients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closes", [False, True])
def test_a_client_of_the_users_is_closed_on_request(etcd: Etcd, closes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    global shared
    place = etcd.fresh()
    shared = EtcdClient(place.host, place.port)
    closed: list[str] = []
    close = shared.close
    monkeypatch.setattr(shared, "close", lambda: closed.append("closed"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__))
    try:
        for client in (shared, f"{__name__}:shared"):
            scheduler = scheduler_on(EtcdJobStore(f"/{place.name}", client, closes))
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
        ({"protocol": "ftp"}, "protocol must be 'http' or 'https', not 'ftp'"),
        ({"port": "x"}, "the etcd client cannot be made: .*'x'"),
        ({"timeout": 0}, "timeout must be seconds, more than none and at most a day, not 0"),
        ({"port": 65_536}, "port must be a number from 1 to 65535, not 65536"),
        ({"host": ""}, "host must be a name or an address"),
        ({"host": "a..b"}, "the etcd client cannot be made: .*label"),
        ({"timeout": "nan"}, "timeout must be seconds"),
        ({"timeout": float("inf")}, "timeout must be seconds, more than none and at most a day, not inf"),
        ({"ca_cert": "/nowhere.pem"}, "the etcd client cannot be made: .*No such file"),
        ({"cert_key": "/key.pem"}, "cert_key= is the key of cert_cert=, which is missing"),
        ({"user": "me"}, "user= and password= go together"),
        ({"user": "\ud800", "password": "x"}, "the etcd client cannot be made: .*surrogates"),
        ({"client": 5}, "must be a schedcore.jobstores.etcd.EtcdClient, not 5"),
        ({"client": EtcdClient(), "host": "x"}, r"\(host\) do not go with client="),
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


# --- what is there -----------------------------------------------------------------------------------------------------


def test_keys_of_somebody_elses_and_of_another_version(make: Make) -> None:
    store = make()
    put(store, store._prefix + b"jobs/x", b"\x80\x04")
    with pytest.raises(JobStoreError, match="that were not written by schedcore"):
        scheduler_on(make()).start()
    put(store, store._schema_key, b"99")
    with pytest.raises(JobStoreError, match="schema version b'99', and this release reads 1"):
        scheduler_on(make()).start()
    store._client.close()


def test_strange_keys_are_passed_over(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.shutdown()
    for key in (b"wall/x", b"wall/000000000000000000/nobody", b"wall/1/x", b"live/\xff", b"broken/\xff\xfe", b"idle/x"):
        put(store, store._prefix + key, b"\xff")
    for key in (b"history/000000000000000000/1-x", b"failed/000000000000000000/1-x", b"runs/good"):
        put(store, store._prefix + key, b"[[1,")
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
    store._client.close()


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
        ask = store._ask

        def note(name: str, fields: Any, ask: Any = ask, asked: list[str] = asked) -> Any:
            asked.append(name)
            return ask(name, fields)

        monkeypatch.setattr(store, "_ask", note)
        runs = store.commit([decide(claim, now_us) for claim in claims], now_us).runs
        store.finish([Finish(run, RunState.SUCCEEDED, now_us, now_us) for run in runs])
        assert asked == ["KV/Txn", "KV/Txn"]
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


def test_a_start_that_was_not_answered_is_made_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store had been taken by it, and was in use by nobody else."""
    store = make()
    ask, unanswered = store._transaction, [True]

    def lose(*arguments: Any) -> Any:
        answer = ask(*arguments)
        if unanswered:
            unanswered.pop()
            raise TimeoutError("no answer came")
        return answer

    monkeypatch.setattr(store, "_transaction", lose)
    scheduler = scheduler_on(store)
    with pytest.raises(JobStoreError, match="failed to open the store") as caught:
        scheduler.start()
    assert caught.value.transient
    scheduler.start()
    assert not is_its_parents(store)
    scheduler.shutdown()


def is_its_parents(store: EtcdJobStore) -> bool:
    """Whether a child of this process takes a store for its own that is open here."""

    def start() -> None:
        with pytest.raises(JobStoreInUseError):
            store._open()

    return os.waitstatus_to_exitcode(os.waitpid(in_child(start), 0)[1]) != 0


def test_a_write_that_comes_late_is_refused(etcd: Etcd) -> None:
    """It timed out here and waits on its way: by the time that it comes the store has been taken anew."""
    place = etcd.fresh()
    with Proxy(place.port) as proxy:
        store = EtcdJobStore(f"/{place.name}", host=place.host, port=proxy.port)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        store._client.timeout = 0.5
        late = store._owner, store._owner_revision
        step = Step("a", 0, b"{}", (Op("create", Named("idle", "a")), Op("create", Timed("wall", 1, "a"))))
        proxy.stall()
        with pytest.raises(JobStoreError, match="failed to write") as caught, store._using("write"):
            store._carry_out([step])
        assert caught.value.transient
        assert isinstance(caught.value.__cause__, TimeoutError)
        store._client.timeout = 60.0
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
        store = EtcdJobStore(f"/{place.name}", host=place.host, port=proxy.port)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        store._client.timeout = 0.5
        proxy.stall()
        with pytest.raises(JobStoreError, match="TimeoutError: timed out"):
            store.get_entry("a")
        store._client.timeout = 60.0
        proxy.accept()
        assert store.get_entry("a") is None
        scheduler.shutdown()


@pytest.mark.parametrize(
    ("error", "said", "transient"),
    [
        (EtcdError(3, "etcdserver: request is too large"), "request is too large", False),
        (EtcdError(8, "etcdserver: mvcc: database space exceeded"), "database space exceeded", True),
        (EtcdError(14, "etcdserver: no leader"), "no leader", True),
        (TimeoutError("no answer"), "TimeoutError: no answer", True),
        (ConnectionResetError("reset"), "reset", True),
    ],
)
def test_what_errors_say(make: Make, error: Exception, said: str, transient: bool) -> None:
    explained = make()._explain(error)
    assert explained is not None
    assert said in explained[0]
    assert explained[1] is transient
    assert make()._explain(KeyError("x")) is None


def test_a_write_that_was_made_though_there_is_no_room(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """So an etcd answers to the one by which it notices. What was written is known afterwards."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", seconds=0.001, id="a")
    at_rest(scheduler)
    call = store._client.call

    def run_once() -> Finish:
        claims: list[Claim] = []
        while not claims:
            now_us = int(time.time() * 1e6)
            claims = store.acquire(Now(now_us, now_us), 1)
        (run,) = store.commit([decide(claim, now_us) for claim in claims], now_us).runs
        return Finish(run, RunState.SUCCEEDED, now_us, now_us)

    def notice(name: str, fields: Any) -> Any:
        call(name, fields)
        raise EtcdError(8, "etcdserver: mvcc: database space exceeded")

    store.finish([run_once()])
    second = run_once()
    monkeypatch.setattr(store._client, "call", notice)
    with pytest.raises(JobStoreError, match="database space exceeded"):
        store.finish([second])
    monkeypatch.undo()
    # As the scheduler does, which was told that it failed.
    store.finish([second])
    store.finish([run_once()])
    states = [record.state for record in store.runs("a")]
    assert states.count(RunState.SUCCEEDED) == 3
    assert len(store.runs()) == len(states)
    scheduler.shutdown()


def test_what_was_under_way_when_another_was_refused_is_looked_at(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one wrote nothing says nothing of the others: here all of them are written."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    receive = store._client.receive

    def refuse(sent: Any) -> Any:
        receive(sent)
        raise EtcdError(8, "etcdserver: mvcc: database space exceeded")

    owner = store._owner
    monkeypatch.setattr(store._client, "receive", refuse)
    jobs = [{"func": work, "trigger": "interval", "hours": 1, "id": f"job{i:03}"} for i in range(300)]
    with pytest.raises(JobStoreError, match="database space exceeded"):
        scheduler.add_jobs(jobs)
    assert count(store, "jobs") > 1
    monkeypatch.undo()
    assert scheduler.get_jobs() == []
    assert store._owner != owner
    scheduler.add_jobs(jobs)
    assert len(scheduler.get_jobs()) == count(store, "jobs") == 300
    scheduler.shutdown()


def test_what_was_under_way_when_the_lease_ended_is_sent_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    send = store._client.send
    sent: list[str] = []

    def drop(name: str, fields: Any) -> Any:
        if not sent:
            store._ask("Lease/LeaseRevoke", {"ID": store._lease})
        sent.append(name)
        return send(name, fields)

    monkeypatch.setattr(store._client, "send", drop)
    owner = store._owner
    scheduler.add_jobs([{"func": work, "trigger": "interval", "hours": 1, "id": f"job{i:03}"} for i in range(300)])
    assert len(sent) > 3
    assert store._owner != owner
    assert len(scheduler.get_jobs()) == count(store, "jobs") == 300
    assert count(store, "adding") == 0
    scheduler.shutdown()


def test_a_forked_child_has_a_connection_of_its_own(etcd: Etcd) -> None:
    """What its parent asks is not answered to it, nor the other way round."""
    place = etcd.fresh()
    client = EtcdClient(place.host, place.port)
    client.call("KV/Put", {"key": place.name.encode(), "value": b"parent"})

    def put() -> None:
        for number in range(100):
            client.call("KV/Put", {"key": b"%s/%d" % (place.name.encode(), number), "value": b"child"})

    child = in_child(put)
    for _ in range(100):
        assert client.call("KV/Range", {"key": place.name.encode()}).kvs[0].value == b"parent"
    assert os.waitpid(child, 0)[1] == 0
    assert client.call("KV/Range", {"key": place.name.encode()}).kvs[0].value == b"parent"
    client.close()


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
    put(store, key, value_of(store, key) or b"")
    committed = store.commit([decide(claim, now_us) for claim in claims], now_us)
    assert sorted(run.job.id for run in committed.runs) == ["a", "c"]
    assert [decision.claim.job.id for decision in committed.dropped] == ["b"]
    scheduler.shutdown()

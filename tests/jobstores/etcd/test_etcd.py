"""What is particular to jobs in etcd: who owns them, whose client it is, and a server that goes away."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import ConnectionFailedError, ConnectionTimeoutError, Etcd3Exception

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
from schedcore.job import JobState
from schedcore.jobstores._keyed import Named, Op, Step, Timed
from schedcore.jobstores.etcd import EtcdJobStore
from schedcore.run import Finish, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.services import Etcd, Proxy

Make = Callable[..., EtcdJobStore]

shared: Any = None


def value_of(store: EtcdJobStore, key: bytes) -> bytes | None:
    found = store._client.get(key)
    return found[0] if found else None


def count(store: EtcdJobStore, kind: str) -> int:
    """Keys that begin with this."""
    return len(store._client.get_prefix(f"{store._path}/{kind}/"))


# --- who owns it -------------------------------------------------------------------------------------------------------


def test_a_second_scheduler_is_refused(make: Make) -> None:
    with_it = scheduler_on(make())
    with_it.start()
    with pytest.raises(JobStoreInUseError, match=r"in use by another scheduler \(process \d+ on .*, since .*\)"):
        scheduler_on(make()).start()
    with_it.shutdown()
    after = scheduler_on(make())
    after.start()
    after.shutdown()


def test_another_path_is_another_store(make: Make) -> None:
    first = make()
    one, other = scheduler_on(first), scheduler_on(make(path=f"{first._path}er"))
    one.start()
    other.start()
    one.add_job(work, "date", run_date="2099-01-01", id="a")
    assert other.get_jobs() == []
    one.shutdown()
    other.shutdown()


_CHILD = """
import sys, time
from schedcore.jobstores.etcd import EtcdJobStore
from schedcore.schedulers.background import BackgroundScheduler
path, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
scheduler = BackgroundScheduler(jobstores={"default": EtcdJobStore(path, host=host, port=port)}, timezone="UTC")
scheduler.start()
scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a")
print("ready", flush=True)
time.sleep(60)
"""


def test_a_scheduler_that_was_killed_lets_go_at_once(etcd: Etcd) -> None:
    place = etcd.fresh()
    path = f"/{place.name}"
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, path, place.host, str(place.port)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        mine = scheduler_on(EtcdJobStore(path, host=place.host, port=place.port))
        with pytest.raises(JobStoreInUseError):
            mine.start()
        child.kill()
        child.wait()
    mine.start()
    assert [job.id for job in mine.get_jobs()] == ["a"]
    mine.shutdown()


def test_the_lease_of_one_that_was_killed_elsewhere_ends(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedcore.jobstores.etcd.LEASE_S", 1.0)
    store = make()
    lease = store._client.lease(1)
    other = json.dumps({"host": "elsewhere", "pid": 1, "since": "today", "token": "x"})
    store._client.put(store._owner_key, other, lease=lease)
    scheduler = scheduler_on(store)
    with pytest.raises(JobStoreInUseError, match="its lease ends within 1 s"):
        scheduler.start()
    end_s = time.monotonic() + 20
    while value_of(store, store._owner_key) is not None:
        assert time.monotonic() < end_s
        time.sleep(0.05)
    scheduler.start()
    scheduler.shutdown()


def test_who_lost_the_store_to_another_one_writes_no_more(make: Make) -> None:
    store = make()
    first = scheduler_on(store)
    first.start()
    first.add_job(work, "date", run_date="2099-01-01", id="a")
    # Its lease ran out while it was paused, and somebody else took it.
    other = json.dumps({"host": "elsewhere", "pid": 1, "since": "today", "token": "x"})
    store._client.put(store._owner_key, other)
    with pytest.raises(JobStoreInUseError, match="process 1 on elsewhere"):
        first.remove_job("a")
    assert [job.id for job in first.get_jobs()] == ["a"]
    first.shutdown()
    assert value_of(store, store._owner_key) == other.encode()
    store._client.session.close()


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


def test_what_was_claimed_before_somebody_else_had_the_store_does_not_hold(make: Make) -> None:
    """Even where the other one made a document anew that looks as old as the one that was claimed."""
    store = make()
    first = scheduler_on(store)
    start_paused(first)
    for name in ("a", "b"):
        first.add_job(work, "interval", hours=1, id=name, next_run_time="2026-01-01T00:00:00Z")
    now_us = int(time.time() * 1e6)
    claims = store.acquire(Now(now_us, now_us), 9)
    store._post("/lease/revoke", {"ID": store._lease})
    other = scheduler_on(make())
    start_paused(other)
    other.remove_all_jobs()
    other.add_job(work, "interval", hours=1, id="a", next_run_time="2026-02-02T00:00:00Z")
    other.shutdown()
    with pytest.raises(JobStoreError, match="another scheduler has used the store meanwhile") as caught:
        store.commit([decide(claim, now_us) for claim in claims], now_us)
    assert caught.value.transient
    assert store.recover([]) == ([], [])
    assert store.commit([decide(claim, now_us) for claim in claims], now_us).runs == []
    (claim,) = store.acquire(Now(now_us, now_us), 9)
    assert claim.fire_us == 1_769_990_400_000_000
    assert [run.job.id for run in store.commit([decide(claim, now_us)], now_us).runs] == ["a"]
    first.shutdown()


def test_while_nothing_is_due_nothing_is_asked(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "cron", hour=7, id="a", next_run_time="2026-01-01T00:00:00Z")
    at_us = 1_767_225_600_000_000
    assert store.next_due() == (at_us, None)
    calls: list[str] = []
    answer = store._post

    def ask(*some: Any) -> Any:
        calls.append(str(some))
        return answer(*some)

    monkeypatch.setattr(store, "_post", ask)
    assert store.acquire(Now(at_us - 1, at_us - 1), 9) == []
    assert store.next_due() == (at_us, None)
    assert calls == []
    # What we do ourselves is known.
    scheduler.add_job(work, "cron", hour=7, id="b", next_run_time="2025-01-01T00:00:00Z")
    calls.clear()
    assert store.next_due().wall_us == at_us - 365 * 86_400_000_000
    assert calls == []
    scheduler.remove_job("b")
    assert store.next_due() == (at_us, None)
    assert calls
    monkeypatch.undo()
    (claim,) = store.acquire(Now(at_us, at_us), 9)
    assert claim.job.id == "a"
    scheduler.shutdown()


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
        ({"history": 0}, "history must be"),
        ({"history_age": -1}, "history_age must be"),
        ({"signing_key": "short"}, "at least 16 bytes"),
        ({"allowed_refs": ["x"]}, "is no pattern"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EtcdJobStore(**options)


def test_by_alias_and_as_text(etcd: Etcd) -> None:
    place = etcd.fresh()
    options = {
        "schedcore.jobstores.default.type": "etcd",
        "schedcore.jobstores.default.host": place.host,
        "schedcore.jobstores.default.port": str(place.port),
        "schedcore.jobstores.default.path": place.name,
    }
    scheduler = BackgroundScheduler(options, timezone="UTC")
    scheduler.start()
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    scheduler.shutdown()


def test_without_the_library_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['etcd3gw'] = None\n"
        "from schedcore.errors import MissingExtraError\n"
        "try: import schedcore.jobstores.etcd\n"
        "except MissingExtraError as error: print(error.extra, '|', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("etcd | the job store 'etcd' needs")


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


@pytest.mark.parametrize("value", [b"", b"x", b"\x80\x04K\x01.", b"{}", b'{"v":1}', b"[" * 100_000, b"\xff\xfe"])
def test_a_document_that_nobody_of_us_wrote(make: Make, value: bytes) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.add_job(work, "interval", hours=1, id="bad")
    scheduler.add_job(work, "interval", seconds=0.05, id="good")
    log = EventLog(scheduler)
    store._client.put(f"{store._path}/jobs/bad", value)
    log.wait_for(lambda log: len(log.executed("good")) > 2)
    jobs = {job.id: job for job in scheduler.get_jobs()}
    assert jobs["good"].state is JobState.ACTIVE
    assert jobs["bad"].state is JobState.BROKEN
    assert value_of(store, f"{store._path}/jobs/bad".encode()) == value
    scheduler.shutdown()


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


def test_a_damaged_document_that_is_due_is_set_aside(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="bad", next_run_time="2026-01-01T00:00:00Z")
    store._client.put(f"{store._path}/jobs/bad", "x")
    now_us = int(time.time() * 1e6)
    # What was written last is known, and not asked for again; that it is another one by now is found when it is committed.
    (claim,) = store.acquire(Now(now_us, now_us), 9)
    assert store.commit([decide(claim, now_us)], now_us).runs == []
    (claim,) = store.acquire(Now(now_us, now_us), 9)
    assert "damaged" in str(claim.broken)
    store.commit([decide(claim, now_us)], now_us)
    assert store.acquire(Now(now_us, now_us), 9) == []
    assert store.next_due() == (None, None)
    assert [job.state for job in scheduler.get_jobs()] == [JobState.BROKEN]
    scheduler.remove_job("bad")
    assert count(store, "wall") == count(store, "elapsed") == count(store, "idle") == count(store, "broken") == 0
    scheduler.shutdown()


def test_nothing_is_left_of_jobs_that_are_gone(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, id="once")
    scheduler.add_job(work, "interval", seconds=0.02, id="often")
    scheduler.add_job(work, "interval", hours=1, id="paused").pause()
    log.wait_for(lambda log: len(log.executed("often")) > 3 and bool(log.executed("once")))
    scheduler.remove_all_jobs()
    scheduler.shutdown()
    # A run that was on record and had not begun is recovered by who comes next: its job is gone, and so it is lost.
    start_paused(scheduler)
    scheduler.shutdown()
    for kind in ("jobs", "payloads", "wall", "elapsed", "idle", "live", "broken", "adding"):
        assert count(store, kind) == 0, kind
    assert count(store, "runs") == 2
    store._client.session.close()


def test_histories_are_cut(make: Make) -> None:
    store = make(history=5, history_age=3600.0)
    scheduler = scheduler_on(store)
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", seconds=0.02, id="a")
    scheduler.add_job("builtins:int", "interval", ["x"], seconds=0.02, id="fails")
    log.wait_for(lambda log: len(log.executed("a")) > 12 and len(log.of(EVENT_JOB_ERROR, "fails")) > 5)
    scheduler.shutdown()
    after = make()
    scheduler = scheduler_on(after)
    start_paused(scheduler)
    assert len(scheduler.get_runs("a")) == len(scheduler.get_runs("fails")) == 5
    # On a busy machine some of them are records of what was late, and made up for by one run.
    failed = len(scheduler.get_runs("fails", failed=True))
    assert [count(store, kind) for kind in ("history", "failed", "runs")] == [10, failed, 2]
    old = int((time.time() + 7200) * 1e6)
    assert [after._delete_records(old, 7) for _ in range(3)] == [7, 3, 0]
    assert [count(store, kind) for kind in ("history", "failed", "runs")] == [0, 0, 0]
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


def test_a_batch_that_was_half_added_is_undone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="before")
    entry = store.get_entry("before")
    assert entry is not None
    entries = [entry._replace(job=entry.job._replace(id=f"job{number}")) for number in range(500)]
    apply, sent = store._apply, []

    def fail_late(steps: list[Step], together: bool) -> list[bool]:
        sent.append(steps)
        if len(sent) == 4:
            raise ConnectionFailedError("away")
        return apply(steps, together)

    monkeypatch.setattr(store, "_apply", fail_late)
    with pytest.raises(JobStoreError, match="failed to add jobs"):
        store.add_entries(entries)
    assert count(store, "jobs") > 1
    monkeypatch.undo()
    assert [found.job.id for found in store.list_entries()] == ["before"]
    assert count(store, "jobs") == count(store, "payloads") == 1
    # The process dies in the middle of it: who opens the store next undoes it.
    sent.clear()
    monkeypatch.setattr(store, "_apply", fail_late)
    with pytest.raises(JobStoreError):
        store.add_entries(entries)
    monkeypatch.undo()
    scheduler.shutdown()
    again = make()
    other = scheduler_on(again)
    start_paused(other)
    assert [job.id for job in other.get_jobs()] == ["before"]
    again.add_entries(entries)
    assert count(again, "jobs") == 501
    assert count(again, "adding") == 0
    with pytest.raises(ConflictingIdError):
        again.add_entries([entry._replace(job=entry.job._replace(id=name)) for name in ("new", "job7")])
    other.shutdown()


def test_many_runs_of_one_job_end_at_once(make: Make) -> None:
    store = make(history=200)
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(
        work, "interval", seconds=1, start_date="2026-01-01T00:00:00Z", id="a", coalesce=False, max_instances=300,
        next_run_time="2026-01-01T00:00:00Z",
    )  # fmt: skip
    now_us = 1_767_225_600_000_000 + 299_000_000
    (claim,) = store.acquire(Now(now_us, now_us), 1)
    runs = store.commit([decide(claim, now_us)], now_us).runs
    assert len(runs) == 300
    store.finish([Finish(run, RunState.FAILED, now_us, now_us) for run in runs])
    assert [record.fire_us for record in store.runs("a", limit=999)] == [run.fire_us for run in reversed(runs[100:])]
    assert (count(store, "history"), count(store, "failed"), count(store, "live")) == (200, 200, 0)
    scheduler.shutdown()


# --- a server that goes away -------------------------------------------------------------------------------------------


def test_a_write_that_comes_late_is_refused(etcd: Etcd) -> None:
    """It timed out here and waits on its way: by the time that it comes the store has been taken anew."""
    place = etcd.fresh()
    with Proxy(place.port) as proxy:
        store = EtcdJobStore(f"/{place.name}", host=place.host, port=proxy.port, timeout=0.5)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        late = store._owner
        step = Step("a", 0, b"{}", (Op("create", Named("idle", "a")), Op("create", Timed("wall", 1, "a"))))
        proxy.stall()
        with pytest.raises(JobStoreError, match="failed to write") as caught, store._using("write"):
            store._carry_out([step])
        assert caught.value.transient
        assert isinstance(caught.value.__cause__, ConnectionTimeoutError)
        proxy.cut()
        proxy.accept()
        assert store.get_entry("a") is None
        assert store._owner != late
        # Now it comes.
        store._owner, mine = late, store._owner
        with pytest.raises(JobStoreInUseError):
            store._apply([step], False)
        store._owner = mine
        assert count(store, "idle") == 0
        scheduler.shutdown()


def test_errors_are_ours(make: Make) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(JobStoreError, match="failed to open the store") as caught:
            scheduler_on(make(port=nobody.getsockname()[1])).start()
    assert caught.value.transient
    assert isinstance(caught.value.__cause__, ConnectionFailedError)


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


def test_a_decision_made_from_an_outdated_document_changes_nothing(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    for name in ("a", "b"):
        scheduler.add_job(work, "interval", hours=1, id=name, next_run_time="2026-01-01T00:00:00Z")
    now_us = int(time.time() * 1e6)
    claims = store.acquire(Now(now_us, now_us), 10)
    changed = threading.Thread(target=scheduler.modify_job, args=("a",), kwargs={"name": "other"})
    changed.start()
    changed.join()
    committed = store.commit([decide(claim, now_us) for claim in claims], now_us)
    assert [run.job.id for run in committed.runs] == ["b"]
    assert [decision.claim.job.id for decision in committed.dropped] == ["a"]
    assert scheduler.get_runs("a") == []
    (again,) = store.acquire(Now(now_us, now_us), 10)
    runs = store.commit([decide(again, now_us)], now_us).runs
    assert [run.job.name for run in runs] == ["other"]
    assert [record.state for record in store.runs("a")] == [RunState.SUBMITTED]
    scheduler.shutdown()


def test_one_that_somebody_else_wrote_keeps_no_other_from_being_written(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    for name in ("a", "b", "c"):
        scheduler.add_job(work, "interval", hours=1, id=name, next_run_time="2026-01-01T00:00:00Z")
    now_us = int(time.time() * 1e6)
    claims = store.acquire(Now(now_us, now_us), 10)
    key = f"{store._path}/jobs/b"
    store._client.put(key, value_of(store, key.encode()) or b"")
    committed = store.commit([decide(claim, now_us) for claim in claims], now_us)
    assert sorted(run.job.id for run in committed.runs) == ["a", "c"]
    assert [decision.claim.job.id for decision in committed.dropped] == ["b"]
    scheduler.shutdown()

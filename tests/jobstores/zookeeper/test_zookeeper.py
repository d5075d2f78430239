"""What is particular to jobs in ZooKeeper: who owns them, whose client it is, its buckets, and a server that goes away."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from kazoo.client import KazooClient  # type: ignore[import-untyped]
from kazoo.exceptions import ConnectionLoss, NoAuthError, NoNodeError  # type: ignore[import-untyped]
from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped]

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
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from schedcore.run import Finish, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.services import Proxy, ZooKeeper

Make = Callable[..., ZooKeeperJobStore]

shared: Any = None


def value_of(client: Any, path: str) -> bytes | None:
    try:
        return bytes(client.get(path)[0])
    except NoNodeError:
        return None


def count(client: Any, store: ZooKeeperJobStore, kind: str) -> int:
    """Nodes of a kind, or in the buckets of a timeline."""
    paths = [f"{store._path}/{kind}"]
    for _ in range(3 if kind in ("wall", "elapsed", "history", "failed") else 0):
        paths = [f"{path}/{name}" for path in paths for name in client.get_children(path)]
    return sum(len(client.get_children(path)) for path in paths)


def buckets(client: Any, store: ZooKeeperJobStore) -> int:
    """Buckets of all timelines."""
    found = 0
    for tree in ("wall", "elapsed", "history", "failed"):
        paths = [f"{store._path}/{tree}"]
        for _ in range(3):
            paths = [f"{path}/{name}" for path in paths for name in client.get_children(path)]
            found += len(paths)
    return found


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
    one, other = scheduler_on(first), scheduler_on(make(path=f"{first._path}er/and/deeper"))
    one.start()
    other.start()
    one.add_job(work, "date", run_date="2099-01-01", id="a")
    assert other.get_jobs() == []
    one.shutdown()
    other.shutdown()


_CHILD = """
import sys, time
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from schedcore.schedulers.background import BackgroundScheduler
path, hosts, timeout = sys.argv[1], sys.argv[2], float(sys.argv[3])
store = ZooKeeperJobStore(path, hosts=hosts, timeout=timeout)
scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
scheduler.start()
scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a")
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("known", [True, False])
def test_a_scheduler_that_was_killed_lets_go(
    zookeeper: ZooKeeper, make: Make, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, if it is known to be dead, and else when its session ends."""
    store = make()
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, store._path, f"{zookeeper.host}:{zookeeper.port}", "60" if known else "1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        mine = scheduler_on(store)
        with pytest.raises(JobStoreInUseError):
            mine.start()
        child.kill()
        child.wait()
    if not known:
        monkeypatch.setattr("schedcore.jobstores.zookeeper.is_gone", lambda holder: False)
    end_s = time.monotonic() + 20
    while True:
        try:
            mine.start()
            break
        except JobStoreInUseError:
            assert not known
            assert time.monotonic() < end_s
    assert [job.id for job in mine.get_jobs()] == ["a"]
    mine.shutdown()


def test_who_lost_the_store_to_another_one_writes_no_more(make: Make, client: Any) -> None:
    store = make()
    first = scheduler_on(store)
    first.start()
    first.add_job(work, "date", run_date="2099-01-01", id="a")
    # Its session ended while it was paused, and somebody else took the store.
    other = json.dumps({"host": "elsewhere", "pid": 1, "since": "today", "token": "x"}).encode()
    client.delete(store._owner_path)
    client.create(store._owner_path, other)
    client.set(store._term_path, other)
    with pytest.raises(JobStoreInUseError, match="process 1 on elsewhere"):
        first.remove_job("a")
    assert [job.id for job in first.get_jobs()] == ["a"]
    first.shutdown()
    assert value_of(client, store._owner_path) == other


def test_a_session_that_ended_and_was_not_replaced_goes_on(make: Make, client: Any) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", seconds=0.05, id="a")
    log.wait_for(lambda log: len(log.executed("a")) > 2)
    session, mine = store._client.client_id, value_of(client, store._owner_path)
    # Closed by another client of the same session, as the server closes one that is over.
    twin = KazooClient(hosts=store._client.hosts[0][0] + f":{store._client.hosts[0][1]}", client_id=session)
    twin.start(20)
    twin.stop()
    twin.close()
    ran = len(log.executed("a"))
    log.wait_for(lambda log: len(log.executed("a")) > ran + 2)
    end_s = time.monotonic() + 20
    while value_of(client, store._owner_path) in (None, mine):
        assert time.monotonic() < end_s
        time.sleep(0.02)
    assert store._client.client_id != session
    scheduler.shutdown()
    assert value_of(client, store._owner_path) is None


def test_what_was_claimed_before_somebody_else_had_the_store_does_not_hold(make: Make, client: Any) -> None:
    """Even where the other one made a document anew that looks as old as the one that was claimed."""
    store = make()
    first = scheduler_on(store)
    start_paused(first)
    for name in ("a", "b"):
        first.add_job(work, "interval", hours=1, id=name, next_run_time="2026-01-01T00:00:00Z")
    now_us = int(time.time() * 1e6)
    claims = store.acquire(Now(now_us, now_us), 9)
    client.delete(store._owner_path)
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
    answer = store._gather

    def ask(*some: Any) -> Any:
        calls.append(str(some))
        return answer(*some)

    monkeypatch.setattr(store, "_gather", ask)
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
def test_a_client_of_the_users_is_closed_on_request(
    zookeeper: ZooKeeper, closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    global shared
    place = zookeeper.fresh()
    shared = KazooClient(hosts=f"{place.host}:{place.port}")
    shared.start(20)
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__))
    try:
        for client in (shared, f"{__name__}:shared"):
            scheduler = scheduler_on(ZooKeeperJobStore(place.name, client, closes))
            scheduler.start()
            scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a", replace_existing=True)
            scheduler.shutdown()
            # The second time it was started by the store.
            assert shared.connected is not closes
        if not closes:
            assert shared.get_children(f"/{place.name}/jobs") == ["a"]
    finally:
        shared.stop()
        shared.close()
        shared = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hots": "x"}, "the ZooKeeper client cannot be made: .*hots"),
        ({"client": 5}, "must be a kazoo.client.KazooClient"),
        ({"client": KazooClient(), "hosts": "x"}, r"\(hosts\) do not go with client="),
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
        ZooKeeperJobStore(**options)


def test_by_alias_and_as_text(zookeeper: ZooKeeper) -> None:
    place = zookeeper.fresh()
    options = {
        "schedcore.jobstores.default.type": "zookeeper",
        "schedcore.jobstores.default.hosts": f"{place.host}:{place.port}",
        "schedcore.jobstores.default.path": place.name,
    }
    scheduler = BackgroundScheduler(options, timezone="UTC")
    scheduler.start()
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    scheduler.shutdown()


def test_without_the_library_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['kazoo'] = None\n"
        "from schedcore.errors import MissingExtraError\n"
        "try: import schedcore.jobstores.zookeeper\n"
        "except MissingExtraError as error: print(error.extra, '|', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("zookeeper | the job store 'zookeeper' needs")


# --- what is there -----------------------------------------------------------------------------------------------------


def test_nodes_of_somebody_elses_and_of_another_version(make: Make, client: Any) -> None:
    store = make()
    client.create(f"{store._path}/my job", b"\x80\x04")
    with pytest.raises(JobStoreError, match="that were not written by schedcore"):
        scheduler_on(make()).start()
    client.create(f"{store._path}/schema", b"99")
    with pytest.raises(JobStoreError, match="schema version b'99', and this release reads 1"):
        scheduler_on(make()).start()
    assert sorted(client.get_children(store._path)) == ["my job", "schema"]


@pytest.mark.parametrize("value", [b"", b"x", b"\x80\x04K\x01.", b"{}", b'{"v":1}', b"[" * 100_000, b"\xff\xfe"])
def test_a_document_that_nobody_of_us_wrote(make: Make, client: Any, value: bytes) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.add_job(work, "interval", hours=1, id="bad")
    scheduler.add_job(work, "interval", seconds=0.05, id="good")
    log = EventLog(scheduler)
    client.set(f"{store._path}/jobs/bad", value)
    log.wait_for(lambda log: len(log.executed("good")) > 2)
    jobs = {job.id: job for job in scheduler.get_jobs()}
    assert jobs["good"].state is JobState.ACTIVE
    assert jobs["bad"].state is JobState.BROKEN
    assert value_of(client, f"{store._path}/jobs/bad") == value
    scheduler.shutdown()


def test_strange_nodes_are_passed_over(make: Make, client: Any) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.shutdown()
    nowhere = "wall/00000/000/000/000000000000000000-nobody"
    for path in (
        "wall/x",
        "wall/-1",
        "wall/fffffffff",
        "wall/00000/000/001/x",
        nowhere,
        "live/%ff",
        "broken/x",
        "idle/y",
    ):
        client.create(f"{store._path}/{path}", b"\xff", makepath=True)
    for path in ("history/00000/000/000/000000000000000000-1-x", "runs/good"):
        client.create(f"{store._path}/{path}", b"[[1,", makepath=True)
    scheduler = scheduler_on(make())
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", seconds=0.05, id="good")
    scheduler.add_job(work, "cron", second="*", id="calendar")
    log.wait_for(lambda log: len(log.executed("good")) > 2 and len(log.executed("calendar")) > 0)
    assert sorted(job.id for job in scheduler.get_jobs()) == ["calendar", "good"]
    assert {record.job_id for record in scheduler.get_runs()} == {"calendar", "good"}
    # A place in the schedule that leads nowhere is not looked at again and again.
    assert value_of(client, f"{store._path}/{nowhere}") is None
    scheduler.shutdown()


def test_a_damaged_document_that_is_due_is_set_aside(make: Make, client: Any) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="bad", next_run_time="2026-01-01T00:00:00Z")
    client.set(f"{store._path}/jobs/bad", b"x")
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
    for kind in ("jobs", "wall", "elapsed", "idle", "broken"):
        assert count(client, store, kind) == 0, kind
    scheduler.shutdown()


def test_nothing_is_left_of_jobs_that_are_gone(make: Make, client: Any) -> None:
    store = make(history=3)
    scheduler = scheduler_on(store)
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, id="once")
    scheduler.add_job(work, "interval", seconds=0.02, id="often")
    scheduler.add_job(work, "interval", days=400, id="far")
    scheduler.add_job(work, "interval", hours=1, id="paused").pause()
    log.wait_for(lambda log: len(log.executed("often")) > 3 and bool(log.executed("once")))
    scheduler.remove_all_jobs()
    scheduler.shutdown()
    # A run that was on record and had not begun is recovered by who comes next: its job is gone, and so it is lost.
    start_paused(scheduler)
    scheduler.shutdown()
    for kind in ("jobs", "payloads", "wall", "elapsed", "idle", "live", "broken", "adding"):
        assert count(client, store, kind) == 0, kind
    assert count(client, store, "runs") == 2
    assert count(client, store, "history") == 4
    # Of the four trees, only that of the records has buckets, and none is empty.
    for tree in ("wall", "elapsed", "failed"):
        assert client.get_children(f"{store._path}/{tree}") == []
    assert buckets(client, store) <= 2 + 4


def test_histories_are_cut(make: Make, client: Any) -> None:
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
    assert [count(client, store, kind) for kind in ("history", "failed", "runs")] == [10, failed, 2]
    old = int((time.time() + 7200) * 1e6)
    assert [after._delete_records(old, 7) for _ in range(3)] == [7, 3, 0]
    assert [count(client, store, kind) for kind in ("history", "failed", "runs")] == [0, 0, 0]
    scheduler.shutdown()


def test_what_is_too_large_is_refused_when_it_is_added(make: Make) -> None:
    scheduler = scheduler_on(make())
    scheduler.start()
    with pytest.raises(SerializationError, match=r"has 1,000,\d+ bytes, and ZooKeeper takes 1,000,000"):
        scheduler.add_job("builtins:print", "date", ["x" * 1_000_000], run_date="2099-01-01", id="large")
    job = scheduler.add_job("builtins:len", "date", ["x" * 999_000], run_date="2099-01-01", id="fits")
    with pytest.raises(SerializationError, match="ZooKeeper takes"):
        job.modify(args=["x" * 1_000_000])
    assert scheduler.get_job("large") is None
    scheduler.shutdown()


def test_a_batch_that_was_half_added_is_undone(make: Make, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="before")
    entry = store.get_entry("before")
    assert entry is not None
    entries = [entry._replace(job=entry.job._replace(id=f"job{number}")) for number in range(1500)]
    apply, sent = store._apply, []

    def fail_late(steps: list[Step], together: bool) -> list[bool]:
        sent.append(steps)
        if len(sent) == 6:
            raise ConnectionLoss("away")
        return apply(steps, together)

    monkeypatch.setattr(store, "_apply", fail_late)
    with pytest.raises(JobStoreError, match="failed to add jobs"):
        store.add_entries(entries)
    assert count(client, store, "jobs") > 1
    monkeypatch.undo()
    assert [found.job.id for found in store.list_entries()] == ["before"]
    assert count(client, store, "jobs") == count(client, store, "payloads") == 1
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
    assert [count(client, again, kind) for kind in ("jobs", "adding")] == [1501, 0]
    with pytest.raises(ConflictingIdError):
        again.add_entries([entry._replace(job=entry.job._replace(id=name)) for name in ("new", "job7")])
    other.shutdown()


def test_many_runs_of_one_job_end_at_once(make: Make, client: Any) -> None:
    store = make(history=1200)
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(
        work, "interval", seconds=1, start_date="2026-01-01T00:00:00Z", id="a", coalesce=False, max_instances=2000,
        max_catchup=1500, next_run_time="2026-01-01T00:00:00Z",
    )  # fmt: skip
    now_us = 1_767_225_600_000_000 + 1_499_000_000
    (claim,) = store.acquire(Now(now_us, now_us), 1)
    runs = store.commit([decide(claim, now_us)], now_us).runs
    assert len(runs) == 1500
    store.finish([Finish(run, RunState.FAILED, now_us, now_us) for run in runs])
    found = [record.fire_us for record in store.runs("a", limit=9999)]
    assert found == [run.fire_us for run in reversed(runs[300:])]
    assert [count(client, store, kind) for kind in ("history", "failed", "live")] == [1200, 1200, 0]
    scheduler.shutdown()


def test_a_due_query_lists_what_is_due(make: Make, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many jobs come later, and however far they lie apart."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="due", next_run_time="2026-01-01T00:00:00Z")
    entry = store.get_entry("due")
    assert entry is not None
    assert entry.fire_us is not None
    later = [entry.fire_us + (number + 1) * 7_000_000_000 for number in range(1000)]
    store.add_entries(
        [
            entry._replace(job=entry.job._replace(id=str(at_us)), fire_us=at_us, due_us=at_us)
            for number, at_us in enumerate(later)
        ]
    )
    listed: list[str] = []
    children = store._children

    def look(paths: list[str]) -> list[list[str]]:
        found = children(paths)
        listed.extend(name for names in found for name in names)
        return found

    monkeypatch.setattr(store, "_children", look)
    now = Now(entry.fire_us, entry.fire_us)
    assert [claim.job.id for claim in store.acquire(now, 1000)] == ["due"]
    # The buckets of 81 days, those of 13 days in which it begins, and what is in the second.
    assert len(listed) < 300
    listed.clear()
    assert store.next_due() == (None, later[0])
    assert len(listed) < 600
    scheduler.shutdown()


# --- a server that goes away -------------------------------------------------------------------------------------------


def test_a_write_that_comes_late_is_refused(zookeeper: ZooKeeper, client: Any) -> None:
    """It timed out here and waits on its way: by the time that it comes the store has been taken anew."""
    place = zookeeper.fresh()
    with Proxy(place.port) as proxy:
        store = ZooKeeperJobStore(f"/{place.name}", hosts=f"{place.host}:{proxy.port}")
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        store._timeout_s = 0.5
        late = store._term
        step = Step("a", 0, b"{}", (Op("create", Named("idle", "a")), Op("create", Timed("wall", 1, "a"))))
        proxy.stall()
        with pytest.raises(JobStoreError, match="failed to write") as caught, store._using("write"):
            store._carry_out([step])
        assert caught.value.transient
        assert isinstance(caught.value.__cause__, KazooTimeoutError)
        proxy.cut()
        proxy.accept()
        store._timeout_s = 10.0
        end_s = time.monotonic() + 60
        while True:
            # The client may not have learnt yet that its connection was cut.
            with suppress(JobStoreError):
                assert store.get_entry("a") is None
                break
            assert time.monotonic() < end_s
        assert store._term > late
        # Now it comes.
        transaction = store._client.transaction()
        transaction.check(store._term_path, late)
        store._add_document(transaction, step)
        assert isinstance(transaction.commit()[0], Exception)
        assert value_of(client, f"{store._path}/jobs/a") is None
        scheduler.shutdown()


def test_errors_are_ours(make: Make) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(JobStoreError, match="failed to open the store") as caught:
            scheduler_on(make(hosts=f"127.0.0.1:{nobody.getsockname()[1]}", timeout=0.5)).start()
    assert caught.value.transient
    assert isinstance(caught.value.__cause__, KazooTimeoutError)


@pytest.mark.parametrize(
    ("error", "said", "transient"),
    [
        (NoAuthError(), "NoAuthError", False),
        (ConnectionLoss("away"), "away", True),
        (KazooTimeoutError("late"), "late", True),
        (ConnectionResetError("reset"), "reset", True),
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


def test_what_somebody_else_wrote_keeps_no_other_job_from_being_written(make: Make, client: Any) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    for name in ("a", "b", "c", "d"):
        scheduler.add_job(work, "interval", hours=1, id=name, next_run_time="2026-01-01T00:00:00Z")
    now_us = int(time.time() * 1e6)
    claims = store.acquire(Now(now_us, now_us), 10)
    client.set(f"{store._path}/jobs/b", value_of(client, f"{store._path}/jobs/b"))
    # Somebody tidied up: nodes are not there that are to go, or there that are to come.
    client.delete(store._node(Timed("elapsed", 1_767_225_600_000_000, "c")))
    client.create(f"{store._path}/live/d")
    committed = store.commit([decide(claim, now_us) for claim in claims], now_us)
    assert sorted(run.job.id for run in committed.runs) == ["a", "c", "d"]
    assert [decision.claim.job.id for decision in committed.dropped] == ["b"]
    scheduler.shutdown()

"""What is particular to jobs in ZooKeeper: who owns them, whose client it is, its buckets, and a server that goes away."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from kazoo.client import KazooClient  # type: ignore[import-untyped]
from kazoo.exceptions import ConnectionLoss, NoAuthError, NoNodeError  # type: ignore[import-untyped]
from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped]
from kazoo.security import make_acl, make_digest_acl  # type: ignore[import-untyped]

from schedcore.clock import Now
from schedcore.engine import decide
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    JobStoreError,
    JobStoreInUseError,
    SerializationError,
)
from schedcore.job import Job, JobState
from schedcore.jobstores._keyed_keys import Named, Op, Step, Timed
from schedcore.jobstores.base import JobStore
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.jobstores.owned import KeyedInside, KeyedTests, check_emptied, other_process
from tests.services import Proxy, ZooKeeper

Make = Callable[..., ZooKeeperJobStore]

shared: Any = None


def value_of(client: Any, path: str) -> bytes | None:
    try:
        return bytes(client.get(path)[0])
    except NoNodeError:
        return None


def buckets(client: Any, store: ZooKeeperJobStore) -> int:
    """Buckets of all timelines."""
    found = 0
    for tree in ("wall", "elapsed", "history", "failed"):
        paths = [f"{store._path}/{tree}"]
        for _ in range(3):
            paths = [f"{path}/{name}" for path in paths for name in client.get_children(path)]
            found += len(paths)
    return found


def one(scheduler: BackgroundScheduler, job_id: str) -> Job:
    job = scheduler.get_job(job_id)
    assert job is not None
    return job


class InZooKeeper:
    def __init__(self, client: Any, store: ZooKeeperJobStore) -> None:
        self.client, self.store = client, store

    def owner(self) -> str | None:
        found = value_of(self.client, self.store._owner_path)
        return None if found is None else found.decode()

    def put_owner(self, text: str) -> None:
        self.drop_owner()
        self.client.create(self.store._owner_path, text.encode(), ephemeral=True)
        self.client.set(self.store._term_path, text.encode())

    def keep_owner(self, text: str) -> None:
        self.client.create(self.store._owner_path, text.encode())

    def put_version(self, text: str) -> None:
        self.client.set(self.store._schema_path, text.encode())
        self.client.set(self.store._term_path, b"whoever changed it")

    def drop_owner(self) -> None:
        self.client.delete(self.store._owner_path)

    def document(self, job_id: str) -> bytes | None:
        return value_of(self.client, f"{self.store._path}/jobs/{job_id}")

    def put_document(self, job_id: str, value: bytes) -> None:
        self.client.set(f"{self.store._path}/jobs/{job_id}", value)

    def count(self, kind: str) -> int:
        """Nodes of a kind, or in the buckets of a timeline."""
        paths = [f"{self.store._path}/{kind}"]
        for _ in range(3 if kind in ("wall", "elapsed", "history", "failed") else 0):
            paths = [f"{path}/{name}" for path in paths for name in self.client.get_children(path)]
        return sum(len(self.client.get_children(path)) for path in paths)


@pytest.fixture
def inside(make: Make, client: Any) -> InZooKeeper:
    return InZooKeeper(client, make())


class TestZooKeeper(KeyedTests):
    store = ZooKeeperJobStore
    alias, library = "zookeeper", "kazoo"
    refused = KazooTimeoutError
    ask = "_gather"
    gone = ConnectionLoss("away")
    batch, last_part = 1500, 6
    at_once, kept = 1500, 1200

    @pytest.fixture
    def inside(self, inside: InZooKeeper) -> InZooKeeper:
        return inside

    def elsewhere(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"path": f"{arguments['path']}er/and/deeper"}

    def at_port(self, port: int) -> dict[str, Any]:
        return {"hosts": f"127.0.0.1:{port}", "timeout": 0.5}

    def test_nothing_is_left_of_jobs_that_are_gone(self, make: Make, inside: KeyedInside) -> None:
        super().test_nothing_is_left_of_jobs_that_are_gone(make, inside)
        assert isinstance(inside, InZooKeeper)
        # Of the four trees, only that of the records has buckets, and none is empty.
        for tree in ("wall", "elapsed", "failed"):
            assert inside.client.get_children(f"{inside.store._path}/{tree}") == []
        assert buckets(inside.client, inside.store) <= 2 + 4


def test_a_scheduler_that_was_killed_elsewhere_lets_go_when_its_session_ends(
    make: Make, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = scheduler_on(make())
    with other_process(ZooKeeperJobStore, {**arguments, "timeout": 1}), pytest.raises(JobStoreInUseError):
        mine.start()
    monkeypatch.setattr("schedcore.jobstores._zookeeper_owner.is_gone", lambda holder: False)
    end_s = time.monotonic() + 20
    while True:
        with suppress(JobStoreInUseError):
            mine.start()
            break
        assert time.monotonic() < end_s
    assert [job.id for job in mine.get_jobs()] == ["a"]
    mine.shutdown()


# --- who owns it -------------------------------------------------------------------------------------------------------


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


_PATCHED = """
from gevent import monkey; monkey.patch_all()
import sys
from gevent.threadpool import ThreadPool
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from schedcore.schedulers.background import BackgroundScheduler
hosts, path = sys.argv[1:]

def add(job_id):
    scheduler = BackgroundScheduler(jobstores={"default": ZooKeeperJobStore(path, hosts=hosts)}, timezone="UTC")
    scheduler.start()
    scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id=job_id)
    print(*[job.id for job in scheduler.get_jobs()])
    scheduler.shutdown()

add("a")
try:
    ThreadPool(1).apply(add, ["b"])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_threads_that_gevent_has_patched(arguments: dict[str, Any]) -> None:
    """Kazoo's would be greenlets of a thread that does not wait for them: it was waited for ever."""
    pytest.importorskip("gevent")
    command = [sys.executable, "-c", _PATCHED, arguments["hosts"], arguments["path"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)
    first, second = done.stdout.splitlines()
    assert first == "a"
    assert second.startswith("JobStoreError")
    assert "patch with monkey.patch_all(thread=False, queue=False)" in second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hots": "x"}, "the ZooKeeper client cannot be made: .*hots"),
        ({"client": 5}, "must be a kazoo.client.KazooClient"),
        ({"client": KazooClient(), "hosts": "x"}, r"\(hosts\) do not go with client="),
        ({"path": ""}, "path must be text"),
        ({"path": "/"}, "path must be text"),
        ({"path": "/a\0"}, "path must be text"),
        ({"path": "/a\n"}, "path must be text"),
        ({"path": "/\x7f"}, "path must be text"),
        ({"path": "/a\ud800"}, "path must be text"),
        ({"path": "/\uf000"}, "path must be text"),
        ({"path": "/😀"}, "path must be text"),
        ({"path": "/jobs/../others"}, "path must be text"),
        ({"history": 0}, "history must be"),
        ({"history_age": -1}, "history_age must be"),
        ({"signing_key": "short"}, "at least 16 bytes"),
        ({"allowed_refs": ["x"]}, "is no pattern"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ZooKeeperJobStore(**options)


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


def test_rights_that_are_missing_are_named(make: Make, client: Any) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start(paused=True)
    scheduler.shutdown()
    client.add_auth("digest", "somebody:else")
    reading = [make_acl("world", "anyone", read=True), make_digest_acl("somebody", "else", all=True)]
    for path in (f"{store._path}/term", store._path):
        before, _ = client.get_acls(path)
        client.set_acls(path, reading)
        with pytest.raises(JobStoreError, match="create, delete, read and write, cdrw, on") as caught:
            scheduler_on(make()).start()
        assert not caught.value.transient
        client.set_acls(path, before)


def test_a_store_that_was_deleted_meanwhile_is_made_again(make: Make, client: Any) -> None:
    check_emptied(make, lambda store: client.delete(store._path, recursive=True))


def test_a_chroot_that_is_not_there(make: Make, arguments: dict[str, Any]) -> None:
    message = "the node /jobs cannot be made: the path that hosts= ends with is not there"
    with pytest.warns(UserWarning, match="chroot"), pytest.raises(JobStoreError, match=message):
        scheduler_on(make(hosts=f"{arguments['hosts']}/nothing/there", path="jobs")).start()


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


def test_what_is_too_large_is_refused_when_it_is_added(make: Make) -> None:
    scheduler = scheduler_on(make())
    scheduler.start()
    with pytest.raises(SerializationError, match=r"has 8,000,\d+ bytes, and ZooKeeper takes 8,000,000"):
        scheduler.add_job("builtins:print", "date", ["x" * 8_000_000], run_date="2099-01-01", id="large")
    job = scheduler.add_job("builtins:len", "date", ["x" * 7_999_000], run_date="2099-01-01", id="fits")
    with pytest.raises(SerializationError, match="ZooKeeper takes"):
        job.modify(args=["x" * 8_000_000])
    assert scheduler.get_job("large") is None
    scheduler.shutdown()


def test_large_definitions_are_kept_in_pieces(make: Make, inside: InZooKeeper) -> None:
    scheduler = scheduler_on(make())
    start_paused(scheduler)

    def add(name: str, size: int) -> None:
        scheduler.add_job("builtins:len", "interval", ["x" * size], hours=1, id=name, replace_existing=True)

    for size, pieces in ((400_000, 0), (1_700_000, 4), (700_000, 2), (10, 0), (1_200_000, 3)):
        add("a", size)
        assert (inside.count("payloads"), inside.count("pieces")) == (size > 500, pieces)
        assert len(one(scheduler, "a").args[0]) == size
    scheduler.add_jobs([{"func": "builtins:len", "args": ["y" * 600_000], "id": f"b{number}"} for number in range(3)])
    assert (inside.count("payloads"), inside.count("pieces")) == (4, 3 + 6)
    with pytest.raises(ConflictingIdError):
        scheduler.add_jobs([{"func": "builtins:len", "args": ["y" * 600_000], "id": name} for name in ("c", "b1")])
    assert (inside.count("payloads"), inside.count("pieces")) == (4, 3 + 6)
    scheduler.shutdown()
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    assert [len(one(scheduler, name).args[0]) for name in ("a", "b2")] == [1_200_000, 600_000]
    scheduler.remove_job("a")
    assert inside.count("pieces") == 6
    scheduler.remove_all_jobs()
    assert (inside.count("payloads"), inside.count("pieces")) == (0, 0)
    scheduler.shutdown()


@pytest.mark.parametrize("there", [False, True])
def test_who_dies_while_it_writes_pieces_leaves_what_was_there(
    make: Make, inside: InZooKeeper, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = ZooKeeperJobStore._apply
    sent = limit = 0

    def die(*some: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent > limit:
            raise ConnectionLoss("away")
        return apply(*some)

    def add(text: str) -> None:
        scheduler.add_job("builtins:len", "interval", [text], hours=1, id="a", replace_existing=True)

    scheduler = scheduler_on(make())
    start_paused(scheduler)
    if there:
        add("x" * 600_000)
    kept = 2 if there else 0
    written: set[int] = set()
    while True:
        sent = 0
        with monkeypatch.context() as dying:
            dying.setattr(ZooKeeperJobStore, "_apply", die)
            dying.setattr(ZooKeeperJobStore, "_send", lambda *_: None)
            with suppress(JobStoreError):
                add("y" * 1_200_000)
            if sent <= limit:
                break
            written.add(inside.count("pieces"))
            scheduler.shutdown()
        scheduler = scheduler_on(make())
        start_paused(scheduler)
        assert [job.args for job in scheduler.get_jobs()] == ([("x" * 600_000,)] if there else [])
        assert (inside.count("payloads"), inside.count("pieces"), inside.count("adding")) == (there, kept, 0)
        limit += 1
    # It did die between the pieces.
    assert written >= {kept, kept + 1, kept + 2, kept + 3}
    assert one(scheduler, "a").args == ("y" * 1_200_000,)
    assert (inside.count("pieces"), inside.count("adding")) == (3, 0)
    scheduler.shutdown()


@pytest.mark.parametrize("what", ["gone", "many", "none", "strange"])
def test_pieces_that_are_not_there_leave_a_job_broken(make: Make, inside: InZooKeeper, what: str) -> None:
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    scheduler.add_job("builtins:len", "interval", ["x" * 1_200_000], hours=1, id="a")
    scheduler.shutdown()
    path = f"{inside.store._path}/payloads"
    (name,) = inside.client.get_children(path)
    value = inside.client.get(f"{path}/{name}")[0]
    if what == "gone":
        inside.client.delete(
            f"{inside.store._path}/pieces/{inside.client.get_children(f'{inside.store._path}/pieces')[0]}"
        )
    else:
        start = value.rpartition(b" ")[0]
        inside.client.set(f"{path}/{name}", start + {"many": b" 99999999", "none": b"", "strange": b" \xff"}[what])
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    assert [job.state for job in scheduler.get_jobs()] == [JobState.BROKEN]
    scheduler.remove_job("a")
    assert (inside.count("payloads"), inside.count("pieces")) == (0, 0)
    scheduler.shutdown()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_who_looks_sees_what_its_owner_moves_on_meanwhile(
    make: Make, start: Callable[[JobStore], JobStore], level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a bucket that was not there when buckets were listed, from one that others are still in."""
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    for name in "ab":
        scheduler.add_job(work, "cron", hour=7, id=name, next_run_time="2099-01-01T00:00:00Z")
    reader = start(make(read_only=True))
    assert isinstance(reader, ZooKeeperJobStore)
    children, listed = reader._children, [0]

    def list_then_move(paths: list[str]) -> list[list[str]]:
        found = children(paths)
        if paths[0].startswith(f"{reader._path}/wall"):
            if listed[0] == level:
                scheduler.modify_job("a", next_run_time="2099-03-01T00:00:00Z")
            listed[0] += 1
        return found

    monkeypatch.setattr(reader, "_children", list_then_move)
    assert [entry.job.id for entry in reader.list_entries()] == ["b", "a"]
    assert listed[0] > level
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
    # And put something below nodes that are to go, which the server does not delete then.
    client.create(f"{store._node(Timed('elapsed', 1_767_225_600_000_000, 'a'))}/x/y", makepath=True)
    client.create(f"{store._path}/jobs/d/x")
    committed = store.commit([decide(claim, now_us) for claim in claims], now_us)
    assert sorted(run.job.id for run in committed.runs) == ["a", "c", "d"]
    assert [decision.claim.job.id for decision in committed.dropped] == ["b"]
    scheduler.remove_job("d")
    assert [job.id for job in scheduler.get_jobs()] == ["b", "a", "c"]
    scheduler.shutdown()

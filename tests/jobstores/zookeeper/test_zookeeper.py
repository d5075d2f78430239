"""What is particular to jobs in ZooKeeper: who owns them, what else is there, and writes that come late or meet others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from kazoo.client import KazooClient  # type: ignore[import-untyped]
from kazoo.exceptions import ConnectionLoss  # type: ignore[import-untyped]
from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped]
from kazoo.security import make_acl, make_digest_acl  # type: ignore[import-untyped]

from schedcore.clock import Now
from schedcore.engine import decide
from schedcore.errors import (
    JobStoreError,
    JobStoreInUseError,
)
from schedcore.jobstores._documents_doc import Doc
from schedcore.jobstores._keyed_keys import Named, Op, Step, Timed
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from schedcore.testing import EventLog
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.jobstores.owned import KeyedInside, KeyedTests, PlacesInside, check_emptied, other_process
from tests.jobstores.zookeeper.inside import InZooKeeper, value_of
from tests.services import Proxy, ZooKeeper

Make = Callable[..., ZooKeeperJobStore]


def buckets(client: Any, store: ZooKeeperJobStore) -> int:
    """Buckets of all timelines."""
    found = 0
    for tree in ("wall", "elapsed", "history", "failed"):
        paths = [f"{store._path}/{tree}"]
        for _ in range(3):
            paths = [f"{path}/{name}" for path in paths for name in client.get_children(path)]
            found += len(paths)
    return found


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

    def test_places_that_are_missing_are_noticed_where_the_server_counts_them(
        self, make: Make, inside: PlacesInside, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As it does where jobs are due in many different seconds."""
        monkeypatch.setattr("schedcore.jobstores._zookeeper_timelines._FEW", 0)
        self.test_a_job_whose_only_place_was_deleted_gets_it_back(make, inside, caplog)


def test_a_scheduler_that_was_killed_elsewhere_lets_go_when_its_session_ends(
    make: Make, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = scheduler_on(make())

    def refused() -> bool:
        with other_process(ZooKeeperJobStore, {**arguments, "timeout": 1}):
            try:
                mine.start()
            except JobStoreInUseError:
                return True
        # The other one stood still for longer than its session.
        mine.shutdown()
        return False

    assert any(refused() for _ in range(10))
    monkeypatch.setattr("schedcore.jobstores._zookeeper_owner.is_gone", lambda holder: False)
    end_s = time.monotonic() + 60
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
    end_s = time.monotonic() + 60
    while value_of(client, store._owner_path) in (None, mine):
        assert time.monotonic() < end_s
        time.sleep(0.02)
    assert store._client.client_id != session
    scheduler.shutdown()
    assert value_of(client, store._owner_path) is None


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


def test_the_first_jobs_are_on_their_way_while_others_are_made_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    made: list[str] = []
    made_when_sent: list[int] = []
    text_of, send = store._document_text, store._send

    def document_text(doc: Doc) -> bytes:
        made.append(doc.id)
        return text_of(doc)

    def note_and_send(steps: Sequence[Step]) -> object:
        made_when_sent.append(len(made))
        return send(steps)

    monkeypatch.setattr(store, "_max_steps", 10)
    monkeypatch.setattr(store, "_document_text", document_text)
    monkeypatch.setattr(store, "_send", note_and_send)
    job = {"func": "builtins:print", "trigger": "date", "run_date": "2099-01-01"}
    scheduler.add_jobs([{**job, "id": str(i)} for i in range(100)])
    assert len(made) == 100
    assert made_when_sent[0] < 30
    assert len(scheduler.get_jobs()) == 100
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

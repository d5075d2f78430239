"""What is particular to jobs in MongoDB: who owns them, whose client it is, and which write was made."""

from __future__ import annotations

import json
import math
import random
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pymongo
import pytest

from schedcore.clock import Now
from schedcore.engine import Decision, decide
from schedcore.errors import (
    ConfigurationError,
    ConflictingIdError,
    JobStoreError,
    JobStoreInUseError,
    SerializationError,
)
from schedcore.job import JobState
from schedcore.jobstores import _mongodb_history
from schedcore.jobstores._documents_doc import _FIELDS, Change, Doc
from schedcore.jobstores._owner import LEASE_S
from schedcore.jobstores.mongodb import MongoDBJobStore
from schedcore.run import Finish, RunRecord, RunState, Skip, SkipReason
from schedcore.testing import EventLog, VirtualScheduler
from tests.jobstores.decided import check_left_in_documents, check_strange
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.jobstores.owned import OTHER, Inside, OwnedTests, check_left_by_another, due_jobs, now
from tests.services import MongoDB

Make = Callable[..., MongoDBJobStore]
Client = pymongo.MongoClient[dict[str, Any]]

shared: Any = None


@pytest.fixture
def store(mongodb: MongoDB, client: Client) -> MongoDBJobStore:
    """A store with the user's client, which shows what is in the database whether it is open or not."""
    return MongoDBJobStore(mongodb.fresh().name, client=client)


def again(store: MongoDBJobStore) -> MongoDBJobStore:
    """Another store over the same database."""
    return MongoDBJobStore(store._database, client=store._client)


class InMongoDB:
    def __init__(self, store: MongoDBJobStore) -> None:
        self.meta = store._meta

    def owner(self) -> str | None:
        found = self.meta.find_one("owner")
        return None if found is None else str(found["name"])

    def put_owner(self, text: str) -> None:
        self.meta.update_one({"_id": "owner"}, {"$set": {"name": text}, "$currentDate": {"at": True}})


class TestMongoDB(OwnedTests):
    store = MongoDBJobStore
    alias, library = "mongodb", "pymongo"
    refused = pymongo.errors.ServerSelectionTimeoutError

    @pytest.fixture
    def make(self, arguments: dict[str, Any], client: Client) -> Make:
        """With the user's client, because the threads of one of the store's own take half a second to end."""

        def make(**options: Any) -> MongoDBJobStore:
            where = {"client": client, "database": arguments["database"]}
            return MongoDBJobStore(**(options if "host" in options else where | options))

        return make

    @pytest.fixture
    def inside(self, make: Make) -> InMongoDB:
        return InMongoDB(make())

    def elsewhere(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"collection": "other"}

    def at_port(self, port: int) -> dict[str, Any]:
        return {"host": f"mongodb://127.0.0.1:{port}", "serverselectiontimeoutms": 30}

    # Not looked at before each write: a lease that was renewed a moment ago is still one's own.

    def test_who_lost_the_store_to_another_one_writes_no_more(self, make: Make, inside: Inside) -> None:
        store = make()
        self.lose(store, inside, lambda: run_out(store, monotonic=True))

    def test_who_lost_the_store_while_the_machine_slept_writes_no_more(self, make: Make, inside: InMongoDB) -> None:
        store = make()
        self.lose(store, inside, lambda: run_out(store, wall=True))

    def test_who_is_told_of_the_loss_by_the_thread_that_renews_writes_no_more(
        self, make: Make, inside: InMongoDB
    ) -> None:
        store = make()

        def renew() -> None:
            with pytest.raises(JobStoreInUseError):
                store._renew()

        self.lose(store, inside, renew)


def run_out(store: MongoDBJobStore, *, monotonic: bool = False, wall: bool = False) -> None:
    """The lease of a store is half over, by one of the two clocks."""
    monotonic_s, wall_s = store._renewed
    store._renewed = (monotonic_s - LEASE_S / 2 * monotonic, wall_s - LEASE_S / 2 * wall)


# --- who owns it -------------------------------------------------------------------------------------------------------


def test_a_lease_elsewhere_holds_until_it_is_over(store: MongoDBJobStore) -> None:
    server_now = store._client.admin.command("ismaster")["localTime"]
    store._meta.insert_one({"_id": "owner", "name": OTHER, "at": server_now})
    scheduler = scheduler_on(store)
    with pytest.raises(JobStoreInUseError, match="process 1 on elsewhere"):
        scheduler.start()
    store._meta.update_one({"_id": "owner"}, {"$set": {"at": server_now - timedelta(seconds=31)}})
    scheduler.start()
    scheduler.shutdown()
    assert store._meta.find_one("owner") is None


def test_a_lease_that_ran_out_and_was_not_taken_goes_on(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    scheduler.start()
    store._meta.delete_one({"_id": "owner"})
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    old = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1)
    store._meta.update_one({"_id": "owner"}, {"$set": {"at": old}})
    run_out(store, monotonic=True)
    scheduler.remove_job("a")
    found = store._meta.find_one("owner")
    assert found is not None
    assert found["at"] > old
    scheduler.shutdown()


def test_a_store_that_was_emptied_meanwhile_can_be_opened_again(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="before")
    store._client.drop_database(store._database)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="after")
    run_out(store, monotonic=True)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="later")
    assert "due" in store._jobs.index_information()
    scheduler.shutdown()
    scheduler = scheduler_on(again(store))
    start_paused(scheduler)
    assert [job.id for job in scheduler.get_jobs()] == ["after", "later"]
    scheduler.shutdown()


@pytest.mark.parametrize("noticed_by", ["the write", "the thread that renews"])
def test_what_somebody_else_has_left_meanwhile_is_not_taken_for_ones_own(
    store: MongoDBJobStore, noticed_by: str
) -> None:
    """A process was paused for longer than its lease; another one made a run of which nobody knows whether it began, and died."""
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="a", next_run_time="2026-01-01T00:00:00Z", recovery="lost")
    scheduler.add_job(work, "interval", hours=1, id="b", next_run_time="2026-01-01T00:00:00Z", recovery="lost")
    scheduler.shutdown()
    store.start(scheduler, "default")
    assert store.recover([]) == ([], [])
    at = now()
    claims = store.acquire(at, 9)
    store._meta.delete_one({"_id": "owner"})
    other = again(store)
    other.start(scheduler, "default")
    (run,) = other.commit([decide(other.acquire(at, 1)[0], at.wall_us)], at.wall_us).runs
    other.shutdown()
    if noticed_by == "the write":
        run_out(store, monotonic=True)
    else:
        store._renew()
    check_left_by_another(store, at, claims, run)
    store.shutdown()


def test_a_lease_ends_though_the_servers_clock_was_set_back(store: MongoDBJobStore) -> None:
    """An hour would be added to it; an owner that lives renews it."""
    later = datetime.now(UTC) + timedelta(hours=1)
    store._meta.insert_one({"_id": "owner", "name": OTHER, "at": later, "renewals": 3})
    with pytest.raises(JobStoreInUseError, match="lease ends within 30 s"):
        scheduler_on(store).start()
    owner = store._meta.find_one("owner")
    assert owner is not None
    assert owner["at"].replace(tzinfo=UTC) < later - timedelta(minutes=59)
    assert (owner["name"], owner["renewals"]) == (OTHER, 3)


def test_a_store_that_another_release_had_meanwhile_is_not_written_any_more(store: MongoDBJobStore) -> None:
    """Its scheduler was paused for longer than a lease, and the other one is over when it goes on."""
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    before = store._jobs.find_one("a")
    store._meta.delete_one({"_id": "owner"})
    store._meta.update_one({"_id": "schema"}, {"$set": {"version": 99}})
    for _ in range(2):
        run_out(store, monotonic=True)
        with pytest.raises(JobStoreError, match="schema version 99, and this release reads 2"):
            scheduler.remove_job("a")
    assert store._jobs.find_one("a") == before
    assert store._meta.find_one("owner") is None
    scheduler.shutdown()


def test_what_somebody_else_has_changed_meanwhile_refuses_the_write_of_who_does_not_know_yet(
    store: MongoDBJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's clock was set forward: the lease is over there, and holds here for some seconds more."""
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    due_jobs(scheduler, "ab")
    at = now()
    claims = store.acquire(at, 9)
    # However slow the machine is: nobody renews it, and half a lease is not over.
    assert store._renewal is not None
    store._renewal.stop()
    monkeypatch.setattr(store, "_check_owner", lambda: None)
    store._meta.update_one({"_id": "owner"}, {"$set": {"at": datetime(2000, 1, 1)}})  # noqa: DTZ001 (as the server gives it)
    other = again(store)
    other_scheduler = scheduler_on(other)
    start_paused(other_scheduler)
    (claim,) = other.acquire(at, 1)
    assert [run.job.id for run in other.commit([decide(claim, at.wall_us)], at.wall_us).runs] == ["a"]
    committed = store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us)
    assert [run.job.id for run in committed.runs] == ["b"]
    assert [decision.claim.job.id for decision in committed.dropped] == ["a"]
    assert [
        run.job.id for run in other.commit([decide(one, at.wall_us) for one in other.acquire(at, 9)], at.wall_us).runs
    ] == []
    monkeypatch.undo()
    other_scheduler.shutdown()
    scheduler.shutdown()


class Commands(pymongo.monitoring.CommandListener):
    """What a client asks of the server, and of which collection."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def started(self, event: pymongo.monitoring.CommandStartedEvent) -> None:
        self.seen.append(f"{event.command_name} {event.command[event.command_name]}")

    def succeeded(self, event: pymongo.monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: pymongo.monitoring.CommandFailedEvent) -> None: ...

    def take(self) -> list[str]:
        """Those since the last time, but for the renewal of a lease, which comes when its time has come."""
        seen, self.seen = self.seen, []
        return [name for name in seen if name != "update jobs_meta"]


def test_what_is_asked_of_the_server(mongodb: MongoDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command is a round trip, and a write is on the disks of a majority before it is answered."""
    # So that the records of no job are counted: a tenth of what is kept may come before that.
    monkeypatch.setattr(random, "randrange", lambda stop: 0)
    place = mongodb.fresh()
    commands = Commands()
    client: Client
    with pymongo.MongoClient(place.host, place.port, event_listeners=[commands]) as client:
        store = MongoDBJobStore(place.name, client=client)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        due_jobs(scheduler, "x")
        entry = store.get_entry("x")
        scheduler.remove_job("x")
        scheduler.shutdown()
        assert entry is not None
        # By itself: a scheduler's thread asks for what is due whenever it likes.
        store.start(scheduler, "default")
        commands.take()
        store.add_entries([entry._replace(job=entry.job._replace(id="one"))])
        assert commands.take() == ["insert jobs"]
        store.add_entries([entry._replace(job=entry.job._replace(id=f"job {number}")) for number in range(200)])
        assert commands.take() == ["find jobs", "insert jobs"]
        at = now()
        claims = store.acquire(at, 500)
        assert len(claims) == 201
        assert commands.take() == ["find jobs"] * 2
        runs = store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us).runs
        assert commands.take() == ["update jobs"]
        store.finish([Finish(run, RunState.SUCCEEDED, at.wall_us, at.wall_us) for run in runs])
        assert commands.take() == ["insert jobs_runs", "update jobs"]
        store.next_due()
        assert commands.take() == ["find jobs"] * 2
        # What was skipped is written with the decision, and then moved.
        later = Now(at.wall_us + 2 * 3_600_000_000, at.wall_us + 2 * 3_600_000_000)
        claims = store.acquire(later, 500)
        commands.take()
        decisions = [
            Decision(
                claim,
                (),
                (Skip(SkipReason.OVERLAP, claim.fire_us, claim.fire_us, 1),),
                later.wall_us + 1,
                later.wall_us + 1,
            )
            for claim in claims
        ]
        assert len(decisions) == 201
        assert store.commit(decisions, later.wall_us).dropped == []
        assert commands.take() == ["update jobs", "insert jobs_runs", "update jobs"]
        store.shutdown()


# --- clients -----------------------------------------------------------------------------------------------------------


def test_a_client_of_the_users_is_not_closed(mongodb: MongoDB) -> None:
    global shared
    place = mongodb.fresh()
    # Its options for values are its own; the store reads with others.
    shared = pymongo.MongoClient(place.host, place.port, tz_aware=True, w=1)
    try:
        for client in (shared, f"{__name__}:shared"):
            if isinstance(client, str):
                sys.modules.setdefault(__name__, sys.modules[__name__])
            scheduler = scheduler_on(MongoDBJobStore(place.name, client=client))
            scheduler.start()
            scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a", replace_existing=True)
            scheduler.shutdown()
            assert shared.admin.command("ping")["ok"]
        assert [row["_id"] for row in shared[place.name].jobs.find()] == ["a"]
    finally:
        shared.close()
        shared = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hots": "x"}, "the MongoDB client cannot be made: .*hots"),
        ({"client": 5}, "must be a pymongo.MongoClient"),
        ({"client": pymongo.MongoClient(connect=False), "host": "x"}, r"\(host\) do not go with client="),
        ({"client": pymongo.MongoClient(connect=False, w=0)}, "^client: its writes are not acknowledged"),
        ({"host": "mongodb://localhost/?w=0"}, "not acknowledged"),
        ({"database": ""}, "database must be text"),
        ({"collection": "a\ud800"}, "collection must be text"),
        ({"database": "a b"}, "no such database"),
        ({"collection": "a..b"}, "no such database or collection"),
        ({"history": 0}, "history must be"),
        ({"history_age": -1}, "history_age must be"),
        ({"history_age": 1e300}, "history_age must be"),
        ({"signing_key": "short"}, "at least 16 bytes"),
        ({"allowed_refs": ["x"]}, "is no pattern"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MongoDBJobStore(**options)


def test_what_is_acknowledged_and_how_long_it_may_take() -> None:
    plain = MongoDBJobStore()
    assert plain._jobs.write_concern.document == {"w": "majority", "j": True, "wtimeout": 10_000}
    assert plain._jobs.read_concern.level == "majority"
    assert plain._client.options.pool_options.socket_timeout == 10.0
    assert plain._client.options.server_selection_timeout == 10.0
    said = MongoDBJobStore(host="mongodb://localhost/?w=2&socketTimeoutMS=3000", serverselectiontimeoutms=2000)
    assert said._jobs.write_concern.document == {"w": 2}
    assert said._jobs.read_concern.level == "local"
    assert said._client.options.pool_options.socket_timeout == 3.0
    assert said._client.options.server_selection_timeout == 2.0


# --- what is there -----------------------------------------------------------------------------------------------------


def test_a_collection_of_somebody_elses_and_of_another_version(store: MongoDBJobStore) -> None:
    store._jobs.insert_one({"_id": "x", "job_state": b"\x80\x04"})
    with pytest.raises(JobStoreError, match="was not written by schedcore"):
        scheduler_on(again(store)).start()
    store._meta.insert_one({"_id": "schema", "version": 99})
    with pytest.raises(JobStoreError, match="schema version 99, and this release reads 2"):
        scheduler_on(again(store)).start()


@pytest.mark.parametrize(
    "change",
    [
        {"doc": 5},
        {"doc": "x"},
        {"doc": "[" * 1_000_000},
        {"doc": ("v", 2)},
        {"doc": ("uid", 5)},
        {"doc": ("live", 5)},
        {"doc": ("live", [[[]]])},
        {"doc": ("past", {"a": 1})},
        {"doc": ("state", "\x80\x04K\x01.")},
        {"doc": ("fire_us", "soon")},
        {"doc": ("fire_us", 2**62)},
        {"rev": "x"},
        {"rev": None},
        {"rev": -1},
        {"rev": [1]},
        {"rev": True},
        {"rev": 2**63 - 1},
        {"w": ["x"]},
        {"state": "\x80\x04K\x01."},
        {"elapsed": True},
        {"elapsed": "x"},
        {"due_us": 1},
        {"due_us": 1.5},
        {"due_us": [1]},
        {"due_us": False},
        {"due_us": None},
        {"payload": "text"},
        {"payload": b"\x80\x04K\x01."},
        {"payload": b"[" * 1_000_000},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_document_that_nobody_of_us_wrote(store: MongoDBJobStore, change: dict[str, Any]) -> None:
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.add_job(work, "interval", hours=1, id="bad")
    log = EventLog(scheduler)
    if isinstance(change.get("doc"), tuple):
        name, value = change["doc"]
        row = store._jobs.find_one("bad")
        assert row is not None
        values = dict(zip(_FIELDS, json.loads(row["doc"]), strict=True))
        change = {"doc": json.dumps(list({**values, name: value}.values()))}
    store._jobs.update_one({"_id": "bad"}, {"$set": {"due_us": 0, **change}})
    store._jobs.insert_one({"_id": 5, "due_us": 0, "elapsed": False, "rev": 1})
    before = store._jobs.find_one("bad")
    scheduler.add_job(work, "interval", seconds=0.05, id="good")
    log.wait_for(lambda log: len(log.executed("good")) > 2)
    jobs = {job.id: job for job in scheduler.get_jobs()}
    assert jobs["good"].state is JobState.ACTIVE
    assert jobs["bad"].state is JobState.BROKEN
    after = store._jobs.find_one("bad")
    assert before is not None
    assert after is not None
    assert after["payload"] == before["payload"]
    scheduler.remove_job("bad")
    assert store._jobs.find_one("bad") is None
    scheduler.shutdown()
    store._jobs.delete_one({"_id": 5})


@pytest.mark.timeout(60)
def test_rows_that_are_no_jobs_stand_for_none(mongodb: MongoDB) -> None:
    """Neither what is due next nor a page of jobs is cut short by them."""
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongodb.host, mongodb.port) as client:
        name = mongodb.fresh().name
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z",
            timezone="UTC",
            jobstores={"default": MongoDBJobStore(name, client=client)},
        )
        log = EventLog(scheduler)
        scheduler.start()
        try:
            for job_id in "abcd":
                scheduler.add_job(work, "cron", second="5", id=job_id)
            scheduler.pause_job("d")
            row: dict[str, Any] = {"elapsed": False, "uid": "x", "rev": 1}
            rows: Any = [{"_id": number, "due_us": number, **row} for number in range(3000)]
            client[name]["jobs"].insert_many(rows)
            scheduler.advance(65.5)
            assert [time.timestamp() % 60 for time in log.executed("a")] == [5.0, 5.0]
            store = MongoDBJobStore(name, client=client, read_only=True)
            store.start(scheduler, "reader")
            first = store.list_entries(None, 2)
            second = store.list_entries(first[-1], 2)
            assert [entry.job.id for entry in (*first, *second)] == list("abcd")
            store.shutdown()
        finally:
            scheduler.shutdown()


def test_a_page_goes_on_behind_a_damaged_document(store: MongoDBJobStore) -> None:
    """It is listed where it is found, so that what comes next is not taken for what comes last."""
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    for number, job_id in enumerate("abcdef"):
        scheduler.add_job(work, "date", run_date=f"2099-01-0{number + 1}", id=job_id)
    scheduler.pause_job("e")
    store._jobs.update_one({"_id": "b"}, {"$set": {"doc": "none"}})
    store._jobs.update_one({"_id": "d"}, {"$set": {"elapsed": "none"}})
    listed: list[str] = []
    entries = store.list_entries(None, 1)
    while entries:
        listed.append(entries[-1].job.id)
        entries = store.list_entries(entries[-1], 1)
    assert listed == ["a", "b", "c", "f", "d", "e"]
    scheduler.shutdown()


def test_a_job_that_no_document_can_hold(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    for _ in range(2):
        with pytest.raises(SerializationError, match=r"its record has 8,\d+,\d+ bytes, and .* takes 7,340,032"):
            scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a", args=["x" * 8_000_000])
        if not scheduler.running:
            scheduler.start()
    scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a", args=["x" * 7_000_000])
    scheduler.shutdown()


def test_histories_are_cut(store: MongoDBJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mongodb_history, "_CUT_EVERY_S", 0.0)
    store._history_limit = 5
    scheduler = scheduler_on(store)
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", seconds=0.02, id="a")
    log.wait_for(lambda log: len(log.executed("a")) > 12)
    scheduler.pause_job("a")
    scheduler.shutdown()
    left = again(store)
    assert store._history.count_documents({}) == 5
    assert left._delete_records(int((time.time() + 7200) * 1e6), 3) == 3
    assert left._delete_records(int((time.time() + 7200) * 1e6), 3) == 2
    assert store._history.count_documents({}) == 0


def test_records_that_are_too_many_are_looked_for_now_and_then(
    store: MongoDBJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then of all jobs that may have too many."""
    monkeypatch.setattr(_mongodb_history, "_CUT_EVERY_S", math.inf)
    store._history_limit = 1
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    due_jobs(scheduler, "ab")
    at = now()
    for fire_us in range(3):  # each in a batch of its own
        for name in "ab":
            (doc,) = store._fetch([name]).values()
            record = RunRecord(name, fire_us, 1, RunState.SUCCEEDED, finished_us=at.wall_us)
            assert store._put(
                [Change(doc.revision, doc._replace(revision=doc.revision + 1), ((doc.uid, record),), True)]
            )
    assert store._history.count_documents({}) == 6
    assert [run.fire_us for run in store.runs("a")] == [2], "no more are shown"
    monkeypatch.setattr(store, "_cut_at_s", 0.0)
    store._cut([])
    assert sorted((row["job"], row["fire_us"]) for row in store._history.find()) == [("a", 2), ("b", 2)]
    scheduler.shutdown()


def test_texts_that_are_too_long_are_not_fetched_whole(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    due_jobs(scheduler, "ab")
    scheduler.shutdown()
    store.start(scheduler, "default")
    at = now()
    runs = store.commit([decide(claim, at.wall_us) for claim in store.acquire(at, 9)], at.wall_us).runs
    store.finish([Finish(run, RunState.FAILED, at.wall_us, at.wall_us, exception=ValueError("é")) for run in runs])
    for failed in (False, True):
        assert [(record.state, record.error, record.result) for record in store.runs(failed=failed)] == [
            (RunState.FAILED, "ValueError: é", None)
        ] * 2
    long = {"output": "é" * 3_000_000, "result": ["x" * 3_000_000], "traceback": 5, "exit_code": "x" * 3_000_000}
    store._history.update_one({"job": "a"}, {"$set": long})
    (run,) = store.runs("a")
    assert (run.output, run.result, run.traceback, run.exit_code) == ("é" * 2**20, None, "5", None)
    assert (run.error, run.finished_us) == ("ValueError: é", at.wall_us)
    store.shutdown()


def test_records_whose_key_is_no_text_are_nobodys(store: MongoDBJobStore) -> None:
    """One of them kept all the others from being listed."""
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    due_jobs(scheduler, "ab")
    scheduler.shutdown()
    store.start(scheduler, "default")
    at = now()
    runs = store.commit([decide(claim, at.wall_us) for claim in store.acquire(at, 9)], at.wall_us).runs
    store.finish([Finish(run, RunState.SUCCEEDED, at.wall_us, at.wall_us) for run in runs])
    assert len(store.runs()) == 2
    row = store._history.find_one({"job": "a"})
    assert row is not None
    store._history.insert_many([{**row, "_id": key} for key in ({"a": 1}, 5, None, b"key")])
    assert sorted(record.job_id for record in store.runs()) == ["a", "b"]
    assert [record.job_id for record in store.runs("a")] == ["a"]
    store.shutdown()


# --- which write was made ----------------------------------------------------------------------------------------------


def test_each_write_of_a_batch_is_told_apart(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    for name in "abcdef":
        scheduler.add_job(work, "date", run_date="2099-01-01", id=name)
    docs = store._fetch(list("abcdef"))
    # Somebody else changed some of them, and removed one.
    store._jobs.update_many({"_id": {"$in": ["b", "d"]}}, {"$inc": {"rev": 1}})
    store._jobs.delete_one({"_id": "f"})
    record = RunRecord("x", 0, 1, RunState.FAILED)

    def change(name: str, uid: str | None = None) -> Change:
        doc = docs[name]
        new = doc._replace(revision=doc.revision + 1)
        if uid == "":
            new = Doc(doc.id, doc.revision + 1)
        return Change(doc.revision, new, ((f"of {name}", record),), keeps_payload=True)

    changes = [change("a"), change("b"), change("c", ""), change("d", ""), change("f")]
    new = [Change(0, Doc("new", 1, "uid")), Change(0, Doc("e", 1, "uid"))]
    assert store._write([*changes, *new], False) == [True, False, True, False, False, True, False]
    rows = {row["_id"]: row for row in store._jobs.find()}
    assert sorted(rows) == ["a", "b", "d", "e", "new"]
    assert rows["a"]["rev"] == docs["a"].revision + 1
    assert rows["d"]["doc"] == docs["d"].pack()
    assert {row["_id"] for row in store._history.find()} == {"of a:0:1", "of c:0:1"}
    # Together: none, and nothing of it is left.
    together = [Change(0, Doc("g", 1, "uid")), Change(0, Doc("a", 1, "uid"))]
    assert store._write(together, True) == [True, False]
    assert store._jobs.find_one("g") is None
    scheduler.shutdown()


def test_what_is_taken_back_may_be_more_than_a_command_has_room_for(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    # 18 MB of ids, where 16 are the most.
    together = [Change(0, Doc(f"{number} {'x' * 30_000}", 1, "uid")) for number in range(600)]
    assert store._write([*together, Change(0, Doc("a", 1, "uid"))], True) == [True] * 600 + [False]
    assert [row["_id"] for row in store._jobs.find()] == ["a"]
    scheduler.shutdown()


def test_what_was_decided_and_not_moved_counts(
    mongodb: MongoDB, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = partial(MongoDBJobStore, mongodb.fresh().name, client=client)
    check_left_in_documents(make, lambda store: store._left({}), monkeypatch)


def test_what_was_not_decided_by_us_is_passed_over(store: MongoDBJobStore) -> None:
    check_strange(store, lambda value: store._jobs.update_one({"_id": "a"}, {"$set": {"decided": value}}))


def test_an_id_that_is_taken_anew_fits_nobody_who_knew_the_old_one(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    old = store._fetch(["a"])["a"]
    scheduler.remove_job("a")
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert store._write([Change(old.revision, old._replace(revision=old.revision + 1))], False) == [False]
    scheduler.shutdown()


def test_what_was_emptied_and_not_deleted_is_nobodys(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    scheduler.add_job(work, "date", run_date="2099-01-01", id="b")
    docs = store._fetch(["a", "b"])
    store._write_docs([Change(doc.revision, Doc(doc.id, doc.revision + 1)) for doc in docs.values()], "died")
    assert scheduler.get_jobs() == []
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    with pytest.raises(ConflictingIdError):
        scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    scheduler.shutdown()
    start_paused(scheduler)
    assert [row["_id"] for row in store._jobs.find()] == ["a"]
    scheduler.shutdown()


def test_a_write_that_was_not_answered_cannot_come_late(
    store: MongoDBJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="a", next_run_time="2026-01-01T00:00:00Z")
    scheduler.shutdown()
    # By itself: a scheduler recovers what is there when it starts, and would take the claims back in the middle of this.
    store.start(scheduler, "default")
    now_us = int(time.time() * 1e6)
    (claim,) = store.acquire(Now(now_us, now_us), 10)
    late: list[Any] = []

    def unanswered(self: object, requests: Any, ordered: bool) -> None:
        late.append(requests)
        raise pymongo.errors.NetworkTimeout("timed out")

    with monkeypatch.context() as patch:
        patch.setattr(type(store._jobs), "bulk_write", unanswered)
        with pytest.raises(JobStoreError, match="timed out"):
            store.commit([decide(claim, now_us)], now_us)
    assert store.recover([]).runs == []
    assert store._jobs.bulk_write(late[0], ordered=False).matched_count == 0
    (claim,) = store.acquire(Now(now_us, now_us), 10)
    with monkeypatch.context() as patch:
        write = type(store._jobs).bulk_write

        def unheard(self: Any, requests: Any, ordered: bool) -> None:
            write(self, requests, ordered=ordered)
            raise pymongo.errors.NetworkTimeout("timed out")

        patch.setattr(type(store._jobs), "bulk_write", unheard)
        with pytest.raises(JobStoreError, match="timed out"):
            store.commit([decide(claim, now_us)], now_us)
    (run,) = store.recover([]).runs
    assert store.recover([run]).runs == []
    store.shutdown()


def test_a_decision_made_from_an_outdated_document_changes_nothing(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="a", next_run_time="2026-01-01T00:00:00Z")
    now_us = int(time.time() * 1e6)
    (claim,) = store.acquire(Now(now_us, now_us), 10)
    changed = threading.Thread(target=scheduler.modify_job, args=("a",), kwargs={"name": "other"})
    changed.start()
    changed.join()
    committed = store.commit([decide(claim, now_us)], now_us)
    assert committed.runs == []
    assert [decision.claim.job.id for decision in committed.dropped] == ["a"]
    assert scheduler.get_runs("a") == []
    (anew,) = store.acquire(Now(now_us, now_us), 10)
    # This time somebody else changed it who does not share this store's memory.
    store._jobs.update_one({"_id": "a"}, {"$inc": {"rev": 1}})
    assert store.commit([decide(anew, now_us)], now_us).runs == []
    (anew,) = store.acquire(Now(now_us, now_us), 10)
    runs = store.commit([decide(anew, now_us)], now_us).runs
    assert [run.job.name for run in runs] == ["other"]
    assert RunState.SUBMITTED in {record.state for record in store.runs("a")}
    scheduler.shutdown()


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (pymongo.errors.AutoReconnect("x"), True),
        (pymongo.errors.NetworkTimeout("x"), True),
        (pymongo.errors.WTimeoutError("x", 64), True),
        (pymongo.errors.OperationFailure("not primary", 10107), True),
        (pymongo.errors.OperationFailure("authentication failed", 18), False),
        (pymongo.errors.OperationFailure("x", 1, {"errorLabels": ["RetryableWriteError"]}), True),
        (pymongo.errors.BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}), True),
        (pymongo.errors.BulkWriteError({"writeErrors": [{"code": 91}, {"code": 11000}]}), True),
        (pymongo.errors.BulkWriteError({"writeErrors": [{"code": 91}, {"code": 10334}]}), False),
        (pymongo.errors.DocumentTooLarge("x"), False),
        (pymongo.errors.ConfigurationError("x"), False),
    ],
)
def test_which_errors_may_pass(error: Exception, transient: bool) -> None:
    said = MongoDBJobStore()._explain(error)
    assert said is not None
    assert said[1] is transient


def test_an_error_is_the_same_at_each_attempt() -> None:
    """An attempt to open the store is made with a client of its own."""
    texts: set[str] = set()
    for rtt in (None, 0.002, 1e-05):
        with pymongo.MongoClient[Any](connect=False) as client:
            servers = str(client.topology_description).replace("rtt: None", f"rtt: {rtt}")
        error = pymongo.errors.ServerSelectionTimeoutError(f"x, Timeout: 10.0s, Topology Description: {servers}")
        said = MongoDBJobStore()._explain(error)
        assert said is not None
        texts.add(said[0])
    [text] = texts
    assert "<TopologyDescription topology_type: Unknown, servers: [<ServerDescription ('localhost', 27017)" in text


def test_what_is_no_error_of_the_drivers_is_not_explained() -> None:
    assert MongoDBJobStore()._explain(KeyError("x")) is None


def test_a_damaged_document_keeps_its_id(store: MongoDBJobStore) -> None:
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    store._jobs.update_one({"_id": "a"}, {"$set": {"rev": "none"}})
    (listed,) = scheduler.get_jobs()  # after which the store knows what stands in the place of its revision
    assert listed.id == "a"
    before = store._jobs.find_one("a")
    with pytest.raises(ConflictingIdError):
        scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert store._jobs.find_one("a") == before
    scheduler.shutdown()


@pytest.mark.parametrize(
    ("size", "first", "both"), [(1_000, 1, 2), (3_000_000, 1, 2), (7_000_000, 1, 1), (14_000_000, 0, 0)]
)
def test_what_is_left_of_a_large_job_fits_into_its_document(
    store: MongoDBJobStore, monkeypatch: pytest.MonkeyPatch, size: int, first: int, both: int
) -> None:
    """Its definition is kept for its last runs, and beside that of the job that has its id next as long as there is room."""
    # As large as it might be in an earlier release.
    monkeypatch.setattr(MongoDBJobStore, "_payload_limit", 15_000_000)
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(
        "builtins:len", "date", run_date="2020-01-01", id="large", args=["x" * size], recovery="rerun", max_instances=2
    )
    scheduler.add_job(work, "date", run_date="2020-01-02", id="small", recovery="rerun")
    large = store.get_entry("large")
    scheduler.shutdown()
    assert large is not None

    def begin() -> list[str]:
        at = now()
        decisions = [decide(claim, at.wall_us) for claim in store.acquire(at, 9)]
        runs = store.commit(decisions, at.wall_us).runs
        store.started([(run, at.wall_us) for run in runs])
        return [run.job.id for run in runs]

    def made_again() -> list[str]:
        """What whoever comes next makes again."""
        store.shutdown()
        store.start(scheduler, "default")
        return [run.job.id for run in store.recover([]).runs]

    store.start(scheduler, "default")
    assert begin() == ["large", "small"]
    assert sorted(made_again()) == ["large"] * first + ["small"]
    store.add_entries([large])
    assert begin() == ["large"]
    assert sorted(made_again()) == ["large"] * both + ["small"]
    lost = [run for run in store.runs("large") if run.state is RunState.LOST and "has been removed" in str(run.reason)]
    assert len(lost) == 2 - both
    store.shutdown()


def test_what_is_left_of_a_large_job_stays_with_a_smaller_one(store: MongoDBJobStore) -> None:
    """The payload of the job that has its id is in memory then: without it, it would count as large as one may be."""
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job("builtins:len", "date", run_date="2020-01-01", id="job", args=["x" * 5_000_000], recovery="rerun")
    scheduler.add_job("builtins:len", "interval", minutes=30, args=["y" * 5_000], id="next")
    following = store.get_entry("next")
    assert following is not None
    following = following._replace(job=following.job._replace(id="job"))
    scheduler.shutdown()
    store.start(scheduler, "default")
    at = now()
    runs = store.commit([decide(claim, at.wall_us) for claim in store.acquire(at, 9)], at.wall_us).runs
    store.add_entries([following])
    store.started([(run, at.wall_us) for run in runs])
    store.shutdown()
    store.start(scheduler, "default")
    assert [run.job.id for run in store.recover([]).runs] == ["job"]
    store.shutdown()

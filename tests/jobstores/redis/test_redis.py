"""What is particular to jobs in Redis: who owns them, whose client it is, and a server that goes away."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from schedcore.clock import Now
from schedcore.engine import Decision, decide
from schedcore.errors import ConfigurationError, ConflictingIdError, JobStoreError, JobStoreInUseError
from schedcore.events import EVENT_JOB_BROKEN
from schedcore.job import JobState
from schedcore.jobstores._documents_doc import Change
from schedcore.jobstores._redis_adding import pack_jobs
from schedcore.jobstores.redis import RedisJobStore
from schedcore.run import Finish, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog, VirtualScheduler
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.jobstores.owned import OTHER, LateTests, check_emptied, due_jobs
from tests.services import Proxy, Redis

Make = Callable[..., RedisJobStore]

T0 = datetime(2026, 1, 1, tzinfo=UTC)

shared: Any = None


class InRedis:
    def __init__(self, store: RedisJobStore) -> None:
        self.client = store._redis
        self._owner_key, self._meta_key = store._owner_key, store._meta_key

    def owner(self) -> str | None:
        found = self.client.get(self._owner_key)
        return None if found is None else found.decode()

    def put_owner(self, text: str) -> None:
        self.client.set(self._owner_key, text, ex=30)

    def keep_owner(self, text: str) -> None:
        self.client.set(self._owner_key, text)

    def put_version(self, text: str) -> None:
        self.client.hset(self._meta_key, "schema", text)

    def drop_owner(self) -> None:
        self.client.delete(self._owner_key)

    def document(self, job_id: str) -> bytes | None:
        found: bytes | None = self.client.hget("schedcore.jobs", job_id)
        return found

    def put_document(self, job_id: str, value: bytes) -> None:
        self.client.hset("schedcore.jobs", job_id, value)

    def count(self, kind: str) -> int:
        return int(self.client.hlen(f"schedcore.jobs:{kind}"))


class TestRedis(LateTests):
    store = RedisJobStore
    alias = library = "redis"
    refused = redis.ConnectionError

    @pytest.fixture
    def inside(self, make: Make) -> Iterator[InRedis]:
        inside = InRedis(make())
        yield inside
        inside.client.close()

    def elsewhere(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"jobs_key": "other.jobs", "run_times_key": "other.times"}

    @contextmanager
    def held(self, store: Any) -> Iterator[list[Callable[[], object]]]:
        take = store._take_lease
        late: list[Callable[[], object]] = []

        def arrive(call: dict[str, Any]) -> None:
            take(**call)
            if not store._opened:
                store._redis.close()

        def hold(**call: Any) -> Any:
            late.append(partial(arrive, call))
            raise redis.TimeoutError("no answer came")

        store._take_lease = hold
        try:
            yield late
        finally:
            store._take_lease = take

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"x",
            b"\x80\x04K\x01.",
            b"5 {}",
            b"1 [" * 1000,
            b"1 {" + b'"a":' * 5,
            b"1 " + b"[" * 100_000,
            b"\xff\xfe",
        ],
    )
    def test_a_document_that_nobody_of_us_wrote(self, make: Make, inside: InRedis, value: bytes) -> None:
        self.unknown(make(), inside, value).shutdown()


@pytest.mark.timeout(60)
def test_places_and_documents_that_somebody_else_altered(make: Make) -> None:
    """None is looked at again and again, or keeps the others waiting, also if there are more than are looked at in one go."""
    names = ["good", "deleted", "early", "paused", "elapsed", "odd", "digits", "zeros", "number"]
    scheduler = VirtualScheduler(start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": make()})
    log = EventLog(scheduler)
    scheduler.start()
    for name in names:
        scheduler.add_job(work, "cron", second="*/10", id=name)
    scheduler.pause_job("paused")
    scheduler.shutdown()
    with make()._redis as client:
        client.hdel("schedcore.jobs", "deleted")
        client.zadd("schedcore.run_times", {"early": 0, "paused": 0, b"\xff": "-inf"})
        client.zadd("schedcore.run_times", {f"nobody's {number}": number for number in range(3000)})
        client.zadd("schedcore.run_times:elapsed", {"elapsed": 0, "nobody's": "inf"})
        for name, value in {
            "odd": b"x",
            "digits": b"9" * 5000,
            "zeros": b"007 []",
            "number": b"5" * 18 + b" {}",
        }.items():
            client.hset("schedcore.jobs", name, value)
        scheduler.start()
        try:
            scheduler.advance(35)
            assert scheduler.health()["default"].ok
            jobs = {job.id: job.state for job in scheduler.get_jobs()}
            assert {name for name, state in jobs.items() if state is JobState.BROKEN} == {
                "odd",
                "digits",
                "zeros",
                "number",
            }
            assert sorted(event.job_id for event in log.of(EVENT_JOB_BROKEN)) == ["digits", "number", "odd", "zeros"]
            assert [len(log.executed(name)) for name in names] == [4, 0, 4, 0, 4, 0, 0, 0, 0]
            assert sorted(client.zrange("schedcore.run_times", 0, -1)) == [b"early", b"elapsed", b"good"]
            scheduler.resume_job("paused")
            for name in ("odd", "digits"):
                scheduler.reschedule_job(name, trigger="cron", second="*/10")
            scheduler.advance(10)
            assert [len(log.executed(name)) for name in ("paused", "odd", "digits", "zeros")] == [1, 1, 1, 0]
            assert [len(scheduler.get_runs(name)) for name in ("odd", "digits")] == [1, 1], "each has its own history"
        finally:
            scheduler.shutdown()


def test_a_document_with_a_uid_that_no_key_can_have_stops_nobody(make: Make) -> None:
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    due_jobs(scheduler, "ab")
    scheduler.shutdown()
    store = make()
    with store._redis as client:
        parts = client.hget("schedcore.jobs", "a").split(b",")
        parts[1] = b'"\\ud800"'
        client.hset("schedcore.jobs", "a", b",".join(parts))
        scheduler = scheduler_on(make())
        log = EventLog(scheduler)
        scheduler.start()
        log.wait_for(lambda log: bool(log.executed("b")) and bool(log.of(EVENT_JOB_BROKEN)))
        end_s = time.monotonic() + 60
        while [run.state for run in scheduler.get_runs("b")] != [RunState.SUCCEEDED]:
            assert time.monotonic() < end_s
            time.sleep(0.01)
        assert scheduler.health()["default"].ok
        assert {job.id: job.state for job in scheduler.get_jobs()}["a"] is JobState.BROKEN
        scheduler.shutdown()


# --- who owns it -------------------------------------------------------------------------------------------------------


def test_a_lease_that_ran_out_and_was_not_taken_goes_on(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    store._redis.delete(store._owner_key)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert store._redis.pttl(store._owner_key) > 0
    scheduler.shutdown()


def test_a_lease_ends_though_the_servers_clock_was_set_back(make: Make) -> None:
    """An hour would be added to it; an owner that lives renews it."""
    store = make()
    store._redis.set(store._owner_key, OTHER, px=3_600_000)
    with pytest.raises(JobStoreInUseError, match="lease ends within 30 s"):
        scheduler_on(store).start()
    assert 0 < store._redis.pttl(store._owner_key) <= 30_000
    store._redis.close()


def test_a_store_that_was_emptied_meanwhile_can_be_opened_again(make: Make) -> None:
    """As by FLUSHALL, or by the restart of a server that keeps nothing."""
    check_emptied(make, lambda store: store._redis.flushdb())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"maxmemory": 1}, "used memory > 'maxmemory'"),
        ({"min-replicas-to-write": 1}, "NOREPLICAS"),
        ({"replicaof": True}, "read only replica"),
    ],
)
def test_what_a_server_does_not_write_now_it_may_write_later(make: Make, settings: dict[str, Any], said: str) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    client = store._redis
    try:
        for name, value in settings.items():
            client.replicaof("127.0.0.1", 1) if name == "replicaof" else client.config_set(name, value)
        with pytest.raises(JobStoreError, match=said) as caught:
            scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
        assert caught.value.transient
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("min-replicas-to-write", 0)
        client.replicaof("NO", "ONE")
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    scheduler.shutdown()


# What an account of the store's own is said to need.
@pytest.mark.parametrize(
    "keys",
    [
        ["schedcore.run_times:elapsed"],
        ["schedcore.run_times", "schedcore.run_times:idle"],
        ["schedcore.run_times", "schedcore.run_times:elapsed", "schedcore.run_times:idle", "schedcore.jobs:live"],
    ],
)
def test_jobs_whose_places_were_lost_are_found_at_the_next_start(
    make: Make, caplog: pytest.LogCaptureFixture, keys: list[str]
) -> None:
    """As when a server evicts keys, though it should not. They were in no list any more, and none ran again."""

    def boot(hours: int) -> tuple[VirtualScheduler, EventLog]:
        scheduler = VirtualScheduler(start=T0 + timedelta(hours=hours), timezone="UTC", jobstores={"default": make()})
        log = EventLog(scheduler)
        scheduler.start()
        return scheduler, log

    scheduler, _ = boot(0)
    scheduler.add_job(work, "interval", hours=1, id="steady")
    scheduler.add_job(work, "cron", minute=0, id="wall")
    scheduler.add_job(work, "interval", hours=1, id="paused", next_run_time=None)
    scheduler.add_job(work, "interval", hours=1, id="damaged")
    scheduler.shutdown()
    client: Any = make()._redis
    client.hset("schedcore.jobs", "damaged", "what somebody wrote")
    client.delete(*keys)
    scheduler, log = boot(2)
    scheduler.advance(3600)
    assert sorted(job.id for job in scheduler.get_jobs()) == ["damaged", "paused", "steady", "wall"]
    assert len(log.executed("steady")) == len(log.executed("wall")) == 2
    scheduler.shutdown()
    if "schedcore.run_times:elapsed" in keys:  # or it was due, and set aside in writing
        assert client.hget("schedcore.jobs", "damaged") == b"what somebody wrote"
    told = [record.getMessage() for record in caplog.records if "were in none of the keys" in record.getMessage()]
    assert len(told) == 1
    client.close()
    scheduler, _ = boot(4)
    scheduler.shutdown()
    assert len([1 for record in caplog.records if "were in none of the keys" in record.getMessage()]) == 1


DOCUMENTED = (
    "+@read",
    "+@write",
    "+@scripting",
    "+@transaction",
    "+@connection",
    "~schedcore.jobs*",
    "~schedcore.run_times*",
)


@pytest.mark.parametrize("missing", ["eval", "evalsha", "script|load", "unwatch", "zadd"])
def test_an_account_that_may_not_do_what_is_needed_is_told_so_at_once(
    redis_server: Redis, make: Make, missing: str
) -> None:
    admin: Any = redis.Redis(port=redis_server.port)  # some of its methods have no types
    try:
        admin.execute_command("ACL", "SETUSER", "theirs", "reset", "on", ">password", *DOCUMENTED)
        scheduler = scheduler_on(make(username="theirs", password="password"))
        scheduler.start(paused=True)
        scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
        scheduler.shutdown()
        admin.execute_command("ACL", "SETUSER", "theirs", f"-{missing}")
        scheduler = scheduler_on(make(username="theirs", password="password"))
        needs = r"needs \+@read \+@write \+@scripting \+@transaction \+@connection"
        with pytest.raises(JobStoreError, match=needs) as caught:  # noqa: PT012
            scheduler.start(paused=True)
            # What a script does is found out when it does it, and Redis does not say what that was.
            assert missing == "zadd"
            scheduler.add_job(work, "date", run_date="2099-01-01", id="b")
        assert not caught.value.transient
        assert missing == "zadd" or f"'{missing}'" in str(caught.value)
        if scheduler.running:
            scheduler.shutdown()
    finally:
        admin.execute_command("ACL", "DELUSER", "theirs")
        admin.close()


def test_an_account_with_what_is_needed_forgets_what_is_old(redis_server: Redis, make: Make) -> None:
    admin: Any = redis.Redis(port=redis_server.port)
    try:
        admin.execute_command("ACL", "SETUSER", "mine", "reset", "on", ">password", *DOCUMENTED)
        store = make(username="mine", password="password")
        scheduler = scheduler_on(store)
        scheduler.start()
        log = EventLog(scheduler)
        scheduler.add_job(work, id="a")
        log.wait_for(lambda log: bool(log.executed("a")))
        end_s = time.monotonic() + 60
        while [run.state for run in scheduler.get_runs("a")] != [RunState.SUCCEEDED]:
            assert time.monotonic() < end_s
            time.sleep(0.01)
        assert store._delete_records(int((time.time() + 7200) * 1e6), 1000) == 1
        assert scheduler.get_runs("a") == []
        scheduler.shutdown()
    finally:
        admin.execute_command("ACL", "DELUSER", "mine")
        admin.close()


def test_a_write_whose_answer_is_lost_is_not_sent_again(
    redis_server: Redis, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a client of the user's either that tries again: the second one would be refused because the first was made."""
    place = redis_server.fresh()
    client = redis.Redis(host=place.host, port=place.port, db=int(place.name), retry=Retry(NoBackoff(), 3))
    scheduler = scheduler_on(RedisJobStore(client=client))
    start_paused(scheduler)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="first")  # with which a note is written
    read = redis.Connection.read_response
    here = threading.current_thread()
    lost: list[Any] = []

    def lose(connection: Any, *args: Any, **options: Any) -> Any:
        answer = read(connection, *args, **options)
        if answer == 1 and threading.current_thread() is here:  # what the script says of a batch that is written
            lost.append(answer)
            raise redis.ConnectionError("lost")
        return answer

    before = client.info("commandstats")["cmdstat_eval"]["calls"]
    with monkeypatch.context() as patch:
        patch.setattr(redis.Connection, "read_response", lose)
        with pytest.raises(JobStoreError, match="lost") as caught:
            scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert lost == [1]
    assert caught.value.transient
    assert client.info("commandstats")["cmdstat_eval"]["calls"] == before + 1
    assert sorted(job.id for job in scheduler.get_jobs()) == ["a", "first"]
    with pytest.raises(ConflictingIdError):
        scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    scheduler.shutdown()
    client.close()


def test_the_first_batch_is_sent_once(make: Make) -> None:
    """A server that was just started knows no script; jobs are added by the thousand."""
    store = make()
    store._redis.script_flush()
    scheduler = scheduler_on(store)
    start_paused(scheduler)

    def unknown() -> int:
        """How often the server was asked for a script that it did not know."""
        return int(store._redis.info("errorstats")["errorstat_NOSCRIPT"]["count"])

    before = unknown()
    assert before
    scheduler.add_jobs([{"func": work, "trigger": "interval", "hours": 1}] * 3)
    assert unknown() == before
    scheduler.shutdown()


def test_a_write_that_comes_late_is_refused(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """It timed out here and waits on its way: by the time that it comes the store has been taken anew."""
    place = redis_server.fresh()
    with Proxy(place.port) as proxy:
        store = RedisJobStore(int(place.name), host=place.host, port=proxy.port, socket_timeout=1.0)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(work, "interval", hours=1, id="a", next_run_time="2026-01-01T00:00:00Z")
        now_us = int(time.time() * 1e6)
        decisions = [decide(claim, now_us) for claim in store.acquire(Now(now_us, now_us), 9)]
        sent: list[bytes] = []
        send = store._send

        def note(pieces: Any) -> Any:
            sent.append(store._command(pieces[0]))
            return send(pieces)

        monkeypatch.setattr(store, "_send", note)
        proxy.stall()
        with pytest.raises(JobStoreError, match="failed to record runs") as caught:
            store.commit(decisions, now_us)
        assert caught.value.transient
        monkeypatch.undo()
        proxy.cut()
        proxy.accept()
        assert store.recover([]) == ([], [])
        # Now it comes.
        connection = store._redis.connection_pool.get_connection()
        connection.send_packed_command(sent)
        assert connection.read_response() == store._owner.text.encode()
        store._redis.connection_pool.release(connection)
        assert store.runs("a") == []
        (claim,) = store.acquire(Now(now_us, now_us), 9)
        assert len(store.commit([decide(claim, now_us)], now_us).runs) == 1
        scheduler.shutdown()


# --- clients -----------------------------------------------------------------------------------------------------------


def test_a_client_of_the_users_is_not_closed(redis_server: Redis) -> None:
    global shared
    place = redis_server.fresh()
    shared = redis.Redis(host=place.host, port=place.port, db=int(place.name))
    try:
        for client in (shared, f"{__name__}:shared"):
            if isinstance(client, str):
                sys.modules.setdefault(__name__, sys.modules[__name__])
            scheduler = scheduler_on(RedisJobStore(client=client))
            scheduler.start()
            scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a", replace_existing=True)
            scheduler.shutdown()
            assert shared.ping()
        assert [name.decode() for name in shared.hkeys("schedcore.jobs")] == ["a"]
    finally:
        shared.close()
        shared = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hots": "x"}, "the Redis client cannot be made: .*hots"),
        ({"client": 5}, "must be a redis.Redis"),
        ({"client": redis.Redis(), "host": "x"}, r"\(host\) do not go with client="),
        ({"client": redis.Redis(decode_responses=True)}, "without decode_responses"),
        ({"jobs_key": ""}, "jobs_key must be text"),
        ({"jobs_key": "a\ud800"}, "jobs_key must be text"),
        ({"jobs_key": "x", "run_times_key": "x"}, "must differ"),
        ({"history": 0}, "history must be"),
        ({"history_age": -1}, "history_age must be"),
        ({"signing_key": "short"}, "at least 16 bytes"),
        ({"allowed_refs": ["x"]}, "is no pattern"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RedisJobStore(**options)


# --- what is there -----------------------------------------------------------------------------------------------------


def test_run_times_of_other_jobs(make: Make) -> None:
    """Two stores with one timeline would take each other's jobs out of it."""
    first = scheduler_on(make())
    first.start()
    first.add_job(work, "date", run_date="2099-01-01", id="a")
    for _ in range(2):
        with pytest.raises(JobStoreError, match=r"are those of the jobs under .schedcore\.jobs.; give another"):
            scheduler_on(make(jobs_key="other.jobs")).start()
    store = make(jobs_key="other.jobs", run_times_key="other.run_times")
    store._redis.zadd("other.run_times", {"b": 1.0})
    with pytest.raises(JobStoreError, match=r"'other\.run_times' is there, and was not written by schedcore"):
        scheduler_on(store).start()
    assert store._redis.zrange("other.run_times", 0, -1) == [b"b"]
    store._redis.delete("other.run_times")
    second = scheduler_on(store)
    second.start()
    second.shutdown()
    looking = scheduler_on(make(jobs_key="other.jobs", read_only=True))
    with pytest.raises(JobStoreError, match=r"'schedcore\.run_times' are those of the jobs under"):
        looking.start()
    assert [job.id for job in first.get_jobs()] == ["a"]
    first.shutdown()


def test_who_takes_the_store_again_notes_whose_the_run_times_are(make: Make) -> None:
    """All that was there may have been deleted meanwhile."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    store._redis.flushdb()
    store._take()
    assert store._redis.get("schedcore.run_times:of") == b"schedcore.jobs"
    scheduler.shutdown()


def test_keys_of_somebody_elses_and_of_another_version(make: Make) -> None:
    store = make()
    store._redis.hset("schedcore.jobs", "x", b"\x80\x04")
    with pytest.raises(JobStoreError, match="was not written by schedcore"):
        scheduler_on(make()).start()
    store._redis.hset("schedcore.jobs:meta", "schema", "99")
    with pytest.raises(JobStoreError, match="schema version b'99', and this release reads 2"):
        scheduler_on(make()).start()
    store._redis.close()


def test_histories_are_cut(make: Make) -> None:
    store = make(history=5, history_age=3600.0)
    scheduler = scheduler_on(store)
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", seconds=0.02, id="a")
    log.wait_for(lambda log: len(log.executed("a")) > 12)
    scheduler.pause_job("a")
    # A run that is under way is live, and no part of the history.
    end_s = time.monotonic() + 60
    while any(run.finished_us is None for run in scheduler.get_runs("a")):
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert len(scheduler.get_runs("a")) == 5
    assert store._redis.hlen("schedcore.jobs:runs") <= 6
    scheduler.shutdown()
    left = make()
    old = int((time.time() + 7200) * 1e6)
    with left._redis as client:
        left._delete_records(old, 1000)
        assert client.hlen("schedcore.jobs:runs") == client.zcard("schedcore.jobs:runs:by_time") == 0
        assert client.zcard("schedcore.jobs:runs:by_job") == 0


# --- a server that goes away -------------------------------------------------------------------------------------------


# --- two at once ---------------------------------------------------------------------------------------------------------


# --- many at once --------------------------------------------------------------------------------------------------------

MANY = 600  # of which several pieces are made


def _many_due(store: RedisJobStore) -> tuple[BackgroundScheduler, int, list[Decision]]:
    """A scheduler with many due jobs, and what was decided about them."""
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    common = {"func": work, "trigger": "interval", "hours": 1, "next_run_time": "2026-01-01T00:00:00Z"}
    scheduler.add_jobs([{**common, "id": str(number)} for number in range(MANY)])
    now_us = int(time.time() * 1e6)
    claims = store.acquire(Now(now_us, now_us), MANY)
    assert len(claims) == MANY
    return scheduler, now_us, [decide(claim, now_us) for claim in claims]


def test_of_many_decisions_those_made_from_outdated_documents_change_nothing(make: Make) -> None:
    store = make()
    scheduler, now_us, decisions = _many_due(store)
    altered = {"7", "8", str(MANY - 1)}
    for job_id in altered:
        store._redis.hset("schedcore.jobs", job_id, b"9" + store._redis.hget("schedcore.jobs", job_id))
    committed = store.commit(decisions, now_us)
    assert {decision.claim.job.id for decision in committed.dropped} == altered
    assert sorted(int(run.job.id) for run in committed.runs) == [n for n in range(MANY) if str(n) not in altered]
    assert store._redis.scard("schedcore.jobs:live") == MANY - len(altered)
    finishes = [Finish(run, RunState.SUCCEEDED, now_us, now_us) for run in committed.runs]
    store.finish(finishes)
    store.finish(finishes)  # as after a write whose outcome was not learnt
    assert store._redis.hlen("schedcore.jobs:runs") == MANY - len(altered)
    assert store._redis.exists("schedcore.jobs:live") == 0
    scheduler.shutdown()


def test_of_documents_that_go_and_that_stay_some_are_outdated(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of one batch: those are written again, and no others."""
    store = make()
    write = store._write
    tries: list[list[str]] = []

    def note(changes: Sequence[Change], together: bool) -> Sequence[bool]:
        tries.append([change.doc.id for change in changes])
        return write(changes, together)

    scheduler = scheduler_on(store)
    start_paused(scheduler)
    past = "2026-01-01T00:00:00Z"
    for number in range(3):  # by turns, as they come into the batch
        scheduler.add_job(work, "date", run_date=past, id=f"{number} goes")
        scheduler.add_job(work, "interval", hours=1, next_run_time=past, id=f"{number} stays")
    now_us = int(time.time() * 1e6)
    claims = sorted(store.acquire(Now(now_us, now_us), 9), key=lambda claim: claim.job.id)
    runs = store.commit([decide(claim, now_us) for claim in claims], now_us).runs
    assert [run.job.id for run in runs] == [f"{number} {what}" for number in range(3) for what in ("goes", "stays")]
    for job_id in ("1 stays", "2 goes"):
        store._redis.hset("schedcore.jobs", job_id, b"9" + store._redis.hget("schedcore.jobs", job_id))
    monkeypatch.setattr(store, "_write", note)
    store.finish([Finish(run, RunState.SUCCEEDED, now_us, now_us) for run in runs])
    assert tries == [[run.job.id for run in runs], ["1 stays", "2 goes"]]
    documents = store._redis.hgetall("schedcore.jobs")
    assert {job_id.decode(): value.split()[0] for job_id, value in documents.items()} == {
        "0 stays": b"3",
        "1 stays": b"93",
        "2 stays": b"3",
    }
    assert store._redis.hlen("schedcore.jobs:payloads") == 3
    assert store._redis.exists("schedcore.jobs:live") == 0
    assert {record.job_id for record in store.runs()} == {run.job.id for run in runs}
    scheduler.shutdown()


def _many_new(**arguments: Any) -> list[dict[str, Any]]:
    """More than are added by the script."""
    return [{"func": work, "trigger": "interval", "hours": 1, "id": str(number), **arguments} for number in range(MANY)]


@pytest.mark.parametrize("state", ["active", "paused"])
def test_many_new_jobs_are_as_one_by_one(make: Make, state: str) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    arguments = {"start_date": "2099-01-01", **({"next_run_time": None} if state == "paused" else {})}
    first, *others = _many_new(**arguments)
    scheduler.add_jobs([*others, {**first, "id": "ä"}])
    scheduler.add_job(**first)
    line = "schedcore.run_times:idle" if state == "paused" else "schedcore.run_times:elapsed"
    assert store._redis.zcard(line) == MANY + 1
    assert store._redis.zscore(line, "ä") == store._redis.zscore(line, "0")
    payloads = store._redis.hgetall("schedcore.jobs:payloads")
    assert len(payloads) == MANY + 1
    assert payloads["ä".encode()] == payloads[b"0"].replace(b'"0"', '"ä"'.encode())
    one, other = (store._redis.hget("schedcore.jobs", job_id).split(b",") for job_id in ("0", "ä"))
    assert one[:1] + one[2:] == other[:1] + other[2:], "all but the uid"
    assert {job.state for job in scheduler.get_jobs()} == {JobState(state)}
    assert len(scheduler.get_jobs()) == MANY + 1
    scheduler.remove_all_jobs()
    scheduler.shutdown()
    assert not store._redis.exists(line)
    store._redis.close()


def test_of_many_new_jobs_one_is_there(make: Make) -> None:
    """None is added, and the next command is not taken for part of that."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="17")
    for _ in range(2):
        with pytest.raises(ConflictingIdError, match="17"):
            scheduler.add_jobs(_many_new())
        assert [job.id for job in scheduler.get_jobs()] == ["17"]
        scheduler.modify_job("17", name="renamed")
    scheduler.remove_job("17")
    assert len(scheduler.add_jobs(_many_new())) == MANY
    scheduler.shutdown()


@pytest.mark.parametrize("what", ["job", "other job", "owner", "lease"])
def test_something_changes_while_many_new_jobs_are_on_their_way(
    make: Make, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    calls: list[int] = []

    def change(changes: Sequence[Change], keys: Sequence[str]) -> tuple[bytes, int]:
        calls.append(len(changes))
        if len(calls) == 1:
            if what == "owner":
                store._redis.set(store._owner_key, OTHER, ex=30)
            elif what == "lease":
                store._redis.delete(store._owner_key)
            else:
                store._redis.hset("schedcore.jobs", "5" if what == "job" else "x", "7 {}")
        return pack_jobs(changes, keys)

    monkeypatch.setattr("schedcore.jobstores.redis.pack_jobs", change)
    if what == "owner":
        with pytest.raises(JobStoreInUseError, match="elsewhere"):
            scheduler.add_jobs(_many_new())
        assert store._redis.hlen("schedcore.jobs") == 0
        assert calls == [MANY]
        store._redis.delete(store._owner_key)
    elif what == "job":
        with pytest.raises(ConflictingIdError, match="5"):
            scheduler.add_jobs(_many_new())
        assert store._redis.hlen("schedcore.jobs") == 1
    else:
        scheduler.add_jobs(_many_new())
        assert store._redis.hlen("schedcore.jobs:payloads") == MANY
        assert calls == [MANY]
    scheduler.shutdown()


def test_many_new_jobs_whose_answer_is_lost(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there, and known to be: what is sent after it is refused under the name that was used for it."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    read = redis.Connection.read_response
    name = store._owner.text

    def lose(connection: Any, *args: Any, **options: Any) -> Any:
        answer = read(connection, *args, **options)
        if isinstance(answer, list) and len(answer) == 3 and MANY in answer:  # what the transaction did
            raise redis.ConnectionError("lost")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(redis.Connection, "read_response", lose)
        with pytest.raises(JobStoreError, match="lost") as caught:
            scheduler.add_jobs(_many_new())
    assert caught.value.transient
    assert len(scheduler.get_jobs()) == MANY
    assert store._owner.text != name
    with pytest.raises(ConflictingIdError):
        scheduler.add_jobs(_many_new())
    scheduler.shutdown()


def test_many_new_jobs_that_a_command_cannot_write(make: Make) -> None:
    """The answers to the others are not taken for those to what is asked next."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    store._redis.set("schedcore.run_times:elapsed", "not a sorted set")
    with pytest.raises(JobStoreError, match="WRONGTYPE"):
        scheduler.add_jobs(_many_new())
    store._redis.delete("schedcore.run_times:elapsed")
    assert store.get_note("of nobody") is None
    scheduler.shutdown()


def test_of_many_writes_on_their_way_one_fails(make: Make) -> None:
    """The answers to the others are not taken for those to what is asked next."""
    store = make()
    scheduler, now_us, decisions = _many_due(store)
    store._redis.set("schedcore.jobs:live", "not a set")
    with pytest.raises(JobStoreError, match="WRONGTYPE"):
        store.commit(decisions, now_us)
    store._redis.delete("schedcore.jobs:live")
    assert store.get_note("of nobody") is None
    assert len(store.list_entries()) == MANY
    assert store.runs() == []
    scheduler.shutdown()


def test_a_lease_that_runs_out_in_the_middle_of_many_writes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    scheduler, now_us, decisions = _many_due(store)
    command = store._command
    calls: list[int] = []

    def run_out(changes: Any) -> bytes:
        calls.append(len(changes))
        if len(calls) == 2:
            store._redis.delete(store._owner_key)
        return command(changes)

    monkeypatch.setattr(store, "_command", run_out)
    assert len(store.commit(decisions, now_us).runs) == MANY
    assert sum(calls) > MANY  # some were written again
    assert store._redis.scard("schedcore.jobs:live") == MANY
    assert len(store.runs(limit=2 * MANY)) == MANY
    scheduler.shutdown()

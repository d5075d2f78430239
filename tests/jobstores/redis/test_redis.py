"""What is particular to jobs in Redis: who owns them, whose client it is, and a server that goes away."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import redis

from schedcore.clock import Now
from schedcore.errors import ConfigurationError, JobStoreError, JobStoreInUseError
from schedcore.events import EVENT_JOBSTORE_FAILED, EVENT_JOBSTORE_RECOVERED
from schedcore.job import JobState
from schedcore.jobstores.redis import RedisJobStore
from schedcore.run import RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog
from tests.services import Proxy, Redis

Make = Callable[..., RedisJobStore]

shared: Any = None


def work() -> None:
    """A job."""


def scheduler_on(store: RedisJobStore) -> BackgroundScheduler:
    return BackgroundScheduler(jobstores={"default": store}, timezone="UTC", jobstore_retry_interval=0.5)


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


def test_another_prefix_is_another_store(make: Make) -> None:
    one, other = scheduler_on(make()), scheduler_on(make(jobs_key="other.jobs", run_times_key="other.times"))
    one.start()
    other.start()
    one.add_job(work, "date", run_date="2099-01-01", id="a")
    assert other.get_jobs() == []
    one.shutdown()
    other.shutdown()


_CHILD = """
import sys, time
from schedcore.jobstores.redis import RedisJobStore
from schedcore.schedulers.background import BackgroundScheduler
db, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
scheduler = BackgroundScheduler(jobstores={"default": RedisJobStore(db, host=host, port=port)}, timezone="UTC")
scheduler.start()
scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a")
print("ready", flush=True)
time.sleep(60)
"""


def test_a_scheduler_that_was_killed_lets_go_at_once(redis_server: Redis) -> None:
    place = redis_server.fresh()
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, place.name, place.host, str(place.port)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        mine = scheduler_on(RedisJobStore(int(place.name), host=place.host, port=place.port))
        with pytest.raises(JobStoreInUseError):
            mine.start()
        child.kill()
        child.wait()
    mine.start()
    assert [job.id for job in mine.get_jobs()] == ["a"]
    mine.shutdown()


def test_who_lost_the_store_to_another_one_writes_no_more(make: Make) -> None:
    store = make()
    first = scheduler_on(store)
    first.start()
    first.add_job(work, "date", run_date="2099-01-01", id="a")
    # Its lease ran out while it was paused, and somebody else took it.
    other = json.dumps({"host": "elsewhere", "pid": 1, "since": "today", "token": "x"})
    store._redis.set(store._owner_key, other)
    with pytest.raises(JobStoreInUseError, match="process 1 on elsewhere"):
        first.remove_job("a")
    assert [job.id for job in first.get_jobs()] == ["a"]
    first.shutdown()
    assert store._redis.get(store._owner_key) == other.encode()
    store._redis.delete(store._owner_key)
    store._redis.close()


def test_a_lease_that_ran_out_and_was_not_taken_goes_on(make: Make) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    store._redis.delete(store._owner_key)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    assert store._redis.pttl(store._owner_key) > 0
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


def test_by_alias_and_as_text(redis_server: Redis) -> None:
    place = redis_server.fresh()
    options = {
        "schedcore.jobstores.default.type": "redis",
        "schedcore.jobstores.default.host": place.host,
        "schedcore.jobstores.default.port": str(place.port),
        "schedcore.jobstores.default.db": place.name,
    }
    scheduler = BackgroundScheduler(options, timezone="UTC")
    scheduler.start()
    scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
    scheduler.shutdown()


# --- what is there -----------------------------------------------------------------------------------------------------


def test_keys_of_somebody_elses_and_of_another_version(make: Make) -> None:
    store = make()
    store._redis.hset("schedcore.jobs", "x", b"\x80\x04")
    with pytest.raises(JobStoreError, match="was not written by schedcore"):
        scheduler_on(make()).start()
    store._redis.hset("schedcore.jobs:meta", "schema", "99")
    with pytest.raises(JobStoreError, match="schema version b'99', and this release reads 1"):
        scheduler_on(make()).start()
    store._redis.close()


@pytest.mark.parametrize(
    "value",
    [b"", b"x", b"\x80\x04K\x01.", b"5 {}", b"1 [" * 1000, b"1 {" + b'"a":' * 5, b"1 " + b"[" * 100_000, b"\xff\xfe"],
)
def test_a_document_that_nobody_of_us_wrote(make: Make, value: bytes) -> None:
    store = make()
    scheduler = scheduler_on(store)
    scheduler.start()
    scheduler.add_job(work, "interval", hours=1, id="bad")
    scheduler.add_job(work, "interval", seconds=0.05, id="good")
    log = EventLog(scheduler)
    store._redis.hset("schedcore.jobs", "bad", value)
    log.wait_for(lambda log: len(log.executed("good")) > 2)
    jobs = {job.id: job for job in scheduler.get_jobs()}
    assert jobs["good"].state is JobState.ACTIVE
    assert store._redis.hget("schedcore.jobs", "bad") == value
    scheduler.shutdown()


def test_histories_are_cut(make: Make) -> None:
    store = make(history=5, history_age=3600.0)
    scheduler = scheduler_on(store)
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, "interval", seconds=0.02, id="a")
    log.wait_for(lambda log: len(log.executed("a")) > 12)
    scheduler.pause_job("a")
    assert len(scheduler.get_runs("a")) == 5
    assert store._redis.hlen("schedcore.jobs:records") <= 6
    scheduler.shutdown()
    left = make()
    old = int((time.time() + 7200) * 1e6)
    with left._redis as client:
        left._delete_records(old, 1000)
        assert client.hlen("schedcore.jobs:records") == client.zcard("schedcore.jobs:history") == 0
        assert client.zcard("schedcore.jobs:history:a") == 0


# --- a server that goes away -------------------------------------------------------------------------------------------


class Load:
    """Jobs that count their runs, on a scheduler of its own."""

    def __init__(self, store: RedisJobStore) -> None:
        self.scheduler = scheduler_on(store)
        self.log = EventLog(self.scheduler)
        self.scheduler.start()
        for number in range(20):
            self.scheduler.add_job(work, "interval", seconds=0.1, id=f"job{number}", coalesce=False)

    def runs(self) -> int:
        return len(self.log.executed())

    def wait_for_more(self, count: int = 100) -> None:
        target = self.runs() + count
        self.log.wait_for(lambda log: len(log.executed()) >= target, timeout=60.0)

    def check(self) -> None:
        """Each fire time ran once, and none between the first and the last is without a record."""
        self.scheduler.pause()
        for number in range(20):
            job_id = f"job{number}"
            fired = self.log.executed(job_id)
            assert len(fired) == len(set(fired)), f"{job_id} ran twice for one fire time"
            steps = sorted(fired)
            missing = [
                after - before
                for before, after in pairwise(steps)
                if abs((after - before).total_seconds() - 0.1) > 0.001
            ]
            skipped = self.log.skips(job_id)
            assert not missing or skipped, f"{job_id} lost runs without a record: {missing}"
        self.scheduler.shutdown()


def test_the_server_stops_for_a_while(redis_server: Redis, make: Make) -> None:
    load = Load(make(socket_timeout=0.3))
    load.wait_for_more()
    redis_server.pause()
    load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_FAILED)))
    redis_server.resume()
    load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_RECOVERED)))
    load.wait_for_more()
    load.check()


def test_the_server_is_killed_and_comes_back(redis_server: Redis, make: Make) -> None:
    load = Load(make())
    load.wait_for_more()
    redis_server.kill()
    load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_FAILED)))
    assert not load.scheduler.health()["default"].ok
    redis_server.start()
    load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_RECOVERED)))
    load.wait_for_more()
    assert load.scheduler.health()["default"].ok
    load.check()


def test_connections_are_cut_and_refused(redis_server: Redis) -> None:
    place = redis_server.fresh()
    with Proxy(place.port) as proxy:
        load = Load(RedisJobStore(int(place.name), host=place.host, port=proxy.port))
        for _ in range(3):
            load.wait_for_more(50)
            proxy.cut()
        proxy.refuse()
        proxy.cut()
        load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_FAILED)))
        proxy.accept()
        load.wait_for_more(50)
        load.check()


def test_errors_are_ours(make: Make) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(JobStoreError, match="failed to open the store") as caught:
            scheduler_on(make(port=nobody.getsockname()[1])).start()
    assert caught.value.transient
    assert isinstance(caught.value.__cause__, redis.ConnectionError)


# --- two at once ---------------------------------------------------------------------------------------------------------


def test_a_decision_made_from_an_outdated_document_changes_nothing(make: Make) -> None:
    from schedcore.engine import decide

    store = make()
    scheduler = scheduler_on(store)
    scheduler.start(paused=True)
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
    (again,) = store.acquire(Now(now_us, now_us), 10)
    runs = store.commit([decide(again, now_us)], now_us).runs
    assert [run.job.name for run in runs] == ["other"]
    assert [record.state for record in store.runs("a")] == [RunState.SUBMITTED]
    scheduler.shutdown()

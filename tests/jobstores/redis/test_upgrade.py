"""Keys that an older release wrote, and a release that finds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from schedcore.errors import JobStoreError, JobStoreInUseError
from schedcore.jobstores import _redis_upgrade
from schedcore.jobstores._redis_scripts import MOVE
from schedcore.jobstores.redis import RedisJobStore
from schedcore.run import RunState
from tests.jobstores.load import scheduler_on, start_paused

Make = Callable[..., RedisJobStore]

DAY_US = 86_400_000_000
SOON_US = 4_070_908_800_000_000  # 2099-01-01
PAYLOAD = (
    '{"v":1,"d":{"v":1,"func":"builtins:print","policy":{},"args":[],"kwargs":{},"id":"a","name":"print",'
    '"trigger":{"type":"interval","state":{"version":3,"timezone":"UTC","interval_us":86400000000,"start_us":4070908800000000,'
    '"end_us":null,"jitter_us":0,"floating":false}}}}'
)
# Of each record its job, the uid of that, the fire time, the attempt, and what became of it.
RECORDS = [
    *(("a", "uid of a", SOON_US - number * DAY_US, 1, RunState.SUCCEEDED) for number in range(1, 8)),
    ("a", "former uid: of a", SOON_US - 8 * DAY_US, 1, RunState.FAILED),
    ("a", "uid of a", SOON_US - 9 * DAY_US, 0, RunState.SKIPPED),
    ("a:b", "uid of a:b", SOON_US - DAY_US, 2, RunState.LOST),
    ("ä", "uid of ä", -DAY_US, 1, RunState.SUCCEEDED),  # in 1969
]
FAILED = [record for record in RECORDS if record[4] in (RunState.FAILED, RunState.LOST)]
OURS = {"", ":payloads", ":meta", ":runs", ":runs:by_time", ":runs:by_job", ":runs:failed"}


@pytest.fixture
def client(arguments: dict[str, Any]) -> Any:
    """Of a database in which version 1 has left a job and run records."""
    client: Any = redis.Redis(**arguments)
    client.hset("schedcore.jobs:meta", "schema", "1")
    client.hset(
        "schedcore.jobs", "a", f'7 [1,"uid of a",1,"active",false,{SOON_US},{SOON_US},null,{SOON_US - 1},[],[]]'
    )
    client.hset("schedcore.jobs:payloads", "a", PAYLOAD)
    client.zadd("schedcore.run_times", {"a": SOON_US})
    for job_id, uid, fire_us, attempt, state in RECORDS:
        key = f"{uid}:{fire_us}:{attempt}"
        text = json.dumps([job_id, fire_us, attempt, state, *[None] * 4, 1, 2, *[None] * 5])
        client.hset("schedcore.jobs:records", key, text)
        for name in ("history", f"history:{job_id}", *(["failed"] if state in ("failed", "lost") else [])):
            client.zadd(f"schedcore.jobs:{name}", {key: fire_us})
    for number, odd in enumerate((b"\x80\x04", b"[]", b"x" * 2**21)):
        client.hset("schedcore.jobs:records", f"odd {number}", odd)
        client.zadd("schedcore.jobs:history", {f"odd {number}": number})
    yield client
    client.close()


def check(make: Make, client: Any) -> None:
    """All that was there is there, and of the new version."""
    store = make(history_age=None)
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    try:
        latest = sorted(RECORDS, key=lambda record: (record[2], record[0]), reverse=True)
        told = [(record[0], *record[2:]) for record in latest]
        assert [run[:4] for run in store.runs()] == told
        for job_id in ("a", "a:b", "ä"):
            assert [run[:4] for run in store.runs(job_id)] == [one for one in told if one[0] == job_id]
        assert [run[:4] for run in store.runs(failed=True)] == [(one[0], *one[2:]) for one in (FAILED[1], FAILED[0])]
        assert [run.fire_us for run in store.runs("a", failed=True)] == [SOON_US - 8 * DAY_US]
        for job_id, uid, fire_us, attempt, _ in RECORDS:
            assert store._recorded(job_id, [(uid, fire_us)], attempt) == {(uid, fire_us)}
        entry = store.get_entry("a")
        assert entry is not None
        assert entry.due_us == SOON_US
    finally:
        scheduler.shutdown()
    names = {name.decode() for name in client.keys("schedcore.jobs*")}
    assert names == {f"schedcore.jobs{name}" for name in OURS}
    assert client.hget("schedcore.jobs:meta", "schema") == b"2"


def test_from_version_1(make: Make, client: Any) -> None:
    check(make, client)
    check(make, client)


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("last", range(3))
def test_interrupted(make: Make, client: Any, monkeypatch: pytest.MonkeyPatch, last: int, answered: bool) -> None:
    """Whichever page is the last one, whether it is moved or not."""
    monkeypatch.setattr(_redis_upgrade, "CHUNK", 5)
    moved = 0

    def interrupted(self: Any, keys: Any, args: Any, **options: Any) -> Any:
        nonlocal moved
        if self.script is not MOVE:
            return call(self, keys, args, **options)
        moved += 1
        if moved > last and not answered:
            raise redis.ConnectionError("cut")
        answer = call(self, keys, args, **options)
        if moved > last:
            raise redis.ConnectionError("cut")
        return answer

    call = redis.commands.core.Script.__call__
    with monkeypatch.context() as patch:
        patch.setattr(redis.commands.core.Script, "__call__", interrupted)
        with pytest.raises(JobStoreError, match="cut"):
            scheduler_on(make(history_age=None)).start(paused=True)
    assert moved == last + 1
    # No older release opens it any more, and who only looks is told why it does not see all.
    assert client.hget("schedcore.jobs:meta", "schema") == b"2"
    if client.exists("schedcore.jobs:history"):
        with pytest.raises(JobStoreError, match=r"are of an older release .* changes them to schema version 2"):
            scheduler_on(make(read_only=True)).start(paused=True)
    else:
        assert (last, answered) == (2, True)
    check(make, client)


def test_a_lease_that_runs_out_meanwhile(make: Make, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who still has the store by then goes on; where somebody else has it, it is his to go on."""
    monkeypatch.setattr(_redis_upgrade, "CHUNK", 5)
    moved = 0

    def late(self: Any, keys: Any, args: Any, **options: Any) -> Any:
        nonlocal moved
        if self.script is MOVE:
            moved += 1
            if moved == 2:
                client.delete("schedcore.jobs:owner")
            elif moved == 4:
                client.set("schedcore.jobs:owner", '{"host": "elsewhere", "pid": 1}', ex=30)
        return call(self, keys, args, **options)

    call = redis.commands.core.Script.__call__
    with monkeypatch.context() as patch:
        patch.setattr(redis.commands.core.Script, "__call__", late)
        with pytest.raises(JobStoreInUseError, match=r"in use by another scheduler .*elsewhere"):
            scheduler_on(make(history_age=None)).start(paused=True)
    assert moved == 4
    client.delete("schedcore.jobs:owner")
    check(make, client)


def test_who_only_looks_changes_nothing(make: Make, client: Any) -> None:
    before = sorted(client.keys())
    with pytest.raises(JobStoreError, match=r"are of an older release .* changes them to schema version 2"):
        scheduler_on(make(read_only=True)).start(paused=True)
    assert sorted(client.keys()) == before
    check(make, client)

"""Collections that an older release wrote, and a release that finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymongo
import pytest
from bson import Int64

from schedcore.errors import JobStoreError
from schedcore.job import JobState
from schedcore.jobstores import _mongodb_upgrade
from schedcore.jobstores import mongodb as mongodb_store
from schedcore.jobstores.mongodb import MongoDBJobStore
from schedcore.run import RunState
from tests.jobstores.load import scheduler_on, start_paused
from tests.services import MongoDB

Client = pymongo.MongoClient[dict[str, Any]]
Row = dict[str, Any]

DAY_US = 86_400_000_000
SOON_US = 4_070_908_800_000_000  # 2099-01-01
PAYLOAD = (
    '{"v":1,"d":{"v":1,"func":"builtins:print","policy":{"recovery":"rerun"},"args":[],"kwargs":{},"id":"ID","name":"print",'
    '"trigger":{"type":"interval","state":{"version":3,"timezone":"UTC","interval_us":86400000000,"start_us":4070908800000000,'
    '"end_us":null,"jitter_us":0,"floating":false}}}}'
)


def written(job_id: str, **values: Any) -> Row:
    """A document as version 1 had it."""
    return {
        "_id": job_id, "rev": Int64(7), "w": ["a" * 16, "b" * 16], "v": 1, "uid": f"uid of {job_id}", "version": 1,
        "state": "active", "elapsed": False, "fire_us": Int64(SOON_US), "due_us": Int64(SOON_US), "reason": None,
        "last_us": Int64(0), "live": [], "past": [], "payload": PAYLOAD.replace("ID", job_id).encode(), **values,
    }  # fmt: skip


LIVE = [[Int64(SOON_US - DAY_US), 1, "submitted", Int64(5), None]]
ROWS = [
    *[written(f"job {number}", due_us=Int64(SOON_US + number), fire_us=Int64(SOON_US + number)) for number in range(7)],
    written("paused", state="paused", due_us=None),
    written(
        "gone", state="broken", reason="no such module", due_us=None, payload=PAYLOAD.replace("print", "x").encode()
    ),
    written("live", live=LIVE, alive=True, last_us=Int64(SOON_US - DAY_US)),
    written("damaged", fire_us="soon"),
    {
        **written("over", uid="", version=0, fire_us=None, due_us=None, alive=True),
        "past": [["uid of over", PAYLOAD.replace("ID", "over").encode().hex(), LIVE]],
        "payload": None,
    },
]
RECORD = {
    "_id": f"uid of live:{SOON_US - 2 * DAY_US}:1", "w": "a" * 16, "job": "live", "fire_us": Int64(SOON_US - 2 * DAY_US),
    "attempt": 1, "state": "succeeded", "times": 1, "finished_us": Int64(SOON_US - 2 * DAY_US),
}  # fmt: skip


@pytest.fixture
def store(mongodb: MongoDB, client: Client) -> MongoDBJobStore:
    """Over what version 1 has left."""
    store = MongoDBJobStore(mongodb.fresh().name, client=client)
    store._meta.insert_one({"_id": "schema", "version": 1})
    store._jobs.insert_many(ROWS)
    store._jobs.create_index([("due_us", 1), ("_id", 1)], name="page")
    store._history.insert_one(RECORD)
    return store


def check(store: MongoDBJobStore) -> None:
    """All that was there is there, and of the new version."""
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    try:
        states = {entry.job.id: entry.state for entry in store.list_entries()}
        active = dict.fromkeys([*(f"job {number}" for number in range(7)), "live"], JobState.ACTIVE)
        assert states == {**active, "paused": JobState.PAUSED, "gone": JobState.BROKEN, "damaged": JobState.BROKEN}
        entry = store.get_entry("job 3")
        assert entry is not None
        assert (entry.fire_us, entry.due_us) == (SOON_US + 3, SOON_US + 3)
        # What was begun was given back, and what was over is on record.
        assert {(run.job_id, run.fire_us, run.attempt) for run in store.runs() if run.state is RunState.SUBMITTED} == {
            ("live", SOON_US - DAY_US, 2),
            ("over", SOON_US - DAY_US, 2),
        }
        assert (SOON_US - 2 * DAY_US, RunState.SUCCEEDED) in [(run.fire_us, run.state) for run in store.runs("live")]
        rows = {row["_id"]: row for row in store._jobs.find({"_id": {"$ne": "damaged"}})}
        assert not any(row.keys() & _mongodb_upgrade._OLD_FIELDS.keys() for row in rows.values())
        assert rows["job 1"].keys() == {"_id", "rev", "w", "doc", "elapsed", "due_us", "state", "payload"}
        assert "page" not in store._jobs.index_information()
        assert store._meta.find_one("schema") == {"_id": "schema", "version": 2}
        # A write of the older release that comes late fits nothing any more.
        assert not store._jobs.update_many({"rev": 7, "_id": {"$ne": "damaged"}}, {"$set": {"v": 1}}).matched_count
    finally:
        scheduler.shutdown()


def test_from_version_1(store: MongoDBJobStore) -> None:
    check(store)
    before = list(store._jobs.find({"_id": {"$regex": "^job"}}).sort("_id", 1))
    check(store)
    assert list(store._jobs.find({"_id": {"$regex": "^job"}}).sort("_id", 1)) == before


COMMANDS = ("update_one", "find", "bulk_write", "index_information", "drop_index")


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("last", range(11))
def test_interrupted(store: MongoDBJobStore, monkeypatch: pytest.MonkeyPatch, last: int, answered: bool) -> None:
    """Whichever of its commands is the last one, whether it is made or not."""
    monkeypatch.setattr(_mongodb_upgrade, "CHUNK", 5)
    made = 0

    def interrupted(*args: Any) -> None:
        with monkeypatch.context() as patch:
            for name in COMMANDS:
                patch.setattr(pymongo.collection.Collection, name, cut(getattr(pymongo.collection.Collection, name)))
            _mongodb_upgrade.upgrade(*args)

    def cut(command: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made <= last or answered:
                result = command(*args, **options)
            if made > last:
                raise pymongo.errors.AutoReconnect("cut")
            return result

        return call

    with monkeypatch.context() as patch:
        patch.setattr(mongodb_store, "upgrade", interrupted)
        with pytest.raises(JobStoreError, match="cut"):
            scheduler_on(store).start()
    if last < 10 or not answered:
        reader = MongoDBJobStore(store._database, client=store._client, read_only=True)
        with pytest.raises(JobStoreError, match="a scheduler that opens it changes it to schema version 2"):
            reader.start(scheduler_on(store), "reader")
        reader.shutdown()
    check(store)


def test_without_its_version(store: MongoDBJobStore) -> None:
    """As when the collection of meta data was dropped."""
    store._meta.drop()
    check(store)

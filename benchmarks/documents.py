"""Redis and a server of MongoDB's protocol, where a job is one document: the same as ``stores`` measures on SQL servers.

What is run and added is said in ``_durable``. ``bare`` makes by the driver alone what no store can do without, a thousand jobs at
once: it asks what is due, moves the jobs on with a live run in each, runs them, takes these out again and writes the records,
with the indexes that the store has.

MongoDB's place is taken by the server of the tests (``tests/services/mongodb.py``), and each of its cases says so: it has no
index but by id, so that a question for what is due reads all jobs, and whatever is written alone takes it 300 to 450 µs of the
processor, however little it is. A run that is recorded is three documents (claimed, its record, ended), where APScheduler
writes one. So its figures tell of round trips and of the work on this side, which is ``cpu_us``, and not of what a MongoDB would
take.

*Added one by one* to it, a job is one insert in both libraries, and three quarters of its time, or more, are the driver's and the
server's: what is found there is between 0.9 and 2.2 times as fast, by turns.

*Added in bulk* to it, a job is one document of eight fields. Five hundred of them are one unordered insert, and two inserts are
under way at once, so that what is made up and sent while the server works costs no time. ``bare`` sends all in one insert, made
beforehand. What that takes depends on how warm the server's code is: of its processor a document took 120 µs after 9,000 of
them, 65 after 35,000 and 45 after 60,000, for which reason it is asked a while before anything is measured. The fields are not
what it takes: three in the place of eight took 26 µs. Nor are the four queries that ask before the insert whether the jobs are
there: 5 µs a job; one query for ids alone would save half of one. (Without them an insert that finds one of them has to be
undone, and who dies before that leaves jobs that were refused.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from benchmarks import _durable
from benchmarks._durable import BATCH, DEFINITION, HOUR_US, Began, Bulk, begin, place, run_bare
from benchmarks._plan import ALL_SUBJECTS, Figures

if TYPE_CHECKING:
    from tests.services import Place

__all__ = ["CASES", "REQUIREMENTS", "TARGETS"]

REQUIREMENTS = ("redis>=5.3", "pymongo>=4.9")


def _store(subject: str, name: str, where: Place) -> Any:
    module = import_module(f"{subject}.jobstores.{name}")
    address = {"host": where.host, "port": where.port}
    if name == "redis":
        return module.RedisJobStore(db=int(where.name), **address)
    return module.MongoDBJobStore(database=where.name, **address)


def _warm_up(where: Place) -> None:
    """Ask the server what is asked of it later, of documents of no library's, in a database of its own."""
    import pymongo

    until_s = monotonic() + _WARM_S
    with pymongo.MongoClient[Any](where.host, where.port) as client:
        name = f"{where.name}_warm"
        while monotonic() < until_s:
            rows = client[name].rows
            rows.insert_many([_warm_row(i) for i in range(_WARM_ROWS)], ordered=False)
            rows.bulk_write([pymongo.UpdateOne(*_warm_change(i)) for i in range(_WARM_ROWS // 4)], ordered=False)
            for i in range(_WARM_ROWS, _WARM_ROWS + _WARM_ROWS // 40):
                rows.insert_one(_warm_row(i))
                rows.update_one(*_warm_change(i))
            list(rows.find({"number": {"$lte": _WARM_ROWS}}).sort("number", 1).limit(_WARM_ROWS // 4))
            list(rows.find({"_id": {"$in": [f"none {i}" for i in range(_WARM_ROWS // 4)]}}))
            client.drop_database(name)


#: By which a server becomes about as fast as it will be.
_WARM_UPS = {"mongodb": _warm_up}


# Seconds, and documents in each round: most of them in batches, which make it warm soonest.
_WARM_S = 4.0
_WARM_ROWS = 2_000


def _warm_row(i: int) -> dict[str, Any]:
    return {"_id": str(i), "number": i, "text": "x" * 100, "bytes": b"x" * 300, "flag": True, "none": None}


def _warm_change(i: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"_id": str(i)}, {"$set": {"number": -i, "text": "y" * 100}, "$unset": {"flag": ""}}


def run(name: str, subject: str, n: int) -> Figures:
    """Run and record ``n`` due jobs."""
    with place(name, _WARM_UPS) as where:
        return _durable.run_due(subject, n, partial(_store, subject, name, where), partial(_BARE[name], where, n))


def add(name: str, bulk: bool, subject: str, n: int) -> Figures:
    """Add ``n`` jobs."""
    with place(name, _WARM_UPS) as where:
        if subject == "bare":
            return _durable.add_bare(_mongodb_bulk(where, n), n)
        return _durable.add(subject, _store(subject, name, where), n, bulk=bulk)


# --- the same work without a scheduler ----------------------------------------------------------------------------------


def _document(due_us: int, live: list[list[Any]]) -> dict[str, Any]:
    """Of as many fields as the store's."""
    return {
        "v": 1, "uid": "0" * 32, "version": 1, "state": "active", "elapsed": True, "fire_us": due_us, "due_us": due_us,
        "reason": None, "last_us": due_us, "live": live, "past": [],
    }  # fmt: skip


def _row(due_us: int, revision: int, live: list[list[Any]]) -> dict[str, Any]:
    """What MongoDB has of it, with what it is found by."""
    text = json.dumps(_document(due_us, live))
    return {"rev": revision, "doc": text, "elapsed": True, "due_us": due_us, "state": "active"}


def _record(job_id: str, fire_us: int, started_us: int, ended_us: int) -> list[Any]:
    """Of as many fields as the store's."""
    return [job_id, fire_us, 1, "succeeded", None, 1, None, started_us, started_us, ended_us, *[None] * 5]


def _redis(where: Place, n: int) -> Began:
    import redis

    client: Any = redis.Redis(where.host, where.port, int(where.name))
    now_us = int(time() * 1e6)
    pipeline = client.pipeline(transaction=True)
    for i in range(n):
        pipeline.hset("jobs", str(i), json.dumps(_document(now_us, [])))
        pipeline.hset("payloads", str(i), DEFINITION)
        pipeline.zadd("due", {str(i): now_us})
    pipeline.execute()
    began = begin()
    while found := client.zrangebyscore("due", "-inf", int(time() * 1e6), 0, BATCH, withscores=True):
        due = [(name.decode(), int(score)) for name, score in found]
        for text in client.hmget("jobs", [job_id for job_id, _ in due]):
            json.loads(text)
        client.hmget("payloads", [job_id for job_id, _ in due])
        moved_us = int(time() * 1e6)
        pipeline = client.pipeline(transaction=True)
        for job_id, fire_us in due:
            live = [[fire_us, 1, "submitted", moved_us, None]]
            pipeline.hset("jobs", job_id, json.dumps(_document(fire_us + HOUR_US, live)))
            pipeline.zadd("due", {job_id: fire_us + HOUR_US})
            pipeline.sadd("live", job_id)
        pipeline.execute()
        pipeline = client.pipeline(transaction=True)
        for (job_id, fire_us), (started_us, ended_us) in zip(due, run_bare([DEFINITION] * len(due)), strict=True):
            key = f"{job_id}\0{fire_us}:1"
            pipeline.hset("jobs", job_id, json.dumps(_document(fire_us + HOUR_US, [])))
            pipeline.srem("live", job_id)
            pipeline.hset("records", key, json.dumps(_record(job_id, fire_us, started_us, ended_us)))
            pipeline.zadd("history", {key: fire_us})
            pipeline.zadd("history by job", {key: 0})
        pipeline.execute()
    client.close()
    return began


def _mongodb(where: Place, n: int) -> Began:
    import pymongo

    client: Any = pymongo.MongoClient(where.host, where.port)
    jobs, history = client[where.name].jobs, client[where.name].history
    now_us = int(time() * 1e6)

    jobs.create_index([("elapsed", 1), ("due_us", 1), ("_id", 1)])
    jobs.insert_many([{"_id": str(i), "payload": DEFINITION, **_row(now_us, 1, [])} for i in range(n)])
    began = begin()
    while True:
        wanted = {"elapsed": True, "due_us": {"$lte": int(time() * 1e6)}}
        due = [(found["_id"], found["due_us"]) for found in jobs.find(wanted).sort("due_us", 1).limit(BATCH)]
        if not due:
            break
        moved_us = int(time() * 1e6)

        def moved(job_id: str, fire_us: int, revision: int, live: list[list[Any]]) -> Any:
            return pymongo.UpdateOne(
                {"_id": job_id, "rev": revision}, {"$set": _row(fire_us + HOUR_US, revision + 1, live)}
            )

        jobs.bulk_write(
            [moved(job_id, fire_us, 1, [[fire_us, 1, "submitted", moved_us, None]]) for job_id, fire_us in due],
            ordered=False,
        )
        records = [_record(*job, *times) for job, times in zip(due, run_bare([DEFINITION] * len(due)), strict=True)]
        history.insert_many(
            [
                {"_id": f"{record[0]}:{record[1]}:1", **{f"f{i}": value for i, value in enumerate(record)}}
                for record in records
            ],
            ordered=False,
        )
        jobs.bulk_write([moved(job_id, fire_us, 2, []) for job_id, fire_us in due], ordered=False)
    client.close()
    return began


def _mongodb_bulk(where: Place, n: int) -> Bulk:
    import pymongo

    client: Any = pymongo.MongoClient(where.host, where.port, w="majority", journal=True)
    jobs = client[where.name].jobs
    at_us = int(time() * 1e6)
    rows = [{"_id": str(i), **_row(at_us, 1, []), "w": "0" * 16, "payload": b"x" * 250} for i in range(n)]
    jobs.insert_one({**rows[0], "_id": "first"})
    return partial(jobs.insert_many, rows, ordered=False), client.close


_BARE: dict[str, Callable[[Place, int], Began]] = {"redis": _redis, "mongodb": _mongodb}

_MONGODB = "the tests' own server of MongoDB's protocol"

CASES = tuple(
    replace(case, subjects=ALL_SUBJECTS) if case.name == "mongodb bulk" else case
    for case in _durable.cases({"redis": "Redis", "mongodb": _MONGODB}, run, add)
)

TARGETS = (
    *_durable.targets("redis", "Redis", 6),
    *_durable.add_targets("mongodb", _MONGODB),
    _durable.bulk_target("mongodb", _MONGODB),
)

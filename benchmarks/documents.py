"""Redis and a server of MongoDB's protocol, where a job is one document: the same as ``stores`` measures on SQL servers.

*run*: 2,000 jobs are due at one instant. The clock runs from ``resume()`` until the last job has run, its outcome and next time
are stored, and the scheduler is shut down. schedcore writes a record of each run (APScheduler keeps none). ``bare`` makes by
the driver alone what no store can do without, a thousand jobs at once: it asks what is due, moves the jobs on with a live run in
each, runs them, takes these out again and writes the records, with the indexes that the store has.

*add*: 2,000 jobs are added to a scheduler that is open and paused, in bulk (``add_jobs``; APScheduler has but ``add_job``) and
one by one.

Redis appends what it confirms to a file which it writes to the disk each second, as its documentation advises. MongoDB's place is
taken by the server of the tests (``tests/services/mongodb.py``): it has no index but by id, so that the figures tell of
round trips and of the work on this side.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from time import perf_counter, process_time, time
from typing import Any

from benchmarks._meters import Tally, background_scheduler
from benchmarks._plan import LIBRARIES, Case, Figures, Target

__all__ = ["CASES", "REQUIREMENTS", "TARGETS"]

REQUIREMENTS = ("redis>=5.1", "pymongo>=4.9")

_BATCH = 1_000
_HOUR_US = 3_600_000_000
_tally = Tally(0)


def job() -> None:
    """What is run."""
    _tally.hit()


@contextmanager
def _server(name: str) -> Iterator[Any]:
    """The place of an empty database on a server of this measurement's own."""
    from tests.services import MongoDB, Redis, ServiceMissing

    class DurableRedis(Redis):
        def command(self) -> list[str]:
            words = super().command()
            words[words.index("--appendfsync") + 1] = "everysec"
            return words

    server: Any = {"redis": DurableRedis, "mongodb": MongoDB}[name]()
    try:
        server.start()
    except ServiceMissing as error:
        raise ImportError(str(error)) from error  # which is told as a measurement that cannot be made here
    try:
        yield server.fresh()
    finally:
        server.stop()


def _scheduler(subject: str, name: str, place: Any) -> Any:
    where = {"host": place.host, "port": place.port}
    if name == "redis":
        store = import_module(f"{subject}.jobstores.redis").RedisJobStore(db=int(place.name), **where)
    else:
        store = import_module(f"{subject}.jobstores.mongodb").MongoDBJobStore(database=place.name, **where)
    return background_scheduler(subject, jobstores={"default": store})


def _jobs(n: int, next_run_time: datetime) -> list[dict[str, Any]]:
    common = {"func": job, "trigger": "interval", "seconds": 3600, "misfire_grace_time": None}
    return [{**common, "id": str(i), "next_run_time": next_run_time} for i in range(n)]


def _add(subject: str, scheduler: Any, jobs: list[dict[str, Any]], *, bulk: bool = True) -> None:
    if bulk and subject == "schedcore":
        scheduler.add_jobs(jobs)
        return
    for arguments in jobs:
        scheduler.add_job(**arguments)


def run(name: str, subject: str, n: int) -> Figures:
    """Run and record ``n`` due jobs."""
    global _tally
    _tally = Tally(n)
    with _server(name) as place:
        if subject == "bare":
            return _figures(n, *_BARE[name](place, n))
        scheduler = _scheduler(subject, name, place)
        scheduler.start(paused=True)
        _add(subject, scheduler, _jobs(n, datetime.now(UTC)))
        gc.collect()
        cpu_s, start_s = process_time(), perf_counter()
        scheduler.resume()
        _tally.wait()
        scheduler.shutdown()
        return _figures(n, start_s, cpu_s)


def _figures(n: int, start_s: float, cpu_s: float) -> Figures:
    return {
        "run_us": (_tally.last_s - start_s) / n * 1e6,
        "recorded_us": (perf_counter() - start_s) / n * 1e6,
        "cpu_us": (process_time() - cpu_s) / n * 1e6,
    }


def add(name: str, bulk: bool, subject: str, n: int) -> Figures:
    """Add ``n`` jobs."""
    with _server(name) as place:
        scheduler = _scheduler(subject, name, place)
        scheduler.start(paused=True)
        jobs = _jobs(n, datetime.now(UTC) + timedelta(days=1))
        gc.collect()
        cpu_s, start_s = process_time(), perf_counter()
        _add(subject, scheduler, jobs, bulk=bulk)
        figures = {"add_us": (perf_counter() - start_s) / n * 1e6, "cpu_us": (process_time() - cpu_s) / n * 1e6}
        scheduler.shutdown()
        return figures


# --- the same work without a scheduler ----------------------------------------------------------------------------------


_DEFINITION = json.dumps({"func": f"{job.__module__}:{job.__qualname__}", "args": [], "seconds": 3600}).encode()


def _document(due_us: int, live: list[list[Any]]) -> dict[str, Any]:
    """Of as many fields as the store's."""
    return {
        "v": 1, "uid": "0" * 32, "version": 1, "state": "active", "elapsed": True, "fire_us": due_us, "due_us": due_us,
        "reason": None, "last_us": due_us, "live": live, "past": [],
    }  # fmt: skip


def _record(job_id: str, fire_us: int, started_us: int, ended_us: int) -> list[Any]:
    """Of as many fields as the store's."""
    return [job_id, fire_us, 1, "succeeded", None, 1, None, started_us, started_us, ended_us, *[None] * 5]


def _run_all(due: list[tuple[str, int]]) -> list[tuple[str, int, int, int]]:
    ended = []
    for job_id, fire_us in due:
        json.loads(_DEFINITION)
        started_us = int(time() * 1e6)
        job()
        ended.append((job_id, fire_us, started_us, int(time() * 1e6)))
    return ended


def _redis(place: Any, n: int) -> tuple[float, float]:
    import redis

    client: Any = redis.Redis(place.host, place.port, int(place.name))
    now_us = int(time() * 1e6)
    pipeline = client.pipeline(transaction=True)
    for i in range(n):
        pipeline.hset("jobs", str(i), json.dumps(_document(now_us, [])))
        pipeline.hset("payloads", str(i), _DEFINITION)
        pipeline.zadd("due", {str(i): now_us})
    pipeline.execute()
    gc.collect()
    cpu_s, start_s = process_time(), perf_counter()
    while found := client.zrangebyscore("due", "-inf", int(time() * 1e6), 0, _BATCH, withscores=True):
        due = [(name.decode(), int(score)) for name, score in found]
        for text in client.hmget("jobs", [job_id for job_id, _ in due]):
            json.loads(text)
        client.hmget("payloads", [job_id for job_id, _ in due])
        moved_us = int(time() * 1e6)
        pipeline = client.pipeline(transaction=True)
        for job_id, fire_us in due:
            live = [[fire_us, 1, "submitted", moved_us, None]]
            pipeline.hset("jobs", job_id, json.dumps(_document(fire_us + _HOUR_US, live)))
            pipeline.zadd("due", {job_id: fire_us + _HOUR_US})
            pipeline.sadd("live", job_id)
        pipeline.execute()
        pipeline = client.pipeline(transaction=True)
        for job_id, fire_us, started_us, ended_us in _run_all(due):
            key = f"{job_id}:{fire_us}:1"
            pipeline.hset("jobs", job_id, json.dumps(_document(fire_us + _HOUR_US, [])))
            pipeline.srem("live", job_id)
            pipeline.hset("records", key, json.dumps(_record(job_id, fire_us, started_us, ended_us)))
            pipeline.zadd("history", {key: fire_us})
            pipeline.zadd(f"history:{job_id}", {key: fire_us})
        pipeline.execute()
    client.close()
    return start_s, cpu_s


def _mongodb(place: Any, n: int) -> tuple[float, float]:
    import pymongo

    client: Any = pymongo.MongoClient(place.host, place.port)
    jobs, history = client[place.name].jobs, client[place.name].history
    now_us = int(time() * 1e6)
    jobs.create_index([("elapsed", 1), ("due_us", 1), ("_id", 1)])
    jobs.insert_many([{"_id": str(i), "rev": 1, "payload": _DEFINITION, **_document(now_us, [])} for i in range(n)])
    gc.collect()
    cpu_s, start_s = process_time(), perf_counter()
    while True:
        wanted = {"elapsed": True, "due_us": {"$lte": int(time() * 1e6)}}
        due = [(row["_id"], row["due_us"]) for row in jobs.find(wanted).sort("due_us", 1).limit(_BATCH)]
        if not due:
            break
        moved_us = int(time() * 1e6)

        def moved(job_id: str, fire_us: int, revision: int, live: list[list[Any]]) -> Any:
            document = {"rev": revision + 1, **_document(fire_us + _HOUR_US, live)}
            return pymongo.UpdateOne({"_id": job_id, "rev": revision}, {"$set": document})

        jobs.bulk_write(
            [moved(job_id, fire_us, 1, [[fire_us, 1, "submitted", moved_us, None]]) for job_id, fire_us in due],
            ordered=False,
        )
        ended = _run_all(due)
        history.insert_many(
            [
                {"_id": f"{run[0]}:{run[1]}:1", **{f"f{i}": value for i, value in enumerate(_record(*run))}}
                for run in ended
            ],
            ordered=False,
        )
        jobs.bulk_write([moved(job_id, fire_us, 2, []) for job_id, fire_us, _, _ in ended], ordered=False)
    client.close()
    return start_s, cpu_s


_BARE: dict[str, Callable[[Any, int], tuple[float, float]]] = {"redis": _redis, "mongodb": _mongodb}
_TEXTS = {"redis": "Redis", "mongodb": "a server of MongoDB's protocol"}

CASES = (
    *(Case(f"{name} run", f"due jobs in {text}, run and recorded", partial(run, name), (2_000,), (2_000,))
      for name, text in _TEXTS.items()),
    *(Case(f"{name} {way}", f"jobs added to {text}, {way}", partial(add, name, way == "bulk"), (2_000,), (2_000,), LIBRARIES)
      for name, text in _TEXTS.items() for way in ("bulk", "singly")),
)  # fmt: skip


def _targets() -> Iterator[Target]:
    for against, least in (("apscheduler", 6), ("bare", 0.4)):
        yield Target(
            "Redis, 2,000 due: run and recorded", "redis run", 2_000, "recorded_us", "faster", least, against, "cpu_us"
        )
    for way, limit in (("bulk", 12), ("singly", 1)):
        yield Target(
            f"Redis, 2,000 jobs added {way}", f"redis {way}", 2_000, "add_us", "faster", limit, "apscheduler", "cpu_us"
        )


TARGETS = tuple(_targets())

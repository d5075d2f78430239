"""What the measurements of durable stores have in common: the servers, the job, and what is measured of both libraries.

*run*: jobs are due at one instant. The clock runs from ``resume()`` until the last of them has run, its outcome and next time
are stored, and the scheduler is shut down. schedcore writes a record of each run (APScheduler keeps none).

*add*: jobs are added to a scheduler that is open and paused, in bulk (``add_jobs``; APScheduler has but ``add_job``) or one by
one. One is there already: what is paid once in a process, such as imports, does not count.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter, process_time, time
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks._meters import Tally, background_scheduler
from benchmarks._plan import LIBRARIES, Case, Figures, Target

if TYPE_CHECKING:
    from tests.services import Place

__all__ = [
    "BATCH",
    "DEFINITION",
    "HOUR_US",
    "Began",
    "Bulk",
    "RunTimes",
    "add",
    "add_bare",
    "add_cases",
    "add_targets",
    "begin",
    "bulk_target",
    "cases",
    "expect",
    "jobs",
    "place",
    "put",
    "run",
    "run_bare",
    "run_due",
    "run_targets",
    "targets",
]

BATCH = 1_000  #: what ``bare`` does at once
HOUR_US = 3_600_000_000

# Jobs in a durable store are found by name: the function of the module, and what it counts on.
_tally = Tally(0)


def job() -> None:
    """What is run."""
    _tally.hit()


#: What ``bare`` stores of the job.
DEFINITION = json.dumps({"func": f"{job.__module__}:{job.__qualname__}", "args": [], "seconds": 3600}).encode()


@contextmanager
def place(name: str, warm_ups: Mapping[str, Callable[[Place], None]] | None = None) -> Iterator[Place]:
    """An empty database on a server of this measurement's own. It writes to the disk what it confirms, as it does where it is
    installed, but Redis, which does so each second, as its documentation advises. Those in Java run as Java comes, with both
    compilers. ``warm_ups``: what is done with a server, by name, before anything is measured there.
    """
    from tests import services
    from tests.services.zookeeper import SHORT_LIFE

    # The tests' own settings would give commits away for nothing, and keep Java from becoming as fast as it can.
    class PostgreSQL(services.PostgreSQL):
        def command(self) -> list[str]:
            return [word for word in super().command() if not word.startswith(("--fsync", "--full_page_writes"))]

    class MariaDB(services.MariaDB):
        def _quick(self) -> list[str]:
            risky = ("--innodb-flush", "--innodb-doublewrite")
            return [word for word in super()._quick() if not word.startswith(risky)]

    class ZooKeeper(services.ZooKeeper):
        def command(self) -> list[str]:
            words = [word for word in super().command() if not word.startswith("-Dzookeeper.forceSync")]
            return [word for word in words if word not in SHORT_LIFE]

    class MongoDB(services.MongoDB):
        def command(self) -> list[str]:
            return [word for word in super().command() if word not in SHORT_LIFE]

    class Redis(services.Redis):
        def command(self) -> list[str]:
            words = super().command()
            words[words.index("--appendfsync") + 1] = "everysec"
            return words

    installed: dict[str, type[services.Service]] = {
        own.name: own for own in (PostgreSQL, MariaDB, ZooKeeper, MongoDB, Redis)
    }
    server = installed.get(name, services.SERVICES[name])()
    try:
        server.start()
    except services.ServiceMissing as error:
        raise ImportError(str(error)) from error  # which is told as a measurement that cannot be made here
    try:
        where = server.fresh()
        if warm_ups is not None and name in warm_ups:
            warm_ups[name](where)
        yield where
    finally:
        server.stop()


def jobs(n: int, next_run_time: datetime) -> list[dict[str, Any]]:
    """The arguments of so many jobs that run each hour, first at that time."""
    common = {"func": job, "trigger": "interval", "seconds": 3600, "misfire_grace_time": None}
    return [{**common, "id": str(i), "next_run_time": next_run_time} for i in range(n)]


def put(subject: str, scheduler: Any, wanted: list[dict[str, Any]], *, bulk: bool = True) -> None:
    """Add jobs to a scheduler of one of the two libraries."""
    if bulk and subject == "schedcore":
        scheduler.add_jobs(wanted)
        return
    for arguments in wanted:
        scheduler.add_job(**arguments)


def expect(n: int) -> Tally:
    """Count the runs of the job from now on, until there were so many."""
    global _tally
    _tally = Tally(n)
    return _tally


class Began(NamedTuple):
    """When a measurement began, by both clocks."""

    wall_s: float
    cpu_s: float


def begin() -> Began:
    """Begin to measure."""
    gc.collect()
    cpu_s = process_time()
    return Began(perf_counter(), cpu_s)


class RunTimes(NamedTuple):
    """What the runs of due jobs took, in all: until the last had run, until all was stored, and of the processor."""

    run_s: float
    recorded_s: float
    cpu_s: float


def run(
    subject: str, wanted: list[dict[str, Any]], due: int, store: Callable[[], Any], bare: Callable[[], Began]
) -> RunTimes:
    """Run and record the jobs that are due, so many of those wanted: from a store, or by what ``bare`` does."""
    tally = expect(due)
    if subject == "bare":
        began = bare()
    else:
        scheduler = background_scheduler(subject, jobstores={"default": store()})
        scheduler.start(paused=True)
        put(subject, scheduler, wanted)
        began = begin()
        scheduler.resume()
        tally.wait()
        scheduler.shutdown()
    return RunTimes(tally.last_s - began.wall_s, perf_counter() - began.wall_s, process_time() - began.cpu_s)


def run_due(subject: str, n: int, store: Callable[[], Any], bare: Callable[[], Began]) -> Figures:
    """Run and record so many jobs, all of them due; the figures of a *run*."""
    times = run(subject, jobs(n, datetime.now(UTC)), n, store, bare)
    return {f"{name.removesuffix('_s')}_us": value / n * 1e6 for name, value in times._asdict().items()}


def run_bare(definitions: Iterable[bytes | str]) -> list[tuple[int, int]]:
    """Run the job once for each definition, as ``bare`` does; when each run began and ended, in microseconds."""
    ended = []
    for definition in definitions:
        json.loads(definition)
        started_us = int(time() * 1e6)
        job()
        ended.append((started_us, int(time() * 1e6)))
    return ended


def add(subject: str, store: Any, n: int, *, bulk: bool) -> Figures:
    """Add so many jobs; the figures of an *add*."""
    scheduler = background_scheduler(subject, jobstores={"default": store})
    scheduler.start(paused=True)
    first, *wanted = jobs(n + 1, datetime.now(UTC) + timedelta(days=1))
    put(subject, scheduler, [first], bulk=bulk)
    began = begin()
    put(subject, scheduler, wanted, bulk=bulk)
    figures = {
        "add_us": (perf_counter() - began.wall_s) / n * 1e6,
        "cpu_us": (process_time() - began.cpu_s) / n * 1e6,
    }
    scheduler.shutdown()
    return figures


#: What sends all that adds jobs, and what closes its connection.
Bulk = tuple[Callable[[], object], Callable[[], object]]


def add_bare(bulk: Bulk, n: int) -> Figures:
    """Send what adds so many jobs; the figures of an *add*."""
    send, close = bulk
    began = begin()
    send()
    figures = {
        "add_us": (perf_counter() - began.wall_s) / n * 1e6,
        "cpu_us": (process_time() - began.cpu_s) / n * 1e6,
    }
    close()
    return figures


def cases(
    texts: Mapping[str, str],
    run_in: Callable[[str, str, int], Figures],
    add_to: Callable[[str, bool, str, int], Figures],
) -> Iterator[Case]:
    """The cases of servers, which are given by name with the text for each."""
    size = (2_000,)
    for name, text in texts.items():
        yield Case(f"{name} run", f"due jobs in {text}, run and recorded", partial(run_in, name), size, size)
    yield from add_cases(texts, add_to)


def add_cases(texts: Mapping[str, str], add_to: Callable[[str, bool, str, int], Figures]) -> Iterator[Case]:
    """Those of an *add*."""
    size = (2_000,)
    for name, text in texts.items():
        for way in ("bulk", "singly"):
            measure = partial(add_to, name, way == "bulk")
            yield Case(f"{name} {way}", f"jobs added to {text}, {way}", measure, size, size, LIBRARIES)


def run_targets(case: str, text: str, faster: float) -> Iterator[Target]:
    """How many times faster than APScheduler a *run* has to be; and the share of ``bare``, which is the same for all."""
    for against, limit in (("apscheduler", faster), ("bare", 0.4)):
        told = f"{text}, 2,000 due: run and recorded"
        yield Target(told, case, 2_000, "recorded_us", "faster", limit, against, "cpu_us")


def targets(name: str, text: str, faster: float) -> Iterator[Target]:
    """Those of a server: of a *run*, and of an *add*."""
    yield from run_targets(f"{name} run", text, faster)
    yield from add_targets(name, text)


def bulk_target(name: str, text: str) -> Target:
    """The share of ``bare`` in adding in bulk, where a server takes most of the time itself."""
    told = f"{text}, 2,000 jobs added bulk: beside what the server takes"
    return Target(told, f"{name} bulk", 2_000, "add_us", "faster", 0.4, "bare")


def add_targets(name: str, text: str) -> Iterator[Target]:
    """How many times faster than APScheduler an *add* has to be, which is the same for all."""
    for way, limit in (("bulk", 12), ("singly", 1)):
        told = f"{text}, 2,000 jobs added {way}"
        yield Target(told, f"{name} {way}", 2_000, "add_us", "faster", limit, "apscheduler", "cpu_us")

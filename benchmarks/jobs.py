"""Adding and removing jobs, and the memory that they take.

The jobs are hourly, so none of them is due meanwhile. They are removed in a random order, the same for every subject.
"""

from __future__ import annotations

import gc
import tracemalloc
from heapq import heappush
from random import Random
from time import time
from typing import Any

from benchmarks._meters import Watch, background_scheduler, resident_bytes
from benchmarks._plan import Case, Figures, Target

__all__ = ["CASES", "TARGETS"]


def _nothing() -> None:
    pass


class _BareJobs:
    """A dict of jobs and a heap of due times; a job that was removed is left in the heap."""

    def __init__(self) -> None:
        self.jobs: dict[str, list[Any]] = {}
        self.heap: list[tuple[float, int, list[Any]]] = []
        self._serial = 0

    def add(self, func: Any, trigger: str, seconds: int, id: str) -> None:
        self._serial = serial = self._serial + 1
        self.jobs[id] = job = [func, (), {}, seconds]
        heappush(self.heap, (time() + seconds, serial, job))

    def remove(self, id: str) -> None:
        self.jobs.pop(id).clear()


def _add_and_remove(subject: str, n: int, paused: bool) -> Figures:
    ids = [str(i) for i in range(n)]
    order = ids.copy()
    Random(n).shuffle(order)
    scheduler: Any = None
    if subject == "bare":
        bare = _BareJobs()
        add: Any = bare.add
        remove: Any = bare.remove
    else:
        scheduler = background_scheduler(subject)
        scheduler.start(paused=paused)
        add = scheduler.add_job
        remove = scheduler.remove_job
    gc.collect()
    with Watch() as adding:
        for id in ids:
            add(_nothing, "interval", seconds=3600, id=id)
    with Watch() as removing:
        for id in order:
            remove(id)
    if scheduler is not None:
        scheduler.shutdown()
    return {
        "add_us": adding.wall_s / n * 1e6,
        "add_cpu_us": adding.cpu_s / n * 1e6,
        "remove_us": removing.wall_s / n * 1e6,
        "remove_cpu_us": removing.cpu_s / n * 1e6,
    }


def running(subject: str, n: int) -> Figures:
    """Add to and remove from a scheduler that runs, whose own thread has to learn of what concerns it."""
    return _add_and_remove(subject, n, False)


def paused(subject: str, n: int) -> Figures:
    """The same while it is paused: the cost of the calls alone."""
    return _add_and_remove(subject, n, True)


def memory(subject: str, n: int) -> Figures:
    """Resident memory per job, in a process that has nothing else to keep."""
    return {"resident_bytes": _memory(subject, n, resident_bytes)}


def traced(subject: str, n: int) -> Figures:
    """What the allocator was asked for, per job, whether or not the pages that it is in are new."""
    tracemalloc.start()
    return {"allocated_bytes": _memory(subject, n, lambda: tracemalloc.get_traced_memory()[0])}


def _memory(subject: str, n: int, used: Any) -> float:
    scheduler: Any = None
    if subject == "bare":
        add: Any = _BareJobs().add
    else:
        scheduler = background_scheduler(subject)
        scheduler.start(paused=True)
        add = scheduler.add_job
    # What is made once, and not for each job.
    add(_nothing, "interval", seconds=3600, id="first")
    gc.collect()
    before = used()
    for i in range(n):
        add(_nothing, "interval", seconds=3600, id=str(i))
    gc.collect()
    taken: float = used() - before
    if scheduler is not None:
        scheduler.shutdown()
    return taken / n


CASES = (
    Case("running", "add, remove", running, (1_000, 10_000, 100_000), (100_000,)),
    Case("paused", "add, remove while paused", paused, (100_000,), (100_000,)),
    Case("memory", "resident memory per job", memory, (100_000,), (100_000,)),
    Case("traced", "allocated memory per job", traced, (10_000,), (10_000,)),
)

TARGETS = (
    Target("add 100,000 jobs", "running", 100_000, "add_us", "faster", 6, "apscheduler", "add_cpu_us"),
    Target(
        "remove 100,000 jobs in random order",
        "running",
        100_000,
        "remove_us",
        "faster",
        4,
        "apscheduler",
        "remove_cpu_us",
    ),
    Target("resident bytes per job", "memory", 100_000, "resident_bytes", "share", 0.8, "apscheduler"),
)

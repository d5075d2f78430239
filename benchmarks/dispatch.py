"""A burst: many jobs are due at one instant.

They are added to a paused scheduler, each due now and then hourly, with no limit on how late they may run, and the clock starts
with ``resume()``. A job counts itself and does nothing else. ``run_us`` is the time per run until the last one is over;
``settled_us`` includes shutting down and waiting for it, so that nothing can be put off until after the count; ``first_ms``
is the time until the first job has begun; ``blocked_ms`` is the longest time for which the event loop served nobody else.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from heapq import heapreplace
from threading import Event
from time import perf_counter, process_time, time
from typing import Any

from benchmarks._meters import Tally, asyncio_scheduler, background_scheduler, stop_async
from benchmarks._plan import Case, Figures, Target

__all__ = ["CASES", "TARGETS", "Burst", "Heap", "add_due"]

# The default number of threads in either library.
_WORKERS = 10


def add_due(scheduler: Any, func: Callable[[], object], n: int) -> None:
    """Add ``n`` jobs that are due now."""
    now = datetime.now(UTC)
    for i in range(n):
        scheduler.add_job(func, "interval", seconds=3600, id=str(i), next_run_time=now, misfire_grace_time=None)


class Heap:
    """Due times and functions, and nothing else."""

    def __init__(self, func: Callable[[], object], n: int) -> None:
        now = time()
        self._items = [(now, i, func) for i in range(n)]

    def take_due(self, start: Callable[[Callable[[], Any]], object]) -> None:
        """Call ``start`` with the function of each that is due, which then is due an hour later."""
        items = self._items
        now = time()
        while items[0][0] <= now:
            due, i, func = items[0]
            heapreplace(items, (due + 3600, i, func))
            start(func)


class Burst:
    """The clocks around a burst of ``n`` runs."""

    def __init__(self, n: int) -> None:
        self._n = n
        gc.collect()
        self._cpu_s = process_time()
        self._start_s = perf_counter()

    def figures(self, tally: Tally) -> dict[str, float]:
        """To be called when all is shut down."""
        each_us = 1e6 / self._n
        return {
            "run_us": (tally.last_s - self._start_s) * each_us,
            "settled_us": (perf_counter() - self._start_s) * each_us,
            "cpu_us": (process_time() - self._cpu_s) * each_us,
            "first_ms": (tally.first_s - self._start_s) * 1e3,
        }


def threads(subject: str, n: int) -> Figures:
    """The burst in a pool of ten threads."""
    tally = Tally(n)
    if subject == "bare":
        heap = Heap(tally.hit, n)
        with ThreadPoolExecutor(_WORKERS) as pool:
            pool.submit(int).result()
            burst = Burst(n)
            heap.take_due(pool.submit)
            tally.wait()
        return burst.figures(tally)
    scheduler = background_scheduler(subject)
    scheduler.start()
    warm = Event()
    scheduler.add_job(warm.set)
    warm.wait()
    scheduler.pause()
    add_due(scheduler, tally.hit, n)
    burst = Burst(n)
    scheduler.resume()
    tally.wait()
    scheduler.shutdown()
    return burst.figures(tally)


def coroutines(subject: str, n: int) -> Figures:
    """The burst of coroutine jobs on an event loop."""
    return asyncio.run(_coroutines(subject, n))


async def _coroutines(subject: str, n: int) -> Figures:
    tally = Tally(n)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    async def job() -> None:
        tally.hit()
        if tally.last_s:
            over.set()

    async def watch() -> float:
        longest_s = 0.0
        last_s = perf_counter()
        while not over.is_set():
            await asyncio.sleep(0.001)
            now_s = perf_counter()
            longest_s = max(longest_s, now_s - last_s)
            last_s = now_s
        return longest_s

    if subject == "bare":
        heap = Heap(job, n)
        live: set[asyncio.Task[None]] = set()

        def start(func: Callable[[], Coroutine[Any, Any, None]]) -> None:
            task = loop.create_task(func())
            live.add(task)
            task.add_done_callback(live.discard)

        watching = loop.create_task(watch())
        await asyncio.sleep(0)
        burst = Burst(n)
        heap.take_due(start)
        await asyncio.wait_for(over.wait(), 100)
        figures = burst.figures(tally)
    else:
        scheduler = asyncio_scheduler(subject)
        scheduler.start()
        warm = asyncio.Event()

        async def warm_up() -> None:
            warm.set()

        scheduler.add_job(warm_up)
        await warm.wait()
        await asyncio.sleep(0.01)
        scheduler.pause()
        add_due(scheduler, job, n)
        watching = loop.create_task(watch())
        await asyncio.sleep(0)
        burst = Burst(n)
        scheduler.resume()
        await asyncio.wait_for(over.wait(), 100)
        await stop_async(scheduler)
        figures = burst.figures(tally)
    return {**figures, "blocked_ms": await watching * 1e3}


_SIZES = (1_000, 10_000, 50_000)

CASES = (
    Case("threads", "burst, thread pool", threads, _SIZES, (10_000,)),
    Case("asyncio", "burst, asyncio", coroutines, _SIZES, (10_000, 50_000)),
)

TARGETS = (
    Target("dispatch 10,000, asyncio", "asyncio", 10_000, "run_us", "faster", 4, "apscheduler", "cpu_us"),
    Target("dispatch 10,000, asyncio", "asyncio", 10_000, "run_us", "faster", 0.7, "bare", "cpu_us"),
    Target("dispatch 10,000, threads", "threads", 10_000, "run_us", "faster", 5, "apscheduler", "cpu_us"),
    Target("dispatch 10,000, threads", "threads", 10_000, "run_us", "faster", 1, "bare", "cpu_us"),
    Target("dispatch 50,000, asyncio: first run after", "asyncio", 50_000, "first_ms", "value", 50),
)

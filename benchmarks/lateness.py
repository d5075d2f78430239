"""Lateness: twenty jobs a second on an otherwise idle scheduler. How long after its time does each begin?

The jobs run once a second each, 50 ms apart; the first second, in which threads are started, does not count. ``bare`` does
the same work: it waits for the time and hands the job to a pool or makes a task of it; ``bare-timer`` calls the job in the
waiting thread, and so shows how good the system's own timer is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import process_time, sleep, time
from typing import Any

from benchmarks._meters import asyncio_scheduler, background_scheduler, percentile, stop_async
from benchmarks._plan import Case, Figures, Target

__all__ = ["CASES", "JOBS", "TARGETS", "Record"]

JOBS = 20
_SETUP_S = 0.5


class Record:
    """Notes how late each run was. ``seconds``: how long to measure."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self.start = datetime.now(UTC) + timedelta(seconds=_SETUP_S)
        self._start_s = self.start.timestamp()
        self._counts = [0] * JOBS
        self._late_s: list[float] = []
        self._warm_cpu_s = 0.0

    def due_s(self, serial: int) -> float:
        """When the run with this number, over all jobs, is due."""
        return self._start_s + serial / JOBS

    def job(self, i: int) -> None:
        """Note a run of the job with this number."""
        now_s = time()
        k = self._counts[i]
        self._counts[i] = k + 1
        if k:
            self._late_s.append(now_s - self._start_s - i / JOBS - k)
        elif i == JOBS - 1:
            self._warm_cpu_s = process_time()

    async def coroutine_job(self, i: int) -> None:
        self.job(i)

    def left_s(self) -> float:
        """Seconds until all was measured."""
        # Half a gap more, for the last run.
        return self._start_s + 1 + self._seconds - 0.5 / JOBS - time()

    def figures(self) -> Figures:
        """To be called before anything is shut down."""
        cpu_s = process_time() - self._warm_cpu_s
        late_s = self._late_s.copy()
        return {
            "p50_ms": percentile(late_s, 0.5) * 1e3,
            "p99_ms": percentile(late_s, 0.99) * 1e3,
            "cpu_us": cpu_s / max(1, len(late_s)) * 1e6,
        }

    def add_jobs(self, scheduler: Any, func: Callable[[int], object]) -> None:
        """Add the twenty jobs; ``func`` is ``job``, or calls it."""
        for i in range(JOBS):
            first = self.start + timedelta(seconds=i / JOBS)
            scheduler.add_job(func, "interval", (i,), seconds=1, id=str(i), start_date=first)


def threads(subject: str, seconds: int) -> Figures:
    """Jobs in a thread pool."""
    record = Record(seconds)
    if subject.startswith("bare"):
        stop = Event()
        pool = ThreadPoolExecutor(10)
        start: Callable[..., object] = _call if subject == "bare-timer" else pool.submit

        def loop() -> None:
            serial = 0
            while not stop.is_set():
                left_s = record.due_s(serial) - time()
                if left_s > 0:
                    stop.wait(left_s)
                else:
                    start(record.job, serial % JOBS)
                    serial += 1

        thread = Thread(target=loop)
        thread.start()
        sleep(record.left_s())
        figures = record.figures()
        stop.set()
        thread.join()
        pool.shutdown()
        return figures
    scheduler = background_scheduler(subject)
    scheduler.start()
    record.add_jobs(scheduler, record.job)
    sleep(record.left_s())
    figures = record.figures()
    scheduler.shutdown()
    return figures


def _call(func: Callable[[int], object], i: int) -> None:
    func(i)


def coroutines(subject: str, seconds: int) -> Figures:
    """Coroutine jobs on an event loop."""
    return asyncio.run(_coroutines(subject, seconds))


async def _coroutines(subject: str, seconds: int) -> Figures:
    record = Record(seconds)
    if subject == "bare":
        loop = asyncio.get_running_loop()
        live: set[asyncio.Task[None]] = set()

        timers: list[asyncio.TimerHandle] = []

        def fire(serial: int) -> None:
            left_s = record.due_s(serial) - time()
            if left_s <= 0:
                task = loop.create_task(record.coroutine_job(serial % JOBS))
                live.add(task)
                task.add_done_callback(live.discard)
                serial += 1
                left_s = record.due_s(serial) - time()
            timers[:] = [loop.call_at(loop.time() + left_s, fire, serial)]

        fire(0)
        await asyncio.sleep(record.left_s())
        figures = record.figures()
        timers[0].cancel()
    else:
        scheduler = asyncio_scheduler(subject)
        scheduler.start()
        record.add_jobs(scheduler, record.coroutine_job)
        await asyncio.sleep(record.left_s())
        figures = record.figures()
        await stop_async(scheduler)
    return figures


CASES = (
    Case(
        "threads",
        "lateness, thread pool",
        threads,
        (10,),
        (5,),
        subjects=("schedcore", "apscheduler", "bare", "bare-timer"),
    ),
    Case("asyncio", "lateness, asyncio", coroutines, (10,), (5,)),
)

TARGETS = tuple(
    Target(f"lateness {part}, {case}", case, 10, f"{part}_ms", "share", limit, against, quick_size=5)
    for case in ("threads", "asyncio")
    for part in ("p50", "p99")
    for against, limit in (("apscheduler", 1.0), ("bare", 1.3))
)

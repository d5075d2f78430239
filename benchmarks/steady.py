"""Steady load: 20,000 jobs that run once a second each, spread evenly over the second, in a pool of ten threads.

``late_share`` is the part of the runs that had not begun 50 ms after their time, those that never ran included. ``cpu_us`` is
the CPU time of the process per run made, over the whole of the time measured: a subject that cannot follow makes fewer
runs, and would otherwise look cheap.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from heapq import heapreplace
from threading import Event, Thread
from time import process_time, sleep, time
from typing import Any

from benchmarks._meters import background_scheduler, percentile
from benchmarks._plan import Case, Figures, Target

__all__ = ["CASES", "TARGETS"]

_SECONDS = 5
_LATE_S = 0.05
# Seconds for adding the jobs, before the first is due.
_SETUP_S = 3.0
_GAP_S = 0.001
_WORKERS = 10


class _Record:
    """Notes how late each run of ``n`` jobs was, for ``_SECONDS``."""

    def __init__(self, n: int) -> None:
        self._n = n
        self.start = datetime.now(UTC) + timedelta(seconds=_SETUP_S)
        self._start_s = self.start.timestamp()
        self.firsts_s = [self._start_s + i / n for i in range(n)]
        self._counts = [0] * n
        self._late_s = array("d")

    def job(self, i: int) -> None:
        now_s = time()
        k = self._counts[i]
        self._counts[i] = k + 1
        if k < _SECONDS:
            self._late_s.append(now_s - self.firsts_s[i] - k)

    def measure(self) -> Figures:
        """Wait for the first due time, and on to the end."""
        gc.collect()
        ahead_s = self._start_s - time()
        if ahead_s < 0:
            raise RuntimeError(f"adding {self._n} jobs took more than {_SETUP_S:.0f} s")
        sleep(ahead_s)
        before_s = process_time()
        sleep(self._start_s + _SECONDS - time())
        cpu_s = process_time() - before_s
        ran = len(self._late_s)
        sleep(2 * _LATE_S)
        late_s = self._late_s.tolist()
        in_time = sum(1 for each in late_s if each < _LATE_S)
        return {
            "late_share": 1 - in_time / (self._n * _SECONDS),
            "p50_ms": percentile(late_s, 0.5) * 1e3,
            "p99_ms": percentile(late_s, 0.99) * 1e3,
            "cpu_us": cpu_s / ran * 1e6 if ran else float("inf"),
            "cpu_s": cpu_s,
        }


def _bare_loop(record: _Record, start: Callable[..., object], gap_s: float, stop: Event) -> None:
    heap = [(first_s, i) for i, first_s in enumerate(record.firsts_s)]
    job = record.job
    while not stop.is_set():
        now = time()
        while heap[0][0] <= now:
            due_s, i = heap[0]
            heapreplace(heap, (due_s + 1, i))
            start(job, i)
        sleep(max(gap_s, heap[0][0] - time()))


def steady(subject: str, n: int) -> Figures:
    """``bare`` wakes for whatever is due next; ``bare-batched``, the cheaper one, once in a millisecond at most."""
    record = _Record(n)
    if subject.startswith("bare"):
        stop = Event()
        gap_s = _GAP_S if subject == "bare-batched" else 0.0
        with ThreadPoolExecutor(_WORKERS) as pool:
            thread = Thread(target=_bare_loop, args=(record, pool.submit, gap_s, stop))
            thread.start()
            try:
                return record.measure()
            finally:
                stop.set()
                thread.join()
    scheduler: Any = background_scheduler(subject)
    scheduler.start(paused=True)
    for i in range(n):
        scheduler.add_job(
            record.job,
            "interval",
            (i,),
            seconds=1,
            id=str(i),
            start_date=record.start + timedelta(seconds=i / n),
            misfire_grace_time=None,
            coalesce=False,
            max_instances=1_000,
        )
    scheduler.resume()
    try:
        return record.measure()
    finally:
        scheduler.shutdown(wait=False)


CASES = (
    Case(
        "steady",
        "20,000 jobs a second",
        steady,
        (20_000,),
        (20_000,),
        subjects=("schedcore", "apscheduler", "bare", "bare-batched"),
    ),
)

TARGETS = (
    Target("steady 20,000 jobs/s: share of late runs", "steady", 20_000, "late_share", "value", 0),
    Target("steady 20,000 jobs/s: CPU", "steady", 20_000, "cpu_us", "share", 0.35, "apscheduler"),
    Target("steady 20,000 jobs/s: CPU", "steady", 20_000, "cpu_us", "share", 1.3, "bare"),
)

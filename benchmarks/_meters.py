"""What measurements are made of: clocks, memory, percentiles, and the two libraries behind one set of calls."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import isawaitable
from itertools import count
from threading import Event
from time import perf_counter, process_time
from typing import Any

__all__ = ["Tally", "Watch", "asyncio_scheduler", "background_scheduler", "percentile", "resident_bytes", "stop_async"]


class Watch:
    """Wall and CPU seconds between two points: ``with Watch() as watch: …``."""

    wall_s = 0.0
    cpu_s = 0.0

    def __enter__(self) -> Watch:
        self._cpu_s = process_time()
        self._wall_s = perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall_s = perf_counter() - self._wall_s
        self.cpu_s = process_time() - self._cpu_s


class Tally:
    """Counts the runs of ``n`` jobs, from any thread, and notes when the first began and the last was over."""

    def __init__(self, n: int) -> None:
        self.first_s = 0.0
        self.last_s = 0.0
        self.over = Event()
        self._n = n
        self._next = count(1).__next__

    def hit(self) -> None:
        """Count one run."""
        i = self._next()
        if i == 1:
            self.first_s = perf_counter()
        if i == self._n:
            self.last_s = perf_counter()
            self.over.set()

    def wait(self, timeout_s: float = 100.0) -> None:
        """Wait for the last run. Raises ``TimeoutError``."""
        if not self.over.wait(timeout_s):
            raise TimeoutError(f"{self._next() - 1} of {self._n} jobs ran within {timeout_s:.0f} s")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the values lie, by the nearest rank; NaN without values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def resident_bytes() -> int:
    """The memory of this process that is resident now; where the system does not tell, the most that ever was."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def background_scheduler(library: str, **options: Any) -> Any:
    """A ``BackgroundScheduler`` of one of the two libraries. They have the same calls, so what follows is the same code."""
    return import_module(f"{library}.schedulers.background").BackgroundScheduler(**options)


def asyncio_scheduler(library: str, **options: Any) -> Any:
    """An ``AsyncIOScheduler`` likewise."""
    name = "schedcore.adapters.asyncio" if library == "schedcore" else f"{library}.schedulers.asyncio"
    return import_module(name).AsyncIOScheduler(**options)


async def stop_async(scheduler: Any) -> None:
    """Shut down a scheduler that lives on the running loop, and wait where it offers that."""
    stopped = scheduler.shutdown()
    if isawaitable(stopped):
        await stopped

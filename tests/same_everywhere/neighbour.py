"""Somebody else on the loop, whom a scheduler must not keep waiting: a ticker, and what is gone through beside it.

``test_never_in_the_way`` judges what is found here, and ``python -m benchmarks frameworks`` prints it.
"""

from __future__ import annotations

import functools
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, NamedTuple

from schedcore.events import EVENT_JOB_EXECUTED
from schedcore.testing import EventLog
from schedcore.testing.runtime import SchedulerTraits, Steps
from tests.adapters.slow_store import SlowStore
from tests.same_everywhere.denied import Denied

__all__ = ["KINDS", "Gap", "RuntimeMaker", "gaps_in_a_burst", "slip_beside_a_slow_store", "slowness"]

# Seconds.
TICK_S = 0.01
PATIENCE_S = 60.0

#: The jobs of a burst.
KINDS = ("quick functions", "functions that compute", "the framework's own kind")

#: Gives the context manager around a runtime (``schedcore.testing.runtime``) that has ``call_later`` besides.
RuntimeMaker = Callable[[], AbstractContextManager[Any]]


class Gap(NamedTuple):
    """From one tick to the next (s), for how much of that this process had a processor, and for how much of it the loop's thread
    was denied one.
    """

    began_s: float
    ended_s: float
    busy_s: float
    denied_s: float

    @property
    def length_s(self) -> float:
        return self.ended_s - self.began_s

    @property
    def ours_s(self) -> float:
        """For how much of it (s) this process kept its loop: in the loop's thread, or in one that had the interpreter."""
        return max(0.0, min(self.length_s - self.denied_s, self.busy_s))


class Ticker:
    """Ticks on a framework's loop, by its own timer."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.gaps: list[Gap] = []
        self._stops = False
        self._stopped = threading.Event()
        runtime.call(self._begin)

    def _begin(self) -> None:
        self._denied = Denied()
        self._wait()

    def _wait(self) -> None:
        self._last_s, self._last_busy_s = time.monotonic(), time.process_time()
        self._runtime.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        now_s, busy_s = time.monotonic(), time.process_time()
        # To ask is a call into the system, for which others get the interpreter. It is in no gap.
        self.gaps.append(Gap(self._last_s, now_s, busy_s - self._last_busy_s, self._denied.lap_s()))
        if self._stops:
            self._denied.close()
            self._stopped.set()
        else:
            self._wait()

    def stop(self) -> list[Gap]:
        """All gaps; the one that is not over is waited for."""
        self._stops = True
        assert self._stopped.wait(PATIENCE_S), "the loop does not answer"
        return self.gaps


# --- a store that is slow --------------------------------------------------------------------------------------------


def slip_beside_a_slow_store(
    runtime_of: RuntimeMaker, traits: SchedulerTraits, bare_runtime_of: RuntimeMaker, store_s: float
) -> float:
    """By how much (s) a ticker's longest gap, beside a scheduler whose store takes ``store_s`` for each call, is longer than that
    of a ticker by itself, which runs meanwhile on the other runtime: what keeps that waiting keeps any other.
    """
    with runtime_of() as runtime, bare_runtime_of() as bare_runtime, _other_work():
        store = SlowStore(store_s)
        scheduler = runtime.call(lambda: runtime.make(jobstores={"default": store}))
        bare = Ticker(bare_runtime)
        ticker = Ticker(runtime)
        try:
            _use(runtime, traits, scheduler, store)
        finally:
            runtime.shutdown(scheduler, timeout=5)
            gaps = ticker.stop()
            bare_gaps = bare.stop()
    # It ticked all along.
    assert len(gaps) > 2 * store_s / TICK_S
    return max(gap.length_s for gap in gaps) - max(gap.length_s for gap in bare_gaps)


@contextmanager
def _other_work() -> Iterator[None]:
    """A thread of the same program that is busy now and then."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.003):
            sum(range(20_000))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _jobs_of(runtime: Any, traits: SchedulerTraits) -> Iterator[tuple[Callable[[], object], dict[str, Any]]]:
    """A job of each kind that the framework knows, and its options."""
    yield int, {}
    for kind in traits.native:
        yield _native_job(runtime, kind, int)


def _native_job(runtime: Any, kind: str, end: Callable[[], object]) -> tuple[Callable[[], object], dict[str, Any]]:
    gate = threading.Event()
    gate.set()
    return runtime.native_jobs[kind](Steps(gate, end)), dict(runtime.native_options.get(kind, {}))


def _use(runtime: Any, traits: SchedulerTraits, scheduler: Any, store: SlowStore) -> None:
    """Use a scheduler in every way, as programs do: by calls on the loop."""
    log = EventLog(scheduler, EVENT_JOB_EXECUTED)
    runtime.start(scheduler)
    ids = []
    for number, (func, options) in enumerate([*_jobs_of(runtime, traits)] * 2):
        ids.append(str(number))
        runtime.call(functools.partial(scheduler.add_job, func, "interval", seconds=0.2, id=str(number), **options))
    log.wait_for(lambda log: all(log.executed(job_id) for job_id in ids), PATIENCE_S)
    runtime.call(lambda: scheduler.pause_job(ids[0]))
    runtime.call(lambda: scheduler.resume_job(ids[0]))
    runtime.call(lambda: scheduler.reschedule_job(ids[0], trigger="interval", seconds=0.3))
    runtime.call(lambda: scheduler.modify_job(ids[0], name="another"))
    runtime.call(lambda: scheduler.remove_job(ids[1]))
    jobs = runtime.result(lambda: scheduler.call(scheduler.get_jobs))
    assert {job.id for job in jobs} == {*ids} - {ids[1]}
    assert runtime.shutdown(scheduler) == []
    on_loop = runtime.call(threading.get_ident)
    assert store.calls_in(on_loop) == []


# --- a burst ---------------------------------------------------------------------------------------------------------


def gaps_in_a_burst(runtime_of: RuntimeMaker, traits: SchedulerTraits, kind: str, n: int) -> list[Gap]:
    """A ticker's gaps while ``n`` jobs of a kind run, all of which were due at once."""
    over = threading.Event()
    numbers = count(1)

    def done() -> None:
        if next(numbers) == n:
            over.set()

    with _without_garbage(), runtime_of() as runtime:
        scheduler = runtime.call(runtime.make)
        job, options = _job_of(kind, runtime, traits, done)
        runtime.start(scheduler, paused=True)
        try:
            now = datetime.now(UTC)
            due = {"func": job, "trigger": "interval", "hours": 1, "next_run_time": now, **options}
            runtime.call(lambda: scheduler.add_jobs([due] * n))
            ticker = Ticker(runtime)
            runtime.call(scheduler.resume)
            assert over.wait(PATIENCE_S), "they have not all run"
            return ticker.stop()
        finally:
            runtime.shutdown(scheduler, timeout=5)


@contextmanager
def _without_garbage() -> Iterator[None]:
    """Python's collector goes over all that there is, for which everything stands still. Of the tests' own there is a lot."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _job_of(
    kind: str, runtime: Any, traits: SchedulerTraits, done: Callable[[], object]
) -> tuple[Callable[[], object], dict[str, Any]]:
    """A job that ends with ``done``, and its options."""
    if kind == "quick functions":
        return done, {}
    if kind == "the framework's own kind":
        return _native_job(runtime, traits.native[0], done)

    # Ten threads of these keep each other, and a loop, from the interpreter.
    def computes() -> None:
        _compute()
        done()

    return computes, {}


def _compute() -> None:
    """Twenty microseconds of it, on the machines that limits are for."""
    sum(range(2000))


def slowness() -> float:
    """How many times as long as those this machine computes at this time; 1 where it is as fast."""
    quickest_s = PATIENCE_S
    for _ in range(100):
        began_s = time.thread_time()
        _compute()
        quickest_s = min(quickest_s, time.thread_time() - began_s)
    return max(1.0, quickest_s / 20e-6)

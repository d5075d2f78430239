"""Somebody else among the greenlets: however slow the store, and however much is due, he is served.

What a busy machine does to the hub is measured in the same test, by the same ticker without a scheduler; and the best of a
few tries counts, because a neighbour of ours on the machine may use all of it for a while.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import gevent
import gevent.event
import pytest

from schedcore.adapters.gevent import GeventScheduler
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore

pytestmark = pytest.mark.slow

TICK_S = 0.01
TRIES = 4


class SlowStore(MemoryJobStore):
    """A store that says it does I/O, and takes half a second for each call that it is given."""

    traits = StoreTraits(blocking=True, durable=False)
    DELAY_S = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()
        self._within = threading.local()

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        # ``check`` is by its contract the one that may not wait.
        if name.startswith("_") or name in ("check", "traits") or not callable(value):
            return value

        @functools.wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            # A call that it makes of its own takes no longer.
            if getattr(self._within, "call", None) is None:
                self._within.call = name
                try:
                    self.threads.add(threading.get_ident())
                    time.sleep(self.DELAY_S)
                    return value(*args, **kwargs)
                finally:
                    self._within.call = None
            return value(*args, **kwargs)

        return call


class Ticker:
    """Notes how long it waited for its turn, each time."""

    def __init__(self) -> None:
        self.gaps_s: list[float] = []
        self._last_s = time.monotonic()
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            gevent.sleep(TICK_S)
            self._note()

    def _note(self) -> None:
        now_s = time.monotonic()
        self.gaps_s.append(now_s - self._last_s)
        self._last_s = now_s

    def stop(self) -> float:
        """The longest gap, in seconds; the one that is not over counts."""
        self._note()
        self._greenlet.kill()
        return max(self.gaps_s)


@contextmanager
def other_work() -> Iterator[None]:
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


def bare(seconds: float) -> float:
    """The ticker's longest gap with nothing but the other work."""
    ticker = Ticker()
    gevent.sleep(seconds)
    return ticker.stop()


def with_slow_store() -> float:
    """The same beside a scheduler that is used in every way, by greenlets that wait for their answers."""
    store = SlowStore()
    ran: list[int] = []
    ticker = Ticker()
    with GeventScheduler(jobstores={"default": store}) as scheduler:

        def use(number: int) -> None:
            job = scheduler.add_job(ran.append, "interval", args=[number], seconds=0.2, id=str(number))
            job.pause()
            job.resume()
            scheduler.reschedule_job(job.id, trigger="interval", seconds=0.3)
            assert scheduler.get_job(job.id) is not None

        gevent.joinall([gevent.spawn(use, number) for number in range(8)], raise_error=True)
        scheduler.remove_job("7")
        assert len(scheduler.get_jobs()) == 7
        while len(set(ran)) < 7:
            gevent.sleep(0.02)
    longest_s = ticker.stop()
    assert threading.get_ident() not in store.threads
    return longest_s


def test_a_store_that_takes_half_a_second_slips_nothing() -> None:
    found = []
    with other_work():
        for _ in range(TRIES):
            noise_s = bare(2.0)
            found.append((with_slow_store(), noise_s))
            if found[-1][0] <= noise_s + 0.02:
                return
    raise AssertionError(f"the ticker's longest gaps, with the store and by itself: {found}")


def test_fifty_thousand_due_jobs_do_not_starve_the_hub() -> None:
    total = 50_000
    found = []
    for _ in range(TRIES):
        scheduler = GeventScheduler()
        scheduler.start(paused=True)
        count = 0
        over = gevent.event.Event()

        def job() -> None:
            nonlocal count
            count += 1
            if count == total:
                over.set()  # noqa: B023  # it is waited for in the same round

        now = datetime.now(UTC)
        for number in range(total):
            scheduler.add_job(job, "interval", hours=1, id=str(number), next_run_time=now, misfire_grace_time=None)
        ticker = Ticker()
        gevent.sleep(0)
        scheduler.resume()
        assert over.wait(60)
        found.append(ticker.stop())
        scheduler.shutdown()
        if found[-1] < 0.05:
            return
    raise AssertionError(f"the ticker's longest gaps: {found} s")

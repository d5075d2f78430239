"""A ticker on the reactor, with a scheduler beside it that has much to do, and without."""

from __future__ import annotations

import time
from collections.abc import Container
from datetime import UTC, datetime
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from schedcore.adapters.twisted import TwistedScheduler
from schedcore.clock import Now
from schedcore.engine import Claim
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Run

pytestmark = pytest.mark.slow

# Seconds between two ticks.
TICK_S = 0.01


class Ticker:
    """Ticks from its making on, and notes by how much each tick is late."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._due_s = time.perf_counter() + TICK_S
        self.worst_s = 0.0
        self.ticks = 0
        self._timer = reactor.callLater(TICK_S, self._tick)

    def _tick(self) -> None:
        self._note()
        self.ticks += 1
        self._due_s = time.perf_counter() + TICK_S
        self._timer = self._reactor.callLater(TICK_S, self._tick)

    def _note(self) -> None:
        self.worst_s = max(self.worst_s, time.perf_counter() - self._due_s)

    def stop(self) -> float:
        """The worst, in seconds; what is overdue just now counts."""
        self._note()
        self._timer.cancel()
        return self.worst_s


async def bare(reactor: Any, span_s: float) -> float:
    """How late a ticker is at worst that has the reactor for itself."""
    ticker = Ticker(reactor)
    await deferLater(reactor, span_s)
    return ticker.stop()


class SlowStore(MemoryJobStore):
    """Every call that the scheduler makes takes half a second."""

    traits = StoreTraits(blocking=True, durable=False)
    calls = 0

    def _slow(self) -> None:
        self.calls += 1
        time.sleep(0.5)

    def start(self, scheduler: Any, alias: str) -> None:
        self._slow()
        super().start(scheduler, alias)

    def add_entries(self, entries: Any) -> None:
        self._slow()
        super().add_entries(entries)

    def get_entry(self, job_id: str) -> Any:
        self._slow()
        return super().get_entry(job_id)

    def fire(self, now: Now, limit: int, executors: Container[str]) -> tuple[list[Run], list[Claim]]:
        self._slow()
        return super().fire(now, limit, executors)

    def commit(self, decisions: Any, now_us: int) -> Any:
        self._slow()
        return super().commit(decisions, now_us)

    def finish(self, finishes: Any) -> None:
        self._slow()
        super().finish(finishes)

    def shutdown(self) -> None:
        self._slow()
        super().shutdown()


async def test_a_store_that_takes_half_a_second_slips_nothing(reactor: Any) -> None:
    found = []
    for _ in range(3):
        noise_s = await bare(reactor, 2.0)
        store = SlowStore()
        scheduler = TwistedScheduler(reactor=reactor, jobstores={"default": store})
        ticker = Ticker(reactor)
        scheduler.start()

        async def job() -> None:
            await deferLater(reactor, 0.001)

        for number in range(40):
            scheduler.add_job(job, "interval", seconds=0.1, id=str(number))
            scheduler.add_job(lambda: None, "interval", seconds=0.1, id=f"plain {number}")
            await deferLater(reactor, 0.02)
        for number in range(3):
            scheduler.modify_job(str(number), name="changed")
            scheduler.remove_job(f"plain {number}")
        await deferLater(reactor, 0.5)
        scheduler.pause()
        await scheduler.shutdown()
        worst_s = ticker.stop()
        assert store.calls > 3
        assert ticker.ticks > 100
        found.append((worst_s, noise_s))
        if worst_s <= noise_s + 0.02:
            return
    raise AssertionError(f"at worst, and by itself, the ticker was late by {found} s")


async def test_fifty_thousand_due_jobs_do_not_starve_the_reactor(reactor: Any) -> None:
    total = 50_000
    found = []
    for _ in range(3):
        scheduler = TwistedScheduler(reactor=reactor)
        scheduler.start(paused=True)
        count = 0
        over: Deferred[None] = Deferred()

        async def job() -> None:
            nonlocal count
            count += 1
            if count == total:
                over.callback(None)  # noqa: B023  # it is over before the next one

        now = datetime.now(UTC)
        for _ in range(total):
            scheduler.add_job(job, "interval", hours=1, next_run_time=now)
        await deferLater(reactor, 0.05)
        ticker = Ticker(reactor)
        scheduler.resume()
        await over
        worst_s = ticker.stop()
        assert await scheduler.shutdown() == []
        found.append(worst_s)
        # Its gap is what it is late by and the tick itself.
        if worst_s + TICK_S < 0.05:
            return
    raise AssertionError(f"the ticker was late by {found} s")

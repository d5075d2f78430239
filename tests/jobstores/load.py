"""A scheduler under load while something is done to its server, and what must be true afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from schedcore.errors import JobStoreError
from schedcore.jobstores.base import JobStore
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog

__all__ = ["Load", "at_rest", "scheduler_on", "start_paused", "work"]

T = TypeVar("T")

# Jobs, and the seconds between two runs of each.
JOBS = 20
EVERY_S = 0.1


def work() -> None:
    """A job."""


def scheduler_on(store: JobStore) -> BackgroundScheduler:
    return BackgroundScheduler(jobstores={"default": store}, timezone="UTC", jobstore_retry_interval=0.5)


def start_paused(scheduler: BackgroundScheduler) -> None:
    """Start it, and wait until it has looked for what an earlier one left: from then on its store is the test's."""
    scheduler.start(paused=True)
    assert scheduler._pumps["default"].tried.wait(30)


def at_rest(scheduler: BackgroundScheduler) -> None:
    """Wait until a paused scheduler has done what it does by itself in its store after jobs were added: it may write there."""
    pump = scheduler._pumps["default"]
    deadline_s = time.monotonic() + 30
    rests = False
    while not rests:
        assert time.monotonic() < deadline_s, "it does not come to rest"
        looked = threading.Event()

        def look(looked: threading.Event = looked) -> None:
            nonlocal rests
            rests = not (pump.busy or pump.touched or pump.stale)
            looked.set()

        # In its own thread, which is in the middle of no step then.
        assert scheduler._ticker.call_soon(look)
        assert looked.wait(30)


def answered(call: Callable[[], T]) -> T:
    """Make a call again until the store answers, which a busy machine may keep it from for longer than it is waited for."""
    deadline_s = time.monotonic() + 60
    while True:
        try:
            return call()
        except JobStoreError as error:
            if not error.transient or time.monotonic() > deadline_s:
                raise


class Load:
    """Jobs that count their runs, on a scheduler of its own."""

    def __init__(self, store: JobStore) -> None:
        self.scheduler = scheduler_on(store)
        self.log = EventLog(self.scheduler)
        answered(self.scheduler.start)
        for number in range(JOBS):
            answered(partial(self._add, f"job{number}"))

    def _add(self, job_id: str) -> None:
        # It may be there already where no answer came.
        options: dict[str, Any] = {"seconds": EVERY_S, "coalesce": False, "replace_existing": True}
        self.scheduler.add_job(work, "interval", id=job_id, **options)

    def runs(self) -> int:
        return len(self.log.executed())

    def wait_for_more(self, count: int = 100) -> None:
        target = self.runs() + count
        self.log.wait_for(lambda log: len(log.executed()) >= target, timeout=60.0)

    def check(self) -> None:
        """Each fire time ran once, and none between the first and the last is without a record."""
        self.scheduler.pause()
        for number in range(JOBS):
            job_id = f"job{number}"
            fired = self.log.executed(job_id)
            assert len(fired) == len(set(fired)), f"{job_id} ran twice for one fire time"
            missing = [
                after - before
                for before, after in pairwise(sorted(fired))
                if abs((after - before).total_seconds() - EVERY_S) > 0.001
            ]
            assert not missing or self.log.skips(job_id), f"{job_id} lost runs without a record: {missing}"
            # What is on record leaves nothing out, and says nothing twice.
            for before, after in pairwise(reversed(answered(partial(self.scheduler.get_runs, job_id)))):
                end_us = before.fire_us if before.until_us is None else before.until_us
                assert after.fire_us - end_us == EVERY_S * 1e6, f"{job_id}: {before} is followed by {after}"
        self.scheduler.shutdown()

"""``asyncio.run`` ends, and nobody has shut the scheduler down: nothing begins on a loop that will not go on."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.testing import EventLog

# Seconds. Longer than anything here takes.
PATIENCE_S = 60.0


class SlowStore(MemoryJobStore):
    """Like a database: called in a worker thread, where a commit waits for ``gate``."""

    traits = StoreTraits(blocking=True, durable=True)

    def __init__(self) -> None:
        super().__init__()
        self.committing = threading.Event()
        self.gate = threading.Event()

    def fire(self, *args: Any) -> Any:
        fired = super().fire(*args)
        if any(fired):
            self.committing.set()
            assert self.gate.wait(PATIENCE_S)
        return fired


async def until(event: threading.Event) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not event.is_set():
            await asyncio.sleep(0.002)


async def opens(gate: threading.Event) -> AsyncIterator[None]:
    """Opens the gate when the loop is about to end: all tasks are cancelled by then."""
    try:
        yield
    finally:
        gate.set()


def test_no_run_begins_after_all_tasks_were_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[str] = []

    async def job() -> None:
        begun.append("job")
        await asyncio.Event().wait()

    store = SlowStore()
    scheduler = AsyncIOScheduler(jobstores={"default": store}, timezone="UTC")
    log = EventLog(scheduler)
    opener = opens(store.gate)

    async def main() -> None:
        await anext(opener)
        scheduler.start()
        scheduler.add_job(job, id="a")
        await until(store.committing)

    asyncio.run(main())
    assert not scheduler.running
    scheduler.shutdown()
    assert scheduler._closed.wait(PATIENCE_S)
    gc.collect()
    assert begun == []
    assert "destroyed" not in caplog.text
    assert log.names("a") == ["JOB_ADDED", "JOB_REMOVED", "JOB_SKIPPED"]


def test_it_is_shut_down_with_its_loop_and_can_be_started_on_another() -> None:
    ran: list[str] = []

    async def forever() -> None:
        ran.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            ran.append("over")

    async def first() -> None:
        scheduler.start()
        scheduler.add_job(forever)
        async with asyncio.timeout(PATIENCE_S):
            while not ran:
                await asyncio.sleep(0.002)

    async def second() -> None:
        scheduler.start()
        done = asyncio.Event()

        async def job() -> None:
            done.set()

        scheduler.add_job(job)
        async with asyncio.timeout(PATIENCE_S):
            await done.wait()
        await scheduler.shutdown()

    scheduler = AsyncIOScheduler(timezone="UTC")
    log = EventLog(scheduler)
    asyncio.run(first())
    assert ran == ["begun", "over"]
    assert scheduler._closed.wait(PATIENCE_S)
    assert log.names()[-1] == "SCHEDULER_SHUTDOWN"
    asyncio.run(second())
    assert log.names().count("SCHEDULER_SHUTDOWN") == 2


def test_an_end_in_its_time_leaves_nothing_behind() -> None:
    async def main() -> None:
        for _ in range(3):
            async with AsyncIOScheduler(timezone="UTC") as scheduler:
                await scheduler.call(lambda: None)
            assert scheduler._ear is None
        gc.collect()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())

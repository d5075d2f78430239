"""Stopping, and being stopped, from where it is easily forgotten that one may."""

from __future__ import annotations

import threading

import pytest

from schedcore.events import EVENT_JOBSTORE_FAILED, EVENT_SCHEDULER_SHUTDOWN
from schedcore.jobstores.base import Due, StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.background import BackgroundScheduler


@pytest.mark.parametrize("wait", [True, False])
def test_a_listener_to_the_shutdown_may_call_shutdown(wait: bool) -> None:
    scheduler = BackgroundScheduler()
    scheduler.add_listener(lambda event: scheduler.shutdown(), EVENT_SCHEDULER_SHUTDOWN)
    scheduler.start()
    done = threading.Event()

    def stop() -> None:
        scheduler.shutdown(wait)
        scheduler.shutdown()
        done.set()

    # A daemon: where they wait for each other, the test fails and the program ends.
    threading.Thread(target=stop, daemon=True).start()
    assert done.wait(60)
    assert not scheduler.running


def test_a_store_that_calls_exit_is_one_that_failed() -> None:
    class Exits(MemoryJobStore):
        traits = StoreTraits(blocking=True, durable=False)
        calls = 0

        def next_due(self) -> Due:
            self.calls += 1
            if self.calls == 1:
                raise SystemExit(1)
            return super().next_due()

    ran, failed = threading.Event(), threading.Event()
    scheduler = BackgroundScheduler(jobstores={"default": Exits()})
    scheduler.add_listener(lambda event: failed.set(), EVENT_JOBSTORE_FAILED)
    scheduler.start()
    scheduler.add_job(ran.set, "interval", seconds=0.05)
    assert ran.wait(60)
    assert failed.is_set()
    scheduler.shutdown()

"""Stopping from where it is easily forgotten that one may stop."""

from __future__ import annotations

import threading

import pytest

from schedcore.events import EVENT_SCHEDULER_SHUTDOWN
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
    assert done.wait(10)
    assert not scheduler.running

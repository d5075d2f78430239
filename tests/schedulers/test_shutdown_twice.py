"""A shutdown in the midst of another one of the same thread, as by a signal handler at a second Ctrl-C."""

from __future__ import annotations

import pytest

from schedcore.schedulers.background import BackgroundScheduler
from tests.interrupting import disturbed


@pytest.mark.parametrize("wait", [True, False])
def test_the_second_one_waits_for_nothing_that_the_first_is_to_do(wait: bool) -> None:
    """At each point. It waited for ever where the first one had begun, and it was not yet known who closes."""
    at = 0
    more = True
    while more:
        at += 1
        scheduler = BackgroundScheduler(timezone="UTC")
        scheduler.start()
        try:
            more = disturbed(lambda: scheduler.shutdown(wait), scheduler.shutdown, at, "schedulers/base.py")  # noqa: B023  # called in here
        finally:
            scheduler.shutdown()
        assert scheduler._closed.is_set()
    assert at > 10


def test_who_did_not_wait_may_wait_then() -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    for _ in range(2):
        scheduler.start()
        closed = scheduler._closed
        scheduler.shutdown(wait=False)
        scheduler.shutdown()
        assert closed.is_set()

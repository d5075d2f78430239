"""Ctrl-C at any point of ``start``, whatever the framework: nothing is left open, and the scheduler can be started afterwards."""

from __future__ import annotations

from contextlib import suppress

import pytest

from schedcore.events import EVENT_SCHEDULER_STARTED
from schedcore.schedulers.base import BaseScheduler
from schedcore.schedulers.blocking import BlockingScheduler
from schedcore.testing._suite import Aside
from schedcore.testing.runtime import Runtime
from tests.conformance import _runtimes
from tests.interrupting import Interrupted, disturbed
from tests.opened import Store, Threads

LIMIT_S = 60.0
CASES = {case.name: case for case in _runtimes.cases()}
# What a start does in any framework, and in its adapter. The last: where a store, or an executor, has started.
WITHIN = (
    "/_starting.py",
    "/_openings.py",
    "/_components.py",
    "/blocking.py",
    "/background.py",
    "/loop.py",
    *(f"/{name}/{file}.py" for name in CASES for file in ("scheduler", "wakeup", "_hub", "store_calls", "calls")),
    "/opened.py",
)


def is_interrupted(runtime: Runtime, at: int) -> bool:
    """Whether a start has a point with this number."""
    opened: list[object] = []
    scheduler: BaseScheduler = runtime.call(
        lambda: runtime.make(executors={"other": Threads(opened)}, jobstores={"default": Store(opened)}, timezone="UTC")
    )

    def end_it(event: object) -> None:
        Aside(scheduler.shutdown)  # where nothing is interrupted

    if isinstance(scheduler, BlockingScheduler):
        scheduler.add_listener(end_it, EVENT_SCHEDULER_STARTED)

    def interrupt() -> None:
        raise Interrupted

    interrupted = True
    with suppress(Interrupted):
        interrupted = runtime.call(lambda: disturbed(scheduler.start, interrupt, at, WITHIN))
    scheduler.remove_listener(end_it)
    runtime.shutdown(scheduler)
    assert scheduler._closed.wait(LIMIT_S), at
    assert opened == [], at
    runtime.start(scheduler)
    assert len(opened) == 2, at
    runtime.shutdown(scheduler)
    assert opened == [], at
    return interrupted


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_left_of_a_start_that_was_interrupted(name: str) -> None:
    case = CASES[name]

    def points() -> int:
        with case.runtime() as runtime:
            at = 1
            while is_interrupted(runtime, at):
                at += 1
        return at

    assert case.host(points) > 20

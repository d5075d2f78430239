"""A signal handler at any point of ``start``, ``add_jobstore`` or ``add_executor``: one that shuts it down, and Ctrl-C.
Nothing hangs, then or later, and nothing is left open.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from schedcore.jobstores.base import StoreHost
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing._suite import Aside
from tests.interrupting import Interrupted, disturbed
from tests.opened import Store, Threads

LIMIT_S = 60.0
# The last: where a store, or an executor, has started.
WITHIN = ("/_starting.py", "/_openings.py", "/_components.py", "/opened.py")


def starts(scheduler: BackgroundScheduler, opened: list[object]) -> None:
    scheduler.start()


def fails_to_start(scheduler: BackgroundScheduler, opened: list[object]) -> None:
    class Away(MemoryJobStore):
        """Its server is."""

        def start(self, scheduler: StoreHost, alias: str) -> None:
            raise OSError("no such server")

    scheduler.add_jobstore(Away(), "away")
    with suppress(OSError):
        scheduler.start()


def adds_a_store(scheduler: BackgroundScheduler, opened: list[object]) -> None:
    scheduler.start()
    scheduler.add_jobstore(Store(opened), "added")


def adds_an_executor(scheduler: BackgroundScheduler, opened: list[object]) -> None:
    scheduler.start()
    scheduler.add_executor(Threads(opened), "added")


def shut_down(scheduler: BackgroundScheduler) -> None:
    scheduler.shutdown()


def ctrl_c(scheduler: BackgroundScheduler) -> None:
    raise Interrupted


@pytest.mark.parametrize(
    ("intrude", "step"),
    [
        *((shut_down, step) for step in (starts, fails_to_start, adds_a_store, adds_an_executor)),
        *((ctrl_c, step) for step in (starts, adds_a_store, adds_an_executor)),
    ],
)
def test_nothing_hangs_or_is_left_open(
    intrude: Callable[[BackgroundScheduler], None], step: Callable[[BackgroundScheduler, list[object]], None]
) -> None:
    def is_interrupted(at: int) -> bool:
        opened: list[object] = []
        scheduler = BackgroundScheduler(
            executors={"default": Threads(opened)}, jobstores={"default": Store(opened)}, timezone="UTC"
        )
        interrupted = True
        with suppress(Interrupted):
            interrupted = disturbed(lambda: step(scheduler, opened), lambda: intrude(scheduler), at, WITHIN)
        scheduler.shutdown()
        assert scheduler._closed.wait(LIMIT_S)
        assert opened == [], at
        with suppress(LookupError):
            scheduler.remove_jobstore("away")
        scheduler.start()
        scheduler.shutdown()
        assert opened == [], at
        return interrupted

    at = 1
    while Aside(is_interrupted, at).result(LIMIT_S):
        at += 1
    assert at > 20

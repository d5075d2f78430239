"""The gevent executors: the conformance suite, on a hub in a thread of its own."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from schedcore.adapters.gevent import GeventExecutor, GeventThreadExecutor
from schedcore.testing.executor_suite import ExecutorTraits, check_executor, executor_behaviours

TRAITS = ExecutorTraits(
    workers=3,
    ends_runs=True,
    lacks={
        "may be shut down from two jobs at once": "its jobs meet at a barrier for threads, which stops all greenlets of "
        "a thread; with one for greenlets it is in test_scheduler.py"
    },
)
THREAD_TRAITS = ExecutorTraits(workers=3)


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(TRAITS))
def test_greenlets(hub_thread: Any, monkeypatch: pytest.MonkeyPatch, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)

    def sleep(seconds: float) -> None:
        # The suite's jobs wait as threads do. In the hub's thread they have to wait as greenlets do.
        in_hub = threading.get_ident() == hub_thread.hub.thread_ident
        (gevent.sleep if in_hub else time.sleep)(seconds)

    monkeypatch.setattr("schedcore.testing._executor_jobs.time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    assert check_executor(lambda: GeventExecutor(3), TRAITS, only=name, submit_in=hub_thread.call) == [name]


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(THREAD_TRAITS))
def test_threads(hub_thread: Any, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    assert check_executor(lambda: GeventThreadExecutor(3), THREAD_TRAITS, only=name, submit_in=hub_thread.call) == [
        name
    ]

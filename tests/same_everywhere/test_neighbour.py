"""What is measured of a neighbour: whether this process keeps the loop from him, where others compute on its processor."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.same_everywhere.neighbour import Gap, Ticker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.path.exists("/proc/thread-self/schedstat"),
        reason="this system does not say for how long a thread waits for a processor",
    ),
]

# Seconds, on a usual machine.
KEPT_S = 0.1
PATIENCE_S = 60.0


@pytest.fixture
def runtime(case_named: Callable[[str], Any]) -> Iterator[Any]:
    """A loop whose thread shares a processor with another process, which computes."""
    processor = min(os.sched_getaffinity(0))
    with case_named("asyncio").runtime() as runtime, _another_process(processor):
        runtime.call(partial(os.sched_setaffinity, 0, {processor}))
        yield runtime


@contextmanager
def _another_process(processor: int) -> Iterator[None]:
    code = f"import os\nos.sched_setaffinity(0, {{{processor}}})\nprint(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"\n"
            yield
        finally:
            process.kill()


def _compute() -> None:
    """In one call that does not let the interpreter go."""
    sum(range(int(KEPT_S * 1e8)))


def _compute_elsewhere() -> None:
    thread = threading.Thread(target=_compute)
    thread.start()
    thread.join()


@pytest.mark.parametrize("in_loop", [True, False], ids=["in the loop's thread", "in another one"])
def test_who_keeps_the_interpreter_from_the_loop_is_found_out(in_loop: bool, runtime: Any) -> None:
    ticker = Ticker(runtime)
    runtime.call(_compute) if in_loop else _compute_elsewhere()
    assert max(gap.ours_s for gap in ticker.stop()) > KEPT_S / 2


def test_who_computes_while_the_loop_has_no_processor_keeps_nobody_waiting(runtime: Any) -> None:
    over = threading.Event()
    data = bytes(10_000_000)

    def compute() -> None:
        while not over.is_set():
            hashlib.sha256(data)  # without the interpreter

    thread = threading.Thread(target=compute)
    ticker = Ticker(runtime)
    # It has its processor when the other process does not want it, which is hardly ever.
    runtime.call(partial(os.sched_setscheduler, 0, os.SCHED_IDLE, os.sched_param(0)))
    thread.start()
    try:
        end_s = time.monotonic() + PATIENCE_S
        # One in which this process was stopped as well is another matter.
        while not any(gap.ours_s < gap.busy_s / 2 for gap in _busy_gaps(ticker)):
            assert time.monotonic() < end_s, _busy_gaps(ticker)
            time.sleep(0.05)
    finally:
        over.set()
        thread.join()
        ticker.stop()


def _busy_gaps(ticker: Ticker) -> list[Gap]:
    return [gap for gap in ticker.gaps.copy() if gap.busy_s > KEPT_S]

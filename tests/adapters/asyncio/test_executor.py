"""The asyncio executor: the conformance suite, on a loop that runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from schedcore.adapters.asyncio import AsyncIOExecutor
from schedcore.testing.executor_suite import (
    ExecutorTraits,
    RecordingHost,
    check_executor,
    executor_behaviours,
    make_run,
)

TRAITS = ExecutorTraits(workers=3)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(TRAITS))
def test_conformance(loop: asyncio.AbstractEventLoop, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)

    async def make(call: Callable[[], None]) -> None:
        call()

    def on_loop(call: Callable[[], None]) -> None:
        asyncio.run_coroutine_threadsafe(make(call), loop).result(60)

    assert check_executor(lambda: AsyncIOExecutor(3), TRAITS, only=name, submit_in=on_loop) == [name]


def test_what_was_taken_before_it_was_started_again_is_carried_out(loop: asyncio.AbstractEventLoop) -> None:
    async def job() -> str:
        return "done"

    executor, host = AsyncIOExecutor(), RecordingHost()
    runs = [make_run(job, job_id=str(number)) for number in range(3)]

    async def use() -> None:
        executor.start(host, "default")
        executor.submit(runs[:1])
        executor.submit(runs[1:])
        assert executor.shutdown() == []
        executor.start(host, "default")
        assert executor.live_runs() == runs

    asyncio.run_coroutine_threadsafe(use(), loop).result(60)
    assert [finish.retval for finish in host.wait(runs)] == ["done"] * 3
    assert executor.shutdown() == []
    assert executor.live_runs() == []

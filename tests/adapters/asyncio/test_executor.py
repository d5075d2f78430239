"""The asyncio executor: the conformance suite, on a loop that runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from schedcore.adapters.asyncio import AsyncIOExecutor
from schedcore.testing.executors import ExecutorTraits, check_executor, executor_behaviours

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
        asyncio.run_coroutine_threadsafe(make(call), loop).result(10)

    assert check_executor(lambda: AsyncIOExecutor(3), TRAITS, only=name, submit_in=on_loop) == [name]

"""asyncio: a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.adapters.asyncio.wakeup import AsyncIOWakeup
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing.runtime import LoopRuntime, NativeJob, SchedulerTraits, Steps
from schedcore.testing.wakeup_suite import WakeupBench, WakeupTraits

NAME = "asyncio"
NEEDS = None
TRAITS = SchedulerTraits(on_loop=True, native=("coroutine",), context_manager=True)
WAKEUP_TRAITS = WakeupTraits()


def _coroutine_job(steps: Steps) -> Callable[[], Any]:
    async def job() -> Any:
        steps.begin()
        while not steps.may_end():
            await asyncio.sleep(0.002)
        return steps.end()

    return job


class AsyncIORuntime(LoopRuntime):
    native_jobs: ClassVar[Mapping[str, NativeJob]] = {"coroutine": _coroutine_job}
    keeps_threads = ("asyncio_",)

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        # What the suite's callbacks raise is wanted, and nobody's business.
        self.loop.set_exception_handler(lambda loop, context: None)
        self._waiting: set[asyncio.Future[Any]] = set()
        self._thread = threading.Thread(target=self.loop.run_forever, name="asyncio loop")
        self._thread.start()

    def make(self, **options: Any) -> BaseScheduler:
        return AsyncIOScheduler(**options)

    def post(self, callback: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.loop.call_later(delay_s, callback)

    def when_done(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
        async def wait() -> None:
            try:
                value = await awaitable
            except BaseException as error:  # noqa: BLE001  # it is handed to who waits
                done(None, error)
            else:
                done(value, None)

        task = self.loop.create_task(wait())
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def wrong_starts(self) -> Mapping[str, tuple[Callable[[], object], str]]:
        closed = asyncio.new_event_loop()
        closed.close()
        return {
            "no loop runs in this thread": (lambda: AsyncIOScheduler().start(), "no event loop"),
            "the loop is closed": (lambda: AsyncIOScheduler(event_loop=closed).start(), "closed"),
            "it is no loop": (lambda: AsyncIOScheduler(event_loop="a loop").start(), "'a loop'"),
        }

    def within(self, scheduler: BaseScheduler, body: Callable[[], None]) -> None:
        assert isinstance(scheduler, AsyncIOScheduler)

        async def use() -> None:
            async with scheduler:
                await asyncio.to_thread(body)

        self.result(use)

    async def _end(self) -> None:
        # Whoever gave up waiting has left what waited for him.
        for task in (waiting := list(self._waiting)):
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self.loop.shutdown_default_executor()

    def close(self) -> None:
        if not self.loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(30)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()


class _WakeupBench:
    def __init__(self, runtime: AsyncIORuntime) -> None:
        self.wakeup = AsyncIOWakeup(runtime.loop)
        self.call = runtime.call
        self.close = runtime.close


@contextmanager
def runtime() -> Iterator[AsyncIORuntime]:
    made = AsyncIORuntime()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def wakeup() -> Iterator[WakeupBench]:
    with runtime() as made:
        yield _WakeupBench(made)

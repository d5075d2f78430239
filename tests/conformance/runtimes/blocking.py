"""The scheduler that is the program: each is started in a thread that it keeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from schedcore.events import EVENT_SCHEDULER_STARTED
from schedcore.schedulers._thread_wakeup import ThreadWakeup
from schedcore.schedulers.base import BaseScheduler
from schedcore.schedulers.blocking import BlockingScheduler
from schedcore.testing.runtime import LoopRuntime, NativeJob, Runtime, SchedulerTraits, Steps
from schedcore.testing.wakeup_suite import WakeupBench, WakeupTraits

NAME = "blocking"
NEEDS = None
TRAITS = SchedulerTraits(native=("coroutine",))
WAKEUP_TRAITS = WakeupTraits()


def _coroutine_job(steps: Steps) -> Callable[[], Any]:
    # Run to its end in a worker thread, on a loop made for it.
    async def job() -> Any:
        steps.begin()
        while not steps.may_end():
            await asyncio.sleep(0.002)
        return steps.end()

    return job


class BlockingRuntime(Runtime):
    native_jobs: ClassVar[Mapping[str, NativeJob]] = {"coroutine": _coroutine_job}

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def make(self, **options: Any) -> BaseScheduler:
        return BlockingScheduler(**options)

    def start(self, scheduler: BaseScheduler, paused: bool = False) -> None:
        begun = threading.Event()
        errors: list[Exception] = []

        def begin(event: object) -> None:
            begun.set()

        def run() -> None:
            try:
                scheduler.start(paused)
            except Exception as error:  # noqa: BLE001  # it is handed to who starts
                errors.append(error)
            finally:
                begun.set()

        scheduler.add_listener(begin, EVENT_SCHEDULER_STARTED)
        thread = threading.Thread(target=run, name="blocking start")
        thread.start()
        self._threads.append(thread)
        try:
            assert begun.wait(30), "it did not start"
        finally:
            scheduler.remove_listener(begin)
        if errors:
            raise errors[0]

    def close(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "start() did not return"


@contextmanager
def runtime() -> Iterator[BlockingRuntime]:
    made = BlockingRuntime()
    yield made
    made.close()


class _WakeupBench:
    """The wakeup of this scheduler and of the one in the background: its loop is its own."""

    def __init__(self) -> None:
        class ThreadRuntime(LoopRuntime):
            def make(self, **options: Any) -> BaseScheduler:
                raise NotImplementedError

            def post(self, callback: Callable[[], None]) -> None:
                loop.call_soon(callback)

            def when_done(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
                raise NotImplementedError

        self.wakeup = loop = ThreadWakeup("check")
        self.call = ThreadRuntime().call
        self._thread = threading.Thread(target=loop.run, name="thread loop")
        self._thread.start()

    def close(self) -> None:
        self.wakeup.stop()
        self._thread.join()
        assert self.wakeup.close(30)


@contextmanager
def wakeup() -> Iterator[WakeupBench]:
    bench = _WakeupBench()
    try:
        yield bench
    finally:
        bench.close()

"""Tornado: an ``IOLoop`` in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from tornado import gen
from tornado.concurrent import Future
from tornado.ioloop import IOLoop

from schedcore.adapters.tornado import TornadoScheduler, TornadoWakeup
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing.runtime import LoopRuntime, NativeJob, SchedulerTraits, Steps
from schedcore.testing.wakeup_suite import WakeupBench, WakeupTraits

NAME = "tornado"
NEEDS = "tornado"
TRAITS = SchedulerTraits(on_loop=True, native=("coroutine", "generator", "future"), context_manager=True)
WAKEUP_TRAITS = WakeupTraits()


def _coroutine_job(steps: Steps) -> Callable[[], Any]:
    async def job() -> Any:
        steps.begin()
        while not steps.may_end():
            await gen.sleep(0.002)
        return steps.end()

    return job


def _generator_job(steps: Steps) -> Callable[[], Any]:
    @gen.coroutine
    def job() -> Any:
        steps.begin()
        while not steps.may_end():
            yield gen.sleep(0.002)
        return steps.end()

    return job


def _future_job(steps: Steps) -> Callable[[], Any]:
    def job() -> Future[Any]:
        future: Future[Any] = Future()

        def look() -> None:
            if future.cancelled():
                return
            if not steps.may_end():
                IOLoop.current().call_later(0.002, look)
                return
            try:
                future.set_result(steps.end())
            except BaseException as error:  # noqa: BLE001  # what the suite wants the job to raise
                future.set_exception(error)

        steps.begin()
        look()
        return future

    return job


class TornadoRuntime(LoopRuntime):
    native_jobs: ClassVar[Mapping[str, NativeJob]] = {
        "coroutine": _coroutine_job,
        "generator": _generator_job,
        "future": _future_job,
    }

    def __init__(self) -> None:
        # What the suite's callbacks raise is wanted, and nobody's business.
        self._log = logging.getLogger("tornado.application")
        self._log_was_disabled, self._log.disabled = self._log.disabled, True
        self.io_loop = IOLoop(make_current=False)
        self._thread = threading.Thread(target=self.io_loop.start, name="tornado loop")
        self._thread.start()
        self._closed = False

    def make(self, **options: Any) -> BaseScheduler:
        return TornadoScheduler(**options)

    def post(self, callback: Callable[[], None]) -> None:
        self.io_loop.add_callback(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.io_loop.call_later(delay_s, callback)

    def when_done(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
        async def wait() -> None:
            try:
                value = await awaitable
            except BaseException as error:  # noqa: BLE001  # it is handed to who waits
                done(None, error)
            else:
                done(value, None)

        self.io_loop.spawn_callback(wait)

    def wrong_starts(self) -> Mapping[str, tuple[Callable[[], object], str]]:
        closed = IOLoop(make_current=False)
        closed.close()
        return {
            "this thread has no loop": (lambda: TornadoScheduler().start(), "has no IOLoop"),
            "the loop is closed": (lambda: TornadoScheduler(io_loop=closed).start(), "closed"),
            "it is no loop": (lambda: TornadoScheduler(io_loop="a loop").start(), "'a loop'"),
        }

    def within(self, scheduler: BaseScheduler, body: Callable[[], None]) -> None:
        assert isinstance(scheduler, TornadoScheduler)

        async def use() -> None:
            async with scheduler:
                await scheduler.call(body)

        self.result(use)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.io_loop.add_callback(self.io_loop.stop)
            self._thread.join()
            self.io_loop.close(all_fds=True)
            self._log.disabled = self._log_was_disabled


class _WakeupBench:
    def __init__(self, runtime: TornadoRuntime) -> None:
        self._runtime = runtime
        self.call = runtime.call
        self.wakeup = TornadoWakeup(runtime.io_loop)

    def close(self) -> None:
        self.wakeup.close()
        self._runtime.close()


@contextmanager
def runtime() -> Iterator[TornadoRuntime]:
    made = TornadoRuntime()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def wakeup() -> Iterator[WakeupBench]:
    with runtime() as made:
        bench = _WakeupBench(made)
        try:
            yield bench
        finally:
            bench.close()

"""Trio: the adapter that the documentation writes, on a ``trio.run`` in a thread of its own."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import trio
import trio._core._thread_cache

from schedcore.schedulers.base import BaseScheduler
from schedcore.testing.runtime import LoopRuntime, NativeJob, SchedulerTraits, Steps
from schedcore.testing.wakeup_suite import WakeupBench, WakeupTraits

NAME = "trio"
NEEDS = "trio"
TRAITS = SchedulerTraits(on_loop=True, native=("coroutine",), context_manager=True)
WAKEUP_TRAITS = WakeupTraits()

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "trio" / "schedcore_trio.py"
# Seconds. Trio keeps its threads for ten when they have nothing to do; here they have to be gone at the end of a test.
IDLE_S = 0.05


def load() -> Any:
    """The example, as a module."""
    if "schedcore_trio" not in sys.modules:
        spec = importlib.util.spec_from_file_location("schedcore_trio", EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["schedcore_trio"] = module
        spec.loader.exec_module(module)
    return sys.modules["schedcore_trio"]


def _coroutine_job(steps: Steps) -> Callable[[], Any]:
    async def job() -> Any:
        steps.begin()
        while not steps.may_end():
            await trio.sleep(0.002)
        return steps.end()

    return job


class TrioRuntime(LoopRuntime):
    native_jobs: ClassVar[Mapping[str, NativeJob]] = {"coroutine": _coroutine_job}
    nursery: trio.Nursery

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), name="trio")
        self._thread.start()
        assert self._begun.wait(30)

    async def _main(self) -> None:
        async with trio.open_nursery() as self.nursery:
            self.token = trio.lowlevel.current_trio_token()
            self._begun.set()
            await trio.sleep_forever()

    def make(self, **options: Any) -> BaseScheduler:
        scheduler: BaseScheduler = load().TrioScheduler(nursery=self.nursery, **options)
        return scheduler

    def post(self, callback: Callable[[], None]) -> None:
        self.token.run_sync_soon(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        async def wait() -> None:
            await trio.sleep(delay_s)
            callback()

        self.nursery.start_soon(wait)

    def when_done(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
        async def wait() -> None:
            try:
                value = await awaitable
            except Exception as error:  # noqa: BLE001  # it is handed to who waits
                done(None, error)
            else:
                done(value, None)

        self.nursery.start_soon(wait)

    def wrong_starts(self) -> Mapping[str, tuple[Callable[[], object], str]]:
        return {
            "Trio does not run here": (lambda: self.make().start(), "does not run in this thread"),
            "there is no nursery": (lambda: load().TrioScheduler().start(), "needs a nursery"),
            "it is no nursery": (lambda: load().TrioScheduler(nursery="a nursery").start(), "'a nursery'"),
        }

    def within(self, scheduler: BaseScheduler, body: Callable[[], None]) -> None:
        async def use() -> None:
            async with scheduler:  # type: ignore[attr-defined]  # the example's
                await trio.to_thread.run_sync(body)

        self.result(use)

    def close(self) -> None:
        with suppress(trio.RunFinishedError):
            self.token.run_sync_soon(self.nursery.cancel_scope.cancel)
        self._thread.join()


class _WakeupBench:
    def __init__(self, runtime: TrioRuntime) -> None:
        self.call = runtime.call
        self.close = runtime.close
        self.wakeup = runtime.call(lambda: load().TrioWakeup(runtime.nursery))
        runtime.call(lambda: runtime.nursery.start_soon(self.wakeup.run))


@contextmanager
def runtime() -> Iterator[TrioRuntime]:
    cache: Any = trio._core._thread_cache
    idle_s, cache.IDLE_TIMEOUT = cache.IDLE_TIMEOUT, IDLE_S
    made = TrioRuntime()
    try:
        yield made
    finally:
        made.close()
        cache.IDLE_TIMEOUT = idle_s


@contextmanager
def wakeup() -> Iterator[WakeupBench]:
    with runtime() as made:
        yield _WakeupBench(made)

"""Twisted: a reactor in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from schedcore.adapters.twisted import TwistedScheduler, TwistedWakeup, in_reactor
from schedcore.adapters.twisted.testing import ReactorThread
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing.runtime import LoopRuntime, NativeJob, SchedulerTraits, Steps
from schedcore.testing.wakeup_suite import WakeupBench, WakeupTraits

NAME = "twisted"
NEEDS = "twisted"
TRAITS = SchedulerTraits(
    on_loop=True, native=("coroutine", "inlineCallbacks", "Deferred", "Deferred, unseen"), context_manager=True
)
WAKEUP_TRAITS = WakeupTraits()


class TwistedRuntime(LoopRuntime):
    native_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {"Deferred, unseen": {"executor": "reactor"}}
    keeps_threads = ("PoolThread-",)

    def __init__(self) -> None:
        self._thread = ReactorThread().start()
        self.reactor = self._thread.reactor
        # The threads are the reactor's, which keeps them: all of them now, so that none comes during a check for leaks.
        self._thread.call(lambda: self.reactor.getThreadPool().adjustPoolsize(10, 10))
        self.native_jobs: Mapping[str, NativeJob] = {  # type: ignore[misc]  # its jobs wait on this reactor
            "coroutine": self._coroutine_job,
            "inlineCallbacks": self._inline_job,
            "Deferred": lambda steps: in_reactor(self._deferred_job(steps)),
            "Deferred, unseen": self._deferred_job,
        }

    def _coroutine_job(self, steps: Steps) -> Callable[[], Any]:
        async def job() -> Any:
            steps.begin()
            while not steps.may_end():
                await deferLater(self.reactor, 0.002)
            return steps.end()

        return job

    def _inline_job(self, steps: Steps) -> Callable[[], Any]:
        @inlineCallbacks
        def job() -> Generator[Deferred[Any], Any, Any]:
            steps.begin()
            while not steps.may_end():
                yield deferLater(self.reactor, 0.002)
            return steps.end()

        return job

    def _deferred_job(self, steps: Steps) -> Callable[[], Any]:
        def again(result: object = None) -> Any:
            return steps.end() if steps.may_end() else deferLater(self.reactor, 0.002, again)

        def job():  # type: ignore[no-untyped-def]  # what it returns is not to be seen
            steps.begin()
            return deferLater(self.reactor, 0, again)

        return job

    def make(self, **options: Any) -> BaseScheduler:
        return TwistedScheduler(reactor=self.reactor, **options)

    def post(self, callback: Callable[[], None]) -> None:
        self.reactor.callFromThread(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.reactor.callLater(delay_s, callback)

    def when_done(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
        def over(result: Any) -> None:
            if isinstance(result, Failure):
                done(None, result.value)
            else:
                done(result, None)

        Deferred.fromCoroutine(_await(awaitable)).addBoth(over)

    def wrong_starts(self) -> Mapping[str, tuple[Callable[[], object], str]]:
        stopped = ReactorThread()
        with stopped:
            pass
        return {
            "the reactor runs in another thread": (lambda: self.make().start(), "callFromThread(scheduler.start)"),
            "the reactor was stopped": (lambda: TwistedScheduler(reactor=stopped.reactor).start(), "runs only once"),
            "it is no reactor": (lambda: TwistedScheduler(reactor="a reactor").start(), "'a reactor'"),
        }

    def within(self, scheduler: BaseScheduler, body: Callable[[], None]) -> None:
        assert isinstance(scheduler, TwistedScheduler)
        from twisted.internet.threads import deferToThreadPool

        async def use() -> None:
            async with scheduler:
                await deferToThreadPool(self.reactor, self.reactor.getThreadPool(), body)

        self.result(use)

    def close(self) -> None:
        self._thread.stop()


async def _await(awaitable: Any) -> Any:
    return await awaitable


class _WakeupBench:
    def __init__(self, runtime: TwistedRuntime) -> None:
        self.wakeup = TwistedWakeup(runtime.reactor)
        self.call = runtime.call
        self.close = runtime.close


@contextmanager
def runtime() -> Iterator[TwistedRuntime]:
    made = TwistedRuntime()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def wakeup() -> Iterator[WakeupBench]:
    with runtime() as made:
        yield _WakeupBench(made)

"""gevent: a hub in a thread of its own, not patched; what the suite calls "the loop" is a greenlet there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import gevent
import gevent.event
import gevent.hub

from schedcore.adapters.gevent import GeventScheduler, GeventWakeup
from schedcore.run import Run
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing.runtime import LoopRuntime, NativeJob, SchedulerTraits, Steps
from schedcore.testing.wakeup_suite import WakeupBench, WakeupTraits

NAME = "gevent"
NEEDS = "gevent"
TRAITS = SchedulerTraits(on_loop=True, native=("greenlet", "spawned"), functions_on_loop=True, context_manager=True)
WAKEUP_TRAITS = WakeupTraits()


def _greenlet_job(steps: Steps) -> Callable[[], Any]:
    def job() -> Any:
        steps.begin()
        while not steps.may_end():
            gevent.sleep(0.002)
        return steps.end()

    return job


def _spawned_job(steps: Steps) -> Callable[[], Any]:
    """What gevent has for a future: a greenlet that the job returns."""
    run = _greenlet_job(steps)

    def run_to_the_end() -> Any:
        try:
            return run()
        except SystemExit as error:
            # In a greenlet that is not the scheduler's, gevent takes it for the end of the program.
            raise RuntimeError("it called sys.exit") from error

    def job() -> Any:
        return gevent.spawn(run_to_the_end)

    return job


class GeventRuntime(LoopRuntime):
    native_jobs: ClassVar[Mapping[str, NativeJob]] = {"greenlet": _greenlet_job, "spawned": _spawned_job}

    def __init__(self) -> None:
        made = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(made,), name="gevent hub")
        self._thread.start()
        made.wait()

    def _serve(self, made: threading.Event) -> None:
        self.hub = gevent.get_hub()
        # What the suite's callbacks raise is wanted, and nobody's business.
        self.hub.NOT_ERROR = (*self.hub.NOT_ERROR, Exception)
        self._stop = gevent.event.Event()
        # The hub waits for other threads, too.
        bell = self.hub.loop.async_()
        bell.start(lambda: None)
        made.set()
        self._stop.wait()
        bell.close()
        self.hub.destroy(destroy_loop=True)

    def make(self, **options: Any) -> BaseScheduler:
        return GeventScheduler(**options)

    def post(self, callback: Callable[[], None]) -> None:
        self.hub.loop.run_callback_threadsafe(gevent.spawn_raw, callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        gevent.spawn_later(delay_s, callback)

    def when_done(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
        def wait() -> None:
            try:
                value = awaitable.get()
            except BaseException as error:  # noqa: BLE001  # it is handed to who waits
                done(None, error)
            else:
                done(value, None)

        gevent.spawn_raw(wait)

    def shutdown(self, scheduler: BaseScheduler, wait: bool = True, timeout: float | None = None) -> list[Run]:
        if not wait:
            # What it returns comes when all is closed, and here nobody waits.
            self.call(lambda: scheduler.shutdown(wait=False, timeout=timeout))
            return []
        return super().shutdown(scheduler, wait, timeout)

    def wait_in_job(self, event: threading.Event) -> None:
        while not event.is_set():
            gevent.sleep(0.002)

    def wrong_starts(self) -> Mapping[str, tuple[Callable[[], object], str]]:
        return {"no hub runs in this thread": (_start_in_a_thread, "gevent.get_hub()")}

    def within(self, scheduler: BaseScheduler, body: Callable[[], None]) -> None:
        assert isinstance(scheduler, GeventScheduler)

        def use() -> gevent.event.AsyncResult[Any]:
            with scheduler:
                self.hub.threadpool.apply(body)
            over: gevent.event.AsyncResult[Any] = gevent.event.AsyncResult()
            over.set(None)
            return over

        self.result(use)

    def close(self) -> None:
        if self._thread.is_alive():
            self.hub.loop.run_callback_threadsafe(self._stop.set)
            self._thread.join()


def _start_in_a_thread() -> None:
    # In a new one: the control thread may be one that has a hub.
    errors: list[Exception] = []

    def start() -> None:
        try:
            GeventScheduler().start()
        except Exception as error:  # noqa: BLE001  # it is raised again where it is looked at
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    raise errors[0]


class _WakeupBench:
    def __init__(self, runtime: GeventRuntime) -> None:
        self.wakeup = GeventWakeup(runtime.hub)
        self.call = runtime.call
        self.close = runtime.close


@contextmanager
def runtime() -> Iterator[GeventRuntime]:
    made = GeventRuntime()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def wakeup() -> Iterator[WakeupBench]:
    with runtime() as made:
        yield made.call(lambda: _WakeupBench(made))

"""gevent: jobs that are plain functions, each in a greenlet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks._frameworks import Framework, targets

__all__ = ["REQUIREMENTS", "TARGETS", "GeventFramework", "make"]

REQUIREMENTS = ("gevent==26.9.0",)
TARGETS = targets("gevent", against_apscheduler=2, of_bare=0.65)


class GeventFramework(Framework):
    """The hub of the main thread. What the measurements call back runs in greenlets, as a user's code does."""

    def __init__(self) -> None:
        import gevent
        from gevent.event import Event

        self._gevent: Any = gevent
        self._hub: Any = gevent.get_hub()
        self._over: Any = Event()

    def run(self, main: Callable[[], None]) -> None:
        self._gevent.spawn(main)
        self._over.wait()

    def stop(self) -> None:
        self._over.set()

    def scheduler(self, library: str) -> Any:
        name = "schedcore.adapters.gevent" if library == "schedcore" else f"{library}.schedulers.gevent"
        return import_module(name).GeventScheduler()

    def stop_scheduler(self, scheduler: Any, then: Callable[[], None]) -> None:
        scheduler.shutdown()
        then()

    def job(self, call: Callable[..., None]) -> Callable[..., Any]:
        return call

    def start(self, job: Callable[..., Any], *args: Any) -> None:
        self._gevent.spawn(job, *args)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], object]:
        return partial(self._gevent.spawn_later(delay_s, callback).kill, block=False)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._hub.loop.run_callback_threadsafe(self._gevent.spawn, callback)


def make() -> Framework:
    """The framework, imported now."""
    return GeventFramework()

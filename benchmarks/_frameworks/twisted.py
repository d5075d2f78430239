"""Twisted: plain functions in the reactor's thread pool, which is where APScheduler runs all jobs."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks._frameworks import Framework, targets

__all__ = ["REQUIREMENTS", "TARGETS", "TwistedFramework", "make"]

REQUIREMENTS = ("twisted==26.10.0",)
TARGETS = targets("twisted", against_apscheduler=1.7, of_bare=0.65)


class TwistedFramework(Framework):
    """The default reactor."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor

    def run(self, main: Callable[[], None]) -> None:
        self.reactor.callWhenRunning(main)
        self.reactor.run()

    def stop(self) -> None:
        self.reactor.stop()

    def scheduler(self, library: str) -> Any:
        name = "schedcore.adapters.twisted" if library == "schedcore" else f"{library}.schedulers.twisted"
        return import_module(name).TwistedScheduler(reactor=self.reactor)

    def stop_scheduler(self, scheduler: Any, then: Callable[[], None]) -> None:
        stopped = scheduler.shutdown()
        if stopped is None:
            then()
        else:
            stopped.addCallback(lambda _: then())

    def job(self, call: Callable[..., None]) -> Callable[..., Any]:
        return call

    def start(self, job: Callable[..., Any], *args: Any) -> None:
        # The pool logs what it raises.
        self.reactor.callInThread(job, *args)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], object]:
        timer = self.reactor.callLater(delay_s, callback)

        def cancel() -> None:
            if timer.active():
                timer.cancel()

        return cancel

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.reactor.callFromThread(callback)


def make() -> Framework:
    """The framework, imported now."""
    return TwistedFramework()

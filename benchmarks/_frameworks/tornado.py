"""Tornado: coroutine jobs on an ``IOLoop``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import isawaitable
from typing import Any

from benchmarks._frameworks import Framework, targets

__all__ = ["REQUIREMENTS", "TARGETS", "TornadoFramework", "make"]

REQUIREMENTS = ("tornado==6.6.1",)
TARGETS = targets("tornado", against_apscheduler=3, of_bare=0.65)


class TornadoFramework(Framework):
    """A current ``IOLoop``, made by Tornado."""

    def __init__(self) -> None:
        from tornado.gen import convert_yielded
        from tornado.ioloop import IOLoop

        self.io_loop = IOLoop()
        self._convert_yielded: Callable[[Any], Any] = convert_yielded
        # Strong references, as Tornado's own handlers have them.
        self._live: set[Any] = set()

    def run(self, main: Callable[[], None]) -> None:
        self.io_loop.add_callback(main)
        self.io_loop.start()
        self.io_loop.close(all_fds=True)

    def stop(self) -> None:
        self.io_loop.stop()

    def scheduler(self, library: str) -> Any:
        name = "schedcore.adapters.tornado" if library == "schedcore" else f"{library}.schedulers.tornado"
        return import_module(name).TornadoScheduler(io_loop=self.io_loop)

    def stop_scheduler(self, scheduler: Any, then: Callable[[], None]) -> None:
        stopped = scheduler.shutdown()
        if isawaitable(stopped):
            self.io_loop.add_future(self._convert_yielded(stopped), lambda _: then())
        else:
            self.io_loop.add_callback(then)

    def job(self, call: Callable[..., None]) -> Callable[..., Any]:
        async def job(*args: Any) -> None:
            call(*args)

        return job

    def start(self, job: Callable[..., Any], *args: Any) -> None:
        # ``spawn_callback`` does this, too, after a detour by way of ``add_callback``.
        future = self._convert_yielded(job(*args))
        self._live.add(future)
        future.add_done_callback(self._live.discard)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], object]:
        timer = self.io_loop.call_later(delay_s, callback)
        return lambda: self.io_loop.remove_timeout(timer)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.io_loop.add_callback(callback)


def make() -> Framework:
    """The framework, imported now."""
    return TornadoFramework()

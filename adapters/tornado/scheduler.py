"""The scheduler that lives on a Tornado ``IOLoop``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tornado.ioloop import IOLoop

from schedcore import config
from schedcore.adapters.asyncio.scheduler import AsyncIOScheduler
from schedcore.adapters.asyncio.wakeup import is_running_here
from schedcore.adapters.tornado.executor import TornadoExecutor
from schedcore.adapters.tornado.wakeup import TornadoWakeup, asyncio_loop_of
from schedcore.errors import SchedulerStartError
from schedcore.executors.base import BaseExecutor
from schedcore.schedulers.loop import LoopScheduler
from schedcore.wakeup import Wakeup

__all__ = ["TornadoScheduler"]


class TornadoScheduler(AsyncIOScheduler):
    """Option ``io_loop``: the ``IOLoop`` to live on, running or not yet; without it, the one that is current at ``start``.

    Every ``IOLoop`` runs on an asyncio loop, so that this is an ``AsyncIOScheduler`` in all but what Tornado does its own way.
    ``shutdown`` and ``call`` return Tornado futures. ``async with TornadoScheduler() as scheduler:`` starts it and, at the
    end, waits for what runs.
    """

    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {
        **LoopScheduler._extra_options,
        "io_loop": config.as_is,
    }
    _io_loop: IOLoop | None = None
    _own_wakeup: TornadoWakeup | None = None

    @property
    def io_loop(self) -> IOLoop | None:
        """The loop it lives on, or is configured to; None before ``start``."""
        if self._io_loop is not None:
            return self._io_loop
        io_loop: Any = self._config.extra.get("io_loop")
        return io_loop  # type: ignore[no-any-return]

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        """The asyncio loop under it."""
        return self._loop

    def _create_wakeup(self) -> Wakeup:
        io_loop = self._config.extra.get("io_loop")
        if io_loop is None:
            io_loop = _current()
        if not isinstance(io_loop, IOLoop):
            raise SchedulerStartError(f"io_loop must be a Tornado IOLoop, not {io_loop!r}")
        loop = asyncio_loop_of(io_loop)
        if loop.is_closed():
            raise SchedulerStartError("the IOLoop is closed; start the scheduler on one that is not")
        if loop.is_running() and not is_running_here(loop):
            raise SchedulerStartError(
                "the IOLoop runs in another thread, and start() belongs there; call io_loop.add_callback(scheduler.start)"
            )
        self._io_loop = io_loop
        self._loop = loop
        self._own_wakeup = TornadoWakeup(io_loop)
        return self._own_wakeup

    def _create_default_executor(self) -> BaseExecutor:
        return TornadoExecutor()

    def _release_wakeup(self) -> None:
        if self._own_wakeup is not None:
            self._own_wakeup.close()
            self._own_wakeup = None

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._io_loop = None
        self._own_wakeup = None


def _current() -> IOLoop:
    """The current ``IOLoop``, made if need be where Tornado's programs expect that: in the main thread."""
    here = asyncio._get_running_loop() is not None or threading.current_thread() is threading.main_thread()
    # In another thread Tornado would make a loop that nobody runs.
    io_loop: IOLoop | None = IOLoop.current(instance=here)
    if io_loop is None:
        raise SchedulerStartError(
            "this thread has no IOLoop; call start() in the thread of the loop (IOLoop.add_callback calls there), or say which "
            "loop it is: TornadoScheduler(io_loop=io_loop)"
        )
    return io_loop

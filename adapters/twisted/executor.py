"""The executor on a Twisted reactor: coroutines and Deferreds in its thread, plain functions in its thread pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schedcore.adapters.twisted._jobs import ReactorJobs
from schedcore.adapters.twisted._threads import Threads
from schedcore.adapters.twisted.placing import runs_in_reactor
from schedcore.executors.base import ExecutorHost
from schedcore.executors.loop import LoopExecutor
from schedcore.executors.pool import whole_number

__all__ = ["TwistedExecutor"]


class TwistedExecutor(LoopExecutor):
    """``max_workers``: jobs that are plain functions, at a time; without it, as many as the reactor's thread pool has threads,
    less two (``reactor.suggestThreadPoolSize`` sets their number). Jobs in the reactor's thread are not limited.

    ``in_reactor``: run plain functions in the reactor's thread, too. ``reactor``: the one to use where the scheduler is not a
    ``TwistedScheduler``; without it, the one that is installed.
    """

    _jobs: ReactorJobs
    _threads: Threads

    def __init__(self, max_workers: int | None = None, in_reactor: bool = False, reactor: Any = None) -> None:
        workers = None if max_workers is None else whole_number("max_workers", max_workers)
        super().__init__(ReactorJobs(), Threads(workers))
        self._in_reactor = in_reactor
        self._given = reactor

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        reactor: Any = self._given or getattr(scheduler, "reactor", None)
        if reactor is None:
            from twisted.internet import reactor
        self._jobs.reactor = self._threads.reactor = reactor
        super().start(scheduler, alias)

    def _is_native(self, func: Callable[..., Any]) -> bool:
        return self._in_reactor or runs_in_reactor(func)

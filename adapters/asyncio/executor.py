"""The executor on an asyncio loop: coroutine jobs as tasks on the loop, plain functions in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from schedcore.adapters.asyncio._jobs import CoroutineJobs
from schedcore.adapters.asyncio._threads import Threads
from schedcore.errors import SchedulerStartError
from schedcore.executors.base import ExecutorHost
from schedcore.executors.loop import LoopExecutor
from schedcore.references import is_coroutine_callable

__all__ = ["AsyncIOExecutor"]


class AsyncIOExecutor(LoopExecutor):
    """``max_workers``: threads for jobs that are plain functions. Coroutine jobs are not limited in number."""

    #: Whose loop it runs on, as a rule.
    _SCHEDULER = "AsyncIOScheduler"
    _jobs: CoroutineJobs
    _threads: Threads

    def __init__(self, max_workers: int = 10) -> None:
        super().__init__(CoroutineJobs(self._native), Threads(max_workers))

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        loop = getattr(scheduler, "event_loop", None)
        if loop is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise SchedulerStartError(
                    f"the executor {alias!r} runs coroutines on an event loop, and none is running in the thread that starts the "
                    f"scheduler; use {self._SCHEDULER}, or start() from a coroutine, or another executor (a thread pool runs "
                    f"coroutines, too)"
                ) from None
        self._jobs.loop = self._threads.loop = loop
        super().start(scheduler, alias)

    def _native(self, func: Callable[..., Any]) -> Callable[..., Awaitable[Any]] | None:
        """What to call and await on the loop for a job of this function; None for one that runs in a thread."""
        return func if is_coroutine_callable(func) else None

    def _is_native(self, func: Callable[..., Any]) -> bool:
        return self._native(func) is not None

    def cancel_begun(self) -> None:
        """Cancel the coroutine jobs that run. In the loop's thread."""
        self._jobs.cancel_begun()

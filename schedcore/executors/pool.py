"""Thread and process pools.

``pool_kwargs`` takes what the pools of ``concurrent.futures`` take, under the same names; anything else is refused by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schedcore.errors import ConfigurationError, UnknownOptionError
from schedcore.executors._workers import WorkerPool
from schedcore.executors.base import ExecutorHost, RunExecutor, call_run
from schedcore.run import Finish, Run, RunState

__all__ = ["ProcessPoolExecutor", "ThreadPoolExecutor"]


def run_awaitable(awaitable: Any) -> Any:
    """Run what a job returned to a thread to its end, on an event loop of its own."""
    import asyncio

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


def _check_max_workers(max_workers: int) -> int:
    if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
        raise ConfigurationError(f"max_workers must be a whole number from 1 up, not {max_workers!r}")
    return max_workers


class ThreadPoolExecutor(RunExecutor):
    """Runs jobs in threads, ``max_workers`` at a time. A coroutine job is run to its end, on a loop of the worker's own.

    ``pool_kwargs``: ``thread_name_prefix``, ``initializer`` (called in each thread as it starts) and its ``initargs``.
    """

    _OPTIONS = ("initargs", "initializer", "thread_name_prefix")

    def __init__(self, max_workers: int = 10, pool_kwargs: Mapping[str, Any] | None = None) -> None:
        self._max_workers = _check_max_workers(max_workers)
        options = dict(pool_kwargs or {})
        for name in options:
            if name not in self._OPTIONS:
                raise UnknownOptionError(name, self._OPTIONS, "thread pool")
        initializer: Callable[..., object] | None = options.get("initializer")
        initargs = tuple(options.get("initargs", ()))
        self._begin: Callable[[], None] | None = None
        if initializer is not None:
            self._begin = lambda: (initializer(*initargs), None)[1]
        self._prefix: str | None = options.get("thread_name_prefix")
        self._pool: WorkerPool[Run] | None = None
        # The run that each worker has in hand, by thread id. A worker writes its own key only.
        self._in_hand: dict[int, Run] = {}

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        super().start(scheduler, alias)
        name = self._prefix if self._prefix is not None else f"schedcore-{alias}"
        self._pool = WorkerPool(self._max_workers, self._work, name, begin=self._begin)
        self._in_hand = {}

    def submit(self, runs: Sequence[Run]) -> None:
        pool = self._pool
        if pool is None:
            raise RuntimeError(f"the executor {self._alias!r} is not running")
        pool.submit(runs)

    def _work(self, run: Run) -> None:
        host = self._host
        assert host is not None
        me = threading.get_ident()
        self._in_hand[me] = run
        try:
            finish = call_run(run, host, run_awaitable)
        finally:
            del self._in_hand[me]
        host.run_finished(finish)

    def live_runs(self) -> list[Run]:
        return list(self._in_hand.copy().values())

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        pool = self._pool
        if pool is None:
            return []
        cut: list[Run] = []
        if not wait:
            cut = self._withdraw(pool)
        pool.close()
        if wait and not pool.join(timeout):
            # Threads cannot be stopped from outside: what has begun goes on, what has not is taken back.
            cut = self._withdraw(pool) + self.live_runs()
        return cut

    def _withdraw(self, pool: WorkerPool[Run]) -> list[Run]:
        host = self._host
        assert host is not None
        runs = pool.withdraw()
        for run in runs:
            host.run_finished(Finish(run, RunState.CANCELLED, None, host.clock.wall_us()))
        return runs

    def join(self, timeout: float | None = None) -> bool:
        """Wait, after ``shutdown``, until the threads have ended; False when ``timeout`` s ran out first."""
        return self._pool is None or self._pool.join(timeout)


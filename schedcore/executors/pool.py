"""Thread and process pools.

``pool_kwargs`` takes what the pools of ``concurrent.futures`` take, under the same names; anything else is refused by name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from schedcore.errors import ConfigurationError, FailureError, UnknownOptionError
from schedcore.executors._futures import BasePoolExecutor
from schedcore.executors._workers import ThreadMaker, WorkerPool, daemon_thread
from schedcore.executors.base import ExecutorHost, RunExecutor, call_run, failed, run_awaitable
from schedcore.run import Finish, Run, RunState, current_run

if TYPE_CHECKING:
    from schedcore.executors._process import ProcessDiedError, ProcessPoolExecutor, RemoteError

__all__ = [
    "BasePoolExecutor",
    "InitializerError",
    "PoolExecutor",
    "ProcessDiedError",
    "ProcessPoolExecutor",
    "RemoteError",
    "RunPool",
    "ThreadMaker",
    "ThreadPoolExecutor",
    "WorkerPool",
    "WorkerPoolExecutor",
    "whole_number",
]


class InitializerError(FailureError):
    """The initializer of a worker raised, which is the ``__cause__``; it is called again for the next run."""


def whole_number(name: str, value: object) -> int:
    """A number from 1 up; digits as text are taken too, as configuration files give them."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number from 1 up, not {value!r}")
    return value


def _initializer_of(options: Mapping[str, Any]) -> tuple[Callable[..., object] | None, tuple[Any, ...]]:
    """``initializer`` (a callable, or text that names one) and ``initargs``."""
    initializer = options.get("initializer")
    if isinstance(initializer, str):
        from schedcore.references import resolve

        initializer = resolve(initializer)
    if initializer is not None and not callable(initializer):
        raise ConfigurationError(f"initializer must be a callable or text that names one, not {initializer!r}")
    initargs = options.get("initargs", ())
    if isinstance(initargs, str) or not isinstance(initargs, Sequence):
        raise ConfigurationError(f"initargs must be a sequence of arguments, not {initargs!r}")
    return initializer, tuple(initargs)


class RunPool(Protocol):
    """What carries out runs side by side, and reports each: ``WorkerPool``, or what a framework has."""

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""

    def submit(self, runs: Sequence[Run], /) -> None:
        """Queue runs, in order. Raises ``RuntimeError``, and has taken none, when closed."""

    def live(self) -> list[Run]:
        """The runs that were taken and are not over, in order. From any thread."""

    def withdraw(self) -> list[Run]:
        """Take back what has not begun, in order; none of it is reported."""

    def close(self) -> None:
        """Take no more. Twice is harmless."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait, after ``close``, until all is over; False when ``timeout`` s ran out first.

        A job that calls this does not wait for itself, nor for another that waits in here too.
        """


class PoolExecutor(RunExecutor):
    """One whose runs are carried out by a pool, made anew at each start."""

    _pool: RunPool | None = None

    @abstractmethod
    def _make_pool(self, host: ExecutorHost, name: str) -> RunPool:
        """The pool. It reports to ``host`` as long as it lives, whatever the executor is used for afterwards."""

    def _cut_begun(self, pool: RunPool) -> list[Run]:
        """End what runs, where that is possible, and return what was cut. Here: threads cannot be stopped from outside."""
        asking = current_run.get()
        return [run for run in pool.live() if run is not asking]

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        if self._pool is not None and not self._pool.closed:
            raise RuntimeError(f"the executor {self._alias!r} is running already")
        super().start(scheduler, alias)
        self._pool = self._make_pool(scheduler, f"schedcore-{alias}")

    def submit(self, runs: Sequence[Run]) -> None:
        pool = self._pool
        if pool is None or pool.closed:
            raise RuntimeError(f"the executor {self._alias!r} is not running")
        pool.submit(runs)

    def live_runs(self) -> list[Run]:
        return [] if self._pool is None else self._pool.live()

    def close(self) -> None:
        """Take no more runs. From any thread; twice is harmless."""
        if self._pool is not None:
            self._pool.close()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        pool = self._pool
        if pool is None:
            return []
        pool.close()
        if not wait:
            return self._cancel_queued(pool)
        if pool.join(timeout):
            return []
        return self._cancel_queued(pool) + self._cut_begun(pool)

    def join(self, timeout: float | None = None) -> bool:
        """Wait, after ``shutdown``, until what had begun is over; False when ``timeout`` s ran out first."""
        return self._pool is None or self._pool.join(timeout)

    def _cancel_queued(self, pool: RunPool) -> list[Run]:
        host = self._started_host()
        runs = pool.withdraw()
        for run in runs:
            host.run_finished(Finish(run, RunState.CANCELLED, None, host.clock.wall_us()))
        return runs


@BasePoolExecutor.register
class WorkerPoolExecutor(PoolExecutor):
    """What thread and process pools share: their options."""

    _OPTIONS: tuple[str, ...] = ()
    _KIND = "pool"

    def __init__(self, max_workers: int = 10, pool_kwargs: Mapping[str, Any] | None = None) -> None:
        self._max_workers = whole_number("max_workers", max_workers)
        options = dict(pool_kwargs or {})
        for name in options:
            if name not in self._OPTIONS:
                raise UnknownOptionError(name, self._OPTIONS, self._KIND)
        self._initializer, self._initargs = _initializer_of(options)
        self._options = options


class ThreadPoolExecutor(WorkerPoolExecutor):
    """Runs jobs in threads, ``max_workers`` at a time. A coroutine job is run to its end, on a loop of the worker's own.

    ``pool_kwargs``: ``thread_name_prefix``, ``initializer`` (called in each thread before its first run; one that
    raises fails that run only, and is called again for the next) and its ``initargs``.
    """

    _OPTIONS = ("initargs", "initializer", "thread_name_prefix")
    _KIND = "thread pool"

    #: Gives the value of an awaitable that a job returned; called in the job's thread, in its context.
    _finish_awaitable: Callable[[Any], Any] = staticmethod(run_awaitable)

    def _thread_maker(self) -> ThreadMaker:
        """Where its threads come from; asked at each start."""
        return daemon_thread

    def _make_pool(self, host: ExecutorHost, name: str) -> RunPool:
        initializer, initargs, alias, logger = self._initializer, self._initargs, self._alias, self._logger

        def begin() -> None:
            assert initializer is not None
            try:
                initializer(*initargs)
            # All there is, as for a job: it is a user's code, and goes on as the cause of what its run fails with.
            except BaseException as error:
                logger.exception("the initializer of the worker threads raised; the run it was for fails")
                raise InitializerError(f"the initializer of executor {alias!r} raised {error!r}") from error

        return WorkerPool(
            self._max_workers,
            lambda run: call_run(run, host, self._finish_awaitable),
            host.run_finished,
            lambda run, error: failed(run, None, host.clock.wall_us(), error),
            self._options.get("thread_name_prefix") or name,
            begin=None if initializer is None else begin,
            make_thread=self._thread_maker(),
            # Of a scheduler on an event loop.
            between=getattr(host, "give_way", None),
        )


def __getattr__(name: str) -> Any:
    # ``multiprocessing`` takes longer to import than all of the thread pool: it is, when somebody asks for processes.
    if name in ("ProcessDiedError", "ProcessPoolExecutor", "RemoteError"):
        from schedcore.executors import _process

        return getattr(_process, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

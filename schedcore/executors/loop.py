"""Executors that live on an event loop: what is the same on asyncio, Tornado, Twisted and Qt, and on loops of users' own.

``LoopJobs`` runs jobs in the loop's thread. ``LoopExecutor`` is one of these beside a pool of threads, for what a framework calls
asynchronous and for plain functions. An adapter says how a run is begun on its loop, and how one that has begun is cancelled.

*Who begins a run.* It is live from ``submit`` until it is reported. It waits until its number is taken out of ``_waiting``: by
the loop, which then begins it, or by a thread that takes it back. Only one of the two can, and no lock is needed.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from schedcore._forks import forget_after_fork, notice_fork
from schedcore.executors.base import ExecutorHost, RunExecutor
from schedcore.executors.pool import PoolExecutor
from schedcore.locks import make_event
from schedcore.run import Finish, Run, RunState

__all__ = ["LOOK_S", "LoopExecutor", "LoopJobs", "notice_fork"]

# Seconds. How often a thread that waits for a loop looks whether that is still there.
LOOK_S = 1.0
# Seconds. A job that does not let itself be cancelled is not waited for longer.
_GRACE_S = 1.0


_started: weakref.WeakSet[LoopJobs] = weakref.WeakSet()


class LoopJobs(RunExecutor):
    """Runs jobs in the thread of an event loop. ``submit`` is called there."""

    def __init__(self) -> None:
        self._live: dict[int, Run] = {}
        self._waiting: dict[int, Run] = {}
        self._next = 0
        self._closed = True
        self._drained = make_event()

    @abstractmethod
    def _begin_soon(self, numbers: range, runs: Sequence[Run]) -> None:
        """Have the loop begin these runs, which go by these numbers, in order, later. Raises ``RuntimeError`` when it is closed.

        To begin one is to take its number out of ``_waiting``; that of one that was taken back is not there any more. The end
        of each that was begun goes to ``_over``.
        """

    @abstractmethod
    def in_loop_thread(self) -> bool:
        """Whether the caller is in the loop's thread, which must not wait."""

    @abstractmethod
    def _is_loop_over(self) -> bool:
        """Whether the loop will not call back any more."""

    def _cancel_soon(self) -> bool:
        """Have the runs that have begun cancelled. False where there is no way to, or no loop any more. From any thread."""
        return False

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        super().start(scheduler, alias)
        _started.add(self)
        # Of an earlier start: what waits is going to begin; what has begun ends, or has gone with its loop.
        self._live = self._waiting.copy()
        self._drained.clear()
        self._closed = False
        # Looked up once, because every run needs them.
        self._run_started = scheduler.run_started
        self._run_finished = scheduler.run_finished
        self._wall_us = scheduler.clock.wall_us

    def submit(self, runs: Sequence[Run]) -> None:
        if self._closed:
            raise RuntimeError(f"the executor {self._alias!r} is not running")
        first = self._next
        self._next = first + len(runs)
        numbers = range(first, self._next)
        taken = dict(zip(numbers, runs, strict=True))
        self._live.update(taken)
        self._waiting.update(taken)
        try:
            self._begin_soon(numbers, runs)
        except RuntimeError:
            for number in numbers:
                self._waiting.pop(number, None)
                self._live.pop(number, None)
            raise

    def live_runs(self) -> list[Run]:
        return list(self._live.copy().values())

    @property
    def closed(self) -> bool:
        """Whether it takes no runs: not yet, or not any more."""
        return self._closed

    def close(self) -> None:
        """Take no more runs. From any thread; twice is harmless."""
        self._closed = True
        self._look_if_drained()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """Waiting blocks, so it is for threads other than the loop's: there, ``wait=True`` only stops taking runs."""
        if self._host is None:
            return []
        self.close()
        if not wait:
            return self._withdraw()
        if self.in_loop_thread() or self._join(timeout):
            return []
        cut = self._withdraw() + self.live_runs()
        if self._cancel_soon():
            self._drained.wait(_GRACE_S)
        return cut

    def forget(self) -> None:
        """After a fork, in the child: the runs are the parent's, and what waits begins there."""
        self._closed = True
        self._waiting.clear()
        self._live.clear()

    def _join(self, timeout: float | None) -> bool:
        """Wait until all runs are over; False when ``timeout`` s ran out first, or the loop is gone."""
        end_s = None if timeout is None else monotonic() + timeout
        while not self._drained.is_set():
            left_s = LOOK_S if end_s is None else min(LOOK_S, end_s - monotonic())
            if left_s <= 0 or self._is_loop_over():
                return False
            self._drained.wait(left_s)
        return True

    def _withdraw(self) -> list[Run]:
        """Take back what has not begun, in order, and report it as cancelled."""
        runs: list[Run] = []
        for number in list(self._waiting):
            run = self._waiting.pop(number, None)
            if run is not None:
                runs.append(run)
                self._over(number, Finish(run, RunState.CANCELLED, None, self._wall_us()))
        return runs

    def _over(self, number: int, finish: Finish | None) -> None:
        """A run is over; report how it ended, unless that was reported already."""
        # Not there is one that was cut and went on, while the executor was started again.
        self._live.pop(number, None)
        if finish is not None:
            self._run_finished(finish)
        if self._closed:
            self._look_if_drained()

    def _look_if_drained(self) -> None:
        if not self._live:
            self._drained.set()


def _after_fork_in_child() -> None:
    for jobs in list(_started):
        jobs.forget()


forget_after_fork(_after_fork_in_child)


class LoopExecutor(RunExecutor):
    """``jobs``: for what the framework calls asynchronous; ``threads``: for plain functions."""

    def __init__(self, jobs: LoopJobs, threads: PoolExecutor) -> None:
        self._jobs = jobs
        self._threads = threads

    @abstractmethod
    def _is_native(self, func: Callable[..., Any]) -> bool:
        """Whether a job of this function runs in the loop's thread."""

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        super().start(scheduler, alias)
        self._threads.start(scheduler, alias)
        self._jobs.start(scheduler, alias)

    def submit(self, runs: Sequence[Run]) -> None:
        if self._jobs.closed:
            raise RuntimeError(f"the executor {self._alias!r} is not running")
        native: list[Run] = []
        plain: list[Run] = []
        last: object = None
        place = plain
        for run in runs:
            func = run.job.func
            if func is not last:
                place = native if func is not None and self._is_native(func) else plain
                last = func
            place.append(run)
        if plain:
            self._threads.submit(plain)
        if native:
            self._jobs.submit(native)

    def live_runs(self) -> list[Run]:
        return self._jobs.live_runs() + self._threads.live_runs()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """Waiting blocks, so it is for threads other than the loop's: there, ``wait=True`` only stops taking runs."""
        if self._host is None:
            return []
        self._jobs.close()
        self._threads.close()
        if wait and self._jobs.in_loop_thread():
            return []
        end_s = None if timeout is None else monotonic() + timeout
        cut = self._jobs.shutdown(wait, timeout)
        return cut + self._threads.shutdown(wait, None if end_s is None else max(0.0, end_s - monotonic()))

"""Runs jobs at once, in the thread that submits them. For tests, and for stepping through a schedule with a debugger.

``submit`` returns when its runs are over, so a scheduler that has this executor waits for every job. A job that adds a
job which is due at once has it run inside itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic

from schedcore.executors.base import ExecutorHost, RunExecutor, call_run
from schedcore.run import Finish, Run, RunState, current_run

__all__ = ["DebugExecutor"]


class _Batch:
    """The runs of one ``submit``: those that wait, and the one in hand."""

    __slots__ = ("in_hand", "queue", "thread")

    def __init__(self, runs: Sequence[Run]) -> None:
        self.thread = threading.get_ident()
        self.queue = deque(runs)
        self.in_hand: list[Run] = []


class DebugExecutor(RunExecutor):
    """Runs jobs in the thread that submits them.

    A ``KeyboardInterrupt`` in the main thread ends ``submit`` and reaches the program: the run that it hit has failed,
    the rest of its batch is cancelled. ``shutdown`` from a job first carries out what is left of that job's batch.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._batches: list[_Batch] = []
        self._waiting: dict[int, int] = {}  # thread id -> how many calls of shutdown wait in it
        self._open = False

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        if self._open:
            raise RuntimeError(f"the executor {self._alias!r} is running already")
        super().start(scheduler, alias)
        self._open = True

    def submit(self, runs: Sequence[Run]) -> None:
        batch = _Batch(runs)
        with self._changed:
            if not self._open:
                raise RuntimeError(
                    f"the executor {self._alias!r} was shut down" if self._host else "the executor was not started"
                )
            self._batches.append(batch)
        try:
            self._carry_out(batch)
        finally:
            self._cancel([batch])
            with self._changed:
                self._batches.remove(batch)
                self._changed.notify_all()

    def _carry_out(self, batch: _Batch) -> None:
        host = self._started_host()
        while batch.queue:
            try:
                run = batch.queue.popleft()
            except IndexError:  # another thread took them back
                return
            batch.in_hand.append(run)
            try:
                finish = call_run(run, host)
            finally:
                batch.in_hand.pop()
            host.run_finished(finish)
            del run, finish

    def live_runs(self) -> list[Run]:
        with self._changed:
            batches = list(self._batches)
        return [run for batch in batches for run in (*batch.in_hand, *batch.queue.copy())]

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        with self._changed:
            self._open = False
            batches = list(self._batches)
        if not wait:
            return self._cancel(batches)
        me = threading.get_ident()
        for batch in batches:
            if batch.thread == me:
                self._carry_out(batch)
        if self._wait_for_others(me, timeout):
            return []
        cut = self._cancel(batches)
        asking = current_run.get()
        return cut + [run for batch in batches for run in tuple(batch.in_hand) if run is not asking]

    def _wait_for_others(self, me: int, timeout: float | None) -> bool:
        """Whether all batches are over, but for those of threads that are, like this one, in a job that waits here."""
        deadline = None if timeout is None else monotonic() + timeout
        with self._changed:
            inside = any(batch.thread == me for batch in self._batches)
            if inside:
                self._waiting[me] = self._waiting.get(me, 0) + 1
                self._changed.notify_all()
            try:
                while any(
                    batch.thread != me and not (inside and batch.thread in self._waiting) for batch in self._batches
                ):
                    left_s = None if deadline is None else deadline - monotonic()
                    if left_s is not None and left_s <= 0:
                        return False
                    self._changed.wait(left_s)
            finally:
                if inside:
                    self._waiting[me] -= 1
                    if not self._waiting[me]:
                        del self._waiting[me]
        return True

    def _cancel(self, batches: Sequence[_Batch]) -> list[Run]:
        cut: list[Run] = []
        host = self._host
        for batch in batches:
            while True:
                try:
                    run = batch.queue.popleft()
                except IndexError:
                    break
                cut.append(run)
                assert host is not None
                host.run_finished(Finish(run, RunState.CANCELLED, None, host.clock.wall_us()))
        return cut

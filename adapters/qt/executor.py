"""The executors of a Qt program: jobs in threads of a ``QThreadPool``, and jobs in the Qt thread for what touches widgets."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from inspect import iscoroutine
from typing import Any

from schedcore.adapters.qt.calls import QtCalls, application, in_qt_thread
from schedcore.adapters.qt.threads import QtThreads
from schedcore.errors import SchedulerStartError
from schedcore.executors.base import ExecutorHost, RunExecutor, call_run
from schedcore.executors.pool import ThreadMaker, ThreadPoolExecutor
from schedcore.run import Finish, Run, RunState

__all__ = ["QtExecutor", "QtMainThreadExecutor"]

# Seconds. How often a thread that waits for the Qt thread looks whether there is an application.
_LOOK_S = 1.0


class QtExecutor(ThreadPoolExecutor):
    """Runs jobs in threads of a ``QThreadPool`` of its own, ``max_workers`` at a time. They must not touch widgets.

    A coroutine job is run to its end, on an asyncio loop of the worker's own.
    """

    def __init__(self, max_workers: int = 10) -> None:
        super().__init__(max_workers)

    def _thread_maker(self) -> ThreadMaker:
        return QtThreads()


class QtMainThreadExecutor(RunExecutor):
    """Runs jobs in the Qt thread, one after the other: for short ones that touch widgets. The window stands still for each.

    A burst of them is run in slices of a few milliseconds, between which Qt deals with its windows and timers.
    A job that waits on this thread (a coroutine) fails: it is for ``QtExecutor``.
    """

    def __init__(self) -> None:
        self._calls: QtCalls | None = None
        # By a serial number. A run is in one of the two, or for an instant in both, until it is reported.
        self._queued: dict[int, Run] = {}
        self._begun: dict[int, Run] = {}
        self._serial = 0
        self._closed = True
        self._drained = threading.Event()

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        """See ``BaseExecutor``. From any thread. Raises ``SchedulerStartError`` when there is no application."""
        app = application()
        if app is None:
            raise SchedulerStartError(
                f"the executor {alias!r} runs jobs in the Qt thread, and there is no Qt application; make the "
                f"QApplication (or QCoreApplication) before start()"
            )
        super().start(scheduler, alias)
        self._calls = QtCalls(app)
        self._drained.clear()
        self._closed = False

    def submit(self, runs: Sequence[Run]) -> None:
        calls = self._calls
        if self._closed or calls is None:
            raise RuntimeError(f"the executor {self._alias!r} is not running")
        first = self._serial
        self._serial += len(runs)
        numbers = range(first, self._serial)
        self._queued.update(zip(numbers, runs, strict=True))
        try:
            calls.put(*(partial(self._run, number) for number in numbers))
        except RuntimeError:
            for number in numbers:
                self._queued.pop(number, None)
            raise

    def _run(self, number: int) -> None:
        """In the Qt thread."""
        run = self._queued.get(number)
        if run is None:
            return
        self._begun[number] = run
        if self._queued.pop(number, None) is None:
            # Taken back in this instant.
            del self._begun[number]
            return
        host = self._started_host()
        finish: Finish | None = None
        try:
            finish = call_run(run, host, _refuse_awaitable)
        except KeyboardInterrupt:
            # It is the outcome of the run, and reported. In a slot there is nobody whom it could go on to.
            pass
        finally:
            del self._begun[number]
            if finish is not None:
                host.run_finished(finish)
            self._look_if_drained()

    def _look_if_drained(self) -> None:
        if self._closed and not self._queued and not self._begun:
            self._drained.set()

    def live_runs(self) -> list[Run]:
        runs = {**self._queued.copy(), **self._begun.copy()}
        return [runs[number] for number in sorted(runs)]

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """See ``RunExecutor``. In the Qt thread ``wait=True`` runs what is queued there and then."""
        calls, app = self._calls, application()
        if calls is None:
            return []
        self._closed = True
        self._look_if_drained()
        cut: list[Run] = []
        if not wait or app is None:
            cut = self._withdraw()
        elif in_qt_thread(app):
            for number in list(self._queued):
                self._run(number)
        elif not self._wait_drained(timeout):
            cut = self._withdraw() + list(self._begun.copy().values())
        calls.close()
        return cut

    def _wait_drained(self, timeout: float | None) -> bool:
        while not self._drained.wait(_LOOK_S if timeout is None else timeout):
            if timeout is not None or application() is None:
                return False
        return True

    def _withdraw(self) -> list[Run]:
        host = self._started_host()
        runs = []
        for number in list(self._queued):
            run = self._queued.pop(number, None)
            if run is not None:
                runs.append(run)
                host.run_finished(Finish(run, RunState.CANCELLED, None, host.clock.wall_us()))
        self._look_if_drained()
        return runs


def _refuse_awaitable(awaitable: Any) -> Any:
    if iscoroutine(awaitable):
        awaitable.close()
    raise TypeError(
        f"the job gave {awaitable!r}, for which the Qt thread would have to wait; a QtExecutor waits in a thread"
    )

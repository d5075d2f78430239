"""The executors of a Qt program: jobs in threads of a ``QThreadPool``, and jobs in the Qt thread for what touches widgets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from inspect import iscoroutine
from typing import Any

from schedcore.adapters.qt.calls import QtCalls, application, in_qt_thread
from schedcore.adapters.qt.threads import QtThreads
from schedcore.errors import SchedulerStartError
from schedcore.executors.base import ExecutorHost, call_run
from schedcore.executors.loop import LoopJobs
from schedcore.executors.pool import ThreadMaker, ThreadPoolExecutor
from schedcore.run import Run

__all__ = ["QtExecutor", "QtMainThreadExecutor"]


class QtExecutor(ThreadPoolExecutor):
    """Runs jobs in threads of a ``QThreadPool`` of its own, ``max_workers`` at a time. They must not touch widgets.

    A coroutine job is run to its end, on an asyncio loop of the worker's own.
    """

    def __init__(self, max_workers: int = 10) -> None:
        super().__init__(max_workers)

    def _thread_maker(self) -> ThreadMaker:
        return QtThreads()


class QtMainThreadExecutor(LoopJobs):
    """Runs jobs in the Qt thread, one after the other: for short ones that touch widgets. The window stands still for each.

    A burst of them is run in slices of a few milliseconds, between which Qt deals with its windows and timers.
    A job that waits on this thread (a coroutine) fails: it is for ``QtExecutor``.
    """

    _calls: QtCalls | None = None

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

    def _begin_soon(self, numbers: range, runs: Sequence[Run]) -> None:
        assert self._calls is not None
        self._calls.put(*(partial(self._run, number) for number in numbers))

    def _run(self, number: int) -> None:
        """In the Qt thread."""
        run = self._waiting.pop(number, None)
        if run is None:  # it was taken back
            return
        try:
            finish = call_run(run, self._started_host(), _refuse_awaitable)
        except KeyboardInterrupt:
            # It is the outcome of the run, and reported. In a slot there is nobody whom it could go on to.
            finish = None
        self._over(number, finish)

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """See ``RunExecutor``. In the Qt thread ``wait=True`` runs what is queued there and then."""
        if wait and self.in_loop_thread():
            self.close()
            for number in list(self._waiting):
                self._run(number)
        cut = super().shutdown(wait, timeout)
        if self._calls is not None:
            self._calls.close()
        return cut

    def in_loop_thread(self) -> bool:
        app = application()
        return app is not None and in_qt_thread(app)

    def _is_loop_over(self) -> bool:
        return application() is None


def _refuse_awaitable(awaitable: Any) -> Any:
    if iscoroutine(awaitable):
        awaitable.close()
    raise TypeError(
        f"the job gave {awaitable!r}, for which the Qt thread would have to wait; a QtExecutor waits in a thread"
    )

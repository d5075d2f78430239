"""The scheduler that lives in a Qt program."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from qtpy import API_NAME

from schedcore.adapters.qt._binding import imported_bindings
from schedcore.adapters.qt.calls import application, in_qt_thread
from schedcore.adapters.qt.executor import QtExecutor
from schedcore.adapters.qt.future import QtFuture, finish_future
from schedcore.adapters.qt.signals import QtSignals
from schedcore.adapters.qt.wakeup import QtWakeup
from schedcore.errors import SchedulerStartError
from schedcore.events import EVENT_ALL, SchedulerEvent
from schedcore.executors.base import BaseExecutor
from schedcore.jobstores.base import JobStore
from schedcore.run import Run
from schedcore.schedulers.base import register_exit_hook
from schedcore.schedulers.loop import LoopScheduler, is_stopping, limit_of
from schedcore.wakeup import Done, Wakeup

__all__ = ["QtScheduler"]

P = ParamSpec("P")
T = TypeVar("T")

# Seconds. How long an application that quits waits for jobs to end while Qt can still serve them. What takes longer is waited
# for at the end of the program, as everywhere.
QUIT_PATIENCE_S = 1.0

# At the end of the program the bindings, which are imported by now, delete what is Qt's.
register_exit_hook()


class QtScheduler(LoopScheduler):
    """Started in the thread of the application (``QCoreApplication`` or ``QApplication``), before or after ``exec()``.

    ``with QtScheduler() as scheduler:`` starts it and, at the end, waits for what runs. When the application quits, the
    scheduler stops: what has not begun is taken back, and what runs is waited for.
    """

    _own_wakeup: QtWakeup | None = None
    _qt_thread_id: int | None = None
    _signals: QtSignals | None = None
    # Whether the application has quit, and how many wait for the end of the scheduler in an event loop of their own.
    _quit = False
    _waiting_here = 0

    @property
    def signals(self) -> QtSignals:
        """Events as Qt signals, emitted in the Qt thread. To be asked for there the first time, also before ``start``."""
        if self._signals is None:
            self._signals = QtSignals()
            self.add_listener(self._forward, EVENT_ALL)
        return self._signals

    def _forward(self, event: SchedulerEvent) -> None:
        signals = self._signals
        assert signals is not None
        if self._wakeup is None:
            signals.tell(event)
        else:
            self._call_soon(partial(signals.tell, event))

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> bool:
        """Stop; whether all jobs were over and none was cut short. ``signals.stopped`` comes at the end, with those that were.

        Nothing fires from the call on. ``wait=True`` returns when everything is closed; in the Qt thread an event loop runs
        meanwhile, so that windows stay alive and slots may be called; it is left early when the application quits. ``timeout``
        (s) bounds the wait: what is not over by then is cut. ``wait=False`` returns at once.

        From any thread, before start, twice, and from a job, which is not waited for. The Qt thread must not wait for a
        thread that waits in here.
        """
        timeout = limit_of(timeout)
        inside = self._waits_for_itself()
        first = self._begin_shutdown()
        if first:
            self._disarm()
            self._close_elsewhere(wait, timeout)
        if wait and not inside:
            # Who is first has given the time to those who close, and they say in the end what they have cut.
            self._wait_for_closed(None if first else timeout)
        over = self._closed.is_set() or not self._has_live_runs()
        return over and not self._cut

    def _wait_for_closed(self, timeout: float | None) -> None:
        if not self._on_loop() or application() is None:
            self._closed.wait(timeout)
            return
        self._waiting_here += 1
        try:
            end: QtFuture[list[Run]] = self._wait_for_end()
            end.wait_here(timeout)
        finally:
            self._waiting_here -= 1

    def _wait_closed(self) -> None:
        while not self._closed.wait(0.01):
            self._wait_for_closed(None)

    if TYPE_CHECKING:

        def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> QtFuture[T]: ...

    def _create_wakeup(self) -> Wakeup:
        app = application()
        if app is None:
            raise SchedulerStartError(_why_no_application())
        if not in_qt_thread(app):
            raise SchedulerStartError(
                "start() was called in a thread other than that of the Qt application; call it there: "
                "QTimer.singleShot(0, app, scheduler.start) does, from any thread that has an event loop"
            )
        self._quit = False
        self._qt_thread_id = threading.get_ident()
        self._own_wakeup = QtWakeup(app, self._application_quits)
        return self._own_wakeup

    def _create_default_executor(self) -> BaseExecutor:
        return QtExecutor()

    def _on_loop(self) -> bool:
        return threading.get_ident() == self._qt_thread_id

    def _is_loop_alive(self) -> bool:
        return application() is not None and (not self._quit or self._waiting_here > 0)

    def _is_loop_closed(self) -> bool:
        return application() is None

    def _make_waiter(self) -> tuple[QtFuture[Any], Done]:
        future: QtFuture[Any] = QtFuture(self._qt_thread_id)
        return future, finish_future(future)

    def _application_quits(self) -> None:
        """In the Qt thread, where nobody will run its loop any more."""
        self._quit = True
        if not self._closed.is_set():
            self.shutdown(wait=False)
            self._wait_for_closed(QUIT_PATIENCE_S)

    def _undo_start(self, started: list[BaseExecutor], opened: list[JobStore]) -> None:
        super()._undo_start(started, opened)
        if self._own_wakeup is not None:
            self._own_wakeup.close()
            self._own_wakeup = None

    def _ended(self) -> None:
        if self._signals is not None:
            self._call_soon(partial(self._tell_stopped, list(self._cut)))
        wakeup = self._own_wakeup
        if wakeup is not None:
            # Before anybody hears that it has ended: at the end of the program Qt's things are deleted then.
            wakeup.end_threads()
            self._own_wakeup = None
        super()._ended()
        if wakeup is not None:
            wakeup.close()

    def _tell_stopped(self, cut: list[Run]) -> None:
        if self._signals is not None:
            self._signals.stopped.emit(cut)

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._own_wakeup = None
        self._qt_thread_id = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, reason: type[BaseException] | None, *exc_info: object) -> None:
        try:
            leaving = self._leave(reason)
            if isinstance(leaving, QtFuture):
                leaving.wait_here(None)
        except KeyboardInterrupt:
            if is_stopping(reason):
                self._abandon()
            raise


def _why_no_application() -> str:
    from qtpy.QtCore import QCoreApplication

    if QCoreApplication.closingDown():
        return "the Qt application has ended; start the scheduler while there is one"
    others = [name for name in imported_bindings() if name != API_NAME.partition(" ")[0]]
    if others:
        return (
            f"there is no application of {API_NAME}, which the scheduler uses; if yours is made with {' or '.join(others)}, "
            f"import that alone, or set the environment variable QT_API before schedcore.adapters.qt is imported"
        )
    return "there is no Qt application; make the QApplication (or QCoreApplication) before start()"

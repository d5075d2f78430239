"""Qt: plain functions in a ``QThreadPool``, in a ``QCoreApplication``, of PyQt5 unless ``QT_API`` names another binding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks._frameworks import Framework, targets

__all__ = ["REQUIREMENTS", "TARGETS", "QtFramework", "make"]

REQUIREMENTS = ("PyQt5==5.15.11", "qtpy==2.4.3")
TARGETS = targets("qt", of_bare=0.65)


class QtFramework(Framework):
    """One application for each process, as Qt has it."""

    def __init__(self) -> None:
        from qtpy.QtCore import QCoreApplication, QRunnable, Qt, QThreadPool, QTimer

        from schedcore.adapters.qt.calls import QtCalls

        class Runnable(QRunnable):
            def __init__(self, job: Callable[..., Any], args: tuple[Any, ...]) -> None:
                super().__init__()
                self._job, self._args = job, args

            def run(self) -> None:
                self._job(*self._args)

        self.app = QCoreApplication([])
        self._calls = QtCalls(self.app)
        self._runnable = Runnable
        self._pool = QThreadPool()
        self._pool.setMaxThreadCount(10)
        self._timer_type = QTimer
        self._precise = Qt.TimerType.PreciseTimer

    def run(self, main: Callable[[], None]) -> None:
        self._calls.put(main)
        self.app.exec_()
        self._pool.waitForDone()

    def stop(self) -> None:
        self.app.quit()

    def scheduler(self, library: str) -> Any:
        if library == "schedcore":
            from schedcore.adapters.qt import QtScheduler

            return QtScheduler()
        from importlib import import_module

        return import_module(f"{library}.schedulers.qt").QtScheduler()

    def stop_scheduler(self, scheduler: Any, then: Callable[[], None]) -> None:
        scheduler.shutdown()
        then()

    def job(self, call: Callable[..., None]) -> Callable[..., Any]:
        return call

    def start(self, job: Callable[..., Any], *args: Any) -> None:
        self._pool.start(self._runnable(job, args))

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], object]:
        timer = self._timer_type(self.app)
        timer.setSingleShot(True)
        timer.setTimerType(self._precise)
        timer.timeout.connect(callback)
        timer.timeout.connect(timer.deleteLater)
        timer.start(max(0, round(delay_s * 1000)))

        def cancel() -> None:
            try:
                timer.stop()
            except RuntimeError:
                # It has gone off, and is deleted.
                pass

        return cancel

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._calls.put(callback)


def make() -> Framework:
    """The framework, imported now."""
    return QtFramework()

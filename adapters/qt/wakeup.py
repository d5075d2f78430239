"""The wakeup in a Qt thread: a precise timer, queued calls, and threads of a ``QThreadPool`` for what blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from time import perf_counter, sleep
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, Qt, QTimer, Slot

from schedcore.adapters.qt.calls import QtCalls, guard
from schedcore.adapters.qt.threads import QtThreads
from schedcore.executors.pool import WorkerPool
from schedcore.wakeup import Done

__all__ = ["QtWakeup"]

# Milliseconds. Qt counts them in 32 bits with a sign, which is 24.8 days; what is to wait longer does so in pieces.
_LONGEST_MS = 2**31 - 1
# Milliseconds. Qt's timers know whole ones only. After a wait of so many the Qt thread sleeps for the part of one that is left,
# because to round up would make each run half a millisecond late, and a timer of zero keeps a processor busy. After shorter waits
# it does not: windows and sockets have nine tenths of the time at least.
_EXACT_FROM_MS = 10
# How many blocking calls are made at a time.
_THREADS = 8

_Call = tuple[Callable[[], Any], Done]
_Result = tuple[Done, Any, Exception | None]


class QtWakeup:
    """See ``schedcore.wakeup.Wakeup``. To be made in the Qt thread. ``close()`` is the end of it, from any thread.

    ``quits`` is called there when the application is about to quit.
    """

    def __init__(self, app: QCoreApplication, quits: Callable[[], None] | None = None) -> None:
        self._calls = QtCalls(app)
        self._alarm = _Alarm(self._calls, quits)
        app.aboutToQuit.connect(self._alarm.quit)
        self._workers: WorkerPool[_Call, _Result] = WorkerPool(
            _THREADS, _make, self._report, _refuse, "schedcore-qt", make_thread=QtThreads()
        )

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._alarm.arm(delay_s, callback)

    def disarm(self) -> None:
        self._alarm.disarm()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._calls.put(callback)

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        self._workers.submit([(call, done)])

    def end_threads(self, timeout: float = 1.0) -> None:
        """Make no more blocking calls, and wait until those that were begun are over. In another thread than Qt's."""
        self._workers.close()
        self._workers.join(timeout)

    def close(self) -> None:
        """Delete what is Qt's, when all that was asked for by ``call_soon`` is called. Twice is harmless."""
        self._workers.close()
        self._calls.close()

    def _report(self, result: _Result) -> None:
        done, value, error = result
        try:
            self._calls.put(partial(done, value, error))
        except RuntimeError:
            # Closed, or the application is gone: there is nobody to be told.
            pass


def _make(item: _Call) -> _Result:
    call, done = item
    try:
        return done, call(), None
    except Exception as error:  # noqa: BLE001  # it is what the call came to
        return done, None, error


def _refuse(item: _Call, error: BaseException) -> _Result:
    return item[1], None, RuntimeError(f"the call ended with {error!r}")


class _Alarm(QObject):
    """What Qt calls, in its thread: one timer, and the end of the application."""

    def __init__(self, parent: QObject, quits: Callable[[], None] | None) -> None:
        super().__init__(parent)
        self._quits = quits
        self._callback: Callable[[], None] | None = None
        self._due_s = 0.0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._go_off)

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._due_s = perf_counter() + delay_s
        self._start(delay_s)

    def _start(self, left_s: float) -> None:
        left_ms = left_s * 1000
        whole_ms = int(left_ms) if left_ms >= _EXACT_FROM_MS else ceil(left_ms)
        self._timer.start(min(whole_ms, _LONGEST_MS))

    def disarm(self) -> None:
        self._callback = None
        self._timer.stop()

    @Slot()
    def quit(self) -> None:
        """The application is about to."""
        if self._quits is not None:
            guard(self._quits)

    @Slot()
    def _go_off(self) -> None:
        guard(self._call)

    def _call(self) -> None:
        callback = self._callback
        if callback is None:
            return
        left_s = self._due_s - perf_counter()
        if left_s >= 0.001:
            self._start(left_s)
            return
        if left_s > 0:
            sleep(left_s)
        self._callback = None
        callback()

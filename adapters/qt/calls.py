"""Calls that are made in the Qt thread, in order, by one who may ask from any thread."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import count
from time import perf_counter

from qtpy.QtCore import QCoreApplication, QObject, Qt, QThread, Signal, Slot

from schedcore.locks import ShortLock

__all__ = ["QtCalls", "application", "guard", "in_qt_thread"]

# Seconds. After so long it is the windows' turn, whatever is queued here: a third of the time from one picture to the next.
SLICE_S = 0.005
# Seconds. Who rang and was not heard for so long rings again: in Qt 5 on GLib an event that was posted before somebody's nested
# event loop begins may find that loop asleep.
_UNHEARD_S = 0.05
# What a shell calls a program that was ended by Ctrl-C.
_INTERRUPTED = 130

_logger = logging.getLogger("schedcore.qt")


def application() -> QCoreApplication | None:
    """The application, as long as it is there."""
    return None if QCoreApplication.closingDown() else QCoreApplication.instance()


def in_qt_thread(app: QCoreApplication) -> bool:
    """Whether the calling thread is the one in which the application lives."""
    return bool(QThread.currentThread() == app.thread())


def guard(call: Callable[[], object]) -> None:
    """Make a call from which nothing is raised. PyQt5 aborts the process when a slot lets an exception out."""
    try:
        call()
    except KeyboardInterrupt:
        # Jobs keep theirs to themselves, so this was Ctrl-C, and Qt's way to end a program is to leave its loop.
        QCoreApplication.exit(_INTERRUPTED)
    # All there is: out of a slot even SystemExit would abort the process.
    except BaseException:
        _logger.exception("%r failed in the Qt thread", call)


class QtCalls(QObject):
    """A queue of calls that the Qt thread makes, as many as it can in a few milliseconds before it looks at its windows again.

    A call that enters an event loop of its own (a dialogue) does not hold up those behind it. To be made while there is an
    application, in any thread; from then on it belongs to the Qt thread.
    """

    _rung = Signal(object)

    def __init__(self, app: QCoreApplication) -> None:
        super().__init__()
        self._calls: deque[Callable[[], object]] = deque()
        self._ringing = False
        self._rung_s = 0.0
        self._numbers = count()
        self._outdated = -1
        self._open = True
        # Guards ``_open`` and the signal: nobody rings where the object is being deleted.
        self._lock = ShortLock()
        self._rung.connect(self._answer, Qt.ConnectionType.QueuedConnection)
        app.destroyed.connect(self._end)
        if in_qt_thread(app):
            self.setParent(app)
        else:
            self.moveToThread(app.thread())
            self.put(self._settle_down)

    def _settle_down(self) -> None:
        # What has a parent is deleted by it, in its thread, and not by whoever is last to let go of it.
        self.setParent(QCoreApplication.instance())

    def put(self, *calls: Callable[[], object]) -> None:
        """Have calls made. From any thread, whose calls keep their order. What they raise is logged.

        Raises ``RuntimeError``, and has taken none, when this is closed or the application gone.
        """
        if application() is None:
            raise RuntimeError("the Qt application is gone")
        with self._lock:
            if not self._open:
                raise RuntimeError("this part of the Qt adapter was closed")
            self._calls.extend(calls)
            self._ring()

    def close(self) -> None:
        """Take no more; what was taken is made, and then this is deleted. From any thread; twice is harmless."""
        with self._lock:
            if self._open:
                self._open = False
                self._calls.append(self._leave)
                self._ring()

    def _leave(self) -> None:
        # Whoever closes this may be ringing yet, in another thread.
        with self._lock:
            self._settle_down()
            self.deleteLater()

    def _ring(self) -> None:
        now_s = perf_counter()
        if not self._ringing or now_s - self._rung_s > _UNHEARD_S:
            self._ringing = True
            self._rung_s = now_s
            self._rung.emit(next(self._numbers))

    @Slot()
    def _end(self) -> None:
        # The application is being deleted, and what it is the parent of next.
        with self._lock:
            self._open = False

    @Slot(object)
    def _answer(self, number: int) -> None:
        # Of several who rang before they were heard one is answered: each would ring on, and all have a slice in every turn.
        if number > self._outdated:
            self._outdated = next(self._numbers)
            guard(self._make_some)

    def _make_some(self) -> None:
        self._ringing = False
        calls = self._calls
        end_s = perf_counter() + SLICE_S
        while calls:
            call = calls.popleft()
            if calls:
                # Before the call: it may enter an event loop, which goes on with the others.
                self._ring()
            guard(call)
            if perf_counter() > end_s:
                return

"""What ``call`` returns: a future that is finished in the Qt thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

from qtpy.QtCore import QEventLoop, Qt, QTimer

from schedcore.wakeup import Done

__all__ = ["QtFuture", "finish_future", "run_loop_until"]

T = TypeVar("T")


class QtFuture(Future[T]):
    """A ``concurrent.futures.Future`` whose callbacks (``add_done_callback``) are called in the Qt thread.

    Where others would block, ``result()`` and ``exception()`` in the Qt thread run an event loop until it is done, so that
    windows stay alive; slots may be called meanwhile. They raise ``TimeoutError`` when time is up, or when the application quits.
    """

    def __init__(self, qt_thread_id: int | None) -> None:
        super().__init__()
        self._qt_thread_id = qt_thread_id

    def result(self, timeout: float | None = None) -> T:
        """See the class. ``timeout``: seconds."""
        return super().result(self.wait_here(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """See the class. ``timeout``: seconds."""
        return super().exception(self.wait_here(timeout))

    def wait_here(self, timeout: float | None) -> float | None:
        """Wait, if this is the Qt thread, in an event loop; returns for how long (s) there is to block after that."""
        if self.done() or threading.get_ident() != self._qt_thread_id:
            return timeout
        run_loop_until(lambda quit: self.add_done_callback(lambda _: quit()), timeout)
        return 0


def run_loop_until(tell_when: Callable[[Callable[[], None]], object], timeout: float | None) -> None:
    """Run an event loop in the Qt thread until the function that is handed over is called there, ``timeout`` seconds have
    passed, or the application quits.
    """
    loop: QEventLoop | None = QEventLoop()
    called = False

    def leave() -> None:
        nonlocal called
        called = True
        if loop is not None:
            loop.quit()

    tell_when(leave)
    if called or loop is None:
        return
    timer = None
    if timeout is not None:
        timer = QTimer()
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.setSingleShot(True)
        timer.timeout.connect(loop.quit)
        timer.start(min(max(0, round(timeout * 1000)), 2**31 - 1))
    # In Qt 5 on GLib an event that was posted before a nested loop begins may find that loop asleep.
    loop.wakeUp()
    loop.exec_()
    if timer is not None:
        timer.stop()
    # Whoever is told later finds nothing to quit.
    loop = None


def finish_future(future: QtFuture[Any]) -> Done:
    """What gives a future its result, unless whoever wants it has given up."""

    def finish(result: Any, error: Exception | None) -> None:
        try:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        except InvalidStateError:
            # It was cancelled.
            pass

    return finish

"""Threads of a ``QThreadPool``, for pools of workers."""

from __future__ import annotations

import threading
from collections.abc import Callable

from qtpy.QtCore import QRunnable, QThreadPool

from schedcore.adapters.qt.calls import application
from schedcore.locks import ShortLock

__all__ = ["QtThreads"]

# Those whose threads Qt may not be done with: whoever had the pool of workers may have dropped it before they ended.
_in_use: set[QtThreads] = set()


class QtThreads:
    """Where a ``WorkerPool`` has its threads from: a ``QThreadPool`` of its own, which grows with it."""

    def __init__(self) -> None:
        self._pool: QThreadPool | None = QThreadPool()
        # A worker stays as long as it may be needed; when it ends so does its thread.
        self._pool.setExpiryTimeout(0)
        app = application()
        if app is not None:
            # A binding deletes what is Python's when the application ends, and to delete a pool is to wait for its threads, with
            # a job that hangs for ever. So it is the main thread's, and deleted when it is done with.
            self._pool.moveToThread(app.thread())
            self._pool.setParent(app.thread())
        # Reentrant for signal handlers: one may close the pool of workers in the midst of ``start``.
        self._lock = ShortLock()
        self._running = 0
        # Strong references until the pool is done with them: it calls them by way of C++.
        self._threads: list[_Thread] = []

    def __call__(self, call: Callable[[], None], name: str) -> _Thread:
        return _Thread(self, call, name)

    def start(self, thread: _Thread) -> None:
        """Have a thread run."""
        for others in [each for each in _in_use.copy() if each.is_idle()]:
            _in_use.discard(others)
        with self._lock:
            # First, so that who comes in between does not let go of the pool.
            self._running += 1
            pool = self._pool
            if pool is None:
                self._running -= 1
                raise RuntimeError("these threads have ended")
            self._threads.append(thread)
            # One that is just ending still counts as active there.
            pool.setMaxThreadCount(max(pool.maxThreadCount(), pool.activeThreadCount() + 1))
        _in_use.add(self)
        pool.start(thread)

    def is_idle(self) -> bool:
        """Whether Qt is done with all threads that were started."""
        pool = self._pool
        return pool is None or (not self._running and not pool.activeThreadCount())

    def ended(self) -> None:
        """Called by each thread, last."""
        with self._lock:
            self._running -= 1

    def leave(self) -> None:
        """When all threads have ended: wait for what Qt has to do after them, and let go of them."""
        with self._lock:
            if self._running:
                return
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.waitForDone()
            self._threads.clear()
            _in_use.discard(self)
            pool.deleteLater()


class _Thread(QRunnable):
    """See ``schedcore.executors._workers.Worker``."""

    def __init__(self, threads: QtThreads, call: Callable[[], None], name: str) -> None:
        super().__init__()
        self.setAutoDelete(False)
        self._of = threads
        self._call: Callable[[], None] | None = call
        self._name = name
        self._alive = False

    def start(self) -> None:
        self._alive = True
        self._of.start(self)

    def is_alive(self) -> bool:
        return self._alive

    def join(self) -> None:
        """The last of them waits for all."""
        self._of.leave()

    def run(self) -> None:
        """Called by Qt, in a thread that it made."""
        here = threading.current_thread()
        here.name = self._name
        call, self._call = self._call, None
        try:
            if call is not None:
                call()
        finally:
            _forget(here)
            self._alive = False
            self._of.ended()


def _forget(dummy: threading.Thread) -> None:
    """A thread that Python did not make is listed under a stand-in. Before 3.13 that stays when the thread is gone."""
    active: dict[int, threading.Thread] = getattr(threading, "_active", {})
    if dummy.ident is not None and active.get(dummy.ident) is dummy:
        del active[dummy.ident]

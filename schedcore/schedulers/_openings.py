"""What is being started or opened: closing waits for it, so that nothing is opened behind its back.

``start`` may be in the midst of opening a job store when another thread, a signal handler in the same one, or the store itself
calls ``shutdown``; so may ``add_jobstore`` and ``add_executor``. No lock that others want is held meanwhile: they may start and
open things.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any
from weakref import WeakSet

from schedcore.locks import ShortLock

__all__ = ["Openings"]


class Openings:
    """See the module's docstring. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.forget_threads()

    def forget_threads(self) -> None:
        """After a fork, in the child: nobody is there who would end what was begun."""
        self._lock = ShortLock()
        # Each is held by the thread that opens something, for as long as it does. A lock, because Ctrl-C cannot come between
        # the end of that and its release.
        self._held: WeakSet[Any] = WeakSet()
        #: What is being added, and is in no map yet: its kind and alias. Guarded by the scheduler's lock.
        self.added: set[tuple[str, str]] = set()

    def one(self) -> AbstractContextManager[object]:
        """Has closing wait until the end of a ``with`` statement."""
        lock: Any = threading.RLock()
        with self._lock:
            self._held.add(lock)
        return lock  # type: ignore[no-any-return]

    def _those(self) -> list[Any]:
        with self._lock:
            return list(self._held)

    def here(self) -> bool:
        """Whether the calling thread is in the midst of it."""
        return any(lock._is_owned() for lock in self._those())

    def wait(self, timeout: float | None) -> None:
        """Wait until other threads are not in the midst of it any more, or ``timeout`` s have passed."""
        end_s = None if timeout is None else monotonic() + timeout
        for lock in self._those():
            if lock._is_owned():
                continue
            try:
                if end_s is None:
                    lock.acquire()
                else:
                    lock.acquire(timeout=max(0.0, end_s - monotonic()))
            finally:
                if lock._is_owned():
                    lock.release()

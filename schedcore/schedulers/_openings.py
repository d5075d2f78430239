"""What is being started or opened: closing waits for it, so that nothing is opened behind its back.

``start`` may be in the midst of opening a job store when another thread, a signal handler in the same one, or the store itself
calls ``shutdown``; so may ``add_jobstore`` and ``add_executor``. No lock is held meanwhile: others may start and open things.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from schedcore._locks import ShortLock, make_event

__all__ = ["Openings"]


class Openings:
    """See the module's docstring. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.forget_threads()

    def forget_threads(self) -> None:
        """After a fork, in the child: nobody is there who would end what was begun."""
        self._lock = ShortLock()
        self._threads: dict[object, int] = {}  # the threads that open something, once for each time
        self._none = make_event()
        self._none.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Have closing wait until the end of the ``with`` statement."""
        key = object()
        try:
            with self._lock:
                self._none.clear()
                self._threads[key] = threading.get_ident()
            yield
        finally:
            with self._lock:
                self._threads.pop(key, None)
                if not self._threads:
                    self._none.set()

    def here(self) -> bool:
        """Whether the calling thread is in the midst of it."""
        with self._lock:
            return threading.get_ident() in self._threads.values()

    def wait(self, timeout: float | None) -> None:
        """Wait until nothing is being opened any more, or ``timeout`` s have passed; not at all for the calling thread itself."""
        if not self.here():
            self._none.wait(timeout)

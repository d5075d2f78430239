"""The scheduler with a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import ClassVar, Self

from schedcore import config
from schedcore.schedulers._thread_wakeup import ThreadWakeup
from schedcore.schedulers.base import BaseScheduler
from schedcore.wakeup import Wakeup

__all__ = ["BackgroundScheduler"]


class BackgroundScheduler(BaseScheduler):
    """Runs in the background: ``start`` returns at once. A ``with`` statement starts it, and shuts it down at its end.

    Option ``daemon`` (True): the program may end while it runs; jobs that run then are waited for. False keeps the program alive
    until ``shutdown``.
    """

    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {
        **BaseScheduler._extra_options,
        "daemon": config.as_bool,
    }
    _thread: threading.Thread | None = None
    _loop: ThreadWakeup | None = None

    def _create_wakeup(self) -> Wakeup:
        self._loop = ThreadWakeup("schedcore")
        return self._loop

    def _run(self) -> None:
        loop = self._loop
        if loop is None:
            return  # it was forked meanwhile
        loop.call_soon(self._begin)
        daemon = bool(self._config.extra.get("daemon", True))
        thread = threading.Thread(target=loop.run, name="schedcore-scheduler", daemon=daemon)
        thread.start()
        self._thread = thread

    def _is_loop_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _release_wakeup(self) -> None:
        loop, thread = self._loop, self._thread
        if loop is not None:
            loop.stop()
            if thread is not None and thread is not threading.current_thread():
                thread.join()
            loop.close(5.0)
        # Only now, because Ctrl-C may end this, and then it is done once more.
        self._loop = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._loop = self._thread = None

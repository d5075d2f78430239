"""The scheduler that is the program: ``start`` returns when it is shut down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from schedcore.schedulers._thread_wakeup import ThreadWakeup
from schedcore.schedulers.base import BaseScheduler
from schedcore.wakeup import Wakeup

__all__ = ["BlockingScheduler"]


class BlockingScheduler(BaseScheduler):
    """Runs in the thread that calls ``start``.

    ``KeyboardInterrupt`` and ``SystemExit`` (Ctrl-C, or a signal handler that raises) stop it as
    ``shutdown(wait=False)`` does: jobs that run are waited for, then the exception goes on. A second one does not
    wait.
    """

    _loop: ThreadWakeup | None = None
    _looping = False

    def _create_wakeup(self) -> Wakeup:
        self._loop = ThreadWakeup("schedcore")
        return self._loop

    def _run(self) -> Callable[[], None] | None:
        loop = self._loop
        if loop is None:
            return None  # it was forked meanwhile
        loop.call_soon(self._begin)
        # A listener that hears of the end may start it again, elsewhere.
        return partial(self._live, loop, self._closed)

    def _live(self, loop: ThreadWakeup, closed: threading.Event) -> None:
        self._looping = True
        try:
            loop.run()
            closed.wait()
        except (KeyboardInterrupt, SystemExit):
            try:
                if self._begin_shutdown():
                    self._close_elsewhere(False, None)
                loop.run()
                closed.wait()
            except (KeyboardInterrupt, SystemExit):
                self._abandon()
                raise
            raise
        finally:
            self._looping = False

    def _is_loop_alive(self) -> bool:
        return self._looping

    def _release_wakeup(self) -> None:
        loop = self._loop
        if loop is not None:
            loop.stop()
            loop.close(5.0)
        # Only now, because Ctrl-C may end this, and then it is done once more.
        self._loop = None

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._loop = None

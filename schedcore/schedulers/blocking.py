"""The scheduler that is the program: ``start`` returns when it is shut down."""

from __future__ import annotations

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

    def _create_wakeup(self) -> Wakeup:
        self._loop = ThreadWakeup("schedcore")
        return self._loop

    def _run(self) -> None:
        loop = self._loop
        assert loop is not None
        loop.call_soon(self._begin)
        try:
            loop.run()
        except (KeyboardInterrupt, SystemExit):
            if self._begin_shutdown():
                self._close_elsewhere(False, None)
            loop.run()
            self._closed.wait()
            raise
        self._closed.wait()

    def _release_wakeup(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()
            loop.close(5.0)

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._loop = None

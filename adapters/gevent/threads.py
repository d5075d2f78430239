"""The executor of real threads, for jobs that do not wait the way gevent waits: they would hold up all greenlets."""

from __future__ import annotations

from schedcore.adapters.gevent.executor import GeventExecutor
from schedcore.adapters.gevent.places import in_thread
from schedcore.executors.base import call_run, failed
from schedcore.run import Finish, Run

__all__ = ["GeventThreadExecutor"]


class GeventThreadExecutor(GeventExecutor):
    """``max_workers``: threads, of gevent's own kind: real ones, also where those of ``threading`` are greenlets.

    As any thread they cannot be ended from outside.
    """

    _ends_runs = False

    def __init__(self, max_workers: int = 10) -> None:
        super().__init__(max_workers, max_workers)

    def _call(self, run: Run) -> Finish:
        host = self._started_host()
        finish, error = in_thread(self._awaiting.threads, lambda: call_run(run, host))
        if error is not None:
            return failed(run, None, host.clock.wall_us(), error)
        assert isinstance(finish, Finish)
        return finish

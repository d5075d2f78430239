"""Plain functions, in the reactor's own thread pool.

What the pool is given is not a call for each run but a few *drains*, each of which takes runs from one queue until that is
empty: this costs a fraction, and the pool's threads are held no longer than there is work. Who submits is the reactor, for
which starting a thread takes a while; it asks for one drain, and each drain, when it begins, for another one if more is queued.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from schedcore.adapters.twisted._awaiting import Awaiting
from schedcore.executors.base import ExecutorHost, call_run, failed
from schedcore.executors.loop import LOOK_S
from schedcore.executors.pool import PoolExecutor, RunPool
from schedcore.executors.queue import RunQueue
from schedcore.locks import ShortLock
from schedcore.run import Finish, Run

__all__ = ["PoolThreads", "Threads"]

_logger = logging.getLogger("schedcore.executors")

# Threads of the reactor's that are left to others: to the scheduler's job stores, and to Twisted's look-ups of host names.
SPARED = 2


class Threads(PoolExecutor):
    """``max_workers``: see ``PoolThreads``. ``reactor`` is to be set before it is started."""

    reactor: Any

    def __init__(self, max_workers: int | None) -> None:
        self._max_workers = max_workers

    def _make_pool(self, host: ExecutorHost, name: str) -> RunPool:
        self._awaiting = awaiting = Awaiting(self.reactor, self._logger)
        return PoolThreads(
            self.reactor.getThreadPool(),
            self._max_workers,
            lambda run: call_run(run, host, partial(awaiting.value, run)),
            host.run_finished,
            lambda run, error: failed(run, None, host.clock.wall_us(), error),
            # Of a scheduler on an event loop.
            getattr(host, "give_way", None),
        )

    def _cut_begun(self, pool: RunPool) -> list[Run]:
        cut = super()._cut_begun(pool)
        # A function cannot be stopped; what it has returned, and waits for, can.
        if self._awaiting.cancel():
            pool.join(LOOK_S)
        return cut


class PoolThreads(RunQueue):
    """Calls ``report(work(run))`` for each run. ``max_workers``: at a time; None: as many as the pool has threads, less two.

    ``refuse(run, error)`` gives the end of a run for which ``work`` raised. ``between`` is called in the thread after each run.
    """

    def __init__(
        self,
        pool: Any,
        max_workers: int | None,
        work: Callable[[Run], Finish],
        report: Callable[[Finish], None],
        refuse: Callable[[Run, BaseException], Finish],
        between: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self._pool = pool
        self._max_workers = max_workers
        self._work = work
        self._report = report
        self._refuse = refuse
        self._between = between
        self._lock = ShortLock()
        self._left = threading.Condition(self._lock)  # a drain has ended, or its job waits for the others
        self._drains = 0  # asked for, and not over
        self._begun: set[int] = set()  # the threads in which a drain is
        self._inside: set[int] = set()  # those of them whose job calls ``join``

    def submit(self, runs: Sequence[Run]) -> None:
        """Queue runs, in order. From any thread. Raises ``RuntimeError``, and has taken none, when closed."""
        with self._lock:
            if self._closed or self._pool.joined:
                raise RuntimeError("the reactor's thread pool was stopped" if self._pool.joined else "it was shut down")
            self._put(runs)
            self._reinforce()

    def withdraw(self) -> list[Run]:
        """Take back what has not begun, in order."""
        with self._left:
            runs = self._take_back()
            self._left.notify_all()
        return runs

    def close(self) -> None:
        """Take no more. Twice is harmless."""
        self._closed = True

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing is queued nor running; False when ``timeout`` s ran out first.

        A job that calls this does not wait for itself, nor for another that waits in here too.
        """
        deadline = None if timeout is None else monotonic() + timeout
        me = threading.get_ident()
        with self._left:
            inside = me in self._begun
            if inside:
                self._inside.add(me)
                self._left.notify_all()
                if self._queue and self._begun == self._inside:
                    # The jobs that wait in here may hold all threads that the pool has.
                    self._drains += 1
                    threading.Thread(target=self._drain, name="schedcore-twisted", daemon=True).start()
            try:
                while self._queue or self._begun.difference(self._inside if inside else ()):
                    left_s = None if deadline is None else deadline - monotonic()
                    if left_s is not None and left_s <= 0:
                        return False
                    self._left.wait(left_s)
            finally:
                self._inside.discard(me)
        return True

    def _reinforce(self) -> None:
        """Ask the pool for another drain if there is work for it. Called with the lock held."""
        limit = self._max_workers
        if limit is None:
            limit = max(1, self._pool.max - SPARED)
        if self._queue and self._drains < limit:
            self._drains += 1
            self._pool.callInThread(self._drain)

    def _drain(self) -> None:
        me = threading.get_ident()
        with self._lock:
            self._begun.add(me)
        number = self._take(me)
        with self._lock:
            self._reinforce()
        live, work, report, between = self._live, self._work, self._report, self._between
        while number is not None:
            run = live[number]
            try:
                finish = work(run)
            # All there is, and not Exception alone: work is a user's code, and what it raises to end the thread it runs in would
            # take along the drain that others queue for. None of it is lost: it is what becomes of the run.
            except BaseException as error:  # noqa: BLE001
                finish = self._refuse(run, error)
            del live[number]
            try:
                report(finish)
            except Exception:
                _logger.exception("a result could not be reported")
            # What a job held must not live on while the next one runs.
            del run, finish
            if between is not None:
                between()
            number = self._take(me)

    def _take(self, me: int) -> int | None:
        """The number of the next run; None when there is none, and this drain is over."""
        try:
            return self._queue.popleft()
        except IndexError:
            pass
        with self._left:
            if self._queue:  # submitted meanwhile, when there were drains enough
                return self._queue.popleft()
            self._begun.discard(me)
            self._drains -= 1
            self._left.notify_all()
            return None

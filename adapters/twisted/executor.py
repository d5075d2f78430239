"""The executor on a Twisted reactor: coroutines and Deferreds in its thread, plain functions in its thread pool."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any

from schedcore.adapters.twisted._awaiting import LOOK_S, Awaiting
from schedcore.adapters.twisted._reactor_jobs import ReactorJobs
from schedcore.adapters.twisted._threads import PoolThreads
from schedcore.adapters.twisted.placing import runs_in_reactor
from schedcore.adapters.twisted.wakeup import is_running_here
from schedcore.executors.base import ExecutorHost, RunExecutor, call_run, failed
from schedcore.executors.pool import whole_number
from schedcore.run import Finish, Run, RunState, current_run

__all__ = ["TwistedExecutor"]


class TwistedExecutor(RunExecutor):
    """``max_workers``: jobs that are plain functions, at a time; without it, as many as the reactor's thread pool has threads,
    less two (``reactor.suggestThreadPoolSize`` sets their number). Jobs in the reactor's thread are not limited.

    ``in_reactor``: run plain functions in the reactor's thread, too. ``reactor``: the one to use where the scheduler is not a
    ``TwistedScheduler``; without it, the one that is installed.
    """

    def __init__(self, max_workers: int | None = None, in_reactor: bool = False, reactor: Any = None) -> None:
        self._max_workers = None if max_workers is None else whole_number("max_workers", max_workers)
        self._in_reactor = in_reactor
        self._given = reactor
        self._reactor: Any = None
        # All three are made at each start.
        self._jobs: ReactorJobs | None = None
        self._threads: PoolThreads | None = None
        self._awaiting: Awaiting | None = None

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        reactor: Any = self._given or getattr(scheduler, "reactor", None)
        if reactor is None:
            from twisted.internet import reactor
        super().start(scheduler, alias)
        self._reactor = reactor
        self._jobs = ReactorJobs(reactor, scheduler)
        self._awaiting = awaiting = Awaiting(reactor, self._logger)
        self._threads = PoolThreads(
            reactor.getThreadPool(),
            self._max_workers,
            lambda run: call_run(run, scheduler, partial(awaiting.value, run)),
            scheduler.run_finished,
            lambda run, error: failed(run, None, scheduler.clock.wall_us(), error),
            # Of a scheduler on an event loop.
            getattr(scheduler, "give_way", None),
        )

    def submit(self, runs: Sequence[Run]) -> None:
        jobs, threads = self._jobs, self._threads
        if jobs is None or threads is None or jobs.closed:
            raise RuntimeError(f"the executor {self._alias!r} is not running")
        native: list[Run] = []
        plain: list[Run] = []
        if self._in_reactor:
            native.extend(runs)
        else:
            last: object = None
            here = False
            for run in runs:
                func = run.job.func
                if func is not last:
                    here = func is not None and runs_in_reactor(func)
                    last = func
                (native if here else plain).append(run)
        if plain:
            threads.submit(plain)
        if native:
            jobs.submit(native)

    def live_runs(self) -> list[Run]:
        return [run for part in (self._jobs, self._threads) if part is not None for run in part.live()]

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """Waiting blocks, so it is for threads other than the reactor's: there, ``wait=True`` only stops taking runs."""
        jobs, threads, awaiting = self._jobs, self._threads, self._awaiting
        if jobs is None or threads is None or awaiting is None:
            return []
        jobs.close()
        threads.close()
        if not wait:
            return jobs.withdraw() + self._withdraw(threads)
        if is_running_here(self._reactor):
            return []
        deadline_s = None if timeout is None else monotonic() + timeout
        cut = [] if jobs.join(timeout) else jobs.cancel()
        if not threads.join(None if deadline_s is None else max(0.0, deadline_s - monotonic())):
            cut += self._withdraw(threads)
            asking = current_run.get()
            cut += [run for run in threads.live() if run is not asking]
            if awaiting.cancel():
                threads.join(LOOK_S)
        return cut

    def _withdraw(self, threads: PoolThreads) -> list[Run]:
        host = self._started_host()
        runs = threads.withdraw()
        for run in runs:
            host.run_finished(Finish(run, RunState.CANCELLED, None, host.clock.wall_us()))
        return runs

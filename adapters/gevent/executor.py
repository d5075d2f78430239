"""The executor of greenlets: each job runs in one, and whatever it waits for the way gevent waits, the others run meanwhile."""

from __future__ import annotations

from contextvars import Context

from gevent import GreenletExit
from gevent.hub import Hub, getcurrent

from schedcore.adapters.gevent._awaiting import GRACE_S, Awaiting
from schedcore.adapters.gevent._greenlets import Greenlets
from schedcore.adapters.gevent.places import hub_here, is_alive
from schedcore.executors.base import ExecutorHost, failed
from schedcore.executors.pool import PoolExecutor, RunPool, whole_number
from schedcore.run import Finish, Run, RunState, current_run

__all__ = ["GeventExecutor"]

# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__
# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED


class GeventExecutor(PoolExecutor):
    """``max_workers``: greenlets, and so jobs at a time; what comes beyond that waits.

    A job that returns a ``Greenlet`` or an ``AsyncResult`` is over when that is. A coroutine runs in a real thread, on an asyncio
    loop of its own, because asyncio does not wait the way gevent does; ``max_threads``: so many of them at a time.
    """

    #: Whether a run that has begun is ended when a shutdown's time is up.
    _ends_runs = True
    _hub: Hub | None = None
    _greenlets: Greenlets | None = None

    def __init__(self, max_workers: int = 1000, max_threads: int = 10) -> None:
        self._max_workers = whole_number("max_workers", max_workers)
        self._max_threads = whole_number("max_threads", max_threads)
        self._awaiting = Awaiting(self._max_threads)

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        self._hub = getattr(scheduler, "hub", None) or hub_here(f"the executor {alias!r}")
        super().start(scheduler, alias)

    def _make_pool(self, host: ExecutorHost, name: str) -> RunPool:
        assert self._hub is not None
        # Looked up once, because every run needs them.
        self._run_started = host.run_started
        self._wall_us = host.clock.wall_us
        # Of this start, whose end lets its threads go.
        self._awaiting = awaiting = Awaiting(self._max_threads)
        self._greenlets = Greenlets(self._hub, self._max_workers, self._call, host.run_finished, awaiting.close)
        return self._greenlets

    def waits_for(self, greenlet: object) -> bool:
        """Whether a run goes on in this greenlet, which its job has returned."""
        return greenlet in self._awaiting

    def _call(self, run: Run) -> Finish:
        """Run the job and say how it ended; whatever it raises, nothing is raised here. (For a Ctrl-C see below.)"""
        return Context().run(self._call_here, run)

    def _call_here(self, run: Run) -> Finish:
        current_run.set(run)
        self._run_started(run)
        job = run.job
        wall_us = self._wall_us
        started_us = wall_us()
        try:
            func = job.func
            if func is None:
                raise LookupError(f"the callable {job.func_ref!r} of job {job.id!r} is not there")
            retval = func(*job.args, **job.kwargs)
            if retval is not None:
                retval = self._awaiting.value_of(retval)
            return _new(Finish, (run, _SUCCEEDED, started_us, wall_us(), retval, None, None))
        except GreenletExit:
            # It was killed, by a shutdown whose time was up or by anybody.
            return Finish(run, RunState.CANCELLED, started_us, wall_us())
        # All there is: sys.exit and gevent's own Timeout included, it is the outcome of the run, and must not end the worker.
        except BaseException as error:  # noqa: BLE001
            finish = failed(run, started_us, wall_us(), error)
            hub = self._hub
            if isinstance(error, KeyboardInterrupt) and hub is not None and hub.main_hub:
                # A Ctrl-C is the program's: gevent raises it in the main greenlet.
                hub.loop.run_callback(hub.handle_system_error, KeyboardInterrupt, KeyboardInterrupt())
            return finish

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """A greenlet waits while others run. In the hub itself, where nothing can wait, ``wait=True`` only stops taking runs."""
        if wait and getcurrent() is self._hub:
            self.close()
            return []
        return super().shutdown(wait, timeout)

    def _cut_begun(self, pool: RunPool) -> list[Run]:
        greenlets, hub = self._greenlets, self._hub
        assert greenlets is not None
        assert hub is not None
        begun = greenlets.begun()
        if not is_alive(hub):
            # Their greenlets are gone with it.
            for number, run in begun.items():
                if greenlets.drop(number):
                    self._started_host().run_finished(Finish(run, RunState.CANCELLED, None, self._wall_us()))
        elif self._ends_runs:
            for number in begun:
                greenlets.end(number)
            greenlets.join(GRACE_S)
        return list(begun.values())

    def forget(self) -> None:
        """After a fork, in the child: the runs and the threads are the parent's."""
        self._awaiting.forget()
        if self._greenlets is not None:
            self._greenlets.forget()

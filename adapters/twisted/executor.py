"""The executor on a Twisted reactor: coroutines and Deferreds in its thread, plain functions in its thread pool."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from schedcore.adapters.twisted._threads import PoolThreads
from schedcore.adapters.twisted.placing import runs_in_reactor
from schedcore.adapters.twisted.wakeup import is_over, is_running_here
from schedcore.executors.base import ExecutorHost, RunExecutor, call_run, failed, settle
from schedcore.executors.pool import whole_number
from schedcore.run import Finish, Run, RunState, current_run

__all__ = ["TwistedExecutor"]

# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__
# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED
# Seconds. How often a thread that waits for the reactor looks whether that is still there.
_LOOK_S = 1.0
# Runs that are begun in one turn of the reactor, which then serves its sockets.
_BATCH = 64


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
        self._threads: PoolThreads | None = None
        # Jobs of the reactor's thread, from ``submit`` until they are reported, by a serial number.
        self._live: dict[int, Run] = {}
        self._serial = 0
        self._queue: deque[int] = deque()  # those that have not begun
        # Of those that have, and of awaitables that plain functions returned. Reactor's thread only.
        self._deferreds: dict[int, Deferred[None]] = {}
        self._followed: set[Deferred[Any]] = set()
        self._warned: set[str] = set()
        self._closed = True
        self._drained = threading.Event()

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        reactor: Any = self._given or getattr(scheduler, "reactor", None)
        if reactor is None:
            from twisted.internet import reactor
        super().start(scheduler, alias)
        self._reactor = reactor
        self._live = {}
        self._queue = deque()
        self._deferreds = {}
        self._warned = set()
        self._drained.clear()
        # Looked up once, because every run needs them.
        self._run_started = scheduler.run_started
        self._run_finished = scheduler.run_finished
        self._wall_us = scheduler.clock.wall_us
        self._threads = PoolThreads(
            reactor.getThreadPool(),
            self._max_workers,
            lambda run: call_run(run, scheduler, partial(self._finish_awaitable, run)),
            scheduler.run_finished,
            lambda run, error: failed(run, None, scheduler.clock.wall_us(), error),
            # Of a scheduler on an event loop.
            getattr(scheduler, "give_way", None),
        )
        self._closed = False

    def submit(self, runs: Sequence[Run]) -> None:
        threads = self._threads
        if self._closed or threads is None:
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
            first = self._serial
            self._serial += len(native)
            serials = range(first, self._serial)
            self._live.update(zip(serials, native, strict=True))
            self._queue.extend(serials)
            # Later: what a job does first is not to be done inside of the scheduler's step.
            self._reactor.callFromThread(self._begin_some)

    def _begin_some(self) -> None:
        queue, live, deferreds = self._queue, self._live, self._deferreds
        for _ in range(_BATCH):
            try:
                serial = queue.popleft()
            except IndexError:  # begun by an earlier call, or taken back
                return
            # The coroutine runs in a copy of the context around this call.
            deferred = Context().run(Deferred.fromCoroutine, self._drive(live[serial], serial))
            if serial in live:
                deferreds[serial] = deferred
        if queue:
            self._reactor.callFromThread(self._begin_some)

    async def _drive(self, run: Run, serial: int) -> None:
        job, func = run.job, run.job.func
        self._run_started(run)
        current_run.set(run)
        wall_us = self._wall_us
        started_us = wall_us()
        finish: Finish | None = None
        try:
            if func is None:
                raise LookupError(f"the callable {job.func_ref!r} of job {job.id!r} is not there")
            retval = func(*job.args, **job.kwargs)
            if retval is not None:
                while hasattr(type(retval), "__await__"):
                    if isinstance(retval, Deferred):
                        (retval,) = await retval.addBoth(_boxed)
                    else:
                        retval = await _as_twisted(retval)
                settle(retval, _as_twisted)
            if not isinstance(retval, Failure):
                finish = _new(Finish, (run, _SUCCEEDED, started_us, wall_us(), retval, None, None))
            elif not isinstance(retval.value, CancelledError):
                finish = _failed(run, started_us, wall_us(), retval)
        except (CancelledError, GeneratorExit):
            # Cancelled, or nobody holds any more what it waits for.
            pass
        # All there is, and not Exception alone: whatever a job raises, sys.exit included, is the outcome of its run, and the
        # reactor is not the job's to end.
        except BaseException as error:  # noqa: BLE001
            finish = failed(run, started_us, wall_us(), error)
        finally:
            if finish is None:
                finish = Finish(run, RunState.CANCELLED, started_us, wall_us())
            current_run.set(None)
            self._over(serial, finish)

    def _over(self, serial: int, finish: Finish) -> None:
        del self._live[serial]
        self._deferreds.pop(serial, None)
        self._run_finished(finish)
        if self._closed and not self._live:
            self._drained.set()

    def _finish_awaitable(self, run: Run, awaitable: Any) -> Any:
        """The value of what a plain function returned, in its thread: it means the reactor's, and is awaited there."""
        name = run.job.func_ref or run.job.name
        if isinstance(awaitable, Deferred) and name not in self._warned:
            self._warned.add(name)
            self._logger.warning(
                "%s returned a Deferred in a worker thread, where most of Twisted must not be used; its value is waited for, but "
                "decorate it with schedcore.adapters.twisted.in_reactor, or add its job with executor='reactor' (this is said "
                "once)",
                name,
            )
        if is_over(self._reactor):
            raise RuntimeError("the reactor was stopped before the awaitable that the job returned")
        future: Future[Any] = Future()
        self._reactor.callFromThread(self._follow, awaitable, future)
        while not wait([future], _LOOK_S).done:
            if is_over(self._reactor):
                raise RuntimeError("the reactor was stopped before the awaitable that the job returned was over")
        return future.result()

    def _follow(self, awaitable: Any, future: Future[Any]) -> None:
        async def value() -> Any:
            return await awaitable

        def over(result: Any) -> None:
            self._followed.discard(deferred)
            if isinstance(result, Failure):
                future.set_exception(result.value)
            else:
                future.set_result(result)

        awaitable = _as_twisted(awaitable)
        deferred = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(value())
        self._followed.add(deferred)
        deferred.addBoth(over)

    def live_runs(self) -> list[Run]:
        threads = self._threads
        return [*self._live.copy().values(), *(threads.live() if threads is not None else ())]

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """Waiting blocks, so it is for threads other than the reactor's: there, ``wait=True`` only stops taking runs."""
        threads = self._threads
        if threads is None:
            return []
        self._closed = True
        threads.close()
        if not self._live:
            self._drained.set()
        if not wait:
            return self._let_none_begin() + self._withdraw(threads)
        if is_running_here(self._reactor):
            return []
        deadline_s = None if timeout is None else monotonic() + timeout
        cut = [] if self._wait_drained(timeout) else self._cancel()
        if not threads.join(None if deadline_s is None else max(0.0, deadline_s - monotonic())):
            cut += self._withdraw(threads)
            asking = current_run.get()
            cut += [run for run in threads.live() if run is not asking]
            if self._followed and self._call_in_reactor(self._cancel_followed):
                threads.join(_LOOK_S)
        return cut

    def _wait_drained(self, timeout: float | None) -> bool:
        while not self._drained.wait(_LOOK_S if timeout is None else timeout):
            if timeout is not None or is_over(self._reactor):
                return False
        return True

    def _let_none_begin(self) -> list[Run]:
        """Take back the jobs of the reactor's thread that have not begun, and report them as cancelled."""
        runs: list[Run] = []
        while self._queue:
            try:
                serial = self._queue.popleft()
            except IndexError:
                break
            run = self._live[serial]
            runs.append(run)
            self._over(serial, Finish(run, RunState.CANCELLED, None, self._wall_us()))
        return runs

    def _withdraw(self, threads: PoolThreads) -> list[Run]:
        """Likewise for plain functions."""
        runs = threads.withdraw()
        for run in runs:
            self._run_finished(Finish(run, RunState.CANCELLED, None, self._wall_us()))
        return runs

    def _cancel(self) -> list[Run]:
        cut = self._let_none_begin()
        cut += self._live.copy().values()
        if self._call_in_reactor(self._cancel_begun):
            # A job that does not let itself be cancelled is not waited for again.
            self._drained.wait(_LOOK_S)
        return cut

    def _cancel_begun(self) -> None:
        for deferred in list(self._deferreds.values()):
            deferred.cancel()

    def _cancel_followed(self) -> None:
        for deferred in list(self._followed):
            deferred.cancel()

    def _call_in_reactor(self, call: Callable[[], None]) -> bool:
        """Call in the reactor's thread; False when that is gone."""
        if is_over(self._reactor):
            return False
        self._reactor.callFromThread(call)
        return True


def _boxed(result: Any) -> tuple[Any]:
    """To be awaited in the place of a result that may be a failure: Twisted before 24 raises that without its frames, and takes a
    ``StopIteration`` for a return.
    """
    return (result,)


def _failed(run: Run, started_us: int, finished_us: int, failure: Any) -> Finish:
    error: BaseException = failure.value
    text = None if error.__traceback__ is not None else failure.getTraceback()
    finish = failed(run, started_us, finished_us, error)
    return finish if text is None else finish._replace(traceback=text)


def _as_twisted(awaitable: Any) -> Any:
    """What a coroutine can await that Twisted drives."""
    # asyncio's futures say so of themselves. They end where Twisted runs on asyncio's loop.
    if getattr(type(awaitable), "_asyncio_future_blocking", None) is None:
        return awaitable
    return Deferred.fromFuture(awaitable)

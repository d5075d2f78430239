"""Jobs in the reactor's thread: coroutines, and functions that return a Deferred."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from schedcore.adapters.twisted._awaiting import LOOK_S, as_twisted
from schedcore.adapters.twisted.wakeup import call_in_reactor, is_over
from schedcore.executors.base import ExecutorHost, failed, settle
from schedcore.run import Finish, Run, RunState, current_run

__all__ = ["ReactorJobs"]

# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__
# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED
# Runs that are begun in one turn of the reactor, which then serves its sockets.
_BATCH = 64


class ReactorJobs:
    """Carries out runs in the reactor's thread, and reports them to ``host``."""

    def __init__(self, reactor: Any, host: ExecutorHost) -> None:
        self._reactor = reactor
        # From ``submit`` until they are reported, by a serial number.
        self._live: dict[int, Run] = {}
        self._serial = 0
        self._queue: deque[int] = deque()  # those that have not begun
        # Of those that have. Reactor's thread only.
        self._deferreds: dict[int, Deferred[None]] = {}
        self._closed = False
        self._drained = threading.Event()
        # Looked up once, because every run needs them.
        self._run_started = host.run_started
        self._run_finished = host.run_finished
        self._wall_us = host.clock.wall_us

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def live(self) -> list[Run]:
        """The runs that were taken and are not over, in order. From any thread."""
        return list(self._live.copy().values())

    def submit(self, runs: Sequence[Run]) -> None:
        """Queue runs, in order. In the scheduler's thread."""
        first = self._serial
        self._serial += len(runs)
        serials = range(first, self._serial)
        self._live.update(zip(serials, runs, strict=True))
        self._queue.extend(serials)
        # Later: what a job does first is not to be done inside of the scheduler's step.
        self._reactor.callFromThread(self._begin_some)

    def close(self) -> None:
        """Take no more. Twice is harmless."""
        self._closed = True
        if not self._live:
            self._drained.set()

    def withdraw(self) -> list[Run]:
        """Take back what has not begun, in order, and report it as cancelled."""
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

    def join(self, timeout: float | None = None) -> bool:
        """Wait, after ``close``, until all are over; False when ``timeout`` s ran out first, or the reactor is gone."""
        while not self._drained.wait(LOOK_S if timeout is None else timeout):
            if timeout is not None or is_over(self._reactor):
                return False
        return True

    def cancel(self) -> list[Run]:
        """Let none begin, and cancel those that have; returns which these were. Not in the reactor's thread."""
        cut = [*self.withdraw(), *self.live()]
        if call_in_reactor(self._reactor, self._cancel_begun):
            # A job that does not let itself be cancelled is not waited for again.
            self._drained.wait(LOOK_S)
        return cut

    def _cancel_begun(self) -> None:
        for deferred in list(self._deferreds.values()):
            deferred.cancel()

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
                        retval = await as_twisted(retval)
                settle(retval, as_twisted)
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

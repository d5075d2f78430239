"""Jobs in the reactor's thread: coroutines, and functions that return a Deferred."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextvars import Context
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from schedcore.adapters.twisted._awaiting import as_twisted
from schedcore.adapters.twisted.wakeup import call_in_reactor, is_over, is_running_here
from schedcore.executors.base import ExecutorHost, failed, settle
from schedcore.executors.loop import LoopJobs
from schedcore.run import Finish, Run, RunState, current_run

__all__ = ["ReactorJobs"]

# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__
# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED
# Runs that are begun in one turn of the reactor, which then serves its sockets.
_BATCH = 64


class ReactorJobs(LoopJobs):
    """``reactor`` is to be set before it is started."""

    reactor: Any = None

    def __init__(self) -> None:
        super().__init__()
        # Reactor's thread only: those that have not begun, and the Deferreds of those that have.
        self._queue: deque[int] = deque()
        self._deferreds: dict[int, Deferred[None]] = {}
        # Whether a call that begins some is on its way: with one for each submission many batches would fall into one turn.
        self._coming = False

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        # The one of an earlier start may have gone with its reactor.
        self._coming = False
        super().start(scheduler, alias)

    def _begin_soon(self, numbers: range, runs: Sequence[Run]) -> None:
        self._queue.extend(numbers)
        if not self._coming:
            self._send()

    def _send(self) -> None:
        # Later: what a job does first is not to be done inside of the scheduler's step.
        self.reactor.callFromThread(self._begin_some)
        self._coming = True

    def _begin_some(self) -> None:
        self._coming = False
        queue, waiting, live, deferreds = self._queue, self._waiting, self._live, self._deferreds
        for _ in range(_BATCH):
            if not queue:
                return
            number = queue.popleft()
            run = waiting.pop(number, None)
            if run is None:  # it was taken back
                continue
            # The coroutine runs in a copy of the context around this call.
            deferred = Context().run(Deferred.fromCoroutine, self._drive(number, run))
            if number in live:
                deferreds[number] = deferred
        if queue and not self._coming:
            self._send()

    def _cancel_soon(self) -> bool:
        return call_in_reactor(self.reactor, self._cancel_begun)

    def _cancel_begun(self) -> None:
        for deferred in list(self._deferreds.values()):
            deferred.cancel()

    def in_loop_thread(self) -> bool:
        return self.reactor is not None and is_running_here(self.reactor)

    def _is_loop_over(self) -> bool:
        return is_over(self.reactor)

    async def _drive(self, number: int, run: Run) -> None:
        job = run.job
        self._run_started(run)
        current_run.set(run)
        wall_us = self._wall_us
        started_us = wall_us()
        finish: Finish | None = None
        try:
            assert job.func is not None
            retval = job.func(*job.args, **job.kwargs)
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
            self._deferreds.pop(number, None)
            self._over(number, finish)


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

"""What an executor is: it is given runs, and reports that each began and how it ended.

``BaseExecutor`` is the interface of APScheduler 3.x: a third party's class that implements ``_do_submit_job`` works.
``RunExecutor`` is the one that ours implement: whole batches of runs, no future for each, and a shutdown that reports
what it cut.

Contract of a ``RunExecutor``. ``submit`` is called in the scheduler's thread and never blocks. For each run,
``host.run_started(run)`` is called once before the job's code, and not if that is not called; and ``host.run_finished(finish)``
exactly once, from any thread, whatever the job does. Where the job's code is called in another process, ``host.run_sent(run)``
comes before that: a run of which neither was told has not begun. ``current_run`` is set in the job's context, which is its own
and otherwise empty: what is set in context variables by one job, or by who started the scheduler, the next one does not see.
After ``shutdown`` has returned with ``wait=True`` no job code of it runs. ``schedcore.testing.check_executor`` checks all of it.

Nothing that a job made outlives its run here: a ``Finish`` carries the result or the exception, without frames, and is
let go of.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from schedcore._forks import end_child, generation
from schedcore.clock import Clock, from_datetime
from schedcore.errors import MaxInstancesReachedError, contained
from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_MISSED, JobExecutionEvent
from schedcore.executors._call import as_exception, run_awaitable, settle, strip_tracebacks, traceback_text
from schedcore.locks import ShortLock
from schedcore.run import Finish, Run, RunState, current_run

if TYPE_CHECKING:
    from schedcore.job import Job

__all__ = [
    "BaseExecutor",
    "ExecutorHost",
    "MaxInstancesReachedError",
    "RunExecutor",
    "call_run",
    "failed",
    "run_awaitable",
    "run_coroutine_job",
    "run_job",
    "settle",
]


# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED


class ExecutorHost(Protocol):
    """What an executor needs of its scheduler. The reports may come from any thread; neither blocks nor raises."""

    @property
    def clock(self) -> Clock:
        """Where the instants of a run come from."""

    def run_sent(self, run: Run) -> None:
        """The run goes to another process: from now on it may begin, and ``run_started`` comes later. Twice is harmless."""

    def run_started(self, run: Run) -> None:
        """The job's code is about to be called."""

    def run_finished(self, finish: Finish) -> None:
        """The run is over."""

    def job_handle(self, run: Run) -> Job:
        """The handle that an executor of the 3.x kind is given."""


class BaseExecutor(ABC):
    """An executor of the 3.x kind. Subclasses implement ``_do_submit_job`` and report through the two ``_run_job_…`` methods.

    These are told the job and, at best, the fire time: runs are matched by them, from any thread.
    """

    _host: ExecutorHost | None = None
    _scheduler: ExecutorHost | None = None  # the same by its name in 3.x
    _logger = logging.getLogger("schedcore.executors")
    _alias = ""

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        """Called once by the scheduler, with its alias there, before any run is submitted."""
        self._host = self._scheduler = scheduler
        self._alias = alias
        self._logger = logging.getLogger(f"schedcore.executors.{alias}")
        self._submitted: dict[str, list[Run]] = {}
        self._submitted_lock = ShortLock()

    def shutdown(self, wait: bool = True) -> object:
        """Stop taking runs; with ``wait``, return when those that were taken are over."""
        return None

    def submit(self, runs: Sequence[Run]) -> None:
        """Take runs. Here: hand each to ``_do_submit_job``; one that is refused fails with the reason."""
        host = self._started_host()
        for run in runs:
            with self._submitted_lock:
                self._submitted.setdefault(run.job.id, []).append(run)
            try:
                self._do_submit_job(host.job_handle(run), [run.scheduled_at])
            except BaseException as error:  # noqa: BLE001 (a third party's refusal, whatever it is)
                failure = contained(error)
                if self._take_back(run):
                    host.run_finished(failed(run, None, host.clock.wall_us(), failure))

    def submit_job(self, job: Job, run_times: list[datetime]) -> None:
        """Take one job for some fire times (3.x). Raises ``MaxInstancesReachedError`` when enough runs of it are live."""
        if self._count_live(job.id) >= job.max_instances:
            raise MaxInstancesReachedError(job)
        entry = job._look()
        self.submit([Run(entry.job, job.jobstore, from_datetime(at), 1, None) for at in run_times])

    @abstractmethod
    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        """Run the job for each of the fire times, elsewhere, and report."""

    def _run_job_success(self, job_id: str, events: list[JobExecutionEvent]) -> None:
        """To be called when ``run_job`` has returned: its events become the outcomes of the runs."""
        host = self._started_host()
        for event in events:
            run = self._take(job_id, from_datetime(event.scheduled_run_time))
            if run is None:
                continue
            now_us = host.clock.wall_us()
            if event.code == EVENT_JOB_MISSED:
                finish = Finish(run, RunState.SKIPPED, None, now_us)
            elif event.exception is not None:
                exception = as_exception(event.exception)
                finish = Finish(run, RunState.FAILED, None, now_us, None, exception, event.traceback)
            else:
                finish = Finish(run, RunState.SUCCEEDED, None, now_us, event.retval)
            host.run_finished(finish)

    def _run_job_error(self, job_id: str, exc: BaseException, traceback: Any = None) -> None:
        """To be called when running the job failed outside the job itself: its oldest submitted run fails with ``exc``."""
        host = self._started_host()
        run = self._take(job_id, None)
        if run is not None:
            host.run_finished(failed(run, None, host.clock.wall_us(), exc))

    def _started_host(self) -> ExecutorHost:
        if self._host is None:
            raise RuntimeError("the executor was not started")
        return self._host

    def _count_live(self, job_id: str) -> int:
        with self._submitted_lock:
            return len(self._submitted.get(job_id, ()))

    def _take(self, job_id: str, fire_us: int | None) -> Run | None:
        """The submitted run of the job with this fire time, taken out; whoever gets it reports it.

        When there is none, the oldest one: ``_run_job_error`` does not say which run it was about and may have taken
        this one's place.
        """
        with self._submitted_lock:
            runs = self._submitted.get(job_id)
            if not runs:
                return None
            run = runs.pop(next((index for index, run in enumerate(runs) if run.fire_us == fire_us), 0))
            if not runs:
                del self._submitted[job_id]
            return run

    def _take_back(self, run: Run) -> bool:
        with self._submitted_lock:
            runs = self._submitted.get(run.job.id, [])
            for index, one in enumerate(runs):
                if one is run:
                    del runs[index]
                    if not runs:
                        del self._submitted[run.job.id]
                    return True
        return False


class RunExecutor(BaseExecutor):
    """An executor of ours; see the module's docstring for the contract."""

    @abstractmethod
    def submit(self, runs: Sequence[Run]) -> None:
        """Take runs, in order. Raises ``RuntimeError`` before start and after shutdown, and has taken none then."""

    @abstractmethod
    def live_runs(self) -> list[Run]:
        """The runs that were taken and are not reported as finished, those in a queue included, in order. From any thread."""

    @abstractmethod
    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """Stop taking runs, and return those that were cut. From any thread; twice is harmless.

        ``wait=True``: all runs that were taken are carried out. ``wait=False``: those that have not begun are reported
        ``CANCELLED``, and those that have go on; a second call with ``wait=True`` waits for them. ``timeout`` (s): how
        long to wait; what has not begun by then is reported ``CANCELLED``, what has is ended and reported ``CANCELLED``
        where that is possible, and goes on to its own end where it is not (threads). Called from one of its own jobs,
        it does not wait for that job, nor for another that waits in here.
        """

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        self.submit_job(job, run_times)

    def _count_live(self, job_id: str) -> int:
        return sum(run.job.id == job_id for run in self.live_runs())


def failed(run: Run, started_us: int | None, finished_us: int, error: BaseException) -> Finish:
    """The end of a run that raised ``error``. The traceback becomes text here, so that no frame outlives the run."""
    text = traceback_text(error)
    strip_tracebacks(error)
    return Finish(run, RunState.FAILED, started_us, finished_us, None, as_exception(error), text)


def call_run(run: Run, host: ExecutorHost, finish_awaitable: Callable[[Any], Any] = run_awaitable) -> Finish:
    """Call the job in this thread and say how it ended. ``finish_awaitable`` turns an awaitable result into its value.

    Whatever the job raises is a failure of its run (``SystemExit`` included) and does not pass. There is one exception:
    a ``KeyboardInterrupt`` in the main thread belongs to the program, so it is raised again after the failure was
    reported here.
    """
    context = Context()
    context.run(current_run.set, run)
    host.run_started(run)
    clock = host.clock
    started_us = clock.wall_us()
    job = run.job
    before = generation()
    try:
        func = job.func
        if func is None:
            raise LookupError(f"the callable {job.func_ref!r} of job {job.id!r} is not there")
        retval = context.run(func, *job.args, **job.kwargs)
        if retval is not None:
            retval = context.run(settle, retval, finish_awaitable)
    # All there is, and not Exception alone: whatever a job raises, sys.exit included, is the outcome of its run and must not
    # end the thread, which is not the job's.
    except BaseException as error:  # noqa: BLE001
        if generation() != before:
            end_child(error)
        if not isinstance(error, KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
            return failed(run, started_us, clock.wall_us(), error)
        frames = error.__traceback__
        host.run_finished(failed(run, started_us, clock.wall_us(), error))
        raise error.with_traceback(frames) from None
    if generation() != before:
        end_child(None)
    return tuple.__new__(Finish, (run, _SUCCEEDED, started_us, clock.wall_us(), retval, None, None))


def run_job(job: Job, jobstore_alias: str, run_times: list[datetime], logger_name: str) -> list[JobExecutionEvent]:
    """Run a job once for each fire time in this thread and return the events (3.x).

    A late one is missed by the job's grace time.
    """
    events: list[JobExecutionEvent] = []
    for run_time in run_times:
        missed = _missed(job, jobstore_alias, run_time, logger_name)
        if missed is not None:
            events.append(missed)
            continue
        try:
            func = job.func
            if func is None:
                raise LookupError(f"the callable of job {job.id!r} is not there")
            retval = settle(func(*job.args, **job.kwargs), run_awaitable)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (it is the run's outcome)
            events.append(_error_event(job, jobstore_alias, run_time, error))
        else:
            events.append(JobExecutionEvent(EVENT_JOB_EXECUTED, job.id, jobstore_alias, run_time, retval=retval))
    return events


async def run_coroutine_job(
    job: Job, jobstore_alias: str, run_times: list[datetime], logger_name: str
) -> list[JobExecutionEvent]:
    """``run_job`` for a coroutine function, awaited on the running loop."""
    events: list[JobExecutionEvent] = []
    for run_time in run_times:
        missed = _missed(job, jobstore_alias, run_time, logger_name)
        if missed is not None:
            events.append(missed)
            continue
        try:
            func = job.func
            if func is None:
                raise LookupError(f"the callable of job {job.id!r} is not there")
            retval = await func(*job.args, **job.kwargs)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (it is the run's outcome)
            events.append(_error_event(job, jobstore_alias, run_time, error))
        else:
            events.append(JobExecutionEvent(EVENT_JOB_EXECUTED, job.id, jobstore_alias, run_time, retval=retval))
    return events


def _missed(job: Job, alias: str, run_time: datetime, logger_name: str) -> JobExecutionEvent | None:
    grace_s = job.misfire_grace_time
    if grace_s is None:
        return None
    late = datetime.now(UTC) - run_time
    if late <= timedelta(seconds=grace_s):
        return None
    logging.getLogger(logger_name).warning('run of job "%s" was missed by %s', job, late)
    return JobExecutionEvent(EVENT_JOB_MISSED, job.id, alias, run_time)


def _error_event(job: Job, alias: str, run_time: datetime, error: BaseException) -> JobExecutionEvent:
    text = traceback_text(error)
    strip_tracebacks(error)
    return JobExecutionEvent(EVENT_JOB_ERROR, job.id, alias, run_time, exception=as_exception(error), traceback=text)

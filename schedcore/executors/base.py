"""What an executor is: it is given runs, and reports that each began and how it ended.

``BaseExecutor`` is the interface of APScheduler 3.x: a third party's class that implements ``_do_submit_job`` works. ``RunExecutor`` is
the one that ours implement: whole batches of runs, no future for each, and a shutdown that reports what it cut.

Contract of a ``RunExecutor``. ``submit`` is called in the scheduler's thread and never blocks. For each run, ``host.run_started(run)`` is
called at most once and ``host.run_finished(finish)`` exactly once, from any thread, whatever the job does; between the two
``current_run`` is set in the job's context. After ``shutdown`` has returned with ``wait=True`` no job code of it runs.
"""

from __future__ import annotations

import logging
import traceback as traceback_module
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from schedcore.clock import Clock, from_datetime
from schedcore.errors import MaxInstancesReachedError
from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_MISSED, JobExecutionEvent
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
    "run_coroutine_job",
    "run_job",
]


class ExecutorHost(Protocol):
    """What an executor needs of its scheduler. Both reports may come from any thread; neither blocks nor raises."""

    @property
    def clock(self) -> Clock:
        """Where the instants of a run come from."""

    def run_started(self, run: Run) -> None:
        """The job's code is about to be called."""

    def run_finished(self, finish: Finish) -> None:
        """The run is over."""

    def job_handle(self, run: Run) -> Job:
        """The handle that an executor of the 3.x kind is given."""


class BaseExecutor(ABC):
    """An executor of the 3.x kind. Subclasses implement ``_do_submit_job`` and report through the two ``_run_job_…`` methods."""

    _host: ExecutorHost | None = None
    _logger = logging.getLogger("schedcore.executors")
    _alias = ""

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        """Called once by the scheduler, with its alias there, before any run is submitted."""
        self._host = scheduler
        self._alias = alias
        self._logger = logging.getLogger(f"schedcore.executors.{alias}")
        self._submitted: dict[str, list[Run]] = {}

    def shutdown(self, wait: bool = True) -> object:
        """Stop taking runs; with ``wait``, return when those that were taken are over."""
        return None

    def submit(self, runs: Sequence[Run]) -> None:
        """Take runs. Here: hand each to ``_do_submit_job``; one that is refused fails with the reason."""
        host = self._host
        assert host is not None
        for run in runs:
            self._submitted.setdefault(run.job.id, []).append(run)
            try:
                self._do_submit_job(host.job_handle(run), [run.scheduled_at])
            except Exception as error:
                self._submitted[run.job.id].remove(run)
                host.run_finished(failed(run, None, host.clock.wall_us(), error))

    def submit_job(self, job: Job, run_times: list[datetime]) -> None:
        """Take one job for some fire times (3.x). Raises ``MaxInstancesReachedError`` when enough runs of it are live."""
        live = self._submitted.get(job.id, [])
        if len(live) >= job.max_instances:
            raise MaxInstancesReachedError(job)
        entry = job._look()
        self.submit([Run(entry.job, job.jobstore, from_datetime(at), 1, None) for at in run_times])

    @abstractmethod
    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        """Run the job for each of the fire times, elsewhere, and report."""

    def _run_job_success(self, job_id: str, events: list[JobExecutionEvent]) -> None:
        """To be called when ``run_job`` has returned: its events become the outcomes of the runs."""
        host = self._host
        assert host is not None
        for event in events:
            run = self._take(job_id, event.scheduled_run_time)
            if run is None:
                continue
            now_us = host.clock.wall_us()
            if isinstance(event.exception, Exception):
                finish = Finish(run, RunState.FAILED, None, now_us, None, event.exception, event.traceback)
            else:
                finish = Finish(run, RunState.SUCCEEDED, None, now_us, event.retval)
            host.run_finished(finish)

    def _run_job_error(self, job_id: str, exc: Exception, traceback: Any = None) -> None:
        """To be called when running the job failed outside the job itself: all its submitted runs fail with ``exc``."""
        host = self._host
        assert host is not None
        for run in self._submitted.pop(job_id, []):
            host.run_finished(failed(run, None, host.clock.wall_us(), exc))

    def _take(self, job_id: str, at: datetime) -> Run | None:
        fire_us = from_datetime(at)
        runs = self._submitted.get(job_id, [])
        for run in runs:
            if run.fire_us == fire_us:
                runs.remove(run)
                if not runs:
                    del self._submitted[job_id]
                return run
        return None


class RunExecutor(BaseExecutor):
    """An executor of ours; see the module's docstring for the contract."""

    @abstractmethod
    def submit(self, runs: Sequence[Run]) -> None:
        """Take runs, in order. Raises ``RuntimeError`` after shutdown."""

    @abstractmethod
    def live_runs(self) -> list[Run]:
        """The runs that were taken and are not over. From any thread."""

    @abstractmethod
    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """Stop taking runs. From any thread; twice is harmless.

        ``wait=True``: all runs that were taken are carried out. ``wait=False``: those that have not begun are reported ``CANCELLED``,
        and those that have go on. ``timeout`` (s): how long to wait; what is not over by then is cancelled where that is possible
        and returned. Called from one of its own jobs, it does not wait for that job.
        """

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        self.submit_job(job, run_times)


def failed(run: Run, started_us: int | None, finished_us: int, error: Exception) -> Finish:
    """The end of a run that raised ``error``. The traceback becomes text here, so that no frame outlives the run."""
    text = "".join(traceback_module.format_exception(error))
    return Finish(run, RunState.FAILED, started_us, finished_us, None, error.with_traceback(None), text)


def call_run(run: Run, host: ExecutorHost, finish_awaitable: Callable[[Any], Any]) -> Finish:
    """Call the job in this thread and say how it ended. ``finish_awaitable`` turns an awaitable result into its value.

    What is not an ``Exception`` ends as a failure too where it only concerns the job (``SystemExit``, ``GeneratorExit`` raised by it);
    a ``KeyboardInterrupt`` in the main thread belongs to the program.
    """
    func = run.job.func
    clock = host.clock
    token = current_run.set(run)
    host.run_started(run)
    started_us = clock.wall_us()
    try:
        if func is None:
            raise LookupError(f"the callable {run.job.func_ref!r} of job {run.job.id!r} is not there")
        retval = func(*run.job.args, **run.job.kwargs)
        if retval is not None and hasattr(type(retval), "__await__"):
            retval = finish_awaitable(retval)
    except Exception as error:
        return failed(run, started_us, clock.wall_us(), error)
    except SystemExit as error:
        return failed(run, started_us, clock.wall_us(), RuntimeError(f"the job called sys.exit({error.code!r})"))
    finally:
        current_run.reset(token)
    return Finish(run, RunState.SUCCEEDED, started_us, clock.wall_us(), retval)


def run_job(
    job: Job, jobstore_alias: str, run_times: list[datetime], logger_name: str
) -> list[JobExecutionEvent]:
    """Run a job once for each fire time in this thread and return the events (3.x). A late one is missed by the job's grace time."""
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
            retval = func(*job.args, **job.kwargs)
        except Exception as error:
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
        except Exception as error:
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


def _error_event(job: Job, alias: str, run_time: datetime, error: Exception) -> JobExecutionEvent:
    text = "".join(traceback_module.format_exception(error))
    exception = error.with_traceback(None)
    return JobExecutionEvent(
        EVENT_JOB_ERROR, job.id, alias, run_time, exception=exception, traceback=text
    )



"""Says what happens: to the log, and to listeners.

Every event of a scheduler is made here, and only if somebody listens for it. Run events are *posted*: one thread, started when
the first is due, delivers them in order (see ``schedcore.events``).

The log tells of single runs and of waiting at the level DEBUG. Whether anybody wants that is asked once for each batch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from schedcore.clock import to_datetime
from schedcore.errors import RunCancelledError, error_text
from schedcore.events import (
    EVENT_CLOCK_STEPPED,
    EVENT_JOB_ADDED,
    EVENT_JOB_BROKEN,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_LOST,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    EVENT_JOB_REMOVED,
    EVENT_JOB_SKIPPED,
    EVENT_JOB_STARTED,
    EVENT_JOB_SUBMITTED,
    EVENT_JOBSTORE_FAILED,
    EVENT_JOBSTORE_RECOVERED,
    EVENT_SCHEDULER_FAILED,
    EventBus,
    JobBrokenEvent,
    JobEvent,
    JobExecutionEvent,
    JobSkippedEvent,
    JobSubmissionEvent,
    SchedulerFailureEvent,
)
from schedcore.job import JobEntry, JobRecord
from schedcore.locks import ShortLock
from schedcore.run import Finish, Run, RunRecord, RunState, Skip, SkipReason
from schedcore.schedulers._calls import Teller, call_pool
from schedcore.triggers.base import GridTrigger

__all__ = ["Reports"]

# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED


class Reports:
    """The log and the listeners of one scheduler. Every method may be called from any thread."""

    def __init__(self, must_not_listen: Callable[[], bool], make_teller: Callable[[str], Teller] | None = None) -> None:
        self.logger: Any = logging.getLogger("schedcore.scheduler")
        #: Whether the log is to tell of each run, as of the last batch.
        self.tells_all = False
        self.bus = EventBus(lambda: self.logger, must_not_listen)
        self._lock = ShortLock()
        self._make_teller = make_teller or partial(call_pool, 1)
        self._teller: Teller | None = None
        self._tells = False
        self._teller_name = f"schedcore-events-{id(self):x}"

    def start(self) -> None:
        """From now on, a thread of its own delivers what is posted."""
        self._tells = True
        self.bus.use_helper(self._tell_later)

    def stop(self) -> None:
        """End that thread, when it has delivered what was posted; from now on, who posts delivers."""
        self.bus.use_helper(None)
        with self._lock:
            self._tells = False
            teller = self._teller
        if teller is not None:
            teller.close()
            # Only now, because Ctrl-C may end this, and then it is done once more.
            self._teller = None
            # A listener that hangs must not hang the program.
            teller.join(5.0)

    def forget_threads(self) -> None:
        """After a fork, in the child: the thread is not there."""
        self._lock = ShortLock()
        self._teller = None
        self.bus.forget_threads()

    def delivers_here(self) -> bool:
        """Whether the calling thread is the one that delivers, so that a listener is calling."""
        return threading.current_thread().name.startswith(self._teller_name)

    def _tell_later(self, deliver: Callable[[], None]) -> None:
        teller = self._teller
        if teller is None:
            with self._lock:
                teller = self._teller
                if not self._tells:
                    return  # it has just been stopped: who closes delivers what is left
                if teller is None:
                    self._teller = teller = self._make_teller(self._teller_name)
        try:
            teller.submit([deliver])
        except RuntimeError:
            # It was closed since: who closes it delivers what is left.
            pass

    def clock_stepped(self, step_us: int) -> None:
        """The wall clock was set by ``step_us``, or the machine slept for as long."""
        if step_us < 0:
            message = f"the clock was set back by {-step_us / 1e6:.3f} s"
        else:
            message = f"the clock was set forward by {step_us / 1e6:.3f} s, or the machine slept"
        self.logger.warning("%s", message)
        self.bus.post(SchedulerFailureEvent(EVENT_CLOCK_STEPPED, None, message))

    def wakeup_failed(self, method: str, error: Exception) -> None:
        """The framework's side raised where it must not; the scheduler goes on."""
        message = f"the wakeup failed to {method}: {error_text(error)}"
        self.logger.error("%s", message)
        self.bus.post(SchedulerFailureEvent(EVENT_SCHEDULER_FAILED, None, message, error))

    def submitted(self, runs: list[Run]) -> None:
        """Runs are about to be handed to their executors."""
        self.tells_all = self.logger.isEnabledFor(logging.DEBUG)
        if self.tells_all:
            for run in runs:
                self._tell(run, f"submitted to executor {run.job.policy.executor!r}")
        if self.bus.mask & EVENT_JOB_SUBMITTED:
            for run in runs:
                event = JobSubmissionEvent(EVENT_JOB_SUBMITTED, run.job.id, run.alias, [run.scheduled_at], [run.id])
                self.bus.post(event)

    def started(self, run: Run) -> None:
        """The job's code is about to be called."""
        if self.tells_all:
            self._tell(run, "started")
        if self.bus.mask & EVENT_JOB_STARTED:
            event = JobExecutionEvent(EVENT_JOB_STARTED, run.job.id, run.alias, run.scheduled_at, run_id=run.id)
            self.bus.post(event)

    def ended(self, ended: list[Finish]) -> None:
        """Runs are over, and their outcomes are with their store."""
        mask = self.bus.mask
        if self.logger.isEnabledFor(logging.DEBUG):
            for finish in ended:
                self._tell(finish.run, _end_text(finish))
        for run, state, started_us, finished_us, retval, exception, traceback in ended:
            if state is _SUCCEEDED:
                if mask & EVENT_JOB_EXECUTED:
                    self.bus.post(
                        JobExecutionEvent(
                            EVENT_JOB_EXECUTED,
                            run.job.id,
                            run.alias,
                            run.scheduled_at,
                            retval,
                            run_id=run.id,
                            started_us=started_us,
                            finished_us=finished_us,
                        )
                    )
                continue
            if state is RunState.SKIPPED:
                if mask & EVENT_JOB_SKIPPED:
                    at = run.scheduled_at
                    self.bus.post(
                        JobSkippedEvent(EVENT_JOB_SKIPPED, run.job.id, run.alias, str(SkipReason.SHUTDOWN), at, at, 1)
                    )
                continue
            if state is RunState.FAILED:
                what = "it says nothing" if exception is None else error_text(exception)
                where = f"\n{traceback.rstrip()}" if traceback else ""
                self.logger.error("job %s failed: %s%s", _called(run.job), what, where, extra={"run_id": run.id})
            else:
                # Listeners of 3.x take an event without an exception for a success.
                exception = exception or RunCancelledError()
                self.logger.warning("run %s was %s", run.id, state)
            if mask & EVENT_JOB_ERROR:
                self.bus.post(
                    JobExecutionEvent(
                        EVENT_JOB_ERROR,
                        run.job.id,
                        run.alias,
                        run.scheduled_at,
                        None,
                        exception,
                        traceback,
                        run_id=run.id,
                        started_us=started_us,
                        finished_us=finished_us,
                    )
                )

    def _tell(self, run: Run, what: str) -> None:
        again = "" if run.attempt == 1 else f", attempt {run.attempt}"
        of = run.scheduled_at
        self.logger.debug("job %s of %s%s: %s", _called(run.job), of, again, what, extra={"run_id": run.id})

    def skipped(self, alias: str, job: JobRecord, skip: Skip) -> None:
        """Fire times of a job pass without a run."""
        reason, first_us, last_us, times = skip
        zone = job.trigger.timezone
        first = to_datetime(first_us).astimezone(zone)
        last = to_datetime(last_us).astimezone(zone)
        # Triggers that do not answer in closed form may have counted a part of them.
        many = f"at least {times}" if times > 1 and not isinstance(job.trigger, GridTrigger) else times
        if reason is SkipReason.MISFIRED:
            self.logger.warning("%s run(s) of job %s misfired, up to %s", many, _called(job), last)
        elif reason is SkipReason.OVERLAP:
            self.logger.warning(
                "job %s is still running: %s run(s) skipped (max_instances=%d)",
                _called(job),
                many,
                job.policy.max_instances,
            )
        else:
            self.logger.info("%s run(s) of job %s skipped up to %s: %s", many, _called(job), last, reason)
        if reason is SkipReason.OVERLAP and self.bus.wants(EVENT_JOB_MAX_INSTANCES):
            self.bus.post(JobSubmissionEvent(EVENT_JOB_MAX_INSTANCES, job.id, alias, [last]))
        code = EVENT_JOB_MISSED if reason is SkipReason.MISFIRED else EVENT_JOB_SKIPPED
        if self.bus.wants(code):
            self.bus.post(JobSkippedEvent(code, job.id, alias, str(reason), first, last, times))

    def broken(self, alias: str, job_id: str, reason: str, error: Exception | None) -> None:
        """A job is set aside."""
        self.logger.error("job %r is set aside: %s", job_id, reason)
        if self.bus.wants(EVENT_JOB_BROKEN):
            self.bus.post(JobBrokenEvent(job_id, alias, reason, error))

    def lost(self, alias: str, record: RunRecord) -> None:
        """A run was cut off when its scheduler died."""
        self.logger.warning("run %s was lost: %s", record.id, record.reason)
        if self.bus.wants(EVENT_JOB_LOST):
            event = JobExecutionEvent(
                EVENT_JOB_LOST, record.job_id, alias, to_datetime(record.fire_us), run_id=record.id
            )
            self.bus.post(event)

    def removed(self, alias: str, job_id: str) -> None:
        """A job is gone, because its schedule has ended."""
        if self.bus.wants(EVENT_JOB_REMOVED):
            self.bus.post(JobEvent(EVENT_JOB_REMOVED, job_id, alias))

    def added(self, alias: str, entries: list[JobEntry]) -> None:
        """Jobs were put into a store."""
        if self.bus.wants(EVENT_JOB_ADDED):
            for entry in entries:
                self.bus.post(JobEvent(EVENT_JOB_ADDED, entry.job.id, alias))

    def order_failed(self, alias: str, what: str, error: Exception) -> None:
        """A call that was put off failed when it was made; its caller has gone on."""
        message = f"{what} was put off, and failed: {error_text(error)}"
        self.logger.error("job store %r: %s", alias, message)
        if self.bus.wants(EVENT_SCHEDULER_FAILED):
            self.bus.post(SchedulerFailureEvent(EVENT_SCHEDULER_FAILED, alias, message, error))

    def store_failed(self, alias: str, error: Exception, retry_s: float | None, logged: bool = False) -> None:
        """A job store failed; ``retry_s``: seconds until it is tried again; ``logged``: whether the log has had that lately."""
        again = "" if retry_s is None else f"; next attempt in {retry_s:.1f} s"
        level = logging.DEBUG if logged else logging.ERROR
        self.logger.log(level, "job store %r failed: %s%s", alias, error_text(error), again)
        if self.bus.wants(EVENT_JOBSTORE_FAILED):
            self.bus.post(SchedulerFailureEvent(EVENT_JOBSTORE_FAILED, alias, error_text(error), error))

    def store_recovered(self, alias: str) -> None:
        """A job store works again."""
        self.logger.info("job store %r works again", alias)
        if self.bus.wants(EVENT_JOBSTORE_RECOVERED):
            self.bus.post(SchedulerFailureEvent(EVENT_JOBSTORE_RECOVERED, alias, "the job store works again"))

    def waits(self, delay_s: float | None, alias: str | None) -> None:
        """Nothing is due for ``delay_s`` seconds, and then in this job store; None: nothing is due at all."""
        if delay_s is None:
            self.logger.debug("nothing is due")
        else:
            self.logger.debug("nothing is due for %.1f s, then in job store %r", delay_s, alias)


def _called(job: JobRecord) -> str:
    """What the log calls a job: its id, which every call takes, and its name where that says more."""
    return repr(job.id) if job.name == job.id else f"{job.id!r} ({job.name!r})"


def _end_text(finish: Finish) -> str:
    what = "finished" if finish.state is _SUCCEEDED else str(finish.state)
    if finish.started_us is None:
        return what
    took_us = finish.finished_us - finish.started_us
    return f"{what} after {took_us / 1e6:.2f} s" if took_us >= 1_000_000 else f"{what} after {took_us / 1e3:.3g} ms"

"""Events: what listeners are told.

Codes, classes and attributes of APScheduler 3.x are here with their meaning; new codes follow after them and belong to
``EVENT_ALL``. The events of a run carry its run id and come in the order submitted, started, finished.

**Where listeners run.** An event that a call of yours causes (``add_job``, ``pause``, …) is delivered in that call,
before it returns. All others are delivered one after the other by one thread of the scheduler's, never on a
framework's event loop and never in a worker that runs jobs, so that a slow listener delays other listeners and
nothing else. A listener that raises is logged.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from schedcore.errors import contained
from schedcore.locks import ShortLock

__all__ = [
    "EVENT_ALL",
    "EVENT_ALL_JOBS_REMOVED",
    "EVENT_CLOCK_STEPPED",
    "EVENT_EXECUTOR_ADDED",
    "EVENT_EXECUTOR_REMOVED",
    "EVENT_JOBSTORE_ADDED",
    "EVENT_JOBSTORE_FAILED",
    "EVENT_JOBSTORE_RECOVERED",
    "EVENT_JOBSTORE_REMOVED",
    "EVENT_JOB_ADDED",
    "EVENT_JOB_BROKEN",
    "EVENT_JOB_ERROR",
    "EVENT_JOB_EXECUTED",
    "EVENT_JOB_LOST",
    "EVENT_JOB_MAX_INSTANCES",
    "EVENT_JOB_MISSED",
    "EVENT_JOB_MODIFIED",
    "EVENT_JOB_REMOVED",
    "EVENT_JOB_SKIPPED",
    "EVENT_JOB_STARTED",
    "EVENT_JOB_SUBMITTED",
    "EVENT_SCHEDULER_FAILED",
    "EVENT_SCHEDULER_PAUSED",
    "EVENT_SCHEDULER_RESUMED",
    "EVENT_SCHEDULER_SHUTDOWN",
    "EVENT_SCHEDULER_STARTED",
    "EventBus",
    "JobBrokenEvent",
    "JobEvent",
    "JobExecutionEvent",
    "JobSkippedEvent",
    "JobSubmissionEvent",
    "Listener",
    "SchedulerEvent",
    "SchedulerFailureEvent",
]

EVENT_SCHEDULER_STARTED = 2**0
EVENT_SCHEDULER_SHUTDOWN = 2**1
EVENT_SCHEDULER_PAUSED = 2**2
EVENT_SCHEDULER_RESUMED = 2**3
EVENT_EXECUTOR_ADDED = 2**4
EVENT_EXECUTOR_REMOVED = 2**5
EVENT_JOBSTORE_ADDED = 2**6
EVENT_JOBSTORE_REMOVED = 2**7
EVENT_ALL_JOBS_REMOVED = 2**8
EVENT_JOB_ADDED = 2**9
EVENT_JOB_REMOVED = 2**10
EVENT_JOB_MODIFIED = 2**11
EVENT_JOB_EXECUTED = 2**12
EVENT_JOB_ERROR = 2**13
EVENT_JOB_MISSED = 2**14
EVENT_JOB_SUBMITTED = 2**15
EVENT_JOB_MAX_INSTANCES = 2**16
# From here on: not in 3.x.
EVENT_JOB_STARTED = 2**17
EVENT_JOB_SKIPPED = 2**18
EVENT_JOB_BROKEN = 2**19
EVENT_JOB_LOST = 2**20
EVENT_JOBSTORE_FAILED = 2**21
EVENT_JOBSTORE_RECOVERED = 2**22
EVENT_CLOCK_STEPPED = 2**23
EVENT_SCHEDULER_FAILED = 2**24
EVENT_ALL = 2**25 - 1


class SchedulerEvent:
    """Something about the scheduler: ``code``, and the ``alias`` of the executor or job store it is about, if any."""

    def __init__(self, code: int, alias: str | None = None) -> None:
        self.code = code
        self.alias = alias

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (code={self.code})>"


class SchedulerFailureEvent(SchedulerEvent):
    """A part failed or recovered, or the clock was stepped: ``message`` for people, the ``exception`` if there is one."""

    def __init__(self, code: int, alias: str | None, message: str, exception: Exception | None = None) -> None:
        super().__init__(code, alias)
        self.message = message
        self.exception = exception


class JobEvent(SchedulerEvent):
    """Something about a job: ``job_id``, and the alias of its ``jobstore`` (3.x leaves ``alias`` None here, and so do we)."""

    def __init__(self, code: int, job_id: str, jobstore: str | None) -> None:
        super().__init__(code)
        self.job_id = job_id
        self.jobstore = jobstore


class JobSubmissionEvent(JobEvent):
    """Runs were handed to an executor, or refused because of ``max_instances``: ``scheduled_run_times`` and ``run_ids``."""

    def __init__(
        self,
        code: int,
        job_id: str,
        jobstore: str | None,
        scheduled_run_times: list[datetime],
        run_ids: list[str] | None = None,
    ) -> None:
        super().__init__(code, job_id, jobstore)
        self.scheduled_run_times = scheduled_run_times
        self.run_ids = run_ids if run_ids is not None else []


class JobExecutionEvent(JobEvent):
    """A run began or ended: ``scheduled_run_time``, ``run_id``, and at the end ``retval``, or ``exception`` and
    ``traceback`` (text).

    ``started_us`` and ``finished_us`` (microseconds since the epoch) are those of its record; None before, or when it
    never began.
    """

    def __init__(
        self,
        code: int,
        job_id: str,
        jobstore: str | None,
        scheduled_run_time: datetime,
        retval: Any = None,
        exception: BaseException | None = None,
        traceback: str | None = None,
        run_id: str | None = None,
        started_us: int | None = None,
        finished_us: int | None = None,
    ) -> None:
        super().__init__(code, job_id, jobstore)
        self.scheduled_run_time = scheduled_run_time
        self.retval = retval
        self.exception = exception
        self.traceback = traceback
        self.run_id = run_id
        self.started_us = started_us
        self.finished_us = finished_us

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None unless it has both."""
        if self.started_us is None or self.finished_us is None:
            return None
        return (self.finished_us - self.started_us) / 1e6


class JobSkippedEvent(JobExecutionEvent):
    """Fire times passed without a run: the ``reason``, how many (``count``), the first and (``scheduled_run_time``) the last.

    At least so many, where a trigger cannot count without walking and there are more than it walks over ("Bounds" in the
    documentation of triggers says which).

    Its code is ``EVENT_JOB_MISSED`` where the reason is "misfired" and ``EVENT_JOB_SKIPPED`` elsewhere.
    """

    def __init__(
        self, code: int, job_id: str, jobstore: str | None, reason: str, first: datetime, last: datetime, count: int
    ) -> None:
        super().__init__(code, job_id, jobstore, last)
        self.reason = reason
        self.first_run_time = first
        self.count = count


class JobBrokenEvent(JobEvent):
    """A job was set aside: the ``reason``, and the ``exception`` behind it if there is one."""

    def __init__(self, job_id: str, jobstore: str | None, reason: str, exception: Exception | None = None) -> None:
        super().__init__(EVENT_JOB_BROKEN, job_id, jobstore)
        self.reason = reason
        self.exception = exception


Listener = Callable[[Any], object]


class EventBus:
    """Delivers events in order. Events are built only where ``wants(code)``, so that nobody pays for what nobody reads.

    One thread delivers at a time; who publishes meanwhile only queues. No lock is held while a listener runs, and a listener
    may call anything, this bus included.
    """

    def __init__(self, logger: Callable[[], logging.Logger], on_loop: Callable[[], bool] = lambda: False) -> None:
        self._logger = logger
        self._on_loop = on_loop
        self._listeners: tuple[tuple[Listener, int], ...] = ()
        #: The union of all listeners' masks. It is looked at for every job and every run.
        self.mask = 0
        self._queue: deque[SchedulerEvent] = deque()
        self._lock = ShortLock()
        self._delivering = False
        self._helper: Callable[[Callable[[], None]], None] | None = None

    def wants(self, code: int) -> bool:
        """Whether any listener asked for this code."""
        return bool(self.mask & code)

    def add(self, callback: Listener, mask: int) -> None:
        """Have a listener told of the events of these codes. From any thread."""
        with self._lock:
            self._set((*self._listeners, (callback, mask)))

    def remove(self, callback: Listener) -> None:
        """Forget a listener; one that is not known is not an error."""
        with self._lock:
            kept = list(self._listeners)
            for item in kept:
                if item[0] == callback:
                    kept.remove(item)
                    break
            self._set(tuple(kept))

    def _set(self, listeners: tuple[tuple[Listener, int], ...]) -> None:
        self._listeners = listeners
        mask = 0
        for _, wanted in listeners:
            mask |= wanted
        self.mask = mask

    def use_helper(self, helper: Callable[[Callable[[], None]], None] | None) -> None:
        """How to run a delivery in a thread of the scheduler's; None: in the thread that publishes (no scheduler runs)."""
        self._helper = helper

    def forget_threads(self) -> None:
        """After a fork, in the child: whoever delivered or held the lock is not there, nor is its work ours."""
        self._helper = None
        self._lock = ShortLock()
        self._delivering = False
        self._queue.clear()

    def publish(self, event: SchedulerEvent) -> None:
        """Deliver in this thread, before returning, unless another delivery is under way or an event loop would have to wait
        for the listeners: for events that a call causes.
        """
        if self.mask & event.code:
            if self._helper is not None and self._on_loop():
                self.post(event)
                return
            self._queue.append(event)
            self._deliver()

    def queue(self, event: SchedulerEvent) -> None:
        """Have it delivered in its turn, by whoever delivers next (``flush``). Calls nobody."""
        if self.mask & event.code:
            self._queue.append(event)

    def flush(self) -> None:
        """Deliver in this thread what is queued, unless another delivery is under way."""
        self._deliver()

    def post(self, event: SchedulerEvent) -> None:
        """Deliver soon, in the scheduler's own thread for it. From any thread; never blocks."""
        if not self.mask & event.code:
            return
        self._queue.append(event)
        helper = self._helper
        if helper is None:
            self._deliver()
        elif not self._delivering:
            helper(self._deliver)

    def _deliver(self) -> None:
        while self._queue:
            with self._lock:
                if self._delivering or not self._queue:
                    return
                self._delivering = True
            try:
                while True:
                    try:
                        event = self._queue.popleft()
                    except IndexError:
                        break
                    self._tell(event)
            finally:
                with self._lock:
                    self._delivering = False

    def _tell(self, event: SchedulerEvent) -> None:
        for callback, mask in self._listeners:
            if mask & event.code:
                try:
                    callback(event)
                except BaseException as error:  # noqa: BLE001  # a listener is anybody's code
                    self._logger().error("listener %r failed on %r", callback, event, exc_info=contained(error))

"""What a scheduler told its listeners, kept for a test to look at."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from schedcore import events
from schedcore.events import EVENT_ALL, EVENT_JOB_EXECUTED, EVENT_JOB_SUBMITTED, JobSkippedEvent, SchedulerEvent
from schedcore.schedulers.base import BaseScheduler

__all__ = ["EventLog"]

_NAMES = {
    getattr(events, name): name.removeprefix("EVENT_")
    for name in events.__all__
    if name.startswith("EVENT_") and name != "EVENT_ALL"
}


class EventLog:
    """Listens to a scheduler and keeps its events, in order; in virtual time or in real time.

    ::

        log = EventLog(scheduler)
        scheduler.advance(60)
        assert log.names("backup") == ["JOB_SUBMITTED", "JOB_STARTED", "JOB_EXECUTED"]
    """

    def __init__(self, scheduler: BaseScheduler, mask: int = EVENT_ALL) -> None:
        self.events: list[Any] = []
        #: Microseconds since the epoch on the scheduler's wall clock, for each event when it was told.
        self.instants_us: list[int] = []
        self._clock = scheduler.clock
        self._told = threading.Condition()
        scheduler.add_listener(self._keep, mask)

    def _keep(self, event: SchedulerEvent) -> None:
        with self._told:
            self.events.append(event)
            self.instants_us.append(self._clock.wall_us())
            self._told.notify_all()

    def wait_for(self, wanted: Callable[[EventLog], bool], timeout: float = 30.0) -> None:
        """For schedulers in real time: wait until ``wanted(log)``. Raises ``TimeoutError`` with what was told."""
        with self._told:
            if not self._told.wait_for(lambda: wanted(self), timeout):
                raise TimeoutError(f"not told within {timeout} s; told: {self.names()}")

    def clear(self) -> None:
        """Forget what was told so far."""
        with self._told:
            self.events.clear()
            self.instants_us.clear()

    def names(self, job_id: str | None = None) -> list[str]:
        """The names of the codes, of all events or of those of one job: ``"JOB_ADDED"``, …."""
        return [
            _NAMES[event.code]
            for event in list(self.events)
            if job_id is None or getattr(event, "job_id", None) == job_id
        ]

    def of(self, code: int, job_id: str | None = None) -> list[Any]:
        """The events with a code that is in ``code``, of all jobs or of one."""
        return [
            event
            for event in list(self.events)
            if event.code & code and (job_id is None or getattr(event, "job_id", None) == job_id)
        ]

    def submitted_s(self, job_id: str, since_us: int) -> list[float]:
        """When runs of a job were submitted, in seconds since an instant."""
        return [
            (at_us - since_us) / 1e6
            for event, at_us in zip(list(self.events), list(self.instants_us), strict=False)
            if event.code == EVENT_JOB_SUBMITTED and event.job_id == job_id
        ]

    def executed(self, job_id: str | None = None) -> list[Any]:
        """The fire times (aware) of the runs that succeeded, in the order in which they ended."""
        return [event.scheduled_run_time for event in self.of(EVENT_JOB_EXECUTED, job_id)]

    def skips(self, job_id: str | None = None) -> list[tuple[str, int]]:
        """Reason and count of each skip."""
        return [
            (event.reason, event.count)
            for event in list(self.events)
            if isinstance(event, JobSkippedEvent) and (job_id is None or event.job_id == job_id)
        ]

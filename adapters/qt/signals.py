"""A scheduler's events as Qt signals."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from schedcore.events import (
    EVENT_JOB_ADDED,
    EVENT_JOB_BROKEN,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MISSED,
    EVENT_JOB_MODIFIED,
    EVENT_JOB_REMOVED,
    EVENT_JOB_SKIPPED,
    EVENT_JOB_STARTED,
    EVENT_JOB_SUBMITTED,
    SchedulerEvent,
)

__all__ = ["QtSignals"]


class QtSignals(QObject):
    """Emitted in the Qt thread, in the order of the events, each with the event (``schedcore.events``) as its argument.

    What a slot raises is Qt's to deal with, as with any signal: PyQt5 aborts the program.
    """

    #: Every event, whatever it is about.
    occurred = Signal(object)

    added = Signal(object)  #: a job was added
    modified = Signal(object)  #: a job was changed
    removed = Signal(object)  #: a job was removed, or its schedule has ended
    broken = Signal(object)  #: a job was set aside

    submitted = Signal(object)  #: runs were handed to an executor
    started = Signal(object)  #: a run began
    finished = Signal(object)  #: a run ended, well or not
    failed = Signal(object)  #: a run ended with an exception, or was cut; after ``finished``
    missed = Signal(object)  #: fire times passed, and were too late by the job's grace time
    skipped = Signal(object)  #: fire times passed for another reason

    #: The scheduler has stopped, and everything is closed: the list of the runs that were cut short.
    stopped = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self._by_code: dict[int, tuple[Any, ...]] = {
            EVENT_JOB_ADDED: (self.added,),
            EVENT_JOB_MODIFIED: (self.modified,),
            EVENT_JOB_REMOVED: (self.removed,),
            EVENT_JOB_BROKEN: (self.broken,),
            EVENT_JOB_SUBMITTED: (self.submitted,),
            EVENT_JOB_STARTED: (self.started,),
            EVENT_JOB_EXECUTED: (self.finished,),
            EVENT_JOB_ERROR: (self.finished, self.failed),
            EVENT_JOB_MISSED: (self.missed,),
            EVENT_JOB_SKIPPED: (self.skipped,),
        }

    def tell(self, event: SchedulerEvent) -> None:
        """Emit the signals of an event."""
        for signal in self._by_code.get(event.code, ()):
            signal.emit(event)
        self.occurred.emit(event)

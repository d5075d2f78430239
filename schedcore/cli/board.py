"""What ``schedcore run`` knows while it runs: fed by events from the scheduler's thread, looked at by the terminal.

``Board`` keeps it behind a lock and hands out ``View``, a frozen copy. It knows neither Rich nor the terminal, and asks the
scheduler nothing while it holds its lock. Running times are measured on the monotonic clock, so that a stepped clock shows none
of its steps here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from time import monotonic
from types import MappingProxyType

from schedcore.cli.words import (
    amount,
    clean,
    failure_lines,
    failure_text,
    failure_word,
    one_line,
    outcome,
    reason_text,
    schedule_text,
)
from schedcore.clock import to_datetime
from schedcore.errors import JobStoreError
from schedcore.events import (
    EVENT_CLOCK_STEPPED,
    EVENT_JOB_BROKEN,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_LOST,
    EVENT_JOB_MISSED,
    EVENT_JOB_REMOVED,
    EVENT_JOB_SKIPPED,
    EVENT_JOB_STARTED,
    EVENT_JOB_SUBMITTED,
    EVENT_JOBSTORE_FAILED,
    EVENT_JOBSTORE_RECOVERED,
    EVENT_SCHEDULER_SHUTDOWN,
    JobBrokenEvent,
    JobEvent,
    JobExecutionEvent,
    JobSkippedEvent,
    JobSubmissionEvent,
    SchedulerEvent,
    SchedulerFailureEvent,
)
from schedcore.job import Job, JobState
from schedcore.run import RunRecord, RunState, SkipReason

__all__ = ["EVENTS", "Board", "Last", "Level", "Message", "Row", "Running", "View", "failure_message"]

#: What the board wants to be told.
EVENTS = (
    EVENT_JOB_SUBMITTED
    | EVENT_JOB_STARTED
    | EVENT_JOB_EXECUTED
    | EVENT_JOB_ERROR
    | EVENT_JOB_MISSED
    | EVENT_JOB_SKIPPED
    | EVENT_JOB_LOST
    | EVENT_JOB_BROKEN
    | EVENT_JOB_REMOVED
    | EVENT_JOBSTORE_FAILED
    | EVENT_JOBSTORE_RECOVERED
    | EVENT_CLOCK_STEPPED
    | EVENT_SCHEDULER_SHUTDOWN
)

# Messages that are kept: more than any terminal shows below the table.
_KEPT = 50
# Lines that are kept of what a job prints.
_LINES = 3


class Level:
    """How much a message matters: the numbers of ``logging``."""

    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A run that was handed out. ``since_s``: monotonic; None while it waits for a free worker."""

    run_id: str
    scheduled: datetime
    since_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """How a job's latest run, or what stands for it, ended."""

    word: str  #: "ok", "failed", "exit 3", "skipped: overlap"
    good: bool
    at: datetime
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A job as it is shown."""

    store: str
    id: str
    name: str
    schedule: str
    next_run: datetime | None = None
    state: JobState | None = None  #: None: gone
    reason: str | None = None
    last: Last | None = None
    running: tuple[Running, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something that deserves a line: a failure, a skip, a note. ``count``: how many of the same job and kind it stands for."""

    at: datetime
    level: int
    job: str | None
    text: str
    lines: tuple[str, ...] = ()
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The board at one moment."""

    rows: tuple[Row, ...]
    messages: tuple[Message, ...]  #: latest first
    runs: int
    failures: int
    skips: int
    closed: bool

    @property
    def summary(self) -> str:
        """What has happened, in numbers."""
        text = amount(self.runs, "run")
        if self.failures:
            text += f", {self.failures} failed"
        if self.skips:
            text += f", {self.skips} skipped"
        return text


@dataclass(slots=True)
class _Tally:
    runs: int = 0
    failures: int = 0
    skips: int = 0
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    messages: dict[tuple[str | None, str], Message] = field(default_factory=dict)  # oldest first


class Board:
    """Listens to a scheduler. ``zone`` is that of the times it is shown with (None: the machine's own).

    ``on_change`` is called, in any thread, when there is something new to show; it must not block.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None, zone: tzinfo | None = None) -> None:
        self._zone = zone
        self._lock = threading.Lock()
        self._on_change = on_change
        self._tally = _Tally()
        self._closed = threading.Event()
        self._stale = True

    # -- fed by the command

    def show(self, jobs: Iterable[Job], words: Mapping[tuple[str, str], str] = MappingProxyType({})) -> None:
        """The jobs as they stand now; those that were shown and are not among them stay, as gone.

        ``words``: the schedules of some jobs, by job store and id, where their triggers do not say it best.
        """
        seen: dict[tuple[str, str], Row] = {}
        for job in jobs:
            row = Row(
                store=job.jobstore,
                id=job.id,
                name=job.name,
                schedule=words.get((job.jobstore, job.id)) or schedule_text(job.trigger, job.next_run_time, self._zone),
                next_run=job.next_run_time,
                state=job.state,
                reason=job.reason,
            )
            seen[row.store, row.id] = row
        with self._lock:
            rows = self._tally.rows
            for key, old in list(rows.items()):
                new = seen.pop(key, None)
                if new is not None:
                    rows[key] = replace(new, last=old.last, running=old.running)
                else:
                    rows[key] = replace(old, next_run=None, state=None)
            rows.update(seen)

    def remember(self, store: str, record: RunRecord) -> None:
        """What an earlier scheduler left on record as a job's latest run."""
        ended_us = record.finished_us or record.until_us or record.fire_us
        with self._lock:
            row = self._tally.rows.get((store, record.job_id))
            if row is not None and row.last is None:
                self._tally.rows[store, record.job_id] = replace(
                    row,
                    last=Last(
                        word=outcome(record),
                        good=record.state is RunState.SUCCEEDED,
                        at=to_datetime(ended_us),
                        duration_s=record.duration_s,
                    ),
                )

    def tell(self, level: int, text: str, *, job: str | None = None, lines: Sequence[str] = ()) -> None:
        """Put a message on the board."""
        with self._lock:
            self._add(Message(at=datetime.now(UTC), level=level, job=job, text=text, lines=tuple(lines)), text)
        self._on_change()

    def printed(self, job: str | None, line: str) -> None:
        """A job, or something else in this process, has printed a line. The last few of each are shown."""
        key = (job, "printed")
        with self._lock:
            before = self._tally.messages.pop(key, None)
            lines = (*(() if before is None else before.lines), clean(line).rstrip())[-_LINES:]
            self._tally.messages[key] = Message(
                at=datetime.now(UTC), level=Level.INFO, job=job, text="printed", lines=lines
            )
        self._on_change()

    def take_stale(self) -> bool:
        """Whether a next run time may have changed since this was last asked."""
        with self._lock:
            stale, self._stale = self._stale, False
        return stale

    @property
    def closed(self) -> bool:
        """Whether the scheduler has closed everything."""
        return self._closed.is_set()

    def wait_closed(self, timeout_s: float) -> bool:
        """Wait for that. Not for signal handlers."""
        return self._closed.wait(timeout_s)

    def view(self) -> View:
        """All of it, now."""
        with self._lock:
            tally = self._tally
            return View(
                rows=tuple(tally.rows.values()),
                messages=tuple(reversed(tally.messages.values())),
                runs=tally.runs,
                failures=tally.failures,
                skips=tally.skips,
                closed=self._closed.is_set(),
            )

    # -- fed by the scheduler

    def listen(self, event: SchedulerEvent) -> None:
        """A listener for ``EVENTS``."""
        if isinstance(event, JobEvent):
            with self._lock:
                self._job_event(event)
        elif isinstance(event, SchedulerFailureEvent):
            level = Level.INFO if event.code == EVENT_JOBSTORE_RECOVERED else Level.WARNING
            text = failure_message(event)
            with self._lock:
                self._add(Message(at=datetime.now(UTC), level=level, job=None, text=one_line(text)), str(event.code))
        elif event.code == EVENT_SCHEDULER_SHUTDOWN:
            self._closed.set()
        self._on_change()

    def _job_event(self, event: JobEvent) -> None:
        key = (event.jobstore or "default", event.job_id)
        row = self._tally.rows.get(key)
        self._stale = True
        if row is None:
            row = Row(store=key[0], id=event.job_id, name=event.job_id, schedule="")
        elif event.code != EVENT_JOB_REMOVED:
            self._tally.rows[key] = self._updated(row, event)
        self._count(row, event)

    def _updated(self, row: Row, event: JobEvent) -> Row:
        if isinstance(event, JobBrokenEvent):
            return replace(row, state=JobState.BROKEN, next_run=None, reason=event.reason)
        if isinstance(event, JobSubmissionEvent):
            new = [
                Running(run_id=run_id, scheduled=at)
                for run_id, at in zip(event.run_ids, event.scheduled_run_times, strict=False)
            ]
            return replace(row, running=(*row.running, *new))
        if isinstance(event, JobSkippedEvent):
            last = Last(word=f"skipped: {event.reason}", good=False, at=event.scheduled_run_time)
            # What the scheduler took back before it began was waiting until now.
            waiting = event.reason == SkipReason.SHUTDOWN
            running = tuple(run for run in row.running if run.since_s is not None) if waiting else row.running
            quiet = waiting or event.reason == SkipReason.COALESCED  # a run stands for it, now or later
            return replace(row, last=row.last if quiet else last, running=running)
        if isinstance(event, JobExecutionEvent):
            others = tuple(run for run in row.running if run.run_id != event.run_id)
            if event.code == EVENT_JOB_STARTED:
                begun = Running(run_id=event.run_id or "", scheduled=event.scheduled_run_time, since_s=monotonic())
                return replace(row, running=(*others, begun))
            good = event.code == EVENT_JOB_EXECUTED
            at = to_datetime(event.finished_us) if event.finished_us is not None else datetime.now(UTC)
            return replace(
                row,
                running=others,
                last=Last(word=_word(event), good=good, at=at, duration_s=event.duration_s),
            )
        return row

    def _count(self, row: Row, event: JobEvent) -> None:
        tally = self._tally
        now = datetime.now(UTC)
        if isinstance(event, JobBrokenEvent):
            text = f"set aside: {one_line(event.reason)}"
            self._add(Message(at=now, level=Level.ERROR, job=row.name, text=text), "broken")
        elif isinstance(event, JobSkippedEvent):
            if event.reason == SkipReason.SHUTDOWN:
                return
            if event.reason == SkipReason.COALESCED:  # its run comes, once
                return
            tally.skips += event.count
            text = f"skipped: {reason_text(event.reason)}"
            self._add(Message(at=now, level=Level.WARNING, job=row.name, text=text, count=event.count), event.reason)
        elif isinstance(event, JobExecutionEvent) and event.code in (EVENT_JOB_ERROR, EVENT_JOB_LOST):
            tally.runs += 1
            tally.failures += 1
            text, lines = "the scheduler that had it died", []
            if event.code == EVENT_JOB_ERROR:
                text = failure_text(event.exception)
                lines = failure_lines(event.exception, event.traceback)
            self._add(Message(at=now, level=Level.ERROR, job=row.name, text=text, lines=tuple(lines)), "failed")
        elif event.code == EVENT_JOB_EXECUTED:
            tally.runs += 1

    def _add(self, message: Message, kind: str) -> None:
        """The latest one of its job and kind takes the place of those before it, and counts them."""
        messages = self._tally.messages
        key = (message.job, kind)
        before = messages.pop(key, None)
        messages[key] = message if before is None else replace(message, count=message.count + before.count)
        while len(messages) > _KEPT:
            del messages[next(iter(messages))]


def failure_message(event: SchedulerFailureEvent) -> str:
    """What failed, or works again; errors of our own job stores name the store themselves."""
    if isinstance(event.exception, JobStoreError):
        return str(event.exception)
    return event.message if event.alias is None else f"job store {event.alias!r}: {event.message}"


def _word(event: JobExecutionEvent) -> str:
    if event.code == EVENT_JOB_EXECUTED:
        return "ok"
    if event.code == EVENT_JOB_LOST:
        return "lost"
    return failure_word(event.exception)

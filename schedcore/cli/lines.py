"""What ``schedcore run`` prints where there is no terminal: a line for each event.

    2026-03-29T14:03:12+02:00 info  backup: started
    2026-03-29T14:03:14+02:00 error backup: failed with exit code 3 (2.04 s)
    2026-03-29T14:03:14+02:00 error backup: | disk full

A line is written in one piece, so that lines of several threads do not mix. A reader that is gone
(``schedcore run … | head``) does not stop the jobs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import IO, Any

from schedcore.cli.board import Level, failure_message
from schedcore.cli.words import duration, failure_lines, failure_text, instant, log_time, one_line, reason_text
from schedcore.events import (
    EVENT_JOB_EXECUTED,
    EVENT_JOB_LOST,
    EVENT_JOB_STARTED,
    EVENT_JOBSTORE_RECOVERED,
    JobBrokenEvent,
    JobEvent,
    JobExecutionEvent,
    JobSkippedEvent,
    SchedulerEvent,
    SchedulerFailureEvent,
)
from schedcore.run import SkipReason

__all__ = ["LEVELS", "LibraryHandler", "LineWriter", "let_go"]

#: Names of levels, as ``--log-level`` takes them.
LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES = {logging.DEBUG: "debug", logging.INFO: "info ", logging.WARNING: "warn ", logging.ERROR: "error"}
# Lines of the output of a command that failed.
_OUTPUT_LINES = 10


def let_go(stream: IO[str]) -> None:
    """The reader of ``stream`` is gone: what is written to it from now on, and what it still holds, goes nowhere.

    Otherwise the interpreter would try again at its end, and fail with exit code 120.
    """
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


class LineWriter:
    """Writes log lines to ``stream``, those of ``level`` and above."""

    def __init__(self, stream: IO[str], level: int, zone: Callable[[], tzinfo]) -> None:
        self._stream = stream
        self._level = level
        self._zone = zone
        self._lock = threading.Lock()

    def write(self, level: int, text: str, *more: str) -> None:
        """One line, or one with lines that belong to it."""
        if level < self._level:
            return
        head = f"{log_time(datetime.now(UTC).astimezone(self._zone()))} {_NAMES.get(level, 'error')} "
        whole = "".join(f"{head}{line}\n" for line in (text, *more))
        with self._lock:
            try:
                self._stream.write(whole)
                self._stream.flush()
            except BrokenPipeError:
                let_go(self._stream)
            except (OSError, ValueError):  # it cannot be written to just now, or was closed
                pass

    def listen(self, event: SchedulerEvent) -> None:
        """A listener for the board's events."""
        if isinstance(event, JobSkippedEvent):
            self._skipped(event)
        elif isinstance(event, JobBrokenEvent):
            self.write(Level.ERROR, f"{one_line(event.job_id)}: set aside: {one_line(event.reason)}")
        elif isinstance(event, JobExecutionEvent):
            self._execution(event)
        elif isinstance(event, SchedulerFailureEvent) and not isinstance(event, JobEvent):
            level = Level.INFO if event.code == EVENT_JOBSTORE_RECOVERED else Level.WARNING
            self.write(level, one_line(failure_message(event)))

    def _execution(self, event: JobExecutionEvent) -> None:
        job = one_line(event.job_id)
        took = "" if event.duration_s is None else f" ({duration(event.duration_s)})"
        if event.code == EVENT_JOB_STARTED:
            self.write(Level.INFO, f"{job}: started")
        elif event.code == EVENT_JOB_EXECUTED:
            code = getattr(event.retval, "exit_code", None)
            ended = f"finished with exit code {code}" if isinstance(code, int) else "finished"
            self.write(Level.INFO, f"{job}: {ended}{took}")
        elif event.code == EVENT_JOB_LOST:
            at = instant(event.scheduled_run_time, datetime.now(UTC))
            self.write(Level.ERROR, f"{job}: the run of {at} was lost: the scheduler that had it died")
        else:
            lines = [f"{job}: | {line}" for line in failure_lines(event.exception, event.traceback, _OUTPUT_LINES)]
            self.write(Level.ERROR, f"{job}: {failure_text(event.exception)}{took}", *lines)

    def _skipped(self, event: JobSkippedEvent) -> None:
        if event.reason == SkipReason.SHUTDOWN:
            self.write(Level.INFO, f"{one_line(event.job_id)}: had not begun; it is put off to the next start")
            return
        at = instant(event.scheduled_run_time, datetime.now(UTC))
        what = f"the run of {at}" if event.count == 1 else f"{event.count} runs up to {at}"
        level = Level.INFO if event.reason in (SkipReason.COALESCED, SkipReason.EXCLUDED) else Level.WARNING
        self.write(level, f"{one_line(event.job_id)}: skipped {what}: {reason_text(event.reason)}")


class LibraryHandler(logging.Handler):
    """Passes on what is logged, by jobs and by the library.

    The scheduler logs what it also tells as events: those records are left out unless ``everything`` is asked for. What it
    logs with an exception has no event.
    """

    def __init__(self, write: Callable[[int, str], Any], level: int, *, everything: bool) -> None:
        super().__init__(level)
        self._write = write
        self._everything = everything

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "schedcore.scheduler" and not record.exc_info and not self._everything:
            return
        try:
            text = one_line(record.getMessage())
            if record.exc_info and record.exc_info[1] is not None:
                text += f": {type(record.exc_info[1]).__name__}: {one_line(str(record.exc_info[1]))}"
            level = max(name for name in _NAMES if name <= max(record.levelno, logging.DEBUG))
            self._write(level, f"[{record.name}] {text}")
        except Exception:  # noqa: BLE001 (what is logged may have a message that cannot be formatted)
            self.handleError(record)

"""How the command line words what it shows: lengths of time, instants, outcomes. Values in, text out."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

from schedcore.clock import to_datetime
from schedcore.errors import FailureError, RunCancelledError
from schedcore.executors.command import CommandFailedError, CommandStartError, CommandTimeoutError, describe_exit
from schedcore.run import RunRecord, RunState
from schedcore.triggers.base import BaseTrigger

__all__ = [
    "ago",
    "amount",
    "clean",
    "countdown",
    "duration",
    "failure_lines",
    "failure_text",
    "failure_word",
    "instant",
    "log_time",
    "one_line",
    "outcome",
    "reason_text",
    "schedule_text",
    "shorten",
    "short_path",
    "utc_text",
    "zone_name",
]


def amount(number: int, what: str) -> str:
    """``"1 job"``, ``"3 jobs"``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A length of time in at most two units: ``"3 ms"``, ``"0.25 s"``, ``"4 min 05 s"``, ``"3 h 12 min"``."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0005 else "< 1 ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return _whole(round(seconds))


def _whole(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"


def countdown(seconds: float, *, brief: bool = False) -> str:
    """How far ahead something is: ``"in 3 s"``; ``"now"`` when it is due. ``brief``: in one unit."""
    whole = int(seconds + 0.999)
    return f"in {_rough(whole) if brief else _whole(whole)}" if whole > 0 else "now"


def ago(seconds: float) -> str:
    """How long something is past, in one unit: ``"4 s ago"``."""
    whole = max(0, int(seconds))
    return f"{_rough(whole)} ago" if whole else "just now"


def _rough(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def instant(at: datetime, now: datetime) -> str:
    """A time as people say it who live at ``now``: without a date today, with a weekday within six days, else a date alone."""
    near = now.astimezone(at.tzinfo)
    days = (at.date() - near.date()).days
    if days == 0:
        return f"{at:%H:%M:%S}"
    if -6 <= days <= 6:
        return f"{at:%a %H:%M}"
    return f"{at:%Y-%m-%d}"


def log_time(at: datetime) -> str:
    """For log lines: to the second, with its offset."""
    return at.isoformat(timespec="seconds")


def utc_text(at_us: int | None) -> str | None:
    """For programs: ISO 8601 in UTC with all the digits that there are."""
    if at_us is None:
        return None
    at = to_datetime(at_us).astimezone(UTC)
    return at.isoformat(timespec="microseconds" if at.microsecond else "seconds").replace("+00:00", "Z")


# Escape sequences of terminals (colours, titles, the cursor), then what is left of control characters.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def clean(text: str) -> str:
    """``text`` without anything that a terminal would obey: names and output are anybody's."""
    return _CONTROL.sub("", text) if not text.isprintable() else text


def one_line(text: str) -> str:
    """``text`` without line breaks, runs of blanks and anything that a terminal would obey."""
    return " ".join(clean(" ".join(text.split())).split())


def shorten(text: str, limit: int) -> str:
    """``text`` in one line of at most ``limit`` characters."""
    line = one_line(text)
    return line if len(line) <= limit else line[: max(0, limit - 1)] + "…"


_REASONS: Mapping[str, str] = {
    "misfired": "it was too late for it (misfire_grace_time)",
    "coalesced": "a later run stands for it",
    "catchup limit": "the backlog was longer than max_catchup",
    "overlap": "the run before was still going (max_instances)",
    "excluded": "a calendar rules it out",
    "paused": "the job was paused",
    "shutdown": "the scheduler was stopping",
    "gap": "its local time did not exist",
}


def schedule_text(trigger: BaseTrigger, next_run: datetime | None, zone: tzinfo | None) -> str:
    """A schedule in words, with its time zone where times of day in it are not those of ``zone`` (None: the machine's own)."""
    text = trigger.describe()
    own = getattr(trigger, "timezone", None)
    if next_run is None or own is None or trigger.elapsed:
        return text
    if next_run.astimezone(own).utcoffset() == next_run.astimezone(zone).utcoffset():
        return text
    return f"{text} ({zone_name(own)})"


def zone_name(zone: tzinfo) -> str:
    """The name of a time zone."""
    return str(getattr(zone, "key", None) or zone)


def reason_text(reason: str) -> str:
    """Why fire times passed without a run, in a sentence's half."""
    return _REASONS.get(reason, reason)


def outcome(record: RunRecord) -> str:
    """How a run stands, in a word or two: ``"ok"``, ``"exit 3"``, ``"skipped: overlap"``."""
    state = record.state
    if state is RunState.SUCCEEDED:
        return "ok"
    if state is RunState.FAILED:
        return _exit_word(record.exit_code)
    if state is RunState.SKIPPED:
        many = f" {record.times} times" if record.times > 1 else ""
        return f"skipped{many}: {record.reason}" if record.reason else f"skipped{many}"
    if state is RunState.SUBMITTED:
        return "waiting"
    return str(state)


def _exit_word(code: int | None) -> str:
    if not code:
        return "failed"
    if code > 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def short_path(path: str) -> str:
    """The path as the user would type it here."""
    try:
        near = os.path.relpath(path)
    except ValueError:  # another drive
        return path
    return near if len(near) <= len(path) and not near.startswith(os.path.join("..", "..")) else path


def failure_word(error: BaseException | None) -> str:
    """How a run ended that did not succeed, in a word or two."""
    if error is None or isinstance(error, RunCancelledError):
        return "cancelled"
    code = getattr(error, "exit_code", None)
    return _exit_word(code if isinstance(code, int) else None)


def failure_text(error: BaseException | None) -> str:
    """What went wrong, in one line that follows the job's name: ``"failed with exit code 3"``."""
    if error is None or isinstance(error, RunCancelledError):
        return "was cut short"
    if isinstance(error, CommandTimeoutError):
        return f"ran longer than its timeout of {error.timeout_s:g} s and was stopped"
    if isinstance(error, CommandFailedError):
        return describe_exit(error.exit_code)
    text = one_line(str(error))
    if isinstance(error, FailureError):  # these say it all
        return f"failed: {text}"
    return f"failed: {type(error).__name__}: {text}" if text else f"failed: {type(error).__name__}"


_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)')


def failure_lines(error: BaseException | None, traceback: str | None, limit: int = 3) -> list[str]:
    """The end of a command's output, or the place in the code: what helps at first sight."""
    if isinstance(error, CommandFailedError):
        return [clean(line).rstrip() for line in error.output.splitlines() if line.strip()][-limit:]
    if isinstance(error, CommandStartError):  # it says it all, and the place is ours
        return []
    frames = list(_FRAME.finditer(traceback or ""))
    if not frames:
        return []
    last = frames[-1]
    return [clean(f"in {last['name'].strip()}, {short_path(last['file'])}:{last['line']}")]

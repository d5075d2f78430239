"""What ``schedcore jobs`` and ``schedcore runs`` print: a table on a terminal, aligned text in a pipe, or JSON.

The names of the fields in JSON are a promise; instants are ISO 8601 in UTC, lengths of time seconds.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any, NamedTuple

from schedcore.cli.register import is_register
from schedcore.cli.schedule import RUN_COMMAND
from schedcore.cli.stores import Reader
from schedcore.cli.words import (
    amount,
    clean,
    countdown,
    duration,
    instant,
    log_time,
    one_line,
    outcome,
    reason_text,
    schedule_text,
    shorten,
    utc_text,
    zone_name,
)
from schedcore.clock import to_datetime
from schedcore.errors import UsageError, nearest
from schedcore.executors.command import CommandStartError
from schedcore.job import JobEntry, JobState, func_ref_of
from schedcore.run import LIVE_STATES, RunRecord, RunState

__all__ = [
    "JobReport",
    "RunReport",
    "UnknownJobError",
    "collect_jobs",
    "collect_runs",
    "job_fields",
    "print_jobs",
    "print_runs",
    "refuse_unknown_job",
    "run_fields",
]

# Jobs up to which the latest run of each is asked for by itself; beyond it, those among the latest runs of all must do.
_ASK_EACH = 500
_LATEST = 5000
# Columns of a terminal. Sentences that are folded into fewer are no longer read.
_READABLE = 20
# Characters. What a cell holds at most of an error or of output, in a pipe.
_DETAIL = 160


class JobReport(NamedTuple):
    """A stored job with its latest run."""

    store: str
    entry: JobEntry
    func: str | None
    last: RunRecord | None


class RunReport(NamedTuple):
    """A run record and the alias of its store."""

    store: str
    record: RunRecord


# --- reading --------------------------------------------------------------------------------------------------------


def collect_jobs(readers: Sequence[Reader], *, broken: bool = False) -> list[JobReport]:
    """The jobs of all stores, by next run; ``broken``: only those that are set aside."""
    found: list[JobReport] = []
    for reader in readers:
        entries = [entry for entry in reader.jobs() if not is_register(func_ref_of(entry.job))]
        if broken:
            entries = [entry for entry in entries if entry.state is JobState.BROKEN]
        latest: dict[str, RunRecord] = {}
        if len(entries) <= _ASK_EACH:
            for entry in entries:
                for record in reader.runs(entry.job.id, limit=1):
                    latest[entry.job.id] = record
        else:
            for record in reader.runs(limit=_LATEST):
                latest.setdefault(record.job_id, record)
        alias = reader.place.alias
        found += [JobReport(alias, entry, func_ref_of(entry.job), latest.get(entry.job.id)) for entry in entries]
    found.sort(key=lambda job: (job.entry.due_us is None, job.entry.due_us or 0, job.entry.job.id))
    return found


def collect_runs(
    readers: Sequence[Reader], job_id: str | None, *, failed: bool = False, limit: int = 20
) -> list[RunReport]:
    """The run records of all stores, latest first."""
    found = [
        RunReport(reader.place.alias, record)
        for reader in readers
        for record in reader.runs(job_id, failed=failed, limit=limit)
    ]
    found.sort(key=lambda run: run.record.fire_us, reverse=True)
    return found[:limit]


def refuse_unknown_job(readers: Sequence[Reader], job_id: str) -> None:
    """Raises ``JobLookupError`` for an id that no store has. A job without runs is not unknown."""
    known = [entry.job.id for reader in readers for entry in reader.jobs() if not is_register(func_ref_of(entry.job))]
    if job_id not in known and not any(reader.runs(job_id, limit=1) for reader in readers):
        hint = nearest(job_id, map(one_line, known))
        raise UnknownJobError(f"there is no job {job_id!r}, and no run of one{hint}")


class UnknownJobError(UsageError):
    """No store knows a job of this id."""


# --- JSON -----------------------------------------------------------------------------------------------------------


def run_fields(record: RunRecord, store: str) -> dict[str, Any]:
    """A run as JSON has it."""
    return {
        "id": record.id,
        "job": record.job_id,
        "store": store,
        "scheduled": utc_text(record.fire_us),
        "attempt": record.attempt,
        "state": str(record.state),
        "reason": None if record.reason is None else str(record.reason),
        "times": record.times,
        "until": utc_text(record.until_us),
        "submitted": utc_text(record.submitted_us),
        "started": utc_text(record.started_us),
        "finished": utc_text(record.finished_us),
        "duration": record.duration_s,
        "exit_code": record.exit_code,
        "error": record.error,
        "result": record.result,
        "output": record.output,
        "traceback": record.traceback,
    }


def job_fields(job: JobReport) -> dict[str, Any]:
    """A job as JSON has it."""
    record = job.entry.job
    return {
        "id": record.id,
        "name": record.name,
        "store": job.store,
        "state": str(job.entry.state),
        "reason": job.entry.reason,
        "schedule": record.trigger.describe(),
        "trigger": str(record.trigger),
        "timezone": zone_name(record.trigger.timezone),
        "next_run": utc_text(job.entry.due_us),
        "func": job.func,
        "command": _command(job),
        "executor": record.policy.executor,
        "last_run": None if job.last is None else run_fields(job.last, job.store),
    }


def _command(job: JobReport) -> str | None:
    if job.func != RUN_COMMAND or not job.entry.job.args:
        return None
    command = job.entry.job.args[0]
    return command if isinstance(command, str) else shlex.join(str(part) for part in command)


def _print_json(items: Sequence[Mapping[str, Any]], out: IO[str]) -> None:
    # What an encoding lacks, JSON can write in its own way, and no other.
    encoding = (getattr(out, "encoding", None) or "utf-8").lower()
    json.dump(items, out, indent=2, ensure_ascii=not encoding.startswith("utf"))
    out.write("\n")


# --- tables ---------------------------------------------------------------------------------------------------------


class _Table(NamedTuple):
    """Columns and rows of plain text. ``styles``: of the cells, by (row, column). The last column may be folded."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    styles: Mapping[tuple[int, int], str]
    below: Mapping[int, Sequence[str]] = {}


_FOLDED = ("Schedule", "Name", "Reason", "Detail")


def _print_table(table: _Table, out: IO[str]) -> None:
    keep = [i for i, name in enumerate(table.columns) if i < 2 or any(row[i] for row in table.rows)]
    if out.isatty():
        _print_rich(table, keep, out)
        return
    lines = [[table.columns[i].upper() for i in keep], *([one_line(row[i]) for i in keep] for row in table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(keep))]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        out.write(text.rstrip() + "\n")
        for more in table.below.get(number - 1, ()):
            out.write(f"    {more}\n")


def _print_rich(table: _Table, keep: Sequence[int], out: IO[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out)
    cells = [
        {i: Text(one_line(row[i]), style=table.styles.get((number, i), "")) for i in keep}
        for number, row in enumerate(table.rows)
    ]
    folded = [i for i in keep if table.columns[i] in _FOLDED]
    if table.below or _needs(table, keep) > console.width:
        apart = [] if table.below else folded
        for number, row in enumerate(cells):
            console.print(Text("  ").join(row[i] for i in keep if row[i] and i not in apart))
            for line in table.below.get(number, [row[i].plain for i in apart if row[i]]):
                console.print(Text(f"    {line}", style="dim"))
        return
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold underline")
    for i in keep:
        # Names and times stay whole; sentences are folded.
        made.add_column(table.columns[i], overflow="fold", no_wrap=i not in folded)
    for row in cells:
        made.add_row(*row.values())
    console.print(made)


def _needs(table: _Table, keep: Sequence[int]) -> int:
    """How wide a terminal has to be, for columns in which a sentence can be read."""
    from rich.cells import cell_len

    needed = -2
    for i in keep:
        widest = max(cell_len(one_line(cell)) for cell in (table.columns[i], *(row[i] for row in table.rows)))
        needed += 2 + (min(widest, _READABLE) if table.columns[i] in _FOLDED else widest)
    return needed


def _local(at_us: int) -> datetime:
    return to_datetime(at_us).astimezone()


def _style(record: RunRecord) -> str:
    if record.state is RunState.SUCCEEDED:
        return "green"
    if record.state in LIVE_STATES:
        return "blue"
    return "yellow" if record.state in (RunState.SKIPPED, RunState.CANCELLED) else "bold red"


def print_jobs(jobs: Sequence[JobReport], *, as_json: bool, out: IO[str] | None = None) -> None:
    """Jobs, one to a line."""
    stream = sys.stdout if out is None else out
    if as_json:
        _print_json([job_fields(job) for job in jobs], stream)
        return
    if not jobs:
        stream.write("no jobs\n")
        return
    now = datetime.now(UTC)
    people = stream.isatty()
    several = len({job.store for job in jobs}) > 1
    rows: list[list[str]] = []
    styles: dict[tuple[int, int], str] = {}
    for number, job in enumerate(jobs):
        entry = job.entry
        name = entry.job.name if entry.job.name != entry.job.id else ""
        rows.append(
            [
                entry.job.id,
                schedule_text(entry.job.trigger, _next_run(entry), None if people else entry.job.trigger.timezone),
                _next_text(entry, now, people=people),
                _last_text(job.last, now, people=people),
                job.store if several else "",
                name,
                entry.reason or "",
            ]
        )
        if entry.state is not JobState.ACTIVE:
            styles[number, 2] = "yellow" if entry.state is JobState.PAUSED else "bold red"
        if job.last is not None:
            styles[number, 3] = _style(job.last)
    _print_table(_Table(("Job", "Schedule", "Next run", "Last run", "Store", "Name", "Reason"), rows, styles), stream)


def _next_run(entry: JobEntry) -> datetime | None:
    return None if entry.due_us is None else to_datetime(entry.due_us)


def _next_text(entry: JobEntry, now: datetime, *, people: bool) -> str:
    if entry.state is JobState.PAUSED:
        return "paused"
    if entry.state is JobState.BROKEN:
        return "set aside"
    at = _next_run(entry)
    if at is None:
        return ""
    if people:
        return f"{instant(at.astimezone(), now)} {countdown((at - now).total_seconds(), brief=True)}"
    return log_time(at.astimezone(entry.job.trigger.timezone))


def _last_text(record: RunRecord | None, now: datetime, *, people: bool) -> str:
    if record is None:
        return ""
    if record.state is RunState.RUNNING and record.started_us is not None:
        return f"running for {duration((now - to_datetime(record.started_us)).total_seconds())}"
    took = "" if record.duration_s is None else f" {duration(record.duration_s)}"
    at = _local(record.finished_us or record.until_us or record.fire_us)
    return f"{outcome(record)}{took}, {instant(at, now) if people else log_time(at)}"


def print_runs(runs: Sequence[RunReport], *, as_json: bool, output: bool = False, out: IO[str] | None = None) -> None:
    """Run records, one to a line; ``output``: with the output and the traceback of each below it."""
    stream = sys.stdout if out is None else out
    if as_json:
        _print_json([run_fields(run.record, run.store) for run in runs], stream)
        return
    if not runs:
        stream.write("no runs\n")
        return
    now = datetime.now(UTC)
    people = stream.isatty()
    several = len({run.store for run in runs}) > 1
    rows: list[list[str]] = []
    styles: dict[tuple[int, int], str] = {}
    below: dict[int, Sequence[str]] = {}
    for number, (store, record) in enumerate(runs):
        at = _local(record.fire_us)
        took = "" if record.duration_s is None else duration(record.duration_s)
        rows.append(
            [
                f"{at:%Y-%m-%d %H:%M:%S}" if people else log_time(at),
                record.job_id,
                outcome(record),
                took,
                store if several else "",
                _detail(record, now),
            ]
        )
        styles[number, 2] = _style(record)
        if output:
            below[number] = _below(record)
    _print_table(_Table(("Due", "Job", "Outcome", "Took", "Store", "Detail"), rows, styles, below), stream)


def _detail(record: RunRecord, now: datetime) -> str:
    if record.state is RunState.SKIPPED:
        text = reason_text(record.reason or "")
        if record.times > 1 and record.until_us is not None:
            text = f"{amount(record.times, 'time')} up to {instant(_local(record.until_us), now)}: {text}"
        return text
    if record.state is RunState.RUNNING and record.started_us is not None:
        return f"for {duration((now - to_datetime(record.started_us)).total_seconds())}"
    last = next((line for line in reversed((record.output or "").splitlines()) if line.strip()), "")
    if record.state is RunState.SUCCEEDED:
        return shorten(last or record.result or "", _DETAIL)
    return shorten(last or record.error or record.reason or "", _DETAIL)


def _below(record: RunRecord) -> list[str]:
    lines = (record.output or "").splitlines()
    # A command's traceback tells nothing that its exit code and its output do not, or why it could not be started.
    if record.exit_code is None:
        error = record.error or ""
        lines += (error if error.startswith(CommandStartError.__name__) else record.traceback or error).splitlines()
        if record.result is not None:
            lines.append(record.result)
    return [clean(line) for line in lines]

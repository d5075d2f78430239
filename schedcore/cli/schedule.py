"""What a schedule file says, whether TOML or a crontab: frozen values, which know no scheduler."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schedcore.cli.crontab import Note
from schedcore.cli.positions import Path, Positions
from schedcore.errors import FileSyntaxError

__all__ = ["CRONTAB", "RUN_COMMAND", "STARTUP", "JobSpec", "ScheduleFile", "TriggerSpec", "importable"]

#: The callable of every job that is a command.
RUN_COMMAND = "schedcore.executors.command:run_command"
#: The two kinds of trigger that are no plug-in alias: crontab text, and once at each start of the scheduler.
CRONTAB = "crontab"
STARTUP = "startup"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSpec:
    """When a job runs: ``kind`` is a trigger's alias, ``CRONTAB`` (arguments ``expr`` and perhaps
    ``timezone``) or ``STARTUP``.
    """

    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    path: Path = field(default=(), compare=False)  #: where it stands in the file
    origin: tuple[int, int] | None = field(default=None, compare=False)  #: line and column where crontab text begins


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job. Either ``func`` or ``command`` is given, the other is None."""

    id: str
    name: str
    func: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] | str | None = None
    shell: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None
    user: str | None = None
    timeout: float | None = None
    trigger: TriggerSpec
    options: Mapping[str, Any] = field(default_factory=dict)  #: those that were given, as ``add_job`` takes them
    jobstore: str = "default"
    paused: bool = False
    path: Path = field(default=(), compare=False)
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)

    def target(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """The reference, the positional and the keyword arguments of what ``add_job`` is to call."""
        if self.func is not None:
            return self.func, self.args, dict(self.kwargs)
        options = {
            "shell": self.shell,
            "cwd": self.cwd,
            "env": dict(self.env) or None,
            "stdin": self.stdin,
            "user": self.user,
            "timeout": self.timeout,
        }
        command = self.command if isinstance(self.command, str) else list(self.command or ())
        return RUN_COMMAND, (command,), {key: value for key, value in options.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFile:
    """What a schedule file says, whether TOML or a crontab."""

    path: str
    format: str  #: "toml" or "crontab"
    folder: str  #: absolute; where the modules are that it names (``importable``)
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    jobstores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    executors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    jobs: tuple[JobSpec, ...] = ()
    notes: tuple[Note, ...] = ()
    positions: Positions | None = field(default=None, compare=False, repr=False)

    def configuration(self) -> dict[str, Any]:
        """What a scheduler's constructor takes: its options, the job stores and the executors, as one nested
        mapping.
        """
        return {
            **self.scheduler,
            "jobstores": {alias: dict(options) for alias, options in self.jobstores.items()},
            "executors": {alias: dict(options) for alias, options in self.executors.items()},
        }

    def where(self, *path: str | int, value: bool = False) -> tuple[int, int]:
        """Line and column of a key (or of its value), or of the nearest thing around it."""
        if self.positions is not None:
            return self.positions.of(path, value=value)
        if len(path) > 1 and path[0] == "jobs" and isinstance(path[1], int):
            return self.jobs[path[1]].line, self.jobs[path[1]].column
        return 1, 0

    def error(self, message: str, *path: str | int, value: bool = False) -> FileSyntaxError:
        """An error that points into the file, for what only turns out to be wrong when the file is put to
        work.
        """
        return FileSyntaxError(self.path, *self.where(*path, value=value), message)


@contextlib.contextmanager
def importable(folder: str) -> Iterator[None]:
    """The folder of a schedule comes first on ``sys.path``, where child processes find it too."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)

"""A schedule file in TOML: text in, frozen values out. No scheduler is built here.

    [scheduler]                       # options of the scheduler
    timezone = "Europe/Berlin"
    job_defaults = { coalesce = true, misfire_grace_time = 3600 }

    [jobstores.default]               # any job store: type = alias or class = "module:Class", and its
    arguments type = "sqlalchemy"
    url = "sqlite:///jobs.sqlite"

    [executors.cpu]                   # any executor, likewise
    type = "processpool"

    [[jobs]]
    id = "report"                     # default: name, func, or something made of the command
    func = "reports:daily"            # a function, importable from the folder of the file
    args = [7]
    kwargs = { dry_run = true }
    cron = "30 6 * * mon-fri"         # as in a crontab; or a table of cron fields

    [[jobs]]
    command = ["rsync", "-a", "src/", "dst/"]     # or one text for the shell
    interval = { minutes = 5 }
    timeout = 60

A job has exactly one of ``func`` and ``command``, and exactly one of ``interval``, ``cron``, ``date`` and
``trigger`` (any trigger: ``{ type = alias, ... }``). A command runs in the folder of the file unless ``cwd``
says otherwise; a relative ``cwd`` starts from that folder.

Everything unknown is refused by name, and every error is a ``FileSyntaxError`` with line and column.

``tomllib`` drops the positions of what it has read, and its maintainers want it small. Considered instead:
tomlkit (keeps the text, but its items know no positions), tomlkit-extras (adds lines, not columns, and a
chain of dependencies), tree-sitter with its TOML grammar (a compiled dependency, for a file of some dozen
lines). So ``tomllib`` reads, and judges the syntax; ``Positions`` then finds where each key and value stands.
It scans text that is known to be valid, which keeps it small, and it is never asked for a value.
"""

from __future__ import annotations

import inspect
import os
import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NoReturn

from schedcore import plugins
from schedcore.cli.crontab import REBOOT, Note, slug, without_column
from schedcore.config import JobDefaults, SchedulerConfig
from schedcore.errors import (
    ConfigurationError,
    FileSyntaxError,
    InvalidTriggerError,
    SchedcoreError,
    UnknownPluginError,
    did_you_mean,
)
from schedcore.triggers.base import BaseTrigger

__all__ = [
    "CRONTAB",
    "RUN_COMMAND",
    "STARTUP",
    "JobSpec",
    "Note",
    "Path",
    "Positions",
    "ScheduleFile",
    "TriggerSpec",
    "build_trigger",
    "parse_toml",
]

#: The callable of every job that is a command.
RUN_COMMAND = "schedcore.executors.command:run_command"
#: The two kinds of trigger that are no plug-in alias: crontab text, and once at each start of the scheduler.
CRONTAB = "crontab"
STARTUP = "startup"

#: Keys and list indexes that lead to a value: ``("jobs", 0, "cron", "hour")``.
Path = tuple[str | int, ...]

_TABLES = ("scheduler", "jobstores", "executors", "jobs")
# The scheduler's own names are taken from it; what a file cannot say, or says elsewhere, is left out.
_SCHEDULER_OPTIONS = tuple(
    name for name in SchedulerConfig._fields if name not in ("logger", "jobstores", "executors", "extra")
)
_TRIGGERS = ("interval", "cron", "date", "trigger")
_POLICY = (*JobDefaults._fields, "executor")
_COMMAND_ONLY = ("shell", "cwd", "env", "stdin", "user", "timeout")
_FUNC_ONLY = ("args", "kwargs")
# As tables; for what is written in the job itself, as in a call of ``add_job``.
_TRIGGER_EXAMPLES = {"interval": "{ minutes = 5 }", "cron": "{ hour = 3 }"}
_JOB_KEYS = (
    *("id", "name", "func", "command", "jobstore", "paused"),
    *(_FUNC_ONLY + _COMMAND_ONLY + _TRIGGERS + _POLICY),
)
# Seconds. No scheduler takes more.
_LONGEST_S = 1e12
_REFERENCE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


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
    folder: str  #: absolute; goes on ``sys.path`` while the file runs, so that functions beside it can be imported
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


class Positions:
    """Where the keys and values of a *valid* TOML text stand: 1-based lines and columns."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")  # as tomllib does
        self._at = 0
        self._keys: dict[Path, int] = {}
        self._values: dict[Path, int] = {}
        self._lists: dict[Path, int] = {}  # tables written [[so]], and how many there are by now
        self._starts = [0, *(match.end() for match in re.finditer("\n", self._text))]
        self._document()

    def of(self, path: Iterable[str | int], *, value: bool = False) -> tuple[int, int]:
        """Line and column of a key, or with ``value`` of what stands behind it; of the nearest one around it
        if it is not there.
        """
        rest = tuple(path)
        places = self._values if value else self._keys
        while rest:
            offset = places.get(rest, self._keys.get(rest, self._values.get(rest)))
            if offset is not None:
                return self._line_and_column(offset)
            rest = rest[:-1]
        return 1, 1

    def text_start(self, path: Iterable[str | int], text: str) -> tuple[int, int] | None:
        """Where the first character of a string stands; None when columns in ``text`` are not columns in the
        file (escapes).
        """
        offset = self._values.get(tuple(path), -1)
        if offset >= 0 and self._text[offset] in "\"'" and self._text.startswith(text, offset + 1):
            return self._line_and_column(offset + 1)
        return None

    def _line_and_column(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    _BLANK = re.compile(r"[ \t]*")
    _NOTHING = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
    _BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
    _PLAIN = re.compile(r"[^,\]}#\n]*")
    _TEXTS = (
        re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
        re.compile(r"'''(?:[^']|'(?!''))*'{3,5}"),
        re.compile(r'"(?:[^"\\\n]|\\.)*"'),
        re.compile(r"'[^'\n]*'"),
    )

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return match.group()

    def _next_is(self, word: str) -> bool:
        if self._text.startswith(word, self._at):
            self._at += len(word)
            return True
        return False

    def _string(self) -> str | None:
        for pattern in self._TEXTS:
            match = pattern.match(self._text, self._at)
            if match is not None:
                self._at = match.end()
                return match.group()
        return None

    def _document(self) -> None:
        table: Path = ()
        self._skip(self._NOTHING)
        while self._at < len(self._text):
            start = self._at
            if self._next_is("[["):
                table = self._header(start, is_list=True)
            elif self._next_is("["):
                table = self._header(start, is_list=False)
            else:
                self._pair(table)
            self._skip(self._NOTHING)

    def _dotted(self) -> list[tuple[str, int]]:
        parts = []
        while True:
            self._skip(self._BLANK)
            start = self._at
            quoted = self._string()
            name = self._skip(self._BARE_KEY) if quoted is None else tomllib.loads(f"k = {quoted}")["k"]
            parts.append((name, start))
            self._skip(self._BLANK)
            if not self._next_is("."):
                return parts

    def _header(self, start: int, *, is_list: bool) -> Path:
        path: Path = ()
        parts = self._dotted()
        for number, (name, offset) in enumerate(parts, 1):
            path = (*path, name)
            self._keys.setdefault(path, offset)
            self._values.setdefault(path, start)
            if number == len(parts) and is_list:
                self._lists[path] = self._lists.get(path, 0) + 1
            if path in self._lists:
                path = (*path, self._lists[path] - 1)
                self._keys.setdefault(path, start)
                self._values.setdefault(path, start)
        self._at += 2 if is_list else 1
        return path

    def _pair(self, table: Path) -> None:
        path = table
        for name, offset in self._dotted():
            path = (*path, name)
            self._keys.setdefault(path, offset)
        self._next_is("=")
        self._skip(self._BLANK)
        self._value(path)

    def _value(self, path: Path) -> None:
        self._values[path] = self._at
        if self._next_is("["):
            self._items("]", lambda index: self._value((*path, index)))
        elif self._next_is("{"):
            self._items("}", lambda index: self._pair(path))
        elif self._string() is None:
            self._skip(self._PLAIN)

    def _items(self, end: str, item: Callable[[int], None]) -> None:
        index = 0
        self._skip(self._NOTHING)
        while not self._next_is(end):
            item(index)
            index += 1
            self._skip(self._NOTHING)
            self._next_is(",")
            self._skip(self._NOTHING)


def parse_toml(text: str, path: str = "schedule.toml") -> ScheduleFile:
    """Read the TOML ``text`` of a schedule file. ``path`` is for messages, and its folder for relative paths.

    Raises ``FileSyntaxError`` for the first thing that is wrong. Triggers are built once to check their
    arguments; functions are not imported.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, path, str(error)) from error
    except RecursionError as error:
        raise FileSyntaxError(path, 1, 0, "the values are nested too deeply") from error
    return _Reader(document, Positions(text), path).read()


_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_ADVICE = (
    ("Invalid value", 'text needs quotes: key = "text"'),
    ("Expected '=' after", "write key = value; a key with other characters than A-Z a-z 0-9 _ - needs quotes"),
    ("Cannot overwrite", "a key can be given only once in a table"),
    ("Cannot declare", "each table is written once; a list of tables is written [[jobs]]"),
    (
        "Illegal character '\\n'",
        "a text in single quotes ends on its line; one of several lines is written in triple quotes",
    ),
    ("Unescaped '\\' in a string", "write \\\\ for a backslash, or put the text into single quotes"),
    ("Expected newline or end", "each key = value stands on a line of its own"),
    (
        "Found invalid character '\\n'",
        "a text in single quotes ends on its line; one of several lines is written in triple quotes",
    ),
    ("Illegal character", "write it as \\uXXXX in double quotes, or leave it out"),
    ("Found invalid character", "write it as \\uXXXX in double quotes, or leave it out"),
    ("Escaped character is not", "write the letter itself"),
    ('Expected "', "close the text with the quotes that it begins with"),
    ("Unterminated string", "close the text with the quotes that it begins with"),
    ("Invalid date or datetime", "give one that the calendar has, such as 2030-01-31T06:00:00"),
    ("Cannot mutate", "a table in { } is complete; write what is missing into it"),
    ("Unclosed array", "close it with ], and put a comma between two values"),
    ("Unclosed inline table", "close it with }, on the same line, and put a comma between two values"),
    ("Invalid statement", "a line is key = value, [table], [[list of tables]] or a # comment"),
    (
        "Invalid initial character for a key",
        "a key is made of A-Z a-z 0-9 _ -, or in quotes; a table in { } stands on one line, with no comma at its end",
    ),
)


def _syntax_error(text: str, path: str, message: str) -> FileSyntaxError:
# How it says that a text is not closed, and what that begins with.
_UNCLOSED = (("Expected \"'''\"", "'''"), ('Expected "\'"', "'"), ("Unterminated string", '"'))


def _opening(text: str, message: str) -> tuple[int, int] | None:
    """Where the text begins that ends nowhere, if it is that: ``tomllib`` names the end of the file."""
    quotes = next((quotes for start, quotes in _UNCLOSED if message.startswith(start)), None)
    if quotes is None:
        return None
    if quotes == '"' and text.count('"""') % 2:
        quotes = '"""'
    at = text.rfind(quotes)
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


    match = _PLACE.search(message)
    lines = text.replace("\r\n", "\n").split("\n")
    line, column = len(lines), len(lines[-1]) + 1
    if match is not None:
        message = message[: match.start()]
        if match["line"]:
            line, column = int(match["line"]), int(match["column"])
    advice = next((advice for start, advice in _ADVICE if message.startswith(start)), "")
        else:
            line, column = _opening("\n".join(lines), message) or (line, column)
    return FileSyntaxError(path, line, column, f"not valid TOML: {message}{advice and '; ' + advice}")


class _Reader:
    """Turns the parsed document into values, and knows where everything stands."""

    def __init__(self, document: dict[str, Any], positions: Positions, path: str) -> None:
        self.document = document
        self.positions = positions
        self.file = path
        self.folder = os.path.dirname(os.path.abspath(path))

    def fail(self, message: str, path: Path, *, value: bool = False) -> NoReturn:
        raise FileSyntaxError(self.file, *self.positions.of(path, value=value), message)

    def wrong(self, path: Path, value: object, right: str) -> NoReturn:
        name = ".".join(str(part) for part in path if not isinstance(part, int))
        if path[0] == "jobs":
            name = name.removeprefix("jobs.")
        kind = "table" if isinstance(value, dict) else "list" if isinstance(value, list) else None
        shown = repr(value) if kind is None else f"a {kind}" if value else f"an empty {kind}"
        if isinstance(value, bool):
            shown = str(value).lower()
        elif isinstance(value, date | time):
            shown = value.isoformat()
        self.fail(f"{name} is {shown}; {right}", path, value=True)

    def refuse_unknown(self, table: Mapping[str, Any], known: Iterable[str], path: Path, what: str) -> None:
        names = tuple(known)
        for key in table:
            if key not in names:
                self.fail(f"unknown {what} {key!r}{did_you_mean(key, names)}", (*path, key))

    # -- checks of one value

    def table(self, value: object, path: Path, right: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.wrong(path, value, right)
        return value

    def text(self, value: object, path: Path, right: str) -> str:
        if not isinstance(value, str) or not value.strip():
            self.wrong(path, value, right)
        return value

    def flag(self, value: object, path: Path) -> bool:
        if not isinstance(value, bool):
            self.wrong(path, value, "write true or false")
        return value

    def whole(self, value: object, path: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.wrong(path, value, "write a whole number, 1 or more")
        return value

    def seconds(self, value: object, path: Path, right: str) -> float:
        # "not <" refuses nan as well.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            self.wrong(path, value, right)
        if value > _LONGEST_S:
            self.wrong(path, value, f"write at most {_LONGEST_S:.0f}, which is 31,000 years")
        return value

    # -- the tables

    def read(self) -> ScheduleFile:
        document = self.document
        self.refuse_unknown(document, _TABLES, (), "table")
        scheduler = self.scheduler()
        jobstores = self.components("jobstores", plugins.JOBSTORES, "job store")
        executors = self.components("executors", plugins.EXECUTORS, "executor")
        listed = document.get("jobs", [])
        if not isinstance(listed, list) or not all(isinstance(job, dict) for job in listed):
            self.fail("jobs is a list of tables; write [[jobs]], with two brackets, before each job", ("jobs",))
        zone = scheduler.get("timezone")
        jobs = tuple(self.job(job, number, executors, jobstores, zone) for number, job in enumerate(listed))
        self.refuse_duplicates(jobs)
        return ScheduleFile(
            path=self.file,
            format="toml",
            folder=self.folder,
            scheduler=MappingProxyType(scheduler),
            jobstores=MappingProxyType(jobstores),
            executors=MappingProxyType(executors),
            jobs=jobs,
            positions=self.positions,
        )

    def scheduler(self) -> dict[str, Any]:
        path: Path = ("scheduler",)
        given = self.table(self.document.get("scheduler", {}), path, "write [scheduler] and its options below it")
        for key in given:
            if key in ("jobstores", "executors"):
                self.fail(f"{key} stand beside [scheduler]; write [{key}.NAME]", (*path, key))
        self.refuse_unknown(given, _SCHEDULER_OPTIONS, path, "scheduler option")
        options = dict(given)
        if "timezone" in options:
            self.zone(options["timezone"], (*path, "timezone"))
        if "jobstore_retry_interval" in options:
            here = (*path, "jobstore_retry_interval")
            self.seconds(options["jobstore_retry_interval"], here, "write a number of seconds, more than 0")
        if "job_defaults" in options:
            here = (*path, "job_defaults")
            defaults = self.table(options["job_defaults"], here, "write a table of job options")
            self.refuse_unknown(defaults, JobDefaults._fields, here, "job default")
            options["job_defaults"] = MappingProxyType(self.policy(defaults, here))
        return options

    def zone(self, value: object, path: Path) -> None:
        name = self.text(value, path, "write the name of a time zone, such as 'Europe/Berlin'")
        from schedcore.triggers._zones import to_zone

        try:
            to_zone(name)
        except InvalidTriggerError as error:
            raise FileSyntaxError(self.file, *self.positions.of(path, value=True), str(error)) from error

    def components(self, key: str, group: str, what: str) -> dict[str, Mapping[str, Any]]:
        tables = self.table(self.document.get(key, {}), (key,), f"write [{key}.NAME] for each {what}")
        found: dict[str, Mapping[str, Any]] = {}
        for alias, options in tables.items():
            path: Path = (key, alias)
            self.table(options, path, f"write [{key}.{alias}] and the options of the {what} below it")
            if ("type" in options) == ("class" in options):
                problem = "both type and class" if "type" in options else "neither type nor class"
                self.fail(
                    f"{what} {alias!r} has {problem}; give type = one of {', '.join(plugins.known(group))}, "
                    f'or class = "module:Class"',
                    path,
                )
            if "type" in options:
                here: Path = (*path, "type")
                kind = self.text(options["type"], here, f"write one of {', '.join(plugins.known(group))}")
                if kind not in plugins.known(group):
                    hint = did_you_mean(kind, plugins.known(group))
                    self.fail(f"no {what} is called {kind!r}{hint}", here, value=True)
            else:
                self.reference(options["class"], (*path, "class"), "module:Class")
            found[alias] = MappingProxyType(options)
        return found

    def reference(self, value: object, path: Path, form: str) -> str:
        right = f'write "{form}", with a colon between the module and the name'
        text = self.text(value, path, right)
        if not _REFERENCE.fullmatch(text):
            module, _, name = text.rpartition(".")
            if _REFERENCE.fullmatch(f"{module}:{name}"):
                right = f'write "{module}:{name}", with a colon between the module and the name'
            self.wrong(path, text, right)
        return text

    # -- a job

    def job(
        self,
        given: dict[str, Any],
        number: int,
        executors: Mapping[str, object],
        jobstores: Mapping[str, object],
        zone: str | None,
    ) -> JobSpec:
        path: Path = ("jobs", number)
        for trigger, example in _TRIGGER_EXAMPLES.items():
            for key in given:
                if (
                    key in inspect.signature(plugins.load(plugins.TRIGGERS, trigger)).parameters
                    and key not in _JOB_KEYS
                ):
                    right = f"write a table for the trigger, such as {trigger} = {example}"
                    self.fail(f"{key} belongs to a trigger, and not to the job; {right}", (*path, key))
        self.refuse_unknown(given, _JOB_KEYS, path, "job option")
        if ("func" in given) == ("command" in given):
            problem = "both func and command" if "func" in given else "neither func nor command"
            self.fail(
                f'a job with {problem}; give either func = "module:name" or command = ["program", "argument"]', path
            )
        is_command = "command" in given
        for key in given:
            if key in (_FUNC_ONLY if is_command else _COMMAND_ONLY):
                other = "func" if is_command else "command"
                self.fail(
                    f"{key} is for jobs with {other}, and this one has {'command' if is_command else 'func'}",
                    (*path, key),
                )
        values = self.command(given, path) if is_command else self.func(given, path)
        name = self.text(given["name"], (*path, "name"), "write a text") if "name" in given else None
        job_id = self.text(given["id"], (*path, "id"), "write a text") if "id" in given else None
        made = _made_id(values["command"]) if is_command else values["func"]
        line, column = self.positions.of(path)
        jobstore = "default"
        if "jobstore" in given:
            jobstore = self.known_alias(given["jobstore"], jobstores, (*path, "jobstore"))
        if "executor" in given:
            self.known_alias(given["executor"], executors, (*path, "executor"))
        return JobSpec(
            id=job_id or name or made,
            name=name or job_id or made,
            **values,
            trigger=self.trigger(given, path, zone),
            options=MappingProxyType(self.policy(given, path)),
            jobstore=jobstore,
            paused=self.flag(given.get("paused", False), (*path, "paused")),
            path=path,
            line=line,
            column=column,
        )

    def known_alias(self, value: object, known: Mapping[str, object], path: Path) -> str:
        what = str(path[-1])
        alias = self.text(value, path, f"write the name of a {what}, such as 'default'")
        if alias not in known and alias != "default":
            hint = did_you_mean(alias, {*known, "default"})
            self.fail(f"no [{what}s.{alias}] in this file{hint}", path, value=True)
        return alias

    def func(self, given: Mapping[str, Any], path: Path) -> dict[str, Any]:
        args, kwargs = given.get("args", []), given.get("kwargs", {})
        if not isinstance(args, list):
            self.wrong((*path, "args"), args, 'write a list, such as [1, "two"]')
        self.table(kwargs, (*path, "kwargs"), 'write a table, such as { name = "value" }')
        return {
            "func": self.reference(given["func"], (*path, "func"), "module:name"),
            "args": tuple(args),
            "kwargs": MappingProxyType(kwargs),
        }

    def command(self, given: Mapping[str, Any], path: Path) -> dict[str, Any]:
        here: Path = (*path, "command")
        command = given["command"]
        right = 'write a list of texts, such as ["program", "argument"], or one text for the shell'
        if isinstance(command, list):
            if not command:
                self.wrong(here, command, right)
            for index, part in enumerate(command):
                if not isinstance(part, str):
                    self.fail(
                        f"item {index + 1} of command is {part!r}; {right} (numbers in quotes)",
                        (*here, index),
                        value=True,
                    )
            if not command[0]:
                self.fail("the program's name is empty", (*here, 0), value=True)
            if "shell" in given:
                self.fail("shell is for a command that is one text; a list is run without a shell", (*path, "shell"))
        else:
            self.text(command, here, right)
        values: dict[str, Any] = {"command": tuple(command) if isinstance(command, list) else command}
        for key in ("shell", "user"):
            if key in given:
                values[key] = self.text(given[key], (*path, key), "write a text")
        if "stdin" in given:
            if not isinstance(given["stdin"], str):
                self.wrong((*path, "stdin"), given["stdin"], "write a text")
            values["stdin"] = given["stdin"]
        if "timeout" in given:
            right = "write a number of seconds, more than 0"
            values["timeout"] = self.seconds(given["timeout"], (*path, "timeout"), right)
        if "env" in given:
            env = self.table(given["env"], (*path, "env"), 'write a table, such as { NAME = "value" }')
            for name, value in env.items():
                if not isinstance(value, str):
                    self.wrong((*path, "env", name), value, "a variable is a text; put it in quotes")
            values["env"] = MappingProxyType(env)
        cwd = self.text(given.get("cwd", "."), (*path, "cwd"), "write the path of a folder")
        is_home = cwd == "~" or cwd.startswith("~/")
        values["cwd"] = cwd if is_home else os.path.normpath(os.path.join(self.folder, cwd))
        return values

    def policy(self, given: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """The job options among what is given, as ``add_job`` takes them."""
        options: dict[str, Any] = {}
        for key in _POLICY:
            if key not in given:
                continue
            value, here = given[key], (*path, key)
            if key == "coalesce":
                options[key] = self.flag(value, here)
            elif key in ("max_instances", "max_catchup"):
                options[key] = self.whole(value, here)
            elif key == "misfire_grace_time":
                right = 'write a number of seconds, more than 0, or "none" to run however late'
                options[key] = None if value == "none" else self.seconds(value, here, right)
            elif key == "recovery":
                if value not in ("rerun", "lost"):
                    self.wrong(here, value, 'write "rerun" or "lost"')
                options[key] = value
            elif key == "executor":
                options[key] = self.text(value, here, "write the name of an executor")
            else:
                options[key] = value
        return options

    def refuse_duplicates(self, jobs: tuple[JobSpec, ...]) -> None:
        for first, second in pairwise(sorted(jobs, key=lambda job: (job.id, job.path))):
            if first.id == second.id:
                key = next((key for key in ("id", "name") if key in self.document["jobs"][second.path[1]]), "")
                self.fail(
                    f"job id {second.id!r} is taken by the job on line {first.line}; give each job an id of its own",
                    (*second.path, key) if key else second.path,
                    value=bool(key),
                )

    # -- its trigger

    def trigger(self, given: Mapping[str, Any], path: Path, zone: str | None) -> TriggerSpec:
        keys = [key for key in given if key in _TRIGGERS]
        if not keys:
            self.fail(
                'a job without a trigger; give interval = { minutes = 5 }, cron = "*/5 * * * *", date = a date, '
                "or trigger = { type = ... }",
                path,
            )
        if len(keys) > 1:
            self.fail(f"a job has one trigger, and this one has {' and '.join(keys)}", (*path, keys[1]))
        key, here = keys[0], (*path, keys[0])
        value = given[key]
        if key == "cron" and isinstance(value, str):
            spec = self.crontab(value, here, {})
        elif key == "cron" and isinstance(value, dict) and "crontab" in value:
            self.refuse_unknown(value, ("crontab", "timezone"), here, "key beside crontab:")
            if "timezone" in value:
                self.zone(value["timezone"], (*here, "timezone"))
            inner: Path = (*here, "crontab")
            expr = self.text(value["crontab"], inner, 'write five fields, such as "*/5 * * * *"')
            spec = self.crontab(expr, inner, {key: value[key] for key in ("timezone",) if key in value})
        elif key == "date":
            if not isinstance(value, str | date):
                self.wrong(here, value, "write a date or a time such as 2030-01-31T06:00:00")
            spec = TriggerSpec(kind="date", arguments=MappingProxyType({"run_date": value}), path=here)
        elif key == "trigger":
            spec = self.generic(value, here)
        else:
            rights = {
                "interval": "write a table such as { minutes = 5 }",
                "cron": 'write a text such as "*/5 * * * *" or a table such as { hour = 3 }',
            }
            table = self.table(value, here, rights[key])
            if not table:
                self.wrong(here, table, rights[key])
            spec = TriggerSpec(kind=key, arguments=MappingProxyType(table), path=here)
        _build(spec, self.file, self.positions, zone, None)
        return spec

    def crontab(self, expr: str, path: Path, more: Mapping[str, Any]) -> TriggerSpec:
        if expr.strip() == REBOOT:
            return TriggerSpec(kind=STARTUP, path=path)
        arguments = MappingProxyType({"expr": expr, **more})
        origin = self.positions.text_start(path, expr)
        return TriggerSpec(kind=CRONTAB, arguments=arguments, path=path, origin=origin)

    def generic(self, value: object, path: Path) -> TriggerSpec:
        known = plugins.known(plugins.TRIGGERS)
        right = f"write a table with type = one of {', '.join(known)}, and its arguments"
        table = self.table(value, path, right)
        if "type" not in table:
            self.fail(f"a trigger without a type; {right}", path, value=True)
        kind = self.text(table["type"], (*path, "type"), right)
        if kind not in known:
            self.fail(f"no trigger is called {kind!r}{did_you_mean(kind, known)}", (*path, "type"), value=True)
        arguments = {key: item for key, item in table.items() if key != "type"}
        parts = arguments.get("triggers")
        if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
            here: Path = (*path, "triggers")
            arguments["triggers"] = tuple(self.generic(part, (*here, index)) for index, part in enumerate(parts))
        return TriggerSpec(kind=kind, arguments=MappingProxyType(arguments), path=path)


def _made_id(command: tuple[str, ...] | str) -> str:
    """An id for a command that was given none: the beginning of its text."""
    return slug(command if isinstance(command, str) else " ".join(command))


def build_trigger(
    file: ScheduleFile, job: JobSpec, *, timezone: str | None = None, now: datetime | None = None
) -> BaseTrigger:
    """The trigger of a job of ``file``. ``timezone`` is the scheduler's, for triggers that name none
    (default: the file's); ``now`` is the start of the scheduler, for jobs that run at the start.

    Raises ``FileSyntaxError`` at the argument that is wrong.
    """
    zone = timezone or file.scheduler.get("timezone")
    return _build(job.trigger, file.path, file.positions or (job.line, job.column), zone, now, seed=job.id)


def _build(
    spec: TriggerSpec,
    path: str,
    positions: Positions | tuple[int, int],
    zone: str | None,
    now: datetime | None,
    seed: str | None = None,
) -> BaseTrigger:
    def error(message: str, *keys: str | int, value: bool = True) -> FileSyntaxError:
        if isinstance(positions, tuple):
            return FileSyntaxError(path, *positions, message)
        return FileSyntaxError(path, *positions.of((*spec.path, *keys), value=value), message)

    if zone is None and "timezone" not in spec.arguments:
        from schedcore.triggers._zones import local_zone

        local_zone()  # where this machine's is not known, no line of the file is wrong
    if spec.kind == CRONTAB:
        from schedcore.triggers.cron import CronTrigger

        try:
            return CronTrigger.from_crontab(
                spec.arguments["expr"], timezone=spec.arguments.get("timezone") or zone, seed=seed
            )
        except InvalidTriggerError as problem:
            if spec.origin is not None and problem.column is not None:
                line, column = spec.origin
                raise FileSyntaxError(path, line, column + problem.column - 1, without_column(problem)) from problem
            raise error(str(problem)) from problem
    if spec.kind == STARTUP:
        from schedcore.triggers.date import DateTrigger

        return DateTrigger(now or datetime.now(UTC))

    try:
        cls = plugins.load(plugins.TRIGGERS, spec.kind)
    except (UnknownPluginError, ConfigurationError, ImportError) as problem:
        raise error(str(problem), "type") from problem
    arguments = {
        key: [_build(part, path, positions, zone, now) for part in value]
        if isinstance(value, tuple) and all(isinstance(part, TriggerSpec) for part in value)
        else value
        for key, value in spec.arguments.items()
    }
    parameters = inspect.signature(cls).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for key in arguments:
            if key not in parameters:
                hint = did_you_mean(key, parameters)
                raise error(f"unknown argument {key!r} of trigger {spec.kind!r}{hint}", key, value=False)
    if "timezone" in parameters and zone is not None:
        arguments.setdefault("timezone", zone)
    try:
        trigger = cls(**arguments)
    except InvalidTriggerError as problem:
        name = problem.field
        if name is None or name not in spec.arguments:
            raise error(str(problem)) from problem
        value = spec.arguments[name]
        if isinstance(positions, Positions) and isinstance(value, str) and problem.column is not None:
            start = positions.text_start((*spec.path, name), value)
            if start is not None:
                place = start[0], start[1] + problem.column - 1
                raise FileSyntaxError(path, *place, without_column(problem)) from problem
        raise error(str(problem), name) from problem
    except (SchedcoreError, TypeError, ValueError, OverflowError) as problem:
        raise error(f"trigger {spec.kind!r}: {problem}") from problem
    if not isinstance(trigger, BaseTrigger):
        raise error(f"trigger {spec.kind!r} is no trigger but a {type(trigger).__name__}", "type")
    return trigger

"""A schedule file in TOML: text in, frozen values out. No scheduler is built here.

    [scheduler]                       # options of the scheduler
    timezone = "Europe/Berlin"
    job_defaults = { coalesce = true, misfire_grace_time = 3600 }

    [jobstores.default]               # any job store: with its arguments
    type = "sqlalchemy"               # an alias; or class = "module:Class"
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
"""

from __future__ import annotations

import inspect
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, time
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NoReturn

from schedcore import plugins
from schedcore.cli.crontab import REBOOT, slug
from schedcore.cli.positions import Path, Positions
from schedcore.cli.schedule import CRONTAB, STARTUP, JobSpec, ScheduleFile, TriggerSpec
from schedcore.cli.tomlsyntax import syntax_error
from schedcore.cli.triggers import build
from schedcore.config import JobDefaults, SchedulerConfig
from schedcore.errors import FileSyntaxError, InvalidTriggerError, did_you_mean

__all__ = ["parse_toml"]

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


def parse_toml(text: str, path: str = "schedule.toml") -> ScheduleFile:
    """Read the TOML ``text`` of a schedule file. ``path`` is for messages, and its folder for relative paths.

    Raises ``FileSyntaxError`` for the first thing that is wrong. Triggers are built once to check their
    arguments; functions are not imported.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise syntax_error(text, path, str(error)) from error
    except RecursionError as error:
        raise FileSyntaxError(path, 1, 0, "the values are nested too deeply") from error
    return _Reader(document, Positions(text), path).read()


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
        build(spec, self.file, self.positions, zone, None)
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

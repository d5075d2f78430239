"""Schedule files, whichever their format: a path in, one ``ScheduleFile`` out.

A file is TOML when its name ends in ``.toml`` or its first line that is neither blank nor a comment is a
``[table]``; any other is a crontab.

A job of a crontab becomes what a TOML file could have said: a command that is one text for the shell, in the
home folder (as cron runs it), with the variables above it and ``SHELL``.
"""

from __future__ import annotations

import os
import re
from types import MappingProxyType

from schedcore.cli.crontab import CrontabFile, CrontabJob, parse_crontab
from schedcore.cli.schedule import CRONTAB, STARTUP, JobSpec, ScheduleFile, TriggerSpec
from schedcore.cli.tomlfile import parse_toml
from schedcore.errors import ConfigurationError, FileSyntaxError

__all__ = ["is_toml_file", "load", "parse"]

# Bytes. No schedule is that large; a path that was mistyped may lead to a disk image.
_LARGEST = 16 * 1024 * 1024

_TABLE = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*\[\[?[ \t]*[\w\"'][^\n]*\]")


def _is_toml(text: str, path: str) -> bool:
    return path.lower().endswith(".toml") or _TABLE.match(text.removeprefix("\ufeff")) is not None


def is_toml_file(path: str | os.PathLike[str]) -> bool:
    """Whether ``load`` would read a file as TOML; False also when it cannot be read."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            return _is_toml(file.read(_LARGEST).decode("utf-8", "replace"), name)
    except (OSError, ValueError):
        return False


def load(path: str | os.PathLike[str], system: bool | None = None, *, stores_do: bool = False) -> ScheduleFile:
    """Read the schedule file at ``path``. ``system`` says whether a crontab has a column with users (None:
    recognise it), ``stores_do`` whether it need have no jobs where it has job stores.

    Raises ``FileSyntaxError`` for what is wrong in it, and ``ConfigurationError`` for a file that cannot be
    read, is no text, or holds no jobs.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        raise ConfigurationError(f"schedule file {name!r} is a folder; give the file in it")
    try:
        with open(name, "rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"schedule file {name!r} does not exist; give the path of a TOML or crontab file"
        ) from error
    except PermissionError as error:
        raise ConfigurationError(f"schedule file {name!r} may not be read by this user") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"schedule file {name!r} cannot be read: {reason}") from error
    if len(data) > _LARGEST:
        raise ConfigurationError(
            f"schedule file {name!r} is larger than {_LARGEST // 2**20} MiB; is it the right file?"
        )
    return parse(_text(data, name), name, system, stores_do=stores_do)


def parse(text: str, path: str, system: bool | None = None, *, stores_do: bool = False) -> ScheduleFile:
    """Read the ``text`` of a schedule file that is, or could be, at ``path``."""
    if not text.strip():
        raise ConfigurationError(f"schedule file {path!r} is empty; {_START}")
    file = (
        parse_toml(text.removeprefix("\ufeff"), path)
        if _is_toml(text, path)
        else _from_crontab(parse_crontab(text, path, system=system))
    )
    if not (file.jobs or (stores_do and file.jobstores)):
        raise ConfigurationError(f"schedule file {path!r} has no jobs; {_START}")
    return file


_START = 'add a [[jobs]] table (TOML) or a line such as "*/5 * * * * command" (crontab)'


def _text(data: bytes, name: str) -> str:
    zero = data.find(b"\0")
    if zero >= 0 and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigurationError(f"schedule file {name!r} is no text: byte {zero + 1} is zero; is it the right file?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ConfigurationError(f"schedule file {name!r} is in UTF-16; save it as UTF-8") from error
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        raise FileSyntaxError(
            name, line, column, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def _from_crontab(crontab: CrontabFile) -> ScheduleFile:
    return ScheduleFile(
        path=crontab.path,
        format="crontab",
        folder=os.path.dirname(os.path.abspath(crontab.path)),
        jobs=tuple(_job(job, number) for number, job in enumerate(crontab.jobs)),
        notes=crontab.notes,
    )


def _job(job: CrontabJob, number: int) -> JobSpec:
    path = ("jobs", number)
    if job.at_start:
        trigger = TriggerSpec(kind=STARTUP, path=path)
    else:
        arguments = {"expr": job.schedule_text, "timezone": job.timezone}
        trigger = TriggerSpec(
            kind=CRONTAB,
            arguments=MappingProxyType({key: value for key, value in arguments.items() if value is not None}),
            path=path,
        )
    return JobSpec(
        id=job.id,
        name=" ".join(job.command.split()),
        command=job.command,
        shell=job.shell,
        cwd=job.environment.get("HOME") or "~",
        env=MappingProxyType({"SHELL": job.shell, **job.environment}),
        stdin=job.stdin,
        user=job.user,
        trigger=trigger,
        path=path,
        line=job.line,
        column=job.column,
    )

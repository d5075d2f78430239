"""A crontab file as cron reads it: text in, frozen values out.

The rules are those that crontab(5) of Debian and of cronie document; where they differ, or say nothing, this
is done:

* *Lines.* Blank lines and lines whose first character is ``#`` mean nothing. There are no comments at the end
  of a line and no continuation lines.
* *Variables.* ``NAME = value``, in force for the lines below. A name or a value may stand in single or double
  quotes (matching), which keep its blanks; ``$`` is not expanded. An empty value needs no quotes (as in
  cronie). ``LOGNAME`` cannot be set. ``CRON_TZ`` (cronie) is the zone of the schedules below it; an empty one
  returns to the default. ``TZ`` is a variable for the commands only.
* *Jobs.* Five fields or one of the ``@`` words, then the command to the end of the line, for ``SHELL``
  (default ``/bin/sh``). ``@reboot`` is once whenever the scheduler starts. A ``%`` is a newline and ends the
  command: what follows is the standard input, which ends with a newline; ``\\%`` is a percent sign.
  A schedule may also say what is an error in crontab(5) and ``CronTrigger.from_crontab`` adds: ``L``, ``fri#2``,
  ``H`` (a number that is the job's own).
* *Users.* The system form has the user's name before the command. With ``system=None`` it is recognised: the
  file is ``/etc/crontab`` or in a folder ``cron.d``; or *every* job line has after its schedule the name of
  an existing user (or ``root``) and then a command, and one of these names at least is no program on ``PATH``
  as well (``mail`` and ``sync`` are users of Debian and programs).
* *Leniency.* CRLF, a byte order mark and a missing newline at the end, over which cron stumbles, are read and
  noted.

What is understood, but means less here than to cron (no mail is sent for ``MAILTO``, ...), is a ``Note``:
something to tell the user once. An error is a ``FileSyntaxError`` with line and column, and says what would
be right.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType
from typing import NoReturn

from schedcore.errors import FileSyntaxError, InvalidTriggerError, did_you_mean

__all__ = ["REBOOT", "CrontabFile", "CrontabJob", "Note", "parse_crontab", "slug", "without_column"]

REBOOT = "@reboot"
DEFAULT_SHELL = "/bin/sh"

_NICKNAMES = (REBOOT, "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_FORM = "minute hour day-of-month month day-of-week command"

_NAME = r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[A-Za-z_][^\s="']*))"""
_VARIABLE = re.compile(rf"[ \t]*(?P<name>{_NAME})[ \t]*=[ \t]*(?P<value>.*)")
_WORD = re.compile(r"[^ \t]+")
_OTHER_BLANK = re.compile(r"[^\S \t]")
_STDIN = re.compile(r"(?<!\\)%")
_EXPANSION = re.compile(r"\$(?:\w|\{)")
_LIKE_A_COMMAND = re.compile(r"[./~$\"'].*|.*[A-Za-z_]{4}.*")
_COLUMN = re.compile(r", column \d+(?=:)")
_MORE_FIELDS = re.compile(r"(?:\*(?:/\d+)?|\?|\d+(?:[-,/]\d+)*)(?=[ \t])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something in a file that is accepted, but that its author should know about."""

    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CrontabJob:
    """One job line. ``line`` and ``column`` (1-based) are where its schedule begins."""

    id: str  #: stays the same while schedule, zone, user and command do, whatever lines come and go around it
    line: int
    column: int
    schedule_text: str  #: the five fields, a single blank between them, or an ``@`` word
    timezone: str | None  #: the ``CRON_TZ`` above it; None: the scheduler's zone
    user: str | None  #: in the system form only
    command: str
    stdin: str | None
    environment: Mapping[str, str]  #: the variables set above it
    shell: str

    @property
    def at_start(self) -> bool:
        """Whether it runs once at every start of the scheduler, instead of on a schedule."""
        return self.schedule_text == REBOOT


@dataclass(frozen=True, slots=True, kw_only=True)
class CrontabFile:
    """A whole crontab. ``env`` holds the variables as they are at its end."""

    path: str
    system: bool
    env: Mapping[str, str]
    jobs: tuple[CrontabJob, ...]
    notes: tuple[Note, ...] = field(default=())


def slug(text: str, limit: int = 40) -> str:
    """``text`` as a short readable part of an id: ``"/usr/bin/backup.sh --full"`` becomes
    ``"backup-sh-full"``.
    """
    words = text.split()
    if words:
        words[0] = words[0].rstrip("/").rpartition("/")[2]
    plain = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
    return plain[:limit].strip("-") or "job"


def without_column(error: InvalidTriggerError) -> str:
    """The message of a trigger's error without the column in its text: the column in the file stands before
    it.
    """
    return str(error) if error.column is None else _COLUMN.sub("", str(error), count=1)


def parse_crontab(text: str, path: str = "crontab", *, system: bool | None = None) -> CrontabFile:
    """Read the crontab ``text``. ``path`` is for messages and for ``system=None``, which recognises the form
    (see above).

    Raises ``FileSyntaxError`` for the first thing that is wrong.
    """
    return _Parser(text, path, system).parse()


def _user_exists(name: str) -> bool:
    if sys.platform == "win32":
        return False
    import pwd

    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True


def _user_names() -> list[str]:
    if sys.platform == "win32":
        return []
    import pwd

    return [entry.pw_name for entry in pwd.getpwall()]


class _Parser:
    def __init__(self, text: str, path: str, system: bool | None) -> None:
        self.path = path
        self.notes: list[Note] = []
        self.lines = self._lines(text)
        self.system = self._is_system() if system is None else system
        self.check_users = sys.platform != "win32"
        self.environment: dict[str, str] = {}
        self.seen: dict[str, int] = {}

    def fail(self, line: int, index: int, message: str) -> NoReturn:
        """``index`` is 0-based in the line; the error's column is 1-based."""
        raise FileSyntaxError(self.path, line, index + 1, message)

    def note(self, line: int, index: int, message: str) -> None:
        self.notes.append(Note(line=line, column=index + 1, message=message))

    # -- the form of the file

    def _lines(self, text: str) -> list[str]:
        if text.startswith("\ufeff"):
            text = text[1:]
            self.note(1, 0, "the file starts with a byte order mark, which cron does not understand; it is left out")
        lines = text.split("\n")
        if lines[-1]:
            self.note(
                len(lines), len(lines[-1]), "the last line does not end with a newline; cron would not accept the file"
            )
        else:
            lines.pop()
        returns = [number for number, line in enumerate(lines, 1) if line.endswith("\r")]
        if returns:
            self.note(
                returns[0],
                len(lines[returns[0] - 1]) - 1,
                "lines end with CR LF; cron would take the CR for a part of each command; it is left out",
            )
        return [line.removesuffix("\r") for line in lines]

    def _active(self) -> Iterator[tuple[int, str, re.Match[str] | None]]:
        """The lines that mean something, numbered, each with its match if it sets a variable."""
        for number, line in enumerate(self.lines, 1):
            start = line.lstrip(" \t")
            if start and not start.startswith("#"):
                yield number, line, _VARIABLE.fullmatch(line)

    def _is_system(self) -> bool:
        path = PurePath(self.path)
        if path.parent.name == "cron.d" or path.as_posix() == "/etc/crontab":
            return True
        users: list[tuple[int, int, str]] = []
        others: list[int] = []
        for number, line, variable in self._active():
            if variable is None:
                words = list(_WORD.finditer(line))
                rest = words[1:] if words[0].group().startswith("@") else words[5:]
                name = rest[0].group() if len(rest) > 1 else ""
                if name and (name == "root" or _user_exists(name)):
                    users.append((number, rest[0].start(), name))
                else:
                    others.append(number)
        certain = [user for user in users if user[2] == "root" or shutil.which(user[2]) is None]
        if certain and not others:
            return True
        for number, index, name in certain:
            self.note(
                number,
                index,
                f"{name!r} is a user's name, but it is taken for the command because line {others[0]} has none; "
                f"if the file is in the system form, say so",
            )
        return False

    # -- its lines

    def parse(self) -> CrontabFile:
        jobs = []
        for number, line, variable in self._active():
            if variable is not None:
                self._set(number, variable)
            else:
                jobs.append(self._job(number, line))
        return CrontabFile(
            path=self.path,
            system=self.system,
            env=MappingProxyType(dict(self.environment)),
            jobs=tuple(jobs),
            notes=tuple(sorted(self.notes, key=lambda note: (note.line, note.column))),
        )

    def _set(self, number: int, match: re.Match[str]) -> None:
        name = next(part for part in match.group("double", "single", "bare") if part is not None)
        at, raw = match.start("value"), match.group("value").rstrip(" \t")
        if not name or "\0" in name or "=" in name:
            self.fail(number, match.start("name"), "a variable needs a name without '='; write NAME=value")
        value = raw
        if raw[:1] in ("'", '"') and raw:
            end = raw.find(raw[0], 1)
            if end < 0:
                self.fail(
                    number, at, f"the quote {raw[0]} is not closed; put {raw[0]} at the end of the value, or use none"
                )
            if end + 1 < len(raw):
                self.fail(
                    number,
                    at + end + 1,
                    "there is text after the closing quote; put the whole value into one pair of quotes "
                    "(cron knows no comments at the end of a line)",
                )
            value = raw[1:end]
        elif " #" in raw or "\t#" in raw:
            self.note(
                number, at + raw.index("#"), "cron knows no comments at the end of a line: this is a part of the value"
            )
        expansion = _EXPANSION.search(value)
        if expansion is not None:
            self.note(number, match.start("value"), f"cron does not expand variables: {name} is exactly {value!r}")
        if name == "LOGNAME":
            self.note(number, match.start("name"), "LOGNAME cannot be changed in a crontab; this line is left out")
            return
        if name == "CRON_TZ" and value:
            self._check_zone(number, at, value)
        if name == "SHELL" and not value:
            self.fail(number, at, "SHELL is empty; give the path of a shell such as /bin/sh, or leave the line out")
        if name == "MAILTO" and value:
            self.note(number, match.start("name"), "no mail is sent; the output of a job is in the record of its run")
        if name == "RANDOM_DELAY":
            self.note(number, match.start("name"), "RANDOM_DELAY does not delay jobs here; it is only a variable")
        self.environment[name] = value

    def _check_zone(self, number: int, at: int, name: str) -> None:
        from zoneinfo import ZoneInfo, available_timezones

        try:
            ZoneInfo(name)
        except (LookupError, ValueError, OSError):
            known = available_timezones()
            alike = [zone for zone in sorted(known) if zone.lower() == name.lower().replace(" ", "_")]
            hint = f"; did you mean {alike[0]!r}?" if alike else did_you_mean(name, known)
            if len(hint) > 100 or not hint:
                hint = "; give a name such as 'Europe/Berlin' or 'UTC'"
            self.fail(number, at, f"CRON_TZ: no time zone is called {name!r}{hint}")

    def _job(self, number: int, line: str) -> CrontabJob:
        words = list(_WORD.finditer(line))
        first = words[0]
        count = 1 if first.group().startswith("@") else 5
        blank = _OTHER_BLANK.search(line, 0, words[:count][-1].end())
        if blank is not None:
            self.fail(
                number,
                blank.start(),
                f"the blank U+{ord(blank.group()):04X} separates nothing for cron; write a space or a tab",
            )
        if count == 1:
            self._check_nickname(number, first)
        else:
            self._check_first(number, line, first)
            if len(words) < count:
                self.fail(
                    number,
                    len(line),
                    f"a job needs five fields and a command ({_FORM}); this line ends after {len(words)}",
                )
        schedule = line[first.start() : words[count - 1].end()]
        zone = self.environment.get("CRON_TZ") or None
        if schedule != REBOOT:
            self._check_schedule(number, first.start(), schedule, words)
        rest = words[count:]
        if not rest:
            what = "the user's name and the command are missing" if self.system else "the command is missing"
            self.fail(number, len(line), f"{what} after the schedule {schedule!r}")
        user = None
        if self.system:
            user = rest[0].group()
            self._check_user(number, rest[0])
            rest = rest[1:]
            if not rest:
                self.fail(
                    number,
                    len(line),
                    f"the command is missing after the user's name {user!r} (the file is in the system form)",
                )
        start = rest[0].start()
        if count == 5 and _MORE_FIELDS.match(line, start):
            self.fail(
                number, start, f"a schedule has five fields, and this is a sixth; cron knows no seconds: write {_FORM}"
            )
        raw = line[start:]
        if raw.endswith("\\") and not raw.endswith("\\\\"):
            self.note(
                number, len(line) - 1, "cron knows no continuation lines: this backslash is a part of the command"
            )
        command, stdin = self._split(raw)
        if not command.strip():
            self.fail(number, start, "the command is empty: an unescaped % ends it; write \\% for a percent sign")
        schedule = " ".join(schedule.split())
        return CrontabJob(
            id=self._id(schedule, zone, user, raw, command),
            line=number,
            column=first.start() + 1,
            schedule_text=schedule,
            timezone=zone,
            user=user,
            command=command,
            stdin=stdin,
            environment=MappingProxyType(dict(self.environment)),
            shell=self.environment.get("SHELL", DEFAULT_SHELL),
        )

    def _check_nickname(self, number: int, word: re.Match[str]) -> None:
        text = word.group()
        if text in _NICKNAMES:
            return
        if text in ("@every_minute", "@minutely"):
            hint = "; write * * * * *"
        elif text == "@every":
            hint = "; write an interval as fields, for example */5 * * * * for every five minutes"
        else:
            hint = did_you_mean(text.lower(), _NICKNAMES)
        self.fail(number, word.start(), f"cron knows no schedule {text!r}{hint}")

    def _check_first(self, number: int, line: str, word: re.Match[str]) -> None:
        text, at = word.group(), word.start()
        if text.startswith("-"):
            self.fail(
                number,
                at,
                "a schedule cannot start with '-' (cronie's mark for a job that is not logged); remove the '-'",
            )
        if text == "export":
            self.fail(number, at, "a variable is set without 'export'; write NAME=value")
        if re.match(r"[A-Za-z_\"']", text) and not re.fullmatch(r"H(?:[,/(].*)?", text):
            self.fail(
                number,
                at,
                f"this is neither a job ({_FORM}, or @daily command) nor a variable (NAME=value)"
                + ("" if "=" not in line else "; a name has no blanks unless it is in quotes"),
            )

    def _check_schedule(self, number: int, start: int, schedule: str, words: list[re.Match[str]]) -> None:
        from schedcore.triggers.cron import CronTrigger

        try:
            CronTrigger.from_crontab(schedule, timezone=self.environment.get("CRON_TZ") or "UTC")
        except InvalidTriggerError as error:
            at = start + (error.column or 1) - 1
            wrong = next((word.group() for word in words[:5] if word.start() <= at < word.end()), "")
            hint = ""
            if "~" in wrong:
                hint = "; for a number that is picked once (cronie's a~b) write H(a-b)"
            elif error.column and _LIKE_A_COMMAND.fullmatch(wrong):
                hint = f"; if {wrong!r} begins the command, one of the five fields before it is missing"
            raise FileSyntaxError(self.path, number, at + 1, f"{without_column(error)}{hint}") from error

    def _check_user(self, number: int, word: re.Match[str]) -> None:
        name = word.group()
        if self.check_users and name != "root" and not _user_exists(name):
            hint = did_you_mean(name, _user_names())
            self.fail(
                number,
                word.start(),
                f"there is no user {name!r} on this machine{hint if len(hint) < 40 else ''}; "
                f"a line of the system form is: schedule user command",
            )

    def _split(self, raw: str) -> tuple[str, str | None]:
        """The command and its standard input."""
        parts = _STDIN.split(raw)
        command, *rest = (part.replace("\\%", "%") for part in parts)
        if not rest:
            return command, None
        stdin = "\n".join(rest)
        return command, stdin if not stdin or stdin.endswith("\n") else stdin + "\n"

    def _id(self, schedule: str, zone: str | None, user: str | None, raw: str, command: str) -> str:
        key = json.dumps([schedule, zone, user, raw])
        count = self.seen[key] = self.seen.get(key, 0) + 1
        digest = hashlib.sha256(f"{key}{count}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return f"{slug(command)}-{digest}"

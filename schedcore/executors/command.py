"""Run a program as a job: ``schedcore.executors.command:run_command``.

A plain function over plain data, so that a durable store can name it and keep its arguments. It blocks for as
long as the program runs and belongs in a thread pool. Its rules:

* *Output.* stdout and stderr share one pipe, so their order is the order of writing. It is read all the time
  and only the last ``OUTPUT_LIMIT`` bytes are kept; the text says how many were dropped. Undecodable bytes
  and NUL become U+FFFD.
* *End.* The run ends when the program itself ends. What a process that it left in the background still writes
  is read for ``LINGER_S`` more (cron would wait for such a process for ever); then the pipe is closed and the
  output says so.
* *Groups.* Each program leads a session of its own, so that a signal reaches everything it started, and so
  that the Ctrl-C of a terminal does not reach it: whoever stops the scheduler decides, with
  ``terminate_running``. At the exit of the interpreter that is called for what still runs. (After a SIGKILL
  of the scheduler itself nobody can; programs then finish on their own.)
* *Environment.* ``env`` is added to the scheduler's own environment. cron starts from an empty one; in a
  container, for which this is made, the settings arrive through the environment.
* *Standard input* is a file in memory (or a temporary one), not a pipe: a program that never reads it blocks
  nobody.

On Windows there are no sessions and users: only the program itself is terminated, and ``user`` is refused.

How programs are signalled, waited for and reaped is in ``_command_programs``, how their output is read in ``_command_output``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, NamedTuple

from schedcore.errors import ConfigurationError, FailureError
from schedcore.executors._command_output import ENCODING, Reader, Tail
from schedcore.executors._command_programs import (
    GRACE_S,
    Program,
    kill_running,
    registry,
    running_commands,
    terminate_running,
)

__all__ = [
    "OUTPUT_LIMIT",
    "CommandFailedError",
    "CommandResult",
    "CommandStartError",
    "CommandTimeoutError",
    "describe_exit",
    "run_command",
    "kill_running",
    "running_commands",
    "terminate_running",
]

#: Bytes. What is kept of the end of a program's output.
OUTPUT_LIMIT = 64 * 1024
#: Seconds. How long the output is read after the program has ended, when a background process keeps it open.
LINGER_S = 1.0

_DEFAULT_SHELL = "/bin/sh"
_FAILS_FOR_NOW = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class CommandResult(NamedTuple):
    """How a program ended. ``output`` is the end of it, at most ``OUTPUT_LIMIT`` bytes; ``dropped_bytes``
    came before.
    """

    exit_code: int
    output: str
    dropped_bytes: int = 0


class CommandStartError(FailureError):
    """The program could not be started: not found, not executable, no such folder, not allowed. ``command``
    is its text.
    """

    def __init__(self, command: str, reason: str, transient: bool = False) -> None:
        super().__init__(f"command {_shorten(command, 80)!r} could not be started: {reason}", transient=transient)
        self.command = command
        self.reason = reason


class CommandFailedError(FailureError):
    """The program ended with another exit code than 0; a negative one is the signal that killed it.
    ``output`` is the end of it.
    """

    def __init__(self, exit_code: int, output: str, command: str = "", dropped_bytes: int = 0) -> None:
        super().__init__(_one_line(self._what(exit_code), output, command))
        self.exit_code = exit_code
        self.output = output
        self.command = command
        self.dropped_bytes = dropped_bytes

    def _what(self, exit_code: int) -> str:
        return describe_exit(exit_code)


class CommandTimeoutError(CommandFailedError):
    """The program ran longer than its ``timeout_s`` seconds and was stopped."""

    def __init__(
        self, exit_code: int, output: str, command: str = "", dropped_bytes: int = 0, timeout_s: float = 0.0
    ) -> None:
        self.timeout_s = timeout_s
        super().__init__(exit_code, output, command, dropped_bytes)

    def _what(self, exit_code: int) -> str:
        end = describe_exit(exit_code)
        return f"ran longer than its timeout of {self.timeout_s:g} s and was stopped ({end})"


def describe_exit(exit_code: int) -> str:
    """The exit code in words: ``"failed with exit code 3"``, ``"was killed by SIGKILL"``."""
    if exit_code == 0:
        return "ended with exit code 0"
    if exit_code < 0:
        return f"was killed by {_signal_name(-exit_code)}"
    if exit_code == 126:
        hint = " (a shell's word for: found, but not executable)"
    elif exit_code == 127:
        hint = " (a shell's word for: no such program)"
    elif 128 < exit_code <= 128 + 64:
        hint = f" (a shell's word for: killed by {_signal_name(exit_code - 128)})"
    else:
        hint = ""
    return f"failed with exit code {exit_code}{hint}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shorten(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _one_line(what: str, output: str, command: str) -> str:
    subject = f"command {_shorten(command, 80)!r}" if command else "the command"
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    return f"{subject} {what}" + (f": {_shorten(last, 200)}" if last else "")


class _Account(NamedTuple):
    """A user to run as: what ``subprocess`` needs to know (nothing for the current user), and the variables
    that cron sets.
    """

    options: dict[str, Any]
    variables: dict[str, str]


if sys.platform == "win32":

    def _account(user: str, command: str) -> _Account:
        raise CommandStartError(command, f"running as user {user!r} needs a POSIX system; leave the user out")

else:

    def _account(user: str, command: str) -> _Account:
        import pwd

        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise CommandStartError(command, f"there is no user {user!r} on this machine") from None
        variables = {"LOGNAME": user, "USER": user, "HOME": entry.pw_dir}
        if entry.pw_uid == os.geteuid():
            return _Account({}, variables)
        if os.geteuid() != 0:
            raise CommandStartError(
                command,
                f"running as user {user!r} needs root; "
                f"start the scheduler as root, or as {user!r} and leave the user out",
            )
        groups = os.getgrouplist(user, entry.pw_gid)
        options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
        return _Account(options, variables)


def _folder(cwd: str | None, env: Mapping[str, str]) -> str | None:
    """``cwd`` with a leading ``~`` as the program's HOME."""
    if cwd is None or (cwd != "~" and not cwd.startswith("~/")):
        return cwd
    home = env.get("HOME") or os.path.expanduser("~")
    return home + cwd[1:]


def _input_file(stdin: str) -> IO[bytes]:
    data = stdin.encode(ENCODING, errors="surrogateescape")
    file: IO[bytes]
    if hasattr(os, "memfd_create"):  # noqa: SIM108 (works where no folder is writable)
        file = os.fdopen(os.memfd_create("schedcore-stdin"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    with contextlib.ExitStack() as undo:
        undo.enter_context(file)
        file.write(data)
        file.flush()
        file.seek(0)
        undo.pop_all()
    return file


def _argv(argv: Sequence[str] | str, shell: str | None) -> tuple[list[str] | str, str]:
    """What ``subprocess`` is given, and the text that people read."""
    if isinstance(argv, str):
        if not argv.strip():
            raise ConfigurationError("a command is empty; give the line that the shell should run")
        if os.name == "posix":
            return [shell or _DEFAULT_SHELL, "-c", argv], argv
        return ([shell, "-c", argv] if shell else argv), argv
    if shell is not None:
        raise ConfigurationError("shell= is for a command that is one text; a list of arguments is run without a shell")
    parts = list(argv)
    if not parts or not parts[0]:
        raise ConfigurationError("a command needs at least the program's name; the list of its arguments is empty")
    for index, part in enumerate(parts):
        if not isinstance(part, str):
            raise ConfigurationError(f"a command is a list of texts; item {index} is {part!r} ({type(part).__name__})")
    return parts, shlex.join(parts)


def _why_not(error: OSError, name: str, cwd: str | None, env: Mapping[str, str]) -> str:
    """What kept the program of this name from starting, and what to do about it."""
    if cwd is not None and not os.path.isdir(cwd):
        what = "is not a folder" if os.path.exists(cwd) else "does not exist"
        return f"the folder {cwd!r} to run it in {what}"
    if isinstance(error, FileNotFoundError):
        if os.path.dirname(name):
            exists = os.path.exists(os.path.join(cwd or "", name))
            what = "exists, but the interpreter in its #! line does not" if exists else "does not exist"
            return f"the program {name!r} {what}"
        return f"no program {name!r} on PATH ({env.get('PATH', '')}); give its full path, or set PATH"
    if isinstance(error, PermissionError):
        if error.filename == cwd and cwd is not None:
            return f"the folder {cwd!r} to run it in may not be entered"
        return f"the program {name!r} may not be executed; is it a file with the x bit (chmod +x)?"
    if error.errno == errno.ENOEXEC:
        return f"{name!r} is no program; a script needs a first line like #!/bin/sh"
    return error.strerror or str(error)


def _start(
    program: Program,
    args: list[str] | str,
    *,
    cwd: str | None,
    env: dict[str, str],
    stdin: IO[bytes] | int,
    options: dict[str, Any],
) -> subprocess.Popen[bytes]:
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP, "shell": isinstance(args, str)}
    else:
        options = {"start_new_session": True, **options}
    name = args if isinstance(args, str) else args[0]
    with program.lock:
        try:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                args,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                **options,
            )
        except OSError as error:
            reason = _why_not(error, name, cwd, env)
            raise CommandStartError(program.command, reason, error.errno in _FAILS_FOR_NOW) from error
        except ValueError as error:  # a NUL or "=" where the system allows none
            raise CommandStartError(program.command, str(error)) from error
        program.process = process
        if program.stop_grace_s is not None:
            program.send(process, "SIGTERM")
    return process


def run_command(
    argv: Sequence[str] | str,
    *,
    shell: str | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    user: str | None = None,
    timeout: float | None = None,
    grace: float = GRACE_S,
    ok_exit_codes: Iterable[int] = (0,),
) -> CommandResult:
    """Run a program to its end and return its output.

    ``argv`` is a list of texts, run as it is, or one text for the ``shell`` (default ``/bin/sh``). ``cwd`` is
    the folder to run in (``~``: the home folder); ``env`` is added to the environment; ``stdin`` is the
    program's input (default: none); ``user`` is the name of the user to run as, which needs root unless it is
    the current one. After ``timeout`` seconds the program's group gets SIGTERM, and ``grace`` seconds later
    SIGKILL.

    Raises ``CommandStartError`` when it cannot be started, ``CommandTimeoutError``, and
    ``CommandFailedError`` for an exit code that is not in ``ok_exit_codes``.
    """
    args, command = _argv(argv, shell)
    if timeout is not None and timeout <= 0:
        raise ConfigurationError(f"timeout must be more than 0 seconds, not {timeout!r}; leave it out for no limit")
    account = _Account({}, {}) if user is None else _account(user, command)
    variables = {**os.environ, **account.variables, **(env or {})}
    if user is not None:
        variables["LOGNAME"] = variables["USER"] = user  # as in crontab(5): these cannot be overridden
    folder = _folder(cwd, variables)

    program = Program(command)
    registry.add(program)
    try:
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(_input_file(stdin)) if stdin is not None else subprocess.DEVNULL
            process = _start(program, args, cwd=folder, env=variables, stdin=source, options=account.options)
        tail = Tail(OUTPUT_LIMIT)
        exit_code, closed, timed_out = _attend(program, process, tail, timeout, grace)
    finally:
        registry.remove(program)

    output = tail.text()
    if not closed:
        output += ("" if not output or output.endswith("\n") else "\n") + (
            "[a process that it started in the background still held its output open]\n"
        )
    if timed_out:
        raise CommandTimeoutError(exit_code, output, command, tail.dropped, timeout or 0.0)
    if exit_code not in ok_exit_codes:
        raise CommandFailedError(exit_code, output, command, tail.dropped)
    return CommandResult(exit_code, output, tail.dropped)


def _attend(
    program: Program, process: subprocess.Popen[bytes], tail: Tail, timeout_s: float | None, grace_s: float
) -> tuple[int, bool, bool]:
    """Read and wait until the program is reaped: its exit code, whether its output was closed by all, whether
    it timed out.
    """
    assert process.stdout is not None
    timed_out = threading.Event()

    def out_of_time() -> None:
        if not program.ended.is_set():
            timed_out.set()
            program.stop(grace_s)

    timer: threading.Timer | None = None
    reader: Reader | None = None
    closed = False
    try:
        with contextlib.ExitStack() as undo:
            # KeyboardInterrupt when called from the main thread, or no thread to be had: nothing may be left
            # behind.
            undo.callback(program.leave_nothing)
            reader = Reader(process.stdout, tail)
            if timeout_s is not None:
                timer = threading.Timer(min(timeout_s, threading.TIMEOUT_MAX), out_of_time)
                timer.daemon = True
                timer.start()
            program.wait()
            closed = reader.wait(LINGER_S if program.stop_grace_s is None else program.stop_grace_s)
            undo.pop_all()
    finally:
        exit_code = program.reap()
        if timer is not None:
            timer.cancel()
            timer.join()
        if reader is not None:
            reader.close()
        else:
            process.stdout.close()
    return exit_code, closed, timed_out.is_set()

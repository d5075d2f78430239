"""The programs that ``run_command`` runs in this process now, and the signals that they get.

A group is signalled only while its leader is not reaped yet: until then its number cannot belong to anybody else.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from schedcore._forks import forget_after_fork, notice_fork
from schedcore.locks import ShortLock, make_event

__all__ = ["GRACE_S", "Program", "kill_running", "registry", "running_commands", "terminate_running"]

#: Seconds between SIGTERM and SIGKILL, unless the caller says otherwise.
GRACE_S = 5.0


class Program:
    """A program from just before its start until it is reaped. ``lock`` guards the process against a signal
    to a stranger.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.lock = threading.RLock()  # reentrant for signal handlers
        self.process: subprocess.Popen[bytes] | None = None
        self.reaped = False
        self.stop_grace_s: float | None = None  # set once somebody has asked the program to stop
        self.ended = make_event()  # the leader has ended
        self.done = make_event()  # nothing of it is left here

    def signal(self, name: str) -> None:
        """Send ``SIGTERM`` or ``SIGKILL`` to the whole group; nothing when it is gone."""
        with self.lock:
            if self.process is not None and not self.reaped:
                self.send(self.process, name)

    @staticmethod
    def send(process: subprocess.Popen[bytes], name: str) -> None:
        """Signal a group whose leader is known not to be reaped; ``lock`` is held."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                process.terminate()
            else:
                os.killpg(process.pid, getattr(signal, name))

    def ask_to_stop(self, grace_s: float) -> None:
        """SIGTERM, also for a program that is being started at this moment."""
        with self.lock:
            self.stop_grace_s = grace_s
            if self.process is not None and not self.reaped:
                self.send(self.process, "SIGTERM")

    def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL when it has not ended ``grace_s`` seconds later."""
        self.ask_to_stop(grace_s)
        if not self.ended.wait(grace_s):
            self.signal("SIGKILL")

    def wait(self) -> None:
        """Until the leader has ended. It is not reaped: its number stays taken."""
        process = self.process
        assert process is not None
        if sys.platform != "win32" and hasattr(os, "waitid"):
            # Somebody may have set SIGCHLD to be ignored, or have waited for any child; ``reap`` copes with
            # that.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()
        self.ended.set()

    def leave_nothing(self) -> None:
        """End it at once, and wait for that."""
        self.ask_to_stop(0.0)
        self.signal("SIGKILL")
        self.wait()

    def reap(self) -> int:
        process = self.process
        assert process is not None
        with self.lock:
            if self.stop_grace_s is not None:
                self.send(process, "SIGKILL")  # what its leader left behind
            # Before it is: a signal handler in the same thread is not kept off by the lock.
            self.reaped = True
            return process.wait()


class _Registry:
    """The programs that run now. A forked child has none: they belong to its parent."""

    def __init__(self) -> None:
        self._lock = ShortLock()
        self._programs: set[Program] = set()
        self._at_exit = False
        forget_after_fork(self._forget)

    def _forget(self) -> None:
        self._lock = ShortLock()
        self._programs = set()

    def add(self, program: Program) -> None:
        with self._lock:
            self._programs.add(program)
            if not self._at_exit:
                self._at_exit = True
                atexit.register(terminate_running)

    def remove(self, program: Program) -> None:
        with self._lock:
            self._programs.discard(program)
        program.done.set()

    def unlocked(self) -> list[Program]:
        """Of this moment. Copying a set is one step of the interpreter."""
        return list(self._programs)

    def snapshot(self) -> list[Program]:
        notice_fork()
        with self._lock:
            return list(self._programs)


registry = _Registry()


def running_commands() -> tuple[str, ...]:
    """The texts of the commands that run in this process now."""
    return tuple(sorted(program.command for program in registry.snapshot()))


def terminate_running(grace_s: float = GRACE_S) -> tuple[str, ...]:
    """Stop every program that ``run_command`` runs in this process: SIGTERM to all, SIGKILL to those left
    after ``grace_s`` seconds.

    Returns the texts of the commands that were running, and not before their runs are over (or, should the
    kernel not let go of one, a second after SIGKILL). Callable from any thread, at any time, more than once.
    It does not keep new programs from starting: shut the scheduler down first.
    """
    programs = registry.snapshot()
    for program in programs:
        program.ask_to_stop(grace_s)
    deadline = time.monotonic() + grace_s
    for program in programs:
        program.ended.wait(max(0.0, deadline - time.monotonic()))
    for program in programs:
        if not program.done.wait(max(0.0, deadline - time.monotonic())):
            program.signal("SIGKILL")
    deadline = time.monotonic() + 1.0
    for program in programs:
        program.done.wait(max(0.0, deadline - time.monotonic()))
    return tuple(sorted(program.command for program in programs))


def kill_running() -> None:
    """Send SIGKILL to every program that ``run_command`` runs in this process, and wait for none.

    It waits for no lock either, so that a signal handler may call it just before it ends the process.
    """
    for program in registry.unlocked():
        if program.lock.acquire(blocking=False):
            try:
                if program.process is not None and not program.reaped:
                    program.send(program.process, "SIGKILL")
            finally:
                program.lock.release()

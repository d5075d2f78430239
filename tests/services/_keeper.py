"""The process that stands between the tests and one server: it starts the server, holds its port and ends it, whatever happens.

Run as a script by ``_service.py``, with the id of the process that it serves and the folder in which to make its own. It says
on its standard output where that is, and listens there on a socket: a connection brings one command, a JSON object on a
line, and is answered with another.

Theory of operation:

* It is nobody's child (it forks once and its first process ends), and in a session of its own. So a server that is
  restarted in the middle of a test is not a child process that this test left behind, and Ctrl-C does not reach it.
* When the process that it serves is gone, be it by SIGKILL, it ends the server, removes the folder and exits. On Linux the
  kernel tells it; elsewhere it looks every half second. There is no open connection whose end would say so: it would be
  a file descriptor that a test left behind, and a process forked from the tests would hold a copy.
* It is the parent of the server, and on Linux the reaper of all that the server forks. PostgreSQL's workers, each in a
  session of its own, would outlive a killed parent as long as they were paused; here they are found and ended with it.
* It holds the server's port: bound and never listened on, which with SO_REUSEADDR leaves it to the server. While the server
  is down, connections are refused, and no other process is given the port. (Linux only. Elsewhere the port is only likely
  to stay free.)
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

__all__ = ["Keeping"]

# Seconds between two looks at a process that has no other way to say that it has ended.
LOOK_S = 0.005
# Seconds between two looks at the process that is served, where the kernel does not tell; and for a command to be said.
LIFE_S = 0.5
COMMAND_S = 5.0
# Seconds for killed processes to be gone. Only one that hangs in the kernel needs more.
REAP_S = 10.0
# Seconds for a server to end by itself when nobody is there any more to ask for more patience.
FAREWELL_S = 10.0
LINUX = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36


class Gone(Exception):
    """Whom this process serves is not there any more, or it was told to end."""


class Keeping:
    """One server, its folder and its ports."""

    def __init__(self, served: int, base: str) -> None:
        self.served = served
        self.folder = tempfile.mkdtemp(prefix="schedcore-", dir=base)
        # Passed through by a server that runs as another user; what is in it is for its owner only.
        os.chmod(self.folder, 0o711)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(os.path.join(self.folder, "line"))
        self.listening.listen()
        self.server: subprocess.Popen[bytes] | None = None
        # The signal that asks the server to end, as it was last started.
        self.farewell = int(signal.SIGTERM)
        self.ports: list[socket.socket] = []
        self.life = select.poll()
        self.pidfd: int | None = None
        if LINUX:
            with contextlib.suppress(OSError):
                self.pidfd = os.pidfd_open(served)
                self.life.register(self.pidfd, select.POLLIN)

    # --- talking ----------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        line: socket.socket | None = None
        try:
            events = select.poll()
            events.register(self.listening, select.POLLIN)
            if self.pidfd is not None:
                events.register(self.pidfd, select.POLLIN)
            while True:
                ready = {descriptor for descriptor, _ in events.poll(LIFE_S * 1000)}
                self.look(0)
                if self.listening.fileno() in ready:
                    line, _ = self.listening.accept()
                    if not self.obey(line):
                        break
                    line.close()
        except Gone:
            pass
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self.end(self.farewell, FAREWELL_S)
            for held in (*self.ports, self.listening):
                held.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            if line is not None:
                self.answer(line, {})
                line.close()

    def obey(self, line: socket.socket) -> bool:
        """Do what one connection asks for, and say how it went; False when that is to end."""
        line.settimeout(COMMAND_S)
        try:
            with line.makefile("rb") as reader:
                command = json.loads(reader.readline())
        except (OSError, ValueError):
            return True
        if command["do"] == "quit":
            return False
        try:
            answer = getattr(self, f"do_{command.pop('do')}")(**command)
        except OSError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        self.answer(line, answer)
        return True

    @staticmethod
    def answer(line: socket.socket, what: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # who asked does not wait any more
            line.sendall(json.dumps(what).encode() + b"\n")

    def look(self, for_s: float) -> None:
        """Wait a moment; raise Gone when there is nobody to wait for."""
        if self.life.poll(for_s * 1000):
            raise Gone
        try:
            os.kill(self.served, 0)
        except ProcessLookupError:
            raise Gone from None

    # --- commands ---------------------------------------------------------------------------------------------------

    def do_port(self) -> dict[str, Any]:
        """A free port of the loopback interface, kept for the server."""
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        if LINUX:
            self.ports.append(held)
        else:
            held.close()
        return {"port": port}

    def do_start(self, farewell: int, **how: Any) -> dict[str, Any]:
        self.farewell = farewell
        self.server = self.spawn(**how)
        return {"pid": self.server.pid}

    def do_call(self, timeout_s: float, **how: Any) -> dict[str, Any]:
        """Run something to its end: its exit code, or None when it took too long and was killed."""
        end_s = time.monotonic() + timeout_s
        process = self.spawn(**how)
        try:
            while process.poll() is None and time.monotonic() < end_s:
                self.look(LOOK_S)
        finally:
            code = process.poll()
            self.kill_all()
            process.wait()
        return {"code": code}

    def do_poll(self) -> dict[str, Any]:
        server = self.server
        return {"running": server is not None and server.poll() is None, "pid": 0 if server is None else server.pid}

    def do_pause(self) -> dict[str, Any]:
        stopped = self.signal_all(signal.SIGSTOP)
        # A thread that runs on another processor goes on until it looks: long enough to answer a request.
        end_s = time.monotonic() + REAP_S
        while not all(stands(pid) for pid in stopped) and time.monotonic() < end_s:
            time.sleep(LOOK_S)
        return {}

    def do_resume(self) -> dict[str, Any]:
        self.signal_all(signal.SIGCONT)
        return {}

    def do_kill(self) -> dict[str, Any]:
        self.kill_all()
        return {}

    def do_end(self, timeout_s: float) -> dict[str, Any]:
        return {"in_time": self.end(self.farewell, timeout_s)}

    # --- processes --------------------------------------------------------------------------------------------------

    def spawn(
        self, argv: list[str], env: dict[str, str], user: int | None, group: int | None
    ) -> subprocess.Popen[bytes]:
        drop: dict[str, Any] = {} if user is None else {"user": user, "group": group, "extra_groups": []}
        with open(os.path.join(self.folder, "log"), "ab") as log:
            return subprocess.Popen(
                argv, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **drop,
            )  # fmt: skip

    def end(self, how: int, timeout_s: float) -> bool:
        """Ask the server to end; kill what has not by then. Whether it ended in time."""
        server, in_time = self.server, True
        if server is not None and server.poll() is None:
            self.signal_all(signal.SIGCONT)
            server.send_signal(how)
            try:
                server.wait(timeout_s)
            except subprocess.TimeoutExpired:
                in_time = False
        self.kill_all()
        return in_time

    def signal_all(self, number: int) -> set[int]:
        """Signal the server and all of its descendants, until there is none that was not. Their ids."""
        done: set[int] = set()
        while new := descendants(os.getpid()) - done:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            done |= new
        return done

    def kill_all(self) -> None:
        """As when the machine loses power: stopped first, so that no part of the server sees another part die."""
        for pid in self.signal_all(signal.SIGSTOP):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end_s = time.monotonic() + REAP_S
        while time.monotonic() < end_s:
            if self.server is not None:
                self.server.poll()
            left = descendants(os.getpid())
            for pid in left:
                if self.server is None or pid != self.server.pid:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)
            if not left:
                break
            time.sleep(LOOK_S)
        self.server = None


def stands(pid: int) -> bool:
    """Whether all threads of a process have stopped, or ended."""
    if not LINUX:
        import psutil

        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat", encoding="utf-8", errors="replace") as status:
                # The state follows the name, which stands in parentheses and may contain any.
                if status.read().rpartition(")")[2].split()[0] not in "TtZXx":
                    return False
    except OSError:  # gone meanwhile
        pass
    return True


def descendants(root: int) -> set[int]:
    """The ids of all processes below one."""
    if not os.path.exists(f"/proc/{root}/task/{root}/children"):
        import psutil  # which reads the whole process table for this

        return {child.pid for child in psutil.Process(root).children(recursive=True)}
    found: set[int] = set()
    parents = [root]
    while parents:
        parent = parents.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{parent}/task/{task}/children", "rb") as children:
                    new = {int(pid) for pid in children.read().split()} - found
                    found |= new
                    parents += new
    return found


def main() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.umask(0o077)
    keeping = Keeping(int(sys.argv[1]), sys.argv[2])

    def told_to_end(*_: object) -> None:
        raise Gone

    signal.signal(signal.SIGTERM, told_to_end)
    print(json.dumps({"pid": os.getpid(), "folder": keeping.folder}), flush=True)
    # Who reads the line above waits for the end of it.
    with open(os.devnull, "r+b", buffering=0) as nowhere:
        for standard in (0, 1, 2):
            os.dup2(nowhere.fileno(), standard)
    keeping.serve()


if __name__ == "__main__":
    main()

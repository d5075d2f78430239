"""A server for tests: what all of them can do, and what each has to say about itself."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

__all__ = ["BUILT", "HOST", "Place", "Service", "ServiceError", "ServiceMissing", "find_program"]

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent.parent
# What had to be fetched or compiled, kept from one run to the next.
BUILT = ROOT / ".services"
KEEPER = Path(__file__).with_name("_keeper.py")

# Seconds. A server that has not answered by then, on however busy a machine, is broken.
START_S = 60.0
STOP_S = 30.0
# Seconds between two questions whether a server is ready yet.
ASK_EVERY_S = 0.01
# Seconds for the answer to a question: little at first, because some servers never answer one that came while they were
# starting, and twice as long after each that was not, because the machine may be busy.
ANSWER_S = 0.1
LONGEST_ANSWER_S = 5.0
# Seconds for the keeper to do what takes a moment only.
KEEPER_S = 20.0
# Bytes of a path, to which a folder's name and a socket's are added.
LONGEST_BASE = 70
# Lines of a server's log that an error shows.
SHOWN_LINES = 25


class ServiceMissing(Exception):
    """The server is not installed here. The message says what is missing and what would bring it."""


class ServiceError(Exception):
    """The server is there and did not do what it should. The message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a client goes: a server, and in it a database (or number, or path, or prefix) that is one test's own."""

    scheme: str
    host: str
    port: int
    # What precedes an at sign in the URL; every server lets it in without a password.
    user: str = ""
    # The name of the database. Redis has numbers, ZooKeeper a path and etcd a prefix for keys (without the outer slashes).
    name: str = ""

    @property
    def url(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{self.host}:{self.port}/{quote(self.name)}"

    def by_way_of(self, port: int) -> Place:
        """The same place, reached through another port: a proxy's."""
        return replace(self, port=port)


class Service(ABC):
    """One server on a free port of the loopback interface, with its data in a temporary folder.

    ``start`` raises ``ServiceMissing`` where the server is not installed. All methods return when what they say is so:
    ``start``, ``resume`` and ``restart`` when the server answers. ``stop`` may be called at any time, and twice.
    """

    name: ClassVar[str]
    scheme: ClassVar[str]
    user: ClassVar[str] = ""
    # What Debian calls it: the packages that bring the server.
    debian: ClassVar[tuple[str, ...]]
    # The signal that asks it to end soon and in good order.
    farewell: ClassVar[signal.Signals] = signal.SIGTERM
    # How many ports it needs. The first is for clients.
    port_count: ClassVar[int] = 1
    # Whether it refuses to run as root.
    never_as_root: ClassVar[bool] = False

    def __init__(self) -> None:
        self._keeper: _Keeper | None = None
        self._ports: list[int] = []
        self._account = _unprivileged() if self.never_as_root else None
        self._lock = threading.Lock()
        self._given = 0
        # Seconds that ``ask`` waits for an answer.
        self.answer_s = ANSWER_S
        # Seconds that the last start took, of which so many to make the data folder.
        self.started_in_s = 0.0
        self.prepared_in_s = 0.0

    # --- what each server says about itself -------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What of the server is not installed here and what would bring it; None when nothing is."""

    def prepare(self) -> None:  # noqa: B027  most need nothing
        """Make the data folder, once."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs the server in the foreground."""

    @abstractmethod
    def ask(self) -> bool:
        """Whether the server says that it is ready for work. OSError and ValueError mean "not yet" as well."""

    @abstractmethod
    def make_name(self, number: int) -> str:
        """Make a database, or what stands for one, that is empty and nobody else's."""

    def tidy(self) -> None:  # noqa: B027  one has something
        """Give back what the server holds outside of its processes and its folder, when it cannot do so itself."""

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it for the first time, or again after ``kill``; nothing if it runs."""
        if self.running:
            return
        if reason := self.missing():
            raise ServiceMissing(f"{self.name}: {reason}")
        begun_s = time.monotonic()
        if self._keeper is None:
            self._keeper = _Keeper()
            try:
                for _ in range(self.port_count):
                    self._ports.append(self._keeper.number("port", "port"))
                self.prepare()
            except BaseException:
                self.stop()
                raise
        self.prepared_in_s = time.monotonic() - begun_s
        self._keeper.tell("start", farewell=int(self.farewell), **self._how(self.command()))
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self.started_in_s = time.monotonic() - begun_s

    def stop(self) -> None:
        """End it and remove its data."""
        keeper = self._keeper
        if keeper is None:
            return
        try:
            with contextlib.suppress(ServiceError):
                keeper.tell("end", STOP_S + KEEPER_S, timeout_s=STOP_S)
                self.tidy()
        finally:
            self._keeper = None
            keeper.close()
            self._ports.clear()

    def kill(self) -> None:
        """SIGKILL to all of its processes at once. Its port refuses connections until ``start``; its data are kept."""
        self._kept().tell("kill")

    def pause(self) -> None:
        """SIGSTOP to all of its processes: it accepts connections, because the kernel does, and answers nothing."""
        self._kept().tell("pause")

    def resume(self) -> None:
        """End ``pause``."""
        self._kept().tell("resume")
        self.wait_until_ready()

    def restart(self) -> None:
        """Stop it in good order and start it again, with the same port and data."""
        if not self._kept().flag("end", "in_time", STOP_S + KEEPER_S, timeout_s=STOP_S):
            raise ServiceError(f"{self.name} did not stop within {STOP_S:g} s\n{self.log_end()}")
        self.start()

    def recover(self) -> None:
        """Bring it back from whatever was done to it: paused, killed or neither."""
        self._kept()
        if self.running:
            self.resume()
        else:
            self.start()

    @property
    def running(self) -> bool:
        """Whether its main process lives; a paused one does."""
        keeper = self._keeper
        return keeper is not None and keeper.flag("poll", "running")

    def wait_until_ready(self, timeout_s: float = START_S) -> None:
        end_s = time.monotonic() + timeout_s
        last: Exception | None = None
        self.answer_s = ANSWER_S
        while time.monotonic() < end_s:
            try:
                if self.ask():
                    return
            except TimeoutError as error:
                last = error
                self.answer_s = min(2 * self.answer_s, LONGEST_ANSWER_S)
            except (OSError, ValueError) as error:
                last = error
            if not self.running:
                raise ServiceError(f"{self.name} ended while it was started\n{self.log_end()}")
            time.sleep(ASK_EVERY_S)
        raise ServiceError(f"{self.name} did not answer within {timeout_s:g} s ({last!r})\n{self.log_end()}")

    # --- where it is ------------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        return HOST

    @property
    def port(self) -> int:
        self._kept()
        return self._ports[0]

    @property
    def url(self) -> str:
        return self.place().url

    def place(self, name: str = "") -> Place:
        return Place(scheme=self.scheme, user=self.user, host=self.host, port=self.port, name=name)

    def fresh(self) -> Place:
        """A database of one's own, empty. What an earlier test did to the server is undone first."""
        self.recover()
        with self._lock:
            self._given += 1
            number = self._given
        return self.place(self.make_name(number))

    @property
    def pid(self) -> int:
        """Of its main process."""
        return self._kept().number("poll", "pid")

    def log_end(self) -> str:
        try:
            lines = Path(self._kept().folder, "log").read_text(encoding="utf-8", errors="replace").splitlines()
        except (OSError, ServiceError):
            return "(no log)"
        return "\n".join(lines[-SHOWN_LINES:])

    # --- for the servers --------------------------------------------------------------------------------------------

    def exchange(self, request: bytes, enough: int) -> bytes:
        """Send something to the server and return what it says to that: so many bytes, fewer only if it closes."""
        with socket.create_connection((HOST, self.port), self.answer_s) as connection:
            connection.sendall(request)
            answer = b""
            while len(answer) < enough and (chunk := connection.recv(1 << 16)):
                answer += chunk
            return answer

    def _kept(self) -> _Keeper:
        if self._keeper is None:
            raise ServiceError(f"{self.name} was not started")
        return self._keeper

    def _folder(self, name: str) -> str:
        """A folder that belongs to whom the server runs as, made when it is not there."""
        path = Path(self._kept().folder, name)
        if not path.exists():
            path.mkdir(mode=0o700)
            if self._account is not None:
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        return str(path)

    def _run(self, command: Sequence[str], timeout_s: float = START_S) -> None:
        """Run a command to its end, as whom the server runs."""
        keeper = self._kept()
        code = keeper.tell("call", timeout_s + KEEPER_S, timeout_s=timeout_s, **self._how(command))["code"]
        if code != 0:
            what = f"exit code {code}" if code is not None else f"not done after {timeout_s:g} s"
            raise ServiceError(f"{self.name}: {' '.join(command)}: {what}\n{self.log_end()}")

    def _how(self, command: Sequence[str]) -> dict[str, object]:
        account = self._account
        # Nothing of what the developer's environment sets for a server or a client is meant for this one.
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "HOME": self._kept().folder,
        }
        env.update({name: value for name in ("JAVA_HOME", "SYSTEMROOT") if (value := os.environ.get(name))})
        return {
            "argv": list(command),
            "env": env,
            "user": None if account is None else account.pw_uid,
            "group": None if account is None else account.pw_gid,
        }


class _Keeper:
    """The process that runs ``_keeper.py`` for one server, seen from here. It is talked to, and holds nothing open here."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", str(KEEPER), str(os.getpid()), _base()]
        # Its first process ends at once, and has left the one that goes on to the system.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=KEEPER_S, check=False)
        if done.returncode or not done.stdout:
            raise ServiceError(
                f"the process that keeps the server did not start\n{done.stderr.decode(errors='replace')}"
            )
        self.folder = str(json.loads(done.stdout)["folder"])

    def tell(self, do: str, within_s: float = KEEPER_S, /, **arguments: object) -> Mapping[str, object]:
        try:
            with socket.socket(socket.AF_UNIX) as line, line.makefile("rb") as answers:
                line.settimeout(within_s)
                line.connect(os.path.join(self.folder, "line"))
                line.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
                said = answers.readline()
        except OSError as error:
            raise ServiceError(f"the process that keeps the server did not do {do!r}: {error!r}") from error
        if not said:
            raise ServiceError(f"the process that keeps the server ended instead of doing {do!r}")
        answer = json.loads(said)
        assert isinstance(answer, dict)
        if "error" in answer:
            raise ServiceError(str(answer["error"]))
        return answer

    def number(self, do: str, what: str) -> int:
        value = self.tell(do)[what]
        assert isinstance(value, int), value
        return value

    def flag(self, do: str, what: str, within_s: float = KEEPER_S, **arguments: object) -> bool:
        return self.tell(do, within_s, **arguments)[what] is True

    def close(self) -> None:
        """End the server, however it is, and wait until all is gone."""
        with contextlib.suppress(ServiceError):
            self.tell("quit", STOP_S)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom a server runs as that refuses to be root; None when this process is not."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _base() -> str:
    """The folder for servers' folders: the one for temporary files, unless it does not do.

    A socket's path is limited to about a hundred bytes. And for root, another user must be able to pass through, which a
    test's own folder does not allow.
    """
    own = tempfile.gettempdir()
    for candidate in (own, "/tmp", "/var/tmp"):
        path = Path(candidate).resolve()
        with contextlib.suppress(OSError):
            open_to_all = all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))
            if len(os.fsencode(path)) <= LONGEST_BASE and (open_to_all or os.geteuid() != 0):
                return str(path)
    return own


def find_program(*names: str, folders: Sequence[Path] = ()) -> str | None:
    """The first of these programs that is there: in these folders, on PATH, or where servers are that users do not call."""
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)

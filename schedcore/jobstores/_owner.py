"""Who has a job store open, where a server keeps that: a name with a lease, which a thread renews.

One scheduler uses such a store at a time. A second one is refused, with the name of the first. A scheduler that was killed
lets go of it when its lease is over; at once, if it ran on this machine and its process is gone. One that was paused for longer
finds somebody else's name, and every write of it is refused by the server, which compares the names.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from schedcore.errors import JobStoreInUseError

__all__ = ["LEASE_S", "TAKING_TURNS", "Owner", "OwnNames", "Renewal", "describe_owner", "in_use", "is_gone"]

#: Seconds that a name holds without being renewed.
LEASE_S = 30.0

#: What whoever runs a web server's workers wants to know when all but one of them are refused.
TAKING_TURNS = 'Several processes can take turns: see "Prefork servers" in the documentation (docs/prefork.md)'

_logger = logging.getLogger("schedcore.jobstores")


class Owner:
    """The name under which a scheduler has a store open: ``text``, which nobody else has."""

    def __init__(self) -> None:
        self.text = json.dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "counted": _counted(),
                "since": datetime.now(UTC).isoformat(" ", "seconds"),
                "token": uuid4().hex,
            }
        )


class OwnNames:
    """The names under which a store object has taken its store, or tried to: whether it has may remain unknown.

    They are its own also in a later opening, or a start that was not answered would keep the next one off until its lease ends.
    In a forked child they are those of its parent, which may have the store open.
    """

    def __init__(self) -> None:
        self._names: set[str | bytes] = set()
        self._pid = os.getpid()

    def __contains__(self, name: object) -> bool:
        return self._pid == os.getpid() and name in self._names

    def add(self, name: str | bytes) -> None:
        """To be called before it is written."""
        if self._pid != os.getpid():
            self._names, self._pid = set(), os.getpid()
        self._names.add(name)

    def keep(self, name: str | bytes) -> None:
        """Forget all others: this one is in the store, where none of them can come any more."""
        self._names = {name}


def _counted() -> list[str]:
    """Whose numbers processes have here: each boot of a machine, and each container on it, counts its own, and several may call
    themselves the same.
    """
    found: list[str] = []
    with suppress(OSError):
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        found.append(os.readlink("/proc/self/ns/pid"))
    return found


def _data(text: str | bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if type(data) is dict else {}


def describe_owner(text: str | bytes) -> str:
    """An owner's name in words."""
    data = _data(text)
    return f"process {data.get('pid', '?')} on {data.get('host', '?')}, since {data.get('since', '?')}"


def in_use(jobs: str, holder: str | bytes, own: str, ends: str) -> JobStoreInUseError:
    """Another scheduler has a store open. ``jobs``: which; ``own``: what this one can have; ``ends``: what ends by itself."""
    return JobStoreInUseError(
        f"the jobs {jobs} are in use by another scheduler ({describe_owner(holder)}); stop that one, or give this one {own} "
        f"of its own. If it was killed, its {ends}. {TAKING_TURNS}"
    )


def is_gone(text: str | bytes) -> bool:
    """Whether an owner was a process of this machine that is no more."""
    data = _data(text)
    pid = data.get("pid")
    if os.name != "posix":  # elsewhere the signal 0 is one that is sent
        return False
    if (data.get("host"), data.get("counted")) != (socket.gethostname(), _counted()):
        return False
    if type(pid) is not int or pid <= 0 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


class Renewal:
    """A thread that calls ``renew`` three times in each lease, until ``stop``. What that raises is logged, and tried again."""

    def __init__(self, renew: Callable[[], object], alias: str) -> None:
        self._renew = renew
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"schedcore-{alias}-lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(LEASE_S / 3):
            try:
                self._renew()
            except Exception as error:  # noqa: BLE001  # the server is away; who writes next is told
                _logger.warning("the lease on a job store could not be renewed: %s", error)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

"""Programs of ``examples/`` as their users start them: in a process of their own, on a free port of the loopback interface."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Seconds. Bounds whatever is waited for.
PATIENCE_S = 60.0


class Program:
    """A program that runs, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""
        self._told = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._told:
                self.said += line
                self._told.notify_all()
        with self._told:
            self._told.notify_all()

    def wait_for(self, pattern: str, times: int = 1) -> list[str]:
        """What the pattern (its group, if it has one) found in what the program said, waited for."""
        with self._told:
            came = self._told.wait_for(lambda: len(re.findall(pattern, self.said)) >= times, PATIENCE_S)
        assert came, f"{pattern!r} is not among what it said:\n{self.said}"
        return re.findall(pattern, self.said)

    def stop(self, signum: int = signal.SIGTERM) -> str:
        """Ask it to end, wait for its end, and for that to be in order; returns all that it said."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert code in (0, -signum), f"exit code {code}\n{self.said}"
        assert "Traceback" not in self.said, self.said
        return self.said

    def kill(self) -> None:
        """Whatever it does: it is gone afterwards, with all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Programs:
    """Starts programs; whatever of them still runs at the end of the test is killed."""

    def __init__(self) -> None:
        self._started: list[Program] = []

    def start(self, folder: str, *arguments: str, **variables: str) -> Program:
        """``python arguments…`` in a folder of the examples, with these environment variables."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=EXAMPLES / folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        program = Program(process)
        self._started.append(program)
        return program

    def kill(self) -> None:
        for program in self._started:
            program.kill()


class Browser:
    """Asks a server as a browser does: with cookies, and following where it is sent."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))

    def ask(self, path: str = "/", method: str = "GET", **fields: str) -> str:
        """The page that comes; with ``fields``, a form is sent."""
        data = urlencode(fields).encode() if fields else None
        request = Request(self._address + path, data, method="POST" if fields else method)
        with self._opener.open(request, timeout=PATIENCE_S) as answer:
            page: str = answer.read().decode()
            return page


@pytest.fixture
def programs() -> Iterator[Programs]:
    made = Programs()
    yield made
    made.kill()


@pytest.fixture
def browse() -> type[Browser]:
    return Browser

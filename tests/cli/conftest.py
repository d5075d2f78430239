"""The command in processes of its own, and waiting for what they do: with deadlines, never for a fixed time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from schedcore.cli.app import app

# Seconds. Everything that is waited for here takes well under one, on a machine that has nothing else to do.
DEADLINE_S = 60.0
POLL_S = 0.02

T = TypeVar("T")

FUNCTIONS = '''
import os
import time
from pathlib import Path

HERE = Path(__file__).parent


def quick():
    return "done"


def fails():
    raise ValueError("the cheese was moved")


def until_told():
    """Runs until there is a file ``go``, 20 s at most."""
    HERE.joinpath("begun").touch()
    for _ in range(1000):
        if HERE.joinpath("go").exists():
            return "told"
        time.sleep(0.02)
    raise TimeoutError


def process_id():
    return os.getpid()
'''


def heed_signals() -> None:
    """In a child that is about to become the command: undo what a shell (in the background) or nohup made it ignore."""
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


class World:
    """A folder with a schedule and the functions that it names, and the command to run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "jobs.toml"
        self.log = folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []
        folder.joinpath("functions.py").write_text(FUNCTIONS, encoding="utf-8")

    def write(self, *jobs: str, head: str = "") -> Path:
        """A schedule of ``[[jobs]]``, each given as the lines of its table."""
        self.file.write_text(head + "".join(f"[[jobs]]\n{job}\n\n" for job in jobs), encoding="utf-8")
        return self.file

    @staticmethod
    def command(*arguments: str | Path) -> list[str]:
        """``schedcore`` as a user calls it."""
        return [sys.executable, "-P", "-m", "schedcore", *map(str, arguments)]

    @staticmethod
    def environment() -> dict[str, str]:
        """Without what would change how a terminal is treated."""
        unwanted = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")
        return {**{key: value for key, value in os.environ.items() if key not in unwanted}, "PYTHONWARNINGS": "error"}

    def ask(self, *arguments: str | Path, code: int = 0) -> str:
        """Run the command to its end: its standard output, or its standard error where it is to fail."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    @staticmethod
    def invoke(*arguments: str | Path, code: int = 0) -> Result:
        """Run the command in this process, which is another one than those that are started: it saves them half a second."""
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, f"exit code {result.exit_code}\n{result.output}"
        return result

    def runs(self, *arguments: str) -> list[dict[str, Any]]:
        """What ``schedcore runs --json`` says, latest first."""
        found: list[dict[str, Any]] = json.loads(self.invoke("runs", self.file, "--json", *arguments).stdout)
        return found

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What ``schedcore jobs --json`` says, by id."""
        return {job["id"]: job for job in json.loads(self.invoke("jobs", self.file, "--json").stdout)}

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """``schedcore run`` of the schedule without a terminal, started; its output goes to ``log``."""
        self.log.write_bytes(b"")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command("run", self.file, *arguments),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=heed_signals if os.name == "posix" else None,
            )
        self.processes.append(process)
        self.until(lambda: "info  running " in self.text() or process.poll() is not None, "the start")
        assert process.poll() is None or "running " in self.text(), self.text()
        return process

    def text(self) -> str:
        """What the last ``start`` has printed so far."""
        return self.log.read_text(encoding="utf-8")

    def until(self, condition: Callable[[], T], what: str) -> T:
        """Wait until ``condition()`` is true; its value."""
        end_s = time.monotonic() + DEADLINE_S
        while not (found := condition()):
            said = self.text() if self.log.exists() else ""
            assert time.monotonic() < end_s, f"waited {DEADLINE_S:g} s for {what}\n{said}"
            time.sleep(POLL_S)
        return found

    def until_said(self, *texts: str) -> None:
        """Wait until the last ``start`` has printed all of this."""
        for text in texts:
            self.until(lambda text=text: text in self.text(), repr(text))  # type: ignore[misc]

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for its end; its exit code."""
        return process.wait(DEADLINE_S)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(DEADLINE_S)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A schedule's folder; what was started there is killed at the end."""
    made = World(tmp_path)
    yield made
    made.close()

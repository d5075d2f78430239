"""Standard streams that are closed, full, or of an encoding that lacks letters, and arguments likewise: the command does its work
all the same, or says why not.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import World

NAMED = 'id = "größe ☃"\ncommand = "echo ☃; touch ran"\ncron = "@reboot"'

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


def start(world: World, *arguments: str | Path, redirect: str = "", **variables: str) -> subprocess.Popen[bytes]:
    """The command behind a shell that redirects its streams."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *world.command(*arguments)],
        cwd=world.folder,
        env={**world.environment(), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    world.processes.append(process)
    return process


def end(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Its exit code, and what it has printed, once it has ended."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out.decode(), err.decode()


def ask(world: World, *arguments: str | Path, redirect: str = "", **variables: str) -> tuple[int, str, str]:
    """Its exit code, and what it prints."""
    return end(start(world, *arguments, redirect=redirect, **variables))


def run_once(world: World, redirect: str = "", **variables: str) -> tuple[int, str, str]:
    """The same for a schedule that is ended once its job has run."""
    process = start(world, "run", world.file, redirect=redirect, **variables)
    world.until(world.folder.joinpath("ran").exists, "the run")
    process.send_signal(signal.SIGTERM)
    return end(process)


class TestClosed:
    @pytest.mark.parametrize("redirect", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
    def test_a_schedule_runs_and_nothing_is_printed_into_its_store(self, world: World, redirect: str) -> None:
        world.write(NAMED)
        assert run_once(world, redirect) == (0, "", "")
        (record,) = world.runs()
        assert (record["state"], record["output"]) == ("succeeded", "☃\n")

    @pytest.mark.parametrize("command", ["jobs", "runs"])
    def test_what_nobody_reads_is_no_error(self, world: World, command: str) -> None:
        world.write(NAMED)
        world.ask("run", world.file, "--for", "0")
        assert ask(world, command, world.file, redirect=">&-") == (0, "", "")


class TestFull:
    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
    @pytest.mark.parametrize("option", ["--help", "--version"])
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_it_is_said_in_one_line(self, world: World, option: str, unbuffered: str) -> None:
        said = ask(world, option, redirect="> /dev/full", PYTHONUNBUFFERED=unbuffered)
        assert said == (1, "", "schedcore: cannot write to standard output: No space left on device\n")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
    @pytest.mark.parametrize("command", [("jobs",), ("runs", "--json"), ("explain", "@daily"), ("next", "@daily")])
    def test_that_a_report_cannot_be_written_is_no_surprise(self, world: World, command: tuple[str, ...]) -> None:
        world.write(NAMED)
        world.ask("run", world.file, "--for", "0")
        asked = [] if "@daily" in command else [world.file]
        said = ask(world, *command, *asked, redirect="> /dev/full")
        assert said == (1, "", "schedcore: cannot write to standard output: No space left on device\n")


class TestEncoding:
    def test_no_line_is_lost_for_a_letter(self, world: World) -> None:
        world.write(NAMED)
        code, out, _ = run_once(world, PYTHONIOENCODING="ascii")
        assert code == 0
        assert r"gr\xf6\xdfe \u2603: started" in out
        assert r"gr\xf6\xdfe \u2603: finished with exit code 0" in out
        assert r"gr\xf6\xdfe \u2603  ok" in ask(world, "runs", world.file, PYTHONIOENCODING="ascii")[1]

    @pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
    def test_json_is_json(self, world: World, encoding: str) -> None:
        world.write(NAMED)
        world.ask("run", world.file, "--for", "0")
        code, out, _ = ask(world, "jobs", world.file, "--json", PYTHONIOENCODING=encoding)
        assert code == 0
        assert [job["id"] for job in json.loads(out)] == ["größe ☃"]


class TestArguments:
    """What a locale has no letters for: with ``LC_ALL=C`` and no UTF-8 mode all that is no ASCII."""

    ASCII: ClassVar[dict[str, str]] = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8"}

    def test_ids_are_utf_8_whatever_the_locale(self, world: World) -> None:
        world.write(NAMED)
        run_once(world)
        code, out, err = ask(world, "runs", world.file, "--job", "größe ☃", "--json", **self.ASCII)
        assert (code, err) == (0, "")
        assert {run["job"] for run in json.loads(out)} == {"größe ☃"}
        assert "there is no job 'grün'" in ask(world, "runs", world.file, "--job", "grün", **self.ASCII)[2]
        seeded = [ask(world, "next", "H H * * *", "--seed", "größe", **more)[1] for more in ({}, self.ASCII)]
        assert seeded[0] == seeded[1] != ""

    @pytest.mark.parametrize("variables", [{}, ASCII], ids=["utf-8", "ascii"])
    @pytest.mark.parametrize(
        "arguments",
        [("runs", "--job", "gr\udcf6"), ("next", "gr\udcf6"), ("next", "@daily", "--seed", "gr\udcf6"),
         ("next", "@daily", "--timezone", "gr\udcf6"), ("explain", "@daily", "--at", "gr\udcf6")],
    )  # fmt: skip
    def test_bytes_that_are_no_text_are_refused_by_name(
        self, world: World, arguments: tuple[str, ...], variables: dict[str, str]
    ) -> None:
        code, out, err = ask(world, *arguments, **variables)
        assert (code, out) == (2, "")
        name = arguments[-2] if arguments[-2].startswith("--") else "SCHEDULE"
        assert re.search(rf"Invalid value for '?{name}\b.*: byte 0xf6 in 'gr\\\\xf6' is not UTF-8", err), err

    @pytest.mark.parametrize(
        "command", [("run", "größe.toml"), ("jobs", "größe.toml"), ("runs", "--store", "größe.sqlite")]
    )
    def test_names_of_files_that_cannot_be_used_are_refused(self, world: World, command: tuple[str, ...]) -> None:
        world.folder.joinpath("größe.toml").write_text(f"[[jobs]]\n{NAMED}\n", encoding="utf-8")
        code, out, err = ask(world, *command, **self.ASCII)
        assert (code, out) == (2, "")
        name = command[-2] if command[-2].startswith("--") else "FILE"
        assert re.search(rf"Invalid value for '?{name}\b", err), err
        assert f"{command[-1]!r} has letters that names of files cannot have here" in err
        assert "set LC_ALL=C.UTF-8 or PYTHONUTF8=1" in err

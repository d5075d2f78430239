"""``schedcore run`` as a process: its start, its signals, its restart, and being looked at meanwhile."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import World

pytestmark = pytest.mark.slow

QUICK = 'id = "quick"\nfunc = "functions:quick"\ninterval = { seconds = 0.2 }'
DAILY = 'id = "daily"\nfunc = "functions:quick"\ninterval = { days = 1 }'
TOLD = 'id = "told"\nfunc = "functions:until_told"\ncron = "@reboot"'


class TestCourse:
    def test_for_ends_by_itself(self, world: World) -> None:
        world.write(QUICK)
        process = world.start("--for", "0.7")
        assert world.end(process) == 0
        lines = world.text().splitlines()
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d info  running 1 job of jobs\.toml; store: jobs\.sqlite",
            lines[0],
        )
        assert lines[1].endswith("quick: started")
        assert re.search(r"info  quick: finished \((<|\d+) .*s\)$", lines[2])
        assert re.search(r"info  stopped; [234] runs$", lines[-1])

    @pytest.mark.parametrize("seconds", ["1e11", "inf"])
    def test_for_may_be_longer_than_the_system_can_wait(self, world: World, seconds: str) -> None:
        world.write(QUICK)
        process = world.start("--for", seconds)
        world.until_said("quick: finished")
        process.send_signal(signal.SIGTERM)
        assert world.end(process) == 0

    def test_every_outcome_has_its_line(self, world: World) -> None:
        world.write(
            'id = "fails"\nfunc = "functions:fails"\ncron = "@reboot"',
            'id = "fine"\ncommand = ["printf", "fine"]\ncron = "@reboot"',
            'id = "wrong"\ncommand = "echo first; echo second; exit 3"\ncron = "@reboot"',
            'id = "slow"\nfunc = "functions:until_told"\ninterval = { seconds = 0.3 }',
        )
        process = world.start()
        world.until_said(
            "error fails: failed: ValueError: the cheese was moved (",
            "error fails: | in fails, functions.py:",
            "info  fine: finished with exit code 0 (",
            "error wrong: failed with exit code 3 (",
            "error wrong: | first",
            "error wrong: | second",
            "warn  slow: skipped the run of ",
            "the run before was still going (max_instances)",
        )
        world.folder.joinpath("go").touch()
        process.send_signal(signal.SIGTERM)
        assert world.end(process) == 0

    def test_a_job_runs_in_a_child_process(self, world: World) -> None:
        world.write(
            'id = "child"\nfunc = "functions:process_id"\nexecutor = "cpu"\ncron = "@reboot"',
            head='[executors.cpu]\ntype = "processpool"\nmax_workers = 1\n\n',
        )
        process = world.start()
        world.until_said("child: finished")
        (run,) = world.runs("--job", "child")
        assert run["result"].isdigit()
        assert int(run["result"]) != process.pid
        process.send_signal(signal.SIGINT)
        assert world.end(process) == 0

    def test_log_level(self, world: World) -> None:
        world.write(QUICK, 'id = "fails"\nfunc = "functions:fails"\ncron = "@reboot"')
        process = subprocess.run(
            world.command("run", world.file, "--for", "0.5", "--log-level", "error"),
            capture_output=True,
            text=True,
            timeout=150,
            check=True,
        )
        assert "fails: failed" in process.stdout
        assert " info " not in process.stdout

    def test_a_reader_that_goes_away_does_not_stop_it(self, world: World) -> None:
        world.write(QUICK)
        process = subprocess.Popen(
            world.command("run", world.file), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=world.environment()
        )
        world.processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        count = len(world.runs())
        world.until(lambda: len(world.runs()) > count + 1, "runs that nobody reads of")
        process.send_signal(signal.SIGTERM)
        assert world.end(process) == 0


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_what_runs_may_finish(self, world: World, number: int) -> None:
        world.write(TOLD, QUICK)
        process = world.start()
        world.until_said("told: started", "quick: finished")
        process.send_signal(number)
        world.until_said("stopping; waiting for told (")
        assert process.poll() is None
        fired = world.text().count("quick: started")
        world.folder.joinpath("go").touch()
        assert world.end(process) == 0
        assert "told: finished" in world.text()
        assert world.text().count("quick: started") == fired
        assert world.runs("--job", "told")[0]["state"] == "succeeded"

    def test_the_second_signal_ends_commands(self, world: World) -> None:
        world.write('id = "long"\ncommand = "echo begun; sleep 60"\ncron = "@reboot"')
        process = world.start()
        world.until_said("long: started")
        process.send_signal(signal.SIGINT)
        world.until_said("waiting for long (")
        process.send_signal(signal.SIGINT)
        assert world.end(process) == 130
        assert "long: was killed by SIGTERM" in world.text()
        (run,) = world.runs()
        assert (run["state"], run["exit_code"], run["output"]) == ("failed", -signal.SIGTERM, "begun\n")

    def test_the_third_signal_leaves_no_command_behind(self, world: World) -> None:
        world.write(
            'id = "deaf"\ncommand = "trap \'\' TERM; mkfifo held; exec 3<>held; touch begun; cat <&3"\ncron = "@reboot"'
        )
        process = world.start()
        world.until(world.folder.joinpath("begun").exists, "the command")
        # There is a reader for as long as anything of it lives.
        held = world.folder / "held"
        os.close(os.open(held, os.O_WRONLY | os.O_NONBLOCK))
        for said in ("waiting for deaf (", "ending now"):
            process.send_signal(signal.SIGINT)
            world.until_said(said)
        process.send_signal(signal.SIGINT)
        assert world.end(process) == 130

        def has_no_reader() -> bool:
            try:
                os.close(os.open(held, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:
                return error.errno == errno.ENXIO
            return False

        world.until(has_no_reader, "the end of the command")

    def test_two_signals_at_once_are_the_second_one_as_well(self, world: World) -> None:
        world.write('id = "long"\ncommand = "echo begun; sleep 60"\ncron = "@reboot"')
        process = world.start()
        world.until_said("long: started")
        # Both are there when it goes on, as they are when it was busy.
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            process.send_signal(number)
        assert world.end(process) == 130
        assert "long: was killed by SIGTERM" in world.text()

    def test_what_programs_send_together_is_one_signal(self, world: World) -> None:
        # systemd: both; timeout: SIGTERM twice; a terminal that is closed: SIGHUP twice.
        world.write(TOLD)
        process = world.start()
        world.until_said("told: started")
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
            process.send_signal(number)
        world.until_said("waiting for told (")
        world.folder.joinpath("go").touch()
        assert world.end(process) == 0
        assert "told: finished" in world.text()

    def test_the_second_signal_does_not_wait_for_functions(self, world: World) -> None:
        world.write(TOLD)
        process = world.start()
        world.until_said("told: started")
        process.send_signal(signal.SIGTERM)
        world.until_said("waiting for told (")
        process.send_signal(signal.SIGINT)
        assert world.end(process) == 130
        assert "ended with told (" in world.text()
        assert world.runs()[0]["state"] == "running"
        # The next start finds out, and runs it: once, because it is a job of each start.
        world.folder.joinpath("go").touch()
        world.write(DAILY, TOLD)
        process = world.start()
        world.until_said("was lost: the scheduler that had it died", "told: finished")
        process.send_signal(signal.SIGTERM)
        assert world.end(process) == 0
        assert world.text().count("told: started") == 1


class TestRestart:
    def test_next_runs_and_history_stay(self, world: World) -> None:
        world.write(DAILY, 'id = "once"\nfunc = "functions:quick"\ndate = 2020-01-01')
        process = world.start()
        world.until_said("once: finished")
        process.send_signal(signal.SIGTERM)
        assert world.end(process) == 0
        before = world.jobs()
        assert set(before) == {"daily"}

        process = world.start()
        world.until_said("once: its schedule is over; it is not added again")
        assert world.jobs()["daily"]["next_run"] == before["daily"]["next_run"]
        process.send_signal(signal.SIGTERM)
        assert world.end(process) == 0
        assert [run["job"] for run in world.runs()] == ["once"]

    def test_what_was_missed_while_it_was_killed_is_made_up_for(self, world: World) -> None:
        world.write(QUICK)
        process = world.start()
        world.until_said("quick: finished")
        process.kill()
        world.end(process)
        known = {run["id"] for run in world.runs()}
        # Down for three fire times at least.
        missed_s = time.monotonic() + 0.7
        world.until(lambda: time.monotonic() > missed_s, "fire times to pass")
        process = world.start()
        world.until_said("quick: finished")
        process.send_signal(signal.SIGTERM)
        assert world.end(process) == 0
        assert known <= {run["id"] for run in world.runs("--limit", "100")}
        # One run for the backlog, and a record of what it stands for.
        assert "coalesced" in {run["reason"] for run in world.runs("--limit", "100")}

    def test_jobs_that_left_the_file_are_removed(self, world: World) -> None:
        world.write(DAILY, QUICK)
        assert world.end(world.start("--for", "0")) == 0
        assert set(world.jobs()) == {"daily", "quick"}
        world.write(DAILY)
        assert world.end(world.start("--for", "0")) == 0
        assert "not in the file any more, and removed: quick" in world.text()
        assert set(world.jobs()) == {"daily"}


class TestTwo:
    def test_a_second_run_on_the_same_store_is_refused(self, world: World) -> None:
        world.write(DAILY)
        process = world.start()
        world.until(lambda: world.folder.joinpath("jobs.sqlite").exists(), "the store")
        message = world.ask("run", world.file, code=1)
        assert message.startswith("schedcore: the database '")
        assert f"is in use by another scheduler (process {process.pid} on " in message
        assert "stop that one first, or give this one a store of its own with --store PATH" in message
        assert message.count("\n") == 1
        process.send_signal(signal.SIGTERM)
        assert world.end(process) == 0

    def test_others_may_look_meanwhile(self, world: World) -> None:
        world.write(TOLD, DAILY)
        process = world.start()
        world.until_said("told: started")
        world.until(lambda: world.runs()[0]["state"] == "running", "the record")
        assert set(world.jobs()) == {"daily"}  # the other one has no next run any more
        text = world.ask("runs")
        assert text.splitlines()[0].split() == ["DUE", "JOB", "OUTCOME", "DETAIL"]
        assert re.search(r" told +running +for ", text)
        world.folder.joinpath("go").touch()
        process.send_signal(signal.SIGTERM)
        assert world.end(process) == 0


# --- on a terminal --------------------------------------------------------------------------------------------------

_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal with the command on it."""

    def __init__(self, world: World, columns: int, lines: int, *arguments: str | Path) -> None:
        import fcntl
        import struct
        import termios

        self.world = world
        self.main, other = os.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        os.set_blocking(self.main, False)

        def on_its_terminal() -> None:
            for number in (signal.SIGINT, signal.SIGHUP):  # which a shell may have ignored for us
                signal.signal(number, signal.SIG_DFL)
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.seen = b""
        self.process = subprocess.Popen(
            world.command("run", world.file, *arguments),
            cwd=world.folder,
            env={**world.environment(), "TERM": "xterm-256color"},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=on_its_terminal,
        )
        os.close(other)
        world.processes.append(self.process)

    def read(self) -> bytes:
        """All that came so far."""
        while True:
            try:
                data = os.read(self.main, 65536)
            except (BlockingIOError, OSError):  # EIO: the other end is closed
                return self.seen
            if not data:
                return self.seen
            self.seen += data

    def press(self, keys: bytes) -> None:
        os.write(self.main, keys)

    def frames(self) -> list[list[str]]:
        """What was drawn, each time from the top left corner."""
        drawn = self.read().split(b"\x1b[H")[1:]
        return [_ESCAPE.sub(b"", frame).decode("utf-8", "replace").split("\r\n") for frame in drawn]

    def frame_with(self, *texts: str) -> list[str]:
        """The first complete frame in which all of this stands."""
        return self.frame_matching(*map(re.escape, texts))

    def frame_matching(self, *patterns: str) -> list[str]:
        """The first complete frame of which each of these patterns is found in a line."""

        def look() -> list[str] | None:
            found = (
                frame
                for frame in self.frames()[:-1]
                if all(any(re.search(pattern, line) for line in frame) for pattern in patterns)
            )
            return next(found, None)

        frame: Any = self.world.until(look, f"a frame with {patterns}; there is {self.seen[-2000:]!r}")
        return [str(line) for line in frame]

    def close(self) -> None:
        os.close(self.main)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
class TestTerminal:
    JOBS = (
        'id = "quick"\nfunc = "functions:quick"\ninterval = { seconds = 1 }',
        'id = "told"\nfunc = "functions:until_told"\ncron = "@reboot"',
        'id = "fails"\nfunc = "functions:fails"\ncron = "@reboot"',
        'id = "far"\nfunc = "builtins:print"\nargs = ["x"]\ncron = "30 6 * * mon-fri"',
    )

    def test_the_table(self, world: World) -> None:
        world.write(*self.JOBS)
        terminal = Terminal(world, 120, 20)
        try:
            terminal.frame_with("just now")
            # That a job has no next run is shown when the scheduler is asked, which is some time after the run was told.
            frame = terminal.frame_matching(
                "ValueError", r"^fails +at each start +over +failed  ", r"^told +at each start +over +- +\d+(\.\d+)? s"
            )
            head = next(line for line in frame if line.startswith("Job"))
            assert head.split("  ")[0] == "Job"
            assert list(re.split(r"  +", head.strip())) == [
                "Job",
                "Schedule",
                "Next run",
                "Last run",
                "Running",
            ]
            text = "\n".join(frame)
            assert re.search(
                r"^far +at 06:30 on Monday to Friday +(\w{3} 06:30|06:30:00) +in \d+ \w+", text, re.MULTILINE
            )
            assert "fails  failed: ValueError: the cheese was moved" in text
            assert all(len(line) <= 120 for line in frame)
            assert len(frame) <= 20

            terminal.press(b"\x03")
            terminal.frame_with("Stopping: waiting for told (", "Ctrl-C again ends them")
            world.folder.joinpath("go").touch()
            assert world.end(terminal.process) == 0
            after = _ESCAPE.sub(b"", terminal.read().rpartition(b"\x1b[?1049l")[2]).decode()
            assert "Stopped; " in after
            assert re.search(r"schedcore runs \S*jobs\.sqlite", after)
            assert terminal.seen.count(b"\x1b[?1049h") == 1  # it took the other screen, and gave it back
        finally:
            terminal.close()

    @pytest.mark.parametrize(("columns", "lines"), [(50, 10)])
    def test_it_fits(self, world: World, columns: int, lines: int) -> None:
        world.write(*self.JOBS)
        world.folder.joinpath("go").touch()
        terminal = Terminal(world, columns, lines, "--for", "1")
        try:
            terminal.frame_with("Job", "Next", "Last")
            assert world.end(terminal.process) == 0
            for frame in terminal.frames()[:-1]:
                assert len(frame) <= lines
                assert max(len(line) for line in frame) <= columns
        finally:
            terminal.close()

    def test_what_jobs_print_stays_out_of_the_table(self, world: World) -> None:
        world.write('id = "says"\nfunc = "builtins:print"\nargs = ["hello there"]\ncron = "@reboot"')
        terminal = Terminal(world, 100, 20)
        try:
            frame = terminal.frame_with("hello there")
            (line,) = [number for number, line in enumerate(frame) if "hello there" in line]
            assert "says  printed" in frame[line - 1]
            terminal.press(b"\x03")
            assert world.end(terminal.process) == 0
        finally:
            terminal.close()

    def test_plain(self, world: World) -> None:
        world.write(*self.JOBS)
        world.folder.joinpath("go").touch()
        terminal = Terminal(world, 100, 20, "--plain", "--for", "0.5")
        try:
            assert world.end(terminal.process) == 0
            assert b"info  told: started\r\n" in terminal.read()
            assert b"\x1b" not in terminal.seen
        finally:
            terminal.close()

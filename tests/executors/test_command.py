"""Running programs as jobs: output, ends, errors, users, timeouts and the stopping of what still runs."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from schedcore.errors import ConfigurationError, FailureError
from schedcore.executors import _command_output, _command_programs, command
from schedcore.executors.command import (
    OUTPUT_LIMIT,
    CommandFailedError,
    CommandResult,
    CommandStartError,
    CommandTimeoutError,
    describe_exit,
    run_command,
    running_commands,
    terminate_running,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs used here are POSIX ones")

WAIT_S = 60.0


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    # Another module's tests may have started multiprocessing's helpers, which stay.
    threads, files, children = set(threading.enumerate()), open_files(), set(psutil.Process().children())
    yield
    assert running_commands() == ()
    left = [t for t in threading.enumerate() if t not in threads and "command" in t.name.lower()]
    assert left == []
    assert len(open_files()) <= len(files)
    assert set(psutil.Process().children()) <= children


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


class TestOutput:
    def test_of_a_list(self) -> None:
        assert run_command(["echo", "a  b"]) == CommandResult(0, "a  b\n", 0)

    def test_of_a_text_goes_through_the_shell(self) -> None:
        assert run_command("echo $((1+2)) | cat") == (0, "3\n", 0)

    def test_stdout_and_stderr_keep_their_order(self) -> None:
        result = run_command("for i in 1 2 3; do echo out $i; echo err $i >&2; done")
        assert result.output == "".join(f"out {i}\nerr {i}\n" for i in (1, 2, 3))

    def test_bytes_that_are_no_text_and_nul(self) -> None:
        assert run_command(r"printf 'a\377b\000c'").output == "a\ufffdb\ufffdc"

    def test_only_the_end_is_kept_and_what_was_dropped_is_counted(self) -> None:
        total = 300_000
        result = run_command(python(f"print('x' * {total} + 'end')"))
        first, rest = result.output.split("\n", 1)
        assert rest == "x" * (OUTPUT_LIMIT - 4) + "end\n"
        assert result.dropped_bytes == total + 4 - OUTPUT_LIMIT
        assert first == f"[{result.dropped_bytes} bytes of earlier output dropped]"

    def test_exactly_the_limit_is_kept_whole(self) -> None:
        result = run_command(python(f"import sys; sys.stdout.write('x' * {OUTPUT_LIMIT})"))
        assert result == CommandResult(0, "x" * OUTPUT_LIMIT, 0)

    def test_a_cut_does_not_leave_half_a_character(self) -> None:
        code = f"import sys; sys.stdout.buffer.write(('€' * {OUTPUT_LIMIT}).encode())"
        result = run_command(python(code))
        body = result.output.split("\n", 1)[1]
        assert set(body) == {"€"}
        assert result.dropped_bytes + len(body.encode()) == 3 * OUTPUT_LIMIT

    def test_memory_is_bounded(self) -> None:
        tail = _command_output.Tail(1000)
        for _ in range(1000):
            tail.feed(b"y" * 999)
            assert len(tail._bytes) <= 3000
        assert tail.text() == f"[{999_000 - 1000} bytes of earlier output dropped]\n" + "y" * 1000


class TestSurroundings:
    def test_stdin(self) -> None:
        assert run_command(["cat"], stdin="grüße\n").output == "grüße\n"

    def test_large_stdin_that_nobody_reads(self) -> None:
        assert run_command(["true"], stdin="x" * 1_000_000).exit_code == 0

    def test_without_stdin_there_is_nothing_to_read(self) -> None:
        assert run_command(["cat"]).output == ""

    def test_stdin_where_there_are_no_files_in_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "memfd_create", raising=False)
        assert run_command(["cat"], stdin="text").output == "text"

    def test_env_is_added_to_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEPT", "1")
        monkeypatch.setenv("CHANGED", "1")
        text = "echo $KEPT $CHANGED $NEW"
        assert run_command(text, env={"CHANGED": "2", "NEW": "3"}).output == "1 2 3\n"

    def test_cwd(self, tmp_path: Path) -> None:
        assert run_command(["pwd"], cwd=str(tmp_path)).output == f"{tmp_path}\n"

    @pytest.mark.parametrize(("cwd", "sub"), [("~", ""), ("~/sub", "/sub")])
    def test_cwd_in_the_home_folder_of_the_child(self, tmp_path: Path, cwd: str, sub: str) -> None:
        (tmp_path / "sub").mkdir()
        assert run_command(["pwd"], cwd=cwd, env={"HOME": str(tmp_path)}).output == f"{tmp_path}{sub}\n"

    def test_shell(self, tmp_path: Path) -> None:
        shell = tmp_path / "shell"
        shell.write_text('#!/bin/sh\necho "$1|$2"\n')
        shell.chmod(0o755)
        assert run_command("a 'b'", shell=str(shell)).output == "-c|a 'b'\n"

    def test_a_program_of_the_path_in_env(self, tmp_path: Path) -> None:
        tool = tmp_path / "only-here"
        tool.write_text("#!/bin/sh\necho found\n")
        tool.chmod(0o755)
        assert run_command(["only-here"], env={"PATH": str(tmp_path)}).output == "found\n"

    def test_it_leads_a_session_of_its_own(self) -> None:
        code = "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid())"
        assert run_command(python(code)).output == "True\n"


class TestFailure:
    def test_exit_code(self) -> None:
        with pytest.raises(CommandFailedError) as caught:
            run_command("echo first; echo 'disk  full' >&2; echo; exit 3")
        error = caught.value
        assert isinstance(error, FailureError)
        assert error.exit_code == 3
        assert error.output == "first\ndisk  full\n\n"
        assert not error.transient
        assert str(error) == (
            "command \"echo first; echo 'disk full' >&2; echo; exit 3\" failed with exit code 3: disk full"
        )

    def test_without_output(self) -> None:
        with pytest.raises(CommandFailedError) as caught:
            run_command(["false"])
        assert str(caught.value) == "command 'false' failed with exit code 1"

    def test_a_signal(self) -> None:
        with pytest.raises(CommandFailedError) as caught:
            run_command("kill -KILL $$")
        assert caught.value.exit_code == -signal.SIGKILL
        assert str(caught.value) == "command 'kill -KILL $$' was killed by SIGKILL"

    def test_other_exit_codes_can_be_right(self) -> None:
        assert run_command("exit 3", ok_exit_codes=[0, 3]).exit_code == 3

    @pytest.mark.parametrize(
        ("exit_code", "text"),
        [
            (0, "ended with exit code 0"),
            (1, "failed with exit code 1"),
            (-15, "was killed by SIGTERM"),
            (-63, "was killed by signal 63"),
            (126, "failed with exit code 126 (a shell's word for: found, but not executable)"),
            (127, "failed with exit code 127 (a shell's word for: no such program)"),
            (137, "failed with exit code 137 (a shell's word for: killed by SIGKILL)"),
            (255, "failed with exit code 255"),
        ],
    )
    def test_exit_codes_in_words(self, exit_code: int, text: str) -> None:
        assert describe_exit(exit_code) == text

    def test_a_long_message_stays_one_short_line(self) -> None:
        text = str(CommandFailedError(1, "x\n" + "y" * 5000, "long\ncommand " * 50))
        assert "\n" not in text
        assert len(text) < 350
        assert text.endswith("y…")

    @pytest.mark.parametrize(
        "error",
        [
            CommandFailedError(3, "out\n", "cmd", 17),
            CommandTimeoutError(-9, "out\n", "cmd", 17, 2.5),
            CommandStartError("cmd", "no such thing", True),
        ],
    )
    def test_errors_are_picklable(self, error: FailureError) -> None:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


class TestStart:
    def refused(self, *args: object, **kwargs: object) -> str:
        with pytest.raises(CommandStartError) as caught:
            run_command(*args, **kwargs)  # type: ignore[arg-type]
        assert not caught.value.transient
        return str(caught.value)

    def test_no_such_program(self) -> None:
        assert self.refused(["no-such-tool", "-v"], env={"PATH": "/a:/b"}) == (
            "command 'no-such-tool -v' could not be started: no program 'no-such-tool' on PATH (/a:/b); "
            "give its full path, or set PATH"
        )

    def test_no_such_path(self) -> None:
        assert self.refused(["/no/such/tool"]) == (
            "command '/no/such/tool' could not be started: the program '/no/such/tool' does not exist"
        )

    def test_no_such_interpreter(self, tmp_path: Path) -> None:
        tool = tmp_path / "tool"
        tool.write_text("#!/no/such/python\n")
        tool.chmod(0o755)
        assert self.refused([str(tool)]).endswith("exists, but the interpreter in its #! line does not")

    def test_no_such_folder(self, tmp_path: Path) -> None:
        folder = str(tmp_path / "none")
        assert self.refused(["true"], cwd=folder).endswith(f"the folder {folder!r} to run it in does not exist")

    def test_the_folder_is_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        assert self.refused(["true"], cwd=str(file)).endswith("is not a folder")

    def test_not_executable(self, tmp_path: Path) -> None:
        tool = tmp_path / "tool"
        tool.write_text("#!/bin/sh\n")
        assert self.refused([str(tool)]).endswith(
            f"the program {str(tool)!r} may not be executed; is it a file with the x bit (chmod +x)?"
        )

    def test_no_program_at_all(self, tmp_path: Path) -> None:
        tool = tmp_path / "tool"
        tool.write_text("echo hello\n")
        tool.chmod(0o755)
        assert self.refused([str(tool)]).endswith(
            f"{str(tool)!r} is no program; a script needs a first line like #!/bin/sh"
        )

    def test_nul(self) -> None:
        assert self.refused(["echo", "a\0b"]).endswith("could not be started: embedded null byte")

    def test_a_full_process_table_is_transient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_more(*args: object, **kwargs: object) -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(subprocess, "Popen", no_more)
        with pytest.raises(CommandStartError, match="Resource temporarily unavailable") as caught:
            run_command(["true"])
        assert caught.value.transient

    @pytest.mark.parametrize(
        ("argv", "kwargs", "text"),
        [
            ([], {}, "a command needs at least the program's name; the list of its arguments is empty"),
            ([""], {}, "a command needs at least the program's name; the list of its arguments is empty"),
            ("  \n", {}, "a command is empty; give the line that the shell should run"),
            (["a", 1], {}, "a command is a list of texts; item 1 is 1 (int)"),
            (
                ["a"],
                {"shell": "/bin/sh"},
                "shell= is for a command that is one text; a list of arguments is run without a shell",
            ),
            (
                ["a"],
                {"timeout": 0},
                "timeout must be more than 0 seconds, not 0; leave it out for no limit",
            ),
        ],
    )
    def test_misuse(self, argv: list[str] | str, kwargs: dict[str, str], text: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            run_command(argv, **kwargs)  # type: ignore[arg-type]
        assert str(caught.value) == text


class TestUser:
    def me(self) -> str:
        import pwd

        try:
            return pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            pytest.skip("the current user has no name")

    def test_the_current_one_needs_no_rights(self) -> None:
        me = self.me()
        text = "echo $LOGNAME $USER"
        assert run_command(text, user=me, env={"LOGNAME": "other"}).output == f"{me} {me}\n"

    def test_unknown(self) -> None:
        with pytest.raises(CommandStartError) as caught:
            run_command(["true"], user="no-such-user")
        assert caught.value.reason == "there is no user 'no-such-user' on this machine"

    def test_another_needs_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(CommandStartError) as caught:
            run_command(["true"], user="root")
        assert caught.value.reason == (
            "running as user 'root' needs root; start the scheduler as root, or as 'root' and leave the user out"
        )

    def test_root_becomes_another(self) -> None:
        import pwd

        if os.geteuid() != 0:
            pytest.skip("needs root")
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            pytest.skip("there is no user nobody")
        result = run_command("id -u; id -g; echo $HOME", user="nobody", cwd="/")
        assert result.output == f"{nobody.pw_uid}\n{nobody.pw_gid}\n{nobody.pw_dir}\n"


class TestTimeout:
    def test_within(self) -> None:
        assert run_command(["echo", "quick"], timeout=60).output == "quick\n"

    @pytest.mark.parametrize("timeout", [1e10, 1e300, 10**400], ids=["1e10", "1e300", "1e400"])
    def test_a_limit_that_no_lock_can_wait_for_is_none(self, timeout: float) -> None:
        assert run_command(["echo", "quick"], timeout=timeout).output == "quick\n"

    def overrun(self, text: str, grace: float = 5.0) -> CommandTimeoutError:
        """How a command that says "begun" was stopped. On a busy machine it may need longer than its timeout to say so."""
        for timeout in (0.2, 2.0, 20.0):
            with pytest.raises(CommandTimeoutError) as caught:
                run_command(text, timeout=timeout, grace=grace)
            assert caught.value.timeout_s == timeout
            if "begun" in caught.value.output:
                break
        return caught.value

    def test_sigterm_to_the_whole_group(self) -> None:
        error = self.overrun("echo begun; sleep 1000 | sleep 1000")
        assert error.exit_code == -signal.SIGTERM
        assert str(error) == (
            f"command 'echo begun; sleep 1000 | sleep 1000' ran longer than its timeout of {error.timeout_s:g} s "
            "and was stopped (was killed by SIGTERM): begun"
        )

    def test_then_sigkill(self) -> None:
        error = self.overrun("trap '' TERM; echo begun; while :; do sleep 0.05; done", grace=0.2)
        assert error.exit_code == -signal.SIGKILL

    def test_a_program_that_ends_well_on_sigterm_has_still_run_out_of_time(self) -> None:
        error = self.overrun("trap 'echo bye; exit 0' TERM; echo begun; while :; do sleep 0.02; done")
        assert str(error).endswith("s and was stopped (ended with exit code 0): bye")


class TestBackground:
    def test_a_process_left_behind_does_not_hold_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command, "LINGER_S", 1.0)
        began = time.monotonic()
        result = run_command("sleep 1000 & echo $!")
        assert time.monotonic() - began < WAIT_S
        pid, note = result.output.splitlines()
        assert note == "[a process that it started in the background still held its output open]"
        assert result.exit_code == 0
        assert psutil.Process(int(pid)).is_running()
        os.kill(int(pid), signal.SIGKILL)

    def test_what_it_writes_soon_is_still_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command, "LINGER_S", WAIT_S)
        assert run_command("(sleep 0.1; echo late) & echo early").output == "early\nlate\n"

    def test_a_detached_one_is_left_alone(self) -> None:
        pid = int(run_command("sleep 1000 >/dev/null 2>&1 & echo $!").output)
        assert psutil.Process(pid).is_running()
        os.kill(pid, signal.SIGKILL)


class TestTerminateRunning:
    def test_nothing_to_do(self) -> None:
        assert terminate_running() == ()

    def test_all_that_run_are_stopped_as_groups(self, tmp_path: Path) -> None:
        ready = [tmp_path / str(n) for n in range(3)]
        texts = [f"sleep 1000 & echo $! > {path}.part; mv {path}.part {path}; wait" for path in ready]
        with ThreadPoolExecutor() as pool:
            futures = [pool.submit(run_command, text) for text in texts]
            wait_for(lambda: all(path.exists() for path in ready))
            assert running_commands() == tuple(sorted(texts))
            pids = [int(path.read_text()) for path in ready]
            assert terminate_running() == tuple(sorted(texts))
            for future in futures:
                with pytest.raises(CommandFailedError, match="was killed by SIGTERM"):
                    future.result(WAIT_S)
        for pid in pids:
            wait_for(lambda: not any(is_alive(pid) for pid in pids))

    def test_sigkill_for_those_that_do_not_listen(self, tmp_path: Path) -> None:
        ready = tmp_path / "ready"
        with ThreadPoolExecutor() as pool:
            text = f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"
            future = pool.submit(run_command, text)
            wait_for(ready.exists)
            assert terminate_running(0.1) == (text,)
            with pytest.raises(CommandFailedError, match="was killed by SIGKILL"):
                future.result(WAIT_S)

    def test_a_stubborn_process_behind_its_leader_goes_too(self, tmp_path: Path) -> None:
        ready = tmp_path / "ready"
        text = f"(trap '' TERM; touch {ready}; exec sleep 1000) & echo $!; wait"
        with ThreadPoolExecutor() as pool:
            future = pool.submit(run_command, text)
            wait_for(ready.exists)
            terminate_running(0.2)
            with pytest.raises(CommandFailedError) as caught:
                future.result(WAIT_S)
        pid = int(caught.value.output.splitlines()[0])
        wait_for(lambda: not is_alive(pid))

    def test_one_that_is_just_being_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        starting, go_on = threading.Event(), threading.Event()
        real = subprocess.Popen

        def slow(*args: object, **kwargs: object) -> object:
            starting.set()
            assert go_on.wait(WAIT_S)
            return real(*args, **kwargs)  # type: ignore[call-overload]

        monkeypatch.setattr(subprocess, "Popen", slow)
        with ThreadPoolExecutor() as pool:
            run = pool.submit(run_command, ["sleep", "1000"])
            assert starting.wait(WAIT_S)
            stop = pool.submit(terminate_running)
            go_on.set()
            assert stop.result(WAIT_S) == ("sleep 1000",)
            with pytest.raises(CommandFailedError, match="was killed by SIGTERM"):
                run.result(WAIT_S)

    def test_from_many_threads_at_once(self) -> None:
        with ThreadPoolExecutor(20) as pool:
            runs = [pool.submit(run_command, ["sleep", "1000"]) for _ in range(8)]
            wait_for(lambda: len(running_commands()) == 8)
            for stop in [pool.submit(terminate_running) for _ in range(8)]:
                stop.result(WAIT_S)
            for run in runs:
                with pytest.raises(CommandFailedError):
                    run.result(WAIT_S)

    @pytest.mark.slow
    def test_at_the_exit_of_the_interpreter(self, tmp_path: Path) -> None:
        code = (
            "import contextlib, threading, time\n"
            "import psutil\n"
            "from schedcore.executors.command import CommandFailedError, run_command\n"
            "def run():\n"
            # A daemon thread that still prints a traceback while the interpreter ends aborts it.
            "    with contextlib.suppress(CommandFailedError): run_command(['sleep', '1000'])\n"
            "threading.Thread(target=run, daemon=True).start()\n"
            "while not (children := psutil.Process().children()): time.sleep(0.01)\n"
            "while children[0].name() != 'sleep': time.sleep(0.01)\n"
            "print(children[0].pid, flush=True)\n"
        )
        result = subprocess.run(python(code), capture_output=True, text=True, timeout=150, check=True)
        assert not is_alive(int(result.stdout))

    def test_a_fork_does_not_stop_what_its_parent_runs(self) -> None:
        with ThreadPoolExecutor() as pool:
            run = pool.submit(run_command, ["sleep", "1000"])
            wait_for(running_commands)
            _command_programs.registry.snapshot()
            real = _command_programs.registry._programs
            with contextlib.ExitStack() as stack:
                stack.callback(setattr, _command_programs.registry, "_programs", real)
                _command_programs.registry._forget()  # what the fork hook calls in the child
                assert terminate_running() == ()
            assert not run.done()
            terminate_running()
            with pytest.raises(CommandFailedError):
                run.result(WAIT_S)


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_an_interrupt_of_the_calling_thread_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _command_programs.Program.wait
    pids = []

    def interrupted(self: _command_programs.Program) -> None:
        monkeypatch.setattr(_command_programs.Program, "wait", real)
        assert self.process is not None
        pids.append(self.process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(_command_programs.Program, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_command(["sleep", "1000"])
    assert not is_alive(pids[0])


def test_it_can_be_named_by_text() -> None:
    assert run_command.__module__ == "schedcore.executors.command"
    assert run_command.__qualname__ == "run_command"

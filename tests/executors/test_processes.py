"""The process pool: conformance, deaths, what cannot travel, options, and that nothing outlives anything.

Jobs are functions of the standard library, ``eval`` and ``exec`` among them: a child process can import these wherever it starts.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from schedcore.errors import ConfigurationError, SerializationError, UnknownOptionError
from schedcore.executors import _children, _messages, _process
from schedcore.executors.command import CommandStartError
from schedcore.executors.pool import InitializerError, ProcessDiedError, ProcessPoolExecutor, RemoteError
from schedcore.job import JobRecord
from schedcore.run import Finish, Run, RunState
from schedcore.testing.executor_suite import (
    ExecutorTraits,
    RecordingHost,
    check_executor,
    executor_behaviours,
    make_run,
)
from schedcore.triggers.foreign import ForeignTrigger
from schedcore.triggers.interval import IntervalTrigger

TRAITS = ExecutorTraits(workers=2, same_process=False, ends_runs=True)
WAIT_S = 60.0

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs a pidfd")


@pytest.fixture(autouse=True)
def _bare_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children import the program's main module again; pytest's own takes long."""
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.delattr(main, "__file__", raising=False)


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(TRAITS))
def test_conformance(name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    assert check_executor(lambda: ProcessPoolExecutor(2), TRAITS, only=name) == [name]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


Start = Callable[..., ProcessPoolExecutor]


@pytest.fixture
def start(host: RecordingHost) -> Iterator[Start]:
    """Starts executors and sees that their children are gone afterwards."""
    started: list[ProcessPoolExecutor] = []

    def start(max_workers: int = 1, **pool_kwargs: Any) -> ProcessPoolExecutor:
        executor = ProcessPoolExecutor(max_workers, pool_kwargs)
        executor.start(host, "processes")
        started.append(executor)
        return executor

    yield start
    for executor in started:
        executor.shutdown(timeout=WAIT_S)
    assert children() == []


def children() -> list[psutil.Process]:
    """Those of this process but for multiprocessing's own helpers, which live as long as it does."""
    found = []
    for child in psutil.Process().children():
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if "resource_tracker" not in line and "forkserver" not in line:
            found.append(child)
    return found


def ends(executor: ProcessPoolExecutor, host: RecordingHost, *runs: Run) -> list[Finish]:
    executor.submit(runs)
    return host.wait(runs)


def value(executor: ProcessPoolExecutor, host: RecordingHost, func: Callable[..., Any], *args: Any) -> Any:
    (finish,) = ends(executor, host, make_run(func, *args))
    assert finish.state is RunState.SUCCEEDED, finish.traceback
    return finish.retval


def hold(folder: Path, name: str = "held") -> Run:
    """A run that says when it has begun, and never ends by itself."""
    code = f"import pathlib, time; pathlib.Path({str(folder / name)!r}).touch(); time.sleep(600)"
    return make_run(exec, code, job_id=name)


class TestDeath:
    def test_concerns_one_run_and_the_next_has_a_new_process(self, start: Start, host: RecordingHost) -> None:
        executor = start(1)
        before, died, after = ends(executor, host, make_run(os.getpid), make_run(os._exit, 7), make_run(os.getpid))
        assert died.state is RunState.FAILED
        assert isinstance(died.exception, ProcessDiedError)
        assert died.exception.exit_code == 7
        assert died.exception.pid == before.retval
        assert (
            str(died.exception) == f"the process (pid {before.retval}) ended with exit code 7 in the middle of the job"
        )
        assert died.started_us is not None
        assert after.state is RunState.SUCCEEDED
        assert after.retval != before.retval

    @posix
    def test_by_a_signal_names_it(self, start: Start, host: RecordingHost) -> None:
        killed, segfault = ends(
            start(1),
            host,
            make_run(signal.raise_signal, signal.SIGKILL),
            make_run(signal.raise_signal, signal.SIGSEGV),
        )
        assert "was killed by SIGKILL in the middle of the job (the system does this when memory runs out)" in str(
            killed.exception
        )
        assert "was killed by SIGSEGV" in str(segfault.exception)

    def test_leaves_the_neighbours_alone(self, start: Start, host: RecordingHost, tmp_path: Path) -> None:
        executor = start(2)
        go = tmp_path / "go"
        code = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.002)"
        neighbour = make_run(exec, code)
        executor.submit([neighbour])
        host.wait_started([neighbour])
        dying = [make_run(os._exit, 1) for _ in range(3)]
        assert [finish.state for finish in ends(executor, host, *dying)] == [RunState.FAILED] * 3
        go.touch()
        assert host.finish_of(neighbour).state is RunState.SUCCEEDED

    @posix
    def test_of_an_idle_child_costs_no_run(self, start: Start, host: RecordingHost) -> None:
        executor = start(1)
        pid = value(executor, host, os.getpid)
        os.kill(pid, signal.SIGKILL)
        assert value(executor, host, os.getpid) != pid

    def test_it_is_told_that_a_run_goes_there(self, start: Start, host: RecordingHost) -> None:
        """Before it can begin: whoever is killed in between knows that it may have."""
        executor = start(1)
        runs = [make_run(os.getpid), make_run(os._exit, 7), make_run(os.getpid)]
        ends(executor, host, *runs)
        assert host.sent == runs
        assert host.started == runs
        assert host.faults == []

    def test_before_the_job_began_says_so(self, start: Start, host: RecordingHost) -> None:
        executor = start(1, initializer=os._exit, initargs=(4,))
        (finish,) = ends(executor, host, make_run(os.getpid))
        assert "ended with exit code 4 before the job began" in str(finish.exception)
        assert "__main__" in str(finish.exception)
        assert finish.started_us is None
        assert host.started == []

    @linux
    def test_is_seen_though_a_process_that_the_job_started_holds_its_pipe(
        self, start: Start, host: RecordingHost, tmp_path: Path
    ) -> None:
        orphan = tmp_path / "orphan"
        code = textwrap.dedent(f"""
            import os, pathlib, time
            pid = os.fork()
            if pid == 0:
                time.sleep(600)
            pathlib.Path({str(orphan)!r}).write_text(str(pid))
            os._exit(9)
        """)
        (finish,) = ends(start(1), host, make_run(exec, code))
        os.kill(int(orphan.read_text()), signal.SIGKILL)
        assert "exit code 9" in str(finish.exception)

    @posix
    def test_of_the_program_ends_its_children_idle_and_busy(self, tmp_path: Path) -> None:
        code = textwrap.dedent("""
            import os, time, threading
            from schedcore.executors.pool import ProcessPoolExecutor
            from schedcore.testing.executor_suite import RecordingHost, make_run
            if __name__ == "__main__":
                host = RecordingHost()
                executor = ProcessPoolExecutor(2)
                executor.start(host, "default")
                held = make_run(exec, "import time; time.sleep(600)")
                idle = make_run(os.getpid)
                executor.submit([held])
                host.wait_started([held])
                executor.submit([idle])
                print(executor.pid_of(held), host.finish_of(idle).retval, flush=True)
                threading.Event().wait()
        """)
        script = tmp_path / "program.py"
        script.write_text(code)
        with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            pids = [int(word) for word in program.stdout.readline().split()]
            assert len(pids) == 2
            assert all(psutil.pid_exists(pid) for pid in pids)
            program.kill()
        wait_for(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class TestTravel:
    def test_an_argument_that_cannot_be_pickled_is_named(self, start: Start, host: RecordingHost) -> None:
        lock = threading.Lock()
        executor = start(1)
        first, second, fine = ends(
            executor,
            host,
            make_run(print, "fine", [lock]),
            make_run(print, kwargs={"sep": lock}),
            make_run(os.getpid),
        )
        assert isinstance(first.exception, SerializationError)
        assert first.exception.path == "args[1]"
        assert "args[1] (a list) cannot be sent to another process" in str(first.exception)
        assert isinstance(second.exception, SerializationError)
        assert second.exception.path == "kwargs['sep']"
        assert fine.state is RunState.SUCCEEDED
        assert len(host.started) == 1

    def test_a_callable_that_cannot_be_pickled_is_named(self, start: Start, host: RecordingHost) -> None:
        (finish,) = ends(start(1), host, make_run(lambda: 1))
        assert isinstance(finish.exception, SerializationError)
        assert finish.exception.path == "func"
        assert "top-level function" in str(finish.exception)

    def test_a_callable_that_only_its_reference_names(
        self, start: Start, host: RecordingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "nameless_jobs.py").write_text("answer = lambda: 42\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        import nameless_jobs  # type: ignore[import-not-found]

        run = make_run(nameless_jobs.answer)
        run = run._replace(job=run.job._replace(func_ref="nameless_jobs:answer"))
        (finish,) = ends(start(1), host, run)
        assert finish.retval == 42, finish.traceback

    def test_partials_and_bound_methods(self, start: Start, host: RecordingHost) -> None:
        executor = start(1)
        assert value(executor, host, functools.partial(pow, 2), 10) == 1024
        assert value(executor, host, "a,b".split, ",") == ["a", "b"]

    def test_a_callable_that_the_child_cannot_load(
        self, start: Start, host: RecordingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = tmp_path / "vanishing_jobs.py"
        module.write_text("def job(): pass\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        import vanishing_jobs  # type: ignore[import-not-found]

        module.unlink()
        for cached in (tmp_path / "__pycache__").glob("*"):
            cached.unlink()
        executor = start(1)
        (finish,) = ends(executor, host, make_run(vanishing_jobs.job))
        assert isinstance(finish.exception, ModuleNotFoundError)
        assert value(executor, host, os.getpid)

    def test_a_result_that_cannot_be_pickled_is_a_failure(self, start: Start, host: RecordingHost) -> None:
        executor = start(1)
        (finish,) = ends(executor, host, make_run(threading.Lock))
        assert finish.state is RunState.FAILED
        assert "the job returned a _thread.lock, which cannot be sent back from its process" in str(finish.exception)
        assert value(executor, host, os.getpid)

    def test_large_arguments_and_results(self, start: Start, host: RecordingHost) -> None:
        data = os.urandom(5_000_000)
        assert value(start(1), host, bytes, data) == data

    def test_exceptions_keep_type_attributes_and_notes(self, start: Start, host: RecordingHost) -> None:
        code = textwrap.dedent("""
            error = FileNotFoundError(2, "gone", "/a/file")
            error.add_note("look elsewhere")
            raise error
        """)
        (finish,) = ends(start(1), host, make_run(exec, code))
        assert isinstance(finish.exception, FileNotFoundError)
        assert finish.exception.filename == "/a/file"
        assert finish.exception.__notes__ == ["look elsewhere"]
        assert finish.traceback is not None
        assert finish.traceback.startswith("Traceback (most recent call last):\n  File")
        assert "look elsewhere" in finish.traceback

    @pytest.mark.parametrize(
        "code",
        [
            "class LocalError(Exception): pass\nraise LocalError('why')",
            "import http.client, threading\nerror = RuntimeError('why')\nerror.lock = threading.Lock()\nraise error",
            # It can be pickled, but not loaded: its constructor wants two arguments.
            "import urllib.error, io\nraise __import__('json').JSONDecodeError.__mro__[0]('why', 'doc', 0)",
        ],
    )
    def test_exceptions_that_cannot_travel_keep_their_name_and_traceback(
        self, start: Start, host: RecordingHost, code: str
    ) -> None:
        (finish,) = ends(start(1), host, make_run(exec, code, {}))
        assert finish.state is RunState.FAILED
        assert isinstance(finish.exception, RemoteError | ValueError)
        assert "why" in str(finish.exception)
        assert "why" in str(finish.traceback)

    def test_an_error_of_ours_that_takes_two_arguments(self, start: Start, host: RecordingHost) -> None:
        code = "from schedcore.executors.command import CommandStartError\nraise CommandStartError('ls', 'not there')"
        (finish,) = ends(start(1), host, make_run(exec, code, {}))
        assert isinstance(finish.exception, CommandStartError)

    def test_the_errors_of_the_pool_can_be_pickled(self) -> None:
        import pickle

        for error in (ProcessDiedError(1, -9, True), RemoteError("AError", "why")):
            copy = pickle.loads(pickle.dumps(error))
            assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))

    def test_current_run_where_the_trigger_cannot_be_pickled(self, start: Start, host: RecordingHost) -> None:
        class Strange(IntervalTrigger):
            def __reduce__(self) -> str:
                raise TypeError("no")

        trigger = ForeignTrigger(Strange(hours=1, start_date=datetime(2026, 1, 1, tzinfo=UTC), timezone="Asia/Tokyo"))
        run = make_run(eval, "str(__import__('schedcore.run').run.current_run.get().scheduled_at)")
        run = run._replace(job=JobRecord(**{**run.job._asdict(), "trigger": trigger}))
        (finish,) = ends(start(1), host, run)
        assert finish.retval == "2026-01-01 09:00:00+09:00", finish.traceback


class TestOptions:
    def test_unknown_ones_are_refused_by_name(self) -> None:
        with pytest.raises(
            UnknownOptionError, match="unknown process pool option 'mp_contxt'; did you mean 'mp_context'"
        ):
            ProcessPoolExecutor(pool_kwargs={"mp_contxt": "fork"})

    def test_bad_ones(self) -> None:
        with pytest.raises(ConfigurationError, match=r"mp_context must be a multiprocessing context or one of .*spawn"):
            ProcessPoolExecutor(pool_kwargs={"mp_context": "spwan"})
        with pytest.raises(ConfigurationError, match="max_tasks_per_child must be a whole number"):
            ProcessPoolExecutor(pool_kwargs={"max_tasks_per_child": 0})
        with pytest.raises(SerializationError, match=r"initializer \(a function\) cannot be sent"):
            ProcessPoolExecutor(pool_kwargs={"initializer": lambda: None})
        with pytest.raises(SerializationError, match=r"initargs\[1\] \(a _thread.lock\) cannot be sent"):
            ProcessPoolExecutor(pool_kwargs={"initializer": print, "initargs": ("a", threading.Lock())})

    def test_spawn_is_the_default(self) -> None:
        assert ProcessPoolExecutor()._context.get_start_method() == "spawn"

    @pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
    def test_every_context(self, tmp_path: Path, method: str) -> None:
        # In a program of its own: a fork server lives as long as the program.
        code = textwrap.dedent(f"""
            import multiprocessing, os, warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: here they are asked for
            from schedcore.executors.pool import ProcessPoolExecutor
            from schedcore.testing.executor_suite import RecordingHost, make_run

            if __name__ == "__main__":
                for context in ({method!r}, multiprocessing.get_context({method!r})):
                    host = RecordingHost()
                    executor = ProcessPoolExecutor(2, {{"mp_context": context}})
                    executor.start(host, "default")
                    runs = [make_run(os.getpid), make_run(os._exit, 3), make_run(os.getpid)]
                    executor.submit(runs)
                    ends = host.wait(runs)
                    assert os.getpid() not in (ends[0].retval, ends[2].retval)
                    held = make_run(exec, "import time; time.sleep(600)")
                    executor.submit([held])
                    host.wait_started([held])
                    assert executor.shutdown(timeout=0) == [held]
                    print(*(end.state for end in host.finished if end.run is not runs[1]), ends[1].exception.exit_code)
        """)
        script = tmp_path / "program.py"
        script.write_text(code)
        # A fork server's socket is in the temporary folder, and its name has to be one of 107 bytes at most (unix(7)).
        with tempfile.TemporaryDirectory(dir="/tmp" if os.name == "posix" else None) as short:
            done = subprocess.run(
                [sys.executable, str(script)],
                capture_output=True,
                text=True,
                timeout=WAIT_S,
                env={**os.environ, "TMPDIR": short},
            )
        assert (done.stdout, done.stderr) == ("succeeded succeeded cancelled 3\n" * 2, "")

    def test_max_tasks_per_child(self, start: Start, host: RecordingHost) -> None:
        executor = start(1, max_tasks_per_child=2)
        pids = [finish.retval for finish in ends(executor, host, *(make_run(os.getpid) for _ in range(5)))]
        assert pids[0] == pids[1]
        assert pids[2] == pids[3]
        assert len(set(pids)) == 3

    def test_a_child_that_has_done_its_part_does_not_linger(self, start: Start, host: RecordingHost) -> None:
        executor = start(1, max_tasks_per_child=1)
        value(executor, host, os.getpid)
        wait_for(lambda: children() == [])

    def test_initializer(self, start: Start, host: RecordingHost) -> None:
        executor = start(2, initializer=os.putenv, initargs=("SCHEDCORE_TEST", "set"))
        printed = value(executor, host, eval, "__import__('subprocess').check_output(['printenv', 'SCHEDCORE_TEST'])")
        assert printed == b"set\n"

    def test_an_initializer_that_raises_fails_its_run_and_is_tried_again(
        self, start: Start, host: RecordingHost, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.ERROR)
        needed = tmp_path / "needed"
        executor = start(1, initializer=os.stat, initargs=(str(needed),))
        (finish,) = ends(executor, host, make_run(os.getpid))
        assert isinstance(finish.exception, InitializerError)
        assert isinstance(finish.exception.__cause__, FileNotFoundError)
        assert "the initializer of executor 'processes' raised FileNotFoundError" in str(finish.exception)
        assert str(needed) in str(finish.traceback)
        assert host.started == []
        assert "initializer" in caplog.text
        needed.touch()
        assert value(executor, host, os.getpid)


class TestChildren:
    @posix
    def test_do_not_notice_ctrl_c(self, start: Start, host: RecordingHost, tmp_path: Path) -> None:
        executor = start(1)
        go = tmp_path / "go"
        run = make_run(exec, f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.002)")
        executor.submit([run])
        host.wait_started([run])
        pid = executor.pid_of(run)
        assert pid is not None
        os.kill(pid, signal.SIGINT)
        go.touch()
        assert host.finish_of(run).state is RunState.SUCCEEDED
        assert value(executor, host, os.getpid) == pid

    def test_may_have_children_of_their_own(self, start: Start, host: RecordingHost) -> None:
        code = textwrap.dedent("""
            import multiprocessing, os
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert pool.apply(os.getpid) != os.getpid()
        """)
        (finish,) = ends(start(1), host, make_run(exec, code))
        assert finish.state is RunState.SUCCEEDED, finish.traceback

    def test_that_ignore_sigterm_are_killed_when_shutdown_runs_out_of_time(
        self, start: Start, host: RecordingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_children, "KILL_GRACE_S", 0.05)
        executor = start(1)
        begun = tmp_path / "begun"
        run = make_run(
            exec,
            "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            f"pathlib.Path({str(begun)!r}).touch(); time.sleep(600)",
        )
        executor.submit([run])
        wait_for(begun.exists)
        assert executor.shutdown(timeout=0) == [run]
        assert host.finish_of(run).state is RunState.CANCELLED
        assert children() == []

    def test_that_are_still_starting_are_ended_too(self, start: Start, host: RecordingHost) -> None:
        executor = start(2)
        runs = [make_run(os.getpid) for _ in range(4)]
        executor.submit(runs)
        cut = executor.shutdown(timeout=0)
        finishes = host.wait(runs)
        assert [run for run in runs if run in cut] == [f.run for f in finishes if f.state is RunState.CANCELLED]
        assert executor.live_runs() == []
        assert children() == []

    def test_whose_start_outlasts_the_patience_of_shutdown_are_ended_when_they_are_there(
        self, start: Start, host: RecordingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_children, "KILL_GRACE_S", 0.01)
        monkeypatch.setattr(_children, "EXIT_GRACE_S", 0.01)
        starting, go_on = threading.Event(), threading.Event()

        class SlowChild(_children.Child):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                starting.set()
                assert go_on.wait(WAIT_S)

        monkeypatch.setattr(_children, "Child", SlowChild)
        executor = start(1)
        run = hold(tmp_path)
        executor.submit([run])
        assert starting.wait(WAIT_S)
        executor.shutdown(timeout=0)
        assert host.finished == []
        go_on.set()
        assert host.finish_of(run).state is RunState.CANCELLED

    def test_are_not_started_for_a_run_that_was_taken_when_shutdown_ran_out_of_time(
        self, start: Start, host: RecordingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken, go_on = threading.Event(), threading.Event()
        dump = _messages.dump_run

        def slow_dump(run: Run) -> bytes:
            taken.set()
            assert go_on.wait(WAIT_S)
            return dump(run)

        monkeypatch.setattr(_process, "dump_run", slow_dump)
        executor = start(1)
        run = hold(tmp_path)
        executor.submit([run])
        assert taken.wait(WAIT_S)
        cut: list[Run] = []
        closing = threading.Thread(target=lambda: cut.extend(executor.shutdown(timeout=0)))
        closing.start()
        wait_for(lambda: executor._crew is not None and executor._crew._stopping)
        go_on.set()
        closing.join(WAIT_S)
        assert cut == [run]
        assert host.started == []

    @posix
    def test_do_not_notice_ctrl_c_while_they_start(self, tmp_path: Path) -> None:
        # In a program of its own: the first child is started otherwise than those that follow.
        code = textwrap.dedent("""
            import os, signal
            from schedcore.executors import _children
            from schedcore.executors.pool import ProcessPoolExecutor
            from schedcore.testing.executor_suite import RecordingHost, make_run

            class InterruptedChild(_children.Child):
                def __init__(self, *args):
                    super().__init__(*args)
                    os.kill(self.pid, signal.SIGINT)

            if __name__ == "__main__":
                _children.Child = InterruptedChild
                host = RecordingHost()
                executor = ProcessPoolExecutor(1, {"max_tasks_per_child": 1})
                executor.start(host, "default")
                runs = [make_run(os.getpid), make_run(os.getpid)]
                executor.submit(runs)
                print(*[finish.exception for finish in host.wait(runs)])
                executor.shutdown()
        """)
        script = tmp_path / "program.py"
        script.write_text(code)
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=WAIT_S, check=True)
        assert (done.stdout.strip(), done.stderr) == ("None None", "")

    @posix
    @pytest.mark.parametrize("first", ["theirs", "ours"])
    def test_of_a_fork_server_leave_the_programs_own_to_ctrl_c(self, first: str, tmp_path: Path) -> None:
        code = textwrap.dedent("""
            import multiprocessing, os, pathlib, signal, sys
            from schedcore.executors import _children
            from schedcore.executors.pool import ProcessPoolExecutor
            from schedcore.testing.executor_suite import RecordingHost, make_run

            BOX = pathlib.Path(__file__).with_name("box")

            class Name(str):
                read = False

                def __reduce__(self):
                    if self.read:
                        return str, (str(self),)
                    self.read = True
                    return BOX.read_text, ()

            class InterruptedChild(_children.Child):
                made = 0

                def __init__(self, context, initializer, name):
                    InterruptedChild.made += 1
                    if InterruptedChild.made % 2 == 0:
                        super().__init__(context, initializer, name)
                        return
                    super().__init__(context, initializer, Name(name))
                    with BOX.open("wb"):  # waits until the child reads there
                        os.kill(self.pid, signal.SIGINT)

            def tell(told):
                told.put(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))

            def is_own_deaf(context):
                told = context.SimpleQueue()
                own = context.Process(target=tell, args=(told,))
                own.start()
                own.join()
                return told.get()

            if __name__ == "__main__":
                os.mkfifo(BOX)
                _children.Child = InterruptedChild
                context = multiprocessing.get_context("forkserver")
                if sys.argv[1] == "theirs":
                    print(is_own_deaf(context))
                host = RecordingHost()
                executor = ProcessPoolExecutor(1, {"max_tasks_per_child": 1, "mp_context": context})
                executor.start(host, "default")
                runs = [make_run(os.getpid), make_run(os.getpid)]
                executor.submit(runs)
                print(*[finish.exception for finish in host.wait(runs)])
                executor.shutdown()
                print(is_own_deaf(context))
        """)
        script = tmp_path / "program.py"
        script.write_text(code)
        command = [sys.executable, str(script), first]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True)
        own = ["False"] if first == "theirs" else []
        assert done.stdout.splitlines() == [*own, "None None", "False"], done.stderr

    def test_one_run_can_be_killed(self, start: Start, host: RecordingHost, tmp_path: Path) -> None:
        executor = start(2)
        held, other = hold(tmp_path, "held"), hold(tmp_path, "other")
        executor.submit([held, other])
        host.wait_started([held, other])
        assert executor.pid_of(held) != executor.pid_of(other)
        assert executor.kill(held)
        finish = host.finish_of(held)
        assert finish.state is RunState.CANCELLED
        assert finish.started_us is not None
        assert executor.pid_of(held) is None
        assert not executor.kill(held)
        assert executor.live_runs() == [other]
        assert value(executor, host, os.getpid)
        assert executor.shutdown(timeout=0) == [other]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_outlive_the_exit_of_a_forked_copy_of_the_program(self, tmp_path: Path) -> None:
        code = textwrap.dedent("""
            import os, sys, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            from schedcore.executors.pool import ProcessPoolExecutor
            from schedcore.testing.executor_suite import RecordingHost, make_run
            if __name__ == "__main__":
                host = RecordingHost()
                executor = ProcessPoolExecutor(1)
                executor.start(host, "default")
                first, second = make_run(os.getpid), make_run(os.getpid)
                executor.submit([first])
                host.wait([first])
                copy = os.fork()
                if copy == 0:
                    sys.exit(0)
                os.waitpid(copy, 0)
                executor.submit([second])
                print(host.finish_of(first).retval == host.finish_of(second).retval)
                executor.shutdown()
        """)
        script = tmp_path / "program.py"
        script.write_text(code)
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=WAIT_S, check=True)
        assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_a_function_of_the_main_module(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        from schedcore.executors.pool import ProcessPoolExecutor
        from schedcore.testing.executor_suite import RecordingHost, make_run

        class OwnError(Exception):
            pass

        def job(n):
            if n == 2:
                raise OwnError(n)
            return 10 * n

        if __name__ == "__main__":
            host = RecordingHost()
            executor = ProcessPoolExecutor(1)
            executor.start(host, "default")
            runs = [make_run(job, n) for n in (1, 2)]
            executor.submit(runs)
            good, bad = host.wait(runs)
            print(good.retval, type(bad.exception) is OwnError)
    """)
    script = tmp_path / "program.py"
    script.write_text(code)
    # It ends without shutdown: that leaves nothing running, and says nothing.
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert (done.stdout.strip(), done.stderr) == ("10 True", "")


def test_an_exit_hook_that_was_there_first_can_wait_for_jobs(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
            import atexit

            def close():
                cut = executor.shutdown(wait=False)
                open(STOPPED, "w").close()
                executor.join()
                print(len(cut), *(finish.state for finish in host.finished))

            if __name__ == "__main__":
                atexit.register(close)
                from schedcore.executors.pool import ProcessPoolExecutor
                from schedcore.testing.executor_suite import RecordingHost, make_run

                host = RecordingHost()
                executor = ProcessPoolExecutor(1)
                executor.start(host, "default")
                wait = f"import os, time\\nwhile not os.path.exists({STOPPED!r}): time.sleep(0.002)"
                runs = [make_run(exec, wait), make_run(int)]
                executor.submit(runs)
                host.wait_started(runs[:1])
        """).replace("STOPPED", repr(str(tmp_path / "stopped")))
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert (done.stdout, done.stderr) == ("1 cancelled succeeded\n", "")


def test_an_unguarded_main_module_fails_the_run_with_advice(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
            import os
            from schedcore.executors.pool import ProcessPoolExecutor
            from schedcore.testing.executor_suite import RecordingHost, make_run

            host = RecordingHost()
            executor = ProcessPoolExecutor(1)
            executor.start(host, "default")
            run = make_run(os.getpid)
            executor.submit([run])
            print(host.finish_of(run).exception)
            executor.shutdown()
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert "before the job began" in done.stdout
    assert 'if __name__ == "__main__"' in done.stdout

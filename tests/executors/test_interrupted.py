"""Signal handlers that call an executor, or look at commands, in the midst of a call of the same thread wait for nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from schedcore.executors._command_programs import registry
from schedcore.executors.base import BaseExecutor
from schedcore.executors.command import kill_running, run_command, running_commands
from schedcore.executors.pool import ProcessPoolExecutor
from schedcore.job import Job
from schedcore.testing._suite import Aside, until
from schedcore.testing.executor_suite import RecordingHost, make_run
from tests.interrupting import disturbed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and commands are those of POSIX")

LIMIT_S = 60.0


def at_each_point(
    step: Callable[[], object], intrude: Callable[[], object], within: str | tuple[str, ...], least: int
) -> None:
    """Do something else at each point of a step, which has so many of them at least."""
    at = 1
    while Aside(disturbed, step, intrude, at, within).result(LIMIT_S):
        at += 1
    assert at > least


def test_an_executor_of_the_3x_kind_is_given_runs_in_the_midst_of_others() -> None:
    taken: list[str] = []

    class Third(BaseExecutor):
        """Only takes them."""

        def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
            taken.append(job.id)

    executor = Third()
    executor.start(RecordingHost(), "default")

    def submit() -> None:
        executor.submit([make_run(print, job_id="job")])

    at_each_point(submit, submit, "/executors/base.py", 3)
    assert executor._count_live("job") == len(taken)


def test_a_process_is_asked_for_and_stopped_in_the_midst_of_that(tmp_path: Path) -> None:
    began = tmp_path / "began"
    code = (
        f"import pathlib, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\npathlib.Path({str(began)!r}).touch()\n"
        "while True:\n    signal.pause()"
    )
    host = RecordingHost()
    executor = ProcessPoolExecutor(1)
    executor.start(host, "default")
    run = make_run(exec, code)
    executor.submit([run])
    until(began.exists, "the job does not begin")
    pid = executor.pid_of(run)
    at_each_point(lambda: executor.pid_of(run), lambda: executor.pid_of(run), "/_process.py", 2)
    crew = executor._crew
    assert crew is not None
    (seat,) = crew._seats.values()
    child = seat.child
    assert child is not None
    at_each_point(
        lambda: child.stop(hard=False), lambda: child.stop(hard=False), ("/_children.py", "/popen_fork.py"), 2
    )
    assert executor.pid_of(run) == pid
    assert executor.kill(run)
    executor.shutdown()


def test_commands_are_looked_at_and_stopped_in_the_midst_of_one() -> None:
    stopped: list[str] = []

    def look() -> None:
        for program in registry.snapshot():
            stopped.append(program.command)
            program.ask_to_stop(0.0)
            program.ended.wait(0.0)
            program.done.wait(0.0)
        assert len(running_commands()) <= 1
        kill_running()

    def run() -> None:
        # However it ended, and whether it began.
        run_command(["true"], ok_exit_codes=range(-64, 256))

    at_each_point(run, look, ("/_command_programs.py", "/command.py"), 20)
    at_each_point(run, look, "/threading.py", 20)
    assert "true" in stopped
    assert running_commands() == ()

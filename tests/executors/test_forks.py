"""A job that forks and lets its child come back: the child ends there, and runs nothing that its parent is about to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

PROGRAM = """
import os
import sys
import threading

from schedcore import BackgroundScheduler
from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED

def note(text):
    with open("notes", "a") as file:
        file.write(f"{text}\\n")

def fork():
    child = os.fork()
    if child:
        note(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return child == 0

def returns():
    fork()

def raises():
    if fork():
        raise ValueError("in the child")

def exits():
    if fork():
        sys.exit(7)

def last():
    note("last")

if __name__ == "__main__":
    options = {"type": sys.argv[1]} if sys.argv[1] == "debug" else {"type": sys.argv[1], "max_workers": 1}
    scheduler = BackgroundScheduler(executors={"default": options})
    over = threading.Semaphore(0)
    scheduler.add_listener(lambda event: over.release(), EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    scheduler.start(paused=True)
    for func in (returns, raises, exits, last):
        scheduler.add_job(func)
    scheduler.resume()
    for _ in range(4):
        if not over.acquire(timeout=150):
            note("not over")
    scheduler.shutdown()
"""


@pytest.mark.parametrize("executor", ["threadpool", "processpool", "debug"])
def test_the_child_ends_where_the_job_does(tmp_path: Path, executor: str) -> None:
    tmp_path.joinpath("program.py").write_text(PROGRAM)
    # From 3.12 on, Python warns of any fork beside threads.
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "program.py", executor],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert tmp_path.joinpath("notes").read_text().splitlines() == ["0", "1", "7", "last"]
    assert ended.returncode == 0
    assert ended.stderr.count("ValueError: in the child") == 1

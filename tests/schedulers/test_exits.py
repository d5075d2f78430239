"""Somebody's code calls ``sys.exit()`` in a thread of the scheduler's: that ends neither the thread nor the others' work."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest

from schedcore import BackgroundScheduler
from schedcore.events import (
    EVENT_JOB_BROKEN,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_SCHEDULER_SHUTDOWN,
    SchedulerEvent,
)
from schedcore.executors.base import BaseExecutor
from schedcore.executors.debug import DebugExecutor
from schedcore.job import Job
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Run
from schedcore.schedulers.base import STILL_CLOSING
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.interval import IntervalTrigger

# Seconds. Each of these takes some hundredths of one.
DEADLINE_S = 60.0


class ExitingTrigger(BaseTrigger):
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        if previous_fire_time is not None:
            sys.exit(3)
        return now + timedelta(milliseconds=20)


class ExitingExecutor(DebugExecutor):
    def submit(self, runs: Sequence[Run]) -> NoReturn:
        sys.exit(3)


class OldExitingExecutor(BaseExecutor):
    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> NoReturn:
        sys.exit(3)


SOON = IntervalTrigger(seconds=0.02)


@pytest.mark.parametrize(
    ("trigger", "executor", "code"),
    [
        (ExitingTrigger(), DebugExecutor(), EVENT_JOB_BROKEN),
        (SOON, ExitingExecutor(), EVENT_JOB_ERROR),
        (SOON, OldExitingExecutor(), EVENT_JOB_ERROR),
    ],
    ids=["trigger", "executor", "3.x executor"],
)
def test_what_exits_fails_alone(trigger: BaseTrigger, executor: Any, code: int) -> None:
    told: list[Any] = []
    failed, ran = threading.Event(), threading.Event()

    def listen(event: Any) -> None:
        told.append(event)
        failed.set()

    def run() -> None:
        # What counts is a run after the failure.
        if failed.is_set():
            ran.set()

    scheduler = BackgroundScheduler(executors={"odd": executor})
    scheduler.add_listener(listen, code)
    scheduler.start()
    try:
        scheduler.add_job(run, "interval", seconds=0.02)
        scheduler.add_job(int, trigger, id="odd", executor="odd")
        assert failed.wait(DEADLINE_S)
        assert ran.wait(DEADLINE_S)
    finally:
        scheduler.shutdown()
    assert {event.job_id for event in told} == {"odd"}
    assert str(told[0].exception) == "it called sys.exit(3)"


def test_a_listener_that_exits_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []
    executed = threading.Event()

    def leave(event: SchedulerEvent) -> NoReturn:
        sys.exit(3)

    def listen(event: SchedulerEvent) -> None:
        told.append(event.code)
        executed.set()

    scheduler = BackgroundScheduler()
    for listener in (leave, listen):
        scheduler.add_listener(listener, EVENT_JOB_EXECUTED | EVENT_SCHEDULER_SHUTDOWN)
    scheduler.start()
    scheduler.add_job(int)
    assert executed.wait(DEADLINE_S)
    # The thread that closes tells of the end.
    scheduler.shutdown(wait=False)
    scheduler.shutdown(timeout=DEADLINE_S)
    assert told == [EVENT_JOB_EXECUTED, EVENT_SCHEDULER_SHUTDOWN]
    assert caplog.text.count("RuntimeError: it called sys.exit(3)") == 2


def test_a_second_shutdown_whose_time_ends_no_sooner_waits_for_what_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(MemoryJobStore):
        def shutdown(self) -> None:
            waited.wait(0.2)  # nobody sets it: a store that takes its time to close

    waited, begun, release = (threading.Event() for _ in range(3))

    def job() -> None:
        begun.set()
        release.wait(DEADLINE_S)

    scheduler = BackgroundScheduler(jobstores={"default": Slow()})
    scheduler.start()
    scheduler.add_job(job, id="x")
    assert begun.wait(DEADLINE_S)
    scheduler.shutdown(wait=False, timeout=0)
    try:
        assert [run.job.id for run in scheduler.shutdown(timeout=0)] == ["x"]
    finally:
        release.set()
    assert STILL_CLOSING not in caplog.text


def test_the_log_names_what_a_shutdown_finds_running(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "schedcore")
    begun, release = threading.Semaphore(0), threading.Event()

    def job() -> None:
        begun.release()
        release.wait(DEADLINE_S)

    scheduler = BackgroundScheduler()
    scheduler.start()
    scheduler.add_jobs({"func": job, "id": f"job {number}"} for number in range(7))
    assert all(begun.acquire(timeout=DEADLINE_S) for _ in range(7))
    scheduler.shutdown(timeout=0)
    release.set()
    [line] = [record.getMessage() for record in caplog.records if "under way" in record.getMessage()]
    assert line == "shutting down, while 7 run(s) are under way: " + ", ".join(f"'job {n}'" for n in range(5)) + ", …"


def test_a_listener_that_exits_in_the_main_thread_ends_the_program_and_nobody_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def leave(event: SchedulerEvent) -> NoReturn:
        sys.exit(3)

    scheduler = BackgroundScheduler()
    scheduler.add_listener(leave, EVENT_SCHEDULER_SHUTDOWN)
    scheduler.start()
    with pytest.raises(SystemExit):
        scheduler.shutdown()
    scheduler.shutdown(timeout=DEADLINE_S)
    assert STILL_CLOSING not in caplog.text


WAITS_TO_END = """
import logging
import threading

from schedcore import BackgroundScheduler
from schedcore.schedulers import _program

told = threading.Event()


class Hears(logging.Handler):
    def emit(self, record):
        print(record.getMessage())
        told.set()


def job():
    begun.set()
    print("told" if told.wait(60) else "not told", flush=True)


_program._SILENT_S = 0.01
logging.getLogger("schedcore").addHandler(Hears())  # which has its usual level
begun = threading.Event()
scheduler = BackgroundScheduler()
scheduler.add_job(job, id="backup")
scheduler.start()
begun.wait(60)
"""


THREAD_AT_EXIT = """
import atexit
import threading

thread = threading.Thread(target=print, args=["started"])
atexit.register(lambda: (thread.start(), thread.join()))
"""


def run_program(program: str) -> tuple[int, str, str]:
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S * 2, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_program_that_does_not_end_says_for_which_jobs_it_waits() -> None:
    if run_program(THREAD_AT_EXIT)[1] != "started\n":
        pytest.skip("this Python starts no thread while it ends, as 3.12 in its first releases")
    heard = "the program waits to end, while 1 run(s) are under way: 'backup'\ntold\n"
    assert run_program(WAITS_TO_END) == (0, heard, "")

"""Somebody's code calls ``sys.exit()`` in the scheduler's thread: that ends neither the thread nor the other jobs' schedule."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest

from schedcore import BackgroundScheduler
from schedcore.events import EVENT_JOB_BROKEN, EVENT_JOB_ERROR
from schedcore.executors.base import BaseExecutor
from schedcore.executors.debug import DebugExecutor
from schedcore.job import Job
from schedcore.run import Run
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.interval import IntervalTrigger

# Seconds. Each of these takes some hundredths of one.
DEADLINE_S = 20.0


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

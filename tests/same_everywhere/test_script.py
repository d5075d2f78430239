"""One script, one sequence of events: on every framework, and every time.

``script`` uses jobs, triggers and schedulers as an application does: a backlog that is coalesced and one that is not, what is
too late and what overlaps, pauses of a job and of all, failures, changes, removal, a store that fails, and a shutdown in the
middle of it. Time stands still and is moved by hand, jobs wait at gates, and each step is waited for; what is left to chance
is nothing that a user may see.

What listeners are told is written in ``SEQUENCE``, a line for each event, in the order in which they are told it; where
several jobs run in one step, the lines of each are together. The script
is run on each framework, in memory and in a store that does I/O, with jobs that are plain functions, and with the kinds of
jobs that the framework calls asynchronous: the lines are the same ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedcore import events
from schedcore.events import JobBrokenEvent, JobEvent, JobExecutionEvent, JobSkippedEvent, JobSubmissionEvent
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing import EventLog, HandClock
from schedcore.testing._suite import Aside, until
from schedcore.testing.runtime import Runtime, Steps

START = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE_S = 60.0

SEQUENCE = """
SCHEDULER_STARTED
JOB_ADDED ten

JOB_SUBMITTED ten 10
JOB_STARTED ten 10
JOB_EXECUTED ten 10 'ten'

JOB_ADDED each

JOB_ADDED hurry

JOB_SUBMITTED each 20
JOB_STARTED each 20
JOB_EXECUTED each 20 'each'
JOB_SUBMITTED each 30
JOB_STARTED each 30
JOB_EXECUTED each 30 'each'
JOB_SUBMITTED each 40
JOB_STARTED each 40
JOB_EXECUTED each 40 'each'
JOB_MISSED hurry 20 30 misfired x2
JOB_SUBMITTED hurry 40
JOB_STARTED hurry 40
JOB_EXECUTED hurry 40 'hurry'
JOB_SKIPPED ten 20 30 coalesced x2
JOB_SUBMITTED ten 40
JOB_STARTED ten 40
JOB_EXECUTED ten 40 'ten'

JOB_REMOVED each
JOB_REMOVED hurry

JOB_MODIFIED ten

JOB_ADDED slow

JOB_SUBMITTED slow 45
JOB_STARTED slow 45

JOB_MAX_INSTANCES slow 46
JOB_SKIPPED slow 46 46 overlap x1

JOB_EXECUTED slow 45 'slow'

JOB_SUBMITTED slow 47
JOB_STARTED slow 47
JOB_EXECUTED slow 47 'slow'

JOB_REMOVED slow

JOB_SKIPPED ten 50 60 paused x2
JOB_MODIFIED ten

JOB_MODIFIED ten

JOB_MODIFIED ten

JOB_SUBMITTED ten 81
JOB_STARTED ten 81
JOB_EXECUTED ten 81 'ten'

SCHEDULER_PAUSED

SCHEDULER_RESUMED
JOB_SKIPPED ten 101 101 coalesced x1
JOB_SUBMITTED ten 121
JOB_STARTED ten 121
JOB_EXECUTED ten 121 'ten'

JOB_ADDED fails

JOB_SUBMITTED fails 127
JOB_STARTED fails 127
JOB_ERROR fails 127 ValueError('as it is wanted')

JOB_SUBMITTED fails 128
JOB_STARTED fails 128
JOB_ERROR fails 128 ValueError('as it is wanted')

JOB_REMOVED fails

JOB_ADDED nobody's
JOB_BROKEN nobody's its executor 'missing' is missing

JOB_REMOVED nobody's

JOB_ADDED added
JOB_ADDED adds
JOB_REMOVED adds
JOB_SUBMITTED adds 128
JOB_STARTED adds 128
JOB_EXECUTED adds 128 'added'

ALL_JOBS_REMOVED

JOB_ADDED last

JOB_SUBMITTED last 129
JOB_STARTED last 129

SCHEDULER_SHUTDOWN
JOB_EXECUTED last 129 'last'

SCHEDULER_STARTED
JOB_SUBMITTED last 130
JOB_STARTED last 130
JOB_EXECUTED last 130 'last'

SCHEDULER_SHUTDOWN
"""


class FarStore(MemoryJobStore):
    """A store that does I/O, as far as anybody can tell."""

    traits = StoreTraits(blocking=True, durable=False)


class Stage:
    """A scheduler on a framework, and the jobs of the script."""

    def __init__(self, runtime: Runtime, kind: str | None, store: MemoryJobStore) -> None:
        self.runtime = runtime
        self.kind = kind
        self.clock = HandClock(START)
        self.scheduler: BaseScheduler = runtime.call(
            lambda: runtime.make(clock=self.clock, timezone="UTC", jobstores={"default": store})
        )
        self.log = EventLog(self.scheduler)
        self.gates: list[threading.Event] = []
        self.steps: list[str] = []
        self._told = 0

    def gate(self, open_: bool = False) -> threading.Event:
        gate = threading.Event()
        if open_:
            gate.set()
        self.gates.append(gate)
        return gate

    def job(
        self, end: Callable[[], Any], gate: threading.Event | None = None
    ) -> tuple[Callable[[], Any], dict[str, Any]]:
        """A job that waits at a gate, if there is one: the function, and what ``add_job`` has to know of it."""
        gate = self.gate(open_=True) if gate is None else gate
        if self.kind is not None:
            options = dict(self.runtime.native_options.get(self.kind, {}))
            return self.runtime.native_jobs[self.kind](Steps(gate, end)), options

        def job() -> Any:
            self.runtime.wait_in_job(gate)
            return end()

        return job, {}

    def add(
        self,
        name: str,
        *trigger: Any,
        end: Callable[[], Any] = int,
        gate: threading.Event | None = None,
        **options: Any,
    ) -> None:
        func, more = self.job(end, gate)
        # Not on the loop: a store that does I/O is to have the job when the call returns.
        settings: dict[str, Any] = {**more, **options, "id": name}
        self.scheduler.add_job(func, *trigger, **settings)

    def move(self, seconds: float) -> None:
        self.clock.move(seconds)
        self.runtime.call(self.scheduler.wakeup)

    def wait(self, *told: str) -> None:
        """Wait until these lines, and whatever comes before them, were told: a step is over. They are the last of each job."""

        def all_there(log: EventLog) -> bool:
            lines = self._new_lines()
            return all(lines.count(line) >= told.count(line) for line in told)

        try:
            self.log.wait_for(all_there, PATIENCE_S)
        except TimeoutError:
            pytest.fail("\n".join([f"{told} did not come; since the last step came", *self._new_lines()]))
        lines = self._new_lines()
        self._told += len(lines)
        # Of several jobs that run at a time nobody can say whose line comes first: each has its lines together.
        self.steps.append("\n".join(sorted(lines, key=job_of)))

    def _new_lines(self) -> list[str]:
        return [line_of(event) for event in list(self.log.events)[self._told :]]


def line_of(event: Any) -> str:
    """An event as text: its name, the job, and what matters of it. Times in minutes since the start of the script."""
    name = next(
        name.removeprefix("EVENT_")
        for name in events.__all__
        if name.startswith("EVENT_") and getattr(events, name) == event.code
    )
    parts = [name]
    if isinstance(event, JobEvent):
        parts.append(event.job_id)
    elif event.alias is not None:
        parts.append(event.alias)
    if isinstance(event, JobSubmissionEvent):
        parts += [minute(at) for at in event.scheduled_run_times]
    elif isinstance(event, JobSkippedEvent):
        parts += [minute(event.first_run_time), minute(event.scheduled_run_time), event.reason, f"x{event.count}"]
    elif isinstance(event, JobExecutionEvent):
        parts.append(minute(event.scheduled_run_time))
        if event.exception is not None:
            parts.append(repr(event.exception))
        elif event.code == events.EVENT_JOB_EXECUTED:
            parts.append(repr(event.retval))
    elif isinstance(event, JobBrokenEvent):
        parts.append(event.reason)
    return " ".join(parts)


def job_of(line: str) -> str:
    name, _, rest = line.partition(" ")
    return rest.partition(" ")[0] if name.startswith("JOB_") else ""


def minute(at: datetime) -> str:
    return f"{(at - START) / timedelta(minutes=1):g}"


def script(stage: Stage) -> None:
    scheduler = stage.scheduler
    runtime = stage.runtime

    def fail() -> None:
        raise ValueError("as it is wanted")

    # Before the start: three jobs wait, one of them is taken back.
    stage.add("ten", "interval", minutes=10, end=lambda: "ten")
    stage.add("gone", "interval", minutes=1)
    scheduler.remove_job("gone")
    runtime.start(scheduler)
    stage.wait("SCHEDULER_STARTED", "JOB_ADDED ten")

    # One run, on time.
    stage.move(10 * 60)
    stage.wait("JOB_EXECUTED ten 10 'ten'")

    # A backlog: one is coalesced, one is not, and one is too late but for the last.
    stage.add("each", "interval", minutes=10, coalesce=False, end=lambda: "each")
    stage.wait("JOB_ADDED each")
    stage.add("hurry", "interval", minutes=10, misfire_grace_time=300, end=lambda: "hurry")
    stage.wait("JOB_ADDED hurry")
    stage.move(34 * 60)
    stage.wait(
        "JOB_EXECUTED ten 40 'ten'",
        "JOB_EXECUTED each 20 'each'",
        "JOB_EXECUTED each 30 'each'",
        "JOB_EXECUTED each 40 'each'",
        "JOB_EXECUTED hurry 40 'hurry'",
    )
    scheduler.remove_job("each")
    scheduler.remove_job("hurry")
    stage.wait("JOB_REMOVED each", "JOB_REMOVED hurry")

    # A job that is slow: its next run is left out.
    scheduler.pause_job("ten")
    stage.wait("JOB_MODIFIED ten")
    gate = stage.gate()
    stage.add("slow", "interval", minutes=1, gate=gate, end=lambda: "slow")
    stage.wait("JOB_ADDED slow")
    stage.move(60)
    stage.wait("JOB_STARTED slow 45")
    stage.move(60)
    stage.wait("JOB_SKIPPED slow 46 46 overlap x1")
    gate.set()
    stage.wait("JOB_EXECUTED slow 45 'slow'")
    stage.move(60)
    stage.wait("JOB_EXECUTED slow 47 'slow'")
    scheduler.remove_job("slow")
    stage.wait("JOB_REMOVED slow")

    # A job is taken up again, and changed, and put on another schedule.
    stage.move(13.5 * 60)
    scheduler.resume_job("ten")
    stage.wait("JOB_MODIFIED ten")
    scheduler.modify_job("ten", name="another name")
    stage.wait("JOB_MODIFIED ten")
    stage.move(0.5 * 60)
    scheduler.reschedule_job("ten", trigger="interval", minutes=20)
    stage.wait("JOB_MODIFIED ten")
    stage.move(20 * 60)
    stage.wait("JOB_EXECUTED ten 81 'ten'")

    # All is paused; what falls due meanwhile is late.
    runtime.call(scheduler.pause)
    stage.wait("SCHEDULER_PAUSED")
    stage.move(45 * 60)
    runtime.call(scheduler.resume)
    stage.wait("SCHEDULER_RESUMED", "JOB_EXECUTED ten 121 'ten'")

    # Failures: the job is fired again all the same.
    stage.add("fails", "interval", minutes=1, end=fail)
    stage.wait("JOB_ADDED fails")
    for number in (127, 128):
        stage.move(60)
        stage.wait(f"JOB_ERROR fails {number} ValueError('as it is wanted')")
    scheduler.remove_job("fails")
    stage.wait("JOB_REMOVED fails")

    # Nobody is there to run it.
    stage.add("nobody's", "date", run_date=stage.clock.now(), executor="missing")
    stage.wait("JOB_BROKEN nobody's its executor 'missing' is missing")
    scheduler.remove_job("nobody's")
    stage.wait("JOB_REMOVED nobody's")

    # A job adds another, which runs at once.
    stage.add("adds", end=lambda: scheduler.add_job(int, "interval", id="added", minutes=600).id)
    stage.wait("JOB_EXECUTED adds 128 'added'", "JOB_ADDED added")
    scheduler.remove_all_jobs()
    stage.wait("ALL_JOBS_REMOVED")

    # The end, while a job runs: what falls due now is not fired any more.
    gate = stage.gate()
    stage.add("last", "interval", minutes=1, gate=gate, end=lambda: "last")
    stage.wait("JOB_ADDED last")
    stage.move(60)
    stage.wait("JOB_STARTED last 129")
    stage.clock.move(60)
    closing = Aside(runtime.shutdown, scheduler)
    until(lambda: not scheduler.running, "shutdown did not stop it")
    gate.set()
    assert closing.result() == []
    stage.wait("SCHEDULER_SHUTDOWN")
    assert runtime.shutdown(scheduler) == []  # the end was told; now it has come

    # It is fired when all begins again.
    runtime.start(scheduler)
    stage.wait("SCHEDULER_STARTED", "JOB_EXECUTED last 130 'last'")
    assert runtime.shutdown(scheduler) == []
    stage.wait("SCHEDULER_SHUTDOWN")


def perform(case: Any, kind: str | None, store: MemoryJobStore) -> str:
    def play() -> str:
        with case.runtime() as runtime:
            stage = Stage(runtime, kind, store)
            try:
                script(stage)
            finally:
                for gate in stage.gates:
                    gate.set()
                runtime.shutdown(stage.scheduler, timeout=5)
            return "\n\n".join(stage.steps)

    sequence: str = case.host(play)
    return sequence


def kinds(case: Any) -> Iterator[str | None]:
    yield None
    yield from case.traits.native


def test_the_script_gives_the_sequence(case: Any) -> None:
    for kind in kinds(case):
        assert perform(case, kind, MemoryJobStore()) == SEQUENCE.strip(), f"with jobs of kind {kind}"
    assert perform(case, None, FarStore()) == SEQUENCE.strip()

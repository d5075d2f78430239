"""Behaviours of schedulers: how they start, and how they stop."""

from __future__ import annotations

import threading
import time

from schedcore.errors import SchedulerAlreadyRunningError, SchedulerNotRunningError, SchedulerStartError
from schedcore.events import (
    EVENT_JOB_EXECUTED,
    EVENT_SCHEDULER_SHUTDOWN,
)
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.schedulers.base import STATE_STOPPED
from schedcore.testing._scheduler_bench import Bench, behaviour
from schedcore.testing._suite import PATIENCE_S, Aside, until
from schedcore.testing.log import EventLog

__all__: list[str] = []


@behaviour("starts, runs a job and shuts down")
def _runs(bench: Bench) -> None:
    scheduler = bench.start()
    assert scheduler.running
    calls = bench.calls()
    bench.add(scheduler, calls, args=["x"])
    calls.wait_ended()
    assert bench.shutdown(scheduler) == []
    assert calls.begun == [("x",)]
    assert scheduler.state == STATE_STOPPED


@behaviour("refuses to be started twice")
def _twice(bench: Bench) -> None:
    scheduler = bench.start()
    for _ in range(2):
        try:
            bench.runtime.start(scheduler)
        except SchedulerAlreadyRunningError:
            pass
        else:
            raise AssertionError("the second start did not raise SchedulerAlreadyRunningError")
    calls = bench.calls()
    bench.add(scheduler, calls)
    calls.wait_ended()


@behaviour("refuses to be started where it cannot live, and says what is wrong", "loop")
def _wrong_starts(bench: Bench) -> None:
    cases = bench.runtime.wrong_starts()
    assert cases, "its runtime names no case: Runtime.wrong_starts"
    for case, (start, word) in cases.items():
        message = ""
        try:
            start()
        except SchedulerStartError as error:
            message = str(error)
        assert message, f"where {case}, it did not raise SchedulerStartError"
        assert word in message, f"where {case}, it says: {message}"


@behaviour("starts again after shutdown, and fires again")
def _again(bench: Bench) -> None:
    scheduler = bench.make()
    calls = bench.calls()
    for number in range(1, 4):
        bench.start(scheduler)
        bench.add(scheduler, calls)
        calls.wait_ended(number)
        bench.shutdown(scheduler)
        assert not scheduler.running


@behaviour("may be shut down before it was started, and after")
def _before_start(bench: Bench) -> None:
    scheduler = bench.make()
    for wait in (True, False):
        assert bench.shutdown(scheduler, wait) == []
    bench.start(scheduler)
    for wait in (True, True, False):
        assert bench.shutdown(scheduler, wait) == []


@behaviour("waits at shutdown until the jobs that run are over")
def _waits(bench: Bench) -> None:
    scheduler = bench.start()
    gate = bench.gate()
    calls = bench.calls(gate)
    bench.add(scheduler, calls)
    calls.wait_begun()
    closing = Aside(lambda: bench.runtime.shutdown(scheduler))
    until(lambda: not scheduler.running, "shutdown did not stop it")
    time.sleep(0.01)
    assert not closing.over, "shutdown returned while a job was running"
    gate.set()
    assert closing.result() == []
    assert calls.ended == [()], "shutdown returned before the job was over"


@behaviour("returns at once from a shutdown that does not wait, and closes behind the jobs that run")
def _does_not_wait(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    gate = bench.gate()
    calls = bench.calls(gate)
    bench.add(scheduler, calls)
    calls.wait_begun()
    bench.shutdown(scheduler, wait=False)
    assert not scheduler.running
    assert calls.ended == []
    assert log.of(EVENT_SCHEDULER_SHUTDOWN) == []
    gate.set()
    bench.wait_closed(scheduler)
    assert calls.ended == [()]
    assert len(log.of(EVENT_JOB_EXECUTED)) == 1, f"the end of the job was not told: {log.names()}"


@behaviour("says of a shutdown that ran out of time what it has cut")
def _timeout(bench: Bench) -> None:
    scheduler = bench.start(executors={"default": ThreadPoolExecutor(2)})
    gate = bench.gate()
    calls = bench.calls()

    def hold() -> None:
        calls()
        gate.wait(PATIENCE_S)

    for name in ("one", "two", "waits"):
        bench.add(scheduler, hold, id=name)
    calls.wait_begun(2)
    cut = bench.shutdown(scheduler, timeout=0.02)
    assert sorted(run.job.id for run in cut) == ["one", "two", "waits"], f"cut were {[run.id for run in cut]}"
    assert not scheduler.running
    gate.set()
    assert calls.count == 2, "what had not begun when time was up was called after all"


@behaviour("raises SchedulerNotRunningError for what only a running one can do")
def _not_running(bench: Bench) -> None:
    scheduler = bench.make()

    def refuse() -> None:
        for call in (scheduler.pause, scheduler.resume, scheduler.wakeup):
            try:
                bench.call(call)
            except SchedulerNotRunningError:
                pass
            else:
                raise AssertionError(f"{call.__name__}() did not raise")

    refuse()
    bench.start(scheduler)
    for call in (scheduler.pause, scheduler.resume, scheduler.wakeup):
        bench.call(call)
    bench.shutdown(scheduler)
    refuse()


@behaviour("may be shut down by a job, which does not wait for itself")
def _from_a_job(bench: Bench) -> None:
    for wait in (True, False):
        scheduler = bench.start()
        went_on = threading.Event()

        def job(scheduler=scheduler, wait=wait, went_on=went_on) -> None:  # type: ignore[no-untyped-def]
            scheduler.shutdown(wait)
            went_on.set()

        bench.add(scheduler, job)
        assert went_on.wait(PATIENCE_S), f"the job waits for itself (wait={wait})"
        assert not scheduler.running
        bench.wait_closed(scheduler)


@behaviour("may be shut down by a listener")
def _from_a_listener(bench: Bench) -> None:
    scheduler = bench.make()
    returned = threading.Event()

    def stop(event: object) -> None:
        scheduler.shutdown()
        returned.set()

    log = EventLog(scheduler)
    scheduler.add_listener(stop, EVENT_JOB_EXECUTED)
    bench.start(scheduler)
    bench.add(scheduler, bench.calls())
    assert returned.wait(PATIENCE_S), "the listener waits for itself"
    bench.wait_closed(scheduler)
    assert log.names()[-1] == "SCHEDULER_SHUTDOWN"


@behaviour("may be shut down by eight threads at a time, and stops once")
def _from_threads(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    calls = bench.calls()
    bench.add(scheduler, calls)
    calls.wait_ended()
    start = threading.Barrier(8)

    def stop() -> None:
        start.wait(PATIENCE_S)
        scheduler.shutdown()

    for aside in [Aside(stop) for _ in range(8)]:
        aside.result()
    bench.wait_closed(scheduler)
    assert len(log.of(EVENT_SCHEDULER_SHUTDOWN)) == 1

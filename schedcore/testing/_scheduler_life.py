"""Behaviours of schedulers: how they start, and how they stop."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings

from schedcore.errors import SchedulerAlreadyRunningError, SchedulerNotRunningError, SchedulerStartError
from schedcore.events import EVENT_JOB_EXECUTED, EVENT_JOB_SKIPPED, EVENT_JOB_SUBMITTED, EVENT_SCHEDULER_SHUTDOWN
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.schedulers.base import STATE_STOPPED, BaseScheduler
from schedcore.testing._scheduler_bench import Bench, behaviour
from schedcore.testing._suite import Aside, patience, until
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
    closing = Aside(bench.runtime.shutdown, scheduler)
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
    scheduler, log = bench.start_logged(executors={"default": ThreadPoolExecutor(2)})
    gate = bench.gate()
    calls = bench.calls()

    def hold() -> None:
        calls()
        gate.wait(patience.seconds)

    for name in ("one", "two", "waits"):
        bench.add(scheduler, hold, id=name)
    bench.told(log, EVENT_JOB_SUBMITTED, 3)
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
        assert went_on.wait(patience.seconds), f"the job waits for itself (wait={wait})"
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
    assert returned.wait(patience.seconds), "the listener waits for itself"
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
        start.wait(patience.seconds)
        scheduler.shutdown()

    for aside in [Aside(stop) for _ in range(8)]:
        aside.result()
    bench.wait_closed(scheduler)
    assert len(log.of(EVENT_SCHEDULER_SHUTDOWN)) == 1


@behaviour("fires nothing after its shutdown")
def _nothing_after(bench: Bench) -> None:
    for wait in (True, False):
        scheduler, log = bench.start_logged()
        calls = bench.calls()
        bench.add(scheduler, calls, "interval", seconds=0.005, id="j")
        calls.wait_ended(3)
        bench.shutdown(scheduler, wait)
        bench.wait_closed(scheduler)
        count, names = calls.count, log.names()
        assert names[-1] == "SCHEDULER_SHUTDOWN"
        time.sleep(0.03)
        assert calls.count == count, f"it fired after shutdown(wait={wait})"
        assert log.names() == names, "it told of something after its end"


@behaviour("stops in the middle of a burst, and says of each run what became of it")
def _stops_in_a_burst(bench: Bench) -> None:
    for wait in (True, False):
        scheduler, log, clock = bench.start_at()
        gate = bench.gate()
        calls = bench.calls(gate)
        bench.call(scheduler.pause)
        for number in range(500):
            scheduler.add_job(calls, "date", run_date=clock.now(), id=str(number))
        bench.call(scheduler.resume)
        calls.wait_begun()
        closing = Aside(bench.runtime.shutdown, scheduler, wait)
        if not wait:
            closing.result()
        until(lambda: not scheduler.running, "shutdown did not stop it")  # noqa: B023  # it is over before the next
        gate.set()
        closing.result()
        bench.wait_closed(scheduler)
        executed = [event.run_id for event in log.of(EVENT_JOB_EXECUTED)]
        assert sorted(executed) == sorted(calls.run_ids), "of runs that were made not all, or others, were told"
        submitted = {event.run_ids[0] for event in log.of(EVENT_JOB_SUBMITTED)}
        assert submitted >= set(executed), "runs were made that were not submitted"
        # What it had not come to is fired when it is started again; what it had come to is not fired twice.
        bench.start(scheduler)
        bench.settle(scheduler)
        until(lambda: not scheduler.get_jobs(), "jobs that were due were not fired")  # noqa: B023  # it is over
        bench.shutdown(scheduler)
        skipped = log.of(EVENT_JOB_SKIPPED)
        assert {event.reason for event in skipped} <= {"shutdown"}
        assert len(set(calls.run_ids)) == calls.count, "a fire time was carried out twice"
        assert calls.count + len(skipped) == 500, f"of 500 runs {calls.count} were made and {len(skipped)} taken back"


@behaviour("takes back the runs that have not begun when a shutdown does not wait, and says so")
def _takes_back(bench: Bench) -> None:
    scheduler = bench.make(executors={"default": ThreadPoolExecutor(1)})
    log = EventLog(scheduler)
    bench.start(scheduler)
    gate = bench.gate()
    begun = threading.Event()
    calls = bench.calls()

    def hold() -> None:
        begun.set()
        gate.wait(patience.seconds)

    bench.add(scheduler, hold, id="holds")
    assert begun.wait(patience.seconds)
    for name in ("a", "b", "c"):
        bench.add(scheduler, calls, id=name)
    bench.told(log, EVENT_JOB_SUBMITTED, 4)
    bench.shutdown(scheduler, wait=False)
    gate.set()
    bench.wait_closed(scheduler)
    assert calls.count == 0, "what had not begun was called"
    skipped = log.of(EVENT_JOB_SKIPPED)
    assert sorted((event.job_id, event.reason) for event in skipped) == [(name, "shutdown") for name in "abc"]
    assert len(log.of(EVENT_JOB_EXECUTED, "holds")) == 1


@behaviour("lets a job that runs while it stops call whatever it likes")
def _called_while_stopping(bench: Bench) -> None:
    scheduler = bench.start()
    gate = bench.gate()
    begun, done = threading.Event(), threading.Event()
    calls = bench.calls()

    def job() -> None:
        begun.set()
        bench.runtime.wait_in_job(gate)
        scheduler.add_job(calls, id="later")
        scheduler.get_jobs()
        scheduler.get_job("later")
        scheduler.shutdown()
        done.set()

    bench.add(scheduler, job)
    assert begun.wait(patience.seconds)
    closing = Aside(bench.runtime.shutdown, scheduler)
    until(lambda: not scheduler.running, "shutdown did not stop it")
    gate.set()
    closing.result()
    assert done.is_set(), "the job was held up"
    assert calls.count == 0


@behaviour("starts and stops thirty times in a row, and leaves no thread behind")
def _storm(bench: Bench) -> None:
    scheduler = bench.make()
    log = EventLog(scheduler)
    calls = bench.calls()
    before: set[threading.Thread] = set()
    for number in range(30):
        if number == 5:  # what a framework sets up once and for all has been set up by now
            before = set(threading.enumerate())
        bench.start(scheduler)
        if number % 3:
            bench.add(scheduler, calls)
        if number % 3 == 2:
            calls.wait_begun(calls.count)
        bench.shutdown(scheduler, wait=bool(number % 2))
        bench.wait_closed(scheduler)
    names = [name for name in log.names() if name.startswith("SCHEDULER")]
    assert names == ["SCHEDULER_STARTED", "SCHEDULER_SHUTDOWN"] * 30, names
    here = threading.current_thread()

    def left() -> list[threading.Thread]:
        kept = bench.runtime.keeps_threads
        return [
            thread
            for thread in threading.enumerate()
            if thread not in before and thread is not here and not thread.name.startswith(kept)
        ]

    until(lambda: not left(), f"left are {left()}")


@behaviour("lives beside others on the same loop, each with its own jobs")
def _beside_others(bench: Bench) -> None:
    schedulers = [bench.start() for _ in range(3)]
    calls = bench.calls()
    for number, scheduler in enumerate(schedulers):
        bench.add(scheduler, calls, args=[number], id="the same id")
    calls.wait_ended(3)
    assert sorted(calls.begun) == [(0,), (1,), (2,)]
    bench.shutdown(schedulers[0])
    for number in (1, 2):
        bench.add(schedulers[number], calls, args=["again"])
    calls.wait_ended(5)


@behaviour("is stopped in the child of a fork, and goes on in the parent", "fork")
def _fork(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    gate = bench.gate()
    calls = bench.calls(gate)
    bench.add(scheduler, calls)
    bench.add(scheduler, bench.calls(), "interval", hours=1, id="j")
    calls.wait_begun()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # That a process with threads is forked is the point of it.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _in_the_child(scheduler, writing)
    os.close(writing)
    try:
        said = Aside(os.read, reading, 10_000).result()
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.waitpid(pid, 0)
        os.close(reading)
    assert said == b"well", f"in the child: {said.decode() or 'it died'}"
    assert scheduler.running
    gate.set()
    calls.wait_ended()
    bench.settle(scheduler)
    assert [job.id for job in scheduler.get_jobs()] == ["j"]
    bench.shutdown(scheduler)
    assert len(log.of(EVENT_SCHEDULER_SHUTDOWN)) == 1


def _in_the_child(scheduler: BaseScheduler, writing: int) -> None:
    """Of the parent's threads there is none here. Whatever happens, this process ends here."""
    said = "it did not come to its end"
    try:
        said = f"its state is {scheduler.state}"
        if scheduler.state == STATE_STOPPED:
            try:
                scheduler.start()
                said = "it was started"
            except SchedulerStartError as error:
                said = "well" if "fork" in str(error) else f"start() says: {error}"
    except BaseException as error:  # noqa: BLE001  # it is told to the parent
        said = repr(error)
    finally:
        os.write(writing, said.encode())
        os._exit(0)

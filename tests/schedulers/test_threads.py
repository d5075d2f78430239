"""Schedulers with real threads and real time. Every test waits for an event, with a limit that only a failure reaches."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest

from schedcore.errors import ConfigurationError
from schedcore.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_STARTED,
    EVENT_JOB_SUBMITTED,
    EVENT_SCHEDULER_STARTED,
)
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.schedulers.base import BaseScheduler
from schedcore.schedulers.blocking import BlockingScheduler
from schedcore.testing import EventLog
from schedcore.testing._suite import until

# Seconds. Only a failure waits as long.
LIMIT_S = 60.0


class Job:
    """A job that says that it has begun, and goes on until it is told to end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.ended = threading.Event()
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self.begun.set()
        assert self.go_on.wait(LIMIT_S)
        self.ended.set()
        return "done"


class SlowStore(MemoryJobStore):
    """Does I/O, and takes its time over it until it is told to go on."""

    traits = StoreTraits(blocking=True, durable=False)

    def __init__(self) -> None:
        super().__init__()
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def fire(self, now: Any, limit: int, executors: Any) -> Any:
        self.inside.set()
        assert self.go_on.wait(LIMIT_S)
        return super().fire(now, limit, executors)


def nothing() -> None:
    pass


@pytest.fixture
def background() -> Iterator[Callable[..., BackgroundScheduler]]:
    made: list[BackgroundScheduler] = []

    def make(*, started: bool = True, **options: Any) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(timezone="UTC", **options)
        made.append(scheduler)
        if started:
            scheduler.start()
        return scheduler

    yield make
    for scheduler in made:
        scheduler.shutdown()


def thread_of(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def join(thread: threading.Thread) -> None:
    thread.join(LIMIT_S)
    assert not thread.is_alive()


def test_whoever_looks_at_the_jobs_as_it_starts_sees_each_once(background: Callable[..., BackgroundScheduler]) -> None:
    """Two threads handed the waiting jobs to their store: one of them failed, or took them out again as if they were removed."""
    interval_s = sys.getswitchinterval()
    for _ in range(40):
        scheduler = background(started=False)
        for number in range(50):
            scheduler.add_job(nothing, "interval", hours=1, id=str(number))
        over = threading.Event()
        counts: set[int] = set()

        def look(
            scheduler: BackgroundScheduler = scheduler, over: threading.Event = over, counts: set[int] = counts
        ) -> None:
            try:
                while not over.is_set():
                    counts.add(len(scheduler.get_jobs()))
                    counts.add(49 + (scheduler.get_job("49") is not None))
            except Exception:
                counts.add(-1)
                raise

        sys.setswitchinterval(1e-5)
        thread = thread_of(look)
        try:
            scheduler.start()
        finally:
            sys.setswitchinterval(interval_s)
            over.set()
            join(thread)
        assert counts <= {50}
        assert len(scheduler.get_jobs()) == 50
        scheduler.shutdown()


class TestShutdown:
    def test_before_start_and_twice(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler = background(started=False)
        assert scheduler.shutdown() == []
        scheduler.start()
        assert scheduler.shutdown() == []
        assert scheduler.shutdown() == []
        assert not scheduler.running

    def test_waits_for_what_runs(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler, job = background(), Job()
        log = EventLog(scheduler)
        scheduler.add_job(job)
        assert job.begun.wait(LIMIT_S)
        stopping = thread_of(scheduler.shutdown)
        while scheduler.running:
            pass
        assert stopping.is_alive()
        job.go_on.set()
        join(stopping)
        assert job.ended.is_set()
        assert log.names()[-2:] == ["JOB_EXECUTED", "SCHEDULER_SHUTDOWN"]

    def test_without_waiting(self, background: Callable[..., BackgroundScheduler]) -> None:
        """What runs goes on; what has not begun is taken back; all is closed behind them."""
        scheduler = background(executors={"default": ThreadPoolExecutor(1)})
        log = EventLog(scheduler)
        first, second = Job(), Job()
        scheduler.add_job(first, id="first")
        assert first.begun.wait(LIMIT_S)
        scheduler.add_job(second, id="second")
        log.wait_for(lambda log: bool(log.of(EVENT_JOB_SUBMITTED, "second")))
        assert scheduler.shutdown(wait=False) == []
        assert not scheduler.running
        first.go_on.set()
        log.wait_for(lambda log: log.names()[-1] == "SCHEDULER_SHUTDOWN")
        assert second.calls == 0
        assert log.names("first")[-1] == "JOB_EXECUTED"
        assert log.names("second")[-1] == "JOB_SKIPPED"
        assert [run.job.id for run in scheduler.shutdown()] == ["second"]

    def test_with_a_limit(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler, job = background(), Job()
        scheduler.add_job(job, id="x")
        assert job.begun.wait(LIMIT_S)
        cut = scheduler.shutdown(timeout=0.05)
        assert [run.job.id for run in cut] == ["x"]
        job.go_on.set()
        assert job.ended.wait(LIMIT_S)

    @pytest.mark.parametrize("timeout", ["5", True, float("nan")])
    def test_with_a_limit_that_is_none(self, background: Callable[..., BackgroundScheduler], timeout: Any) -> None:
        scheduler = background()
        with pytest.raises(ConfigurationError, match="timeout must be a number of seconds, or None for no limit, not"):
            scheduler.shutdown(timeout=timeout)
        assert scheduler.running

    def test_with_a_limit_beyond_all_clocks(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler = background()
        job = Job()
        scheduler.add_job(job)
        assert job.begun.wait(LIMIT_S)
        threading.Timer(0.01, job.go_on.set).start()
        assert scheduler.shutdown(timeout=float("inf")) == []
        assert job.ended.is_set()

    def test_from_a_job(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler = background()
        log = EventLog(scheduler)
        told: list[object] = []

        def stop() -> None:
            told.append(scheduler.shutdown())
            told.append(scheduler.running)

        scheduler.add_job(stop, "interval", seconds=0.01)
        log.wait_for(lambda log: log.names()[-1] == "SCHEDULER_SHUTDOWN")
        assert told == [[], False]
        assert len(log.executed()) == 1

    def test_from_a_job_of_another_scheduler_it_waits(self, background: Callable[..., BackgroundScheduler]) -> None:
        outer, inner, job = background(), background(), Job()
        inner.add_job(job)
        assert job.begun.wait(LIMIT_S)
        log = EventLog(outer)
        stopping = threading.Event()

        def stop() -> bool:
            stopping.set()
            inner.shutdown()
            return job.ended.is_set()

        outer.add_job(stop)
        assert stopping.wait(LIMIT_S)
        job.go_on.set()
        log.wait_for(lambda log: bool(log.executed()))
        assert log.of(EVENT_JOB_EXECUTED)[0].retval is True

    def test_from_a_listener(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler = background()
        scheduler.add_listener(lambda event: scheduler.shutdown(), EVENT_JOB_EXECUTED)
        log = EventLog(scheduler)
        scheduler.add_job(nothing, "interval", seconds=0.01)
        log.wait_for(lambda log: log.names()[-1] == "SCHEDULER_SHUTDOWN")
        assert not scheduler.running

    def test_in_the_middle_of_a_store_s_work(self, background: Callable[..., BackgroundScheduler]) -> None:
        store = SlowStore()
        scheduler = background(jobstores={"default": store}, started=False)
        log = EventLog(scheduler)
        scheduler.add_job(nothing, id="x")
        scheduler.start()
        assert store.inside.wait(LIMIT_S)
        stopping = thread_of(scheduler.shutdown)
        while scheduler.running:
            pass
        store.go_on.set()
        join(stopping)
        assert log.names()[-1] == "SCHEDULER_SHUTDOWN"
        assert log.of(EVENT_JOB_STARTED) == []

    def test_from_many_threads_at_once(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler, job = background(), Job()
        log = EventLog(scheduler)
        scheduler.add_job(job)
        assert job.begun.wait(LIMIT_S)
        together = threading.Barrier(9)

        def stop(wait: bool) -> None:
            together.wait()
            scheduler.shutdown(wait=wait)

        threads = [thread_of(lambda wait=n % 2 == 0: stop(wait)) for n in range(8)]  # type: ignore[misc]
        together.wait()
        job.go_on.set()
        for thread in threads:
            join(thread)
        log.wait_for(lambda log: log.names()[-1] == "SCHEDULER_SHUTDOWN")
        assert log.names().count("SCHEDULER_SHUTDOWN") == 1

    def test_nothing_fires_after_it(self, background: Callable[..., BackgroundScheduler]) -> None:
        for _ in range(20):
            scheduler = background(executors={"default": ThreadPoolExecutor(4)})
            ran: list[bool] = []
            over = False
            for _ in range(4):
                scheduler.add_job(lambda: ran.append(over), "interval", seconds=0.001)  # noqa: B023
            while not ran:
                pass
            scheduler.shutdown()
            over = True
            count = len(ran)
            assert not any(ran)
            assert len(ran) == count

    def test_start_again(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler = background(started=False)
        log = EventLog(scheduler)
        for n in range(1, 4):
            scheduler.start()
            scheduler.add_job(nothing)
            log.wait_for(lambda log: len(log.executed()) == n)  # noqa: B023
            scheduler.shutdown()
        assert log.names().count("SCHEDULER_STARTED") == log.names().count("SCHEDULER_SHUTDOWN") == 3

    def test_at_once_after_start(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler = background(started=False)
        for _ in range(200):
            scheduler.start()
            scheduler.shutdown()
        assert scheduler.shutdown(wait=False) == []

    def test_a_thousand_times_with_a_job_every_millisecond(self, caplog: pytest.LogCaptureFixture) -> None:
        restarts(1000)
        assert [entry for entry in caplog.records if entry.levelname == "ERROR"] == []


def restarts(times: int) -> None:
    """Start, let a job run that is due every millisecond, stop in one of the ways; all runs are accounted for."""
    scheduler = BackgroundScheduler(timezone="UTC", executors={"default": ThreadPoolExecutor(2)})
    ran = threading.Event()
    log = EventLog(scheduler, EVENT_JOB_SUBMITTED | EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    scheduler.add_job(ran.set, "interval", seconds=0.001, id="x")
    for n in range(times):
        ran.clear()
        scheduler.start()
        if n % 3:
            assert ran.wait(LIMIT_S)
        if n % 2:
            scheduler.shutdown()
        else:
            scheduler.shutdown(wait=False)
            scheduler.shutdown()
        assert not scheduler.running
        ended = [event.run_id for event in log.of(EVENT_JOB_EXECUTED)]
        assert len(ended) == len(set(ended))
        assert log.of(EVENT_JOB_ERROR) == []
        log.clear()


class TestEvents:
    def test_of_ten_thousand_instant_jobs_on_twenty_threads_are_in_order(
        self, background: Callable[..., BackgroundScheduler]
    ) -> None:
        scheduler = background(started=False, executors={"default": ThreadPoolExecutor(20)})
        mask = EVENT_JOB_SUBMITTED | EVENT_JOB_STARTED | EVENT_JOB_EXECUTED
        log = EventLog(scheduler, mask)
        at = datetime.now(UTC) - timedelta(seconds=1)
        for n in range(10_000):
            scheduler.add_job(nothing, "date", run_date=at, id=f"{n}")
        scheduler.start()
        log.wait_for(lambda log: len(log.events) >= 30_000, 50)
        told: dict[str, list[int]] = {}
        for event in log.events:
            run_id = event.run_ids[0] if event.code == EVENT_JOB_SUBMITTED else event.run_id
            told.setdefault(run_id, []).append(event.code)
        assert len(told) == 10_000
        for codes in told.values():
            assert codes == [EVENT_JOB_SUBMITTED, EVENT_JOB_STARTED, EVENT_JOB_EXECUTED]

    def test_a_slow_listener_does_not_hold_up_the_jobs(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler = background()
        entered, leave, count = threading.Event(), threading.Event(), threading.Semaphore(0)

        def listener(event: object) -> None:
            entered.set()
            leave.wait(LIMIT_S)

        scheduler.add_listener(listener, EVENT_JOB_EXECUTED)
        scheduler.add_job(count.release, "interval", seconds=0.005)
        assert entered.wait(LIMIT_S)
        for _ in range(20):
            assert count.acquire(timeout=LIMIT_S)
        leave.set()

    def test_listeners_may_call_the_scheduler(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler = background()
        done = threading.Event()

        def listener(event: Any) -> None:
            if event.job_id == "first":
                scheduler.get_jobs()
                scheduler.add_job(done.set, id="second")

        scheduler.add_listener(listener, EVENT_JOB_EXECUTED)
        scheduler.add_job(nothing, id="first")
        assert done.wait(LIMIT_S)


class TestManyThreads:
    def stress(self, scheduler: BaseScheduler, seconds: float) -> None:
        """Sixteen threads, each with ids of its own and some that they share; the final set is exactly what each left."""
        kept: dict[str, str] = {}
        failures: list[BaseException] = []
        end_s = monotonic() + seconds

        def work(number: int) -> None:
            draw = random.Random(number)
            mine: dict[str, str] = {}
            try:
                while monotonic() < end_s:
                    job_id = f"{number}.{draw.randrange(20)}"
                    action = draw.randrange(10)
                    if job_id not in mine and action < 6:
                        kind = draw.choice(["interval", "date"])
                        options: dict[str, Any] = (
                            {"hours": 1 + draw.randrange(9)}
                            if kind == "interval"
                            else {"run_date": datetime.now(UTC) + timedelta(days=1)}
                        )
                        scheduler.add_job(nothing, kind, id=job_id, name="new", **options)
                        mine[job_id] = "new"
                    elif job_id in mine and action < 3:
                        scheduler.remove_job(job_id)
                        del mine[job_id]
                    elif job_id in mine and action < 6:
                        name = f"{draw.random()}"
                        scheduler.modify_job(job_id, name=name)
                        mine[job_id] = name
                    elif job_id in mine and action == 6:
                        scheduler.pause_job(job_id)
                        scheduler.resume_job(job_id)
                    elif action == 7:
                        listed = [job.id for job in scheduler.get_jobs()]
                        assert len(listed) == len(set(listed))
                        assert set(mine) <= set(listed)
                    elif action == 8:
                        scheduler.add_job(nothing, "interval", seconds=0.01, id="shared", replace_existing=True)
                    else:
                        scheduler.add_job(nothing)
            except BaseException as error:  # noqa: BLE001 (it is looked at by the test)
                failures.append(error)
            kept.update(mine)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        named = {job.id: job.name for job in scheduler.get_jobs() if "." in job.id}
        assert named == kept

    def test_for_a_second(self, background: Callable[..., BackgroundScheduler]) -> None:
        self.stress(background(), 1.0)

    def test_for_a_second_with_a_store_off_the_loop(self, background: Callable[..., BackgroundScheduler]) -> None:
        store = SlowStore()
        store.go_on.set()
        self.stress(background(jobstores={"default": store}), 1.0)

    def test_replacing_one_job_from_all_threads(self, background: Callable[..., BackgroundScheduler]) -> None:
        scheduler = background()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(100):
                    scheduler.add_job(nothing, "interval", hours=1, id="one", replace_existing=True)
            except BaseException as error:  # noqa: BLE001 (it is looked at by the test)
                failures.append(error)

        threads = [thread_of(work) for _ in range(8)]
        for thread in threads:
            join(thread)
        assert failures == []
        assert [job.id for job in scheduler.get_jobs()] == ["one"]

    @pytest.mark.slow
    def test_for_twenty_seconds(self, background: Callable[..., BackgroundScheduler]) -> None:
        self.stress(background(), 20.0)


class TestBlocking:
    def test_start_returns_when_it_is_shut_down(self) -> None:
        scheduler = BlockingScheduler(timezone="UTC")
        log = EventLog(scheduler)
        scheduler.add_job(scheduler.shutdown, "interval", seconds=0.01)
        scheduler.start()
        assert not scheduler.running
        assert log.names()[-2:] == ["JOB_EXECUTED", "SCHEDULER_SHUTDOWN"]

    def test_from_another_thread_and_again(self) -> None:
        scheduler = BlockingScheduler(timezone="UTC")
        log = EventLog(scheduler)
        for _ in range(3):
            started = threading.Event()
            scheduler.add_listener(lambda event: started.set(), EVENT_SCHEDULER_STARTED)  # noqa: B023

            def stop() -> None:
                assert started.wait(LIMIT_S)  # noqa: B023
                scheduler.shutdown()

            stopping = thread_of(stop)
            scheduler.start()
            join(stopping)
        assert log.names().count("SCHEDULER_SHUTDOWN") == 3

    def test_from_a_listener(self) -> None:
        scheduler = BlockingScheduler(timezone="UTC")
        scheduler.add_listener(lambda event: scheduler.shutdown(), EVENT_JOB_EXECUTED)
        scheduler.add_job(nothing)
        scheduler.start()
        assert not scheduler.running


@pytest.mark.parametrize("cls", [BackgroundScheduler, BlockingScheduler])
@pytest.mark.parametrize("wait", [True, False])
def test_shut_down_by_a_listener_as_it_starts(cls: type[BaseScheduler], wait: bool) -> None:
    scheduler = cls(timezone="UTC")
    scheduler.add_listener(lambda event: scheduler.shutdown(wait=wait), EVENT_SCHEDULER_STARTED)
    log = EventLog(scheduler)
    for n in range(1, 6):
        scheduler.start()
        log.wait_for(lambda log: log.names().count("SCHEDULER_SHUTDOWN") == n)  # noqa: B023
        scheduler.shutdown()
        assert not scheduler.running


class TestDaemon:
    def test_the_thread_is_a_daemon_unless_told_otherwise(self, background: Callable[..., BackgroundScheduler]) -> None:
        for daemon in (True, False):
            scheduler = background(daemon=daemon)
            assert scheduler._thread is not None
            assert scheduler._thread.daemon is daemon


class TestWith:
    def test_it_runs_within_and_waits_at_the_end(self) -> None:
        began, ended = threading.Event(), threading.Event()

        def job() -> None:
            began.set()
            until(lambda: not scheduler.running, "it was not shut down")
            ended.set()

        with BackgroundScheduler(timezone="UTC") as scheduler:
            scheduler.add_job(job)
            assert began.wait(LIMIT_S)
        assert ended.is_set()
        assert not scheduler.running

    def test_what_is_raised_within_is_raised(self) -> None:
        with pytest.raises(ZeroDivisionError), BackgroundScheduler(timezone="UTC") as scheduler:
            raise ZeroDivisionError
        assert not scheduler.running


# -- whole programs ------------------------------------------------------------------------------------------------------


class Program:
    """A Python program in a process of its own; its lines are read as they come."""

    def __init__(self, source: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-u", "-c", textwrap.dedent(source)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self) -> tuple[int, str, str]:
        """Exit code, what is left of the output, and the error output. A program that hangs is killed, and fails the test."""
        try:
            out, err = self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # has it say where each of its threads is
            out, err = self.process.communicate()
            pytest.fail(f"it did not end; output: {out!r}, errors: {err!r}")
        return self.process.returncode, out, err


PREAMBLE = """
import logging, os, signal, sys, threading, time
from schedcore.errors import SchedulerStartError
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.schedulers.blocking import BlockingScheduler

logging.getLogger("schedcore").setLevel(logging.ERROR)  # on a busy machine runs overlap, and that is a warning
release = threading.Event()

def job():
    print("begun")
    release.wait(60)
    print("ended")

def tick():
    pass
"""


def test_keyboard_interrupt_waits_for_the_running_job() -> None:
    program = Program(
        PREAMBLE
        + """
def slow():
    print("begun")
    while scheduler.running:
        time.sleep(0.001)
    print("ended")
scheduler = BlockingScheduler(timezone="UTC")
scheduler.add_job(slow)
scheduler.add_job(tick, "interval", seconds=0.005, max_instances=1000)
try:
    scheduler.start()
except KeyboardInterrupt:
    print("interrupted", scheduler.running)
"""
    )
    assert program.line() == "begun"
    program.process.send_signal(signal.SIGINT)
    code, out, err = program.end()
    assert (code, out, err) == (0, "ended\ninterrupted False\n", "")


def test_a_handler_of_sigterm_may_shut_it_down() -> None:
    """As the page on jobs has it."""
    program = Program(
        PREAMBLE
        + """
def slow():
    print("begun")
    while scheduler.running:
        time.sleep(0.001)
    print("ended")
scheduler = BlockingScheduler(timezone="UTC")
scheduler.add_job(slow)
signal.signal(signal.SIGTERM, lambda *_: scheduler.shutdown(wait=False))
scheduler.start()
print("returned", scheduler.running)
"""
    )
    assert program.line() == "begun"
    program.process.send_signal(signal.SIGTERM)
    code, out, err = program.end()
    assert (code, out, err) == (0, "ended\nreturned False\n", "")


def test_keyboard_interrupt_that_nobody_catches_is_all_that_is_said() -> None:
    program = Program(
        PREAMBLE
        + """
release.set()
scheduler = BlockingScheduler(timezone="UTC")
scheduler.add_job(job)
scheduler.start()
"""
    )
    assert program.line() == "begun"
    assert program.line() == "ended"
    program.process.send_signal(signal.SIGINT)
    code, out, err = program.end()
    assert code == -signal.SIGINT
    assert out == ""
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback") == 1


def test_a_second_keyboard_interrupt_does_not_wait() -> None:
    program = Program(
        PREAMBLE
        + """
def hangs():
    print("begun")
    while scheduler.running:
        time.sleep(0.001)
    print("stopping")
    release.wait(60)
scheduler = BlockingScheduler(timezone="UTC")
scheduler.add_job(hangs)
try:
    scheduler.start()
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    assert program.line() == "begun"
    program.process.send_signal(signal.SIGINT)
    assert program.line() == "stopping"
    program.process.send_signal(signal.SIGINT)
    code, out, err = program.end()
    assert (code, out, err) == (0, "interrupted\n", "")


@pytest.mark.parametrize("way", ["falls off the end", "sys.exit", "an exception"])
def test_a_program_that_ends_without_shutdown_waits_for_the_running_job(way: str) -> None:
    program = Program(
        PREAMBLE
        + f"""
way = {way!r}
scheduler = BackgroundScheduler(timezone="UTC")
begun = threading.Event()
def slow():
    begun.set()
    while scheduler.running:
        time.sleep(0.001)
    print("ended")
scheduler.add_job(slow)
scheduler.add_job(tick, "interval", seconds=0.001, max_instances=1000)
scheduler.start()
begun.wait()
if way == "sys.exit":
    sys.exit(3)
if way == "an exception":
    raise ValueError("mine")
"""
    )
    code, out, err = program.end()
    assert out == "ended\n"
    assert code == {"falls off the end": 0, "sys.exit": 3, "an exception": 1}[way]
    if way == "an exception":
        assert err.count("Traceback") == 1
        assert err.rstrip().endswith("ValueError: mine")
    else:
        assert err == ""


def test_ways_of_ending_again_and_again() -> None:
    """Programs that end while runs begin every millisecond: never a traceback."""
    programs = [
        Program(
            PREAMBLE
            + f"""
scheduler = BackgroundScheduler(timezone="UTC")
scheduler.add_job(tick, "interval", seconds=0.001, max_instances=1000)
scheduler.start()
if {n} % 4 == 0:
    scheduler.shutdown(wait=False)
elif {n} % 4 == 1:
    scheduler.add_job(scheduler.shutdown)
elif {n} % 4 == 2:
    scheduler.shutdown()
"""
        )
        for n in range(8)
    ]
    for program in programs:
        assert program.end() == (0, "", "")


@pytest.mark.skipif(
    (3, 12, 0) <= sys.version_info[:3] <= (3, 12, 1),
    reason="Python 3.12.0 and 3.12.1 start no thread once the main one has ended (python/cpython#113964)",
)
def test_a_scheduler_that_is_no_daemon_keeps_the_program_alive() -> None:
    program = Program(
        PREAMBLE
        + """
scheduler = BackgroundScheduler(timezone="UTC", daemon=False)
count = 0
def some():
    global count
    count += 1
    if count == 5:
        scheduler.shutdown()
        print("five")
scheduler.add_job(some, "interval", seconds=0.005)
scheduler.start()
"""
    )
    assert program.end() == (0, "five\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_fork_leaves_the_child_s_copy_stopped_and_the_parent_untouched() -> None:
    program = Program(
        PREAMBLE
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later warn of forks beside threads
ran = threading.Semaphore(0)
scheduler = BackgroundScheduler(timezone="UTC", job_defaults={"max_instances": 1000})
events = []
scheduler.add_listener(lambda event: events.append(os.getpid()))
scheduler.add_job(ran.release, "interval", seconds=0.002)
scheduler.start()
for _ in range(5):
    ran.acquire()
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.close(reader)
    said = [scheduler.running, scheduler.state, scheduler.shutdown(), len(events) > 0]
    scheduler.add_listener(print)
    scheduler.add_job(tick, "interval", hours=1)
    said.append([job.pending for job in scheduler.get_jobs()])
    before = len(events)
    said.append(threading.active_count())
    os.write(writer, repr(said).encode())
    os.close(writer)
    sys.exit(7)
os.close(writer)
text = b""
while part := os.read(reader, 1000):
    text += part
_, status = os.waitpid(child, 0)
print(text.decode(), os.waitstatus_to_exitcode(status))
for _ in range(5):
    ran.acquire()
print(scheduler.running, set(events) == {os.getpid()})
scheduler.shutdown()
"""
    )
    code, out, err = program.end()
    assert err == ""
    first, second = out.splitlines()[-2:]
    assert first == "[False, 0, [], True, [True], 1] 7"
    assert second == "True True"
    assert code == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_makes_a_scheduler_of_its_own() -> None:
    program = Program(
        PREAMBLE
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
scheduler = BackgroundScheduler(timezone="UTC")
scheduler.start()
child = os.fork()
if child == 0:
    try:
        scheduler.start()
    except SchedulerStartError as error:
        print(error)
    scheduler = BackgroundScheduler(timezone="UTC")
    done = threading.Event()
    scheduler.start()
    scheduler.add_job(done.set)
    sys.exit(0 if done.wait(60) else 1)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), scheduler.running)
scheduler.shutdown()
"""
    )
    code, out, err = program.end()
    assert (code, err) == (0, "")
    refused, parent = out.splitlines()
    assert refused.startswith("this scheduler was running when its process was forked")
    assert refused.endswith("make a new scheduler in the child")
    assert parent == "0 True"

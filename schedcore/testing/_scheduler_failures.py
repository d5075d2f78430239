"""Behaviours of schedulers: whatever fails, the loop outlives it, and other jobs do not notice."""

from __future__ import annotations

import threading
from collections.abc import Container, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from schedcore.clock import Now
from schedcore.engine import Claim
from schedcore.events import (
    EVENT_JOB_BROKEN,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOBSTORE_FAILED,
    EVENT_JOBSTORE_RECOVERED,
)
from schedcore.executors.base import RunExecutor
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Run
from schedcore.testing._scheduler_bench import Bench, behaviour
from schedcore.testing._suite import patience, until
from schedcore.testing.log import EventLog
from schedcore.triggers.base import BaseTrigger

__all__: list[str] = []


class _OwnError(BaseException):
    """Neither an ``Exception`` nor one of Python's own."""


def _raise(error: BaseException) -> None:
    raise error


@behaviour("goes on when a job raises, exits or is interrupted")
def _job_raises(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    for number, error in enumerate((ValueError("x"), SystemExit(3), KeyboardInterrupt(), _OwnError("x")), 1):
        bench.add(scheduler, _raise, args=[error], id=type(error).__name__)
        failed = bench.told(log, EVENT_JOB_ERROR, number)[-1]
        assert failed.job_id == type(error).__name__
        assert isinstance(failed.exception, Exception), f"the exception is {failed.exception!r}"
    bench.settle(scheduler)
    assert scheduler.running


@behaviour("fires a job that failed again when it is time")
def _fails_again(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    bench.add(scheduler, _raise, "interval", minutes=1, id="j", args=[ValueError("x")])
    for number in range(1, 4):
        bench.move(scheduler, clock, 60)
        bench.told(log, EVENT_JOB_ERROR, number)


@behaviour("goes on when a listener raises, and tells the others")
def _listener_raises(bench: Bench) -> None:
    scheduler = bench.make()

    def fail(event: object) -> None:
        raise ValueError("as the suite wants it")

    scheduler.add_listener(fail)
    log = EventLog(scheduler)
    bench.start(scheduler)
    for number in range(1, 4):
        bench.add(scheduler, bench.calls())
        bench.told(log, EVENT_JOB_EXECUTED, number)


@behaviour("is not held up by a listener that is slow")
def _listener_slow(bench: Bench) -> None:
    scheduler = bench.make()
    gate = bench.gate()
    stuck = threading.Event()

    def wait(event: object) -> None:
        stuck.set()
        gate.wait(patience.seconds)

    scheduler.add_listener(wait, EVENT_JOB_EXECUTED)
    bench.start(scheduler)
    bench.add(scheduler, bench.calls())
    assert stuck.wait(patience.seconds)
    for _ in range(3):
        calls = bench.calls()
        bench.add(scheduler, calls)
        calls.wait_ended()
    gate.set()


class _Raises(BaseTrigger):
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        if previous_fire_time is not None:
            raise ValueError("as the suite wants it")
        return now


class _Stands(BaseTrigger):
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return datetime(2020, 1, 1, tzinfo=UTC)


@behaviour("sets a job aside whose trigger raises, and fires the others")
def _trigger_raises(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    calls = bench.calls()
    bench.add(scheduler, calls, _Raises(), id="j")
    (broken,) = bench.told(log, EVENT_JOB_BROKEN)
    assert broken.job_id == "j"
    assert "as the suite wants it" in broken.reason
    bench.settle(scheduler)
    assert scheduler.get_job("j") is not None, "it was forgotten"
    assert calls.count <= 1


@behaviour("sets a job aside whose trigger does not advance, and fires the others")
def _trigger_stands(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    calls = bench.calls()
    bench.add(scheduler, calls, _Stands(), id="j")
    (broken,) = bench.told(log, EVENT_JOB_BROKEN)
    assert broken.job_id == "j"
    bench.settle(scheduler)
    assert calls.count <= 1, f"it fired {calls.count} times for one fire time"


class _Refuses(RunExecutor):
    def submit(self, runs: Sequence[Run]) -> None:
        raise RuntimeError("refused, as the suite wants it")

    def live_runs(self) -> list[Run]:
        return []

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        return []


@behaviour("tells of runs that an executor refuses, and goes on with the others")
def _executor_refuses(bench: Bench) -> None:
    scheduler = bench.make(executors={"refuses": _Refuses()})
    log = EventLog(scheduler)
    bench.start(scheduler)
    bench.add(scheduler, bench.calls(), "interval", hours=1, id="j", executor="refuses", next_run_time=_past())
    (failed,) = bench.told(log, EVENT_JOB_ERROR)
    assert failed.job_id == "j"
    assert "refused, as the suite wants it" in str(failed.exception)
    bench.settle(scheduler)
    assert scheduler.get_job("j") is not None, "the job was forgotten"


class _RaisesAtShutdown(ThreadPoolExecutor):
    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        super().shutdown(wait, timeout)
        raise ValueError("as the suite wants it")


class _StoreRaisesAtShutdown(MemoryJobStore):
    def shutdown(self) -> None:
        raise ValueError("as the suite wants it")


@behaviour("shuts down although an executor and a store raise at it")
def _shutdown_raises(bench: Bench) -> None:
    scheduler = bench.make(
        executors={"raises": _RaisesAtShutdown(1)},
        jobstores={"default": MemoryJobStore(), "raises": _StoreRaisesAtShutdown()},
    )
    log = EventLog(scheduler)
    for _ in range(2):
        bench.start(scheduler)
        bench.settle(scheduler)
        bench.shutdown(scheduler)
        assert log.names()[-1] == "SCHEDULER_SHUTDOWN"


def _past() -> datetime:
    return datetime.now(UTC) - timedelta(seconds=1)


class _Far(MemoryJobStore):
    """A store that says that it does I/O. It fails as often as it is told to, and waits where it is told to."""

    traits = StoreTraits(blocking=True, durable=False)

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.gate: threading.Event | None = None
        self.stuck = threading.Event()
        self.threads: set[int] = set()

    def _visit(self) -> None:
        self.threads.add(threading.get_ident())
        gate = self.gate
        if gate is not None:
            self.stuck.set()
            gate.wait(patience.seconds)
        if self.failures:
            self.failures -= 1
            raise OSError("the store is down, as the suite wants it")

    def fire(self, now: Now, limit: int, executors: Container[str]) -> tuple[list[Run], list[Claim]]:
        self._visit()
        return super().fire(now, limit, executors)


@behaviour("tries a store that failed again, tells of both, and fires what was due")
def _store_fails(bench: Bench) -> None:
    store = _Far()
    store.failures = 3
    scheduler = bench.make(jobstores={"default": store}, jobstore_retry_interval=0.02)
    log = EventLog(scheduler)
    calls = bench.calls()
    bench.add(scheduler, calls, id="j")
    bench.start(scheduler)
    bench.told(log, EVENT_JOBSTORE_FAILED)
    health = scheduler.health()["default"]
    assert health.ok or "the store is down" in str(health.error), f"its health is {health}"
    bench.told(log, EVENT_JOBSTORE_RECOVERED)
    bench.told(log, EVENT_JOB_EXECUTED, 1, "j")
    assert scheduler.health()["default"].ok
    assert len(log.of(EVENT_JOBSTORE_FAILED)) == 3
    assert calls.count == 1


@behaviour("says of a store that is down that it is, and fires the jobs of the others meanwhile")
def _store_down(bench: Bench) -> None:
    store = _Far()
    store.failures = 1 << 30
    scheduler = bench.make(jobstores={"default": MemoryJobStore(), "far": store}, jobstore_retry_interval=0.02)
    log = EventLog(scheduler)
    bench.start(scheduler)
    bench.told(log, EVENT_JOBSTORE_FAILED, 2)
    health = scheduler.health()
    assert not health["far"].ok
    assert "the store is down" in str(health["far"].error)
    assert health["default"].ok
    bench.settle(scheduler)


@behaviour("fires the jobs of one store while another does not answer")
def _store_stuck(bench: Bench) -> None:
    store = _Far()
    store.gate = gate = bench.gate()
    scheduler = bench.start(jobstores={"default": MemoryJobStore(), "far": store})
    assert store.stuck.wait(patience.seconds), "the store was never asked"
    for _ in range(3):
        bench.settle(scheduler)
    gate.set()


@behaviour("calls a store that does I/O off the loop, which goes on while the store does not answer", "loop")
def _store_off_the_loop(bench: Bench) -> None:
    store = _Far()
    store.gate = gate = bench.gate()
    loop = bench.loop_thread()
    calls = bench.calls()
    scheduler = bench.make(jobstores={"default": store})
    bench.add(scheduler, calls)
    bench.start(scheduler)
    assert store.stuck.wait(patience.seconds), "the store was never asked"
    for _ in range(50):
        bench.call(lambda: None)
    assert calls.count == 0
    gate.set()
    calls.wait_ended()
    store.gate = None
    bench.add(scheduler, calls)
    calls.wait_ended(2)
    assert loop not in store.threads, "the store was called on the loop"


@behaviour("is as before after a start that failed, and can be started then")
def _start_fails(bench: Bench) -> None:
    class Refuses(ThreadPoolExecutor):
        refuses = True

        def start(self, scheduler: object, alias: str) -> None:
            if self.refuses:
                raise OSError("as the suite wants it")
            super().start(scheduler, alias)  # type: ignore[arg-type]

    executor = Refuses(1)
    scheduler = bench.make(executors={"other": executor})
    calls = bench.calls()
    bench.add(scheduler, calls)
    for _ in range(2):
        try:
            bench.runtime.start(scheduler)
        except OSError:
            pass
        else:
            raise AssertionError("start() did not raise what the executor raised")
        assert not scheduler.running
    executor.refuses = False
    bench.start(scheduler)
    calls.wait_ended()
    until(lambda: scheduler.running, "it does not run")


@behaviour("answers calls that are made before its job store is open, more of them than there are threads", "loop")
def _early_calls(bench: Bench) -> None:
    scheduler = bench.make(jobstores={"default": _Far()})

    def start_and_call() -> list[Any]:
        scheduler.start()
        call: Any = scheduler.call  # type: ignore[attr-defined]
        return [call(scheduler.get_jobs) for _ in range(50)]

    waiters = bench.call(start_and_call)
    while waiters:
        assert bench.runtime.result(waiters.pop) == []

"""Each part fails at each of its calls in turn; the loop, the other jobs and the record go on.

A scenario is carried out once to count the calls of a part. Then it is carried out again for each of them, with that one call
raising: before it has done its work, or after it (an answer that got lost). In virtual time, a scenario takes a few milliseconds.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedcore.clock import from_datetime
from schedcore.errors import ConflictingIdError, JobLookupError
from schedcore.events import (
    EVENT_JOB_BROKEN,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_STARTED,
    EVENT_JOB_SUBMITTED,
    EVENT_JOBSTORE_FAILED,
    EVENT_JOBSTORE_RECOVERED,
    EVENT_SCHEDULER_FAILED,
    JobSkippedEvent,
)
from schedcore.executors.base import RunExecutor
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import SkipReason
from schedcore.testing import EventLog, VirtualExecutor, VirtualScheduler, VirtualWakeup
from schedcore.triggers.base import BaseTrigger
from schedcore.wakeup import Wakeup
from tests.schedulers.sabotage import Fault, Sabotage

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T0_US = from_datetime(T0)

STORE_METHODS = (
    "start",
    "shutdown",
    "add_entries",
    "get_entry",
    "list_entries",
    "replace_entry",
    "remove_job",
    "fire",
    "commit",
    "started",
    "finish",
    "next_due",
    "recover",
)
WAKEUP_METHODS = ("arm", "call_soon", "run_blocking", "disarm")
EXECUTOR_METHODS = ("start", "submit", "live_runs", "shutdown")


class BlockingStore(MemoryJobStore):
    """Says that its calls wait for I/O, so that they are made off the loop."""

    traits = StoreTraits(blocking=True, durable=False)


class DurableStore(MemoryJobStore):
    """Is told when runs begin, too."""

    traits = StoreTraits(blocking=True, durable=True)


class Sabotaged(VirtualScheduler):
    """Its wakeup is in the hands of a test."""

    sabotage = Sabotage()

    def _create_wakeup(self) -> Wakeup:
        wakeup = super()._create_wakeup()
        assert isinstance(wakeup, VirtualWakeup)
        self.sabotage.on(wakeup, WAKEUP_METHODS)
        return wakeup


def nothing() -> None:
    pass


def again(call: Callable[[], object]) -> bool:
    """What a user's program does: when a call fails, it tries once more. Whether it failed."""
    try:
        call()
    except Fault:
        try:
            call()
        except (ConflictingIdError, JobLookupError):
            pass  # the first attempt was carried out, and its answer was lost
        return True
    return False


def scenario(scheduler: VirtualScheduler, alias: str) -> bool:
    """Jobs in the store ``alias`` and others in the store ``default``, some calls of a user's, a pause. Whether a call failed."""
    failed = again(lambda: scheduler.start() if not scheduler.running else None)
    for store in ("default", alias):
        for job_id, trigger, options in (
            ("interval", "interval", {"seconds": 7}),
            ("catchup", "interval", {"seconds": 11, "coalesce": False}),
            ("cron", "cron", {"second": "*/15"}),
            ("date", "date", {"run_date": T0 + timedelta(seconds=42)}),
        ):
            failed |= again(
                lambda store=store, job_id=job_id, trigger=trigger, options=options: scheduler.add_job(  # type: ignore[misc]
                    nothing, trigger, id=f"{store}.{job_id}", jobstore=store, **options
                )
            )
    scheduler.advance(30.5)
    for store in ("default", alias):
        failed |= again(lambda store=store: scheduler.modify_job(f"{store}.cron", store, name="new"))  # type: ignore[misc]
        failed |= again(
            lambda store=store: scheduler.add_job(  # type: ignore[misc]
                nothing,
                "interval",
                seconds=5,
                start_date=T0 + timedelta(seconds=35),
                end_date=T0 + timedelta(seconds=56),
                id=f"{store}.ends",
                jobstore=store,
            )
        )
    scheduler.advance(20)
    failed |= again(scheduler.pause)
    scheduler.advance(25)
    failed |= again(scheduler.resume)
    # Long enough for a store that failed to be tried again, and to make what it missed.
    scheduler.advance(45)
    failed |= again(scheduler.get_jobs)
    failed |= again(scheduler.shutdown)
    return failed


class Outcome:
    """What became of each fire time of each job."""

    def __init__(self, log: EventLog) -> None:
        self.runs: dict[str, list[int]] = {}
        self.passed: dict[str, list[tuple[str, int, int]]] = {}
        for event in log.of(EVENT_JOB_EXECUTED | EVENT_JOB_ERROR):
            self.runs.setdefault(event.job_id, []).append(_s(event.scheduled_run_time))
        for event in log.events:
            if isinstance(event, JobSkippedEvent):
                item = (event.reason, _s(event.first_run_time), _s(event.scheduled_run_time))
                self.passed.setdefault(event.job_id, []).append(item)

    def accounted(self, job_id: str) -> set[int]:
        """All seconds at which a fire time of the job ran or was passed over."""
        found = set(self.runs.get(job_id, ()))
        for _, first, last in self.passed.get(job_id, ()):
            found |= set(range(first, last + 1))
        return found


def _s(at: datetime) -> int:
    return round((at - T0).total_seconds())


def check_runs(log: EventLog, *, started_too: bool = True) -> None:
    """No run twice; the events of each in order."""
    order: dict[str, list[str]] = {}
    for event in log.of(EVENT_JOB_SUBMITTED | EVENT_JOB_STARTED | EVENT_JOB_EXECUTED | EVENT_JOB_ERROR):
        if event.code == EVENT_JOB_SUBMITTED:
            for run_id in event.run_ids:
                order.setdefault(run_id, []).append("submitted")
        else:
            order.setdefault(event.run_id, []).append("started" if event.code == EVENT_JOB_STARTED else "ended")
    for run_id, told in order.items():
        if started_too:
            assert told == ["submitted", "started", "ended"], run_id
        else:
            assert told in (["submitted", "started", "ended"], ["submitted", "ended"]), run_id


GRIDS = {
    "interval": set(range(7, 121, 7)),
    "catchup": set(range(11, 121, 11)),
    "cron": set(range(0, 121, 15)),
    "date": {42},
    "ends": {35, 40, 45, 50, 55},
}


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Collects the log's messages instead of having them printed a thousand times."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            messages.append(self.format(entry))

    logger, handler = logging.getLogger("schedcore"), Keep()
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def run_with_store(store: MemoryJobStore, sabotage: Sabotage) -> tuple[EventLog, bool, list[str]]:
    sabotage.on(store, STORE_METHODS)
    scheduler = VirtualScheduler(jobstores={"other": store})
    log = EventLog(scheduler)
    with quiet() as messages:
        failed = scenario(scheduler, "other")
        if scheduler.running:
            scheduler.shutdown()
    return log, failed, messages


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", [MemoryJobStore, BlockingStore, DurableStore])
def test_a_store_that_fails_once(kind: type[MemoryJobStore], after: bool) -> None:
    count = Sabotage()
    base_log, _, _ = run_with_store(kind(), count)
    expected = Outcome(base_log)
    assert set(count.calls) >= set(STORE_METHODS) - {"started", "remove_job", "list_entries"}
    for at, method in enumerate(count.calls):
        if after and method == "commit":
            continue  # a memory store has no answer that could get lost; for stores that have one see their own tests
        sabotage = Sabotage(at, after=after)
        log, told_user, messages = run_with_store(kind(), sabotage)
        where = f"call {at}, {method}"
        result = Outcome(log)
        check_runs(log)
        # The other store notices nothing: the same runs, at the same instants.
        for job_id in expected.runs:
            if job_id.startswith("default."):
                assert result.runs[job_id] == expected.runs[job_id], where
                assert log.submitted_s(job_id, T0_US) == base_log.submitted_s(job_id, T0_US), where
        # Its own jobs lose nothing and double nothing.
        for name, grid in GRIDS.items():
            job_id = f"other.{name}"
            assert len(result.runs[job_id]) == len(set(result.runs[job_id])), where
            first = 7 if name == "cron" and told_user else 0  # the job itself may have been added a moment later
            assert {at_s for at_s in grid if at_s >= first} <= result.accounted(job_id) | {0}, (where, job_id)
        # It is said: to the user who called, or by an event and a line in the log; and so is that it works again.
        failures = log.of(EVENT_JOBSTORE_FAILED)
        assert told_user or [event.alias for event in failures] == ["other"], where
        for event in failures:
            assert isinstance(event.exception, Fault)
            assert any(f"job store 'other' failed: Fault: {event.exception}" in line for line in messages), where
        if failures and method not in ("shutdown", "finish", "started"):
            assert [event.alias for event in log.of(EVENT_JOBSTORE_RECOVERED)] == ["other"], where


def test_a_store_that_is_down_for_a_while() -> None:
    """Two minutes, at each of its methods: the other store's jobs run on time, then the backlog is made, by the rules."""
    store = BlockingStore()
    scheduler = VirtualScheduler(jobstores={"other": store})
    log = EventLog(scheduler)
    scheduler.start()
    scheduler.add_job(nothing, "interval", seconds=10, id="other", jobstore="other", coalesce=False)
    scheduler.add_job(nothing, "interval", seconds=10, id="good")
    scheduler.advance(15)
    down = True

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if down:
                raise Fault("no connection")
            return method(*args)

        return call

    for name in ("fire", "commit", "finish", "next_due", "recover"):
        setattr(store, name, wrapped(getattr(store, name)))
    with quiet():
        scheduler.advance(120)
        assert log.executed("good") == [T0 + timedelta(seconds=10 * k) for k in range(1, 14)]
        assert log.executed("other") == [T0 + timedelta(seconds=10)]
        health = scheduler.health()["other"]
        assert (health.ok, health.error) == (False, "Fault: no connection")
        attempts = len(log.of(EVENT_JOBSTORE_FAILED))
        assert 12 <= attempts <= 30, "with growing pauses, up to jobstore_retry_interval"
        down = False
        scheduler.advance(10)
        assert scheduler.health()["other"].ok
        assert log.executed("other") == [T0 + timedelta(seconds=10 * k) for k in range(1, 15)]
        assert len(log.of(EVENT_JOBSTORE_RECOVERED)) == 1
        scheduler.shutdown()


def test_a_wakeup_that_fails_once() -> None:
    def run(sabotage: Sabotage) -> tuple[EventLog, bool]:
        scheduler = Sabotaged(jobstores={"other": BlockingStore()})
        scheduler.sabotage = sabotage
        log = EventLog(scheduler)
        with quiet():
            failed = scenario(scheduler, "other")
        return log, failed

    count = Sabotage()
    base_log, _ = run(count)
    expected = Outcome(base_log)
    assert Counter(count.calls).keys() >= {"arm", "call_soon", "run_blocking"}
    for after in (False, True):
        for at, method in enumerate(count.calls):
            if after and method == "run_blocking":
                continue  # it has taken the call: to report that as a failure would be its own lie
            log, told_user = run(Sabotage(at, after=after))
            where = f"call {at}, {method}, after={after}"
            check_runs(log)
            result = Outcome(log)
            for job_id in expected.runs:
                assert result.runs[job_id] == expected.runs[job_id] or (
                    job_id.startswith("other.") and result.accounted(job_id) == expected.accounted(job_id)
                ), where
                if job_id.startswith("default."):
                    assert log.submitted_s(job_id, T0_US) == base_log.submitted_s(job_id, T0_US), where
            if method in ("arm", "call_soon"):
                assert not told_user, where
                assert log.of(EVENT_SCHEDULER_FAILED), where


def test_an_executor_that_fails_once() -> None:
    def run(sabotage: Sabotage) -> tuple[EventLog, list[str]]:
        executor = VirtualExecutor(0.5)
        sabotage.on(executor, EXECUTOR_METHODS)
        scheduler = VirtualScheduler(executors={"bad": executor}, jobstores={"other": BlockingStore()})
        log = EventLog(scheduler)
        with quiet() as messages:
            again(scheduler.start)
            for store in ("default", "other"):
                for name in ("bad", "default"):
                    scheduler.add_job(
                        nothing, "interval", seconds=7, id=f"{store}.{name}", jobstore=store, executor=name
                    )
            scheduler.advance(60)
            scheduler.shutdown()
        return log, messages

    count = Sabotage()
    base_log, _ = run(count)
    expected = Outcome(base_log)
    assert set(count.calls) == set(EXECUTOR_METHODS)
    for at, method in enumerate(count.calls):
        log, messages = run(Sabotage(at))
        where = f"call {at}, {method}"
        check_runs(log, started_too=False)
        result = Outcome(log)
        for job_id in expected.runs:
            assert result.runs[job_id] == expected.runs[job_id], where
        if method == "submit":
            errors = log.of(EVENT_JOB_ERROR)
            assert errors, where
            assert all(isinstance(event.exception, Fault) for event in errors)
            assert all(event.job_id.endswith(".bad") for event in errors)
            assert any("executor 'bad' refused" in line for line in messages)
        elif method == "shutdown":
            assert any("failed to shut down" in line for line in messages), where


def test_a_listener_that_fails_at_any_event() -> None:
    def run(at: int | None) -> tuple[EventLog, int, list[str]]:
        scheduler = VirtualScheduler(jobstores={"other": BlockingStore()})
        told = 0

        def listener(event: object) -> None:
            nonlocal told
            told += 1
            if told - 1 == at:
                raise Fault("in a listener")

        scheduler.add_listener(listener)
        log = EventLog(scheduler)
        with quiet() as messages:
            scenario(scheduler, "other")
        return log, told, messages

    base_log, total, _ = run(None)
    for at in range(total):
        log, told, messages = run(at)
        assert told == total
        assert log.names() == base_log.names()
        assert log.instants_us == base_log.instants_us
        assert any("listener" in line and "Fault: in a listener" in line for line in messages)


class Moody(BaseTrigger):
    """Every seven seconds, in the way of 3.x; raises at one of its calls."""

    def __init__(self, sabotage: Sabotage) -> None:
        self.sabotage = sabotage

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        self.sabotage.calls.append("ask")
        if len(self.sabotage.calls) - 1 == self.sabotage.at:
            raise Fault("no idea")
        if previous_fire_time is None:
            step = -(-_s(now) // 7)
            return T0 + timedelta(seconds=7 * max(1, step))
        return previous_fire_time + timedelta(seconds=7)


def test_a_trigger_that_fails_once() -> None:
    def run(sabotage: Sabotage) -> tuple[EventLog, bool]:
        scheduler = VirtualScheduler()
        log = EventLog(scheduler)
        with quiet():
            scheduler.start()
            failed = again(lambda: scheduler.add_job(nothing, Moody(sabotage), id="moody"))
            scheduler.add_job(nothing, "interval", seconds=7, id="good")
            scheduler.advance(30)
            scheduler.pause()
            scheduler.advance(30)
            scheduler.resume()
            scheduler.advance(30)
            scheduler.shutdown()
        return log, failed

    count = Sabotage()
    base_log, _ = run(count)
    assert len(base_log.executed("moody")) == 9
    for at in range(len(count.calls)):
        log, failed = run(Sabotage(at))
        check_runs(log)
        assert log.executed("good") == base_log.executed("good")
        broken = log.of(EVENT_JOB_BROKEN)
        assert failed or [event.job_id for event in broken] == ["moody"]
        ran = [_s(at) for at in log.executed("moody")]
        assert ran == sorted(set(ran))
        if broken:
            assert broken[0].reason == "its trigger raised Fault: no idea"


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, RecursionError, MemoryError, Fault])
def test_whatever_a_job_raises(kind: type[BaseException]) -> None:
    scheduler = VirtualScheduler()
    log = EventLog(scheduler)

    def job() -> None:
        raise kind

    with quiet():
        scheduler.start()
        scheduler.add_job(job, "interval", seconds=10, id="bad")
        scheduler.add_job(nothing, "interval", seconds=10, id="good")
        scheduler.advance(60)
        scheduler.shutdown()
    assert len(log.of(EVENT_JOB_ERROR, "bad")) == 6
    assert len(log.executed("good")) == 6


def test_an_executor_that_reports_a_run_twice_or_one_that_is_gone() -> None:
    """Not by its contract; the record and the count of live runs bear it."""
    executor = VirtualExecutor(manual=True)
    scheduler = VirtualScheduler(executors={"default": executor})
    log = EventLog(scheduler)
    scheduler.start()
    scheduler.add_job(nothing, "interval", seconds=10, id="x")
    scheduler.advance(10)
    run = executor.begin()
    executor.end(run)
    executor._running[id(run)] = (run, None)
    executor.end(run)
    scheduler.advance(10)
    assert len(executor.waiting) == 1
    assert isinstance(executor, RunExecutor)
    scheduler.shutdown()
    assert SkipReason.OVERLAP not in [reason for reason, _ in log.skips()]

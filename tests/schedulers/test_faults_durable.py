"""A durable store and its serializer fail at each of their calls in turn: nothing lost, nothing made twice.

The store is SQLite in memory, the scheduler in virtual time. Unlike a store that only lives in this process, this one can have
carried out what it then fails to answer.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schedcore.errors import ConflictingIdError, JobLookupError
from schedcore.events import EVENT_JOB_BROKEN, EVENT_JOB_EXECUTED, EVENT_JOBSTORE_FAILED, JobSkippedEvent
from schedcore.run import RunState
from schedcore.serializers.json import JSONSerializer
from schedcore.testing import EventLog, VirtualExecutor, VirtualScheduler
from tests.schedulers.sabotage import Fault, Sabotage

pytest.importorskip("sqlalchemy", reason="the SQL store needs SQLAlchemy")

T0 = datetime(2026, 1, 1, tzinfo=UTC)

METHODS = (
    "start",
    "add_entries",
    "get_entry",
    "replace_entry",
    "acquire",
    "commit",
    "started",
    "finish",
    "next_due",
    "recover",
)


class Failing(JSONSerializer):
    """Raises at one of its calls."""

    def __init__(self, sabotage: Sabotage) -> None:
        super().__init__()
        self.sabotage = sabotage

    def dumps(self, data: object, root: str = "") -> bytes:
        return bytes(self.sabotage.wrapped("dumps", super().dumps)(data, root))

    def loads(self, payload: bytes | bytearray | memoryview) -> Any:
        return self.sabotage.wrapped("loads", super().loads)(payload)


def nothing() -> None:
    pass


@contextmanager
def quiet() -> Iterator[None]:
    logger, keep = logging.getLogger("schedcore"), logging.NullHandler()
    logger.addHandler(keep)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(keep)
        logger.propagate = propagate


def again(call: Callable[[], object]) -> bool:
    """A user's call that is made once more when it fails. Whether it failed."""
    try:
        call()
    except Fault:
        try:
            call()
        except (ConflictingIdError, JobLookupError):
            pass  # the first attempt was carried out
        return True
    return False


def scenario(
    path: Path, sabotage: Sabotage, *, serializer: bool = False
) -> tuple[EventLog, bool, Counter[tuple[str, int]]]:
    """Two jobs, one of them with a backlog, over a restart. Events, whether a user's call failed, and the runs on record."""
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    path.unlink(missing_ok=True)
    store = SQLAlchemyJobStore(
        f"sqlite:///{path}", serializer=Failing(sabotage) if serializer else "json", history=1000
    )
    if not serializer:
        for name in METHODS:
            setattr(store, name, sabotage.wrapped(name, getattr(store, name)))
    scheduler = VirtualScheduler(jobstores={"sql": store}, executors={"default": VirtualExecutor(0.25)})
    log = EventLog(scheduler)
    failed = again(scheduler.start)
    for job_id, options in (("coalesced", {"seconds": 7}), ("each", {"seconds": 5, "coalesce": False})):
        failed |= again(
            lambda job_id=job_id, options=options: scheduler.add_job(  # type: ignore[misc]
                nothing, "interval", id=job_id, jobstore="sql", replace_existing=True, **options
            )
        )
    scheduler.add_job(nothing, "interval", seconds=6, id="other")
    scheduler.advance(16.1)
    scheduler.pause()
    scheduler.advance(10)
    scheduler.resume()
    scheduler.advance(14)
    failed |= again(lambda: scheduler.modify_job("each", "sql", name="new"))
    scheduler.shutdown()
    failed |= again(scheduler.start)
    scheduler.advance(20)
    records = Counter(
        (record.job_id, record.fire_us) for record in store.runs(limit=1000) if record.state is RunState.SUCCEEDED
    )
    scheduler.shutdown()
    return log, failed, records


def covered(log: EventLog, job_id: str) -> set[int]:
    """The seconds at which a fire time of the job ran or is accounted for."""
    found = {round((at - T0).total_seconds()) for at in log.executed(job_id)}
    for event in log.events:
        if isinstance(event, JobSkippedEvent) and event.job_id == job_id:
            first = round((event.first_run_time - T0).total_seconds())
            found |= set(range(first, round((event.scheduled_run_time - T0).total_seconds()) + 1))
    return found


def check(where: str, log: EventLog, records: Counter[tuple[str, int]]) -> None:
    assert covered(log, "each") >= set(range(5, 60, 5)), where
    assert covered(log, "coalesced") >= set(range(7, 60, 7)), where
    for job_id in ("each", "coalesced", "other"):
        ran = log.executed(job_id)
        assert len(ran) == len(set(ran)), where
    assert len(log.executed("other")) >= 9, where
    executed = {event.run_id for event in log.of(EVENT_JOB_EXECUTED) if event.jobstore == "sql"}
    # A run whose outcome could not be written at the very end is on record as begun; all others as they ended.
    assert len(records) >= len(executed) - 1, where
    assert all(count == 1 for count in records.values()), where


def fail_in_turn(path: Path, *, after: bool, step: int) -> None:
    count = Sabotage()
    with quiet():
        log, failed, records = scenario(path, count)
        assert not failed
        check("no fault", log, records)
        assert set(count.calls) >= set(METHODS) - {"get_entry"}
        for at in range(0, len(count.calls), step):
            if after and count.calls[at] == "start":
                continue  # a store that could not be opened has let go of what it opened: that is its own contract
            log, told, records = scenario(path, Sabotage(at, after=after))
            where = f"call {at}, {count.calls[at]}"
            check(where, log, records)
            assert told or log.of(EVENT_JOBSTORE_FAILED), where


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_sql_store_that_fails_once(tmp_path: Path, after: bool) -> None:
    fail_in_turn(tmp_path / "jobs.sqlite", after=after, step=9)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_sql_store_that_fails_at_each_call(tmp_path: Path, after: bool) -> None:
    fail_in_turn(tmp_path / "jobs.sqlite", after=after, step=1)


def test_a_serializer_that_fails_once(tmp_path: Path) -> None:
    count = Sabotage()
    path = tmp_path / "jobs.sqlite"
    with quiet():
        log, failed, records = scenario(path, count, serializer=True)
        assert not failed
        assert set(count.calls) == {"dumps", "loads"}
        for at, method in enumerate(count.calls):
            log, told, records = scenario(path, Sabotage(at), serializer=True)
            where = f"call {at}, {method}"
            assert len(log.executed("other")) >= 9, where
            for job_id in ("each", "coalesced"):
                ran = log.executed(job_id)
                assert len(ran) == len(set(ran)), where
            assert all(number == 1 for number in records.values()), where
            broken = log.of(EVENT_JOB_BROKEN)
            assert told or broken or log.of(EVENT_JOBSTORE_FAILED), where
            if method == "dumps":
                # The user was told, and tried again.
                assert covered(log, "each") >= set(range(5, 60, 5)), where


def test_what_a_store_holds_that_is_being_reported_is_not_made_again() -> None:
    """Between letting go of a run and reporting it an executor has it nowhere; recovery waits for the report."""
    from schedcore.jobstores.base import Recovered, StoreTraits
    from schedcore.jobstores.memory import MemoryJobStore
    from schedcore.run import Finish, Run

    told: list[list[str]] = []

    class Store(MemoryJobStore):
        traits = StoreTraits(blocking=True, durable=False)

        def recover(self, known: Any) -> Recovered:
            told.append([run.id for run in known])
            return super().recover(known)

    executor, store = VirtualExecutor(manual=True), Store()
    scheduler = VirtualScheduler(executors={"default": executor}, jobstores={"default": store})
    scheduler.start()
    scheduler.add_job(nothing, "interval", seconds=10, id="x")
    scheduler.advance(10)
    run = executor.begin()
    del executor._running[id(run)]
    looks = 0
    known_runs = scheduler._runs.known

    def look(pump: Any) -> list[Run]:
        nonlocal looks
        looks += 1
        if looks == 3:
            scheduler.run_finished(Finish(run, RunState.SUCCEEDED, 0, 0))
        return known_runs(pump)

    scheduler._runs.known = look  # type: ignore[method-assign]
    with quiet():
        for pump in scheduler._pumps.values():
            pump.failed(Fault("gone"))
        scheduler.wakeup()
        scheduler.advance(5)
    assert looks >= 3
    assert told[-1] == [run.id]
    scheduler.shutdown()

"""What becomes of runs that were on record when their scheduler stopped, or died."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

from schedcore.engine import decide
from schedcore.errors import JobStoreError
from schedcore.events import EVENT_JOB_STARTED, EVENT_SCHEDULER_SHUTDOWN
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.jobstores._recovery import judge
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from schedcore.run import RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog

T0 = datetime(2026, 1, 1, tzinfo=UTC)
JOBS = 20
_gate = threading.Event()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    _gate.clear()
    yield _gate
    _gate.set()


def wait_for_gate() -> None:
    assert _gate.wait(60)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.sqlite"


def scheduler_on(store: SQLAlchemyJobStore) -> BackgroundScheduler:
    executors = {"default": ThreadPoolExecutor(max_workers=1)}
    return BackgroundScheduler(jobstores={"default": store}, executors=executors, timezone="UTC")


@pytest.mark.parametrize(
    ("begun", "begun_before", "attempt", "recovery", "again", "words"),
    [
        (False, False, 1, "rerun", True, "may or may not have begun; it is run again"),
        (False, False, 2, "rerun", True, "may or may not have begun; it is run again"),
        (False, True, 2, "rerun", True, "may or may not have begun; it is run again"),
        (False, False, 3, "rerun", False, "may or may not have begun; it was handed over 3 times"),
        (False, False, 1, "lost", False, "may or may not have begun"),
        (True, False, 1, "rerun", True, "in the middle of it; it is run again"),
        (True, False, 2, "rerun", True, "in the middle of it; it is run again"),
        (True, True, 2, "rerun", False, "in the middle of it, for the second time"),
        (True, False, 3, "rerun", False, "in the middle of it; it was handed over 3 times"),
        (True, True, 3, "rerun", False, "in the middle of it, for the second time"),
        (True, False, 1, "lost", False, "in the middle of it"),
        # What a hostile row may say.
        (False, False, -5, "rerun", True, "may or may not have begun; it is run again"),
        (True, False, 2**62, "rerun", False, "times, and is not run again"),
    ],
)
def test_what_becomes_of_a_run(
    begun: bool, begun_before: bool, attempt: int, recovery: str, again: bool, words: str
) -> None:
    verdict = judge(attempt, recovery, begun=begun, begun_before=begun_before)
    assert verdict.again is again
    assert verdict.reason.startswith("its scheduler died")
    assert words in verdict.reason
    if recovery == "lost":
        assert verdict.reason.endswith(words), "no word of running it again"


@pytest.mark.parametrize("options", [{"wait": False}, {"wait": True, "timeout": 0.05}], ids=str)
def test_a_shutdown_leaves_no_doubt(url: str, gate: threading.Event, options: dict[str, Any]) -> None:
    """Runs that wait in the executor's queue are made at the next start as they are, though their job wants none twice."""
    scheduler = scheduler_on(SQLAlchemyJobStore(url))
    log = EventLog(scheduler)
    for number in range(JOBS):
        scheduler.add_job(wait_for_gate, "date", run_date=T0, id=f"{number:02}", recovery="lost")
    scheduler.start()
    log.wait_for(lambda log: bool(log.of(EVENT_JOB_STARTED)))
    scheduler.shutdown(**options)
    if options["wait"]:
        # Its thread goes on; but it is known to have begun.
        log.wait_for(lambda log: bool(log.of(EVENT_SCHEDULER_SHUTDOWN)))
        gate.set()
    else:
        gate.set()
        log.wait_for(lambda log: bool(log.of(EVENT_SCHEDULER_SHUTDOWN)))
    (begun,) = {event.job_id for event in log.of(EVENT_JOB_STARTED)}
    again = scheduler_on(SQLAlchemyJobStore(url))
    log = EventLog(again)
    again.start()
    log.wait_for(lambda log: len(log.executed()) == JOBS - 1)
    again.shutdown()
    with SQLAlchemyJobStore(url, read_only=True) as reader:
        reader.start(again, "reader")
        records = {record.job_id: record for record in reader.runs()}
        assert len(records) == len(reader.runs()) == JOBS
    cut = records.pop(begun)
    assert cut.state is (RunState.LOST if options["wait"] else RunState.SUCCEEDED)
    assert {(record.state, record.attempt) for record in records.values()} == {(RunState.SUCCEEDED, 1)}


def test_a_queue_survives_two_crashes(url: str, gate: threading.Event) -> None:
    """Ten thousand runs that waited are not lost for it."""
    count = 10_000
    store = SQLAlchemyJobStore(url)
    scheduler = scheduler_on(store)
    scheduler.add_jobs(
        {"func": wait_for_gate, "trigger": "interval", "hours": 1, "id": str(number), "next_run_time": T0}
        for number in range(count)
    )
    scheduler.start(paused=True)
    assert scheduler._pumps["default"].tried.wait(60)
    now = scheduler._timeline.now()
    claims = store.acquire(now, count)
    runs = store.commit([decide(claim, now.wall_us) for claim in claims], now.wall_us).runs
    assert len(runs) == count
    scheduler.shutdown()
    for crash in (1, 2):
        again = SQLAlchemyJobStore(url)
        again.start(scheduler, "default")
        recovered = again.recover([])
        assert len(recovered.runs) == len(recovered.lost) == count
        assert {run.attempt for run in recovered.runs} == {crash + 1}
        again.shutdown()


def test_a_recovery_whose_answer_was_lost_counts_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLAlchemyJobStore(url)
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
    scheduler.add_job(wait_for_gate, "date", run_date=T0, id="job")
    scheduler.start(paused=True)
    assert scheduler._pumps["default"].tried.wait(60)
    now = scheduler._timeline.now()
    store.commit([decide(claim, now.wall_us) for claim in store.acquire(now, 9)], now.wall_us)
    scheduler.shutdown()
    again = SQLAlchemyJobStore(url)
    again.start(scheduler, "default")
    database = again._database
    writing = type(database).writing
    answers = iter([False, True])

    @contextmanager
    def unanswered(self: Any, doing: str, **options: Any) -> Iterator[Any]:
        with writing(self, doing, **options) as cursor:
            yield cursor
        if not next(answers):
            raise JobStoreError("default", "it was made, and its answer was lost", transient=True)

    monkeypatch.setattr(type(database), "writing", unanswered)
    with pytest.raises(JobStoreError, match="its answer was lost"):
        again.recover([])
    recovered = again.recover([])
    assert [run.attempt for run in recovered.runs] == [2]
    assert recovered.lost == []
    again.shutdown()

"""What the log tells of at the level DEBUG, and that nothing is asked for each run when it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import count, cycle
from typing import Any

import pytest

from schedcore.errors import JobStoreError
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers._pump import BATCH
from schedcore.testing import VirtualScheduler

Make = Callable[..., VirtualScheduler]


def nothing() -> None:
    pass


def fail() -> None:
    raise LookupError("nothing there")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG]


def test_it_tells_of_each_run_and_of_waiting(virtual: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "schedcore")
    scheduler = virtual()

    def slow() -> None:
        scheduler.clock.advance(1.5)

    scheduler.add_job(slow, "interval", seconds=60, id="x", name="slow")
    scheduler.advance(60)
    of = "job 'x' ('slow') of 2026-01-01 00:01:00+00:00: "
    assert lines(caplog) == [
        "nothing is due",
        "nothing is due for 60.0 s, then in job store 'default'",
        f"{of}submitted to executor 'default'",
        "nothing is due for 60.0 s, then in job store 'default'",
        f"{of}started",
        f"{of}finished after 1.50 s",
    ]
    ids = {getattr(record, "run_id", None) for record in caplog.records}
    assert ids == {None, "x@2026-01-01T00:01:00Z#1"}


def test_a_failure_is_told_with_its_duration(virtual: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "schedcore")
    scheduler = virtual()
    scheduler.add_job(fail, id="x")
    scheduler.advance(1)
    assert "job 'x' ('fail') of 2026-01-01 00:00:00+00:00: failed after 0 ms" in lines(caplog)


def test_jobs_of_one_function_are_told_apart(virtual: Make, caplog: pytest.LogCaptureFixture) -> None:
    scheduler = virtual()
    scheduler.add_job(fail, id="of Ann")
    scheduler.add_job(fail, id="fail")
    scheduler.advance(1)
    told = sorted(
        record.getMessage().partition("\n")[0] for record in caplog.records if record.levelno == logging.ERROR
    )
    assert told == [
        "job 'fail' failed: LookupError: nothing there",
        "job 'of Ann' ('fail') failed: LookupError: nothing there",
    ]


class Away(MemoryJobStore):
    """It is not there, and says for which reason."""

    reason = "in use"

    def fire(self, *args: Any) -> Any:
        raise JobStoreError("default", self.reason)


def test_a_store_that_goes_on_failing_is_an_error_once_in_five_minutes(
    virtual: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "schedcore")
    store = Away()
    scheduler = virtual(jobstores={"default": store})

    def told(level: int) -> int:
        return sum(
            record.levelno == level and "failed: JobStoreError" in record.getMessage() for record in caplog.records
        )

    scheduler.advance(290)
    assert told(logging.ERROR) == 1
    assert told(logging.DEBUG) >= 29  # the attempts go on
    scheduler.advance(20)
    assert told(logging.ERROR) == 2
    store.reason = "gone"
    scheduler.advance(20)
    assert told(logging.ERROR) == 3  # another error is told at once


@pytest.mark.parametrize(("reasons", "most"), [(["gone", "closed"], 2), (map(str, count()), 5)])
def test_errors_that_change_are_not_more_in_the_log(
    virtual: Make, caplog: pytest.LogCaptureFixture, reasons: Iterable[str], most: int
) -> None:
    class Changing(Away):
        def fire(self, *args: Any) -> Any:
            self.reason = next(these)
            return super().fire(*args)

    these = cycle(reasons)
    scheduler = virtual(jobstores={"default": Changing()})

    def told() -> int:
        return sum(record.levelno == logging.ERROR for record in caplog.records)

    scheduler.advance(290)
    assert told() == most
    scheduler.advance(70)
    assert told() == 2 * most


def test_a_step_that_fails_behind_the_end_promises_no_other_one(
    virtual: Make, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = virtual()
    [pump] = scheduler._pumps.values()
    scheduler.shutdown()
    pump._done(None, JobStoreError("default", "it is not open"))
    assert "next attempt" not in caplog.text


def test_the_level_may_be_set_at_any_time(virtual: Make, caplog: pytest.LogCaptureFixture) -> None:
    scheduler = virtual()
    scheduler.add_job(nothing, "interval", seconds=1, id="x")
    scheduler.advance(1)
    assert lines(caplog) == []
    with caplog.at_level(logging.DEBUG, "schedcore"):
        scheduler.advance(1)
    told = [line for line in lines(caplog) if line.startswith("job ")]
    assert [line.split()[-1] for line in told] == ["'default'", "started", "ms"]
    caplog.clear()
    scheduler.advance(5)
    assert lines(caplog) == []


def test_it_is_asked_once_for_each_batch_whether_anybody_reads(virtual: Make) -> None:
    asked = 0

    class Counting(logging.LoggerAdapter[Any]):
        def isEnabledFor(self, level: int) -> bool:  # logging's name for it
            nonlocal asked
            asked += 1
            return super().isEnabledFor(level)

    scheduler = virtual(logger=Counting(logging.getLogger("schedcore.scheduler"), {}))
    jobs = 20 * BATCH
    for number in range(jobs):
        scheduler.add_job(nothing, "interval", seconds=60, id=str(number))
    asked = 0
    scheduler.advance(60)
    assert {record.state for record in scheduler.get_runs()} == {"succeeded"}
    assert 0 < asked < jobs / 4

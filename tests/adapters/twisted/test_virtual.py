"""Virtual time on Twisted's own ``Clock``."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from schedcore.adapters.twisted import TwistedScheduler
from schedcore.adapters.twisted.testing import VirtualReactor, VirtualTwistedScheduler
from schedcore.errors import ConfigurationError, RunCancelledError, SchedulerStartError
from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from tests.same_everywhere.neighbour import slowness

DAY_S = 86400.0
BERLIN = ZoneInfo("Europe/Berlin")


def test_a_year_of_a_daily_job_over_both_dst_changes() -> None:
    begun_s = time.process_time()
    reactor = VirtualReactor("2026-01-01T00:00:00+01:00")
    scheduler = VirtualTwistedScheduler(reactor=reactor, timezone="Europe/Berlin")
    ran: list[datetime] = []

    async def job() -> None:
        ran.append(datetime.fromtimestamp(reactor.wall_us() / 1e6, BERLIN))

    scheduler.add_job(job, "cron", hour=6, minute=30)
    scheduler.start()
    reactor.advance(365 * DAY_S)
    assert reactor.wait(scheduler.shutdown()) == []
    assert len(ran) == 365
    assert {(at.hour, at.minute, at.second) for at in ran} == {(6, 30, 0)}
    assert {at.utcoffset() for at in ran} == {timedelta(hours=1), timedelta(hours=2)}
    assert time.process_time() - begun_s < 1 * slowness()


@pytest.mark.parametrize("days", [60, 36_525])
def test_a_job_that_is_far_away(days: int) -> None:
    reactor = VirtualReactor("2026-01-01T00:00:00Z")
    scheduler = VirtualTwistedScheduler(reactor=reactor)
    ran: list[float] = []
    due = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days)
    scheduler.add_job(lambda: ran.append(reactor.seconds()), "date", run_date=due)
    scheduler.start()
    reactor.advance(days * DAY_S - 0.001)
    assert ran == []
    reactor.advance(0.001)
    assert ran == [days * DAY_S]
    reactor.wait(scheduler.shutdown())


def test_jobs_that_take_time_are_waited_for_or_cancelled() -> None:
    reactor = VirtualReactor()
    scheduler = VirtualTwistedScheduler(reactor=reactor)
    events: list[JobExecutionEvent] = []
    scheduler.add_listener(events.append, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    scheduler.start()

    async def job(span_s: float) -> float:
        await deferLater(reactor, span_s)  # type: ignore[arg-type]
        return reactor.seconds()

    scheduler.add_job(job, args=[5.0], id="short")
    scheduler.add_job(job, args=[3600.0], id="long")
    reactor.advance(4.0)
    assert events == []
    reactor.advance(2.0)
    assert [(event.job_id, event.retval) for event in events] == [("short", 5.0)]
    assert [run.job.id for run in reactor.wait(scheduler.shutdown(timeout=0))] == ["long"]
    assert [(event.job_id, type(event.exception)) for event in events[1:]] == [("long", RunCancelledError)]


def test_what_threads_ask_for_is_called_by_whoever_moves_the_clock() -> None:
    reactor = VirtualReactor()
    called: list[threading.Thread] = []
    thread = threading.Thread(target=reactor.callFromThread, args=(lambda: called.append(threading.current_thread()),))
    thread.start()
    thread.join()
    assert called == []
    reactor.advance()
    assert called == [threading.current_thread()]


def test_what_needs_time_to_pass_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedcore.adapters.twisted.testing.PATIENCE_S", 0.01)
    reactor = VirtualReactor()
    deferred: Deferred[None] = Deferred()
    with pytest.raises(TimeoutError, match="does it need time to pass"):
        reactor.wait(deferred)


def test_a_clock_alone_is_no_reactor() -> None:
    with pytest.raises(SchedulerStartError, match=r"must be a Twisted reactor, not <twisted.*Clock.*VirtualReactor\)"):
        TwistedScheduler(reactor=Clock()).start()
    with pytest.raises(ConfigurationError, match="must be a VirtualReactor, not <twisted"):
        VirtualTwistedScheduler(reactor=Clock())

"""A server that goes away in the middle of a load: it stops, it is killed, its connections are cut and refused.

Whatever happens, the scheduler goes on by itself: no fire time is lost or made twice, and ``health`` tells what is the matter.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, pairwise
from typing import NamedTuple

from schedcore.clock import Now
from schedcore.engine import decide
from schedcore.errors import JobStoreError
from schedcore.events import EVENT_JOBSTORE_FAILED, EVENT_JOBSTORE_RECOVERED
from schedcore.jobstores._owned import OwnedStore
from schedcore.jobstores.base import JobStore
from schedcore.schedulers._health import StoreHealth
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.testing._store_bench import finish_of
from tests.jobstores.load import Load, answered, at_rest, scheduler_on, start_paused, work
from tests.services import Proxy, Service

__all__ = [
    "breaks",
    "is_cut_and_refused",
    "is_killed",
    "loses_its_data",
    "refuses_for_a_minute",
    "starts_unanswered",
    "stops",
    "takes_unanswered",
]

# Seconds for what takes a few at most.
DEADLINE_S = 60.0


class _Before(NamedTuple):
    """Before the outage that a test makes. A busy machine makes shorter ones, where a store waits for an answer for less than
    a second: they do not count.
    """

    #: An instant (µs) at which the store was well.
    well_us: int
    failed: int
    recovered: int


def _wait_for_health(load: Load, ok: bool) -> tuple[int, StoreHealth]:
    """Until the store is well, or not; an instant (µs) at which it was so."""
    end_s = time.monotonic() + DEADLINE_S
    while True:
        at_us = int(time.time() * 1e6)
        health = load.scheduler.health()["default"]
        if health.ok is ok:
            return at_us, health
        assert time.monotonic() < end_s, health
        time.sleep(0.01)


def _before(load: Load) -> _Before:
    load.wait_for_more()
    at_us, _ = _wait_for_health(load, True)
    return _Before(at_us, *(len(load.log.of(code)) for code in (EVENT_JOBSTORE_FAILED, EVENT_JOBSTORE_RECOVERED)))


def _wait_for_failure(load: Load, before: _Before) -> int:
    """Until it is noticed; since when it is so."""
    load.log.wait_for(lambda log: len(log.of(EVENT_JOBSTORE_FAILED)) > before.failed, timeout=DEADLINE_S)
    _, health = _wait_for_health(load, False)
    assert health.error
    assert before.well_us <= health.since_us <= time.time() * 1e6
    return health.since_us


def _wait_for_recovery(load: Load, since_us: int, before: _Before) -> None:
    load.log.wait_for(lambda log: len(log.of(EVENT_JOBSTORE_RECOVERED)) > before.recovered, timeout=DEADLINE_S)
    load.wait_for_more()
    _, health = _wait_for_health(load, True)
    assert health.error is None
    assert since_us < health.since_us <= time.time() * 1e6


def stops(server: Service, store: JobStore, least_s: float = 0.0) -> None:
    """The server is stopped (SIGSTOP), for so many seconds at least."""
    load = Load(store)
    before = _before(load)
    end_s = time.monotonic() + least_s
    server.pause()
    try:
        since_us = _wait_for_failure(load, before)
        while time.monotonic() < end_s:
            # It is tried again and again meanwhile, and that is one failure.
            health = load.scheduler.health()["default"]
            assert (health.ok, health.since_us) == (False, since_us)
            time.sleep(0.05)
    finally:
        server.resume()
    _wait_for_recovery(load, since_us, before)
    load.check()


@contextmanager
def breaks(store: JobStore, begin: Callable[[], object], end: Callable[[], object]) -> Iterator[Load]:
    """Something happens to the server, and is over after this block, which comes when it was noticed. It costs no run."""
    load = Load(store)
    before = _before(load)
    begin()
    try:
        since_us = _wait_for_failure(load, before)
        yield load
    finally:
        end()
    _wait_for_recovery(load, since_us, before)
    load.check()


def is_killed(server: Service, store: JobStore) -> None:
    """The server is killed, and started again."""
    with breaks(store, server.kill, server.start):
        pass


def loses_its_data(server: Service, store: JobStore) -> None:
    """The server is killed, and what comes in its place has nothing."""
    load = Load(store)
    before = _before(load)
    server.kill()
    try:
        _wait_for_failure(load, before)
        shutil.rmtree(server._folder("data"))
    finally:
        server.start()
    load.log.wait_for(lambda log: len(log.of(EVENT_JOBSTORE_RECOVERED)) > before.recovered, timeout=DEADLINE_S)
    # That it is not as it was is said once, to who writes first.
    with suppress(JobStoreError):
        load.scheduler.add_job(work, "interval", seconds=0.1, id="new")
    load.scheduler.add_job(work, "interval", seconds=0.1, id="new", replace_existing=True)
    load.log.wait_for(lambda log: len(log.executed("new")) > 3, timeout=DEADLINE_S)
    assert [job.id for job in load.scheduler.get_jobs()] == ["new"]
    load.scheduler.shutdown()


def is_cut_and_refused(proxy: Proxy, store: JobStore) -> None:
    """Connections, which go by way of the proxy, are reset; and then refused for a while."""
    load = Load(store)
    for _ in range(3):
        load.wait_for_more(50)
        proxy.cut()
    before = _before(load)
    proxy.refuse()
    since_us = _wait_for_failure(load, before)
    proxy.accept()
    _wait_for_recovery(load, since_us, before)
    load.check()


def starts_unanswered(proxy: Proxy, store: JobStore) -> None:
    """A start loses the server in the midst of it: before its first answer, after one, after two, … until it is through. The same
    object starts again as soon as the server is there, whatever of the start before the server had done without anybody knowing.
    """
    for pieces in count():
        scheduler = scheduler_on(store)
        proxy.answer(pieces)
        failed = None
        try:
            scheduler.start(paused=True)
        except JobStoreError as error:
            failed = error
        proxy.accept()
        if failed is not None:
            assert failed.transient, failed
            answered(scheduler.start)
        scheduler.shutdown()
        if failed is None:
            assert pieces > 1
            return


def takes_unanswered(proxy: Proxy, store: JobStore) -> None:
    """A commit is not answered, nor is what comes then, after so many pieces: the store is taken again, and had by nobody else
    meanwhile. So what was committed is known not to have begun, and is run.
    """
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    for pieces in count():
        job_id = f"job{pieces}"
        at_us = int(time.time() * 1e6)
        scheduler.add_job(work, "date", run_date="2026-01-01T00:00:00Z", id=job_id, recovery="lost")
        at_rest(scheduler)
        decisions = [decide(claim, at_us) for claim in store.acquire(Now(at_us, at_us), 9)]
        (run,) = store.commit(decisions, at_us).runs
        assert isinstance(store, OwnedStore)
        store._doubt = True
        proxy.answer(pieces)
        failed = False
        try:
            found = store.recover([])
        except JobStoreError:
            failed = True
        proxy.accept()
        if failed:
            found = answered(lambda: store.recover([]))
        assert [(again.job.id, again.attempt) for again in found.runs] == [(job_id, run.attempt)], pieces
        assert found.lost == []
        answered(partial(store.finish, [finish_of(run)]))
        if not failed:
            assert pieces > 1
            break
    scheduler.shutdown()


def refuses_for_a_minute(proxy: Proxy, store: JobStore) -> None:
    """The same in virtual time: a job for each second of it, and one for which a single run makes up for them all."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    scheduler = VirtualScheduler(start=start, jobstores={"default": store}, timezone="UTC")
    log = EventLog(scheduler)
    scheduler.start()
    for name, coalesce in (("each", False), ("last", True)):
        scheduler.add_job(work, "interval", seconds=1, start_date=start, id=name, coalesce=coalesce, max_instances=100)
    scheduler.advance(5.5)
    proxy.refuse()
    scheduler.advance(60)
    ok, error, since_us = scheduler.health()["default"]
    assert not ok
    assert error
    assert start + timedelta(seconds=5.5) < datetime.fromtimestamp(since_us / 1e6, UTC) < start + timedelta(seconds=8)
    # Growing delays: not once for each second that it was away.
    assert 3 < len(log.of(EVENT_JOBSTORE_FAILED)) < 30
    proxy.accept()
    end_s = time.monotonic() + DEADLINE_S
    while not scheduler.health()["default"].ok:
        assert time.monotonic() < end_s
        scheduler.advance(1)
    scheduler.advance(10)
    each, last = log.executed("each"), log.executed("last")
    scheduler.shutdown()
    assert each == [each[0] + timedelta(seconds=number) for number in range(len(each))]
    assert each[0] <= start + timedelta(seconds=1)
    assert each[-1] >= scheduler.clock.now() - timedelta(seconds=1)
    # Of the seconds of the outage it ran for the latest.
    (gap,) = [after - one for one, after in pairwise(last) if after - one != timedelta(seconds=1)]
    assert gap > timedelta(seconds=58)
    assert log.skips("last")

"""The gevent scheduler: greenlets, waiting, threads, and what may go wrong. Not patched; the hub is the main thread's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import gevent
import gevent.event
import gevent.hub
import gevent.lock
import pytest

from schedcore.adapters.gevent import GeventExecutor, GeventScheduler, GeventThreadExecutor
from schedcore.errors import (
    RunCancelledError,
    SchedulerAlreadyRunningError,
    SchedulerNotRunningError,
    SchedulerStartError,
)
from schedcore.events import EVENT_ALL, EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_SCHEDULER_SHUTDOWN, SchedulerEvent
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.job import Job
from schedcore.run import Run, RunState, current_run
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing.executor_suite import RecordingHost, make_run

PATIENCE_S = 60.0


@pytest.fixture
def scheduler() -> Iterator[GeventScheduler]:
    with gevent.Timeout(PATIENCE_S), GeventScheduler(timezone="UTC") as made:
        yield made


@pytest.fixture
def hub_errors(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What gevent was told of as unhandled."""
    errors: list[Any] = []
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *error: errors.append(error))
    return errors


class Told:
    """The events of a scheduler, waited for by greenlets."""

    def __init__(self, scheduler: GeventScheduler, mask: int = EVENT_ALL) -> None:
        self.events: list[Any] = []
        scheduler.add_listener(self.events.append, mask)

    def first(self, code: int, job_id: str | None = None) -> Any:
        found: list[Any] = []

        def look() -> bool:
            found[:] = [
                event for event in self.events if event.code == code and job_id in (None, getattr(event, "job_id", ""))
            ]
            return bool(found)

        until(look)
        return found[0]


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(PATIENCE_S):
        while not condition():
            gevent.sleep(0.002)


def begin_waiting(scheduler: GeventScheduler, gate: gevent.event.Event) -> gevent.event.Event:
    """Have a job wait at a gate; returns what is set when it does."""
    begun = gevent.event.Event()

    def job() -> None:
        begun.set()
        gate.wait()

    scheduler.add_job(job)
    return begun


def cut_of(scheduler: GeventScheduler, timeout: float) -> list[Run]:
    """What a shutdown cut that has waited."""
    cut: Any = scheduler.shutdown(timeout=timeout).get(block=False)
    assert isinstance(cut, list)
    return cut


def in_thread(call: Callable[[], Any]) -> Any:
    """Make a call in a real thread, while greenlets run here."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except Exception as error:  # noqa: BLE001  # it is raised again where the call was asked for
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: not thread.is_alive())
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


# --- jobs --------------------------------------------------------------------------------------------------------------


def test_jobs_are_greenlets_that_wait_at_the_same_time(scheduler: GeventScheduler) -> None:
    gate = gevent.event.Event()
    seen: list[tuple[bool, int]] = []

    def job() -> None:
        seen.append((isinstance(gevent.getcurrent(), gevent.Greenlet), threading.get_ident()))
        gate.wait()

    for _ in range(50):
        scheduler.add_job(job)
    until(lambda: len(seen) == 50)
    gate.set()
    assert set(seen) == {(True, threading.get_ident())}


def test_a_burst_of_jobs_that_do_not_wait_needs_two_greenlets_and_keeps_their_contexts_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A worker's turn is over after some milliseconds, which on a busy machine may pass in the middle of the burst.
    monkeypatch.setattr("schedcore.adapters.gevent._greenlets.monotonic", lambda: 0.0)
    host = RecordingHost()
    executor = GeventExecutor()
    executor.start(host, "default")
    left: ContextVar[int] = ContextVar("left", default=0)
    greenlets: set[Any] = set()

    def job() -> int:
        greenlets.add(gevent.getcurrent())
        found = left.get()
        left.set(7)
        return found

    runs = [make_run(job) for _ in range(100)]
    executor.submit(runs)
    assert executor.shutdown() == []
    assert [finish.retval for finish in host.finished] == [0] * 100
    assert len(greenlets) == 1


def test_what_a_call_and_the_shutdown_give_has_a_type(scheduler: GeventScheduler) -> None:
    added = scheduler.call(scheduler.add_job, int, "interval", hours=1, id="x")
    assert_type(added, "gevent.event.AsyncResult[Job]")
    job: Job | None = added.get()
    assert job is not None  # for gevent's types: get() of what has no value yet
    assert job.id == "x"
    closed = scheduler.shutdown()
    assert_type(closed, "gevent.event.AsyncResult[list[Run]]")
    assert closed.get() == []


def test_no_more_jobs_at_a_time_than_workers() -> None:
    with GeventScheduler(executors={"default": GeventExecutor(max_workers=2)}) as scheduler:
        gate = gevent.event.Event()
        begun: list[int] = []

        def job() -> None:
            begun.append(1)
            gate.wait()

        for _ in range(3):
            scheduler.add_job(job)
        until(lambda: len(begun) == 2)
        gevent.sleep(0.01)
        assert len(begun) == 2
        gate.set()
        until(lambda: len(begun) == 3)


def test_long_jobs_that_do_not_wait_leave_the_hub_its_turn_between_them(scheduler: GeventScheduler) -> None:
    turns: list[int] = []

    def busy() -> None:
        until_s = datetime.now(UTC) + timedelta(milliseconds=6)
        while datetime.now(UTC) < until_s:
            pass
        turns.append(ticks[0])

    ticks = [0]

    def tick() -> None:
        while len(turns) < 10:
            ticks[0] += 1
            gevent.sleep(0)

    ticker = gevent.spawn(tick)
    scheduler.pause()
    for _ in range(10):
        scheduler.add_job(busy)
    scheduler.resume()
    until(lambda: len(turns) == 10)
    ticker.join()
    assert len(set(turns)) == 10, "several ran without a turn for anybody else"


def test_a_job_may_return_a_greenlet_or_an_async_result(scheduler: GeventScheduler) -> None:
    told = Told(scheduler)
    later: gevent.event.AsyncResult[str] = gevent.event.AsyncResult()

    def value() -> str:
        gevent.sleep(0.005)
        return "from a greenlet"

    scheduler.add_job(lambda: gevent.spawn(value), id="greenlet")
    scheduler.add_job(lambda: later, id="result")
    assert told.first(EVENT_JOB_EXECUTED, "greenlet").retval == "from a greenlet"
    assert not [event for event in told.events if event.code == EVENT_JOB_EXECUTED and event.job_id == "result"]
    later.set("later")
    assert told.first(EVENT_JOB_EXECUTED, "result").retval == "later"


def test_what_was_returned_may_fail_or_be_killed(scheduler: GeventScheduler, hub_errors: list[Any]) -> None:
    told = Told(scheduler)
    failing: gevent.event.AsyncResult[None] = gevent.event.AsyncResult()
    failing.set_exception(LookupError("no"))
    scheduler.add_job(lambda: failing, id="fails")
    assert isinstance(told.first(EVENT_JOB_ERROR, "fails").exception, LookupError)
    made: list[Any] = []

    def job() -> Any:
        made.append(gevent.spawn(gevent.sleep, 60))
        return made[0]

    scheduler.add_job(job, id="killed")
    until(lambda: made)
    made[0].kill()
    assert "was killed" in str(told.first(EVENT_JOB_ERROR, "killed").exception)


def test_a_coroutine_runs_in_a_real_thread_in_the_context_of_its_run(scheduler: GeventScheduler) -> None:
    told = Told(scheduler)

    async def job() -> Any:
        await asyncio.sleep(0.01)
        run = current_run.get()
        return threading.get_ident(), run and run.job.id

    scheduler.add_job(job, id="coroutine")
    thread, job_id = told.first(EVENT_JOB_EXECUTED, "coroutine").retval
    assert thread != threading.get_ident()
    assert job_id == "coroutine"


def test_jobs_that_would_stop_all_greenlets_have_an_executor_of_threads() -> None:
    executors = {"default": GeventExecutor(), "threads": GeventThreadExecutor(2), "pool": ThreadPoolExecutor(2)}
    with GeventScheduler(executors=executors) as scheduler:
        told = Told(scheduler)
        gate = threading.Event()

        def job() -> int:
            assert gate.wait(PATIENCE_S)
            return threading.get_ident()

        scheduler.add_job(job, id="threads", executor="threads")
        scheduler.add_job(job, id="pool", executor="pool")
        for _ in range(10):
            gevent.sleep(0.001)
        gate.set()
        for name in ("threads", "pool"):
            assert told.first(EVENT_JOB_EXECUTED, name).retval != threading.get_ident()


# --- what jobs raise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("as wanted"), "as wanted"),
        (SystemExit(3), "sys.exit(3)"),
        (gevent.Timeout(5), "Timeout: 5 seconds"),
        (asyncio.CancelledError(), "CancelledError"),
        (GeneratorExit(), "GeneratorExit"),
    ],
)
def test_whatever_a_job_raises_is_its_outcome_and_nobody_elses(
    scheduler: GeventScheduler, hub_errors: list[Any], error: BaseException, text: str
) -> None:
    told = Told(scheduler)

    def job() -> None:
        raise error

    scheduler.add_job(job, id="j")
    assert text in str(told.first(EVENT_JOB_ERROR, "j").exception)
    assert hub_errors == []
    scheduler.add_job(int, id="next")
    told.first(EVENT_JOB_EXECUTED, "next")


def test_a_greenlet_exit_is_no_success(scheduler: GeventScheduler, hub_errors: list[Any]) -> None:
    told = Told(scheduler)

    def leave() -> None:
        raise gevent.GreenletExit

    current: list[Any] = []

    def wait() -> None:
        current.append(gevent.getcurrent())
        gevent.sleep(60)

    scheduler.add_job(leave, id="left")
    scheduler.add_job(wait, id="killed")
    until(lambda: current)
    current[0].kill(block=False)
    for job_id in ("left", "killed"):
        assert isinstance(told.first(EVENT_JOB_ERROR, job_id).exception, RunCancelledError)
    assert hub_errors == []


def test_a_ctrl_c_in_a_job_is_the_programs(scheduler: GeventScheduler, hub_errors: list[Any]) -> None:
    told = Told(scheduler)

    def job() -> None:
        raise KeyboardInterrupt

    scheduler.add_job(job, id="j")
    with pytest.raises(KeyboardInterrupt):
        gevent.sleep(PATIENCE_S)
    told.first(EVENT_JOB_ERROR, "j")
    scheduler.add_job(int, id="next")
    told.first(EVENT_JOB_EXECUTED, "next")


# --- shutdown ----------------------------------------------------------------------------------------------------------


def test_shutdown_waits_while_other_greenlets_run(scheduler: GeventScheduler) -> None:
    begun, gate = gevent.event.Event(), gevent.event.Event()
    over: list[int] = []

    def job() -> None:
        begun.set()
        gate.wait()
        over.append(1)

    scheduler.add_job(job)
    begun.wait()
    gevent.spawn_later(0.01, gate.set)
    result = scheduler.shutdown()
    assert over == [1]
    assert result.ready()
    assert result.get() == []
    assert scheduler.shutdown().get(block=False) == []


def test_shutdown_that_runs_out_of_time_ends_greenlets_and_coroutines(scheduler: GeventScheduler) -> None:
    told = Told(scheduler)
    ended: list[str] = []
    begun: list[str] = []

    def greenlet() -> None:
        begun.append("greenlet")
        try:
            gevent.sleep(60)
        finally:
            ended.append("greenlet")

    def returns() -> Any:
        return gevent.spawn(greenlet)

    async def coroutine() -> None:
        begun.append("coroutine")
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("coroutine")

    for job in (greenlet, returns, coroutine):
        scheduler.add_job(job, id=job.__name__)
    until(lambda: len(begun) == 3)
    cut = cut_of(scheduler, 0.02)
    assert sorted(run.job.id for run in cut) == ["coroutine", "greenlet", "returns"]
    assert sorted(ended) == ["coroutine", "greenlet", "greenlet"]
    errors = [event for event in told.events if event.code == EVENT_JOB_ERROR]
    assert [type(event.exception) for event in errors] == [RunCancelledError] * 3


def test_a_job_that_does_not_let_itself_be_ended_is_not_waited_for(
    scheduler: GeventScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schedcore.adapters.gevent.executor.GRACE_S", 0.02)
    begun, gate, over = gevent.event.Event(), gevent.event.Event(), gevent.event.Event()

    def job() -> None:
        begun.set()
        try:
            gate.wait()
        except gevent.GreenletExit:
            gate.wait()
        over.set()

    scheduler.add_job(job, id="stubborn")
    begun.wait()
    assert [run.job.id for run in cut_of(scheduler, 0.01)] == ["stubborn"]
    gate.set()
    over.wait()


def test_shutdown_that_does_not_wait_gives_what_can_be_waited_for(scheduler: GeventScheduler) -> None:
    told = Told(scheduler)
    begun, gate = gevent.event.Event(), gevent.event.Event()

    def job() -> None:
        begun.set()
        gate.wait()

    scheduler.add_job(job)
    begun.wait()
    result = scheduler.shutdown(wait=False)
    assert not scheduler.running
    gevent.sleep(0.01)
    assert not result.ready()
    gate.set()
    assert result.get(timeout=PATIENCE_S) == []
    assert told.events[-1].code == EVENT_SCHEDULER_SHUTDOWN


def test_shutdown_before_start_and_by_many() -> None:
    scheduler = GeventScheduler()
    assert scheduler.shutdown().get(block=False) == []
    assert scheduler.shutdown(wait=False).get(block=False) == []
    scheduler.start()
    waiting = [gevent.spawn(scheduler.shutdown) for _ in range(8)]
    gevent.joinall(waiting, timeout=PATIENCE_S, raise_error=True)
    assert all(one.get().ready() for one in waiting)


def test_a_job_that_shuts_down_does_not_wait_for_itself(scheduler: GeventScheduler) -> None:
    told = Told(scheduler)
    scheduler.add_job(lambda: scheduler.shutdown().get(block=False), id="j")
    assert told.first(EVENT_JOB_EXECUTED, "j").retval == []
    told.first(EVENT_SCHEDULER_SHUTDOWN)


def test_the_hub_does_not_wait(scheduler: GeventScheduler) -> None:
    results: list[Any] = []

    def in_hub() -> None:
        assert gevent.getcurrent() is gevent.get_hub()
        results.append(scheduler.shutdown())

    gate = gevent.event.Event()
    begin_waiting(scheduler, gate).wait()
    gevent.get_hub().loop.run_callback(in_hub)
    until(lambda: results)
    assert not results[0].ready()
    gate.set()
    assert results[0].get(timeout=PATIENCE_S) == []


def test_a_listener_that_shuts_down_does_not_wait(scheduler: GeventScheduler) -> None:
    results: list[Any] = []
    scheduler.add_listener(lambda event: results.append(scheduler.shutdown()), EVENT_JOB_EXECUTED)
    scheduler.add_job(int)
    until(lambda: results)
    until(results[0].ready)


def test_a_real_thread_waits_too(scheduler: GeventScheduler) -> None:
    gate = gevent.event.Event()
    begin_waiting(scheduler, gate).wait()
    gevent.spawn_later(0.02, gate.set)
    results: list[Any] = []

    def stop() -> None:
        result = scheduler.shutdown()
        results.append((result.ready(), result.get(block=False), gate.is_set()))

    in_thread(stop)
    assert results == [(True, [], True)]


def test_two_jobs_may_shut_their_executor_down_at_once() -> None:
    host = RecordingHost()
    executor = GeventExecutor(2)
    executor.start(host, "default")
    here, both = [0], gevent.event.Event()

    def stop() -> None:
        here[0] += 1
        if here[0] == 2:
            both.set()
        both.wait()
        assert executor.shutdown() == []

    runs = [make_run(stop), make_run(stop)]
    with gevent.Timeout(PATIENCE_S):
        executor.submit(runs)
        assert executor.shutdown() == []
    assert [finish.state for finish in host.finished] == [RunState.SUCCEEDED] * 2


def test_the_hub_itself_only_stops_the_executor() -> None:
    host = RecordingHost()
    executor = GeventExecutor()
    executor.start(host, "default")
    gate = gevent.event.Event()
    run = make_run(gate.wait)
    executor.submit([run])
    gevent.sleep(0)
    cut: list[Any] = []
    gevent.get_hub().loop.run_callback(lambda: cut.append(executor.shutdown()))
    until(lambda: cut)
    assert cut == [[]]
    assert executor.live_runs() == [run]
    with pytest.raises(RuntimeError, match="not running"):
        executor.submit([make_run(int)])
    gate.set()
    assert executor.shutdown() == []


def test_it_starts_again(scheduler: GeventScheduler) -> None:
    told = Told(scheduler)
    scheduler.shutdown()
    scheduler.start()
    scheduler.add_job(int, id="again")
    told.first(EVENT_JOB_EXECUTED, "again")


# --- starting ----------------------------------------------------------------------------------------------------------


def test_a_thread_without_a_hub_is_refused() -> None:
    with pytest.raises(SchedulerStartError, match=r"there is none in this thread; call start\(\) in a greenlet"):
        in_thread(GeventScheduler().start)
    background = BackgroundScheduler(executors={"default": GeventExecutor()})
    with pytest.raises(SchedulerStartError, match="the executor 'default' lives on a gevent hub"):
        in_thread(background.start)


def test_started_twice_and_while_it_shuts_down(scheduler: GeventScheduler) -> None:
    with pytest.raises(SchedulerAlreadyRunningError, match="already"):
        scheduler.start()
    gate = gevent.event.Event()
    begin_waiting(scheduler, gate).wait()
    result = scheduler.shutdown(wait=False)
    with pytest.raises(SchedulerAlreadyRunningError, match="still shutting down"):
        scheduler.start()
    gate.set()
    result.get(timeout=PATIENCE_S)


def test_a_start_that_fails_leaves_nothing_for_the_hub_to_wait_for(hub_thread: Any) -> None:
    def use() -> tuple[int, int]:
        before = hub_thread.hub.loop.activecnt
        scheduler = GeventScheduler()
        scheduler.add_job(int, jobstore="nowhere")
        with pytest.raises(LookupError, match="nowhere"):
            scheduler.start()
        scheduler = GeventScheduler()
        scheduler.start()
        with pytest.raises(SchedulerAlreadyRunningError):
            scheduler.start()
        scheduler.add_job(int)
        scheduler.shutdown()
        # What is just ending is gone some turns of the hub later.
        for _ in range(5000):
            if hub_thread.hub.loop.activecnt == before:
                break
            gevent.sleep(0.002)
        return before, hub_thread.hub.loop.activecnt

    before, after = hub_thread.call(use)
    assert after == before


def test_its_hub_is_destroyed_under_it() -> None:
    said: list[Any] = []

    def live_and_die() -> None:
        gevent.get_hub()
        scheduler = GeventScheduler()
        scheduler.start()
        begun = gevent.event.Event()

        def job() -> None:
            begun.set()
            gevent.sleep(600)

        scheduler.add_job(job, id="j")
        begun.wait()
        gevent.get_hub().destroy(destroy_loop=True)
        said.append([run.job.id for run in cut_of(scheduler, 5.0)])
        with pytest.raises(SchedulerNotRunningError):
            scheduler.call(int)
        # It starts again on the hub that the thread has then.
        gevent.get_hub()
        scheduler.start()
        said.append(scheduler.shutdown().get(block=False))
        gevent.get_hub().destroy(destroy_loop=True)

    in_thread(live_and_die)
    assert said == [["j"], []]


def test_a_thread_of_ones_own_may_have_one(hub_thread: Any) -> None:
    def use() -> Any:
        with GeventScheduler() as scheduler:
            told = Told(scheduler)
            scheduler.add_job(threading.get_ident, id="j")
            return told.first(EVENT_JOB_EXECUTED, "j").retval

    assert hub_thread.call(use) == hub_thread.hub.thread_ident


def test_a_background_scheduler_may_have_jobs_in_greenlets() -> None:
    scheduler = BackgroundScheduler(executors={"default": GeventExecutor()})
    scheduler.start()
    events: list[SchedulerEvent] = []
    scheduler.add_listener(events.append, EVENT_JOB_EXECUTED)
    scheduler.add_job(threading.get_ident)
    until(lambda: events)
    assert [getattr(event, "retval", None) for event in events] == [threading.get_ident()]
    in_thread(scheduler.shutdown)


# --- other threads -----------------------------------------------------------------------------------------------------


def test_jobs_are_added_and_removed_by_real_threads(scheduler: GeventScheduler) -> None:
    ran: list[str] = []

    def add(name: str) -> None:
        for number in range(50):
            scheduler.add_job(ran.append, args=[f"{name}{number}"])
            scheduler.add_job(int, "interval", hours=1, id=f"{name}{number}")
            scheduler.remove_job(f"{name}{number}")

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    until(lambda: len(ran) == 200)
    until(lambda: not any(thread.is_alive() for thread in threads))
    assert len(set(ran)) == 200
    assert scheduler.get_jobs() == []


def test_events_are_told_in_a_thread(scheduler: GeventScheduler) -> None:
    threads: list[int] = []
    scheduler.add_listener(lambda event: threads.append(threading.get_ident()))
    scheduler.add_job(int, id="j")
    until(lambda: len(threads) >= 4)
    assert threading.get_ident() not in threads


def test_a_call_that_may_wait(scheduler: GeventScheduler) -> None:
    assert scheduler.call(threading.get_ident).get(timeout=PATIENCE_S) != threading.get_ident()
    with pytest.raises(LookupError):
        scheduler.call(scheduler.remove_job, "nobody").get(timeout=PATIENCE_S)
    assert in_thread(lambda: scheduler.call(int)).get(timeout=PATIENCE_S) == 0


# --- long waits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [60, 36525])
def test_a_job_far_away(scheduler: GeventScheduler, days: int) -> None:
    far = datetime.now(UTC) + timedelta(days=days)
    assert scheduler.add_job(int, "date", run_date=far, id="far").next_run_time == far
    told = Told(scheduler)
    scheduler.add_job(int, id="near")
    told.first(EVENT_JOB_EXECUTED, "near")
    assert scheduler.get_job("far") is not None

"""The Twisted scheduler: native execution, native waiting, and a reactor that is never kept waiting."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from typing import Any, assert_type

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail, inlineCallbacks, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThreadPool
from twisted.logger import globalLogPublisher

from schedcore.adapters.twisted import TwistedExecutor, TwistedScheduler, in_reactor
from schedcore.adapters.twisted.testing import ReactorThread
from schedcore.errors import RunCancelledError, SchedulerAlreadyRunningError, SchedulerStartError, UnknownOptionError
from schedcore.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_STARTED,
    EVENT_JOB_SUBMITTED,
    EVENT_JOBSTORE_FAILED,
    EVENT_SCHEDULER_SHUTDOWN,
)
from schedcore.job import Job
from schedcore.run import current_run
from schedcore.schedulers._pump import BATCH
from schedcore.schedulers.background import BackgroundScheduler
from tests.adapters.slow_store import SlowStore

Watch = Callable[..., Any]


def in_thread(reactor: Any, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return deferToThreadPool(reactor, reactor.getThreadPool(), call, *args)


@pytest.fixture
def unhandled() -> Iterator[list[dict[str, Any]]]:
    """What Twisted logs as critical: errors that nobody handled."""
    found: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            found.append(event)

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    yield found
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


# --- where jobs run ---


async def test_deferreds_run_in_the_reactors_thread_and_functions_in_its_pool(reactor: Any, watch: Watch) -> None:
    async with TwistedScheduler(reactor=reactor) as scheduler:
        log = watch(scheduler)

        def here() -> threading.Thread:
            return threading.current_thread()

        async def coroutine() -> threading.Thread:
            await deferLater(reactor, 0)
            return here()

        @inlineCallbacks
        def inline() -> Generator[Deferred[None], None, threading.Thread]:
            yield deferLater(reactor, 0)
            return here()

        def annotated() -> Deferred[threading.Thread]:
            return deferLater(reactor, 0, here)

        @in_reactor
        def marked():  # type: ignore[no-untyped-def]
            return succeed(here())

        def plain() -> threading.Thread:
            return here()

        for func in (coroutine, inline, annotated, marked, plain):
            scheduler.add_job(func, id=func.__name__)
        scheduler.add_job(plain, id="alias", executor="reactor")
        executed = {event.job_id: event.retval for event in await log.wait_for(EVENT_JOB_EXECUTED, 6)}
        assert executed.pop("plain") in reactor.getThreadPool().threads
        assert set(executed) == {"coroutine", "inline", "annotated", "marked", "alias"}
        assert set(executed.values()) == {here()}


async def test_a_deferred_out_of_a_thread_is_waited_for_with_a_warning(
    reactor: Any, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    async with TwistedScheduler(reactor=reactor) as scheduler:
        log = watch(scheduler)

        def unseen():  # type: ignore[no-untyped-def]
            return succeed("value")

        def fails():  # type: ignore[no-untyped-def]
            return fail(LookupError("nothing there"))

        async def coroutine() -> object:
            return threading.current_thread()

        for _ in range(2):
            scheduler.add_job(unseen)
        assert [event.retval for event in await log.wait_for(EVENT_JOB_EXECUTED, 2)] == ["value", "value"]
        scheduler.add_job(fails)
        (error,) = await log.wait_for(EVENT_JOB_ERROR)
        assert isinstance(error.exception, LookupError)
        scheduler.add_job(lambda: coroutine())
        assert (await log.wait_for(EVENT_JOB_EXECUTED, 3))[2].retval is threading.current_thread()
    warnings = [record.getMessage() for record in caplog.records if "returned a Deferred" in record.getMessage()]
    assert len(warnings) == 2
    assert (
        "decorate it with schedcore.adapters.twisted.in_reactor, or add its job with executor='reactor'" in warnings[0]
    )


async def test_the_executor_is_configured_by_text(reactor: Any, watch: Watch) -> None:
    scheduler = TwistedScheduler(
        {
            "schedcore.executors.here.type": "twisted",
            "schedcore.executors.here.in_reactor": "true",
            "schedcore.executors.few.type": "twisted",
            "schedcore.executors.few.max_workers": "1",
        },
        reactor=reactor,
        stop_timeout="2.5",
    )
    log = watch(scheduler)
    scheduler.add_job(threading.get_ident, executor="here")
    scheduler.add_job(threading.get_ident, executor="few")
    scheduler.start()
    threads = [event.retval for event in await log.wait_for(EVENT_JOB_EXECUTED, 2)]
    assert threads.count(threading.get_ident()) == 1
    await scheduler.shutdown()


async def test_two_threads_of_the_pool_are_left_to_others(reactor: Any, watch: Watch) -> None:
    async with TwistedScheduler(reactor=reactor) as scheduler:
        log = watch(scheduler)
        go = threading.Event()
        try:
            for _ in range(12):
                scheduler.add_job(go.wait, args=[20])
            await log.wait_for(EVENT_JOB_STARTED, 8)
            assert await in_thread(reactor, lambda: "served") == "served"
            assert await scheduler.call(lambda: "served, too") == "served, too"
            assert len(log.of(EVENT_JOB_STARTED)) == 8
        finally:
            go.set()
        await log.wait_for(EVENT_JOB_EXECUTED, 12)


async def test_the_events_of_a_run_come_in_order_with_its_id(reactor: Any, watch: Watch) -> None:
    async with TwistedScheduler(reactor=reactor) as scheduler:
        log = watch(scheduler)
        ids: list[str] = []

        @inlineCallbacks
        def job() -> Generator[Deferred[None], None, None]:
            yield deferLater(reactor, 0)
            run = current_run.get()
            assert run is not None
            ids.append(run.id)

        scheduler.add_job(job, id="j")
        await log.wait_for(EVENT_JOB_EXECUTED)
        wanted = (EVENT_JOB_SUBMITTED, EVENT_JOB_STARTED, EVENT_JOB_EXECUTED)
        mine = [event for event in log.events if event.code in wanted]
        assert [event.code for event in mine] == list(wanted)
        assert [mine[0].run_ids[0], mine[1].run_id, mine[2].run_id] == ids * 3
        assert current_run.get() is None


async def test_whatever_a_job_raises_is_an_event_and_the_reactor_goes_on(
    reactor: Any, watch: Watch, unhandled: list[dict[str, Any]]
) -> None:
    class Odd(BaseException):
        pass

    async with TwistedScheduler(reactor=reactor) as scheduler:
        log = watch(scheduler, EVENT_JOB_ERROR)

        async def raises(error: BaseException) -> None:
            await deferLater(reactor, 0)
            raise error

        @in_reactor
        def raises_at_once(error: BaseException) -> None:
            raise error

        def fails(error: BaseException) -> Deferred[None]:
            return fail(error)

        def in_a_thread(error: BaseException) -> None:
            raise error

        @in_reactor
        def generates() -> Iterator[int]:
            yield 1

        errors = [
            LookupError("there"),
            SystemExit(3),
            KeyboardInterrupt(),
            Odd("odd"),
            GeneratorExit(),
            StopIteration(1),
        ]
        for func in (raises, raises_at_once, fails, in_a_thread):
            for error in errors:
                scheduler.add_job(func, args=[error], id=f"{func.__name__} {type(error).__name__}")
        scheduler.add_job(generates, id="generates")
        events = {event.job_id: event for event in await log.wait_for(EVENT_JOB_ERROR, 4 * len(errors) + 1)}
        for name in ("raises", "raises_at_once", "fails", "in_a_thread"):
            assert isinstance(events[f"{name} LookupError"].exception, LookupError)
            assert "there" in events[f"{name} LookupError"].traceback
            assert "sys.exit(3)" in str(events[f"{name} SystemExit"].exception)
            assert "KeyboardInterrupt" in str(events[f"{name} KeyboardInterrupt"].exception)
        assert "of which nothing has run" in str(events["generates"].exception)
        first_frame = events["raises_at_once LookupError"].traceback.splitlines()[1]
        assert __file__ in first_frame, "the frames before the job's own are nobody's business"
    assert unhandled == []


async def test_cancelled_from_outside_is_an_outcome_too(reactor: Any, watch: Watch) -> None:
    async with TwistedScheduler(reactor=reactor) as scheduler:
        log = watch(scheduler)
        waits: Deferred[None] = Deferred()

        async def job() -> None:
            await waits

        scheduler.add_job(job, id="j")
        await log.wait_for(EVENT_JOB_STARTED)
        waits.cancel()
        (event,) = await log.wait_for(EVENT_JOB_ERROR)
        assert isinstance(event.exception, RunCancelledError)


# --- stopping ---


async def test_shutdown_waits_for_deferreds_and_functions(reactor: Any, watch: Watch) -> None:
    scheduler = TwistedScheduler(reactor=reactor)
    log = watch(scheduler)
    scheduler.start()
    ended: list[str] = []

    async def coroutine() -> None:
        await deferLater(reactor, 0.05)
        ended.append("coroutine")

    def function() -> None:
        time.sleep(0.05)
        ended.append("function")

    scheduler.add_job(coroutine)
    scheduler.add_job(function)
    await log.wait_for(EVENT_JOB_STARTED, 2)
    assert await scheduler.shutdown() == []
    assert sorted(ended) == ["coroutine", "function"]
    assert not scheduler.running


async def test_shutdown_with_a_timeout_cancels_once_and_says_what_it_cut(reactor: Any, watch: Watch) -> None:
    scheduler = TwistedScheduler(reactor=reactor)
    log = watch(scheduler)
    scheduler.start()
    cancelled: list[str] = []

    async def coroutine() -> None:
        try:
            await Deferred()
        except CancelledError:
            cancelled.append("coroutine")
            raise

    def deferred() -> Deferred[None]:
        return Deferred(lambda _: cancelled.append("deferred"))

    def unseen():  # type: ignore[no-untyped-def]
        return Deferred(lambda _: cancelled.append("unseen"))

    for func in (coroutine, deferred, unseen):
        scheduler.add_job(func, id=func.__name__)
    await log.wait_for(EVENT_JOB_STARTED, 3)
    cut = await scheduler.shutdown(timeout=0.05)
    assert sorted(run.job.id for run in cut) == ["coroutine", "deferred", "unseen"]
    errors = {event.job_id: event for event in await log.wait_for(EVENT_JOB_ERROR, 3)}
    assert sorted(cancelled) == ["coroutine", "deferred", "unseen"]
    assert isinstance(errors["coroutine"].exception, RunCancelledError)
    assert isinstance(errors["deferred"].exception, RunCancelledError)


async def test_a_job_that_does_not_let_itself_be_cancelled_is_not_waited_for_again(reactor: Any, watch: Watch) -> None:
    scheduler = TwistedScheduler(reactor=reactor)
    log = watch(scheduler)
    scheduler.start()
    gate: Deferred[None] = Deferred()

    async def stubborn() -> None:
        try:
            await Deferred()
        except CancelledError:
            await gate

    scheduler.add_job(stubborn, id="stubborn")
    await log.wait_for(EVENT_JOB_STARTED)
    assert [run.job.id for run in await scheduler.shutdown(timeout=0.01)] == ["stubborn"]
    gate.callback(None)


async def test_shutdown_not_waited_for_stops_all_the_same(reactor: Any, watch: Watch) -> None:
    scheduler = TwistedScheduler(reactor=reactor)
    log = watch(scheduler)
    runs: list[int] = []
    scheduler.add_job(lambda: runs.append(1), "interval", seconds=0.01)
    scheduler.start()
    await log.wait_for(EVENT_JOB_EXECUTED, 2)
    assert await scheduler.shutdown(wait=False) == []
    await log.wait_for(EVENT_SCHEDULER_SHUTDOWN)
    count = len(runs)
    await deferLater(reactor, 0.05)
    assert len(runs) == count


async def test_shutdown_before_start_twice_and_all_at_once(reactor: Any) -> None:
    scheduler = TwistedScheduler(reactor=reactor)
    assert await scheduler.shutdown() == []
    scheduler.start()
    results = await DeferredList([scheduler.shutdown() for _ in range(5)])
    assert results == [(True, [])] * 5
    assert await scheduler.shutdown() == []


async def test_shutdown_awaited_inside_a_job_does_not_wait_for_itself(reactor: Any, watch: Watch) -> None:
    scheduler = TwistedScheduler(reactor=reactor)
    log = watch(scheduler)
    scheduler.start()
    went_on: list[bool] = []

    async def job() -> None:
        await scheduler.shutdown()
        went_on.append(scheduler.running)

    scheduler.add_job(job)
    await log.wait_for(EVENT_SCHEDULER_SHUTDOWN)
    assert went_on == [False]
    assert await scheduler.shutdown() == []


async def test_shutdown_from_another_thread(reactor: Any, watch: Watch) -> None:
    scheduler = TwistedScheduler(reactor=reactor)
    log = watch(scheduler)
    scheduler.start()
    assert await in_thread(reactor, blockingCallFromThread, reactor, scheduler.shutdown) == []
    scheduler.start()
    await in_thread(reactor, lambda: scheduler.shutdown() and None)
    await log.wait_for(EVENT_SCHEDULER_SHUTDOWN, 2)
    assert not scheduler.running


async def test_whoever_gives_up_waiting_stops_neither_the_others_nor_the_closing(
    reactor: Any, watch: Watch, unhandled: list[dict[str, Any]]
) -> None:
    scheduler = TwistedScheduler(reactor=reactor)
    log = watch(scheduler)
    scheduler.start()
    go: Deferred[None] = Deferred()

    async def job() -> None:
        await go

    scheduler.add_job(job)
    await log.wait_for(EVENT_JOB_STARTED)
    with pytest.raises(Exception, match=r"0\.02"):
        await scheduler.shutdown().addTimeout(0.02, reactor)
    waiting = scheduler.shutdown()
    go.callback(None)
    assert await waiting == []
    assert unhandled == []


async def test_it_starts_again(reactor: Any, watch: Watch) -> None:
    scheduler = TwistedScheduler(reactor=reactor)
    log = watch(scheduler)
    for times in (1, 2):
        scheduler.start()
        with pytest.raises(SchedulerAlreadyRunningError):
            scheduler.start()
        scheduler.add_job(lambda: None)
        await log.wait_for(EVENT_JOB_EXECUTED, times)
        await scheduler.shutdown()
        await deferLater(reactor, 0)
        assert scheduler._trigger is None, "the reactor still knows it"


# --- the reactor stops ---


# ``io.stop`` raises where the reactor does not stop.


def test_a_reactor_that_stops_waits_for_what_runs(io: ReactorThread) -> None:
    scheduler = TwistedScheduler(reactor=io.reactor, stop_timeout=None)
    begun = threading.Barrier(3)
    ended: list[str] = []

    async def coroutine() -> None:
        await deferLater(io.reactor, 0, begun.wait, 60)
        await deferLater(io.reactor, 0.05)
        ended.append("coroutine")

    def function() -> None:
        begun.wait(60)
        time.sleep(0.05)
        ended.append("function")

    io.call(scheduler.start)
    scheduler.add_job(function)
    scheduler.add_job(coroutine)
    scheduler.add_job(ended.append, "interval", ["too late"], hours=1)
    begun.wait(60)
    io.stop()
    assert sorted(ended) == ["coroutine", "function"]
    assert not scheduler.running
    with pytest.raises(SchedulerStartError, match="the reactor was stopped, and a reactor runs only once"):
        scheduler.start()


@pytest.mark.parametrize("earlier", ["running", "shut down", "shut down without waiting"])
def test_a_job_without_end_does_not_keep_the_reactor_from_stopping(
    io: ReactorThread, earlier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schedcore.adapters.twisted.scheduler._GRACE_S", 0.2)
    scheduler = TwistedScheduler(reactor=io.reactor, stop_timeout=0.05)
    begun = threading.Event()

    async def job() -> None:
        begun.set()
        await Deferred()

    io.call(scheduler.start)
    scheduler.add_job(job)
    assert begun.wait(60)
    if earlier != "running":
        scheduler.shutdown(wait=earlier == "shut down")
    io.stop()
    assert scheduler._closed.wait(60)
    assert not scheduler.running


def test_a_scheduler_that_was_shut_down_is_no_matter_of_the_reactors(io: ReactorThread) -> None:
    scheduler = TwistedScheduler(reactor=io.reactor, stop_timeout=None)
    io.call(scheduler.start)
    io.result(scheduler.shutdown)
    io.stop()


def test_started_before_the_reactor_runs() -> None:
    io = ReactorThread()
    scheduler = TwistedScheduler(reactor=io.reactor)
    ran = threading.Event()
    scheduler.add_job(ran.set)
    scheduler.start()
    scheduler.add_job(ran.set, "interval", hours=1)
    assert not ran.wait(0.01)
    with io:
        assert ran.wait(60)
        assert len(scheduler.get_jobs()) == 1
    assert not scheduler.running


def test_a_reactor_that_never_runs_keeps_nobody(run_program: Callable[[str], tuple[int, str, str]]) -> None:
    program = """
        from schedcore.adapters.twisted import TwistedScheduler
        scheduler = TwistedScheduler()
        scheduler.add_job(print, args=["ran"])
        scheduler.start()
    """
    assert run_program(program) == (0, "", "")


def test_a_program_that_forgets_to_shut_down_ends_without_noise(
    run_program: Callable[[str], tuple[int, str, str]],
) -> None:
    program = """
        import logging, sys
        logging.basicConfig(level=logging.WARNING)
        from twisted.internet import reactor
        from schedcore.adapters.twisted import TwistedScheduler

        async def job():
            print("ran", flush=True)
            reactor.callLater(0.1, getattr(reactor, "%s"))

        scheduler = TwistedScheduler()
        scheduler.add_job(job)
        scheduler.add_job(job, "interval", hours=1)
        scheduler.start()
        reactor.run()
        print(scheduler.running)
    """
    assert run_program(program % "stop") == (0, "ran\nFalse\n", "")
    assert run_program(program % "crash") == (0, "ran\nTrue\n", "")


def test_ctrl_c_ends_it(run_program: Callable[[str], tuple[int, str, str]]) -> None:
    program = """
        import os, signal
        from twisted.internet import reactor
        from twisted.internet.defer import Deferred
        from schedcore.adapters.twisted import TwistedScheduler

        async def job():
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await Deferred()
            finally:
                print("cancelled", flush=True)

        scheduler = TwistedScheduler(stop_timeout=0.1)
        scheduler.add_job(job)
        scheduler.start()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it was ignored
        reactor.run()
        print("over")
    """
    code, out, err = run_program(program)
    # Twisted ends with the signal itself when its reactor was stopped by one.
    assert code in (0, -2)
    assert out.splitlines()[0] == "cancelled"
    assert [line.split()[0::3] for line in err.splitlines()] == [["run", "cancelled"]]


# --- starting ---


def test_starts_that_are_wrong_say_what_would_be_right(io: ReactorThread) -> None:
    with pytest.raises(SchedulerStartError, match=r"another thread.* call reactor.callFromThread\(scheduler.start\)"):
        TwistedScheduler(reactor=io.reactor).start()
    with pytest.raises(SchedulerStartError, match="must be a Twisted reactor, not 5, which has no 'callLater'"):
        TwistedScheduler(reactor=5).start()
    with pytest.raises(UnknownOptionError, match="did you mean 'reactor'"):
        TwistedScheduler(reactr=io.reactor)
    io.stop()
    with pytest.raises(SchedulerStartError, match=r"start the scheduler before reactor\.run\(\)"):
        TwistedScheduler(reactor=io.reactor).start()


async def test_a_reactor_that_is_stopping_is_none_to_start_on(io: ReactorThread) -> None:
    stopping: Deferred[str] = Deferred()

    def start() -> None:
        try:
            TwistedScheduler(reactor=io.reactor).start()
        except SchedulerStartError as error:
            stopping.callback(str(error))

    io.reactor.addSystemEventTrigger("before", "shutdown", start)
    io.reactor.stop()
    assert "the reactor was stopped" in await stopping


def test_without_twisted_the_extra_is_named(run_program: Callable[[str], tuple[int, str, str]]) -> None:
    program = """
        import sys
        sys.modules["twisted"] = None
        from schedcore.errors import MissingExtraError
        from schedcore.schedulers.background import BackgroundScheduler
        for attempt in (
            lambda: __import__("schedcore.adapters.twisted"),
            lambda: BackgroundScheduler(executors={"default": {"type": "twisted"}}),
        ):
            try:
                attempt()
            except MissingExtraError as error:
                print(isinstance(error, ImportError), error)
    """
    code, out, err = run_program(program)
    assert (code, err) == (0, "")
    assert [line.endswith("pip install 'schedcore[twisted]'") for line in out.splitlines()] == [True, True]


# --- stores that do I/O ---


async def test_a_slow_store_is_never_called_in_the_reactors_thread(reactor: Any, watch: Watch) -> None:
    store = SlowStore(0.02)
    scheduler = TwistedScheduler(reactor=reactor, jobstores={"default": store})
    log = watch(scheduler, EVENT_JOB_EXECUTED)

    async def job() -> None:
        return None

    scheduler.add_job(job, "interval", seconds=0.05, id="early")
    scheduler.start()
    scheduler.add_job(job, "interval", hours=1, id="late")
    await log.wait_for(EVENT_JOB_EXECUTED, 3)
    jobs = await scheduler.call(scheduler.get_jobs)
    assert_type(jobs, list[Job])
    assert sorted(job.id for job in jobs) == ["early", "late"]
    with pytest.raises(KeyError):
        await scheduler.call(scheduler.remove_job, "nobody")
    await scheduler.shutdown()
    assert store.calls_in(threading.get_ident()) == []


async def test_a_store_that_cannot_be_opened_is_an_event_and_tried_again(
    reactor: Any, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unready(SlowStore):
        failures = 2

        def start(self, scheduler: Any, alias: str) -> None:
            if self.failures:
                self.failures -= 1
                raise OSError("not yet")
            super().start(scheduler, alias)

    caplog.set_level(logging.ERROR)
    scheduler = TwistedScheduler(reactor=reactor, jobstores={"default": Unready(0.0)}, jobstore_retry_interval=0.01)
    log = watch(scheduler)
    scheduler.add_job(lambda: None, id="early")
    scheduler.start()
    await log.wait_for(EVENT_JOB_EXECUTED)
    assert [str(event.exception) for event in log.of(EVENT_JOBSTORE_FAILED)] == ["not yet"] * 2
    assert scheduler.health()["default"].ok
    await scheduler.shutdown()


# --- the reactor's time ---


async def test_a_burst_leaves_the_reactor_to_others(reactor: Any) -> None:
    async with TwistedScheduler(reactor=reactor) as scheduler:
        scheduler.pause()
        total = 3000
        count = 0
        done: Deferred[None] = Deferred()

        async def job() -> None:
            nonlocal count
            count += 1
            if count == total:
                done.callback(None)

        now = datetime.now(UTC)
        for _ in range(total):
            scheduler.add_job(job, "interval", hours=1, next_run_time=now)
        turns = 0

        def neighbour() -> None:
            nonlocal turns
            if not done.called:
                turns += 1
                reactor.callLater(0, neighbour)

        neighbour()
        scheduler.resume()
        await done
        # The neighbour had its turn between any two batches.
        assert turns >= total // BATCH


async def test_jobs_are_added_from_other_threads(reactor: Any, watch: Watch) -> None:
    async with TwistedScheduler(reactor=reactor) as scheduler:
        log = watch(scheduler, EVENT_JOB_EXECUTED)

        async def job() -> None:
            return None

        def add() -> None:
            for _ in range(20):
                scheduler.remove_job(scheduler.add_job(job, "interval", hours=1).id)
                scheduler.add_job(job)

        await DeferredList([in_thread(reactor, add) for _ in range(5)], fireOnOneErrback=True)
        assert len(await log.wait_for(EVENT_JOB_EXECUTED, 100)) == 100


def test_a_clock_that_is_set_back_does_not_silence_the_timers() -> None:
    """A reactor's own timers follow the wall clock, and wait all the longer when that is set back."""
    from twisted.internet.selectreactor import SelectReactor

    class Reactor(SelectReactor):
        ahead_s = 0.0

        def seconds(self) -> float:
            return time.time() + self.ahead_s

    class Scheduler(TwistedScheduler):
        _max_wait_s = 0.1

    with ReactorThread(Reactor) as io:
        scheduler = Scheduler(reactor=io.reactor)
        ran = threading.Semaphore(0)
        scheduler.add_job(ran.release, "interval", seconds=0.4)
        io.call(scheduler.start)
        assert ran.acquire(timeout=150)
        time.sleep(0.2)  # the run is reported, and the timer armed for the next one
        io.reactor.ahead_s = -3600.0
        for _ in range(3):
            assert ran.acquire(timeout=150), "it waits for the clock to catch up"
        io.result(scheduler.shutdown)


async def test_jobs_that_are_far_away(reactor: Any, watch: Watch) -> None:
    class Patient(TwistedScheduler):
        _max_wait_s = 4e11

    async with Patient(reactor=reactor) as scheduler:
        log = watch(scheduler, EVENT_JOB_EXECUTED)
        scheduler.add_job(lambda: None, "interval", days=60)
        await deferLater(reactor, 0.01)
        scheduler.remove_all_jobs()
        scheduler.add_job(lambda: None, "interval", days=36_525)
        await deferLater(reactor, 0.01)
        scheduler.add_job(lambda: None)
        await log.wait_for(EVENT_JOB_EXECUTED)


# --- with others ---


def test_on_the_reactor_of_asyncio() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    def make() -> AsyncioSelectorReactor:
        loops.append(asyncio.new_event_loop())
        return AsyncioSelectorReactor(loops[0])

    with ReactorThread(make) as io:

        async def in_asyncio() -> str:
            await asyncio.sleep(0.001)
            return "asyncio"

        async def by_deferred() -> str:
            return await Deferred.fromFuture(asyncio.ensure_future(in_asyncio()))

        def future() -> Any:
            return asyncio.ensure_future(in_asyncio())

        async def main() -> list[Any]:
            values: list[Any] = []
            over: Deferred[None] = Deferred()

            def note(event: Any) -> None:
                values.append(getattr(event, "exception", None) or event.retval)
                if len(values) == 3:
                    io.reactor.callFromThread(over.callback, None)

            async with TwistedScheduler(reactor=io.reactor) as scheduler:
                scheduler.add_listener(note, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
                scheduler.add_job(by_deferred)
                scheduler.add_job(future, executor="reactor")
                scheduler.add_job(lambda: "thread")
                await over
            return values

        assert sorted(io.result(main)) == ["asyncio", "asyncio", "thread"]
    loops[0].close()


def test_the_executor_under_another_scheduler(io: ReactorThread) -> None:
    scheduler = BackgroundScheduler(executors={"default": TwistedExecutor(reactor=io.reactor)})
    values: list[Any] = []
    over = threading.Event()

    def note(event: Any) -> None:
        values.append(event.retval)
        if len(values) == 2:
            over.set()

    async def coroutine() -> threading.Thread:
        await deferLater(io.reactor, 0.01)
        return threading.current_thread()

    scheduler.add_listener(note, EVENT_JOB_EXECUTED)
    scheduler.start()
    scheduler.add_job(coroutine)
    scheduler.add_job(threading.current_thread)
    assert over.wait(60)
    assert scheduler.shutdown() == []
    assert io._thread in values
    assert any(value in io.reactor.getThreadPool().threads for value in values)


async def test_the_executor_refuses_after_shutdown(reactor: Any) -> None:
    executor = TwistedExecutor(reactor=reactor)
    assert executor.shutdown() == []
    with pytest.raises(RuntimeError, match="is not running"):
        executor.submit([])

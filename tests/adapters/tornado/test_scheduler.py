"""The Tornado scheduler: where it starts, native waiting, other threads, far and virtual time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from tornado import gen
from tornado.concurrent import Future, is_future
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import AsyncIOLoop

from schedcore.adapters.tornado import TornadoScheduler
from schedcore.errors import (
    SchedulerAlreadyRunningError,
    SchedulerNotRunningError,
    SchedulerStartError,
    UnknownOptionError,
)
from schedcore.events import EVENT_JOB_EXECUTED
from schedcore.testing import EventLog
from tests.same_everywhere.neighbour import slowness

LIMIT_S = 60.0


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """A loop of Tornado's that does not run yet."""
    io_loop = IOLoop(make_current=False)
    yield io_loop
    if not io_loop.asyncio_loop.is_closed():
        io_loop.close(all_fds=True)


def run(io_loop: IOLoop, main: Callable[[], Awaitable[Any]]) -> Any:
    return io_loop.run_sync(main, timeout=LIMIT_S)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await gen.sleep(0.002)


def run_program(program: str, *options: str) -> tuple[int, str, str]:
    done = subprocess.run(
        # -P: the package that is installed, and not the folder of its source, in which there are no adapters.
        [sys.executable, "-P", *options, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


# --- starting -------------------------------------------------------------------------------------------------------


def test_a_loop_can_be_given_before_it_runs(io_loop: IOLoop) -> None:
    scheduler = TornadoScheduler(io_loop=io_loop)
    assert scheduler.io_loop is io_loop
    log = EventLog(scheduler)

    async def job() -> None:
        io_loop.stop()

    scheduler.add_job(job)
    scheduler.start()
    io_loop.start()
    assert run(io_loop, scheduler.shutdown) == []
    assert log.names()[-1] == "SCHEDULER_SHUTDOWN"
    assert len(log.executed()) == 1


def test_the_current_loop_is_found_where_it_runs(io_loop: IOLoop) -> None:
    async def main() -> None:
        scheduler = TornadoScheduler()
        before = scheduler.io_loop
        scheduler.start()
        assert (before, scheduler.io_loop) == (None, io_loop)
        assert scheduler.event_loop is asyncio.get_running_loop()
        await scheduler.shutdown()

    run(io_loop, main)


def test_under_asyncio_run() -> None:
    async def main() -> None:
        async with TornadoScheduler() as scheduler:
            assert scheduler.io_loop is IOLoop.current()
            ran: Future[str] = Future()
            scheduler.add_job(ran.set_result, args=["ran"], executor="loop")
            scheduler.add_executor("debug", "loop")
            assert await ran == "ran"

    asyncio.run(asyncio.wait_for(main(), LIMIT_S))


# As Tornado's programs were written before there was asyncio.run. Python 3.12 and 3.13 warn of Tornado's own ``current`` there.
OLD_STYLE = """
    import logging
    logging.basicConfig(level=logging.WARNING)
    from tornado.ioloop import IOLoop
    from schedcore.adapters.tornado import TornadoScheduler

    async def job():
        print("ran", flush=True)
        IOLoop.current().stop()

    scheduler = TornadoScheduler()
    scheduler.add_job(job, "interval", seconds=0.05)
    scheduler.start()
    IOLoop.current().start()
"""


def test_started_before_the_current_loop_is() -> None:
    assert run_program(OLD_STYLE)[:2] == (0, "ran\n")


def test_a_loop_of_another_thread() -> None:
    found: list[object] = []

    def program() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        io_loop = IOLoop.current()
        scheduler = TornadoScheduler()
        scheduler.start()
        found.append(scheduler.io_loop is io_loop)
        found.append(run(io_loop, scheduler.shutdown))
        io_loop.close(all_fds=True)

    thread = threading.Thread(target=program)
    thread.start()
    thread.join(LIMIT_S)
    assert found == [True, []]


def in_thread(call: Callable[[], object]) -> Exception | None:
    """What a call raises in a thread of its own."""
    raised: list[Exception] = []

    def make() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  # it is looked at
            raised.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join(LIMIT_S)
    return raised[0] if raised else None


def test_a_thread_without_a_loop_is_told_what_to_do() -> None:
    scheduler = TornadoScheduler()
    error = in_thread(scheduler.start)
    assert isinstance(error, SchedulerStartError)
    assert str(error) == (
        "this thread has no IOLoop; call start() in the thread of the loop (IOLoop.add_callback calls there), or say which "
        "loop it is: TornadoScheduler(io_loop=io_loop)"
    )
    assert not scheduler.running


def test_a_closed_loop_and_what_is_no_loop_are_refused(io_loop: IOLoop) -> None:
    under: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    with pytest.raises(SchedulerStartError, match="io_loop must be a Tornado IOLoop, not <_UnixSelectorEventLoop"):
        TornadoScheduler(io_loop=under).start()
    with pytest.raises(SchedulerStartError, match="io_loop must be a Tornado IOLoop, not 5"):
        TornadoScheduler(io_loop=5).start()
    with pytest.raises(UnknownOptionError, match="did you mean 'io_loop'"):
        TornadoScheduler(ioloop=io_loop)
    with pytest.raises(UnknownOptionError, match="event_loop"):
        TornadoScheduler(event_loop=under)
    io_loop.close(all_fds=True)
    with pytest.raises(SchedulerStartError, match="the IOLoop is closed; start the scheduler on one that is not"):
        TornadoScheduler(io_loop=io_loop).start()


def test_started_twice_too_soon_and_again(io_loop: IOLoop) -> None:
    async def main() -> None:
        scheduler = TornadoScheduler()
        log = EventLog(scheduler)
        for times in (1, 2):
            scheduler.start()
            with pytest.raises(SchedulerAlreadyRunningError):
                scheduler.start()
            scheduler.add_job(threading.get_ident)
            await until(lambda: len(log.of(EVENT_JOB_EXECUTED)) == times)  # noqa: B023  # waited for at once
            end = scheduler.shutdown()
            with pytest.raises(SchedulerAlreadyRunningError, match="still shutting down"):
                scheduler.start()
            await end

    run(io_loop, main)


def test_after_a_start_that_failed_nothing_is_left(io_loop: IOLoop) -> None:
    scheduler = TornadoScheduler(io_loop=io_loop)
    scheduler.add_job(print, jobstore="nowhere")
    with pytest.raises(LookupError, match="nowhere"):
        scheduler.start()
    assert not scheduler.running
    assert scheduler._own_wakeup is None


def test_without_tornado_the_extra_is_named() -> None:
    program = """
        import sys
        sys.modules["tornado"] = None
        from schedcore import plugins
        from schedcore.errors import MissingExtraError
        for load in (lambda: plugins.load(plugins.EXECUTORS, "tornado"), lambda: __import__("schedcore.adapters.tornado")):
            try:
                load()
            except MissingExtraError as error:
                assert isinstance(error, ImportError)
                print(error.extra, error)
    """
    line = "tornado schedcore.adapters.tornado needs an optional dependency; install it with: pip install 'schedcore[tornado]'"
    assert run_program(program, "-W", "error") == (0, f"{line}\n" * 2, "")


# --- waiting --------------------------------------------------------------------------------------------------------


def test_shutdown_and_call_return_tornado_futures(io_loop: IOLoop) -> None:
    scheduler = TornadoScheduler(io_loop=io_loop)
    scheduler.start()
    called: list[object] = []

    @gen.coroutine
    def main() -> Any:
        first = scheduler.call(threading.get_ident)
        assert is_future(first)
        called.append((yield first) != threading.get_ident())
        with pytest.raises(ZeroDivisionError):
            yield scheduler.call(lambda: 1 // 0)
        end = scheduler.shutdown()
        assert is_future(end)
        io_loop.add_future(end, lambda future: called.append(future.result()))
        called.append((yield end))
        with pytest.raises(SchedulerNotRunningError):
            scheduler.call(print)
        yield gen.moment

    run(io_loop, main)
    assert called[0] is True
    assert called[1:] == [[], []]


def test_shutdown_waits_for_all_that_runs(io_loop: IOLoop) -> None:
    ended: list[str] = []

    async def main() -> None:
        begun: list[str] = []

        @gen.coroutine
        def generator() -> Any:
            begun.append("generator")
            yield gen.sleep(0.05)
            ended.append("generator")

        def function() -> None:
            begun.append("function")
            time.sleep(0.05)
            ended.append("function")

        scheduler = TornadoScheduler()
        scheduler.start()
        scheduler.add_job(generator)
        scheduler.add_job(function)
        while len(begun) < 2:
            await asyncio.sleep(0.001)
        assert await scheduler.shutdown() == []
        assert sorted(ended) == ["function", "generator"]
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith("schedcore-default")]

    run(io_loop, main)


def test_a_loop_that_is_closed_is_left(io_loop: IOLoop) -> None:
    scheduler = TornadoScheduler(io_loop=io_loop)
    scheduler.start()
    io_loop.call_later(0.01, io_loop.stop)
    io_loop.start()
    io_loop.close(all_fds=True)
    scheduler.shutdown(wait=False)
    scheduler._wait_closed()
    assert not scheduler.running


def test_a_call_that_ends_after_the_scheduler_does_not_hold_it_up(io_loop: IOLoop) -> None:
    go = threading.Event()

    async def main() -> object:
        scheduler = TornadoScheduler()
        scheduler.start()
        call = scheduler.call(go.wait, LIMIT_S)
        await scheduler.shutdown()
        go.set()
        return await call

    assert run(io_loop, main) is True


@pytest.mark.slow
def test_a_program_that_forgets_to_shut_down_ends_without_noise() -> None:
    program = """
        import asyncio, logging
        logging.basicConfig(level=logging.WARNING)
        from schedcore.adapters.tornado import TornadoScheduler

        async def job():
            print("ran", flush=True)
            ran.set()

        async def main():
            global ran
            ran = asyncio.Event()
            scheduler = TornadoScheduler()
            scheduler.add_job(job)
            scheduler.add_job(job, "interval", hours=1)
            scheduler.start()
            await scheduler.call(int)
            await ran.wait()
            await asyncio.sleep(0.1)

        asyncio.run(main())
    """
    assert run_program(program, "-W", "error") == (0, "ran\n", "")


# --- other threads --------------------------------------------------------------------------------------------------


def test_every_call_is_safe_from_other_threads(io_loop: IOLoop) -> None:
    async def main() -> None:
        scheduler = TornadoScheduler()
        log = EventLog(scheduler)
        scheduler.start()

        async def job() -> int:
            return threading.get_ident()

        def add_and_remove(name: str) -> None:
            for number in range(20):
                scheduler.add_job(job, id=f"{name} {number}")
                scheduler.add_job(job, "interval", hours=1, id=f"{name} {number} hourly")
                scheduler.pause_job(f"{name} {number} hourly")
                scheduler.remove_job(f"{name} {number} hourly")

        await asyncio.gather(*(asyncio.to_thread(add_and_remove, str(name)) for name in range(5)))
        await until(lambda: len(log.of(EVENT_JOB_EXECUTED)) == 100)
        assert {event.retval for event in log.of(EVENT_JOB_EXECUTED)} == {threading.get_ident()}
        await asyncio.to_thread(scheduler.shutdown)
        assert await scheduler.shutdown() == []

    run(io_loop, main)


def test_started_from_another_thread_with_the_loop_given(io_loop: IOLoop) -> None:
    async def main() -> None:
        scheduler = TornadoScheduler(io_loop=io_loop)
        ran: Future[int] = Future()

        async def job() -> None:
            ran.set_result(threading.get_ident())

        scheduler.add_job(job)
        error = await asyncio.to_thread(in_thread, scheduler.start)
        assert isinstance(error, SchedulerStartError)
        assert "in another thread, and start() belongs there; call io_loop.add_callback(scheduler.start)" in str(error)
        await asyncio.to_thread(io_loop.add_callback, scheduler.start)
        assert await ran == threading.get_ident()
        await scheduler.shutdown()

    run(io_loop, main)


# --- far and virtual time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [60, 36_525])
def test_a_job_far_away(io_loop: IOLoop, days: int) -> None:
    class FarScheduler(TornadoScheduler):
        _max_wait_s = float(days * 86_400 + 1)

    async def main() -> None:
        for kind in (TornadoScheduler, FarScheduler):
            scheduler = kind()
            log = EventLog(scheduler)
            scheduler.start()
            at = datetime.now(UTC) + timedelta(days=days)
            scheduler.add_job(print, "date", run_date=at, id="far")
            # It fires when it is due, and nothing that was armed for the far one is in the way.
            scheduler.add_job(int, "date", run_date=datetime.now(UTC) + timedelta(seconds=0.02), id="near")
            await until(lambda: log.executed("near"))  # noqa: B023  # waited for at once
            job = scheduler.get_job("far")
            assert job is not None
            assert job.next_run_time == at
            assert log.executed("far") == []
            await scheduler.shutdown()

    run(io_loop, main)


class VirtualIOLoop(AsyncIOLoop):
    def time(self) -> float:
        return float(self.asyncio_loop.time())


class VirtualTornado(TornadoScheduler):
    _max_wait_s: ClassVar[float] = 86_400.0 * 400
    _min_gap_s: ClassVar[float] = 0.0


def test_a_year_of_a_daily_job_over_both_dst_changes(virtual_loop: Any) -> None:
    zone = ZoneInfo("Europe/Berlin")
    io_loop = VirtualIOLoop(asyncio_loop=virtual_loop, make_current=False)
    start = datetime(2026, 1, 1, tzinfo=zone)
    clock = virtual_loop.clock(start)
    scheduler = VirtualTornado(io_loop=io_loop, clock=clock, timezone=zone)
    runs: list[datetime] = []

    @gen.coroutine
    def job() -> Any:
        yield gen.moment
        runs.append(datetime.fromtimestamp(clock.wall_us() / 1e6, zone))
        if len(runs) == 365:
            io_loop.stop()

    scheduler.add_job(job, "cron", hour=2, minute=30)
    scheduler.start()
    began_s = time.process_time()
    io_loop.start()
    took_s = time.process_time() - began_s
    io_loop.run_sync(scheduler.shutdown)
    io_loop.close(all_fds=True)
    days = [(start + timedelta(days=day)).date() for day in range(365)]
    assert [at.date() for at in runs] == days
    spring = date(2026, 3, 29)
    assert {at.strftime("%H:%M") for at in runs if at.date() != spring} == {"02:30"}
    assert {at.strftime("%H:%M") for at in runs if at.date() == spring} == {"03:00"}
    assert took_s < 1 * slowness()

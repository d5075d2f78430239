"""The asyncio scheduler: native execution, native waiting, and a loop that is never kept waiting."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, assert_type

import pytest

from schedcore.adapters.asyncio import AsyncIOExecutor, AsyncIOScheduler
from schedcore.errors import (
    RunCancelledError,
    SchedulerAlreadyRunningError,
    SchedulerNotRunningError,
    SchedulerStartError,
    UnknownOptionError,
)
from schedcore.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_SKIPPED,
    EVENT_JOB_STARTED,
    EVENT_JOB_SUBMITTED,
    EVENT_JOBSTORE_FAILED,
    EVENT_SCHEDULER_SHUTDOWN,
    SchedulerEvent,
)
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.job import Job
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.run import Run, RunState, current_run
from schedcore.schedulers._pump import BATCH
from schedcore.schedulers.background import BackgroundScheduler
from tests.adapters.slow_store import SlowStore


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine test on a loop of its own, in debug mode, within a bounded time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


def run_program(program: str) -> tuple[int, str, str]:
    done = subprocess.run(
        # -P: the package that is installed, and not the folder of its source, in which there are no adapters.
        [sys.executable, "-P", "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


class Log:
    """Events as they come, from any thread, and a way to wait for one."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def __call__(self, event: SchedulerEvent) -> None:
        self.events.append(event)
        self._loop.call_soon_threadsafe(self._changed.set)

    async def wait_for(self, code: int, times: int = 1) -> list[Any]:
        while True:
            found = [event for event in self.events if event.code == code]
            if len(found) >= times:
                return found
            self._changed.clear()
            await self._changed.wait()


@on_loop
async def test_a_coroutine_runs_on_the_loop_and_a_function_in_a_thread() -> None:
    async with AsyncIOScheduler() as scheduler:
        log = Log()
        scheduler.add_listener(log)
        seen: dict[str, threading.Thread] = {}

        async def coroutine(word: str) -> str:
            seen["coroutine"] = threading.current_thread()
            await asyncio.sleep(0)
            return word

        def function(word: str) -> str:
            seen["function"] = threading.current_thread()
            return word

        scheduler.add_job(coroutine, args=["on the loop"], id="c")
        scheduler.add_job(function, kwargs={"word": "in a thread"}, id="f")
        executed = await log.wait_for(EVENT_JOB_EXECUTED, 2)
        assert {event.job_id: event.retval for event in executed} == {"c": "on the loop", "f": "in a thread"}
        assert seen["coroutine"] is threading.current_thread()
        assert seen["function"] is not threading.current_thread()


@on_loop
async def test_the_events_of_a_run_come_in_order_with_its_id() -> None:
    async with AsyncIOScheduler() as scheduler:
        log = Log()
        scheduler.add_listener(log)
        ids: list[str] = []

        async def job() -> None:
            run = current_run.get()
            assert run is not None
            ids.append(run.id)

        scheduler.add_job(job, id="j")
        await log.wait_for(EVENT_JOB_EXECUTED)
        wanted = (EVENT_JOB_SUBMITTED, EVENT_JOB_STARTED, EVENT_JOB_EXECUTED)
        mine = [event for event in log.events if event.code in wanted]
        assert [event.code for event in mine] == list(wanted)
        assert [mine[0].run_ids[0], mine[1].run_id, mine[2].run_id] == ids * 3
        assert mine[0].scheduled_run_times[0] == mine[1].scheduled_run_time == mine[2].scheduled_run_time
        assert current_run.get() is None


@on_loop
async def test_a_job_that_raises_is_an_event_with_its_traceback() -> None:
    async with AsyncIOScheduler() as scheduler:
        log = Log()
        scheduler.add_listener(log, EVENT_JOB_ERROR)

        async def job() -> None:
            raise LookupError("nothing there")

        async def leaves() -> None:
            sys.exit(3)

        scheduler.add_job(job, id="raises")
        scheduler.add_job(leaves, id="leaves")
        errors = {event.job_id: event for event in await log.wait_for(EVENT_JOB_ERROR, 2)}
        assert isinstance(errors["raises"].exception, LookupError)
        assert "nothing there" in errors["raises"].traceback
        assert "sys.exit(3)" in str(errors["leaves"].exception)


@on_loop
async def test_whatever_a_job_raises_neither_ends_the_loop_nor_troubles_it() -> None:
    class OddError(BaseException):
        pass

    async def leave() -> None:
        await asyncio.sleep(0)
        sys.exit(3)

    async def odd() -> None:
        await asyncio.sleep(0)
        raise OddError("odd")

    troubles: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    async with AsyncIOScheduler() as scheduler:
        log = Log()
        scheduler.add_listener(log, EVENT_JOB_ERROR)
        for job in (leave, odd):
            scheduler.add_job(job, id=f"{job.__name__} on the loop")
            scheduler.add_job(lambda job=job: job(), id=f"{job.__name__} from a thread")
        errors = {event.job_id: str(event.exception) for event in await log.wait_for(EVENT_JOB_ERROR, 4)}
    assert errors == {
        "leave on the loop": "the job called sys.exit(3)",
        "leave from a thread": "the job called sys.exit(3)",
        "odd on the loop": "the job raised OddError: odd",
        "odd from a thread": "the job raised OddError: odd",
    }
    gc.collect()
    assert troubles == []


@on_loop
async def test_shutdown_waits_for_coroutines_and_does_not_cancel_them() -> None:
    scheduler = AsyncIOScheduler()
    scheduler.start()
    begun: list[str] = []
    ended: list[str] = []

    async def job() -> None:
        begun.append("coroutine")
        await asyncio.sleep(0.05)
        ended.append("coroutine")

    def function() -> None:
        begun.append("function")
        time.sleep(0.05)
        ended.append("function")

    scheduler.add_job(job)
    scheduler.add_job(function)
    while len(begun) < 2:
        await asyncio.sleep(0.001)
    cut = await scheduler.shutdown()
    assert cut == []
    assert sorted(ended) == ["coroutine", "function"]
    assert not scheduler.running


@on_loop
async def test_shutdown_with_a_timeout_cancels_once_and_says_what_it_cut() -> None:
    scheduler = AsyncIOScheduler()
    log = Log()
    scheduler.add_listener(log)
    scheduler.start()
    begun = asyncio.Event()
    cancelled: list[str] = []

    async def job() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append("once")
            raise

    scheduler.add_job(job, id="slow")
    await begun.wait()
    cut = await scheduler.shutdown(timeout=0.05)
    assert [run.job.id for run in cut] == ["slow"]
    assert cancelled == ["once"]
    errors = [event for event in log.events if event.code == EVENT_JOB_ERROR]
    assert [event.job_id for event in errors] == ["slow"]


@on_loop
async def test_shutdown_not_awaited_stops_all_the_same() -> None:
    scheduler = AsyncIOScheduler()
    log = Log()
    scheduler.add_listener(log)
    runs: list[int] = []
    scheduler.add_job(lambda: runs.append(1), "interval", seconds=0.01)
    scheduler.start()
    await log.wait_for(EVENT_JOB_EXECUTED, 2)
    scheduler.shutdown(wait=False)
    await log.wait_for(EVENT_SCHEDULER_SHUTDOWN)
    count = len(runs)
    await asyncio.sleep(0.05)
    assert len(runs) == count


@on_loop
async def test_shutdown_before_start_twice_and_all_at_once() -> None:
    scheduler = AsyncIOScheduler()
    assert await scheduler.shutdown() == []
    scheduler.start()
    results = await asyncio.gather(*(scheduler.shutdown() for _ in range(5)))
    assert results == [[]] * 5
    assert await scheduler.shutdown() == []


@on_loop
async def test_shutdown_awaited_inside_a_job_does_not_wait_for_itself() -> None:
    scheduler = AsyncIOScheduler()
    log = Log()
    scheduler.add_listener(log)
    scheduler.start()
    went_on: list[bool] = []

    async def job() -> None:
        await scheduler.shutdown()
        went_on.append(scheduler.running)

    scheduler.add_job(job)
    await log.wait_for(EVENT_SCHEDULER_SHUTDOWN)
    assert went_on == [False]
    assert [event.code for event in log.events][-1] == EVENT_SCHEDULER_SHUTDOWN
    assert await scheduler.shutdown() == []


@on_loop
async def test_shutdown_from_another_thread() -> None:
    scheduler = AsyncIOScheduler()
    log = Log()
    scheduler.add_listener(log)
    scheduler.start()
    thread = threading.Thread(target=scheduler.shutdown)
    thread.start()
    await log.wait_for(EVENT_SCHEDULER_SHUTDOWN)
    await asyncio.to_thread(thread.join)
    assert not scheduler.running


@on_loop
async def test_whoever_gives_up_waiting_stops_neither_the_others_nor_the_closing() -> None:
    scheduler = AsyncIOScheduler()
    scheduler.start()
    begun, go = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        begun.set()
        await go.wait()

    scheduler.add_job(job)
    await begun.wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(scheduler.shutdown(), 0.02)
    go.set()
    assert await scheduler.shutdown() == []


@on_loop
async def test_it_starts_again() -> None:
    scheduler = AsyncIOScheduler()
    log = Log()
    scheduler.add_listener(log)
    for times in (1, 2):
        scheduler.start()
        with pytest.raises(SchedulerAlreadyRunningError):
            scheduler.start()
        scheduler.add_job(lambda: None)
        await log.wait_for(EVENT_JOB_EXECUTED, times)
        await scheduler.shutdown()


@on_loop
async def test_jobs_are_added_from_other_threads() -> None:
    async with AsyncIOScheduler() as scheduler:
        log = Log()
        scheduler.add_listener(log, EVENT_JOB_EXECUTED)

        async def job() -> None:
            return None

        def add() -> None:
            for _ in range(20):
                scheduler.add_job(job)

        await asyncio.gather(*(asyncio.to_thread(add) for _ in range(5)))
        assert len(await log.wait_for(EVENT_JOB_EXECUTED, 100)) == 100


@on_loop
async def test_a_slow_store_is_never_called_on_the_loop() -> None:
    store = SlowStore(0.02)
    scheduler = AsyncIOScheduler(jobstores={"default": store})
    log = Log()
    scheduler.add_listener(log, EVENT_JOB_EXECUTED)

    async def job() -> None:
        return None

    scheduler.add_job(job, "interval", seconds=0.05)
    scheduler.start()
    await log.wait_for(EVENT_JOB_EXECUTED, 3)
    await scheduler.shutdown()
    assert store.calls_in(threading.get_ident()) == []


@on_loop
async def test_what_a_call_gives_has_a_type_and_its_arguments_are_checked() -> None:
    async with AsyncIOScheduler() as scheduler:
        job = await scheduler.call(scheduler.add_job, int, "interval", hours=1, id="x")
        assert_type(job, Job)
        assert_type(await scheduler.call(scheduler.get_job, "x"), Job | None)
        with pytest.raises(TypeError):
            await scheduler.call(scheduler.get_job, "x", alias="default")  # type: ignore[call-arg]
        assert job.id == "x"


@on_loop
async def test_a_call_just_before_the_end_waits_for_no_store_that_is_not_opened_any_more() -> None:
    for store in (MemoryJobStore(), SlowStore(0.0)):
        scheduler = AsyncIOScheduler(jobstores={"default": store})
        scheduler.start()
        call = scheduler.call(threading.get_ident)
        # The loop has not come round: no store has made its first step, and none will.
        assert await scheduler.shutdown() == []
        async with asyncio.timeout(60):
            # Whether the call or the end comes first is for the threads to find out.
            with suppress(SchedulerNotRunningError):
                assert await call != threading.get_ident()


@on_loop
async def test_a_store_that_cannot_be_opened_is_an_event_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    class Unready(SlowStore):
        failures = 2

        def start(self, scheduler: Any, alias: str) -> None:
            if self.failures:
                self.failures -= 1
                raise OSError("not yet")
            super().start(scheduler, alias)

    caplog.set_level(logging.ERROR)
    scheduler = AsyncIOScheduler(jobstores={"default": Unready(0.0)}, jobstore_retry_interval=0.01)
    log = Log()
    scheduler.add_listener(log)
    scheduler.add_job(lambda: None, id="early")
    scheduler.start()
    await log.wait_for(EVENT_JOB_EXECUTED)
    failed = [event for event in log.events if event.code == EVENT_JOBSTORE_FAILED]
    assert [str(event.exception) for event in failed] == ["not yet"] * 2
    assert scheduler.health()["default"].ok
    await scheduler.shutdown()


@on_loop
async def test_a_burst_leaves_the_loop_to_others() -> None:
    async with AsyncIOScheduler() as scheduler:
        scheduler.pause()
        total = 3000
        count = 0
        done = asyncio.Event()

        async def job() -> None:
            nonlocal count
            count += 1
            if count == total:
                done.set()

        now = datetime.now(UTC)
        for _ in range(total):
            scheduler.add_job(job, "interval", hours=1, next_run_time=now)
        turns = 0

        async def neighbour() -> None:
            nonlocal turns
            while not done.is_set():
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(neighbour())
        scheduler.resume()
        await done.wait()
        await task
        # The neighbour had its turn between any two batches.
        assert turns >= total // BATCH


def test_without_a_running_loop_the_error_says_what_to_do() -> None:
    scheduler = AsyncIOScheduler()
    with pytest.raises(SchedulerStartError, match=r"no event loop is running .* AsyncIOScheduler\(event_loop=loop\)"):
        scheduler.start()
    assert not scheduler.running


def test_a_closed_loop_and_what_is_no_loop_are_refused() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(SchedulerStartError, match="the event loop is closed"):
        AsyncIOScheduler(event_loop=loop).start()
    with pytest.raises(SchedulerStartError, match="must be an asyncio event loop, not 5"):
        AsyncIOScheduler(event_loop=5).start()
    with pytest.raises(UnknownOptionError, match="did you mean 'event_loop'"):
        AsyncIOScheduler(eventloop=loop)


def test_a_loop_can_be_given_before_it_runs() -> None:
    loop = asyncio.new_event_loop()
    try:
        scheduler = AsyncIOScheduler(event_loop=loop)
        ran = asyncio.Event()

        async def job() -> None:
            ran.set()

        scheduler.add_job(job)
        scheduler.start()

        async def wait() -> None:
            await asyncio.wait_for(ran.wait(), 60)
            await scheduler.shutdown()

        loop.run_until_complete(wait())
    finally:
        loop.close()


def test_a_program_that_forgets_to_shut_down_ends_without_noise() -> None:
    program = """
        import asyncio, logging
        logging.basicConfig(level=logging.WARNING)
        from schedcore.adapters.asyncio import AsyncIOScheduler

        async def job():
            print("ran", flush=True)
            ran.set()

        async def main():
            global ran
            ran = asyncio.Event()
            scheduler = AsyncIOScheduler()
            scheduler.add_job(job)
            scheduler.add_job(job, "interval", hours=1)
            scheduler.start()
            await ran.wait()
            await asyncio.sleep(0.1)

        asyncio.run(main())
    """
    assert run_program(program) == (0, "ran\n", "")


@on_loop
async def test_the_executor_refuses_after_shutdown() -> None:
    executor = AsyncIOExecutor()
    assert executor.shutdown() == []
    with pytest.raises(RuntimeError, match="is not running"):
        executor.submit([])


@on_loop
async def test_cancelled_from_outside_is_an_outcome_too() -> None:
    async with AsyncIOScheduler() as scheduler:
        log = Log()
        scheduler.add_listener(log)

        async def job() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)

        scheduler.add_job(job, id="cancelled")
        await log.wait_for(EVENT_JOB_ERROR)
        states = [record.state for record in scheduler.get_runs("cancelled")]
        assert states == [RunState.CANCELLED]


@on_loop
async def test_a_job_of_another_scheduler_waits_for_this_one() -> None:
    async with AsyncIOScheduler() as other:
        scheduler = AsyncIOScheduler()
        scheduler.start()
        begun, done = asyncio.Event(), asyncio.Event()
        order: list[str] = []

        async def slow() -> None:
            begun.set()
            await asyncio.sleep(0.02)
            order.append("slow ended")

        async def stop() -> None:
            await scheduler.shutdown()
            order.append("stopped")
            done.set()

        scheduler.add_job(slow)
        await begun.wait()
        other.add_job(stop)
        await done.wait()
        assert order == ["slow ended", "stopped"]


@on_loop
async def test_stopped_from_a_thread_and_awaited_on_the_loop() -> None:
    scheduler = AsyncIOScheduler()
    scheduler.start()
    thread = threading.Thread(target=scheduler.shutdown)
    thread.start()
    while scheduler.running:
        await asyncio.sleep(0)
    assert await scheduler.shutdown() == []
    scheduler.start()
    await scheduler.shutdown()
    await asyncio.to_thread(thread.join)


@pytest.mark.slow
def test_a_program_ends_although_its_loop_was_only_stopped() -> None:
    # As programs did before there was asyncio.run: run_forever, and no close. Nobody will run that loop again.
    program = """
        import asyncio

        from schedcore.adapters.asyncio import AsyncIOScheduler

        async def forever():
            await asyncio.Event().wait()

        loop = asyncio.new_event_loop()
        scheduler = AsyncIOScheduler(event_loop=loop)
        scheduler.add_job(forever)
        scheduler.add_job(lambda: forever())
        scheduler.start()
        loop.call_later(0.1, loop.stop)
        loop.run_forever()
        print("ran")
    """
    assert run_program(program)[:2] == (0, "ran\n")


@on_loop
async def test_a_coroutine_that_has_not_begun_when_shutdown_does_not_wait_is_taken_back() -> None:
    begun: list[str] = []

    async def job() -> None:
        begun.append("begun")

    scheduler = AsyncIOScheduler()
    log = Log()
    scheduler.add_listener(log)
    scheduler.start()
    executor = scheduler._executors["default"]
    assert isinstance(executor, AsyncIOExecutor)
    scheduler.add_job(job, id="j")
    while not executor.live_runs():
        await asyncio.sleep(0)
    end = scheduler.shutdown(wait=False)
    assert begun == []
    await end
    assert [run.job.id for run in await scheduler.shutdown()] == ["j"]
    [skipped] = await log.wait_for(EVENT_JOB_SKIPPED)
    assert (skipped.job_id, skipped.reason, begun) == ("j", "shutdown", [])


@on_loop
async def test_a_coroutine_that_is_cut_before_it_began_is_reported_too() -> None:
    executor = AsyncIOExecutor()
    scheduler = AsyncIOScheduler(executors={"default": executor})
    log = Log()
    scheduler.add_listener(log)
    scheduler.start()

    is_cut = threading.Event()

    def cut_all() -> list[Run]:
        try:
            return executor.shutdown(True, 0.05)
        finally:
            is_cut.set()

    async def job() -> None:
        is_cut.wait(60)  # it holds the loop, so that the second one does not begin

    scheduler.add_job(job, id="first")
    scheduler.add_job(job, id="second")
    while len(executor.live_runs()) < 2:
        await asyncio.sleep(0)
    cut = await asyncio.to_thread(cut_all)
    assert "second" in [run.job.id for run in cut]
    await scheduler.shutdown()
    assert executor.live_runs() == []


@on_loop
async def test_an_awaitable_that_is_cancelled_on_the_loop_fails_its_run_and_says_so() -> None:
    async with AsyncIOScheduler() as scheduler:
        log = Log()
        scheduler.add_listener(log)

        async def forever() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(10)

        scheduler.add_job(lambda: forever(), id="j")
        [event] = await log.wait_for(EVENT_JOB_ERROR)
        assert str(event.exception) == "the awaitable that the job returned was cancelled"


@on_loop
async def test_the_event_of_a_cancelled_run_has_an_exception() -> None:
    async with AsyncIOScheduler() as scheduler:
        log = Log()
        scheduler.add_listener(log)

        async def job() -> None:
            raise asyncio.CancelledError

        scheduler.add_job(job)
        [event] = await log.wait_for(EVENT_JOB_ERROR)
        assert isinstance(event.exception, RunCancelledError)


@on_loop
async def test_started_again_too_soon() -> None:
    scheduler = AsyncIOScheduler()
    scheduler.start()
    end = scheduler.shutdown()
    with pytest.raises(SchedulerAlreadyRunningError, match="still shutting down; wait for the end of shutdown"):
        scheduler.start()
    await end
    scheduler.start()
    await scheduler.shutdown()


def test_the_executor_says_that_it_needs_a_loop() -> None:
    scheduler = BackgroundScheduler(executors={"default": AsyncIOExecutor()})
    with pytest.raises(
        SchedulerStartError, match="the executor 'default' runs coroutines on an event loop, and none is"
    ):
        scheduler.start()
    assert not scheduler.running


@on_loop
async def test_an_executor_that_is_shut_down_on_the_loop_carries_out_what_it_has_taken() -> None:
    executor = AsyncIOExecutor(max_workers=1)
    scheduler = AsyncIOScheduler(executors={"default": executor})
    log = Log()
    scheduler.add_listener(log)
    scheduler.start()
    go = threading.Event()
    for job_id in ("first", "second"):
        scheduler.add_job(go.wait, args=(20,), id=job_id)
    while len(executor.live_runs()) < 2:
        await asyncio.sleep(0)
    assert executor.shutdown() == []
    go.set()
    await scheduler.shutdown()
    assert [event.job_id for event in await log.wait_for(EVENT_JOB_EXECUTED, 2)] == ["first", "second"]


@on_loop
async def test_the_time_that_a_shutdown_has_is_for_coroutines_and_functions_together() -> None:
    executor = AsyncIOExecutor()
    scheduler = AsyncIOScheduler(executors={"default": executor})
    scheduler.start()
    go = threading.Event()
    left_s: list[float | None] = []
    join = ThreadPoolExecutor.shutdown

    def note(self: ThreadPoolExecutor, wait: bool = True, timeout: float | None = None) -> object:
        left_s.append(timeout)
        return join(self, wait, timeout)

    async def forever() -> None:
        await asyncio.Event().wait()

    scheduler.add_job(forever, id="coroutine")
    scheduler.add_job(go.wait, args=(20,), id="function")
    while len(executor.live_runs()) < 2:
        await asyncio.sleep(0)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ThreadPoolExecutor, "shutdown", note)
            cut = await asyncio.to_thread(executor.shutdown, True, 0.05)
    finally:
        go.set()
    assert [run.job.id for run in cut] == ["coroutine", "function"]
    assert left_s == [0.0]
    await scheduler.shutdown()

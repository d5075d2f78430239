"""What runs where on Tornado, and what becomes of what it raises."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tornado import gen
from tornado.concurrent import Future, run_on_executor
from tornado.ioloop import IOLoop

from schedcore.adapters.tornado import TornadoExecutor, TornadoScheduler
from schedcore.adapters.tornado.executor import native
from schedcore.errors import RunCancelledError, SchedulerStartError
from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from schedcore.run import current_run
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog

LIMIT_S = 60.0


def run_sync(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine on an ``IOLoop`` that Tornado made, which is closed afterwards."""
    io_loop = IOLoop(make_current=False)
    try:
        return io_loop.run_sync(main, timeout=LIMIT_S)
    finally:
        io_loop.close(all_fds=True)


async def run_all(*funcs: Callable[..., Any]) -> dict[str, Any]:
    """Run each function once; gives what it returned, or the exception with which it failed, by its place: "0", "1", …."""
    async with TornadoScheduler() as scheduler:
        log = EventLog(scheduler, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
        for index, func in enumerate(funcs):
            scheduler.add_job(func, id=str(index))
        while len(log.events) < len(funcs):
            await gen.sleep(0.002)
    found = {event.job_id: event.exception or event.retval for event in log.events}
    assert len(found) == len(funcs)
    return found


def here() -> int:
    return threading.get_ident()


class Service:
    """Methods of all kinds."""

    def __init__(self) -> None:
        self.executor = concurrent.futures.ThreadPoolExecutor(1)

    @gen.coroutine
    def generator(self, word: str) -> Any:
        yield gen.sleep(0)
        return word, here()

    @run_on_executor
    def on_executor(self) -> str:
        return threading.current_thread().name

    @gen.coroutine
    def __call__(self) -> Any:
        yield gen.moment
        return here()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.executor.shutdown()


def test_a_coroutine_runs_on_the_loop_and_a_function_in_a_thread() -> None:
    async def coroutine() -> int:
        await gen.sleep(0)
        return here()

    found = run_sync(lambda: run_all(coroutine, here))
    assert found["0"] == here()
    assert found["1"] != here()


def test_a_decorated_generator_runs_on_the_loop_however_it_is_given(service: Service) -> None:
    @gen.coroutine
    def plain() -> Any:
        return here()

    bound = functools.partial(service.generator, "bound")
    partial = functools.partial(Service.generator, service, word="partial")
    found = run_sync(lambda: run_all(plain, bound, partial, service))
    assert found == {"0": here(), "1": ("bound", here()), "2": ("partial", here()), "3": here()}


def test_run_on_executor_is_called_on_the_loop_and_its_future_awaited(service: Service) -> None:
    assert run_sync(lambda: run_all(service.on_executor))["0"].startswith("ThreadPoolExecutor-")


def test_a_function_that_says_it_returns_a_future_is_called_on_the_loop() -> None:
    def tornados() -> Future[int]:
        future: Future[int] = Future()
        IOLoop.current().call_later(0.001, future.set_result, here())
        return future

    def threads() -> concurrent.futures.Future[int]:
        future: concurrent.futures.Future[int] = concurrent.futures.Future()
        IOLoop.current().call_later(0.001, future.set_result, here())
        return future

    def maybe() -> Awaitable[int]:
        return None  # type: ignore[return-value]  # as it happens

    found = run_sync(lambda: run_all(tornados, threads, maybe))
    assert found == {"0": here(), "1": here(), "2": None}


def test_a_wrapper_around_a_decorated_generator_is_called_too() -> None:
    calls: list[str] = []

    @gen.coroutine
    def inner() -> Any:
        yield gen.moment
        return "inner"

    @functools.wraps(inner)
    def outer() -> Any:
        calls.append("outer")
        return inner()

    assert run_sync(lambda: run_all(outer)) == {"0": "inner"}
    assert calls == ["outer"]


def test_a_function_that_returns_a_coroutine_is_awaited_on_the_loop() -> None:
    async def coroutine() -> int:
        return here()

    assert run_sync(lambda: run_all(lambda: coroutine())) == {"0": here()}


def test_what_no_function_says() -> None:
    class Plain:
        def __call__(self) -> None:
            raise NotImplementedError

    def unknown() -> Nowhere:  # type: ignore[name-defined]  # noqa: F821  # as what is imported for type checkers only
        raise NotImplementedError

    for func in (print, len, Plain(), Plain, unknown, functools.partial(print, 1), "text".join):
        assert native(func) is None


def test_a_generator_yields_all_that_tornado_knows() -> None:
    async def number(value: int) -> int:
        await gen.sleep(0)
        return value

    @gen.coroutine
    def job() -> Any:
        got: list[Any] = []
        got.append((yield number(1)))
        got.append((yield [number(2), number(3)]))
        got.append((yield {"four": number(4)}))
        got.append((yield None))
        got.append((yield gen.moment))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            got.append((yield pool.submit(int, "5")))
        try:
            yield 6
        except gen.BadYieldError:
            got.append("bad yield")
        try:
            yield number("x" + 1)  # type: ignore[operator]
        except TypeError:
            got.append("its own error")
        failed: Future[None] = Future()
        failed.set_exception(LookupError("thrown in"))
        try:
            yield failed
        except LookupError as error:
            got.append(str(error))
        run = current_run.get()
        assert run is not None
        raise gen.Return([*got, run.job.id])

    found = run_sync(lambda: run_all(job))["0"]
    assert found == [1, [2, 3], {"four": 4}, None, None, 5, "bad yield", "its own error", "thrown in", "0"]


def test_what_a_generator_raises_is_its_outcome_and_its_own() -> None:
    @gen.coroutine
    def first() -> Any:
        raise LookupError("before it yields")

    @gen.coroutine
    def later() -> Any:
        yield gen.moment
        raise LookupError("after")

    @gen.coroutine
    def returns() -> Any:
        raise gen.Return("no generator")

    found = run_sync(lambda: run_all(first, later, returns))
    assert (str(found["0"]), str(found["1"]), found["2"]) == ("before it yields", "after", "no generator")
    assert found["1"].__context__ is None


def test_whatever_a_job_raises_neither_ends_the_loop_nor_troubles_it(caplog: pytest.LogCaptureFixture) -> None:
    class OddError(BaseException):
        pass

    async def leave() -> None:
        await gen.sleep(0)
        sys.exit(3)

    @gen.coroutine
    def generator_leaves() -> Any:
        yield gen.moment
        sys.exit(3)

    @gen.coroutine
    def generator_is_odd() -> Any:
        yield gen.moment
        raise OddError

    def future_is_odd() -> Future[None]:
        raise OddError

    async def cancelled() -> None:
        raise asyncio.CancelledError

    jobs = (leave, lambda: leave(), generator_leaves, generator_is_odd, future_is_odd, cancelled, sys.exit)
    caplog.set_level(logging.CRITICAL, "schedcore")
    found = run_sync(lambda: run_all(*jobs))
    assert [str(found[str(index)]) for index in range(5)] == [
        "the job called sys.exit(3)",
        "the job called sys.exit(3)",
        "the job called sys.exit(3)",
        "the job raised OddError",
        "the job raised OddError",
    ]
    assert "cancelled" in str(found["5"])
    assert str(found["6"]) == "the job called sys.exit(None)"
    gc.collect()
    assert caplog.records == []


def test_cancelling_reaches_a_generator() -> None:
    ended: list[str] = []

    async def main() -> list[str]:
        begun = asyncio.Event()

        @gen.coroutine
        def job() -> Any:
            begun.set()
            try:
                yield gen.sleep(60)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            finally:
                ended.append("tidied")

        scheduler = TornadoScheduler()
        log = EventLog(scheduler, EVENT_JOB_ERROR)
        scheduler.start()
        scheduler.add_job(job, id="slow")
        await begun.wait()
        cut = await scheduler.shutdown(timeout=0.02)
        [event] = log.events
        assert isinstance(event.exception, RunCancelledError)
        return [run.job.id for run in cut]

    assert run_sync(main) == ["slow"]
    assert ended == ["cancelled", "tidied"]


@pytest.mark.slow
def test_a_generator_whose_loop_is_closed_under_it_is_closed() -> None:
    ended: list[str] = []
    io_loop = IOLoop(make_current=False)
    scheduler = TornadoScheduler(io_loop=io_loop)

    @gen.coroutine
    def job() -> Any:
        io_loop.add_callback(io_loop.stop)
        try:
            yield Future()
        finally:
            ended.append("closed")

    scheduler.add_job(job)
    scheduler.start()
    io_loop.start()
    io_loop.close(all_fds=True)
    del job
    scheduler.shutdown()
    scheduler._wait_closed()
    del scheduler
    gc.collect()
    assert ended == ["closed"]


def test_the_executor_says_that_it_needs_a_loop() -> None:
    scheduler = BackgroundScheduler(executors={"default": TornadoExecutor()})
    with pytest.raises(
        SchedulerStartError, match=r"the executor 'default' runs coroutines .* use TornadoScheduler, or"
    ):
        scheduler.start()
    assert not scheduler.running

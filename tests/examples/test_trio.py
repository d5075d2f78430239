"""The adapter for Trio that docs/write-an-adapter.md writes: its executor, and what its users do with it.

Wakeup and scheduler are held to their suites in ``tests/conformance``, as all the others are.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schedcore.errors import SchedulerStartError
from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_SCHEDULER_SHUTDOWN
from schedcore.run import current_run
from schedcore.testing.executor_suite import ExecutorTraits, check_executor, executor_behaviours

pytest.importorskip("trio", reason="trio comes with the extra 'test-trio'")

import trio

from tests.conformance.runtimes import trio as conformance

ROOT = Path(__file__).resolve().parents[2]
TRAITS = ExecutorTraits(workers=3, pause=trio.lowlevel.checkpoint)
schedcore_trio = conformance.load()


@pytest.fixture
def runtime() -> Iterator[Any]:
    with conformance.runtime() as runtime:
        yield runtime


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(TRAITS))
def test_executor(runtime: Any, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)

    def make() -> Any:
        return schedcore_trio.TrioExecutor(3, nursery=runtime.nursery)

    assert check_executor(make, TRAITS, only=name, submit_in=runtime.call) == [name]


def in_trio(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def bounded() -> None:
            with trio.fail_after(60):
                await test()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trio._core._thread_cache, "IDLE_TIMEOUT", conformance.IDLE_S)
            trio.run(bounded)

    run.__name__ = test.__name__
    return run


class Log:
    """Events, and a way to wait for them in Trio."""

    def __init__(self, scheduler: Any, mask: int) -> None:
        self._send, self._receive = trio.open_memory_channel(100)
        self._token = trio.lowlevel.current_trio_token()
        scheduler.add_listener(self._note, mask)

    def _note(self, event: Any) -> None:
        self._token.run_sync_soon(self._send.send_nowait, event)

    async def next(self) -> Any:
        return await self._receive.receive()


@in_trio
async def test_a_coroutine_runs_in_trio_and_a_function_in_a_thread() -> None:
    async with schedcore_trio.TrioScheduler() as scheduler:
        log = Log(scheduler, EVENT_JOB_EXECUTED)

        async def coroutine() -> threading.Thread:
            await trio.sleep(0)
            assert current_run.get() is not None
            return threading.current_thread()

        scheduler.add_job(coroutine)
        assert (await log.next()).retval is threading.current_thread()
        scheduler.add_job(threading.current_thread)
        assert (await log.next()).retval is not threading.current_thread()
        scheduler.add_job(lambda: coroutine())
        assert (await log.next()).retval is threading.current_thread()
        assert len(await scheduler.call(scheduler.get_jobs)) == 0


@in_trio
async def test_whatever_a_job_raises_ends_only_its_run() -> None:
    async with schedcore_trio.TrioScheduler() as scheduler:
        log = Log(scheduler, EVENT_JOB_ERROR)

        async def fails(error: BaseException) -> None:
            async with trio.open_nursery():
                raise error

        for error in (LookupError("there"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
            scheduler.add_job(fails, args=[error])
            assert repr(error).partition("(")[0] in (await log.next()).traceback


@in_trio
async def test_the_end_of_the_block_waits_and_an_error_in_it_cancels() -> None:
    ended: list[str] = []

    async def job(name: str, span_s: float) -> None:
        begun.set()
        try:
            await trio.sleep(span_s)
        finally:
            ended.append(name)

    begun = trio.Event()
    async with schedcore_trio.TrioScheduler() as scheduler:
        scheduler.add_job(job, args=["short", 0.02])
        await begun.wait()
    assert ended == ["short"]
    begun = trio.Event()
    with pytest.RaisesGroup(ZeroDivisionError):
        async with schedcore_trio.TrioScheduler() as scheduler:
            scheduler.add_job(job, args=["long", 3600])
            await begun.wait()
            raise ZeroDivisionError
    assert ended == ["short", "long"]
    assert not scheduler.running


@in_trio
async def test_a_nursery_that_is_cancelled_stops_the_scheduler_in_it() -> None:
    closed = trio.Event()
    token = trio.lowlevel.current_trio_token()
    async with trio.open_nursery() as nursery:
        scheduler = schedcore_trio.TrioScheduler(nursery=nursery)
        scheduler.add_listener(lambda event: token.run_sync_soon(closed.set), EVENT_SCHEDULER_SHUTDOWN)
        scheduler.start()
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert not scheduler.running
    await closed.wait()


def test_without_a_nursery_the_executor_says_so() -> None:
    from schedcore.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(executors={"default": schedcore_trio.TrioExecutor()})
    with pytest.raises(SchedulerStartError, match=r"needs a nursery: TrioExecutor\(nursery=nursery\)"):
        scheduler.start()


def test_the_page_shows_what_the_example_says() -> None:
    """Every block of code in the page is, line by line and in order, in the example or in its runtime."""
    page = (ROOT / "docs" / "write-an-adapter.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 3
    sources = [Path(schedcore_trio.__file__), Path(str(conformance.__file__))]
    known = [[line.strip() for line in path.read_text(encoding="utf-8").splitlines()] for path in sources]
    for block in blocks:
        lines = [line.strip() for line in block.splitlines() if line.strip() not in ("", "...")]
        assert any(_in_order(lines, source) for source in known), f"this is not what the example says:\n{block}"


def _in_order(lines: list[str], source: list[str]) -> bool:
    rest = iter(source)
    return all(line in rest for line in lines)

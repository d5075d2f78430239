"""Coroutine jobs that share a task, and when they do not: nobody can tell from inside of a job."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from schedcore.adapters.asyncio import AsyncIOExecutor, _carrier
from schedcore.run import Finish, Run, RunState, current_run
from schedcore.testing.executor_suite import RecordingHost, make_run

# Seconds. Longer than anything here takes.
PATIENCE_S = 60.0


class Bench:
    """An executor on the loop of the test, and what came of its runs."""

    def __init__(self) -> None:
        self.host = RecordingHost()
        self.executor = AsyncIOExecutor()
        self._number = 0

    def run(self, func: Callable[..., Any], *args: Any) -> Run:
        self._number += 1
        return make_run(func, *args, job_id=f"job{self._number}")

    def submit(self, *funcs: Callable[..., Any]) -> list[Run]:
        runs = [self.run(func) for func in funcs]
        self.executor.submit(runs)
        return runs

    async def ends(self, runs: list[Run]) -> list[Finish]:
        """The ends of runs, waited for on the loop."""
        async with asyncio.timeout(PATIENCE_S):
            while not {id(run) for run in runs} <= {id(finish.run) for finish in self.host.finished}:
                await asyncio.sleep(0)
        assert self.host.faults == []
        found = {id(finish.run): finish for finish in self.host.finished}
        return [found[id(run)] for run in runs]

    async def values(self, *funcs: Callable[..., Any]) -> list[Any]:
        """What jobs that come together give."""
        ends = await self.ends(self.submit(*funcs))
        assert [finish.state for finish in ends] == [RunState.SUCCEEDED] * len(ends), [end.traceback for end in ends]
        return [finish.retval for finish in ends]


@asynccontextmanager
async def started() -> AsyncIterator[Bench]:
    bench = Bench()
    bench.executor.start(bench.host, "default")
    try:
        yield bench
    finally:
        await asyncio.to_thread(bench.executor.shutdown, True, PATIENCE_S)
    assert bench.host.faults == []


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE_S):
                await test(*args, **kwargs)

        asyncio.run(bounded(), debug=True)
        gc.collect()

    return run


def my_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def nothing() -> None:
    pass


_kept: ContextVar[str | None] = ContextVar("kept", default=None)


@on_loop
async def test_jobs_that_do_not_suspend_need_one_task() -> None:
    names: list[str] = []

    async def job() -> None:
        names.append(my_task().get_name())

    async with started() as bench:
        before = set(asyncio.all_tasks())
        runs = bench.submit(*[job] * 10)
        assert len(asyncio.all_tasks() - before) == 1
        assert len(bench.executor.live_runs()) == 10
        await bench.ends(runs)
        assert names == [run.job.name for run in runs]
        assert bench.executor.live_runs() == []


@on_loop
async def test_each_has_a_context_of_its_own_also_after_it_suspended() -> None:
    async def leave(pauses: int) -> list[object]:
        found: list[object] = [_kept.get()]
        _kept.set(f"left by {pauses}")
        for _ in range(pauses):
            await asyncio.sleep(0)
            found.append(_kept.get())
        run = current_run.get()
        assert run is not None
        return [*found, run.job.id]

    async with started() as bench:
        _kept.set("the caller's")
        jobs = [functools.partial(leave, pauses) for pauses in (0, 0, 2, 0, 1)]
        assert await bench.values(*jobs) == [
            [None, "job1"],
            [None, "job2"],
            [None, "left by 2", "left by 2", "job3"],
            [None, "job4"],
            [None, "left by 1", "job5"],
        ]
        assert _kept.get() == "the caller's"
        assert current_run.get() is None


@on_loop
async def test_whoever_suspends_has_the_task_to_itself() -> None:
    go = asyncio.Event()

    async def waits() -> tuple[asyncio.Task[Any], asyncio.Task[Any], str]:
        first = my_task()
        await go.wait()
        return first, my_task(), first.get_name()

    async def opens() -> list[asyncio.Task[Any]]:
        go.set()
        return [my_task()]

    async with started() as bench:
        one, two, [opener] = await bench.values(waits, waits, opens)
    assert one[0] is one[1]
    assert two[0] is two[1]
    assert len({one[0], two[0], opener}) == 3
    assert [one[2], two[2], opener.get_name()] == ["job1", "job2", "job3"]


@on_loop
async def test_runs_begin_in_order_whether_they_suspend_or_not() -> None:
    begun: list[str] = []

    def note() -> None:
        run = current_run.get()
        assert run is not None
        begun.append(run.job.id)

    async def quick() -> None:
        note()

    async def slow() -> None:
        note()
        await asyncio.sleep(0)

    async with started() as bench:
        for _ in range(3):
            begun.clear()
            runs = bench.submit(*[quick, slow, quick] * 50)
            runs += bench.submit(slow)
            runs += bench.submit(quick)
            await bench.ends(runs)
            assert begun == [run.job.id for run in runs]


@on_loop
async def test_what_suspended_once_does_not_wait_for_turns_again() -> None:
    """A hundred that suspend begin within one turn of the loop, but for the first time."""
    begun = 0

    class Service:
        async def wait(self, number: int) -> None:
            nonlocal begun
            begun += 1
            await asyncio.sleep(0)

        async def __call__(self) -> None:
            await self.wait(0)

    async with started() as bench:
        await bench.values(nothing, functools.partial(Service().wait, 1))
        await bench.values(nothing, Service())
        for make in (lambda: functools.partial(Service().wait, 2), Service):
            begun = 0
            runs = bench.submit(*[make() for _ in range(100)])
            await asyncio.sleep(0)
            assert begun == 100
            await bench.ends(runs)


@on_loop
async def test_what_comes_behind_the_first_that_suspends_does_not_wait_for_turns() -> None:
    begun = 0

    async def waits() -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)

    async with started() as bench:
        runs = bench.submit(*[waits] * 100)
        for _ in range(3):
            await asyncio.sleep(0)
        assert begun == 100
        await bench.ends(runs)


@on_loop
async def test_the_loop_has_its_turn_among_runs_that_do_not_suspend() -> None:
    turns = 0

    async def neighbour() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with started() as bench:
        task = asyncio.create_task(neighbour())
        runs = bench.submit(*[nothing] * 1000)
        while bench.executor.live_runs():
            await asyncio.sleep(0)
        task.cancel()
        await bench.ends(runs)
    assert turns >= 10


@on_loop
async def test_timeouts_groups_and_cancelling_work_from_the_first_step_on() -> None:
    async def times_out() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return f"timed out, {my_task().cancelling()}"
        return "not"

    async def groups() -> list[str]:
        async def child(word: str) -> str:
            await asyncio.sleep(0)
            return word

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(word)) for word in "ab"]
        return [task.result() for task in tasks]

    async def group_fails() -> str:
        async def child() -> None:
            raise LookupError("child")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await asyncio.Event().wait()
        except ExceptionGroup as errors:
            return f"{errors.exceptions[0]}, {my_task().cancelling()}"
        return "not"

    async def holds_on() -> str:
        my_task().cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            my_task().uncancel()
            await asyncio.sleep(0)
            return "held on"
        return "not"

    async with started() as bench:
        # Each is unknown when it comes second, and known the second time.
        for _ in range(2):
            for job, value in (
                (times_out, "timed out, 0"),
                (groups, ["a", "b"]),
                (group_fails, "child, 0"),
                (holds_on, "held on"),
            ):
                assert await bench.values(nothing, job, nothing) == [None, value, None]


@on_loop
async def test_what_a_job_leaves_on_its_task_no_other_finds() -> None:
    by_task: dict[asyncio.Task[Any], str] = {}
    weakly: weakref.WeakKeyDictionary[asyncio.Task[Any], str] = weakref.WeakKeyDictionary()

    async def cancels() -> str:
        my_task().cancel()
        return "cancels"

    async def cancels_half() -> str:
        my_task().cancel()
        my_task().uncancel()
        return "cancels half"

    async def keeps() -> str:
        by_task[my_task()] = "kept"
        return "keeps"

    async def keeps_weakly() -> str:
        weakly[my_task()] = "kept"
        return "keeps weakly"

    async def looks() -> tuple[object, ...]:
        found = by_task.get(my_task()), weakly.get(my_task()), my_task().cancelling()
        await asyncio.sleep(0)
        return found

    async with started() as bench:
        for job in (cancels, cancels_half, keeps, keeps_weakly):
            # A function of its own each time, because the executor remembers those that suspend.
            looker: Callable[[], Coroutine[Any, Any, object]] = _copy(looks)
            name, found = await bench.values(job, looker)
            assert found == (None, None, 0), name


@on_loop
async def test_a_done_callback_is_called_when_its_job_is_over() -> None:
    called: list[asyncio.Future[Any]] = []

    async def listens() -> None:
        my_task().add_done_callback(called.append)

    async def waits_for_it() -> bool:
        while not called:
            await asyncio.sleep(0)
        return called == [my_task()]

    async with started() as bench:
        assert await bench.values(listens, waits_for_it) == [None, False]


def _copy(func: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[[], Coroutine[Any, Any, Any]]:
    """The same function with code of its own."""
    copied: Any = type(func)
    plain: Any = func
    return copied(plain.__code__.replace(), plain.__globals__, plain.__name__, None, plain.__closure__)  # type: ignore[no-any-return]


@on_loop
async def test_it_can_be_cancelled_from_outside_when_it_has_suspended() -> None:
    begun = asyncio.Event()
    ended: list[str] = []
    tasks: list[asyncio.Task[Any]] = []

    async def waits() -> None:
        tasks.append(my_task())
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(str(current_run.get() is not None))

    async with started() as bench:
        first, second, third = bench.submit(nothing, waits, nothing)
        await begun.wait()
        tasks[0].cancel("by hand")
        ends = await bench.ends([first, second, third])
        assert [end.state for end in ends] == [RunState.SUCCEEDED, RunState.CANCELLED, RunState.SUCCEEDED]
        assert ended == ["True"]
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]


@on_loop
async def test_any_awaitable_will_do_and_stop_iteration_is_an_error() -> None:
    class Soon:
        def __await__(self) -> Generator[Any, Any, str]:
            yield from asyncio.sleep(0).__await__()
            return "soon"

    async def stops() -> None:
        raise StopIteration("no value")

    async def gives_a_future() -> Any:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "future")
        return future

    async def gives_an_object() -> Any:
        return Soon()

    async with started() as bench:
        assert await bench.values(nothing, gives_a_future, gives_an_object) == [None, "future", "soon"]
        [_, end, last] = await bench.ends(bench.submit(nothing, stops, nothing))
    assert (end.state, last.state) == (RunState.FAILED, RunState.SUCCEEDED)
    assert isinstance(end.exception, RuntimeError)
    assert "StopIteration" in str(end.exception)


@on_loop
async def test_a_failure_leads_to_the_job_alone() -> None:
    async def fails_at_once() -> None:
        raise LookupError("at once")

    async def fails_later() -> None:
        await asyncio.sleep(0)
        raise LookupError("later")

    async with started() as bench:
        ends = await bench.ends(bench.submit(fails_at_once, fails_later))
    for end in ends:
        assert end.traceback is not None
        assert end.traceback.count("  File ") == 1, end.traceback
        assert end.exception is not None
        assert end.exception.__context__ is None


@on_loop
async def test_what_is_cancelled_before_its_first_step_is_reported() -> None:
    async with started() as bench:

        async def first() -> None:
            await asyncio.sleep(0)

        await bench.ends(bench.submit(first))
        # One by one, each has a task of its own.
        before = set(asyncio.all_tasks())
        [run] = bench.submit(first)
        [task] = asyncio.all_tasks() - before
        task.cancel()
        [finish] = await bench.ends([run])
        assert (finish.state, finish.started_us) == (RunState.CANCELLED, None)
        assert bench.executor.live_runs() == []


@on_loop
async def test_a_carrier_that_is_cancelled_too_soon_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_carrier, "_AGAIN_S", 0.0)
    async with started() as bench:
        before = set(asyncio.all_tasks())
        runs = bench.submit(nothing, nothing)
        [carrier] = asyncio.all_tasks() - before
        carrier.cancel()
        ends = await bench.ends(runs)
    assert [end.state for end in ends] == [RunState.SUCCEEDED] * 2


def run_until_stopped(begin: Callable[[], None], turns: int) -> None:
    """Make a call on a loop, which is stopped and closed a number of turns later."""
    loop = asyncio.new_event_loop()
    # Else it says that a task was destroyed while it was pending, and so it was.
    loop.set_exception_handler(lambda *_: None)

    def go_on(turns: int) -> None:
        if turns:
            loop.call_soon(go_on, turns - 1)
        else:
            loop.stop()

    def call() -> None:
        begin()
        go_on(turns)

    loop.call_soon(call)
    loop.run_forever()
    loop.close()


def test_a_loop_that_is_closed_before_they_begin(recwarn: pytest.WarningsRecorder) -> None:
    bench = Bench()
    runs: list[Run] = []

    def begin() -> None:
        bench.executor.start(bench.host, "default")
        runs.extend(bench.submit(nothing, nothing))

    run_until_stopped(begin, 0)
    assert [id(run) for run in bench.executor.live_runs()] == [id(run) for run in runs]
    assert [id(run) for run in bench.executor.shutdown()] == [id(run) for run in runs]
    assert bench.host.started == []
    bench.executor = AsyncIOExecutor()
    gc.collect()
    # Nothing of a coroutine that was never awaited.
    assert [str(one.message) for one in recwarn.list] == []


def test_a_loop_that_is_closed_after_they_began() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("over")

    bench = Bench()
    host = bench.host
    runs: list[Run] = []

    def begin() -> None:
        bench.executor.start(host, "default")
        runs.extend(bench.submit(nothing, waits, waits))

    run_until_stopped(begin, 3)
    assert {id(run) for run in bench.executor.shutdown()} == {id(run) for run in runs[1:]}
    bench.executor = AsyncIOExecutor()
    gc.collect()
    assert ended == ["over"] * 2
    ends = host.wait(runs, 0)
    assert [end.state for end in ends] == [RunState.SUCCEEDED, RunState.CANCELLED, RunState.CANCELLED]


class Odd(asyncio.Task[Any]):
    """A task class of somebody else's."""


def _wrapping(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    async def wrapper() -> Any:
        return await coro

    return Odd(wrapper(), loop=loop, **kwargs)


def _factories() -> list[Any]:
    eager = getattr(asyncio, "eager_task_factory", None)
    missing = pytest.mark.skip("Python 3.11 has no eager tasks")
    return [
        pytest.param(_wrapping, id="wrapping"),
        pytest.param(eager, id="eager", marks=() if eager else missing),
    ]


@pytest.mark.parametrize("factory", _factories())
@on_loop
async def test_a_task_factory_is_asked_for_each(factory: Any) -> None:
    asyncio.get_running_loop().set_task_factory(factory)

    async def quick() -> list[asyncio.Task[Any]]:
        return [my_task()]

    async def slow() -> list[asyncio.Task[Any]]:
        task = my_task()
        await asyncio.sleep(0)
        assert my_task() is task
        return [task]

    async def fails() -> None:
        raise LookupError

    async with started() as bench:
        tasks = [task for [task] in await bench.values(quick, quick, slow, slow, quick)]
        assert len(set(tasks)) == 5
        assert [task.get_name() for task in tasks] == [f"job{number}" for number in range(1, 6)]
        if factory is _wrapping:
            assert {type(task) for task in tasks} == {Odd}
        [end] = await bench.ends(bench.submit(fails))
        assert end.state is RunState.FAILED
        assert bench.executor.live_runs() == []


def test_ctrl_c_in_a_job_leaves_the_others_to_the_loop() -> None:
    bench = Bench()
    runs: list[Run] = []

    async def interrupted() -> None:
        raise KeyboardInterrupt

    def begin() -> None:
        bench.executor.start(bench.host, "default")
        runs.extend(bench.submit(nothing, interrupted, nothing, nothing))

    loop = asyncio.new_event_loop()
    try:
        loop.call_soon(begin)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        # A program may let it run on.
        ends = loop.run_until_complete(bench.ends(runs))
    finally:
        loop.close()
    states = [end.state for end in ends]
    assert states == [RunState.SUCCEEDED, RunState.FAILED, RunState.SUCCEEDED, RunState.SUCCEEDED]
    gc.collect()

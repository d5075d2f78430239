"""The executor on an asyncio loop: coroutine jobs as tasks on the loop, plain functions in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, wait
from contextvars import Context
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, TypeGuard

from schedcore.adapters.asyncio._carrier import Carriers, Tasks, Waiting
from schedcore.adapters.asyncio.wakeup import is_over, is_running_here
from schedcore.errors import SchedulerStartError
from schedcore.executors.base import ExecutorHost, RunExecutor, failed
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.references import is_coroutine_callable
from schedcore.run import Finish, Run, RunState, current_run

__all__ = ["AsyncIOExecutor"]


# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__
# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED
# Seconds. How often a thread that waits for the loop looks whether that is still there.
_LOOK_S = 1.0


def _is_the_programs(error: BaseException) -> bool:
    """Whether an exception that came up in a job may be Ctrl-C, which belongs to the program."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


class _Threads(ThreadPoolExecutor):
    """For plain functions. One that returns an awaitable means the loop's: it is awaited there."""

    loop: asyncio.AbstractEventLoop | None = None

    def _finish_awaitable(self, awaitable: Any) -> Any:
        stopped: list[BaseException] = []

        async def value() -> Any:
            try:
                return await awaitable
            except (Exception, asyncio.CancelledError, GeneratorExit):
                raise
            # What is left would end the loop, which is not the job's: it goes back to the job's thread.
            except BaseException as error:
                if _is_the_programs(error):
                    raise
                stopped.append(error)

        loop = self.loop
        assert loop is not None
        coroutine = value()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:
            coroutine.close()
            raise
        while not wait([future], _LOOK_S).done:
            if is_over(loop):
                raise RuntimeError("the event loop ended before the awaitable that the job returned")
        try:
            retval = future.result()
        except CancelledError as error:
            raise RuntimeError("the awaitable that the job returned was cancelled") from error
        if stopped:
            raise stopped.pop()
        return retval


class AsyncIOExecutor(RunExecutor):
    """``max_workers``: threads for jobs that are plain functions. Coroutine jobs are not limited in number.

    Each coroutine job has a task of its own; one that never suspends may find itself in a task that carried others before it
    (``schedcore.adapters.asyncio._carrier``).
    """

    #: Whose loop it runs on, as a rule.
    _SCHEDULER = "AsyncIOScheduler"

    def __init__(self, max_workers: int = 10) -> None:
        self._threads = _Threads(max_workers)
        self._loop: asyncio.AbstractEventLoop | None = None
        # Live coroutine jobs, of which each takes itself out.
        self._tasks: Tasks = {}
        self._carriers: Carriers | None = None
        self._serial = 0
        # Whether coroutine jobs that have not begun are not to begin any more, and those that obeyed.
        self._taking_back = False
        self._taken_back: list[Run] = []
        self._closed = True
        self._drained = threading.Event()

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        loop = getattr(scheduler, "event_loop", None)
        if loop is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise SchedulerStartError(
                    f"the executor {alias!r} runs coroutines on an event loop, and none is running in the thread that starts the "
                    f"scheduler; use {self._SCHEDULER}, or start() from a coroutine, or another executor (a thread pool runs "
                    f"coroutines, too)"
                ) from None
        super().start(scheduler, alias)
        self._loop = loop
        self._tasks = {}
        self._carriers = Carriers(loop, self._tasks, self._drive, self._make_tasks)
        self._taking_back = False
        self._taken_back = []
        self._drained.clear()
        self._closed = False
        self._threads.loop = self._loop
        self._threads.start(scheduler, alias)
        # Looked up once, because every run needs them.
        self._run_started = scheduler.run_started
        self._run_finished = scheduler.run_finished
        self._wall_us = scheduler.clock.wall_us

    def submit(self, runs: Sequence[Run]) -> None:
        loop, carriers = self._loop, self._carriers
        if self._closed or loop is None or carriers is None:
            raise RuntimeError(f"the executor {self._alias!r} is not running")
        # ``create_task`` of such a loop does no more than make an ``asyncio.Task``, and takes a third longer.
        direct = type(loop).create_task is asyncio.BaseEventLoop.create_task and loop.get_task_factory() is None
        # For a run by itself a carrier would be a task as well.
        carried = direct and (len(runs) > 1 or carriers.busy)
        serial = self._serial
        waiting: list[Waiting] = []
        plain: list[Run] = []
        last: object = None
        call: Callable[..., Awaitable[Any]] | None = None
        for run in runs:
            func = run.job.func
            if func is not last:
                call = None if func is None else self._native(func)
                last = func
                carried = carried and (call is None or carriers.may_carry(func))
            if call is not None:
                serial += 1
                waiting.append((serial, run, call))
            else:
                plain.append(run)
        self._serial = serial
        if carried:
            carriers.add(waiting)
        elif waiting:
            if carriers.busy:
                # What waits already begins first.
                waiting = carriers.take_all() + waiting
            self._make_tasks(waiting, direct)
        if plain:
            self._threads.submit(plain)

    def _make_tasks(self, waiting: list[Waiting], direct: bool = True) -> None:
        """Give each run a task of its own."""
        loop = self._loop
        assert loop is not None
        drive, tasks, make_task = self._drive, self._tasks, asyncio.Task
        for one in waiting:
            serial, run, _ = one
            name = run.job.name
            # Not a copy of this one, in which another job or whoever started the scheduler may have set something.
            context = Context()
            if direct:
                tasks[serial] = (make_task(drive(one), loop=loop, name=name, context=context), run)
                continue
            tasks[serial] = (None, run)
            task = loop.create_task(drive(one), name=name, context=context)
            # A task may be over by now: that of asyncio's eager factory, say.
            if serial in tasks:
                tasks[serial] = (task, run)
        # Called when each of them has had its first step.
        loop.call_soon(self._end_cancelled, waiting)

    def _end_cancelled(self, waiting: list[Waiting]) -> None:
        """End the runs whose tasks were cancelled before their first step: their coroutines were not entered, and cannot tell."""
        for serial, run, _ in waiting:
            live = self._tasks.get(serial)
            if live is not None and live[0] is not None and live[0].done():
                self._over(serial, Finish(run, RunState.CANCELLED, None, self._wall_us()))

    def _native(self, func: Callable[..., Any]) -> Callable[..., Awaitable[Any]] | None:
        """What to call and await on the loop for a job of this function; None for one that runs in a thread."""
        return func if is_coroutine_callable(func) else None

    async def _drive(self, waiting: Waiting) -> None:
        serial, run, call = waiting
        job = run.job
        wall_us = self._wall_us
        started_us: int | None = None
        finish: Finish | None = None
        try:
            if self._taking_back:
                self._taken_back.append(run)
                return
            self._run_started(run)
            current_run.set(run)
            started_us = wall_us()
            retval = await call(*job.args, **job.kwargs)
            if retval is not None and hasattr(type(retval), "__await__"):
                retval = await retval
            finish = _new(Finish, (run, _SUCCEEDED, started_us, wall_us(), retval, None, None))
        except (asyncio.CancelledError, GeneratorExit):
            # The task was cancelled, or its loop was closed under it.
            raise
        # All there is else, and not Exception alone: whatever a job raises is the outcome of its run. SystemExit would end the
        # loop, which is not the job's, and of the rest the loop would complain.
        except BaseException as error:
            finish = failed(run, started_us, wall_us(), error)
            if _is_the_programs(error):
                raise
        finally:
            if finish is None:
                finish = Finish(run, RunState.CANCELLED, started_us, wall_us())
            current_run.set(None)
            self._over(serial, finish)

    def _over(self, serial: int, finish: Finish) -> None:
        # Not there is one that was cut and went on, while the executor was started again.
        self._tasks.pop(serial, None)
        self._run_finished(finish)
        if self._closed and not self._tasks:
            self._drained.set()

    def live_runs(self) -> list[Run]:
        return [*(run for _, run in self._tasks.copy().values()), *self._threads.live_runs()]

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """Waiting blocks, so it is for threads other than the loop's: there, ``wait=True`` only stops taking runs."""
        loop = self._loop
        if loop is None:
            return []
        self._closed = True
        on_loop = is_running_here(loop)
        if not self._tasks:
            self._drained.set()
        cut: list[Run] = []
        if not wait:
            cut = self._let_none_begin()
        elif not on_loop and not self._wait_drained(loop, timeout):
            cut = self._cancel(loop)
        return cut + self._threads.shutdown(wait and not on_loop, timeout)

    def cancel_begun(self) -> None:
        """Cancel the coroutine jobs that run. In the loop's thread."""
        for task, _ in list(self._tasks.values()):
            _cancel_begun(task)

    def _wait_drained(self, loop: asyncio.AbstractEventLoop, timeout: float | None) -> bool:
        if timeout is not None and not is_over(loop):
            return self._drained.wait(timeout)
        while not self._drained.is_set():
            if is_over(loop):
                return False
            self._drained.wait(_LOOK_S)
        return True

    def _let_none_begin(self) -> list[Run]:
        """Let no coroutine job begin any more; each that had not ends, reported as cancelled, when its turn comes."""
        self._taking_back = True
        waiting = [run for task, run in self._tasks.copy().values() if not _has_begun(task)]
        return waiting + [run for run in self._taken_back if all(run is not other for other in waiting)]

    def _cancel(self, loop: asyncio.AbstractEventLoop) -> list[Run]:
        self._let_none_begin()
        live = list(self._tasks.copy().values())
        for task, _ in live:
            try:
                loop.call_soon_threadsafe(_cancel_begun, task)
            except RuntimeError:
                break
        else:
            # A task that does not let itself be cancelled is not waited for again.
            self._drained.wait(1.0)
        return [run for _, run in live]


def _has_begun(task: asyncio.Task[None] | None) -> TypeGuard[asyncio.Task[None]]:
    if task is None:
        return False
    coroutine = task.get_coro()
    return not isinstance(coroutine, Coroutine) or getcoroutinestate(coroutine) != CORO_CREATED


def _cancel_begun(task: asyncio.Task[None] | None) -> None:
    """Not one that has not begun: its coroutine would not be entered, and nothing reported."""
    if _has_begun(task):
        task.cancel()

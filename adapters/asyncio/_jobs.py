"""Coroutine jobs, as tasks on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any

from schedcore.adapters.asyncio._carrier import Carriers, Native
from schedcore.adapters.asyncio.wakeup import is_over, is_running_here, is_the_programs
from schedcore.executors.base import ExecutorHost, failed
from schedcore.executors.loop import LoopJobs, notice_fork
from schedcore.run import Finish, Run, RunState, current_run

__all__ = ["CoroutineJobs"]

# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__
# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED


class CoroutineJobs(LoopJobs):
    """``native`` gives what is called and awaited for a job of a function. ``loop`` is to be set before it is started.

    Each has a task of its own; one that never suspends may find itself in a task that carried others before it (``_carrier``).
    """

    loop: asyncio.AbstractEventLoop | None = None
    _carriers: Carriers

    def __init__(self, native: Native) -> None:
        super().__init__()
        self._native = native
        # Of runs that suspended, and of those that were given a task to begin in.
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        assert self.loop is not None
        super().start(scheduler, alias)
        self._tasks = {}
        self._carriers = Carriers(self.loop, self._waiting, self._tasks, self._native, self._drive, self._make_tasks)

    def _begin_soon(self, numbers: range, runs: Sequence[Run]) -> None:
        loop, carriers = self.loop, self._carriers
        assert loop is not None
        # ``create_task`` of such a loop does no more than make an ``asyncio.Task``, and takes a third longer.
        direct = type(loop).create_task is asyncio.BaseEventLoop.create_task and loop.get_task_factory() is None
        # For a run by itself a carrier would be a task as well.
        if direct and (len(runs) > 1 or carriers.busy) and carriers.may_carry(runs[0].job.func):
            carriers.add(numbers)
        else:
            # What waits already begins first.
            self._make_tasks([*carriers.take_all(), *numbers], direct)

    def _make_tasks(self, numbers: list[int], direct: bool = True) -> None:
        """Give each run a task of its own."""
        loop = self.loop
        assert loop is not None
        drive, tasks, make_task = self._drive, self._tasks, asyncio.Task
        # Before any of them begins: a child that was forked since, and has this loop as well, is not to make the parent's runs.
        loop.call_soon(notice_fork, context=Context())
        last: object = None
        call: Callable[..., Awaitable[Any]] | None = None
        for number in numbers:
            run = self._waiting.get(number)
            if run is None:  # it was taken back
                continue
            func = run.job.func
            if func is not last:
                call = None if func is None else self._native(func)
                last = func
            assert call is not None
            name = run.job.name
            # Not a copy of this one, in which another job or whoever started the scheduler may have set something.
            context = Context()
            if direct:
                tasks[number] = make_task(drive(number, run, call), loop=loop, name=name, context=context)
                continue
            task = loop.create_task(drive(number, run, call), name=name, context=context)
            # It may be over by now: that of asyncio's eager factory, say.
            if number in self._live:
                tasks[number] = task
        # Called when each of them has had its first step.
        loop.call_soon(self._end_cancelled, numbers)

    def _end_cancelled(self, numbers: list[int]) -> None:
        """End the runs whose tasks were cancelled before their first step: their coroutines were not entered, and cannot tell."""
        for number in numbers:
            task = self._tasks.get(number)
            if task is None or not task.done():
                continue
            del self._tasks[number]
            run = self._waiting.pop(number, None)
            if run is not None:
                self._over(number, Finish(run, RunState.CANCELLED, None, self._wall_us()))

    async def _drive(self, number: int, run: Run, call: Callable[..., Awaitable[Any]]) -> None:
        if self._waiting.pop(number, None) is None:  # it was taken back
            self._tasks.pop(number, None)
            return
        job = run.job
        wall_us = self._wall_us
        started_us: int | None = None
        finish: Finish | None = None
        try:
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
            if is_the_programs(error):
                raise
        finally:
            if finish is None:
                finish = Finish(run, RunState.CANCELLED, started_us, wall_us())
            current_run.set(None)
            if self._tasks:
                self._tasks.pop(number, None)
            # What ``_over`` does; on the path of every run this saves a call.
            self._live.pop(number, None)
            self._run_finished(finish)
            if self._closed:
                self._look_if_drained()

    def cancel_begun(self) -> None:
        """Cancel what has begun. In the loop's thread."""
        for number, task in list(self._tasks.items()):
            # Of one that has not, the coroutine would not be entered, and nothing reported.
            if number not in self._waiting:
                task.cancel()

    def _cancel_soon(self) -> bool:
        assert self.loop is not None
        try:
            self.loop.call_soon_threadsafe(self.cancel_begun)
        except RuntimeError:
            return False
        return True

    def in_loop_thread(self) -> bool:
        return self.loop is not None and is_running_here(self.loop)

    def _is_loop_over(self) -> bool:
        return self.loop is None or is_over(self.loop)

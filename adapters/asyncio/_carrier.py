"""A carrier: one task for many coroutine jobs, as long as none of them suspends.

A task costs much of what the executor does for a short coroutine job. So runs that come together wait in a queue, and a
*carrier*, which is a task, makes the first step of the coroutine of each, in a context of the run's own. A run that is over
with that needed no task, and the carrier takes the next one. A run that suspends keeps the carrier, which is its task from
then on: whatever it has found by ``asyncio.current_task()`` is right, and so are ``asyncio.timeout``, task groups, cancelling
and done callbacks. What waits behind it is given up: who suspends once mostly does again, and then a task for each run is the
quicker way. So the function is remembered, and its runs do not come here any more.

*Nobody can tell.* A carrier takes another run only if the one before has left nothing on it: no cancellation, no callback, and
nobody who refers to the task, as does what is kept by task.

*In turns.* A carrier begins a limited number of runs, after which the loop serves others before the next carrier comes.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextvars import Context
from sys import getrefcount
from types import CodeType, coroutine
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakValueDictionary, getweakrefcount

from schedcore.executors.loop import notice_fork
from schedcore.run import Run

__all__ = ["Carriers", "Native"]

# Runs that a carrier begins before the loop has its turn: as many as a scheduler hands over at a time.
_LIMIT = 64
# Seconds until a carrier comes in place of one that was cancelled before it began. ``asyncio.run`` ends with cancelling all
# tasks, and nothing is to begin after that: a scheduler that hears of the end stops first.
_AGAIN_S = 1.0

#: What is to be called and awaited for a job of a function; None where it has to run in a thread.
Native: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Awaitable[Any]] | None]


class _Suspended(NamedTuple):
    """A run's coroutine after its first step, what it gave its task to wait for, and the context that it runs in."""

    coro: Coroutine[Any, Any, None]
    yielded: Any
    context: Context


class Carriers:
    """The runs on a loop that wait for a carrier, by their numbers. All of it belongs to the loop's thread.

    ``runs``: those that have not begun. ``tasks``: where the task of a run that suspends is kept. ``drive`` gives the coroutine
    that carries a run out, and ``give_up`` takes the runs that a carrier is not for.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        runs: Mapping[int, Run],
        tasks: dict[int, asyncio.Task[None]],
        native: Native,
        drive: Callable[[int, Run, Callable[..., Awaitable[Any]]], Coroutine[Any, Any, None]],
        give_up: Callable[[list[int]], None],
    ) -> None:
        self._loop = loop
        self._runs = runs
        self._tasks = tasks
        self._native = native
        self._drive = drive
        self._give_up = give_up
        self._waiting: deque[int] = deque()
        # Whether a carrier is there for what waits, or on its way.
        self._coming = False
        # The code of functions that have suspended, by its identity, because to compare code takes long.
        self._suspending: WeakValueDictionary[int, CodeType] = WeakValueDictionary()

    @property
    def busy(self) -> bool:
        """Whether runs wait."""
        return bool(self._waiting)

    def may_carry(self, func: Callable[..., Any] | None) -> bool:
        """Whether runs of this function belong here: it is not known to suspend."""
        code = _code_of(func)
        return code is not None and id(code) not in self._suspending

    def add(self, numbers: Sequence[int]) -> None:
        """Have runs begin soon, in order."""
        self._waiting += numbers
        self._send()

    def take_all(self) -> list[int]:
        """Take out what waits."""
        numbers = list(self._waiting)
        self._waiting.clear()
        return numbers

    def _send(self) -> None:
        if self._coming or not self._waiting or self._loop.is_closed():
            return
        carrier = self._carry()
        # It is entered now, and so learns of it when its task ends before it has begun.
        carrier.send(None)
        asyncio.Task(carrier, loop=self._loop, name="schedcore", context=Context())
        self._coming = True

    async def _carry(self) -> None:
        try:
            await _until_called()
        except asyncio.CancelledError:
            self._coming = False
            self._loop.call_later(_AGAIN_S, self._send, context=Context())
            raise
        try:
            suspended = self._begin_some()
        finally:
            self._coming = False
            self._send()
        if suspended is not None:
            await _to_the_end(suspended)

    def _begin_some(self) -> _Suspended | None:
        """Make the first steps of some runs, until one suspends, which is returned."""
        notice_fork()  # a child that has this loop as well is not to make the parent's runs
        task = asyncio.current_task(self._loop)
        assert task is not None
        # Type checkers do not know these attributes, which both of Python's implementations of tasks have.
        marks: Any = task
        refs, weakrefs = getrefcount(task), getweakrefcount(task)
        waiting, runs, drive = self._waiting, self._runs, self._drive
        last: object = None
        call: Callable[..., Awaitable[Any]] | None = None
        for _ in range(_LIMIT):
            if not waiting:
                break
            number = waiting.popleft()
            run = runs.get(number)
            if run is None:  # it was taken back
                continue
            job = run.job
            func = job.func
            if func is not last:
                call = self._native(func) if func is not None and self.may_carry(func) else None
                last = func
            if call is None:
                self._give_up([number, *self.take_all()])
                return None
            task.set_name(job.name)
            coro = drive(number, run, call)
            context = Context()
            try:
                yielded = context.run(coro.send, None)
            except StopIteration:
                if (
                    marks._must_cancel
                    or marks._callbacks
                    or getrefcount(task) != refs
                    or getweakrefcount(task) != weakrefs
                ):
                    break
            else:
                self._tasks[number] = task
                code = _code_of(func)
                if code is not None:
                    self._suspending[id(code)] = code
                self._give_up(self.take_all())
                return _Suspended(coro, yielded, context)
        return None


def _code_of(func: Callable[..., Any] | None) -> CodeType | None:
    """The code that is run when a function is called; None where Python has none."""
    while isinstance(func, functools.partial):
        func = func.func
    code = getattr(func, "__code__", None)
    if code is None:
        call = getattr(type(func), "__call__", None)  # noqa: B004  # the class's method is wanted
        code = getattr(call, "__code__", None)
    return code if isinstance(code, CodeType) else None


@coroutine
def _until_called() -> Generator[None, None, None]:
    yield


@coroutine
def _to_the_end(suspended: _Suspended) -> Generator[Any, Any, None]:
    """Between a task and a coroutine in a context of its own: passes on what either has for the other."""
    coro, yielded, context = suspended
    while True:
        error: BaseException | None = None
        try:
            yield yielded
        except BaseException as thrown:  # noqa: BLE001  # it is the coroutine's, GeneratorExit included
            error = thrown
        try:
            yielded = context.run(coro.send, None) if error is None else context.run(coro.throw, error)
        except StopIteration:
            return
        finally:
            # Its frames lead here.
            error = None

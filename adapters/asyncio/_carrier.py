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
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from sys import getrefcount
from types import CodeType, coroutine
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakValueDictionary, getweakrefcount

from schedcore.run import Run

__all__ = ["Carriers", "Tasks", "Waiting"]

# Runs that a carrier begins before the loop has its turn: as many as a scheduler hands over at a time.
_LIMIT = 64
# Seconds until a carrier comes in place of one that was cancelled before it began. ``asyncio.run`` ends with cancelling all
# tasks, and nothing is to begin after that: a scheduler that hears of the end stops first.
_AGAIN_S = 1.0

#: Live runs by serial number, and their tasks; None for one that has none yet.
Tasks: TypeAlias = dict[int, tuple["asyncio.Task[None] | None", Run]]
#: A serial number, its run, and what is to be called and awaited for it.
Waiting: TypeAlias = tuple[int, Run, Callable[..., Awaitable[Any]]]


class _Suspended(NamedTuple):
    """A run's coroutine after its first step, what it gave its task to wait for, and the context that it runs in."""

    coro: Coroutine[Any, Any, None]
    yielded: Any
    context: Context


class Carriers:
    """The runs on a loop that wait for a carrier. All of it belongs to the loop's thread.

    ``tasks``: where a run is given its task when it begins. ``drive`` gives the coroutine that carries a run out, and
    ``give_up`` takes the runs behind one that suspended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
        drive: Callable[[Waiting], Coroutine[Any, Any, None]],
        give_up: Callable[[list[Waiting]], None],
    ) -> None:
        self._loop = loop
        self._tasks = tasks
        self._drive = drive
        self._give_up = give_up
        self._waiting: deque[Waiting] = deque()
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

    def add(self, waiting: list[Waiting]) -> None:
        """Have runs begin soon, in order."""
        for serial, run, _ in waiting:
            self._tasks[serial] = (None, run)
        self._waiting += waiting
        self._send()

    def take_all(self) -> list[Waiting]:
        """Take out what waits."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

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
        task = asyncio.current_task(self._loop)
        assert task is not None
        # Type checkers do not know these attributes, which both of Python's implementations of tasks have.
        marks: Any = task
        refs, weakrefs = getrefcount(task), getweakrefcount(task)
        waiting = self._waiting
        for _ in range(_LIMIT):
            if not waiting:
                break
            one = waiting.popleft()
            serial, run, _ = one
            self._tasks[serial] = (task, run)
            task.set_name(run.job.name)
            coro = self._drive(one)
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
                code = _code_of(run.job.func)
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

"""schedcore on Trio, with nothing but what schedcore offers to everybody: the adapter that docs/write-an-adapter.md writes.

async with TrioScheduler() as scheduler:
    scheduler.add_job(report, "interval", hours=1)
    await trio.sleep_forever()
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context
from functools import partial
from typing import Any, ClassVar, Self

from schedcore import config
from schedcore.errors import SchedulerStartError
from schedcore.executors.base import BaseExecutor, ExecutorHost, failed
from schedcore.executors.loop import LoopExecutor, LoopJobs
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.references import is_coroutine_callable
from schedcore.run import Finish, Run, RunState, current_run
from schedcore.schedulers.loop import LoopScheduler
from schedcore.wakeup import Done, Wakeup, outcome_of

try:
    import trio
except ImportError as error:
    raise ImportError("schedcore_trio needs Trio; install it with: pip install schedcore trio") from error

__all__ = ["TrioExecutor", "TrioScheduler", "TrioWakeup", "Waiter"]

_logger = logging.getLogger("schedcore.trio")
_NEVER = float("inf")


def _guarded(call: Callable[..., object], *args: Any) -> None:
    """Trio ends with its whole program when a callback raises; other loops log it and go on, and so do we."""
    try:
        call(*args)
    except Exception:
        _logger.exception("%r failed", call)


def _is_running_here(token: trio.lowlevel.TrioToken | None) -> bool:
    try:
        return trio.lowlevel.current_trio_token() is token
    except RuntimeError:
        return False


def _is_over(token: trio.lowlevel.TrioToken) -> bool:
    try:
        token.run_sync_soon(int, idempotent=True)
    except trio.RunFinishedError:
        return True
    return False


# --- the wakeup ---------------------------------------------------------------------------------------------------------


class TrioWakeup:
    """See ``schedcore.wakeup.Wakeup``. ``run`` is the task that keeps its timer."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._due_s = _NEVER
        self._callback: Callable[[], None] | None = None
        self._sleep = trio.CancelScope()
        self._running = True

    async def run(self) -> None:
        while self._running:
            with trio.CancelScope(deadline=self._due_s) as self._sleep:
                await trio.sleep_forever()
            callback = self._callback
            if callback is not None and trio.current_time() >= self._due_s:
                self.disarm()
                _guarded(callback)

    def close(self) -> None:
        """Let ``run`` return. Trio's thread only."""
        self._running = False
        self._sleep.cancel()

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._due_s = self._sleep.deadline = trio.current_time() + delay_s

    def disarm(self) -> None:
        self._callback = None
        self._due_s = self._sleep.deadline = _NEVER

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._token.run_sync_soon(_guarded, callback)

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        async def make() -> None:
            with trio.CancelScope(shield=True):  # a store's call is not given up half way
                _guarded(done, *await trio.to_thread.run_sync(outcome_of, call))

        self._nursery.start_soon(make)


# --- the executor -------------------------------------------------------------------------------------------------------


class _Threads(ThreadPoolExecutor):
    """For plain functions. An awaitable that one returns means Trio's: it is awaited there."""

    token: trio.lowlevel.TrioToken

    def _finish_awaitable(self, awaitable: Any) -> Any:
        async def value() -> Any:
            return await awaitable

        return trio.from_thread.run(value, trio_token=self.token)


class _Tasks(LoopJobs):
    """For async functions, each a task in the nursery."""

    nursery: trio.Nursery
    token: trio.lowlevel.TrioToken

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        super().start(scheduler, alias)
        self._scopes: dict[int, trio.CancelScope] = {}  # of those that have begun

    def _begin_soon(self, numbers: range, runs: Sequence[Run]) -> None:
        for number, run in zip(numbers, runs, strict=True):
            # Trio gives a task a copy of the context variables around this call; a job starts with none.
            Context().run(partial(self.nursery.start_soon, self._drive, number, name=run.job.name))

    async def _drive(self, number: int) -> None:
        run = self._waiting.pop(number, None)
        if run is None:
            return  # taken back
        self._scopes[number] = scope = trio.CancelScope()
        job, wall_us = run.job, self._wall_us
        self._run_started(run)
        current_run.set(run)
        started_us = wall_us()
        finish: Finish | None = None
        try:
            assert job.func is not None
            with scope:
                retval = await job.func(*job.args, **job.kwargs)
            if not scope.cancelled_caught:
                finish = Finish(run, RunState.SUCCEEDED, started_us, wall_us(), retval)
        except trio.Cancelled:
            raise  # with the whole nursery
        # All there is: whatever a job raises is the outcome of its run, and would end the nursery and all that is in it.
        except BaseException as error:  # noqa: BLE001
            finish = failed(run, started_us, wall_us(), error)
        finally:
            current_run.set(None)
            del self._scopes[number]
            self._over(number, finish or Finish(run, RunState.CANCELLED, started_us, wall_us()))

    def _cancel_soon(self) -> bool:
        with suppress(trio.RunFinishedError):
            self.token.run_sync_soon(self._cancel)
            return True
        return False

    def _cancel(self) -> None:
        for scope in list(self._scopes.values()):
            scope.cancel()

    def in_loop_thread(self) -> bool:
        return _is_running_here(self.token)

    def _is_loop_over(self) -> bool:
        return _is_over(self.token)


class TrioExecutor(LoopExecutor):
    """Async functions as tasks in ``nursery`` (None: the scheduler's), plain ones in ``max_workers`` threads."""

    _jobs: _Tasks
    _threads: _Threads

    def __init__(self, max_workers: int = 10, nursery: trio.Nursery | None = None) -> None:
        super().__init__(_Tasks(), _Threads(max_workers))
        self._given = nursery

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        nursery = self._given or getattr(scheduler, "nursery", None)
        if nursery is None:
            raise SchedulerStartError(f"the executor {alias!r} needs a nursery: TrioExecutor(nursery=nursery)")
        self._jobs.nursery = nursery
        self._jobs.token = self._threads.token = trio.lowlevel.current_trio_token()
        super().start(scheduler, alias)

    def _is_native(self, func: Callable[..., Any]) -> bool:
        return is_coroutine_callable(func)


# --- the scheduler ------------------------------------------------------------------------------------------------------


class Waiter:
    """What ``shutdown`` and ``call`` return: ``await`` it for the result, as often as you like."""

    def __init__(self) -> None:
        self._over = trio.Event()
        self._result: Any = None
        self._error: Exception | None = None

    def finish(self, result: Any, error: Exception | None) -> None:
        self._result, self._error = result, error
        self._over.set()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        await self._over.wait()
        if self._error is not None:
            raise self._error
        return self._result


class TrioScheduler(LoopScheduler):
    """Option ``nursery``: where its tasks live. ``async with TrioScheduler() as scheduler:`` opens one for itself."""

    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {
        **LoopScheduler._extra_options,
        "nursery": config.as_is,
    }
    _nursery: trio.Nursery | None = None
    _nursery_manager: AbstractAsyncContextManager[trio.Nursery] | None = None
    _token: trio.lowlevel.TrioToken | None = None

    @property
    def nursery(self) -> Any:
        """Where its tasks live; None before it has one."""
        return self._nursery or self._config.extra.get("nursery")

    def _create_wakeup(self) -> Wakeup:
        nursery = self.nursery
        if not isinstance(nursery, trio.Nursery):
            raise SchedulerStartError(
                f"start() needs a nursery, not {nursery!r}: TrioScheduler(nursery=nursery), or async with TrioScheduler()"
            )
        try:
            self._token = trio.lowlevel.current_trio_token()
        except RuntimeError:
            raise SchedulerStartError("Trio does not run in this thread; call start() in an async function") from None
        wakeup = TrioWakeup(nursery)
        nursery.start_soon(self._live, wakeup, name="schedcore")
        return wakeup

    async def _live(self, wakeup: TrioWakeup) -> None:
        try:
            await wakeup.run()
        finally:
            # Nothing to do when it was shut down. The nursery may have been cancelled under it, though.
            if self._wakeup is wakeup:
                self.shutdown(wait=False)

    def _release_wakeup(self) -> None:
        if isinstance(self._wakeup, TrioWakeup):
            self._call_soon(self._wakeup.close)

    def _create_default_executor(self) -> BaseExecutor:
        return TrioExecutor()

    def _on_loop(self) -> bool:
        return trio.lowlevel.in_trio_run()

    def _in_loop_thread(self) -> bool:
        return _is_running_here(self._token)

    def _is_loop_alive(self) -> bool:
        return self._token is not None and not _is_over(self._token)

    def _make_waiter(self) -> tuple[Waiter, Done]:
        waiter = Waiter()
        return waiter, waiter.finish

    async def __aenter__(self) -> Self:
        if self.nursery is None:
            self._nursery_manager = trio.open_nursery()
            self._nursery = await self._nursery_manager.__aenter__()
        self.start()
        return self

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        with trio.CancelScope(shield=True):
            await self.shutdown(timeout=None if exc_info[0] is None else 0)
        manager, self._nursery_manager, self._nursery = self._nursery_manager, None, None
        return None if manager is None else await manager.__aexit__(*exc_info)

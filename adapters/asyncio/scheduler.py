"""The scheduler that lives on an asyncio event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from schedcore import config
from schedcore.adapters.asyncio.executor import AsyncIOExecutor
from schedcore.adapters.asyncio.wakeup import AsyncIOWakeup, is_over
from schedcore.errors import SchedulerStartError
from schedcore.executors.base import BaseExecutor
from schedcore.run import Run
from schedcore.schedulers.base import BaseScheduler
from schedcore.wakeup import Wakeup

__all__ = ["AsyncIOScheduler"]


class AsyncIOScheduler(BaseScheduler):
    """Option ``event_loop``: the loop to live on; without it, the loop that runs when ``start`` is called.

    ``async with AsyncIOScheduler() as scheduler:`` starts it and, at the end, waits for what runs. Job stores that do
    I/O are called in the loop's default executor, never on the loop; they are opened there after ``start`` has
    returned, and one that cannot be opened is an event and is tried again.
    """

    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {
        **BaseScheduler._extra_options,
        "event_loop": config.as_is,
    }
    _opens_stores_in_start = False
    _loop: asyncio.AbstractEventLoop | None = None
    _closing: asyncio.Future[list[Run]] | None = None

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop it lives on, or is configured to; None before ``start``."""
        if self._loop is not None:
            return self._loop
        loop: Any = self._config.extra.get("event_loop")
        return loop  # type: ignore[no-any-return]

    def _create_wakeup(self) -> Wakeup:
        loop = self._config.extra.get("event_loop")
        if loop is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise SchedulerStartError(
                    "no event loop is running in this thread; call start() from a coroutine (or a callback of the loop), "
                    "or say which loop it is: AsyncIOScheduler(event_loop=loop)"
                ) from None
        if not isinstance(loop, asyncio.AbstractEventLoop):
            raise SchedulerStartError(f"event_loop must be an asyncio event loop, not {loop!r}")
        if loop.is_closed():
            raise SchedulerStartError("the event loop is closed; start the scheduler on one that is not")
        self._loop = loop
        self._closing = loop.create_future()
        return AsyncIOWakeup(loop)

    def _create_default_executor(self) -> BaseExecutor:
        return AsyncIOExecutor()

    def _run(self) -> None:
        assert self._wakeup is not None
        self._wakeup.call_soon(self._begin)

    def _is_loop_alive(self) -> bool:
        return self._loop is not None and not is_over(self._loop)

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> asyncio.Future[list[Run]]:
        """Stop; the awaitable that is returned has waited: it gives the runs that were cut short.

        Nothing fires from the call on, awaited or not. See ``BaseScheduler.shutdown`` for ``wait`` and ``timeout``
        (s). Called from another thread it stops as well; to wait there, use ``asyncio.run_coroutine_threadsafe``.
        Awaited inside a job of this scheduler's, it does not wait for that job, and so not for the end.
        """
        loop, closing = self._loop, self._closing
        inside = self._in_own_job()
        if self._begin_shutdown():
            self._disarm()
            self._close_elsewhere(wait, timeout)
        if loop is None or closing is None or loop.is_closed():
            return _over_already()
        if not _here(loop):
            return closing
        if not wait or inside:
            return _done_future(loop.create_future(), [])
        # Whoever stops waiting must not stop the others, nor the closing.
        return asyncio.shield(closing)

    def _disarm(self) -> None:
        wakeup = self._wakeup
        if wakeup is not None:
            self._call_soon(wakeup.disarm)

    def _ended(self) -> None:
        super()._ended()
        # Last, because whoever awaits it may start the scheduler again.
        closing, loop = self._closing, self._loop
        if closing is not None and loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(_resolve, closing, list(self._cut))
            except RuntimeError:
                # The loop was closed meanwhile, and nobody waits on it any more.
                pass

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._loop = self._closing = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.shutdown()


def _here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _resolve(future: asyncio.Future[list[Run]], cut: list[Run]) -> None:
    if not future.done():
        future.set_result(cut)


def _done_future(future: asyncio.Future[list[Run]], cut: list[Run]) -> asyncio.Future[list[Run]]:
    future.set_result(cut)
    return future


def _over_already() -> asyncio.Future[list[Run]]:
    """What ``shutdown`` returns where there is no loop to wait on: a result that is there already."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        future: asyncio.Future[list[Run]] = loop.create_future()
        future.set_result([])
        loop.close()
        return future
    return _done_future(loop.create_future(), [])

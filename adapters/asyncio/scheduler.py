"""The scheduler that lives on an asyncio event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar

from schedcore import config
from schedcore.adapters.asyncio.executor import AsyncIOExecutor
from schedcore.adapters.asyncio.wakeup import AsyncIOWakeup, finish_future, is_over, is_running_here
from schedcore.errors import SchedulerStartError
from schedcore.executors.base import BaseExecutor
from schedcore.run import Run
from schedcore.schedulers.loop import LoopScheduler, is_stopping
from schedcore.wakeup import Done, Wakeup

__all__ = ["AsyncIOScheduler"]

P = ParamSpec("P")
T = TypeVar("T")


class AsyncIOScheduler(LoopScheduler):
    """Option ``event_loop``: the loop to live on; without it, the loop that runs when ``start`` is called.

    Option ``stop_timeout``: see ``LoopScheduler``.

    ``async with AsyncIOScheduler() as scheduler:`` starts it and, at the end, waits for what runs.
    """

    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {
        **LoopScheduler._extra_options,
        "event_loop": config.as_is,
    }
    _loop: asyncio.AbstractEventLoop | None = None
    # What hears that the loop is about to end: see ``_hear_of_the_end``.
    _ear: AsyncGenerator[None, None] | None = None

    if TYPE_CHECKING:

        def shutdown(self, wait: bool = True, timeout: float | None = None) -> asyncio.Future[list[Run]]: ...

        def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]: ...

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
        if loop.is_running() and not is_running_here(loop):
            raise SchedulerStartError(
                "the event loop runs in another thread, and start() belongs there; call "
                "loop.call_soon_threadsafe(scheduler.start)"
            )
        self._loop = loop
        return AsyncIOWakeup(loop)

    def _begin(self) -> None:
        # After a start that Ctrl-C has ended at its end it is called all the same, and perhaps twice. An ear that is dropped is
        # closed, and hears of an end that is none.
        if self.running and self._ear is None:
            self._ear = self._hear_of_the_end()
            with suppress(StopIteration):
                self._ear.__anext__().send(None)
        super()._begin()

    async def _hear_of_the_end(self) -> AsyncGenerator[None, None]:
        """A loop that is about to end (``asyncio.run``) cancels all tasks, and then closes the asynchronous generators that were
        begun on it. What began a run after that would leave it standing.
        """
        try:
            yield
        finally:
            if self._ear is not None:
                self._ear = None
                self._loop_ends()

    def _loop_ends(self) -> None:
        self._reports.logger.info("the event loop is about to end, and the scheduler with it")
        self.shutdown(wait=False)
        for executor in self._all_executors():
            if isinstance(executor, AsyncIOExecutor):
                executor.cancel_begun()

    def _ended(self) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            # Left to the garbage collector, it would be closed by a task. It may be just being closed by its loop.
            with suppress(StopIteration, RuntimeError):
                ear.aclose().send(None)
        super()._ended()

    def _create_default_executor(self) -> BaseExecutor:
        return AsyncIOExecutor()

    def _on_loop(self) -> bool:
        # Another loop than its own would have to wait just the same.
        return asyncio._get_running_loop() is not None

    def _in_loop_thread(self) -> bool:
        return self._loop is not None and is_running_here(self._loop)

    def _is_loop_alive(self) -> bool:
        return self._loop is not None and not is_over(self._loop)

    def _is_loop_closed(self) -> bool:
        return self._loop is not None and self._loop.is_closed()

    def _make_waiter(self) -> tuple[asyncio.Future[Any], Done]:
        loop = self._loop
        if loop is None or loop.is_closed():
            # Nothing is left to wait for; the future belongs to whoever asks.
            loop = asyncio._get_running_loop() or asyncio.new_event_loop()
            future = loop.create_future()
            if not loop.is_running():
                loop.close()
        else:
            future = loop.create_future()
        return future, finish_future(future)

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._loop = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, reason: type[BaseException] | None, *exc_info: object) -> None:
        try:
            await self._leave(reason)
        except (asyncio.CancelledError, KeyboardInterrupt):
            if is_stopping(reason):
                self._abandon()
            raise

"""What a gevent hub offers to a scheduler that lives on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from gevent.event import AsyncResult
from gevent.hub import Hub

from schedcore.adapters.gevent.places import is_alive, is_patched, is_running, is_thread_of, may_wait
from schedcore.adapters.gevent.wakeup import GeventWakeup
from schedcore.schedulers.loop import LoopScheduler
from schedcore.wakeup import Done

__all__ = ["HubScheduler"]

P = ParamSpec("P")
T = TypeVar("T")


class HubScheduler(LoopScheduler):
    """The hub is known from ``start`` on."""

    _hub: Hub | None = None

    if TYPE_CHECKING:

        def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> AsyncResult[T]: ...

    @property
    def hub(self) -> Hub | None:
        """The hub it lives on; None before ``start``."""
        return self._hub

    def _may_wait(self) -> bool:
        """Whether the caller is a greenlet that may wait while others run, and is not one of the scheduler's own."""
        hub, wakeup = self._hub, self._wakeup
        if hub is None or not is_alive(hub) or not may_wait(hub):
            return False
        return not (isinstance(wakeup, GeventWakeup) and wakeup.serves_here())

    def _on_loop(self) -> bool:
        return self._hub is not None and is_thread_of(self._hub)

    def _in_loop_thread(self) -> bool:
        return self._on_loop()

    def _is_loop_alive(self) -> bool:
        hub = self._hub
        if hub is None or not is_running(hub):
            return False
        # Who waits in the hub's own thread for the hub, and not the way gevent waits, waits for ever.
        return is_patched() or not is_thread_of(hub)

    def _is_loop_closed(self) -> bool:
        return self._hub is not None and not is_alive(self._hub)

    def _make_waiter(self) -> tuple[AsyncResult[Any], Done]:
        result: AsyncResult[Any] = AsyncResult()

        def finish(value: Any, error: Exception | None) -> None:
            if error is None:
                result.set(value)
            else:
                result.set_exception(error)

        return result, finish

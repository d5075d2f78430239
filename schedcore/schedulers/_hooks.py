"""What the class of a scheduler supplies, or answers in its own way: how it waits, and where it may wait.

A subclass of ``BaseScheduler`` supplies a wakeup and makes it begin; the rest is as for a scheduler with a thread of its own.
``LoopScheduler`` has what is the same on somebody else's event loop.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from random import random
from typing import ClassVar

from schedcore import config
from schedcore.executors.base import BaseExecutor
from schedcore.jobstores.base import JobStore
from schedcore.schedulers._calls import Teller, call_pool
from schedcore.wakeup import MAX_WAIT_S, MIN_GAP_S, Wakeup

__all__ = ["SchedulerHooks"]


class SchedulerHooks(ABC):
    """See the module's docstring."""

    #: Options of the subclass, each with its conversion.
    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {"clock": config.as_clock}
    #: Whether ``start`` itself opens the job stores, and raises what they raise. Not where it runs on somebody's event loop:
    #: there, neither stores that do I/O nor a user's triggers are called.
    _opens_stores_in_start: ClassVar[bool] = True
    #: Seconds. The longest single wait; longer only where steps of the clock are told without it (virtual time).
    _max_wait_s: ClassVar[float] = MAX_WAIT_S
    #: Seconds. The shortest time between two looks at what is due; none in virtual time, where nobody waits for it.
    _min_gap_s: ClassVar[float] = MIN_GAP_S
    #: Whether the end of the program closes it and waits for the jobs that run.
    _closed_at_exit: ClassVar[bool] = True
    #: Whether run events are delivered by a thread of their own; else where they arise.
    _tells_in_thread: ClassVar[bool] = True
    #: Where jitter comes from: floats in [0, 1).
    _random: Callable[[], float] = staticmethod(random)
    #: Whether all is closed, of the life that it has or had last: each start makes a new one.
    _closed: threading.Event

    @abstractmethod
    def _create_wakeup(self) -> Wakeup:
        """The wakeup to live on. Called at start, in the thread that starts; raises ``SchedulerStartError``."""

    @abstractmethod
    def _run(self) -> Callable[[], None] | None:
        """Called at the end of ``start``: make the wakeup call ``_begin`` in the scheduler's thread. Where ``start`` blocks, what
        is returned is called then, and runs the wakeup; it may have been shut down by then.
        """

    def _release_wakeup(self) -> None:  # noqa: B027  # a framework may have nothing to let go of
        """Called last, when all is closed: let go of what ``_create_wakeup`` and ``_run`` made."""

    def _on_loop(self) -> bool:
        """Whether the calling thread runs an event loop, so that waiting in it would hold up the program."""
        return False

    def _is_loop_closed(self) -> bool:
        """Whether the event loop that it lives on was closed under it, and will never run again."""
        return False

    def _is_loop_alive(self) -> bool:
        """Whether the wakeup still calls back what it was given."""
        return True

    def _must_not_listen(self) -> bool:
        """Whether the calling thread must not call listeners itself."""
        return self._on_loop()

    def _make_teller(self, name: str) -> Teller:
        """What calls listeners elsewhere, one event at a time; ``name``: how its thread is to be called."""
        return call_pool(1, name)

    def _in_background(self, call: Callable[[], None]) -> None:
        """Make a call that waits for jobs and job stores, beside all else. Raises ``RuntimeError`` when it cannot be made."""
        # A daemon, because it is the exit hook that waits for it, unless it was told not to.
        threading.Thread(target=call, name="schedcore-closing", daemon=True).start()

    def _wait_closed(self) -> None:
        """At the end of the program: wait until all is closed."""
        self._closed.wait()

    def _placed(self, store: JobStore) -> JobStore:
        """A job store as it is to be called, where not every thread may do so. Asked before it is opened, at each start."""
        return store

    def _shut_store(self, alias: str, shut: Callable[[], None]) -> None:
        """Let go of a job store that was removed, where that may wait."""
        shut()

    def _close_store(self, alias: str, store: JobStore, close: Callable[[], None]) -> None:
        """Write the last into a job store and close it. Called where ``_in_background`` calls."""
        close()

    def _may_open_here(self, store: JobStore) -> bool:
        """Whether a job store that is added may be opened in the calling thread."""
        return True

    def _create_default_executor(self) -> BaseExecutor:
        """The executor under the alias ``default`` when none was given."""
        from schedcore.executors.pool import ThreadPoolExecutor

        return ThreadPoolExecutor()

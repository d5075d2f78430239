"""Where code runs: in the hub, in a greenlet, in a real thread; and how the first two have something done by the third.

``threading`` is of no use for this. Where gevent has replaced its contents, "the current thread" is a greenlet. What is asked for
here are the threads of the operating system, whatever has been replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from time import monotonic
from typing import Any

import gevent
from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.hub import MAIN_THREAD_IDENT, Hub, getcurrent  # type: ignore[attr-defined]
from gevent.threadpool import ThreadPool

from schedcore.errors import SchedulerStartError

__all__ = [
    "Gate",
    "allocate_lock",
    "hub_here",
    "in_thread",
    "is_alive",
    "is_patched",
    "is_running",
    "is_thread_of",
    "may_wait",
    "outcome_of",
    "sleep_in_thread",
    "start_thread",
    "thread_ident",
]

thread_ident: Callable[[], int] = monkey.get_original("_thread", "get_ident")
sleep_in_thread: Callable[[float], None] = monkey.get_original("time", "sleep")
allocate_lock: Callable[[], Any] = monkey.get_original("_thread", "allocate_lock")
start_thread: Callable[..., int] = monkey.get_original("_thread", "start_new_thread")
# Seconds. How often a real thread that waits for the hub looks whether that is still there.
_LOOK_S = 1.0


def is_patched(*modules: str) -> bool:
    """Whether the standard library's threads and locks are gevent's, or what is in any of these modules."""
    return any(monkey.is_module_patched(module) for module in modules or ("threading",))


def hub_here(who: str) -> Hub:
    """The hub of the calling thread. Raises ``SchedulerStartError`` in a thread in which no hub runs."""
    if get_hub_if_exists() is None and thread_ident() != MAIN_THREAD_IDENT:
        raise SchedulerStartError(
            f"{who} lives on a gevent hub, and there is none in this thread; call start() in a greenlet, in the main thread, "
            f"or in a thread that has made its own hub (gevent.get_hub()) and goes on to serve it"
        )
    return gevent.get_hub()


def is_thread_of(hub: Hub) -> bool:
    """Whether the calling thread is the one in which this hub runs."""
    return thread_ident() == hub.thread_ident


def may_wait(hub: Hub) -> bool:
    """Whether the caller is a greenlet of this hub, so that it may wait while others run. The hub itself may not."""
    return is_thread_of(hub) and getcurrent() is not hub


def is_alive(hub: Hub) -> bool:
    """Whether a hub can still call back: it was not destroyed."""
    return hub.loop is not None


def is_running(hub: Hub) -> bool:
    """Whether a hub is alive, and so is its thread."""
    # The hub's parent is the greenlet in which its thread began; that is dead when the thread has ended. Not by looking at the
    # frames of all threads: in Python 3.11 that hangs the program when the garbage collector comes by in the middle of it.
    return is_alive(hub) and hub.parent is not None and not hub.parent.dead


def in_thread(pool: ThreadPool, call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Make a call in a real thread of a pool, in the context of the caller, who waits while other greenlets run.

    Returns (what it returned, None) or (None, what it raised).
    """
    try:
        outcome: tuple[Any, BaseException | None] = pool.apply(outcome_of(call))
    except Exception as error:  # noqa: BLE001  # no thread is to be had
        return None, error
    return outcome


def outcome_of(call: Callable[[], Any]) -> Callable[[], tuple[Any, BaseException | None]]:
    """Makes a call elsewhere, in the context of whoever asks for it now. Returns (what it returned, None) or (None, what it
    raised).
    """
    run = copy_context().run

    def make() -> tuple[Any, BaseException | None]:
        try:
            return run(call), None
        # All there is: whatever leaves a thread of the pool is printed, and a SystemExit ends the program, which is the
        # caller's to decide.
        except BaseException as error:  # noqa: BLE001
            return None, error

    return make


class Gate:
    """Opened once, in the hub's thread; waited for by one greenlet of the hub, or one real thread: whoever makes it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._event: Event | None = None
        self._lock: Any = None
        if is_alive(hub) and is_thread_of(hub):
            self._event = Event()
        else:
            self._lock = allocate_lock()
            self._lock.acquire()
        self._open = False

    def open(self) -> None:
        """Let the waiting one go on. Hub's thread; twice is harmless."""
        if self._open:
            return
        self._open = True
        if self._event is not None:
            self._event.set()
        else:
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait; False when ``timeout`` s ran out, the hub is gone, or the caller is the hub, which cannot wait."""
        if self._event is not None:
            return self._event.wait(timeout) if getcurrent() is not self._hub else self._open
        end_s = None if timeout is None else monotonic() + timeout
        while is_running(self._hub):
            left_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - monotonic())
            if left_s <= 0:
                return self._open
            if self._lock.acquire(timeout=left_s):
                return True
        return self._open

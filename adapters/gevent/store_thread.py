"""Where a job store lives in a program that gevent has patched: in a real thread of its own, in which a hub runs.

A patched socket belongs to the hub of the thread that has opened it, and no other thread can wait for it; so do patched locks,
and so do the "threads" that a store or its driver starts, which only go on while that hub runs. So a store is opened, called
and closed by one thread, whichever greenlet or thread asks: it waits there for its server as greenlets do, and in between for the
next call, while what renews the store's lease has its turns.

Whoever asks waits as threads do, because the answer does not depend on anything in its own thread.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from inspect import getmembers, isfunction
from typing import Any, cast

import gevent
from gevent.event import Event

from schedcore.adapters.gevent.places import allocate_lock, is_patched, outcome_of, start_thread, thread_ident
from schedcore.errors import SchedulerNotRunningError
from schedcore.jobstores.base import JobStore, StoreHost

__all__ = ["in_store_thread", "placed"]

# Seconds. How long whoever ends such a thread waits for it: it has nothing to do any more.
_END_S = 2.0
# Those of a store's methods that do no I/O are made where they are called.
_CALLS = {name for name, _ in getmembers(JobStore, isfunction) if not name.startswith("_")} - {"awaited_here", "check"}

_logger = logging.getLogger("schedcore.jobstores")
_idents: set[int] = set()


def in_store_thread() -> bool:
    """Whether the calling thread is one in which a job store lives."""
    return thread_ident() in _idents


def placed(store: JobStore) -> JobStore:
    """The store as it is to be called from any thread, as long as it is open."""
    if isinstance(store, _Placed):
        store = store.store
    # Greenlets that wait in a store that does no I/O wait for a moment.
    return cast("JobStore", _Placed(store)) if store.traits.blocking and is_patched("threading", "socket") else store


class _Placed:
    """A job store that is called in a thread of its own from ``start`` to ``shutdown``."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.traits = store.traits
        self._thread: _HubThread | None = None

    def start(self, scheduler: StoreHost, alias: str) -> None:
        self._thread = thread = _HubThread()
        try:
            thread.call(partial(self.store.start, scheduler, alias))
        except BaseException:
            self._let_go()
            raise

    def shutdown(self) -> None:
        try:
            self._call(self.store.shutdown)
        finally:
            self._let_go()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        return partial(self._call, found) if name in _CALLS else found

    def __repr__(self) -> str:
        return repr(self.store)

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        thread = self._thread
        # One that is not open says so itself.
        return method(*args, **kwargs) if thread is None else thread.call(partial(method, *args, **kwargs))

    def _let_go(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.end()


class _HubThread:
    """A real thread with a hub that runs whenever nothing else does there. Makes one call after the other."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = allocate_lock()
        self._ending = False
        self._ident: int | None = None
        self._bell: Any = None
        self._failure: BaseException | None = None
        begun = allocate_lock()
        begun.acquire()
        self._over = allocate_lock()
        self._over.acquire()
        start_thread(self._live, (begun,))
        begun.acquire()
        if self._failure is not None:
            raise self._failure

    def call(self, call: Callable[[], Any]) -> Any:
        """Make a call there and wait for it; returns what it returns, raises what it raises. From any thread.

        Raises ``SchedulerNotRunningError`` when the thread was ended.
        """
        if thread_ident() == self._ident:
            return call()
        outcomes: list[tuple[Any, BaseException | None]] = []
        made = allocate_lock()
        made.acquire()
        outcome = outcome_of(call)

        def make() -> None:
            outcomes.append(outcome())
            made.release()

        with self._lock:
            if self._ending:
                raise SchedulerNotRunningError()
            self._calls.append(make)
            self._bell.send()
        made.acquire()
        value, error = outcomes.pop()
        if error is not None:
            raise error
        return value

    def end(self) -> None:
        """End the thread when it has made the calls that it was asked for. Once."""
        with self._lock:
            self._ending = True
            self._bell.send()
        if thread_ident() != self._ident:
            self._over.acquire(timeout=_END_S)

    def _live(self, begun: Any) -> None:
        try:
            hub = gevent.get_hub()
            asked = Event()
            self._bell = hub.loop.async_()
            self._bell.start(asked.set)
            self._ident = thread_ident()
            _idents.add(self._ident)
        except BaseException as error:  # noqa: BLE001  # whoever waits for it raises it
            self._failure = error
            return
        finally:
            begun.release()
        while self._calls or not self._ending:
            try:
                asked.wait()
            except BaseException:
                # What gevent throws here is how a greenlet of the driver's ended, such as a SystemExit.
                _logger.exception("in the thread of a job store")
            asked.clear()
            while self._calls:
                self._calls.popleft()()
        self._bell.stop()
        self._bell.close()
        _idents.discard(self._ident)
        hub.destroy(destroy_loop=True)
        self._over.release()

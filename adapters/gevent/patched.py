"""What is different in a program that gevent has patched: a "thread" of the standard library is a greenlet there, and so are the
locks of a job store gevent's.

A greenlet lives in the hub of whichever thread has started it. So whatever of the scheduler is to run on its own is started in
the scheduler's hub. Real threads take turns at the job stores, by locks of their own kind.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Any, TypeVar

from gevent import spawn

from schedcore import plugins
from schedcore.adapters.gevent._hub import HubScheduler
from schedcore.adapters.gevent.places import allocate_lock, is_patched, is_running, sleep_in_thread, thread_ident
from schedcore.schedulers.loop import Teller, close
from schedcore.wakeup import MAX_WAIT_S

__all__ = ["GreenletTeller", "PatchedScheduler", "Turns", "import_early"]

T = TypeVar("T")


def import_early() -> None:
    """The import system's locks are gevent's, too: what threads would import first is imported now."""
    for alias in ("date", "interval", "cron", "calendarinterval", "and"):
        plugins.load(plugins.TRIGGERS, alias)


class Turns:
    """One real thread at a time in each job store: of real threads that wait for a lock of gevent's some wait for ever."""

    def __init__(self) -> None:
        self._stores: dict[str, Any] = {}
        self._threads: set[int] = set()

    def make(self, call: Callable[[], T], stores: Iterable[str]) -> T:
        """Make a call when no other thread is in these stores. In a real thread that runs no hub, because it may wait."""
        ident = thread_ident()
        if ident in self._threads:
            # It has its turn, and what it calls (a user's trigger) calls the scheduler.
            return call()
        self._threads.add(ident)
        try:
            with ExitStack() as held:
                # All take them in one order, so that no two wait for each other.
                for alias in sorted(stores):
                    held.enter_context(self._stores.setdefault(alias, allocate_lock()))
                return call()
        finally:
            self._threads.discard(ident)


class GreenletTeller:
    """Calls listeners in a greenlet that lives in the scheduler's hub, whoever asks for it."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], bool], name: str) -> None:
        self._call_soon = call_soon
        self._name = name
        self._calls: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, items: Sequence[Callable[[], None]]) -> None:
        if self._closed:
            raise RuntimeError("it was closed")
        self._calls.extend(items)
        self._call_soon(self._begin)

    def _begin(self) -> None:
        if self._thread is None and self._calls:
            self._thread = threading.Thread(target=self._tell, name=self._name, daemon=True)
            self._thread.start()

    def _tell(self) -> None:
        try:
            while self._calls:
                self._calls.popleft()()
        finally:
            self._thread = None
            if self._calls:
                self._call_soon(self._begin)

    def close(self) -> None:
        self._closed = True

    def join(self, timeout: float | None = None) -> bool:
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return not self._calls


class PatchedScheduler(HubScheduler):
    """What the scheduler does in another way where its program is patched."""

    def _wait_until_open(self) -> None:
        if not is_patched():
            super()._wait_until_open()
            return
        # What it would wait for is gevent's, and this is a real thread.
        end_s = monotonic() + MAX_WAIT_S
        while self.running and self._is_opening(None) and monotonic() < end_s:
            sleep_in_thread(0.002)

    def _after_orders(self, call: Callable[[], Any]) -> Any:
        # Patched, each call of the scheduler's takes its turn, and sees to it itself.
        return call() if is_patched() else super()._after_orders(call)

    def _must_not_listen(self) -> bool:
        # Patched, listeners belong in a greenlet of the hub: real threads may use next to nothing of what they are made with.
        return self._on_loop() or is_patched()

    def _make_teller(self, name: str) -> Teller:
        return GreenletTeller(self._call_soon, name) if is_patched() else super()._make_teller(name)

    def _in_background(self, call: Callable[[], None]) -> None:
        def begin() -> None:
            spawn(call)

        if not is_patched():
            super()._in_background(call)
        elif not self._call_soon(begin):
            call()

    def _close_after_hub(self) -> None:
        """Patched, the closing is a greenlet of the hub's, and may have gone with it: then it is made here."""
        hub = self._hub
        if is_patched() and not self._closed.is_set() and hub is not None and not is_running(hub):
            self._closing_id = None
            close(self, False, None)

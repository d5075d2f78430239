"""What is different in a program that gevent has patched: a "thread" of the standard library is a greenlet there, and so are the
locks of a job store gevent's.

A greenlet lives in the hub of whichever thread has started it. So whatever of the scheduler is to run on its own is started in
the scheduler's hub, and a real thread has its calls made by a greenlet there.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from typing import Any

from gevent.hub import Hub
from gevent.lock import Semaphore

from schedcore import plugins
from schedcore.adapters.gevent.places import Gate, in_thread, thread_ident

__all__ = ["GreenletTeller", "Turns", "import_early", "made_in_greenlet"]


def import_early() -> None:
    """The import system's locks are gevent's, too: what threads would import first is imported now."""
    for alias in ("date", "interval", "cron", "calendarinterval", "and"):
        plugins.load(plugins.TRIGGERS, alias)


class Turns:
    """One call at a time in each job store: of real threads that wait for a lock of gevent's some wait for ever."""

    def __init__(self) -> None:
        self._stores: dict[str, Semaphore] = {}
        self._threads: set[int] = set()

    def has_here(self) -> bool:
        """Whether the calling thread makes a call that has its turn."""
        return thread_ident() in self._threads

    def make(
        self, hub: Hub, run: Callable[[Callable[[], Any]], Any], call: Callable[[], Any], stores: Iterable[str]
    ) -> tuple[Any, BaseException | None]:
        """Make a call in a real thread, by ``run``, when no other is in these stores; gives what it returns, or raises."""

        def made() -> Any:
            self._threads.add(ident := thread_ident())
            try:
                return run(call)
            finally:
                self._threads.discard(ident)

        with ExitStack() as held:
            for alias in stores:
                held.enter_context(self._stores.setdefault(alias, Semaphore()))
            return in_thread(hub.threadpool, made)


def made_in_greenlet(hub: Hub, spawn: Callable[[Callable[[], None]], bool], call: Callable[[], Any]) -> Any:
    """In a real thread: have a greenlet of the hub's make a call, by ``spawn``, and wait for it."""
    gate = Gate(hub)
    outcome: list[tuple[Any, BaseException | None]] = []

    def make() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:  # noqa: BLE001  # it is raised in the thread that asked
            outcome.append((None, error))
        gate.open()

    if not spawn(partial(copy_context().run, make)) or not gate.wait():
        return call()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


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

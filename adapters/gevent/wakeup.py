"""The wakeup on a gevent hub: its timers, its thread-safe callbacks, its thread pool for what blocks.

What it calls, it calls in a greenlet and not in the hub: where gevent has replaced the locks of the standard library, to wait for
one is to switch to the hub, which the hub itself cannot do. There is one such greenlet at a time, and so one callback at a time.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from gevent import spawn_raw
from gevent.hub import Hub, getcurrent
from greenlet import greenlet

from schedcore.adapters.gevent.places import in_thread, is_alive, is_thread_of
from schedcore.wakeup import Done

__all__ = ["GeventWakeup"]


class GeventWakeup:
    """See ``schedcore.wakeup.Wakeup``. ``close`` lets go of the hub, which has something to wait for until then."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._loop = hub.loop
        # Rings from other threads. It also keeps gevent from believing that nothing can come any more ("LoopExit").
        self._bell = self._loop.async_()
        self._bell.start(self._serve_now)
        self._timer: Any = None
        self._armed: Callable[[], None] | None = None
        self._due = False
        self._calls: deque[Callable[[], None]] = deque()
        self._server: Any = None
        self._closed = False

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.disarm()
        self._armed = callback
        if delay_s > 0:
            self._timer = timer = self._loop.timer(delay_s)
            # ``update``: the loop's own idea of what time it is may be as old as the last of its callbacks is long.
            timer.start(self._go_off, update=True)
        else:
            self._timer = self._loop.run_callback(self._go_off)

    def disarm(self) -> None:
        timer, self._timer = self._timer, None
        self._armed = None
        self._due = False
        if timer is not None:
            timer.stop()
            timer.close()

    def call_soon(self, callback: Callable[[], None]) -> None:
        if self._closed or not is_alive(self.hub):
            raise RuntimeError("the gevent hub was destroyed, or the scheduler on it has ended")
        self._calls.append(callback)
        if is_thread_of(self.hub):
            self._serve_soon()
        else:
            self._bell.send()

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        # In a greenlet of its own, because a thread pool that is busy makes whoever brings it work wait.
        spawn_raw(self._run_in_thread, call, done)

    def _run_in_thread(self, call: Callable[[], Any], done: Done) -> None:
        result, error = in_thread(self.hub.threadpool, call)
        if error is not None and not isinstance(error, Exception):
            error = RuntimeError(f"the call ended with {error!r}")
        self._calls.append(partial(done, result, error))
        self._serve_soon()

    def close(self) -> None:
        """Let go of the hub: nothing is called any more. Framework's thread only; may be called twice."""
        if self._closed:
            return
        self.disarm()
        self._closed = True
        self._bell.stop()
        self._bell.close()

    def forget(self) -> None:
        """After a fork, in the child: nothing of this is the child's."""
        self._calls.clear()
        self.close()

    def serves_here(self) -> bool:
        """Whether the caller was called by this wakeup."""
        return getcurrent() is self._server

    def _go_off(self) -> None:
        self._due = True
        self._calls.append(self._call_armed)
        self._serve_now()

    def _call_armed(self) -> None:
        callback = self._armed
        if self._due and callback is not None:
            self.disarm()
            callback()

    def _serve_soon(self) -> None:
        if self._server is None and self._calls:
            self._server = spawn_raw(self._serve)

    def _serve_now(self) -> None:
        # Called by the hub, which goes on when the greenlet waits or ends.
        if self._server is None and self._calls:
            self._server = greenlet(self._serve, self.hub)
            self._server.switch()

    def _serve(self) -> None:
        calls = self._calls
        # As many as there are now: one that makes itself be called again leaves the hub its turn in between.
        for _ in range(len(calls)):
            if not calls:
                break
            callback = calls.popleft()
            try:
                callback()
            # All there is: this greenlet outlives what it calls, and gevent has a way of its own to pass on a Ctrl-C.
            except BaseException:  # noqa: BLE001
                self.hub.handle_error(callback, *sys.exc_info())
        self._server = None
        self._serve_soon()

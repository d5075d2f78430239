"""Threads that drain one queue.

``concurrent.futures`` makes a future, a lock and a condition for each call, and wakes a thread for each; workers that drain a
queue cost a sixth of that (``python -m benchmarks`` shows both). They are started when there is work that no idle one takes,
and end at ``close``. They are daemons, because it is the scheduler's exit hook that waits for them, and for running jobs only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Generic, TypeVar

__all__ = ["WorkerPool"]

T = TypeVar("T")


class _Stop:
    """Tells one worker to end."""


_STOP = _Stop()


class WorkerPool(Generic[T]):
    """Calls ``work(item)`` for each item in one of up to ``max_workers`` threads. ``work`` must not raise.

    ``begin`` and ``end`` are called in each thread when it starts and ends.
    """

    def __init__(
        self,
        max_workers: int,
        work: Callable[[T], None],
        name: str,
        begin: Callable[[], None] | None = None,
        end: Callable[[], None] | None = None,
    ) -> None:
        self._max = max_workers
        self._work = work
        self._name = name
        self._begin = begin
        self._end = end
        self._queue: SimpleQueue[T | _Stop] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    def submit(self, items: Iterable[T]) -> None:
        """Queue items, in order. From any thread. Raises ``RuntimeError`` when closed."""
        put = self._queue.put
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the worker pool {self._name!r} is closed")
            for item in items:
                put(item)
            wanted = self._queue.qsize() - self._idle
            while wanted > 0 and len(self._threads) < self._max:
                thread = threading.Thread(
                    target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
                wanted -= 1

    def withdraw(self) -> list[T]:
        """Take back what no worker has begun."""
        items: list[T] = []
        stops = 0
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if isinstance(item, _Stop):
                stops += 1
            else:
                items.append(item)
        for _ in range(stops):
            self._queue.put(_STOP)
        return items

    def close(self) -> None:
        """Take no more; the workers end when the queue is empty. Twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for _ in self._threads:
                self._queue.put(_STOP)

    def join(self, timeout: float | None = None) -> bool:
        """Wait, after ``close``, until the workers have ended (but for the calling one); False when ``timeout`` s ran out first."""
        deadline = None if timeout is None else monotonic() + timeout
        me = threading.current_thread()
        for thread in list(self._threads):
            if thread is me:
                continue
            thread.join(None if deadline is None else max(0.0, deadline - monotonic()))
            if thread.is_alive():
                return False
        return True

    def _run(self) -> None:
        queue = self._queue
        work = self._work
        if self._begin is not None:
            self._begin()
        try:
            while True:
                try:
                    item = queue.get_nowait()
                except Empty:
                    with self._lock:
                        self._idle += 1
                    item = queue.get()
                    with self._lock:
                        self._idle -= 1
                if isinstance(item, _Stop):
                    return
                work(item)
                # What a job held must not live on while its worker waits for the next.
                del item
        finally:
            if self._end is not None:
                self._end()

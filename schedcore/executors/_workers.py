"""Threads that drain one queue.

``concurrent.futures`` makes a future, a lock and a condition for each call, and wakes a thread for each; workers that
drain a queue cost a sixth of that (``python -m benchmarks`` shows both). They end at ``close``. They are daemons,
because it is the scheduler's exit hook that waits for them, and for running jobs only.

*Who starts whom.* Each item is to have a worker, as far as there may be so many. Starting a thread takes a while when others
hold the interpreter: the new one has to get it, and then the one that started it. So the worker that takes the first item starts
none. Whoever submits, which is the scheduler's loop, starts one if there is none, and another one if there are more items than
workers; that one does the same before its first item, and so on.

*What is live.* Items are kept by number from ``submit`` until their worker is ready for another; the queue holds the numbers. So
it is known at any time, whatever a worker is just about to do, whether there are more items than workers. From the moment before
an item is reported something else is in its place: ``live`` is exact too, and no item can be reported twice.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from queue import Empty
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["ThreadMaker", "Worker", "WorkerPool", "daemon_thread"]

_logger = logging.getLogger("schedcore.executors")

T = TypeVar("T")
R = TypeVar("R")

# In the place of an item that is being reported.
_OVER: Any = object()


class Worker(Protocol):
    """A thread that makes one call and ends."""

    def start(self) -> None:
        """Make the call. Raises ``RuntimeError`` when the system has no thread to give."""

    def join(self) -> None:
        """Return when the thread has ended; the call has been made by then."""

    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""


#: Gives a thread that is to make a call, under a name, and was not started.
ThreadMaker = Callable[[Callable[[], None], str], Worker]


def daemon_thread(call: Callable[[], None], name: str) -> Worker:
    """Python's own."""
    return threading.Thread(target=call, name=name, daemon=True)


class WorkerPool(Generic[T, R]):
    """Calls ``report(work(item))`` for each item, in one of up to ``max_workers`` threads.

    ``begin`` is called in each thread before its first item, and again before the next one as long as it raises;
    ``end`` when the thread ends. ``refuse(item, error)`` gives the result of an item for which ``begin`` or ``work``
    raised. Whatever any of them raises, the worker goes on. ``between`` is called in the thread after each item, and raises
    nothing. ``make_thread``: for threads that are not Python's own.
    """

    def __init__(
        self,
        max_workers: int,
        work: Callable[[T], R],
        report: Callable[[R], None],
        refuse: Callable[[T, BaseException], R],
        name: str,
        begin: Callable[[], object] | None = None,
        end: Callable[[], object] | None = None,
        make_thread: ThreadMaker = daemon_thread,
        between: Callable[[], object] | None = None,
    ) -> None:
        self._max = max_workers
        self._work = work
        self._report = report
        self._refuse = refuse
        self._name = name
        self._begin = begin
        self._end = end
        self._make_thread = make_thread
        self._between = between
        self._here = threading.local()  # .worker: which of the workers the calling thread is
        # The numbers of the items that wait; None tells one worker to end.
        # By its module: gevent, where it replaces threads, replaces this along with them.
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._live: dict[int, T] = {}
        self._next = 0
        # Reentrant for signal handlers: one may close the pool in the midst of a ``submit``.
        self._lock = threading.RLock()
        self._ended = threading.Condition(self._lock)  # a worker has ended, or waits for the others
        self._threads: list[Worker] = []  # all that were started
        self._active: set[Worker] = set()  # those that have not ended
        self._waiting: set[Worker] = set()  # workers whose item called ``join``
        self._stops = 0  # None entries put and not yet obeyed
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def live(self) -> list[T]:
        """The items that were taken and are not over, in order of submission. From any thread."""
        return [item for item in self._live.copy().values() if item is not _OVER]

    def submit(self, items: Sequence[T]) -> None:
        """Queue items, in order.

        From any thread. Raises ``RuntimeError``, and has taken none, when closed or without any thread.
        """
        put = self._queue.put
        count = len(items)
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the worker pool {self._name!r} is closed")
            first = self._next
            self._next = first + count
            numbers = range(first, first + count)
            self._live.update(zip(numbers, items, strict=True))
            if not items or self._active:
                for number in numbers:
                    put(number)
                self._reinforce()
                return
            with ExitStack() as undo:
                undo.callback(self._forget, numbers)
                self._start_worker()
                # As long as nobody has anything to do, which would keep this thread waiting for the interpreter.
                self._reinforce()
                undo.pop_all()
            for number in numbers:
                put(number)

    def _forget(self, numbers: range) -> None:
        for number in numbers:
            del self._live[number]

    def withdraw(self) -> list[T]:
        """Take back what no worker has begun, in order."""
        items: list[T] = []
        stops = 0
        while True:
            try:
                number = self._queue.get_nowait()
            except Empty:
                break
            if number is None:
                stops += 1
            else:
                items.append(self._live.pop(number))
        for _ in range(stops):
            self._queue.put(None)
        return items

    def close(self) -> None:
        """Take no more; the workers end when the queue is empty. Twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for _ in self._active:
                self._stop_one()

    def join(self, timeout: float | None = None) -> bool:
        """Wait, after ``close``, until the workers have ended; False when ``timeout`` s ran out first.

        A worker whose item calls this does not wait for itself, nor for another that waits in here too. Another one is
        started in its place if anything is queued, so that what was taken is carried out before it returns.
        """
        deadline = None if timeout is None else monotonic() + timeout
        me: Worker | None = getattr(self._here, "worker", None)
        with self._ended:
            inside = me is not None and me in self._active
            if inside and me is not None:
                self._waiting.add(me)
                self._ended.notify_all()
                if len(self._live) > len(self._active):
                    self._start_worker()
            try:
                while self._active.difference(self._waiting if inside else ()):
                    left_s = None if deadline is None else deadline - monotonic()
                    if left_s is not None and left_s <= 0:
                        return False
                    self._ended.wait(left_s)
            finally:
                if me is not None:
                    self._waiting.discard(me)
            over = [thread for thread in self._threads if thread not in self._active]
        for thread in over:
            thread.join()  # it has nothing left to do but to end
        return True

    def _stop_one(self) -> None:
        self._stops += 1
        self._queue.put(None)

    def _start_worker(self) -> None:
        """Called with the lock held."""
        is_first = not self._active
        # Whether it is a worker is settled by whoever asks first: the thread as it begins, or this one where it could not be
        # started. (Ctrl-C may come when it was.)
        settle = threading.Lock().acquire

        def run() -> None:
            if settle(blocking=False):
                self._run(thread, is_first)

        thread: Worker = self._make_thread(run, f"{self._name}-{len(self._threads)}")
        try:
            self._threads.append(thread)
            self._active.add(thread)
            thread.start()
        except BaseException:
            if settle(blocking=False):
                self._threads.remove(thread)
                self._active.discard(thread)
            elif self._closed:
                self._stop_one()
            raise
        if self._closed:
            self._stop_one()

    def _reinforce(self) -> None:
        """Start a worker if there are more items than workers. Called with the lock held."""
        if len(self._active) < len(self._live) and len(self._threads) < self._max:
            try:
                self._start_worker()
            except RuntimeError as error:  # those that there are go on
                # While a program ends Python 3.12 and later give no more threads, which is nobody's fault.
                level = logging.DEBUG if "interpreter shutdown" in str(error) else logging.ERROR
                text = "%s goes on with %d of %d threads: %s"
                _logger.log(level, text, self._name, len(self._threads), self._max, error)

    def _run(self, worker: Worker, is_first: bool) -> None:
        self._here.worker = worker
        try:
            if not is_first:
                with self._lock:
                    self._reinforce()
            self._drain()
        finally:
            if self._end is not None:
                try:
                    self._end()
                except Exception:
                    _logger.exception("%s: a worker did not end well", self._name)
            with self._ended:
                self._active.discard(worker)
                self._ended.notify_all()

    def _drain(self) -> None:
        numbers, live = self._queue, self._live
        work, report = self._work, self._report
        between = self._between
        ready = self._begin is None
        while True:
            number = numbers.get()
            if number is None:
                with self._lock:
                    if self._queue.qsize() >= self._stops:
                        numbers.put(None)  # a signal handler closed the pool before all was queued
                        continue
                    self._stops -= 1
                return
            item = live[number]
            try:
                if not ready:
                    assert self._begin is not None
                    self._begin()
                    ready = True
                result = work(item)
            # All there is, and not Exception alone: work is a user's code. What it raises to end the thread it runs in (sys.exit,
            # a framework's own way to cancel) would take with it a worker that others queue for. None of it is lost: it is
            # what becomes of the item.
            except BaseException as error:  # noqa: BLE001
                result = self._refuse(item, error)
            live[number] = _OVER
            try:
                report(result)
            except Exception:
                _logger.exception("%s: a result could not be reported", self._name)
            # What a job held must not live on while its worker waits for the next.
            del item, result
            if between is not None:
                between()
            del live[number]

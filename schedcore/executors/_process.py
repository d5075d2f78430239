"""The process pool: the threads of a worker pool, each with one child process of its own.

``concurrent.futures.ProcessPoolExecutor`` was considered. All its children share two queues, so that one child that
dies may have left a lock held or half a message behind, and every run that is under way or queued fails with it; nor
can one run be ended. Here a child has a pipe of its own: its death concerns the one run that it had in hand, and its
worker starts another at the next run.

*A worker's turn.* It takes a run, pickles callable and arguments, starts its child if it has none, sends, and waits for
two things at once: the next message, and the end of the process (a pidfd on Linux, because a process that the job has
left behind may hold the pipe open). A child that was idle may turn out to be dead when it is needed: if it had not
begun, the run is given to a fresh one, once; a fresh one that dies has made its run fail.

*Ends.* Children that still run when ``shutdown`` loses patience are terminated, and killed after ``KILL_GRACE_S``.

One child's start, pipe and end are in ``_children``; what goes through the pipe is in ``_messages``, and what runs at its other
end in ``_child``.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing import get_all_start_methods, get_context, process, resource_tracker
from multiprocessing.context import BaseContext
from typing import Any

from schedcore.errors import ConfigurationError, FailureError, SchedulerStartError
from schedcore.executors import _child, _children
from schedcore.executors._messages import RemoteError, dump_parts, dump_run, load_failure, returned
from schedcore.executors._workers import WorkerPool
from schedcore.executors.base import ExecutorHost, failed
from schedcore.executors.pool import InitializerError, RunPool, WorkerPoolExecutor, whole_number
from schedcore.locks import ShortLock
from schedcore.run import Finish, Run, RunState

__all__ = ["ProcessDiedError", "ProcessPoolExecutor", "RemoteError"]


class ProcessDiedError(FailureError):
    """The process that ran the job ended in the middle of it. ``exit_code`` is negative for the signal that killed it."""

    def __init__(self, pid: int | None, exit_code: int | None, began: bool) -> None:
        when = "in the middle of the job" if began else "before the job began"
        super().__init__(f"the process (pid {pid}) {_describe_exit(exit_code)} {when}{_hint(exit_code, began)}")
        self.pid = pid
        self.exit_code = exit_code
        self.began = began


def _describe_exit(exit_code: int | None) -> str:
    if exit_code is None:
        return "ended, how is not known,"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"


def _hint(exit_code: int | None, began: bool) -> str:
    if exit_code is not None and exit_code == -getattr(signal, "SIGKILL", 0):
        return " (the system does this when memory runs out)"
    if not began:
        return '; what it wrote to stderr says why (is the program\'s start guarded by if __name__ == "__main__"?)'
    return ""


class _DiedError(Exception):
    """The child ended before it gave the outcome. ``started_us`` is None when the job had not begun."""

    def __init__(self, started_us: int | None) -> None:
        super().__init__()
        self.started_us = started_us


class _Seat:
    """What one worker has: its child, and the run in hand.

    ``cut``: that run is to end now. Guarded by the executor's lock.
    """

    __slots__ = ("child", "cut", "run")

    def __init__(self) -> None:
        self.child: _children.Child | None = None
        self.run: Run | None = None
        self.cut = False


class ProcessPoolExecutor(WorkerPoolExecutor):
    """Runs jobs in child processes, ``max_workers`` at a time. A coroutine job is run to its end there.

    Callable, arguments, result and exception travel pickled; what cannot makes the run fail and says what it was. A
    child that dies fails the run it had in hand, and no other. In the child ``current_run`` has the run's identity; its
    job's trigger knows the fire time of this run alone, and its token is None.

    ``pool_kwargs``: ``mp_context`` (a context or its name; default ``"spawn"``), ``max_tasks_per_child``,
    ``initializer`` (called in each child before its first run; one that raises fails that run only) and its
    ``initargs``.
    """

    _OPTIONS = ("initargs", "initializer", "max_tasks_per_child", "mp_context")
    _KIND = "process pool"

    def __init__(self, max_workers: int = 10, pool_kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__(max_workers, pool_kwargs)
        self._context = _context_of(self._options.get("mp_context"))
        limit = self._options.get("max_tasks_per_child")
        self._max_tasks = None if limit is None else whole_number("max_tasks_per_child", limit)
        self._pickled_initializer: bytes | None = None
        if self._initializer is not None:
            self._pickled_initializer = dump_parts("initializer", self._initializer, None, self._initargs, {})
        self._crew: _Crew | None = None

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        # A child imports the main module again. One that starts a scheduler whenever it is imported would make each child a
        # second scheduler; multiprocessing would object in our worker, where it stops nobody.
        if getattr(process.current_process(), "_inheriting", False):
            raise SchedulerStartError(
                "a child process of a process pool is importing the program's main module, which started a scheduler again; "
                'put what starts it under: if __name__ == "__main__":'
            )
        super().start(scheduler, alias)

    def _make_pool(self, host: ExecutorHost, name: str) -> RunPool:
        self._crew = crew = _Crew(self, host, name)
        return WorkerPool(
            self._max_workers,
            crew.work,
            crew.report,
            lambda run, error: failed(run, None, host.clock.wall_us(), error),
            name,
            begin=crew.begin,
            end=crew.end,
        )

    def _cut_begun(self, pool: RunPool) -> list[Run]:
        return [] if self._crew is None else self._crew.cut(pool.join)

    def pid_of(self, run: Run) -> int | None:
        """The process that carries out ``run`` now; None when none does."""
        return None if self._crew is None else self._crew.pid_of(run)

    def kill(self, run: Run) -> bool:
        """Kill the process that carries out ``run``, which is reported ``CANCELLED``. False when it is queued or over."""
        return self._crew is not None and self._crew.kill(run)


class _Crew:
    """The workers of one start of the executor, and their children."""

    def __init__(self, executor: ProcessPoolExecutor, host: ExecutorHost, name: str) -> None:
        self._context = executor._context
        self._initializer = executor._pickled_initializer
        self._max_tasks = executor._max_tasks
        self._alias = executor._alias
        self._logger = executor._logger
        self._host = host
        self._name = name
        self._lock = ShortLock()
        self._seats: dict[int, _Seat] = {}  # by thread id
        self._stopping = False
        self._cancelled: list[Run] = []  # since then

    # --- in the workers ---

    def begin(self) -> None:
        with self._lock:
            self._seats[threading.get_ident()] = _Seat()

    def end(self) -> None:
        with self._lock:
            seat = self._seats.get(threading.get_ident())
        if seat is not None and seat.child is not None:
            seat.child.end()
        with self._lock:
            self._seats.pop(threading.get_ident(), None)

    def report(self, finish: Finish) -> None:
        self._host.run_finished(finish)
        seat = self._seats[threading.get_ident()]
        if self._max_tasks is not None and seat.child is not None and seat.child.served >= self._max_tasks:
            self._dismiss(seat)

    def work(self, run: Run) -> Finish:
        host = self._host
        seat = self._seats[threading.get_ident()]
        try:
            message = dump_run(run)
        except Exception as error:  # noqa: BLE001 (it is the run's outcome)
            return failed(run, None, host.clock.wall_us(), error)
        with self._lock:
            stopping = self._stopping
            seat.run = None if stopping else run
            seat.cut = False
        if stopping:
            return self._cancel(run, None)
        tried = False
        try:
            while True:
                fresh = self._seat_child(seat)
                try:
                    return self._exchange(run, seat, message)
                except _DiedError as death:
                    assert seat.child is not None
                    pid = seat.child.pid
                    exit_code = self._dismiss(seat)
                    if seat.cut:
                        return self._cancel(run, death.started_us)
                    if death.started_us is not None or (fresh and (tried or not self._may_be_ctrl_c(exit_code))):
                        died = ProcessDiedError(pid, exit_code, began=death.started_us is not None)
                        return failed(run, death.started_us, host.clock.wall_us(), died)
                    tried = fresh
        finally:
            with self._lock:
                seat.run = None

    def _may_be_ctrl_c(self, exit_code: int | None) -> bool:
        """Whether Ctrl-C may have ended a child that was just starting: one of a fork server, as an error would."""
        return exit_code == 1 and self._context.get_start_method() == "forkserver"

    def _cancel(self, run: Run, started_us: int | None) -> Finish:
        if self._stopping:
            self._cancelled.append(run)
        return Finish(run, RunState.CANCELLED, started_us, self._host.clock.wall_us())

    def _seat_child(self, seat: _Seat) -> bool:
        """See to it that the worker has a living child; whether it is a fresh one."""
        if seat.child is not None:
            if seat.child.alive():
                return False
            self._dismiss(seat)
        method = self._context.get_start_method()
        # A fork server would keep the block for ever, and hand it on to the program's other children; so its are not shielded.
        if sys.platform != "win32" and method != "forkserver":
            # The first child of a program starts multiprocessing's tracker too, and that lifts the signal's block.
            if method != "fork":
                resource_tracker.ensure_running()
            # Children start with the mask of the thread that starts them; theirs is lifted when they ignore the signal.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        child = _children.Child(self._context, self._initializer, f"{self._name}-child")
        with self._lock:
            seat.child = child
            cut = seat.cut
        if cut:  # it was started while the others were stopped
            child.stop(hard=True)
        return True

    def _dismiss(self, seat: _Seat) -> int | None:
        child = seat.child
        assert child is not None
        with self._lock:
            seat.child = None
        return child.end()

    def _exchange(self, run: Run, seat: _Seat, message: bytes) -> Finish:
        child, clock = seat.child, self._host.clock
        assert child is not None
        self._host.run_sent(run)
        child.send(message)
        child.served += 1
        started_us: int | None = None
        while True:
            answer = child.receive()
            if answer is None:
                raise _DiedError(started_us)
            kind = answer[:1]
            if kind == _child.STARTED:
                self._host.run_started(run)
                started_us = clock.wall_us()
            elif kind == _child.RETURNED:
                return returned(run, started_us, clock.wall_us(), answer)
            elif kind == _child.RAISED:
                exception, text = load_failure(answer)
                return Finish(run, RunState.FAILED, started_us, clock.wall_us(), None, exception, text)
            else:
                exception, text = load_failure(answer)
                self._logger.error("the initializer of a child process raised; the run it was for fails\n%s", text)
                self._dismiss(seat)
                error = InitializerError(f"the initializer of executor {self._alias!r} raised {exception!r}")
                error.__cause__ = exception
                return Finish(run, RunState.FAILED, None, clock.wall_us(), None, error, text)

    # --- from any thread ---

    def pid_of(self, run: Run) -> int | None:
        with self._lock:
            for seat in self._seats.values():
                if seat.run is run:
                    return None if seat.child is None else seat.child.pid
        return None

    def kill(self, run: Run) -> bool:
        with self._lock:
            seat = next((seat for seat in self._seats.values() if seat.run is run), None)
            if seat is None:
                return False
            seat.cut = True
            child = seat.child
        if child is not None:
            child.stop(hard=True)
        return True

    def cut(self, join: Callable[[float | None], bool]) -> list[Run]:
        """End everything now. Returns the runs that did not get to their end."""
        with self._lock:
            self._stopping = True
            for seat in self._seats.values():
                seat.cut = seat.run is not None
        for hard in (False, True):
            with self._lock:
                children = [seat.child for seat in self._seats.values() if seat.child is not None]
            for child in children:
                child.stop(hard)
            if join(_children.KILL_GRACE_S if not hard else _children.EXIT_GRACE_S):
                break
        return list(self._cancelled)


def _context_of(given: object) -> BaseContext:
    if given is None:
        return get_context("spawn")
    if isinstance(given, BaseContext):
        return given
    known = get_all_start_methods()
    if isinstance(given, str) and given in known:
        return get_context(given)
    raise ConfigurationError(
        f"mp_context must be a multiprocessing context or one of {', '.join(known)}, not {given!r}"
    )

"""The process pool: the threads of a worker pool, each with one child process of its own.

``concurrent.futures.ProcessPoolExecutor`` was considered. All its children share two queues, so that one child that
dies may have left a lock held or half a message behind, and every run that is under way or queued fails with it; nor
can one run be ended. Here a child has a pipe of its own: its death concerns the one run that it had in hand, and its
worker starts another at the next run.

*A worker's turn.* It takes a run, pickles callable and arguments, starts its child if it has none, sends, and waits for
two things at once: the next message, and the end of the process (a pidfd on Linux, because a process that the job has
left behind may hold the pipe open). A child that was idle may turn out to be dead when it is needed: if it had not
begun, the run is given to a fresh one, once; a fresh one that dies has made its run fail.

*Ends.* A child ends when its pipe closes. One that does not, within ``EXIT_GRACE_S``, is terminated, then killed.
Children that still run when ``shutdown`` loses patience are terminated, and killed after ``KILL_GRACE_S``.

*Exit of the program.* Children are not on the list of those that multiprocessing terminates at exit, so the scheduler's exit hook
can wait for the jobs that run. Forked copies of the program forget the children, so that their copies of the pipes do not hide
the end of the parent.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from multiprocessing import connection, get_all_start_methods, get_context, process
from multiprocessing.context import BaseContext
from typing import Any, cast

from schedcore._forks import forget_after_fork
from schedcore.errors import ConfigurationError, FailureError, SchedulerStartError, SerializationError, error_text
from schedcore.executors import _child
from schedcore.executors._child import Failure, Identity, Reference
from schedcore.executors._workers import WorkerPool
from schedcore.executors.base import ExecutorHost, failed
from schedcore.executors.pool import InitializerError, RunPool, WorkerPoolExecutor, whole_number
from schedcore.run import Finish, Run, RunState

__all__ = ["ProcessDiedError", "ProcessPoolExecutor", "RemoteError"]

# Seconds. How long a child that was told to end may take over its exit handlers.
EXIT_GRACE_S = 5.0
# Seconds between SIGTERM and SIGKILL.
KILL_GRACE_S = 1.0


class ProcessDiedError(FailureError):
    """The process that ran the job ended in the middle of it. ``exit_code`` is negative for the signal that killed it."""

    def __init__(self, pid: int | None, exit_code: int | None, began: bool) -> None:
        when = "in the middle of the job" if began else "before the job began"
        super().__init__(f"the process (pid {pid}) {_describe_exit(exit_code)} {when}{_hint(exit_code, began)}")
        self.pid = pid
        self.exit_code = exit_code
        self.began = began

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.pid, self.exit_code, self.began)


class RemoteError(FailureError):
    """Stands for an exception that was raised in a child process and cannot be brought here. ``type_name`` is its class."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.type_name, self.message)


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


class _Child:
    """One child process and the parent's end of its pipe.

    Belongs to one worker; ``stop`` alone may come from another thread.
    """

    def __init__(self, context: BaseContext, initializer: bytes | None, name: str) -> None:
        mine, theirs = context.Pipe()
        self.conn = mine
        self.served = 0
        self._pidfd: int | None = None
        self._gone = False
        self._lock = threading.Lock()  # between signalling it and reaping it: afterwards its number may be another's
        forked = context.get_start_method() == "fork"
        with closing(theirs), ExitStack() as undo:
            undo.callback(mine.close)
            # ``Process`` is there in each kind of context, but not in their base class.
            self.process: process.BaseProcess = cast(Any, context).Process(
                target=_child.main, args=(theirs, mine if forked else None, initializer), name=name, daemon=True
            )
            _children.add(self)
            self.process.start()
            _unlist(self.process)
            undo.pop_all()
        self.pid = self.process.pid
        if sys.platform == "linux" and self.pid is not None:
            try:
                self._pidfd = os.pidfd_open(self.pid)
            except OSError:  # an old kernel, or a sandbox: the pipe that multiprocessing watches has to do
                pass
        self._over: int = self._pidfd if self._pidfd is not None else self.process.sentinel
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(mine.fileno(), select.POLLIN)
            self._poll.register(self._over, select.POLLIN)

    def alive(self) -> bool:
        """Whether it can be given another run."""
        return not self._gone and not self._wait_over(0)

    def receive(self) -> bytes | None:
        """The next message; None when the child has ended."""
        if hasattr(self, "_poll"):
            ready = {fd for fd, _ in self._poll.poll()}
            has_message = self.conn.fileno() in ready
        else:
            has_message = self.conn in connection.wait([self.conn, self._over])
        try:
            if has_message or self.conn.poll():
                return self.conn.recv_bytes()
        except (EOFError, OSError):
            pass
        return None

    def send(self, message: bytes) -> None:
        """Raises nothing: that a child has died shows when its answer is waited for."""
        try:
            self.conn.send_bytes(message)
        except OSError:
            pass

    def stop(self, hard: bool) -> None:
        """Terminate it, or kill it. From any thread."""
        with self._lock:
            if not self._gone:
                if hard:
                    self.process.kill()
                else:
                    self.process.terminate()

    def end(self, grace_s: float = EXIT_GRACE_S) -> int | None:
        """Close the pipe, see that the process ends, and return its exit code."""
        self.conn.close()
        if not self._wait_over(grace_s):
            self.stop(hard=False)
            if not self._wait_over(KILL_GRACE_S):
                self.stop(hard=True)
                self._wait_over(None)
        with self._lock:
            self.process.join()
            # Another thread may be reaping it at this moment, where multiprocessing still has it on its list.
            deadline = time.monotonic() + EXIT_GRACE_S
            while (exit_code := self.process.exitcode) is None and time.monotonic() < deadline:
                time.sleep(0.001)
            self._gone = True
            if exit_code is not None:
                self.process.close()
        self._close_pidfd()
        return exit_code

    def forget(self) -> None:
        """In a forked copy of the program: it is another process's child."""
        self._lock = threading.Lock()
        self._gone = True
        self.conn.close()
        self._close_pidfd()

    def _close_pidfd(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _wait_over(self, timeout: float | None) -> bool:
        return bool(connection.wait([self._over], timeout))


def _unlist(child: process.BaseProcess) -> None:
    """Take a child from the list by which multiprocessing ends children when the program, or a forked copy of it, exits.

    Its exit hook runs before those that were registered before it was imported, the scheduler's among them: it would
    terminate jobs that the scheduler is about to wait for. Ours end by themselves when their pipe closes.
    """
    listed: set[process.BaseProcess] = getattr(process, "_children", set())
    listed.discard(child)


_children: weakref.WeakSet[_Child] = weakref.WeakSet()


def _forget_children() -> None:
    for child in list(_children):
        child.forget()


forget_after_fork(_forget_children)


class _Seat:
    """What one worker has: its child, and the run in hand.

    ``cut``: that run is to end now. Guarded by the executor's lock.
    """

    __slots__ = ("child", "cut", "run")

    def __init__(self) -> None:
        self.child: _Child | None = None
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
            self._pickled_initializer = _dump_parts("initializer", self._initializer, None, self._initargs, {})
        self._crew = _Crew(self)

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
        return self._crew.cut(pool.join)

    def pid_of(self, run: Run) -> int | None:
        """The process that carries out ``run`` now; None when none does."""
        return self._crew.pid_of(run)

    def kill(self, run: Run) -> bool:
        """Kill the process that carries out ``run``, which is reported ``CANCELLED``. False when it is queued or over."""
        return self._crew.kill(run)


class _Crew:
    """The workers of one start of the executor, and their children."""

    def __init__(self, executor: ProcessPoolExecutor, host: ExecutorHost | None = None, name: str = "") -> None:
        self._context = executor._context
        self._initializer = executor._pickled_initializer
        self._max_tasks = executor._max_tasks
        self._alias = executor._alias
        self._logger = executor._logger
        self._host = cast(ExecutorHost, host)
        self._name = name
        self._lock = threading.Lock()
        self._seats: dict[int, _Seat] = {}  # by thread id
        self._stopping = False
        self._cancelled: list[Run] = []  # since then

    # --- in the workers ---

    def begin(self) -> None:
        if sys.platform != "win32":
            # Children start with the mask of the thread that starts them; theirs is lifted when they ignore the signal.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
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
            message = _dump_run(run)
        except Exception as error:  # noqa: BLE001 (it is the run's outcome)
            return failed(run, None, host.clock.wall_us(), error)
        with self._lock:
            stopping = self._stopping
            seat.run = None if stopping else run
            seat.cut = False
        if stopping:
            return self._cancel(run, None)
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
                    if fresh or death.started_us is not None:
                        died = ProcessDiedError(pid, exit_code, began=death.started_us is not None)
                        return failed(run, death.started_us, host.clock.wall_us(), died)
        finally:
            with self._lock:
                seat.run = None

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
        child = _Child(self._context, self._initializer, f"{self._name}-child")
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
                return _returned(run, started_us, clock.wall_us(), answer)
            elif kind == _child.RAISED:
                exception, text = _load_failure(answer)
                return Finish(run, RunState.FAILED, started_us, clock.wall_us(), None, exception, text)
            else:
                exception, text = _load_failure(answer)
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
            if join(KILL_GRACE_S if not hard else EXIT_GRACE_S):
                break
        return list(self._cancelled)


def _returned(run: Run, started_us: int | None, now_us: int, answer: bytes) -> Finish:
    retval = None
    if len(answer) > 1:
        try:
            retval = pickle.loads(memoryview(answer)[1:])
        except Exception as error:  # noqa: BLE001 (anything may come out of unpickling)
            what = f"the job's result came back from its process, but cannot be loaded here: {error_text(error)}"
            return failed(run, started_us, now_us, SerializationError(what, path="result"))
    return Finish(run, RunState.SUCCEEDED, started_us, now_us, retval)


def _load_failure(answer: bytes) -> tuple[Exception, str]:
    failure: Failure = pickle.loads(memoryview(answer)[1:])
    if failure.pickled is not None:
        try:
            exception = pickle.loads(failure.pickled)
        except Exception:  # noqa: BLE001 (anything may come out of unpickling)
            exception = None
        if isinstance(exception, Exception):
            return exception, failure.traceback
    return RemoteError(failure.type_name, failure.message), failure.traceback


def _dump_run(run: Run) -> bytes:
    job = run.job
    if job.func is None:
        raise LookupError(f"the callable {job.func_ref!r} of job {job.id!r} is not there")
    payload = _dump_parts("func", job.func, job.func_ref, job.args, dict(job.kwargs))
    try:
        zone = pickle.dumps(job.trigger.timezone, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 (any tzinfo class may be there)
        zone = None
    identity = Identity(job.id, job.name, job.func_ref, job.policy, run.alias, run.fire_us, run.attempt, zone)
    return pickle.dumps((identity, payload), pickle.HIGHEST_PROTOCOL)


def _dump_parts(
    what: str, func: Callable[..., Any], func_ref: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bytes:
    """Callable and arguments, pickled.

    ``SerializationError`` names the part that cannot be. Without kwargs for an initializer.
    """
    try:
        return _pickle_call(what, func, args, kwargs)
    except Exception:  # noqa: BLE001 (anything may come out of pickling; below it is asked which part it was)
        sent: Any = func
        try:
            pickle.dumps(func)
        except Exception as error:
            sent = _by_reference(func, func_ref)
            if sent is None:
                raise _unsendable(what, func, error) from error
        name = "args" if what == "func" else "initargs"
        parts = [(f"{name}[{index}]", value) for index, value in enumerate(args)]
        parts += [(f"kwargs[{key!r}]", value) for key, value in kwargs.items()]
        for path, value in parts:
            try:
                pickle.dumps(value)
            except Exception as error:
                raise _unsendable(path, value, error) from error
        return _pickle_call(what, sent, args, kwargs)


def _pickle_call(what: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    call = (func, args, kwargs) if what == "func" else (func, args)
    return pickle.dumps(call, pickle.HIGHEST_PROTOCOL)


def _by_reference(func: Callable[..., Any], func_ref: str | None) -> Reference | None:
    """Its reference, where that leads to the very callable."""
    if func_ref is None:
        return None
    from schedcore.references import resolve

    try:
        return Reference(func_ref) if resolve(func_ref) is func else None
    except LookupError:
        return None


def _unsendable(path: str, value: object, error: Exception) -> SerializationError:
    advice = (
        "give plain data" if path.startswith(("args", "kwargs", "initargs")) else "use a module's top-level function"
    )
    return SerializationError(
        f"{path} ({_child._a(value)}) cannot be sent to another process: {error_text(error)}; {advice}", path=path
    )


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

"""What a child process of ``ProcessPoolExecutor`` runs: one job after the other, until its pipe closes.

It is started for each worker and imports next to nothing of its own, so that it starts fast. The jobs run in its main
thread.

*Messages.* From the parent: a pickled ``(Identity, payload)``, where the payload is the pickled callable and its
arguments, by itself, so that failing to load it is a failure of the run. To the parent: ``STARTED``; then ``RETURNED``
and the pickled result, or ``RAISED`` and a pickled ``Failure``. ``NOT_READY`` and a ``Failure``, in place of all that,
when the initializer raised; the child ends then.

*Ends.* The pipe's end means: end. Ctrl-C in a terminal reaches all processes of it, so SIGINT is ignored here: whoever
runs the scheduler decides. When the parent is gone in the middle of a job, nobody can learn its outcome and another
scheduler may run it again: the child sends itself SIGTERM, and ends the hard way if that does not end it.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from datetime import UTC, tzinfo
from multiprocessing import current_process, parent_process
from typing import TYPE_CHECKING, Any, NamedTuple

from schedcore._forks import end_child, generation
from schedcore.errors import error_text
from schedcore.executors._call import as_exception, run_awaitable, settle, traceback_text
from schedcore.job import JobPolicy, JobRecord
from schedcore.run import Run, current_run
from schedcore.triggers.base import Backlog, EngineTrigger

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["NOT_READY", "RAISED", "RETURNED", "STARTED", "Failure", "FireTime", "Identity", "Reference", "main"]

STARTED = b"S"
RETURNED = b"R"
RAISED = b"E"
NOT_READY = b"I"

# Seconds between SIGTERM and the hard way, when the parent is gone.
GRACE_S = 5.0


class Identity(NamedTuple):
    """Which run it is: all of it that can always be pickled.

    ``zone`` is the pickled time zone of the trigger, if that can be.
    """

    job_id: str
    name: str
    func_ref: str | None
    policy: JobPolicy
    alias: str
    fire_us: int
    attempt: int
    zone: bytes | None


class Reference(NamedTuple):
    """Stands for a callable that pickle cannot name, but its reference can."""

    text: str


class Failure(NamedTuple):
    """An exception on its way to the parent. ``pickled`` is None when it cannot be pickled."""

    type_name: str
    message: str
    traceback: str
    pickled: bytes | None


class FireTime(EngineTrigger):
    """Stands for a job's trigger in a child process: it knows the fire time of this run alone."""

    __slots__ = ("_fire_us", "_zone")

    def __init__(self, fire_us: int, zone: bytes | None) -> None:
        self._fire_us = fire_us
        self._zone = zone

    @property
    def timezone(self) -> tzinfo:  # type: ignore[override]  # loaded when somebody asks: few jobs do
        zone = None if self._zone is None else pickle.loads(self._zone)
        return zone if isinstance(zone, tzinfo) else UTC

    def next_us(self, after_us: int) -> int | None:
        return self._fire_us if after_us < self._fire_us else None

    def backlog(self, after_us: int, upto_us: int) -> Backlog:
        if after_us < self._fire_us <= upto_us:
            return Backlog(1, self._fire_us, None)
        return Backlog(0, None, self.next_us(after_us))

    def get_next_fire_time(self, previous_fire_time: Any, now: Any) -> None:
        return None

    def __repr__(self) -> str:
        return f"<FireTime {self._fire_us} us>"


_busy = False


def main(conn: Connection[Any, Any], other_end: Connection[Any, Any] | None, initializer: bytes | None) -> None:
    """Serve until the pipe closes. ``other_end`` is the parent's end, where this process was forked and has a copy of it."""
    _settle_in(other_end)
    try:
        if initializer is not None:
            failure = _initialize(initializer)
            if failure is not None:
                conn.send_bytes(NOT_READY + pickle.dumps(failure))
                return
        while True:
            message = conn.recv_bytes()
            _serve(conn, message)
            del message
    except (EOFError, OSError):
        return
    finally:
        conn.close()


def _settle_in(other_end: Connection[Any, Any] | None) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked child has the parent's handler
    if sys.platform != "win32":
        # The parent blocked it while this process was too young to ignore it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if other_end is not None:
        other_end.close()
    # The parent ends this process with itself, which is what "daemon" says there. Here it would forbid jobs to start processes.
    current_process().daemon = False
    threading.Thread(target=_watch_parent, name="schedcore-parent-watch", daemon=True).start()


def _watch_parent() -> None:
    parent = parent_process()
    if parent is None:
        return
    parent.join()
    if _busy:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


def _initialize(pickled: bytes) -> Failure | None:
    try:
        initializer, initargs = pickle.loads(pickled)
        initializer(*initargs)
    # All there is, as for a job: the parent is told, and this process ends.
    except BaseException as error:  # noqa: BLE001
        return _failure(error)
    return None


def _serve(conn: Connection[Any, Any], message: bytes) -> None:
    global _busy
    identity, payload = pickle.loads(message)
    _busy = True
    try:
        conn.send_bytes(STARTED)
        reply = _call(identity, payload)
    finally:
        _busy = False
    conn.send_bytes(reply)


def _call(identity: Identity, payload: bytes) -> bytes:
    from contextvars import copy_context

    before = generation()
    try:
        func, args, kwargs = pickle.loads(payload)
        if type(func) is Reference:
            from schedcore.references import resolve

            func = resolve(func.text)
        context = copy_context()
        context.run(current_run.set, _run_of(identity, func, args, kwargs))
        retval = context.run(func, *args, **kwargs)
        if generation() != before:
            end_child(None)
        if retval is None:
            return RETURNED
        retval = context.run(settle, retval, run_awaitable)
    # All there is, and not Exception alone: this process would end with it, and the parent would only see that it died.
    except BaseException as error:  # noqa: BLE001
        if generation() != before:
            end_child(error)
        return RAISED + pickle.dumps(_failure(error))
    try:
        return RETURNED + pickle.dumps(retval, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 (anything may come out of pickling)
        what = f"the job returned {_a(retval)}, which cannot be sent back from its process: {error_text(error)}"
        return RAISED + pickle.dumps(_failure(TypeError(f"{what}; return plain data")))


def _run_of(identity: Identity, func: Any, args: Any, kwargs: Any) -> Run:
    fire_us = identity.fire_us
    job = JobRecord(
        id=identity.job_id,
        name=identity.name,
        func=func,
        func_ref=identity.func_ref,
        args=args,
        kwargs=kwargs,
        trigger=FireTime(fire_us, identity.zone),
        policy=identity.policy,
    )
    return Run(job, identity.alias, fire_us, identity.attempt, None)


def _failure(error: BaseException) -> Failure:
    text = traceback_text(error)
    exception = as_exception(error)
    try:
        message = str(exception)
    except Exception:  # noqa: BLE001 (an exception class may do anything when it is printed)
        message = "(no message: it cannot be shown)"
    try:
        pickled = pickle.dumps(exception, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 (anything may come out of pickling)
        pickled = None
    return Failure(type(exception).__qualname__, message, text, pickled)


def _a(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"

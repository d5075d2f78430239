"""The child processes of a pool, as their parent sees them. What runs in one is in ``_child``.

*Ends.* A child ends when its pipe closes. One that does not, within ``EXIT_GRACE_S``, is terminated, then killed.

*Exit of the program.* Children are not on the list of those that multiprocessing terminates at exit, so the scheduler's exit hook
can wait for the jobs that run. Forked copies of the program forget the children, so that their copies of the pipes do not hide
the end of the parent.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import weakref
from contextlib import ExitStack, closing
from multiprocessing import connection, process
from multiprocessing.context import BaseContext
from typing import Any, cast

from schedcore._forks import forget_after_fork
from schedcore.executors import _child

__all__ = ["EXIT_GRACE_S", "KILL_GRACE_S", "Child"]

# Seconds. How long a child that was told to end may take over its exit handlers.
EXIT_GRACE_S = 5.0
# Seconds between SIGTERM and SIGKILL.
KILL_GRACE_S = 1.0


class Child:
    """One child process and the parent's end of its pipe.

    Belongs to one worker; ``stop`` alone may come from another thread.
    """

    def __init__(self, context: BaseContext, initializer: bytes | None, name: str) -> None:
        mine, theirs = context.Pipe()
        self.conn = mine
        self.served = 0
        self._pidfd: int | None = None
        self._gone = False
        # Between signalling it and reaping it: afterwards its number may be another's. Reentrant for signal handlers.
        self._lock = threading.RLock()
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
        self._lock = threading.RLock()
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


_children: weakref.WeakSet[Child] = weakref.WeakSet()


def _forget_children() -> None:
    for child in list(_children):
        child.forget()


forget_after_fork(_forget_children)

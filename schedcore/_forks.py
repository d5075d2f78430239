"""What a process forgets when it finds that it is a forked child: threads, children and job stores are its parent's.

``os.fork`` tells Python, and Python tells us. A server that embeds Python and forks by itself (uWSGI) tells nobody: whoever looks
at a scheduler first notices it there, by the number of the process.

A job that forks has to end its child. One that does not would come back, in the child, to a thread that runs jobs: those that
its parent is about to run. So it ends where the job does (``generation`` tells; ``end_child``).
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from os import getpid
from typing import NoReturn

from schedcore.locks import ShortLock

__all__ = ["end_child", "forget_after_fork", "generation", "notice_fork"]

_forgetting: list[Callable[[], None]] = []
_pid = getpid()
_generation = 0
# Two threads of the child may look at once, and neither may go on before all is forgotten.
_lock = ShortLock()


def forget_after_fork(forget: Callable[[], None]) -> None:
    """Have this called in each forked child, in the order in which it was asked for."""
    _forgetting.append(forget)


def notice_fork() -> None:
    """Forget what is the parent's, if this process is a forked child and has not done it yet. From any thread."""
    global _pid, _generation
    if getpid() == _pid:
        return
    with _lock:
        if getpid() != _pid:
            _generation += 1
            try:
                for forget in _forgetting:
                    forget()
            finally:
                _pid = getpid()


def generation() -> int:
    """A number that is another one in each forked child."""
    return _generation


def end_child(error: BaseException | None) -> NoReturn:
    """End this process, a child that a job forked and did not end: with what the job raised in it, if anything.

    As at the end of the only thread that a forked child has, no exit hook is called and nothing is flushed.
    """
    if error is None:
        os._exit(0)
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        os._exit(error.code or 0)
    traceback.print_exception(error)
    os._exit(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=notice_fork)

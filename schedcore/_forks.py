"""What a process forgets when it finds that it is a forked child: threads, children and job stores are its parent's.

``os.fork`` tells Python, and Python tells us. A server that embeds Python and forks by itself (uWSGI) tells nobody: whoever looks
at a scheduler first notices it there, by the number of the process.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from schedcore._locks import ShortLock

__all__ = ["forget_after_fork", "notice_fork"]

_forgetting: list[Callable[[], None]] = []
_pid = os.getpid()
# Two threads of the child may look at once, and neither may go on before all is forgotten.
_lock = ShortLock()


def forget_after_fork(forget: Callable[[], None]) -> None:
    """Have this called in each forked child, in the order in which it was asked for."""
    _forgetting.append(forget)


def notice_fork() -> None:
    """Forget what is the parent's, if this process is a forked child and has not done it yet. From any thread."""
    global _pid
    if os.getpid() == _pid:
        return
    with _lock:
        if os.getpid() != _pid:
            try:
                for forget in _forgetting:
                    forget()
            finally:
                _pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=notice_fork)

"""Turns at a job store: one call at a time, and a scheduler's own steps before the calls of others.

Many threads that add jobs all the time would keep a scheduler from its store: a lock goes to any that waits for it, or to whoever
gave it back a moment ago, and a step is several calls. So a step waits for the call that is under way, and for no more than one
that came before it. Others are not kept out either: between two calls of a step there is room for one of theirs.

Whoever has ``_next`` is the only one who may wait for ``_turn``, and gets it. Of all others than steps, one at a time
(``_others``) asks for that. A signal handler may call the store in the midst of any of this, and may raise: all three locks
are reentrant, and what was taken is given back wherever one raises.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["Turns", "in_step"]

T = TypeVar("T")

_in_step: ContextVar[bool] = ContextVar("schedcore_in_step", default=False)


def in_step(call: Callable[[], T]) -> T:
    """Make a call as a scheduler's own step. What it calls, in whichever thread that waits for it, goes first."""
    token = _in_step.set(True)
    try:
        return call()
    finally:
        _in_step.reset(token)


class Turns:
    """See the module's docstring. From any thread."""

    def __init__(self) -> None:
        # Of no type that says ``_is_owned``, which Python's own conditions ask as well.
        self._others: Any = threading.RLock()
        self._next: Any = threading.RLock()
        self._turn: Any = threading.RLock()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn, and have it until the end of the ``with`` statement. Whoever has it may take it again."""
        if self._turn._is_owned():
            with self._turn:
                yield
            return
        with nullcontext() if _in_step.get() else self._others:
            try:
                with self._next:
                    self._turn.acquire()
            except BaseException:
                # A signal handler may raise when the turn was just had.
                if self._turn._is_owned():
                    self._turn.release()
                raise
            # A ``with`` statement of the lock's own gives it back whenever a handler raises.
            with self._turn:
                self._turn.release()
                yield

    def awaited_here(self) -> bool:
        """Whether others may have to wait for the calling thread: it has the turn, or is to have it before them."""
        return any(lock._is_owned() for lock in (self._others, self._next, self._turn))

    @contextmanager
    def take_if_free(self) -> Iterator[bool]:
        """Take the turn if nobody has it, without waiting; whether it was taken."""
        taken = self._turn.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._turn.release()

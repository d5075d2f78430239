"""Requests to a server that do not wait for each other: while it works on one, the next is made up and on its way."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

__all__ = ["in_two_lanes"]

P = TypeVar("P")
R = TypeVar("R")


def in_two_lanes(send: Callable[[P], R], pieces: Iterable[P]) -> list[R]:
    """Send each piece, in this thread and, if there are several and it may use the same sockets, in one more; what was answered,
    in no order.

    Raises what ``send`` raises. Then no other one begins, and those that had begun have ended.
    """
    left = deque(pieces)
    if len(left) < 2 or _sockets_are_of_threads():
        return [send(piece) for piece in left]
    answers: list[R] = []
    errors: list[BaseException] = []

    def go_on() -> None:
        while left:
            try:
                piece = left.popleft()
            except IndexError:  # the other one was quicker
                return
            answers.append(send(piece))

    def beside() -> None:
        try:
            go_on()
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
            left.clear()
            errors.append(error)

    # With what holds for this call alone, such as ``pymongo.timeout``.
    other = threading.Thread(target=copy_context().run, args=(beside,), name="schedcore-sending", daemon=True)
    try:
        with suppress(RuntimeError):  # where no thread is to be had, this one does it all
            other.start()
        go_on()
    finally:
        left.clear()
        if other.ident is not None:
            other.join()
    if errors:
        raise errors[0]
    return answers


def _sockets_are_of_threads() -> bool:
    """Whether no other thread can use a socket than the one that has opened it: sockets are gevent's, and threads are not."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("socket") and not monkey.is_module_patched("threading")

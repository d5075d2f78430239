"""How kazoo's thread waits for its sockets, and is told of calls."""

from __future__ import annotations

import errno
import math
import os
import select
from collections.abc import Sequence
from io import FileIO
from typing import Any

from kazoo.handlers.threading import SequentialThreadingHandler  # type: ignore[import-untyped]

__all__ = ["PollingHandler"]


class _End(FileIO):
    """An end of a pipe, with what kazoo asks of the socket in the place of which it is."""

    def send(self, data: bytes) -> int | None:
        return self.write(data)

    def recv(self, size: int) -> bytes | None:
        return self.read(size)


class PollingHandler(SequentialThreadingHandler):  # type: ignore[misc]
    """Asks which sockets are ready by one call to the system. Kazoo's own makes, fills and closes an epoll each time, five times
    for one answer of the server, which is a third of what a call costs the processor.
    """

    def create_socket_pair(self) -> tuple[_End, _End]:
        """What who makes a call wakes kazoo's thread by: a byte for each, which that takes when it sends the call.

        A pipe holds 65,536 of them. Two sockets hold some 280 on Linux: who asked for more nodes at once, when the connection
        had just been cut, waited without end until there was one again.
        """
        reading, writing = os.pipe()
        return _End(reading, "rb"), _End(writing, "wb")

    def select(
        self, read: Sequence[Any], write: Sequence[Any], _: Sequence[Any], timeout: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """As ``select.select``, for any number of sockets. One that is closed is an ``OSError``: kazoo connects again."""
        poll = select.poll()
        try:
            for one in read:
                poll.register(one, select.POLLIN)
            for one in write:  # kazoo never waits for both with one socket
                poll.register(one, select.POLLOUT)
        except ValueError:
            raise OSError(errno.EBADF, "a socket is closed") from None
        found = dict(poll.poll(None if timeout is None else math.ceil(timeout * 1e3)))
        for events in found.values():
            if events & select.POLLNVAL:
                raise OSError(errno.EBADF, "a socket was closed elsewhere")
        # One that was cut is ready for both: who reads or writes is told.
        readable = [one for one in read if found.get(one.fileno(), 0) & ~select.POLLOUT]
        writable = [one for one in write if found.get(one.fileno(), 0) & ~select.POLLIN]
        return readable, writable, []

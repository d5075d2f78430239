"""A relay in front of a server, which does what networks do: refuse connections, go silent, cut them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Self

from tests.services._service import HOST

__all__ = ["Proxy"]

# Seconds for the relay to do as it is told.
DO_S = 10.0


class Proxy:
    """Accepts connections on ``port`` and passes them on to a server, until told otherwise. Close it, or use ``with``.

    The port stays the same and nobody else's in all states. Each method returns when it is so.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        # What carries a connection, and the two sockets that it holds.
        self._flows: dict[asyncio.Task[None], list[socket.socket]] = {}
        self._flowing = asyncio.Event()
        self._listens = False
        # Pieces that are passed on still of what the server says, where they are counted.
        self._pieces: int | None = None
        self._ends: asyncio.Task[None] | None = None
        self.port = 0
        self._door = self._bound()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy for {target}")
        self._thread.start()
        self.accept()

    def accept(self) -> None:
        """As in the beginning: connections are accepted, and all of them flow."""
        self._do(self._accept())

    def refuse(self) -> None:
        """Cut all connections and refuse new ones, as where no server is."""
        self._do(self._refuse())

    def stall(self) -> None:
        """Connections stay, and new ones are accepted, but nothing comes through. What is sent waits for ``accept``."""
        self._do(self._stall())

    def answer(self, pieces: int) -> None:
        """Pass on so many pieces of what the server says; with the next one refuse all, as where no server is. What was asked is
        done by then, and nobody is told.
        """
        self._do(self._answer(pieces))

    def cut(self) -> None:
        """Reset all connections that there are; new ones are as they were."""
        self._do(self._cut())

    def close(self) -> None:
        """Cut all connections and give the port back. Calling it again does nothing."""
        if self._loop.is_closed():
            return
        self._do(self._refuse())
        self._door.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DO_S)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- on the relay's thread --------------------------------------------------------------------------------------

    def _do(self, what: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(DO_S)

    def _bound(self) -> socket.socket:
        """A socket that holds the port. Until it listens, connections are refused."""
        bound = socket.socket()
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, self.port))
        self.port = bound.getsockname()[1]
        return bound

    async def _accept(self) -> None:
        self._pieces = None
        self._flowing.set()
        if not self._listens:
            self._listens = True
            self._door.listen()
            self._loop.add_reader(self._door, self._let_in)

    async def _stall(self) -> None:
        await self._accept()
        self._flowing.clear()

    async def _answer(self, pieces: int) -> None:
        await self._accept()
        self._pieces, self._ends = pieces, None

    async def _refuse(self) -> None:
        if self._listens:
            self._listens = False
            self._loop.remove_reader(self._door)
            self._door.close()
            self._door = self._bound()
        await self._cut()

    async def _cut(self) -> None:
        flows = list(self._flows)
        for flow in flows:
            flow.cancel()
        await asyncio.gather(*flows, return_exceptions=True)

    def _let_in(self) -> None:
        # A callback, and not a coroutine that waits: cancelled in the wrong moment it would lose a connection.
        with contextlib.suppress(OSError):
            near, _ = self._door.accept()
            far = socket.socket()
            for end in (near, far):
                end.setblocking(False)
            flow = self._loop.create_task(self._carry(near, far))
            self._flows[flow] = [near, far]
            flow.add_done_callback(self._drop)

    def _drop(self, flow: asyncio.Task[None]) -> None:
        cut = flow.cancelled() or flow.exception() is not None
        for end in self._flows.pop(flow):
            if cut:  # a reset, and not a farewell
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    async def _carry(self, near: socket.socket, far: socket.socket) -> None:
        await self._flowing.wait()
        await self._loop.sock_connect(far, (HOST, self._target))
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pass(near, far, answers=False))
            both.create_task(self._pass(far, near, answers=True))

    async def _pass(self, source: socket.socket, sink: socket.socket, *, answers: bool) -> None:
        while chunk := await self._loop.sock_recv(source, 1 << 16):
            await self._flowing.wait()
            if answers and self._pieces is not None:
                if not self._pieces:
                    # By a task of its own, which cuts this one, too.
                    self._ends = self._ends or self._loop.create_task(self._refuse())
                    await asyncio.sleep(DO_S)
                self._pieces -= 1
            await self._loop.sock_sendall(sink, chunk)
        await self._flowing.wait()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

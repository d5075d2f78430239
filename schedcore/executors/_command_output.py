"""The output of a program: read all the time, of which the end is kept."""

from __future__ import annotations

import contextlib
import locale
import os
import selectors
import sys
import threading
from typing import IO

__all__ = ["ENCODING", "Reader", "Tail"]

_CHUNK = 64 * 1024
ENCODING = "utf-8" if os.name == "posix" else locale.getpreferredencoding(False)


class Tail:
    """The last ``limit`` bytes of a stream, in bounded memory."""

    __slots__ = ("_bytes", "_limit", "dropped")

    def __init__(self, limit: int) -> None:
        self._bytes = bytearray()
        self._limit = limit
        self.dropped = 0

    def feed(self, data: bytes) -> None:
        self._bytes += data
        if len(self._bytes) > 2 * self._limit:
            self._trim()

    def _trim(self) -> None:
        surplus = len(self._bytes) - self._limit
        if surplus > 0:
            del self._bytes[:surplus]
            self.dropped += surplus

    def text(self) -> str:
        self._trim()
        data = bytes(self._bytes)
        if not self.dropped:
            return self._decode(data)
        # The cut may have gone through a character: at most three bytes of its rest are at the start.
        rest = next((n for n in range(min(4, len(data))) if data[n] & 0xC0 != 0x80), 0) if ENCODING == "utf-8" else 0
        self.dropped += rest
        del self._bytes[:rest]
        return f"[{self.dropped} bytes of earlier output dropped]\n{self._decode(data[rest:])}"

    @staticmethod
    def _decode(data: bytes) -> str:
        return data.decode(ENCODING, errors="replace").replace("\0", "\ufffd")


def _wake_pipe() -> tuple[int, int] | None:
    """A pipe whose closing ends a wait for other pipes; None where pipes cannot be waited for."""
    return None if sys.platform == "win32" else os.pipe()


class Reader:
    """Empties a pipe into a ``Tail`` from a thread of its own, and can be told to give up on it."""

    def __init__(self, pipe: IO[bytes], tail: Tail) -> None:
        self._pipe = pipe
        self._tail = tail
        self._give_up = _wake_pipe()
        self._thread = threading.Thread(target=self._read, name="schedcore-command-output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        source = self._pipe.fileno()
        with contextlib.suppress(OSError, ValueError):
            while self._wait_for_data(source) and (data := os.read(source, _CHUNK)):
                self._tail.feed(data)

    def _wait_for_data(self, source: int) -> bool:
        """False when told to give up; what has been written by then is not read any more."""
        if sys.platform != "win32" and self._give_up is not None:
            with selectors.PollSelector() as selector:
                selector.register(source, selectors.EVENT_READ)
                selector.register(self._give_up[0], selectors.EVENT_READ)
                return self._give_up[0] not in {key.fd for key, _ in selector.select()}
        return True

    def wait(self, timeout_s: float) -> bool:
        """Whether the pipe was closed by everybody who held it, within ``timeout_s``."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        if self._give_up is not None:
            os.close(self._give_up[1])  # readable now: end of file
            self._thread.join()
            os.close(self._give_up[0])
        # Where a blocked read cannot be ended (Windows), its thread keeps the pipe until the background
        # process is gone.
        if not self._thread.is_alive():
            self._pipe.close()

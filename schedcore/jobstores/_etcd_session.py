"""The session of an etcd client that needs no more than a connection: no TLS, no proxy, no password.

A call to the server that does nothing but wait takes requests and ``http.client`` several times as much of the processor's time
as what is asked and answered, most of it for headers that are not looked at. And ``http.client`` sends a request's body by
itself, after its headers, so that the server is woken twice.
"""

from __future__ import annotations

import json
import socket
from http.client import HTTPException
from io import BufferedReader
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.util import wait_for_read

__all__ = ["PlainSession"]

# Of an answer: bytes in a line, and lines of headers. ``http.client`` has the same limits.
_LONGEST_LINE = 65_536
_MOST_HEADERS = 100


class PlainSession(requests.Session):
    """Speaks to one server. Raises what requests raises."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._address = host, port
        self._socket: socket.socket | None = None
        self._answers: BufferedReader | None = None

    def request(self, method: str | bytes, url: str | bytes, *_: Any, **more: Any) -> requests.Response:
        """``more``: ``json`` and ``timeout``, which are all that etcd3gw gives."""
        where = urlsplit(str(url))
        body = b"" if more.get("json") is None else json.dumps(more["json"], separators=(",", ":")).encode()
        head = (
            f"{method!s} {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            connection, answers = self._connect(more.get("timeout"))
            connection.sendall(head.encode("ascii") + body)
            answer, stays = _read(answers)
        except BaseException as error:
            # An answer that is still to come would be taken for that to the next request.
            self._disconnect()
            if isinstance(error, TimeoutError):
                raise requests.Timeout(error) from error
            if isinstance(error, OSError | HTTPException):
                raise requests.ConnectionError(error) from error
            raise
        if not stays:
            self._disconnect()
        return answer

    def close(self) -> None:
        self._disconnect()
        super().close()

    def _connect(self, timeout_s: float | None) -> tuple[socket.socket, BufferedReader]:
        # The server closes connections that are idle for long, and when it ends.
        if self._socket is not None and wait_for_read(self._socket, 0.0):
            self._disconnect()
        if self._socket is None or self._answers is None:
            self._socket = socket.create_connection(self._address, timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._answers = self._socket.makefile("rb")
        if self._socket.gettimeout() != timeout_s:
            self._socket.settimeout(timeout_s)
        return self._socket, self._answers

    def _disconnect(self) -> None:
        connection, answers, self._socket, self._answers = self._socket, self._answers, None, None
        if answers is not None:
            answers.close()
        if connection is not None:
            connection.close()


class _Answer(requests.Response):
    """One of which all has been read."""

    def __init__(self, status: int, reason: str, content: bytes) -> None:
        # Its base makes what nobody asks for here: headers, a jar for cookies.
        self.status_code, self.reason, self.encoding = status, reason, "utf-8"
        self._content = content

    def json(self, **options: Any) -> Any:
        try:
            return json.loads(self.content, **options)
        except ValueError:
            return super().json(**options)  # which raises what requests raises


def _read(answers: BufferedReader) -> tuple[_Answer, bool]:
    """The next answer, and whether there can be another one on the same connection. ``HTTPException`` for what is none."""
    words = _read_line(answers).split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise HTTPException(f"not an answer: {words!r:.200}")
    headers = _read_headers(answers)
    length = headers.get(b"content-length", b"")
    stays = words[0] != b"HTTP/1.0" and headers.get(b"connection", b"").lower() != b"close"
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        content = b"".join(iter(lambda: _read_chunk(answers), b""))
        _read_headers(answers)  # what comes behind it
    elif length.isdigit():
        content = _read_bytes(answers, int(length))
    else:
        content, stays = answers.read(), False
    return _Answer(int(words[1]), words[2].decode("latin-1") if len(words) > 2 else "", content), stays


def _read_headers(answers: BufferedReader) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for _ in range(_MOST_HEADERS):
        line = _read_line(answers)
        if not line:
            return headers
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    raise HTTPException(f"an answer with more than {_MOST_HEADERS} headers")


def _read_line(answers: BufferedReader) -> bytes:
    line = answers.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise HTTPException(f"an answer that ends, or goes on and on, in {line!r:.200}")
    return line.rstrip(b"\r\n")


def _read_chunk(answers: BufferedReader) -> bytes:
    line = _read_line(answers)
    try:
        size = int(line.partition(b";")[0], 16)
    except ValueError:
        raise HTTPException(f"not the size of a part: {line!r:.200}") from None
    if size < 0:
        raise HTTPException(f"not the size of a part: {line!r:.200}")
    chunk = _read_bytes(answers, size)
    if chunk:
        _read_line(answers)
    return chunk


def _read_bytes(answers: BufferedReader, size: int) -> bytes:
    found = answers.read(size)
    if len(found) < size:
        raise HTTPException(f"an answer that ends after {len(found)} bytes of {size}")
    return found

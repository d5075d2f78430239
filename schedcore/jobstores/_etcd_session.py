"""The session of an etcd client that needs no more than a connection: no TLS, no proxy, no password.

A call to the server that does nothing but wait takes requests and ``http.client`` several times as much of the processor's time
as what is asked and answered, most of it for headers that are not looked at. And ``http.client`` sends a request's body by
itself, after its headers, so that the server is woken twice. Here a request is one write, and httptools reads the answer.
"""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import requests
from httptools import HttpParserError, HttpResponseParser
from urllib3.util import wait_for_read

__all__ = ["PlainSession"]

_PIECE = 65_536


class PlainSession(requests.Session):
    """Speaks to one server. Raises what requests raises."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._address = host, port
        self._socket: socket.socket | None = None

    def request(self, method: str | bytes, url: str | bytes, *_: Any, **more: Any) -> requests.Response:
        """``more``: ``json`` and ``timeout``, which are all that etcd3gw gives."""
        where = urlsplit(str(url))
        body = b"" if more.get("json") is None else json.dumps(more["json"], separators=(",", ":")).encode()
        head = (
            f"{method!s} {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            connection = self._connect(more.get("timeout"))
            connection.sendall(head.encode("ascii") + body)
            answer = _Answer()
            while not answer.whole:
                answer.take(connection.recv(_PIECE))
        except BaseException as error:
            # An answer that is still to come would be taken for that to the next request.
            self._disconnect()
            if isinstance(error, TimeoutError):
                raise requests.Timeout(error) from error
            if isinstance(error, OSError | HttpParserError):
                raise requests.ConnectionError(error) from error
            raise
        if not answer.stays:
            self._disconnect()
        return answer

    def close(self) -> None:
        self._disconnect()
        super().close()

    def _connect(self, timeout_s: float | None) -> socket.socket:
        # The server closes connections that are idle for long, and when it ends.
        if self._socket is not None and wait_for_read(self._socket, 0.0):
            self._disconnect()
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._socket.gettimeout() != timeout_s:
            self._socket.settimeout(timeout_s)
        return self._socket

    def _disconnect(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()


class _Answer(requests.Response):
    """One of which httptools tells, by the methods that begin with ``on_``, what has come."""

    def __init__(self) -> None:
        # Its base makes what nobody asks for here: headers, a jar for cookies.
        self.encoding = "utf-8"
        self.whole = False
        self.stays = False  # whether there can be another one on the same connection
        self._reason: list[bytes] = []
        self._body: list[bytes] = []
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def take(self, piece: bytes) -> None:
        """The next bytes that came. ``ConnectionError`` if there are no more; ``HttpParserError`` for what is no answer."""
        if not piece:
            raise ConnectionError("the connection was closed before an answer was whole")
        if self._parser is not None:
            self._parser.feed_data(piece)

    def on_status(self, text: bytes) -> None:
        self._reason.append(text)

    def on_body(self, text: bytes) -> None:
        self._body.append(text)

    def on_message_complete(self) -> None:
        # Each holds the other until then.
        parser, self._parser = self._parser, None
        if parser is not None:
            self.whole = True
            self.stays = parser.should_keep_alive()
            self.status_code = parser.get_status_code()
            self.reason = b"".join(self._reason).decode("latin-1")
            self._content = b"".join(self._body)

    def json(self, **options: Any) -> Any:
        try:
            return json.loads(self.content, **options)
        except ValueError:
            return super().json(**options)  # which raises what requests raises

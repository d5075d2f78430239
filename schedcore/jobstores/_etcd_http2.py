"""A connection over which calls of gRPC go: HTTP/2, as much of it as a client needs that sends a message and is sent one.

It starts no thread and waits as any socket does, also where a process forks and where gevent has patched sockets. With grpcio
a call in a greenlet holds up all others of its thread, unless the program has said before the first one that gevent is there;
and each fork is told of on standard error. h2, which starts no thread either, takes the processor three times as long: that
is what a server saves which need not read JSON. hpack reads headers; a frame is a few numbers.

**A call** is a stream: headers and the message, in one write if the server has room for it; and as the answer headers, a
message and headers that say what became of it. Several may be under way, and the answers come in any order.

**Room.** The server says how many bytes it takes, of each stream and in all (``_room``). It is told of more than it will
need.

Whatever comes that should not ends the connection, and what became of the calls that are under way is not known.
"""

from __future__ import annotations

import socket
import struct
import time
from functools import lru_cache
from ssl import SSLWantReadError
from urllib.parse import unquote

from hpack import Decoder, Encoder, HPACKError

__all__ = ["Call", "Connection", "EtcdError"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PIECE = 65_536
# That may have come of itself while nothing was asked.
_MOST_PIECES = 100

# A frame begins with its length in 24 bits and its type in 8, flags, and the number of its stream.
_FRAME = struct.Struct(">IBI")
_NUMBER = struct.Struct(">I")
_SETTING = struct.Struct(">HI")
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE = 0, 1, 3, 4, 5
_PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 6, 7, 8, 9
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_PRIORITY = 0x20
_ENABLE_PUSH, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 2, 4, 5
_LARGEST = 2**31 - 1
_DEFAULT_WINDOW = 65_535
# Bytes that came, after which the server is told that there is room for as many more.
_ENOUGH = 2**30
# Bytes. Of a frame, which is what there is unless something else was said; of headers in several.
_FRAME_SIZE = 16_384
_MOST_HEADERS = 262_144

# gRPC's codes. ``UNAVAILABLE`` is what an etcd without a leader says.
_UNKNOWN, _UNAVAILABLE = 2, 14
_HTTP_UNAVAILABLE = frozenset({b"429", b"502", b"503", b"504"})


class EtcdError(Exception):
    """What the server says instead of an answer. ``code``: one of gRPC's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def transient(self) -> bool:
        """Whether it may be otherwise in a while."""
        return self.code == _UNAVAILABLE or "too many requests" in str(self)


class Call:
    """One that is under way, and what has come of its answer."""

    __slots__ = ("answer", "headers", "over", "room", "stream")

    def __init__(self, stream: int, room: int) -> None:
        self.stream = stream
        self.room = room  # bytes that the server takes
        self.answer = bytearray()
        self.headers: dict[bytes, bytes] = {}
        self.over = False


class Connection:
    """One to a server, by a socket that is connected. Raises ``OSError``, and from then on is of no use.

    For one thread at a time. ``deadline`` is an instant of ``time.monotonic()``, after which it is a ``TimeoutError``.
    """

    def __init__(self, connected: socket.socket, scheme: str, authority: str) -> None:
        self._socket = connected
        self._scheme = scheme
        self._authority = authority
        self._calls: dict[int, Call] = {}  # those that are under way, by stream
        self._next = 1
        self._ends = False  # whether the server takes no more calls
        self._last = _LARGEST  # stream at which it looks
        self._room = _DEFAULT_WINDOW  # bytes that the server takes
        self._initial_room = _DEFAULT_WINDOW  # of a new stream
        self._frame_size = _FRAME_SIZE  # that the server takes
        self._taken = 0  # bytes that came since the server was last told that there is room
        self._came = b""
        self._block: tuple[int, int, bytes] | None = None  # stream, flags and so much of headers that go on
        self._decoder = Decoder()
        settings = _SETTING.pack(_ENABLE_PUSH, 0) + _SETTING.pack(_INITIAL_WINDOW_SIZE, _LARGEST)
        #: What is to be sent with what is sent next.
        self._to_send = [
            _PREFACE,
            _frame(_SETTINGS, 0, 0, settings),
            _frame(_WINDOW_UPDATE, 0, 0, _NUMBER.pack(_LARGEST - _DEFAULT_WINDOW)),
        ]

    def close(self) -> None:
        """Once or more often."""
        self._socket.close()

    def is_usable(self) -> bool:
        """Whether there can be another call. What came meanwhile is read: the server closes what is idle for long."""
        try:
            self._socket.settimeout(0.0)
            for _ in range(_MOST_PIECES):
                self._read()
        except (BlockingIOError, SSLWantReadError):
            return not self._ends and self._next < _LARGEST
        except OSError:
            pass
        return False

    def start(self, path: str, message: bytes, token: str, deadline: float) -> Call:
        """Send a message; ``token``: who says it, or nothing."""
        call = self._calls[self._next] = Call(self._next, self._initial_room)
        self._next += 2
        head = _head(self._scheme, self._authority, path, token)
        self._to_send.append(_frame(_HEADERS, _END_HEADERS, call.stream, head))
        self._send_message(call, b"\0" + _NUMBER.pack(len(message)) + message, deadline)
        return call

    def finish(self, call: Call, deadline: float) -> bytes:
        """The answer, once it has come. ``EtcdError``: the server says something else."""
        while not call.over:
            if self._socket.fileno() < 0:
                raise ConnectionError("the connection was closed before an answer came")
            if call.stream > self._last:
                raise ConnectionError("the server ended the connection before it looked at what was sent")
            self._wait(deadline)
            self._read()
            self._flush(deadline)
        return _message(call)

    # -- sending ----------------------------------------------------------------------------------------------------------

    def _send_message(self, call: Call, data: bytes, deadline: float) -> None:
        at = 0
        while at < len(data) and not call.over:  # over: the server has read enough to refuse it
            size = min(len(data) - at, self._frame_size, self._room, call.room)
            if size <= 0:
                self._flush(deadline)
                self._wait(deadline)
                self._read()
                continue
            last = at + size == len(data)
            self._to_send.append(_frame(_DATA, _END_STREAM if last else 0, call.stream, data[at : at + size]))
            self._room -= size
            call.room -= size
            at += size
        self._flush(deadline)

    def _flush(self, deadline: float) -> None:
        if self._to_send:
            self._wait(deadline)
            self._socket.sendall(b"".join(self._to_send))
            self._to_send.clear()

    def _wait(self, deadline: float) -> None:
        """Let the next that is done with the socket take no longer."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left_s)

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """What comes next, and whatever else has come with it."""
        piece = self._socket.recv(_PIECE)
        if not piece:
            raise ConnectionError("the server closed the connection")
        came = self._came + piece if self._came else piece
        at = 0
        while len(came) - at >= _FRAME.size:
            kind, flags, stream = _FRAME.unpack_from(came, at)
            size, kind = kind >> 8, kind & 0xFF
            if size > _FRAME_SIZE:
                raise ConnectionError(f"not an answer of HTTP/2, or a frame of {size} bytes")
            start = at + _FRAME.size
            if len(came) - start < size:
                break
            at = start + size
            try:
                self._take(kind, flags, stream & _LARGEST, came[start:at])
            except (struct.error, IndexError, HPACKError) as error:
                raise ConnectionError(f"not an answer of HTTP/2: {error}") from error
        self._came = came[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != _CONTINUATION:
            raise ConnectionError("headers were not continued")
        if kind == _DATA:
            self._take_data(flags, stream, payload)
        elif kind == _HEADERS:
            skip = 5 if flags & _PRIORITY else 0
            self._take_headers(flags, stream, _unpadded(flags, payload)[skip:])
        elif kind == _CONTINUATION:
            if self._block is None or self._block[0] != stream:
                raise ConnectionError("there were no headers to be continued")
            _, first_flags, block = self._block
            self._take_headers(flags & _END_HEADERS | first_flags & _END_STREAM, stream, block + payload)
        elif kind == _SETTINGS:
            if not flags & _ACK:
                self._take_settings(payload)
        elif kind == _WINDOW_UPDATE:
            (more,) = _NUMBER.unpack(payload)
            if not stream:
                self._room += more
            elif stream in self._calls:
                self._calls[stream].room += more
        elif kind == _PING:
            if not flags & _ACK:
                self._to_send.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _RST_STREAM:
            (reason,) = _NUMBER.unpack(payload)
            said = b"the server gave the call up (HTTP/2 error %d)" % reason
            self._end(stream, {b"grpc-status": b"%d" % _UNAVAILABLE, b"grpc-message": said})
        elif kind == _GOAWAY:
            self._ends = True
            self._last = _NUMBER.unpack_from(payload)[0] & _LARGEST
        elif kind == _PUSH_PROMISE:
            raise ConnectionError("the server promises what it was told not to")
        # What else there is, or comes to be, may be passed over.

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._taken += len(payload)
        if self._taken > _ENOUGH:
            self._to_send.append(_frame(_WINDOW_UPDATE, 0, 0, _NUMBER.pack(self._taken)))
            self._taken = 0
        call = self._calls.get(stream)
        if call is not None:
            call.answer += _unpadded(flags, payload)
            if flags & _END_STREAM:
                self._end(stream, {})

    def _take_headers(self, flags: int, stream: int, block: bytes) -> None:
        if len(block) > _MOST_HEADERS:
            raise ConnectionError("headers of more than 256 KiB")
        self._block = None if flags & _END_HEADERS else (stream, flags, block)
        if self._block is None:
            # Of each, because they are told in the terms of those before.
            headers = dict(self._decoder.decode(block, raw=True))
            if flags & _END_STREAM:
                self._end(stream, headers)
            elif stream in self._calls:
                self._calls[stream].headers.update(headers)

    def _end(self, stream: int, headers: dict[bytes, bytes]) -> None:
        call = self._calls.pop(stream, None)
        if call is not None:
            call.headers.update(headers)
            call.over = True

    def _take_settings(self, payload: bytes) -> None:
        for name, value in _SETTING.iter_unpack(payload):
            if name == _INITIAL_WINDOW_SIZE:
                for call in self._calls.values():
                    call.room += value - self._initial_room
                self._initial_room = value
            elif name == _MAX_FRAME_SIZE:
                self._frame_size = value
        self._to_send.append(_frame(_SETTINGS, _ACK, 0, b""))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) << 8 | kind, flags, stream) + payload


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if payload[0] >= len(payload):
        raise ConnectionError("a frame that is filled up with more than it has")
    return payload[1 : len(payload) - payload[0]]


@lru_cache(maxsize=64)
def _head(scheme: str, authority: str, path: str, token: str) -> bytes:
    """The headers of a call. None is to be remembered by the server, so that they are the same each time."""
    headers = {":method": "POST", ":scheme": scheme, ":path": path, ":authority": authority, "te": "trailers"}
    headers["content-type"] = "application/grpc"
    if token:
        headers["token"] = token
    return Encoder().encode([(name, value, True) for name, value in headers.items()])


def _message(call: Call) -> bytes:
    """The only message of an answer."""
    headers = call.headers
    status = headers.get(b"grpc-status")
    http = headers.get(b":status", b"200")
    if status is None and http != b"200":
        # It was no etcd: something between it and us.
        raise EtcdError(
            _UNAVAILABLE if http in _HTTP_UNAVAILABLE else _UNKNOWN, f"HTTP status {http.decode('latin-1')}"
        )
    if status is None or not status.isdigit():
        raise ConnectionError("an answer ended without a status")
    if int(status):
        said = unquote(headers.get(b"grpc-message", b"").decode("latin-1"))
        raise EtcdError(int(status), said or f"gRPC status {int(status)}")
    answer = bytes(call.answer)
    if len(answer) < 5 or answer[0] or len(answer) - 5 != _NUMBER.unpack_from(answer, 1)[0]:
        raise ConnectionError("an answer was not one message")
    return answer[5:]

"""A connection over which calls of gRPC go. HTTP/2 is h2's, which does no I/O and starts no thread; this is its socket.

So it waits as any socket does, also where a process forks and where gevent has patched sockets. With grpcio a call in a greenlet
holds up all others of its thread, unless the program has said before the first one that gevent is there; and each fork is told
of on standard error.

**A call** is a stream: headers and the message, in one write if the server has room for it; and as the answer headers, a
message and headers that say what became of it. Several may be under way, and the answers come in any order.

**A ping** comes with nearly each answer, because etcd measures the line whenever no ping of its is under way. What answers it
goes with what is sent a little later. Sent at once, it takes a write for each call, wakes the server twice as often, and brings
the next ping.

Whatever comes that should not ends the connection, and what became of the calls that are under way is not known. So does a
server that says that it ends: h2 reads nothing after that.
"""

from __future__ import annotations

import socket
import struct
import time
from functools import lru_cache
from ssl import SSLWantReadError
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error, NoAvailableStreamIDError
from h2.settings import SettingCodes
from hpack import NeverIndexedHeaderTuple

from schedcore.jobstores._etcd_headers import RememberingDecoder, RememberingEncoder

__all__ = ["Call", "Connection", "EtcdError"]

_PIECE = 65_536
# That may have come of itself while nothing was asked.
_MOST_PIECES = 100
_LARGEST = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_LENGTH = struct.Struct(">I")
# Bytes of an answer. The store asks for 600 values at the most, and etcd takes 1.5 MB for one.
_LARGEST_ANSWER = 2**30
# Seconds. Far less than anybody waits for the answer to a ping, and many calls.
_ANSWER_WITHIN_S = 0.1

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

    __slots__ = ("answer", "headers", "over", "stream")

    def __init__(self, stream: int) -> None:
        self.stream = stream
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
        self._speaks = False  # whether anything of HTTP/2 has come
        self._ends = False  # whether the server takes no more calls
        # What we send is right without being looked at: the headers are always the same.
        config = H2Configuration(
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
        )
        self._http2 = H2Connection(config)
        self._http2.encoder = RememberingEncoder()
        self._http2.decoder = RememberingDecoder()
        self._answers = b""  # to pings, and whatever else h2 says to what comes
        self._answer_at = 0.0  # when they are to be sent at the latest, if there are any (monotonic)
        # Room for more than an answer ever has.
        self._http2.local_settings[SettingCodes.ENABLE_PUSH] = 0
        self._http2.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = _LARGEST
        self._http2.local_settings.acknowledge()
        self._http2.initiate_connection()
        self._http2.increment_flow_control_window(_LARGEST - _DEFAULT_WINDOW)

    def close(self) -> None:
        """Once or more often."""
        self._socket.close()

    def is_usable(self) -> bool:
        """Whether there can be another call. What came meanwhile is read: the server closes what is idle for long."""
        try:
            self._http2.get_next_available_stream_id()
            self._socket.settimeout(0.0)
            for _ in range(_MOST_PIECES):
                self._read()
        except (BlockingIOError, SSLWantReadError):
            return not self._ends
        except (NoAvailableStreamIDError, OSError):
            pass
        return False

    def start(self, path: str, message: bytes, token: str, deadline: float) -> Call:
        """Send a message; ``token``: who says it, or nothing."""
        while len(self._calls) >= self._http2.remote_settings.max_concurrent_streams:
            self._advance(deadline)
        try:
            call = Call(self._http2.get_next_available_stream_id())
            self._calls[call.stream] = call
            self._http2.send_headers(call.stream, _headers(self._scheme, self._authority, path, token))
            self._send_message(call, b"\0" + _LENGTH.pack(len(message)) + message, deadline)
        except H2Error as error:
            raise ConnectionError(f"HTTP/2: {error}") from error
        return call

    def finish(self, call: Call, deadline: float) -> bytes:
        """The answer, once it has come. ``EtcdError``: the server says something else."""
        while not call.over:
            if self._socket.fileno() < 0:
                raise ConnectionError("the connection was closed before an answer came")
            if self._ends:
                raise ConnectionError("the server ended the connection before an answer came")
            self._advance(deadline)
        return _message(call)

    # -- sending ----------------------------------------------------------------------------------------------------------

    def _send_message(self, call: Call, data: bytes, deadline: float) -> None:
        http2, stream = self._http2, call.stream
        at = 0
        while at < len(data) and not call.over:  # over: the server has read enough to refuse it
            size = min(len(data) - at, http2.max_outbound_frame_size, http2.local_flow_control_window(stream))
            if size <= 0:
                self._flush(deadline)
                self._advance(deadline)
                continue
            last = at + size == len(data)
            http2.send_data(stream, data[at : at + size], end_stream=last)
            at += size
        self._flush(deadline)

    def _flush(self, deadline: float) -> None:
        data = self._http2.data_to_send()
        if self._answers and time.monotonic() >= self._answer_at:
            # First: what was sent after settings had come is to be read by these.
            data = self._answers + data
            self._answers = b""
        if data:
            self._wait(deadline)
            self._socket.sendall(data)

    def _wait(self, deadline: float) -> None:
        """Let the next that is done with the socket take no longer."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left_s)

    # -- reading ----------------------------------------------------------------------------------------------------------

    def _advance(self, deadline: float) -> None:
        """Wait for what comes next, and send what there is to say to it, if not now then before long."""
        try:
            self._wait(min(deadline, self._answer_at) if self._answers else deadline)
            self._read()
        except TimeoutError:
            if not self._answers or time.monotonic() >= deadline:
                raise
        self._flush(deadline)

    def _read(self) -> None:
        """What comes next, and whatever else has come with it."""
        piece = self._socket.recv(_PIECE)
        if not piece:
            raise ConnectionError(
                "the server closed the connection" + ("" if self._speaks else ", and does not seem to speak HTTP/2")
            )
        if not self._answers:
            self._answer_at = time.monotonic() + _ANSWER_WITHIN_S
        try:
            for event in self._http2.receive_data(piece):
                self._take(event)
        except H2Error as error:
            raise ConnectionError(f"not an answer of HTTP/2: {error}") from error
        self._answers += self._http2.data_to_send()

    def _take(self, event: Event) -> None:
        self._speaks = True
        if isinstance(event, RemoteSettingsChanged):
            self._answer_at = 0.0
        if isinstance(event, ConnectionTerminated):
            self._ends = True
            return
        call = self._calls.get(getattr(event, "stream_id", None) or 0)
        if call is None:
            return
        if isinstance(event, ResponseReceived | TrailersReceived):
            call.headers.update(event.headers)
        elif isinstance(event, DataReceived):
            call.answer += event.data
            if len(call.answer) > _LARGEST_ANSWER:
                raise ConnectionError("an answer does not end")
            self._http2.acknowledge_received_data(event.flow_controlled_length, call.stream)
        elif isinstance(event, StreamEnded | StreamReset):
            if isinstance(event, StreamReset) and not call.over:
                said = b"the server gave the call up (HTTP/2 error %d)" % event.error_code
                call.headers |= {b"grpc-status": b"%d" % _UNAVAILABLE, b"grpc-message": said}
            call.over = True
            del self._calls[call.stream]


@lru_cache(maxsize=64)
def _headers(scheme: str, authority: str, path: str, token: str) -> tuple[tuple[bytes, bytes], ...]:
    """Of a call. The token is a secret: no list of earlier headers is to have it."""
    headers = {":method": "POST", ":scheme": scheme, ":path": path, ":authority": authority, "te": "trailers"}
    headers["content-type"] = "application/grpc"
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return (*pairs, NeverIndexedHeaderTuple(b"token", token.encode())) if token else tuple(pairs)


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
    if status is None or not status.isdigit() or len(status) > 9:
        raise ConnectionError("an answer ended without a status")
    if int(status):
        said = unquote(headers.get(b"grpc-message", b"").decode("latin-1"))
        raise EtcdError(int(status), said or f"gRPC status {int(status)}")
    answer = memoryview(call.answer)
    if len(answer) < 5 or answer[0] or len(answer) - 5 != _LENGTH.unpack_from(answer, 1)[0]:
        raise ConnectionError("an answer was not one message")
    return bytes(answer[5:])

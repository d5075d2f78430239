"""The other side of a connection over HTTP/2, which does what a test wants."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, PingAckReceived, RequestReceived, SettingsAcknowledged, StreamEnded

__all__ = ["Peer"]


class Peer:
    """A server, by h2: it knows of each stream what was sent, and answers when it is told to."""

    def __init__(self, theirs: socket.socket) -> None:
        self.socket = theirs
        self.http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.flush()
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.asked: list[int] = []  # streams, in the order in which they were whole
        self.acknowledged = 0  # settings and pings
        self.gives_room = True

    def flush(self) -> None:
        self.socket.sendall(self.http2.data_to_send())

    def take(self) -> bool:
        """What comes next; False: nothing any more."""
        piece = self.socket.recv(65_536)
        if not piece:
            return False
        for event in self.http2.receive_data(piece):
            if isinstance(event, RequestReceived):
                self.headers[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                self.bodies[event.stream_id] = b""
            elif isinstance(event, DataReceived):
                self.bodies[event.stream_id] += event.data
                if self.gives_room:
                    self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.asked.append(event.stream_id)
            elif isinstance(event, SettingsAcknowledged | PingAckReceived):
                self.acknowledged += 1
        self.flush()
        return True

    def next_asked(self) -> int:
        while not self.asked:
            assert self.take()
        return self.asked.pop(0)

    def answer(self, stream: int, message: bytes, status: str = "0", **more: str) -> None:
        self.http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        data = b"\0" + struct.pack(">I", len(message)) + message
        for at in range(0, len(data), 16_384):
            self.http2.send_data(stream, data[at : at + 16_384])
        trailers = {"grpc-status": status, **{name.replace("_", "-"): value for name, value in more.items()}}
        self.http2.send_headers(stream, list(trailers.items()), end_stream=True)
        self.flush()

    def say(self, stream: int, **headers: str) -> None:
        """The only headers, which are the last ones, too."""
        named = {name.replace("_", "-"): value for name, value in headers.items() if name != "status"}
        self.http2.send_headers(stream, [(":status", headers.get("status", "200")), *named.items()], end_stream=True)
        self.flush()

    def wait_until_closed(self) -> None:
        with suppress(ConnectionError):
            while self.take():
                pass

"""A connection over HTTP/2: what it sends, and what it takes for an answer. The other side is h2, or said frame by frame."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder

from schedcore.jobstores._etcd_http2 import Connection, EtcdError
from tests.jobstores.etcd.peer import Peer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32


def soon() -> float:
    return time.monotonic() + 60


@contextmanager
def served(serve: Callable[[socket.socket], None]) -> Iterator[Connection]:
    """A connection; at its other end this is done with a socket, which is closed afterwards. What fails there fails here."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(60)
    failed: list[BaseException] = []

    def run() -> None:
        with theirs:
            try:
                serve(theirs)
            except BaseException as error:  # noqa: BLE001  # told below
                failed.append(error)

    thread = threading.Thread(target=run)
    connection = Connection(ours, "http", "host:2379")
    thread.start()
    try:
        yield connection
    finally:
        connection.close()
        thread.join()
        if failed:
            raise failed[0]


def echo(theirs: socket.socket) -> None:
    """Answers each message with itself."""
    peer = Peer(theirs)
    with suppress(AssertionError):
        while True:
            stream = peer.next_asked()
            peer.answer(stream, peer.bodies[stream][5:])


def ask(connection: Connection, message: bytes = b"x", token: str = "") -> bytes:
    return connection.finish(connection.start("/a.B/C", message, token, soon()), soon())


def test_what_is_sent() -> None:
    headers: list[dict[str, str]] = []
    bodies: list[bytes] = []

    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        for _ in range(2):
            stream = peer.next_asked()
            headers.append(peer.headers[stream])
            bodies.append(peer.bodies[stream])
            peer.answer(stream, b"")
        peer.wait_until_closed()

    with served(serve) as connection:
        assert ask(connection, b"abc") == b""
        assert ask(connection, b"", "secret") == b""
    common = {":method": "POST", ":scheme": "http", ":path": "/a.B/C", ":authority": "host:2379"}
    common |= {"te": "trailers", "content-type": "application/grpc"}
    assert headers == [common, common | {"token": "secret"}]
    assert bodies == [b"\0\0\0\0\3abc", b"\0\0\0\0\0"]


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_530, 65_531, 300_000])
def test_messages_of_any_size_come_and_go(size: int) -> None:
    message = bytes(size % 251 for size in range(size))
    with served(echo) as connection:
        for _ in range(3):
            assert ask(connection, message) == message
            assert connection.is_usable()


def test_answers_come_in_any_order() -> None:
    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        streams = [peer.next_asked() for _ in range(3)]
        for stream in reversed(streams):
            peer.answer(stream, peer.bodies[stream][5:])
        peer.wait_until_closed()

    with served(serve) as connection:
        calls = [connection.start("/a.B/C", b"%d" % number, "", soon()) for number in range(3)]
        assert [connection.finish(call, soon()) for call in calls] == [b"0", b"1", b"2"]
        assert not connection._calls


def test_there_are_no_more_calls_at_once_than_the_server_takes() -> None:
    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        peer.http2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        for _ in range(4):
            stream = peer.next_asked()
            assert not peer.asked
            peer.answer(stream, peer.bodies[stream][5:])
        peer.wait_until_closed()

    with served(serve) as connection:
        assert ask(connection) == b"x"
        calls = [connection.start("/a.B/C", b"%d" % number, "", soon()) for number in range(3)]
        assert [connection.finish(call, soon()) for call in calls] == [b"0", b"1", b"2"]


def test_no_more_is_sent_than_the_server_takes() -> None:
    """h2 refuses more than that. It changes its mind while a message is under way, and takes larger frames later."""
    sizes: list[int] = []

    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        peer.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        peer.answer(peer.next_asked(), b"")
        peer.gives_room = False
        for size in (1000, 1700):
            while len(peer.bodies.get(3, b"")) < size:
                assert peer.take()
            sizes.append(len(peer.bodies[3]))
            peer.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1700, SettingCodes.MAX_FRAME_SIZE: 20_000})
            peer.flush()
        peer.http2.increment_flow_control_window(500_000)
        peer.http2.increment_flow_control_window(500_000, 3)
        peer.flush()
        stream = peer.next_asked()
        peer.answer(stream, b"%d" % len(peer.bodies[stream]))
        peer.wait_until_closed()

    with served(serve) as connection:
        ask(connection)
        assert ask(connection, b"x" * 200_000) == b"200005"
        assert connection._http2.max_outbound_frame_size == 20_000
    assert sizes == [1000, 1700]


def test_the_server_is_told_of_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """h2 does not send more than that."""

    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        for _ in range(4):
            stream = peer.next_asked()
            while peer.http2.local_flow_control_window(stream) < 50_000:
                assert peer.take()
            peer.answer(stream, b"x" * 49_995)
        peer.wait_until_closed()

    monkeypatch.setattr("schedcore.jobstores._etcd_http2._LARGEST", 100_000)
    with served(serve) as connection:
        for _ in range(4):
            assert len(ask(connection)) == 49_995


def test_pings_are_answered_also_between_two_calls() -> None:
    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        peer.answer(peer.next_asked(), b"")
        peer.http2.ping(b"12345678")
        peer.flush()
        stream = peer.next_asked()
        while peer.acknowledged < 2:
            assert peer.take()
        peer.http2.ping(b"12345678")
        peer.answer(stream, b"")
        peer.wait_until_closed()

    with served(serve) as connection:
        ask(connection)
        ask(connection)
        assert connection.is_usable()


def test_pings_of_many_calls_are_answered_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """etcd sends one with each answer. What its settings say is acknowledged at once."""
    acknowledged: list[int] = []

    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        for _ in range(5):
            stream = peer.next_asked()
            acknowledged.append(peer.acknowledged)
            peer.http2.ping(b"12345678")
            peer.answer(stream, b"")
        peer.wait_until_closed()

    monkeypatch.setattr("schedcore.jobstores._etcd_http2._ANSWER_WITHIN_S", 3600.0)
    with served(serve) as connection:
        for _ in range(4):
            ask(connection)
        connection._answer_at = 0.0  # they are to be answered now
        ask(connection)
    # (The ping of the first answer may have come with the settings, or after them, and these before the first call was read.)
    assert acknowledged[1] in (1, 2)
    assert acknowledged[1:4] == [acknowledged[1]] * 3
    assert acknowledged[4] == 5


def test_what_the_server_says_instead() -> None:
    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        peer.answer(peer.next_asked(), b"", "14", grpc_message="etcdserver: no leader")
        peer.say(peer.next_asked(), grpc_status="3", grpc_message="100%25 %C3%A4")
        peer.say(peer.next_asked(), status="503")
        peer.say(peer.next_asked(), status="404")
        peer.http2.reset_stream(peer.next_asked(), ErrorCodes.INTERNAL_ERROR)
        peer.flush()
        peer.answer(peer.next_asked(), b"", "13")
        peer.answer(peer.next_asked(), b"fine")
        peer.wait_until_closed()

    with served(serve) as connection:
        for code, message, transient in (
            (14, "etcdserver: no leader", True),
            (3, "100% ä", False),
            (14, "HTTP status 503", True),
            (2, "HTTP status 404", False),
            (14, "the server gave the call up (HTTP/2 error 2)", True),
            (13, "gRPC status 13", False),
        ):
            with pytest.raises(EtcdError) as caught:
                ask(connection)
            assert (caught.value.code, str(caught.value), caught.value.transient) == (code, message, transient)
        assert ask(connection) == b"fine"


def test_a_message_that_is_refused_before_it_is_whole() -> None:
    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        peer.gives_room = False
        while not peer.bodies:
            assert peer.take()
        peer.say(1, grpc_status="8")
        peer.http2.reset_stream(1, ErrorCodes.NO_ERROR)
        peer.flush()
        peer.gives_room = True
        peer.http2.increment_flow_control_window(100_000)
        peer.answer(peer.next_asked(), b"fine")
        peer.wait_until_closed()

    with served(serve) as connection:
        with pytest.raises(EtcdError, match="gRPC status 8"):
            ask(connection, b"x" * 1_000_000)
        assert ask(connection) == b"fine"


def test_a_server_that_ends() -> None:
    """What it has begun with may be done or not; there is no other call."""

    def serve(theirs: socket.socket) -> None:
        peer = Peer(theirs)
        first, second = peer.next_asked(), peer.next_asked()
        peer.answer(first, b"a")
        peer.http2.close_connection(last_stream_id=second)
        peer.flush()
        theirs.recv(65_536)

    with served(serve) as connection:
        first = connection.start("/a.B/C", b"x", "", soon())
        second = connection.start("/a.B/C", b"x", "", soon())
        assert connection.finish(first, soon()) == b"a"
        with pytest.raises(ConnectionError, match="ended the connection before an answer came"):
            connection.finish(second, soon())
        assert not connection.is_usable()


def test_numbers_of_streams_come_to_an_end() -> None:
    with served(echo) as connection:
        ask(connection)
        connection._http2.highest_outbound_stream_id = 2**31 - 3
        assert connection.is_usable()
        assert ask(connection, b"the last") == b"the last"
        assert not connection.is_usable()
        with pytest.raises(ConnectionError, match="HTTP/2"):
            ask(connection)


# --- frame by frame -----------------------------------------------------------------------------------------------------


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def block(**headers: str) -> bytes:
    return Encoder().encode([(name.replace("_", "-"), value) for name, value in headers.items()])


STATUS = Encoder().encode([(":status", "200")])
START = frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_HEADERS, 1, STATUS)
FINE = block(grpc_status="0")
MESSAGE = frame(DATA, 0, 1, b"\0\0\0\0\1a")
END = frame(HEADERS, END_STREAM | END_HEADERS, 1, FINE)


def says(*frames: bytes) -> Callable[[socket.socket], None]:
    def serve(theirs: socket.socket) -> None:
        came = b""
        while not came.endswith(b"\0\0\0\0\1x"):
            came += theirs.recv(65_536)
        with suppress(ConnectionError):
            for one in frames:
                theirs.sendall(one)
            theirs.shutdown(socket.SHUT_WR)
            while theirs.recv(65_536):
                pass

    return serve


@pytest.mark.parametrize(
    "frames",
    [
        (START, MESSAGE, END),
        # Byte by byte.
        tuple(bytes([byte]) for byte in START + MESSAGE + END),
        # Filled up, with a priority, in three parts, and with more than one knows.
        (
            frame(SETTINGS, 0, 0, b""),
            frame(HEADERS, PADDED | PRIORITY | END_HEADERS, 1, b"\4" + b"\0" * 5 + STATUS + b"\0" * 4),
            frame(DATA, PADDED, 1, b"\3\0\0\0\0\1\0\0\0"),
            frame(250, 255, 1, b"what may come one day"),
            frame(DATA, PADDED, 1, b"\0a"),
            frame(HEADERS, END_STREAM, 1, FINE[:1]),
            frame(CONTINUATION, 0, 1, FINE[1:2]),
            frame(CONTINUATION, END_HEADERS, 1, FINE[2:]),
        ),
    ],
)
def test_answers(frames: tuple[bytes, ...]) -> None:
    with served(says(*frames)) as connection:
        assert ask(connection) == b"a"


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ((), "the server closed the connection"),
        ((START[:5],), "the server closed the connection"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "and does not seem to speak HTTP/2"),
        ((b"SSH-2.0-x\r\n",), "and does not seem to speak HTTP/2"),
        ((START, MESSAGE), "the server closed the connection$"),
        ((START, MESSAGE[:-1] + b"", END), "not an answer|closed"),
        ((START, frame(DATA, 0, 1, b"\0\0\0\0\2a"), END), "was not one message"),
        ((START, frame(DATA, 0, 1, b"\0\0\0\0\1ab"), END), "was not one message"),
        ((START, frame(DATA, 0, 1, b"\1\0\0\0\1a"), END), "was not one message"),
        ((START, END), "was not one message"),
        ((START, frame(HEADERS, END_STREAM | END_HEADERS, 1, block(x="y"))), "ended without a status"),
        ((START, frame(HEADERS, END_STREAM | END_HEADERS, 1, block(grpc_status="x"))), "ended without a status"),
        ((START, frame(HEADERS, END_STREAM | END_HEADERS, 1, block(grpc_status="9" * 5000))), "ended without a status"),
        ((START, frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\xff\xff")), "not an answer of HTTP/2"),
        ((START, frame(HEADERS, END_STREAM, 1, FINE), MESSAGE), "not an answer of HTTP/2"),
        ((START, frame(CONTINUATION, END_HEADERS, 1, FINE)), "not an answer of HTTP/2"),
        ((START, frame(HEADERS, 0, 1, FINE), frame(CONTINUATION, 4, 3, b"")), "not an answer of HTTP/2"),
        ((START, frame(HEADERS, 0, 1, b"x"), *[frame(CONTINUATION, 0, 1, b"x" * 9)] * 70), "not an answer of HTTP/2"),
        ((START, frame(DATA, PADDED, 1, b"")), "not an answer of HTTP/2"),
        ((START, frame(DATA, PADDED, 1, b"\1")), "not an answer of HTTP/2"),
        ((START, frame(WINDOW_UPDATE, 0, 0, b"\0")), "not an answer of HTTP/2"),
        ((START, frame(GOAWAY, 0, 0, b"\0")), "not an answer of HTTP/2"),
        ((START, frame(SETTINGS, 0, 0, b"\0")), "not an answer of HTTP/2"),
        ((START, frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2")), "not an answer of HTTP/2"),
    ],
)
def test_what_is_no_answer(frames: tuple[bytes, ...], said: str) -> None:
    with served(says(*frames)) as connection, pytest.raises(ConnectionError, match=said):
        ask(connection)


def test_an_answer_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedcore.jobstores._etcd_http2._LARGEST_ANSWER", 20_000)
    endless = says(START, *[frame(DATA, 0, 1, b"x" * 10_000)] * 3)
    with served(endless) as connection, pytest.raises(ConnectionError, match="an answer does not end"):
        ask(connection)


def test_nobody_answers() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours, "http", "host")
        call = connection.start("/a.B/C", b"x", "", soon())
        with pytest.raises(TimeoutError, match="timed out"):
            connection.finish(call, time.monotonic() + 0.05)
        # One who only ever says that there is nothing keeps nobody waiting for ever.
        theirs.sendall(START + frame(PING, 0, 0, b"12345678") * 10)
        with pytest.raises(TimeoutError, match="timed out"):
            connection.finish(call, time.monotonic() + 0.05)
        connection.close()
        with pytest.raises(ConnectionError, match="closed before an answer came"):
            connection.finish(call, soon())


def test_a_server_that_takes_nothing_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours, "http", "host")
        with pytest.raises(TimeoutError, match="timed out"):
            connection.start("/a.B/C", b"x" * 100_000, "", time.monotonic() + 0.05)

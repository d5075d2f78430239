"""The session for servers that need no more than a connection: what it sends, and what it takes for an answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import pytest
import requests

from schedcore.jobstores._etcd_session import PlainSession

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[PlainSession, str, Queue[bytes]]]:
    """A session, where it is to ask, and what was asked. Each connection is given the next of these answers, and closed; then
    what was asked on it is told.
    """
    asked: Queue[bytes] = Queue()

    def serve() -> None:
        for answer in answers:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                head = b"".join(iter(lines.readline, b"\r\n"))
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                request = head + lines.read(length)
                connection.sendall(answer)
            asked.put(request)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        port = listening.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        session = PlainSession("127.0.0.1", port)
        try:
            yield session, f"http://127.0.0.1:{port}/v3/kv/range", asked
        finally:
            session.close()
            thread.join()


def test_what_is_sent() -> None:
    with server(OK + b"Content-Length: 2\r\n\r\n{}", OK + b"Content-Length: 2\r\n\r\n{}") as (session, url, asked):
        assert session.post(url, json={"key": "a"}, timeout=20).json() == {}
        first = asked.get(timeout=60).decode().split("\r\n")
        # The connection was closed meanwhile.
        assert session.get(url.replace("/v3/kv/range", "/version"), timeout=20).text == "{}"
        second = asked.get(timeout=60).decode().split("\r\n")
    host = url.split("/")[2]
    assert first[0] == "POST /v3/kv/range HTTP/1.1"
    assert {f"Host: {host}", "Content-Type: application/json"} <= set(first)
    assert json.loads(first[-1]) == {"key": "a"}
    assert second[0] == "GET /version HTTP/1.1"


@pytest.mark.parametrize(
    ("answer", "status", "reason", "said"),
    [
        (OK + b"Content-Length: 7\r\n\r\n" + b'{"a":1}', 200, "OK", {"a": 1}),
        (b"HTTP/1.1 200\r\ncontent-LENGTH:2\r\n\r\n{}", 200, "", {}),
        (OK + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4;x=y\r\n":1}\r\n0\r\n\r\n', 200, "OK", {"a": 1}),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\nGrpc-Trailer: x\r\n\r\n", 200, "OK", {}),
        (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", 200, "OK", {}),
        (b"HTTP/1.0 429 Too Many\r\nContent-Length: 2\r\n\r\n{}", 429, "Too Many", {}),
    ],
)
def test_answers(answer: bytes, status: int, reason: str, said: object) -> None:
    with server(answer) as (session, url, _):
        found = session.post(url, json={}, timeout=20)
        assert (found.status_code, found.reason, found.json()) == (status, reason, said)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "closed before"),
        (b"HTTP/1.1 200 O", "closed before"),
        (b"SSH-2.0-x\r\n", "Expected HTTP/"),
        (b"HTTP/1.1 OK 200\r\n", "Invalid status code"),
        (b"\r\n", "closed before"),
        (OK + b"Content-Length: 9\r\n\r\n{}", "closed before"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}", "closed before"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "closed before"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", "chunk size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n", "chunk size"),
    ],
)
def test_what_is_no_answer(answer: bytes, error: str) -> None:
    with server(answer, OK + b"Content-Length: 2\r\n\r\n{}") as (session, url, _):
        with pytest.raises(requests.ConnectionError, match=error):
            session.post(url, json={}, timeout=20)
        # Nothing of it is taken for the next one.
        assert session.post(url, json={}, timeout=20).json() == {}


@pytest.mark.parametrize("said", [b"", b"{", b"\xff", b"<html>"])
def test_what_is_no_json_is_the_servers_fault(said: bytes) -> None:
    with server(OK + f"Content-Length: {len(said)}\r\n\r\n".encode() + said) as (session, url, _):
        answer = session.post(url, json={}, timeout=20)
        with pytest.raises(requests.JSONDecodeError):
            answer.json()


def test_what_comes_behind_an_answer_is_not_taken_for_the_next_one() -> None:
    one = OK + b"Content-Length: 2\r\n\r\n{}"
    with server(one + b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]", one) as (session, url, asked):
        first = session.post(url, json={}, timeout=20)
        asked.get(timeout=60)
        second = session.post(url, json={}, timeout=20)
    assert [(answer.status_code, answer.reason, answer.json()) for answer in (first, second)] == [(200, "OK", {})] * 2


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        session = PlainSession("127.0.0.1", port)
        with pytest.raises(requests.Timeout):
            session.post(f"http://127.0.0.1:{port}/", json={}, timeout=0.05)


def test_nobody_listens() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        session = PlainSession("127.0.0.1", port)
        with pytest.raises(requests.ConnectionError):
            session.post(f"http://127.0.0.1:{port}/", json={}, timeout=20)

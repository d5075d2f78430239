"""Requests that do not wait for each other."""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from types import SimpleNamespace

import pytest

from schedcore.jobstores._lanes import in_two_lanes

# Seconds that a thread waits for the other one, on a machine that stands still now and then.
PATIENCE_S = 60.0

said: ContextVar[str] = ContextVar("said", default="nothing")


def test_two_are_under_way_at_once() -> None:
    both = threading.Barrier(2)

    def send(piece: int) -> tuple[int, str]:
        both.wait(PATIENCE_S)
        return piece, said.get()

    token = said.set("for this call")
    try:
        assert sorted(in_two_lanes(send, range(6))) == [(piece, "for this call") for piece in range(6)]
    finally:
        said.reset(token)


def test_one_alone_is_sent_here() -> None:
    assert in_two_lanes(lambda piece: (piece, threading.current_thread()), ["a"]) == [("a", threading.current_thread())]
    assert in_two_lanes(lambda piece: piece, []) == []


@pytest.mark.parametrize("here", [False, True])
def test_after_an_error_nothing_begins_and_what_had_begun_has_ended(
    monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    caller = threading.current_thread()
    both = threading.Barrier(2)
    failing: list[threading.Thread] = []
    waits = threading.Event()
    begun: list[int] = []
    ended: list[int] = []
    join = threading.Thread.join

    def send(piece: int) -> None:
        begun.append(piece)
        if len(begun) > 2:
            return
        both.wait(PATIENCE_S)
        if (threading.current_thread() is caller) is here:
            failing.append(threading.current_thread())
            waits.set()
            raise ValueError("refused")
        # Until the other one has given up.
        assert waits.wait(PATIENCE_S)
        if here:
            assert joined.wait(PATIENCE_S)
        else:
            join(failing[0], PATIENCE_S)
        ended.append(piece)

    joined = threading.Event()

    def told(thread: threading.Thread, timeout: float | None = None) -> None:
        joined.set()
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", told)
    with pytest.raises(ValueError, match="refused"):
        in_two_lanes(send, range(9))
    assert len(begun) == 2
    assert len(ended) == 1


def test_without_a_thread_for_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert in_two_lanes(lambda piece: piece, range(5)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("patched", [["socket"], ["socket", "threading"], []])
def test_where_a_socket_is_of_one_thread_there_is_no_other_one(
    monkeypatch: pytest.MonkeyPatch, patched: list[str]
) -> None:
    """gevent has patched sockets alone. A thread that was given one of another failed: "Cannot switch to a different thread"."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace(is_module_patched=patched.__contains__))
    monkeypatch.setattr(threading.Thread, "start", noted)
    assert sorted(in_two_lanes(lambda piece: piece, range(5))) == [0, 1, 2, 3, 4]
    assert bool(started) is (patched != ["socket"])

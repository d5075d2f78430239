"""What is known of a hub from outside."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from schedcore.adapters.gevent.places import is_alive, is_running


@pytest.mark.parametrize("begin", [lambda: None, lambda: gevent.sleep(0)], ids=["not yet run", "run"])
def test_a_hub_runs_as_long_as_its_thread(begin: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    def hang() -> Any:
        raise AssertionError("in Python 3.11 this may hang for ever: its lock is held while the garbage collector runs")

    monkeypatch.setattr(sys, "_current_frames", hang)
    hubs: list[Any] = []
    made, over = threading.Event(), threading.Event()

    def live() -> None:
        hubs.append(gevent.get_hub())
        begin()
        made.set()
        over.wait()

    thread = threading.Thread(target=live)
    thread.start()
    made.wait()
    (hub,) = hubs
    try:
        assert is_running(hub)
    finally:
        over.set()
        thread.join()
    assert is_alive(hub)
    # ``join`` returns a moment before the thread's greenlets are dead.
    end_s = time.monotonic() + 60
    while is_running(hub):
        assert time.monotonic() < end_s, "it is taken to run on"
        time.sleep(0.001)
    hub.destroy(destroy_loop=True)
    assert not is_alive(hub)

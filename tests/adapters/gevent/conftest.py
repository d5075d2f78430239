"""What all tests of gevent share: one hub in the main thread, made before the first of them, and hubs in threads."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from tests.services.fixtures import etcd, redis_server, zookeeper

__all__ = ["etcd", "redis_server", "zookeeper"]


@pytest.fixture(scope="session", autouse=True)
def _main_hub() -> Iterator[None]:
    """The hub of the main thread, with its descriptors and the threads of its pool, belongs to no test."""
    hub = gevent.get_hub()
    together = threading.Barrier(hub.threadpool_size)

    def name() -> None:
        # A thread that gevent has started gets its name in ``threading`` when it is asked for it first.
        threading.current_thread()
        together.wait(30)

    gevent.joinall([gevent.spawn(hub.threadpool.apply, name) for _ in range(hub.threadpool_size)], raise_error=True)
    yield
    hub.destroy()


@pytest.fixture(autouse=True)
def _forget_ended_threads() -> Iterator[None]:
    """Threads of gevent's are started past ``threading``, which learns of one when it is asked for it there, and never of its
    end: what it knows of threads that are no more is forgotten here.
    """
    known = dict(threading._active)  # type: ignore[attr-defined]
    yield
    end_s = time.monotonic() + 2.0
    while True:
        dummies: dict[int, threading.Thread] = {
            ident: thread
            for ident, thread in list(threading._active.items())  # type: ignore[attr-defined]
            if isinstance(thread, threading._DummyThread) and known.get(ident) is not thread
        }
        # The threads of the main hub's pool belong to no test, whichever is the first to ask for their names.
        pool: Any = gevent.get_hub().threadpool
        # Python 3.11 hangs when the garbage collector comes by in the middle of this.
        gc.disable()
        try:
            alive = sys._current_frames().keys() - {worker._thread_ident for worker in pool._worker_greenlets}
        finally:
            gc.enable()
        for ident in dummies:
            if ident not in alive:
                del threading._active[ident]  # type: ignore[attr-defined]
        if not any(ident in alive for ident in dummies) or time.monotonic() > end_s:
            return
        time.sleep(0.002)


class HubThread:
    """A thread in which a hub runs."""

    def __init__(self) -> None:
        made = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(made,), name="a hub")
        self._thread.start()
        assert made.wait(30)

    def _serve(self, made: threading.Event) -> None:
        self.hub = gevent.get_hub()
        self._stop = gevent.event.Event()
        bell = self.hub.loop.async_()
        bell.start(lambda: None)
        made.set()
        self._stop.wait()
        bell.close()
        self.hub.destroy(destroy_loop=True)

    def call(self, call: Callable[[], Any]) -> Any:
        """Make a call in a greenlet there; returns what it returns, raises what it raises."""
        over = threading.Event()
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append((call(), None))
            except BaseException as error:  # noqa: BLE001  # it is raised again in the thread that asked
                outcome.append((None, error))
            over.set()

        self.hub.loop.run_callback_threadsafe(gevent.spawn_raw, run)
        assert over.wait(30), "the hub does not answer"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        self.hub.loop.run_callback_threadsafe(self._stop.set)
        self._thread.join(30)


@pytest.fixture
def hub_thread() -> Iterator[HubThread]:
    made = HubThread()
    yield made
    made.close()

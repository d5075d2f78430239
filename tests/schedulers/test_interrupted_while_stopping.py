"""Ctrl-C at any point of ``shutdown``, or of a ``start`` that fails: nobody waits for ever then, and nothing is left open."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import pytest

from schedcore.events import EVENT_JOB_EXECUTED
from schedcore.jobstores.base import StoreHost
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers import _program
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import VirtualExecutor, VirtualScheduler
from schedcore.testing._suite import Aside
from tests.interrupting import disturbed
from tests.opened import Store, Threads

LIMIT_S = 60.0
# Not Python's own: a condition is not made for it.
WITHIN = (
    "/_closing.py",
    "/_openings.py",
    "/_reports.py",
    "/_starting.py",
    "/_thread_wakeup.py",
    "/background.py",
    "/schedulers/base.py",
    "/opened.py",
)


def stops(scheduler: BackgroundScheduler) -> None:
    scheduler.shutdown()


def stops_at_once(scheduler: BackgroundScheduler) -> None:
    scheduler.shutdown(wait=False)


def stops_in_time(scheduler: BackgroundScheduler) -> None:
    scheduler.shutdown(timeout=LIMIT_S)


def fails_to_start(scheduler: BackgroundScheduler) -> None:
    class Away(MemoryJobStore):
        """Its server is."""

        def start(self, scheduler: StoreHost, alias: str) -> None:
            raise OSError("no such server")

    scheduler.shutdown()
    scheduler.add_jobstore(Away(), "away")
    with suppress(OSError):
        scheduler.start()


def ctrl_c() -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", [stops, stops_at_once, stops_in_time, fails_to_start])
def test_nobody_waits_for_ever_and_nothing_is_left_open(step: Callable[[BackgroundScheduler], None]) -> None:
    """In the main thread, the only one that it comes to."""
    at = 0
    interrupted = True
    while interrupted:
        at += 1
        opened: list[object] = []
        scheduler = BackgroundScheduler(
            executors={"default": Threads(opened)}, jobstores={"default": Store(opened)}, timezone="UTC"
        )
        scheduler.start()
        with suppress(KeyboardInterrupt):
            interrupted = disturbed(lambda: step(scheduler), ctrl_c, at, WITHIN)  # noqa: B023  # called in here
        Aside(scheduler.shutdown).result(LIMIT_S)
        assert scheduler._closed.wait(LIMIT_S)
        assert opened == [], at
        assert scheduler not in _program.started, at
        with suppress(LookupError):
            scheduler.remove_jobstore("away")
        scheduler.start()
        assert len(opened) == 2, at
        scheduler.shutdown()
        assert opened == [], at
    assert at > 20


def test_ctrl_c_while_a_listener_hangs_at_the_end() -> None:
    """Who called ``shutdown`` again waited for ever, and so did the end of the program."""
    heard, release = threading.Event(), threading.Event()

    def listen(event: object) -> None:
        heard.set()
        release.wait(LIMIT_S)

    class Interrupts(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # It waits for the listener from now on.
            if record.getMessage() == "scheduler has been shut down" and threading.get_ident() == here:
                threading.Timer(0.01, signal.pthread_kill, (here, signal.SIGINT)).start()

    here = threading.get_ident()
    logger = logging.Logger("stopping")
    logger.addHandler(Interrupts())
    scheduler = BackgroundScheduler(timezone="UTC", logger=logger)
    scheduler.add_listener(listen, EVENT_JOB_EXECUTED)
    scheduler.start()
    try:
        scheduler.add_job(int)
        assert heard.wait(LIMIT_S)
        with pytest.raises(KeyboardInterrupt):
            scheduler.shutdown()
        assert scheduler._closed.wait(LIMIT_S)
    finally:
        release.set()


def test_in_virtual_time_no_other_thread_goes_on() -> None:
    """Jobs ran in one while the program went on, and moved its clock; the next shutdown waited for what was interrupted."""
    elsewhere: list[object] = []

    class Watched(VirtualScheduler):
        def _in_background(self, call: Callable[[], None]) -> None:
            elsewhere.append(call)

    opened: list[object] = []
    ran: list[int] = []
    scheduler = Watched(executors={"default": VirtualExecutor(5, max_workers=1)}, jobstores={"default": Store(opened)})
    scheduler.start()
    scheduler.add_job(int, id="1")
    scheduler.add_job(ctrl_c, id="2")
    scheduler.add_job(lambda: ran.append(1), id="3")
    scheduler.run_until("2026-01-01T00:00:01Z")
    with pytest.raises(KeyboardInterrupt):
        scheduler.shutdown()
    assert elsewhere == []
    assert len(opened) == 1
    assert scheduler.shutdown() == []
    assert opened == []
    assert ran == [1]
    scheduler.start()
    scheduler.shutdown()

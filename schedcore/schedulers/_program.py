"""What the program does to its schedulers: it ends, and it forks."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from schedcore._forks import forget_after_fork, notice_fork
from schedcore.locks import make_event
from schedcore.schedulers._closing import close, tell_what_runs

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["register_exit_hook", "started"]

# Seconds for which a program that has come to its end waits for jobs and says nothing.
_SILENT_S = 5.0

#: Schedulers that were started and are not closed yet.
started: weakref.WeakSet[BaseScheduler] = weakref.WeakSet()


def _at_exit() -> None:
    """The program ends with schedulers running: stop firing, wait for the jobs that run, write what became of them."""
    notice_fork()
    schedulers = list(started)
    for scheduler in schedulers:
        try:
            scheduler.shutdown(wait=False)
        except RuntimeError:
            # Its loop is gone, or no thread can be started any more.
            logging.getLogger("schedcore.scheduler").debug("closing in the main thread", exc_info=True)
            close(scheduler, False, None)
    if all(scheduler._closed.is_set() for scheduler in schedulers):
        return
    over = make_event()
    teller = threading.Thread(target=_tell_who_waits, args=(schedulers, over), name="schedcore-exit", daemon=True)
    with suppress(RuntimeError):  # no thread can be started any more
        teller.start()
    try:
        for scheduler in schedulers:
            scheduler._wait_closed()
    finally:
        over.set()


def _tell_who_waits(schedulers: list[BaseScheduler], over: threading.Event) -> None:
    """Whoever looks at a program that does not end is to see why, also where ``INFO`` is not logged."""
    if not over.wait(_SILENT_S):
        for scheduler in schedulers:
            tell_what_runs(scheduler, logging.WARNING, "the program waits to end")


def _after_fork_in_child() -> None:
    for scheduler in list(started):
        scheduler._after_fork_in_child()
    started.clear()


def register_exit_hook() -> None:
    """Have the schedulers that run closed at the end of the program, before what is registered with ``atexit`` by now.

    For frameworks that let go of their own things there.
    """
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)


register_exit_hook()
forget_after_fork(_after_fork_in_child)

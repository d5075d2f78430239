"""What the program does to its schedulers: it ends, and it forks."""

from __future__ import annotations

import atexit
import logging
import weakref
from typing import TYPE_CHECKING

from schedcore._forks import forget_after_fork, notice_fork
from schedcore.schedulers._closing import close

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["register_exit_hook", "started"]

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
    for scheduler in schedulers:
        scheduler._wait_closed()


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

"""The lock for what takes microseconds, and an event that does not hang a signal handler.

gevent's monkey patching makes the locks of ``threading`` ones that greenlets can wait for. Between real threads these do not
always wake who waits, and the hub cannot wait for them at all. A lock under which nobody ever waits for anything needs none of
that: it is a real one, whatever was patched. Where something may take longer, or a job store is called, ``threading`` is right.

A signal handler that shuts a scheduler down may run in the midst of whatever the main thread does with it. What that holds has
to be reentrant, or the handler waits for it for ever.
"""

import threading
from _thread import RLock
from typing import Any

__all__ = ["ShortLock", "make_event"]

#: A reentrant lock, of the threads of the operating system.
ShortLock = RLock


def make_event() -> threading.Event:
    """An event that may be used in the midst of any use of it."""
    event: Any = threading.Event()
    if hasattr(event, "_cond"):  # Python's own, and not gevent's
        event._cond = threading.Condition(threading.RLock())
    made: threading.Event = event
    return made

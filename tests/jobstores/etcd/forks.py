"""A child of the test's process."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

__all__ = ["in_child"]


def in_child(do: Callable[[], object]) -> int:
    """The process id of a child that does this and ends, with 0 if nothing was raised."""
    with warnings.catch_warnings():
        # That there are threads: a child that only asks and ends does not mind.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(60)  # ends it if it waits for ever
            do()
            status = 0
        finally:
            os._exit(status)
    return child

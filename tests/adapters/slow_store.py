"""A job store that does I/O and is slow at it, for tests of what a loop is kept from meanwhile."""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore

__all__ = ["SlowStore"]


class SlowStore(MemoryJobStore):
    """Takes ``delay_s`` for each call that it is given, and notes which thread made which."""

    traits = StoreTraits(blocking=True, durable=False)

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self.delay_s = delay_s
        self.calls: set[tuple[str, int]] = set()
        self._within = threading.local()

    def calls_in(self, thread_id: int) -> list[str]:
        """The calls that this thread made. At least one was made by any."""
        assert self.calls
        return [name for name, thread in self.calls if thread == thread_id]

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        # ``check`` is by its contract the one that may not wait.
        if name.startswith("_") or name in ("calls_in", "check", "traits") or not callable(value):
            return value

        @functools.wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            # A call that it makes of its own takes no longer.
            if getattr(self._within, "call", None) is None:
                self._within.call = name
                try:
                    self.calls.add((name, threading.get_ident()))
                    time.sleep(self.delay_s)
                    return value(*args, **kwargs)
                finally:
                    self._within.call = None
            return value(*args, **kwargs)

        return call

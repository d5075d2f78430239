"""A job store that does I/O and can be held up or made to fail, for tests of who makes its calls, and who waits for them."""

from __future__ import annotations

import threading
from typing import Any

from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore

__all__ = ["FAR", "FarStore", "made_here"]

#: A job that does not fire while it is tested.
FAR: dict[str, Any] = {"trigger": "date", "run_date": "2099-01-01T00:00:00Z"}


class FarStore(MemoryJobStore):
    """A store that does I/O: every call is noted with its thread, and waits for ``gate``."""

    traits = StoreTraits(blocking=True, durable=True)

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failing: Exception | None = None
        self.gated: str | None = None  # the one call that waits for the gate; None: all

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or not callable(value) or name == "check":
            return value  # ``check`` does no I/O

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, threading.get_ident()))
            assert self.gated not in (None, name) or self.gate.wait(60.0)
            if self.failing is not None:
                raise self.failing
            return value(*args, **kwargs)

        return call


def made_here(store: FarStore) -> list[str]:
    """The calls that were made in the calling thread."""
    return [name for name, thread in store.calls if thread == threading.get_ident()]

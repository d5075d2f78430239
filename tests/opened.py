"""A job store and an executor that say whether they are open."""

from __future__ import annotations

from typing import Any

from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.jobstores.base import StoreHost
from schedcore.jobstores.memory import MemoryJobStore

__all__ = ["Store", "Threads"]


class Store(MemoryJobStore):
    """Is among ``opened`` while it is open."""

    def __init__(self, opened: list[object]) -> None:
        super().__init__()
        self._opened = opened

    def start(self, scheduler: StoreHost, alias: str) -> None:
        super().start(scheduler, alias)
        self._opened.append(self)

    def shutdown(self) -> None:
        if self in self._opened:
            self._opened.remove(self)


class Threads(ThreadPoolExecutor):
    """Likewise."""

    def __init__(self, opened: list[object]) -> None:
        super().__init__()
        self._opened = opened

    def start(self, scheduler: Any, alias: str) -> None:
        super().start(scheduler, alias)
        self._opened.append(self)

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Any]:
        if self in self._opened:
            self._opened.remove(self)
        return super().shutdown(wait, timeout)

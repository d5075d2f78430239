"""A few threads of the scheduler's own, for calls whose result nobody asks for: listeners, and calls into job stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from schedcore.executors._workers import WorkerPool

__all__ = ["CallPool", "Teller", "call_pool"]

CallPool = WorkerPool[Callable[[], None], None]


class Teller(Protocol):
    """Makes calls one after the other, elsewhere. A ``CallPool`` of one thread is one."""

    def submit(self, items: Sequence[Callable[[], None]]) -> None:
        """Have calls made. From any thread. Raises ``RuntimeError`` when closed."""

    def close(self) -> None:
        """Take no more."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait, after ``close``, until what was taken is made; False when ``timeout`` s ran out first."""


_logger = logging.getLogger("schedcore.scheduler")


def call_pool(max_workers: int, name: str) -> CallPool:
    """Up to ``max_workers`` threads that make the calls submitted to them, in order. What a call raises is logged."""
    return WorkerPool(max_workers, _call, _pass, _log, name)


def _call(call: Callable[[], None]) -> None:
    call()


def _pass(result: None) -> None:
    """There is nobody to report to."""


def _log(call: Callable[[], None], error: BaseException) -> None:
    _logger.error("%r failed in a thread of the scheduler's", call, exc_info=error)

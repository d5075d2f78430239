"""Virtual time for what lives on an asyncio loop."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest


class VirtualLoop(asyncio.SelectorEventLoop):
    """Nothing sleeps: what would be waited for a timer is added to its time."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        super().__init__(_Selector(self))
        # Seconds. So far in the future a float of seconds tells no nanoseconds apart.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.passed_s

    def clock(self, start: datetime) -> _Clock:
        """What shows its time to a scheduler."""
        return _Clock(self, start)


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            self._loop.passed_s += timeout
            timeout = 0
        return super().select(timeout)


class _Clock:
    """A ``schedcore.clock.Clock`` that shows the time of such a loop."""

    def __init__(self, loop: VirtualLoop, start: datetime) -> None:
        self._loop = loop
        self._start_us = int(start.timestamp()) * 1_000_000

    def wall_us(self) -> int:
        return self._start_us + round(self._loop.passed_s * 1e6)

    def monotonic_s(self) -> float:
        return self._loop.passed_s


@pytest.fixture
def virtual_loop() -> Iterator[VirtualLoop]:
    """An asyncio loop that does not run yet, and never sleeps."""
    loop = VirtualLoop()
    yield loop
    if not loop.is_closed():
        loop.close()

"""What tests in virtual time begin with: how a scheduler is made, when time begins, and jobs that do nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from schedcore.testing import VirtualScheduler

__all__ = ["T0", "Make", "nothing", "seconds", "takes"]

#: The fixture ``virtual``.
Make = Callable[..., VirtualScheduler]

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def seconds(n: float) -> datetime:
    return T0 + timedelta(seconds=n)


def nothing() -> None:
    pass


def takes(a: int, b: int = 2, *, c: int = 3) -> None:
    pass

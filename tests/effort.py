"""How much is done in a call: the same on any machine, however slow or busy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import TraceFunction

__all__ = ["lines_run"]


def lines_run(call: Callable[[], object]) -> int:
    """The number of lines of Python that run in a call: ten thousand take about a millisecond. How long they do take is for
    ``python -m benchmarks`` to measure.
    """
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> TraceFunction:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count

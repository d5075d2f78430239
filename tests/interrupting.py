"""Signal handlers and destructors run in the midst of whatever their thread does. Here they do so at each point, one by one, at
which Python lets them: where a function is called, and where one of Python's own returns.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType

__all__ = ["Interrupted", "disturbed"]


class Interrupted(BaseException):
    """What a signal handler raises."""


def disturbed(
    step: Callable[[], object], intrude: Callable[[], object], at: int, within: str | tuple[str, ...] = ""
) -> bool:
    """Take a step, and do something else at its point number ``at`` (from 1) of those in files that end with ``within``, or one
    of them; False when it has fewer.
    """
    left = at

    def look(frame: FrameType, event: str, arg: object) -> None:
        nonlocal left
        if event not in ("call", "c_return") or not frame.f_code.co_filename.endswith(within):
            return
        left -= 1
        if left == 0:
            sys.setprofile(None)
            intrude()

    before = sys.getprofile()
    # What is raised where it calls somebody goes nowhere.
    collects = gc.isenabled()
    gc.disable()
    sys.setprofile(look)
    try:
        step()
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return left <= 0

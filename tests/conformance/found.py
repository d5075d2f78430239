"""What a suite has to find wrong, found however late this machine is.

A part that is broken in time (its timer goes off too early, it calls what was to be forgotten) looks like a right one while the
process stands still at the wrong moment: that says nothing of the suite. So it is checked again until it is found.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import pytest

__all__ = ["found_wrong"]

# Seconds. It bounds only the failure of a suite that does not look: one that looks finds what is wrong in the first check or, on
# a machine that is held up again and again, in the first few.
_LIMIT_S = 60.0


def found_wrong(check: Callable[[], object]) -> str:
    """What ``check`` finds wrong, as text with its notes. The test fails where it finds nothing at all."""
    deadline_s = monotonic() + _LIMIT_S
    checks = 0
    while not checks or monotonic() < deadline_s:
        checks += 1
        try:
            check()
        except Exception as error:  # noqa: BLE001  # as it is broken, so it fails; what counts is where
            return "\n".join([str(error), *getattr(error, "__notes__", [])])
    pytest.fail(f"checked {checks} times, it was found to be right")

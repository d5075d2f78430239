"""How long a call takes, on a machine that others use too."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time

__all__ = ["quickest"]


def quickest(call: Callable[[], object], limit_s: float, prepare: Callable[[], object] = lambda: None) -> float:
    """Seconds of this thread's processor time that ``call`` takes at best. ``prepare`` runs before each call, unmeasured.

    Others on the machine can make a call slower and never quicker, so the calls end with the first that is within the limit;
    if there is none among fifty, it is the code that is slow.
    """
    best_s = float("inf")
    for _ in range(50):
        prepare()
        start_s = thread_time()
        call()
        best_s = min(best_s, thread_time() - start_s)
        if best_s < limit_s:
            break
    return best_s

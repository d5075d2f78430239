"""What becomes of a run that a scheduler has left on record when it died. The same for all job stores.

**Begun or not.** A run is on record as ``submitted`` before it is handed to an executor, and its beginning is written some
milliseconds after the fact. So of one that a dead scheduler left as ``submitted`` nobody knows whether it began, or even ended.
That is known of what the scheduler took back before it stopped (``JobStore.withdraw``), and of what was never handed over because
the answer to its commit was lost.

**How often.** A job that kills its process must not do so for ever. Of a run that is known to have begun one more attempt is
made. One that may only have waited in a queue is due more patience: when a scheduler dies some have begun, and thousands may be
behind them. But each attempt may be the one that kills, and a service that fails five times in a row is mostly not started any
more (systemd's ``StartLimitBurst``). Hence three.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ATTEMPTS", "Verdict", "judge"]

#: How often a fire time is handed to an executor at most.
ATTEMPTS = 3


class Verdict(NamedTuple):
    """Why a run is closed as lost, and whether it is run again."""

    reason: str
    again: bool


def judge(attempt: int, recovery: str, *, begun: bool, begun_before: bool) -> Verdict:
    """About a run that began, or may have. ``begun_before``: an attempt before this one is known to have begun, too."""
    reason = "its scheduler died"
    reason += " in the middle of it" if begun else ", and it may or may not have begun"
    if recovery != "rerun":
        return Verdict(reason, False)
    if begun and begun_before:
        return Verdict(f"{reason}, for the second time", False)
    if attempt >= ATTEMPTS:
        return Verdict(f"{reason}; it was handed over {attempt} times, and is not run again", False)
    return Verdict(f"{reason}; it is run again", True)

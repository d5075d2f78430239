"""Somebody else on the loop: however slow a job store, and however much is due, he is served. On every framework.

He is a ticker (``neighbour``), and the machine has others to serve as well; so what is found is held against what cannot be the
scheduler's doing. *With a slow store*, a ticker by itself runs on a loop of its own at the same time: what keeps that waiting
keeps any other. *With much due* the threads that run jobs would hold up that one too, and a gap counts as far as this process had
a processor in it and the loop's thread was not denied one (``denied``), and on a machine that computes half as fast it may be
twice as long. The best of a few tries counts, because a neighbour of ours on the machine may use all of it for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import pytest

from tests.same_everywhere.neighbour import KINDS, gaps_in_a_burst, slip_beside_a_slow_store, slowness

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Seconds. What each call of the job store takes.
STORE_S = 0.5
# Seconds. By how much a tick may be later, beside a scheduler with a slow store, than one without.
SLIP_S = 0.02
# Seconds. How long a burst may keep the loop from others.
STARVED_S = 0.05
TRIES = 6
BURST = 50_000


def test_a_store_that_takes_half_a_second_for_each_call(loop_case: Any, case_named: Callable[[str], Any]) -> None:
    worst_s = []
    bare = case_named("asyncio")
    # On a busy machine it is chance which of the two tickers is kept waiting for longer.
    for _ in range(2 * TRIES):
        measure = partial(slip_beside_a_slow_store, loop_case.runtime, loop_case.traits, bare.runtime, STORE_S)
        worst_s.append(loop_case.host(measure))
        if worst_s[-1] <= SLIP_S:
            return
    pytest.fail(f"the ticker slipped more than one by itself, by {_in_ms(worst_s)}")


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_thousand_jobs_are_due_at_once(loop_case: Any, kind: str) -> None:
    gaps_s: list[float] = []
    ours_s: list[float] = []
    for _ in range(TRIES):
        gaps = loop_case.host(partial(gaps_in_a_burst, loop_case.runtime, loop_case.traits, kind, BURST))
        slow = slowness()
        gaps_s.append(max(gap.length_s for gap in gaps) / slow)
        ours_s.append(max(gap.ours_s for gap in gaps) / slow)
        if gaps_s[-1] < STARVED_S:
            return
    # The machine was busy all the time.
    if median(ours_s) >= STARVED_S:
        pytest.fail(
            f"the ticker's longest gaps, as on a usual machine: {_in_ms(gaps_s)}; of our own making: {_in_ms(ours_s)}"
        )


def _in_ms(spans_s: list[float]) -> str:
    return ", ".join(f"{span_s * 1e3:.0f} ms" for span_s in spans_s)

"""How far the first question to a random schedule searches: in steps, which are the same on every machine, of some 2 us each.

How long it takes is measured by ``python -m benchmarks triggers``, on the same schedules.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from random import Random

import pytest

from schedcore.errors import InvalidTriggerError
from schedcore.triggers._effort import EFFORT, MOST_STEPS

# Behind everything else: what is tested is the schedcore that is installed.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks._schedules import ASKED, KINDS

# By kind: how many of a thousand may end without an answer, and the steps that 98 of a hundred stay within.
BOUNDS = {
    "cron": (0, 0),
    "interval": (0, 0),
    "calendarinterval": (0, 0),
    "rrule": (0, 50),
    "businessday": (20, 200),
    "excluding": (65, 250),
    "and": (1, 60),
    "and_near": (3, 200),
    "nested": (25, 400),
}


def check(kind: str, count: int, share: float) -> None:
    make, (most_lost, most_steps) = KINDS[kind], BOUNDS[kind]
    random = Random(f"searches of {kind}")
    taken: list[int] = []
    lost = 0
    while len(taken) < count:
        trigger_seed, asked = random.random(), random.choice(ASKED)
        try:
            trigger = make(Random(trigger_seed))
        except InvalidTriggerError:  # refused when it is made
            continue
        EFFORT.left = MOST_STEPS
        try:
            trigger.next_us(int(datetime.fromisoformat(asked).timestamp()) * 1_000_000)
        except InvalidTriggerError:
            lost += 1
        taken.append(MOST_STEPS - EFFORT.left)
    assert lost <= most_lost * count / 1000 + 2
    assert sorted(taken)[int(count * share)] <= most_steps
    assert max(taken) <= 1.1 * MOST_STEPS


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_question_takes_few_steps(kind: str) -> None:
    check(kind, 50, 0.9)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_so_do_two_thousand(kind: str) -> None:
    check(kind, 2000, 0.98)

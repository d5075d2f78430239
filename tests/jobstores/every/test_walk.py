"""Any sequence of operations gives on every job store what it gives in memory."""

from __future__ import annotations

import pytest

from tests.jobstores.every.places import Place
from tests.jobstores.walk import walk


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(4))
def test_a_random_walk(place: Place, seed: int) -> None:
    walk(lambda: place.store(history=100_000), seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 103))
def test_a_long_random_walk(place: Place, seed: int) -> None:
    walk(lambda: place.store(history=100_000), seed, steps=400)

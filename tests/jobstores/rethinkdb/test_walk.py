"""Any sequence of operations gives in RethinkDB what it gives in memory: with the evaluator, and on a real server."""

from __future__ import annotations

import pytest

from tests.jobstores.rethinkdb.conftest import Make
from tests.jobstores.walk import walk


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk(make: Make, seed: int) -> None:
    walk(lambda: make(history=100_000), seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk_on_a_real_server(make_real: Make, seed: int) -> None:
    walk(lambda: make_real(history=100_000), seed)

"""Any sequence of operations gives in Redis what it gives in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schedcore.jobstores.redis import RedisJobStore
from tests.jobstores.walk import walk


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk(make: Callable[..., RedisJobStore], seed: int) -> None:
    walk(lambda: make(history=100_000), seed)

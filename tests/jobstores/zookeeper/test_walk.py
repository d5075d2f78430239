"""Any sequence of operations gives in ZooKeeper what it gives in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from tests.jobstores.walk import walk


@pytest.mark.parametrize("seed", range(4))
def test_a_random_walk(make: Callable[..., ZooKeeperJobStore], seed: int) -> None:
    walk(lambda: make(history=100_000), seed)

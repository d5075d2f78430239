"""Any sequence of operations gives in etcd what it gives in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schedcore.jobstores.etcd import EtcdJobStore
from tests.jobstores.walk import walk


@pytest.mark.parametrize("seed", range(4))
def test_a_random_walk(make: Callable[..., EtcdJobStore], seed: int) -> None:
    walk(lambda: make(history=100_000), seed)

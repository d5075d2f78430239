"""A ZooKeeper of the tests' own, and in it a path for each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from tests.services import ZooKeeper
from tests.services.fixtures import zookeeper

__all__ = ["zookeeper", "make"]

Make = Callable[..., ZooKeeperJobStore]


@pytest.fixture
def make(zookeeper: ZooKeeper) -> Make:
    """Makes stores over one path, under which nothing was when the test began."""
    place = zookeeper.fresh()

    def make(**options: object) -> ZooKeeperJobStore:
        arguments: dict[str, object] = {"path": f"/{place.name}", "hosts": f"{place.host}:{place.port}", **options}
        return ZooKeeperJobStore(**arguments)  # type: ignore[arg-type]

    return make

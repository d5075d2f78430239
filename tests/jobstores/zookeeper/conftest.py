"""A ZooKeeper of the tests' own, and in it a path for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient  # type: ignore[import-untyped]

from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from tests.services import ZooKeeper
from tests.services.fixtures import zookeeper

__all__ = ["client", "make", "zookeeper"]

Make = Callable[..., ZooKeeperJobStore]


@pytest.fixture
def make(zookeeper: ZooKeeper) -> Make:
    """Makes stores over one path, under which nothing was when the test began."""
    place = zookeeper.fresh()

    def make(**options: object) -> ZooKeeperJobStore:
        arguments: dict[str, object] = {"path": f"/{place.name}", "hosts": f"{place.host}:{place.port}", **options}
        return ZooKeeperJobStore(**arguments)  # type: ignore[arg-type]

    return make


@pytest.fixture
def client(zookeeper: ZooKeeper) -> Iterator[Any]:
    """Somebody else's."""
    client = KazooClient(hosts=f"{zookeeper.host}:{zookeeper.port}")
    client.start(20)
    yield client
    client.stop()
    client.close()

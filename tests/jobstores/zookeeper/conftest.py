"""A ZooKeeper of the tests' own, and in it a path for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from kazoo.client import KazooClient  # type: ignore[import-untyped]

from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from tests.jobstores.zookeeper.inside import InZooKeeper
from tests.services import ZooKeeper
from tests.services.fixtures import zookeeper

__all__ = ["arguments", "client", "inside", "make", "zookeeper"]

Make = Callable[..., ZooKeeperJobStore]


@pytest.fixture
def arguments(zookeeper: ZooKeeper) -> dict[str, Any]:
    """Those of a store over one path, under which nothing was when the test began."""
    place = zookeeper.fresh()
    return {"hosts": f"{place.host}:{place.port}", "path": place.name}


@pytest.fixture
def make(arguments: dict[str, Any]) -> Make:
    """Makes stores over one path."""
    return partial(ZooKeeperJobStore, **arguments)


@pytest.fixture
def client(zookeeper: ZooKeeper) -> Iterator[Any]:
    """Somebody else's."""
    client = KazooClient(hosts=f"{zookeeper.host}:{zookeeper.port}")
    client.start(20)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def inside(make: Make, client: Any) -> InZooKeeper:
    return InZooKeeper(client, make())

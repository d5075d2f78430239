"""The suite that every job store is held to, on a real ZooKeeper."""

from __future__ import annotations

import pytest

from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from schedcore.testing.store_suite import check_store, store_behaviours
from tests.services import Place, ZooKeeper


@pytest.mark.parametrize(("name", "left_out"), store_behaviours(ZooKeeperJobStore.traits))
def test_conformance(zookeeper: ZooKeeper, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    places: dict[str, Place] = {}

    def make(folder: str) -> ZooKeeperJobStore:
        if folder not in places:
            places[folder] = zookeeper.fresh()
        place = places[folder]
        return ZooKeeperJobStore(f"/{place.name}", hosts=f"{place.host}:{place.port}")

    assert check_store(make, ZooKeeperJobStore.traits, only=name) == [name]

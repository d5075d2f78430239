"""The suite that every job store is held to, on a real etcd."""

from __future__ import annotations

import pytest

from schedcore.jobstores.etcd import EtcdJobStore
from schedcore.testing.store_suite import check_store, store_behaviours
from tests.services import Etcd, Place


@pytest.mark.parametrize(("name", "left_out"), store_behaviours(EtcdJobStore.traits))
def test_conformance(etcd: Etcd, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    places: dict[str, Place] = {}

    def make(folder: str) -> EtcdJobStore:
        if folder not in places:
            places[folder] = etcd.fresh()
        place = places[folder]
        return EtcdJobStore(f"/{place.name}", host=place.host, port=place.port)

    assert check_store(make, EtcdJobStore.traits, only=name) == [name]

"""The suite that every job store is held to, on a real Redis."""

from __future__ import annotations

import pytest

from schedcore.jobstores.redis import RedisJobStore
from schedcore.testing.store_suite import check_store, store_behaviours
from tests.services import Place, Redis


@pytest.mark.parametrize(("name", "left_out"), store_behaviours(RedisJobStore.traits))
def test_conformance(redis_server: Redis, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    places: dict[str, Place] = {}

    def make(folder: str) -> RedisJobStore:
        if folder not in places:
            places[folder] = redis_server.fresh()
        place = places[folder]
        return RedisJobStore(int(place.name), host=place.host, port=place.port)

    assert check_store(make, RedisJobStore.traits, only=name) == [name]

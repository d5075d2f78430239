"""The suite that every job store is held to, on a real server with MongoDB's protocol."""

from __future__ import annotations

from typing import Any

import pymongo
import pytest

from schedcore.jobstores.mongodb import MongoDBJobStore
from schedcore.testing.store_suite import check_store, store_behaviours
from tests.services import MongoDB, Place


@pytest.mark.parametrize(("name", "left_out"), store_behaviours(MongoDBJobStore.traits))
def test_conformance(
    mongodb: MongoDB, client: pymongo.MongoClient[dict[str, Any]], name: str, left_out: str | None
) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    places: dict[str, Place] = {}

    def make(folder: str) -> MongoDBJobStore:
        if folder not in places:
            places[folder] = mongodb.fresh()
        return MongoDBJobStore(places[folder].name, client=client)

    assert check_store(make, MongoDBJobStore.traits, only=name) == [name]

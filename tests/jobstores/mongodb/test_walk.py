"""Any sequence of operations gives in MongoDB what it gives in memory."""

from __future__ import annotations

from typing import Any

import pymongo
import pytest

from schedcore.jobstores.mongodb import MongoDBJobStore
from tests.jobstores.walk import walk
from tests.services import MongoDB


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk(mongodb: MongoDB, client: pymongo.MongoClient[dict[str, Any]], seed: int) -> None:
    place = mongodb.fresh()
    walk(lambda: MongoDBJobStore(place.name, client=client, history=100_000), seed)

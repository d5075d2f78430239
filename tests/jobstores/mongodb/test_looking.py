"""What is in MongoDB, looked at from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymongo
import pytest

from schedcore.jobstores.mongodb import MongoDBJobStore
from tests.jobstores.looking import look_at
from tests.services import MongoDB


def test_looking(
    mongodb: MongoDB, client: pymongo.MongoClient[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    place = mongodb.fresh()

    def contents() -> dict[str, list[dict[str, Any]]]:
        database = client[place.name]
        return {name: list(database[name].find().sort("_id")) for name in database.list_collection_names()}

    def make() -> MongoDBJobStore:
        return MongoDBJobStore(place.name, "app", host=place.host, port=place.port)

    look_at(make, f"{place.url}?collection=app&serverSelectionTimeoutMS=20000", contents, tmp_path)

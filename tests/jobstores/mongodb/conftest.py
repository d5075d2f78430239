"""A server of the tests' own that speaks MongoDB's protocol, and in it a database for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pymongo
import pytest

from schedcore.jobstores.mongodb import MongoDBJobStore
from tests.services import MongoDB
from tests.services.fixtures import mongodb

__all__ = ["arguments", "client", "make", "mongodb"]

Make = Callable[..., MongoDBJobStore]


@pytest.fixture
def arguments(mongodb: MongoDB) -> dict[str, Any]:
    """Those of a store over one database, which was empty when the test began."""
    place = mongodb.fresh()
    return {"host": f"mongodb://{place.host}:{place.port}", "database": place.name}


@pytest.fixture
def make(arguments: dict[str, Any]) -> Make:
    """Makes stores over one database."""
    return partial(MongoDBJobStore, **arguments)


@pytest.fixture(scope="module")
def client(mongodb: MongoDB) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
    """A client of the user's. The threads of one take half a second to end, which a test with this one does not wait for.
    It has one connection, so that none is opened in the middle of a test."""
    place = mongodb.fresh()
    with pymongo.MongoClient[dict[str, Any]](place.host, place.port, maxPoolSize=1) as client:
        client.admin.command("ping")
        yield client

"""A Redis of the tests' own, and in it a database for each test."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from schedcore.jobstores.redis import RedisJobStore
from tests.services import Redis
from tests.services.fixtures import redis_server

__all__ = ["arguments", "make", "redis_server"]

Make = Callable[..., RedisJobStore]


@pytest.fixture
def arguments(redis_server: Redis) -> dict[str, Any]:
    """Those of a store over one database, which was empty when the test began."""
    place = redis_server.fresh()
    return {"host": place.host, "port": place.port, "db": int(place.name)}


@pytest.fixture
def make(arguments: dict[str, Any]) -> Make:
    """Makes stores over one database."""
    return partial(RedisJobStore, **arguments)

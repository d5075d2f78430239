"""A Redis of the tests' own, and in it a database for each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schedcore.jobstores.redis import RedisJobStore
from tests.services import Redis
from tests.services.fixtures import redis_server

__all__ = ["make", "redis_server"]

Make = Callable[..., RedisJobStore]


@pytest.fixture
def make(redis_server: Redis) -> Make:
    """Makes stores over one database, which was empty when the test began."""
    place = redis_server.fresh()

    def make(**options: object) -> RedisJobStore:
        arguments: dict[str, object] = {"host": place.host, "port": place.port, **options}
        return RedisJobStore(int(place.name), **arguments)  # type: ignore[arg-type]

    return make

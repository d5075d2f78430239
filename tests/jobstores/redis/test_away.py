"""Redis that goes away in the middle of a load."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from schedcore.jobstores.redis import RedisJobStore
from tests.jobstores import away
from tests.services import Proxy, Redis

Make = Callable[..., RedisJobStore]


@pytest.fixture
def distant(redis_server: Redis) -> Iterator[tuple[Proxy, RedisJobStore]]:
    """A store, and the proxy by way of which its connections go."""
    place = redis_server.fresh()
    with Proxy(place.port) as proxy:
        yield proxy, RedisJobStore(int(place.name), host=place.host, port=proxy.port)


def test_the_server_stops(redis_server: Redis, make: Make) -> None:
    away.stops(redis_server, make(socket_timeout=0.3))


@pytest.mark.slow
def test_the_server_stops_for_ten_seconds(redis_server: Redis, make: Make) -> None:
    away.stops(redis_server, make(socket_timeout=0.3, history=1000), 10.0)


def test_the_server_is_killed(redis_server: Redis, make: Make) -> None:
    away.is_killed(redis_server, make())


def test_a_start_is_not_answered(distant: tuple[Proxy, RedisJobStore]) -> None:
    away.starts_unanswered(*distant)


def test_the_store_is_taken_again_and_nobody_told(distant: tuple[Proxy, RedisJobStore]) -> None:
    away.takes_unanswered(*distant)


def test_connections_are_cut_and_refused(distant: tuple[Proxy, RedisJobStore]) -> None:
    away.is_cut_and_refused(*distant)


def test_connections_are_refused_for_a_minute(distant: tuple[Proxy, RedisJobStore]) -> None:
    away.refuses_for_a_minute(*distant)

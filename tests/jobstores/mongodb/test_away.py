"""A MongoDB that goes away in the middle of a load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from schedcore.jobstores.mongodb import MongoDBJobStore
from tests.jobstores import away
from tests.services import MongoDB, Proxy

Make = Callable[..., MongoDBJobStore]

SHORT: dict[str, Any] = {"serverSelectionTimeoutMS": 500, "connectTimeoutMS": 500, "socketTimeoutMS": 500}


@pytest.fixture
def distant(mongodb: MongoDB) -> Iterator[tuple[Proxy, MongoDBJobStore]]:
    """A store, and the proxy by way of which its connections go."""
    place = mongodb.fresh()
    with Proxy(place.port) as proxy:
        yield proxy, MongoDBJobStore(place.name, host=place.host, port=proxy.port, **SHORT)


def test_the_server_stops(mongodb: MongoDB, make: Make) -> None:
    away.stops(mongodb, make(**SHORT))


@pytest.mark.slow
def test_the_server_stops_for_ten_seconds(mongodb: MongoDB, make: Make) -> None:
    away.stops(mongodb, make(**SHORT, history=1000), 10.0)


def test_the_server_is_killed(mongodb: MongoDB, make: Make) -> None:
    away.is_killed(mongodb, make(**SHORT))


@pytest.mark.slow
def test_a_start_is_not_answered(mongodb: MongoDB) -> None:
    place = mongodb.fresh()
    with Proxy(place.port) as proxy:
        options = {**SHORT, "serverSelectionTimeoutMS": 100}
        away.starts_unanswered(proxy, MongoDBJobStore(place.name, host=place.host, port=proxy.port, **options))


def test_connections_are_cut_and_refused(distant: tuple[Proxy, MongoDBJobStore]) -> None:
    away.is_cut_and_refused(*distant)


@pytest.mark.slow
def test_connections_are_refused_for_a_minute(distant: tuple[Proxy, MongoDBJobStore]) -> None:
    away.refuses_for_a_minute(*distant)

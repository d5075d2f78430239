"""A ZooKeeper that goes away in the middle of a load."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from tests.jobstores import away
from tests.services import Proxy, ZooKeeper

Make = Callable[..., ZooKeeperJobStore]


@pytest.fixture
def distant(zookeeper: ZooKeeper) -> Iterator[tuple[Proxy, ZooKeeperJobStore]]:
    """A store, and the proxy by way of which its connections go."""
    place = zookeeper.fresh()
    with Proxy(place.port) as proxy:
        yield proxy, ZooKeeperJobStore(f"/{place.name}", hosts=f"{place.host}:{proxy.port}")


def test_the_server_stops(zookeeper: ZooKeeper, make: Make) -> None:
    away.stops(zookeeper, make(timeout=1.0))


@pytest.mark.slow
def test_the_server_stops_for_ten_seconds(zookeeper: ZooKeeper, make: Make) -> None:
    away.stops(zookeeper, make(timeout=1.0, history=1000), 10.0)


def test_the_server_is_killed(zookeeper: ZooKeeper, make: Make) -> None:
    away.is_killed(zookeeper, make())


def test_a_start_is_not_answered(zookeeper: ZooKeeper) -> None:
    place = zookeeper.fresh()
    with Proxy(place.port) as proxy:
        away.starts_unanswered(
            proxy, ZooKeeperJobStore(f"/{place.name}", hosts=f"{place.host}:{proxy.port}", timeout=1.0)
        )


def test_the_store_is_taken_again_and_nobody_told(zookeeper: ZooKeeper) -> None:
    place = zookeeper.fresh()
    with Proxy(place.port) as proxy:
        away.takes_unanswered(
            proxy, ZooKeeperJobStore(f"/{place.name}", hosts=f"{place.host}:{proxy.port}", timeout=1.0)
        )


def test_connections_are_cut_and_refused(distant: tuple[Proxy, ZooKeeperJobStore]) -> None:
    away.is_cut_and_refused(*distant)


@pytest.mark.slow
def test_connections_are_refused_for_a_minute(distant: tuple[Proxy, ZooKeeperJobStore]) -> None:
    away.refuses_for_a_minute(*distant)


def test_the_server_loses_its_data() -> None:
    """It lets in no session that has seen more of it than there is now."""
    server = ZooKeeper()
    server.start()
    try:
        place = server.fresh()
        store = ZooKeeperJobStore(f"/{place.name}", hosts=f"{place.host}:{place.port}", timeout=2)
        away.loses_its_data(server, store)
    finally:
        server.stop()

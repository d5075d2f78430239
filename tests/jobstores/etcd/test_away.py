"""An etcd that goes away in the middle of a load."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from schedcore.jobstores.etcd import EtcdJobStore
from tests.jobstores import away
from tests.services import Etcd, Proxy

Make = Callable[..., EtcdJobStore]


@pytest.fixture
def distant(etcd: Etcd) -> Iterator[tuple[Proxy, EtcdJobStore]]:
    """A store, and the proxy by way of which its connections go."""
    place = etcd.fresh()
    with Proxy(place.port) as proxy:
        yield proxy, EtcdJobStore(f"/{place.name}", host=place.host, port=proxy.port)


def test_the_server_stops(etcd: Etcd, make: Make) -> None:
    away.stops(etcd, make(timeout=0.5))


@pytest.mark.slow
def test_the_server_stops_for_ten_seconds(etcd: Etcd, make: Make) -> None:
    away.stops(etcd, make(timeout=0.5, history=1000), 10.0)


def test_the_server_is_killed(etcd: Etcd, make: Make) -> None:
    away.is_killed(etcd, make())


def test_connections_are_cut_and_refused(distant: tuple[Proxy, EtcdJobStore]) -> None:
    away.is_cut_and_refused(*distant)


def test_connections_are_refused_for_a_minute(distant: tuple[Proxy, EtcdJobStore]) -> None:
    away.refuses_for_a_minute(*distant)

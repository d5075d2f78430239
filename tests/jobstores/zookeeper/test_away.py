"""A ZooKeeper that goes away in the middle of a load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from schedcore.errors import JobStoreError
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from tests.jobstores import away
from tests.jobstores.load import answered, at_rest, scheduler_on, start_paused, work
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


def test_the_connection_is_cut_while_many_nodes_are_asked_for(zookeeper: ZooKeeper) -> None:
    """Who asked for more of them than kazoo's thread could be told of waited until there was a connection again."""
    place = zookeeper.fresh()
    with Proxy(place.port) as proxy:
        store = ZooKeeperJobStore(f"/{place.name}", hosts=f"{place.host}:{proxy.port}")
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        job = {"func": work, "trigger": "date", "run_date": "2099-01-01"}
        scheduler.add_jobs([{**job, "id": str(number)} for number in range(600)])
        at_rest(scheduler)
        for pieces in (2, 5, 10):
            failed: list[JobStoreError] = []

            def look(failed: list[JobStoreError] = failed) -> None:
                try:
                    store.list_entries()
                except JobStoreError as error:
                    failed.append(error)

            proxy.answer(pieces)
            looking = threading.Thread(target=look)
            looking.start()
            looking.join(30)
            waits = looking.is_alive()
            proxy.accept()
            looking.join(60)
            assert not waits
            assert [one.transient for one in failed] == [True]
            assert len(answered(store.list_entries)) == 600
        scheduler.shutdown()


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

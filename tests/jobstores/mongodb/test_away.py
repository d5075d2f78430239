"""A server that goes away in the middle of a load: it stops, it is killed, its connections are cut and refused."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pymongo
import pytest

from schedcore.errors import JobStoreError
from schedcore.events import EVENT_JOBSTORE_FAILED, EVENT_JOBSTORE_RECOVERED
from schedcore.jobstores.mongodb import MongoDBJobStore
from tests.jobstores.load import Load, scheduler_on
from tests.services import MongoDB, Proxy

Make = Callable[..., MongoDBJobStore]

_SHORT: dict[str, Any] = {"serverSelectionTimeoutMS": 500, "connectTimeoutMS": 500, "socketTimeoutMS": 500}


def test_the_server_stops_for_a_while(mongodb: MongoDB, make: Make) -> None:
    load = Load(make(**_SHORT))
    load.wait_for_more()
    mongodb.pause()
    load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_FAILED)))
    mongodb.resume()
    load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_RECOVERED)))
    load.wait_for_more()
    load.check()


def test_the_server_is_killed_and_comes_back(mongodb: MongoDB, make: Make) -> None:
    load = Load(make(**_SHORT))
    load.wait_for_more()
    mongodb.kill()
    load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_FAILED)))
    assert not load.scheduler.health()["default"].ok
    mongodb.start()
    load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_RECOVERED)))
    load.wait_for_more()
    assert load.scheduler.health()["default"].ok
    load.check()


def test_connections_are_cut_and_refused(mongodb: MongoDB) -> None:
    place = mongodb.fresh()
    with Proxy(place.port) as proxy:
        load = Load(MongoDBJobStore(place.name, host=place.host, port=proxy.port, **_SHORT))
        for _ in range(3):
            load.wait_for_more(50)
            proxy.cut()
        proxy.refuse()
        load.log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_FAILED)))
        proxy.accept()
        load.wait_for_more(50)
        load.check()


def test_errors_are_ours(make: Make) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(JobStoreError, match="failed to open the store") as caught:
            scheduler_on(make(port=nobody.getsockname()[1], **_SHORT)).start()
    assert caught.value.transient
    assert isinstance(caught.value.__cause__, pymongo.errors.ConnectionFailure)

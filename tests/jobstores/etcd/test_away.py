"""An etcd that goes away in the middle of a load."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

from schedcore.errors import JobStoreError
from schedcore.jobstores.etcd import EtcdClient, EtcdError, EtcdJobStore
from tests.jobstores import away
from tests.jobstores.load import work
from tests.services import Etcd, Proxy, Service

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


def test_a_start_is_not_answered(distant: tuple[Proxy, EtcdJobStore]) -> None:
    away.starts_unanswered(*distant)


def test_the_store_is_taken_again_and_nobody_told(distant: tuple[Proxy, EtcdJobStore]) -> None:
    away.takes_unanswered(*distant)


def test_connections_are_cut_and_refused(distant: tuple[Proxy, EtcdJobStore]) -> None:
    away.is_cut_and_refused(*distant)


def test_connections_are_refused_for_a_minute(distant: tuple[Proxy, EtcdJobStore]) -> None:
    away.refuses_for_a_minute(*distant)


def store_on(server: Service) -> EtcdJobStore:
    place = server.fresh()
    return EtcdJobStore(f"/{place.name}", host=place.host, port=place.port)


def test_the_server_loses_its_data() -> None:
    server = Etcd()
    server.start()
    try:
        away.loses_its_data(server, store_on(server))
    finally:
        server.stop()


class SmallEtcd(Etcd):
    """One that may have little, and raises an alarm when it has that."""

    def command(self) -> list[str]:
        return [*super().command(), "--quota-backend-bytes=20000000"]

    def fill(self) -> None:
        def put_all() -> None:
            for number in range(1000):
                client.call("KV/Put", {"key": b"!%d" % number, "value": b"x" * 1_000_000})

        with (
            closing(EtcdClient("127.0.0.1", self.port, timeout=60)) as client,
            pytest.raises(EtcdError, match="database space exceeded"),
        ):
            put_all()

    def make_room(self) -> None:
        """What its documentation says: delete, compact, defragment, and disarm the alarm."""
        first, last = (b64encode(text).decode() for text in (b"!", b'"'))
        told = self.post("kv/deleterange", key=first, range_end=last)["header"]
        self.post("kv/compaction", revision=told["revision"], physical=True)
        self.post("maintenance/defragment")
        self.post("maintenance/alarm", action="DEACTIVATE", alarm="NOSPACE", memberID=told["member_id"])

    def post(self, path: str, **body: Any) -> Any:
        """Ask it by its gateway, which has what is for whoever looks after a server."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", f"/v3/{path}", json.dumps(body))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return json.loads(answer.read())


def test_the_server_has_no_room() -> None:
    server = SmallEtcd()
    server.start()
    try:
        with away.breaks(store_on(server), server.fill, server.make_room) as load:
            with pytest.raises(JobStoreError, match="database space exceeded") as caught:
                load.scheduler.add_job(work, "interval", hours=1, id="more")
            assert caught.value.transient
            # It refused to write, and so what there is is known, and can be looked at.
            assert len(load.scheduler.get_jobs()) == 20
            assert load.scheduler.get_runs("job0")
    finally:
        server.stop()

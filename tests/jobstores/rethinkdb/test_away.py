"""A server that goes away in the middle of a load: the evaluator, and what lies between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rethinkdb import net  # type: ignore[import-untyped, unused-ignore]

from schedcore.events import EVENT_JOBSTORE_FAILED
from schedcore.jobstores.rethinkdb import RethinkDBJobStore
from schedcore.testing import EventLog
from tests.jobstores import away
from tests.jobstores.load import scheduler_on, start_paused
from tests.jobstores.rethinkdb.conftest import Make
from tests.jobstores.rethinkdb.evaluator import EvaluatorServer
from tests.services import Proxy


@pytest.fixture
def proxy(server: EvaluatorServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


def test_the_server_is_silent_for_a_while(make: Make, proxy: Proxy) -> None:
    with away.breaks(make(port=proxy.port, timeout=1), proxy.stall, proxy.accept):
        pass


def test_a_start_is_not_answered(make: Make, proxy: Proxy) -> None:
    away.starts_unanswered(proxy, make(port=proxy.port))


def test_connections_are_cut_and_refused(make: Make, proxy: Proxy) -> None:
    away.is_cut_and_refused(proxy, make(port=proxy.port))


def test_a_client_of_the_users_is_cut_and_refused(proxy: Proxy) -> None:
    client = net.make_connection(net.DefaultConnection, host="127.0.0.1", port=proxy.port, timeout=5)
    try:
        away.is_cut_and_refused(proxy, RethinkDBJobStore("cut", client=client))
        assert client.is_open()
    finally:
        client.close(noreply_wait=False)


@pytest.mark.slow
def test_connections_are_refused_for_a_minute(make: Make, proxy: Proxy) -> None:
    away.refuses_for_a_minute(proxy, make(port=proxy.port))


def test_a_connection_that_was_cut_while_nobody_used_it_is_replaced(make: Make, proxy: Proxy) -> None:
    scheduler = scheduler_on(make(port=proxy.port))
    start_paused(scheduler)
    log = EventLog(scheduler)
    for _ in range(5):
        proxy.cut()
        assert scheduler.get_jobs() == []
    assert not log.of(EVENT_JOBSTORE_FAILED)
    scheduler.shutdown()

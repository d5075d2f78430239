"""What answers the RethinkDB store: an evaluator of what the driver sends, or the server that ``RETHINKDB_URL`` names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from rethinkdb import r  # type: ignore[import-untyped, unused-ignore]

from schedcore.jobstores.rethinkdb import RethinkDBJobStore
from tests.jobstores.rethinkdb.evaluator import Evaluator, EvaluatorServer

__all__ = ["Make", "arguments", "make", "make_real", "server"]

Make = Callable[..., RethinkDBJobStore]

_numbers = count()


@pytest.fixture(scope="module")
def _server() -> Iterator[EvaluatorServer]:
    server = EvaluatorServer(Evaluator())
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(_server: EvaluatorServer) -> Iterator[EvaluatorServer]:
    yield _server
    _server.asked = lambda query: None
    _server.evaluator.ahead_s = 0.0
    unknown, _server.unknown = _server.unknown, []
    assert not unknown, "the evaluator does not know: " + "; ".join(unknown)


@pytest.fixture
def arguments(server: EvaluatorServer) -> dict[str, Any]:
    """Those of a store over one database, which was empty when the test began."""
    return {"host": "127.0.0.1", "port": server.port, "database": f"test_{next(_numbers)}"}


@pytest.fixture
def make(arguments: dict[str, Any]) -> Make:
    """Makes stores over one database."""
    return partial(RethinkDBJobStore, **arguments)


@pytest.fixture
def make_real() -> Iterator[Make]:
    """The same on a real server, if there is one."""
    url = os.environ.get("RETHINKDB_URL")
    if not url:
        pytest.skip("RETHINKDB_URL names no server")
    name = f"schedcore_{uuid4().hex}"

    def make(**options: object) -> RethinkDBJobStore:
        arguments: dict[str, object] = {"url": url, **options}
        return RethinkDBJobStore(name, **arguments)  # type: ignore[arg-type]

    try:
        yield make
    finally:
        with r.net.make_connection(r.net.DefaultConnection, url=url) as connection:
            r.branch(r.db_list().contains(name), r.db_drop(name), None).run(connection)

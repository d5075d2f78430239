"""The servers as fixtures. A ``conftest.py`` that imports them by name gives them to its folder.

However many folders do so, there is one server of each kind: started when the first test asks, stopped when the session ends.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest

from tests.services import Etcd, MariaDB, MongoDB, PostgreSQL, Redis, Service, ServiceMissing, ZooKeeper

__all__ = ["etcd", "mariadb", "mongodb", "postgresql", "redis_server", "required", "zookeeper"]

S = TypeVar("S", bound=Service)

_servers: dict[type[Service], Service] = {}
_users: Counter[type[Service]] = Counter()


def required() -> bool:
    """Whether a server that is missing is a failure, and not a skip."""
    word = os.environ.get("SCHEDCORE_REQUIRE_SERVICES") or os.environ.get("CI") or ""
    return word.lower() not in ("", "0", "false", "no", "off")


def _shared(kind: type[S]) -> Generator[S, None, None]:
    server = _servers.get(kind)
    if server is None:
        server = kind()
        try:
            server.start()
        except ServiceMissing as error:
            if required():
                pytest.fail(f"{error} (skipped where SCHEDCORE_REQUIRE_SERVICES is 0)", pytrace=False)
            pytest.skip(str(error))
        _servers[kind] = server
    _users[kind] += 1
    try:
        assert isinstance(server, kind)
        yield server
    finally:
        _users[kind] -= 1
        if not _users[kind]:
            del _servers[kind]
            server.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    yield from _shared(PostgreSQL)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    yield from _shared(MariaDB)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    yield from _shared(Redis)


@pytest.fixture(scope="session")
def zookeeper() -> Iterator[ZooKeeper]:
    yield from _shared(ZooKeeper)


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    yield from _shared(Etcd)


@pytest.fixture(scope="session")
def mongodb() -> Iterator[MongoDB]:
    yield from _shared(MongoDB)

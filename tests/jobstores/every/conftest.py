"""Each test of this folder runs once on every job store that keeps jobs, on its real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobstores.every.places import Kind, Place, kinds, opened
from tests.services.fixtures import etcd, mariadb, mongodb, postgresql, redis_server, zookeeper

__all__ = ["etcd", "mariadb", "mongodb", "postgresql", "redis_server", "zookeeper"]


@pytest.fixture(scope="session", params=kinds())
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """A kind of store. Its server is started before a test begins, and is not what that test leaves behind."""
    yield from opened(request.param, request)


@pytest.fixture
def place(kind: Kind, tmp_path: Path) -> Place:
    """An empty place for jobs."""
    return kind.place(tmp_path)

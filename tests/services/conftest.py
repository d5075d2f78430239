"""The fixtures for this folder, which is collected only where the servers' clients are installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.services.fixtures import etcd, mariadb, mongodb, postgresql, redis_server, zookeeper

__all__ = ["etcd", "mariadb", "mongodb", "postgresql", "redis_server", "zookeeper"]

_absent = [
    name for name in ("kazoo", "psycopg", "pymongo", "pymysql", "redis") if importlib.util.find_spec(name) is None
]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if _absent and collection_path.parent == Path(__file__).parent else None


def pytest_report_collectionfinish() -> str | None:
    if not _absent:
        return None
    return f"not collected: tests/services needs {', '.join(_absent)}, which the extra 'services' brings"


@pytest.fixture(autouse=True)
def _bounded(request: pytest.FixtureRequest) -> None:
    """A server that starts on a busy machine may take longer than a test of our own code."""
    request.node.add_marker(pytest.mark.timeout(180))

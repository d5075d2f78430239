"""An etcd of the tests' own, and in it a path for each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schedcore.jobstores.etcd import EtcdJobStore
from tests.services import Etcd
from tests.services.fixtures import etcd

__all__ = ["etcd", "make"]

Make = Callable[..., EtcdJobStore]


@pytest.fixture
def make(etcd: Etcd) -> Make:
    """Makes stores over one path, under which nothing was when the test began."""
    place = etcd.fresh()

    def make(**options: object) -> EtcdJobStore:
        arguments: dict[str, object] = {"path": f"/{place.name}", "host": place.host, "port": place.port, **options}
        return EtcdJobStore(**arguments)  # type: ignore[arg-type]

    return make

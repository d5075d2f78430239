"""An etcd of the tests' own, and in it a path for each test."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from schedcore.jobstores.etcd import EtcdJobStore
from tests.services import Etcd
from tests.services.fixtures import etcd

__all__ = ["arguments", "etcd", "make"]

Make = Callable[..., EtcdJobStore]


@pytest.fixture
def arguments(etcd: Etcd) -> dict[str, Any]:
    """Those of a store over one path, under which nothing was when the test began."""
    place = etcd.fresh()
    return {"host": place.host, "port": place.port, "path": place.name}


@pytest.fixture
def make(arguments: dict[str, Any]) -> Make:
    """Makes stores over one path."""
    return partial(EtcdJobStore, **arguments)

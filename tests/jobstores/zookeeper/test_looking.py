"""What is in ZooKeeper, looked at from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from tests.jobstores.looking import look_at
from tests.services import ZooKeeper


def test_looking(zookeeper: ZooKeeper, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    place = zookeeper.fresh()

    def contents() -> dict[str, int]:
        """Every node, and the transaction that changed it last."""
        found: dict[str, int] = {}
        paths = [f"/{place.name}/app"] if client.exists(f"/{place.name}/app") else []
        while paths:
            path = paths.pop()
            found[path] = client.exists(path).mzxid
            paths += [f"{path}/{name}" for name in client.get_children(path)]
        return found

    def make() -> ZooKeeperJobStore:
        return ZooKeeperJobStore(f"/{place.name}/app", hosts=f"{place.host}:{place.port}")

    look_at(make, f"{place.url}/app", contents, tmp_path)

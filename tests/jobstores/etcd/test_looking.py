"""What is in etcd, looked at from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedcore.jobstores.etcd import EtcdJobStore
from tests.jobstores.looking import look_at
from tests.services import Etcd


def test_looking(etcd: Etcd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    place = etcd.fresh()
    probe = EtcdJobStore(f"/{place.name}/app", host=place.host, port=place.port)

    def contents() -> list[tuple[str, str]]:
        """Every key, and the revision at which it was last changed, which no other has."""
        return [(str(kv.key), str(kv.mod_revision)) for kv in probe._range(probe._prefix, probe._prefix[:-1] + b"0")]

    def make() -> EtcdJobStore:
        return EtcdJobStore(f"/{place.name}/app", host=place.host, port=place.port)

    look_at(make, f"{place.url}/app", contents, tmp_path)
    probe._client.close()

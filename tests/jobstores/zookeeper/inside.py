"""What is in ZooKeeper, as somebody else sees and alters it."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import NoNodeError  # type: ignore[import-untyped]

from schedcore.jobstores.zookeeper import ZooKeeperJobStore

__all__ = ["InZooKeeper", "value_of"]


def value_of(client: Any, path: str) -> bytes | None:
    try:
        return bytes(client.get(path)[0])
    except NoNodeError:
        return None


class InZooKeeper:
    def __init__(self, client: Any, store: ZooKeeperJobStore) -> None:
        self.client, self.store = client, store

    def owner(self) -> str | None:
        found = value_of(self.client, self.store._owner_path)
        return None if found is None else found.decode()

    def put_owner(self, text: str) -> None:
        self.drop_owner()
        self.client.create(self.store._owner_path, text.encode(), ephemeral=True)
        self.client.set(self.store._term_path, text.encode())

    def keep_owner(self, text: str) -> None:
        self.client.create(self.store._owner_path, text.encode())

    def put_version(self, text: str) -> None:
        self.client.set(self.store._schema_path, text.encode())
        self.client.set(self.store._term_path, b"whoever changed it")

    def drop_owner(self) -> None:
        self.client.delete(self.store._owner_path)

    def document(self, job_id: str) -> bytes | None:
        return value_of(self.client, f"{self.store._path}/jobs/{job_id}")

    def put_document(self, job_id: str, value: bytes) -> None:
        self.client.set(f"{self.store._path}/jobs/{job_id}", value)

    def count(self, kind: str) -> int:
        return len(self._nodes(kind))

    def delete_places(self, job_id: str) -> None:
        for path in (path for kind in ("wall", "elapsed", "idle") for path in self._nodes(kind)):
            if path.endswith((f"/{job_id}", f"-{job_id}")):
                self.client.delete(path)

    def _nodes(self, kind: str) -> list[str]:
        """Those of a kind, or in the buckets of a timeline."""
        paths = [f"{self.store._path}/{kind}"]
        for _ in range(4 if kind in ("wall", "elapsed", "history", "failed") else 1):
            paths = [f"{path}/{name}" for path in paths for name in self.client.get_children(path)]
        return paths

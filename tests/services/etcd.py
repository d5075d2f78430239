"""etcd."""

from __future__ import annotations

import http.client
import json

from tests.services._service import HOST, Service, find_program

__all__ = ["Etcd"]


class Etcd(Service):
    """``place.name`` is a prefix for keys: nothing is there, and no other test is given it."""

    name = "etcd"
    scheme = "etcd"
    debian = ("etcd-server",)
    port_count = 2

    @classmethod
    def missing(cls) -> str | None:
        return None if find_program("etcd") else "etcd not found; Debian has it in the package etcd-server"

    def command(self) -> list[str]:
        server = find_program("etcd")
        assert server is not None
        clients, peers = (f"http://{HOST}:{port}" for port in self._ports)
        return [
            server,
            "--name=test",
            f"--data-dir={self._folder('data')}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=test={peers}",
            # Milliseconds. There is nobody to wait for before it elects itself.
            "--heartbeat-interval=20",
            "--election-timeout=200",
            "--logger=zap",
        ]

    def connection(self) -> http.client.HTTPConnection:
        """One by which it is asked."""
        return http.client.HTTPConnection(HOST, self.port, timeout=self.answer_s)

    def ask(self) -> bool:
        connection = self.connection()
        try:
            connection.request("GET", "/health")
            return str(json.loads(connection.getresponse().read()).get("health")) == "true"
        except http.client.HTTPException as error:
            raise ValueError(f"not an answer of etcd: {error!r}") from error
        finally:
            connection.close()

    def make_name(self, number: int) -> str:
        return f"test_{number}"

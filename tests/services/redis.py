"""Redis."""

from __future__ import annotations

from tests.services._service import HOST, Service, ServiceError, find_program

__all__ = ["Redis"]

# Databases in one server. Each that is used costs a little memory.
DATABASES = 4096


class Redis(Service):
    """``place.name`` is the number of a database."""

    name = "redis"
    scheme = "redis"
    debian = ("redis-server",)

    @classmethod
    def missing(cls) -> str | None:
        return None if find_program("redis-server") else "redis-server not found; Debian has a package of that name"

    def command(self) -> list[str]:
        server = find_program("redis-server")
        assert server is not None
        settings = {
            "bind": HOST,
            "port": self.port,
            "dir": self._folder("data"),
            "databases": DATABASES,
            "save": "",
            "appendonly": "yes",
            # Written before each reply, and when to force it to the disk is left to the system. "everysec" may put a
            # write off while it does so, and then a kill would lose it.
            "appendfsync": "no",
            "auto-aof-rewrite-percentage": 0,
        }
        return [server, *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]

    def ask(self) -> bool:
        return self.exchange(b"PING\r\n", enough=7) == b"+PONG\r\n"  # not "-LOADING"

    def make_name(self, number: int) -> str:
        if number >= DATABASES:
            raise ServiceError(f"all {DATABASES} databases were given to tests")
        return str(number)

"""PostgreSQL."""

from __future__ import annotations

import contextlib
import re
import signal
import struct
from pathlib import Path

from tests.services._service import HOST, Service, find_program

__all__ = ["PostgreSQL"]

# The first message of protocol 3.0: its length, the version, pairs of names and values, an empty name.
_PAIRS = b"user\0postgres\0database\0postgres\0\0"
_HELLO = struct.pack("!ii", 8 + len(_PAIRS), 3 << 16) + _PAIRS
_BYE = b"X\0\0\0\4"


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.parent.name))


class PostgreSQL(Service):
    """``place.name`` is a database; the user is ``postgres``. Debian keeps the server off PATH, one folder for each version."""

    name = "postgresql"
    scheme = "postgresql"
    user = "postgres"
    debian = ("postgresql",)
    # "Fast": clients are disconnected. SIGTERM would wait until they leave.
    farewell = signal.SIGINT
    never_as_root = True

    @staticmethod
    def _program(name: str) -> str | None:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
        return find_program(name, folders=folders)

    @classmethod
    def missing(cls) -> str | None:
        absent = [name for name in ("initdb", "postgres") if cls._program(name) is None]
        return f"{' and '.join(absent)} not found; Debian has them in the package postgresql" if absent else None

    def prepare(self) -> None:
        initdb = self._program("initdb")
        assert initdb is not None
        trust = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        self._run([initdb, "--pgdata", self._folder("data"), "--no-sync", "--no-instructions", *trust])

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "fsync": "off",
            "full_page_writes": "off",
            # In the data folder, not in /dev/shm, where it would stay after a kill.
            "dynamic_shared_memory_type": "mmap",
        }
        postgres = self._program("postgres")
        assert postgres is not None
        return [postgres, "-D", self._folder("data"), *(f"--{name}={value}" for name, value in settings.items())]

    def ask(self) -> bool:
        # "Z": ready for a query. Before that come "R", logged in, and the parameters; or "E" while it starts.
        answer = self.exchange(_HELLO + _BYE, enough=1 << 20)
        return answer.startswith(b"R") and b"Z\0\0\0\5" in answer

    def make_name(self, number: int) -> str:
        import psycopg
        import psycopg.sql

        name = f"test_{number}"
        with contextlib.closing(psycopg.connect(self.place("postgres").url, autocommit=True)) as connection:
            connection.execute(
                psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(psycopg.sql.Identifier(name))
            )
        return name

    def tidy(self) -> None:
        # A killed server leaves a few bytes of System V shared memory, which its next start would have removed. The seventh
        # line of its lock file is their key and id.
        with contextlib.suppress(OSError, IndexError):
            words = Path(self._folder("data"), "postmaster.pid").read_text(encoding="ascii").splitlines()[6].split()
            if (ipcrm := find_program("ipcrm")) is not None:
                self._run([ipcrm, "--shmem-id", words[1]])

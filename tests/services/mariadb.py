"""MariaDB."""

from __future__ import annotations

import contextlib

from tests.services._service import HOST, Service, find_program

__all__ = ["MariaDB"]


class MariaDB(Service):
    """``place.name`` is a database; the user is ``root``, without a password."""

    name = "mariadb"
    scheme = "mysql+pymysql"
    user = "root"
    # The programs without a database that the system would start.
    debian = ("mariadb-server-core", "mariadb-client-core")
    never_as_root = True

    @classmethod
    def missing(cls) -> str | None:
        absent = [
            name for name in ("mariadbd", "mariadb-install-db", "my_print_defaults") if find_program(name) is None
        ]
        if not absent:
            return None
        return f"{' and '.join(absent)} not found; Debian has them in the packages {' and '.join(cls.debian)}"

    def prepare(self) -> None:
        install = find_program("mariadb-install-db")
        assert install is not None
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        self._run([install, "--no-defaults", f"--datadir={self._folder('data')}", *options, *self._quick()])

    def _quick(self) -> list[str]:
        return [
            "--innodb-flush-log-at-trx-commit=2",  # handed to the system at each commit, not forced to the disk
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=0",
            "--innodb-log-file-size=16M",
            "--innodb-buffer-pool-size=64M",
            "--innodb-use-native-aio=0",
            "--aria-log-file-size=8M",
        ]

    def command(self) -> list[str]:
        server = find_program("mariadbd")
        assert server is not None
        data = self._folder("data")
        return [
            server,
            "--no-defaults",
            f"--datadir={data}",
            # A server that starts deletes what it takes for an earlier one's in the folder for temporary files.
            f"--tmpdir={self._folder('temporary')}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            # Taken as relative to the data folder: an absolute path could be longer than a socket's may be.
            "--socket=mariadb.sock",
            "--pid-file=mariadb.pid",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_bin",
            "--max-allowed-packet=64M",
            "--max-connections=200",
            *self._quick(),
        ]

    def ask(self) -> bool:
        # It speaks first: three bytes of length, a number, and the version of the protocol; 255 would be an error.
        return self.exchange(b"", enough=5)[4:5] == b"\n"

    def make_name(self, number: int) -> str:
        import pymysql

        name = f"test_{number}"
        with contextlib.closing(pymysql.connect(host=HOST, port=self.port, user=self.user)) as connection:
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return name

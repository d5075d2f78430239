"""Every job store of ours that keeps jobs, over the real thing (RethinkDB's over the evaluator of ``tests/jobstores/rethinkdb``),
and what one has to know to look at it from outside.

A ``Place`` is somewhere for one test's jobs. A store on it is made of options, as in a configuration file, so that another
process can make it, too. The rest goes around the store: what is there, and records that somebody else has written.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import unquote

import pytest

from schedcore import config, plugins
from schedcore.jobstores.base import JobStore
from schedcore.testing import VirtualExecutor, VirtualScheduler
from tests.services import Place as ServerPlace
from tests.services import Service

__all__ = ["START", "Kind", "Place", "ask_child", "kinds", "opened"]

ROOT = Path(__file__).resolve().parents[3]
START = datetime(2026, 1, 1, tzinfo=UTC)

# What a server keeps: names of anything to anything that can be compared.
Content = Mapping[Any, Any]


class Place(ABC):
    """Somewhere for the jobs of one test."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What a configuration file would say."""

    @abstractmethod
    def content(self) -> Content:
        """All that is there, but for what only says that the owner lives."""

    @abstractmethod
    def ids(self) -> list[str]:
        """Of the jobs there are records of."""

    @abstractmethod
    def payloads(self) -> dict[str, bytes]:
        """The stored definitions, by job."""

    @abstractmethod
    def put_payloads(self, payloads: Mapping[str, bytes]) -> None:
        """Put others in their places."""

    def store(self, **options: Any) -> JobStore:
        made: JobStore = config.build(config.component({**self.options, **options}, "jobstore"), plugins.JOBSTORES)
        return made

    @property
    def port(self) -> int | None:
        """Of the server; None: it is not asked by way of the network."""
        found = re.search(r"127\.0\.0\.1:(\d+)", str(self.options))
        port: int | None = int(found[1]) if found else self.options.get("port")
        return port

    def store_by_way_of(self, port: int, **options: Any) -> JobStore:
        """One whose connections go to another port."""
        there = self.port
        by_it = {
            name: port if value == there else value.replace(f"127.0.0.1:{there}", f"127.0.0.1:{port}")
            for name, value in self.options.items()
            if str(there) in str(value)
        }
        # With a client of its own.
        return Place.store(self, **by_it, **options)

    def scheduler(self, start: datetime = START, executor: VirtualExecutor | None = None, **options: Any) -> Any:
        """One in virtual time over this place, not started."""
        executors = {} if executor is None else {"executors": {"default": executor}}
        stores = {"default": self.store(**options)}
        return VirtualScheduler(start=start, timezone="UTC", jobstores=stores, **executors)


# --- SQL --------------------------------------------------------------------------------------------------------------


class _SQL(Place):
    tables = ("schedcore_jobs", "schedcore_jobs_schedule", "schedcore_jobs_runs", "schedcore_jobs_meta")

    def __init__(self, url: str, driver: str) -> None:
        self.url = url
        self._driver = driver
        self._engine: Any = None

    @property
    def options(self) -> dict[str, Any]:
        return {"type": "sqlalchemy", "url": self.url}

    def _ask(self, statement: str, rows: Sequence[Mapping[str, Any]] = ()) -> list[tuple[Any, ...]]:
        import sqlalchemy as sa
        from sqlalchemy.pool import NullPool

        if self._engine is None:
            url = sa.make_url(self.url)
            name = f"{url.get_backend_name()}+{self._driver}"
            self._engine = sa.create_engine(url.set(drivername=name), poolclass=NullPool)
        with self._engine.begin() as connection:
            found = connection.execute(sa.text(statement), rows or None)
            return [tuple(row) for row in found] if found.returns_rows else []

    def content(self) -> Content:
        return {table: sorted(self._ask(f"SELECT * FROM {table}"), key=repr) for table in self.tables}

    def ids(self) -> list[str]:
        return [row[0] for row in self._ask("SELECT id FROM schedcore_jobs ORDER BY id")]

    def payloads(self) -> dict[str, bytes]:
        return {job_id: bytes(payload) for job_id, payload in self._ask("SELECT id, payload FROM schedcore_jobs")}

    def put_payloads(self, payloads: Mapping[str, bytes]) -> None:
        self._ask(
            "UPDATE schedcore_jobs SET payload = :payload WHERE id = :id",
            [{"id": job_id, "payload": payload} for job_id, payload in payloads.items()],
        )
        self._ask("UPDATE schedcore_jobs_schedule SET version = version + 1")


# --- servers with keys and documents ----------------------------------------------------------------------------------


class _Redis(Place):
    def __init__(self, place: ServerPlace) -> None:
        self._place = place

    @property
    def options(self) -> dict[str, Any]:
        return {"type": "redis", "db": int(self._place.name), "host": self._place.host, "port": self._place.port}

    def _client(self) -> Any:
        import redis

        return redis.Redis(db=int(self._place.name), host=self._place.host, port=self._place.port)

    def content(self) -> Content:
        found: dict[bytes, Any] = {}
        with self._client() as client:
            for key in client.scan_iter():
                kind = client.type(key)
                if kind == b"hash":
                    found[key] = client.hgetall(key)
                elif kind == b"zset":
                    found[key] = client.zrange(key, 0, -1, withscores=True)
                elif kind == b"set":
                    found[key] = client.smembers(key)
                else:
                    found[key] = client.get(key)
        return found

    def ids(self) -> list[str]:
        with self._client() as client:
            return sorted(name.decode() for name in client.hkeys("schedcore.jobs"))

    def payloads(self) -> dict[str, bytes]:
        with self._client() as client:
            return {job_id.decode(): payload for job_id, payload in client.hgetall("schedcore.jobs:payloads").items()}

    def put_payloads(self, payloads: Mapping[str, bytes]) -> None:
        with self._client() as client:
            for job_id, payload in payloads.items():
                client.hset("schedcore.jobs:payloads", job_id, payload)


class _MongoDB(Place):
    # The threads of a client take half a second to end. Stores of this process share one, and other processes have their own.
    def __init__(self, place: ServerPlace, client: Any) -> None:
        self._place = place
        self._client = client
        self._database = client[place.name]

    @property
    def options(self) -> dict[str, Any]:
        place = self._place
        return {"type": "mongodb", "database": place.name, "host": place.host, "port": place.port}

    def store(self, **options: Any) -> JobStore:
        from schedcore.jobstores.mongodb import MongoDBJobStore

        return MongoDBJobStore(self._place.name, client=self._client, **options)

    def content(self) -> Content:
        return {
            name: list(self._database[name].find({"_id": {"$nin": ["owner", "clock"]}}).sort("_id", 1))
            for name in self._database.list_collection_names()
        }

    def ids(self) -> list[str]:
        return sorted(row["_id"] for row in self._database["jobs"].find({}, {"_id": 1}))

    def payloads(self) -> dict[str, bytes]:
        return {row["_id"]: bytes(row["payload"]) for row in self._database["jobs"].find({}, {"payload": 1})}

    def put_payloads(self, payloads: Mapping[str, bytes]) -> None:
        for job_id, payload in payloads.items():
            self._database["jobs"].update_one({"_id": job_id}, {"$set": {"payload": payload}})


class _InKey(NamedTuple):
    """A payload in etcd or ZooKeeper: under a key of its own, or behind what else the value of a key says."""

    key: str
    head: bytes
    payload: bytes


class _Etcd(Place):
    def __init__(self, place: ServerPlace) -> None:
        self._place = place

    @property
    def options(self) -> dict[str, Any]:
        return {"type": "etcd", "path": f"/{self._place.name}", "host": self._place.host, "port": self._place.port}

    def _call(self, name: str, fields: dict[str, Any]) -> Any:
        from schedcore.jobstores.etcd import EtcdClient

        client = EtcdClient(self._place.host, self._place.port)
        try:
            return client.call(name, fields)
        finally:
            client.close()

    def _under(self, name: str) -> dict[bytes, tuple[bytes, int]]:
        first = f"/{self._place.name}/{name}".encode()
        last = first[:-1] + bytes([first[-1] + 1])
        found = self._call("KV/Range", {"key": first, "range_end": last}).kvs
        return {kv.key[len(first) :]: (kv.value, kv.mod_revision) for kv in found}

    def content(self) -> Content:
        return self._under("")

    def ids(self) -> list[str]:
        return sorted(name.decode() for name in self._under("jobs/"))

    def _payloads(self) -> dict[str, _InKey]:
        elsewhere = self._under("payloads/")
        found: dict[str, _InKey] = {}
        for name, (text, _) in self._under("jobs/").items():
            head, inside, payload = text.partition(b"\n")
            uid = json.loads(head)[1]
            if inside:
                found[name.decode()] = _InKey(f"jobs/{name.decode()}", head + b"\n", payload)
            else:
                found[name.decode()] = _InKey(f"payloads/{uid}", b"", elsewhere[uid.encode()][0])
        return found

    def payloads(self) -> dict[str, bytes]:
        return {job_id: found.payload for job_id, found in self._payloads().items()}

    def put_payloads(self, payloads: Mapping[str, bytes]) -> None:
        there = self._payloads()
        for job_id, payload in payloads.items():
            name, head, _ = there[job_id]
            key = f"/{self._place.name}/{name}".encode()
            self._call("KV/Put", {"key": key, "value": head + payload})


class _ZooKeeper(Place):
    def __init__(self, place: ServerPlace) -> None:
        self._place = place
        self._root = f"/{place.name}"

    @property
    def options(self) -> dict[str, Any]:
        return {"type": "zookeeper", "path": self._root, "hosts": f"{self._place.host}:{self._place.port}"}

    @contextmanager
    def _client(self) -> Iterator[Any]:
        # One for each look: what waits in it opens and closes descriptors all the time.
        from kazoo.client import KazooClient  # type: ignore[import-untyped]

        client = KazooClient(hosts=f"{self._place.host}:{self._place.port}")
        client.start(timeout=30)
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def content(self) -> Content:
        found: dict[str, tuple[bytes, int]] = {}

        def walk(path: str) -> None:
            value, stat = client.get(path)
            found[path] = value, stat.version
            for name in client.get_children(path):
                walk(f"{path}/{name}")

        with self._client() as client:
            walk(self._root)
        return found

    def ids(self) -> list[str]:
        with self._client() as client:
            return sorted(map(unquote, client.get_children(f"{self._root}/jobs")))

    def _payloads(self, client: Any) -> dict[str, _InKey]:
        found: dict[str, _InKey] = {}
        for name in client.get_children(f"{self._root}/jobs"):
            path = f"{self._root}/jobs/{name}"
            head, inside, payload = client.get(path)[0].partition(b"\n")
            if inside:
                found[unquote(name)] = _InKey(path, head + b"\n", payload)
            else:
                uid = json.loads(head)[1]
                path = f"{self._root}/payloads/{uid}"
                payload = client.get(path)[0]
                if payload.startswith(b"\0in pieces "):
                    tag, count = payload.decode().split()[2:]
                    pieces = [f"{self._root}/pieces/{uid}-{tag}-{number}" for number in range(int(count))]
                    payload = b"".join([client.get(piece)[0] for piece in pieces])
                found[unquote(name)] = _InKey(path, b"", payload)
        return found

    def payloads(self) -> dict[str, bytes]:
        with self._client() as client:
            return {job_id: found.payload for job_id, found in self._payloads(client).items()}

    def put_payloads(self, payloads: Mapping[str, bytes]) -> None:
        with self._client() as client:
            there = self._payloads(client)
            for job_id, payload in payloads.items():
                path, head, _ = there[job_id]
                client.set(path, head + payload)


class _RethinkDB(Place):
    def __init__(self, server: Any, name: str) -> None:
        self._server = server
        self._name = name

    @property
    def options(self) -> dict[str, Any]:
        # The evaluator is no fast server, and some records are large.
        where = {"host": "127.0.0.1", "port": self._server.port, "timeout": 120}
        return {"type": "rethinkdb", "database": self._name, **where}

    @property
    def _tables(self) -> Any:
        return self._server.evaluator.databases[self._name]

    def _rows(self) -> dict[str, Any]:
        return {row["job"]: row for row in self._tables["jobs"].rows.values()}

    def content(self) -> Content:
        return {name: {k: row for k, row in table.rows.items() if k != "owner"} for name, table in self._tables.items()}

    def ids(self) -> list[str]:
        return sorted(self._rows())

    def payloads(self) -> dict[str, bytes]:
        return {job_id: b64decode(row["payload"]["data"]) for job_id, row in self._rows().items()}

    def put_payloads(self, payloads: Mapping[str, bytes]) -> None:
        rows = self._rows()
        for job_id, payload in payloads.items():
            value = {"$reql_type$": "BINARY", "data": b64encode(payload).decode()}
            self._tables["jobs"].alter(rows[job_id]["id"], payload=value)


# --- other processes --------------------------------------------------------------------------------------------------


def ask_child(program: str, question: Any, folder: Path) -> Any:
    """What a process with nothing of this one's answers: a program that reads JSON text and writes some."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- all of them ------------------------------------------------------------------------------------------------------


class Kind:
    """A kind of store, and its server, if there is one."""

    #: What has to be installed, and the extra that brings it.
    needs: ClassVar[tuple[tuple[str, ...], str]]
    #: The fixture of its server.
    server: ClassVar[str | None] = None
    #: Bytes of the largest record that the server takes, if it is less than anybody would try.
    limit: ClassVar[int] = 1 << 40

    def __init__(self, service: Service | None, stack: ExitStack) -> None:
        self._service = service
        self._client: Any = None
        self.open(stack)

    def open(self, stack: ExitStack) -> None:
        """Make what all places share, and close it with ``stack``."""

    def place(self, folder: Path) -> Place:
        """An empty one. Files are in the folder."""
        raise NotImplementedError

    def largest(self, size: int) -> int:
        """So many bytes, or as many as the server takes."""
        return min(size, self.limit)

    @property
    def service(self) -> Any:
        assert self._service is not None
        return self._service


class SQLite(Kind):
    needs = (("sqlalchemy",), "sqlalchemy")

    def place(self, folder: Path) -> Place:
        return _SQL(f"sqlite:///{folder}/jobs.sqlite", "pysqlite")


class PostgreSQL(Kind):
    needs = (("sqlalchemy", "psycopg"), "postgresql")
    server = "postgresql"

    def place(self, folder: Path) -> Place:
        return _SQL(self.service.fresh().url, "psycopg")


class MariaDB(Kind):
    needs = (("sqlalchemy", "pymysql"), "mysql")
    server = "mariadb"
    limit = 30_000_000  # in one statement, as it is set up here

    def place(self, folder: Path) -> Place:
        return _SQL(self.service.fresh().url, "pymysql")


class Redis(Kind):
    needs = (("redis",), "redis")
    server = "redis_server"

    def place(self, folder: Path) -> Place:
        return _Redis(self.service.fresh())


class MongoDB(Kind):
    needs = (("pymongo",), "mongodb")
    server = "mongodb"
    limit = 7_000_000

    def open(self, stack: ExitStack) -> None:
        import pymongo

        self._client = stack.enter_context(pymongo.MongoClient(self.service.host, self.service.port, maxPoolSize=1))
        self._client.admin.command("ping")

    def place(self, folder: Path) -> Place:
        return _MongoDB(self.service.fresh(), self._client)


class Etcd(Kind):
    needs = (("h2",), "etcd")
    server = "etcd"
    limit = 1_400_000

    def place(self, folder: Path) -> Place:
        return _Etcd(self.service.fresh())


class ZooKeeper(Kind):
    needs = (("kazoo",), "zookeeper")
    server = "zookeeper"
    limit = 1_000_000

    def place(self, folder: Path) -> Place:
        return _ZooKeeper(self.service.fresh())


class RethinkDB(Kind):
    needs = (("rethinkdb",), "rethinkdb")
    limit = 48_000_000  # in one query, which is text

    def open(self, stack: ExitStack) -> None:
        from tests.jobstores.rethinkdb.evaluator import Evaluator, EvaluatorServer

        self._server = EvaluatorServer(Evaluator())
        stack.callback(self._server.stop)
        self._count = 0

    def place(self, folder: Path) -> Place:
        assert not self._server.unknown
        self._count += 1
        return _RethinkDB(self._server, f"place{self._count}")


_KINDS: Mapping[str, type[Kind]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "mariadb": MariaDB,
    "redis": Redis,
    "mongodb": MongoDB,
    "etcd": Etcd,
    "zookeeper": ZooKeeper,
    "rethinkdb": RethinkDB,
}


def kinds() -> list[str]:
    """Names, for parameters."""
    return list(_KINDS)


def opened(name: str, request: pytest.FixtureRequest) -> Iterator[Kind]:
    """A kind with its server running, for a fixture; or a skip."""
    cls = _KINDS[name]
    modules, extra = cls.needs
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}, which the extra {extra!r} brings")
    with ExitStack() as stack:
        yield cls(None if cls.server is None else request.getfixturevalue(cls.server), stack)

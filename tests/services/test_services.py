"""Each server starts, answers a client, comes back with its data from whatever is done to it, and leaves nothing.

None of these is marked ``slow``, though some take a second: they run in the one environment that has servers, and nowhere else.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kazoo.client  # type: ignore[import-untyped]
import psutil
import psycopg
import pymongo
import pymysql
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.services import (
    SERVICES,
    Etcd,
    MariaDB,
    MongoDB,
    Place,
    PostgreSQL,
    Proxy,
    Redis,
    Service,
    ServiceError,
    ServiceMissing,
    ZooKeeper,
    fixtures,
)

ROOT = Path(__file__).resolve().parent.parent.parent
FIXTURES = {
    "postgresql": "postgresql",
    "mariadb": "mariadb",
    "redis": "redis_server",
    "zookeeper": "zookeeper",
    "etcd": "etcd",
    "mongodb": "mongodb",
}
# Seconds. What an event may take on a busy machine; none is waited for that long unless something is broken.
PATIENCE_S = 60.0


# --- the least that a client can do: keep a value, and read it ---------------------------------------------------------


class Client:
    """A connection that is made for each call: what is tested is the server."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def put(self, value: str) -> None:
        raise NotImplementedError

    def get(self) -> str | None:
        raise NotImplementedError


class PostgreSQLClient(Client):
    def run(self, statement: str, *values: str) -> list[Any]:
        place = self.place
        with psycopg.connect(
            host=place.host, port=place.port, user=place.user, dbname=place.name, connect_timeout=5, autocommit=True
        ) as connection:
            cursor = connection.execute(statement, values)
            return list(cursor) if cursor.description else []

    def put(self, value: str) -> None:
        self.run("CREATE TABLE IF NOT EXISTS kept (value text)")
        self.run("INSERT INTO kept VALUES (%s)", value)

    def get(self) -> str | None:
        if self.run("SELECT to_regclass('kept')") == [(None,)]:
            return None
        return str(self.run("SELECT value FROM kept")[0][0])


class MariaDBClient(Client):
    def run(self, statement: str, *values: str) -> list[Any]:
        place = self.place
        address: dict[str, Any] = {"host": place.host, "port": place.port, "user": place.user, "database": place.name}
        with contextlib.closing(
            pymysql.connect(**address, connect_timeout=5, read_timeout=5, autocommit=True)
        ) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def put(self, value: str) -> None:
        self.run("CREATE TABLE kept (value text) ENGINE=InnoDB")
        self.run("INSERT INTO kept VALUES (%s)", value)

    def get(self) -> str | None:
        return str(self.run("SELECT value FROM kept")[0][0]) if self.run("SHOW TABLES") else None


class RedisClient(Client):
    def put(self, value: str) -> None:
        with self.connected() as client:
            client.set("kept", value)

    def get(self) -> str | None:
        with self.connected() as client:
            value = client.get("kept")
        return None if value is None else str(value)

    def connected(self) -> redis.Redis:
        place = self.place
        once = Retry(NoBackoff(), 0)
        return redis.Redis(
            host=place.host, port=place.port, db=int(place.name), decode_responses=True, socket_timeout=5, retry=once
        )


class ZooKeeperClient(Client):
    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        place = self.place
        client = kazoo.client.KazooClient(hosts=f"{place.host}:{place.port}/{place.name}", timeout=5)
        try:
            client.start(timeout=5)
            yield client
        finally:
            client.stop()
            client.close()

    def put(self, value: str) -> None:
        with self.connected() as client:
            client.create("/kept", value.encode())

    def get(self) -> str | None:
        with self.connected() as client:
            return client.get("/kept")[0].decode() if client.exists("/kept") else None


class EtcdClient(Client):
    def ask(self, what: str, **arguments: str) -> Any:
        encoded = {name: base64.b64encode(value.encode()).decode() for name, value in arguments.items()}
        url = f"http://{self.place.host}:{self.place.port}/v3/kv/{what}"
        with urllib.request.urlopen(url, json.dumps(encoded).encode(), timeout=5) as answer:
            return json.load(answer)

    def put(self, value: str) -> None:
        self.ask("put", key=f"{self.place.name}/kept", value=value)

    def get(self) -> str | None:
        found = self.ask("range", key=f"{self.place.name}/kept").get("kvs")
        return base64.b64decode(found[0]["value"]).decode() if found else None


class MongoDBClient(Client):
    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        with pymongo.MongoClient[dict[str, Any]](
            self.place.url, serverSelectionTimeoutMS=5000, timeoutMS=5000
        ) as client:
            yield client[self.place.name]

    def put(self, value: str) -> None:
        with self.connected() as database:
            database.kept.insert_one({"value": value})

    def get(self) -> str | None:
        with self.connected() as database:
            found = database.kept.find_one()
        return None if found is None else str(found["value"])


CLIENTS: dict[str, type[Client]] = {
    "postgresql": PostgreSQLClient,
    "mariadb": MariaDBClient,
    "redis": RedisClient,
    "zookeeper": ZooKeeperClient,
    "etcd": EtcdClient,
    "mongodb": MongoDBClient,
}


@pytest.fixture(params=SERVICES)
def server(request: pytest.FixtureRequest) -> Service:
    """Each server in turn, as tests share it."""
    found = request.getfixturevalue(FIXTURES[request.param])
    assert isinstance(found, Service)
    return found


@pytest.fixture
def client(server: Service) -> Client:
    return CLIENTS[server.name](server.fresh())


# --- what each server does ---------------------------------------------------------------------------------------------


def test_it_answers_a_client_and_gives_each_test_a_place_of_its_own(server: Service, client: Client) -> None:
    assert client.get() is None
    client.put("one, ü")
    assert client.get() == "one, ü"
    other = CLIENTS[server.name](server.fresh())
    assert other.place != client.place
    assert other.get() is None


def test_it_listens_on_the_loopback_interface_only(server: Service) -> None:
    main = psutil.Process(server.pid)
    listening = {
        connection.laddr.ip
        for process in (main, *main.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_paused_it_says_nothing_and_resumed_it_answers_what_was_asked_meanwhile(
    server: Service, client: Client
) -> None:
    client.put("asked while it was paused")
    answers: list[str | None] = []
    asking = threading.Thread(target=lambda: answers.append(client.get()))
    server.pause()
    try:
        main = psutil.Process(server.pid)
        # A worker that was just ending when its parent was stopped is not buried yet.
        standing = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
        assert {process.status() for process in (main, *main.children(recursive=True))} <= standing
        # The kernel accepts the connection. The server does not get to see it.
        with socket.create_connection((server.host, server.port), 1.0) as connection:
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            asking.start()
    finally:
        server.resume()
    asking.join(PATIENCE_S)
    assert answers == ["asked while it was paused"]


def test_killed_it_refuses_and_started_again_it_has_what_it_had_confirmed(server: Service, client: Client) -> None:
    client.put("confirmed before the kill")
    port, pids = (
        server.port,
        [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))],
    )
    server.kill()
    assert not server.running
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, port), 1.0)
    server.start()
    assert server.port == port
    assert client.get() == "confirmed before the kill"


def test_restarted_it_has_its_port_and_its_data(server: Service, client: Client) -> None:
    client.put("kept over a restart")
    port, pid = server.port, server.pid
    server.restart()
    assert (server.port, server.pid == pid) == (port, False)
    assert client.get() == "kept over a restart"


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_what_a_test_did_to_it_is_undone_for_the_next_one(server: Service, how: str) -> None:
    getattr(server, how)()
    client = CLIENTS[server.name](server.fresh())
    client.put("well again")
    assert client.get() == "well again"


# Each server in the two ways that differ for it; the third is a matter of the keeper, and not of the server.
@pytest.mark.parametrize(
    ("name", "end"),
    [*((name, end) for name in SERVICES for end in ("stop", "kill and stop")), ("postgresql", "pause and stop")],
)
def test_stopped_it_leaves_nothing(name: str, end: str) -> None:
    one = started(name)
    folder, port = kept_folder(one), one.port
    main = psutil.Process(one.pid)
    keeper = main.parent()
    assert keeper is not None
    everything = [keeper, main, *main.children(recursive=True)]
    segments = shared_memory_of(everything)
    for step in end.split(" and "):
        getattr(one, step)()
    one.stop()
    assert not one.running
    wait_until(lambda: not any(alive(process) for process in everything))
    assert not folder.exists()
    assert not (segments & shared_memory())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1.0)
    with pytest.raises(ServiceError, match=f"{name} was not started"):
        one.fresh()


@pytest.mark.parametrize(
    ("name", "number"), [*((name, signal.SIGKILL) for name in SERVICES), ("redis", signal.SIGTERM)]
)
def test_it_ends_with_whom_it_was_started_by(name: str, number: signal.Signals) -> None:
    available(name)
    command = [sys.executable, "-m", "tests.services", "start", name]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stderr is not None
        url = starter.stdout.readline().strip()
        main = psutil.Process(int(starter.stderr.readline().split(";")[0].removeprefix("pid ")))
        keeper = main.parent()
        assert keeper is not None
        everything = [keeper, main, *main.children(recursive=True)]
        folder = Path(main.cwd()) if name not in ("postgresql", "mariadb") else Path(main.cwd()).parent
        assert folder.exists()
        starter.send_signal(number)
        assert starter.wait(PATIENCE_S) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_until(lambda: not any(alive(process) for process in everything))
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0])), 1.0)


# --- what holds for any server, shown with the smallest one ------------------------------------------------------------


def test_one_that_does_not_start_says_what_its_log_says(monkeypatch: pytest.MonkeyPatch) -> None:
    available("redis")
    command = Redis.command
    monkeypatch.setattr(Redis, "command", lambda self: [*command(self), "--nonsense", "1"])
    one = Redis()
    with pytest.raises(ServiceError, match=r"(?s)redis ended while it was started.*nonsense"):
        one.start()
    assert not one.running


def test_one_that_never_answers_is_given_up_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    available("redis")
    monkeypatch.setattr(Redis, "ask", lambda self: False)
    wait = Redis.wait_until_ready
    monkeypatch.setattr(Redis, "wait_until_ready", lambda self: wait(self, 0.1))
    one = Redis()
    with pytest.raises(ServiceError, match=r"redis did not answer within 0.1 s"):
        one.start()
    assert not one.running


def test_a_server_that_dies_by_itself_is_started_again_for_the_next_test(redis_server: Redis) -> None:
    os.kill(redis_server.pid, signal.SIGKILL)
    wait_until(lambda: not redis_server.running)
    client = RedisClient(redis_server.fresh())
    client.put("well again")
    assert client.get() == "well again"


class Absent(Redis):
    @classmethod
    def missing(cls) -> str | None:
        return "not here; the moon has it"


@pytest.mark.parametrize(
    ("required", "ci", "fails"), [("", "", False), ("1", "", True), ("", "true", True), ("0", "true", False)]
)
def test_a_missing_server_is_a_skip_with_its_reason_or_a_failure_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, required: str, ci: str, fails: bool
) -> None:
    monkeypatch.setenv("SCHEDCORE_REQUIRE_SERVICES", required)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(ServiceMissing, match="redis: not here; the moon has it"):
        Absent().start()
    outcome = pytest.fail.Exception if fails else pytest.skip.Exception
    with pytest.raises(outcome, match="redis: not here; the moon has it"):
        next(fixtures._shared(Absent))


def test_two_folders_that_use_a_server_share_it(redis_server: Redis) -> None:
    again = fixtures._shared(Redis)
    assert next(again) is redis_server
    again.close()
    assert redis_server.running


def test_a_place_can_be_reached_by_way_of_a_proxy(redis_server: Redis) -> None:
    place = redis_server.fresh()
    with Proxy(place.port) as proxy:
        client = RedisClient(place.by_way_of(proxy.port))
        client.put("by way of a proxy")
        assert RedisClient(place).get() == "by way of a proxy"
        proxy.refuse()
        with pytest.raises(redis.ConnectionError):
            client.get()
        proxy.accept()
        assert client.get() == "by way of a proxy"


def test_the_urls_are_those_that_drivers_take() -> None:
    place = Place(scheme="postgresql", host="127.0.0.1", port=5432, user="postgres", name="test_1")
    assert place.url == "postgresql://postgres@127.0.0.1:5432/test_1"
    assert Place(scheme="redis", host="127.0.0.1", port=1, name="7").url == "redis://127.0.0.1:1/7"
    assert [service.scheme for service in (PostgreSQL, MariaDB, ZooKeeper, Etcd, MongoDB)] == [
        "postgresql", "mysql+pymysql", "zookeeper", "etcd", "mongodb"
    ]  # fmt: skip


# --- helpers -----------------------------------------------------------------------------------------------------------


def available(name: str) -> None:
    """Skip, or fail, where the server is not installed."""
    if reason := SERVICES[name].missing():
        (pytest.fail if fixtures.required() else pytest.skip)(f"{name}: {reason}")


def started(name: str) -> Service:
    available(name)
    one = SERVICES[name]()
    one.start()
    return one


def kept_folder(one: Service) -> Path:
    assert one._keeper is not None
    return Path(one._keeper.folder)


def alive(process: psutil.Process) -> bool:
    """A zombie is the system's to bury, which may be busy."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def system_v() -> list[list[str]]:
    """The System V segments of this machine, as the kernel lists them."""
    with contextlib.suppress(OSError):
        return [line.split() for line in Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]]
    return []


def shared_memory() -> set[str]:
    """The shared memory of this machine: identifiers of System V segments, and paths of POSIX ones."""
    found = {segment[1] for segment in system_v()}
    with contextlib.suppress(OSError):
        found |= {f"/dev/shm/{name}" for name in os.listdir("/dev/shm")}
    return found


def shared_memory_of(processes: list[psutil.Process]) -> set[str]:
    """The part of it that one of these has made, or has mapped. (Others on this machine have some, which comes and goes.)"""
    made_by = {str(process.pid) for process in processes}
    found = {segment[1] for segment in system_v() if segment[4] in made_by}
    for process in processes:
        with contextlib.suppress(OSError):
            maps = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8", errors="replace")
            found |= {f"/dev/shm/{name.split()[0]}" for name in re.findall(r"/dev/shm/(.+)", maps)}
    return found


def wait_until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.01)

"""ZooKeeper and etcd, which have no index: 10,000 jobs are stored, and ten of them are due.

*ten due*: the clock runs from ``resume()`` until the last of the ten has run, its outcome and next time are stored, and the
scheduler is shut down (``recorded_ms``), and until the last of them ran (``run_ms``). The other jobs are due from a day on, a
minute apart. APScheduler reads all of them at each wakeup. schedcore writes a record of each run (APScheduler keeps none).
``bare`` does by the driver alone what no store can do without: it reads the ten, writes their next times in a transaction, runs
them, and writes their outcomes. It knows where they are.

The servers write to the disk what they confirm, as they do where they are installed.
"""

from __future__ import annotations

import gc
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from time import perf_counter, process_time
from typing import Any

from benchmarks._meters import Tally, background_scheduler
from benchmarks._plan import Case, Figures, Target

__all__ = ["CASES", "REQUIREMENTS", "TARGETS"]

# APScheduler's store for etcd needs etcd3, which is no longer maintained and needs an old protobuf.
REQUIREMENTS = ("kazoo>=2.10", "etcd3gw>=2.7", "etcd3==0.12.0", "protobuf<3.21")

_DUE = 10
_tally = Tally(0)


def job() -> None:
    """What is run."""
    _tally.hit()


@contextmanager
def _server(name: str) -> Iterator[tuple[str, int, str]]:
    """Host, port and path of a server of this measurement's own."""
    from tests.services import Etcd, ServiceMissing, ZooKeeper

    class DurableZooKeeper(ZooKeeper):
        def command(self) -> list[str]:
            return [word for word in super().command() if not word.startswith("-Dzookeeper.forceSync")]

    server: Any = {"zookeeper": DurableZooKeeper, "etcd": Etcd}[name]()
    try:
        server.start()
    except ServiceMissing as error:
        raise ImportError(str(error)) from error  # which is told as a measurement that cannot be made here
    try:
        place = server.fresh()
        yield place.host, place.port, f"/{place.name}"
    finally:
        server.stop()


def _store(subject: str, name: str, host: str, port: int, path: str) -> Any:
    class_name = {"zookeeper": "ZooKeeperJobStore", "etcd": "EtcdJobStore"}[name]
    cls = getattr(import_module(f"{subject}.jobstores.{name}"), class_name)
    where: dict[str, Any] = {"hosts": f"{host}:{port}"} if name == "zookeeper" else {"host": host, "port": port}
    if (subject, name) == ("apscheduler", "etcd"):
        # Its own client refuses answers of more than 4 MB, and with so many jobs none of them would ever run.
        options = {"grpc.max_receive_message_length": -1}
        where = {"client": import_module("etcd3").client(**where, grpc_options=options.items())}
    return cls(path=path, close_connection_on_exit=True, **where)


def ten_due(name: str, subject: str, n: int) -> Figures:
    """Run and record ten due jobs of ``n`` stored ones."""
    global _tally
    _tally = Tally(_DUE)
    with _server(name) as (host, port, path):
        if subject == "bare":
            return _figures(*_BARE[name](host, port, path))
        scheduler = background_scheduler(subject, jobstores={"default": _store(subject, name, host, port, path)})
        scheduler.start(paused=True)
        now = datetime.now(UTC)
        common = {"func": job, "trigger": "interval", "seconds": 3600, "misfire_grace_time": None}
        jobs: list[dict[str, Any]] = [
            {**common, "id": str(i), "next_run_time": now if i < _DUE else now + timedelta(days=1, minutes=i)}
            for i in range(n)
        ]
        if subject == "schedcore":
            scheduler.add_jobs(jobs)
        else:
            for arguments in jobs:
                scheduler.add_job(**arguments)
        gc.collect()
        cpu_s, start_s = process_time(), perf_counter()
        scheduler.resume()
        _tally.wait()
        scheduler.shutdown()
        return _figures(start_s, cpu_s)


def _figures(start_s: float, cpu_s: float) -> Figures:
    return {
        "run_ms": (_tally.last_s - start_s) * 1e3,
        "recorded_ms": (perf_counter() - start_s) * 1e3,
        "cpu_ms": (process_time() - cpu_s) * 1e3,
    }


_DOCUMENT = json.dumps({"func": "benchmarks.keyed:job", "seconds": 3600, "live": "x" * 300}).encode()


def _zookeeper(host: str, port: int, path: str) -> tuple[float, float]:
    from kazoo.client import KazooClient  # type: ignore[import-untyped]

    client = KazooClient(hosts=f"{host}:{port}")
    client.start()
    paths = [f"{path}/{i}" for i in range(_DUE)]
    for node in paths:
        client.create(node, _DOCUMENT)
    gc.collect()
    cpu_s, start_s = process_time(), perf_counter()
    for answer in [client.get_async(node) for node in paths]:
        answer.get()

    def write() -> None:
        transaction = client.transaction()
        for node in paths:
            transaction.set_data(node, _DOCUMENT)
        transaction.commit()

    write()
    for _ in paths:
        job()
    write()
    client.stop()
    client.close()
    return start_s, cpu_s


def _etcd(host: str, port: int, path: str) -> tuple[float, float]:
    from etcd3gw.client import Etcd3Client

    client = Etcd3Client(host=host, port=port, timeout=10)
    keys = [b64encode(f"{path}/{i}".encode()).decode() for i in range(_DUE)]
    value = b64encode(_DOCUMENT).decode()
    put = {"compare": [], "success": [{"request_put": {"key": key, "value": value}} for key in keys], "failure": []}
    get = {"compare": [], "success": [{"request_range": {"key": key}} for key in keys], "failure": []}
    client.transaction(put)
    gc.collect()
    cpu_s, start_s = process_time(), perf_counter()
    client.transaction(get)
    client.transaction(put)
    for _ in keys:
        job()
    client.transaction(put)
    client.session.close()
    return start_s, cpu_s


_BARE: dict[str, Callable[[str, int, str], tuple[float, float]]] = {"zookeeper": _zookeeper, "etcd": _etcd}
_TEXTS = {"zookeeper": "ZooKeeper", "etcd": "etcd"}

CASES = tuple(
    Case(f"{name} ten due", f"10 due of the jobs in {text}, run and recorded", partial(ten_due, name), (10_000,), (10_000,),
         timeout_s=300.0)
    for name, text in _TEXTS.items()
)  # fmt: skip

TARGETS = tuple(
    Target(f"{text}, 10,000 stored and 10 due: run and recorded", f"{name} ten due", 10_000, "recorded_ms", "faster", 50,
           "apscheduler", "cpu_ms")
    for name, text in _TEXTS.items()
)  # fmt: skip

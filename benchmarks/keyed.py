"""ZooKeeper and etcd, which have no index: 10,000 jobs are stored, and ten of them are due. How jobs are added: see ``_durable``.

*ten due*: the clock runs from ``resume()`` until the last of the ten has run, its outcome and next time are stored, and the
scheduler is shut down (``recorded_ms``), and until the last of them ran (``run_ms``). The other jobs are due from a day on, a
minute apart. APScheduler reads all of them at each wakeup. schedcore writes a record of each run (APScheduler keeps none).
``bare`` does by the driver alone what no store can do without: it reads the ten, writes their next times in a transaction, runs
them, and writes their outcomes. It knows where they are.

*Added in bulk*, a job is two keys. What ``bare`` takes for them is the server's own time: its requests, as large as the
server takes them, were made beforehand, and there is neither scheduler nor serializer. With ZooKeeper, where that is most of
it, it is judged beside that as well.

*ZooKeeper is warm* before anything is measured: nodes of no library's were made, set, read and deleted, singly and in
transactions. A server is started once in months, and one that was just started is compiling itself: it takes several times as
long for what comes first.

*How etcd is asked* was chosen by such a measurement, in November 2026: microseconds of the processor for a job of two keys,
the program's and the server's, by itself and among 2,000 in transactions of 60; the least of four to eight, on a machine that
had other work, which makes all of them about twice as large.

================================= ================ ================
over                              by itself        among 2,000
================================= ================ ================
the gateway (JSON, HTTP/1.1)      166 + 757        15 + 125
grpcio, one call at a time        362 + 414        20 + 35
grpcio, eight under way                            12 + 30
h2, one call at a time            464 + 419        18 + 39
================================= ================ ================

So it is gRPC; and HTTP/2 by h2, though grpcio is a little quicker: with that a call in a greenlet holds up all others of its
thread, and each fork is told of on standard error. No client for etcd's gRPC was found that is maintained, complete and not for
asyncio alone: of etcd3 there is nothing after 0.12, whose messages are for a protobuf before 3.21; aetcd, etcetra and etcd3aio
are for asyncio.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks import _durable
from benchmarks._durable import Began, Bulk, begin, job, jobs, place, run
from benchmarks._plan import ALL_SUBJECTS, Case, Figures, Target

if TYPE_CHECKING:
    from tests.services import Place

__all__ = ["CASES", "REQUIREMENTS", "TARGETS"]

# APScheduler's store for etcd needs etcd3, which is no longer maintained: its messages are for protobuf before 3.21, and for 4 in
# pure Python, as which the former comes for Python 3.11 in any case.
REQUIREMENTS = ("kazoo>=2.10", "h2>=4.1", "protobuf>=4.25,<5", "etcd3==0.12.0")

_DUE = 10


def _store(subject: str, name: str, where: Place) -> Any:
    if (subject, name) == ("apscheduler", "etcd"):
        os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    class_name = {"zookeeper": "ZooKeeperJobStore", "etcd": "EtcdJobStore"}[name]
    cls = getattr(import_module(f"{subject}.jobstores.{name}"), class_name)
    address: dict[str, Any] = {"host": where.host, "port": where.port}
    if name == "zookeeper":
        address = {"hosts": f"{where.host}:{where.port}"}
    if (subject, name) == ("apscheduler", "etcd"):
        # Its own client refuses answers of more than 4 MB, and with so many jobs none of them would ever run.
        options = {"grpc.max_receive_message_length": -1}
        address = {"client": import_module("etcd3").client(**address, grpc_options=options.items())}
    return cls(path=f"/{where.name}", close_connection_on_exit=True, **address)


_WARM_S, _WARM_NODES, _WARM_TOGETHER = 3.0, 500, 250


def _warm_up(where: Place) -> None:
    """Ask the server what is asked of it later, of nodes of no library's, in a place of their own."""
    from kazoo.client import KazooClient  # type: ignore[import-untyped]

    client = KazooClient(hosts=f"{where.host}:{where.port}")
    client.start()
    above = f"/{where.name}_warm"
    client.create(above)
    nodes = [f"{above}/{i}" for i in range(_WARM_NODES)]

    def together(verb: str, *value: bytes) -> list[Any]:
        """What sends an operation on all nodes, in transactions."""
        sent = []
        for first in range(0, _WARM_NODES, _WARM_TOGETHER):
            transaction = client.transaction()
            for node in nodes[first : first + _WARM_TOGETHER]:
                getattr(transaction, verb)(node, *value)
            sent.append(transaction.commit_async())
        return sent

    rounds: tuple[Callable[[], list[Any]], ...] = (
        lambda: together("create", b"x" * 300),
        lambda: together("set_data", b"y" * 300),
        lambda: together("delete"),
        lambda: [client.create_async(node, b"x" * 300) for node in nodes],
        lambda: [client.set_async(node, b"y" * 300) for node in nodes],
        lambda: [client.get_async(node) for node in nodes],
        lambda: [client.delete_async(node) for node in nodes],
    )
    end_s = perf_counter() + _WARM_S
    while perf_counter() < end_s:
        for calls in rounds:
            for answer in calls():
                answer.get()
    client.delete(above)
    client.stop()
    client.close()


#: By which a server becomes about as fast as it will be.
_WARM_UPS = {"zookeeper": _warm_up}


def ten_due(name: str, subject: str, n: int) -> Figures:
    """Run and record ten due jobs of ``n`` stored ones."""
    with place(name, _WARM_UPS) as where:
        now = datetime.now(UTC)
        wanted = jobs(n, now)
        for i in range(_DUE, n):
            wanted[i]["next_run_time"] = now + timedelta(days=1, minutes=i)
        times = run(subject, wanted, _DUE, partial(_store, subject, name, where), partial(_BARE[name], where))
        return {f"{figure.removesuffix('_s')}_ms": value * 1e3 for figure, value in times._asdict().items()}


def add(name: str, bulk: bool, subject: str, n: int) -> Figures:
    """Add ``n`` jobs."""
    with place(name, _WARM_UPS) as where:
        if subject == "bare":
            return _durable.add_bare(_BARE_BULK[name](where, n), n)
        return _durable.add(subject, _store(subject, name, where), n, bulk=bulk)


# --- the same work without a scheduler ----------------------------------------------------------------------------------


_DOCUMENT = json.dumps({"func": "benchmarks._durable:job", "seconds": 3600, "live": "x" * 300}).encode()

_AT = 101_800_000_000_000_000


def _zookeeper(where: Place) -> Began:
    from kazoo.client import KazooClient

    client = KazooClient(hosts=f"{where.host}:{where.port}")
    client.start()
    paths = [f"/{where.name}/{i}" for i in range(_DUE)]
    for node in paths:
        client.create(node, _DOCUMENT)
    began = begin()
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
    return began


def _etcd(where: Place) -> Began:
    from schedcore.jobstores.etcd import EtcdClient

    client = EtcdClient(where.host, where.port)
    keys = [f"/{where.name}/{i}".encode() for i in range(_DUE)]
    put = {"success": [{"request_put": {"key": key, "value": _DOCUMENT}} for key in keys]}
    get = {"success": [{"request_range": {"key": key}} for key in keys]}
    client.call("KV/Txn", put)
    began = begin()
    client.call("KV/Txn", get)
    client.call("KV/Txn", put)
    for _ in keys:
        job()
    client.call("KV/Txn", put)
    client.close()
    return began


def _zookeeper_bulk(where: Place, n: int) -> Bulk:
    from kazoo.client import KazooClient

    client = KazooClient(hosts=f"{where.host}:{where.port}")
    client.start()
    for node in ("jobs", "wall"):
        client.create(f"/{where.name}/{node}")
    transactions = []
    for first in range(0, n, 250):
        transactions.append(client.transaction())
        for i in range(first, min(n, first + 250)):
            transactions[-1].create(f"/{where.name}/jobs/{i}", _DOCUMENT)
            transactions[-1].create(f"/{where.name}/wall/{_AT}-{i}")

    def send() -> None:
        for answer in [transaction.commit_async() for transaction in transactions]:
            answer.get()

    def close() -> None:
        client.stop()
        client.close()

    return send, close


def _etcd_bulk(where: Place, n: int) -> Bulk:
    from schedcore.jobstores.etcd import EtcdClient

    requests = []
    for first in range(0, n, 60):
        puts: list[Any] = []
        for i in range(first, min(n, first + 60)):
            for key, value in ((f"wall/{_AT}/{i}", b""), (f"jobs/{i}", _DOCUMENT)):
                puts.append({"request_put": {"key": f"/{where.name}/{key}".encode(), "value": value}})
        requests.append({"success": puts})
    client = EtcdClient(where.host, where.port)

    def send() -> None:
        for sent in [client.send("KV/Txn", request) for request in requests]:
            client.receive(sent)

    return send, client.close


_BARE: dict[str, Callable[[Place], Began]] = {"zookeeper": _zookeeper, "etcd": _etcd}
_BARE_BULK: dict[str, Callable[[Place, int], Bulk]] = {"zookeeper": _zookeeper_bulk, "etcd": _etcd_bulk}
_TEXTS = {"zookeeper": "ZooKeeper", "etcd": "etcd"}

CASES = (
    *(
        Case(f"{name} ten due", f"10 due of the jobs in {text}, run and recorded", partial(ten_due, name), (10_000,),
             (10_000,), timeout_s=300.0)
        for name, text in _TEXTS.items()
    ),
    *(replace(case, subjects=ALL_SUBJECTS) if case.name.endswith(" bulk") else case for case in _durable.add_cases(_TEXTS, add)),
)  # fmt: skip

TARGETS = (
    *(
        Target(f"{text}, 10,000 stored and 10 due: run and recorded", f"{name} ten due", 10_000, "recorded_ms", "faster",
               50, "apscheduler", "cpu_ms")
        for name, text in _TEXTS.items()
    ),
    *(target for name, text in _TEXTS.items() for target in _durable.add_targets(name, text)),
    _durable.bulk_target("zookeeper", "ZooKeeper"),
)  # fmt: skip

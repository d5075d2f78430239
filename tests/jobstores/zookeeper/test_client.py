"""ZooKeeper's driver: whose client it is, where its threads run, and what its errors say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from kazoo.client import KazooClient  # type: ignore[import-untyped]
from kazoo.exceptions import BadVersionError, ConnectionLoss, NoAuthError, NodeExistsError  # type: ignore[import-untyped]
from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped]
from kazoo.security import make_digest_acl  # type: ignore[import-untyped]

from schedcore.errors import ConfigurationError
from schedcore.jobstores._zookeeper_client import Transaction, first_error
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from tests.jobstores.load import scheduler_on, start_paused
from tests.services import ZooKeeper

Make = Callable[..., ZooKeeperJobStore]

shared: Any = None


@pytest.mark.parametrize("closes", [False, True])
def test_a_client_of_the_users_is_closed_on_request(
    zookeeper: ZooKeeper, closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    global shared
    place = zookeeper.fresh()
    shared = KazooClient(hosts=f"{place.host}:{place.port}")
    shared.start(20)
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__))
    try:
        for client in (shared, f"{__name__}:shared"):
            scheduler = scheduler_on(ZooKeeperJobStore(place.name, client, closes))
            scheduler.start()
            scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a", replace_existing=True)
            scheduler.shutdown()
            # The second time it was started by the store.
            assert shared.connected is not closes
        if not closes:
            assert shared.get_children(f"/{place.name}/jobs") == ["a"]
    finally:
        shared.stop()
        shared.close()
        shared = None


_PATCHED = """
from gevent import monkey; monkey.patch_all()
import sys
from gevent.threadpool import ThreadPool
from kazoo.client import KazooClient
from schedcore.jobstores.zookeeper import ZooKeeperJobStore
from schedcore.schedulers.background import BackgroundScheduler
hosts, path = sys.argv[1:]

def add(store, job_id):
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
    scheduler.start()
    scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id=job_id)
    print(*[job.id for job in scheduler.get_jobs()])
    scheduler.shutdown()

store = ZooKeeperJobStore(path, hosts=hosts)
thread = ThreadPool(1)
add(store, "a")
thread.apply(add, [store, "b"])
add(store, "c")
add(ZooKeeperJobStore(path, KazooClient(hosts)), "d")
try:
    thread.apply(add, [ZooKeeperJobStore(path, KazooClient(hosts)), "e"])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_threads_that_gevent_has_patched(arguments: dict[str, Any]) -> None:
    """Kazoo's are greenlets of the thread in which their client is made: elsewhere they would be waited for for ever."""
    pytest.importorskip("gevent", reason="gevent is not installed")
    command = [sys.executable, "-P", "-c", _PATCHED, arguments["hosts"], arguments["path"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)
    *listed, refused = done.stdout.splitlines()
    assert listed == ["a", "a b", "a b c", "a b c d"]
    assert refused.startswith("JobStoreError")
    assert "give hosts=… in the place of client=" in refused


def test_a_path_below_that_which_hosts_ends_with(arguments: dict[str, Any], client: Any) -> None:
    client.create(f"/{arguments['path']}/above")
    hosts = f"{arguments['hosts']}/{arguments['path']}/above"
    scheduler = scheduler_on(ZooKeeperJobStore("our//jobs/", hosts=hosts))
    start_paused(scheduler)
    for job_id in ("a", "b"):
        scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id=job_id)
    scheduler.modify_job("a", name="changed")
    scheduler.remove_job("b")
    assert [job.name for job in scheduler.get_jobs()] == ["changed"]
    assert client.get_children(f"/{arguments['path']}/above/our/jobs/jobs") == ["a"]
    scheduler.shutdown()


def test_nodes_have_the_rights_that_the_client_gives(make: Make, client: Any) -> None:
    mine = [make_digest_acl("me", "secret", all=True)]
    store = make(default_acl=mine, auth_data=[("digest", "me:secret")])
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a")
    client.add_auth("digest", "me:secret")
    paths = [f"{store._path}/{name}" for name in ("jobs/a", "owner", "elapsed", "wall")]
    while paths:
        path = paths.pop()
        assert client.get_acls(path)[0] == mine, path
        paths += [f"{path}/{name}" for name in client.get_children(path)]
    scheduler.shutdown()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hots": "x"}, "the ZooKeeper client cannot be made: .*hots"),
        ({"client": 5}, "must be a kazoo.client.KazooClient"),
        ({"client": KazooClient(), "hosts": "x"}, r"\(hosts\) do not go with client="),
        ({"path": ""}, "path must be text"),
        ({"path": "/"}, "path must be text"),
        ({"path": "/a\0"}, "path must be text"),
        ({"path": "/a\n"}, "path must be text"),
        ({"path": "/\x7f"}, "path must be text"),
        ({"path": "/a\ud800"}, "path must be text"),
        ({"path": "/\uf000"}, "path must be text"),
        ({"path": "/😀"}, "path must be text"),
        ({"path": "/jobs/../others"}, "path must be text"),
        ({"history": 0}, "history must be"),
        ({"history_age": -1}, "history_age must be"),
        ({"signing_key": "short"}, "at least 16 bytes"),
        ({"allowed_refs": ["x"]}, "is no pattern"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ZooKeeperJobStore(**options)


@pytest.mark.parametrize(
    ("error", "said", "transient"),
    [
        (NoAuthError(), "NoAuthError", False),
        (ConnectionLoss("away"), "away", True),
        (KazooTimeoutError("late"), "late", True),
        (ConnectionResetError("reset"), "reset", True),
    ],
)
def test_what_errors_say(make: Make, error: Exception, said: str, transient: bool) -> None:
    explained = make()._explain(error)
    assert explained is not None
    assert said in explained[0]
    assert explained[1] is transient
    assert make()._explain(KeyError("x")) is None


@pytest.mark.parametrize("acl", [None, [make_digest_acl("me", "ü", all=True), make_digest_acl("you", "x", read=True)]])
@pytest.mark.parametrize("root", ["", "/above/ö"])
def test_transactions_are_the_bytes_of_kazoos(acl: Any, root: str) -> None:
    client = KazooClient(hosts=f"127.0.0.1:1{root}", default_acl=acl)
    calls: list[Any] = []
    client._call = lambda request, _: calls.append(request)
    for transaction in (client.transaction(), Transaction(client)):
        transaction.check("/a/ü", 7)
        transaction.create("/a/b", b"")
        transaction.create("/a/c", b"value" * 100)
        transaction.set_data("/a/c", b"", 0)
        transaction.set_data("/a/c", b"x")
        transaction.delete("/a/b", 3)
        transaction.delete("/a/c")
        transaction.commit_async()
    kazoos, ours = calls
    assert ours.type == kazoos.type
    assert ours.serialize() == kazoos.serialize()
    assert repr(ours) == "<transaction of 7 operations>"  # what kazoo logs of it


def test_what_a_transaction_answers(client: Any, arguments: dict[str, Any]) -> None:
    def answer(*versions: int) -> list[Any]:
        transaction = Transaction(client)
        for number, version in enumerate(versions):
            transaction.create(f"/{arguments['path']}/{version}{number}")
            transaction.check(f"/{arguments['path']}", version)
        found: list[Any] = transaction.commit_async().get(timeout=60)
        return found

    assert answer(0, 0) == []
    refused = answer(0, 1, 0)
    assert len(refused) == 6
    for answers, expected in ((refused, (0, NodeExistsError)), (answer(-1, 1, 0), (3, BadVersionError))):
        first = first_error(answers)
        assert first is not None
        assert (first[0], type(first[1])) == expected

"""ZooKeeper's driver, whose threads are greenlets of the store's thread in a program that gevent has patched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.adapters.gevent.programs import run
from tests.services import ZooKeeper

kazoo_client = pytest.importorskip("kazoo.client", reason="kazoo is not installed")

_PROGRAM = """
from {first}
from {second}
import sys
import gevent
from schedcore.adapters.gevent import GeventScheduler
from schedcore.errors import JobStoreError
from schedcore.events import EVENT_JOB_EXECUTED
from schedcore.jobstores.zookeeper import ZooKeeperJobStore

hosts, path = sys.argv[1:]
turns, ran = [0], []

def tick():
    while True:
        gevent.sleep(0.005)
        turns[0] += 1

def answer_again():
    while True:
        try:
            return scheduler.get_jobs()
        except JobStoreError as error:
            assert error.transient, error

def wait_for_runs():
    answer_again()
    before = len(ran)
    while len(ran) < before + 20:
        gevent.sleep(0.005)

gevent.spawn(tick)
store = ZooKeeperJobStore(path, hosts=hosts, timeout=4)
scheduler = GeventScheduler(jobstores={{"default": store}}, timezone="UTC", jobstore_retry_interval=0.5)
scheduler.add_listener(lambda event: ran.append(event.scheduled_run_time), EVENT_JOB_EXECUTED)
scheduler.start()
scheduler.add_job("builtins:int", "interval", seconds=0.05, id="often", coalesce=False, replace_existing=True)
while True:
    wait_for_runs()
    assert len(set(ran)) == len(ran)
    print("session", store._client.client_id[0], store._client.client_id[1].hex(), flush=True)
    told = gevent.get_hub().threadpool.apply(sys.stdin.readline)
    if told == "end\\n":
        break
    if told == "silent\\n":
        before = turns[0]
        try:
            scheduler.get_jobs()
        except JobStoreError as error:
            print(error.transient, turns[0] - before > 20, flush=True)
        told = gevent.get_hub().threadpool.apply(sys.stdin.readline)
scheduler.shutdown()
"""
_PATCH = "gevent import monkey; monkey.patch_all()"


class _Program:
    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program
        self.kill = program.kill

    def hear(self) -> list[str]:
        assert self._program.stdout is not None
        return self._program.stdout.readline().split()

    def tell(self, line: str) -> None:
        assert self._program.stdin is not None
        self._program.stdin.write(f"{line}\n")

    def wait(self) -> int:
        return self._program.wait(60)


@contextmanager
def _begun(hosts: str, path: str, *, early: bool) -> Iterator[_Program]:
    imports = (_PATCH, "kazoo import client") if early else ("kazoo import client", _PATCH)
    source = _PROGRAM.format(first=imports[0], second=imports[1])
    pipe = subprocess.PIPE
    command = [sys.executable, "-P", "-c", source, hosts, path]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as program:
        try:
            yield _Program(program)
        finally:
            program.kill()


@pytest.mark.slow
@pytest.mark.parametrize("early", [True, False], ids=["patched first", "patched late"])
def test_what_happens_to_a_server_and_its_session(zookeeper: ZooKeeper, early: bool) -> None:
    """A server that is silent, a session that ends, a program that is killed: jobs go on, each fire time runs once, and greenlets
    have their turns.
    """
    place = zookeeper.fresh()
    hosts = f"{place.host}:{place.port}"
    with _begun(hosts, place.name, early=early) as program:
        word, number, secret = program.hear()
        assert word == "session"
        zookeeper.pause()
        try:
            program.tell("silent")
            assert program.hear() == ["True", "True"]
        finally:
            zookeeper.resume()
        program.tell("there")
        word, number, secret = program.hear()
        # Closed by another client of the same session, as the server closes one that is over.
        twin = kazoo_client.KazooClient(hosts, client_id=(int(number), bytes.fromhex(secret)))
        twin.start(20)
        twin.stop()
        twin.close()
        program.tell("over")
        word, another, secret = program.hear()
        assert (word, another != number) == ("session", True)
        program.kill()
        assert program.wait() != 0
    with _begun(hosts, place.name, early=early) as program:
        assert program.hear()[0] == "session"
        program.tell("end")
        assert program.wait() == 0


def test_a_client_made_elsewhere_is_refused_at_once(zookeeper: ZooKeeper) -> None:
    """It was waited for for ever, or until gevent noticed."""
    place = zookeeper.fresh()
    run(
        """
        from kazoo.client import KazooClient
        from schedcore.errors import JobStoreError
        from schedcore.jobstores.zookeeper import ZooKeeperJobStore
        hosts, path = sys.argv[1:]
        with gevent.Timeout(30), GeventScheduler() as scheduler:
            try:
                scheduler.add_jobstore(ZooKeeperJobStore(path, KazooClient(hosts)), "other")
            except JobStoreError as error:
                assert not error.transient and "give hosts=… in the place of client=" in str(error), error
            else:
                raise AssertionError("no error")
        """,
        f"{place.host}:{place.port}",
        place.name,
        patched=True,
    )

"""Stores that speak with a server by Python's sockets, which belong to one thread's hub where gevent has patched them; and what
else lives in a store's thread there.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.adapters.gevent.programs import both, run
from tests.services import Etcd, Redis, ZooKeeper

_ALL_AT_ONCE = """
import json
store = json.loads(sys.argv[1])
scheduler = GeventScheduler(jobstores={"default": store, "other": FarStore()}, timezone="UTC")
errors, over, ran = [], [], []
scheduler.add_listener(lambda event: ran.append(event.job_id), EVENT_JOB_EXECUTED)

def use(name):
    try:
        for number in range(6):
            id = f"{name} {number}"
            scheduler.add_job("builtins:int", "interval", hours=1, id=id)
            try:
                scheduler.add_job("builtins:int", id=id)
            except KeyError:
                pass
            else:
                raise AssertionError("no error")
            scheduler.modify_job(id, name="changed")
            assert id in [job.id for job in scheduler.get_jobs()]
            if number % 2:
                scheduler.remove_job(id)
        scheduler.add_job("builtins:int", id=f"{name} due")
    except BaseException as error:
        errors.append(error)
    over.append(name)

def begin_all():
    for number in range(2):
        start_real_thread(use, (f"thread {number}",))
        gevent.get_hub().threadpool.spawn(use, f"pool {number}")
        gevent.spawn(use, f"greenlet {number}")

for life in range(2):
    # Before the start nothing is asked of a server.
    scheduler.add_job("builtins:int", "interval", hours=1, id="early", replace_existing=True)
    with gevent.Timeout(45):
        scheduler.start()
        begin_all()
        until(lambda: len(over) == 6)
        assert not errors, errors
        until(lambda: len(ran) == 6)
        assert len(scheduler.get_jobs("default")) == 19
        assert scheduler.health()["default"].ok, scheduler.health()
        scheduler.remove_all_jobs("default")
        stopped = []
        start_real_thread(lambda: stopped.append(scheduler.shutdown().ready()), ())
        until(lambda: stopped)
    assert stopped == [True]
    over.clear()
    ran.clear()
    assert scheduler.get_jobs() == []
print("as wanted")
"""


@pytest.mark.slow
@both
def test_redis(redis_server: Redis, patched: bool) -> None:
    pytest.importorskip("redis", reason="redis is not installed")
    place = redis_server.fresh()
    store = {"type": "redis", "host": place.host, "port": place.port, "db": int(place.name)}
    assert run(_ALL_AT_ONCE, json.dumps(store), patched=patched) == "as wanted\n"


@pytest.mark.slow
@both
def test_etcd(etcd: Etcd, patched: bool) -> None:
    pytest.importorskip("h2", reason="h2 is not installed")
    place = etcd.fresh()
    store = {"type": "etcd", "host": place.host, "port": place.port, "path": place.name}
    assert run(_ALL_AT_ONCE, json.dumps(store), patched=patched) == "as wanted\n"


@pytest.mark.slow
@both
def test_zookeeper(zookeeper: ZooKeeper, patched: bool) -> None:
    pytest.importorskip("kazoo", reason="kazoo is not installed")
    place = zookeeper.fresh()
    store = {"type": "zookeeper", "hosts": f"{place.host}:{place.port}", "path": place.name}
    assert run(_ALL_AT_ONCE, json.dumps(store), patched=patched) == "as wanted\n"


@pytest.mark.slow
@both
def test_sqlite(tmp_path: Path, patched: bool) -> None:
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    store = {"type": "sqlalchemy", "url": f"sqlite:///{tmp_path / 'jobs.sqlite'}"}
    assert run(_ALL_AT_ONCE, json.dumps(store), patched=patched) == "as wanted\n"


@both
def test_what_a_store_starts_goes_on_while_nobody_calls_it(patched: bool) -> None:
    run(
        """
        class Renewed(MemoryJobStore):
            traits = StoreTraits(blocking=True, durable=True)
            renewed = 0
            def start(self, scheduler, alias):
                super().start(scheduler, alias)
                self.stopped = threading.Event()
                self.thread = threading.Thread(target=self.renew)
                self.thread.start()
            def renew(self):
                while not self.stopped.wait(0.001):
                    self.renewed += 1
            def shutdown(self):
                super().shutdown()
                self.stopped.set()
                self.thread.join()

        store = Renewed()
        for life in range(2):
            with gevent.Timeout(30), GeventScheduler(jobstores={"default": store}) as scheduler:
                scheduler.get_jobs()
                before = store.renewed
                until(lambda: store.renewed > before + 20)
            assert not store.thread.is_alive()
        """,
        patched=patched,
    )


@both
def test_what_a_store_calls_may_call_the_scheduler(patched: bool) -> None:
    run(
        """
        class Asking(MemoryJobStore):
            traits = StoreTraits(blocking=True, durable=True)
            asking = False
            def get_entry(self, job_id):
                if job_id == "a":
                    assert scheduler.get_job("b").id == "b"  # as what is loaded from a record may do
                    self.asking = True
                return super().get_entry(job_id)

        store = Asking()
        with gevent.Timeout(30), GeventScheduler(jobstores={"default": store}) as scheduler:
            scheduler.add_job(int, "interval", hours=1, id="b")
            scheduler.add_job(int, "interval", hours=1, id="a")
            assert scheduler.get_job("a").id == "a" and store.asking
        """,
        patched=patched,
    )


@both
def test_a_store_that_cannot_be_opened_leaves_no_thread(patched: bool) -> None:
    run(
        """
        import gc, logging
        logging.disable()  # what fails is logged, as it should be
        def threads():
            gc.disable()  # Python 3.11 hangs when the garbage collector comes by in the middle of this
            try:
                return len(sys._current_frames())
            finally:
                gc.enable()

        class Away(MemoryJobStore):
            traits = StoreTraits(blocking=True, durable=True)
            tries = 0
            def start(self, scheduler, alias):
                self.tries += 1
                raise OSError("away")

        away = Away()
        with gevent.Timeout(30), GeventScheduler(jobstores={"default": away}, jobstore_retry_interval=0.001) as scheduler:
            until(lambda: away.tries > 40)
            for _ in range(40):
                try:
                    scheduler.add_jobstore(Away(), "other")
                except OSError as error:
                    assert str(error) == "away"
                else:
                    raise AssertionError("no error")
            most = gevent.get_hub().threadpool_size + 5
            assert threads() <= most, (threads(), most)
        """,
        patched=patched,
    )

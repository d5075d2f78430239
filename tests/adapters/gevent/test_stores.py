"""Stores that do I/O: real threads call them, the greenlets that need them wait, and everybody else goes on."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import gevent
import gevent.event
import pytest

from schedcore.adapters.gevent import GeventScheduler
from schedcore.errors import ConflictingIdError, JobLookupError
from schedcore.events import EVENT_JOB_EXECUTED, EVENT_JOBSTORE_FAILED, EVENT_SCHEDULER_FAILED
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.base import BaseScheduler
from schedcore.schedulers.loop import LoopScheduler
from tests.far_store import FAR, FarStore


@pytest.fixture
def store() -> FarStore:
    return FarStore()


@pytest.fixture
def scheduler(store: FarStore) -> Iterator[GeventScheduler]:
    scheduler = GeventScheduler(jobstores={"default": store, "near": MemoryJobStore()}, timezone="UTC")
    with gevent.Timeout(60):
        scheduler.start()
        yield scheduler
        store.gate.set()
        store.failing = None
        scheduler.shutdown()
    assert threading.get_ident() not in {thread for _, thread in store.calls}


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(60):
        while not condition():
            gevent.sleep(0.002)


def work() -> None:
    """A job."""


def test_a_greenlet_has_its_answer(scheduler: GeventScheduler) -> None:
    job = scheduler.add_job(work, id="a", **FAR)
    assert not job.pending
    assert job.next_run_time == datetime(2099, 1, 1, tzinfo=UTC)
    assert scheduler.modify_job("a", name="other").name == "other"
    job.pause()
    assert str(job.next_run_time) == "None"
    assert job.resume() is not None
    assert scheduler.reschedule_job("a", trigger="date", run_date="2098-01-01T00:00:00Z").name == "other"
    found = scheduler.get_job("a")
    assert found is not None
    assert found.next_run_time == datetime(2098, 1, 1, tzinfo=UTC)
    assert [job.id for job in scheduler.get_jobs()] == ["a"]
    assert scheduler.get_runs() == []
    assert scheduler.repair_job("a", name="repaired").name == "repaired"
    job.remove()
    assert scheduler.get_job("a") is None
    added = scheduler.add_jobs([{"func": work, "id": "b", **FAR}, {"func": work, "id": "c", **FAR}])
    assert [job.pending for job in added] == [False, False]
    with pytest.raises(ConflictingIdError):
        scheduler.add_jobs([{"func": work, "id": "d", **FAR}, {"func": work, "id": "c", **FAR}])
    scheduler.remove_all_jobs()
    assert scheduler.get_jobs() == []


def test_no_call_that_may_need_a_job_store_is_forgotten() -> None:
    """Whoever gives schedulers a new method says here whether greenlets wait in it."""
    needs_no_store = {
        "add_executor",
        "add_listener",
        "configure",
        "health",
        "pause",
        "remove_executor",
        "remove_listener",
    }
    needs_no_store |= {"job_handle", "resume", "run_finished", "run_started", "wakeup"}
    has_its_own_way = {"add_jobstore", "remove_jobstore", "shutdown", "start"}
    by_way_of_another = {"pause_job": "modify_job", "print_jobs": "get_jobs", "scheduled_job": "add_job"}
    waits = {
        name
        for name, method in inspect.getmembers(BaseScheduler, inspect.isfunction)
        if getattr(getattr(GeventScheduler, name), "__wrapped__", None) is method
    }
    public = {name for name, _ in inspect.getmembers(BaseScheduler, inspect.isfunction) if not name.startswith("_")}
    assert waits == public - needs_no_store - has_its_own_way - set(by_way_of_another)
    assert waits.issuperset(by_way_of_another.values())
    for name in has_its_own_way:
        assert getattr(GeventScheduler, name) is not getattr(LoopScheduler, name)


def test_a_greenlet_has_its_exception(scheduler: GeventScheduler, store: FarStore) -> None:
    scheduler.add_job(work, id="a", **FAR)
    with pytest.raises(ConflictingIdError):
        scheduler.add_job(work, id="a", **FAR)
    with pytest.raises(JobLookupError):
        scheduler.remove_job("nobody")
    with pytest.raises(KeyError):
        scheduler.get_jobs("nowhere")
    store.failing = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        scheduler.get_jobs()


def test_others_run_while_one_waits(scheduler: GeventScheduler, store: FarStore) -> None:
    scheduler.add_job(work, id="a", **FAR)
    until(lambda: not scheduler._pumps["default"].busy)
    store.gate.clear()
    waiting = gevent.spawn(scheduler.get_job, "a")
    ran = gevent.event.Event()
    scheduler.add_job(ran.set, jobstore="near")
    ran.wait()
    gevent.sleep(0.01)
    assert not waiting.ready()
    store.gate.set()
    assert str(getattr(waiting.get(timeout=150), "id", None)) == "a"


def test_who_gives_up_waiting_harms_nobody(scheduler: GeventScheduler, store: FarStore) -> None:
    until(lambda: scheduler._pumps["default"].opened and not scheduler._pumps["default"].busy)
    store.gate.clear()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        scheduler.add_job(work, id="a", **FAR)
    store.gate.set()
    until(lambda: scheduler.get_job("a"))


def test_a_call_waits_until_the_store_is_open(store: FarStore) -> None:
    store.gate.clear()
    with gevent.Timeout(60), GeventScheduler(jobstores={"default": store}) as scheduler:
        waiting = gevent.spawn(scheduler.add_job, work, id="a", **FAR)
        gevent.sleep(0.01)
        assert not waiting.ready()
        store.gate.set()
        assert not waiting.get(timeout=150).pending


def test_a_call_does_not_wait_for_a_store_that_cannot_be_opened(store: FarStore) -> None:
    store.failing = OSError("gone")
    scheduler = GeventScheduler(jobstores={"default": store}, jobstore_retry_interval=0.01)
    events: list[Any] = []
    scheduler.add_listener(events.append, EVENT_JOBSTORE_FAILED | EVENT_JOB_EXECUTED)
    with gevent.Timeout(60), scheduler:
        job = scheduler.add_job(int, id="a")
        assert job.pending
        store.failing = None
        until(lambda: events and events[-1].code == EVENT_JOB_EXECUTED)
    assert events[0].code == EVENT_JOBSTORE_FAILED


def test_in_the_hub_itself_changes_are_put_off(scheduler: GeventScheduler, store: FarStore) -> None:
    events: list[Any] = []
    scheduler.add_listener(events.append, EVENT_SCHEDULER_FAILED)
    scheduler.add_job(work, id="b", **FAR)
    made: list[Any] = []

    def in_hub() -> None:
        made.append(scheduler.add_job(work, id="a", **FAR))
        scheduler.modify_job("b", name="changed")
        scheduler.remove_job("nobody")

    gevent.get_hub().loop.run_callback(in_hub)
    until(lambda: made)
    until(lambda: not made[0].pending)
    found = scheduler.get_job("b")
    assert found is not None
    assert found.name == "changed"
    until(lambda: events)
    assert "remove_job('nobody')" in events[0].message


def test_real_threads_wait_as_threads_do(scheduler: GeventScheduler) -> None:
    raised: list[Exception] = []

    def add_twice() -> None:
        scheduler.add_job(work, id="a", **FAR)
        try:
            scheduler.add_job(work, id="a", **FAR)
        except ConflictingIdError as error:
            raised.append(error)

    until(lambda: scheduler._pumps["default"].opened)
    thread = threading.Thread(target=add_twice)
    thread.start()
    until(lambda: not thread.is_alive())
    assert len(raised) == 1


def test_stores_are_opened_and_closed_by_threads_too(scheduler: GeventScheduler) -> None:
    other = FarStore()
    scheduler.add_jobstore(other, "other")
    assert scheduler.add_job(work, id="a", jobstore="other", **FAR).id == "a"
    scheduler.remove_jobstore("other")
    assert {name for name, _ in other.calls} >= {"start", "add_entries", "shutdown"}
    assert threading.get_ident() not in {thread for _, thread in other.calls}
    failing = FarStore()
    failing.failing = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        scheduler.add_jobstore(failing, "failing")


def test_more_greenlets_wait_than_there_are_threads(scheduler: GeventScheduler, store: FarStore) -> None:
    until(lambda: scheduler._pumps["default"].opened and not scheduler._pumps["default"].busy)
    store.gate.clear()
    waiting = [gevent.spawn(scheduler.add_job, work, id=str(number), **FAR) for number in range(50)]
    gevent.sleep(0.02)
    ran = gevent.event.Event()
    scheduler.add_job(ran.set, jobstore="near")
    ran.wait()
    store.gate.set()
    gevent.joinall(waiting, timeout=150, raise_error=True)
    assert len(scheduler.get_jobs("default")) == 50

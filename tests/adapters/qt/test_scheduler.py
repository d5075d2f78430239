"""The Qt scheduler: what runs where, signals, waiting in the Qt thread, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, assert_type

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, QEventLoop, QThread, QTimer

from schedcore.adapters.qt import QtExecutor, QtFuture, QtMainThreadExecutor, QtScheduler
from schedcore.adapters.qt.calls import SLICE_S
from schedcore.errors import SchedulerAlreadyRunningError, SchedulerNotRunningError, SchedulerStartError
from schedcore.events import EVENT_JOB_EXECUTED
from schedcore.executors.base import RunExecutor
from schedcore.run import Run
from tests.adapters.slow_store import SlowStore

Make = Callable[..., QtScheduler]
PATIENCE_MS = 60_000


def until(qtbot: QtBot, found: Callable[[], object]) -> None:
    qtbot.waitUntil(lambda: bool(found()), timeout=PATIENCE_MS)


def live_runs(scheduler: QtScheduler) -> list[Run]:
    executor = scheduler._executors["default"]
    assert isinstance(executor, RunExecutor)
    return executor.live_runs()


def _stopped(results: list[bool], scheduler: QtScheduler) -> bool:
    return bool(results) and scheduler._closed.is_set()


def _reached(count: list[int], total: int) -> bool:
    return count[0] == total


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # it is handed to the test
            future.set_exception(error)

    threading.Thread(target=run).start()
    return future


def test_functions_and_coroutines_run_in_threads_of_qt_and_the_others_in_its_own(make: Make, qtbot: QtBot) -> None:
    scheduler = make(executors={"default": {"type": "qt", "max_workers": 3}, "gui": {"type": "qtmain"}})
    seen: dict[str, tuple[threading.Thread, Any]] = {}
    before = threading.enumerate()

    def note(name: str) -> None:
        seen[name] = (threading.current_thread(), QThread.currentThread())

    async def coroutine() -> None:
        note("coroutine")

    scheduler.add_job(note, args=["function"])
    scheduler.add_job(coroutine)
    scheduler.add_job(note, args=["main"], executor="gui")
    scheduler.start()
    until(qtbot, lambda: len(seen) == 3)
    me = threading.current_thread()
    assert seen["main"][0] is me
    assert seen["function"][0].name.startswith("schedcore-default-")
    assert {seen["function"][0], seen["coroutine"][0]} & {me} == set()
    assert seen["function"][1] != QThread.currentThread()
    assert scheduler.shutdown() is True
    left = [thread for thread in threading.enumerate() if isinstance(thread, threading._DummyThread)]
    assert [thread for thread in left if thread not in before] == []


def test_events_are_signals_in_the_qt_thread_in_order(make: Make, qtbot: QtBot) -> None:
    scheduler = make()
    told: list[tuple[str, int]] = []
    for name in ("added", "submitted", "started", "finished", "failed", "missed", "removed", "stopped"):
        signal = getattr(scheduler.signals, name)
        signal.connect(lambda _, name=name: told.append((name, threading.get_ident())))
    every: list[int] = []
    scheduler.signals.occurred.connect(lambda event: every.append(event.code))
    scheduler.start()

    def fails() -> None:
        raise ValueError("no")

    scheduler.add_job(fails, id="j")
    until(qtbot, lambda: ("removed", threading.get_ident()) in told and ("failed", threading.get_ident()) in told)
    assert [name for name, _ in told if name != "removed"] == ["added", "submitted", "started", "finished", "failed"]
    old = datetime.now(UTC) - timedelta(hours=1)
    in_thread(lambda: scheduler.add_job(fails, "interval", hours=2, next_run_time=old, misfire_grace_time=1)).result(60)
    until(qtbot, lambda: any(name == "missed" for name, _ in told))
    assert scheduler.shutdown() is True
    assert told[-1][0] == "stopped"
    assert {thread for _, thread in told} == {threading.get_ident()}
    assert every


def test_shutdown_waits_and_the_window_stays_alive(make: Make, qtbot: QtBot) -> None:
    scheduler = make()
    scheduler.start()
    begun, ticked, ended = threading.Event(), threading.Semaphore(0), []

    def job() -> None:
        begun.set()
        ended.append(all(ticked.acquire(timeout=20) for _ in range(5)))

    scheduler.add_job(job)
    until(qtbot, begun.is_set)
    timer = QTimer()
    timer.timeout.connect(ticked.release)
    timer.start(5)
    assert scheduler.shutdown() is True
    timer.stop()
    assert ended == [True]
    assert scheduler.shutdown() is True
    assert scheduler.shutdown(wait=False) is True


def test_shutdown_out_of_time_says_false_and_the_signal_says_what_was_cut(make: Make, qtbot: QtBot) -> None:
    scheduler = make(executors={"default": QtExecutor(1)})
    cut: list[Run] = []
    scheduler.signals.stopped.connect(cut.extend)
    scheduler.start()
    begun, go = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        go.wait(60)

    scheduler.add_job(job, id="begun")
    scheduler.add_job(job, id="queued")
    until(qtbot, begun.is_set)
    try:
        assert scheduler.shutdown(timeout=0.05) is False
        assert sorted(run.job.id for run in cut) == ["begun", "queued"]
    finally:
        go.set()
    assert scheduler.shutdown() is False


def test_shutdown_that_does_not_wait_says_whether_something_runs(make: Make, qtbot: QtBot) -> None:
    scheduler = make()
    scheduler.start()
    begun, go = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        go.wait(60)

    scheduler.add_job(job)
    until(qtbot, begun.is_set)
    with qtbot.waitSignal(scheduler.signals.stopped, timeout=PATIENCE_MS) as stopped:
        assert scheduler.shutdown(wait=False) is False
        go.set()
    assert stopped.args == [[]]
    assert scheduler.shutdown() is True


def test_shutdown_in_a_slot_in_a_job_and_in_other_threads(make: Make, qtbot: QtBot) -> None:
    for how in ("slot", "main job", "pool job", "thread"):
        scheduler = make(executors={"gui": QtMainThreadExecutor()})
        results: list[Any] = []

        def stop(scheduler: QtScheduler = scheduler, results: list[Any] = results) -> None:
            results.append(scheduler.shutdown())

        if how == "slot":
            scheduler.signals.finished.connect(lambda event, stop=stop: stop())
        scheduler.start()
        if how == "thread":
            in_thread(stop)
        elif how == "slot":
            scheduler.add_job(int)
        else:
            scheduler.add_job(stop, executor="gui" if how == "main job" else "default")
        until(qtbot, partial(_stopped, results, scheduler))
        # A job runs as long as it asks.
        assert results == [how in ("slot", "thread")], how


def test_shutdown_inside_of_shutdown(make: Make, qtbot: QtBot) -> None:
    scheduler = make()
    scheduler.start()
    go, results = threading.Event(), []
    scheduler.add_job(lambda: go.wait(60))
    until(qtbot, lambda: live_runs(scheduler))
    QTimer.singleShot(10, lambda: results.append(scheduler.shutdown()))
    QTimer.singleShot(60, go.set)
    results.append(scheduler.shutdown())
    assert results == [True, True]


def test_the_application_quits_and_the_scheduler_stops(make: Make, qapp: QCoreApplication, qtbot: QtBot) -> None:
    scheduler = make(executors={"gui": QtMainThreadExecutor()})
    stopped: list[Any] = []
    scheduler.signals.stopped.connect(stopped.append)
    begun, ended = threading.Event(), []

    def job() -> None:
        begun.set()
        time.sleep(0.1)
        ended.append(1)

    scheduler.add_job(job)
    scheduler.add_job(lambda: None, "interval", hours=1)
    scheduler.start()
    timer = QTimer()

    def quit_in_the_middle() -> None:
        if begun.is_set():
            timer.stop()
            qapp.quit()

    timer.timeout.connect(quit_in_the_middle)
    timer.start(5)
    qapp.exec_()
    assert not scheduler.running
    assert stopped == [[]]
    assert ended == [1]
    assert scheduler.shutdown() is True


def test_call_returns_a_future_whose_callbacks_come_in_the_qt_thread(make: Make, qtbot: QtBot) -> None:
    scheduler = make()
    with pytest.raises(SchedulerNotRunningError):
        scheduler.call(int)
    scheduler.start()
    told: list[Any] = []
    future = scheduler.call(threading.get_ident)
    assert_type(future, QtFuture[int])
    future.add_done_callback(lambda future: told.append((future.result(), threading.get_ident())))
    until(qtbot, lambda: told)
    assert told[0][0] != threading.get_ident() == told[0][1]
    # Waited for in the Qt thread it runs the loop; elsewhere it blocks.
    ticked, go = threading.Event(), threading.Event()
    QTimer.singleShot(5, ticked.set)
    assert scheduler.call(ticked.wait, 30).result(60) is True
    with pytest.raises(LookupError):
        scheduler.call(dict[str, int]().__getitem__, "x").result(60)
    with pytest.raises(TimeoutError):
        scheduler.call(go.wait, 60).result(0.01)
    go.set()
    other = in_thread(lambda: scheduler.call(lambda: 5).result(60))
    until(qtbot, other.done)
    assert other.result() == 5


def test_a_burst_of_jobs_in_the_qt_thread_leaves_its_windows_their_turn(make: Make, qtbot: QtBot) -> None:
    scheduler = make(executors={"gui": QtMainThreadExecutor()})
    scheduler.start(paused=True)
    count = [0]

    def job() -> None:
        count[0] += 1
        time.sleep(0.0005)

    now = datetime.now(UTC)
    for _ in range(500):
        scheduler.add_job(job, next_run_time=now, executor="gui")
    ticks = [0]
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(count[0]))
    timer.start(1)
    scheduler.resume()
    until(qtbot, lambda: count[0] == 500)
    timer.stop()
    between = sorted(b - a for a, b in pairwise(ticks))
    # It had its turn between any two slices.
    assert len(ticks) > 500 * 0.0005 / SLICE_S / 2
    assert between[len(between) // 2] < 6 * SLICE_S / 0.0005


def test_a_job_in_the_qt_thread_that_runs_a_loop_holds_up_no_other(make: Make, qtbot: QtBot) -> None:
    scheduler = make(executors={"gui": QtMainThreadExecutor()})
    scheduler.start()
    order: list[str] = []

    def dialogue() -> None:
        order.append("dialogue")
        loop = QEventLoop()

        def other() -> None:
            order.append("other")
            loop.quit()

        scheduler.add_job(other, executor="gui")
        loop.exec_()
        order.append("closed")

    scheduler.add_job(dialogue, executor="gui")
    until(qtbot, lambda: len(order) == 3)
    assert order == ["dialogue", "other", "closed"]


def test_shutdown_runs_what_is_queued_for_the_qt_thread(make: Make, qtbot: QtBot) -> None:
    scheduler = make(executors={"default": QtMainThreadExecutor()})
    scheduler.start(paused=True)
    ran: list[int] = []
    for number in range(200):
        scheduler.add_job(ran.append, args=[number])
    scheduler.resume()
    until(qtbot, lambda: ran)
    live = len(scheduler._executors["default"].live_runs())  # type: ignore[attr-defined]
    done = len(ran)
    assert scheduler.shutdown() is True
    assert len(ran) >= done + live


def test_a_coroutine_for_the_qt_thread_fails_and_says_where_it_belongs(make: Make, qtbot: QtBot) -> None:
    scheduler = make(executors={"gui": QtMainThreadExecutor()})
    errors: list[Any] = []
    scheduler.signals.failed.connect(lambda event: errors.append(event.exception))
    scheduler.start()

    async def job() -> None:
        pass

    scheduler.add_job(job, executor="gui")
    until(qtbot, lambda: errors)
    assert "a QtExecutor waits in a thread" in str(errors[0])


def test_it_cannot_be_started_without_an_application() -> None:
    scheduler = QtScheduler()
    with pytest.raises(SchedulerStartError, match=r"ended|make the QApplication \(or QCoreApplication\) before start"):
        scheduler.start()
    assert not scheduler.running
    assert scheduler.shutdown() is True


def test_it_cannot_be_started_in_another_thread_nor_twice(make: Make) -> None:
    scheduler = make()
    with pytest.raises(
        SchedulerStartError, match=r"in a thread other than .* QTimer.singleShot\(0, app, scheduler.start\)"
    ):
        in_thread(scheduler.start).result(60)
    scheduler.start()
    with pytest.raises(SchedulerAlreadyRunningError):
        scheduler.start()


def test_an_executor_for_the_qt_thread_may_be_added_and_removed_by_another_thread(make: Make, qtbot: QtBot) -> None:
    scheduler = make()
    scheduler.start()
    in_thread(lambda: scheduler.add_executor("qtmain", "gui")).result(60)
    seen: list[int] = []
    scheduler.add_job(lambda: seen.append(threading.get_ident()), executor="gui")
    until(qtbot, lambda: seen)
    assert seen == [threading.get_ident()]
    in_thread(lambda: scheduler.remove_executor("gui")).result(60)


def test_jobs_are_added_and_removed_by_other_threads(make: Make, qtbot: QtBot) -> None:
    scheduler = make()
    count = []
    scheduler.add_listener(lambda event: count.append(1), EVENT_JOB_EXECUTED)
    scheduler.start()

    def add() -> None:
        for _ in range(20):
            scheduler.add_job(int)
        scheduler.add_job(int, "interval", hours=1).remove()

    added = [in_thread(add) for _ in range(5)]
    until(qtbot, lambda: all(future.done() for future in added) and len(count) == 100)
    for future in added:
        future.result()
    assert scheduler.get_jobs() == []


@pytest.mark.parametrize("days", [60, 36525])
def test_a_job_that_is_due_in_60_days_or_in_100_years_overflows_nothing(make: Make, qtbot: QtBot, days: int) -> None:
    class Patient(QtScheduler):
        # As if there were no cap on a single wait: the timer itself bears it.
        _max_wait_s = 1e12

    scheduler = Patient()
    scheduler.start()
    ran: list[int] = []
    scheduler.add_job(lambda: ran.append(2), "date", run_date=datetime.now(UTC) + timedelta(days=days))
    qtbot.wait(30)
    assert ran == []
    scheduler.add_job(lambda: ran.append(1))
    until(qtbot, lambda: ran)
    assert ran == [1]
    assert scheduler.shutdown() is True


def test_it_is_a_context_manager_and_starts_again(make: Make, qtbot: QtBot) -> None:
    scheduler = make()
    for number in (1, 2, 3):
        ran: list[int] = []
        with scheduler:
            scheduler.add_job(ran.append, args=[number])
            until(qtbot, partial(bool, ran))
        assert not scheduler.running


def test_a_slow_store_is_never_called_in_the_qt_thread(make: Make, qtbot: QtBot) -> None:
    store = SlowStore(0.02)
    scheduler = make(jobstores={"default": store})
    ran: list[int] = []
    scheduler.add_job(lambda: ran.append(1), "interval", seconds=0.03)
    scheduler.start()
    scheduler.add_job(lambda: ran.append(1), "interval", seconds=0.03)
    until(qtbot, lambda: len(ran) >= 4)
    assert scheduler.shutdown() is True
    assert store.calls_in(threading.get_ident()) == []

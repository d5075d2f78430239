"""The threads that drain a queue: who starts whom, what is live, and that nothing ends them but ``close``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue

import pytest

from schedcore.executors._workers import WorkerPool
from tests.interrupting import Interrupted, disturbed

WAIT_S = 60.0


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.001)


class Recorder:
    """Work that doubles numbers, waits at gates, raises exceptions and makes calls; and what came of it."""

    def __init__(self) -> None:
        self.results: list[object] = []
        self.begun: list[object] = []
        self.gate = threading.Event()

    def work(self, item: object) -> object:
        self.begun.append(item)
        if isinstance(item, int):
            return 2 * item
        if item == "gate":
            assert self.gate.wait(WAIT_S)
        if isinstance(item, BaseException):
            raise item
        if callable(item):
            return item()
        return item

    def pool(self, max_workers: int, begin: Callable[[], object] | None = None) -> WorkerPool[object, object]:
        pool = WorkerPool(
            max_workers, self.work, self.results.append, lambda item, error: repr(error), "test", begin=begin
        )
        self.pools.append(pool)
        return pool

    pools: list[WorkerPool[object, object]]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    recorder.pools = []
    yield recorder
    recorder.gate.set()
    for pool in recorder.pools:
        pool.close()
        assert pool.join(WAIT_S)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-")]


def threads() -> int:
    return sum(thread.name.startswith("test-") for thread in threading.enumerate())


def test_no_thread_before_there_is_work(recorder: Recorder) -> None:
    pool = recorder.pool(4)
    assert threads() == 0
    pool.submit([])
    assert threads() == 0


def test_an_idle_worker_is_used_again(recorder: Recorder) -> None:
    pool = recorder.pool(4)
    for number in range(5):
        pool.submit([number])
        wait_for(lambda number=number: len(recorder.results) == number + 1 and not pool._live)  # type: ignore[misc]
    assert recorder.results == [0, 2, 4, 6, 8]
    assert threads() == 1


def test_as_many_workers_as_are_needed_and_no_more_than_allowed(recorder: Recorder) -> None:
    pool = recorder.pool(3)
    pool.submit(["gate"] * 5)
    wait_for(lambda: len(recorder.begun) == 3)
    assert threads() == 3
    assert len(pool.live()) == 5
    recorder.gate.set()
    wait_for(lambda: len(recorder.results) == 5)
    assert pool.live() == []


def test_an_item_never_waits_for_a_worker_that_has_just_taken_another(recorder: Recorder) -> None:
    # A worker that was idle and has taken an item counts as idle for a moment still. What is submitted in that moment must
    # not be left to it. Submitting in twos, each pair meeting at a barrier, hits it often.
    pool = recorder.pool(2)
    for _ in range(300):
        barrier = threading.Barrier(2)

        def meet(barrier: threading.Barrier = barrier) -> str:
            barrier.wait(WAIT_S)
            return "met"

        pool.submit([meet])
        pool.submit([meet])
    wait_for(lambda: len(recorder.results) == 600)
    assert set(recorder.results) == {"met"}


def test_workers_are_still_started_for_what_was_queued_before_close(recorder: Recorder) -> None:
    barrier = threading.Barrier(4)
    pool = recorder.pool(4)
    pool.submit([lambda: barrier.wait(WAIT_S)] * 4)
    pool.close()
    assert pool.join(WAIT_S)
    assert len(recorder.results) == 4
    assert "BrokenBarrierError" not in str(recorder.results)


def test_a_worker_outlives_whatever_the_work_raises(recorder: Recorder) -> None:
    pool = recorder.pool(1)
    pool.submit([KeyError("a"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), 5])
    wait_for(lambda: len(recorder.results) == 5)
    assert recorder.results == ["KeyError('a')", "SystemExit(1)", "KeyboardInterrupt()", "GeneratorExit()", 10]
    assert threads() == 1


def test_a_worker_outlives_a_report_that_raises(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    def report(result: object) -> None:
        recorder.results.append(result)
        if result == 2:
            raise LookupError("nobody there")

    pool: WorkerPool[object, object] = WorkerPool(1, recorder.work, report, lambda item, error: None, "test")
    recorder.pools.append(pool)
    pool.submit([1, 2])
    wait_for(lambda: len(recorder.results) == 2)
    pool.close()
    assert pool.join(WAIT_S)
    assert "could not be reported" in caplog.text
    assert "nobody there" in caplog.text


def test_begin_is_called_again_until_it_succeeds(recorder: Recorder) -> None:
    calls: list[int] = []

    def begin() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("not yet")

    pool = recorder.pool(1, begin)
    pool.submit([1, 2, 3, 4])
    wait_for(lambda: len(recorder.results) == 4)
    assert recorder.results == ["OSError('not yet')", "OSError('not yet')", 6, 8]
    assert len(calls) == 3


def test_what_is_withdrawn_is_not_live_and_never_begins(recorder: Recorder) -> None:
    pool = recorder.pool(1)
    pool.submit(["gate", 1, 2, 3])
    wait_for(lambda: recorder.begun)
    assert pool.withdraw() == [1, 2, 3]
    assert pool.live() == ["gate"]
    pool.close()
    assert pool.withdraw() == []
    recorder.gate.set()
    assert pool.join(WAIT_S)
    assert recorder.begun == ["gate"]


def test_join_gives_up_in_time_and_may_be_called_again(recorder: Recorder) -> None:
    pool = recorder.pool(2)
    pool.submit(["gate"])
    pool.close()
    pool.close()
    assert not pool.join(0.001)
    assert not pool.join(0)
    recorder.gate.set()
    assert pool.join(WAIT_S)
    assert pool.join(0)


def test_the_only_worker_may_join_and_what_waits_behind_it_is_carried_out_first(recorder: Recorder) -> None:
    pool = recorder.pool(1)
    seen: list[int] = []

    def stop() -> None:
        pool.close()
        assert pool.join(WAIT_S)
        seen.append(len(recorder.results))

    pool.submit([stop, 1, 2, 3])
    wait_for(lambda: len(recorder.results) == 4)
    assert seen == [3]


def test_submit_after_close_takes_nothing(recorder: Recorder) -> None:
    pool = recorder.pool(1)
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit([1])
    assert pool.live() == []


@pytest.mark.parametrize(
    ("refusal", "level"),
    [
        ("can't start new thread", "ERROR"),
        ("can't create new thread at interpreter shutdown", "DEBUG"),  # of Python 3.12 and later, while a program ends
    ],
)
def test_a_system_without_threads_refuses_the_first_and_slows_down_the_others(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refusal: str, level: str
) -> None:
    caplog.set_level(logging.DEBUG)
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError(refusal)

    pool = recorder.pool(3)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match=refusal):
        pool.submit([1])
    assert pool.live() == []
    monkeypatch.setattr(threading.Thread, "start", start)
    pool.submit([1])
    wait_for(lambda: recorder.results == [2])
    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool.submit([2, 3, 4])
    wait_for(lambda: recorder.results == [2, 4, 6, 8])
    told = [record.levelname for record in caplog.records if "goes on with 1 of 3 threads" in record.getMessage()]
    assert set(told) == {level}


def test_a_worker_that_looks_idle_but_is_not_is_not_counted_on(recorder: Recorder) -> None:
    # The moment of the test above, held still: the worker has the gate in hand and has not come to it yet.
    class SlowQueue:
        def __init__(self) -> None:
            self.inner: SimpleQueue[int | None] = SimpleQueue()
            self.put, self.get_nowait, self.qsize = self.inner.put, self.inner.get_nowait, self.inner.qsize
            self.go_on = threading.Event()

        def get(self) -> int | None:
            number = self.inner.get()
            assert self.go_on.wait(WAIT_S)
            return number

    pool = recorder.pool(2)
    queue = pool._queue = SlowQueue()  # type: ignore[assignment]
    pool.submit(["gate"])
    wait_for(lambda: queue.qsize() == 0)
    assert threads() == 1
    pool.submit([5])
    assert threads() == 2
    queue.go_on.set()
    wait_for(lambda: 10 in recorder.results)
    assert "gate" not in recorder.results


def test_nor_is_one_that_reports(recorder: Recorder) -> None:
    go_on = threading.Event()

    def report(result: object) -> None:
        recorder.results.append(result)
        if result == "slow":
            assert go_on.wait(WAIT_S)

    pool: WorkerPool[object, object] = WorkerPool(2, recorder.work, report, lambda item, error: repr(error), "test")
    recorder.pools.append(pool)
    pool.submit(["slow"])
    wait_for(lambda: recorder.results)
    assert pool.live() == []  # it is over for whoever asks
    pool.submit([5])
    wait_for(lambda: recorder.results == ["slow", 10])
    go_on.set()


def test_the_worker_of_the_first_item_starts_no_other(recorder: Recorder) -> None:
    # The thread that starts one waits until that has got the interpreter, for which all those compete that are there already.
    started_by: dict[str, str] = {}

    class Noted(threading.Thread):
        def start(self) -> None:
            started_by[self.name] = threading.current_thread().name
            super().start()

    pool: WorkerPool[object, object] = WorkerPool(
        4,
        recorder.work,
        recorder.results.append,
        lambda item, error: repr(error),
        "test",
        make_thread=lambda call, name: Noted(target=call, name=name, daemon=True),
    )
    recorder.pools.append(pool)
    pool.submit(["gate"] * 4)
    wait_for(lambda: len(recorder.begun) == 4)
    mine = threading.current_thread().name
    assert started_by == {"test-0": mine, "test-1": mine, "test-2": "test-1", "test-3": "test-2"}


@pytest.mark.parametrize("used", [False, True])
def test_an_item_that_takes_long_holds_up_no_other(recorder: Recorder, used: bool) -> None:
    pool = recorder.pool(4)
    if used:
        pool.submit([0])
        wait_for(lambda: not pool._live)
    pool.submit(["gate", "gate", "gate", 1, 2, 3])
    wait_for(lambda: {2, 4, 6} <= set(recorder.results))
    assert "gate" not in recorder.results
    assert threads() == 4


@pytest.mark.parametrize("begins", ["never", "before", "after"])
@pytest.mark.parametrize("used", [False, True])
def test_a_start_that_is_interrupted(recorder: Recorder, used: bool, begins: str) -> None:
    # Ctrl-C comes as a thread is started: it is not, or runs already, or will when nobody counts on it any more.
    interrupted: list[threading.Thread] = []

    class Started(threading.Thread):
        def start(self) -> None:
            chosen = self.name == f"test-{int(used)}" and not interrupted
            if chosen:
                interrupted.append(self)
            if not chosen or begins == "before":
                super().start()
            if chosen:
                raise Interrupted

    pool: WorkerPool[object, object] = WorkerPool(
        2,
        recorder.work,
        recorder.results.append,
        lambda item, error: repr(error),
        "test",
        make_thread=lambda call, name: Started(target=call, name=name, daemon=True),
    )
    recorder.pools.append(pool)
    if used:
        pool.submit(["gate"])
        wait_for(lambda: recorder.begun)
    with pytest.raises(Interrupted):
        pool.submit([1])
    if begins == "after":
        threading.Thread.start(interrupted[0])
        interrupted[0].join(WAIT_S)
        assert not interrupted[0].is_alive()
    pool.submit([2])
    wait_for(lambda: 4 in recorder.results)
    recorder.gate.set()
    pool.close()
    assert pool.join(WAIT_S)
    assert threads() == 0
    assert (2 in recorder.results) == used  # without any thread nothing is taken


def test_after_join_the_threads_are_gone(recorder: Recorder) -> None:
    for _ in range(100):
        pool = recorder.pool(3)
        pool.submit([1, 2, 3])
        pool.close()
        assert pool.join(WAIT_S)
        assert not any(thread.is_alive() for thread in pool._threads)


@pytest.mark.parametrize("used", [False, True])
def test_a_signal_handler_may_close_it_or_add_to_it_in_the_midst_of_a_submit(used: bool) -> None:
    for at in range(1, 10_000):
        done: SimpleQueue[int] = SimpleQueue()
        pool: WorkerPool[int, int] = WorkerPool(2, lambda item: item, done.put, lambda item, error: item, "test")
        if used:
            pool.submit([0])
            assert done.get(timeout=150) == 0

        def intrude(pool: WorkerPool[int, int] = pool) -> None:
            pool.submit([3])
            pool.close()

        taken = [3]
        reached = True
        try:
            reached = disturbed(lambda: pool.submit([1, 2]), intrude, at, "_workers.py")  # noqa: B023  # called in here
            taken += [1, 2]
        except RuntimeError:  # it was closed before it took them
            pass
        if not reached:
            intrude()
        assert pool.join(60.0)
        assert sorted(done.get(timeout=150) for _ in taken) == sorted(taken)
        assert done.empty()
        assert not pool.live()
        if not reached:
            break
    assert at > 10


@pytest.mark.parametrize("used", [False, True])
def test_a_signal_handler_may_raise_in_the_midst_of_a_submit(used: bool) -> None:
    def interrupt() -> None:
        raise Interrupted

    for at in range(1, 10_000):
        pool: WorkerPool[int, None] = WorkerPool(
            2, lambda item: None, lambda result: None, lambda item, error: None, "test"
        )
        if used:
            pool.submit([0])
        reached = True
        with suppress(Interrupted):
            reached = disturbed(lambda: pool.submit([1, 2]), interrupt, at, "_workers.py")  # noqa: B023  # called in here
        pool.close()
        assert pool.join(60.0)
        if not reached:
            break
    assert at > 10

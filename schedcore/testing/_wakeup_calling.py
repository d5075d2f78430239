"""What is called in the framework's thread for others: ``call_soon``, and the results of ``run_blocking``."""

from __future__ import annotations

import threading
import time
from typing import Any

from schedcore.testing._suite import Aside, patience
from schedcore.testing._wakeup_bench import Bench, behaviour, do_nothing, raise_error

__all__: list[str] = []


# --- call_soon ---


@behaviour("calls soon in the framework's thread, whoever asks")
def _soon(bench: Bench) -> None:
    bench.wakeup.call_soon(bench.teller("control thread"))
    Aside(bench.wakeup.call_soon, bench.teller("a thread")).result()
    bench.call(lambda: bench.wakeup.call_soon(bench.teller("its own thread")))
    assert sorted(bench.wait(3)) == ["a thread", "control thread", "its own thread"]
    assert bench.threads == {bench.thread}, "it was called in another thread"


@behaviour("calls soon, but not inside of call_soon")
def _soon_not_inside(bench: Bench) -> None:
    def ask() -> None:
        bench.wakeup.call_soon(bench.teller("soon"))
        bench.tell("after call_soon")

    bench.call(ask)
    assert bench.wait(2) == ["after call_soon", "soon"]


@behaviour("calls soon in the order of asking")
def _soon_order(bench: Bench) -> None:
    for number in range(1000):
        bench.wakeup.call_soon(bench.teller(number))
    assert bench.wait(1000) == list(range(1000))

    def ask() -> None:
        for number in range(1000, 1100):
            bench.wakeup.call_soon(bench.teller(number))

    bench.call(ask)
    assert bench.wait(1100)[1000:] == list(range(1000, 1100))


@behaviour("loses nothing that eight threads ask for at a time, and keeps the order of each")
def _soon_threads(bench: Bench) -> None:
    start = threading.Barrier(8)

    def ask(thread: int) -> None:
        start.wait(patience.seconds)
        for number in range(200):
            bench.wakeup.call_soon(bench.teller((thread, number)))

    asking = [Aside(ask, thread) for thread in range(8)]
    for aside in asking:
        aside.result()
    told = bench.wait(1600)
    bench.go_round()
    assert len(bench.told) == 1600, "some were called twice"
    for thread in range(8):
        mine = [number for one, number in told if one == thread]
        assert mine == list(range(200)), f"thread {thread} asked in order, and {mine[:10]}… were called"


@behaviour("calls soon although it is armed for long")
def _soon_wakes(bench: Bench) -> None:
    bench.arm(3600, "armed")
    bench.pass_time(0.005)
    for number in range(5):
        bench.wakeup.call_soon(bench.teller(number))
        bench.wait(number + 1)
    bench.call(bench.wakeup.disarm)


@behaviour("arms what call_soon asks for, although the loop sleeps")
def _soon_arms(bench: Bench) -> None:
    bench.arm(3600, "long")
    bench.pass_time(0.005)
    bench.wakeup.call_soon(lambda: bench.wakeup.arm(0.002, bench.teller("short")))
    assert bench.wait() == ["short"]


@behaviour("may be asked for more by what it calls soon, and still has a turn for its timer")
def _soon_inside(bench: Bench) -> None:
    over = threading.Event()

    def again() -> None:
        if not over.is_set():
            bench.wakeup.call_soon(again)

    bench.wakeup.call_soon(again)
    bench.arm(0.005, "armed")
    try:
        assert bench.wait() == ["armed"]
    finally:
        over.set()


@behaviour("goes on when what is called soon raises")
def _soon_raises(bench: Bench) -> None:
    for number in range(5):
        bench.wakeup.call_soon(raise_error)
        bench.wakeup.call_soon(bench.teller(number))
        bench.wait(number + 1)
    assert bench.told == list(range(5))


# --- run_blocking ---


@behaviour("makes a blocking call off the loop, and brings its result to the framework's thread")
def _blocking(bench: Bench) -> None:
    bench.call(lambda: bench.wakeup.run_blocking(threading.get_ident, bench.done))
    ((thread, error),) = bench.wait()
    assert error is None, f"the error is {error!r}"
    assert isinstance(thread, int), f"the result is {thread!r}"
    assert thread != bench.thread, "the call was made on the loop"
    assert bench.threads == {bench.thread}, "the result came in another thread"


@behaviour("brings what a blocking call raises")
def _blocking_raises(bench: Bench) -> None:
    error = LookupError("as the suite wants it")

    def fail() -> None:
        raise error

    bench.call(lambda: bench.wakeup.run_blocking(fail, bench.done))
    ((result, found),) = bench.wait()
    assert result is None
    assert found is error, f"the error is {found!r}"
    assert bench.threads == {bench.thread}


@behaviour("brings an error when a blocking call exits, and makes the next one")
def _blocking_exits(bench: Bench) -> None:
    def leave() -> None:
        raise SystemExit(3)

    for _ in range(3):
        bench.call(lambda: bench.wakeup.run_blocking(leave, bench.done))
    for result, error in bench.wait(3):
        assert result is None
        assert isinstance(error, Exception), f"the error is {error!r}"
    bench.call(lambda: bench.wakeup.run_blocking(lambda: "next", bench.done))
    assert bench.wait(4)[3] == ("next", None)


@behaviour("serves the loop while a blocking call takes its time")
def _blocking_waits(bench: Bench) -> None:
    go = threading.Event()
    try:
        bench.call(lambda: bench.wakeup.run_blocking(lambda: go.wait(patience.seconds), bench.done))
        bench.wakeup.call_soon(bench.teller("soon"))
        bench.arm(0.001, "armed")
        assert sorted(bench.wait(2)) == ["armed", "soon"]
    finally:
        go.set()
    assert bench.wait(3)[2] == (True, None)


@behaviour("makes four blocking calls at a time")
def _blocking_several(bench: Bench) -> None:
    together = threading.Barrier(4)

    def meet() -> str:
        together.wait(patience.seconds)
        return "met"

    def ask() -> None:
        for _ in range(4):
            bench.wakeup.run_blocking(meet, bench.done)

    bench.call(ask)
    assert bench.wait(4) == [("met", None)] * 4


@behaviour("brings the result of each of a hundred blocking calls once")
def _blocking_many(bench: Bench) -> None:
    def ask() -> None:
        for number in range(100):
            bench.wakeup.run_blocking(lambda number=number: number, bench.done)  # type: ignore[misc]

    bench.call(ask)
    bench.wait(100)
    bench.go_round()
    assert sorted(result for result, _ in bench.told) == list(range(100))
    assert bench.threads == {bench.thread}


@behaviour("brings the result of a blocking call later, not inside of run_blocking")
def _blocking_not_inside(bench: Bench) -> None:
    def ask() -> None:
        bench.wakeup.run_blocking(do_nothing, bench.done)
        time.sleep(0.005)
        bench.tell("after run_blocking")

    bench.call(ask)
    assert bench.wait(2) == ["after run_blocking", (None, None)]


@behaviour("may be asked for the next blocking call by the result of the last")
def _blocking_chain(bench: Bench) -> None:
    def ask(number: int) -> None:
        def done(result: Any, error: Exception | None) -> None:
            bench.tell((result, error))
            if number < 19:
                ask(number + 1)

        bench.wakeup.run_blocking(lambda: number, done)

    bench.call(lambda: ask(0))
    assert bench.wait(20) == [(number, None) for number in range(20)]


@behaviour("goes on when the one who gets a result raises")
def _done_raises(bench: Bench) -> None:
    def done(result: Any, error: Exception | None) -> None:
        bench.tell(result)
        raise_error()

    for number in range(3):
        bench.call(lambda: bench.wakeup.run_blocking(lambda: "result", done))
        bench.wait(number + 1)
    bench.arm(0.001, "armed")
    assert bench.wait(4) == ["result"] * 3 + ["armed"]


@behaviour("brings the result of a blocking call after it was disarmed")
def _blocking_disarmed(bench: Bench) -> None:
    go = threading.Event()
    try:
        bench.call(lambda: bench.wakeup.run_blocking(lambda: go.wait(patience.seconds), bench.done))
        bench.call(bench.wakeup.disarm)
    finally:
        go.set()
    assert bench.wait() == [(True, None)]

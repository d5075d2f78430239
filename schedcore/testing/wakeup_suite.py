"""The conformance suite of wakeups.

``check_wakeup(bench)`` runs every behaviour of the contract (``schedcore.wakeup``) against a wakeup on a running loop, without
pytest. ``bench`` is a function that gives a context manager: on entry it starts a loop in a thread of its own and makes a
wakeup there, on exit both are gone. ::

    class Bench:
        def __init__(self, loop):
            self.loop, self.wakeup = loop, AsyncIOWakeup(loop)

        def call(self, call):                   # in the loop's thread
            async def make():
                return call()
            return asyncio.run_coroutine_threadsafe(make(), self.loop).result(30)

        def close(self):                        # end the loop and close it; may be called twice
            …

    @contextmanager
    def bench():
        loop = asyncio.new_event_loop()
        …
        yield Bench(loop)
        …

    check_wakeup(bench)

What a wakeup cannot have is declared in its traits; ``wakeup_behaviours(traits)`` lists each behaviour with the reason why
it is left out, or None, so that a test run can show it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from schedcore.testing._suite import Aside, Suite, patience, until
from schedcore.wakeup import Wakeup

__all__ = ["WakeupBench", "WakeupTraits", "check_wakeup", "wakeup_behaviours"]

T = TypeVar("T")

_DAY_S = 86400.0


class WakeupTraits(NamedTuple):
    """What a wakeup is like, declared."""

    early_s: float = 0.002  #: by how much its framework's timers may go off too early
    lacks: Mapping[str, str] = {}  #: name of a behaviour -> why this wakeup cannot have it


class WakeupBench(Protocol):
    """A wakeup on a loop that runs in another thread than the one that holds this."""

    @property
    def wakeup(self) -> Wakeup:
        """The wakeup."""

    def call(self, call: Callable[[], T]) -> T:
        """Make a call in the loop's thread; returns what it returns, raises what it raises, or ``TimeoutError``."""

    def close(self) -> None:
        """End the loop and close it, so that nothing is called back any more. May be called twice."""


class _Bench:
    """The suite's side: what was called back, in order, and by which thread."""

    def __init__(self, bench: WakeupBench, traits: WakeupTraits) -> None:
        self.wakeup = bench.wakeup
        self.call = bench.call
        self.close = bench.close
        self.traits = traits
        self.thread = bench.call(threading.get_ident)
        self._told = threading.Condition()
        #: (what, thread, monotonic instant)
        self.calls: list[tuple[Any, int, float]] = []

    def tell(self, what: Any) -> None:
        with self._told:
            self.calls.append((what, threading.get_ident(), time.monotonic()))
            self._told.notify_all()

    def teller(self, what: Any) -> Callable[[], None]:
        return lambda: self.tell(what)

    def arm(self, delay_s: float, what: Any) -> None:
        self.call(lambda: self.wakeup.arm(delay_s, self.teller(what)))

    def done(self, result: Any, error: Exception | None) -> None:
        self.tell((result, error))

    @property
    def told(self) -> list[Any]:
        with self._told:
            return [what for what, _, _ in self.calls]

    @property
    def threads(self) -> set[int]:
        with self._told:
            return {thread for _, thread, _ in self.calls}

    def wait(self, count: int = 1) -> list[Any]:
        with self._told:
            came = self._told.wait_for(lambda: len(self.calls) >= count, patience.seconds)
            told = [what for what, _, _ in self.calls]
        assert came, f"{count} were to be called back, and {len(told)} were: {told[:10]}"
        return told

    def go_round(self, times: int = 3) -> None:
        """Let the loop come round a few times."""
        for _ in range(times):
            self.call(_nothing)

    def pass_time(self, seconds: float = 0.03) -> None:
        """For what must not happen, there is no event to wait for."""
        time.sleep(seconds)
        self.go_round()


def _nothing() -> None:
    pass


def _fail() -> None:
    raise ValueError("this callback fails, as the suite wants it")


_suite: Suite[_Bench, WakeupTraits] = Suite("a wakeup", {})
_behaviour = _suite.behaviour


def wakeup_behaviours(traits: WakeupTraits = WakeupTraits()) -> list[tuple[str, str | None]]:  # noqa: B008 (immutable)
    """The behaviours, each with the reason why a wakeup with these traits is not held to it, or None."""
    return _suite.wanted(traits)


def check_wakeup(
    bench: Callable[[], AbstractContextManager[WakeupBench]],
    traits: WakeupTraits = WakeupTraits(),  # noqa: B008 (immutable)
    *,
    only: str | None = None,
) -> list[str]:
    """Hold wakeups to their contract, each behaviour on a bench of its own; ``only`` names a single one.

    Returns the names of the behaviours checked; ``AssertionError`` names the one that is missing.
    """

    @contextmanager
    def make() -> Iterator[_Bench]:
        with bench() as made:
            yield _Bench(made, traits)

    return _suite.check(traits, only, make)


# --- the timer ---


@_behaviour("calls what was armed, once, in the framework's thread")
def _once(bench: _Bench) -> None:
    bench.arm(0.001, "armed")
    assert bench.wait() == ["armed"]
    bench.pass_time(0.01)
    assert bench.told == ["armed"], "it was called again"
    assert bench.threads == {bench.thread}, "it was called in another thread"


@_behaviour("does not call before its time, but for the framework's resolution")
def _not_early(bench: _Bench) -> None:
    for delay_s in (0.03, 0.0105):
        begun_s = time.monotonic()
        bench.arm(delay_s, delay_s)
        bench.wait(len(bench.told) + 1)
        passed_s = bench.calls[-1][2] - begun_s
        assert passed_s >= delay_s - bench.traits.early_s, f"armed for {delay_s} s it went off after {passed_s:.4f} s"


@_behaviour("calls after no delay at all, but not inside of arm")
def _zero(bench: _Bench) -> None:
    def arm() -> None:
        bench.wakeup.arm(0, bench.teller("armed"))
        bench.tell("after arm")

    bench.call(arm)
    assert bench.wait(2) == ["after arm", "armed"]


@_behaviour("takes delays too short for any timer")
def _tiny(bench: _Bench) -> None:
    for number, delay_s in enumerate((1e-9, 1e-6, 5e-324, 1e-4)):
        bench.arm(delay_s, delay_s)
        bench.wait(number + 1)


@_behaviour("arms in the place of what was armed before, be that earlier or later")
def _rearm(bench: _Bench) -> None:
    bench.arm(60, "later")
    bench.arm(0.005, "earlier")
    assert bench.wait() == ["earlier"], "the earlier one was not called in the place of the later"

    def twice() -> None:
        bench.wakeup.arm(0.001, bench.teller("replaced"))
        bench.wakeup.arm(0.02, bench.teller("in its place"))

    bench.call(twice)
    assert bench.wait(2)[1:] == ["in its place"], "what was replaced was called"
    bench.pass_time(0.01)
    assert len(bench.told) == 2


@_behaviour("arms in the place of what is due already")
def _rearm_due(bench: _Bench) -> None:
    def twice() -> None:
        bench.wakeup.arm(0, bench.teller("replaced"))
        bench.wakeup.arm(0, bench.teller("in its place"))

    bench.call(twice)
    bench.wait()
    bench.pass_time(0.01)
    assert bench.told == ["in its place"], f"called were {bench.told}"


@_behaviour("is armed ten thousand times over, and calls the last")
def _many_arms(bench: _Bench) -> None:
    def many() -> None:
        for number in range(10_000):
            bench.wakeup.arm(0.0001 + number % 7, _never)
        bench.wakeup.arm(0.001, bench.teller("last"))

    def _never() -> None:
        bench.tell("replaced")

    bench.call(many)
    bench.wait()
    bench.pass_time(0.01)
    assert bench.told == ["last"], f"called were {bench.told[:10]}"


@_behaviour("does not call what was disarmed")
def _disarm(bench: _Bench) -> None:
    def both(delay_s: float) -> None:
        bench.wakeup.arm(delay_s, bench.teller(delay_s))
        bench.wakeup.disarm()

    for delay_s in (0, 0.001, 0.01):
        bench.call(lambda: both(delay_s))  # noqa: B023  # it is made at once
    bench.arm(0.005, "disarmed later")
    bench.call(bench.wakeup.disarm)
    told = bench.told
    bench.pass_time()
    # On a machine that was held up the timer may have gone off before it was disarmed.
    assert told in ([], ["disarmed later"]), f"called were {told}"
    assert bench.told == told, f"called were {bench.told}"


@_behaviour("does not call what is disarmed in the very moment when it is due")
def _disarm_due(bench: _Bench) -> None:
    def late() -> None:
        bench.wakeup.arm(0.001, bench.teller("armed"))
        time.sleep(0.01)  # the loop is kept busy until it is overdue
        bench.wakeup.disarm()

    bench.call(late)
    bench.pass_time(0.01)
    assert bench.told == [], "it was called"


@_behaviour("may be disarmed twice, and with nothing armed, and armed again")
def _disarm_twice(bench: _Bench) -> None:
    def disarm() -> None:
        bench.wakeup.disarm()
        bench.wakeup.disarm()

    bench.call(disarm)
    bench.arm(0.001, 1)
    bench.wait(1)
    bench.call(disarm)
    bench.arm(0.001, 2)
    assert bench.wait(2) == [1, 2]


@_behaviour("may be armed by what it calls, again and again")
def _rearm_inside(bench: _Bench) -> None:
    def again(number: int) -> None:
        bench.tell(number)
        if number < 49:
            bench.wakeup.arm(0.0002 * (number % 2), lambda: again(number + 1))

    bench.call(lambda: bench.wakeup.arm(0, lambda: again(0)))
    assert bench.wait(50) == list(range(50))
    assert bench.threads == {bench.thread}


@_behaviour("may be disarmed by what it calls")
def _disarm_inside(bench: _Bench) -> None:
    def once() -> None:
        bench.wakeup.disarm()
        bench.tell("called")

    bench.call(lambda: bench.wakeup.arm(0.001, once))
    bench.wait()
    bench.arm(0.001, "again")
    assert bench.wait(2) == ["called", "again"]


@_behaviour("forgets on disarm what was armed by what it called")
def _disarm_after_inside(bench: _Bench) -> None:
    def once() -> None:
        bench.wakeup.arm(0, bench.teller("armed inside"))
        bench.wakeup.disarm()
        bench.tell("called")

    bench.call(lambda: bench.wakeup.arm(0, once))
    bench.wait()
    bench.pass_time(0.01)
    assert bench.told == ["called"], f"called were {bench.told}"


@_behaviour("leaves the loop its turn when it is armed without delay again and again")
def _no_starving(bench: _Bench) -> None:
    going = [0]

    def again() -> None:
        going[0] += 1
        bench.wakeup.arm(0, again)

    bench.call(lambda: bench.wakeup.arm(0, again))
    for number in range(10):
        bench.wakeup.call_soon(bench.teller(number))
    assert bench.wait(10) == list(range(10)), "call_soon found no turn"
    rounds = going[0]
    until(lambda: going[0] > rounds + 2000, "the timer found no turn beside call_soon")
    bench.call(bench.wakeup.disarm)


@_behaviour("waits for 60 days, and for 100 years, and meanwhile does what else comes")
def _long(bench: _Bench) -> None:
    for number, delay_s in enumerate((60 * _DAY_S, 100 * 365.2425 * _DAY_S)):
        bench.arm(delay_s, "long")
        bench.pass_time(0.01)
        bench.wakeup.call_soon(bench.teller("soon"))
        assert bench.wait(2 * number + 1)[2 * number :] == ["soon"], f"armed for {delay_s:.0f} s it went off at once"
        bench.arm(0.001, "short")
        assert bench.wait(2 * number + 2)[2 * number + 1 :] == ["short"], f"after {delay_s:.0f} s no other wait began"


@_behaviour("goes on when what it calls raises")
def _armed_raises(bench: _Bench) -> None:
    def fail() -> None:
        bench.tell("raises")
        _fail()

    bench.call(lambda: bench.wakeup.arm(0, fail))
    bench.wait(1)
    bench.call(lambda: bench.wakeup.arm(0.001, fail))
    bench.wait(2)
    bench.arm(0.001, "after it")
    assert bench.wait(3) == ["raises", "raises", "after it"]


# --- call_soon ---


@_behaviour("calls soon in the framework's thread, whoever asks")
def _soon(bench: _Bench) -> None:
    bench.wakeup.call_soon(bench.teller("control thread"))
    Aside(lambda: bench.wakeup.call_soon(bench.teller("a thread"))).result()
    bench.call(lambda: bench.wakeup.call_soon(bench.teller("its own thread")))
    assert sorted(bench.wait(3)) == ["a thread", "control thread", "its own thread"]
    assert bench.threads == {bench.thread}, "it was called in another thread"


@_behaviour("calls soon, but not inside of call_soon")
def _soon_not_inside(bench: _Bench) -> None:
    def ask() -> None:
        bench.wakeup.call_soon(bench.teller("soon"))
        bench.tell("after call_soon")

    bench.call(ask)
    assert bench.wait(2) == ["after call_soon", "soon"]


@_behaviour("calls soon in the order of asking")
def _soon_order(bench: _Bench) -> None:
    for number in range(1000):
        bench.wakeup.call_soon(bench.teller(number))
    assert bench.wait(1000) == list(range(1000))

    def ask() -> None:
        for number in range(1000, 1100):
            bench.wakeup.call_soon(bench.teller(number))

    bench.call(ask)
    assert bench.wait(1100)[1000:] == list(range(1000, 1100))


@_behaviour("loses nothing that eight threads ask for at a time, and keeps the order of each")
def _soon_threads(bench: _Bench) -> None:
    start = threading.Barrier(8)

    def ask(thread: int) -> None:
        start.wait(patience.seconds)
        for number in range(200):
            bench.wakeup.call_soon(bench.teller((thread, number)))

    asking = [Aside(lambda thread=thread: ask(thread)) for thread in range(8)]  # type: ignore[misc]
    for aside in asking:
        aside.result()
    told = bench.wait(1600)
    bench.go_round()
    assert len(bench.told) == 1600, "some were called twice"
    for thread in range(8):
        mine = [number for one, number in told if one == thread]
        assert mine == list(range(200)), f"thread {thread} asked in order, and {mine[:10]}… were called"


@_behaviour("calls soon although it is armed for long")
def _soon_wakes(bench: _Bench) -> None:
    bench.arm(3600, "armed")
    bench.pass_time(0.005)
    for number in range(5):
        bench.wakeup.call_soon(bench.teller(number))
        bench.wait(number + 1)
    bench.call(bench.wakeup.disarm)


@_behaviour("arms what call_soon asks for, although the loop sleeps")
def _soon_arms(bench: _Bench) -> None:
    bench.arm(3600, "long")
    bench.pass_time(0.005)
    bench.wakeup.call_soon(lambda: bench.wakeup.arm(0.002, bench.teller("short")))
    assert bench.wait() == ["short"]


@_behaviour("may be asked for more by what it calls soon, and still has a turn for its timer")
def _soon_inside(bench: _Bench) -> None:
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


@_behaviour("goes on when what is called soon raises")
def _soon_raises(bench: _Bench) -> None:
    for number in range(5):
        bench.wakeup.call_soon(_fail)
        bench.wakeup.call_soon(bench.teller(number))
        bench.wait(number + 1)
    assert bench.told == list(range(5))


# --- run_blocking ---


@_behaviour("makes a blocking call off the loop, and brings its result to the framework's thread")
def _blocking(bench: _Bench) -> None:
    bench.call(lambda: bench.wakeup.run_blocking(threading.get_ident, bench.done))
    ((thread, error),) = bench.wait()
    assert error is None, f"the error is {error!r}"
    assert isinstance(thread, int), f"the result is {thread!r}"
    assert thread != bench.thread, "the call was made on the loop"
    assert bench.threads == {bench.thread}, "the result came in another thread"


@_behaviour("brings what a blocking call raises")
def _blocking_raises(bench: _Bench) -> None:
    error = LookupError("as the suite wants it")

    def fail() -> None:
        raise error

    bench.call(lambda: bench.wakeup.run_blocking(fail, bench.done))
    ((result, found),) = bench.wait()
    assert result is None
    assert found is error, f"the error is {found!r}"
    assert bench.threads == {bench.thread}


@_behaviour("brings an error when a blocking call exits, and makes the next one")
def _blocking_exits(bench: _Bench) -> None:
    def leave() -> None:
        raise SystemExit(3)

    for _ in range(3):
        bench.call(lambda: bench.wakeup.run_blocking(leave, bench.done))
    for result, error in bench.wait(3):
        assert result is None
        assert isinstance(error, Exception), f"the error is {error!r}"
    bench.call(lambda: bench.wakeup.run_blocking(lambda: "next", bench.done))
    assert bench.wait(4)[3] == ("next", None)


@_behaviour("serves the loop while a blocking call takes its time")
def _blocking_waits(bench: _Bench) -> None:
    go = threading.Event()
    try:
        bench.call(lambda: bench.wakeup.run_blocking(lambda: go.wait(patience.seconds), bench.done))
        bench.wakeup.call_soon(bench.teller("soon"))
        bench.arm(0.001, "armed")
        assert sorted(bench.wait(2)) == ["armed", "soon"]
    finally:
        go.set()
    assert bench.wait(3)[2] == (True, None)


@_behaviour("makes four blocking calls at a time")
def _blocking_several(bench: _Bench) -> None:
    together = threading.Barrier(4)

    def meet() -> str:
        together.wait(patience.seconds)
        return "met"

    def ask() -> None:
        for _ in range(4):
            bench.wakeup.run_blocking(meet, bench.done)

    bench.call(ask)
    assert bench.wait(4) == [("met", None)] * 4


@_behaviour("brings the result of each of a hundred blocking calls once")
def _blocking_many(bench: _Bench) -> None:
    def ask() -> None:
        for number in range(100):
            bench.wakeup.run_blocking(lambda number=number: number, bench.done)  # type: ignore[misc]

    bench.call(ask)
    bench.wait(100)
    bench.go_round()
    assert sorted(result for result, _ in bench.told) == list(range(100))
    assert bench.threads == {bench.thread}


@_behaviour("brings the result of a blocking call later, not inside of run_blocking")
def _blocking_not_inside(bench: _Bench) -> None:
    def ask() -> None:
        bench.wakeup.run_blocking(_nothing, bench.done)
        time.sleep(0.005)
        bench.tell("after run_blocking")

    bench.call(ask)
    assert bench.wait(2) == ["after run_blocking", (None, None)]


@_behaviour("may be asked for the next blocking call by the result of the last")
def _blocking_chain(bench: _Bench) -> None:
    def ask(number: int) -> None:
        def done(result: Any, error: Exception | None) -> None:
            bench.tell((result, error))
            if number < 19:
                ask(number + 1)

        bench.wakeup.run_blocking(lambda: number, done)

    bench.call(lambda: ask(0))
    assert bench.wait(20) == [(number, None) for number in range(20)]


@_behaviour("goes on when the one who gets a result raises")
def _done_raises(bench: _Bench) -> None:
    def done(result: Any, error: Exception | None) -> None:
        bench.tell(result)
        _fail()

    for number in range(3):
        bench.call(lambda: bench.wakeup.run_blocking(lambda: "result", done))
        bench.wait(number + 1)
    bench.arm(0.001, "armed")
    assert bench.wait(4) == ["result"] * 3 + ["armed"]


@_behaviour("brings the result of a blocking call after it was disarmed")
def _blocking_disarmed(bench: _Bench) -> None:
    go = threading.Event()
    try:
        bench.call(lambda: bench.wakeup.run_blocking(lambda: go.wait(patience.seconds), bench.done))
        bench.call(bench.wakeup.disarm)
    finally:
        go.set()
    assert bench.wait() == [(True, None)]


# --- the end ---


@_behaviour("raises RuntimeError in call_soon when its loop is closed")
def _closed(bench: _Bench) -> None:
    bench.close()
    for call in (bench.teller("control thread"), bench.teller("again")):
        try:
            bench.wakeup.call_soon(call)
        except RuntimeError:
            pass
        else:
            raise AssertionError("it did not raise")
    assert bench.told == []


@_behaviour("calls nothing that is armed once its loop is closed")
def _closed_armed(bench: _Bench) -> None:
    bench.arm(0.02, "armed")
    bench.close()
    told = bench.told
    time.sleep(0.03)
    assert bench.told == told, "it was called"


@_behaviour("outlives a loop that is closed during a blocking call")
def _closed_blocking(bench: _Bench) -> None:
    go, ended = threading.Event(), threading.Event()

    def wait() -> None:
        go.wait(patience.seconds)
        ended.set()

    bench.call(lambda: bench.wakeup.run_blocking(wait, bench.done))
    closing = Aside(bench.close)
    time.sleep(0.005)
    go.set()
    closing.result()
    assert ended.wait(patience.seconds), "the call did not come to its end"
    assert bench.threads <= {bench.thread}, "the result came in another thread"


@_behaviour("leaves no thread behind when its loop is closed")
def _no_threads(bench: _Bench) -> None:
    # Those that are there already are the loop's own, and those of the suite.
    before = set(threading.enumerate())
    for number in range(3):
        bench.call(lambda: bench.wakeup.run_blocking(_nothing, bench.done))
        bench.wait(number + 1)
    bench.close()

    def left() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in before]

    until(lambda: not left(), f"left are {left()}")

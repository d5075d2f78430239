"""The suite of wakeups itself: each way in which one is broken here is found, by the behaviour that it breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from time import monotonic
from typing import Any

import pytest

from schedcore.schedulers._thread_wakeup import ThreadWakeup
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing._suite import patience
from schedcore.testing.runtime import LoopRuntime
from schedcore.testing.wakeup_suite import WakeupBench, WakeupTraits, check_wakeup, wakeup_behaviours
from schedcore.wakeup import Done
from tests.conformance.found import found_wrong


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes is not waited for as long as on a machine that may be busy. Only for what is to be found wrong."""
    monkeypatch.setattr(patience, "seconds", 0.15)


class Twice(ThreadWakeup):
    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        def call() -> None:
            callback()
            callback()

        super().arm(delay_s, call)


class Early(ThreadWakeup):
    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        super().arm(delay_s / 2, callback)


class AtOnce(ThreadWakeup):
    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        if delay_s == 0:
            callback()
        else:
            super().arm(delay_s, callback)


class AllTimers(ThreadWakeup):
    """Arms beside what was armed before."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        heappush(self._timers, (monotonic() + delay_s, len(self._timers), callback))
        self._next()

    def _next(self) -> None:
        if self._timers:
            super().arm(max(0.0, self._timers[0][0] - monotonic()), self._go_off)

    def _go_off(self) -> None:
        callback = heappop(self._timers)[2]
        self._next()
        callback()


class Deaf(ThreadWakeup):
    """Does not notice while it waits that somebody wants something."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._calls.append(callback)
        if self._deadline_s is None:
            self._ring()


class NoDisarm(ThreadWakeup):
    def disarm(self) -> None:
        pass


class ForgetsInside(ThreadWakeup):
    """What is armed by what it calls is forgotten."""

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        def call() -> None:
            callback()
            self.disarm()

        super().arm(delay_s, call)


class Days(ThreadWakeup):
    """Counts milliseconds in 32 bits."""

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        super().arm((int(delay_s * 1e6) % (1 << 32)) / 1e6 if delay_s < 3e6 else 0.0, callback)


class Overflows(ThreadWakeup):
    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        if delay_s > 2**31 / 1000:
            raise OverflowError("the timer takes 32 bits of milliseconds")
        super().arm(delay_s, callback)


class Hasty(ThreadWakeup):
    """Calls in the thread that asks."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        callback()


class Backwards(ThreadWakeup):
    def call_soon(self, callback: Callable[[], None]) -> None:
        self._calls.appendleft(callback)
        self._ring()


class Loses(ThreadWakeup):
    """Has room for one callback."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        if len(self._calls) < 2:
            super().call_soon(callback)


class Fragile(ThreadWakeup):
    """Ends with the first callback that raises."""

    def _make(self, call: Callable[[], None]) -> None:
        try:
            call()
        except ValueError:
            self.stop()


class Starves(ThreadWakeup):
    """Serves everybody else before its timer."""

    def run(self) -> None:
        while not self._stopping:
            while self._calls:
                self._make(self._calls.popleft())
            deadline_s, callback = self._deadline_s, self._callback
            if deadline_s is not None and deadline_s <= monotonic() and callback is not None:
                self.disarm()
                self._make(callback)
            elif not self._calls:
                self._bell.acquire(timeout=0.001)


class Inline(ThreadWakeup):
    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        self.call_soon(lambda: self._call(call, done))


class InlineAtOnce(ThreadWakeup):
    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        try:
            done(call(), None)
        except Exception as error:  # noqa: BLE001
            done(None, error)


class DoneElsewhere(ThreadWakeup):
    def _call(self, call: Callable[[], Any], done: Done) -> None:
        try:
            done(call(), None)
        except Exception as error:  # noqa: BLE001
            done(None, error)


class NoErrors(ThreadWakeup):
    def _call(self, call: Callable[[], Any], done: Done) -> None:
        try:
            result = call()
        except (Exception, SystemExit):  # noqa: BLE001
            result = None
        self.call_soon(lambda: done(result, None))


class NoExits(ThreadWakeup):
    def _call(self, call: Callable[[], Any], done: Done) -> None:
        exits: list[SystemExit] = []

        def noted() -> Any:
            try:
                return call()
            except SystemExit as error:
                exits.append(error)
                raise

        super()._call(noted, lambda result, error: None if exits else done(result, error))


class OneAtATime(ThreadWakeup):
    _one = threading.Lock()

    def _call(self, call: Callable[[], Any], done: Done) -> None:
        with self._one:
            super()._call(call, done)


class ForgetsCalls(ThreadWakeup):
    """Disarming forgets the blocking calls, too."""

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        self._wanted = True

        def mine(result: Any, error: Exception | None) -> None:
            if self._wanted:
                done(result, error)

        super().run_blocking(call, mine)

    def disarm(self) -> None:
        self._wanted = False
        super().disarm()


class TakesAll(ThreadWakeup):
    """Takes callbacks when its loop has ended."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._calls.append(callback)
        self._ring()


class CallsAfterEnd(ThreadWakeup):
    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        super().arm(delay_s, callback)

        def late() -> None:
            if self._stopping:
                callback()

        timer = threading.Timer(delay_s, late)
        timer.daemon = True
        timer.start()


class LeavesThreads(ThreadWakeup):
    def close(self, timeout_s: float) -> bool:
        return True


class Coarse(ThreadWakeup):
    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        if 0 < delay_s < 1e-6:
            raise ValueError("less than a microsecond")
        super().arm(delay_s, callback)


class NotInside(ThreadWakeup):
    """Takes no blocking call from the one who gets the result of another."""

    _telling = False

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        def mine(result: Any, error: Exception | None) -> None:
            self._telling = True
            try:
                done(result, error)
            finally:
                self._telling = False

        if not self._telling:
            super().run_blocking(call, mine)


def wakeup_bench(wakeup_class: type[ThreadWakeup]) -> Callable[[], Any]:
    class Loop(LoopRuntime):
        def __init__(self, wakeup: ThreadWakeup) -> None:
            self.wakeup = wakeup
            self._thread = threading.Thread(target=wakeup.run, daemon=True)
            self._thread.start()

        def make(self, **options: Any) -> BaseScheduler:
            raise NotImplementedError

        def post(self, callback: Callable[[], None]) -> None:
            ThreadWakeup.call_soon(self.wakeup, callback)

        def when_done(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
            raise NotImplementedError

        def close(self) -> None:
            self.wakeup.stop()
            self._thread.join(10)
            self.wakeup.close(10)

    @contextmanager
    def bench() -> Iterator[WakeupBench]:
        loop = Loop(wakeup_class("broken"))
        try:
            yield loop
        finally:
            loop.close()
            if loop.wakeup._callers is not None:
                loop.wakeup._callers.close()
                loop.wakeup._callers.join(10)

    return bench


ONCE = "calls what was armed, once, in the framework's thread"
LONG = "waits for 60 days, and for 100 years, and meanwhile does what else comes"
CLOSED = "raises RuntimeError in call_soon when its loop is closed"
OFF = "makes a blocking call off the loop, and brings its result to the framework's thread"
BROKEN_WAKEUPS = [
    (Twice, ONCE),
    (Early, "does not call before its time, but for the framework's resolution"),
    (AtOnce, "calls after no delay at all, but not inside of arm"),
    (Coarse, "takes delays too short for any timer"),
    (AllTimers, "arms in the place of what was armed before, be that earlier or later"),
    (AllTimers, "arms in the place of what is due already"),
    (AllTimers, "is armed ten thousand times over, and calls the last"),
    (NoDisarm, "does not call what was disarmed"),
    (NoDisarm, "does not call what is disarmed in the very moment when it is due"),
    (NoDisarm, "forgets on disarm what was armed by what it called"),
    (ForgetsInside, "may be armed by what it calls, again and again"),
    (ForgetsInside, "leaves the loop its turn when it is armed without delay again and again"),
    (Days, LONG),
    (Overflows, LONG),
    (Deaf, LONG),
    (Deaf, "calls soon although it is armed for long"),
    (Deaf, "arms what call_soon asks for, although the loop sleeps"),
    (Hasty, "calls soon in the framework's thread, whoever asks"),
    (Hasty, "calls soon, but not inside of call_soon"),
    (Backwards, "calls soon in the order of asking"),
    (Loses, "loses nothing that eight threads ask for at a time, and keeps the order of each"),
    (Starves, "may be asked for more by what it calls soon, and still has a turn for its timer"),
    (Fragile, "goes on when what it calls raises"),
    (Fragile, "goes on when what is called soon raises"),
    (Fragile, "goes on when the one who gets a result raises"),
    (Inline, OFF),
    (DoneElsewhere, OFF),
    (Inline, "serves the loop while a blocking call takes its time"),
    (InlineAtOnce, "brings the result of a blocking call later, not inside of run_blocking"),
    (NoErrors, "brings what a blocking call raises"),
    (NoExits, "brings an error when a blocking call exits, and makes the next one"),
    (OneAtATime, "makes four blocking calls at a time"),
    (NotInside, "may be asked for the next blocking call by the result of the last"),
    (ForgetsCalls, "brings the result of a blocking call after it was disarmed"),
    (TakesAll, CLOSED),
    (CallsAfterEnd, "calls nothing that is armed once its loop is closed"),
    (LeavesThreads, "leaves no thread behind when its loop is closed"),
]


@pytest.mark.parametrize(("broken", "behaviour"), BROKEN_WAKEUPS)
@pytest.mark.usefixtures("_impatient")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_wakeup_is_found(broken: type[ThreadWakeup], behaviour: str) -> None:
    assert behaviour in found_wrong(lambda: check_wakeup(wakeup_bench(broken), only=behaviour))


def test_a_wakeup_is_not_held_to_what_it_lacks() -> None:
    traits = WakeupTraits(lacks={LONG: "it counts days"})
    assert dict(wakeup_behaviours(traits))[LONG] == "it counts days"
    assert check_wakeup(wakeup_bench(Days), traits, only=LONG) == []
    with pytest.raises(ValueError, match="did you mean"):
        wakeup_behaviours(WakeupTraits(lacks={LONG + "!": "no such thing"}))
    with pytest.raises(ValueError, match="no behaviour 'x'"):
        check_wakeup(wakeup_bench(ThreadWakeup), only="x")

"""The place of work of the wakeups' conformance suite: what was called back, in order, and by which thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from schedcore.testing._suite import Suite, patience
from schedcore.wakeup import Wakeup

__all__ = ["Bench", "WakeupBench", "WakeupTraits", "behaviour", "do_nothing", "raise_error", "suite"]

T = TypeVar("T")


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


class Bench:
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
            self.call(do_nothing)

    def pass_time(self, seconds: float = 0.03) -> None:
        """For what must not happen, there is no event to wait for."""
        time.sleep(seconds)
        self.go_round()


def do_nothing() -> None:
    """For who asks only for a turn of the loop."""


def raise_error() -> None:
    raise ValueError("this callback fails, as the suite wants it")


suite: Suite[Bench, WakeupTraits] = Suite("a wakeup", {})
behaviour = suite.behaviour

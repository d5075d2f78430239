"""A wakeup in virtual time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from schedcore.errors import ConfigurationError
from schedcore.testing.time import VirtualClock, VirtualTimer
from schedcore.wakeup import MAX_WAIT_S, Done

__all__ = ["VirtualWakeup"]

_MAX_WAIT_US = round(MAX_WAIT_S * 1e6)


class VirtualWakeup:
    """A ``schedcore.wakeup.Wakeup`` on a ``VirtualClock``: the thread that advances the clock is the framework's thread.

    ``blocking`` says what becomes of blocking calls: ``"inline"``, they are carried out at once and their results come back
    before time moves on; ``"queued"``, they wait in ``blocked`` until ``run_blocked`` carries out the first, like calls to a
    database that does not answer.

    A scheduler wakes at least every ``MAX_WAIT_S`` seconds to compare its clocks. On this wakeup it may wait longer, and
    is woken as if it had not: at the next multiple of ``MAX_WAIT_S`` after the clocks were parted. All wakes in between
    would have seen nothing.
    """

    def __init__(self, clock: VirtualClock, *, blocking: str = "inline") -> None:
        if blocking not in ("inline", "queued"):
            raise ConfigurationError(f"blocking must be 'inline' or 'queued', not {blocking!r}")
        self.clock = clock
        self.blocked: deque[tuple[Callable[[], Any], Done]] = deque()
        self.closed = False
        self._inline = blocking == "inline"
        self._timer: VirtualTimer | None = None
        self._armed_us = 0
        self._callback: Callable[[], None] | None = None
        clock.watch(self._parted)

    @property
    def armed_s(self) -> float | None:
        """In how many seconds it goes off; None when nothing is armed."""
        timer = self._timer
        return None if timer is None or not timer.pending else (timer.at_us - self.clock.monotonic_us()) / 1e6

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._forget()
        self._callback = callback
        self._armed_us = self.clock.monotonic_us()
        self._timer = self.clock.call_later(delay_s, self._go_off)

    def disarm(self) -> None:
        self._forget()

    def _forget(self) -> None:
        timer, self._timer = self._timer, None
        self._callback = None
        if timer is not None:
            timer.cancel()

    def call_soon(self, callback: Callable[[], None]) -> None:
        if self.closed:
            raise RuntimeError("the virtual loop is closed")
        self.clock.call_soon(callback)

    def run_blocking(self, call: Callable[[], Any], done: Done) -> None:
        self.blocked.append((call, done))
        if self._inline:
            self.clock.call_soon(self.run_blocked)

    def run_blocked(self) -> bool:
        """Carry out the first blocking call that waits, and have its result told; False when there is none."""
        if not self.blocked:
            return False
        call, done = self.blocked.popleft()
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 (whatever it raises is its result)
            failure = error
            self.clock.call_soon(lambda: done(None, failure))
        else:
            self.clock.call_soon(lambda: done(result, None))
        return True

    def close(self) -> None:
        """The loop ends: what is armed is forgotten, and ``call_soon`` raises from now on."""
        self._forget()
        self.closed = True
        self.clock.unwatch(self._parted)

    def _go_off(self) -> None:
        callback = self._callback
        self._forget()
        if callback is not None:
            callback()

    def _parted(self) -> None:
        """The wall was set: wake when a scheduler that never waits longer than ``MAX_WAIT_S`` would have."""
        timer = self._timer
        if timer is None or not timer.pending:
            return
        waited_us = self.clock.monotonic_us() - self._armed_us
        wakes_us = self._armed_us + (waited_us // _MAX_WAIT_US + 1) * _MAX_WAIT_US
        if wakes_us < timer.at_us:
            timer.cancel()
            self._timer = self.clock.call_at(wakes_us, self._go_off)

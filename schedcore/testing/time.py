"""Virtual time: a clock that stands still until it is told to go on.

A ``VirtualClock`` is both of a machine's clocks, the wall and the monotonic one, and a list of what is to happen when.
``advance`` moves time from one such instant to the next and lets each thing happen at exactly its own, so that a year
passes in as long as it takes to carry out what falls into it. Nothing sleeps, and no thread is started::

    clock = VirtualClock("2026-03-28T12:00:00Z")
    clock.call_later(90, lambda: print(clock.now()))    # prints 2026-03-28 12:01:30+00:00
    clock.advance(3600)

Several schedulers may live on one clock, like processes on one machine.

Rules. What falls due at the same instant happens in the order in which it was asked for. What is asked for with
``call_soon`` happens before time moves on. ``advance`` called from inside such a call only moves the clocks: that is what
code looks like that keeps the loop busy for so long. What a call raises comes out of ``advance``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from heapq import heappop, heappush

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import ConfigurationError

__all__ = ["VirtualClock", "VirtualTimer"]

# Calls at one instant after which a test that would never end fails.
MAX_CALLS = 1_000_000
#: Where a clock begins that was not told where.
DEFAULT_START = "2026-01-01T00:00:00Z"


class VirtualTimer:
    """Something that a ``VirtualClock`` will call. ``at_us`` counts on its monotonic clock."""

    __slots__ = ("_call", "_serial", "at_us")

    def __init__(self, at_us: int, serial: int, call: Callable[[], object]) -> None:
        self.at_us = at_us
        self._serial = serial
        self._call: Callable[[], object] | None = call

    @property
    def pending(self) -> bool:
        """Whether it is still to be called."""
        return self._call is not None

    def cancel(self) -> None:
        """It will not be called. Twice is harmless."""
        self._call = None

    def __lt__(self, other: VirtualTimer) -> bool:
        return (self.at_us, self._serial) < (other.at_us, other._serial)


class VirtualClock:
    """A ``schedcore.clock.Clock`` under control. ``start``: what the wall shows at first, an aware datetime or ISO 8601 text.

    The wall and the monotonic clock run together under ``advance``; ``step`` and ``suspend`` part them, as setting the
    clock and closing the lid do on a real machine.
    """

    def __init__(self, start: datetime | str = DEFAULT_START) -> None:
        self._wall_us = _instant(start)
        self._mono_us = 0
        self._timers: list[VirtualTimer] = []
        self._ready: deque[Callable[[], object]] = deque()
        self._serial = 0
        self._depth = 0
        self._calls = 0
        self._watchers: list[Callable[[], None]] = []

    # -- reading ------------------------------------------------------------------------------------------------------

    def wall_us(self) -> int:
        """What the wall clock shows, in microseconds since the epoch."""
        return self._wall_us

    def monotonic_s(self) -> float:
        """Seconds on the clock that is never set."""
        return self._mono_us / 1e6

    def monotonic_us(self) -> int:
        """The same in whole microseconds, exactly."""
        return self._mono_us

    def now(self) -> datetime:
        """What the wall clock shows, aware, in UTC."""
        return to_datetime(self._wall_us)

    @property
    def dispatching(self) -> bool:
        """Whether something that was due is being called just now."""
        return self._depth > 0

    # -- what is to happen -----------------------------------------------------------------------------------------------

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call before time moves on, after what is waiting already. From any thread."""
        self._ready.append(call)

    def call_later(self, delay_s: float, call: Callable[[], object]) -> VirtualTimer:
        """Call in ``delay_s`` seconds of the monotonic clock (0: when what is ready has been called)."""
        # What is asked for later does not happen now, however little later it is.
        return self.call_at(self._mono_us + max(1 if delay_s > 0 else 0, round(delay_s * 1e6)), call)

    def call_at(self, at_us: int, call: Callable[[], object]) -> VirtualTimer:
        """Call when the monotonic clock shows ``at_us``."""
        self._serial += 1
        timer = VirtualTimer(at_us, self._serial, call)
        heappush(self._timers, timer)
        return timer

    def next_timer_us(self) -> int | None:
        """When the next timer goes off, on the monotonic clock; None when there is none."""
        timers = self._timers
        while timers and not timers[0].pending:
            heappop(timers)
        return timers[0].at_us if timers else None

    # -- moving ------------------------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass, and all that falls due in it happen, what is due at the very end included."""
        span_us = _span(seconds)
        if span_us < 0:
            raise ConfigurationError(f"time only passes forward: advance({seconds!r}); step() sets the wall clock back")
        if self._depth:
            self._wall_us += span_us
            self._mono_us += span_us
        else:
            self.advance_to(self._mono_us + span_us)

    def advance_to(self, mono_us: int) -> None:
        """``advance`` until the monotonic clock shows ``mono_us``."""
        self.run_ready()
        while True:
            at_us = self.next_timer_us()
            if at_us is None or at_us > mono_us:
                break
            self.run_next()
        self._move(max(0, mono_us - self._mono_us))

    def run_next(self) -> bool:
        """Move to the next timer and call it, and what becomes ready by that; False when there is none."""
        self.run_ready()
        at_us = self.next_timer_us()
        if at_us is None:
            return False
        timer = heappop(self._timers)
        self._move(max(0, at_us - self._mono_us))
        call = timer._call
        timer.cancel()
        if call is not None:
            self._call(call)
        self.run_ready()
        return True

    def run_ready(self) -> None:
        """Call what waits for this instant; time stands still."""
        ready = self._ready
        while ready:
            self._call(ready.popleft())

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back (negative). The monotonic clock does not notice."""
        span_us = _span(seconds)
        if not self._depth:
            self.run_ready()
        self._wall_us += span_us
        for watcher in self._watchers:
            watcher()

    def suspend(self, seconds: float) -> None:
        """Sleep, as a laptop does: the wall goes on, the monotonic clock stands still, nothing is called."""
        if seconds < 0:
            raise ConfigurationError(f"a machine cannot sleep backwards: suspend({seconds!r})")
        self.step(seconds)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` whenever the two clocks have been parted: for what skips wakeups in which it would see nothing new."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """The opposite of ``watch``; one that is not known is passed over."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def _call(self, call: Callable[[], object]) -> None:
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise RuntimeError(f"{MAX_CALLS:,} calls and time stands still: something asks for itself again and again")
        self._depth += 1
        try:
            call()
        finally:
            self._depth -= 1

    def _move(self, span_us: int) -> None:
        if span_us:
            self._calls = 0
        self._wall_us += span_us
        self._mono_us += span_us

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.now().isoformat()} (monotonic {self._mono_us / 1e6:.6f} s)>"


def _instant(value: datetime | str) -> int:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ConfigurationError(f"start: {value!r} is not ISO 8601: {error}") from None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ConfigurationError(f"{value!r} names no instant; give an aware datetime, or text with an offset or 'Z'")
    return from_datetime(value.astimezone(UTC))


def _span(seconds: float) -> int:
    try:
        return round(seconds * 1_000_000)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(f"{seconds!r} is not a number of seconds") from None

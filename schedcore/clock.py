"""Time: the two clocks, and the timeline that a scheduler makes of them.

Instants inside schedcore are integers: microseconds since 1970-01-01T00:00:00Z (names end in ``_us``). Durations are
seconds as floats (``_s``) or integer microseconds (``_us``). ``datetime`` objects exist at the edges only.

Rules for a wall clock that does not just run (each has a test in ``tests/schedulers/test_clock_steps.py``):

* **Two timelines.** ``wall`` is the system's UTC clock, as it is. ``steady`` is the wall clock that never goes back: after the
  wall stepped back by *d* it runs *d* ahead, until the wall has caught up by stepping forward. Triggers that follow elapsed
  time (``interval``) are judged on the steady timeline, so their cadence goes on through a backward step and no fire time
  comes twice; triggers that follow the calendar are judged on the wall timeline.
* **Forward steps and suspends** cannot be told apart, and need not be: the time between was missed, and the misfire rule applies.
* **Backward steps of less than three hours** repeat no calendar fire time; those of three hours or more are corrections of a
  wrong clock, and the new time is used at once. The limit is Debian's (cron(8): "Time changes of more than 3 hours are
  considered to be corrections to the clock or timezone, and the new time is used immediately").
* Differences below ``STEP_US`` between two looks are drift (NTP slewing), not a step.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

__all__ = [
    "CORRECTION_US",
    "STEP_US",
    "Clock",
    "Now",
    "SystemClock",
    "Timeline",
    "from_datetime",
    "to_datetime",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Microseconds. Two clocks that disagree by less than this between two looks have drifted; by more, one was set.
STEP_US = 500_000
# Microseconds. A backward step from here on is a correction: its rule is in the module's docstring.
CORRECTION_US = 3 * 3600 * 1_000_000


class Clock(Protocol):
    """Where time comes from. Both methods may be called from any thread and raise nothing."""

    def wall_us(self) -> int:
        """Microseconds since the epoch, UTC, as the system's clock shows them: it may be set forward and back."""

    def monotonic_s(self) -> float:
        """Seconds on a clock that only runs forward; its zero means nothing."""


class SystemClock:
    """The clocks of the operating system, looked up at each call, so that tools that patch ``time`` (freezegun,
    time-machine) work.
    """

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()


class Now(NamedTuple):
    """One look at the clock: the same instant on both timelines (equal unless the wall was set back)."""

    wall_us: int
    steady_us: int


class Timeline:
    """Turns a ``Clock`` into ``Now`` values. ``look()`` belongs to the scheduler's own thread; ``now()`` may be
    called anywhere.
    """

    __slots__ = ("_is_system", "_wall_us", "ahead_us", "clock", "mono_s")

    def __init__(self, clock: Clock) -> None:
        #: The clock that it looks at.
        self.clock = clock
        #: How far the steady timeline is ahead of the wall.
        self.ahead_us = 0
        self._is_system = type(clock) is SystemClock
        self._wall_us = clock.wall_us()
        #: When it was looked at last, on the clock's monotonic scale.
        self.mono_s = clock.monotonic_s()

    @property
    def is_system(self) -> bool:
        """Whether that is the system's own clock, and it was not set back: then ``now`` is what anybody else would read."""
        return self._is_system and not self.ahead_us

    def now(self) -> Now:
        """The current instant, without looking for a step."""
        wall_us = self.clock.wall_us()
        ahead_us = self.ahead_us
        return tuple.__new__(Now, (wall_us, wall_us + ahead_us if ahead_us else wall_us))

    def look(self) -> tuple[Now, int]:
        """The current instant, and by how many microseconds the wall was stepped since the last look (0: it just ran)."""
        wall_us = self.clock.wall_us()
        mono_s = self.clock.monotonic_s()
        step_us = (wall_us - self._wall_us) - round((mono_s - self.mono_s) * 1e6)
        self._wall_us = wall_us
        self.mono_s = mono_s
        if -STEP_US < step_us < STEP_US:
            step_us = 0
        else:
            self.ahead_us = max(0, self.ahead_us - step_us)
        return tuple.__new__(Now, (wall_us, wall_us + self.ahead_us)), step_us


def from_datetime(value: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exactly. Raises ``ValueError`` for a naive one."""
    if value.tzinfo is None:
        raise ValueError(f"a naive datetime names no instant: {value!r}; give it a time zone")
    return (value - _EPOCH) // _MICROSECOND


def to_datetime(instant_us: int) -> datetime:
    """The aware UTC datetime of an instant. Raises ``OverflowError`` beyond the year 9999."""
    return _EPOCH + timedelta(microseconds=instant_us)

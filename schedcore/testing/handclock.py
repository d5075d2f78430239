"""A clock that is moved by hand, for schedulers that run on real loops and threads."""

from __future__ import annotations

import threading
from datetime import datetime

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import ConfigurationError

__all__ = ["HandClock"]


class HandClock:
    """A ``schedcore.clock.Clock`` that stands still between two calls of ``move``. All methods may be called from any thread.

    Time passes on both clocks at once, as on a machine that is too busy to look: ``move(60)`` is a minute in which nothing could
    be done. A scheduler looks at it at its next wake; ``scheduler.wakeup()`` after ``move`` makes that now. ::

        clock = HandClock()
        scheduler = BackgroundScheduler(clock=clock)
        scheduler.start()
        scheduler.add_job(work, "interval", minutes=10)
        clock.move(600)
        scheduler.wakeup()

    The scheduler's own waiting takes real time. For whole schedulers in virtual time see ``VirtualScheduler``.
    """

    def __init__(self, start: datetime | str = "2026-01-01T00:00:00Z") -> None:
        self._start_us = from_datetime(datetime.fromisoformat(start) if isinstance(start, str) else start)
        self._passed_us = 0
        self._lock = threading.Lock()
        # Which instant a thread saw last on the wall, for its next look at the other clock.
        self._seen = threading.local()

    def wall_us(self) -> int:
        """Microseconds since the epoch."""
        self._seen.passed_us = passed_us = self._passed_us
        return self._start_us + passed_us

    def monotonic_s(self) -> float:
        """Seconds since the start; of the same instant as the wall was, where a thread looks at one after the other."""
        # Else a move in between would look like a wall that was set back.
        passed_us: int | None = self._seen.__dict__.pop("passed_us", None)
        return (self._passed_us if passed_us is None else passed_us) / 1e6

    def now(self) -> datetime:
        """What the wall shows, aware, in UTC."""
        return to_datetime(self._start_us + self._passed_us)

    def move(self, seconds: float) -> None:
        """Let ``seconds`` pass at once."""
        if seconds < 0:
            raise ConfigurationError(f"time only passes forward: move({seconds!r})")
        with self._lock:
            self._passed_us += round(seconds * 1e6)

"""A year among greenlets in well under a second.

gevent has no clock that a program could put another in the place of. What comes nearest: the scheduler's clock stands still, and
when the hub has nothing else to do, the scheduler's wait is over, and so much time has passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from zoneinfo import ZoneInfo

import gevent
import gevent.event

from schedcore.adapters.gevent import GeventScheduler, GeventWakeup
from schedcore.adapters.gevent.places import hub_here
from schedcore.testing import HandClock
from schedcore.wakeup import Wakeup
from tests.same_everywhere.neighbour import slowness


class JumpingWakeup(GeventWakeup):
    """A wakeup whose waits take no time, but happen when nobody else has anything to do."""

    clock: HandClock

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.disarm()
        self._armed = callback
        self._timer = idle = self.hub.loop.idle()

        def jump() -> None:
            self.clock.move(delay_s)
            self._go_off()

        idle.start(jump)


class JumpingScheduler(GeventScheduler):
    # Longer than any calendar: no step of this clock goes unnoticed.
    _max_wait_s = 4e11
    _min_gap_s = 0.0

    def _create_wakeup(self) -> Wakeup:
        self._hub = hub_here("the scheduler")
        wakeup = JumpingWakeup(self._hub)
        assert isinstance(self.clock, HandClock)
        wakeup.clock = self.clock
        return wakeup


def test_one_year_of_a_daily_job_over_both_changes_of_the_clocks() -> None:
    zone = ZoneInfo("Europe/Berlin")
    clock = HandClock("2025-12-31T23:30:00+00:00")
    scheduler = JumpingScheduler(clock=clock, timezone=zone)
    times = []
    over = gevent.event.Event()

    def job() -> None:
        times.append(clock.now())
        if len(times) == 365:
            scheduler.pause()
            over.set()

    scheduler.add_job(job, "cron", hour=2, minute=30)
    begun_s = time.process_time()
    with gevent.Timeout(30):
        scheduler.start()
        over.wait()
    took_s = time.process_time() - begun_s
    scheduler.shutdown()
    local = [at.astimezone(zone) for at in times]
    days = [at.date() for at in local]
    assert days == [days[0] + timedelta(days=number) for number in range(365)]
    # In the night in which 2:30 does not exist it is 3:00.
    assert {(at.hour, at.minute) for at in local} <= {(2, 30), (3, 0), (3, 30)}
    assert len({at.utcoffset() for at in local}) == 2
    assert took_s < 1.0 * slowness(), f"a year took {took_s:.2f} s"

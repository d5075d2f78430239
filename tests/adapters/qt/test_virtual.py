"""A year of Qt in under a second: the wakeup's timer counts on a clock that is moved by hand, as the events are."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from qtpy.QtCore import QCoreApplication

from schedcore.adapters.qt import QtMainThreadExecutor, QtScheduler, QtWakeup
from schedcore.run import current_run
from schedcore.testing.time import VirtualClock, VirtualTimer
from schedcore.wakeup import Wakeup
from tests.same_everywhere.neighbour import slowness


class VirtualWakeup(QtWakeup):
    """All of it is Qt's but the timer."""

    def __init__(self, app: QCoreApplication, clock: VirtualClock, quits: Callable[[], None] | None = None) -> None:
        super().__init__(app, quits)
        self._clock = clock
        self._timer: VirtualTimer | None = None

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.disarm()
        self._timer = self._clock.call_later(delay_s, callback)

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class VirtualQtScheduler(QtScheduler):
    _max_wait_s = 86400.0
    _min_gap_s = 0.0
    _tells_in_thread = False

    def _create_wakeup(self) -> Wakeup:
        super()._create_wakeup()
        assert self._own_wakeup is not None
        self._own_wakeup.close()
        app, clock = QCoreApplication.instance(), self.clock
        assert app is not None
        assert isinstance(clock, VirtualClock)
        self._own_wakeup = VirtualWakeup(app, clock, self._application_quits)
        return self._own_wakeup


def test_a_year_of_a_daily_job_over_both_changes_of_the_clocks(qapp: QCoreApplication) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    clock = VirtualClock("2026-01-01T00:00:00+01:00")
    scheduler = VirtualQtScheduler(clock=clock, executors={"default": QtMainThreadExecutor()})
    fired: list[datetime] = []

    def job() -> None:
        run = current_run.get()
        assert run is not None
        fired.append(run.scheduled_at)

    scheduler.start()
    begun_s = time.process_time()
    scheduler.add_job(job, "cron", hour=2, minute=30, timezone=berlin)
    end = datetime(2027, 1, 1, tzinfo=berlin)
    while clock.now() < end:
        qapp.processEvents()
        if not clock.run_next():
            break
    took_s = time.process_time() - begun_s
    assert len(fired) == 365
    # At 02:30 each day, but for the day that has none.
    assert [at.isoformat() for at in fired if (at.hour, at.minute) != (2, 30)] == ["2026-03-29T03:00:00+02:00"]
    assert took_s < 1.0 * slowness()
    assert scheduler.shutdown() is True

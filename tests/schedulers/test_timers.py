"""Wakeups that go off a little early or late, as the timers of systems do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import ClassVar

import pytest

from schedcore import BackgroundScheduler
from schedcore.jobstores.base import StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers._thread_wakeup import ThreadWakeup
from schedcore.testing import VirtualScheduler, VirtualWakeup
from schedcore.wakeup import MAX_WAIT_S, MIN_GAP_S, Wakeup, timer_slack_s

T0 = datetime(2026, 1, 1, tzinfo=UTC)

# Seconds: as much as the timer slack of Linux.
_EARLY_S = 0.00005


class EarlyWakeup(VirtualWakeup):
    """Goes off too soon, but for waits that are shorter than what it is early by."""

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        super().arm(delay_s - _EARLY_S if delay_s > _EARLY_S else delay_s, callback)


class RoundingWakeup(VirtualWakeup):
    """Rounds to the nearest millisecond, as uvloop's timers do: what is to wait half of one goes off at once."""

    #: How often it went off at once, since time passed last.
    at_once = 0

    def arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        rounded_s = round(delay_s, 3)
        if rounded_s > 0:
            self.at_once = 0
        else:
            self.at_once += 1
            if self.at_once > 1000:
                rounded_s = delay_s  # virtual time would stand still here for ever
        super().arm(rounded_s, callback)


class GappedScheduler(VirtualScheduler):
    """Counts its ticks, between which there is to be a millisecond as with real time."""

    _min_gap_s: ClassVar[float] = MIN_GAP_S
    ticks = 0

    def _tick(self) -> None:
        self.ticks += 1
        super()._tick()


class EarlyScheduler(GappedScheduler):
    def _create_wakeup(self) -> Wakeup:
        self.virtual_wakeup = EarlyWakeup(self._virtual_clock)
        return self.virtual_wakeup


class RoundingScheduler(GappedScheduler):
    def _create_wakeup(self) -> Wakeup:
        self.virtual_wakeup = RoundingWakeup(self._virtual_clock)
        return self.virtual_wakeup


class BlockingStore(MemoryJobStore):
    traits = StoreTraits(blocking=True, durable=False)


def test_a_wakeup_that_goes_off_early_makes_no_run_late() -> None:
    """A tick that found nothing to do is no step: what is due 50 µs later does not wait for the millisecond between two steps."""
    scheduler = EarlyScheduler(start=T0)
    ran: list[datetime] = []
    scheduler.add_job(lambda: ran.append(scheduler.clock.now()), "interval", seconds=0.25)
    scheduler.start()
    scheduler.advance(10)
    scheduler.shutdown()
    assert ran == [T0 + timedelta(seconds=0.25 * k) for k in range(1, 41)]


def test_a_timer_that_goes_off_early_again_and_again_does_not_spin() -> None:
    scheduler = RoundingScheduler(start=T0)
    ran: list[datetime] = []
    scheduler.add_job(lambda: ran.append(scheduler.clock.now()), "interval", seconds=0.2503, id="a")
    scheduler.start()
    scheduler.advance(1)
    ticks = scheduler.ticks
    scheduler.advance(10)
    scheduler.shutdown()
    fires = [T0 + timedelta(seconds=0.2503 * k) for k in range(1, 44)]
    assert len(ran) == len(fires)
    assert all(timedelta(0) <= at - due <= timedelta(seconds=MIN_GAP_S) for at, due in zip(ran, fires, strict=True))
    # For each run: one for it, one that is told of its end, and two that come too soon.
    assert scheduler.ticks - ticks <= 4 * 40


def test_a_busy_job_store_is_not_looked_at_more_than_once_a_millisecond() -> None:
    scheduler = GappedScheduler(start=T0, jobstores={"default": BlockingStore()}, blocking="queued")
    scheduler.start()
    wakeup = scheduler.virtual_wakeup
    assert wakeup is not None
    scheduler.advance(1)
    assert wakeup.blocked  # its first step is under way, and stays so
    ticks = scheduler.ticks
    for _ in range(1000):
        scheduler.wakeup()
        scheduler.advance(0.00001)
    assert 1 <= scheduler.ticks - ticks <= 11
    scheduler.shutdown()


def test_jobs_that_are_added_in_the_middle_of_a_look_for_due_ones_need_none_each() -> None:
    """Each such look is two queries to a server, which who adds has to wait for."""

    class Scheduler(GappedScheduler):
        _max_wait_s: ClassVar[float] = MAX_WAIT_S

    scheduler = Scheduler(start=T0, jobstores={"default": BlockingStore()}, blocking="queued")
    ran: list[str] = []
    scheduler.start()
    wakeup = scheduler.virtual_wakeup
    assert wakeup is not None

    def make_steps(seconds: float) -> int:
        """How many steps there are in a time."""
        steps = 0
        for _ in range(100):
            scheduler.advance(seconds / 100)
            steps += wakeup.run_blocked()
        return steps

    make_steps(1)
    scheduler.wakeup()
    scheduler.advance(0.01)
    for name, seconds in (("soon", 45), ("late", 100)):
        assert wakeup.blocked, "a step is under way"
        scheduler.add_job(ran.append, "interval", [name], seconds=seconds, max_instances=9)
    assert make_steps(1) == 1, "another one followed"
    make_steps(43)
    assert ran == []
    make_steps(2)
    assert ran == ["soon"]
    make_steps(55)
    assert ran == ["soon", "soon", "late"]
    scheduler.shutdown()


def _set_slack(file: Path, slack_ns: int) -> float:
    file.write_text(str(slack_ns))
    return timer_slack_s()


def test_the_slack_of_a_thread_is_what_the_system_says() -> None:
    seen: list[float] = []

    def look() -> None:
        file = Path(f"/proc/{threading.get_native_id()}/timerslack_ns")
        seen.extend((_set_slack(file, 20_000), _set_slack(file, 200_000), _set_slack(file, 40_000_000)))

    if not Path("/proc/self/timerslack_ns").exists():
        assert timer_slack_s() == 0
        pytest.skip("this system tells no timer slack: waits are taken as they are")
    # A thread of its own: the slack that is set is that of the thread.
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    # What is longer than any timer's resolution was set to save power.
    assert seen == [pytest.approx(0.00002), pytest.approx(0.0002), 0.0]


def test_a_thread_is_woken_early_only_after_long_waits_and_only_by_a_little() -> None:
    for delay_s, early_s in ((0.01, 0.0), (0.05, 0.001)):
        wakeup = ThreadWakeup("test")
        began_s = monotonic()
        after_s: list[float] = []

        def note(wakeup: ThreadWakeup = wakeup, began_s: float = began_s, after_s: list[float] = after_s) -> None:
            after_s.append(monotonic() - began_s)
            wakeup.stop()

        wakeup.arm(delay_s, note)
        wakeup.run()
        assert after_s[0] >= delay_s - early_s


def test_no_job_begins_before_its_time() -> None:
    early: list[timedelta] = []
    over = threading.Event()
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.start()
    first = datetime.now(UTC) + timedelta(seconds=0.1)

    def job(due: datetime, last: bool) -> None:
        now = datetime.now(UTC)
        if now < due:
            early.append(due - now)
        if last:
            over.set()

    for i in range(8):
        due = first + timedelta(seconds=i / 30)
        scheduler.add_job(job, "date", args=[due, i == 7], run_date=due)
    assert over.wait(30)
    scheduler.shutdown()
    assert early == []


def test_jobs_that_were_added_meanwhile_make_no_run_late() -> None:
    """What is looked at in the tick that comes early is no step either."""
    scheduler = EarlyScheduler(start=T0)
    ran: list[datetime] = []
    scheduler.add_job(lambda: ran.append(scheduler.clock.now()), "interval", seconds=10)
    scheduler.start()
    for i in range(5):
        scheduler.advance(5)
        scheduler.add_job(print, "date", run_date=T0 + timedelta(days=1 + i))
        scheduler.advance(5)
    scheduler.shutdown()
    assert ran == [T0 + timedelta(seconds=10 * k) for k in range(1, 6)]

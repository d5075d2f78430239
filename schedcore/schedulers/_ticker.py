"""The scheduler's thread: it looks at the clocks, has each job store's pump make a step, and arms the wakeup for the next one.

Everybody else, in any thread, only leaves word and rings (``ask``): there is something new to look at.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from schedcore.clock import CORRECTION_US, Now
from schedcore.jobstores.base import Due
from schedcore.triggers.base import EngineTrigger
from schedcore.wakeup import Wakeup

if TYPE_CHECKING:
    from schedcore.schedulers._pump import Pump
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["Ticker"]

# Microseconds. Stands for "nothing is armed": later than every instant that datetime can express.
_NEVER_US = 1 << 62
# Seconds until it is tried again to arm a wakeup that refuses again and again.
ARM_RETRY_S = 1.0


class Ticker:
    """See the module's docstring. ``touch``, ``ask`` and ``call_soon``: from any thread; the rest in the scheduler's."""

    def __init__(self, scheduler: BaseScheduler) -> None:
        self._scheduler = scheduler
        #: Whether somebody rang since the last tick.
        self.asked = False
        # When the next tick is armed for, on the wall clock and on the monotonic one.
        self._armed_us = _NEVER_US
        self._armed_s = 0.0
        self._arm_failures = 0
        self._last_step_s = 0.0
        self._last_early_s = 0.0
        # What the log has said last of what is due next: the job store and its instants.
        self._told: tuple[str | None, Due | None] | None = None

    def reset(self) -> None:
        """Before a start: nothing is armed."""
        self.asked = False
        self._armed_us = _NEVER_US
        self._told = None

    def tick(self) -> None:
        """Look at things, and arm the wakeup for the next look."""
        scheduler = self._scheduler
        if not scheduler.running and scheduler._closed.is_set():
            return
        worked = self.asked
        self.asked = False
        now, step_us = scheduler._timeline.look()
        if step_us:
            self._clock_stepped(step_us)
        mono_s = scheduler._timeline.mono_s
        for pump in scheduler._pumps.values():
            try:
                worked = pump.tick(now, mono_s) or worked
            except Exception as error:
                scheduler._reports.logger.exception("job store %r: a step failed", pump.alias)
                pump.failed(error)
                worked = True
        mono_s = scheduler._timeline.clock.monotonic_s()
        # A timer that went off a little early, with nothing to do yet, holds nothing up; but one that does so again and again
        # (uvloop's have whole milliseconds, rounded to the nearest) must not spin.
        if worked or mono_s - self._last_early_s < scheduler._min_gap_s:
            self._last_step_s = mono_s
        else:
            self._last_early_s = mono_s
        self._arm_next(mono_s)

    def rearm(self) -> None:
        """Arm the wakeup for the next time at which there is something to do."""
        self._arm_next(self._scheduler._timeline.clock.monotonic_s())

    def _arm_next(self, mono_s: float) -> None:
        scheduler = self._scheduler
        wakeup = scheduler._wakeup
        if wakeup is None:
            return
        min_gap_s = scheduler._min_gap_s
        now = scheduler._timeline.now()
        delay_s = scheduler._max_wait_s
        more = False
        for pump in scheduler._pumps.values():
            its_s = pump.delay_s(now, mono_s)
            if its_s is not None and its_s < delay_s:
                delay_s = its_s
            more = more or pump.has_more
        if self.asked:
            # Somebody waits for a look at things, and this may take the place of the timer that was to give it (``_soon``).
            delay_s = min(delay_s, min_gap_s)
        if more:
            delay_s = 0.0
        elif delay_s < min_gap_s:
            # What falls due within a millisecond of the last step is dispatched together.
            delay_s = max(delay_s, min(min_gap_s, self._last_step_s + min_gap_s - mono_s))
        self._armed_us = now.wall_us + int(delay_s * 1e6)
        self._armed_s = mono_s + delay_s
        self._arm(wakeup, delay_s)
        if scheduler._reports.logger.isEnabledFor(logging.DEBUG):
            self._tell_what_is_next(now, mono_s)

    def _tell_what_is_next(self, now: Now, mono_s: float) -> None:
        """Say how long nothing is due, whenever that is something else than the last time."""
        waits: list[tuple[float, str, Due]] = []
        for pump in self._scheduler._pumps.values():
            its_s = pump.delay_s(now, mono_s)
            if pump.busy or (its_s is not None and its_s <= self._scheduler._min_gap_s):
                return
            if its_s is not None:
                waits.append((its_s, pump.alias, pump.due))
        delay_s, alias, due = min(waits, default=(None, None, None))
        if (alias, due) != self._told:
            self._told = (alias, due)
            self._scheduler._reports.waits(delay_s, alias)

    def _arm(self, wakeup: Wakeup, delay_s: float) -> None:
        try:
            wakeup.arm(delay_s, self._scheduler._tick)
        except Exception as error:  # noqa: BLE001  # a framework's side may be anybody's code
            self._armed_us = _NEVER_US
            self._armed_s = float("inf")
            self._scheduler._reports.wakeup_failed("arm", error)
            self._arm_failures += 1
            if self._arm_failures == 1 and self.call_soon(self.rearm):
                return
            # Again and again: a thread of its own asks, so that neither the schedule stops nor the loop spins.
            timer = threading.Timer(ARM_RETRY_S, self.call_soon, (self.rearm,))
            timer.daemon = True
            timer.start()
        else:
            self._arm_failures = 0

    def _clock_stepped(self, step_us: int) -> None:
        self._scheduler._reports.clock_stepped(step_us)
        if step_us <= -CORRECTION_US:
            for pump in self._scheduler._pumps.values():
                pump.correct()

    def touch(self, pump: Pump, due_us: int, trigger: EngineTrigger) -> None:
        """Something in this store is due at ``due_us`` now: wake up in time for it."""
        scheduler = self._scheduler
        if trigger.elapsed:
            due_us -= scheduler._timeline.ahead_us
        # A look costs a server's store two queries. Jobs that are added in the middle of one, again and again, need none each.
        if pump.store.traits.blocking and due_us - scheduler.clock.wall_us() > scheduler._max_wait_s * 1e6:
            pump.stale = True
            return
        pump.touched = True
        if due_us < self._armed_us and not self.asked and scheduler._wakeup is not None:
            scheduler._ask()

    def ask(self) -> None:
        """Have the scheduler's thread look at things soon."""
        if self.asked:
            return
        self.asked = True
        if not self.call_soon(self._soon):
            self.asked = False

    def _soon(self) -> None:
        scheduler = self._scheduler
        wakeup = scheduler._wakeup
        if wakeup is None:
            return
        min_gap_s = scheduler._min_gap_s
        mono_s = scheduler._timeline.clock.monotonic_s()
        wait_s = self._last_step_s + min_gap_s - mono_s
        if wait_s <= 0 or wait_s > min_gap_s:
            scheduler._tick()
        elif mono_s + wait_s < self._armed_s:
            self._armed_us = 0
            self._armed_s = mono_s + wait_s
            self._arm(wakeup, wait_s)

    def call_soon(self, callback: Callable[[], None]) -> bool:
        """Call in the scheduler's thread; False when that is gone."""
        scheduler = self._scheduler
        wakeup = scheduler._wakeup
        if wakeup is None:
            return False
        for last in (False, True):
            try:
                wakeup.call_soon(callback)
            except RuntimeError as error:
                scheduler._reports.logger.debug("the scheduler's loop is gone: %s", error)
                return False
            except Exception as error:  # noqa: BLE001  # a framework's side may be anybody's code
                scheduler._reports.wakeup_failed("call_soon", error)
                if last:
                    return False
            else:
                return True
        return False

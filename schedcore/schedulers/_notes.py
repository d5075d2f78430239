"""What a durable job store remembers of its last use: when that was, and with which zone data.

When it is opened this is compared with today, before anything in it is claimed: what does not hold any more is computed afresh
(``_rearrange``).
"""

from __future__ import annotations

from typing import Literal

from schedcore.clock import CORRECTION_US, STEP_US, Now
from schedcore.jobstores.base import JobStore
from schedcore.schedulers._rearrange import Complain, Draw, rearrange
from schedcore.triggers._zone_data import release

__all__ = ["Notes"]

# Microseconds. How often the time is noted in a durable store, at the least and while it is used.
_EVERY_US = 60_000_000
_ZONES = "zone data"
_TIME = "time"


class Notes:
    """Those of one job store; one that is not durable has none. Wherever the store may be called, once it is open."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._compared = False
        self._zones_noted = False
        self._noted_us: int | None = None

    def compare(self, now: Now, draw: Draw, complain: Complain) -> bool:
        """Compare with today what was noted when the store was last open, once. Whether this was the time to do it."""
        store = self._store
        if self._compared or not store.traits.durable:
            return False
        noted = self._noted()
        back_us = 0 if noted is None else noted.wall_us - now.wall_us
        steady_back_us = 0 if noted is None else noted.steady_us - now.steady_us
        before, today = store.get_note(_ZONES), release()
        zones: Literal["all", "told"] | None = None
        if today is not None and before != today:
            zones = "told" if before is None else "all"
        elapsed, calendar = steady_back_us >= STEP_US, back_us >= CORRECTION_US
        if elapsed or calendar or zones:
            rearrange(store, now, draw, complain, calendar=calendar, elapsed=elapsed, zones=zones)
        self._compared = True
        return True

    def before_adding(self) -> None:
        """Jobs are about to be added. A store that has none yet notes the zone data first: those need no look because of them."""
        store = self._store
        if not store.traits.durable or self._compared or self._zones_noted:
            return
        today = release()
        if today is not None and store.get_note(_ZONES) is None and not store.list_entries(None, 1):
            store.put_note(_ZONES, today)
        self._zones_noted = True

    def keep(self, now: Now) -> None:
        """Note the time, now and then."""
        if self._compared and (self._noted_us is None or now.wall_us - self._noted_us >= _EVERY_US):
            self._note(now)
            self._noted_us = now.wall_us

    def keep_last(self, now: Now) -> None:
        """Note the time at which the store is closed."""
        if self._compared and (self._noted_us is None or abs(now.wall_us - self._noted_us) >= STEP_US):
            self._note(now)

    def _note(self, now: Now) -> None:
        """The time, the wall's and that of the steady timeline where it is ahead, and the zone data."""
        store = self._store
        store.put_note(_TIME, str(now.wall_us) if now.steady_us == now.wall_us else f"{now.wall_us} {now.steady_us}")
        today = release()
        if today is not None and store.get_note(_ZONES) != today:
            store.put_note(_ZONES, today)

    def _noted(self) -> Now | None:
        parts = (self._store.get_note(_TIME) or "").split()
        if not parts or not all(part.isdecimal() for part in parts):
            return None
        return Now(int(parts[0]), int(parts[-1]))

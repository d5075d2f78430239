"""Looks again at the next fire times of stored jobs when what they were computed with does not hold any more.

There are three occasions, each rare enough for one look at every job:

* the clock was *corrected* while the scheduler ran (set back by three hours or more; see ``schedcore.clock``): calendar jobs go
  on from the new time;
* the clock went *back* while the scheduler was down, or before that and has not caught up, which its store tells from the last
  time it was noted (``_notes``): interval jobs go on from the new time, because the timeline on which they were ahead of it did
  not outlive the process; calendar jobs do if it was a correction while the scheduler was down;
* the *zone data* are of another release than when the store was last open: calendar jobs whose next fire time is another now
  get that. What is overdue stays due, and what follows no zone data (in UTC; a date whose instant is the same) stays where it
  is, also where somebody put it. A store that notes nothing of them yet, because only paused schedulers have added to it, has
  them in its triggers.

A fire time that has a run on record is not run again by any of them: the store's records say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from schedcore.clock import Now
from schedcore.engine import dispatch_us
from schedcore.errors import UsageError, contained
from schedcore.job import JobEntry, JobState
from schedcore.jobstores.base import JobStore

__all__ = ["Complain", "Draw", "rearrange"]

_PAGE = 1000
# Attempts at a job that others get in the way of. Each of them means that somebody else succeeded.
_TRIES = 100

#: Told of a job whose trigger raised, and with what.
Complain = Callable[[JobEntry, Exception], None]
Draw = Callable[[], float]


def rearrange(
    store: JobStore,
    now: Now,
    draw: Draw,
    complain: Complain,
    *,
    calendar: bool = False,
    elapsed: bool = False,
    zones: Literal["all", "told"] | None = None,
) -> None:
    """Compute next fire times afresh: earlier ones of ``calendar`` or ``elapsed`` jobs; any of calendar jobs for ``zones``,
    of all or of those whose trigger tells that it was stored with other zone data. Raises what the store raises when it fails; to
    do it all again is harmless.
    """

    def move(entry: JobEntry) -> JobEntry | None:
        return _moved(entry, now, draw, calendar=calendar, elapsed=elapsed, zones=zones)

    last: JobEntry | None = None
    while True:
        page = store.list_entries(last, _PAGE)
        for entry in page:
            _put(store, entry, move, complain)
        if len(page) < _PAGE:
            return
        last = page[-1]


def _put(store: JobStore, entry: JobEntry, move: Callable[[JobEntry], JobEntry | None], complain: Complain) -> None:
    """Put a job where it is to be now. Somebody may change it meanwhile, or remove it."""
    for _ in range(_TRIES):
        try:
            moved = move(entry)
        except BaseException as error:  # noqa: BLE001  # a trigger is anybody's code
            complain(entry, contained(error))
            return
        if moved is None:
            return
        try:
            # A store that fails is another matter: whoever asked has to ask again.
            if store.replace_entry(entry, moved):
                return
        except UsageError:
            return  # it was removed
        there = store.get_entry(entry.job.id)
        if there is None:
            return
        entry = there


def _moved(
    entry: JobEntry,
    now: Now,
    draw: Draw,
    *,
    calendar: bool,
    elapsed: bool,
    zones: Literal["all", "told"] | None,
) -> JobEntry | None:
    """A job at the fire time that it has now; None: where it stands it stays."""
    trigger = entry.job.trigger
    if entry.state is not JobState.ACTIVE or entry.fire_us is None:
        return None
    other_zones = trigger.follows_zone_data if zones == "all" else zones == "told" and trigger.zone_data_changed
    if not (elapsed if trigger.elapsed else (calendar and not trigger.single) or other_zones):
        return None
    now_us = now.steady_us if trigger.elapsed else now.wall_us
    fire_us = trigger.first_us(now_us)
    if trigger.elapsed:
        # A grid that begins where the clock was wrong begins again now, if nobody named that start.
        again = trigger.anchored(now_us)
        again_us = again.first_us(now_us)
        if again_us is not None and (fire_us is None or again_us < fire_us):
            trigger, fire_us = again, again_us
    if fire_us is None or fire_us == entry.fire_us:
        return None
    later = other_zones and not trigger.elapsed and entry.fire_us > now.wall_us
    if fire_us > entry.fire_us and not later:
        return None
    due_us = dispatch_us(trigger, fire_us, draw, entry.job.id)
    job = entry.job if trigger is entry.job.trigger else entry.job._replace(trigger=trigger)
    return entry._replace(job=job, fire_us=fire_us, due_us=due_us)

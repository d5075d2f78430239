"""What is left out of a job's schedule before the fire time at which it is placed: by calendars, and by a pause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from schedcore.engine import omitted
from schedcore.job import JobEntry, JobRecord, JobState
from schedcore.run import RunRecord, Skip, SkipReason, skip_record
from schedcore.triggers.base import Backlog
from schedcore.triggers.foreign import PATIENCE, OutOfPatienceError

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["LeftOut"]


class _Untold(NamedTuple):
    """What is left out before the first fire time of a job, until listeners are told."""

    job: JobRecord
    fire_us: int
    skips: tuple[Skip, ...]

    def is_about(self, entry: JobEntry) -> bool:
        """Whether this is about a job as it stands there."""
        return entry.fire_us == self.fire_us and entry.job.trigger == self.job.trigger


class LeftOut:
    """From any thread."""

    def __init__(self, scheduler: BaseScheduler) -> None:
        self._scheduler = scheduler
        #: By job id: what calendars leave out before the first fire time of jobs that were placed just now. It is put on record
        #: with them, in one step, so that nothing is lost when the process is killed.
        self.untold: dict[str, _Untold] = {}
        #: By a number of its own: what has come on record in a store, until the next cycle of that tells it.
        self.on_record: dict[int, tuple[str, _Untold]] = {}

    def find(self, job: JobRecord, at_us: int, fire_us: int) -> None:
        """A job is placed at a fire time, looked for from an instant on."""
        skips = omitted(job.trigger, at_us - 1, fire_us)
        if skips:
            self.untold[job.id] = _Untold(job, fire_us, skips)

    def of(self, entries: Sequence[JobEntry]) -> tuple[list[_Untold], list[RunRecord]]:
        """What is left out before the first fire times of jobs that are about to be stored, and the records of it."""
        told = [
            untold
            for entry in entries
            if (untold := self.untold.get(entry.job.id)) is not None and untold.is_about(entry)
        ]
        now_us = self._scheduler.clock.wall_us() if told else 0
        return told, [skip_record(untold.job.id, skip, now_us) for untold in told for skip in untold.skips]

    def take_back(self, job_id: str) -> _Untold | None:
        """What was found while a job was placed, if it is not on record."""
        return self.untold.pop(job_id, None)

    def is_on_record(self, alias: str, told: list[_Untold]) -> None:
        """It has come into a store with its jobs."""
        for untold in told:
            self.on_record[id(untold)] = alias, untold
            self.untold.pop(untold.job.id, None)
        if told:
            self._scheduler._ask()

    def forget(self, alias: str, job_id: str) -> None:
        """The job is removed from its store, or does not wait for it any more."""
        self.untold.pop(job_id, None)
        for number, (its, untold) in list(self.on_record.items()):
            if (its, untold.job.id) == (alias, job_id):
                self.on_record.pop(number, None)

    def tell(self, alias: str) -> None:
        """Tell listeners what has come on record in a store."""
        for number, (its, untold) in list(self.on_record.items()):
            if its == alias and self.on_record.pop(number, None) is not None:
                for skip in untold.skips:
                    self._scheduler._reports.skipped(alias, untold.job, skip)

    def by_change(self, old: JobEntry, new: JobEntry) -> tuple[Skip, ...]:
        """What is left out where a job goes on after a change: what it missed while it was paused, what its calendars omit."""
        skips = self._missed_while_paused(old, new)
        return skips + self._omitted(old, new, skips) if new.job.trigger.omits else skips

    def _missed_while_paused(self, entry: JobEntry, new: JobEntry) -> tuple[Skip, ...]:
        """The fire times that passed while a job was paused; it keeps the one at which it was. ``new``: as it goes on."""
        if entry.state is not JobState.PAUSED or entry.fire_us is None:
            return ()
        trigger = entry.job.trigger
        now = self._scheduler._timeline.now()
        upto_us = now.steady_us if trigger.elapsed else now.wall_us
        if new.fire_us is not None:
            # Resumed at a fire time, it goes on with that one.
            upto_us = min(upto_us, new.fire_us - 1)
        if entry.fire_us > upto_us:
            return ()
        try:
            with PATIENCE.walk():
                missed = trigger.backlog(entry.fire_us, upto_us)
        except OutOfPatienceError:
            missed = Backlog(0, None, None)
        last_us = entry.fire_us if missed.last_us is None else missed.last_us
        return (Skip(SkipReason.PAUSED, entry.fire_us, last_us, 1 + missed.times),)

    def _omitted(self, old: JobEntry, new: JobEntry, skips: tuple[Skip, ...]) -> tuple[Skip, ...]:
        """What calendars leave out before the next fire time of a job that was changed, and that was not told before."""
        untold = self.take_back(new.job.id)
        if old.state is JobState.PAUSED and old.fire_us is not None and new.job.trigger is old.job.trigger:
            # It goes on with the schedule that it had, and that was told of up to where it was.
            return omitted(new.job.trigger, old.fire_us, new.fire_us, skips)
        return untold.skips if untold is not None and untold.is_about(new) else ()

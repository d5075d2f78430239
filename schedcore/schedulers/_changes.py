"""What users change in a job that was added, and where the change is made.

A change is a function from the job's entry to its new one; what can be said of it without looking at the job is checked before.
Where the caller may neither wait for a job store nor call a user's trigger (on an event loop), it is put off: a worker thread
makes it, in order.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from schedcore.clock import Now
from schedcore.errors import BrokenJobError, InvalidTriggerError, JobLookupError, NeverFiresError, UnknownAliasError
from schedcore.events import EVENT_ALL_JOBS_REMOVED, EVENT_JOB_REMOVED, JobEvent, SchedulerEvent
from schedcore.job import Job, JobEntry, JobState, UnreadJob
from schedcore.schedulers._definition import UNSET, change_record, check_changes, instant_of, make_trigger, seeded
from schedcore.schedulers._jobs import Change, Place
from schedcore.schedulers._orders import Order
from schedcore.schedulers._pump import Pump
from schedcore.triggers.base import BaseTrigger, EngineTrigger

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["Changes"]


class Changes:
    """See the module's docstring, and ``BaseScheduler`` for what each does. From any thread."""

    def __init__(self, scheduler: BaseScheduler) -> None:
        self._scheduler = scheduler
        self._warned_of_waiting = False

    # -- the changes -------------------------------------------------------------------------------------------------------

    def modify(self, job_id: str, jobstore: str | None, changes: dict[str, Any]) -> Job:
        scheduler = self._scheduler
        now = scheduler._timeline.now()
        trigger = changes.pop("trigger", UNSET)
        grid: EngineTrigger | None = None
        if trigger is None:
            raise InvalidTriggerError("trigger cannot be None here; to stop a job for a while, pause it")
        if trigger is not UNSET:
            grid = self._make_grid(trigger, {})
        next_run = changes.pop("next_run_time", UNSET)
        if next_run is not UNSET and next_run is not None:
            next_run = instant_of(next_run, scheduler.timezone, "next_run_time")
        self._check(changes)
        if grid is not None and next_run is UNSET:
            scheduler._jobs.check_fires(grid.seeded(job_id), now)

        def change(entry: JobEntry, place: Place) -> JobEntry:
            record = change_record(entry.job, changes)
            if grid is not None:
                record = seeded(record._replace(trigger=grid))
            if next_run is UNSET and grid is None:
                return _as_stored(entry)._replace(job=record)
            if next_run is UNSET and (entry.state is JobState.PAUSED or entry.paused):
                return JobEntry(record, JobState.PAUSED)
            if next_run is None:
                # Where it stands is kept, so that ``resume`` can tell what it missed.
                return JobEntry(record, JobState.PAUSED, entry.fire_us if grid is None else None)
            return place(record, next_run)

        asks = grid is not None or next_run not in (UNSET, None)
        return self._make(job_id, jobstore, "modify_job", change, now, grid, asks=asks)

    def reschedule(
        self, job_id: str, jobstore: str | None, trigger: BaseTrigger | str | None, trigger_args: dict[str, Any]
    ) -> Job:
        jobs = self._scheduler._jobs
        known = [None, *self._scheduler._pumps, *jobs.waiting.aliases]
        if trigger is None and jobstore not in known:
            # Else its arguments would be complained of.
            raise UnknownAliasError(
                f"no job store has the alias {jobstore!r}, and the second argument is one, as in 3.x; if this is a trigger, "
                f"name it: trigger={jobstore!r}"
            )
        grid = self._make_grid(trigger, trigger_args)
        now = self._scheduler._timeline.now()
        jobs.check_fires(grid.seeded(job_id), now)

        def change(entry: JobEntry, place: Place) -> JobEntry:
            return place(seeded(entry.job._replace(trigger=grid)), UNSET)

        return self._make(job_id, jobstore, "reschedule_job", change, now, grid)

    def resume(self, job_id: str, jobstore: str | None) -> Job | None:
        jobs = self._scheduler._jobs
        now = self._scheduler._timeline.now()

        def change(entry: JobEntry, place: Place) -> JobEntry:
            if entry.job.func is None:
                # Nor may its trigger be known, which has no fire time then, and its schedule would seem to be over.
                raise BrokenJobError(job_id, entry.reason or "its function is not known")
            return place(entry.job, UNSET)

        def resume(pump: Pump) -> None:
            try:
                jobs.change_stored(pump, job_id, change, now)
            except NeverFiresError:
                self._remove_stored(pump, job_id)

        pumps = self._put_off_to(job_id, jobstore)
        if pumps:
            return self._put_off(job_id, pumps, "resume_job", resume)
        self.make_way(jobstore)
        alias = jobs.find(job_id, jobstore)[0]
        try:
            return jobs.change(alias, job_id, change, now)
        except NeverFiresError:
            self._scheduler.remove_job(job_id, alias)
            return None

    def repair(self, job_id: str, jobstore: str | None, changes: dict[str, Any]) -> Job:
        importlib.invalidate_caches()
        grid: EngineTrigger | None = None
        if "trigger" in changes:
            grid = self._make_grid(changes.pop("trigger"), {})
        self._check(changes)
        now = self._scheduler._timeline.now()

        def change(entry: JobEntry, place: Place) -> JobEntry:
            if entry.job.func is None and "func" not in changes:
                raise BrokenJobError(job_id, entry.reason or "its function is not known")
            record = change_record(entry.job, changes)
            if grid is not None:
                record = seeded(record._replace(trigger=grid))
                return JobEntry(record, JobState.PAUSED) if entry.paused else place(record, UNSET)
            if entry.state is not JobState.BROKEN:
                return entry._replace(job=record)
            if entry.paused:
                return JobEntry(record, JobState.PAUSED, entry.fire_us)
            if entry.fire_us is None:
                return place(record, UNSET)
            return JobEntry(record, JobState.ACTIVE, entry.fire_us, entry.fire_us)

        return self._make(job_id, jobstore, "repair_job", change, now, grid)

    def _check(self, changes: Mapping[str, Any]) -> None:
        check_changes(changes)
        if "executor" in changes:
            self._scheduler._definitions.policy_of(changes["executor"])

    def remove_later(self, job_id: str, jobstore: str | None) -> bool:
        """Put it off, if it cannot be done here and now; otherwise it may be."""
        pumps = self._put_off_to(job_id, jobstore, asks=False)
        if pumps:
            self._put_off(job_id, pumps, "remove_job", lambda pump: self._remove_stored(pump, job_id), removes=True)
            return True
        self.make_way(jobstore)
        return False

    def remove_all(self, jobstore: str | None) -> None:
        scheduler = self._scheduler
        scheduler._check_loop()
        scheduler._check_store(jobstore)
        scheduler._jobs.waiting.drop_all(jobstore)
        if scheduler.running:
            for pump in scheduler._pumps_of(jobstore):
                if not pump.opened:
                    continue
                if (pump.store.traits.blocking or pump.orders) and scheduler._on_loop():
                    pump.put_off(Order("remove_all_jobs", pump.store.remove_all_jobs))
                else:
                    pump.store.remove_all_jobs()
        scheduler._reports.bus.publish(SchedulerEvent(EVENT_ALL_JOBS_REMOVED, jobstore))

    # -- how they are made -------------------------------------------------------------------------------------------------

    def _make_grid(self, trigger: BaseTrigger | str | None, trigger_args: Mapping[str, Any]) -> EngineTrigger:
        return make_trigger(trigger, dict(trigger_args), self._scheduler.timezone, self._scheduler._timeline)

    def _make(
        self,
        job_id: str,
        jobstore: str | None,
        what: str,
        change: Change,
        now: Now,
        grid: EngineTrigger | None,
        *,
        asks: bool = True,
    ) -> Job:
        """``grid``: the trigger that the job is given; ``asks``: whether its triggers are asked for fire times."""
        jobs = self._scheduler._jobs
        pumps = self._put_off_to(job_id, jobstore, grid, asks=asks)
        if pumps:
            return self._put_off(job_id, pumps, what, lambda pump: jobs.change_stored(pump, job_id, change, now))
        self.make_way(jobstore)
        alias = jobs.find(job_id, jobstore)[0]
        return jobs.change(alias, job_id, change, now)

    def _remove_stored(self, pump: Pump, job_id: str) -> None:
        pump.store.remove_job(job_id)
        bus = self._scheduler._reports.bus
        if bus.wants(EVENT_JOB_REMOVED):
            bus.publish(JobEvent(EVENT_JOB_REMOVED, job_id, pump.alias))

    # -- where nobody may wait for a store, nor call a user's code ---------------------------------------------------------

    def _put_off_to(
        self, job_id: str, jobstore: str | None, grid: EngineTrigger | None = None, *, asks: bool = True
    ) -> list[Pump]:
        """The job stores of which one has this job, where the caller is on an event loop and the change is a worker thread's."""
        scheduler = self._scheduler
        scheduler._check_loop()
        if not scheduler.running or not scheduler._on_loop() or scheduler._jobs.waiting.find(job_id, jobstore):
            return []
        pumps = scheduler._pumps_of(jobstore)
        for pump in pumps:
            if pump.opened and not pump.store.traits.blocking:
                entry = pump.store.get_entry(job_id)
                if entry is not None:
                    others_code = asks and (entry.job.trigger.foreign or (grid is not None and grid.foreign))
                    # What was put off before comes first.
                    return [pump] if others_code or pump.orders else []
        return [pump for pump in pumps if pump.store.traits.blocking]

    def _put_off(
        self, job_id: str, pumps: list[Pump], what: str, make: Callable[[Pump], object], *, removes: bool = False
    ) -> Job:
        """Have a worker thread make this change in the store that has the job; returns a handle that reads the job when it is
        looked at.
        """
        unanswered: list[str] = []

        def make_where_it_is() -> None:
            for pump in pumps:
                try:
                    make(pump)
                except JobLookupError:
                    continue
                except BaseException:
                    unanswered.append(pump.alias)
                    raise
                return
            if not (removes and unanswered):
                raise JobLookupError(job_id)
            # It was there until a store did not answer.
            self._scheduler._reports.removed(unanswered[0], job_id)

        pumps[0].put_off(Order(f"{what}({job_id!r})", make_where_it_is))
        return UnreadJob(self._scheduler, pumps[0].alias, job_id)

    def make_way(self, jobstore: str | None) -> None:
        """Before a thread that may wait changes jobs: what was put off before is done first."""
        scheduler = self._scheduler
        if scheduler._opens_stores_in_start:
            return  # nothing is put off there
        for pump in scheduler._pumps.values():
            if pump.orders and pump.opened and jobstore in (None, pump.alias) and scheduler.running:
                if scheduler._on_loop():
                    return  # it changes what waits, which needs nothing of the store
                pump.catch_up()

    def catch_up(self, jobstore: str | None, what: str | None) -> None:
        """Before stores are read: do what was put off. ``what`` is the call that reads, which warns if it is made on a loop."""
        scheduler = self._scheduler
        if not scheduler.running:
            return
        for pump in scheduler._pumps_of(jobstore):
            if pump.opened and (pump.store.traits.blocking or (pump.has_put_off and not scheduler._on_loop())):
                if what is not None and not self._warned_of_waiting and scheduler._on_loop():
                    self._warned_of_waiting = True
                    scheduler._reports.logger.warning(
                        "%s() waits for job store %r, and the event loop with it; scheduler.call(scheduler.%s) waits in a "
                        "worker thread and returns what your framework awaits (this is said once)",
                        what,
                        pump.alias,
                        what,
                    )
                pump.catch_up()


def _as_stored(entry: JobEntry) -> JobEntry:
    """Where a job stands in its store: not whether its record can be loaded today."""
    if entry.paused:
        return JobEntry(entry.job, JobState.PAUSED, entry.fire_us)
    if entry.job.func is None and entry.fire_us is not None and entry.due_us is not None:
        return JobEntry(entry.job, JobState.ACTIVE, entry.fire_us, entry.due_us)
    return entry

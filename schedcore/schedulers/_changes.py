"""What users change in a job that was added, and where the change is made.

A change is a function from the job's entry to its new one; what can be said of it without looking at the job is checked before.
Where the caller may not wait for a job store (on an event loop), it is put off: a worker thread makes it, in order.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from schedcore.errors import BrokenJobError, InvalidTriggerError, JobLookupError
from schedcore.events import EVENT_ALL_JOBS_REMOVED, EVENT_JOB_REMOVED, JobEvent, SchedulerEvent
from schedcore.job import Job, JobEntry, JobState, UnreadJob
from schedcore.schedulers._definition import UNSET, change_record, check_changes, instant_of, make_trigger, seeded
from schedcore.schedulers._orders import Order
from schedcore.schedulers._pump import Pump
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.wakeup import MAX_WAIT_S

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
        check_changes(changes)
        if grid is not None and next_run is UNSET:
            scheduler._jobs.check_fires(grid.seeded(job_id), now)

        def change(entry: JobEntry) -> JobEntry:
            record = change_record(entry.job, changes)
            if grid is not None:
                record = seeded(record._replace(trigger=grid))
            if next_run is UNSET and grid is None:
                return entry._replace(job=record)
            if next_run is UNSET and entry.state is JobState.PAUSED:
                return JobEntry(record, JobState.PAUSED)
            if next_run is None:
                # Where it stands is kept, so that ``resume`` can tell what it missed.
                return JobEntry(record, JobState.PAUSED, entry.fire_us if grid is None else None)
            return scheduler._jobs.placed(record, next_run, now)

        return self._make(job_id, jobstore, "modify_job", change)

    def reschedule(
        self, job_id: str, jobstore: str | None, trigger: BaseTrigger | str | None, trigger_args: dict[str, Any]
    ) -> Job:
        jobs = self._scheduler._jobs
        grid = self._make_grid(trigger, trigger_args)
        now = self._scheduler._timeline.now()
        jobs.check_fires(grid.seeded(job_id), now)

        def change(entry: JobEntry) -> JobEntry:
            return jobs.placed(seeded(entry.job._replace(trigger=grid)), UNSET, now)

        return self._make(job_id, jobstore, "reschedule_job", change)

    def resume(self, job_id: str, jobstore: str | None) -> Job | None:
        jobs = self._scheduler._jobs
        now = self._scheduler._timeline.now()

        def change(entry: JobEntry) -> JobEntry:
            return jobs.placed(entry.job, UNSET, now)

        def resume(pump: Pump) -> None:
            try:
                jobs.change_stored(pump, job_id, change)
            except InvalidTriggerError:
                self._remove_stored(pump, job_id)

        if self._must_put_off(job_id, jobstore):
            return self._put_off(job_id, jobstore, "resume_job", resume)
        self.make_way(jobstore)
        alias, job = jobs.find(job_id, jobstore)
        try:
            return jobs.change(alias, job, change)
        except InvalidTriggerError:
            self._scheduler.remove_job(job_id, alias)
            return None

    def repair(self, job_id: str, jobstore: str | None, changes: dict[str, Any]) -> Job:
        jobs = self._scheduler._jobs
        importlib.invalidate_caches()
        grid: EngineTrigger | None = None
        if "trigger" in changes:
            grid = self._make_grid(changes.pop("trigger"), {})
        check_changes(changes)
        now = self._scheduler._timeline.now()

        def change(entry: JobEntry) -> JobEntry:
            if entry.job.func is None and "func" not in changes:
                raise BrokenJobError(job_id, entry.reason or "its function is not known")
            record = change_record(entry.job, changes)
            if grid is not None:
                return jobs.placed(seeded(record._replace(trigger=grid)), UNSET, now)
            if entry.state is not JobState.BROKEN:
                return entry._replace(job=record)
            if entry.fire_us is None:
                return jobs.placed(record, UNSET, now)
            return JobEntry(record, JobState.ACTIVE, entry.fire_us, entry.fire_us)

        return self._make(job_id, jobstore, "repair_job", change)

    def remove(self, job_id: str, jobstore: str | None) -> None:
        scheduler = self._scheduler
        # Jobs are removed by the thousand, and most often where nothing is ever put off.
        if not scheduler._opens_stores_in_start:
            if self._must_put_off(job_id, jobstore):
                self._put_off(job_id, jobstore, "remove_job", lambda pump: self._remove_stored(pump, job_id))
                return
            self.make_way(jobstore)
        alias = scheduler._jobs.remove(job_id, jobstore)
        if scheduler._reports.bus.mask & EVENT_JOB_REMOVED:
            self._report_removed(alias, job_id)

    def remove_all(self, jobstore: str | None) -> None:
        scheduler = self._scheduler
        if jobstore is not None and jobstore not in scheduler._pumps and jobstore not in scheduler._jobs.aliases:
            raise scheduler._no_such_store(jobstore)
        scheduler._jobs.drop_pending(jobstore)
        if scheduler.running:
            for pump in scheduler._pumps_of(jobstore):
                if not pump.opened:
                    continue
                if pump.store.traits.blocking and scheduler._on_loop():
                    pump.put_off(Order("remove_all_jobs", pump.store.remove_all_jobs))
                else:
                    pump.store.remove_all_jobs()
        scheduler._reports.bus.publish(SchedulerEvent(EVENT_ALL_JOBS_REMOVED, jobstore))

    # -- how they are made -------------------------------------------------------------------------------------------------

    def _make_grid(self, trigger: BaseTrigger | str | None, trigger_args: Mapping[str, Any]) -> EngineTrigger:
        return make_trigger(trigger, dict(trigger_args), self._scheduler.timezone, self._scheduler._timeline)

    def _make(self, job_id: str, jobstore: str | None, what: str, change: Callable[[JobEntry], JobEntry]) -> Job:
        jobs = self._scheduler._jobs
        if self._must_put_off(job_id, jobstore):
            return self._put_off(job_id, jobstore, what, lambda pump: jobs.change_stored(pump, job_id, change))
        self.make_way(jobstore)
        alias, job = jobs.find(job_id, jobstore)
        return jobs.change(alias, job, change)

    def _remove_stored(self, pump: Pump, job_id: str) -> None:
        pump.store.remove_job(job_id)
        self._report_removed(pump.alias, job_id)

    def _report_removed(self, alias: str, job_id: str) -> None:
        bus = self._scheduler._reports.bus
        if bus.wants(EVENT_JOB_REMOVED):
            bus.publish(JobEvent(EVENT_JOB_REMOVED, job_id, alias))

    # -- where nobody may wait for a store ---------------------------------------------------------------------------------

    def _must_put_off(self, job_id: str, jobstore: str | None) -> bool:
        """Whether a change of this job needs a store that does I/O, and the caller is on an event loop."""
        scheduler = self._scheduler
        if not scheduler._state or not scheduler._on_loop() or scheduler._jobs.is_waiting(job_id, jobstore):
            return False
        pumps = scheduler._pumps_of(jobstore)
        if not any(pump.store.traits.blocking for pump in pumps):
            return False
        quick = (pump for pump in pumps if pump.opened and not pump.store.traits.blocking)
        return all(pump.store.get_entry(job_id) is None for pump in quick)

    def _put_off(self, job_id: str, jobstore: str | None, what: str, make: Callable[[Pump], object]) -> Job:
        """Have a worker thread make this change in the store that has the job; returns a handle that reads the job when it is
        looked at.
        """
        pumps = [pump for pump in self._scheduler._pumps_of(jobstore) if pump.store.traits.blocking]

        def make_where_it_is() -> None:
            for pump in pumps:
                try:
                    make(pump)
                except JobLookupError:
                    continue
                return
            raise JobLookupError(job_id)

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
            if what is None and pump.store.traits.blocking:
                # In a worker thread: what is asked for now is asked of an open store, unless it cannot be opened.
                pump.tried.wait(MAX_WAIT_S)
            if pump.opened and pump.store.traits.blocking:
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

"""The jobs of a scheduler: those that wait for their store (``_waiting``), and those that are in one.

Everything that puts a job into a store, finds, changes or removes it is here; ``base`` checks what the caller says and calls it.
A change is compare-and-set: read, compute, put if nothing has changed meanwhile, else again. No lock is held meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from schedcore._forks import notice_fork
from schedcore.clock import Now
from schedcore.engine import dispatch_us
from schedcore.errors import (
    ConflictingIdError,
    InvalidTriggerError,
    JobLookupError,
    NeverFiresError,
    UsageError,
    contained,
    error_text,
)
from schedcore.events import (
    EVENT_JOB_ADDED,
    EVENT_JOB_MODIFIED,
    EVENT_JOB_REMOVED,
    JobBrokenEvent,
    JobEvent,
)
from schedcore.job import Arrival, Job, JobEntry, JobRecord, JobState, func_ref_of
from schedcore.run import Skip, skip_record
from schedcore.schedulers._definition import UNSET, NextRun, seeded, stable_id
from schedcore.schedulers._left_out import LeftOut
from schedcore.schedulers._orders import Order
from schedcore.schedulers._pump import Pump
from schedcore.schedulers._starting import STATE_STOPPED
from schedcore.schedulers._waiting import Pending, Waiting
from schedcore.triggers.base import EngineTrigger

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["Change", "Jobs", "Place", "never"]


# Looking a member of an enumeration up costs as much as a call; jobs are added by the thousand.
_ACTIVE = JobState.ACTIVE
# A named tuple's own constructor is a Python function.
_new = tuple.__new__


#: Gives a job its place in its schedule.
Place = Callable[[JobRecord, NextRun], JobEntry]
#: What is made of a job that is changed, as it stands.
Change = Callable[[JobEntry, Place], JobEntry]


class Jobs:
    """See the module's docstring. Every method may be called from any thread."""

    def __init__(self, scheduler: BaseScheduler) -> None:
        self._scheduler = scheduler
        self.waiting = Waiting()
        self._left_out = LeftOut(scheduler)

    def pending(self, alias: str | None) -> list[Job]:
        """The jobs that wait for one job store, or all."""
        return [self._handle(its, item) for its, item in self.waiting.all(alias)]

    def _handle(self, alias: str, waiting: Pending) -> Job:
        entry = waiting.entry or JobEntry(waiting.job, JobState.ACTIVE)
        return Job(self._scheduler, alias, entry, waiting.arrival)

    def add(self, record: JobRecord, next_run: NextRun, alias: str, replace: bool, given_id: bool) -> Job:
        """See ``BaseScheduler.add_job``: into the store, or, where nobody may wait for that, to those that wait for it."""
        scheduler = self._scheduler
        notice_fork()
        if scheduler._state == STATE_STOPPED:  # it is not running, and asked without another call
            return self.add_pending([(record, next_run, given_id)], alias, replace)[0]
        pump = scheduler._pumps.get(alias)
        if pump is None:
            raise scheduler._no_such_store(alias)
        record = seeded(record)
        if not pump.opened:
            return self.put_down(pump, [self._placed_now(record, next_run, replace)])[0]
        if not scheduler._opens_stores_in_start:
            scheduler._check_loop()
            if self.is_put_off(pump, record):
                return self.put_down(pump, [self._placed_now(record, next_run, replace)])[0]
            scheduler._changes.make_way(alias)
        if replace:
            entry, code = self.store(pump, Pending(record, next_run, True, Arrival()), scheduler._timeline.now())
        else:
            entry, code = self.placed(record, next_run, None), EVENT_JOB_ADDED
            self._hand_over(pump, (entry,))
        bus = scheduler._reports.bus
        if bus.mask & code:
            bus.publish(JobEvent(code, entry.job.id, alias))
        if entry.due_us is not None:
            scheduler._ticker.touch(pump, entry.due_us, record.trigger)
        return Job(scheduler, alias, entry)

    def add_all(self, definitions: list[tuple[JobRecord, NextRun, bool]], alias: str) -> list[Job]:
        """See ``BaseScheduler.add_jobs``. A definition: the job, its next run, and whether its id was given."""
        scheduler = self._scheduler
        if not scheduler.running:
            return self.add_pending(definitions, alias, False)
        pump = scheduler._pumps.get(alias)
        if pump is None:
            raise scheduler._no_such_store(alias)
        return self.add_placed([(seeded(record), next_run, None) for record, next_run, _ in definitions], pump)

    def add_placed(self, jobs: list[tuple[JobRecord, NextRun, JobEntry | None]], pump: Pump) -> list[Job]:
        """Add jobs while the scheduler runs, all or none. Of each: the job, its next run, where it stands if that is known."""
        scheduler = self._scheduler
        scheduler._check_loop()
        # (Where stores are opened in ``start`` none is put off.)
        elsewhere = not scheduler._opens_stores_in_start
        if not pump.opened or (elsewhere and any(self.is_put_off(pump, record) for record, _, _ in jobs)):
            with self._to_be_stored(pump, [record for record, _, _ in jobs]):
                waiting = [
                    self._placed_now(record, next_run, False)
                    if entry is None
                    else Pending(record, next_run, False, Arrival(), entry)
                    for record, next_run, entry in jobs
                ]
            return self.put_down(pump, waiting)
        scheduler._changes.make_way(pump.alias)
        now = scheduler._timeline.now()
        with self._to_be_stored(pump, [record for record, _, _ in jobs]):
            entries = [
                self.placed(record, next_run, now) if entry is None else entry for record, next_run, entry in jobs
            ]
            self._hand_over(pump, entries)
        scheduler._reports.added(pump.alias, entries)
        pump.touched = True
        scheduler._ask()
        return [Job(scheduler, pump.alias, entry) for entry in entries]

    def is_put_off(self, pump: Pump, job: JobRecord) -> bool:
        """Whether it is for the next cycle to add this job to an open store, in a worker thread: not for an event loop's."""
        scheduler = self._scheduler
        if scheduler._opens_stores_in_start:
            return False
        if self.waiting.has(pump.alias, job.id):
            return True  # one of this id is to be stored
        # What was put off before comes first.
        others = pump.store.traits.blocking or job.trigger.foreign or bool(pump.orders)
        return others and scheduler._on_loop()

    def may_ask(self, trigger: EngineTrigger) -> bool:
        """Whether a trigger may be asked for fire times here: a user's own is not, on an event loop. Nor is it before a scheduler
        that will live on one is started, because then nobody knows which threads have one.
        """
        scheduler = self._scheduler
        if scheduler._opens_stores_in_start or not trigger.foreign:
            return True
        return scheduler.running and not scheduler._on_loop()

    def _placed_now(self, record: JobRecord, next_run: NextRun, replace: bool) -> Pending:
        """A job that is to wait for its store while the scheduler runs."""
        asks = next_run is UNSET and not self.may_ask(record.trigger)
        entry = None if asks else self.placed(record, next_run, None)
        return Pending(record, next_run, replace, Arrival(), entry)

    def add_pending(self, definitions: list[tuple[JobRecord, NextRun, bool]], alias: str, replace: bool) -> list[Job]:
        """Have jobs wait for the start, all or none. A definition: the job, its next run, and whether its id was given."""
        scheduler = self._scheduler
        pump = scheduler._pumps.get(alias)
        now = scheduler._timeline.now()
        stable: dict[int, str] = {}
        for number, (record, next_run, given_id) in enumerate(definitions):
            if next_run is UNSET:
                self.check_fires(seeded(record).trigger, now)
            if not given_id and pump is not None and pump.store.traits.durable:
                # Start-up code runs at every start; under a random id each start would leave one more copy.
                stable[number] = stable_id(record)
        while True:
            ids = self.waiting.free_ids(alias, stable)
            waiting: list[Pending] = []
            for number, (record, next_run, _) in enumerate(definitions):
                named = seeded(record._replace(id=ids[number]) if number in ids else record)
                waiting.append(Pending(named, next_run, replace or number in ids, Arrival()))
                if pump is not None:
                    pump.store.check(named)
            if self.waiting.put(alias, waiting, set(ids.values())):
                break
        if scheduler.running and pump is not None:
            pump.touched = True
            scheduler._ask()
        return [self._handle(alias, item) for item in waiting]

    def put_down(self, pump: Pump, waiting: Sequence[Pending]) -> list[Job]:
        """Have jobs stored by the next cycle of their store. All or, when it raises, none."""
        with self._to_be_stored(pump, [item.job for item in waiting]):
            for item in waiting:
                pump.store.check(item.job)
            self.waiting.put(pump.alias, waiting)
        pump.touched = True
        self._scheduler._ask()
        return [self._handle(pump.alias, item) for item in waiting]

    def check_fires(self, trigger: EngineTrigger, now: Now) -> None:
        """Raise ``InvalidTriggerError`` when a trigger never fires, and whatever it raises; if it may be asked here."""
        if not self.may_ask(trigger):
            return
        if trigger.first_us(now.steady_us if trigger.elapsed else now.wall_us) is None:
            raise never(trigger)

    def store(self, pump: Pump, pending: Pending, now: Now) -> tuple[JobEntry, int]:
        """Put a job into an open store; returns what was stored and the code of the event that it makes."""
        job = pending.job
        if pending.replace:
            while True:
                old = pump.store.get_entry(job.id)
                if old is None:
                    break
                new = self._merged(old, pending, now)
                told, records = self._left_out.of([new])
                with self._to_be_stored(pump, [job]):
                    try:
                        if pump.store.replace_entry(old, new, records):
                            self._left_out.is_on_record(pump.alias, told)
                            return new, EVENT_JOB_MODIFIED
                    except JobLookupError:
                        break
        entry = pending.entry or self.placed(job, pending.next_run, now)
        self._hand_over(pump, (entry,))
        return entry, EVENT_JOB_ADDED

    def _hand_over(self, pump: Pump, entries: Sequence[JobEntry]) -> None:
        """Put new jobs into an open store, with what is left out before their first fire times."""
        pump.notes.before_adding()
        if not self._left_out.untold:
            pump.store.add_entries(entries)
            return
        told, records = self._left_out.of(entries)
        with self._to_be_stored(pump, [entry.job for entry in entries]):
            pump.store.add_entries(entries, records)
        self._left_out.is_on_record(pump.alias, told)

    @contextmanager
    def _to_be_stored(self, pump: Pump, jobs: Sequence[JobRecord]) -> Iterator[None]:
        """Around the placing and storing of jobs: whatever keeps them out of the store, what was to be told of them goes, too."""
        with ExitStack() as undo:
            undo.callback(self._not_stored, pump, jobs)
            yield
            undo.pop_all()

    def _not_stored(self, pump: Pump, jobs: Sequence[JobRecord]) -> None:
        """Jobs that were placed have not come into the store: but for those that wait for it, nothing is to be told of them."""
        for job in jobs:
            if self._left_out.untold and not self.waiting.has(pump.alias, job.id):
                self._left_out.take_back(job.id)

    def placed(self, job: JobRecord, next_run: NextRun, now: Now | None) -> JobEntry:
        """A job with its first fire time: as ``next_run`` says (an instant; None: paused), else (UNSET) as its trigger does.

        ``now``: None where the trigger was made or bound this instant, which most often saves a look at the clock.
        """
        trigger = job.trigger
        if next_run is UNSET:
            fire_us = trigger.begin_us() if now is None else None
            if fire_us is None:
                at = self._scheduler._timeline.now() if now is None else now
                fire_us = trigger.first_us(at.steady_us if trigger.elapsed else at.wall_us)
                if fire_us is None:
                    raise never(trigger)
                if trigger.omits:
                    self._left_out.find(job, at.steady_us if trigger.elapsed else at.wall_us, fire_us)
            if not trigger.jitter_us:
                return _new(JobEntry, (job, _ACTIVE, fire_us, fire_us, None, False))
            due_us = dispatch_us(trigger, fire_us, self._scheduler._random, job.id)
            return JobEntry(job, JobState.ACTIVE, fire_us, due_us)
        if next_run is None:
            return JobEntry(job, JobState.PAUSED)
        if trigger.elapsed:
            if now is None:
                now = self._scheduler._timeline.now()
            # The user speaks of the wall clock; such a trigger is judged on the timeline that never goes back.
            next_run += now.steady_us - now.wall_us
        return _new(JobEntry, (job, _ACTIVE, next_run, next_run, None, False))

    def _merged(self, old: JobEntry, pending: Pending, now: Now) -> JobEntry:
        """A job registered again: with an unchanged trigger it keeps its place in the schedule."""
        if (
            pending.next_run is UNSET
            and old.job.trigger.same_rule(pending.job.trigger)
            and (old.fire_us is not None or old.state is JobState.PAUSED or old.paused)
        ):
            job = pending.job._replace(trigger=old.job.trigger)
            if old.state is JobState.BROKEN and not old.paused:
                return JobEntry(job, JobState.ACTIVE, old.fire_us, old.fire_us)
            self._left_out.take_back(job.id)  # it was not about this place
            return JobEntry(job, JobState.PAUSED if old.paused else old.state, old.fire_us, old.due_us)
        return pending.entry or self.placed(pending.job, pending.next_run, now)

    def flush(self, pump: Pump, others_code: bool = True) -> list[JobEntry]:
        """Hand a store its pending jobs. In ``start``, or in a cycle. What one job raises stops the others only in ``start``.

        ``others_code``: also those whose triggers are a user's own; not on an event loop.
        """
        if self._left_out.on_record:
            self._left_out.tell(pump.alias)
        if not self.waiting.any_for(pump.alias):
            return []
        # They go on waiting until they are stored: what is asked of them meanwhile is not lost, nor are they if it fails.
        waiting = {
            item.job.id: item for _, item in self.waiting.all(pump.alias) if others_code or not item.job.trigger.foreign
        }
        now = self._scheduler._timeline.now()
        added: list[JobEntry] = []
        fresh: list[Pending] = []
        stored: list[JobEntry] = []
        starting = (
            self._scheduler.running
            and not self._scheduler._dispatches
            and self._scheduler._thread_id is None
            and self._scheduler._opens_stores_in_start
        )
        for pending in waiting.values():
            try:
                placed = self._placed_pending(pending, now)
            except InvalidTriggerError as error:
                if pending.job.trigger.foreign and not self._scheduler._opens_stores_in_start:
                    # It was not asked when the job was added.
                    self._job_refused(pump.alias, pending.job.id, error)
                else:
                    # It had a fire time when it was added, and has none now that it is started: its schedule is over.
                    self._scheduler._reports.logger.warning("job %r is dropped: %s", pending.job.id, error)
                continue
            except BaseException as error:
                if starting:
                    raise
                self._job_refused(pump.alias, pending.job.id, contained(error))
                continue
            if not placed.replace:
                fresh.append(placed)
                continue
            try:
                entry, code = self.store(pump, placed, now)
                stored.append(entry)
                if code == EVENT_JOB_ADDED:
                    added.append(entry)
            except InvalidTriggerError as error:
                self._scheduler._reports.logger.warning("job %r is dropped: %s", pending.job.id, error)
            except UsageError as error:
                if starting:
                    raise
                self._job_refused(pump.alias, pending.job.id, error)
        if fresh:
            added += self._add_fresh(pump, fresh, now, starting)
        gone = self.waiting.stored(pump.alias, waiting)
        for entry in (*stored, *added):
            if not self.waiting.has(pump.alias, entry.job.id):
                waiting[entry.job.id].arrival.entry = entry
        for job_id in gone:
            with suppress(JobLookupError):
                pump.store.remove_job(job_id)
        self._not_stored(pump, [pending.job for pending in waiting.values()])  # what was refused
        return [entry for entry in added if entry.job.id not in gone]

    def _placed_pending(self, pending: Pending, now: Now) -> Pending:
        """A job that waits, with its place in the schedule; but for one that may find that of its predecessor in the store."""
        if pending.entry is not None or (pending.replace and not pending.job.trigger.foreign):
            return pending
        return pending._replace(entry=self.placed(pending.job, pending.next_run, now))

    def _add_fresh(self, pump: Pump, fresh: list[Pending], now: Now, starting: bool) -> list[JobEntry]:
        """Add jobs together; where one is refused, those that are not. In ``start`` that is raised."""
        try:
            return self._send(pump, fresh)
        except UsageError:
            if starting and not any(pending.arrival.sent for pending in fresh):
                raise
        added: list[JobEntry] = []
        for pending in fresh:
            try:
                added.append(self._add_one(pump, pending, now))
            except UsageError as error:
                if starting:
                    raise
                self._job_refused(pump.alias, pending.job.id, error)
        return added

    def _send(self, pump: Pump, fresh: Sequence[Pending]) -> list[JobEntry]:
        """Hand over jobs that waited. Unless it refuses them the store may have them, also where no answer comes."""
        entries = [pending.entry for pending in fresh if pending.entry is not None]
        noted = _note_sent(fresh)
        try:
            self._hand_over(pump, entries)
        except UsageError:
            for arrival in noted:
                arrival.sent = arrival.sent[:-1]
            raise
        return entries

    def _add_one(self, pump: Pump, pending: Pending, now: Now) -> JobEntry:
        sent = pending.arrival.sent
        try:
            return self._send(pump, (pending,))[0]
        except ConflictingIdError:
            found = pump.store.get_entry(pending.job.id) if sent else None
            if found is None or not any(_is_same(found.job, job) for job in sent):
                raise
        # The store has taken it, and did not answer. It may have been changed since, here and there.
        told, _ = self._left_out.of([found])
        self._left_out.is_on_record(pump.alias, told)
        _note_sent((pending,))
        return self.store(pump, pending._replace(replace=True), now)[0]

    def _job_refused(self, alias: str, job_id: str, error: Exception) -> None:
        text = str(error) if isinstance(error, UsageError) else f"its trigger raised {error_text(error)}"
        self._scheduler._reports.logger.error("job %r cannot be added to job store %r: %s", job_id, alias, text)
        self._scheduler._reports.bus.post(JobBrokenEvent(job_id, alias, text, error))

    def remove(self, job_id: str, jobstore: str | None) -> None:
        """Remove a job where it is found first. Raises ``JobLookupError``.

        Of one that only waited for its store nobody was told that it was added, nor is anybody told that it is gone.
        """
        if self.waiting.by_store:
            for alias in self.waiting.aliases:
                if jobstore in (None, alias) and self.waiting.drop(alias, job_id):
                    self._left_out.forget(alias, job_id)
                    self._remove_behind(alias, job_id)
                    return
        scheduler = self._scheduler
        pumps = scheduler._pumps
        scheduler._check_store(jobstore)
        notice_fork()
        if scheduler._state != STATE_STOPPED:  # it is running, and asked without another call
            for pump in pumps.values():
                if (jobstore is None or jobstore == pump.alias) and pump.opened:
                    try:
                        pump.store.remove_job(job_id)
                    except JobLookupError:
                        continue
                    if self._left_out.untold or self._left_out.on_record:
                        self._left_out.forget(pump.alias, job_id)
                    bus = scheduler._reports.bus
                    if bus.mask & EVENT_JOB_REMOVED:
                        bus.publish(JobEvent(EVENT_JOB_REMOVED, job_id, pump.alias))
                    return
        raise JobLookupError(job_id)

    def _remove_behind(self, alias: str, job_id: str) -> None:
        """A job does not wait any more; one that it was to replace, or would have met, is in the store still."""
        scheduler = self._scheduler
        pump = scheduler._pumps.get(alias)
        if pump is None or not scheduler.running:
            return

        def remove() -> None:
            with suppress(JobLookupError):
                pump.store.remove_job(job_id)
                scheduler._reports.removed(alias, job_id)

        if scheduler._on_loop() and (pump.store.traits.blocking or pump.orders):
            pump.put_off(Order(f"remove_job({job_id!r})", remove))
        elif pump.opened:
            remove()

    def find(self, job_id: str, jobstore: str | None) -> tuple[str, Job]:
        waits = self.waiting.find(job_id, jobstore)
        if waits is not None:
            return waits[0], self._handle(*waits)
        self._scheduler._check_store(jobstore)
        if self._scheduler.running:
            for alias, pump in list(self._scheduler._pumps.items()):
                if jobstore in (None, alias) and pump.opened:
                    found = pump.store.get_entry(job_id)
                    if found is not None:
                        return alias, Job(self._scheduler, alias, found)
        raise JobLookupError(job_id)

    def change(self, alias: str, job_id: str, change: Change, now: Now) -> Job:
        """Change a job that waits for this store, or is in it. Raises ``JobLookupError``, and what ``change`` raises."""
        pump = self._scheduler._pumps.get(alias)
        while True:
            pending = self.waiting.get(alias, job_id)
            if pending is None:
                break
            changed = self._changed_pending(pending, change, now)
            if pump is not None and changed.job is not pending.job:
                pump.store.check(changed.job)  # who changes it is to learn what the store will not take
            if self.waiting.replace(alias, pending, changed):
                return self._handle(alias, changed)
        if pump is None or not pump.opened:
            raise JobLookupError(job_id)
        return Job(self._scheduler, alias, self.change_stored(pump, job_id, change, now))

    def _changed_pending(self, pending: Pending, change: Change, now: Now) -> Pending:
        next_run = pending.next_run

        def place(job: JobRecord, at: NextRun) -> JobEntry:
            nonlocal next_run
            # Its place is found when it is stored, and would be stale by then: only what the user named is kept.
            next_run = at
            if at is UNSET:
                self.check_fires(job.trigger, now)
            return JobEntry(job, JobState.PAUSED if at is None else JobState.ACTIVE)

        new = change(JobEntry(pending.job, JobState.PAUSED if next_run is None else JobState.ACTIVE), place)
        if new.state is JobState.PAUSED:
            next_run = None
        entry = pending.entry
        if entry is not None:
            if next_run is pending.next_run and new.job.trigger is pending.job.trigger:
                entry = entry._replace(job=new.job)
            else:
                entry = self._placed_now(new.job, next_run, False).entry
        return Pending(new.job, next_run, pending.replace, pending.arrival, entry)

    def change_stored(self, pump: Pump, job_id: str, change: Change, now: Now) -> JobEntry:
        """Change a job that is in this store. Raises ``JobLookupError``, and what ``change`` raises."""

        def place(job: JobRecord, at: NextRun) -> JobEntry:
            return self.placed(job, at, now)

        while True:
            old = pump.store.get_entry(job_id)
            if old is None:
                raise JobLookupError(job_id)
            new = change(old, place)
            skips: tuple[Skip, ...] = ()
            if new.state is JobState.ACTIVE:
                skips = self._left_out.by_change(old, new)
            now_us = self._scheduler.clock.wall_us()
            if pump.store.replace_entry(old, new, [skip_record(job_id, skip, now_us) for skip in skips]):
                break
        for skip in skips:
            self._scheduler._reports.skipped(pump.alias, new.job, skip)
        if self._scheduler._reports.bus.wants(EVENT_JOB_MODIFIED):
            self._scheduler._reports.bus.publish(JobEvent(EVENT_JOB_MODIFIED, job_id, pump.alias))
        if new.due_us is not None:
            self._scheduler._ticker.touch(pump, new.due_us, new.job.trigger)
        return new

    def peek(self, alias: str, job_id: str) -> JobEntry | None:
        """The job as it is now, where looking costs no I/O; else None."""
        pump = self._scheduler._pumps.get(alias)
        if pump is None or pump.store.traits.blocking or not pump.opened or not self._scheduler.running:
            return None
        return pump.store.get_entry(job_id)

    def mend(self, executor: str) -> None:
        """Jobs that were set aside because this executor was missing go on where they stood."""
        for pump in list(self._scheduler._pumps.values()):
            if not pump.opened:
                continue
            if pump.store.traits.blocking and self._scheduler._on_loop():
                pump.put_off(Order(f"add_executor({executor!r})", partial(self._mend, pump, executor)))
            else:
                self._mend(pump, executor)

    def _mend(self, pump: Pump, executor: str) -> None:
        for entry in pump.store.list_entries():
            if (
                entry.state is JobState.BROKEN
                and entry.job.policy.executor == executor
                and entry.fire_us is not None
                and entry.job.func is not None
            ):
                new = JobEntry(entry.job, JobState.ACTIVE, entry.fire_us, entry.fire_us)
                if pump.store.replace_entry(entry, new):
                    self._scheduler._reports.bus.post(JobEvent(EVENT_JOB_MODIFIED, entry.job.id, pump.alias))
        pump.touched = True
        self._scheduler._ask()


def _note_sent(waiting: Sequence[Pending]) -> list[Arrival]:
    """Jobs that wait are about to be given to their store. Returned is where that was noted now."""
    noted: list[Arrival] = []
    for pending in waiting:
        arrival = pending.arrival
        # Once for each time that it was changed, however often it is tried.
        if not any(job is pending.job for job in arrival.sent):
            arrival.sent += (pending.job,)
            noted.append(arrival)
    return noted


def _is_same(stored: JobRecord, sent: JobRecord) -> bool:
    """Whether this is what a store was given, wherever it stands by now. A user's trigger need not say what it is equal to."""
    try:
        return (
            func_ref_of(stored) == func_ref_of(sent)
            and (stored.args, dict(stored.kwargs), stored.policy) == (sent.args, dict(sent.kwargs), sent.policy)
            and ((stored.trigger.foreign and sent.trigger.foreign) or stored.trigger == sent.trigger)
        )
    except Exception:  # noqa: BLE001  # what arguments and triggers say to that is anybody's code
        return False


def never(trigger: EngineTrigger) -> NeverFiresError:
    """What is raised for a trigger that has no fire time."""
    from schedcore.triggers.combining import AndTrigger

    advice = "check its dates and fields, and its end_date"
    if isinstance(trigger, AndTrigger) and not trigger.tolerance:
        advice += "; its triggers have to name the same instant, or to be given a tolerance="
    return NeverFiresError(f"this trigger never fires: {trigger}; {advice}")

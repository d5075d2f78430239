"""What a job store is: jobs, their positions and their runs, kept somewhere.

``BaseJobStore`` is the interface of APScheduler 3.x, ten methods over ``Job`` handles: a third party's class that
implements them works (through ``schedcore.jobstores.simple``, unshared and unbatched). ``JobStore`` is what ours
implement: the same ten, and the way of a run through the store, in batches:

    acquire(now, limit) -> claims       an atomic claim on due jobs that nobody else holds
    commit(decisions)   -> committed    one atomic step: run records, next fire times, claims dropped
    started(runs)                       those have begun (batched; what began and ended between two batches is not told)
    finish(finishes)                    the outcomes (batched)
    withdraw(runs)                      those were taken back before they began: the scheduler stops
    recover(known)      -> recovered    what a scheduler that is gone has left, or a commit whose outcome was not learnt
    renew()                             the owner lives (shared stores)
    listen(callback)                    somebody else changed something (stores whose traits say ``notifies``)

A claim names a *fence* (in its token): a commit whose fence no longer matches, because the job was changed, removed or claimed by
somebody else since, is dropped for that job, and the job is claimed afresh.

Threads: every method may be called from any thread, several at a time. A store whose traits say ``blocking`` is never called on a
framework's loop. Errors of a driver are raised as ``JobStoreError``, with the driver's as cause.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from schedcore.clock import Clock, Now, from_datetime, to_datetime
from schedcore.engine import Claim, Decision
from schedcore.errors import ConflictingIdError, JobLookupError, TransientJobError
from schedcore.job import Job, JobEntry, JobKeeper, JobRecord
from schedcore.run import Finish, Run, RunRecord

__all__ = [
    "BaseJobStore",
    "Committed",
    "ConflictingIdError",
    "Due",
    "JobLookupError",
    "JobStore",
    "Recovered",
    "RunJournal",
    "StoreHost",
    "StoreTraits",
    "TransientJobError",
]


class StoreTraits(NamedTuple):
    """What differs between stores and concerns others. Nothing asks for a class."""

    blocking: bool  #: calls may wait for I/O, and are kept off every loop
    durable: bool  #: jobs and runs outlive the process
    shareable: bool = False  #: any number of schedulers may use it at a time
    notifies: bool = False  #: ``listen`` works
    precision_us: int = 1  #: instants are kept to this many microseconds
    #: It has a ``journal``, and knows of each run what became of it though the process is killed.
    journals: bool = False


class Due(NamedTuple):
    """The earliest dispatch on each of the two timelines; None: nothing is scheduled there."""

    wall_us: int | None
    steady_us: int | None


class Committed(NamedTuple):
    """What a commit did: the runs to submit, in order, and the decisions that were dropped because their fence was outdated.

    ``plain``: each decision made one run and has a next fire time, so that there is nothing else to report.
    """

    runs: list[Run]
    dropped: list[Decision]
    plain: bool = False


class Recovered(NamedTuple):
    """What recovery found: runs to submit (again), and the records of those that were closed as lost."""

    runs: list[Run]
    lost: list[RunRecord]


class RunJournal(Protocol):
    """Where a store learns at once what begins and ends, and keeps it though the process is killed: in a file that is mapped into
    memory. Called from any thread, event loops included: it neither waits for anything nor raises.

    The store is told in batches all the same, and ``forget`` is told which part of the journal is no longer needed then. What is
    not in it did not happen, so it wants to know of each run of its store.
    """

    def sent(self, run: Run) -> None:
        """A run goes to another process: from now on it may begin, and that is told later. Twice is harmless."""

    def begun(self, run: Run, at_us: int) -> None:
        """The job's code is called next."""

    def ended(self, finish: Finish) -> None:
        """A run is over."""

    def not_told(self) -> None:
        """From now on runs begin of which nobody tells."""

    def mark(self) -> tuple[int, int]:
        """Where it stands now."""

    def forget(self, mark: tuple[int, int]) -> None:
        """All that it was told up to a mark is in the store."""


class StoreHost(JobKeeper, Protocol):
    """What a store needs of its scheduler: the clock, and what the handles need that it gives out."""

    @property
    def clock(self) -> Clock:
        """Where instants of records come from."""


class BaseJobStore(ABC):
    """A job store of the 3.x kind. The comments of the ten methods give their meaning there."""

    _scheduler: StoreHost | None = None
    _alias: str = ""
    _logger = logging.getLogger("schedcore.jobstores")

    def start(self, scheduler: StoreHost, alias: str) -> None:
        """Called once, before anything else: connect, create tables. May block; may raise."""
        self._scheduler = scheduler
        self._alias = alias
        self._logger = logging.getLogger(f"schedcore.jobstores.{alias}")

    def _fix_paused_jobs_sorting(self, jobs: list[Job]) -> None:
        """Put jobs without a next run time last, in place: for stores of the 3.x kind whose database sorts them first."""
        jobs.sort(key=lambda job: job.next_run_time is None)

    def shutdown(self) -> None:  # noqa: B027  # a store with nothing to let go of need not say so
        """Let go of what was opened. May be called twice."""

    @abstractmethod
    def lookup_job(self, job_id: str) -> Job | None:
        """The job, or None."""

    @abstractmethod
    def get_due_jobs(self, now: datetime) -> list[Job]:
        """The jobs with a next run time not later than ``now``, earliest first."""

    @abstractmethod
    def get_next_run_time(self) -> datetime | None:
        """The earliest next run time of all, or None."""

    @abstractmethod
    def get_all_jobs(self) -> list[Job]:
        """All jobs, by next run time, those without one last."""

    @abstractmethod
    def add_job(self, job: Job) -> None:
        """Keep a new job. Raises ``ConflictingIdError``."""

    @abstractmethod
    def update_job(self, job: Job) -> None:
        """Replace a job. Raises ``JobLookupError``."""

    @abstractmethod
    def remove_job(self, job_id: str) -> None:
        """Forget a job. Raises ``JobLookupError``."""

    @abstractmethod
    def remove_all_jobs(self) -> None:
        """Forget all jobs."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class JobStore(BaseJobStore):
    """A job store of ours. See the module's docstring for the way of a run through it."""

    traits: StoreTraits

    # -- jobs -----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def add_entries(self, entries: Sequence[JobEntry], skipped: Sequence[RunRecord] = ()) -> None:
        """Keep new jobs, all or none. Raises ``ConflictingIdError``, ``TransientJobError`` (the callable has no name) and
        ``SerializationError`` (an argument cannot be stored). ``skipped`` are records of fire times of these jobs that pass by
        them, to be kept in the same step."""

    def check(self, job: JobRecord) -> None:
        """Raise what ``add_entries`` would raise for what this job is, so that who adds it learns of it at once.

        Called in any thread, event loops included, whether the store is open or not: no I/O.
        """

    @abstractmethod
    def get_entry(self, job_id: str) -> JobEntry | None:
        """The job, or None. Jobs that have ended are not listed any more."""

    @abstractmethod
    def list_entries(self, after: JobEntry | None = None, limit: int | None = None) -> list[JobEntry]:
        """Jobs by next dispatch, those without one last, then by id; ``after`` is the last one of the page before."""

    @abstractmethod
    def replace_entry(self, old: JobEntry, new: JobEntry, skipped: Sequence[RunRecord] = ()) -> bool:
        """Put ``new`` in the place of ``old`` (same id) if nothing has changed since ``old`` was read; else False.
        ``skipped`` are records of fire times that pass by it, to be kept in the same step.

        Raises ``JobLookupError`` when the job is gone. Runs that are live stay so; a claim on the job is outdated by it.
        """

    # -- the way of a run -----------------------------------------------------------------------------------------------

    @abstractmethod
    def acquire(self, now: Now, limit: int) -> list[Claim]:
        """Claim up to ``limit`` jobs whose dispatch is not later than ``now`` on their timeline, earliest first."""

    def fire(self, now: Now, limit: int, executors: Container[str]) -> tuple[list[Run], list[Claim]]:
        """``acquire``; but jobs about which there is nothing to decide (``engine.plain_next``), and whose executor is among
        ``executors``, may be committed in the same step: their runs are returned, and claims on the others.

        A store in memory gains a third of the time of a run by it; to others it means nothing.
        """
        return [], self.acquire(now, limit)

    @abstractmethod
    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        """Carry out decisions, in one atomic step for the batch."""

    @property
    def journal(self) -> RunJournal | None:
        """Where it is to be told at once what begins and ends, while it is open; None: it is told in batches alone."""
        return None

    @abstractmethod
    def started(self, runs: Sequence[tuple[Run, int]]) -> None:
        """Runs began, each at an instant. Those that the store does not know any more are passed over."""

    @abstractmethod
    def finish(self, finishes: Sequence[Finish]) -> None:
        """Runs ended. Those that the store does not know any more are passed over."""

    def awaited_here(self) -> bool:
        """Whether other calls have to wait for the calling thread, which is in the midst of one: it holds a lock of the store's.

        Asked by ``shutdown``, which a signal handler may call: it does not wait for the call that it interrupted. In any thread,
        event loops included: no I/O, and no waiting.
        """
        return False

    def withdraw(self, runs: Sequence[Run]) -> None:  # a store whose runs do not outlive it has nobody to tell
        """Runs were taken back before they began: whoever recovers them need not doubt it. They stay live on record. Those that
        the store does not know any more, or that began, are passed over.
        """

    @abstractmethod
    def next_due(self) -> Due:
        """The earliest dispatches, claimed jobs left out."""

    def recover(self, known: Collection[Run]) -> Recovered:
        """Take over what is live on record and not among the ``known`` runs of this scheduler.

        Runs that never began are submitted again as they are: those that were withdrawn, and, once this scheduler has recovered
        what others left, those that it knows nothing of, because the answer to their commit was lost. Of what another scheduler
        left as submitted it is not known whether it began, unless there is a ``journal`` that says so. That, and what had begun,
        is by the job's ``recovery`` closed as lost or run again (attempt + 1), a bounded number of times
        (``schedcore.jobstores._recovery``). Claims that were not committed are dropped.
        """
        return Recovered([], [])

    def renew(self) -> None:
        """Tell the store that this scheduler lives."""

    def listen(self, callback: Callable[[], None]) -> None:
        """Call ``callback``, from any thread, when somebody else changed what is due. Only where traits say ``notifies``."""

    def get_note(self, name: str) -> str | None:
        """What was noted under this name when the store was last used; None: nothing. Durable stores keep such notes."""
        return None

    def put_note(self, name: str, value: str) -> None:  # a store that is not durable has nobody to tell
        """Note something for the next time that the store is opened."""

    @abstractmethod
    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        """Run records, latest first: of one job or all; ``failed``: only those that failed or were lost."""

    # -- the ten methods of 3.x, over the above ----------------------------------------------------------------------------

    def _handle(self, entry: JobEntry) -> Job:
        scheduler = self._scheduler
        if scheduler is None:
            raise RuntimeError("the job store is not started")
        return Job(scheduler, self._alias, entry)

    def lookup_job(self, job_id: str) -> Job | None:
        entry = self.get_entry(job_id)
        return None if entry is None else self._handle(entry)

    def get_due_jobs(self, now: datetime) -> list[Job]:
        now_us = from_datetime(now)
        due = [e for e in self.list_entries() if e.due_us is not None and e.due_us <= now_us]
        return [self._handle(entry) for entry in due]

    def get_next_run_time(self) -> datetime | None:
        due = [instant for instant in self.next_due() if instant is not None]
        return to_datetime(min(due)) if due else None

    def get_all_jobs(self) -> list[Job]:
        return [self._handle(entry) for entry in self.list_entries()]

    def add_job(self, job: Job) -> None:
        self.add_entries([job._entry])

    def update_job(self, job: Job) -> None:
        while True:
            old = self.get_entry(job.id)
            if old is None:
                raise JobLookupError(job.id)
            if self.replace_entry(old, job._entry):
                return

"""Between the job stores and the executors: runs are handed over here, and what executors report of them goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedcore.errors import contained
from schedcore.executors.base import BaseExecutor, RunExecutor, failed
from schedcore.run import Finish, Run, RunState, SkipReason

if TYPE_CHECKING:
    from schedcore.jobstores.base import RunJournal
    from schedcore.schedulers._pump import Pump
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["Runs", "live_runs"]


def live_runs(executor: BaseExecutor) -> list[Run]:
    """The runs that an executor has taken and that are not over."""
    if isinstance(executor, RunExecutor):
        return executor.live_runs()
    return [run for runs in executor._submitted.copy().values() for run in list(runs)]


class Runs:
    """The runs that a scheduler has in hand. ``started``, ``finished`` and ``known``: from any thread."""

    def __init__(self, scheduler: BaseScheduler) -> None:
        self._scheduler = scheduler
        #: Whether anybody wants to know that a run began: a listener, or a durable store.
        self.tells_start = False
        #: The pumps of job stores that were removed, by alias: runs of theirs may go on.
        self.removed: dict[str, Pump] = {}

    def submit(self, runs: list[Run]) -> None:
        """Hand runs to their executors, in order, each executor's as one batch."""
        scheduler = self._scheduler
        if not scheduler._state:
            self.take_back(runs)
            return
        reports = scheduler._reports
        told_all = reports.tells_all
        reports.submitted(runs)
        if reports.tells_all is not told_all:
            scheduler._look_who_is_told()
        batches: dict[str, list[Run]] = {}
        for run in runs:
            alias = run.job.policy.executor
            batch = batches.get(alias)
            if batch is None:
                batches[alias] = [run]
            else:
                batch.append(run)
        for alias, batch in batches.items():
            executor = scheduler._executors.get(alias)
            try:
                if executor is None:
                    raise LookupError(f"the executor {alias!r} is missing")
                if self.tells_start and not isinstance(executor, RunExecutor):
                    self._not_told(batch)
                executor.submit(batch)
            except BaseException as error:
                failure = contained(error)
                if not scheduler._state:
                    # It was closed since.
                    self.take_back(batch)
                    continue
                scheduler._reports.logger.exception("executor %r refused %d runs", alias, len(batch))
                now_us = scheduler.clock.wall_us()
                for run in batch:
                    scheduler.run_finished(failed(run, None, now_us, failure))

    def _not_told(self, runs: list[Run]) -> None:
        """Runs begin of which no ``started`` tells: an executor of the 3.x kind has them."""
        for alias in {run.alias for run in runs}:
            journal = self._journal_of(alias)
            if journal is not None:
                journal.not_told()

    def take_back(self, runs: list[Run]) -> None:
        """Runs that were never handed to an executor are over before they began."""
        now_us = self._scheduler.clock.wall_us()
        for run in runs:
            self._scheduler.run_finished(Finish(run, RunState.CANCELLED, None, now_us))

    def sent(self, run: Run) -> None:
        """The run goes to another process, where it may begin before that is told."""
        journal = self._journal_of(run.alias)
        if journal is not None:
            journal.sent(run)

    def _journal_of(self, alias: str) -> RunJournal | None:
        pump = self._scheduler._pumps.get(alias)
        return None if pump is None else pump.store.journal

    def started(self, run: Run) -> None:
        """The job's code is about to be called."""
        if not self.tells_start:
            return
        scheduler = self._scheduler
        pump = scheduler._pumps.get(run.alias)
        if pump is not None and pump.store.traits.durable:
            at_us = scheduler.clock.wall_us()
            pump.write_back.begun.append((run, at_us))
            # Only now: what the journal is told to forget has been in the queue when that was emptied.
            journal = pump.store.journal
            if journal is not None:
                journal.begun(run, at_us)
            if not scheduler._ticker.asked:
                scheduler._ask()
        scheduler._reports.started(run)

    def finished(self, finish: Finish) -> None:
        """The run is over."""
        scheduler = self._scheduler
        pump = scheduler._pumps.get(finish[0][1])
        if pump is None:
            self._finished_without_store(finish)
            return
        if not scheduler._state and finish.state is RunState.CANCELLED and finish.started_us is None:
            finish = finish._replace(state=RunState.SKIPPED, retval=SkipReason.SHUTDOWN)
        pump.write_back.finished.append(finish)
        journal = pump.store.journal
        if journal is not None:
            journal.ended(finish)
        if not scheduler._ticker.asked:
            scheduler._ask()

    def _finished_without_store(self, finish: Finish) -> None:
        """Its store was removed meanwhile. One that is closed learns of the end when it is opened again, by its ``recover``."""
        scheduler = self._scheduler
        pump = self.removed.get(finish.run.alias)
        if pump is not None and not pump.store.traits.blocking:
            try:
                pump.store.finish([finish])
            except Exception as error:  # noqa: BLE001  # a store may be anybody's code
                scheduler._reports.store_failed(pump.alias, error, None)
        scheduler._reports.ended([finish])

    def known(self, pump: Pump) -> list[Run]:
        """The live runs of a store that this scheduler has in hand."""
        runs = pump.handover.waiting_runs()
        for executor in self._scheduler._all_executors():
            runs += [run for run in live_runs(executor) if run.alias == pump.alias]
        return runs + pump.write_back.ended_runs()

"""Runs on their way from a job store to the executors.

Of one job no more than ``max_instances`` are live at a time: what a backlog has beyond that waits here for those to end, and
so does all that would begin while the scheduler is paused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from schedcore.engine import Decision
from schedcore.run import Finish, Run

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["HandOver"]


class HandOver:
    """Of the runs of one job store. All but ``waiting_runs`` belongs to the scheduler's thread."""

    def __init__(self, scheduler: BaseScheduler) -> None:
        self._scheduler = scheduler
        # Runs of an uncoalesced backlog that wait for one of their job's to end.
        self._waiting: dict[str, deque[Run]] = {}
        # How many of these might begin, by job, were the scheduler not paused.
        self._held: dict[str, int] = {}
        self._handed = 0
        self._returned = 0

    @property
    def in_hand(self) -> int:
        """How many runs were handed over, and have not been reported as over."""
        return self._handed - self._returned

    def singles(self, runs: list[Run]) -> None:
        """Submit runs of which each is of another job, and within its ``max_instances``."""
        if self._is_paused():
            self.runs(runs)
            return
        self._handed += len(runs)
        self._scheduler._runs.submit(runs)

    def runs(self, runs: list[Run], decisions: Sequence[Decision] = ()) -> None:
        """Submit runs; of one job no more than ``max_instances`` are live at a time, and the others wait for those."""
        if not runs:
            return
        self._handed += len(runs)
        paused = self._is_paused()
        if len({run.job.id for run in runs}) == len(runs) and not paused:
            self._scheduler._runs.submit(runs)
            return
        now: list[Run] = []
        given = {decision.claim.job.id: decision.claim.live for decision in decisions if len(decision.fires) > 1}
        for run in runs:
            job_id = run.job.id
            given[job_id] = given.get(job_id, 0) + 1
            late = given[job_id] > run.job.policy.max_instances
            if paused and not late:
                self._held[job_id] = self._held.get(job_id, 0) + 1
            if late or paused or job_id in self._waiting:
                self._waiting.setdefault(job_id, deque()).append(run)
            else:
                now.append(run)
        if now:
            self._scheduler._runs.submit(now)

    def ended(self, ended: list[Finish]) -> None:
        """Runs are over: listeners are told, and others of their jobs begin."""
        self._returned += len(ended)
        self._scheduler._reports.ended(ended)
        if self._waiting:
            freed: list[Run] = []
            for finish in ended:
                job_id = finish.run.job.id
                if job_id not in self._waiting:
                    continue
                if self._is_paused():
                    self._held[job_id] = self._held.get(job_id, 0) + 1
                else:
                    freed += self._free(job_id, 1)
            if freed:
                self._scheduler._runs.submit(freed)

    def _is_paused(self) -> bool:
        """Whether nothing may begin, and what waits has to wait on. (A scheduler that stops takes it back.)"""
        return not self._scheduler._dispatches and self._scheduler.running

    def _free(self, job_id: str, count: int) -> list[Run]:
        """Take up to ``count`` runs of a job out of those that wait."""
        freed: list[Run] = []
        waiting = self._waiting.get(job_id)
        while waiting and len(freed) < count:
            freed.append(waiting.popleft())
        if not waiting:
            self._waiting.pop(job_id, None)
        return freed

    def release_held(self) -> None:
        """What could not begin because of a pause begins, if that is over."""
        if not self._held or not self._scheduler._dispatches:
            return
        held, self._held = self._held, {}
        freed = [run for job_id, count in held.items() for run in self._free(job_id, count)]
        if freed:
            self._scheduler._runs.submit(freed)

    def waiting_runs(self) -> list[Run]:
        """The runs that wait for others of their job. From any thread."""
        return [run for waiting in self._waiting.copy().values() for run in list(waiting)]

    def take_waiting(self) -> list[Run]:
        """The runs that wait for others of their job, taken out: the scheduler stops."""
        runs = self.waiting_runs()
        self._waiting.clear()
        self._held.clear()
        return runs

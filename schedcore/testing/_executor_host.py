"""What the suite of executors, and tests of executors, stand in for a scheduler with: its runs, and what hears of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from schedcore.clock import Clock, SystemClock
from schedcore.job import NO_KWARGS, Job, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.run import Finish, Run, current_run
from schedcore.testing._suite import patience
from schedcore.triggers.date import DateTrigger

__all__ = ["RecordingHost", "make_run"]

# 2026-01-01T00:00:00Z, in microseconds: the fire time of the first run that ``make_run`` gives.
_EPOCH_US = 1_767_225_600_000_000


def make_run(
    func: Callable[..., Any] | None,
    *args: Any,
    kwargs: Mapping[str, Any] = NO_KWARGS,
    job_id: str = "job",
    fire_us: int = _EPOCH_US,
    attempt: int = 1,
    max_instances: int = 1,
) -> Run:
    """A run of a job that calls ``func(*args, **kwargs)``, as a scheduler would submit it."""
    trigger = DateTrigger("2026-01-01", timezone="UTC")
    policy = JobPolicy(max_instances=max_instances).intern()
    return Run(JobRecord(job_id, job_id, func, None, args, kwargs, trigger, policy), "default", fire_us, attempt, None)


class RecordingHost:
    """The side of a scheduler that an executor sees. It keeps all reports, in order, and checks that each may come
    when it does.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock if clock is not None else SystemClock()
        self._changed = threading.Condition()
        self._sent: list[Run] = []
        self._started: list[Run] = []
        self._finished: list[Finish] = []
        self._faults: list[str] = []
        self._over: set[int] = set()

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def sent(self) -> list[Run]:
        """The runs that were reported as sent to another process, in order."""
        with self._changed:
            return list(self._sent)

    @property
    def started(self) -> list[Run]:
        """The runs that were reported as started, in order."""
        with self._changed:
            return list(self._started)

    @property
    def finished(self) -> list[Finish]:
        """The ends that were reported, in order."""
        with self._changed:
            return list(self._finished)

    @property
    def faults(self) -> list[str]:
        """What was reported against the contract: twice, or in the wrong order."""
        with self._changed:
            return list(self._faults)

    def run_sent(self, run: Run) -> None:
        with self._changed:
            if any(one is run for one in self._started):
                self._faults.append(f"run {run.id} was reported as sent after it was as started")
            self._sent.append(run)

    def run_started(self, run: Run) -> None:
        with self._changed:
            if any(one is run for one in self._started):
                self._faults.append(f"run {run.id} was reported as started twice")
            if id(run) in self._over:
                self._faults.append(f"run {run.id} was reported as started after its end")
            self._started.append(run)
            self._changed.notify_all()

    def run_finished(self, finish: Finish) -> None:
        with self._changed:
            if id(finish.run) in self._over:
                self._faults.append(f"run {finish.run.id} was reported as finished twice")
            if current_run.get() is finish.run:
                self._faults.append(f"run {finish.run.id} was reported with current_run still set")
            self._over.add(id(finish.run))
            self._finished.append(finish)
            self._changed.notify_all()

    def job_handle(self, run: Run) -> Job:
        """A handle on the run's job, of no scheduler: it can be read, not changed."""
        entry = JobEntry(run.job, JobState.ACTIVE, run.fire_us, run.fire_us)
        return Job(cast(Any, None), run.alias, entry)

    def finish_of(self, run: Run, timeout: float | None = None) -> Finish:
        """The end of this run, waited for."""
        return self.wait([run], timeout)[0]

    def wait(self, runs: Sequence[Run], timeout: float | None = None) -> list[Finish]:
        """The ends of these runs, waited for, in the order of ``runs``. Raises ``AssertionError`` when they do not come."""
        timeout = patience.seconds if timeout is None else timeout
        with self._changed:
            self._changed.wait_for(lambda: all(id(run) in self._over for run in runs), timeout)
            ends = {id(finish.run): finish for finish in self._finished}
        missing = [run.id for run in runs if id(run) not in ends]
        assert not missing, f"these runs were never reported as finished: {', '.join(missing)}"
        return [ends[id(run)] for run in runs]

    def wait_started(self, runs: Sequence[Run], timeout: float | None = None) -> None:
        """Wait until these runs were reported as started."""
        timeout = patience.seconds if timeout is None else timeout
        with self._changed:
            wanted = {id(run) for run in runs}
            came = self._changed.wait_for(lambda: wanted <= {id(run) for run in self._started}, timeout)
        assert came, "not all runs were reported as started"

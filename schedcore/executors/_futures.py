"""The base of executors of the 3.x kind that have a pool of futures."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from schedcore.executors.base import BaseExecutor, run_job

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from schedcore.events import JobExecutionEvent
    from schedcore.job import Job

__all__ = ["BasePoolExecutor"]


class BasePoolExecutor(BaseExecutor):
    """Runs jobs by a pool of ``concurrent.futures``, or whatever has its ``submit`` and ``shutdown`` (3.x).

    To derive from; the thread and process pools of this module report more (when a run began, which were cut).
    ``isinstance`` takes them for one, as in 3.x.

    :param pool: shut down with the scheduler, which cannot be started again with this executor then.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def shutdown(self, wait: bool = True) -> None:
        """Shut the pool down; with ``wait``, return when what it has taken is over."""
        self._pool.shutdown(wait)

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        future = self._pool.submit(run_job, job, job.jobstore, run_times, self._logger.name)
        future.add_done_callback(partial(self._report, job.id))

    def _report(self, job_id: str, future: Future[list[JobExecutionEvent]]) -> None:
        try:
            events = future.result()
        # All there is: a job that is not what a pool of processes can be given, a pool that broke, a future that was cancelled.
        except BaseException as error:  # noqa: BLE001
            self._run_job_error(job_id, error, error.__traceback__)
        else:
            self._run_job_success(job_id, events)

"""Classes that users derive from job stores and executors of ours as they did from those of 3.x.

A scheduler gives ours whole batches, by methods that 3.x does not have. What a derived class does in a method of 3.x would
never be called then, and nobody would know. So a job store in memory is treated as one that has the methods of 3.x alone, and
what cannot be treated so is refused.
"""

from __future__ import annotations

from schedcore.errors import ConfigurationError
from schedcore.executors.base import BaseExecutor, RunExecutor
from schedcore.jobstores.base import BaseJobStore, JobStore

__all__ = ["as_job_store", "check_executor"]

# Methods of 3.x that are not called, and those that are in their place.
_STORE = {"add_job", "get_all_jobs", "get_due_jobs", "get_next_run_time", "lookup_job", "update_job"}
_STORE_INSTEAD = {"acquire", "add_entries", "fire", "get_entry", "list_entries", "next_due", "replace_entry"}
_EXECUTOR = {"_do_submit_job", "_run_job_error", "_run_job_success", "submit_job"}
_EXECUTOR_INSTEAD = {"submit"}


def as_job_store(store: BaseJobStore) -> JobStore:
    """The job store as one that a scheduler can use. Raises ``ConfigurationError``."""
    if isinstance(store, JobStore):
        own = _own(type(store), _STORE, _STORE_INSTEAD)
        if not own:
            return store
        if store.traits.durable:
            # What it keeps of runs, and who may use it, is the affair of methods that nobody would call.
            raise ConfigurationError(
                f"{type(store).__name__} has its own {own}, which is not called on a job store that keeps runs; change what is "
                f"(see schedcore.jobstores.base.JobStore), or derive from BaseJobStore"
            )
    from schedcore.jobstores.simple import SimpleStore

    return SimpleStore(store)


def check_executor(executor: BaseExecutor) -> None:
    """Raises ``ConfigurationError`` for an executor that is derived from one of ours by methods that are not called."""
    own = _own(type(executor), _EXECUTOR, _EXECUTOR_INSTEAD) if isinstance(executor, RunExecutor) else ""
    if own:
        raise ConfigurationError(
            f"{type(executor).__name__} has its own {own}, which is not called on an executor of schedcore; derive from "
            f"BaseExecutor, or from BasePoolExecutor with a pool of concurrent.futures"
        )


def _own(kind: type, not_called: set[str], called: set[str]) -> str:
    """The methods that are not called of those that a class adds to one of ours; none where it has its own of the others, too."""
    own: set[str] = set()
    for each in kind.__mro__:
        if each.__module__.startswith("schedcore."):
            break
        own.update(vars(each))
    return "" if own & called else ", ".join(f"{name}()" for name in sorted(own & not_called))

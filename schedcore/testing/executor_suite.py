"""The conformance suite of executors, and a host that records what an executor reports.

``check_executor(make)`` runs every behaviour of the contract (``schedcore.executors.base``) against executors of any
kind, without pytest:

    check_executor(lambda: ThreadPoolExecutor(2), ExecutorTraits(workers=2))

What an executor cannot have is declared in its traits, and ``executor_behaviours(traits)`` lists each behaviour with
the reason why it is left out, or None, so that a test run can show it.

The behaviours are in ``_executor_runs`` and ``_executor_stopping``; what they share is in ``_executor_bench``, their jobs are in
``_executor_jobs``, and what stands in for a scheduler is in ``_executor_host``.
"""

from __future__ import annotations

from collections.abc import Callable

from schedcore.executors.base import BaseExecutor
from schedcore.testing import _executor_runs, _executor_stopping  # noqa: F401  # each registers its behaviours
from schedcore.testing._executor_bench import ExecutorTraits, bench_for, suite
from schedcore.testing._executor_host import RecordingHost, make_run

__all__ = ["ExecutorTraits", "RecordingHost", "check_executor", "executor_behaviours", "make_run"]


def executor_behaviours(traits: ExecutorTraits = ExecutorTraits()) -> list[tuple[str, str | None]]:  # noqa: B008 (immutable)
    """The behaviours, each with the reason why an executor with these traits is not held to it, or None."""
    return suite.wanted(traits)


def check_executor(
    make: Callable[[], BaseExecutor],
    traits: ExecutorTraits = ExecutorTraits(),  # noqa: B008 (immutable)
    *,
    only: str | None = None,
    submit_in: Callable[[Callable[[], None]], None] | None = None,
) -> list[str]:
    """Hold executors to their contract. Returns the names of the behaviours checked; ``AssertionError`` names the one
    that is missing.

    ``make`` gives a new executor that was not started, with as many workers as the traits say. ``only`` names a single behaviour.
    ``submit_in(call)`` makes a call where the executor wants ``start`` and ``submit`` to be called, and returns when it was
    made (the thread of an event loop, say); without it they are called in threads of the suite's own.
    """
    return suite.check(traits, only, lambda: bench_for(make, traits, submit_in))

"""The conformance suite of schedulers.

``check_scheduler(runtime)`` runs every behaviour that all schedulers have in common against one on any framework, without
pytest. What it has to know of the framework is a ``Runtime``; ``schedcore.testing.runtime`` shows a whole one::

    check_scheduler(runtime, SchedulerTraits(on_loop=True, native=("coroutine",)))

What a scheduler cannot have follows from its traits or is declared there; ``scheduler_behaviours(traits)`` lists each behaviour
with the reason why it is left out, or None, so that a test run can show it.

Rules of the suite. What happens is waited for, and never slept through, except where it is shown that something does *not*
happen. Where time matters, it stands still and is moved by hand (``HandClock``). Jobs that are to be found in the middle of
their work wait at gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from schedcore.testing import (  # noqa: F401  # each registers its behaviours
    _scheduler_failures,
    _scheduler_firing,
    _scheduler_jobs,
    _scheduler_life,
    _scheduler_native,
)
from schedcore.testing._scheduler_bench import Bench, bench_on, suite
from schedcore.testing.runtime import Runtime, SchedulerTraits

__all__ = ["check_scheduler", "scheduler_behaviours"]


def scheduler_behaviours(traits: SchedulerTraits = SchedulerTraits()) -> list[tuple[str, str | None]]:  # noqa: B008 (immutable)
    """The behaviours, each with the reason why a scheduler with these traits is not held to it, or None."""
    return suite.wanted(traits)


def check_scheduler(
    runtime: Callable[[], AbstractContextManager[Runtime]],
    traits: SchedulerTraits = SchedulerTraits(),  # noqa: B008 (immutable)
    *,
    only: str | None = None,
) -> list[str]:
    """Hold schedulers to what they have in common, each behaviour on a runtime of its own; ``only`` names a single one.

    ``runtime`` gives a context manager around a ``Runtime``, whose loop runs meanwhile. Returns the names of the behaviours
    checked; ``AssertionError`` names the one that is missing.
    """

    @contextmanager
    def make() -> Iterator[Bench]:
        with runtime() as made, bench_on(made, traits) as bench:
            yield bench

    return suite.check(traits, only, make)

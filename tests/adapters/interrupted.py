"""What a signal handler may do to executors, whatever the framework."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from schedcore.executors.base import RunExecutor
from schedcore.testing.executor_suite import RecordingHost, make_run

__all__ = ["shut_down_amid_submissions"]

#: ``tests.interrupting.disturbed``, in the thread that submits.
Disturbed = Callable[[Callable[[], object], Callable[[], object], int], bool]


def shut_down_amid_submissions(make: Callable[[], RunExecutor], disturbed: Disturbed) -> None:
    """Shut an executor down at each point of a submission, one after the other: nothing hangs, or is left."""

    def is_interrupted(at: int) -> bool:
        executor = make()
        executor.start(RecordingHost(), "default")

        def submit() -> None:
            # Refused, if it was shut down before.
            with suppress(RuntimeError):
                executor.submit([make_run(os.getpid)])

        interrupted = disturbed(submit, lambda: executor.shutdown(wait=False), at)
        executor.shutdown()
        assert executor.live_runs() == []
        return interrupted

    at = 1
    while is_interrupted(at):
        at += 1
    assert at > 10

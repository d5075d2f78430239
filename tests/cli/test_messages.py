"""What failures of the scheduler's parts are called."""

from __future__ import annotations

from schedcore.cli.board import failure_message
from schedcore.errors import JobStoreError
from schedcore.events import EVENT_CLOCK_STEPPED, EVENT_JOBSTORE_FAILED, SchedulerFailureEvent


def test_a_store_is_named_once() -> None:
    ours = JobStoreError("default", "cannot record runs: the disk is full")
    event = SchedulerFailureEvent(EVENT_JOBSTORE_FAILED, "default", f"JobStoreError: {ours}", ours)
    assert failure_message(event) == "job store 'default': cannot record runs: the disk is full"
    event = SchedulerFailureEvent(EVENT_JOBSTORE_FAILED, "kept", "OSError: no", OSError("no"))
    assert failure_message(event) == "job store 'kept': OSError: no"
    event = SchedulerFailureEvent(EVENT_CLOCK_STEPPED, None, "the clock was set")
    assert failure_message(event) == "the clock was set"

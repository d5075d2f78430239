"""Events: codes, what the objects hold, and how the bus delivers them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from schedcore import events
from schedcore.events import EVENT_ALL, EventBus, SchedulerEvent
from tests.interrupting import disturbed

A, B = 1, 2

#: As in 3.x: the place in this list is the power of two.
OLD_CODES = [
    "SCHEDULER_STARTED",
    "SCHEDULER_SHUTDOWN",
    "SCHEDULER_PAUSED",
    "SCHEDULER_RESUMED",
    "EXECUTOR_ADDED",
    "EXECUTOR_REMOVED",
    "JOBSTORE_ADDED",
    "JOBSTORE_REMOVED",
    "ALL_JOBS_REMOVED",
    "JOB_ADDED",
    "JOB_REMOVED",
    "JOB_MODIFIED",
    "JOB_EXECUTED",
    "JOB_ERROR",
    "JOB_MISSED",
    "JOB_SUBMITTED",
    "JOB_MAX_INSTANCES",
]


@pytest.fixture
def bus() -> EventBus:
    return EventBus(lambda: logging.getLogger("test.events"))


def test_the_codes_of_3x_keep_their_values() -> None:
    assert [getattr(events, f"EVENT_{name}") for name in OLD_CODES] == [2**n for n in range(17)]


def test_every_code_is_a_bit_of_its_own_and_part_of_all() -> None:
    codes = [getattr(events, name) for name in events.__all__ if name.startswith("EVENT_") and name != "EVENT_ALL"]
    assert sum(codes) == EVENT_ALL
    assert len(set(codes)) == len(codes)
    assert all(code & (code - 1) == 0 for code in codes)


def test_what_events_hold() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    ran = events.JobExecutionEvent(events.EVENT_JOB_EXECUTED, "j", "default", at, 7, run_id="j@x#1")
    assert (ran.code, ran.alias, ran.job_id, ran.jobstore) == (4096, None, "j", "default")
    assert (ran.scheduled_run_time, ran.retval, ran.exception, ran.traceback) == (at, 7, None, None)
    skipped = events.JobSkippedEvent(events.EVENT_JOB_MISSED, "j", "default", "misfired", at, at, 3)
    assert isinstance(skipped, events.JobExecutionEvent)
    assert (skipped.reason, skipped.count, skipped.first_run_time) == ("misfired", 3, at)
    sent = events.JobSubmissionEvent(events.EVENT_JOB_SUBMITTED, "j", "default", [at])
    assert (sent.scheduled_run_times, sent.run_ids) == ([at], [])
    assert repr(SchedulerEvent(1, "x")) == "<SchedulerEvent (code=1)>"


def test_only_what_was_asked_for(bus: EventBus) -> None:
    seen: list[tuple[str, int]] = []
    bus.add(lambda event: seen.append(("a", event.code)), A)
    bus.add(lambda event: seen.append(("both", event.code)), A | B)
    assert bus.mask == A | B
    assert bus.wants(B)
    assert not bus.wants(4)
    for code in (A, B, 4):
        bus.publish(SchedulerEvent(code))
    assert seen == [("a", A), ("both", A), ("both", B)]


def test_a_listener_can_be_removed_once(bus: EventBus) -> None:
    seen: list[int] = []
    listener: Callable[[SchedulerEvent], None] = lambda event: seen.append(event.code)  # noqa: E731
    bus.add(listener, A)
    bus.add(listener, A)
    bus.remove(listener)
    bus.publish(SchedulerEvent(A))
    assert seen == [A]
    bus.remove(listener)
    bus.remove(listener)
    assert bus.mask == 0
    bus.publish(SchedulerEvent(A))
    assert seen == [A]


def test_a_listener_that_raises_is_logged_and_the_others_hear(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    bus.add(lambda event: 1 / 0, A)
    bus.add(lambda event: seen.append(event.code), A)
    bus.publish(SchedulerEvent(A))
    assert seen == [A]
    assert "failed on <SchedulerEvent (code=1)>" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_listener_that_ends_the_program_leaves_the_bus_usable(bus: EventBus) -> None:
    seen: list[int] = []

    def stop(event: SchedulerEvent) -> None:
        raise KeyboardInterrupt

    bus.add(stop, A)
    bus.add(lambda event: seen.append(event.code), B)
    with pytest.raises(KeyboardInterrupt):
        bus.publish(SchedulerEvent(A))
    bus.publish(SchedulerEvent(B))
    assert seen == [B]


def test_what_a_listener_publishes_comes_after(bus: EventBus) -> None:
    seen: list[tuple[str, int]] = []

    def first(event: SchedulerEvent) -> None:
        seen.append(("first", event.code))
        if event.code == A:
            bus.publish(SchedulerEvent(B))

    bus.add(first, A | B)
    bus.add(lambda event: seen.append(("second", event.code)), A | B)
    bus.publish(SchedulerEvent(A))
    assert seen == [("first", A), ("second", A), ("first", B), ("second", B)]


def test_listeners_may_change_the_listeners(bus: EventBus) -> None:
    seen: list[str] = []

    def once(event: SchedulerEvent) -> None:
        seen.append("once")
        bus.remove(once)
        bus.add(lambda event: seen.append("new"), A)

    bus.add(once, A)
    bus.publish(SchedulerEvent(A))
    bus.publish(SchedulerEvent(A))
    assert seen == ["once", "new"]


def test_posted_events_go_to_the_helper(bus: EventBus) -> None:
    seen: list[int] = []
    calls: list[Callable[[], None]] = []
    bus.add(lambda event: seen.append(event.code), A | B)
    bus.use_helper(calls.append)
    bus.post(SchedulerEvent(A))
    bus.post(SchedulerEvent(4))
    assert seen == []
    assert calls
    calls[0]()
    assert seen == [A]
    bus.post(SchedulerEvent(A))
    bus.publish(SchedulerEvent(B))
    assert seen == [A, A, B], "what was posted before comes first"
    bus.use_helper(None)
    bus.post(SchedulerEvent(A))
    assert seen == [A, A, B, A], "no scheduler, no helper: at once"


def test_one_delivery_at_a_time_and_none_lost_from_many_threads(bus: EventBus) -> None:
    inside = 0
    overlaps = 0
    seen: list[object] = []

    def listener(event: SchedulerEvent) -> None:
        nonlocal inside, overlaps
        inside += 1
        overlaps += inside > 1
        seen.append(event.alias)
        inside -= 1

    bus.add(listener, A)
    started = threading.Barrier(8)

    def publish(name: str) -> None:
        started.wait()
        for n in range(500):
            bus.publish(SchedulerEvent(A, f"{name} {n:03}"))

    threads = [threading.Thread(target=publish, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == 0
    assert len(seen) == 4000
    for name in "01234567":
        mine = [alias for alias in seen if str(alias).startswith(f"{name} ")]
        assert mine == sorted(mine, key=str), "the events of one thread keep their order"


def test_a_signal_handler_may_publish_in_the_midst_of_a_delivery() -> None:
    for at in range(1, 10_000):
        bus = EventBus(lambda: logging.getLogger("test.events"))
        heard: list[int] = []
        bus.add(lambda event: heard.append(event.code), EVENT_ALL)  # noqa: B023  # called in here

        def intrude(bus: EventBus = bus) -> None:
            bus.publish(SchedulerEvent(2))

        if not disturbed(lambda: bus.publish(SchedulerEvent(1)), intrude, at):  # noqa: B023  # called in here
            break
        assert sorted(heard) == [1, 2]
        bus.publish(SchedulerEvent(4))
        assert heard[-1] == 4, "no delivery is under way any more"
    assert at > 10

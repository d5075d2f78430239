"""Behaviours of schedulers: what fires when, and what is told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from schedcore.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    EVENT_JOB_REMOVED,
    EVENT_JOB_SKIPPED,
    EVENT_JOB_STARTED,
    EVENT_JOB_SUBMITTED,
)
from schedcore.run import RunState
from schedcore.schedulers.base import STATE_PAUSED, STATE_RUNNING, BaseScheduler
from schedcore.testing._scheduler_bench import Bench, behaviour, minutes

__all__: list[str] = []


@behaviour("tells of a run in order: added, submitted, started, finished, with one run id and one fire time")
def _events(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    calls = bench.calls()
    bench.add(scheduler, calls, "interval", minutes=1, id="j")
    for number in range(1, 4):
        bench.move(scheduler, clock, 60)
        bench.told(log, EVENT_JOB_EXECUTED, number)
    assert log.names("j") == ["JOB_ADDED", *["JOB_SUBMITTED", "JOB_STARTED", "JOB_EXECUTED"] * 3]
    submitted, started, executed = (
        log.of(code) for code in (EVENT_JOB_SUBMITTED, EVENT_JOB_STARTED, EVENT_JOB_EXECUTED)
    )
    ids = [event.run_ids[0] for event in submitted]
    assert ids == [event.run_id for event in started] == [event.run_id for event in executed] == calls.run_ids
    assert len(set(ids)) == 3, f"runs share an id: {ids}"
    assert [event.scheduled_run_times for event in submitted] == [[minutes(number)] for number in (1, 2, 3)]
    for events in (started, executed):
        assert [event.scheduled_run_time for event in events] == [minutes(number) for number in (1, 2, 3)]


@behaviour("tells of its start first and of its end last, and of pauses in between")
def _its_own_events(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    bench.add(scheduler, bench.calls(), id="j")
    bench.told(log, EVENT_JOB_EXECUTED)
    for call in (scheduler.pause, scheduler.pause, scheduler.resume, scheduler.resume):
        bench.call(call)
    bench.shutdown(scheduler)
    names = [name for name in log.names() if name.startswith("SCHEDULER")]
    assert names == ["SCHEDULER_STARTED", "SCHEDULER_PAUSED", "SCHEDULER_RESUMED", "SCHEDULER_SHUTDOWN"], names
    assert (log.names()[0], log.names()[-1]) == ("SCHEDULER_STARTED", "SCHEDULER_SHUTDOWN"), log.names()


@behaviour("tells of what a job returned, or raised, with its traceback")
def _outcomes(bench: Bench) -> None:
    scheduler, log = bench.start_logged()

    def fails() -> None:
        raise LookupError("as the suite wants it")

    bench.add(scheduler, lambda: {"a": [1]}, id="returns")
    bench.add(scheduler, fails, id="raises")
    (executed,) = bench.told(log, EVENT_JOB_EXECUTED)
    (failed,) = bench.told(log, EVENT_JOB_ERROR)
    assert (executed.job_id, executed.retval, executed.exception) == ("returns", {"a": [1]}, None)
    assert failed.job_id == "raises"
    assert isinstance(failed.exception, LookupError), f"the exception is {failed.exception!r}"
    assert "in fails" in failed.traceback, f"the traceback does not lead to the job: {failed.traceback}"
    bench.settle(scheduler)
    states = {record.job_id: record.state for record in scheduler.get_runs()}
    assert states["returns"] is RunState.SUCCEEDED
    assert states["raises"] is RunState.FAILED


@behaviour("fires a job without a trigger once, now, and then forgets it")
def _now(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    calls = bench.calls()
    bench.add(scheduler, calls, id="j")
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.told(log, EVENT_JOB_REMOVED)
    bench.settle(scheduler)
    assert calls.count == 1
    assert scheduler.get_job("j") is None


@behaviour("fires a date in the past at once, for that date")
def _past(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    at = datetime(2020, 2, 29, 12, tzinfo=UTC)
    calls = bench.calls()
    bench.add(scheduler, calls, "date", run_date=at, id="j")
    (executed,) = bench.told(log, EVENT_JOB_EXECUTED)
    assert executed.scheduled_run_time == at
    bench.settle(scheduler)
    assert calls.count == 1


@behaviour("does not fire what is later than its grace time, and says that it misfired")
def _misfire(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    late, in_time = bench.calls(), bench.calls()
    bench.add(scheduler, late, "date", run_date=clock.now() + timedelta(seconds=10), misfire_grace_time=60, id="late")
    bench.add(scheduler, in_time, "date", run_date=clock.now() + timedelta(seconds=11), misfire_grace_time=60, id="ok")
    bench.move(scheduler, clock, 71)
    (missed,) = bench.told(log, EVENT_JOB_MISSED)
    assert (missed.job_id, missed.reason, missed.count) == ("late", "misfired", 1)
    in_time.wait_ended()
    bench.settle(scheduler)
    assert late.count == 0, "it fired all the same"
    assert log.of(EVENT_JOB_SUBMITTED, "late") == []


@behaviour("fires however late it is when no grace time was given")
def _no_grace(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    calls = bench.calls()
    bench.add(scheduler, calls, "date", run_date=clock.now() + timedelta(seconds=10), id="j")
    bench.move(scheduler, clock, 30 * 86400)
    (executed,) = bench.told(log, EVENT_JOB_EXECUTED)
    assert executed.scheduled_run_time == datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)


@behaviour("makes one run of a backlog, for its last fire time, and says how many it stands for")
def _coalesce(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    calls = bench.calls()
    job = bench.add(scheduler, calls, "interval", minutes=1, id="j")
    bench.move(scheduler, clock, 5.5 * 60)
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.settle(scheduler)
    assert calls.count == 1
    assert log.executed("j") == [minutes(5)]
    assert log.skips("j") == [("coalesced", 4)]
    assert job.next_run_time == minutes(6)


@behaviour("makes a run for each fire time of a backlog where it is not coalesced, oldest first, one after the other")
def _no_coalesce(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    gate = bench.gate()
    calls = bench.calls(gate)
    bench.add(scheduler, calls, "interval", minutes=1, id="j", coalesce=False)
    bench.move(scheduler, clock, 5.5 * 60)
    calls.wait_begun()
    bench.go_round(scheduler)
    assert calls.count == 1, f"{calls.count} began at a time"
    gate.set()
    bench.told(log, EVENT_JOB_EXECUTED, 5)
    bench.settle(scheduler)
    assert log.executed("j") == [minutes(number) for number in range(1, 6)]
    assert calls.most_at_a_time == 1, f"{calls.most_at_a_time} ran at a time"
    assert log.skips("j") == []


@behaviour("makes no more runs of a backlog than max_catchup, and says how many it left out")
def _catchup(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    bench.add(scheduler, bench.calls(), "interval", minutes=1, id="j", coalesce=False, max_catchup=2)
    bench.move(scheduler, clock, 100.5 * 60)
    bench.told(log, EVENT_JOB_EXECUTED, 2)
    bench.settle(scheduler)
    assert log.executed("j") == [minutes(1), minutes(2)]
    assert log.skips("j") == [("catchup limit", 98)]


@behaviour("applies the grace time before it coalesces")
def _grace_and_coalesce(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    bench.add(scheduler, bench.calls(), "interval", minutes=1, id="j", misfire_grace_time=90)
    bench.move(scheduler, clock, 5.25 * 60)
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.settle(scheduler)
    assert log.executed("j") == [minutes(5)]
    assert log.skips("j") == [("misfired", 3), ("coalesced", 1)]


@behaviour("does not let a job overlap itself, and says so")
def _overlap(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    gate = bench.gate()
    calls = bench.calls(gate)
    bench.add(scheduler, calls, "interval", minutes=1, id="j")
    bench.move(scheduler, clock, 60)
    calls.wait_begun()
    bench.move(scheduler, clock, 60)
    (refused,) = bench.told(log, EVENT_JOB_MAX_INSTANCES)
    assert refused.scheduled_run_times == [minutes(2)]
    bench.told(log, EVENT_JOB_SKIPPED)
    assert log.skips("j") == [("overlap", 1)]
    gate.set()
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.move(scheduler, clock, 60)
    bench.told(log, EVENT_JOB_EXECUTED, 2)
    assert log.executed("j") == [minutes(1), minutes(3)]
    assert calls.most_at_a_time == 1


@behaviour("lets as many runs of a job overlap as max_instances says")
def _max_instances(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    gate = bench.gate()
    calls = bench.calls(gate)
    bench.add(scheduler, calls, "interval", minutes=1, id="j", max_instances=2)
    for number in (1, 2):
        bench.move(scheduler, clock, 60)
        calls.wait_begun(number)
    bench.move(scheduler, clock, 60)
    bench.told(log, EVENT_JOB_MAX_INSTANCES)
    assert calls.most_at_a_time == 2
    gate.set()
    bench.told(log, EVENT_JOB_EXECUTED, 2)
    assert sorted(log.executed("j")) == [minutes(1), minutes(2)]


@behaviour("hands over what is due in the order of the fire times")
def _order(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    names = ["d", "b", "a", "e", "c"]
    for name in names:
        at = clock.now() + timedelta(minutes=1 + "abcde".index(name))
        bench.add(scheduler, bench.calls(), "date", run_date=at, id=name)
    bench.move(scheduler, clock, 600)
    bench.told(log, EVENT_JOB_SUBMITTED, 5)
    assert [event.job_id for event in log.of(EVENT_JOB_SUBMITTED)] == sorted(names)


@behaviour("keeps an interval on its grid, however late it looks")
def _grid(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    bench.add(scheduler, bench.calls(), "interval", minutes=1, id="j")
    for number in range(1, 6):
        bench.move(scheduler, clock, 61.5)
        bench.told(log, EVENT_JOB_EXECUTED, number)
    assert log.executed("j") == [minutes(number) for number in range(1, 6)]


@behaviour("fires in real time, again and again, and never before it is time")
def _real_time(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    bench.add(scheduler, bench.calls(), "interval", seconds=0.02, id="j")
    executed = bench.told(log, EVENT_JOB_EXECUTED, 5)
    times = [event.scheduled_run_time for event in executed]
    assert times == sorted(set(times)), f"fire times came twice, or out of order: {times}"
    for event in executed:
        at_us = event.scheduled_run_time.timestamp() * 1e6
        assert event.started_us >= at_us - 2, f"it began {(at_us - event.started_us) / 1e6:.6f} s before it was time"


def _far(bench: Bench, scheduler: BaseScheduler) -> None:
    for name, at in (
        ("60 days", datetime.now(UTC) + timedelta(days=60)),
        ("100 years", datetime.now(UTC) + timedelta(days=36525)),
        ("the end of time", datetime(9999, 6, 1, tzinfo=UTC)),
    ):
        bench.add(scheduler, bench.calls(), "date", run_date=at, id=name)


@behaviour("keeps jobs that are due in 60 days, in 100 years and at the end of time, and serves the others meanwhile")
def _far_away(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    _far(bench, scheduler)
    for number in range(1, 4):
        bench.add(scheduler, bench.calls(), "date", run_date=datetime.now(UTC) + timedelta(seconds=0.01), id="near")
        bench.told(log, EVENT_JOB_EXECUTED, number)
    assert [job.id for job in scheduler.get_jobs()] == ["60 days", "100 years", "the end of time"]
    assert {event.job_id for event in log.of(EVENT_JOB_SUBMITTED)} == {"near"}
    assert "SCHEDULER_FAILED" not in log.names()


@behaviour("fires what was due in 60 days, and in 100 years, when they have passed, and not a second before")
def _far_away_comes(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    for number, days in enumerate((60, 36525)):
        calls = bench.calls()
        at = clock.now() + timedelta(days=days)
        bench.add(scheduler, calls, "date", run_date=at, id="far")
        bench.move(scheduler, clock, days * 86400 - 1)
        bench.settle(scheduler)
        assert calls.count == 0, f"what was due in {days} days came too early"
        bench.move(scheduler, clock, 1)
        calls.wait_ended()
        assert bench.told(log, EVENT_JOB_EXECUTED, number + 1, "far")[number].scheduled_run_time == at


@behaviour("fires nothing while it is paused, and then what fell due meanwhile, by the rules for what is late")
def _paused(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    calls = bench.calls()
    bench.add(scheduler, calls, "interval", minutes=1, id="j")
    bench.call(scheduler.pause)
    assert scheduler.state == STATE_PAUSED
    for _ in range(3):
        bench.move(scheduler, clock, 65)
        bench.go_round(scheduler)
    assert calls.count == 0, "it fired while it was paused"
    bench.call(scheduler.resume)
    assert scheduler.state == STATE_RUNNING
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.settle(scheduler)
    assert log.executed("j") == [minutes(3)]
    assert log.skips("j") == [("coalesced", 2)]


@behaviour("fires nothing when it was started paused, until it is resumed")
def _started_paused(bench: Bench) -> None:
    scheduler = bench.make()
    calls = bench.calls()
    bench.add(scheduler, calls)
    bench.start(scheduler, paused=True)
    assert scheduler.running
    assert scheduler.state == STATE_PAUSED
    bench.add(scheduler, calls)
    bench.go_round(scheduler)
    assert calls.count == 0
    bench.call(scheduler.resume)
    calls.wait_ended(2)


@behaviour("does not fire a job that is paused, and takes it up from now when it is resumed")
def _job_paused(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    calls = bench.calls()
    job = bench.add(scheduler, calls, "interval", minutes=1, id="j")
    bench.call(lambda: scheduler.pause_job("j"))
    assert job.next_run_time is None
    bench.move(scheduler, clock, 3.5 * 60)
    bench.settle(scheduler)
    assert calls.count == 0
    bench.call(lambda: scheduler.resume_job("j"))
    assert job.next_run_time == minutes(4)
    bench.move(scheduler, clock, 60)
    bench.told(log, EVENT_JOB_EXECUTED, 1, "j")
    assert log.executed("j") == [minutes(4)]
    assert log.skips("j") == [("paused", 3)]


@behaviour("counts a fire time at which a job is resumed as one that it fires, and not as one that it missed")
def _resumed_on_time(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    bench.add(scheduler, bench.calls(), "interval", minutes=1, id="j")
    bench.call(lambda: scheduler.pause_job("j"))
    bench.move(scheduler, clock, 3 * 60)
    bench.settle(scheduler)
    bench.call(lambda: scheduler.resume_job("j"))
    bench.told(log, EVENT_JOB_EXECUTED, 1, "j")
    assert log.executed("j") == [minutes(3)]
    assert log.skips("j") == [("paused", 2)]


@behaviour("looks at what is due when wakeup() asks for it, whoever asks")
def _wakeup(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    bench.add(scheduler, bench.calls(), "interval", minutes=1, id="j")
    clock.move(60)
    scheduler.wakeup()
    bench.told(log, EVENT_JOB_EXECUTED, 1)
    clock.move(60)
    bench.call(scheduler.wakeup)
    bench.told(log, EVENT_JOB_EXECUTED, 2)

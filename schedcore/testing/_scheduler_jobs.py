"""Behaviours of schedulers: adding, finding, changing and removing jobs, from anywhere."""

from __future__ import annotations

import io
import threading
from datetime import timedelta
from typing import Any

from schedcore.errors import ConflictingIdError, JobLookupError
from schedcore.events import (
    EVENT_JOB_ADDED,
    EVENT_JOB_BROKEN,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MODIFIED,
    EVENT_JOB_REMOVED,
    EVENT_JOB_SUBMITTED,
)
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing._scheduler_bench import Bench, behaviour, minutes
from schedcore.testing._suite import Aside, patience
from schedcore.testing.log import EventLog

__all__ = ["work"]


def work(*args: Any) -> None:
    """The function of jobs that have to be named in text. It does nothing."""


def _hour_from(scheduler: BaseScheduler) -> Any:
    from schedcore.clock import to_datetime

    return to_datetime(scheduler.clock.wall_us()) + timedelta(hours=1)


@behaviour("keeps jobs that are added before it starts, lets them be changed, and fires them when it has started")
def _pending(bench: Bench) -> None:
    scheduler = bench.make()
    log = EventLog(scheduler)
    calls = bench.calls()
    jobs = [bench.add(scheduler, calls, args=[name], id=name) for name in ("a", "b", "c")]
    assert all(job.pending for job in jobs)
    bench.call(lambda: scheduler.remove_job("b"))
    bench.call(lambda: scheduler.modify_job("c", args=["changed"]))
    assert sorted(job.id for job in scheduler.get_jobs()) == ["a", "c"]
    bench.start(scheduler)
    bench.told(log, EVENT_JOB_EXECUTED, 2)
    assert sorted(calls.begun) == [("a",), ("changed",)]
    added = sorted(event.job_id for event in log.of(EVENT_JOB_ADDED))
    assert added == ["a", "c"]
    names = log.names()
    assert names.index("SCHEDULER_STARTED") < names.index("JOB_ADDED"), f"told before its start: {names}"


@behaviour("keeps jobs that are added after its shutdown for the next start")
def _pending_again(bench: Bench) -> None:
    scheduler = bench.start()
    bench.shutdown(scheduler)
    calls = bench.calls()
    bench.add(scheduler, calls)
    assert calls.count == 0
    bench.start(scheduler)
    calls.wait_ended()


@behaviour("takes a job from a job")
def _from_a_job(bench: Bench) -> None:
    scheduler = bench.start()
    calls = bench.calls()

    def adds() -> None:
        scheduler.add_job(calls, args=["from a job"])

    bench.add(scheduler, adds)
    calls.wait_ended()
    assert calls.begun == [("from a job",)]


@behaviour("takes a job from another thread at once, although it sleeps for long")
def _from_a_thread(bench: Bench) -> None:
    scheduler = bench.start()
    bench.add(scheduler, bench.calls(), "interval", hours=1)
    bench.go_round(scheduler)
    for _ in range(3):
        calls = bench.calls()
        Aside(scheduler.add_job, calls).result()
        calls.wait_ended()


@behaviour("takes a job from a listener")
def _from_a_listener(bench: Bench) -> None:
    scheduler = bench.make()
    calls = bench.calls()
    scheduler.add_listener(lambda event: event.job_id == "first" and scheduler.add_job(calls), EVENT_JOB_EXECUTED)
    bench.start(scheduler)
    bench.add(scheduler, bench.calls(), id="first")
    calls.wait_ended()


@behaviour("delivers what a call from another thread causes before that call returns")
def _told_at_once(bench: Bench) -> None:
    scheduler, log = bench.start_logged()

    def calls() -> None:
        scheduler.add_job(bench.calls(), "interval", hours=1, id="j")
        assert [event.job_id for event in log.of(EVENT_JOB_ADDED)] == ["j"], "the addition was not told yet"
        scheduler.modify_job("j", name="another")
        assert len(log.of(EVENT_JOB_MODIFIED)) == 1, "the change was not told yet"
        scheduler.remove_job("j")
        assert len(log.of(EVENT_JOB_REMOVED)) == 1, "the removal was not told yet"

    Aside(calls).result()


@behaviour("runs each of 400 jobs once that eight threads add at a time")
def _many_from_threads(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    calls = bench.calls()
    start = threading.Barrier(8)

    def add(thread: int) -> None:
        start.wait(patience.seconds)
        for number in range(50):
            scheduler.add_job(calls, args=[thread, number])

    for aside in [Aside(add, thread) for thread in range(8)]:
        aside.result()
    bench.told(log, EVENT_JOB_EXECUTED, 400)
    bench.settle(scheduler)
    assert sorted(calls.begun) == [(thread, number) for thread in range(8) for number in range(50)]
    assert scheduler.get_jobs() == []


@behaviour("keeps its head while eight threads add, change, pause, resume, reschedule and remove jobs")
def _storm(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    calls = bench.calls()
    start = threading.Barrier(8)

    def storm(thread: int) -> None:
        start.wait(patience.seconds)
        for number in range(10):
            name = f"{thread}-{number}"
            scheduler.add_job(calls, "interval", hours=1, id=name, args=[name])
            scheduler.modify_job(name, name="changed", max_instances=2)
            scheduler.pause_job(name)
            scheduler.resume_job(name)
            scheduler.reschedule_job(name, trigger="interval", minutes=30)
            job = scheduler.get_job(name)
            assert job is not None
            assert (job.name, job.max_instances) == ("changed", 2)
            if number % 2:
                scheduler.remove_job(name)
            else:
                job.modify(next_run_time=_hour_from(scheduler) - timedelta(hours=2))

    for aside in [Aside(storm, thread) for thread in range(8)]:
        aside.result()
    kept = sorted(f"{thread}-{number}" for thread in range(8) for number in range(0, 10, 2))
    bench.told(log, EVENT_JOB_EXECUTED, len(kept))
    bench.settle(scheduler)
    assert sorted(job.id for job in scheduler.get_jobs()) == kept
    assert sorted(set(calls.begun)) == [(name,) for name in kept]
    bench.call(scheduler.remove_all_jobs)
    assert scheduler.get_jobs() == []


@behaviour("lets a job that runs be removed: the run goes on, and no other follows")
def _remove_running(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    gate = bench.gate()
    calls = bench.calls(gate)
    bench.add(scheduler, calls, "interval", minutes=1, id="j")
    bench.move(scheduler, clock, 60)
    calls.wait_begun()
    bench.call(lambda: scheduler.remove_job("j"))
    assert scheduler.get_job("j") is None
    gate.set()
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.move(scheduler, clock, 600)
    bench.settle(scheduler)
    assert calls.count == 1, "it was called after it had been removed"


@behaviour("lets a job remove itself")
def _remove_itself(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    calls = bench.calls()

    def job() -> None:
        calls()
        scheduler.remove_job("j")

    bench.add(scheduler, job, "interval", minutes=1, id="j")
    bench.move(scheduler, clock, 60)
    bench.told(log, EVENT_JOB_REMOVED, 1, "j")
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.move(scheduler, clock, 600)
    bench.settle(scheduler)
    assert calls.count == 1


@behaviour("does not fire what was removed when it is due at that moment")
def _remove_due(bench: Bench) -> None:
    scheduler, _, clock = bench.start_at()
    calls = bench.calls()
    bench.add(scheduler, calls, "interval", minutes=1, id="j")
    bench.call(scheduler.pause)
    bench.move(scheduler, clock, 60)
    bench.call(lambda: scheduler.remove_job("j"))
    bench.call(scheduler.resume)
    bench.settle(scheduler)
    assert calls.count == 0


@behaviour("uses the changes of a job from its next run on")
def _modify(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    calls = bench.calls()
    job = bench.add(scheduler, calls, "interval", minutes=1, id="j", args=["before"])
    bench.move(scheduler, clock, 60)
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.call(lambda: job.modify(args=["after"], name="a name"))
    assert job.next_run_time == minutes(2), "the change of its arguments moved its next run"
    bench.move(scheduler, clock, 60)
    bench.told(log, EVENT_JOB_EXECUTED, 2)
    assert calls.begun == [("before",), ("after",)]
    assert len(bench.told(log, EVENT_JOB_MODIFIED)) == 1


@behaviour("fires by the new trigger when a job is rescheduled, and no more by the old one")
def _reschedule(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    job = bench.add(scheduler, bench.calls(), "interval", hours=1, id="j")
    bench.call(lambda: scheduler.reschedule_job("j", trigger="interval", minutes=1))
    assert job.next_run_time == minutes(1)
    bench.move(scheduler, clock, 60)
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.call(lambda: job.reschedule("date", run_date=minutes(90)))
    bench.move(scheduler, clock, 60 * 60)
    bench.settle(scheduler)
    bench.move(scheduler, clock, 60 * 60)
    bench.told(log, EVENT_JOB_EXECUTED, 2, "j")
    assert log.executed("j") == [minutes(1), minutes(90)]


@behaviour("refuses an id that is taken, and replaces its job when it is told to")
def _replace(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    calls = bench.calls()
    bench.add(scheduler, calls, "interval", minutes=10, id="j", args=["old"])
    try:
        bench.add(scheduler, calls, "interval", minutes=10, id="j")
    except ConflictingIdError:
        pass
    else:
        raise AssertionError("a second job with the same id did not raise ConflictingIdError")
    clock.move(300)
    options: dict[str, Any] = {"id": "j", "args": ["new"], "replace_existing": True}
    job = bench.add(scheduler, calls, "interval", minutes=10, **options)
    assert job.next_run_time == minutes(10), "an unchanged trigger lost its place in the schedule"
    bench.move(scheduler, clock, 300)
    bench.told(log, EVENT_JOB_EXECUTED)
    assert calls.begun == [("new",)]
    assert len(scheduler.get_jobs()) == 1


@behaviour("raises JobLookupError for a job that it does not know")
def _unknown(bench: Bench) -> None:
    scheduler = bench.start()
    assert scheduler.get_job("nobody") is None
    for call in (
        lambda: scheduler.remove_job("nobody"),
        lambda: scheduler.modify_job("nobody", name="x"),
        lambda: scheduler.pause_job("nobody"),
        lambda: scheduler.resume_job("nobody"),
        lambda: scheduler.reschedule_job("nobody", trigger="interval", minutes=1),
    ):
        try:
            bench.call(call)
        except JobLookupError:
            pass
        else:
            raise AssertionError("a call about an unknown job did not raise JobLookupError")


@behaviour("schedules functions by decoration, and gives them back unchanged")
def _decorated(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    calls = bench.calls()
    decorate: Any = bench.call(lambda: scheduler.scheduled_job("interval", minutes=1, id="j"))
    assert bench.call(lambda: decorate(calls)) is calls
    bench.move(scheduler, clock, 60)
    bench.told(log, EVENT_JOB_EXECUTED, 1, "j")


@behaviour("lists jobs by their next run, those that have none last, and prints them")
def _lists(bench: Bench) -> None:
    scheduler = bench.make()
    for name, delay in (("later", 2), ("paused", None), ("sooner", 1)):
        options: dict[str, Any] = {"next_run_time": None} if delay is None else {}
        bench.add(scheduler, bench.calls(), "interval", hours=delay or 1, id=name, name=f"the {name} one", **options)
    bench.start(scheduler)
    bench.settle(scheduler)
    assert [job.id for job in scheduler.get_jobs()] == ["sooner", "later", "paused"]
    out = io.StringIO()
    scheduler.print_jobs(out=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "Jobstore default:", lines
    assert [line.strip().partition(" (")[0] for line in lines[1:]] == [
        "the sooner one",
        "the later one",
        "the paused one",
    ]


@behaviour("exports its jobs, and another one imports them")
def _exchange(bench: Bench) -> None:
    clock = bench.start_at()[2]
    first, second = bench.start(clock=clock), bench.start(clock=clock)
    for name in ("a", "b"):
        bench.add(first, work, "interval", minutes=1, id=name, args=[name, 1])
    out = io.StringIO()
    bench.call(lambda: first.export_jobs(out))
    out.seek(0)
    bench.call(lambda: second.import_jobs(out))
    jobs = {job.id: job for job in second.get_jobs()}
    assert sorted(jobs) == ["a", "b"]
    assert [(tuple(job.args), job.next_run_time) for job in jobs.values()] == [
        (("a", 1), minutes(1)),
        (("b", 1), minutes(1)),
    ]
    assert jobs["a"].func is work


@behaviour("has several job stores and executors, each with its own jobs")
def _several(bench: Bench) -> None:
    scheduler = bench.make(
        jobstores={"default": MemoryJobStore(), "other": MemoryJobStore()},
        executors={"second": ThreadPoolExecutor(1, pool_kwargs={"thread_name_prefix": "the second"})},
    )
    log = EventLog(scheduler)
    bench.start(scheduler)
    names: dict[str, str] = {}

    def job(name: str) -> None:
        names[name] = threading.current_thread().name

    for store in ("default", "other"):
        for executor in ("default", "second"):
            name = f"{store} {executor}"
            bench.add(scheduler, job, args=[name], id=name, jobstore=store, executor=executor)
    executed = bench.told(log, EVENT_JOB_EXECUTED, 4)
    assert {event.job_id: event.jobstore for event in executed} == {
        "default default": "default",
        "default second": "default",
        "other default": "other",
        "other second": "other",
    }
    assert all(names[name].startswith("the second") == name.endswith("second") for name in names), names
    bench.add(scheduler, bench.calls(), "interval", hours=1, id="j", jobstore="other")
    assert scheduler.get_job("j", "default") is None
    assert scheduler.get_job("j") is not None
    assert [job.id for job in scheduler.get_jobs("other")] == ["j"]


@behaviour("takes a job store and an executor while it runs, and lets them be taken away")
def _added_later(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    scheduler.add_jobstore(MemoryJobStore(), "late")
    scheduler.add_executor(ThreadPoolExecutor(1), "late")
    calls = bench.calls()
    bench.add(scheduler, calls, id="j", jobstore="late", executor="late")
    bench.told(log, EVENT_JOB_EXECUTED)
    bench.add(scheduler, calls, "interval", hours=1, id="left", jobstore="late", executor="late")
    scheduler.remove_jobstore("late")
    scheduler.remove_executor("late")
    assert scheduler.get_job("left") is None
    for remove in (scheduler.remove_jobstore, scheduler.remove_executor):
        try:
            remove("late")
        except LookupError:
            pass
        else:
            raise AssertionError("what is not there any more was taken away again")
    bench.settle(scheduler)
    wanted = ["JOBSTORE_ADDED", "EXECUTOR_ADDED", "JOBSTORE_REMOVED", "EXECUTOR_REMOVED"]
    assert [name for name in log.names() if name.startswith(("JOBSTORE", "EXECUTOR"))] == wanted


@behaviour("sets a job aside whose executor is missing, and takes it up when that is added")
def _missing_executor(bench: Bench) -> None:
    scheduler, log = bench.start_logged()
    calls = bench.calls()
    bench.add(scheduler, calls, id="j", executor="late")
    bench.settle(scheduler)
    bench.told(log, EVENT_JOB_BROKEN, 1, "j")
    assert calls.count == 0
    assert scheduler.get_job("j") is not None, "it was forgotten"
    scheduler.add_executor(ThreadPoolExecutor(1), "late")
    calls.wait_ended()


@behaviour("keeps the record of the runs that it made")
def _history(bench: Bench) -> None:
    scheduler, log, clock = bench.start_at()
    bench.add(scheduler, bench.calls(), "interval", minutes=1, id="j")
    for number in (1, 2):
        bench.move(scheduler, clock, 60)
        bench.told(log, EVENT_JOB_EXECUTED, number)
    bench.settle(scheduler)
    records = scheduler.get_runs("j")
    submitted = [event.run_ids[0] for event in log.of(EVENT_JOB_SUBMITTED, "j")]
    assert [record.id for record in records] == submitted[::-1]

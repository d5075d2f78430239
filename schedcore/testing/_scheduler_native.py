"""Behaviours of schedulers: jobs as the framework has them, and the loop, which belongs to the program."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, ContextVar
from functools import partial
from itertools import pairwise
from typing import Any

from schedcore.errors import RunCancelledError
from schedcore.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_SCHEDULER_SHUTDOWN,
)
from schedcore.executors.base import RunExecutor
from schedcore.run import Finish, Run, RunState
from schedcore.testing._scheduler_bench import Bench, behaviour
from schedcore.testing._suite import Aside, until
from schedcore.testing.log import EventLog
from schedcore.testing.runtime import LoopRuntime

__all__: list[str] = []

_set_by: ContextVar[str] = ContextVar("_set_by", default="nobody")


@behaviour("runs native jobs to their end, and tells what they return", "native jobs")
def _native(bench: Bench) -> None:
    for kind in bench.traits.native:
        scheduler, log = bench.start_logged()
        gate = bench.gate()
        func, steps, options = bench.native(kind, lambda: {"a": 1}, gate=gate)
        bench.add(scheduler, func, id=kind, **options)
        until(lambda: steps.begun, f"the {kind} never began")  # noqa: B023  # it is over
        bench.settle(scheduler)
        assert log.of(EVENT_JOB_EXECUTED, kind) == [], f"the {kind} was taken for over while it waited"
        assert len(steps.begun) == 1
        gate.set()
        (executed,) = bench.told(log, EVENT_JOB_EXECUTED, 1, kind)
        assert executed.retval == {"a": 1}, f"the {kind} returned {executed.retval!r}"
        assert len(steps.ended) == 1


@behaviour("runs native jobs in the loop's thread", "loop", "native jobs")
def _native_on_loop(bench: Bench) -> None:
    loop = bench.loop_thread()
    for kind in bench.traits.native:
        scheduler, log = bench.start_logged()
        func, steps, options = bench.native(kind)
        bench.add(scheduler, func, id=kind, **options)
        bench.told(log, EVENT_JOB_EXECUTED, 1, kind)
        assert steps.begun == steps.ended == [loop], f"the {kind} ran in another thread"


@behaviour("calls every job with context variables of its own, which have nothing of its start's or of other jobs")
def _context_variables(bench: Bench) -> None:
    def look(seen: list[str]) -> None:
        seen.append(_set_by.get())
        _set_by.set("another job")

    def function(seen: list[str]) -> Callable[[], object]:
        return lambda: look(seen)

    scheduler = bench.make()
    log = EventLog(scheduler)
    # Whoever starts it, and whoever adds a job, may have set something, too.
    around = Context()
    around.run(_set_by.set, "who started it")
    if bench.traits.on_loop:
        bench.call(partial(around.run, scheduler.start))
    else:
        around.run(bench.start, scheduler)
    for kind in ("function", *bench.traits.native):
        seen: list[str] = []
        call: Callable[[], object] = function(seen)
        options: Mapping[str, Any] = {}
        if kind != "function":
            call, _, options = bench.native(kind, begin=partial(look, seen))
        for number in range(1, 6):
            bench.call(partial(around.run, partial(scheduler.add_job, call, id=kind, **options)))
            bench.told(log, EVENT_JOB_EXECUTED, number, kind)
        assert seen == ["nobody"] * 5, f"five times the {kind} saw what was set by {seen}"


@behaviour("tells of native jobs that raise, with the traceback", "native jobs")
def _native_raises(bench: Bench) -> None:
    def fails_as_wanted() -> None:
        raise LookupError("as the suite wants it")

    for kind in bench.traits.native:
        scheduler, log = bench.start_logged()
        func, _, options = bench.native(kind, fails_as_wanted)
        for number in (1, 2):
            bench.add(scheduler, func, id=kind, **options)
            failed = bench.told(log, EVENT_JOB_ERROR, number, kind)[-1]
            assert isinstance(failed.exception, LookupError), f"the {kind} failed with {failed.exception!r}"
            assert "in fails_as_wanted" in failed.traceback, f"its traceback does not lead there: {failed.traceback}"


@behaviour("goes on when a native job exits", "native jobs")
def _native_exits(bench: Bench) -> None:
    def leave() -> None:
        raise SystemExit(3)

    for kind in bench.traits.native:
        scheduler, log = bench.start_logged()
        func, _, options = bench.native(kind, leave)
        bench.add(scheduler, func, id=kind, **options)
        (failed,) = bench.told(log, EVENT_JOB_ERROR, 1, kind)
        assert isinstance(failed.exception, Exception), f"the {kind} failed with {failed.exception!r}"
        bench.settle(scheduler)


@behaviour("runs many native jobs at a time", "loop", "native jobs")
def _native_many(bench: Bench) -> None:
    for kind in bench.traits.native:
        scheduler, log = bench.start_logged()
        gate = bench.gate()
        func, steps, options = bench.native(kind, gate=gate)
        for number in range(20):
            bench.add(scheduler, func, id=f"{kind} {number}", **options)
        until(lambda: len(steps.begun) == 20, lambda: f"only {len(steps.begun)} of 20 began")  # noqa: B023  # it is over before the next
        gate.set()
        bench.told(log, EVENT_JOB_EXECUTED, 20)


@behaviour("waits at shutdown for native jobs, and does not cancel them", "native jobs")
def _native_waits(bench: Bench) -> None:
    for kind in bench.traits.native:
        scheduler, log = bench.start_logged()
        gate = bench.gate()
        func, steps, options = bench.native(kind, gate=gate)
        bench.add(scheduler, func, id=kind, **options)
        until(lambda: steps.begun, f"the {kind} never began")  # noqa: B023  # it is over before the next
        closing = Aside(bench.runtime.shutdown, scheduler)
        until(lambda: not scheduler.running, "shutdown did not stop it")  # noqa: B023  # it is over before the next
        time.sleep(0.01)
        assert not closing.over, f"shutdown returned while a {kind} was running"
        gate.set()
        assert closing.result() == []
        assert len(steps.ended) == 1
        assert len(log.of(EVENT_JOB_EXECUTED, kind)) == 1


@behaviour("ends native jobs when the time of a shutdown is up, and says which", "ends jobs")
def _native_cut(bench: Bench) -> None:
    for kind in bench.traits.ended:
        scheduler, log = bench.start_logged()
        gate = bench.gate()
        func, steps, options = bench.native(kind, gate=gate)
        for number in range(3):
            bench.add(scheduler, func, id=f"{kind} {number}", **options)
        until(lambda: len(steps.begun) == 3, f"the {kind} never began")  # noqa: B023  # it is over before the next
        cut = bench.shutdown(scheduler, timeout=0.02)
        assert sorted(run.job.id for run in cut) == [f"{kind} {number}" for number in range(3)]
        failed = bench.told(log, EVENT_JOB_ERROR, 3)
        assert all(isinstance(event.exception, RunCancelledError) for event in failed), (
            f"it was told of {[event.exception for event in failed]}"
        )
        gate.set()
        time.sleep(0.01)
        bench.call(lambda: None)
        assert steps.ended == [], f"a {kind} that was cut went on"


@behaviour("lets go on native jobs that have begun when a shutdown does not wait", "native jobs")
def _native_not_waited(bench: Bench) -> None:
    for kind in bench.traits.native:
        scheduler, log = bench.start_logged()
        gate = bench.gate()
        func, steps, options = bench.native(kind, gate=gate)
        bench.add(scheduler, func, id=kind, **options)
        until(lambda: steps.begun, f"the {kind} never began")  # noqa: B023  # it is over before the next
        bench.shutdown(scheduler, wait=False)
        assert log.of(EVENT_SCHEDULER_SHUTDOWN) == []
        gate.set()
        bench.wait_closed(scheduler)
        assert len(steps.ended) == 1
        assert len(log.of(EVENT_JOB_EXECUTED, kind)) == 1


@behaviour("may be shut down by a native job", "loop", "native jobs")
def _native_stops(bench: Bench) -> None:
    for kind in bench.traits.native:
        scheduler, log = bench.start_logged()
        func, steps, options = bench.native(kind, lambda: scheduler.shutdown() and None)  # noqa: B023  # it is over before the next
        bench.add(scheduler, func, id=kind, **options)
        bench.wait_closed(scheduler)
        assert len(steps.ended) == 1
        assert log.names()[-1] == "SCHEDULER_SHUTDOWN"


@behaviour("runs plain functions off the loop, which goes on meanwhile", "loop", "threads")
def _functions(bench: Bench) -> None:
    loop = bench.loop_thread()
    scheduler = bench.start()
    gate = bench.gate()
    calls = bench.calls(gate)
    bench.add(scheduler, calls)
    calls.wait_begun()
    for _ in range(50):
        bench.call(lambda: None)
    gate.set()
    calls.wait_ended()
    assert loop not in calls.threads, "a plain function ran on the loop"


@behaviour("calls no listener on the loop", "loop")
def _listeners_off_loop(bench: Bench) -> None:
    from threading import get_ident

    loop = bench.loop_thread()
    scheduler = bench.make()
    log = EventLog(scheduler)
    wrong: list[Any] = []
    scheduler.add_listener(lambda event: wrong.append(event) if get_ident() == loop else None)
    bench.start(scheduler)
    bench.add(scheduler, bench.calls(), "interval", hours=1, id="j")
    bench.call(lambda: scheduler.modify_job("j", name="x"))
    bench.call(scheduler.pause)
    bench.call(scheduler.resume)
    bench.settle(scheduler)
    bench.call(lambda: scheduler.remove_job("j"))
    bench.shutdown(scheduler)
    assert log.names()[-1] == "SCHEDULER_SHUTDOWN"
    assert wrong == [], f"on the loop it was told of {wrong}"


class _Counts(RunExecutor):
    """Takes runs and says at once that they are over."""

    taken = 0

    def submit(self, runs: Sequence[Run]) -> None:
        self.taken += len(runs)
        host = self._host
        assert host is not None
        now_us = host.clock.wall_us()
        for run in runs:
            host.run_started(run)
            host.run_finished(Finish(run, RunState.SUCCEEDED, now_us, now_us))

    def live_runs(self) -> list[Run]:
        return []

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        return []


@behaviour("gives its loop a turn between the jobs of a burst of 5,000", "loop")
def _burst(bench: Bench) -> None:
    runtime = bench.runtime
    assert isinstance(runtime, LoopRuntime), "a scheduler on a loop needs a LoopRuntime"
    executor = _Counts()
    scheduler, log, clock = bench.start_at(executors={"default": executor})
    bench.call(scheduler.pause)

    def add() -> None:
        for _ in range(5000):
            scheduler.add_job(int, "date", run_date=clock.now())

    Aside(add).result()
    seen: list[int] = []

    def turn() -> None:
        seen.append(executor.taken)
        if executor.taken < 5000:
            runtime.post(turn)

    runtime.post(turn)
    bench.call(scheduler.resume)
    bench.told(log, EVENT_JOB_EXECUTED, 5000)
    most = max(after - before for before, after in pairwise([*seen, 5000]))
    assert most <= 1000, f"the loop had no turn while {most} jobs were handed over"


@behaviour("has its end learnt by all who wait for it", "loop")
def _all_learn(bench: Bench) -> None:
    scheduler = bench.start()
    gate = bench.gate()
    calls = bench.calls(gate)
    bench.add(scheduler, calls)
    calls.wait_begun()
    waiting = [Aside(bench.runtime.shutdown, scheduler) for _ in range(4)]
    until(lambda: not scheduler.running, "shutdown did not stop it")
    time.sleep(0.01)
    assert not any(aside.over for aside in waiting), "one did not wait"
    gate.set()
    for aside in waiting:
        assert aside.result() == []
    assert bench.shutdown(scheduler) == []


@behaviour("makes a call that may wait off the loop, and gives what the framework awaits", "loop")
def _calls(bench: Bench) -> None:
    from threading import get_ident

    loop = bench.loop_thread()
    scheduler = bench.start()
    call: Any = scheduler.call  # type: ignore[attr-defined]
    assert bench.runtime.result(lambda: call(get_ident)) != loop, "the call was made on the loop"
    bench.add(scheduler, bench.calls(), "interval", hours=1, id="j")
    assert [job.id for job in bench.runtime.result(lambda: call(scheduler.get_jobs))] == ["j"]
    try:
        bench.runtime.result(lambda: call(scheduler.remove_job, "nobody"))
    except LookupError:
        pass
    else:
        raise AssertionError("what the call raised did not come back")


@behaviour("is a context manager, which has waited when it is left", "context manager")
def _context_manager(bench: Bench) -> None:
    scheduler = bench.make()
    log = EventLog(scheduler)
    gate = bench.gate()
    calls = bench.calls(gate)

    def body() -> None:
        assert scheduler.running
        scheduler.add_job(calls, id="j")
        calls.wait_begun()

    inside = Aside(bench.runtime.within, scheduler, body)
    calls.wait_begun()
    until(lambda: not scheduler.running, "it was left, and runs on")
    assert not inside.over, "it did not wait when it was left"
    gate.set()
    inside.result()
    assert len(log.of(EVENT_JOB_EXECUTED, "j")) == 1
    assert log.names()[-1] == "SCHEDULER_SHUTDOWN"

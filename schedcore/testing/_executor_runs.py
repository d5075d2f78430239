"""What executors do with runs: carry each out once, as what it is, and report how it went."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

from schedcore.errors import MaxInstancesReachedError
from schedcore.run import Finish, Run, RunState, current_run
from schedcore.testing._executor_bench import Bench, behaviour
from schedcore.testing._executor_host import RecordingHost
from schedcore.testing._executor_jobs import (
    append,
    double,
    echo,
    exit_with,
    fail,
    generate,
    interrupt,
    leave_behind,
    left_behind,
    return_awaitable,
    who_am_i,
    who_am_i_in_a_coroutine,
)
from schedcore.testing._suite import patience, until

__all__: list[str] = []


@behaviour("runs a job to success")
def _(bench: Bench) -> None:
    bench.start()
    assert bench.value(echo) == ((), {})


@behaviour("passes arguments on")
def _(bench: Bench) -> None:
    bench.start()
    assert bench.value(echo, 1, "two", [3], four={"five": (6,)}) == ((1, "two", [3]), {"four": {"five": (6,)}})


@behaviour("reports a failure with type, message and traceback text")
def _(bench: Bench) -> None:
    bench.start()
    finish = bench.error(fail, "the reason")
    assert type(finish.exception) is ValueError, f"the exception is {finish.exception!r}"
    assert str(finish.exception) == "the reason"
    assert finish.traceback is not None
    assert "in fail" in finish.traceback, f"the traceback does not lead to the job: {finish.traceback}"
    assert "ValueError: the reason" in finish.traceback, (
        f"the traceback does not end with the error: {finish.traceback}"
    )
    assert finish.exception.__traceback__ is None, "the exception holds on to the frames it went through"
    assert finish.retval is None


@behaviour("reports started before finished, with instants in order", "ours")
def _(bench: Bench) -> None:
    bench.start()
    before_us = bench.host.clock.wall_us()
    runs = [bench.run(echo) for _ in range(20)]
    bench.submit(*runs)
    for finish in bench.host.wait(runs):
        assert finish.started_us is not None, "a run that ran has no started_us"
        assert before_us <= finish.started_us <= finish.finished_us <= bench.host.clock.wall_us()
    assert len(bench.host.started) == 20, f"{len(bench.host.started)} of 20 runs were reported as started"


@behaviour("reports each run exactly once")
def _(bench: Bench) -> None:
    bench.start()
    jobs: list[tuple[Any, ...]] = [(echo,), (fail, "x"), (exit_with, 1), (double, 2, bench.traits.pause)]
    runs = [bench.run(*jobs[index % 4]) for index in range(40)]
    bench.submit(*runs)
    bench.host.wait(runs)
    bench.executor.shutdown()
    assert len(bench.host.finished) == 40


@behaviour("begins runs in the order of submission")
def _(bench: Bench) -> None:
    bench.start()
    # All workers but one are held, so that there is one way only.
    holders = [] if bench.traits.inline else bench.holders(bench.traits.workers - 1)
    if holders:
        bench.submit(*holders)
        bench.wait_begun(holders)
    path = Path(bench.folder, "order")
    runs = [bench.run(append, str(path), f"{index}\n") for index in range(50)]
    bench.submit(*runs)
    bench.host.wait(runs)
    bench.release()
    assert path.read_text().split() == [str(index) for index in range(50)]


@behaviour("does not wait in submit", "returns at once")
def _(bench: Bench) -> None:
    bench.start()
    runs = [*bench.holders(bench.traits.workers), bench.run(echo)]
    bench.submit_here(*runs)
    assert bench.host.finished == []
    bench.release()
    bench.host.wait(runs)


@behaviour("runs as many at a time as it has workers", "two workers", "returns at once")
def _(bench: Bench) -> None:
    bench.start()
    # One by one, so that each has to find a worker while the earlier ones are busy.
    holders = bench.holders(bench.traits.workers)
    for holder in holders:
        bench.submit(holder)
    bench.wait_begun(holders)
    bench.release()
    assert sorted(bench.value_of(holder) for holder in holders) == sorted(holder.job.args[1] for holder in holders)


@behaviour("runs a coroutine job to its end")
def _(bench: Bench) -> None:
    bench.start()
    assert bench.value(double, 21, bench.traits.pause) == 42


@behaviour("runs an awaitable that a job returns to its end")
def _(bench: Bench) -> None:
    bench.start()
    assert bench.value(return_awaitable, 21, bench.traits.pause) == 42


@behaviour("fails a job that returns a generator, of which nothing has run")
def _(bench: Bench) -> None:
    bench.start()
    assert "generator" in str(bench.error(generate).exception)


@behaviour("sets current_run in the job, and nowhere else", "ours")
def _(bench: Bench) -> None:
    bench.start()
    for func in (who_am_i, who_am_i_in_a_coroutine):
        run = bench.run(func)
        bench.submit(run)
        found = bench.value_of(run)
        wanted = (run.id, run.job.id, run.alias, run.fire_us, run.attempt, run.scheduled_at)
        assert found == wanted, f"{func.__name__} sees {found!r}, not {wanted!r}"
    assert current_run.get() is None


@behaviour("keeps the context variables of runs apart", "ours")
def _(bench: Bench) -> None:
    bench.start()
    runs = [bench.run(leave_behind, str(index)) for index in range(8)]
    bench.submit(*runs)
    assert [bench.value_of(run) for run in runs] == [None] * 8
    assert left_behind.get() is None


@behaviour("survives a job that calls sys.exit")
def _(bench: Bench) -> None:
    bench.start()
    for code in (0, 3, "bye"):
        assert repr(code) in str(bench.error(exit_with, code).exception)
    assert bench.value(echo) == ((), {})


@behaviour("survives a job that raises KeyboardInterrupt", "ours")
def _(bench: Bench) -> None:
    bench.start()
    run = bench.run(interrupt)
    bench.aside(bench.submit_here, run).result()
    finish = bench.host.finish_of(run)
    assert finish.state is RunState.FAILED
    assert "KeyboardInterrupt" in str(finish.exception)
    assert bench.value(echo) == ((), {})


@behaviour("fails a job whose callable is not there")
def _(bench: Bench) -> None:
    bench.start()
    assert isinstance(bench.error(None).exception, LookupError)
    assert bench.value(echo) == ((), {})


@behaviour("takes a job for a fire time the 3.x way")
def _(bench: Bench) -> None:
    bench.start()
    run = bench.run(echo, "3.x")
    handle = bench.host.job_handle(run)
    bench.place(lambda: bench.executor.submit_job(handle, [run.scheduled_at]))
    until(lambda: bench.host.finished, "it was never reported as finished")
    (finish,) = bench.host.finished
    assert (finish.run.id, finish.state, finish.retval) == (run.id, RunState.SUCCEEDED, (("3.x",), {}))


@behaviour("refuses a job that has enough live runs, the 3.x way")
def _(bench: Bench) -> None:
    bench.start()
    (holder,) = bench.holders(1)
    handle = bench.host.job_handle(holder)
    bench.submit(holder)
    bench.wait_begun([holder])
    try:
        bench.place(lambda: bench.executor.submit_job(handle, [holder.scheduled_at]))
    except MaxInstancesReachedError:
        pass
    else:
        raise AssertionError("submit_job took a second run of a job with max_instances=1")
    bench.release()
    bench.host.wait([holder])
    assert len(bench.host.finished) == 1


@behaviour("lists the runs that wait and those that run, in order", "ours")
def _(bench: Bench) -> None:
    bench.start()
    assert bench.ours.live_runs() == []
    runs = [*bench.holders(1 if bench.traits.inline else bench.traits.workers), bench.run(echo), bench.run(echo)]
    bench.submit(*runs)
    bench.wait_begun(runs[:-2])
    live = bench.ours.live_runs()
    assert [id(run) for run in live] == [id(run) for run in runs], f"live are {[run.id for run in live]}"
    bench.release()
    bench.host.wait(runs)
    assert bench.ours.live_runs() == [], "a run that was reported as finished is still listed"


@behaviour(
    "keeps neither arguments, nor results, nor exceptions, nor frames of a run that is over", "same process", "ours"
)
def _(bench: Bench) -> None:
    class Thing:
        pass

    class ThingError(Exception):
        pass

    kept: list[weakref.ref[Any]] = []

    class ForgetfulHost(RecordingHost):
        def run_finished(self, finish: Finish) -> None:
            for one in (finish.retval, finish.exception):
                if one is not None:
                    kept.append(weakref.ref(one))
            done.release()

        def run_started(self, run: Run) -> None:
            pass

    def succeed(argument: Thing) -> Thing:
        return Thing()

    def fail(argument: Thing) -> None:
        local = Thing()
        kept.append(weakref.ref(local))
        try:
            raise ThingError
        except ThingError as error:
            raise ThingError from error

    async def fail_later(argument: Thing) -> None:
        fail(argument)

    done = threading.Semaphore(0)
    host = ForgetfulHost()
    bench.place(lambda: bench.executor.start(host, "default"))
    for func in (succeed, fail, fail_later):
        argument = Thing()
        kept.append(weakref.ref(argument))
        run = bench.run(func, argument)
        bench.submit_here(run)
        assert done.acquire(timeout=patience.seconds), "the run was never reported as finished"
        del argument, run
    assert len(kept) == 8
    until(lambda: not any(one() for one in kept), lambda: f"still there: {[one() for one in kept if one()]}")


@behaviour("carries out a thousand runs from several threads, each once", "ours")
def _(bench: Bench) -> None:
    bench.start()
    path = Path(bench.folder, "storm")
    batches = [
        [[bench.run(append, str(path), f"{thread}.{batch}.{one}\n") for one in range(25)] for batch in range(5)]
        for thread in range(8)
    ]

    def submit_all(own: list[list[Run]]) -> None:
        for batch in own:
            bench.submit_here(*batch)

    submitting = [bench.aside(submit_all, own) for own in batches]
    for aside in submitting:
        aside.result()
    bench.executor.shutdown()
    ends = bench.host.wait([run for own in batches for batch in own for run in batch], 0)
    assert {finish.state for finish in ends} == {RunState.SUCCEEDED}
    lines = path.read_text().split()
    assert len(lines) == 1000
    assert len(set(lines)) == 1000

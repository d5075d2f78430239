"""How executors are started and shut down, and what becomes of their runs then."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schedcore.run import RunState
from schedcore.testing._executor_bench import Bench, behaviour
from schedcore.testing._executor_jobs import double, echo
from schedcore.testing._suite import patience, until

__all__: list[str] = []


@behaviour("may be shut down before it is started")
def _(bench: Bench) -> None:
    for wait in (True, False):
        bench.make().shutdown(wait)
    bench.executor.shutdown()


@behaviour("refuses runs before it is started", "ours")
def _(bench: Bench) -> None:
    try:
        bench.submit_here(bench.run(echo))
    except RuntimeError:
        pass
    else:
        raise AssertionError("submit did not raise RuntimeError")


@behaviour("refuses runs after shutdown, and has taken none of them", "ours")
def _(bench: Bench) -> None:
    bench.start()
    bench.executor.shutdown()
    try:
        bench.submit_here(bench.run(echo), bench.run(echo))
    except RuntimeError:
        pass
    else:
        raise AssertionError("submit did not raise RuntimeError")
    assert bench.ours.live_runs() == []
    assert bench.host.finished == []


@behaviour("may be shut down twice")
def _(bench: Bench) -> None:
    bench.start()
    assert bench.value(echo) == ((), {})
    for wait in (True, True, False, True):
        assert not bench.executor.shutdown(wait), "there was nothing to cut"


@behaviour("may be started again after shutdown", "ours")
def _(bench: Bench) -> None:
    for _ in range(2):
        bench.start()
        assert bench.value(echo) == ((), {})
        bench.executor.shutdown()


@behaviour("carries out all that it took when shutdown waits", "ours")
def _(bench: Bench) -> None:
    bench.start()
    holders = bench.holders(1 if bench.traits.inline else bench.traits.workers)
    rest = [bench.run(double, index, bench.traits.pause) for index in range(10)]
    bench.submit(*holders, *rest)
    bench.wait_begun(holders)
    ended_first: list[int] = []

    def close() -> None:
        bench.executor.shutdown()
        ended_first.append(len(bench.host.finished))

    closing = bench.aside(close)
    until(lambda: _is_closed(bench), "shutdown did not stop taking runs")
    assert not closing.over, "shutdown(wait=True) returned while runs were live"
    bench.release()
    closing.result()
    assert ended_first == [len(holders) + 10], "shutdown(wait=True) returned before all runs were over"
    assert [bench.value_of(run) for run in rest] == [2 * index for index in range(10)]


def _is_closed(bench: Bench) -> bool:
    try:
        bench.submit_here()
    except RuntimeError:
        return True
    return False


@behaviour("cancels what waits, and lets go on what has begun, when shutdown does not wait", "ours")
def _(bench: Bench) -> None:
    bench.start()
    holders = bench.holders(1 if bench.traits.inline else bench.traits.workers)
    rest = [bench.run(echo) for _ in range(5)]
    bench.submit(*holders, *rest)
    bench.wait_begun(holders)
    cut = bench.ours.shutdown(wait=False)
    assert [id(run) for run in cut] == [id(run) for run in rest], "it does not return the runs that it cancelled"
    for finish in bench.host.wait(rest):
        assert (finish.state, finish.started_us) == (RunState.CANCELLED, None)
    assert len(bench.host.finished) == 5
    # A later call waits for those that went on.
    waiting = bench.aside(bench.executor.shutdown)
    bench.release()
    waiting.result()
    assert len(bench.host.finished) == 5 + len(holders), "the second shutdown did not wait"
    assert [bench.value_of(holder) for holder in holders] == [holder.job.args[1] for holder in holders]


@behaviour("cuts what is not over when shutdown runs out of time, and returns it", "ours")
def _(bench: Bench) -> None:
    bench.start()
    holders = bench.holders(1 if bench.traits.inline else bench.traits.workers)
    rest = [bench.run(echo) for _ in range(3)]
    bench.submit(*holders, *rest)
    bench.wait_begun(holders)
    bench.host.wait_started(holders)
    cut = bench.ours.shutdown(timeout=0.01)
    assert {id(run) for run in cut} == {id(run) for run in (*holders, *rest)}, f"it returned {[run.id for run in cut]}"
    assert len(cut) == len(holders) + len(rest)
    for finish in bench.host.wait(rest):
        assert (finish.state, finish.started_us) == (RunState.CANCELLED, None)
    if bench.traits.ends_runs:
        assert len(bench.host.finished) == len(cut), "shutdown returned before the runs that it ended were reported"
        for finish in bench.host.wait(holders):
            assert finish.state is RunState.CANCELLED, f"a run that was cut ended {finish.state}"
            assert finish.started_us is not None
    else:
        bench.release()
        for holder in holders:
            assert bench.value_of(holder) == holder.job.args[1], "what cannot be ended goes on to its own end"


@behaviour("may be shut down from several threads at once", "ours")
def _(bench: Bench) -> None:
    bench.start()
    holders = bench.holders(1 if bench.traits.inline else bench.traits.workers)
    rest = [bench.run(echo) for _ in range(20)]
    bench.submit(*holders, *rest)
    bench.wait_begun(holders)
    over: list[int] = []

    def close() -> None:
        bench.executor.shutdown()
        over.append(len(bench.host.finished))

    closing = [bench.aside(close) for _ in range(4)]
    bench.release()
    for aside in closing:
        aside.result()
    assert over == [len(holders) + 20] * 4, f"after each of four calls these runs were over: {over}"


@behaviour("may be shut down from a job, which then has waited for the others", "same process", "ours")
def _(bench: Bench) -> None:
    bench.start()
    over: list[int] = []

    def stop() -> None:
        assert bench.executor.shutdown() == []
        over.append(len(bench.host.finished))

    runs = [bench.run(stop), *(bench.run(echo) for _ in range(10))]
    bench.submit(*runs)
    bench.host.wait(runs)
    assert bench.value_of(runs[0]) is None
    assert over == [10], f"when shutdown returned, {over} of 10 other runs were over"


@behaviour("may be shut down from two jobs at once", "same process", "two workers", "ours")
def _(bench: Bench) -> None:
    bench.start()
    both = threading.Barrier(2)

    def stop() -> None:
        both.wait(patience.seconds)
        bench.executor.shutdown()

    runs = [bench.run(stop), bench.run(stop)]
    for run in runs:
        bench.submit(run)
    for run in runs:
        bench.value_of(run)


@behaviour("leaves no thread, process or open file behind", "ours")
def _(bench: Bench) -> None:
    def use(wait: bool) -> None:
        bench.start()
        runs = [bench.run(echo) for _ in range(2 * bench.traits.workers)]
        bench.submit(*runs)
        bench.host.wait(runs)
        bench.executor.shutdown(wait)
        bench.executor.shutdown()

    use(True)  # what is set up once and for all, is now (modules, the resource tracker of multiprocessing)
    with _nothing_left():
        use(True)
        use(False)


@contextmanager
def _nothing_left() -> Iterator[None]:
    before = _holdings()

    def left() -> list[str]:
        return [thing for thing in _holdings() if thing not in before]

    yield
    # Threads of the suite itself may be on their way out.
    until(lambda: not left(), lambda: f"left behind: {', '.join(left())}")


def _holdings() -> list[str]:
    """Threads, and on Linux also child processes and open files, by name."""
    found = [f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()]
    if sys.platform == "linux":
        for task in Path("/proc/self/task").iterdir():
            try:
                children = (task / "children").read_text().split()
            except OSError:
                continue
            found += [f"process {pid}" for pid in children]
        with os.scandir("/proc/self/fd") as entries:
            for entry in entries:
                try:
                    found.append(f"file {entry.name}: {os.readlink(entry.path)}")
                except OSError:  # the one that lists them
                    pass
    return found

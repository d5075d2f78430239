"""The conformance suite of executors, and a host that records what an executor reports.

``check_executor(make)`` runs every behaviour of the contract (``schedcore.executors.base``) against executors of any
kind, without pytest:

    check_executor(lambda: ThreadPoolExecutor(2), ExecutorTraits(workers=2))

What an executor cannot have is declared in its traits, and ``executor_behaviours(traits)`` lists each behaviour with
the reason why it is left out, or None, so that a test run can show it. The jobs of the suite are functions of this
module and meet through files, so that they work alike in threads, in other processes and on event loops.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, cast

from schedcore.clock import Clock, SystemClock
from schedcore.errors import MaxInstancesReachedError, did_you_mean
from schedcore.executors.base import BaseExecutor, RunExecutor
from schedcore.job import NO_KWARGS, Job, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.run import Finish, Run, RunState, current_run
from schedcore.triggers.date import DateTrigger

__all__ = ["ExecutorTraits", "RecordingHost", "check_executor", "executor_behaviours", "make_run"]

# Seconds. How long anything may take that should happen at once: it bounds a failing check, a passing one never waits so long.
PATIENCE_S = 30.0
# 2026-01-01T00:00:00Z, in microseconds: the fire time of the first run that ``make_run`` gives.
_EPOCH_US = 1_767_225_600_000_000


def make_run(
    func: Callable[..., Any] | None,
    *args: Any,
    kwargs: Mapping[str, Any] = NO_KWARGS,
    job_id: str = "job",
    fire_us: int = _EPOCH_US,
    attempt: int = 1,
    max_instances: int = 1,
) -> Run:
    """A run of a job that calls ``func(*args, **kwargs)``, as a scheduler would submit it."""
    trigger = DateTrigger("2026-01-01", timezone="UTC")
    policy = JobPolicy(max_instances=max_instances).intern()
    return Run(JobRecord(job_id, job_id, func, None, args, kwargs, trigger, policy), "default", fire_us, attempt, None)


class RecordingHost:
    """The side of a scheduler that an executor sees. It keeps all reports, in order, and checks that each may come
    when it does.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock if clock is not None else SystemClock()
        self._changed = threading.Condition()
        self._sent: list[Run] = []
        self._started: list[Run] = []
        self._finished: list[Finish] = []
        self._faults: list[str] = []
        self._over: set[int] = set()

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def sent(self) -> list[Run]:
        """The runs that were reported as sent to another process, in order."""
        with self._changed:
            return list(self._sent)

    @property
    def started(self) -> list[Run]:
        """The runs that were reported as started, in order."""
        with self._changed:
            return list(self._started)

    @property
    def finished(self) -> list[Finish]:
        """The ends that were reported, in order."""
        with self._changed:
            return list(self._finished)

    @property
    def faults(self) -> list[str]:
        """What was reported against the contract: twice, or in the wrong order."""
        with self._changed:
            return list(self._faults)

    def run_sent(self, run: Run) -> None:
        with self._changed:
            if any(one is run for one in self._started):
                self._faults.append(f"run {run.id} was reported as sent after it was as started")
            self._sent.append(run)

    def run_started(self, run: Run) -> None:
        with self._changed:
            if any(one is run for one in self._started):
                self._faults.append(f"run {run.id} was reported as started twice")
            if id(run) in self._over:
                self._faults.append(f"run {run.id} was reported as started after its end")
            self._started.append(run)
            self._changed.notify_all()

    def run_finished(self, finish: Finish) -> None:
        with self._changed:
            if id(finish.run) in self._over:
                self._faults.append(f"run {finish.run.id} was reported as finished twice")
            if current_run.get() is finish.run:
                self._faults.append(f"run {finish.run.id} was reported with current_run still set")
            self._over.add(id(finish.run))
            self._finished.append(finish)
            self._changed.notify_all()

    def job_handle(self, run: Run) -> Job:
        """A handle on the run's job, of no scheduler: it can be read, not changed."""
        entry = JobEntry(run.job, JobState.ACTIVE, run.fire_us, run.fire_us)
        return Job(cast(Any, None), run.alias, entry)

    def finish_of(self, run: Run, timeout: float = PATIENCE_S) -> Finish:
        """The end of this run, waited for."""
        return self.wait([run], timeout)[0]

    def wait(self, runs: Sequence[Run], timeout: float = PATIENCE_S) -> list[Finish]:
        """The ends of these runs, waited for, in the order of ``runs``. Raises ``AssertionError`` when they do not come."""
        with self._changed:
            self._changed.wait_for(lambda: all(id(run) in self._over for run in runs), timeout)
            ends = {id(finish.run): finish for finish in self._finished}
        missing = [run.id for run in runs if id(run) not in ends]
        assert not missing, f"these runs were never reported as finished: {', '.join(missing)}"
        return [ends[id(run)] for run in runs]

    def wait_started(self, runs: Sequence[Run], timeout: float = PATIENCE_S) -> None:
        """Wait until these runs were reported as started."""
        with self._changed:
            wanted = {id(run) for run in runs}
            came = self._changed.wait_for(lambda: wanted <= {id(run) for run in self._started}, timeout)
        assert came, "not all runs were reported as started"


class ExecutorTraits(NamedTuple):
    """What an executor is like, declared."""

    workers: int = 1  #: runs at a time of an executor that ``make`` gives
    same_process: bool = True  #: jobs run in the process that submits them
    ends_runs: bool = False  #: a shutdown whose time is up ends runs that have begun
    inline: bool = False  #: ``submit`` itself runs the jobs
    third_party: bool = (
        False  #: a ``BaseExecutor`` of the 3.x kind: no batches, no ``live_runs``, no report of what was cut
    )
    pause: Callable[[], Awaitable[object]] | None = (
        None  #: what a coroutine awaits to give others a turn, on a loop that does not drive ``asyncio.sleep(0)``
    )
    lacks: Mapping[str, str] = {}  #: name of a behaviour -> why this executor cannot have it


class _Behaviour(NamedTuple):
    name: str
    check: Callable[[_Bench], None]
    needs: tuple[str, ...]

    def left_out(self, traits: ExecutorTraits) -> str | None:
        if self.name in traits.lacks:
            return traits.lacks[self.name]
        return next((_REASONS[need] for need in self.needs if not _MET[need](traits)), None)


_REASONS = {
    "same process": "its jobs run in another process, which reaches no object of this one",
    "returns at once": "it runs jobs in the call of submit",
    "ours": "it is an executor of the 3.x kind",
    "two workers": "it runs one job at a time",
}
_MET: dict[str, Callable[[ExecutorTraits], bool]] = {
    "same process": lambda traits: traits.same_process,
    "returns at once": lambda traits: not traits.inline,
    "ours": lambda traits: not traits.third_party,
    "two workers": lambda traits: traits.workers > 1 or traits.inline,
}
_behaviours: list[_Behaviour] = []


def _behaviour(name: str, *needs: str) -> Callable[[Callable[[_Bench], None]], Callable[[_Bench], None]]:
    def register(check: Callable[[_Bench], None]) -> Callable[[_Bench], None]:
        _behaviours.append(_Behaviour(name, check, needs))
        return check

    return register


def executor_behaviours(traits: ExecutorTraits = ExecutorTraits()) -> list[tuple[str, str | None]]:  # noqa: B008 (immutable)
    """The behaviours, each with the reason why an executor with these traits is not held to it, or None."""
    known = [behaviour.name for behaviour in _behaviours]
    for name in traits.lacks:
        if name not in known:
            raise ValueError(f"there is no behaviour {name!r}{did_you_mean(name, known)}")
    return [(behaviour.name, behaviour.left_out(traits)) for behaviour in _behaviours]


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
    checked: list[str] = []
    wanted = executor_behaviours(traits)
    if only is not None and only not in dict(wanted):
        raise ValueError(f"there is no behaviour {only!r}{did_you_mean(only, dict(wanted))}")
    for behaviour in _behaviours:
        if only not in (None, behaviour.name) or behaviour.left_out(traits) is not None:
            continue
        with tempfile.TemporaryDirectory(prefix="schedcore-check-") as folder:
            bench = _Bench(make, traits, Path(folder), submit_in)
            try:
                behaviour.check(bench)
                bench.clear_up()
            except AssertionError as error:
                bench.let_go()
                raise AssertionError(f"an executor {behaviour.name}: {error}") from error
            except BaseException:
                bench.let_go()
                raise
        checked.append(behaviour.name)
    return checked


# --- the jobs ---


def _echo(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def _fail(message: str) -> None:
    raise ValueError(message)


def _exit(code: object) -> None:
    sys.exit(cast(Any, code))


def _interrupt() -> None:
    raise KeyboardInterrupt


async def _double(value: int, pause: Callable[[], Awaitable[object]] | None = None) -> int:
    if pause is None:
        import asyncio

        await asyncio.sleep(0)
    else:
        await pause()
    return 2 * value


def _return_awaitable(value: int, pause: Callable[[], Awaitable[object]] | None = None) -> Any:
    return _double(value, pause)


def _generate() -> Iterator[int]:
    yield 1


def _who_am_i() -> tuple[object, ...] | None:
    run = current_run.get()
    return None if run is None else (run.id, run.job.id, run.alias, run.fire_us, run.attempt, run.scheduled_at)


async def _who_am_i_in_a_coroutine() -> tuple[object, ...] | None:
    return _who_am_i()


_left_behind: ContextVar[str | None] = ContextVar("schedcore_check_left_behind", default=None)


def _leave_behind(text: str) -> str | None:
    found = _left_behind.get()
    _left_behind.set(text)
    return found


def _append(path: str, text: str) -> None:
    """One write to a file opened for appending: whole, whoever else writes."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _hold(folder: str, name: str) -> str:
    """Say that it has begun, and wait until it is let go, or its check has failed and cleared the folder away."""
    Path(folder, f"{name}.begun").touch()
    deadline = time.monotonic() + PATIENCE_S
    while not Path(folder, "go").exists() and Path(folder).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} was never let go")
        time.sleep(0.002)
    return name


# --- the bench ---


class _Bench:
    """One behaviour's place of work: an executor, its host, and what must not be left afterwards."""

    def __init__(
        self,
        make: Callable[[], BaseExecutor],
        traits: ExecutorTraits,
        folder: Path,
        submit_in: Callable[[Callable[[], None]], None] | None,
    ) -> None:
        self.traits = traits
        self.folder = folder
        self.host = RecordingHost()
        self._make = make
        self._submit_in = submit_in
        self._threads: list[threading.Thread] = []
        self._number = 0
        self.executor = make()

    @property
    def ours(self) -> RunExecutor:
        assert isinstance(self.executor, RunExecutor), "it is no RunExecutor; its traits should say third_party"
        return self.executor

    def make(self) -> BaseExecutor:
        return self._make()

    def start(self) -> None:
        self._place(lambda: self.executor.start(self.host, "default"))

    def _place(self, call: Callable[[], None]) -> None:
        if self._submit_in is None:
            call()
        else:
            self._submit_in(call)

    def run(self, func: Callable[..., Any] | None, *args: Any, **kwargs: Any) -> Run:
        """A run of a job of its own."""
        self._number += 1
        return make_run(func, *args, kwargs=kwargs, job_id=f"job{self._number}")

    def holders(self, count: int) -> list[Run]:
        return [self.run(_hold, str(self.folder), f"holder{index}") for index in range(count)]

    def submit(self, *runs: Run) -> None:
        """Submit, without waiting for an executor that runs them in the call."""
        if self.traits.inline:
            self.aside(lambda: self.submit_here(*runs))
        else:
            self.submit_here(*runs)

    def submit_here(self, *runs: Run) -> None:
        self._place(lambda: self.executor.submit(runs))

    def aside(self, call: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=call, name="schedcore-check", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def wait_begun(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self.until(Path(self.folder, f"{run.job.args[1]}.begun").exists, f"{run.job.args[1]} never began")

    def release(self) -> None:
        Path(self.folder, "go").touch()

    def until(self, condition: Callable[[], object], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.002)

    def value_of(self, run: Run) -> Any:
        finish = self.host.finish_of(run)
        assert finish.state is RunState.SUCCEEDED, (
            f"the run ended {finish.state}: {finish.exception!r}\n{finish.traceback}"
        )
        assert finish.exception is None
        return finish.retval

    def value(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        run = self.run(func, *args, **kwargs)
        self.submit(run)
        return self.value_of(run)

    def error(self, func: Callable[..., Any] | None, *args: Any) -> Finish:
        run = self.run(func, *args)
        self.submit(run)
        finish = self.host.finish_of(run)
        assert finish.state is RunState.FAILED, f"the run ended {finish.state}, not failed"
        assert isinstance(finish.exception, Exception), f"its exception is {finish.exception!r}"
        assert finish.traceback, "it has no traceback text"
        return finish

    def clear_up(self) -> None:
        self.executor.shutdown()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a thread that submitted or shut down never came back"
        faults = self.host.faults
        assert not faults, "; ".join(faults)

    def let_go(self) -> None:
        """After a failed check: leave nothing running."""
        self.release()
        try:
            self.executor.shutdown(wait=False)
        except Exception:  # noqa: BLE001 (the check's own failure is what is reported)
            pass


# --- the behaviours ---


@_behaviour("runs a job to success")
def _(bench: _Bench) -> None:
    bench.start()
    assert bench.value(_echo) == ((), {})


@_behaviour("passes arguments on")
def _(bench: _Bench) -> None:
    bench.start()
    assert bench.value(_echo, 1, "two", [3], four={"five": (6,)}) == ((1, "two", [3]), {"four": {"five": (6,)}})


@_behaviour("reports a failure with type, message and traceback text")
def _(bench: _Bench) -> None:
    bench.start()
    finish = bench.error(_fail, "the reason")
    assert type(finish.exception) is ValueError, f"the exception is {finish.exception!r}"
    assert str(finish.exception) == "the reason"
    assert finish.traceback is not None
    assert "in _fail" in finish.traceback, f"the traceback does not lead to the job: {finish.traceback}"
    assert "ValueError: the reason" in finish.traceback, (
        f"the traceback does not end with the error: {finish.traceback}"
    )
    assert finish.exception.__traceback__ is None, "the exception holds on to the frames it went through"
    assert finish.retval is None


@_behaviour("reports started before finished, with instants in order", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    before_us = bench.host.clock.wall_us()
    runs = [bench.run(_echo) for _ in range(20)]
    bench.submit(*runs)
    for finish in bench.host.wait(runs):
        assert finish.started_us is not None, "a run that ran has no started_us"
        assert before_us <= finish.started_us <= finish.finished_us <= bench.host.clock.wall_us()
    assert len(bench.host.started) == 20, f"{len(bench.host.started)} of 20 runs were reported as started"


@_behaviour("reports each run exactly once")
def _(bench: _Bench) -> None:
    bench.start()
    jobs: list[tuple[Any, ...]] = [(_echo,), (_fail, "x"), (_exit, 1), (_double, 2, bench.traits.pause)]
    runs = [bench.run(*jobs[index % 4]) for index in range(40)]
    bench.submit(*runs)
    bench.host.wait(runs)
    bench.executor.shutdown()
    assert len(bench.host.finished) == 40


@_behaviour("begins runs in the order of submission")
def _(bench: _Bench) -> None:
    bench.start()
    # All workers but one are held, so that there is one way only.
    holders = [] if bench.traits.inline else bench.holders(bench.traits.workers - 1)
    if holders:
        bench.submit(*holders)
        bench.wait_begun(holders)
    path = Path(bench.folder, "order")
    runs = [bench.run(_append, str(path), f"{index}\n") for index in range(50)]
    bench.submit(*runs)
    bench.host.wait(runs)
    bench.release()
    assert path.read_text().split() == [str(index) for index in range(50)]


@_behaviour("does not wait in submit", "returns at once")
def _(bench: _Bench) -> None:
    bench.start()
    runs = [*bench.holders(bench.traits.workers), bench.run(_echo)]
    bench.submit_here(*runs)
    assert bench.host.finished == []
    bench.release()
    bench.host.wait(runs)


@_behaviour("runs as many at a time as it has workers", "two workers", "returns at once")
def _(bench: _Bench) -> None:
    bench.start()
    # One by one, so that each has to find a worker while the earlier ones are busy.
    holders = bench.holders(bench.traits.workers)
    for holder in holders:
        bench.submit(holder)
    bench.wait_begun(holders)
    bench.release()
    assert sorted(bench.value_of(holder) for holder in holders) == sorted(holder.job.args[1] for holder in holders)


@_behaviour("runs a coroutine job to its end")
def _(bench: _Bench) -> None:
    bench.start()
    assert bench.value(_double, 21, bench.traits.pause) == 42


@_behaviour("runs an awaitable that a job returns to its end")
def _(bench: _Bench) -> None:
    bench.start()
    assert bench.value(_return_awaitable, 21, bench.traits.pause) == 42


@_behaviour("fails a job that returns a generator, of which nothing has run")
def _(bench: _Bench) -> None:
    bench.start()
    assert "generator" in str(bench.error(_generate).exception)


@_behaviour("sets current_run in the job, and nowhere else", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    for func in (_who_am_i, _who_am_i_in_a_coroutine):
        run = bench.run(func)
        bench.submit(run)
        found = bench.value_of(run)
        wanted = (run.id, run.job.id, run.alias, run.fire_us, run.attempt, run.scheduled_at)
        assert found == wanted, f"{func.__name__} sees {found!r}, not {wanted!r}"
    assert current_run.get() is None


@_behaviour("keeps the context variables of runs apart", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    runs = [bench.run(_leave_behind, str(index)) for index in range(8)]
    bench.submit(*runs)
    assert [bench.value_of(run) for run in runs] == [None] * 8
    assert _left_behind.get() is None


@_behaviour("survives a job that calls sys.exit")
def _(bench: _Bench) -> None:
    bench.start()
    for code in (0, 3, "bye"):
        assert repr(code) in str(bench.error(_exit, code).exception)
    assert bench.value(_echo) == ((), {})


@_behaviour("survives a job that raises KeyboardInterrupt", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    run = bench.run(_interrupt)
    bench.aside(lambda: bench.submit_here(run)).join(PATIENCE_S)  # in the main thread it would belong to the program
    finish = bench.host.finish_of(run)
    assert finish.state is RunState.FAILED
    assert "KeyboardInterrupt" in str(finish.exception)
    assert bench.value(_echo) == ((), {})


@_behaviour("fails a job whose callable is not there")
def _(bench: _Bench) -> None:
    bench.start()
    assert isinstance(bench.error(None).exception, LookupError)
    assert bench.value(_echo) == ((), {})


@_behaviour("takes a job for a fire time the 3.x way")
def _(bench: _Bench) -> None:
    bench.start()
    run = bench.run(_echo, "3.x")
    handle = bench.host.job_handle(run)
    bench._place(lambda: bench.executor.submit_job(handle, [run.scheduled_at]))
    bench.until(lambda: bench.host.finished, "it was never reported as finished")
    (finish,) = bench.host.finished
    assert (finish.run.id, finish.state, finish.retval) == (run.id, RunState.SUCCEEDED, (("3.x",), {}))


@_behaviour("refuses a job that has enough live runs, the 3.x way")
def _(bench: _Bench) -> None:
    bench.start()
    (holder,) = bench.holders(1)
    handle = bench.host.job_handle(holder)
    bench.submit(holder)
    bench.wait_begun([holder])
    try:
        bench._place(lambda: bench.executor.submit_job(handle, [holder.scheduled_at]))
    except MaxInstancesReachedError:
        pass
    else:
        raise AssertionError("submit_job took a second run of a job with max_instances=1")
    bench.release()
    bench.host.wait([holder])
    assert len(bench.host.finished) == 1


@_behaviour("lists the runs that wait and those that run, in order", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    assert bench.ours.live_runs() == []
    runs = [*bench.holders(1 if bench.traits.inline else bench.traits.workers), bench.run(_echo), bench.run(_echo)]
    bench.submit(*runs)
    bench.wait_begun(runs[:-2])
    live = bench.ours.live_runs()
    assert [id(run) for run in live] == [id(run) for run in runs], f"live are {[run.id for run in live]}"
    bench.release()
    bench.host.wait(runs)
    assert bench.ours.live_runs() == [], "a run that was reported as finished is still listed"


@_behaviour("may be shut down before it is started")
def _(bench: _Bench) -> None:
    for wait in (True, False):
        bench.make().shutdown(wait)
    bench.executor.shutdown()


@_behaviour("refuses runs before it is started", "ours")
def _(bench: _Bench) -> None:
    try:
        bench.submit_here(bench.run(_echo))
    except RuntimeError:
        pass
    else:
        raise AssertionError("submit did not raise RuntimeError")


@_behaviour("refuses runs after shutdown, and has taken none of them", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    bench.executor.shutdown()
    try:
        bench.submit_here(bench.run(_echo), bench.run(_echo))
    except RuntimeError:
        pass
    else:
        raise AssertionError("submit did not raise RuntimeError")
    assert bench.ours.live_runs() == []
    assert bench.host.finished == []


@_behaviour("may be shut down twice")
def _(bench: _Bench) -> None:
    bench.start()
    assert bench.value(_echo) == ((), {})
    for wait in (True, True, False, True):
        assert not bench.executor.shutdown(wait), "there was nothing to cut"


@_behaviour("may be started again after shutdown", "ours")
def _(bench: _Bench) -> None:
    for _ in range(2):
        bench.start()
        assert bench.value(_echo) == ((), {})
        bench.executor.shutdown()


@_behaviour("carries out all that it took when shutdown waits", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    holders = bench.holders(1 if bench.traits.inline else bench.traits.workers)
    rest = [bench.run(_double, index, bench.traits.pause) for index in range(10)]
    bench.submit(*holders, *rest)
    bench.wait_begun(holders)
    ended_first: list[int] = []

    def close() -> None:
        bench.executor.shutdown()
        ended_first.append(len(bench.host.finished))

    closing = bench.aside(close)
    bench.until(lambda: _is_closed(bench), "shutdown did not stop taking runs")
    assert closing.is_alive(), "shutdown(wait=True) returned while runs were live"
    bench.release()
    closing.join(PATIENCE_S)
    assert ended_first == [len(holders) + 10], "shutdown(wait=True) returned before all runs were over"
    assert [bench.value_of(run) for run in rest] == [2 * index for index in range(10)]


def _is_closed(bench: _Bench) -> bool:
    try:
        bench.submit_here()
    except RuntimeError:
        return True
    return False


@_behaviour("cancels what waits, and lets go on what has begun, when shutdown does not wait", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    holders = bench.holders(1 if bench.traits.inline else bench.traits.workers)
    rest = [bench.run(_echo) for _ in range(5)]
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
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
    assert len(bench.host.finished) == 5 + len(holders), "the second shutdown did not wait"
    assert [bench.value_of(holder) for holder in holders] == [holder.job.args[1] for holder in holders]


@_behaviour("cuts what is not over when shutdown runs out of time, and returns it", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    holders = bench.holders(1 if bench.traits.inline else bench.traits.workers)
    rest = [bench.run(_echo) for _ in range(3)]
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


@_behaviour("may be shut down from several threads at once", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    holders = bench.holders(1 if bench.traits.inline else bench.traits.workers)
    rest = [bench.run(_echo) for _ in range(20)]
    bench.submit(*holders, *rest)
    bench.wait_begun(holders)
    over: list[int] = []

    def close() -> None:
        bench.executor.shutdown()
        over.append(len(bench.host.finished))

    closing = [bench.aside(close) for _ in range(4)]
    bench.release()
    for thread in closing:
        thread.join(PATIENCE_S)
    assert over == [len(holders) + 20] * 4, f"after each of four calls these runs were over: {over}"


@_behaviour("may be shut down from a job, which then has waited for the others", "same process", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    over: list[int] = []

    def stop() -> None:
        assert bench.executor.shutdown() == []
        over.append(len(bench.host.finished))

    runs = [bench.run(stop), *(bench.run(_echo) for _ in range(10))]
    bench.submit(*runs)
    bench.host.wait(runs)
    assert bench.value_of(runs[0]) is None
    assert over == [10], f"when shutdown returned, {over} of 10 other runs were over"


@_behaviour("may be shut down from two jobs at once", "same process", "two workers", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    both = threading.Barrier(2)

    def stop() -> None:
        both.wait(PATIENCE_S)
        bench.executor.shutdown()

    runs = [bench.run(stop), bench.run(stop)]
    for run in runs:
        bench.submit(run)
    for run in runs:
        bench.value_of(run)


@_behaviour(
    "keeps neither arguments, nor results, nor exceptions, nor frames of a run that is over", "same process", "ours"
)
def _(bench: _Bench) -> None:
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
    bench._place(lambda: bench.executor.start(host, "default"))
    for func in (succeed, fail, fail_later):
        argument = Thing()
        kept.append(weakref.ref(argument))
        run = bench.run(func, argument)
        bench.submit_here(run)
        assert done.acquire(timeout=PATIENCE_S), "the run was never reported as finished"
        del argument, run
    assert len(kept) == 8
    bench.until(lambda: not any(one() for one in kept), f"still there: {[one() for one in kept if one()]}")


@_behaviour("carries out a thousand runs from several threads, each once", "ours")
def _(bench: _Bench) -> None:
    bench.start()
    path = Path(bench.folder, "storm")
    batches = [
        [[bench.run(_append, str(path), f"{thread}.{batch}.{one}\n") for one in range(25)] for batch in range(5)]
        for thread in range(8)
    ]

    def submit_all(own: list[list[Run]]) -> None:
        for batch in own:
            bench.submit_here(*batch)

    threads = [bench.aside(lambda own=own: submit_all(own)) for own in batches]  # type: ignore[misc]
    for thread in threads:
        thread.join(PATIENCE_S)
    bench.executor.shutdown()
    ends = bench.host.wait([run for own in batches for batch in own for run in batch], 0)
    assert {finish.state for finish in ends} == {RunState.SUCCEEDED}
    lines = path.read_text().split()
    assert len(lines) == 1000
    assert len(set(lines)) == 1000


@_behaviour("leaves no thread, process or open file behind", "ours")
def _(bench: _Bench) -> None:
    def use(wait: bool) -> None:
        bench.start()
        runs = [bench.run(_echo) for _ in range(2 * bench.traits.workers)]
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
    yield
    left = [thing for thing in _holdings() if thing not in before]
    deadline = time.monotonic() + PATIENCE_S
    while left and time.monotonic() < deadline:  # threads of the suite itself may be on their way out
        time.sleep(0.002)
        left = [thing for thing in _holdings() if thing not in before]
    assert not left, f"left behind: {', '.join(left)}"


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

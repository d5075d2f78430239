"""The place of work of the executors' conformance suite: an executor, its host, and what must not be left afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

from schedcore.executors.base import BaseExecutor, RunExecutor
from schedcore.run import Finish, Run, RunState
from schedcore.testing._executor_host import RecordingHost, make_run
from schedcore.testing._executor_jobs import hold
from schedcore.testing._suite import Aside, Suite, until

__all__ = ["Bench", "ExecutorTraits", "behaviour", "bench_for", "suite"]

P = ParamSpec("P")


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


suite: Suite[Bench, ExecutorTraits] = Suite(
    "an executor",
    {
        "same process": (
            lambda traits: traits.same_process,
            "its jobs run in another process, which reaches no object of this one",
        ),
        "returns at once": (lambda traits: not traits.inline, "it runs jobs in the call of submit"),
        "ours": (lambda traits: not traits.third_party, "it is an executor of the 3.x kind"),
        "two workers": (lambda traits: traits.workers > 1 or traits.inline, "it runs one job at a time"),
    },
)
behaviour = suite.behaviour


class Bench:
    """One behaviour's place of work."""

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
        self._asides: list[Aside[object]] = []
        self._number = 0
        self.executor = make()

    @property
    def ours(self) -> RunExecutor:
        assert isinstance(self.executor, RunExecutor), "it is no RunExecutor; its traits should say third_party"
        return self.executor

    def make(self) -> BaseExecutor:
        return self._make()

    def start(self) -> None:
        self.place(lambda: self.executor.start(self.host, "default"))

    def place(self, call: Callable[[], None]) -> None:
        if self._submit_in is None:
            call()
        else:
            self._submit_in(call)

    def run(self, func: Callable[..., Any] | None, *args: Any, **kwargs: Any) -> Run:
        """A run of a job of its own."""
        self._number += 1
        return make_run(func, *args, kwargs=kwargs, job_id=f"job{self._number}")

    def holders(self, count: int) -> list[Run]:
        return [self.run(hold, str(self.folder), f"holder{index}") for index in range(count)]

    def submit(self, *runs: Run) -> None:
        """Submit, without waiting for an executor that runs them in the call."""
        if self.traits.inline:
            self.aside(self.submit_here, *runs)
        else:
            self.submit_here(*runs)

    def submit_here(self, *runs: Run) -> None:
        self.place(lambda: self.executor.submit(runs))

    def aside(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Aside[object]:
        aside = Aside(call, *args, **kwargs)
        self._asides.append(aside)
        return aside

    def wait_begun(self, runs: Sequence[Run]) -> None:
        for run in runs:
            until(Path(self.folder, f"{run.job.args[1]}.begun").exists, f"{run.job.args[1]} never began")

    def release(self) -> None:
        Path(self.folder, "go").touch()

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
        for aside in self._asides:
            aside.result()
        faults = self.host.faults
        assert not faults, "; ".join(faults)

    def let_go(self) -> None:
        """After a failed check: leave nothing running."""
        self.release()
        try:
            self.executor.shutdown(wait=False)
        except Exception:  # noqa: BLE001 (the check's own failure is what is reported)
            pass


@contextmanager
def bench_for(
    make: Callable[[], BaseExecutor], traits: ExecutorTraits, submit_in: Callable[[Callable[[], None]], None] | None
) -> Iterator[Bench]:
    """A bench that is cleared when it is left."""
    with tempfile.TemporaryDirectory(prefix="schedcore-check-") as folder:
        bench = Bench(make, traits, Path(folder), submit_in)
        try:
            yield bench
            bench.clear_up()
        except BaseException:
            bench.let_go()
            raise

"""The Twisted executor: the conformance suite, on a reactor that runs in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby

import pytest

from schedcore.adapters.twisted import TwistedExecutor
from schedcore.adapters.twisted._jobs import ReactorJobs
from schedcore.adapters.twisted.testing import ReactorThread
from schedcore.testing.executor_suite import (
    ExecutorTraits,
    RecordingHost,
    check_executor,
    executor_behaviours,
    make_run,
)
from tests.adapters.interrupted import shut_down_amid_submissions
from tests.interrupting import disturbed

TRAITS = ExecutorTraits(workers=3)


@pytest.fixture
def io() -> Iterator[ReactorThread]:
    with ReactorThread() as thread:
        # The threads are the reactor's, which keeps them: all of them now, so that none comes during a check for leaks.
        thread.call(lambda: thread.reactor.getThreadPool().adjustPoolsize(10, 10))
        yield thread


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(TRAITS))
def test_conformance(io: ReactorThread, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)

    def in_reactor(call: Callable[[], None]) -> None:
        io.call(call)

    def make() -> TwistedExecutor:
        return TwistedExecutor(3, reactor=io.reactor)

    assert check_executor(make, TRAITS, only=name, submit_in=in_reactor) == [name]


def test_a_turn_begins_one_batch_however_many_were_submitted(io: ReactorThread) -> None:
    host = RecordingHost()
    executor = TwistedExecutor(3, reactor=io.reactor)
    executor.start(host, "default")
    order: list[str] = []

    async def job() -> None:
        order.append("run")

    def neighbour() -> None:
        order.append("turn")
        if order.count("run") < 400:
            io.reactor.callFromThread(neighbour)

    lots = [[make_run(job) for _ in range(100)] for _ in range(4)]

    def submit() -> None:
        for lot in lots:
            executor.submit(lot)
        neighbour()

    io.call(submit)
    host.wait([run for lot in lots for run in lot])
    assert executor.shutdown() == []
    assert [len(list(group)) for what, group in groupby(order) if what == "run"] == [64, 64, 64, 64, 64, 64, 16]


def test_what_a_reactor_never_came_to_begins_on_the_next_one(io: ReactorThread) -> None:
    class Stopped:
        def callFromThread(self, call: Callable[[], None]) -> None:
            pass

    host = RecordingHost()
    jobs = ReactorJobs()

    async def job() -> None:
        pass

    runs = [make_run(job), make_run(job)]
    for reactor, run in zip([Stopped(), io.reactor], runs, strict=True):
        jobs.reactor = reactor
        jobs.start(host, "default")
        io.call(jobs.submit, [run])
    assert [finish.run for finish in host.wait(runs)] == runs
    assert jobs.shutdown() == []


def test_a_signal_handler_may_shut_it_down_in_the_midst_of_a_submission(io: ReactorThread) -> None:
    shut_down_amid_submissions(lambda: TwistedExecutor(3, reactor=io.reactor), partial(io.call, disturbed))

"""The Twisted executor: the conformance suite, on a reactor that runs in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from schedcore.adapters.twisted import TwistedExecutor
from schedcore.adapters.twisted.testing import ReactorThread
from schedcore.testing.executor_suite import ExecutorTraits, check_executor, executor_behaviours

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

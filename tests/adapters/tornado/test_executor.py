"""The Tornado executor: the conformance suite, on an ``IOLoop`` that runs in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest
from tornado.ioloop import IOLoop

from schedcore.adapters.tornado import TornadoExecutor
from schedcore.testing.executor_suite import ExecutorTraits, check_executor, executor_behaviours

TRAITS = ExecutorTraits(workers=3)


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    io_loop = IOLoop(make_current=False)
    thread = threading.Thread(target=io_loop.start)
    thread.start()
    yield io_loop
    io_loop.add_callback(io_loop.stop)
    thread.join()
    io_loop.close(all_fds=True)


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(TRAITS))
def test_conformance(io_loop: IOLoop, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)

    def on_loop(call: Callable[[], None]) -> None:
        made: Future[None] = Future()

        def make() -> None:
            try:
                call()
                made.set_result(None)
            except BaseException as error:  # noqa: BLE001  # it is raised where the call was asked for
                made.set_exception(error)

        io_loop.add_callback(make)
        made.result(30)

    assert check_executor(lambda: TornadoExecutor(3), TRAITS, only=name, submit_in=on_loop) == [name]

"""The debug executor: conformance, and what is special about running in the thread that submits."""

from __future__ import annotations

import asyncio
import threading

import pytest

from schedcore.executors.debug import DebugExecutor
from schedcore.run import RunState, current_run
from schedcore.testing.executor_suite import (
    ExecutorTraits,
    RecordingHost,
    check_executor,
    executor_behaviours,
    make_run,
)

TRAITS = ExecutorTraits(inline=True)


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(TRAITS))
def test_conformance(name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    assert check_executor(DebugExecutor, TRAITS, only=name) == [name]


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


@pytest.fixture
def executor(host: RecordingHost) -> DebugExecutor:
    executor = DebugExecutor()
    executor.start(host, "debug")
    return executor


def test_runs_at_once_in_this_thread(executor: DebugExecutor, host: RecordingHost) -> None:
    run = make_run(threading.get_ident)
    executor.submit([run])
    assert [finish.retval for finish in host.finished] == [threading.get_ident()]


def test_an_interrupt_in_the_main_thread_is_reported_and_reaches_the_program(
    executor: DebugExecutor, host: RecordingHost
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt("now")

    runs = [make_run(int), make_run(interrupt), make_run(int), make_run(int)]
    with pytest.raises(KeyboardInterrupt, match="now") as caught:
        executor.submit(runs)
    assert any(entry.name == "interrupt" for entry in caught.traceback)
    finishes = host.wait(runs)
    assert [finish.state for finish in finishes] == ["succeeded", "failed", "cancelled", "cancelled"]
    assert "the job raised KeyboardInterrupt: now" in str(finishes[1].exception)
    assert executor.live_runs() == []
    assert executor.shutdown() == []


def test_a_job_that_submits_has_the_other_run_inside_itself(executor: DebugExecutor, host: RecordingHost) -> None:
    inner = make_run(current_run.get, job_id="inner")

    def submit() -> tuple[object, object, object]:
        before = current_run.get()
        executor.submit([inner])
        return before, host.finished[0].retval, current_run.get()

    outer = make_run(submit, job_id="outer")
    executor.submit([outer])
    assert host.finish_of(outer).retval == (outer, inner, outer)
    assert [finish.run.job.id for finish in host.finished] == ["inner", "outer"]


def test_a_coroutine_job_under_a_running_loop_has_a_thread_meanwhile(
    executor: DebugExecutor, host: RecordingHost
) -> None:
    async def fetch(value: int) -> tuple[int, object]:
        await asyncio.sleep(0)
        if value < 0:
            raise ValueError("negative")
        return value, current_run.get()

    good, bad = make_run(fetch, 3), make_run(fetch, -3)

    async def program() -> None:
        executor.submit([good, bad])

    asyncio.run(program())
    assert host.finish_of(good).retval == (3, good)
    assert isinstance(host.finish_of(bad).exception, ValueError)


def test_a_job_that_shuts_down_without_waiting_cancels_the_rest_of_its_batch(
    executor: DebugExecutor, host: RecordingHost
) -> None:
    runs = [make_run(lambda: len(executor.shutdown(wait=False))), make_run(int), make_run(int)]
    executor.submit(runs)
    assert [finish.state for finish in host.wait(runs)] == [
        RunState.SUCCEEDED,
        RunState.CANCELLED,
        RunState.CANCELLED,
    ]
    assert host.finish_of(runs[0]).retval == 2


def test_start_while_running_is_refused(executor: DebugExecutor, host: RecordingHost) -> None:
    with pytest.raises(RuntimeError, match="running already"):
        executor.start(host, "debug")

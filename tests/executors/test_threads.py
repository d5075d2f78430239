"""The thread pool: conformance, options, initializers, imports and memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from schedcore.errors import ConfigurationError, FailureError, UnknownOptionError
from schedcore.executors.pool import InitializerError, ThreadPoolExecutor
from schedcore.run import Finish, Run, RunState
from schedcore.testing.executor_suite import (
    ExecutorTraits,
    RecordingHost,
    check_executor,
    executor_behaviours,
    make_run,
)

ONE = ExecutorTraits(workers=1)
THREE = ExecutorTraits(workers=3)


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(THREE))
def test_conformance(name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    assert check_executor(lambda: ThreadPoolExecutor(3), THREE, only=name) == [name]


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(ONE))
def test_conformance_of_a_single_worker(name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    assert check_executor(lambda: ThreadPoolExecutor(1), ONE, only=name) == [name]


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


class TestOptions:
    @pytest.mark.parametrize("bad", [0, -1, 1.5, True, None, "many", ""])
    def test_max_workers(self, bad: object) -> None:
        with pytest.raises(ConfigurationError, match="max_workers must be a whole number from 1 up"):
            ThreadPoolExecutor(bad)  # type: ignore[arg-type]

    def test_max_workers_as_text(self) -> None:
        assert ThreadPoolExecutor("3")._max_workers == 3  # type: ignore[arg-type]

    def test_unknown_option_is_refused_by_name(self) -> None:
        with pytest.raises(
            UnknownOptionError, match="unknown thread pool option 'initialiser'; did you mean 'initializer'"
        ):
            ThreadPoolExecutor(pool_kwargs={"initialiser": print})

    def test_initializer(self) -> None:
        with pytest.raises(ConfigurationError, match="initializer must be a callable"):
            ThreadPoolExecutor(pool_kwargs={"initializer": 3})
        with pytest.raises(ConfigurationError, match="initargs must be a sequence"):
            ThreadPoolExecutor(pool_kwargs={"initializer": print, "initargs": "text"})

    def test_thread_names(self, host: RecordingHost) -> None:
        for kwargs, name in (({}, "schedcore-mail-0"), ({"thread_name_prefix": "mine"}, "mine-0")):
            executor = ThreadPoolExecutor(pool_kwargs=kwargs)
            executor.start(host, "mail")
            run = make_run(lambda: threading.current_thread().name)
            executor.submit([run])
            assert host.finish_of(run).retval == name
            executor.shutdown()


class TestInitializer:
    def test_is_called_in_each_thread_with_its_arguments(self, host: RecordingHost) -> None:
        local = threading.local()
        executor = ThreadPoolExecutor(
            2, {"initializer": lambda value: setattr(local, "value", value), "initargs": ("here",)}
        )
        executor.start(host, "default")
        runs = [make_run(lambda: local.value) for _ in range(10)]
        executor.submit(runs)
        executor.shutdown()
        assert {finish.retval for finish in host.wait(runs)} == {"here"}

    def test_may_be_named_by_text(self, host: RecordingHost) -> None:
        executor = ThreadPoolExecutor(1, {"initializer": "gc:collect"})
        assert executor._initializer is gc.collect

    @pytest.mark.parametrize("error", [OSError("no route"), SystemExit(3), KeyboardInterrupt()])
    def test_that_raises_fails_its_run_and_is_tried_again(
        self, host: RecordingHost, caplog: pytest.LogCaptureFixture, error: BaseException
    ) -> None:
        calls: list[int] = []

        def connect() -> None:
            calls.append(1)
            if len(calls) <= 2:
                raise error

        executor = ThreadPoolExecutor(1, {"initializer": connect})
        executor.start(host, "mail")
        runs = [make_run(threading.get_ident) for _ in range(4)]
        executor.submit(runs)
        executor.shutdown()
        finishes = host.wait(runs)
        assert [finish.state for finish in finishes] == ["failed", "failed", "succeeded", "succeeded"]
        assert isinstance(finishes[0].exception, InitializerError)
        assert isinstance(finishes[0].exception, FailureError)
        assert "the initializer of executor 'mail' raised" in str(finishes[0].exception)
        assert type(error).__name__ in str(finishes[0].traceback)
        assert finishes[0].started_us is None
        assert len(host.started) == 2
        assert "initializer" in caplog.text


def test_start_while_running_is_refused(host: RecordingHost) -> None:
    executor = ThreadPoolExecutor(1)
    executor.start(host, "default")
    with pytest.raises(RuntimeError, match="running already"):
        executor.start(host, "default")
    executor.shutdown()


def test_runs_of_a_former_start_report_to_its_host(host: RecordingHost) -> None:
    gate = threading.Event()
    executor = ThreadPoolExecutor(1)
    executor.start(host, "default")
    run = make_run(gate.wait)
    executor.submit([run])
    host.wait_started([run])
    executor.shutdown(wait=False)
    later = RecordingHost()
    executor.start(later, "default")
    gate.set()
    assert host.finish_of(run).state is RunState.SUCCEEDED
    executor.shutdown()
    assert later.finished == []


def test_cancelling_an_awaitable_from_inside_is_a_failure(host: RecordingHost) -> None:
    async def cancel_itself() -> None:
        import asyncio

        raise asyncio.CancelledError("enough")

    executor = ThreadPoolExecutor(1)
    executor.start(host, "default")
    run = make_run(cancel_itself)
    executor.submit([run])
    assert str(host.finish_of(run).exception) == "the job raised CancelledError: enough"
    executor.shutdown()


def test_a_traceback_begins_in_the_job_also_on_an_event_loop(host: RecordingHost) -> None:
    async def fail() -> None:
        raise ValueError("here")

    executor = ThreadPoolExecutor(1)
    executor.start(host, "default")
    run = make_run(fail)
    executor.submit([run])
    text = host.finish_of(run).traceback
    assert text is not None
    assert text.count("  File ") == 1, text
    executor.shutdown()


def test_an_exception_that_cannot_be_printed_is_a_failure_like_any_other(host: RecordingHost) -> None:
    class BadError(Exception):
        @property
        def __notes__(self) -> Iterator[str]:  # type: ignore[override]
            raise LookupError

        def __str__(self) -> str:
            raise LookupError

    def fail() -> None:
        raise BadError

    executor = ThreadPoolExecutor(1)
    executor.start(host, "default")
    run = make_run(fail)
    executor.submit([run])
    finish = host.finish_of(run)
    assert finish.state is RunState.FAILED
    assert "BadError" in str(finish.traceback)
    executor.shutdown()


def _growth(count: int) -> int:
    """By how many objects the interpreter grows over so many failing runs."""

    class Forgetful(RecordingHost):
        def run_started(self, run: Run) -> None:
            pass

        def run_finished(self, finish: Finish) -> None:
            pass

    def fail() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    executor = ThreadPoolExecutor(2)
    executor.start(Forgetful(), "default")

    def run_them(times: int) -> int:
        run = make_run(fail)
        for _ in range(times // 100):
            executor.submit([run] * 100)
        while executor.live_runs():
            threading.Event().wait(0.001)
        gc.collect()
        return len(gc.get_objects())

    before = run_them(200)
    grown = run_them(count) - before
    executor.shutdown()
    return grown


def test_memory_is_flat_over_failing_runs() -> None:
    assert _growth(1_000) < 100


@pytest.mark.slow
def test_memory_is_flat_over_many_failing_runs() -> None:
    assert _growth(10_000) < 100


def test_importing_the_pools_imports_nothing_that_only_processes_or_loops_need() -> None:
    code = (
        "import sys, schedcore.executors.pool, schedcore.executors.debug; "
        "print([m for m in ('asyncio', 'multiprocessing', 'concurrent.futures', 'inspect', 'dataclasses') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_the_process_pool_is_found_where_the_thread_pool_is() -> None:
    from schedcore.executors import pool

    assert pool.ProcessPoolExecutor.__name__ == "ProcessPoolExecutor"
    with pytest.raises(AttributeError, match="no attribute 'GreenletPoolExecutor'"):
        pool.GreenletPoolExecutor  # noqa: B018

"""The executor interfaces: executors of the 3.x kind, the functions they use, and the conformance suite's own eyesight."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from schedcore.errors import MaxInstancesReachedError
from schedcore.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_MISSED, JobExecutionEvent
from schedcore.executors.base import BaseExecutor, ExecutorHost, RunExecutor, call_run, run_coroutine_job, run_job
from schedcore.executors.debug import DebugExecutor
from schedcore.executors.pool import BasePoolExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from schedcore.job import Job
from schedcore.run import Finish, Run, RunState, current_run
from schedcore.testing.executor_suite import (
    ExecutorTraits,
    RecordingHost,
    check_executor,
    executor_behaviours,
    make_run,
)


class FuturesExecutor(BaseExecutor):
    """What a third party wrote for 3.x: a pool of futures, and the two reports."""

    def __init__(self, max_workers: int = 1) -> None:
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers)

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        def over(future: concurrent.futures.Future[list[JobExecutionEvent]]) -> None:
            error = future.exception()
            if error is not None:
                self._run_job_error(job.id, error, error.__traceback__)
            else:
                self._run_job_success(job.id, future.result())

        self.pool.submit(run_job, job, job.jobstore, run_times, self._logger.name).add_done_callback(over)

    def shutdown(self, wait: bool = True) -> None:
        self.pool.shutdown(wait)


THIRD_PARTY = ExecutorTraits(workers=1, third_party=True)


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(THIRD_PARTY))
def test_conformance_of_a_third_party_executor(name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    assert check_executor(FuturesExecutor, THIRD_PARTY, only=name) == [name]


def pool_of_one() -> BasePoolExecutor:
    return BasePoolExecutor(concurrent.futures.ThreadPoolExecutor(1))


@pytest.mark.parametrize(("name", "left_out"), executor_behaviours(THIRD_PARTY))
def test_conformance_of_one_with_a_pool_of_futures(name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    assert check_executor(pool_of_one, THIRD_PARTY, only=name) == [name]


def test_a_pool_that_refuses_or_fails_fails_the_run(host: RecordingHost) -> None:
    class Broken(concurrent.futures.Executor):
        def submit(self, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            future.set_exception(OSError("the pool broke"))
            return future

    executor = BasePoolExecutor(Broken())
    executor.start(host, "broken")
    runs = hours(1)
    executor.submit(runs)
    (finish,) = host.wait(runs)
    assert (finish.state, str(finish.exception)) == (RunState.FAILED, "the pool broke")
    closed = pool_of_one()
    closed.start(host, "closed")
    closed.shutdown()
    runs = hours(2)[1:]
    closed.submit(runs)
    (finish,) = host.wait(runs)
    assert (finish.state, str(finish.exception)) == (RunState.FAILED, "cannot schedule new futures after shutdown")


def test_pools_of_ours_are_taken_for_one() -> None:
    assert isinstance(ThreadPoolExecutor(), BasePoolExecutor)
    assert issubclass(ProcessPoolExecutor, BasePoolExecutor)
    assert not isinstance(DebugExecutor(), BasePoolExecutor)


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


class Manual(BaseExecutor):
    """Takes jobs and lets the test report."""

    def __init__(self, refusal: BaseException | None = None) -> None:
        self.taken: list[tuple[Job, list[datetime]]] = []
        self.refusal = refusal

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taken.append((job, run_times))


def manual(host: RecordingHost, refusal: BaseException | None = None) -> Manual:
    executor = Manual(refusal)
    executor.start(host, "manual")
    return executor


def hours(count: int) -> list[Run]:
    return [make_run(int, fire_us=1_767_225_600_000_000 + 3_600_000_000 * hour) for hour in range(count)]


def event(run: Run, code: int = EVENT_JOB_EXECUTED, **more: Any) -> JobExecutionEvent:
    return JobExecutionEvent(code, run.job.id, run.alias, run.scheduled_at, **more)


class TestThirdParty:
    def test_is_given_a_handle_and_the_fire_time(self, host: RecordingHost) -> None:
        executor = manual(host)
        (run,) = hours(1)
        executor.submit([run])
        ((job, run_times),) = executor.taken
        assert isinstance(job, Job)
        assert (job.id, job.func, job.jobstore) == ("job", int, "default")
        assert run_times == [datetime(2026, 1, 1, tzinfo=UTC)]

    def test_knows_its_scheduler_and_its_alias(self, host: RecordingHost) -> None:
        executor = manual(host)
        assert (executor._scheduler, executor._alias, executor._logger.name) == (
            host,
            "manual",
            "schedcore.executors.manual",
        )

    def test_that_refuses_fails_the_run_with_the_reason(self, host: RecordingHost) -> None:
        executor = manual(host, LookupError("no room"))
        runs = hours(2)
        executor.submit(runs)
        finishes = host.wait(runs)
        assert [(finish.state, str(finish.exception)) for finish in finishes] == [(RunState.FAILED, "no room")] * 2
        assert executor._submitted == {}

    def test_that_exits_fails_the_run_where_no_signal_handler_can_have_done_it(self, host: RecordingHost) -> None:
        executor = manual(host, SystemExit(3))
        runs = hours(1)
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            thread.submit(executor.submit, runs).result()
        (finish,) = host.wait(runs)
        assert (finish.state, str(finish.exception)) == (RunState.FAILED, "it called sys.exit(3)")
        assert executor._submitted == {}
        with pytest.raises(SystemExit):
            executor.submit(hours(1))

    def test_events_are_matched_by_fire_time(self, host: RecordingHost) -> None:
        executor = manual(host)
        first, second, third = runs = hours(3)
        executor.submit(runs)
        error = ValueError("no")
        executor._run_job_success(
            "job",
            [
                event(third, EVENT_JOB_MISSED),
                event(second, EVENT_JOB_ERROR, exception=error, traceback="text"),
                event(first, retval=5),
            ],
        )
        one, two, three = host.wait(runs)
        assert (one.state, one.retval) == (RunState.SUCCEEDED, 5)
        assert (two.state, two.exception, two.traceback) == (RunState.FAILED, error, "text")
        assert three.state is RunState.SKIPPED
        assert executor._submitted == {}

    def test_an_error_ends_one_run_and_the_others_still_report(self, host: RecordingHost) -> None:
        # The report does not say which run it is about: the oldest is taken for it, and no run is reported twice or never.
        executor = manual(host)
        first, second = runs = hours(2)
        executor.submit(runs)
        executor._run_job_error("job", OSError("pool broke"), None)
        assert [(finish.run, finish.state) for finish in host.finished] == [(first, RunState.FAILED)]
        executor._run_job_success("job", [event(first, retval=1)])
        assert [(finish.run, finish.state) for finish in host.finished[1:]] == [(second, RunState.SUCCEEDED)]
        executor._run_job_success("job", [event(second)])
        executor._run_job_error("job", OSError("again"), None)
        assert len(host.finished) == 2
        assert host.faults == []

    def test_reports_of_unknown_jobs_are_ignored(self, host: RecordingHost) -> None:
        executor = manual(host)
        executor._run_job_success("nobody", [event(hours(1)[0])])
        executor._run_job_error("nobody", OSError("x"))
        assert host.finished == []

    def test_submit_job_counts_what_is_live(self, host: RecordingHost) -> None:
        executor = manual(host)
        run = make_run(int, max_instances=2)
        handle = host.job_handle(run)
        executor.submit_job(handle, [run.scheduled_at])
        executor.submit_job(handle, [run.scheduled_at])
        with pytest.raises(MaxInstancesReachedError, match=r"maximum number of instances \(2\)"):
            executor.submit_job(handle, [run.scheduled_at])
        executor._run_job_success("job", [event(run)])
        executor.submit_job(handle, [run.scheduled_at])
        assert len(executor.taken) == 3

    def test_a_run_submitted_while_the_last_one_is_reported_is_not_lost(self, host: RecordingHost) -> None:
        executor = manual(host)
        first, second = hours(2)
        executor.submit([first])
        reports: list[threading.Thread] = []

        class Meddling(dict[str, list[Run]]):
            def setdefault(self, key: str, default: Any = None) -> Any:
                found = super().setdefault(key, default)
                report = threading.Thread(target=lambda: executor._run_job_success("job", [event(first)]))
                reports.append(report)
                report.start()
                report.join(0.05)  # it comes now if anything lets it
                return found

        executor._submitted = Meddling(executor._submitted)
        executor.submit([second])
        for report in reports:
            report.join()
        executor._run_job_success("job", [event(second)])
        assert [finish.run for finish in host.finished] == [first, second]

    def test_a_storm_of_submissions_and_reports(self, host: RecordingHost) -> None:
        executor = FuturesExecutor(4)
        executor.start(host, "default")
        runs = [make_run(int, fire_us=1_767_225_600_000_000 + number) for number in range(2000)]
        for run in runs:
            executor.submit([run])
        executor.shutdown()
        assert {finish.state for finish in host.wait(runs)} == {RunState.SUCCEEDED}
        assert host.faults == []
        assert executor._submitted == {}


class TestRunJob:
    """The functions that executors of the 3.x kind call."""

    def handle(self, func: Callable[..., Any] | None, grace_us: int | None = None) -> Job:
        run = make_run(func)
        policy = run.job.policy._replace(misfire_grace_us=grace_us)
        return RecordingHost().job_handle(run._replace(job=run.job._replace(policy=policy)))

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
    def test_each_fire_time_has_its_event(self, error: BaseException) -> None:
        results: list[Any] = [1, error, 3]

        def job() -> Any:
            result = results.pop(0)
            if isinstance(result, BaseException):
                raise result
            return result

        times = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
        events = run_job(self.handle(job), "default", times, "test")
        assert [(event.code, event.retval) for event in events] == [
            (EVENT_JOB_EXECUTED, 1),
            (EVENT_JOB_ERROR, None),
            (EVENT_JOB_EXECUTED, 3),
        ]
        assert [event.scheduled_run_time for event in events] == times
        assert isinstance(events[1].exception, Exception)
        assert events[1].exception.__traceback__ is None
        assert type(error).__name__ in str(events[1].traceback)

    def test_a_late_one_is_missed(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        (event,) = run_job(self.handle(int, 1_000_000), "default", [datetime(2020, 1, 1, tzinfo=UTC)], "test")
        assert event.code == EVENT_JOB_MISSED
        assert "was missed by" in caplog.text

    def test_a_coroutine_is_never_a_silent_success(self) -> None:
        async def job() -> int:
            return 7

        (event,) = run_job(self.handle(job), "default", [datetime(2026, 1, 1, tzinfo=UTC)], "test")
        assert event.retval == 7

    def test_of_coroutines(self) -> None:
        async def job() -> int:
            await asyncio.sleep(0)
            return 7

        async def fail() -> None:
            raise ValueError("no")

        at = [datetime(2026, 1, 1, tzinfo=UTC)]
        (good,) = asyncio.run(run_coroutine_job(self.handle(job), "default", at, "test"))
        assert (good.code, good.retval) == (EVENT_JOB_EXECUTED, 7)
        (bad,) = asyncio.run(run_coroutine_job(self.handle(fail), "default", at, "test"))
        assert (bad.code, str(bad.exception)) == (EVENT_JOB_ERROR, "no")


class TestCallRun:
    def test_strips_the_frames_of_a_whole_chain(self, host: RecordingHost) -> None:
        def job() -> None:
            try:
                try:
                    raise KeyError("first")
                except KeyError as error:
                    raise ExceptionGroup("group", [ValueError("member")]) from error
            except ExceptionGroup:
                raise TypeError("last")  # noqa: B904 (the context is wanted)

        finish = call_run(make_run(job), host)
        last = finish.exception
        assert last is not None
        group = last.__context__
        assert isinstance(group, ExceptionGroup)
        chain = [last, group, group.exceptions[0], group.__cause__]
        assert [type(error) for error in chain] == [TypeError, ExceptionGroup, ValueError, KeyError]
        assert [error.__traceback__ for error in chain if error is not None] == [None] * 4
        assert all(name in str(finish.traceback) for name in ("KeyError", "ExceptionGroup", "ValueError", "TypeError"))

    def test_an_exception_that_is_its_own_cause_ends(self, host: RecordingHost) -> None:
        def job() -> None:
            error = ValueError("circle")
            error.__cause__ = error
            raise error

        assert call_run(make_run(job), host).state is RunState.FAILED

    def test_wrong_arguments_are_a_failure_with_a_traceback(self, host: RecordingHost) -> None:
        finish = call_run(make_run(lambda: None, 1), host)
        assert isinstance(finish.exception, TypeError)
        assert "takes 0 positional arguments" in str(finish.traceback)


# --- the suite sees what is wrong ---


class Careless(RunExecutor):
    """Runs jobs in a thread each, and does so wrongly in a way to be chosen."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.threads: list[threading.Thread] = []

    def submit(self, runs: Sequence[Run]) -> None:
        for run in reversed(runs) if self.fault == "disorder" else runs:
            thread = threading.Thread(target=self.work, args=(run, self._host), daemon=True)
            self.threads.append(thread)
            thread.start()
            if self.fault == "disorder":
                thread.join()

    def work(self, run: Run, host: ExecutorHost) -> None:
        if self.fault == "no current_run":
            started_us = host.clock.wall_us()
            host.run_started(run)
            assert run.job.func is not None
            value = run.job.func(*run.job.args, **run.job.kwargs)
            host.run_finished(Finish(run, RunState.SUCCEEDED, started_us, host.clock.wall_us(), value))
            return
        finish = call_run(run, host)
        if self.fault == "awaitables" and asyncio.iscoroutinefunction(run.job.func):
            finish = finish._replace(retval=None)
        if self.fault == "frames" and finish.exception is not None:
            try:
                raise finish.exception
            except Exception:  # noqa: BLE001 (its frames are what is wanted)
                pass
        host.run_finished(finish)
        if self.fault == "twice":
            host.run_finished(finish)

    def live_runs(self) -> list[Run]:
        return []

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        if wait and self.fault != "no waiting":
            for thread in self.threads:
                thread.join(timeout)
        return []


@pytest.mark.parametrize(
    ("fault", "behaviour"),
    [
        ("twice", "reports each run exactly once"),
        ("frames", "reports a failure with type, message and traceback text"),
        ("disorder", "begins runs in the order of submission"),
        ("awaitables", "runs a coroutine job to its end"),
        ("no current_run", "sets current_run in the job, and nowhere else"),
        ("no live runs", "lists the runs that wait and those that run, in order"),
        ("no refusal", "refuses runs after shutdown, and has taken none of them"),
        ("no cancelling", "cancels what waits, and lets go on what has begun, when shutdown does not wait"),
        ("nothing", "runs a job to success"),
    ],
)
def test_the_suite_names_what_is_wrong(fault: str, behaviour: str) -> None:
    if fault == "nothing":
        assert check_executor(lambda: Careless(fault), only=behaviour) == [behaviour]
        return
    with pytest.raises(AssertionError, match=f"^an executor {behaviour}: "):
        check_executor(lambda: Careless(fault), only=behaviour)


class TestTheSuite:
    def test_runs_as_one_call_and_says_what_it_checked(self) -> None:
        checked = check_executor(lambda: ThreadPoolExecutor(2), ExecutorTraits(workers=2))
        assert checked == [
            name for name, left_out in executor_behaviours(ExecutorTraits(workers=2)) if left_out is None
        ]
        assert len(checked) >= 20

    def test_traits_leave_out_with_a_reason(self) -> None:
        traits = ExecutorTraits(lacks={"may be shut down twice": "it is made of glass"})
        assert dict(executor_behaviours(traits))["may be shut down twice"] == "it is made of glass"

    def test_unknown_names_are_refused(self) -> None:
        with pytest.raises(
            ValueError, match="no behaviour 'may be shut down thrice'; did you mean 'may be shut down twice'"
        ):
            executor_behaviours(ExecutorTraits(lacks={"may be shut down thrice": ""}))
        with pytest.raises(ValueError, match="no behaviour 'x'"):
            check_executor(DebugExecutor, only="x")

    def test_submits_where_it_is_told_to(self) -> None:
        places: list[str] = []

        def submit_in(call: Callable[[], None]) -> None:
            def there() -> None:
                places.append(threading.current_thread().name)
                call()

            thread = threading.Thread(target=there, name="there")
            thread.start()
            thread.join()

        check_executor(lambda: ThreadPoolExecutor(1), only="runs a job to success", submit_in=submit_in)
        assert places == ["there", "there"]


def test_current_run_is_unset_in_tests() -> None:
    assert current_run.get() is None

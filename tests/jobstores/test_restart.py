"""Stop and start, and kill -9: what a scheduler on a durable store finds when it comes back.

In virtual time where that is the same; the kills are of real processes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

from schedcore.clock import Now, from_datetime
from schedcore.engine import Claim
from schedcore.events import EVENT_JOB_BROKEN
from schedcore.job import JobState
from schedcore.jobstores._journal import knows_boots
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore, open_reader
from schedcore.run import RunRecord, RunState, SkipReason
from schedcore.schedulers._pump import BLOCKING_BATCH, FIRST_BATCH
from schedcore.testing import EventLog, VirtualExecutor, VirtualScheduler
from schedcore.testing.store_suite import work

Boot = Callable[..., tuple[VirtualScheduler, EventLog]]

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.fixture
def boot(url: str) -> Iterator[Boot]:
    """A new scheduler on the same database, started at a second of virtual time; the one before it is shut down.

    What is overdue runs in ``start``, so its log begins before.
    """
    running: list[VirtualScheduler] = []

    def boot(
        second: float, executor: VirtualExecutor | None = None, *, start: bool = True
    ) -> tuple[VirtualScheduler, EventLog]:
        while running:
            running.pop().shutdown(wait=False)
        scheduler = VirtualScheduler(
            start=at(second),
            timezone="UTC",
            jobstores={"default": {"type": "sqlalchemy", "url": url}},
            executors={} if executor is None else {"default": executor},
        )
        running.append(scheduler)
        log = EventLog(scheduler)
        if start:
            scheduler.start()
        return scheduler, log

    yield boot
    while running:
        running.pop().shutdown(wait=False)


class TestStopAndStart:
    def test_jobs_next_times_phases_and_history_are_there(self, boot: Boot) -> None:
        scheduler, _ = boot(0)
        scheduler.add_job(work, "interval", seconds=10, id="interval", args=[1], jitter=2)
        scheduler.add_job(work, "cron", hour="*/6", timezone="Europe/Berlin", id="cron")
        scheduler.add_job(work, "date", run_date=at(3600), id="date")
        scheduler.add_job(work, "interval", hours=1, id="paused", next_run_time=None)
        scheduler.advance(35)
        before = [(job.id, job.trigger, job.args, job.next_run_time, job.state) for job in scheduler.get_jobs()]
        runs = scheduler.get_runs()
        assert len(runs) == 3
        scheduler, _ = boot(36)
        assert [(job.id, job.trigger, job.args, job.next_run_time, job.state) for job in scheduler.get_jobs()] == before
        assert scheduler.get_runs() == runs
        log = EventLog(scheduler)
        scheduler.advance(60)
        assert log.executed("interval") == [at(40 + 10 * n) for n in range(6)], (
            "the phase is the one of the first start"
        )

    def test_registered_again_at_each_start(self, boot: Boot) -> None:
        ran: list[datetime] = []
        for turn in range(10):
            scheduler, log = boot(turn * 60, start=False)
            scheduler.add_job(work, "interval", seconds=90, id="a", replace_existing=True)
            scheduler.start()
            scheduler.advance(55)
            ran += log.executed("a")
            assert len(scheduler.get_jobs()) == 1
        assert ran == [at(90 * n) for n in range(1, 7)]

    @pytest.mark.parametrize(
        ("options", "executed", "skipped"),
        [
            ({}, [100], [(SkipReason.COALESCED, 10, 90, 9)]),
            ({"coalesce": False}, [*range(10, 101, 10)], []),
            ({"coalesce": False, "max_catchup": 4}, [10, 20, 30, 40], [(SkipReason.CATCHUP_LIMIT, 50, 100, 6)]),
            ({"misfire_grace_time": 25, "coalesce": False}, [80, 90, 100], [(SkipReason.MISFIRED, 10, 70, 7)]),
            ({"misfire_grace_time": 25}, [100], [(SkipReason.MISFIRED, 10, 70, 7), (SkipReason.COALESCED, 80, 90, 2)]),
            ({"misfire_grace_time": 1}, [], [(SkipReason.MISFIRED, 10, 100, 10)]),
        ],
        ids=str,
    )
    def test_what_was_missed_follows_the_misfire_rule(
        self, boot: Boot, options: dict[str, Any], executed: list[int], skipped: list[tuple[Any, ...]]
    ) -> None:
        scheduler, _ = boot(0)
        scheduler.add_job(work, "interval", seconds=10, id="a", **options)
        scheduler, log = boot(105)
        scheduler.advance(1)
        assert log.executed("a") == [at(second) for second in executed]
        found = [r for r in scheduler.get_runs("a", limit=1000) if r.state is RunState.SKIPPED]
        first = {(r.reason, r.fire_us, r.until_us, r.times) for r in found}
        assert first == {(str(why), _us(begin), _us(end), times) for why, begin, end, times in skipped}
        scheduler.advance(5)
        assert log.executed("a")[-1] == at(110)

    def test_what_is_overdue_begins_with_a_small_batch(self, boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first run does not wait until a thousand have been read and written."""
        scheduler, _ = boot(0)
        scheduler.add_jobs(
            {"func": work, "trigger": "interval", "hours": 1, "id": str(number), "misfire_grace_time": None}
            for number in range(1500)
        )
        limits: list[int] = []
        acquire = SQLAlchemyJobStore.acquire

        def watched(store: SQLAlchemyJobStore, now: Now, limit: int) -> list[Claim]:
            limits.append(limit)
            return acquire(store, now, limit)

        monkeypatch.setattr(SQLAlchemyJobStore, "acquire", watched)
        scheduler, log = boot(5000)
        assert limits[:2] == [FIRST_BATCH, BLOCKING_BATCH]
        assert len(log.executed()) == 1500

    @pytest.mark.parametrize("due", [True, False])
    def test_the_time_is_noted_though_it_is_killed(self, boot: Boot, url: str, due: bool) -> None:
        """What runs first does not wait for that."""
        scheduler, _ = boot(0)
        scheduler.add_job(work, "interval", hours=1, id="job")
        scheduler, log = boot(5000 if due else 500)
        assert len(log.executed()) == due
        with open_reader(url) as reader:
            assert reader.get_note("time") == str(from_datetime(at(5000 if due else 500)))

    def test_runs_that_had_not_begun_are_submitted_again(self, boot: Boot) -> None:
        executor = VirtualExecutor(manual=True)
        scheduler, _ = boot(0, executor)
        scheduler.add_job(work, "date", run_date=at(5), id="once")
        scheduler.add_job(work, "interval", seconds=10, id="often")
        scheduler.advance(12)
        assert [run.id for run in executor.waiting] == [
            "once@2026-01-01T00:00:05Z#1",
            "often@2026-01-01T00:00:10Z#1",
        ]
        scheduler, log = boot(13)
        scheduler.advance(1)
        assert log.executed() == [at(5), at(10)]
        assert {record.state for record in scheduler.get_runs()} == {RunState.SUCCEEDED}
        assert [job.id for job in scheduler.get_jobs()] == ["often"]

    def test_a_module_that_is_gone_and_comes_back(
        self, boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        module = tmp_path / "schedcore_test_app.py"
        module.write_text("def task(): return 7\n")
        monkeypatch.syspath_prepend(tmp_path)
        try:
            scheduler, _ = boot(0)
            scheduler.add_job("schedcore_test_app:task", "interval", seconds=10, id="a")
            scheduler.add_job("schedcore_test_app:task", "interval", hours=1, id="later")
            scheduler.add_job(work, "interval", seconds=10, id="b")
            scheduler.advance(15)
            boot(16, start=False)
            module.rename(tmp_path / "away")
            sys.modules.pop("schedcore_test_app")
            _forget_finders()
            for second in (17, 37):
                scheduler, log = boot(second)
                assert [job.id for job in scheduler.get_jobs() if job.func is None] in (["a", "later"], ["later", "a"])
                scheduler.advance(15)
                told = [event.job_id for event in log.events if event.code == EVENT_JOB_BROKEN]
                assert told == (["a"] if second == 17 else []), "once"
                job = scheduler.get_job("a")
                assert job is not None
                assert job.state is JobState.BROKEN
                assert "there is no module 'schedcore_test_app'" in str(job.reason)
                assert log.executed("b")
            boot(55, start=False)
            (tmp_path / "away").rename(module)
            _forget_finders()
            scheduler, log = boot(56)
            job = scheduler.get_job("a")
            assert job is not None
            assert (job.state, job.next_run_time) == (JobState.ACTIVE, at(60))
            scheduler.advance(5)
            assert log.executed("a") == [at(50), at(60)], (
                "from where it stood, late by the misfire rule, and then on its grid"
            )
            records = scheduler.get_runs("a")
            assert sum(record.times for record in records) == 6, "each fire time is on record"
            later = scheduler.get_job("later")
            assert later is not None
            assert (later.state, later.next_run_time) == (JobState.ACTIVE, at(3600))
        finally:
            sys.modules.pop("schedcore_test_app", None)


def _forget_finders() -> None:
    import importlib

    importlib.invalidate_caches()


def _us(second: float) -> int:
    return round(at(second).timestamp() * 1e6)


# --- kill -9 ------------------------------------------------------------------------------------------------------------

APP = """
import os, sys, time
from datetime import UTC, datetime
from schedcore.run import current_run
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

LOG = sys.argv[2]

def note(word):
    fd = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{os.getpid()} {word} {current_run.get().id}\\n".encode())
    os.close(fd)

def job(seconds):
    note("begin")
    time.sleep(seconds)
    note("end")

if __name__ == "__main__":
    import app
    store = SQLAlchemyJobStore(sys.argv[1], history=100_000)
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
    if len(sys.argv) > 3:
        start = time.time()
        every = {"coalesce": False, "max_instances": 10_000, "start_date": "2026-01-01T00:00:00+00:00"}
        every["next_run_time"] = datetime.fromtimestamp(start, UTC)
        scheduler.add_job(app.job, "interval", seconds=0.05, id="quick", args=[0], **every)
        scheduler.add_job(app.job, "interval", seconds=0.1, id="again", args=[0.2], **every)
        scheduler.add_job(app.job, "interval", seconds=0.1, id="lost", args=[0.2], recovery="lost", **every)
        for number in range(100):
            at = datetime.fromtimestamp(start + number * 0.06, UTC)
            scheduler.add_job(app.job, "date", run_date=at, id=f"once-{number}", args=[0.01])
    scheduler.start()
    print("ready", flush=True)
    sys.stdin.read()
    for job in scheduler.get_jobs():
        if not job.id.startswith("once"):
            job.pause()
    deadline = time.monotonic() + 150
    while len(scheduler.get_jobs()) > 3 or any(run.finished_us is None for run in scheduler.get_runs(limit=100_000)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    scheduler.shutdown()
"""
KILLS = 10


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[RunRecord], list[tuple[int, str, str]], list[int]]:
    """A scheduler that is killed at random moments and started again: its records, what its jobs did, its processes."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "app.py").write_text(APP)
    url, log = f"sqlite:///{folder}/jobs.sqlite", folder / "log"
    draw = random.Random(7)
    pids: list[int] = []

    def boot(*more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "app.py", url, str(log), *more],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        )
        pids.append(process.pid)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    for number in range(KILLS):
        with boot(*(["first"] if number == 0 else [])) as process:
            # Not a wait for something: the moment of the kill.
            time.sleep(draw.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
    with boot() as process:
        process.communicate(timeout=180)
    assert process.returncode == 0, "the last process does not shut down well"
    with open_reader(url) as reader:
        records = reader.runs(limit=1_000_000)
        assert sorted(entry.job.id for entry in reader.list_entries()) == ["again", "lost", "quick"], "jobs are lost"
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
    return records, [(int(pid), word, run_id) for pid, word, run_id in lines], pids


@pytest.mark.slow
@pytest.mark.skipif(not knows_boots(), reason="the system has no name for a boot: what began is not known at once")
@pytest.mark.timeout(300)
class TestKilled:
    def test_each_fire_time_has_one_run_that_ends(self, killed: Any) -> None:
        records: list[RunRecord] = killed[0]
        assert all(record.finished_us is not None for record in records), "a run never ends"
        attempts: defaultdict[tuple[str, int], dict[int, RunRecord]] = defaultdict(dict)
        for record in records:
            attempts[record.job_id, record.fire_us][record.attempt] = record
        for (job_id, _), tried in attempts.items():
            last = tried[max(tried)]
            assert [r.state for r in tried.values() if r is not last] == [RunState.LOST] * (len(tried) - 1)
            assert len(tried) <= (1 if job_id == "lost" else 2), "it is run again once, if the job wants that"
            if last.state is RunState.LOST:
                assert job_id == "lost" or last.attempt == 2, "a run that was lost is run again"
            else:
                assert last.state is RunState.SUCCEEDED

    def test_no_fire_time_is_missing(self, killed: Any) -> None:
        records: list[RunRecord] = killed[0]
        for job_id, step_us in (("quick", 50_000), ("again", 100_000), ("lost", 100_000)):
            fires = sorted({record.fire_us for record in records if record.job_id == job_id})
            grid = [fire_us for fire_us in fires if fire_us % step_us == 0]
            assert len(fires) - len(grid) <= 1, "all but the first are on the grid"
            assert grid == list(range(grid[0], grid[-1] + 1, step_us)), "each of the grid's is on record"
            assert len(grid) > 15, "enough of them to mean something, also where starting is quick"
        once = Counter(record.job_id for record in records if record.job_id.startswith("once") and record.attempt == 1)
        assert once == {f"once-{number}": 1 for number in range(100)}

    def test_runs_were_executed_as_recorded(self, killed: Any) -> None:
        records: list[RunRecord]
        log: list[tuple[int, str, str]]
        records, log, _ = killed
        begun: defaultdict[str, list[int]] = defaultdict(list)
        ended: defaultdict[str, list[int]] = defaultdict(list)
        for pid, word, run_id in log:
            (begun if word == "begin" else ended)[run_id].append(pid)
        known = {record.id: record for record in records}
        assert set(begun) <= set(known), "something ran that is not on record"
        for run_id, record in known.items():
            processes = begun[run_id]
            assert len(processes) <= 1, f"{run_id} ran twice"
            if record.state is RunState.SUCCEEDED:
                assert ended[run_id] == processes, f"{run_id} did not run"
        lost = [record for record in records if record.state is RunState.LOST]
        assert lost, "no kill hit a run: the test tests nothing"
        for record in lost:
            assert str(record.reason).startswith("its scheduler died in the middle of it"), (
                f"{record.id}: {record.reason}"
            )


ONE_OFF = """
import sys
from datetime import UTC, datetime
from schedcore.events import EVENT_JOB_STARTED
from schedcore.schedulers.background import BackgroundScheduler

scheduler = BackgroundScheduler(jobstores={"default": {"type": "sqlalchemy", "url": sys.argv[1]}})
scheduler.add_listener(lambda event: print("begun", flush=True), EVENT_JOB_STARTED)
scheduler.start()
at = datetime(2026, 1, 1, tzinfo=UTC)
scheduler.add_job("time:sleep", "date", run_date=at, args=[3600], id="x", replace_existing=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a thing of POSIX")
@pytest.mark.parametrize("start_first", [True, False], ids=["added after start", "added before"])
def test_a_one_off_job_added_at_each_start_does_not_run_beside_the_run_that_is_recovered(
    boot: Boot, url: str, start_first: bool
) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", ONE_OFF, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGKILL)
    executor = VirtualExecutor(manual=True)
    scheduler, log = boot(60, executor, start=start_first)
    scheduler.add_job("time:sleep", "date", run_date=at(60), args=[3600], id="x", replace_existing=True)
    if not start_first:
        scheduler.start()
    scheduler.advance(1)
    assert [run.id for run in executor.waiting] == ["x@2026-01-01T00:00:00Z#2"]
    assert [reason for reason, *_ in log.skips("x")] == [SkipReason.OVERLAP]
    executor.end()
    scheduler.add_job("time:sleep", "date", run_date=at(70), args=[3600], id="x", replace_existing=True)
    scheduler.advance(10)
    assert [run.id for run in executor.waiting] == ["x@2026-01-01T00:01:10Z#1"], "it runs when that is over"


def test_the_store_is_the_one_that_is_tested(boot: Boot) -> None:
    assert isinstance(boot(0)[0]._pumps["default"].store, SQLAlchemyJobStore)

"""gunicorn and uWSGI with three workers: one of them runs the jobs, and another takes over when it is gone."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from schedcore.errors import JobStoreInUseError
from schedcore.events import EVENT_JOBSTORE_FAILED
from schedcore.testing import EventLog

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


class Log:
    """What the runs of the job have noted: for each, the process and when it was due."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[tuple[int, datetime]]:
        if not self._path.exists():
            return []
        pairs = [line.split() for line in self._path.read_text(encoding="utf-8").splitlines()]
        return [(int(pid), datetime.fromisoformat(due)) for pid, due in pairs]

    def wait(self, wanted: Callable[[list[tuple[int, datetime]]], bool], otherwise: str) -> list[tuple[int, datetime]]:
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(lines := self.lines()):
            assert time.monotonic() < deadline, f"{otherwise}: {lines}"
            time.sleep(0.02)
        return lines


class Server(NamedTuple):
    """How one is started that runs ``examples/prefork`` in three processes, and what it says."""

    needs: str
    arguments: tuple[str, ...]
    address: str
    worker: str


_GUNICORN = ("-m", "gunicorn", "--config", "gunicorn.conf.py", "--bind", "127.0.0.1:0")
_GUNICORN_SAYS = (r"Listening at: http://(127.0.0.1:\d+)", r"Booting worker with pid: (\d+)")
# Built for Python, its program is a script.
_UWSGI = (str(Path(sys.executable).with_name("uwsgi")), "--http-socket", "127.0.0.1:0", "--die-on-term")
_UWSGI_SAYS = (r"bound to TCP address (127.0.0.1:\d+)", r"spawned uWSGI worker \d+ \(pid: (\d+)")
_UWSGI_POSTFORK = ("--master", "--processes", "3", "--enable-threads", "--module", "uwsgi_postfork:application")

SERVERS = {
    "gunicorn, each worker loads the application": Server("gunicorn", (*_GUNICORN, "app:application"), *_GUNICORN_SAYS),
    "gunicorn, preloaded": Server("gunicorn", (*_GUNICORN, "--preload", "app:application"), *_GUNICORN_SAYS),
    "uWSGI, each worker loads the application": Server("pyuwsgi", (*_UWSGI, "--ini", "uwsgi.ini"), *_UWSGI_SAYS),
    "uWSGI, preloaded": Server("pyuwsgi", (*_UWSGI, *_UWSGI_POSTFORK), *_UWSGI_SAYS),
}


def ask_all(browser: Any, count: int) -> dict[int, str]:
    """So many processes, and what each says of itself."""
    answers: dict[int, str] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(answers) < count:
        assert time.monotonic() < deadline, f"only these answer: {answers}"
        pid, _, does = browser.ask().strip().partition(" ")
        answers[int(pid)] = does
    return answers


def kill_between_runs(pid: int, database: Path) -> None:
    """Kill the process that runs the jobs. A run that is cut in the middle is run again, or not, as ``recovery`` says."""
    process = psutil.Process(pid)
    deadline = time.monotonic() + PATIENCE_S
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reading:
        while True:
            assert time.monotonic() < deadline, "it is always in the middle of a run"
            # Stopped while it is looked at: on a busy machine it would begin the next one meanwhile.
            process.suspend()
            while process.status() != psutil.STATUS_STOPPED:
                assert time.monotonic() < deadline, "it does not stop"
                time.sleep(0.001)
            [(not_over,)] = reading.execute(
                "SELECT COUNT(*) FROM schedcore_jobs_runs WHERE finished_us IS NULL"
            ).fetchall()
            if not not_over:
                break
            process.resume()
            time.sleep(0.01)
    process.kill()


@pytest.mark.parametrize("name", SERVERS)
def test_one_worker_runs_the_jobs_and_another_takes_over(programs: Any, browse: Any, tmp_path: Path, name: str) -> None:
    server = SERVERS[name]
    if find_spec(server.needs) is None:
        pytest.skip(f"{name.partition(',')[0]} comes with the extra 'test-web'")
    pytest.importorskip("sqlalchemy", reason="its jobs are in a database")
    log = Log(tmp_path / "jobs.log")
    program = programs.start(
        "prefork",
        *server.arguments,
        JOBS_DATABASE=str(tmp_path / "jobs.sqlite"),
        JOBS_LOG=str(tmp_path / "jobs.log"),
        JOBS_TURN="0.1",
    )
    [address] = program.wait_for(server.address)
    workers = {int(pid) for pid in program.wait_for(server.worker, 3)}
    first = int(program.wait_for(r"process (\d+) runs the jobs")[0])
    assert first in workers
    log.wait(lambda lines: len(lines) >= 3, "the job does not run")
    # All of them serve meanwhile.
    browser = browse(f"http://{address}")
    answers = ask_all(browser, len(workers))
    assert set(answers) == workers
    assert answers.pop(first) == "runs the jobs"
    assert set(answers.values()) == {"waits"}

    kill_between_runs(first, tmp_path / "jobs.sqlite")
    second = int(program.wait_for(r"process (\d+) runs the jobs", 2)[1])
    assert second != first
    killed_after = len(log.lines())
    lines = log.wait(lambda lines: len(lines) >= killed_after + 3, "nobody has taken over")
    assert {pid for pid, _ in lines} == {first, second}
    # One is there in the place of the first. (uWSGI passes over a signal to one that is not.)
    assert first not in ask_all(browser, len(workers))
    program.stop()

    lines = log.lines()
    times = Counter(due for _, due in lines)
    assert max(times.values()) == 1, f"run more than once: {[due for due, count in times.items() if count > 1]}"
    # The second one went on after the first, on the same grid. (A busy machine may make one run of two that are late.)
    assert [due for _, due in lines] == sorted(times)
    assert all((due - lines[0][1]).total_seconds() % 0.5 == 0 for due in times)


EARLY = """
import os
from schedcore.schedulers.background import BackgroundScheduler

scheduler = BackgroundScheduler(timezone="UTC")
scheduler.start()
print("started in process", os.getpid())

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {scheduler.running}".encode()]
"""


def test_uwsgi_s_workers_do_not_take_a_scheduler_for_theirs_that_was_started_before_the_fork(
    programs: Any, browse: Any, tmp_path: Path
) -> None:
    if find_spec("pyuwsgi") is None:
        pytest.skip("uWSGI comes with the extra 'test-web'")
    (tmp_path / "early.py").write_text(EARLY, encoding="utf-8")
    early = ("--pythonpath", str(tmp_path), "--module", "early:application")
    program = programs.start("prefork", *_UWSGI, "--master", "--processes", "2", "--enable-threads", *early)
    [address] = program.wait_for(_UWSGI_SAYS[0])
    workers = {int(pid) for pid in program.wait_for(_UWSGI_SAYS[1], 2)}
    assert int(program.wait_for(r"started in process (\d+)")[0]) not in workers
    assert ask_all(browse(f"http://{address}"), 2) == dict.fromkeys(workers, "False")
    program.stop()


def test_on_a_loop_the_database_is_tried_again_until_it_is_free(tmp_path: Path) -> None:
    pytest.importorskip("tornado", reason="the second scheduler is Tornado's")
    pytest.importorskip("sqlalchemy", reason="its jobs are in a database")
    from schedcore.adapters.asyncio import AsyncIOScheduler
    from schedcore.adapters.tornado import TornadoScheduler

    options: dict[str, Any] = {
        "jobstores": {"default": {"type": "sqlalchemy", "url": f"sqlite:///{tmp_path / 'jobs.sqlite'}"}},
        "jobstore_retry_interval": 0.05,
        "timezone": "UTC",
    }

    async def ran(log: EventLog) -> None:
        while not log.executed("job"):
            await asyncio.sleep(0.01)

    async def main() -> None:
        first, second = AsyncIOScheduler(**options), TornadoScheduler(**options)
        logs = [EventLog(scheduler) for scheduler in (first, second)]
        for scheduler in (first, second):
            scheduler.add_job("time:time", "interval", seconds=0.05, id="job", replace_existing=True)
        first.start()
        await ran(logs[0])
        second.start()
        while len(failures := logs[1].of(EVENT_JOBSTORE_FAILED)) < 2:
            await asyncio.sleep(0.01)
        assert all(isinstance(event.exception, JobStoreInUseError) for event in failures)
        assert not logs[1].executed()
        await first.shutdown()
        await ran(logs[1])
        await second.shutdown()
        runs = logs[0].executed("job") + logs[1].executed("job")
        assert len(set(runs)) == len(runs)

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))

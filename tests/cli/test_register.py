"""A file's jobs in a scheduler: added, changed, removed; and those of others left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schedcore.cli import files, register, stores
from schedcore.cli.register import Synced
from schedcore.cli.scheduler import make_scheduler
from schedcore.errors import FileSyntaxError
from schedcore.job import JobState
from schedcore.schedulers.background import BackgroundScheduler

HOURLY = 'func = "os:getpid"\ninterval = { hours = 1 }\n'


def job(id: str, more: str = HOURLY) -> str:
    return f'[[jobs]]\nid = "{id}"\n{more}'


class Sync:
    """The jobs of a text, put into the store in a folder, time and again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jobs.toml"
        self.store = str(folder / "jobs.sqlite")

    @contextmanager
    def scheduler(self, text: str, key: str = "jobs.toml") -> Iterator[tuple[BackgroundScheduler, Synced]]:
        file = files.parse(text, str(self.path))
        places = stores.of_file(file, self.store)
        scheduler = make_scheduler(file, places)
        register.check(scheduler, file)
        scheduler.start(paused=True)
        try:
            yield scheduler, register.sync(scheduler, file, places, key)
        finally:
            scheduler.shutdown()

    def ids(self, scheduler: BackgroundScheduler) -> set[str]:
        return {job.id for job in scheduler.get_jobs() if not register.is_register(job.func_ref)}


@pytest.fixture
def sync(tmp_path: Path) -> Sync:
    return Sync(tmp_path)


def test_added_kept_changed_removed(sync: Sync) -> None:
    with sync.scheduler(job("a") + job("b") + job("c")) as (scheduler, done):
        assert done == Synced([], [])
        before = {one.id: one.next_run_time for one in scheduler.get_jobs()}
    with sync.scheduler(job("a") + job("b", 'func = "os:getpid"\ninterval = { hours = 2 }\n')) as (scheduler, done):
        assert done == Synced(["c"], [])
        after = {one.id: one.next_run_time for one in scheduler.get_jobs()}
        assert after["a"] == before["a"]
        assert after["b"] != before["b"]
        assert sync.ids(scheduler) == {"a", "b"}


def test_jobs_of_others_stay(sync: Sync) -> None:
    with sync.scheduler(job("a")) as (scheduler, _):
        scheduler.add_job("os:getpid", "interval", hours=1, id="theirs")
    with sync.scheduler(job("b")) as (scheduler, done):
        assert done.removed == ["a"]
        assert sync.ids(scheduler) == {"b", "theirs"}


def test_two_files_in_one_store(sync: Sync) -> None:
    with sync.scheduler(job("a"), "one.toml"):
        pass
    with sync.scheduler(job("b"), "two.toml") as (scheduler, done):
        assert done.removed == []
        assert sync.ids(scheduler) == {"a", "b"}


def test_what_somebody_removed_comes_back(sync: Sync) -> None:
    with sync.scheduler(job("a")) as (scheduler, _):
        scheduler.remove_job("a")
    with sync.scheduler(job("a")) as (scheduler, _):
        assert sync.ids(scheduler) == {"a"}


def test_paused_as_the_file_says(sync: Sync) -> None:
    paused = job("a", HOURLY + "paused = true\n")
    for text, state in ((paused, JobState.PAUSED), (job("a"), JobState.ACTIVE), (paused, JobState.PAUSED)):
        with sync.scheduler(text) as (scheduler, _):
            found = scheduler.get_job("a")
            assert found is not None
            assert found.state is state
            assert (found.next_run_time is None) is (state is JobState.PAUSED)


def test_a_date_does_not_come_twice_but_another_date_does(sync: Sync) -> None:
    past = 'func = "os:getpid"\ndate = 2020-01-0{}\n'
    with sync.scheduler(job("once", past.format(1))) as (scheduler, done):
        assert done.over == []
        scheduler.remove_job("once")  # as after its run
    with sync.scheduler(job("once", past.format(1))) as (scheduler, done):
        assert done.over == ["once"]
        assert sync.ids(scheduler) == set()
    with sync.scheduler(job("once", past.format(2))) as (scheduler, done):
        assert done.over == []
        assert sync.ids(scheduler) == {"once"}


def test_a_schedule_that_is_over_is_no_error(sync: Sync) -> None:
    ended = 'func = "os:getpid"\ninterval = { hours = 1, start_date = "2020-01-01", end_date = "2020-02-01" }\n'
    with sync.scheduler(job("past", ended) + job("a")) as (scheduler, done):
        assert done.over == ["past"]
        assert sync.ids(scheduler) == {"a"}


def test_at_each_start(sync: Sync) -> None:
    reboot = job("start", 'func = "os:getpid"\ncron = "@reboot"\n')
    for _ in range(2):
        with sync.scheduler(reboot) as (scheduler, done):
            assert done.over == []
            found = scheduler.get_job("start")
            assert found is not None
            assert found.next_run_time is not None
            assert abs((found.next_run_time - datetime.now(UTC)).total_seconds()) < 10
            # One that a crash cut off is not made beside the one of the next start.
            assert found.__getstate__()["recovery"] == "lost"
            scheduler.remove_job("start")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('func = "nowhere:f"', r"jobs\.toml:3:8: cannot resolve 'nowhere:f'"),
        ('func = "os:nowhere"', r"jobs\.toml:3:8: cannot resolve 'os:nowhere'"),
        ('func = "os.path:join"\nkwargs = { b = 1 }', r"jobs\.toml:4:10: the arguments do not fit"),
        ('func = "os.path:join"', r"jobs\.toml:3:8: the arguments do not fit"),
        ('func = "os:environ"', r"jobs\.toml:.* cannot be called"),
    ],
)
def test_what_cannot_work_is_told_by_its_place(sync: Sync, lines: str, message: str) -> None:
    text = f'[[jobs]]\nid = "x"\n{lines}\ninterval = {{ hours = 1 }}\n'
    with pytest.raises(FileSyntaxError, match=message), sync.scheduler(text):
        pass
    assert not Path(sync.store).exists()  # checked before anything is opened


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('[executors.a]\ntype = "threadpool"\nmax_workers = 0\n', r"jobs\.toml:1:\d+: max_workers must be"),
        (
            '[executors.a]\ntype = "threadpool"\nmax_wokers = 2\n',
            r"jobs\.toml:3:1: unknown .* did you mean 'max_workers'",
        ),
        ('[executors.a]\nclass = "nowhere:Thing"\n', r"jobs\.toml:1:\d+: executors\.a\.class: cannot resolve"),
        ('[jobstores.default]\ntype = "sqlalchemy"\n', r"jobs\.toml:1:\d+: .* needs either url="),
    ],
)
def test_components_are_told_by_their_place(tmp_path: Path, head: str, message: str) -> None:
    file = files.parse(head + job("a"), str(tmp_path / "jobs.toml"))
    with pytest.raises(FileSyntaxError, match=message):
        make_scheduler(file, stores.of_file(file))

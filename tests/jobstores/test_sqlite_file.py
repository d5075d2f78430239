"""The file of an SQLite database: what it may be, and what happens to it under a scheduler that has it open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

from schedcore.clock import to_datetime
from schedcore.errors import JobStoreError
from schedcore.events import EVENT_JOB_EXECUTED, EVENT_JOBSTORE_FAILED, EVENT_JOBSTORE_RECOVERED
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore, open_reader
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog
from schedcore.testing.store_suite import work
from tests.jobstores.sql_servers import MINUTE, T0, Start, entry, run_due

posix = pytest.mark.skipif(os.name != "posix", reason="a file that is open cannot be deleted or moved here")


def delete(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere.sqlite"))


def replace(path: Path) -> None:
    copy = path.with_name("copy.sqlite")
    shutil.copy(path, copy)
    copy.replace(path)


@posix
@pytest.mark.parametrize(
    ("change", "told"),
    [(delete, "is not there any more"), (move, "is not there any more"), (replace, "is another file now")],
    ids=["deleted", "moved", "replaced"],
)
class TestTheFileIsNoLongerTheOneThatIsOpen:
    def test_nothing_is_written_to_what_would_be_lost(
        self, change: Callable[[Path], None], told: str, tmp_path: Path, url: str, start: Start
    ) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry(), entry("due")])
        assert len(run_due(store, T0)) == 2
        path = tmp_path / "jobs.sqlite"
        change(path)
        left = path.read_bytes() if path.exists() else None
        for call in (
            lambda: store.add_entries([entry("another")]),
            lambda: run_due(store, T0 + MINUTE),
            lambda: store.remove_job("due"),
            store.list_entries,
            lambda: store.get_entry("due"),
            store.runs,
            store.next_due,
        ):
            with pytest.raises(JobStoreError, match=f"jobs.sqlite {told}: it was deleted, moved or replaced"):
                call()
        store.shutdown()
        assert (path.read_bytes() if path.exists() else None) == left, "nor is anything put in its place"

    def test_a_scheduler_tells_of_it_and_goes_on_when_the_file_is_back(
        self, change: Callable[[Path], None], told: str, tmp_path: Path, url: str
    ) -> None:
        path = tmp_path / "jobs.sqlite"
        kept = tmp_path / "kept.sqlite"
        scheduler = BackgroundScheduler(
            jobstores={"default": SQLAlchemyJobStore(url, history=100_000)},
            timezone="UTC",
            jobstore_retry_interval=0.1,
        )
        log = EventLog(scheduler)
        scheduler.start()
        try:
            scheduler.add_job(work, "interval", seconds=0.05, id="x")
            log.wait_for(lambda log: len(log.of(EVENT_JOB_EXECUTED)) > 2, timeout=60.0)
            os.link(path, kept)
            change(path)
            log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_FAILED)), timeout=60.0)
            health = scheduler.health()["default"]
            assert not health.ok
            assert told in str(health.error)
            # The same file, not a copy of it.
            kept.replace(path)
            (tmp_path / "elsewhere.sqlite").unlink(missing_ok=True)
            before = len(log.of(EVENT_JOB_EXECUTED))
            log.wait_for(lambda log: bool(log.of(EVENT_JOBSTORE_RECOVERED)), timeout=60.0)
            log.wait_for(lambda log: len(log.of(EVENT_JOB_EXECUTED)) > before + 2, timeout=60.0)
            assert scheduler.health()["default"].ok
        finally:
            scheduler.shutdown()
        made = log.executed("x")
        assert len(made) == len(set(made))
        with open_reader(url) as reader:
            on_record = {to_datetime(run.fire_us) for run in reader.runs("x", limit=100_000) if run.attempt}
        assert set(made) <= on_record


def test_a_file_that_stays_the_same_is_no_other_whatever_is_done_beside_it(
    tmp_path: Path, url: str, start: Start
) -> None:
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry()])
    shutil.copy(tmp_path / "jobs.sqlite", tmp_path / "copy.sqlite")
    with open_reader(url) as reader:
        assert len(reader.list_entries()) == 1
    os.utime(tmp_path / "jobs.sqlite", (0, 0))
    if os.name == "posix":
        (tmp_path / "jobs.sqlite").chmod(0o600)
    assert len(run_due(store, T0)) == 1


class TestWhatIsNoFile:
    @pytest.mark.parametrize("read_only", [False, True])
    def test_is_refused_at_once_and_nothing_is_left(self, read_only: bool, tmp_path: Path, start: Start) -> None:
        (tmp_path / "folder").mkdir()
        odd = {"folder": "a folder"}
        if os.name == "posix":
            os.mkfifo(tmp_path / "pipe")
            (tmp_path / "null").symlink_to(os.devnull)
            odd |= {"pipe": "no file", "null": "no file"}
        device = Path(os.devnull)
        before = sorted(os.walk(tmp_path)), sorted(device.parent.glob("null*"))
        for name, told in odd.items():
            with pytest.raises(JobStoreError, match=f"{name}' is {told}; give the path of a file"):
                start(SQLAlchemyJobStore(f"sqlite:///{tmp_path}/{name}", read_only=read_only))
        assert (sorted(os.walk(tmp_path)), sorted(device.parent.glob("null*"))) == before

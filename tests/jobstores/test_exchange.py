"""Jobs to a file and back."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schedcore.errors import (
    BrokenJobError,
    ConfigurationError,
    ConflictingIdError,
    FileSyntaxError,
    SerializationError,
    TransientJobError,
)
from schedcore.job import JobState
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.testing.store_suite import work

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")

Make = Callable[..., VirtualScheduler]

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[VirtualScheduler] = []

    def make(url: str | None = None, *, start: bool = True, at: datetime = T0) -> VirtualScheduler:
        stores: dict[str, Any] = {"other": {"type": "memory"}}
        if url is not None:
            stores["default"] = {"type": "sqlalchemy", "url": url}
        scheduler = VirtualScheduler(start=at, timezone="UTC", jobstores=stores)
        made.append(scheduler)
        if start:
            scheduler.start()
        return scheduler

    yield make
    for scheduler in made:
        scheduler.shutdown()


def fill(scheduler: VirtualScheduler) -> None:
    scheduler.add_job(work, "interval", seconds=10, id="often", args=[(1, b"x")], kwargs={"at": T0}, name="A name")
    scheduler.add_job(
        work, "cron", hour=3, timezone="Europe/Berlin", id="daily", jobstore="other", misfire_grace_time=60
    )
    scheduler.add_job(work, "date", run_date=T0 + timedelta(seconds=25), id="once")
    scheduler.add_job(work, "interval", seconds=10, id="paused", next_run_time=None)


def text_of(scheduler: VirtualScheduler, jobstore: str | None = None) -> str:
    out = io.StringIO()
    scheduler.export_jobs(out, jobstore)
    return out.getvalue()


def views(scheduler: VirtualScheduler) -> list[tuple[Any, ...]]:
    jobs = sorted(scheduler.get_jobs(), key=lambda job: job.id)
    return [
        (j.id, j.name, j.func, j.args, j.kwargs, j.trigger, j.misfire_grace_time, j.next_run_time, j.state)
        for j in jobs
    ]


@pytest.mark.parametrize("durable_source", [False, True])
@pytest.mark.parametrize("durable_target", [False, True])
def test_jobs_go_on_elsewhere(make: Make, tmp_path: Path, durable_source: bool, durable_target: bool) -> None:
    source = make(f"sqlite:///{tmp_path}/a.sqlite" if durable_source else None)
    fill(source)
    source.advance(15)
    path = tmp_path / "jobs.json"
    source.export_jobs(path)
    target = make(f"sqlite:///{tmp_path}/b.sqlite" if durable_target else None, at=T0 + timedelta(seconds=15))
    log = EventLog(target)
    target.import_jobs(path)
    assert log.names() == ["JOB_ADDED"] * 4
    assert views(target) == views(source)
    target.advance(20)
    assert log.executed("often") == [T0 + timedelta(seconds=20), T0 + timedelta(seconds=30)]
    assert log.executed("once") == [T0 + timedelta(seconds=25)]
    job = target.get_job("often")
    assert job is not None
    job.modify(args=[2])
    job.reschedule("interval", seconds=3)
    assert (job.args, job.next_run_time) == ((2,), T0 + timedelta(seconds=38))
    target.resume_job("paused")
    target.advance(10)
    assert len(log.executed("paused")) == 1


def test_late_jobs_are_late_where_they_are_imported(make: Make) -> None:
    source = make()
    fill(source)
    target = make(at=T0 + timedelta(seconds=65))
    log = EventLog(target)
    target.import_jobs(io.StringIO(text_of(source)))
    target.advance(1)
    assert log.executed("often") == [T0 + timedelta(seconds=60)]
    assert log.executed("once") == [T0 + timedelta(seconds=25)]


def test_one_job_store(make: Make) -> None:
    source = make()
    fill(source)
    assert [item["id"] for item in json.loads(text_of(source, "other"))["jobs"]] == ["daily"]
    target = make()
    target.import_jobs(io.StringIO(text_of(source, "other")), "other")
    job = target.get_job("daily")
    assert job is not None
    assert job.jobstore == "other"


def test_before_start(make: Make) -> None:
    source = make(start=False)
    fill(source)
    source.add_job(work, "interval", seconds=10, id="soon", next_run_time=T0 + timedelta(seconds=3))
    text = text_of(source)
    assert {item["id"]: item["state"] for item in json.loads(text)["jobs"]} == {
        "often": "pending", "daily": "pending", "once": "pending", "paused": "paused", "soon": "active",
    }  # fmt: skip
    target = make(start=False)
    target.import_jobs(io.StringIO(text))
    with pytest.raises(ConflictingIdError, match=r"job id '.*' is taken"):
        target.import_jobs(io.StringIO(text))
    assert len(target.get_jobs(pending=True)) == 5
    log = EventLog(target)
    target.start()
    target.advance(11)
    assert log.executed("often") == [T0 + timedelta(seconds=10)]
    assert log.executed("soon") == [T0 + timedelta(seconds=3), T0 + timedelta(seconds=10)]
    paused = target.get_job("paused")
    assert paused is not None
    assert paused.state is JobState.PAUSED
    running = make()
    running.import_jobs(io.StringIO(text))
    assert len(running.get_jobs()) == 5


def test_a_job_set_aside_for_want_of_an_executor(make: Make) -> None:
    source = make()
    source.add_job(work, "interval", seconds=10, id="a", executor="special")
    source.advance(15)
    job = source.get_job("a")
    assert job is not None
    assert job.state is JobState.BROKEN
    target = make()
    target.import_jobs(io.StringIO(text_of(source)))
    job = target.get_job("a")
    assert job is not None
    assert (job.state, job.next_run_time) == (JobState.ACTIVE, T0 + timedelta(seconds=10))


def test_those_that_can_be_written_where_some_cannot(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "a.sqlite"
    source = make(f"sqlite:///{database}")
    source.add_job(work, "interval", seconds=10, id="good")
    source.add_job(work, "interval", seconds=10, id="damaged")
    source.add_job(work, "interval", seconds=10, id="gone")
    source.add_job(lambda: None, "interval", seconds=10, id="lambda", jobstore="other")
    source.add_job(work, "interval", seconds=10, id="object", args=[object()], jobstore="other")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE schedcore_jobs SET payload = 'x' WHERE id = 'damaged'")
        connection.execute(
            "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:work', 'store_suite:gone') WHERE id = 'gone'"
        )
        connection.execute("UPDATE schedcore_jobs_schedule SET version = version + 1")
    path = tmp_path / "jobs.json"
    with pytest.raises((BrokenJobError, TransientJobError, SerializationError)) as refused:
        source.export_jobs(path)
    assert not path.exists()
    (note,) = refused.value.__notes__
    assert note == "Nothing was written. With partial=True all jobs are but 'damaged', 'lambda', 'object'"

    left_out = source.export_jobs(path, partial=True)
    assert [(job.id, type(error)) for job, error in left_out] == [
        ("damaged", BrokenJobError), ("lambda", TransientJobError), ("object", SerializationError),
    ]  # fmt: skip
    assert [
        record.getMessage().partition(": ")[0] for record in caplog.records if "left out" in record.getMessage()
    ] == [
        "export_jobs() left out a job of job store 'default'",
        *["export_jobs() left out a job of job store 'other'"] * 2,
    ]
    data = json.loads(path.read_text())
    # A function that is not here may be where it is imported.
    assert [item["id"] for item in data["jobs"]] == ["gone", "good"]
    assert [(item["id"], item["reason"]) for item in data["left_out"]] == [
        (job.id, str(error)) for job, error in left_out
    ]
    source.remove_job("gone")
    assert len(source.export_jobs(path, partial=True)) == 3
    target = make()
    target.import_jobs(path)
    assert [job.id for job in target.get_jobs()] == ["good"]
    assert source.export_jobs(path, "other", partial=True) != []
    source.remove_job("lambda")
    source.remove_job("object")
    assert source.export_jobs(path, "other", partial=True) == []
    assert "left_out" not in json.loads(path.read_text())


class TestRefused:
    def test_a_lambda(self, make: Make, tmp_path: Path) -> None:
        scheduler = make()
        scheduler.add_job(lambda: None, "interval", seconds=10, id="a")
        path = tmp_path / "jobs.json"
        path.write_text("as it was")
        with pytest.raises(
            TransientJobError, match=r"job 'a' cannot be .*: a lambda has no name that text could give; use a function"
        ):
            scheduler.export_jobs(path)
        assert path.read_text() == "as it was"

    def test_arguments_that_are_not_data(self, make: Make) -> None:
        scheduler = make()
        scheduler.add_job(work, "interval", seconds=10, id="a", args=[object()])
        with pytest.raises(SerializationError, match=r"job 'a' cannot be stored: args\[0\]: object is not plain data"):
            text_of(scheduler)

    def test_an_id_that_is_taken(self, make: Make) -> None:
        scheduler = make()
        fill(scheduler)
        text = text_of(scheduler)
        scheduler.remove_job("often")
        with pytest.raises(ConflictingIdError):
            scheduler.import_jobs(io.StringIO(text))
        assert scheduler.get_job("often") is None, "all or none"

    def test_a_job_store_that_is_not_there(self, make: Make) -> None:
        scheduler = make()
        with pytest.raises(KeyError, match="no job store has the alias 'nowhere'"):
            scheduler.import_jobs(io.StringIO('{"schedcore_jobs": 1, "jobs": []}'), "nowhere")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"<file>:1:1: not JSON: Expecting value"),
            ('{"jobs":\n [}', r"<file>:2:3: not JSON: "),
            ("[" * 100_000, r"<file>:1: nested too deeply|<file>:1:\d+: not JSON"),
            ("[]", r"<file>:1: not a file that export_jobs wrote"),
            ('{"schedcore_jobs": 2}', r"the file has version 2, and this release reads 1"),
            ('{"schedcore_jobs": 1}', r"there is no list of jobs in it"),
            ('{"schedcore_jobs": 1, "jobs": [1]}', r"an entry of the list is not a job"),
            ('{"schedcore_jobs": 1, "jobs": [{"id": ""}]}', r"an entry of the list is not a job"),
        ],
    )
    def test_no_such_file(self, make: Make, text: str, message: str) -> None:
        with pytest.raises(FileSyntaxError, match=message):
            make().import_jobs(io.StringIO(text))

    def test_a_file_in_binary(self, make: Make) -> None:
        with pytest.raises(ConfigurationError, match="infile: open the file in text mode"):
            make().import_jobs(io.BytesIO(b"{}"))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"job": None}, BrokenJobError, "job 'often' is set aside: its record cannot be read"),
            ({"state": "odd"}, FileSyntaxError, "the state of job 'often' cannot be 'odd'"),
            ({"fire_us": "1"}, FileSyntaxError, "the state of job 'often' cannot be 'active' at '1'"),
            ({"id": "once"}, ConflictingIdError, "job id 'once' is taken"),
        ],
    )
    def test_a_file_that_was_edited(
        self, make: Make, change: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        source = make()
        fill(source)
        data = json.loads(text_of(source))
        next(item for item in data["jobs"] if item["id"] == "often").update(change)
        target = make()
        with pytest.raises(error, match=message):
            target.import_jobs(io.StringIO(json.dumps(data)))
        assert target.get_jobs() == []

    def test_a_function_that_is_not_here(self, make: Make, tmp_path: Path) -> None:
        source = make()
        fill(source)
        path = tmp_path / "jobs.json"
        path.write_text(text_of(source).replace("schedcore.testing.store_suite:work", "schedcore_nowhere:f"))
        with pytest.raises(
            BrokenJobError, match="cannot resolve 'schedcore_nowhere:f': there is no module 'schedcore_nowhere'"
        ):
            make().import_jobs(path)

    def test_all_functions_that_are_not_here_are_named(self, make: Make) -> None:
        source = make()
        for number in range(15):
            source.add_job(work, "interval", hours=1, id=f"job {number:02}")
        data = json.loads(text_of(source).replace("schedcore.testing.store_suite:work", "schedcore_nowhere:f"))
        target = make()
        with pytest.raises(BrokenJobError, match=r"'job 00' is set aside: .*'schedcore_nowhere:f'") as refused:
            target.import_jobs(io.StringIO(json.dumps(data)))
        (note,) = refused.value.__notes__
        assert note.startswith("Nor can these be read: 'job 01' (cannot resolve 'schedcore_nowhere:f': ")
        assert note.count("schedcore_nowhere:f") == 10
        assert note.endswith("), and 4 more")
        data["jobs"] = data["jobs"][:2]
        with pytest.raises(BrokenJobError) as refused:
            target.import_jobs(io.StringIO(json.dumps(data)))
        (note,) = refused.value.__notes__
        assert note.endswith("))")
        data["jobs"] = data["jobs"][:1]
        with pytest.raises(BrokenJobError) as refused:
            target.import_jobs(io.StringIO(json.dumps(data)))
        assert not hasattr(refused.value, "__notes__")
        assert target.get_jobs() == []

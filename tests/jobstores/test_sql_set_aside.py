"""What an SQL store cannot read: jobs that are set aside, and rows that are damaged."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'sqlalchemy' is not installed")


from schedcore.clock import Now
from schedcore.engine import Decision
from schedcore.events import EVENT_JOB_BROKEN
from schedcore.job import JobEntry, JobState
from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore
from schedcore.run import RunState
from schedcore.testing import EventLog, VirtualScheduler
from schedcore.testing.store_suite import work
from tests.jobstores.sql_servers import (
    MINUTE,
    T0,
    Start,
    entry,
    run_due,
)
from tests.jobstores.sqlite import close, query


class TestSetAside:
    def test_a_damaged_record(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("bad"), entry("good")])
        close(store)
        query(url, "UPDATE schedcore_jobs SET payload = x'8004' WHERE id = 'bad'")
        start(store)
        for _ in range(2):
            found = store.get_entry("bad")
            assert found is not None
            assert (found.state, found.job.name) == (JobState.BROKEN, "bad")
            assert str(found.reason).startswith("its record cannot be read: ")
        assert [run.job.id for run in run_due(store, T0)] == ["good"]
        assert query(url, "SELECT payload FROM schedcore_jobs WHERE id = 'bad'") == [(b"\x80\x04",)]
        place = query(url, "SELECT state, fire_us, due_us FROM schedcore_jobs_schedule WHERE id = 'bad'")
        assert place == [("broken", T0, None)]

    def test_a_damaged_row(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry(name) for name in ("bad", "good", "odd", "text", "utf-8")])
        query(url, "UPDATE schedcore_jobs SET payload = CAST(x'ff' AS TEXT) WHERE id = 'utf-8'")
        query(url, "UPDATE schedcore_jobs_schedule SET reason = CAST(x'ff' AS TEXT) WHERE id = 'utf-8'")
        query(url, "UPDATE schedcore_jobs SET payload = 'x' WHERE id = 'text'")
        query(url, "UPDATE schedcore_jobs_schedule SET version = 2")  # what is in memory is not what is stored
        query(url, "UPDATE schedcore_jobs_schedule SET fire_us = NULL WHERE id = 'bad'")
        query(url, "UPDATE schedcore_jobs_schedule SET state = 'odd', due_us = 'odd' WHERE id = 'odd'")
        assert len(store.list_entries()) == 5
        claims = {claim.job.id: claim.broken for claim in store.acquire(Now(T0, T0), 9)}
        assert claims.pop("good") is None
        assert sorted(claims) == ["bad", "text", "utf-8"]
        assert all(claims.values())
        store.recover([])
        assert [run.job.id for run in run_due(store, T0)] == ["good"]
        assert [e.job.id for e in store.list_entries() if e.state is JobState.BROKEN] == ["bad", "odd", "text", "utf-8"]

    @pytest.mark.parametrize(
        "damage",
        [
            "fire_us = 'odd'",
            "fire_us = NULL",
            "fire_us = -4611686018427387904",
            "fire_us = 4611686018427387904",
            "due_us = 1.5",
            "due_us = 'odd'",
            "due_us = x'ff'",
            "due_us = 4611686018427387904",
            "due_us = -4611686018427387904",
            "fence = 'odd'",
            "fence = x'ff'",
        ],
    )
    def test_a_damaged_place_in_the_schedule(self, url: str, damage: str) -> None:
        """SQLite keeps anything in any column. It stops neither the others nor the list, and can be mended."""
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": SQLAlchemyJobStore(url)}
        )
        log = EventLog(scheduler)
        scheduler.start()
        try:
            for job_id in ("bad", "good"):
                scheduler.add_job(work, "interval", seconds=10, id=job_id)
            query(url, f"UPDATE schedcore_jobs_schedule SET {damage} WHERE id = 'bad'")
            scheduler.advance(35)
            assert len(log.executed("good")) == 3
            assert log.executed("bad") == []
            bad, good = sorted(scheduler.get_jobs(), key=lambda job: job.id)
            assert (bad.state, bad.next_run_time, good.state) == (JobState.BROKEN, None, JobState.ACTIVE)
            bad.reschedule("interval", seconds=10)
            scheduler.advance(35)
            assert len(log.executed("bad")) == 3
        finally:
            scheduler.shutdown()

    @pytest.mark.parametrize("state", ["submitted", "running", "succeeded", "odd"])
    @pytest.mark.parametrize(
        "key", ["'odd', 1", "-4611686018427387904, 1", "4611686018427387904, 1", "1.5, 1", "5, 'odd'"]
    )
    def test_a_damaged_run(self, url: str, state: str, key: str) -> None:
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": SQLAlchemyJobStore(url)}
        )
        log = EventLog(scheduler)
        scheduler.start(paused=True)
        scheduler.add_job(work, "interval", seconds=10, id="job")
        scheduler.shutdown()
        ended = "'odd'" if state == "succeeded" else "NULL"
        query(
            url,
            "INSERT INTO schedcore_jobs_runs (job_uid, fire_us, attempt, state, times, started_us, finished_us, error) "
            f"SELECT uid, {key}, '{state}', 'odd', 'odd', {ended}, x'ff' FROM schedcore_jobs",
        )
        scheduler.start()
        try:
            scheduler.advance(35)
            assert len(log.executed("job")) == 3, "it does not count as a live run"
            assert [run.fire_us for run in scheduler.get_runs(limit=3)] == [T0 + n * 10_000_000 for n in (3, 2, 1)]
            assert scheduler.get_runs("job", limit=1)[0].fire_us == T0 + 30_000_000
        finally:
            scheduler.shutdown()

    def test_an_id_and_texts_that_are_no_text(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("bad")])
        run_due(store, T0)
        query(url, "UPDATE schedcore_jobs SET id = x'ff'")
        query(url, "UPDATE schedcore_jobs_schedule SET id = x'ff', reason = x'ff', state = 'paused', version = 2")
        query(url, "UPDATE schedcore_jobs_runs SET output = x'ff', reason = 5, exit_code = 'odd', times = 'odd'")
        (found,) = store.list_entries()
        assert (found.job.id, found.reason) == ("\ufffd", "its record is that of another job, 'bad'")
        (run,) = store.runs()
        assert (run.job_id, run.reason, run.output, run.exit_code, run.times) == ("\ufffd", "5", "\ufffd", None, 1)

    def test_texts_that_are_too_long_are_not_fetched_whole(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("a")])
        run_due(store, T0)
        query(url, "UPDATE schedcore_jobs_runs SET output = printf('%.*c', 3000000, 'o')")
        query(url, "UPDATE schedcore_jobs_schedule SET reason = printf('%.*c', 3000000, 'r')")
        (run,) = store.runs("a")
        (listed,) = store.list_entries()
        assert [len(text or "") for text in (run.output, listed.reason)] == [2**20, 2**20]

    def test_pausing_it_keeps_its_record(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("bad")])
        query(url, "UPDATE schedcore_jobs SET payload = x'8004'")
        query(url, "UPDATE schedcore_jobs_schedule SET version = 2")
        found = store.get_entry("bad")
        assert found is not None
        assert store.replace_entry(found, JobEntry(found.job, JobState.PAUSED))
        assert query(url, "SELECT payload FROM schedcore_jobs") == [(b"\x80\x04",)]
        assert query(url, "SELECT state FROM schedcore_jobs_schedule") == [("paused",)]

    def test_jobs_that_somebody_has_deleted(self, url: str, start: Start) -> None:
        """With a statement that knows nothing of their places: they are gone, and in nobody's way."""
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry("due"), entry("broken"), entry("kept")])
        claims = [claim for claim in store.acquire(Now(T0, T0), 9) if claim.job.id == "broken"]
        store.commit([Decision(claims[0], (), (), None, None, "its executor is missing")], T0)
        close(store)
        query(url, "DELETE FROM schedcore_jobs WHERE id <> 'kept'")
        start(store)
        assert [e.job.id for e in store.list_entries()] == ["kept"]
        assert store.get_entry("due") is None
        assert [run.job.id for run in run_due(store, T0)] == ["kept"]
        assert min(due for due in store.next_due() if due is not None) == T0 + MINUTE
        store.add_entries([entry("due"), entry("broken")])
        assert len(run_due(store, T0)) == 2

    def test_is_told_once(self, url: str) -> None:
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": SQLAlchemyJobStore(url)}
        )
        log = EventLog(scheduler)
        scheduler.start()
        try:
            scheduler.add_job(work, "interval", seconds=10, id="a")
            scheduler.add_job(work, "interval", seconds=10, id="b")
            query(url, "UPDATE schedcore_jobs SET payload = 'x' WHERE id = 'a'")
            query(url, "UPDATE schedcore_jobs_schedule SET version = 2 WHERE id = 'a'")
            scheduler.advance(100)
            broken = [event for event in log.events if event.code == EVENT_JOB_BROKEN]
            assert [(event.job_id, event.reason.partition(":")[0]) for event in broken] == [
                ("a", "its record cannot be read")
            ]
            assert len(log.executed("b")) == 10
            job = scheduler.get_job("a")
            assert job is not None
            assert job.state is JobState.BROKEN
        finally:
            scheduler.shutdown()

    def test_registering_it_again_mends_it(self, url: str) -> None:
        scheduler = VirtualScheduler(
            start="2026-01-01T00:00:00Z", timezone="UTC", jobstores={"default": SQLAlchemyJobStore(url)}
        )
        scheduler.start()
        try:
            scheduler.add_job(work, "interval", seconds=10, id="a")
            query(url, "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:work', 'store_suite:gone')")
            query(url, "UPDATE schedcore_jobs_schedule SET version = 2")
            scheduler.advance(15)
            job = scheduler.get_job("a")
            assert job is not None
            assert (job.state, job.func_ref) == (JobState.BROKEN, "schedcore.testing.store_suite:gone")
            job = scheduler.add_job(work, "interval", seconds=10, id="a", replace_existing=True)
            scheduler.advance(1)
            assert [record.fire_us for record in scheduler.get_runs("a")] == [T0 + 10_000_000], "what was due has run"
        finally:
            scheduler.shutdown()

    def test_a_missing_executor_that_is_there_at_the_next_start(self, url: str, start: Start) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry(executor="special")])
        claims = store.acquire(Now(T0, T0), 9)
        store.commit([Decision(claims[0], (), (), None, None, "its executor 'special' is missing")], T0)
        assert store.next_due() == (None, None)
        close(store)
        start(store)
        found = store.get_entry("job")
        assert found is not None
        assert (found.state, found.due_us, found.reason) == (JobState.ACTIVE, T0, None)

    @pytest.mark.parametrize("opened_again", [True, False])
    def test_live_runs_wait_for_their_job(self, url: str, start: Start, opened_again: bool) -> None:
        store = start(SQLAlchemyJobStore(url))
        store.add_entries([entry()])
        run_due(store, T0, finish=False)
        close(store)
        query(url, "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:work', 'store_suite:gone')")
        start(store)
        assert store.recover([]) == ([], [])
        assert [record.state for record in store.runs()] == [RunState.SUBMITTED]
        if opened_again:
            close(store)
        query(url, "UPDATE schedcore_jobs SET payload = replace(payload, 'store_suite:gone', 'store_suite:work')")
        if opened_again:
            start(store)
        assert [run.id for run in store.recover([]).runs] == ["job@2026-01-01T00:00:00Z#2"], "it may have begun"


def test_pages_of_rows_that_are_damaged(url: str, start: Start) -> None:
    """Each is listed once, wherever one page ends and the next begins."""
    store = start(SQLAlchemyJobStore(url))
    store.add_entries([entry(str(number), T0 + number // 2 if number % 3 else None) for number in range(30)])
    query(url, "UPDATE schedcore_jobs_schedule SET due_us = 'odd' WHERE id IN ('4', '5')")
    query(url, "UPDATE schedcore_jobs_schedule SET due_us = -9e18 WHERE id = '14'")
    query(url, "UPDATE schedcore_jobs_schedule SET elapsed = 'odd' WHERE id IN ('16', '17')")
    query(url, "UPDATE schedcore_jobs_schedule SET elapsed = -1 WHERE id = '20'")
    whole = [e.job.id for e in store.list_entries()]
    assert sorted(whole) == sorted(str(number) for number in range(30))
    for size in (1, 2, 7):
        pages: list[str] = []
        last: JobEntry | None = None
        while page := store.list_entries(last, size):
            last = page[-1]
            pages += [e.job.id for e in page]
            assert len(pages) <= 30
        assert pages == whole

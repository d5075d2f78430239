"""What stores promise whose owner is noted in the server: the tests that Redis, etcd, ZooKeeper, MongoDB and RethinkDB share."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

import pytest

from schedcore.clock import Now
from schedcore.engine import Claim, decide
from schedcore.errors import ConflictingIdError, JobStoreError, JobStoreInUseError
from schedcore.events import EVENT_JOB_ERROR
from schedcore.job import JobState
from schedcore.jobstores._keyed_keys import Op, Step, Timed
from schedcore.jobstores.base import JobStore
from schedcore.run import Finish, Run, RunRecord, RunState, Skip, SkipReason, skip_record
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing import EventLog
from tests.jobstores.load import at_rest, scheduler_on, start_paused, work

__all__ = [
    "OTHER",
    "Inside",
    "FencedTests",
    "KeyedInside",
    "KeyedTests",
    "LateTests",
    "OwnedTests",
    "check_emptied",
    "check_left_by_another",
    "check_says_it_again",
    "claimed",
    "due_jobs",
    "now",
    "other_process",
    "run_and_remove_all",
]

#: What another owner notes.
OTHER = json.dumps({"host": "elsewhere", "pid": 1, "since": "today", "token": "x"})

Make = Callable[..., Any]

_CHILD = """
import json, sys, time
from importlib import import_module
from schedcore.schedulers.background import BackgroundScheduler
module, name, arguments = sys.argv[1:]
store = getattr(import_module(module), name)(**json.loads(arguments))
scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
scheduler.start()
scheduler.add_job("builtins:print", "date", run_date="2099-01-01", id="a", replace_existing=True)
print("ready", flush=True)
time.sleep(60)
"""


class Inside(Protocol):
    """What somebody else sees and does in the place of the stores that ``make`` makes."""

    def owner(self) -> str | None: ...

    def put_owner(self, text: str) -> None: ...


class KeyedInside(Inside, Protocol):
    """The same where what is stored has a key for each thing."""

    def drop_owner(self) -> None:
        """As when its lease ends."""

    def keep_owner(self, text: str) -> None:
        """Another owner's name, without what ends it: as in a copy of what was stored."""

    def put_version(self, text: str) -> None:
        """The version of what is stored."""

    def document(self, job_id: str) -> bytes | None: ...

    def put_document(self, job_id: str, value: bytes) -> None: ...

    def count(self, kind: str) -> int:
        """How many keys of a kind there are."""


class PlacesInside(KeyedInside, Protocol):
    """A store under keys."""

    def delete_places(self, job_id: str) -> None:
        """Delete where a job stands in the schedule."""


def now() -> Now:
    now_us = int(time.time() * 1e6)
    return Now(now_us, now_us)


def due_jobs(scheduler: BackgroundScheduler, names: str) -> None:
    """A job of each name, long due."""
    for name in names:
        scheduler.add_job(work, "interval", hours=1, id=name, next_run_time="2026-01-01T00:00:00Z")


def claimed(store: JobStore) -> tuple[BackgroundScheduler, Now, list[Claim]]:
    """A scheduler on a store with two due jobs, when they were claimed, and the claims."""
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    due_jobs(scheduler, "ab")
    at_rest(scheduler)
    at = now()
    return scheduler, at, store.acquire(at, 9)


def check_left_by_another(store: JobStore, at: Now, claims: list[Claim], run: Run) -> None:
    """Of two due jobs that this store claimed, another scheduler had it meanwhile and left ``run``, of one of them."""
    with pytest.raises(JobStoreError, match="another scheduler has used the store meanwhile") as caught:
        store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us)
    assert caught.value.transient
    check_says_it_again(store, at)
    recovered = store.recover([])
    assert recovered.runs == []
    assert [(lost.job_id, lost.fire_us) for lost in recovered.lost] == [(run.job.id, run.fire_us)]
    assert store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us).runs == []
    (claim,) = store.acquire(at, 9)
    assert claim.job.id != run.job.id
    assert len(store.commit([decide(claim, at.wall_us)], at.wall_us).runs) == 1


def check_says_it_again(store: JobStore, at: Now) -> None:
    """That another scheduler has had it may have been told to anybody: who decides what runs is told until he recovers."""
    for _ in range(2):
        with pytest.raises(JobStoreError, match=r"another scheduler has used the \w+ meanwhile") as caught:
            store.acquire(at, 9)
        assert caught.value.transient


def run_and_remove_all(scheduler: BackgroundScheduler) -> None:
    """Jobs of each kind come, run and go."""
    scheduler.start()
    log = EventLog(scheduler)
    scheduler.add_job(work, id="once")
    scheduler.add_job(work, "interval", seconds=0.02, id="often")
    scheduler.add_job(work, "interval", days=400, id="far")
    scheduler.add_job(work, "interval", hours=1, id="paused").pause()
    log.wait_for(lambda log: len(log.executed("often")) > 3 and bool(log.executed("once")))
    scheduler.remove_all_jobs()
    scheduler.shutdown()
    # A run that was on record and had not begun is recovered by who comes next: its job is gone, and so it is lost.
    start_paused(scheduler)
    scheduler.shutdown()


@contextmanager
def other_process(store: type[JobStore], arguments: dict[str, Any]) -> Iterator[None]:
    """While another process has the store, in which it puts a job; it is killed at the end."""
    command = [sys.executable, "-c", _CHILD, store.__module__, store.__name__, json.dumps(arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield
        finally:
            child.kill()
            child.wait()


class OwnedTests:
    """The fixtures ``arguments``, those of a store as JSON has them, and ``make``, which makes one, are of each conftest.py."""

    store: ClassVar[type[JobStore]]
    #: Its alias, which is what its module and its extra are called; and the library that it needs.
    alias: ClassVar[str]
    library: ClassVar[str]
    #: What the driver raises where nobody listens.
    refused: ClassVar[type[Exception]]

    @pytest.fixture
    def inside(self) -> Inside:
        raise NotImplementedError

    def elsewhere(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Arguments that lead to another store on the same server."""
        raise NotImplementedError

    def at_port(self, port: int) -> dict[str, Any]:
        """Arguments that lead to another server."""
        return {"port": port}

    # -- who owns it -----------------------------------------------------------------------------------------------------

    def test_a_second_scheduler_is_refused(self, make: Make) -> None:
        with_it = scheduler_on(make())
        with_it.start()
        with pytest.raises(
            JobStoreInUseError, match=r"in use by another scheduler \(process \d+ on .*, since .*\).*docs/prefork\.md"
        ):
            scheduler_on(make()).start()
        with_it.shutdown()
        after = scheduler_on(make())
        after.start()
        after.shutdown()

    def test_another_place_is_another_store(self, make: Make, arguments: dict[str, Any]) -> None:
        one, other = scheduler_on(make()), scheduler_on(make(**self.elsewhere(arguments)))
        one.start()
        other.start()
        one.add_job(work, "date", run_date="2099-01-01", id="a")
        assert other.get_jobs() == []
        one.shutdown()
        other.shutdown()

    def test_a_scheduler_that_was_killed_lets_go_at_once(self, make: Make, arguments: dict[str, Any]) -> None:
        mine = scheduler_on(make())
        with other_process(self.store, arguments), pytest.raises(JobStoreInUseError):
            mine.start()
        mine.start()
        assert [job.id for job in mine.get_jobs()] == ["a"]
        mine.shutdown()

    def test_who_lost_the_store_to_another_one_writes_no_more(self, make: Make, inside: Inside) -> None:
        self.lose(make(), inside)

    def lose(self, store: JobStore, inside: Inside, then: Callable[[], object] = lambda: None) -> None:
        first = scheduler_on(store)
        first.start()
        first.add_job(work, "date", run_date="2099-01-01", id="a")
        # Its lease ran out while it was paused, and somebody else took it.
        inside.put_owner(OTHER)
        then()
        with pytest.raises(JobStoreInUseError, match="process 1 on elsewhere"):
            first.remove_job("a")
        assert [job.id for job in first.get_jobs()] == ["a"]
        first.shutdown()
        assert inside.owner() == OTHER

    # -- what it is told -------------------------------------------------------------------------------------------------

    def test_by_alias_and_as_text(self, arguments: dict[str, Any]) -> None:
        options = {f"schedcore.jobstores.default.{name}": str(value) for name, value in arguments.items()}
        scheduler = BackgroundScheduler({"schedcore.jobstores.default.type": self.alias, **options}, timezone="UTC")
        for _ in range(2):  # it can be started again
            scheduler.start()
            scheduler.add_job(work, "date", run_date="2099-01-01", id="a", replace_existing=True)
            scheduler.shutdown()

    def test_without_the_library_the_extra_is_named(self) -> None:
        code = (
            f"import sys; sys.modules[{self.library!r}] = None\n"
            "from schedcore.errors import MissingExtraError\n"
            f"try: import {self.store.__module__}\n"
            "except MissingExtraError as error: print(error.extra, '|', error)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150, check=True)
        assert done.stdout.startswith(f"{self.alias} | the job store '{self.alias}' needs")

    def test_errors_are_ours(self, make: Make) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with pytest.raises(JobStoreError, match="failed to open the store") as caught:
                scheduler_on(make(**self.at_port(nobody.getsockname()[1]))).start()
        assert caught.value.transient
        assert isinstance(caught.value.__cause__, self.refused)


class FencedTests(OwnedTests):
    """Those of stores whose every write is compared with what they have read, and with who owns them."""

    @pytest.fixture
    def inside(self) -> KeyedInside:
        raise NotImplementedError

    def test_what_was_claimed_before_somebody_else_had_the_store_does_not_hold(
        self, make: Make, inside: KeyedInside
    ) -> None:
        """Even where the other one made a document anew that looks as old as the one that was claimed."""
        store = make()
        first, at, claims = claimed(store)
        inside.drop_owner()
        other = scheduler_on(make())
        start_paused(other)
        other.remove_all_jobs()
        other.add_job(work, "interval", hours=1, id="a", next_run_time="2026-02-02T00:00:00Z")
        other.shutdown()
        with pytest.raises(JobStoreError, match="another scheduler has used the store meanwhile") as caught:
            store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us)
        assert caught.value.transient
        check_says_it_again(store, at)
        assert store.recover([]) == ([], [])
        assert store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us).runs == []
        (claim,) = store.acquire(at, 9)
        assert claim.fire_us == 1_769_990_400_000_000
        assert [run.job.id for run in store.commit([decide(claim, at.wall_us)], at.wall_us).runs] == ["a"]
        first.shutdown()

    def test_what_another_one_has_left_is_recovered_though_somebody_elses_call_was_told(
        self, make: Make, inside: KeyedInside
    ) -> None:
        """Its runs counted as running, and the job was held back by them for good."""
        scheduler = scheduler_on(make())
        start_paused(scheduler)
        scheduler.add_job(work, "interval", seconds=0.05, id="a", next_run_time="2026-01-01T00:00:00Z")
        at_rest(scheduler)
        inside.drop_owner()
        other, at = make(), now()
        other.start(scheduler, "default")
        (run,) = other.commit([decide(claim, at.wall_us) for claim in other.acquire(at, 9)], at.wall_us).runs
        other.shutdown()
        with pytest.raises(JobStoreError, match="another scheduler has used the store meanwhile"):
            scheduler.add_job(work, "interval", hours=1, id="b")
        log = EventLog(scheduler)
        scheduler.resume()
        log.wait_for(lambda log: len(log.executed("a")) > 3)
        assert [record.attempt for record in scheduler.get_runs("a") if record.fire_us == run.fire_us] == [2, 1]
        scheduler.shutdown()

    def test_a_store_that_another_release_had_meanwhile_is_not_written_any_more(
        self, make: Make, inside: KeyedInside
    ) -> None:
        """Its scheduler was paused for longer than a lease, and the other one is over when it goes on."""
        scheduler, _, _ = claimed(make())
        before = inside.document("a")
        inside.put_version("99")
        inside.drop_owner()
        for _ in range(2):
            with pytest.raises(JobStoreError, match=r"schema version b'99', and this release reads \d"):
                scheduler.remove_job("a")
        assert inside.document("a") == before
        assert inside.owner() is None
        scheduler.shutdown()

    def test_an_owner_whose_name_nothing_ends_is_none(self, make: Make, inside: KeyedInside) -> None:
        """What is copied from one server to another while a scheduler has it is nobody's there."""
        scheduler = scheduler_on(make())
        scheduler.start()
        scheduler.add_job(work, "date", run_date="2099-01-01", id="a")
        scheduler.shutdown()
        inside.keep_owner(OTHER)
        scheduler.start()
        assert [job.id for job in scheduler.get_jobs()] == ["a"]
        scheduler.remove_job("a")
        scheduler.shutdown()

    def test_a_decision_made_from_an_outdated_document_changes_nothing(self, make: Make) -> None:
        store = make()
        scheduler, at, claims = claimed(store)
        changed = threading.Thread(target=scheduler.modify_job, args=("a",), kwargs={"name": "other"})
        changed.start()
        changed.join()
        committed = store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us)
        assert [run.job.id for run in committed.runs] == ["b"]
        assert [decision.claim.job.id for decision in committed.dropped] == ["a"]
        assert scheduler.get_runs("a") == []
        (again,) = store.acquire(at, 10)
        runs = store.commit([decide(again, at.wall_us)], at.wall_us).runs
        assert [run.job.name for run in runs] == ["other"]
        assert [record.state for record in store.runs("a")] == [RunState.SUBMITTED]
        scheduler.shutdown()

    def unknown(self, store: JobStore, inside: KeyedInside, value: bytes) -> BackgroundScheduler:
        """A running scheduler, with a document that nobody of us wrote beside a job whose runs it does not disturb."""
        scheduler = scheduler_on(store)
        scheduler.start()
        scheduler.add_job(work, "interval", hours=1, id="bad")
        scheduler.add_job(work, "interval", seconds=0.05, id="good")
        log = EventLog(scheduler)
        inside.put_document("bad", value)
        log.wait_for(lambda log: len(log.executed("good")) > 2)
        assert {job.id: job for job in scheduler.get_jobs()}["good"].state is JobState.ACTIVE
        assert inside.document("bad") == value
        return scheduler


class LateTests(FencedTests):
    """Of stores that are taken by one call, which may come late: those of ZooKeeper come with their session, or not at all."""

    def held(self, store: JobStore) -> AbstractContextManager[list[Callable[[], object]]]:
        """The next call that takes the store is not answered, and waits on its way."""
        raise NotImplementedError

    def test_a_start_that_comes_late_takes_nothing(self, make: Make, inside: Inside) -> None:
        """Another one was made meanwhile, and is over."""
        store = make()
        scheduler = scheduler_on(store)
        scheduler.start()
        scheduler.shutdown()
        with self.held(store) as late, pytest.raises(JobStoreError, match="failed to open the store"):
            scheduler.start()
        scheduler.start()
        scheduler.shutdown()
        (taking,) = late
        taking()
        assert inside.owner() is None
        for again in (scheduler_on(make()), scheduler):
            again.start()
            again.shutdown()

    def test_a_taking_that_comes_late_is_not_taken_for_the_only_one(self, make: Make, inside: KeyedInside) -> None:
        """This scheduler was cut off for longer than its lease, and another one had the store before that came."""
        store = make()
        first, at, claims = claimed(store)
        inside.drop_owner()
        with self.held(store) as late, pytest.raises(JobStoreError, match="failed to"):
            store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us)
        other = scheduler_on(make())
        start_paused(other)
        other.remove_all_jobs()
        other.add_job(work, "interval", hours=1, id="a", next_run_time="2026-02-02T00:00:00Z")
        other.shutdown()
        (taking,) = late
        taking()
        with pytest.raises(JobStoreError, match="another scheduler has used the store meanwhile"):
            store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us)
        first.shutdown()


class KeyedTests(FencedTests):
    """Those of etcd and ZooKeeper, which have a key for each thing and no index."""

    #: What is called for each request to the server, and what the driver raises where it is gone.
    ask: ClassVar[str]
    gone: ClassVar[Exception]
    #: A batch of jobs, and which part of it is sent last.
    batch: ClassVar[int]
    last_part: ClassVar[int]
    #: Runs of one job that end at once, and how many of them are kept.
    at_once: ClassVar[int]
    kept: ClassVar[int]

    @contextmanager
    def dying_after(self, requests: int) -> Iterator[list[Any]]:
        """A process that dies when it has sent so many requests to change something; all that it was about to send."""
        apply = self.store._apply  # type: ignore[attr-defined]
        sent: list[Any] = []

        def die(*some: Any) -> Any:
            sent.append(some)
            if len(sent) > requests:
                raise self.gone
            return apply(*some)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.store, "_apply", die)
            # What it has not waited for it has not sent either.
            patch.setattr(self.store, "_send", lambda *_: None)
            yield sent

    @pytest.mark.parametrize("value", [b"", b"x", b"\x80\x04K\x01.", b"{}", b'{"v":1}', b"[" * 100_000, b"\xff\xfe"])
    def test_a_document_that_nobody_of_us_wrote(self, make: Make, inside: KeyedInside, value: bytes) -> None:
        scheduler = self.unknown(make(), inside, value)
        assert {job.id: job for job in scheduler.get_jobs()}["bad"].state is JobState.BROKEN
        scheduler.shutdown()

    def test_while_nothing_is_due_nothing_is_asked(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        store = make()
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(work, "cron", hour=7, id="a", next_run_time="2026-01-01T00:00:00Z")
        at_us = 1_767_225_600_000_000
        assert store.next_due() == (at_us, None)
        calls: list[str] = []
        answer = getattr(store, self.ask)

        def ask(*some: Any) -> Any:
            calls.append(str(some))
            return answer(*some)

        monkeypatch.setattr(store, self.ask, ask)
        assert store.acquire(Now(at_us - 1, at_us - 1), 9) == []
        assert store.next_due() == (at_us, None)
        assert calls == []
        # What we do ourselves is known.
        scheduler.add_job(work, "cron", hour=7, id="b", next_run_time="2025-01-01T00:00:00Z")
        calls.clear()
        assert store.next_due().wall_us == at_us - 365 * 86_400_000_000
        assert calls == []
        scheduler.remove_job("b")
        assert store.next_due() == (at_us, None)
        assert calls
        monkeypatch.undo()
        (claim,) = store.acquire(Now(at_us, at_us), 9)
        assert claim.job.id == "a"
        scheduler.shutdown()

    def test_a_damaged_document_that_is_due_is_set_aside(self, make: Make, inside: KeyedInside) -> None:
        store = make()
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(work, "interval", hours=1, id="bad", next_run_time="2026-01-01T00:00:00Z")
        inside.put_document("bad", b"x")
        at = now()
        # What was written last is known, and not asked for again; that it is another one by now is found when it is committed.
        (claim,) = store.acquire(at, 9)
        assert store.commit([decide(claim, at.wall_us)], at.wall_us).runs == []
        (claim,) = store.acquire(at, 9)
        assert "damaged" in str(claim.broken)
        store.commit([decide(claim, at.wall_us)], at.wall_us)
        assert store.acquire(at, 9) == []
        assert store.next_due() == (None, None)
        assert [job.state for job in scheduler.get_jobs()] == [JobState.BROKEN]
        scheduler.remove_job("bad")
        for kind in ("jobs", "wall", "elapsed", "idle", "broken"):
            assert inside.count(kind) == 0, kind
        scheduler.shutdown()

    def test_a_place_that_is_not_that_of_its_job_is_moved(self, make: Make, inside: KeyedInside) -> None:
        """As in a copy that was made while a scheduler wrote: a job without a place would be neither listed nor run."""
        store = make()
        scheduler, at, claims = claimed(store)
        fire_us = claims[0].fire_us
        moved = Op("delete", Timed("elapsed", fire_us, "a")), Op("create", Timed("elapsed", fire_us + 1, "a"))
        store._carry_out([Step(None, 0, None, moved)])
        scheduler.shutdown()
        start_paused(scheduler)
        assert [claim.job.id for claim in store.acquire(at, 9)] == ["b"]
        assert [claim.job.id for claim in store.acquire(at, 9)] == ["a"]
        assert sorted(job.id for job in scheduler.get_jobs()) == ["a", "b"]
        assert inside.count("elapsed") == 2
        scheduler.shutdown()

    def test_a_job_whose_only_place_was_deleted_gets_it_back(
        self, make: Make, inside: PlacesInside, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It would be in no list, and would never run."""
        scheduler = scheduler_on(make())
        start_paused(scheduler)
        for number in range(14):
            scheduler.add_job(work, "interval", hours=1, id=f"interval_{number:02}")
            scheduler.add_job(work, "cron", hour=number, id=f"cron_{number:02}")
        scheduler.add_job(work, "interval", hours=1, id="idle").pause()
        scheduler.add_job(work, "interval", hours=1, id="untouched")
        before = [(job.id, job.state, job.next_run_time) for job in scheduler.get_jobs()]
        assert len(before) == 30
        scheduler.shutdown()
        lost = random.Random(4).sample([job_id for job_id, *_ in before if job_id not in ("idle", "untouched")], 15)
        for job_id in (*lost, "idle"):
            inside.delete_places(job_id)
        # Who only looks writes nothing.
        reader = make(read_only=True)
        reader.start(scheduler, "default")
        assert not {entry.job.id for entry in reader.list_entries()} & {*lost, "idle"}
        reader.shutdown()
        assert not caplog.messages
        again = scheduler_on(make())
        start_paused(again)
        assert [(job.id, job.state, job.next_run_time) for job in again.get_jobs()] == before
        for job_id in lost:
            again.modify_job(job_id, next_run_time="2026-01-01T00:00:00Z", misfire_grace_time=None)
        log = EventLog(again)
        again.resume()
        log.wait_for(lambda log: all(log.executed(job_id) for job_id in lost))
        again.shutdown()
        (message,) = caplog.messages
        assert message.startswith("jobs were put back into the places that somebody else had deleted: ")
        assert message.endswith(" and 6 more")
        caplog.clear()
        last = scheduler_on(make())
        start_paused(last)
        last.shutdown()
        assert not caplog.messages

    def test_what_has_ended_while_it_ran_needs_no_place(
        self, make: Make, inside: KeyedInside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A start does not look at the names of all jobs for it, nor when nothing is missing."""
        store = make()
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        for name in ("a", "b"):
            scheduler.add_job(work, "interval", hours=1, id=name, next_run_time="2026-01-01T00:00:00Z")
        now_us = int(time.time() * 1e6)
        claims = store.acquire(Now(now_us, now_us), 10)
        store.started([(run, now_us) for run in store.commit([decide(claim, now_us) for claim in claims], now_us).runs])
        scheduler.remove_job("a")
        scheduler.shutdown()
        again = make()
        looked: list[str] = []
        names = again._names

        def seen(kind: Any, after: str = "", limit: int | None = None) -> list[str]:
            looked.append(kind)
            found: list[str] = names(kind, after, limit)
            return found

        monkeypatch.setattr(again, "_names", seen)
        assert inside.count("jobs") == 2
        scheduler = scheduler_on(again)
        start_paused(scheduler)
        assert "live" in looked
        assert "jobs" not in looked
        assert [job.id for job in scheduler.get_jobs()] == ["b"]
        scheduler.shutdown()

    def test_nothing_is_left_of_jobs_that_are_gone(self, make: Make, inside: KeyedInside) -> None:
        run_and_remove_all(scheduler_on(make(history=3)))
        for kind in ("jobs", "payloads", "wall", "elapsed", "idle", "live", "broken", "adding"):
            assert inside.count(kind) == 0, kind
        assert inside.count("runs") == 2
        assert inside.count("history") == 4

    def test_histories_are_cut(self, make: Make, inside: KeyedInside) -> None:
        store = make(history=5, history_age=3600.0)
        scheduler = scheduler_on(store)
        scheduler.start()
        log = EventLog(scheduler)
        scheduler.add_job(work, "interval", seconds=0.02, id="a")
        scheduler.add_job("builtins:int", "interval", ["x"], seconds=0.02, id="fails")
        log.wait_for(lambda log: len(log.executed("a")) > 12 and len(log.of(EVENT_JOB_ERROR, "fails")) > 5)
        scheduler.shutdown()
        after = make()
        scheduler = scheduler_on(after)
        start_paused(scheduler)
        # A run that the shutdown took back is live, and no part of the history.
        for job_id in ("a", "fails"):
            assert sum(run.finished_us is not None for run in scheduler.get_runs(job_id)) == 5
        # On a busy machine some of them are records of what was late, and made up for by one run.
        failed = len(scheduler.get_runs("fails", failed=True))
        assert [inside.count(kind) for kind in ("history", "failed", "runs")] == [10, failed, 2]
        old = int((time.time() + 7200) * 1e6)
        assert [after._delete_records(old, 7) for _ in range(3)] == [7, 3, 0]
        assert [inside.count(kind) for kind in ("history", "failed", "runs")] == [0, 0, 0]
        scheduler.shutdown()

    @pytest.mark.parametrize("large", [False, True])
    def test_a_batch_that_was_half_added_is_undone(
        self, make: Make, inside: KeyedInside, large: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = make()
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(work, "interval", hours=1, id="before", name="x" * 600 if large else "work")
        entry = store.get_entry("before")
        assert entry is not None
        entries = [entry._replace(job=entry.job._replace(id=f"job{number}")) for number in range(self.batch)]
        apply, sent = store._apply, []

        def fail_late(steps: list[Step], *more: Any) -> Any:
            sent.append(steps)
            if len(sent) == self.last_part:
                raise self.gone
            return apply(steps, *more)

        monkeypatch.setattr(store, "_apply", fail_late)
        with pytest.raises(JobStoreError, match="failed to add jobs"):
            store.add_entries(entries)
        assert inside.count("jobs") > 1
        monkeypatch.undo()
        assert [found.job.id for found in store.list_entries()] == ["before"]
        assert (inside.count("jobs"), inside.count("payloads")) == (1, large)
        # The process dies in the middle of it: who opens the store next undoes it.
        sent.clear()
        monkeypatch.setattr(store, "_apply", fail_late)
        with pytest.raises(JobStoreError):
            store.add_entries(entries)
        monkeypatch.undo()
        scheduler.shutdown()
        again = make()
        other = scheduler_on(again)
        start_paused(other)
        assert [job.id for job in other.get_jobs()] == ["before"]
        again.add_entries(entries)
        kinds = ("jobs", "payloads", "adding")
        assert [inside.count(kind) for kind in kinds] == [self.batch + 1, large and self.batch + 1, 0]
        with pytest.raises(ConflictingIdError):
            again.add_entries([entry._replace(job=entry.job._replace(id=name)) for name in ("new", "job7")])
        other.shutdown()

    def test_to_add_a_large_batch_nothing_is_read(
        self, make: Make, inside: KeyedInside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where it was noted is known, too."""
        store = make()
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(work, "interval", hours=1, id="before")
        entry = store.get_entry("before")
        assert entry is not None
        read: list[str] = []
        with monkeypatch.context() as watched:
            for name in ("_texts", "_values", "_names", "_earliest", "_latest"):
                watched.setattr(store, name, lambda *_, name=name: read.append(name))
            store.add_entries([entry._replace(job=entry.job._replace(id=f"job{i}")) for i in range(self.batch)])
        assert read == []
        assert (inside.count("jobs"), inside.count("adding")) == (self.batch + 1, 0)
        scheduler.shutdown()

    def test_a_job_is_added_with_more_records_than_one_request_holds(
        self, make: Make, inside: KeyedInside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whichever request its process dies before: nothing is left, also of the records that are written ahead of it."""
        monkeypatch.setattr(self.store, "_max_ops", 60)
        start_us = 1_767_225_600_000_000

        def skipped(count: int) -> list[RunRecord]:
            skips = [Skip(SkipReason.EXCLUDED, start_us + number, start_us + number, 1) for number in range(count)]
            return [skip_record("a", skip, start_us) for skip in skips]

        def kinds() -> dict[str, int]:
            return {kind: inside.count(kind) for kind in ("jobs", "payloads", "idle", "history", "runs", "adding")}

        store = make(history=200, history_age=None)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(work, "interval", hours=1, id="a", name="x" * 600, next_run_time=None)
        entry = store.get_entry("a")
        assert entry is not None
        scheduler.remove_job("a")
        # One that has the same id was there before, and its record stays.
        store.add_entries([entry], skipped(1))
        scheduler.remove_job("a")
        before = kinds()
        assert (before["history"], before["runs"], before["jobs"]) == (1, 1, 0)
        limit = 0
        written: set[int] = set()
        while True:
            failure: JobStoreError | None = None
            with self.dying_after(limit):
                try:
                    store.add_entries([entry], skipped(150))
                except JobStoreError as error:
                    failure = error
                if failure is None:
                    break
                assert failure.__cause__ is self.gone
                written.add(inside.count("history"))
                scheduler.shutdown()
            store = make(history=200, history_age=None)
            scheduler = scheduler_on(store)
            start_paused(scheduler)
            assert kinds() == before, (limit, kinds())
            assert [record.times for record in store.runs()] == [record.times for record in store.runs("a")] == [1]
            limit += 1
        # It did die between the records.
        assert written >= {1, 61, 121}
        assert len(store.runs("a", limit=999)) == len(store.runs(limit=999)) == 151
        assert kinds() == {"jobs": 1, "payloads": 1, "idle": 1, "history": 151, "runs": 1, "adding": 0}
        scheduler.shutdown()

    def test_records_of_runs_that_did_not_come_to_an_end_are_deleted(
        self, make: Make, inside: KeyedInside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are written ahead of their job where there are many. When its process dies then, other runs may come into the
        history of the job, and nothing would lead to these any more.
        """
        monkeypatch.setattr(self.store, "_max_ops", 60)
        store = make(history=60)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(
            work, "interval", seconds=1, start_date="2026-01-01T00:00:00Z", id="a", coalesce=False, max_instances=99,
            next_run_time="2026-01-01T00:00:00Z",
        )  # fmt: skip
        now_us = 1_767_225_600_000_000 + 98 * 1_000_000
        (claim,) = store.acquire(Now(now_us, now_us), 1)
        runs = store.commit([decide(claim, now_us)], now_us).runs
        assert len(runs) == 99
        apply = store._apply
        sent = 0

        def die(*some: Any) -> Any:
            nonlocal sent
            sent += 1
            if sent > 2:
                raise self.gone
            return apply(*some)

        with monkeypatch.context() as dying:
            dying.setattr(store, "_apply", die)
            dying.setattr(store, "_send", lambda *_: None)
            with pytest.raises(JobStoreError):
                store.finish([Finish(run, RunState.FAILED, now_us, now_us) for run in runs[:70]])
            assert inside.count("failed") > 55
            scheduler.shutdown()
        store = make(history=60)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        assert [inside.count(kind) for kind in ("history", "failed")] == [60, 60]
        listed = store.runs(failed=True, limit=999)
        assert [record.fire_us for record in listed] == [run.fire_us for run in reversed(runs[-60:])]
        scheduler.shutdown()

    def test_what_is_skipped_when_a_large_job_is_changed_is_on_record_if_it_is_changed(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whichever request its process dies before."""
        monkeypatch.setattr(self.store, "_max_bytes", 5_000)
        store = make(history_age=None)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job("builtins:len", "interval", ["x" * 10_000], hours=1, id="a", next_run_time=None)
        skip = skip_record("a", Skip(SkipReason.EXCLUDED, 1_767_225_600_000_000, 1_767_225_600_000_000, 1), 0)
        limit = 0
        while True:
            entry = store.get_entry("a")
            assert entry is not None
            changed = entry._replace(job=entry.job._replace(args=("y" * 20_000,)))
            with self.dying_after(limit) as sent:
                with suppress(JobStoreError):
                    store.replace_entry(entry, changed, [skip])
                if len(sent) <= limit:
                    break
                scheduler.shutdown()
            store = make(history_age=None)
            scheduler = scheduler_on(store)
            start_paused(scheduler)
            assert store.runs() == store.runs("a") == []
            limit += 1
        assert limit > 0
        assert store.runs() == store.runs("a") == [skip]
        scheduler.shutdown()

    def test_a_large_batch_meets_ids_that_are_taken(self, make: Make, inside: KeyedInside) -> None:
        """Nobody asks beforehand whether they are: what was written of it is undone."""
        store = make()
        scheduler, at, claims = claimed(store)
        (run, _) = store.commit([decide(claim, at.wall_us) for claim in claims], at.wall_us).runs
        scheduler.remove_job("a")
        entry = store.get_entry("b")
        assert entry is not None
        before = {kind: inside.count(kind) for kind in ("jobs", "payloads", "wall", "elapsed", "live", "runs")}
        assert before["jobs"] == 2  # the run of the removed one is still on its way
        entries = [entry._replace(job=entry.job._replace(id=f"job{number}")) for number in range(self.batch)]
        with pytest.raises(ConflictingIdError, match="b"):
            store.add_entries([*entries, entry])
        assert [found.job.id for found in store.list_entries()] == ["b"]
        assert {kind: inside.count(kind) for kind in before} == before
        assert inside.count("adding") == 0
        # One that was removed while it ran is not in the way, and its run ends as that of the job that it was.
        store.add_entries([*entries, entry._replace(job=entry.job._replace(id="a"))])
        assert (inside.count("jobs"), inside.count("adding")) == (self.batch + 2, 0)
        store.finish([Finish(run, RunState.SUCCEEDED, at.wall_us, at.wall_us)])
        assert [record.state for record in store.runs("a")] == [RunState.SUCCEEDED]
        scheduler.shutdown()

    @pytest.mark.parametrize("large", [False, True])
    def test_a_definition_is_kept_as_long_as_a_run_of_it_may_be_made_again(
        self, make: Make, inside: KeyedInside, large: bool
    ) -> None:
        """In the document, or under a key of its own where it is large, from which it comes into the document and goes again."""
        name = "x" * 600 if large else "work"
        store = make()
        scheduler, at, claims = claimed(store)
        for claim in claims:
            scheduler.modify_job(claim.job.id, name=name)
        assert inside.count("payloads") == (len(claims) if large else 0)
        for claim in claims:
            scheduler.pause_job(claim.job.id)
            scheduler.resume_job(claim.job.id)
            scheduler.reschedule_job(
                claim.job.id, trigger="date", run_date=datetime.fromtimestamp(at.wall_us / 1e6, UTC)
            )
        assert inside.count("payloads") == (len(claims) if large else 0)
        at = now()
        decisions = [decide(claim, at.wall_us) for claim in store.acquire(at, 9)]
        assert [decision.next_us for decision in decisions] == [None] * len(claims)
        assert len(store.commit(decisions, at.wall_us).runs) == len(claims)
        assert (inside.count("jobs"), inside.count("payloads")) == (len(claims), len(claims) if large else 0)
        scheduler.shutdown()
        # Its process is gone: they had not begun, and are made again.
        scheduler = scheduler_on(make())
        log = EventLog(scheduler)
        scheduler.start()
        log.wait_for(lambda log: all(log.executed(claim.job.id) for claim in claims))
        scheduler.shutdown()
        assert [inside.count(kind) for kind in ("jobs", "payloads", "live")] == [0, 0, 0]

    def test_a_definition_that_somebody_made_longer_is_moved_and_not_lost(
        self, make: Make, inside: KeyedInside
    ) -> None:
        store = make()
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(work, "interval", hours=1, id="a", name="short", next_run_time="2026-01-01T00:00:00Z")
        scheduler.shutdown()
        text = inside.document("a")
        assert text is not None
        inside.put_document("a", text.replace(b"short", b"x" * 600))
        store = make()
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        at = now()
        (claim,) = store.acquire(at, 9)
        assert claim.job.name == "x" * 600
        (run,) = store.commit([decide(claim, at.wall_us)], at.wall_us).runs
        assert inside.count("payloads") == 1
        store.finish([Finish(run, RunState.SUCCEEDED, at.wall_us, at.wall_us)])
        scheduler.shutdown()
        scheduler = scheduler_on(make())
        start_paused(scheduler)
        assert [job.name for job in scheduler.get_jobs()] == ["x" * 600]
        scheduler.modify_job("a", name="short")
        assert inside.count("payloads") == 0
        scheduler.shutdown()

    def test_many_runs_of_one_job_end_at_once(self, make: Make, inside: KeyedInside) -> None:
        store = make(history=self.kept)
        scheduler = scheduler_on(store)
        start_paused(scheduler)
        scheduler.add_job(
            work, "interval", seconds=1, start_date="2026-01-01T00:00:00Z", id="a", coalesce=False, max_instances=2000,
            max_catchup=self.at_once, next_run_time="2026-01-01T00:00:00Z",
        )  # fmt: skip
        now_us = 1_767_225_600_000_000 + (self.at_once - 1) * 1_000_000
        (claim,) = store.acquire(Now(now_us, now_us), 1)
        runs = store.commit([decide(claim, now_us)], now_us).runs
        assert len(runs) == self.at_once
        store.finish([Finish(run, RunState.FAILED, now_us, now_us) for run in runs])
        found = [record.fire_us for record in store.runs("a", limit=9999)]
        assert found == [run.fire_us for run in reversed(runs[-self.kept :])]
        assert [inside.count(kind) for kind in ("history", "failed", "live")] == [self.kept, self.kept, 0]
        scheduler.shutdown()


def check_emptied(make: Make, empty: Callable[[Any], object]) -> None:
    """A store that somebody empties while it is open says so once, goes on, and can be opened again."""
    store = make()
    scheduler = scheduler_on(store)
    start_paused(scheduler)
    scheduler.add_job(work, "date", run_date="2099-01-01", id="before")
    empty(store)
    with pytest.raises(JobStoreError, match="look again") as caught:
        scheduler.add_job(work, "date", run_date="2099-01-01", id="after")
    assert caught.value.transient
    scheduler.add_job(work, "date", run_date="2099-01-01", id="after")
    scheduler.shutdown()
    scheduler = scheduler_on(make())
    start_paused(scheduler)
    assert [job.id for job in scheduler.get_jobs()] == ["after"]
    scheduler.shutdown()

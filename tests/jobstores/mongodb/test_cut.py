"""Each command that a MongoDB is sent, lost on its way or unanswered, made late, or the last one of a process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pymongo
import pytest
from pymongo.collection import Collection

from schedcore.errors import ConflictingIdError, JobLookupError, JobStoreError
from schedcore.job import JobEntry
from schedcore.jobstores.base import JobStore
from schedcore.jobstores.mongodb import MongoDBJobStore
from schedcore.run import Run, RunState
from schedcore.testing._store_bench import (
    MINUTE,
    T0,
    Bench,
    decisions_on,
    entry_of,
    finish_of,
    make_entry,
    now_at,
    run_due,
)
from schedcore.triggers.date import DateTrigger
from tests.jobstores.decided import check_decided_again
from tests.services import MongoDB

Client = pymongo.MongoClient[dict[str, Any]]

WRITES = ("insert_one", "insert_many", "bulk_write", "update_one", "update_many", "delete_one", "delete_many")
COMMANDS = (*WRITES, "find", "aggregate")


ONCE = DateTrigger("2026-01-01T00:00:00+00:00")


class Line:
    """The way to the server. The command of a number is cut; ``late``: made when so many others were."""

    def __init__(self, patch: pytest.MonkeyPatch, number: float, *, made: bool, late: int | None = None) -> None:
        self.left = number
        self.is_cut = False
        self._made = made
        self._late = late
        self._waiting: list[Callable[[], object]] = []
        for name in COMMANDS:
            patch.setattr(Collection, name, self._watched(name, getattr(Collection, name)))

    def _watched(self, name: str, command: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return command(*args, **options)  # the renewal of a lease, which comes when it likes
            self.left -= 1
            if self.left == -1:
                self.is_cut = True
                if self._late is not None:
                    if name in WRITES:
                        self._waiting.append(lambda: command(*args, **options))
                elif self._made:
                    command(*args, **options)
                raise pymongo.errors.AutoReconnect("cut")
            result = command(*args, **options)
            if self._late is not None and self.left == -1 - self._late:
                self.arrive()
            return result

        return call

    def arrive(self) -> None:
        while self._waiting:
            try:
                self._waiting.pop()()
            except pymongo.errors.BulkWriteError:
                pass  # nobody hears of it
            except pymongo.errors.DuplicateKeyError:
                pass


class Life:
    """What a scheduler does with a store: it tries again what failed, after it has recovered what it does not know."""

    def __init__(self, bench: Bench, *, dies: bool) -> None:
        self._bench = bench
        self._dies = dies
        self.store: JobStore = bench.open()
        self.executed: Counter[tuple[str, int]] = Counter()
        self.hand: list[Run] = []

    def do(self, step: Callable[[], object]) -> None:
        for _ in range(4):
            try:
                step()
            except JobStoreError as error:
                if not error.transient:
                    raise
                if self._dies:
                    self.hand.clear()
                    self.store = self._bench.open()
                self.execute(self.store.recover(self.hand).runs)
            else:
                return
        raise AssertionError("it fails for ever")

    def execute(self, runs: list[Run]) -> None:
        self.executed.update((run.job.id, run.fire_us) for run in runs)
        self.hand += runs

    def add(self, *ids: str, fire_us: int = T0) -> None:
        for job_id in ids:
            entry = make_entry(job_id, fire_us, max_instances=9, trigger=ONCE if job_id == "once" else None)
            try:
                self.do(partial(self._add, entry))
            except ConflictingIdError:
                pass  # the one that was not answered

    def _add(self, entry: JobEntry) -> None:
        self.store.add_entries([entry])

    def tick(self, at_us: int) -> None:
        def run() -> None:
            claims = self.store.acquire(now_at(at_us), 9)
            self.execute(self.store.commit(decisions_on(claims, at_us), at_us).runs)

        self.do(run)
        self.do(lambda: self.store.started([(run, run.fire_us + 1000) for run in self.hand]))
        self.do(lambda: self.store.finish([finish_of(run) for run in self.hand]))
        self.hand.clear()

    def remove(self, job_id: str) -> None:
        try:
            self.do(lambda: self.store.remove_job(job_id))
        except JobLookupError:
            pass

    def pause(self, job_id: str) -> None:
        def pause() -> None:
            entry = entry_of(self.store, job_id)
            paused = make_entry(job_id, None, max_instances=9)
            assert self.store.replace_entry(entry, paused._replace(job=entry.job)) or not self.store.next_due()

        self.do(pause)

    def live(self) -> None:
        self.add("grid", "once", "gone")
        self.tick(T0)
        self.pause("gone")
        self.remove("gone")
        self.add("gone", fire_us=T0 + MINUTE)
        self.do(lambda: self.store.next_due())
        self.tick(T0 + MINUTE)


def live(
    mongodb: MongoDB, client: Client, number: int, *, dies: bool = False, made: bool = False, late: int | None = None
) -> bool:
    """Whether there was a command of that number."""
    place = mongodb.fresh()
    bench = Bench(lambda folder: MongoDBJobStore(place.name, client=client), "")
    try:
        life = Life(bench, dies=dies)
        life.store.recover([])
        with pytest.MonkeyPatch.context() as patch:
            line = Line(patch, number, made=made, late=late)
            life.live()
            line.arrive()
        wanted = {("grid", T0), ("grid", T0 + MINUTE), ("once", T0), ("gone", T0), ("gone", T0 + MINUTE)}
        assert set(life.executed) == wanted, f"{number}: {life.executed}"
        runs = life.store.runs()
        for (job_id, fire_us), times in life.executed.items():
            records = [run for run in runs if (run.job_id, run.fire_us) == (job_id, fire_us)]
            assert [run.state for run in records].count(RunState.SUCCEEDED) == 1, f"{number}: {records}"
            # What may have begun in a process that died is made once more.
            assert times <= len(records) <= (2 if dies else 1), f"{number}: {job_id} at {fire_us}: {times}, {records}"
        assert not [run for run in runs if run.finished_us is None], f"{number}: {runs}"
        assert life.store.get_entry("once") is None
        assert {entry.job.id: entry.fire_us for entry in life.store.list_entries()} == {
            "grid": T0 + 2 * MINUTE,
            "gone": T0 + 2 * MINUTE,
        }
        return line.is_cut
    finally:
        bench.close()


WAYS: dict[str, dict[str, Any]] = {
    "not made": {},
    "not answered": {"made": True},
    **{f"made after {late} more": {"late": late} for late in (1, 2, 3)},
    "died before": {"dies": True},
    "died after": {"dies": True, "made": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_command_is_cut(mongodb: MongoDB, client: Client, way: str) -> None:
    number = 0
    while live(mongodb, client, number, **WAYS[way]):
        number += 1
    assert number > 20


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_decided_is_decided_otherwise(mongodb: MongoDB, client: Client, way: str, ends: bool) -> None:
    options = {"made": False, **WAYS[way]}
    dies = options.pop("dies", False)
    number = 0
    while _decided_again(mongodb, client, number, dies=dies, ends=ends, **options):
        number += 1
    assert number > 20


def _decided_again(mongodb: MongoDB, client: Client, number: int, *, dies: bool, ends: bool, **options: Any) -> bool:
    place = mongodb.fresh()
    bench = Bench(lambda folder: MongoDBJobStore(place.name, client=client), "")

    @contextmanager
    def cut(number: float) -> Iterator[Line]:
        with pytest.MonkeyPatch.context() as patch:
            line = Line(patch, number, **options)
            yield line
            line.arrive()

    try:
        return check_decided_again(bench, cut, number, dies=dies, ends=ends)
    except AssertionError as error:
        error.add_note(f"the command {number} was cut")
        raise
    finally:
        bench.close()


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("of", ["0", "700", "1199"])
def test_jobs_added_together_are_taken_back_if_one_command_is_cut(
    mongodb: MongoDB, client: Client, of: str, made: bool
) -> None:
    """They take several commands. One of them takes an id anew of which a run is live."""
    place = mongodb.fresh()
    bench = Bench(lambda folder: MongoDBJobStore(place.name, client=client), "")
    try:
        store = bench.open()
        store.recover([])
        store.add_entries([make_entry("0", T0)])
        (run,) = run_due(store, T0)
        store.remove_job("0")
        entries = [make_entry(str(number), T0) for number in range(1200)]
        bulk_write, insert_many = Collection.bulk_write, Collection.insert_many

        def changing(*args: Any, **options: Any) -> Any:
            """The command with the id that is taken anew."""
            return cut(of == "0", bulk_write, *args, **options)

        def inserting(*args: Any, **options: Any) -> Any:
            return cut(any(row["_id"] == of for row in args[1]), insert_many, *args, **options)

        def cut(this: bool, command: Callable[..., Any], *args: Any, **options: Any) -> Any:
            answer = command(*args, **options) if made or not this else None
            if this:
                raise pymongo.errors.AutoReconnect("cut")
            return answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Collection, "bulk_write", changing)
            patch.setattr(Collection, "insert_many", inserting)
            with pytest.raises(JobStoreError, match="cut"):
                store.add_entries(entries)
        assert store.list_entries() == []
        store.add_entries(entries)
        assert {entry.job.id for entry in store.list_entries()} == {str(number) for number in range(1200)}
        store.finish([finish_of(run)])
        assert [(record.job_id, record.state) for record in store.runs()] == [("0", RunState.SUCCEEDED)]
    finally:
        bench.close()


@pytest.mark.parametrize("made", [False, True])
def test_jobs_refused_together_are_taken_back_whichever_command_is_cut(
    mongodb: MongoDB, client: Client, made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has one of their ids who was not there yet when they were looked for. Of another one a run is live."""
    place = mongodb.fresh()
    bench = Bench(lambda folder: MongoDBJobStore(place.name, client=client), "")
    try:
        store = bench.open()
        assert isinstance(store, MongoDBJobStore)
        store.recover([])
        store.add_entries([make_entry("anew", T0)])
        (run,) = run_due(store, T0)
        store.remove_job("anew")
        store.add_entries([make_entry("taken", T0 + MINUTE)])
        fetch = store._fetch
        monkeypatch.setattr(
            store, "_fetch", lambda ids: {name: doc for name, doc in fetch(ids).items() if name != "taken"}
        )
        line: Line | None = None
        number = 0
        while line is None or line.is_cut:
            with pytest.MonkeyPatch.context() as patch:
                line = Line(patch, number, made=made)
                with pytest.raises((JobStoreError, ConflictingIdError)):
                    store.add_entries([make_entry(name, T0) for name in ("new", "anew", "taken", "newer")])
            assert [entry.job.id for entry in store.list_entries()] == ["taken"], f"the command {number} was cut"
            number += 1
        assert number > 5
        store.finish([finish_of(run)])
        assert [(record.job_id, record.state) for record in store.runs()] == [("anew", RunState.SUCCEEDED)]
    finally:
        bench.close()

"""The suite of job stores itself: each way in which one is broken here is found, by the behaviour that it breaks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import pytest

from schedcore.clock import Now
from schedcore.engine import Claim, Decision
from schedcore.job import Job, JobEntry
from schedcore.jobstores.base import BaseJobStore, Committed, Due, JobStore, Recovered, StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.jobstores.simple import SimpleStore
from schedcore.run import Finish, Run, RunRecord
from schedcore.testing.store_suite import check_store, store_behaviours
from tests.conformance.dict_store import DictStore

# --- of the 3.x kind ----------------------------------------------------------------------------------------------------


class Overwrites(DictStore):
    def add_job(self, job: Job) -> None:
        self._jobs[job.id] = job


class Never(DictStore):
    def get_due_jobs(self, now: datetime) -> list[Job]:
        return []


class NoNext(DictStore):
    def get_next_run_time(self) -> datetime | None:
        return None


class Keeps(DictStore):
    def update_job(self, job: Job) -> None:
        pass


class RemovesWhatIsNotThere(DictStore):
    def remove_job(self, job_id: str) -> None:
        self._jobs.pop(job_id, None)


class Raises(DictStore):
    def lookup_job(self, job_id: str) -> Job | None:
        return self._jobs[job_id]


class ClosesOnce(DictStore):
    _closed = False

    def shutdown(self) -> None:
        assert not self._closed, "it was closed already"
        self._closed = True


# --- of ours -------------------------------------------------------------------------------------------------------------


class Doubles(MemoryJobStore):
    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        made = super().commit(decisions, now_us)
        return made._replace(runs=made.runs * 2)


class CommitsTwice(MemoryJobStore):
    """Whatever the fence says."""

    def commit(self, decisions: Sequence[Decision], now_us: int) -> Committed:
        made = super().commit(decisions, now_us)
        return made._replace(dropped=[])


class NoLimit(MemoryJobStore):
    def acquire(self, now: Now, limit: int) -> list[Claim]:
        return super().acquire(now, 2 * limit)


class Deaf(MemoryJobStore):
    def finish(self, finishes: Sequence[Finish]) -> None:
        pass


class OnePage(MemoryJobStore):
    def list_entries(self, after: JobEntry | None = None, limit: int | None = None) -> list[JobEntry]:
        return super().list_entries(None, limit)


class Replaces(MemoryJobStore):
    """Whatever has changed since."""

    def replace_entry(self, old: JobEntry, new: JobEntry, skipped: Sequence[RunRecord] = ()) -> bool:
        return super().replace_entry(self.get_entry(old.job.id) or old, new, skipped)


class OneByOne(MemoryJobStore):
    def add_entries(self, entries: Sequence[JobEntry], skipped: Sequence[RunRecord] = ()) -> None:
        for entry in entries:
            super().add_entries([entry], [record for record in skipped if record.job_id == entry.job.id])


class Oldest(MemoryJobStore):
    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        return super().runs(job_id, failed=failed, limit=limit)[::-1]


class Seconds(MemoryJobStore):
    def next_due(self) -> Due:
        return Due(*(None if due is None else due - due % 1_000_000 for due in super().next_due()))


class KeepsAll(MemoryJobStore):
    def remove_all_jobs(self) -> None:
        pass


BROKEN: list[tuple[type[BaseJobStore], str]] = [
    (Overwrites, "keeps records of fire times with the new jobs that they pass by"),
    (Overwrites, "refuses an id that is taken, and then all of the batch"),
    (Never, "claims what is due, earliest first, up to a limit"),
    (Never, "keeps arguments of a megabyte: there is not one run, with them"),
    (NoNext, "claims what is due, earliest first, up to a limit"),
    (Keeps, "replaces a job only if nothing has changed since it was read"),
    (RemovesWhatIsNotThere, "knows no job that was never added: it should raise JobLookupError"),
    (Raises, "knows no job that was never added"),
    (ClosesOnce, "keeps a job and gives it back: it was closed already"),
    (Doubles, "commits runs and next fire times: it submits"),
    (NoLimit, "claims what is due, earliest first, up to a limit"),
    (CommitsTwice, "commits a decision once"),
    (Deaf, "counts the live runs of a job"),
    (OnePage, "lists jobs by next dispatch, those without one last, then by id, and in pages: pages of 1 give"),
    (Replaces, "replaces a job only if nothing has changed since it was read"),
    (OneByOne, "refuses an id that is taken, and then all of the batch"),
    (Oldest, "lists runs latest first, of one job, of those that failed, and up to a limit"),
    (Seconds, "claims what is due, earliest first, up to a limit"),
    (KeepsAll, "removes one job, or all: some are left"),
]


def traits_of(kind: type[BaseJobStore]) -> StoreTraits:
    return kind.traits if issubclass(kind, JobStore) else SimpleStore.traits


@pytest.mark.parametrize(("broken", "found"), BROKEN)
def test_a_broken_store_is_found(broken: type[BaseJobStore], found: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # as it is broken, so it fails; what counts is where
        check_store(lambda folder: broken(), traits_of(broken), only=found.partition(": ")[0])
    assert f"a job store {found}" in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


def test_a_store_of_the_3_x_kind_is_held_to_what_a_scheduler_makes_of_it() -> None:
    wanted = [name for name, left_out in store_behaviours(SimpleStore.traits) if left_out is None]
    quick = [name for name in wanted if "ten thousand" not in name]
    assert [check_store(lambda folder: DictStore(), SimpleStore.traits, only=name) for name in quick] == [
        [n] for n in quick
    ]


@pytest.mark.parametrize("made", [None, object(), DictStore])
def test_what_is_no_store(made: object) -> None:
    make: Any = lambda folder: made  # noqa: E731
    with pytest.raises(
        AssertionError, match=r"keeps a job and gives it back: make\(\) gives .*, which is no job store"
    ):
        check_store(make, SimpleStore.traits)


# --- of a durable one ------------------------------------------------------------------------------------------------------


def durable() -> tuple[type[JobStore], Callable[[type[JobStore]], Callable[[str], JobStore]]]:
    pytest.importorskip("sqlalchemy", reason="needs sqlalchemy, which the extra 'sqlalchemy' brings")
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    def makes(kind: Any) -> Callable[[str], JobStore]:
        return lambda folder: kind(f"sqlite:///{folder}/jobs.sqlite")

    return SQLAlchemyJobStore, makes


def forgetful(base: Any) -> dict[str, Any]:
    """Methods that do nothing, by the behaviour that finds each."""

    def no_note(self: Any, name: str, value: str) -> None: ...

    def none_found(self: Any, known: Collection[Run]) -> Recovered:
        base.recover(self, known)
        return Recovered([], [])

    def nothing(self: Any, runs: Any) -> None: ...

    return {
        "keeps notes beyond its end": {"put_note": no_note},
        "runs an interrupted run again, once, or closes it as lost, as the job says": {"recover": none_found},
        "submits again, as they are, runs that were withdrawn before they began": {"withdraw": nothing},
        "keeps what ran beyond its end": {"finish": nothing},
    }


@pytest.mark.parametrize("behaviour", list(forgetful(JobStore)))
def test_a_broken_durable_store_is_found(behaviour: str) -> None:
    base, makes = durable()
    broken: Any = type("Broken", (base,), forgetful(base)[behaviour])
    with pytest.raises(AssertionError, match=f"a job store {behaviour}"):
        check_store(makes(broken), StoreTraits(blocking=True, durable=True), only=behaviour)
    assert check_store(makes(base), StoreTraits(blocking=True, durable=True), only=behaviour) == [behaviour]


def test_nothing_is_checked_where_assertions_are_left_out() -> None:
    """The suites would find nothing wrong with anything."""
    code = (
        "from schedcore.jobstores.memory import MemoryJobStore as M\n"
        "from schedcore.testing import check_store\n"
        "check_store(lambda folder: M(), M.traits)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-O", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (
        "RuntimeError: a job store cannot be checked by this interpreter: it leaves out assertions (python -O)"
        in done.stderr
    )

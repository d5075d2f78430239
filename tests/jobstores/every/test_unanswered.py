"""Calls that a server has carried out, or half of it, and does not answer: made again they are as if they had been made once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from schedcore.errors import ConflictingIdError, JobLookupError, JobStoreError
from schedcore.job import JobEntry, JobState
from schedcore.jobstores.base import JobStore
from schedcore.run import RunRecord, Skip, SkipReason, skip_record
from schedcore.testing._store_bench import MINUTE, T0, Bench, check_same, entry_of, make_entry
from tests.jobstores.every.places import Kind
from tests.jobstores.load import answered
from tests.services import Proxy

# Milliseconds. This one's driver looks for a server that refuses connections for ten seconds.
OPTIONS: dict[str, dict[str, Any]] = {"mongodb": {"serverSelectionTimeoutMS": 500}}


def some(name: str) -> list[JobEntry]:
    """Jobs; one that is a write of its own to some servers."""
    return [
        make_entry(name, T0 + MINUTE),
        make_entry(f"{name}, large", T0 + MINUTE, args=("x" * 300_000,)),
        make_entry(f"{name}, paused", None),
    ]


def moved(entry: JobEntry) -> JobEntry:
    job = entry.job._replace(args=("new",))
    return JobEntry(job, JobState.ACTIVE, T0 + 9 * MINUTE, T0 + 9 * MINUTE)


def skipped(name: str) -> list[RunRecord]:
    skip = Skip(SkipReason.MISFIRED, T0, T0 + MINUTE, 2)
    return [skip_record(entry.job.id, skip, T0) for entry in some(name)]


def there(store: JobStore, name: str) -> list[JobEntry]:
    return [entry for entry in store.list_entries() if entry.job.id.startswith(name)]


def check_jobs(store: JobStore, wanted: list[JobEntry]) -> None:
    """These are there, and listed once."""
    name = wanted[0].job.id
    assert [entry.job.id for entry in there(store, name)] == [entry.job.id for entry in sorted_as_listed(wanted)]
    for entry in wanted:
        check_same(entry_of(store, entry.job.id), entry)


def sorted_as_listed(entries: list[JobEntry]) -> list[JobEntry]:
    return sorted(entries, key=lambda entry: (entry.due_us is None, entry.due_us or 0, entry.job.id))


def check_records(store: JobStore, name: str, *times: int) -> None:
    for entry, wanted in zip(some(name), times, strict=True):
        assert len(store.runs(entry.job.id)) == wanted, store.runs(entry.job.id)


# --- calls ------------------------------------------------------------------------------------------------------------


def add(store: JobStore, name: str) -> None:
    store.add_entries(some(name))


def check_added(store: JobStore, name: str) -> None:
    check_jobs(store, some(name))
    check_records(store, name, 0, 0, 0)


def add_with_records(store: JobStore, name: str) -> None:
    store.add_entries(some(name), skipped(name))


def check_added_with_records(store: JobStore, name: str) -> None:
    check_jobs(store, some(name))
    check_records(store, name, 1, 1, 1)


def change(store: JobStore, name: str) -> None:
    """As a scheduler does: from what is there."""
    small, large, _ = some(name)
    for entry, record in zip((small, large), skipped(name), strict=False):
        old = entry_of(store, entry.job.id)
        if old.fire_us == entry.fire_us:
            assert store.replace_entry(old, moved(old), [record])


def check_changed(store: JobStore, name: str) -> None:
    small, large, paused = some(name)
    check_jobs(store, [moved(small), moved(large), paused])
    check_records(store, name, 1, 1, 0)


def remove(store: JobStore, name: str) -> None:
    store.remove_job(f"{name}, large")


def check_one_removed(store: JobStore, name: str) -> None:
    small, _, paused = some(name)
    check_jobs(store, [small, paused])


def remove_all(store: JobStore, name: str) -> None:
    store.remove_all_jobs()


def check_removed(store: JobStore, name: str) -> None:
    assert there(store, name) == []


def note(store: JobStore, name: str) -> None:
    store.put_note("note", name)


def check_noted(store: JobStore, name: str) -> None:
    assert store.get_note("note") == name


class Call(NamedTuple):
    """What is called, and what is to be so afterwards; ``first``: what is done before. Each is about the jobs of one name."""

    make: Callable[[JobStore, str], object]
    check: Callable[[JobStore, str], None]
    first: Callable[[JobStore, str], object] | None = None


CALLS = {
    "add": Call(add, check_added),
    "add with records": Call(add_with_records, check_added_with_records),
    "change": Call(change, check_changed, add),
    "remove": Call(remove, check_one_removed, add),
    "remove all": Call(remove_all, check_removed, add),
    "note": Call(note, check_noted),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_not_answered(kind: Kind, tmp_path: Path, name: str) -> None:
    place = kind.place(tmp_path)
    if place.port is None:
        pytest.skip("there is no connection to a server that could be cut")
    call = CALLS[name]
    with Proxy(place.port) as proxy:
        options = OPTIONS.get(place.options["type"], {})
        bench = Bench(lambda folder: place.store_by_way_of(proxy.port, **options), "")
        try:
            store = bench.open()
            for pieces in count():
                jobs = f"{pieces:03}"
                if call.first is not None:
                    call.first(store, jobs)
                proxy.answer(pieces)
                failed = None
                try:
                    call.make(store, jobs)
                except JobStoreError as error:
                    failed = error
                proxy.accept()
                if failed is not None:
                    assert failed.transient, failed
                    if call.make in (add, add_with_records):
                        assert len(answered(lambda: there(store, jobs))) in (0, len(some(jobs)))  # noqa: B023
                    try:
                        answered(lambda: call.make(store, jobs))  # noqa: B023
                    except (ConflictingIdError, JobLookupError):
                        pass  # the one that was not answered
                call.check(store, jobs)
                if failed is None:
                    # Some stores put a note off, and write it with something else.
                    assert pieces or name == "note"
                    break
            store = bench.open()
            call.check(store, jobs)
            store.remove_all_jobs()
            assert store.list_entries() == []
        finally:
            bench.close()

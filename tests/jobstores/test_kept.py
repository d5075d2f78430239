"""What a job store keeps of the definitions of jobs: so many, and of so many bytes."""

from __future__ import annotations

import threading

import pytest

from schedcore.job import JobPolicy
from schedcore.jobstores import _kept
from schedcore.jobstores._kept import Kept
from schedcore.jobstores._payload import StoredRecord, UnknownTrigger


def record() -> StoredRecord:
    return StoredRecord("job", "job", None, "builtins:len", (), {}, UnknownTrigger(), JobPolicy())


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kept, "MOST", 3)
    monkeypatch.setattr(_kept, "MOST_BYTES", 100)


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([1, 1, 1, 1], [1, 2, 3]),
        ([50, 50], [0, 1]),
        ([50, 50, 1], [1, 2]),
        ([1, 1, 100], [2]),
        ([1, 1000], [1]),
        ([1000, 1], [1]),
        ([0, 0, 0], [0, 1, 2]),
    ],
)
def test_the_earliest_go_first(sizes: list[int], left: list[int]) -> None:
    kept: Kept[int] = Kept()
    for number, size in enumerate(sizes):
        kept.put(number, record(), size)
    assert list(kept.records) == left
    assert kept.room() == (3 - len(left), 100 - sum(sizes[number] for number in left))


def test_the_same_again_counts_once() -> None:
    kept: Kept[str] = Kept()
    for size in (90, 80, 20):
        kept.put("a", record(), size)
    kept.put("b", record(), 80)
    assert list(kept.records) == ["a", "b"]
    kept.drop("a")
    kept.drop("nobody")
    assert kept.room() == (2, 20)
    kept.clear()
    assert kept.room() == (3, 100)
    assert not kept.records


def test_from_several_threads() -> None:
    kept: Kept[int] = Kept()

    def use(first: int) -> None:
        for number in range(first, first + 3000):
            kept.put(number % 7, record(), number % 60)
            kept.drop((number + 3) % 7)

    threads = [threading.Thread(target=use, args=(first,)) for first in (0, 1000, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert kept.room() == (3 - len(kept.records), 100 - sum(one.size for one in kept.records.values()))

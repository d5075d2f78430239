"""What a job store keeps of the definitions of jobs: so many, and of so many bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from schedcore.job import JobPolicy
from schedcore.jobstores import _kept
from schedcore.jobstores._kept import Kept
from schedcore.jobstores._payload import StoredRecord, UnknownTrigger
from tests.interrupting import Interrupted, disturbed


def record() -> StoredRecord:
    return StoredRecord("job", "job", None, "builtins:len", (), {}, UnknownTrigger(), JobPolicy())


def check_counts(kept: Kept[int]) -> None:
    assert kept.room() == (3 - len(kept.records), 100 - sum(one.size for one in kept.records.values()))


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
    check_counts(kept)


def interrupt(kept: Kept[int]) -> None:
    raise Interrupted


STEPS: dict[str, Callable[[Kept[int]], None]] = {
    "put": lambda kept: kept.put(4, record(), 60),
    "put again": lambda kept: kept.put(2, record(), 70),
    "drop": lambda kept: kept.drop(1),
    "clear": lambda kept: kept.clear(),
}
INTRUSIONS: dict[str, Callable[[Kept[int]], None]] = {**STEPS, "raise": interrupt}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("intrusion", INTRUSIONS)
def test_a_signal_handler_in_the_midst(step: str, intrusion: str) -> None:
    """What it changed under an eviction was raised out of ``get_jobs``, and what it put was counted twice."""
    at, more = 0, True
    while more:
        at += 1
        kept: Kept[int] = Kept()
        for number, size in ((1, 20), (2, 30), (3, 40)):
            kept.put(number, record(), size)
        with suppress(Interrupted):
            more = disturbed(lambda: STEPS[step](kept), lambda: INTRUSIONS[intrusion](kept), at, "_kept.py")  # noqa: B023
        check_counts(kept)
        # Where it raised before there was room again, the next one makes it.
        kept.put(5, record(), 1)
        assert min(kept.room()) >= 0
    assert at > 2

"""Decisions whose write is cut, and that are made again, otherwise: each fire time is on record once, with one reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sized
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pytest

from schedcore.engine import Decision
from schedcore.errors import ConflictingIdError, JobStoreError
from schedcore.jobstores.base import JobStore
from schedcore.run import Run, RunRecord, RunState, Skip, SkipReason, skip_record
from schedcore.testing._store_bench import MINUTE, T0, Bench, decisions_on, finish_of, make_entry, now_at
from schedcore.triggers.date import DateTrigger
from tests.jobstores.load import scheduler_on, start_paused
from tests.jobstores.owned import claimed

__all__ = ["Cut", "check_decided_again", "check_left_in_documents", "check_strange"]

ONCE = DateTrigger("2026-01-01T00:00:00+00:00")


class Cut(Protocol):
    """What cuts a command on its way to the server."""

    is_cut: bool
    #: Commands until then; less than none when it was cut.
    left: float


class _Life:
    """What a scheduler does with a store. What fails it decides about again a while later, when things are otherwise.

    ``dies``: it does not survive the failure, and another one goes on; else it tells the store what it has in hand. ``ends``: its
    run is over until then.
    """

    def __init__(self, bench: Bench, *, dies: bool, ends: bool) -> None:
        self._bench = bench
        self._dies = dies
        self._ends = ends
        self.now_us = T0
        self.executed: Counter[tuple[str, int]] = Counter()
        self.hand: list[Run] = []
        self.store: JobStore = bench.open()
        self.recover()

    def recover(self) -> None:
        self._execute(self.store.recover(self.hand).runs)

    def restart(self) -> None:
        self.hand.clear()
        self.store = self._bench.open()
        self.recover()

    def do(self, step: Callable[[], object]) -> None:
        repairs: list[Callable[[], object]] = []
        for _ in range(4):
            try:
                for repair in repairs:
                    repair()
                step()
                return
            except JobStoreError as error:
                if not error.transient:
                    raise
                repairs = [self.restart if self._dies else self.recover, *([self.finish] if self._ends else [])]
                self.now_us += MINUTE
        raise AssertionError("it fails for ever")

    def _execute(self, runs: list[Run]) -> None:
        self.executed.update((run.job.id, run.fire_us) for run in runs)
        self.hand += runs
        self.store.started([(run, run.fire_us + 1000) for run in runs])

    def tick(self) -> None:
        claims = self.store.acquire(now_at(self.now_us), 9)
        self._execute(self.store.commit(decisions_on(claims, self.now_us), self.now_us).runs)

    def finish(self) -> None:
        self.store.finish([finish_of(run) for run in self.hand])
        self.hand.clear()

    def _skip(self, job_id: str, first_us: int, last_us: int) -> RunRecord:
        times = (last_us - first_us) // MINUTE + 1
        return skip_record(job_id, Skip(SkipReason.MISFIRED, first_us, last_us, times), self.now_us)

    def move_on(self) -> None:
        entry = self.store.get_entry("moved")
        assert entry is not None
        if entry.fire_us == T0:
            next_us = self.now_us + 5 * MINUTE
            new = entry._replace(fire_us=next_us, due_us=next_us)
            assert self.store.replace_entry(entry, new, [self._skip("moved", T0, next_us - MINUTE)])

    def add(self) -> None:
        next_us = self.now_us + 5 * MINUTE
        try:
            self.store.add_entries([make_entry("added", next_us)], [self._skip("added", T0, next_us - MINUTE)])
        except ConflictingIdError:
            pass  # the one that was not answered

    def live(self) -> None:
        self.now_us += MINUTE
        self.do(self.tick)  # the run of "busy" is live: what is due now is skipped
        self.do(self.move_on)
        self.do(self.add)

    def live_again(self) -> None:
        self.do(self.recover)
        self.do(self.finish)


def check_decided_again(
    bench: Bench, cut: Callable[[float], AbstractContextManager[Cut]], number: int, *, dies: bool, ends: bool
) -> bool:
    """Whether there was a command of that number to be cut."""
    life = _Life(bench, dies=dies, ends=ends)
    life.store.add_entries(
        [
            make_entry("busy", coalesce=False),
            make_entry("moved", T0, T0 + 1000 * MINUTE),
        ]
    )
    life.tick()
    life.store.add_entries([make_entry("over", trigger=ONCE, misfire_grace_us=1)])
    with cut(number) as line:
        life.live()
    if not line.is_cut:
        life.hand.clear()
        life.store = bench.open()
        with cut(line.left) as line:
            life.live_again()
    life.now_us += 9 * MINUTE
    # Where it was the renewal of a lease that was cut, at last, the connection is found to be cut here.
    life.do(life.tick)
    life.do(life.finish)
    life.restart()
    assert not life.hand, f"it recovers {life.hand}"
    assert life.store.get_entry("over") is None, "what was over is there"
    for job_id in ("busy", "moved", "added", "over"):
        records = life.store.runs(job_id, limit=1000)
        ran: dict[int, dict[int, RunState]] = {}
        skipped: Counter[int] = Counter()
        for record in records:
            if record.state is RunState.SKIPPED:
                end_us = record.fire_us if record.until_us is None else record.until_us
                fires = range(record.fire_us, end_us + 1, MINUTE)
                assert len(fires) == record.times
                skipped.update(fires)
            else:
                assert record.finished_us is not None, records
                ran.setdefault(record.fire_us, {})[record.attempt] = record.state
        entry = life.store.get_entry(job_id)
        end_us = T0 + MINUTE if entry is None or entry.fire_us is None else entry.fire_us
        every = list(range(T0, end_us, MINUTE))
        assert sorted([*ran, *skipped.elements()]) == every, f"{job_id}: not on record, or twice: {records}"
        for fire_us, attempts in ran.items():
            *before, last = (state for _, state in sorted(attempts.items()))
            assert sorted(attempts) == list(range(1, len(attempts) + 1)), f"{job_id}: {records}"
            assert before == [RunState.LOST] * len(before), f"{job_id}: {records}"
            # What began twice and died twice is not made again.
            assert last is RunState.SUCCEEDED or (dies and before), f"{job_id}: {records}"
            # An attempt that is on record need not have been handed over to a process that died.
            times = life.executed[job_id, fire_us]
            least = 1 if dies else len(attempts)
            assert least <= times <= len(attempts), f"{job_id}: {life.executed}, {records}"
        everywhere = [record for record in life.store.runs(limit=1000) if record.job_id == job_id]
        assert everywhere == records, f"{job_id}: among all it has {everywhere}, by itself {records}"
    return line.is_cut


def check_left_in_documents(
    make: Callable[..., Any], left: Callable[[Any], Sized], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies before it has moved what it decided: it counts where it is, and is moved by who comes next."""
    store = make(history_age=None)
    scheduler, at, claims = claimed(store)

    def die(*_: Any) -> None:
        raise JobStoreError("default", "away", transient=True)

    monkeypatch.setattr(store, "_move", die)
    decisions = [
        Decision(claim, (), (Skip(SkipReason.OVERLAP, claim.fire_us, claim.fire_us, 1),), at.wall_us, at.wall_us)
        for claim in claims
    ]
    with pytest.raises(JobStoreError, match="away"):
        store.commit(decisions, at.wall_us)
    scheduler.shutdown()
    wanted = [(name, claims[0].fire_us, RunState.SKIPPED) for name in ("b", "a")]
    reader = make(history_age=None, read_only=True)
    reader.start(scheduler, "reader")
    _check_on_record(reader, wanted)
    assert len(left(reader)) > 0
    reader.shutdown()
    after = make(history_age=None)
    scheduler = scheduler_on(after)
    start_paused(scheduler)
    assert [claim.fire_us for claim in after.acquire(at, 9)] == [at.wall_us] * 2
    assert len(left(after)) == 0
    _check_on_record(after, wanted)
    scheduler.shutdown()


def _check_on_record(store: JobStore, wanted: list[tuple[str, int, RunState]]) -> None:
    assert [(record.job_id, record.fire_us, record.state) for record in store.runs()] == wanted
    assert [record.job_id for record in store.runs("a")] == ["a"]
    assert len(store.runs(limit=1)) == 1
    assert store.runs(failed=True) == []


#: What somebody else has written in the place of what was decided.
STRANGE: list[Any] = [
    5,
    "x",
    [{"w": "t", "records": "[]"}],
    {"records": "[]"},
    {"w": "t"},
    {"w": "t", "records": 5},
    {"w": "t", "records": "[" * 100_000},
    {"w": "t", "records": '[["uid", 5], 7]'},
    {"w": "t", "records": f'[["uid", ["a", 1767225600000000, {10**30}, "skipped", {", ".join(["null"] * 11)}]]]'},
]


def check_strange(store: JobStore, put: Callable[[Any], object]) -> None:
    """``put``: in the document of the job ``a``."""
    scheduler, at, _ = claimed(store)
    for number, strange in enumerate(STRANGE):
        put(strange)
        assert len(store.runs()) == number
        store.recover([])
        claim = next(claim for claim in store.acquire(at, 9) if claim.job.id == "a")
        skip = Skip(SkipReason.OVERLAP, claim.fire_us, claim.fire_us, 1)
        next_us = claim.fire_us + 1
        assert store.commit([Decision(claim, (), (skip,), next_us, next_us)], at.wall_us).dropped == []
        assert store.runs()[0].fire_us == claim.fire_us, number
    scheduler.shutdown()

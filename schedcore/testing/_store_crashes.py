"""Behaviours of job stores: what a scheduler finds that comes after one which died."""

from __future__ import annotations

from collections.abc import Generator

from schedcore.jobstores.base import JobStore, Recovered
from schedcore.run import RunState
from schedcore.testing._store_bench import (
    MINUTE,
    T0,
    Bench,
    behaviour,
    decisions_on,
    earliest_due,
    entry_of,
    finish_of,
    job_id_of,
    make_entry,
    now_at,
    run_due,
)
from schedcore.triggers.date import DateTrigger

__all__: list[str] = []


@behaviour("gives claims back that were never committed")
def _claims_back(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("a"), make_entry("b")])
    lost = decisions_on(store.acquire(now_at(T0), 1), T0)
    recovered = store.recover([])
    assert recovered == Recovered([], []), f"it recovers {recovered}"
    assert earliest_due(store) == T0, "they are not due"
    assert sorted(claim.job.id for claim in store.acquire(now_at(T0), 9)) == ["a", "b"], "they are not claimed again"
    store.recover([])
    run_due(store, T0)
    assert store.commit(lost, T0).runs == [], "a claim that was given back is committed"


@behaviour("leaves the runs alone that its scheduler has in hand")
def _known(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("a"), make_entry("b")])
    runs = run_due(store, T0)
    store.started([(runs[0], T0 + 1)])
    assert store.recover(runs) == Recovered([], []), "it takes them over"
    store.finish([finish_of(run) for run in runs])
    assert [r.state for r in store.runs()] == [RunState.SUCCEEDED] * 2, f"then it has {store.runs()}"


@behaviour("submits again, as they are, runs that were withdrawn before they began", "runs")
def _withdrawn(bench: Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    entries = [
        make_entry("a", args=(1,)),
        make_entry("b", recovery="lost"),
        make_entry("over", trigger=once, args=(2,)),
    ]
    store.add_entries([*entries, make_entry("began", recovery="lost")])
    runs = run_due(store, T0)
    store.started([(run, T0 + 1) for run in runs if run.job.id == "began"])
    for _ in range(2):  # twice is harmless
        store.withdraw(runs)
    live = {record.job_id: record.state for record in store.runs()}
    assert live.pop("began") is RunState.RUNNING, "a run that began was withdrawn"
    assert list(live.values()) == [RunState.SUBMITTED] * 3, f"then it has {store.runs()}"
    store = bench.open()
    recovered = store.recover([])
    found = sorted((run.job.id, run.job.args, run.fire_us, run.attempt) for run in recovered.runs)
    assert found == [("a", (1,), T0, 1), ("b", (), T0, 1), ("over", (2,), T0, 1)], f"it recovers {found}"
    assert [record.job_id for record in recovered.lost] == ["began"], f"it loses {recovered.lost}"
    assert store.recover(recovered.runs) == Recovered([], []), "it recovers twice"
    store = bench.open()
    # They were handed over since.
    recovered = store.recover([])
    found = sorted((run.job.id, run.job.args, run.fire_us, run.attempt) for run in recovered.runs)
    assert found == [("a", (1,), T0, 2), ("over", (2,), T0, 2)], f"after a crash it recovers {found}"
    assert sorted(record.job_id for record in recovered.lost) == ["a", "b", "over"], f"it loses {recovered.lost}"
    store.withdraw(recovered.runs)
    store.finish([finish_of(run) for run in recovered.runs])
    store.withdraw(recovered.runs)
    assert [r.state for r in store.runs() if r.attempt == 2] == [RunState.SUCCEEDED] * 2, f"it has {store.runs()}"
    assert store.get_entry("over") is None, "the job that was over is back"


@behaviour("submits again, as they are, runs whose commit was not answered", "runs")
def _not_answered(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("a"), make_entry("b", recovery="lost")])
    store.recover([])
    runs = run_due(store, T0)
    recovered = store.recover([])
    assert sorted(recovered.runs, key=job_id_of) == sorted(runs, key=job_id_of), f"it recovers {recovered.runs}"
    assert recovered.lost == [], f"it loses {recovered.lost}"
    store.finish([finish_of(run) for run in recovered.runs])
    assert [record.state for record in store.runs()] == [RunState.SUCCEEDED] * 2, f"then it has {store.runs()}"


@behaviour("takes runs that a dead scheduler left as submitted for runs that may have begun, three times", "runs")
def _may_have_begun(bench: Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    store.add_entries(
        [make_entry("a", args=(1,)), make_entry("b", recovery="lost"), make_entry("over", trigger=once, args=(2,))]
    )
    run_due(store, T0)
    for attempt in (2, 3):
        store = bench.open()
        recovered = store.recover([])
        found = sorted((run.job.id, run.job.args, run.fire_us, run.attempt) for run in recovered.runs)
        assert found == [("a", (1,), T0, attempt), ("over", (2,), T0, attempt)], f"it recovers {found}"
        lost = sorted((record.job_id, record.attempt, record.state) for record in recovered.lost)
        wanted = [(name, attempt - 1, RunState.LOST) for name in ("a", "b", "over") if (name, attempt) != ("b", 3)]
        assert lost == wanted, f"it loses {lost}"
        assert all("may or may not" in str(record.reason) for record in recovered.lost), f"it says {recovered.lost}"
        assert store.recover(recovered.runs) == Recovered([], []), "it recovers twice"
    store = bench.open()
    recovered = store.recover([])
    assert recovered.runs == [], "it does so for ever"
    assert sorted((record.job_id, record.attempt) for record in recovered.lost) == [("a", 3), ("over", 3)], (
        f"it loses {recovered.lost}"
    )
    assert all("3 times" in str(record.reason) for record in recovered.lost), f"it says {recovered.lost}"
    assert sorted((r.job_id, r.attempt) for r in store.runs(failed=True)) == [
        *(("a", attempt) for attempt in (1, 2, 3)),
        ("b", 1),
        *(("over", attempt) for attempt in (1, 2, 3)),
    ], f"it has {store.runs()}"
    assert bench.open().recover([]) == Recovered([], []), "something is still live"


@behaviour("runs once more what is known to have begun, after it had waited when a scheduler died", "runs")
def _begun_later(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry()])
    run_due(store, T0)
    for attempt in (2, 3):
        store = bench.open()
        (run,) = store.recover([]).runs
        assert run.attempt == attempt, f"it is attempt {run.attempt}"
        store.started([(run, T0 + attempt)])
    store = bench.open()
    recovered = store.recover([])
    assert recovered.runs == [], "it runs a third time"
    assert [record.attempt for record in recovered.lost] == [3], f"it loses {recovered.lost}"


@behaviour("runs an interrupted run again, once, or closes it as lost, as the job says", "runs")
def _interrupted(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("again"), make_entry("lost", recovery="lost"), make_entry("removed")])
    runs = run_due(store, T0)
    store.started([(run, T0 + 1) for run in runs])
    store.remove_job("removed")
    store = bench.open()
    recovered = store.recover([])
    assert [(run.job.id, run.fire_us, run.attempt) for run in recovered.runs] == [("again", T0, 2)], f"{recovered}"
    lost = sorted((record.job_id, record.attempt, record.state) for record in recovered.lost)
    assert lost == [(name, 1, RunState.LOST) for name in ("again", "lost", "removed")], f"it loses {lost}"
    assert all(record.reason for record in recovered.lost), "it does not say why"
    store.started([(run, T0 + 2) for run in recovered.runs])
    store = bench.open()
    recovered = store.recover([])
    assert recovered.runs == [], "it runs a third time"
    assert [(record.job_id, record.attempt) for record in recovered.lost] == [("again", 2)], (
        f"it loses {recovered.lost}"
    )
    assert all(record.state is RunState.LOST for record in store.runs()), f"it has {store.runs()}"
    assert len(store.runs(failed=True)) == 4, "lost runs are not among the failed"
    assert [claim.live for claim in store.acquire(now_at(T0 + MINUTE), 9)] == [0, 0], "they are still live"


@behaviour("knows what began and what ended though it crashed before it was told", "runs", "journal")
def _journal(bench: Bench) -> None:
    store = bench.open()
    names = ("ended", "failed", "began", "sent", "waits", "forgotten")
    store.add_entries([make_entry(name, recovery="lost") for name in names])
    store.recover([])
    runs = {run.job.id: run for run in run_due(store, T0)}
    journal = store.journal
    assert journal is not None, "it has none"
    journal.begun(runs["forgotten"], T0 + 1)
    journal.ended(finish_of(runs["forgotten"], retval="of the journal"))
    journal.sent(runs["sent"])
    mark = journal.mark()
    store.finish([finish_of(runs["forgotten"], retval="of the store")])
    for name in ("ended", "failed", "began"):
        journal.begun(runs[name], T0 + 1)
    journal.forget(mark)
    journal.ended(finish_of(runs["ended"], retval=7))
    journal.ended(finish_of(runs["failed"], RunState.FAILED, exception=ValueError("no"), traceback="where it was"))
    store = bench.open()
    recovered = store.recover([])
    assert [(run.job.id, run.attempt) for run in recovered.runs] == [("waits", 1)], f"it recovers {recovered.runs}"
    lost = {record.job_id: str(record.reason) for record in recovered.lost}
    assert sorted(lost) == ["began", "sent"], f"it loses {recovered.lost}"
    assert "may or may not" in lost["sent"], f"it says of a run that was sent: {lost}"
    assert "may or may not" not in lost["began"], f"it says of a run that began: {lost}"
    records = {record.job_id: record for record in store.runs()}
    found = [(records[name].state, records[name].result) for name in ("ended", "forgotten")]
    assert found == [(RunState.SUCCEEDED, "7"), (RunState.SUCCEEDED, "'of the store'")], f"it has {found}"
    failed = records["failed"]
    assert (failed.state, failed.error, failed.traceback) == (RunState.FAILED, "ValueError: no", "where it was"), (
        f"of one that failed it has {failed}"
    )
    assert [record.job_id for record in store.runs() if record.finished_us is None] == ["waits"], "others are live"


@behaviour("keeps notes beyond its end", "runs")
def _keeps_notes(bench: Bench) -> None:
    store = bench.open()
    assert store.get_note("one") is None, "it has one that nobody wrote"
    store.put_note("one", "old")
    for name, value in (("one", "new"), ("two", "größer\n")):
        store.put_note(name, value)
    for _ in range(2):
        found = [store.get_note(name) for name in ("one", "two", "three")]
        assert found == ["new", "größer\n", None], f"it has {found}"
        store = bench.open()


@behaviour("keeps what ran beyond its end", "runs")
def _keeps_runs(bench: Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    store.add_entries([make_entry(), make_entry("removed"), make_entry("over", trigger=once)])
    store.finish([finish_of(run, retval=run.job.id) for run in run_due(store, T0)])
    store.remove_job("removed")
    store = bench.open()
    for name in ("job", "removed", "over"):
        found = [(record.state, record.result) for record in store.runs(name)]
        assert found == [(RunState.SUCCEEDED, repr(name))], f"of {name} it has {found}"
    assert len(store.runs()) == 3, f"in all it has {store.runs()}"


@behaviour("loses and doubles nothing, wherever it crashes", "runs")
def _crashes(bench: Bench) -> None:
    once = DateTrigger("2026-01-01T00:00:00+00:00")

    def steps(store: JobStore, suffix: str) -> Generator[None, None, None]:
        store.add_entries([make_entry(f"grid{suffix}"), make_entry(f"once{suffix}", trigger=once)])
        yield
        claims = store.acquire(now_at(T0), 9)
        yield
        runs = store.commit(decisions_on(claims, T0), T0).runs
        yield
        store.started([(run, T0 + 1) for run in runs])
        yield
        store.finish([finish_of(run) for run in runs[:1]])
        yield
        store.finish([finish_of(run) for run in runs])
        yield

    for crash in range(7):
        store = bench.open()
        suffix = str(crash)
        going = steps(store, suffix)
        for _ in range(crash):
            next(going)
        going.close()
        store = bench.open()
        if crash == 0:
            store.add_entries([make_entry(f"grid{suffix}"), make_entry(f"once{suffix}", trigger=once)])
        recovered = store.recover([])
        runs = recovered.runs + run_due(store, T0)
        store.finish([finish_of(run) for run in runs])
        for name in (f"grid{suffix}", f"once{suffix}"):
            records = store.runs(name)
            done = [record for record in records if record.state is RunState.SUCCEEDED]
            assert [record.fire_us for record in done] == [T0], f"crash {crash}: {name} has {records}"
            rest = [record for record in records if record.state is not RunState.SUCCEEDED]
            assert [r.state for r in rest] == [RunState.LOST] * len(rest), f"crash {crash}: {name} has {records}"
        assert entry_of(store, f"grid{suffix}").fire_us == T0 + MINUTE, f"crash {crash}: the schedule does not go on"
        assert store.get_entry(f"once{suffix}") is None, f"crash {crash}: a job that is over is listed"
        assert store.recover([]) == Recovered([], []), f"crash {crash}: something is still live"
        store.remove_all_jobs()

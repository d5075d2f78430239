"""Behaviours of job stores: the way of a run, claimed, committed, begun and ended; and the list of runs."""

from __future__ import annotations

from typing import Any

from schedcore.clock import Now
from schedcore.engine import Decision
from schedcore.errors import JobLookupError
from schedcore.executors.command import CommandFailedError, CommandResult
from schedcore.job import JobEntry, JobState
from schedcore.run import Finish, Run, RunState, Skip, SkipReason
from schedcore.testing._store_bench import (
    MINUTE,
    T0,
    Bench,
    behaviour,
    check_raises,
    check_same,
    decisions_on,
    earliest_due,
    entry_of,
    finish_of,
    make_entry,
    now_at,
    run_due,
)
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger

__all__: list[str] = []


@behaviour("claims what is due, earliest first, up to a limit")
def _claims(bench: Bench) -> None:
    store = bench.open()
    store.add_entries(
        [make_entry("late", T0 + 2), make_entry("next", T0 + 4), make_entry("first", T0), make_entry("paused", None)]
    )
    store.add_entries([make_entry("jittered", T0, T0 + 1)])
    assert earliest_due(store) == T0, f"next is {store.next_due()}"
    claims = store.acquire(now_at(T0 + 3), 2)
    assert [(c.job.id, c.fire_us, c.due_us, c.live) for c in claims] == [
        ("first", T0, T0, 0),
        ("jittered", T0, T0 + 1, 0),
    ], f"it claims {claims}"
    check_same(JobEntry(claims[0].job, JobState.ACTIVE, T0, T0), make_entry("first"))
    assert [claim.job.id for claim in store.acquire(now_at(T0 + 3), 9)] == ["late"], "the rest is another"
    assert store.acquire(now_at(T0 + 3), 9) == [], "it claims twice"
    assert earliest_due(store) == T0 + 4, f"next is {store.next_due()}, with claimed jobs left out"


@behaviour("tells elapsed time from the wall clock")
def _timelines(bench: Bench) -> None:
    store = bench.open()
    calendar = CronTrigger(minute="*", timezone="UTC")
    store.add_entries([make_entry("elapsed", T0 + 10), make_entry("calendar", T0 + 10, trigger=calendar)])
    assert earliest_due(store) == T0 + 10, f"next is {store.next_due()}"
    claims = store.acquire(Now(wall_us=T0, steady_us=T0 + 20), 9)
    assert [claim.job.id for claim in claims] == ["elapsed"], "the wall clock was set back: only elapsed time is due"
    store.commit(decisions_on(claims, T0 + 20), T0)
    wanted = (T0 + 10, T0 + MINUTE)
    assert store.next_due() == wanted, f"next is {store.next_due()}: each on its own timeline"
    assert [claim.job.id for claim in store.acquire(now_at(T0 + 10), 9)] == ["calendar"], "the calendar job is lost"


@behaviour("commits runs and next fire times")
def _commits(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("b", T0 + 1), make_entry("a", T0), make_entry("c", T0 + 2 * MINUTE)])
    claims = store.acquire(now_at(T0 + 1), 9)
    committed = store.commit(decisions_on(claims, T0 + 1), T0 + 1)
    runs = [(run.job.id, run.alias, run.fire_us, run.attempt) for run in committed.runs]
    assert runs == [("a", "default", T0, 1), ("b", "default", T0 + 1, 1)], f"it submits {runs}"
    assert committed.dropped == [], "it drops decisions"
    assert (entry_of(store, "a").fire_us, entry_of(store, "a").due_us) == (T0 + MINUTE, T0 + MINUTE), (
        "the next one is another"
    )
    assert store.acquire(now_at(T0 + 1), 9) == [], "it claims them again"
    assert sorted(claim.job.id for claim in store.acquire(now_at(T0 + MINUTE), 9)) == ["a", "b"], "they do not go on"


@behaviour("drops a decision on a job that was changed, moved, paused or removed since it was claimed")
def _fences(bench: Bench) -> None:
    store = bench.open()
    names = ["changed", "kept", "moved", "paused", "readded", "removed"]
    store.add_entries([make_entry(name) for name in names])
    claims = store.acquire(now_at(T0), 9)
    entries = {name: entry_of(store, name) for name in names}
    changed = entries["changed"]
    assert store.replace_entry(changed, changed._replace(job=changed.job._replace(args=(1,))))
    assert store.replace_entry(entries["moved"], entries["moved"]._replace(fire_us=T0 + 5, due_us=T0 + 5))
    assert store.replace_entry(entries["paused"], JobEntry(entries["paused"].job, JobState.PAUSED))
    for name in ("readded", "removed"):
        store.remove_job(name)
    store.add_entries([make_entry("readded", T0 + 3)])
    committed = store.commit(decisions_on(claims, T0), T0)
    assert [run.job.id for run in committed.runs] == ["kept"], f"it submits {committed.runs}"
    dropped = sorted(decision.claim.job.id for decision in committed.dropped)
    assert dropped == sorted(set(names) - {"kept"}), f"it drops {dropped}"
    again = [(claim.job.id, claim.job.args) for claim in store.acquire(now_at(T0 + 5), 9)]
    assert again == [("changed", (1,)), ("readded", ()), ("moved", ())], f"then it claims {again}"


@behaviour("drops a decision on a job that was changed since, and claimed again")
def _fences_again(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry(args=(1,))])
    outdated = decisions_on(store.acquire(now_at(T0), 9), T0)
    entry = entry_of(store)
    store.replace_entry(entry, entry._replace(job=entry.job._replace(args=(2,))))
    fresh = decisions_on(store.acquire(now_at(T0), 9), T0)
    first = store.commit(outdated, T0)
    assert (first.runs, len(first.dropped)) == ([], 1), f"it runs {first.runs}"
    assert [run.job.args for run in store.commit(fresh, T0).runs] == [(2,)], "and drops the one that holds"


@behaviour("commits a decision once")
def _commits_once(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry()])
    decisions = decisions_on(store.acquire(now_at(T0), 9), T0)
    assert len(store.commit(decisions, T0).runs) == 1
    again = store.commit(decisions, T0)
    assert (again.runs, len(again.dropped)) == ([], 1), "the second time it runs again"
    run_due(store, T0 + MINUTE)
    store.commit(decisions, T0)
    assert entry_of(store).fire_us == T0 + 2 * MINUTE, "an old decision sets the job back"


@behaviour("runs no fire time twice, whatever becomes of the schedule", "runs")
def _once(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("a"), make_entry("b")])
    store.finish([finish_of(run) for run in run_due(store, T0)])
    for name in ("a", "b"):
        entry = entry_of(store, name)
        store.replace_entry(entry, entry._replace(fire_us=T0, due_us=T0))
    store.add_entries([make_entry("c")])
    runs = run_due(store, T0)
    assert [run.job.id for run in runs] == ["c"], f"it runs {[run.id for run in runs]}"
    assert entry_of(store, "a").fire_us == T0 + MINUTE, "the schedule does not go on"


@behaviour("counts the live runs of a job")
def _live(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry(max_instances=3), make_entry("other", T0 + MINUTE)])
    runs: list[Run] = []
    for number in range(3):
        now_us = T0 + number * MINUTE
        claims = store.acquire(now_at(now_us), 9)
        mine = [claim.live for claim in claims if claim.job.id == "job"]
        assert mine == [number], f"it counts {mine} instead of {number}"
        runs += [run for run in store.commit(decisions_on(claims, now_us), now_us).runs if run.job.id == "job"]
    store.finish([finish_of(run) for run in runs[:2]])
    claims = store.acquire(now_at(T0 + 3 * MINUTE), 9)
    assert next(claim.live for claim in claims if claim.job.id == "job") == 1, "finished runs are counted"


@behaviour("counts the live runs of an earlier job with the same id, too")
def _live_former(bench: Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    former = "the live runs of the job before it"
    store.add_entries([make_entry(trigger=once, max_instances=2), make_entry("other", max_instances=2)])
    first, other = sorted(run_due(store, T0), key=lambda run: run.job.id)
    store.started([(first, T0 + 1)])
    # Its schedule has ended, and it is added again.
    store.add_entries([make_entry("job", T0 + 1, trigger=once, max_instances=2)])
    (claim,) = store.acquire(now_at(T0 + 1), 9)
    assert claim.live == 1, f"it counts {claim.live} for {former}, which has ended"
    (second,) = store.commit(decisions_on([claim], T0 + 1), T0 + 1).runs
    # And a third time; and one that was removed is added again.
    store.remove_job("other")
    store.add_entries([make_entry("job", T0 + 2, trigger=once), make_entry("other", T0 + 2)])
    claims = sorted(store.acquire(now_at(T0 + 2), 9), key=lambda claim: claim.job.id)
    assert [claim.live for claim in claims] == [2, 1], f"it counts {[c.live for c in claims]} for {former}"
    assert store.commit(decisions_on(claims, T0 + 2), T0 + 2).runs == [], "it runs them beside those"
    store.finish([finish_of(run) for run in (first, second, other)])
    store.add_entries([make_entry("job", T0 + 3, trigger=once)])
    (claim,) = store.acquire(now_at(T0 + 3), 9)
    assert claim.live == 0, f"it counts {claim.live} for {former} when they have ended"


@behaviour("makes several runs of one backlog")
def _backlog(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry(coalesce=False, max_catchup=2)])
    now_us = T0 + 3 * MINUTE
    runs = run_due(store, now_us)
    assert [run.fire_us for run in runs] == [T0, T0 + MINUTE], f"it runs {[run.id for run in runs]}"
    skipped = [record for record in store.runs() if record.state is RunState.SKIPPED]
    assert [(r.fire_us, r.until_us, r.times, r.reason) for r in skipped] == [
        (T0 + 2 * MINUTE, now_us, 2, str(SkipReason.CATCHUP_LIMIT))
    ], f"it skips {skipped}"


@behaviour("records what was skipped, with the reason")
def _skips(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry()])
    (claim,) = store.acquire(now_at(T0), 9)
    skips = (
        Skip(SkipReason.MISFIRED, T0, T0 + 3 * MINUTE, 4),
        Skip(SkipReason.COALESCED, T0 + 4 * MINUTE, T0 + 4 * MINUTE, 1),
    )
    next_us = T0 + 5 * MINUTE
    committed = store.commit([Decision(claim, (), skips, next_us, next_us)], T0 + 1)
    assert committed.runs == [], "it runs them"
    found = [(r.job_id, r.fire_us, r.until_us, r.times, r.state, r.reason, r.finished_us) for r in store.runs("job")]
    assert found == [
        ("job", skip.first_us, skip.last_us, skip.times, RunState.SKIPPED, str(skip.reason), T0 + 1)
        for skip in reversed(skips)
    ], f"it records {found}"


@behaviour("records how a run ended")
def _outcomes(bench: Bench) -> None:
    store = bench.open()
    names = ["returned", "check_raises", "commanded", "command failed", "cancelled", "silent", "strange"]
    store.add_entries([make_entry(name) for name in names])
    runs = {run.job.id: run for run in run_due(store, T0)}
    succeeded, failed = RunState.SUCCEEDED, RunState.FAILED
    strange = ValueError("half of a pair: \udc80, and a NUL: \0")
    store.finish(
        [
            finish_of(runs["returned"], succeeded, retval={"a": 1}),
            finish_of(runs["check_raises"], failed, exception=KeyError("x"), traceback="Traceback:\n  x"),
            finish_of(runs["commanded"], succeeded, retval=CommandResult(0, "hello\n")),
            finish_of(runs["command failed"], failed, exception=CommandFailedError(3, "oops\n"), traceback="T"),
            Finish(runs["cancelled"], RunState.CANCELLED, None, T0 + 7),
            finish_of(runs["silent"], succeeded),
            finish_of(runs["strange"], failed, exception=strange, traceback="\udc80\0"),
        ]
    )
    found = {record.job_id: record for record in store.runs()}
    assert sorted(found) == sorted(names), f"it records {sorted(found)}"
    first = found["returned"]
    assert (first.state, first.started_us, first.finished_us) == (succeeded, T0 + 1000, T0 + 5000), f"{first}"
    assert (first.fire_us, first.attempt, first.times) == (T0, 1, 1), f"{first}"

    def columns(name: str) -> tuple[Any, ...]:
        record = found[name]
        return record.state, record.error, record.traceback, record.result, record.output, record.exit_code

    assert columns("returned") == (succeeded, None, None, "{'a': 1}", None, None), columns("returned")
    assert columns("check_raises") == (failed, "KeyError: 'x'", "Traceback:\n  x", None, None, None), columns(
        "check_raises"
    )
    assert columns("commanded") == (succeeded, None, None, None, "hello\n", 0), columns("commanded")
    assert columns("command failed")[2:] == ("T", None, "oops\n", 3), columns("command failed")
    assert columns("silent") == (succeeded, None, None, None, None, None), columns("silent")
    assert found["cancelled"].state is RunState.CANCELLED, columns("cancelled")
    assert found["strange"].state is failed, columns("strange")
    assert str(found["strange"].error).startswith("ValueError: half of a pair: "), columns("strange")


@behaviour("takes an outcome twice")
def _finish_twice(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("a"), make_entry("b")])
    one, two = sorted(run_due(store, T0), key=lambda run: run.job.id)  # which comes first is not said
    store.finish([finish_of(one, retval=1)])
    store.finish([finish_of(one, retval=1), finish_of(two, retval=2)])
    found = sorted((record.job_id, record.state, record.result) for record in store.runs() if record.finished_us)
    assert found == [("a", RunState.SUCCEEDED, "1"), ("b", RunState.SUCCEEDED, "2")], f"it records {found}"


@behaviour("lets live runs of a removed job end")
def _finish_removed(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("a"), make_entry("b")])
    runs = run_due(store, T0)
    store.started([(run, T0 + 1) for run in runs])
    store.remove_job("a")
    store.add_entries([make_entry("a", None, args=(2,))])
    store.finish([finish_of(run) for run in runs])
    states = [(record.job_id, record.state) for record in store.runs() if record.finished_us]
    assert sorted(states) == [("a", RunState.SUCCEEDED), ("b", RunState.SUCCEEDED)], f"it records {states}"
    check_same(entry_of(store, "a"), make_entry("a", None, args=(2,)))


@behaviour("lists the live runs of a job that was removed, or whose schedule is over")
def _lists_live(bench: Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    store.add_entries([make_entry("once", trigger=once), make_entry("removed")])
    runs = run_due(store, T0)
    store.remove_job("removed")
    found = [(record.job_id, record.state) for record in store.runs()]
    assert sorted(found) == [("once", RunState.SUBMITTED), ("removed", RunState.SUBMITTED)], f"it lists {found}"
    store.finish([finish_of(run) for run in runs])
    found = [(record.job_id, record.state) for record in store.runs()]
    assert sorted(found) == [("once", RunState.SUCCEEDED), ("removed", RunState.SUCCEEDED)], f"at last it lists {found}"


@behaviour("ends a job whose schedule is over, and its id is free")
def _ends(bench: Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    store.add_entries([make_entry(trigger=once), make_entry("skipped", trigger=once, misfire_grace_us=1)])
    (run,) = run_due(store, T0 + 5)
    assert store.list_entries() == [], "it is still listed"
    assert store.get_entry("job") is None, "it is still found"
    check_raises(JobLookupError, lambda: store.remove_job("job"))
    assert store.next_due() == (None, None), "it is still due"
    store.add_entries([make_entry(trigger=once, args=(2,))])
    store.finish([finish_of(run, retval="first")])
    (second,) = run_due(store, T0 + 6)
    store.finish([finish_of(second, retval="second")])
    found = sorted(str(record.result) for record in store.runs("job") if record.state is RunState.SUCCEEDED)
    assert found == ["'first'", "'second'"], f"it records {found}"


@behaviour("sets a job aside, lists it with the reason, and takes it back")
def _sets_aside(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry(args=(1,)), make_entry("ran"), make_entry("skipped")])
    claims = {claim.job.id: claim for claim in store.acquire(now_at(T0), 9)}
    decisions = [
        Decision(claims["job"], (), (), None, None, "no executor"),
        Decision(claims["ran"], (T0,), (), None, None, "a bad trigger"),
        Decision(claims["skipped"], (), (Skip(SkipReason.MISFIRED, T0, T0, 1),), None, None, "a bad trigger"),
    ]
    assert [run.job.id for run in store.commit(decisions, T0).runs] == ["ran"], "what is due does not run"
    entry = entry_of(store)
    assert (entry.state, entry.fire_us, entry.due_us, entry.reason) == (JobState.BROKEN, T0, None, "no executor"), (
        f"{entry}"
    )
    for job_id in ("ran", "skipped"):
        done = entry_of(store, job_id)
        # What was decided is not decided again when the job is taken back.
        assert (done.state, done.fire_us, done.reason) == (JobState.BROKEN, None, "a bad trigger"), f"{done}"
    assert store.acquire(now_at(T0 + MINUTE), 9) == [], "it is still claimed"
    assert [e.state for e in store.list_entries()] == [JobState.BROKEN] * 3, "it is not listed"
    assert store.replace_entry(entry, JobEntry(entry.job, JobState.ACTIVE, T0, T0)), "it cannot be taken back"
    check_same(entry_of(store), make_entry(args=(1,)))
    assert [claim.job.id for claim in store.acquire(now_at(T0), 9)] == ["job"], "it does not go on"


@behaviour("lists runs latest first, of one job, of those that failed, and up to a limit")
def _lists_runs(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("a"), make_entry("b")])
    for number in range(6):
        for run in run_due(store, T0 + number * MINUTE):
            failed = run.job.id == "a" and number % 2
            store.finish([finish_of(run, RunState.FAILED if failed else RunState.SUCCEEDED)])
    fires = [T0 + number * MINUTE for number in reversed(range(6))]
    assert [record.fire_us for record in store.runs("a")] == fires, "the order is another"
    assert [record.fire_us for record in store.runs()] == [at for at in fires for _ in "ab"], (
        "the order of all is another"
    )
    assert [record.fire_us for record in store.runs("a", limit=2)] == fires[:2], "the limit is not kept"
    assert len(store.runs(limit=5)) == 5, "the limit of all is not kept"
    assert [record.fire_us for record in store.runs(failed=True)] == fires[::2], "others are among the failed"
    assert store.runs("b", failed=True) == [], "b never failed"
    assert [record.fire_us for record in store.runs("a", failed=True, limit=1)] == fires[:1], "failed, with a limit"

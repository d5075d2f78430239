"""Behaviours of job stores: adding, finding, listing, changing and removing jobs, of every kind and size."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from schedcore.clock import from_datetime
from schedcore.errors import ConflictingIdError, JobLookupError, SerializationError, TransientJobError
from schedcore.job import JobEntry, JobState
from schedcore.run import RunRecord, Skip, SkipReason, skip_record
from schedcore.testing._store_bench import (
    MINUTE,
    T0,
    Bench,
    behaviour,
    check_raises,
    check_same,
    entry_of,
    finish_of,
    make_entry,
    make_record,
    now_at,
    run_due,
)
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

__all__: list[str] = []


@behaviour("keeps a job and gives it back")
def _keeps(bench: Bench) -> None:
    store = bench.open()
    policy = {
        "executor": "other",
        "misfire_grace_us": 1_500_000,
        "coalesce": False,
        "max_instances": 3,
        "max_catchup": 7,
        "recovery": "lost",
    }
    full = make_entry("full", T0 + 1, T0 + 2, args=(1, "two"), kwargs={"three": [3.0, None]}, name="A name", **policy)
    plain = make_entry("plain", None)
    store.add_entries([full, plain])
    for entry in (full, plain):
        check_same(entry_of(store, entry.job.id), entry)


@behaviour("keeps jobs beyond its end", "jobs")
def _keeps_beyond(bench: Bench) -> None:
    entries = [make_entry("one", args=({"a": (1, 2)},)), make_entry("two", None), make_entry("three", T0 + 5, T0 + 9)]
    bench.open().add_entries(entries)
    store = bench.open()
    for entry in entries:
        check_same(entry_of(store, entry.job.id), entry)


@behaviour("knows no job that was never added")
def _knows_none(bench: Bench) -> None:
    store = bench.open()
    assert store.get_entry("nobody") is None, "it gives one"
    assert store.list_entries() == [], "it lists some"
    assert store.acquire(now_at(T0), 10) == [], "it claims some"
    assert store.runs() == store.runs("nobody") == [], "it has runs"
    check_raises(JobLookupError, lambda: store.remove_job("nobody"))
    check_raises(JobLookupError, lambda: store.replace_entry(make_entry("nobody"), make_entry("nobody")))
    store.remove_all_jobs()
    store.add_entries([])


@behaviour("keeps records of fire times with the new jobs that they pass by")
def _keeps_records(bench: Bench) -> None:
    store = bench.open()

    def excluded(job_id: str, times: int = 3) -> RunRecord:
        return skip_record(job_id, Skip(SkipReason.EXCLUDED, T0 + 1, T0 + times * MINUTE, times), T0)

    store.add_entries([make_entry("one", T0 + 9 * MINUTE)], [excluded("one")])
    gap = skip_record("two", Skip(SkipReason.GAP, T0, T0, 1), T0)
    store.add_entries([make_entry("two", T0 + 9 * MINUTE), make_entry("three")], [excluded("two", 5), gap])
    batch = [make_entry("four"), make_entry("one")]
    check_raises(ConflictingIdError, lambda: store.add_entries(batch, [excluded("four"), excluded("one", 4)]))
    found = {
        name: [(r.reason, r.fire_us, r.times) for r in store.runs(name)] for name in ("one", "two", "three", "four")
    }
    assert found == {
        "one": [("excluded", T0 + 1, 3)],
        "two": [("excluded", T0 + 1, 5), ("gap", T0, 1)],
        "three": [],
        "four": [],
    }, f"it has {found} on record"


@behaviour("refuses an id that is taken, and then all of the batch")
def _conflict(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry("taken")])
    check_raises(ConflictingIdError, lambda: store.add_entries([make_entry("new"), make_entry("taken", args=(1,))]))
    check_raises(ConflictingIdError, lambda: store.add_entries([make_entry("taken", args=(1,))]))
    check_raises(ConflictingIdError, lambda: store.add_entries([make_entry("twin"), make_entry("twin")]))
    assert [entry.job.id for entry in store.list_entries()] == ["taken"], "it kept part of a refused batch"
    check_same(entry_of(store, "taken"), make_entry("taken"))


@behaviour("lists jobs by next dispatch, those without one last, then by id, and in pages")
def _lists(bench: Bench) -> None:
    store = bench.open()
    jobs = {"e": None, "a": T0 + 5, "c": T0 + 1, "b": T0 + 1, "d": T0 + 9, "f": None, "B": T0 + 1}
    store.add_entries([make_entry(job_id, fire_us) for job_id, fire_us in jobs.items()])
    wanted = ["B", "b", "c", "a", "d", "e", "f"]
    assert [entry.job.id for entry in store.list_entries()] == wanted, "the order is another"
    for size in (1, 2, 3, 7, 8):
        found: list[str] = []
        page = store.list_entries(None, size)
        while page:
            assert len(page) <= size, f"a page of {size} has {len(page)}"
            found += [entry.job.id for entry in page]
            assert len(found) <= len(wanted), f"pages of {size} give {found}, and go on"
            page = store.list_entries(page[-1], size)
        assert found == wanted, f"pages of {size} give {found}"


@behaviour("replaces a job only if nothing has changed since it was read")
def _replaces(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry(args=(1,)), make_entry("other")])
    old = entry_of(store)
    new = JobEntry(old.job._replace(args=(2,)), JobState.ACTIVE, T0 + 7, T0 + 8)
    assert store.replace_entry(old, new) is True, "it refuses"
    check_same(entry_of(store), new)
    assert store.replace_entry(old, make_entry(args=(3,))) is False, "it replaces what was changed"
    check_same(entry_of(store), new)
    current = entry_of(store)
    moved = current._replace(fire_us=T0 + 9, due_us=T0 + 9)
    assert store.replace_entry(current, moved) is True, "it refuses to move a job"
    assert store.replace_entry(current, current._replace(job=make_record(args=(4,)))) is False, (
        "it replaces what was moved"
    )
    paused = JobEntry(entry_of(store).job, JobState.PAUSED)
    assert store.replace_entry(entry_of(store), paused) is True, "it refuses to pause a job"
    check_same(entry_of(store), make_entry(fire_us=None, args=(2,)))
    check_same(entry_of(store, "other"), make_entry("other"))


@behaviour("replaces another job of the same id no more")
def _replaces_not_another(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry(args=(1,))])
    old = entry_of(store)
    store.remove_job("job")
    check_raises(JobLookupError, lambda: store.replace_entry(old, make_entry()))
    store.add_entries([make_entry(args=(2,))])
    assert store.replace_entry(old, make_entry(args=(3,))) is False, "it takes the new job for the old one"


@behaviour("removes one job, or all")
def _removes(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry(name) for name in "abc"])
    store.remove_job("b")
    assert store.get_entry("b") is None, "it is still there"
    check_raises(JobLookupError, lambda: store.remove_job("b"))
    assert [entry.job.id for entry in store.list_entries()] == ["a", "c"], "it removed another"
    store.remove_all_jobs()
    assert store.list_entries() == [], "some are left"
    assert store.next_due() == (None, None), "something is still due"
    store.add_entries([make_entry("b")])
    check_same(entry_of(store, "b"), make_entry("b"))


@behaviour("keeps instants to its precision, from the year 1 to the year 9999")
def _precision(bench: Bench) -> None:
    store = bench.open()
    step = store.traits.precision_us
    instants = [T0, T0 + step, T0 + 999_999 // step * step, from_datetime(datetime(9999, 12, 30, tzinfo=UTC))]
    instants += [0, -step, from_datetime(datetime(1, 1, 3, tzinfo=UTC))]
    store.add_entries([make_entry(f"job {at}", at) for at in instants])
    for at in instants:
        entry = entry_of(store, f"job {at}")
        assert (entry.fire_us, entry.due_us) == (at, at), f"{at} became {entry.fire_us}, {entry.due_us}"
    assert [entry.fire_us for entry in store.list_entries()] == sorted(instants), "they are out of order"


@behaviour("keeps ids, names and text of any script")
def _unicode(bench: Bench) -> None:
    store = bench.open()
    texts = ["größe", "作业", "задача", "🚀", "a b", 'it\'s "%s" %% {0} ?', "a/b\\c:d", "e\u0301", "\u00e9", "x" * 200]
    store.add_entries([make_entry(text, args=(text,), kwargs={text: text}, name=text) for text in texts])
    assert sorted(entry.job.id for entry in store.list_entries()) == sorted(texts), "ids were changed"
    for text in texts:
        check_same(entry_of(store, text), make_entry(text, args=(text,), kwargs={text: text}, name=text))
    runs = run_due(store, T0)
    store.finish([finish_of(run, retval=run.job.args[0]) for run in runs])
    for text in texts:
        store.remove_job(text)


@behaviour("keeps arguments of a megabyte")
def _large(bench: Bench) -> None:
    store = bench.open()
    entry = make_entry(args=("x" * 500_000, b"\0\xff" * 250_000))
    store.add_entries([entry])
    check_same(entry_of(store), entry)
    assert [run.job.args == entry.job.args for run in run_due(store, T0)] == [True], "there is not one run, with them"


@behaviour("keeps arguments of every plain type, and times with their zones", "jobs")
def _types(bench: Bench) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    values = (
        None, True, 0, -(2**70), 1.5, float("inf"), "", b"\0", (1, (2,)), [1, [2]], {"a": {"b": None}}, {1: "one"}, {1, 2},
        frozenset({"x"}), datetime(2026, 3, 29, 1, 59, 59, 999_999),  # noqa: DTZ001  # a naive one, too
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=berlin),
        datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), timedelta(days=-1, microseconds=1), Decimal("1.10"),
    )  # fmt: skip
    entry = make_entry(args=values, kwargs={"all": list(values)})
    bench.open().add_entries([entry])
    found = entry_of(bench.open())
    check_same(found, entry)
    zoned = found.job.args[15]
    assert (zoned.tzinfo.key, zoned.fold) == ("Europe/Berlin", 1), f"the zone or the fold is lost: {zoned!r}"


@behaviour("keeps triggers in their zones", "jobs")
def _triggers(bench: Bench) -> None:
    triggers: dict[str, EngineTrigger] = {
        "date": DateTrigger("2026-03-29 03:30:00", timezone="Europe/Berlin"),
        "interval": IntervalTrigger(
            seconds=0.1, start_date="2026-01-01", end_date="2027-01-01", timezone="Asia/Kolkata", jitter=2
        ),
        "fixed": IntervalTrigger(hours=1, start_date="2026-01-01T00:00:00+05:30"),
        "floating": IntervalTrigger(hours=1, timezone="America/New_York").anchored(T0),
        "cron": CronTrigger(hour="2-3", minute="*/30", timezone="Europe/Berlin"),
        "crontab": CronTrigger.from_crontab("30 2 * * sun", timezone="America/New_York"),
    }
    bench.open().add_entries([make_entry(name, trigger=trigger) for name, trigger in triggers.items()])
    store = bench.open()
    for name, trigger in triggers.items():
        kept = entry_of(store, name).job.trigger
        assert kept == trigger, f"{kept!r} is not {trigger!r}"
        assert (kept.same_rule(trigger), kept.jitter_us, kept.end_us) == (True, trigger.jitter_us, trigger.end_us), name
        assert str(kept.timezone) == str(trigger.timezone), f"{name}: the zone is {kept.timezone}"
        mine, theirs = kept.first_us(T0), trigger.first_us(T0)
        for _ in range(100):
            assert mine == theirs, f"{name}: {mine} is not {theirs}"
            if mine is None or theirs is None:
                break
            mine, theirs = kept.next_us(mine), trigger.next_us(theirs)


@behaviour("refuses callables that no text names, and says why", "jobs")
def _refuses(bench: Bench) -> None:
    store = bench.open()
    check_raises(
        TransientJobError, lambda: store.add_entries([make_entry("good"), make_entry("bad", func=lambda: None)])
    )

    def nested() -> None: ...

    check_raises(TransientJobError, lambda: store.add_entries([make_entry("bad", func=nested)]))
    assert store.list_entries() == [], "it kept part of a refused batch"


@behaviour("refuses arguments that it cannot store, and names the place", "jobs")
def _refuses_arguments(bench: Bench) -> None:
    store = bench.open()
    bad = threading.Lock()
    error = check_raises(SerializationError, lambda: store.add_entries([make_entry(kwargs={"when": [1, 2, bad]})]))
    assert isinstance(error, SerializationError)
    assert error.path == "kwargs['when'][2]", f"it names {error.path!r}"
    assert "kwargs['when'][2]" in str(error), f"it says {error}"
    assert store.list_entries() == [], "it kept the job"


@behaviour("keeps ten thousand jobs, and claims of them what is due")
def _many(bench: Bench) -> None:
    store = bench.open()
    store.add_entries([make_entry(f"{number:05}", T0 + number * 1000) for number in range(10_000)])
    assert len(store.list_entries()) == 10_000, "some are missing"
    page = store.list_entries(None, 100)
    assert [entry.job.id for entry in page] == [f"{number:05}" for number in range(100)], "the first page is another"
    claims = store.acquire(now_at(T0 + 9000), 100)
    assert [claim.job.id for claim in claims] == [f"{number:05}" for number in range(10)], "it claims others"

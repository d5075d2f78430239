"""The conformance suite of job stores.

``check_store(make)`` runs every behaviour of the contract (``schedcore.jobstores.base``) against a store of any kind, without
pytest:

    check_store(lambda folder: SQLAlchemyJobStore(f"sqlite:///{folder}/jobs.sqlite"), SQLAlchemyJobStore.traits)

``make(folder)`` gives a new store that was not started; with the same folder it is to find what an earlier one kept there.
What a store cannot have follows from its traits or is declared (``lacks``), and ``store_behaviours(…)`` lists each behaviour with
the reason why it is left out, or None, so that a test run can show it. A *crash* is a store that is closed in the middle of
things: closing writes nothing.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from schedcore.clock import Now, from_datetime
from schedcore.engine import Claim, Decision, decide
from schedcore.errors import ConflictingIdError, JobLookupError, SerializationError, TransientJobError, did_you_mean
from schedcore.executors.command import CommandFailedError, CommandResult
from schedcore.job import NO_KWARGS, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores.base import JobStore, Recovered, StoreTraits
from schedcore.run import Finish, Run, RunRecord, RunState, Skip, SkipReason, skip_record
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing.time import VirtualClock
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

__all__ = ["check_store", "store_behaviours", "work"]

# Microseconds: 2026-01-01T00:00:00Z, when the suite's time begins, and a minute.
_T0 = 1_767_225_600_000_000
_MINUTE = 60_000_000
# Seconds. How long threads of the suite may take: it bounds a failing check, a passing one never waits so long.
_PATIENCE_S = 30.0

Make = Callable[[str], JobStore]


def work(*args: Any, **kwargs: Any) -> Any:
    """The function of the suite's jobs. It is never called."""


class _Bench:
    """One store at a time over one folder, and what jobs are made of."""

    def __init__(self, make: Make, folder: str) -> None:
        self._make = make
        self._folder = folder
        self._scheduler = BackgroundScheduler(
            clock=VirtualClock(start=datetime(2026, 1, 1, tzinfo=UTC)), timezone="UTC"
        )
        self._store: JobStore | None = None

    def open(self) -> JobStore:
        """A started store over what the last one left."""
        self.close()
        store = self._make(self._folder)
        self._store = store
        store.start(self._scheduler, "default")
        return store

    def close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.shutdown()
            store.shutdown()  # twice is harmless


def _record(
    job_id: str = "job",
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NO_KWARGS,
    trigger: EngineTrigger | None = None,
    func: Callable[..., Any] = work,
    name: str | None = None,
    **policy: Any,
) -> JobRecord:
    if trigger is None:
        trigger = IntervalTrigger(minutes=1, start_date="2026-01-01T00:00:00+00:00", timezone="UTC")
    return JobRecord(job_id, name or job_id, func, None, args, kwargs, trigger, JobPolicy(**policy).intern())


def _entry(job_id: str = "job", fire_us: int | None = _T0, due_us: int | None = None, **parts: Any) -> JobEntry:
    """An active job that is due at an instant; None: a paused one."""
    state = JobState.PAUSED if fire_us is None else JobState.ACTIVE
    return JobEntry(_record(job_id, **parts), state, fire_us, fire_us if due_us is None else due_us)


def _at(instant_us: int) -> Now:
    return Now(instant_us, instant_us)


def _decisions(claims: Sequence[Claim], now_us: int) -> list[Decision]:
    return [decide(claim, now_us) for claim in claims]


def _run_due(store: JobStore, now_us: int, limit: int = 1000) -> list[Run]:
    """Claim, decide and commit what is due."""
    claims = store.acquire(_at(now_us), limit)
    committed = store.commit(_decisions(claims, now_us), now_us)
    assert not committed.dropped, f"decisions were dropped for no reason: {committed.dropped}"
    return committed.runs


def _finish(run: Run, state: RunState = RunState.SUCCEEDED, **outcome: Any) -> Finish:
    return Finish(run, state, run.fire_us + 1000, run.fire_us + 5000, **outcome)


def _job_id(run: Run) -> str:
    return run.job.id


def _earliest(store: JobStore) -> int | None:
    """The next dispatch, on whichever timeline: while they agree, a store need not tell them apart."""
    return min((due for due in store.next_due() if due is not None), default=None)


def _get(store: JobStore, job_id: str = "job") -> JobEntry:
    entry = store.get_entry(job_id)
    assert entry is not None, f"there is no job {job_id!r}"
    return entry


def _same(found: JobEntry, entry: JobEntry) -> None:
    """The same job at the same place, down to the types of its arguments."""
    job, wanted = found.job, entry.job
    assert job.func is wanted.func, f"the function is {job.func}, not {wanted.func}"
    for field in ("id", "name", "args", "trigger", "policy"):
        mine, theirs = getattr(job, field), getattr(wanted, field)
        assert mine == theirs, f"{field} is {mine!r}, not {theirs!r}"
    assert repr(job.args) == repr(wanted.args), f"args are {job.args!r}, not {wanted.args!r}"
    assert dict(job.kwargs) == dict(wanted.kwargs), f"kwargs are {job.kwargs!r}, not {wanted.kwargs!r}"
    assert found[1:] == entry[1:], f"the place is {found[1:]}, not {entry[1:]}"


# --- the suite ---


class _Behaviour(NamedTuple):
    name: str
    check: Callable[[_Bench], None]
    needs: tuple[str, ...]


_behaviours: list[_Behaviour] = []
_REASONS = {
    "jobs": "its jobs do not outlive it",
    "runs": "its runs do not outlive it",
    "journal": "it has no journal",
}


def _behaviour(name: str, *needs: str) -> Callable[[Callable[[_Bench], None]], Callable[[_Bench], None]]:
    def register(check: Callable[[_Bench], None]) -> Callable[[_Bench], None]:
        _behaviours.append(_Behaviour(name, check, needs))
        return check

    return register


def store_behaviours(
    traits: StoreTraits, *, keeps_jobs: bool | None = None, lacks: Mapping[str, str] | None = None
) -> list[tuple[str, str | None]]:
    """The behaviours, each with the reason why a store with these traits is not held to it, or None.

    ``keeps_jobs``: whether jobs outlive a store whose runs do not (``traits.durable`` speaks of both). ``lacks``: what this store
    cannot have besides, name of the behaviour to reason.
    """
    known = [behaviour.name for behaviour in _behaviours]
    lacks = {} if lacks is None else lacks
    for name in lacks:
        if name not in known:
            raise ValueError(f"there is no behaviour {name!r}{did_you_mean(name, known)}")
    has = {
        "runs": traits.durable,
        "journal": traits.journals,
        "jobs": traits.durable if keeps_jobs is None else keeps_jobs,
    }

    def left_out(behaviour: _Behaviour) -> str | None:
        if behaviour.name in lacks:
            return lacks[behaviour.name]
        return next((_REASONS[need] for need in behaviour.needs if not has[need]), None)

    return [(behaviour.name, left_out(behaviour)) for behaviour in _behaviours]


def check_store(
    make: Make,
    traits: StoreTraits,
    *,
    keeps_jobs: bool | None = None,
    lacks: Mapping[str, str] | None = None,
    only: str | None = None,
) -> list[str]:
    """Hold a store to its contract. Returns the names of the behaviours checked; ``AssertionError`` names what is missing.

    ``only`` names a single behaviour; for the rest see ``store_behaviours``.
    """
    wanted = dict(store_behaviours(traits, keeps_jobs=keeps_jobs, lacks=lacks))
    if only is not None and only not in wanted:
        raise ValueError(f"there is no behaviour {only!r}{did_you_mean(only, wanted)}")
    checked: list[str] = []
    for behaviour in _behaviours:
        if only not in (None, behaviour.name) or wanted[behaviour.name] is not None:
            continue
        with tempfile.TemporaryDirectory(prefix="schedcore-check-") as folder:
            bench = _Bench(make, folder)
            try:
                behaviour.check(bench)
            except AssertionError as error:
                raise AssertionError(f"a job store {behaviour.name}: {error}") from error
            finally:
                bench.close()
        checked.append(behaviour.name)
    return checked


# --- jobs ---


@_behaviour("keeps a job and gives it back")
def _keeps(bench: _Bench) -> None:
    store = bench.open()
    policy = {
        "executor": "other",
        "misfire_grace_us": 1_500_000,
        "coalesce": False,
        "max_instances": 3,
        "max_catchup": 7,
        "recovery": "lost",
    }
    full = _entry("full", _T0 + 1, _T0 + 2, args=(1, "two"), kwargs={"three": [3.0, None]}, name="A name", **policy)
    plain = _entry("plain", None)
    store.add_entries([full, plain])
    for entry in (full, plain):
        _same(_get(store, entry.job.id), entry)


@_behaviour("keeps jobs beyond its end", "jobs")
def _keeps_beyond(bench: _Bench) -> None:
    entries = [_entry("one", args=({"a": (1, 2)},)), _entry("two", None), _entry("three", _T0 + 5, _T0 + 9)]
    bench.open().add_entries(entries)
    store = bench.open()
    for entry in entries:
        _same(_get(store, entry.job.id), entry)


@_behaviour("knows no job that was never added")
def _knows_none(bench: _Bench) -> None:
    store = bench.open()
    assert store.get_entry("nobody") is None, "it gives one"
    assert store.list_entries() == [], "it lists some"
    assert store.acquire(_at(_T0), 10) == [], "it claims some"
    assert store.runs() == store.runs("nobody") == [], "it has runs"
    _raises(JobLookupError, lambda: store.remove_job("nobody"))
    _raises(JobLookupError, lambda: store.replace_entry(_entry("nobody"), _entry("nobody")))
    store.remove_all_jobs()
    store.add_entries([])


@_behaviour("keeps records of fire times with the new jobs that they pass by")
def _keeps_records(bench: _Bench) -> None:
    store = bench.open()

    def excluded(job_id: str, times: int = 3) -> RunRecord:
        return skip_record(job_id, Skip(SkipReason.EXCLUDED, _T0 + 1, _T0 + times * _MINUTE, times), _T0)

    store.add_entries([_entry("one", _T0 + 9 * _MINUTE)], [excluded("one")])
    gap = skip_record("two", Skip(SkipReason.GAP, _T0, _T0, 1), _T0)
    store.add_entries([_entry("two", _T0 + 9 * _MINUTE), _entry("three")], [excluded("two", 5), gap])
    batch = [_entry("four"), _entry("one")]
    _raises(ConflictingIdError, lambda: store.add_entries(batch, [excluded("four"), excluded("one", 4)]))
    found = {
        name: [(r.reason, r.fire_us, r.times) for r in store.runs(name)] for name in ("one", "two", "three", "four")
    }
    assert found == {
        "one": [("excluded", _T0 + 1, 3)],
        "two": [("excluded", _T0 + 1, 5), ("gap", _T0, 1)],
        "three": [],
        "four": [],
    }, f"it has {found} on record"


@_behaviour("refuses an id that is taken, and then all of the batch")
def _conflict(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("taken")])
    _raises(ConflictingIdError, lambda: store.add_entries([_entry("new"), _entry("taken", args=(1,))]))
    _raises(ConflictingIdError, lambda: store.add_entries([_entry("taken", args=(1,))]))
    _raises(ConflictingIdError, lambda: store.add_entries([_entry("twin"), _entry("twin")]))
    assert [entry.job.id for entry in store.list_entries()] == ["taken"], "it kept part of a refused batch"
    _same(_get(store, "taken"), _entry("taken"))


@_behaviour("lists jobs by next dispatch, those without one last, then by id, and in pages")
def _lists(bench: _Bench) -> None:
    store = bench.open()
    jobs = {"e": None, "a": _T0 + 5, "c": _T0 + 1, "b": _T0 + 1, "d": _T0 + 9, "f": None, "B": _T0 + 1}
    store.add_entries([_entry(job_id, fire_us) for job_id, fire_us in jobs.items()])
    wanted = ["B", "b", "c", "a", "d", "e", "f"]
    assert [entry.job.id for entry in store.list_entries()] == wanted, "the order is another"
    for size in (1, 2, 3, 7, 8):
        found: list[str] = []
        page = store.list_entries(None, size)
        while page:
            assert len(page) <= size, f"a page of {size} has {len(page)}"
            found += [entry.job.id for entry in page]
            page = store.list_entries(page[-1], size)
        assert found == wanted, f"pages of {size} give {found}"


@_behaviour("replaces a job only if nothing has changed since it was read")
def _replaces(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry(args=(1,)), _entry("other")])
    old = _get(store)
    new = JobEntry(old.job._replace(args=(2,)), JobState.ACTIVE, _T0 + 7, _T0 + 8)
    assert store.replace_entry(old, new) is True, "it refuses"
    _same(_get(store), new)
    assert store.replace_entry(old, _entry(args=(3,))) is False, "it replaces what was changed"
    _same(_get(store), new)
    current = _get(store)
    moved = current._replace(fire_us=_T0 + 9, due_us=_T0 + 9)
    assert store.replace_entry(current, moved) is True, "it refuses to move a job"
    assert store.replace_entry(current, current._replace(job=_record(args=(4,)))) is False, "it replaces what was moved"
    paused = JobEntry(_get(store).job, JobState.PAUSED)
    assert store.replace_entry(_get(store), paused) is True, "it refuses to pause a job"
    _same(_get(store), _entry(fire_us=None, args=(2,)))
    _same(_get(store, "other"), _entry("other"))


@_behaviour("replaces another job of the same id no more")
def _replaces_not_another(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry(args=(1,))])
    old = _get(store)
    store.remove_job("job")
    _raises(JobLookupError, lambda: store.replace_entry(old, _entry()))
    store.add_entries([_entry(args=(2,))])
    assert store.replace_entry(old, _entry(args=(3,))) is False, "it takes the new job for the old one"


@_behaviour("removes one job, or all")
def _removes(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry(name) for name in "abc"])
    store.remove_job("b")
    assert store.get_entry("b") is None, "it is still there"
    _raises(JobLookupError, lambda: store.remove_job("b"))
    assert [entry.job.id for entry in store.list_entries()] == ["a", "c"], "it removed another"
    store.remove_all_jobs()
    assert store.list_entries() == [], "some are left"
    assert store.next_due() == (None, None), "something is still due"
    store.add_entries([_entry("b")])
    _same(_get(store, "b"), _entry("b"))


@_behaviour("keeps instants to its precision, from the year 1 to the year 9999")
def _precision(bench: _Bench) -> None:
    store = bench.open()
    step = store.traits.precision_us
    instants = [_T0, _T0 + step, _T0 + 999_999 // step * step, from_datetime(datetime(9999, 12, 30, tzinfo=UTC))]
    instants += [0, -step, from_datetime(datetime(1, 1, 3, tzinfo=UTC))]
    store.add_entries([_entry(f"job {at}", at) for at in instants])
    for at in instants:
        entry = _get(store, f"job {at}")
        assert (entry.fire_us, entry.due_us) == (at, at), f"{at} became {entry.fire_us}, {entry.due_us}"
    assert [entry.fire_us for entry in store.list_entries()] == sorted(instants), "they are out of order"


@_behaviour("keeps ids, names and text of any script")
def _unicode(bench: _Bench) -> None:
    store = bench.open()
    texts = ["größe", "作业", "задача", "🚀", "a b", 'it\'s "%s" %% {0} ?', "a/b\\c:d", "e\u0301", "\u00e9", "x" * 200]
    store.add_entries([_entry(text, args=(text,), kwargs={text: text}, name=text) for text in texts])
    assert sorted(entry.job.id for entry in store.list_entries()) == sorted(texts), "ids were changed"
    for text in texts:
        _same(_get(store, text), _entry(text, args=(text,), kwargs={text: text}, name=text))
    runs = _run_due(store, _T0)
    store.finish([_finish(run, retval=run.job.args[0]) for run in runs])
    for text in texts:
        store.remove_job(text)


@_behaviour("keeps arguments of a megabyte")
def _large(bench: _Bench) -> None:
    store = bench.open()
    entry = _entry(args=("x" * 500_000, b"\0\xff" * 250_000))
    store.add_entries([entry])
    _same(_get(store), entry)
    assert _run_due(store, _T0)[0].job.args == entry.job.args, "a run has others"


@_behaviour("keeps arguments of every plain type, and times with their zones", "jobs")
def _types(bench: _Bench) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    values = (
        None, True, 0, -(2**70), 1.5, float("inf"), "", b"\0", (1, (2,)), [1, [2]], {"a": {"b": None}}, {1: "one"}, {1, 2},
        frozenset({"x"}), datetime(2026, 3, 29, 1, 59, 59, 999_999),  # noqa: DTZ001  # a naive one, too
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=berlin),
        datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), timedelta(days=-1, microseconds=1), Decimal("1.10"),
    )  # fmt: skip
    entry = _entry(args=values, kwargs={"all": list(values)})
    bench.open().add_entries([entry])
    found = _get(bench.open())
    _same(found, entry)
    zoned = found.job.args[15]
    assert (zoned.tzinfo.key, zoned.fold) == ("Europe/Berlin", 1), f"the zone or the fold is lost: {zoned!r}"


@_behaviour("keeps triggers in their zones", "jobs")
def _triggers(bench: _Bench) -> None:
    triggers: dict[str, EngineTrigger] = {
        "date": DateTrigger("2026-03-29 03:30:00", timezone="Europe/Berlin"),
        "interval": IntervalTrigger(
            seconds=0.1, start_date="2026-01-01", end_date="2027-01-01", timezone="Asia/Kolkata", jitter=2
        ),
        "fixed": IntervalTrigger(hours=1, start_date="2026-01-01T00:00:00+05:30"),
        "floating": IntervalTrigger(hours=1, timezone="America/New_York").anchored(_T0),
        "cron": CronTrigger(hour="2-3", minute="*/30", timezone="Europe/Berlin"),
        "crontab": CronTrigger.from_crontab("30 2 * * sun", timezone="America/New_York"),
    }
    bench.open().add_entries([_entry(name, trigger=trigger) for name, trigger in triggers.items()])
    store = bench.open()
    for name, trigger in triggers.items():
        kept = _get(store, name).job.trigger
        assert kept == trigger, f"{kept!r} is not {trigger!r}"
        assert (kept.same_rule(trigger), kept.jitter_us, kept.end_us) == (True, trigger.jitter_us, trigger.end_us), name
        assert str(kept.timezone) == str(trigger.timezone), f"{name}: the zone is {kept.timezone}"
        mine, theirs = kept.first_us(_T0), trigger.first_us(_T0)
        for _ in range(100):
            assert mine == theirs, f"{name}: {mine} is not {theirs}"
            if mine is None or theirs is None:
                break
            mine, theirs = kept.next_us(mine), trigger.next_us(theirs)


@_behaviour("refuses callables that no text names, and says why", "jobs")
def _refuses(bench: _Bench) -> None:
    store = bench.open()
    _raises(TransientJobError, lambda: store.add_entries([_entry("good"), _entry("bad", func=lambda: None)]))

    def nested() -> None: ...

    _raises(TransientJobError, lambda: store.add_entries([_entry("bad", func=nested)]))
    assert store.list_entries() == [], "it kept part of a refused batch"


@_behaviour("refuses arguments that it cannot store, and names the place", "jobs")
def _refuses_arguments(bench: _Bench) -> None:
    store = bench.open()
    bad = threading.Lock()
    error = _raises(SerializationError, lambda: store.add_entries([_entry(kwargs={"when": [1, 2, bad]})]))
    assert isinstance(error, SerializationError)
    assert error.path == "kwargs['when'][2]", f"it names {error.path!r}"
    assert "kwargs['when'][2]" in str(error), f"it says {error}"
    assert store.list_entries() == [], "it kept the job"


@_behaviour("keeps ten thousand jobs, and claims of them what is due")
def _many(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry(f"{number:05}", _T0 + number * 1000) for number in range(10_000)])
    assert len(store.list_entries()) == 10_000, "some are missing"
    page = store.list_entries(None, 100)
    assert [entry.job.id for entry in page] == [f"{number:05}" for number in range(100)], "the first page is another"
    claims = store.acquire(_at(_T0 + 9000), 100)
    assert [claim.job.id for claim in claims] == [f"{number:05}" for number in range(10)], "it claims others"


# --- the way of a run ---


@_behaviour("claims what is due, earliest first, up to a limit")
def _claims(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("late", _T0 + 2), _entry("next", _T0 + 4), _entry("first", _T0), _entry("paused", None)])
    store.add_entries([_entry("jittered", _T0, _T0 + 1)])
    assert _earliest(store) == _T0, f"next is {store.next_due()}"
    claims = store.acquire(_at(_T0 + 3), 2)
    assert [(c.job.id, c.fire_us, c.due_us, c.live) for c in claims] == [
        ("first", _T0, _T0, 0),
        ("jittered", _T0, _T0 + 1, 0),
    ], f"it claims {claims}"
    _same(JobEntry(claims[0].job, JobState.ACTIVE, _T0, _T0), _entry("first"))
    assert [claim.job.id for claim in store.acquire(_at(_T0 + 3), 9)] == ["late"], "the rest is another"
    assert store.acquire(_at(_T0 + 3), 9) == [], "it claims twice"
    assert _earliest(store) == _T0 + 4, f"next is {store.next_due()}, with claimed jobs left out"


@_behaviour("tells elapsed time from the wall clock")
def _timelines(bench: _Bench) -> None:
    store = bench.open()
    calendar = CronTrigger(minute="*", timezone="UTC")
    store.add_entries([_entry("elapsed", _T0 + 10), _entry("calendar", _T0 + 10, trigger=calendar)])
    assert _earliest(store) == _T0 + 10, f"next is {store.next_due()}"
    claims = store.acquire(Now(wall_us=_T0, steady_us=_T0 + 20), 9)
    assert [claim.job.id for claim in claims] == ["elapsed"], "the wall clock was set back: only elapsed time is due"
    store.commit(_decisions(claims, _T0 + 20), _T0)
    wanted = (_T0 + 10, _T0 + _MINUTE)
    assert store.next_due() == wanted, f"next is {store.next_due()}: each on its own timeline"
    assert [claim.job.id for claim in store.acquire(_at(_T0 + 10), 9)] == ["calendar"], "the calendar job is lost"


@_behaviour("commits runs and next fire times")
def _commits(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("b", _T0 + 1), _entry("a", _T0), _entry("c", _T0 + 2 * _MINUTE)])
    claims = store.acquire(_at(_T0 + 1), 9)
    committed = store.commit(_decisions(claims, _T0 + 1), _T0 + 1)
    runs = [(run.job.id, run.alias, run.fire_us, run.attempt) for run in committed.runs]
    assert runs == [("a", "default", _T0, 1), ("b", "default", _T0 + 1, 1)], f"it submits {runs}"
    assert committed.dropped == [], "it drops decisions"
    assert (_get(store, "a").fire_us, _get(store, "a").due_us) == (_T0 + _MINUTE, _T0 + _MINUTE), (
        "the next one is another"
    )
    assert store.acquire(_at(_T0 + 1), 9) == [], "it claims them again"
    assert sorted(claim.job.id for claim in store.acquire(_at(_T0 + _MINUTE), 9)) == ["a", "b"], "they do not go on"


@_behaviour("drops a decision on a job that was changed, moved, paused or removed since it was claimed")
def _fences(bench: _Bench) -> None:
    store = bench.open()
    names = ["changed", "kept", "moved", "paused", "readded", "removed"]
    store.add_entries([_entry(name) for name in names])
    claims = store.acquire(_at(_T0), 9)
    entries = {name: _get(store, name) for name in names}
    changed = entries["changed"]
    assert store.replace_entry(changed, changed._replace(job=changed.job._replace(args=(1,))))
    assert store.replace_entry(entries["moved"], entries["moved"]._replace(fire_us=_T0 + 5, due_us=_T0 + 5))
    assert store.replace_entry(entries["paused"], JobEntry(entries["paused"].job, JobState.PAUSED))
    for name in ("readded", "removed"):
        store.remove_job(name)
    store.add_entries([_entry("readded", _T0 + 3)])
    committed = store.commit(_decisions(claims, _T0), _T0)
    assert [run.job.id for run in committed.runs] == ["kept"], f"it submits {committed.runs}"
    dropped = sorted(decision.claim.job.id for decision in committed.dropped)
    assert dropped == sorted(set(names) - {"kept"}), f"it drops {dropped}"
    again = [(claim.job.id, claim.job.args) for claim in store.acquire(_at(_T0 + 5), 9)]
    assert again == [("changed", (1,)), ("readded", ()), ("moved", ())], f"then it claims {again}"


@_behaviour("drops a decision on a job that was changed since, and claimed again")
def _fences_again(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry(args=(1,))])
    outdated = _decisions(store.acquire(_at(_T0), 9), _T0)
    entry = _get(store)
    store.replace_entry(entry, entry._replace(job=entry.job._replace(args=(2,))))
    fresh = _decisions(store.acquire(_at(_T0), 9), _T0)
    first = store.commit(outdated, _T0)
    assert (first.runs, len(first.dropped)) == ([], 1), f"it runs {first.runs}"
    assert [run.job.args for run in store.commit(fresh, _T0).runs] == [(2,)], "and drops the one that holds"


@_behaviour("commits a decision once")
def _commits_once(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry()])
    decisions = _decisions(store.acquire(_at(_T0), 9), _T0)
    assert len(store.commit(decisions, _T0).runs) == 1
    again = store.commit(decisions, _T0)
    assert (again.runs, len(again.dropped)) == ([], 1), "the second time it runs again"
    _run_due(store, _T0 + _MINUTE)
    store.commit(decisions, _T0)
    assert _get(store).fire_us == _T0 + 2 * _MINUTE, "an old decision sets the job back"


@_behaviour("runs no fire time twice, whatever becomes of the schedule", "runs")
def _once(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("a"), _entry("b")])
    store.finish([_finish(run) for run in _run_due(store, _T0)])
    for name in ("a", "b"):
        entry = _get(store, name)
        store.replace_entry(entry, entry._replace(fire_us=_T0, due_us=_T0))
    store.add_entries([_entry("c")])
    runs = _run_due(store, _T0)
    assert [run.job.id for run in runs] == ["c"], f"it runs {[run.id for run in runs]}"
    assert _get(store, "a").fire_us == _T0 + _MINUTE, "the schedule does not go on"


@_behaviour("counts the live runs of a job")
def _live(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry(max_instances=3), _entry("other", _T0 + _MINUTE)])
    runs: list[Run] = []
    for number in range(3):
        now_us = _T0 + number * _MINUTE
        claims = store.acquire(_at(now_us), 9)
        mine = [claim.live for claim in claims if claim.job.id == "job"]
        assert mine == [number], f"it counts {mine} instead of {number}"
        runs += [run for run in store.commit(_decisions(claims, now_us), now_us).runs if run.job.id == "job"]
    store.finish([_finish(run) for run in runs[:2]])
    claims = store.acquire(_at(_T0 + 3 * _MINUTE), 9)
    assert next(claim.live for claim in claims if claim.job.id == "job") == 1, "finished runs are counted"


@_behaviour("counts the live runs of an earlier job with the same id, too")
def _live_former(bench: _Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    former = "the live runs of the job before it"
    store.add_entries([_entry(trigger=once, max_instances=2), _entry("other", max_instances=2)])
    first, other = sorted(_run_due(store, _T0), key=lambda run: run.job.id)
    store.started([(first, _T0 + 1)])
    # Its schedule has ended, and it is added again.
    store.add_entries([_entry("job", _T0 + 1, trigger=once, max_instances=2)])
    (claim,) = store.acquire(_at(_T0 + 1), 9)
    assert claim.live == 1, f"it counts {claim.live} for {former}, which has ended"
    (second,) = store.commit(_decisions([claim], _T0 + 1), _T0 + 1).runs
    # And a third time; and one that was removed is added again.
    store.remove_job("other")
    store.add_entries([_entry("job", _T0 + 2, trigger=once), _entry("other", _T0 + 2)])
    claims = sorted(store.acquire(_at(_T0 + 2), 9), key=lambda claim: claim.job.id)
    assert [claim.live for claim in claims] == [2, 1], f"it counts {[c.live for c in claims]} for {former}"
    assert store.commit(_decisions(claims, _T0 + 2), _T0 + 2).runs == [], "it runs them beside those"
    store.finish([_finish(run) for run in (first, second, other)])
    store.add_entries([_entry("job", _T0 + 3, trigger=once)])
    (claim,) = store.acquire(_at(_T0 + 3), 9)
    assert claim.live == 0, f"it counts {claim.live} for {former} when they have ended"


@_behaviour("makes several runs of one backlog")
def _backlog(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry(coalesce=False, max_catchup=2)])
    now_us = _T0 + 3 * _MINUTE
    runs = _run_due(store, now_us)
    assert [run.fire_us for run in runs] == [_T0, _T0 + _MINUTE], f"it runs {[run.id for run in runs]}"
    skipped = [record for record in store.runs() if record.state is RunState.SKIPPED]
    assert [(r.fire_us, r.until_us, r.times, r.reason) for r in skipped] == [
        (_T0 + 2 * _MINUTE, now_us, 2, str(SkipReason.CATCHUP_LIMIT))
    ], f"it skips {skipped}"


@_behaviour("records what was skipped, with the reason")
def _skips(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry()])
    (claim,) = store.acquire(_at(_T0), 9)
    skips = (
        Skip(SkipReason.MISFIRED, _T0, _T0 + 3 * _MINUTE, 4),
        Skip(SkipReason.COALESCED, _T0 + 4 * _MINUTE, _T0 + 4 * _MINUTE, 1),
    )
    next_us = _T0 + 5 * _MINUTE
    committed = store.commit([Decision(claim, (), skips, next_us, next_us)], _T0 + 1)
    assert committed.runs == [], "it runs them"
    found = [(r.job_id, r.fire_us, r.until_us, r.times, r.state, r.reason, r.finished_us) for r in store.runs("job")]
    assert found == [
        ("job", skip.first_us, skip.last_us, skip.times, RunState.SKIPPED, str(skip.reason), _T0 + 1)
        for skip in reversed(skips)
    ], f"it records {found}"


@_behaviour("records how a run ended")
def _outcomes(bench: _Bench) -> None:
    store = bench.open()
    names = ["returned", "raised", "commanded", "command failed", "cancelled", "silent", "strange"]
    store.add_entries([_entry(name) for name in names])
    runs = {run.job.id: run for run in _run_due(store, _T0)}
    succeeded, failed = RunState.SUCCEEDED, RunState.FAILED
    strange = ValueError("half of a pair: \udc80, and a NUL: \0")
    store.finish(
        [
            _finish(runs["returned"], succeeded, retval={"a": 1}),
            _finish(runs["raised"], failed, exception=KeyError("x"), traceback="Traceback:\n  x"),
            _finish(runs["commanded"], succeeded, retval=CommandResult(0, "hello\n")),
            _finish(runs["command failed"], failed, exception=CommandFailedError(3, "oops\n"), traceback="T"),
            Finish(runs["cancelled"], RunState.CANCELLED, None, _T0 + 7),
            _finish(runs["silent"], succeeded),
            _finish(runs["strange"], failed, exception=strange, traceback="\udc80\0"),
        ]
    )
    found = {record.job_id: record for record in store.runs()}
    assert sorted(found) == sorted(names), f"it records {sorted(found)}"
    first = found["returned"]
    assert (first.state, first.started_us, first.finished_us) == (succeeded, _T0 + 1000, _T0 + 5000), f"{first}"
    assert (first.fire_us, first.attempt, first.times) == (_T0, 1, 1), f"{first}"

    def columns(name: str) -> tuple[Any, ...]:
        record = found[name]
        return record.state, record.error, record.traceback, record.result, record.output, record.exit_code

    assert columns("returned") == (succeeded, None, None, "{'a': 1}", None, None), columns("returned")
    assert columns("raised") == (failed, "KeyError: 'x'", "Traceback:\n  x", None, None, None), columns("raised")
    assert columns("commanded") == (succeeded, None, None, None, "hello\n", 0), columns("commanded")
    assert columns("command failed")[2:] == ("T", None, "oops\n", 3), columns("command failed")
    assert columns("silent") == (succeeded, None, None, None, None, None), columns("silent")
    assert found["cancelled"].state is RunState.CANCELLED, columns("cancelled")
    assert found["strange"].state is failed, columns("strange")
    assert str(found["strange"].error).startswith("ValueError: half of a pair: "), columns("strange")


@_behaviour("takes an outcome twice")
def _finish_twice(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("a"), _entry("b")])
    one, two = sorted(_run_due(store, _T0), key=lambda run: run.job.id)  # which comes first is not said
    store.finish([_finish(one, retval=1)])
    store.finish([_finish(one, retval=1), _finish(two, retval=2)])
    found = sorted((record.job_id, record.state, record.result) for record in store.runs() if record.finished_us)
    assert found == [("a", RunState.SUCCEEDED, "1"), ("b", RunState.SUCCEEDED, "2")], f"it records {found}"


@_behaviour("lets live runs of a removed job end")
def _finish_removed(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("a"), _entry("b")])
    runs = _run_due(store, _T0)
    store.started([(run, _T0 + 1) for run in runs])
    store.remove_job("a")
    store.add_entries([_entry("a", None, args=(2,))])
    store.finish([_finish(run) for run in runs])
    states = [(record.job_id, record.state) for record in store.runs() if record.finished_us]
    assert sorted(states) == [("a", RunState.SUCCEEDED), ("b", RunState.SUCCEEDED)], f"it records {states}"
    _same(_get(store, "a"), _entry("a", None, args=(2,)))


@_behaviour("ends a job whose schedule is over, and its id is free")
def _ends(bench: _Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    store.add_entries([_entry(trigger=once), _entry("skipped", trigger=once, misfire_grace_us=1)])
    (run,) = _run_due(store, _T0 + 5)
    assert store.list_entries() == [], "it is still listed"
    assert store.get_entry("job") is None, "it is still found"
    _raises(JobLookupError, lambda: store.remove_job("job"))
    assert store.next_due() == (None, None), "it is still due"
    store.add_entries([_entry(trigger=once, args=(2,))])
    store.finish([_finish(run, retval="first")])
    (second,) = _run_due(store, _T0 + 6)
    store.finish([_finish(second, retval="second")])
    found = sorted(str(record.result) for record in store.runs("job") if record.state is RunState.SUCCEEDED)
    assert found == ["'first'", "'second'"], f"it records {found}"


@_behaviour("sets a job aside, lists it with the reason, and takes it back")
def _sets_aside(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry(args=(1,)), _entry("ran"), _entry("skipped")])
    claims = {claim.job.id: claim for claim in store.acquire(_at(_T0), 9)}
    decisions = [
        Decision(claims["job"], (), (), None, None, "no executor"),
        Decision(claims["ran"], (_T0,), (), None, None, "a bad trigger"),
        Decision(claims["skipped"], (), (Skip(SkipReason.MISFIRED, _T0, _T0, 1),), None, None, "a bad trigger"),
    ]
    assert [run.job.id for run in store.commit(decisions, _T0).runs] == ["ran"], "what is due does not run"
    entry = _get(store)
    assert (entry.state, entry.fire_us, entry.due_us, entry.reason) == (JobState.BROKEN, _T0, None, "no executor"), (
        f"{entry}"
    )
    for job_id in ("ran", "skipped"):
        done = _get(store, job_id)
        # What was decided is not decided again when the job is taken back.
        assert (done.state, done.fire_us, done.reason) == (JobState.BROKEN, None, "a bad trigger"), f"{done}"
    assert store.acquire(_at(_T0 + _MINUTE), 9) == [], "it is still claimed"
    assert [e.state for e in store.list_entries()] == [JobState.BROKEN] * 3, "it is not listed"
    assert store.replace_entry(entry, JobEntry(entry.job, JobState.ACTIVE, _T0, _T0)), "it cannot be taken back"
    _same(_get(store), _entry(args=(1,)))
    assert [claim.job.id for claim in store.acquire(_at(_T0), 9)] == ["job"], "it does not go on"


@_behaviour("lists runs latest first, of one job, of those that failed, and up to a limit")
def _lists_runs(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("a"), _entry("b")])
    for number in range(6):
        for run in _run_due(store, _T0 + number * _MINUTE):
            failed = run.job.id == "a" and number % 2
            store.finish([_finish(run, RunState.FAILED if failed else RunState.SUCCEEDED)])
    fires = [_T0 + number * _MINUTE for number in reversed(range(6))]
    assert [record.fire_us for record in store.runs("a")] == fires, "the order is another"
    assert [record.fire_us for record in store.runs()] == [at for at in fires for _ in "ab"], (
        "the order of all is another"
    )
    assert [record.fire_us for record in store.runs("a", limit=2)] == fires[:2], "the limit is not kept"
    assert len(store.runs(limit=5)) == 5, "the limit of all is not kept"
    assert [record.fire_us for record in store.runs(failed=True)] == fires[::2], "others are among the failed"
    assert store.runs("b", failed=True) == [], "b never failed"
    assert [record.fire_us for record in store.runs("a", failed=True, limit=1)] == fires[:1], "failed, with a limit"


# --- crashes ---


@_behaviour("gives claims back that were never committed")
def _claims_back(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("a"), _entry("b")])
    lost = _decisions(store.acquire(_at(_T0), 1), _T0)
    recovered = store.recover([])
    assert recovered == Recovered([], []), f"it recovers {recovered}"
    assert _earliest(store) == _T0, "they are not due"
    assert sorted(claim.job.id for claim in store.acquire(_at(_T0), 9)) == ["a", "b"], "they are not claimed again"
    store.recover([])
    _run_due(store, _T0)
    assert store.commit(lost, _T0).runs == [], "a claim that was given back is committed"


@_behaviour("leaves the runs alone that its scheduler has in hand")
def _known(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("a"), _entry("b")])
    runs = _run_due(store, _T0)
    store.started([(runs[0], _T0 + 1)])
    assert store.recover(runs) == Recovered([], []), "it takes them over"
    store.finish([_finish(run) for run in runs])
    assert [r.state for r in store.runs()] == [RunState.SUCCEEDED] * 2, f"then it has {store.runs()}"


@_behaviour("submits again, as they are, runs that were withdrawn before they began", "runs")
def _withdrawn(bench: _Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    entries = [_entry("a", args=(1,)), _entry("b", recovery="lost"), _entry("over", trigger=once, args=(2,))]
    store.add_entries([*entries, _entry("began", recovery="lost")])
    runs = _run_due(store, _T0)
    store.started([(run, _T0 + 1) for run in runs if run.job.id == "began"])
    for _ in range(2):  # twice is harmless
        store.withdraw(runs)
    live = {record.job_id: record.state for record in store.runs()}
    assert live.pop("began") is RunState.RUNNING, "a run that began was withdrawn"
    assert list(live.values()) == [RunState.SUBMITTED] * 3, f"then it has {store.runs()}"
    store = bench.open()
    recovered = store.recover([])
    found = sorted((run.job.id, run.job.args, run.fire_us, run.attempt) for run in recovered.runs)
    assert found == [("a", (1,), _T0, 1), ("b", (), _T0, 1), ("over", (2,), _T0, 1)], f"it recovers {found}"
    assert [record.job_id for record in recovered.lost] == ["began"], f"it loses {recovered.lost}"
    assert store.recover(recovered.runs) == Recovered([], []), "it recovers twice"
    store = bench.open()
    # They were handed over since.
    recovered = store.recover([])
    found = sorted((run.job.id, run.job.args, run.fire_us, run.attempt) for run in recovered.runs)
    assert found == [("a", (1,), _T0, 2), ("over", (2,), _T0, 2)], f"after a crash it recovers {found}"
    assert sorted(record.job_id for record in recovered.lost) == ["a", "b", "over"], f"it loses {recovered.lost}"
    store.withdraw(recovered.runs)
    store.finish([_finish(run) for run in recovered.runs])
    store.withdraw(recovered.runs)
    assert [r.state for r in store.runs() if r.attempt == 2] == [RunState.SUCCEEDED] * 2, f"it has {store.runs()}"
    assert store.get_entry("over") is None, "the job that was over is back"


@_behaviour("submits again, as they are, runs whose commit was not answered", "runs")
def _not_answered(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("a"), _entry("b", recovery="lost")])
    store.recover([])
    runs = _run_due(store, _T0)
    recovered = store.recover([])
    assert sorted(recovered.runs, key=_job_id) == sorted(runs, key=_job_id), f"it recovers {recovered.runs}"
    assert recovered.lost == [], f"it loses {recovered.lost}"
    store.finish([_finish(run) for run in recovered.runs])
    assert [record.state for record in store.runs()] == [RunState.SUCCEEDED] * 2, f"then it has {store.runs()}"


@_behaviour("takes runs that a dead scheduler left as submitted for runs that may have begun, three times", "runs")
def _may_have_begun(bench: _Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    store.add_entries([_entry("a", args=(1,)), _entry("b", recovery="lost"), _entry("over", trigger=once, args=(2,))])
    _run_due(store, _T0)
    for attempt in (2, 3):
        store = bench.open()
        recovered = store.recover([])
        found = sorted((run.job.id, run.job.args, run.fire_us, run.attempt) for run in recovered.runs)
        assert found == [("a", (1,), _T0, attempt), ("over", (2,), _T0, attempt)], f"it recovers {found}"
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


@_behaviour("runs once more what is known to have begun, after it had waited when a scheduler died", "runs")
def _begun_later(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry()])
    _run_due(store, _T0)
    for attempt in (2, 3):
        store = bench.open()
        (run,) = store.recover([]).runs
        assert run.attempt == attempt, f"it is attempt {run.attempt}"
        store.started([(run, _T0 + attempt)])
    store = bench.open()
    recovered = store.recover([])
    assert recovered.runs == [], "it runs a third time"
    assert [record.attempt for record in recovered.lost] == [3], f"it loses {recovered.lost}"


@_behaviour("runs an interrupted run again, once, or closes it as lost, as the job says", "runs")
def _interrupted(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("again"), _entry("lost", recovery="lost"), _entry("removed")])
    runs = _run_due(store, _T0)
    store.started([(run, _T0 + 1) for run in runs])
    store.remove_job("removed")
    store = bench.open()
    recovered = store.recover([])
    assert [(run.job.id, run.fire_us, run.attempt) for run in recovered.runs] == [("again", _T0, 2)], f"{recovered}"
    lost = sorted((record.job_id, record.attempt, record.state) for record in recovered.lost)
    assert lost == [(name, 1, RunState.LOST) for name in ("again", "lost", "removed")], f"it loses {lost}"
    assert all(record.reason for record in recovered.lost), "it does not say why"
    store.started([(run, _T0 + 2) for run in recovered.runs])
    store = bench.open()
    recovered = store.recover([])
    assert recovered.runs == [], "it runs a third time"
    assert [(record.job_id, record.attempt) for record in recovered.lost] == [("again", 2)], (
        f"it loses {recovered.lost}"
    )
    assert all(record.state is RunState.LOST for record in store.runs()), f"it has {store.runs()}"
    assert len(store.runs(failed=True)) == 4, "lost runs are not among the failed"
    assert [claim.live for claim in store.acquire(_at(_T0 + _MINUTE), 9)] == [0, 0], "they are still live"


@_behaviour("knows what began and what ended though it crashed before it was told", "runs", "journal")
def _journal(bench: _Bench) -> None:
    store = bench.open()
    names = ("ended", "failed", "began", "sent", "waits", "forgotten")
    store.add_entries([_entry(name, recovery="lost") for name in names])
    store.recover([])
    runs = {run.job.id: run for run in _run_due(store, _T0)}
    journal = store.journal
    assert journal is not None, "it has none"
    journal.begun(runs["forgotten"], _T0 + 1)
    journal.ended(_finish(runs["forgotten"], retval="of the journal"))
    journal.sent(runs["sent"])
    mark = journal.mark()
    store.finish([_finish(runs["forgotten"], retval="of the store")])
    for name in ("ended", "failed", "began"):
        journal.begun(runs[name], _T0 + 1)
    journal.forget(mark)
    journal.ended(_finish(runs["ended"], retval=7))
    journal.ended(_finish(runs["failed"], RunState.FAILED, exception=ValueError("no"), traceback="where it was"))
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


@_behaviour("keeps what ran beyond its end", "runs")
def _keeps_runs(bench: _Bench) -> None:
    store = bench.open()
    once = DateTrigger("2026-01-01T00:00:00+00:00")
    store.add_entries([_entry(), _entry("removed"), _entry("over", trigger=once)])
    store.finish([_finish(run, retval=run.job.id) for run in _run_due(store, _T0)])
    store.remove_job("removed")
    store = bench.open()
    for name in ("job", "removed", "over"):
        found = [(record.state, record.result) for record in store.runs(name)]
        assert found == [(RunState.SUCCEEDED, repr(name))], f"of {name} it has {found}"
    assert len(store.runs()) == 3, f"in all it has {store.runs()}"


@_behaviour("loses and doubles nothing, wherever it crashes", "runs")
def _crashes(bench: _Bench) -> None:
    once = DateTrigger("2026-01-01T00:00:00+00:00")

    def steps(store: JobStore, suffix: str) -> Generator[None, None, None]:
        store.add_entries([_entry(f"grid{suffix}"), _entry(f"once{suffix}", trigger=once)])
        yield
        claims = store.acquire(_at(_T0), 9)
        yield
        runs = store.commit(_decisions(claims, _T0), _T0).runs
        yield
        store.started([(run, _T0 + 1) for run in runs])
        yield
        store.finish([_finish(run) for run in runs[:1]])
        yield
        store.finish([_finish(run) for run in runs])
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
            store.add_entries([_entry(f"grid{suffix}"), _entry(f"once{suffix}", trigger=once)])
        recovered = store.recover([])
        runs = recovered.runs + _run_due(store, _T0)
        store.finish([_finish(run) for run in runs])
        for name in (f"grid{suffix}", f"once{suffix}"):
            records = store.runs(name)
            done = [record for record in records if record.state is RunState.SUCCEEDED]
            assert [record.fire_us for record in done] == [_T0], f"crash {crash}: {name} has {records}"
            rest = [record for record in records if record.state is not RunState.SUCCEEDED]
            assert [r.state for r in rest] == [RunState.LOST] * len(rest), f"crash {crash}: {name} has {records}"
        assert _get(store, f"grid{suffix}").fire_us == _T0 + _MINUTE, f"crash {crash}: the schedule does not go on"
        assert store.get_entry(f"once{suffix}") is None, f"crash {crash}: a job that is over is listed"
        assert store.recover([]) == Recovered([], []), f"crash {crash}: something is still live"
        store.remove_all_jobs()


# --- what cannot be loaded ---


@contextmanager
def _module(name: str) -> Iterator[ModuleType]:
    """A module that is there inside the ``with`` statement, and gone after it."""
    module = ModuleType(name)

    def task() -> None: ...

    task.__module__, task.__qualname__ = name, "task"
    module.task = task  # type: ignore[attr-defined]
    sys.modules[name] = module
    try:
        yield module
    finally:
        sys.modules.pop(name, None)


@_behaviour("sets aside what cannot be loaded, deletes nothing, and takes it back when its code is there", "jobs")
def _not_loadable(bench: _Bench) -> None:
    name = "schedcore_check_missing"
    with _module(name) as module:
        store = bench.open()
        entries = [
            _entry("a", func=module.task, args=(1,)),
            _entry("b", _T0 + 2 * _MINUTE, func=module.task),
            _entry("ok"),
        ]
        store.add_entries(entries)
    store = bench.open()
    for _ in range(2):
        listed = {entry.job.id: entry for entry in store.list_entries()}
        assert sorted(listed) == ["a", "b", "ok"], f"it lists {sorted(listed)}"
        for job_id in ("a", "b"):
            entry = _get(store, job_id)
            assert (entry.state, entry.job.func) == (JobState.BROKEN, None), f"it gives {entry}"
            assert name in str(entry.reason), f"the reason is {entry.reason!r}"
            assert entry.job.func_ref == f"{name}:task", f"its function is {entry.job.func_ref!r}"
    claims = store.acquire(_at(_T0), 9)
    broken = [(claim.job.id, claim.broken is not None and name in claim.broken) for claim in claims]
    assert sorted(broken) == [("a", True), ("ok", False)], f"it claims {broken}"
    runs = store.commit(_decisions(claims, _T0), _T0).runs
    assert [run.job.id for run in runs] == ["ok"], "it runs what it cannot load"
    assert _get(store, "a").fire_us == _T0, "its fire time is lost"
    assert store.acquire(_at(_T0), 9) == [], "it is claimed again and again"
    store = bench.open()
    assert [entry.job.id for entry in store.list_entries()] == ["ok", "b", "a"], "a restart lost one"
    with _module(name) as module:
        store = bench.open()
        _same(_get(store, "a"), entries[0]._replace(job=entries[0].job._replace(func=module.task)))
        _same(_get(store, "b"), entries[1]._replace(job=entries[1].job._replace(func=module.task)))
        assert [claim.job.id for claim in store.acquire(_at(_T0), 9)] == ["a"], "what was due is not any more"


# --- threads ---


def _in_threads(count: int, call: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            call(number)
        except BaseException as error:  # noqa: BLE001  # it is raised again, in the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), name=f"check-{number}") for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE_S)
        assert not thread.is_alive(), "a call does not return"
    if errors:
        raise errors[0]


@_behaviour("is exact when many threads add, change, remove and list")
def _threads(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry("shared", None, args=(0,))])

    def call(number: int) -> None:
        for turn in range(10):
            mine = [f"{number}-{turn}-{part}" for part in range(3)]
            store.add_entries([_entry(job_id) for job_id in mine])
            store.remove_job(mine[1])
            entry = _get(store, mine[2])
            assert store.replace_entry(entry, entry._replace(fire_us=_T0 + 1, due_us=_T0 + 1)), "nobody else changed it"
            while True:
                shared = _get(store, "shared")
                if store.replace_entry(shared, shared._replace(job=_record("shared", (shared.job.args[0] + 1,)))):
                    break
            assert len(store.list_entries()) >= 2 * (turn + 1), "jobs are missing"

    _in_threads(6, call)
    found = {entry.job.id: entry.fire_us for entry in store.list_entries()}
    wanted = {f"{n}-{turn}-{part}": _T0 + part // 2 for n in range(6) for turn in range(10) for part in (0, 2)}
    assert found == {**wanted, "shared": None}, "the final set is another"
    assert _get(store, "shared").job.args == (60,), f"changes were lost: {_get(store, 'shared').job.args}"


@_behaviour("claims each job once, whichever thread asks")
def _claims_in_threads(bench: _Bench) -> None:
    store = bench.open()
    store.add_entries([_entry(f"{number}") for number in range(200)])
    found: list[list[Run]] = []

    def call(number: int) -> None:
        while claims := store.acquire(_at(_T0), 7):
            committed = store.commit(_decisions(claims, _T0), _T0)
            assert not committed.dropped, "two threads had the same claim"
            store.finish([_finish(run) for run in committed.runs])
            found.append(committed.runs)

    _in_threads(4, call)
    ran = sorted(run.job.id for runs in found for run in runs)
    assert ran == sorted(str(number) for number in range(200)), "some ran twice, or not at all"
    records: list[RunRecord] = store.runs(limit=1000)
    assert [record.state for record in records] == [RunState.SUCCEEDED] * 200, "some are not on record"


def _raises(kind: type[Exception], call: Callable[[], object]) -> Exception:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"it should raise {kind.__name__}")

"""Every job store of ours, held to the one conformance suite; and a random walk, compared with the memory store."""

from __future__ import annotations

import dbm.dumb
import os
import shelve
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from schedcore.clock import Now, to_datetime
from schedcore.engine import Claim, Decision, decide
from schedcore.errors import ConflictingIdError, JobLookupError
from schedcore.job import Job, JobEntry, JobPolicy, JobRecord, JobState
from schedcore.jobstores.base import BaseJobStore, JobStore, StoreTraits
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.jobstores.simple import SimpleStore
from schedcore.run import Finish, Run, RunRecord, RunState
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.testing.store_suite import check_store, store_behaviours, work
from schedcore.testing.time import VirtualClock
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger
from tests.conformance.dict_store import DictStore
from tests.services import MariaDB, PostgreSQL, Service
from tests.services.fixtures import mariadb, postgresql

__all__ = ["mariadb", "postgresql"]

needs_sqlalchemy = pytest.mark.skipif(
    find_spec("sqlalchemy") is None, reason="needs sqlalchemy, which the extra 'sqlalchemy' brings"
)

# --- third parties' stores, as they are written for 3.x -------------------------------------------------------------------


class ShelveStore(DictStore):
    """Pickles the state of each job into a file, and makes a handle of it whenever it is asked."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._shelf: shelve.Shelf[Any] | None = None

    def start(self, scheduler: Any, alias: str) -> None:
        super().start(scheduler, alias)
        self._shelf = shelve.Shelf(dbm.dumb.open(self._path, "c"))  # type: ignore[arg-type]  # noqa: SIM115  # shutdown() closes it
        self._jobs = _Handles(self, self._shelf)  # type: ignore[assignment]

    def shutdown(self) -> None:
        if self._shelf is not None:
            self._shelf.close()
            self._shelf = None


class _Handles:
    """The part of ``dict`` that the store above uses, over pickled states."""

    def __init__(self, store: BaseJobStore, shelf: shelve.Shelf[Any]) -> None:
        self._store = store
        self._shelf = shelf

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._shelf

    def __setitem__(self, job_id: str, job: Job) -> None:
        self._shelf[job_id] = job.__getstate__()

    def get(self, job_id: str) -> Job | None:
        state = self._shelf.get(job_id)
        if state is None:
            return None
        job = Job.__new__(Job)
        job.__setstate__(state)
        job._scheduler = self._store._scheduler
        job._jobstore_alias = self._store._alias
        return job

    def values(self) -> list[Job]:
        return [job for job in map(self.get, self._shelf) if job is not None]

    def pop(self, job_id: str, default: None) -> object:
        return self._shelf.pop(job_id, default)

    def clear(self) -> None:
        self._shelf.clear()


# --- the suite ----------------------------------------------------------------------------------------------------------


def _sqlite(folder: str, **options: Any) -> JobStore:
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    return SQLAlchemyJobStore(f"sqlite:///{folder}/jobs.sqlite", **options)


def _sqlite_pickle(folder: str) -> JobStore:
    return _sqlite(folder, serializer="pickle")


def _sqlite_memory(folder: str) -> JobStore:
    from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

    return SQLAlchemyJobStore("sqlite://")


def _dict(folder: str) -> JobStore:
    return SimpleStore(DictStore())


def _shelf(folder: str) -> JobStore:
    return SimpleStore(ShelveStore(os.path.join(folder, "jobs")))


class Server:
    """Stores on a real server: each folder stands for tables of their own."""

    def __init__(self, service: type[Service], driver: str, extra: str) -> None:
        self.fixture = service.name
        self.scheme = service.scheme
        self.needs = pytest.mark.skipif(
            find_spec("sqlalchemy") is None or find_spec(driver) is None,
            reason=f"needs sqlalchemy and {driver}, which the extra {extra!r} brings",
        )
        self.url = ""
        self._tables: dict[str, str] = {}

    def use(self, request: pytest.FixtureRequest) -> None:
        """Have it started, or skip the test."""
        service: Service = request.getfixturevalue(self.fixture)
        if not self.url:
            self.url = service.fresh().url

    def __call__(self, folder: str, **options: Any) -> JobStore:
        from schedcore.jobstores.sqlalchemy import SQLAlchemyJobStore

        table = self._tables.setdefault(folder, f"jobs_{len(self._tables)}")
        return SQLAlchemyJobStore(self.url or f"{self.scheme}://host/database", tablename=table, **options)


_DURABLE = StoreTraits(blocking=True, durable=True)
_VOLATILE = StoreTraits(blocking=True, durable=False)
# Where the system has a name for each boot.
_IN_A_FILE = _DURABLE._replace(journals=os.path.exists("/proc/sys/kernel/random/boot_id"))
_SLOW = {
    "keeps ten thousand jobs, and claims of them what is due": "it looks at every job in each call, and takes minutes"
}
_NO_PATH = {
    "refuses arguments that it cannot store, and names the place": "its author did not think of that",
    "keeps arguments of every plain type, and times with their zones": "pickle does not keep the fold of a time",
}
STORES: dict[str, tuple[Callable[[str], JobStore], StoreTraits, dict[str, Any]]] = {
    "memory": (lambda folder: MemoryJobStore(), MemoryJobStore.traits, {}),
    "sqlite": (_sqlite, _IN_A_FILE, {}),
    "sqlite with pickle": (_sqlite_pickle, _IN_A_FILE, {}),
    "sqlite in memory": (_sqlite_memory, _VOLATILE, {}),
    "postgresql": (Server(PostgreSQL, "psycopg", "postgresql"), _DURABLE, {}),
    "mariadb": (Server(MariaDB, "pymysql", "mysql"), _DURABLE, {}),
    "a dictionary": (_dict, _VOLATILE, {"lacks": {}}),
    "a shelf": (_shelf, _VOLATILE, {"keeps_jobs": True, "lacks": _SLOW | _NO_PATH}),
}


def _marks(store: str) -> list[pytest.MarkDecorator]:
    make = STORES[store][0]
    if isinstance(make, Server):
        return [make.needs, pytest.mark.timeout(180)]  # a server may have to start first, on a busy machine
    return [needs_sqlalchemy] if store.startswith("sqlite") else []


@pytest.mark.parametrize(
    ("store", "name", "left_out"),
    [
        pytest.param(store, name, left_out, id=f"{store}: {name}", marks=_marks(store))
        for store, (_, traits, options) in STORES.items()
        for name, left_out in store_behaviours(traits, **options)
    ],
)
def test_conformance(store: str, name: str, left_out: str | None, request: pytest.FixtureRequest) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    make, traits, options = STORES[store]
    if isinstance(make, Server):
        make.use(request)
    assert check_store(make, traits, only=name, **options) == [name]


@pytest.mark.parametrize("store", [pytest.param(store, marks=_marks(store)) for store in STORES])
def test_the_traits_are_what_was_declared(store: str, tmp_path: object) -> None:
    make, traits, _ = STORES[store]
    assert make(str(tmp_path)).traits == traits


def test_a_broken_store_is_found_out() -> None:
    class Forgetful(MemoryJobStore):
        def finish(self, finishes: object) -> None: ...

    class Generous(MemoryJobStore):
        def replace_entry(self, old: JobEntry, new: JobEntry, skipped: Sequence[RunRecord] = ()) -> bool:
            while not super().replace_entry(self.get_entry(old.job.id) or old, new, skipped):
                pass
            return True

    with pytest.raises(AssertionError, match="a job store counts the live runs of a job: finished runs are counted"):
        check_store(lambda folder: Forgetful(), Forgetful.traits)
    with pytest.raises(AssertionError, match="a job store replaces a job only if nothing has changed"):
        check_store(lambda folder: Generous(), Generous.traits)


def test_a_behaviour_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match="there is no behaviour 'removes one job or all'; did you mean 'removes one job, or all'"
    ):
        check_store(lambda folder: MemoryJobStore(), MemoryJobStore.traits, only="removes one job or all")
    with pytest.raises(ValueError, match="there is no behaviour 'x'"):
        store_behaviours(MemoryJobStore.traits, lacks={"x": "y"})


# --- a random walk ------------------------------------------------------------------------------------------------------

_T0 = 1_767_225_600_000_000
_MINUTE = 60_000_000
_IDS = ["a", "b", "c", "ü"]


def _trigger(kind: str, now_us: int) -> EngineTrigger:
    if kind == "interval":
        return IntervalTrigger(minutes=1, start_date=to_datetime(now_us), timezone="UTC")
    if kind == "cron":
        return CronTrigger(minute="*/2", timezone="UTC")
    return DateTrigger(to_datetime(now_us + 1), timezone="UTC")


def _view(entry: JobEntry | None) -> object:
    if entry is None:
        return None
    job = entry.job
    return (job.id, job.name, job.func, job.args, dict(job.kwargs), job.trigger, job.policy, *entry[1:])


class _Walk(RuleBasedStateMachine):
    """The same calls on an SQLite file and in memory. Each may close and open the file in between.

    Fire times that are set by hand lie in the future: that one which has run is not run again is more than memory can promise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="schedcore-walk-")
        self.scheduler = BackgroundScheduler(clock=VirtualClock(), timezone="UTC")
        self.now_us = _T0
        self.memory: JobStore = MemoryJobStore()
        self.memory.start(self.scheduler, "default")
        self.sqlite = self._open()
        self.claims: list[tuple[list[Claim], list[Claim]]] = []
        self.live: list[tuple[Run, Run]] = []

    def _open(self) -> JobStore:
        store = _sqlite(self.folder.name, history_age=None)
        store.start(self.scheduler, "default")
        return store

    def teardown(self) -> None:
        self.sqlite.shutdown()
        self.folder.cleanup()

    def both(self, call: Callable[[JobStore], object]) -> list[object]:
        """What a call gives in memory and on SQLite; a usage error is an answer, too."""
        answers: list[object] = []
        for store in (self.memory, self.sqlite):
            try:
                answers.append(call(store))
            except (ConflictingIdError, JobLookupError) as error:
                answers.append((type(error), str(error)))
        return answers

    def agree(self, call: Callable[[JobStore], object]) -> None:
        memory, sqlite = self.both(call)
        assert memory == sqlite

    @rule(
        ids=st.lists(st.sampled_from(_IDS), min_size=1, max_size=3),
        kind=st.sampled_from(["interval", "cron", "date"]),
        ahead_s=st.integers(0, 200) | st.none(),
        jitter_us=st.integers(0, 5),
        coalesce=st.booleans(),
        instances=st.integers(1, 3),
    )
    def add(
        self, ids: list[str], kind: str, ahead_s: int | None, jitter_us: int, coalesce: bool, instances: int
    ) -> None:
        policy = JobPolicy(coalesce=coalesce, max_instances=instances, max_catchup=2).intern()
        fire_us = None if ahead_s is None else self.now_us + 1 + ahead_s * 1_000_000
        due_us = None if fire_us is None else fire_us + jitter_us
        state = JobState.PAUSED if fire_us is None else JobState.ACTIVE
        trigger = _trigger(kind, self.now_us)
        entries = [
            JobEntry(JobRecord(job_id, job_id, work, None, (self.now_us,), {}, trigger, policy), state, fire_us, due_us)
            for job_id in ids
        ]
        self.agree(lambda store: store.add_entries(entries))

    @rule(job_id=st.sampled_from(_IDS))
    def remove(self, job_id: str) -> None:
        self.agree(lambda store: store.remove_job(job_id))

    @rule()
    def remove_all(self) -> None:
        self.agree(lambda store: store.remove_all_jobs())

    @rule(
        job_id=st.sampled_from(_IDS),
        change=st.sampled_from(["args", "pause", "move", "nothing"]),
        ahead_s=st.integers(0, 200),
    )
    def replace(self, job_id: str, change: str, ahead_s: int) -> None:
        fire_us = self.now_us + 1 + ahead_s * 1_000_000

        def call(store: JobStore) -> object:
            old = store.get_entry(job_id)
            if old is None:
                return None
            new = old
            if change == "args":
                new = old._replace(job=old.job._replace(args=(fire_us,)))
            elif change == "pause":
                new = JobEntry(old.job, JobState.PAUSED)
            elif change == "move":
                new = JobEntry(old.job, JobState.ACTIVE, fire_us, fire_us + 3)
            answers = [store.replace_entry(old, new)]
            if _view(new) != _view(old):
                answers.append(store.replace_entry(old, old._replace(reason="outdated")))
            return answers

        self.agree(call)

    @rule(seconds=st.sampled_from([0, 1, 30, 60, 200]))
    def wait(self, seconds: int) -> None:
        self.now_us += seconds * 1_000_000

    @precondition(lambda self: not self.claims)
    @rule()
    def acquire(self) -> None:
        now = Now(self.now_us, self.now_us)
        memory, sqlite = (
            sorted(store.acquire(now, 100), key=lambda claim: claim.job.id) for store in (self.memory, self.sqlite)
        )
        assert [(c.job.id, c.fire_us, c.due_us, c.live, c.broken) for c in memory] == [
            (c.job.id, c.fire_us, c.due_us, c.live, c.broken) for c in sqlite
        ]
        if memory:
            self.claims.append((memory, sqlite))

    @precondition(lambda self: self.claims)
    @rule(broken=st.sampled_from([None, None, None, "broken"]), twice=st.booleans())
    def commit(self, broken: str | None, twice: bool) -> None:
        memory, sqlite = self.claims.pop(0)
        ours = [self._decide(claim, broken) for claim in memory]
        theirs = [self._decide(claim, broken) for claim in sqlite]
        mine, its = self.memory.commit(ours, self.now_us), self.sqlite.commit(theirs, self.now_us)
        assert _runs(mine.runs) == _runs(its.runs)
        assert [d.claim.job.id for d in mine.dropped] == [d.claim.job.id for d in its.dropped]
        self.live += zip(mine.runs, its.runs, strict=True)
        if twice:
            assert self.memory.commit(ours, self.now_us).runs == self.sqlite.commit(theirs, self.now_us).runs == []

    def _decide(self, claim: Claim, broken: str | None) -> Decision:
        return decide(claim, self.now_us) if broken is None else Decision(claim, (), (), None, None, broken)

    @precondition(lambda self: self.live)
    @rule(number=st.integers(0, 99), failed=st.booleans(), twice=st.booleans())
    def finish(self, number: int, failed: bool, twice: bool) -> None:
        one, other = self.live.pop(number % len(self.live))
        for store, run in ((self.memory, one), (self.sqlite, other)):
            state = RunState.FAILED if failed else RunState.SUCCEEDED
            error = ValueError("x") if failed else None
            finish = Finish(run, state, self.now_us, self.now_us + 1, None if failed else number, error, None)
            store.started([(run, self.now_us)])
            store.finish([finish] * (1 + twice))

    @rule()
    def recover(self) -> None:
        for index, store in enumerate((self.memory, self.sqlite)):
            assert store.recover([pair[index] for pair in self.live]) == ([], [])
        self.claims.clear()

    @rule()
    def reopen(self) -> None:
        self.sqlite.shutdown()
        self.sqlite = self._open()
        # Opening takes back what was set aside and can be loaded.
        for entry in self.memory.list_entries():
            if entry.state is JobState.BROKEN and entry.fire_us is not None:
                assert self.memory.replace_entry(
                    entry, JobEntry(entry.job, JobState.ACTIVE, entry.fire_us, entry.fire_us)
                )
        self.recover()

    @invariant()
    def same_jobs(self) -> None:
        self.agree(lambda store: [_view(entry) for entry in store.list_entries()])
        self.agree(lambda store: [_view(store.get_entry(job_id)) for job_id in _IDS])
        self.agree(lambda store: store.next_due())

    @invariant()
    def same_runs(self) -> None:
        def call(store: JobStore) -> object:
            over = [r._replace(submitted_us=None) for r in store.runs(limit=10_000) if r.finished_us is not None]
            return sorted(over, key=lambda r: (r.job_id, r.fire_us, r.attempt, str(r.result), str(r.error)))

        self.agree(call)


def _runs(runs: Sequence[Run]) -> list[tuple[object, ...]]:
    return [(run.job.id, run.job.args, run.fire_us, run.attempt) for run in runs]


@needs_sqlalchemy
def test_a_random_walk_on_sqlite_is_the_one_in_memory() -> None:
    run_state_machine_as_test(_Walk, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))

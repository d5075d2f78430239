"""A user's own triggers, and a store's ``check``: asked on no event loop, and while no lock is held."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.errors import ConflictingIdError, InvalidTriggerError, JobLookupError
from schedcore.events import EVENT_ALL, EVENT_JOB_BROKEN, EVENT_SCHEDULER_FAILED, SchedulerEvent
from schedcore.executors.base import BaseExecutor
from schedcore.job import Job, JobRecord
from schedcore.jobstores.memory import MemoryJobStore
from schedcore.schedulers.background import BackgroundScheduler
from schedcore.schedulers.base import BaseScheduler
from schedcore.triggers.base import BaseTrigger
from schedcore.triggers.combining import OrTrigger
from schedcore.triggers.date import DateTrigger
from tests.far_store import FarStore, made_here

# Seconds. Longer than anything here takes.
PATIENCE_S = 60.0
FAR = datetime(2099, 1, 1, tzinfo=UTC)


def work() -> None:
    """A job."""


class Theirs(BaseTrigger):
    """A third party's trigger: it notes in which thread it is asked, and calls ``hook`` there."""

    def __init__(self, answer: datetime | None = FAR, hook: Callable[[], object] | None = None) -> None:
        self.askers: list[int] = []
        self.answer = answer
        self.hook = hook

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        self.askers.append(threading.get_ident())
        if self.hook is not None:
            self.hook()
        if previous_fire_time is None or self.answer is None:
            return self.answer
        return previous_fire_time + timedelta(days=1)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)


# --- on an event loop ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_no_call_on_the_loop_asks_it() -> None:
    here = threading.get_ident()
    made: list[Theirs] = []

    def theirs() -> Theirs:
        made.append(Theirs())
        return made[-1]

    scheduler = AsyncIOScheduler(timezone="UTC")
    scheduler.add_job(work, theirs(), id="before")
    scheduler.add_jobs([{"func": work, "trigger": theirs(), "id": "too"}])
    scheduler.reschedule_job("before", trigger=theirs())
    scheduler.pause_job("before")
    scheduler.resume_job("before")
    async with scheduler:
        await until(lambda: not scheduler.get_jobs(pending=True))
        job = scheduler.add_job(work, theirs(), id="a")
        assert job.pending
        assert job.next_run_time is None
        scheduler.add_jobs([{"func": work, "trigger": theirs(), "id": "b"}])
        scheduler.add_job(work, OrTrigger([theirs(), DateTrigger(FAR)]), id="c")
        await until(lambda: not job.pending)
        assert job.next_run_time == FAR
        scheduler.pause_job("a")
        assert scheduler.resume_job("a") is not None
        scheduler.modify_job("a", trigger=theirs())
        scheduler.reschedule_job("b", trigger=theirs())
        scheduler.repair_job("c", trigger=theirs())
        scheduler.add_job(work, theirs(), id="a", replace_existing=True)
        jobs = await scheduler.call(scheduler.get_jobs)
        assert [(job.id, job.pending, job.next_run_time) for job in jobs] == [
            (job_id, False, FAR) for job_id in ("a", "b", "before", "c", "too")
        ]
    # The first one of "before" was replaced before anybody had to ask it.
    assert all(each.askers for each in made[1:])
    assert here not in {thread for each in made for thread in each.askers}


@pytest.mark.asyncio
async def test_what_follows_a_change_that_was_put_off_is_made_after_it() -> None:
    entered, gate = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        assert gate.wait(PATIENCE_S)

    async with AsyncIOScheduler(timezone="UTC") as scheduler:
        scheduler.add_job(work, "date", run_date=FAR, id="a")
        scheduler.add_job(work, "date", run_date=FAR, id="gone")
        scheduler.reschedule_job("a", trigger=Theirs(hook=wait))
        await until(entered.is_set)
        scheduler.pause_job("a")
        scheduler.remove_job("gone")
        scheduler.add_job(work, "date", run_date=FAR, id="gone", name="again")
        gate.set()
        jobs = await scheduler.call(scheduler.get_jobs)
        assert [(job.id, job.name, job.next_run_time) for job in jobs] == [("gone", "again", FAR), ("a", "work", None)]
        assert isinstance(jobs[1].trigger, Theirs)


@pytest.mark.asyncio
async def test_the_loop_goes_on_while_it_thinks() -> None:
    entered, gate = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        assert gate.wait(PATIENCE_S)

    async with AsyncIOScheduler(timezone="UTC") as scheduler:
        slow = scheduler.add_job(work, Theirs(hook=wait), id="slow")
        await until(entered.is_set)
        assert scheduler.add_job(work, "date", run_date=FAR, id="b").next_run_time == FAR
        assert [job.id for job in scheduler.get_jobs()] == ["slow", "b"]
        scheduler.remove_job("slow")
        gate.set()
        await scheduler.call(work)
        assert [job.id for job in scheduler.get_jobs()] == ["b"]
        assert not slow.pending


@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        (lambda: Theirs(answer=None), "never fires"),
        (lambda: Theirs(hook=lambda: 1 / 0), "its trigger raised ZeroDivisionError"),
        (lambda: Theirs(hook=sys.exit), "its trigger raised RuntimeError: it called sys.exit"),
    ],
)
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.asyncio
async def test_what_is_wrong_with_it_is_told_and_stops_nothing_else(
    trigger: Callable[[], Theirs], text: str, started: bool
) -> None:
    told: list[Any] = []
    scheduler = AsyncIOScheduler(timezone="UTC")
    scheduler.add_listener(told.append, EVENT_JOB_BROKEN)
    if started:
        scheduler.start()
    scheduler.add_job(work, trigger(), id="bad")
    scheduler.add_job(work, Theirs(), id="good")
    if not started:
        scheduler.start()
    await until(lambda: told)
    jobs = await scheduler.call(scheduler.get_jobs)
    assert [job.id for job in jobs] == ["good"]
    assert told[0].job_id == "bad"
    assert text in told[0].reason
    with pytest.raises((InvalidTriggerError, ZeroDivisionError, RuntimeError)):
        await scheduler.call(scheduler.add_job, work, trigger(), id="bad")
    assert scheduler.health()["default"].ok
    await scheduler.shutdown()


@pytest.mark.asyncio
@pytest.mark.parametrize("raises", [lambda: 1 / 0, sys.exit], ids=["an error", "SystemExit"])
async def test_a_change_whose_trigger_raises_is_told_and_dropped(raises: Callable[[], object]) -> None:
    told: list[Any] = []
    async with AsyncIOScheduler(timezone="UTC") as scheduler:
        scheduler.add_listener(told.append, EVENT_SCHEDULER_FAILED)
        scheduler.add_job(work, "date", run_date=FAR, id="a")
        scheduler.reschedule_job("a", trigger=Theirs(hook=raises))
        scheduler.modify_job("a", name="after it")
        job = await scheduler.call(scheduler.get_job, "a")
        assert job is not None
        assert (job.name, job.next_run_time) == ("after it", FAR)
        await until(lambda: told)
        assert "reschedule_job('a') was put off, and failed" in told[0].message
        assert scheduler.health()["default"].ok


@pytest.mark.asyncio
async def test_it_may_call_the_scheduler() -> None:
    async with AsyncIOScheduler(timezone="UTC") as scheduler:
        trigger = Theirs(hook=lambda: scheduler.modify_job("other", name="called"))
        scheduler.add_job(work, "date", run_date=FAR, id="other")
        job = scheduler.add_job(work, trigger, id="a")
        await until(lambda: not job.pending)
        scheduler.reschedule_job("a", trigger=trigger)
        other = await scheduler.call(scheduler.get_job, "other")
        assert other is not None
        assert other.name == "called"


# --- no lock is held -------------------------------------------------------------------------------------------------


def passes(scheduler: BaseScheduler) -> Callable[[], None]:
    """Fails unless another thread can list, add and change jobs meanwhile."""
    numbers = iter(range(1000))

    def call() -> None:
        done = threading.Event()

        def use() -> None:
            scheduler.get_jobs()
            job = scheduler.add_job(work, "date", run_date=FAR, id=f"other {next(numbers)}")
            job.modify(name="changed")
            job.remove()
            done.set()

        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        assert done.wait(PATIENCE_S), "another thread waits for what a trigger or a store's check does"
        thread.join()

    return call


CALLS: dict[str, Callable[[BaseScheduler, BaseTrigger], object]] = {
    "add_job": lambda scheduler, trigger: scheduler.add_job(work, trigger),
    "add_jobs": lambda scheduler, trigger: scheduler.add_jobs([{"func": work, "trigger": trigger}]),
    "modify_job": lambda scheduler, trigger: scheduler.modify_job("a", trigger=trigger),
    "reschedule_job": lambda scheduler, trigger: scheduler.reschedule_job("a", trigger=trigger),
    "resume_job": lambda scheduler, trigger: (
        scheduler.reschedule_job("a", trigger=trigger),
        scheduler.pause_job("a"),
        scheduler.resume_job("a"),
    ),
}


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_lock_is_held_while_a_trigger_is_asked(
    call: Callable[[BaseScheduler, BaseTrigger], object], started: bool
) -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    if started:
        scheduler.start()
    scheduler.add_job(work, "date", run_date=FAR, id="a")
    trigger = Theirs(hook=passes(scheduler))
    call(scheduler, trigger)
    assert trigger.askers
    if started:
        scheduler.shutdown()


def test_a_trigger_that_is_asked_as_it_starts_may_look_at_the_jobs() -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(work, "date", run_date=FAR, id="plain")
    trigger = Theirs()
    scheduler.add_job(work, trigger, id="theirs")
    seen: list[list[str]] = []
    trigger.hook = lambda: seen.append(sorted(job.id for job in scheduler.get_jobs()))
    scheduler.start()
    try:
        assert seen == [["plain", "theirs"]]
        assert sorted(job.id for job in scheduler.get_jobs()) == ["plain", "theirs"]
    finally:
        scheduler.shutdown()


class CheckingStore(MemoryJobStore):
    """A store that looks for a while at what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.hook: Callable[[], None] | None = None
        self.checked = 0

    def check(self, job: JobRecord) -> None:
        super().check(job)
        hook, self.hook = self.hook, None  # the other thread's jobs are not looked at
        if hook is not None:
            self.checked += 1
            hook()


@pytest.mark.parametrize("call", list(CALLS.values())[:2], ids=list(CALLS)[:2])
def test_no_lock_is_held_while_a_store_checks(call: Callable[[BaseScheduler, BaseTrigger], object]) -> None:
    store = CheckingStore()
    scheduler = BackgroundScheduler(timezone="UTC", jobstores={"default": store})
    store.hook = passes(scheduler)
    call(scheduler, DateTrigger(FAR))
    assert store.checked == 1
    assert len(scheduler.get_jobs()) == 1


def test_a_change_that_another_overtakes_is_made_again() -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(work, "date", run_date=FAR, id="a")
    names = iter(["overtaken"])

    def overtake() -> None:
        name = next(names, None)
        if name is not None:
            scheduler.modify_job("a", name=name)

    trigger = Theirs()
    scheduler.reschedule_job("a", trigger=trigger)
    trigger.hook = overtake
    scheduler.resume_job("a")
    job = scheduler.get_job("a")
    assert job is not None
    assert job.name == "overtaken"
    assert len(trigger.askers) >= 3


def test_many_jobs_are_added_before_the_start_or_none() -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(work, "date", run_date=FAR, id="taken")
    jobs = [{"func": work, "trigger": "date", "run_date": FAR, "id": job_id} for job_id in ("a", "b", "taken")]
    with pytest.raises(ConflictingIdError, match="taken"):
        scheduler.add_jobs(jobs)
    with pytest.raises(ConflictingIdError, match="'a'"):
        scheduler.add_jobs([jobs[0], jobs[1], jobs[0]])
    assert [job.id for job in scheduler.get_jobs()] == ["taken"]


# --- what only waited -------------------------------------------------------------------------------------------------


def test_of_a_job_that_only_waited_neither_its_coming_nor_its_going_is_told() -> None:
    told: list[SchedulerEvent] = []
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_listener(told.append, EVENT_ALL)
    scheduler.add_job(work, "date", run_date=FAR, id="a")
    scheduler.remove_job("a")
    assert told == []
    with pytest.raises(JobLookupError):
        scheduler.remove_job("a")


# --- files of jobs ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_file_is_imported_on_the_loop_without_asking_or_waiting() -> None:
    source = BackgroundScheduler(timezone="UTC")
    source.add_job(work, "date", run_date=FAR, id="a")
    source.add_job(work, "interval", hours=1, id="b", next_run_time=None)
    file = io.StringIO()
    source.export_jobs(file)
    text = file.getvalue()
    assert len(json.loads(text)["jobs"]) == 2

    store = FarStore()
    scheduler = AsyncIOScheduler(jobstores={"default": store}, timezone="UTC")
    async with scheduler:
        await scheduler.call(work)
        scheduler.import_jobs(io.StringIO(text))
        assert [job.pending for job in scheduler.get_jobs(pending=True)] == [True, True]
        with pytest.raises(ConflictingIdError):
            scheduler.import_jobs(io.StringIO(text))
        jobs = await scheduler.call(scheduler.get_jobs)
        assert [(job.id, job.next_run_time) for job in jobs] == [("a", FAR), ("b", None)]
        with pytest.raises(ConflictingIdError):
            await scheduler.call(scheduler.import_jobs, io.StringIO(text))
        again = io.StringIO()
        await scheduler.call(scheduler.export_jobs, again)
        assert len(json.loads(again.getvalue())["jobs"]) == 2
    assert made_here(store) == []


@pytest.mark.asyncio
async def test_exporting_on_the_loop_waits_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = AsyncIOScheduler(jobstores={"default": FarStore()}, timezone="UTC")
    async with scheduler:
        await scheduler.call(work)
        scheduler.export_jobs(io.StringIO())
    warnings = [record.getMessage() for record in caplog.records if "waits for job store" in record.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].startswith("export_jobs() waits")


# --- what is no Exception ----------------------------------------------------------------------------------------------


class Refusing(BaseExecutor):
    """A third party's executor that raises."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        raise self.error("refused")


class Failing(MemoryJobStore):
    """A store that raises whenever it is asked what is due."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def fire(self, now: Any, limit: int, executors: Any) -> Any:
        raise self.error("down")


def add_listener(scheduler: BaseScheduler, error: type[BaseException]) -> None:
    def listen(event: SchedulerEvent) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise error("heard")

    scheduler.add_listener(listen)


def add_trigger(scheduler: BaseScheduler, error: type[BaseException]) -> None:
    trigger = Theirs(datetime(2020, 1, 1, tzinfo=UTC))
    scheduler.add_job(work, trigger)

    def fail() -> None:
        if threading.current_thread() is not threading.main_thread():
            raise error("asked")

    trigger.hook = fail


def add_executor(scheduler: BaseScheduler, error: type[BaseException]) -> None:
    scheduler.add_executor(Refusing(error), "refusing")
    scheduler.add_job(work, "interval", seconds=0.005, executor="refusing")


def add_store(scheduler: BaseScheduler, error: type[BaseException]) -> None:
    scheduler.add_jobstore(Failing(error), "failing")
    scheduler.add_job(work, "interval", seconds=0.005, jobstore="failing")


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit, BaseException])
@pytest.mark.parametrize("add", [add_listener, add_trigger, add_executor, add_store])
def test_whatever_it_raises_the_other_jobs_run_on_and_it_can_be_shut_down(
    add: Callable[[BaseScheduler, type[BaseException]], None], error: type[BaseException]
) -> None:
    runs = threading.Semaphore(0)
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(runs.release, "interval", seconds=0.005)
    add(scheduler, error)
    scheduler.start()
    try:
        for _ in range(10):
            assert runs.acquire(timeout=PATIENCE_S)
    finally:
        # In a thread, because in the main one a listener's KeyboardInterrupt is the program's.
        closer = threading.Thread(target=scheduler.shutdown, kwargs={"timeout": 1})
        closer.start()
        closer.join(PATIENCE_S)
        assert not closer.is_alive()
    assert scheduler._closed.wait(PATIENCE_S)


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit, BaseException])
@pytest.mark.parametrize("add", [add_listener, add_trigger])
async def test_whatever_it_raises_beside_a_loop_the_other_jobs_run_on(
    add: Callable[[BaseScheduler, type[BaseException]], None], error: type[BaseException]
) -> None:
    ran = 0

    async def job() -> None:
        nonlocal ran
        ran += 1

    scheduler = AsyncIOScheduler(timezone="UTC")
    scheduler.add_job(job, "interval", seconds=0.005)
    add(scheduler, error)
    scheduler.start()
    try:
        await until(lambda: ran >= 10)
    finally:
        async with asyncio.timeout(PATIENCE_S):
            await scheduler.shutdown()

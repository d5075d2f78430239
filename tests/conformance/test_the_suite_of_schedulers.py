"""The suite of schedulers itself: each way in which one is broken here is found, by the behaviour that it breaks."""

from __future__ import annotations

import asyncio
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from schedcore.events import EVENT_SCHEDULER_SHUTDOWN, SchedulerEvent
from schedcore.executors.debug import DebugExecutor
from schedcore.executors.pool import ThreadPoolExecutor
from schedcore.run import Finish, Run, RunState, current_run
from schedcore.schedulers.base import STATE_RUNNING, BaseScheduler
from schedcore.testing import runtime as runtime_module
from schedcore.testing._suite import patience
from schedcore.testing.runtime import Runtime
from schedcore.testing.scheduler_suite import check_scheduler, scheduler_behaviours
from schedcore.wakeup import Done
from tests.conformance.found import found_wrong


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes is not waited for as long as on a machine that may be busy. Only for what is to be found wrong."""
    monkeypatch.setattr(patience, "seconds", 0.15)


# What is broken is a single scheduler, of which a part is put out of order after it was made.
BROKEN_SCHEDULERS: list[tuple[str, str, Callable[[Any], None]]] = []


def breaks(behaviour: str, *frameworks: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """The decorated function breaks a scheduler so that it lacks this behaviour."""

    def register(break_it: Callable[[Any], None]) -> Callable[[Any], None]:
        for framework in frameworks or ("background",):
            BROKEN_SCHEDULERS.append((framework, behaviour, break_it))
        return break_it

    return register


@breaks("fires a job without a trigger once, now, and then forgets it", "background", "asyncio")
@breaks("sets a job aside whose trigger does not advance, and fires the others")
@breaks("fires what was due in 60 days, and in 100 years, when they have passed, and not a second before")
def submits_twice(scheduler: Any) -> None:
    submit = scheduler._runs.submit
    scheduler._runs.submit = lambda runs: submit([*runs, *runs])


@breaks("runs each of 400 jobs once that eight threads add at a time")
@breaks("hands over what is due in the order of the fire times")
def loses_runs(scheduler: Any) -> None:
    submit = scheduler._runs.submit
    scheduler._runs.submit = lambda runs: submit(runs[:1])


@breaks("hands over what is due in the order of the fire times", "asyncio")
def submits_backwards(scheduler: Any) -> None:
    submit = scheduler._runs.submit
    scheduler._runs.submit = lambda runs: submit(runs[::-1])


@breaks("tells of a run in order: added, submitted, started, finished, with one run id and one fire time")
def does_not_tell_of_submissions(scheduler: Any) -> None:
    scheduler._reports.submitted = lambda runs: None


@breaks("tells of a run in order: added, submitted, started, finished, with one run id and one fire time", "asyncio")
def tells_of_the_start_late(scheduler: Any) -> None:
    started, ended = scheduler._reports.started, scheduler._reports.ended
    held: list[Run] = []
    scheduler._reports.started = held.append

    def end(finishes: list[Finish]) -> None:
        ended(finishes)
        while held:
            started(held.pop())

    scheduler._reports.ended = end


@breaks("waits at shutdown until the jobs that run are over", "background", "asyncio")
@breaks("waits at shutdown for native jobs, and does not cancel them")
@breaks("has its end learnt by all who wait for it", "asyncio")
@breaks("is a context manager, which has waited when it is left", "asyncio")
def does_not_wait(scheduler: Any) -> None:
    shutdown = scheduler.shutdown
    scheduler.shutdown = lambda wait=True, timeout=None: shutdown(False, timeout)


@breaks("waits at shutdown for native jobs, and does not cancel them", "asyncio")
def cancels(scheduler: Any) -> None:
    shutdown = scheduler.shutdown
    scheduler.shutdown = lambda wait=True, timeout=None: shutdown(wait, 0.0)


@breaks("returns at once from a shutdown that does not wait, and closes behind the jobs that run")
@breaks("takes back the runs that have not begun when a shutdown does not wait, and says so")
@breaks("lets go on native jobs that have begun when a shutdown does not wait")
def always_waits(scheduler: Any) -> None:
    shutdown = scheduler.shutdown
    scheduler.shutdown = lambda wait=True, timeout=None: shutdown(True, timeout)


@breaks("says of a shutdown that ran out of time what it has cut")
def says_not_what_it_cut(scheduler: Any) -> None:
    shutdown = scheduler.shutdown
    scheduler.shutdown = lambda wait=True, timeout=None: shutdown(wait, timeout)[:0]


@breaks("ends native jobs when the time of a shutdown is up, and says which", "asyncio")
@breaks("says of a shutdown that ran out of time what it has cut", "asyncio")
def has_all_the_time(scheduler: Any) -> None:
    shutdown = scheduler.shutdown
    scheduler.shutdown = lambda wait=True, timeout=None: shutdown(wait)


@breaks("may be shut down by a job, which does not wait for itself")
@breaks("may be shut down by a listener")
@breaks("lets a job that runs while it stops call whatever it likes")
def waits_for_itself(scheduler: Any) -> None:
    shutdown = scheduler.shutdown

    def stop(wait: bool = True, timeout: float | None = None) -> Any:
        cut = shutdown(wait, timeout)
        while not (scheduler._closed.is_set() or _let_go.wait(0.005)):
            pass
        return cut

    scheduler.shutdown = stop


@breaks("may be shut down by eight threads at a time, and stops once")
@breaks("tells of its start first and of its end last, and of pauses in between")
def tells_of_its_end_twice(scheduler: Any) -> None:
    ended = scheduler._ended

    def end() -> None:
        scheduler._reports.bus.publish(SchedulerEvent(EVENT_SCHEDULER_SHUTDOWN))
        ended()

    scheduler._ended = end


@breaks("fires nothing after its shutdown")
def fires_after_its_end(scheduler: Any) -> None:
    ended = scheduler._ended

    def end() -> None:
        jobs = [entry.job for pump in scheduler._pumps.values() for entry in pump.store.list_entries()]
        ended()
        for job in jobs:
            threading.Timer(0.01, job.func, job.args).start()

    scheduler._ended = end


@breaks("refuses to be started twice", "background", "asyncio")
def starts_twice(scheduler: Any) -> None:
    start = scheduler.start
    scheduler.start = lambda paused=False: None if scheduler.running else start(paused)


@breaks("starts again after shutdown, and fires again")
@breaks("keeps jobs that are added after its shutdown for the next start")
@breaks("starts and stops thirty times in a row, and leaves no thread behind")
def starts_once(scheduler: Any) -> None:
    ended = scheduler._ended

    def end() -> None:
        ended()
        scheduler._forked = True

    scheduler._ended = end


@breaks("is as before after a start that failed, and can be started then")
def stays_half_started(scheduler: Any) -> None:
    scheduler._undo_start = lambda started, opened: setattr(scheduler, "_state", STATE_RUNNING)


@breaks("is stopped in the child of a fork, and goes on in the parent")
def knows_no_forks(scheduler: Any) -> None:
    scheduler._after_fork_in_child = lambda: None


@breaks("starts and stops thirty times in a row, and leaves no thread behind")
def leaves_a_thread(scheduler: Any) -> None:
    start = scheduler.start

    def start_more(paused: bool = False) -> None:
        threading.Thread(target=_let_go.wait, args=(60,)).start()
        start(paused)

    scheduler.start = start_more


@breaks("fires nothing while it is paused, and then what fell due meanwhile, by the rules for what is late", "asyncio")
def does_not_pause(scheduler: Any) -> None:
    scheduler.pause = lambda: None


@breaks("fires nothing when it was started paused, until it is resumed")
def starts_at_once(scheduler: Any) -> None:
    start = scheduler.start
    scheduler.start = lambda paused=False: start()


@breaks("raises SchedulerNotRunningError for what only a running one can do")
@breaks("looks at what is due when wakeup() asks for it, whoever asks")
def does_not_wake(scheduler: Any) -> None:
    scheduler.wakeup = lambda: None


@breaks("takes a job from another thread at once, although it sleeps for long")
@breaks("takes a job from a listener")
def is_deaf(scheduler: Any) -> None:
    scheduler._ticker.touch = lambda *args: None


@breaks("takes a job from a job")
def is_deaf_to_jobs(scheduler: Any) -> None:
    # A job that is quick adds its own before what is due next is asked for: to touch nothing would not be noticed.
    add = scheduler._jobs.add
    scheduler._jobs.add = lambda *args: add(*args) if current_run.get() is None else None


@breaks("makes one run of a backlog, for its last fire time, and says how many it stands for")
@breaks("applies the grace time before it coalesces")
def does_not_coalesce(scheduler: Any) -> None:
    scheduler._definitions.default_policy = scheduler._definitions.default_policy._replace(coalesce=False)


@breaks("fires however late it is when no grace time was given")
def has_no_patience(scheduler: Any) -> None:
    scheduler._definitions.default_policy = scheduler._definitions.default_policy._replace(misfire_grace_us=1_000_000)


@breaks("makes a run for each fire time of a backlog where it is not coalesced, oldest first, one after the other")
@breaks("does not let a job overlap itself, and says so")
def lets_jobs_overlap(scheduler: Any) -> None:
    scheduler._definitions.default_policy = scheduler._definitions.default_policy._replace(max_instances=5)


@breaks("lists jobs by their next run, those that have none last, and prints them")
@breaks("keeps jobs that are due in 60 days, in 100 years and at the end of time, and serves the others meanwhile")
def lists_backwards(scheduler: Any) -> None:
    get_jobs = scheduler.get_jobs
    scheduler.get_jobs = lambda jobstore=None, pending=None: get_jobs(jobstore, pending)[::-1]


@breaks("lets a job that runs be removed: the run goes on, and no other follows")
@breaks("lets a job remove itself")
@breaks("does not fire what was removed when it is due at that moment")
@breaks("raises JobLookupError for a job that it does not know")
@breaks("keeps its head while eight threads add, change, pause, resume, reschedule and remove jobs")
def does_not_remove(scheduler: Any) -> None:
    scheduler.remove_job = lambda job_id, jobstore=None: None


@breaks("uses the changes of a job from its next run on")
@breaks("does not fire a job that is paused, and takes it up from now when it is resumed")
def does_not_modify(scheduler: Any) -> None:
    scheduler.modify_job = lambda job_id, jobstore=None, **changes: scheduler.get_job(job_id)


@breaks("fires by the new trigger when a job is rescheduled, and no more by the old one")
def does_not_reschedule(scheduler: Any) -> None:
    scheduler.reschedule_job = lambda job_id, jobstore=None, trigger=None, **args: scheduler.get_job(job_id)


@breaks("goes on when a job raises, exits or is interrupted", "background", "asyncio")
@breaks("tells of what a job returned, or raised, with its traceback")
@breaks("tells of native jobs that raise, with the traceback", "background", "asyncio")
@breaks("goes on when a native job exits", "asyncio")
@breaks("tells of runs that an executor refuses, and goes on with the others")
def hides_failures(scheduler: Any) -> None:
    run_finished = scheduler.run_finished

    def finished(finish: Finish) -> None:
        if finish.state is RunState.FAILED:
            finish = finish._replace(state=RunState.SUCCEEDED)
        run_finished(finish)

    scheduler.run_finished = finished


@breaks("goes on when a listener raises, and tells the others")
def trusts_listeners(scheduler: Any) -> None:
    bus = scheduler._reports.bus

    def tell(event: SchedulerEvent) -> None:
        for callback, mask in bus._listeners:
            if mask & event.code:
                try:
                    callback(event)
                except ValueError:
                    return

    bus._tell = tell


@breaks("is not held up by a listener that is slow")
@breaks("calls no listener on the loop", "asyncio")
def tells_where_it_happens(scheduler: Any) -> None:
    scheduler._reports.bus.post = scheduler._reports.bus.publish


@breaks("calls a store that does I/O off the loop, which goes on while the store does not answer", "asyncio")
@breaks("fires the jobs of one store while another does not answer", "background")
def calls_stores_at_once(scheduler: Any) -> None:
    def run(call: Callable[[], Any], done: Done) -> None:
        done(call(), None)

    scheduler._run_blocking = run


@breaks("tries a store that failed again, tells of both, and fires what was due")
@breaks("says of a store that is down that it is, and fires the jobs of the others meanwhile")
def is_always_well(scheduler: Any) -> None:
    scheduler._reports.store_failed = lambda *args: None


@breaks("runs plain functions off the loop, which goes on meanwhile", "asyncio")
@breaks("runs native jobs to their end, and tells what they return")
def runs_inline(scheduler: Any) -> None:
    scheduler._create_default_executor = DebugExecutor


@breaks("runs many native jobs at a time", "asyncio")
@breaks("runs native jobs in the loop's thread", "asyncio")
@breaks("ends native jobs when the time of a shutdown is up, and says which", "asyncio")
def runs_all_in_threads(scheduler: Any) -> None:
    scheduler._create_default_executor = ThreadPoolExecutor


@breaks("makes a call that may wait off the loop, and gives what the framework awaits", "asyncio")
def calls_at_once(scheduler: Any) -> None:
    def call(call: Callable[..., Any], *args: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.set_result(call(*args))
        return future

    scheduler.call = call


@breaks("starts, runs a job and shuts down")
@breaks("fires a date in the past at once, for that date")
def never_comes_back(scheduler: Any) -> None:
    scheduler._runs.submit = lambda runs: _let_go.wait(60)


@breaks("gives its loop a turn between the jobs of a burst of 5,000", "asyncio")
def is_greedy(scheduler: Any) -> None:
    tick = scheduler._tick

    def tick_on() -> None:
        tick()
        while any(pump.has_more for pump in scheduler._pumps.values()):
            tick()

    scheduler._tick = tick_on


@breaks("fires a job that failed again when it is time")
def gives_up(scheduler: Any) -> None:
    run_finished = scheduler.run_finished

    def finished(finish: Finish) -> None:
        if finish.state is RunState.FAILED:
            scheduler.remove_job(finish.run.job.id)
        run_finished(finish)

    scheduler.run_finished = finished


@breaks("sets a job aside whose trigger raises, and fires the others")
@breaks("sets a job aside whose executor is missing, and takes it up when that is added")
def does_not_tell_of_broken_jobs(scheduler: Any) -> None:
    scheduler._reports.broken = lambda *args: None


@breaks("sets a job aside whose executor is missing, and takes it up when that is added")
def does_not_mend(scheduler: Any) -> None:
    scheduler._jobs.mend = lambda executor: None


@breaks("shuts down although an executor and a store raise at it")
def fails_to_report(scheduler: Any) -> None:
    def fail(*args: object) -> None:
        raise ValueError("as the test wants it")

    scheduler._reports.store_failed = fail


@breaks("does not fire what is later than its grace time, and says that it misfired")
@breaks("makes no more runs of a backlog than max_catchup, and says how many it left out")
def does_not_tell_of_skips(scheduler: Any) -> None:
    scheduler._reports.skipped = lambda *args: None


@breaks("stops in the middle of a burst, and says of each run what became of it")
def does_not_tell_what_it_took_back(scheduler: Any) -> None:
    ended = scheduler._reports.ended
    scheduler._reports.ended = lambda finishes: ended([one for one in finishes if one.state is not RunState.SKIPPED])


def _with(scheduler: Any, **settings: Any) -> None:
    add_job = scheduler.add_job
    scheduler.add_job = lambda *args, **options: add_job(*args, **{**options, **settings})


@breaks("lets as many runs of a job overlap as max_instances says")
def does_not_let_jobs_overlap(scheduler: Any) -> None:
    _with(scheduler, max_instances=1)


@breaks("refuses an id that is taken, and replaces its job when it is told to")
def always_replaces(scheduler: Any) -> None:
    _with(scheduler, replace_existing=True)


@breaks("has several job stores and executors, each with its own jobs")
def has_one_executor(scheduler: Any) -> None:
    _with(scheduler, executor="default")


@breaks("keeps an interval on its grid, however late it looks")
def begins_anew(scheduler: Any) -> None:
    run_finished = scheduler.run_finished

    def finished(finish: Finish) -> None:
        scheduler.reschedule_job(finish.run.job.id, trigger="interval", minutes=1)
        run_finished(finish)

    scheduler.run_finished = finished


@breaks("fires in real time, again and again, and never before it is time")
def begins_early(scheduler: Any) -> None:
    run_finished = scheduler.run_finished
    scheduler.run_finished = lambda finish: run_finished(finish._replace(started_us=finish.started_us - 100_000))


@breaks("counts a fire time at which a job is resumed as one that it fires, and not as one that it missed")
def counts_twice(scheduler: Any) -> None:
    missed = scheduler._jobs._missed_while_paused
    scheduler._jobs._missed_while_paused = lambda old, new: missed(old, new._replace(fire_us=None))


@breaks("keeps jobs that are added before it starts, lets them be changed, and fires them when it has started")
def forgets_what_was_pending(scheduler: Any) -> None:
    start = scheduler.start

    def start_afresh(paused: bool = False) -> None:
        scheduler.remove_all_jobs()
        start(paused)

    scheduler.start = start_afresh


@breaks("delivers what a call from another thread causes before that call returns")
def tells_later(scheduler: Any) -> None:
    scheduler._reports.bus.publish = lambda event: None


@breaks("schedules functions by decoration, and gives them back unchanged")
def decorates_to_nothing(scheduler: Any) -> None:
    scheduled_job = scheduler.scheduled_job
    scheduler.scheduled_job = lambda *args, **options: lambda func: scheduled_job(*args, **options)(func) and None


@breaks("exports its jobs, and another one imports them")
def imports_nothing(scheduler: Any) -> None:
    scheduler.import_jobs = lambda infile, jobstore="default": None


@breaks("takes a job store and an executor while it runs, and lets them be taken away")
def keeps_executors(scheduler: Any) -> None:
    scheduler.remove_executor = lambda alias, shutdown=True: None


@breaks("keeps the record of the runs that it made")
def has_no_memory(scheduler: Any) -> None:
    scheduler.get_runs = lambda *args, **options: []


@breaks("may be shut down before it was started, and after")
def stops_only_when_it_runs(scheduler: Any) -> None:
    shutdown = scheduler.shutdown

    def stop(wait: bool = True, timeout: float | None = None) -> Any:
        if not scheduler.running:
            raise RuntimeError("it does not run")
        return shutdown(wait, timeout)

    scheduler.shutdown = stop


@breaks("lives beside others on the same loop, each with its own jobs")
def stops_with_the_others(scheduler: Any) -> None:
    _family.append(scheduler)
    begin_shutdown = scheduler._begin_shutdown

    def stop() -> bool:
        for other in _family:
            other._dispatches = False
        return bool(begin_shutdown())

    scheduler._begin_shutdown = stop


_family: list[Any] = []
_let_go = threading.Event()


@pytest.mark.parametrize(("framework", "behaviour", "break_it"), BROKEN_SCHEDULERS)
@pytest.mark.usefixtures("_impatient")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_scheduler_is_found(
    case_named: Callable[[str], Any], framework: str, behaviour: str, break_it: Callable[[Any], None]
) -> None:
    case = case_named(framework)

    @contextmanager
    def broken() -> Iterator[Runtime]:
        _let_go.clear()
        _family.clear()
        with case.runtime() as runtime:
            make = runtime.make

            def make_broken(**options: Any) -> BaseScheduler:
                scheduler: BaseScheduler = make(**options)
                break_it(scheduler)
                return scheduler

            runtime.make = make_broken
            try:
                yield runtime
            finally:
                _let_go.set()

    assert behaviour in found_wrong(lambda: check_scheduler(broken, case.traits, only=behaviour))


def test_a_runtime_has_to_name_the_starts_that_cannot_be(case_named: Callable[[str], Any]) -> None:
    case = case_named("asyncio")
    name = "refuses to be started where it cannot live, and says what is wrong"
    for cases in ({}, {"there": (lambda: None, "word")}):

        @contextmanager
        def named(cases: Any = cases) -> Iterator[Runtime]:
            with case.runtime() as runtime:
                runtime.wrong_starts = lambda: cases
                yield runtime

        with pytest.raises(AssertionError, match=r"names no case|where there"):
            check_scheduler(named, case.traits, only=name)


def test_a_scheduler_is_not_held_to_what_it_lacks(case_named: Callable[[str], Any]) -> None:
    case = case_named("background")
    name = "is stopped in the child of a fork, and goes on in the parent"
    traits = case.traits._replace(lacks={name: "nobody forks here"})
    assert dict(scheduler_behaviours(traits))[name] == "nobody forks here"
    assert check_scheduler(case.runtime, traits, only=name) == []
    with pytest.raises(ValueError, match="did you mean"):
        scheduler_behaviours(case.traits._replace(lacks={name + "!": "no such thing"}))


def test_the_runtime_in_the_documentation_is_a_whole_one() -> None:
    text = textwrap.dedent(str(runtime_module.__doc__).split("this is all of it::")[1])
    names: dict[str, Any] = {}
    exec(
        "import asyncio, threading\n"
        "from contextlib import contextmanager\n"
        "from schedcore.adapters.asyncio import AsyncIOScheduler\n"
        "from schedcore.testing.runtime import LoopRuntime, SchedulerTraits\n"
        "checked = []\n"
        "def check_scheduler(*args): checked.append(args)\n" + text,
        names,
    )
    ((runtime, traits),) = names["checked"]
    for name in ("runs native jobs in the loop's thread", "has its end learnt by all who wait for it"):
        assert check_scheduler(runtime, traits, only=name) == [name]

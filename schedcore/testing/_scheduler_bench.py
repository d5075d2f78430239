"""The place of work of the schedulers' conformance suite: a runtime, schedulers on it, and what their jobs do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from schedcore.events import EVENT_SCHEDULER_SHUTDOWN
from schedcore.job import Job
from schedcore.run import Run, current_run
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing._suite import Aside, Suite, patience
from schedcore.testing.handclock import HandClock
from schedcore.testing.log import EventLog
from schedcore.testing.runtime import Runtime, SchedulerTraits, Steps

__all__ = ["Bench", "Calls", "behaviour", "bench_on", "minutes", "suite"]

T = TypeVar("T")

suite: Suite[Bench, SchedulerTraits] = Suite(
    "a scheduler",
    {
        "loop": (lambda traits: traits.on_loop, "it lives on nobody's loop"),
        "own loop": (lambda traits: not traits.on_loop, "it lives on a framework's loop"),
        "native jobs": (lambda traits: traits.native, "its framework calls no jobs asynchronous"),
        "ends jobs": (lambda traits: traits.ended, "its jobs cannot be ended from outside"),
        "threads": (
            lambda traits: not traits.functions_on_loop,
            "jobs that are plain functions run on the loop, as its framework has it",
        ),
        "fork": (lambda traits: hasattr(os, "fork"), "the system has no fork"),
        "context manager": (lambda traits: traits.context_manager, "it is no context manager"),
    },
)
behaviour = suite.behaviour


def minutes(number: int) -> datetime:
    """So many minutes after a ``HandClock`` begins."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)


class Calls:
    """A job that is a plain function and remembers its calls; with a gate it waits there, in each."""

    def __init__(self, bench: Bench, gate: threading.Event | None = None) -> None:
        self._bench = bench
        self._gate = gate
        self._told = threading.Condition()
        #: The arguments of each call that has begun.
        self.begun: list[tuple[Any, ...]] = []
        #: The same, of those that came to their end.
        self.ended: list[tuple[Any, ...]] = []
        #: The threads of the calls.
        self.threads: list[int] = []
        #: The ids of the runs, as the job itself sees them.
        self.run_ids: list[str] = []
        self._running = 0
        #: How many were called at a time, at most.
        self.most_at_a_time = 0

    def __call__(self, *args: Any) -> int:
        run = current_run.get()
        with self._told:
            self.begun.append(args)
            self.threads.append(threading.get_ident())
            self.run_ids.append("" if run is None else run.id)
            self._running += 1
            self.most_at_a_time = max(self.most_at_a_time, self._running)
            number = len(self.begun)
            self._told.notify_all()
        try:
            if self._gate is not None:
                self._bench.runtime.wait_in_job(self._gate)
        finally:
            with self._told:
                self._running -= 1
                self.ended.append(args)
                self._told.notify_all()
        return number

    @property
    def count(self) -> int:
        """How many have begun."""
        return len(self.begun)

    def wait_begun(self, count: int = 1) -> None:
        with self._told:
            came = self._told.wait_for(lambda: len(self.begun) >= count, patience.seconds)
        assert came, f"a job was to be called {count} times, and was {len(self.begun)} times"

    def wait_ended(self, count: int = 1) -> None:
        with self._told:
            came = self._told.wait_for(lambda: len(self.ended) >= count, patience.seconds)
        assert came, f"{count} calls of a job were to end, and {len(self.ended)} did"


class Bench:
    """One behaviour's place of work. Its own code runs in the control thread."""

    def __init__(self, runtime: Runtime, traits: SchedulerTraits) -> None:
        self.runtime = runtime
        self.traits = traits
        self._schedulers: list[tuple[BaseScheduler, threading.Event]] = []
        self._gates: list[threading.Event] = []

    # -- schedulers ----------------------------------------------------------------------------------------------------

    def make(self, **options: Any) -> BaseScheduler:
        """A scheduler that is shut down at the end, whatever happens."""
        options.setdefault("timezone", "UTC")
        scheduler = self.runtime.call(lambda: self.runtime.make(**options))
        closed = threading.Event()
        scheduler.add_listener(lambda event: closed.set(), EVENT_SCHEDULER_SHUTDOWN)
        self._schedulers.append((scheduler, closed))
        return scheduler

    def start(self, scheduler: BaseScheduler | None = None, *, paused: bool = False, **options: Any) -> BaseScheduler:
        """Start a scheduler, a new one if none is given."""
        if scheduler is None:
            scheduler = self.make(**options)
        for known, closed in self._schedulers:
            if known is scheduler:
                closed.clear()
        self.runtime.start(scheduler, paused)
        return scheduler

    def start_logged(self, **options: Any) -> tuple[BaseScheduler, EventLog]:
        """A started scheduler, and all that it tells."""
        scheduler = self.make(**options)
        log = EventLog(scheduler)
        self.start(scheduler)
        return scheduler, log

    def start_at(self, **options: Any) -> tuple[BaseScheduler, EventLog, HandClock]:
        """A started scheduler at 2026-01-01T00:00:00Z, on a clock that stands still."""
        clock = HandClock()
        scheduler, log = self.start_logged(clock=clock, **options)
        return scheduler, log, clock

    def move(self, scheduler: BaseScheduler, clock: HandClock, seconds: float) -> None:
        """Let time pass at once, and have the scheduler look."""
        clock.move(seconds)
        self.call(scheduler.wakeup)

    def shutdown(self, scheduler: BaseScheduler, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """Shut down as the framework's users do. Bounded in time."""
        return Aside(self.runtime.shutdown, scheduler, wait, timeout).result()

    def wait_closed(self, scheduler: BaseScheduler) -> None:
        """Wait until a scheduler that was shut down has told so, and has come to its end."""
        for known, closed in self._schedulers:
            if known is scheduler:
                assert closed.wait(patience.seconds), "it never told of the end of its shutdown"
        self.shutdown(scheduler)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def call(self, call: Callable[[], T]) -> T:
        """Make a call where the framework's users make theirs."""
        return self.runtime.call(call)

    def add(self, scheduler: BaseScheduler, func: Callable[..., Any] | str, *args: Any, **options: Any) -> Job:
        """``add_job`` where the framework's users call it."""
        return self.call(lambda: scheduler.add_job(func, *args, **options))

    def loop_thread(self) -> int:
        return self.call(threading.get_ident)

    def go_round(self, scheduler: BaseScheduler, times: int = 3) -> None:
        """Have the scheduler look at what is due, a few times; what it does then has been begun."""
        for _ in range(times):
            self.call(scheduler.wakeup)
            # It looks at most once in a millisecond.
            time.sleep(0.004)

    def settle(self, scheduler: BaseScheduler) -> None:
        """Have a job run: what was due before it has been dealt with, and its outcome is written."""
        calls = self.calls()
        self.call(scheduler.wakeup)
        self.add(scheduler, calls, id="the suite's own")
        calls.wait_ended()
        self.go_round(scheduler, 1)

    def told(self, log: EventLog, code: int, count: int = 1, job_id: str | None = None) -> list[Any]:
        """The events with this code, when there are so many; those about ``settle``'s own job never count."""

        def mine() -> list[Any]:
            return [event for event in log.of(code, job_id) if getattr(event, "job_id", None) != "the suite's own"]

        log.wait_for(lambda _: len(mine()) >= count, patience.seconds)
        return mine()

    # -- what jobs do ----------------------------------------------------------------------------------------------------

    def gate(self) -> threading.Event:
        """An event that is set at the end at the latest."""
        gate = threading.Event()
        self._gates.append(gate)
        return gate

    def calls(self, gate: threading.Event | None = None) -> Calls:
        """A job that is a plain function."""
        return Calls(self, gate)

    def native(
        self,
        kind: str,
        end: Callable[[], Any] | None = None,
        *,
        begin: Callable[[], object] | None = None,
        gate: threading.Event | None = None,
    ) -> tuple[Callable[[], Any], Steps, Mapping[str, Any]]:
        """A native job that does ``begin``, waits at a gate, if there is one, and does ``end``.

        Returns its function, its steps, and the options of ``add_job`` that it needs.
        """
        if gate is None:
            gate = threading.Event()
            gate.set()
        steps = Steps(gate, end or (lambda: None), begin or (lambda: None))
        return self.runtime.native_jobs[kind](steps), steps, self.runtime.native_options.get(kind, {})

    # -- the end -----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Nothing is left running."""
        for gate in self._gates:
            gate.set()
        for scheduler, _ in reversed(self._schedulers):
            self.shutdown(scheduler)

    def let_go(self) -> None:
        """After a failed check: leave as little running as can be."""
        for gate in self._gates:
            gate.set()
        for scheduler, _ in self._schedulers:
            try:
                Aside(self.runtime.shutdown, scheduler, True, 1.0).result(min(5.0, patience.seconds))
            except BaseException:  # noqa: BLE001  # the check's own failure is what is reported
                pass


@contextmanager
def bench_on(runtime: Runtime, traits: SchedulerTraits) -> Iterator[Bench]:
    """A bench that is cleared when it is left."""
    bench = Bench(runtime, traits)
    try:
        yield bench
        bench.close()
    except BaseException:
        bench.let_go()
        raise

"""The two measurements of a framework: a burst, and how late single runs are.

The measured code is one and the same for both libraries and, but for the dispatch itself, for the bare framework. All of it runs
in the framework's thread, in callbacks; only jobs may run elsewhere, where a library runs them so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter, time
from typing import Any

from benchmarks._meters import Tally
from benchmarks._plan import Figures, Target
from benchmarks.dispatch import Burst, Heap, add_due
from benchmarks.lateness import JOBS, Record

__all__ = ["Framework", "burst", "lateness", "targets"]

# Seconds. Long enough for a scheduler to have done what it does at its start.
_REST_S = 0.02
# Seconds between two looks of the neighbour on the loop.
_TICK_S = 0.001


class Framework(ABC):
    """How a framework is driven. Unless it says otherwise, a method is called in the framework's thread."""

    @abstractmethod
    def run(self, main: Callable[[], None]) -> None:
        """Start the loop, call ``main`` there, and return when ``stop`` was called. Called in the main thread."""

    @abstractmethod
    def stop(self) -> None:
        """Let ``run`` return."""

    @abstractmethod
    def scheduler(self, library: str) -> Any:
        """A new scheduler for this framework, of ``schedcore`` or ``apscheduler``."""

    @abstractmethod
    def stop_scheduler(self, scheduler: Any, then: Callable[[], None]) -> None:
        """Shut the scheduler down and wait as its users do, where there is something to wait for; then call ``then``."""

    @abstractmethod
    def job(self, call: Callable[..., None]) -> Callable[..., Any]:
        """A job that makes the call, of the kind that the framework calls asynchronous, if it has any."""

    @abstractmethod
    def start(self, job: Callable[..., Any], *args: Any) -> None:
        """The bare framework: start such a job once, the fastest way there is that minds its errors."""

    @abstractmethod
    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], object]:
        """The framework's own timer. What is returned cancels it."""

    @abstractmethod
    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back in the framework's thread. From any thread."""


class _Neighbour:
    """Somebody else on the loop, who notes for how long he was not served."""

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        self._last_s = perf_counter()
        self._cancel: Callable[[], object] = framework.call_later(_TICK_S, self._look)
        self.longest_s = 0.0

    def _look(self) -> None:
        self._note()
        self._cancel = self._framework.call_later(_TICK_S, self._look)

    def _note(self) -> None:
        now_s = perf_counter()
        self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = now_s

    def leave(self) -> None:
        self._cancel()
        self._note()


def _run(framework: Framework, main: Callable[[], None]) -> None:
    """Run the loop; what ``main`` raises ends it, and is raised here."""
    errors: list[Exception] = []

    def begin() -> None:
        try:
            main()
        except Exception as error:  # noqa: BLE001  # it is raised again where it ends the measurement
            errors.append(error)
            framework.stop()

    framework.run(begin)
    if errors:
        raise errors[0]


def burst(framework: Framework, subject: str, n: int) -> Figures:
    """``n`` jobs are due at one instant; see ``benchmarks.dispatch`` for the figures."""
    found: dict[str, float] = {}
    tally = Tally(n)
    scheduler: Any = None
    clocks: Burst
    neighbour: _Neighbour

    def hit() -> None:
        tally.hit()
        if tally.last_s:
            framework.call_soon(all_ran)

    job = framework.job(hit)

    def main() -> None:
        nonlocal scheduler
        if subject == "bare":
            framework.call_later(_REST_S, go_bare)
            return
        scheduler = framework.scheduler(subject)
        scheduler.start()
        scheduler.add_job(framework.job(lambda: framework.call_soon(warm)))

    def warm() -> None:
        framework.call_later(_REST_S, prepare)

    def prepare() -> None:
        scheduler.pause()
        add_due(scheduler, job, n)
        # In a callback of its own: what adding took is not the burst's.
        framework.call_later(0, go)

    def go() -> None:
        nonlocal clocks, neighbour
        clocks = Burst(n)
        neighbour = _Neighbour(framework)
        scheduler.resume()

    def go_bare() -> None:
        nonlocal clocks, neighbour
        heap = Heap(job, n)
        clocks = Burst(n)
        neighbour = _Neighbour(framework)
        heap.take_due(framework.start)

    def all_ran() -> None:
        neighbour.leave()
        if scheduler is None:
            over()
        else:
            framework.stop_scheduler(scheduler, over)

    def over() -> None:
        found.update(clocks.figures(tally), blocked_ms=neighbour.longest_s * 1e3)
        framework.stop()

    _run(framework, main)
    return found


def lateness(framework: Framework, subject: str, seconds: int) -> Figures:
    """Twenty jobs a second on an idle scheduler; see ``benchmarks.lateness`` for the figures."""
    found: dict[str, float] = {}
    record = Record(seconds)
    job = framework.job(record.job)
    scheduler: Any = None
    cancel: Callable[[], object]

    def main() -> None:
        nonlocal scheduler
        framework.call_later(record.left_s(), measured)
        if subject == "bare":
            fire(0)
            return
        scheduler = framework.scheduler(subject)
        scheduler.start()
        record.add_jobs(scheduler, job)

    def fire(serial: int) -> None:
        nonlocal cancel
        if record.due_s(serial) <= time():
            framework.start(job, serial % JOBS)
            serial += 1
        cancel = framework.call_later(max(0.0, record.due_s(serial) - time()), lambda: fire(serial))

    def measured() -> None:
        found.update(record.figures())
        if scheduler is None:
            cancel()
            framework.stop()
        else:
            framework.stop_scheduler(scheduler, framework.stop)

    _run(framework, main)
    return found


def targets(name: str, against_apscheduler: float | None = None, of_bare: float | None = None) -> tuple[Target, ...]:
    """The targets of a framework: how many times APScheduler's runs per second, and the share of the bare framework's.

    A framework without such a number has none of it to meet; nobody's runs may begin later than 1.3 times as late as the
    framework's own timer calls.
    """
    burst_text, late_text = f"dispatch 10,000, {name}", f"lateness p50, {name}"
    found = []
    if against_apscheduler is not None:
        found.append(
            Target(
                burst_text, f"{name}-burst", 10_000, "run_us", "faster", against_apscheduler, "apscheduler", "cpu_us"
            )
        )
    if of_bare is not None:
        found.append(Target(burst_text, f"{name}-burst", 10_000, "run_us", "faster", of_bare, "bare", "cpu_us"))
        found.append(Target(late_text, f"{name}-lateness", 10, "p50_ms", "share", 1.3, "bare", quick_size=5))
    return tuple(found)

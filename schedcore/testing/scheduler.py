"""A whole scheduler in virtual time, and an executor under control.

::

    from schedcore.testing import VirtualScheduler

    scheduler = VirtualScheduler(start="2026-01-01T00:00:00Z", timezone="Europe/Berlin")
    times = []
    scheduler.add_job(lambda: times.append(scheduler.clock.now()), "cron", hour=7, minute=30)
    scheduler.start()
    scheduler.advance(365 * 86400)          # a year, in a few milliseconds
    assert len(times) == 365                # once a day, over both changes of the clocks
    scheduler.shutdown()

It is the real scheduler: stores, engine, triggers and events are those of every other one. Only the clock, the wakeup and the
executor are under control. Nothing happens but in ``start``, ``advance``, ``run_until``, ``run_until_idle`` and
``shutdown``, all in the thread that calls them, and in the same order at every run: jitter is drawn from a seed. Events
are delivered at once, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar

from schedcore import config
from schedcore.clock import from_datetime
from schedcore.errors import ConfigurationError
from schedcore.executors.base import BaseExecutor, ExecutorHost, RunExecutor, call_run, failed
from schedcore.run import Finish, Run, RunState, current_run
from schedcore.schedulers._closing import close, stop_executor
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing.time import DEFAULT_START, VirtualClock
from schedcore.testing.wakeups import VirtualWakeup
from schedcore.wakeup import Wakeup

__all__ = ["VirtualExecutor", "VirtualScheduler"]

# Seconds. Longer than any calendar: the wakeup sees to it that the clocks are compared in time.
_LONGEST_WAIT_S = 4e11


class VirtualExecutor(RunExecutor):
    """Runs jobs in virtual time, in the thread that advances it.

    ``duration``: how long a run takes, in seconds, or a function of the ``Run`` that says so. The job is called when its
    run begins, and the outcome is reported that much later. ``max_workers``: how many run at a time; None: no limit.

    ``manual=True``: nothing happens by itself. Runs that were taken are in ``waiting``; ``begin`` moves one to
    ``running``, ``end`` reports the outcome you name without calling the job, and ``call`` calls the job and reports
    what became of it.
    """

    def __init__(
        self,
        duration: float | Callable[[Run], float] = 0.0,
        *,
        manual: bool = False,
        max_workers: int | None = None,
    ) -> None:
        self._duration = duration
        self._manual = manual
        self._max_workers = max_workers
        self._clock: VirtualClock | None = None
        self._open = False
        #: Taken and not begun, in order.
        self.waiting: deque[Run] = deque()
        #: Begun and not over, each with the end it will have (None: it is not known yet).
        self._running: dict[int, tuple[Run, Finish | None]] = {}
        self._idle_calls: list[Callable[[], None]] = []

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        super().start(scheduler, alias)
        clock = scheduler.clock
        if not isinstance(clock, VirtualClock):
            raise ConfigurationError(f"a virtual executor needs a scheduler in virtual time, not one on {clock!r}")
        self._clock = clock
        self._open = True

    @property
    def running(self) -> list[Run]:
        """The runs that have begun and are not over, in order."""
        return [run for run, _ in self._running.values()]

    def submit(self, runs: Sequence[Run]) -> None:
        if not self._open:
            raise RuntimeError(f"the executor {self._alias!r} is not running")
        assert self._clock is not None
        self.waiting.extend(runs)
        if not self._manual:
            self._clock.call_soon(self._start_waiting)

    def live_runs(self) -> list[Run]:
        return [*self.running, *self.waiting]

    def begin(self, run: Run | None = None) -> Run:
        """Report that a run (None: the first that waits) has begun. Its job is not called."""
        run = self._pick(run)
        self._running[id(run)] = (run, None)
        self._get_host().run_started(run)
        return run

    def end(self, run: Run | None = None, *, retval: Any = None, error: Exception | None = None) -> Run:
        """Report that a run is over, with ``retval`` or failed with ``error``. None: the first that runs, else that waits."""
        host = self._get_host()
        if run is None and self._running:
            run = next(iter(self._running.values()))[0]
        elif run is None or id(run) not in self._running:
            run = self.begin(run)
        now_us = host.clock.wall_us()
        if error is None:
            self._over(Finish(run, RunState.SUCCEEDED, now_us, now_us, retval))
        else:
            self._over(failed(run, now_us, now_us, error))
        return run

    def call(self, run: Run | None = None) -> Run:
        """Call the job of a run (None: the first that waits) and report what became of it."""
        run = self._pick(run)
        self._over(self._call(run))
        return run

    def _call(self, run: Run) -> Finish:
        self._running[id(run)] = (run, None)
        try:
            return call_run(run, self._get_host())
        except BaseException:
            # Ctrl-C: that is reported as its end, and the others begin at the next look at the clock.
            del self._running[id(run)]
            if self._clock is not None and not self._manual:
                self._clock.call_soon(self._start_waiting)
            raise

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once, when no run is live any more; at once if none is."""
        self._idle_calls.append(call)
        self._tell_idle()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """See ``RunExecutor``. Waiting moves the clock to the end of the last run; by hand, it carries out what is left."""
        clock = self._clock
        if clock is None:
            return []
        self._open = False
        cut: list[Run] = []
        if wait:
            end_us = None if timeout is None else clock.monotonic_us() + round(timeout * 1e6)
            self._run_out(clock, end_us)
            cut = self.live_runs()
        else:
            cut = list(self.waiting)
        for run in cut:
            if id(run) not in self._running:
                self.waiting.remove(run)
            started_us = None if id(run) not in self._running else clock.wall_us()
            self._over(Finish(run, RunState.CANCELLED, started_us, clock.wall_us()))
        return cut

    def _run_out(self, clock: VirtualClock, end_us: int | None) -> None:
        calling = current_run.get()
        while True:
            if self._manual:
                for run in self.live_runs():
                    if run is not calling:
                        self._running.pop(id(run), None)
                        if run in self.waiting:
                            self.waiting.remove(run)
                        self._over(self._call(run))
                return
            clock.run_ready()
            if not [run for run in self.live_runs() if run is not calling]:
                return
            at_us = clock.next_timer_us()
            if at_us is None or (end_us is not None and at_us > end_us):
                if end_us is not None:
                    clock.advance_to(end_us)
                return
            clock.run_next()

    def _start_waiting(self) -> None:
        clock = self._clock
        assert clock is not None
        while self.waiting and (self._max_workers is None or len(self._running) < self._max_workers):
            run = self.waiting.popleft()
            duration = self._duration
            duration_s = duration(run) if callable(duration) else duration
            finish = self._call(run)
            if duration_s <= 0:
                self._over(finish)
            else:
                self._running[id(run)] = (run, finish)
                clock.call_later(duration_s, lambda finish=finish: self._end_timed(finish))  # type: ignore[misc]

    def _end_timed(self, finish: Finish) -> None:
        assert self._clock is not None
        if id(finish.run) in self._running:
            self._over(finish._replace(finished_us=self._clock.wall_us()))
            self._start_waiting()

    def _over(self, finish: Finish) -> None:
        self._running.pop(id(finish.run), None)
        self._get_host().run_finished(finish)
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not self._running and not self.waiting:
            calls, self._idle_calls = self._idle_calls, []
            for call in calls:
                call()

    def _pick(self, run: Run | None) -> Run:
        if run is None:
            if not self.waiting:
                raise LookupError("no run waits to be begun")
            return self.waiting.popleft()
        self.waiting.remove(run)
        return run

    def _get_host(self) -> ExecutorHost:
        host = self._host
        if host is None:
            raise RuntimeError("this executor belongs to no scheduler yet")
        return host


class VirtualScheduler(BaseScheduler):
    """See the module's docstring.

    ``start``: what the wall clock shows at first. Option ``clock``: a ``VirtualClock`` to share with others, instead.
    Option ``blocking``: ``"inline"`` or ``"queued"``, for stores that do I/O; see ``VirtualWakeup``. The zone is UTC
    unless you name one; the default executor is ``VirtualExecutor()``.
    """

    _extra_options: ClassVar[Mapping[str, Callable[[object], object]]] = {
        **BaseScheduler._extra_options,
        "blocking": config.as_text,
    }
    _max_wait_s: ClassVar[float] = _LONGEST_WAIT_S
    _min_gap_s: ClassVar[float] = 0.0
    # Nobody can wait, at the end of the program, for time that does not pass.
    _closed_at_exit: ClassVar[bool] = False
    _tells_in_thread: ClassVar[bool] = False

    #: The wakeup it lives on; None unless it is started.
    virtual_wakeup: VirtualWakeup | None = None

    def __init__(
        self, gconfig: Mapping[str, Any] | None = None, *, start: datetime | str = DEFAULT_START, **options: Any
    ) -> None:
        self._virtual_clock = VirtualClock(start)
        super().__init__(gconfig, **options)
        self._random = Random(0).random

    def _configure(self, settings: config.SchedulerConfig) -> None:
        clock = settings.extra.get("clock") or self._virtual_clock
        if not isinstance(clock, VirtualClock):
            raise ConfigurationError(f"clock must be a VirtualClock, not {clock!r}")
        self._virtual_clock = clock
        super()._configure(
            settings._replace(timezone=settings.timezone or UTC, extra={**settings.extra, "clock": clock})
        )

    @property
    def clock(self) -> VirtualClock:
        """The clock, which is yours to move."""
        return self._virtual_clock

    # -- moving time --------------------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass: everything that falls due in them happens, in order, each at its instant."""
        self._virtual_clock.advance(seconds)

    def run_until(self, instant: datetime | str) -> None:
        """``advance`` until the wall clock shows ``instant`` (aware, or text with an offset)."""
        at_us = from_datetime(datetime.fromisoformat(instant) if isinstance(instant, str) else instant)
        self._virtual_clock.advance((at_us - self._virtual_clock.wall_us()) / 1e6)

    def run_until_idle(self, limit: float = 86400.0) -> None:
        """Carry out what is due now, to its end; time passes only as far as the runs take.

        Raises ``TimeoutError`` when after ``limit`` seconds something is still due or running.
        """
        clock = self._virtual_clock
        end_us = clock.monotonic_us() + round(limit * 1e6)
        clock.run_ready()
        while self._is_working():
            if clock.monotonic_us() > end_us:
                raise TimeoutError(f"after {limit} virtual seconds the scheduler is still at work")
            if not clock.run_next():
                return

    def _is_working(self) -> bool:
        wakeup = self.virtual_wakeup
        if wakeup is None:
            return False
        if wakeup.armed_s is not None and wakeup.armed_s <= self._min_gap_s:
            return True
        executors = [executor for executor in self._executors.values() if isinstance(executor, VirtualExecutor)]
        return any(not executor._manual and executor.live_runs() for executor in executors)

    # -- what the base asks for ----------------------------------------------------------------------------------------------

    def _create_wakeup(self) -> Wakeup:
        blocking = str(self._config.extra.get("blocking") or "inline")
        self.virtual_wakeup = VirtualWakeup(self._virtual_clock, blocking=blocking)
        return self.virtual_wakeup

    def _create_default_executor(self) -> BaseExecutor:
        return VirtualExecutor()

    def _run(self) -> None:
        self._virtual_clock.call_soon(self._begin)
        if not self._virtual_clock.dispatching:
            self._virtual_clock.run_ready()

    def _release_wakeup(self) -> None:
        wakeup, self.virtual_wakeup = self.virtual_wakeup, None
        if wakeup is not None:
            wakeup.close()

    # -- stopping -------------------------------------------------------------------------------------------------------------

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """See ``BaseScheduler.shutdown``. Waiting moves the clock; with ``wait=False`` it closes as time goes on."""
        first = self._begin_shutdown()
        inside = self._inside()
        if first and (inside or not wait):
            self._close_elsewhere(wait, timeout)
        elif wait and not inside and not self._closed.is_set():
            close(self, True, timeout)
        return list(self._cut) if wait and not inside else []

    def _inside(self) -> bool:
        return self._virtual_clock.dispatching or self._openings.here() or current_run.get() is not None

    def _close_elsewhere(self, wait: bool, timeout: float | None) -> None:
        """Close as time goes on: now if nothing runs, else when the last run has ended."""
        clock = self._virtual_clock
        if not wait:
            for executor in list(self._executors.values()):
                self._cut += stop_executor(self, executor, False, None)
        if timeout is not None:
            clock.call_later(timeout, lambda: self._drain(0.0))
        clock.call_soon(self._drain)
        if not clock.dispatching and not self._openings.here():
            clock.run_ready()

    def _drain(self, timeout: float | None = None) -> None:
        if self._closed.is_set():
            return
        for executor in self._executors.values():
            if timeout is None and isinstance(executor, VirtualExecutor) and executor.live_runs():
                executor.when_idle(lambda: self._virtual_clock.call_soon(self._drain))
                return
        close(self, True, timeout)

    def _in_background(self, call: Callable[[], None]) -> None:
        """Nothing happens behind the caller's back: what Ctrl-C has left open is closed by the next ``shutdown``."""

    def _quiesce(self, pumps: Sequence[Any], timeout: float | None) -> None:
        """What is under way comes to its end, blocking calls that are queued included."""
        clock, wakeup = self._virtual_clock, self.virtual_wakeup
        clock.run_ready()
        while wakeup is not None and wakeup.run_blocked():
            clock.run_ready()

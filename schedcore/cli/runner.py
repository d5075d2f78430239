"""``schedcore run``: a schedule in the foreground, from its start to its clean end.

The scheduler lives in threads of its own; the main thread shows what happens and waits for signals (``cli.signals``). It
sleeps on a ``Bell``, which listeners ring, too.

*The end.* The first signal (Ctrl-C, SIGTERM, SIGHUP) or the end of ``--for`` stops the firing at once. What runs then may
finish and has its outcome recorded; what was handed out and had not begun is put off to the next start. A second signal is
for who does not want to wait: commands get SIGTERM, and SIGKILL a little later, and the process ends with what it could
still record. A third one kills commands and ends it on the spot.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import monotonic, thread_time, time
from typing import TYPE_CHECKING, NamedTuple

from schedcore.cli import stores
from schedcore.cli.board import EVENTS, Board, Level, View
from schedcore.cli.lines import LibraryHandler, LineWriter
from schedcore.cli.register import check, is_register, sync
from schedcore.cli.schedule import STARTUP, ScheduleFile, importable
from schedcore.cli.scheduler import make_scheduler, start_paused
from schedcore.cli.signals import FORCED, Bell, Signals
from schedcore.cli.stores import StorePlace
from schedcore.cli.words import amount, duration, short_path
from schedcore.executors.command import terminate_running
from schedcore.schedulers.background import BackgroundScheduler

if TYPE_CHECKING:
    from schedcore.cli.live import Heading, Screen

__all__ = ["CLEAN", "RunOptions", "run_file"]

CLEAN = 0

# Seconds. The least time between two looks of the table, and the most.
_FRAME_S = 0.1
_LOOK_S = 1.0
# Seconds. The longest wait without a table; the system refuses some that ``--for`` may ask for.
_IDLE_S = 3600.0
# Seconds that a forced end waits for what it told to stop.
_FORCED_S = 2.0
# Jobs up to which the latest run of each is asked for by itself, and how many of all are otherwise.
_ASK_EACH = 500
_LATEST = 5000


class RunOptions(NamedTuple):
    """What the command line says beside the file."""

    for_s: float | None = None
    store: str | None = None
    level: int = logging.INFO
    plain: bool = False


@contextlib.contextmanager
def _logging_to(handler: logging.Handler, level: int) -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _register_key(file: ScheduleFile, place: StorePlace) -> str:
    """The file's name in a store: what stays the same when both are moved together."""
    path = os.path.abspath(file.path)
    if place.path and os.path.dirname(place.path) == os.path.dirname(path):
        return os.path.basename(path)
    return path


# --- running it -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """One call of the command: what its parts share."""

    file: ScheduleFile
    options: RunOptions
    places: list[StorePlace]
    scheduler: BackgroundScheduler
    board: Board
    bell: Bell
    signals: Signals
    say: Callable[[int, str], None]
    screen: Screen | None = None
    ends_s: float | None = None
    looked_s: float = 0.0
    look_cost_s: float = 0.0

    # -- what is shown

    def look(self, *, force: bool = False) -> None:
        """Ask for the next run times, if they may have changed. With many jobs that takes its time, so it is done less often.

        What counts is the processor's time: a machine that is busy for seconds with something else, or a store that does not
        answer meanwhile, is no reason to show for a minute what does not hold any more.
        """
        if self.screen is None and not force:
            return
        now_s = monotonic()
        if not force and (now_s - self.looked_s < max(_FRAME_S, 20 * self.look_cost_s) or not self.board.take_stale()):
            return
        begun_s = thread_time()
        order = {(spec.jobstore, spec.id): number for number, spec in enumerate(self.file.jobs)}
        words = {(spec.jobstore, spec.id): "at each start" for spec in self.file.jobs if spec.trigger.kind == STARTUP}
        jobs = [job for job in self.scheduler.get_jobs() if not is_register(job.func_ref)]
        jobs.sort(key=lambda job: order.get((job.jobstore, job.id), len(order)))
        self.board.show(jobs, words)
        self.looked_s = monotonic()
        self.look_cost_s = thread_time() - begun_s

    def frame(self) -> None:
        if self.screen is not None:
            if self.scheduler.running:
                self.look()
            self.screen.refresh()

    def waiting_for(self) -> str:
        """What still runs, for people."""
        now_s = monotonic()
        names = []
        for row in self.board.view().rows:
            begun = [run.since_s for run in row.running if run.since_s is not None]
            if begun:
                names.append(f"{row.name} ({duration(now_s - min(begun))})")
        return ", ".join(names)

    # -- its course

    def serve(self) -> int:
        """Fire until asked to end; the exit code."""
        self.scheduler.resume()
        while not self.signals.count and not (self.ends_s is not None and monotonic() >= self.ends_s):
            self.frame()
            self.pause()
        return self.stop()

    def pause(self) -> None:
        """Until there may be something to do or to show."""
        left_s = _LOOK_S if self.ends_s is None else self.ends_s - monotonic()
        if self.screen is None:
            self.bell.wait(_IDLE_S if self.ends_s is None else min(left_s, _IDLE_S))
            return
        begun_s = monotonic()
        # Countdowns change as the second does.
        self.bell.wait(min(left_s, _LOOK_S, 1.01 - time() % 1.0))
        rest_s = _FRAME_S - (monotonic() - begun_s)
        if rest_s > 0 and not self.signals.count:
            self.bell.wait(min(rest_s, max(0.0, left_s)))

    def stop(self) -> int:
        """The clean end, or the forced one."""
        # Two signals may have come while the scheduler started, or while this thread was busy: that is the forced one already.
        asked = min(self.signals.count, 1)
        self.scheduler.shutdown(wait=False)
        running = self.waiting_for()
        if running and self.screen is None:
            self.say(Level.INFO, f"stopping; waiting for {running}; Ctrl-C again ends them")
        while not self.board.closed:
            if self.signals.count > asked:
                return self.force()
            if self.screen is not None:
                left = self.waiting_for() or "the store"
                self.screen.heading = replace(
                    self.screen.heading, stopping=f"Stopping: waiting for {left}; Ctrl-C again ends them"
                )
            self.frame()
            self.bell.wait(0.25)
        self.scheduler.shutdown(wait=True)
        return CLEAN

    def force(self) -> int:
        """The second signal: commands are told to stop, and nothing else is waited for."""
        self.say(Level.WARNING, "ending now; commands get SIGTERM")
        terminate_running()
        if self.board.wait_closed(_FORCED_S):
            self.scheduler.shutdown(wait=True)
        return FORCED


def run_file(file: ScheduleFile, options: RunOptions) -> int:
    """Run a schedule until a signal, or for ``options.for_s`` seconds. The exit code: ``CLEAN`` or ``FORCED``."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(importable(file.folder))
        places = stores.of_file(file, options.store)
        scheduler = make_scheduler(file, places)
        check(scheduler, file)
        bell = Bell()
        stack.callback(bell.close)
        board = Board(bell.ring, scheduler.timezone)
        signals = Signals(bell)
        live = not options.plain and _is_capable_terminal()
        writer = LineWriter(sys.stdout, options.level, lambda: scheduler.timezone)
        run = _Run(
            file=file,
            options=options,
            places=places,
            scheduler=scheduler,
            board=board,
            bell=bell,
            signals=signals,
            say=board.tell if live else writer.write,
        )
        if live:
            _prepare_live(run, stack)
        else:
            handler = LibraryHandler(writer.write, options.level, everything=options.level <= logging.DEBUG)
            stack.enter_context(_logging_to(handler, options.level))
            scheduler.add_listener(writer.listen, EVENTS)
        scheduler.add_listener(board.listen, EVENTS)
        stack.enter_context(signals.caught())
        code = _start_and_serve(run)
        _leave(run, code)
    return code


def _start_and_serve(run: _Run) -> int:
    start_paused(run.scheduler, run.places)
    try:
        _register_jobs(run)
        if run.options.for_s is not None and run.options.for_s < math.inf:
            run.ends_s = monotonic() + run.options.for_s
        if run.screen is not None:
            run.screen.heading = replace(run.screen.heading, ends_s=run.ends_s)
            run.signals.on_screen = True
            run.screen.open()
        return run.serve()
    except BaseException:
        run.scheduler.shutdown(wait=False)
        run.scheduler.shutdown(wait=True)
        raise
    finally:
        if run.screen is not None:
            run.screen.close()
            run.signals.on_screen = False


def _register_jobs(run: _Run) -> None:
    file, scheduler, board = run.file, run.scheduler, run.board
    count = amount(len(file.jobs), "job")
    where = ", ".join(str(place) for place in run.places)
    if run.screen is None:
        run.say(Level.INFO, f"running {count} of {short_path(file.path)}; store: {where}")
    for note in file.notes:
        run.say(Level.WARNING, f"{short_path(file.path)}:{note.line}:{note.column}: {note.message}")
    synced = sync(scheduler, file, run.places, _register_key(file, run.places[0]))
    if synced.removed:
        run.say(Level.INFO, f"not in the file any more, and removed: {', '.join(synced.removed)}")
    for job_id in synced.over:
        run.say(Level.INFO, f"{job_id}: its schedule is over; it is not added again")
    run.look(force=True)
    if run.screen is None:
        return
    rows = board.view().rows
    if len(rows) > _ASK_EACH:  # those that ran lately must do
        records = [(row.store, record) for row in rows[:1] for record in scheduler.get_runs(limit=_LATEST)]
    else:
        records = [(row.store, one) for row in rows for one in scheduler.get_runs(row.id, row.store, limit=1)]
    for store, record in records:
        board.remember(store, record)


def _is_capable_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _prepare_live(run: _Run, stack: contextlib.ExitStack) -> None:
    from rich.console import Console

    from schedcore.cli.live import Heading, Screen, captured

    console = Console(file=sys.stdout)
    heading: Heading = Heading(
        title=short_path(run.file.path),
        store=", ".join(str(place) for place in run.places),
        zone=run.scheduler.timezone,
    )
    run.screen = Screen(console, run.board, heading)
    level = max(run.options.level, logging.WARNING) if run.options.level > logging.DEBUG else logging.DEBUG
    handler = LibraryHandler(run.board.tell, level, everything=level <= logging.DEBUG)
    stack.enter_context(_logging_to(handler, level))
    stack.enter_context(captured(run.board))


def _leave(run: _Run, code: int) -> None:
    """Say how it ended. After a forced end with something still running there is no clean way out of the process."""
    view = run.board.view()
    if run.screen is not None:
        _farewell(run, view)
    else:
        run.say(Level.INFO, f"stopped; {view.summary}")
    if code == FORCED and not run.board.closed:
        left = run.waiting_for()
        print(f"schedcore: ended with {left or 'runs'} still going; what is not recorded is lost", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(FORCED)


def _how_to_call() -> str:
    """This command, as it can be typed in the shell that it was called from."""
    if shutil.which("schedcore"):
        return "schedcore"
    if os.path.basename(sys.argv[0]) == "schedcore":
        return shlex.quote(_typed(sys.argv[0]))
    return f"{shlex.quote(sys.executable)} -m schedcore"


def _typed(path: str) -> str:
    """A path as it can be typed there. A script may have called this command from another folder than its shell's."""
    shell = os.environ.get("PWD")
    if shell and os.path.realpath(shell) != os.path.realpath(os.getcwd()):
        return os.path.abspath(path) if "://" not in path else path
    return short_path(path) if "://" not in path else path


def _farewell(run: _Run, view: View) -> None:
    out = sys.__stdout__
    if out is None:
        return
    durable = next((place for place in run.places if place.durable), None)
    with contextlib.suppress(OSError):
        print(f"\nStopped; {view.summary}.", file=out)
        if durable is not None:
            print(f"What ran: {_how_to_call()} runs {_typed(durable.path or str(durable))}", file=out)
        out.flush()

"""Moves one job store's runs along: acquire, decide, commit, hand over; and the outcomes back into the store.

Each job store has a pump of its own, so that one that is slow or down delays no other. A *cycle* is all the store's I/O for one
step. For a store that does I/O it runs in a worker thread (``Wakeup.run_blocking``), one at a time; for one in memory it runs at
once. What follows from it (events, submissions) is *applied* in the scheduler's thread; runs go through a ``HandOver``.

When a cycle fails, nothing is known about what the store did. Outcomes that were to be written are kept and written again
(``WriteBack``), which is harmless; before anything is claimed again, ``recover`` reads back what a commit may have left. The pump
tries again with growing delays, up to the scheduler's ``jobstore_retry_interval`` (``Health``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any

from schedcore.clock import Now
from schedcore.engine import Claim, Decision, decide
from schedcore.errors import contained, error_text
from schedcore.job import JobEntry
from schedcore.jobstores._turns import in_step
from schedcore.jobstores.base import Committed, Due, JobStore, Recovered
from schedcore.locks import make_event
from schedcore.run import Finish, Run
from schedcore.schedulers._handover import HandOver
from schedcore.schedulers._health import Health
from schedcore.schedulers._notes import Notes
from schedcore.schedulers._orders import Order, Orders
from schedcore.schedulers._rearrange import rearrange
from schedcore.schedulers._write_back import WriteBack

if TYPE_CHECKING:
    from schedcore.schedulers.base import BaseScheduler

__all__ = ["BATCH", "BLOCKING_BATCH", "FIRST_BATCH", "CycleResult", "Pump"]

# Jobs decided about in one tick: some 0.3 ms of a loop's time, after which it serves its sockets before the next batch. What
# such a batch allocates and frees again stays below the garbage collector's threshold (700 objects); larger ones set it off.
BATCH = 64
# The same where the cycle is off the loop and each batch is two transactions.
BLOCKING_BATCH = 1000
# The first of these after a store was opened, or away: some more than a pool has threads. The first run waits for all of it.
FIRST_BATCH = 16
# Looks, a millisecond apart, for a run that is nowhere because it is just being reported.
KNOWN_TRIES = 100


class CycleResult:
    """What one cycle brought, to be applied in the scheduler's thread: all that it came to before it failed, if it did."""

    __slots__ = ("added", "committed", "decisions", "due", "ended", "error", "fired", "more", "recovered", "undecided")

    def __init__(self) -> None:
        self.added: list[JobEntry] = []
        self.ended: list[Finish] = []
        self.recovered: Recovered | None = None
        self.fired: list[Run] = []
        self.undecided: list[Claim] = []
        self.decisions: list[Decision] = []
        self.committed: Committed | None = None
        self.due: Due | None = None
        self.more = False
        self.error: Exception | None = None


class Pump:
    """See the module's docstring. All but ``_cycle`` and ``write_back`` belongs to the scheduler's thread."""

    def __init__(self, scheduler: BaseScheduler, alias: str, store: JobStore) -> None:
        self.scheduler = scheduler
        self.alias = alias
        self.store = store
        self.health = Health(scheduler)
        self.notes = Notes(store)
        self.write_back = WriteBack()
        self.orders = Orders(self._complain_of_order)
        self._turn: Any = threading.RLock()
        self._writes = False  # whether whoever has the turn is at it
        self.touched = True  # somebody changed what is due; set by any thread
        self.stale = False  # likewise, but nothing that is due before the next tick, which looks at it
        self.busy = False
        self.opened = False
        self.tried = make_event()  # whether its first cycle is over
        self.closed = False
        self._unsure = True  # the store may hold what this scheduler does not know: recover first
        self._correct = False  # the clock was corrected: calendar jobs are to be looked at again
        self._due = Due(None, None)
        self._looks = True  # the next cycle asks the store what is due next: it may be another job by now
        self._more = False
        self.handover = HandOver(scheduler)

    # -- the scheduler's thread --------------------------------------------------------------------------------------------

    def tick(self, now: Now, mono_s: float) -> bool:
        """Make a step if there is one to make; whether it was one for which the next has to wait a millisecond."""
        self.handover.release_held()
        if self.busy or self.closed or (not self.health.ok and self.health.wait_s(mono_s)):
            return False
        if not self._has_work(now):
            return False
        if self.touched or self.stale:
            self.touched = self.stale = False
            self._looks = True
        if self.store.traits.blocking:
            self._work_elsewhere(lambda: self._cycle(now))
        elif self._calls_others_code():
            self._do_elsewhere(now)
        else:
            result = self._cycle(now)
            self._apply(result)
            if result.undecided:
                self._decide_elsewhere(result.undecided, now)
            elif result.due is None and result.error is None:
                self._look_ahead(result, now)
            return bool(result.fired or result.decisions or result.undecided)
        return True

    def _look_ahead(self, result: CycleResult, now: Now) -> None:
        """Ask what is due next after what is due now was handed over: that begins sooner by it."""
        try:
            self._due = self._next_due(result, now)
        except Exception as error:  # noqa: BLE001  # a store may be anybody's code
            self.failed(error)

    def _work_elsewhere(self, work: Callable[[], CycleResult]) -> None:
        self.busy = True
        try:
            self.scheduler._run_blocking(partial(in_step, work), self._done, self.alias)
        except Exception as error:  # noqa: BLE001  # no thread is to be had, or the wakeup is anybody's code
            self.busy = False
            self.failed(error)

    def _has_work(self, now: Now) -> bool:
        if self.write_back or self.touched or self.stale or self.orders or self._unsure or self._correct or self._more:
            return True
        return self._is_due(now)

    def _is_due(self, now: Now) -> bool:
        wall_us, steady_us = self._due
        return (wall_us is not None and wall_us <= now.wall_us) or (
            steady_us is not None and steady_us <= now.steady_us
        )

    def delay_s(self, now: Now, mono_s: float) -> float | None:
        """Seconds until the next step; None: only when something happens."""
        if self.busy or self.closed:
            return None
        if not self.health.ok:
            return self.health.wait_s(mono_s)
        if self._more or self.touched or self.write_back or self.orders:
            return 0.0
        if not self.scheduler._dispatches:
            return None
        wall_us, steady_us = self._due
        if wall_us is None:
            if steady_us is None:
                return None
            return max(0, steady_us - now.steady_us) / 1e6
        delay_us = wall_us - now.wall_us
        if steady_us is not None:
            delay_us = min(delay_us, steady_us - now.steady_us)
        return max(0, delay_us) / 1e6

    @property
    def due(self) -> Due:
        """When something is due in the store, as of its last step."""
        return self._due

    @property
    def has_put_off(self) -> bool:
        """Whether jobs, or changes of jobs, wait for the next cycle."""
        return bool(self.orders) or self.scheduler._jobs.waiting.any_for(self.alias)

    @property
    def has_more(self) -> bool:
        """Whether the last batch was full, so that the next one should follow at once."""
        return self._more and not self.busy

    def awaited_here(self) -> bool:
        """Whether a cycle may have to wait for what the calling thread is in the midst of. From any thread."""
        try:
            return bool(self._turn._is_owned()) or self.store.awaited_here()
        except BaseException as error:  # a store may be anybody's code, and is closed all the same
            self.scheduler._reports.logger.error(
                "job store %r did not say whether it is in a call", self.alias, exc_info=contained(error)
            )
            return False

    def put_off(self, order: Order) -> None:
        """Have the next cycle carry out an order. From any thread."""
        self.orders.put(order)
        self.touched = True
        self.scheduler._ask()

    def write_changes(self, on_loop: bool = False) -> list[JobEntry]:
        """Do what was put off, and hand the store the jobs that wait for it; what was added. Wherever the store may be called.

        One thread does it at a time, so that who comes second knows, when his turn comes, that it has been done. ``on_loop``: on
        a user's event loop, which waits for nobody, and where nothing is done that calls a user's trigger
        (``_calls_others_code``).
        """
        if not on_loop:
            # A ``with`` statement, because a signal handler may raise as soon as it is acquired.
            with self._turn:
                return self._write_changes(others_code=True)
        if not self._turn.acquire(blocking=False):
            return []
        try:
            return self._write_changes(others_code=False)
        finally:
            self._turn.release()

    def _write_changes(self, *, others_code: bool) -> list[JobEntry]:
        if self._writes:
            return []  # a user's trigger that is being asked, or a signal handler, calls the scheduler
        self._writes = True
        try:
            if self.orders and others_code:
                self.orders.carry_out(self.store)
            return self.scheduler._jobs.flush(self, others_code=others_code)
        finally:
            self._writes = False

    def catch_up(self) -> None:
        """``write_changes`` between two cycles, for somebody who is about to read."""
        added = self.write_changes()
        self.scheduler._reports.added(self.alias, added)
        if added or self.has_put_off:  # a cycle on an event loop did not wait for its turn
            self.touched = True
            self.scheduler._ask()

    def _complain_of_order(self, order: Order, error: Exception) -> None:
        self.scheduler._reports.order_failed(self.alias, order.what, error)

    def correct(self) -> None:
        """Look again at the next fire times of calendar jobs: the clock was corrected."""
        self._correct = True

    def _done(self, result: CycleResult | None, error: Exception | None) -> None:
        self.busy = False
        try:
            if error is not None:
                self.failed(error)
            elif result is not None:
                self._apply(result)
        except Exception as failure:
            # What was not handed over is still live on record: recovery finds it.
            self.scheduler._reports.logger.exception("job store %r: a step failed", self.alias)
            self.failed(failure)
        finally:
            self.scheduler._ticker.rearm()

    def failed(self, error: Exception) -> None:
        """A step failed: nothing is known of what the store did, and the next one is made after a while."""
        self._unsure = True
        self._more = False
        if self.closed:
            return  # who closed the store has written what there was, and says what failed in that; no step follows
        retry_s = self.health.failed(error)
        self.scheduler._reports.store_failed(self.alias, error, retry_s, self.health.logged)

    def _apply(self, result: CycleResult) -> None:
        scheduler = self.scheduler
        if result.error is not None:
            self.failed(result.error)
        else:
            if not self.health.ok:
                self.health.recovered()
                scheduler._reports.store_recovered(self.alias)
            if result.due is not None:
                self._due = result.due
            self._more = result.more
        if result.added:
            scheduler._reports.added(self.alias, result.added)
        if result.ended:
            self.handover.ended(result.ended)
        if result.recovered is not None:
            for record in result.recovered.lost:
                scheduler._reports.lost(self.alias, record)
            self.handover.runs(result.recovered.runs)
        if result.fired:
            self.handover.singles(result.fired)
        committed = result.committed
        if committed is None or not result.decisions:
            return
        if committed.plain:
            self.handover.singles(committed.runs)
            return
        self._report(result.decisions, committed)
        self.handover.runs(committed.runs, result.decisions)

    def _report(self, decisions: list[Decision], committed: Committed) -> None:
        dropped = {id(decision) for decision in committed.dropped}
        for decision in decisions:
            if id(decision) in dropped:
                continue
            job = decision.claim.job
            for skip in decision.skips:
                self.scheduler._reports.skipped(self.alias, job, skip)
            if decision.broken is not None:
                self.scheduler._reports.broken(self.alias, job.id, decision.broken, decision.error)
            elif decision.next_us is None:
                self.scheduler._reports.removed(self.alias, job.id)

    # -- wherever the store may be called -----------------------------------------------------------------------------------

    def _cycle(self, now: Now) -> CycleResult:
        result = CycleResult()
        try:
            self._step(result, now)
        except BaseException as error:  # noqa: BLE001  # a store may be anybody's code
            result.error = contained(error)
        if not self.tried.is_set():
            self.tried.set()
        return result

    def _step(self, result: CycleResult, now: Now) -> None:
        scheduler = self.scheduler
        store = self.store
        if not self.opened:
            store.start(scheduler, self.alias)
            self.opened = True
        # Whoever puts something off touches the store, so most steps need no more than a glance.
        if self._looks or not self.health.ok or self.has_put_off:
            result.added = self.write_changes(not (store.traits.blocking or scheduler._opens_stores_in_start))
        if self.write_back:
            self.write_back.write(store, result.ended)
        recovers = self._unsure
        if recovers:
            result.recovered = store.recover(self._known_runs(result))
            self._unsure = False
        if scheduler._dispatches:
            if store.traits.blocking:
                now = scheduler._timeline.now()
            if self._correct:
                self._looks = True
                self._rearrange(now)
            opens = self.notes.compare(now, scheduler._random, self._complain)
            limit = BATCH
            if store.traits.blocking:
                # What waited while the store was opened, or away, begins after a short step, and not behind a thousand others.
                limit = FIRST_BATCH if recovers else BLOCKING_BATCH
            result.fired, claims = store.fire(now, limit, scheduler._executors)
            result.more = len(result.fired) + len(claims) >= limit
            if claims and self._may_hold_up(claims):
                result.undecided = claims
            elif claims:
                self._decide_and_commit(result, claims, now)
            if opens and result.committed is not None and result.committed.runs:
                # The first runs begin before the time is noted and it is asked what is due next: another cycle follows at once.
                result.more = True
            else:
                self.notes.keep(now)
        # Else when what is due now was handed over; but after a failure the step is well only if this is, too.
        if store.traits.blocking or not self.health.ok or result.undecided:
            result.due = self._next_due(result, now)

    def _rearrange(self, now: Now) -> None:
        # Before it is done, because the clock may be corrected once more meanwhile.
        self._correct = False
        with ExitStack() as undo:
            undo.callback(self.correct)
            rearrange(self.store, now, self.scheduler._random, self._complain, calendar=True)
            undo.pop_all()

    def _next_due(self, result: CycleResult, now: Now) -> Due:
        """What is due next. A store is asked only when that may be something else than it was: not if runs merely ended."""
        if result.added or result.recovered is not None or result.fired or result.undecided or result.decisions:
            self._looks = True
        elif self.store.traits.shareable:
            self._looks = True  # others may have added jobs
        # Where more is due now, the next cycle follows at once, and asks.
        if result.more or not (self._looks or self._is_due(now)):
            return self._due
        due = self.store.next_due()
        self._looks = False
        return due

    def _calls_others_code(self) -> bool:
        """Whether the next cycle would call a user's trigger, on the user's event loop, for something else than a decision."""
        if self.scheduler._opens_stores_in_start:
            return False
        return (
            bool(self.orders)
            or (self._correct and self.scheduler._dispatches)
            or self.scheduler._jobs.waiting.any_to_ask(self.alias)
        )

    def _do_elsewhere(self, now: Now) -> None:
        """The part of a cycle that calls a user's triggers, in a worker thread. The rest comes after it."""

        def do() -> CycleResult:
            result = CycleResult()
            result.more = more
            try:
                result.added = self.write_changes()
                if self._correct and self.scheduler._dispatches:
                    self._rearrange(now)
                result.due = self.store.next_due()
            except BaseException as error:  # noqa: BLE001  # a trigger or a store may be anybody's code
                result.error = contained(error)
            return result

        more = self._more
        self.touched = True
        self._work_elsewhere(do)

    def _may_hold_up(self, claims: list[Claim]) -> bool:
        """Whether deciding would call a user's trigger, or search for fire times, on the user's event loop."""
        if self.store.traits.blocking or self.scheduler._opens_stores_in_start:
            return False
        return any(claim.job.trigger.foreign or claim.job.trigger.searches for claim in claims)

    def _decide_and_commit(self, result: CycleResult, claims: list[Claim], now: Now) -> None:
        result.decisions = self._decide(claims, now)
        result.committed = self.store.commit(result.decisions, now.wall_us)

    def _decide_elsewhere(self, claims: list[Claim], now: Now) -> None:
        """The second half of a cycle, in a worker thread."""

        def decide() -> CycleResult:
            result = CycleResult()
            try:
                self._decide_and_commit(result, claims, now)
                result.due = self.store.next_due()
            except BaseException as error:  # noqa: BLE001  # a trigger or a store may be anybody's code
                result.error = contained(error)
            result.more = more
            return result

        more = self._more
        self._work_elsewhere(decide)

    def _decide(self, claims: list[Claim], now: Now) -> list[Decision]:
        executors = self.scheduler._executors
        draw = self.scheduler._random
        wall_us, steady_us = now
        decisions: list[Decision] = []
        for claim in claims:
            job = claim.job
            if claim.broken is None and job.policy.executor not in executors:
                reason = f"its executor {job.policy.executor!r} is missing"
                decisions.append(Decision(claim, (), (), None, None, reason))
            else:
                decisions.append(decide(claim, steady_us if job.trigger.elapsed else wall_us, draw))
        return decisions

    def _known_runs(self, result: CycleResult) -> list[Run]:
        """The live runs of this store that this scheduler has in hand: whatever else the store calls live is nobody's."""
        in_hand = self.handover.in_hand - len(result.ended)
        known = self.scheduler._runs.known(self)
        for _ in range(KNOWN_TRIES if self.store.traits.blocking else 5):
            if len({id(run) for run in known}) >= in_hand:
                break
            # An executor is about to report a run that it has let go of: to call that one nobody's would make it twice.
            sleep(0.001)
            known = self.scheduler._runs.known(self)
        return known

    def _complain(self, entry: JobEntry, error: Exception) -> None:
        self.scheduler._call_soon(_Complaint(self.scheduler, self.alias, entry, error))

    def settle(self) -> None:
        """The last write, at shutdown: what was put off, what began and what ended. Wherever the store may be called."""
        result = CycleResult()
        try:
            if self.alias in self.scheduler._promised:
                self.scheduler._reports.added(self.alias, self.write_changes())
            else:
                self.orders.carry_out(self.store)
            self.write_back.write(self.store, result.ended)
            self.notes.keep_last(self.scheduler._timeline.now())
        finally:
            if result.ended:
                self.handover.ended(result.ended)


class _Complaint:
    """Reports, in the scheduler's thread, a trigger that raised while the schedule was rearranged."""

    def __init__(self, scheduler: BaseScheduler, alias: str, entry: JobEntry, error: Exception) -> None:
        reason = f"its trigger raised {error_text(error)}"
        self._report: Callable[[], None] = lambda: scheduler._reports.broken(alias, entry.job.id, reason, error)

    def __call__(self) -> None:
        self._report()

"""Greenlets that drain one queue.

*Who runs what.* A worker is a greenlet that drains the queue. Before each run it sees to it that, should the job wait, another
worker comes; as long as no job does, one drains it all, and no greenlet is made that is not needed. From ``submit`` to the moment
before it is reported a run is in ``_live`` under its number; the queue holds the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from gevent import Greenlet, GreenletExit
from gevent.hub import Hub, getcurrent

from schedcore.adapters.gevent.places import Gate, is_alive, is_thread_of
from schedcore.executors.queue import RunQueue
from schedcore.run import Finish, Run, current_run

__all__ = ["Greenlets"]

# Seconds. How long a worker drains the queue before it gives way to whatever else the hub has to do.
_TURN_S = 0.002


class Greenlets(RunQueue):
    """Calls ``report(work(run))`` for each run, in one of up to ``max_workers`` greenlets of the hub. ``work`` raises nothing.

    ``drained`` is called in the hub's thread when it was closed and nothing is left. See ``schedcore.executors.pool.RunPool``.
    """

    def __init__(
        self,
        hub: Hub,
        max_workers: int,
        work: Callable[[Run], Finish],
        report: Callable[[Finish], None],
        drained: Callable[[], object],
    ) -> None:
        super().__init__()
        self._hub = hub
        self._max_workers = max_workers
        self._work = work
        self._report = report
        self._drained = drained
        self._begun: dict[int, Greenlet[..., None]] = {}
        # Runs whose job waits in ``join``, which does not wait for them.
        self._inside: set[int] = set()
        # Who waits for the last run to be over; True: in one of the runs.
        self._gates: list[tuple[Gate, bool]] = []
        self._workers = 0
        self._coming = False

    def submit(self, runs: Sequence[Run]) -> None:
        """Queue runs, in order."""
        self._put(runs)
        self._reinforce_soon()

    def withdraw(self) -> list[Run]:
        """Take back what has not begun, in order."""
        runs = self._take_back()
        self._look_soon()
        return runs

    def close(self) -> None:
        """Take no more. Twice is harmless."""
        self._closed = True
        self._look_soon()

    def join(self, timeout: float | None = None) -> bool:
        """Wait, after ``close``, until all is over; False when ``timeout`` s ran out first, or the hub is gone.

        A greenlet waits while others run. A job that calls this does not wait for itself, nor for another that waits in here too.
        """
        mine = next((number for number, run in self._live.copy().items() if run is current_run.get()), None)
        if mine is not None:
            self._inside.add(mine)
        gate = Gate(self._hub)
        waiting = (gate, mine is not None)
        self._gates.append(waiting)
        try:
            self._look_soon()
            return gate.wait(timeout)
        finally:
            self._gates.remove(waiting)
            self._inside.discard(-1 if mine is None else mine)

    def begun(self) -> dict[int, Run]:
        """What goes on, by number, when nothing is queued any more: but for the caller's run, and those that wait in ``join``."""
        asking = current_run.get()
        return {
            number: run for number, run in self._live.copy().items() if run is not asking and number not in self._inside
        }

    def end(self, number: int) -> None:
        """Have a run that has begun ended, soon."""
        self._in_hub(partial(self._kill, number))

    def drop(self, number: int) -> bool:
        """Forget a run, whose greenlet has gone with the hub. False when it is over."""
        return self._live.pop(number, None) is not None

    def forget(self) -> None:
        """After a fork, in the child: the runs are the parent's, and their greenlets, which were copied, are ended.

        One that forks in a job goes on there with what it has begun, in either process.
        """
        self._closed = True
        self._queue.clear()
        if is_thread_of(self._hub):
            me = getcurrent()
            for number, worker in list(self._begun.items()):
                if worker is not me:
                    self.end(number)

    def _kill(self, number: int) -> None:
        """End a run if it is still going on. In the hub."""
        worker = self._begun.get(number)
        if worker is not None:
            worker.throw(GreenletExit)

    def _look_soon(self) -> None:
        if is_alive(self._hub):
            self._in_hub(self._look)

    def _look(self) -> None:
        """Let those go on who wait for the last run to be over. In the hub's thread."""
        for gate, inside in self._gates:
            if not self._live or (inside and len(self._live) <= len(self._inside)):
                gate.open()
        if not self._live:
            self._drained()

    def _in_hub(self, call: Callable[[], object]) -> None:
        loop = self._hub.loop
        if is_thread_of(self._hub):
            loop.run_callback(call)
        else:
            loop.run_callback_threadsafe(call)

    def _reinforce_soon(self) -> None:
        if not self._coming:
            self._coming = True
            self._in_hub(self._reinforce)

    def _reinforce(self) -> None:
        self._coming = False
        if self._queue and self._workers < self._max_workers:
            self._workers += 1
            # It begins here, in the hub, which goes on when the job waits for something.
            Greenlet(self._drain).switch()

    def _drain(self) -> None:
        queue, live, begun = self._queue, self._live, self._begun
        work, report = self._work, self._report
        me: Any = getcurrent()
        turn_s = monotonic()
        try:
            while queue:
                try:
                    number = queue.popleft()
                except IndexError:  # another thread has taken them back
                    break
                if queue and not self._coming and self._workers < self._max_workers:
                    self._reinforce_soon()
                begun[number] = me
                finish = work(live[number])
                del begun[number], live[number]
                report(finish)
                # What a job held must not live on while its worker waits.
                del finish
                if self._closed:
                    self._look()
                if monotonic() - turn_s > _TURN_S:
                    break
        finally:
            self._workers -= 1
            if queue:
                # Another one takes over, when the hub has been round.
                self._reinforce_soon()

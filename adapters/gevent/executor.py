"""The executor of greenlets: each job runs in one, and whatever it waits for the way gevent waits, the others run meanwhile.

*Who runs what.* A worker is a greenlet that drains the queue. Before each run it sees to it that, should the job wait, another
worker comes; as long as no job does, one drains it all, and no greenlet is made that is not needed. From ``submit`` to the moment
before it is reported a run is in ``_live`` under its number; the queue holds the numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Any

from gevent import Greenlet, GreenletExit
from gevent.hub import Hub, getcurrent

from schedcore.adapters.gevent.awaiting import GRACE_S, Awaiting
from schedcore.adapters.gevent.places import Gate, hub_here, is_alive, is_thread_of
from schedcore.executors.base import ExecutorHost, RunExecutor, failed
from schedcore.executors.pool import whole_number
from schedcore.run import Finish, Run, RunState, current_run

__all__ = ["GeventExecutor"]

# A named tuple's own constructor is a Python function; on the path of every run this saves a call.
_new = tuple.__new__
# Looking a member of an enumeration up costs as much as a call; on the path of every run it is done once.
_SUCCEEDED = RunState.SUCCEEDED
# Seconds. How long a worker drains the queue before it gives way to whatever else the hub has to do.
_TURN_S = 0.002


class GeventExecutor(RunExecutor):
    """``max_workers``: greenlets, and so jobs at a time; what comes beyond that waits.

    A job that returns a ``Greenlet`` or an ``AsyncResult`` is over when that is. A coroutine runs in a real thread, on an asyncio
    loop of its own, because asyncio does not wait the way gevent does; ``max_threads``: so many of them at a time.
    """

    #: Whether a run that has begun is ended when a shutdown's time is up.
    _ends_runs = True

    def __init__(self, max_workers: int = 1000, max_threads: int = 10) -> None:
        self._max_workers = whole_number("max_workers", max_workers)
        self._hub: Hub | None = None
        self._live: dict[int, Run] = {}
        self._queue: deque[int] = deque()
        self._begun: dict[int, Greenlet[..., None]] = {}
        # Runs whose job waits for this executor to shut down, which does not wait for them.
        self._inside: set[int] = set()
        # Who waits for the last run to be over; True: in one of the runs.
        self._gates: list[tuple[Gate, bool]] = []
        self._next = 0
        self._workers = 0
        self._coming = False
        self._closed = True
        self._awaiting = Awaiting(whole_number("max_threads", max_threads))

    def start(self, scheduler: ExecutorHost, alias: str) -> None:
        hub = getattr(scheduler, "hub", None) or hub_here(f"the executor {alias!r}")
        super().start(scheduler, alias)
        self._hub = hub
        self._closed = False
        # Looked up once, because every run needs them.
        self._run_started = scheduler.run_started
        self._run_finished = scheduler.run_finished
        self._wall_us = scheduler.clock.wall_us

    def submit(self, runs: Sequence[Run]) -> None:
        if self._closed:
            raise RuntimeError(f"the executor {self._alias!r} is not running")
        first = self._next
        self._next = first + len(runs)
        numbers = range(first, self._next)
        self._live.update(zip(numbers, runs, strict=True))
        self._queue.extend(numbers)
        self._reinforce_soon()

    def live_runs(self) -> list[Run]:
        return list(self._live.copy().values())

    def waits_for(self, greenlet: object) -> bool:
        """Whether a run goes on in this greenlet, which its job has returned."""
        return greenlet in self._awaiting

    # -- workers -------------------------------------------------------------------------------------------------------

    def _reinforce_soon(self) -> None:
        if not self._coming:
            self._coming = True
            self._in_hub(self._reinforce)

    def _in_hub(self, call: Callable[[], object]) -> None:
        hub = self._hub
        assert hub is not None
        if is_thread_of(hub):
            hub.loop.run_callback(call)
        else:
            hub.loop.run_callback_threadsafe(call)

    def _reinforce(self) -> None:
        self._coming = False
        if self._queue and self._workers < self._max_workers:
            self._workers += 1
            # It begins here, in the hub, which goes on when the job waits for something.
            Greenlet(self._work).switch()

    def _work(self) -> None:
        queue, live, begun = self._queue, self._live, self._begun
        run_finished = self._run_finished
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
                finish = self._call(live[number])
                del begun[number], live[number]
                run_finished(finish)
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

    def _call(self, run: Run) -> Finish:
        """Run the job and say how it ended; whatever it raises, nothing is raised here. (For a Ctrl-C see below.)"""
        return Context().run(self._call_here, run)

    def _call_here(self, run: Run) -> Finish:
        current_run.set(run)
        self._run_started(run)
        job = run.job
        wall_us = self._wall_us
        started_us = wall_us()
        try:
            func = job.func
            if func is None:
                raise LookupError(f"the callable {job.func_ref!r} of job {job.id!r} is not there")
            retval = func(*job.args, **job.kwargs)
            if retval is not None:
                retval = self._awaiting.value_of(retval)
            return _new(Finish, (run, _SUCCEEDED, started_us, wall_us(), retval, None, None))
        except GreenletExit:
            # It was killed, by a shutdown whose time was up or by anybody.
            return Finish(run, RunState.CANCELLED, started_us, wall_us())
        # All there is: sys.exit and gevent's own Timeout included, it is the outcome of the run, and must not end the worker.
        except BaseException as error:  # noqa: BLE001
            finish = failed(run, started_us, wall_us(), error)
            hub = self._hub
            if isinstance(error, KeyboardInterrupt) and hub is not None and hub.main_hub:
                # A Ctrl-C is the program's: gevent raises it in the main greenlet.
                hub.loop.run_callback(hub.handle_system_error, KeyboardInterrupt, KeyboardInterrupt())
            return finish

    # -- shutdown ------------------------------------------------------------------------------------------------------

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """A greenlet waits while others run. In the hub itself, where nothing can wait, ``wait=True`` only stops taking runs."""
        hub = self._hub
        if hub is None:
            return []
        self._closed = True
        if not wait:
            cut = self._withdraw()
            if is_alive(hub):
                self._in_hub(self._look)
            return cut
        mine = next((number for number, run in self._live.copy().items() if run is current_run.get()), None)
        if mine is not None:
            self._inside.add(mine)
        gate = Gate(hub)
        waiting = (gate, mine is not None)
        self._gates.append(waiting)
        try:
            if is_alive(hub):
                self._in_hub(self._look)
            if gate.wait(timeout) or getcurrent() is hub:
                return []
            return self._withdraw() + self._end_begun(gate)
        finally:
            self._gates.remove(waiting)
            self._inside.discard(-1 if mine is None else mine)

    def _look(self) -> None:
        """Let those go on who wait for the last run to be over. In the hub's thread."""
        for gate, inside in self._gates:
            if not self._live or (inside and len(self._live) <= len(self._inside)):
                gate.open()
        if not self._live:
            self._awaiting.close()

    def _withdraw(self) -> list[Run]:
        """Those that have not begun do not begin."""
        runs: list[Run] = []
        with suppress(IndexError):
            while True:
                runs.append(self._live.pop(self._queue.popleft()))
        for run in runs:
            self._run_finished(Finish(run, RunState.CANCELLED, None, self._wall_us()))
        return runs

    def _end_begun(self, gate: Gate) -> list[Run]:
        hub = self._hub
        assert hub is not None
        live = {number: run for number, run in self._live.copy().items() if number not in self._inside}
        if not is_alive(hub):
            # Their greenlets are gone with it.
            for number, run in live.items():
                if self._live.pop(number, None) is not None:
                    self._run_finished(Finish(run, RunState.CANCELLED, None, self._wall_us()))
        elif self._ends_runs:
            for number in live:
                self._in_hub(partial(self._kill, number))
            gate.wait(GRACE_S)
        return list(live.values())

    def _kill(self, number: int) -> None:
        """End a run if it is still going on. In the hub."""
        worker = self._begun.get(number)
        if worker is not None:
            worker.throw(GreenletExit)

    def forget(self) -> None:
        """After a fork, in the child: the runs are the parent's, and their greenlets, which were copied, are ended.

        One that forks in a job goes on there with what it has begun, in either process.
        """
        self._closed = True
        self._queue.clear()
        self._awaiting.forget()
        if self._hub is not None and is_thread_of(self._hub):
            me = getcurrent()
            for number, worker in list(self._begun.items()):
                if worker is not me:
                    self._in_hub(partial(self._kill, number))

"""The scheduler that lives on a gevent hub.

Greenlets can wait, so nothing is put off here: a call that needs a job store that does I/O is made in a real thread of gevent's,
and the greenlet that calls waits for its answer, or its exception, while others run. The hub itself cannot wait; what it calls
(``rawlink``, watchers, timers of the loop) finds the rules of ``LoopScheduler``. Real threads wait as threads do.

With or without monkey patching. Patched, a "thread" of the standard library is a greenlet, and lives in the hub of whichever
thread has started it. So everything here that is to run on its own is started in the scheduler's hub: listeners, and the
closing, whose calls into job stores then go to real threads like all others. Not patched, both have a thread of their own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from contextvars import Context, copy_context
from functools import partial, wraps
from inspect import signature
from typing import Any, ParamSpec, Self, TypeVar

from gevent import GreenletExit, spawn
from gevent.event import AsyncResult, Event
from gevent.hub import Hub, getcurrent
from gevent.lock import Semaphore

from schedcore import plugins
from schedcore.adapters.gevent.executor import GeventExecutor
from schedcore.adapters.gevent.places import (
    Gate,
    hub_here,
    in_thread,
    is_alive,
    is_patched,
    is_running,
    is_thread_of,
    may_wait,
    sleep_in_thread,
    thread_ident,
)
from schedcore.adapters.gevent.wakeup import GeventWakeup
from schedcore.executors.base import BaseExecutor
from schedcore.job import JobEntry
from schedcore.jobstores.base import BaseJobStore, JobStore
from schedcore.schedulers.loop import LoopScheduler, Teller, close, is_stopping
from schedcore.wakeup import Done, Wakeup

__all__ = ["GeventScheduler"]

P = ParamSpec("P")
T = TypeVar("T")


def _waiting(method: Callable[P, T]) -> Callable[P, T]:
    """A method of the scheduler's that a greenlet has made in a real thread when it may have to wait for a job store."""
    parameters = list(signature(method).parameters.values())[1:]
    position, default = next(
        (index, parameter.default) for index, parameter in enumerate(parameters) if parameter.name == "jobstore"
    )

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        alias: Any = args[position] if position < len(args) else kwargs.get("jobstore", default)
        return self._make_call(partial(method, self, *args, **kwargs), alias)

    return call  # type: ignore[return-value]


class GeventScheduler(LoopScheduler):
    """Lives on the hub of the thread that calls ``start``.

    ``with GeventScheduler() as scheduler:`` starts it and, at the end, waits for what runs.
    """

    _hub: Hub | None = None
    _stepped: Event | None = None
    _made: GeventWakeup | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        # Whose turn it is to be in a job store, and the threads that have one. For patched programs: see ``_in_turn``.
        self._turns: dict[str, Semaphore] = {}
        self._ours: set[int] = set()
        super().__init__(*args, **options)

    @property
    def hub(self) -> Hub | None:
        """The hub it lives on; None before ``start``."""
        return self._hub

    def start(self, paused: bool = False) -> None:
        """As ``LoopScheduler.start``, in a greenlet or in the main thread."""
        with ExitStack() as undo:
            undo.callback(self._close_made)
            super().start(paused)
            undo.pop_all()

    def _close_made(self) -> None:
        """After a start that failed: a wakeup that is not in use would keep its hub alive for ever."""
        made = self._made
        if made is not None and self._wakeup is not made:
            made.close()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> AsyncResult[Any]:
        """Stop; returns an ``AsyncResult`` whose ``get()`` gives the runs that were cut short.

        ``wait=True``: a greenlet waits until all is closed, while others run, and a real thread likewise; the result is there
        then. The hub itself, a listener and a job of this scheduler do not wait. ``wait=False``: nobody does, and the result
        comes when all is closed. See ``BaseScheduler.shutdown`` for the rest.
        """
        hub = self._hub
        inside = self._in_own_job() or self._reports.delivers_here() or threading.get_ident() == self._closing_id
        result: AsyncResult[Any] = super().shutdown(wait, timeout)
        if not wait:
            result = self._wait_for_end()
        elif hub is not None and not inside:
            self._wait_here(hub, result)
        return result

    def _wait_here(self, hub: Hub, result: AsyncResult[Any]) -> None:
        if self._may_wait():
            result.wait()
        elif not is_thread_of(hub) or not is_alive(hub):
            self._wait_in_thread(hub, result)

    def _wait_in_thread(self, hub: Hub, result: AsyncResult[Any]) -> None:
        gate = Gate(hub)
        with self._waiters_lock:
            told = self._closed.is_set()
            if not told:
                self._waiters.append(lambda cut, error: gate.open())
        if not told:
            gate.wait()
        # Either the hub is just about to tell the result, or it is gone, and the closing thread will.
        while not result.ready():
            self._close_after_hub()
            sleep_in_thread(0.001)

    def call(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """As ``LoopScheduler.call``; returns an ``AsyncResult``."""
        wakeup = self._wakeup
        ours = getattr(call, "__self__", None) == self
        if ours and is_patched() and self.running and wakeup is not None:
            # It finds a thread for itself; one that only waits for another is one too few.
            result, finish = self._make_waiter()
            self._spawn(partial(self._call_for, finish, partial(call, *args, **kwargs)))
            return result
        made: AsyncResult[Any] = super().call(call, *args, **kwargs)
        return made

    @staticmethod
    def _call_for(finish: Done, call: Callable[[], Any]) -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001  # it is handed to who waits
            finish(None, error)
        else:
            finish(result, None)

    add_job = _waiting(LoopScheduler.add_job)
    get_job = _waiting(LoopScheduler.get_job)
    get_jobs = _waiting(LoopScheduler.get_jobs)
    get_runs = _waiting(LoopScheduler.get_runs)
    modify_job = _waiting(LoopScheduler.modify_job)
    reschedule_job = _waiting(LoopScheduler.reschedule_job)
    resume_job = _waiting(LoopScheduler.resume_job)
    remove_job = _waiting(LoopScheduler.remove_job)
    remove_all_jobs = _waiting(LoopScheduler.remove_all_jobs)
    export_jobs = _waiting(LoopScheduler.export_jobs)
    import_jobs = _waiting(LoopScheduler.import_jobs)

    def _read(self, alias: str, job_id: str) -> JobEntry:
        return self._make_call(partial(super()._read, alias, job_id), alias)  # type: ignore[no-any-return]

    def add_jobstore(self, jobstore: BaseJobStore | str, alias: str = "default", **options: Any) -> None:
        """As ``BaseScheduler.add_jobstore``; a greenlet waits for one that does I/O, and has what it raises."""
        add = partial(super().add_jobstore, jobstore, alias, **options)
        if self.running and self._may_wait():
            self._in_thread(add, alias)
        else:
            add()

    def remove_jobstore(self, alias: str, shutdown: bool = True) -> None:
        """As ``BaseScheduler.remove_jobstore``; a greenlet waits for one that does I/O."""
        self._make_call(partial(super().remove_jobstore, alias, shutdown), alias)

    def _in_own_job(self) -> bool:
        # A greenlet that a job returned is part of the job, and does not inherit its context.
        here = getcurrent()
        return super()._in_own_job() or any(
            isinstance(executor, GeventExecutor) and executor.waits_for(here) for executor in self._all_executors()
        )

    def _may_wait(self) -> bool:
        """Whether the caller is a greenlet that may wait while others run, and is not one of the scheduler's own."""
        hub, wakeup = self._hub, self._wakeup
        if hub is None or not is_alive(hub) or not may_wait(hub):
            return False
        return not (isinstance(wakeup, GeventWakeup) and wakeup.serves_here())

    def _may_have_to_wait(self, jobstore: str | None) -> bool:
        if not self.running or not any(pump.store.traits.blocking for pump in self._pumps_of(jobstore)):
            return False
        return self._may_wait()

    def _wait_opened(self, jobstore: str | None) -> None:
        """Wait until these job stores are open, or could not be opened: then they are tried again, and nobody waits for that."""
        stepped = self._stepped
        assert stepped is not None
        while self.running and any(
            pump.store.traits.blocking and not pump.opened and pump.health.ok for pump in self._pumps_of(jobstore)
        ):
            stepped.wait()
            stepped.clear()

    def _make_call(self, call: Callable[[], Any], jobstore: str | None) -> Any:
        """Make a call that may need these job stores, where and when it may be made."""
        if self._may_have_to_wait(jobstore):
            self._wait_opened(jobstore)
            return self._in_thread(call, jobstore)
        hub = self._hub
        if self.running and is_patched() and hub is not None and not is_thread_of(hub) and not self._is_ours():
            return self._in_greenlet(hub, lambda: self._make_call(call, jobstore))
        return call()

    def _in_thread(self, call: Callable[[], Any], jobstore: str | None) -> Any:
        """Make a call in a real thread; the calling greenlet waits for it."""
        hub = self._hub
        assert hub is not None
        if is_patched():
            # In a greenlet of its own, because the turn is over when the call is, whether or not its caller waits for that.
            result, error = spawn(self._in_turn, hub, copy_context().run, call, self._turns_of(jobstore)).get()
        else:
            result, error = in_thread(hub.threadpool, call)
        if error is not None:
            raise error
        return result

    def _turns_of(self, jobstore: str | None) -> list[Semaphore]:
        return [
            self._turns.setdefault(pump.alias, Semaphore())
            for pump in self._pumps_of(jobstore)
            if pump.store.traits.blocking
        ]

    def _in_turn(
        self, hub: Hub, run: Callable[[Callable[[], Any]], Any], call: Callable[[], Any], turns: list[Semaphore]
    ) -> tuple[Any, BaseException | None]:
        """Patched: make a call in a real thread when no other one is in the same job stores.

        The locks of a store are gevent's then, and of real threads that wait for one of these some wait for ever.
        """

        def mine() -> Any:
            self._ours.add(ident := thread_ident())
            try:
                return run(call)
            finally:
                self._ours.discard(ident)

        with ExitStack() as held:
            for turn in turns:
                held.enter_context(turn)
            return in_thread(hub.threadpool, mine)

    def _is_ours(self) -> bool:
        """Whether the calling thread makes a call of this scheduler's, so that it has its turn."""
        return thread_ident() in self._ours

    def _in_greenlet(self, hub: Hub, call: Callable[[], Any]) -> Any:
        """Patched, in a real thread: have a greenlet of the hub's make a call, and wait for it."""
        gate = Gate(hub)
        outcome: list[tuple[Any, BaseException | None]] = []

        def make() -> None:
            try:
                outcome.append((call(), None))
            except BaseException as error:  # noqa: BLE001  # it is raised in the thread that asked
                outcome.append((None, error))
            gate.open()

        if not self._spawn(partial(copy_context().run, make)) or not gate.wait():
            return call()
        result, error = outcome[0]
        if error is not None:
            raise error
        return result

    def _after_orders(self, call: Callable[[], Any]) -> Any:
        # Patched, each call of the scheduler's takes its turn, and sees to it itself.
        return call() if is_patched() else super()._after_orders(call)

    # -- what the framework has to offer ----------------------------------------------------------------------------------

    def _create_wakeup(self) -> Wakeup:
        self._hub = hub_here("the scheduler")
        self._stepped = Event()
        self._turns = {}
        if is_patched():
            # The import system's locks are gevent's, too: what threads would import first is imported now.
            for alias in ("date", "interval", "cron", "calendarinterval", "and"):
                plugins.load(plugins.TRIGGERS, alias)
            _ = self.timezone
        self._made = GeventWakeup(self._hub)
        return self._made

    def _create_default_executor(self) -> BaseExecutor:
        return GeventExecutor()

    def _on_loop(self) -> bool:
        return self._hub is not None and is_thread_of(self._hub)

    def _in_loop_thread(self) -> bool:
        return self._on_loop()

    def _is_loop_alive(self) -> bool:
        hub = self._hub
        if hub is None or not is_running(hub):
            return False
        # Who waits in the hub's own thread for the hub, and not the way gevent waits, waits for ever.
        return is_patched() or not is_thread_of(hub)

    def _make_waiter(self) -> tuple[AsyncResult[Any], Done]:
        result: AsyncResult[Any] = AsyncResult()

        def finish(value: Any, error: Exception | None) -> None:
            if error is None:
                result.set(value)
            else:
                result.set_exception(error)

        return result, finish

    def _must_not_listen(self) -> bool:
        # Patched, listeners belong in a greenlet of the hub: real threads may use next to nothing of what they are made with.
        return self._on_loop() or is_patched()

    def _make_teller(self, name: str) -> Teller:
        return _GreenletTeller(self._call_soon, name) if is_patched() else super()._make_teller(name)

    def _run_blocking(self, call: Callable[[], Any], done: Done, jobstore: str) -> None:
        def told(result: Any, error: Exception | None) -> None:
            done(result, error)
            if self._stepped is not None:
                self._stepped.set()

        hub, wakeup = self._hub, self._wakeup
        if is_patched() and hub is not None and isinstance(wakeup, GeventWakeup):
            turns = self._turns_of(jobstore)
            wakeup.run_waiting(lambda: self._in_turn(hub, Context().run, call, turns), told)
        else:
            super()._run_blocking(call, told, jobstore)

    def _in_background(self, call: Callable[[], None]) -> None:
        if not is_patched():
            super()._in_background(call)
        elif not self._spawn(call):
            call()

    def _spawn(self, call: Callable[[], None]) -> bool:
        """Have a new greenlet of the hub's make a call. From any thread. False when the hub is gone."""

        def begin() -> None:
            spawn(call)

        return self._call_soon(begin)

    def _close_store(self, store: JobStore, close: Callable[[], None]) -> None:
        if store.traits.blocking and self._may_wait():
            alias = next((pump.alias for pump in self._pumps.values() if pump.store is store), None)
            self._in_thread(close, alias)
        else:
            close()

    def _wait_closed(self) -> None:
        if self._may_wait():
            self._wait_for_end().wait()
        else:
            while not self._closed.is_set():
                self._close_after_hub()
                sleep_in_thread(0.002)

    def _close_after_hub(self) -> None:
        """Patched, the closing is a greenlet of the hub's, and may have gone with it: then it is made here."""
        hub = self._hub
        if is_patched() and not self._closed.is_set() and hub is not None and not is_running(hub):
            close(self, False, None)

    def _ended(self) -> None:
        wakeup, hub = self._wakeup, self._hub
        waiters: list[Done] = []
        if hub is None or not is_alive(hub):
            # It will tell nobody.
            with self._waiters_lock:
                waiters, self._waiters = self._waiters, []
        super()._ended()
        for finish in waiters:
            finish(list(self._cut), None)
        if isinstance(wakeup, GeventWakeup):
            with suppress(RuntimeError):
                wakeup.call_soon(wakeup.close)

    def _after_fork_in_child(self) -> None:
        wakeup = self._wakeup
        executors = self._all_executors()
        super()._after_fork_in_child()
        if isinstance(wakeup, GeventWakeup):
            wakeup.forget()
        for executor in executors:
            if isinstance(executor, GeventExecutor):
                executor.forget()
        self._hub = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, reason: type[BaseException] | None, *exc_info: object) -> None:
        hub = self._hub
        try:
            leaving = self._leave(reason)
            if hub is not None:
                self._wait_here(hub, leaving)
        except (KeyboardInterrupt, GreenletExit):
            if is_stopping(reason):
                self._abandon()
            raise


class _GreenletTeller:
    """Calls listeners, where threads are greenlets: in one that lives in the scheduler's hub, whoever asks for it."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], bool], name: str) -> None:
        self._call_soon = call_soon
        self._name = name
        self._calls: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, items: Sequence[Callable[[], None]]) -> None:
        if self._closed:
            raise RuntimeError("it was closed")
        self._calls.extend(items)
        self._call_soon(self._begin)

    def _begin(self) -> None:
        if self._thread is None and self._calls:
            self._thread = threading.Thread(target=self._tell, name=self._name, daemon=True)
            self._thread.start()

    def _tell(self) -> None:
        try:
            while self._calls:
                self._calls.popleft()()
        finally:
            self._thread = None
            if self._calls:
                self._call_soon(self._begin)

    def close(self) -> None:
        self._closed = True

    def join(self, timeout: float | None = None) -> bool:
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return not self._calls

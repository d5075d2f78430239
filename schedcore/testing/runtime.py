"""How a framework is driven by a test: what ``check_scheduler`` needs to know of it.

The suite's own code is plain and synchronous. It runs in a thread of its own, the *control thread*, while the framework's
loop runs in another; a ``Runtime`` carries calls from one to the other. A scheduler that lives on no framework's loop
needs no more than ``make``::

    class BackgroundRuntime(Runtime):
        def make(self, **options):
            return BackgroundScheduler(**options)

One that does is told how to reach the loop, and how to be called back when something that the framework awaits is over. For a
loop that is asyncio's this is all of it::

    def coroutine_job(steps):
        async def job():
            steps.begin()
            while not steps.may_end():
                await asyncio.sleep(0.002)
            return steps.end()

        return job

    class AsyncIORuntime(LoopRuntime):
        native_jobs = {"coroutine": coroutine_job}

        def __init__(self, loop):
            self.loop = loop

        def make(self, **options):
            return AsyncIOScheduler(**options)

        def post(self, callback):
            self.loop.call_soon_threadsafe(callback)

        def when_done(self, awaitable, done):
            async def wait():
                try:
                    value = await awaitable
                except BaseException as error:
                    done(None, error)
                else:
                    done(value, None)

            asyncio.ensure_future(wait())

    @contextmanager
    def runtime():
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield AsyncIORuntime(loop)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    check_scheduler(runtime, SchedulerTraits(on_loop=True, native=("coroutine",)))
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, ClassVar, NamedTuple, TypeVar

from schedcore.run import Run
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing._suite import patience

__all__ = ["LoopRuntime", "NativeJob", "Runtime", "SchedulerTraits", "Steps"]

T = TypeVar("T")


class SchedulerTraits(NamedTuple):
    """What a scheduler and its framework are like, declared."""

    on_loop: bool = False  #: it lives on a framework's loop (a ``LoopRuntime``)
    native: tuple[str, ...] = ()  #: the keys of the runtime's ``native_jobs``
    cancels: tuple[str, ...] | None = None  #: those that a shutdown ends when its time is up; None: all, on a loop
    functions_on_loop: bool = False  #: jobs that are plain functions run on the loop, too (greenlets)
    context_manager: bool = False  #: ``Runtime.within`` says how it is used in a ``with`` statement
    lacks: Mapping[str, str] = {}  #: name of a behaviour -> why this scheduler cannot have it

    @property
    def ended(self) -> tuple[str, ...]:
        """The kinds of native jobs that a shutdown ends when its time is up."""
        if self.cancels is not None:
            return self.cancels
        return self.native if self.on_loop else ()


class Steps:
    """What a native job of the suite does at its beginning and at its end, and when it may end."""

    def __init__(
        self, gate: threading.Event, end: Callable[[], Any], begin: Callable[[], object] = lambda: None
    ) -> None:
        self._gate = gate
        self._end = end
        self._begin = begin
        self._lock = threading.Lock()
        #: The thread of each run that has begun.
        self.begun: list[int] = []
        #: The thread of each run that came to its end.
        self.ended: list[int] = []

    def begin(self) -> None:
        """To be called first, where the job's code begins to run."""
        with self._lock:
            self.begun.append(threading.get_ident())
        self._begin()

    def may_end(self) -> bool:
        """Until this is true the job has to wait, as jobs of its kind wait; to ask every few milliseconds will do."""
        return self._gate.is_set()

    def end(self) -> Any:
        """To be called last: gives what the job is to return, or raises what it is to raise."""
        with self._lock:
            self.ended.append(threading.get_ident())
        return self._end()


#: Makes the function of a job that takes these steps, of a kind that the framework calls asynchronous.
NativeJob = Callable[[Steps], Callable[[], Any]]


class Runtime(ABC):
    """See the module's docstring. All methods are called in the control thread, unless they say otherwise."""

    #: Kinds of jobs that the framework calls asynchronous: ``"coroutine"``, ``"deferred"``, ….
    native_jobs: ClassVar[Mapping[str, NativeJob]] = {}
    #: What ``add_job`` needs besides, for kinds that the scheduler cannot tell by looking at them.
    native_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    #: How the names of threads begin that the framework keeps in a pool of its own, as long as its loop lives.
    keeps_threads: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def make(self, **options: Any) -> BaseScheduler:
        """A new scheduler with these options, not started. Called by way of ``call``."""

    def call(self, call: Callable[[], T]) -> T:
        """Make a call where the code of the framework's users runs; returns what it returns, raises what it raises.

        Must not wait longer than some 30 s for a loop that does not answer: ``TimeoutError``.
        """
        return call()

    def result(self, call: Callable[[], Any], timeout: float | None = None) -> Any:
        """``call``, and wait for what it returns as the framework waits for it. ``TimeoutError`` after ``timeout`` s (30)."""
        return self.call(call)

    def start(self, scheduler: BaseScheduler, paused: bool = False) -> None:
        """Start a scheduler, and return when it is started."""
        self.call(lambda: scheduler.start(paused))

    def shutdown(self, scheduler: BaseScheduler, wait: bool = True, timeout: float | None = None) -> list[Run]:
        """Shut a scheduler down as the framework's users do; returns the runs that were cut."""
        cut: list[Run] = self.result(lambda: scheduler.shutdown(wait, timeout))
        return cut

    def wait_in_job(self, event: threading.Event) -> None:
        """Called in a job that is a plain function: wait for an event that another thread sets. On a loop: without
        keeping it from its work.
        """
        event.wait(patience.seconds)

    def wrong_starts(self) -> Mapping[str, tuple[Callable[[], object], str]]:
        """Cases in which a scheduler cannot be started here: case -> (a call that tries to, to be made in the control
        thread; a word that the error has to say).
        """
        return {}

    def within(self, scheduler: BaseScheduler, body: Callable[[], None]) -> None:
        """Enter the scheduler as a context manager, make the call in a thread that may block, and leave."""
        raise NotImplementedError


class LoopRuntime(Runtime):
    """A runtime whose framework runs a loop, in a thread other than the control thread."""

    @abstractmethod
    def post(self, callback: Callable[[], None]) -> None:
        """Have the loop call ``callback``, which raises nothing, soon."""

    @abstractmethod
    def when_done(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
        """Called on the loop: when what the framework awaits is over, call ``done(value, None)`` or ``done(None, error)``."""

    def call(self, call: Callable[[], T]) -> T:
        future: Future[T] = Future()

        def make_call() -> None:
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001  # it is handed to who asked for the call
                future.set_exception(error)

        self.post(make_call)
        return future.result(patience.seconds)

    def result(self, call: Callable[[], Any], timeout: float | None = None) -> Any:
        future: Future[Any] = Future()

        def done(value: Any, error: BaseException | None) -> None:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

        self.call(lambda: self.when_done(call(), done))
        return future.result(patience.seconds if timeout is None else timeout)

"""Qt: the application's loop in the main thread, the suite in another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from importlib import import_module
from typing import Any, ClassVar

from qtpy import API_NAME
from qtpy.QtCore import QCoreApplication, QEventLoop, QTimer

from schedcore.adapters.qt import QtMainThreadExecutor, QtScheduler, QtWakeup
from schedcore.adapters.qt.calls import QtCalls
from schedcore.run import Run
from schedcore.schedulers.base import BaseScheduler
from schedcore.testing.runtime import LoopRuntime, NativeJob, SchedulerTraits, Steps
from schedcore.testing.wakeup_suite import WakeupBench, WakeupTraits

NAME = "qt"
NEEDS = "qtpy"
TRAITS = SchedulerTraits(
    on_loop=True,
    native=("in the Qt thread",),
    # What runs in the Qt thread is a call like any other, and there is nothing that could end it.
    cancels=(),
    context_manager=True,
    lacks={
        "waits at shutdown for native jobs, and does not cancel them": (
            "a job in the Qt thread that runs an event loop lies below its slots on the stack: they cannot wait for its end"
        ),
    },
)
WAKEUP_TRAITS = WakeupTraits()

# Seconds.
_PATIENCE_S = 30.0


class _Host:
    """An application in this thread, as long as one check goes on in another."""

    def __init__(self) -> None:
        assert QCoreApplication.instance() is None, "another test has left its Qt application behind"
        self.app: Any = QCoreApplication([])
        self.calls = QtCalls(self.app)
        self.gone = threading.Event()

    def run(self, call: Callable[[], Any]) -> Any:
        future: Future[Any] = Future()

        def check() -> None:
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001  # it is handed to pytest's thread
                future.set_exception(error)
            finally:
                self.end()

        thread = threading.Thread(target=check, name="check")
        thread.start()
        self.app.exec_()
        self._delete()
        thread.join()
        return future.result()

    def _delete(self) -> None:
        for _ in range(3):
            self.app.processEvents()
        # Each binding has its own way to delete what is C++'s now.
        where = {"PyQt5": "PyQt5.sip", "PyQt6": "PyQt6.sip"}.get(API_NAME, "shiboken6")
        import_module(where).delete(self.app)
        self.app = None
        self.gone.set()

    def end(self) -> None:
        """In the control thread: the application quits and is deleted. May be called twice."""
        try:
            self.calls.put(QCoreApplication.quit)
        except RuntimeError:
            # Deleted already.
            pass
        assert self.gone.wait(_PATIENCE_S), "the application did not quit"


_hosts: list[_Host] = []

# The first application of a process opens what later ones share (an event descriptor of the main thread's). No test's leak.
_Host().run(lambda: None)


def host(call: Callable[[], Any]) -> Any:
    """See ``_runtimes``."""
    here = _Host()
    _hosts.append(here)
    try:
        return here.run(call)
    finally:
        _hosts.remove(here)


def _job_in_the_qt_thread(steps: Steps) -> Callable[[], Any]:
    # A dialogue is like this: a job that is called by the loop, and runs one itself.
    def job() -> Any:
        steps.begin()
        while not steps.may_end():
            loop = QEventLoop()
            QTimer.singleShot(2, loop.quit)
            loop.exec_()
        return steps.end()

    return job


class QtRuntime(LoopRuntime):
    native_jobs: ClassVar[Mapping[str, NativeJob]] = {"in the Qt thread": _job_in_the_qt_thread}
    native_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {"in the Qt thread": {"executor": "gui"}}

    def __init__(self, here: _Host) -> None:
        self._calls = here.calls

    def make(self, **options: Any) -> BaseScheduler:
        options["executors"] = {"gui": QtMainThreadExecutor(), **options.get("executors", {})}
        return QtScheduler(**options)

    def post(self, callback: Callable[[], None]) -> None:
        self._calls.put(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        # Below two seconds Qt takes a precise timer by itself; the bindings agree on no call that says so.
        QTimer.singleShot(round(delay_s * 1000), callback)

    def when_done(self, awaitable: Any, done: Callable[[Any, BaseException | None], None]) -> None:
        if not isinstance(awaitable, Future):
            done(awaitable, None)
            return

        def over(future: Future[Any]) -> None:
            error = future.exception()
            done(None if error is not None else future.result(), error)

        awaitable.add_done_callback(over)

    def shutdown(self, scheduler: BaseScheduler, wait: bool = True, timeout: float | None = None) -> list[Run]:
        assert isinstance(scheduler, QtScheduler)
        cut: list[Run] = []

        def shut_down() -> bool:
            scheduler.signals.stopped.connect(cut.extend)
            return scheduler.shutdown(wait, timeout)

        uncut = self.result(shut_down)
        assert not (uncut and cut), "it says that nothing was cut"
        return cut

    def wrong_starts(self) -> Mapping[str, tuple[Callable[[], object], str]]:
        return {"it is another thread": (lambda: QtScheduler().start(), "thread other than that of the Qt application")}

    def within(self, scheduler: BaseScheduler, body: Callable[[], None]) -> None:
        assert isinstance(scheduler, QtScheduler)

        def use() -> None:
            with scheduler:
                # Called in the Qt thread this runs its loop, as a dialogue does.
                scheduler.call(body).result(_PATIENCE_S)

        self.call(use)


class _WakeupBench:
    def __init__(self, here: _Host) -> None:
        self._host = here
        self.call = QtRuntime(here).call
        self.wakeup: QtWakeup = self.call(lambda: QtWakeup(here.app))

    def close(self) -> None:
        self._host.end()
        self.wakeup.close()


@contextmanager
def runtime() -> Iterator[QtRuntime]:
    yield QtRuntime(_hosts[-1])


@contextmanager
def wakeup() -> Iterator[WakeupBench]:
    bench = _WakeupBench(_hosts[-1])
    try:
        yield bench
    finally:
        bench.close()
        bench.wakeup.end_threads(_PATIENCE_S)

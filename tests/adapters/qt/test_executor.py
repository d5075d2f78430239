"""The Qt executors: the conformance suite, with the application's loop in this thread and the suite in another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from qtpy.QtCore import QCoreApplication

from schedcore.adapters.qt import QtExecutor, QtMainThreadExecutor
from schedcore.adapters.qt.calls import QtCalls
from schedcore.executors.base import BaseExecutor
from schedcore.testing.executor_suite import ExecutorTraits, check_executor, executor_behaviours
from tests.adapters.interrupted import shut_down_amid_submissions
from tests.interrupting import disturbed

_WAITS = "it runs jobs in the Qt thread, which must not wait for a coroutine: there it fails, and says so"
_POOL = ExecutorTraits(workers=3)
_MAIN = ExecutorTraits(
    lacks=dict.fromkeys(
        (
            "runs a coroutine job to its end",
            "runs an awaitable that a job returns to its end",
            # These are shown with a coroutine among the jobs.
            "sets current_run in the job, and nowhere else",
            "carries out all that it took when shutdown waits",
            "keeps neither arguments, nor results, nor exceptions, nor frames of a run that is over",
        ),
        _WAITS,
    )
)
KINDS: dict[str, tuple[Callable[[], BaseExecutor], ExecutorTraits]] = {
    "pool": (lambda: QtExecutor(3), _POOL),
    "main": (QtMainThreadExecutor, _MAIN),
}
ROWS = [(kind, name, left_out) for kind, (_, traits) in KINDS.items() for name, left_out in executor_behaviours(traits)]


@pytest.mark.parametrize(("kind", "name", "left_out"), ROWS)
def test_conformance(qapp: QCoreApplication, kind: str, name: str, left_out: str | None) -> None:
    if left_out is not None:
        pytest.skip(left_out)
    make, traits = KINDS[kind]
    calls = QtCalls(qapp)
    checked: Future[list[str]] = Future()

    def in_qt_thread(call: Callable[[], None]) -> None:
        future: Future[None] = Future()

        def make_call() -> None:
            try:
                call()
                future.set_result(None)
            except BaseException as error:  # noqa: BLE001  # it is handed to who asked
                future.set_exception(error)

        calls.put(make_call)
        future.result(60)

    def check() -> None:
        try:
            # A job that holds the Qt thread keeps nobody from handing over the next.
            submit_in = in_qt_thread if kind == "pool" else None
            checked.set_result(check_executor(make, traits, only=name, submit_in=submit_in))
        except BaseException as error:  # noqa: BLE001  # it is handed to the test
            checked.set_exception(error)
        finally:
            calls.put(QCoreApplication.quit)

    thread = threading.Thread(target=check)
    thread.start()
    qapp.exec_()
    thread.join()
    calls.close()
    assert checked.result() == [name]


def test_a_signal_handler_may_shut_it_down_in_the_midst_of_a_submission(qapp: QCoreApplication) -> None:
    shut_down_amid_submissions(lambda: QtExecutor(3), disturbed)
    qapp.processEvents()  # what was put off to then

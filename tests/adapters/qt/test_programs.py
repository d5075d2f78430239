"""Whole programs: which binding is taken, what a bad job does to it, and how it ends."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest
from qtpy import API_NAME

BINDINGS = [name for name in ("PyQt5", "PyQt6", "PySide6") if importlib.util.find_spec(name) is not None]
HERE = API_NAME.partition(" ")[0]


def run_program(program: str, **variables: str) -> tuple[int, str, str]:
    env = {name: value for name, value in os.environ.items() if name not in ("QT_API", "FORCE_QT_API")}
    done = subprocess.run(
        # -P: the package that is installed, and not the folder of its source, in which there are no adapters.
        [sys.executable, "-P", "-c", textwrap.dedent(program).replace("BINDING", HERE)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={**env, **variables},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_binding_that_the_program_has_imported_is_taken(binding: str) -> None:
    program = f"""
        from {binding} import QtCore
        import schedcore.adapters.qt
        import qtpy
        print(qtpy.API_NAME)
    """
    others = [name.lower() for name in ("PyQt5", "PySide6") if name != binding]
    for variables in ({}, {"QT_API": others[0]}):
        assert run_program(program, **variables) == (0, f"{binding}\n", "")


@pytest.mark.skipif(len(BINDINGS) < 2, reason="only one binding is installed")
def test_two_bindings_and_no_word_which() -> None:
    program = f"from {BINDINGS[0]} import QtCore; from {BINDINGS[1]} import QtCore; import schedcore.adapters.qt"
    code, _, error = run_program(program)
    assert code == 1
    assert f"has imported {BINDINGS[0]} and {BINDINGS[1]}, and QT_API is not set" in error
    program += "; import qtpy; print(qtpy.API_NAME)"
    assert run_program(program, QT_API=BINDINGS[1].lower())[0] == 0


@pytest.mark.skipif(len(BINDINGS) < 2, reason="only one binding is installed")
def test_the_application_is_made_with_another_binding() -> None:
    code, _, error = run_program(
        f"""
        import schedcore.adapters.qt as qt
        import qtpy
        from {BINDINGS[1]} import QtCore
        app = QtCore.QCoreApplication([])
        qt.QtScheduler().start()
        """,
        QT_API=BINDINGS[0].lower(),
    )
    assert code == 1
    assert f"there is no application of {BINDINGS[0]}, which the scheduler uses; if yours is made with" in error
    assert BINDINGS[1] in error


def test_without_qt_the_error_names_the_extra() -> None:
    code, _, error = run_program(
        """
        import sys
        sys.modules.update({name: None for name in ("qtpy", "PyQt5", "PyQt6", "PySide6", "PySide2")})
        from schedcore.schedulers.background import BackgroundScheduler
        from schedcore.errors import MissingExtraError
        by_alias = lambda: BackgroundScheduler(executors={"default": {"type": "qt"}})
        for use in (by_alias, lambda: __import__("schedcore.adapters.qt")):
            try:
                use()
            except MissingExtraError as error:
                assert error.extra == "qt", error.extra
            else:
                raise AssertionError
        import schedcore.adapters.qt
        """
    )
    assert code == 1
    assert "pip install 'schedcore[qt]'" in error


BAD = """
    import sys, threading
    from BINDING.QtCore import QCoreApplication, QTimer
    from schedcore.adapters.qt import QtMainThreadExecutor, QtScheduler
    from schedcore.events import EVENT_JOB_ERROR

    class Worse(BaseException):
        pass

    def bad(kind):
        raise kind("on purpose")

    def listener(event):
        raise ValueError("a listener")

    app = QCoreApplication([])
    scheduler = QtScheduler(executors={"gui": QtMainThreadExecutor()})
    scheduler.add_listener(listener, EVENT_JOB_ERROR)
    failed = []
    scheduler.signals.failed.connect(failed.append)
    KINDS = [Exception, SystemExit, KeyboardInterrupt, GeneratorExit, Worse]
    for kind in KINDS:
        for executor in ("default", "gui"):
            scheduler.add_job(bad, args=[kind], executor=executor)
    scheduler.start()
    scheduler.call(bad, SystemExit).add_done_callback(lambda future: bad(SystemExit))

    def look():
        if len(failed) == 2 * len(KINDS):
            assert scheduler.running
            scheduler.add_job(app.quit, executor="gui")
        else:
            QTimer.singleShot(10, look)

    look()
    getattr(app, "exec_", app.exec)()
    print("ended", len(failed), scheduler.shutdown())
"""


def test_bad_jobs_and_listeners_do_not_abort_the_program() -> None:
    code, out, error = run_program(BAD)
    assert (code, out) == (0, "ended 10 True\n"), error


@pytest.mark.parametrize(
    "end",
    [
        "",  # as it is
        "del app",
        "scheduler.shutdown(wait=False)",
        "scheduler.add_job(time.sleep, args=[30]); spin(); scheduler.shutdown(timeout=0.05); print('cut')",
        "scheduler.add_job(time.sleep, args=[0.2]); spin()",
        "QTimer.singleShot(20, app.quit); run()",
        "scheduler.signals.occurred.connect(print); scheduler.add_job(int, executor='gui')",
    ],
)
def test_a_program_ends_without_noise(end: str) -> None:
    program = f"""
        import time
        from BINDING.QtCore import QCoreApplication, QTimer
        from schedcore.adapters.qt import QtMainThreadExecutor, QtScheduler

        app = QCoreApplication([])
        run = lambda: getattr(app, "exec_", app.exec)()
        scheduler = QtScheduler(executors={{"gui": QtMainThreadExecutor()}})
        scheduler.add_job(int, "interval", hours=1)
        scheduler.start()
        scheduler.call(int).result(60)

        def spin():
            while not scheduler._executors["default"].live_runs():
                app.processEvents()

        {end}
        print("end")
    """
    code, out, error = run_program(program)
    assert (code, error) == (0, "")
    assert "end\n" in out


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_in_the_schedulers_own_code_leaves_the_loop() -> None:
    code, out, error = run_program(
        """
        import signal
        from BINDING.QtCore import QCoreApplication
        from schedcore.adapters.qt import QtScheduler

        app = QCoreApplication([])
        scheduler = QtScheduler()
        scheduler.start()
        scheduler._wakeup.call_soon(lambda: signal.raise_signal(signal.SIGINT))
        code = getattr(app, "exec_", app.exec)()
        print(code, scheduler.running)
        """
    )
    assert (code, out, error) == (0, "130 False\n", "")


def test_an_executor_that_is_dropped_before_its_threads_have_ended() -> None:
    code, out, error = run_program(
        """
        from BINDING.QtCore import QCoreApplication
        from schedcore.adapters.qt import QtExecutor, threads
        from schedcore.testing.executor_suite import RecordingHost, make_run

        app = QCoreApplication([])
        most = 0
        for _ in range(300):
            executor = QtExecutor()
            executor.start(RecordingHost(), "default")
            executor.submit([make_run(int)])
            executor.shutdown(wait=False)
            del executor
            app.processEvents()
            most = max(most, len(threads._in_use))
        while not all(each.is_idle() for each in threads._in_use):  # a thread that ends behind Python is not its fault
            pass
        print("end", most < 100)
        """
    )
    assert (code, out, error) == (0, "end True\n", "")

"""An application for each test, none of whose warnings is overlooked, and nothing of the adapter's left in it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from qtpy import API_NAME
from qtpy.QtCore import QCoreApplication, QEventLoop, QObject, QTimer, QtMsgType, qInstallMessageHandler

from schedcore.adapters.qt import QtScheduler


def delete(thing: Any) -> None:
    """Delete what is C++'s, now."""
    where = {"PyQt5": "PyQt5.sip", "PyQt6": "PyQt6.sip"}.get(API_NAME, "shiboken6")
    import_module(where).delete(thing)


def is_alive(thing: QObject) -> bool:
    try:
        thing.objectName()
    except RuntimeError:
        return False
    return True


# The first application of a process opens what later ones share (an event descriptor of the main thread's). No test's leak.
_first = QCoreApplication([])
_first.processEvents()
delete(_first)
del _first


def ours() -> list[QObject]:
    """The adapter's own objects in the Qt thread that are alive."""
    gc.collect()
    things = [thing for thing in gc.get_objects() if type(thing).__name__ in ("QtCalls", "_Alarm")]
    return [thing for thing in things if isinstance(thing, QObject) and is_alive(thing)]


@pytest.fixture(autouse=True)
def complaints() -> Iterator[list[str]]:
    """What Qt warned of; whoever wants a warning clears the list."""
    found: list[str] = []

    def handle(kind: Any, context: Any, message: str | None) -> None:
        if kind not in (QtMsgType.QtDebugMsg, QtMsgType.QtInfoMsg):
            found.append(str(message))

    before = qInstallMessageHandler(handle)
    yield found
    qInstallMessageHandler(before)
    assert found == []


@pytest.fixture
def qapp(complaints: list[str]) -> Iterator[QCoreApplication]:
    """In the place of pytest-qt's, which lasts for the session, with widgets: a core application for each test."""
    app = QCoreApplication([])
    yield app
    # What is to be deleted is, where a loop runs; on a busy machine not in its first milliseconds.
    end_s = time.monotonic() + 30
    while True:
        loop = QEventLoop()
        QTimer.singleShot(10, loop.quit)
        loop.exec_()
        if not ours() or time.monotonic() > end_s:
            break
    left = ours()
    delete(app)
    assert left == []


@pytest.fixture
def make(qapp: QCoreApplication) -> Iterator[Callable[..., QtScheduler]]:
    """Makes schedulers, which are stopped at the end."""
    made: list[QtScheduler] = []

    def make(**options: Any) -> QtScheduler:
        made.append(QtScheduler(**options))
        return made[-1]

    yield make
    for scheduler in made:
        scheduler.shutdown(timeout=10)

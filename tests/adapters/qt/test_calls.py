"""Calls in the Qt thread: how they are let go of while others use them, and that the windows have their turn between."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, QTimer

from schedcore.adapters.qt import calls as qt_calls
from schedcore.adapters.qt.calls import QtCalls
from tests.interrupting import disturbed

PATIENCE_S = 60.0


def test_it_is_not_deleted_while_another_thread_rings(
    qapp: QCoreApplication, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = QtCalls(qapp)
    rings, go_on = threading.Event(), threading.Event()
    ring = calls._ring
    waited: list[bool] = []

    def ring_slowly() -> None:
        rings.set()
        assert go_on.wait(PATIENCE_S)
        ring()

    def come_round() -> None:
        # For another reason: it finds that it is to delete this, and has to wait.
        calls._make_some()
        waited.append(go_on.is_set())

    monkeypatch.setattr(calls, "_ring", ring_slowly)
    closes = threading.Thread(target=calls.close)
    closes.start()
    let_go = threading.Timer(0.05, go_on.set)
    try:
        assert rings.wait(PATIENCE_S)
        let_go.start()
        QTimer.singleShot(0, come_round)
        qtbot.waitUntil(lambda: bool(waited), timeout=int(PATIENCE_S * 1000))
    finally:
        go_on.set()
        closes.join()
        let_go.join()
    assert waited == [True], "it was about to be deleted while it was in use"


def test_between_two_slices_is_a_turn_though_it_rang_again_unheard(
    qapp: QCoreApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qt_calls, "SLICE_S", -1.0)  # one call
    monkeypatch.setattr(qt_calls, "_UNHEARD_S", -1.0)
    calls = QtCalls(qapp)
    made: list[int] = []
    for number in range(10):
        calls.put(partial(made.append, number))
    most = 0
    for _ in range(1000):
        before = len(made)
        qapp.processEvents()
        most = max(most, len(made) - before)
        if len(made) == 10:
            break
    calls.close()
    qapp.processEvents()
    assert (made, most) == (list(range(10)), 1)


def test_a_signal_handler_may_close_it_in_the_midst_of_a_call_that_is_put(qapp: QCoreApplication) -> None:
    def is_interrupted(at: int) -> bool:
        calls = QtCalls(qapp)
        made: list[int] = []
        taken: list[int] = []

        def put() -> None:
            # Refused, if it was closed before.
            with suppress(RuntimeError):
                calls.put(partial(made.append, 1))
                taken.append(1)

        interrupted = disturbed(put, calls.close, at)
        calls.close()
        for _ in range(2):
            qapp.processEvents()
        assert made == taken
        return interrupted

    at = 1
    while is_interrupted(at):
        at += 1
    assert at > 5

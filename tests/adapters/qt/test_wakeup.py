"""The timer: it never rings before its time, and is exact to less than the milliseconds that Qt counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication

from schedcore.adapters.qt import QtWakeup, wakeup

PATIENCE_MS = 60_000


class Clock:
    """In the place of the time that passes for the wakeup: what is left when Qt's timer rings is for the test to say."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(wakeup, "perf_counter", lambda: clock.now_s)
    monkeypatch.setattr(wakeup, "sleep", clock.sleep)
    return clock


@pytest.fixture
def rings_after(qapp: QCoreApplication, qtbot: QtBot, clock: Clock) -> Iterator[Callable[[float, float], float]]:
    """Arms a wakeup, passes so much of the time before Qt's timer rings, and tells how much had passed when it called."""
    armed = QtWakeup(qapp)

    def rings_after(delay_s: float, passed_s: float) -> float:
        called_s: list[float] = []
        armed.arm(delay_s, lambda: called_s.append(clock.now_s))
        clock.now_s = 1000.0 + passed_s
        qtbot.waitUntil(lambda: bool(called_s), timeout=PATIENCE_MS)
        return called_s[0] - 1000.0

    yield rings_after
    armed.close()


def test_the_part_of_a_millisecond_that_is_left_is_slept(
    rings_after: Callable[[float, float], float], clock: Clock
) -> None:
    assert rings_after(0.0127, 0.0121) == pytest.approx(0.0127)
    assert clock.slept_s == [pytest.approx(0.0006)]


def test_a_ring_that_is_late_calls_at_once(rings_after: Callable[[float, float], float], clock: Clock) -> None:
    assert rings_after(0.0127, 0.0128) == pytest.approx(0.0128)
    assert clock.slept_s == []


def test_short_waits_are_rounded_up_and_nobody_sleeps(
    qapp: QCoreApplication, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    started_ms: list[int] = []
    armed = QtWakeup(qapp)
    monkeypatch.setattr(armed._alarm._timer, "start", started_ms.append)
    for delay_s in (0.0, 0.0003, 0.0095, 0.0100001, 0.0127, 30.0, 1e9):
        armed.arm(delay_s, qapp.quit)
    # The last one waits in pieces of the 24.8 days that Qt can count.
    assert started_ms == [0, 1, 10, 10, 12, 30_000, 2**31 - 1]
    armed.close()


def test_a_timer_that_rings_far_too_early_is_started_again(
    rings_after: Callable[[float, float], float], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s: list[float] = []
    start = wakeup._Alarm._start

    def start_and_pass(alarm: wakeup._Alarm, left_s: float) -> None:
        waits_s.append(left_s)
        clock.now_s += left_s
        start(alarm, left_s)

    monkeypatch.setattr(wakeup._Alarm, "_start", start_and_pass)
    rings_after(0.02, 0.011)
    assert waits_s == [0.02, pytest.approx(0.009)]
    assert clock.slept_s == []

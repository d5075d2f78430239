"""How many times the command was asked to end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from schedcore.cli import signals as signals_module
from schedcore.cli.signals import Bell, Signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")


@pytest.fixture
def signals() -> Iterator[Signals]:
    bell = Bell()
    made = Signals(bell)
    with made.caught():
        yield made
    bell.close()


def test_programs_send_several_and_mean_one(signals: Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(signals_module, "monotonic", lambda: now_s)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        signal.raise_signal(number)
    assert signals.count == 1
    now_s += 1.5
    signal.raise_signal(signal.SIGTERM)
    assert signals.count == 2


def test_every_ctrl_c_counts(signals: Signals) -> None:
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert signals.count == 2


def test_ctrl_c_counts_beside_sigterm(signals: Signals) -> None:
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert signals.count == 2

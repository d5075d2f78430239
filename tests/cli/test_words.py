"""How the command line words lengths of time, instants and outcomes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schedcore.cli import words
from schedcore.executors.command import CommandFailedError, CommandStartError, CommandTimeoutError
from schedcore.run import RunRecord, RunState, SkipReason

NOW = datetime(2026, 3, 25, 14, 3, 12, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "< 1 ms"),
        (0.0004, "< 1 ms"),
        (0.0006, "1 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.10 s"),
        (9.99, "9.99 s"),
        (9.996, "10.0 s"),
        (59.9, "59.9 s"),
        (59.97, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (86399, "23 h 59 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text", "brief"),
    [(-3, "now", "now"), (0, "now", "now"), (0.2, "in 1 s", "in 1 s"), (125, "in 2 min 05 s", "in 2 min")],
)
def test_countdown(seconds: float, text: str, brief: str) -> None:
    assert words.countdown(seconds) == text
    assert words.countdown(seconds, brief=True) == brief


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (timedelta(seconds=-5), "14:03:07"),
        (timedelta(hours=5), "19:03:12"),
        (timedelta(hours=12), "Thu 02:03"),
        (timedelta(days=6), "Tue 14:03"),
        (timedelta(days=7), "2026-04-01"),
        (timedelta(days=-400), "2025-02-18"),
    ],
)
def test_instant(delta: timedelta, text: str) -> None:
    assert words.instant(NOW + delta, NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "just now"), (5, "5 s ago"), (61, "1 min ago"), (7300, "2 h ago"), (2e6, "23 d ago")]
)
def test_ago(seconds: float, text: str) -> None:
    assert words.ago(seconds) == text


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (RunRecord("a", 0, 1, RunState.SUCCEEDED), "ok"),
        (RunRecord("a", 0, 1, RunState.FAILED), "failed"),
        (RunRecord("a", 0, 1, RunState.FAILED, exit_code=3), "exit 3"),
        (RunRecord("a", 0, 1, RunState.FAILED, exit_code=-9), "SIGKILL"),
        (RunRecord("a", 0, 1, RunState.FAILED, exit_code=-64000), "signal 64000"),
        (RunRecord("a", 0, 1, RunState.LOST), "lost"),
        (RunRecord("a", 0, 1, RunState.SUBMITTED), "waiting"),
        (RunRecord("a", 0, 0, RunState.SKIPPED, SkipReason.OVERLAP), "skipped: overlap"),
        (RunRecord("a", 0, 0, RunState.SKIPPED, SkipReason.MISFIRED, 7), "skipped 7 times: misfired"),
    ],
)
def test_outcome(record: RunRecord, text: str) -> None:
    assert words.outcome(record) == text


def test_failures() -> None:
    assert words.failure_text(ValueError("no\nwhere")) == "failed: ValueError: no where"
    assert words.failure_text(ValueError()) == "failed: ValueError"
    assert words.failure_text(None) == "was cut short"
    command = CommandFailedError(3, "a\n\nb\nc\nd\n", "x")
    assert words.failure_text(command) == "failed with exit code 3"
    assert words.failure_lines(command, None) == ["b", "c", "d"]
    assert words.failure_word(command) == "exit 3"
    unstarted = CommandStartError("x", "there is no such program")
    assert words.failure_lines(unstarted, '  File "command.py", line 1, in _start\n') == [], "no job's code is there"
    late = CommandTimeoutError(-15, "", "x", 0, 2.5)
    assert words.failure_text(late) == "ran longer than its timeout of 2.5 s and was stopped"
    assert words.failure_word(late) == "SIGTERM"


def test_every_reason_is_worded() -> None:
    for reason in SkipReason:
        assert words.reason_text(reason) != reason


def test_every_digit_for_programs() -> None:
    assert words.utc_text(None) is None
    assert words.utc_text(1_000_000) == "1970-01-01T00:00:01Z"
    assert words.utc_text(1_000_001) == "1970-01-01T00:00:01.000001Z"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("as it is: grüße", "as it is: grüße"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("bell\x07, back\x08, c1\x9b", "bell, back, c1"),
        ("\x1b", ""),
    ],
)
def test_clean(text: str, plain: str) -> None:
    assert words.clean(text) == plain

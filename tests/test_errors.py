"""What errors say, and that saying it cannot fail."""

from __future__ import annotations

import pytest

from schedcore.errors import did_you_mean, error_text


class MuteError(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (MuteError(), "MuteError (it cannot be shown: its text raised RuntimeError)"),
    ],
)
def test_an_error_in_one_line(error: BaseException, text: str) -> None:
    assert error_text(error) == text


def test_no_hint_for_what_nobody_mistyped() -> None:
    assert did_you_mean("interval" * 1_000_000, ["interval"]) == "; known: interval"

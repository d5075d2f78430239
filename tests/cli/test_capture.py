"""What jobs print while the table has the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from schedcore.cli.board import Board
from schedcore.cli.live import captured

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on this system")


@contextmanager
def terminal() -> Iterator[None]:
    """Standard output and error are a terminal, to which nothing may be written."""
    main, other = os.openpty()
    try:
        with open(other, "w", encoding="utf-8") as stream, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            yield
            os.set_blocking(main, False)
            with pytest.raises(BlockingIOError):
                os.read(main, 100)
    finally:
        os.close(main)


def test_lines_go_to_the_board() -> None:
    board = Board()
    with terminal():
        before = sys.stdout
        with captured(board):
            print("first")
            sys.stdout.write("in ")
            sys.stdout.write("parts\n")
            sys.stderr.write("\x1b[31mred\x1b[0m\n")
            sys.stdout.buffer.write(b"bytes \xff\n")
            sys.stdout.flush()
            print("x" * 5000)
            assert not sys.stdout.isatty()
            assert sys.stdout.fileno() == before.fileno()
        assert sys.stdout is before
    (message,) = board.view().messages
    assert (message.job, message.text) == (None, "printed")
    assert [line[:10] for line in message.lines] == ["red", "bytes \ufffd", "x" * 10]
    assert len(message.lines[-1]) == 1000


def test_what_is_no_terminal_stays(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board()
    with captured(board):
        print("as ever")
    assert capsys.readouterr().out == "as ever\n"
    assert board.view().messages == ()

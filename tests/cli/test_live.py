"""The table, drawn without a terminal: what stands in it, and that it always fits."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from schedcore.cli import live
from schedcore.cli.board import Last, Level, Message, Row, Running, View
from schedcore.cli.live import Heading, Layout, render
from schedcore.job import JobState

NOW = datetime(2026, 3, 25, 14, 3, 12, tzinfo=UTC)
NOW_S = 5000.0  #: the same on the monotonic clock
HEADING = Heading(title="jobs.toml", store="jobs.sqlite", zone=UTC)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "monotonic", lambda: NOW_S)


def row(name: str, *, ahead_s: float = 5.0, **more: object) -> Row:
    made = Row(
        store="default",
        id=name,
        name=name,
        schedule="every 5 seconds",
        next_run=NOW + timedelta(seconds=ahead_s),
        state=JobState.ACTIVE,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def view(*rows: Row, messages: tuple[Message, ...] = ()) -> View:
    return View(rows=rows, messages=messages, runs=12, failures=1, skips=2, closed=False)


def draw(shown: View, width: int = 120, height: int = 20, heading: Heading = HEADING) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system=None, force_terminal=False)
    console.print(render(shown, heading, Layout(width=width, height=height), NOW))
    return [line.rstrip() for line in out.getvalue().removesuffix("\n").split("\n")]


def test_wide() -> None:
    done = Last(word="ok", good=True, at=NOW - timedelta(seconds=4), duration_s=0.25)
    wrong = Last(word="exit 3", good=False, at=NOW - timedelta(minutes=2), duration_s=61.0)
    lines = draw(
        view(
            row("backup", last=done, running=(Running(run_id="r", scheduled=NOW, since_s=NOW_S - 3),)),
            row("report", ahead_s=86400 * 2, last=wrong),
            row("queued", running=(Running(run_id="q", scheduled=NOW),)),
            row("resting", state=JobState.PAUSED, next_run=None),
            row("lame", state=JobState.BROKEN, next_run=None),
            row("past", state=None, next_run=None),
        )
    )
    assert lines[0].startswith("schedcore jobs.toml  12 runs, 1 failed, 2 skipped  ")
    assert lines[0].endswith(" 14:03:12 UTC")
    table = {line.split(" ")[0]: line for line in lines[2:9]}
    assert table["Job"].split() == ["Job", "Schedule", "Next", "run", "Last", "run", "Running"]
    assert " 14:03:17   in 5 s " in table["backup"]
    assert " ok  0.25 s  4 s ago " in table["backup"]
    assert table["backup"].endswith(" 3.00 s")
    assert " Fri 14:03  in 2 d 0 h " in table["report"]
    assert table["report"].endswith(" exit 3  1 min 01 s  2 min ago")
    assert table["queued"].endswith("waiting")
    assert "  paused" in table["resting"]
    assert "  set aside" in table["lame"]
    assert "  over" in table["past"]
    assert lines[-1] == "Ctrl-C stops it; what runs then may finish · store jobs.sqlite"


def test_narrow_shows_what_runs_in_the_place_of_what_ran() -> None:
    lines = draw(view(row("backup", running=(Running(run_id="r", scheduled=NOW, since_s=NOW_S - 3),))), 40)
    assert lines[2].split() == ["Job", "Next", "run", "Last", "run"]
    assert lines[3].startswith("backup")
    assert "in 5 s" in lines[3]
    assert "running 3.0" in lines[3]


def test_messages_say_what_happened() -> None:
    lines = draw(
        view(
            row("disk"),
            messages=(
                Message(
                    at=NOW, level=Level.ERROR, job="disk", text="failed with exit code 3", lines=("a", "b"), count=4
                ),
                Message(at=NOW, level=Level.WARNING, job=None, text="the clock was set back by 2.000 s"),
            ),
        )
    )
    start = lines.index("Messages, latest first")
    assert lines[start + 1 : start + 5] == [
        "14:03:12  disk  failed with exit code 3  (4 times)",
        "          a",
        "          b",
        "14:03:12  the clock was set back by 2.000 s",
    ]


def test_too_many_jobs_show_those_with_something_to_tell() -> None:
    rows = [row(f"job-{number}", ahead_s=number) for number in range(50)]
    rows[40] = replace(rows[40], running=(Running(run_id="r", scheduled=NOW, since_s=NOW_S),))
    rows[45] = replace(rows[45], last=Last(word="failed", good=False, at=NOW))
    lines = draw(view(*rows), 80, 10)
    names = [line.split()[0] for line in lines[3:8]]
    assert names == ["job-0", "job-1", "job-2", "job-40", "job-45"]
    assert lines[8] == "… and 45 more jobs"


def test_the_foot_says_when_it_ends_and_what_it_waits_for() -> None:
    ending = replace(HEADING, ends_s=NOW_S + 8.5)
    assert " · ends in 9 s · " in draw(view(row("a")), heading=ending)[-1]
    stopping = replace(HEADING, stopping="Stopping: waiting for a (3 s); Ctrl-C again ends them")
    assert draw(view(row("a")), heading=stopping)[-1] == stopping.stopping


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60)


@settings(max_examples=60)
@given(
    names=st.lists(texts, max_size=12),
    messages=st.lists(st.tuples(texts, st.lists(texts, max_size=3)), max_size=5),
    width=st.integers(20, 200),
    height=st.integers(5, 60),
)
def test_it_never_exceeds_the_terminal(
    names: list[str], messages: list[tuple[str, list[str]]], width: int, height: int
) -> None:
    shown = view(
        *(row(f"{number}{name}") for number, name in enumerate(names)),
        messages=tuple(
            Message(at=NOW, level=Level.ERROR, job="j", text=text, lines=tuple(lines)) for text, lines in messages
        ),
    )
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, force_terminal=False)
    lines = console.render_lines(render(shown, HEADING, Layout(width=width, height=height), NOW), pad=False)
    assert len(lines) <= height
    for line in lines:
        assert sum(segment.cell_length for segment in line) <= width


def test_what_jobs_say_cannot_command_the_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, height=10, force_terminal=True, color_system="standard")
    messages = (Message(at=NOW, level=Level.ERROR, job="a\x1b[2J", text="b\x1b]0;title\x07\rc\x9b1m", lines=()),)
    console.print(render(view(row("x\x1b[31mred\n"), messages=messages), HEADING, Layout(width=100, height=10), NOW))
    assert "\x1b[2J" not in out.getvalue()
    assert "\x1b[31mred" not in out.getvalue()
    assert "title" not in out.getvalue()
    assert "\x9b" not in out.getvalue()


@pytest.mark.parametrize("width", [60, 76, 110, 160])
def test_columns_do_not_move_when_numbers_grow(width: int) -> None:
    little = draw(view(row("a", ahead_s=1)), width)
    much = draw(view(row("a", ahead_s=3599, last=Last(word="failed", good=False, at=NOW, duration_s=3599))), width)
    assert little[2] == much[2]

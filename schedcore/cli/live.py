"""The table that ``schedcore run`` shows on a terminal, and how it is kept up to date.

It has the whole screen (the alternate one, as ``less`` and ``htop`` do) and redraws all of it from the top left corner in one
write, without clearing first: nothing flickers, a resized window is right at the next look, and what a child process prints in
between is painted over. Columns have fixed widths, so that nothing jumps as numbers grow; what does not fit is left out by
importance, first the schedule's words, then jobs of which nothing is to be told.

What jobs print goes to the board instead of to the middle of the table.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from time import monotonic
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from schedcore.cli.board import Board, Level, Message, Row, View
from schedcore.cli.words import ago, amount, countdown, duration, instant, one_line
from schedcore.job import JobState
from schedcore.run import current_run

# Bytes. What is looked at of a line that a job prints.
_LONGEST = 1000

__all__ = ["Heading", "Layout", "Screen", "captured", "render", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What stands above the table and below it."""

    title: str  #: the schedule file
    store: str
    zone: tzinfo
    ends_s: float | None = None  #: monotonic; None: no end
    stopping: str | None = None  #: what is waited for, once the end has begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How much there is room for."""

    width: int
    height: int

    @property
    def wide(self) -> bool:
        """Room for times beside the countdowns."""
        return self.width >= 110

    @property
    def narrow(self) -> bool:
        """No room for a column of its own for what is running."""
        return self.width < 60

    @property
    def schedules(self) -> bool:
        """Room for schedules in words."""
        return self.width >= 76


# --- cells ----------------------------------------------------------------------------------------------------------


def _next_cell(row: Row, now: datetime, zone: tzinfo, layout: Layout) -> Text:
    if row.state is None:
        return Text("over", style="dim")
    if row.state is JobState.BROKEN:
        return Text("set aside", style="bold red")
    if row.state is JobState.PAUSED:
        return Text("paused", style="yellow")
    if row.next_run is None:
        return Text("-", style="dim")
    left = countdown((row.next_run - now).total_seconds(), brief=layout.narrow)
    if not layout.wide:
        return Text(left)
    return Text.assemble(f"{instant(row.next_run.astimezone(zone), now):<11}", (left, "cyan"))


def _last_cell(row: Row, now: datetime, layout: Layout) -> Text:
    last = row.last
    if last is None:
        return Text("-", style="dim")
    style = "green" if last.good else "yellow" if last.word.startswith("skipped") else "bold red"
    cell = Text(last.word, style=style)
    if last.duration_s is not None:
        cell.append(f"  {duration(last.duration_s)}", style="default")
    if layout.wide:
        cell.append(f"  {ago((now - last.at).total_seconds())}", style="dim")
    return cell


def _now_cell(row: Row) -> Text:
    begun = [run.since_s for run in row.running if run.since_s is not None]
    if begun:
        longest = duration(monotonic() - min(begun))
        many = f"{len(begun)} x " if len(begun) > 1 else ""
        return Text(f"{many}{longest}", style="bold blue")
    if row.running:
        return Text("waiting", style="yellow")
    return Text("")


def table(rows: Sequence[Row], now: datetime, zone: tzinfo, layout: Layout) -> Table:
    """The jobs, one line each. Exactly ``len(rows) + 1`` lines high."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold underline", expand=False)
    names = max((len(one_line(row.name)) for row in rows), default=3)
    if layout.wide:
        widths = {"Next run": 25, "Last run": 30, "Running": 11}
    elif layout.narrow:
        widths = {"Next run": 9, "Last run": 17}
    else:
        widths = {"Next run": 14, "Last run": 19, "Running": 10}
    left = layout.width - sum(widths.values()) - 2 * len(widths)
    job = max(8, min(names, left // 2 if layout.schedules else left))
    made.add_column("Job", width=job, no_wrap=True, overflow="ellipsis")
    if layout.schedules:
        longest = max((len(one_line(row.schedule)) for row in rows), default=8)
        room = max(8, left - job - 2)
        made.add_column("Schedule", width=max(8, min(longest, room)), no_wrap=True, overflow="ellipsis")
    for title, width in widths.items():
        made.add_column(title, width=width, no_wrap=True, overflow="ellipsis")
    for row in rows:
        cells = [Text(one_line(row.name))]
        if layout.schedules:
            cells.append(Text(one_line(row.schedule), style="dim"))
        cells.append(_next_cell(row, now, zone, layout))
        if not layout.narrow:
            cells += [_last_cell(row, now, layout), _now_cell(row)]
        elif row.running:
            cells.append(Text.assemble(("running ", "bold blue"), _now_cell(row)))
        else:
            cells.append(_last_cell(row, now, layout))
        made.add_row(*cells)
    return made


# --- the whole of it ------------------------------------------------------------------------------------------------


def _chosen(rows: Sequence[Row], room: int) -> list[Row]:
    """The rows to show when there is room for ``room``: those with something to tell and those due soonest, in their order."""
    if len(rows) <= room:
        return list(rows)

    def rank(row: Row) -> tuple[bool, bool, float]:
        troubled = row.state is JobState.BROKEN or (row.last is not None and not row.last.good)
        soon = row.next_run.timestamp() if row.next_run is not None else float("inf")
        return not row.running, not troubled, soon

    best = {(row.store, row.id) for row in sorted(rows, key=rank)[: max(1, room - 1)]}
    return [row for row in rows if (row.store, row.id) in best]


_STYLES = {Level.ERROR: "red", Level.WARNING: "yellow", Level.INFO: "dim"}


def _message_lines(message: Message, zone: tzinfo, width: int) -> list[Text]:
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(f"{message.at.astimezone(zone):%H:%M:%S}  ", style="dim")
    if message.job is not None:
        head.append(f"{one_line(message.job)}  ", style="bold")
    head.append(one_line(message.text), style=_STYLES.get(message.level, ""))
    if message.count > 1:
        head.append(f"  ({message.count} times)", style="dim")
    head.truncate(width, overflow="ellipsis")
    lines = [head]
    for line in message.lines:
        more = Text(f"          {line}", style="dim", no_wrap=True)
        more.truncate(width, overflow="ellipsis")
        lines.append(more)
    return lines


def _one(width: int, *parts: str | tuple[str, str]) -> Text:
    text = Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
    text.truncate(width, overflow="ellipsis")
    return text


def render(view: View, heading: Heading, layout: Layout, now: datetime | None = None) -> RenderableType:
    """The whole screen, at most ``layout.height`` lines."""
    at = now or datetime.now(UTC)
    zone, width = heading.zone, layout.width
    clock = f"{at.astimezone(zone):%H:%M:%S %Z}"
    name = ("schedcore " if width >= 90 else "", "bold")
    title = _one(max(1, width - len(clock) - 1), name, heading.title, (f"  {view.summary}", "cyan"))
    title.append(" " * max(1, width - title.cell_len - len(clock)) + clock, style="dim")
    messages: list[Text] = []
    for message in view.messages:
        messages += _message_lines(message, zone, width)
    room = max(1, layout.height - 4)  # without title, blank, header of the table and foot
    below: list[Text] = []
    most = max(room - len(view.rows), min(8, room // 2))
    if messages and most > 2:
        below = [Text(""), _one(width, ("Messages, latest first", "bold underline")), *messages[: most - 2]]
    room -= len(below)
    rows = _chosen(view.rows, room)
    left_out = len(view.rows) - len(rows)
    if left_out and room > 1:
        below.insert(0, _one(width, (f"… and {amount(left_out, 'more job')}", "dim")))
        room -= 1
    filling = [Text("")] * max(0, room - len(rows))
    parts: list[RenderableType] = [title, Text(""), table(rows, at, zone, layout), *below, *filling]
    parts.append(_foot(heading, width))
    return Group(*parts)


def _foot(heading: Heading, width: int) -> Text:
    if heading.stopping is not None:
        return _one(width, (heading.stopping, "bold yellow"))
    parts: list[str | tuple[str, str]] = [("Ctrl-C", "bold"), (" stops it; what runs then may finish", "dim")]
    if heading.ends_s is not None:
        parts += [(f" · ends {countdown(heading.ends_s - monotonic())}", "dim")]
    parts += [(f" · store {heading.store}", "dim")]
    return _one(width, *parts)


class Screen:
    """The terminal while the table is on it."""

    def __init__(self, console: Console, board: Board, heading: Heading) -> None:
        self.heading = heading
        self._console = console
        self._board = board
        self._live: Live | None = None

    def _layout(self) -> Layout:
        return Layout(width=self._console.width, height=self._console.height)

    def open(self) -> None:
        """Take the screen."""
        live = Live(
            render(self._board.view(), self.heading, self._layout()),
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start(refresh=True)
        self._live = live

    def refresh(self) -> None:
        """Show how things stand. A terminal that is gone is left alone from then on."""
        if self._live is None:
            return
        try:
            self._live.update(render(self._board.view(), self.heading, self._layout()), refresh=True)
        except OSError:
            self._live = None

    def close(self) -> None:
        """Give the screen back, with the last state of the table on it."""
        live, self._live = self._live, None
        if live is None:
            return
        with contextlib.suppress(OSError):
            live.stop()
            view = self._board.view()
            layout = Layout(width=self._console.width, height=len(view.rows) + 1)
            self._console.print(table(view.rows, datetime.now(UTC), self.heading.zone, layout))


class _ToBoard(io.RawIOBase):
    """The bytes below a standard stream: their lines go to the board, under the job that wrote them."""

    def __init__(self, board: Board, fileno: int) -> None:
        self._board = board
        self._fileno = fileno
        self._rest: dict[str | None, bytes] = {}

    def fileno(self) -> int:
        return self._fileno

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        run = current_run.get()
        job = None if run is None else run.job.name
        *lines, rest = (self._rest.pop(job, b"") + bytes(data)).split(b"\n")
        if rest:
            self._rest[job] = rest[-_LONGEST:]
        for line in lines:
            if line.strip():
                self._board.printed(job, line[-_LONGEST:].decode("utf-8", "replace"))
        return len(data)


def _stream_to(board: Board, real: TextIO) -> TextIO:
    # Written through, so that a line is known to be of the job that wrote it.
    buffered = io.BufferedWriter(_ToBoard(board, real.fileno()), buffer_size=1)
    return io.TextIOWrapper(
        buffered, encoding="utf-8", errors="replace", newline="\n", line_buffering=True, write_through=True
    )


@contextlib.contextmanager
def captured(board: Board) -> Iterator[None]:
    """Standard output and error, where they are the terminal, go to the board meanwhile."""
    out, err = sys.stdout, sys.stderr
    if out.isatty():
        sys.stdout = _stream_to(board, out)
    if err.isatty():
        sys.stderr = _stream_to(board, err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err

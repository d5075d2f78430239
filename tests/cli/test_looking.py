"""How often the table of ``schedcore run`` asks for the next run times."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from schedcore.cli import runner


class Clock:
    """Both clocks of the runner, moved by hand."""

    def __init__(self) -> None:
        self.monotonic_s = 1000.0
        self.thread_s = 0.0
        self.looks = 0

    def run(self, passes_s: float, works_s: float) -> Any:
        """A run whose looks take so long, and so much of the processor's time."""

        def get_jobs() -> list[Any]:
            self.looks += 1
            self.monotonic_s += passes_s
            self.thread_s += works_s
            return []

        board: Any = SimpleNamespace(take_stale=lambda: True, show=lambda jobs, words: None)
        none: Any = None
        return runner._Run(
            file=SimpleNamespace(jobs=[]),  # type: ignore[arg-type]
            options=none,
            places=[],
            scheduler=SimpleNamespace(get_jobs=get_jobs),  # type: ignore[arg-type]
            board=board,
            bell=none,
            signals=none,
            say=none,
            screen=SimpleNamespace(),  # type: ignore[arg-type]
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runner, "monotonic", lambda: clock.monotonic_s)
    monkeypatch.setattr(runner, "thread_time", lambda: clock.thread_s)
    return clock


@pytest.mark.parametrize(("works_s", "until_s"), [(0.001, 0.1), (0.05, 1.0)])
def test_what_takes_its_time_is_asked_less_often(clock: Clock, works_s: float, until_s: float) -> None:
    run = clock.run(works_s, works_s)
    run.look()
    clock.monotonic_s += until_s - 0.01
    run.look()
    assert clock.looks == 1
    clock.monotonic_s += 0.02
    run.look()
    assert clock.looks == 2


def test_a_store_that_was_slow_to_answer_is_soon_asked_again(clock: Clock) -> None:
    run = clock.run(3.0, 0.001)
    run.look()
    clock.monotonic_s += 0.2
    run.look()
    assert clock.looks == 2

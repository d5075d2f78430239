"""The clock that is moved by hand."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from schedcore.clock import Timeline
from schedcore.errors import ConfigurationError
from schedcore.testing import HandClock


def test_it_stands_still_until_it_is_moved() -> None:
    clock = HandClock("2026-03-01T12:00:00+01:00")
    assert clock.now() == datetime(2026, 3, 1, 11, tzinfo=UTC)
    wall_us, monotonic_s = clock.wall_us(), clock.monotonic_s()
    assert (clock.wall_us(), clock.monotonic_s()) == (wall_us, monotonic_s)
    clock.move(1.5)
    assert clock.wall_us() - wall_us == 1_500_000
    assert clock.monotonic_s() - monotonic_s == 1.5


def test_a_move_between_the_looks_at_its_two_faces_is_no_step() -> None:
    clock = HandClock()
    timeline = Timeline(clock)
    clock.wall_us()
    clock.move(3600)
    assert clock.monotonic_s() == 0.0  # of the instant that was seen on the wall
    assert clock.monotonic_s() == 3600.0
    stop = threading.Event()

    def move() -> None:
        while not stop.is_set():
            clock.move(3600)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        assert [step_us for _, step_us in (timeline.look() for _ in range(5000)) if step_us] == []
    finally:
        stop.set()
        mover.join()


def test_it_does_not_go_back() -> None:
    with pytest.raises(ConfigurationError, match="forward"):
        HandClock().move(-1)
    with pytest.raises(ValueError, match="naive"):
        HandClock("2026-01-01")

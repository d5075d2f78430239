"""The two timelines, and the rules for a wall clock that does not just run."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcore.clock import STEP_US, Now, SystemClock, Timeline, from_datetime, to_datetime
from schedcore.errors import ConfigurationError
from schedcore.testing import VirtualClock, VirtualWakeup
from schedcore.wakeup import MAX_WAIT_S


def test_instants_are_exact() -> None:
    at = datetime(2026, 3, 29, 2, 59, 59, 999999, tzinfo=timezone(timedelta(hours=1)))
    assert to_datetime(from_datetime(at)) == at
    assert from_datetime(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)) == -1
    with pytest.raises(ValueError, match="a naive datetime names no instant"):
        from_datetime(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(OverflowError):
        to_datetime(2**60)


def test_the_system_clock_shows_the_time() -> None:
    clock = SystemClock()
    before = datetime.now(UTC)
    shown = to_datetime(clock.wall_us())
    assert before - timedelta(milliseconds=1) <= shown <= datetime.now(UTC)
    assert clock.monotonic_s() <= clock.monotonic_s()


class TestTimeline:
    def test_both_timelines_run_with_the_clock(self) -> None:
        clock = VirtualClock()
        line = Timeline(clock)
        clock.advance(100)
        now, step_us = line.look()
        assert now.wall_us == now.steady_us == clock.wall_us()
        assert step_us == 0
        assert line.now() == now

    @pytest.mark.parametrize("step_s", [-86400 * 365, -7200, -1, 1, 3600, 86400 * 3653])
    def test_a_step_is_seen_and_measured(self, step_s: int) -> None:
        clock = VirtualClock()
        line = Timeline(clock)
        clock.advance(10)
        clock.step(step_s)
        clock.advance(5)
        now, step_us = line.look()
        assert step_us == step_s * 1_000_000
        assert now.wall_us == clock.wall_us()
        assert line.look() == (now, 0)

    def test_the_steady_timeline_goes_on_through_a_step_back(self) -> None:
        clock = VirtualClock()
        line = Timeline(clock)
        start_us = clock.wall_us()
        clock.step(-120)
        clock.advance(7)
        now, _ = line.look()
        assert now == Now(start_us - 113_000_000, start_us + 7_000_000)
        assert line.now() == now

    def test_it_waits_for_the_wall_to_catch_up(self) -> None:
        clock = VirtualClock()
        line = Timeline(clock)
        clock.step(-120)
        line.look()
        clock.step(50)
        now, _ = line.look()
        assert now.steady_us - now.wall_us == 70_000_000
        clock.step(100)
        now, _ = line.look()
        assert now.steady_us == now.wall_us

    def test_drift_is_no_step(self) -> None:
        clock = VirtualClock()
        line = Timeline(clock)
        for _ in range(1000):
            clock.advance(30)
            clock.step(0.4 * STEP_US / 1e6)
            assert line.look()[1] == 0

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from(["advance", "step", "suspend"]), st.integers(-10_000, 10_000)), max_size=20)
    )
    def test_the_steady_timeline_never_goes_back(self, moves: list[tuple[str, int]]) -> None:
        clock = VirtualClock()
        line = Timeline(clock)
        steady_us = line.look()[0].steady_us
        for move, seconds in moves:
            getattr(clock, move)(seconds if move == "step" else abs(seconds))
            now, _ = line.look()
            assert now.steady_us >= steady_us
            assert now.steady_us >= now.wall_us == clock.wall_us()
            steady_us = now.steady_us

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(st.lists(st.integers(-499, 499), max_size=60), st.lists(st.integers(0, 3), max_size=60))
    def test_drift_does_not_set_the_steady_timeline_back_by_more_than_itself(
        self, drifts_ms: list[int], pauses_s: list[int]
    ) -> None:
        clock = VirtualClock()
        line = Timeline(clock)
        for drift_ms, pause_s in zip(drifts_ms, pauses_s, strict=False):
            before = line.look()[0]
            clock.advance(pause_s)
            clock.step(drift_ms / 1000)
            now, step_us = line.look()
            assert step_us == 0
            assert now.steady_us - before.steady_us == pause_s * 1_000_000 + drift_ms * 1000


class TestVirtualClock:
    def test_begins_where_it_is_told(self) -> None:
        assert VirtualClock("2026-03-29T01:30:00+01:00").now() == datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
        at = datetime(1970, 1, 1, tzinfo=UTC)
        assert VirtualClock(at).wall_us() == 0
        assert repr(VirtualClock(at)) == "<VirtualClock 1970-01-01T00:00:00+00:00 (monotonic 0.000000 s)>"

    @pytest.mark.parametrize("start", ["2026-01-01", "soon", 3, datetime(2026, 1, 1)])  # noqa: DTZ001
    def test_needs_an_instant(self, start: object) -> None:
        with pytest.raises(ConfigurationError, match=r"names no instant|is not ISO 8601"):
            VirtualClock(start)  # type: ignore[arg-type]

    def test_advance_moves_both_step_and_suspend_the_wall_alone(self) -> None:
        clock = VirtualClock()
        wall_us = clock.wall_us()
        clock.advance(1.5)
        assert (clock.wall_us() - wall_us, clock.monotonic_s()) == (1_500_000, 1.5)
        clock.step(-10)
        clock.suspend(3)
        assert (clock.wall_us() - wall_us, clock.monotonic_s()) == (-5_500_000, 1.5)

    def test_calls_at_the_instant_and_in_order(self) -> None:
        clock = VirtualClock()
        seen: list[tuple[str, float]] = []

        def note(name: str) -> None:
            seen.append((name, clock.monotonic_s()))

        clock.call_later(2, lambda: note("c"))
        clock.call_later(1, lambda: note("a"))
        clock.call_later(1, lambda: clock.call_soon(lambda: note("soon")))
        clock.call_later(1, lambda: note("b"))
        gone = clock.call_later(1, lambda: note("cancelled"))
        gone.cancel()
        gone.cancel()
        assert not gone.pending
        clock.call_soon(lambda: note("first"))
        clock.advance(2)
        assert seen == [("first", 0), ("a", 1), ("soon", 1), ("b", 1), ("c", 2)]
        assert clock.next_timer_us() is None
        assert not clock.run_next()

    def test_advance_from_inside_only_moves_the_clocks(self) -> None:
        clock = VirtualClock()
        seen: list[float] = []
        clock.call_later(1, lambda: clock.advance(54))
        clock.call_later(2, lambda: seen.append(clock.monotonic_s()))
        clock.advance(10)
        assert seen == [55]
        assert clock.monotonic_s() == 55

    def test_what_a_call_raises_comes_out(self) -> None:
        clock = VirtualClock()
        clock.call_later(1, lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            clock.advance(5)
        assert clock.monotonic_s() == 1
        assert not clock.dispatching

    @pytest.mark.parametrize(
        ("call", "text"),
        [
            (lambda clock: clock.advance(-1), "time only passes forward: advance(-1)"),
            (lambda clock: clock.suspend(-1), "a machine cannot sleep backwards: suspend(-1)"),
            (lambda clock: clock.advance("1 h"), "'1 h' is not a number of seconds"),
            (lambda clock: clock.advance(float("nan")), "nan is not a number of seconds"),
        ],
    )
    def test_refuses(self, call: object, text: str) -> None:
        with pytest.raises(ConfigurationError, match=re.escape(text)):
            call(VirtualClock())  # type: ignore[operator]


class TestVirtualWakeup:
    def test_goes_off_once_at_its_instant(self) -> None:
        clock = VirtualClock()
        wakeup = VirtualWakeup(clock)
        seen: list[float] = []
        wakeup.arm(5, lambda: seen.append(-1))
        wakeup.arm(2, lambda: seen.append(clock.monotonic_s()))
        armed_s = [wakeup.armed_s]
        clock.advance(100)
        assert seen == [2]
        assert [*armed_s, wakeup.armed_s] == [2, None]
        wakeup.arm(1, lambda: seen.append(-1))
        wakeup.disarm()
        wakeup.disarm()
        clock.advance(100)
        assert seen == [2]

    def test_wakes_within_the_cap_after_a_step(self) -> None:
        clock = VirtualClock()
        wakeup = VirtualWakeup(clock)
        seen: list[float] = []
        wakeup.arm(1e6, lambda: seen.append(clock.monotonic_s()))
        clock.advance(2.5 * MAX_WAIT_S)
        clock.step(3600)
        clock.step(-7200)
        clock.advance(1e7)
        assert seen == [3 * MAX_WAIT_S]

    def test_a_step_does_not_delay_a_wake_that_is_near(self) -> None:
        clock = VirtualClock()
        wakeup = VirtualWakeup(clock)
        seen: list[float] = []
        wakeup.arm(12, lambda: seen.append(clock.monotonic_s()))
        clock.suspend(3600)
        clock.advance(100)
        assert seen == [12]

    def test_blocking_calls_inline(self) -> None:
        clock = VirtualClock()
        wakeup = VirtualWakeup(clock)
        seen: list[object] = []
        wakeup.run_blocking(lambda: 7, lambda result, error: seen.append((result, error)))
        wakeup.run_blocking(lambda: 1 // 0, lambda result, error: seen.append((result, type(error))))
        assert seen == []
        clock.run_ready()
        assert seen == [(7, None), (None, ZeroDivisionError)]

    def test_blocking_calls_by_hand(self) -> None:
        clock = VirtualClock()
        wakeup = VirtualWakeup(clock, blocking="queued")
        seen: list[object] = []
        wakeup.run_blocking(lambda: 7, lambda result, error: seen.append(result))
        clock.advance(1000)
        assert seen == []
        assert len(wakeup.blocked) == 1
        assert wakeup.run_blocked()
        assert not wakeup.run_blocked()
        clock.run_ready()
        assert seen == [7]

    def test_closed_is_closed(self) -> None:
        clock = VirtualClock()
        wakeup = VirtualWakeup(clock)
        wakeup.arm(1, lambda: pytest.fail("it was closed"))
        wakeup.close()
        with pytest.raises(RuntimeError, match="the virtual loop is closed"):
            wakeup.call_soon(print)
        clock.step(5)
        clock.advance(5)

    def test_refuses_what_it_does_not_know(self) -> None:
        with pytest.raises(ConfigurationError, match="blocking must be 'inline' or 'queued', not 'later'"):
            VirtualWakeup(VirtualClock(), blocking="later")

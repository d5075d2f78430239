"""Asking in datetimes, as 3.x does, gives what asking in integers gives, in whatever order one asks."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcore.clock import from_datetime, to_datetime
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.base import GridTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.interval import IntervalTrigger

BERLIN = ZoneInfo("Europe/Berlin")
calm = settings(deadline=None, derandomize=True, max_examples=300)

TRIGGERS: tuple[GridTrigger, ...] = (
    CronTrigger(second="*/7", timezone=BERLIN),
    CronTrigger(hour=2, minute=30, timezone=BERLIN, dst="literal"),
    IntervalTrigger(seconds=0.000007, start_date="0001-01-05", timezone="America/New_York"),
    IntervalTrigger(minutes=5, start_date="1969-12-30 12:00:00.123457", timezone=BERLIN),
    IntervalTrigger(days=1, start_date="2026-03-01", timezone="UTC"),
    IntervalTrigger(seconds=0.3, start_date="2026-03-01", timezone="UTC-03:30"),
)
instants = (
    st.integers(0, 2**31 * 1_000_000) | st.integers(FIRST_US, LAST_US - 10**12) | st.integers(-(10**9), 10**9)
    | st.integers(2**31 * 1_000_000 - 10**9, 2**31 * 1_000_000 + 10**9)
)  # fmt: skip


@calm
@given(trigger=st.sampled_from(TRIGGERS), at_us=instants)
def test_datetimes_are_exact(trigger: GridTrigger, at_us: int) -> None:
    at: datetime | None = to_datetime(at_us).astimezone(trigger.timezone)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(3):
        expected_us = trigger.next_us(at_us)
        at = trigger.get_next_fire_time(at, now)
        if expected_us is None:
            assert at is None
            return
        expected = to_datetime(expected_us).astimezone(trigger.timezone)
        assert at is not None
        assert from_datetime(at) == expected_us
        assert (at.replace(tzinfo=None), at.fold, at.tzinfo) == (
            expected.replace(tzinfo=None),
            expected.fold,
            trigger.timezone,
        )
        at_us = expected_us


def test_the_order_of_the_questions_changes_no_answer() -> None:
    trigger = CronTrigger(minute="*/5", timezone=BERLIN)
    now = datetime(2026, 10, 25, 12, 30, tzinfo=UTC)
    first = trigger.get_next_fire_time(None, now)
    assert first == now
    second = trigger.get_next_fire_time(first, now)
    assert second == now + timedelta(minutes=5)
    # An older answer, an equal one that is another object, and the last one again.
    assert trigger.get_next_fire_time(first, now) == second
    assert first is not None
    assert second is not None
    assert trigger.get_next_fire_time(second.astimezone(UTC), now) == now + timedelta(minutes=10)
    assert trigger.get_next_fire_time(second, now) == now + timedelta(minutes=10)
    with pytest.raises(ValueError, match="naive"):
        trigger.get_next_fire_time(second.replace(tzinfo=None), now)


def test_what_was_asked_is_no_part_of_the_value() -> None:
    one, other = (CronTrigger(minute="*/5", timezone=BERLIN) for _ in range(2))
    assert one.get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC)) is not None
    assert one == other
    assert hash(one) == hash(other)
    assert one.__getstate__() == other.__getstate__()
    assert pickle.dumps(one) == pickle.dumps(other)

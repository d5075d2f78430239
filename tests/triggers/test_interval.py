"""Intervals: an exact grid in elapsed time."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedcore
from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._zones import LAST_US
from schedcore.triggers.interval import IntervalTrigger

calm = settings(deadline=None, derandomize=True, max_examples=200)


def walk(trigger: IntervalTrigger, number: int) -> list[str]:
    """The first fire times in the trigger's zone, with their offsets."""
    previous, answers = None, []
    now = trigger.start_date
    for _ in range(number):
        previous = trigger.get_next_fire_time(previous, now)
        assert previous is not None
        answers.append(previous.strftime("%m-%d %H:%M") + previous.isoformat()[-6:])
    return answers


@pytest.mark.parametrize(
    ("arguments", "zone", "answers"),
    [
        pytest.param(
            {"days": 7, "start_date": "2019-03-26 16:00"},
            "Europe/Brussels",
            ["03-26 16:00+01:00", "04-02 17:00+02:00"],
            id="I1-elapsed-time",
        ),
        pytest.param(
            {"days": 1, "start_date": "2024-03-30 02:30"},
            "Europe/Berlin",
            ["03-30 02:30+01:00", "03-31 03:30+02:00", "04-01 03:30+02:00"],
            id="I2-over-a-gap",
        ),
        pytest.param(
            {"hours": 2, "start_date": "2026-03-08 00:00"},
            "America/Toronto",
            ["03-08 00:00-05:00", "03-08 03:00-04:00", "03-08 05:00-04:00", "03-08 07:00-04:00"],
            id="I3-two-real-hours",
        ),
        pytest.param(
            {"minutes": 30, "start_date": "2024-10-27 00:30"},
            "Europe/London",
            [
                "10-27 00:30+01:00",
                "10-27 01:00+01:00",
                "10-27 01:30+01:00",
                "10-27 01:00+00:00",
                "10-27 01:30+00:00",
                "10-27 02:00+00:00",
            ],
            id="I4-over-an-overlap",
        ),
        pytest.param(
            {"seconds": 60, "start_date": "2024-01-01 02:02"},
            "UTC",
            ["01-01 02:02+00:00", "01-01 02:03+00:00", "01-01 02:04+00:00"],
            id="I11-no-drift",
        ),
    ],
)
def test_reported_case(arguments: dict[str, Any], zone: str, answers: list[str]) -> None:
    assert walk(IntervalTrigger(timezone=zone, **arguments), len(answers)) == answers


def test_an_hour_of_polls_does_not_move_the_grid() -> None:
    """I11: asked every second for an hour, the grid stays where it was."""
    trigger = IntervalTrigger(seconds=60, start_date="2024-01-01 02:02:00", timezone="UTC")
    start_us = from_datetime(trigger.start_date)
    fires = {trigger.next_us(start_us + second * 1_000_000 + 123_456) for second in range(3600)}
    assert fires == {start_us + minute * 60_000_000 for minute in range(1, 61)}


def test_20_hertz_for_a_minute_is_1200_fires() -> None:
    trigger = IntervalTrigger(seconds=0.05, start_date="2024-01-01", timezone="UTC")
    start_us = from_datetime(trigger.start_date)
    assert trigger.interval_us == 50_000
    assert trigger.count_us(start_us - 1, start_us - 1 + 60_000_000) == 1200
    assert trigger.last_us(start_us + 59_999_999) == start_us + 59_950_000


@pytest.mark.parametrize(
    ("arguments", "interval_us"),
    [
        ({"seconds": 5}, 5_000_000),
        ({"seconds": 0.1}, 100_000),
        ({"seconds": 1e-6}, 1),
        ({"minutes": 0.5, "seconds": 0.000_001}, 30_000_001),
        ({"weeks": 1, "days": 2, "hours": 3, "minutes": 4, "seconds": 5}, 788_645_000_000),
        ({"hours": 1, "minutes": -30}, 1_800_000_000),
        ({"seconds": Fraction(1, 3)}, 333_333),
        ({"seconds": Decimal("0.25")}, 250_000),
        ({"weeks": 400_000}, 400_000 * 7 * 86_400_000_000),
    ],
    ids=str,
)
def test_lengths_are_exact(arguments: dict[str, Any], interval_us: int) -> None:
    trigger = IntervalTrigger(timezone="UTC", **arguments)
    assert trigger.interval_us == interval_us
    assert trigger.interval == timedelta(microseconds=interval_us)


@pytest.mark.parametrize(
    ("arguments", "field", "message"),
    [
        (
            {},
            "seconds",
            "the interval is 0 seconds; weeks, days, hours, minutes and seconds must add up to more than zero",
        ),
        ({"seconds": -5}, "seconds", "the interval is -5 seconds"),
        ({"seconds": 1e-9}, "seconds", "the interval is 0 seconds"),
        ({"seconds": "5"}, "seconds", "seconds: '5' is not a finite number; give one such as 5 or 0.5"),
        ({"weeks": [1]}, "weeks", "weeks: [1] is not a finite number"),
        ({"hours": b"1"}, "hours", "hours: b'1' is not a finite number"),
        ({"minutes": float("nan")}, "minutes", "minutes: nan is not a finite number"),
        ({"days": float("inf")}, "days", "days: inf is not a finite number"),
        ({"hours": None}, "hours", "hours: None is not a finite number"),
        ({"weeks": 10**9}, "seconds", "the interval is longer than 9,990 years"),
        ({"weeks": 10**400}, "seconds", "the interval is longer than 9,990 years"),
        ({"seconds": 1, "timezone": "Europe/Berln"}, "timezone", "did you mean 'Europe/Berlin'?"),
        ({"seconds": 1, "timezone": 5}, "timezone", "timezone: 5 is of type int; give an IANA name"),
        ({"seconds": 1, "start_date": "noon"}, "start_date", "start_date: 'noon' is not a date"),
        (
            {"days": 1, "start_date": "2025-03-30 01:30", "timezone": "Europe/London"},
            "start_date",
            "2025-03-30 01:30:00 does not exist in Europe/London: clocks jump over it to 2025-03-30 02:00:00+01:00",
        ),
        (
            {"seconds": 1, "start_date": "2025-02-01", "end_date": "2025-01-01", "timezone": "UTC"},
            "end_date",
            "end_date: 2025-01-01 is before the start_date 2025-02-01: it would never fire",
        ),
        ({"seconds": 1, "jitter": -1}, "jitter", "jitter: -1 cannot be used; give the longest delay in seconds"),
        ({"seconds": 1, "jitter": "5"}, "jitter", "jitter: '5' cannot be used"),
        ({"seconds": 1, "jitter": float("nan")}, "jitter", "jitter: nan cannot be used"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        IntervalTrigger(**arguments)
    assert message in str(caught.value)
    assert caught.value.field == field


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError):
        IntervalTrigger(second=5)  # type: ignore[arg-type]


def test_without_a_start_the_first_fire_time_is_one_interval_from_now() -> None:
    before_us = time.time_ns() // 1000
    trigger = IntervalTrigger(hours=1)
    after_us = time.time_ns() // 1000
    assert before_us <= from_datetime(trigger.start_date) - 3_600_000_000 <= after_us


def test_a_start_that_was_left_out_is_bound_to_the_schedulers_clock() -> None:
    trigger = IntervalTrigger(minutes=5, end_date="2040-01-01", timezone="Asia/Tokyo", jitter=3)
    bound = trigger.anchored(1_000_000_000_000_000)
    assert bound.next_us(1_000_000_000_000_000) == 1_000_000_300_000_000
    assert (bound.interval_us, bound.end_us, bound.jitter_us) == (trigger.interval_us, trigger.end_us, 3_000_000)
    assert bound.timezone is trigger.timezone
    # It may be bound again (a schedule that is added to another scheduler).
    assert bound.anchored(0).next_us(0) == 300_000_000
    given = IntervalTrigger(minutes=5, start_date="2024-01-01", timezone="UTC")
    assert given.anchored(5) is given


def test_same_rule() -> None:
    floating = IntervalTrigger(minutes=5, timezone="UTC")
    assert floating.same_rule(IntervalTrigger(seconds=300, timezone=ZoneInfo("UTC")).anchored(7))
    assert pickle.loads(pickle.dumps(floating.anchored(9))).same_rule(floating)
    assert not floating.same_rule(IntervalTrigger(minutes=6, timezone="UTC"))
    assert not floating.same_rule(IntervalTrigger(minutes=5, timezone="UTC", jitter=1))
    assert not floating.same_rule(IntervalTrigger(minutes=5, timezone="Europe/Berlin"))
    assert not floating.same_rule(IntervalTrigger(minutes=5, timezone="UTC", end_date="2040-01-01"))
    given = IntervalTrigger(minutes=5, start_date="2024-01-01", timezone="UTC")
    assert given.same_rule(IntervalTrigger(minutes=5, start_date=date(2024, 1, 1), timezone="UTC"))
    assert not given.same_rule(IntervalTrigger(minutes=5, start_date="2024-01-02", timezone="UTC"))
    # A start that was added or taken away is another wish.
    assert not given.same_rule(floating)
    assert not floating.same_rule(given)


def test_start_and_end_are_inclusive() -> None:
    trigger = IntervalTrigger(
        seconds=10, start_date="2024-01-01T00:00:00Z", end_date="2024-01-01T00:00:30Z", timezone="UTC"
    )
    start_us = from_datetime(datetime(2024, 1, 1, tzinfo=UTC))
    ten = 10_000_000
    assert trigger.next_us(-(2**70)) == start_us
    assert trigger.next_us(start_us - 1) == start_us
    assert trigger.next_us(start_us + 3 * ten - 1) == start_us + 3 * ten
    assert trigger.next_us(start_us + 3 * ten) is None
    assert trigger.last_us(start_us - 1) is None
    assert trigger.last_us(start_us) == start_us
    assert trigger.last_us(2**70) == start_us + 3 * ten
    assert trigger.count_us(-(2**70), 2**70) == 4
    assert trigger.count_us(start_us, start_us + ten) == 1
    assert trigger.count_us(start_us + ten, start_us) == 0
    assert trigger.end_us == start_us + 3 * ten


def test_the_end_of_time() -> None:
    trigger = IntervalTrigger(days=1, start_date="2024-01-01", timezone="UTC")
    assert trigger.next_us(LAST_US) is None
    last_us = trigger.last_us(2**70)
    assert last_us is not None
    assert LAST_US - 86_400_000_000 < last_us <= LAST_US
    assert IntervalTrigger(weeks=500_000, timezone="UTC").next_us(0) is None


def test_ten_years_of_missed_seconds_cost_nothing() -> None:
    """K3 to K5: a jump from 1970 to now, and ten years on, is one question."""
    trigger = IntervalTrigger(seconds=1, start_date="1970-01-01", timezone="UTC")
    for year in (2024, 2034, 2200):
        now_us = from_datetime(datetime(year, 1, 1, tzinfo=UTC)) + 500_000
        assert tuple(trigger.backlog(0, now_us)) == (now_us // 1_000_000, now_us - 500_000, now_us + 500_000)


def test_asked_on_the_grid_the_answer_is_strictly_later() -> None:
    """K8: with a coarse clock, now is often a fire time."""
    trigger = IntervalTrigger(seconds=1, start_date="2024-01-01", timezone="UTC")
    now = trigger.start_date
    for _ in range(5):
        following = trigger.get_next_fire_time(now, now)
        assert following == now + timedelta(seconds=1)
        now = following


def test_the_zone_is_that_of_an_aware_start() -> None:
    start = datetime(2024, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert IntervalTrigger(hours=1, start_date=start).timezone == ZoneInfo("Asia/Tokyo")
    assert IntervalTrigger(hours=1, start_date=start, timezone="UTC").timezone is UTC


TRIGGERS = [
    IntervalTrigger(seconds=5),
    IntervalTrigger(seconds=0.05, timezone="Europe/Berlin"),
    IntervalTrigger(weeks=2, hours=1, start_date="2024-10-27T02:30+01:00", timezone="Europe/Berlin", jitter=2.5),
    IntervalTrigger(days=1, start_date="2024-01-01", end_date="2025-01-01", timezone="UTC+05:30"),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_round_trips(trigger: IntervalTrigger) -> None:
    restored = IntervalTrigger.__new__(IntervalTrigger)
    restored.__setstate__(trigger.__getstate__())
    for copy in (eval(repr(trigger)), pickle.loads(pickle.dumps(trigger)), restored):
        assert copy == trigger
        assert hash(copy) == hash(trigger)
        assert (str(copy), repr(copy)) == (str(trigger), repr(trigger))
    assert restored.__getstate__() == trigger.__getstate__()
    assert restored.same_rule(trigger)
    assert trigger != str(trigger)
    assert not trigger.same_rule(str(trigger))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "version 9; this release reads 3"),
        ({"interval_us": 0}, "0 for interval_us, which is no whole number"),
        ({"timezone": "Mars/Base"}, "no zone is called 'Mars/Base'"),
    ],
)
def test_wrong_states(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntervalTrigger.__new__(IntervalTrigger).__setstate__(TRIGGERS[0].__getstate__() | change)
    state = TRIGGERS[0].__getstate__()
    del state["start_us"]
    with pytest.raises(ValueError, match="lacks 'start_us'"):
        IntervalTrigger.__new__(IntervalTrigger).__setstate__(state)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"minutes": 5}, "every 5 minutes"),
        ({"seconds": 1}, "every second"),
        ({"hours": 1}, "every hour"),
        ({"minutes": 90}, "every 1 hour 30 minutes"),
        ({"weeks": 1}, "every 7 days"),
        ({"seconds": 0.05}, "every 0.05 seconds"),
        ({"hours": 1, "start_date": "2024-01-01"}, "every hour from 2024-01-01 00:00:00"),
        ({"hours": 1, "end_date": "2040-01-01"}, "every hour until 2040-01-01 00:00:00"),
    ],
)
def test_words(arguments: dict[str, Any], words: str) -> None:
    assert IntervalTrigger(timezone="UTC", **arguments).describe() == words


def test_text() -> None:
    trigger = IntervalTrigger(minutes=5, start_date="2024-01-01", timezone="Europe/Berlin")
    assert str(trigger) == "interval[0:05:00]"
    assert (
        repr(trigger) == "IntervalTrigger(minutes=5, start_date='2024-01-01T00:00:00+01:00', timezone='Europe/Berlin')"
    )


def test_a_trigger_is_a_small_value() -> None:
    trigger = TRIGGERS[0]
    with pytest.raises(
        AttributeError, match="triggers are values: interval_us cannot be set; make a new IntervalTrigger"
    ):
        trigger.interval_us = 1
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del trigger.timezone
    assert not hasattr(trigger, "__dict__")
    assert sys.getsizeof(trigger) <= 80
    assert trigger.elapsed is True
    assert IntervalTrigger(minutes=7).interval_us is IntervalTrigger(minutes=7).interval_us
    assert (trigger.jitter, trigger.jitter_us, trigger.end_date, trigger.end_us) == (None, 0, None, None)
    assert TRIGGERS[2].jitter == 2.5
    assert TRIGGERS[3].end_date == datetime.fromisoformat("2025-01-01T00:00:00+05:30")


@calm
@given(
    interval_us=st.integers(1, 10**15),
    start_us=st.integers(0, 4 * 10**15),
    length_us=st.none() | st.integers(0, 10**15),
    after_us=st.integers(-(10**15), 8 * 10**15),
    upto_us=st.integers(-(10**15), 8 * 10**15),
)
def test_the_closed_forms_agree(
    interval_us: int, start_us: int, length_us: int | None, after_us: int, upto_us: int
) -> None:
    """Against the definition: start + k * interval, from start to end."""
    trigger = IntervalTrigger.__new__(IntervalTrigger)
    end_us = None if length_us is None else start_us + length_us
    trigger.__setstate__(
        {
            "version": 3,
            "timezone": "UTC",
            "interval_us": interval_us,
            "start_us": start_us,
            "end_us": end_us,
            "jitter_us": 0,
            "floating": False,
        }
    )

    def on_grid(instant_us: int) -> bool:
        return instant_us >= start_us and (instant_us - start_us) % interval_us == 0

    following = trigger.next_us(after_us)
    if following is None:
        assert end_us is not None
        assert end_us - max(after_us, start_us - 1) < interval_us
    else:
        assert on_grid(following)
        assert after_us < following
        assert following == start_us or following - after_us <= interval_us
        assert end_us is None or following <= end_us
        assert trigger.next_us(following - 1) == following == trigger.last_us(following)
        assert trigger.count_us(after_us, following) == 1
        assert trigger.count_us(after_us, following - 1) == 0
    last = trigger.last_us(upto_us)
    if last is not None:
        assert on_grid(last)
        assert last <= upto_us
        assert trigger.next_us(last - 1) == last
    number = trigger.count_us(after_us, upto_us)
    assert number >= 0
    assert (number > 0) == (following is not None and following <= upto_us)
    if number:
        assert following is not None
        assert last == following + (number - 1) * interval_us


def test_the_module_imports_no_heavy_module() -> None:
    heavy = ["asyncio", "dataclasses", "importlib.metadata", "inspect", "tzlocal", "zoneinfo"]
    code = f"import sys, schedcore.triggers.interval; print([name for name in {heavy} if name in sys.modules])"
    # Without the start-up files of site-packages, which import what they like; so the package is looked for where it is.
    path = [*sys.path, str(Path(schedcore.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {path}; {code}"], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])
@pytest.mark.parametrize(("minutes", "start"), [(7, "2011-12-20"), (45, "2026-03-20"), (1439, "2026-10-10")])
def test_answers_that_are_the_next_question_show_the_wall_clock(zone: str, minutes: int, start: str) -> None:
    """Also where the clocks change: never by adding to what the wall clock showed before."""
    trigger = IntervalTrigger(minutes=minutes, start_date=f"{start}T00:00:00Z", timezone=zone)
    other = IntervalTrigger(minutes=minutes, start_date=f"{start}T00:01:00Z", timezone=zone)
    at = theirs = trigger.start_date
    for number in range(1, 3000):
        answer = trigger.get_next_fire_time(at, at)
        assert answer is not None
        expected = (datetime.fromisoformat(f"{start}T00:00:00+00:00") + number * timedelta(minutes=minutes)).astimezone(
            ZoneInfo(zone)
        )
        assert (answer, answer.fold, answer.utcoffset()) == (expected, expected.fold, expected.utcoffset())
        assert answer.replace(tzinfo=None) == expected.replace(tzinfo=None)
        at = answer
        if number % 50 == 0:
            # One that is on another grid is asked with the same object.
            found = other.get_next_fire_time(at, theirs)
            assert found is not None
            assert found.astimezone(UTC) - at.astimezone(UTC) == timedelta(minutes=1)


def test_answers_that_are_the_next_question_keep_the_end() -> None:
    trigger = IntervalTrigger(minutes=5, start_date="2026-01-01T00:00Z", end_date="2026-01-01T00:17Z", timezone="UTC")
    at: datetime | None = trigger.start_date
    found = []
    while at is not None:
        found.append(at.minute)
        at = trigger.get_next_fire_time(at, at)
    assert found == [0, 5, 10, 15]

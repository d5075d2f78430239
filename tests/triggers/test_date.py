"""One fire time."""

from __future__ import annotations

import json
import pickle
import time
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers._zones import iso_text
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger


class NoOffset(tzinfo):
    """A zone that datetime takes for none."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None

    dst = utcoffset

    def tzname(self, when: datetime | None) -> None:
        return None

    def __repr__(self) -> str:
        return "a zone without offsets"


@pytest.mark.parametrize(
    ("run_date", "zone", "utc"),
    [
        ("2024-07-01", "Europe/Berlin", "2024-06-30T22:00:00+00:00"),
        (date(2024, 7, 1), "Europe/Berlin", "2024-06-30T22:00:00+00:00"),
        ("2024-07-01 12:30:15.25", "Europe/Berlin", "2024-07-01T10:30:15.250000+00:00"),
        ("2024-07-01T12:30:00Z", "Europe/Berlin", "2024-07-01T12:30:00+00:00"),
        ("2024-07-01T12:30:00-05:00", "Europe/Berlin", "2024-07-01T17:30:00+00:00"),
        (datetime(2024, 7, 1, 12, 30), "Asia/Kolkata", "2024-07-01T07:00:00+00:00"),  # noqa: DTZ001
        (datetime(2024, 7, 1, 12, 30, tzinfo=UTC), "Asia/Kolkata", "2024-07-01T12:30:00+00:00"),
        # A local time that comes twice is the first, unless its fold says otherwise.
        ("2024-10-27 02:30", "Europe/Berlin", "2024-10-27T00:30:00+00:00"),
        (datetime(2024, 10, 27, 2, 30, fold=1), "Europe/Berlin", "2024-10-27T01:30:00+00:00"),  # noqa: DTZ001
    ],
)
def test_dates(run_date: str | date | datetime, zone: str, utc: str) -> None:
    trigger = DateTrigger(run_date, zone)
    assert trigger.run_us == from_datetime(datetime.fromisoformat(utc))
    answer = trigger.get_next_fire_time(None, datetime(2000, 1, 1, tzinfo=UTC))
    assert answer is not None
    # Compared as instants: datetime calls no two times equal across zones when one of them is in an overlap.
    assert from_datetime(answer) == from_datetime(trigger.run_date) == trigger.run_us
    assert answer.tzinfo == ZoneInfo(zone)
    assert trigger.get_next_fire_time(answer, answer) is None


@pytest.mark.parametrize(
    ("run_date", "zone", "message"),
    [
        (
            "2025-03-30 02:30",
            "Europe/Berlin",
            "run_date: 2025-03-30 02:30:00 does not exist in Europe/Berlin: clocks jump over it to "
            "2025-03-30 03:00:00+02:00; give a time that exists, or one with an offset",
        ),
        ("2011-12-30 09:00", "Pacific/Apia", "clocks jump over it to 2011-12-31 00:00:00+14:00"),
        (date(2024, 4, 26), "Africa/Cairo", "2024-04-26 00:00:00 does not exist in Africa/Cairo"),
        (
            "2025-02-30",
            "UTC",
            "run_date: '2025-02-30' is not a date (day is out of range for month); write ISO 8601 text",
        ),
        ("next tuesday", "UTC", "run_date: 'next tuesday' is not a date"),
        (1700000000, "UTC", "run_date: 1700000000 is of type int; give a date, a datetime or ISO 8601 text"),
        (
            datetime(9999, 12, 31, 23, tzinfo=UTC),
            "UTC",
            "run_date: 9999-12-31 23:00:00+00:00 is later than 9999-12-30 00:00 UTC, the last instant that can be scheduled; "
            "give an earlier one",
        ),
        (
            "9999-12-31 20:00",
            "America/New_York",
            "run_date: 9999-12-31 20:00 in America/New_York is later than 9999-12-30",
        ),
        (
            "0001-01-01",
            "Asia/Tokyo",
            "run_date: 0001-01-01 in Asia/Tokyo is earlier than 0001-01-03 00:00 UTC, the first instant that can be scheduled; "
            "give a later one",
        ),
        (
            datetime(2026, 1, 1, tzinfo=NoOffset()),
            "UTC",
            "run_date: 2026-01-01 00:00:00 is no instant, because a zone without offsets knows no offset from UTC for it; give",
        ),
    ],
)
def test_wrong_dates(run_date: Any, zone: str, message: str) -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        DateTrigger(run_date, zone)
    assert message in str(caught.value)
    assert caught.value.field == "run_date"


def test_an_end_beyond_all_time_is_no_end() -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        IntervalTrigger(days=1, end_date=datetime.max.replace(tzinfo=UTC))
    assert str(caught.value) == (
        "end_date: 9999-12-31 23:59:59.999999+00:00 is later than 9999-12-30 00:00 UTC, the last instant that can be "
        "scheduled; leave it out for a schedule without an end"
    )


def test_a_single_time_in_the_second_half_of_an_overlap() -> None:
    """Casablanca's clocks went back from 03:00 to 02:00: asked in the first half, a time of the second is yet to come."""
    zone = "Africa/Casablanca"
    asked = datetime.fromisoformat("2025-02-23T02:45:10+01:00")
    second = datetime(2025, 2, 23, 2, 5, 29, fold=1)  # noqa: DTZ001
    for trigger in (
        DateTrigger(second, zone),
        CronTrigger(year=2025, month=2, day=23, hour=2, minute=5, second=29, timezone=zone, dst="literal"),
    ):
        answer = trigger.get_next_fire_time(None, asked)
        assert answer is not None
        assert answer.isoformat() == "2025-02-23T02:05:29+00:00"
        assert trigger.get_next_fire_time(answer, answer) is None


def test_without_a_date_it_is_now() -> None:
    before_us = time.time_ns() // 1000
    trigger = DateTrigger()
    assert before_us <= trigger.run_us <= time.time_ns() // 1000
    assert trigger.anchored(5).run_us == 5
    assert trigger.same_rule(trigger.anchored(5))
    given = DateTrigger("2024-01-01", "UTC")
    assert given.anchored(5) is given
    assert not given.same_rule(trigger)
    assert not trigger.same_rule(given)


def test_the_grid_of_one() -> None:
    trigger = DateTrigger("1970-01-01 00:00:01", "UTC")
    assert [trigger.next_us(999_999), trigger.next_us(1_000_000), trigger.next_us(-(2**70))] == [
        1_000_000,
        None,
        1_000_000,
    ]
    assert [trigger.last_us(999_999), trigger.last_us(1_000_000), trigger.last_us(2**70)] == [
        None,
        1_000_000,
        1_000_000,
    ]
    assert [trigger.count_us(0, 999_999), trigger.count_us(0, 1_000_000), trigger.count_us(1_000_000, 2**70)] == [
        0,
        1,
        0,
    ]
    assert tuple(trigger.backlog(0, 2_000_000)) == (1, 1_000_000, None)
    assert (trigger.jitter_us, trigger.end_us, trigger.elapsed) == (0, None, False)


def test_the_zone_is_that_of_an_aware_date() -> None:
    assert DateTrigger(datetime(2024, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))).timezone == ZoneInfo("Asia/Tokyo")


@pytest.mark.parametrize(
    "trigger",
    [
        pytest.param(DateTrigger(), id="now"),
        DateTrigger("2024-07-01", "Europe/Berlin"),
        DateTrigger(datetime(2024, 10, 27, 2, 30, fold=1), "Europe/Berlin"),  # noqa: DTZ001
        DateTrigger("2024-07-01 12:00:00.000001", "UTC-03:30"),
    ],
    ids=repr,
)
def test_round_trips(trigger: DateTrigger) -> None:
    restored = DateTrigger.__new__(DateTrigger)
    restored.__setstate__(trigger.__getstate__())
    for copy in (eval(repr(trigger)), pickle.loads(pickle.dumps(trigger)), restored):
        assert copy == trigger
        assert hash(copy) == hash(trigger)
        assert (str(copy), repr(copy)) == (str(trigger), repr(trigger))
    assert restored.same_rule(trigger)
    assert trigger != str(trigger)


def test_text() -> None:
    trigger = DateTrigger("2024-07-01 12:30", "Europe/Berlin")
    assert str(trigger) == "date[2024-07-01 12:30:00 CEST]"
    assert repr(trigger) == "DateTrigger('2024-07-01T12:30:00+02:00', timezone='Europe/Berlin')"
    assert trigger.describe() == "once, at 2024-07-01 12:30:00 CEST"
    assert trigger != DateTrigger("2024-07-01 12:30", "Europe/Paris")


def test_a_trigger_is_a_value() -> None:
    trigger = DateTrigger("2024-07-01", "UTC")
    with pytest.raises(AttributeError, match="triggers are values: run_us cannot be set; make a new DateTrigger"):
        trigger.run_us = 1
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del trigger.run_us
    assert not hasattr(trigger, "__dict__")


def test_wrong_states() -> None:
    state = DateTrigger("2024-07-01", "UTC").__getstate__()
    with pytest.raises(ValueError, match="version 9; this release reads 3"):
        DateTrigger.__new__(DateTrigger).__setstate__(state | {"version": 9})
    del state["run_us"]
    with pytest.raises(ValueError, match="lacks 'run_us'"):
        DateTrigger.__new__(DateTrigger).__setstate__(state)


HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    ("run_date", "moves"),
    [
        ("2030-07-01 09:00", True),
        (date(2030, 7, 1), True),
        (datetime(2030, 7, 1, 9, tzinfo=ZoneInfo("Europe/Berlin")), True),
        (datetime(2030, 10, 27, 2, 30, fold=1), True),  # noqa: DTZ001
        ("2030-07-01 09:00+02:00", False),
        (datetime(2030, 7, 1, 9, tzinfo=UTC), False),
        (None, False),
    ],
)
def test_a_local_time_stays_what_it_is_when_other_zone_data_come(
    run_date: Any, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = ["2030a"]
    monkeypatch.setattr("schedcore.triggers._stored.zone_data_version", lambda zone: release[0])
    trigger = DateTrigger(run_date, "Europe/Berlin")
    # What the zone data that it was stored with had an hour off.
    state = trigger.__getstate__() | {"run_us": trigger.run_us - HOUR_US}

    def loaded() -> DateTrigger:
        made = DateTrigger.__new__(DateTrigger)
        made.__setstate__(json.loads(json.dumps(state)))
        return made

    assert (loaded().run_us, loaded().zone_data_changed) == (trigger.run_us - HOUR_US, False)
    release[0] = "2030b"
    assert loaded().run_us == (trigger.run_us if moves else trigger.run_us - HOUR_US)
    assert loaded().zone_data_changed is moves
    again = DateTrigger.__new__(DateTrigger)
    again.__setstate__(loaded().__getstate__())
    assert (again, again.zone_data_changed) == (loaded(), False)


def test_a_local_time_that_other_zone_data_jump_over_runs_as_much_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedcore.triggers._stored.zone_data_version", lambda zone: "2030b")
    state = DateTrigger("2030-03-31 01:30", "Europe/Berlin").__getstate__()
    made = DateTrigger.__new__(DateTrigger)
    made.__setstate__(state | {"local": "2030-03-31T02:30:00", "zone_data": "2030a"})
    assert made.run_date.isoformat() == "2030-03-31T03:30:00+02:00"
    for wrong in (5, "noon", "2030-02-30T00:00:00"):
        with pytest.raises(ValueError, match="for local, which is no local time"):
            made.__setstate__(state | {"local": wrong, "zone_data": "2030a"})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-3-9", "2026-03-09"),
        ("2026-3-9 7:05:00", "2026-03-09 07:05:00"),
        (" 2026-03-9T7:5:3.5+2:00 ", "2026-03-09T07:05:03.5+02:00"),
        ("2026-03-09 07:05:03,5", "2026-03-09 07:05:03,5"),
        ("2026-W11-1", "2026-W11-1"),
    ],
)
def test_dates_in_which_zeros_are_left_out(text: str, read: str) -> None:
    assert iso_text(text) == read
    assert DateTrigger(text, "UTC").run_date == DateTrigger(datetime.fromisoformat(read), "UTC").run_date
    assert IntervalTrigger(days=1, start_date=text, timezone="UTC").start_date == DateTrigger(read, "UTC").run_date


def test_a_calendar_interval_takes_them_for_dates() -> None:
    # Its whole last day, as of a date, and not until midnight.
    trigger = CalendarIntervalTrigger(days=1, hour=9, start_date="2026-3-1", end_date="2026-3-2", timezone="UTC")
    assert trigger == CalendarIntervalTrigger(
        days=1, hour=9, start_date="2026-03-01", end_date="2026-03-02", timezone="UTC"
    )


@pytest.mark.parametrize("text", ["2026-3", "26-3-9", "2026-3-90", "2026-13-1", "3-9-2026"])
def test_dates_that_lack_more_than_zeros(text: str) -> None:
    with pytest.raises(InvalidTriggerError, match=f"run_date: '{text}' is not a date"):
        DateTrigger(text, "UTC")

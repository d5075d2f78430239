"""Zones as users give them."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schedcore.errors import InvalidTriggerError
from schedcore.triggers import _zones
from schedcore.triggers._zones import local_zone, same_zone, to_instant, to_zone, zone_state
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger


class Wrapped(tzinfo):
    """A foreign zone object over a real zone."""

    def __init__(self, key: str, shown: str) -> None:
        self.inner = ZoneInfo(key)
        self.shown = shown

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        return None if dt is None else dt.replace(tzinfo=self.inner).utcoffset()

    def dst(self, dt: datetime | None) -> timedelta | None:
        return None if dt is None else dt.replace(tzinfo=self.inner).dst()

    def tzname(self, dt: datetime | None) -> str | None:
        return None if dt is None else dt.replace(tzinfo=self.inner).tzname()

    def __repr__(self) -> str:
        return self.shown


class LikePytz(Wrapped):
    """pytz names its zones in an attribute."""

    def __init__(self, key: str) -> None:
        super().__init__(key, f"<DstTzInfo {key!r} LMT+0:53:00 STD>")
        self.zone = key


class Fixed(tzinfo):
    """Like the fixed offsets of other libraries."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        return timedelta(hours=3)

    def dst(self, dt: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, dt: datetime | None) -> str:
        return "+3"


@pytest.mark.parametrize(
    ("given", "zone"),
    [
        ("Europe/Berlin", ZoneInfo("Europe/Berlin")),
        (ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Berlin")),
        ("UTC", UTC),
        (ZoneInfo("UTC"), UTC),
        (UTC, UTC),
        (timezone(timedelta(0)), UTC),
        ("UTC+05:30", timezone(timedelta(hours=5, minutes=30))),
        ("-03:00", timezone(timedelta(hours=-3))),
        ("GMT-00:44:30", timezone(-timedelta(minutes=44, seconds=30))),
        (LikePytz("Europe/Berlin"), ZoneInfo("Europe/Berlin")),
        (LikePytz("America/Argentina/Buenos_Aires"), ZoneInfo("America/Argentina/Buenos_Aires")),
        (Wrapped("Europe/Berlin", "tzfile('/usr/share/zoneinfo/Europe/Berlin')"), ZoneInfo("Europe/Berlin")),
        pytest.param(Fixed(), timezone(timedelta(hours=3)), id="a fixed offset"),
    ],
    ids=str,
)
def test_zones_are_understood(given: str | tzinfo, zone: tzinfo) -> None:
    found = to_zone(given)
    assert found == zone
    assert same_zone(found, zone)
    assert same_zone(to_zone(zone_state(found)), found)
    trigger = DateTrigger("2024-07-01 12:00", given)
    assert trigger.run_date == datetime(2024, 7, 1, 12, tzinfo=zone)
    assert pickle.loads(pickle.dumps(trigger)) == trigger


class OtherRelease(LikePytz):
    """One of pytz that knows of other rules than zoneinfo does."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        offset = super().utcoffset(dt)
        return offset if offset is None or dt is None or dt.year < 2026 else offset + timedelta(hours=1)

    def localize(self, dt: datetime) -> datetime:
        return dt.replace(tzinfo=self)


def test_a_zone_of_pytz_is_what_it_is_called_whatever_release_of_the_zone_data_it_is_of() -> None:
    """What it says itself of a local time is its local mean time."""
    found = to_zone(OtherRelease("America/Vancouver"))
    assert found == ZoneInfo("America/Vancouver")
    assert zone_state(found) == "America/Vancouver"


class Documented(tzinfo):
    """As those in the documentation of Python: it answers None with its standard time."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        return timedelta(hours=1) + self.dst(dt)

    def dst(self, dt: datetime | None) -> timedelta:
        return timedelta(hours=1 if dt is not None and 4 <= dt.month <= 9 else 0)

    def tzname(self, dt: datetime | None) -> str:
        return "documented"


def test_a_zone_that_has_summer_time_keeps_it() -> None:
    zone = Documented()
    assert to_zone(zone) is zone
    trigger = CronTrigger(hour=5, timezone=zone)
    summer = trigger.get_next_fire_time(None, datetime(2026, 7, 1, tzinfo=UTC))
    assert summer is not None
    assert summer.astimezone(UTC) == datetime(2026, 7, 1, 3, tzinfo=UTC)


class Broken(Fixed):
    def utcoffset(self, dt: datetime | None) -> timedelta:
        raise RuntimeError("no file")

    def __repr__(self) -> str:
        return "broken"


def test_a_zone_that_tells_no_offset() -> None:
    message = r"timezone: broken does not tell its offset from UTC \(RuntimeError: no file\); give an IANA name such as"
    with pytest.raises(InvalidTriggerError, match=message) as caught:
        CronTrigger(hour=5, timezone=Broken())
    assert caught.value.field == "timezone"


def test_a_name_that_a_zone_object_does_not_live_up_to_is_not_believed() -> None:
    liar = Wrapped("Asia/Tokyo", "Europe/Berlin")
    assert to_zone(liar) is liar
    assert zone_state(liar) is liar
    assert DateTrigger("2024-07-01 12:00", liar).run_date == datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("Europe/Berln", "timezone: no zone is called 'Europe/Berln'; did you mean 'Europe/Berlin'?"),
        ("berlin", "did you mean 'Europe/Berlin'?"),
        ("New York", "did you mean 'America/New_York'?"),
        (
            "UTC+3",
            "no zone is called 'UTC+3'; a fixed offset has two digits for hours and for minutes, such as 'UTC+03:00'",
        ),
        ("UTC+25:00", "a fixed offset has two digits"),
        ("CEST", "no zone is called 'CEST', and abbreviations are those of several; give an IANA name such as"),
        ("PST", "no zone is called 'PST', and abbreviations are those of several; give an IANA name such as"),
        ("Mars/Base", "give an IANA name such as 'Europe/Berlin', a fixed offset such as 'UTC+02:00', or a tzinfo"),
        ("", "no zone is called ''; give an IANA name"),
        (" UTC ", "no zone is called ' UTC '; did you mean 'UTC'?"),
        ("../../etc/passwd", "no zone is called '../../etc/passwd'"),
        ("/etc/localtime", "no zone is called '/etc/localtime'"),
        (5, "timezone: 5 is of type int; give an IANA name"),
        (b"UTC", "timezone: b'UTC' is of type bytes"),
    ],
)
def test_bad_zones(given: Any, message: str) -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        IntervalTrigger(seconds=1, timezone=given)
    assert message in str(caught.value)
    assert caught.value.field == "timezone"


def test_the_zone_of_the_machine_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import tzlocal

    calls = []

    def get_localzone() -> ZoneInfo:
        calls.append(1)
        return ZoneInfo("Asia/Tokyo")

    monkeypatch.setattr(_zones, "_local", None)
    monkeypatch.setattr(tzlocal, "get_localzone", get_localzone)
    assert IntervalTrigger(seconds=1).timezone == ZoneInfo("Asia/Tokyo")
    assert DateTrigger().timezone == local_zone() == ZoneInfo("Asia/Tokyo")
    assert calls == [1]


def test_a_machine_that_does_not_know_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import tzlocal

    def get_localzone() -> ZoneInfo:
        raise KeyError("two\nanswers")

    monkeypatch.setattr(_zones, "_local", None)
    monkeypatch.setattr(tzlocal, "get_localzone", get_localzone)
    with pytest.raises(
        InvalidTriggerError, match=r"cannot be told \(two answers\); pass timezone=, or set the env"
    ) as caught:
        IntervalTrigger(seconds=1)
    assert caught.value.field == "timezone"
    assert IntervalTrigger(seconds=1, timezone="UTC").timezone is UTC


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("Europe/Berlin", "2025-03-30 03:00:00+02:00"),
        ("Antarctica/Troll", "2025-03-30 03:00:00+02:00"),
        ("Africa/Casablanca", None),
    ],
)
def test_a_local_time_that_does_not_exist(zone: str, first: str | None) -> None:
    if first is None:
        assert to_instant("2025-03-30 02:30", to_zone(zone), "start_date")
    else:
        with pytest.raises(InvalidTriggerError) as caught:
            to_instant("2025-03-30 02:30", to_zone(zone), "start_date")
        assert f"start_date: 2025-03-30 02:30:00 does not exist in {zone}: clocks jump over it to {first}" in str(
            caught.value
        )

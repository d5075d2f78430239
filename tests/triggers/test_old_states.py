"""States of 3.x triggers, built here by what their parts are called; and the release of the zone data in ours."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta
from datetime import timezone as fixed_zone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers import _zone_data
from schedcore.triggers._zone_data import zone_data_version
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.interval import IntervalTrigger

BERLIN = ZoneInfo("Europe/Berlin")


class Field:
    """A field object as a pickle of 3.x may bring one: a name, and its text by ``str``."""

    def __init__(self, name: str, text: str, default: bool | None = None) -> None:
        self.name = name
        self.text = text
        if default is not None:
            self.is_default = default

    def __str__(self) -> str:
        return self.text


TEXTS = {
    "year": "*",
    "month": "*",
    "day": "2nd fri,last",
    "week": "*",
    "day_of_week": "*",
    "hour": "7",
    "minute": "*/20",
    "second": "0",
}
DEFAULTS = {"year", "month", "week", "day_of_week", "second"}


def cron_state(fields: Any, **changes: Any) -> dict[str, Any]:
    return {
        "version": 2,
        "timezone": BERLIN,
        "start_date": None,
        "end_date": None,
        "fields": fields,
        "jitter": None,
        **changes,
    }


EXPECTED = CronTrigger(day="2nd fri,last", hour=7, minute="*/20", timezone="Europe/Berlin", dst="literal")


@pytest.mark.parametrize(
    "fields",
    [
        [Field(name, text) for name, text in TEXTS.items()],
        [Field(name, text, name in DEFAULTS) for name, text in TEXTS.items()],
        dict(TEXTS),
        list(TEXTS.items()),
        [[name, text.split(",")] for name, text in TEXTS.items()],
        [
            {"name": name, "expressions": text.split(","), "is_default": name in DEFAULTS}
            for name, text in TEXTS.items()
        ],
        [{"name": name, "text": text} for name, text in TEXTS.items()],
    ],
    ids=["objects", "objects-with-defaults", "mapping", "pairs", "lists", "dicts", "texts"],
)
@pytest.mark.parametrize("version", [1, 2])
def test_cron(fields: Any, version: int) -> None:
    state = cron_state(fields, version=version)
    if version == 1:
        del state["jitter"]
    trigger = CronTrigger.__new__(CronTrigger)
    trigger.__setstate__(state)
    assert trigger == EXPECTED
    again = pickle.loads(pickle.dumps(trigger))
    assert again == EXPECTED
    assert again.__getstate__()["version"] == 3


def test_cron_shows_only_what_the_user_gave() -> None:
    trigger = CronTrigger.__new__(CronTrigger)
    trigger.__setstate__(cron_state([Field(name, text, name in DEFAULTS) for name, text in TEXTS.items()]))
    assert str(trigger) == "cron[day='2nd fri,last', hour='7', minute='*/20']"
    trigger.__setstate__(cron_state([Field(name, "*", True) for name in TEXTS]))
    assert trigger.describe() == "every second"


def test_cron_takes_the_wall_clock_as_3x_did() -> None:
    trigger = CronTrigger.__new__(CronTrigger)
    trigger.__setstate__(cron_state({"hour": "2", "minute": "30"}))
    assert trigger.dst == "literal"
    answer = trigger.get_next_fire_time(None, datetime(2026, 3, 28, 12, tzinfo=BERLIN))
    assert answer == datetime(2026, 3, 30, 2, 30, tzinfo=BERLIN)


def test_cron_dates_zone_and_jitter() -> None:
    start = datetime(2024, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))
    trigger = CronTrigger.__new__(CronTrigger)
    state = cron_state({"hour": "5"}, timezone=None, start_date=start, end_date=start + timedelta(days=9), jitter=30)
    trigger.__setstate__(state)
    assert str(trigger.timezone) == "Asia/Tokyo"
    assert trigger.start_date == start
    assert trigger.end_date == start + timedelta(days=9)
    assert trigger.jitter == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": [Field("hours", "5")]}, "unknown field 'hours'"),
        ({"fields": [Field("hour", "5"), Field("hour", "6")]}, "the field hour is there twice"),
        ({"fields": [7]}, "7 is no field of a cron trigger"),
        ({"fields": {"hour": "25"}}, "25 is out of range"),
        ({"timezone": "Mars/Base"}, "no zone is called 'Mars/Base'"),
        ({"jitter": -5}, "jitter: -5 cannot be used"),
        ({"version": 4}, "version 4; this release reads 3"),
    ],
)
def test_cron_states_that_cannot_be_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CronTrigger.__new__(CronTrigger).__setstate__(cron_state({"hour": "5"}) | changes)


def interval_state(**changes: Any) -> dict[str, Any]:
    start = datetime(2024, 1, 1, 12, 0, 0, 250_000, tzinfo=BERLIN)
    return {
        "version": 2,
        "timezone": BERLIN,
        "start_date": start,
        "end_date": None,
        "interval": timedelta(minutes=5, microseconds=3),
        "jitter": None,
        **changes,
    }


def interval(state: dict[str, Any]) -> IntervalTrigger:
    trigger = IntervalTrigger.__new__(IntervalTrigger)
    trigger.__setstate__(state)
    return trigger


@pytest.mark.parametrize("version", [1, 2])
def test_interval(version: int) -> None:
    trigger = interval(interval_state(version=version, jitter=2))
    assert trigger.interval == timedelta(minutes=5, microseconds=3)
    assert trigger.start_date == datetime(2024, 1, 1, 12, 0, 0, 250_000, tzinfo=BERLIN)
    assert (trigger.end_date, trigger.jitter, trigger.timezone) == (None, 2, BERLIN)
    again = pickle.loads(pickle.dumps(trigger))
    assert again == trigger
    assert again.same_rule(trigger)


def test_interval_by_its_length() -> None:
    state = interval_state(interval_length=90.5)
    del state["interval"]
    assert interval(state).interval == timedelta(seconds=90.5)


def test_an_interval_of_3x_keeps_its_phase_when_code_registers_it_again() -> None:
    """3.x did not write down whether the user had given the start."""
    stored = interval(interval_state())
    start_us = stored.__getstate__()["start_us"]
    declared = IntervalTrigger(minutes=5, seconds=0.000003, timezone=BERLIN)
    assert stored.same_rule(declared)
    assert declared.same_rule(stored)
    assert stored.anchored(start_us + 10**12) is stored
    given = IntervalTrigger(minutes=5, seconds=0.000003, start_date=stored.start_date)
    assert stored.same_rule(given)
    assert not given.same_rule(IntervalTrigger(minutes=5, seconds=0.000003, start_date="2024-01-02", timezone=BERLIN))
    assert not stored.same_rule(IntervalTrigger(minutes=5, seconds=0.000003, start_date="2024-01-02", timezone=BERLIN))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interval": timedelta(0)}, "the interval is 0 microseconds"),
        ({"interval": "5"}, "the interval is of type str"),
        ({"start_date": None}, "has no start_date"),
        ({"version": 0}, "version 0; this release reads 3"),
    ],
)
def test_interval_states_that_cannot_be_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interval(interval_state(**changes))


def test_states_that_lack_something() -> None:
    for cls, state in ((IntervalTrigger, interval_state()), (CronTrigger, cron_state({"hour": "5"}))):
        del state["end_date"]
        with pytest.raises(ValueError, match="lacks 'end_date'"):
            cls.__new__(cls).__setstate__(state)
    with pytest.raises(ValueError, match="lacks 'run_date'"):
        DateTrigger.__new__(DateTrigger).__setstate__({"version": 1})


def test_date() -> None:
    for run_date in (
        datetime(2030, 5, 1, 7, 30, tzinfo=BERLIN),
        datetime(2030, 5, 1, 7, 30, tzinfo=fixed_zone(timedelta(hours=2))),
        "2030-05-01T07:30:00+02:00",
    ):
        trigger = DateTrigger.__new__(DateTrigger)
        trigger.__setstate__({"version": 1, "run_date": run_date, "timezone": BERLIN})
        assert trigger.run_us == from_datetime(datetime(2030, 5, 1, 5, 30, tzinfo=UTC))
        assert pickle.loads(pickle.dumps(trigger)) == trigger
        assert trigger.anchored(5) is trigger
    trigger.__setstate__({"version": 1, "run_date": date(2030, 5, 1), "timezone": "Europe/Berlin"})
    assert trigger.run_date == datetime(2030, 5, 1, tzinfo=BERLIN)
    with pytest.raises(InvalidTriggerError, match="run_date: 5 is of type int"):
        trigger.__setstate__({"version": 1, "run_date": 5, "timezone": BERLIN})


# --- the release of the zone data -----------------------------------------------------------------------------------


@pytest.fixture
def fresh_caches() -> Any:
    for cached in (_zone_data._version_of, _zone_data._folder_version):
        cached.cache_clear()
    yield
    for cached in (_zone_data._version_of, _zone_data._folder_version):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        ("tzdata.zi", "# version 2031c\n# more\n", "2031c"),
        ("+VERSION", "2031d\n", "2031d"),
        ("tzdata.zi", "Rule A\n", None),
        ("other", "", None),
    ],
)
def test_the_release_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_caches: None, name: str, text: str, version: str | None
) -> None:
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").touch()
    (tmp_path / name).write_text(text)
    monkeypatch.setattr("zoneinfo.TZPATH", (str(tmp_path / "none"), str(tmp_path)))
    assert zone_data_version(BERLIN) == version


def test_the_release_of_the_package(monkeypatch: pytest.MonkeyPatch, fresh_caches: None) -> None:
    tzdata = pytest.importorskip("tzdata", reason="the package tzdata is not installed")
    monkeypatch.setattr("zoneinfo.TZPATH", ())
    assert zone_data_version(BERLIN) == tzdata.IANA_VERSION


def test_zones_without_data() -> None:
    assert zone_data_version(UTC) is None
    assert zone_data_version(fixed_zone(timedelta(hours=2))) is None


def test_a_trigger_knows_when_its_zone_has_other_rules_than_when_it_was_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    release: list[str | None] = ["2030a"]
    monkeypatch.setattr("schedcore.triggers._stored.zone_data_version", lambda zone: release[0])
    trigger = CronTrigger(hour=5, timezone="Europe/Berlin")
    state = trigger.__getstate__()
    assert state["zone_data"] == "2030a"
    assert not trigger.zone_data_changed

    def changed(state: dict[str, Any]) -> bool:
        copy = CronTrigger.__new__(CronTrigger)
        copy.__setstate__(state)
        assert copy == trigger
        return copy.zone_data_changed

    assert not changed(state)
    assert not changed({name: value for name, value in state.items() if name != "zone_data"})
    release[0] = None
    assert "zone_data" not in trigger.__getstate__()
    assert not changed(state)
    release[0] = "2030b"
    assert changed(state)
    assert trigger.__getstate__()["zone_data"] == "2030b"
    assert not IntervalTrigger(days=1).zone_data_changed


def test_calendar_interval() -> None:
    state = {
        "version": 1,
        "interval": [0, 1, 0, 2],
        "time": [7, 5, 0],
        "start_date": date(2024, 1, 31),
        "end_date": date(2030, 1, 1),
        "timezone": BERLIN,
        "jitter": 3,
    }
    trigger = CalendarIntervalTrigger.__new__(CalendarIntervalTrigger)
    trigger.__setstate__(state)
    assert trigger == CalendarIntervalTrigger(
        months=1,
        days=2,
        hour=7,
        minute=5,
        start_date="2024-01-31",
        end_date="2030-01-01",
        timezone="Europe/Berlin",
        jitter=3,
    )
    trigger.__setstate__(
        state | {"start_date": datetime(2024, 1, 31, 4, tzinfo=BERLIN), "end_date": None, "jitter": None}
    )
    assert (trigger.start_date, trigger.end_us, trigger.jitter) == (date(2024, 1, 31), None, None)
    assert pickle.loads(pickle.dumps(trigger)) == trigger
    for change, message in (
        ({"start_date": "2024"}, "'2024' is no date"),
        ({"interval": [0, 0, 0, 0]}, "the interval is nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            trigger.__setstate__(state | change)
    del state["time"]
    with pytest.raises(ValueError, match="lacks 'time'"):
        trigger.__setstate__(state)


def test_combined_triggers_name_their_childrens_classes() -> None:
    """As 3.11 writes it: pairs of a class's name and a state, and so on inwards."""
    interval = {
        "version": 2,
        "timezone": BERLIN,
        "start_date": datetime(2024, 1, 1, tzinfo=BERLIN),
        "end_date": None,
        "interval": timedelta(minutes=5),
        "jitter": None,
    }
    both = {
        "version": 1,
        "triggers": [
            ("apscheduler.triggers.interval:IntervalTrigger", interval),
            ("apscheduler.triggers.cron:CronTrigger", cron_state({"hour": "7", "minute": "0"})),
        ],
        "jitter": 3,
    }
    trigger = OrTrigger.__new__(OrTrigger)
    date_state = {"version": 1, "run_date": datetime(2024, 1, 1, tzinfo=BERLIN)}
    trigger.__setstate__(
        {
            "version": 1,
            "triggers": [
                ("apscheduler.triggers.combining:AndTrigger", both),
                ["apscheduler.triggers.date:DateTrigger", date_state],
            ],
            "jitter": None,
        }
    )
    start = datetime(2024, 1, 1, tzinfo=BERLIN)
    assert trigger == OrTrigger(
        [
            AndTrigger(
                [
                    IntervalTrigger(minutes=5, start_date=start),
                    CronTrigger(hour=7, minute=0, timezone=BERLIN, dst="literal"),
                ],
                jitter=3,
            ),
            DateTrigger(start),
        ]
    )
    with pytest.raises(ValueError, match="is not the record of a trigger"):
        trigger.__setstate__({"version": 1, "triggers": [("os:system", {})], "jitter": None})

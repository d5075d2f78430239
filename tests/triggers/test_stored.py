"""Triggers in a data-only payload and in a whole scheduler: nested ones, and those that never fire."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError, SerializationError
from schedcore.job import NO_KWARGS, JobPolicy, JobRecord
from schedcore.jobstores._payload import decode, encode
from schedcore.serializers.json import JSONSerializer
from schedcore.testing import VirtualScheduler
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import (
    BusinessDayTrigger,
    Dates,
    Excluding,
    Holidays,
    Moments,
    Predicate,
    Times,
    Weekdays,
)
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.foreign import as_grid
from schedcore.triggers.interval import IntervalTrigger
from schedcore.triggers.jitter import Jitter

ROOT = Path(__file__).resolve().parent.parent.parent
BERLIN = "Europe/Berlin"
WEEKEND = Weekdays("sat", "sun")
NINE = CronTrigger(hour=9, timezone=BERLIN, jitter=Jitter(5, "hashed"))


def never_closed(day: object) -> bool:
    return False


def of_rfc() -> EngineTrigger:
    pytest.importorskip("dateutil", reason="python-dateutil is not installed; the extra 'rrule' brings it")
    from schedcore.triggers.rrule import RRuleTrigger

    return RRuleTrigger("FREQ=DAILY", dtstart="2026-01-01", timezone=BERLIN)


TRIGGERS: dict[str, Any] = {
    "calendarinterval": lambda: CalendarIntervalTrigger(months=1, start_date="2026-01-31", timezone=BERLIN),
    "and": lambda: AndTrigger([NINE, IntervalTrigger(hours=1, start_date="2026-01-01", timezone=BERLIN)], tolerance=1),
    "or": lambda: OrTrigger(
        [NINE, AndTrigger([NINE, CronTrigger(day=1, timezone=BERLIN)]), DateTrigger("2026-01-01", BERLIN)]
    ),
    "excluding": lambda: OrTrigger([NINE.excluding(WEEKEND | ~Times("07:00", "22:00")), NINE]).excluding(
        Dates("2026-12-24")
    ),
    "rolling": lambda: NINE.excluding(WEEKEND, roll="next"),
    "predicate": lambda: NINE.excluding(Predicate(never_closed) | Moments(never_closed)),
    "businessday": lambda: BusinessDayTrigger(-1, WEEKEND, hour=9, timezone=BERLIN),
    "rrule": of_rfc,
}


def job(trigger: EngineTrigger) -> JobRecord:
    return JobRecord("job", "job", print, None, (), NO_KWARGS, trigger, JobPolicy().intern())


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_payload_of_plain_data_keeps_the_trigger(name: str) -> None:
    trigger = TRIGGERS[name]()
    loaded = decode(JSONSerializer(), "job", encode(JSONSerializer(), job(trigger)))
    assert loaded.reason is None
    restored = loaded.record.trigger
    assert restored == trigger
    assert repr(restored) == repr(trigger)
    at_us = from_datetime(DateTrigger("2026-11-20", BERLIN).run_date)
    for _ in range(5):
        assert trigger.next_us(at_us) == restored.next_us(at_us)
        at_us = trigger.next_us(at_us)


class Unregistered(BaseTrigger):
    def get_next_fire_time(self, previous_fire_time: Any, now: Any) -> Any:
        return None


def test_what_data_cannot_hold_is_refused_and_not_lost() -> None:
    for trigger in (OrTrigger([Unregistered(), NINE]), as_grid(Unregistered()).excluding(WEEKEND)):
        with pytest.raises(SerializationError):
            encode(JSONSerializer(), job(trigger))


def test_a_state_that_was_altered_sets_the_job_aside() -> None:
    payload = encode(JSONSerializer(), job(TRIGGERS["or"]()))
    loaded = decode(JSONSerializer(), "job", payload.replace(b'"type":"date"', b'"type":"moon"'))
    assert loaded.reason is not None
    assert "there is no trigger 'moon'" in loaded.reason


FAR: dict[str, Any] = {
    "date": DateTrigger("2026-01-01", BERLIN),
    "interval": IntervalTrigger(hours=1, start_date="2026-01-01", end_date="2027-01-01", timezone=BERLIN, jitter=5),
    "cron": CronTrigger(hour=9, start_date="2026-01-01", end_date="2027-01-01", timezone=BERLIN, jitter=5),
    "calendarinterval": CalendarIntervalTrigger(
        days=1, start_date="2026-01-01T09:00", end_date="2027-01-01", timezone=BERLIN, jitter=5
    ),
    "businessday": BusinessDayTrigger(
        1, WEEKEND, start_date="2026-01-01", end_date="2027-01-01", timezone=BERLIN, jitter=5
    ),
    "or": OrTrigger([NINE], jitter=5),
}


@pytest.mark.parametrize("value", [10**18, -(10**30), 10**30, "5", 1.5, True], ids=str)
@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, trigger in FAR.items() for name in trigger.__getstate__() if name.endswith("_us")],
)
def test_a_number_out_of_range_is_refused_when_it_is_loaded(kind: str, name: str, value: object) -> None:
    if name == "jitter_us" and value == 10**18:
        value = 10**19  # the longest jitter is longer than time
    state = FAR[kind].__getstate__() | {name: value}
    with pytest.raises(ValueError, match=f"for {name}, which is no whole number"):
        object.__new__(type(FAR[kind])).__setstate__(state)


@pytest.mark.parametrize(
    "wrong", [{"country": "x" * 10_000}, {"subdivision": "x" * 10_000}], ids=["country", "subdivision"]
)
def test_what_is_said_of_a_stored_calendar_is_short(wrong: dict[str, str]) -> None:
    pytest.importorskip("holidays", reason="holidays is not installed; the extra 'holidays' brings it")
    state = NINE.excluding(Holidays("DE")).__getstate__()
    loaded = object.__new__(Excluding)
    loaded.__setstate__(state | {"calendar": state["calendar"] | wrong})
    with pytest.raises(InvalidTriggerError, match=f"{next(iter(wrong))}: no ") as caught:
        loaded.next_us(0)
    assert len(str(caught.value)) < 300


def test_an_interval_that_begins_after_the_last_year_can_be_loaded() -> None:
    trigger = IntervalTrigger(weeks=500_000, timezone=BERLIN)
    loaded = decode(JSONSerializer(), "job", encode(JSONSerializer(), job(trigger)))
    assert loaded.reason is None
    assert loaded.record.trigger == trigger
    assert trigger.next_us(0) is None


@pytest.mark.parametrize(
    "trigger",
    [
        AndTrigger([CronTrigger(minute=0, timezone="UTC"), CronTrigger(minute=30, timezone="UTC")]),
        AndTrigger(
            [IntervalTrigger(minutes=2, start_date="2026-01-01T00:00:00.5Z"), CronTrigger(hour="7-22", timezone="UTC")]
        ),
        DateTrigger("2026-11-21T12:00Z").excluding(WEEKEND),
    ],
    ids=str,
)  # fmt: skip
def test_what_never_fires_is_refused_when_it_is_added(trigger: BaseTrigger) -> None:
    scheduler = VirtualScheduler(start="2026-01-01T00:00:00Z")
    scheduler.start()
    with pytest.raises(InvalidTriggerError, match="never fires"):
        scheduler.add_job(print, trigger)
    assert scheduler.get_jobs() == []
    scheduler.shutdown()


def test_by_alias_in_a_scheduler() -> None:
    scheduler = VirtualScheduler(start="2026-01-01T00:00:00Z", timezone=BERLIN)
    ran: list[str] = []

    def note(text: str) -> None:
        ran.append(f"{text} {scheduler.clock.now():%H:%M:%S}")

    scheduler.add_job(note, "and", args=["both"], triggers=[IntervalTrigger(minutes=20), IntervalTrigger(minutes=30)])
    scheduler.add_job(note, "or", args=["any"], triggers=[IntervalTrigger(minutes=25), IntervalTrigger(minutes=50)])
    scheduler.add_job(note, "calendarinterval", args=["daily"], days=1, hour=1, minute=40)
    scheduler.start()
    scheduler.advance(3600)
    scheduler.shutdown()
    assert ran == ["any 00:25:00", "daily 00:40:00", "any 00:50:00", "both 01:00:00"]


def test_the_code_of_the_page_about_triggers_runs() -> None:
    pytest.importorskip("dateutil", reason="python-dateutil is not installed; the extra 'rrule' brings it")
    pytest.importorskip("holidays", reason="the library of holidays is not installed; the extra 'holidays' brings it")
    blocks = re.findall(
        r"```python\n(.*?)```", ROOT.joinpath("docs", "triggers.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(blocks) >= 5
    for block in blocks:
        exec(block, {})

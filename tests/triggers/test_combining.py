"""Triggers made of triggers: what all of them name, and what any of them names."""

from __future__ import annotations

import itertools
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import thread_time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedcore import plugins
from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError, UnknownPluginError
from schedcore.triggers import _meet
from schedcore.triggers._meet import MAX_LEAPS, Meeting
from schedcore.triggers.base import Backlog, BaseTrigger, EngineTrigger, Excluded
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import Weekdays
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.foreign import MAX_STEPS
from schedcore.triggers.interval import IntervalTrigger

calm = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
BERLIN = "Europe/Berlin"


def us(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text))


def every(start: str = "2024-01-02T00:00:00Z", **length: Any) -> IntervalTrigger:
    return IntervalTrigger(start_date=start, timezone="UTC", **length)


def cron(zone: str = "UTC", **fields: Any) -> CronTrigger:
    return CronTrigger(timezone=zone, **fields)


class Old(BaseTrigger):
    """A third party's trigger, with the one method of 3.x: every so many seconds of the epoch."""

    def __init__(self, seconds: int) -> None:
        self.step = seconds

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        at = from_datetime(now) - 1 if previous_fire_time is None else from_datetime(previous_fire_time)
        step_us = self.step * 1_000_000
        return to_datetime((at // step_us + 1) * step_us)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Old) and other.step == self.step

    def __hash__(self) -> int:
        return hash(self.step)


def walk(trigger: EngineTrigger, after: str, number: int, zone: str = "UTC") -> list[str]:
    """The first fire times, and how long each took to find."""
    answers: list[str] = []
    at_us: int | None = us(after) - 1
    while at_us is not None and len(answers) < number:
        started_s = thread_time()
        at_us = trigger.next_us(at_us)
        assert thread_time() - started_s < 1
        answers.append(
            "never" if at_us is None else to_datetime(at_us).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M:%S")
        )
    return answers


ROWS: dict[str, tuple[Callable[[], EngineTrigger], str, list[str]]] = {
    "C1-every-2-minutes-and-hours": (
        lambda: AndTrigger([every(minutes=2), cron(hour="7-22", minute="*")]),
        "2024-01-02T06:59Z",
        ["01-02 07:00:00", "01-02 07:02:00", "01-02 07:04:00"],
    ),
    "C1-from-now-out-of-step": (
        lambda: AndTrigger([every("2024-01-02T12:34:56.789Z", minutes=2), cron(hour="7-22", minute="*")]),
        "2024-01-02T00:00Z",
        ["never"],
    ),
    "C1-with-tolerance": (
        lambda: AndTrigger([every("2024-01-02T12:34:56.789Z", minutes=2), cron(hour="7-22", minute="*")], tolerance=30),
        "2024-01-02T22:50Z",
        ["01-02 22:50:56", "01-02 22:52:56", "01-02 22:54:56", "01-02 22:56:56", "01-02 22:58:56", "01-03 07:00:56"],
    ),
    "C2-every-2-and-every-3-seconds": (
        lambda: AndTrigger([every(seconds=2), every(seconds=3)]),
        "2024-01-01T00:00Z",
        ["01-02 00:00:00", "01-02 00:00:06", "01-02 00:00:12"],
    ),
    "C3-every-2-seconds-and-minute-1": (
        lambda: AndTrigger([every(seconds=2), cron(minute=1, second="*")]),
        "2024-01-02T00:01:57Z",
        ["01-02 00:01:58", "01-02 01:01:00", "01-02 01:01:02"],
    ),
    "C4-hours-of-weekdays-and-every-5-minutes": (
        lambda: AndTrigger([cron(day_of_week="mon-sat", hour="8-20", minute="*"), every(minutes=5)]),
        "2024-01-06T20:50Z",  # a Saturday
        ["01-06 20:50:00", "01-06 20:55:00", "01-08 08:00:00"],
    ),
    "C5-two-dates": (
        lambda: OrTrigger([DateTrigger("2024-01-02T01:00Z"), DateTrigger("2024-01-02T02:00Z")]),
        "2024-01-02T00:00Z",
        ["01-02 01:00:00", "01-02 02:00:00", "never"],
    ),
    "C6-every-2-or-every-5-minutes": (
        lambda: OrTrigger([every(minutes=2), every(minutes=5)]),
        "2024-01-02T00:00Z",
        [f"01-02 00:{minute:02}:00" for minute in (0, 2, 4, 5, 6, 8, 10, 12, 14, 15)],
    ),
    "C7-mondays-and-the-1st": (
        lambda: AndTrigger([cron(day_of_week="mon"), cron(day=1)]),
        "2024-01-02T00:00Z",
        ["04-01 00:00:00", "07-01 00:00:00", "09-01 00:00:00", "12-01 00:00:00", "06-01 00:00:00"],
    ),
    "C8-minute-0-and-minute-30": (
        lambda: AndTrigger([cron(minute=0), cron(minute=30)]),
        "2024-01-02T00:00Z",
        ["never"],
    ),
    "different-zones": (
        lambda: AndTrigger([cron("UTC", hour=14), cron("America/New_York", hour=9)]),
        "2024-03-08T00:00Z",
        ["03-08 14:00:00", "03-09 14:00:00", "11-03 14:00:00"],  # standard time only
    ),
    "different-zones-never": (
        lambda: AndTrigger([cron("UTC", hour=9), cron("America/New_York", hour=9)]),
        "2024-03-08T00:00Z",
        ["never"],
    ),
    "different-days-in-different-zones-never": (
        lambda: AndTrigger([cron(BERLIN, day=1, hour=3), cron("America/New_York", day=15, hour=21)]),
        "2024-03-08T00:00Z",
        ["never"],
    ),
    "different-weekdays-in-different-zones-never": (
        lambda: AndTrigger(
            [
                cron("America/New_York", day_of_week="wed", hour=19, minute="*"),
                every(minutes=1),
                cron(day_of_week="mon", minute=3),
            ]
        ),
        "2024-03-08T00:00Z",
        ["never"],
    ),
    "a-date-that-is-named": (
        lambda: AndTrigger([DateTrigger("2024-02-01T09:00Z"), cron(hour=9)]),
        "2024-01-01T00:00Z",
        ["02-01 09:00:00", "never"],
    ),
    "a-date-that-is-not": (
        lambda: AndTrigger([DateTrigger("2024-02-01T09:01Z"), cron(hour=9)]),
        "2024-01-01T00:00Z",
        ["never"],
    ),
    "what-a-gap-swallows-is-not-a-meeting": (
        lambda: AndTrigger([cron(BERLIN, hour=2, minute=15), cron(BERLIN, hour=2, minute=30)]),
        "2024-01-01T00:00Z",
        ["never"],
    ),
    "what-both-name-runs-after-the-gap": (
        lambda: AndTrigger([cron(BERLIN, hour=2, minute=30, day_of_week="sun"), cron(BERLIN, hour="2,4", minute=30)]),
        "2024-03-30T00:00Z",
        ["03-31 01:00:00", "04-07 00:30:00"],
    ),
    "real-time-and-a-fixed-time": (
        lambda: AndTrigger([cron(BERLIN, minute="*/15"), cron(BERLIN, hour=2, minute=30)]),
        "2024-03-30T00:00Z",
        ["03-30 01:30:00", "03-31 01:00:00", "04-01 00:30:00"],  # at the end of the gap both run
    ),
    "nested": (
        lambda: AndTrigger([OrTrigger([every(minutes=2), every(minutes=5)]), cron(minute="5,15,16")]),
        "2024-01-02T00:00Z",
        ["01-02 00:05:00", "01-02 00:15:00", "01-02 00:16:00", "01-02 01:05:00", "01-02 01:15:00"],
    ),
    "with-a-third-partys": (
        lambda: AndTrigger([Old(90), every(minutes=2)]),
        "2024-01-02T00:00Z",
        ["01-02 00:00:00", "01-02 00:06:00"],
    ),
    "or-with-a-third-partys": (
        lambda: OrTrigger([Old(90), every(minutes=2)]),
        "2024-01-02T00:00Z",
        ["01-02 00:00:00", "01-02 00:01:30", "01-02 00:02:00", "01-02 00:03:00"],
    ),
    "with-a-calendar-interval": (
        lambda: AndTrigger(
            [CalendarIntervalTrigger(days=2, hour=9, start_date="2024-01-01", timezone="UTC"), cron(hour="*", day=14)]
        ),
        "2024-01-02T00:00Z",
        ["02-14 09:00:00", "04-14 09:00:00"],
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_table(row: str) -> None:
    make, after, answers = ROWS[row]
    assert walk(make(), after, len(answers)) == answers


SEARCHES = {
    "out of step": lambda: AndTrigger([every("2024-01-02T12:34:56.789Z", minutes=2), cron(BERLIN, hour="7-22")]),
    "minutes": lambda: AndTrigger([cron(BERLIN, minute=0), cron(BERLIN, minute=30)]),
    "no such day": lambda: AndTrigger([cron(BERLIN, month=2), cron(BERLIN, day=30)]),
    "hours": lambda: AndTrigger([cron(BERLIN, hour=8, minute="*"), cron("Asia/Tokyo", hour=8, minute="*")]),
    "years": lambda: AndTrigger([cron(BERLIN, year=2030), cron(BERLIN, year=2031)]),
    "odd seconds": lambda: AndTrigger([every(seconds=7.000001), cron(BERLIN, hour=9)]),
    "leap days": lambda: AndTrigger([every(days=7), cron("UTC", month=2, day=29)]),
    "far apart": lambda: AndTrigger([every(days=49.5), every("2024-01-03T00:00Z", days=33.25)]),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_each_search_is_short(name: str) -> None:
    """Bounded whatever the answer is; the first question also learns the zones."""
    trigger = SEARCHES[name]()
    trigger.next_us(us("2024-01-02T00:00Z"))
    started_s = thread_time()
    trigger.next_us(us("2024-06-02T00:00Z"))
    assert thread_time() - started_s < 0.5


def test_a_search_that_ends_without_a_proof_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Never(Old):
        def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
            answer = super().get_next_fire_time(previous_fire_time, now)
            return answer and answer + timedelta(seconds=1)

    monkeypatch.setattr(_meet, "MAX_LEAPS", 100)
    with pytest.raises(InvalidTriggerError, match="did not meet between 2024-01-02 00:00:00Z and 2024-01-02 "):
        AndTrigger([Never(60), every(seconds=30)]).next_us(us("2024-01-02T00:00Z"))


def test_starts_that_were_left_out_are_one_and_the_same() -> None:
    trigger = AndTrigger([IntervalTrigger(seconds=2), IntervalTrigger(seconds=3)])
    bound = trigger.anchored(us("2030-01-01T00:00:00.5+00:00"))
    assert walk(bound, "2030-01-01T00:00Z", 3) == ["01-01 00:00:06", "01-01 00:00:12", "01-01 00:00:18"]
    assert trigger.next_us(us("2020-01-01T00:00Z")) is not None
    assert bound.same_rule(trigger)
    assert bound != trigger
    assert bound.elapsed
    assert not AndTrigger([IntervalTrigger(seconds=2), cron(minute=1)]).elapsed
    fixed = OrTrigger([every(seconds=2), cron(minute=1)])
    assert fixed.anchored(5) is fixed


def test_a_date_that_has_passed_is_late_when_it_is_all_there_is() -> None:
    at_us = us("2024-06-01T00:00Z")
    assert OrTrigger([DateTrigger("2024-01-02T01:00Z"), DateTrigger("2024-01-02T02:00Z")]).first_us(at_us) == us(
        "2024-01-02T02:00Z"
    )
    assert OrTrigger([DateTrigger("2024-01-02T01:00Z"), every(minutes=1)]).first_us(at_us) == at_us


def test_ends_and_jitter() -> None:
    ends = [
        every(minutes=2, end_date="2024-02-01T00:00Z"),
        every(minutes=3, end_date="2024-03-01T00:00Z"),
        every(minutes=5),
    ]
    assert AndTrigger(ends).end_us == us("2024-02-01T00:00Z")
    assert OrTrigger(ends).end_us is None
    assert OrTrigger(ends[:2]).end_us == us("2024-03-01T00:00Z")
    jittered = [every(minutes=2, jitter=3), every(minutes=3, jitter=5)]
    assert OrTrigger(jittered).jitter == 5
    assert OrTrigger(jittered, jitter=0).jitter is None
    assert AndTrigger(jittered, jitter=1.5).jitter_us == 1_500_000


def test_a_year_of_missed_times_is_counted_and_not_listed() -> None:
    start_us, upto_us = us("2024-01-02T00:00Z") - 1, us("2025-01-01T00:00Z")
    union = OrTrigger([every(minutes=2), every(minutes=5), cron(BERLIN, minute=0)])
    both = AndTrigger([every(seconds=2), every(seconds=3)])
    rules = AndTrigger([cron(BERLIN, hour="7-22", minute="*"), cron(BERLIN, minute="*/5", day_of_week="mon-fri")])
    for trigger, times in ((both, 5_256_001), (rules, 260 * 16 * 12 + 2 * 12)):
        started_s = thread_time()
        backlog = trigger.backlog(start_us, upto_us)
        assert thread_time() - started_s < 0.5
        assert backlog.times == pytest.approx(times, abs=300)
        assert backlog.last_us is not None
        assert backlog.last_us <= upto_us < (backlog.next_us or 0)
    # In common with a cron rule: walked, and the rest of it is looked for from the end.
    mixed = AndTrigger([every(minutes=2), cron(BERLIN, hour="7-22", minute="*")])
    backlog = mixed.backlog(start_us, upto_us)
    assert backlog.times == MAX_STEPS + 1
    assert (backlog.last_us, backlog.next_us) == (us("2024-12-31T21:58Z"), us("2025-01-01T06:00Z"))
    assert union.backlog(start_us, upto_us).last_us == upto_us


def test_a_backlog_with_a_third_partys_trigger_is_bounded() -> None:
    start_us, upto_us = us("2024-01-02T00:00Z") - 1, us("2025-01-01T00:00Z")
    both = AndTrigger([Old(90), every(minutes=2)]).backlog(start_us, upto_us)
    assert both.times == MAX_STEPS + 1
    assert (both.last_us, both.next_us) == (upto_us, upto_us + 360_000_000)
    union = OrTrigger([Old(90), every(minutes=2)]).backlog(start_us, upto_us)
    assert MAX_STEPS < union.times < 525_600
    assert union.last_us == upto_us
    assert union.next_us == us("2025-01-01T00:01:30Z")
    assert AndTrigger([Old(90), every(minutes=2)]).last_us(upto_us + 1) == upto_us
    with pytest.raises(LookupError):
        OrTrigger([Old(90), every(minutes=2)]).last_us(upto_us)


def test_a_childs_trigger_that_stands_still_is_shown_to_the_engine() -> None:
    class Stuck(Old):
        def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
            return datetime(2024, 1, 2, 0, 1, tzinfo=UTC)

    at_us = us("2024-01-02T00:01Z")
    assert OrTrigger([Stuck(1), every(hours=1)]).next_us(at_us) == at_us
    assert OrTrigger([Stuck(1), every(hours=1)]).backlog(at_us - 1, at_us + 10) == Backlog(1, at_us, at_us)


@pytest.mark.parametrize("kind", [AndTrigger, OrTrigger])
@pytest.mark.parametrize(
    ("triggers", "message"),
    [
        ([], "the list is empty"),
        (every(minutes=1), "give a list of triggers"),
        ("cron", "give a list of triggers"),
        (5, "give a list of triggers"),
        (["cron"], "'cron' is no trigger"),
        ([IntervalTrigger], "is no trigger; give an instance"),
    ],
    ids=str,
)
def test_wrong_children(kind: Any, triggers: Any, message: str) -> None:
    with pytest.raises(InvalidTriggerError, match=message):
        kind(triggers)


def test_wrong_options() -> None:
    with pytest.raises(InvalidTriggerError, match="tolerance: -1 cannot be used"):
        AndTrigger([every(minutes=1)], tolerance=-1)
    with pytest.raises(InvalidTriggerError, match="jitter: -1 cannot be used"):
        OrTrigger([every(minutes=1)], jitter=-1)
    with pytest.raises(InvalidTriggerError, match="did you mean 'Europe/Berlin'"):
        OrTrigger([every(minutes=1)], timezone="Europe/Berln")


COMBINED: list[Any] = [
    AndTrigger([every(seconds=2), every(seconds=3)]),
    AndTrigger([every(minutes=2), cron(BERLIN, hour="7-22")], jitter=2.5, tolerance=0.5),
    OrTrigger(
        [DateTrigger("2024-01-02T01:00Z"), CronTrigger.from_crontab("*/5 * * * *", BERLIN)], timezone="Asia/Tokyo"
    ),
    OrTrigger([AndTrigger([cron(BERLIN, day=1), cron(BERLIN, day_of_week="mon")]), every(hours=1)], jitter=0),
]


@pytest.mark.parametrize("trigger", COMBINED, ids=str)
def test_round_trips(trigger: AndTrigger | OrTrigger) -> None:
    restored = type(trigger).__new__(type(trigger))
    restored.__setstate__(json.loads(json.dumps(trigger.__getstate__())))
    for copy in (eval(repr(trigger)), pickle.loads(pickle.dumps(trigger)), restored):
        assert copy == trigger
        assert hash(copy) == hash(trigger)
        assert (str(copy), repr(copy)) == (str(trigger), repr(trigger))
        assert (copy.jitter, copy.timezone, copy.end_us) == (trigger.jitter, trigger.timezone, trigger.end_us)
    assert restored.__getstate__() == trigger.__getstate__()
    assert restored.same_rule(trigger)
    assert trigger != str(trigger)
    assert not trigger.same_rule(str(trigger))  # type: ignore[arg-type]


def test_a_third_partys_child_is_kept_as_it_is() -> None:
    trigger = OrTrigger([Old(90), every(minutes=2)])
    assert trigger.__getstate__()["triggers"][0] == Old(90)
    assert pickle.loads(pickle.dumps(trigger)) == trigger
    assert trigger.triggers == [Old(90), every(minutes=2)]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"version": 9}, ValueError, "version 9; this release reads 3"),
        ({"triggers": []}, ValueError, "has no triggers"),
        ({"triggers": ["cron"]}, ValueError, "'cron' is not the record of a trigger"),
        ({"triggers": [{"type": "moon", "state": {}}]}, UnknownPluginError, "there is no trigger 'moon'"),
        ({"timezone": "Mars/Base"}, ValueError, "no zone is called 'Mars/Base'"),
    ],
    ids=str,
)
def test_wrong_states(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        OrTrigger.__new__(OrTrigger).__setstate__(COMBINED[2].__getstate__() | change)
    state = COMBINED[2].__getstate__()
    del state["jitter_us"]
    with pytest.raises(ValueError, match="lacks 'jitter_us'"):
        OrTrigger.__new__(OrTrigger).__setstate__(state)


@pytest.mark.parametrize("kind", [AndTrigger, OrTrigger])
def test_states_of_3x(kind: type[Any]) -> None:
    children = [cron(BERLIN, hour=7), every(minutes=2)]
    expected = kind(children, jitter=5)
    for triggers in (children, [(type(child), child.__getstate__()) for child in children]):
        restored: Any = object.__new__(kind)
        restored.__setstate__({"version": 1, "triggers": triggers, "jitter": 5})
        assert restored == expected


def test_other_zone_data_in_a_child_shows() -> None:
    state = COMBINED[3].__getstate__()
    assert not COMBINED[3].zone_data_changed
    state["triggers"][0]["state"]["triggers"][0]["state"]["zone_data"] = "1999z"
    restored = OrTrigger.__new__(OrTrigger)
    restored.__setstate__(state)
    assert restored.zone_data_changed


def test_a_combination_is_a_value() -> None:
    trigger = COMBINED[0]
    with pytest.raises(AttributeError, match="triggers are values: end_us cannot be set; make a new AndTrigger"):
        trigger.end_us = 1
    assert not hasattr(trigger, "__dict__")
    assert plugins.load(plugins.TRIGGERS, "and") is AndTrigger
    assert plugins.load(plugins.TRIGGERS, "or") is OrTrigger
    assert AndTrigger([every(minutes=1)]) != OrTrigger([every(minutes=1)])
    assert AndTrigger([every(minutes=1)], tolerance=1) != AndTrigger([every(minutes=1)])


def test_words() -> None:
    assert COMBINED[0].describe() == (
        "when all meet: (every 2 seconds from 2024-01-02 00:00:00) and (every 3 seconds from 2024-01-02 00:00:00)"
    )
    assert COMBINED[1].describe().startswith("when all meet within 0.5 seconds: (every 2 minutes")
    assert str(COMBINED[0]) == "and[interval[0:00:02], interval[0:00:03]]"
    assert OrTrigger([cron(hour=7), cron(hour=9, minute=30)]).describe() == "at 07:00 and also at 09:30"


def test_what_a_calendar_rules_out_of_a_meeting_is_told() -> None:
    hours = cron(hour="*")
    workdays = cron(minute="0,30").excluding(Weekdays("sat", "sun"))
    both = AndTrigger([hours, workdays])
    friday_us, monday_us = us("2026-11-20T23:00Z"), us("2026-11-23T00:00Z")
    assert both.excludes
    assert both.next_us(friday_us) == monday_us
    assert both.excluded(friday_us, monday_us) == Excluded(48, us("2026-11-21T00:00Z"), us("2026-11-22T23:00Z"))
    assert both.excluded(us("2026-11-20T00:00Z"), us("2026-11-20T20:00Z")) is None
    # Fire times in between are not among them.
    assert both.excluded(us("2026-11-20T20:00Z"), us("2026-11-23T05:00Z")) == both.excluded(friday_us, monday_us)
    nested = OrTrigger([AndTrigger([both, cron(hour="6-7")]), cron(year=2030)])
    assert nested.excluded(friday_us, monday_us) == Excluded(4, us("2026-11-21T06:00Z"), us("2026-11-22T07:00Z"))
    assert not AndTrigger([hours, hours]).excludes


WEEKS = [
    AndTrigger([cron("America/New_York", day_of_week="wed", hour=19, minute="*"), cron(day_of_week="mon", minute=3)]),
    AndTrigger([cron("America/New_York", hour=19, minute="*"), cron(hour=0, month=7)]),
    AndTrigger(
        [cron("Asia/Tokyo", day=29, month=2, day_of_week="tue", hour=12), cron(BERLIN, day_of_week="mon", hour=4)]
    ),
    AndTrigger([cron("America/New_York", hour=9, day_of_week="mon"), cron(day_of_week="thu")], tolerance=30),
    AndTrigger([every(days=37, seconds=1), cron(month=2, day=29, day_of_week="mon", hour="*", minute="*")]),
    AndTrigger([every(days=60, seconds=61), cron(day=1, hour=9, minute="0,1")]),
    AndTrigger(
        [CalendarIntervalTrigger(months=7, hour=9, start_date="2024-01-31", timezone="UTC"), cron(BERLIN, day=30)]
    ),
    AndTrigger(
        [
            CalendarIntervalTrigger(days=14, hour=9, start_date="2024-01-31", timezone="UTC"),
            every("2024-02-01T09:00Z", days=7),
        ]
    ),
    AndTrigger([cron(BERLIN, hour=9).excluding(Weekdays("sat", "sun")), cron("UTC", day_of_week="sat", hour="*")]),
]


@pytest.mark.parametrize("trigger", WEEKS, ids=str)
def test_what_never_meets_is_looked_up_and_not_searched_for(trigger: AndTrigger) -> None:
    """Work is counted, and not time: triggers asked in the search for a meeting that never comes."""
    meeting = Meeting(trigger._children, trigger._tolerance_us)
    budget = [MAX_LEAPS]
    assert meeting.next_us(us("2026-01-01T00:00Z"), budget) is None
    assert MAX_LEAPS - budget[0] <= 50
    left = list(budget)
    assert meeting.next_us(us("2027-01-01T00:00Z"), budget) is None
    assert budget == left  # it is remembered
    assert trigger.next_us(us("2026-01-01T00:00Z")) is None


def test_equal_triggers_share_what_was_found() -> None:
    one, other = (AndTrigger([cron(day=1), cron(BERLIN, day_of_week="mon", hour="*")]) for _ in range(2))
    assert one._meeting() is other._meeting()
    # What a user's own class calls equal need not be so.
    one, other = (AndTrigger([Old(90), cron(BERLIN, day_of_week="mon", hour="*")]) for _ in range(2))
    assert one._meeting() is not other._meeting()


# -- against a slow oracle, written apart: a scan of UTC minutes ------------------------------------------------------------

Predicate = Callable[[datetime], bool]
START = datetime(2024, 3, 30, tzinfo=UTC)  # a day before the clocks change in Europe
MINUTES = 2 * 1440 + 600


def fires_every(minutes: int, lead: int) -> tuple[EngineTrigger, Predicate]:
    start = START - timedelta(minutes=lead)
    trigger = IntervalTrigger(minutes=minutes, start_date=start, timezone="UTC")
    return trigger, lambda at: at >= start and (at - start) % timedelta(minutes=minutes) == timedelta(0)


def fires_at(
    zone: str, hours: frozenset[int], minutes: frozenset[int], days: frozenset[int]
) -> tuple[EngineTrigger, Predicate]:
    text = [",".join(map(str, sorted(values))) for values in (hours, minutes, days)]
    trigger = CronTrigger(day_of_week=text[2], hour=text[0], minute=text[1], timezone=zone, dst="literal")

    def shows(at: datetime) -> bool:
        local = at.astimezone(ZoneInfo(zone))
        return local.hour in hours and local.minute in minutes and local.weekday() in days

    return trigger, shows


children = st.builds(fires_every, st.sampled_from([1, 2, 3, 5, 7, 45, 90, 1440]), st.integers(0, 2000)) | st.builds(
    fires_at,
    st.sampled_from(["UTC", BERLIN, "Europe/London", "Asia/Kolkata", "America/New_York"]),
    st.frozensets(st.integers(0, 23), min_size=1, max_size=24),
    st.frozensets(st.integers(0, 59), min_size=1, max_size=8) | st.just(frozenset(range(60))),
    st.frozensets(st.integers(0, 6), min_size=1, max_size=7),
)


def combined(kind: type[Any], rule: Callable[[list[bool]], bool], parts: list[Any]) -> tuple[EngineTrigger, Predicate]:
    trigger: EngineTrigger = kind([trigger for trigger, _ in parts])
    return trigger, lambda at: rule([predicate(at) for _, predicate in parts])


ands = st.lists(children, min_size=1, max_size=3).map(lambda parts: combined(AndTrigger, all, parts))
ors = st.lists(children, min_size=1, max_size=3).map(lambda parts: combined(OrTrigger, any, parts))
nested = st.lists(ands | ors, min_size=2, max_size=2)
anything = (
    ands
    | ors
    | nested.map(lambda parts: combined(AndTrigger, all, parts))
    | nested.map(lambda parts: combined(OrTrigger, any, parts))
)


@calm
@given(made=anything, cut=st.integers(0, MINUTES * 60_000_000 - 1))
def test_the_fire_times_are_what_a_scan_finds(made: tuple[EngineTrigger, Predicate], cut: int) -> None:
    trigger, predicate = made
    start_us = from_datetime(START)
    end_us = start_us + MINUTES * 60_000_000
    expected = [
        start_us + minute * 60_000_000 for minute in range(MINUTES) if predicate(START + timedelta(minutes=minute))
    ]
    found = []
    at_us = trigger.next_us(start_us - 1)
    while at_us is not None and at_us < end_us:
        found.append(at_us)
        at_us = trigger.next_us(at_us)
    assert found == expected
    middle_us = start_us + cut
    for low_us, high_us in ((start_us - 1, middle_us), (middle_us, end_us - 1), (start_us - 1, end_us - 1)):
        inside = [at_us for at_us in expected if low_us < at_us <= high_us]
        backlog = trigger.backlog(low_us, high_us)
        if len(inside) < MAX_STEPS:
            assert backlog.times == len(inside)
        else:
            assert MAX_STEPS <= backlog.times <= len(inside)
        assert backlog.last_us == (inside[-1] if inside else None)
        assert backlog.next_us == trigger.next_us(high_us)


@calm
@given(made=anything, asked=st.lists(st.integers(0, 40 * 365 * 86400 * 1_000_000), min_size=2, max_size=5))
def test_answers_are_later_monotone_and_repeatable(made: tuple[EngineTrigger, Predicate], asked: list[int]) -> None:
    trigger, _ = made
    asked = sorted(us("2024-03-29T00:00Z") + at_us for at_us in asked)
    answers = [trigger.next_us(at_us) for at_us in asked]
    assert answers == [trigger.next_us(at_us) for at_us in asked]
    for at_us, answer_us in zip(asked, answers, strict=True):
        if answer_us is not None:
            assert answer_us > at_us
            assert trigger.next_us((at_us + answer_us) // 2) == answer_us
            assert trigger.next_us(answer_us - 1) == answer_us
    for one_us, other_us in itertools.pairwise(answers):
        assert other_us is None or (one_us is not None and one_us <= other_us)


def test_clocks_that_change_together_are_no_meeting() -> None:
    """An hour apart all year; the days on which both clocks change are looked into for 400 years, which is the proof."""
    minutes = IntervalTrigger(minutes=1, start_date="2024-03-30T00:00:00Z", timezone="UTC")
    one = CronTrigger(day_of_week="mon-thu,sun", hour="0,2,4", minute="*", timezone=BERLIN, dst="literal")
    other = CronTrigger(hour="0,2", minute="*", timezone="Europe/London", dst="literal")
    assert AndTrigger([minutes, one, other]).next_us(us("2024-03-29T00:00Z")) is None


def test_the_module_imports_no_heavy_module() -> None:
    heavy = ["asyncio", "dataclasses", "inspect", "dateutil", "holidays", "tzlocal"]
    code = f"import sys, schedcore.triggers.combining; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_intervals_that_hardly_drift_part_for_good() -> None:
    """A second in 70 days is an hour after 3,600 turns; the week after which they would meet again is beyond the year 9999."""
    drifting, weekly = every(days=70, seconds=1), every(weeks=1)
    both = AndTrigger([drifting, weekly], tolerance=3600)
    last_us = us("2024-01-02T00:00:00Z") + 3600 * drifting.interval_us
    assert both.next_us(last_us - 1) == last_us
    assert both.next_us(last_us) is None
    assert both.next_us(us("3000-01-01T00:00:00Z")) is None

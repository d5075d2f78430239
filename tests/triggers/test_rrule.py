"""Recurrence rules of RFC 5545."""

from __future__ import annotations

import builtins
import itertools
import json
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from time import thread_time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedcore import plugins
from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError, MissingExtraError
from schedcore.testing import VirtualScheduler
from schedcore.triggers.base import EngineTrigger
from schedcore.triggers.calendars import Weekdays
from schedcore.triggers.rrule import RRuleTrigger

library = pytest.importorskip("dateutil.rrule", reason="python-dateutil is not installed; the extra 'rrule' brings it")

calm = settings(deadline=None, derandomize=True, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
NY = "America/New_York"
BERLIN = "Europe/Berlin"


def us(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text))


def walk(trigger: EngineTrigger, number: int, after: str = "1990-01-01T00:00Z") -> list[str]:
    answers: list[str] = []
    at_us: int | None = us(after) - 1
    while at_us is not None and len(answers) < number:
        at_us = trigger.next_us(at_us)
        if at_us is None:
            answers.append("never")
        else:
            answers.append(to_datetime(at_us).astimezone(trigger.timezone).isoformat(sep=" ", timespec="minutes"))
    return answers


def days(answers: list[str]) -> list[str]:
    return [answer[:10] for answer in answers]


@pytest.mark.parametrize(
    ("rule", "dates"),
    [
        # The examples of RFC 5545, 3.8.5.3; all begin on 2 September 1997 at 09:00 in New York, unless they say otherwise.
        ("FREQ=DAILY;COUNT=3", ["1997-09-02", "1997-09-03", "1997-09-04", "never"]),
        ("FREQ=DAILY;INTERVAL=10;COUNT=5", ["1997-09-02", "1997-09-12", "1997-09-22", "1997-10-02", "1997-10-12", "never"]),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,TH;COUNT=4", ["1997-09-02", "1997-09-04", "1997-09-16", "1997-09-18", "never"]),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=1FR", ["1997-09-05", "1997-10-03", "1997-11-07", "never"]),
        ("FREQ=MONTHLY;INTERVAL=2;BYDAY=1SU,-1SU", ["1997-09-07", "1997-09-28", "1997-11-02", "1997-11-30"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", ["1997-09-28", "1997-10-29", "1997-11-28", "1997-12-29"]),
        ("FREQ=YEARLY;INTERVAL=2;BYMONTH=1,2", ["1999-01-02", "1999-02-02", "2001-01-02"]),
        ("FREQ=YEARLY;BYDAY=20MO", ["1998-05-18", "1999-05-17", "2000-05-15"]),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", ["1998-05-11", "1999-05-17", "2000-05-15"]),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", ["1998-02-13", "1998-03-13", "1998-11-13", "1999-08-13", "2000-10-13"]),
        ("FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", ["1997-11-04", "2001-11-06", "2005-11-08"]),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", ["1997-09-04", "1997-10-07", "1997-11-06", "never"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", ["1997-09-29", "1997-10-30", "1997-11-27"]),
        ("FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=4", ["1997-09-15", "1997-09-30", "1997-10-15", "1997-10-30", "never"]),
        ("FREQ=DAILY;UNTIL=19970905T000000Z", ["1997-09-02", "1997-09-03", "1997-09-04", "never"]),
        ("FREQ=DAILY;UNTIL=19970904", ["1997-09-02", "1997-09-03", "1997-09-04", "never"]),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", ["never"]),
        ("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", ["never"]),
    ],
)  # fmt: skip
def test_examples_of_the_rfc(rule: str, dates: list[str]) -> None:
    trigger = RRuleTrigger(rule, dtstart="1997-09-02 09:00", timezone=NY)
    answers = walk(trigger, len(dates))
    assert [answer[:10] for answer in answers] == dates
    assert all(answer == "never" or answer[11:16] == "09:00" for answer in answers)


@pytest.mark.parametrize(
    ("dst", "after", "answers"),
    [
        ("skip", "2024-03-30T00:00Z", ["2024-03-30 02:30+01:00", "2024-04-01 02:30+02:00"]),
        ("cron", "2024-03-30T00:00Z", ["2024-03-30 02:30+01:00", "2024-03-31 03:00+02:00", "2024-04-01 02:30+02:00"]),
        ("skip", "2024-10-27T00:00Z", ["2024-10-27 02:30+02:00", "2024-10-28 02:30+01:00"]),
        ("skip", "2024-10-27T00:45Z", ["2024-10-28 02:30+01:00"]),
        ("cron", "2024-10-27T01:15Z", ["2024-10-28 02:30+01:00"]),
    ],
)
def test_clock_changes(dst: Any, after: str, answers: list[str]) -> None:
    trigger = RRuleTrigger("FREQ=DAILY", dtstart="2024-01-01 02:30", timezone=BERLIN, dst=dst)
    assert walk(trigger, len(answers), after) == answers


def test_years_of_three_digits() -> None:
    trigger = RRuleTrigger(
        "DTSTART:09300101T000000\nRRULE:FREQ=DAILY;UNTIL=09300104\nEXDATE:09300102T000000", timezone="UTC"
    )
    assert days(walk(trigger, 4, "0900-01-01T00:00Z")) == ["0930-01-01", "0930-01-03", "0930-01-04", "never"]


@pytest.mark.parametrize(
    ("dst", "kind", "at", "then"),
    [
        ("skip", "gap: skipped", "03:00", "it does not run that day, because dst is 'skip'"),
        ("cron", "gap: moved", "03:00", "it runs at 03:00:00, because dst is 'cron'"),
    ],
)
def test_what_the_clocks_jump_over_can_be_asked_for(dst: Any, kind: str, at: str, then: str) -> None:
    trigger = RRuleTrigger("FREQ=HOURLY;INTERVAL=2", dtstart="2026-03-28T00:30", timezone=BERLIN, dst=dst)
    first, last = us("2026-01-01T00:00Z"), us("2027-12-31T00:00Z")
    changes = trigger.changes(first, last)
    spring = [(f"{day} 02:30:00", kind, f"{day} {at}+0200") for day in ("2026-03-29", "2027-03-28")]
    autumn = [(f"{day} 02:30:00", "overlap: first only", f"{day} 02:30+0100") for day in ("2026-10-25", "2027-10-31")]
    found = [(f"{change.local}", change.kind, f"{change.at:%Y-%m-%d %H:%M%z}") for change in changes]
    assert found == sorted(spring + autumn)
    assert (
        changes[0].reason == f"02:30:00 does not exist on 2026-03-29 in {BERLIN}, where the clocks go forward; {then}"
    )
    assert trigger.changes(first, last, 1) == changes[:1]
    for asked, change in (("2026-03-29T02:30", changes[0]), ("2026-10-25T02:30+01:00", changes[1])):
        answer = trigger.explain(at=asked).answer
        assert answer is not None
        assert answer.reasons == (change.reason,)
    lint = trigger.explain(now=datetime(2026, 1, 1, tzinfo=UTC)).lint
    assert [finding.code for finding in lint] == ["gap", "overlap"]


def test_the_lines_of_an_event() -> None:
    trigger = RRuleTrigger(
        "DTSTART;TZID=Europe/Berlin:20260105T090000\n"
        "RRULE:FREQ=WEEKLY;BYDAY=MO;\n UNTIL=20260203T000000Z\n"
        "EXDATE;TZID=Europe/Berlin:20260112T090000\n"
        "EXDATE:20260126T080000Z\n"
        "RDATE:20260114T070000Z,20260115T100000\n"
        "EXRULE:FREQ=MONTHLY;BYMONTHDAY=2"
    )
    assert trigger.timezone == ZoneInfo(BERLIN)
    assert trigger.dtstart == datetime(2026, 1, 5, 9)  # noqa: DTZ001
    assert walk(trigger, 5) == [
        "2026-01-05 09:00+01:00",
        "2026-01-14 08:00+01:00",
        "2026-01-15 10:00+01:00",
        "2026-01-19 09:00+01:00",
        "never",
    ]
    assert RRuleTrigger("DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY").timezone is UTC
    elsewhere = RRuleTrigger("DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY", timezone="Asia/Tokyo")
    assert walk(elsewhere, 1) == ["2026-01-05 18:00+09:00"]


def test_a_rule_of_dateutil() -> None:
    start = datetime(2026, 1, 5, 9, tzinfo=ZoneInfo(BERLIN))
    until = datetime(2026, 1, 7, 9, tzinfo=ZoneInfo(BERLIN))
    trigger = RRuleTrigger(library.rrule(library.DAILY, dtstart=start, until=until))
    assert trigger.timezone == ZoneInfo(BERLIN)
    assert days(walk(trigger, 4)) == ["2026-01-05", "2026-01-06", "2026-01-07", "never"]
    naive = RRuleTrigger(
        library.rrule(library.WEEKLY, dtstart=start.replace(tzinfo=None), byweekday=library.FR), timezone="UTC"
    )
    assert days(walk(naive, 2)) == ["2026-01-09", "2026-01-16"]
    elsewhere = RRuleTrigger(library.rrule(library.DAILY, dtstart=start, until=until), timezone="Asia/Tokyo")
    assert walk(elsewhere, 4) == ["2026-01-05 17:00+09:00", "2026-01-06 17:00+09:00", "2026-01-07 17:00+09:00", "never"]
    with pytest.raises(InvalidTriggerError, match="give the text of a rule"):
        RRuleTrigger(library.rruleset())


@pytest.mark.parametrize(
    ("rule", "options", "zone", "first"),
    [
        (f"DTSTART;TZID={NY}:20260105T090000\nRRULE:FREQ=DAILY", {}, NY, "09:00-04:00"),
        ("DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY", {}, "UTC", "09:00+00:00"),
        (library.rrule(library.DAILY, dtstart=datetime(2026, 1, 5, 9, tzinfo=ZoneInfo(NY))), {}, NY, "09:00-04:00"),
        ("DTSTART:20260105T090000\nRRULE:FREQ=DAILY", {}, BERLIN, "09:00+01:00"),
        ("RRULE:FREQ=DAILY", {"dtstart": "2026-01-05 09:00"}, BERLIN, "09:00+01:00"),
        (
            f"DTSTART;TZID={NY}:20260105T090000\nRRULE:FREQ=DAILY",
            {"dtstart": "2026-01-05 10:00"},
            BERLIN,
            "10:00+01:00",
        ),
        (f"DTSTART;TZID={NY}:20260105T090000\nRRULE:FREQ=DAILY", {"timezone": "UTC"}, "UTC", "14:00+00:00"),
    ],
)
def test_a_rule_that_names_its_zone_keeps_it_in_a_scheduler_of_another_one(
    rule: Any, options: dict[str, Any], zone: str, first: str
) -> None:
    """In March the clocks of New York go forward three weeks before those of Berlin."""
    scheduler = VirtualScheduler(start="2026-03-09T00:00:00Z", timezone=BERLIN)
    job = scheduler.add_job(print, "rrule", rule=rule, **options)
    scheduler.start()
    next_run = job.next_run_time
    assert next_run is not None
    assert (str(next_run.tzinfo), next_run.isoformat(timespec="minutes")) == (zone, f"2026-03-09T{first}")
    scheduler.shutdown()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "there is no RRULE in it"),
        ("FREQ=WEEKLI", "FREQ is WEEKLI; it is one of"),
        ("INTERVAL=1", "FREQ is missing"),
        ("FREQ=DAILY;BYDYA=MO", "'BYDYA' is not understood; did you mean 'BYDAY'"),
        ("FREQ=DAILY;BYDAY=XX", "'FREQ=DAILY;BYDAY=XX' cannot be used"),
        ("FREQ=DAILY;BYHOUR=x", "cannot be used"),
        (
            "DTSTART:20260101T090000\nRRULE:FREQ=HOURLY;INTERVAL=2;BYHOUR=20",
            "by its INTERVAL from 2026-01-01 09:00:00 on it never comes to what its BYHOUR, BYMINUTE or BYSECOND name",
        ),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ is there twice"),
        ("FREQ=DAILY;BYDAY=", "BYDAY has no value"),
        ("FREQ=DAILY;", "'' is not understood; write parts such as FREQ=DAILY, with ';' between them"),
        ("DAILY", "'DAILY' is not understood; write parts such as FREQ=DAILY, with ';' between them"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL is '0', and not a whole number from 1 up"),
        ("FREQ=DAILY;COUNT=-1", "COUNT is '-1'"),
        ("FREQ=DAILY;COUNT=²", "COUNT is '²'"),
        (f"FREQ=DAILY;INTERVAL={'9' * 5000}", "INTERVAL is '9"),
        ("FREQ=WEEKLY;BYDAY=TU,1MO", "BYDAY has 1MO; days are numbered where FREQ is MONTHLY or YEARLY"),
        ("FREQ=DAILY;BYDAY=MO(-1)", "BYDAY has MO(-1); days are numbered where"),
        ("DTSTART:20260101T000000\nDTSTART:20260102T000000\nRRULE:FREQ=DAILY", "DTSTART is there twice"),
        ("FREQ=YEARLY;BYMONTH=1,13", "BYMONTH has 13, and goes from 1 to 12"),
        ("FREQ=YEARLY;BYMONTH=-1", "BYMONTH has -1, and goes from 1 to 12"),
        ("FREQ=MONTHLY;BYMONTHDAY=0,1", "BYMONTHDAY has 0, and goes from 1 to 31, or from -1 to -31 counted from the end"),
        ("FREQ=YEARLY;BYYEARDAY=-367", "BYYEARDAY has -367"),
        ("FREQ=YEARLY;BYWEEKNO=54", "BYWEEKNO has 54"),
        ("FREQ=DAILY;COUNT=1000000", "at most 20000 can be counted"),
        ("FREQ=DAILY;COUNT=1;UNTIL=20260101", "COUNT and UNTIL exclude each other"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL: 'TOMORROW' is not a date of RFC 5545"),
        ("RRULE:FREQ=DAILY\nEXDATE:20261301", "EXDATE: '20261301' is not a date"),
        ("RULE:FREQ=DAILY", "'RULE' is not understood; did you mean 'RRULE'"),
        ("RRULE;X=1:FREQ=DAILY", "the parameter 'X' is not understood"),
        ("EXDATE:20260101", "there is no RRULE in it"),
        ("DTSTART;TZID=Mars/Base:20260101T000000\nRRULE:FREQ=DAILY", "no zone is called 'Mars/Base'"),
        (5, "5 is of type int; give the text of a rule"),
    ],
)  # fmt: skip
def test_wrong_rules(rule: Any, message: str) -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        RRuleTrigger(rule)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "zone", "message"),
    [
        ("FREQ=DAILY;UNTIL=99991231T235959Z", "Asia/Tokyo", "leave it out for a rule without an end"),
        ("DTSTART:00010101T000000Z\nRRULE:FREQ=DAILY", "America/New_York", "give one a day nearer to today"),
    ],
)
def test_times_that_a_zone_cannot_show(rule: str, zone: str, message: str) -> None:
    with pytest.raises(
        InvalidTriggerError, match=f"for which clocks in {zone} show none of the years 1 to 9999; {message}"
    ):
        RRuleTrigger(rule, timezone=zone)


def test_wrong_options() -> None:
    with pytest.raises(InvalidTriggerError, match="did you mean 'skip'"):
        RRuleTrigger("FREQ=DAILY", dst="skp")  # type: ignore[arg-type]
    with pytest.raises(InvalidTriggerError, match="does not exist in Europe/London"):
        RRuleTrigger("FREQ=DAILY", dtstart="2025-03-30 01:30", timezone="Europe/London")
    taken = RRuleTrigger("RRULE:FREQ=SECONDLY\nEXRULE:FREQ=SECONDLY;BYSETPOS=1", dtstart="2026-01-01", timezone="UTC")
    with pytest.raises(InvalidTriggerError, match="none was shown to be missing, when the search ended: FREQ=SECONDLY"):
        taken.next_us(0)


@pytest.mark.parametrize(
    ("lines", "dates"),
    [
        ("RRULE:FREQ=DAILY;INTERVAL=7\nEXRULE:FREQ=DAILY;INTERVAL=7", ["never"]),
        ("RRULE:FREQ=DAILY;INTERVAL=7\nEXRULE:FREQ=MINUTELY;BYHOUR=0", ["never"]),
        ("RRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR,SA", ["2026-01-04", "2026-01-11"]),
        ("RRULE:FREQ=DAILY\nEXRULE:FREQ=DAILY;COUNT=3000", ["2034-03-20", "2034-03-21"]),
        ("RRULE:FREQ=DAILY;COUNT=3\nEXRULE:FREQ=DAILY;INTERVAL=2", ["2026-01-02", "never"]),
        ("RRULE:FREQ=DAILY\nEXRULE:FREQ=YEARLY;BYMONTH=1", ["2026-01-02", "2026-01-03"]),
    ],
)
def test_what_a_rule_takes_away_is_not_walked_over(lines: str, dates: list[str]) -> None:
    trigger = RRuleTrigger(lines, dtstart="2026-01-01", timezone="UTC")
    assert days(walk(trigger, len(dates))) == dates


def weeks_of(day: date, week_start: int) -> tuple[int, int]:
    """The number of a day's week, and that from the end of its year: a week is of the year in which its 4th day is."""

    def week_1(year: int) -> date:
        fourth = date(year, 1, 4)
        return fourth - timedelta(days=(fourth.weekday() - week_start) % 7)

    begin = day - timedelta(days=(day.weekday() - week_start) % 7)
    year = (begin + timedelta(days=3)).year
    week = (begin - week_1(year)).days // 7 + 1
    return week, week - (week_1(year + 1) - week_1(year)).days // 7 - 1


@pytest.mark.parametrize(("name", "week_start"), [("MO", 0), ("WE", 2), ("SU", 6)])
@pytest.mark.parametrize("numbers", [(1,), (53,), (-1,), (20, 52), (-52, -53)])
def test_weeks_of_the_year(numbers: tuple[int, ...], name: str, week_start: int) -> None:
    """Also at the turn of the year, where dateutil takes the length of another year."""
    rule = f"FREQ=YEARLY;BYWEEKNO={','.join(map(str, numbers))};WKST={name}"
    trigger = RRuleTrigger(rule, dtstart="1995-01-01", timezone="UTC")
    start = date(1995, 1, 1)
    expected = [
        from_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC))
        for day in (start + timedelta(days=number) for number in range(60 * 365))
        if set(weeks_of(day, week_start)) & set(numbers)
    ]
    assert len(expected) > 50
    found, at_us = [], trigger.next_us(expected[0] - 1)
    while at_us is not None and at_us <= expected[-1]:
        found.append(at_us)
        at_us = trigger.next_us(at_us)
    assert found == expected


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;BYEASTER=-2,0,1,39",
        "FREQ=YEARLY;INTERVAL=3;BYEASTER=0;BYMONTH=4",
        "FREQ=YEARLY;BYDAY=FR;BYSETPOS=13,-13",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYHOUR=9,17;BYSETPOS=-1,3",
        "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=29,30,31;BYSETPOS=3",
        "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYHOUR=3,4;BYSETPOS=2,5",
        "FREQ=DAILY;INTERVAL=3;BYHOUR=1,2,3;BYMINUTE=10,20;BYSETPOS=-1,2",
        "FREQ=HOURLY;INTERVAL=5;BYMINUTE=10,20,30;BYSECOND=5,6;BYSETPOS=2,-1",
        "FREQ=HOURLY;BYHOUR=7,9;BYMINUTE=10,20,30;BYSETPOS=3",
        "FREQ=MINUTELY;INTERVAL=31;BYSECOND=1,2,3;BYSETPOS=-2",
        "FREQ=SECONDLY;INTERVAL=77;BYSETPOS=1",
    ],
)
@pytest.mark.parametrize("year", [1985, 1999, 2024])
def test_positions_and_easter_are_those_of_a_walk(rule: str, year: int) -> None:
    start = datetime(year, 1, 4 if year == 1999 else 1)  # noqa: DTZ001 - the wall clock's
    expected = list(itertools.islice(library.rrulestr(rule, dtstart=start), 150))
    if "WEEKLY" in rule:  # a week counts as a whole, also the first; dateutil counts from the start
        expected = expected[3:]
    trigger = RRuleTrigger(rule, dtstart=start, timezone="UTC")
    at_us = from_datetime(expected[0].replace(tzinfo=UTC)) - 1
    for each in expected:
        next_us = trigger.next_us(at_us)
        assert next_us == from_datetime(each.replace(tzinfo=UTC))
        at_us = next_us


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("dateutil"):
            raise ModuleNotFoundError("No module named 'dateutil'", name="dateutil")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"schedcore\[rrule\]"):
        RRuleTrigger("FREQ=DAILY")


def test_a_start_that_was_left_out() -> None:
    trigger = RRuleTrigger("FREQ=DAILY;INTERVAL=2", timezone="Asia/Tokyo")
    bound = trigger.anchored(us("2031-05-05T18:00:30.25+00:00"))
    assert walk(bound, 2) == ["2031-05-06 03:00+09:00", "2031-05-08 03:00+09:00"]
    assert bound.same_rule(trigger)
    assert bound != trigger
    fixed = RRuleTrigger("FREQ=DAILY", dtstart="2026-01-01", timezone="UTC")
    assert fixed.anchored(5) is fixed
    assert not fixed.same_rule(RRuleTrigger("FREQ=DAILY", timezone="UTC"))


TRIGGERS = [
    RRuleTrigger("freq=weekly;byday=mo,fr", dtstart="2026-01-01 09:00", timezone=BERLIN),
    RRuleTrigger(
        "RRULE:FREQ=DAILY;COUNT=5\nEXDATE:20260102T000000",
        dtstart="2026-01-01",
        end_date="2027-01-01",
        timezone="UTC",
        jitter=2.5,
        dst="cron",
    ),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_round_trips(trigger: RRuleTrigger) -> None:
    restored = RRuleTrigger.__new__(RRuleTrigger)
    restored.__setstate__(json.loads(json.dumps(trigger.__getstate__())))
    for copy in (eval(repr(trigger)), pickle.loads(pickle.dumps(trigger)), restored):
        assert copy == trigger
        assert hash(copy) == hash(trigger)
        assert (str(copy), repr(copy)) == (str(trigger), repr(trigger))
        assert walk(copy, 6) == walk(trigger, 6)
    assert restored.__getstate__() == trigger.__getstate__()
    assert restored.same_rule(trigger)
    assert trigger != str(trigger)
    with pytest.raises(AttributeError, match="triggers are values"):
        trigger.dst = "skip"
    assert plugins.load(plugins.TRIGGERS, "rrule") is RRuleTrigger
    state = trigger.__getstate__()
    with pytest.raises(ValueError, match="version 1; this release reads 3"):
        restored.__setstate__(state | {"version": 1})
    del state["lines"]
    with pytest.raises(ValueError, match="lacks 'lines'"):
        restored.__setstate__(state)


def test_words() -> None:
    assert TRIGGERS[0].describe() == "by the rule RRULE:FREQ=WEEKLY;BYDAY=MO,FR from 2026-01-01 09:00:00"
    assert TRIGGERS[1].describe().endswith("until 2027-01-01 00:00:00")
    assert str(TRIGGERS[0]) == "rrule[RRULE:FREQ=WEEKLY;BYDAY=MO,FR]"
    assert TRIGGERS[0].excluding(Weekdays("mon")).next_us(0) == us("2026-01-02T08:00Z")


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY",
        "FREQ=MINUTELY;INTERVAL=7;BYHOUR=9",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYEASTER=0",
    ],
)
def test_answers_do_not_take_longer_far_from_the_start(rule: str) -> None:
    trigger = RRuleTrigger(rule, dtstart="1900-01-01", timezone="UTC")
    for year in (1900, 2026, 2100):
        started_s = thread_time()
        trigger.next_us(us(f"{year}-03-01T00:00Z"))
        assert thread_time() - started_s < 1
    started_s = thread_time()
    backlog = trigger.backlog(us("1950-01-01T00:00Z"), us("2026-01-01T00:00Z"))
    assert thread_time() - started_s < 2
    assert backlog.times <= 1000
    assert backlog.next_us == trigger.next_us(us("2026-01-01T00:00Z"))


# -- against dateutil walking from the start ------------------------------------------------------------------------------


@st.composite
def rules(draw: st.DrawFn) -> str:
    freq = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]))
    parts = [f"FREQ={freq}", f"INTERVAL={draw(st.integers(1, 5))}"]

    def listed(low: int, high: int) -> str:
        values = draw(st.lists(st.integers(low, high).filter(bool), min_size=1, max_size=3, unique=True))
        return ",".join(map(str, values))

    if draw(st.booleans()):
        # Of a list of both kinds dateutil is no judge: see the next test.
        prefix = draw(st.sampled_from([[""], ["1", "-1", "2"]])) if freq in ("YEARLY", "MONTHLY") else [""]
        named = st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"])
        parts.append(
            "BYDAY="
            + ",".join(
                draw(
                    st.lists(
                        st.sampled_from(prefix).flatmap(lambda p: named.map(lambda d: p + d)),
                        min_size=1,
                        max_size=3,
                        unique=True,
                    )
                )
            )
        )
    if draw(st.booleans()):
        parts.append("BYMONTH=" + listed(1, 12))
    if draw(st.integers(0, 3)) == 0:
        parts.append("BYMONTHDAY=" + listed(-3, 31))
    if draw(st.integers(0, 3)) == 0:
        parts.append("BYHOUR=" + listed(1, 23))
    if draw(st.integers(0, 4)) == 0 and freq in ("YEARLY", "MONTHLY") and len(parts) > 2:
        parts.append("BYSETPOS=" + draw(st.sampled_from(["1", "-1", "2"])))
    if draw(st.booleans()):
        parts.append("WKST=" + draw(st.sampled_from(["MO", "SU", "WE"])))
    if draw(st.integers(0, 3)) == 0:
        parts.append(f"COUNT={draw(st.integers(1, 40))}")
    return ";".join(parts)


@calm
@given(
    rule=rules(),
    start=st.datetimes(datetime(2015, 1, 1), datetime(2020, 1, 1)).map(lambda at: at.replace(microsecond=0)),  # noqa: DTZ001
    asked=st.lists(st.integers(-400 * 86400, 2000 * 86400), min_size=1, max_size=6),
)
def test_the_fire_times_are_those_of_a_walk_from_the_start(rule: str, start: datetime, asked: list[int]) -> None:
    last = start + timedelta(days=2200)
    try:
        library.rrulestr(rule, dtstart=start)
    except ValueError:
        with pytest.raises(InvalidTriggerError):
            RRuleTrigger(rule, dtstart=start, timezone="UTC")
        return
    listed = list(
        itertools.takewhile(lambda at: at <= last, itertools.islice(library.rrulestr(rule, dtstart=start), 1500))
    )
    trigger = RRuleTrigger(rule, dtstart=start, timezone="UTC")
    complete = len(listed) < 1500
    expected = [from_datetime(at.replace(tzinfo=UTC)) for at in listed]
    for second in asked:
        at_us = from_datetime((start + timedelta(seconds=second)).replace(tzinfo=UTC))
        later = [fire_us for fire_us in expected if fire_us > at_us]
        if later:
            assert trigger.next_us(at_us) == later[0]
            assert trigger.next_us(later[0] - 1) == later[0]
            assert trigger.next_us((at_us + later[0]) // 2) == later[0]
        elif complete:
            answer_us = trigger.next_us(at_us)
            assert answer_us is None or answer_us > from_datetime(last.replace(tzinfo=UTC))
    found: list[int] = []
    at = trigger.next_us(from_datetime(start.replace(tzinfo=UTC)) - 1)
    while at is not None and len(found) < min(100, len(expected)):
        found.append(at)
        at = trigger.next_us(at)
    assert found == expected[: len(found)]
    assert len(found) == min(100, len(expected))


@pytest.mark.parametrize(
    "freq", ["FREQ=YEARLY", "FREQ=YEARLY;BYMONTH=2,9", "FREQ=MONTHLY", "FREQ=MONTHLY;BYMONTHDAY=1,-1,13"]
)
@pytest.mark.parametrize(("plain", "numbered"), [("MO", "1FR"), ("TU,SU", "-1SU,2WE"), ("SA", "5SA,-5MO")])
def test_each_day_of_a_list_stands_for_itself(freq: str, plain: str, numbered: str) -> None:
    def times(days: str) -> set[int]:
        trigger = RRuleTrigger(f"{freq};BYDAY={days}", dtstart="1997-09-02T09:00", timezone="UTC")
        return set(itertools.takewhile(lambda at: at < us("2002-01-01T00:00Z"), instances(trigger)))

    def instances(trigger: RRuleTrigger) -> Iterator[int]:
        at_us = trigger.next_us(0)
        while at_us is not None:
            yield at_us
            at_us = trigger.next_us(at_us)

    assert times(f"{plain},{numbered}") == times(plain) | times(numbered)


@st.composite
def frequent_rules(draw: st.DrawFn) -> str:
    freq = draw(st.sampled_from(["HOURLY", "MINUTELY", "SECONDLY"]))
    parts = [f"FREQ={freq}", f"INTERVAL={draw(st.integers(1, 100))}"]
    keys = {"HOURLY": ["BYHOUR", "BYMINUTE", "BYSECOND"], "MINUTELY": ["BYHOUR", "BYMINUTE", "BYSECOND"]}
    for key in keys.get(freq, ["BYMINUTE", "BYSECOND"]):
        if draw(st.booleans()):
            values = draw(st.lists(st.integers(0, 23 if key == "BYHOUR" else 59), min_size=1, max_size=9, unique=True))
            parts.append(f"{key}={','.join(map(str, values))}")
    if freq != "SECONDLY" and draw(st.booleans()):
        parts.append("BYDAY=" + draw(st.sampled_from(["MO", "TU,SU", "WE", "FR,SA,SU"])))
    if freq == "HOURLY" and draw(st.booleans()):
        parts.append("BYMONTHDAY=" + draw(st.sampled_from(["1", "-1", "10,20", "29,30"])))
    return ";".join(parts)


def scanned(rule: str, start: datetime, end: datetime) -> list[datetime]:
    """The instances of a rule by the hour, minute or second, by looking at each of these: what RFC 5545 says of them."""
    given = dict(part.split("=") for part in rule.split(";"))
    freq = ["HOURLY", "MINUTELY", "SECONDLY"].index(given["FREQ"])
    unit = timedelta(seconds=(3600, 60, 1)[freq])

    def numbers(key: str, own: int, expands: bool, most: int) -> list[int]:
        if key in given:
            return sorted(int(each) for each in given[key].split(","))
        return [own] if expands else list(range(most))

    hours = numbers("BYHOUR", 0, False, 24)
    minutes = numbers("BYMINUTE", start.minute, freq < 1, 60)
    seconds = numbers("BYSECOND", start.second, freq < 2, 60)
    weekdays = [
        ("MO", "TU", "WE", "TH", "FR", "SA", "SU").index(each[-2:])
        for each in given.get("BYDAY", "").split(",")
        if each
    ]
    days = [int(each) for each in given.get("BYMONTHDAY", "").split(",") if each]
    at = start.replace(second=start.second if freq == 2 else 0, minute=start.minute if freq else 0)
    found: list[datetime] = []
    while at <= end:
        left = (at.replace(day=28) + timedelta(days=4)).replace(day=1) - at.replace(hour=0, minute=0, second=0)
        if (
            at.hour in hours
            and (not weekdays or at.weekday() in weekdays)
            and (not days or at.day in days or -(left.days) in days)
        ):
            for minute in minutes if freq < 1 else {at.minute} & set(minutes):
                for second in seconds if freq < 2 else {at.second} & set(seconds):
                    moment = at.replace(minute=minute, second=second)
                    if start <= moment <= end:
                        found.append(moment)
        at += unit * int(given["INTERVAL"])
    return found


@calm
@given(
    rule=frequent_rules(),
    start=st.datetimes(datetime(2015, 1, 1), datetime(2020, 1, 1)).map(lambda at: at.replace(microsecond=0)),  # noqa: DTZ001
    data=st.data(),
)
def test_frequent_rules_are_those_of_a_walk_too(rule: str, start: datetime, data: st.DataObject) -> None:
    length = timedelta(days=60 if "HOURLY" in rule else 9 if "MINUTELY" in rule else 0, hours=2)
    expected = [from_datetime(at.replace(tzinfo=UTC)) for at in scanned(rule, start, start + length)]
    try:
        trigger = RRuleTrigger(rule, dtstart=start, timezone="UTC")
    except InvalidTriggerError:  # dateutil found out that it has no instance at all
        assert not expected
        return
    start_us = from_datetime(start.replace(tzinfo=UTC))
    end_us = start_us + length // timedelta(microseconds=1)
    found: list[int] = []
    at_us = trigger.next_us(start_us - 1)
    while at_us is not None and at_us <= end_us and len(found) < 300:
        found.append(at_us)
        at_us = trigger.next_us(at_us)
    assert found == expected[: len(found)]
    assert len(found) == 300 or len(found) == len(expected)
    asked_us = data.draw(st.integers(start_us - 1, end_us - 1))
    later = next((each for each in expected if each > asked_us), None)
    answer_us = trigger.next_us(asked_us)
    assert answer_us == later or (later is None and (answer_us is None or answer_us > end_us))


def test_a_state_of_other_zone_data_says_so() -> None:
    state = TRIGGERS[0].__getstate__()
    restored = RRuleTrigger.__new__(RRuleTrigger)
    restored.__setstate__(state)
    assert not restored.zone_data_changed
    restored.__setstate__(state | {"zone_data": "1999z"})
    assert restored.zone_data_changed


@pytest.mark.parametrize("freq", ["HOURLY", "MINUTELY", "SECONDLY"])
def test_days_that_are_years_apart_are_not_walked_to(freq: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted, and not time: dateutil is not asked at all."""
    text = f"FREQ={freq};BYMONTH=2;BYMONTHDAY=29;BYHOUR=3,4;BYMINUTE=7;BYSECOND=0"
    trigger = RRuleTrigger(text, dtstart="2024-03-01", timezone="UTC")
    monkeypatch.setattr(library.rrule, "xafter", None)
    at_us = from_datetime(datetime(2024, 3, 1, tzinfo=UTC))
    found = []
    for _ in range(4):
        next_us = trigger.next_us(at_us)
        assert next_us is not None
        found.append(datetime.fromtimestamp(next_us // 1_000_000, UTC))
        at_us = next_us
    assert found == [datetime(year, 2, 29, hour, 7, tzinfo=UTC) for year in (2028, 2032) for hour in (3, 4)]


def test_the_module_imports_no_heavy_module() -> None:
    heavy = ["asyncio", "dataclasses", "inspect", "dateutil", "holidays", "tzlocal"]
    code = f"import sys, schedcore.triggers.rrule; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29",  # from an odd year
        "FREQ=YEARLY;BYDAY=2SU;BYMONTHDAY=18",
        "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=11",
        "FREQ=MONTHLY;INTERVAL=12;BYMONTH=6",
        "FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=8",
        "FREQ=MONTHLY;BYDAY=-1FR;BYSETPOS=2",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;BYMONTHDAY=30;BYMONTH=2",
        "FREQ=WEEKLY;BYMONTHDAY=30;BYMONTH=4;BYSETPOS=2",
        "FREQ=DAILY;INTERVAL=7;BYDAY=WE",  # from a Tuesday
        "FREQ=DAILY;BYSETPOS=2",
        "FREQ=HOURLY;INTERVAL=168;BYDAY=TH",
        "FREQ=MINUTELY;INTERVAL=100;BYMONTHDAY=-1;BYSETPOS=60",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;INTERVAL=400;BYMINUTE=1;BYYEARDAY=366",  # comes to minutes 0, 6, 13, …
    ],
)
def test_what_never_comes_is_known_without_asking_dateutil(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger = RRuleTrigger(rule, dtstart="2025-04-01 09:00", timezone="UTC")
    monkeypatch.setattr(library.rrule, "_iter", None)
    assert trigger.next_us(us("2026-01-01T00:00Z")) is None


@pytest.mark.parametrize("start", ["MO", "TH", "SU"])
@pytest.mark.parametrize("days", ["30", "1,2,3", "1,2,3,5,6,30,31", "1,2,3,4,5,6,7"])
def test_no_week_has_more_than_the_fullest(days: str, start: str) -> None:
    """Of 400 years, after which all weeks come again."""
    named = {int(each) for each in days.split(",")}
    first = date(2000, 1, 1).toordinal()
    later = ("MO", "TU", "WE", "TH", "FR", "SA", "SU").index(start)
    weeks = Counter(
        (day - 1 - later) // 7 for day in range(first, first + 146_097) if date.fromordinal(day).day in named
    )
    most = max(weeks.values())
    for position, fires in ((most, True), (-most, True), (most + 1, False)):
        rule = f"FREQ=WEEKLY;WKST={start};BYMONTHDAY={days};BYSETPOS={position}"
        trigger = RRuleTrigger(rule, dtstart="2024-01-31T02:30", timezone="UTC")
        assert (trigger.next_us(from_datetime(datetime(2026, 1, 1, tzinfo=UTC))) is not None) is fires

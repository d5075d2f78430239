"""Schedules explained: words, next times, why not at an instant, and what may surprise."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.triggers.calendarinterval import CalendarIntervalTrigger
from schedcore.triggers.calendars import BusinessDayTrigger, Times, Weekdays
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.date import DateTrigger
from schedcore.triggers.explain import Explanation, explain, shown
from schedcore.triggers.interval import IntervalTrigger
from schedcore.triggers.rrule import RRuleTrigger

NOW = datetime(2026, 3, 27, 12, tzinfo=UTC)
BERLIN = "Europe/Berlin"


def cron(text: str, zone: str = "UTC", **options: Any) -> CronTrigger:
    return CronTrigger.from_crontab(text, zone, **options)


def literal(text: str) -> CronTrigger:
    return cron(text, BERLIN, dst="literal")


def codes(found: Explanation) -> list[str]:
    return [finding.code for finding in found.lint]


def message(found: Explanation, code: str) -> str:
    (wanted,) = (finding.message for finding in found.lint if finding.code == code)
    return wanted


def test_the_whole_text() -> None:
    trigger = cron("30 2 * * *", BERLIN)
    found = trigger.explain(now=NOW, count=2, at="2026-03-29 02:30", zone_guessed=True)
    gap = (
        "02:30 does not exist on 2026-03-29 in Europe/Berlin, where the clocks go from 02:00 to 03:00; it runs at 03:00, the "
        "first time after the gap"
    )
    assert str(found).splitlines() == [
        "30 2 * * *  (unix, Europe/Berlin)",
        "at 02:30",
        "",
        "next:",
        "  Sat 2026-03-28 02:30:00 +01:00",
        "  Sun 2026-03-29 03:00:00 +02:00  moved from 02:30; the clocks go forward from 02:00 to 03:00 on this day",
        "",
        "Sun 2026-03-29 02:30:00: does not fire",
        f"  {gap}",
        "  before it: Sat 2026-03-28 02:30:00 +01:00",
        "  after it:  Sun 2026-03-29 03:00:00 +02:00",
        "",
        f"note: {gap} (and 2 more within two years) [gap]",
        "note: 02:30 comes twice on 2026-10-25 in Europe/Berlin, where the clocks go from 03:00 back to 02:00; it runs at "
        "02:30+02:00, and not again at 02:30+01:00 (and 1 more within two years) [overlap]",
        "note: no time zone was given; Europe/Berlin is that of this machine, and another machine may have another one "
        "[host-zone]",
    ]


def test_the_data() -> None:
    data = cron("0 9 * * mon").explain(now=NOW, count=1, at="2026-03-30T09:00").as_data()
    assert json.loads(json.dumps(data)) == {
        "schedule": "0 9 * * mon",
        "dialect": "unix",
        "words": "at 09:00 on Monday",
        "timezone": "UTC",
        "next": [{"at": "2026-03-30T09:00:00+00:00", "note": ""}],
        "at": {
            "at": "2026-03-30T09:00:00+00:00",
            "fires": True,
            "reasons": [],
            "before": "2026-03-23T09:00:00+00:00",
            "after": "2026-04-06T09:00:00+00:00",
        },
        "lint": [],
    }
    never = cron("0 0 30 2 *").explain(now=NOW, at="2026-03-30T09:00").as_data()
    assert (never["next"], never["at"]["before"], never["at"]["after"]) == ([], None, None)
    assert CronTrigger(hour=5, timezone="UTC").explain(now=NOW).dialect is None


LAST_DAY = BusinessDayTrigger(-1, months=[5], hour=9, start_date="2026-05-02", end_date="2027-05-02", timezone="UTC")


@pytest.mark.parametrize(
    ("trigger", "at", "reasons"),
    [
        (cron("*/5 * * * *"), "2026-03-30T09:07", ["minute 7 is not in */5"]),
        (cron("0 9 * * mon-fri"), "2026-03-29T09:00", ["Sunday 2026-03-29 is not in mon-fri"]),
        (cron("0 9 1 jan *"), "2026-03-29T09:00", ["March is not in jan", "day 29 is not in 1"]),
        (
            cron("0 9 13 * 5"),
            "2026-03-29T09:00",
            ["day 29 is not in 13, and Sunday 2026-03-29 is not in 5 (either would do)"],
        ),
        (cron("0 9 13 * 5"), "2026-03-27T09:01", ["minute 1 is not in 0"]),
        (
            cron("0 9 13 * fri#1"),
            "2026-03-27T09:00",
            ["day 27 is not in 13, and Friday 2026-03-27 is not in fri#1 (either would do)"],
        ),
        (cron("0 9 * * fri#2"), "2026-03-27T09:00", ["Friday 2026-03-27 is not in fri#2"]),
        (cron("0 9 L * *"), "2026-03-30T09:00", ["day 30 is not in L"]),
        (cron("0 9 * * *"), "2026-03-30T09:00:01", ["second 1 is not 0, when the schedule fires"]),
        (cron("0 9 * * *"), "2026-03-30T09:00:00.5", ["cron fires at whole seconds"]),
        (cron("@daily"), "2026-03-30T09:00", ["hour 9 is not in 0"]),
        (cron("10 5 9 * * * 2025", seconds=True, year=True), "2026-03-30T09:05:10", ["year 2026 is not in 2025"]),
        (cron("10 5 9 * * *", seconds=True), "2026-03-30T09:05:11", ["second 11 is not in 10"]),
        (cron("H * * * *", seed="x"), "2026-03-30T09:59", ["minute 59 is not in H (here 22)"]),
        (cron("0 0 9 ? * 2", dialect="quartz"), "2026-03-31T09:00", ["Tuesday 2026-03-31 is not in 2"]),
        (cron("0 0 9 L-3 * ?", dialect="quartz"), "2026-03-31T09:00", ["day 31 is not in L-3"]),
        (
            cron("0 9 13 * 4", dialect="apscheduler3"),
            "2026-03-27T09:00:05",
            ["day 27 is not in 13", "second 5 is not 0, when the schedule fires"],
        ),
        (CronTrigger(week=5, hour=9, timezone="UTC"), "2026-03-27T09:00", ["ISO week 13 is not in 5"]),
        (CronTrigger(month=4, timezone="UTC"), "2026-03-27T00:01:02", [
            "March is not in 4", "day 27 is not in 1", "minute 1 is not in 0", "second 2 is not in 0",
        ]),
        (
            cron("0 9 * * *", start_date="2026-04-01"),
            "2026-03-30T09:00",
            ["it is before the start, 2026-04-01 00:00:00+00:00"],
        ),
        (
            cron("0 9 * * *", end_date="2026-03-01"),
            "2026-03-30T09:00",
            ["it is after the end, 2026-03-01 00:00:00+00:00"],
        ),
        (
            IntervalTrigger(minutes=5, start_date="2026-03-01", end_date="2026-03-02", timezone="UTC"),
            "2026-03-01T00:07",
            ["it is not a whole number of intervals after the start, Sun 2026-03-01 00:00:00 +00:00"],
        ),
        (
            IntervalTrigger(minutes=5, start_date="2026-03-01", end_date="2026-03-02", timezone="UTC"),
            "2026-02-01",
            ["it is before the start, Sun 2026-03-01 00:00:00 +00:00"],
        ),
        (
            IntervalTrigger(minutes=5, start_date="2026-03-01", end_date="2026-03-02", timezone="UTC"),
            "2026-04-01",
            ["it is after the end, Mon 2026-03-02 00:00:00 +00:00"],
        ),
        (
            DateTrigger("2026-04-01", timezone="UTC"),
            "2026-04-02",
            ["it fires once, at Wed 2026-04-01 00:00:00 +00:00"],
        ),
        (LAST_DAY, "2026-05-29T10:00", ["its time of day is 09:00"]),
        (LAST_DAY, "2026-05-28T09:00", ["in this month its day is 2026-05-29"]),
        (LAST_DAY, "2026-06-30T09:00", ["month 6 is none of its months"]),
        (LAST_DAY, "2026-05-01T09:00", ["it is before the start"]),
        (LAST_DAY, "2027-05-31T09:00", ["it is after the end"]),
        (
            BusinessDayTrigger(23, Weekdays("sat", "sun"), hour=9, timezone="UTC"),
            "2026-05-29T09:00",
            ["this month has no such day"],
        ),
        (
            CalendarIntervalTrigger(months=1, hour=9, start_date="2026-01-31", timezone=BERLIN),
            "2026-02-28T09:00",
            ["2026-02-28 is none of its dates, every month from 2026-01-31"],
        ),
        (
            CalendarIntervalTrigger(days=2, start_date="2026-01-31", end_date="2026-02-02", timezone=BERLIN),
            "2026-02-04T00:00:01",
            ["it is after the end", "its time of day is 00:00"],
        ),
        (
            CalendarIntervalTrigger(weeks=1, hour=9, start_date="2026-01-31T10:00", timezone=BERLIN),
            "2026-01-31T09:00",
            ["it is before the start"],
        ),
        (
            CalendarIntervalTrigger(days=1, hour=2, minute=30, start_date="2026-01-31", timezone=BERLIN),
            "2025-10-26T02:30+01:00",
            ["it is before the start"],
        ),
        (
            CalendarIntervalTrigger(days=1, hour=2, minute=30, start_date="2025-01-31", timezone=BERLIN),
            "2025-10-26T02:30+01:00",
            [
                f"02:30 comes twice on 2025-10-26 in {BERLIN}, where the clocks go from 03:00 back to 02:00; "
                "it runs at 02:30+02:00, and not again at 02:30+01:00"
            ],
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, BaseTrigger) else None,
)  # fmt: skip
def test_why_not(trigger: BaseTrigger, at: str, reasons: list[str]) -> None:
    answer = explain(trigger, now=NOW, at=at).answer
    assert answer is not None
    assert not answer.fires
    assert list(answer.reasons) == reasons


NINE = {
    "rule": "FREQ=WEEKLY;BYDAY=MO,FR;BYHOUR=9,17;BYMINUTE=0;BYSECOND=0",
    "dtstart": "2026-01-02T12:00",
    "end_date": "2026-12-01",
    "timezone": BERLIN,
}


@pytest.mark.parametrize(
    ("rule", "at", "reason"),
    [
        (NINE, "2026-03-30T10:00", "the rule names 09:00, 17:00 on 2026-03-30"),
        (NINE, "2026-03-31T09:00", "the rule names no time on 2026-03-31"),
        (NINE, "2026-03-30T09:00:00.5", "a rule fires at whole seconds"),
        (NINE, "2026-01-02T09:00", "it is before the start, 2026-01-02 12:00:00"),
        (NINE, "2026-12-28T09:00", "it is after the end, Tue 2026-12-01 00:00:00 +01:00"),
        (
            {"rule": "FREQ=MINUTELY;INTERVAL=30", "dtstart": "2026-01-01", "timezone": "UTC"},
            "2026-03-30T09:01",
            "the rule names 00:00, 00:30, 01:00 and others on 2026-03-30",
        ),
        (
            {"rule": "FREQ=DAILY", "dtstart": "2026-01-01T02:30", "timezone": BERLIN},
            "2026-10-25T02:30+01:00",
            f"02:30 comes twice on 2026-10-25 in {BERLIN}, where the clocks go from 03:00 back to 02:00; "
            "it runs at 02:30+02:00, and not again at 02:30+01:00",
        ),
    ],
)
def test_why_not_of_a_recurrence_rule(rule: dict[str, Any], at: str, reason: str) -> None:
    pytest.importorskip("dateutil", reason="needs the extra rrule")
    test_why_not(RRuleTrigger(**rule), at, [reason])


def test_gaps_and_overlaps_at_an_instant() -> None:
    def answered(text: str, at: str | date | datetime, **options: Any) -> tuple[bool, str]:
        answer = cron(text, BERLIN, **options).explain(now=NOW, at=at).answer
        assert answer is not None
        return answer.fires, " | ".join(answer.reasons)

    assert answered("0 5 * * *", "2026-03-29T02:30") == (
        False,
        "it falls in the gap of 2026-03-29 in Europe/Berlin: the clocks go forward from 02:00 to 03:00; and it is no time of "
        "the schedule",
    )
    fires, reason = answered("30 2 * * *", "2026-03-29T03:00+02:00")
    assert fires
    assert reason.startswith("02:30 does not exist on 2026-03-29")
    fires, reason = answered("30 2 * * *", "2026-10-25T02:30+01:00")
    assert not fires
    assert reason.endswith("it runs at 02:30+02:00, and not again at 02:30+01:00")
    fires, reason = answered("30 2 * * *", "2026-10-25T02:30")
    assert fires
    assert (
        reason
        == "02:30:00 comes twice on this day; this is the one of +02:00, and one with an offset asks about the second"
    )
    fires, reason = answered(
        "30 2 * * *", datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo(BERLIN), fold=1), dst="literal"
    )
    assert fires
    assert reason.endswith("it runs at 02:30+02:00 and at 02:30+01:00, because dst is 'literal'")
    with pytest.raises(InvalidTriggerError, match="at: 'soon' is not a date"):
        answered("30 2 * * *", "soon")
    assert answered("0 0 * * *", date(2026, 3, 29)) == (True, "")
    with pytest.raises(InvalidTriggerError, match="at: 5 is of type int; give a date, a datetime or ISO 8601 text"):
        answered("30 2 * * *", 5)  # type: ignore[arg-type]


_JUMPED = "02:30 does not exist on 2026-03-29 in Europe/Berlin, where the clocks go from 02:00 to 03:00; it "
_MOVED = f"{_JUMPED}runs at 03:00, the first time after the gap"
_SKIPPED = f"{_JUMPED}does not run that day, because dst is 'literal'"
_GAP = "it falls in the gap of 2026-03-29 in Europe/Berlin: the clocks go forward from 02:00 to 03:00"


@pytest.mark.parametrize(
    ("trigger", "reasons"),
    [
        (OrTrigger([cron("30 2 * * *", BERLIN), cron("0 5 * * *", BERLIN)]), [f"30 2 * * *: {_MOVED}"]),
        (
            AndTrigger([cron("30 2 * * *", BERLIN, dst="literal"), cron("0 5 * * *", BERLIN)]),
            [f"30 2 * * *: {_SKIPPED}"],
        ),
        (OrTrigger([cron("0 5 * * *", BERLIN)]), [f"{_GAP}; and it is no time of the schedule"]),
        (cron("30 2 * * *", BERLIN).excluding(Weekdays("mon")), [_MOVED]),
        (
            cron("30 2 * * *", BERLIN).excluding(Weekdays("sun")),
            [_MOVED, "2026-03-29 03:00:00 is closed and is left out: Sunday"],
        ),
        (BusinessDayTrigger(1, hour=2, minute=30, timezone=BERLIN), [_GAP]),
    ],
    ids=str,
)
def test_what_is_made_of_other_triggers_in_a_gap(trigger: BaseTrigger, reasons: list[str]) -> None:
    answer = trigger.explain(now=NOW, at="2026-03-29T02:30").answer
    assert answer is not None
    assert not answer.fires
    assert list(answer.reasons) == reasons


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (cron("* * * * *", BERLIN), []),
        (cron("0 5 * * *", BERLIN), []),
        (cron("30 2 * * *"), []),
        (cron("30 2 * * *", BERLIN), ["gap", "overlap"]),
        (cron("*/5 2 * * *", BERLIN), ["gap", "overlap"]),
        (OrTrigger([cron("30 2 * * *", BERLIN), cron("0 9 * * *", BERLIN)]), ["gap", "overlap"]),
        (AndTrigger([cron("30 2 * * *", BERLIN), cron("* * * * sun", BERLIN)]), ["gap", "overlap"]),
        (AndTrigger([cron("30 2 * * *", BERLIN), cron("* * * * mon", BERLIN)]), []),
        (AndTrigger([literal("30 2 * * *"), literal("* * * * sun")]), ["gap", "overlap"]),
        (AndTrigger([literal("30 2 * * *"), literal("* * * * mon")]), []),
        (cron("30 2 * * *", BERLIN).excluding(Weekdays("sat", "sun")), []),
        (cron("30 2 * * *", BERLIN).excluding(Weekdays("mon")), ["gap", "overlap"]),
        (
            CalendarIntervalTrigger(days=1, hour=2, minute=30, start_date="2025-01-31", timezone=BERLIN),
            ["gap", "overlap"],
        ),
        (CalendarIntervalTrigger(days=1, hour=4, start_date="2025-01-31", timezone=BERLIN), []),
        (cron("0 0 30 2 *"), ["never"]),
        (cron("0 0 1 1 *", end_date="2026-01-01"), ["never"]),
        (cron("0 0 * * 1-5"), ["weekday-number"]),
        (cron("0 0 * * mon-fri"), []),
        (cron("0 0 * * */2"), []),
        (cron("0 0 * * fri#2"), []),
        (cron("0 0 * * 0-6"), ["weekday-number"]),
        (cron("0 0 13 * fri"), ["either-day"]),
        (cron("0 0 */13 * fri"), []),
        (cron("*/59 * * * *"), []),
        (cron("*/60 * * * *"), ["long-step"]),
        (cron("5,*/90 */24 * */12 *"), ["long-step"] * 3),
        (cron("0-10/10 20-4/8 * * *"), []),
        (cron("0-10/11 20-4/9 * * *"), ["long-step"] * 2),
        (cron("0 0 0 * * ? */900", dialect="quartz"), []),
        (cron("0 0 15W * fri"), []),
        (cron("@weekly"), []),
        (cron("0 0 13 * fri", dialect="apscheduler3"), ["either-day"]),
        (cron("0 0 0 ? * 6", dialect="quartz"), ["weekday-number"]),
        (cron("0 0 0 13 * ?", dialect="quartz"), []),
        (CronTrigger(day_of_week=0, timezone="UTC"), ["weekday-number"]),
        (CronTrigger(day_of_week="mon", timezone="UTC"), []),
        (cron("* * * * *", jitter=60), ["jitter"]),
        (cron("* * * * *", jitter=59), []),
        (IntervalTrigger(seconds=30, jitter=40, timezone="UTC"), ["jitter"]),
        (IntervalTrigger(days=7, timezone=BERLIN), ["interval-days"]),
        (IntervalTrigger(days=7, timezone="UTC"), []),
        (IntervalTrigger(days=7, timezone="Asia/Tokyo"), []),
        (IntervalTrigger(hours=7, timezone=BERLIN), []),
        (DateTrigger("2026-04-01", timezone="UTC"), []),
        (DateTrigger("2025-04-01", timezone="UTC"), []),
    ],
    ids=lambda value: str(value) if isinstance(value, BaseTrigger) else None,
)
def test_what_may_surprise(trigger: BaseTrigger, expected: list[str]) -> None:
    found = trigger.explain(now=NOW)
    assert codes(found) == expected
    assert codes(trigger.explain(now=NOW, zone_guessed=True)) == [*expected, "host-zone"]
    assert str(found).startswith(str(trigger))


def test_what_is_said_about_it() -> None:
    weekday = message(cron("0 0 * * 1-5").explain(now=NOW), "weekday-number")
    assert weekday == (
        "weekday 1-5 is Monday to Friday in unix, but Monday to Thursday and Sunday in quartz, Tuesday to Saturday in "
        "apscheduler3; names such as mon mean the same everywhere"
    )
    seven = message(cron("0 0 * * 7").explain(now=NOW), "weekday-number")
    assert seven.startswith("weekday 7 is Sunday in unix, but Saturday in quartz, not valid in apscheduler3;")
    keyword = message(CronTrigger(day_of_week=0, timezone="UTC").explain(now=NOW), "weekday-number")
    assert keyword.startswith(
        "weekday 0 is Monday in the keyword form, but Sunday in unix, not valid in quartz, Monday in"
    )
    either = message(cron("0 0 13 * fri").explain(now=NOW), "either-day")
    assert either == (
        "day 13 and weekday fri are both restricted: in unix a day counts when either of them matches, in apscheduler3 when "
        "both match"
    )
    ended = message(cron("0 0 1 1 *", end_date="2026-01-01").explain(now=NOW), "never")
    assert ended == "it does not fire any more; the last time was Thu 2026-01-01 00:00:00 +00:00"
    days = message(IntervalTrigger(days=7, timezone=BERLIN).explain(now=NOW), "interval-days")
    assert days.startswith("the interval is elapsed time: from 2026-03-29 on, when the clocks change in Europe/Berlin,")
    skipped = cron("30 2 * * *", BERLIN, dst="literal").explain(now=NOW)
    assert [finding.level for finding in skipped.lint] == ["warning", "note"]


class Even(BaseTrigger):
    """A third party's: every even hour, and it can say why not."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        at = (previous_fire_time or now).astimezone(UTC)
        at = at.replace(minute=0, second=0, microsecond=0)
        step = 2 - at.hour % 2 if previous_fire_time or at < now or at.hour % 2 else 0
        return datetime.fromtimestamp(at.timestamp() + step * 3600, UTC)

    def __str__(self) -> str:
        return "even hours"


class Both(EngineTrigger):
    """A combination of children, as seen from outside."""

    timezone = UTC

    def __init__(self, *triggers: BaseTrigger) -> None:
        self.triggers = triggers

    def next_us(self, after_us: int) -> int | None:
        return None

    def backlog(self, after_us: int, upto_us: int) -> Any:
        raise NotImplementedError


class Excluding(Both):
    def why_not(self, at_us: int) -> list[str]:
        return ["excluded by the calendar 'holidays'"]


def test_triggers_of_other_kinds() -> None:
    found = Even().explain(now=NOW, at="2026-03-27T13:00")
    assert [fire.at.hour for fire in found.next] == [12, 14, 16, 18, 20]
    assert found.answer is not None
    assert found.answer.reasons == ("it is none of the fire times",)
    both = Both(cron("*/5 * * * *"), cron("0 9 * * *")).explain(now=NOW, at="2026-03-27T09:07")
    assert both.answer is not None
    assert both.answer.reasons == ("*/5 * * * *: minute 7 is not in */5", "0 9 * * *: minute 7 is not in 0")
    excluding = Excluding().explain(now=NOW, at="2026-03-27T09:07")
    assert excluding.answer is not None
    assert excluding.answer.reasons == ("excluded by the calendar 'holidays'",)
    assert codes(excluding) == ["never"]


def test_that_all_fire_times_are_excluded_however_far_back_the_search_for_one_may_go() -> None:
    trigger = CronTrigger(hour="1,2", minute=59, timezone="Asia/Pyongyang").excluding(Times("01:00", "03:30"))
    found = explain(trigger, now=NOW, at="2026-12-03 01:59")
    assert (found.next, [each.code for each in found.lint]) == ((), ["never"])
    assert found.answer is not None
    assert (found.answer.before, found.answer.after) == (None, None)
    assert found.answer.reasons == ("2026-12-03 01:59:00 is closed and is left out: 01:00 to 03:30",)


@pytest.mark.parametrize(("roll", "before", "after"), [("next", "09-21", "09-28"), ("previous", "09-18", "09-25")])
@pytest.mark.parametrize("around", [lambda trigger: trigger, lambda trigger: OrTrigger([trigger])], ids=["alone", "or"])
def test_what_is_moved_to_open_days(roll: Any, before: str, after: str, around: Any) -> None:
    """Such a trigger can be asked forward alone."""
    saturday = CronTrigger(day_of_week="sat", hour=9, end_date="2026-10-01", timezone="UTC")
    moved = around(saturday.excluding(Weekdays("sat", "sun"), roll))
    answer = explain(moved, now=datetime(2026, 9, 1, tzinfo=UTC), at="2026-09-23").answer
    assert answer is not None
    assert (answer.before, answer.after) == (
        datetime.fromisoformat(f"2026-{before}T09:00Z"),
        datetime.fromisoformat(f"2026-{after}T09:00Z"),
    )
    ended = explain(moved, now=datetime(2030, 1, 1, tzinfo=UTC))
    assert ended.next == ()
    last = "Mon 2026-09-28" if roll == "next" else "Fri 2026-09-25"
    assert f"it does not fire any more; the last time was {last} 09:00:00" in message(ended, "never")


def test_values_are_frozen_and_now_is_now() -> None:
    found = cron("* * * * *").explain()
    with pytest.raises(AttributeError):
        found.words = "x"  # type: ignore[misc]
    assert abs((found.next[0].at - datetime.now(UTC)).total_seconds()) <= 60
    assert len(cron("* * * * *").explain(count=0).next) == 0
    with pytest.raises(ValueError, match="naive"):
        cron("* * * * *").explain(now=datetime(2026, 1, 1))  # noqa: DTZ001


def test_notes_on_days_when_the_clocks_change() -> None:
    def notes(text: str, zone: str, day: str) -> list[str]:
        now = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
        return [fire.note for fire in cron(text, zone).explain(now=now, count=3).next]

    autumn = "the clocks go back from 03:00 to 02:00 on this day"
    assert notes("0 12 * * *", BERLIN, "2026-10-24") == ["", autumn, ""]
    midnight = "the clocks go forward from 00:00 to 01:00 on this day"
    assert notes("0 12 * * *", "Africa/Cairo", "2024-04-25") == ["", midnight, ""]
    midnight = "the clocks go back from 00:00 to 23:00 on this day"
    assert notes("0 12 * * *", "Africa/Cairo", "2024-10-30") == ["", midnight, ""]
    a_day = "the clocks go forward from 2011-12-30 00:00 to 2011-12-31 00:00 on this day"
    assert notes("0 12 * * *", "Pacific/Apia", "2011-12-29") == ["", f"moved from 12:00; {a_day}", a_day]
    assert shown(datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)) == "Thu 2026-01-01 00:00:00.000005 +00:00"


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    text=st.sampled_from(
        [
            "*/7 * * * *",
            "30 2 * * *",
            "0 0 13 * 5",
            "0 0 L * fri#2",
            "5 4 15W * *",
            "H H(1-4) * * *",
            "0 1-3 */2 3,10 1L",
        ]
    ),
    dst=st.sampled_from(["cron", "literal"]),
    at=st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)),  # noqa: DTZ001
    whole=st.booleans(),
)
def test_there_is_always_an_answer(text: str, dst: str, at: datetime, whole: bool) -> None:
    """Fires at exactly the instants at which the trigger does; whatever does not has its reason."""
    trigger = cron(text, BERLIN, seed="x", dst=dst)
    at = at.replace(second=0, microsecond=0) if whole else at
    found = trigger.explain(now=NOW, at=at, count=1)
    assert found.answer is not None
    assert found.answer.fires or found.answer.reasons
    assert "it is none of the fire times" not in found.answer.reasons
    if found.answer.at is not None:
        at_us = from_datetime(found.answer.at)
        assert found.answer.fires == (trigger.count_us(at_us - 1, at_us) == 1)


def test_a_step_that_is_longer_than_its_range() -> None:
    (found,) = cron("*/90 * * * *").explain(now=NOW).lint
    assert found.level == "warning"
    assert found.message == (
        "*/90 is the first minute of the range alone, because the step is longer than that; what is to come every 90 minutes "
        "is an interval"
    )

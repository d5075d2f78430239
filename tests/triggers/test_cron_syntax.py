"""Reading schedules: crontab text and keywords, what they mean, and what is said about those that are wrong."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schedcore.clock import from_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers import _zones
from schedcore.triggers.cron import CronTrigger, parse_crontab


def walk(trigger: CronTrigger, asked_at: str, number: int) -> list[str]:
    """The next fire times after a local time, as ``2026-01-05 07:30``."""
    fire_us = from_datetime(datetime.fromisoformat(asked_at).replace(tzinfo=trigger.timezone))
    answers = []
    for _ in range(number):
        following = trigger.next_us(fire_us)
        if following is None:
            break
        fire_us = following
        answers.append(f"{datetime.fromtimestamp(fire_us / 1e6, trigger.timezone):%Y-%m-%d %H:%M}")
    return answers


@pytest.mark.parametrize(
    ("crontab", "asked_at", "answers"),
    [
        pytest.param("30 7 * * 4", "2024-01-01", ["2024-01-04 07:30", "2024-01-11 07:30"], id="S1-thursday"),
        pytest.param("0 0 * * 0", "2024-01-01", ["2024-01-07 00:00", "2024-01-14 00:00"], id="S2-sunday"),
        pytest.param("0 2 * * 0", "2019-12-19", ["2019-12-22 02:00"], id="S3-sunday"),
        pytest.param("0 2 * * SUN", "2019-12-19", ["2019-12-22 02:00"], id="S3-by-name"),
        pytest.param(
            "15 10,12 * * 1,7",
            "2024-01-05",
            ["2024-01-07 10:15", "2024-01-07 12:15", "2024-01-08 10:15", "2024-01-08 12:15", "2024-01-14 10:15"],
            id="S4-7-is-sunday",
        ),
        pytest.param(
            "0 0 1 jan-dec/3 *",
            "2024-01-15",
            ["2024-04-01 00:00", "2024-07-01 00:00", "2024-10-01 00:00", "2025-01-01 00:00"],
            id="S5-names-with-step",
        ),
        pytest.param(
            "0 0 * * mon-fri/2",
            "2024-01-01",
            ["2024-01-03 00:00", "2024-01-05 00:00", "2024-01-08 00:00"],
            id="S6-names-with-step",
        ),
        pytest.param(
            "0 0 * * 1-5/2",
            "2024-01-01",
            ["2024-01-03 00:00", "2024-01-05 00:00", "2024-01-08 00:00"],
            id="S7-range-with-step",
        ),
        pytest.param(
            "0 0 * * sat-mon",
            "2024-01-01",
            ["2024-01-06 00:00", "2024-01-07 00:00", "2024-01-08 00:00"],
            id="S9-sat-mon",
        ),
        pytest.param(
            "0 0 * * sun-tue",
            "2024-01-02",
            ["2024-01-07 00:00", "2024-01-08 00:00", "2024-01-09 00:00"],
            id="S9-sun-tue",
        ),
        pytest.param(
            "0 0 * * 6-1", "2024-01-01", ["2024-01-06 00:00", "2024-01-07 00:00", "2024-01-08 00:00"], id="S9-6-1"
        ),
        pytest.param(
            "0 22-2 * * *",
            "2024-01-01 03:00",
            ["2024-01-01 22:00", "2024-01-01 23:00", "2024-01-02 00:00", "2024-01-02 01:00", "2024-01-02 02:00"],
            id="S9-hours",
        ),
        pytest.param(
            "0 0 13 * 5",
            "2024-01-01",
            ["2024-01-05 00:00", "2024-01-12 00:00", "2024-01-13 00:00", "2024-01-19 00:00"],
            id="S10-either-day",
        ),
        pytest.param(
            "0 0 31 2 0",
            "2024-01-01",
            ["2024-02-04 00:00", "2024-02-11 00:00", "2024-02-18 00:00", "2024-02-25 00:00", "2025-02-02 00:00"],
            id="S11-31-february-or-sunday",
        ),
        pytest.param("0 0 31 2 *", "2024-01-01", [], id="S12-31-february"),
        pytest.param("0 0 30 2 *", "2024-01-01", [], id="S12-30-february"),
        pytest.param("59/15 * * * *", "2024-01-01", ["2024-01-01 00:59", "2024-01-01 01:59"], id="S13"),
        pytest.param(
            "0 0 1-3,5-31 4 *",
            "2022-04-02",
            ["2022-04-03 00:00", "2022-04-05 00:00", "2022-04-06 00:00"],
            id="S18-not-the-4th",
        ),
        pytest.param(
            "0 0 * * 1,3,5", "2024-01-01", ["2024-01-03 00:00", "2024-01-05 00:00", "2024-01-08 00:00"], id="S19"
        ),
        pytest.param("0 3 * * *", "2024-01-01 03:00:20", ["2024-01-02 03:00"], id="S21-not-again"),
        pytest.param(
            "0 0 */2 * 1", "2024-01-01", ["2024-01-15 00:00", "2024-01-29 00:00"], id="star-step-is-no-restriction"
        ),
        pytest.param("0 0 13 * */1", "2024-01-01", ["2024-01-13 00:00", "2024-02-13 00:00"], id="star-step-weekday"),
        pytest.param("0 0 1-31 * 1", "2024-01-01", ["2024-01-02 00:00", "2024-01-03 00:00"], id="all-days-or-monday"),
        pytest.param("0 0 28-2 * *", "2024-01-27", ["2024-01-28 00:00", "2024-01-29 00:00"], id="days-wrap"),
        pytest.param("0 0 1 11-2 *", "2024-01-27", ["2024-02-01 00:00", "2024-11-01 00:00"], id="months-wrap"),
        pytest.param(
            "0 22-2/2 * * *", "2024-01-01 01:00", ["2024-01-01 02:00", "2024-01-01 22:00"], id="wrap-with-step"
        ),
        pytest.param("0 0 * * 7-2", "2024-01-03", ["2024-01-07 00:00", "2024-01-08 00:00"], id="from-7-on"),
        pytest.param(
            "0 0 * * 5-7", "2024-01-01", ["2024-01-05 00:00", "2024-01-06 00:00", "2024-01-07 00:00"], id="to-7"
        ),
        pytest.param("0 0 1 January *", "2024-01-02", ["2025-01-01 00:00"], id="whole-name"),
        pytest.param("  5\t4  *  * * ", "2024-01-01", ["2024-01-01 04:05"], id="blanks"),
        pytest.param("@hourly", "2024-01-01 00:30", ["2024-01-01 01:00"], id="hourly"),
        pytest.param("@daily", "2024-01-01 00:30", ["2024-01-02 00:00"], id="daily"),
        pytest.param("@midnight", "2024-01-01 00:30", ["2024-01-02 00:00"], id="midnight"),
        pytest.param("@weekly", "2024-01-01 00:30", ["2024-01-07 00:00"], id="weekly"),
        pytest.param("@monthly", "2024-01-01 00:30", ["2024-02-01 00:00"], id="monthly"),
        pytest.param("@yearly", "2024-01-01 00:30", ["2025-01-01 00:00"], id="yearly"),
        pytest.param("@Annually", "2024-01-01 00:30", ["2025-01-01 00:00"], id="annually"),
    ],
)
def test_crontab(crontab: str, asked_at: str, answers: list[str]) -> None:
    trigger = CronTrigger.from_crontab(crontab, "WET" if "2 * * 0" in crontab else "UTC")
    assert walk(trigger, asked_at, max(len(answers), 1)) == answers


@pytest.mark.parametrize(
    ("fields", "asked_at", "answers"),
    [
        pytest.param({"day_of_week": 0}, "2024-01-01", ["2024-01-08 00:00"], id="0-is-monday"),
        pytest.param({"day_of_week": "sun"}, "2024-01-01", ["2024-01-07 00:00"], id="sunday"),
        pytest.param({"day_of_week": "Friday", "hour": 5}, "2024-01-01", ["2024-01-05 05:00"], id="whole-name"),
        pytest.param({"day": "2nd fri"}, "2024-01-01", ["2024-01-12 00:00", "2024-02-09 00:00"], id="2nd-friday"),
        pytest.param({"day": "5th thu"}, "2024-01-01", ["2024-02-29 00:00", "2024-05-30 00:00"], id="5th-thursday"),
        pytest.param({"day": "last sun"}, "2024-01-01", ["2024-01-28 00:00", "2024-02-25 00:00"], id="last-sunday"),
        pytest.param({"day": "last"}, "2024-01-31 01:00", ["2024-02-29 00:00", "2024-03-31 00:00"], id="last-day"),
        pytest.param(
            {"day": " 1st mon , last,15 "}, "2024-01-01", ["2024-01-15 00:00", "2024-01-31 00:00"], id="mixed"
        ),
        pytest.param(
            {"day": 13, "day_of_week": "fri"}, "2024-01-01", ["2024-09-13 00:00", "2024-12-13 00:00"], id="and"
        ),
        pytest.param({"month": "jan-dec/3", "day": 1}, "2024-01-02", ["2024-04-01 00:00", "2024-07-01 00:00"], id="S5"),
        pytest.param({"day_of_week": "mon-fri/2"}, "2024-01-01", ["2024-01-03 00:00", "2024-01-05 00:00"], id="S6"),
        pytest.param({"day_of_week": "sat-mon"}, "2024-01-01", ["2024-01-06 00:00", "2024-01-07 00:00"], id="S9"),
        pytest.param({"month": 2, "day": 31}, "2024-01-01", [], id="S12"),
        pytest.param(
            {"month": 2, "day": "5th mon"},
            "2020-01-01",
            ["2044-02-29 00:00", "2072-02-29 00:00", "2112-02-29 00:00"],
            id="S14",
        ),
        pytest.param({"year": "2020/10", "month": 6, "day": 30}, "2020-06-30", ["2030-06-30 00:00"], id="S20"),
        pytest.param(
            {"week": 1}, "2024-12-28", ["2024-12-30 00:00", "2024-12-31 00:00", "2025-01-01 00:00"], id="week-1"
        ),
        pytest.param(
            {"week": 53, "day_of_week": "mon"}, "2024-01-01", ["2026-12-28 00:00", "2032-12-27 00:00"], id="week-53"
        ),
        pytest.param(
            {"month": 6}, "2024-01-01", ["2024-06-01 00:00", "2025-06-01 00:00"], id="less-significant-is-minimal"
        ),
        pytest.param(
            {"day": 1, "minute": 20},
            "2024-01-31 23:30",
            ["2024-02-01 00:20", "2024-02-01 01:20"],
            id="more-significant-is-any",
        ),
        pytest.param({"year": 2030}, "2024-01-01", ["2030-01-01 00:00"], id="year"),
    ],
)
def test_keywords(fields: dict[str, Any], asked_at: str, answers: list[str]) -> None:
    assert walk(CronTrigger(timezone="UTC", **fields), asked_at, max(len(answers), 1)) == answers


def test_9_15_in_london_is_9_15_in_london() -> None:
    trigger = CronTrigger(hour=9, minute=15, timezone="Europe/London")
    assert walk(trigger, "2024-07-01", 1) == ["2024-07-01 09:15"]
    assert walk(trigger, "2024-12-01", 1) == ["2024-12-01 09:15"]


def test_optional_seconds_and_years() -> None:
    trigger = CronTrigger.from_crontab("*/20 30 7 * * mon 2030", "UTC", seconds=True, year=True)
    first = trigger.get_next_fire_time(None, datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")))
    assert first == datetime(2030, 1, 7, 7, 30, tzinfo=ZoneInfo("UTC"))
    assert trigger.get_next_fire_time(first, first) == datetime(2030, 1, 7, 7, 30, 20, tzinfo=ZoneInfo("UTC"))
    assert (
        repr(trigger) == "CronTrigger.from_crontab('*/20 30 7 * * mon 2030', seconds=True, year=True, timezone='UTC')"
    )


_FIELD = "'*', a range (a-b), a step (*/n or a-b/n) or a list of them (a,b)"


@pytest.mark.parametrize(
    ("crontab", "field", "column", "message"),
    [
        ("60 * * * *", "minute", 1, "minute of '60 * * * *', column 1: 60 is out of range: minutes go from 0 to 59"),
        ("* 24 * * *", "hour", 3, "hour of '* 24 * * *', column 3: 24 is out of range: hours go from 0 to 23"),
        ("* * 0 * *", "day", 5, "day of '* * 0 * *', column 5: 0 is out of range: days of the month go from 1 to 31"),
        ("* * * 13 *", "month", 7, "month of '* * * 13 *', column 7: 13 is out of range: months go from 1 to 12"),
        ("* * * * 8", "day_of_week", 9, "8 is out of range: weekdays go from 0 to 7 (0 and 7 are Sunday)"),
        ("99999999999999 * * * *", "minute", 1, "99999999999999 is out of range"),
        (
            "* * * *",
            "crontab",
            8,
            "there are 4 fields, so day_of_week is missing; write 5: minute, hour, day, month, day_of_week",
        ),
        ("* * * * * *", "crontab", 11, "there are 6 fields, from here on too many; write 5:"),
        (
            "0 * * * * *",
            "crontab",
            11,
            "; seconds before them or years after them have to be asked for (options seconds, year), or",
        ),
        ("", "crontab", 1, "there are 0 fields, so minute is missing; write 5:"),
        ("FREQ=DAILY;COUNT=2", "crontab", 1, "this is a recurrence rule, which the trigger 'rrule' takes"),
        ("@every 5m", "crontab", 1, "'@every' is no time on a clock; what is to come every so often is a job with"),
        ("TZ=Asia/Tokyo 0 5 * * *", "crontab", 1, "the time zone is no part of a schedule; give it as timezone"),
        (" CRON_TZ=Asia/Tokyo @daily", "crontab", 2, "the time zone is no part of a schedule; give it as timezone"),
        ("*/0 * * * *", "minute", 3, "a step of 0 never gets on; write a number from 1, such as */5"),
        ("*/ * * * *", "minute", 3, "a step is missing after '/'"),
        ("*/x * * * *", "minute", 3, "a step is missing after '/'"),
        ("1,,2 * * * *", "minute", 3, f"',' is not understood; write a number from 0 to 59, {_FIELD}"),
        ("1, * * * *", "minute", 3, f"a value is missing; write a number from 0 to 59, {_FIELD}"),
        ("5-1x * * * *", "minute", 4, "'x' cannot stand here; a list is separated by ','"),
        ("1-5-7 * * * *", "minute", 4, "'-' cannot stand here"),
        ("*5 * * * *", "minute", 2, "'5' cannot stand here"),
        ("1/2/3 * * * *", "minute", 4, "'/' cannot stand here"),
        ("-5 * * * *", "minute", 1, "'-' is not understood"),
        ("½ * * * *", "minute", 1, "'½' is not understood"),
        ("٣ * * * *", "minute", 1, "'٣' is not understood"),
        ("X * * * *", "minute", 1, "'X' is not understood"),
        ("* * * jna *", "month", 7, "'jna' is not the name of a month; did you mean 'jun'?"),
        ("* * * * Son", "day_of_week", 9, "'Son' is not the name of a weekday; did you mean 'sun'?"),
        ("* * * * mon-", "day_of_week", 13, "a value is missing; write a number from 0 to 7, a name such as mon,"),
        ("* * Z * *", "day", 5, "'Z' is not understood; write a number from 1 to 31"),
        ("* * ? * *", "day", 5, "'?' is not understood"),
        ("* * 15X * *", "day", 7, "'X' cannot stand here"),
        ("* * * 5#2 *", "month", 8, "'#' cannot stand here"),
        ("@dayly", "crontab", 1, "crontab '@dayly', column 1: no schedule is called '@dayly'; did you mean '@daily'?"),
        ("@daily x", "crontab", 8, "nothing may follow @daily"),
        (
            "@reboot",
            "crontab",
            1,
            "'@reboot' names no time; it means once, when cron starts; add the job with trigger 'date'",
        ),
    ],
)
def test_wrong_crontab(crontab: str, field: str, column: int, message: str) -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        CronTrigger.from_crontab(crontab, "UTC")
    assert message in str(caught.value)
    assert (caught.value.field, caught.value.column) == (field, column)
    assert f"{crontab!r}, column {column}: " in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "column", "message"),
    [
        (
            {"day_of_week": 7},
            1,
            "7 is out of range: weekdays go from 0 to 6 (0 is Monday here; better write names such as sun,",
        ),
        ({"day_of_week": 8}, 1, "8 is out of range"),
        ({"day_of_week": "mun"}, 1, "'mun' is not the name of a weekday; did you mean 'sun'?"),
        ({"day": "2nd"}, 4, "'2nd' needs a blank and a weekday's name after it, such as '2nd fri'"),
        ({"day": "2ndfri"}, 1, "'2ndfri' is not understood; write 1st, 2nd, 3rd, 4th, 5th or last"),
        ({"day": "6th fri"}, 1, "'6th' is not understood; write 1st, 2nd, 3rd, 4th, 5th or last"),
        ({"day": "last fry"}, 6, "'last' needs a blank and a weekday's name after it, such as 'last fri'"),
        ({"day": "last-3"}, 5, "'last' needs a blank"),
        ({"day": "fri"}, 1, "which fri of the month? write '1st fri' or 'last fri', or use day_of_week='fri'"),
        ({"day": "Lst"}, 1, "'Lst' is not understood; write a number from 1 to 31, "),
        (
            {"minute": "*/60"},
            3,
            "the step 60 is larger than the range, which spans 59; leave it out or use a smaller one",
        ),
        ({"hour": "1-5/10"}, 5, "the step 10 is larger than the range, which spans 4"),
        ({"year": 1969}, 1, "1969 is out of range: years go from 1970 to 9999"),
        ({"year": "2030-2020"}, 6, "the range ends before it begins; write 2020-2030"),
        ({"minute": "1 2"}, 3, "'2' cannot stand here"),
        ({"hour": ""}, None, "hour: '' is empty; give a number or text such as '*'"),
        ({"hour": 1.5}, None, "hour: 1.5 is of type float; give a number or text"),
        ({"hour": True}, None, "hour: True is of type bool"),
    ],
)
def test_wrong_keyword(fields: dict[str, Any], column: int | None, message: str) -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        CronTrigger(timezone="UTC", **fields)
    assert message in str(caught.value)
    assert (caught.value.field, caught.value.column) == (next(iter(fields)), column)


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        (
            {"dst": "litteral"},
            "dst",
            "dst: 'litteral' is no rule for clock changes; did you mean 'literal'?; write 'cron'",
        ),
        ({"timezone": "Europe/Berln"}, "timezone", "no zone is called 'Europe/Berln'; did you mean 'Europe/Berlin'?"),
        ({"jitter": -1}, "jitter", "jitter: -1 cannot be used; give the longest delay in seconds, 0 or more"),
        ({"start_date": "tomorrow"}, "start_date", "start_date: 'tomorrow' is not a date"),
        (
            {"start_date": "2025-03-30 02:30", "timezone": "Europe/Berlin"},
            "start_date",
            "start_date: 2025-03-30 02:30:00 does not exist in Europe/Berlin: clocks jump over it to 2025-03-30 03:00:00+02:00",
        ),
        (
            {"end_date": datetime(2025, 3, 30, 2, 30), "timezone": "Europe/Berlin"},  # noqa: DTZ001
            "end_date",
            "end_date: 2025-03-30 02:30:00 does not exist in Europe/Berlin",
        ),
        (
            {"start_date": "2025-02-01", "end_date": "2025-01-01", "timezone": "UTC"},
            "end_date",
            "end_date: 2025-01-01 is before the start_date 2025-02-01: it would never fire",
        ),
        ({"start_date": 5}, "start_date", "start_date: 5 is of type int; give a date, a datetime or ISO 8601 text"),
    ],
)
def test_wrong_options(options: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidTriggerError) as by_keywords:
        CronTrigger(hour=1, **options)
    with pytest.raises(InvalidTriggerError) as by_text:
        CronTrigger.from_crontab("0 1 * * *", **options)
    for caught in (by_keywords, by_text):
        assert message in str(caught.value)
        assert caught.value.field == field


def test_wrong_calls() -> None:
    with pytest.raises(InvalidTriggerError, match=r"crontab: 5 is of type int; give text such as '30 7 \* \* mon-fri'"):
        CronTrigger.from_crontab(5)  # type: ignore[arg-type]
    unhashable: Any = ["unix"]
    with pytest.raises(InvalidTriggerError, match=r"no crontab dialect is called \['unix'\]"):
        CronTrigger.from_crontab("* * * * *", dialect=unhashable)
    with pytest.raises(InvalidTriggerError, match="no crontab dialect is called 'unics'; did you mean 'unix'"):
        CronTrigger.from_crontab("* * * * *", "UTC", dialect="unics")
    with pytest.raises(InvalidTriggerError, match=r"column 16: this is not understood; write name='value'") as caught:
        CronTrigger.from_str("cron[hour='5', foo='3']", "UTC")
    assert caught.value.column == 16
    with pytest.raises(TypeError):
        CronTrigger(hours=5)  # type: ignore[arg-type]


def test_an_error_counts_columns_in_the_text_as_it_was_given() -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        CronTrigger.from_crontab("   *  *   61 * *", "UTC")
    assert caught.value.column == 11


@pytest.mark.parametrize("name", ["year", "minute"])
def test_crontab_text_in_a_field_is_told_where_it_belongs(name: str) -> None:
    with pytest.raises(
        InvalidTriggerError, match=r"'\*' cannot stand here; .*; crontab text is for CronTrigger.from_crontab$"
    ):
        CronTrigger(**{name: "*/5 * * * *"})  # type: ignore[arg-type]
    with pytest.raises(InvalidTriggerError) as caught:
        CronTrigger(day="1st mon, 2nd tue, 3rd xyz")
    assert "from_crontab" not in str(caught.value)


def test_without_any_field_every_second_is_a_time_as_in_3x() -> None:
    trigger = CronTrigger(timezone="UTC")
    assert trigger == CronTrigger(second="*", timezone="UTC")
    assert (str(trigger), trigger.describe()) == ("cron[]", "every second")
    noon = datetime(2026, 5, 5, 12, tzinfo=UTC)
    found = trigger.explain(now=noon, count=1, at="2026-05-05T12:00:00.5").answer
    assert found is not None
    assert found.reasons == ("cron fires at whole seconds",)


SCHEDULES = [
    CronTrigger.from_crontab("*/15 9-17 * * mon-fri", "Europe/Berlin"),
    CronTrigger.from_crontab("@daily", "Europe/Berlin", dst="literal"),
    CronTrigger.from_crontab(
        "0 0 13 * 5", "UTC", jitter=2.5, start_date="2024-01-01", end_date="2025-01-01T00:00+03:00"
    ),
    CronTrigger.from_crontab("1,2 3 4 5 6 7 2030", "Asia/Tokyo", seconds=True, year=True),
    CronTrigger(day="2nd fri, last", hour=5, timezone="Australia/Lord_Howe"),
    CronTrigger(year="2025-2030/2", week="1,53", day_of_week="sun", timezone="UTC+05:30", dst="literal"),
    CronTrigger(hour="5,\n\t6", timezone="UTC"),
    CronTrigger(timezone="UTC"),
]


@pytest.mark.parametrize("trigger", SCHEDULES, ids=repr)
def test_round_trips(trigger: CronTrigger) -> None:
    copies = [eval(repr(trigger)), pickle.loads(pickle.dumps(trigger))]
    restored = CronTrigger.__new__(CronTrigger)
    restored.__setstate__(trigger.__getstate__())
    copies.append(restored)
    for copy in copies:
        assert copy == trigger
        assert copy.same_rule(trigger)
        assert hash(copy) == hash(trigger)
        assert (str(copy), repr(copy)) == (str(trigger), repr(trigger))
        assert copy.__getstate__() == trigger.__getstate__()
        assert copy.next_us(0) == trigger.next_us(0)
    if trigger.start_date is None and not trigger.__getstate__().get("seconds"):
        again = CronTrigger.from_str(str(trigger), trigger.timezone, dst=trigger.dst)
        assert again == trigger


def test_equality_is_about_meaning() -> None:
    assert CronTrigger.from_crontab("0 7 * * 0", "UTC") == CronTrigger(hour=7, day_of_week="sun", timezone="UTC")
    assert CronTrigger.from_crontab("@daily", "UTC") == CronTrigger.from_crontab("0 0 * * *", ZoneInfo("UTC"))
    assert CronTrigger(hour=7, timezone="UTC") != CronTrigger(hour=7, timezone="Europe/Berlin")
    assert CronTrigger(hour=7, timezone="UTC") != CronTrigger(hour=8, timezone="UTC")
    assert CronTrigger(hour=7, timezone="UTC") != CronTrigger(hour=7, timezone="UTC", jitter=1)
    assert CronTrigger(hour=7, timezone="UTC") != CronTrigger(hour=7, timezone="UTC", dst="literal")
    assert CronTrigger(hour=7, timezone="UTC") != "cron[hour='7']"


def test_a_star_means_another_thing_on_the_days_when_clocks_change() -> None:
    assert CronTrigger.from_crontab("0,30 7 * * *", "UTC") != CronTrigger.from_crontab("*/30 7 * * *", "UTC")
    assert CronTrigger.from_crontab("0,30 7 * * *", "UTC", dst="literal") == CronTrigger.from_crontab(
        "*/30 7 * * *", "UTC", dst="literal"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "version 9; this release reads 3"),
        ({"version": None}, "version None"),
        ({"dialect": "klingon"}, "unknown dialect 'klingon'"),
        ({"crontab": "61 * * * *"}, "61 is out of range"),
        ({"timezone": "Mars/Base"}, "no zone is called 'Mars/Base'"),
        ({"dst": "maybe"}, "'maybe' is no rule for clock changes"),
    ],
)
def test_wrong_states(change: dict[str, Any], message: str) -> None:
    state = CronTrigger.from_crontab("* * * * *", "UTC").__getstate__() | change
    with pytest.raises(ValueError, match=message):
        CronTrigger.__new__(CronTrigger).__setstate__(state)


def test_states_that_lack_or_add() -> None:
    state = CronTrigger(hour=5, timezone="UTC").__getstate__()
    with pytest.raises(ValueError, match="unknown field 'hours'"):
        CronTrigger.__new__(CronTrigger).__setstate__(state | {"fields": {"hours": "5"}})
    del state["end_us"]
    with pytest.raises(ValueError, match="lacks 'end_us'"):
        CronTrigger.__new__(CronTrigger).__setstate__(state)


def test_a_trigger_is_a_value() -> None:
    trigger = CronTrigger(hour=5, timezone="UTC")
    with pytest.raises(AttributeError, match="triggers are values: dst cannot be set; make a new CronTrigger"):
        trigger.dst = "literal"
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del trigger.timezone
    assert not hasattr(trigger, "__dict__")
    assert trigger.anchored(5) is trigger
    assert trigger.elapsed is False


def test_attributes() -> None:
    trigger = CronTrigger(
        hour=5, start_date=datetime(2024, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), end_date="2025-01-01", jitter=1.5
    )
    assert trigger.timezone == ZoneInfo("Asia/Tokyo")
    assert trigger.start_date == datetime(2024, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert trigger.end_date == datetime(2025, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert (trigger.jitter, trigger.jitter_us) == (1.5, 1_500_000)
    assert trigger.rule == parse_crontab("0 5 * * *")
    plain = CronTrigger(hour=5, timezone="UTC")
    assert (plain.start_date, plain.end_date, plain.end_us, plain.jitter, plain.jitter_us) == (
        None,
        None,
        None,
        None,
        0,
    )


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (CronTrigger.from_crontab("* * * * *", "UTC"), "every minute"),
        (CronTrigger.from_crontab("*/5 * * * *", "UTC"), "every 5 minutes"),
        (CronTrigger.from_crontab("0 * * * *", "UTC"), "every hour"),
        (CronTrigger.from_crontab("0 */2 * * *", "UTC"), "every 2 hours"),
        (CronTrigger.from_crontab("30 * * * *", "UTC"), "at minute 30 of every hour"),
        (CronTrigger.from_crontab("*/10 */2 * * *", "UTC"), "every 10 minutes of every 2nd hour"),
        (CronTrigger.from_crontab("30 2 * * 1", "UTC"), "at 02:30 on Monday"),
        (CronTrigger.from_crontab("15 10,12 * * 1,7", "UTC"), "at 10:15 and 12:15 on Monday and Sunday"),
        (
            CronTrigger.from_crontab("*/15 9-17 * * mon-fri", "UTC"),
            "every 15 minutes from 09:00 to 17:59 on Monday to Friday",
        ),
        (CronTrigger.from_crontab("0 9-17 * * *", "UTC"), "every hour from 09:00 to 17:00"),
        (CronTrigger.from_crontab("30 9-12,14-17 * * *", "UTC"), "at minute 30 in hour 9-12 and 14-17"),
        (CronTrigger.from_crontab("0 0 13 * 5", "UTC"), "at 00:00 on day 13 of the month or on Friday"),
        (CronTrigger.from_crontab("0 0 1-31 * 1", "UTC"), "at 00:00"),
        (CronTrigger.from_crontab("0 0 31 2 *", "UTC"), "never"),
        (
            CronTrigger(day=13, day_of_week="mon,fri", timezone="UTC"),
            "at 00:00 on day 13 of the month if it is a Monday or Friday",
        ),
        (
            CronTrigger(day="2nd fri, last", hour=9, timezone="UTC"),
            "at 09:00 on the 2nd Friday and the last day of the month",
        ),
        (CronTrigger(month=3, day="last sun", hour=2, timezone="UTC"), "at 02:00 on the last Sunday in March"),
        (
            CronTrigger(year=2030, month="jan-dec/3", timezone="UTC"),
            "at 00:00 on day 1 of the month in January, April, July and October in 2030",
        ),
        (CronTrigger(week=5, timezone="UTC"), "at 00:00 in ISO week 5"),
        (CronTrigger(second="*", timezone="UTC"), "every second"),
        (CronTrigger(second="*/10", timezone="UTC"), "every 10 seconds"),
        (CronTrigger(hour=2, minute=30, second=15, timezone="UTC"), "at 02:30:15"),
        (CronTrigger(hour=2, second=15, timezone="UTC"), "at second 15 of every minute from 02:00 to 02:59"),
        (CronTrigger(minute="*/2", second="5-9", timezone="UTC"), "at second 5-9 of every 2nd minute"),
        (CronTrigger(minute=5, second="*", timezone="UTC"), "every second of minute 5 of every hour"),
        (CronTrigger(hour=2, start_date="2024-01-01", timezone="UTC"), "at 02:00 from 2024-01-01 00:00:00"),
        (CronTrigger(hour=2, end_date="2024-01-01", timezone="UTC"), "at 02:00 until 2024-01-01 00:00:00"),
    ],
    ids=str,
)
def test_words(trigger: CronTrigger, words: str) -> None:
    assert trigger.describe() == words


@pytest.mark.parametrize("weekday", [7, "8", "mon-8"])
def test_s8_a_weekday_that_is_none_is_refused_at_once(weekday: Any) -> None:
    with pytest.raises(InvalidTriggerError, match="out of range: weekdays go from 0 to 6") as caught:
        CronTrigger(day_of_week=weekday, timezone="UTC")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("weekdays", ["1,3,5", "2,4,6", "0,2,4", "1-5/2", "*/2", "5,1"])
def test_s19_weekdays_written_back_as_text_keep_their_meaning(weekdays: str) -> None:
    """Was: 1,3,5 became 1/2, which adds a Sunday."""
    trigger = CronTrigger.from_crontab(f"0 0 * * {weekdays}", "UTC")
    expected = walk(trigger, "2024-01-01", 14)
    assert str(trigger) == f"0 0 * * {weekdays}"
    for again in (
        CronTrigger.from_crontab(str(trigger), "UTC"),
        CronTrigger.from_str(str(trigger), "UTC"),
        eval(repr(trigger)),
    ):
        assert again == trigger
        assert walk(again, "2024-01-01", 14) == expected
    sundays = [day for day in expected if datetime.fromisoformat(day).weekday() == 6]
    assert bool(sundays) == (weekdays in ("0,2,4", "*/2"))


@pytest.mark.parametrize("host", ["UTC", "Etc/GMT-2", "America/New_York"])
def test_s23_s24_the_machines_zone_does_not_move_a_schedule_of_another(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_zones, "_local", ZoneInfo(host))
    for text, zone, answers in (
        ("1 12 * * *", "Etc/GMT-2", ["2026-07-01T10:01+00:00", "2026-07-02T10:01+00:00"]),
        ("15 9 * * *", "Europe/London", ["2026-07-01T08:15+00:00", "2026-07-02T08:15+00:00"]),
    ):
        trigger = CronTrigger.from_crontab(text, zone)
        at = datetime(2026, 7, 1, tzinfo=ZoneInfo("UTC"))
        for answer in answers:
            found = trigger.get_next_fire_time(None, at)
            assert found == datetime.fromisoformat(answer)
            at = found + timedelta(seconds=1)
    guessed = CronTrigger.from_crontab("15 9 * * *")
    assert str(guessed.timezone) == host
    assert [each.code for each in guessed.explain(zone_guessed=True).lint][-1] == "host-zone"

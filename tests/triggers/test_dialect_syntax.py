"""The crontab dialects: what their texts mean, and what is said about those that are wrong."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers.cron import CronTrigger, parse_crontab
from tests.effort import lines_run


def walk(trigger: CronTrigger, asked_at: str, number: int) -> list[str]:
    fire_us: int | None = from_datetime(datetime.fromisoformat(asked_at).replace(tzinfo=UTC))
    answers = []
    for _ in range(number):
        assert fire_us is not None
        fire_us = trigger.next_us(fire_us)
        if fire_us is None:
            break
        answers.append(f"{to_datetime(fire_us):%Y-%m-%d %H:%M:%S}".removesuffix(":00").removesuffix(" 00:00"))
    return answers


UNIX = [
    pytest.param("0 0 * 2 MON#5", "2020-01-01", ["2044-02-29", "2072-02-29", "2112-02-29"], id="S14"),
    pytest.param("* * */20 * 1L", "2020-01-01", [], id="S15-never"),
    pytest.param("0 0 15W * *", "2024-05-16", ["2024-06-14", "2024-07-15", "2024-08-15"], id="S16-saturday"),
    pytest.param("0 0 15W 9 *", "2024-05-16", ["2024-09-16", "2025-09-15"], id="S16-sunday"),
    pytest.param("0 0 1W 6 *", "2024-01-01", ["2024-06-03", "2025-06-02", "2026-06-01"], id="S16-not-in-may"),
    pytest.param("0 0 31W 3,4 *", "2024-01-01", ["2024-03-29", "2025-03-31"], id="S16-no-31-april"),
    pytest.param("0 0 30W 6 *", "2024-01-01", ["2024-06-28", "2025-06-30"], id="30w-on-the-last-sunday"),
    pytest.param("0 0 L-3 * *", "2024-01-01", ["2024-01-28", "2024-02-26", "2024-03-28", "2024-04-27"], id="S17"),
    pytest.param("0 0 L-29 2,3 *", "2023-01-01", ["2023-03-02", "2024-03-02"], id="S17-not-in-february"),
    pytest.param("0 0 L-28 2 *", "2023-01-01", ["2024-02-01"], id="L-28-in-leap-years"),
    pytest.param("0 0 L-30 * *", "2024-01-01", ["2024-03-01", "2024-05-01"], id="L-30"),
    pytest.param("0 0 L * *", "2024-01-01", ["2024-01-31", "2024-02-29"], id="last"),
    pytest.param("0 0 LW * *", "2024-02-01", ["2024-02-29", "2024-03-29", "2024-04-30"], id="last-weekday"),
    pytest.param("0 0 L-1W * *", "2024-02-29", ["2024-03-29", "2024-04-29", "2024-05-30"], id="near-before-last"),
    pytest.param("0 0 1,15W,L * *", "2024-06-02", ["2024-06-14", "2024-06-30", "2024-07-01"], id="list"),
    pytest.param("0 0 * * fri#2", "2024-01-01", ["2024-01-12", "2024-02-09"], id="named"),
    pytest.param("0 0 * * 5#2", "2024-01-01", ["2024-01-12", "2024-02-09"], id="numbered"),
    pytest.param("0 0 * * 0#1", "2024-01-01", ["2024-01-07", "2024-02-04"], id="0-is-sunday"),
    pytest.param("0 0 * * 7L", "2024-01-01", ["2024-01-28", "2024-02-25"], id="7-is-sunday"),
    pytest.param("0 0 * * friL", "2024-01-01", ["2024-01-26", "2024-02-23"], id="last-friday"),
    pytest.param("0 0 * * FridayL", "2024-01-01", ["2024-01-26", "2024-02-23"], id="whole-name"),
    pytest.param("0 0 * * tue,fri#2", "2024-01-09", ["2024-01-12", "2024-01-16", "2024-01-23"], id="mixed"),
    pytest.param("0 0 13 * fri#2", "2024-01-01", ["2024-01-12", "2024-01-13", "2024-02-09"], id="either"),
    pytest.param("0 0 13 * mon,fri#2", "2024-01-08", ["2024-01-12", "2024-01-13", "2024-01-15"], id="either-mixed"),
    pytest.param("0 0 */2 * fri#2", "2024-01-01", ["2024-02-09"], id="both"),
    pytest.param("0 0 L * fri", "2024-01-25", ["2024-01-26", "2024-01-31", "2024-02-02"], id="last-or-friday"),
]
QUARTZ = [
    pytest.param("0 30 7 ? * 5", "2024-01-01", ["2024-01-04 07:30"], id="5-is-thursday"),
    pytest.param("0 0 0 ? * 1", "2024-01-01", ["2024-01-07"], id="1-is-sunday"),
    pytest.param("0 0 0 ? * 7", "2024-01-01", ["2024-01-06"], id="7-is-saturday"),
    pytest.param("0 0 0 ? * L", "2024-01-01", ["2024-01-06", "2024-01-13"], id="L-is-saturday"),
    pytest.param("0 0 0 ? * 6L", "2024-01-01", ["2024-01-26"], id="last-friday"),
    pytest.param("0 0 0 ? * FRIL", "2024-01-01", ["2024-01-26"], id="last-friday-by-name"),
    pytest.param("0 0 0 ? * 6#3", "2024-01-01", ["2024-01-19", "2024-02-16"], id="third-friday"),
    pytest.param("0 0 0 ? 2 MON#5", "2020-01-01", ["2044-02-29", "2072-02-29", "2112-02-29"], id="S14"),
    pytest.param("0 0 0 ? * SAT-MON", "2024-01-02", ["2024-01-06", "2024-01-07", "2024-01-08"], id="wraps"),
    pytest.param("0 0 0 ? * 2-6", "2024-01-05", ["2024-01-08", "2024-01-09"], id="monday-to-friday"),
    pytest.param("0 0 0 L-3 * ?", "2024-01-01", ["2024-01-28", "2024-02-26"], id="S17"),
    pytest.param("0 0 0 LW * ?", "2024-03-01", ["2024-03-29"], id="LW"),
    pytest.param("0 0 0 15W * ?", "2024-06-01", ["2024-06-14"], id="15W"),
    pytest.param("0 0 0 1 1 ? 2020/10", "2020-06-30", ["2030-01-01", "2040-01-01"], id="S20-years"),
    pytest.param("0 0 0 1 1 ? 2024", "2024-06-30", [], id="year"),
    pytest.param("0/20 5 * * * ?", "2024-01-01", ["2024-01-01 00:05", "2024-01-01 00:05:20"], id="seconds"),
    pytest.param("0 0 22-2 ? * *", "2024-01-01 03:00", ["2024-01-01 22:00", "2024-01-01 23:00"], id="hours"),
    pytest.param("0 0 0 * * MON", "2024-01-01", ["2024-01-08"], id="star-for-question-mark"),
    pytest.param("0 0 0 * * *", "2024-01-01", ["2024-01-02"], id="both-stars"),
    pytest.param("0 0 12 1/5 * ?", "2024-01-01", ["2024-01-01 12:00", "2024-01-06 12:00"], id="every-fifth-day"),
    pytest.param("0 0 0 1 NOV-FEB ?", "2024-01-01", ["2024-02-01", "2024-11-01", "2024-12-01"], id="months"),
]
APSCHEDULER3 = [
    pytest.param("30 7 * * 4", "2024-01-01", ["2024-01-05 07:30"], id="4-is-friday"),
    pytest.param("0 0 * * 0", "2024-01-02", ["2024-01-08"], id="0-is-monday"),
    pytest.param("0 0 13 * fri", "2024-01-01", ["2024-09-13", "2024-12-13"], id="both-days"),
    pytest.param("0 0 last * *", "2024-01-01", ["2024-01-31", "2024-02-29"], id="last"),
]


@pytest.mark.parametrize(("crontab", "asked_at", "answers"), UNIX)
def test_unix_extensions(crontab: str, asked_at: str, answers: list[str]) -> None:
    assert walk(CronTrigger.from_crontab(crontab, "UTC"), asked_at, max(len(answers), 1)) == answers


@pytest.mark.parametrize(("crontab", "asked_at", "answers"), QUARTZ)
def test_quartz(crontab: str, asked_at: str, answers: list[str]) -> None:
    assert walk(CronTrigger.from_crontab(crontab, "UTC", dialect="quartz"), asked_at, max(len(answers), 1)) == answers


@pytest.mark.parametrize(("crontab", "asked_at", "answers"), APSCHEDULER3)
def test_apscheduler3(crontab: str, asked_at: str, answers: list[str]) -> None:
    trigger = CronTrigger.from_crontab(crontab, "UTC", dialect="apscheduler3")
    assert walk(trigger, asked_at, len(answers)) == answers


@pytest.mark.parametrize(
    ("dialect", "crontab", "field", "column", "message"),
    [
        ("unix", "* * L-31 * *", "day", 7, "31 is out of range: the days before the last one go from 1 to 30"),
        ("unix", "* * L-0 * *", "day", 7, "0 is out of range"),
        ("unix", "* * L- * *", "day", 7, "a number of days is missing; write L-3"),
        ("unix", "* * L3 * *", "day", 6, "'3' cannot stand here"),
        ("unix", "* * 32W * *", "day", 5, "32 is out of range"),
        ("unix", "* * 1-15W * *", "day", 9, "'W' cannot stand here"),
        ("unix", "* * W * *", "day", 5, "'W' is not understood; write a number from 1 to 31, "),
        ("unix", "* * * * L", "day_of_week", 9, "the last of which weekday? write friL"),
        ("unix", "* * * * fri#6", "day_of_week", 13, "which one of the month? write fri#1 to 5"),
        ("unix", "* * * * fri#", "day_of_week", 13, "which one of the month?"),
        ("unix", "* * * * mon-fri#2", "day_of_week", 16, "'#' cannot stand here"),
        ("unix", "* * * * 8L", "day_of_week", 9, "8 is out of range: weekdays go from 0 to 7"),
        ("unix", "* * * * friX", "day_of_week", 9, "'friX' is not the name of a weekday; did you mean 'fri'?"),
        ("unix", "H(5) * * * *", "minute", 4, "a range is missing; write H(a-b)"),
        ("unix", "H(9-5) * * * *", "minute", 5, "the range ends before it begins; write H(5-9)"),
        ("unix", "H(5-9 * * * *", "minute", 6, "')' is missing; write H(a-b)"),
        ("unix", "H(5-99) * * * *", "minute", 5, "99 is out of range"),
        ("unix", "H/0 * * * *", "minute", 3, "a step of 0 never gets on"),
        ("unix", "H-5 * * * *", "minute", 2, "'-' cannot stand here"),
        ("quartz", "* * * * *", "crontab", 10, "there are 5 fields, so day_of_week is missing; write 6 or 7: second, "),
        ("quartz", "0 0 0 ? * 1 2024 x", "crontab", 18, "from here on too many; write 6 or 7"),
        ("quartz", "0 0 0 1 * 1", "day", 7, "quartz restricts one of the two day fields; write ? in the other"),
        ("quartz", "0 0 0 ? * ?", "day", 11, "only one of the two day fields can be '?'"),
        ("quartz", "0 ? 0 ? * 1", "minute", 3, "'?' is not understood"),
        (
            "quartz",
            "0 0 0 ? * 0",
            "day_of_week",
            11,
            "0 is out of range: weekdays go from 1 to 7 (1 is Sunday in quartz)",
        ),
        ("quartz", "0 0 0 ? * 1 H", "year", 13, "'H' is not understood"),
        ("quartz", "@daily", "crontab", 7, "there is 1 field, so minute is missing"),
        ("apscheduler3", "0 0 * * 7", "day_of_week", 9, "7 is out of range: weekdays go from 0 to 6 (0 is Monday here"),
        ("apscheduler3", "H 0 * * *", "minute", 1, "'H' is not understood"),
        ("apscheduler3", "0 0 * *", "crontab", 8, "so day_of_week is missing; write 5: minute, hour, day, month, "),
        ("apscheduler3", "0 0 L * *", "day", 5, "'L' is not understood"),
    ],
)
def test_errors_point_at_what_is_wrong(dialect: str, crontab: str, field: str, column: int, message: str) -> None:
    with pytest.raises(InvalidTriggerError) as caught:
        CronTrigger.from_crontab(crontab, "UTC", dialect=dialect, seed="x")
    assert message in str(caught.value)
    assert (caught.value.field, caught.value.column) == (field, column)
    assert f"{crontab!r}, column {column}: " in str(caught.value)


@pytest.mark.parametrize("dialect", ["quartz", "apscheduler3"])
@pytest.mark.parametrize("option", ["seconds", "year"])
def test_options_of_unix_are_refused_elsewhere(dialect: str, option: str) -> None:
    with pytest.raises(InvalidTriggerError, match=f"{option}: leave it out with the dialect '{dialect}'") as caught:
        CronTrigger.from_crontab("0 0 0 ? * 1", "UTC", dialect=dialect, **{option: True})  # type: ignore[arg-type]
    assert caught.value.field == option


ROUND_TRIPS: list[dict[str, Any]] = [
    {"expr": "0 0 L-3,15W,LW,L-2W * fri#2,monL"},
    {"expr": "0 30 7 ? * 2-6", "dialect": "quartz"},
    {"expr": "0 0 0 ? * 6#3 2030", "dialect": "quartz", "dst": "literal"},
    {"expr": "0 0 13 * 4", "dialect": "apscheduler3"},
    {"expr": "H H/3 H * *", "seed": "the job's id"},
    {"expr": "H(10-20) * * * *"},
    {"expr": "H H H ? * 2-6", "dialect": "quartz", "seed": "é\ud800"},
]


@pytest.mark.parametrize("arguments", ROUND_TRIPS, ids=str)
def test_round_trips(arguments: dict[str, Any]) -> None:
    trigger = CronTrigger.from_crontab(timezone="Europe/Berlin", **arguments)
    restored = CronTrigger.__new__(CronTrigger)
    restored.__setstate__(trigger.__getstate__())
    copies = [eval(repr(trigger)), restored]
    if "\ud800" not in arguments.get("seed", ""):
        copies.append(pickle.loads(pickle.dumps(trigger)))
    shown = {name: value for name, value in arguments.items() if name != "expr"}
    copies.append(CronTrigger.from_str(str(trigger), "Europe/Berlin", **shown))
    for copy in copies:
        assert copy == trigger
        assert hash(copy) == hash(trigger)
        assert (str(copy), repr(copy), copy.__getstate__()) == (str(trigger), repr(trigger), trigger.__getstate__())


def test_one_meaning_has_one_form() -> None:
    second_friday = CronTrigger(day="2nd fri", timezone="UTC")
    assert CronTrigger.from_crontab("0 0 * * fri#2", "UTC") == second_friday
    assert CronTrigger.from_crontab("0 0 0 ? * 6#2", "UTC", dialect="quartz") == second_friday
    sundays = CronTrigger.from_crontab("0 5 * * 0", "UTC")
    assert CronTrigger.from_crontab("0 0 5 ? * 1", "UTC", dialect="quartz") == sundays
    assert CronTrigger.from_crontab("0 5 * * 6", "UTC", dialect="apscheduler3") == sundays
    # A seed that nothing asks for is no part of the schedule.
    assert repr(CronTrigger.from_crontab("0 5 * * 0", "UTC", seed="x")) == repr(sundays)
    assert "seed" not in sundays.__getstate__()


def test_quartz_says_every_fifteen_minutes_in_two_ways() -> None:
    """Both follow real time when the clocks change."""
    for dst in ("cron", "literal"):
        one, other = (
            CronTrigger.from_crontab(f"0 {text} 2 * * ?", "Europe/Berlin", dialect="quartz", dst=dst)
            for text in ("0/15", "*/15")
        )
        assert one == other


# --- H --------------------------------------------------------------------------------------------------------------


def minutes(text: str, seed: str) -> list[int]:
    mask = parse_crontab(f"{text} * * * *", seed=seed).minutes
    return [minute for minute in range(60) if mask >> minute & 1]


def test_h_spreads_over_its_range() -> None:
    seeds = [f"job {number}" for number in range(2000)]
    assert {minutes("H", seed)[0] for seed in seeds} == set(range(60))
    assert {minutes("H(10-19)", seed)[0] for seed in seeds} == set(range(10, 20))
    assert {tuple(minutes("H/15", seed)) for seed in seeds} == {(n, n + 15, n + 30, n + 45) for n in range(15)}
    assert {tuple(minutes("H(0-29)/10", seed)) for seed in seeds} == {(n, n + 10, n + 20) for n in range(10)}
    assert {tuple(minutes("H(5-7)/10", seed)) for seed in seeds} == {(5,), (6,), (7,)}
    days = [parse_crontab("0 0 H * *", seed=seed).days for seed in seeds]
    assert {day.bit_length() - 1 for day in days} == set(range(1, 29))
    weekdays = [parse_crontab("0 0 * * H", seed=seed).weekdays for seed in seeds]
    assert set(weekdays) == {1 << day for day in range(7)}
    # No minute has twice as many as it should (33).
    assert max(sum(1 for seed in seeds if minutes("H", seed) == [minute]) for minute in (0, 17, 59)) < 66


def test_h_is_the_same_for_ever() -> None:
    """Pinned: another answer would move the jobs of every user who has ``H``."""
    trigger = CronTrigger.from_crontab("H H(1-5) H H H", "UTC", seed="backup")
    rule = trigger.rule
    assert (rule.minutes, rule.hours, rule.days, rule.months, rule.weekdays) == PINNED
    code = (
        "from schedcore.triggers.cron import parse_crontab as p; r = p('H H(1-5) H H H', seed='backup');"
        "print((r.minutes, r.hours, r.days, r.months, r.weekdays))"
    )
    for number in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": number}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(PINNED)


PINNED = (1 << 52, 1 << 2, 1 << 25, 1 << 3, 1 << 1)


def test_h_without_a_seed_waits_for_the_job() -> None:
    trigger = CronTrigger.from_crontab("H 2 * * *", "UTC", start_date="2024-01-01", jitter=3)
    asks: list[Callable[[], object]] = [
        lambda: trigger.next_us(0),
        lambda: trigger.last_us(2**60),
        lambda: trigger.count_us(0, 2**60),
    ]
    for ask in asks:
        with pytest.raises(InvalidTriggerError, match="'H' stands for a number that a seed picks") as caught:
            ask()
        assert caught.value.field == "seed"
    assert trigger.describe() == "H 2 * * * (H: by the id of the job) from 2024-01-01 00:00:00"
    seeded = trigger.seeded("backup")
    assert seeded == CronTrigger.from_crontab("H 2 * * *", "UTC", start_date="2024-01-01", jitter=3, seed="backup")
    assert seeded.next_us(0) is not None
    assert seeded.seeded("other") is seeded
    assert trigger != seeded
    assert trigger == CronTrigger.from_crontab("H 2 * * *", "UTC", start_date="2024-01-01", jitter=3)
    plain = CronTrigger.from_crontab("5 2 * * *", "UTC")
    assert plain.seeded("backup") is plain
    with pytest.raises(InvalidTriggerError, match="'H' stands for a number that a seed picks") as caught:
        parse_crontab("5 H * * *")
    assert (caught.value.field, caught.value.column) == ("hour", 3)
    with pytest.raises(InvalidTriggerError, match="seed: 5 is of type int; give text"):
        CronTrigger.from_crontab("H 2 * * *", "UTC", seed=5)  # type: ignore[arg-type]


def test_h_counts_as_a_number_and_h_with_a_step_as_a_star() -> None:
    fixed = CronTrigger.from_crontab("H 2 * * *", "Europe/Berlin", seed="x")
    every = CronTrigger.from_crontab("H/15 2 * * *", "Europe/Berlin", seed="x")
    gap = datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert fixed.get_next_fire_time(None, gap) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    answer = every.get_next_fire_time(None, gap)
    assert answer is not None
    assert answer.date().isoformat() == "2026-03-30"
    assert CronTrigger.from_crontab("0 0 H * 5", "UTC", seed="x").rule.either is True
    assert CronTrigger.from_crontab("0 0 H/2 * 5", "UTC", seed="x").rule.either is False


# --- speed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crontab", "dialect"),
    [
        ("0 0 29 2 mon#5", "unix"),
        ("* * */20 * 1L", "unix"),
        ("0 0 */31 2,4,6 fri#1,monL", "unix"),
        ("0 0 31W 2,4,6,9,11 *", "unix"),
        ("0 0 L-30 2 *", "unix"),
        ("0 0 0 ? 2 MON#5", "quartz"),
        ("0 0 0 29 2 ? 2097-2103", "quartz"),
        ("0 0 0 L-30W 2 ?", "quartz"),
        ("0 0 29 2 0", "apscheduler3"),
    ],
)
def test_any_search_is_short(crontab: str, dialect: str) -> None:
    from schedcore.triggers.cron._search import Plan

    trigger = CronTrigger.from_crontab(crontab, "Europe/Berlin", dialect=dialect)
    at_us = from_datetime(datetime(2044, 3, 1, tzinfo=UTC))
    for search in (trigger.next_us, trigger.last_us):
        object.__setattr__(trigger, "_plan", Plan(trigger._plan.rule))
        assert lines_run(lambda: search(at_us)) < 2000, search.__name__  # noqa: B023


@pytest.mark.parametrize(
    ("crontab", "words"),
    [
        ("0 0 L-3 * *", "at 00:00 on the 3rd day before the last day of the month"),
        ("0 0 L-1 * *", "at 00:00 on the day before the last day of the month"),
        (
            "0 0 L-11,L-21 * *",
            "at 00:00 on the 21st day before the last day of the month and the 11th day before the last day of the month",
        ),
        ("0 0 15W * *", "at 00:00 on the weekday (Monday to Friday) nearest to day 15 of the month"),
        ("0 0 LW * *", "at 00:00 on the last weekday (Monday to Friday) of the month"),
        (
            "0 0 L-2W * *",
            "at 00:00 on the weekday (Monday to Friday) nearest to the 2nd day before the last day of the month",
        ),
        ("0 0 * * fri#2,monL", "at 00:00 on the 2nd Friday and the last Monday"),
        ("0 0 * * tue,fri#2", "at 00:00 on every Tuesday and the 2nd Friday"),
        ("0 0 */10 * fri#2", "at 00:00 on day 1, 11, 21 and 31 of the month if it is the 2nd Friday"),
        ("0 0 */10 * mon,fri#2", "at 00:00 on day 1, 11, 21 and 31 of the month if it is a Monday or the 2nd Friday"),
        ("0 0 13 * mon,fri#2", "at 00:00 on day 13 of the month and the 2nd Friday or on Monday"),
        ("* * */20 * 1L", "never"),
    ],
)
def test_words(crontab: str, words: str) -> None:
    assert CronTrigger.from_crontab(crontab, "UTC").describe() == words

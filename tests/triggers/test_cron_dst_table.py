"""Every day on which clocks change that somebody reported as wrong, under both rules for clock changes.

The instants and zones are those of public bug reports against schedulers. The answers of the literal rule were found by
a scan of UTC minutes that shares no code with this project; those of the cron rule are what Debian's cron(8) promises.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from schedcore.clock import from_datetime
from schedcore.triggers.cron import CronTrigger


class Row(NamedTuple):
    name: str
    crontab: str
    zone: str
    #: Local time; " fold" marks the second of two.
    asked_at: str
    #: By the literal rule, one after the other.
    literal: list[str]
    #: By cron's rule, where it differs.
    cron: list[str] | None = None


GAPS = [
    Row(
        "G1",
        "0 0 * * 1-5",
        "US/Central",
        "2021-03-12 00:00:01",
        ["2021-03-15 00:00-05:00", "2021-03-16 00:00-05:00"],
    ),
    Row(
        "G2",
        "0 0 * * *",
        "US/Pacific",
        "2022-03-13 00:00:08",
        ["2022-03-14 00:00-07:00", "2022-03-15 00:00-07:00"],
    ),
    Row(
        "G3",
        "0 0 * * *",
        "Europe/Warsaw",
        "2017-03-26 00:00:01",
        ["2017-03-27 00:00+02:00", "2017-03-28 00:00+02:00"],
    ),
    Row(
        "G4",
        "0 0 * * 1",
        "Europe/Zurich",
        "2021-03-22 09:00:00",
        ["2021-03-29 00:00+02:00", "2021-04-05 00:00+02:00"],
    ),
    Row(
        "G5",
        "0 12 * * 0",
        "Europe/Berlin",
        "2022-03-24 12:00:00",
        ["2022-03-27 12:00+02:00", "2022-04-03 12:00+02:00"],
    ),
    Row(
        "G6",
        "30 0 * * 1",
        "Africa/Casablanca",
        "2012-04-27 07:47:29",
        ["2012-04-30 00:30+01:00"],
    ),
    Row(
        "G7",
        "0 8 * * *",
        "Europe/Berlin",
        "2016-03-26 21:00:00",
        ["2016-03-27 08:00+02:00", "2016-03-28 08:00+02:00"],
    ),
    Row(
        "G8",
        "0 14 * * *",
        "America/Los_Angeles",
        "2016-03-12 14:01:00",
        ["2016-03-13 14:00-07:00"],
    ),
    Row(
        "G9",
        "4 16 * * *",
        "America/New_York",
        "2025-03-08 16:05:00",
        ["2025-03-09 16:04-04:00"],
    ),
    Row(
        "G10",
        "0 9 * * *",
        "America/Toronto",
        "2026-03-07 09:01:00",
        ["2026-03-08 09:00-04:00"],
    ),
    Row(
        "G11",
        "0 5 * * 0",
        "Europe/Rome",
        "2025-03-29 00:59:59",
        ["2025-03-30 05:00+02:00"],
    ),
    Row(
        "G12",
        "0 16 * * *",
        "US/Eastern",
        "2017-03-11 17:00:00",
        ["2017-03-12 16:00-04:00", "2017-03-13 16:00-04:00"],
    ),
    Row(
        "G13",
        "0 2 * * *",
        "US/Eastern",
        "2013-03-10 01:59:00",
        ["2013-03-11 02:00-04:00", "2013-03-12 02:00-04:00"],
        ["2013-03-10 03:00-04:00", "2013-03-11 02:00-04:00"],
    ),
    Row(
        "G14",
        "0 1 * * *",
        "Europe/Dublin",
        "2019-03-30 12:00:00",
        ["2019-04-01 01:00+01:00", "2019-04-02 01:00+01:00"],
        ["2019-03-31 02:00+01:00", "2019-04-01 01:00+01:00"],
    ),
    Row(
        "G15",
        "0 1 * * *",
        "Europe/Dublin",
        "2019-03-31 00:30:00",
        ["2019-04-01 01:00+01:00"],
        ["2019-03-31 02:00+01:00"],
    ),
    Row(
        "G16",
        "30 2 * * *",
        "Europe/Berlin",
        "2016-03-26 02:31:00",
        ["2016-03-28 02:30+02:00", "2016-03-29 02:30+02:00"],
        ["2016-03-27 03:00+02:00", "2016-03-28 02:30+02:00"],
    ),
    Row(
        "G17",
        "1 2 * * *",
        "Europe/Berlin",
        "2020-03-29 01:59:55",
        ["2020-03-30 02:01+02:00", "2020-03-31 02:01+02:00"],
        ["2020-03-29 03:00+02:00", "2020-03-30 02:01+02:00"],
    ),
    Row(
        "G18",
        "1 2 * * *",
        "Europe/Berlin",
        "2020-03-29 01:58:55",
        ["2020-03-30 02:01+02:00", "2020-03-31 02:01+02:00"],
        ["2020-03-29 03:00+02:00", "2020-03-30 02:01+02:00"],
    ),
    Row(
        "G19",
        "30 2 * * 0",
        "Europe/Rome",
        "2025-03-29 00:59:59",
        ["2025-04-06 02:30+02:00", "2025-04-13 02:30+02:00"],
        ["2025-03-30 03:00+02:00", "2025-04-06 02:30+02:00"],
    ),
    Row(
        "G20",
        "30 1 * * *",
        "Europe/London",
        "2025-03-29 01:31:00",
        ["2025-03-31 01:30+01:00", "2025-04-01 01:30+01:00"],
        ["2025-03-30 02:00+01:00", "2025-03-31 01:30+01:00"],
    ),
    Row(
        "G21",
        "0 2 * * *",
        "America/Los_Angeles",
        "2014-03-09 01:00:00",
        ["2014-03-10 02:00-07:00", "2014-03-11 02:00-07:00"],
        ["2014-03-09 03:00-07:00", "2014-03-10 02:00-07:00"],
    ),
    Row(
        "G22",
        "30 2 * * *",
        "Europe/Brussels",
        "2026-03-28 02:31:00",
        ["2026-03-30 02:30+02:00", "2026-03-31 02:30+02:00"],
        ["2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"],
    ),
    Row(
        "G23",
        "0 0 * * 0",
        "America/Santiago",
        "2022-08-28 00:00:01",
        ["2022-09-04 00:00-04:00", "2022-09-18 00:00-03:00", "2022-09-25 00:00-03:00"],
        ["2022-09-04 00:00-04:00", "2022-09-11 01:00-03:00", "2022-09-18 00:00-03:00"],
    ),
    Row(
        "G24",
        "30 23 * * *",
        "America/Nuuk",
        "2024-03-29 23:31:00",
        ["2024-03-31 23:30-01:00", "2024-04-01 23:30-01:00"],
        ["2024-03-31 00:00-01:00", "2024-03-31 23:30-01:00"],
    ),
    Row(
        "G25",
        "0 0 * * *",
        "Africa/Cairo",
        "2024-04-25 12:00:00",
        ["2024-04-27 00:00+03:00", "2024-04-28 00:00+03:00"],
        ["2024-04-26 01:00+03:00", "2024-04-27 00:00+03:00"],
    ),
    Row(
        "G26",
        "0 9 * * *",
        "Pacific/Apia",
        "2011-12-29 10:00:00",
        ["2011-12-31 09:00+14:00"],
        ["2011-12-31 00:00+14:00"],
    ),
    Row(
        "G27",
        "0 3 * * *",
        "Pacific/Chatham",
        "2026-09-26 03:00:01",
        ["2026-09-28 03:00+13:45", "2026-09-29 03:00+13:45"],
        ["2026-09-27 03:45+13:45", "2026-09-28 03:00+13:45"],
    ),
    Row(
        "G28",
        "50 3 * * *",
        "Pacific/Chatham",
        "2026-09-26 03:50:01",
        ["2026-09-27 03:50+13:45"],
    ),
    Row(
        "G29",
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03 02:16:00",
        ["2026-10-05 02:15+11:00", "2026-10-06 02:15+11:00"],
        ["2026-10-04 02:30+11:00", "2026-10-05 02:15+11:00"],
    ),
    Row(
        "G30",
        "30 2 * * *",
        "Antarctica/Troll",
        "2026-03-28 02:30:01",
        ["2026-03-30 02:30+02:00", "2026-03-31 02:30+02:00"],
        ["2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"],
    ),
    Row(
        "G31",
        "0 * * * *",
        "America/New_York",
        "2022-03-12 23:30:00",
        ["2022-03-13 00:00-05:00", "2022-03-13 01:00-05:00", "2022-03-13 03:00-04:00", "2022-03-13 04:00-04:00"],
    ),
    Row(
        "G32",
        "*/30 * * * *",
        "Europe/Riga",
        "2021-03-28 02:10:00",
        ["2021-03-28 02:30+02:00", "2021-03-28 04:00+03:00", "2021-03-28 04:30+03:00"],
    ),
    Row(
        "G33",
        "30 1,2,3,4,5 * * *",
        "Europe/Riga",
        "2021-03-28 01:31:00",
        ["2021-03-28 02:30+02:00", "2021-03-28 04:30+03:00", "2021-03-28 05:30+03:00"],
        ["2021-03-28 02:30+02:00", "2021-03-28 04:00+03:00", "2021-03-28 04:30+03:00"],
    ),
    Row(
        "G34",
        "0 */2 * * *",
        "Europe/Berlin",
        "2020-03-29 00:30:00",
        ["2020-03-29 04:00+02:00", "2020-03-29 06:00+02:00"],
    ),
]

OVERLAPS = [
    Row(
        "F1",
        "30 * * * *",
        "Europe/Helsinki",
        "2017-10-29 03:45:00 fold",
        ["2017-10-29 04:30+02:00", "2017-10-29 05:30+02:00"],
    ),
    Row(
        "F2",
        "0 * * * *",
        "Europe/London",
        "2024-10-27 00:30:00",
        ["2024-10-27 01:00+01:00", "2024-10-27 01:00+00:00", "2024-10-27 02:00+00:00"],
    ),
    Row(
        "F3",
        "0 * * * *",
        "US/Pacific",
        "2026-11-01 00:30:00",
        ["2026-11-01 01:00-07:00", "2026-11-01 01:00-08:00", "2026-11-01 02:00-08:00"],
    ),
    Row(
        "F4",
        "0 20 * * *",
        "Europe/Paris",
        "2022-10-30 00:00:00",
        ["2022-10-30 20:00+01:00", "2022-10-31 20:00+01:00", "2022-11-01 20:00+01:00"],
    ),
    Row(
        "F5",
        "*/5 * * * *",
        "Europe/Zurich",
        "2023-10-29 02:55:01",
        ["2023-10-29 02:00+01:00", "2023-10-29 02:05+01:00"],
    ),
    Row(
        "F6",
        "*/5 * * * *",
        "Europe/Zurich",
        "2023-10-29 02:30:01 fold",
        ["2023-10-29 02:35+01:00", "2023-10-29 02:40+01:00"],
    ),
    Row(
        "F7",
        "0 8 * * 1",
        "Europe/Amsterdam",
        "2017-10-24 00:00:00",
        ["2017-10-30 08:00+01:00", "2017-11-06 08:00+01:00"],
    ),
    Row(
        "F8",
        "30 * * * *",
        "Europe/Vienna",
        "2017-10-29 01:35:00",
        ["2017-10-29 02:30+02:00", "2017-10-29 02:30+01:00", "2017-10-29 03:30+01:00", "2017-10-29 04:30+01:00"],
    ),
    Row(
        "F9",
        "0 12 * * 1",
        "Europe/Amsterdam",
        "2013-10-27 00:00:00",
        ["2013-10-28 12:00+01:00"],
    ),
    Row(
        "F10",
        "20 2 * * *",
        "Europe/Paris",
        "2020-10-25 00:00:00",
        ["2020-10-25 02:20+02:00", "2020-10-25 02:20+01:00", "2020-10-26 02:20+01:00"],
        ["2020-10-25 02:20+02:00", "2020-10-26 02:20+01:00", "2020-10-27 02:20+01:00"],
    ),
    Row(
        "F11",
        "30 2 * * *",
        "Europe/Berlin",
        "2015-10-24 12:00:00",
        ["2015-10-25 02:30+02:00", "2015-10-25 02:30+01:00", "2015-10-26 02:30+01:00"],
        ["2015-10-25 02:30+02:00", "2015-10-26 02:30+01:00", "2015-10-27 02:30+01:00"],
    ),
    Row(
        "F12",
        "30 2 * * *",
        "Europe/Brussels",
        "2026-10-25 00:00:00",
        ["2026-10-25 02:30+02:00", "2026-10-25 02:30+01:00"],
        ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"],
    ),
    Row(
        "F13",
        "0 1 * * *",
        "America/Los_Angeles",
        "2014-11-02 00:30:00",
        ["2014-11-02 01:00-07:00", "2014-11-02 01:00-08:00"],
        ["2014-11-02 01:00-07:00", "2014-11-03 01:00-08:00"],
    ),
    Row(
        "F14",
        "0 9 * * *",
        "America/Toronto",
        "2026-10-31 09:01:00",
        ["2026-11-01 09:00-05:00"],
    ),
    Row(
        "F15",
        "* * * * *",
        "Europe/Berlin",
        "2016-10-30 02:58:30",
        ["2016-10-30 02:59+02:00", "2016-10-30 02:00+01:00", "2016-10-30 02:01+01:00"],
    ),
    Row(
        "F16",
        "*/15 * * * *",
        "Europe/Berlin",
        "2017-10-29 02:50:00",
        ["2017-10-29 02:00+01:00", "2017-10-29 02:15+01:00", "2017-10-29 02:30+01:00"],
    ),
    Row(
        "F17",
        "* * * * *",
        "Europe/Berlin",
        "2023-10-29 02:10:30 fold",
        ["2023-10-29 02:11+01:00", "2023-10-29 02:12+01:00"],
    ),
    Row(
        "F18",
        "50 3 * * *",
        "Pacific/Chatham",
        "2026-04-04 03:50:01",
        ["2026-04-05 03:50+12:45"],
    ),
    Row(
        "F19",
        "0 23 * * *",
        "Antarctica/Troll",
        "2026-10-24 23:00:01",
        ["2026-10-25 23:00+00:00"],
    ),
    Row(
        "F20",
        "*/15 * * * *",
        "Australia/Lord_Howe",
        "2026-04-05 01:31:00",
        ["2026-04-05 01:45+11:00", "2026-04-05 01:30+10:30", "2026-04-05 01:45+10:30", "2026-04-05 02:00+10:30"],
    ),
    Row(
        "F21",
        "45 1 * * *",
        "Australia/Lord_Howe",
        "2026-04-05 01:00:00",
        ["2026-04-05 01:45+11:00", "2026-04-05 01:45+10:30"],
        ["2026-04-05 01:45+11:00", "2026-04-06 01:45+10:30"],
    ),
    Row(
        "F22",
        "0 */3 * * *",
        "Europe/Riga",
        "2021-10-31 01:30:00",
        ["2021-10-31 03:00+03:00", "2021-10-31 03:00+02:00", "2021-10-31 06:00+02:00"],
    ),
    Row(
        "F23",
        "0 1,2,3,4,5 * * *",
        "Europe/Riga",
        "2021-10-31 01:30:00",
        ["2021-10-31 02:00+03:00", "2021-10-31 03:00+03:00", "2021-10-31 03:00+02:00", "2021-10-31 04:00+02:00"],
        ["2021-10-31 02:00+03:00", "2021-10-31 03:00+03:00", "2021-10-31 04:00+02:00", "2021-10-31 05:00+02:00"],
    ),
    Row(
        "F24",
        "0 0 * * *",
        "Europe/Athens",
        "2018-03-25 22:10:10",
        ["2018-03-26 00:00+03:00"],
    ),
]


def at(text: str, zone: str) -> datetime:
    local = text.removesuffix(" fold")
    return datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone), fold=int(local != text))


def shown(answer: datetime | None) -> str:
    assert answer is not None
    return answer.strftime("%Y-%m-%d %H:%M") + answer.isoformat()[-6:]


@pytest.mark.parametrize("dst", ["literal", "cron"])
@pytest.mark.parametrize("row", GAPS + OVERLAPS, ids=lambda row: row.name)
def test_reported_case(row: Row, dst: Literal["literal", "cron"]) -> None:
    expected = row.cron if dst == "cron" and row.cron is not None else row.literal
    trigger = CronTrigger.from_crontab(row.crontab, row.zone, dst=dst)
    now = at(row.asked_at, row.zone)
    previous, answers = None, []
    for _ in expected:
        previous = trigger.get_next_fire_time(previous, now)
        answers.append(shown(previous))
    assert answers == expected


@pytest.mark.parametrize("dst", ["literal", "cron"])
@pytest.mark.parametrize("row", GAPS + OVERLAPS, ids=lambda row: row.name)
def test_the_answer_does_not_depend_on_the_second_at_which_one_asks(row: Row, dst: Literal["literal", "cron"]) -> None:
    trigger = CronTrigger.from_crontab(row.crontab, row.zone, dst=dst)
    asked_us = from_datetime(at(row.asked_at, row.zone))
    first_us = trigger.next_us(asked_us)
    assert first_us is not None
    for step in range(1, 40):
        assert trigger.next_us(asked_us + (first_us - 1 - asked_us) * step // 40) == first_us
    assert trigger.next_us(first_us - 1) == first_us


@pytest.mark.parametrize("dst", ["literal", "cron"])
@pytest.mark.parametrize("row", GAPS + OVERLAPS, ids=lambda row: row.name)
def test_last_and_count_agree_with_next(row: Row, dst: Literal["literal", "cron"]) -> None:
    trigger = CronTrigger.from_crontab(row.crontab, row.zone, dst=dst)
    start_us = from_datetime(at(row.asked_at, row.zone)) - 86_400_000_000
    fire_us, number = start_us, 0
    while fire_us < start_us + 4 * 86_400_000_000 and number < 300:
        before_us = fire_us
        following = trigger.next_us(fire_us)
        assert following is not None
        fire_us = following
        number += 1
        assert fire_us > before_us
        assert trigger.last_us(fire_us) == fire_us
        assert trigger.count_us(start_us, fire_us) == number
        assert trigger.count_us(start_us, fire_us - 1) == number - 1
        if number > 1:
            assert trigger.last_us(fire_us - 1) == before_us


# What the reports say beside the tables.


@pytest.mark.parametrize("dst", ["literal", "cron"])
def test_asking_again_in_either_half_of_an_overlap_always_gets_on(dst: Literal["literal", "cron"]) -> None:
    zone = "Europe/Helsinki"
    trigger = CronTrigger.from_crontab("30 * * * *", zone, dst=dst)
    first, second = at("2017-10-29 03:30:00", zone), at("2017-10-29 03:30:00 fold", zone)
    assert shown(trigger.get_next_fire_time(second, second)) == "2017-10-29 04:30+02:00"
    assert shown(trigger.get_next_fire_time(first, at("2017-10-29 03:45:00 fold", zone))) == "2017-10-29 03:30+02:00"
    assert trigger.get_next_fire_time(first, first) == trigger.get_next_fire_time(first, first)


def test_seconds_follow_real_time_through_an_overlap() -> None:
    trigger = CronTrigger(second="*", timezone="Europe/Vienna")
    fire_us = from_datetime(datetime.fromisoformat("2025-10-26T02:59:58+02:00"))
    answers = []
    for _ in range(3):
        following = trigger.next_us(fire_us)
        assert following is not None
        answers.append(following - fire_us)
        fire_us = following
    assert answers == [1_000_000] * 3
    assert datetime.fromtimestamp(fire_us / 1e6, ZoneInfo("Europe/Vienna")).isoformat() == "2025-10-26T02:00:01+01:00"


def test_every_15_seconds_is_not_silent_in_the_repeated_hour() -> None:
    trigger = CronTrigger(second="*/15", timezone="Europe/London")
    start_us = from_datetime(datetime.fromisoformat("2025-10-26T00:00:00+00:00"))
    assert trigger.count_us(start_us, start_us + 3 * 3_600_000_000) == 3 * 240


@pytest.mark.parametrize("dst", ["literal", "cron"])
def test_a_schedule_of_several_seconds_is_not_moved_out_of_a_gap(dst: Literal["literal", "cron"]) -> None:
    trigger = CronTrigger.from_crontab("11,22 30 1,2,3,4 * * *", "Europe/Riga", dst=dst, seconds=True)
    now = at("2021-03-28 01:31:00", "Europe/Riga")
    previous, answers = None, []
    for _ in range(4):
        previous = trigger.get_next_fire_time(previous, now)
        assert previous is not None
        answers.append(previous.strftime("%H:%M:%S%z"))
    assert answers == ["02:30:11+0200", "02:30:22+0200", "04:30:11+0300", "04:30:22+0300"]


def test_a_fixed_time_with_one_second_runs_once_on_both_days() -> None:
    trigger = CronTrigger(hour=2, minute=30, second=15, timezone="Europe/Berlin")
    spring = trigger.get_next_fire_time(None, at("2025-03-30 01:00:00", "Europe/Berlin"))
    assert spring is not None
    assert spring.isoformat() == "2025-03-30T03:00:00+02:00"
    autumn = trigger.get_next_fire_time(None, at("2025-10-26 01:00:00", "Europe/Berlin"))
    assert autumn is not None
    assert autumn.isoformat() == "2025-10-26T02:30:15+02:00"
    following = trigger.get_next_fire_time(autumn, autumn)
    assert following is not None
    assert following.isoformat() == "2025-10-27T02:30:15+01:00"


@pytest.mark.parametrize(("dst", "count"), [("literal", 2), ("cron", 1)])
def test_a_schedule_whose_last_time_is_in_an_overlap(dst: Literal["literal", "cron"], count: int) -> None:
    trigger = CronTrigger(year=2025, month=10, day=26, hour=2, minute=30, timezone="Europe/Berlin", dst=dst)
    fires = []
    fire_us: int | None = from_datetime(at("2025-10-26 02:00:00", "Europe/Berlin"))
    while True:
        assert fire_us is not None
        fire_us = trigger.next_us(fire_us)
        if fire_us is None:
            break
        fires.append(fire_us)
    assert len(fires) == count == trigger.count_us(0, fires[-1])
    assert trigger.last_us(2 * fires[-1]) == fires[-1]


@pytest.mark.parametrize("dst", ["literal", "cron"])
def test_hour_lists_written_without_a_star_are_fixed_times(dst: Literal["literal", "cron"]) -> None:
    star = CronTrigger.from_crontab("0 * * * *", "Europe/Berlin", dst=dst)
    listed = CronTrigger.from_crontab("0 0-23 * * *", "Europe/Berlin", dst=dst)
    start_us = from_datetime(at("2025-10-26 00:00:00", "Europe/Berlin"))
    day_us = 25 * 3_600_000_000
    assert star.count_us(start_us - 1, start_us - 1 + day_us) == 25
    assert listed.count_us(start_us - 1, start_us - 1 + day_us) == (25 if dst == "literal" else 24)


def test_the_same_hour_of_another_year() -> None:
    trigger = CronTrigger.from_crontab("0 * * * *", "US/Pacific")
    now = at("2024-11-03 00:30:00", "US/Pacific")
    first = trigger.get_next_fire_time(None, now)
    assert shown(first) == "2024-11-03 01:00-07:00"
    assert shown(trigger.get_next_fire_time(first, now)) == "2024-11-03 01:00-08:00"


@pytest.mark.parametrize(
    ("crontab", "zone", "asked_at", "answer"),
    [
        ("0 2 * * *", "America/Chicago", "2019-03-09 12:00:00", "2019-03-10 03:00-05:00"),
        ("0 17 * * *", "America/New_York", "2015-10-31 18:00:00", "2015-11-01 17:00-05:00"),
        ("*/5 11 * * *", "America/New_York", "2009-09-26 11:16:00", "2009-09-26 11:20-04:00"),
    ],
)
def test_reports_without_a_row(crontab: str, zone: str, asked_at: str, answer: str) -> None:
    trigger = CronTrigger.from_crontab(crontab, zone)
    assert shown(trigger.get_next_fire_time(None, at(asked_at, zone))) == answer


def test_seconds_of_a_daily_time_the_day_before_the_change() -> None:
    trigger = CronTrigger(hour=18, minute=0, second=1, timezone="Europe/Dublin")
    now = at("2025-03-29 18:00:01", "Europe/Dublin")
    answer = trigger.get_next_fire_time(now, now)
    assert answer is not None
    assert answer.isoformat() == "2025-03-30T18:00:01+01:00"


def test_an_hour_given_in_another_zone_than_the_host() -> None:
    """Hourly at :00 in Kolkata, asked in Berlin."""
    trigger = CronTrigger.from_crontab("0 * * * *", "Asia/Kolkata")
    answer = trigger.get_next_fire_time(None, datetime.fromisoformat("2023-04-28T23:15:00+02:00"))
    assert shown(answer) == "2023-04-29 03:00+05:30"


def test_all_gaps_and_overlaps_of_a_year_for_a_daily_time() -> None:
    """Cron's promise in one number: a fixed daily time runs once per calendar day, in every zone with a regular year."""
    for zone in (
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Chatham",
        "Africa/Cairo",
        "America/Nuuk",
    ):
        for hour in range(24):
            trigger = CronTrigger(hour=hour, minute=30, timezone=zone)
            start = datetime(2025, 1, 1, tzinfo=ZoneInfo(zone))
            end = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)) - timedelta(microseconds=1)
            assert trigger.count_us(from_datetime(start) - 1, from_datetime(end)) == 365, (zone, hour)

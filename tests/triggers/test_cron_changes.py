"""What becomes of local times when the clocks change, asked for with the reasons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedcore.clock import from_datetime
from schedcore.triggers._zones import FIRST_US, LAST_US
from schedcore.triggers.cron import ClockChange, CronTrigger

Dst = Literal["cron", "literal"]
RULES: tuple[Dst, ...] = ("cron", "literal")


def us(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


def changes(
    crontab: str, zone: str, year: int, dst: Dst = "cron", limit: int = 100, *, seconds: bool = False
) -> list[ClockChange]:
    trigger = CronTrigger.from_crontab(crontab, zone, dst=dst, seconds=seconds)
    return trigger.changes(us(f"{year}-01-01"), us(f"{year + 1}-01-01"), limit)


BERLIN_GAP = "02:30 does not exist on 2026-03-29 in Europe/Berlin, where the clocks go from 02:00 to 03:00; it "
BERLIN_OVERLAP = "02:30 comes twice on 2026-10-25 in Europe/Berlin, where the clocks go from 03:00 back to 02:00; it "


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        (
            "cron",
            [
                (
                    "2026-03-29 02:30",
                    "gap: moved",
                    "03-29 03:00+02:00",
                    f"{BERLIN_GAP}runs at 03:00, the first time after the gap",
                ),
                (
                    "2026-10-25 02:30",
                    "overlap: first only",
                    "10-25 02:30+01:00",
                    f"{BERLIN_OVERLAP}runs at 02:30+02:00, and not again at 02:30+01:00",
                ),
            ],
        ),
        (
            "literal",
            [
                (
                    "2026-03-29 02:30",
                    "gap: skipped",
                    "03-29 03:00+02:00",
                    f"{BERLIN_GAP}does not run that day, because dst is 'literal'",
                ),
                (
                    "2026-10-25 02:30",
                    "overlap: twice",
                    "10-25 02:30+01:00",
                    f"{BERLIN_OVERLAP}runs at 02:30+02:00 and at 02:30+01:00, because dst is 'literal'",
                ),
            ],
        ),
    ],
)
def test_a_fixed_time(dst: Dst, expected: list[tuple[str, str, str, str]]) -> None:
    shown = [
        (
            f"{change.local:%Y-%m-%d %H:%M}",
            change.kind,
            change.at.isoformat(sep=" ", timespec="minutes")[5:],
            change.reason,
        )
        for change in changes("30 2 * * *", "Europe/Berlin", 2026, dst)
    ]
    assert shown == expected


@pytest.mark.parametrize(
    ("crontab", "zone", "year", "dst", "expected"),
    [
        ("0 5 * * *", "Europe/Berlin", 2026, "cron", []),
        ("30 2 * * *", "UTC", 2026, "cron", []),
        ("0 3 * * *", "Europe/Berlin", 2026, "cron", []),
        ("0 2 * * *", "Europe/Berlin", 2026, "cron", ["03-29 02:00 gap: moved", "10-25 02:00 overlap: first only"]),
        ("0 0 * * *", "Africa/Cairo", 2024, "cron", ["04-26 00:00 gap: moved"]),
        ("30 23 * * *", "Africa/Cairo", 2024, "cron", ["10-31 23:30 overlap: first only"]),
        ("0 9 * * *", "Pacific/Apia", 2011, "literal", ["12-30 09:00 gap: skipped"]),
        ("45 1 * * *", "Australia/Lord_Howe", 2026, "literal", ["04-05 01:45 overlap: twice"]),
        ("15 2 * * *", "Australia/Lord_Howe", 2026, "cron", ["10-04 02:15 gap: moved"]),
        ("0,30 2 * * 1", "Europe/Berlin", 2026, "cron", []),
        ("10,20 1 29 3 *", "Europe/London", 2026, "cron", ["03-29 01:10 gap: moved", "03-29 01:20 gap: moved"]),
    ],
)
def test_which_times(crontab: str, zone: str, year: int, dst: Dst, expected: list[str]) -> None:
    found = changes(crontab, zone, year, dst)
    assert [f"{change.local:%m-%d %H:%M} {change.kind}" for change in found] == expected


def test_dates_are_told_when_a_gap_is_longer_than_a_night() -> None:
    (change,) = changes("0 9 * * *", "Pacific/Apia", 2011, "cron")[-1:]
    assert change.reason == (
        "09:00 does not exist on 2011-12-30 in Pacific/Apia, where the clocks go from 2011-12-30 00:00 to 2011-12-31 00:00; "
        "it runs at 2011-12-31 00:00, the first time after the gap"
    )


def test_why_a_schedule_follows_real_time() -> None:
    by_star = changes("*/30 2 * * *", "Europe/Berlin", 2026)[0].reason
    assert by_star.endswith("because a schedule whose minute or hour begins with '*' follows real time")
    by_seconds = changes("5,15 30 2 * * *", "Europe/Berlin", 2026, seconds=True)
    assert by_seconds[0].reason.startswith("02:30:05 does not exist on 2026-03-29")
    assert by_seconds[0].reason.endswith("because a schedule with several seconds follows real time")


def test_the_span_is_open_at_its_start_and_bounded() -> None:
    trigger = CronTrigger.from_crontab("30 2 * * *", "Europe/Berlin")
    gap_us, again_us = us("2026-03-29 01:00"), us("2026-10-25 01:30")
    assert len(trigger.changes(gap_us - 1, gap_us)) == 1
    assert trigger.changes(gap_us, again_us - 1) == []
    assert len(trigger.changes(again_us - 1, again_us)) == 1
    assert trigger.changes(again_us, again_us + 10**12) == []
    assert trigger.changes(again_us, gap_us) == []
    everything = trigger.changes(FIRST_US - 1, LAST_US, 10**6)
    assert everything == trigger.changes(FIRST_US - 1, FIRST_US + 36525 * 86_400_000_000, 10**6)
    assert len(trigger.changes(us("2000-01-01"), LAST_US, 10**6)) == 200
    assert len(changes("* * * * *", "Europe/Berlin", 2026, limit=7)) == 7
    assert changes("* * * * *", "Europe/Berlin", 2026, limit=0) == []
    ended = CronTrigger.from_crontab("30 2 * * *", "Europe/Berlin", start_date="2026-01-01", end_date="2026-04-01")
    assert [change.kind for change in ended.changes(0, LAST_US)] == ["gap: moved"]


@settings(deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Gaza", "Pacific/Apia"]
    ),
    year=st.integers(1975, 2036),
    minute=st.integers(0, 59),
    hours=st.frozensets(st.integers(0, 23), min_size=1, max_size=6),
    dst=st.sampled_from(RULES),
)
def test_changes_account_for_every_day(zone: str, year: int, minute: int, hours: frozenset[int], dst: Dst) -> None:
    """Fire times and changes together tell of each local time of the schedule, however often it exists."""
    trigger = CronTrigger.from_crontab(f"{minute} {','.join(map(str, sorted(hours)))} * * *", zone, dst=dst)
    info = ZoneInfo(zone)
    start, end = datetime(year, 1, 1, 12, tzinfo=UTC), datetime(year + 1, 1, 1, 12, tzinfo=UTC)
    found = {(change.local, change.kind) for change in trigger.changes(from_datetime(start), from_datetime(end), 10**6)}
    expected = set()
    day = start.replace(tzinfo=None) - timedelta(days=2)
    while day < end.replace(tzinfo=None) + timedelta(days=2):
        for hour in hours:
            local = day.replace(hour=hour, minute=minute)
            first, second = (local.replace(tzinfo=info, fold=fold).astimezone(UTC) for fold in (0, 1))
            exists = first.astimezone(info).replace(tzinfo=None) == local
            if not exists:
                # The clocks change between the two readings.
                change = next(
                    second + timedelta(minutes=n)
                    for n in range(3000)
                    if (second + timedelta(minutes=n)).astimezone(info).replace(tzinfo=None) > local
                )
                if start < change <= end:
                    expected.add((local, "gap: moved" if dst == "cron" else "gap: skipped"))
            elif first != second and start < second <= end:
                expected.add((local, "overlap: first only" if dst == "cron" else "overlap: twice"))
        day += timedelta(days=1)
    assert found == expected

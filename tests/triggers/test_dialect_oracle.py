"""The dialects against a slow oracle that was written apart: each day of some years, judged by the calendar of the
standard library. It knows an element as a sentence about a date, and shares no code with the parser and the search."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError
from schedcore.triggers.cron import CronTrigger

calm = settings(deadline=None, derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Says = Callable[[date], bool]


@dataclass(frozen=True)
class Element:
    """One element of a day field: how each dialect writes it, and what it says of a date."""

    unix: str
    quartz: str
    says: Says

    def __repr__(self) -> str:
        return self.unix


def length_of(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def is_nearest(day: date, wanted: int) -> bool:
    """Whether a date is the one from Monday to Friday that is nearest to day ``wanted`` of its month."""
    length = length_of(day)
    if not 1 <= wanted <= length or day.weekday() > 4:
        return False
    work = [each for each in range(1, length + 1) if calendar.weekday(day.year, day.month, each) < 5]
    return day.day == min(work, key=lambda each: abs(each - wanted))


def same(text: str, says: Says) -> Element:
    return Element(text, text, says)


days = st.one_of(
    st.integers(1, 31).map(lambda n: same(str(n), lambda day: day.day == n)),
    st.just(same("L", lambda day: day.day == length_of(day))),
    st.integers(1, 30).map(lambda n: same(f"L-{n}", lambda day: day.day == length_of(day) - n)),
    st.integers(1, 31).map(lambda n: same(f"{n}W", lambda day: is_nearest(day, n))),
    st.just(same("LW", lambda day: is_nearest(day, length_of(day)))),
    st.integers(1, 30).map(lambda n: same(f"L-{n}W", lambda day: is_nearest(day, length_of(day) - n))),
)


def numbers(weekday: int) -> tuple[str, str]:
    return str((weekday + 1) % 7), str((weekday + 1) % 7 + 1)


def _plain(weekday: int, named: bool) -> Element:
    unix, quartz = (_NAMES[weekday],) * 2 if named else numbers(weekday)
    return Element(unix, quartz, lambda day: day.weekday() == weekday)


def _nth(weekday: int, named: bool, nth: int) -> Element:
    unix, quartz = (_NAMES[weekday],) * 2 if named else numbers(weekday)
    return Element(
        f"{unix}#{nth}", f"{quartz}#{nth}", lambda day: day.weekday() == weekday and (day.day + 6) // 7 == nth
    )


def _last(weekday: int, named: bool) -> Element:
    unix, quartz = (_NAMES[weekday],) * 2 if named else numbers(weekday)
    return Element(f"{unix}L", f"{quartz}L", lambda day: day.weekday() == weekday and day.day > length_of(day) - 7)


weekdays = st.one_of(
    st.builds(_plain, st.integers(0, 6), st.booleans()),
    st.builds(_nth, st.integers(0, 6), st.booleans(), st.integers(1, 5)),
    st.builds(_last, st.integers(0, 6), st.booleans()),
)
START = date(2023, 1, 1)
SPAN = 366 * 3


def matching(says: Says) -> list[date]:
    return [day for day in (START + timedelta(n) for n in range(SPAN)) if says(day)]


def found(trigger: CronTrigger) -> list[date]:
    """The days of the fire times in the span; next, last and count have to agree on them."""
    start_us = from_datetime(datetime(START.year, 1, 1, tzinfo=UTC))
    end_us = start_us + SPAN * 86_400_000_000
    answers = list(walked(trigger, start_us - 1, end_us))
    assert trigger.count_us(start_us - 1, end_us - 1) == len(answers)
    before_us = trigger.last_us(start_us - 1)
    for fire_us in answers:
        assert trigger.last_us(fire_us - 1) == before_us
        assert trigger.last_us(fire_us) == before_us or before_us is None or before_us < fire_us
        before_us = fire_us
    return [to_datetime(fire_us).date() for fire_us in answers]


def walked(trigger: CronTrigger, after_us: int, end_us: int) -> Iterator[int]:
    fire_us = trigger.next_us(after_us)
    while fire_us is not None and fire_us < end_us:
        yield fire_us
        fire_us = trigger.next_us(fire_us)


def listed(elements: list[Element], dialect: str) -> str:
    return ",".join(getattr(element, dialect) for element in elements)


some_days = st.lists(days, min_size=1, max_size=3)
some_weekdays = st.lists(weekdays, min_size=1, max_size=3)


@calm
@given(day=some_days)
def test_days_of_the_month(day: list[Element]) -> None:
    expected = matching(lambda each: any(one.says(each) for one in day))
    assert found(CronTrigger.from_crontab(f"0 0 {listed(day, 'unix')} * *", "UTC")) == expected
    quartz = f"0 0 0 {listed(day, 'quartz')} * ?"
    assert found(CronTrigger.from_crontab(quartz, "UTC", dialect="quartz")) == expected


@calm
@given(weekday=some_weekdays)
def test_weekdays(weekday: list[Element]) -> None:
    expected = matching(lambda each: any(one.says(each) for one in weekday))
    assert found(CronTrigger.from_crontab(f"0 0 * * {listed(weekday, 'unix')}", "UTC")) == expected
    quartz = f"0 0 0 ? * {listed(weekday, 'quartz')}"
    assert found(CronTrigger.from_crontab(quartz, "UTC", dialect="quartz")) == expected


@calm
@given(day=some_days, weekday=some_weekdays)
def test_two_restricted_day_fields_mean_either(day: list[Element], weekday: list[Element]) -> None:
    expected = matching(lambda each: any(one.says(each) for one in day + weekday))
    text = f"0 0 {listed(day, 'unix')} * {listed(weekday, 'unix')}"
    assert found(CronTrigger.from_crontab(text, "UTC")) == expected


@calm
@given(step=st.integers(1, 31), more=st.lists(days, max_size=2), weekday=some_weekdays)
def test_a_day_field_that_begins_with_a_star_means_both(step: int, more: list[Element], weekday: list[Element]) -> None:
    day = [same(f"*/{step}", lambda each: each.day % step == 1 % step), *more]
    expected = matching(lambda each: any(one.says(each) for one in day) and any(one.says(each) for one in weekday))
    text = f"0 0 {listed(day, 'unix')} * {listed(weekday, 'unix')}"
    assert found(CronTrigger.from_crontab(text, "UTC")) == expected


@calm
@given(day=st.sets(st.integers(1, 31), min_size=1, max_size=12), weekday=st.sets(st.integers(0, 6), min_size=1))
def test_apscheduler3_wants_both_days(day: set[int], weekday: set[int]) -> None:
    expected = matching(lambda each: each.day in day and each.weekday() in weekday)
    text = f"0 0 {','.join(map(str, sorted(day)))} * {','.join(map(str, sorted(weekday)))}"
    assert found(CronTrigger.from_crontab(text, "UTC", dialect="apscheduler3")) == expected


@calm
@given(
    dialect=st.sampled_from(["unix", "quartz", "apscheduler3"]),
    text=st.text("0123456789*/,-#?()LWHadefinorstu \t", max_size=28),
)
def test_reading_is_total(dialect: str, text: str) -> None:
    check_reading(dialect, text)


def check_reading(dialect: str, text: str) -> None:
    """Any text is a schedule or a typed error that says where; nothing else comes out."""
    try:
        trigger = CronTrigger.from_crontab(text, "UTC", dialect=dialect, seed="x")
    except InvalidTriggerError as caught:
        error: InvalidTriggerError | None = caught
    else:
        error = None
        assert CronTrigger.from_str(str(trigger), "UTC", dialect=dialect, seed="x") == trigger
        trigger.describe()
        trigger.next_us(0)
    if error is not None:
        assert error.field
        assert error.column is not None
        assert 1 <= error.column <= len(text) + 1


fields = st.lists(
    st.sampled_from(
        ["*", "?", "L", "LW", "15W", "L-3", "1L", "2#3", "H", "H/7", "H(1-5)", "*/2", "1-5", "5-1", "0/9", "fri"]
    ),
    min_size=5,
    max_size=7,
).map(" ".join)


@settings(calm, max_examples=400)
@given(dialect=st.sampled_from(["unix", "quartz", "apscheduler3"]), text=fields)
def test_reading_is_total_for_what_looks_right(dialect: str, text: str) -> None:
    check_reading(dialect, text)


_JUNK = "!\"$%&'+.:;<=>@[\\]^_`{|}~éß½"


@calm
@given(day=some_days, weekday=some_weekdays, junk=st.sampled_from(_JUNK))
def test_any_junk_is_an_error_that_points_at_it(day: list[Element], weekday: list[Element], junk: str) -> None:
    for dialect, text in (
        ("unix", f"H 5 {listed(day, 'unix')} * {listed(weekday, 'unix')}"),
        ("quartz", f"0 H 5 {listed(day, 'quartz')} * ?"),
    ):
        for place in range(len(text) + 1):
            wrong = text[:place] + junk + text[place:]
            with pytest.raises(InvalidTriggerError, match="column") as caught:
                CronTrigger.from_crontab(wrong, "UTC", dialect=dialect, seed="x")
            assert caught.value.column is not None
            assert 1 <= caught.value.column <= len(wrong) + 1


# --- in zones whose clocks change -----------------------------------------------------------------------------------

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago", "Pacific/Apia")
# Where the clocks of these zones change.
SPRING_AND_AUTUMN = st.sampled_from(
    [
        date(2011, 12, 30),
        date(2024, 4, 26),
        date(2026, 3, 8),
        date(2026, 3, 29),
        date(2026, 4, 5),
        date(2026, 9, 6),
        date(2026, 10, 4),
        date(2026, 10, 25),
        date(2026, 11, 1),
    ]
)


@st.composite
def triggers(draw: st.DrawFn) -> CronTrigger:
    """Triggers of all dialects, at the hours at which clocks change."""
    dialect = draw(st.sampled_from(["unix", "quartz", "apscheduler3"]))
    minute = draw(
        st.sampled_from(["0", "30", "*/20", "10,50", "*"] + (["H", "H/25", "H(5-25)"] if dialect == "unix" else []))
    )
    hour = draw(st.sampled_from(["*", "0-3", "2", "1,23", "*/2", "0", "22-2"]))
    if dialect == "quartz":
        day, weekday = draw(
            st.sampled_from([("?", "*"), ("*", "?"), ("?", "1,7"), ("L-5,25W,29", "?"), ("?", "1#4,1L")])
        )
        fields = [draw(st.sampled_from(["0", "0/30", "59"])), minute, hour, day, "*", weekday]
    else:
        special = dialect == "unix"
        day = draw(st.sampled_from(["*", "*/2", "20-5"] + (["L-2", "29,8W,LW"] if special else ["last,8"])))
        weekday = draw(st.sampled_from(["*", "sun", "sat-mon", "0"] + (["sunL", "sun#2,5"] if special else [])))
        fields = [minute, hour, day, "*", weekday]
    return CronTrigger.from_crontab(
        " ".join(fields),
        draw(st.sampled_from(ZONES)),
        dialect=dialect,
        dst=draw(st.sampled_from(["cron", "literal"])),
        seed="x",
    )


@settings(calm, max_examples=300)
@given(trigger=triggers(), day=SPRING_AND_AUTUMN, lead_h=st.integers(0, 48))
def test_next_last_and_count_agree(trigger: CronTrigger, day: date, lead_h: int) -> None:
    start_us = from_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC)) - lead_h * 3_600_000_000
    end_us = start_us + 4 * 86_400_000_000
    fires = list(walked(trigger, start_us, end_us))
    assert fires == sorted(set(fires))
    assert trigger.count_us(start_us, end_us - 1) == len(fires)
    before_us = trigger.last_us(start_us)
    for number, fire_us in enumerate(fires[:40], 1):
        assert trigger.next_us(fire_us - 1) == fire_us
        assert trigger.last_us(fire_us) == fire_us
        assert trigger.last_us(fire_us - 1) == before_us
        assert trigger.count_us(start_us, fire_us) == number
        shown = to_datetime(fire_us).astimezone(trigger.timezone)
        assert shown.astimezone(UTC).astimezone(trigger.timezone).replace(tzinfo=None) == shown.replace(tzinfo=None)
        before_us = fire_us
    # Whatever fires at another time than the schedule says was moved there by a gap, and can be asked for.
    rule = trigger.rule
    moved = {change.at for change in trigger.changes(start_us, end_us, 10_000) if change.kind == "gap: moved"}
    for fire_us in fires[:200]:
        shown = to_datetime(fire_us).astimezone(trigger.timezone)
        written = rule.minutes >> shown.minute & 1 and rule.hours >> shown.hour & 1 and rule.seconds >> shown.second & 1
        assert written or shown in moved

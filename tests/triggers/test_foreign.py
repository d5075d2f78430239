"""A trigger says whether asking it runs code of a user's, however deep that is: event loops keep it at a distance then."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from schedcore.clock import from_datetime
from schedcore.engine import Claim, decide
from schedcore.errors import InvalidTriggerError
from schedcore.events import EVENT_JOB_SKIPPED, JobSkippedEvent
from schedcore.job import NO_KWARGS, JobPolicy, JobRecord
from schedcore.run import SkipReason
from schedcore.testing import VirtualScheduler
from schedcore.triggers import foreign as module
from schedcore.triggers.base import BaseTrigger, EngineTrigger
from schedcore.triggers.calendars import BusinessDayTrigger, Moments, Predicate, Weekdays
from schedcore.triggers.combining import AndTrigger, OrTrigger
from schedcore.triggers.cron import CronTrigger
from schedcore.triggers.foreign import PATIENCE, as_grid
from schedcore.triggers.interval import IntervalTrigger
from schedcore.triggers.jitter import Jitter


class Theirs(BaseTrigger):
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return (previous_fire_time or now) + timedelta(hours=1)

    def __repr__(self) -> str:
        return "theirs"


def _first_of_month(day: date) -> bool:
    return day.day == 1


CRON = CronTrigger(hour=7, timezone="UTC")
START = datetime(2026, 1, 5, tzinfo=UTC)
START_US = from_datetime(START)
HOUR_US = 3_600_000_000
EVERY_HOUR = IntervalTrigger(hours=1, start_date="2026-01-01", timezone="UTC")
WEEKEND = Weekdays("sat", "sun")


@pytest.mark.parametrize(
    ("trigger", "foreign"),
    [
        (CRON, False),
        (EVERY_HOUR, False),
        (AndTrigger([CRON, EVERY_HOUR]), False),
        (CRON.excluding(WEEKEND), False),
        (CRON.excluding(~WEEKEND | WEEKEND), False),
        (BusinessDayTrigger(1, timezone="UTC"), False),
        (Theirs(), True),
        (OrTrigger([CRON, AndTrigger([EVERY_HOUR, Theirs()])]), True),
        (CRON.excluding(Predicate(_first_of_month)), True),
        (CRON.excluding(WEEKEND | ~Predicate(_first_of_month)), True),
        (CRON.excluding(Moments(lambda when: when.hour == 7)), True),
        (OrTrigger([CRON, EVERY_HOUR.excluding(Predicate(_first_of_month))]), True),
        (BusinessDayTrigger(1, Predicate(_first_of_month), timezone="UTC"), True),
    ],
    ids=str,
)
def test_what_runs_code_of_a_users(trigger: BaseTrigger, foreign: bool) -> None:
    grid: EngineTrigger = as_grid(trigger)
    assert grid.foreign is foreign


@pytest.mark.parametrize(
    ("trigger", "searches"),
    [
        (CRON, False),
        (EVERY_HOUR, False),
        (OrTrigger([CRON, EVERY_HOUR]), False),
        (AndTrigger([CRON, EVERY_HOUR]), True),
        (OrTrigger([CRON, AndTrigger([CRON, EVERY_HOUR])]), True),
        (CRON.excluding(WEEKEND), True),
        (BusinessDayTrigger(1, timezone="UTC"), True),
    ],
    ids=str,
)
def test_what_searches(trigger: BaseTrigger, searches: bool) -> None:
    assert as_grid(trigger).searches is searches


class Answers(BaseTrigger):
    def __init__(self, answer: datetime) -> None:
        self.answer = answer

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
    ],
    ids=str,
)
def test_a_time_that_no_zone_can_show_is_refused(answer: datetime) -> None:
    with pytest.raises(
        InvalidTriggerError, match=r"Answers\.get_next_fire_time returned .*None is for a schedule that"
    ):
        as_grid(Answers(answer)).first_us(0)


class Slow(BaseTrigger):
    """Fires each hour; each call takes 0.1 seconds."""

    time_s = 0.0
    skips = True

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        self.time_s += 0.1
        assert self.time_s < 100
        at = previous_fire_time or (now - timedelta(microseconds=1) if self.skips else START)
        return at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    trigger = Slow()
    monkeypatch.setattr(module, "monotonic", lambda: trigger.time_s)
    return trigger


def job(trigger: BaseTrigger, policy: JobPolicy) -> JobRecord:
    return JobRecord("job", "job", print, None, (), NO_KWARGS, as_grid(trigger), policy)


SLOW_KINDS: dict[str, Callable[[BaseTrigger], BaseTrigger]] = {
    "alone": lambda slow: slow,
    "or": lambda slow: OrTrigger([CRON, slow]),
    "and": lambda slow: AndTrigger([slow, EVERY_HOUR]),
    "near": lambda slow: AndTrigger([EVERY_HOUR, slow], tolerance=60),
    "excluded": lambda slow: as_grid(slow).excluding(WEEKEND),
    "moved": lambda slow: as_grid(slow).excluding(WEEKEND, roll="next"),
    "closed by a slow function": lambda slow: EVERY_HOUR.excluding(
        Moments(lambda when: slow.get_next_fire_time(None, START) is None)
    ),
}


@pytest.mark.parametrize("kind", SLOW_KINDS)
@pytest.mark.parametrize(
    "policy",
    [
        JobPolicy(),
        JobPolicy(misfire_grace_us=2 * HOUR_US),
        JobPolicy(coalesce=False),
        JobPolicy(coalesce=False, max_catchup=1),
    ],
    ids=["coalesced", "with a grace time", "one by one", "the oldest"],
)
def test_a_decision_waits_no_longer_than_its_patience(kind: str, policy: JobPolicy, slow: Slow) -> None:
    """What it cannot do without comes on top of that: the first answer, and where the backlog ends. (To move days is to look for
    them from several sides.)
    """
    claimed = Claim(job(SLOW_KINDS[kind](slow), policy), START_US, START_US, 0, None, None)
    now_us = START_US + 20 * 24 * HOUR_US + 1
    made = decide(claimed, now_us)
    assert made.broken is None
    assert slow.time_s <= 1.5 * module.WALK_S + (0.8 if kind == "moved" else 0.5)
    told = sorted([*made.fires, *(each for skip in made.skips for each in (skip.first_us, skip.last_us))])
    assert told[0] == START_US
    assert made.next_us is not None
    assert made.next_us > told[-1]
    if policy.coalesce and policy.misfire_grace_us is None:
        assert len(made.fires) == 1
        assert made.next_us > now_us
    elif policy.coalesce:
        assert made.fires == ()
        assert now_us - 2 * HOUR_US <= made.next_us
    elif policy.max_catchup == 1:
        assert made.fires == (START_US,)
        assert made.next_us > now_us
    else:
        assert made.fires == tuple(range(START_US, made.next_us, HOUR_US)[: len(made.fires)])
        assert made.next_us == made.fires[-1] + HOUR_US


def test_one_that_is_missed_is_no_overlap_as_well(slow: Slow) -> None:
    """Though runs of an earlier backlog wait: there is nothing left that could overlap them."""
    record = job(slow, JobPolicy(coalesce=False, misfire_grace_us=2 * HOUR_US))
    made = decide(Claim(record, START_US, START_US, 2, None, None), START_US + 20 * 24 * HOUR_US + 1)
    assert made.broken is None
    assert made.fires == ()
    assert [skip.reason for skip in made.skips] == [SkipReason.MISFIRED]


def test_runs_that_have_to_come_one_by_one_do_so_over_several_decisions(slow: Slow) -> None:
    record = job(slow, JobPolicy(coalesce=False))
    at_us: int | None = START_US
    fires: list[int] = []
    now_us = START_US + 10 * HOUR_US + 1
    while at_us is not None and at_us <= now_us:
        made = decide(Claim(record, at_us, at_us, 0, None, None), now_us)
        assert made.skips == ()
        fires += made.fires
        at_us = made.next_us
    assert fires == list(range(START_US, now_us, HOUR_US))
    assert at_us == now_us - 1 + HOUR_US


def test_one_that_does_not_skip_ahead_is_decided_about_in_parts(slow: Slow) -> None:
    slow.skips = False
    record = job(slow, JobPolicy())
    now_us = START_US + 100 * HOUR_US + 1
    made = decide(Claim(record, START_US, START_US, 0, None, None), now_us)
    assert slow.time_s <= 1.5 * module.WALK_S + 0.2
    assert len(made.fires) == 1
    assert made.next_us == made.fires[0] + HOUR_US


def test_the_patience_of_a_decision_is_its_own(slow: Slow) -> None:
    record = job(slow, JobPolicy())
    made = [decide(Claim(record, START_US, START_US, 0, None, None), START_US + 50 * HOUR_US) for _ in range(3)]
    assert made[0] == made[1] == made[2]
    assert PATIENCE.depth == 0
    assert not PATIENCE.answers
    slow.time_s = 0.0
    assert as_grid(slow).backlog(START_US, START_US + 50 * HOUR_US).times == 50


def test_what_a_trigger_asks_itself_is_not_cut_short(slow: Slow) -> None:
    class Asking(BaseTrigger):
        def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
            if previous_fire_time is not None and previous_fire_time > START:  # then the backlog is walked
                answers = [as_grid(slow).first_us(from_datetime(now + timedelta(hours=hours))) for hours in range(5)]
                assert None not in answers
            return slow.get_next_fire_time(previous_fire_time, now)

    made = decide(Claim(job(Asking(), JobPolicy()), START_US, START_US, 0, None, None), START_US + 50 * HOUR_US)
    assert made.broken is None
    assert [skip.times for skip in made.skips] == [2]
    assert made.next_us == START_US + 51 * HOUR_US


class Still(BaseTrigger):
    calls = 0

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        self.calls += 1
        return START

    def __str__(self) -> str:
        return "still[]"


@pytest.mark.parametrize(
    "around",
    [
        lambda still: AndTrigger([still, CRON]),
        lambda still: AndTrigger([CRON, still]),
        lambda still: AndTrigger([CRON, still], tolerance=5),
        lambda still: AndTrigger([still, CRON], tolerance=5),
        lambda still: OrTrigger([EVERY_HOUR, AndTrigger([CRON, still])]),
        lambda still: as_grid(still).excluding(WEEKEND),
    ],
)
def test_a_search_names_the_trigger_that_does_not_advance(around: Callable[[BaseTrigger], EngineTrigger]) -> None:
    still = Still()
    with pytest.raises(
        InvalidTriggerError, match=r"still\[\] does not advance: asked for the fire time after 2026-01-0[67] "
    ):
        around(still).next_us(from_datetime(datetime(2026, 1, 6, tzinfo=UTC)))
    assert still.calls <= 3


def test_so_is_what_is_searched_with_its_help(slow: BaseTrigger) -> None:
    after_us = from_datetime(datetime(2026, 1, 1, 0, 30, tzinfo=UTC))
    assert AndTrigger([slow, CRON], tolerance=3600).next_us(after_us) is not None
    with pytest.raises(InvalidTriggerError, match="did not meet"):
        AndTrigger([slow, CronTrigger(hour=7, minute=30, timezone="UTC")]).next_us(after_us)
    with pytest.raises(InvalidTriggerError, match="no fire time was found"):
        as_grid(slow).excluding(Predicate(lambda day: True)).next_us(after_us)


def test_a_job_that_goes_on_after_a_pause_waits_no_longer_either(slow: Slow) -> None:
    scheduler = VirtualScheduler(start="2026-01-05T00:00:01Z", timezone="UTC")
    told: list[JobSkippedEvent] = []
    scheduler.add_listener(told.append, EVENT_JOB_SKIPPED)
    scheduler.start()
    job = scheduler.add_job(print, slow)
    job.pause()
    scheduler.advance(500 * 3600)
    slow.time_s = 0.0
    job.resume()
    assert slow.time_s <= 1.5 * module.WALK_S + 0.5
    scheduler.shutdown()
    assert [(event.reason, event.first_run_time) for event in told] == [("paused", START + timedelta(hours=1))]


def test_a_slow_function_is_asked_once_for_what_it_leaves_out(slow: Slow) -> None:
    """First for the next fire time, and then for what is told of those before it."""
    opened = EVERY_HOUR.excluding(Moments(lambda when: bool(slow.get_next_fire_time(None, START)) and when.day == 5))
    made = decide(Claim(job(opened, JobPolicy()), START_US, START_US, 0, None, None), START_US + 1)
    assert made.next_us == START_US + 24 * HOUR_US
    [skip] = made.skips
    assert (skip.reason, skip.times) == ("excluded", 23)
    assert slow.time_s == pytest.approx(2.4)  # for each hour of the day from the second on, and for the next midnight


def test_the_log_says_where_a_count_may_be_too_low(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = VirtualScheduler(start="2026-01-05T00:00:00Z", timezone="UTC")
    scheduler.start()
    scheduler.add_job(print, Theirs(), id="theirs", name="theirs", misfire_grace_time=60)
    scheduler.add_job(print, EVERY_HOUR, id="ours", name="ours", misfire_grace_time=60)
    with caplog.at_level("WARNING", "schedcore"):
        scheduler.clock.suspend(2000 * 3600)
        scheduler.advance(60)
    scheduler.shutdown()
    assert "at least 1001 run(s) of job 'theirs' misfired, up to 2026-02-15 17:00:00+00:00" in caplog.text
    assert " 1999 run(s) of job 'ours' misfired" in caplog.text
    assert "at least 1999" not in caplog.text


class OddMinutes(CronTrigger):
    """One of ours, derived from as in 3.x: to answer otherwise."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        answer = super().get_next_fire_time(previous_fire_time, now)
        while answer is not None and answer.minute % 2 == 0:
            answer = super().get_next_fire_time(answer, answer)
        return answer


class Hourly(IntervalTrigger):
    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return super().get_next_fire_time(previous_fire_time, now)


def test_one_derived_from_ours_answers_what_its_own_method_does() -> None:
    scheduler = VirtualScheduler(start="2026-01-05T00:00:00Z", timezone="UTC")
    scheduler.start()
    seen: list[datetime] = []
    odd = OddMinutes(minute="*", timezone="UTC", end_date="2026-01-05 00:06:00")
    job = scheduler.add_job(lambda: seen.append(scheduler.clock.now()), odd)
    assert job.trigger is odd
    scheduler.advance(600)
    scheduler.shutdown()
    assert [at.minute for at in seen] == [1, 3, 5]
    assert [at.minute for at in fires(OrTrigger([odd]))] == [1, 3, 5]
    assert [at.minute for at in fires(as_grid(odd.excluding(Moments(lambda when: when.minute == 3))))] == [1, 5]
    assert as_grid(odd).foreign


def fires(trigger: BaseTrigger) -> list[datetime]:
    found = []
    at = trigger.get_next_fire_time(None, START)
    while at is not None:
        found.append(at)
        at = trigger.get_next_fire_time(at, at)
    return found


def test_what_a_trigger_says_of_itself_holds_where_its_own_method_is_asked() -> None:
    hourly = as_grid(Hourly(hours=1, end_date="2030-01-01", jitter=5, timezone="UTC"))
    assert hourly.foreign
    assert (hourly.elapsed, hourly.jitter_us, hourly.end_us) == (
        True,
        5_000_000,
        from_datetime(datetime(2030, 1, 1, tzinfo=UTC)),
    )
    assert OrTrigger([hourly]).describe() == "every hour until 2030-01-01 00:00:00"
    assert hourly.same_rule(as_grid(Hourly(hours=1, end_date="2030-01-01", jitter=5, timezone="UTC")))
    assert not hourly.same_rule(as_grid(Hourly(hours=2, end_date="2030-01-01", jitter=5, timezone="UTC")))
    theirs = as_grid(Theirs())
    assert (theirs.elapsed, theirs.jitter_us, theirs.end_us, theirs.zone_data_changed) == (False, 0, None, False)


def test_jitter_of_a_trigger_of_ones_own() -> None:
    scheduler = VirtualScheduler(start="2026-01-05T00:00:00Z", timezone="UTC")
    scheduler.start()
    job = scheduler.add_job(print, Hourly(hours=1, jitter=Jitter(600, "hashed"), timezone="UTC"), id="hourly")
    assert job.next_run_time is not None
    assert timedelta(0) < job.next_run_time - START - timedelta(hours=1) <= timedelta(minutes=10)
    scheduler.shutdown()


class Until(IntervalTrigger):
    """One of ours with something of its own."""

    def __init__(self, last_hour: int, **options: Any) -> None:
        super().__init__(**options)
        self.last_hour = last_hour

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        answer = super().get_next_fire_time(previous_fire_time, now)
        return None if answer is None or answer.hour > self.last_hour else answer


class Named(CronTrigger):
    """One of ours with something of its own, of which one is in a slot."""

    __slots__ = ("_label", "tags")

    def __init__(self, label: str, tags: list[str], **options: Any) -> None:
        self._label = label
        super().__init__(**options)
        self.tags = tags

    def describe(self) -> str:
        return f"{self._label} {self.tags}"


def test_what_one_derived_from_ours_adds_is_copied_pickled_and_bound_with_it() -> None:
    until = Until(2, hours=1, timezone="UTC")
    named = Named("nightly", ["a"], hour=3, timezone="UTC")
    for again in (copy.copy(until), copy.deepcopy(until), until.anchored(from_datetime(START))):
        assert again.last_hour == 2
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(until, protocol)).last_hour == 2
        assert pickle.loads(pickle.dumps(named, protocol)).describe() == "nightly ['a']"
        assert pickle.loads(pickle.dumps(named, protocol)) == named
    deep = copy.deepcopy(named)
    assert deep.tags == ["a"]
    assert deep.tags is not named.tags
    with pytest.raises(AttributeError, match="triggers are values: dst cannot be set; make a new Named"):
        named.dst = "literal"


class Labelled(CronTrigger):
    def __init__(self, *fields: Any, label: str = "none", **options: Any) -> None:
        super().__init__(*fields, **options)
        self.label = label


def test_one_derived_from_ours_is_made_by_its_own_init_from_text_too() -> None:
    for made in (Labelled.from_crontab("30 7 * * *", "UTC"), Labelled.from_str("cron[hour='7', minute='30']", "UTC")):
        assert made.label == "none"
        assert made.get_next_fire_time(None, START) == datetime(2026, 1, 5, 7, 30, tzinfo=UTC)
    assert Labelled.from_crontab("H 7 * * *", "UTC").seeded("backup").label == "none"


def test_what_one_derived_from_ours_adds_stays_with_it() -> None:
    scheduler = VirtualScheduler(start="2026-01-05T00:00:00Z", timezone="UTC")
    scheduler.start()
    until = Until(2, hours=1, timezone="UTC")
    seen: list[int] = []
    scheduler.add_job(lambda: seen.append(scheduler.clock.now().hour), until)
    scheduler.advance(5 * 3600)
    scheduler.shutdown()
    assert seen == [1, 2]
    with pytest.raises(AttributeError, match="triggers are values: interval_us cannot be set; make a new Until"):
        until.interval_us = 5
    with pytest.raises(AttributeError, match="triggers are values: other cannot be set; make a new IntervalTrigger"):
        EVERY_HOUR.other = 5
